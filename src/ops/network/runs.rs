//! Runs for peers and on peers: `runs/1`. A run that somebody waits for ends with its stream, one that is detached goes on and is
//! asked for by its id. This node decides for itself: whom it runs for, whether its policy accepts the package, and whether its
//! host has the resources.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use semver::Version;
use serde::{Deserialize, Serialize};
use stoq::PeerId;
use stoq::identity::Pending;
use stoq::service::{Caller, Peers, Service, ServiceError, Stream};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::NetworkError;
use super::frame::{self, FrameError};
use crate::asset::AssetNeed;
use crate::config::NetworkConfig;
use crate::digest::Digest;
use crate::host::{
    Host, Lease, Network, NodeCandidate, NodeResources, Operation, Pending as Answer, Progress, Refusal, STDERR,
    STDOUT, Signed, ToSign, TrustAnchors,
};
use crate::ops::execute::{Execute, Executed, Wait};
use crate::ops::executions::off_thread;
use crate::ops::executions::record::Record;
use crate::ops::memory::Keep;
use crate::ops::{Catalog, OpError};
use crate::package::model::{Bytes as MemoryBytes, CpuMillis};
use crate::package::name::PackageName;
use crate::proxy::stream;
use crate::trust::policy::Confirmed;
use crate::value::Value;
use crate::vm::execution::ExecutionId;

/// The name of the service.
pub(super) const SERVICE: &str = "runs/1";
/// How much of what a program prints waits to be sent; what it prints then is in its result, and not told on the way.
const PRINTED_WAITING_MAX: usize = 256;

/// How often a run that says nothing says that it goes on.
const ALIVE_EVERY: Duration = Duration::from_secs(20);
/// How much of a peer's reason for a failure is passed on.
const REASON_BYTES_MAX: usize = 4 << 10;

/// What a node is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// What it has, and how busy it is.
    Node,
    /// To run a release, which follows as a message of its own, since arguments may be large.
    Run,
    /// How a detached execution stands.
    Status(ExecutionId),
    /// To tell what a detached execution prints until it has finished.
    Follow(ExecutionId),
    /// To end an execution.
    Kill(ExecutionId),
    /// To sign what an execution gave.
    Receipt(ExecutionId),
}

/// A release to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunAsk {
    pub(super) package: PackageName,
    pub(super) version: Version,
    pub(super) digest: Digest,
    pub(super) function: String,
    pub(super) arguments: Vec<Value>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) cpu_millis: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) wait: Wait,
    pub(super) follow: bool,
    pub(super) detach: bool,
    /// For whom the arrays of the result are kept here.
    #[serde(default)]
    pub(super) keep: Option<Keep>,
}

/// What a node says.
#[derive(Serialize, Deserialize)]
enum Said {
    Node(NodeCandidate),
    Printed {
        stdout: bool,
        at: u64,
        text: String,
    },
    /// That it goes on: a connection on which nothing moves for two minutes is given up.
    Alive,
    Done(Box<Executed>),
    Record(Box<Record>),
    /// A signed receipt.
    Receipt(String),
    Failed(PeerFailure),
}

/// Why a peer did not run something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerFailure {
    /// What happened, with its causes.
    pub message: String,
    /// Whether the peer refuses, as policy or resources say, rather than the program failed.
    pub refused: bool,
}

/// Serves runs.
pub(super) struct RunService {
    pub(super) catalog: Weak<Catalog>,
    pub(super) host: Arc<dyn Host>,
    pub(super) config: NetworkConfig,
    /// Where workers and timers of runs live, which outlast the network.
    pub(super) runtime: Handle,
}

impl Service for RunService {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn serve(&self, caller: Caller, request: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let allowed = self.config.run_for.contains("*") || self.config.run_for.contains(&caller.name);
        let serving = Serving { catalog: self.catalog.clone(), host: Arc::clone(&self.host), caller, stream, allowed };
        let served = self.runtime.spawn(serving.serve(request));
        let served = Ended(served);
        Box::pin(async move {
            let mut served = served;
            match (&mut served.0).await {
                Ok(served) => served,
                Err(error) => Err(ServiceError::Environment { service: SERVICE, source: error.into() }),
            }
        })
    }
}

