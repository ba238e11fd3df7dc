//! One connection with a peer that holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;

use super::{Algorithm, CLOSED, congestion};
use crate::PeerId;
use crate::service::Caller;
use crate::tls::{Lane, Peer};

/// A connection with a certified peer. Clones are the same connection; the last one that is dropped closes it.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Open>);

/// A connection that is closed when nobody has a [`Connection`] any more.
#[derive(Debug)]
struct Open {
    quic: quinn::Connection,
    peer: Arc<Peer>,
    lane: Lane,
}

impl Connection {
    pub(super) fn new(quic: quinn::Connection, peer: Arc<Peer>, lane: Lane) -> Self {
        Self(Arc::new(Open { quic, peer, lane }))
    }

    /// Closes the connection; what was written and not received is lost.
    pub fn close(&self, code: VarInt, reason: &str) {
        congestion::close(&self.0.quic, code, reason.as_bytes());
    }

    /// Gives the peer.
    pub fn peer(&self) -> PeerId {
        self.0.peer.id
    }

    /// Gives the first domain of the peer's certificate that is not the one of all nodes.
    pub fn name(&self) -> &str {
        &self.0.peer.name
    }

    /// Gives the peer as services know it.
    pub fn caller(&self) -> Caller {
        Caller { peer: self.0.peer.id, name: self.0.peer.name.clone(), is_hybrid: self.is_hybrid() }
    }

    /// Says what the connection is for.
    pub fn lane(&self) -> Lane {
        self.0.lane
    }

    /// Says whether the peer has proved a FALCON-1024 key beside its Ed25519 key.
    pub fn is_hybrid(&self) -> bool {
        self.0.peer.certificates[0].keys().is_some()
    }

    /// Gives the address of the peer; one of IPv4 is shown as such.
    pub fn remote_address(&self) -> SocketAddr {
        let address = self.0.quic.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// Gives the smoothed round trip.
    pub fn round_trip(&self) -> Duration {
        self.0.quic.rtt()
    }

    /// Says what bounds the bytes in flight.
    pub fn congestion_control(&self) -> Option<Algorithm> {
        congestion::algorithm(self.0.quic.congestion_state())
    }

    /// Says whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.0.quic.close_reason().is_some()
    }

    /// Gives the connection itself.
    pub fn quic(&self) -> &quinn::Connection {
        &self.0.quic
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        congestion::close(&self.quic, CLOSED, b"closed");
    }
}
