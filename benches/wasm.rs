//! What WebAssembly costs: a call in a new instance here and in a warm worker, compiled code from the cache, the end of an
//! endless loop, and computing beside the same in Rust (`kernels.rs`), which runs in the same process in turns.
//!
//! Processor-bound figures are the best of many, since noise only adds; the others are medians.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "kernels.rs"]
mod kernels;
#[path = "target.rs"]
mod target;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::value::Value;
use catalog::vm::pool::PoolOptions;
use catalog::vm::wasm::cache::Cache;
use catalog::vm::wasm::local::LocalExecutor;
use catalog::vm::{
    Call, Cancel, Context, Executor, Language, Limits, Module, ProcessExecutor, Program, Run, TrustDomain,
    WorkerProgram,
};

/// Microseconds of making an instance, calling a function in it and dropping it, at the median.
const CALL_US_MAX: f64 = 5.0;
/// How much longer than native computing may take.
const NATIVE_TIMES_MAX: f64 = 1.5;
/// Milliseconds that an endless loop may go on after its deadline, in the worst of some tries.
const OVERSHOOT_MS_MAX: f64 = 10.0;

const DEADLINE: Duration = Duration::from_millis(50);

const MODULE: &str = r#"(module
    (memory (export "memory") 17)
    (func (export "nothing"))
    (func (export "spin") (loop $again (br $again))))"#;
/// The kernels, compiled.
const KERNELS: &str = include_str!("kernels.wat");

fn figure(what: &str, value: f64, unit: &str) {
    println!("{what:<52} {value:>10.2} {unit}");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
    let local = LocalExecutor::new(None).expect("there are threads");
    calls(&local);
    native(&local);
    overshoot(&local);
    compiled();
    runtime.block_on(workers());
}

fn run(function: &str, args: &[i64]) -> Run {
    run_of(MODULE, function, args)
}

fn run_of(text: &str, function: &str, args: &[i64]) -> Run {
    let module = Module { file: "bench.wasm".into(), source: wat::parse_str(text).expect("is a module").into() };
    let program = Program::new(Language::Wasm, "bench", BTreeMap::from([("bench".to_owned(), module)])).expect("whole");
    let args = args.iter().map(|arg| Value::Int(*arg)).collect();
    Run {
        program: Arc::new(program),
        context: Context::default(),
        call: Call { function: function.into(), args },
        limits: Limits::default(),
        domain: TrustDomain("bench".into()),
    }
}

/// Gives the median of some calls, in microseconds.
fn median(times: usize, mut call: impl FnMut()) -> f64 {
    let mut took: Vec<Duration> = (0..times).map(|_| timed(&mut call)).collect();
    took.sort_unstable();
    took[times / 2].as_secs_f64() * 1e6
}

fn best(times: usize, mut call: impl FnMut()) -> f64 {
    (0..times).map(|_| timed(&mut call)).min().unwrap_or_default().as_secs_f64() * 1e3
}

fn timed(call: &mut impl FnMut()) -> Duration {
    let began = Instant::now();
    call();
    began.elapsed()
}

fn calls(local: &LocalExecutor) {
    let run = run("nothing", &[]);
    let call = || drop(black_box(local.run_here(&run).expect("runs")));
    median(2_000, call);
    let ours = median(20_000, call);
    target::at_most("Wasm: instantiate and call", ours, CALL_US_MAX, "µs");
    target::beside("Wasm: instantiate and call beside wasmtime's own", ours / bare(), "times");
}

/// The same by wasmtime alone: a store, an instance of the pool, a call, and nothing that bounds or counts them.
fn bare() -> f64 {
    let mut config = wasmtime::Config::new();
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::pooling());
    let engine = wasmtime::Engine::new(&config).expect("runs here");
    let module = wasmtime::Module::new(&engine, wat::parse_str(MODULE).expect("is a module")).expect("is valid");
    let ready = wasmtime::Linker::new(&engine).instantiate_pre(&module).expect("imports nothing");
    let call = || {
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = ready.instantiate(&mut store).expect("there is room");
        let nothing = instance.get_typed_func::<(), ()>(&mut store, "nothing").expect("is there");
        nothing.call(&mut store, ()).expect("returns");
    };
    median(2_000, call);
    median(20_000, call)
}

/// Something to compute, in WebAssembly and in Rust.
struct Kernel {
    name: &'static str,
    argument: i64,
    rounds: usize,
    native: extern "C" fn(u32) -> u32,
}

const FIB: Kernel = Kernel { name: "fib", argument: 32, rounds: 30, native: kernels::fib };
const SIEVE: Kernel = Kernel { name: "sieve", argument: 1_000_000, rounds: 20, native: kernels::sieve };

