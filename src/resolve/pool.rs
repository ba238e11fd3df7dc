//! Every version of one package, and which of them may be chosen.
//!
//! Versions are ranks in ascending order, so a requirement is exactly the set of ranks that `semver` says it matches.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::{Bound, Range};
use std::rc::Rc;

use pubgrub::Ranges;
use semver::{Version, VersionReq};

use super::Rules;
use super::source::{Needs, Offer};

pub(super) type Ranks = Ranges<u32>;

/// Every version of one package, in ascending order.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) versions: Vec<Offer>,
    /// What each version needs, once somebody asked.
    pub(super) needs: Vec<OnceCell<Rc<Needs>>>,
    hidden: Vec<Option<Hidden>>,
    /// How many versions below each rank may be chosen; one longer than `versions`.
    usable_below: Vec<u32>,
    /// The ranks that are locked, the one to be preferred last.
    locked: Vec<u32>,
    /// Ranks of which one may be chosen each: all of them, or those of each major version.
    buckets: Vec<Range<u32>>,
    matches: RefCell<HashMap<String, Ranks>>,
}

/// Why a version is passed over unless it is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    Yanked(String),
    TooNew,
    /// An update that stays compatible does not go there.
    Incompatible(Version),
}

impl Pool {
    pub(super) fn new(name: &str, mut versions: Vec<Offer>, rules: &Rules<'_>) -> Self {
        versions.sort_unstable_by(|a, b| a.version.cmp(&b.version));
        versions.dedup_by(|a, b| a.version == b.version);
        let preferred = rules.locked.get(name).map_or(&[][..], Vec::as_slice);
        let mut left_out = versions.len().saturating_sub(rules.candidates_max);
        versions.retain(|offer| {
            let keep = left_out == 0 || preferred.contains(&offer.version);
            left_out = left_out.saturating_sub(1);
            keep
        });
        let mut locked: Vec<u32> = (0_u32..)
            .zip(&versions)
            .filter(|(_, offer)| preferred.contains(&offer.version))
            .map(|(rank, _)| rank)
            .collect();
        locked.sort_unstable();
        let hidden: Vec<_> = versions.iter().map(|offer| hidden(name, offer, rules)).collect();
        let mut usable_below = vec![0];
        for (rank, hidden) in (0_u32..).zip(&hidden) {
            let usable = hidden.is_none() || locked.contains(&rank);
            usable_below.push(usable_below[rank as usize] + u32::from(usable));
        }
        let buckets = buckets(&versions, rules.majors);
        let needs = versions.iter().map(|_| OnceCell::new()).collect();
        Self { versions, needs, hidden, usable_below, locked, buckets, matches: RefCell::default() }
    }

    /// The ranks of the versions that a requirement matches, hidden or not.
    pub(super) fn matching(&self, requirement: &VersionReq, text: &str) -> Ranks {
        if let Some(ranks) = self.matches.borrow().get(text) {
            return ranks.clone();
        }
        let mut runs: Vec<Range<u32>> = Vec::new();
        for (rank, offer) in (0_u32..).zip(&self.versions) {
            if requirement.matches(&offer.version) {
                match runs.last_mut() {
                    Some(run) if run.end == rank => run.end += 1,
                    _ => runs.push(rank..rank + 1),
                }
            }
        }
        let ranks = runs.into_iter().fold(Ranks::empty(), |ranks, run| ranks.union(&Ranks::from_range_bounds(run)));
        self.matches.borrow_mut().insert(text.to_owned(), ranks.clone());
        ranks
    }

    /// The ranks that may be chosen, ascending.
    pub(super) fn usable<'p>(&'p self, ranks: &'p Ranks) -> impl Iterator<Item = u32> + 'p {
        ranks.iter().flat_map(|segment| self.within(segment)).filter(|rank| self.is_usable(*rank))
    }

