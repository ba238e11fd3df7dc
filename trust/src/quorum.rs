//! Agreement of validators on an operation proof: f faulty of 3f + 1 cannot change what comes of it.
//!
//! Every validator judges by itself and signs its [`Decision`] with both keys. [`QuorumCertificate`] holds the proof and the
//! attestations of at least n - f different members of the cluster's [`ValidatorSet`]; two such sets share an honest member,
//! so two contradicting outcomes cannot both be certified. n is the number of validators of the genesis, whoever of them is
//! known, reachable or revoked.
//!
//! [`QuorumCertificate::verify`] believes nobody: it also checks the proof itself, and that all of it is for exactly the
//! operation that its caller wanted done.

mod attestation;
mod error;

use std::collections::BTreeSet;

use ::time::OffsetDateTime;
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::certificate::{Certificate, Purpose};
use crate::digest::{Blake3, Nonce, Sha256};
use crate::dsse;
use crate::envelope::expect_chain;
use crate::genesis::{Genesis, VALIDATORS_MAX};
use crate::hybrid::PublicKey;
use crate::path::{PathError, Request, Revocation, Roots};
use crate::proof::{JudgeOptions, OperationKind, OperationProof, PROOF_BYTES_MAX};

pub use self::attestation::{ATTESTATION_BYTES_MAX, Attestation, Decision, PAYLOAD_TYPE, REASON_CHARS_MAX, Statement};
pub use self::error::QuorumError;

/// The largest certificate in bytes: a proof and the attestations of all validators.
pub const CERTIFICATE_BYTES_MAX: usize = PROOF_BYTES_MAX + VALIDATORS_MAX * ATTESTATION_BYTES_MAX;

/// The validators of an epoch of a cluster.
#[derive(Clone, Debug)]
pub struct ValidatorSet {
    cluster: String,
    epoch: u64,
    /// How many the genesis names.
    size: usize,
    /// Those whose certificates are known and valid, sorted by id.
    members: Vec<Member>,
}

/// A validator whose certificate is valid.
#[derive(Clone, Debug)]
struct Member {
    id: Sha256,
    keys: PublicKey,
}

/// A proof on which a quorum agreed, for transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumCertificate {
    proof: OperationProof,
    /// Sorted by validator.
    attestations: Vec<Attestation>,
}

/// What the caller wants done, to which a certificate must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What is done.
    pub kind: OperationKind,
    /// To what.
    pub digest: Blake3,
    /// The number that the caller drew for this one time.
    pub nonce: Nonce,
    /// How many validators must agree, whatever the quorum.
    pub minimum: usize,
}

/// That a quorum agreed; only [`QuorumCertificate::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    proof: Sha256,
    epoch: u64,
    expires: OffsetDateTime,
    validators: Vec<Sha256>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    attestations: Vec<dsse::Envelope>,
    proof: dsse::Envelope,
}

impl ValidatorSet {
    /// Takes the validators of a genesis, with the chains by which they are known, leaf first.
    ///
    /// A validator without a valid chain stays one of those of which a quorum is needed and cannot be part of it; the chains
    /// that are not valid are given back with their reasons.
    ///
    /// # Errors
    /// Too many chains, or one of somebody whom the genesis does not name.
    pub fn new(
        genesis: &Genesis,
        chains: &[Vec<Certificate>],
        roots: &Roots,
        at: OffsetDateTime,
        revocation: Revocation<'_>,
    ) -> Result<(Self, Vec<PathError>), QuorumError> {
        if chains.len() > VALIDATORS_MAX {
            return Err(QuorumError::TooMany { actual: chains.len() });
        }
        let (mut members, mut refused) = (Vec::new(), Vec::new());
        for chain in chains {
            let leaf = expect_chain(chain).map_err(|source| QuorumError::Chain { source: Box::new(source) })?;
            let stranger = || QuorumError::NotMember { validator: leaf.subject().to_owned() };
            let keys = leaf.keys().ok_or_else(stranger)?;
            let id = Sha256::from_bytes(keys.fingerprint());
            genesis.validators.binary_search(&id).map_err(|_| stranger())?;
            let (intermediates, purpose) = (&chain[1..], Purpose::Validator);
            match roots.validate(&Request { leaf, intermediates, purpose, at, revocation }) {
                Ok(_) => members.push(Member { id, keys }),
                Err(error) => refused.push(error),
            }
        }
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        let size = genesis.validators.len();
        Ok((Self { cluster: genesis.cluster.clone(), epoch: genesis.epoch, size, members }, refused))
    }

