//! What the scheduler is told, and what it says.

use libp2p::PeerId;

use crate::blobs::wire;

/// One request of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// Why a request, and perhaps its source, is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It sent what is not of the blob: it is dropped and should not be asked again by anybody.
    #[error("lied: {0}")]
    Lied(String),
    /// It has not got the blob, or does not give it: it is dropped.
    #[error("does not have it")]
    NotHeld,
    /// It cannot be reached, or broke off: it is tried again, later each time.
    #[error("failed: {0}")]
    Failed(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody may have the blob.
    Source(PeerId),
    /// The answer to the question for the last group has proved the size; that group is kept.
    Proved {
        /// Which request.
        id: RequestId,
        /// The size in bytes.
        size: u64,
    },
    /// Bytes came, verified or not.
    Received {
        /// Of which request.
        id: RequestId,
        /// How many since the last time.
        bytes: u64,
    },
    /// A group was verified and is kept.
    Verified {
        /// Of which request.
        id: RequestId,
        /// Which group.
        group: u64,
    },
    /// A request has come to its end: all groups were verified before, or there is a reason.
    Ended {
        /// Which request.
        id: RequestId,
        /// What went wrong.
        fault: Option<Fault>,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a source.
    Ask {
        /// The request.
        id: RequestId,
        /// Whom.
        peer: PeerId,
        /// For what.
        part: wire::Part,
    },
    /// Give up a request; what is still said of it is ignored.
    Cancel(RequestId),
    /// A source will not be asked again.
    Dropped {
        /// Whom.
        peer: PeerId,
        /// Why.
        why: Fault,
    },
    /// The blob is larger than wanted, as its last group proves.
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
}
