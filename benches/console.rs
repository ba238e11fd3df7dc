//! How soon the console shows something: in Chromium, of a node with 1,000 packages and 10,000 executions.
//!
//! The node is the `host-sim` beside this benchmark (`cargo build --release --workspace --bins`). Without Chromium there is nothing
//! to measure.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "../tests/it/console/browser.rs"]
#[allow(dead_code, reason = "the tests ask more of it")]
mod browser;
#[path = "bundle.rs"]
mod bundle;
#[path = "target.rs"]
mod target;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use catalog::ops::executions::journal::Journal;
use catalog::ops::executions::record::Record;
use catalog::vm::execution::ExecutionId;
use serde_json::{Value as Json, json};
use time::{Duration, OffsetDateTime};

use self::browser::Browser;

const PACKAGES: usize = 1_000;
const EXECUTIONS: i64 = 10_000;
/// How long the first paint may take, and each part until it shows what it has, in milliseconds.
const SHOWN_MS_MAX: f64 = 1_000.0;
const ROUNDS: usize = 5;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let home = directory.path();
    let bundle = bundle::lay_out(home);
    fill(home, &bundle);
    let up = ["--json", "up", "--console", "127.0.0.1:0", "--extensions", bundle.to_str().expect("UTF-8")];
    let mut node = command(home).args(up).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(node.stdout.take().expect("is piped")).read_line(&mut line).expect("reads");
    let said: Json = serde_json::from_str(&line).expect("is JSON");
    measure(&mut browser, said["console"].as_str().expect("a URL"));
    node.kill().expect("is killed");
    node.wait().expect("ends");
}

fn measure(browser: &mut Browser, url: &str) {
    let origin = url.split('#').next().unwrap_or_default();
    browser.size(1_280, 900);
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
    let mut paints = Vec::new();
    for _ in 0..ROUNDS {
        browser.open("about:blank");
        browser.open(url);
        browser.wait_for(paint);
        browser.wait_for("document.querySelector('.tile')");
        paints.push(browser.value(paint).as_f64().expect("a time"));
    }
    target::at_most("first paint of the console", middle(paints), SHOWN_MS_MAX, "ms");
    let mut shown = |part, shows| part_shown(browser, origin, part, shows);
    target::at_most("console, overview", shown("overview", "10,000"), SHOWN_MS_MAX, "ms");
    target::at_most("console, packages", shown("packages", "1–50 of 1,000"), SHOWN_MS_MAX, "ms");
    target::at_most("console, executions", shown("executions", "1–50 of 10,000"), SHOWN_MS_MAX, "ms");
    target::at_most("console, graph", shown("graph", "packages are drawn"), SHOWN_MS_MAX, "ms");
    target::at_most("console, audit", shown("audit", "Newest"), SHOWN_MS_MAX, "ms");
    target::at_most("console, metrics", shown("metrics", "requests_total"), SHOWN_MS_MAX, "ms");
}

/// Gives the milliseconds until a part shows a text, from another part of the page.
fn part_shown(browser: &mut Browser, origin: &str, part: &str, shows: &str) -> f64 {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        browser.open(&format!("{origin}#/more"));
        browser.wait_for("document.querySelector('h1').innerText === 'More'");
        let begun = Instant::now();
        browser.value(&format!("location.hash = '#/{part}'; 0"));
        browser.wait_for(&format!("document.querySelector('main').textContent.includes({})", json!(shows)));
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    middle(times)
}

/// Makes a home with packages that build on each other, and a list of executions as a node keeps it.
fn fill(home: &Path, bundle: &Path) {
    let extensions = bundle.to_str().expect("UTF-8");
    let packages: Vec<String> = (0..PACKAGES).map(|number| package(home, number)).collect();
    std::os::unix::fs::symlink(bundle, home.join("extensions")).expect("is linked");
    for some in packages.chunks(100) {
        let words: Vec<&str> = ["catalog", "publish"].into_iter().chain(some.iter().map(String::as_str)).collect();
        ask(home, &words);
    }
    let names: Vec<String> = (0..PACKAGES).map(|number| format!("package-{number:04}")).collect();
    let words: Vec<&str> = ["catalog", "install"].into_iter().chain(names.iter().map(String::as_str)).collect();
    ask(home, &words);
    println!("{PACKAGES} packages of {extensions}");
    let now = OffsetDateTime::now_utc();
    let journal = Journal::open(&home.join("catalog/executions.sqlite"), "ended", now).expect("opens");
    for number in 0..EXECUTIONS {
        journal.note(record(number, now - Duration::seconds(EXECUTIONS - number)));
    }
}

fn package(home: &Path, number: usize) -> String {
    // A tree: each builds on the one half its number.
    let needs = if number < 2 {
        String::new()
    } else {
        format!("  dependencies: [{{name: package-{:04}, version: ^1.0}}]\n", number / 2)
    };
    let (name, main) = (format!("package-{number:04}"), format!("return function() return {number} end"));
    bundle::package(&home.join("sources"), &name, &needs, &main).display().to_string()
}

fn record(number: i64, at: OffsetDateTime) -> Record {
    let at = at.format(&time::format_description::well_known::Rfc3339).expect("has a form");
    let record = json!({"id": ExecutionId::random(), "package": format!("package-{:04}", number % 1_000), "version": "1.0.0",
        "priority": "normal", "node": "here", "detached": false, "state": "Completed", "attempts": 1, "queued_us": 12,
        "leases": [], "proof": null, "accepted_at": at, "started_at": at, "finished_at": at, "error": null,
        "usage": {"wall_us": 1_200, "worker_start_us": 0, "call_us": 900, "cpu_us": 800, "memory_peak_bytes": 3 << 20, "fuel_used": 0},
        "stdout": {"skipped": 0, "text": "printed\n"}, "stderr": {"skipped": 0, "text": ""}, "value": number});
    serde_json::from_value(record).expect("is a record")
}

fn ask(home: &Path, words: &[&str]) {
    let output = command(home).args(words).output().expect("starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(bundle::host_sim());
    command.env("HOME", home).env_remove("RUST_LOG").arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
