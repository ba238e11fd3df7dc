//! The protocols of the control lane, put together and set up: who may connect, Kademlia, who we are, pings, announcements,
//! direct questions, and the local network where that is switched on.
//!
//! Never takes anything into Kademlia's tables by itself: what peers send is judged by the driver first.

use std::num::NonZeroUsize;

use libp2p::gossipsub::{self, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::identity::PublicKey;
use libp2p::kad::{self, BucketInserts, StoreInserts};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, connection_limits, identify, mdns, ping};

use super::exchange::{self, Exchange};
use super::gate::Gate;
use super::store::Store;
use super::{ANNOUNCEMENT_BYTES_MAX, LocalNetwork, Settings, StartError, TOPIC_BYTES_MAX, TOPICS_PER_PEER_MAX};

/// The name and version of our Kademlia.
pub(crate) const KADEMLIA: StreamProtocol = StreamProtocol::new("/hypermesh/kad/1");
/// What nodes call themselves to each other.
const IDENTIFY: &str = "hypermesh/1";
/// The largest message of Kademlia in bytes: a record, or twenty peers with four addresses each.
const KADEMLIA_BYTES_MAX: usize = super::record::RECORD_BYTES_MAX + (8 << 10);
/// What surrounds an announcement on the wire, in bytes.
const ANNOUNCEMENT_FRAME_BYTES: usize = 128;
/// The most announcements that wait for one connection.
const ANNOUNCEMENTS_WAITING_MAX: usize = 256;

/// Announcements, of topics of which a peer may name a few.
pub(crate) type Gossip = gossipsub::Behaviour<
    gossipsub::IdentityTransform,
    gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>,
>;

/// All of them. The order is that in which a connection has to please them.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) gate: Gate,
    pub(crate) kad: kad::Behaviour<Store>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) exchange: Exchange,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    pub(crate) fn new(public: PublicKey, settings: &Settings) -> Result<Self, StartError> {
        let peer = public.to_peer_id();
        let mut kad = kad::Behaviour::with_config(peer, Store::new(peer, settings.store.clone()), kademlia(settings));
        // Every node serves: one that only asks would store nothing and be nobody's neighbour.
        kad.set_mode(Some(kad::Mode::Server));
        let mdns = match settings.local_network {
            LocalNetwork::Silent => None,
            LocalNetwork::Announced => Some(
                mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
                    .map_err(|source| StartError::LocalNetwork { source })?,
            ),
        };
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits(settings)),
            gate: Gate::new(settings.peers_per_subnet_max),
            kad,
            identify: identify::Behaviour::new(identify::Config::new(IDENTIFY.to_owned(), public).with_cache_size(0)),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(settings.ping_interval).with_timeout(settings.request_timeout),
            ),
            gossip: gossip(settings)?,
            exchange: exchange::behaviour(settings),
            mdns: mdns.into(),
        })
    }
}

fn kademlia(settings: &Settings) -> kad::Config {
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_replication_factor(settings.replication)
        .set_parallelism(settings.parallelism)
        .set_query_timeout(settings.lookup_timeout)
        .set_substreams_timeout(settings.request_timeout)
        // Off: with it lookups of providers are known to find nothing (rust-libp2p issue 5418).
        .disjoint_query_paths(false)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_kbucket_size(settings.bucket_peers_max)
        .set_max_packet_size(KADEMLIA_BYTES_MAX)
        .set_record_ttl(Some(settings.record_lifetime))
        .set_replication_interval(Some(settings.republish_interval))
        // The driver does both, signed anew and acknowledged.
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_provider_record_ttl(Some(settings.provider_lifetime))
        .set_periodic_bootstrap_interval(Some(settings.refresh_interval))
        .set_kbucket_pending_timeout(settings.request_timeout)
        // A record that was read is not pushed to others unasked.
        .set_caching(kad::Caching::Disabled);
    config
}

fn limits(settings: &Settings) -> connection_limits::ConnectionLimits {
    let connections = settings.connections_max;
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(connections))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        .with_max_pending_incoming(Some(connections))
        .with_max_pending_outgoing(Some(connections))
}

/// The most control connections with one peer: two nodes that dial each other at once have two.
pub(crate) const CONNECTIONS_PER_PEER_MAX: u32 = 2;

fn gossip(settings: &Settings) -> Result<Gossip, StartError> {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/hypermesh/gossip")
        .heartbeat_interval(settings.heartbeat_interval)
        .max_transmit_size(ANNOUNCEMENT_BYTES_MAX + TOPIC_BYTES_MAX + ANNOUNCEMENT_FRAME_BYTES)
        .connection_handler_queue_len(ANNOUNCEMENTS_WAITING_MAX)
        // Content verifies itself: whoever wrote it signed it inside. The digest is its name, so nothing is forwarded twice.
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&(message.topic.as_str().len() as u64).to_le_bytes());
            hasher.update(message.topic.as_str().as_bytes()).update(&message.data);
            MessageId::new(hasher.finalize().as_bytes())
        })
        .validate_messages()
        .build()
        .map_err(|e| StartError::Settings { field: "heartbeat_interval", reason: e.to_string() })?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: TOPICS_PER_PEER_MAX,
        max_subscriptions_per_request: TOPICS_PER_PEER_MAX,
    };
    gossipsub::Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
        .map_err(|reason| StartError::Settings { field: "announcements", reason: reason.to_owned() })
}

/// Gives a number as libp2p wants it.
pub(crate) const fn at_least_one(count: usize) -> NonZeroUsize {
    match NonZeroUsize::new(count) {
        Some(count) => count,
        None => NonZeroUsize::MIN,
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[tokio::test]
    async fn the_local_network_is_told_only_if_that_is_switched_on() {
        let public = Keypair::generate_ed25519().public();
        let settings = Settings::default();
        assert!(!Behaviour::new(public.clone(), &settings).expect("it starts").mdns.is_enabled());
        let announced = Settings { local_network: LocalNetwork::Announced, ..settings };
        assert!(Behaviour::new(public, &announced).expect("it starts").mdns.is_enabled());
    }
}
