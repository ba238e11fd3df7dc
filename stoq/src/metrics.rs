//! What a port counts: handshakes, refusals by name, and what it exchanged with each peer.
//!
//! Only peers that hold have counters of their own, and only so many; a stranger moves a number and makes nothing grow.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::PeerId;

/// What a port has counted since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections that this node made.
    pub dialed: u64,
    /// Connections that peers made.
    pub accepted: u64,
    /// Strangers that had to show first that they receive at their address.
    pub retries: u64,
    /// Strangers and peers that were refused, by name: [`crate::tls::Refusal::name`], `busy` for want of room.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Dials that failed though this node refused nobody, by name: [`crate::endpoint::ConnectError::name`].
    pub failures: BTreeMap<&'static str, u64>,
    /// Handshakes of strangers that came to nothing though this node refused nobody: they went away (`lost`), or refuse it.
    pub lost: BTreeMap<&'static str, u64>,
    /// Connections that are open.
    pub connections: usize,
    /// Each peer whose counters are kept, by id.
    pub peers: Vec<PeerSnapshot>,
}

/// What was exchanged with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// The peer.
    pub peer: PeerId,
    /// Connections that are open.
    pub connections: usize,
    /// Bytes of UDP payload to it.
    pub bytes_sent: u64,
    /// Bytes of UDP payload from it.
    pub bytes_received: u64,
    /// The smoothed round trip of the quickest open connection.
    pub round_trip: Option<Duration>,
    /// Requests of it that are being served.
    pub streams_served: usize,
    /// Requests that it made.
    pub streams_accepted: u64,
    /// Requests that this node made of it.
    pub streams_opened: u64,
    /// What went wrong with it, by name.
    pub errors: BTreeMap<&'static str, u64>,
}

/// What one open connection has exchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchanged {
    pub(crate) peer: PeerId,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) round_trip: Duration,
}

/// The counters of a port.
#[derive(Debug)]
pub(crate) struct Metrics {
    peers_max: usize,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    total: Snapshot,
    peers: HashMap<PeerId, Counters>,
    /// Grows with each change, so that the peer that was quiet longest can be told.
    turn: u64,
}

#[derive(Debug, Default)]
struct Counters {
    turn: u64,
    connections: usize,
    bytes_sent: u64,
    bytes_received: u64,
    streams_served: usize,
    streams_accepted: u64,
    streams_opened: u64,
    errors: BTreeMap<&'static str, u64>,
}

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Served {
    metrics: Arc<Metrics>,
    peer: PeerId,
}

impl Metrics {
    pub(crate) fn new(peers_max: usize) -> Arc<Self> {
        Arc::new(Self { peers_max, counted: Mutex::default() })
    }

    pub(crate) fn retried(&self) {
        self.counted().total.retries += 1;
    }

    pub(crate) fn refused(&self, name: &'static str) {
        *self.counted().total.refusals.entry(name).or_default() += 1;
    }

    pub(crate) fn failed(&self, name: &'static str) {
        *self.counted().total.failures.entry(name).or_default() += 1;
    }

    pub(crate) fn lost(&self, name: &'static str) {
        *self.counted().total.lost.entry(name).or_default() += 1;
    }

    pub(crate) fn dialed(&self) {
        self.counted().total.dialed += 1;
    }

    pub(crate) fn accepted(&self) {
        self.counted().total.accepted += 1;
    }

    /// Keeps the counters of a peer while it has a connection.
    pub(crate) fn began(&self, peer: PeerId) {
        self.of(peer, |counters| counters.connections += 1);
    }

    /// Keeps what a connection has exchanged that has ended.
    pub(crate) fn ended(&self, exchanged: &Exchanged) {
        self.of(exchanged.peer, |counters| {
            counters.connections = counters.connections.saturating_sub(1);
            counters.bytes_sent += exchanged.bytes_sent;
            counters.bytes_received += exchanged.bytes_received;
        });
    }

