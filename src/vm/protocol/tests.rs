//! Frames there and back, and every cut, flipped or boundless one refused.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::value::tests::any_value;
use crate::vm::program::Module;

fn any_error() -> impl Strategy<Value = ScriptError> {
    (".{0,20}", proptest::option::of(".{0,9}"), proptest::option::of(any::<u32>()), vec(".{0,9}", 0..3)).prop_map(
        |(message, file, line, traceback)| ScriptError {
            file,
            line,
            traceback,
            ..ScriptError::new(ScriptErrorKind::Runtime, message)
        },
    )
}

fn any_answer() -> impl Strategy<Value = FromWorker> {
    let usage = (any::<u64>(), any::<u64>()).prop_map(|(cpu_us, memory_peak_bytes)| WorkerUsage {
        cpu_us,
        memory_peak_bytes,
        fuel_used: 3,
    });
    prop_oneof![
        (any::<u64>(), any_value(), usage).prop_map(|(id, value, usage)| FromWorker::Done { id, value, usage }),
        (any::<u64>(), any_error()).prop_map(|(id, error)| FromWorker::Failed { id, error }),
        any_error().prop_map(|error| FromWorker::LoadFailed { error }),
        Just(FromWorker::Loaded),
        vec(any::<u8>(), 0..300).prop_map(|artefact| FromWorker::Compiled { artefact }),
        (any::<u32>(), "[ -~]{0,9}").prop_map(|(version, engine)| FromWorker::Ready(Ready { version, engine })),
        (any::<u32>(), any::<u32>(), vec(proptest::sample::select(&Layer::ALL[..]), 0..4), ".{0,9}").prop_map(
            |(version, process, layers, reason)| {
                let (grade, layer) = (Grade::of(&layers), Layer::Cgroup);
                FromWorker::Enclosed(Enclosed {
                    version,
                    layers,
                    absent: vec![Absent { layer, reason }],
                    grade,
                    process,
                })
            }
        ),
    ]
}

fn any_image() -> impl Strategy<Value = Image> {
    (".{0,9}", vec(".{0,9}", 0..3), btree_map(".{0,4}", ".{0,4}", 0..3), vec("[a-z/]{0,9}", 0..3)).prop_map(
        |(program, args, environment, read_only)| Image {
            program: program.into(),
            args,
            environment,
            read_only: read_only.into_iter().map(PathBuf::from).collect(),
        },
    )
}

