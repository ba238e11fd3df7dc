//! Signed values: who may write them, how long they last, and what a forger reaches.

use std::sync::Arc;

use libp2p::PeerId;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::identity::{Credentials, Identity};
use crate::swarm::record::{
    CLOCK_SKEW_MAX, Draft, NAME_BYTES_MAX, RECORD_BYTES_MAX, RECORD_LIFETIME, RecordError, VALUE_BYTES_MAX, key, open,
    sign,
};
use crate::testing::{Authority, START, TestIdentity};

const NAME: &[u8] = b"address";

fn made(node: &TestIdentity) -> Vec<u8> {
    let expires = START + RECORD_LIFETIME;
    sign(node, &Draft { name: NAME, value: b"here", sequence: 7, expires }).expect("signs")
}

fn opened(bytes: &[u8], peer: PeerId, by: &dyn Identity, at: OffsetDateTime) -> Result<u64, RecordError> {
    let credentials: Arc<Credentials> = by.current();
    open(bytes, &key(peer, NAME), &credentials, at).map(|record| record.sequence)
}

#[test]
fn a_record_is_believed_of_its_signer_alone() {
    let authority = Authority::new();
    let (node, other) = (authority.node("n0"), authority.node("n1"));
    let bytes = made(&node);
    assert_eq!(opened(&bytes, node.peer_id(), &*other, START).expect("it holds"), 7);
    assert!(matches!(opened(&bytes, other.peer_id(), &*other, START), Err(RecordError::WrongKey { .. })));
    // A stranger's authority, and a thief with the certificate alone.
    let stranger = Authority::named("Stranger", authority.clock()).node("s0");
    let refused = opened(&made(&stranger), stranger.peer_id(), &*other, START);
    assert!(matches!(refused, Err(RecordError::Path { .. })), "{refused:?}");
    let stolen = authority.presenting(&other, node.current().chain.clone());
    let refused = opened(&made(&stolen), node.peer_id(), &*other, START);
    assert!(matches!(refused, Err(RecordError::Signature { .. })), "{refused:?}");
}

#[test]
fn a_record_counts_in_its_time_and_while_its_certificate_does() {
    let authority = Authority::new();
    let (node, other) = (authority.node("n0"), authority.node("n1"));
    let bytes = made(&node);
    let late = START + RECORD_LIFETIME;
    assert!(matches!(opened(&bytes, node.peer_id(), &*other, late), Err(RecordError::Expiry { .. })));
    let early = START - Duration::try_from(CLOCK_SKEW_MAX).expect("minutes") - Duration::SECOND;
    assert!(matches!(opened(&bytes, node.peer_id(), &*other, early), Err(RecordError::Expiry { .. })));
    authority.revoke(&node);
    assert!(matches!(opened(&bytes, node.peer_id(), &*other, START), Err(RecordError::Path { .. })));
}

#[test]
fn every_changed_byte_is_noticed() {
    let authority = Authority::new();
    let (node, other) = (authority.node("n0"), authority.node("n1"));
    let bytes = made(&node);
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(opened(&changed, node.peer_id(), &*other, START).is_err(), "byte {at}");
    }
    for end in (0..bytes.len()).step_by(101) {
        assert!(opened(&bytes[..end], node.peer_id(), &*other, START).is_err(), "cut at {end}");
    }
}

#[test]
fn records_of_hybrid_nodes_fit_and_larger_ones_are_refused() {
    let authority = Authority::new();
    let node = authority.hybrid_node("n0");
    let draft = |name, value| Draft { name, value, sequence: 1, expires: START + Duration::HOUR };
    let bytes = sign(&*node, &draft(&[0; NAME_BYTES_MAX], &[0; VALUE_BYTES_MAX])).expect("the largest fits");
    assert!(bytes.len() <= RECORD_BYTES_MAX, "{}", bytes.len());
    let large = sign(&*node, &draft(&[0; NAME_BYTES_MAX + 1], b"")).expect_err("too long a name");
    assert_eq!(large.to_string(), "the `name` of a record has at most `128` bytes, not `129`");
    let large = sign(&*node, &draft(b"", &[0; VALUE_BYTES_MAX + 1])).expect_err("too large a value");
    assert!(matches!(large, RecordError::TooLarge { part: "value", .. }));
    let credentials = node.current();
    let whole = open(&[0; RECORD_BYTES_MAX + 1], &[0; 32], &credentials, START).expect_err("too large");
    assert!(matches!(whole, RecordError::TooLarge { part: "whole", .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_value_that_was_written_is_read_everywhere() {
    let cluster = Cluster::start(12, &fast(), PATIENCE).await;
    let writer = &cluster.nodes[4].handle;
    writer.put_record(NAME, b"old").await.expect("it is stored");
    let stored = writer.put_record(NAME, b"new").await.expect("it is stored");
    assert!(stored.acknowledged > stored.asked / 2, "{stored:?}");
    for node in &cluster.nodes {
        until(PATIENCE, "the new value is read", async || {
            let found = node.handle.get_record(writer.peer_id(), NAME).await.expect("the lookup ends").value;
            found.is_some_and(|record| record.value == b"new" && record.signer == writer.peer_id())
        })
        .await;
    }
    let found = cluster.nodes[1].handle.get_record(writer.peer_id(), b"other").await.expect("the lookup ends");
    assert_eq!(found.value, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_outlives_those_who_kept_it_first() {
    let mut settings = Settings { replication: at_least_one(4), ..hasty() };
    settings.republish_interval = std::time::Duration::from_secs(1);
    let mut cluster = Cluster::start(16, &settings, PATIENCE).await;
    let writer = cluster.nodes[0].handle.peer_id();
    cluster.nodes[0].handle.put_record(NAME, b"here").await.expect("it is stored");
    let keeps = async |node: &Node| node.handle.metrics().await.is_ok_and(|metrics| metrics.store.records > 0);
    let mut first = BTreeSet::new();
    for node in &cluster.nodes {
        if keeps(node).await {
            first.insert(node.handle.peer_id());
        }
    }
    assert!(first.len() >= 3 && first.contains(&writer), "{first:?}");
    // All of them go, one after the other; the rest have a period each to copy the value.
    let mut frozen = Vec::new();
    for peer in first {
        let index = cluster.nodes.iter().position(|node| node.handle.peer_id() == peer).expect("it is there");
        frozen.extend(cluster.freeze(index, 1).await);
        until(PATIENCE, "others keep it", async || {
            let mut keepers = 0;
            for node in &cluster.nodes {
                keepers += usize::from(keeps(node).await);
            }
            keepers >= 4
        })
        .await;
    }
    until(PATIENCE, "it is still read", async || {
        let found = cluster.nodes[3].handle.get_record(writer, NAME).await;
        found.is_ok_and(|found| found.value.is_some_and(|record| record.value == b"here"))
    })
    .await;
}
