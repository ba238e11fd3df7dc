//! The journal over restarts, many notes and its bounds.

use super::*;
use crate::package::model::Priority;
use crate::vm::execution::{Admitted, Executions};
use crate::vm::monitor::Stream;
use crate::vm::{Cancel, Failure, VmError};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn accepted(executions: &mut Executions, at: OffsetDateTime) -> Record {
    let cancel = Cancel::new();
    cancel.monitor().printed(Stream::Stdout, b"half a line");
    let admitted = Admitted {
        package: "acme/tracer".parse().expect("a name"),
        version: "1.0.0".into(),
        priority: Priority::High,
        node: "here".into(),
        detached: true,
        cancel: cancel.clone(),
    };
    Record::of(executions.accept(admitted, at).expect("there is room"), cancel.monitor(), at)
}

fn failed(executions: &mut Executions, at: OffsetDateTime) -> Record {
    let record = accepted(executions, at);
    let failure = Failure::from(VmError::SessionEnded);
    executions.starting(record.id, 1, None, Vec::new()).expect("was pending");
    let done = executions.finish(record.id, Err(&failure), at).expect("was starting");
    Record::of(done, &crate::vm::monitor::Monitor::default(), at)
}

fn open(directory: &Path) -> Journal {
    Journal::open(&directory.join("executions.sqlite"), "the node ended", NOW).expect("opens")
}

#[tokio::test]
async fn what_was_noted_is_there_after_a_restart_and_what_had_not_finished_has_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut executions = Executions::default();
    let journal = open(directory.path());
    let (running, done) = (accepted(&mut executions, NOW), failed(&mut executions, NOW));
    journal.note(running.clone());
    let number = journal.note(done.clone());
    journal.durable(number).await.expect("is written");
    let still = journal.get(running.id).expect("reads").expect("is kept");
    assert_eq!((still.state, still.stdout.text.as_str()), (State::Pending, "half a line"));
    drop(journal);
    let journal = open(directory.path());
    let ended = journal.get(running.id).expect("reads").expect("is kept");
    assert_eq!((ended.state, ended.error.as_deref()), (State::Failed, Some("the node ended")));
    assert_eq!(ended.stdout.text, "half a line");
    let ids: Vec<_> = journal.finished(0, 10).expect("reads").0.into_iter().map(|record| record.id).collect();
    assert!(ids.len() == 2 && ids.contains(&running.id) && ids.contains(&done.id));
    assert!(journal.get(ExecutionId::random()).expect("reads").is_none());
}

#[tokio::test]
async fn many_notes_are_few_transactions_and_only_the_last_of_each_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut executions = Executions::default();
    let journal = open(directory.path());
    let mut last = 0;
    let mut ids = Vec::new();
    for number in 0..3_000 {
        let at = NOW + time::Duration::milliseconds(number);
        let mut record = failed(&mut executions, at);
        record.error = Some("first".into());
        journal.note(record.clone());
        record.error = Some("last".into());
        last = journal.note(record.clone());
        ids.push(record.id);
    }
    journal.durable(last).await.expect("is written");
    for id in ids {
        assert_eq!(journal.get(id).expect("reads").expect("is kept").error.as_deref(), Some("last"));
    }
    assert_eq!(journal.finished(0, KEPT_MAX).expect("reads").0.len(), 3_000);
}

#[tokio::test]
async fn the_latest_are_given_in_pages_whether_they_are_written_or_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut executions = Executions::default();
    let journal = open(directory.path());
    let mut note = |second: i64| {
        let record = failed(&mut executions, NOW + time::Duration::seconds(second));
        (record.id, journal.note(record))
    };
    let mut ids: Vec<ExecutionId> = (0..5).map(|second| note(second).0).collect();
    let (id, last) = note(5);
    ids.push(id);
    journal.durable(last).await.expect("is written");
    ids.extend((6..8).map(|second| note(second).0));
    ids.reverse();
    let page = |offset, most| {
        let (records, total) = journal.finished(offset, most).expect("reads");
        assert_eq!(total, 8);
        records.into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 3), ids[..3]);
    assert_eq!(page(3, 3), ids[3..6]);
    assert_eq!(page(6, 3), ids[6..]);
    assert_eq!((page(8, 3), page(2, 0)), (vec![], vec![]));
}

#[tokio::test]
async fn the_oldest_are_forgotten_beyond_the_bounds() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut executions = Executions::default();
    let journal = open(directory.path());
    let first = failed(&mut executions, NOW);
    let mut last = journal.note(first.clone());
    for number in 1..=KEPT_MAX as i64 {
        last = journal.note(failed(&mut executions, NOW + time::Duration::milliseconds(number)));
    }
    journal.durable(last).await.expect("is written");
    drop(journal);
    let journal = open(directory.path());
    assert!(journal.get(first.id).expect("reads").is_none());
    let (kept, count) = journal.finished(0, KEPT_MAX + 1).expect("reads");
    assert_eq!(count, kept.len());
    assert_eq!(kept.len(), KEPT_MAX);
    assert_eq!(kept[0].accepted_at, NOW + time::Duration::milliseconds(KEPT_MAX as i64), "the latest first");
}

#[test]
fn a_file_that_is_no_list_is_refused_and_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("executions.sqlite");
    std::fs::write(&path, "nonsense that is no database and long enough to be looked at").expect("written");
    let error = Journal::open(&path, "", NOW).expect_err("is refused");
    assert!(error.to_string().contains("move it away"), "{error}");
    assert!(std::fs::read_to_string(&path).expect("is there").starts_with("nonsense"));
}
