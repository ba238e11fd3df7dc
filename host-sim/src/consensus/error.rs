//! Why an operation is not agreed to.

use std::io;
use std::path::PathBuf;

use hypermesh_abi::{Code, Error};
use trustchain::genesis::GenesisError;
use trustchain::quorum::QuorumError;

use super::prover::ProverError;
use super::replay::ReplayError;
use crate::trust::TrustError;

/// Why an operation is not agreed to, or a node takes no part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsensusError {
    /// More are asked for than there are.
    #[error("`{minimum}` validators must agree, and the cluster has `{size}`")]
    Minimum {
        /// How many are asked for.
        minimum: usize,
        /// How many there are.
        size: usize,
    },
    /// So many refuse that no quorum can agree.
    #[error("`{agreed}` of `{size}` validators agree, at least `{needed}` must; the others say: {}", list(.reasons))]
    Refused {
        /// How many agree.
        agreed: usize,
        /// How many must.
        needed: usize,
        /// How many there are.
        size: usize,
        /// What the others say.
        reasons: Vec<String>,
    },
    /// Too few answer.
    #[error("undecided: `{agreed}` of `{size}` validators agree, at least `{needed}` must; the others say: {}",
        list(.reasons))]
    Undecided {
        /// How many agree.
        agreed: usize,
        /// How many must.
        needed: usize,
        /// How many there are.
        size: usize,
        /// What the others say.
        reasons: Vec<String>,
    },
    /// The operation is not proved.
    #[error("the operation cannot be proved")]
    Prover(#[from] ProverError),
    /// The genesis is not believed.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A validator cannot remember.
    #[error("a validator cannot remember what was used")]
    Replay(#[from] ReplayError),
    /// The validators do not form a set.
    #[error("the validators do not fit the genesis")]
    Quorum(#[from] QuorumError),
    /// Keys and certificate are of two.
    #[error("the keys are not those of `{subject}`")]
    Keys {
        /// The certificate.
        subject: String,
    },
    /// The trust of the home cannot be used.
    #[error("the home's certificates and keys cannot be used")]
    Trust(#[from] TrustError),
    /// A file of the home cannot be used.
    #[error("`{}` cannot be read or written", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no threads.
    #[error("the threads of the validators cannot be started")]
    Threads(#[source] io::Error),
    /// The node stops.
    #[error("consensus stops")]
    Stopped,
}

impl ConsensusError {
    /// Gives the error as an extension gets it.
    pub(crate) fn to_error(&self) -> Error {
        let help = match self {
            Self::Minimum { .. } => "ask for fewer validators, or run the operation on a node of a larger cluster",
            Self::Refused { .. } => "see what the validators say; a proof is made anew each time",
            Self::Undecided { .. } => "start the validators that do not answer, and try again",
            Self::Prover(ProverError::TooMuchSpace { .. }) => "use the profile `localhost` on a developer's node",
            Self::Prover(ProverError::NoStake { .. }) => "let the root of the cluster allot a stake in a later epoch",
            Self::Genesis(GenesisError::NotInRootSet { .. }) => {
                "let the roots name it: `host-sim trust roots propose`, `sign` in their homes, and `accept`"
            }
            _ => "see the log of the node",
        };
        Error::wrap(Code::CONSENSUS_VALIDATION_FAILED, self).help(help)
    }
}

fn list(reasons: &[String]) -> String {
    if reasons.is_empty() { "nothing".to_owned() } else { reasons.join("; ") }
}
