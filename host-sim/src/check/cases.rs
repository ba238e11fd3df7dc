//! The checks themselves. Each gets a library nothing has been done with yet, in a process of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use hypermesh_abi::host::{CallCtx, Extension, Root, monotonic_ns, open};
use hypermesh_abi::records::CreateOptions;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use crate::services::Detached;

/// One check.
pub(super) struct Case {
    pub(super) id: &'static str,
    pub(super) level: u8,
    pub(super) about: &'static str,
    pub(super) run: fn(&Subject) -> Outcome,
}

/// What a check works on.
pub(super) struct Subject {
    library: PathBuf,
    config: Json,
    workers: BTreeMap<String, PathBuf>,
    home: tempfile::TempDir,
}

type Outcome = Result<(), String>;

/// A verb no extension has.
const NO_VERB: &str = "hypermesh-conformance-no-such-verb";
/// How soon a dropped call must have ended.
const CANCEL_TIME: Duration = Duration::from_millis(50);

macro_rules! cases {
    ($($level:literal $id:literal $about:literal => $run:ident;)+) => {
        pub(super) const CASES: &[Case] = &[$(Case { id: $id, level: $level, about: $about, run: $run }),+];
    };
}

cases! {
    1 "load" "opens, and its contract fits this host's" => load;
    1 "identity" "its id and version are well-formed and agree with its description" => identity;
    1 "create" "is constructed" => create;
    1 "describe" "its verbs have names, summaries and object schemas" => describe;
    1 "examples" "its examples name verbs that exist" => examples;
    1 "register" "its contributions have ids of the form name/revision" => register;
    1 "activate" "takes up work and reports status" => activate;
    1 "health" "reports health and checks itself" => health;
    1 "unknown-verb" "refuses a verb it does not have with UNSUPPORTED" => unknown_verb;
    1 "unknown-method" "refuses a method number it does not have with UNSUPPORTED" => unknown_method;
    1 "stop" "leaves no thread and no descriptor behind" => stop;
    2 "quiet-load" "loading starts no thread and opens no descriptor" => quiet_load;
    2 "garbage-config" "stands a configuration of every wrong type" => garbage_config;
    2 "garbage-params" "refuses parameters that are no JSON object" => garbage_params;
    2 "refused-register" "stands a host that refuses every contribution" => refused_register;
    2 "call-before-activate" "refuses requests before it is active with NOT_RUNNING" => call_before_activate;
    2 "call-after-stop" "refuses requests after it stopped with NOT_RUNNING" => call_after_stop;
    2 "double-stop" "can be stopped twice" => double_stop;
    2 "double-activate" "can be activated twice" => double_activate;
    2 "pause-resume" "pauses, refuses requests meanwhile, and goes on" => pause_resume;
    2 "handover" "a second generation takes over what the first hands over" => handover;
    2 "cancel" "work of a dropped call ends within 50 ms" => cancel;
    2 "state-round-trip" "a new instance takes an exported state" => state_round_trip;
    2 "state-garbage" "refuses a state that is damaged" => state_garbage;
    3 "foreign-executor" "works under an executor that knows nothing of its runtime" => foreign_executor;
    3 "stress" "answers 8 threads at once" => stress;
    3 "deadline" "a call whose deadline has passed ends at once" => deadline;
    3 "dropped-unstopped" "can be dropped without being stopped" => dropped_unstopped;
    3 "generations" "twenty generations leave no thread and little memory" => generations;
}

impl Subject {
    pub(super) fn new(library: &Path, config: &Json, workers: &BTreeMap<String, PathBuf>) -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self { library: library.into(), config: config.clone(), workers: workers.clone(), home })
    }

    fn open(&self) -> Result<Root, String> {
        open(&self.library).map_err(|error| error.to_string())
    }

    fn construct(&self, root: Root, generation: u64, config: &Json) -> Result<Extension, Error> {
        let options = CreateOptions {
            config: config.clone(),
            home: self.home.path().into(),
            workers: self.workers.clone(),
            worker_threads: 1,
            linked: false,
            generation,
        };
        root.create(Arc::new(Detached), &options)
    }

    fn create(&self) -> Result<Extension, String> {
        self.construct(self.open()?, 1, &self.config).map_err(|error| said("create", &error))
    }

    fn active(&self) -> Result<Extension, String> {
        let extension = self.create()?;
        wait(extension.activate(ctx(), None)).map_err(|error| said("activate", &error))?;
        Ok(extension)
    }
}

