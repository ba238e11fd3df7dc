//! Each limit of a port in effect.

use super::raw::Raw;
use super::*;

fn with(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[tokio::test]
async fn a_limit_that_cannot_be_kept_opens_no_port() {
    let authority = Authority::new();
    let options = EndpointOptions {
        identity: authority.node("a"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        limits: with(|limits| limits.mtu_max = 9000),
        clock: authority.clock(),
    };
    let error = Endpoint::bind(options).expect_err("is refused");
    assert!(matches!(error, BindError::Limit(ref limit) if limit.field == "mtu_max"), "{error}");
}

#[tokio::test]
async fn connections_are_bounded_on_both_sides() {
    let authority = Authority::new();
    let mut full = Node::with(&authority, authority.node("full"), with(|limits| limits.connections_max = 2));
    let dialers: Vec<_> = (0..3).map(|index| Node::new(&authority, authority.node(&format!("n{index}")))).collect();
    let mut made = Vec::new();
    for dialer in &dialers[..2] {
        made.push((dialer.dial(&full).await.expect("connects"), full.taken().await));
    }
    // Whoever dials is let in by TLS and closed at once; either it sees that in its dial or right after it.
    match dialers[2].dial(&full).await {
        Ok(connection) => drop(soon(connection.quic().closed()).await),
        Err(error) => assert!(matches!(error, ConnectError::BusyPeer { .. }), "{error:?}"),
    }
    until(|| full.refusals("busy") == 1).await;
    assert!(full.incoming.data.try_recv().is_err());
    let error = full.dial(&dialers[2]).await.expect_err("there is no room");
    assert!(matches!(error, ConnectError::Busy { limit: 2 }), "{error:?}");
    // Each lane has room of its own.
    let peer = Some(dialers[2].identity.peer_id());
    let address = dialers[2].endpoint.local_address();
    full.endpoint.connect(address, peer, Lane::Control).await.expect("connects");
    made.pop();
    until(|| full.endpoint.metrics().connections == 1).await;
    full.dial(&dialers[2]).await.expect("there is room again");
}

#[tokio::test]
async fn connections_of_one_peer_are_bounded() {
    let authority = Authority::new();
    let mut node = Node::with(&authority, authority.node("node"), with(|limits| limits.connections_per_peer_max = 2));
    let dialer = Node::new(&authority, authority.node("dialer"));
    let mut made = Vec::new();
    for _ in 0..2 {
        made.push((dialer.dial(&node).await.expect("connects"), node.taken().await));
    }
    let third = dialer.dial(&node).await;
    until(|| node.refusals("busy") == 1).await;
    if let Ok(connection) = third {
        soon(connection.quic().closed()).await;
    }
    let error = node.dial(&dialer).await.expect_err("there is no room");
    assert!(matches!(error, ConnectError::Busy { limit: 2 }), "{error:?}");
}

#[tokio::test]
async fn connections_that_nobody_takes_are_bounded() {
    let authority = Authority::new();
    let node = Node::with(&authority, authority.node("node"), with(|limits| limits.backlog_max = 1));
    let dialer = Node::new(&authority, authority.node("dialer"));
    let first = dialer.dial(&node).await.expect("connects");
    until(|| node.endpoint.metrics().accepted == 1).await;
    if let Ok(second) = dialer.dial(&node).await {
        soon(second.quic().closed()).await;
    }
    until(|| node.refusals("busy") == 1).await;
    assert!(!first.is_closed());
}

#[tokio::test]
async fn a_dial_ends_with_its_time() {
    let authority = Authority::new();
    let limits = with(|limits| limits.connect_timeout = Duration::from_millis(50));
    let dialer = Node::with(&authority, authority.node("dialer"), limits);
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = deaf.local_addr().expect("has an address");
    let error = soon(dialer.endpoint.connect(address, None, Lane::Data)).await.expect_err("nobody answers");
    assert!(matches!(error, ConnectError::TimedOut { limit_ms: 50, .. }), "{error:?}");
    until(|| dialer.endpoint.metrics().connections == 0).await;
    assert_eq!(dialer.endpoint.metrics().failures.get("timed-out"), Some(&1));
}

#[tokio::test]
async fn handshakes_in_flight_are_bounded_and_strangers_must_show_their_address() {
    let authority = Authority::new();
    let limits = with(|limits| (limits.handshakes_max, limits.retry_above) = (3, 1));
    let mut node = Node::with(&authority, authority.node("node"), limits);
    let raw = Raw::of(authority.node("silent"));
    let mut silent = Vec::new();
    for _ in 0..3 {
        let (endpoint, made) = raw.connect(node.endpoint.local_address()).await;
        silent.push((endpoint, made.expect("says no hello and is waited for")));
    }
    assert_eq!(node.endpoint.metrics().retries, 2, "the first came when there was none in flight");
    let (_endpoint, fourth) = raw.connect(node.endpoint.local_address()).await;
    let error = fourth.expect_err("there is no room");
    assert!(error.contains("refused"), "{error}");
    assert_eq!(node.refusals("busy"), 1);
    drop(silent);
    until(|| node.endpoint.metrics().lost.get("lost") == Some(&3)).await;
    let dialer = Node::new(&authority, authority.node("dialer"));
    dialer.dial(&node).await.expect("there is room again");
    node.taken().await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up() {
    let authority = Authority::new();
    let limits = with(|limits| {
        limits.silence_timeout = Duration::from_millis(200);
        limits.keep_alive_interval = Duration::from_millis(50);
    });
    let mut node = Node::with(&authority, authority.node("node"), limits.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
    let dialer = {
        let _context = runtime.enter();
        Node::with(&authority, authority.node("dialer"), limits)
    };
    let to = (node.endpoint.local_address(), Some(node.identity.peer_id()));
    let endpoint = dialer.endpoint.clone();
    let made = runtime.spawn(async move { endpoint.connect(to.0, to.1, Lane::Data).await });
    let made = soon(made).await.expect("runs").expect("connects");
    let taken = node.taken().await;
    // Longer than a peer may be silent, and kept by what is sent to ask whether it lives.
    let kept = tokio::time::timeout(Duration::from_millis(600), taken.quic().closed()).await;
    assert!(kept.is_err(), "{kept:?}");
    // The peer stops without a word.
    runtime.shutdown_background();
    let ended = soon(taken.quic().closed()).await;
    assert_eq!(ended, quinn::ConnectionError::TimedOut);
    drop((made, dialer));
}

#[tokio::test]
async fn streams_of_a_connection_are_bounded() {
    let authority = Authority::new();
    let limits = with(|limits| limits.streams_per_connection_max = 3);
    let mut node = Node::with(&authority, authority.node("node"), limits);
    let dialer = Node::new(&authority, authority.node("dialer"));
    let made = dialer.dial(&node).await.expect("connects");
    let taken = node.taken().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(soon(made.quic().open_bi()).await.expect("opens"));
    }
    let fourth = made.quic().open_bi();
    tokio::pin!(fourth);
    assert!(futures_util::poll!(&mut fourth).is_pending(), "there is no room");
    assert!(futures_util::poll!(std::pin::pin!(made.quic().open_uni())).is_pending(), "one way there is none at all");
    // One ends on both sides and makes room.
    let (mut send, receive) = open.remove(0);
    send.write_all(b"x").await.expect("is sent");
    send.finish().expect("ends");
    let (mut answer, mut asked) = soon(taken.quic().accept_bi()).await.expect("comes");
    asked.read_to_end(1).await.expect("is read");
    answer.finish().expect("ends");
    drop(receive);
    soon(fourth).await.expect("opens");
}

/// Writes to a peer that does not read until nothing more goes out, and says how much went.
async fn fill(send: &mut quinn::SendStream) -> usize {
    let mut sum = 0;
    while let Ok(count) = tokio::time::timeout(Duration::from_millis(300), send.write(&[0; 4096])).await {
        sum += count.expect("is open");
    }
    sum
}

#[tokio::test]
async fn windows_bound_what_is_not_read() {
    let authority = Authority::new();
    let limits = with(|limits| {
        limits.stream_window_bytes = 64 << 10;
        limits.receive_window_bytes = 96 << 10;
    });
    let mut node = Node::with(&authority, authority.node("node"), limits);
    let dialer = Node::new(&authority, authority.node("dialer"));
    let made = dialer.dial(&node).await.expect("connects");
    let _taken = node.taken().await;
    let (mut first, _receive) = made.quic().open_bi().await.expect("opens");
    assert_eq!(soon(fill(&mut first)).await, 64 << 10, "a stream has its own window");
    let (mut second, _receive) = made.quic().open_bi().await.expect("opens");
    let rest = soon(fill(&mut second)).await;
    assert!((1..=32 << 10).contains(&rest), "the connection has one for all: {rest}");
}

#[tokio::test]
async fn what_is_not_acknowledged_is_bounded() {
    let authority = Authority::new();
    let dialer = Node::with(&authority, authority.node("dialer"), with(|limits| limits.send_window_bytes = 64 << 10));
    let mut node = Node::new(&authority, authority.node("node"));
    let made = dialer.dial(&node).await.expect("connects");
    let _taken = node.taken().await;
    let (mut send, _receive) = made.quic().open_bi().await.expect("opens");
    let taken_at_once = send.write(&vec![0; 1 << 20]).await.expect("is open");
    assert_eq!(taken_at_once, 64 << 10);
}

#[tokio::test]
async fn the_largest_datagram_is_bounded() {
    let authority = Authority::new();
    let limits = with(|limits| limits.mtu_max = 1300);
    let (a, mut b) = (Node::with(&authority, authority.node("a"), limits), Node::new(&authority, authority.node("b")));
    let (made, taken) = (a.dial(&b).await.expect("connects"), b.taken().await);
    let read = tokio::spawn(async move {
        let (_send, mut receive) = taken.quic().accept_bi().await.expect("comes");
        let length = receive.read_to_end(4 << 20).await.expect("comes").len();
        (length, taken)
    });
    let (mut send, _receive) = made.quic().open_bi().await.expect("opens");
    send.write_all(&vec![0; 4 << 20]).await.expect("is sent");
    send.finish().expect("ends");
    assert_eq!(soon(read).await.expect("runs").0, 4 << 20);
    let mtu = made.quic().stats().path.current_mtu;
    assert!((1200..=1300).contains(&mtu), "{mtu}");
}
