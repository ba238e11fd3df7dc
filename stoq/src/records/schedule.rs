//! When to synchronise with whom: on connecting, every half minute with whomever it was longest ago, and at once for what is
//! announced. It reads no clock and opens no stream: it is told what happened and answers what to do.
//!
//! A peer that breaks the rules is asked later and later, and in the end not at all for an hour. Nothing here stops such a peer
//! from opening sessions itself; the service asks [`Schedule::is_banned`].

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::Outcome;
use super::item::RecordId;
use super::limits::UNSERVED_MAX;

/// When to synchronise with whom.
#[derive(Debug)]
pub struct Schedule {
    own: PeerId,
    peers: HashMap<PeerId, Peer>,
    /// Ids that were announced and are not here.
    announced: BTreeMap<RecordId, Announced>,
    next_round: Instant,
    /// How many times somebody was chosen.
    choices: u64,
    running: usize,
}

#[derive(Debug)]
struct Peer {
    is_connected: bool,
    is_busy: bool,
    /// A session is due without waiting for the next round.
    is_due: bool,
    /// The choice that fell on it last; the least is the longest ago.
    last_choice: u64,
    /// Sessions that failed since one did not.
    failures: u32,
    /// What it did wrong, less what it did right since.
    faults: u32,
    not_before: Instant,
    banned_until: Option<Instant>,
}

#[derive(Debug)]
struct Announced {
    at: Instant,
    /// Who told of it; asked first.
    announcers: Vec<PeerId>,
    /// Who did not have it, since everybody was asked anew.
    asked: Vec<PeerId>,
    is_asked: bool,
    tries: u32,
    not_before: Instant,
}

impl Announced {
    fn is_open(&self, now: Instant) -> bool {
        !self.is_asked && now >= self.not_before
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bring the sets into line.
    Synchronise {
        /// With whom.
        peer: PeerId,
    },
    /// Fetch records that were announced.
    Fetch {
        /// From whom.
        peer: PeerId,
        /// Which, at most as many as may stay unserved.
        ids: Vec<RecordId>,
    },
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The session went to its end.
    Finished(Outcome),
    /// There was no session, or the peer left it, or this node could not.
    Failed,
    /// The peer broke the rules.
    Misbehaved,
}

impl Schedule {
    /// Begins without peers.
    pub fn new(now: Instant, own: PeerId) -> Self {
        Self {
            own,
            peers: HashMap::new(),
            announced: BTreeMap::new(),
            next_round: now + ROUND_INTERVAL,
            choices: 0,
            running: 0,
        }
    }

    /// A peer can be reached. A session brings both into line, so the one with the lesser id leads it.
    pub fn connected(&mut self, now: Instant, id: PeerId) {
        let leads = self.own < id;
        if let Some(peer) = self.remembered(now, id) {
            peer.is_due |= leads && !peer.is_connected;
            peer.is_connected = true;
        }
    }

    /// A peer cannot be reached any more. What it did wrong is remembered until it is forgiven.
    pub fn disconnected(&mut self, now: Instant, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.is_connected = false;
            self.forget_if_done(now, id);
        }
    }

