//! What a cluster starts from: who its validators are and how much each holder has at stake, signed by a root.
//!
//! Validators are named by their keys, so that they outlive the renewal of a certificate, and their number is that of this
//! document: whoever leaves validators out of what it shows to others cannot make the quorum smaller. A later epoch is a later
//! document.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError, NUMBER_MAX};
use crate::certificate::{Authority, Certificate};
use crate::digest::Sha256;
use crate::dsse::{self, DsseError};
use crate::path::Roots;
use crate::proof::stake::STAKE_MAX;

/// The media type of the payload; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.genesis.v1+json";
/// The largest document in bytes; the most holders with the longest names are 1.9 MiB.
pub const GENESIS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most validators of a cluster; all of them sign every certificate of agreement.
pub const VALIDATORS_MAX: usize = 64;
/// The most holders of stake.
pub const ALLOTMENTS_MAX: usize = 4096;
/// The longest name of a cluster or holder, in characters.
pub const NAME_CHARS_MAX: usize = 128;

/// The start of an epoch of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The name of the cluster.
    pub cluster: String,
    /// The number of the epoch, below 2^53.
    pub epoch: u64,
    /// Who has how much at stake, sorted by id.
    pub stakes: Vec<Allotment>,
    /// The validators by the fingerprints of their keys, sorted.
    pub validators: Vec<Sha256>,
}

/// What one holder has at stake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allotment {
    /// How much.
    pub amount: u64,
    /// The holder's name.
    pub holder: String,
    /// The fingerprint of the holder's keys.
    pub id: Sha256,
}

/// Why a document is not the start of a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// The envelope or its signatures are wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// A field is not what it must be.
    #[error("the genesis is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// No pinned root has signed it.
    #[error("no pinned root has signed the genesis")]
    Unsigned,
    /// A root of a set has signed it, and the set does not name it.
    #[error("root set {version} does not name the genesis `{digest}`; one root alone is not enough")]
    NotInRootSet {
        /// The number of the set.
        version: u64,
        /// The digest of the genesis.
        digest: Sha256,
    },
}

impl Genesis {
    /// Checks a document: form, rules, and that a pinned root that decides alone has signed it with both keys, or that a
    /// root set names it, whoever has signed it.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(bytes: &[u8], roots: &Roots) -> Result<Self, GenesisError> {
        let (envelope, document) = dsse::Envelope::read(bytes, GENESIS_BYTES_MAX, PAYLOAD_TYPE)?;
        envelope.expect_bare()?;
        let digest = Sha256::of(bytes);
        if !roots.sets().iter().any(|set| set.geneses().contains(&digest)) {
            let signed =
                |root: &&Certificate| root.keys().is_some_and(|keys| document.verify(PAYLOAD_TYPE, &keys).is_ok());
            let root = roots.certificates().iter().find(signed).ok_or(GenesisError::Unsigned)?;
            if let Some(set) = roots.set_of(root) {
                return Err(GenesisError::NotInRootSet { version: set.version(), digest });
            }
        }
        let genesis: Self = canonical::read(&document.payload, GENESIS_BYTES_MAX).map_err(DsseError::from)?;
        genesis.check()?;
        Ok(genesis)
    }

    /// Gives the digest by which a root set names a document.
    ///
    /// # Errors
    /// The envelope is not that of a genesis.
    pub fn digest(bytes: &[u8]) -> Result<Sha256, GenesisError> {
        dsse::Envelope::read(bytes, GENESIS_BYTES_MAX, PAYLOAD_TYPE)?;
        Ok(Sha256::of(bytes))
    }

    /// Gives what a holder has at stake.
    pub fn stake_of(&self, holder: Sha256) -> Option<&Allotment> {
        let found = self.stakes.binary_search_by(|allotment| allotment.id.cmp(&holder));
        found.ok().map(|index| &self.stakes[index])
    }

    fn check(&self) -> Result<(), GenesisError> {
        let fault = |reason| Err(GenesisError::Malformed { reason });
        if !is_name(&self.cluster) || !self.stakes.iter().all(|stake| is_name(&stake.holder)) {
            return fault("a name is not 1 to 128 printable characters");
        }
        if self.epoch > NUMBER_MAX {
            return fault("its epoch is not below 2^53");
        }
        if self.validators.is_empty() || self.validators.len() > VALIDATORS_MAX {
            return fault("it has not 1 to 64 validators");
        }
        if self.stakes.len() > ALLOTMENTS_MAX {
            return fault("it has more than 4096 holders of stake");
        }
        if !self.validators.is_sorted_by(|a, b| a < b) || !self.stakes.is_sorted_by(|a, b| a.id < b.id) {
            return fault("validators or holders are not sorted, or one comes twice");
        }
        if self.stakes.iter().any(|stake| stake.amount == 0 || stake.amount > STAKE_MAX) {
            return fault("a stake is not from 1 to 1000000000000");
        }
        Ok(())
    }
}

