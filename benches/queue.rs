//! What the queue costs: ten thousand executions that are accepted, wait, begin by priority under a bound of the node, and end,
//! with the table, the turns and the journal of a real node, and a program that takes no time.
//!
//! Measured is the overhead of one execution: from the moment that a turn is free for it until it has begun, and what its
//! admission and its end take. Beside it, in the same run, is the floor: handing ten thousand notes to waiting tasks, one
//! after the other, through the same runtime. What a program costs is the subject of other benchmarks.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catalog::ops::executions::admission::Admission;
use catalog::ops::executions::journal::Journal;
use catalog::ops::executions::record::Record;
use catalog::package::model::Priority;
use catalog::vm::execution::{Admitted, ExecutionId, Executions};
use catalog::vm::monitor::Monitor;
use catalog::vm::program::Cancel;
use catalog::vm::queue::{Ask, WAITING_MAX};
use catalog::vm::{Outcome, Output, Usage};
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};

/// How many wait at the same time.
const EXECUTIONS: usize = WAITING_MAX;
/// How many run at the same time.
const RUNNING: usize = 8;
/// How many packages they are of.
const PACKAGES: usize = 64;
/// The most microseconds that the queue may add to 99 of a hundred executions.
const OVERHEAD_US_MAX: f64 = 1_000.0;
/// How many places somebody may be late who waits for a processor although his turn has come.
const OUT_OF_ORDER_MAX: usize = EXECUTIONS / 50;
/// The most bytes that one waiting execution takes in memory.
const WAITING_BYTES_MAX: f64 = 16_384.0;

const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// What one execution went through.
struct Passed {
    priority: Priority,
    /// Its place among all that began.
    place: usize,
    admission: Duration,
    /// From the end of the one before in its slot to its beginning.
    begin: Duration,
    end: Duration,
}

/// A node without packages: the parts that every execution passes.
struct Node {
    admission: Arc<Admission>,
    table: Mutex<Executions>,
    journal: Journal,
    began: AtomicUsize,
    /// When a turn became free the last time.
    freed: Mutex<Vec<Instant>>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
    let directory = tempfile::tempdir().expect("a directory");
    let now = OffsetDateTime::now_utc();
    let journal = Journal::open(&directory.path().join("executions.sqlite"), "ended", now).expect("opens");
    let node = Arc::new(Node {
        admission: Admission::new(RUNNING),
        table: Mutex::default(),
        journal,
        began: AtomicUsize::new(0),
        freed: Mutex::default(),
    });
    let floor = runtime.block_on(handing_over());
    let before = resident();
    let busy = processor_time();
    let (passed, most) = runtime.block_on(all(&node));
    let cpu_us = (processor_time() - busy).as_micros() as u64 / EXECUTIONS as u64;
    let grown = most.saturating_sub(before) / EXECUTIONS;
    report(&node, passed, &floor, (cpu_us, grown));
}

/// Has all of them wait behind some that hold every turn, and then lets them go.
async fn all(node: &Arc<Node>) -> (Vec<Passed>, usize) {
    let holders: Vec<_> =
        (0..RUNNING).map(|_| node.admission.enter(&ask("holder", Priority::Critical), 0).expect("room")).collect();
    let (sender, mut receiver) = mpsc::channel(EXECUTIONS);
    for number in 0..EXECUTIONS {
        let (node, sender) = (Arc::clone(node), sender.clone());
        let priority = PRIORITIES[number % PRIORITIES.len()];
        let (waits, went) = (Arc::new(Notify::new()), sender);
        let told = Arc::clone(&waits);
        tokio::spawn(async move {
            let passed = execution(&node, number, priority, &told).await;
            let _ = went.send(passed).await;
        });
        // Each is in the queue before the next comes, so that the order is known.
        waits.notified().await;
    }
    let most = resident();
    drop(sender);
    node.freed.lock().expect("not poisoned").extend(std::iter::repeat_n(Instant::now(), RUNNING));
    drop(holders);
    let mut passed = Vec::with_capacity(EXECUTIONS);
    while let Some(one) = receiver.recv().await {
        passed.push(one);
    }
    (passed, most)
}

/// One execution as a node takes it through, but for its program.
async fn execution(node: &Node, number: usize, priority: Priority, waits: &Notify) -> Passed {
    let came = Instant::now();
    let hold = Cancel::new();
    let admitted = Admitted {
        package: format!("package-{}", number % PACKAGES).parse().expect("a name"),
        version: "1.0.0".into(),
        priority,
        node: "here".into(),
        detached: true,
        cancel: hold.clone(),
    };
    let mut turn = node.admission.enter(&ask(admitted.package.as_str(), priority), 100).expect("there is room");
    let id = note(node, hold.monitor(), |table| table.accept(admitted, OffsetDateTime::now_utc()).expect("room").id);
    let admission = came.elapsed();
    waits.notify_one();
    turn.comes().await;
    let freed = node.freed.lock().expect("not poisoned").pop().expect("one was freed for each that begins");
    let place = node.began.fetch_add(1, Ordering::Relaxed);
    turn.has_lease();
    note(node, hold.monitor(), |table| {
        table.starting(id, 1, None, Vec::new()).expect("was pending");
        table.running(id, OffsetDateTime::now_utc()).expect("was starting");
        id
    });
    let begin = freed.elapsed();
    let ends = Instant::now();
    note(node, hold.monitor(), |table| {
        table.finish(id, Ok(&outcome()), OffsetDateTime::now_utc()).expect("was running");
        id
    });
    node.freed.lock().expect("not poisoned").push(Instant::now());
    drop(turn);
    Passed { priority, place, admission, begin, end: ends.elapsed() }
}

