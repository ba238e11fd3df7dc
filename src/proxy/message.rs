//! Messages of the memory protocol: one MessagePack map each, fields by name.
//!
//! Invariant: decoding ends in a message or an error, whatever the bytes, and builds nothing longer than they are.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::address::ProxyAddress;
use super::capability::{Capability, Rights};
use super::{MESSAGE_BYTES_MAX, ProxyError, VERSION};

/// What a holder asks. Offsets count from the beginning of the mapping, in bytes; words are of 64 bits, little endian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Asks whether the other end is there.
    Heartbeat,
    /// Makes a mapping of a capability's range, with some of its rights.
    Map {
        /// The capability.
        capability: Capability,
        /// The rights.
        rights: Rights,
    },
    /// Ends a mapping.
    Unmap {
        /// The mapping.
        mapping: u64,
    },
    /// Reads bytes.
    Read {
        /// The mapping.
        mapping: u64,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// Writes bytes.
    Write {
        /// The mapping.
        mapping: u64,
        /// Where they begin.
        offset: u64,
        /// The bytes.
        #[serde(with = "crate::vm::program::source::bytes")]
        bytes: Vec<u8>,
    },
    /// Puts a word where another one is expected.
    CompareAndSwap {
        /// The mapping.
        mapping: u64,
        /// Where, a multiple of 8.
        offset: u64,
        /// What should be there.
        expected: u64,
        /// What should be there then.
        new: u64,
    },
    /// Adds to a word.
    AtomicAdd {
        /// The mapping.
        mapping: u64,
        /// Where, a multiple of 8.
        offset: u64,
        /// How much.
        amount: u64,
    },
    /// Orders what this holder asked before it before what follows.
    Fence {
        /// The mapping.
        mapping: u64,
    },
    /// Says what will be read soon.
    Prefetch {
        /// The mapping.
        mapping: u64,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// Brings changes to what stands behind the memory.
    Sync {
        /// The mapping.
        mapping: u64,
    },
    /// Takes the notifications that wait for this holder.
    Notifications,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// It is done, and there is nothing to tell.
    Done,
    /// A mapping is made.
    Mapped {
        /// The mapping.
        mapping: u64,
        /// How long it is, in bytes.
        length: u64,
        /// When it ends, in seconds since 1970.
        expires_at: i64,
    },
    /// The bytes that were asked for.
    Bytes {
        /// The bytes.
        #[serde(with = "crate::vm::program::source::bytes")]
        bytes: Vec<u8>,
        /// How often the region was changed before: what was read with the right to keep it is good while this stays.
        version: u64,
    },
    /// The word that was there before.
    Word {
        /// The word.
        before: u64,
    },
    /// Notifications, the oldest first.
    Notifications {
        /// They.
        notifications: Vec<Notification>,
    },
    /// It is refused.
    Refused {
        /// Why.
        error: ProxyError,
    },
}

/// What a node tells a holder unasked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notification {
    /// Somebody else changed bytes of a mapping whose holder keeps what it reads.
    Modified {
        /// The mapping.
        mapping: u64,
        /// Where they begin.
        offset: u64,
        /// How many they are.
        length: u64,
        /// The region's version now.
        version: u64,
    },
    /// A mapping has ended before its time: its region has, or its capability was revoked.
    Unmapped {
        /// The mapping.
        mapping: u64,
    },
    /// A mapping has fewer rights than before.
    PermissionChanged {
        /// The mapping.
        mapping: u64,
        /// The rights it has.
        rights: Rights,
    },
    /// A region is somewhere else now; its mappings have ended.
    Migrated {
        /// Where it was.
        from: ProxyAddress,
        /// Where it is.
        to: ProxyAddress,
    },
}

/// A message with its version and the number by which answers find their questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The version.
    pub version: u32,
    /// The number.
    pub id: u64,
    /// The message.
    pub body: T,
}

impl Request {
    /// Tells whether asking twice does no more than asking once.
    pub fn is_repeatable(&self) -> bool {
        !matches!(self, Self::CompareAndSwap { .. } | Self::AtomicAdd { .. } | Self::Map { .. } | Self::Notifications)
    }
}

/// Writes a message.
///
/// # Errors
/// It is longer than [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(id: u64, body: T) -> Result<Vec<u8>, ProxyError> {
    let bytes = rmp_serde::to_vec_named(&Envelope { version: VERSION, id, body })
        .map_err(|error| ProxyError::Message(error.to_string()))?;
    check_length(&bytes)?;
    Ok(bytes)
}

/// Reads a message.
///
/// # Errors
/// The bytes are longer than [`MESSAGE_BYTES_MAX`], no message, or of another version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Envelope<T>, ProxyError> {
    check_length(bytes)?;
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(16);
    let message = Envelope::<T>::deserialize(&mut reader).map_err(|error| ProxyError::Message(error.to_string()))?;
    if message.version != VERSION {
        return Err(ProxyError::Message(format!("version {} is spoken here, not {}", VERSION, message.version)));
    }
    Ok(message)
}

fn check_length(bytes: &[u8]) -> Result<(), ProxyError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ProxyError::TooLong { bytes: bytes.len() as u64, max: MESSAGE_BYTES_MAX as u64 });
    }
    Ok(())
}
