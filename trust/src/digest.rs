//! Digests of artifacts: SHA-256 and BLAKE3 of the same bytes, so that one broken hash is not enough.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::canonical::NUMBER_MAX;
use crate::entropy::{self, EntropyError};

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not 64 lower-case hexadecimal digits")]
pub struct ParseDigestError {
    text: String,
}

macro_rules! digest {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes a finished digest.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Gives the 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.map(Self).ok_or_else(|| ParseDigestError { text: text.chars().take(80).collect() })
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseDigestError;

            fn try_from(text: String) -> Result<Self, ParseDigestError> {
                text.parse()
            }
        }
    };
}

digest! {
    /// A SHA-256 digest (FIPS 180-4), written as 64 hexadecimal digits.
    Sha256
}

digest! {
    /// A BLAKE3 digest, written as 64 hexadecimal digits.
    Blake3
}

digest! {
    /// A number used once: 32 random bytes, written as 64 hexadecimal digits.
    Nonce
}

impl Nonce {
    /// Draws a number.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn random() -> Result<Self, EntropyError> {
        Ok(Self(*entropy::random::<32>()?))
    }
}

impl Sha256 {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Hashes several texts under a name of what they are for; each stands behind its length, so that none runs into another.
    pub(crate) fn tagged(domain: &str, parts: &[&[u8]]) -> Self {
        let start = sha2::Sha256::new().chain_update(domain.as_bytes()).chain_update([0]);
        let hash = parts
            .iter()
            .fold(start, |hash, part| hash.chain_update((part.len() as u64).to_le_bytes()).chain_update(part));
        Self(hash.finalize().into())
    }
}

impl Blake3 {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// What identifies bytes in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Their SHA-256.
    pub sha256: Sha256,
    /// Their BLAKE3.
    pub blake3: Blake3,
    /// How many there are; below 2^53.
    pub size_bytes: u64,
}

impl Artifact {
    /// Hashes bytes under both algorithms.
    pub fn of(bytes: &[u8]) -> Self {
        let size_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(NUMBER_MAX);
        Self { sha256: Sha256::of(bytes), blake3: Blake3::of(bytes), size_bytes }
    }
}
