//! Measures the control plane with many nodes in one process, and prints a table:
//!
//! ```text
//! cargo run --release -p stoq --features testing --example scale -- --nodes 200 [--keys 100] [--quic [--wave 16]]
//! ```
//!
//! Without `--quic` the nodes are connected in memory, with it they are complete nodes on loopback ports. They join in waves.
//! In the end three of ten are frozen at once: those in memory have crashed without a word, those on QUIC answer nothing. All of it runs in real time
//! on the cores of this machine, so that what takes long with many nodes is computing, not waiting. `requests` are the peers
//! that a lookup asked.
#![expect(clippy::print_stdout, reason = "this program is there to print")]

#[path = "../../benches/target.rs"]
mod target;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use stoq::identity::Pending;
use stoq::limits::Limits;
use stoq::node::{Node, NodeOptions};
use stoq::service::{Caller, Service, ServiceError, Stream};
use stoq::swarm::cluster::{Cluster, until};
use stoq::swarm::{Handle, Settings};
use stoq::testing::Authority;

/// How long joining may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many others a node knows when it starts; one alone has more newcomers than connections.
const BOOTSTRAPS: usize = 5;
/// Milliseconds that providing a key may take at the median, and the slowest lookup.
const PROVIDE_MS_MAX: f64 = 100.0;
const LOOKUP_MS_MAX: f64 = 2_000.0;
/// What part of the nodes is frozen.
const FROZEN_PERCENT: usize = 30;

struct Arguments {
    nodes: usize,
    keys: usize,
    quic: bool,
    wave: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("| what | succeeded | requests p50/p99 | latency p50/p99/max |\n|---|---|---|---|");
    if arguments.quic { runtime.block_on(on_quic(&arguments)) } else { runtime.block_on(in_memory(&arguments)) }
}

async fn in_memory(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (rss, began) = (rss_bytes()?, Instant::now());
    let mut cluster = Cluster { bootstraps: BOOTSTRAPS, ..Cluster::empty() };
    cluster.grow(arguments.nodes, &Settings::default(), PATIENCE).await;
    let joined = began.elapsed();
    let handles: Vec<Handle> = cluster.nodes.iter().map(|node| node.handle.clone()).collect();
    let alive = handles.len() - handles.len() * FROZEN_PERCENT / 100;
    let askers = &handles[..alive];
    // Keys are provided by nodes that go on, and looked up by others of them.
    provide("provide", askers, 0..arguments.keys).await;
    let (at_rest, slowest) = look_up("providers", askers, arguments.keys).await;
    let per_node = rss_bytes()?.saturating_sub(rss) / arguments.nodes as u64;
    let connections = connections(&handles).await;
    let frozen = cluster.freeze(alive, handles.len() - alive).await;
    let (without, slower) = look_up(&format!("providers, {} frozen", frozen.len()), askers, arguments.keys).await;
    let few = arguments.keys..arguments.keys + arguments.keys.div_ceil(5);
    provide(&format!("provide, {} frozen", frozen.len()), askers, few).await;
    print_sizes(arguments.nodes, joined, per_node, connections);
    target::at_least("in memory: lookups that succeed at rest", at_rest, 1.0, "parts");
    target::at_least("in memory: lookups that succeed with three of ten nodes frozen", without, 1.0, "parts");
    target::at_most("in memory: the slowest lookup", slowest.max(slower), LOOKUP_MS_MAX, "ms");
    Ok(())
}

