//! Ed25519 (RFC 8032) with the one verifier that leaves nothing to interpretation.
//!
//! `verify_strict` refuses keys and commitments of small order and encodings that are not canonical, which other verifiers,
//! batch verification above all, accept or refuse by chance. It is the only verifier here, and [`STRICT`] gives it to
//! libraries that bring their own.

use std::fmt;

use ed25519_dalek::Signer as _;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::entropy::{EntropyError, random};

/// The name of the algorithm in everything that is signed.
pub const ALGORITHM: &str = "ed25519";
/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a secret key, the seed of RFC 8032.
pub const SECRET_KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// The strict verifier for path validation and TLS.
pub static STRICT: &dyn SignatureVerificationAlgorithm = &Strict;

/// A secret key; wiped when dropped and never shown.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

/// A public key: a point that is encoded canonically and is not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

/// A signature; whether it is right is for [`PublicKey::verify`] to say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_BYTES]);

/// Why bytes are no key or signature, or a signature is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ed25519Error {
    /// The bytes are no public key.
    #[error("the bytes are not an `ed25519` public key of 32 bytes on the curve and of full order")]
    PublicKey,
    /// The bytes are no secret key.
    #[error("an `ed25519` secret key is 32 bytes, not `{actual}`")]
    SecretKey {
        /// How many bytes there were.
        actual: usize,
    },
    /// The bytes are no signature.
    #[error("an `ed25519` signature is 64 bytes, not `{actual}`")]
    Form {
        /// How many bytes there were.
        actual: usize,
    },
    /// The signature is of another key or another message, or not in canonical form.
    #[error("the `ed25519` signature was made by another key or over other data")]
    Forged,
}

impl SecretKey {
    /// Makes a key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn generate() -> Result<Self, EntropyError> {
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&*random::<SECRET_KEY_BYTES>()?)))
    }

    /// Takes the seed.
    ///
    /// # Errors
    /// There are not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Ed25519Error> {
        let seed = bytes.try_into().map_err(|_| Ed25519Error::SecretKey { actual: bytes.len() })?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    /// Signs a message; the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// Gives the public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Gives the seed; whoever copies it answers for wiping the copy.
    pub fn expose(&self) -> &[u8; SECRET_KEY_BYTES] {
        self.0.as_bytes()
    }
}

impl PublicKey {
    /// Takes the encoding of RFC 8032.
    ///
    /// # Errors
    /// Not 32 bytes, not a point, not its canonical encoding, or a point of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Ed25519Error> {
        let bytes: &[u8; PUBLIC_KEY_BYTES] = bytes.try_into().map_err(|_| Ed25519Error::PublicKey)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| Ed25519Error::PublicKey)?;
        let canonical = key.to_edwards().compress().as_bytes() == bytes;
        (canonical && !key.is_weak()).then_some(Self(key)).ok_or(Ed25519Error::PublicKey)
    }

    /// Checks that this key's owner signed this message. Takes about 36 us.
    ///
    /// # Errors
    /// [`Ed25519Error::Forged`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Ed25519Error> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).map_err(|_| Ed25519Error::Forged)
    }

    /// Gives the encoding.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        self.0.as_bytes()
    }
}

impl Signature {
    /// Takes 64 bytes.
    ///
    /// # Errors
    /// Another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Ed25519Error> {
        bytes.try_into().map(Self).map_err(|_| Ed25519Error::Form { actual: bytes.len() })
    }

    /// Gives the bytes.
    pub fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519::SecretKey(of {:?})", self.public())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519::PublicKey({})", data_encoding::HEXLOWER.encode(self.as_bytes()))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519::Signature({}..)", data_encoding::HEXLOWER.encode(&self.0[..8]))
    }
}

#[derive(Debug)]
struct Strict;

impl SignatureVerificationAlgorithm for Strict {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = PublicKey::from_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_bytes(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 8032 section 7.1, TEST 1 to 3 and SHA(abc): seed, public key, message, signature.
    const RFC_8032: [[&str; 4]; 4] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
        [
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ],
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal")
    }

