//! Certificate and keys of one name, replaced together.
//!
//! Two files cannot be renamed at once. New keys are written beside the old ones as `NAME.key.next`, then the certificate is
//! replaced, which decides, then the keys are renamed. Whoever finds keys that are not the certificate's takes the next
//! ones; keys of a certificate that was never written open nothing and are overwritten by the next change.

use std::path::PathBuf;

use trustchain::certificate::{self, Authority, Certificate};
use trustchain::hybrid::SecretKey;
use trustchain::signer::{PublicKeys, SecretKeys, SignerKeys};

use super::{TrustError, TrustHome, Unlock, files};

/// What replaces what a name stands for.
pub(super) struct Change<'a> {
    pub(super) name: &'a str,
    /// The certificate and the authorities above it but the root.
    pub(super) chain: &'a [Certificate],
    /// New keys; the old ones stay if there are none.
    pub(super) keys: Option<SignerKeys<'a>>,
}

impl Change<'_> {
    /// Makes the change; the caller holds the lock.
    pub(super) fn make(&self, home: &TrustHome, unlock: &Unlock) -> Result<(), TrustError> {
        let next = next(home, self.name);
        settle(home, self.name, unlock)?;
        if let Some(keys) = self.keys {
            unlock.seal(&home.directory, &next, keys)?;
        }
        files::write(&home.certificate_file(self.name), certificate::to_pem(self.chain).as_bytes())?;
        if self.keys.is_some() {
            files::rename(&next, &home.key_file(self.name))?;
        }
        Ok(())
    }
}

/// Opens the keys of a certificate.
pub(super) fn open_keys(
    home: &TrustHome,
    name: &str,
    certificate: &Certificate,
    unlock: &Unlock,
) -> Result<SecretKeys, TrustError> {
    for path in [home.key_file(name), next(home, name)] {
        if !path.exists() {
            continue;
        }
        let keys = unlock.open(&home.directory, &path)?;
        if fits(&keys, certificate) {
            return Ok(keys);
        }
    }
    Err(TrustError::KeysElsewhere { name: name.to_owned() })
}

/// Opens the keys of a certificate that must have both.
pub(super) fn open_both_keys(
    home: &TrustHome,
    name: &str,
    certificate: &Certificate,
    unlock: &Unlock,
) -> Result<SecretKey, TrustError> {
    let keys = open_keys(home, name, certificate, unlock)?.into_hybrid();
    keys.ok_or_else(|| TrustError::OneKey { name: name.to_owned() })
}

/// Opens an authority.
pub(super) fn open_authority(home: &TrustHome, name: &str, unlock: &Unlock) -> Result<Authority, TrustError> {
    let certificate = home.chain(name)?.swap_remove(0);
    let keys = open_both_keys(home, name, &certificate, unlock)?;
    Ok(Authority::new(certificate, keys)?)
}

/// Ends a change that was cut short after it was decided: the next keys become the keys.
fn settle(home: &TrustHome, name: &str, unlock: &Unlock) -> Result<(), TrustError> {
    let next = next(home, name);
    if !next.exists() {
        return Ok(());
    }
    let chain = if home.certificate_file(name).exists() { home.chain(name)? } else { Vec::new() };
    let decided = match chain.first() {
        Some(certificate) => fits(&unlock.open(&home.directory, &next)?, certificate),
        None => false,
    };
    if decided { files::rename(&next, &home.key_file(name)) } else { files::remove(&next) }
}

/// Says whether keys are a certificate's; that of a node has one of the two.
fn fits(keys: &SecretKeys, certificate: &Certificate) -> bool {
    match (keys, PublicKeys::of(certificate)) {
        (SecretKeys::Hybrid(keys), PublicKeys::Classical(key)) => keys.ed25519.public() == key,
        (keys, certified) => keys.public() == certified,
    }
}

fn next(home: &TrustHome, name: &str) -> PathBuf {
    home.directory.join(format!("{name}.key.next"))
}
