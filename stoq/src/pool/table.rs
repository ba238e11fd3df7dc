//! Which connections there are, who waits for one, and which one is quiet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PeerId;
use crate::endpoint::Connection;
use crate::service::OpenError;

/// A connection of the pool.
pub(super) struct Pooled {
    connection: Connection,
    moved: Mutex<Moved>,
    served: AtomicUsize,
}

/// When something last moved on the streams of a connection.
struct Moved {
    frames: u64,
    at: Instant,
}

/// All connections of the pool by peer.
pub(super) struct Table {
    waiting_max: usize,
    peers: Mutex<HashMap<PeerId, Entry>>,
}

#[derive(Default)]
struct Entry {
    connections: Vec<Arc<Pooled>>,
    waiting: usize,
    dial: Arc<Dial>,
}

/// How and when the last dial of a peer failed.
pub(super) struct Failed {
    pub(super) at: Instant,
    pub(super) error: OpenError,
}

/// The lock that one dial of a peer has at a time.
type Dial = tokio::sync::Mutex<Option<Failed>>;

/// Somebody who waits for a peer.
pub(super) struct Waiting<'a> {
    table: &'a Table,
    peer: PeerId,
}

/// A request that is being served on a connection.
pub(super) struct Serves(Arc<Pooled>);

impl Pooled {
    fn new(connection: Connection) -> Self {
        let moved = Moved { frames: 0, at: Instant::now() };
        Self { connection, moved: Mutex::new(moved), served: AtomicUsize::new(0) }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Notes that a stream was opened.
    pub(super) fn used(&self) {
        self.moved().at = Instant::now();
    }

    /// Counts a request while it is served.
    pub(super) fn serve(self: &Arc<Self>) -> Serves {
        self.served.fetch_add(1, Ordering::Relaxed);
        Serves(Arc::clone(self))
    }

    /// Says for how long nothing has moved on any stream; no time at all while something is served.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        let stats = self.connection.quic().stats();
        let frames = stats.frame_tx.stream + stats.frame_rx.stream;
        let mut moved = self.moved();
        if moved.frames != frames || self.served.load(Ordering::Relaxed) > 0 {
            *moved = Moved { frames, at: now };
        }
        now.saturating_duration_since(moved.at)
    }

    fn moved(&self) -> MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { waiting_max, peers: Mutex::default() }
    }

    pub(super) fn insert(&self, connection: Connection) -> Arc<Pooled> {
        let pooled = Arc::new(Pooled::new(connection));
        let mut peers = self.peers();
        peers.entry(pooled.connection.peer()).or_default().connections.push(Arc::clone(&pooled));
        pooled
    }

    /// Takes out a connection, so that nobody opens another stream on it.
    pub(super) fn remove(&self, pooled: &Arc<Pooled>) {
        self.change(pooled.connection.peer(), |entry| entry.connections.retain(|other| !Arc::ptr_eq(other, pooled)));
    }

    /// Takes out a connection that is quiet and closes it; a stream that is opened at this moment goes before.
    pub(super) fn remove_quiet(&self, pooled: &Arc<Pooled>, for_at_least: Duration) -> bool {
        let mut quiet = false;
        self.change(pooled.connection.peer(), |entry| {
            quiet = pooled.quiet(Instant::now()) >= for_at_least;
            if quiet {
                entry.connections.retain(|other| !Arc::ptr_eq(other, pooled));
            }
        });
        quiet
    }

    /// Gives the connections of a peer that have not ended.
    pub(super) fn live(&self, peer: PeerId) -> Vec<Arc<Pooled>> {
        let peers = self.peers();
        let of_peer = peers.get(&peer).into_iter().flat_map(|entry| &entry.connections);
        of_peer.filter(|pooled| !pooled.connection.is_closed()).cloned().collect()
    }

    /// Gives the connection that has been quiet longest, and for how long.
    pub(super) fn quietest(&self) -> Option<(Arc<Pooled>, Duration)> {
        let (peers, now) = (self.peers(), Instant::now());
        let all = peers.values().flat_map(|entry| &entry.connections);
        all.map(|pooled| (Arc::clone(pooled), pooled.quiet(now))).max_by_key(|(_, quiet)| *quiet)
    }

    /// Waits for a peer; the number of those who do is bounded.
    pub(super) fn wait(&self, peer: PeerId) -> Result<Waiting<'_>, OpenError> {
        let mut peers = self.peers();
        let entry = peers.entry(peer).or_default();
        if entry.waiting >= self.waiting_max {
            return Err(OpenError::Busy { peer, what: "callers that wait for it", limit: self.waiting_max });
        }
        entry.waiting += 1;
        Ok(Waiting { table: self, peer })
    }

    /// Gives the lock that only one dial of a peer has at a time.
    pub(super) fn dial(&self, peer: PeerId) -> Arc<Dial> {
        Arc::clone(&self.peers().entry(peer).or_default().dial)
    }

    fn change(&self, peer: PeerId, change: impl FnOnce(&mut Entry)) {
        let mut peers = self.peers();
        if let Some(entry) = peers.get_mut(&peer) {
            change(entry);
            if entry.connections.is_empty() && entry.waiting == 0 {
                peers.remove(&peer);
            }
        }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<PeerId, Entry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.table.change(self.peer, |entry| entry.waiting -= 1);
    }
}

impl Drop for Serves {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::Relaxed);
        self.0.used();
    }
}
