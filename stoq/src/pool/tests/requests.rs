//! What is asked and answered.

use super::*;
use crate::identity::Identity as _;

#[tokio::test]
async fn requests_go_both_ways_over_one_connection() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    for round in 0..20 {
        assert_eq!(a.echo(&b, &round.to_string()).await, format!("a.node.trustchain {round} after it"));
        assert_eq!(b.echo(&a, &round.to_string()).await, format!("b.node.trustchain {round} after it"));
    }
    assert_eq!((a.connections(), b.connections()), (1, 1));
    let metrics = a.pool.endpoint().metrics();
    assert_eq!((metrics.dialed, metrics.accepted), (1, 0));
    assert_eq!((metrics.peers[0].streams_opened, metrics.peers[0].streams_accepted), (20, 20));
    assert!(metrics.peers[0].bytes_sent > 0 && metrics.peers[0].bytes_received > 0);
    assert!(a.pool.round_trip(b.id()).is_some_and(|round_trip| round_trip > Duration::ZERO));
    assert_eq!(a.pool.round_trip(PeerId::random()), None);
}

#[tokio::test]
async fn everybody_asks_everybody_at_once() {
    let cluster = Cluster::new();
    let nodes: Vec<_> = (0..6).map(|index| cluster.node(&format!("n{index}"))).collect();
    let all = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to)));
    let asked = all.filter(|(from, to)| from.id() != to.id()).map(|(from, to)| async move {
        let name = &from.identity.current().chain[0].common_name().expect("it has one").to_owned();
        assert_eq!(from.echo(to, "x").await, format!("{name}.node.trustchain x after it"));
    });
    futures_util::future::join_all(asked).await;
    for node in &nodes {
        // Two that dial each other at the same time have two connections, and never more.
        assert!((5..=10).contains(&node.connections()), "{}", node.connections());
    }
}

/// Asks whether an echo comes back; a peer that goes away meanwhile may leave none.
async fn answers(from: &Node, to: PeerId) -> bool {
    let asked = async {
        let mut stream = from.pool.open(to, "echo/1", b"x").await.ok()?;
        stream.send.finish().ok()?;
        stream.receive.read_to_end(64).await.ok()
    };
    soon(asked).await.is_some_and(|answer| answer.ends_with(b" x"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_come_and_go_under_load_leave_nothing_behind() {
    let cluster = Cluster::new();
    // Nobody answers at the address of a port that is gone, and some peers vanish in the middle of a handshake.
    let quick = |limits: &mut Limits| {
        limits.connect_timeout = Duration::from_secs(1);
        limits.silence_timeout = Duration::from_secs(2);
        limits.keep_alive_interval = Duration::from_millis(500);
    };
    let nodes: Vec<_> = (0..4).map(|index| cluster.node_with(&format!("n{index}"), quick)).collect();
    let mut coming = cluster.node_with("coming", quick);
    for _ in 0..5 {
        let (peers, gone) = (coming.id(), coming.pool.endpoint().clone());
        let asked = nodes.iter().flat_map(|from| (0..10).map(move |_| answers(from, peers)));
        let back = nodes.iter().map(|to| answers(&coming, to.id()));
        tokio::join!(futures_util::future::join_all(asked), futures_util::future::join_all(back), gone.close());
        coming = cluster.start(Arc::clone(&coming.identity), quick);
        // Whoever still has a connection to the port that is gone has heard of it, and the next request finds the new one.
        for node in &nodes {
            soon(async { while !answers(node, coming.id()).await {} }).await;
        }
    }
    for node in nodes.iter().chain([&coming]) {
        soon(node.pool.endpoint().close()).await;
        assert_eq!((node.connections(), node.serves()), (0, 0));
    }
}

#[tokio::test]
async fn a_service_that_is_not_known_is_said_so() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    let mut stream = a.open(&b, "blobs/9", b"").await.expect("opens");
    let error = soon(stream.receive.read(&mut [0; 1])).await.expect_err("is reset");
    assert_eq!(error, quinn::ReadError::Reset(VarInt::from_u32(UNKNOWN_SERVICE)));
    until(|| b.errors(&a, "unknown-service") == 1).await;
}

#[tokio::test]
async fn a_service_that_fails_is_counted_by_name() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    assert_eq!(a.reset_by(&b, "fails/1", b"").await, Some(REFUSED));
    assert_eq!(a.reset_by(&b, "fails/1", b"x").await, Some(FAILED));
    until(|| b.errors(&a, "refused") == 1 && b.errors(&a, "environment") == 1).await;
    assert_eq!(b.serves(), 0);
}

#[tokio::test]
async fn a_service_is_given_up_with_its_connection() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    let mut stream = a.open(&b, "waits/1", b"").await.expect("opens");
    stream.receive.read_exact(&mut [0; 5]).await.expect("comes");
    assert_eq!(b.serves(), 1);
    a.pool.endpoint().close().await;
    until(|| b.serves() == 0 && b.errors(&a, "connection-lost") == 1).await;
    assert_eq!(Arc::strong_count(&b.waits), 2, "the service of that stream is gone");
}

#[tokio::test]
async fn closing_a_port_waits_for_what_it_serves() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    let mut stream = a.open(&b, "waits/1", b"").await.expect("opens");
    stream.receive.read_exact(&mut [0; 5]).await.expect("comes");
    for node in [&a, &b] {
        soon(node.pool.endpoint().close()).await;
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    let error = a.open(&b, "echo/1", b"").await.expect_err("the port is closed");
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}
