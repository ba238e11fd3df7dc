//! A set of groups of one blob: a bit for each.

use std::ops::Range;

/// A set of group numbers below a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    words: Vec<u64>,
    bound: u64,
    count: u64,
}

impl Groups {
    /// Makes an empty set of numbers below `bound`.
    pub(crate) fn new(bound: u64) -> Self {
        Self { words: vec![0; words(bound)], bound, count: 0 }
    }

    /// Makes the set of all numbers below `bound`.
    pub(crate) fn full(bound: u64) -> Self {
        let mut groups = Self::new(bound);
        (0..bound).for_each(|group| _ = groups.insert(group));
        groups
    }

    /// Reads what [`Groups::to_bytes`] wrote: so many bytes exactly, and no bit above the bound.
    pub(crate) fn from_bytes(bytes: &[u8], bound: u64) -> Option<Self> {
        if bytes.len() != bytes_len(bound) {
            return None;
        }
        let words: Vec<u64> =
            bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?))).collect();
        let count = words.iter().map(|word| u64::from(word.count_ones())).sum();
        let groups = Self { words, bound, count };
        (bound..groups.words.len() as u64 * 64).all(|group| !groups.has(group)).then_some(groups)
    }

    /// Writes a bit for each group, least significant first, in whole little endian words of eight bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Adds a group; says whether it was missing.
    pub(crate) fn insert(&mut self, group: u64) -> bool {
        assert!(group < self.bound, "groups are below the bound of their blob");
        let (word, bit) = place(group);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(new);
        new
    }

    /// Removes a group.
    pub(crate) fn remove(&mut self, group: u64) {
        if self.has(group) {
            let (word, bit) = place(group);
            self.words[word] &= !bit;
            self.count -= 1;
        }
    }

    /// Removes groups.
    pub(crate) fn remove_all(&mut self, groups: Range<u64>) {
        groups.for_each(|group| self.remove(group));
    }

    /// Says whether a group is in the set.
    pub(crate) fn has(&self, group: u64) -> bool {
        let (word, bit) = place(group);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Says whether all groups of a range are in the set.
    pub(crate) fn has_all(&self, mut groups: Range<u64>) -> bool {
        groups.all(|group| self.has(group))
    }

    /// Gives how many groups are in the set.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Gives the bound.
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }

    /// Gives the first groups that follow one another, at most `count_max`.
    pub(crate) fn first_run(&self, count_max: u64) -> Option<Range<u64>> {
        let word = self.words.iter().position(|word| *word != 0)?;
        let first = word as u64 * 64 + u64::from(self.words[word].trailing_zeros());
        let end = (first..first.saturating_add(count_max).min(self.bound)).find(|group| !self.has(*group));
        Some(first..end.unwrap_or_else(|| first.saturating_add(count_max).min(self.bound)))
    }

    /// Gives all groups in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.bound).filter(|group| self.has(*group))
    }
}

/// The bytes of a written set.
pub(crate) fn bytes_len(bound: u64) -> usize {
    words(bound) * 8
}

fn words(bound: u64) -> usize {
    usize::try_from(bound.div_ceil(64)).expect("blobs are bounded far below what fits")
}

fn place(group: u64) -> (usize, u64) {
    (usize::try_from(group / 64).unwrap_or(usize::MAX), 1 << (group % 64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(bound in 1u64..300, operations in prop::collection::vec((any::<bool>(), 0u64..300), 0..200)) {
            let mut groups = Groups::new(bound);
            let mut model = std::collections::BTreeSet::new();
            for (insert, group) in operations {
                let group = group % bound;
                if insert { prop_assert_eq!(groups.insert(group), model.insert(group)) } else { groups.remove(group); model.remove(&group); }
            }
            prop_assert_eq!(groups.count(), model.len() as u64);
            prop_assert!(groups.iter().eq(model.iter().copied()));
            prop_assert_eq!(Groups::from_bytes(&groups.to_bytes(), bound), Some(groups.clone()));
            let run = groups.first_run(7);
            prop_assert_eq!(run.as_ref().map(|run| run.start), model.first().copied());
            if let Some(run) = run {
                prop_assert!(run.end - run.start <= 7 && groups.has_all(run.clone()));
                prop_assert!(run.end - run.start == 7 || !groups.has(run.end));
            }
        }
    }

    #[test]
    fn bits_above_the_bound_are_no_set() {
        assert_eq!(Groups::from_bytes(&[0b111, 0, 0, 0, 0, 0, 0, 0], 3), Some(Groups::full(3)));
        assert_eq!(Groups::from_bytes(&[0b1111, 0, 0, 0, 0, 0, 0, 0], 3), None);
        assert_eq!(Groups::from_bytes(&[0b111], 3), None);
    }
}
