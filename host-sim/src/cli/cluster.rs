//! `cluster`: several nodes on this machine, each a process of its own, as people and tests of networks need them.
//!
//! A cluster is a directory: `cluster.json`, the authority's home `ca`, the `bundle` that every node has, and a home for
//! each node. Nodes are nothing special: `host-sim up` runs them, and every other command works on their homes. One command
//! at a time changes a cluster; nothing of it stays in memory between two.

mod arguments;
mod make;
mod network;
mod process;
mod record;
mod start;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use host_sim::host::Grade;
use host_sim::operation::Operation;
use host_sim::trust::{TrustHome, Unlock};
use hypermesh_abi::{Code, Error, Fault};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(crate) use self::arguments::Cluster;
use self::arguments::{ClusterCommand, Named, Partition, Up};
use self::network::Network;
use self::record::{AUTHORITY, Node, Record};
use super::daemon;
use super::node::HomeLock;
use super::output::Output;

/// How long a node may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a command.
///
/// # Errors
/// Whatever went wrong, for [`Output::fail`].
pub(crate) async fn run(options: &Cluster, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let _lock = match options.command {
        ClusterCommand::Status => None,
        _ => Some(lock(home).await?),
    };
    match &options.command {
        ClusterCommand::Status => answer("", &open(home)?, home, None, output).await,
        ClusterCommand::Up(options) => up(options, home, output).await,
        ClusterCommand::Start(named) => start_one(named, home, output).await,
        ClusterCommand::Kill(named) => kill(named, home, output).await,
        ClusterCommand::Partition(groups) => partition(groups, home, output).await,
        ClusterCommand::Heal => heal(home, output).await,
        ClusterCommand::Refresh => refresh(home, output).await,
        ClusterCommand::Down => down(home, output).await,
    }
}

async fn lock(home: &Path) -> Result<HomeLock, Error> {
    let home = home.to_path_buf();
    let lock = tokio::task::spawn_blocking(move || HomeLock::take(&home)).await;
    lock.map_err(|error| Error::wrap(Code::INTERNAL, &error))?
}

async fn up(options: &Up, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let (mut record, less) = match Record::read(home)? {
        Some(record) => (record, None),
        None => make::cluster(home, options, output)?,
    };
    let count = record.nodes.len();
    if let Some(wanted) = options.nodes.filter(|wanted| usize::try_from(*wanted) != Ok(count)) {
        let message = format!("the cluster in `{}` has {count} nodes, and not {wanted}", home.display());
        return Err(Error::new(Code::INVALID_ARGUMENT, message).help("leave out -n, or give another --home"));
    }
    if !record.nodes.iter().chain([&record.authority]).any(Node::is_running) {
        // What an interrupted command may have left is of no use to anybody.
        record.network.remove(&record.ids())?;
        record.network.build(&record.ids())?;
        record.groups.clear();
    }
    give_what_is_due(home, &record)?;
    let started = start::authority(home, &mut record).await;
    record.write(home)?;
    started?;
    let stopped: Vec<usize> = (0..record.nodes.len()).filter(|place| !record.nodes[*place].is_running()).collect();
    let failed = start::nodes(home, &mut record, &stopped, output).await;
    record.write(home)?;
    match failed_start(failed) {
        Some(error) => Err(error),
        None => answer("the cluster is up\n", &record, home, less.as_ref(), output).await,
    }
}

async fn start_one(named: &Named, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let mut record = open(home)?;
    let place = record.place_of(&named.node)?;
    if record.nodes[place].is_running() {
        return Err(Error::new(Code::ALREADY_EXISTS, format!("node `{}` runs already", named.node)));
    }
    if !record.network.is_built() {
        return Err(Error::new(Code::NOT_RUNNING, "the cluster is down, and its network is gone")
            .help("`host-sim cluster up` starts all of it"));
    }
    give_what_is_due(home, &record)?;
    let failed = start::nodes(home, &mut record, &[place], output).await;
    record.write(home)?;
    match failed_start(failed) {
        Some(error) => Err(error),
        None => answer(&format!("started {}\n", named.node), &record, home, None, output).await,
    }
}

