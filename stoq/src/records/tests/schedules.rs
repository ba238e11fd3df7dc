//! The schedule alone, and sixteen nodes of it over partitions, on simulated time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use libp2p::identity::Keypair;

use super::*;
use crate::records::schedule::{
    ANNOUNCED_FOR, ANNOUNCED_MAX, Action, BAN, Ending, FAULTS_MAX, PEERS_MAX, ROUND_INTERVAL, RUNNING_MAX, SOURCES_MAX,
    TRIES_MAX,
};

const SECOND: Duration = Duration::from_secs(1);

/// The same peer for the same number, in the order of numbers for small ones.
fn peers(count: u32) -> Vec<PeerId> {
    let peer = |number: u32| {
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        Keypair::ed25519_from_bytes(seed).expect("is a seed").public().to_peer_id()
    };
    let mut peers: Vec<PeerId> = (0..count).map(peer).collect();
    peers.sort();
    peers
}

/// A schedule of the least of so many peers, to which the others are connected.
fn schedule(count: u32) -> (Schedule, Vec<PeerId>, Instant) {
    let (now, mut peers) = (Instant::now(), peers(count));
    let mut schedule = Schedule::new(now, peers.remove(0));
    peers.iter().for_each(|peer| schedule.connected(now, *peer));
    (schedule, peers, now)
}

fn done() -> Ending {
    Ending::Finished(Outcome { is_complete: true, ..Outcome::default() })
}

fn peer_of(action: &Action) -> PeerId {
    let (Action::Synchronise { peer } | Action::Fetch { peer, .. }) = action;
    *peer
}

/// Ends every action well until there is none.
fn settle(schedule: &mut Schedule, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| {
        let action = schedule.next_action(now)?;
        schedule.ended(now, &action, done(), &[]);
        Some(action)
    })
    .collect()
}

#[test]
fn everybody_is_synchronised_with_on_connecting_and_in_turn_afterwards() {
    let (mut schedule, peers, now) = schedule(6);
    let at_once: BTreeSet<PeerId> = settle(&mut schedule, now).iter().map(peer_of).collect();
    assert_eq!(at_once, peers.iter().copied().collect());
    assert_eq!(schedule.wake_at(now), now + ROUND_INTERVAL);
    let mut met = BTreeSet::new();
    for round in 1..=5 {
        let actions = settle(&mut schedule, now + ROUND_INTERVAL * round);
        assert_eq!(actions.len(), 1);
        met.extend(actions.iter().map(peer_of));
    }
    assert_eq!(met, at_once, "five rounds meet five peers");
}

#[test]
fn of_two_nodes_that_connect_one_leads() {
    let (now, peers) = (Instant::now(), peers(2));
    let led = [(0, 1), (1, 0)].map(|(own, other)| {
        let mut schedule = Schedule::new(now, peers[own]);
        schedule.connected(now, peers[other]);
        settle(&mut schedule, now).len()
    });
    assert_eq!(led, [1, 0]);
}

#[test]
fn so_many_sessions_run_at_once() {
    let (mut schedule, _, now) = schedule(10);
    let running: Vec<Action> = std::iter::from_fn(|| schedule.next_action(now)).collect();
    assert_eq!(running.len(), RUNNING_MAX);
    assert_eq!(running.iter().map(peer_of).collect::<BTreeSet<_>>().len(), RUNNING_MAX, "each with another peer");
    assert!(schedule.wake_at(now) > now, "nothing is to be done until one ends");
    schedule.ended(now, &running[0], done(), &[]);
    assert!(schedule.next_action(now).is_some());
}

