//! The table of executions: its transitions, counters and bounds.

use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn package() -> PackageName {
    "acme/tracer".parse().expect("valid")
}

fn admitted() -> Admitted {
    Admitted {
        package: package(),
        version: "1.0.0".into(),
        priority: Priority::Normal,
        node: "here".into(),
        detached: false,
        cancel: Cancel::new(),
    }
}

fn accepted(executions: &mut Executions) -> ExecutionId {
    executions.accept(admitted(), NOW).expect("there is room").id
}

fn outcome() -> Outcome {
    Outcome {
        value: crate::value::Value::Nil,
        output: crate::vm::Output::default(),
        usage: Usage { wall_us: 7, ..Usage::default() },
        layers: Vec::new(),
        grade: String::new(),
    }
}

#[test]
fn an_execution_runs_through_its_states() {
    let (mut executions, later) = (Executions::default(), NOW + time::Duration::SECOND);
    let id = accepted(&mut executions);
    assert_eq!(executions.get(id).expect("is there").state, State::Pending);
    executions.starting(id, 5, Some("proof-1".into()), vec!["lease-1".into()]).expect("was pending");
    executions.running(id, later).expect("was starting");
    executions.update(id, Usage { cpu_us: 3, ..Usage::default() }).expect("is running");
    assert_eq!(executions.get(id).expect("is there").usage.cpu_us, 3);
    let done = executions.finish(id, Ok(&outcome()), later).expect("was running").clone();
    assert_eq!((done.state, done.usage.wall_us, done.proof.as_deref()), (State::Completed, 7, Some("proof-1")));
    assert_eq!((done.started_at, done.finished_at, done.leases.len()), (Some(later), Some(later), 1));
    assert_eq!(executions.list().count(), 1);
    assert_eq!((done.attempts, done.queued_us, executions.totals().wait_us(990)), (1, 5, Some(5)));
    assert_eq!(executions.totals().ended["completed"], 1);
}

#[test]
fn another_attempt_begins_as_the_first_did() {
    let mut executions = Executions::default();
    let id = accepted(&mut executions);
    executions.starting(id, 3, None, vec!["lease-1".into()]).expect("was pending");
    executions.running(id, NOW).expect("was starting");
    executions.retrying(id, "worker ended").expect("was running");
    let waiting = executions.get(id).expect("is there");
    assert_eq!(
        (waiting.state, waiting.leases.len(), waiting.error.as_deref()),
        (State::Pending, 0, Some("worker ended"))
    );
    executions.starting(id, 4, None, Vec::new()).expect("was pending");
    executions.running(id, NOW).expect("was starting");
    let done = executions.finish(id, Ok(&outcome()), NOW).expect("was running");
    assert_eq!((done.attempts, done.queued_us, done.error.as_deref()), (2, 7, None));
    assert_eq!(executions.totals().retried, 1);
}

#[test]
fn what_never_ran_ends_too() {
    let mut executions = Executions::default();
    let id = accepted(&mut executions);
    let late = executions.give_up(id, State::TimedOut, Some("waited 1s".into()), NOW).expect("was pending");
    assert_eq!((late.state, late.error.as_deref(), late.started_at), (State::TimedOut, Some("waited 1s"), None));
    let id = accepted(&mut executions);
    executions.give_up(id, State::Completed, None, NOW).expect_err("has not run");
}

#[test]
fn failure_and_cancellation_end_apart() {
    let mut executions = Executions::default();
    for (error, state, text) in [
        (VmError::Cancelled, State::Terminated, None),
        (VmError::SessionEnded, State::Failed, Some("the session has ended with an earlier failure")),
        (
            VmError::Timeout { limit: std::time::Duration::from_secs(1), clock: crate::vm::Clock::Wall },
            State::TimedOut,
            Some("time limit of 1s reached"),
        ),
    ] {
        let id = accepted(&mut executions);
        executions.starting(id, 0, None, Vec::new()).expect("was pending");
        let done = executions.finish(id, Err(&error.into()), NOW).expect("was starting");
        assert_eq!((done.state, done.error.as_deref()), (state, text));
    }
}

#[test]
fn termination_reaches_the_runner() {
    let mut executions = Executions::default();
    let waiting = accepted(&mut executions);
    assert_eq!(executions.terminate(waiting, NOW).expect("was pending").state, State::Terminated);
    let id = accepted(&mut executions);
    executions.starting(id, 0, None, Vec::new()).expect("was pending");
    let cancel = executions.get(id).expect("is there").cancel.clone();
    assert!(!cancel.is_cancelled());
    assert_eq!(executions.terminate(id, NOW).expect("is starting").state, State::Starting);
    assert!(cancel.is_cancelled());
    executions.finish(id, Err(&VmError::Cancelled.into()), NOW).expect("was starting");
    let refused = executions.terminate(id, NOW).expect_err("has finished");
    assert_eq!(refused, ExecutionError::Transition { id, from: State::Terminated, to: State::Terminated });
}

#[test]
fn other_transitions_and_unknown_ids_are_refused() {
    let mut executions = Executions::default();
    let id = accepted(&mut executions);
    assert!(executions.running(id, NOW).is_err());
    assert!(executions.update(id, Usage::default()).is_err());
    let early = executions.finish(id, Ok(&outcome()), NOW).expect_err("has not run");
    assert_eq!(early, ExecutionError::Transition { id, from: State::Pending, to: State::Completed });
    let id = ExecutionId::random();
    for refused in [
        executions.get(id).map(|_| ()),
        executions.terminate(id, NOW).map(|_| ()),
        executions.starting(id, 0, None, Vec::new()),
        executions.update(id, Usage::default()),
    ] {
        assert_eq!(refused, Err(ExecutionError::Unknown { id }));
    }
    let states = [State::Completed, State::Failed, State::Terminated, State::TimedOut];
    for (from, to) in states.iter().flat_map(|from| states.map(|to| (*from, to))) {
        assert!(from.is_final() && !from.may_become(to));
    }
}

#[test]
fn the_table_is_bounded() {
    let mut executions = Executions::default();
    let ids: Vec<_> = (0..ACTIVE_MAX).map(|_| accepted(&mut executions)).collect();
    assert_eq!(executions.accept(admitted(), NOW).map(|_| ()), Err(ExecutionError::Full));
    for id in &ids {
        executions.terminate(*id, NOW).expect("was pending");
    }
    let last = accepted(&mut executions);
    executions.terminate(last, NOW).expect("was pending");
    assert_eq!(executions.list().count(), FINISHED_MAX);
    assert_eq!(executions.get(ids[0]).map(|_| ()), Err(ExecutionError::Unknown { id: ids[0] }));
    let kept = ids.len() + 1 - FINISHED_MAX;
    assert!(executions.get(ids[kept - 1]).is_err() && executions.get(ids[kept]).is_ok());
    assert!(executions.get(last).is_ok());
}
