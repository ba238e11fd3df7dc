//! The network of a node while it runs: it finds peers, brings its ledger into line with theirs, tells who asks which archives
//! are here, and serves and fetches them. What peers say is believed by the rules of `mesh` and `trust` alone.

mod agree;
mod archives;
mod frame;
mod keeper;
mod records;
mod replicas;
mod runs;
mod tasks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use semver::Version;
use stoq::blobs::fair::Rate;
use stoq::blobs::serve::{BlobServer, ServeLimits};
use stoq::identity::Identity;
use stoq::limits::Limits;
use stoq::metrics::{PeerSnapshot, Snapshot};
use stoq::node::{Node, NodeOptions};
use stoq::records::service::{Event, Records, RecordsService};
use stoq::records::{Mode, Outcome};
use stoq::replica::placement::Factor;
use stoq::replica::service::{ReplicaService, Replication};
use stoq::replica::{self, Options};
use stoq::service::Service;
use stoq::{PeerId, swarm};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::JoinSet;
use trustchain::digest::Blake3;

use self::archives::{Busy, PeerArchives, ServedArchives};
use self::keeper::{ArchiveKeeper, Demand};
use self::records::MeshRecords;
use self::runs::{RunAsk, RunService};
use self::tasks::{follow, hear, mirror, provide, spread};
use super::execute::Execute;
use super::executions::record::Record;
use super::spec::{self, Target};
use super::{Catalog, OpError};
use crate::config::NetworkConfig;
use crate::digest::Digest;
use crate::host::{Host, NodeCandidate};
use crate::lockfile::LockedPackage;
use crate::mesh::RecordId;
use crate::package::name::PackageName;
use crate::proxy::stream::{self, MemoryService};
use crate::vm::execution::ExecutionId;

pub use self::agree::{Agreed, Agreement, Comparison, DEADLINE, Evidence, Given, NODES_MAX, Nodes, Vote};
pub use self::replicas::Replica;
pub use self::runs::{PeerFailure, RanThere};

/// The network of a node.
pub(super) struct Running {
    node: Arc<Node>,
    records: Arc<Records>,
    replication: Arc<Replication>,
    events: mpsc::Sender<Event>,
    provide: mpsc::Sender<()>,
    copies: mpsc::Sender<replica::service::Event>,
    tasks: JoinSet<()>,
}

