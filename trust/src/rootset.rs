//! Root sets: what several roots decide together, so that the keys of one of them, stolen, decide nothing.
//!
//! A set names its roots, how many of them must sign, the authorities that count below them, and the starts of clusters. A
//! certificate below a root of a set counts only if the authority right below that root is named, and a genesis only if its
//! digest is. A set is replaced by the next number, which enough of the roots before it and enough of its own have signed: a
//! root whose keys were stolen is left out of it, and what it signed is then below no root. The rules are those of the root
//! role of The Update Framework (specification 1.0.33, 5.3), the document is a DSSE envelope with two signatures of each root.
//!
//! A [`Proposal`] goes from one root to the next and collects signatures; [`Proposal::accept`] makes a [`RootSet`] of it.
//! Sets only take away: nothing is believed for a set that would not be believed for its roots alone.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, NUMBER_MAX};
use crate::certificate::{Authority, Certificate, CertificateError};
use crate::digest::Sha256;
use crate::dsse::{self, DsseError};
use crate::hybrid::{self, PublicKey};
use crate::path::ROOTS_MAX;

/// The media type of the payload; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.roots.v1+json";
/// The largest document in bytes; 32 roots and 64 signers are below it.
pub const ROOT_SET_BYTES_MAX: usize = 768 * 1024;
/// The most authorities that a set names.
pub const AUTHORITIES_MAX: usize = 64;
/// The most starts of clusters that a set names.
pub const GENESES_MAX: usize = 16;
/// The most roots that sign a set: all of the one before and all of its own.
pub const SIGNERS_MAX: usize = 2 * ROOTS_MAX;

/// What a set is to say.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How many roots must sign.
    pub threshold: usize,
    /// The roots.
    pub roots: Vec<Certificate>,
    /// The authorities right below them that count.
    pub authorities: Vec<Certificate>,
    /// The digests of the starts of clusters that count.
    pub geneses: Vec<Sha256>,
}

/// A set that is being signed.
#[derive(Clone, Debug)]
pub struct Proposal {
    statement: Statement,
    roots: Vec<Root>,
    payload: Vec<u8>,
    signatures: BTreeMap<Sha256, hybrid::Signature>,
}

/// A set that enough roots have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootSet {
    statement: Statement,
    roots: Vec<Root>,
    digest: Sha256,
    document: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    certificate: Certificate,
    keys: PublicKey,
    id: Sha256,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// Authorities by the fingerprints of their key pairs, sorted.
    authorities: Vec<Sha256>,
    geneses: Vec<Sha256>,
    /// The digest of the payload of the set before; none in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Sha256>,
    /// Certificates in base64, sorted by the fingerprints of their key pairs.
    roots: Vec<String>,
    threshold: u64,
    version: u64,
}

/// Why a document is no root set, or not the next one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootSetError {
    /// The envelope or what is in it is wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// A root of it cannot be read.
    #[error("a root of the set cannot be read")]
    Certificate(#[from] CertificateError),
    /// A rule is broken.
    #[error("the root set is malformed: {reason}")]
    Malformed {
        /// Which rule.
        reason: &'static str,
    },
    /// A root's signature is not right.
    #[error("the signature of `{subject}` on the root set is not right")]
    Forged {
        /// The root.
        subject: String,
        /// Which of its two signatures.
        #[source]
        source: hybrid::HybridError,
    },
    /// Not enough roots have signed.
    #[error("`{signed}` of the {whose} have signed root set {version}, {needed} must")]
    TooFew {
        /// The number of the set.
        version: u64,
        /// Whose signatures are missing.
        whose: &'static str,
        /// How many have signed.
        signed: usize,
        /// How many must.
        needed: usize,
    },
    /// It is not the one that comes next.
    #[error("root set {actual} does not come after root set {known}")]
    NotNext {
        /// The number of the one that is known.
        known: u64,
        /// The number of this one.
        actual: u64,
    },
    /// It follows another set than the one that is known.
    #[error("root set {version} follows another root set {} than the one that is known", version.saturating_sub(1))]
    OtherBefore {
        /// The number of this one.
        version: u64,
    },
    /// A root that has no say in it.
    #[error("`{subject}` is a root neither of this set nor of the one before, its signature would count for nothing")]
    Stranger {
        /// The root.
        subject: String,
    },
}

