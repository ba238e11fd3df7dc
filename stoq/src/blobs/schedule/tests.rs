//! Transfers in a simulated network: sources with rates and faults, no clock.

use super::*;

const GROUP: u64 = GROUP_BYTES as u64;
const MIB: u64 = 1 << 20;
const STEP: Duration = Duration::from_millis(10);

/// How a simulated source behaves.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// So many bytes each second, shared by its requests.
    Sends(u64),
    /// The same, but nothing between two times.
    Pauses(u64, Duration, Duration),
    /// A first rate until a time, then another.
    Fades(u64, Duration, u64),
    /// The same until a time, then the connection breaks, and nobody answers.
    Dies(u64, Duration),
    /// A wrong byte after so many groups.
    Lies(u64, u64),
    /// Does not have it.
    Empty,
    /// Fails at once.
    Fails,
}

struct Flow {
    id: RequestId,
    peer: PeerId,
    groups: Vec<u64>,
    carried: f64,
}

struct Network {
    start: Instant,
    now: Instant,
    size: u64,
    scheduler: Scheduler,
    ways: BTreeMap<PeerId, Way>,
    flows: Vec<Flow>,
    sent: BTreeMap<PeerId, u64>,
    told: BTreeMap<PeerId, u64>,
    dropped: Vec<(PeerId, Fault)>,
    asked: BTreeMap<PeerId, usize>,
    in_flight_max: usize,
}

