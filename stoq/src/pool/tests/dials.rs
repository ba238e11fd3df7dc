//! Finding a peer, and failing to.

use super::*;

#[tokio::test]
async fn callers_of_one_peer_share_one_dial() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    futures_util::future::join_all((0..40).map(|_| a.echo(&b, "x"))).await;
    assert_eq!((a.pool.endpoint().metrics().dialed, a.connections()), (1, 1));
}

#[tokio::test]
async fn callers_of_a_peer_that_does_not_answer_share_one_failure() {
    let cluster = Cluster::new();
    let a = cluster.node_with("a", |limits| limits.connect_timeout = Duration::from_millis(300));
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let peer = cluster.authority.node("deaf").peer_id();
    cluster.set(peer, vec![deaf.local_addr().expect("has an address")]);
    let asked = (0..40).map(|_| a.pool.open(peer, "echo/1", b""));
    for result in soon(futures_util::future::join_all(asked)).await {
        let error = result.expect_err("nobody answers");
        assert!(
            matches!(&error, OpenError::Unreachable { reason, .. } if reason.contains("did not answer")),
            "{error}"
        );
    }
    assert_eq!(a.pool.endpoint().metrics().failures.get("timed-out"), Some(&1));
    // The next one tries again.
    let error = soon(a.pool.open(peer, "echo/1", b"")).await.expect_err("nobody answers");
    assert!(matches!(error, OpenError::Unreachable { .. }));
    assert_eq!(a.pool.endpoint().metrics().failures.get("timed-out"), Some(&2));
}

#[tokio::test]
async fn a_peer_that_nobody_knows_has_no_address() {
    let cluster = Cluster::new();
    let a = cluster.node("a");
    let peer = PeerId::random();
    let error = soon(a.pool.open(peer, "echo/1", b"")).await.expect_err("nobody knows it");
    assert!(matches!(error, OpenError::NoAddress { peer: of } if of == peer));
}

#[tokio::test]
async fn an_address_where_nobody_is_holds_nobody_up() {
    let cluster = Cluster::new();
    let (a, b, other) = (cluster.node("a"), cluster.node("b"), cluster.node("other"));
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let right = b.pool.endpoint().local_address();
    let wrong = [other.pool.endpoint().local_address(), deaf.local_addr().expect("has an address")];
    cluster.set(b.id(), vec![wrong[0], wrong[1], right]);
    let began = std::time::Instant::now();
    assert_eq!(a.echo(&b, "x").await, "a.node.trustchain x after it");
    assert!(began.elapsed() < Limits::default().connect_timeout, "{:?}", began.elapsed());
    assert_eq!(a.pool.endpoint().metrics().refusals.get("wrong-peer"), Some(&1));
    // Where there is no right one, each of them is named.
    let c = cluster.node("c");
    cluster.set(b.id(), wrong[..1].to_vec());
    let error = c.open(&b, "echo/1", b"").await.expect_err("it is somebody else");
    let OpenError::Unreachable { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains(&wrong[0].to_string()) && reason.contains(&b.id().to_string()), "{reason}");
}

#[tokio::test]
async fn a_peer_that_comes_back_is_dialed_again() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    a.echo(&b, "x").await;
    b.pool.endpoint().close().await;
    until(|| a.connections() == 0).await;
    let again = cluster.start(Arc::clone(&b.identity), |_| {});
    assert_eq!(a.echo(&again, "again").await, "a.node.trustchain again after it");
    assert_eq!(a.pool.endpoint().metrics().dialed, 2);
}

#[tokio::test]
async fn a_peer_that_is_revoked_is_not_dialed_again() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    a.echo(&b, "x").await;
    cluster.authority.revoke(&b.identity);
    assert_eq!(a.pool.endpoint().revalidate(), 1);
    until(|| a.connections() == 0).await;
    let error = a.open(&b, "echo/1", b"").await.expect_err("is refused");
    assert!(matches!(&error, OpenError::Unreachable { reason, .. } if reason.contains("was revoked")), "{error}");
}
