//! The pair of keys that everyone in TrustChain has, and the pair of signatures of which both must hold.
//!
//! There is no way to ask for one of the two: [`PublicKey::verify`] answers for both or refuses, so a forger must break
//! Ed25519 and FALCON at once.

use sha2::{Digest as _, Sha256};

use crate::ed25519::{self, Ed25519Error};
use crate::falcon::{self, FalconError};

/// The algorithms of a pair, in the order in which they are written.
pub const ALGORITHMS: [&str; 2] = [ed25519::ALGORITHM, falcon::ALGORITHM];

/// Both secret keys; wiped when dropped and never shown.
#[derive(Clone, Debug)]
pub struct SecretKey {
    /// The classical key.
    pub ed25519: ed25519::SecretKey,
    /// The post-quantum key.
    pub falcon: falcon::SecretKey,
}

/// Both public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The classical key.
    pub ed25519: ed25519::PublicKey,
    /// The post-quantum key.
    pub falcon: falcon::PublicKey,
}

/// Both signatures over the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The classical signature.
    pub ed25519: ed25519::Signature,
    /// The post-quantum signature.
    pub falcon: falcon::Signature,
}

/// Which of the two is not right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HybridError {
    /// The classical one.
    #[error(transparent)]
    Ed25519(#[from] Ed25519Error),
    /// The post-quantum one.
    #[error(transparent)]
    Falcon(#[from] FalconError),
}

impl SecretKey {
    /// Makes both keys. Takes about 20 ms.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, HybridError> {
        let ed25519 = ed25519::SecretKey::generate().map_err(FalconError::from)?;
        Ok(Self { ed25519, falcon: falcon::SecretKey::generate()? })
    }

    /// Signs a message with both.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, HybridError> {
        Ok(Signature { ed25519: self.ed25519.sign(message), falcon: self.falcon.sign(message)? })
    }

    /// Gives the public keys.
    pub fn public(&self) -> PublicKey {
        PublicKey { ed25519: self.ed25519.public(), falcon: self.falcon.public().clone() }
    }
}

impl PublicKey {
    /// Checks that the owner of both keys signed this message.
    ///
    /// # Errors
    /// Which of the two signatures is not right; the classical one is looked at first.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), HybridError> {
        self.ed25519.verify(message, &signature.ed25519)?;
        Ok(self.falcon.verify(message, &signature.falcon)?)
    }

    /// Gives the SHA-256 of both keys, one behind the other: a name for the pair.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::new().chain_update(self.ed25519.as_bytes()).chain_update(self.falcon.as_bytes()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mebibyte_of_stack_is_enough() {
        // An overflow of the stack ends the host, so what the crate says it needs is held here, in the profile of the tests.
        let work = || {
            let keys = SecretKey::generate().expect("generates");
            keys.public().verify(b"m", &keys.sign(b"m").expect("signs")).expect("both are right");
        };
        let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(work).expect("a thread");
        thread.join().expect("no panic");
    }

    #[test]
    fn both_signatures_must_be_right() {
        let (ours, other) = (SecretKey::generate().expect("generates"), SecretKey::generate().expect("generates"));
        let (right, wrong) = (ours.sign(b"m").expect("signs"), other.sign(b"m").expect("signs"));
        ours.public().verify(b"m", &right).expect("both are right");
        let one = Signature { ed25519: wrong.ed25519, falcon: right.falcon.clone() };
        assert!(matches!(ours.public().verify(b"m", &one), Err(HybridError::Ed25519(Ed25519Error::Forged))));
        let one = Signature { ed25519: right.ed25519, falcon: wrong.falcon };
        assert!(matches!(ours.public().verify(b"m", &one), Err(HybridError::Falcon(FalconError::Forged))));
        assert_ne!(ours.public().fingerprint(), other.public().fingerprint());
    }
}
