//! Secret keys on disk: both keys of a pair, or Ed25519 alone, encrypted under a passphrase or a key file.
//!
//! The file is canonical JSON with a version. Argon2id (RFC 9106) turns a passphrase into a key, at a cost that the file
//! states; BLAKE3 turns a key file, which is random already, into one. XChaCha20-Poly1305 encrypts, and everything else in
//! the file is authenticated with it. Nothing here touches the disk: who writes the file makes it readable to its owner only.
//!
//! What is encrypted is the Ed25519 key and behind it the FALCON key; 32 bytes are an Ed25519 key alone.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::canonical::{self, CanonicalError};
use crate::digest::Sha256;
use crate::ed25519;
use crate::entropy::{EntropyError, random};
use crate::falcon;
use crate::hybrid::{self, HybridError};
use crate::signer::{SecretKeys, SignerKeys};

/// The largest file in bytes; one has about 3,500.
pub const KEYFILE_BYTES_MAX: usize = 16 * 1024;
/// The shortest passphrase in bytes.
pub const PASSPHRASE_BYTES_MIN: usize = 8;
/// The longest passphrase in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;
/// The fewest bytes of a key file, as many as the key it becomes.
pub const KEY_BYTES_MIN: usize = 32;
/// The most bytes of a key file.
pub const KEY_BYTES_MAX: usize = 4096;
/// The most memory a file may ask for, in KiB: a foreign file must not take the machine's.
pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// The most passes a file may ask for.
pub const PASSES_MAX: u32 = 16;
/// The most lanes a file may ask for.
pub const LANES_MAX: u32 = 16;

const VERSION: u32 = 1;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const CIPHER: &str = "xchacha20poly1305";
/// The context of BLAKE3's key derivation; it must never be used for anything else.
const KEY_FILE_CONTEXT: &str = "hypermesh.online trustchain 2026 key file v1";

/// What opens a file.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// A passphrase, its bytes taken as they are.
    Passphrase(&'a str),
    /// The content of a key file: random bytes.
    KeyFile(&'a [u8]),
}

/// What a guess of the passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// Why a file is not opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyfileError {
    /// Not canonical JSON with these fields.
    #[error("the key file cannot be read")]
    Canonical(#[from] CanonicalError),
    /// A field is not what it must be.
    #[error("the key file is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The cost is more than is paid, or none.
    #[error("a cost of `{}` KiB, `{}` passes and `{}` lanes is refused: at most 262144, 16 and 16, at least 8 KiB a lane",
        .cost.memory_kib, .cost.passes, .cost.lanes)]
    Cost {
        /// The cost.
        cost: Cost,
    },
    /// The passphrase or key is too short or too long.
    #[error("{what} has `{actual}` bytes, expected {expected}")]
    Unlock {
        /// The passphrase or key file.
        what: &'static str,
        /// How many there are.
        actual: usize,
        /// How many there should be.
        expected: &'static str,
    },
    /// It is opened by the other kind.
    #[error("the keys are opened by {expected}")]
    OtherUnlock {
        /// What opens it.
        expected: &'static str,
    },
    /// It does not open.
    #[error("the passphrase or key is wrong, or the file was changed")]
    Locked,
    /// What is inside are no keys, or not the keys the file names.
    #[error("the file opens and does not hold the keys it names")]
    Content,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The keys inside are none.
    #[error(transparent)]
    Keys(#[from] HybridError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ciphertext: String,
    header: Header,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    cipher: String,
    derivation: Derivation,
    fingerprint: Sha256,
    nonce: String,
    salt: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Derivation {
    Argon2id(Cost),
    Blake3KeyFile,
}

impl Cost {
    /// The second recommendation of RFC 9106: 64 MiB, three passes, four lanes. Takes about 0.16 s.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    fn params(self) -> Result<Params, KeyfileError> {
        let fits = self.memory_kib <= MEMORY_KIB_MAX && self.passes <= PASSES_MAX && self.lanes <= LANES_MAX;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES_MIN)).ok();
        params.filter(|_| fits).ok_or(KeyfileError::Cost { cost: self })
    }
}

/// Encrypts every key. The cost counts for a passphrase only.
///
/// # Errors
/// A passphrase or key of the wrong length, a cost that would not be paid when opening, or no randomness.
pub fn seal<'a>(keys: impl Into<SignerKeys<'a>>, unlock: Unlock<'_>, cost: Cost) -> Result<Vec<u8>, KeyfileError> {
    let keys = keys.into();
    let (salt, nonce) = (random::<SALT_BYTES>()?, random::<NONCE_BYTES>()?);
    let derivation = match unlock {
        Unlock::Passphrase(_) => Derivation::Argon2id(cost),
        Unlock::KeyFile(_) => Derivation::Blake3KeyFile,
    };
    let key = derive(&derivation, unlock, salt.as_ref())?;
    let header = Header {
        cipher: CIPHER.to_owned(),
        derivation,
        fingerprint: keys.public().fingerprint(),
        nonce: BASE64.encode(nonce.as_ref()),
        salt: BASE64.encode(salt.as_ref()),
        version: VERSION,
    };
    let secret = Zeroizing::new(match keys {
        SignerKeys::Hybrid(keys) => [&keys.ed25519.expose()[..], keys.falcon.expose()].concat(),
        SignerKeys::Classical(key) => key.expose().to_vec(),
    });
    let payload = Payload { msg: &secret, aad: &canonical::write(&header)? };
    let encrypted = cipher(&key).encrypt(&XNonce::from(*nonce), payload);
    let encrypted = encrypted.map_err(|_| KeyfileError::Malformed { reason: "the keys are too long to encrypt" })?;
    Ok(canonical::write(&File { ciphertext: BASE64.encode(&encrypted), header })?)
}

