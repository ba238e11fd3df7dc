//! Where the consensus of a node comes from: its home, opened when somebody asks first, or whoever made the host.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hypermesh_abi::records::TrustAnchors;
use hypermesh_abi::{Code, Error};
use time::OffsetDateTime;
use trustchain::proof::Profile;

use super::{Consensus, ConsensusOptions};
use crate::trust::{Anchors, Unlock};

/// Who judges operations on a node.
#[derive(Clone, Debug, Default)]
pub enum Seating {
    /// The validators whose keys are in the home, by the profile `localhost`.
    #[default]
    OfHome,
    /// These.
    Given(Arc<Consensus>),
    /// Nobody: what needs agreement is refused.
    Nobody,
}

/// The consensus of a node.
pub(crate) struct Seat {
    seating: Seating,
    home: PathBuf,
    opened: Mutex<Option<Arc<Consensus>>>,
}

impl Seat {
    pub(crate) fn new(seating: Seating, home: &Path) -> Self {
        Self { seating, home: home.to_owned(), opened: Mutex::default() }
    }

    /// Gives the consensus. The first time it opens the keys of the home, which takes 0.2 s each under a passphrase.
    pub(crate) fn consensus(&self) -> Result<Arc<Consensus>, Error> {
        match &self.seating {
            Seating::Given(consensus) => return Ok(Arc::clone(consensus)),
            Seating::Nobody => return Err(no_validators()),
            Seating::OfHome => {}
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consensus) = &*opened {
            // What was revoked meanwhile does not judge any more.
            consensus.set_lists(Anchors::read(&self.home, OffsetDateTime::now_utc())?.lists(&[]));
            return Ok(Arc::clone(consensus));
        }
        let options = ConsensusOptions::of_home(&self.home, &Unlock::from_environment(None)?, Profile::LOCALHOST);
        let options = options.map_err(|error| error.to_error())?.ok_or_else(no_validators)?;
        let consensus = Arc::new(Consensus::open(options).map_err(|error| error.to_error())?);
        Ok(Arc::clone(opened.insert(consensus)))
    }

    /// Gives what a verifier needs, once somebody has asked for agreement.
    pub(crate) fn anchors(&self) -> Option<TrustAnchors> {
        match &self.seating {
            Seating::Given(consensus) => Some(consensus.anchors()),
            Seating::Nobody => None,
            Seating::OfHome => {
                let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                opened.as_ref().map(|consensus| consensus.anchors())
            }
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seat({:?})", self.seating)
    }
}

fn no_validators() -> Error {
    Error::new(Code::CONSENSUS_VALIDATION_FAILED, "this node has no consensus validators")
        .help("`host-sim trust init` makes some for a node of its own; or run the operation on a node of a cluster")
}
