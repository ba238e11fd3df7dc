//! Time, fuel, memory, stack and output of modules, and that a run that ends early leaves nothing behind.

use std::time::Instant;

use super::*;

/// Loops for good; takes all memory it gets, then traps; prints for good.
const GREEDY: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\10\00\00\00sixteen bytes..\n")
    (func (export "spin") (loop $again (br $again)))
    (func (export "grow") (result i32)
        (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (unreachable))
    (func (export "shrug") (result i32) (memory.grow (i32.const 60000)))
    (func (export "flood")
        (loop $again (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))) (br $again)))
    (func (export "work") (param i32) (result i32)
        (loop $again
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $again (local.get 0)))
        (local.get 0)))"#;

fn limited(function: &str, limits: Limits) -> Run {
    Run { limits, ..wasm_run(bytes(GREEDY), function, []) }
}

#[tokio::test]
async fn an_endless_module_ends_at_its_deadline() {
    let wall = Duration::from_millis(200);
    let run = limited("spin", Limits { wall, ..Limits::default() });
    for executor in executors() {
        let began = Instant::now();
        let failure = executor.execute(&run, &Cancel::new()).await.expect_err("never ends");
        assert!(matches!(*failure.error, VmError::Timeout { limit, clock: Clock::Wall } if limit == wall), "{failure}");
        assert!(began.elapsed() >= wall);
    }
    // The same executor still runs others.
    let local = LocalExecutor::new(None).expect("there are threads");
    local.execute(&run, &Cancel::new()).await.expect_err("never ends");
    let work = Run { call: call("work", [Value::Int(9)]), ..run };
    assert_eq!(local.execute(&work, &Cancel::new()).await.expect("ends").value, Value::Int(0));
}

#[tokio::test]
async fn memory_is_limited() {
    let limits = Limits { memory: Bytes(4 << 20), ..Limits::default() };
    let error = both(&limited("grow", limits)).await.expect_err("wants too much");
    assert!(matches!(error, VmError::MemoryLimit { limit } if limit == limits.memory), "{error}");
    // A module may go on without what it did not get.
    assert_eq!(both(&limited("shrug", limits)).await.expect("goes on").0, Value::Int(-1));
    let large = bytes("(module (memory (export \"memory\") 100) (func (export \"main\")))");
    let error = both(&Run { limits, ..wasm_run(large, "main", []) }).await.expect_err("begins with too much");
    assert!(matches!(error, VmError::MemoryLimit { .. }), "{error}");
}

#[tokio::test]
async fn output_is_limited() {
    let limits = Limits { output: Bytes(10_000), ..Limits::default() };
    for executor in executors() {
        let failure = executor.execute(&limited("flood", limits), &Cancel::new()).await.expect_err("prints too much");
        assert!(matches!(*failure.error, VmError::OutputLimit { limit } if limit == limits.output), "{failure}");
        assert_eq!(failure.output.stdout.len(), 10_000);
    }
}

#[tokio::test]
async fn fuel_is_counted_the_same_each_time_and_limited() {
    let limits = Limits { fuel: Some(1_000_000), ..Limits::default() };
    let work = |count| Run { call: call("work", [Value::Int(count)]), ..limited("work", limits) };
    let mut used = Vec::new();
    for executor in executors() {
        for _ in 0..2 {
            let outcome = executor.execute(&work(1000), &Cancel::new()).await.expect("is enough");
            used.push(outcome.usage.fuel_used);
        }
        let more = executor.execute(&work(2000), &Cancel::new()).await.expect("is enough").usage.fuel_used;
        assert!(more > used[0] + 1000, "{more} after {used:?}");
        let failure = executor.execute(&limited("spin", limits), &Cancel::new()).await.expect_err("never ends");
        assert!(matches!(*failure.error, VmError::FuelLimit { limit: 1_000_000 }), "{failure}");
        let unmetered = Run { limits: Limits::default(), ..work(1000) };
        let outcome = executor.execute(&unmetered, &Cancel::new()).await.expect("has no limit");
        assert_eq!(outcome.usage.fuel_used, 0);
    }
    assert!(used.iter().all(|fuel| *fuel == used[0] && *fuel > 1000), "{used:?}");
}

#[tokio::test]
async fn a_run_that_is_cancelled_or_dropped_ends() {
    let run = limited("spin", Limits::default());
    for executor in executors() {
        let cancel = Cancel::new();
        let (failure, ()) = tokio::join!(executor.execute(&run, &cancel), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancel.cancel();
        });
        assert!(matches!(*failure.expect_err("is cancelled").error, VmError::Cancelled));
    }
    // All places are taken by runs nobody waits for any more; if they did not end, the next would get none.
    let local = LocalExecutor::new(None).expect("there are threads");
    for _ in 0..100 {
        let dropped = tokio::time::timeout(Duration::from_millis(1), local.execute(&run, &Cancel::new())).await;
        assert!(dropped.is_err());
    }
    let work = Run { call: call("work", [Value::Int(9)]), ..run };
    assert_eq!(local.execute(&work, &Cancel::new()).await.expect("there is a place").value, Value::Int(0));
}

#[tokio::test]
async fn many_modules_run_at_once() {
    let local = LocalExecutor::new(None).expect("there are threads");
    let run = Run { call: call("work", [Value::Int(100_000)]), ..limited("work", Limits::default()) };
    let cancel = Cancel::new();
    let runs: Vec<_> = (0..200).map(|_| local.execute(&run, &cancel)).collect();
    for outcome in futures_all(runs).await {
        assert_eq!(outcome.expect("runs").value, Value::Int(0));
    }
}

/// Waits for all, polling them together.
async fn futures_all<T>(futures: Vec<catalog::vm::Running<'_, T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().filter(|(_, result)| result.is_none()) {
            if let std::task::Poll::Ready(done) = future.as_mut().poll(context) {
                *result = Some(done);
            }
        }
        let all = futures.iter().all(|(_, result)| result.is_some());
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(|(_, result)| result).collect()
}
