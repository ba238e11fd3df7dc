//! What workers cost: calls, arrays by reference, idle workers, starts. Each beside a floor of the same run: an echo over a
//! socket pair, and Julia's own `Distributed`. Ratios are what counts, since a busy machine slows both sides alike.
//!
//! `CATALOG_BENCH_HOME` names the home of a node with a Julia (`catalog runtime install julia`).
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::package::model::Bytes;
use catalog::value::{Array, Value};
use catalog::vm::julia::executor::{Places, engine};
use catalog::vm::julia::{Julia, image};
use catalog::vm::pool::PoolOptions;
use catalog::vm::{
    Call, Cancel, Context, Engine, Executor, JuliaExecutor, Language, Limits, Module, ProcessExecutor, Program, Run,
    Session, TrustDomain, WorkerProgram,
};

/// Microseconds that each may take at the median, and how much of its floor.
const JULIA_CALL_US_MAX: f64 = 25.0;
const JULIA_CALL_OF_ECHO_MAX: f64 = 2.5;
const DISTRIBUTED_OF_JULIA_CALL_MIN: f64 = 3.0;
const LARGE_US_MAX: f64 = 100.0;
const ACQUIRE_US_MAX: f64 = 50.0;
const COLD_MS_MAX: f64 = 300.0;
const LUA_CALL_US_MAX: f64 = 20.0;
const LUA_STATE_US_MAX: f64 = 50.0;

const CALLS: usize = 20_000;
const LARGE_BYTES: usize = 100_000_000;

struct Setting {
    worker: WorkerProgram,
    home: PathBuf,
    julia: Julia,
    engine: Engine,
}

/// Times of one thing, in microseconds, sorted.
struct Times(Vec<f64>);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(setting) = Setting::find() else {
        println!("no Julia: set CATALOG_BENCH_HOME to the home of a node that has installed one");
        std::process::exit(3);
    };
    let echo = echo();
    echo.show("echo over a socket pair");
    let julia = julia_call(&setting).await;
    julia.show("warm Julia call");
    target::at_most("warm Julia call", julia.p50(), JULIA_CALL_US_MAX, "µs");
    target::at_most("warm Julia call beside an echo", julia.p50() / echo.p50(), JULIA_CALL_OF_ECHO_MAX, "times");
    if let Some(distributed) = distributed(&setting.julia) {
        println!("{:<34} {distributed:>9.1} us", "Distributed.jl remotecall_fetch");
        let times = distributed / julia.p50();
        target::at_least("warm Julia call, faster than Distributed.jl", times, DISTRIBUTED_OF_JULIA_CALL_MIN, "times");
    }
    target::at_most("100 MB to Julia by reference", large(&setting).await.p50(), LARGE_US_MAX, "µs");
    acquire(&setting).await;
    cold(&setting).await;
    lua(&setting).await;
}

impl Setting {
    fn find() -> Option<Self> {
        let worker = PathBuf::from(env!("CARGO_BIN_EXE_catalog-worker"));
        let worker = WorkerProgram::find(&[worker]).expect("cargo has built the worker");
        let home = std::env::var_os("CATALOG_BENCH_HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let julia = Julia::find_all(None, &home).into_iter().next()?;
        if image::find(&julia, &home).is_none() {
            println!("there is no image of {}: starts are slow", julia.version);
        }
        let engine = engine(&julia, &home);
        Some(Self { worker, home, julia, engine })
    }

    async fn session(&self, source: &str) -> Session {
        let program = program(Language::Julia, source);
        let (context, cancel) = (Context::default(), Cancel::new());
        let opened = Session::open_with(&self.worker, &self.engine, &program, &context, limits(), &cancel).await;
        opened.unwrap_or_else(|failure| panic!("{failure}"))
    }
}

fn limits() -> Limits {
    Limits { wall: Duration::from_secs(120), memory: Bytes(512 << 20), ..Limits::default() }
}

fn program(language: Language, source: &str) -> Program {
    let file = if language == Language::Julia { "app/main.jl" } else { "app/main.lua" };
    let module = Module { file: file.into(), source: source.into() };
    Program::new(language, "app", BTreeMap::from([("app".to_owned(), module)])).expect("has its entry")
}

fn call(function: &str, args: Vec<Value>) -> Call {
    Call { function: function.into(), args }
}

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn p50(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn show(&self, what: &str) {
        let p99 = self.0[self.0.len() * 99 / 100];
        println!("{what:<34} {:>9.1} us  p99 {p99:.1}  min {:.1}", self.p50(), self.0[0]);
    }
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// The floor: 64 bytes to another thread and back.
fn echo() -> Times {
    let (mut near, mut far) = UnixStream::pair().expect("a socket pair");
    let thread = std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while far.read_exact(&mut bytes).is_ok() && far.write_all(&bytes).is_ok() {}
    });
    let mut bytes = [7; 64];
    let times = (0..CALLS).map(|_| {
        let began = Instant::now();
        near.write_all(&bytes).and_then(|()| near.read_exact(&mut bytes)).expect("echoes");
        micros(began)
    });
    let times = Times::of(times.collect());
    drop(near);
    thread.join().expect("ends");
    times
}

async fn calls(session: &mut Session, call: &Call, count: usize) -> Times {
    let cancel = Cancel::new();
    for _ in 0..count / 10 {
        session.call(call, &cancel).await.unwrap_or_else(|failure| panic!("{failure}"));
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        session.call(call, &cancel).await.unwrap_or_else(|failure| panic!("{failure}"));
        times.push(micros(began));
    }
    Times::of(times)
}

