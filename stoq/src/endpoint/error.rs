//! Why a port is not opened and a dial fails.

use std::io;
use std::net::SocketAddr;

use crate::limits::LimitError;
use crate::tls::Refusal;

/// A port is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A limit cannot be kept.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The identity has no certificate.
    #[error("this node has no certificate")]
    NoCertificate,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The address cannot be had.
    #[error("this node cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A dial failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// This node does not believe who answered.
    #[error("who answers at `{address}` is refused: {refusal}")]
    Refused {
        /// Who was dialed.
        address: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// Who answered does not believe this node, as far as it said.
    #[error("who answers at `{address}` refuses this node: {refusal}")]
    RefusedByPeer {
        /// Who was dialed.
        address: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// Nobody answers.
    #[error("`{address}` did not answer within `{limit_ms}` ms")]
    TimedOut {
        /// Who was dialed.
        address: SocketAddr,
        /// The limit.
        limit_ms: u128,
    },
    /// Who answered has no room.
    #[error("who answers at `{address}` has too many connections")]
    BusyPeer {
        /// Who was dialed.
        address: SocketAddr,
    },
    /// This node has no room.
    #[error("there are already `{limit}` connections")]
    Busy {
        /// The bound.
        limit: usize,
    },
    /// The address cannot be dialed from this port.
    #[error("`{address}` cannot be dialed from this port: {reason}")]
    Address {
        /// Who was dialed.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The connection ended before it began.
    #[error("the connection to `{address}` ended before it was made: {reason}")]
    Lost {
        /// Who was dialed.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// This port is closed.
    #[error("this port is closed")]
    Closed,
}

impl ConnectError {
    /// Gives the name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } | Self::RefusedByPeer { refusal, .. } => refusal.name(),
            Self::TimedOut { .. } => "timed-out",
            Self::BusyPeer { .. } => "busy-peer",
            Self::Busy { .. } => "busy",
            Self::Address { .. } => "address",
            Self::Lost { .. } => "lost",
            Self::Closed => "closed",
        }
    }
}
