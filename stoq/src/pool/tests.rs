//! Pools on the loopback interface: what is used again, what is bounded, what is given up.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use quinn::VarInt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::limits::Limits;
use crate::service::{BUSY, Caller, FAILED, REFUSED, RegisterError, Service, ServiceError, UNKNOWN_SERVICE};
use crate::testing::{Authority, TestIdentity};
use crate::tls::Lane;

mod bounds;
mod dials;
mod requests;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("happens before the deadline")
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Where the nodes of a test are.
type Addresses = Arc<Mutex<HashMap<PeerId, Vec<SocketAddr>>>>;

/// A node that echoes, and waits, fails or refuses when it is told to.
struct Node {
    identity: Arc<TestIdentity>,
    pool: Pool,
    waits: Arc<Semaphore>,
}

/// The nodes of a test and where they are.
struct Cluster {
    authority: Authority,
    addresses: Addresses,
}

impl Cluster {
    fn new() -> Self {
        Self { authority: Authority::new(), addresses: Addresses::default() }
    }

    fn node(&self, name: &str) -> Node {
        self.node_with(name, |_| {})
    }

    fn node_with(&self, name: &str, change: impl FnOnce(&mut Limits)) -> Node {
        let identity = self.authority.node(name);
        self.start(identity, change)
    }

    fn start(&self, identity: Arc<TestIdentity>, change: impl FnOnce(&mut Limits)) -> Node {
        let mut limits = Limits::default();
        change(&mut limits);
        let (endpoint, incoming) = identity.bind_with(&self.authority.clock(), limits);
        self.set(identity.peer_id(), vec![endpoint.local_address()]);
        let waits = Arc::new(Semaphore::new(0));
        let services = Services::new();
        register(&services, Echo).expect("is new");
        register(&services, Waits(Arc::clone(&waits))).expect("is new");
        register(&services, Fails).expect("is new");
        let addresses = Arc::clone(&self.addresses);
        let book = move |peer| {
            addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned().unwrap_or_default()
        };
        Node { identity, pool: Pool::new(endpoint, incoming.data, services, book), waits }
    }

    fn set(&self, peer: PeerId, addresses: Vec<SocketAddr>) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, addresses);
    }
}

fn register(services: &Services, service: impl Service) -> Result<(), RegisterError> {
    services.register(Arc::new(service))
}

impl Node {
    fn id(&self) -> PeerId {
        self.identity.peer_id()
    }

    async fn open(&self, to: &Self, service: &str, request: &[u8]) -> Result<Stream, OpenError> {
        soon(self.pool.open(to.id(), service, request)).await
    }

    /// Asks for an echo of the request and of what is sent after it.
    async fn echo(&self, to: &Self, text: &str) -> String {
        let mut stream = self.open(to, "echo/1", text.as_bytes()).await.expect("opens");
        stream.send.write_all(b" after it").await.expect("is sent");
        stream.send.finish().expect("ends");
        String::from_utf8(soon(stream.receive.read_to_end(1 << 20)).await.expect("comes")).expect("is text")
    }

    /// Asks and gives the code with which the stream was reset.
    async fn reset_by(&self, to: &Self, service: &str, request: &[u8]) -> Option<u32> {
        let mut stream = self.open(to, service, request).await.expect("opens");
        let error = soon(stream.receive.read_to_end(1 << 20)).await.err()?;
        let quinn::ReadToEndError::Read(quinn::ReadError::Reset(code)) = error else { panic!("{error:?}") };
        u32::try_from(code.into_inner()).ok()
    }

    fn connections(&self) -> usize {
        self.pool.endpoint().metrics().connections
    }

    fn errors(&self, of: &Self, name: &str) -> u64 {
        let metrics = self.pool.endpoint().metrics();
        let peer = metrics.peers.iter().find(|peer| peer.peer == of.id());
        peer.and_then(|peer| peer.errors.get(name).copied()).unwrap_or(0)
    }

    fn serves(&self) -> usize {
        self.pool.endpoint().metrics().peers.iter().map(|peer| peer.streams_served).sum()
    }
}

/// Sends back the name of the caller, the request, and all that comes after it.
struct Echo;

impl Service for Echo {
    fn name(&self) -> &'static str {
        "echo/1"
    }

    fn serve(&self, caller: Caller, request: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let ended = |source: Box<dyn std::error::Error + Send + Sync>| ServiceError::Ended {
                peer: caller.peer,
                service: "echo/1",
                source,
            };
            let rest = stream.receive.read_to_end(1 << 20).await.map_err(|error| ended(error.into()))?;
            let answer = [caller.name.as_bytes(), b" ", &request, &rest].concat();
            stream.send.write_all(&answer).await.map_err(|error| ended(error.into()))
        })
    }
}

/// Says that it began and waits until the test lets it go on.
struct Waits(Arc<Semaphore>);

impl Service for Waits {
    fn name(&self) -> &'static str {
        "waits/1"
    }

    fn serve(&self, _: Caller, _: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let waits = Arc::clone(&self.0);
        Box::pin(async move {
            // The caller may be gone.
            let _ = stream.send.write_all(b"begun").await;
            let permit = waits.acquire().await.expect("is never closed");
            permit.forget();
            let _ = stream.send.write_all(b" done").await;
            Ok(())
        })
    }
}

/// Refuses a request, or cannot serve it.
struct Fails;

impl Service for Fails {
    fn name(&self) -> &'static str {
        "fails/1"
    }

    fn serve(&self, caller: Caller, request: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let (peer, service) = (caller.peer, "fails/1");
            if request.is_empty() {
                stream.reset(REFUSED);
                return Err(ServiceError::Refused { peer, service, reason: "an empty request".to_owned() });
            }
            stream.reset(FAILED);
            Err(ServiceError::Environment { service, source: "no disk".into() })
        })
    }
}
