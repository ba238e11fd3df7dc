//! What opens the keys of a home: a passphrase from the environment or a file, or the home's own key file.

use std::fmt;
use std::path::Path;

use trustchain::keyfile::{self, Cost, PASSPHRASE_BYTES_MAX};
use trustchain::signer::{SecretKeys, SignerKeys};
use zeroize::Zeroizing;

use super::{TrustError, files};

/// The variable that holds the passphrase.
const PASSPHRASE_VARIABLE: &str = "HYPERMESH_PASSPHRASE";

/// The key file of a home.
const KEY_FILE: &str = "unlock.key";

/// What opens the keys of a home.
#[derive(Clone)]
pub struct Unlock {
    passphrase: Option<Zeroizing<String>>,
}

impl Unlock {
    /// Takes the passphrase from a file if one is given, from the environment if it is set there, and else the home's key
    /// file. The line end of a file is no part of it.
    ///
    /// # Errors
    /// The file cannot be read, or the passphrase is no text.
    pub fn from_environment(file: Option<&Path>) -> Result<Self, TrustError> {
        if let Some(path) = file {
            let text = Zeroizing::new(files::read_text(path)?);
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.len() > PASSPHRASE_BYTES_MAX {
                return Err(TrustError::TooLarge { path: path.to_owned(), most: PASSPHRASE_BYTES_MAX as u64 });
            }
            return Ok(Self::passphrase(line));
        }
        match std::env::var(PASSPHRASE_VARIABLE) {
            Ok(passphrase) => Ok(Self { passphrase: Some(Zeroizing::new(passphrase)) }),
            Err(std::env::VarError::NotPresent) => Ok(Self::key_file()),
            Err(std::env::VarError::NotUnicode(_)) => Err(TrustError::Passphrase),
        }
    }

    /// Takes a passphrase.
    pub fn passphrase(passphrase: &str) -> Self {
        Self { passphrase: Some(Zeroizing::new(passphrase.to_owned())) }
    }

    /// Takes the home's key file.
    pub fn key_file() -> Self {
        Self { passphrase: None }
    }

    /// Makes the key file of a home if keys are opened by it.
    pub(super) fn prepare(&self, directory: &Path) -> Result<(), TrustError> {
        let path = directory.join(KEY_FILE);
        if self.passphrase.is_some() || path.exists() {
            return Ok(());
        }
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(|error| files::fault(&path, std::io::Error::other(error)))?;
        files::write_secret(&path, key.as_ref())
    }

    /// Encrypts keys into a file.
    pub(super) fn seal<'a>(
        &self,
        directory: &Path,
        path: &Path,
        keys: impl Into<SignerKeys<'a>>,
    ) -> Result<(), TrustError> {
        let keys = keys.into();
        let sealed = self.with(directory, |unlock| {
            keyfile::seal(keys, unlock, Cost::RECOMMENDED)
                .map_err(|source| TrustError::Keys { path: path.to_owned(), source })
        })?;
        files::write_secret(path, &sealed)
    }

    /// Decrypts the keys of a file.
    pub(super) fn open(&self, directory: &Path, path: &Path) -> Result<SecretKeys, TrustError> {
        let sealed = files::read_secret(path)?;
        self.with(directory, |unlock| {
            keyfile::open(&sealed, unlock).map_err(|source| TrustError::Keys { path: path.to_owned(), source })
        })
    }

    fn with<T>(
        &self,
        directory: &Path,
        use_it: impl FnOnce(keyfile::Unlock<'_>) -> Result<T, TrustError>,
    ) -> Result<T, TrustError> {
        match &self.passphrase {
            Some(passphrase) => use_it(keyfile::Unlock::Passphrase(passphrase)),
            None => {
                let path = directory.join(KEY_FILE);
                if !path.exists() {
                    return Err(TrustError::Locked { path });
                }
                let key = Zeroizing::new(files::read_secret(&path)?);
                use_it(keyfile::Unlock::KeyFile(&key))
            }
        }
    }
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.passphrase.is_some() { "Unlock(passphrase)" } else { "Unlock(key file)" })
    }
}
