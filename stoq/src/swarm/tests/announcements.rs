//! Announcements reach everybody once, and only if they are accepted.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::swarm::{ANNOUNCEMENT_BYTES_MAX, Announcement, TOPIC_BYTES_MAX, TOPICS_PER_PEER_MAX, Verdict};

const TOPIC: &str = "records";

/// Accepts what begins with `+`, refuses what begins with `-`, and ignores the rest.
fn judge(_: &str, _: PeerId, bytes: &[u8]) -> Verdict {
    match bytes.first() {
        Some(b'+') => Verdict::Accept,
        Some(b'-') => Verdict::Reject,
        _ => Verdict::Ignore,
    }
}

async fn followed(cluster: &Cluster) -> Vec<mpsc::Receiver<Announcement>> {
    let mut receivers = Vec::new();
    for node in &cluster.nodes {
        receivers.push(node.handle.subscribe(TOPIC, Arc::new(judge)).await.expect("it is new"));
    }
    receivers
}

/// Says it until somebody listens: who follows what travels, too.
async fn announce(node: &Node, bytes: &[u8]) {
    until(PATIENCE, "somebody listens", async || node.handle.announce(TOPIC, bytes).await.is_ok()).await;
}

async fn next(receiver: &mut mpsc::Receiver<Announcement>) -> Vec<u8> {
    let next = tokio::time::timeout(PATIENCE, receiver.recv()).await;
    next.expect("it comes in time").expect("the node runs").bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_reaches_everybody_once_and_only_if_it_is_accepted() {
    let cluster = Cluster::start(12, &fast(), PATIENCE).await;
    let mut receivers = followed(&cluster).await;
    cluster
        .until(PATIENCE, "each has neighbours", async |node| {
            node.handle.metrics().await.is_ok_and(|metrics| metrics.peers_connected >= 5)
        })
        .await;
    announce(&cluster.nodes[0], b"?unknown").await;
    announce(&cluster.nodes[0], &[b'+'; ANNOUNCEMENT_BYTES_MAX]).await;
    announce(&cluster.nodes[0], b"+second").await;
    for receiver in &mut receivers[1..] {
        let mut got = vec![next(receiver).await, next(receiver).await];
        got.sort_by_key(Vec::len);
        assert_eq!(got, [b"+second".to_vec(), vec![b'+'; ANNOUNCEMENT_BYTES_MAX]]);
    }
    // The same again is no news.
    cluster.nodes[0].handle.announce(TOPIC, b"+second").await.expect("it is known");
    announce(&cluster.nodes[5], b"+third").await;
    for (n, receiver) in receivers.iter_mut().enumerate().filter(|(n, _)| *n != 5 && *n != 0) {
        assert_eq!(next(receiver).await, b"+third", "node {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_announces_what_is_refused_is_blocked_after_three_times() {
    let cluster = Cluster::start(3, &fast(), PATIENCE).await;
    let [honest, other, liar] = &cluster.nodes[..] else { panic!("three nodes") };
    let _honest = honest.handle.subscribe(TOPIC, Arc::new(judge)).await.expect("it is new");
    let _liar = liar.handle.subscribe(TOPIC, Arc::new(judge)).await.expect("it is new");
    for lie in [b"-1", b"-2"] {
        announce(liar, lie).await;
    }
    until(PATIENCE, "two were refused", async || {
        honest.handle.metrics().await.is_ok_and(|metrics| metrics.announcements_refused == 2)
    })
    .await;
    assert_eq!(honest.handle.metrics().await.expect("it runs").peers_connected, 2);
    announce(liar, b"-3").await;
    until(PATIENCE, "the liar is gone", async || {
        let peers = honest.handle.peers().await.expect("it runs");
        peers.iter().all(|state| state.peer == other.handle.peer_id())
    })
    .await;
    // It may be told so at once, or only see the connection close.
    liar.handle.connect(honest.address).await.ok();
    until(PATIENCE, "it stays gone", async || {
        honest.handle.metrics().await.is_ok_and(|m| m.peers_connected == 1 && m.connections_denied > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_announcements_are_bounded() {
    let cluster = Cluster::start(1, &fast(), PATIENCE).await;
    let node = &cluster.nodes[0].handle;
    let large = node.announce(TOPIC, &[0; ANNOUNCEMENT_BYTES_MAX + 1]).await.expect_err("too large");
    assert_eq!(large.to_string(), "the `announcement` has at most `4096` bytes, not `4097`");
    let long = node.announce(&"t".repeat(TOPIC_BYTES_MAX + 1), b"").await.expect_err("too long");
    assert!(matches!(long, OperationError::TooLarge { part: "topic", .. }));
    let nobody = node.announce(TOPIC, b"+").await.expect_err("nobody is there");
    assert!(matches!(nobody, OperationError::NobodyListens { .. }), "{nobody}");
    let mut kept = Vec::new();
    for number in 0..TOPICS_PER_PEER_MAX {
        kept.push(node.subscribe(&format!("t{number}"), Arc::new(judge)).await.expect("there is room"));
    }
    let full = node.subscribe("more", Arc::new(judge)).await.expect_err("there is none");
    assert!(matches!(full, OperationError::Full { what: "topics", .. }));
    let twice = node.subscribe("t1", Arc::new(judge)).await.expect_err("it is followed");
    assert!(matches!(twice, OperationError::Followed { .. }));
    kept.pop();
    node.subscribe("more", Arc::new(judge)).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_slow_loses_announcements_and_holds_up_nobody() {
    let cluster = Cluster::start(2, &fast(), PATIENCE).await;
    let waiting = crate::swarm::ANNOUNCEMENTS_WAITING_MAX;
    let mut slow = cluster.nodes[1].handle.subscribe(TOPIC, Arc::new(judge)).await.expect("it is new");
    let mut delivered = 0;
    let mut said = 0_usize;
    // As many as may wait, and then until some were dropped.
    while delivered < waiting as u64
        || cluster.nodes[1].handle.metrics().await.expect("runs").announcements_dropped == 0
    {
        announce(&cluster.nodes[0], format!("+{said}").as_bytes()).await;
        said += 1;
        delivered = cluster.nodes[1].handle.metrics().await.expect("it runs").announcements_delivered;
        assert!(said < 20 * waiting, "announcements are dropped at some point");
    }
    // What is still on its way could take a place that is free again meanwhile.
    cluster.nodes[0].handle.stop().await;
    until(PATIENCE, "nothing comes any more", async || {
        cluster.nodes[1].handle.metrics().await.expect("it runs").peers_connected == 0
    })
    .await;
    let mut read = 0;
    while slow.try_recv().is_ok() {
        read += 1;
    }
    assert_eq!(read, waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_announcements_is_judged_in_bounded_numbers() {
    let settings = Settings { announcements_per_peer_per_second_max: 5, ..fast() };
    let cluster = Cluster::start(2, &settings, PATIENCE).await;
    let judged = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = judged.clone();
    let count = move |_: &str, _: PeerId, _: &[u8]| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Verdict::Accept
    };
    let mut receiver = cluster.nodes[1].handle.subscribe(TOPIC, Arc::new(count)).await.expect("it is new");
    announce(&cluster.nodes[0], b"first").await;
    assert_eq!(next(&mut receiver).await, b"first");
    let began = std::time::Instant::now();
    for number in 0..200 {
        announce(&cluster.nodes[0], format!("{number}").as_bytes()).await;
    }
    // A later second has room again.
    until(PATIENCE, "one is judged after the flood", async || {
        announce(&cluster.nodes[0], format!("after {:?}", began.elapsed()).as_bytes()).await;
        began.elapsed() > Duration::from_secs(1) && judged.load(std::sync::atomic::Ordering::Relaxed) > 6
    })
    .await;
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few") + 2;
    assert!(judged.load(std::sync::atomic::Ordering::Relaxed) <= 5 * seconds);
}
