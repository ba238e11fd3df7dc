//! A certificate with its keys: opened when something is signed, and not before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use time::OffsetDateTime;
use trustchain::certificate::{Certificate, Fingerprint};
use trustchain::digest::Sha256;
use trustchain::document;
use trustchain::ed25519;
use trustchain::envelope::{self, ChainForm, Release};
use trustchain::falcon;
use trustchain::feed;
use trustchain::hybrid::{HybridError, SecretKey};
use trustchain::offer::{self, Offer};
use trustchain::receipt::{self, Receipt};
use trustchain::signer::{SecretKeys, SignerKeys};

use super::{TrustError, TrustHome, Unlock, change};

/// Signs under a certificate of a home.
pub struct Signer {
    home: TrustHome,
    name: String,
    chain: Vec<Certificate>,
    unlock: Unlock,
    keys: Mutex<Option<SecretKeys>>,
}

/// Signers whose keys stay open while their certificates are the same.
#[derive(Debug, Default)]
pub(crate) struct Signers(Mutex<BTreeMap<String, (Fingerprint, Arc<Signer>)>>);

impl Signer {
    pub(super) fn new(home: TrustHome, name: &str, unlock: Unlock) -> Result<Self, TrustError> {
        let chain = home.chain(name)?;
        Ok(Self { home, name: name.to_owned(), chain, unlock, keys: Mutex::default() })
    }

    /// Gives the certificate and the authorities above it but the root.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Gives the certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// Opens the keys, so that the first signature waits for no file and no passphrase.
    ///
    /// # Errors
    /// Keys that do not open or are not the certificate's.
    pub(crate) fn open(&self) -> Result<(), TrustError> {
        self.with_every_key(|_| Ok(()))
    }

    /// Signs a value of a kind; the chain travels along.
    ///
    /// # Errors
    /// Keys that do not open or are not the certificate's, or no randomness.
    pub fn seal<T: Serialize>(&self, kind: &str, value: &T, at: OffsetDateTime) -> Result<Vec<u8>, TrustError> {
        self.expect_valid(at)?;
        self.with_every_key(|keys| Ok(document::seal(kind, value, at, &self.chain, keys)?))
    }

    /// Signs a release; the chain travels in the given form.
    ///
    /// # Errors
    /// A release that breaks the statement's rules, keys that do not open or are not the certificate's, or no randomness.
    pub fn seal_release(&self, release: &Release, form: ChainForm) -> Result<Vec<u8>, TrustError> {
        self.expect_valid(release.signed_at)?;
        self.with_every_key(|keys| Ok(envelope::seal(release, &self.chain, form, keys)?))
    }

    /// Signs the head of the publisher's feed.
    ///
    /// # Errors
    /// Keys that do not open or are not the certificate's, or no randomness.
    pub fn seal_feed(&self, number: u64, entry: Sha256, at: OffsetDateTime) -> Result<Vec<u8>, TrustError> {
        self.expect_valid(at)?;
        self.with_every_key(|keys| Ok(feed::seal(number, entry, at, &self.chain, keys)?))
    }

    /// Signs a receipt of a run.
    ///
    /// # Errors
    /// Keys that do not open or are not the certificate's, or no randomness.
    pub fn seal_receipt(&self, receipt: &Receipt, at: OffsetDateTime) -> Result<Vec<u8>, TrustError> {
        self.expect_valid(at)?;
        self.with_every_key(|keys| Ok(receipt::seal(receipt, at, &self.chain, keys)?))
    }

    /// Signs an offer with every key of the certificate.
    ///
    /// # Errors
    /// Keys that do not open or are not the certificate's, or no randomness.
    pub fn seal_offer(&self, offer: &Offer, at: OffsetDateTime) -> Result<Vec<u8>, TrustError> {
        self.expect_valid(at)?;
        self.with_every_key(|keys| Ok(offer::seal(offer, at, &self.chain, keys)?))
    }

    /// Signs bytes of a protocol that says itself what it signs, with the Ed25519 key.
    ///
    /// # Errors
    /// A certificate that has ended, keys that do not open or are not the certificate's.
    pub(crate) fn sign_classical(&self, message: &[u8]) -> Result<ed25519::Signature, TrustError> {
        self.expect_valid(OffsetDateTime::now_utc())?;
        self.with_every_key(|keys| {
            Ok(match keys {
                SignerKeys::Hybrid(keys) => keys.ed25519.sign(message),
                SignerKeys::Classical(key) => key.sign(message),
            })
        })
    }

    /// Signs bytes of such a protocol with the FALCON key that the certificate names.
    ///
    /// # Errors
    /// As [`Self::sign_classical`]; [`TrustError::OneKey`]; no randomness.
    pub(crate) fn sign_post_quantum(&self, message: &[u8]) -> Result<falcon::Signature, TrustError> {
        self.expect_valid(OffsetDateTime::now_utc())?;
        // A node may hold the key and not be certified for it; nobody could check what it signs then.
        if self.certificate().keys().is_none() {
            return Err(TrustError::OneKey { name: self.name.clone() });
        }
        self.with_keys(|keys| Ok(keys.falcon.sign(message).map_err(HybridError::from)?))
    }

    /// Opens both keys the first time, which takes 0.2 s with a passphrase.
    ///
    /// # Errors
    /// [`TrustError::OneKey`], keys that do not open or are not the certificate's, and whatever `work` says.
    pub fn with_keys<T>(&self, work: impl FnOnce(&SecretKey) -> Result<T, TrustError>) -> Result<T, TrustError> {
        self.with_every_key(|keys| match keys {
            SignerKeys::Hybrid(keys) => work(keys),
            SignerKeys::Classical(_) => Err(TrustError::OneKey { name: self.name.clone() }),
        })
    }

    /// Opens what keys there are the first time.
    fn with_every_key<T>(&self, work: impl FnOnce(SignerKeys<'_>) -> Result<T, TrustError>) -> Result<T, TrustError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.is_none() {
            *keys = Some(change::open_keys(&self.home, &self.name, self.certificate(), &self.unlock)?);
        }
        work(keys.as_ref().expect("they were opened when there were none").into())
    }

    /// Nobody would believe what is signed under a certificate that has ended, or not begun.
    pub(crate) fn expect_valid(&self, now: OffsetDateTime) -> Result<(), TrustError> {
        let (name, validity) = (self.name.clone(), self.certificate().validity());
        if validity.contains(now) {
            return Ok(());
        }
        let (not_before, not_after) = (validity.not_before, validity.not_after);
        Err(if now < not_before {
            TrustError::NotBegun { name, not_before, now }
        } else {
            TrustError::Ended { name, not_after }
        })
    }
}

impl Signers {
    /// Gives the signer of this name that is kept, if its certificate is still the same, and keeps the fresh one otherwise.
    pub(crate) fn keep(&self, fresh: Signer) -> Arc<Signer> {
        let mut signers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = fresh.certificate().fingerprint();
        if let Some((_, signer)) = signers.get(&fresh.name).filter(|(known, _)| *known == fingerprint) {
            return Arc::clone(signer);
        }
        let signer = Arc::new(fresh);
        signers.insert(signer.name.clone(), (fingerprint, Arc::clone(&signer)));
        signer
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, {})", self.name, self.certificate().fingerprint())
    }
}
