//! Whoever does not keep to the rules: nothing of it reaches a service, and nothing of a service reaches it.

use rustls::crypto::aws_lc_rs::kx_group::X25519;
use tokio::net::UdpSocket;

use super::raw::Raw;
use super::*;
use crate::identity::{Credentials, Pending, SignError};
use crate::tls::SERVER_NAME;

/// Refuses a client and gives it no byte of any stream.
async fn check(node: &mut Node, client: Raw, name: &str) {
    let (_endpoint, made) = client.connect(node.endpoint.local_address()).await;
    if let Ok(quic) = made {
        // TLS 1.3 tells a client that all is well before its certificate was looked at.
        let opened = async {
            let (mut send, mut receive) = quic.open_bi().await.ok()?;
            send.write_all(&hello()).await.ok()?;
            receive.read_to_end(1 << 20).await.ok()
        };
        assert_eq!(soon(opened).await, None, "{name}: not one byte");
        soon(quic.closed()).await;
    }
    until(|| node.refusals(name) == 1).await;
    assert!(node.incoming.data.try_recv().is_err() && node.incoming.control.try_recv().is_err());
}

fn hello() -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Hello {
        version: u16,
    }
    let content = rmp_serde::to_vec_named(&Hello { version: 1 }).expect("is written");
    framed(&content)
}

fn framed(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short");
    [&length.to_le_bytes(), content].concat()
}

fn quick() -> Limits {
    Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() }
}

#[tokio::test]
async fn a_client_that_keeps_the_rules_is_let_in() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let (_endpoint, made) = Raw::of(authority.node("client")).connect(node.endpoint.local_address()).await;
    let quic = made.expect("connects");
    let (mut send, mut receive) = quic.open_bi().await.expect("opens");
    send.write_all(&hello()).await.expect("is sent");
    assert!(!soon(receive.read_to_end(1 << 20)).await.expect("is read").is_empty());
    assert_eq!(node.taken().await.name(), "client.node.trustchain");
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_nothing() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let client = Raw { identity: None, ..Raw::of(authority.node("client")) };
    check(&mut node, client, "no-certificate").await;
}

#[tokio::test]
async fn a_client_of_another_root_gets_nothing() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let stranger = Authority::named("Stranger", authority.clock());
    check(&mut node, Raw::of(stranger.node("client")), "unknown-issuer").await;
}

#[tokio::test]
async fn a_client_with_x25519_alone_gets_nothing() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let client = Raw { group: X25519, ..Raw::of(authority.node("client")) };
    check(&mut node, client, "no-common-key-exchange").await;
}

#[tokio::test]
async fn a_client_with_another_protocol_gets_nothing() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let client = Raw { protocol: b"h3", ..Raw::of(authority.node("client")) };
    check(&mut node, client, "unknown-protocol").await;
}

/// With tickets a client was accepted whose certificate had been revoked between two connections.
#[tokio::test]
async fn nothing_is_resumed_and_a_revoked_client_gets_nothing() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let client = authority.node("client");
    let (endpoint, config, to) =
        (Raw::endpoint(), Raw::of(Arc::clone(&client)).config(), node.endpoint.local_address());
    let dial = || endpoint.connect_with(config.clone(), to, SERVER_NAME).expect("can be dialed");
    let quic = soon(dial()).await.expect("connects");
    let (mut send, mut receive) = quic.open_bi().await.expect("opens");
    send.write_all(&hello()).await.expect("is sent");
    soon(receive.read_to_end(1 << 20)).await.expect("is read");
    // Tickets come after the handshake; an exchange on a stream says that they would have come.
    let taken = node.taken().await;
    let (mut send, _receive) = taken.quic().open_bi().await.expect("opens");
    send.write_all(b"x").await.expect("is sent");
    soon(quic.accept_bi()).await.expect("comes");
    assert!(dial().into_0rtt().is_err(), "there is nothing to resume");
    authority.revoke(&client);
    if let Ok(quic) = soon(dial()).await {
        soon(quic.closed()).await;
    }
    until(|| node.refusals("revoked") == 1).await;
    assert!(node.incoming.data.try_recv().is_err());
}

#[tokio::test]
async fn a_hello_that_never_comes_or_never_ends_is_given_up() {
    let authority = Authority::new();
    let node = Node::with(&authority, authority.node("node"), quick());
    for (round, part) in [&[][..], &hello()[..7]].into_iter().enumerate() {
        let (_endpoint, made) = Raw::of(authority.node("slow")).connect(node.endpoint.local_address()).await;
        let quic = made.expect("connects");
        let (mut send, _receive) = quic.open_bi().await.expect("opens");
        send.write_all(part).await.expect("is sent");
        soon(quic.closed()).await;
        until(|| node.refusals("slow") == round as u64 + 1).await;
    }
    assert_eq!(node.endpoint.metrics().accepted, 0);
}

