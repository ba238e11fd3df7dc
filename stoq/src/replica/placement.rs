//! Where copies are to be, who sees to it, and which go: pure functions of what all nodes know, so that all agree.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use libp2p::PeerId;
use trustchain::digest::Blake3;

use super::report::Capacity;

/// How many copies there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor(usize);

impl Factor {
    /// Takes a number of copies, brought into 1 to [`FACTOR_MAX`].
    pub fn new(copies: usize) -> Self {
        Self(copies.clamp(1, FACTOR_MAX))
    }

    /// Gives the number.
    pub fn copies(self) -> usize {
        self.0
    }
}

impl Default for Factor {
    /// Three.
    fn default() -> Self {
        Self(3)
    }
}

/// A node that could hold or holds a blob.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node.
    pub peer: PeerId,
    /// Its room and place.
    pub capacity: &'a Capacity,
    /// Whether it keeps what it holds for itself.
    pub is_pinned: bool,
}

/// Gives the holders of a blob in the order in which they are to act for it.
pub fn acting_order(digest: Blake3, holders: &[Place<'_>]) -> Vec<PeerId> {
    let mut order: Vec<(u64, PeerId)> = holders.iter().map(|holder| (lot(digest, holder.peer), holder.peer)).collect();
    order.sort_unstable_by_key(|one| Reverse(*one));
    order.into_iter().map(|(_, peer)| peer).collect()
}

/// Chooses where the next copy goes: to the site, then the region, that has fewest, and there by lot, weighted by free room.
pub fn target(digest: Blake3, size_bytes: u64, holders: &[Place<'_>], candidates: &[Place<'_>]) -> Option<PeerId> {
    let on_site = |candidate: &Place<'_>| count(holders, |holder| holder.capacity.site == candidate.capacity.site);
    let in_region =
        |candidate: &Place<'_>| count(holders, |holder| holder.capacity.region == candidate.capacity.region);
    candidates
        .iter()
        .filter(|candidate| candidate.capacity.has_room_for(size_bytes))
        .min_by(|one, other| {
            let crowd = |place| (on_site(place), in_region(place));
            let weight = |place: &Place<'_>| weighted(digest, place.peer, place.capacity.free_bytes);
            crowd(one).cmp(&crowd(other)).then(weight(other).total_cmp(&weight(one)))
        })
        .map(|place| place.peer)
}

/// Tells whether all copies, more than one, are on one site while another one has room.
pub fn is_crowded(size_bytes: u64, holders: &[Place<'_>], candidates: &[Place<'_>]) -> bool {
    let Some(site) = holders.first().map(|holder| &holder.capacity.site) else { return false };
    holders.len() > 1
        && holders.iter().all(|holder| holder.capacity.site == *site)
        && candidates.iter().any(|place| place.capacity.site != *site && place.capacity.has_room_for(size_bytes))
}

/// Gives which of the holders go, first the first, until as many are left as are wanted or the others are pinned: each time one
/// of the site that has most.
pub fn dropping_order(digest: Blake3, wanted: usize, holders: &[Place<'_>]) -> Vec<PeerId> {
    let mut sites: BTreeMap<&str, usize> = BTreeMap::new();
    for holder in holders {
        *sites.entry(&holder.capacity.site).or_default() += 1;
    }
    let mut left: Vec<&Place<'_>> = holders.iter().filter(|holder| !holder.is_pinned).collect();
    let mut order = Vec::new();
    while holders.len() - order.len() > wanted {
        let most = |holder: &&Place<'_>| (sites[holder.capacity.site.as_str()], Reverse(lot(digest, holder.peer)));
        let Some(index) = (0..left.len()).max_by_key(|index| most(&left[*index])) else { break };
        let going = left.swap_remove(index);
        *sites.entry(&going.capacity.site).or_default() -= 1;
        order.push(going.peer);
    }
    order
}

fn count(holders: &[Place<'_>], which: impl Fn(&Place<'_>) -> bool) -> usize {
    holders.iter().filter(|holder| which(holder)).count()
}

/// What a node draws for a blob: the same wherever it is computed.
fn lot(digest: Blake3, peer: PeerId) -> u64 {
    let hash = blake3::Hasher::new().update(digest.as_bytes()).update(&peer.to_bytes()).finalize();
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// Weighted rendezvous hashing: who has twice the room is chosen twice as often.
fn weighted(digest: Blake3, peer: PeerId, weight: u64) -> f64 {
    let share = (lot(digest, peer) as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    -(weight as f64) / share.ln()
}

/// The most copies of anything.
pub const FACTOR_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(site: &str, free_bytes: u64) -> Capacity {
        let region = site[..1].to_owned();
        Capacity { total_bytes: 1000, free_bytes, rate_bytes: 0, site: site.to_owned(), region }
    }

    fn place(capacity: &Capacity) -> Place<'_> {
        Place { peer: PeerId::random(), capacity, is_pinned: false }
    }

    fn digest(number: u32) -> Blake3 {
        Blake3::of(&number.to_le_bytes())
    }

    #[test]
    fn a_factor_is_from_one_to_ten() {
        assert_eq!([0, 1, 10, 11].map(|copies| Factor::new(copies).copies()), [1, 1, 10, 10]);
        assert_eq!(Factor::default().copies(), 3);
    }

    #[test]
    fn who_acts_is_the_same_everywhere_and_shared_out() {
        let here = capacity("a1", 500);
        let holders: Vec<_> = (0..4).map(|_| place(&here)).collect();
        let reversed: Vec<_> = holders.iter().rev().copied().collect();
        let mut first = BTreeMap::new();
        for number in 0..1000 {
            let order = acting_order(digest(number), &holders);
            assert_eq!(order, acting_order(digest(number), &reversed));
            *first.entry(order[0]).or_insert(0) += 1;
        }
        assert!(first.len() == 4 && first.values().all(|count| (180..320).contains(count)), "{first:?}");
    }

    #[test]
    fn copies_go_to_other_sites_then_other_regions_then_by_room() {
        let [a1, a2, b1] = ["a1", "a2", "b1"].map(|site| capacity(site, 500));
        let (full, small, large) = (capacity("b1", 50), capacity("b1", 150), capacity("b1", 900));
        let holder = [place(&a1)];
        let check = |candidates: &[Place<'_>], size: u64, expected: Option<usize>| {
            for number in 0..50 {
                let found = target(digest(number), size, &holder, candidates);
                assert_eq!(found, expected.map(|index| candidates[index].peer));
            }
        };
        check(&[place(&a1), place(&a2), place(&b1)], 1, Some(2));
        check(&[place(&a1), place(&a2)], 1, Some(1));
        check(&[place(&a1)], 1, Some(0));
        check(&[place(&a1), place(&full)], 1, Some(0));
        check(&[place(&full)], 1, None);
        check(&[place(&b1)], 450, Some(0));
        check(&[place(&b1)], 451, None);
        let candidates = [place(&small), place(&large)];
        let chosen = |number| target(digest(number), 1, &holder, &candidates) == Some(candidates[1].peer);
        let large = (0..1000).filter(|number| chosen(*number)).count();
        assert!((800..910).contains(&large), "{large} of 1000 go where six sevenths of the room are");
    }

    #[test]
    fn copies_on_one_site_are_too_close_while_another_has_room() {
        let (a1, a2, full) = (capacity("a1", 500), capacity("a2", 500), capacity("a2", 10));
        let check = |holders: &[Place<'_>], candidates: &[Place<'_>], expected: bool| {
            assert_eq!(is_crowded(100, holders, candidates), expected);
        };
        check(&[place(&a1), place(&a1)], &[place(&a2)], true);
        check(&[place(&a1), place(&a2)], &[place(&a2)], false);
        check(&[place(&a1), place(&a1)], &[place(&full), place(&a1)], false);
        check(&[place(&a1)], &[place(&a2)], false);
        check(&[], &[place(&a2)], false);
    }

    #[test]
    fn the_fullest_site_drops_first_and_pins_stay() {
        let (a1, b1) = (capacity("a1", 500), capacity("b1", 500));
        let holders = [place(&a1), place(&a1), place(&a1), place(&b1)];
        for number in 0..50 {
            let order = dropping_order(digest(number), 2, &holders);
            assert_eq!(order.len(), 2);
            assert!(!order.contains(&holders[3].peer), "the only one of its site stays");
        }
        let pinned = holders.map(|holder| Place { is_pinned: holder.peer != holders[3].peer, ..holder });
        assert_eq!(dropping_order(digest(1), 2, &pinned), [holders[3].peer]);
        assert!(dropping_order(digest(1), 4, &holders).is_empty());
    }
}
