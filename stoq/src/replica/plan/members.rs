//! What other nodes say of themselves.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::time::Instant;

use libp2p::PeerId;
use trustchain::digest::Blake3;

use super::super::placement::Place;
use super::super::report::{ALL_HOLDINGS_MAX, Change, HOLDINGS_MAX, Heard, Holding, MEMBERS_MAX, Report, ReportError};
use super::{FORGET_AFTER, GONE_AFTER, LEFT_FOR, Member, NotCopied, Replicas};

impl Replicas {
    /// Hears what a node says of itself; this node is told of itself alike.
    ///
    /// # Errors
    /// It says more than it may. What was known before stays.
    pub fn report(&mut self, now: Instant, peer: PeerId, report: Report) -> Result<Heard, ReportError> {
        report.capacity.validate()?;
        let count = self.members.len();
        let others = self.members.iter().filter(|(other, _)| **other != self.own && **other != peer);
        let of_others: usize = others.map(|(_, member)| member.holdings.len()).sum();
        let Report { epoch, sequence, capacity, change } = report;
        let mut before = BTreeSet::new();
        match self.members.get_mut(&peer) {
            None if count >= MEMBERS_MAX && peer != self.own => {
                return Err(ReportError::TooManyMembers { limit: MEMBERS_MAX });
            }
            None if matches!(change, Change::Since { .. }) => return Ok(Heard::SayAll),
            None => {}
            Some(member) => {
                (member.last_heard, member.left) = (now, None);
                if member.epoch == epoch && sequence <= member.sequence {
                    return Ok(Heard::Known);
                }
                let follows = |base| member.epoch == epoch && member.sequence == base;
                if matches!(change, Change::Since { base, .. } if !follows(base)) {
                    return Ok(Heard::SayAll);
                }
                before.clone_from(&member.holdings);
            }
        }
        let (added, removed) = match change {
            Change::All(holdings) => {
                let named: BTreeSet<Blake3> = holdings.iter().map(|holding| holding.digest).collect();
                (holdings, &before - &named)
            }
            Change::Since { added, removed, .. } => (added, removed.into_iter().collect()),
        };
        let mut holdings = before;
        holdings.retain(|digest| !removed.contains(digest));
        holdings.extend(added.iter().map(|holding| holding.digest));
        if holdings.len() > HOLDINGS_MAX {
            return Err(ReportError::TooMany { found: holdings.len(), limit: HOLDINGS_MAX });
        }
        let found = of_others + holdings.len();
        if peer != self.own && found > ALL_HOLDINGS_MAX {
            return Err(ReportError::TooManyInAll { found, limit: ALL_HOLDINGS_MAX });
        }
        self.revision += u64::from(!added.is_empty() || !removed.is_empty());
        self.members.insert(peer, Member { epoch, sequence, capacity, last_heard: now, left: None, holdings });
        removed.iter().for_each(|digest| self.withdrawn(now, *digest, peer));
        added.into_iter().for_each(|holding| self.held(peer, holding));
        Ok(Heard::Known)
    }

    /// A node that says to hold a blob did not serve it: it does not count until it says so anew.
    pub fn not_served(&mut self, digest: Blake3, peer: PeerId) {
        self.not_held(digest, peer);
        if let Some(member) = self.members.get_mut(&peer) {
            member.holdings.remove(&digest);
        }
    }

    /// A node has no connection any more. Unless it comes back soon, its copies do not count.
    pub fn left(&mut self, now: Instant, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.left.get_or_insert(now);
        }
    }

    /// A node has a connection again.
    pub fn returned(&mut self, peer: PeerId) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.left = None;
        }
    }

    /// Gives who says to hold a blob and is heard.
    pub fn holders_of(&self, now: Instant, digest: Blake3) -> Vec<PeerId> {
        self.holders(now, &digest).iter().map(|holder| holder.peer).collect()
    }

    pub(super) fn is_live(&self, now: Instant, peer: PeerId) -> bool {
        peer == self.own || self.members.get(&peer).is_some_and(|member| member.is_live(now))
    }

    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = Place<'_>> {
        self.members.iter().filter(move |(peer, _)| self.is_live(now, **peer)).map(|(peer, member)| Place {
            peer: *peer,
            capacity: &member.capacity,
            is_pinned: false,
        })
    }

    /// Ends what waited long enough.
    pub(super) fn forget(&mut self, now: Instant) {
        self.copies.retain(|_, until| now < *until);
        self.refused.retain(|_, until| now < *until);
        let own = self.own;
        let gone = self.members.extract_if(.., |peer, member| *peer != own && now >= member.last_heard + FORGET_AFTER);
        let gone: Vec<(PeerId, Member)> = gone.collect();
        for (peer, member) in gone {
            member.holdings.into_iter().for_each(|digest| self.not_held(digest, peer));
        }
    }

    fn held(&mut self, peer: PeerId, holding: Holding) {
        self.copies.remove(&(holding.digest, peer));
        self.blobs.entry(holding.digest).or_default().holders.insert(peer, holding);
    }

    /// What a node was getting and did not get is not asked of it at once.
    fn withdrawn(&mut self, now: Instant, digest: Blake3, peer: PeerId) {
        let holding = self.blobs.get(&digest).and_then(|blob| blob.holders.get(&peer));
        if holding.is_some_and(|holding| !holding.is_complete) {
            self.copy_refused(now, digest, peer, NotCopied::Unreachable);
        }
        self.not_held(digest, peer);
    }

    fn not_held(&mut self, digest: Blake3, peer: PeerId) {
        if let Entry::Occupied(mut blob) = self.blobs.entry(digest) {
            blob.get_mut().holders.remove(&peer);
            if blob.get().holders.is_empty() {
                blob.remove();
            }
        }
    }
}

impl Member {
    /// Whether it was heard lately, and is not known to be gone.
    fn is_live(&self, now: Instant) -> bool {
        now < self.last_heard + GONE_AFTER && self.left.is_none_or(|left| now < left + LEFT_FOR)
    }
}