impl Network {
    fn new(size: u64) -> Self {
        let now = Instant::now();
        let scheduler = Scheduler::new(Limits::for_size(1 << 30));
        let (ways, flows, sent, told) = (BTreeMap::new(), Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (dropped, asked, in_flight_max) = (Vec::new(), BTreeMap::new(), 0);
        Self { start: now, now, size, scheduler, ways, flows, sent, told, dropped, asked, in_flight_max }
    }

    fn with(size: u64, ways: &[Way]) -> (Self, Vec<PeerId>) {
        let mut network = Self::new(size);
        let peers = ways.iter().map(|way| network.add(*way)).collect();
        (network, peers)
    }

    fn add(&mut self, way: Way) -> PeerId {
        let peer = PeerId::random();
        self.ways.insert(peer, way);
        self.tell(Event::Source(peer));
        peer
    }

    fn tell(&mut self, event: Event) {
        let actions = self.scheduler.handle(self.now, event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Ask { id, peer, part } => {
                    *self.asked.entry(peer).or_default() += 1;
                    let groups = match part {
                        wire::Part::Last => vec![group_count(self.size) - 1],
                        wire::Part::Groups(ranges) => ranges.into_iter().flatten().collect(),
                    };
                    self.flows.push(Flow { id, peer, groups, carried: 0.0 });
                    self.in_flight_max =
                        self.in_flight_max.max(self.flows.iter().filter(|flow| flow.peer == peer).count());
                }
                Action::Cancel(id) => self.flows.retain(|flow| flow.id != id),
                Action::Dropped { peer, why } => self.dropped.push((peer, why)),
                Action::TooLarge { .. } => panic!("nothing is too large here"),
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn rate(&self, way: Way) -> Result<u64, Fault> {
        match way {
            Way::Sends(rate) | Way::Lies(rate, _) => Ok(rate),
            Way::Pauses(_, from, to) if (from..to).contains(&self.elapsed()) => Ok(0),
            Way::Pauses(rate, ..) => Ok(rate),
            Way::Fades(first, at, then) => Ok(if self.elapsed() < at { first } else { then }),
            Way::Dies(_, at) if self.elapsed() >= at => Err(Fault::Failed("dead".into())),
            Way::Dies(rate, _) => Ok(rate),
            Way::Empty => Err(Fault::NotHeld),
            Way::Fails => Err(Fault::Failed("always".into())),
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        let ids: Vec<RequestId> = self.flows.iter().map(|flow| flow.id).collect();
        for id in ids {
            self.flow(id);
        }
        let actions = self.scheduler.due(self.now);
        self.act(actions);
    }

    /// Carries the bytes of one step.
    fn flow(&mut self, id: RequestId) {
        let Some(index) = self.flows.iter().position(|flow| flow.id == id) else { return };
        let peer = self.flows[index].peer;
        let way = self.ways[&peer];
        let rate = match self.rate(way) {
            Ok(rate) => rate,
            Err(fault) => {
                self.flows.remove(index);
                return self.tell(Event::Ended { id, fault: Some(fault) });
            }
        };
        let shared = self.flows.iter().filter(|flow| flow.peer == peer).count();
        let bytes = rate as f64 * STEP.as_secs_f64() / shared as f64;
        if bytes < 1.0 {
            return;
        }
        self.flows[index].carried += bytes;
        self.tell(Event::Received { id, bytes: bytes as u64 });
        while let Some(flow) = self.flows.iter_mut().find(|flow| flow.id == id) {
            if flow.groups.is_empty() {
                self.flows.retain(|flow| flow.id != id);
                return self.tell(Event::Ended { id, fault: None });
            }
            if flow.carried < GROUP as f64 {
                return;
            }
            flow.carried -= GROUP as f64;
            let group = flow.groups.remove(0);
            let sent = self.sent.entry(peer).or_default();
            *sent += 1;
            if matches!(way, Way::Lies(_, after) if *sent > after) {
                self.flows.retain(|flow| flow.id != id);
                return self.tell(Event::Ended { id, fault: Some(Fault::Lied("flipped".into())) });
            }
            *self.told.entry(peer).or_default() += 1;
            let size = self.size;
            if self.scheduler.plan.is_none() {
                self.flows.retain(|flow| flow.id != id);
                return self.tell(Event::Proved { id, size });
            } else {
                self.tell(Event::Verified { id, group });
            }
        }
    }

    fn run(&mut self, at_most: Duration) -> Duration {
        while !self.scheduler.is_complete() {
            assert!(self.elapsed() < at_most, "not complete after {at_most:?}: {:?}", self.scheduler);
            self.step();
        }
        self.elapsed()
    }

    fn groups_sent(&self) -> u64 {
        self.sent.values().sum()
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn one_source_is_used_to_its_rate() {
    let (mut network, _) = Network::with(100 * MIB, &[Way::Sends(10 * MIB)]);
    assert!(network.run(seconds(11.0)) >= seconds(10.0));
    assert_eq!(network.groups_sent(), 400, "nothing twice");
    assert_eq!(network.in_flight_max, 2);
}

#[test]
fn sources_are_used_by_their_rates() {
    let (mut network, peers) =
        Network::with(140 * MIB, &[Way::Sends(20 * MIB), Way::Sends(10 * MIB), Way::Sends(5 * MIB)]);
    let took = network.run(seconds(5.0));
    assert!(network.groups_sent() <= 560 + 28, "{} groups of 560 were sent", network.groups_sent());
    assert!(network.told[&peers[0]] > network.told[&peers[2]] * 3, "{took:?}: {:?}", network.told);
}

/// The transfer is done soon after the fast ones have nothing left, though the slow one would need minutes for its span.
#[test]
fn the_slowest_span_is_hedged_at_the_end() {
    let (mut network, _) = Network::with(40 * MIB, &[Way::Sends(20 * MIB), Way::Sends(50_000)]);
    network.run(seconds(4.5));
}

/// What a source sends at once from a buffer is no rate: nobody waits for it at the end.
#[test]
fn a_burst_is_not_taken_for_a_rate() {
    let burst = Way::Fades(500 * MIB, seconds(0.03), 100_000);
    let (mut network, _) = Network::with(60 * MIB, &[burst, Way::Sends(20 * MIB)]);
    network.run(seconds(4.5));
}

/// Groups that come back find idle sources: an empty list of missing groups ended the workers of a prototype.
#[test]
fn an_empty_queue_ends_nothing_while_spans_are_in_flight() {
    let (mut network, peers) = Network::with(4 * GROUP, &[Way::Dies(MIB, seconds(1.05)), Way::Sends(MIB)]);
    network.run(seconds(3.0));
    assert!(network.told[&peers[1]] > 0);
}

/// A time limit for whole groups gave up such a source again and again, and never came to an end.
#[test]
fn a_slow_path_is_not_given_up() {
    let (mut network, peers) = Network::with(8 * GROUP, &[Way::Sends(50_000)]);
    let took = network.run(seconds(45.0));
    assert!(took > seconds(40.0));
    assert_eq!(network.groups_sent(), 8, "nothing was asked for twice");
    assert!(network.dropped.is_empty() && network.scheduler.sources.contains_key(&peers[0]));
}

#[test]
fn two_seconds_without_a_byte_lend_the_span_and_keep_the_source() {
    let away = Way::Pauses(10 * MIB, seconds(1.0), seconds(12.0));
    let (mut network, peers) = Network::with(200 * MIB, &[away, Way::Sends(10 * MIB)]);
    let took = network.run(seconds(17.0));
    // 10 MiB/s alone for eleven seconds, then both: 15.5 s; the lent spans cost nothing more.
    assert!(took < seconds(16.5), "{took:?}");
    assert!(network.dropped.is_empty());
    assert!(network.told[&peers[0]] > 100, "it is used again: {:?}", network.told);
}

#[test]
fn a_source_that_is_silent_for_good_is_given_up_and_tried_again_later() {
    let (mut network, peers) = Network::with(20 * MIB, &[Way::Pauses(10 * MIB, seconds(0.5), seconds(50.0))]);
    network.run(seconds(65.0));
    assert!(network.told[&peers[0]] >= 80);
    assert!(network.asked[&peers[0]] > 2);
}

#[test]
fn a_partition_costs_at_most_five_seconds() {
    let rate = 10 * MIB;
    let both = [Way::Pauses(rate, seconds(1.0), seconds(9999.0)), Way::Sends(rate)];
    let (mut network, _) = Network::with(60 * MIB, &both);
    let took = network.run(seconds(20.0));
    // Until the partition 20 MiB came; what is left takes the other source four seconds.
    assert!(took < seconds(1.0 + 4.0 + 5.0), "{took:?}");
}

#[test]
fn a_liar_is_dropped_for_good_and_its_span_comes_from_elsewhere() {
    let (mut network, peers) = Network::with(40 * MIB, &[Way::Lies(10 * MIB, 5), Way::Sends(10 * MIB)]);
    network.run(seconds(6.0));
    assert_eq!(network.dropped, [(peers[0], Fault::Lied("flipped".into()))]);
    let asked = network.asked[&peers[0]];
    network.tell(Event::Source(peers[0]));
    assert_eq!(network.asked[&peers[0]], asked, "it is not asked again");
}

#[test]
fn only_liars_end_nowhere() {
    let (mut network, _) =
        Network::with(40 * MIB, &[Way::Lies(10 * MIB, 0), Way::Lies(10 * MIB, 0), Way::Empty, Way::Fails]);
    for _ in 0..2000 {
        network.step();
    }
    assert!(!network.scheduler.is_complete() && network.scheduler.is_stranded());
    assert_eq!(network.dropped.len(), 4);
    assert!(network.flows.is_empty());
    let failures: Vec<usize> = network.asked.values().copied().collect();
    assert_eq!(failures.iter().sum::<usize>(), 1 + 1 + 1 + 5, "five tries for the one that fails: {failures:?}");
    // A source that is found later ends it.
    network.add(Way::Sends(40 * MIB));
    network.run(seconds(23.0));
}

#[test]
fn sources_may_be_added_while_it_runs() {
    let (mut network, _) = Network::with(100 * MIB, &[Way::Sends(10 * MIB)]);
    for _ in 0..100 {
        network.step();
    }
    let late = network.add(Way::Sends(80 * MIB));
    network.run(seconds(3.0));
    assert!(network.told[&late] > 200);
}

#[test]
fn a_pause_gives_up_all_requests_and_resuming_asks_again() {
    let (mut network, peers) = Network::with(40 * MIB, &[Way::Sends(10 * MIB)]);
    for _ in 0..100 {
        network.step();
    }
    let actions = network.scheduler.pause();
    network.act(actions);
    assert!(network.flows.is_empty());
    let told = network.told[&peers[0]];
    for _ in 0..500 {
        network.step();
    }
    assert_eq!(network.told[&peers[0]], told);
    let actions = network.scheduler.go_on(network.now);
    network.act(actions);
    network.run(seconds(10.0));
}

#[test]
fn sources_requests_and_memories_are_bounded() {
    let mut network = Network::new(1000 * MIB);
    for _ in 0..200 {
        network.add(Way::Sends(MIB));
    }
    let limits = network.scheduler.limits;
    assert_eq!(network.scheduler.source_count(), limits.sources_max);
    for _ in 0..200 {
        network.step();
        assert!(network.flows.len() <= limits.requests_max);
    }
    assert!(network.in_flight_max <= limits.requests_per_source_max);

    let mut network = Network::new(1000 * MIB);
    for _ in 0..DROPPED_MAX + 100 {
        network.add(Way::Empty);
        network.step();
        network.step();
    }
    assert_eq!(network.scheduler.dropped().len(), DROPPED_MAX);
    assert!(network.scheduler.is_stranded());
}

#[test]
fn a_blob_that_is_too_large_is_refused_when_its_size_is_proved() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new(Limits::for_size(99));
    let asked = scheduler.handle(now, Event::Source(PeerId::random()));
    let [Action::Ask { id, part: wire::Part::Last, .. }] = asked[..] else {
        panic!("asks for the last group: {asked:?}")
    };
    assert_eq!(scheduler.handle(now, Event::Proved { id, size: 100 }), [Action::TooLarge { size: 100 }]);
}

#[test]
fn what_was_verified_before_is_not_asked_for() {
    let now = Instant::now();
    let mut done = Groups::full(10);
    done.remove_all(3..5);
    let mut scheduler = Scheduler::resume(Limits::for_size(1 << 30), done);
    let asked = scheduler.handle(now, Event::Source(PeerId::random()));
    let groups: Vec<u64> =
        asked
            .into_iter()
            .filter_map(|action| {
                if let Action::Ask { part: wire::Part::Groups(groups), .. } = action { Some(groups) } else { None }
            })
            .flatten()
            .flatten()
            .collect();
    assert_eq!(groups, [3, 4]);
}

/// Whatever happens in whatever order, nothing panics, and one honest source brings the end.
#[test]
fn any_order_of_events_ends_with_an_honest_source() {
    use proptest::prelude::*;
    proptest!(ProptestConfig { cases: 48, ..ProptestConfig::default() }, |(
        ways in prop::collection::vec((0u8..6, 1u64..40, 0.0..4.0f64, 0.0..4.0f64), 0..8), groups in 1u64..200, odd in 0u64..GROUP,
    )| {
        let mut network = Network::new(groups * GROUP - odd);
        for (way, rate, from, long) in ways {
            let (rate, from) = (rate * MIB / 4, seconds(from));
            let way = match way {
                0 => Way::Sends(rate),
                1 => Way::Pauses(rate, from, from + seconds(long)),
                2 => Way::Dies(rate, from),
                3 => Way::Lies(rate, rate / MIB),
                4 => Way::Empty,
                _ => Way::Fails,
            };
            network.add(way);
        }
        network.add(Way::Sends(4 * MIB));
        network.run(seconds(40.0));
        prop_assert!(network.scheduler.requests.values().all(|request| network.scheduler.sources.contains_key(&request.peer)));
        for (peer, source) in &network.scheduler.sources {
            prop_assert_eq!(source.in_flight, network.scheduler.requests.values().filter(|request| request.peer == *peer).count());
        }
    });
}
