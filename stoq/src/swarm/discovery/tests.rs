//! Discovery as events in and actions out, on invented time.

use std::collections::BTreeSet;

use super::*;

/// A discovery with a clock that only moves when told.
struct World {
    discovery: Discovery,
    now: Instant,
}

impl World {
    fn new(change: impl FnOnce(&mut DiscoveryOptions)) -> Self {
        let mut options = DiscoveryOptions::default();
        change(&mut options);
        let now = Instant::now();
        Self { discovery: Discovery::new(PeerId::random(), options, now), now }
    }

    fn after(&mut self, seconds: u64) -> Vec<Action> {
        self.now += Duration::from_secs(seconds);
        self.discovery.tick(self.now)
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.discovery.handle(self.now, event)
    }

    fn connect(&mut self) -> PeerId {
        let peer = PeerId::random();
        self.event(Event::Connected { peer, dialled: None });
        peer
    }

    fn hear(&mut self, source: Source) -> (PeerId, Vec<Action>) {
        let peer = PeerId::random();
        (peer, self.event(Event::Heard { peer, addresses: vec![address(7)], source }))
    }

    fn known(&self) -> BTreeSet<PeerId> {
        self.discovery.peers.keys().copied().collect()
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn dials(actions: &[Action]) -> Vec<(Option<PeerId>, SocketAddr)> {
    let dial = |action: &Action| match action {
        Action::Dial { peer, addresses } => Some((*peer, addresses[0])),
        _ => None,
    };
    actions.iter().filter_map(dial).collect()
}

/// Fails to dial a bootstrap address ten times; gives after how many seconds each next try comes.
fn waits(world: &mut World) -> Vec<u64> {
    let fail = |_| {
        world.event(Event::DialFailed { peer: None, addresses: vec![address(1)] });
        let mut waited = 1;
        while dials(&world.after(1)).is_empty() {
            waited += 1;
        }
        waited
    };
    (0..10).map(fail).collect()
}

#[test]
fn so_many_dials_are_under_way_at_once() {
    let mut world = World::new(|options| options.bootstrap = (1..=10).map(address).collect());
    assert_eq!(dials(&world.after(0)).len(), DIALS_MAX);
    let next = world.event(Event::DialFailed { peer: None, addresses: vec![address(1)] });
    assert_eq!(dials(&next).len(), 1);
}

#[test]
fn whoever_is_left_alone_tries_its_bootstrap_address_soon() {
    let mut world = World::new(|options| options.bootstrap = vec![address(1)]);
    world.after(0);
    let peer = world.connect();
    assert!(*waits(&mut world).last().expect("ten") > ALONE_RETRY_MAX.as_secs());
    world.event(Event::DialFailed { peer: None, addresses: vec![address(1)] });
    world.event(Event::Disconnected { peer });
    assert_eq!(dials(&world.after(ALONE_RETRY_MAX.as_secs())), [(None, address(1))]);
}

#[test]
fn a_bootstrap_address_is_tried_ever_more_rarely() {
    let check = |others: usize, longest: [u64; 10]| {
        let mut world = World::new(|options| options.bootstrap = vec![address(1)]);
        assert_eq!(dials(&world.after(0)), [(None, address(1))]);
        (0..others).for_each(|_| {
            world.connect();
        });
        let waits = waits(&mut world);
        let within = waits.iter().zip(longest).all(|(wait, longest)| (longest / 2..=longest).contains(wait));
        assert!(within, "{waits:?} with {others} others");
        // It comes back, and is asked for others at once.
        let peer = PeerId::random();
        let actions = world.event(Event::Connected { peer, dialled: Some(address(1)) });
        assert!(actions.contains(&Action::Ask { peer }) && actions.contains(&Action::Keep { peer }), "{actions:?}");
        assert_eq!(dials(&world.after(3)), []);
    };
    check(1, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    // Who has nobody else does not wait for minutes.
    check(0, [2, 4, 8, 16, 30, 30, 30, 30, 30, 30]);
}

#[test]
fn nodes_that_failed_together_do_not_come_again_together() {
    let waits: BTreeSet<Vec<u64>> = (0..20)
        .map(|_| {
            let mut world = World::new(|options| options.bootstrap = vec![address(1)]);
            world.after(0);
            waits(&mut world)
        })
        .collect();
    let at_the_fifth: BTreeSet<u64> = waits.iter().map(|waits| waits[..5].iter().sum()).collect();
    assert!(at_the_fifth.len() > 5, "{at_the_fifth:?}");
}

#[test]
fn peers_that_are_named_are_dialled_until_there_are_enough() {
    let mut world = World::new(|options| options.peers_min = 3);
    let by = world.connect();
    let (first, actions) = world.hear(Source::Peer(by));
    assert_eq!(dials(&actions), [(Some(first), address(7))]);
    // All at one address here, of which one dial at a time is enough to count.
    world.event(Event::Connected { peer: first, dialled: Some(address(7)) });
    let (second, actions) = world.hear(Source::LocalNetwork);
    assert_eq!(dials(&actions), [(Some(second), address(7))]);
    world.event(Event::Connected { peer: second, dialled: Some(address(7)) });
    let (_, actions) = world.hear(Source::LocalNetwork);
    assert_eq!(dials(&actions), []);
}

#[test]
fn peers_ask_each_other_every_round_in_turn() {
    let mut world = World::new(|options| options.peers_min = 0);
    let peers: BTreeSet<PeerId> = (0..6).map(|_| world.connect()).collect();
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.extend(world.after(30).into_iter().filter_map(|action| match action {
            Action::Ask { peer } => Some(peer),
            _ => None,
        }));
        assert_eq!(world.after(29), []);
        world.now -= Duration::from_secs(29);
    }
    assert_eq!(asked.len(), 6);
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), peers);
}

