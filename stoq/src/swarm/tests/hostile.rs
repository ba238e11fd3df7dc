//! Peers that flood, forge and crowd around a key.

use std::net::SocketAddr;
use std::time::Instant;

use libp2p::futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{Quorum, Record};
use time::Duration as Span;
use trustchain::certificate::{
    Authority as Issuer, Certificate, IntermediateOptions, LeafKey, LeafOptions, Purpose, SubjectName, Validity,
};
use trustchain::{ed25519, hybrid};

use super::*;
use crate::swarm::address::to_multiaddr;
use crate::swarm::behaviour::Behaviour;
use crate::swarm::cluster::address_of;
use crate::swarm::record::{Draft, key, sign, table_key};
use crate::testing::START;

/// A peer that says what it likes: libp2p itself, without the driver that judges.
struct Raw {
    swarm: libp2p::Swarm<Behaviour>,
}

impl Raw {
    /// Joins a cluster through its first node, and waits until it is in its table.
    async fn join(cluster: &Cluster) -> Self {
        let keys = Keypair::generate_ed25519();
        let (peer, address) = (keys.public().to_peer_id(), SocketAddr::from(([12, 0, 0, 1], 9292)));
        let behaviour = Behaviour::new(keys.public(), &fast()).expect("it starts");
        let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
        let mut swarm = libp2p::Swarm::new(cluster.network.transport(peer, address), behaviour, peer, config);
        swarm.listen_on(to_multiaddr(address)).expect("it listens");
        swarm.add_external_address(to_multiaddr(address));
        let first = &cluster.nodes[0];
        swarm.behaviour_mut().kad.add_address(&first.handle.peer_id(), to_multiaddr(first.address));
        swarm.dial(to_multiaddr(first.address)).expect("it dials");
        let mut raw = Self { swarm };
        raw.until("it is in the table", async || {
            let closest = first.handle.closest(&peer.to_bytes()).await;
            closest.is_ok_and(|found| found.value.iter().any(|found| found.peer == peer))
        })
        .await;
        raw
    }

    /// Goes on until something holds elsewhere.
    async fn until(&mut self, what: &str, holds: impl AsyncFn() -> bool) {
        let waiting = until(PATIENCE, what, holds);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                () = &mut waiting => return,
                _ = self.swarm.select_next_some() => (),
            }
        }
    }
}

