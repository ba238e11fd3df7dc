//! `replica/1` over streams: nodes report to each other what they hold, and ask each other to keep copies.
//!
//! What a blob is and how its bytes move is the [`Keeper`]'s affair. Nothing is deleted here but through it, and it may refuse.

mod reporter;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use trustchain::digest::Blake3;

pub use task::{Event, ReplicationTask};

use super::plan::{Options, Refusal, Replicas};
use super::report::{Capacity, Heard, Holding, Report, ReportError};
use super::wire::{ANSWER_BYTES_MAX, Answer, Ask, Gathered, Gathering, PART_BYTES_MAX, WireError, decode, encode};
use crate::frame;
use crate::identity::Pending;
use crate::service::{Caller, FAILED, OpenError, Peers, REFUSED, Service, ServiceError, Stream};

/// The name of the service.
pub const NAME: &str = "replica/1";

/// What of this node is given to copies.
pub trait Keeper: Send + Sync + 'static {
    /// Gives the room of this node and all it holds. Blocks.
    ///
    /// # Errors
    /// They cannot be read.
    fn holdings(&self) -> Result<(Capacity, Vec<Holding>), KeeperError>;

    /// Fetches a blob from a peer that has it, or from whoever else has, and keeps it.
    ///
    /// # Errors
    /// It could not be had or not be kept.
    fn keep(&self, digest: Blake3, size_bytes: u64, from: PeerId) -> Pending<'_, Result<(), KeeperError>>;

    /// Drops a copy. Blocks. It is asked for what was not pinned when it was reported.
    ///
    /// # Errors
    /// It cannot, or somebody needs it now.
    fn drop_copy(&self, digest: Blake3) -> Result<(), KeeperError>;
}

/// Why a keeper did not do something.
pub type KeeperError = Box<dyn std::error::Error + Send + Sync>;

/// The copies that this node keeps and watches.
pub struct Replication {
    own: PeerId,
    keeper: Arc<dyn Keeper>,
    peers: Arc<dyn Peers>,
    replicas: Mutex<Replicas>,
    agreed: mpsc::Sender<Agreed>,
}

/// A copy that this node said it would keep.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    digest: Blake3,
    size_bytes: u64,
    from: PeerId,
}

/// A peer did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There was no stream.
    #[error("peer `{peer}` cannot be asked")]
    Open {
        /// The peer.
        peer: PeerId,
        /// Why.
        #[source]
        source: Box<OpenError>,
    },
    /// It left or was silent.
    #[error("peer `{peer}` does not answer: {reason}")]
    Left {
        /// The peer.
        peer: PeerId,
        /// How.
        reason: String,
    },
    /// Its answer cannot be read, or answers something else.
    #[error("peer `{peer}` answers what was not asked")]
    Answer {
        /// The peer.
        peer: PeerId,
    },
}

impl Replication {
    /// Begins to watch copies; the task does it.
    pub fn new(
        own: PeerId,
        options: Options,
        keeper: Arc<dyn Keeper>,
        peers: Arc<dyn Peers>,
    ) -> (Arc<Self>, ReplicationTask) {
        let replicas = Mutex::new(Replicas::new(own, options));
        let (agreed, to_keep) = mpsc::channel(options.keeps_max.max(1));
        let replication = Arc::new(Self { own, keeper, peers, replicas, agreed });
        (Arc::clone(&replication), ReplicationTask::new(replication, to_keep))
    }

    /// Gives the peers that say to hold a blob. Waits while actions are planned.
    #[cfg(test)]
    pub(super) fn holders_of(&self, digest: Blake3) -> Vec<PeerId> {
        self.replicas().holders_of(Instant::now(), digest)
    }

    /// A peer did not serve a blob that it says to hold.
    ///
    /// # Errors
    /// The runtime stops.
    pub async fn not_served(self: &Arc<Self>, digest: Blake3, peer: PeerId) -> Result<(), JoinError> {
        self.plan(move |replicas| replicas.not_served(digest, peer)).await
    }

    /// Tells a peer what this node holds.
    async fn tell(&self, peer: PeerId, report: &Report) -> Result<Heard, AskError> {
        let (head, parts) = Ask::report(report);
        match self.ask(peer, &head, &parts).await? {
            Answer::Known => Ok(Heard::Known),
            Answer::SayAll => Ok(Heard::SayAll),
            Answer::Yes | Answer::No(_) => Err(AskError::Answer { peer }),
        }
    }

    /// Asks a peer to keep a copy.
    async fn ask_to_keep(
        &self,
        peer: PeerId,
        digest: Blake3,
        size_bytes: u64,
    ) -> Result<Result<(), Refusal>, AskError> {
        match self.ask(peer, &Ask::Keep { digest: (*digest.as_bytes()).into(), size_bytes }, &[]).await? {
            Answer::Yes => Ok(Ok(())),
            Answer::No(refusal) => Ok(Err(refusal)),
            Answer::Known | Answer::SayAll => Err(AskError::Answer { peer }),
        }
    }

