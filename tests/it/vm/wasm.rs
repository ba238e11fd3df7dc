//! WebAssembly: every case in a worker process and in this one, which must agree.

mod component;
mod limits;
mod package;
mod wasi;

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use catalog::vm::wasm::cache::Cache;
use catalog::vm::wasm::local::LocalExecutor;

use super::*;

/// Both ways to run a module.
fn executors() -> [Box<dyn Executor>; 2] {
    [Box::new(process()), Box::new(LocalExecutor::new(None).expect("there are threads"))]
}

fn process() -> ProcessExecutor {
    ProcessExecutor::with_engine(worker_program(), Language::Wasm, Default::default(), PoolOptions::DEFAULT)
}

fn bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn wasm_program(module: Vec<u8>) -> Program {
    let module = Module { file: "app/main.wasm".into(), source: module.into() };
    Program::new(Language::Wasm, "app", [("app".to_owned(), module)].into()).expect("has a module `app`")
}

fn wasm_run<const N: usize>(module: Vec<u8>, function: &str, args: [Value; N]) -> Run {
    Run { program: Arc::new(wasm_program(module)), call: call(function, args), ..run("") }
}

/// Runs in both ways; usage, layers and grade differ, and the rest must not.
async fn both(run: &Run) -> Result<(Value, String, String), VmError> {
    let mut results = Vec::new();
    for executor in executors() {
        let result = executor.execute(run, &Cancel::new()).await;
        results.push(
            result.map(|done| (done.value, done.output.stdout, done.output.stderr)).map_err(|failed| *failed.error),
        );
    }
    let (local, process) = (results.pop().expect("two"), results.pop().expect("two"));
    assert_eq!(without_offsets(&local), without_offsets(&process));
    local
}

/// Offsets within a function depend on what the engine put between its instructions.
fn without_offsets(result: &impl std::fmt::Debug) -> String {
    let text = format!("{result:?}");
    let mut parts = text.split(".wasm:0x");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + ".wasm" + part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()))
}

async fn gives<const N: usize>(module: &str, function: &str, args: [Value; N]) -> Value {
    both(&wasm_run(bytes(module), function, args)).await.unwrap_or_else(|error| panic!("{function}: {error}")).0
}

async fn fails<const N: usize>(module: &str, function: &str, args: [Value; N]) -> VmError {
    both(&wasm_run(bytes(module), function, args)).await.expect_err("must fail")
}

const NUMBERS: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "wide") (param i64) (result i64) (i64.sub (local.get 0) (i64.const 1)))
    (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
    (func (export "single") (param f32) (result f32) (f32.sqrt (local.get 0)))
    (func (export "both") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0))
    (func (export "nothing"))
    (global $count (mut i32) (i32.const 0))
    (func (export "count") (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count)))"#;

#[tokio::test]
async fn numbers_go_in_and_out_by_their_types() {
    use Value::{Bool, Float, Int};
    assert_eq!(gives(NUMBERS, "add", [Int(40), Int(2)]).await, Int(42));
    assert_eq!(gives(NUMBERS, "add", [Int(i64::from(u32::MAX)), Bool(true)]).await, Int(0));
    assert_eq!(gives(NUMBERS, "wide", [Int(i64::MIN + 1)]).await, Int(i64::MIN));
    assert_eq!(gives(NUMBERS, "half", [Int(7)]).await, Float(3.5));
    assert_eq!(gives(NUMBERS, "single", [Float(2.25)]).await, Float(1.5));
    assert_eq!(
        gives(NUMBERS, "both", [Int(-1), Float(f64::INFINITY)]).await,
        Value::List(vec![Float(f64::INFINITY), Int(-1)])
    );
    assert_eq!(gives(NUMBERS, "nothing", []).await, Value::Nil);
}