    /// Gives the number of validators of the epoch: n.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Says how many of them may be faulty: f, of n at least 3f + 1.
    pub fn faulty_max(&self) -> usize {
        self.size.saturating_sub(1) / 3
    }

    /// Says how many must agree: n - f, which is 2f + 1 of 3f + 1.
    pub fn quorum(&self) -> usize {
        self.size - self.faulty_max()
    }

    /// Gives the validators that can agree, by the fingerprints of their keys.
    pub fn members(&self) -> impl Iterator<Item = Sha256> {
        self.members.iter().map(|member| member.id)
    }

    fn member(&self, id: Sha256) -> Option<&Member> {
        self.members.binary_search_by(|member| member.id.cmp(&id)).ok().map(|index| &self.members[index])
    }
}

impl QuorumCertificate {
    /// Puts a proof and attestations together; sorts them. What they are worth is for [`Self::verify`] to say.
    pub fn new(proof: OperationProof, mut attestations: Vec<Attestation>) -> Self {
        attestations.sort_by_key(|attestation| attestation.statement().validator);
        Self { proof, attestations }
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// Anything but the one form of a certificate.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuorumError> {
        let wire: Wire = canonical::read(bytes, CERTIFICATE_BYTES_MAX)?;
        if wire.attestations.len() > VALIDATORS_MAX {
            return Err(QuorumError::TooMany { actual: wire.attestations.len() });
        }
        let attestations = wire.attestations.into_iter().map(Attestation::open).collect::<Result<_, _>>()?;
        Ok(Self { proof: OperationProof::open(wire.proof)?, attestations })
    }

    /// Gives the bytes.
    ///
    /// # Errors
    /// None for a certificate whose parts were read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, QuorumError> {
        let attestations = self.attestations.iter().map(|attestation| attestation.envelope().clone()).collect();
        Ok(canonical::write(&Wire { attestations, proof: self.proof.envelope().clone() })?)
    }

    /// Gives the proof; nobody has checked it.
    pub fn proof(&self) -> &OperationProof {
        &self.proof
    }

    /// Checks that a quorum of the set agreed to exactly this operation, and the proof itself. Takes about 1.5 ms.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(
        &self,
        set: &ValidatorSet,
        expected: &Expected,
        options: &JudgeOptions<'_>,
    ) -> Result<Agreement, QuorumError> {
        let operation = &self.proof.claimed().operation;
        if operation.kind != expected.kind {
            return Err(QuorumError::OtherKind { actual: operation.kind, expected: expected.kind });
        }
        if operation.digest != expected.digest {
            return Err(QuorumError::OtherDigest { actual: operation.digest, expected: expected.digest });
        }
        if operation.nonce != expected.nonce {
            return Err(QuorumError::Replayed);
        }
        self.proof.verify(options)?;
        let ids: BTreeSet<Sha256> = self.attestations.iter().map(|it| it.statement().validator).collect();
        let sorted = self.attestations.is_sorted_by(|a, b| a.statement().validator < b.statement().validator);
        if !sorted {
            return Err(QuorumError::Duplicate);
        }
        for attestation in &self.attestations {
            attestation.verify(set, &self.proof, &options.profile.name)?;
            if let Decision::Refuse { reason } = &attestation.statement().decision {
                let validator = attestation.statement().validator;
                return Err(QuorumError::Refusal { validator, reason: reason.clone() });
            }
        }
        let (agreed, needed) = (ids.len(), set.quorum().max(expected.minimum));
        if agreed < needed {
            return Err(QuorumError::TooFew { agreed, needed, size: set.size() });
        }
        let (proof, epoch, expires) = (self.proof.id(), operation.epoch, operation.expires);
        Ok(Agreement { proof, epoch, expires, validators: ids.into_iter().collect() })
    }
}

impl Agreement {
    /// Names the proof: the SHA-256 of its bytes.
    pub fn proof(&self) -> Sha256 {
        self.proof
    }

    /// Gives the epoch in which it was agreed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Says until when it counts.
    pub fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    /// Gives who agreed, by the fingerprints of their keys.
    pub fn validators(&self) -> &[Sha256] {
        &self.validators
    }
}

#[cfg(test)]
mod tests;
