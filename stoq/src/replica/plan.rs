//! What is known of who holds what, and what to do about it. It reads no clock and moves no bytes.

mod keeping;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use trustchain::digest::Blake3;

pub use keeping::Refusal;

use super::mirror::{Demand, Mirror};
use super::placement::{Factor, Place, acting_order, dropping_order, is_crowded, target};
use super::report::{Capacity, Holding};

/// What one node knows and wants of copies.
#[derive(Debug)]
pub struct Replicas {
    own: PeerId,
    options: Options,
    /// Grows with everything that is heard and is new.
    revision: u64,
    members: BTreeMap<PeerId, Member>,
    blobs: BTreeMap<Blake3, Blob>,
    /// Copies that were asked for, and until when they are waited for.
    copies: BTreeMap<(Blake3, PeerId), Instant>,
    /// Copies that somebody would not take, and until when it is not asked again.
    refused: BTreeMap<(Blake3, PeerId), Instant>,
    /// Blobs that this node is about to hold, with their sizes.
    keeping: BTreeMap<Blake3, u64>,
}

/// What a node wants of copies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How many there are to be of everything.
    pub factor: Factor,
    /// How many holders must have been heard lately, besides this node, before it drops a copy.
    pub quorum: usize,
    /// What gets more.
    pub mirror: Mirror,
    /// How many copies this node asks for at the same time.
    pub copies_max: usize,
    /// How many copies it makes for others at the same time.
    pub keeps_max: usize,
    /// The largest blob it keeps for others.
    pub size_bytes_max: u64,
}

impl Default for Options {
    /// Three copies, a quorum of two, more of what is popular from 0.8; four copies at a time each way, of 10 GiB at most.
    fn default() -> Self {
        Self {
            factor: Factor::default(),
            quorum: 2,
            mirror: Mirror { popular_from: 0.8 },
            copies_max: 4,
            keeps_max: 4,
            size_bytes_max: 10 << 30,
        }
    }
}

#[derive(Debug)]
struct Member {
    epoch: u64,
    sequence: u64,
    capacity: Capacity,
    last_heard: Instant,
    /// When its connection ended, if it did since.
    left: Option<Instant>,
    holdings: BTreeSet<Blake3>,
}

#[derive(Debug, Default)]
struct Blob {
    holders: Holders,
    lacking_since: Option<Instant>,
    surplus_since: Option<Instant>,
}

/// What the holders of one blob say of it. A list: a map has room for eleven in its least node, and most blobs have three.
#[derive(Debug, Default)]
struct Holders(Vec<(PeerId, Holding)>);

impl Holders {
    fn insert(&mut self, peer: PeerId, holding: Holding) {
        self.remove(&peer);
        self.0.push((peer, holding));
    }

    fn remove(&mut self, peer: &PeerId) {
        self.0.retain(|(holder, _)| holder != peer);
    }

    fn get(&self, peer: &PeerId) -> Option<&Holding> {
        self.iter().find(|(holder, _)| holder == peer).map(|(_, holding)| holding)
    }

    fn iter(&self) -> impl Iterator<Item = &(PeerId, Holding)> {
        self.0.iter()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a node to keep a copy.
    Copy {
        /// Of what.
        digest: Blake3,
        /// How large it is.
        size_bytes: u64,
        /// Who has it; this node.
        from: PeerId,
        /// Who is asked.
        to: PeerId,
    },
    /// Drop a copy.
    Drop {
        /// Of what.
        digest: Blake3,
        /// Where; at this node.
        at: PeerId,
    },
}

/// Why a copy that was asked for will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCopied {
    /// The peer said no.
    Refused(Refusal),
    /// The peer said nothing.
    Unreachable,
}

/// What a blob that this node holds needs.
#[derive(Debug)]
struct Need {
    size_bytes: u64,
    /// Whether copies are missing or too close, running ones not counted.
    is_lacking: bool,
    /// How many holders act before this node.
    rank: u32,
    /// Where copies are to go.
    targets: Vec<PeerId>,
    /// Whether there are too many.
    is_surplus: bool,
    /// Whether this node is the one to drop its copy.
    drops_own: bool,
}

impl Replicas {
    /// Begins with nothing known.
    pub fn new(own: PeerId, options: Options) -> Self {
        Self {
            own,
            options,
            revision: 0,
            members: BTreeMap::new(),
            blobs: BTreeMap::new(),
            copies: BTreeMap::new(),
            refused: BTreeMap::new(),
            keeping: BTreeMap::new(),
        }
    }

