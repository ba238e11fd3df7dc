//! What is asked for and what is given.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::gpu::GpuAbsent;
use super::id::AssetId;
use super::kind::{Amount, AssetState, AssetType, PrivacyLevel};
use super::{ITEMS_MAX, LEASES_MAX, SOURCES_MAX, TAGS_MAX, TEXT_BYTES_MAX};
use crate::manifest::{Bytes, ExtensionId};

/// One generation of an extension. Limits are shared by all generations of an extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Owner {
    /// The extension.
    pub extension: ExtensionId,
    /// Its generation on this host.
    pub generation: u64,
}

/// Resources asked for together.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRequest {
    /// Who asks.
    pub owner: Owner,
    /// What for, for people.
    pub label: String,
    /// What, at least one item; all are given or none.
    pub items: Vec<Item>,
    /// How long at most: up to 24 h.
    pub ttl: Duration,
    /// Labels to find the assets by.
    pub tags: Vec<String>,
    /// Where the wish comes from.
    pub origin: Origin,
}

/// Where a wish comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This node.
    Local,
    /// Another node; refused for kinds whose privacy level does not allow it.
    Remote,
}

/// One kind of resource and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The kind.
    pub kind: AssetType,
    /// How much, in the [unit](AssetType::unit) of the kind; at least one.
    pub amount: u64,
    /// What else must hold.
    pub constraints: Constraints,
}

/// What must hold besides the amount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Architecture of the processor, such as `x86_64`.
    pub architecture: Option<String>,
    /// Type of the graphics processor: `CUDA` or a part of its name.
    pub gpu_type: Option<String>,
    /// Memory that is free on each graphics processor.
    pub gpu_memory_min: Option<Bytes>,
}

/// The id of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LeaseId(u64);

/// Resources that were given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lease {
    /// The id.
    pub id: LeaseId,
    /// Who holds it.
    pub owner: Owner,
    /// What for.
    pub label: String,
    /// What, in the order of the request.
    pub items: Vec<LeasedItem>,
    /// Labels of its assets.
    pub tags: Vec<String>,
    /// Since when, in microseconds since 1970 (UTC).
    pub created_us: u64,
    /// Until when, in microseconds since 1970 (UTC).
    pub expires_us: u64,
}

/// One asset of a lease.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeasedItem {
    /// Its id.
    pub asset: AssetId,
    /// Its kind.
    pub kind: AssetType,
    /// How much, in the unit of the kind.
    pub amount: u64,
    /// Which part of all the node has, if that is known.
    pub share: Option<f64>,
    /// The graphics processors it is made of.
    pub devices: Vec<GpuDevice>,
    /// What it is doing.
    pub state: AssetState,
    /// How much of it was used when its holder last reported, in the unit of the kind.
    pub used: Option<u64>,
}

/// A graphics processor of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuDevice {
    /// Its number on this node.
    pub index: u32,
    /// Its identity, for `CUDA_VISIBLE_DEVICES`.
    pub uuid: Option<String>,
}

/// Why assets were not given or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssetError {
    /// The request is not one.
    #[error("the lease request is not valid: {reason}")]
    Invalid {
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Nobody registered the owner.
    #[error("`{owner}` is not registered, or was released")]
    NotRegistered {
        /// Who.
        owner: Owner,
    },
    /// The node has no such kind of its own.
    #[error("this node has no assets of kind `{kind}` to lease")]
    NotOffered {
        /// The kind.
        kind: AssetType,
    },
    /// The kind is kept back.
    #[error("`{kind}` of this node is {state}")]
    Unavailable {
        /// The kind.
        kind: AssetType,
        /// Why.
        state: AssetState,
    },
    /// The kind is not for other nodes.
    #[error(
        "`{kind}` of this node is for nobody else: its privacy level is {level:?}, expected PrivateNetwork or more open"
    )]
    Private {
        /// The kind.
        kind: AssetType,
        /// Its level.
        level: PrivacyLevel,
    },
    /// There is no graphics processor.
    #[error(transparent)]
    NoGpu(#[from] GpuAbsent),
    /// The node is not of the wanted sort.
    #[error("asked for {wanted}, this node has {found}")]
    Unsuitable {
        /// What was asked for.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// Less is free than was asked for.
    #[error("asked {asked} of {}, {free} free of {total}, {leases} {} {held}", .asked.0, hold(.leases))]
    Exhausted {
        /// What was asked for.
        asked: Amount,
        /// What is free.
        free: Amount,
        /// What there is.
        total: Amount,
        /// How many leases hold some.
        leases: usize,
        /// What they hold.
        held: Amount,
    },
    /// The owner's limits do not allow it.
    #[error("asked {asked} of {}, `{extension}` holds {held} and may hold {limit}", .asked.0)]
    Quota {
        /// The extension, with all its generations.
        extension: ExtensionId,
        /// What was asked for.
        asked: Amount,
        /// What it holds.
        held: Amount,
        /// What it may hold.
        limit: Amount,
    },
    /// The owner's limit of assets does not allow it.
    #[error("asked {asked} assets, `{extension}` holds {held} and may hold {limit}")]
    TooManyAssets {
        /// The extension, with all its generations.
        extension: ExtensionId,
        /// How many were asked for.
        asked: usize,
        /// How many it holds.
        held: usize,
        /// How many it may hold.
        limit: usize,
    },
    /// The node's own bounds do not allow more.
    #[error("this node has {LEASES_MAX} leases, expected fewer")]
    TooManyLeases,
    /// The node's own bounds do not allow more.
    #[error("this node has {SOURCES_MAX} sources of assets, expected fewer")]
    TooManySources,
    /// There is no such lease or asset, or it is another owner's.
    #[error("`{owner}` holds no `{id}`")]
    NotHeld {
        /// Who asked.
        owner: Owner,
        /// What for.
        id: String,
    },
}

impl LeaseRequest {
    /// The longest lease: HyperMesh's longest allocation.
    pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Checks the form of the request.
    pub(super) fn check(&self) -> Result<(), AssetError> {
        let text = |text: &String| text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
        let constraints = |item: &Item| {
            let Constraints { architecture, gpu_type, .. } = &item.constraints;
            architecture.iter().chain(gpu_type).all(text)
        };
        let reason = if !(1..=ITEMS_MAX).contains(&self.items.len()) {
            format!("it has {} items, expected 1 to {ITEMS_MAX}", self.items.len())
        } else if let Some(item) = self.items.iter().find(|item| item.amount == 0) {
            format!("it asks for no `{}`, expected at least 1 of {}", item.kind, item.kind.unit())
        } else if self.ttl.is_zero() || self.ttl > Self::TTL_MAX {
            format!("it is for {:?}, expected more than nothing and up to 24 h", self.ttl)
        } else if self.tags.len() > TAGS_MAX {
            format!("it has {} tags, expected at most {TAGS_MAX}", self.tags.len())
        } else if !self.tags.iter().chain([&self.label]).all(text) || !self.items.iter().all(constraints) {
            format!("a text is longer than {TEXT_BYTES_MAX} bytes or has a control character, expected neither")
        } else {
            return Ok(());
        };
        Err(AssetError::Invalid { reason })
    }
}

impl LeaseId {
    /// Takes the next number of this process.
    pub(super) fn mint() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Takes a number as its holder names it; only its owner can do anything with it.
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// Gives the number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.extension, self.generation)
    }
}

fn hold(leases: &usize) -> &'static str {
    if *leases == 1 { "lease holds" } else { "leases hold" }
}
