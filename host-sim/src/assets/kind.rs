//! Kinds, states and privacy of assets; names and numbers are HyperMesh's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manifest::Bytes;

/// A kind of asset. The numbers are part of asset ids and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AssetType {
    /// Processors, leased in thousandths of a core.
    Cpu = 0,
    /// Graphics processors, leased as whole devices.
    Gpu = 1,
    /// Memory, leased in bytes.
    Memory = 2,
    /// Storage, leased in bytes.
    Storage = 3,
    /// Network bandwidth, leased in bytes per second.
    Network = 4,
    /// Containers.
    Container = 5,
    /// Rewards and payments.
    Economic = 6,
    /// Services of the trust authority.
    Service = 7,
    /// Certificates.
    Certificate = 8,
    /// Virtual machines.
    VirtualMachine = 9,
    /// Libraries of packages.
    Library = 10,
    /// Data sets.
    Dataset = 11,
    /// Templates.
    Template = 12,
    /// Packages.
    Package = 13,
    /// Machine-learning models.
    Model = 14,
    /// Algorithms.
    Algorithm = 15,
}

/// What an asset is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetState {
    /// It can be leased.
    Available,
    /// It is leased.
    Allocated,
    /// It is leased and working.
    InUse,
    /// It is kept from leases by the administrator.
    Maintenance,
    /// It does not work.
    Failed,
}

/// Who may see and use an asset, from nobody else to everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum PrivacyLevel {
    /// This node only; the default.
    #[default]
    Private = 0,
    /// Nodes of the owner's network.
    PrivateNetwork = 1,
    /// Trusted peers.
    P2P = 2,
    /// Any node of the public network.
    PublicNetwork = 3,
    /// Everybody.
    FullPublic = 4,
}

/// A text that names no kind of asset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a kind of asset, expected one of {}", names())]
pub struct ParseAssetTypeError {
    text: String,
}

/// An amount of one kind, for people: `1.5 cores`, `19.2 GiB`, `10 MiB/s`, `2 devices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub AssetType, pub u64);

const KINDS: [(AssetType, &str); 16] = [
    (AssetType::Cpu, "cpu"),
    (AssetType::Gpu, "gpu"),
    (AssetType::Memory, "memory"),
    (AssetType::Storage, "storage"),
    (AssetType::Network, "network"),
    (AssetType::Container, "container"),
    (AssetType::Economic, "economic"),
    (AssetType::Service, "service"),
    (AssetType::Certificate, "certificate"),
    (AssetType::VirtualMachine, "virtual_machine"),
    (AssetType::Library, "library"),
    (AssetType::Dataset, "dataset"),
    (AssetType::Template, "template"),
    (AssetType::Package, "package"),
    (AssetType::Model, "model"),
    (AssetType::Algorithm, "algorithm"),
];

impl AssetType {
    /// The kinds a node itself has.
    pub const HARDWARE: [Self; 5] = [Self::Cpu, Self::Gpu, Self::Memory, Self::Storage, Self::Network];

    /// Gives every kind, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(kind, _)| *kind)
    }

    /// Gives the number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Gives the kind of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        KINDS.get(usize::from(number)).map(|(kind, _)| *kind)
    }

    /// Gives the name.
    pub fn name(self) -> &'static str {
        KINDS[usize::from(self.number())].1
    }

    /// Gives the unit amounts of this kind are in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "millicores",
            Self::Gpu => "devices",
            Self::Memory | Self::Storage => "bytes",
            Self::Network => "bytes/s",
            _ => "items",
        }
    }
}

impl PrivacyLevel {
    /// Gives the number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Gives the share of the full reward the level earns.
    pub fn reward(self) -> f64 {
        f64::from(self.number()) * 0.25
    }

    /// Says whether other nodes may use the asset.
    pub fn allows_remote(self) -> bool {
        self > Self::Private
    }

    /// Says whether the asset may be reached through a proxy address.
    pub fn allows_proxy(self) -> bool {
        self >= Self::P2P
    }
}

impl FromStr for AssetType {
    type Err = ParseAssetTypeError;

    fn from_str(text: &str) -> Result<Self, ParseAssetTypeError> {
        let named = KINDS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        named.map(|(kind, _)| *kind).ok_or_else(|| ParseAssetTypeError { text: text.to_owned() })
    }
}

impl fmt::Display for AssetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for AssetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Available => "available",
            Self::Allocated => "allocated",
            Self::InUse => "in use",
            Self::Maintenance => "in maintenance",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, amount) = *self;
        match kind {
            AssetType::Memory | AssetType::Storage => f.write_str(&Bytes(amount).rounded()),
            AssetType::Network => write!(f, "{}/s", Bytes(amount).rounded()),
            AssetType::Cpu if amount == 1_000 => f.write_str("1 core"),
            AssetType::Cpu => write!(f, "{} cores", amount as f64 / 1_000.0),
            AssetType::Gpu if amount == 1 => f.write_str("1 device"),
            _ => write!(f, "{amount} {}", kind.unit()),
        }
    }
}

fn names() -> String {
    KINDS.map(|(_, name)| format!("`{name}`")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_json_agree() {
        for (number, (kind, name)) in (0_u8..).zip(KINDS) {
            assert_eq!((kind.number(), kind.name(), name.parse()), (number, name, Ok(kind)));
            assert_eq!(AssetType::from_number(number), Some(kind));
            assert_eq!(serde_json::to_value(kind).expect("JSON"), name);
        }
        assert_eq!(AssetType::from_number(16), None);
        let error = "disk".parse::<AssetType>().expect_err("no kind").to_string();
        assert!(error.starts_with("`disk` is not a kind of asset, expected one of `cpu`, `gpu`"));
    }

    #[test]
    fn privacy_decides_who_may_reach_an_asset() {
        use PrivacyLevel::{FullPublic, P2P, Private, PrivateNetwork, PublicNetwork};
        let table = [Private, PrivateNetwork, P2P, PublicNetwork, FullPublic]
            .map(|level| (level.number(), level.reward(), level.allows_remote(), level.allows_proxy()));
        assert_eq!(
            table,
            [
                (0, 0.0, false, false),
                (1, 0.25, true, false),
                (2, 0.5, true, true),
                (3, 0.75, true, true),
                (4, 1.0, true, true)
            ]
        );
    }

    #[test]
    fn amounts_read_well() {
        let texts = [
            Amount(AssetType::Cpu, 1_500),
            Amount(AssetType::Cpu, 1_000),
            Amount(AssetType::Gpu, 1),
            Amount(AssetType::Gpu, 2),
            Amount(AssetType::Memory, 64 << 30),
            Amount(AssetType::Network, 10 << 20),
            Amount(AssetType::Container, 3),
        ];
        assert_eq!(
            texts.map(|amount| amount.to_string()),
            ["1.5 cores", "1 core", "1 device", "2 devices", "64 GiB", "10 MiB/s", "3 items"]
        );
    }
}
