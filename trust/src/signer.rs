//! The keys of whoever signs: both, or, where the roots allow it, Ed25519 alone.
//!
//! How many keys a signer has is said by its certificate and by nothing else: a leaf with both signs with both, and a leaf
//! with one signs with that. Nothing is ever tried with fewer keys than a certificate has, so a second signature that was
//! stripped is missed, and one that is wrong is not looked past.

use crate::certificate::{Certificate, LeafKey};
use crate::digest::Sha256;
use crate::ed25519;
use crate::hybrid::{self, ALGORITHMS, HybridError};

/// The secret keys of a signer; wiped when dropped and never shown.
#[derive(Clone, Debug)]
pub enum SecretKeys {
    /// Both.
    Hybrid(hybrid::SecretKey),
    /// Ed25519 alone.
    Classical(ed25519::SecretKey),
}

/// The keys that something is signed with.
#[derive(Clone, Copy, Debug)]
pub enum SignerKeys<'a> {
    /// Both; two signatures.
    Hybrid(&'a hybrid::SecretKey),
    /// Ed25519 alone; one signature.
    Classical(&'a ed25519::SecretKey),
}

/// The public keys of a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeys {
    /// Both.
    Hybrid(hybrid::PublicKey),
    /// Ed25519 alone.
    Classical(ed25519::PublicKey),
}

/// The signatures of a signer; whether they are right is for the keys of its certificate to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// Both.
    Hybrid(hybrid::Signature),
    /// Ed25519 alone.
    Classical(ed25519::Signature),
}

impl SecretKeys {
    /// Gives the public keys.
    pub fn public(&self) -> PublicKeys {
        SignerKeys::from(self).public()
    }

    /// Gives both keys, if there are both.
    pub fn into_hybrid(self) -> Option<hybrid::SecretKey> {
        match self {
            Self::Hybrid(keys) => Some(keys),
            Self::Classical(_) => None,
        }
    }
}

impl SignerKeys<'_> {
    /// Gives the public keys.
    pub fn public(self) -> PublicKeys {
        match self {
            Self::Hybrid(keys) => PublicKeys::Hybrid(keys.public()),
            Self::Classical(key) => PublicKeys::Classical(key.public()),
        }
    }

    /// Signs with every key.
    pub(crate) fn sign(self, message: &[u8]) -> Result<Signature, HybridError> {
        Ok(match self {
            Self::Hybrid(keys) => Signature::Hybrid(keys.sign(message)?),
            Self::Classical(key) => Signature::Classical(key.sign(message)),
        })
    }
}

impl Signature {
    /// Names the algorithms, in their order.
    pub(crate) fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Hybrid(_) => &ALGORITHMS,
            Self::Classical(_) => &ALGORITHMS[..1],
        }
    }
}

impl PublicKeys {
    /// Gives every key that a certificate has.
    pub fn of(certificate: &Certificate) -> Self {
        certificate.keys().map_or_else(|| Self::Classical(*certificate.key()), Self::Hybrid)
    }

    /// Gives the keys as a leaf is to have them.
    pub fn leaf_key(&self) -> LeafKey<'_> {
        match self {
            Self::Hybrid(keys) => LeafKey::Hybrid(keys),
            Self::Classical(key) => LeafKey::Classical(key),
        }
    }

    /// Names the keys: the SHA-256 of both, one behind the other, or of the one.
    pub fn fingerprint(&self) -> Sha256 {
        match self {
            Self::Hybrid(keys) => Sha256::from_bytes(keys.fingerprint()),
            Self::Classical(key) => Sha256::of(key.as_bytes()),
        }
    }
}

impl<'a> From<&'a SecretKeys> for SignerKeys<'a> {
    fn from(keys: &'a SecretKeys) -> Self {
        match keys {
            SecretKeys::Hybrid(keys) => Self::Hybrid(keys),
            SecretKeys::Classical(key) => Self::Classical(key),
        }
    }
}

impl<'a> From<&'a hybrid::SecretKey> for SignerKeys<'a> {
    fn from(keys: &'a hybrid::SecretKey) -> Self {
        Self::Hybrid(keys)
    }
}

impl<'a> From<&'a ed25519::SecretKey> for SignerKeys<'a> {
    fn from(key: &'a ed25519::SecretKey) -> Self {
        Self::Classical(key)
    }
}