    /// The highest rank that may be chosen.
    pub(super) fn highest(&self, ranks: &Ranks) -> Option<u32> {
        let in_segment = |segment| self.within(segment).rev().find(|rank| self.is_usable(*rank));
        ranks.iter().filter_map(in_segment).last()
    }

    pub(super) fn count_usable(&self, ranks: &Ranks) -> u32 {
        let count = |Range { start, end }: Range<u32>| {
            self.usable_below[end as usize].saturating_sub(self.usable_below[start as usize])
        };
        if self.versions.is_empty() { 0 } else { ranks.iter().map(|segment| count(self.within(segment))).sum() }
    }

    /// The locked version if it is among these, the highest one if several are.
    pub(super) fn locked_in(&self, ranks: &Ranks) -> Option<u32> {
        self.locked.iter().rev().copied().find(|rank| ranks.contains(rank))
    }

    pub(super) fn hidden(&self, rank: u32) -> Option<&Hidden> {
        self.hidden[rank as usize].as_ref()
    }

    pub(super) fn version(&self, rank: u32) -> &Version {
        &self.versions[rank as usize].version
    }

    /// The buckets that a set of ranks reaches into, with the part in each.
    pub(super) fn split(&self, ranks: &Ranks) -> Vec<(u32, Ranks)> {
        let parts = (0_u32..).zip(&self.buckets).map(|(bucket, within)| (bucket, self.part(within, ranks)));
        parts.filter(|(_, part)| !part.is_empty()).collect()
    }

    fn part(&self, within: &Range<u32>, ranks: &Ranks) -> Ranks {
        if self.buckets.len() == 1 {
            return ranks.clone();
        }
        ranks.intersection(&Ranks::from_range_bounds(within.clone()))
    }

    pub(super) fn bucket_of(&self, rank: u32) -> u32 {
        let found = self.buckets.partition_point(|bucket| bucket.end <= rank);
        u32::try_from(found).expect("there are no more buckets than versions")
    }

    fn is_usable(&self, rank: u32) -> bool {
        self.usable_below[rank as usize + 1] > self.usable_below[rank as usize]
    }

    fn within(&self, segment: (&Bound<u32>, &Bound<u32>)) -> Range<u32> {
        let start = match segment.0 {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match segment.1 {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len(),
        };
        let end = end.min(self.len());
        start.min(end)..end
    }

    fn len(&self) -> u32 {
        u32::try_from(self.versions.len()).expect("the bound on versions is far below")
    }
}

fn hidden(name: &str, offer: &Offer, rules: &Rules<'_>) -> Option<Hidden> {
    if let Some(reason) = &offer.yanked {
        return Some(Hidden::Yanked(reason.clone()));
    }
    // A version of which nobody knows the age might be the newest of all.
    if rules.exclude_newer.is_some_and(|limit| offer.published_at.is_none_or(|published| published > limit)) {
        return Some(Hidden::TooNew);
    }
    let from = rules.compatible_with.get(name)?;
    let compatible = offer.version >= *from && major(&offer.version) == major(from);
    (!compatible).then(|| Hidden::Incompatible(from.clone()))
}

fn buckets(versions: &[Offer], majors: bool) -> Vec<Range<u32>> {
    let mut buckets: Vec<Range<u32>> = Vec::new();
    let mut last = None;
    for (rank, offer) in (0_u32..).zip(versions) {
        let this = Some(if majors { major(&offer.version) } else { (0, 0, 0) });
        match buckets.last_mut() {
            Some(bucket) if last == this => bucket.end = rank + 1,
            _ => buckets.push(rank..rank + 1),
        }
        last = this;
    }
    buckets
}

/// The part of a version within which `^` stays: the first number that is not zero.
pub(super) fn major(version: &Version) -> (u64, u64, u64) {
    match version {
        Version { major: 0, minor: 0, patch, .. } => (0, 0, *patch),
        Version { major: 0, minor, .. } => (0, *minor, 0),
        Version { major, .. } => (*major, 0, 0),
    }
}
