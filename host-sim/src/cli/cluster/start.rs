//! Starting and stopping the processes of nodes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use host_sim::operation::Operation;
use hypermesh_abi::records::{ErrorRecord, Progress};
use hypermesh_abi::{Code, Error, Fault};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::network::Network;
use super::process::Process;
use super::record::Record;
use crate::cli::commands::at;
use crate::cli::daemon;
use crate::cli::output::Output;

/// Nodes that start at the same time for each processor; starting is mostly hashing and a trial of the library.
const STARTING_PER_PROCESSOR: usize = 2;
/// How long a node may take to start; a debug build on a busy machine takes some seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a node may take to end before it is killed, longer than it gives what is in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a node may take to say who it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest line that a node says when it is up.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Starts nodes, as many at the same time as is good, and notes their processes. Gives the errors of those that did not.
pub(super) async fn nodes(home: &Path, record: &mut Record, places: &[usize], output: &Output) -> Vec<(String, Error)> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let turns = Arc::new(Semaphore::new(STARTING_PER_PROCESSOR * processors));
    let mut starting = JoinSet::new();
    for &place in places {
        let (id, home) = (record.nodes[place].id.clone(), home.join(&record.nodes[place].id));
        let (network, turns) = (record.network.clone(), Arc::clone(&turns));
        starting.spawn(async move {
            let _turn = turns.acquire().await;
            (place, node(&network, &id, &home).await)
        });
    }
    let mut failed = BTreeMap::new();
    let mut done = 0;
    while let Some(started) = starting.join_next().await {
        let Ok((place, started)) = started else { continue };
        let node = &mut record.nodes[place];
        done += 1;
        output.progress(&Progress {
            stage: "start".into(),
            message: node.id.clone(),
            done,
            total: places.len() as u64,
            unit: "nodes".into(),
        });
        match started {
            Ok(process) => node.process = Some(process),
            Err(error) => {
                failed.insert(place, (node.id.clone(), error));
            }
        }
    }
    failed.into_values().collect()
}

/// Starts a node and waits until it is up with its extension.
async fn node(network: &Network, id: &str, home: &Path) -> Result<Process, Error> {
    if let Some(process) = answering(home).await {
        return Ok(process);
    }
    let (process, said) = start(network, id, home, &["up"]).await?;
    if said["extensions"].as_array().is_some_and(|extensions| !extensions.is_empty()) {
        return Ok(process);
    }
    let _ = tokio::task::spawn_blocking(move || process.kill(KILL_TIMEOUT)).await;
    let message = format!("node `{id}` has not loaded its extension");
    Err(Error::new(Code::INITIALIZATION_FAILED, message).help(format!("see `{}`", log_of(home).display())))
}

/// Starts the authority, if it does not run.
pub(super) async fn authority(home: &Path, record: &mut Record) -> Result<(), Error> {
    if record.authority.is_running() {
        return Ok(());
    }
    let listen = record.authority.address.to_string();
    let words = ["trust", "serve", "--listen", &listen];
    let (process, _) = start(&record.network, &record.authority.id, &home.join(&record.authority.id), &words).await?;
    record.authority.process = Some(process);
    Ok(())
}

/// Starts a command on a home, and waits until it says that it is up.
async fn start(network: &Network, id: &str, home: &Path, words: &[&str]) -> Result<(Process, Json), Error> {
    let program = std::env::current_exe().map_err(|error| Error::wrap(Code::IO, &error))?;
    let log = log_of(home);
    let file = File::options().create(true).append(true).open(&log).map_err(|error| at(&log, &error))?;
    let mut command = network.command(id, &program);
    command.arg("--home").arg(home).arg("--json").args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
    // What ends this command, such as Ctrl-C, is not meant for the node.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = tokio::process::Command::from(command).spawn().map_err(|error| Error::wrap(Code::IO, &error))?;
    let said = first_line(child.stdout.take()).await;
    let started = child.id().and_then(Process::of);
    match (up(id, said, &log), started) {
        (Ok(said), Some(process)) => Ok((process, said)),
        (Ok(_), None) => Err(ended(id, &log)),
        (Err(error), _) => {
            let _ = child.kill().await;
            Err(error)
        }
    }
}

