//! What peers ask of each other on the data lane: named services, each request one bidirectional stream.
//!
//! A stream begins with one frame, u32 little endian and so many bytes of MessagePack: the name of the service and its request.
//! Everything after it belongs to the service. A peer that does not know the name resets the stream with
//! [`UNKNOWN_SERVICE`], so that versions stand side by side as `blobs/1` and `blobs/2`.

use bytes::Bytes;
use libp2p::PeerId;

use crate::identity::Pending;

/// One stream between two nodes that know each other.
#[derive(Debug)]
pub struct Stream {
    /// To the peer.
    pub send: quinn::SendStream,
    /// From the peer.
    pub receive: quinn::RecvStream,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The peer, whose certificate was checked.
    pub peer: PeerId,
    /// The first domain of its certificate that is not the one of all nodes, as `n3.node.trustchain`.
    pub name: String,
}

/// Something that peers can ask for.
pub trait Service: Send + Sync + 'static {
    /// Gives its name with its version, such as `blobs/1`; at most 64 bytes.
    fn name(&self) -> &'static str;

    /// Serves one stream to its end; dropping the future gives it up. The transport bounds how many run for one peer and in all.
    ///
    /// # Errors
    /// What is wrong with the request or the peer; the stream is reset, and the reason counted and logged.
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
    /// It, or this node, has too many streams open.
    #[error("there are too many streams to peer `{peer}`: {limit}")]
    Busy {
        /// The peer.
        peer: PeerId,
        /// The bound.
        limit: usize,
    },
    /// It does not know the service.
    #[error("peer `{peer}` does not know the service `{service}`")]
    UnknownService {
        /// The peer.
        peer: PeerId,
        /// The service.
        service: String,
    },
}

/// The code with which a stream is reset whose service is not known.
pub const UNKNOWN_SERVICE: u32 = 1;
/// The code with which a stream is reset whose request is refused.
pub const REFUSED: u32 = 2;
/// The code with which a stream is reset because there are too many.
pub const BUSY: u32 = 3;
/// The largest first frame in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
