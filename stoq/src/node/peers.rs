//! Asking peers from any thread: what touches the port runs on the data plane.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::task::JoinSet;

use crate::PeerId;
use crate::identity::Pending;
use crate::pool::Pool;
use crate::service::{OpenError, Peers, Stream};
use crate::swarm::{AddressBook, Handle};

/// The pool of a node, and how to find who is not known.
#[derive(Clone, Debug)]
pub(super) struct OnDataPlane {
    pool: Pool,
    runtime: Runtime,
    swarm: Handle,
}

impl OnDataPlane {
    pub(super) fn new(pool: Pool, runtime: Runtime, swarm: Handle) -> Self {
        Self { pool, runtime, swarm }
    }

    /// Asks a peer where it is known to be; one that is not known, or is not there, is looked up.
    async fn ask(&self, peer: PeerId, service: &str, request: &[u8]) -> Result<Stream, OpenError> {
        let known = self.swarm.address_book().addresses(peer);
        if known.is_empty() {
            self.find(peer).await;
            return self.pool.open(peer, service, request).await;
        }
        match self.pool.open(peer, service, request).await {
            Err(OpenError::Unreachable { .. })
                if !self.pool.is_connected(peer) && self.has_moved(peer, known).await =>
            {
                self.pool.open(peer, service, request).await
            }
            opened => opened,
        }
    }

    /// Looks a peer up that nobody has told this node of.
    async fn find(&self, peer: PeerId) {
        let book = self.swarm.address_book();
        let Ok(found) = self.swarm.closest(&peer.to_bytes()).await else { return };
        if let Some(found) = found.value.into_iter().find(|found| found.peer == peer) {
            book.replace(peer, found.addresses);
        }
    }

    /// Looks a peer up that is not where it was; says whether others know it to be elsewhere.
    async fn has_moved(&self, peer: PeerId, known: Vec<SocketAddr>) -> bool {
        let book = self.swarm.address_book();
        let known = Known { book: &book, peer, addresses: known };
        // Somebody else may have found it meanwhile. Else it is forgotten, since a lookup gives what is known of it.
        if book.addresses(peer) == known.addresses {
            book.replace(peer, Vec::new());
            self.find(peer).await;
        }
        book.addresses(peer).iter().any(|address| !known.addresses.contains(address))
    }
}

/// Where a peer was; it counts again if nobody knows better, also when whoever asked goes away meanwhile.
struct Known<'a> {
    book: &'a AddressBook,
    peer: PeerId,
    addresses: Vec<SocketAddr>,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        if self.book.addresses(self.peer).is_empty() {
            self.book.replace(self.peer, std::mem::take(&mut self.addresses));
        }
    }
}

impl Peers for OnDataPlane {
    fn open<'a>(&'a self, peer: PeerId, service: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>> {
        let (this, service, request) = (self.clone(), service.to_owned(), request.to_vec());
        Box::pin(async move {
            // A set, so that it ends with whoever waits for it.
            let mut tasks = JoinSet::new();
            let task = async move { this.ask(peer, &service, &request).await };
            tasks.spawn_on(task, &self.runtime);
            let gone = || OpenError::Unreachable { peer, reason: "this node is shut down".to_owned() };
            tasks.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(gone()))
        })
    }

    fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.pool.round_trip(peer)
    }
}
