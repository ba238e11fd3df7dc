//! Proof that a requester may do one operation: the four proofs of HyperMesh, bound to it by the requester's signatures.
//!
//! An [`Operation`] names what is done to which content, in which cluster and epoch, until when, and a number used once. Every
//! validator draws a [`Challenge`] for it. From both follows one challenge, [`combined`], to which the proofs of space and work
//! answer: nothing can be prepared, and one proof serves every validator. The requester signs all of it with both keys, in an
//! envelope whose type is its domain, so that no signature of another purpose counts here.
//!
//! [`OperationProof::verify`] checks everything that follows from the bytes, the genesis, the profile and the time. Two things
//! it cannot know: whether a challenge is the validator's own, and whether [`OperationProof::uses`] were used before. Those are
//! for the validator, which keeps both. Nothing here reads a clock.

pub mod profile;
pub mod space;
pub mod stake;
pub mod time;
pub mod work;

mod error;
mod verdict;

use ::time::{Duration, OffsetDateTime};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, NUMBER_MAX};
use crate::certificate::{Certificate, Purpose};
use crate::digest::{Blake3, Nonce, Sha256};
use crate::dsse::{self, Document};
use crate::envelope;
use crate::genesis::{Genesis, VALIDATORS_MAX, is_name};
use crate::hybrid::{PublicKey, SecretKey};
use crate::moment;
use crate::path::{Request, Revocation, Roots};

pub use self::error::{ProofError, ProofFault};
pub use self::profile::{Level, OperationKind, Profile, ProofKind, Requirement};
pub use self::space::{Space, SpaceError};
pub use self::stake::{SignedStake, Stake, StakeError};
pub use self::time::{Time, TimeError};
pub use self::verdict::{ByzantineKind, Verdict};
pub use self::work::{Work, WorkError, WorkState, WorkloadType};

/// The media type of the payload, the domain of the signatures; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.operation.v1+json";
/// The largest proof in bytes; one of a mebibyte of space has about 60,000.
pub const PROOF_BYTES_MAX: usize = 256 * 1024;
/// How long before its end an operation may be proved.
pub const LIFETIME_MAX: Duration = Duration::seconds(300);

/// What is to be done, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// The cluster that is asked.
    pub cluster: String,
    /// The BLAKE3 of what it is done to.
    pub digest: Blake3,
    /// The cluster's epoch.
    pub epoch: u64,
    /// When it stops to count.
    #[serde(with = "moment")]
    pub expires: OffsetDateTime,
    /// What is done.
    pub kind: OperationKind,
    /// Drawn by whoever wants it done, who can thus tell an answer from an old one.
    pub nonce: Nonce,
}

/// What one validator drew for an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The validator, by the fingerprint of its keys.
    pub validator: Sha256,
    /// What it drew.
    pub nonce: Nonce,
}

/// What a requester shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What the validators drew, sorted by validator.
    pub challenges: Vec<Challenge>,
    /// What is to be done.
    pub operation: Operation,
    /// The requester, by the fingerprint of its keys.
    pub requester: Sha256,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stake: Option<SignedStake>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// A proof whose form is right and of which nobody has checked anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationProof {
    envelope: dsse::Envelope,
    document: Document,
    chain: Vec<Certificate>,
    claim: Claim,
    id: Sha256,
}

/// What judging a proof needs besides the proof.
#[derive(Clone, Copy, Debug)]
pub struct JudgeOptions<'a> {
    /// The roots.
    pub roots: &'a Roots,
    /// The start of the epoch: the cluster and the stakes.
    pub genesis: &'a Genesis,
    /// How much of each proof is needed.
    pub profile: &'a Profile,
    /// The time.
    pub now: OffsetDateTime,
    /// How revocation of the requester is checked.
    pub revocation: Revocation<'a>,
}

impl Operation {
    /// Names the operation: the SHA-256 of its canonical form, in its domain.
    ///
    /// # Errors
    /// An epoch above 2^53 or a year that has not four digits.
    pub fn id(&self) -> Result<Sha256, ProofError> {
        Ok(Sha256::tagged("TCv1 op", &[&canonical::write(self)?]))
    }
}