async fn on_quic(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (rss, began, authority) = (rss_bytes()?, Instant::now(), Authority::new());
    let thaw = Arc::new(Thaw::default());
    let mut nodes: Vec<Node> = Vec::new();
    while nodes.len() < arguments.nodes {
        for _ in 0..arguments.wave.min(arguments.nodes - nodes.len()) {
            nodes.push(start(&authority, &nodes, &thaw)?);
        }
        join(&nodes, began).await;
    }
    let joined = began.elapsed();
    let handles: Vec<Handle> = nodes.iter().map(|node| node.swarm().clone()).collect();
    let alive = handles.len() - handles.len() * FROZEN_PERCENT / 100;
    let askers = &handles[..alive];
    let provided = provide("provide", askers, 0..arguments.keys).await;
    let (at_rest, slowest) = look_up("providers", askers, arguments.keys).await;
    let per_node = rss_bytes()?.saturating_sub(rss) / arguments.nodes as u64;
    let connections = connections(&handles).await;
    for node in &nodes[alive..] {
        if let Err(error) = nodes[0].pool().open(node.peer_id(), FREEZE, b"").await {
            thaw.now();
            return Err(error.into());
        }
    }
    let frozen = nodes.len() - alive;
    let (without, slower) = look_up(&format!("providers, {frozen} frozen"), askers, arguments.keys).await;
    let few = arguments.keys..arguments.keys + arguments.keys.div_ceil(5);
    provide(&format!("provide, {frozen} frozen"), askers, few).await;
    print_sizes(arguments.nodes, joined, per_node, connections);
    let began = Instant::now();
    thaw.now();
    futures_util::future::join_all(nodes.iter().map(Node::shutdown)).await;
    println!("shut down in {:.1?}", began.elapsed());
    target::at_most("over QUIC: provide a key, p50", provided, PROVIDE_MS_MAX, "ms");
    target::at_least("over QUIC: lookups that succeed at rest", at_rest, 1.0, "parts");
    target::at_least("over QUIC: lookups that succeed with three of ten nodes frozen", without, 1.0, "parts");
    target::at_most("over QUIC: the slowest lookup", slowest.max(slower), LOOKUP_MS_MAX, "ms");
    Ok(())
}

/// Starts a node that knows some of those that are there.
fn start(authority: &Authority, nodes: &[Node], thaw: &Arc<Thaw>) -> Result<Node, Box<dyn Error>> {
    let step = nodes.len().div_ceil(BOOTSTRAPS).max(1);
    Ok(Node::start(NodeOptions {
        identity: authority.node(&format!("n{}", nodes.len())),
        clock: authority.clock(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: Vec::new(),
        bootstrap: nodes.iter().step_by(step).map(Node::address).collect(),
        limits: Limits::default(),
        settings: Settings::default(),
        services: vec![Arc::new(Freeze(Arc::clone(thaw)))],
    })?)
}

/// Waits until every node has peers; says how it went.
async fn join(nodes: &[Node], began: Instant) {
    let enough = Settings::default().discovery.peers_min.min(nodes.len() - 1);
    for node in nodes {
        until(PATIENCE, "every node has peers", async || {
            node.swarm().metrics().await.is_ok_and(|m| m.peers_connected >= enough && m.table_peers >= enough)
        })
        .await;
    }
    let (mut dialed, mut failures) = (0, BTreeMap::<&str, u64>::new());
    for node in nodes {
        let counted = node.transport();
        dialed += counted.dialed;
        for (name, count) in counted.failures.into_iter().chain(counted.refusals) {
            *failures.entry(name).or_default() += count;
        }
    }
    eprintln!("{} joined in {:.1?}: {dialed} dials, came to nothing: {failures:?}", nodes.len(), began.elapsed());
}

const FREEZE: &str = "freeze/1";

/// Holds the thread that reads the port, so that nothing is answered any more. The control plane has a thread of its own: it
/// goes on sending, and after some seconds closes what it dialled.
struct Freeze(Arc<Thaw>);

/// When all that was frozen goes on.
#[derive(Default)]
struct Thaw(Mutex<bool>, Condvar);

impl Service for Freeze {
    fn name(&self) -> &'static str {
        FREEZE
    }

    fn serve(&self, _: Caller, _: Bytes, _: Stream) -> Pending<'static, Result<(), ServiceError>> {
        self.0.wait();
        Box::pin(async { Ok(()) })
    }
}

impl Thaw {
    fn wait(&self) {
        let frozen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.wait_while(frozen, |thawed| !*thawed));
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }
}