/// Changes the table and notes how the execution stands, as a node does.
fn note(node: &Node, monitor: &Monitor, change: impl FnOnce(&mut Executions) -> ExecutionId) -> ExecutionId {
    let mut table = node.table.lock().expect("not poisoned");
    let id = change(&mut table);
    let record = Record::of(table.get(id).expect("is there"), monitor, OffsetDateTime::now_utc());
    node.journal.note(record);
    id
}

/// Says what was measured, and holds it against the bounds.
fn report(node: &Node, mut passed: Vec<Passed>, floor: &[Duration], (cpu_us, grown): (u64, usize)) {
    assert_eq!(passed.len(), EXECUTIONS, "nobody is lost");
    assert_eq!(node.admission.counts(), (0, 0), "nobody is left");
    let overhead = |one: &Passed| one.admission + one.begin + one.end;
    for (name, mut times) in [
        ("admission", passed.iter().map(|one| one.admission).collect::<Vec<_>>()),
        ("begin", passed.iter().map(|one| one.begin).collect()),
        ("end", passed.iter().map(|one| one.end).collect()),
    ] {
        times.sort_unstable();
        show(name, &times);
    }
    let mut overhead: Vec<Duration> = passed.iter().map(overhead).collect();
    overhead.sort_unstable();
    show("overhead", &overhead);
    show("floor", floor);
    let ratio = at(&overhead, 500) as f64 / at(floor, 500).max(1) as f64;
    println!("the overhead is {ratio:.1} times the floor, which is a note to a waiting task and back");
    println!("{cpu_us} us of processor time for each, the journal's included; load {:.1} of {}", load(), processors());
    target::at_most("queue of 10,000 executions, overhead p99", at(&overhead, 990) as f64, OVERHEAD_US_MAX, "µs");
    target::at_most("memory of an execution that waits", grown as f64, WAITING_BYTES_MAX, "bytes");
    passed.sort_by_key(|one| one.place);
    // They all came within one head start, so no low one goes before a critical one, but for those that wait for a processor
    // after their turn has come.
    let places = |priority: Priority| passed.iter().filter(move |one| one.priority == priority).map(|one| one.place);
    for pair in PRIORITIES.windows(2) {
        let (first, last) = (places(pair[0]).min(), places(pair[1]).max());
        let (first, last) = (first.expect("there are some"), last.expect("there are some"));
        assert!(first + OUT_OF_ORDER_MAX > last, "{:?} began at {first} before {:?} at {last}", pair[0], pair[1]);
    }
    println!("order      by priority, and {EXECUTIONS} of {EXECUTIONS} ended");
}

fn show(name: &str, times: &[Duration]) {
    let [median, late, most] = [500, 990, 1_000].map(|permille| at(times, permille));
    println!("{name:<10} p50 {median:>5} us  p99 {late:>5} us  most {most:>6} us");
}

/// Gives the times of handing a note to a waiting task and back, in their order.
async fn handing_over() -> Vec<Duration> {
    let (there, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (hears, answers) = (Arc::clone(&there), Arc::clone(&back));
    let task = tokio::spawn(async move {
        for _ in 0..EXECUTIONS {
            hears.notified().await;
            answers.notify_one();
        }
    });
    let mut times = Vec::with_capacity(EXECUTIONS);
    for _ in 0..EXECUTIONS {
        let began = Instant::now();
        there.notify_one();
        back.notified().await;
        times.push(began.elapsed());
    }
    task.await.expect("ends");
    times.sort_unstable();
    times
}

/// Gives what so many of a thousand did not exceed, in microseconds; the times are sorted.
fn at(times: &[Duration], permille: usize) -> u64 {
    times[(times.len() * permille / 1_000).min(times.len() - 1)].as_micros() as u64
}

fn ask(package: &str, priority: Priority) -> Ask {
    let package = package.parse().expect("a name");
    Ask { package, priority, running_max: None, not_before: None, background: false }
}

fn outcome() -> Outcome {
    Outcome {
        value: catalog::value::Value::Nil,
        output: Output::default(),
        usage: Usage::default(),
        layers: Vec::new(),
        grade: String::new(),
    }
}

/// Gives the processor time of this process, with all its threads.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("has a name").1.split_whitespace().collect();
    let ticks = |place: usize| fields[place - 3].parse::<u64>().expect("a number");
    Duration::from_millis(10 * (ticks(14) + ticks(15)))
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Gives how many want a processor, of the last minute.
fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").expect("Linux");
    load.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number")
}

/// Gives the resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is there");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}
