//! Proof of stake, WHO: a holder says, with both keys, what it has to lose in a cluster.
//!
//! What counts is the table of the cluster's genesis: a statement that claims more than its holder was allotted is false,
//! whoever signed it. A statement is for one cluster and serves until it is too old; it is bound to an operation because its
//! holder must be the requester.

use ::time::{Duration, OffsetDateTime};
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Sha256;
use crate::dsse::{Document, DsseError, Envelope};
use crate::genesis::{Genesis, is_name};
use crate::hybrid::{PublicKey, SecretKey};
use crate::moment;

/// The media type of the payload; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.stake.v1+json";
/// The largest stake.
pub const STAKE_MAX: u64 = 1_000_000_000_000;
/// How old a statement may be.
pub const AGE_MAX: Duration = Duration::days(30);
/// The largest statement in bytes; one has about 300.
const STATEMENT_BYTES_MAX: usize = 2 * 1024;

/// The statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stake {
    /// The cluster.
    pub cluster: String,
    /// How much is at stake.
    pub stake_amount: u64,
    /// The holder's name.
    pub stake_holder: String,
    /// The holder, by the fingerprint of its keys.
    pub stake_holder_id: Sha256,
    /// When it was said.
    #[serde(with = "moment")]
    pub timestamp: OffsetDateTime,
}

/// Why a proof of stake proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StakeError {
    /// The statement or its signatures are wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// The holder has no name.
    #[error("a stake holder has a name of 1 to 128 printable characters")]
    Name,
    /// The amount is out of bounds.
    #[error("a stake of `{amount}` is not from 1 to 1000000000000")]
    Amount {
        /// The amount.
        amount: u64,
    },
    /// Less is at stake than is asked.
    #[error("`{amount}` is at stake, at least `{least}` is asked")]
    TooSmall {
        /// The amount.
        amount: u64,
        /// What is asked.
        least: u64,
    },
    /// It is another's.
    #[error("the stake is of another holder than the requester")]
    OtherHolder,
    /// It is for another cluster.
    #[error("the stake is for another cluster than `{cluster}`")]
    OtherCluster {
        /// The cluster.
        cluster: String,
    },
    /// It is too old, or from the future.
    #[error("the stake was stated at `{}`, {reason}", moment::shown(.timestamp))]
    Age {
        /// When it was stated.
        timestamp: OffsetDateTime,
        /// Why that is wrong.
        reason: &'static str,
    },
    /// The holder claims more than it has, or another's name.
    #[error("`{holder}` claims a stake of `{amount}`, and the genesis allots it `{allotted}`")]
    False {
        /// The holder.
        holder: String,
        /// What it claims.
        amount: u64,
        /// What it has.
        allotted: u64,
    },
}

/// A statement with its signatures, as it travels in a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedStake(Envelope);

impl SignedStake {
    /// Signs a statement with the holder's keys.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn seal(stake: &Stake, keys: &SecretKey) -> Result<Self, StakeError> {
        let payload = canonical::write(stake).map_err(DsseError::from)?;
        Ok(Self(Envelope::seal(PAYLOAD_TYPE, &payload, keys).map_err(DsseError::from)?))
    }

    /// Gives what is said; nobody has checked it.
    ///
    /// # Errors
    /// Anything but a statement with two signatures.
    pub fn claimed(&self) -> Result<Stake, StakeError> {
        self.read().map(|(stake, _)| stake)
    }

    /// Checks the statement of a holder.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn check(
        &self,
        holder: &PublicKey,
        genesis: &Genesis,
        least: u64,
        now: OffsetDateTime,
    ) -> Result<(), StakeError> {
        let (stake, document) = self.read()?;
        let (amount, timestamp, id) = (stake.stake_amount, stake.timestamp, stake.stake_holder_id);
        if id.as_bytes() != &holder.fingerprint() {
            return Err(StakeError::OtherHolder);
        }
        document.verify(PAYLOAD_TYPE, holder).map_err(DsseError::from)?;
        if !is_name(&stake.stake_holder) {
            return Err(StakeError::Name);
        }
        if amount == 0 || amount > STAKE_MAX {
            return Err(StakeError::Amount { amount });
        }
        if stake.cluster != genesis.cluster {
            return Err(StakeError::OtherCluster { cluster: genesis.cluster.clone() });
        }
        super::expect_age(timestamp, now, AGE_MAX).map_err(|reason| StakeError::Age { timestamp, reason })?;
        let own = genesis.stake_of(id).filter(|allotment| allotment.holder == stake.stake_holder);
        let allotted = own.map_or(0, |allotment| allotment.amount);
        if amount > allotted {
            return Err(StakeError::False { holder: stake.stake_holder, amount, allotted });
        }
        if amount < least { Err(StakeError::TooSmall { amount, least }) } else { Ok(()) }
    }

    fn read(&self) -> Result<(Stake, Document), StakeError> {
        self.0.expect_bare()?;
        let document = self.0.open(PAYLOAD_TYPE)?;
        let stake = canonical::read(&document.payload, STATEMENT_BYTES_MAX).map_err(DsseError::from)?;
        Ok((stake, document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::Allotment;
    use crate::testing::{NOW, keys};

    #[test]
    fn every_rule_refuses() {
        let (ours, other) = (keys(), keys());
        let id = Sha256::from_bytes(ours.public().fingerprint());
        let stakes = vec![Allotment { amount: 1_000, holder: "ada".into(), id }];
        let genesis = Genesis { cluster: "test".into(), epoch: 1, stakes, validators: vec![id] };
        let good = Stake {
            cluster: "test".into(),
            stake_amount: 1_000,
            stake_holder: "ada".into(),
            stake_holder_id: id,
            timestamp: NOW,
        };
        let check = |stake: &Stake, by: &SecretKey| {
            SignedStake::seal(stake, by).expect("signs").check(&ours.public(), &genesis, 100, NOW)
        };
        check(&good, &ours).expect("is allotted");
        check(&Stake { stake_amount: 100, timestamp: NOW - AGE_MAX, ..good.clone() }, &ours).expect("at the limits");
        let forged = check(&good, &other).expect_err("refused");
        assert!(matches!(forged, StakeError::Document(DsseError::Signature(_))), "{forged}");
        let refused = |change: fn(&mut Stake), named: &str| {
            let mut stake = good.clone();
            change(&mut stake);
            let error = check(&stake, &ours).expect_err("refused").to_string();
            assert!(error.contains(named), "{error}");
        };
        refused(|it| it.stake_amount = 1_001, "claims");
        refused(|it| it.stake_holder = "bob".into(), "claims");
        refused(|it| it.stake_amount = 99, "at least");
        refused(|it| it.stake_amount = 0, "is not from 1");
        refused(|it| it.stake_amount = STAKE_MAX + 1, "is not from 1");
        refused(|it| it.stake_holder.clear(), "name");
        refused(|it| it.stake_holder_id = Sha256::of(b"x"), "another holder");
        refused(|it| it.cluster = "other".into(), "another cluster");
        refused(|it| it.timestamp -= AGE_MAX + Duration::SECOND, "too old");
        refused(|it| it.timestamp += crate::SKEW + Duration::SECOND, "future");
    }
}
