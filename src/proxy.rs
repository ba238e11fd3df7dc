//! Memory of executions that others reach by an address and a capability: export, map, read, write, change, end.
//!
//! A node exports a region ([`Memory`]) under a [`ProxyAddress`] and gives holders a [`Capability`] for a range, with rights
//! and an end. A holder maps it and works on the mapping. Messages ([`message`]) are bytes there and bytes back, so any
//! transport that knows who speaks to it can carry them; [`client`] is the other end, and [`stream`] what carries them between
//! nodes. Nothing here reads a clock: what time it is comes with each call.
//!
//! A capability is sealed with a key that only this node has (keyed BLAKE3), not signed: nobody but the node that holds the
//! memory ever has to check one, and a code costs a microsecond where a hybrid signature costs a millisecond and two
//! kilobytes. The key is made anew with each [`Regions`], as what it guards does not outlive the process either.
//!
//! Invariants: no byte is read or changed but by a holder, inside the range and with the rights of a capability that is
//! genuine, not past its end and not revoked, at the moment it happens; when a region ends, every mapping of it has.

pub mod address;
pub mod capability;
pub mod client;
pub mod memory;
pub mod message;
mod serve;
pub mod stream;
mod table;

pub use address::ProxyAddress;
pub use capability::{Capability, Peer, Rights};
pub use memory::{FileMemory, Memory, WordMemory};
pub use message::{Notification, Request, Response};
pub use table::{Export, Grant, Regions};

use std::time::Duration;

/// The version of the messages.
pub const VERSION: u32 = 1;
/// The most bytes of one message (HyperMesh).
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The most bytes of one read or write; the rest of the message is room for everything around them.
pub const TRANSFER_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1024;
/// How long a mapping lives at most (HyperMesh).
pub const MAPPING_LIVES: Duration = Duration::from_secs(3600);
/// The most holders that have mappings at one time: HyperMesh's 1,000 connections.
pub const HOLDERS_MAX: usize = 1000;
/// The most mappings of one holder.
pub const MAPPINGS_PER_HOLDER_MAX: usize = 64;
/// The most regions of one node, and the ports they have (HyperMesh: memory is 8000 to 8999).
pub const REGIONS_MAX: usize = 1000;
/// The first of these ports.
pub const PORT_MIN: u16 = 8000;
/// The most notifications that wait for one holder; the oldest go first.
pub const NOTIFICATIONS_MAX: usize = 256;
/// The most capabilities of one region that are revoked or restricted before they end.
pub const CHANGED_MAX: usize = 4096;

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ProxyError {
    /// The bytes are no message of this version.
    #[error("no message of the memory proxy: {0}")]
    Message(String),
    /// A message or transfer is longer than its bound.
    #[error("{bytes} bytes are more than {max}; use several requests")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// No region has this address here.
    #[error("nothing is exported at `{0}`; it may have ended")]
    NoRegion(String),
    /// The capability is not one that this node gave to whoever shows it, or it was changed.
    #[error("the capability is not genuine, or is another holder's")]
    NotGenuine,
    /// The capability or mapping has ended.
    #[error("it has expired; ask for a new capability or map again")]
    Expired,
    /// The capability was taken back.
    #[error("the capability was revoked")]
    Revoked,
    /// A right is lacking.
    #[error("the right to {0} is lacking")]
    Right(String),
    /// Bytes lie outside the range.
    #[error("{length} bytes at {offset} lie outside the {size} bytes of the range")]
    Range {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        length: u64,
        /// How many there are.
        size: u64,
    },
    /// An atomic operation is not on a multiple of eight.
    #[error("an atomic operation at {0} is not on a multiple of 8 bytes")]
    Alignment(u64),
    /// There is no such mapping of this holder.
    #[error("there is no mapping {0} of this holder; it was unmapped, or its region has ended")]
    NoMapping(u64),
    /// A bound is reached.
    #[error("there are {0} {1} already; end one first")]
    Full(usize, String),
    /// The memory cannot be reached.
    #[error("the memory cannot be reached: {0}")]
    Memory(String),
}

#[cfg(test)]
mod tests;
