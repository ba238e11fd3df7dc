//! The control plane of many nodes, in memory and over real ports.

use std::collections::BTreeSet;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::{KBucketKey, RecordKey};

use super::behaviour::at_least_one;
use super::cluster::{Cluster, Node, until};
use super::driver::REPUBLISHED_AT_ONCE_MAX;
use super::{OPERATIONS_MAX, OperationError, Settings};

mod announcements;
mod hostile;
mod records;
mod table;

/// How long anything in these tests may take: libp2p's timers run in real time, on machines that do other things, too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Settings under which what takes hours takes seconds.
fn fast() -> Settings {
    let mut settings = Settings { refresh_interval: Duration::from_secs(5), ..Settings::default() };
    settings.discovery.round_interval = Duration::from_secs(2);
    settings.discovery.retry_min = Duration::from_millis(500);
    // A machine that does other things, too, makes nobody look dead.
    (settings.request_timeout, settings.lookup_timeout) = (Duration::from_secs(5), Duration::from_secs(30));
    settings
}

/// Settings under which the dead are found to be dead as soon as anywhere else.
fn hasty() -> Settings {
    let usual = Settings::default();
    Settings { request_timeout: usual.request_timeout, lookup_timeout: usual.lookup_timeout, ..fast() }
}

fn key_of(number: u8) -> [u8; 32] {
    blake3::hash(&[number]).into()
}

/// Sorts peers by their distance to a key, as Kademlia measures it.
fn by_distance(key: &[u8], mut peers: Vec<PeerId>) -> Vec<PeerId> {
    let key = KBucketKey::new(RecordKey::from(key.to_vec()));
    peers.sort_by_key(|peer| KBucketKey::from(*peer).distance(&key));
    peers
}

