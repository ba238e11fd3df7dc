//! What programs store in the middle of a call: typed, refused in words, and never waited for longer than they may.

use std::sync::Arc;
use std::time::Duration;

use catalog::value::Value;
use catalog::vm::storage::{Scratch, Storage, StorageAnswer, StorageAsk};
use catalog::vm::{Cancel, Clock, Executor as _, Limits, Run, VmError};

use super::{executor, run};

/// Answers after a while.
#[derive(Debug)]
struct Slow(Duration);

impl Storage for Slow {
    fn ask(&self, _: StorageAsk) -> StorageAnswer {
        std::thread::sleep(self.0);
        StorageAnswer::Value(Value::Int(1))
    }
}

#[tokio::test]
async fn values_are_stored_with_their_types_while_loading_and_in_calls() {
    let source = "storage.set('early', {1, 2.5, 'x'}) return function()
        local early = storage.get('early') storage.set('late', {deep = early}) storage.remove('early')
        local refused, why = pcall(storage.set, 'large', ('x'):rep(2000))
        return {storage.get('late'), storage.get('early') == nil, storage.keys(), refused, why} end";
    let hold = Cancel::with_storage(Arc::new(Scratch::new(1_000)));
    let outcome = executor().execute(&run(source), &hold).await.expect("runs");
    let Value::List(results) = outcome.value else { panic!("{:?}", outcome.value) };
    let early = Value::List(vec![Value::Int(1), Value::Float(2.5), Value::Str("x".into())]);
    assert_eq!(results[0], Value::Map([("deep".to_owned(), early)].into()));
    assert_eq!(results[1..4], [Value::Bool(true), Value::List(vec![Value::Str("late".into())]), Value::Bool(false)]);
    assert!(matches!(&results[4], Value::Str(why) if why.contains("storage of the package is full")), "{results:?}");
}

#[tokio::test]
async fn who_has_no_storage_is_told_so() {
    let failure = executor().execute(&run("return function() storage.get('x') end"), &Cancel::new()).await;
    let failure = failure.expect_err("is refused").to_string();
    assert!(failure.contains("asks for no storage"), "{failure}");
}

#[tokio::test]
async fn a_storage_that_takes_too_long_ends_the_run() {
    let limits = Limits { io: Duration::from_millis(50), ..Limits::default() };
    let slow = Run { limits, ..run("return function() return storage.get('x') end") };
    let hold = Cancel::with_storage(Arc::new(Slow(Duration::from_millis(500))));
    let failure = executor().execute(&slow, &hold).await.expect_err("takes too long");
    let is_late = matches!(*failure.error, VmError::Timeout { clock: Clock::Io, limit } if limit == limits.io);
    assert!(is_late, "{failure}");
    let patient = Run { limits: Limits::default(), ..slow };
    let hold = Cancel::with_storage(Arc::new(Slow(Duration::from_millis(1))));
    assert_eq!(executor().execute(&patient, &hold).await.expect("runs").value, Value::Int(1));
}