/// A task that ends with whoever waits for it.
struct Ended(JoinHandle<Result<(), ServiceError>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One stream of a peer.
struct Serving {
    catalog: Weak<Catalog>,
    host: Arc<dyn Host>,
    caller: Caller,
    stream: Stream,
    allowed: bool,
}

impl Serving {
    async fn serve(mut self, request: Bytes) -> Result<(), ServiceError> {
        let peer = self.caller.peer;
        let refused = |error: &FrameError| ServiceError::Refused { peer, service: SERVICE, reason: error.to_string() };
        let ended = |error: FrameError| match error {
            FrameError::Ended(source) => ServiceError::Ended { peer, service: SERVICE, source },
            other => ServiceError::Refused { peer, service: SERVICE, reason: other.to_string() },
        };
        let ask: Ask = frame::read(&request).map_err(|error| refused(&error))?;
        let Some(catalog) = self.catalog.upgrade() else { return Ok(()) };
        let said = match ask {
            Ask::Node => {
                let host = Arc::clone(&self.host);
                let asked = tokio::task::spawn_blocking(move || catalog.own_candidate(&*host)).await;
                Said::Node(
                    asked.map_err(|source| ServiceError::Environment { service: SERVICE, source: source.into() })?,
                )
            }
            _ if !self.allowed => Said::Failed(PeerFailure {
                message: format!("this node does not run packages for `{}` (`network.run_for`)", self.caller.name),
                refused: true,
            }),
            Ask::Run => {
                let ask: RunAsk = frame::receive(&mut self.stream).await.map_err(ended)?;
                tracing::info!(peer = %peer, name = %self.caller.name, package = %ask.package, version = %ask.version, "runs for a peer");
                self.run(catalog, ask).await.map_err(ended)?
            }
            Ask::Status(id) => said(catalog.execution(id, self.host.now())),
            Ask::Kill(id) => said(catalog.terminate(id, self.host.now())),
            Ask::Follow(id) => self.follow(catalog, id).await.map_err(ended)?,
            Ask::Receipt(id) => {
                let host = Arc::clone(&self.host);
                match off_thread(move || catalog.receipt(id, &*host)).await {
                    Ok(checked) => Said::Receipt(checked.envelope),
                    Err(error) => Said::Failed(failure(&error)),
                }
            }
        };
        frame::send(&mut self.stream, &said).await.map_err(ended)?;
        // What was said arrives before the stream is forgotten.
        self.stream.send.finish().ok();
        self.stream.send.stopped().await.ok();
        Ok(())
    }

    /// Runs something; a peer that goes away ends it, unless it is detached.
    async fn run(&mut self, catalog: Arc<Catalog>, ask: RunAsk) -> Result<Said, FrameError> {
        let (printed, waiting) = mpsc::channel(PRINTED_WAITING_MAX);
        let host = Arc::new(ForPeer { host: Arc::clone(&self.host), printed });
        let (detach, peer) = (ask.detach, self.caller.peer);
        let running = async move {
            let mut execute = ask.into_execute(Some(peer));
            if let Some(keep) = &mut execute.keep {
                keep.asked_by = Some(stream::holder(&peer));
            }
            if detach {
                return said(catalog.detach(execute, host).await.map(|detached| detached.record));
            }
            match catalog.execute(execute, host).await {
                Ok(executed) => Said::Done(Box::new(executed)),
                Err(error) => Said::Failed(failure(&error)),
            }
        };
        self.tell(running, waiting).await
    }

    async fn follow(&mut self, catalog: Arc<Catalog>, id: ExecutionId) -> Result<Said, FrameError> {
        let (printed, waiting) = mpsc::channel(PRINTED_WAITING_MAX);
        let host = Arc::new(ForPeer { host: Arc::clone(&self.host), printed });
        let following = async move { said(catalog.follow_execution(id, host).await.map(|followed| followed.record)) };
        self.tell(following, waiting).await
    }

    /// Sends what is printed until something is done, or the peer goes away.
    async fn tell(
        &mut self,
        work: impl Future<Output = Said>,
        mut printed: mpsc::Receiver<Said>,
    ) -> Result<Said, FrameError> {
        let mut work = std::pin::pin!(work);
        let mut gone = [0];
        loop {
            tokio::select! {
                biased;
                Some(said) = printed.recv() => frame::send(&mut self.stream, &said).await?,
                said = &mut work => {
                    while let Ok(said) = printed.try_recv() {
                        frame::send(&mut self.stream, &said).await?;
                    }
                    return Ok(said);
                }
                () = tokio::time::sleep(ALIVE_EVERY) => frame::send(&mut self.stream, &Said::Alive).await?,
                // Nothing more comes from a peer that waits: a byte is as wrong as an end.
                ended = self.stream.receive.read(&mut gone) => {
                    let reason = match ended {
                        Ok(_) => "the peer closed the stream".into(),
                        Err(error) => error.into(),
                    };
                    return Err(FrameError::Ended(reason));
                }
            }
        }
    }
}

/// The host, for a run that a peer asked for: what is printed goes to the peer.
struct ForPeer {
    host: Arc<dyn Host>,
    printed: mpsc::Sender<Said>,
}

impl Host for ForPeer {
    fn now(&self) -> OffsetDateTime {
        self.host.now()
    }

    fn platform(&self) -> String {
        self.host.platform()
    }

    fn resources(&self) -> Option<NodeResources> {
        self.host.resources()
    }

    fn node_id(&self) -> String {
        self.host.node_id()
    }

    fn progress(&self, progress: Progress) {
        if matches!(progress.stage, STDOUT | STDERR) {
            let said =
                Said::Printed { stdout: progress.stage == STDOUT, at: progress.done as u64, text: progress.subject };
            // What does not fit is in the result.
            let _ = self.printed.try_send(said);
        }
    }

    fn network(&self) -> Network {
        self.host.network()
    }

    fn lease<'a>(
        &'a self,
        label: &'a str,
        needs: &'a [AssetNeed],
        at_most: Duration,
    ) -> Answer<'a, Result<Box<dyn Lease>, Refusal>> {
        self.host.lease(label, needs, at_most)
    }

    fn anchors<'a>(&'a self) -> Answer<'a, Result<TrustAnchors, Refusal>> {
        self.host.anchors()
    }

    fn sign<'a>(&'a self, publisher: Option<&'a str>, what: &'a ToSign) -> Answer<'a, Result<Signed, Refusal>> {
        self.host.sign(publisher, what)
    }

    fn consensus<'a>(&'a self, operation: &'a Operation) -> Answer<'a, Result<Vec<u8>, Refusal>> {
        self.host.consensus(operation)
    }
}

