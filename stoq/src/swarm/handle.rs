//! How the rest of the node asks the control plane for something; every question waits for the driver's answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::record::{Record, RecordError};
use super::store::StoreSizes;
use super::{ANNOUNCEMENT_BYTES_MAX, AddressBook, TOPIC_BYTES_MAX};

/// The most requests that wait for the driver; whoever comes then waits with them.
pub(crate) const COMMANDS_WAITING_MAX: usize = 256;
/// The most operations in flight.
pub const OPERATIONS_MAX: usize = 1024;
/// The most announcements of one topic that wait for their reader; later ones are dropped and counted.
pub const ANNOUNCEMENTS_WAITING_MAX: usize = 1024;
/// The most events that a reader may be behind.
pub const EVENTS_WAITING_MAX: usize = 256;

/// The control plane of a node. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) local: PeerId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) book: Arc<AddressBook>,
}

/// Judges announcements before they are delivered and passed on. Runs in the control plane: it takes a millisecond at most.
pub trait Validate: Send + Sync + 'static {
    /// Judges what a peer passed on.
    fn judge(&self, topic: &str, from: PeerId, bytes: &[u8]) -> Verdict;
}

impl<F: Fn(&str, PeerId, &[u8]) -> Verdict + Send + Sync + 'static> Validate for F {
    fn judge(&self, topic: &str, from: PeerId, bytes: &[u8]) -> Verdict {
        self(topic, from, bytes)
    }
}

/// What becomes of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered and passed on.
    Accept,
    /// It is neither, and nobody is to blame: this node cannot tell, or it is old news.
    Ignore,
    /// It is neither, and whoever passed it on should have known; after three times nobody has to do with it for an hour.
    Reject,
}

/// Something that a peer passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Where it was said.
    pub topic: String,
    /// Who passed it on; not who wrote it.
    pub from: PeerId,
    /// What.
    pub bytes: Vec<u8>,
}

/// Somebody came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a connection to a peer.
    PeerJoined {
        /// The peer.
        peer: PeerId,
    },
    /// There is none any more.
    PeerLeft {
        /// The peer.
        peer: PeerId,
    },
}

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerState {
    /// The peer.
    pub peer: PeerId,
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether it is in the routing table.
    pub in_table: bool,
    /// Where it was last seen, the best first.
    pub addresses: Vec<SocketAddr>,
    /// How long it takes to answer, smoothed.
    pub round_trip: Option<Duration>,
    /// How good it is, from 0 to 1.
    pub quality: f64,
}

/// How far something was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How many peers were asked.
    pub asked: usize,
    /// How many had acknowledged when a majority had, or all had answered.
    pub acknowledged: usize,
}

/// Somebody who provides something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Who.
    pub peer: PeerId,
    /// Where it was last seen, the best first.
    pub addresses: Vec<SocketAddr>,
}

/// What a lookup found, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What.
    pub value: T,
    /// How many peers were asked.
    pub requests: u32,
    /// How long it took.
    pub took: Duration,
}

/// Counts since the start, and sizes at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Peers with a connection.
    pub peers_connected: usize,
    /// Peers in the routing table.
    pub table_peers: usize,
    /// How many of them lie in each bucket of the table that has any.
    pub table_buckets: Vec<usize>,
    /// What is kept.
    pub store: StoreSizes,
    /// Operations in flight.
    pub operations: usize,
    /// Lookups that ended with a result.
    pub lookups_done: u64,
    /// Lookups that ended because they took too long.
    pub lookups_timed_out: u64,
    /// Entries of peers that were kept.
    pub writes_kept: u64,
    /// Entries of peers that were not.
    pub writes_refused: u64,
    /// Announcements that were delivered.
    pub announcements_delivered: u64,
    /// Announcements that were refused by whoever judges them.
    pub announcements_refused: u64,
    /// Announcements that were dropped because their reader is slow.
    pub announcements_dropped: u64,
    /// Dials that came to nothing.
    pub dials_failed: u64,
    /// Connections of peers that were denied.
    pub connections_denied: u64,
}