    /// Gives what to do now; copies of what has fewest holders first. To be asked every few seconds, and when there is another
    /// [`Replicas::revision`]. Cost: some 6 µs for each blob that this node holds, among 12 nodes.
    pub fn next_actions(&mut self, now: Instant) -> Vec<Action> {
        self.forget(now);
        let demand_max = self.demand_max(now);
        let Some(member) = self.members.get(&self.own) else { return Vec::new() };
        let mut held: Vec<(usize, Blake3)> =
            member.holdings.iter().map(|digest| (self.holders(now, digest).len(), *digest)).collect();
        held.sort_unstable();
        held.into_iter().flat_map(|(_, digest)| self.act(now, digest, demand_max)).collect()
    }

    /// Gives the blobs that this node agreed to keep and has not yet; they belong into its reports, incomplete.
    pub fn keeping(&self) -> impl Iterator<Item = Holding> {
        self.keeping.iter().map(|(digest, size_bytes)| Holding {
            digest: *digest,
            size_bytes: *size_bytes,
            demand: 0,
            is_pinned: false,
            is_complete: false,
        })
    }

    /// A peer would not keep a copy, or could not be asked. One that has it or is getting it will say so.
    pub fn copy_refused(&mut self, now: Instant, digest: Blake3, to: PeerId, why: NotCopied) {
        let wait = match why {
            NotCopied::Refused(Refusal::Held | Refusal::Coming) => return,
            NotCopied::Refused(Refusal::Busy { .. }) => BUSY_FOR,
            NotCopied::Unreachable => UNREACHABLE_FOR,
            NotCopied::Refused(_) => REFUSED_FOR,
        };
        self.copies.remove(&(digest, to));
        if self.refused.len() < REFUSED_MAX {
            self.refused.insert((digest, to), now + wait);
        }
    }

