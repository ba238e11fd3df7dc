//! Peers before they can be reached: services are made before the node that they belong to.

use std::sync::OnceLock;
use std::time::Duration;

use stoq::PeerId;
use stoq::identity::Pending;
use stoq::service::{OpenError, Peers, Stream};

/// Peers that are there as soon as the node runs.
#[derive(Default)]
pub(super) struct LatePeers(OnceLock<std::sync::Arc<dyn Peers>>);

impl LatePeers {
    /// Gives the peers of the node that runs now.
    pub(super) fn arrive(&self, peers: std::sync::Arc<dyn Peers>) {
        // A node starts once.
        let _ = self.0.set(peers);
    }
}

impl Peers for LatePeers {
    fn open<'a>(&'a self, peer: PeerId, service: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>> {
        match self.0.get() {
            Some(peers) => peers.open(peer, service, request),
            None => Box::pin(std::future::ready(Err(OpenError::NoAddress { peer }))),
        }
    }

    fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.0.get()?.round_trip(peer)
    }
}
