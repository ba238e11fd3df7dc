//! Measures the control plane with many nodes in one process, and prints a table:
//!
//! ```text
//! cargo run --release -p stoq --features testing --example scale -- --nodes 200 [--keys 100] [--quic]
//! ```
//!
//! Without `--quic` the nodes are connected in memory, and a third of them is frozen in the end: to the others they have
//! crashed. With it they are complete nodes on loopback ports. All of it runs in real time on the cores of this machine, so that
//! what takes long with many nodes is computing, not waiting. `requests` are the peers that a lookup asked.
#![expect(clippy::print_stdout, reason = "this program is there to print")]

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stoq::limits::Limits;
use stoq::node::{Node, NodeOptions};
use stoq::swarm::cluster::{Cluster, until};
use stoq::swarm::{Handle, Settings};
use stoq::testing::Authority;

/// How long joining may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many others a node knows when it starts; one alone has more newcomers than connections.
const BOOTSTRAPS: usize = 5;
/// What part of the nodes is frozen.
const FROZEN_PERCENT: usize = 30;

struct Arguments {
    nodes: usize,
    keys: usize,
    quic: bool,
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
    look_up("providers", askers, arguments.keys).await;
    let per_node = rss_bytes()?.saturating_sub(rss) / arguments.nodes as u64;
    let connections = connections(&handles).await;
    let frozen: Vec<_> = (alive..handles.len()).map(|_| cluster.freeze(alive)).collect();
    look_up(&format!("providers, {} frozen", frozen.len()), askers, arguments.keys).await;
    let few = arguments.keys..arguments.keys + arguments.keys.div_ceil(5);
    provide(&format!("provide, {} frozen", frozen.len()), askers, few).await;
    print_sizes(arguments.nodes, joined, per_node, connections);
    Ok(())
}

async fn on_quic(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (rss, began, authority) = (rss_bytes()?, Instant::now(), Authority::new());
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..arguments.nodes {
        nodes.push(Node::start(NodeOptions {
            identity: authority.node(&format!("n{number}")),
            clock: authority.clock(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            bootstrap: nodes.first().map(Node::address).into_iter().collect(),
            limits: Limits::default(),
            settings: Settings::default(),
            services: Vec::new(),
        })?);
    }
    let handles: Vec<Handle> = nodes.iter().map(|node| node.swarm().clone()).collect();
    let enough = Settings::default().discovery.peers_min.min(handles.len() - 1);
    for handle in &handles {
        until(PATIENCE, "every node has peers", async || {
            handle.metrics().await.is_ok_and(|m| m.peers_connected >= enough && m.table_peers >= enough)
        })
        .await;
    }
    let joined = began.elapsed();
    provide("provide", &handles, 0..arguments.keys).await;
    look_up("providers", &handles, arguments.keys).await;
    let per_node = rss_bytes()?.saturating_sub(rss) / arguments.nodes as u64;
    print_sizes(arguments.nodes, joined, per_node, connections(&handles).await);
    let began = Instant::now();
    futures_util::future::join_all(nodes.iter().map(Node::shutdown)).await;
    println!("shut down in {:.1?}", began.elapsed());
    Ok(())
}

/// Provides keys, one after the other.
async fn provide(what: &str, nodes: &[Handle], numbers: std::ops::Range<usize>) {
    let (count, mut took, mut succeeded) = (numbers.len(), Vec::new(), 0);
    for number in numbers {
        let began = Instant::now();
        let stored = nodes[provider_of(number, nodes.len())].provide(key_of(number)).await;
        took.push(began.elapsed());
        succeeded += usize::from(stored.is_ok_and(|stored| stored.acknowledged > stored.asked / 2));
    }
    print_row(what, succeeded, count, &mut [], &mut took);
}

/// Looks keys up from nodes that do not provide them, one after the other.
async fn look_up(what: &str, nodes: &[Handle], keys: usize) {
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
    let mut arguments = Arguments { nodes: 64, keys: 100, quic: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().ok_or(format!("`{word}` wants a number"));
        match word.as_str() {
            "--nodes" => arguments.nodes = number()?.parse()?,
            "--keys" => arguments.keys = number()?.parse()?,
            "--quic" => arguments.quic = true,
            _ => return Err(format!("`{word}` is none of `--nodes`, `--keys`, `--quic`").into()),
        }
    }
    if arguments.nodes < 4 || arguments.keys == 0 { Err("at least 4 nodes and 1 key".into()) } else { Ok(arguments) }
}
