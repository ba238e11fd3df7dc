//! Agreement of the cluster's validators to an operation: asked through the host, and checked here again.
//!
//! The host answers with a certificate and not with a word. It counts if the genesis is signed by a pinned root, at least a
//! quorum of the validators that the genesis names has signed, their profile is the node's, the proof inside holds, and all of
//! it is for exactly this operation: kind, content, and a number drawn here for this one time. An old certificate, or one that
//! was made for another run of the same package, has another number. [`Agreement`] is made here alone, and no proof leaves
//! the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use trustchain::EntropyError;
use trustchain::certificate::{Certificate, PemError, from_pem};
use trustchain::digest::{Blake3, Nonce, Sha256};
use trustchain::genesis::{Genesis, GenesisError};
use trustchain::path::{Hybrid, Revocation, RootError, Roots};
use trustchain::proof::{JudgeOptions, OperationKind as Kind, Profile};
use trustchain::quorum::{Expected, QuorumCertificate, QuorumError, ValidatorSet};
use trustchain::revocation::RevocationList;

use crate::config::{ConsensusConfig, ProfileName, When};
use crate::digest::Digest;
use crate::host::{Host, Operation, OperationKind, Refusal, TrustAnchors};

/// The most agreements of the last minutes that are remembered; beyond that nothing is agreed to until some are over.
pub const SEEN_MAX: usize = 16_384;

/// What a node knows of agreements: what it asks for, and what it has seen.
#[derive(Debug)]
pub struct Consensus {
    config: ConsensusConfig,
    /// Until when each proof counts that was taken.
    seen: Mutex<HashMap<Sha256, OffsetDateTime>>,
}

/// What is to be agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is done.
    pub kind: OperationKind,
    /// To which content.
    pub digest: Digest,
    /// Whether the package asks for agreement; the configuration may ask for it whatever the package says.
    pub required: bool,
    /// Validators that must agree; never fewer than a quorum do.
    pub minimum: u32,
}

/// That the validators agreed; made by [`Consensus::agreed`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    proof: Sha256,
    epoch: u64,
    expires: OffsetDateTime,
    validators: usize,
}

