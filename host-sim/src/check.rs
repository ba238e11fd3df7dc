//! The conformance kit: does an extension keep the contract, and does it behave when things go wrong?
//!
//! Every check runs in a child process of its own, so a crash, an exit or a hang is a result and not the end. The report
//! is bound to the digest of the file that was checked.
//!
//! - Level 1: it loads, says who it is, takes up work, refuses what it does not know, and leaves nothing behind.
//! - Level 2: it stands wrong input, cancellation, wrong order of calls, pause and hand-over.
//! - Level 3: it stands other executors, many threads, late callers, hosts that grant nothing, and many generations.

mod cases;

use std::path::{Path, PathBuf};
use std::time::Instant;

use hypermesh_abi::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::child::{ChildCommand, Ending};
use crate::child_main::Task;
use crate::loader::{Image, LibraryBytes};

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check.
    pub id: String,
    /// Its level, 1 to 3.
    pub level: u8,
    /// It passed.
    pub ok: bool,
    /// Why not, in one line; what it looked at if it passed.
    pub reason: String,
    /// Milliseconds it took.
    pub millis: u64,
}

/// What the checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Digest of the file, as `blake3:<hex>`.
    pub digest: String,
    /// The highest level of which every check passed, and of every level below; 0 for none.
    pub level: u8,
    /// The checks, in order.
    pub checks: Vec<CheckResult>,
}

/// What to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// The highest level to run.
    pub level: u8,
    /// The configuration that the extension is constructed with.
    pub config: Json,
    /// Auxiliary programs by name.
    pub workers: std::collections::BTreeMap<String, PathBuf>,
}

/// One check for a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckTask {
    library: PathBuf,
    id: String,
    config: Json,
    workers: std::collections::BTreeMap<String, PathBuf>,
}

/// Lists every check with its level and what it looks at.
pub fn catalogue() -> impl Iterator<Item = (&'static str, u8, &'static str)> {
    cases::CASES.iter().map(|case| (case.id, case.level, case.about))
}

/// Runs the checks up to a level. Blocks; `done` hears of each result as it comes.
///
/// # Errors
/// Only what keeps the checks from being run at all: the file cannot be read, or is no library.
pub fn run(
    child: &ChildCommand,
    path: &Path,
    options: &CheckOptions,
    done: &mut dyn FnMut(&CheckResult),
) -> Result<CheckReport, Error> {
    let library = LibraryBytes::read(path).map_err(|error| Error::wrap(Code::IO, &error))?;
    run_bytes(child, &library, options, done)
}

/// Runs the checks that a manifest requires before a library is loaded.
///
/// # Errors
/// `POLICY_DENIED` naming the first check that failed.
pub(crate) fn require(
    child: Option<&ChildCommand>,
    library: &LibraryBytes,
    options: &CheckOptions,
) -> Result<(), Error> {
    let Some(child) = child else {
        return Err(Error::new(
            Code::POLICY_DENIED,
            "the manifest requires conformance, and this host has no way to check it",
        ));
    };
    let report = run_bytes(child, library, options, &mut |_| {})?;
    match report.checks.iter().find(|check| !check.ok) {
        None => Ok(()),
        Some(failed) => {
            let message =
                format!("library does not conform to level {}: `{}` {}", options.level, failed.id, failed.reason);
            Err(Error::new(Code::POLICY_DENIED, message).help("`host-sim check` shows all results"))
        }
    }
}

fn run_bytes(
    child: &ChildCommand,
    library: &LibraryBytes,
    options: &CheckOptions,
    done: &mut dyn FnMut(&CheckResult),
) -> Result<CheckReport, Error> {
    let image = library.image();
    let mut checks = Vec::new();
    for case in cases::CASES.iter().filter(|case| case.level <= options.level) {
        let started = Instant::now();
        let outcome = match &image {
            Ok(image) => run_case(child, image, case, options),
            Err(error) => Err(error.to_string()),
        };
        let (ok, reason) = match outcome {
            Ok(()) => (true, case.about.to_owned()),
            Err(reason) => (false, reason),
        };
        let millis = started.elapsed().as_millis() as u64;
        let result = CheckResult { id: case.id.into(), level: case.level, ok, reason, millis };
        done(&result);
        let hopeless = case.id == "load" && !ok;
        checks.push(result);
        if hopeless {
            break;
        }
    }
    let passed = |level: u8| checks.iter().filter(|check| check.level == level).all(|check| check.ok);
    let level = (1..=options.level).take_while(|level| passed(*level)).last().unwrap_or(0);
    Ok(CheckReport { digest: library.digest(), level, checks })
}

fn run_case(child: &ChildCommand, image: &Image, case: &cases::Case, options: &CheckOptions) -> Result<(), String> {
    let task = CheckTask {
        library: image.path_for_children(),
        id: case.id.into(),
        config: options.config.clone(),
        workers: options.workers.clone(),
    };
    let report = child
        .run::<Result<(), String>>(&Task::Check(task))
        .map_err(|error| format!("cannot start a child process: {error}"))?;
    match (report.answer, report.ending) {
        (Some(answer), Ending::Exit(0)) => answer,
        (_, ending) if report.stderr.is_empty() => Err(format!("it {}", ending.describe())),
        (_, ending) => Err(format!("it {}: {}", ending.describe(), report.stderr)),
    }
}

/// Runs one check in this process; called in children only.
pub(crate) fn run_task(task: &CheckTask) -> Result<(), String> {
    let case = cases::CASES.iter().find(|case| case.id == task.id).ok_or_else(|| format!("no check `{}`", task.id))?;
    (case.run)(&cases::Subject::new(&task.library, &task.config, &task.workers)?)
}
