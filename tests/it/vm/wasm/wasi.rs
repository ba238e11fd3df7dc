//! WASI preview 1: what programs without files have, and that they have no more.

use super::*;

/// Prints, reads and ends with a status, as its first argument says.
const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (data (i32.const 8) "to stderr\n")
    ;; Prints so many bytes from an address.
    (func $print (param $fd i32) (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (if (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 100)) (then (unreachable))))
    (func (export "_start")
        ;; The arguments, with their zeros, then the environment, then the input.
        (drop (call $sizes (i32.const 200) (i32.const 204)))
        (drop (call $args (i32.const 1000) (i32.const 2000)))
        (call $print (i32.const 1) (i32.const 2000) (i32.load (i32.const 204)))
        (call $print (i32.const 2) (i32.const 8) (i32.const 10))
        (drop (call $environ_sizes (i32.const 208) (i32.const 212)))
        (drop (call $environ (i32.const 3000) (i32.const 4000)))
        (call $print (i32.const 1) (i32.const 4000) (i32.load (i32.const 212)))
        (i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 5))
        (loop $again
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 100)))
            (if (i32.load (i32.const 100)) (then
                (call $print (i32.const 1) (i32.const 65536) (i32.load (i32.const 100)))
                (i32.store (i32.const 0) (i32.const 65536))
                (i32.store (i32.const 4) (i32.const 5))
                (br $again))))
        (call $exit (i32.sub (i32.load (i32.const 200)) (i32.const 2)))
        (unreachable)))"#;

#[tokio::test]
async fn a_command_has_arguments_environment_input_output_and_a_status() {
    let context = Context {
        environment: BTreeMap::from([("A".into(), "1".into()), ("B".into(), String::new())]),
        input: b"what came in\n".to_vec(),
        ..Context::default()
    };
    let run = Run { context, ..wasm_run(bytes(COMMAND), "main", [Value::Str("one".into())]) };
    let (value, stdout, stderr) = both(&run).await.expect("ends with 0");
    assert_eq!((value, stderr.as_str()), (Value::Nil, "to stderr\n"));
    assert_eq!(stdout, "app/main.wasm\0one\0A=1\0B=\0what came in\n");
    let run = Run { call: call("main", [Value::Int(7), Value::List(vec![]), Value::Nil]), ..run };
    for executor in executors() {
        let failure = executor.execute(&run, &Cancel::new()).await.expect_err("ends with 2");
        assert_eq!(failure.error.script().expect("is the program's").kind, ScriptErrorKind::Exit(2));
        assert_eq!(failure.output.stdout, "app/main.wasm\x007\0[]\0null\0A=1\0B=\0what came in\n");
        assert_eq!(failure.to_string(), "app/main.wasm: ended with status 2");
    }
}

#[tokio::test]
async fn there_are_no_files_and_no_sockets() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "/etc/passwd")
        (func (export "open") (param i32) (result i32)
            (call $open (local.get 0) (i32.const 0) (i32.const 0) (i32.const 11) (i32.const 0)
                (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 64)))
        (func (export "prestat") (param i32) (result i32) (call $prestat (local.get 0) (i32.const 64)))
        (func (export "accept") (param i32) (result i32) (call $accept (local.get 0) (i32.const 0) (i32.const 64)))
        (func (export "close") (param i32) (result i32) (call $close (local.get 0)))
        (func (export "write") (param i32) (result i32)
            (call $write (local.get 0) (i32.const 64) (i32.const 1) (i32.const 80)))
        (func (export "far") (param i32) (result i32)
            (call $write (i32.const 1) (local.get 0) (i32.const 1) (i32.const 80)))
        (func (export "many") (param i32) (result i32)
            (call $write (i32.const 1) (i32.const 64) (local.get 0) (i32.const 80)))
        (func (export "read") (param i32) (result i32)
            (call $read (local.get 0) (i32.const 64) (i32.const 1) (i32.const 80))))"#;
    let (bad_descriptor, fault) = (Value::Int(8), Value::Int(21));
    for descriptor in [0, 3, 4, 1000, -1] {
        for function in ["open", "prestat", "accept"] {
            assert_eq!(
                gives(module, function, [Value::Int(descriptor)]).await,
                bad_descriptor,
                "{function}({descriptor})"
            );
        }
    }
    for (function, descriptor) in [("write", 0), ("write", 3), ("read", 1), ("close", 3)] {
        assert_eq!(gives(module, function, [Value::Int(descriptor)]).await, bad_descriptor, "{function}");
    }
    for address in [65_532, 65_536, -1, i64::from(i32::MIN)] {
        assert_eq!(gives(module, "far", [Value::Int(address)]).await, fault, "{address}");
    }
    assert_eq!(gives(module, "many", [Value::Int(-1)]).await, fault);
}

#[tokio::test]
async fn clocks_run_sleep_sleeps_and_random_bytes_differ() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func $now (export "now") (param i32) (result i64)
            (if (call $clock (local.get 0) (i64.const 1) (i32.const 0)) (then (unreachable)))
            (i64.load (i32.const 0)))
        (func (export "random") (result i64)
            (if (call $random (i32.const 8) (i32.const 8)) (then (unreachable)))
            (i64.load (i32.const 8)))
        ;; One subscription to the monotonic clock, so many nanoseconds; gives how long it took.
        (func (export "sleep") (param i64) (result i64)
            (local $began i64)
            (local.set $began (call $now (i32.const 1)))
            (i32.store (i32.const 116) (i32.const 1))
            (i64.store (i32.const 124) (local.get 0))
            (if (call $poll (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 300)) (then (unreachable)))
            (if (i32.ne (i32.load (i32.const 300)) (i32.const 1)) (then (unreachable)))
            (i64.sub (call $now (i32.const 1)) (local.get $began))))"#;
    let number = |value| if let Value::Int(number) = value { number } else { panic!("{value:?} is no integer") };
    for executor in executors() {
        let call = async |function: &str, args: &[Value]| {
            let call = Call { function: function.into(), args: args.to_vec() };
            let run = Run { call, ..wasm_run(bytes(module), function, []) };
            number(executor.execute(&run, &Cancel::new()).await.expect("runs").value)
        };
        let (before, wall) = (time::OffsetDateTime::now_utc(), call("now", &[Value::Int(0)]).await);
        assert!(
            wall >= before.unix_timestamp_nanos() as i64
                && wall <= time::OffsetDateTime::now_utc().unix_timestamp_nanos() as i64
        );
        assert_ne!(call("random", &[]).await, call("random", &[]).await);
        assert!(call("sleep", &[Value::Int(20_000_000)]).await >= 20_000_000);
        let limits = Limits { wall: Duration::from_millis(100), ..Limits::default() };
        let asleep = Run { limits, ..wasm_run(bytes(module), "sleep", [Value::Int(i64::MAX)]) };
        let failure = executor.execute(&asleep, &Cancel::new()).await.expect_err("sleeps for good");
        assert!(matches!(*failure.error, VmError::Timeout { .. }), "{failure}");
    }
}