impl Proposal {
    /// Writes down the set that comes after another, or the first. Nobody has signed it yet.
    ///
    /// # Errors
    /// A rule is broken: the number of roots, signers, authorities or geneses, two roots that share a key, one without both.
    pub fn new(previous: Option<&RootSet>, terms: &Terms) -> Result<Self, RootSetError> {
        let mut roots = terms.roots.iter().cloned().map(Root::new).collect::<Result<Vec<_>, _>>()?;
        roots.sort_by_key(|root| root.id);
        let authorities: Option<BTreeSet<Sha256>> = terms.authorities.iter().map(id).collect();
        let authorities = authorities.ok_or(malformed("an authority has not both keys"))?;
        let geneses: BTreeSet<Sha256> = terms.geneses.iter().copied().collect();
        let statement = Statement {
            authorities: authorities.into_iter().collect(),
            geneses: geneses.into_iter().collect(),
            previous: previous.map(|set| set.digest),
            roots: roots.iter().map(|root| BASE64.encode(root.certificate.der())).collect(),
            threshold: terms.threshold as u64,
            version: previous.map_or(1, |set| set.statement.version + 1),
        };
        statement.check(&roots)?;
        let payload = canonical::write(&statement).map_err(DsseError::from)?;
        Ok(Self { statement, roots, payload, signatures: BTreeMap::new() })
    }

    /// Reads a proposal, signed by whoever has signed it so far.
    ///
    /// # Errors
    /// Anything but the one form of its kind, a broken rule.
    pub fn read(bytes: &[u8]) -> Result<Self, RootSetError> {
        let dsse::Cosigned { payload, signatures } = dsse::read_cosigned(bytes, ROOT_SET_BYTES_MAX, PAYLOAD_TYPE)?;
        if signatures.len() > SIGNERS_MAX {
            return Err(malformed("more than 64 roots have signed it"));
        }
        let statement: Statement = canonical::read(&payload, ROOT_SET_BYTES_MAX).map_err(DsseError::from)?;
        if statement.roots.len() > ROOTS_MAX {
            return Err(malformed("it has not 1 to 32 roots"));
        }
        let read = |text: &String| Root::new(Certificate::parse(&dsse::decode(text, "roots")?)?);
        let roots = statement.roots.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        statement.check(&roots)?;
        Ok(Self { statement, roots, payload, signatures })
    }

    /// Adds the signatures of a root of this set or of the one before.
    ///
    /// # Errors
    /// A root of neither, no randomness.
    pub fn sign(&mut self, root: &Authority, previous: Option<&RootSet>) -> Result<(), RootSetError> {
        let before = previous.map(|set| &set.roots[..]).unwrap_or_default();
        let signer = self.roots.iter().chain(before).find(|known| known.certificate == *root.certificate());
        let Some(signer) = signer else {
            return Err(RootSetError::Stranger { subject: root.certificate().subject().to_owned() });
        };
        let signature = dsse::cosign(PAYLOAD_TYPE, &self.payload, root.keys()).map_err(DsseError::from)?;
        self.signatures.insert(signer.id, signature);
        Ok(())
    }

    /// Writes the document with the signatures so far.
    ///
    /// # Errors
    /// None that its own rules allow.
    pub fn write(&self) -> Result<Vec<u8>, RootSetError> {
        Ok(dsse::write_cosigned(PAYLOAD_TYPE, &self.payload, &self.signatures).map_err(DsseError::from)?)
    }

    /// Gives the number of the set.
    pub fn version(&self) -> u64 {
        self.statement.version
    }

    /// Counts the roots of this set that have signed, and how many must.
    ///
    /// # Errors
    /// A signature that is not right.
    pub fn progress(&self) -> Result<(usize, usize), RootSetError> {
        Ok((self.signed_by(&self.roots)?, self.statement.threshold()))
    }

    /// Takes the proposal as the set that counts: the first one known here, or the one after the one that is known.
    ///
    /// # Errors
    /// Too few of its roots have signed, or too few of those before; another number or another past than what is known.
    pub fn accept(self, previous: Option<&RootSet>) -> Result<RootSet, RootSetError> {
        let version = self.statement.version;
        let enough = |whose, signed, needed| {
            if signed >= needed { Ok(()) } else { Err(RootSetError::TooFew { version, whose, signed, needed }) }
        };
        if let Some(previous) = previous {
            let known = previous.statement.version;
            if known.checked_add(1) != Some(version) {
                return Err(RootSetError::NotNext { known, actual: version });
            }
            if self.statement.previous != Some(previous.digest) {
                return Err(RootSetError::OtherBefore { version });
            }
            enough("roots before it", self.signed_by(&previous.roots)?, previous.statement.threshold())?;
        }
        enough("roots of it", self.signed_by(&self.roots)?, self.statement.threshold())?;
        let document = self.write()?;
        let Self { statement, roots, payload, .. } = self;
        Ok(RootSet { statement, roots, digest: Sha256::of(&payload), document })
    }