    /// A peer says to have records that are not here. More than [`ANNOUNCED_MAX`] at once are left to a session with it.
    pub fn announced(&mut self, now: Instant, from: PeerId, ids: &[RecordId]) {
        if self.is_banned(now, from) {
            return;
        }
        for id in ids {
            if self.announced.len() >= ANNOUNCED_MAX && !self.announced.contains_key(id) {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.is_due = true;
                }
                return;
            }
            let announced = self.announced.entry(*id).or_insert_with(|| Announced {
                at: now,
                announcers: Vec::new(),
                asked: Vec::new(),
                is_asked: false,
                tries: 0,
                not_before: now,
            });
            if announced.announcers.len() < SOURCES_MAX && !announced.announcers.contains(&from) {
                announced.announcers.push(from);
            }
        }
    }

    /// Records came by another way.
    pub fn arrived(&mut self, ids: &[RecordId]) {
        for id in ids {
            self.announced.remove(id);
        }
    }

    /// An action ended; `lacking` are those of its ids that are still not here.
    pub fn ended(&mut self, now: Instant, action: &Action, ending: Ending, lacking: &[RecordId]) {
        self.running = self.running.saturating_sub(1);
        let (id, answers_for) = match action {
            Action::Synchronise { peer } => (*peer, true),
            Action::Fetch { peer, ids } => {
                let answers_for = lacking.iter().any(|id| self.must_have(id, *peer));
                self.fetched(now, ids, lacking);
                (*peer, answers_for)
            }
        };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.is_busy = false;
        peer.judge(now, ending, answers_for);
        if ending == Ending::Failed && matches!(action, Action::Synchronise { .. }) {
            peer.is_due = true;
        }
        self.forget_if_done(now, id);
    }

    /// Gives the next thing to do now, or nothing.
    pub fn next_action(&mut self, now: Instant) -> Option<Action> {
        if self.running >= RUNNING_MAX {
            return None;
        }
        self.announced.retain(|_, one| one.is_asked || now < one.at + ANNOUNCED_FOR);
        let action = self.next_fetch(now).or_else(|| self.next_due(now)).or_else(|| self.next_in_round(now))?;
        let (Action::Synchronise { peer } | Action::Fetch { peer, .. }) = &action;
        self.choices += 1;
        self.running += 1;
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.is_busy = true;
            peer.last_choice = self.choices;
        }
        Some(action)
    }

    /// Gives when [`Schedule::next_action`] is to be asked again, unless something happens before.
    pub fn wake_at(&self, now: Instant) -> Instant {
        if self.running >= RUNNING_MAX {
            return now + ROUND_INTERVAL;
        }
        let due = self.peers.values().filter(|peer| peer.is_connected && !peer.is_busy && peer.is_due);
        // What is announced waits for its time, and for somebody who can be asked.
        let announced = self.announced.values().map(|one| one.not_before);
        let askable = self.peers.values().filter(|peer| peer.is_connected && !self.announced.is_empty());
        let later = announced.chain(askable.map(Peer::ready_at)).filter(|at| *at > now);
        due.map(Peer::ready_at).chain(later).chain([self.next_round]).min().unwrap_or(self.next_round)
    }

    /// Tells whether a peer is not to be dealt with at all.
    pub fn is_banned(&self, now: Instant, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.is_banned(now))
    }

    /// A peer that opened a session with this node ended it so.
    pub fn served(&mut self, now: Instant, id: PeerId, ending: Ending) {
        if let Some(peer) = self.remembered(now, id) {
            peer.judge(now, ending, true);
            self.forget_if_done(now, id);
        }
    }

    /// Gives what is known of a peer, making room among those that are gone; nothing if all of [`PEERS_MAX`] are here.
    fn remembered(&mut self, now: Instant, id: PeerId) -> Option<&mut Peer> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&id) {
            let gone = self.peers.iter().filter(|(_, peer)| !peer.is_connected && !peer.is_busy);
            let (least, _) = gone.min_by_key(|(_, peer)| (peer.banned_until, peer.faults))?;
            let least = *least;
            self.peers.remove(&least);
        }
        Some(self.peers.entry(id).or_insert(Peer {
            is_connected: false,
            is_busy: false,
            is_due: false,
            last_choice: 0,
            failures: 0,
            faults: 0,
            not_before: now,
            banned_until: None,
        }))
    }

    fn forget_if_done(&mut self, now: Instant, id: PeerId) {
        let is_done = |peer: &Peer| !peer.is_connected && !peer.is_busy && peer.faults == 0 && !peer.is_banned(now);
        if self.peers.get(&id).is_some_and(is_done) {
            self.peers.remove(&id);
        }
    }

    /// Announcements travel faster than records: who passes one on may fetch the record itself, and has it in the end.
    fn must_have(&self, id: &RecordId, peer: PeerId) -> bool {
        let announced = self.announced.get(id);
        announced.is_some_and(|announced| announced.announcers.contains(&peer) && announced.tries >= BLAMED_FROM)
    }

    fn fetched(&mut self, now: Instant, ids: &[RecordId], lacking: &[RecordId]) {
        let connected = self.peers.values().filter(|peer| peer.is_connected).count();
        for id in ids {
            let Some(announced) = self.announced.get_mut(id) else { continue };
            announced.tries += 1;
            if !lacking.contains(id) || announced.tries >= TRIES_MAX {
                self.announced.remove(id);
                continue;
            }
            announced.is_asked = false;
            announced.not_before = now + RETRY.saturating_mul(1 << announced.tries.min(16)).min(RETRY_MAX);
            if announced.asked.len() >= SOURCES_MAX.min(connected) {
                announced.asked.clear();
            }
        }
    }

    /// Takes what one peer can be asked for: the one that announced most of it, else anybody.
    fn next_fetch(&mut self, now: Instant) -> Option<Action> {
        let ready: Vec<PeerId> = self.in_order(|peer| peer.is_ready(now));
        let open: Vec<(&RecordId, &Announced)> = self.announced.iter().filter(|(_, one)| one.is_open(now)).collect();
        let askable = |peer: &PeerId, one: &Announced| !one.asked.contains(peer);
        let announcer = open
            .iter()
            .find_map(|(_, one)| ready.iter().find(|peer| one.announcers.contains(peer) && askable(peer, one)));
        let anybody = || open.iter().find_map(|(_, one)| ready.iter().find(|peer| askable(peer, one)));
        let peer = *announcer.or_else(anybody)?;
        let is_announcer = announcer.is_some();
        let ids: Vec<RecordId> = open
            .iter()
            .filter(|(_, one)| askable(&peer, one) && one.announcers.contains(&peer) == is_announcer)
            .take(UNSERVED_MAX as usize)
            .map(|(id, _)| **id)
            .collect();
        for id in &ids {
            if let Some(announced) = self.announced.get_mut(id) {
                announced.is_asked = true;
                announced.asked.push(peer);
            }
        }
        Some(Action::Fetch { peer, ids })
    }

    fn next_due(&mut self, now: Instant) -> Option<Action> {
        let peer = *self.in_order(|peer| peer.is_due && peer.is_ready(now)).first()?;
        self.peers.get_mut(&peer)?.is_due = false;
        Some(Action::Synchronise { peer })
    }

    fn next_in_round(&mut self, now: Instant) -> Option<Action> {
        if now < self.next_round {
            return None;
        }
        self.next_round = now + ROUND_INTERVAL;
        let peer = *self.in_order(|peer| peer.is_ready(now)).first()?;
        Some(Action::Synchronise { peer })
    }

    /// Gives peers, that of the longest ago first; among equals the order is this node's own.
    fn in_order(&self, which: impl Fn(&Peer) -> bool) -> Vec<PeerId> {
        let mut peers: Vec<(u64, [u8; 32], PeerId)> = self
            .peers
            .iter()
            .filter(|(_, peer)| which(peer))
            .map(|(id, peer)| (peer.last_choice, self.lot(id), *id))
            .collect();
        peers.sort_unstable();
        peers.into_iter().map(|(_, _, id)| id).collect()
    }

    fn lot(&self, peer: &PeerId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.own.to_bytes()).update(&peer.to_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl Peer {
    fn is_banned(&self, now: Instant) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.is_connected && !self.is_busy && now >= self.ready_at()
    }

    fn ready_at(&self) -> Instant {
        self.banned_until.map_or(self.not_before, |until| until.max(self.not_before))
    }

    fn judge(&mut self, now: Instant, ending: Ending, answers_for: bool) {
        let fault = match ending {
            Ending::Finished(outcome) if outcome.refused > 0 || (answers_for && outcome.unserved > 0) => FAULT,
            Ending::Finished(outcome) => {
                self.failures = 0;
                self.is_due |= !outcome.is_complete && outcome.accepted > 0;
                0
            }
            Ending::Failed => {
                self.failures += 1;
                0
            }
            Ending::Misbehaved => FAULT_OF_PROTOCOL,
        };
        if fault > 0 {
            self.failures += 1;
        } else if matches!(ending, Ending::Finished(outcome) if outcome.unserved == 0) {
            self.faults = self.faults.saturating_sub(FORGIVEN);
        }
        self.faults += fault;
        if self.faults >= FAULTS_MAX {
            self.faults = 0;
            self.banned_until = Some(now + BAN);
        }
        self.not_before = now + back_off(self.failures);
    }
}