#[tokio::test]
async fn a_hello_that_is_none_is_refused() {
    let authority = Authority::new();
    let mut node = Node::new(&authority, authority.node("node"));
    let oversized = [&3000_u32.to_le_bytes()[..], &[0; 3000]].concat();
    let largest = [&u32::MAX.to_le_bytes()[..], &[0; 64]].concat();
    let version = framed(&rmp_serde::to_vec(&(7_u16,)).expect("is written"));
    for (round, wrong) in [oversized, largest, version, framed(b"")].into_iter().enumerate() {
        let (_endpoint, made) = Raw::of(authority.node("wrong")).connect(node.endpoint.local_address()).await;
        let quic = made.expect("connects");
        let (mut send, _receive) = quic.open_bi().await.expect("opens");
        // The node may close before all of it was sent.
        let _ = send.write_all(&wrong).await;
        let quinn::ConnectionError::ApplicationClosed(close) = soon(quic.closed()).await else {
            panic!("is closed by the node")
        };
        assert_eq!(close.error_code, HELLO);
        until(|| node.refusals("hello") == round as u64 + 1).await;
    }
    assert!(node.incoming.data.try_recv().is_err());
}

/// A node whose second key does not answer.
struct Hangs(Arc<TestIdentity>);

impl Identity for Hangs {
    fn current(&self) -> Arc<Credentials> {
        self.0.current()
    }

    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError> {
        self.0.sign_handshake(content)
    }

    fn sign_binding<'a>(&'a self, _: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn what_comes_before_the_hello_is_answered_is_bounded() {
    let authority = Authority::new();
    let options = EndpointOptions {
        identity: Arc::new(Hangs(authority.hybrid_node("hangs"))),
        listen: "127.0.0.1:0".parse().expect("an address"),
        limits: Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() },
        clock: authority.clock(),
    };
    let (endpoint, _incoming) = Endpoint::bind(options).expect("a port is free");
    let (_client, made) = Raw::of(authority.node("client")).connect(endpoint.local_address()).await;
    let quic = made.expect("connects");
    let (mut send, _receive) = quic.open_bi().await.expect("opens");
    let mut sent = 0;
    let flood = async {
        send.write_all(&hello()).await.expect("is sent");
        while let Ok(count) = send.write(&[0; 1024]).await {
            sent += count;
        }
    };
    soon(flood).await;
    let limit = settings::HELLO_WINDOW_BYTES as usize;
    assert!((1..=limit).contains(&sent), "{sent}");
    soon(quic.closed()).await;
    until(|| endpoint.metrics().refusals.get("slow") == Some(&1)).await;
}

#[tokio::test]
async fn a_flood_of_strangers_leaves_room_for_peers() {
    let authority = Authority::new();
    let limits = Limits { handshakes_max: 4, retry_above: 1, ..Limits::default() };
    let mut node = Node::with(&authority, authority.node("node"), limits);
    let strangers = Authority::named("Stranger", authority.clock());
    let stranger = Raw::of(strangers.node("stranger"));
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let (stranger, to) = (stranger.clone(), node.endpoint.local_address());
            tokio::spawn(async move { soon(stranger.connect(to)).await.1.map(|quic| quic.close_reason()) })
        })
        .collect();
    let peer = Node::new(&authority, authority.node("peer"));
    soon(async { while peer.dial(&node).await.is_err() {} }).await;
    assert_eq!(node.taken().await.name(), "peer.node.trustchain");
    for stranger in flood {
        // Refused for want of room, or let through by TLS until its certificate is looked at.
        let _ = soon(stranger).await.expect("runs");
    }
    until(|| node.refusals("unknown-issuer") + node.refusals("busy") == 100).await;
    assert!(node.refusals("busy") > 0 && node.endpoint.metrics().retries > 0);
    assert!(node.incoming.data.try_recv().is_err());
}

/// quinn 0.11.12 keeps a connection whose first datagram closes it until it counts as silent, 10 s by default.
#[tokio::test]
async fn strangers_that_close_with_their_first_datagram_leave_little_behind() {
    let authority = Authority::new();
    for (retry_above, kept_max) in [(1, 1), (100, 6)] {
        let limits = Limits { handshakes_max: 4, connections_max: 1, retry_above, ..Limits::default() };
        let node = Node::with(&authority, authority.node("node"), limits);
        let raw = Raw::of(authority.node("stranger"));
        for round in 1..=30 {
            let endpoint = Raw::endpoint();
            let to = node.endpoint.local_address();
            let connecting = endpoint.connect_with(raw.config(), to, SERVER_NAME).expect("can be dialed");
            endpoint.close(CLOSED, b"");
            assert!(soon(connecting).await.is_err());
            let seen = || {
                let metrics = node.endpoint.metrics();
                metrics.retries + metrics.refusals.values().sum::<u64>() + metrics.lost.values().sum::<u64>()
            };
            until(|| seen() >= round).await;
        }
        let kept = node.endpoint.shared.quic().expect("is open").open_connections();
        assert!(kept <= kept_max, "{kept} with retries above {retry_above}");
    }
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let made = a.dial(&b).await.expect("connects");
    let taken = b.taken().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let mut state = 7_u64;
    for round in 0..2000_usize {
        // Everything from an empty datagram to one that begins as a long header of version 1 does.
        let mut bytes = vec![0; (round * 7) % 1400];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = state.to_le_bytes()[5];
        }
        if round % 2 == 0 && bytes.len() > 6 {
            bytes[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        socket.send_to(&bytes, b.endpoint.local_address()).await.expect("is sent");
    }
    let (mut send, _receive) = made.quic().open_bi().await.expect("opens");
    send.write_all(b"still here").await.expect("is sent");
    let (_send, mut receive) = soon(taken.quic().accept_bi()).await.expect("comes");
    let mut bytes = [0; 10];
    receive.read_exact(&mut bytes).await.expect("comes");
    assert_eq!(&bytes, b"still here");
    assert!(a.dial(&b).await.is_ok());
}
