//! Real nodes on the loopback interface that know where the others are.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::PeerId;
use crate::pool::Pool;
use crate::service::{Service, Services};
use crate::testing::Authority;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("happens before the deadline")
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Nodes under one authority.
#[derive(Default)]
pub(crate) struct Lan {
    authority: Authority,
    addresses: Arc<Mutex<HashMap<PeerId, SocketAddr>>>,
}

impl Lan {
    pub(crate) fn node(&self, name: &str) -> (PeerId, Arc<Pool>) {
        let identity = self.authority.node(name);
        let (endpoint, incoming) = identity.bind(&self.authority.clock());
        let peer = identity.peer_id();
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, endpoint.local_address());
        let addresses = Arc::clone(&self.addresses);
        let book = move |peer| {
            addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).copied().into_iter().collect()
        };
        (peer, Arc::new(Pool::new(endpoint, incoming.data, Services::new(), book)))
    }
}

pub(crate) fn serve(pool: &Pool, service: impl Service) {
    pool.services().register(Arc::new(service)).expect("is new");
}