/// Why an operation has no agreement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsensusError {
    /// The host said no.
    #[error(transparent)]
    Host(#[from] Refusal),
    /// The package asks for it, and the administrator does not want anybody asked.
    #[error("it asks for agreement, and `configuration.consensus.{setting}` is `never` on this node")]
    SwitchedOff {
        /// The setting.
        setting: &'static str,
    },
    /// The host believes in nothing.
    #[error("the host names no {what}, so nothing it answers can be checked")]
    NoAnchor {
        /// What is missing.
        what: &'static str,
    },
    /// A certificate of the host's anchors cannot be read.
    #[error("a certificate among the host's trust anchors cannot be read")]
    Pem(#[from] PemError),
    /// A root of the host's anchors is none.
    #[error("a root among the host's trust anchors is none")]
    Root(#[from] RootError),
    /// A revocation list of the host's anchors is of nobody, or not fresh.
    #[error("a revocation list among the host's trust anchors is not genuine and fresh")]
    Revocation,
    /// The genesis is not believed.
    #[error("the genesis of the cluster is not believed")]
    Genesis(#[from] GenesisError),
    /// The certificate is not believed.
    #[error("the certificate of agreement is not believed")]
    Certificate(#[from] QuorumError),
    /// The certificate was taken before.
    #[error("the certificate of agreement was used before")]
    Used,
    /// Too many are remembered.
    #[error("more than 16384 agreements were taken in the last minutes")]
    Full,
    /// There is no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl Consensus {
    /// Starts to remember.
    pub fn new(config: ConsensusConfig) -> Self {
        Self { config, seen: Mutex::default() }
    }

    /// Gets agreement to an operation, if the package or the configuration asks for it. Takes some 10 ms of the validators and
    /// 5 ms of this thread in an optimised build.
    ///
    /// # Errors
    /// The host's refusal, or why its answer is not believed.
    pub async fn agreed(&self, ask: &Ask, host: &dyn Host) -> Result<Option<Agreement>, ConsensusError> {
        let (when, setting) = match ask.kind {
            OperationKind::Execute => (self.config.execute, "execute"),
            OperationKind::Publish => (self.config.publish, "publish"),
            OperationKind::Install => (self.config.install, "install"),
        };
        match when {
            When::Never if ask.required => return Err(ConsensusError::SwitchedOff { setting }),
            When::Package if !ask.required => return Ok(None),
            When::Never => return Ok(None),
            When::Package | When::Always => {}
        }
        let nonce = Nonce::random()?;
        let profile = self.profile();
        let operation = Operation {
            kind: ask.kind,
            digest: ask.digest,
            minimum: ask.minimum,
            nonce: nonce.to_string(),
            profile: profile.name.to_string(),
        };
        let certificate = host.consensus(&operation).await?;
        let anchors = host.anchors().await?;
        let expected = Expected {
            kind: kind(ask.kind),
            digest: Blake3::from_bytes(*ask.digest.as_bytes()),
            nonce,
            minimum: usize::try_from(ask.minimum).unwrap_or(usize::MAX),
        };
        let agreement = verify(&certificate, &expected, &anchors, &profile, host.now())?;
        self.take(&agreement, host.now())?;
        Ok(Some(agreement))
    }

    fn profile(&self) -> Profile {
        match self.config.profile {
            ProfileName::Localhost => Profile::LOCALHOST,
            ProfileName::Default => Profile::DEFAULT,
            ProfileName::Production => Profile::PRODUCTION,
        }
    }

    /// Takes an agreement once.
    fn take(&self, agreement: &Agreement, now: OffsetDateTime) -> Result<(), ConsensusError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX {
            seen.retain(|_, expires| *expires >= now);
        }
        if seen.len() >= SEEN_MAX {
            return Err(ConsensusError::Full);
        }
        let before = seen.insert(agreement.proof, agreement.expires);
        if before.is_some() { Err(ConsensusError::Used) } else { Ok(()) }
    }
}

impl Agreement {
    /// Names the proof: the SHA-256 of its bytes in hexadecimal.
    pub fn proof(&self) -> String {
        self.proof.to_string()
    }

    /// Gives the epoch of the cluster in which it was agreed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Says until when it counts.
    pub fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    /// Says how many validators agreed.
    pub fn validators(&self) -> usize {
        self.validators
    }
}

/// Checks a certificate against what the host believes: everything from the roots down.
fn verify(
    certificate: &[u8],
    expected: &Expected,
    anchors: &TrustAnchors,
    profile: &Profile,
    now: OffsetDateTime,
) -> Result<Agreement, ConsensusError> {
    if anchors.roots.is_empty() {
        return Err(ConsensusError::NoAnchor { what: "root" });
    }
    if anchors.genesis.is_empty() {
        return Err(ConsensusError::NoAnchor { what: "cluster" });
    }
    let roots = Roots::read(&anchors.roots, Hybrid::Required)?;
    let genesis = Genesis::verify(anchors.genesis.as_bytes(), &roots)?;
    let lists = lists(anchors, &roots, now)?;
    let revocation = if lists.is_empty() { Revocation::Unchecked } else { Revocation::Lists { lists: &lists, now } };
    let chains = anchors.validators.iter().map(|text| from_pem(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let (set, unfit) = ValidatorSet::new(&genesis, &chains, &roots, now, revocation)?;
    for error in unfit {
        tracing::warn!("a validator cannot agree to anything: {error}");
    }
    let options = JudgeOptions { roots: &roots, genesis: &genesis, profile, now, revocation };
    let agreement = QuorumCertificate::parse(certificate)?.verify(&set, expected, &options)?;
    Ok(Agreement {
        proof: agreement.proof(),
        epoch: agreement.epoch(),
        expires: agreement.expires(),
        validators: agreement.validators().len(),
    })
}

fn certificates(texts: &[String]) -> Result<Vec<Certificate>, PemError> {
    let read = texts.iter().map(|text| from_pem(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    Ok(read.into_iter().flatten().collect())
}

/// Reads revocation lists, each of one of the authorities that the host knows.
fn lists(anchors: &TrustAnchors, roots: &Roots, now: OffsetDateTime) -> Result<Vec<RevocationList>, ConsensusError> {
    let authorities = certificates(&anchors.authorities)?;
    let known = || roots.certificates().iter().chain(&authorities);
    let read = |text: &String| {
        let list = known().find_map(|authority| RevocationList::verify(text.as_bytes(), authority, now, None).ok());
        list.ok_or(ConsensusError::Revocation)
    };
    anchors.revocations.iter().map(read).collect()
}

fn kind(kind: OperationKind) -> Kind {
    match kind {
        OperationKind::Execute => Kind::Compute,
        OperationKind::Publish => Kind::Publish,
        OperationKind::Install => Kind::Install,
    }
}

#[cfg(test)]
mod tests;