/// Gives the one challenge that follows from an operation and what every validator drew, sorted by validator.
///
/// # Errors
/// As [`Operation::id`].
pub fn combined(operation: &Operation, challenges: &[Challenge]) -> Result<Sha256, ProofError> {
    let id = operation.id()?;
    let drawn = challenges.iter().flat_map(|it| [&it.validator.as_bytes()[..], &it.nonce.as_bytes()[..]]);
    let parts: Vec<&[u8]> = std::iter::once(&id.as_bytes()[..]).chain(drawn).collect();
    Ok(Sha256::tagged("TCv1 challenge", &parts))
}

/// Signs a claim with both keys of the requester; `chain` is its certificate and the authorities above it but the root.
///
/// # Errors
/// Keys that are not the certificate's, a chain that is empty, or no randomness.
pub fn seal(claim: &Claim, chain: &[Certificate], keys: &SecretKey) -> Result<Vec<u8>, ProofError> {
    let leaf = envelope::expect_chain(chain).map_err(|source| ProofError::Chain { source: Box::new(source) })?;
    let public = keys.public();
    if leaf.keys().as_ref() != Some(&public) || claim.requester.as_bytes() != &public.fingerprint() {
        return Err(ProofError::OtherRequester);
    }
    let mut envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &canonical::write(claim)?, keys)?;
    envelope.x5c = Some(chain.iter().map(|certificate| BASE64.encode(certificate.der())).collect());
    Ok(envelope.write()?)
}

impl OperationProof {
    /// Reads a proof.
    ///
    /// # Errors
    /// Anything but the one form of a signed claim with its requester's chain.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        Self::open(canonical::read(bytes, PROOF_BYTES_MAX)?)
    }

    /// Takes a proof out of a larger document.
    pub(crate) fn open(envelope: dsse::Envelope) -> Result<Self, ProofError> {
        let id = Sha256::of(&envelope.write()?);
        let document = envelope.open(PAYLOAD_TYPE)?;
        let wrong = |source| ProofError::Chain { source: Box::new(source) };
        let x5c = match (&envelope.x5c, &envelope.chain) {
            (Some(x5c), None) => x5c,
            _ => return Err(ProofError::Malformed { reason: "the requester's chain is not in it" }),
        };
        let chain = envelope::read_chain(x5c).map_err(wrong)?;
        envelope::expect_chain(&chain).map_err(wrong)?;
        let claim: Claim = canonical::read(&document.payload, PROOF_BYTES_MAX)?;
        claim.check()?;
        Ok(Self { envelope, document, chain, claim, id })
    }

    /// Gives what is claimed; nobody has checked it.
    pub fn claimed(&self) -> &Claim {
        &self.claim
    }

    /// Names the proof: the SHA-256 of its bytes.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// Gives what must not have been used before, and until when to remember that it was.
    pub fn uses(&self) -> (Vec<Sha256>, OffsetDateTime) {
        let Claim { operation, requester, time, .. } = &self.claim;
        let used = |domain, what: &[u8]| Sha256::tagged(domain, &[requester.as_bytes(), what]);
        let of_time = time.as_ref().map(|time| used("TCv1 used time", &time.nonce.to_le_bytes()));
        let of_operation = used("TCv1 used operation", operation.nonce.as_bytes());
        (std::iter::once(of_operation).chain(of_time).collect(), operation.expires)
    }

    /// Gives the bytes.
    ///
    /// # Errors
    /// None for a proof that was read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProofError> {
        Ok(self.envelope.write()?)
    }

    pub(crate) fn envelope(&self) -> &dsse::Envelope {
        &self.envelope
    }

    /// Checks signatures, requester, operation and every proof that is needed or there. Takes about 0.7 ms.
    ///
    /// # Errors
    /// The first reason not to believe the claim, or everything that is wrong with the four proofs.
    pub fn verify(&self, options: &JudgeOptions<'_>) -> Result<(), ProofError> {
        let (leaf, claim) = (&self.chain[0], &self.claim);
        claim.operation.expect_for(options.genesis, options.now)?;
        let keys = leaf.keys().ok_or(ProofError::OtherRequester)?;
        if claim.requester.as_bytes() != &keys.fingerprint() {
            return Err(ProofError::OtherRequester);
        }
        self.document.verify(PAYLOAD_TYPE, &keys)?;
        options.roots.validate(&Request {
            leaf,
            intermediates: &self.chain[1..],
            purpose: Purpose::Publisher,
            at: options.now,
            revocation: options.revocation,
        })?;
        let faults = claim.faults(&keys, options)?;
        if faults.is_empty() { Ok(()) } else { Err(ProofError::Failed { faults }) }
    }
}

