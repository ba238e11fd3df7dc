//! What a judge of a proof says, in HyperMesh's words, and what a wrong proof is evidence of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ProofError, ProofFault, ProofKind, SpaceError, StakeError, WorkError};
use crate::dsse::DsseError;

/// What came of judging a proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Verdict {
    /// It holds.
    Valid {
        /// The share of validators that agreed, from 0 to 1.
        confidence: f64,
        /// Seconds since 1970 when it was judged.
        timestamp: i64,
        /// Microseconds that judging took.
        duration_us: u64,
    },
    /// It does not hold.
    Invalid {
        /// Why.
        reason: String,
        /// The proofs of the four that do not hold.
        failed_proofs: Vec<ProofKind>,
    },
    /// It cannot be judged yet.
    Pending {
        /// The id of the proof.
        id: String,
        /// Milliseconds after which to ask again.
        eta_ms: u64,
    },
    /// Who was to judge could not.
    Error {
        /// Why.
        reason: String,
    },
}

/// What somebody did who does not keep to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ByzantineKind {
    /// A signature that is not right, or another's name.
    InvalidSignature,
    /// A moment that cannot be.
    TimestampManipulation,
    /// A stake that is not there.
    FalseStakeProof,
    /// Space that was not filled.
    StorageCommitmentFraud,
    /// Work that was not done.
    ComputationalFraud,
    /// One proof for two operations, or two decisions on one proof.
    DoubleSpending,
    /// No answer.
    NetworkPartitioning,
}

impl ProofError {
    /// Gives the proofs of the four that do not hold.
    pub fn failed_proofs(&self) -> Vec<ProofKind> {
        match self {
            Self::Failed { faults } => faults.iter().map(ProofFault::kind).collect(),
            _ => Vec::new(),
        }
    }

    /// Says whether nothing is wrong but that work is going on.
    pub fn is_pending(&self) -> bool {
        let waits = |fault: &ProofFault| matches!(fault, ProofFault::Work(WorkError::Unfinished));
        matches!(self, Self::Failed { faults } if faults.iter().all(waits))
    }

    /// Says what of this is evidence against the requester, whose signature must have been right for anything else than
    /// [`ByzantineKind::InvalidSignature`], which is evidence against whoever sent it.
    pub fn evidence(&self) -> Vec<ByzantineKind> {
        match self {
            Self::Document(DsseError::Signature(_)) => vec![ByzantineKind::InvalidSignature],
            Self::Failed { faults } => faults.iter().filter_map(ProofFault::evidence).collect(),
            _ => Vec::new(),
        }
    }
}

impl ProofFault {
    /// Says which of the four it is.
    pub fn kind(&self) -> ProofKind {
        match self {
            Self::Missing(kind) => *kind,
            Self::Space(_) => ProofKind::Space,
            Self::Stake(_) => ProofKind::Stake,
            Self::Work(_) => ProofKind::Work,
            Self::Time(_) => ProofKind::Time,
        }
    }

    /// What is only too old, too small or not there is refused and is no evidence.
    fn evidence(&self) -> Option<ByzantineKind> {
        match self {
            Self::Space(SpaceError::NotCommitted { .. } | SpaceError::NotFilled { .. } | SpaceError::OtherNode) => {
                Some(ByzantineKind::StorageCommitmentFraud)
            }
            Self::Stake(StakeError::Document(_)) => Some(ByzantineKind::InvalidSignature),
            Self::Stake(StakeError::False { .. } | StakeError::OtherHolder) => Some(ByzantineKind::FalseStakeProof),
            Self::Work(WorkError::Unsolved { .. } | WorkError::OtherChallenge | WorkError::OtherOwner) => {
                Some(ByzantineKind::ComputationalFraud)
            }
            Self::Time(_) => Some(ByzantineKind::TimestampManipulation),
            _ => None,
        }
    }
}

impl fmt::Display for ByzantineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names are HyperMesh's.
        write!(f, "{self:?}")
    }
}