/// Why the network does not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is not configured.
    #[error("this node has no network")]
    NotConfigured,
    /// It does not run.
    #[error("the network of this node does not run: {reason}")]
    NotRunning {
        /// Why.
        reason: String,
    },
    /// It cannot begin.
    #[error("the network of this node cannot start at `{listen}`")]
    Start {
        /// Where it was to listen.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A peer does not answer, or does not do what is asked.
    #[error("peer `{peer}`: {reason}")]
    Peer {
        /// The peer: its id or address.
        peer: String,
        /// Why.
        reason: String,
    },
    /// A peer refuses to run something.
    #[error("peer `{peer}` refuses: {reason}")]
    Refused {
        /// The peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// What a peer ran gave no value.
    #[error("on peer `{peer}`: {reason}")]
    Failed {
        /// The peer.
        peer: String,
        /// Why.
        reason: String,
    },
    /// A peer runs what it is asked to now.
    #[error("another node runs something now, and not at a given time")]
    Later,
    /// More nodes are to agree than there are, or none.
    #[error("{agree} of {nodes} nodes cannot agree")]
    Agree {
        /// How many are to agree.
        agree: usize,
        /// How many there are.
        nodes: usize,
    },
    /// The nodes that something is to run on cannot be had.
    #[error("the nodes cannot be had: {reason}")]
    Nodes {
        /// Why.
        reason: String,
    },
    /// Too few nodes gave the same.
    #[error("{0}")]
    NoAgreement(Box<Agreement>),
    /// There is no such peer.
    #[error("no peer `{word}` is known")]
    NoPeer {
        /// What was asked for.
        word: String,
    },
}

/// How the network of a node is.
#[derive(Clone, Debug)]
pub struct NetworkStatus {
    /// This node's id.
    pub peer: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its peers, connected ones first.
    pub peers: Vec<swarm::PeerState>,
    /// What they were called in the certificates that they showed last.
    pub names: BTreeMap<PeerId, String>,
    /// What was exchanged with each of them, and who was refused.
    pub transport: Snapshot,
}

/// What came of bringing the ledger into line with one peer.
#[derive(Clone, Debug)]
pub struct Synchronised {
    /// The peer.
    pub peer: PeerId,
    /// What was exchanged, or why nothing was.
    pub outcome: Result<Outcome, String>,
}

/// Keeps whoever needs the network waiting until it is started, or this is dropped.
pub struct Starting(OwnedMutexGuard<Option<Running>>);

/// How many events of the network wait for the records.
const EVENTS_MAX: usize = 256;
/// How many announcements wait to be spread.
const ANNOUNCE_MAX: usize = 64;
/// How long a verb waits for one peer.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

impl Catalog {
    /// Has whoever needs the network wait until it was started; none if there is to be none.
    pub async fn network_starts(self: &Arc<Self>) -> Option<Starting> {
        let mesh = self.mesh.as_ref()?;
        let (directory, runtime) = (self.home.join("parts"), tokio::runtime::Handle::current());
        let archives = PeerArchives { catalog: Arc::downgrade(self), directory, runtime, busy: Busy::default() };
        mesh.documents.fetch_from(Some(Arc::new(archives)));
        Some(Starting(Arc::clone(&self.network).lock_owned().await))
    }

    /// Starts the network. `host` is asked outside of any call.
    ///
    /// # Errors
    /// [`NetworkError::Start`].
    pub async fn start_network(
        self: &Arc<Self>,
        mut starting: Starting,
        identity: Arc<dyn Identity>,
        host: Arc<dyn Host>,
    ) -> Result<(), OpError> {
        let Some(config) = self.config.network.clone() else { return Ok(()) };
        let running = self.begin(identity, &config, Arc::clone(&host)).await?;
        tracing::info!(peer = %running.node.peer_id(), address = %running.node.address(), "the network runs");
        *starting.0 = Some(running);
        drop(starting);
        self.publish_to_peers(host).await;
        Ok(())
    }

    async fn begin(
        self: &Arc<Self>,
        identity: Arc<dyn Identity>,
        config: &NetworkConfig,
        host: Arc<dyn Host>,
    ) -> Result<Running, OpError> {
        let mesh = self.mesh.as_ref().ok_or(NetworkError::NotConfigured)?;
        let platform = host.platform();
        let node = Arc::new(started(identity, config).await?);
        let (own, peers) = (node.peer_id(), node.pool());
        let (news, to_mirror) = mpsc::channel(1);
        let set = Arc::new(MeshRecords::new(self, Arc::clone(mesh.documents.ledger()), Arc::clone(&host), news));
        let records = Records::new(own, set, Arc::clone(&peers));
        let limits = ServeLimits { rate: config.peer_bytes_per_second.map(rate), ..ServeLimits::STANDARD };
        let runs = RunService {
            catalog: Arc::downgrade(self),
            host: Arc::clone(&host),
            config: config.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let demand = Arc::new(Demand::new(std::time::Instant::now()));
        let keeper = ArchiveKeeper {
            catalog: Arc::downgrade(self),
            config: config.clone(),
            host: Arc::clone(&host),
            runtime: tokio::runtime::Handle::current(),
            demand: Arc::clone(&demand),
        };
        let options = Options { factor: Factor::new(config.replicas as usize), ..Options::default() };
        let (replication, copying) = Replication::new(own, options, Arc::new(keeper), peers);
        let served = ServedArchives { catalog: Arc::downgrade(self), config: config.clone(), demand };
        let clock = Arc::clone(&host);
        let memory = MemoryService::new(self.memory.regions(stream::holder(&own))?, Box::new(move || clock.now()));
        let services: [Arc<dyn Service>; 5] = [
            Arc::new(RecordsService(Arc::clone(&records))),
            Arc::new(BlobServer::new(Arc::new(served), limits)),
            Arc::new(runs),
            Arc::new(memory),
            Arc::new(ReplicaService(Arc::clone(&replication))),
        ];
        // A peer that asks before is told that there is no such service; reports and sessions come again.
        let registered = services.into_iter().try_for_each(|service| node.services().register(service));
        registered.map_err(|error| NetworkError::Start { listen: config.listen, source: error.into() })?;
        let (events, waiting) = mpsc::channel(EVENTS_MAX);
        let mut tasks = JoinSet::new();
        let (announce, announced) = mpsc::channel(ANNOUNCE_MAX);
        tasks.spawn(Arc::clone(&records).run(Mode::Differential, waiting, announce));
        tasks.spawn(spread(Arc::clone(&node), announced));
        tasks.spawn(hear(Arc::clone(&node), events.clone()));
        let (copies, changes) = mpsc::channel(EVENTS_MAX);
        tasks.spawn(async move {
            if let Err(error) = copying.run(changes).await {
                tracing::error!("copies are not looked after: {error}");
            }
        });
        tasks.spawn(follow(Arc::clone(&node), events.clone(), copies.clone()));
        tasks.spawn(mirror(Arc::downgrade(self), host, to_mirror));
        let (wanted, waiting) = mpsc::channel(1);
        tasks.spawn(provide(Arc::clone(&node), Arc::downgrade(self), platform, waiting));
        Ok(Running { node, records, replication, events, provide: wanted, copies, tasks })
    }

    /// Stops the network: afterwards no socket, task or thread of it is left.
    pub async fn stop_network(&self) {
        if let Some(mesh) = &self.mesh {
            mesh.documents.fetch_from(None);
        }
        let Some(mut running) = self.network.lock().await.take() else { return };
        running.tasks.shutdown().await;
        running.node.shutdown().await;
    }

    /// Tells peers what was published here since, and that its archives are here.
    pub async fn publish_to_peers(self: &Arc<Self>, host: Arc<dyn Host>) {
        if self.mesh.is_none() {
            return;
        }
        let catalog = Arc::clone(self);
        let shared = tokio::task::spawn_blocking(move || catalog.share(&*host)).await;
        match shared {
            Ok(Ok(records)) => self.announce(records).await,
            Ok(Err(error)) => tracing::warn!("what is published here is not told to peers: {error}"),
            Err(error) => tracing::error!("what is published here is not told to peers: {error}"),
        }
    }
}

impl Catalog {
    /// Says that archives came or went, so that who asks is told. If much is told already, the next look finds this, too.
    pub async fn archives_changed(&self) {
        if let Some(running) = &*self.network.lock().await {
            let _ = running.copies.try_send(replica::service::Event::Changed);
            let _ = running.provide.try_send(());
        }
    }

    /// Says that records are new; peers fetch what they lack.
    async fn announce(&self, records: Vec<RecordId>) {
        if let Some(running) = &*self.network.lock().await
            && !records.is_empty()
        {
            let ids = records.into_iter().map(stoq::records::RecordId).collect();
            // The records are in the ledger; if nobody hears of them now, the next comparison finds them.
            let _ = running.events.try_send(Event::Added(ids));
        }
        self.archives_changed().await;
    }

    /// Judges all peers again, by what is believed now; those that no longer count lose their connections.
    pub async fn revalidate_peers(&self) {
        let Ok(node) = self.node().await else { return };
        let closed = node.revalidate();
        if closed > 0 {
            tracing::info!(closed, "connections of peers that no longer count were closed");
        }
    }

    /// Says how the network is.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub async fn network_status(&self) -> Result<NetworkStatus, OpError> {
        let node = self.node().await?;
        let peers = node.swarm().peers().await.map_err(|error| not_running(&error))?;
        let names = peers.iter().filter_map(|peer| Some((peer.peer, node.name_of(peer.peer)?))).collect();
        let (peer, address, transport) = (node.peer_id(), node.address(), node.transport());
        Ok(NetworkStatus { peer, address, peers, names, transport })
    }

    /// Says what the transport has counted, for metrics; nothing while it starts or stops.
    pub fn transport(&self) -> Option<Snapshot> {
        Some(self.network.try_lock().ok()?.as_ref()?.node.transport())
    }

    /// Counts what the network does; nothing while it starts or stops.
    pub fn network_figures(&self) -> BTreeMap<&'static str, u64> {
        let Some(transport) = self.transport() else { return BTreeMap::new() };
        let of_peers = |count: fn(&PeerSnapshot) -> u64| transport.peers.iter().map(count).sum::<u64>();
        BTreeMap::from([
            ("network_connections", transport.connections as u64),
            ("network_peers", transport.peers.iter().filter(|peer| peer.connections > 0).count() as u64),
            ("network_sent_bytes_total", of_peers(|peer| peer.bytes_sent)),
            ("network_received_bytes_total", of_peers(|peer| peer.bytes_received)),
            ("network_requests_made_total", of_peers(|peer| peer.streams_opened)),
            ("network_requests_taken_total", of_peers(|peer| peer.streams_accepted)),
            ("network_refusals_total", transport.refusals.values().sum()),
            ("network_dials_failed_total", transport.failures.values().sum()),
        ])
    }

    /// Connects to a node by its address.
    ///
    /// # Errors
    /// There is no network; nobody answers there who is certified.
    pub async fn add_peer(&self, address: SocketAddr) -> Result<PeerId, OpError> {
        let node = self.node().await?;
        let connected = tokio::time::timeout(PEER_TIMEOUT, node.swarm().connect(address)).await;
        let refused = |reason: String| NetworkError::Peer { peer: address.to_string(), reason };
        let connected = connected.map_err(|_| refused("it does not answer".into()))?;
        Ok(connected.map_err(|error| refused(error.to_string()))?)
    }

    /// Brings the ledger into line with a peer, or with every one that is connected.
    ///
    /// # Errors
    /// There is no network, or no such peer.
    pub async fn synchronise(&self, peer: Option<&str>, mode: &Mode) -> Result<Vec<Synchronised>, OpError> {
        let node = self.node().await?;
        let peers = match peer {
            Some(word) => vec![self.find_peer(&node, word).await?],
            None => connected(&node).await?,
        };
        let records = {
            let network = self.network.lock().await;
            let running = network.as_ref().ok_or_else(|| not_running(&"it stops"))?;
            Arc::clone(&running.records)
        };
        // All at once: those that do not answer are waited for together.
        let mut asking = JoinSet::new();
        for (number, peer) in peers.into_iter().enumerate() {
            let (records, mode) = (Arc::clone(&records), mode.clone());
            asking.spawn(async move {
                let outcome = match tokio::time::timeout(PEER_TIMEOUT, records.synchronise(peer, &mode)).await {
                    Ok(outcome) => outcome.map_err(|error| told(&error)),
                    Err(_) => Err("it does not answer in time".into()),
                };
                (number, Synchronised { peer, outcome })
            });
        }
        let mut done = asking.join_all().await;
        done.sort_unstable_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, synchronised)| synchronised).collect())
    }

    /// Has an installed or known package run by a peer.
    ///
    /// # Errors
    /// There is no such peer; it refuses; what it ran gave no value.
    pub async fn execute_on(
        self: &Arc<Self>,
        peer: &str,
        execute: Execute,
        detach: bool,
        host: Arc<dyn Host>,
    ) -> Result<RanThere, OpError> {
        let node = self.node().await?;
        let peer = self.find_peer(&node, peer).await?;
        let ask = self.run_ask(execute, detach, &host).await?;
        Ok(runs::run(&*node.pool(), peer, &ask, &*host).await?)
    }

    /// Says what a peer is asked to run.
    async fn run_ask(
        self: &Arc<Self>,
        execute: Execute,
        detach: bool,
        host: &Arc<dyn Host>,
    ) -> Result<RunAsk, OpError> {
        if execute.at.is_some() {
            return Err(NetworkError::Later.into());
        }
        let (catalog, target, port) = (Arc::clone(self), execute.target.clone(), Arc::clone(host));
        let (package, version, digest) =
            super::executions::off_thread(move || catalog.release_of(&target, &*port)).await?;
        Ok(RunAsk {
            package,
            version,
            digest,
            function: execute.function,
            arguments: execute.arguments,
            timeout_ms: execute.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            cpu_millis: execute.cpu.map(|cpu| cpu.0),
            memory_bytes: execute.memory.map(|memory| memory.0),
            wait: execute.wait,
            follow: execute.follow,
            detach,
            keep: execute.keep,
        })
    }

    /// Asks a peer about an execution there, follows or ends it.
    ///
    /// # Errors
    /// There is no such peer or execution, or it refuses.
    pub async fn execution_on(
        &self,
        peer: &str,
        id: ExecutionId,
        wish: Wish,
        host: &dyn Host,
    ) -> Result<Record, OpError> {
        let node = self.node().await?;
        let peer = self.find_peer(&node, peer).await?;
        let ask = match wish {
            Wish::Status => runs::Ask::Status(id),
            Wish::Follow => runs::Ask::Follow(id),
            Wish::Kill => runs::Ask::Kill(id),
        };
        Ok(runs::about(&*node.pool(), peer, &ask, host).await?)
    }

    /// Asks connected peers what they have, all at once; those that do not answer in time are left out.
    pub(super) async fn peer_candidates(&self) -> Vec<(PeerId, NodeCandidate)> {
        let Ok(node) = self.node().await else { return Vec::new() };
        let mut asking = JoinSet::new();
        for peer in connected(&node).await.unwrap_or_default() {
            let pool = node.pool();
            asking.spawn(async move {
                let asked = tokio::time::timeout(CANDIDATE_TIMEOUT, runs::candidate(&*pool, peer)).await;
                asked.ok().and_then(Result::ok).map(|candidate| (peer, candidate))
            });
        }
        asking.join_all().await.into_iter().flatten().collect()
    }

    /// Notes who did not serve an archive, though it said to have it, and has nothing more to do with who sent another.
    pub(super) async fn blame(&self, blob: Digest, silent: impl IntoIterator<Item = PeerId>, liars: &[PeerId]) {
        let silent: Vec<PeerId> = silent.into_iter().chain(liars.iter().copied()).collect();
        let running = self.network.lock().await.as_ref().map(|it| (Arc::clone(&it.replication), Arc::clone(&it.node)));
        let Some((replication, node)) = running else { return };
        let digest = Blake3::from_bytes(*blob.as_bytes());
        for peer in silent {
            let _ = replication.not_served(digest, peer).await;
        }
        for liar in liars {
            tracing::warn!(peer = %liar, %blob, "sent what is not of the archive");
            let _ = node.swarm().misbehaved(*liar).await;
        }
    }

    /// Says whether there is to be a network.
    pub(super) fn has_network(&self) -> bool {
        self.mesh.is_some()
    }

    pub(super) async fn node(&self) -> Result<Arc<Node>, OpError> {
        if self.mesh.is_none() {
            return Err(NetworkError::NotConfigured.into());
        }
        let network = self.network.lock().await;
        let running = network.as_ref().ok_or_else(|| not_running(&"see the log of this node for the reason"))?;
        Ok(Arc::clone(&running.node))
    }

    /// Says how many nodes this one is connected with.
    pub(super) async fn connected_peers(&self) -> Result<usize, OpError> {
        Ok(connected(&*self.node().await?).await?.len())
    }

    /// Finds a peer by its id, by what the id begins or ends with, by its address, or by the name of its node; one that was here
    /// and is not connected now is found, too.
    pub(super) async fn find_peer(&self, node: &Node, word: &str) -> Result<PeerId, OpError> {
        if let Some(peer) = word.parse().ok().filter(|peer| node.pool().round_trip(*peer).is_some()) {
            return Ok(peer);
        }
        let peers = node.swarm().peers().await.map_err(|error| not_running(&error))?;
        let is_meant = |peer: &&swarm::PeerState| {
            let id = peer.peer.to_string();
            id == word
                || word.len() >= PEER_WORD_MIN && id.ends_with(word)
                || peer.addresses.iter().any(|address| address.to_string() == word)
        };
        if let Some(peer) = peers.iter().find(is_meant) {
            return Ok(peer.peer);
        }
        let is_called = |name: &str| name == word || name.split('.').next() == Some(word);
        if let Some(peer) = peers.iter().find(|peer| node.name_of(peer.peer).is_some_and(|name| is_called(&name))) {
            return Ok(peer.peer);
        }
        let named = self.peer_candidates().await.into_iter().find(|(_, candidate)| candidate.id == word);
        named.map(|(peer, _)| peer).ok_or_else(|| NetworkError::NoPeer { word: word.to_owned() }.into())
    }

    /// Gives which release a word means, as far as is known here.
    fn release_of(&self, word: &str, host: &dyn Host) -> Result<(PackageName, Version, Digest), OpError> {
        let Target::Named(requirement) = spec::target(word)? else {
            let reason = "a peer runs what is published, and no directory of this node".into();
            return Err(OpError::Spec { word: word.to_owned(), reason });
        };
        let installed = self.installed(&host.platform())?;
        let fits = |locked: &&LockedPackage| requirement.requirement.matches(&locked.version);
        if let Some(locked) = installed.get(&requirement.name).filter(fits) {
            return Ok((locked.name.clone(), locked.version.clone(), locked.digest));
        }
        self.pull(std::slice::from_ref(&requirement), host)?;
        let resolution = self.resolve_roots(std::slice::from_ref(&requirement), None, host)?;
        let locked = resolution.lockfile().get(&requirement.name);
        let locked = locked.ok_or_else(|| self.unknown(&requirement.name, host))?;
        Ok((locked.name.clone(), locked.version.clone(), locked.digest))
    }
}

