//! Settings of the network between nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigError;

/// The network between nodes. A node without it asks and answers nobody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The address and UDP port at which this node listens, such as `[::]:9292` or `127.0.0.1:0`; port 0 is any free one.
    #[serde(default = "listen")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Addresses of nodes that are asked first. Without any, and without `mdns`, others must find this one.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub bootstrap: Vec<SocketAddr>,
    /// Nodes of the local network are found by multicast DNS, which tells everybody there that this one exists.
    #[serde(default)]
    pub mdns: bool,
    /// Peers must have a FALCON key in their certificates and prove it, too.
    #[serde(default)]
    pub hybrid_peers_only: bool,
    /// How many peers this node keeps in touch with, 1 to 1000.
    #[serde(default = "peers_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub peers_max: u32,
    /// Who may have the archives of this node, if nothing is said of a package.
    #[serde(default)]
    pub share: Share,
    /// Who may have the archives of some packages.
    #[serde(default)]
    pub share_packages: BTreeMap<String, Share>,
    /// On how many nodes each archive should be, 1 to 10.
    #[serde(default = "replicas")]
    #[schemars(range(min = 1, max = 10))]
    pub replicas: u32,
    /// How many bytes of other nodes' archives this node keeps for them.
    #[serde(default = "mirror_bytes_max")]
    pub mirror_bytes_max: u64,
    /// How many bytes a second one peer gets, if there is to be a bound.
    #[serde(default)]
    pub peer_bytes_per_second: Option<u64>,
    /// Peers may run packages on this node, by the names of their certificates, such as `n2.node.trustchain`; `*` is every one.
    #[serde(default)]
    pub run_for: BTreeSet<String>,
    /// Where this node is, so that copies of an archive are not all at one place.
    #[serde(default)]
    pub site: Option<String>,
}

/// Who may have archives of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Every node.
    #[default]
    Public,
    /// None: what is published here stays here.
    Private,
    /// Nodes with these names in their certificates, such as `n2.node.trustchain`.
    Restricted(BTreeSet<String>),
    /// Nodes that have proved a FALCON key in their certificates.
    Verified,
}

impl NetworkConfig {
    /// Checks numbers that must be in a range.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let fault = |field: &str, reason: String| Err(ConfigError::Field { path: format!("network.{field}"), reason });
        if !(1..=PEERS_MAX).contains(&self.peers_max) {
            return fault("peers_max", format!("{} is not from 1 to {PEERS_MAX}", self.peers_max));
        }
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return fault("replicas", format!("{} is not from 1 to {REPLICAS_MAX}", self.replicas));
        }
        if self.peer_bytes_per_second == Some(0) {
            return fault("peer_bytes_per_second", "0 would serve nobody; `share: private` does that".into());
        }
        Ok(())
    }

    /// Says who may have the archives of a package.
    pub fn share_of(&self, package: &str) -> &Share {
        self.share_packages.get(package).unwrap_or(&self.share)
    }
}

/// The most peers.
const PEERS_MAX: u32 = 1_000;
/// The most nodes that are to have an archive, as HyperMesh has it.
const REPLICAS_MAX: u32 = 10;

/// HyperMesh's port of the transport.
fn listen() -> SocketAddr {
    SocketAddr::from(([0_u16; 8], 9_292))
}

/// As HyperMesh states it.
fn peers_max() -> u32 {
    100
}

/// As HyperMesh states it.
fn replicas() -> u32 {
    3
}

/// 10 GiB, as HyperMesh gives a mirror.
fn mirror_bytes_max() -> u64 {
    10 << 30
}