/// Gives what has been refused and kept of peers.
async fn writes(node: &Node) -> (u64, u64) {
    let metrics = node.handle.metrics().await.expect("it runs");
    (metrics.writes_refused, metrics.writes_kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_entries_by_kademlias_own_messages_are_not_kept() {
    let cluster = Cluster::start(1, &fast(), PATIENCE).await;
    let victim = &cluster.nodes[0];
    let mut raw = Raw::join(&cluster).await;
    let kad = &mut raw.swarm.behaviour_mut().kad;
    kad.start_providing(table_key(&[1; 32])).expect("there is room");
    raw.until("the provider is refused", async || writes(victim).await == (1, 0)).await;
    // A record that is none, and one that a peer signed for itself under a key that is another's.
    let other = cluster.authority.node("other");
    let draft = Draft { name: b"n", value: b"v", sequence: 1, expires: START + Span::HOUR };
    let signed = sign(&*other, &draft).expect("signs");
    for value in [b"garbage".to_vec(), signed.clone()] {
        let record = Record::new(table_key(&key(victim.handle.peer_id(), b"n")), value);
        let before = writes(victim).await.0;
        raw.swarm.behaviour_mut().kad.put_record_to(record, [victim.handle.peer_id()].into_iter(), Quorum::One);
        raw.until("the record is refused", async || writes(victim).await.0 == before + 1).await;
    }
    // The same under its own key is kept, whoever brings it.
    let record = Record::new(table_key(&key(other.peer_id(), b"n")), signed);
    raw.swarm.behaviour_mut().kad.put_record_to(record, [victim.handle.peer_id()].into_iter(), Quorum::One);
    raw.until("the genuine record is kept", async || writes(victim).await.1 == 1).await;
    let store = victim.handle.metrics().await.expect("it runs").store;
    assert_eq!((store.records, store.providers), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_with_forged_records_deceives_nobody_and_is_blocked() {
    let cluster = Cluster::start(3, &fast(), PATIENCE).await;
    let [_, writer, reader] = &cluster.nodes[..] else { panic!("three nodes") };
    let mut raw = Raw::join(&cluster).await;
    let thief = cluster.authority.node("thief");
    let draft = Draft { name: b"n", value: b"forged", sequence: u64::MAX, expires: START + Span::HOUR };
    let forged = sign(&*thief, &draft).expect("signs");
    let wanted = table_key(&key(writer.handle.peer_id(), b"n"));
    raw.swarm.behaviour_mut().kad.store_mut().put(Record::new(wanted, forged)).expect("its own store believes it");
    let forger = *raw.swarm.local_peer_id();
    writer.handle.put_record(b"n", b"genuine").await.expect("it is stored by some");
    raw.until("the forger is asked, not believed, and blocked", async || {
        let found = reader.handle.get_record(writer.handle.peer_id(), b"n").await.expect("the lookup ends");
        assert_eq!(found.value.expect("it is there").value, b"genuine");
        let peers = reader.handle.peers().await.expect("it runs");
        peers.iter().all(|state| state.peer != forger)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_provider_entries_is_bounded_and_honest_lookups_go_on() {
    let mut settings = fast();
    settings.store.keys_per_provider_max = 20;
    settings.questions_per_peer_per_second_max = 40;
    let cluster = Cluster::start(6, &settings, PATIENCE).await;
    let (flooder, honest) = (&cluster.nodes[4].handle, &cluster.nodes[5].handle);
    let refused = futures_util::future::join_all((0..=255).map(|number| flooder.provide(key_of(number)))).await;
    let refused = refused.iter().filter(|result| matches!(result, Err(OperationError::NotStored { .. }))).count();
    // Five nodes keep twenty each at most.
    assert!(refused >= 256 - 5 * 20, "{refused} of 256");
    for node in &cluster.nodes[..4] {
        let store = node.handle.metrics().await.expect("it runs").store;
        assert!(store.providers <= 20, "{}", store.providers);
    }
    let key = [77; 32];
    honest.provide(key).await.expect("others are not refused for it");
    for node in &cluster.nodes[..4] {
        assert_eq!(providers_of(node, key).await, [honest.peer_id()]);
    }
}

/// Issues certificates for keys that are given, as an attacker gets them who asks often enough.
struct Certifier(Issuer);

impl Certifier {
    fn new() -> Self {
        let generate = || hybrid::SecretKey::generate().expect("the system has randomness");
        let validity = Validity::starting(START - Span::DAY, Span::days(300));
        let (root, keys) = (Issuer::root("Root", generate(), validity).expect("issues"), generate());
        let options = IntermediateOptions {
            common_name: "Nodes",
            keys: &keys.public(),
            purpose: Purpose::Node,
            path_length: 0,
            permitted: &[],
            validity,
        };
        Self(Issuer::new(root.intermediate(&options).expect("issues"), keys).expect("fits"))
    }

    fn certify(&self, key: &ed25519::SecretKey) -> Certificate {
        let leaf = self.0.leaf(&LeafOptions {
            common_name: "sybil",
            key: LeafKey::Classical(&key.public()),
            purpose: Purpose::Node,
            names: &[SubjectName::dns("s.node.trustchain").expect("a domain")],
            validity: Validity::starting(START - Span::HOUR, Span::DAY),
        });
        leaf.expect("issues")
    }
}

/// Makes keys until twenty have ids that lie nearer to a key than any of these peers.
fn ground(key: &[u8], peers: Vec<PeerId>) -> Vec<ed25519::SecretKey> {
    let nearest = by_distance(key, peers)[0];
    let key = KBucketKey::new(RecordKey::from(key.to_vec()));
    let bound = KBucketKey::from(nearest).distance(&key);
    let any = std::iter::repeat_with(|| ed25519::SecretKey::generate().expect("the system has randomness"));
    let near = any.filter(|secret| {
        let public = libp2p::identity::ed25519::PublicKey::try_from_bytes(secret.public().as_bytes());
        let peer = libp2p::identity::PublicKey::from(public.expect("a key")).to_peer_id();
        KBucketKey::from(peer).distance(&key) < bound
    });
    near.take(20).collect()
}

/// Twenty peers with ids around a key, who keep nothing: they are the twenty nearest, and all that a provider would tell if
/// they were let in. (With room for a hundred of one network the key is gone.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sybils_of_one_network_around_a_key_do_not_hide_its_providers() {
    let key = key_of(200);
    let mut honest = Settings { peers_per_subnet_max: 2, ..fast() };
    honest.discovery.peers_min = 24;
    let mut cluster = Cluster::start(25, &honest, PATIENCE).await;
    let (certifier, mut sybil) = (Certifier::new(), Settings { peers_per_subnet_max: 100, ..fast() });
    sybil.store.providers_max = 0;
    let any = cluster.authority.node("any");
    for (number, secret) in (1..).zip(ground(&key, cluster.peers())) {
        let identity = cluster.authority.presenting(&any, vec![certifier.certify(&secret)]);
        cluster.add_as(&identity, SocketAddr::from(([203, 0, 113, number], 9292)), &sybil);
    }
    let sybils: BTreeSet<PeerId> = cluster.peers().split_off(25).into_iter().collect();
    let nearest: BTreeSet<PeerId> = by_distance(&key, cluster.peers()).into_iter().take(20).collect();
    assert_eq!(nearest, sybils);
    let (provider, asker) = (&cluster.nodes[7].handle, &cluster.nodes[21].handle);
    until(PATIENCE, "the sybils are met as far as they are let in", async || {
        let found = provider.closest(&key).await.expect("the lookup ends").value;
        found.iter().any(|found| sybils.contains(&found.peer))
    })
    .await;
    let stored = provider.provide(key).await.expect("honest nodes keep it");
    assert!(stored.acknowledged > 10, "{stored:?}");
    let found = asker.providers(key, 1).await.expect("the lookup ends").value;
    assert_eq!(found.first().map(|found| found.peer), Some(provider.peer_id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_public_network_gets_a_bounded_number_of_connections() {
    let settings = Settings { peers_per_subnet_max: 3, ..fast() };
    let mut cluster = Cluster::start(1, &settings, PATIENCE).await;
    for host in 1..=6 {
        let address = SocketAddr::from(([203, 0, 113, host], 9292));
        cluster.add(address, &settings);
    }
    let victim = &cluster.nodes[0].handle;
    until(PATIENCE, "three are let in, three are not", async || {
        let metrics = victim.metrics().await.expect("it runs");
        metrics.peers_connected == 3 && metrics.connections_denied >= 3
    })
    .await;
    let elsewhere = cluster.add(address_of(9), &settings).handle.peer_id();
    until(PATIENCE, "another network is let in", async || {
        let peers = cluster.nodes[0].handle.peers().await.expect("it runs");
        peers.iter().any(|state| state.peer == elsewhere && state.connected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded() {
    let settings = Settings { connections_max: 4, ..fast() };
    let mut cluster = Cluster::start(1, &settings, PATIENCE).await;
    let generous = fast();
    for number in 1..=8 {
        cluster.add(address_of(number), &generous);
    }
    let began = Instant::now();
    let victim = cluster.nodes[0].handle.clone();
    until(PATIENCE, "some are turned away", async || {
        let metrics = victim.metrics().await.expect("it runs");
        assert!(metrics.peers_connected <= 4);
        metrics.connections_denied >= 4 && began.elapsed() > Duration::from_secs(1)
    })
    .await;
    let kept = victim.peers().await.expect("it runs");
    assert!(kept.iter().filter(|state| state.connected).count() <= 4);
}