#[test]
fn what_is_announced_is_fetched_from_the_announcer_then_from_others_and_then_left() {
    let (mut schedule, peers, now) = schedule(6);
    settle(&mut schedule, now);
    let id = RecordId([1; 32]);
    schedule.announced(now, peers[2], &[id]);
    let unserved = Ending::Finished(Outcome { unserved: 1, is_complete: true, ..Outcome::default() });
    let (mut asked, mut at) = (Vec::new(), now);
    while at < now + SECOND * 20 {
        while let Some(action) = schedule.next_action(at) {
            assert!(matches!(&action, Action::Fetch { ids, .. } if *ids == [id]), "{action:?}");
            asked.push(peer_of(&action));
            schedule.ended(at, &action, unserved, &[id]);
        }
        at = schedule.wake_at(at);
    }
    assert_eq!(asked.len(), TRIES_MAX as usize);
    for turn in asked.chunks(SOURCES_MAX) {
        assert_eq!(turn[0], peers[2], "who told of it is the likeliest to have it");
        assert_eq!(turn.iter().collect::<BTreeSet<_>>().len(), SOURCES_MAX, "each is asked once");
    }
    assert!(!schedule.is_banned(at, peers[2]), "it may have passed on what it never got");

    schedule.announced(now + SECOND * 20, peers[1], &[id]);
    let action = schedule.next_action(now + SECOND * 20).expect("it is announced again");
    schedule.ended(now + SECOND * 20, &action, done(), &[]);
    assert_eq!(schedule.next_action(now + SECOND * 20), None, "it came");
}

#[test]
fn too_many_announcements_lead_to_a_session() {
    let (mut schedule, peers, now) = schedule(3);
    settle(&mut schedule, now);
    let ids: Vec<RecordId> = (0..=ANNOUNCED_MAX).map(|number| RecordId::of(&number.to_le_bytes())).collect();
    schedule.announced(now, peers[0], &ids);
    let actions = settle(&mut schedule, now);
    let fetched = actions.iter().filter(|action| matches!(action, Action::Fetch { .. })).count();
    assert_eq!(fetched, ANNOUNCED_MAX.div_ceil(UNSERVED_MAX as usize));
    assert!(actions.contains(&Action::Synchronise { peer: peers[0] }));

    // What nobody can be asked for goes by itself.
    schedule.disconnected(now, peers[0]);
    schedule.disconnected(now, peers[1]);
    schedule.announced(now, peers[0], &ids[..1]);
    schedule.connected(now + ANNOUNCED_FOR, peers[1]);
    let actions = settle(&mut schedule, now + ANNOUNCED_FOR);
    assert!(actions.iter().all(|action| *action == Action::Synchronise { peer: peers[1] }), "{actions:?}");
    assert!(!actions.is_empty());
}