#[tokio::test]
async fn nothing_of_a_call_is_left_for_the_next() {
    let run = wasm_run(bytes(NUMBERS), "count", []);
    for executor in executors() {
        for _ in 0..3 {
            let outcome = executor.execute(&run, &Cancel::new()).await.expect("runs");
            assert_eq!(outcome.value, Value::Int(1));
        }
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_by_their_place() {
    let cases: [(&str, Vec<Value>, &str); 6] = [
        ("add", vec![Value::Int(1)], "`add` takes (i32, i32), and 1 arguments do not make that"),
        ("add", vec![Value::Int(1); 3], "`add` takes (i32, i32), and 3 arguments do not make that"),
        ("add", vec![Value::Int(1), Value::Float(1.5)], "argument 2 of `add`: `1.5` is no `i32`"),
        ("add", vec![Value::Int(1 << 32), Value::Int(1)], "argument 1 of `add`: `4294967296` is no `i32`"),
        (
            "wide",
            vec![Value::Str("1".into())],
            "argument 1 of `wide`: text, bytes, lists and maps take two parameters `i32`",
        ),
        (
            "add",
            vec![Value::Str("1".into())],
            "argument 1 of `add`: to take text or bytes, a module exports its `memory` and `alloc(length: i32) -> i32`",
        ),
    ];
    for (function, args, expected) in cases {
        let run = Run { call: Call { function: function.into(), args }, ..wasm_run(bytes(NUMBERS), function, []) };
        let error = both(&run).await.expect_err("does not fit");
        let script = error.script().expect("is the program's");
        assert_eq!((script.kind, script.message.as_str()), (ScriptErrorKind::Value, expected));
    }
    let error = fails(NUMBERS, "other", []).await;
    let script = error.script().expect("is the program's");
    assert_eq!(script.kind, ScriptErrorKind::NoFunction);
    assert!(script.message.contains("it exports [add, wide, half, single, both, nothing, count]"), "{script}");
}

/// Allocates upwards, and gives back what it was given in three forms.
const ECHO: &str = r#"(module
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "alloc") (param $length i32) (result i32)
        (global.get $next) (global.set $next (i32.add (global.get $next) (local.get $length))))
    (func $both (param i32 i32) (result i64)
        (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1))))
    (func (export "text->text") (param i32 i32) (result i64) (call $both (local.get 0) (local.get 1)))
    (func (export "bytes->bytes") (param i32 i32) (result i32 i32) (local.get 0) (local.get 1))
    (func (export "json->json") (param i32 i32) (result i64) (call $both (local.get 0) (local.get 1)))
    (func (export "outside->text") (result i64) (i64.const -1))
    (func (export "no->text") (result f32) (f32.const 0))
    (func (export "second->text") (param i32 i32 f64 i32 i32) (result i32 i32) (local.get 3) (local.get 4)))"#;