/// Decrypts the keys.
///
/// # Errors
/// Another file, another passphrase or key, a changed file, or a cost above the bounds.
pub fn open(bytes: &[u8], unlock: Unlock<'_>) -> Result<SecretKeys, KeyfileError> {
    let File { ciphertext, header } = read(bytes)?;
    let nonce: [u8; NONCE_BYTES] = decode(&header.nonce, "its nonce is not 24 bytes in base64")?;
    let salt: [u8; SALT_BYTES] = decode(&header.salt, "its salt is not 16 bytes in base64")?;
    let ciphertext = BASE64.decode(ciphertext.as_bytes());
    let ciphertext = ciphertext.map_err(|_| KeyfileError::Malformed { reason: "its ciphertext is not base64" })?;
    let key = derive(&header.derivation, unlock, &salt)?;
    let payload = Payload { msg: &ciphertext, aad: &canonical::write(&header)? };
    let secret = cipher(&key).decrypt(&XNonce::from(nonce), payload).map_err(|_| KeyfileError::Locked)?;
    let secret = Zeroizing::new(secret);
    let (ed25519, falcon) = secret.split_at_checked(ed25519::SECRET_KEY_BYTES).ok_or(KeyfileError::Content)?;
    let ed25519 = ed25519::SecretKey::from_bytes(ed25519).map_err(HybridError::from)?;
    let keys = match falcon {
        [] => SecretKeys::Classical(ed25519),
        falcon => {
            let falcon = falcon::SecretKey::from_bytes(falcon).map_err(HybridError::from)?;
            SecretKeys::Hybrid(hybrid::SecretKey { ed25519, falcon })
        }
    };
    let named = header.fingerprint == keys.public().fingerprint();
    if named { Ok(keys) } else { Err(KeyfileError::Content) }
}

/// Says which keys a file holds, by the SHA-256 of the public ones, without opening it; nothing vouches for that.
///
/// # Errors
/// Bytes that are no key file.
pub fn fingerprint(bytes: &[u8]) -> Result<Sha256, KeyfileError> {
    Ok(read(bytes)?.header.fingerprint)
}

/// Says what a guess of a file's passphrase costs; `None` is a file that a key file opens. Nothing vouches for it.
///
/// # Errors
/// Bytes that are no key file.
pub fn cost(bytes: &[u8]) -> Result<Option<Cost>, KeyfileError> {
    Ok(match read(bytes)?.header.derivation {
        Derivation::Argon2id(cost) => Some(cost),
        Derivation::Blake3KeyFile => None,
    })
}

fn read(bytes: &[u8]) -> Result<File, KeyfileError> {
    let file: File = canonical::read(bytes, KEYFILE_BYTES_MAX)?;
    if file.header.version != VERSION {
        return Err(KeyfileError::Malformed { reason: "its version is not 1" });
    }
    if file.header.cipher != CIPHER {
        return Err(KeyfileError::Malformed { reason: "its cipher is not `xchacha20poly1305`" });
    }
    Ok(file)
}

fn derive(how: &Derivation, unlock: Unlock<'_>, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyfileError> {
    let mut key = Zeroizing::new([0; 32]);
    match (how, unlock) {
        (Derivation::Argon2id(cost), Unlock::Passphrase(passphrase)) => {
            let length = PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX;
            expect_length("the passphrase", passphrase.len(), &length, "8 to 1024")?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()?);
            let hashed = argon2.hash_password_into(passphrase.as_bytes(), salt, key.as_mut());
            hashed.map_err(|_| KeyfileError::Cost { cost: *cost })?;
        }
        (Derivation::Blake3KeyFile, Unlock::KeyFile(bytes)) => {
            expect_length("the key", bytes.len(), &(KEY_BYTES_MIN..=KEY_BYTES_MAX), "32 to 4096")?;
            let mut hash = blake3::Hasher::new_derive_key(KEY_FILE_CONTEXT);
            hash.update(salt).update(bytes);
            key.copy_from_slice(hash.finalize().as_bytes());
        }
        (Derivation::Argon2id(_), _) => return Err(KeyfileError::OtherUnlock { expected: "a passphrase" }),
        (Derivation::Blake3KeyFile, _) => return Err(KeyfileError::OtherUnlock { expected: "a key file" }),
    }
    Ok(key)
}

fn expect_length(
    what: &'static str,
    actual: usize,
    length: &std::ops::RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), KeyfileError> {
    if length.contains(&actual) { Ok(()) } else { Err(KeyfileError::Unlock { what, actual, expected }) }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(<&Key>::from(key))
}

fn decode<const N: usize>(text: &str, reason: &'static str) -> Result<[u8; N], KeyfileError> {
    let bytes = BASE64.decode(text.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(KeyfileError::Malformed { reason })
}

#[cfg(test)]
mod tests;
