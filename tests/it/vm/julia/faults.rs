//! Errors with their places, libraries, limits, and workers that die.

use super::*;
use catalog::package::model::CpuMillis;
use catalog::vm::{Clock, ScriptErrorKind};

#[tokio::test]
async fn an_error_has_file_line_and_the_programs_own_frames() {
    let source = "\n\n\nfunction inner(x)\n    [1, 2][x]\nend\n\nmain() = outer(7)\nouter(x) = inner(x)\n";
    let failure = failure(&run(source)).await;
    assert_eq!(
        failure.to_string(),
        "app/main.jl:5: BoundsError: attempt to access 2-element Array{Int64,1} at index [7]"
    );
    let script = failure.error.script().expect("is the program's");
    assert_eq!((script.kind, script.line), (ScriptErrorKind::Runtime, Some(5)));
    assert_eq!(
        script.traceback,
        ["app/main.jl:5: in `inner`", "app/main.jl:9: in `outer`", "app/main.jl:8: in `main`"]
    );
}

#[tokio::test]
async fn faults_of_syntax_are_found_before_anything_runs() {
    let cases = [
        ("println(\"ran\")\nx = = 2\nmain() = 1\n", 2, "unexpected \"=\""),
        ("println(\"ran\")\n\nfunction main(x)\n  x\n", 3, "requires end"),
        ("println(\"ran\")\n\n\n)\n", 4, "unexpected \")\""),
    ];
    let executor = executor();
    for (source, line, part) in cases {
        let run = run(source);
        let failure = executor.execute(&run, &Cancel::new()).await.expect_err("is broken");
        let VmError::Syntax(script) = &*failure.error else { panic!("{failure:?}") };
        assert_eq!((script.file.as_deref(), script.line), (Some("app/main.jl"), Some(line)), "{script}");
        assert!(script.message.contains(part) && failure.output.stdout.is_empty(), "{script}");
        let checked = executor.check(&run.program).await.expect_err("is broken");
        assert_eq!(checked.to_string(), failure.to_string());
    }
    executor.check(&run("while true end\nmain() = 1").program).await.expect("parses, and is not run");
}

#[tokio::test]
async fn libraries_are_used_by_name_also_by_libraries() {
    let modules = [
        (
            "app",
            "using Geometry\nimport LinearStats: mean\nusing LinearStats.Inner: secret\nusing LinearAlgebra\n\
                 include(\"parts/more.jl\")\nmain() = (area(2.0), mean([1.0, 3.0]), more(), secret(), norm([3.0, 4.0]))\n",
        ),
        ("app/parts/more.jl", "include(\"last.jl\")\nmore() = last_part()\n"),
        ("app/parts/last.jl", "last_part() = (@__FILE__, 3)\n"),
        (
            "geometry",
            "\"Areas.\"\nmodule Geometry\nusing LinearStats\nexport area\narea(r) = LinearStats.mean([r, r]) * 2\nend\n",
        ),
        (
            "linear-stats",
            "module LinearStats\nbase() = 41\nmodule Inner\nusing LinearStats: base\n\
                          secret() = base() + 1\nend\nmean(x) = sum(x) / length(x)\nend\n",
        ),
    ];
    let outcome = execute(&run_of(&modules)).await.expect("runs");
    let more = Value::List(vec![text("/app/parts/last.jl"), Value::Int(3)]);
    let expected = vec![Value::Float(4.0), Value::Float(2.0), more, Value::Int(42), Value::Float(5.0)];
    assert_eq!(outcome.value, Value::List(expected));
}

#[tokio::test]
async fn a_library_without_a_module_is_one_and_a_missing_one_is_named() {
    let modules = [("app", "using NumberTools\nmain() = NumberTools.twice(4)\n"), ("number-tools", "twice(x) = 2x\n")];
    assert_eq!(execute(&run_of(&modules)).await.expect("runs").value, Value::Int(8));
    let missing = error("using Absent\nmain() = 1\n").await;
    let script = missing.script().expect("is the program's");
    assert!(script.message.contains("Absent") && script.line == Some(1), "{script}");
    let failing =
        failure(&run_of(&[("app", "using Bad\nmain() = 1"), ("bad", "module Bad\n\nerror(\"no\")\nend")])).await;
    assert_eq!(failing.to_string(), "bad/main.jl:3: no");
}

#[tokio::test]
async fn a_missing_function_is_told_with_those_that_are_there() {
    let missing = error("module Only\nother() = 1\nend\n").await;
    let script = missing.script().expect("is the program's");
    assert_eq!(script.kind, ScriptErrorKind::NoFunction);
    assert!(script.message.contains("no function `main`") && script.message.contains("other"), "{script}");
    assert_eq!(value("module Only\nmain() = 5\nend\n").await, Value::Int(5));
}

#[tokio::test]
async fn output_and_context_are_the_programs_own() {
    let source = "println(\"loading\")\nfunction main()\n  println(\"out\"); println(stderr, \"err\")\n\
                  ccall(:puts, Cint, (Cstring,), \"from C\")\n  (given, ENV[\"A\"], sort!(collect(keys(ENV))), readline())\nend\n";
    let mut run = run(source);
    run.context.globals.insert("given".into(), Value::Int(9));
    run.context.environment.insert("A".into(), "b".into());
    let outcome = execute(&run).await.expect("runs");
    assert_eq!(outcome.output.stdout, "loading\nout\nfrom C\n");
    assert_eq!(outcome.output.stderr, "err\n");
    let names = Value::List(vec![text("A")]);
    assert_eq!(outcome.value, Value::List(vec![Value::Int(9), text("b"), names, text("")]));
}

