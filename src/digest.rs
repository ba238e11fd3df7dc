//! Content digests: BLAKE3 names everything in the store; SHA-256 and SHA-512 stand beside it for packages that ask.
//!
//! Text forms are lower-case hexadecimal behind the algorithm's name: `blake3:af13…`. Nothing here reads files.

use std::fmt;
use std::io;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A BLAKE3 digest of 32 bytes: the identity of a blob, an archive or a tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// The digests of one byte string under every algorithm a package may name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digests {
    /// BLAKE3, 32 bytes.
    pub blake3: Digest,
    /// SHA-256 (FIPS 180-4) in hexadecimal.
    pub sha256: String,
    /// SHA-512 (FIPS 180-4) in hexadecimal.
    pub sha512: String,
}

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest of the form blake3:<64 hexadecimal digits>")]
pub struct ParseDigestError {
    text: String,
}

impl Digest {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes what a reader gives, without holding it.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of_reader(reader: impl io::Read) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        Ok(Self(*hasher.update_reader(reader)?.finalize().as_bytes()))
    }

    /// Takes the 32 bytes of a finished hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Gives the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Gives the 64 hexadecimal digits without the algorithm's name, for file names.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Reads what [`Self::to_hex`] gives, and nothing else.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let is_hex = hex.len() == 64 && HEXLOWER.decode_mut(hex.as_bytes(), &mut bytes).is_ok();
        is_hex.then_some(Self(bytes))
    }

    /// Gives the first twelve hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_hex()[..12].to_owned()
    }
}

impl Digests {
    /// Hashes bytes under every algorithm.
    pub fn of(bytes: &[u8]) -> Self {
        Self { blake3: Digest::of(bytes), sha256: sha256_hex(bytes), sha512: sha512_hex(bytes) }
    }
}

/// Hashes with SHA-256, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

/// Hashes with SHA-512, in hexadecimal.
pub fn sha512_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&sha2::Sha512::digest(bytes))
}

/// From where on, in bytes, a thread costs less than it saves: starting one takes as long as hashing some 50 kB.
pub(crate) const PARALLEL_BYTES_MIN: usize = 1 << 20;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        text.strip_prefix("blake3:").and_then(Self::from_hex).ok_or_else(|| ParseDigestError { text: text.to_owned() })
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, ParseDigestError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_three_algorithms() {
        // BLAKE3 test_vectors.json (input_len 0), FIPS 180-4 examples for "abc".
        assert_eq!(
            Digest::of(b"").to_string(),
            "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        let abc = Digests::of(b"abc");
        assert_eq!(abc.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(abc.sha512.starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
    }

    #[test]
    fn text_round_trips_and_other_texts_are_refused() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "blake3:", "blake3:00", &digest.to_hex(), &digest.to_string().to_uppercase()] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
