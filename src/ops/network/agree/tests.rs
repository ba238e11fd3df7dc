//! Votes of honest nodes, liars and those that hang, without a network.

use time::OffsetDateTime;

use super::*;
use crate::ops::execute::{LockedName, Receipt, Wait};
use crate::package::model::SandboxLevel;
use crate::value::Value;
use crate::vm::{Outcome, Output, Usage};

fn value(of: &[u8]) -> Given {
    let execution = "64a78dd2-e4f4-44cc-a303-fbae48570238".parse().expect("an id");
    Given::Value { execution, program: Digest::of(b"program"), output: Digest::of(of) }
}

fn nothing() -> Given {
    Given::Nothing { reason: "it refuses".into() }
}

fn forged() -> Given {
    Given::Forged { reason: "its receipt is of another value".into() }
}

fn agreement(agree: usize, given: Vec<Given>) -> Agreement {
    let vote = |(at, given)| Vote { node: format!("n{at}"), peer: format!("p{at}"), given, evidence: None };
    Agreement { agree, votes: given.into_iter().enumerate().map(vote).collect() }
}

#[test]
fn a_result_counts_when_enough_gave_it_and_forged_ones_never_do() {
    let other_program = match value(b"a") {
        Given::Value { execution, output, .. } => Given::Value { execution, program: Digest::of(b"other"), output },
        given => given,
    };
    let counted = [
        (vec![value(b"a"), value(b"b"), value(b"a")], 2, vec!["n1"]),
        (vec![value(b"a"), forged(), nothing(), Given::Unfinished, value(b"a")], 2, vec!["n1"]),
        (vec![value(b"a"), other_program, value(b"a")], 2, vec!["n1"]),
        (vec![nothing(), Given::Unfinished], 0, vec![]),
    ];
    for (given, expected, dissent) in counted {
        let agreement = agreement(2, given);
        assert_eq!(agreement.most_count(), expected, "{agreement}");
        assert_eq!(agreement.dissenters().map(|vote| &*vote.node).collect::<Vec<_>>(), dissent, "{agreement}");
    }
}

fn ask() -> RunAsk {
    RunAsk {
        package: "app".parse().expect("a name"),
        version: "1.0.0".parse().expect("a version"),
        digest: Digest::of(b"archive"),
        function: "main".into(),
        arguments: vec![Value::Int(2)],
        timeout_ms: None,
        cpu_millis: None,
        memory_bytes: None,
        wait: Wait::Queue,
        follow: false,
        detach: false,
        keep: None,
    }
}

/// Gives what an honest node gives.
fn executed(ask: &RunAsk, value: Value) -> Executed {
    let at = OffsetDateTime::UNIX_EPOCH;
    let (id, locked) = ("64a78dd2-e4f4-44cc-a303-fbae48570238", ask);
    let call = Call { function: ask.function.clone(), args: ask.arguments.clone() };
    Executed {
        id: id.parse().expect("an id"),
        package: LockedName {
            name: locked.package.clone(),
            version: locked.version.to_string(),
            digest: locked.digest,
        },
        sandbox_level: SandboxLevel::Standard,
        receipt: Receipt {
            program: Digest::of(b"program"),
            input: input_digest(&call),
            output: Digest::of(value.to_json().to_string().as_bytes()),
            proof: None,
            started_at: at,
            finished_at: at,
        },
        outcome: Outcome {
            value,
            output: Output::default(),
            usage: Usage::default(),
            layers: Vec::new(),
            grade: "full".into(),
        },
        leased: Vec::new(),
        total_us: 0,
        queued_us: 0,
        attempts: 1,
        node: "n2".into(),
        kept: Vec::new(),
    }
}

#[test]
fn what_a_receipt_says_and_is_not_so_is_forged() {
    let ask = ask();
    let honest = executed(&ask, Value::Int(4));
    assert!(matches!(Given::of(&honest, &ask), Given::Value { .. }));
    let other_value = Executed { outcome: executed(&ask, Value::Int(5)).outcome, ..honest.clone() };
    let mut other_arguments = honest.clone();
    other_arguments.receipt.input = Digest::of(b"other");
    let mut other_package = honest;
    other_package.package.digest = Digest::of(b"other");
    for (executed, expected) in
        [(other_value, "another value"), (other_arguments, "other arguments"), (other_package, "another package")]
    {
        let given = Given::of(&executed, &ask);
        assert!(matches!(&given, Given::Forged { reason } if reason.contains(expected)), "{given:?}");
    }
}

#[tokio::test]
async fn who_lies_is_named_and_who_hangs_is_not_waited_for() {
    let ask = ask();
    let answers = |given: Vec<Option<Executed>>| {
        let mut running = JoinSet::new();
        for (index, executed) in given.into_iter().enumerate() {
            running.spawn(async move {
                match executed {
                    Some(executed) => (index, Ok(executed)),
                    None => std::future::pending().await,
                }
            });
        }
        running
    };
    let (honest, mut liar) = (executed(&ask, Value::Int(4)), executed(&ask, Value::Int(5)));
    liar.receipt.output = honest.receipt.output;
    let until = Instant::now() + Duration::from_millis(200);
    let running = answers(vec![Some(liar.clone()), Some(honest.clone()), None, Some(honest.clone())]);
    let agreed = compare(agreement(2, vec![Given::Unfinished; 4]), &ask, running, until, |_: &Vote| {});
    let agreed = agreed.await.expect("two agree");
    assert_eq!(agreed.executed.outcome.value, Value::Int(4));
    let running = answers(vec![Some(liar), Some(honest), None]);
    let error = compare(agreement(2, vec![Given::Unfinished; 3]), &ask, running, until, |_: &Vote| {}).await;
    let error = error.expect_err("one lies, one hangs").to_string();
    assert!(error.contains("`n0` cannot be believed: its receipt is of another value"), "{error}");
    assert!(error.contains("`n1` gave `blake3:") && error.ends_with("`n2` had not answered"), "{error}");
    assert!(Instant::now() >= until, "until the deadline it was waited for");
}

#[test]
fn nobody_is_waited_for_once_too_few_are_left() {
    let open = || Given::Unfinished;
    for (given, agree, expected) in [
        (vec![open(), open(), open()], 3, true),
        (vec![value(b"a"), open(), open()], 3, true),
        (vec![value(b"a"), value(b"b"), open()], 3, false),
        (vec![value(b"a"), value(b"b"), open()], 2, true),
        (vec![nothing(), forged(), open()], 2, false),
        (vec![nothing(), open(), open()], 2, true),
    ] {
        let agreement = agreement(agree, given);
        assert_eq!(agreement.is_open(), expected, "{agreement}");
    }
    let told = agreement(2, vec![value(b"a"), nothing(), forged(), open()]).to_string();
    assert!(told.starts_with("2 of 4 nodes must give the same, and 1 did; `n0` gave `blake3:"), "{told}");
    assert!(told.contains("`n1` gave nothing: it refuses; `n2` cannot be believed: its receipt"), "{told}");
    assert!(told.ends_with("`n3` had not answered"), "{told}");
}
