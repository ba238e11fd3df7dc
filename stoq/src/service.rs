//! What peers ask of each other on the data lane: named services, each request one bidirectional stream.
//!
//! A stream begins with one frame, u32 little endian and so many bytes of MessagePack: the name of the service and its request.
//! Everything after it belongs to the service. A peer that does not know the name resets the stream with
//! [`UNKNOWN_SERVICE`], so that versions stand side by side as `blobs/1` and `blobs/2`.

use bytes::Bytes;
use libp2p::PeerId;
use quinn::VarInt;

use crate::identity::Pending;

mod registry;

pub use self::registry::{NAME_BYTES_MAX, RegisterError, Services};
pub(crate) use self::registry::{ask, asked};

/// One stream between two nodes that know each other.
#[derive(Debug)]
pub struct Stream {
    /// To the peer.
    pub send: quinn::SendStream,
    /// From the peer.
    pub receive: quinn::RecvStream,
}

impl Stream {
    /// Gives the stream up in both directions: [`REFUSED`], [`FAILED`], or a code of the service from 16 on.
    pub fn reset(mut self, code: u32) {
        // A half that has ended already needs no reset.
        let _ = self.send.reset(VarInt::from_u32(code));
        let _ = self.receive.stop(VarInt::from_u32(code));
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The peer, whose certificate was checked.
    pub peer: PeerId,
    /// The first domain of its certificate that is not the one of all nodes, as `n3.node.trustchain`.
    pub name: String,
    /// Whether it proved a FALCON key of its certificate, too.
    pub is_hybrid: bool,
}

/// Something that peers can ask for.
pub trait Service: Send + Sync + 'static {
    /// Gives its name with its version, such as `blobs/1`; at most 64 bytes.
    fn name(&self) -> &'static str;

    /// Serves one stream to its end; dropping the future gives it up. The transport bounds how many run for one peer and in all.
    ///
    /// A stream that is dropped ends as if all was said. A service that stops in the middle calls [`Stream::reset`], and what it
    /// sends has an end of its own.
    ///
    /// # Errors
    /// What is wrong with the request or the peer; the reason is counted and logged.
    fn serve(&self, caller: Caller, request: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>>;
}

/// Whom services are asked of: connections are made, reused and given up behind it.
pub trait Peers: Send + Sync + 'static {
    /// Opens a stream to a service of a peer.
    ///
    /// # Errors
    /// No address is known, nobody answers, or it is somebody else.
    fn open<'a>(&'a self, peer: PeerId, service: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>>;

    /// Gives the smoothed round trip to a peer, if there is a connection.
    fn round_trip(&self, peer: PeerId) -> Option<std::time::Duration>;
}

/// A service did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The peer asks for what it may not have, or for nothing that can be read.
    #[error("peer `{peer}` sent what `{service}` refuses: {reason}")]
    Refused {
        /// The peer.
        peer: PeerId,
        /// The service.
        service: &'static str,
        /// Why.
        reason: String,
    },
    /// The peer went away.
    #[error("peer `{peer}` ended a stream of `{service}`")]
    Ended {
        /// The peer.
        peer: PeerId,
        /// The service.
        service: &'static str,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This node cannot answer.
    #[error("`{service}` cannot be served")]
    Environment {
        /// The service.
        service: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// No stream to a peer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nobody knows where it is.
    #[error("no address of peer `{peer}` is known")]
    NoAddress {
        /// The peer.
        peer: PeerId,
    },
    /// It does not answer.
    #[error("peer `{peer}` cannot be reached: {reason}")]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// Why, by name.
        reason: String,
    },
    /// This node has no room for another one.
    #[error("this node has no room for another stream to peer `{peer}`: it has {limit} {what}, the most it may")]
    Busy {
        /// The peer.
        peer: PeerId,
        /// What it has no room for.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The request is too large for one frame.
    #[error("a request to peer `{peer}` has at most `{limit}` bytes, this one `{actual}`")]
    TooLarge {
        /// The peer.
        peer: PeerId,
        /// The bound.
        limit: usize,
        /// How many bytes there are.
        actual: usize,
    },
}

/// The code with which a stream is reset whose service is not known.
pub const UNKNOWN_SERVICE: u32 = 1;
/// The code with which a stream is reset whose request is refused.
pub const REFUSED: u32 = 2;
/// The code with which a stream is reset because there are too many.
pub const BUSY: u32 = 3;
/// The code with which a stream is reset that this node cannot serve.
pub const FAILED: u32 = 4;
/// The largest first frame in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
