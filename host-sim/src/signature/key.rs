//! Publishers' keys as files: secret keys in PKCS#8 PEM that only their owner can read, public keys in SPKI PEM.

use std::borrow::Borrow;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::Digest as _;

use super::bundle::{Algorithm, Bundle, Signature, Subject};

/// A publisher's secret key. It is wiped from memory when dropped and never printed.
pub struct Signer {
    key: SigningKey,
}

/// A publisher's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// The fingerprint of a public key: `SHA256:` and the digest of its SPKI DER in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {reason}")]
    NoRandomness {
        /// What the system said.
        reason: String,
    },
    /// The file could not be read or written.
    #[error("cannot use the key file `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the secret key.
    #[error("others may read the secret key `{path}` (mode {mode:03o}), expected mode 600")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is no such key.
    #[error("`{path}` is not {expected}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The largest key file in bytes; one of ours has 119.
const FILE_BYTES_MAX: u64 = 16 * 1024;
const SECRET: &str = "an Ed25519 secret key (PKCS#8 PEM)";
const PUBLIC: &str = "an Ed25519 public key (SPKI PEM)";

impl Signer {
    /// Makes a new key from the system's random bytes.
    ///
    /// # Errors
    /// The system gives none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::NoRandomness { reason: error.to_string() })?;
        Ok(Self { key: SigningKey::from_bytes(&seed) })
    }

    /// Reads a secret key.
    ///
    /// # Errors
    /// The file is unreadable, open to others than its owner, or no such key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = File::open(path).map_err(|source| unusable(path, source))?;
        let mode = file.metadata().map_err(|source| unusable(path, source))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = read(file, path)?;
        let key = SigningKey::from_pkcs8_pem(&text).map_err(|error| malformed(path, SECRET, &error))?;
        Ok(Self { key })
    }

    /// Writes the secret key to a new file that only its owner can read; never over an existing one.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        // Without the public key this is PKCS#8 version 1, which every tool reads.
        let pair = ed25519_dalek::pkcs8::KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let text = pair.to_pkcs8_pem(LineEnding::LF).map_err(|error| malformed(path, SECRET, &error))?;
        create(path, 0o600, text.as_bytes())
    }

    /// Gives the public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// Signs a subject.
    pub fn sign(&self, subject: Subject) -> Bundle {
        let algorithm = Algorithm::Ed25519;
        let signature = self.key.sign(&subject.to_be_signed(algorithm)).to_vec();
        let key = self.public().id().0;
        Bundle::new(subject, vec![Signature { algorithm: algorithm.id().to_owned(), key, signature }])
    }
}

impl PublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// The file is unreadable, no such key, or a key under which anybody could sign.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = File::open(path).map_err(|source| unusable(path, source)).and_then(|file| read(file, path))?;
        let key = VerifyingKey::from_public_key_pem(&text).map_err(|error| malformed(path, PUBLIC, &error))?;
        if key.is_weak() {
            return Err(malformed(path, PUBLIC, &"its point is of small order"));
        }
        Ok(Self(key))
    }

    /// Writes the public key to a new file; never over an existing one.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let text = self.0.to_public_key_pem(LineEnding::LF).map_err(|error| malformed(path, PUBLIC, &error))?;
        create(path, 0o644, text.as_bytes())
    }

    /// Gives the fingerprint.
    pub fn id(&self) -> KeyId {
        // RFC 8410: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }, always these 12 bytes and the key.
        const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let digest = sha2::Sha256::new().chain_update(SPKI).chain_update(self.0.as_bytes()).finalize();
        KeyId(format!("SHA256:{}", HEXLOWER.encode(&digest)))
    }

    pub(super) fn as_dalek(&self) -> &VerifyingKey {
        &self.0
    }
}

impl KeyId {
    /// Gives the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public().id())
    }
}

fn read(file: File, path: &Path) -> Result<String, KeyError> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|source| unusable(path, source))?;
    Ok(text)
}

fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: io::Error) -> KeyError {
    KeyError::File { path: path.to_owned(), source }
}

fn malformed(path: &Path, expected: &'static str, reason: &dyn fmt::Display) -> KeyError {
    KeyError::Malformed { path: path.to_owned(), expected, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    // RFC 8410, section 10: the example key pair.
    const RFC_SECRET: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn key_files_are_those_of_rfc_8410() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        create(&path("secret"), 0o600, RFC_SECRET.as_bytes()).expect("written");
        let signer = Signer::load(&path("secret")).expect("reads");
        signer.save(&path("secret2")).expect("written");
        signer.public().save(&path("public")).expect("written");
        assert_eq!(fs::read_to_string(path("secret2")).expect("text"), RFC_SECRET);
        assert_eq!(fs::read_to_string(path("public")).expect("text"), RFC_PUBLIC);
        assert_eq!(PublicKey::load(&path("public")).expect("reads"), signer.public());
        assert_eq!(fs::metadata(path("secret2")).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.public().id()));
    }

    #[test]
    fn the_fingerprint_is_that_of_the_whole_public_key() {
        let key = Signer::generate().expect("random").public();
        let der = key.0.to_public_key_der().expect("encodes");
        assert_eq!(key.id().as_str(), format!("SHA256:{}", HEXLOWER.encode(&sha2::Sha256::digest(der.as_bytes()))));
    }

    #[test]
    fn exposed_missing_existing_and_other_files_are_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("key");
        assert!(matches!(Signer::load(&path), Err(KeyError::File { .. })));
        create(&path, 0o600, RFC_PUBLIC.as_bytes()).expect("written");
        assert!(matches!(Signer::load(&path), Err(KeyError::Malformed { .. })));
        assert!(matches!(Signer::generate().expect("random").save(&path), Err(KeyError::File { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let error = Signer::load(&path).expect_err("refused").to_string().replace(&path.display().to_string(), "key");
        assert_eq!(error, "others may read the secret key `key` (mode 640), expected mode 600");
    }

    #[test]
    fn a_public_key_of_small_order_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("key");
        let mut point = [0; 32];
        point[0] = 1; // The neutral element: every signature with S = 0 verifies under it.
        PublicKey(VerifyingKey::from_bytes(&point).expect("a point")).save(&path).expect("written");
        let error = PublicKey::load(&path).expect_err("refused").to_string();
        assert!(error.ends_with("its point is of small order"), "{error}");
    }
}