impl Authority {
    /// Signs the start of an epoch; sorts what must be sorted. Only what a root signs counts.
    ///
    /// # Errors
    /// A rule is broken, two stakes of one holder, or there is no randomness.
    pub fn genesis(&self, genesis: &Genesis) -> Result<Vec<u8>, GenesisError> {
        let mut genesis = genesis.clone();
        genesis.validators = genesis.validators.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        genesis.stakes.sort_by_key(|stake| stake.id);
        genesis.check()?;
        let payload = canonical::write(&genesis).map_err(DsseError::from)?;
        let envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, self.keys()).map_err(DsseError::from)?;
        Ok(envelope.write().map_err(DsseError::from)?)
    }
}

impl From<CanonicalError> for GenesisError {
    fn from(error: CanonicalError) -> Self {
        DsseError::from(error).into()
    }
}

/// Says whether a text can name a cluster or a holder.
pub(crate) fn is_name(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    printable && !text.is_empty() && text.len() <= NAME_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Hybrid;
    use crate::testing::root;

    fn genesis() -> Genesis {
        let id = |text: &str| Sha256::of(text.as_bytes());
        let stake = |name: &str, amount| Allotment { amount, holder: name.into(), id: id(name) };
        Genesis {
            cluster: "test".into(),
            epoch: 1,
            stakes: vec![stake("ada", 5), stake("bob", 7)],
            validators: vec![id("v1"), id("v2")],
        }
    }

    #[test]
    fn only_a_pinned_root_starts_a_cluster() {
        let (ours, other) = (root(), root());
        let roots = Roots::new(vec![ours.certificate().clone()], Hybrid::Required).expect("a root");
        let bytes = ours.genesis(&genesis()).expect("signs");
        let read = Genesis::verify(&bytes, &roots).expect("is believed");
        assert_eq!(read.stake_of(Sha256::of(b"bob")).map(|stake| stake.amount), Some(7));
        assert_eq!(read.stake_of(Sha256::of(b"eve")), None);
        let forged = other.genesis(&genesis()).expect("signs");
        assert!(matches!(Genesis::verify(&forged, &roots), Err(GenesisError::Unsigned)));
        for index in (0..bytes.len()).step_by(37) {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert!(Genesis::verify(&flipped, &roots).is_err(), "byte {index}");
        }
    }

    #[test]
    fn the_largest_genesis_that_the_rules_allow_is_read() {
        let root = root();
        let roots = Roots::new(vec![root.certificate().clone()], Hybrid::Required).expect("a root");
        let id = |number: usize| Sha256::of(&number.to_le_bytes());
        // A quotation mark is written as two characters.
        let long = || "\"".repeat(NAME_CHARS_MAX);
        let holder = |number| Allotment { amount: STAKE_MAX, holder: long(), id: id(number) };
        let stakes = (0..ALLOTMENTS_MAX).map(holder).collect();
        let validators = (0..VALIDATORS_MAX).map(id).collect();
        let largest = Genesis { cluster: long(), epoch: NUMBER_MAX, stakes, validators };
        let bytes = root.genesis(&largest).expect("signs");
        let read = Genesis::verify(&bytes, &roots).expect("is read");
        assert_eq!((read.stakes.len(), read.validators.len()), (ALLOTMENTS_MAX, VALIDATORS_MAX));
    }

    #[test]
    fn a_broken_rule_is_named() {
        let root = root();
        let check = |change: fn(&mut Genesis), named: &str| {
            let mut genesis = genesis();
            change(&mut genesis);
            let error = root.genesis(&genesis).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        };
        check(|it| it.cluster.clear(), "name");
        check(|it| it.epoch = 1 << 53, "epoch");
        check(|it| it.validators.clear(), "validators");
        check(|it| it.stakes[0].amount = 0, "stake");
        check(|it| it.stakes[0].amount = STAKE_MAX + 1, "stake");
        check(|it| it.stakes[0].id = it.stakes[1].id, "twice");
    }
}
