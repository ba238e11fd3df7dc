//! Asking peers from any thread: what touches the port runs on the data plane.

use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::task::JoinSet;

use crate::PeerId;
use crate::identity::Pending;
use crate::pool::Pool;
use crate::service::{OpenError, Peers, Stream};
use crate::swarm::Handle;

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

    /// Looks a peer up that nobody has told this node of.
    async fn find(&self, peer: PeerId) {
        let book = self.swarm.address_book();
        if !book.addresses(peer).is_empty() {
            return;
        }
        let Ok(found) = self.swarm.closest(&peer.to_bytes()).await else { return };
        if let Some(found) = found.value.into_iter().find(|found| found.peer == peer) {
            book.replace(peer, found.addresses);
        }
    }
}

impl Peers for OnDataPlane {
    fn open<'a>(&'a self, peer: PeerId, service: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>> {
        let (this, service, request) = (self.clone(), service.to_owned(), request.to_vec());
        Box::pin(async move {
            // A set, so that it ends with whoever waits for it.
            let mut tasks = JoinSet::new();
            let task = async move {
                this.find(peer).await;
                this.pool.open(peer, &service, &request).await
            };
            tasks.spawn_on(task, &self.runtime);
            let gone = || OpenError::Unreachable { peer, reason: "this node is shut down".to_owned() };
            tasks.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(gone()))
        })
    }

    fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.pool.round_trip(peer)
    }
}