impl Operation {
    fn expect_for(&self, genesis: &Genesis, now: OffsetDateTime) -> Result<(), ProofError> {
        if self.cluster != genesis.cluster {
            let (actual, expected) = (self.cluster.clone(), genesis.cluster.clone());
            return Err(ProofError::OtherCluster { actual, expected });
        }
        if self.epoch != genesis.epoch {
            return Err(ProofError::OtherEpoch { actual: self.epoch, expected: genesis.epoch });
        }
        if now > self.expires {
            return Err(ProofError::Expired { expires: self.expires });
        }
        if self.expires > now.saturating_add(LIFETIME_MAX) {
            return Err(ProofError::Lifetime { expires: self.expires });
        }
        Ok(())
    }
}

impl Claim {
    fn check(&self) -> Result<(), ProofError> {
        let fault = |reason| Err(ProofError::Malformed { reason });
        if !is_name(&self.operation.cluster) || self.operation.epoch > NUMBER_MAX {
            return fault("a cluster has 1 to 128 printable characters, and an epoch is below 2^53");
        }
        if self.challenges.len() > VALIDATORS_MAX {
            return fault("it has more than 64 challenges");
        }
        if !self.challenges.is_sorted_by(|a, b| a.validator < b.validator) {
            return fault("its challenges are not sorted, or a validator comes twice");
        }
        Ok(())
    }

    /// Gives everything that is wrong with the four proofs.
    fn faults(&self, keys: &PublicKey, options: &JudgeOptions<'_>) -> Result<Vec<ProofFault>, ProofError> {
        let challenge = combined(&self.operation, &self.challenges)?;
        let needed = options.profile.requirement(self.operation.kind);
        let (requester, now) = (self.requester, options.now);
        let space = |it: &Space| it.check(requester, challenge, needed.space_bytes_min, now);
        let stake = |it: &SignedStake| it.check(keys, options.genesis, needed.stake_min, now);
        let work = |it: &Work| it.check(requester, challenge, (needed.power_min, needed.difficulty_bits), now);
        let time = |it: &Time| it.check(needed.offset_max, now);
        let results = [
            (ProofKind::Space, self.space.as_ref().map(|it| space(it).map_err(ProofFault::Space))),
            (ProofKind::Stake, self.stake.as_ref().map(|it| stake(it).map_err(ProofFault::Stake))),
            (ProofKind::Work, self.work.as_ref().map(|it| work(it).map_err(ProofFault::Work))),
            (ProofKind::Time, self.time.as_ref().map(|it| time(it).map_err(ProofFault::Time))),
        ];
        let fault = |(kind, result): (ProofKind, Option<Result<(), ProofFault>>)| match result {
            None => needed.proofs.contains(&kind).then_some(ProofFault::Missing(kind)),
            Some(result) => result.err(),
        };
        Ok(results.into_iter().filter_map(fault).collect())
    }
}

/// Checks that something was made neither too long ago nor in the future; says which.
fn expect_age(timestamp: OffsetDateTime, now: OffsetDateTime, most: Duration) -> Result<(), &'static str> {
    if now - timestamp > most {
        Err("which is too old")
    } else if timestamp > now.saturating_add(crate::SKEW) {
        Err("which is in the future")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
