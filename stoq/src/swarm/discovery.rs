//! Whom to connect to: bootstrap addresses, peers named by peers, by the local network, by Kademlia and by hand.
//!
//! A state machine: it is told the time and what happened, and answers what to do; it reads no clock and opens nothing. It
//! keeps the number of connections between two bounds, tries dead peers ever more rarely, forgets whom nobody has heard of for
//! long, and has nothing to do with those who misbehaved. What one peer can make it remember is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::settings::StartError;

mod event;
mod quality;
#[cfg(test)]
mod tests;

pub use event::{Action, Event, Source};
use quality::Quality;

/// The most peers that are remembered at all.
pub const REMEMBERED_MAX: usize = 1024;
/// The most peers that are remembered because one peer named them.
pub const INTRODUCED_MAX: usize = 64;
/// The most peers that are blocked; then the one blocked first is let off.
pub const BLOCKED_MAX: usize = 1024;
/// The most dials at a time. Each may take seconds where processors are few: with sixteen, of nodes of one process that
/// started together, in an unoptimised build on a busy machine, 53 of 126 dials ran out of time.
pub const DIALS_MAX: usize = 4;
/// How long a node without any connection waits at most before it tries a bootstrap address again.
pub const ALONE_RETRY_MAX: Duration = Duration::from_secs(30);
/// So many times in a row a connected peer may not answer before its connections are closed.
pub const SILENCES_MAX: u32 = 3;
/// How many peers are asked for peers in a round.
const ASKED_PER_ROUND: usize = 3;

/// Whom to connect to.
#[derive(Clone, Debug)]
pub struct DiscoveryOptions {
    /// Where somebody is expected to be.
    pub bootstrap: Vec<SocketAddr>,
    /// How often peers are asked, and old ones forgotten.
    pub round_interval: Duration,
    /// How long a peer is remembered that nobody has heard of.
    pub peer_lifetime: Duration,
    /// Below so many connections others are made; so many stay open unused, those of the best peers.
    pub peers_min: usize,
    /// Above so many the worst are closed.
    pub peers_max: usize,
    /// How long to wait after a first failure; doubled with each.
    pub retry_min: Duration,
    /// How long to wait at most.
    pub retry_max: Duration,
    /// So many times a peer may misbehave.
    pub misbehaviours_max: u32,
    /// How long nobody has to do with it then.
    pub block_duration: Duration,
}

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The peer.
    pub peer: PeerId,
    /// Whether there is a connection.
    pub connected: bool,
    /// How long it takes to answer, smoothed, if it ever did.
    pub round_trip: Option<Duration>,
    /// How good it is, from 0 to 1: how often it answers, and how fast.
    pub quality: f64,
}

/// The state.
#[derive(Debug)]
pub struct Discovery {
    options: DiscoveryOptions,
    local: PeerId,
    peers: BTreeMap<PeerId, Known>,
    bootstrap: BTreeMap<SocketAddr, Retry>,
    dialling: BTreeMap<SocketAddr, Option<PeerId>>,
    blocked: BTreeMap<PeerId, Instant>,
    kept: BTreeSet<PeerId>,
    next_round: Instant,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    introduced_by: Option<PeerId>,
    connected: bool,
    since: Instant,
    heard: Instant,
    asked: Option<Instant>,
    quality: Quality,
    misbehaviours: u32,
    silences: u32,
    retry: Retry,
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    failures: u32,
    next: Instant,
}

impl Default for DiscoveryOptions {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            round_interval: Duration::from_secs(30),
            peer_lifetime: Duration::from_secs(300),
            peers_min: 10,
            peers_max: 100,
            retry_min: Duration::from_secs(2),
            retry_max: Duration::from_secs(300),
            misbehaviours_max: 3,
            block_duration: Duration::from_hours(1),
        }
    }
}

impl DiscoveryOptions {
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        if self.peers_min > self.peers_max {
            let reason = format!("it is above `peers_max`, which is {}", self.peers_max);
            return Err(StartError::Settings { field: "peers_min", reason });
        }
        if self.round_interval.is_zero() || self.retry_min.is_zero() {
            let reason = "rounds and retries take time".to_owned();
            return Err(StartError::Settings { field: "round_interval", reason });
        }
        Ok(())
    }
}

