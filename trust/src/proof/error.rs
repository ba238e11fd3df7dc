//! Why a proof of an operation is not believed.

use ::time::OffsetDateTime;

use super::{ProofKind, SpaceError, StakeError, TimeError, WorkError};
use crate::canonical::CanonicalError;
use crate::dsse::DsseError;
use crate::envelope::EnvelopeError;
use crate::hybrid::HybridError;
use crate::moment::shown;
use crate::path::PathError;

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The envelope or its signatures are wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// A field is not what it must be.
    #[error("the operation proof is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// The requester's chain cannot be read.
    #[error("the requester's certificates are not usable")]
    Chain {
        /// Why.
        #[source]
        source: Box<EnvelopeError>,
    },
    /// The keys are not those of the requester it names.
    #[error("the operation proof names another requester than the certificate it came with")]
    OtherRequester,
    /// Nobody stands for the requester.
    #[error("the requester is not trusted")]
    Untrusted(#[from] PathError),
    /// It is for another cluster.
    #[error("the operation is for cluster `{actual}`, expected `{expected}`")]
    OtherCluster {
        /// What it says.
        actual: String,
        /// What was expected.
        expected: String,
    },
    /// It is for another epoch.
    #[error("the operation is for epoch `{actual}`, expected `{expected}`")]
    OtherEpoch {
        /// What it says.
        actual: u64,
        /// What was expected.
        expected: u64,
    },
    /// It is over.
    #[error("the operation expired at `{}`", shown(.expires))]
    Expired {
        /// When.
        expires: OffsetDateTime,
    },
    /// It would count for too long.
    #[error("the operation would count until `{}`, more than five minutes", shown(.expires))]
    Lifetime {
        /// Until when.
        expires: OffsetDateTime,
    },
    /// Some of the four proofs do not hold.
    #[error("{}", list(.faults))]
    Failed {
        /// Everything that is wrong, in the order of [`ProofKind`].
        faults: Vec<ProofFault>,
    },
}

/// What is wrong with one of the four proofs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFault {
    /// It is needed and not there.
    #[error("the proof of {0} is missing")]
    Missing(ProofKind),
    /// The proof of space does not hold.
    #[error(transparent)]
    Space(SpaceError),
    /// The proof of stake does not hold.
    #[error(transparent)]
    Stake(StakeError),
    /// The proof of work does not hold.
    #[error(transparent)]
    Work(WorkError),
    /// The proof of time does not hold.
    #[error(transparent)]
    Time(TimeError),
}

impl From<CanonicalError> for ProofError {
    fn from(error: CanonicalError) -> Self {
        DsseError::from(error).into()
    }
}

impl From<HybridError> for ProofError {
    fn from(error: HybridError) -> Self {
        DsseError::from(error).into()
    }
}

fn list(faults: &[ProofFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