/// What somebody wants of an execution on a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To know how it stands.
    Status,
    /// To see what it prints until it has finished.
    Follow,
    /// That it ends.
    Kill,
}

/// How much of the end of a peer's id names it.
const PEER_WORD_MIN: usize = 6;
/// How long a peer may take to say what it has.
const CANDIDATE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn connected(node: &Node) -> Result<Vec<PeerId>, OpError> {
    let peers = node.swarm().peers().await.map_err(|error| not_running(&error))?;
    Ok(peers.into_iter().filter(|peer| peer.connected).map(|peer| peer.peer).collect())
}

/// Gives the settings of the control plane.
fn settings(config: &NetworkConfig) -> swarm::Settings {
    let mut settings = swarm::Settings::default();
    let most = config.peers_max as usize;
    settings.discovery.peers_max = most;
    settings.discovery.peers_min = settings.discovery.peers_min.min(most);
    if config.mdns {
        settings.local_network = swarm::LocalNetwork::Announced;
    }
    settings
}

/// How fast a peer is served, with five seconds of it at once.
fn rate(bytes_per_second: u64) -> Rate {
    Rate { bytes_per_second, burst_bytes: bytes_per_second.saturating_mul(5) }
}

/// Starts a node that offers nothing yet.
async fn started(identity: Arc<dyn Identity>, config: &NetworkConfig) -> Result<Node, NetworkError> {
    let fault =
        |source: Box<dyn std::error::Error + Send + Sync>| NetworkError::Start { listen: config.listen, source };
    let options = NodeOptions {
        identity,
        clock: Arc::new(rustls::time_provider::DefaultTimeProvider),
        listen: config.listen,
        advertise: Vec::new(),
        bootstrap: config.bootstrap.clone(),
        limits: Limits::default(),
        settings: settings(config),
        services: Vec::new(),
    };
    let started = tokio::task::spawn_blocking(move || Node::start(options)).await;
    started.map_err(|error| fault(error.into()))?.map_err(|error| fault(error.into()))
}

fn not_running(reason: &dyn std::fmt::Display) -> OpError {
    NetworkError::NotRunning { reason: reason.to_string() }.into()
}

/// Gives an error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
