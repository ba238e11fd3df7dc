//! Many nodes on a network in memory, for tests and measurements: control planes as anywhere else, with certificates of one
//! authority. A node can be frozen, which is what the others see of one that crashed: nothing is closed, nothing is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::memory::Network;
use super::{Driver, DriverOptions, Handle, Settings};
use crate::testing::{Authority, Keys, NodeOptions, TestIdentity};

/// The nodes.
pub struct Cluster {
    /// Who issues their certificates.
    pub authority: Authority,
    /// What they are connected by.
    pub network: Network,
    /// They.
    pub nodes: Vec<Node>,
    /// How many others a node knows when it starts: the first, and some of those after it, evenly.
    pub bootstraps: usize,
}

/// One of them.
pub struct Node {
    /// How to ask it.
    pub handle: Handle,
    /// Where it is.
    pub address: SocketAddr,
    freeze: Arc<Notify>,
    frozen: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Cluster {
    /// Makes the network, and nobody on it.
    pub fn empty() -> Self {
        Self { authority: Authority::new(), network: Network::default(), nodes: Vec::new(), bootstraps: 1 }
    }

    /// Starts nodes that know nothing but the address of the first, in waves, and waits until each has peers.
    ///
    /// # Panics
    /// They do not find each other within the given time.
    pub async fn start(count: usize, settings: &Settings, within: Duration) -> Self {
        let mut cluster = Self::empty();
        cluster.grow(count, settings, within).await;
        cluster
    }

    /// Starts more nodes.
    ///
    /// # Panics
    /// They do not find each other within the given time.
    pub async fn grow(&mut self, count: usize, settings: &Settings, within: Duration) {
        let total = self.nodes.len() + count;
        while self.nodes.len() < total {
            for _ in 0..WAVE.min(total - self.nodes.len()) {
                let address = address_of(self.nodes.len());
                self.add(address, settings);
            }
            let enough = settings.discovery.peers_min.min(self.nodes.len() - 1);
            self.until(within, "every node has peers", async |node| {
                node.handle.metrics().await.is_ok_and(|m| m.peers_connected >= enough && m.table_peers >= enough)
            })
            .await;
        }
    }

    /// Starts one node at an address; it knows [`Self::bootstraps`] of this cluster.
    ///
    /// # Panics
    /// It cannot start.
    pub fn add(&mut self, address: SocketAddr, settings: &Settings) -> &Node {
        // Who is near whom does not change from run to run.
        let keys = Keys::Known(blake3::hash(address.to_string().as_bytes()).into());
        let name = format!("n{}", self.nodes.len());
        let identity = self.authority.issue(NodeOptions { keys, ..self.authority.options(&name) });
        self.add_as(&identity, address, settings)
    }

    /// Starts one node with an identity.
    ///
    /// # Panics
    /// It cannot start.
    pub fn add_as(&mut self, identity: &Arc<TestIdentity>, address: SocketAddr, settings: &Settings) -> &Node {
        let mut settings = settings.clone();
        let step = self.nodes.len().div_ceil(self.bootstraps).max(1);
        settings.discovery.bootstrap.extend(self.nodes.iter().step_by(step).map(|node| node.address));
        let transport = self.network.transport(identity.peer_id(), address);
        let (identity, clock) = (identity.clone(), self.authority.clock());
        let options = DriverOptions {
            identity,
            clock,
            transport,
            listen: address,
            advertise: Vec::new(),
            settings,
            book: Arc::default(),
        };
        let (mut driver, handle) = Driver::new(options).expect("the settings of a test make sense");
        let (freeze, frozen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (asked, stands) = (freeze.clone(), frozen.clone());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = driver.run() => return,
                () = asked.notified() => stands.notify_one(),
            }
            std::future::pending::<()>().await;
            drop(driver);
        });
        self.nodes.push(Node { handle, address, freeze, frozen, task });
        self.nodes.last().expect("it was just added")
    }

    /// Waits until something holds for every node that is not frozen.
    ///
    /// # Panics
    /// It does not within the given time.
    pub async fn until(&self, within: Duration, what: &str, holds: impl AsyncFn(&Node) -> bool) {
        for node in self.nodes.iter().filter(|node| !node.is_gone()) {
            until(within, what, async || holds(node).await).await;
        }
    }

    /// Takes so many nodes out from an index on and freezes them; gives what is to be kept for as long as they are to stay
    /// frozen. When this returns, none of them answers any more.
    ///
    /// # Panics
    /// There are not so many.
    pub async fn freeze(&mut self, index: usize, count: usize) -> Vec<Node> {
        let nodes: Vec<Node> = self.nodes.drain(index..index + count).collect();
        nodes.iter().for_each(|node| node.freeze.notify_one());
        for node in &nodes {
            node.frozen.notified().await;
        }
        nodes
    }

    /// Gives the ids of all nodes.
    pub fn peers(&self) -> Vec<PeerId> {
        self.nodes.iter().map(|node| node.handle.peer_id()).collect()
    }
}

impl Node {
    fn is_gone(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until something holds.
///
/// # Panics
/// It does not within the given time.
pub async fn until(within: Duration, what: &str, holds: impl AsyncFn() -> bool) {
    let began = Instant::now();
    let mut polls = tokio::time::interval(POLL);
    while !holds().await {
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        polls.tick().await;
    }
}

/// Gives the address of the n-th node, each on a network of its own.
///
/// # Panics
/// There are more than 65,536.
pub fn address_of(index: usize) -> SocketAddr {
    let [high, low] = u16::try_from(index).expect("a cluster has at most 65,536 nodes").to_be_bytes();
    SocketAddr::from(([11, high, low, 1], 9292))
}

/// How many nodes join at a time: joining is what costs most.
const WAVE: usize = 64;
/// How often something is looked at that is waited for.
const POLL: Duration = Duration::from_millis(20);