fn load(subject: &Subject) -> Outcome {
    subject.open().map(drop)
}

fn identity(subject: &Subject) -> Outcome {
    let root = subject.open()?;
    ensure(!root.id().is_empty(), || "its id is empty".into())?;
    semver::Version::parse(root.version()).map_err(|error| format!("its version `{}`: {error}", root.version()))?;
    let described = subject.create()?.describe().map_err(|error| said("describe", &error))?.metadata;
    ensure((described.id.as_str(), described.version.as_str()) == (root.id(), root.version()), || {
        format!(
            "it describes itself as `{} {}`, its root says `{} {}`",
            described.id,
            described.version,
            root.id(),
            root.version()
        )
    })
}

fn create(subject: &Subject) -> Outcome {
    subject.create().map(drop)
}

fn describe(subject: &Subject) -> Outcome {
    let verbs = subject.create()?.describe().map_err(|error| said("describe", &error))?.verbs;
    let mut names = std::collections::BTreeSet::new();
    for verb in &verbs {
        ensure(!verb.name.is_empty() && !verb.summary.is_empty(), || {
            format!("verb `{}` lacks a name or summary", verb.name)
        })?;
        ensure(names.insert(&verb.name), || format!("verb `{}` is there twice", verb.name))?;
        let schema_fits = verb.parameters.is_null() || verb.parameters["type"] == "object";
        ensure(schema_fits, || format!("parameters of `{}` are not described as an object", verb.name))?;
    }
    Ok(())
}

fn examples(subject: &Subject) -> Outcome {
    let verbs = subject.create()?.describe().map_err(|error| said("describe", &error))?.verbs;
    for verb in &verbs {
        for example in &verb.examples {
            let fits = example.command == verb.name || example.command.starts_with(&format!("{} ", verb.name));
            ensure(fits, || format!("example `{}` of `{}` begins with another verb", example.command, verb.name))?;
        }
    }
    Ok(())
}

fn register(subject: &Subject) -> Outcome {
    let mut wrong = None;
    let registered = subject.create()?.register(&mut |_, id| {
        let revision = id.rsplit_once('/').map(|(_, revision)| revision);
        if revision.is_none_or(|revision| revision.parse::<u32>().is_err()) {
            wrong = Some(id.to_owned());
        }
        Ok(())
    });
    registered.map_err(|error| said("register", &error))?;
    wrong.map_or(Ok(()), |id| Err(format!("contribution `{id}` is not of the form name/revision")))
}

fn activate(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    wait(extension.status(ctx())).map(drop).map_err(|error| said("status", &error))
}

fn health(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    wait(extension.health(ctx())).map_err(|error| said("health", &error))?;
    wait(extension.validate(ctx())).map(drop).map_err(|error| said("validate", &error))
}

fn unknown_verb(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    expect(Code::UNSUPPORTED, wait(extension.request(ctx(), NO_VERB, &json!({}))))
}

fn unknown_method(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    expect(Code::UNSUPPORTED, wait(extension.invoke(ctx(), u32::MAX, Vec::new())))
}

fn stop(subject: &Subject) -> Outcome {
    let root = subject.open()?;
    // What a runtime keeps once per process, such as tokio's pipe for signals, is there after the first round.
    cycle(subject, root, 1)?;
    let before = Held::now();
    cycle(subject, root, 2)?;
    before.unchanged()
}

fn cycle(subject: &Subject, root: Root, generation: u64) -> Outcome {
    let extension = subject.construct(root, generation, &subject.config).map_err(|error| said("create", &error))?;
    wait(extension.activate(ctx(), None)).map_err(|error| said("activate", &error))?;
    extension.stop(5_000).map_err(|error| said("stop", &error))
}

fn quiet_load(subject: &Subject) -> Outcome {
    let before = Held::now();
    subject.open()?;
    before.unchanged()
}

fn garbage_config(subject: &Subject) -> Outcome {
    let root = subject.open()?;
    for (generation, config) in
        (1..).zip([json!(null), json!(7), json!("x"), json!([[]]), json!({"no-such-setting": {}})])
    {
        match subject.construct(root, generation, &config) {
            Ok(extension) => extension.stop(1_000).map_err(|error| said("stop", &error))?,
            Err(error) => ensure(error.code != Code::PANIC, || format!("with configuration {config}: {error}"))?,
        }
    }
    Ok(())
}

