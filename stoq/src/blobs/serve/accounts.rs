//! What each peer is served: streams, bytes, and how fast.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::ServeLimits;
use crate::blobs::fair::Bucket;

/// The most peers that are remembered; the one that was served longest ago and has no stream is forgotten for another.
pub(super) const ACCOUNTS_MAX: usize = 1024;

pub(super) struct Accounts {
    limits: ServeLimits,
    table: Arc<Mutex<HashMap<PeerId, Account>>>,
}

struct Account {
    streams: usize,
    bytes: u64,
    used: Instant,
    bucket: Option<Bucket>,
}

/// The right to one stream; given back when it is dropped.
pub(super) struct Seat {
    peer: PeerId,
    table: Arc<Mutex<HashMap<PeerId, Account>>>,
}

impl Accounts {
    pub(super) fn new(limits: ServeLimits) -> Self {
        Self { limits, table: Arc::default() }
    }

    /// Admits one more stream of a peer, if there is room.
    pub(super) fn admit(&self, peer: PeerId, now: Instant) -> Option<Seat> {
        let mut table = lock(&self.table);
        if table.values().map(|account| account.streams).sum::<usize>() >= self.limits.streams_max {
            return None;
        }
        if !table.contains_key(&peer) && table.len() >= ACCOUNTS_MAX {
            let idle = table.iter().filter(|(_, account)| account.streams == 0);
            let oldest = idle.min_by_key(|(_, account)| account.used).map(|(peer, _)| *peer)?;
            table.remove(&oldest);
        }
        let bucket = || self.limits.rate.map(|rate| Bucket::new(rate, now));
        let account =
            table.entry(peer).or_insert_with(|| Account { streams: 0, bytes: 0, used: now, bucket: bucket() });
        if account.streams >= self.limits.streams_per_peer_max {
            return None;
        }
        account.streams += 1;
        account.used = now;
        Some(Seat { peer, table: Arc::clone(&self.table) })
    }

    pub(super) fn served(&self) -> Vec<(PeerId, u64)> {
        lock(&self.table).iter().map(|(peer, account)| (*peer, account.bytes)).collect()
    }
}

impl Seat {
    /// Counts bytes, and says how long they must wait.
    pub(super) fn take(&self, now: Instant, bytes: u64) -> Duration {
        let mut table = lock(&self.table);
        let account = table.get_mut(&self.peer).expect("an account with a stream is not forgotten");
        account.bytes += bytes;
        account.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(now, bytes))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(account) = lock(&self.table).get_mut(&self.peer) {
            account.streams -= 1;
        }
    }
}

fn lock(table: &Mutex<HashMap<PeerId, Account>>) -> MutexGuard<'_, HashMap<PeerId, Account>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_for_each_and_for_all() {
        let limits = ServeLimits { streams_max: 5, streams_per_peer_max: 2, ..ServeLimits::STANDARD };
        let accounts = Accounts::new(limits);
        let (now, peers) = (Instant::now(), [PeerId::random(), PeerId::random(), PeerId::random()]);
        let mut seats: Vec<Seat> = (0..2).filter_map(|_| accounts.admit(peers[0], now)).collect();
        assert!(accounts.admit(peers[0], now).is_none(), "a third of one peer");
        seats.extend((0..2).filter_map(|_| accounts.admit(peers[1], now)));
        seats.extend(accounts.admit(peers[2], now));
        assert_eq!(seats.len(), 5);
        assert!(accounts.admit(peers[2], now).is_none(), "a sixth in all");
        drop(seats);
        assert!(accounts.admit(peers[0], now).is_some());
    }

    #[test]
    fn a_flood_of_peers_is_forgotten_but_not_whoever_is_served() {
        let accounts = Accounts::new(ServeLimits::STANDARD);
        let now = Instant::now();
        let first = accounts.admit(PeerId::random(), now).expect("is admitted");
        assert_eq!(first.take(now, 7), Duration::ZERO);
        for _ in 0..ACCOUNTS_MAX * 2 {
            assert!(accounts.admit(PeerId::random(), now).is_some());
        }
        let served = accounts.served();
        assert_eq!(served.len(), ACCOUNTS_MAX);
        assert!(served.contains(&(first.peer, 7)));
    }
}