    async fn ask(&self, peer: PeerId, ask: &Ask, parts: &[Vec<u8>]) -> Result<Answer, AskError> {
        let left = |reason: String| AskError::Left { peer, reason };
        let asked = async {
            let request = encode(ask);
            let opened = self.peers.open(peer, NAME, &request).await;
            let mut stream = opened.map_err(|source| AskError::Open { peer, source: Box::new(source) })?;
            for part in parts {
                frame::write(&mut stream.send, part).await.map_err(|error| left(error.to_string()))?;
            }
            // Nothing follows; a peer that has answered already may have stopped reading.
            let _ = stream.send.finish();
            let answer = frame::read(&mut stream.receive, ANSWER_BYTES_MAX).await;
            let answer = answer.map_err(|error| left(error.to_string()))?;
            decode(&answer).map_err(|_| AskError::Answer { peer })
        };
        timeout(ASK_TIMEOUT, asked).await.unwrap_or_else(|_| Err(left(format!("{ASK_TIMEOUT:?} were not enough"))))
    }

    async fn answer(
        self: &Arc<Self>,
        peer: PeerId,
        request: &[u8],
        stream: &mut Stream,
    ) -> Result<Answer, FollowError> {
        match decode(request)? {
            Ask::Keep { digest, size_bytes } => {
                let agreed = self.agree(peer, Blake3::from_bytes(*digest), size_bytes).await?;
                Ok(agreed.map_or_else(Answer::No, |()| Answer::Yes))
            }
            ask @ Ask::Report { .. } => {
                let gathering = ask.gathering().expect("it is a report");
                let report = gather(gathering, stream).await?;
                Ok(self.plan(move |replicas| replicas.report(Instant::now(), peer, report)).await??.into())
            }
        }
    }

    /// Agrees to keep a copy, making room for it, and hands it to the task.
    async fn agree(
        self: &Arc<Self>,
        from: PeerId,
        digest: Blake3,
        size_bytes: u64,
    ) -> Result<Result<(), Refusal>, JoinError> {
        let this = Arc::clone(self);
        // In one go on one thread: whoever asked may leave meanwhile, and its place must not stay taken.
        spawn_blocking(move || {
            let going = this.replicas().keep_asked(Instant::now(), from, digest, size_bytes)?;
            let made = going.into_iter().try_for_each(|digest| this.keeper.drop_copy(digest)).map_err(|error| {
                tracing::warn!(%error, "no room was made for a copy");
                Refusal::NoRoom { size_bytes }
            });
            let full = |_| Refusal::Busy { limit: this.agreed.max_capacity() as u64 };
            let handed = made.and_then(|()| this.agreed.try_send(Agreed { digest, size_bytes, from }).map_err(full));
            if handed.is_err() {
                this.replicas().keep_ended(digest);
            }
            handed
        })
        .await
    }

    /// Asks or tells the plan, on a thread for what takes long: with many blobs some answers do, and all others wait for them.
    async fn plan<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&mut Replicas) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let replication = Arc::clone(self);
        spawn_blocking(move || what(&mut replication.replicas())).await
    }

    fn replicas(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers reports and requests of peers.
#[derive(Clone)]
pub struct ReplicaService(pub Arc<Replication>);

impl Service for ReplicaService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn serve(&self, caller: Caller, request: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let replication = Arc::clone(&self.0);
        let peer = caller.peer;
        Box::pin(async move {
            let answered = timeout(ASK_TIMEOUT, async {
                let answer = replication.answer(peer, &request, &mut stream).await?;
                frame::write(&mut stream.send, &encode(&answer)).await?;
                Ok::<_, FollowError>(())
            });
            match answered.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(FollowError::Left(source))) => {
                    stream.reset(FAILED);
                    Err(ServiceError::Ended { peer, service: NAME, source })
                }
                Ok(Err(FollowError::Peer(reason))) => {
                    stream.reset(REFUSED);
                    Err(ServiceError::Refused { peer, service: NAME, reason })
                }
                Err(_) => {
                    stream.reset(REFUSED);
                    Err(ServiceError::Refused {
                        peer,
                        service: NAME,
                        reason: format!("{ASK_TIMEOUT:?} were not enough"),
                    })
                }
            }
        })
    }
}

/// Why nothing is answered.
enum FollowError {
    /// The peer is at fault.
    Peer(String),
    /// It left, or this node cannot answer.
    Left(KeeperError),
}

impl From<WireError> for FollowError {
    fn from(error: WireError) -> Self {
        Self::Peer(error.to_string())
    }
}

impl From<ReportError> for FollowError {
    fn from(error: ReportError) -> Self {
        Self::Peer(error.to_string())
    }
}

impl From<JoinError> for FollowError {
    fn from(error: JoinError) -> Self {
        Self::Left(error.into())
    }
}

impl From<frame::FrameError> for FollowError {
    fn from(error: frame::FrameError) -> Self {
        match error {
            frame::FrameError::TooLarge { .. } => Self::Peer(error.to_string()),
            error => Self::Left(error.into()),
        }
    }
}

impl From<std::io::Error> for FollowError {
    fn from(error: std::io::Error) -> Self {
        Self::Left(error.into())
    }
}

async fn gather(mut gathering: Gathering, stream: &mut Stream) -> Result<Report, FollowError> {
    loop {
        let part = frame::read(&mut stream.receive, PART_BYTES_MAX).await?;
        match gathering.take(&part)? {
            Gathered::More(more) => gathering = more,
            Gathered::Whole(report) => return Ok(report),
        }
    }
}

/// How long a request and its answer may take, a whole report among them.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(15);
