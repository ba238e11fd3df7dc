//! What a sandbox costs: its start beside a plain start of the same program, its end, and attacks per second.
//!
//! Wall times of a loaded machine say little, so each figure stands beside its floor of the same run. Run it as
//! `cargo bench --bench sandbox`; no baseline is kept.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catalog::package::model::Bytes;
use catalog::value::Value;
use catalog::vm::escape::{self, Trial};
use catalog::vm::{Barrier, Call, Cancel, Context, Engine, Language, Limits, Module, Program, Session, WorkerProgram};

const WORKER: &str = env!("CARGO_BIN_EXE_catalog-worker");
/// Milliseconds that a sandbox may add to a start, and that the end of a worker with 1 GiB may take.
const START_MS_MAX: f64 = 5.0;
const END_MS_MAX: f64 = 100.0;
const ROUNDS: usize = 60;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

async fn measure() {
    // The program ends at once, as its socket says nothing.
    let plain = sorted((0..ROUNDS).map(|_| {
        let began = Instant::now();
        let mut child = Command::new(WORKER)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        child.wait().expect("ends");
        began.elapsed()
    }));
    show("plain start and end of the worker program", &plain, None);
    for (what, without) in [
        ("sandbox, all layers", &[][..]),
        ("  without namespaces", &[Barrier::Namespaces]),
        ("  without Landlock", &[Barrier::Landlock]),
        ("  without the filter", &[Barrier::Seccomp]),
    ] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let session = open(without, Limits::default()).await;
            times.push(began.elapsed());
            drop(session);
        }
        let times = sorted(times);
        show(what, &times, Some(&plain));
        if without.is_empty() {
            let over = median(&times).saturating_sub(median(&plain));
            target::at_most("sandbox over a plain start", millis(over), START_MS_MAX, "ms");
            if let Some(bubblewrap) = bubblewrap() {
                show("bubblewrap around the same program", &bubblewrap, Some(&plain));
                let ratio = millis(median(&times)) / millis(median(&bubblewrap));
                target::beside("worker ready in the sandbox, beside bubblewrap around a program", ratio, "times");
            }
        }
    }
    kill_with_memory().await;
    attacks().await;
}

/// Starts and ends the worker program in the namespaces of bubblewrap, which has neither Landlock nor a filter here.
fn bubblewrap() -> Option<Vec<Duration>> {
    let start = || {
        let mut command = Command::new("bwrap");
        command.args([
            "--unshare-all",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            WORKER,
        ]);
        let began = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        Some(began.elapsed())
    };
    start()?;
    Some(sorted((0..ROUNDS).filter_map(|_| start())))
}

/// Ends a process that has read a gibibyte into memory and is in no sandbox: what the kernel takes to give it back.
fn kill_plain() -> Duration {
    // `tail` keeps the end of a pipe in memory, and this pipe stays open after it.
    let mut child = Command::new("tail")
        .args(["-c", "2147483648"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("is in coreutils");
    let mut pipe = child.stdin.take().expect("is piped");
    let block = vec![1; 1 << 20];
    (0..1024).for_each(|_| pipe.write_all(&block).expect("it reads"));
    let began = Instant::now();
    child.kill().expect("is ours");
    child.wait().expect("ends");
    began.elapsed()
}

/// Ends workers whose program has touched a gibibyte.
async fn kill_with_memory() {
    let floor = sorted((0..5).map(|_| kill_plain()));
    show("end of a process with 1 GiB", &floor, None);
    let mut times = Vec::new();
    for _ in 0..5 {
        let limits = Limits { memory: Bytes(1280 << 20), ..Limits::default() };
        let mut session = open(&[], limits).await;
        let call = Call { function: "fill".into(), args: vec![Value::Int(1 << 30)] };
        session.call(&call, &Cancel::new()).await.expect("fits");
        let began = Instant::now();
        drop(session);
        times.push(began.elapsed());
    }
    let times = sorted(times);
    show("end of a worker with 1 GiB", &times, Some(&floor));
    target::at_most("end of a worker with 1 GiB", millis(median(&times)), END_MS_MAX, "ms");
}

async fn attacks() {
    let worker = worker();
    let began = Instant::now();
    let trial = Trial { worker, without: Vec::new(), engines: Vec::new(), names: Vec::new() };
    let report = escape::attempt(&trial).await.expect("the sandbox can be closed");
    println!("{} of {} attacks contained in {:.1?}", report.contained, report.total, began.elapsed());
    let share = report.contained as f64 / report.total as f64;
    target::at_least("attacks contained", share, 1.0, "parts");
}

fn worker() -> WorkerProgram {
    WorkerProgram::find(&[WORKER.into()]).expect("cargo has built it")
}

async fn open(without: &[Barrier], limits: Limits) -> Session {
    let source = "local kept = {} return { fill = function(bytes)
        for i = 1, bytes >> 20 do kept[i] = ('x'):rep((1 << 20) - 64 - i) end return #kept end }";
    let module = Module { file: "main.lua".into(), source: source.into() };
    let program = Program::new(Language::Lua, "main", [("main".to_owned(), module)].into()).expect("has its entry");
    let engine = Engine { without: without.to_vec(), ..Engine::default() };
    Session::open_with(&worker(), &engine, &program, &Context::default(), limits, &Cancel::new()).await.expect("opens")
}

fn sorted(times: impl IntoIterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    times
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn show(what: &str, times: &[Duration], floor: Option<&[Duration]>) {
    let (least, middle) = (times[0], median(times));
    let over = floor.map_or(String::new(), |floor| {
        format!(
            "; over plain: least {:.1?}, median {:.1?}",
            least.saturating_sub(floor[0]),
            middle.saturating_sub(median(floor))
        )
    });
    println!("{what:<44} least {least:.1?}, median {middle:.1?}{over}");
}
