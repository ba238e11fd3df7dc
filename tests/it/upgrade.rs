//! Upgrades: no call fails, nothing is lost or left behind, and what does not work is rolled back.

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use hypermesh_abi::Code;
use serde_json::json;

use super::support::{Home, Node, block_on, in_a_process_of_its_own, library};

/// Upgrades of the long test if the environment asks for no other number and memory allows.
const UPGRADES: u64 = 1_000;
/// The variable that asks for another number.
const UPGRADES_VARIABLE: &str = "HYPERMESH_TEST_UPGRADES";
const CALLERS: usize = 8;

/// Every mapped copy of a library takes one of the 1,024 keys for thread-local values that glibc gives a process
/// (`PTHREAD_KEYS_MAX`), so this many do not fit beside the other tests.
#[test]
fn a_thousand_upgrades_under_eight_callers_fail_no_call() {
    if !in_a_process_of_its_own("upgrade::a_thousand_upgrades_under_eight_callers_fail_no_call") {
        return;
    }
    let upgrades = upgrades();
    let home = Home::new();
    let bundle = home.bundle("echo", &library("echo_extension"), &json!({})).expect("laid out");
    // A trial per upgrade would time the start of children; other tests have it.
    let host = open(HostOptions { child: None, retired_generations_max: u32::MAX, ..home.options() });
    block_on(async {
        host.load(Source::Bundle(bundle.clone())).await.expect("loads");
        let memory = resident_kib();
        let (calls, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let callers: Vec<_> =
            (0..CALLERS).map(|number| tokio::spawn(call(host.clone(), number, calls.clone(), over.clone()))).collect();
        let started = Instant::now();
        let (mut paused_us, mut retired) = (Vec::new(), BTreeSet::new());
        for number in 1..=upgrades {
            retired.insert(format!("echo-{}\n", host.generation("echo").expect("runs").number()));
            let upgraded = host.upgrade(Source::Bundle(bundle.clone())).await.expect("upgrades");
            assert_eq!(u64::from(upgraded.retired_generations), number);
            paused_us.push(upgraded.paused_us);
        }
        over.store(true, SeqCst);
        for caller in callers {
            caller.await.expect("no caller panicked");
        }
        paused_us.sort_unstable();
        let each_kib = resident_kib().saturating_sub(memory) / upgrades;
        eprintln!(
            "{upgrades} upgrades in {:?}, {} calls, requests waited {} us at the median and {} us at most, {each_kib} KiB each",
            started.elapsed(),
            calls.load(SeqCst),
            paused_us[paused_us.len() / 2],
            paused_us[paused_us.len() - 1],
        );
        assert!(calls.load(SeqCst) > upgrades, "callers were busy all the time");
        assert_eq!(retired.len() as u64, upgrades);
        assert_eq!(left_of(&retired).await, 0, "retired generations keep no thread");
        assert_eq!(host.asset_manager().leases(None).len(), 0);
    });
}

/// Calls until it is over; every call must be answered, and with its own answer.
async fn call(host: Host, number: usize, calls: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    while !over.load(SeqCst) {
        let text = format!("{number}-{}", calls.fetch_add(1, SeqCst));
        let params = json!({"text": text, "delay_ms": number % 3});
        let answer = host.request("echo", "say", &params, RequestOptions::default()).await;
        assert_eq!(answer.expect("no call fails").data["said"], text);
    }
}

#[test]
fn what_one_generation_knows_the_next_one_gets() {
    block_on(async {
        let node = Node::new();
        let rest = json!({"capabilities": {"granted": ["AssetManagement"]}});
        let bundle = node.home.bundle("witness", &library("witness_extension"), &rest).expect("laid out");
        node.host.load(Source::Bundle(bundle.clone())).await.expect("loads");
        for _ in 0..3 {
            node.ask("witness", "say", json!({})).await;
        }
        node.ask("witness", "lease", json!({"millicores": 2, "keep": true})).await;
        assert_eq!(node.host.asset_manager().leases(None).len(), 1);
        let before = node.ask("witness", "count", json!({})).await;
        let upgraded = node.host.upgrade(Source::Bundle(bundle)).await.expect("upgrades");
        assert_eq!((upgraded.id.as_str(), upgraded.from.as_str(), upgraded.to.as_str()), ("witness", "1.0.0", "1.0.0"));
        let after = node.ask("witness", "count", json!({})).await;
        assert_eq!((&before["said"], &before["handed_over"]), (&json!(3), &json!(0)));
        assert_eq!((&after["said"], &after["handed_over"]), (&json!(3), &json!(1)));
        assert_ne!(before["generation"], after["generation"]);
        assert_eq!(node.host.asset_manager().leases(None).len(), 0, "leases do not outlive their generation");
    });
}

#[test]
fn a_generation_that_cannot_take_over_is_rolled_back() {
    block_on(async {
        let node = Node::with_echo().await;
        let bundle = |name: &str, fault: &str| {
            let rest = json!({"configuration": {"hostile": fault}});
            node.home.bundle(name, &library("hostile_extension"), &rest).expect("laid out")
        };
        node.host.load(Source::Bundle(bundle("good", ""))).await.expect("loads");
        let first = node.host.generation("hostile").expect("runs").number();
        for (name, fault) in [("one", "activate:panic"), ("two", "register:panic"), ("three", "describe:panic")] {
            let error = node.host.upgrade(Source::Bundle(bundle(name, fault))).await.expect_err("cannot take over");
            assert_eq!(error.code, Code::PANIC, "{fault}: {error}");
            assert_eq!(node.host.generation("hostile").expect("runs").number(), first, "{fault}");
            node.ask("hostile", "work", json!({})).await;
        }
        let report = node.host.report().await.into_iter().find(|report| report.id == "hostile").expect("there");
        assert_eq!(report.retired_generations, 3, "what never ran stays mapped as well");
        node.host.upgrade(Source::Bundle(bundle("good", ""))).await.expect("a good one still takes over");
        node.lives().await;
    });
}

#[test]
fn a_generation_that_cannot_pause_goes_on() {
    block_on(async {
        let node = Node::with_echo().await;
        let rest = json!({"configuration": {"hostile": "quiesce:panic"}});
        let bundle = node.home.bundle("hostile", &library("hostile_extension"), &rest).expect("laid out");
        node.host.load(Source::Bundle(bundle.clone())).await.expect("loads");
        let error = node.host.upgrade(Source::Bundle(bundle)).await.expect_err("the old one does not let go");
        assert_eq!(error.code, Code::PANIC, "{error}");
        node.ask("hostile", "work", json!({})).await;
        assert_eq!(node.host.pause("hostile").await.expect_err("panics").code, Code::PANIC);
        node.ask("hostile", "work", json!({})).await;
        node.lives().await;
    });
}

#[test]
fn retired_generations_have_a_budget() {
    block_on(async {
        let home = Home::new();
        let bundle = home.bundle("echo", &library("echo_extension"), &json!({})).expect("laid out");
        let host = open(HostOptions { retired_generations_max: 2, ..home.options() });
        host.load(Source::Bundle(bundle.clone())).await.expect("loads");
        for _ in 0..2 {
            host.upgrade(Source::Bundle(bundle.clone())).await.expect("within the budget");
        }
        let error = host.upgrade(Source::Bundle(bundle)).await.expect_err("above the budget");
        assert_eq!(error.code, Code::RESOURCE_LIMIT_EXCEEDED);
        assert_eq!(error.to_string(), "2 retired generations of `echo` are mapped, the bound is 2");
        assert_eq!(error.detail.help.as_deref(), Some("restart the host to free them, then upgrade"));
        let params = json!({"text": "on"});
        host.request("echo", "say", &params, RequestOptions::default()).await.expect("it runs on");
    });
}

#[test]
fn an_upgrade_of_nothing_is_refused_and_leaves_nothing() {
    block_on(async {
        let node = Node::new();
        let bundle = node.home.bundle("echo", &library("echo_extension"), &json!({})).expect("laid out");
        let error = node.host.upgrade(Source::Bundle(bundle)).await.expect_err("nothing runs");
        assert_eq!(error.code, Code::EXTENSION_NOT_FOUND);
        assert!(node.host.report().await.is_empty());
    });
}

fn open(options: HostOptions) -> Host {
    Host::open(options).expect("opens")
}

/// Gives the number of upgrades: what the environment asks for, or a thousand, or fewer on a machine that has no memory
/// for so many copies of the library.
fn upgrades() -> u64 {
    if let Some(asked) = std::env::var(UPGRADES_VARIABLE).ok().and_then(|text| text.parse().ok()) {
        return asked;
    }
    let library_kib = std::fs::metadata(library("echo_extension")).expect("there").len() / 1024;
    let free_kib = field_kib("/proc/meminfo", "MemAvailable:");
    UPGRADES.min(free_kib / 2 / (library_kib + 1024))
}

/// Counts the threads of these names; a thread takes a moment to be gone after it was joined.
async fn left_of(names: &BTreeSet<String>) -> usize {
    let named =
        |task: &DirEntry| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| names.contains(&name));
    let count = || std::fs::read_dir("/proc/self/task").expect("there").flatten().filter(named).count();
    let started = Instant::now();
    while count() > 0 && started.elapsed() < Duration::from_secs(5) {
        tokio::task::yield_now().await;
    }
    count()
}

fn resident_kib() -> u64 {
    field_kib("/proc/self/status", "VmRSS:")
}

fn field_kib(file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("there");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel gives it");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of kibibytes")
}