async fn julia_call(setting: &Setting) -> Times {
    let mut session = setting.session("add(a, b) = a + b\n").await;
    calls(&mut session, &call("add", vec![Value::Int(1), Value::Int(2)]), CALLS).await
}

async fn large(setting: &Setting) -> Times {
    let mut session = setting.session("last_of(x) = x[end]\n").await;
    let array = Array::of_f64(&vec![0.5; LARGE_BYTES / 8]);
    let kept = session.keep(&array).expect("there is room");
    calls(&mut session, &call("last_of", vec![kept]), CALLS / 10).await
}

/// The same call by Julia's own means between two Julias, at the median in microseconds.
fn distributed(julia: &Julia) -> Option<f64> {
    let script = "using Distributed; addprocs(1); @everywhere add(a, b) = a + b
        f() = remotecall_fetch(add, 2, 1, 2); foreach(_ -> f(), 1:2000)
        t = [(@elapsed f()) for _ in 1:20000]; sort!(t); println(t[end ÷ 2] * 1e6)";
    let output = command(julia)?.args(["-e", script]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Starts a Julia outside of any sandbox.
fn command(julia: &Julia) -> Option<Command> {
    let libraries = julia.program.ancestors().nth(2)?.join("lib/x86_64-linux-gnu");
    let path = format!("{}:{}", libraries.display(), libraries.join("julia").display());
    let mut command = Command::new(&julia.program);
    command.env("LD_LIBRARY_PATH", path).arg("--startup-file=no");
    Some(command)
}

/// A run by a worker that is ready beside the same call in a session: what finding it costs.
async fn acquire(setting: &Setting) {
    let places = Places { configured: Some(setting.julia.root.clone()), home: setting.home.clone() };
    let executor = JuliaExecutor::new(setting.worker.clone(), places, PoolOptions::DEFAULT);
    let run = Run {
        program: Arc::new(program(Language::Julia, "add(a, b) = a + b\n")),
        context: Context::default(),
        call: call("add", vec![Value::Int(1), Value::Int(2)]),
        limits: limits(),
        domain: TrustDomain("bench".into()),
    };
    let cancel = Cancel::new();
    let (_, processes) = executor.processes().await.expect("there is a Julia");
    let (mut whole, mut first) = (Vec::new(), Vec::new());
    for turn in 0..40 {
        let began = Instant::now();
        let outcome = executor.execute(&run, &cancel).await.unwrap_or_else(|failure| panic!("{failure}"));
        let took = micros(began);
        processes.settle().await;
        if turn > 0 {
            assert_eq!(outcome.usage.worker_start_us, 0, "a worker was ready");
            whole.push(took);
            first.push(took - outcome.usage.call_us as f64);
        }
    }
    target::at_most("acquire a ready Julia worker", Times::of(first).p50(), ACQUIRE_US_MAX, "µs");
    Times::of(whole).show("run by it, first call compiled");
}

async fn cold(setting: &Setting) {
    let mut times = Vec::new();
    for _ in 0..7 {
        let began = Instant::now();
        let session = setting.session("add(a, b) = a + b\n").await;
        times.push(micros(began));
        drop(session);
    }
    let cold = Times::of(times).p50();
    target::at_most("cold Julia worker, program loaded", cold / 1e3, COLD_MS_MAX, "ms");
    if let Some(plain) = process(|| command(&setting.julia)) {
        target::beside("cold Julia worker, program loaded, beside julia -e", cold / plain.p50(), "times");
    }
}

async fn lua(setting: &Setting) {
    let source = "return { add = function(a, b) return a + b end }";
    let (context, cancel) = (Context::default(), Cancel::new());
    let lua = program(Language::Lua, source);
    let opened = Session::open(&setting.worker, &lua, &context, Limits::default(), &cancel).await;
    let mut session = opened.unwrap_or_else(|failure| panic!("{failure}"));
    let args = vec![Value::Int(1), Value::Int(2)];
    let warm = calls(&mut session, &call("add", args.clone()), CALLS).await;
    warm.show("warm Lua call");
    target::at_most("warm Lua call", warm.p50(), LUA_CALL_US_MAX, "µs");
    let executor = ProcessExecutor::new(setting.worker.clone(), PoolOptions::DEFAULT);
    let run = Run {
        program: Arc::new(lua),
        context,
        call: call("add", args),
        limits: Limits::default(),
        domain: TrustDomain("bench".into()),
    };
    let mut times = Vec::new();
    for _ in 0..CALLS / 4 {
        let began = Instant::now();
        executor.execute(&run, &cancel).await.unwrap_or_else(|failure| panic!("{failure}"));
        times.push(micros(began));
    }
    let fresh = Times::of(times).p50();
    target::at_most("Lua run in a fresh state", fresh, LUA_STATE_US_MAX, "µs");
    if let Some(plain) = process(|| Some(Command::new("lua5.4"))) {
        target::beside("Lua run in a fresh state beside lua5.4 -e", fresh / plain.p50(), "times");
    }
}

/// Starts an interpreter with the shortest of programs, if it is there.
fn process(interpreter: impl Fn() -> Option<Command>) -> Option<Times> {
    let start = || {
        let began = Instant::now();
        let status = interpreter()?.args(["-e", "x = 1"]).status().ok()?;
        status.success().then(|| micros(began))
    };
    start()?;
    Some(Times::of((0..9).filter_map(|_| start()).collect()))
}
