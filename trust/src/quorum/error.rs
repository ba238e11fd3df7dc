//! Why an agreement is not believed.

use crate::canonical::CanonicalError;
use crate::digest::{Blake3, Sha256};
use crate::dsse::DsseError;
use crate::envelope::EnvelopeError;
use crate::proof::{OperationKind, ProofError};

/// Why a certificate of agreement, or a part of one, says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// An envelope or its form is wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// A field is not what it must be.
    #[error("the attestation is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The proof does not hold.
    #[error("the operation proof does not hold")]
    Proof(#[from] ProofError),
    /// A validator's chain cannot be read.
    #[error("a validator's certificates are not usable")]
    Chain {
        /// Why.
        #[source]
        source: Box<EnvelopeError>,
    },
    /// Too many validators or attestations.
    #[error("there are `{actual}` validators or attestations, at most 64 are read")]
    TooMany {
        /// How many there are.
        actual: usize,
    },
    /// Somebody who is no validator.
    #[error("`{validator}` is no validator of this epoch whose certificate is known and valid")]
    NotMember {
        /// Who.
        validator: String,
    },
    /// A validator's statement is about something else.
    #[error("the attestation of validator `{validator}` has another {field}")]
    Other {
        /// Who.
        validator: Sha256,
        /// What differs.
        field: &'static str,
    },
    /// A validator's signatures are not its own.
    #[error("the attestation of validator `{validator}` is forged")]
    Forged {
        /// Whose it is said to be.
        validator: Sha256,
        /// Why.
        #[source]
        source: DsseError,
    },
    /// A validator said no, which has no place in a certificate.
    #[error("validator `{validator}` refuses: {reason}")]
    Refusal {
        /// Who.
        validator: Sha256,
        /// Why.
        reason: String,
    },
    /// A validator comes twice, or they are not in order.
    #[error("the attestations are not in order, or a validator comes twice")]
    Duplicate,
    /// Not enough agree.
    #[error("`{agreed}` of `{size}` validators agree, at least `{needed}` must")]
    TooFew {
        /// How many agree.
        agreed: usize,
        /// How many must.
        needed: usize,
        /// How many there are.
        size: usize,
    },
    /// It is for another kind of operation.
    #[error("the agreement is to `{actual}`, expected `{expected}`")]
    OtherKind {
        /// What it is to.
        actual: OperationKind,
        /// What was expected.
        expected: OperationKind,
    },
    /// It is for other content.
    #[error("the agreement is about `{actual}`, expected `{expected}`")]
    OtherDigest {
        /// What it is about.
        actual: Blake3,
        /// What was expected.
        expected: Blake3,
    },
    /// It is for another time that the same was done.
    #[error("the agreement is for another time that the same was done")]
    Replayed,
}

impl From<CanonicalError> for QuorumError {
    fn from(error: CanonicalError) -> Self {
        DsseError::from(error).into()
    }
}
