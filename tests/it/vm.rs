//! Programs in real worker processes: results, errors, limits, crashes, and that nothing is left behind.

pub(crate) mod julia;
mod storage;
mod wasm;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::package::model::{Bytes, CpuMillis};
use catalog::value::Value;
use catalog::vm::pool::PoolOptions;
use catalog::vm::{
    Call, Cancel, Clock, Context, ErrorKind, Executor, Failure, Language, Layer, Limits, Module, Outcome,
    ProcessExecutor, Program, Run, ScriptErrorKind, Session, TrustDomain, VmError, WorkerProgram,
};

fn worker_program() -> WorkerProgram {
    WorkerProgram::find(&[PathBuf::from(env!("CARGO_BIN_EXE_catalog-worker"))]).expect("cargo has built the worker")
}

fn executor() -> ProcessExecutor {
    ProcessExecutor::new(worker_program(), PoolOptions::DEFAULT)
}

fn program(modules: &[(&str, &str)]) -> Program {
    let modules = modules.iter().map(|(name, source)| {
        let file = name.split_once('.').map_or(format!("{name}/main.lua"), |(pkg, stem)| format!("{pkg}/{stem}.lua"));
        (name.to_string(), Module { file, source: (*source).into() })
    });
    Program::new(Language::Lua, "app", modules.collect()).expect("has a module `app`")
}

fn run(source: &str) -> Run {
    Run {
        program: Arc::new(program(&[("app", source)])),
        context: Context::default(),
        call: call("main", []),
        limits: Limits::default(),
        domain: TrustDomain("test".into()),
    }
}

fn call<const N: usize>(function: &str, args: [Value; N]) -> Call {
    Call { function: function.into(), args: args.into() }
}

async fn execute(run: &Run) -> Result<Outcome, Failure> {
    executor().execute(run, &Cancel::new()).await
}

async fn value(source: &str) -> Value {
    execute(&run(source)).await.unwrap_or_else(|failure| panic!("{source}: {failure}")).value
}

