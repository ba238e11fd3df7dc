//! FALCON-1024 as submitted to round 3 of the NIST process, in pure Rust on hostile input.
//!
//! The standard (FIPS 206, FN-DSA) is not out and will not be compatible, so every signature names its algorithm,
//! [`ALGORITHM`], and it is never inferred from a length. `fn-dsa` 0.3 does the work; in tests the reference implementation
//! is the oracle, both ways.
//!
//! # One form of a signature
//! Reference implementations accept a signature both compressed and padded with zeros, so that anyone could make a second
//! form of it. Here only the compressed form is a signature: at most [`SIGNATURE_BYTES_MAX`] and no zero at the end. That is
//! checked before the primitive runs.

use std::fmt;

use fn_dsa::{
    DOMAIN_NONE, FN_DSA_LOGN_1024, HASH_ID_ORIGINAL_FALCON, KeyPairGenerator as _, KeyPairGenerator1024,
    SigningKey as _, SigningKey1024, VerifyingKey as _, VerifyingKey1024, sign_key_size, signature_size, vrfy_key_size,
};
use zeroize::Zeroizing;

use crate::entropy::{Entropy, EntropyError};

/// The name of the algorithm in everything that is signed.
pub const ALGORITHM: &str = "falcon-1024-r3";
/// Bytes of a public key: a header and 1,024 coefficients of 14 bits.
pub const PUBLIC_KEY_BYTES: usize = vrfy_key_size(FN_DSA_LOGN_1024);
/// Bytes of a secret key.
pub const SECRET_KEY_BYTES: usize = sign_key_size(FN_DSA_LOGN_1024);
/// The longest signature; most are 1,260 to 1,280 bytes.
pub const SIGNATURE_BYTES_MAX: usize = signature_size(FN_DSA_LOGN_1024);

/// The header of a compressed signature of degree 1,024, and the salt behind it.
const SIGNATURE_HEADER: u8 = 0x3a;
const SIGNATURE_BYTES_MIN: usize = 1 + 40 + 1;

/// A secret key; wiped when dropped and never shown.
#[derive(Clone)]
pub struct SecretKey {
    bytes: Zeroizing<Box<[u8]>>,
    public: PublicKey,
}

/// A public key, decoded and in range.
#[derive(Clone)]
pub struct PublicKey {
    bytes: Box<[u8; PUBLIC_KEY_BYTES]>,
    key: Box<VerifyingKey1024>,
}

/// A signature in its one form; whether it is right is for [`PublicKey::verify`] to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

/// Why bytes are no key or signature, or a signature is not right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FalconError {
    /// The bytes are no public key.
    #[error("a FALCON-1024 public key is 1793 bytes of coefficients in range, not these `{actual}` bytes")]
    PublicKey {
        /// How many bytes there were.
        actual: usize,
    },
    /// The bytes are no secret key.
    #[error("the bytes are not a FALCON-1024 secret key")]
    SecretKey,
    /// The bytes are not a signature in its one form.
    #[error("not a `falcon-1024-r3` signature: {reason}")]
    Form {
        /// What is wrong.
        reason: &'static str,
    },
    /// The signature is of another key or another message.
    #[error("the `falcon-1024-r3` signature was made by another key or over other data")]
    Forged,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl SecretKey {
    /// Makes a key. Takes about 20 ms.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, FalconError> {
        let mut secret = Zeroizing::new(vec![0; SECRET_KEY_BYTES].into_boxed_slice());
        let mut public = [0; PUBLIC_KEY_BYTES];
        KeyPairGenerator1024::default().keygen(FN_DSA_LOGN_1024, &mut Entropy::new()?, &mut secret, &mut public);
        Ok(Self { bytes: secret, public: PublicKey::from_bytes(&public)? })
    }

    /// Takes the encoding of the round-3 submission and derives the public key from it.
    ///
    /// # Errors
    /// The bytes are no secret key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FalconError> {
        let key = SigningKey1024::decode(bytes).ok_or(FalconError::SecretKey)?;
        let mut public = [0; PUBLIC_KEY_BYTES];
        key.to_verifying_key(&mut public);
        let public = PublicKey::from_bytes(&public).map_err(|_| FalconError::SecretKey)?;
        Ok(Self { bytes: Zeroizing::new(bytes.into()), public })
    }

    /// Signs a message. The salt is fresh, so no two signatures are alike.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, FalconError> {
        let mut key = SigningKey1024::decode(&self.bytes).ok_or(FalconError::SecretKey)?;
        let mut padded = vec![0; SIGNATURE_BYTES_MAX];
        key.sign(&mut Entropy::new()?, &DOMAIN_NONE, &HASH_ID_ORIGINAL_FALCON, message, &mut padded);
        let end = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        padded.truncate(end);
        Ok(Signature(padded))
    }

    /// Gives the public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Gives the encoding; whoever copies it answers for wiping the copy.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl PublicKey {
    /// Takes the encoding of the round-3 submission: the header `0x0a` and the coefficients.
    ///
    /// # Errors
    /// A wrong length or header, or a coefficient out of range.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FalconError> {
        let fault = || FalconError::PublicKey { actual: bytes.len() };
        let fixed: [u8; PUBLIC_KEY_BYTES] = bytes.try_into().map_err(|_| fault())?;
        let key = VerifyingKey1024::decode(&fixed).ok_or_else(fault)?;
        Ok(Self { bytes: Box::new(fixed), key: Box::new(key) })
    }

    /// Checks that this key's owner signed this message. Takes about 16 us.
    ///
    /// # Errors
    /// [`FalconError::Forged`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), FalconError> {
        let mut padded = [0; SIGNATURE_BYTES_MAX];
        padded[..signature.0.len()].copy_from_slice(&signature.0);
        let right = self.key.verify(&padded, &DOMAIN_NONE, &HASH_ID_ORIGINAL_FALCON, message);
        right.then_some(()).ok_or(FalconError::Forged)
    }

    /// Gives the encoding.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.bytes
    }
}