/// Doubles from one second.
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    if failures == 0 { Duration::ZERO } else { BACK_OFF.saturating_mul(1 << doublings).min(BACK_OFF_MAX) }
}

/// How often some peer is synchronised with.
pub const ROUND_INTERVAL: Duration = Duration::from_secs(30);
/// How many actions run at the same time.
pub const RUNNING_MAX: usize = 4;
/// How many peers are remembered.
pub const PEERS_MAX: usize = 256;
/// How many announced ids wait.
pub const ANNOUNCED_MAX: usize = 1024;
/// How long an announced id waits for somebody to ask; sessions find it afterwards.
pub const ANNOUNCED_FOR: Duration = Duration::from_secs(60);
/// How many announcers of one id are remembered, and how many peers are asked before they are asked anew.
pub const SOURCES_MAX: usize = 3;
/// How often somebody is asked for one announced id before it is left to sessions.
pub const TRIES_MAX: u32 = 9;
/// After so many tries, which is some five seconds, who passed an announcement on is blamed for not having the record.
const BLAMED_FROM: u32 = TRIES_MAX - SOURCES_MAX as u32;
/// How long is waited before the first of these but one; then twice as long each time.
const RETRY: Duration = Duration::from_millis(50);
/// How long at most.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How long the first failure keeps a peer from being asked.
pub const BACK_OFF: Duration = Duration::from_secs(1);
/// How long many failures do.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// From how many faults a peer is banned.
pub const FAULTS_MAX: u32 = 8;
/// How long.
pub const BAN: Duration = Duration::from_secs(3600);
/// Sent a wrong record, or did not serve one that it named: may be an accident.
const FAULT: u32 = 2;
/// Sent what no correct node sends.
const FAULT_OF_PROTOCOL: u32 = 4;
/// What a session without faults takes back: less than a fault, so that one in every other session leads to the ban.
const FORGIVEN: u32 = 1;
