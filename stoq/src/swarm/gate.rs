//! Whom this node has to do with at all: nobody who is blocked, and few of one public network; and which connections stay open
//! without being used.
//!
//! Kademlia of libp2p asks every peer that another names, and cannot be told not to; what it can be denied is the connection.
//! Somebody with many certificates on one network thus cannot surround a key.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::address::{Subnet, from_multiaddr, subnet};

/// The behaviour that opens no stream and only says no.
pub(crate) struct Gate {
    blocked: HashSet<PeerId>,
    kept: HashMap<PeerId, Arc<AtomicBool>>,
    connections: HashMap<ConnectionId, (PeerId, Option<Subnet>)>,
    peers_per_subnet_max: usize,
    crowded: HashMap<PeerId, Instant>,
}

/// Keeps a connection open while its peer is one to keep.
pub(crate) struct Handler {
    keep: Arc<AtomicBool>,
}

/// A connection is not wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("peer `{peer}` is blocked")]
    Blocked { peer: PeerId },
    #[error("there are already `{limit}` peers of the network of `{address}`")]
    Crowded { address: Multiaddr, limit: usize },
    #[error("there was no room for peer `{peer}` a short while ago")]
    Recently { peer: PeerId },
}

/// How long a peer is not dialled for whom there was no room.
const CROWDED_FOR: Duration = Duration::from_secs(60);
/// The most such peers that are remembered.
const CROWDED_MAX: usize = 1024;

impl Gate {
    pub(crate) fn new(peers_per_subnet_max: usize) -> Self {
        Self {
            blocked: HashSet::new(),
            kept: HashMap::new(),
            connections: HashMap::new(),
            peers_per_subnet_max,
            crowded: HashMap::new(),
        }
    }

    /// Denies a peer every connection from now on. Bounded by whoever decides it.
    pub(crate) fn block(&mut self, peer: PeerId) {
        self.blocked.insert(peer);
    }

    pub(crate) fn unblock(&mut self, peer: &PeerId) {
        self.blocked.remove(peer);
    }

    /// Says whether the connections that a peer has stay open when nothing uses them.
    pub(crate) fn keep(&mut self, peer: &PeerId, keep: Keep) {
        if let Some(flag) = self.kept.get(peer) {
            flag.store(keep == Keep::Open, Ordering::Relaxed);
        }
    }

    fn check(&self, peer: PeerId, address: &Multiaddr) -> Result<Option<Subnet>, Denied> {
        if self.blocked.contains(&peer) {
            return Err(Denied::Blocked { peer });
        }
        let Some(subnet) = ip_of(address).and_then(subnet) else { return Ok(None) };
        let neighbours: HashSet<PeerId> =
            self.connections.values().filter(|(_, of)| *of == Some(subnet)).map(|(peer, _)| *peer).collect();
        if neighbours.len() >= self.peers_per_subnet_max && !neighbours.contains(&peer) {
            return Err(Denied::Crowded { address: address.clone(), limit: self.peers_per_subnet_max });
        }
        Ok(Some(subnet))
    }

    /// Remembers whom not to dial for a while: what is denied after a handshake has cost one.
    fn turned_away(&mut self, peer: PeerId) {
        let now = Instant::now();
        if self.crowded.len() >= CROWDED_MAX {
            self.crowded.retain(|_, until| *until > now);
        }
        if self.crowded.len() < CROWDED_MAX {
            self.crowded.insert(peer, now + CROWDED_FOR);
        }
    }

    fn admit(&mut self, id: ConnectionId, peer: PeerId, address: &Multiaddr) -> Result<Handler, ConnectionDenied> {
        let subnet = self.check(peer, address).map_err(|denied| {
            self.turned_away(peer);
            ConnectionDenied::new(denied)
        })?;
        self.connections.insert(id, (peer, subnet));
        Ok(Handler { keep: self.kept.entry(peer).or_default().clone() })
    }
}

/// Whether a connection that nothing uses stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Open,
    WhileUsed,
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.admit(id, peer, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer else { return Ok(Vec::new()) };
        if self.blocked.contains(&peer) {
            return Err(ConnectionDenied::new(Denied::Blocked { peer }));
        }
        if self.crowded.get(&peer).is_some_and(|until| *until > Instant::now()) {
            return Err(ConnectionDenied::new(Denied::Recently { peer }));
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.admit(id, peer, remote)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let id = match event {
            FromSwarm::ConnectionClosed(closed) => closed.connection_id,
            // Another behaviour denied a connection that was admitted here.
            FromSwarm::ListenFailure(failure) => failure.connection_id,
            FromSwarm::DialFailure(failure) => failure.connection_id,
            _ => return,
        };
        let Some((peer, _)) = self.connections.remove(&id) else { return };
        if self.connections.values().all(|(other, _)| *other != peer) {
            self.kept.remove(&peer);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        Poll::Pending
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade, ()> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.keep.load(Ordering::Relaxed)
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, _: ConnectionEvent<'_, DeniedUpgrade, DeniedUpgrade, (), ()>) {}
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    from_multiaddr(address).ok().map(|(address, _)| address.ip())
}