/// Gives how much longer a kernel takes than in Rust, the best of each; in turns, so that both see the same noise.
fn beside_rust(Kernel { name, argument, rounds, native }: Kernel, wasm: impl Fn(&Run) -> Value) -> f64 {
    let (run, expected) = (run_of(KERNELS, name, &[argument]), native(argument as u32));
    let (mut here, mut there) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        there = there.min(best(1, || assert_eq!(wasm(&run), Value::Int(i64::from(expected)))));
        here = here.min(best(1, || assert_eq!(native(black_box(argument as u32)), expected)));
    }
    figure(&format!("{name}({argument}) in Rust"), here, "ms");
    figure(&format!("{name}({argument}) in WebAssembly"), there, "ms");
    there / here
}

/// In the process of the node a clock must be able to end a loop, so each turn of one looks at it.
fn native(local: &LocalExecutor) {
    let wasm = |run: &Run| local.run_here(run).expect("runs").value;
    target::at_most("Wasm: fib beside Rust", beside_rust(FIB, wasm), NATIVE_TIMES_MAX, "times");
    target::at_most("Wasm: sieve beside Rust", beside_rust(SIEVE, wasm), NATIVE_TIMES_MAX, "times");
}

fn overshoot(local: &LocalExecutor) {
    let run = Run { limits: Limits { wall: DEADLINE, ..Limits::default() }, ..run("spin", &[]) };
    let worst = (0..20).map(|_| timed(&mut || drop(local.run_here(&run).expect_err("never ends")))).max();
    let over = worst.unwrap_or_default().saturating_sub(DEADLINE).as_secs_f64() * 1e3;
    target::at_most("Wasm: an endless loop past its deadline, worst of 20", over, OVERSHOOT_MS_MAX, "ms");
}

fn compiled() {
    let directory = tempfile::tempdir().expect("there is room");
    let cache = Arc::new(Cache::open(directory.path()).expect("is made"));
    let run = run("nothing", &[]);
    let with = |cache: &Arc<Cache>| LocalExecutor::new(Some(Arc::clone(cache))).expect("there are threads");
    figure(
        "engine, compile, call",
        median(5, || drop(LocalExecutor::new(None).expect("there are threads").run_here(&run).expect("runs"))),
        "µs",
    );
    with(&cache).run_here(&run).expect("is compiled and kept");
    figure("engine, load from the cache, call", median(21, || drop(with(&cache).run_here(&run).expect("runs"))), "µs");
    let digest = run.program.digest();
    let names: Vec<PathBuf> =
        std::fs::read_dir(directory.path()).expect("is there").flatten().map(|entry| entry.path()).collect();
    let bytes: u64 = names.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    figure("compiled module with its secret, on disk", bytes as f64, "bytes");
    let engine = with(&cache).identity().expect("runs here");
    figure(
        "finding and proving a kept module, p50",
        median(500, || drop(cache.find(digest, &engine).expect("is kept"))),
        "µs",
    );
}

async fn workers() {
    let worker = std::env::current_exe().expect("known");
    let beside = worker.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("catalog-worker");
    let program = match WorkerProgram::find(&[PathBuf::from(env!("CARGO_BIN_EXE_catalog-worker")), beside]) {
        Ok(program) => program,
        Err(error) => return println!("no worker: {error}"),
    };
    let executor = ProcessExecutor::with_engine(program, Language::Wasm, Default::default(), PoolOptions::DEFAULT);
    let (run, cancel) = (run("nothing", &[]), Cancel::new());
    let mut took = Vec::new();
    let mut start = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        let outcome = executor.execute(&run, &cancel).await.expect("runs");
        took.push(began.elapsed());
        if outcome.usage.worker_start_us > 0 {
            start.push(outcome.usage.worker_start_us);
        }
    }
    // Where packages run unless somebody asks otherwise.
    let wasm = |run: &Run| {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(executor.execute(run, &cancel))).expect("runs").value
    };
    target::at_most("Wasm: fib in a worker beside Rust", beside_rust(FIB, wasm), NATIVE_TIMES_MAX, "times");
    target::at_most("Wasm: sieve in a worker beside Rust", beside_rust(SIEVE, wasm), NATIVE_TIMES_MAX, "times");
    took.sort_unstable();
    figure("load and call in a warm worker, p50", took[took.len() / 2].as_secs_f64() * 1e6, "µs");
    figure("start of a worker", start.first().copied().unwrap_or_default() as f64 / 1e3, "ms");
}
