//! What ends, and what is left of it.

use std::sync::OnceLock;

use super::*;
use crate::identity::{Credentials, Pending, SignError};

#[tokio::test]
async fn closing_waits_until_no_task_and_no_socket_is_left() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let address = a.endpoint.local_address();
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(alive > 0, "ports have tasks");
    let made = a.dial(&b).await.expect("connects");
    let taken = b.taken().await;
    a.endpoint.close().await;
    soon(taken.quic().closed()).await;
    b.endpoint.close().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert!(a.incoming.data.is_closed());
    drop((made, a, b));
    std::net::UdpSocket::bind(address).expect("the address is free again");
    assert!(taken.is_closed());
}

#[tokio::test]
async fn a_port_that_nobody_has_closes() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let made = a.dial(&b).await.expect("connects");
    let taken = b.taken().await;
    let address = a.endpoint.local_address();
    drop((made, a));
    soon(taken.quic().closed()).await;
    until(|| std::net::UdpSocket::bind(address).is_ok()).await;
}

#[tokio::test]
async fn a_connection_that_nobody_has_closes() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let made = a.dial(&b).await.expect("connects");
    let second = made.clone();
    let taken = b.taken().await;
    drop(made);
    assert!(!second.is_closed());
    drop(second);
    soon(taken.quic().closed()).await;
    until(|| a.endpoint.metrics().connections == 0 && b.endpoint.metrics().connections == 0).await;
    let bytes = a.endpoint.metrics().peers[0].bytes_sent;
    assert!(bytes > 1200, "what was sent stays counted: {bytes}");
}

#[tokio::test]
async fn a_closed_port_dials_nobody() {
    let authority = Authority::new();
    let (a, b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    a.endpoint.close().await;
    assert!(matches!(a.dial(&b).await, Err(ConnectError::Closed)));
}

#[tokio::test]
async fn a_peer_that_is_revoked_loses_its_live_connections() {
    let authority = Authority::new();
    let mut right = Node::new(&authority, authority.node("right"));
    let (revoked, other) =
        (Node::new(&authority, authority.node("revoked")), Node::new(&authority, authority.node("other")));
    let lost = revoked.dial(&right).await.expect("connects");
    let kept = other.dial(&right).await.expect("connects");
    let _taken = (right.taken().await, right.taken().await);
    assert_eq!(right.endpoint.revalidate(), 0);
    authority.revoke(&revoked.identity);
    assert_eq!(right.endpoint.revalidate(), 1);
    let quinn::ConnectionError::ApplicationClosed(close) = soon(lost.quic().closed()).await else {
        panic!("is closed by the peer")
    };
    assert_eq!((close.error_code, &close.reason[..]), (WITHDRAWN, &b"revoked"[..]));
    assert!(!kept.is_closed());
    assert_eq!(right.refusals("revoked"), 1);
    // An expired certificate is seen the same way.
    authority.clock().advance(time::Duration::DAY);
    assert_eq!(right.endpoint.revalidate(), 1);
    soon(kept.quic().closed()).await;
    assert_eq!(right.refusals("expired"), 1);
}

/// A node that hears of a revocation between the certificate of a peer and the end of the handshake.
struct Meanwhile {
    of: Arc<TestIdentity>,
    authority: Authority,
    revoked: Arc<TestIdentity>,
    endpoint: OnceLock<Endpoint>,
}

impl Identity for Meanwhile {
    fn current(&self) -> Arc<Credentials> {
        self.of.current()
    }

    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError> {
        self.of.sign_handshake(content)
    }

    fn sign_binding<'a>(&'a self, binding: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>> {
        self.authority.revoke(&self.revoked);
        let endpoint = self.endpoint.get().expect("is set before anybody dials");
        assert_eq!(endpoint.revalidate(), 0, "the connection is not among the live ones yet");
        self.of.sign_binding(binding)
    }
}

#[tokio::test]
async fn a_peer_that_is_revoked_while_it_shakes_hands_is_not_let_in() {
    let authority = Authority::new();
    let dialer = Node::new(&authority, authority.node("dialer"));
    let (of, clock) = (authority.hybrid_node("meanwhile"), authority.clock());
    let revoked = Arc::clone(&dialer.identity);
    let meanwhile = Arc::new(Meanwhile { of, authority, revoked, endpoint: OnceLock::new() });
    let options = EndpointOptions {
        identity: Arc::clone(&meanwhile) as _,
        listen: "127.0.0.1:0".parse().expect("an address"),
        limits: Limits::default(),
        clock,
    };
    let (endpoint, mut incoming) = Endpoint::bind(options).expect("a port is free");
    assert!(meanwhile.endpoint.set(endpoint.clone()).is_ok());
    let made = soon(dialer.endpoint.connect(endpoint.local_address(), None, Lane::Data)).await;
    if let Ok(connection) = made {
        soon(connection.quic().closed()).await;
    }
    until(|| endpoint.metrics().refusals.get("revoked") == Some(&1)).await;
    assert!(incoming.data.try_recv().is_err());
    assert_eq!((endpoint.metrics().accepted, endpoint.metrics().connections), (0, 0));
}