async fn kill(named: &Named, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let record = open(home)?;
    let node = &record.nodes[record.place_of(&named.node)?];
    let Some(process) = node.process.filter(|_| node.is_running()) else {
        return Err(Error::new(Code::NOT_RUNNING, format!("node `{}` does not run", node.id))
            .help(format!("`host-sim cluster start {}` starts it", node.id)));
    };
    let killed = tokio::task::spawn_blocking(move || process.kill(start::KILL_TIMEOUT)).await;
    if !killed.unwrap_or(false) {
        let message = format!("process {} of node `{}` does not end", process.pid, node.id);
        return Err(Error::new(Code::BUSY, message).fault(Fault::ENVIRONMENT));
    }
    answer(&format!("killed {}\n", node.id), &record, home, None, output).await
}

async fn partition(typed: &Partition, home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let mut record = open(home)?;
    let groups = record.groups(&typed.groups)?;
    cut(&mut record, home, groups)?;
    answer("the network is cut\n", &record, home, None, output).await
}

async fn heal(home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let mut record = open(home)?;
    if !record.groups.is_empty() {
        cut(&mut record, home, Vec::new())?;
    }
    answer("the network is whole\n", &record, home, None, output).await
}

async fn refresh(home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let record = open(home)?;
    give_what_is_due(home, &record)?;
    answer("every node has the newest lists\n", &record, home, None, output).await
}

async fn down(home: &Path, output: &Output) -> Result<ExitCode, Error> {
    let mut record = open(home)?;
    let stopped = start::stop_nodes(home, &mut record).await;
    if stopped.is_ok() {
        record.network.remove(&record.ids())?;
        record.groups.clear();
    }
    record.write(home)?;
    stopped?;
    answer("the cluster is down\n", &record, home, None, output).await
}

fn open(home: &Path) -> Result<Record, Error> {
    Record::read(home)?.ok_or_else(|| {
        Error::new(Code::NOT_FOUND, format!("there is no cluster in `{}`", home.display()))
            .help("`host-sim cluster up -n 3` makes one; --home says where")
    })
}

/// Cuts the network into groups, or makes it whole if there are none, and writes that down. What cannot be cut stays as
/// it was.
fn cut(record: &mut Record, home: &Path, groups: Vec<Vec<String>>) -> Result<(), Error> {
    let places = places_of(record, &groups)?;
    if let Err(error) = record.network.cut(&places) {
        if record.network == Network::Loopback {
            return Err(error);
        }
        // Some of it may have been done.
        return match record.network.cut(&places_of(record, &record.groups)?) {
            Ok(()) => Err(error),
            Err(_) => {
                Err(error.help("nobody knows how the network is cut now; `cluster down` and `cluster up` mend it"))
            }
        };
    }
    record.groups = groups;
    record.write(home)
}

/// Gives the places of groups in the network, from 1; one of all if there are no groups.
fn places_of(record: &Record, groups: &[Vec<String>]) -> Result<Vec<Vec<usize>>, Error> {
    let number = |id: &String| record.place_of(id).map(|place| place + 1);
    let numbers = |group: &Vec<String>| group.iter().map(number).collect::<Result<Vec<_>, _>>();
    let mut places = groups.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
    if places.is_empty() {
        places.push((1..=record.nodes.len()).collect());
    }
    // The authority stays with the first group.
    places[0].push(record.ids().len());
    Ok(places)
}

/// Gives every node what the authority has now.
fn give_what_is_due(home: &Path, record: &Record) -> Result<(), Error> {
    let unlock = Unlock::from_environment(None)?;
    let authority = TrustHome::open(&home.join(AUTHORITY))?;
    for node in &record.nodes {
        TrustHome::take(&home.join(&node.id), &authority.membership(&node.id, &unlock)?, &unlock)?;
    }
    Ok(())
}

