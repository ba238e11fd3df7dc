//! A grow-only set of immutable records that certify themselves, brought into line between nodes.
//!
//! | module | what it is for |
//! |---|---|
//! | [`item`] | ids, their order, which of them a synchronisation is about |
//! | [`limits`] | what a peer may make a session spend |
//! | [`frame`] | what two sides say, as bytes |
//! | [`bulk`] | what they say when they differ by much |
//! | [`leader`], [`follower`] | the two sides of a session, without IO |
//! | [`service`] | `records/1` over a stream, led or served |
//! | [`memory`] | a set in memory |
//! | [`schedule`] | when to synchronise with whom, without IO |
//! | [`announcement`] | which records are new, for everybody at once |
//!
//! A merge is a union, so there is no leader among the nodes, and partitions heal by themselves. Whether a record is right is
//! up to the [`RecordSet`]; nothing here believes an id, a time or a peer: bytes are hashed before they are offered, and times
//! only order. What a peer does wrong ends its session and is told to the schedule.

pub mod announcement;
pub mod bulk;
mod compare;
pub mod follower;
pub mod frame;
mod intake;
pub mod item;
pub mod leader;
pub mod limits;
pub mod memory;
mod outbox;
pub mod schedule;
pub mod service;
#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use libp2p::PeerId;

pub use follower::Follower;
pub use item::{Category, Filter, Item, Items, Mode, RecordId};
pub use leader::Leader;
pub use memory::MemorySet;
pub use schedule::Schedule;

use frame::FrameError;

/// The records of this node, wherever they are. Every call may block; none is made on a thread of the runtime.
pub trait RecordSet: Send + Sync + 'static {
    /// Gives all items. Cheap while nothing changes; what [`Items::new`] made once may be given many times.
    ///
    /// # Errors
    /// They cannot be read.
    fn items(&self) -> Result<Items, SetError>;

    /// Gives the bytes of records, as many answers as ids.
    ///
    /// # Errors
    /// They cannot be read.
    fn get(&self, ids: &[RecordId]) -> Result<Vec<Option<Bytes>>, SetError>;

    /// Gives those of the ids that the set has not and would like to have.
    ///
    /// # Errors
    /// They cannot be looked up.
    fn lacking(&self, ids: &[RecordId]) -> Result<Vec<RecordId>, SetError>;

    /// Checks records and keeps those that are right; as many verdicts as records.
    ///
    /// # Errors
    /// They cannot be kept, whatever they are.
    fn offer(&self, from: PeerId, records: &[Bytes]) -> Result<Vec<Verdict>, SetError>;
}

/// Why a set cannot answer; nobody else's fault.
pub type SetError = Box<dyn std::error::Error + Send + Sync>;

/// What a set says to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept.
    Accepted,
    /// It was there.
    Known,
    /// It needs records that are not there; it is offered again when others were accepted.
    Later,
    /// It is wrong, whoever sends it.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What a session did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records that were new and right.
    pub accepted: u64,
    /// Records that were there already.
    pub known: u64,
    /// Records that need others which did not come.
    pub later: u64,
    /// Records that were wrong.
    pub refused: u64,
    /// Ids that the peer named and did not serve.
    pub unserved: u64,
    /// Records sent.
    pub sent: u64,
    /// Frames received but those that carry records.
    pub turns: usize,
    /// Bytes of frames, received.
    pub received_bytes: u64,
    /// Bytes of frames, sent.
    pub sent_bytes: u64,
    /// Whether every difference that the comparison found was dealt with.
    pub is_complete: bool,
}

/// A session does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer sent what cannot be read.
    #[error("peer `{peer}` sent no frame")]
    Frame {
        /// The peer.
        peer: PeerId,
        /// What it sent.
        #[source]
        source: FrameError,
    },
    /// The peer sent no message of a comparison.
    #[error("peer `{peer}` cannot be compared with: {reason}")]
    Comparison {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// The peer sent something else than was its turn.
    #[error("peer `{peer}` sent a frame `{frame}` out of turn")]
    OutOfTurn {
        /// The peer.
        peer: PeerId,
        /// What it sent.
        frame: &'static str,
    },
    /// The peer sent bytes for which no id was asked, or asked for what was not offered.
    #[error("peer `{peer}` answers with `{id}`, which was not asked of it")]
    NotAsked {
        /// The peer.
        peer: PeerId,
        /// What it gave or wants.
        id: RecordId,
    },
    /// The peer keeps sending records that are wrong.
    #[error("peer `{peer}` sends records that are refused: {reason}")]
    Refused {
        /// The peer.
        peer: PeerId,
        /// Why the last one was.
        reason: String,
    },
    /// The peer names records that it does not have.
    #[error("peer `{peer}` does not serve {count} records that it names")]
    Unserved {
        /// The peer.
        peer: PeerId,
        /// How many.
        count: u64,
    },
    /// The peer makes this node do more than a session may.
    #[error("peer `{peer}` makes a session exceed {limit} {what}")]
    TooMuch {
        /// The peer.
        peer: PeerId,
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The peer is gone or silent.
    #[error("peer `{peer}` left a session: {reason}")]
    Left {
        /// The peer.
        peer: PeerId,
        /// How.
        reason: String,
    },
    /// This node cannot read or keep records.
    #[error("the records of this node cannot be used")]
    Set(#[source] SetError),
}

impl SessionError {
    /// Tells whether the peer broke the rules, rather than left or met a fault of this node.
    pub fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Left { .. } | Self::Set(_))
    }
}

/// One side of a session: bytes in, bytes out. Calls may block as long as the set does.
pub trait Side: Send + 'static {
    /// Gives the next frame to send with its length before it; nothing while it is the peer's turn.
    ///
    /// # Errors
    /// The set cannot be read, or the session has sent enough.
    fn next_frame(&mut self) -> Result<Option<Vec<u8>>, SessionError>;

    /// Takes a frame, without its length.
    ///
    /// # Errors
    /// The peer breaks the rules, or the set fails.
    fn receive(&mut self, body: &[u8]) -> Result<(), SessionError>;

    /// Tells whether nothing is to be received any more.
    fn is_finished(&self) -> bool;

    /// Gives what was done so far.
    fn outcome(&self) -> Outcome;
}
