//! What can be set about the control plane, and what it costs.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::behaviour::at_least_one;
use super::discovery::DiscoveryOptions;
use super::record::RECORD_LIFETIME;
use super::store::StoreLimits;

/// What can be set. The defaults are those of HyperMesh.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes keep an entry, at most 20: `k` of Kademlia. All nodes of a network should agree.
    pub replication: NonZeroUsize,
    /// How many peers one bucket of the routing table holds, at most 20.
    pub bucket_peers_max: NonZeroUsize,
    /// How many nodes a lookup asks at a time: `alpha` of Kademlia.
    pub parallelism: NonZeroUsize,
    /// How long a lookup takes at most.
    pub lookup_timeout: Duration,
    /// How long one question to one peer takes at most: what a crashed peer costs a lookup.
    pub request_timeout: Duration,
    /// How long a record counts, at most [`RECORD_LIFETIME`].
    pub record_lifetime: Duration,
    /// How long a peer is believed to provide what it said it does.
    pub provider_lifetime: Duration,
    /// How often what this node provides and wrote is published again, and what it keeps for others is copied to those who
    /// should have it now.
    pub republish_interval: Duration,
    /// How often the routing table is refreshed.
    pub refresh_interval: Duration,
    /// How long a connection that nothing uses stays open, unless its peer is one of those kept.
    pub idle_timeout: Duration,
    /// How often a peer is pinged.
    pub ping_interval: Duration,
    /// How often announcements that were missed are asked for.
    pub heartbeat_interval: Duration,
    /// The most control connections. Above three quarters of them the oldest that are not kept make way.
    pub connections_max: u32,
    /// The most connected peers of one public network (256 addresses of IPv4, a /48 of IPv6). Private networks are exempt.
    pub peers_per_subnet_max: usize,
    /// The most questions of one peer, entries to keep among them, that are answered in a second.
    pub questions_per_peer_per_second_max: u32,
    /// The most announcements that one peer may pass on in a second; those above are neither judged nor passed on.
    pub announcements_per_peer_per_second_max: u32,
    /// How much is kept for others.
    pub store: StoreLimits,
    /// Whom to connect to.
    pub discovery: DiscoveryOptions,
    /// Whether the local network is told of this node.
    pub local_network: LocalNetwork,
}

/// Whether nodes on the same local network find each other by multicast (mDNS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalNetwork {
    /// They do not.
    #[default]
    Silent,
    /// They do, and everybody there learns the node's id and addresses.
    Announced,
}

/// The control plane cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting makes no sense.
    #[error("the setting `{field}` is refused: {reason}")]
    Settings {
        /// Which.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// The local network cannot be told.
    #[error("the local network cannot be reached by multicast")]
    LocalNetwork {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// This node has no certificate, or one that is no identity.
    #[error("this node has no certificate to be known by")]
    NoCertificate,
    /// It cannot listen.
    #[error("cannot listen for control connections: {reason}")]
    Listen {
        /// Why.
        reason: String,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replication: at_least_one(20),
            bucket_peers_max: at_least_one(20),
            parallelism: at_least_one(3),
            lookup_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_millis(1500),
            record_lifetime: RECORD_LIFETIME,
            provider_lifetime: Duration::from_hours(24),
            republish_interval: Duration::from_hours(1),
            refresh_interval: Duration::from_mins(15),
            idle_timeout: Duration::from_secs(20),
            ping_interval: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(1),
            connections_max: 100,
            peers_per_subnet_max: 32,
            questions_per_peer_per_second_max: 200,
            announcements_per_peer_per_second_max: 500,
            store: StoreLimits::default(),
            discovery: DiscoveryOptions::default(),
            local_network: LocalNetwork::default(),
        }
    }
}

impl Settings {
    /// Checks them.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn validate(&self) -> Result<(), StartError> {
        let refuse = |field, reason: &str| Err(StartError::Settings { field, reason: reason.to_owned() });
        if self.replication > libp2p::kad::K_VALUE {
            return refuse("replication", "at most 20 nodes keep an entry");
        }
        if self.bucket_peers_max > libp2p::kad::K_VALUE {
            return refuse("bucket_peers_max", "a bucket of the table holds at most 20 peers");
        }
        if self.record_lifetime > RECORD_LIFETIME {
            return refuse("record_lifetime", "records count for 24 hours at most");
        }
        if self.republish_interval >= self.record_lifetime || self.republish_interval >= self.provider_lifetime {
            return refuse("republish_interval", "entries would expire before they are published again");
        }
        if self.connections_max < 4 {
            return refuse("connections_max", "4 connections are the least");
        }
        self.discovery.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Settings), expected: Option<&str>) {
        let mut settings = Settings::default();
        change(&mut settings);
        let refused = settings.validate().err().map(|error| match error {
            StartError::Settings { field, .. } => field,
            other => panic!("{other}"),
        });
        assert_eq!(refused, expected);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_name() {
        check(|_| (), None);
        check(|s| s.replication = at_least_one(20), None);
        check(|s| s.replication = at_least_one(21), Some("replication"));
        check(|s| s.bucket_peers_max = at_least_one(21), Some("bucket_peers_max"));
        check(|s| s.record_lifetime = RECORD_LIFETIME + Duration::from_secs(1), Some("record_lifetime"));
        check(|s| s.republish_interval = s.provider_lifetime, Some("republish_interval"));
        check(|s| s.connections_max = 3, Some("connections_max"));
        check(|s| s.discovery.peers_min = 101, Some("peers_min"));
    }
}
