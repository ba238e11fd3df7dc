//! What one validator says of one proof.

use ::time::OffsetDateTime;
use serde::{Deserialize, Serialize};

use super::{QuorumError, ValidatorSet};
use crate::canonical;
use crate::digest::Sha256;
use crate::dsse::{self, Document, DsseError};
use crate::genesis::is_name;
use crate::hybrid::SecretKey;
use crate::moment;
use crate::proof::{OperationKind, OperationProof};

/// The media type of the payload, the domain of the signatures; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.attestation.v1+json";
/// The largest attestation in bytes; one has about 2,700.
pub const ATTESTATION_BYTES_MAX: usize = 8 * 1024;
/// The longest reason in characters; a longer one is cut.
pub const REASON_CHARS_MAX: usize = 200;

/// What a validator signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The cluster.
    pub cluster: String,
    /// What the validator decided.
    pub decision: Decision,
    /// The cluster's epoch.
    pub epoch: u64,
    /// When the operation stops to count.
    #[serde(with = "moment")]
    pub expires: OffsetDateTime,
    /// What is done.
    pub kind: OperationKind,
    /// The profile by which the validator judged.
    pub profile: String,
    /// The SHA-256 of the proof's bytes.
    pub proof: Sha256,
    /// The validator, by the fingerprint of its keys.
    pub validator: Sha256,
}

/// What a validator decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Decision {
    /// The operation may be done.
    Accept,
    /// It may not.
    Refuse {
        /// Why.
        reason: String,
    },
}

/// A statement with its signatures, which nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    envelope: dsse::Envelope,
    document: Document,
    statement: Statement,
}

impl Statement {
    /// Says what a validator decided on a proof.
    pub fn about(proof: &OperationProof, profile: &str, validator: Sha256, decision: Decision) -> Self {
        let operation = &proof.claimed().operation;
        let decision = match decision {
            Decision::Accept => Decision::Accept,
            Decision::Refuse { reason } => {
                let printable = |c: char| if c.is_control() { ' ' } else { c };
                Decision::Refuse { reason: reason.chars().map(printable).take(REASON_CHARS_MAX).collect() }
            }
        };
        Self {
            cluster: operation.cluster.clone(),
            decision,
            epoch: operation.epoch,
            expires: operation.expires,
            kind: operation.kind,
            profile: profile.to_owned(),
            proof: proof.id(),
            validator,
        }
    }
}

impl Attestation {
    /// Signs a statement with both keys of a validator.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn seal(statement: &Statement, keys: &SecretKey) -> Result<Self, QuorumError> {
        let payload = canonical::write(statement)?;
        let envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, keys).map_err(DsseError::from)?;
        Self::open(envelope)
    }

    /// Reads an attestation.
    ///
    /// # Errors
    /// Anything but the one form of a statement with two signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuorumError> {
        Self::open(canonical::read(bytes, ATTESTATION_BYTES_MAX)?)
    }

    /// Gives the bytes.
    ///
    /// # Errors
    /// None for an attestation that was read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, QuorumError> {
        Ok(self.envelope.write()?)
    }

    /// Gives what is said.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Says whether somebody contradicts himself: two decisions on one proof.
    pub fn contradicts(&self, other: &Self) -> bool {
        let (a, b) = (&self.statement, &other.statement);
        let accepts = |it: &Statement| it.decision == Decision::Accept;
        a.validator == b.validator && a.proof == b.proof && accepts(a) != accepts(b)
    }

    /// Checks that a member of the set said this of exactly this proof, judged by this profile.
    ///
    /// # Errors
    /// The first thing that is otherwise.
    pub fn verify(&self, set: &ValidatorSet, proof: &OperationProof, profile: &str) -> Result<(), QuorumError> {
        let said = &self.statement;
        let member = set.member(said.validator);
        let member = member.ok_or_else(|| QuorumError::NotMember { validator: said.validator.to_string() })?;
        let expected = Statement::about(proof, profile, said.validator, said.decision.clone());
        let other = |field| Err(QuorumError::Other { validator: said.validator, field });
        let set_fits = set.cluster == said.cluster && set.epoch == said.epoch;
        if *said != expected || !set_fits {
            return other(difference(said, &expected, set));
        }
        let forged = |source| QuorumError::Forged { validator: said.validator, source: DsseError::from(source) };
        self.document.verify(PAYLOAD_TYPE, &member.keys).map_err(forged)
    }

    pub(super) fn envelope(&self) -> &dsse::Envelope {
        &self.envelope
    }

    pub(super) fn open(envelope: dsse::Envelope) -> Result<Self, QuorumError> {
        envelope.expect_bare()?;
        let document = envelope.open(PAYLOAD_TYPE)?;
        let statement: Statement = canonical::read(&document.payload, ATTESTATION_BYTES_MAX)?;
        let long =
            matches!(&statement.decision, Decision::Refuse { reason } if reason.chars().count() > REASON_CHARS_MAX);
        if long || !is_name(&statement.profile) || !is_name(&statement.cluster) {
            return Err(QuorumError::Malformed { reason: "a name or reason is empty, too long or not printable" });
        }
        Ok(Self { envelope, document, statement })
    }
}

/// Names the first field that differs.
fn difference(said: &Statement, expected: &Statement, set: &ValidatorSet) -> &'static str {
    let fields = [
        (said.proof != expected.proof, "proof"),
        (said.cluster != expected.cluster || said.cluster != set.cluster, "cluster"),
        (said.epoch != expected.epoch || said.epoch != set.epoch, "epoch"),
        (said.kind != expected.kind, "kind"),
        (said.expires != expected.expires, "expiry"),
        (said.profile != expected.profile, "profile"),
    ];
    fields.into_iter().find(|(differs, _)| *differs).map_or("decision", |(_, name)| name)
}