/// Asks a peer what it has, and how busy it is.
pub(super) async fn candidate(peers: &dyn Peers, peer: PeerId) -> Result<NodeCandidate, NetworkError> {
    let mut stream = open(peers, peer, &Ask::Node).await?;
    match answer(&mut stream, peer).await? {
        Said::Node(candidate) => {
            let round_trip = peers.round_trip(peer).unwrap_or_default();
            Ok(NodeCandidate { is_local: false, round_trip, ..candidate })
        }
        _ => Err(unexpected(peer)),
    }
}

/// What came of a run on a peer.
#[derive(Debug)]
pub enum RanThere {
    /// It ended.
    Done(Box<Executed>),
    /// It goes on there.
    Detached(Box<Record>),
}

/// Has a release run by a peer; what it prints is told to the host. Dropping the future ends the run there.
pub(super) async fn run(
    peers: &dyn Peers,
    peer: PeerId,
    ask: &RunAsk,
    host: &dyn Host,
) -> Result<RanThere, NetworkError> {
    let mut stream = open(peers, peer, &Ask::Run).await?;
    // A peer that refuses takes no more than the question, and may have said so while this was still being sent.
    let sent = match frame::send(&mut stream, ask).await {
        Err(error) if !matches!(error, FrameError::Ended(_)) => return Err(broken(peer, &error)),
        sent => sent,
    };
    match (told(&mut stream, peer, host).await, sent) {
        (Ok(Said::Done(executed)), _) => Ok(RanThere::Done(executed)),
        (Ok(Said::Record(record)), _) => Ok(RanThere::Detached(record)),
        (Ok(_), _) => Err(unexpected(peer)),
        (Err(NetworkError::Peer { .. }), Err(unsent)) => Err(broken(peer, &unsent)),
        (Err(error), _) => Err(error),
    }
}