    /// Gives a number that is another one when something was heard that may give something to do.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn act(&mut self, now: Instant, digest: Blake3, demand_max: u64) -> Vec<Action> {
        let Some(need) = self.need(now, digest, demand_max) else { return Vec::new() };
        let Some(blob) = self.blobs.get_mut(&digest) else { return Vec::new() };
        let since = |since: Option<Instant>, is: bool| is.then(|| since.unwrap_or(now));
        blob.lacking_since = since(blob.lacking_since, need.is_lacking);
        blob.surplus_since = since(blob.surplus_since, need.is_surplus);
        let from = self.own;
        if blob.lacking_since.is_some_and(|since| now >= since + TAKE_OVER_AFTER * need.rank) {
            let until = now + COPY_TIMEOUT + Duration::from_secs(need.size_bytes / COPY_RATE_BYTES);
            let copies = &mut self.copies;
            let asked = need.targets.into_iter().map(|to| {
                copies.insert((digest, to), until);
                Action::Copy { digest, size_bytes: need.size_bytes, from, to }
            });
            return asked.collect();
        }
        if need.drops_own && blob.surplus_since.is_some_and(|since| now >= since + SURPLUS_FOR) {
            return vec![Action::Drop { digest, at: from }];
        }
        Vec::new()
    }

    fn need(&self, now: Instant, digest: Blake3, demand_max: u64) -> Option<Need> {
        let blob = self.blobs.get(&digest)?;
        let own = blob.holders.get(&self.own).filter(|own| own.is_complete)?;
        let size_bytes = own.size_bytes;
        let holders = self.holders(now, &digest);
        let wanted = self.wanted(now, blob, demand_max);
        let coming = self.coming(now, digest);
        let is_elsewhere = |place: &Place<'_>| !holders.iter().chain(&coming).any(|other| other.peer == place.peer);
        let candidates: Vec<Place<'_>> = self.live(now).filter(is_elsewhere).collect();
        let is_crowded = is_crowded(size_bytes, &holders, &candidates);
        let mut need = Need {
            size_bytes,
            is_lacking: holders.len() < wanted || is_crowded,
            rank: 0,
            targets: Vec::new(),
            is_surplus: holders.len() > wanted && !is_crowded,
            drops_own: false,
        };
        if need.is_lacking {
            let rank = acting_order(digest, &holders).iter().position(|peer| *peer == self.own)?;
            need.rank = u32::try_from(rank).unwrap_or(u32::MAX);
            let missing = wanted.saturating_sub(holders.len() + coming.len());
            let missing = missing.max(usize::from(is_crowded && coming.is_empty()));
            need.targets = self.targets(digest, size_bytes, missing, [holders, coming].concat(), candidates);
        } else if need.is_surplus {
            need.drops_own = self.fresh_others(now, &holders) >= self.options.quorum
                && dropping_order(digest, wanted, &holders).first() == Some(&self.own);
        }
        Some(need)
    }

    fn targets<'a>(
        &self,
        digest: Blake3,
        size_bytes: u64,
        missing: usize,
        mut holders: Vec<Place<'a>>,
        mut candidates: Vec<Place<'a>>,
    ) -> Vec<PeerId> {
        candidates.retain(|place| !self.refused.contains_key(&(digest, place.peer)));
        let mut targets = Vec::new();
        while targets.len() < missing.min(self.options.copies_max.saturating_sub(self.copies.len())) {
            let Some(peer) = target(digest, size_bytes, &holders, &candidates) else { break };
            let chosen = candidates.extract_if(.., |place| place.peer == peer);
            holders.extend(chosen);
            targets.push(peer);
        }
        targets
    }

    /// The nodes that say to be getting a copy, and those that this node asked and that do not say so yet.
    fn coming(&self, now: Instant, digest: Blake3) -> Vec<Place<'_>> {
        let say = self.blobs.get(&digest).into_iter().flat_map(|blob| blob.holders.iter());
        let say = say.filter(|(peer, holding)| !holding.is_complete && self.is_live(now, *peer)).map(|(peer, _)| peer);
        let asked = self.copies.keys().filter(|(copied, _)| *copied == digest);
        say.chain(asked.map(|(_, peer)| peer)).filter_map(|peer| self.place(*peer, false)).collect()
    }

    fn wanted(&self, now: Instant, blob: &Blob, demand_max: u64) -> usize {
        let demand = Demand { of_blob: self.demand(now, blob), most: demand_max };
        self.options.mirror.wanted(self.options.factor, demand)
    }

    /// How often the most wanted blob was asked for.
    fn demand_max(&self, now: Instant) -> u64 {
        self.blobs.values().map(|blob| self.demand(now, blob)).max().unwrap_or_default()
    }

    fn demand(&self, now: Instant, blob: &Blob) -> u64 {
        let live = blob.holders.iter().filter(|(peer, _)| self.is_live(now, *peer));
        live.map(|(_, holding)| u64::from(holding.demand)).sum()
    }

    /// The holders of all of a blob that are heard.
    fn holders(&self, now: Instant, digest: &Blake3) -> Vec<Place<'_>> {
        let holders = self.blobs.get(digest).into_iter().flat_map(|blob| blob.holders.iter());
        holders
            .filter(|(peer, holding)| holding.is_complete && self.is_live(now, *peer))
            .filter_map(|(peer, holding)| self.place(*peer, holding.is_pinned))
            .collect()
    }

    fn fresh_others(&self, now: Instant, holders: &[Place<'_>]) -> usize {
        let is_fresh = |peer: &PeerId| self.members.get(peer).is_some_and(|member| now < member.last_heard + FRESH_FOR);
        holders.iter().filter(|holder| holder.peer != self.own && is_fresh(&holder.peer)).count()
    }

    fn place(&self, peer: PeerId, is_pinned: bool) -> Option<Place<'_>> {
        Some(Place { peer, capacity: &self.members.get(&peer)?.capacity, is_pinned })
    }
}

/// How often a node reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// After what silence a node's copies do not count: three reports.
pub const GONE_AFTER: Duration = Duration::from_secs(90);
/// How long a node may be without a connection before its copies do not count: a restart takes less.
pub const LEFT_FOR: Duration = Duration::from_secs(20);
/// After what silence a node is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How old the reports of others may be on which a copy is dropped.
pub const FRESH_FOR: Duration = Duration::from_secs(45);
/// How long a holder is waited for before the next one acts in its place.
pub const TAKE_OVER_AFTER: Duration = Duration::from_secs(60);
/// How long there must be too many copies before one is dropped: a node that comes back soon costs nothing.
pub const SURPLUS_FOR: Duration = Duration::from_secs(300);
/// How long a copy may take at least.
pub const COPY_TIMEOUT: Duration = Duration::from_secs(60);
/// How much longer it may take: a second for so many bytes.
pub const COPY_RATE_BYTES: u64 = 1 << 20;
/// How long a node that would not keep a copy is not asked for it.
pub const REFUSED_FOR: Duration = Duration::from_secs(300);
/// How long, if it had too much to do.
pub const BUSY_FOR: Duration = Duration::from_secs(5);
/// How long, if it did not answer.
pub const UNREACHABLE_FOR: Duration = Duration::from_secs(30);
/// How many refusals are remembered.
pub const REFUSED_MAX: usize = 16 << 10;
