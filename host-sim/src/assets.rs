//! The host's assets: what this node has, what of it is leased to whom, and what extensions add to it.
//!
//! Figures come from the machine; one the machine does not give is absent, never guessed. A lease is all or nothing, stays
//! within the owner's limits and within what is free, and everything an owner held is free again after
//! [`AssetManager::release_all`]. Nothing here enforces a lease on a process: executors do, with the figures of the lease.

mod gpu;
mod id;
mod kind;
mod lease;
mod manager;
mod node;
mod plan;
mod record;

pub use self::gpu::{GpuAbsent, GpuFigures, Gpus};
pub use self::id::{AssetId, ParseAssetIdError};
pub use self::kind::{Amount, AssetState, AssetType, ParseAssetTypeError, PrivacyLevel};
pub use self::lease::{
    AssetError, Constraints, GpuDevice, Item, Lease, LeaseId, LeaseRequest, LeasedItem, Origin, Owner,
};
pub use self::manager::AssetManager;
pub use self::node::{
    CpuFigures, InterfaceFigures, LocalNode, MemoryFigures, Node, NodeError, NodeFigures, StorageFigures,
};
pub use self::record::{AssetRecord, AssetSource, KindTotals, Query};

/// The most items of one lease.
pub const ITEMS_MAX: usize = 32;
/// The most leases of one node.
pub const LEASES_MAX: usize = 10_000;
/// The most tags of one lease.
pub const TAGS_MAX: usize = 16;
/// The most bytes of a label, a tag or a constraint.
pub const TEXT_BYTES_MAX: usize = 128;
/// The most records one query gives.
pub const RECORDS_MAX: usize = 10_000;
/// The most sources of further assets that extensions may register.
pub const SOURCES_MAX: usize = 256;