#[test]
fn whoever_nobody_heard_of_for_long_is_forgotten() {
    let mut world = World::new(|options| options.peers_min = 0);
    let stays = world.connect();
    let (rumour, _) = world.hear(Source::Peer(stays));
    world.after(200);
    // Another rumour does not keep it, its own word would.
    world.event(Event::Heard { peer: rumour, addresses: vec![address(9)], source: Source::Peer(stays) });
    assert_eq!(world.known(), BTreeSet::from([stays, rumour]));
    world.after(101);
    assert_eq!(world.known(), BTreeSet::from([stays]));
}

#[test]
fn one_peer_can_name_a_bounded_number() {
    let mut world = World::new(|options| options.peers_min = 0);
    let (liar, honest) = (world.connect(), world.connect());
    for _ in 0..10 * INTRODUCED_MAX {
        world.hear(Source::Peer(liar));
    }
    assert_eq!(world.known().len(), 2 + INTRODUCED_MAX);
    world.hear(Source::Peer(honest));
    assert_eq!(world.known().len(), 3 + INTRODUCED_MAX);
}

#[test]
fn what_is_remembered_is_bounded_and_connections_stay() {
    let mut world = World::new(|options| options.peers_min = 0);
    let connected = world.connect();
    for _ in 0..2 * REMEMBERED_MAX {
        world.hear(Source::LocalNetwork);
    }
    assert_eq!(world.known().len(), REMEMBERED_MAX);
    assert!(world.known().contains(&connected));
}

#[test]
fn the_worst_of_too_many_are_closed_and_the_best_are_kept() {
    let mut world = World::new(|options| (options.peers_min, options.peers_max) = (2, 4));
    let peers: Vec<PeerId> = (0..6).map(|_| world.connect()).collect();
    for (millis, peer) in peers.iter().enumerate() {
        let round_trip = Duration::from_millis(10 * (millis as u64 + 1));
        world.event(Event::Answered { peer: *peer, round_trip });
    }
    // The best two were not the first two before they were measured, had they come in another order.
    world.event(Event::Unanswered { peer: peers[0] });
    world.event(Event::Unanswered { peer: peers[0] });
    let actions = world.after(30);
    let closed: BTreeSet<PeerId> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Disconnect { peer } => Some(*peer),
            _ => None,
        })
        .collect();
    assert_eq!(closed, BTreeSet::from([peers[0], peers[5]]));
    assert!(actions.contains(&Action::Release { peer: peers[0] }));
    assert!(actions.contains(&Action::Keep { peer: peers[2] }));
    assert_eq!(world.discovery.kept, BTreeSet::from([peers[1], peers[2]]));
}

#[test]
fn whoever_misbehaves_is_blocked_for_a_time_and_not_named_again() {
    let mut world = World::new(|_| ());
    let peer = world.connect();
    for _ in 0..2 {
        assert_eq!(world.event(Event::Misbehaved { peer }), []);
    }
    assert_eq!(world.event(Event::Misbehaved { peer }), [Action::Block { peer }]);
    world.event(Event::Heard { peer, addresses: vec![address(7)], source: Source::Itself });
    assert!(world.discovery.is_blocked(&peer) && world.known().is_empty());
    world.after(3599);
    assert!(world.discovery.is_blocked(&peer));
    assert!(world.after(31).contains(&Action::Unblock { peer }));
    assert!(!world.discovery.is_blocked(&peer));
}

#[test]
fn the_blocked_are_bounded() {
    let mut world = World::new(|options| options.misbehaviours_max = 1);
    let first = world.connect();
    world.event(Event::Misbehaved { peer: first });
    for number in 0..BLOCKED_MAX {
        world.now += Duration::from_millis(1);
        let peer = world.connect();
        let actions = world.event(Event::Misbehaved { peer });
        assert_eq!(actions.contains(&Action::Unblock { peer: first }), number + 1 == BLOCKED_MAX);
    }
    assert_eq!(world.discovery.blocked.len(), BLOCKED_MAX);
}

#[test]
fn whoever_answers_nothing_is_let_go() {
    let mut world = World::new(|_| ());
    let peer = world.connect();
    for _ in 0..SILENCES_MAX - 1 {
        assert_eq!(world.event(Event::Unanswered { peer }), []);
    }
    world.event(Event::Answered { peer, round_trip: Duration::from_millis(1) });
    for _ in 0..SILENCES_MAX - 1 {
        assert_eq!(world.event(Event::Unanswered { peer }), []);
    }
    assert_eq!(world.event(Event::Unanswered { peer }), [Action::Disconnect { peer }]);
}

#[test]
fn this_node_is_no_peer_of_its_own() {
    let mut world = World::new(|_| ());
    let peer = world.discovery.local;
    world.event(Event::Heard { peer, addresses: vec![address(7)], source: Source::LocalNetwork });
    assert!(world.known().is_empty());
}

#[test]
fn the_oldest_that_is_not_kept_makes_way_for_a_newcomer() {
    let mut world = World::new(|options| (options.peers_min, options.peers_max) = (1, 3));
    let peers: Vec<PeerId> = (0..3)
        .map(|_| {
            world.now += Duration::from_secs(1);
            world.connect()
        })
        .collect();
    for oldest in [peers[1], peers[2]] {
        world.now += Duration::from_secs(1);
        let actions = world.event(Event::Connected { peer: PeerId::random(), dialled: None });
        assert_eq!(actions, [Action::Disconnect { peer: oldest }]);
    }
}