async fn error(run: &Run) -> VmError {
    *execute(run).await.expect_err("the run must fail").error
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn syntax_of_lua_5_4_runs() {
    let source = "
        local limit <const> = 7
        local sum = 0
        for i = 1, 100 do
            if i & 1 == 0 then goto continue end
            if i // 2 > limit then break end
            sum = sum + (i << 1 ~ 3)
            ::continue::
        end
        return function() return sum, 7 // 2, 7 / 2, utf8.len('ä'), math.type(2^53 | 0) end";
    let expected = [Value::Int(120), Value::Int(3), Value::Float(3.5), Value::Int(1), Value::Str("integer".into())];
    assert_eq!(value(source).await, Value::List(expected.into()));
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let map = BTreeMap::from([("a".into(), Value::Int(1)), ("b".into(), Value::List(vec![Value::Bool(true)]))]);
    for value in [
        Value::Nil,
        Value::Bool(false),
        Value::Int(i64::MIN),
        Value::Float(1.0),
        Value::Float(f64::INFINITY),
        Value::Str("grüße\0".into()),
        Value::Bytes(vec![0xff, 0x00]),
        Value::List(vec![Value::Int(1), Value::Float(2.0), Value::Str("3".into())]),
        Value::Map(map),
    ] {
        let run = Run { call: call("main", [value.clone()]), ..run("return function(x) return x end") };
        assert_eq!(execute(&run).await.expect("is returned").value, value);
    }
}

#[tokio::test]
async fn a_program_provides_functions_in_three_ways() {
    assert_eq!(value("return function() return 1 end").await, Value::Int(1));
    assert_eq!(value("return { main = function() return 2 end }").await, Value::Int(2));
    assert_eq!(value("function main() return 3 end").await, Value::Int(3));
    let failure = error(&run("return { other = function() end }")).await;
    let script = failure.script().expect("is the program's");
    assert_eq!((script.kind, script.file.as_deref()), (ScriptErrorKind::NoFunction, Some("app/main.lua")));
    assert!(script.message.contains("has [other]") && script.message.contains("return function"), "{script}");
}

#[tokio::test]
async fn an_error_on_line_7_says_7() {
    let source = "\n\n\n\n\nlocal function f(t)\n  return t.x.y\nend\nreturn function() local r = f({}) return r end";
    let failure = execute(&run(source)).await.expect_err("raises");
    assert_eq!(failure.to_string(), "app/main.lua:7: attempt to index a nil value (field 'x')");
    let script = failure.error.script().expect("is the program's");
    assert_eq!((script.kind, script.line, script.column), (ScriptErrorKind::Runtime, Some(7), None));
    assert_eq!(script.traceback[0], "app/main.lua:7: in upvalue 'f'");
    assert_eq!((script.traceback.len(), failure.error.kind()), (2, ErrorKind::Input));
}

#[tokio::test]
async fn bad_syntax_is_found_without_running() {
    let broken = Run {
        program: Arc::new(program(&[
            ("app", "print('ran') return require('app.part')"),
            ("app.part", "\nlocal x = = 1"),
        ])),
        ..run("")
    };
    let executor = executor();
    let checked = executor.check(&broken.program).await.expect_err("is broken");
    assert_eq!(checked.to_string(), "syntax error: app/part.lua:2: unexpected symbol near '='");
    let failure = execute(&broken).await.expect_err("is broken");
    assert_eq!((failure.to_string(), failure.output.stdout.as_str()), (checked.to_string(), ""));
    executor.check(&run("while true do end").program).await.expect("compiles, and is not run");
}

#[tokio::test]
async fn output_is_kept_in_order_and_apart() {
    let source = "print('first', 1, nil, true) return function() print(2 // 1) warn('care', 'ful') print('last') end";
    let output = execute(&run(source)).await.expect("runs").output;
    assert_eq!(output.stdout, "first\t1\tnil\ttrue\n2\nlast\n");
    assert_eq!(output.stderr, "warning: careful\n");
    let failure = execute(&run("print('before') error('late')")).await.expect_err("raises");
    assert_eq!((failure.output.stdout.as_str(), failure.to_string().as_str()), ("before\n", "app/main.lua:1: late"));
}

#[tokio::test]
async fn context_is_readable_and_does_not_leak() {
    let executor = executor();
    let source = "seen = (seen or 0) + 1 string.left = (string.left or 0) + 1
        return function() return seen, string.left, size, env.HOME, env.mode end";
    let with_context = Run {
        context: Context {
            globals: BTreeMap::from([("size".into(), Value::List(vec![Value::Int(3)]))]),
            environment: BTreeMap::from([("mode".into(), "fast".into())]),
            ..Context::default()
        },
        ..run(source)
    };
    let first = executor.execute(&with_context, &Cancel::new()).await.expect("runs");
    let (one, size) = (Value::Int(1), Value::List(vec![Value::Int(3)]));
    let expected = vec![one.clone(), one.clone(), size, Value::Nil, Value::Str("fast".into())];
    assert_eq!(first.value, Value::List(expected));
    let second = executor.execute(&run(source), &Cancel::new()).await.expect("runs");
    assert_eq!(second.usage.worker_start_us, 0, "the worker is the same");
    assert_eq!(second.value, Value::List(vec![one.clone(), one, Value::Nil, Value::Nil, Value::Nil]));
}

#[tokio::test]
async fn workers_are_not_shared_between_domains_or_limits() {
    let executor = executor();
    let first = run("return function() end");
    let other_domain = Run { domain: TrustDomain("other".into()), ..first.clone() };
    let other_limits = Run { limits: Limits { memory: Bytes(8 << 20), ..first.limits }, ..first.clone() };
    for (run, idle) in [(&first, 1), (&other_domain, 2), (&other_limits, 3), (&first, 3)] {
        executor.execute(run, &Cancel::new()).await.expect("runs");
        assert_eq!(executor.pool().len(), idle);
    }
}

#[tokio::test]
async fn a_pool_keeps_no_more_than_its_bounds() {
    let options = PoolOptions { idle_max: 2, idle_for: Duration::from_secs(60) };
    let executor = ProcessExecutor::new(worker_program(), options);
    for domain in ["a", "b", "c"] {
        let run = Run { domain: TrustDomain(domain.into()), ..run("return function() end") };
        executor.execute(&run, &Cancel::new()).await.expect("runs");
    }
    assert_eq!(executor.pool().len(), 2);
    executor.pool().evict(std::time::Instant::now());
    assert_eq!(executor.pool().len(), 2);
    executor.pool().evict(std::time::Instant::now() + Duration::from_secs(61));
    assert!(executor.pool().is_empty());
}

#[tokio::test]
async fn endless_programs_are_killed() {
    let limits = Limits { wall: Duration::from_millis(200), ..Limits::default() };
    for source in [
        "return function() print('spinning') while true do end end",
        "while true do end",
        "return function() while true do pcall(function() while true do end end) end end",
        "return function() coroutine.wrap(function() while true do end end)() end",
        "return function() return ('a'):rep(30):find(('a?'):rep(30) .. ('a'):rep(30)) end",
        "return function() pcall(error, setmetatable({}, {__tostring = function() while true do end end})) while true do end end",
        "return function() setmetatable({}, {__close = 1}) local t <close> = setmetatable({}, {__close = function() while true do end end}) end",
    ] {
        let failure = execute(&Run { limits, ..run(source) }).await.expect_err("never ends by itself");
        assert!(
            matches!(*failure.error, VmError::Timeout { clock: Clock::Wall, limit } if limit == limits.wall),
            "{source}: {failure}"
        );
        assert!(failure.wall_us >= 200_000, "{source}");
        assert_eq!(failure.output.stdout.is_empty(), !source.contains("spinning"), "{source}");
    }
}

#[tokio::test]
async fn processor_time_is_limited_below_wall_time() {
    let limits = Limits { wall: Duration::from_secs(60), cpu: CpuMillis(1), ..Limits::default() };
    let error = error(&Run { limits, ..run("while true do end") }).await;
    assert!(matches!(error, VmError::Timeout { clock: Clock::Processor, .. }), "{error}");
}

#[tokio::test]
async fn memory_is_limited_and_the_next_run_is_well() {
    let executor = executor();
    for source in [
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "return function() local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end end",
        "local s = 'x' while true do s = s .. s end",
    ] {
        let run = Run { limits: Limits { memory: Bytes(4 << 20), ..Limits::default() }, ..run(source) };
        let failure = executor.execute(&run, &Cancel::new()).await.expect_err("does not fit");
        assert!(matches!(*failure.error, VmError::MemoryLimit { limit: Bytes(0x40_0000) }), "{source}: {failure}");
    }
    let outcome = executor.execute(&run("return function() return 1 end"), &Cancel::new()).await.expect("runs");
    assert_eq!(outcome.value, Value::Int(1));
    assert!(outcome.usage.memory_peak_bytes > 0 && outcome.usage.worker_start_us > 0);
}

#[tokio::test]
async fn a_flood_of_output_is_cut() {
    let limits = Limits { output: Bytes(10_000), ..Limits::default() };
    for source in ["while true do print('flood') end", "while true do warn('flood') end"] {
        let failure = execute(&Run { limits, ..run(source) }).await.expect_err("prints too much");
        assert!(matches!(*failure.error, VmError::OutputLimit { limit: Bytes(10_000) }), "{failure}");
        assert!(failure.output.stdout.len().max(failure.output.stderr.len()) == 10_000);
    }
    let exact = Limits { output: Bytes(6), ..Limits::default() };
    execute(&Run { limits: exact, ..run("print('five!') return function() end") }).await.expect("fits exactly");
    let short = Limits { output: Bytes(5), ..Limits::default() };
    let failure = error(&Run { limits: short, ..run("print('five!') return function() end") }).await;
    assert!(matches!(failure, VmError::OutputLimit { .. }));
}

#[tokio::test]
async fn limits_out_of_bounds_are_refused() {
    let limits = Limits { wall: Duration::from_secs(301), ..Limits::default() };
    let failure = error(&Run { limits, ..run("return function() end") }).await;
    assert_eq!(failure.to_string(), "limit `wall`: `301s` is not above zero and at most `300s`");
}

#[tokio::test]
async fn a_session_keeps_state_and_survives_errors_of_its_program() {
    let source =
        "local n = 0 return { add = function(k) n = n + k return n end, fail = function() error('no', 0) end }";
    let cancel = Cancel::new();
    let mut session =
        Session::open(&worker_program(), &program(&[("app", source)]), &Context::default(), Limits::default(), &cancel)
            .await
            .expect("loads");
    let add = call("add", [Value::Int(2)]);
    assert_eq!(session.call(&add, &cancel).await.expect("adds").value, Value::Int(2));
    let failure = session.call(&call("fail", []), &cancel).await.expect_err("fails");
    assert_eq!(failure.to_string(), "app/main.lua:1: no");
    assert_eq!(session.call(&add, &cancel).await.expect("adds").value, Value::Int(4));
}

#[tokio::test]
async fn a_killed_worker_is_an_error_and_no_more() {
    let limits = Limits { wall: Duration::from_secs(60), ..Limits::default() };
    let cancel = Cancel::new();
    let endless = program(&[("app", "return function() while true do end end")]);
    let mut session =
        Session::open(&worker_program(), &endless, &Context::default(), limits, &cancel).await.expect("loads");
    let pid = session.pid().expect("has a worker");
    let (main, kill) = (call("main", []), async {
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill exists");
        assert!(killed.success());
    });
    let (result, ()) = tokio::join!(session.call(&main, &cancel), kill);
    let failure = result.expect_err("the worker is dead");
    assert!(
        matches!(&*failure.error, VmError::WorkerCrashed { exit, .. } if exit.contains("signal: 9")),
        "{failure:?}"
    );
    assert_eq!((failure.error.kind(), failure.error.is_transient()), (ErrorKind::Peer, true));
    assert!(is_gone(pid));
    let again = session.call(&call("main", []), &cancel).await.expect_err("is over");
    assert!(matches!(*again.error, VmError::SessionEnded));
    assert_eq!(value("return function() return 'fine' end").await, Value::Str("fine".into()));
}

#[tokio::test]
async fn cancelling_and_dropping_leave_no_process() {
    let cancel = Cancel::new();
    let endless = program(&[("app", "return { spin = function() while true do end end, idle = function() end }")]);
    let open = async || {
        Session::open(&worker_program(), &endless, &Context::default(), Limits::default(), &Cancel::new())
            .await
            .expect("loads")
    };
    let spin = call("spin", []);

    let mut session = open().await;
    let pid = session.pid().expect("has a worker");
    let (result, ()) = tokio::join!(session.call(&spin, &cancel), async { cancel.cancel() });
    assert!(matches!(*result.expect_err("is cancelled").error, VmError::Cancelled));
    assert!(is_gone(pid) && session.pid().is_none());

    let mut session = open().await;
    let pid = session.pid().expect("has a worker");
    let never = Cancel::new();
    tokio::select! {
        biased;
        result = session.call(&spin, &never) => panic!("the call never ends: {result:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert!(is_gone(pid) && session.pid().is_none());

    let session = open().await;
    let pid = session.pid().expect("has a worker");
    assert!(!is_gone(pid));
    drop(session);
    assert!(is_gone(pid));
}

#[tokio::test]
async fn a_cancelled_run_does_not_start() {
    let cancel = Cancel::new();
    cancel.cancel();
    let failure = executor().execute(&run("return function() end"), &cancel).await.expect_err("is cancelled");
    assert!(matches!(*failure.error, VmError::Cancelled));
}

#[tokio::test]
async fn a_missing_or_wrong_worker_program_is_named() {
    let missing = WorkerProgram::find(&["/nowhere/a".into(), "/nowhere/b".into()]).expect_err("is not there");
    assert_eq!(missing.to_string(), "no worker program; looked for `/nowhere/a`, `/nowhere/b`");
    assert_eq!(missing.kind(), ErrorKind::Environment);
    let wrong = WorkerProgram::find(&["/bin/true".into()]).expect("is a file");
    let executor = ProcessExecutor::new(wrong, PoolOptions::DEFAULT);
    let failure = executor.execute(&run("return function() end"), &Cancel::new()).await.expect_err("is no worker");
    assert!(matches!(&*failure.error, VmError::WorkerCrashed { exit, .. } if exit == "exit status: 0"), "{failure:?}");
}

#[tokio::test]
async fn the_worker_says_which_layers_hold() {
    let outcome = execute(&run("return function() end")).await.expect("runs");
    let expected: Vec<&str> = Layer::COUNTED.into_iter().map(Layer::as_str).collect();
    let missing: Vec<&&str> = expected.iter().filter(|layer| !outcome.layers.iter().any(|it| it == *layer)).collect();
    assert_eq!((outcome.grade.as_str(), missing), ("full", vec![]));
}
