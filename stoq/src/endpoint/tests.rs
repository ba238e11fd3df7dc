//! Nodes on the loopback interface: who gets a connection, who does not, and what is left of both.

use std::future::Future;

use super::*;
use crate::testing::{Authority, TestIdentity};
use crate::tls::Refusal;

mod binding;
mod closing;
mod hostile;
mod limits;
mod paths;
mod raw;
mod refusals;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for what must happen before the deadline.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("happens before the deadline")
}

/// Waits until a condition holds that nothing announces.
async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A node with its port.
struct Node {
    identity: Arc<TestIdentity>,
    endpoint: Endpoint,
    incoming: Incoming,
}

impl Node {
    fn new(authority: &Authority, identity: Arc<TestIdentity>) -> Self {
        Self::with(authority, identity, Limits::default())
    }

    fn with(authority: &Authority, identity: Arc<TestIdentity>, limits: Limits) -> Self {
        let (endpoint, incoming) = identity.bind_with(&authority.clock(), limits);
        Self { identity, endpoint, incoming }
    }

    async fn dial(&self, to: &Self) -> Result<Connection, ConnectError> {
        let peer = Some(to.identity.peer_id());
        soon(self.endpoint.connect(to.endpoint.local_address(), peer, Lane::Data)).await
    }

    async fn taken(&mut self) -> Connection {
        soon(self.incoming.data.recv()).await.expect("the port is open")
    }

    fn refusals(&self, name: &str) -> u64 {
        self.endpoint.metrics().refusals.get(name).copied().unwrap_or(0)
    }
}

#[tokio::test]
async fn two_nodes_of_one_authority_connect_on_both_lanes() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    for lane in Lane::ALL {
        let (to, peer) = (b.endpoint.local_address(), b.identity.peer_id());
        let made = soon(a.endpoint.connect(to, Some(peer), lane)).await.expect("connects");
        let taken = match lane {
            Lane::Control => soon(b.incoming.control.recv()).await,
            Lane::Data => soon(b.incoming.data.recv()).await,
        };
        let taken = taken.expect("the port is open");
        assert_eq!((made.peer(), made.name(), made.lane()), (peer, "b.node.trustchain", lane));
        let dialer = a.identity.peer_id();
        assert_eq!((taken.peer(), taken.name(), taken.lane()), (dialer, "a.node.trustchain", lane));
        assert!(!made.is_hybrid() && !taken.is_hybrid());
    }
    assert_eq!((a.endpoint.metrics().dialed, b.endpoint.metrics().accepted), (2, 2));
}

#[tokio::test]
async fn a_port_for_ipv6_takes_ipv4_too() {
    let authority = Authority::new();
    let identity = authority.node("both");
    let options = EndpointOptions {
        identity: Arc::clone(&identity) as _,
        listen: "[::]:0".parse().expect("an address"),
        limits: Limits::default(),
        clock: authority.clock(),
    };
    let (endpoint, _incoming) = Endpoint::bind(options).expect("IPv6 is there");
    let port = endpoint.local_address().port();
    for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let dialer = authority.node("dialer");
        let options = EndpointOptions {
            identity: Arc::clone(&dialer) as _,
            listen: from.parse().expect("an address"),
            limits: Limits::default(),
            clock: authority.clock(),
        };
        let (dialer, _incoming) = Endpoint::bind(options).expect("the loopback interface is there");
        let to = SocketAddr::new(to.parse().expect("an address"), port);
        let made = soon(dialer.connect(to, Some(identity.peer_id()), Lane::Control)).await.expect("connects");
        assert_eq!(made.remote_address(), to);
        let back = soon(endpoint.connect(dialer.local_address(), Some(dialer.peer_id()), Lane::Data)).await;
        assert_eq!(back.expect("connects").remote_address(), dialer.local_address(), "IPv4 is shown as such");
    }
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_used_for_the_next_handshake() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    authority.renew(&a.identity, "renewed");
    a.dial(&b).await.expect("connects");
    assert_eq!(b.taken().await.name(), "renewed.node.trustchain");
}
