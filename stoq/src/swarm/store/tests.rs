//! What is kept for others, up to its bounds.

use std::time::Duration;

use libp2p::PeerId;
use time::OffsetDateTime;

use super::super::record::{Draft, key, sign, table_key};
use super::*;
use crate::testing::{Authority, START, TestIdentity};

fn limits() -> StoreLimits {
    StoreLimits {
        records_max: 4,
        records_per_signer_max: 3,
        providers_per_key_max: 3,
        keys_per_provider_max: 5,
        providers_max: 12,
        provided_max: 2,
    }
}

fn store() -> Store {
    Store::new(PeerId::random(), limits())
}

fn number_key(number: u64) -> RecordKey {
    table_key(blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn entry(key: &RecordKey, provider: PeerId) -> ProviderRecord {
    ProviderRecord { key: key.clone(), provider, expires: None, addresses: Vec::new() }
}

fn record(identity: &TestIdentity, name: &[u8], sequence: u64, expires: OffsetDateTime) -> Record {
    let value = sign(identity, &Draft { name, value: b"v", sequence, expires }).expect("signs");
    Record::new(table_key(&key(identity.peer_id(), name)), value)
}

/// What is counted and what is there must be the same.
fn check(store: &Store) {
    let entries: usize = store.providers.values().map(Vec::len).sum();
    let by_peer: usize = store.keys_of.values().map(BTreeSet::len).sum();
    assert_eq!((entries, by_peer), (store.providers_count, store.providers_count));
    assert!(store.providers.values().all(|p| !p.is_empty() && p.len() <= store.limits.providers_per_key_max));
    assert!(store.keys_of.values().all(|k| !k.is_empty() && k.len() <= store.limits.keys_per_provider_max));
    assert!(store.providers_count <= store.limits.providers_max && store.records.len() <= store.limits.records_max);
    assert_eq!(store.records_of.values().sum::<usize>(), store.records.len());
}

#[test]
fn a_flood_of_one_provider_stays_within_its_bound() {
    let (mut store, flooder) = (store(), PeerId::random());
    for number in 0..1000 {
        let kept = store.add_provider(entry(&number_key(number), flooder));
        assert_eq!(kept.is_ok(), number < 5);
        check(&store);
    }
    assert_eq!(store.sizes().providers, 5);
}

#[test]
fn whoever_floods_gives_way_to_whoever_does_not() {
    let (mut store, contested) = (store(), number_key(0));
    let flooders: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
    for (n, flooder) in flooders.iter().enumerate() {
        store.add_provider(entry(&contested, *flooder)).expect("there is room");
        for number in 0..3 {
            store.add_provider(entry(&number_key(10 * (n as u64 + 1) + number), *flooder)).expect("there is room");
        }
    }
    assert_eq!(store.sizes().providers, limits().providers_max);
    // Neither is there room under the key, nor in all.
    let honest = PeerId::random();
    store.add_provider(entry(&contested, honest)).expect("a flooder gives way");
    check(&store);
    let providers: Vec<PeerId> = store.providers(&contested).iter().map(|p| p.provider).collect();
    assert!(providers.contains(&honest) && providers.len() == 3);
    store.add_provider(entry(&number_key(99), honest)).expect("again");
    check(&store);
    assert_eq!(store.providers(&number_key(99)).len(), 1);
}

#[test]
fn peers_with_one_entry_each_do_not_displace_each_other() {
    let mut store = store();
    let first: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
    for peer in &first {
        store.add_provider(entry(&number_key(0), *peer)).expect("there is room");
    }
    for _ in 0..100 {
        assert!(store.add_provider(entry(&number_key(0), PeerId::random())).is_err());
    }
    let kept: Vec<PeerId> = store.providers(&number_key(0)).iter().map(|p| p.provider).collect();
    assert_eq!(kept, first);
}

#[test]
fn an_entry_is_renewed_in_place_and_expires() {
    let (mut store, peer, now) = (store(), PeerId::random(), Instant::now());
    let until = |seconds| Some(now + Duration::from_secs(seconds));
    store.add_provider(ProviderRecord { expires: until(1), ..entry(&number_key(0), peer) }).expect("there is room");
    store.add_provider(ProviderRecord { expires: until(10), ..entry(&number_key(0), peer) }).expect("it is renewed");
    assert_eq!(store.sizes().providers, 1);
    store.purge(now + Duration::from_secs(5));
    assert_eq!(store.sizes().providers, 1);
    store.purge(now + Duration::from_secs(11));
    assert_eq!(store.sizes().providers, 0);
    check(&store);
}

#[test]
fn what_this_node_provides_is_apart_and_bounded() {
    let mut store = store();
    let local = store.local;
    for number in 0..2 {
        store.add_provider(entry(&number_key(number), local)).expect("there is room");
    }
    assert!(store.add_provider(entry(&number_key(2), local)).is_err());
    store.add_provider(entry(&number_key(1), local)).expect("it is renewed");
    assert_eq!((store.sizes().provided, store.sizes().providers), (2, 0));
    assert_eq!(store.provided().count(), 2);
    store.remove_provider(&number_key(1), &local);
    assert_eq!(store.provided().count(), 1);
}

#[test]
fn an_older_record_does_not_replace_a_newer_one() {
    let (mut store, authority) = (store(), Authority::new());
    let (node, soon, later) = (authority.node("n0"), START + time::Duration::HOUR, START + time::Duration::hours(2));
    store.put(record(&node, b"a", 5, soon)).expect("the first");
    assert!(store.put(record(&node, b"a", 4, later)).is_err());
    store.put(record(&node, b"a", 5, later)).expect("the same, renewed");
    assert!(store.put(record(&node, b"a", 5, soon)).is_err());
    store.put(record(&node, b"a", 6, soon)).expect("a newer one");
    assert!(store.put(Record::new(number_key(0), b"no record".to_vec())).is_err());
    assert_eq!(store.sizes().records, 1);
    check(&store);
}

#[test]
fn records_are_bounded_by_signer_and_in_all_and_the_nearest_stay() {
    let (mut store, authority) = (store(), Authority::new());
    let expires = START + time::Duration::HOUR;
    let node = authority.node("n0");
    for name in 0..10_u8 {
        assert_eq!(store.put(record(&node, &[name], 1, expires)).is_ok(), name < 3, "{name}");
    }
    let mut all: Vec<RecordKey> = store.records.keys().cloned().collect();
    for number in 0..8 {
        let record = record(&authority.node(&format!("m{number}")), b"x", 1, expires);
        all.push(record.key.clone());
        // Refused if it lies farther away than what is kept.
        store.put(record).ok();
        check(&store);
    }
    let local = KBucketKey::from(store.local);
    all.sort_by_key(|key| local.distance(&KBucketKey::new(key.clone())));
    let kept: std::collections::HashSet<&RecordKey> = store.records.keys().collect();
    assert_eq!(kept, all[..4].iter().collect());
}