fn garbage_params(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    let verbs = extension.describe().map_err(|error| said("describe", &error))?.verbs;
    for verb in verbs.iter().map(|verb| verb.name.as_str()).chain([NO_VERB]) {
        for params in [json!(null), json!(7), json!("x"), json!([])] {
            match wait(extension.request(ctx(), verb, &params)) {
                Ok(_) => return Err(format!("`{verb}` took {params} for an object")),
                Err(error) => ensure(error.code != Code::PANIC, || format!("`{verb}` with {params}: {error}"))?,
            }
        }
    }
    Ok(())
}

fn refused_register(subject: &Subject) -> Outcome {
    let extension = subject.create()?;
    let refusal = || Error::new(Code::CAPABILITY_NOT_GRANTED, "refused by the check");
    match extension.register(&mut |_, _| Err(refusal())) {
        Err(error) if error.code == Code::PANIC => Err(said("register", &error)),
        _ => extension.stop(5_000).map_err(|error| said("stop", &error)),
    }
}

fn call_before_activate(subject: &Subject) -> Outcome {
    expect(Code::NOT_RUNNING, wait(subject.create()?.request(ctx(), NO_VERB, &json!({}))))
}

fn call_after_stop(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    extension.stop(5_000).map_err(|error| said("stop", &error))?;
    expect(Code::NOT_RUNNING, wait(extension.request(ctx(), NO_VERB, &json!({}))))?;
    // The other methods may answer or refuse; they must come back.
    let _ = wait(extension.health(ctx()));
    let _ = wait(extension.quiesce(ctx()));
    let _ = wait(extension.activate(ctx(), None));
    Ok(())
}

fn double_stop(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    extension.stop(5_000).map_err(|error| said("the first stop", &error))?;
    extension.stop(5_000).map_err(|error| said("the second stop", &error))
}

fn double_activate(subject: &Subject) -> Outcome {
    wait(subject.active()?.activate(ctx(), None)).map_err(|error| said("the second activate", &error))
}

fn pause_resume(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    let handover = wait(extension.quiesce(ctx())).map_err(|error| said("quiesce", &error))?;
    expect(Code::NOT_RUNNING, wait(extension.request(ctx(), NO_VERB, &json!({}))))?;
    wait(extension.activate(ctx(), Some(&handover))).map_err(|error| said("activate", &error))?;
    expect(Code::UNSUPPORTED, wait(extension.request(ctx(), NO_VERB, &json!({}))))
}

fn handover(subject: &Subject) -> Outcome {
    let first = subject.active()?;
    let second = subject.construct(subject.open()?, 2, &subject.config).map_err(|error| said("create", &error))?;
    let handed = wait(first.quiesce(ctx())).map_err(|error| said("quiesce", &error))?;
    wait(second.activate(ctx(), Some(&handed))).map_err(|error| said("activate of the second", &error))?;
    first.stop(5_000).map_err(|error| said("stop of the first", &error))?;
    expect(Code::UNSUPPORTED, wait(second.request(ctx(), NO_VERB, &json!({}))))
}