async fn first_line(output: Option<tokio::process::ChildStdout>) -> Option<String> {
    let mut line = String::new();
    let mut reader = BufReader::new(output?).take(LINE_BYTES_MAX);
    let read = tokio::time::timeout(START_TIMEOUT, reader.read_line(&mut line)).await;
    matches!(read, Ok(Ok(bytes)) if bytes > 0).then_some(line)
}

/// Reads what a process says when it is up.
fn up(id: &str, said: Option<String>, log: &Path) -> Result<Json, Error> {
    let said: Json = said.and_then(|line| serde_json::from_str(&line).ok()).ok_or_else(|| ended(id, log))?;
    if said["ok"] != true {
        return Err(match serde_json::from_value::<ErrorRecord>(said["error"].clone()) {
            Ok(record) => record.into(),
            Err(_) => ended(id, log),
        });
    }
    Ok(said)
}

/// Stops nodes, all at the same time, and then the authority: each is asked to, and killed if it does not. Nothing of them is left but their homes.
pub(super) async fn stop_nodes(home: &Path, record: &mut Record) -> Result<(), Error> {
    let mut stopping = JoinSet::new();
    for (place, node) in record.nodes.iter().enumerate() {
        let (home, process) = (home.join(&node.id), node.process);
        stopping.spawn(async move { (place, stop(&home, process).await) });
    }
    let mut left = Vec::new();
    while let Some(stopped) = stopping.join_next().await {
        match stopped {
            Ok((place, true)) => record.nodes[place].process = None,
            Ok((place, false)) => left.push(record.nodes[place].id.clone()),
            Err(error) => return Err(Error::wrap(Code::INTERNAL, &error)),
        }
    }
    if let Some(process) = record.authority.process {
        let end = move || {
            process.terminate();
            process.wait(STOP_TIMEOUT) || process.kill(KILL_TIMEOUT)
        };
        if tokio::task::spawn_blocking(end).await.unwrap_or(false) {
            record.authority.process = None;
        } else {
            left.push(record.authority.id.clone());
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let message = format!("the processes of {} do not end", left.join(", "));
    Err(Error::new(Code::BUSY, message).fault(Fault::ENVIRONMENT))
}

async fn stop(home: &Path, process: Option<Process>) -> bool {
    let running = match process.filter(|process| process.is_alive()) {
        None => answering(home).await,
        running => running,
    };
    if running.is_some() {
        let (sender, _) = mpsc::channel(1);
        // One that does not answer is killed below.
        let _ = tokio::time::timeout(STOP_TIMEOUT, daemon::ask(home, &Operation::Stop, sender)).await;
    }
    let end = move || running.is_none_or(|process| process.wait(STOP_TIMEOUT) || process.kill(KILL_TIMEOUT));
    let has_ended = tokio::task::spawn_blocking(end).await.unwrap_or(false);
    if has_ended {
        daemon::remove_socket(home);
    }
    has_ended
}

/// Finds the process that answers on a home: one whose start was interrupted is in no record.
async fn answering(home: &Path) -> Option<Process> {
    let (sender, _) = mpsc::channel(1);
    let asked = tokio::time::timeout(ANSWER_TIMEOUT, daemon::ask(home, &Operation::Status, sender)).await;
    let pid = asked.ok()?.ok()?["pid"].as_u64()?;
    Process::of(u32::try_from(pid).ok()?)
}

fn log_of(home: &Path) -> PathBuf {
    home.join("node.log")
}

fn ended(id: &str, log: &Path) -> Error {
    let message = format!("node `{id}` ended or did not say that it is up within {} s", START_TIMEOUT.as_secs());
    Error::new(Code::INITIALIZATION_FAILED, message).fault(Fault::ENVIRONMENT).help(format!("see `{}`", log.display()))
}