impl Signature {
    /// Takes a signature in its one form.
    ///
    /// # Errors
    /// Too short, too long, of another degree, or padded.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FalconError> {
        let fault = |reason| Err(FalconError::Form { reason });
        if bytes.len() > SIGNATURE_BYTES_MAX {
            return fault("it is longer than 1280 bytes");
        }
        if bytes.len() < SIGNATURE_BYTES_MIN {
            return fault("it is shorter than its salt");
        }
        if bytes.first() != Some(&SIGNATURE_HEADER) {
            return fault("its header is not `3a`");
        }
        if bytes.last() == Some(&0) {
            return fault("it is padded with zeros");
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Gives the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "falcon::PublicKey({}..)", data_encoding::HEXLOWER.encode(&self.bytes[..8]))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "falcon::SecretKey(of {:?})", self.public)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "falcon::Signature({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use pqcrypto_falcon::{falcon1024, falconpadded1024};
    use pqcrypto_traits::sign::{DetachedSignature as _, PublicKey as _, SecretKey as _};

    use super::*;

    /// Signatures in each direction between the two implementations.
    const DIFFERENTIAL: usize = 1_000;
    /// Keys they are spread over.
    const KEYS: usize = 4;

    #[test]
    fn what_the_reference_signs_is_right_here() {
        for _ in 0..KEYS {
            let (public, secret) = falcon1024::keypair();
            let ours = PublicKey::from_bytes(public.as_bytes()).expect("the formats are the same");
            let mut refused = 0;
            for n in 0..DIFFERENTIAL / KEYS {
                let message = n.to_be_bytes();
                let bytes = falcon1024::detached_sign(&message, &secret);
                let Ok(signature) = Signature::from_bytes(bytes.as_bytes()) else {
                    // The submission allows up to 1,462 bytes; above 1,280 there is no padded twin, and none here.
                    assert!(bytes.as_bytes().len() > SIGNATURE_BYTES_MAX);
                    refused += 1;
                    continue;
                };
                ours.verify(&message, &signature).expect("one signature, two implementations");
                assert!(ours.verify(b"other", &signature).is_err());
            }
            assert!(refused < DIFFERENTIAL / KEYS / 10, "{refused} too long");
        }
    }

    #[test]
    fn what_is_signed_here_is_right_for_the_reference() {
        for _ in 0..KEYS {
            let secret = SecretKey::generate().expect("generates");
            let public =
                falcon1024::PublicKey::from_bytes(secret.public().as_bytes()).expect("the formats are the same");
            for n in 0..DIFFERENTIAL / KEYS {
                let message = n.to_be_bytes();
                let signature = secret.sign(&message).expect("signs");
                assert_eq!(Signature::from_bytes(signature.as_bytes()).expect("its own form"), signature);
                let theirs = falcon1024::DetachedSignature::from_bytes(signature.as_bytes()).expect("a signature");
                assert!(falcon1024::verify_detached_signature(&theirs, &message, &public).is_ok());
                assert!(falcon1024::verify_detached_signature(&theirs, b"other", &public).is_err());
            }
        }
    }

    #[test]
    fn secret_keys_move_between_the_two() {
        let ours = SecretKey::generate().expect("generates");
        let theirs = falcon1024::SecretKey::from_bytes(ours.expose()).expect("the formats are the same");
        let signature = loop {
            let bytes = falcon1024::detached_sign(b"m", &theirs);
            if let Ok(signature) = Signature::from_bytes(bytes.as_bytes()) {
                break signature;
            }
        };
        ours.public().verify(b"m", &signature).expect("the same key");

        let (public, secret) = falcon1024::keypair();
        let moved = SecretKey::from_bytes(secret.as_bytes()).expect("the formats are the same");
        assert_eq!(moved.public().as_bytes().as_slice(), public.as_bytes(), "the public key is derived");
    }

    #[test]
    fn an_altered_message_signature_or_key_is_refused() {
        let secret = SecretKey::generate().expect("generates");
        let signature = secret.sign(b"message").expect("signs");
        secret.public().verify(b"message", &signature).expect("right");
        assert!(matches!(secret.public().verify(b"messagf", &signature), Err(FalconError::Forged)));
        let other = SecretKey::generate().expect("generates");
        assert!(matches!(other.public().verify(b"message", &signature), Err(FalconError::Forged)));
        for at in 0..signature.as_bytes().len() {
            let mut bytes = signature.as_bytes().to_vec();
            bytes[at] ^= 1 << (at % 8);
            if let Ok(altered) = Signature::from_bytes(&bytes) {
                assert!(secret.public().verify(b"message", &altered).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn an_altered_public_key_is_refused_or_refuses() {
        let secret = SecretKey::generate().expect("generates");
        let signature = secret.sign(b"message").expect("signs");
        for at in (0..PUBLIC_KEY_BYTES).step_by(7).chain([0, PUBLIC_KEY_BYTES - 1]) {
            let mut bytes = *secret.public().as_bytes();
            bytes[at] ^= 1 << (at % 8);
            if let Ok(altered) = PublicKey::from_bytes(&bytes) {
                assert!(altered.verify(b"message", &signature).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn the_padded_form_and_other_forms_are_no_signatures() {
        let reason = |bytes: &[u8]| Signature::from_bytes(bytes).expect_err("is refused").to_string();
        let (_, secret) = falconpadded1024::keypair();
        let padded = loop {
            let bytes = falconpadded1024::detached_sign(b"m", &secret).as_bytes().to_vec();
            if bytes.last() == Some(&0) {
                break bytes;
            }
        };
        assert_eq!(reason(&padded), "not a `falcon-1024-r3` signature: it is padded with zeros");
        let mut long = vec![1; SIGNATURE_BYTES_MAX + 1];
        long[0] = SIGNATURE_HEADER;
        assert!(reason(&long).contains("longer"));
        assert!(Signature::from_bytes(&long[..SIGNATURE_BYTES_MAX]).is_ok(), "the form alone is right");
        assert!(reason(&long[..SIGNATURE_BYTES_MIN - 1]).contains("shorter"));
        assert!(reason(&[1; 100]).contains("header"));
    }

    #[test]
    fn bytes_that_are_no_keys_are_refused() {
        for wrong in [0, PUBLIC_KEY_BYTES - 1, PUBLIC_KEY_BYTES + 1] {
            assert!(PublicKey::from_bytes(&vec![0x0a; wrong]).is_err(), "{wrong}");
        }
        let out_of_range = [&[0x0a][..], &[0xff; PUBLIC_KEY_BYTES - 1]].concat();
        assert!(PublicKey::from_bytes(&out_of_range).is_err());
        assert!(SecretKey::from_bytes(&[0; SECRET_KEY_BYTES]).is_err());
        assert!(SecretKey::from_bytes(&[]).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = SecretKey::generate().expect("generates");
        let shown = format!("{secret:?}");
        assert!(shown.starts_with("falcon::SecretKey(of falcon::PublicKey(0a"), "{shown}");
        assert!(shown.len() < 80);
    }
}
