//! What is left of workers that were killed, however that came about: nothing.

use std::fs;
use std::time::{Duration, Instant};

use catalog::package::model::Bytes;
use catalog::value::Value;
use catalog::vm::{Barrier, Call, Cancel, Context, Engine, Grade, Language, Limits, Module, Program, Session, VmError};

use super::worker;

/// How many workers are killed; a thousand with `CATALOG_KILLS=1000`.
fn kills() -> usize {
    std::env::var("CATALOG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(48)
}

fn program(language: Language, source: &str) -> Program {
    let module = Module { file: "main".into(), source: source.into() };
    Program::new(language, "main", [("main".to_owned(), module)].into()).expect("has its entry")
}

async fn session(language: Language, without: &[Barrier], limits: Limits) -> Result<Session, VmError> {
    let engine = Engine { without: without.to_vec(), ..Engine::default() };
    let source = "return { spin = function() while true do end end, one = function() return 1 end }";
    let (program, context) = (program(language, source), Context::default());
    let opened = Session::open_with(&worker(), &engine, &program, &context, limits, &Cancel::new()).await;
    opened.map_err(|failure| *failure.error)
}

fn call(function: &str) -> Call {
    let bait = [Value::Str("/nowhere".into()), Value::Int(1), Value::Str("nobody".into()), Value::Int(1)];
    Call { function: function.into(), args: bait.to_vec() }
}

/// Gives a field of `/proc/PID/stat` after the name, counted from 0: the state, then the parent.
fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(str::to_owned)
}

/// Tells whether a process has ended; one that the machine's init has not reaped yet has.
fn has_ended(pid: u32) -> bool {
    stat(pid, 0).is_none_or(|state| state == "Z" || state == "X")
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("fits")).expect("is a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("is there and ours");
}

#[tokio::test]
async fn killed_workers_leave_no_process() {
    let mut processes = Vec::new();
    for round in 0..kills() {
        let (language, endless) = match round % 3 {
            0 => (Language::Lua, "spin"),
            1 => (Language::Probe, "outlive"),
            _ => (Language::Probe, "spin-deaf"),
        };
        let without: &[Barrier] = if round % 5 == 4 { &[Barrier::Namespaces] } else { &[] };
        let mut session = session(language, without, Limits::default()).await.expect("starts");
        let (launcher, engine) = (session.pid().expect("runs"), session.engine_pid().expect("runs"));
        let init: u32 = stat(engine, 1).and_then(|parent| parent.parse().ok()).expect("has a parent");
        processes.extend([launcher, init, engine]);
        let (cancel, endless) = (Cancel::new(), call(endless));
        let running = session.call(&endless, &cancel);
        let ending = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            match round % 4 {
                0 => cancel.cancel(),
                1 => kill(launcher),
                2 => kill(init),
                _ => kill(engine),
            }
        };
        let (result, ()) = tokio::join!(running, ending);
        let error = *result.expect_err("has been killed").error;
        let expected = match round % 4 {
            0 => matches!(error, VmError::Cancelled),
            _ => matches!(&error, VmError::WorkerCrashed { exit, .. } if exit.contains("signal: 9")),
        };
        assert!(expected, "{round}: {error}");
        // What the host itself has ended is gone at once; what somebody else has, the kernel takes down beside us.
        assert!(!fs::exists(format!("/proc/{launcher}")).expect("can be asked"), "{round}");
    }
    let since = Instant::now();
    while let Some(left) = processes.iter().find(|pid| !has_ended(**pid)) {
        assert!(since.elapsed() < Duration::from_secs(10), "process {left} is left: {:?}", stat(*left, 0));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_host_outlives_workers_that_crash_lie_and_flood() {
    let limits = Limits { output: Bytes(4096), wall: Duration::from_millis(300), ..Limits::default() };
    let attacks = ["crash", "abort", "forge-length", "forge-depth", "forge-grade", "flood-output", "flood-socket"];
    for attack in attacks.into_iter().cycle().take(kills()) {
        let mut session = session(Language::Probe, &[], limits).await.expect("starts");
        let pids = [session.pid().expect("runs"), session.engine_pid().expect("runs")];
        let failure = session.call(&call(attack), &Cancel::new()).await.expect_err("is no answer");
        assert!(failure.output.stdout.len() <= 4096, "{attack}");
        assert!(session.pid().is_none() && pids.iter().all(|pid| !fs::exists(format!("/proc/{pid}")).expect("asked")));
    }
    let mut well = session(Language::Lua, &[], limits).await.expect("starts");
    assert_eq!(well.call(&call("one"), &Cancel::new()).await.expect("runs").value, Value::Int(1));
}

#[tokio::test]
async fn a_sandbox_below_what_is_asked_for_is_refused_by_its_layers() {
    let full = Limits { grade: Grade::Full, ..Limits::default() };
    session(Language::Lua, &[], full).await.expect("every layer is there");
    let refused = session(Language::Lua, &[Barrier::Landlock], full).await.expect_err("a layer is missing");
    assert_eq!(
        refused.to_string(),
        "the sandbox here is degraded(no landlock), and the least that is accepted is full"
    );
    session(Language::Lua, &[Barrier::Landlock], Limits::default()).await.expect("every way out is closed");
    // With two locks of one door left out nothing runs, whatever is asked for.
    let open = session(Language::Lua, &[Barrier::Landlock, Barrier::Namespaces], Limits::default()).await;
    let open = open.expect_err("files are open");
    assert!(
        matches!(&open, VmError::SandboxGrade { least: Grade::Degraded, absent, .. } if !absent.is_empty()),
        "{open}"
    );
    let open = session(Language::Lua, &[Barrier::Seccomp, Barrier::Namespaces], Limits::default()).await;
    assert!(matches!(open, Err(VmError::SandboxGrade { .. })), "processes could be made and outlive their worker");
}