impl Discovery {
    /// Begins; the first [`Self::tick`] dials.
    pub fn new(local: PeerId, options: DiscoveryOptions, now: Instant) -> Self {
        let first = Retry { failures: 0, next: now };
        let bootstrap = options.bootstrap.iter().map(|address| (*address, first)).collect();
        Self {
            options,
            local,
            peers: BTreeMap::new(),
            bootstrap,
            dialling: BTreeMap::new(),
            blocked: BTreeMap::new(),
            kept: BTreeSet::new(),
            next_round: now,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Connected { peer, dialled } => self.connected(now, peer, dialled, &mut actions),
            Event::Disconnected { peer } => {
                self.kept.remove(&peer);
                if let Some(known) = self.peers.get_mut(&peer) {
                    (known.connected, known.heard) = (false, now);
                    known.retry.next = now + self.options.retry_min;
                }
                if self.connections() == 0 {
                    let local = self.local;
                    for retry in self.bootstrap.values_mut() {
                        retry.next = retry.next.min(now + drawn(ALONE_RETRY_MAX, local, retry.failures));
                    }
                }
            }
            Event::DialFailed { peer, addresses } => self.dial_failed(now, peer, &addresses),
            Event::Heard { peer, addresses, source } => self.heard(now, peer, addresses, source),
            Event::Answered { peer, round_trip } => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    (known.heard, known.silences) = (now, 0);
                    known.quality.answered(round_trip);
                }
            }
            Event::Unanswered { peer } => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.quality.unanswered();
                    known.silences += 1;
                    if known.connected && known.silences == SILENCES_MAX {
                        actions.push(Action::Disconnect { peer });
                    }
                }
            }
            Event::Misbehaved { peer } => self.misbehaved(now, peer, &mut actions),
        }
        self.fill(now, &mut actions);
        actions
    }

    /// Does what is due; at least once a second.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if now >= self.next_round {
            self.next_round = now + self.options.round_interval;
            self.round(now, &mut actions);
        }
        self.fill(now, &mut actions);
        actions
    }

    /// Gives what is known of every peer, the best first.
    pub fn standings(&self) -> Vec<Standing> {
        let mut standings: Vec<Standing> = self
            .peers
            .iter()
            .map(|(peer, known)| Standing {
                peer: *peer,
                connected: known.connected,
                round_trip: known.quality.round_trip(),
                quality: known.quality.score(),
            })
            .collect();
        standings.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        standings
    }

    /// Says whether this node has nothing to do with a peer at present.
    pub fn is_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.contains_key(peer)
    }

    fn connected(&mut self, now: Instant, peer: PeerId, dialled: Option<SocketAddr>, actions: &mut Vec<Action>) {
        let addresses: Vec<SocketAddr> = dialled.into_iter().collect();
        self.dialling.retain(|address, expected| *expected != Some(peer) && Some(*address) != dialled);
        if let Some(retry) = dialled.and_then(|address| self.bootstrap.get_mut(&address)) {
            *retry = Retry { failures: 0, next: now + self.options.round_interval };
        }
        let below = self.connections() < self.options.peers_min;
        let known = self.peers.entry(peer).or_insert_with(|| Known::new(now, addresses.clone(), None));
        if !known.connected {
            known.since = now;
        }
        (known.connected, known.heard, known.introduced_by, known.silences) = (true, now, None, 0);
        known.retry = Retry { failures: 0, next: now };
        if let Some(address) = dialled {
            known.addresses.retain(|other| *other != address);
            known.addresses.insert(0, address);
            known.addresses.truncate(super::ADDRESSES_PER_PEER_MAX);
        }
        if below {
            known.asked = Some(now);
            actions.push(Action::Ask { peer });
        }
        if self.kept.len() < self.options.peers_min && self.kept.insert(peer) {
            actions.push(Action::Keep { peer });
        }
        self.make_space(None);
        self.make_way(now, peer, actions);
    }

    /// Closes the oldest connection that is not kept when there are too many, so that lookups can always make new ones.
    fn make_way(&mut self, now: Instant, newcomer: PeerId, actions: &mut Vec<Action>) {
        if self.connections() <= self.options.peers_max {
            return;
        }
        let kept = &self.kept;
        let others = self.peers.iter_mut().filter(|(p, k)| k.connected && **p != newcomer && !kept.contains(*p));
        if let Some((peer, known)) = others.min_by_key(|(_, known)| known.since) {
            // Until it is gone, the next one is another's turn.
            known.since = now;
            actions.push(Action::Disconnect { peer: *peer });
        }
    }

    fn dial_failed(&mut self, now: Instant, peer: Option<PeerId>, addresses: &[SocketAddr]) {
        self.dialling.retain(|address, expected| !addresses.contains(address) && (peer.is_none() || *expected != peer));
        let (local, first, longest) = (self.local, self.options.retry_min, self.options.retry_max);
        let longest_of_bootstrap = if self.connections() == 0 { longest.min(ALONE_RETRY_MAX) } else { longest };
        for address in addresses {
            if let Some(retry) = self.bootstrap.get_mut(address) {
                retry.failed(now, local, first, longest_of_bootstrap);
            }
        }
        if let Some(known) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            known.retry.failed(now, local, first, longest);
            known.quality.unanswered();
        }
    }

    fn heard(&mut self, now: Instant, peer: PeerId, addresses: Vec<SocketAddr>, source: Source) {
        if peer == self.local || self.blocked.contains_key(&peer) || addresses.is_empty() {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            // Only the peer itself replaces what is known of it, and a rumour does not keep the dead alive.
            if source == Source::Itself {
                (known.addresses, known.heard) = (addresses, now);
            }
            return;
        }
        let introducer = match source {
            Source::Peer(by) => Some(by),
            Source::Itself | Source::LocalNetwork => None,
        };
        let introduced = self.peers.values().filter(|k| introducer.is_some() && k.introduced_by == introducer).count();
        if introduced < INTRODUCED_MAX && self.make_space(Some(peer)) {
            self.peers.insert(peer, Known::new(now, addresses, introducer));
        }
    }

    fn misbehaved(&mut self, now: Instant, peer: PeerId, actions: &mut Vec<Action>) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.misbehaviours += 1;
        if known.misbehaviours < self.options.misbehaviours_max {
            return;
        }
        self.peers.remove(&peer);
        self.kept.remove(&peer);
        self.blocked.insert(peer, now + self.options.block_duration);
        actions.push(Action::Block { peer });
        if self.blocked.len() > BLOCKED_MAX
            && let Some((first, _)) = self.blocked.iter().min_by_key(|(_, until)| **until).map(|(p, u)| (*p, *u))
        {
            self.blocked.remove(&first);
            actions.push(Action::Unblock { peer: first });
        }
    }

    fn round(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let lifetime = self.options.peer_lifetime;
        self.peers.retain(|_, known| known.connected || now.duration_since(known.heard) < lifetime);
        self.blocked.retain(|peer, until| {
            let over = *until <= now;
            if over {
                actions.push(Action::Unblock { peer: *peer });
            }
            !over
        });
        let mut best: Vec<(PeerId, f64, Option<Instant>)> =
            self.peers.iter().filter(|(_, k)| k.connected).map(|(p, k)| (*p, k.quality.score(), k.asked)).collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (peer, ..) in best.drain(best.len().min(self.options.peers_max)..) {
            actions.push(Action::Disconnect { peer });
        }
        self.keep_best(&best, actions);
        if !best.is_empty() && best.len() < self.options.peers_min {
            actions.push(Action::Walk);
        }
        best.sort_by_key(|(_, _, asked)| *asked);
        for (peer, ..) in best.into_iter().take(ASKED_PER_ROUND) {
            self.peers.entry(peer).and_modify(|known| known.asked = Some(now));
            actions.push(Action::Ask { peer });
        }
    }

    fn keep_best(&mut self, best: &[(PeerId, f64, Option<Instant>)], actions: &mut Vec<Action>) {
        let keep: BTreeSet<PeerId> = best.iter().take(self.options.peers_min).map(|(peer, ..)| *peer).collect();
        actions.extend(self.kept.difference(&keep).map(|peer| Action::Release { peer: *peer }));
        actions.extend(keep.difference(&self.kept).map(|peer| Action::Keep { peer: *peer }));
        self.kept = keep;
    }

    /// Dials until there are enough connections or nobody is left to try.
    fn fill(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while self.connections() + self.dialling.len() < self.options.peers_min && self.dialling.len() < DIALS_MAX {
            let Some((peer, addresses)) = self.candidate(now) else { return };
            self.dialling.extend(addresses.iter().map(|address| (*address, peer)).take(1));
            actions.push(Action::Dial { peer, addresses });
        }
    }

    /// Chooses whom to dial: the best peer that is known, else a bootstrap address nobody was found at.
    fn candidate(&mut self, now: Instant) -> Option<(Option<PeerId>, Vec<SocketAddr>)> {
        let waiting = |peer: &PeerId, dialling: &BTreeMap<SocketAddr, Option<PeerId>>| {
            dialling.values().any(|expected| *expected == Some(*peer))
        };
        let ready = self.peers.iter().filter(|(peer, known)| {
            !known.connected && known.retry.next <= now && !known.addresses.is_empty() && !waiting(peer, &self.dialling)
        });
        let best = ready.max_by(|a, b| a.1.quality.score().total_cmp(&b.1.quality.score())).map(|(peer, _)| *peer);
        if let Some(peer) = best {
            let known = self.peers.get_mut(&peer)?;
            known.retry.next = now + self.options.retry_min;
            return Some((Some(peer), known.addresses.clone()));
        }
        let here: BTreeSet<SocketAddr> =
            self.peers.values().filter(|known| known.connected).flat_map(|known| known.addresses.clone()).collect();
        let (address, retry) = self
            .bootstrap
            .iter_mut()
            .find(|(a, retry)| retry.next <= now && !here.contains(a) && !self.dialling.contains_key(a))?;
        retry.next = now + self.options.retry_min;
        Some((None, vec![*address]))
    }

    /// Forgets the worst peer without a connection if there are too many; says whether there is room for a newcomer.
    fn make_space(&mut self, newcomer: Option<PeerId>) -> bool {
        if self.peers.len() + usize::from(newcomer.is_some()) <= REMEMBERED_MAX {
            return true;
        }
        let idle = self.peers.iter().filter(|(_, known)| !known.connected);
        let worst = idle.min_by(|a, b| a.1.quality.score().total_cmp(&b.1.quality.score())).map(|(peer, _)| *peer);
        worst.is_some_and(|worst| self.peers.remove(&worst).is_some())
    }

    fn connections(&self) -> usize {
        self.peers.values().filter(|known| known.connected).count()
    }
}

impl Known {
    fn new(now: Instant, addresses: Vec<SocketAddr>, introduced_by: Option<PeerId>) -> Self {
        Self {
            addresses,
            introduced_by,
            connected: false,
            since: now,
            heard: now,
            asked: None,
            quality: Quality::default(),
            misbehaviours: 0,
            silences: 0,
            retry: Retry { failures: 0, next: now },
        }
    }
}

impl Retry {
    /// Waits twice as long as the last time, less a part of the second half of it that is each node's own: nodes that failed
    /// together, as when they start together, do not come again together.
    fn failed(&mut self, now: Instant, local: PeerId, first: Duration, longest: Duration) {
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        *self = Self { failures: self.failures.saturating_add(1), next: now + drawn(wait, local, self.failures) };
    }
}

/// Gives from half of a time to all of it, as a node draws it for its n-th failure in a row.
fn drawn(longest: Duration, local: PeerId, failures: u32) -> Duration {
    let hash = blake3::Hasher::new().update(&local.to_bytes()).update(&failures.to_le_bytes()).finalize();
    let lot = u32::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
    longest - longest.mul_f64(f64::from(lot) / f64::from(u32::MAX) / 2.0)
}