/// Asks a peer about an execution there, or to end it.
pub(super) async fn about(peers: &dyn Peers, peer: PeerId, ask: &Ask, host: &dyn Host) -> Result<Record, NetworkError> {
    let mut stream = open(peers, peer, ask).await?;
    match told(&mut stream, peer, host).await? {
        Said::Record(record) => Ok(*record),
        _ => Err(unexpected(peer)),
    }
}

/// Asks a peer to sign what an execution there gave; nobody has checked the answer.
pub(super) async fn receipt(
    peers: &dyn Peers,
    peer: PeerId,
    id: ExecutionId,
    host: &dyn Host,
) -> Result<String, NetworkError> {
    let mut stream = open(peers, peer, &Ask::Receipt(id)).await?;
    match told(&mut stream, peer, host).await? {
        Said::Receipt(envelope) => Ok(envelope),
        _ => Err(unexpected(peer)),
    }
}

/// Passes on what is printed until something else is said.
async fn told(stream: &mut Stream, peer: PeerId, host: &dyn Host) -> Result<Said, NetworkError> {
    loop {
        match answer(stream, peer).await? {
            Said::Printed { stdout, at, text } => {
                let stage = if stdout { STDOUT } else { STDERR };
                let done = usize::try_from(at).unwrap_or(usize::MAX);
                host.progress(Progress { stage, subject: text, done, total: 0 });
            }
            Said::Alive => {}
            Said::Failed(PeerFailure { mut message, refused }) => {
                message.truncate(message.floor_char_boundary(REASON_BYTES_MAX));
                let peer = peer.to_string();
                return Err(if refused {
                    NetworkError::Refused { peer, reason: message }
                } else {
                    NetworkError::Failed { peer, reason: message }
                });
            }
            said => return Ok(said),
        }
    }
}

async fn open(peers: &dyn Peers, peer: PeerId, ask: &Ask) -> Result<Stream, NetworkError> {
    let request = rmp_serde::to_vec_named(ask).map_err(|error| broken(peer, &error))?;
    peers.open(peer, SERVICE, &request).await.map_err(|error| broken(peer, &error))
}

async fn answer(stream: &mut Stream, peer: PeerId) -> Result<Said, NetworkError> {
    frame::receive(stream).await.map_err(|error| broken(peer, &error))
}

fn broken(peer: PeerId, error: &dyn std::error::Error) -> NetworkError {
    let reason = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    NetworkError::Peer { peer: peer.to_string(), reason }
}

pub(super) fn unexpected(peer: PeerId) -> NetworkError {
    NetworkError::Peer { peer: peer.to_string(), reason: "its answer is of another question".into() }
}

fn said(record: Result<Record, OpError>) -> Said {
    match record {
        Ok(record) => Said::Record(Box::new(record)),
        Err(error) => Said::Failed(failure(&error)),
    }
}

fn failure(error: &OpError) -> PeerFailure {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    PeerFailure { message, refused: !matches!(error, OpError::Run { .. }) }
}

impl RunAsk {
    pub(super) fn into_execute(self, asked_by: Option<PeerId>) -> Execute {
        Execute {
            target: format!("{}@={}", self.package, self.version),
            release: Some(self.digest),
            asked_by,
            function: self.function,
            arguments: self.arguments,
            timeout: self.timeout_ms.map(Duration::from_millis),
            cpu: self.cpu_millis.map(CpuMillis),
            memory: self.memory_bytes.map(MemoryBytes),
            at: None,
            wait: self.wait,
            follow: self.follow,
            keep: self.keep,
            confirmed: Confirmed::No,
        }
    }
}
