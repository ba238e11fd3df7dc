//! What this node keeps for others, and what goes when it needs room.

use std::time::Instant;

use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use trustchain::digest::Blake3;

use super::super::cache::{Cached, NoRoomError, evict};
use super::super::placement::{FACTOR_MAX, dropping_order};
use super::Replicas;

/// Why a node does not keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It has one.
    #[error("it is held already")]
    Held,
    /// It is getting one.
    #[error("it is being fetched already")]
    Coming,
    /// It makes as many as it may.
    #[error("{limit} copies are being made already")]
    Busy {
        /// The bound.
        limit: u64,
    },
    /// It is too large.
    #[error("it has {size_bytes} bytes, at most {limit_bytes} are kept")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// There is no room, and what is there may not go.
    #[error("there is no room for {size_bytes} bytes")]
    NoRoom {
        /// Its size.
        size_bytes: u64,
    },
    /// As many hold it as ever need to.
    #[error("{FACTOR_MAX} nodes hold it already")]
    NotWanted,
    /// Who asks has never said what it holds, or not for long.
    #[error("the node that asks has not reported")]
    Stranger,
}

impl Replicas {
    /// Decides whether to keep a copy that a peer asks for; if so, gives what has to be dropped first. What was agreed to holds
    /// its room until [`Replicas::keep_ended`].
    ///
    /// # Errors
    /// Why not.
    pub fn keep_asked(
        &mut self,
        now: Instant,
        from: PeerId,
        digest: Blake3,
        size_bytes: u64,
    ) -> Result<Vec<Blake3>, Refusal> {
        let own = self.members.get(&self.own).ok_or(Refusal::NoRoom { size_bytes })?;
        let holders = self.holders(now, &digest);
        if self.keeping.contains_key(&digest) {
            return Err(Refusal::Coming);
        } else if own.holdings.contains(&digest) {
            return Err(Refusal::Held);
        } else if !self.is_live(now, from) {
            return Err(Refusal::Stranger);
        } else if holders.len() >= FACTOR_MAX {
            return Err(Refusal::NotWanted);
        } else if size_bytes > self.options.size_bytes_max {
            return Err(Refusal::TooLarge { size_bytes, limit_bytes: self.options.size_bytes_max });
        } else if self.keeping.len() >= self.options.keeps_max {
            return Err(Refusal::Busy { limit: self.options.keeps_max as u64 });
        }
        let agreed = self.keeping.values().sum::<u64>().saturating_add(size_bytes);
        let dropped = match agreed.saturating_sub(own.capacity.free_bytes) {
            0 => Vec::new(),
            missing => self.make_room(now, missing).map_err(|_| Refusal::NoRoom { size_bytes })?,
        };
        self.keeping.insert(digest, size_bytes);
        Ok(dropped)
    }

    /// A copy that this node agreed to keep came or did not.
    pub fn keep_ended(&mut self, digest: Blake3) {
        self.keeping.remove(&digest);
    }

    /// Chooses what to drop so that so many bytes become free: never what is pinned, never a copy that others count on.
    ///
    /// # Errors
    /// All that may go is not enough.
    fn make_room(&self, now: Instant, needed_bytes: u64) -> Result<Vec<Blake3>, NoRoomError> {
        let demand_max = self.demand_max(now);
        let Some(own) = self.members.get(&self.own) else {
            return Err(NoRoomError { needed_bytes, droppable_bytes: 0 });
        };
        let cached = own.holdings.iter().filter_map(|digest| self.cached(now, *digest, demand_max));
        evict(&cached.collect::<Vec<_>>(), needed_bytes)
    }

    fn cached(&self, now: Instant, digest: Blake3, demand_max: u64) -> Option<Cached> {
        let blob = self.blobs.get(&digest)?;
        let holding = blob.holders.get(&self.own)?;
        let holders = self.holders(now, &digest);
        let going = dropping_order(digest, self.wanted(now, blob, demand_max), &holders);
        Some(Cached {
            digest,
            size_bytes: holding.size_bytes,
            demand: holding.demand,
            is_droppable: going.contains(&self.own) && self.fresh_others(now, &holders) >= self.options.quorum,
        })
    }
}
