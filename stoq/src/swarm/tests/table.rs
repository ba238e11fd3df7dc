//! The routing table: who stays in a full bucket, and how the way to a key grows with the number of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::KBucketKey;

use super::{PATIENCE, by_distance, fast, hasty, key_of};
use crate::swarm::Settings;
use crate::swarm::behaviour::at_least_one;
use crate::swarm::cluster::{Cluster, Node, until};

/// Gives the peers in a node's routing table.
async fn table_of(node: &Node) -> BTreeSet<PeerId> {
    let peers = node.handle.peers().await.expect("it runs");
    peers.into_iter().filter(|state| state.in_table).map(|state| state.peer).collect()
}

/// Gives the bucket of a node's table that another one belongs into, 255 being the farthest, with half of all nodes.
fn bucket(own: PeerId, other: PeerId) -> Option<u32> {
    KBucketKey::from(own).distance(&KBucketKey::from(other)).ilog2()
}

fn buckets<'a>(own: PeerId, others: impl IntoIterator<Item = &'a PeerId>) -> BTreeSet<u32> {
    others.into_iter().filter_map(|other| bucket(own, *other)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bucket_keeps_those_who_answer_and_gives_the_places_of_the_others_away() {
    let settings = Settings { bucket_peers_max: at_least_one(4), ping_interval: Duration::from_secs(1), ..hasty() };
    let mut cluster = Cluster::start(24, &settings, PATIENCE).await;
    let own = cluster.nodes[0].handle.peer_id();
    let far = async |cluster: &Cluster| -> BTreeSet<PeerId> {
        table_of(&cluster.nodes[0]).await.into_iter().filter(|peer| bucket(own, *peer) == Some(255)).collect()
    };
    until(PATIENCE, "its farthest bucket is full", async || far(&cluster).await.len() == 4).await;
    let first = far(&cluster).await;
    // Others there are, and they find no room as long as everybody answers.
    let is_other = |peer: &PeerId| bucket(own, *peer) == Some(255) && !first.contains(peer);
    assert!(cluster.peers().iter().any(is_other));
    tokio::time::sleep(3 * settings.refresh_interval).await;
    assert_eq!(far(&cluster).await, first);
    let mut frozen = Vec::new();
    for gone in first.iter().take(2) {
        let index = cluster.nodes.iter().position(|node| node.handle.peer_id() == *gone).expect("it is there");
        frozen.extend(cluster.freeze(index, 1).await);
    }
    until(PATIENCE, "others have their places", async || {
        let now = far(&cluster).await;
        now.len() == 4 && frozen.iter().all(|node| !now.contains(&node.handle.peer_id()))
    })
    .await;
    let now = far(&cluster).await;
    assert!(first.iter().skip(2).all(|peer| now.contains(peer)), "{first:?} {now:?}");
}

/// Gives how many steps it takes on the average from a node to the one nearest to a key, each to the nearest one in the table
/// of the last.
async fn steps(count: usize) -> f64 {
    let mut settings = Settings { bucket_peers_max: at_least_one(2), ..fast() };
    // A node that is alone in its half of the network has one bucket.
    (settings.discovery.peers_min, settings.refresh_interval) = (2, Duration::from_secs(2));
    let cluster = Cluster::start(count, &settings, PATIENCE).await;
    let (all, mut tables) = (cluster.peers(), BTreeMap::new());
    // What Kademlia promises needs a peer in each bucket in which there could be one.
    for node in &cluster.nodes {
        let own = node.handle.peer_id();
        let there = buckets(own, &all);
        until(PATIENCE, "no bucket is empty without need", async || buckets(own, &table_of(node).await) == there).await;
        tables.insert(own, table_of(node).await);
    }
    let (mut taken, mut ways) = (0, 0);
    for number in 0..16 {
        let key = key_of(number);
        let nearest = by_distance(&key, cluster.peers())[0];
        for start in cluster.peers() {
            let mut at = start;
            while at != nearest {
                let next = by_distance(&key, tables[&at].iter().copied().chain([at]).collect())[0];
                assert_ne!(next, at, "the way ends before the nearest node");
                (at, taken) = (next, taken + 1);
            }
            ways += 1;
        }
    }
    f64::from(taken) / f64::from(ways)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_a_key_grows_with_the_logarithm_of_the_number_of_nodes() {
    let (few, more, many) = (steps(5).await, steps(15).await, steps(45).await);
    // Three times as many nodes add as many steps each time, where a way in proportion would be three times as long. Tables drawn by
    // lot give 0.87, 1.43 and 2.00.
    for (fewer, more) in [(few, more), (more, many)] {
        assert!((0.25..1.25).contains(&(more - fewer)), "{few} {more} {many}");
    }
}