    #[test]
    fn the_vectors_of_rfc_8032_pass() {
        for [seed, public, message, signature] in RFC_8032 {
            let secret = SecretKey::from_bytes(&bytes(seed)).expect("a seed");
            assert_eq!(HEXLOWER.encode(secret.public().as_bytes()), public);
            assert_eq!(HEXLOWER.encode(secret.sign(&bytes(message)).as_bytes()), signature);
            let signature = bytes(signature);
            let public = bytes(public);
            assert!(STRICT.verify_signature(&public, &bytes(message), &signature).is_ok());
            assert!(STRICT.verify_signature(&public, b"other", &signature).is_err());
        }
    }

    /// Every vector of Project Wycheproof for Ed25519: numbers out of range, truncated and extended signatures, points that
    /// are none, and known answers.
    #[test]
    fn the_vectors_of_wycheproof_pass() {
        use wycheproof::TestResult;
        use wycheproof::eddsa::{TestName, TestSet};

        let set = TestSet::load(TestName::Ed25519).expect("the vectors are in the crate");
        let (mut right, mut wrong) = (0, 0);
        for group in set.test_groups {
            let key = PublicKey::from_bytes(&group.key.pk).expect("a key");
            for test in group.tests {
                let signature = Signature::from_bytes(&test.sig);
                let holds = signature.and_then(|signature| key.verify(&test.msg, &signature)).is_ok();
                assert_eq!(holds, test.result == TestResult::Valid, "{test:?}");
                *if holds { &mut right } else { &mut wrong } += 1;
            }
        }
        assert_eq!((right, wrong), (88, 63), "all of them");
    }

    #[test]
    fn an_altered_message_signature_or_key_is_refused() {
        let secret = SecretKey::generate().expect("generates");
        let signature = secret.sign(b"message");
        assert_eq!(secret.public().verify(b"message", &signature), Ok(()));
        assert_eq!(secret.public().verify(b"messagf", &signature), Err(Ed25519Error::Forged));
        for at in 0..SIGNATURE_BYTES {
            let mut altered = *signature.as_bytes();
            altered[at] ^= 1 << (at % 8);
            assert_eq!(secret.public().verify(b"message", &Signature(altered)), Err(Ed25519Error::Forged), "byte {at}");
        }
        for at in 0..PUBLIC_KEY_BYTES {
            let mut altered = *secret.public().as_bytes();
            altered[at] ^= 1 << (at % 8);
            assert!(STRICT.verify_signature(&altered, b"message", signature.as_bytes()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_second_form_of_a_signature_is_refused() {
        // S + L, with L the order of the group: the same number to a verifier that reduces it.
        let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let secret = SecretKey::from_bytes(&[7; 32]).expect("a seed");
        let mut malleated = *secret.sign(b"m").as_bytes();
        let mut carry = 0;
        for (byte, addend) in malleated[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(addend) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(secret.public().verify(b"m", &Signature(malleated)), Err(Ed25519Error::Forged));
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        // The neutral element signs every message with S = 0 and R = itself, to a verifier that is not strict.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(PublicKey::from_bytes(&neutral), Err(Ed25519Error::PublicKey));
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(STRICT.verify_signature(&neutral, b"any", &signature).is_err());
        // y = p + 1, the neutral element again in a form that is not canonical.
        let not_canonical = bytes("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        assert_eq!(PublicKey::from_bytes(&not_canonical), Err(Ed25519Error::PublicKey));
    }

    #[test]
    fn other_lengths_are_refused() {
        for length in [0, 31, 33] {
            assert!(PublicKey::from_bytes(&vec![1; length]).is_err());
            assert_eq!(SecretKey::from_bytes(&vec![1; length]).err(), Some(Ed25519Error::SecretKey { actual: length }));
        }
        for length in [0, 63, 65] {
            assert_eq!(Signature::from_bytes(&vec![1; length]), Err(Ed25519Error::Form { actual: length }));
        }
    }
}