    pub(crate) fn opened(&self, peer: PeerId) {
        self.of(peer, |counters| counters.streams_opened += 1);
    }

    pub(crate) fn error(&self, peer: PeerId, name: &'static str) {
        self.of(peer, |counters| *counters.errors.entry(name).or_default() += 1);
    }

    /// Counts a request for as long as it is served.
    pub(crate) fn serve(self: &Arc<Self>, peer: PeerId) -> Served {
        self.of(peer, |counters| {
            counters.streams_accepted += 1;
            counters.streams_served += 1;
        });
        Served { metrics: Arc::clone(self), peer }
    }

    pub(crate) fn snapshot(&self, open: &[Exchanged]) -> Snapshot {
        let counted = self.counted();
        let mut peers: Vec<_> = counted.peers.iter().map(|(peer, counters)| counters.snapshot(*peer, open)).collect();
        peers.sort_by_key(|of| of.peer);
        Snapshot { connections: open.len(), peers, ..counted.total.clone() }
    }

    fn of(&self, peer: PeerId, change: impl FnOnce(&mut Counters)) {
        let mut counted = self.counted();
        if !counted.peers.contains_key(&peer) && counted.peers.len() >= self.peers_max {
            let quiet = counted.peers.iter().min_by_key(|(_, counters)| (counters.connections > 0, counters.turn));
            if let Some(quiet) = quiet.map(|(peer, _)| *peer) {
                counted.peers.remove(&quiet);
            }
        }
        counted.turn += 1;
        let turn = counted.turn;
        let counters = counted.peers.entry(peer).or_default();
        counters.turn = turn;
        change(counters);
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn snapshot(&self, peer: PeerId, open: &[Exchanged]) -> PeerSnapshot {
        let open = || open.iter().filter(|exchanged| exchanged.peer == peer);
        PeerSnapshot {
            peer,
            connections: open().count(),
            bytes_sent: self.bytes_sent + open().map(|exchanged| exchanged.bytes_sent).sum::<u64>(),
            bytes_received: self.bytes_received + open().map(|exchanged| exchanged.bytes_received).sum::<u64>(),
            round_trip: open().map(|exchanged| exchanged.round_trip).min(),
            streams_served: self.streams_served,
            streams_accepted: self.streams_accepted,
            streams_opened: self.streams_opened,
            errors: self.errors.clone(),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.metrics.of(self.peer, |counters| counters.streams_served = counters.streams_served.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_that_was_quiet_longest_makes_room() {
        let metrics = Metrics::new(2);
        let [connected, quiet, new] = [(); 3].map(|()| PeerId::random());
        metrics.began(connected);
        metrics.error(quiet, "reset");
        metrics.error(new, "reset");
        let mut kept: Vec<_> = metrics.snapshot(&[]).peers.iter().map(|of| of.peer).collect();
        let mut expected = vec![connected, new];
        kept.sort();
        expected.sort();
        assert_eq!(kept, expected, "the one that is connected stays though it was quiet longer");
    }

    #[test]
    fn bytes_of_ended_and_open_connections_are_added() {
        let metrics = Metrics::new(2);
        let peer = PeerId::random();
        let round_trip = Duration::from_millis(3);
        let exchanged = Exchanged { peer, bytes_sent: 5, bytes_received: 7, round_trip };
        metrics.began(peer);
        metrics.began(peer);
        metrics.ended(&exchanged);
        let of = &metrics.snapshot(&[exchanged]).peers[0];
        assert_eq!((of.connections, of.bytes_sent, of.bytes_received), (1, 10, 14));
        assert_eq!(of.round_trip, Some(round_trip));
    }

    #[test]
    fn a_request_counts_while_it_is_served() {
        let metrics = Metrics::new(2);
        let served = metrics.serve(PeerId::random());
        assert_eq!(metrics.snapshot(&[]).peers[0].streams_served, 1);
        drop(served);
        let of = &metrics.snapshot(&[]).peers[0];
        assert_eq!((of.streams_served, of.streams_accepted), (0, 1));
    }
}