fn cancel(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    for _ in 0..20 {
        let params = json!({});
        let mut call = pin!(extension.request(ctx(), NO_VERB, &params));
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let dropped = Instant::now();
    while extension.active_operations() != 0 {
        ensure(dropped.elapsed() < CANCEL_TIME, || {
            format!("{} operations go on after 50 ms", extension.active_operations())
        })?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn state_round_trip(subject: &Subject) -> Outcome {
    let first = subject.active()?;
    let state = wait(first.export_state(ctx())).map_err(|error| said("export_state", &error))?;
    first.stop(5_000).map_err(|error| said("stop", &error))?;
    let other = Subject::new(&subject.library, &subject.config, &subject.workers)?;
    wait(other.active()?.import_state(ctx(), state)).map_err(|error| said("import_state", &error))
}

fn state_garbage(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    let state = wait(extension.export_state(ctx())).map_err(|error| said("export_state", &error))?;
    let mut newer: Json = serde_json::from_slice(&state).map_err(|error| error.to_string())?;
    newer["version"] = json!(999);
    let mut changed: Json = serde_json::from_slice(&state).map_err(|error| error.to_string())?;
    changed["state"] = json!({"forged": true});
    for garbage in [b"".to_vec(), b"{".to_vec(), newer.to_string().into_bytes(), changed.to_string().into_bytes()] {
        match wait(extension.import_state(ctx(), garbage.clone())) {
            Ok(()) => return Err(format!("it took the state `{}`", String::from_utf8_lossy(&garbage))),
            Err(error) => ensure(error.code != Code::PANIC, || said("import_state", &error))?,
        }
    }
    Ok(())
}

fn foreign_executor(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    std::thread::scope(|scope| {
        let polled_elsewhere =
            scope.spawn(|| expect(Code::UNSUPPORTED, wait(extension.request(ctx(), NO_VERB, &json!({})))));
        polled_elsewhere.join().unwrap_or_else(|_| Err("the polling thread panicked".into()))
    })
}

fn stress(subject: &Subject) -> Outcome {
    const THREADS: usize = 8;
    const CALLS: usize = 100;
    let extension = subject.active()?;
    std::thread::scope(|scope| {
        let caller = || {
            for _ in 0..CALLS {
                extension.describe().map_err(|error| said("describe", &error))?;
                wait(extension.health(ctx())).map_err(|error| said("health", &error))?;
                expect(Code::UNSUPPORTED, wait(extension.request(ctx(), NO_VERB, &json!({}))))?;
            }
            Ok(())
        };
        let callers: Vec<_> = (0..THREADS).map(|_| scope.spawn(caller)).collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().unwrap_or_else(|_| Err("a calling thread panicked".into())))
    })
}

fn deadline(subject: &Subject) -> Outcome {
    let extension = subject.active()?;
    let started = Instant::now();
    let late = CallCtx { deadline_mono_ns: monotonic_ns().saturating_sub(1).max(1), ..ctx() };
    match wait(extension.request(late, NO_VERB, &json!({}))) {
        Err(error) if matches!(error.code, Code::DEADLINE_EXCEEDED | Code::UNSUPPORTED) => {}
        Err(error) => return Err(said("a late request", &error)),
        Ok(_) => return Err("a verb that does not exist was answered".into()),
    }
    ensure(started.elapsed() < Duration::from_secs(1), || "a late request took more than a second".into())
}

fn dropped_unstopped(subject: &Subject) -> Outcome {
    drop(subject.active()?);
    Ok(())
}

fn generations(subject: &Subject) -> Outcome {
    const GENERATIONS: u64 = 20;
    const KIBIBYTES_EACH_MAX: u64 = 2_048;
    let root = subject.open()?;
    cycle(subject, root, 1)?;
    let (before, memory) = (Held::now(), resident_kib());
    (2..=GENERATIONS).try_for_each(|generation| cycle(subject, root, generation))?;
    before.unchanged()?;
    let each = resident_kib().saturating_sub(memory) / GENERATIONS;
    ensure(each < KIBIBYTES_EACH_MAX, || format!("each generation leaves {each} KiB behind"))
}

/// What a process holds that a library could leak.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    threads: usize,
    descriptors: usize,
}

impl Held {
    fn now() -> Self {
        let count = |path| std::fs::read_dir(path).map_or(0, Iterator::count);
        Self { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
    }

    /// Threads take a moment to be gone after they were joined.
    fn unchanged(&self) -> Outcome {
        const PATIENCE: Duration = Duration::from_secs(1);
        let started = Instant::now();
        loop {
            let now = Self::now();
            if now.threads <= self.threads && now.descriptors <= self.descriptors {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!(
                    "it left {} threads and {} descriptors behind",
                    now.threads.saturating_sub(self.threads),
                    now.descriptors.saturating_sub(self.descriptors)
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn ctx() -> CallCtx {
    CallCtx { deadline_mono_ns: monotonic_ns() + 10_000_000_000, ..CallCtx::default() }
}

fn expect<T>(code: Code, answer: Result<T, Error>) -> Outcome {
    match answer {
        Ok(_) => Err(format!("it answered where {} was due", code.name())),
        Err(error) if error.code == code => Ok(()),
        Err(error) => Err(format!("it said {} where {} was due: {error}", error.code.name(), code.name())),
    }
}

fn said(what: &str, error: &Error) -> String {
    format!("{what} answered {}: {error}", error.code.name())
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(reason()) }
}

/// Polls on this thread without any runtime, as a host with another executor would.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