#[tokio::test]
async fn text_bytes_and_structures_go_through_memory() {
    let structure = Value::Map(BTreeMap::from([("a".into(), Value::List(vec![Value::Int(1), Value::Nil]))]));
    assert_eq!(gives(ECHO, "text", [Value::Str("grüße\0".into())]).await, Value::Str("grüße\0".into()));
    assert_eq!(gives(ECHO, "bytes", [Value::Bytes(vec![0xff, 0])]).await, Value::Bytes(vec![0xff, 0]));
    assert_eq!(gives(ECHO, "json", [structure.clone()]).await, structure);
    assert_eq!(gives(ECHO, "text", [Value::Str(String::new())]).await, Value::Str(String::new()));
    let args = [Value::Str("one".into()), Value::Float(0.0), Value::Str("two".into())];
    assert_eq!(gives(ECHO, "second", args).await, Value::Str("two".into()));
    for (function, args, expected) in [
        ("text", Value::Bytes(vec![0xff]), "result of `text`: it is no UTF-8: "),
        ("json", Value::Str("{".into()), "result of `json`: it is no JSON: "),
        ("text", Value::Str("x".repeat(70_000)), "which is not in memory"),
    ] {
        let error = fails(ECHO, function, [args]).await;
        assert!(error.to_string().contains(expected), "{error}");
    }
    for (function, expected) in [("outside", "are not in memory"), ("no", "two results `i32` or one `i64`")] {
        let error = fails(ECHO, function, []).await;
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_trap_names_its_kind_and_the_functions() {
    let module = r#"(module
        (memory 1) (table 1 funcref) (type $none (func))
        (func $deep (unreachable))
        (func $middle (call $deep))
        (func (export "boom") (call $middle))
        (func (export "zero") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
        (func (export "outside") (result i32) (i32.load (i32.const 65536)))
        (func (export "null") (call_indirect (type $none) (i32.const 0)))
        (func $again (export "again") (call $again)))"#;
    let traps = [
        ("boom", "wasm `unreachable` instruction executed"),
        ("zero", "integer divide by zero"),
        ("outside", "out of bounds memory access"),
        ("null", "uninitialized element"),
        ("again", "call stack exhausted"),
    ];
    expect_traps(module, &traps, ["`deep`", "`middle`", "number 2"]).await;
}

/// Expects that functions trap, and that the first of them names the functions it came through.
async fn expect_traps(program: &str, traps: &[(&str, &str)], through: [&str; 3]) {
    for (number, (function, message)) in traps.iter().enumerate() {
        let error = fails(program, function, []).await;
        let script = error.script().expect("is the program's");
        assert_eq!((script.kind, script.message.as_str()), (ScriptErrorKind::Runtime, *message));
        assert_eq!(script.file.as_deref(), Some("app/main.wasm"));
        if number == 0 {
            let names: Vec<&str> =
                script.traceback.iter().filter_map(|line| line.split(": in function ").nth(1)).collect();
            assert_eq!(names, through);
        }
    }
}

#[tokio::test]
async fn what_is_no_module_for_here_is_refused_with_the_reason() {
    let cases: [(Vec<u8>, &str); 7] = [
        (b"return 1".to_vec(), "no valid module: magic header not detected"),
        (bytes(NUMBERS)[..40].to_vec(), "no valid module: unexpected end"),
        (
            bytes("(module (import \"env\" \"log\" (func)))"),
            "`log` of `env` (nothing provides it); what the linker did not find",
        ),
        (
            bytes("(module (import \"wasi_snapshot_preview1\" \"fd_writ\" (func)))"),
            "`fd_writ` of `wasi_snapshot_preview1` (WASI preview 1 has no such function)",
        ),
        (bytes("(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func)))"), "(it has another type)"),
        (bytes("(module (import \"wasi:cli/stdout@0.2.0\" \"get\" (func)))"), "these are of WASI preview 2"),
        (bytes("(module (memory 1 1 shared))"), "no valid module: threads must be enabled"),
    ];
    for (module, expected) in cases {
        let run = wasm_run(module, "main", []);
        let error = both(&run).await.expect_err("is refused");
        assert!(matches!(error, VmError::Syntax(_)) && error.to_string().contains(expected), "{error}");
        let checked = process().check(&run.program).await.expect_err("is refused without running it");
        assert_eq!(checked.to_string(), error.to_string());
    }
    let lua = Run { program: Arc::new(program(&[("app", "")])), ..wasm_run(bytes(NUMBERS), "add", []) };
    assert!(matches!(both(&lua).await, Err(VmError::Language { .. })));
}

#[tokio::test]
async fn a_module_is_compiled_once_and_what_is_forged_is_replaced() {
    is_compiled_once(&wasm_run(bytes(NUMBERS), "add", [Value::Int(40), Value::Int(2)])).await;
}

/// Runs what gives 42, with a cache, again and again.
async fn is_compiled_once(run: &Run) {
    let directory = tempfile::tempdir().expect("there is room");
    let cache = Arc::new(Cache::open(directory.path()).expect("is made"));
    let entry = || {
        let files = std::fs::read_dir(directory.path()).expect("is there").filter_map(Result::ok);
        let mut entries = files.map(|file| file.path()).filter(|path| path.extension().is_some());
        entries.next().map(|path| (path.metadata().expect("is there").ino(), path))
    };
    let once = async || {
        // A new pool each time, so that no warm worker answers.
        let outcome = process().keeping(Arc::clone(&cache)).execute(run, &Cancel::new()).await.expect("runs");
        assert_eq!(outcome.value, Value::Int(42));
        entry().expect("is kept")
    };
    assert!(entry().is_none());
    let (first, path) = once().await;
    assert_eq!(once().await.0, first, "it was written again, so it was compiled again");
    let whole = std::fs::read(&path).expect("is there");
    let mut forged = whole.clone();
    *forged.last_mut().expect("is not empty") ^= 1;
    std::fs::write(&path, &forged).expect("is written");
    let (replaced, path) = once().await;
    assert_ne!(replaced, first);
    assert_ne!(std::fs::read(&path).expect("is there"), forged);
    assert_eq!(once().await.0, replaced);
    let local = LocalExecutor::new(Some(Arc::clone(&cache))).expect("there are threads");
    assert_eq!(local.execute(run, &Cancel::new()).await.expect("runs").value, Value::Int(42));
    let again = LocalExecutor::new(Some(cache)).expect("there are threads");
    assert_eq!(again.execute(run, &Cancel::new()).await.expect("runs").value, Value::Int(42));
}