    /// Counts who of these roots has signed. Signatures of others say nothing here.
    fn signed_by(&self, roots: &[Root]) -> Result<usize, RootSetError> {
        let mut signed = 0;
        for root in roots {
            let Some(signature) = self.signatures.get(&root.id) else { continue };
            dsse::verify_cosigned(PAYLOAD_TYPE, &self.payload, signature, &root.keys)
                .map_err(|source| RootSetError::Forged { subject: root.certificate.subject().to_owned(), source })?;
            signed += 1;
        }
        Ok(signed)
    }
}

impl RootSet {
    /// Reads a set that somebody trusted hands over: enough of its own roots must have signed it. Whoever knows the one
    /// before asks [`Proposal::accept`] instead.
    ///
    /// # Errors
    /// As [`Proposal::read`] and [`Proposal::accept`].
    pub fn verify(bytes: &[u8]) -> Result<Self, RootSetError> {
        Proposal::read(bytes)?.accept(None)
    }

    /// Gives the number of the set.
    pub fn version(&self) -> u64 {
        self.statement.version
    }

    /// Says how many roots must sign.
    pub fn threshold(&self) -> usize {
        self.statement.threshold()
    }

    /// Gives the roots, sorted by their keys.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &Certificate> {
        self.roots.iter().map(|root| &root.certificate)
    }

    /// Says whether an authority right below a root counts.
    pub fn names(&self, authority: &Certificate) -> bool {
        id(authority).is_some_and(|id| self.statement.authorities.binary_search(&id).is_ok())
    }

    /// Gives the starts of clusters that count, by their digests.
    pub fn geneses(&self) -> &[Sha256] {
        &self.statement.geneses
    }

    /// Gives how many authorities count.
    pub fn authorities(&self) -> usize {
        self.statement.authorities.len()
    }

    /// Gives the document.
    pub fn document(&self) -> &[u8] {
        &self.document
    }
}

impl Root {
    fn new(certificate: Certificate) -> Result<Self, RootSetError> {
        let keys = certificate.keys().ok_or(malformed("a root has not both keys"))?;
        let id = Sha256::from_bytes(keys.fingerprint());
        Ok(Self { certificate, keys, id })
    }
}

impl Statement {
    fn threshold(&self) -> usize {
        usize::try_from(self.threshold).unwrap_or(usize::MAX)
    }

    fn check(&self, roots: &[Root]) -> Result<(), RootSetError> {
        if roots.is_empty() || roots.len() > ROOTS_MAX {
            return Err(malformed("it has not 1 to 32 roots"));
        }
        if !(1..=roots.len()).contains(&self.threshold()) {
            return Err(malformed("its threshold is not from 1 to the number of its roots"));
        }
        if !roots.is_sorted_by(|a, b| a.id < b.id) {
            return Err(malformed("its roots are not sorted, or one comes twice"));
        }
        // Two roots that share one key would fall with it together.
        let classical: BTreeSet<&[u8]> = roots.iter().map(|root| &root.keys.ed25519.as_bytes()[..]).collect();
        let falcon: BTreeSet<&[u8]> = roots.iter().map(|root| &root.keys.falcon.as_bytes()[..]).collect();
        if classical.len() != roots.len() || falcon.len() != roots.len() {
            return Err(malformed("two of its roots share a key"));
        }
        if self.authorities.len() > AUTHORITIES_MAX || self.geneses.len() > GENESES_MAX {
            return Err(malformed("it names more than 64 authorities or 16 starts of clusters"));
        }
        if !self.authorities.is_sorted_by(|a, b| a < b) || !self.geneses.is_sorted_by(|a, b| a < b) {
            return Err(malformed("its authorities or starts of clusters are not sorted, or one comes twice"));
        }
        if !(1..=NUMBER_MAX).contains(&self.version) || self.previous.is_some() != (self.version > 1) {
            return Err(malformed("its number and what it says about the set before do not fit"));
        }
        Ok(())
    }
}

/// Names an authority by its key pair.
fn id(authority: &Certificate) -> Option<Sha256> {
    authority.keys().map(|keys| Sha256::from_bytes(keys.fingerprint()))
}

const fn malformed(reason: &'static str) -> RootSetError {
    RootSetError::Malformed { reason }
}

#[cfg(test)]
mod tests;
