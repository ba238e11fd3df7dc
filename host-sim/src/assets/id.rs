//! Ids of assets.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Serialize, Serializer};
use sha2::Digest as _;
use uuid::Uuid;

use super::kind::AssetType;

/// The id of an asset: kind, UUID (version 4), time of creation, and a hash over them.
///
/// The hash is SHA-256 of the kind's number (1 byte), the UUID (16 bytes), the creation time (µs since 1970, 8 bytes,
/// little endian) and a fixed tag. The text is `kind:uuid:hash`; it leaves the time out, so reading it takes the time and
/// checks the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId {
    kind: AssetType,
    uuid: Uuid,
    created_us: u64,
    hash: [u8; 32],
}

/// A text that is no asset id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an asset id: {reason}")]
pub struct ParseAssetIdError {
    text: String,
    reason: String,
}

/// Keeps these hashes apart from any other over the same fields.
const TAG: &[u8] = b"hypermesh.asset/1";

impl AssetId {
    /// Makes an id that no other asset has.
    pub fn mint(kind: AssetType, created_us: u64) -> Self {
        Self::of(kind, Uuid::new_v4(), created_us)
    }

    /// Makes the id of these fields.
    pub fn of(kind: AssetType, uuid: Uuid, created_us: u64) -> Self {
        let hash = sha2::Sha256::new()
            .chain_update([kind.number()])
            .chain_update(uuid.as_bytes())
            .chain_update(created_us.to_le_bytes())
            .chain_update(TAG)
            .finalize();
        Self { kind, uuid, created_us, hash: hash.into() }
    }

    /// Reads the text of an asset made at this time.
    ///
    /// # Errors
    /// The text has another form, or its hash is not the one of its fields and this time.
    pub fn parse(text: &str, created_us: u64) -> Result<Self, ParseAssetIdError> {
        let fault =
            |reason: &str| ParseAssetIdError { text: text.chars().take(200).collect(), reason: reason.to_owned() };
        let mut parts = text.split(':');
        let (Some(kind), Some(uuid), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(fault("expected `kind:uuid:hash`"));
        };
        let kind = kind.parse().map_err(|error: super::ParseAssetTypeError| fault(&error.to_string()))?;
        let uuid = Uuid::try_parse(uuid).map_err(|_| fault("its second part is no UUID"))?;
        let id = Self::of(kind, uuid, created_us);
        if HEXLOWER.encode(&id.hash) != hash {
            return Err(fault("its hash is not the one of its kind, UUID and creation time"));
        }
        if id.to_string() != text {
            return Err(fault("its UUID is not in lower-case hyphenated form"));
        }
        Ok(id)
    }

    /// Gives the kind.
    pub fn kind(&self) -> AssetType {
        self.kind
    }

    /// Gives the UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Gives the time of creation in microseconds since 1970 (UTC).
    pub fn created_us(&self) -> u64 {
        self.created_us
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.uuid, HEXLOWER.encode(&self.hash))
    }
}

impl Serialize for AssetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_over_kind_uuid_time_and_tag() {
        let id = AssetId::of(AssetType::Memory, Uuid::from_u128(1), 2);
        // Checked with another implementation of SHA-256.
        insta::assert_snapshot!(id, @r#"memory:00000000-0000-0000-0000-000000000001:384cef0d73cc7009c31cceeb24447c80b181b766657e80d7f9eb88e3be15fee6"#);
    }

    #[test]
    fn a_text_reads_back_only_with_its_time() {
        let id = AssetId::mint(AssetType::VirtualMachine, 1_700_000_000_000_000);
        let text = id.to_string();
        assert_eq!(AssetId::parse(&text, id.created_us()), Ok(id));
        let wrong = [
            text.replacen("virtual_machine", "library", 1),
            text.replacen("virtual_machine", "disk", 1),
            text.to_uppercase(),
            text.replacen('-', "", 4),
            format!("{text}:"),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ];
        for wrong in wrong {
            assert!(AssetId::parse(&wrong, id.created_us()).is_err(), "{wrong}");
        }
        assert!(AssetId::parse(&text, id.created_us() + 1).is_err(), "the time is part of the id");
    }
}