async fn providers_of(node: &Node, key: [u8; 32]) -> Vec<PeerId> {
    let found = node.handle.providers(key, 64).await.expect("the lookup ends");
    found.value.into_iter().map(|provider| provider.peer).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bootstrap_address_finds_all_and_lookups_give_the_true_closest() {
    let cluster = Cluster::start(30, &fast(), PATIENCE).await;
    let (asker, peers) = (&cluster.nodes[17].handle, cluster.peers());
    let others: Vec<PeerId> = peers.iter().copied().filter(|peer| *peer != asker.peer_id()).collect();
    for number in 0..5 {
        let key = key_of(number);
        let expected = &by_distance(&key, others.clone())[..20];
        until(PATIENCE, "the twenty closest of thirty are found", async || {
            let found = asker.closest(&key).await.expect("the lookup ends");
            found.value.iter().map(|p| p.peer).collect::<Vec<_>>() == expected
        })
        .await;
    }
    // Found of each other through one address; and the table spreads: more than one bucket, none above twenty.
    let mut met = BTreeSet::new();
    for node in &cluster.nodes {
        met.extend(node.handle.peers().await.expect("it runs").into_iter().map(|state| state.peer));
        let buckets = node.handle.metrics().await.expect("it runs").table_buckets;
        assert!(buckets.len() > 1 && buckets.iter().all(|peers| *peers <= 20), "{buckets:?}");
    }
    assert_eq!(met.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_found_from_every_node_and_forgotten_when_it_stops() {
    let cluster = Cluster::start(25, &fast(), PATIENCE).await;
    let (provider, key) = (&cluster.nodes[3].handle, key_of(1));
    let stored = provider.provide(key).await.expect("it is stored");
    assert!(stored.acknowledged > stored.asked / 2 && stored.asked >= 10, "{stored:?}");
    for node in cluster.nodes.iter().filter(|node| node.handle.peer_id() != provider.peer_id()) {
        let found = node.handle.providers(key, 1).await.expect("the lookup ends");
        assert_eq!(found.value.len(), 1);
        assert_eq!(found.value[0].peer, provider.peer_id());
        assert_eq!(found.value[0].addresses.first(), Some(&cluster.nodes[3].address));
    }
    provider.stop_providing(key).await.expect("it is told");
    cluster
        .until(PATIENCE, "nobody is named any more", async |node| {
            node.handle.metrics().await.is_ok_and(|metrics| metrics.store.providers == 0)
        })
        .await;
    assert_eq!(providers_of(&cluster.nodes[9], key).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_provides_is_not_found_in_bounded_time() {
    let mut cluster = Cluster::start(22, &hasty(), PATIENCE).await;
    let frozen = cluster.freeze(5, 6).await;
    let node = &cluster.nodes[2].handle;
    let began = std::time::Instant::now();
    match node.providers(key_of(9), 1).await {
        Ok(found) => assert_eq!(found.value, []),
        Err(OperationError::TimedOut { .. }) => (),
        Err(error) => panic!("{error}"),
    }
    match node.get_record(frozen[0].handle.peer_id(), b"nothing").await {
        Ok(found) => assert_eq!(found.value, None),
        Err(OperationError::TimedOut { .. }) => (),
        Err(error) => panic!("{error}"),
    }
    // Two lookups, each of which ends after ten seconds at the latest.
    assert!(began.elapsed() < Duration::from_secs(21), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_are_found_after_a_third_of_the_nodes_crash_at_once() {
    let mut cluster = Cluster::start(30, &hasty(), PATIENCE).await;
    for number in 0..10 {
        let node = &cluster.nodes[usize::from(number)].handle;
        node.provide(key_of(number)).await.expect("it is stored");
    }
    let _frozen = cluster.freeze(15, 9).await;
    for number in 0..10_u8 {
        let asker = &cluster.nodes[20 - usize::from(number)];
        let found = asker.handle.providers(key_of(number), 1).await.expect("the lookup ends");
        assert_eq!(found.value.len(), 1, "key {number}");
        assert_eq!(found.value[0].peer, cluster.nodes[usize::from(number)].handle.peer_id());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_provided_alone_is_told_when_others_come() {
    let mut settings = fast();
    settings.republish_interval = Duration::from_secs(2);
    let mut cluster = Cluster::start(1, &settings, PATIENCE).await;
    let stored = cluster.nodes[0].handle.provide(key_of(1)).await.expect("nobody is there to refuse");
    assert_eq!((stored.asked, stored.acknowledged), (0, 0));
    cluster.grow(3, &settings, PATIENCE).await;
    let first = cluster.nodes[0].handle.peer_id();
    until(PATIENCE, "the newcomers know of it", async || {
        cluster.nodes[3].handle.metrics().await.is_ok_and(|metrics| metrics.store.providers == 1)
    })
    .await;
    assert_eq!(providers_of(&cluster.nodes[2], key_of(1)).await, [first]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_provided_is_bounded() {
    let mut settings = fast();
    settings.store.provided_max = 2;
    let cluster = Cluster::start(2, &settings, PATIENCE).await;
    let node = &cluster.nodes[1].handle;
    node.provide(key_of(1)).await.expect("one");
    node.provide(key_of(2)).await.expect("two");
    node.provide(key_of(2)).await.expect("two again");
    let refused = node.provide(key_of(3)).await.expect_err("three");
    assert_eq!(refused.to_string(), "this node keeps at most `2` `provided keys`");
    node.stop_providing(key_of(1)).await.expect("one less");
    node.provide(key_of(3)).await.expect("two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_bounded() {
    let mut cluster = Cluster::start(2, &fast(), PATIENCE).await;
    // Who is frozen answers nothing, so that no lookup ends before the last one is begun.
    let _frozen = cluster.freeze(1, 1).await;
    let node = &cluster.nodes[0].handle;
    let lookups = (0..OPERATIONS_MAX + 10).map(|_| node.providers(key_of(1), 1));
    let ended = futures_util::future::join_all(lookups).await;
    let busy = ended.iter().filter(|ended| matches!(ended, Err(OperationError::Busy { limit: OPERATIONS_MAX })));
    assert_eq!(busy.count(), 10);
    node.providers(key_of(1), 1).await.expect("there is room again");
}

/// Peers that answer nothing keep what is told under way, and the rest of it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_told_again_at_once_than_may_be() {
    let settings = Settings { republish_interval: Duration::from_secs(1), ..fast() };
    let mut cluster = Cluster::start(3, &settings, PATIENCE).await;
    for number in 0..60 {
        cluster.nodes[0].handle.provide(key_of(number)).await.expect("it is stored");
    }
    let _frozen = cluster.freeze(1, 2).await;
    let (node, mut most) = (&cluster.nodes[0].handle, 0);
    let began = std::time::Instant::now();
    // All sixty are due by then, and what began first still waits for an answer.
    while began.elapsed() < settings.request_timeout {
        most = most.max(node.metrics().await.expect("it runs").operations);
        tokio::task::yield_now().await;
    }
    // Dials are operations, too: one for each of the others.
    assert!((1..=REPUBLISHED_AT_ONCE_MAX + 2).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_answers_nothing_and_is_seen_to_leave() {
    let cluster = Cluster::start(3, &fast(), PATIENCE).await;
    let mut events = cluster.nodes[0].handle.events();
    let gone = cluster.nodes[2].handle.peer_id();
    cluster.nodes[2].handle.stop().await;
    assert!(matches!(cluster.nodes[2].handle.peers().await, Err(OperationError::Stopped)));
    let left =
        async { while events.recv().await.expect("the node runs") != (super::Event::PeerLeft { peer: gone }) {} };
    tokio::time::timeout(PATIENCE, left).await.expect("it is seen to leave");
}

/// As in a network of more nodes than a node may have connections with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_go_on_when_all_connections_are_taken() {
    let mut settings = Settings { connections_max: 8, replication: at_least_one(4), ..fast() };
    settings.discovery.peers_min = 3;
    let cluster = Cluster::start(16, &settings, PATIENCE).await;
    for number in 0..4_u8 {
        let node = &cluster.nodes[2 * usize::from(number)].handle;
        until(PATIENCE, "it is stored", async || node.provide(key_of(number)).await.is_ok_and(|s| s.acknowledged > 1))
            .await;
    }
    for number in 0..4_u8 {
        let provider = cluster.nodes[2 * usize::from(number)].handle.peer_id();
        for node in cluster.nodes.iter().skip(1).step_by(4) {
            // Whoever has to be asked may have no room at that moment: most are found at once, the rest when asked again.
            until(PATIENCE, "it is found", async || {
                let found = node.handle.providers(key_of(number), 1).await.expect("the lookup ends").value;
                found.first().is_some_and(|found| found.peer == provider)
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_not_known_is_dialled_while_the_lookup_knows_where_it_is() {
    let mut settings = Settings { idle_timeout: Duration::from_millis(500), replication: at_least_one(3), ..fast() };
    (settings.discovery.peers_min, settings.refresh_interval) = (2, Duration::from_secs(3600));
    let cluster = Cluster::start(12, &settings, PATIENCE).await;
    let attempts = std::sync::atomic::AtomicU8::new(0);
    until(PATIENCE, "a provider is found by whoever had nothing to do with it", async || {
        for (asker, provider) in cluster.nodes.iter().flat_map(|a| cluster.nodes.iter().map(move |p| (a, p))) {
            let peer = provider.handle.peer_id();
            if asker.handle.peer_id() == peer || is_connected(asker, peer).await {
                continue;
            }
            let key = key_of(attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            let kept = asker.handle.metrics().await.expect("it runs").store.providers;
            provider.handle.provide(key).await.expect("it is stored");
            // One that keeps the entry itself, or is connected by now, has nobody to ask.
            let keeps = asker.handle.metrics().await.expect("it runs").store.providers != kept;
            if keeps || is_connected(asker, peer).await {
                continue;
            }
            asker.handle.address_book().replace(peer, Vec::new());
            let found = asker.handle.providers(key, 1).await.expect("the lookup ends").value;
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].peer, found[0].addresses.first()), (peer, Some(&provider.address)));
            return true;
        }
        false
    })
    .await;
}

async fn is_connected(node: &Node, peer: PeerId) -> bool {
    let peers = node.handle.peers().await.expect("it runs");
    peers.iter().any(|state| state.peer == peer && state.connected)
}