#[tokio::test]
async fn a_worker_that_dies_is_told_and_replaced() {
    let executor = executor_with(PoolOptions::DEFAULT);
    let source = "kill() = unsafe_store!(Ptr{Int}(8), 1)\nleave() = exit(3)\nabort() = ccall(:abort, Cvoid, ())\n\
                  trap() = ccall(:raise, Cint, (Cint,), 9)\nfine() = 1\n";
    for (function, exit) in [("leave", "exit status: 3"), ("abort", "signal: 6"), ("trap", "signal: 9")] {
        let run = Run { call: call(function, []), ..run(source) };
        let failure = executor.execute(&run, &Cancel::new()).await.expect_err("dies");
        let VmError::WorkerCrashed { exit: said, .. } = &*failure.error else { panic!("{function}: {failure:?}") };
        assert!(said.contains(exit), "{said}");
        let next = Run { call: call("fine", []), ..run };
        assert_eq!(executor.execute(&next, &Cancel::new()).await.expect("another worker").value, Value::Int(1));
    }
    // Julia itself turns a wrong address into an error.
    let run = Run { call: call("kill", []), ..run(source) };
    let failure = executor.execute(&run, &Cancel::new()).await.expect_err("fails");
    assert!(matches!(&*failure.error, VmError::WorkerCrashed { .. } | VmError::Script(_)), "{failure:?}");
}

#[tokio::test]
async fn endless_programs_are_killed_and_leave_nothing() {
    // Two cores' time is more than one that is busy takes, so it is the wall that ends them.
    let limits = Limits { wall: Duration::from_secs(3), cpu: CpuMillis(2000), ..limits() };
    for source in ["main() = while true end", "main() = sleep(1000)", "main() = try sleep(1000) catch; sleep(1000) end"]
    {
        let mut session = session_of(&program(&[("app", source)]), limits).await;
        let pid = session.pid().expect("runs");
        let failure = session.call(&call("main", []), &Cancel::new()).await.expect_err("is killed");
        assert!(matches!(*failure.error, VmError::Timeout { clock: Clock::Wall, .. }), "{failure:?}");
        assert!(super::super::is_gone(pid) && session.pid().is_none());
    }
}

#[tokio::test]
async fn memory_is_limited_and_the_next_run_is_well() {
    let source = "function main()\n  kept = Any[]\n  for _ in 1:10_000\n    push!(kept, fill(1.0, 1_000_000))\n  end\nend\nfine() = 1\n";
    let run = Run { limits: Limits { memory: Bytes(256 << 20), ..limits() }, ..run(source) };
    let executor = executor();
    let failure = executor.execute(&run, &Cancel::new()).await.expect_err("is refused");
    assert!(matches!(*failure.error, VmError::MemoryLimit { .. }), "{failure:?}");
    let next = Run { call: call("fine", []), ..run };
    assert_eq!(executor.execute(&next, &Cancel::new()).await.expect("is well").value, Value::Int(1));
}

#[tokio::test]
async fn a_stack_overflow_is_an_error_and_the_worker_goes_on() {
    let mut session = session("over(n) = over(n + 1) + 1\nfine() = 1\n").await;
    let failure = session.call(&call("over", [Value::Int(0)]), &Cancel::new()).await.expect_err("overflows");
    assert!(failure.to_string().contains("StackOverflowError"), "{failure}");
    assert_eq!(ask(&mut session, "fine", &[]).await, Value::Int(1));
}

#[tokio::test]
async fn runs_share_no_state_but_a_warm_worker() {
    let executor = executor_with(PoolOptions::DEFAULT);
    let run = run("const count = Ref(0)\nmain() = (count[] += 1; count[])\n");
    let first = executor.execute(&run, &Cancel::new()).await.expect("runs");
    let (_, processes) = executor.processes().await.expect("there is a Julia");
    processes.settle().await;
    assert_eq!(processes.pool().len(), 1, "one is ready for the next run");
    let second = executor.execute(&run, &Cancel::new()).await.expect("runs");
    assert_eq!((first.value, second.value), (Value::Int(1), Value::Int(1)));
    assert!(first.usage.worker_start_us > 0 && second.usage.worker_start_us == 0);
    let other = Run { domain: TrustDomain("other".into()), ..run };
    assert!(executor.execute(&other, &Cancel::new()).await.expect("runs").usage.worker_start_us > 0);
}

#[tokio::test]
async fn a_machine_without_julia_says_so() {
    let empty = tempfile::tempdir().expect("temporary directory");
    let places = Places { configured: None, home: empty.path().to_owned() };
    let found = Julia::find_all(None, empty.path());
    let executor = JuliaExecutor::new(worker_program(), places, PoolOptions::DEFAULT);
    let result = executor.execute(&run("main() = 1"), &Cancel::new()).await;
    // Where the machine has a Julia of its own, that one runs it.
    match result {
        Ok(outcome) => assert!(!found.is_empty() && outcome.value == Value::Int(1)),
        Err(failure) => assert!(found.is_empty() && matches!(*failure.error, VmError::NoRuntime { .. }), "{failure:?}"),
    }
}