fn failed_start(failed: Vec<(String, Error)>) -> Option<Error> {
    let ids: Vec<&str> = failed.iter().map(|(id, _)| id.as_str()).collect();
    let ids = ids.join(", ");
    let (_, first) = failed.into_iter().next()?;
    let message = format!("{ids} did not start: {}", first.message);
    Some(Error { message, ..first })
}

impl Node {
    /// Says whether its process runs.
    fn is_running(&self) -> bool {
        self.process.is_some_and(process::Process::is_alive)
    }
}

/// Answers every command with the cluster as it is now.
async fn answer(
    done: &str,
    record: &Record,
    home: &Path,
    less: Option<&Error>,
    output: &Output,
) -> Result<ExitCode, Error> {
    let nodes = look(record, home).await?;
    let mut text = done.to_owned();
    let _ =
        writeln!(text, "{:<6} {:<8} {:<9} {:<22} {:>8} {:>9}", "NODE", "STATE", "HEALTH", "ADDRESS", "PID", "MEMORY");
    for node in &nodes {
        let word = |field: &str| node[field].as_str().unwrap_or("-").to_owned();
        let pid = node["pid"].as_u64().map_or("-".to_owned(), |pid| pid.to_string());
        let memory = node["rss_mb"].as_f64().map_or("-".to_owned(), |rss| format!("{rss:.1} MiB"));
        let (id, state, health, address) = (word("id"), word("state"), word("health"), word("address"));
        let _ = writeln!(text, "{id:<6} {state:<8} {health:<9} {address:<22} {pid:>8} {memory:>9}");
    }
    let groups: Vec<String> = record.groups.iter().map(|group| group.join(",")).collect();
    if !groups.is_empty() {
        let _ = writeln!(text, "cut into {}", groups.join(" | "));
    }
    if let Some(less) = less {
        let _ = writeln!(text, "the network cannot be cut: {less}");
    }
    let running = nodes.iter().filter(|node| node["state"] == "Running").count();
    let state = if running == nodes.len() {
        "Running"
    } else if running == 0 {
        "Stopped"
    } else {
        "Degraded"
    };
    let data = json!({"state": state, "nodes": nodes, "network": record.network, "groups": record.groups,
        "partitions": record.network != Network::Loopback, "authority": json!({"home": home.join(AUTHORITY),
        "address": record.authority.address, "pid": record.authority.process.map(|process| process.pid),
        "state": if record.authority.is_running() { "Running" } else { "Stopped" }})});
    Ok(output.answer(&text, data))
}

/// Looks at every node, all at the same time.
async fn look(record: &Record, home: &Path) -> Result<Vec<Json>, Error> {
    let mut looking = JoinSet::new();
    for (place, node) in record.nodes.iter().cloned().enumerate() {
        let home = home.join(&node.id);
        looking.spawn(async move { (place, look_at(&node, &home).await) });
    }
    let mut nodes = vec![Json::Null; record.nodes.len()];
    while let Some(seen) = looking.join_next().await {
        let (place, node) = seen.map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        nodes[place] = node;
    }
    Ok(nodes)
}

async fn look_at(node: &Node, home: &Path) -> Json {
    let mut seen = json!({"id": node.id, "pid": null, "address": node.address, "state": "Stopped", "health": null,
        "rss_mb": null, "home": home});
    let Some(process) = node.process else { return seen };
    if !process.is_alive() {
        // It was not asked to end.
        seen["state"] = "Failed".into();
        return seen;
    }
    let (sender, _) = mpsc::channel(1);
    let asked = tokio::time::timeout(STATUS_TIMEOUT, daemon::ask(home, &Operation::Status, sender)).await;
    let answer = asked.ok().and_then(Result::ok);
    let health = answer.as_ref().and_then(|answer| answer["health"].as_str());
    seen["pid"] = process.pid.into();
    seen["state"] = "Running".into();
    seen["health"] = health.unwrap_or(Grade::Unhealthy.name()).into();
    seen["rss_mb"] = process.rss_mb().into();
    seen
}