/// An operation came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The node was shut down.
    #[error("the node is shut down")]
    Stopped,
    /// Too many operations are in flight.
    #[error("there are already `{limit}` operations in flight")]
    Busy {
        /// The bound.
        limit: usize,
    },
    /// Peers were asked to keep something, and none did.
    #[error("none of `{asked}` peers stored it")]
    NotStored {
        /// How many were asked.
        asked: usize,
    },
    /// This node provides or wrote as much as it may.
    #[error("this node keeps at most `{limit}` `{what}`")]
    Full {
        /// What.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A lookup took too long.
    #[error("the lookup took longer than `{}` ms", limit.as_millis())]
    TimedOut {
        /// The bound.
        limit: Duration,
    },
    /// A peer cannot be reached.
    #[error("`{address}` cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Something is too large.
    #[error("the `{part}` has at most `{limit}` bytes, not `{actual}`")]
    TooLarge {
        /// `topic` or `announcement`.
        part: &'static str,
        /// The bound.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// No peer that this node is connected to follows the topic.
    #[error("no connected peer follows the topic `{topic}`")]
    NobodyListens {
        /// Which.
        topic: String,
    },
    /// Somebody in this node follows the topic already.
    #[error("the topic `{topic}` is followed already")]
    Followed {
        /// Which.
        topic: String,
    },
    /// What waits for peers to take it does not get smaller.
    #[error("no announcement of the topic `{topic}` can be sent: {reason}")]
    NotSent {
        /// Which.
        topic: String,
        /// Why.
        reason: String,
    },
    /// A record cannot be made.
    #[error("the record cannot be made")]
    Record(#[from] RecordError),
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, OperationError>>;

/// What the driver is asked.
pub(crate) enum Command {
    Connect { address: SocketAddr, reply: Reply<PeerId> },
    Provide { key: [u8; 32], reply: Reply<Stored> },
    StopProviding { key: [u8; 32], reply: Reply<Stored> },
    Providers { key: [u8; 32], enough: usize, reply: Reply<Found<Vec<Provider>>> },
    Put { name: Vec<u8>, value: Vec<u8>, reply: Reply<Stored> },
    Get { signer: PeerId, name: Vec<u8>, reply: Reply<Found<Option<Record>>> },
    Closest { key: Vec<u8>, reply: Reply<Found<Vec<Provider>>> },
    Announce { topic: String, bytes: Vec<u8>, reply: Reply<()> },
    Subscribe { topic: String, validate: Arc<dyn Validate>, reply: Reply<mpsc::Receiver<Announcement>> },
    Misbehaved { peer: PeerId, reply: Reply<()> },
    Peers { reply: Reply<Vec<PeerState>> },
    Metrics { reply: Reply<Metrics> },
    Stop { reply: Reply<()> },
}

impl Handle {
    /// Gives the id of this node.
    pub fn peer_id(&self) -> PeerId {
        self.local
    }

    /// Gives the addresses of peers, for whoever connects to them on the data lane.
    pub fn address_book(&self) -> Arc<AddressBook> {
        self.book.clone()
    }

    /// Gives what is known of peers, the best first.
    ///
    /// # Errors
    /// The node is shut down.
    pub async fn peers(&self) -> Result<Vec<PeerState>, OperationError> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// Connects to whoever is at an address.
    ///
    /// # Errors
    /// Nobody is, or one of both does not believe the other.
    pub async fn connect(&self, address: SocketAddr) -> Result<PeerId, OperationError> {
        self.ask(|reply| Command::Connect { address, reply }).await
    }

    /// Tells the peers nearest to a key that this node provides it, now and every hour, and waits until a majority of them has
    /// acknowledged it or all have answered. Without peers it is told to nobody, which is no error: it is told when there are.
    ///
    /// # Errors
    /// None of them stored it; this node provides too much.
    pub async fn provide(&self, key: [u8; 32]) -> Result<Stored, OperationError> {
        self.ask(|reply| Command::Provide { key, reply }).await
    }

    /// Takes that back. Peers that are not reached forget it within a day.
    ///
    /// # Errors
    /// The node is shut down, or busy.
    pub async fn stop_providing(&self, key: [u8; 32]) -> Result<Stored, OperationError> {
        self.ask(|reply| Command::StopProviding { key, reply }).await
    }

    /// Finds who provides a key, other than this node: returns with `enough` of them, or with all that the peers nearest to
    /// the key know. Each was seen at one of its addresses, or has answered there just now.
    ///
    /// # Errors
    /// It took too long and found nobody.
    pub async fn providers(&self, key: [u8; 32], enough: usize) -> Result<Found<Vec<Provider>>, OperationError> {
        self.ask(|reply| Command::Providers { key, enough, reply }).await
    }

    /// Writes a record under a name of this node, now and every hour, as [`Self::provide`] does; the last one written counts.
    ///
    /// # Errors
    /// It is too large, cannot be signed, or none of the peers stored it.
    pub async fn put_record(&self, name: &[u8], value: &[u8]) -> Result<Stored, OperationError> {
        let (name, value) = (name.to_vec(), value.to_vec());
        self.ask(|reply| Command::Put { name, value, reply }).await
    }

    /// Reads what a peer wrote under a name.
    ///
    /// # Errors
    /// It took too long and found nothing.
    pub async fn get_record(&self, signer: PeerId, name: &[u8]) -> Result<Found<Option<Record>>, OperationError> {
        let name = name.to_vec();
        self.ask(|reply| Command::Get { signer, name, reply }).await
    }

    /// Finds the peers nearest to a key, at most twenty, the nearest first. For the key of a peer (its id as bytes), this is how
    /// its address is found.
    ///
    /// # Errors
    /// It took too long and found nobody.
    pub async fn closest(&self, key: &[u8]) -> Result<Found<Vec<Provider>>, OperationError> {
        let key = key.to_vec();
        self.ask(|reply| Command::Closest { key, reply }).await
    }

    /// Says something to everybody who follows a topic. Best effort: whoever must know asks besides.
    ///
    /// # Errors
    /// It is too large, or nobody listens.
    pub async fn announce(&self, topic: &str, bytes: &[u8]) -> Result<(), OperationError> {
        bounded("topic", topic.len(), TOPIC_BYTES_MAX)?;
        bounded("announcement", bytes.len(), ANNOUNCEMENT_BYTES_MAX)?;
        let (topic, bytes) = (topic.to_owned(), bytes.to_vec());
        self.ask(|reply| Command::Announce { topic, bytes, reply }).await
    }

    /// Follows a topic until the receiver is dropped.
    ///
    /// # Errors
    /// It is followed already, or too many are.
    pub async fn subscribe(
        &self,
        topic: &str,
        validate: Arc<dyn Validate>,
    ) -> Result<mpsc::Receiver<Announcement>, OperationError> {
        bounded("topic", topic.len(), TOPIC_BYTES_MAX)?;
        let topic = topic.to_owned();
        self.ask(|reply| Command::Subscribe { topic, validate, reply }).await
    }

    /// Counts against a peer that it sent what it must not, on any lane; after three times nobody has to do with it for an hour.
    ///
    /// # Errors
    /// The node is shut down.
    pub async fn misbehaved(&self, peer: PeerId) -> Result<(), OperationError> {
        self.ask(|reply| Command::Misbehaved { peer, reply }).await
    }

    /// Tells who comes and goes from now on. A reader that is more than [`EVENTS_WAITING_MAX`] behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Gives counts and sizes.
    ///
    /// # Errors
    /// The node is shut down.
    pub async fn metrics(&self) -> Result<Metrics, OperationError> {
        self.ask(|reply| Command::Metrics { reply }).await
    }

    /// Ends the control plane; whatever waits for it ends with [`OperationError::Stopped`].
    pub async fn stop(&self) {
        // If it has ended already, that is what was wanted.
        self.ask(|reply| Command::Stop { reply }).await.ok();
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, OperationError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| OperationError::Stopped)?;
        answer.await.unwrap_or(Err(OperationError::Stopped))
    }
}

fn bounded(part: &'static str, actual: usize, limit: usize) -> Result<(), OperationError> {
    if actual > limit { Err(OperationError::TooLarge { part, limit, actual }) } else { Ok(()) }
}