fn any_question() -> impl Strategy<Value = ToWorker<'static>> {
    let modules = btree_map("[a-z]{1,3}", (".{0,9}", ".{0,30}"), 1..4).prop_map(|modules| {
        let entry = modules.keys().next().expect("at least one").clone();
        let modules =
            modules.into_iter().map(|(name, (file, source))| (name, Module { file, source: source.into() })).collect();
        Program::new(Language::Lua, &entry, modules).expect("has its entry")
    });
    let context = (btree_map(".{0,4}", any_value(), 0..3), btree_map(".{0,4}", ".{0,4}", 0..3))
        .prop_map(|(globals, environment)| Context { globals, environment, input: vec![0xff, 0x00] });
    let compiled = proptest::option::of(vec(any::<u8>(), 0..300));
    prop_oneof![
        (any::<u32>(), any::<u64>(), any::<u64>(), proptest::option::of(any_image())).prop_map(
            |(version, memory_bytes, cpu_ms, image)| ToWorker::Hello {
                version,
                language: Language::Julia,
                limits: WorkerLimits { memory_bytes, cpu_ms, temp_bytes: 0, fuel: None },
                image,
                without: vec![Barrier::Landlock],
            }
        ),
        (modules, context, compiled).prop_map(|(program, context, compiled)| ToWorker::Load {
            program: Cow::Owned(program),
            context: Cow::Owned(context),
            compiled,
        }),
        (any::<u64>(), ".{0,9}", vec(any_value(), 0..4), any::<bool>()).prop_map(|(id, function, args, is_last)| {
            ToWorker::Call { id, function: function.into(), args: args.into(), is_last }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_round_trip(answer in any_answer()) {
        let frame = encode(&answer).expect("fits");
        prop_assert_eq!(frame_length(*frame.first_chunk().expect("has a header")).expect("fits"), frame.len() - 4);
        prop_assert_eq!(decode::<FromWorker>(&frame[4..]).expect("is a message"), answer);
    }

    #[test]
    fn questions_round_trip(question in any_question()) {
        let frame = encode(&question).expect("fits");
        prop_assert_eq!(decode::<ToWorker<'_>>(&frame[4..]).expect("is a message"), question);
    }

    #[test]
    fn every_truncation_and_extension_is_refused(answer in any_answer(), at in any::<prop::sample::Index>()) {
        let frame = encode(&answer).expect("fits");
        let mut body = frame[4..].to_vec();
        prop_assert!(decode::<FromWorker>(&body[..at.index(body.len())]).is_err());
        body.push(0xc0);
        let trailing = matches!(decode::<FromWorker>(&body), Err(FrameError::Trailing { .. }));
        prop_assert!(trailing);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode::<FromWorker>(&bytes);
        let _ = decode::<ToWorker<'_>>(&bytes);
    }

    #[test]
    fn a_flipped_byte_never_panics(answer in any_answer(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = encode(&answer).expect("fits").split_off(4);
        let at = at.index(body.len());
        body[at] = byte;
        let _ = decode::<FromWorker>(&body);
    }
}

fn done(value: Value) -> FromWorker {
    FromWorker::Done { id: 1, value, usage: WorkerUsage { cpu_us: 0, memory_peak_bytes: 0, fuel_used: 0 } }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Nil, |inner, _| Value::List(vec![inner]))
}

#[test]
fn depth_is_bounded() {
    for inside in [VALUE_DEPTH_MAX - 1, VALUE_DEPTH_MAX] {
        let frame = encode(&done(nested(inside))).expect("within the bound");
        assert_eq!(decode::<FromWorker>(&frame[4..]).expect("within the bound"), done(nested(inside)));
    }
    // The message around a value has levels of its own, so the first refusal comes a little later.
    assert!(matches!(encode(&done(nested(VALUE_DEPTH_MAX + 6))), Err(FrameError::TooDeep)));
    let bomb = vec![0x91; 100_000];
    assert!(matches!(decode::<FromWorker>(&bomb), Err(FrameError::TooDeep)));
}

#[test]
fn length_is_bounded() {
    let most = u32::try_from(FRAME_BYTES_MAX).expect("fits");
    assert_eq!(frame_length(most.to_le_bytes()).expect("at the bound"), FRAME_BYTES_MAX);
    assert!(matches!(frame_length((most + 1).to_le_bytes()), Err(FrameError::TooLong { .. })));
    assert!(matches!(frame_length([0xff; 4]), Err(FrameError::TooLong { .. })));
    let overhead = encode(&done(Value::Bytes(vec![0; 1 << 20]))).expect("fits").len() - 4 - (1 << 20);
    encode(&done(Value::Bytes(vec![0; FRAME_BYTES_MAX - overhead]))).expect("at the bound");
    let over = done(Value::Bytes(vec![0; FRAME_BYTES_MAX - overhead + 1]));
    assert!(matches!(encode(&over), Err(FrameError::TooLong { .. })));
}

#[test]
fn the_number_of_objects_is_bounded() {
    let mut body = vec![0xdd];
    body.extend_from_slice(&u32::try_from(FRAME_OBJECTS_MAX).expect("fits").to_be_bytes());
    body.resize(body.len() + FRAME_OBJECTS_MAX, 0xc0);
    assert!(matches!(decode::<FromWorker>(&body), Err(FrameError::TooManyObjects)));
}

#[test]
fn claimed_sizes_allocate_nothing() {
    for claim in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xc6, 0xff, 0xff, 0xff, 0xff]]
    {
        assert!(matches!(decode::<FromWorker>(claim), Err(FrameError::Truncated)), "{claim:?}");
    }
}

#[test]
fn errors_are_cut_and_show_their_place() {
    let long = ScriptError {
        traceback: vec!["ä".repeat(MESSAGE_BYTES_MAX); TRACEBACK_LINES_MAX + 1],
        ..ScriptError::new(ScriptErrorKind::Runtime, "ä".repeat(MESSAGE_BYTES_MAX))
    }
    .bounded();
    assert_eq!((long.message.len(), long.traceback.len()), (MESSAGE_BYTES_MAX, TRACEBACK_LINES_MAX));
    assert_eq!(long.traceback[0].len(), MESSAGE_BYTES_MAX);
    let mut error = ScriptError::new(ScriptErrorKind::Runtime, "no");
    assert_eq!(error.to_string(), "no");
    error = ScriptError { file: Some("a.jl".into()), line: Some(3), column: Some(9), ..error };
    assert_eq!(error.to_string(), "a.jl:3:9: no");
}
