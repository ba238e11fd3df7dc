//! Capabilities: who may do what with which part of a region, until when.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::address::ProxyAddress;

/// What the code of a capability is made over, so that the key serves for nothing else.
const DOMAIN: &[u8] = b"hypermesh.proxy.capability/1\0";
/// The length of a code: HyperMesh's access token.
pub const CODE_BYTES: usize = 32;

/// Who speaks to a node, as its transport has proved it: a digest of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer(pub [u8; 32]);

/// What a holder may do (HyperMesh's permissions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Read bytes.
    pub read: bool,
    /// Change bytes.
    pub write: bool,
    /// Run what is there. Nothing here runs memory; the right is handed on to whoever maps it.
    pub execute: bool,
    /// Give others less than one has.
    pub share: bool,
    /// Keep what was read, and be told when it changes.
    pub cache: bool,
    /// Say what will be read soon.
    pub prefetch: bool,
}

/// A capability. It may be shown to anybody: it is worth something to its holder alone, whom the transport knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The region.
    pub address: ProxyAddress,
    /// Its number among those of the region.
    pub serial: u64,
    /// Who may use it.
    pub holder: Peer,
    /// Where the range begins in the region, in bytes.
    pub offset: u64,
    /// How long the range is, in bytes.
    pub length: u64,
    /// What may be done.
    pub rights: Rights,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// The seal of the node.
    pub code: [u8; CODE_BYTES],
}

/// A text that is no capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no capability: one is {TEXT_LENGTH} characters of Base64 (RFC 4648, section 5)")]
pub struct ParseCapabilityError;

/// The length of a capability in bytes, and in text.
const BYTES: usize = 16 + 8 + 2 + 8 + 32 + 8 + 8 + 1 + 8 + CODE_BYTES;
const TEXT_LENGTH: usize = BYTES / 3 * 4;

/// The key of a node.
pub(super) struct Key([u8; 32]);

impl Rights {
    /// Every right.
    pub const ALL: Self = Self { read: true, write: true, execute: true, share: true, cache: true, prefetch: true };
    /// Reading alone.
    pub const READ: Self =
        Self { read: true, write: false, execute: false, share: false, cache: false, prefetch: false };

    /// Gives what both have.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self {
            read: self.read && other.read,
            write: self.write && other.write,
            execute: self.execute && other.execute,
            share: self.share && other.share,
            cache: self.cache && other.cache,
            prefetch: self.prefetch && other.prefetch,
        }
    }

    /// Tells whether these are no more than others.
    pub fn are_within(self, other: Self) -> bool {
        self.both(other) == self
    }

    fn bits(self) -> u8 {
        let all = [self.read, self.write, self.execute, self.share, self.cache, self.prefetch];
        all.iter().enumerate().map(|(at, right)| u8::from(*right) << at).sum()
    }

    fn from_bits(bits: u8) -> Option<Self> {
        let has = |at: u8| bits >> at & 1 == 1;
        let (read, write, execute, share, cache, prefetch) = (has(0), has(1), has(2), has(3), has(4), has(5));
        (bits < 1 << 6).then_some(Self { read, write, execute, share, cache, prefetch })
    }
}

impl Capability {
    /// Gives the code that a key makes for this capability.
    fn sealed(&self, key: &Key) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        // Every field has a fixed length, so no two capabilities give the same bytes.
        hasher.update(DOMAIN).update(&self.address.network).update(&self.address.node);
        hasher.update(&self.address.port.to_le_bytes()).update(&self.serial.to_le_bytes()).update(&self.holder.0);
        hasher.update(&self.offset.to_le_bytes()).update(&self.length.to_le_bytes());
        hasher.update(&[self.rights.bits()]).update(&self.expires_at.to_le_bytes());
        hasher.finalize()
    }

    pub(super) fn seal(&mut self, key: &Key) {
        self.code = *self.sealed(key).as_bytes();
    }

    /// Tells whether this node has sealed it as it is. Takes the same time for every wrong code.
    pub(super) fn is_genuine(&self, key: &Key) -> bool {
        self.sealed(key) == blake3::Hash::from_bytes(self.code)
    }

    pub(super) fn has_ended(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() >= self.expires_at
    }

    pub(super) fn covers(&self, offset: u64, length: u64) -> bool {
        let end = |at: u64, length: u64| at.checked_add(length);
        match (end(offset, length), end(self.offset, self.length)) {
            (Some(inner), Some(outer)) => offset >= self.offset && inner <= outer,
            _ => false,
        }
    }
}

impl Key {
    pub(super) fn random() -> std::io::Result<Self> {
        let (mut bytes, mut filled) = ([0; 32], 0);
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self(bytes))
    }
}

/// Its fields in the order in which they are sealed, then the seal, in Base64.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProxyAddress { network, node, port } = self.address;
        let bytes = [
            network.as_slice(),
            &node,
            &port.to_le_bytes(),
            &self.serial.to_le_bytes(),
            &self.holder.0,
            &self.offset.to_le_bytes(),
            &self.length.to_le_bytes(),
            &[self.rights.bits()],
            &self.expires_at.to_le_bytes(),
            &self.code,
        ];
        f.write_str(&BASE64URL_NOPAD.encode(&bytes.concat()))
    }
}

impl FromStr for Capability {
    type Err = ParseCapabilityError;

    fn from_str(text: &str) -> Result<Self, ParseCapabilityError> {
        let parse = || {
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            let mut rest = bytes.as_slice();
            let capability = Self {
                address: ProxyAddress {
                    network: take(&mut rest)?,
                    node: take(&mut rest)?,
                    port: u16::from_le_bytes(take(&mut rest)?),
                },
                serial: u64::from_le_bytes(take(&mut rest)?),
                holder: Peer(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
                length: u64::from_le_bytes(take(&mut rest)?),
                rights: Rights::from_bits(u8::from_le_bytes(take(&mut rest)?))?,
                expires_at: i64::from_le_bytes(take(&mut rest)?),
                code: take(&mut rest)?,
            };
            rest.is_empty().then_some(capability)
        };
        parse().ok_or(ParseCapabilityError)
    }
}

/// Takes so many bytes from the beginning.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_has_one_text() {
        let address = ProxyAddress { network: [1; 16], node: [2; 8], port: 8123 };
        let rights = Rights { write: true, ..Rights::READ };
        let (holder, code) = (Peer([3; 32]), [4; CODE_BYTES]);
        let capability = Capability { address, serial: 5, holder, offset: 6, length: 7, rights, expires_at: -8, code };
        let text = capability.to_string();
        assert_eq!((text.len(), text.parse()), (TEXT_LENGTH, Ok(capability.clone())));
        let other = Capability { rights: Rights::ALL, ..capability };
        assert_eq!(other.to_string().parse(), Ok(other));
        for wrong in [&text[4..], &format!("{text}AAAA"), &text.replace('A', "="), "", &"_".repeat(TEXT_LENGTH)] {
            assert_eq!(wrong.parse::<Capability>(), Err(ParseCapabilityError), "{wrong}");
        }
    }
}
