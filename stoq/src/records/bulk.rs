//! What two sides say when they differ by much: a sample that shows by how much, and a Bloom filter of what a side has, so
//! that the other one sends the rest without being asked for each.
//!
//! A filter lets about two of a hundred missing records go unnoticed and never asks for one that is there; a comparison
//! afterwards finds the rest. Its salt is drawn for each session, so that nobody can make records that it hides.

use super::item::{Item, RecordId};
use super::limits::POSSESSION_BYTES_MAX;

/// Gives the first four bytes of the least ids, in order.
pub(super) fn sample(items: &[Item]) -> Vec<u32> {
    let mut prefixes: Vec<u32> = items.iter().map(|item| prefix(item.id)).collect();
    if prefixes.len() > SAMPLE_LENGTH {
        prefixes.select_nth_unstable(SAMPLE_LENGTH);
        prefixes.truncate(SAMPLE_LENGTH);
    }
    prefixes.sort_unstable();
    prefixes
}

/// Estimates how many of all ids of two sets are in one of them only, in thousandths.
pub(super) fn difference_permille(ours: &[u32], theirs: &[u32]) -> usize {
    let mut all: Vec<u32> = ours.iter().chain(theirs).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(SAMPLE_LENGTH);
    let in_both = |id: &&u32| ours.binary_search(id).is_ok() && theirs.binary_search(id).is_ok();
    let common = all.iter().filter(in_both).count();
    (all.len() - common) * 1000 / all.len().max(1)
}

/// Writes a sample.
pub(super) fn encode_sample(sample: &[u32]) -> Vec<u8> {
    sample.iter().flat_map(|prefix| prefix.to_be_bytes()).collect()
}

/// Reads a sample; what is wrong with it makes a wrong estimate, and no more.
pub(super) fn decode_sample(bytes: &[u8]) -> Vec<u32> {
    let mut sample: Vec<u32> =
        bytes.as_chunks::<4>().0.iter().take(SAMPLE_LENGTH).map(|prefix| u32::from_be_bytes(*prefix)).collect();
    sample.sort_unstable();
    sample
}

/// Which ids a side has, within the error of a Bloom filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possession {
    /// The key of the hash function.
    pub salt: [u8; 32],
    /// [`BITS_PER_ID`] bits for each id; none if the side has nothing.
    pub bits: Vec<u8>,
}

impl Possession {
    /// Describes a set. Sets beyond [`POSSESSION_BYTES_MAX`] get a denser filter, which hides more.
    pub fn of(items: &[Item], salt: [u8; 32]) -> Self {
        let bytes = (items.len() * BITS_PER_ID).div_ceil(8).min(POSSESSION_BYTES_MAX);
        let mut possession = Self { salt, bits: vec![0; bytes] };
        for item in items {
            for bit in possession.positions(item.id) {
                possession.bits[bit / 8] |= 1 << (bit % 8);
            }
        }
        possession
    }

    /// Tells whether the side has a record; sometimes yes when it has not.
    pub fn contains(&self, id: RecordId) -> bool {
        !self.bits.is_empty() && self.positions(id).all(|bit| self.bits[bit / 8] & (1 << (bit % 8)) != 0)
    }

    fn positions(&self, id: RecordId) -> impl Iterator<Item = usize> + use<> {
        let bits = self.bits.len() as u64 * 8;
        let hash = *blake3::keyed_hash(&self.salt, &id.0).as_bytes();
        (0..HASHES).map(move |index| {
            let word =
                u32::from_le_bytes([hash[index * 4], hash[index * 4 + 1], hash[index * 4 + 2], hash[index * 4 + 3]]);
            (u64::from(word) % bits) as usize
        })
    }
}

fn prefix(id: RecordId) -> u32 {
    let [a, b, c, d, ..] = id.0;
    u32::from_be_bytes([a, b, c, d])
}

/// How many ids are looked at: one that differs is half the share from which bulk pays.
pub(super) const SAMPLE_LENGTH: usize = 1024;
/// One byte an id: with six hashes, 2.2 % of missing records go unnoticed.
pub const BITS_PER_ID: usize = 8;
const HASHES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Category;

    fn items(range: std::ops::Range<u32>) -> Vec<Item> {
        range
            .map(|number| Item {
                time: u64::from(number),
                id: RecordId::of(&number.to_le_bytes()),
                category: Category(0),
                priority: 0,
            })
            .collect()
    }

    #[test]
    fn a_sample_shows_how_much_differs() {
        let check =
            |ours: std::ops::Range<u32>, theirs: std::ops::Range<u32>, expected: std::ops::RangeInclusive<usize>| {
                let theirs = decode_sample(&encode_sample(&sample(&items(theirs))));
                let found = difference_permille(&sample(&items(ours)), &theirs);
                assert!(expected.contains(&found), "{found} is not in {expected:?}");
            };
        check(0..20_000, 0..20_000, 0..=0);
        check(0..20_000, 1000..21_000, 70..=120);
        check(0..20_000, 0..10_000, 450..=550);
        check(0..20_000, 20_000..30_000, 1000..=1000);
        check(0..10, 0..11, 90..=91);
        check(0..0, 0..5, 1000..=1000);
        check(0..0, 0..0, 0..=0);
    }

    #[test]
    fn a_possession_knows_all_it_has_and_hides_little() {
        let had = items(0..20_000);
        let possession = Possession::of(&had, [7; 32]);
        assert_eq!(possession.bits.len(), 20_000);
        assert!(had.iter().all(|item| possession.contains(item.id)));
        let hidden = items(20_000..40_000).iter().filter(|item| possession.contains(item.id)).count();
        assert!((200..800).contains(&hidden), "{hidden} of 20,000 are hidden");
        assert!(!Possession::of(&[], [7; 32]).contains(had[0].id), "who has nothing hides nothing");
    }
}
