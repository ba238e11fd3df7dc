//! Who does not keep to the rules, how often, and when nobody listens to them any more.
//!
//! HyperMesh's rule: three proofs that failed, five signatures that are not right, or three times that cannot be. It holds
//! for an hour from the first of them, so that a mended node is heard again. No answer is counted and blocks nobody: a
//! partition is no fault of those behind it. One proof is evidence of one kind once, so that nobody can be blocked by others
//! who show the same proof of his again and again.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};
use trustchain::digest::Sha256;
use trustchain::proof::ByzantineKind;

/// Failed proofs after which somebody is blocked.
pub const FAILED_MAX: u32 = 3;
/// Wrong signatures after which somebody is blocked.
pub const SIGNATURES_MAX: u32 = 5;
/// Impossible times after which somebody is blocked.
pub const ANOMALIES_MAX: u32 = 3;
/// How long evidence counts.
pub const WINDOW: Duration = Duration::hours(1);
/// Of how many evidence is kept; beyond that, the oldest is forgotten.
pub const SUBJECTS_MAX: usize = 4_096;

/// Evidence against others.
#[derive(Debug, Default)]
pub struct Evidence {
    against: BTreeMap<Sha256, Record>,
}

/// Evidence against one.
#[derive(Debug)]
struct Record {
    since: OffsetDateTime,
    kinds: BTreeMap<ByzantineKind, u32>,
    /// Proofs that have counted.
    about: BTreeSet<(Sha256, ByzantineKind)>,
}

impl Evidence {
    /// Counts one more, if it is not about a proof that has counted.
    pub fn add(&mut self, subject: Sha256, kind: ByzantineKind, about: Option<Sha256>, now: OffsetDateTime) {
        if self.is_blocked(subject, now) {
            return;
        }
        self.against.retain(|_, record| now - record.since < WINDOW);
        let oldest = self.against.iter().min_by_key(|(_, record)| record.since).map(|(id, _)| *id);
        if self.against.len() >= SUBJECTS_MAX && !self.against.contains_key(&subject) {
            oldest.and_then(|oldest| self.against.remove(&oldest));
        }
        let new = || Record { since: now, kinds: BTreeMap::new(), about: BTreeSet::new() };
        let record = self.against.entry(subject).or_insert_with(new);
        if about.is_some_and(|proof| !record.about.insert((proof, kind))) {
            return;
        }
        *record.kinds.entry(kind).or_default() += 1;
        tracing::warn!(%subject, %kind, blocked = self.is_blocked(subject, now), "evidence of a rule that was broken");
    }

    /// Gives how often.
    pub fn count(&self, subject: Sha256, kind: ByzantineKind) -> u32 {
        self.against.get(&subject).and_then(|record| record.kinds.get(&kind)).copied().unwrap_or(0)
    }

    /// Says whether nobody listens any more.
    pub fn is_blocked(&self, subject: Sha256, now: OffsetDateTime) -> bool {
        let Some(record) = self.against.get(&subject).filter(|record| now - record.since < WINDOW) else {
            return false;
        };
        let (mut failed, mut signatures, mut anomalies) = (0, 0, 0);
        for (kind, count) in &record.kinds {
            match kind {
                ByzantineKind::InvalidSignature => signatures += count,
                ByzantineKind::TimestampManipulation => anomalies += count,
                ByzantineKind::NetworkPartitioning => {}
                ByzantineKind::FalseStakeProof
                | ByzantineKind::StorageCommitmentFraud
                | ByzantineKind::ComputationalFraud
                | ByzantineKind::DoubleSpending => failed += count,
            }
        }
        failed >= FAILED_MAX || signatures >= SIGNATURES_MAX || anomalies >= ANOMALIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_three_five_three_for_an_hour() {
        let (who, now) = (Sha256::of(b"x"), OffsetDateTime::UNIX_EPOCH + Duration::days(1));
        let check = |kinds: &[ByzantineKind], blocked: bool| {
            let mut evidence = Evidence::default();
            kinds.iter().for_each(|kind| evidence.add(who, *kind, None, now));
            assert_eq!(evidence.is_blocked(who, now), blocked, "{kinds:?}");
            assert!(!evidence.is_blocked(who, now + WINDOW) && !evidence.is_blocked(Sha256::of(b"y"), now));
        };
        use ByzantineKind::{
            ComputationalFraud as Work, DoubleSpending as Twice, FalseStakeProof as Stake, InvalidSignature as Forged,
            NetworkPartitioning as Silent, StorageCommitmentFraud as Space, TimestampManipulation as Time,
        };
        check(&[Work, Space], false);
        check(&[Work, Space, Stake], true);
        check(&[Twice, Twice, Twice], true);
        check(&[Forged; 4], false);
        check(&[Forged; 5], true);
        check(&[Time, Time, Work, Work], false);
        check(&[Time; 3], true);
        check(&[Silent; 100], false);
        let mut evidence = Evidence::default();
        (0..10).for_each(|_| evidence.add(who, Work, Some(Sha256::of(b"one proof")), now));
        assert_eq!((evidence.count(who, Work), evidence.is_blocked(who, now)), (1, false));
    }
}
