//! The sandbox under the attacks that are shipped with it, as the superuser and as nobody in particular.

mod orphans;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use catalog::vm::escape::{self, Report, Trial};
use catalog::vm::{Barrier, Engine, Grade, Language, Layer, WorkerProgram};
use tempfile::TempDir;

const WORKER: &str = env!("CARGO_BIN_EXE_catalog-worker");
/// A user who owns nothing.
const USER: &str = "65533";

fn worker() -> WorkerProgram {
    WorkerProgram::find(&[PathBuf::from(WORKER)]).expect("cargo has built the worker")
}

/// Gives a worker program that runs as a user without privileges, whoever runs the tests.
fn worker_of_a_user() -> (TempDir, WorkerProgram) {
    let directory = tempfile::Builder::new().prefix("catalog-user-").tempdir().expect("a directory");
    let within = |name: &str| directory.path().join(name);
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("is ours");
    let drop_privileges = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
    let who = if rustix::process::geteuid().is_root() { drop_privileges } else { String::new() };
    // A shell leaves variables behind, and the launcher would say so.
    let script = format!("#!/bin/sh\nexec /usr/bin/env -i {who} {}\n", within("worker").display());
    fs::write(within("text"), script).expect("writes");
    install(&within("text"), &within("start"));
    install(Path::new(WORKER), &within("worker"));
    let program = WorkerProgram::find(&[within("start")]).expect("is there");
    (directory, program)
}

/// Copies an executable by another process: what any process has open for writing cannot be executed, and the tests beside
/// this one fork.
fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([from, to]).status().expect("is in coreutils");
    assert!(status.success());
}

async fn attacked(worker: WorkerProgram, without: &[Barrier]) -> Report {
    let engines = vec![(Language::Wasm, Engine::default())];
    let trial = Trial { worker, without: without.to_vec(), engines, names: Vec::new() };
    let report = escape::attempt(&trial).await.expect("the sandbox can be closed");
    let made = |language: Language| {
        report.cases.iter().filter(|case| case.language == language.as_str() && case.contained.is_some()).count()
    };
    let (native, lua, wasm) = (made(Language::Probe), made(Language::Lua), made(Language::Wasm));
    assert!(native >= 150 && lua >= 40 && wasm >= 16 && native + lua + wasm == report.total, "{native} {lua} {wasm}");
    report
}

/// Gives the attacks that were not contained, with what they did.
fn escaped(report: &Report) -> Vec<String> {
    let escaped = report.cases.iter().filter(|case| case.contained == Some(false));
    escaped.map(|case| format!("{}: {}", case.name, case.stopped_by)).collect()
}

fn stopped_by(report: &Report, layer: Layer) -> usize {
    report.cases.iter().filter(|case| case.layer == layer.as_str()).count()
}

#[tokio::test]
async fn every_attack_is_contained() {
    let report = attacked(worker(), &[]).await;
    assert_eq!((report.grade, escaped(&report)), (Grade::Full, vec![]), "{:?}", report.absent);
    assert!(report.is_clean());
    for layer in [Layer::Seccomp, Layer::Landlock, Layer::Rlimits] {
        assert!(stopped_by(&report, layer) > 3, "{layer}");
    }
    // Pages that no limit of the kernel counts are seen by the host.
    let shared = report.cases.iter().find(|case| case.name == "shared-memory-bomb").expect("was made");
    assert_eq!(shared.layer, "host_watch", "{shared:?}");
}

#[tokio::test]
async fn every_attack_is_contained_for_a_user_without_privileges() {
    let (_directory, worker) = worker_of_a_user();
    let report = attacked(worker, &[]).await;
    assert_eq!((report.grade, escaped(&report)), (Grade::Full, vec![]), "{:?}", report.absent);
}

#[tokio::test]
async fn every_attack_is_contained_without_namespaces() {
    for (_directory, worker) in [(None, worker()), {
        let (directory, worker) = worker_of_a_user();
        (Some(directory), worker)
    }] {
        let report = attacked(worker, &[Barrier::Namespaces]).await;
        assert_eq!((report.grade, escaped(&report)), (Grade::Degraded, vec![]));
        assert!(!report.layers.contains(&Layer::PidNamespace) && report.layers.contains(&Layer::ForkDenied));
    }
}

#[tokio::test]
async fn every_attack_is_contained_without_landlock() {
    let report = attacked(worker(), &[Barrier::Landlock]).await;
    assert_eq!((report.grade, escaped(&report)), (Grade::Degraded, vec![]));
    assert!(stopped_by(&report, Layer::PrivateRoot) > 10);
}

#[tokio::test]
async fn without_the_filter_what_others_have_stays_out_of_reach() {
    let report = attacked(worker(), &[Barrier::Seccomp]).await;
    assert_eq!(report.grade, Grade::Degraded);
    // What is left is what a process may do in namespaces of its own: make processes, sockets that reach nobody, queues,
    // and signal the group it is in itself.
    let theirs = [
        "open-",
        "bait-",
        "create-",
        "list-",
        "read-",
        "connect-",
        "send-",
        "signal-init",
        "signal-parent",
        "signal-host",
        "exec-",
        "flood-",
        "forge-",
    ];
    let escaped = escaped(&report);
    let reached: Vec<&String> =
        escaped.iter().filter(|attack| theirs.iter().any(|kind| attack.starts_with(kind))).collect();
    assert_eq!(reached, Vec::<&String>::new());
    assert!((1..60).contains(&escaped.len()), "{escaped:?}");
}

#[tokio::test]
async fn every_attack_in_julia_is_contained() {
    let engines = vec![(Language::Julia, super::vm::julia::julia_engine())];
    let names: Vec<String> = escape::all()
        .into_iter()
        .filter(|case| case.language == Language::Julia)
        .map(|case| case.name.to_owned())
        .collect();
    let trial = Trial { worker: worker(), without: Vec::new(), engines, names };
    let report = escape::attempt(&trial).await.expect("the sandbox can be closed");
    assert_eq!((report.grade, report.skipped, escaped(&report)), (Grade::Full, 0, vec![]));
    assert!(report.total > 50, "{}", report.total);
}