/// Provides keys, one after the other; gives the median in milliseconds.
async fn provide(what: &str, nodes: &[Handle], numbers: std::ops::Range<usize>) -> f64 {
    let (count, mut took, mut succeeded) = (numbers.len(), Vec::new(), 0);
    for number in numbers {
        let began = Instant::now();
        let stored = nodes[provider_of(number, nodes.len())].provide(key_of(number)).await;
        took.push(began.elapsed());
        succeeded += usize::from(stored.is_ok_and(|stored| stored.acknowledged > stored.asked / 2));
    }
    print_row(what, succeeded, count, &mut [], &mut took);
    at(&took, 50).as_secs_f64() * 1e3
}

/// Looks keys up from nodes that do not provide them, one after the other; gives what part of it succeeded, and the
/// milliseconds of the slowest.
async fn look_up(what: &str, nodes: &[Handle], keys: usize) -> (f64, f64) {
    let (mut took, mut requests, mut succeeded) = (Vec::new(), Vec::new(), 0);
    for number in 0..keys {
        let provider = provider_of(number, nodes.len());
        let distance = 1 + place_of(number, "asker", nodes.len() - 1);
        let began = Instant::now();
        let found = nodes[(provider + distance) % nodes.len()].providers(key_of(number), 1).await;
        took.push(began.elapsed());
        let Ok(found) = found else { continue };
        requests.push(found.requests);
        succeeded += usize::from(found.value.first().is_some_and(|found| found.peer == nodes[provider].peer_id()));
    }
    print_row(what, succeeded, keys, &mut requests, &mut took);
    (succeeded as f64 / keys as f64, at(&took, 100).as_secs_f64() * 1e3)
}

fn print_row(what: &str, succeeded: usize, of: usize, requests: &mut [u32], took: &mut [Duration]) {
    requests.sort_unstable();
    took.sort_unstable();
    let requests =
        if requests.is_empty() { "".to_owned() } else { format!("{}/{}", at(requests, 50), at(requests, 99)) };
    let (median, late, last) = (at(took, 50), at(took, 99), at(took, 100));
    println!("| {what} | {succeeded}/{of} | {requests} | {median:.1?}/{late:.1?}/{last:.1?} |");
}

fn print_sizes(nodes: usize, joined: Duration, per_node: u64, connections: usize) {
    let kib = per_node / 1024;
    println!("\n{nodes} nodes joined in {joined:.1?}; {kib} KiB and {connections} connections per node");
}

/// Gives the value below which so many percent of the others lie.
fn at<T: Copy>(sorted: &[T], percent: usize) -> T {
    sorted[((sorted.len() - 1) * percent).div_ceil(100)]
}

async fn connections(nodes: &[Handle]) -> usize {
    let mut sum = 0;
    for node in nodes {
        sum += node.metrics().await.map_or(0, |metrics| metrics.peers_connected);
    }
    sum / nodes.len()
}

fn provider_of(number: usize, nodes: usize) -> usize {
    place_of(number, "provider", nodes)
}

/// Chooses one of so many, the same in every run.
fn place_of(number: usize, what: &str, of: usize) -> usize {
    let digest = blake3::hash(format!("{what} {number}").as_bytes());
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_le_bytes([a, b, c, d]) as usize % of
}

fn key_of(number: usize) -> [u8; 32] {
    blake3::hash(format!("key {number}").as_bytes()).into()
}

/// Gives the memory that this process has, as Linux counts it.
fn rss_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no `VmRSS` in the status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments { nodes: 64, keys: 100, quic: false, wave: 16 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().ok_or(format!("`{word}` wants a number"));
        match word.as_str() {
            "--nodes" => arguments.nodes = number()?.parse()?,
            "--keys" => arguments.keys = number()?.parse()?,
            "--wave" => arguments.wave = number()?.parse()?,
            "--quic" => arguments.quic = true,
            _ => return Err(format!("`{word}` is none of `--nodes`, `--keys`, `--wave`, `--quic`").into()),
        }
    }
    if arguments.nodes < 4 || arguments.keys == 0 || arguments.wave == 0 {
        return Err("at least 4 nodes, 1 key, and 1 node in a wave".into());
    }
    Ok(arguments)
}