#[test]
fn failures_are_waited_for_longer_and_longer() {
    let (mut schedule, _, mut now) = schedule(2);
    let mut waits = Vec::new();
    for _ in 0..12 {
        let action = schedule.next_action(now).expect("is due");
        schedule.ended(now, &action, Ending::Failed, &[]);
        assert_eq!(schedule.next_action(now), None);
        let wake = (1..).map(|seconds| now + SECOND * seconds).find(|at| schedule.next_action(*at).is_some());
        let at = wake.expect("is tried again");
        waits.push((at - now).as_secs());
        schedule.ended(at, &action, Ending::Failed, &[]);
        now = at + SECOND * 300;
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!((waits[0], waits[11]), (1, 300));
}

#[test]
fn who_breaks_the_rules_is_banned_for_a_time() {
    let unserved = Ending::Finished(Outcome { unserved: 1, ..Outcome::default() });
    let refused = Ending::Finished(Outcome { refused: 1, ..Outcome::default() });
    for (ending, sessions) in [(Ending::Misbehaved, 2), (unserved, 4), (refused, 4)] {
        let (mut schedule, peers, mut now) = schedule(2);
        for session in 0..sessions {
            assert!(!schedule.is_banned(now, peers[0]), "after {session} of {ending:?}");
            now += ROUND_INTERVAL;
            let action = schedule.next_action(now).expect("is due");
            schedule.ended(now, &action, ending, &[]);
        }
        assert!(schedule.is_banned(now, peers[0]), "after {sessions} of {ending:?}");
        schedule.announced(now, peers[0], &[RecordId([1; 32])]);
        assert_eq!(schedule.next_action(now + ROUND_INTERVAL), None);
        schedule.disconnected(now, peers[0]);
        schedule.connected(now + SECOND, peers[0]);
        assert!(schedule.is_banned(now + SECOND, peers[0]), "it cannot come back under the same name");
        assert!(!schedule.is_banned(now + BAN, peers[0]));
        assert!(schedule.next_action(now + BAN).is_some());
    }
}

#[test]
fn who_serves_what_others_announced_is_not_blamed_for_lacking_it() {
    let (mut schedule, peers, now) = schedule(3);
    settle(&mut schedule, now);
    let unserved = Ending::Finished(Outcome { unserved: 1, is_complete: true, ..Outcome::default() });
    for number in 0..FAULTS_MAX as u8 {
        let id = RecordId([number; 32]);
        schedule.announced(now, PeerId::random(), &[id]);
        while let Some(action) = schedule.next_action(now) {
            schedule.ended(now, &action, unserved, &[id]);
        }
    }
    assert!(peers.iter().all(|peer| !schedule.is_banned(now, *peer)));
}

#[test]
fn the_only_peer_is_asked_again_after_a_failure_in_passing() {
    let (mut schedule, peers, now) = schedule(2);
    settle(&mut schedule, now);
    let id = RecordId([1; 32]);
    schedule.announced(now, peers[0], &[id]);
    let action = schedule.next_action(now).expect("somebody has it");
    schedule.ended(now, &action, Ending::Failed, &[id]);
    let mut at = now;
    let again = loop {
        at = schedule.wake_at(at);
        if let Some(again) = schedule.next_action(at) {
            break again;
        }
    };
    assert!(at < now + SECOND * 2, "it does not wait for a round");
    assert_eq!(again, action);
}

#[test]
fn who_announces_what_it_never_has_is_banned() {
    let (mut schedule, peers, now) = schedule(6);
    settle(&mut schedule, now);
    let unserved = Ending::Finished(Outcome { unserved: 1, is_complete: true, ..Outcome::default() });
    let mut at = now;
    for number in 0..2 * FAULTS_MAX as u8 {
        schedule.announced(at, peers[2], &[RecordId([number; 32])]);
        while let Some(action) = schedule.next_action(at) {
            let Action::Fetch { ids, .. } = &action else {
                schedule.ended(at, &action, done(), &[]);
                continue;
            };
            schedule.ended(at, &action, unserved, &ids.clone());
        }
        at = schedule.wake_at(at) + SECOND * 2;
    }
    assert!(schedule.is_banned(at, peers[2]));
    assert!(peers.iter().all(|peer| *peer == peers[2] || !schedule.is_banned(at, *peer)));
}

#[test]
fn only_so_many_peers_are_remembered() {
    let count = PEERS_MAX as u32;
    let (mut schedule, known, now) = schedule(count + 1);
    let strangers = peers(count + 11).split_off(PEERS_MAX + 1);
    let stranger = *strangers.iter().find(|peer| !known.contains(peer)).expect("there are ten more");
    schedule.served(now, stranger, Ending::Misbehaved);
    schedule.served(now, stranger, Ending::Misbehaved);
    assert!(!schedule.is_banned(now, stranger), "all are connected, there is no room");
    schedule.served(now, known[0], Ending::Failed);
    schedule.disconnected(now, known[0]);
    schedule.served(now, stranger, Ending::Misbehaved);
    schedule.served(now, stranger, Ending::Misbehaved);
    assert!(schedule.is_banned(now, stranger), "a gone one made room");
}

#[test]
fn sixteen_nodes_converge_after_partitions() {
    for seed in 0..16 {
        Network::new(seed).run();
    }
}

/// Nodes that are told of each other, sessions that take time and are cut by partitions, announcements that get lost.
struct Network {
    seed: u64,
    state: u64,
    now: Instant,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(Instant, u64, What)>>,
    queued: u64,
    inserted: u64,
}

struct Node {
    peer: PeerId,
    schedule: Schedule,
    set: Arc<dyn RecordSet>,
    memory: Option<Arc<MemorySet>>,
    side: u64,
    wake: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake { node: usize },
    End { node: usize, with: usize, fetched: Option<Vec<RecordId>> },
    Announced { node: usize, from: usize, id: RecordId },
    Insert,
    Partition,
}

impl Network {
    const NODES: usize = 16;
    /// Claims records that it does not serve.
    const LIAR: usize = 15;
    const TROUBLE: Duration = Duration::from_secs(600);
    /// Five rounds: what was announced last got lost for a third of the nodes, and each round brings each node together with
    /// another one.
    const HEALED: Duration = Duration::from_secs(150);

    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let nodes = peers(Self::NODES as u32).into_iter().enumerate().map(|(index, peer)| {
            let memory = (index != Self::LIAR).then(|| set_of(0..0));
            let set: Arc<dyn RecordSet> = match &memory {
                Some(memory) => memory.clone(),
                None => Arc::new(Liar { claims: 100 }),
            };
            Node { peer, schedule: Schedule::new(now, peer), set, memory, side: 0, wake: None }
        });
        let nodes = nodes.collect();
        Self { seed, state: seed, now, nodes, queue: BinaryHeap::new(), queued: 0, inserted: 0 }
    }

    fn run(mut self) {
        let begin = self.now;
        self.connect();
        self.later(SECOND, What::Insert);
        self.later(SECOND * 20, What::Partition);
        self.work_until(begin + Self::TROUBLE);
        self.queue.retain(|Reverse((_, _, what))| !matches!(what, What::Insert | What::Partition));
        self.nodes.iter_mut().for_each(|node| node.side = 0);
        self.connect();
        self.work_until(begin + Self::TROUBLE + Self::HEALED);
        let seed = self.seed;
        for node in self.nodes.iter().filter_map(|node| node.memory.as_ref()) {
            assert_eq!(ids(node).len() as u64, self.inserted, "seed {seed}: a node lacks records after the heal");
        }
        let liar = self.nodes[Self::LIAR].peer;
        let mut correct = self.nodes.iter().filter(|node| node.memory.is_some());
        assert!(correct.all(|node| node.schedule.is_banned(self.now, liar)), "seed {seed}: the liar is believed");
    }

    fn work_until(&mut self, end: Instant) {
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            if at > end {
                self.queue.push(Reverse((at, 0, what)));
                break;
            }
            self.now = at;
            match what {
                What::Wake { node } => {
                    self.nodes[node].wake.take_if(|wake| *wake <= at);
                    self.act(node);
                }
                What::End { node, with, fetched } => self.end(node, with, fetched),
                What::Announced { node, from, id } => {
                    if !self.nodes[node].set.lacking(&[id]).expect("is in memory").is_empty() {
                        let from = self.nodes[from].peer;
                        self.nodes[node].schedule.announced(at, from, &[id]);
                        self.act(node);
                    }
                }
                What::Insert => self.insert(),
                What::Partition => {
                    let sides = 1 + self.random(4);
                    for node in 0..Self::NODES {
                        self.nodes[node].side = self.random(sides);
                    }
                    self.connect();
                    let next = SECOND * (5 + self.random(40)) as u32;
                    self.later(next, What::Partition);
                }
            }
        }
        self.now = end;
    }

    /// Tells everybody who can be reached.
    fn connect(&mut self) {
        let sides: Vec<(PeerId, u64)> = self.nodes.iter().map(|node| (node.peer, node.side)).collect();
        for node in 0..Self::NODES {
            let Node { peer, schedule, side, .. } = &mut self.nodes[node];
            for (other, _) in sides.iter().filter(|(other, _)| other != peer) {
                if sides.contains(&(*other, *side)) {
                    schedule.connected(self.now, *other);
                } else {
                    schedule.disconnected(self.now, *other);
                }
            }
            self.act(node);
        }
    }

    fn act(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].schedule.next_action(self.now) {
            let with = self.nodes.iter().position(|node| node.peer == peer_of(&action)).expect("is one of them");
            let fetched = match action {
                Action::Fetch { ids, .. } => Some(ids),
                Action::Synchronise { .. } => None,
            };
            let takes = Duration::from_millis(10 + self.random(500));
            self.later(takes, What::End { node, with, fetched });
        }
        let wake = self.nodes[node].schedule.wake_at(self.now).max(self.now + Duration::from_millis(50));
        if self.nodes[node].wake.is_none_or(|pending| wake < pending) {
            self.nodes[node].wake = Some(wake);
            self.later(wake - self.now, What::Wake { node });
        }
    }

    fn end(&mut self, node: usize, with: usize, fetched: Option<Vec<RecordId>>) {
        let (led, served) = if self.nodes[node].side == self.nodes[with].side && self.random(10) > 0 {
            self.session(node, with, fetched.clone())
        } else {
            (Ending::Failed, Ending::Failed)
        };
        let peer = self.nodes[with].peer;
        let lacking = self.nodes[node].set.lacking(fetched.as_deref().unwrap_or_default()).expect("is in memory");
        let action = match fetched {
            Some(ids) => Action::Fetch { peer, ids },
            None => Action::Synchronise { peer },
        };
        self.nodes[node].schedule.ended(self.now, &action, led, &lacking);
        let leader = self.nodes[node].peer;
        self.nodes[with].schedule.served(self.now, leader, served);
        self.act(node);
        self.act(with);
    }

    fn session(&self, node: usize, with: usize, fetched: Option<Vec<RecordId>>) -> (Ending, Ending) {
        let (node, with) = (&self.nodes[node], &self.nodes[with]);
        if with.schedule.is_banned(self.now, node.peer) {
            return (Ending::Failed, Ending::Failed);
        }
        let leader = match fetched {
            Some(ids) => Leader::fetch(node.set.clone(), with.peer, ids),
            None => Leader::synchronise(node.set.clone(), with.peer, [1; 32], &Mode::Differential),
        };
        let leader = leader.expect("begins");
        let follower = Follower::new(with.set.clone(), node.peer, [2; 32], leader.opening()).expect("answers");
        run_both(leader, follower)
    }

    /// A correct node adds a record and announces it; a third of what it sends gets lost.
    fn insert(&mut self) {
        let node = self.random(Self::LIAR as u64) as usize;
        let record = plain(self.inserted);
        let id = RecordId::of(&record);
        self.inserted += 1;
        let memory = self.nodes[node].memory.as_ref().expect("is no liar");
        assert_eq!(memory.insert(record), Verdict::Accepted);
        for other in 0..Self::NODES {
            if other != node && self.nodes[other].side == self.nodes[node].side && self.random(3) > 0 {
                let takes = Duration::from_millis(1 + self.random(100));
                self.later(takes, What::Announced { node: other, from: node, id });
            }
        }
        let next = Duration::from_millis(500 + self.random(5000));
        self.later(next, What::Insert);
    }

    fn later(&mut self, after: Duration, what: What) {
        self.queued += 1;
        self.queue.push(Reverse((self.now + after, self.queued, what)));
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state += 1;
        let word = blake3::hash(&[self.seed.to_le_bytes(), self.state.to_le_bytes()].concat());
        u64::from_le_bytes(*word.as_bytes().first_chunk().expect("has 32 bytes")) % below
    }
}

/// Runs a session until it ends or one side is at fault; tells both how the other one did.
fn run_both(mut leader: Leader, mut follower: Follower) -> (Ending, Ending) {
    let judged = |error: &SessionError| if error.is_misbehaviour() { Ending::Misbehaved } else { Ending::Failed };
    while !follower.is_finished() {
        while let Some(frame) = leader.next_frame().expect("can be read") {
            if let Err(error) = follower.receive(&frame[4..]) {
                return (Ending::Failed, judged(&error));
            }
        }
        while let Some(frame) = follower.next_frame().expect("can be read") {
            if let Err(error) = leader.receive(&frame[4..]) {
                return (judged(&error), Ending::Failed);
            }
        }
    }
    (Ending::Finished(leader.outcome()), Ending::Finished(follower.outcome()))
}
