//! The plan of one node, and clusters of it on simulated time: nodes die, come back, and are cut off from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::identity::Keypair;
use trustchain::digest::Blake3;

use super::placement::Factor;
use super::plan::{
    BUSY_FOR, COPY_TIMEOUT, FORGET_AFTER, FRESH_FOR, GONE_AFTER, LEFT_FOR, NotCopied, REFUSED_FOR, REPORT_INTERVAL,
    Refusal, SURPLUS_FOR, TAKE_OVER_AFTER, UNREACHABLE_FOR,
};
use super::report::{ALL_HOLDINGS_MAX, HOLDINGS_MAX, Heard, LABEL_BYTES_MAX, MEMBERS_MAX, ReportError};
use super::*;

mod clusters;
mod network;

const MIB: u64 = 1 << 20;

fn peers(count: u8) -> Vec<PeerId> {
    let peer = |number| Keypair::ed25519_from_bytes([number + 1; 32]).expect("is a seed").public().to_peer_id();
    (0..count).map(peer).collect()
}

fn blob(number: u32) -> Blake3 {
    Blake3::of(&number.to_le_bytes())
}

fn holding(number: u32) -> Holding {
    Holding { digest: blob(number), size_bytes: MIB, demand: 0, is_pinned: false, is_complete: true }
}

fn capacity(site: &str) -> Capacity {
    Capacity { total_bytes: 1000 * MIB, free_bytes: 900 * MIB, site: site.to_owned(), ..Capacity::default() }
}

fn all(sequence: u64, site: &str, holdings: &[Holding]) -> Report {
    Report { epoch: 1, sequence, capacity: capacity(site), change: Change::All(holdings.to_vec()) }
}

/// The plan of the first of five nodes on sites of their own, of which the first so many hold blob 1.
fn held_by(holders: usize) -> (Replicas, Vec<PeerId>, Instant) {
    let (now, peers) = (Instant::now(), peers(5));
    let mut replicas = Replicas::new(peers[0], Options::default());
    hear(&mut replicas, now, 1, &peers, holders);
    (replicas, peers, now)
}

fn hear(replicas: &mut Replicas, now: Instant, sequence: u64, peers: &[PeerId], holders: usize) {
    for (index, peer) in peers.iter().enumerate() {
        let holdings = if index < holders { vec![holding(1)] } else { Vec::new() };
        let heard = replicas.report(now, *peer, all(sequence, &format!("site {index}"), &holdings));
        assert_eq!(heard, Ok(Heard::Known));
    }
}

fn targets(actions: &[Action]) -> Vec<PeerId> {
    let copied = actions.iter().filter_map(|action| match action {
        Action::Copy { to, .. } => Some(*to),
        Action::Drop { .. } => None,
    });
    copied.collect()
}

#[test]
fn what_is_missing_is_copied_once() {
    let (mut replicas, peers, now) = held_by(1);
    assert_eq!(replicas.holders_of(now, blob(1)).len(), 1);
    let asked = targets(&replicas.next_actions(now));
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|peer| peers[1..].contains(peer)));
    assert!(replicas.next_actions(now).is_empty(), "both are on their way");
    // One reports it; the other one is waited for, and asked again in the end.
    replicas.report(now, asked[0], all(2, "a", &[holding(1)])).expect("is right");
    assert_eq!(replicas.holders_of(now, blob(1)).len(), 2);
    assert!(replicas.next_actions(now + COPY_TIMEOUT).is_empty());
    assert_eq!(targets(&replicas.next_actions(now + COPY_TIMEOUT + Duration::from_secs(1))).len(), 1);
}

#[test]
fn who_will_not_keep_a_copy_is_not_asked_for_a_while() {
    let (mut replicas, _, now) = held_by(1);
    let asked = targets(&replicas.next_actions(now));
    let no = NotCopied::Refused(Refusal::NotWanted);
    asked.iter().for_each(|peer| replicas.copy_refused(now, blob(1), *peer, no));
    let others = targets(&replicas.next_actions(now));
    assert_eq!(others.len(), 2);
    assert!(others.iter().all(|peer| !asked.contains(peer)));
    replicas.copy_refused(now, blob(1), others[0], NotCopied::Refused(Refusal::Busy { limit: 4 }));
    replicas.copy_refused(now, blob(1), others[1], NotCopied::Unreachable);
    assert!(replicas.next_actions(now).is_empty(), "nobody is left");
    assert_eq!(targets(&replicas.next_actions(now + BUSY_FOR)), [others[0]]);
    assert_eq!(targets(&replicas.next_actions(now + UNREACHABLE_FOR)), [others[1]]);
    let later = now + REFUSED_FOR;
    hear(&mut replicas, later, 2, &peers(5), 1);
    assert_eq!(targets(&replicas.next_actions(later)).len(), 2);
}

#[test]
fn a_copy_that_is_coming_is_not_asked_for_again_and_does_not_count() {
    let (mut replicas, peers, now) = held_by(2);
    let coming = Holding { is_complete: false, ..holding(1) };
    replicas.report(now, peers[2], all(2, "c", &[coming])).expect("is right");
    assert_eq!(replicas.holders_of(now, blob(1)).len(), 2);
    let later = now + TAKE_OVER_AFTER;
    assert!(replicas.next_actions(now).is_empty() && replicas.next_actions(later).is_empty());
    replicas.report(later, peers[2], all(3, "c", &[])).expect("is right");
    let asked = targets(&replicas.next_actions(later));
    assert!(asked.len() == 1 && asked[0] != peers[2], "it did not come there, and somebody else is asked");
}

#[test]
fn the_first_holder_acts_and_the_next_one_when_it_does_not() {
    let peers = peers(5);
    let now = Instant::now();
    let when = [0, 1].map(|own: usize| {
        let mut replicas = Replicas::new(peers[own], Options::default());
        hear(&mut replicas, now, 1, &peers, 2);
        let acts_at = |replicas: &mut Replicas, after: Duration| {
            hear(replicas, now + after, 2 + after.as_secs(), &peers, 2);
            !replicas.next_actions(now + after).is_empty()
        };
        if acts_at(&mut replicas, Duration::ZERO) {
            return Duration::ZERO;
        }
        assert!(!acts_at(&mut replicas, TAKE_OVER_AFTER - Duration::from_secs(1)));
        assert!(acts_at(&mut replicas, TAKE_OVER_AFTER));
        TAKE_OVER_AFTER
    });
    assert_eq!(when.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([Duration::ZERO, TAKE_OVER_AFTER]));
}

#[test]
fn copies_of_a_node_that_is_silent_do_not_count_and_count_again_when_it_speaks() {
    let (mut replicas, peers, now) = held_by(3);
    assert_eq!(replicas.holders_of(now, blob(1)).len(), 3);
    let later = now + GONE_AFTER;
    for peer in &peers[2..] {
        replicas.report(later, *peer, Report { epoch: 1, sequence: 1, ..all(1, "", &[]) }).expect("is known");
    }
    assert_eq!(replicas.holders_of(later, blob(1)).len(), 2);
    assert_eq!(replicas.holders_of(later, blob(1)).len(), 2);
    replicas.report(later, peers[1], all(1, "", &[])).expect("is known");
    assert_eq!(replicas.holders_of(later, blob(1)).len(), 3);
    replicas.next_actions(later + FORGET_AFTER);
    replicas.report(later + FORGET_AFTER, peers[1], all(1, "", &[])).expect("is new");
    assert_eq!(replicas.holders_of(later + FORGET_AFTER, blob(1)), [peers[0]]);
}

#[test]
fn copies_of_a_node_that_left_count_until_it_should_be_back() {
    let (mut replicas, peers, now) = held_by(3);
    replicas.left(now, peers[1]);
    let back = now + LEFT_FOR;
    assert_eq!(replicas.holders_of(back - Duration::from_millis(1), blob(1)).len(), 3);
    assert_eq!(replicas.holders_of(back, blob(1)).len(), 2);
    replicas.returned(peers[1]);
    assert_eq!(replicas.holders_of(back, blob(1)).len(), 3);
}

#[test]
fn one_of_too_many_holders_drops_its_copy_after_a_while() {
    let (now, peers) = (Instant::now(), peers(5));
    let plan = |own: usize| Replicas::new(peers[own], Options::default());
    let mut plans: Vec<Replicas> = (0..5).map(plan).collect();
    let drops = |plans: &mut [Replicas], after: Duration, holders: usize| -> Vec<PeerId> {
        let at = now + after;
        plans.iter_mut().for_each(|plan| hear(plan, at, 1 + after.as_secs(), &peers, holders));
        let actions = plans.iter_mut().flat_map(|plan| plan.next_actions(at));
        actions.map(|action| if let Action::Drop { at, .. } = action { at } else { panic!("{action:?}") }).collect()
    };
    assert!(drops(&mut plans, Duration::ZERO, 5).is_empty());
    assert!(drops(&mut plans, SURPLUS_FOR - Duration::from_secs(1), 5).is_empty());
    assert_eq!(drops(&mut plans, SURPLUS_FOR, 5).len(), 1, "of five nodes one acts");
    // A node that went for a moment begins the time anew.
    assert!(drops(&mut plans, SURPLUS_FOR + Duration::from_secs(30), 3).is_empty());
    assert!(drops(&mut plans, SURPLUS_FOR * 2, 5).is_empty());
}

#[test]
fn nothing_is_dropped_on_old_reports_or_if_it_is_pinned() {
    let check = |is_pinned: bool, silence: Duration, expected: usize| {
        let (now, peers) = (Instant::now(), peers(4));
        let dropped = (0..4).flat_map(|own| {
            let mut replicas = Replicas::new(peers[own], Options::default());
            let held = Holding { is_pinned, ..holding(1) };
            for (at, sequence) in [(now, 1), (now + SURPLUS_FOR, 2)] {
                peers.iter().for_each(|peer| drop(replicas.report(at, *peer, all(sequence, "a", &[held]))));
                replicas.next_actions(at);
            }
            Some(replicas.next_actions(now + SURPLUS_FOR + silence).len())
        });
        assert_eq!(dropped.sum::<usize>(), expected, "pinned {is_pinned}, silence {silence:?}");
    };
    check(false, Duration::ZERO, 1);
    check(true, Duration::ZERO, 0);
    check(false, FRESH_FOR - Duration::from_secs(1), 1);
    check(false, FRESH_FOR, 0);
}

#[test]
fn copies_leave_a_site_that_has_them_all() {
    let (now, peers) = (Instant::now(), peers(5));
    let sites = ["a", "a", "a", "a", "b"];
    let asked: Vec<PeerId> = (0..3)
        .flat_map(|own| {
            let mut replicas = Replicas::new(peers[own], Options::default());
            for (index, (peer, site)) in peers.iter().zip(sites).enumerate() {
                let holdings: &[Holding] = if index < 3 { &[holding(1)] } else { &[] };
                replicas.report(now, *peer, all(1, site, holdings)).expect("is right");
            }
            targets(&replicas.next_actions(now))
        })
        .collect();
    assert_eq!(asked, [peers[4]], "one node asks the only node elsewhere");
}

#[test]
fn only_so_many_copies_are_asked_for_at_once_the_rarest_first() {
    let (now, peers) = (Instant::now(), peers(5));
    let mut replicas = Replicas::new(peers[0], Options::default());
    let many: Vec<Holding> = (0..100).map(holding).collect();
    replicas.report(now, peers[0], all(1, "a", &many)).expect("is right");
    replicas.report(now, peers[1], all(1, "b", &many[1..])).expect("is right");
    for peer in &peers[2..] {
        replicas.report(now, *peer, all(1, "c", &[])).expect("is right");
    }
    let actions = replicas.next_actions(now);
    assert_eq!(actions.len(), Options::default().copies_max);
    assert!(matches!(actions[0], Action::Copy { digest, .. } if digest == blob(0)), "{actions:?}");
}

#[test]
fn a_copy_is_kept_if_there_is_room_and_reason() {
    let (mut replicas, peers, now) = held_by(1);
    let check = |replicas: &mut Replicas, from: PeerId, number: u32, size: u64, expected: Result<usize, Refusal>| {
        let found = replicas.keep_asked(now, from, blob(number), size);
        assert_eq!(found.map(|dropped| dropped.len()), expected, "blob {number}");
    };
    check(&mut replicas, peers[1], 1, MIB, Err(Refusal::Held));
    check(&mut replicas, PeerId::random(), 2, MIB, Err(Refusal::Stranger));
    let limit_bytes = Options::default().size_bytes_max;
    let size_bytes = limit_bytes + 1;
    check(&mut replicas, peers[1], 2, size_bytes, Err(Refusal::TooLarge { size_bytes, limit_bytes }));
    check(&mut replicas, peers[1], 2, 901 * MIB, Err(Refusal::NoRoom { size_bytes: 901 * MIB }));
    check(&mut replicas, peers[1], 2, 899 * MIB, Ok(0));
    check(&mut replicas, peers[1], 2, 899 * MIB, Err(Refusal::Coming));
    check(&mut replicas, peers[1], 3, 2 * MIB, Err(Refusal::NoRoom { size_bytes: 2 * MIB }));
    replicas.keep_ended(blob(2));
    (3..7).for_each(|number| check(&mut replicas, peers[1], number, MIB, Ok(0)));
    check(&mut replicas, peers[1], 7, MIB, Err(Refusal::Busy { limit: 4 }));
}

#[test]
fn what_ten_nodes_hold_is_not_kept_once_more() {
    let (now, peers) = (Instant::now(), peers(12));
    let mut replicas = Replicas::new(peers[11], Options::default());
    hear(&mut replicas, now, 1, &peers, 10);
    assert_eq!(replicas.keep_asked(now, peers[0], blob(1), MIB), Err(Refusal::NotWanted));
    hear(&mut replicas, now, 2, &peers, 9);
    assert_eq!(replicas.keep_asked(now, peers[0], blob(1), MIB), Ok(vec![]));
}

#[test]
fn room_is_made_by_what_enough_others_hold() {
    let (now, peers) = (Instant::now(), peers(6));
    let mut evicted = 0;
    for own in 0..5 {
        let mut replicas = Replicas::new(peers[own], Options::default());
        let full = |holdings: Vec<Holding>| Report {
            capacity: Capacity { free_bytes: 0, ..capacity("a") },
            ..all(1, "a", &holdings)
        };
        // Blob 1 has a copy too many, blob 2 has not, and blob 3 is pinned by all.
        for (index, peer) in peers[..5].iter().enumerate() {
            let mut holdings = vec![Holding { is_pinned: true, ..holding(3) }];
            holdings.extend((index < 4).then(|| holding(1)));
            holdings.extend((index >= 2).then(|| holding(2)));
            replicas.report(now, *peer, full(holdings)).expect("is right");
        }
        replicas.report(now, peers[5], full(Vec::new())).expect("is right");
        match replicas.keep_asked(now, peers[5], blob(9), MIB) {
            Ok(dropped) => {
                assert_eq!(dropped, [blob(1)]);
                evicted += 1;
            }
            Err(refusal) => assert_eq!(refusal, Refusal::NoRoom { size_bytes: MIB }),
        }
    }
    assert_eq!(evicted, 1, "of four holders one may go");
}

#[test]
fn reports_build_on_each_other() {
    let (now, peers) = (Instant::now(), peers(2));
    let mut replicas = Replicas::new(peers[0], Options::default());
    let since = |epoch, sequence, base, added: &[u32], removed: &[u32]| Report {
        epoch,
        sequence,
        capacity: capacity("a"),
        change: Change::Since {
            base,
            added: added.iter().map(|number| holding(*number)).collect(),
            removed: removed.iter().map(|number| blob(*number)).collect(),
        },
    };
    let mut check = |report: Report, heard: Heard, expected: &[u32]| {
        assert_eq!(replicas.report(now, peers[1], report), Ok(heard));
        let held = (0..9).filter(|number| replicas.holders_of(now, blob(*number)) == [peers[1]]);
        assert_eq!(held.collect::<Vec<_>>(), expected);
    };
    check(since(1, 1, 0, &[1], &[]), Heard::SayAll, &[]);
    check(all(1, "a", &[holding(1), holding(2)]), Heard::Known, &[1, 2]);
    check(since(1, 2, 1, &[3], &[1]), Heard::Known, &[2, 3]);
    check(since(1, 2, 1, &[5], &[2]), Heard::Known, &[2, 3]);
    check(since(1, 4, 3, &[4], &[]), Heard::SayAll, &[2, 3]);
    check(all(1, "a", &[]), Heard::Known, &[2, 3]);
    check(since(2, 1, 2, &[4], &[]), Heard::SayAll, &[2, 3]);
    check(Report { epoch: 2, ..all(1, "a", &[holding(7)]) }, Heard::Known, &[7]);
}

#[test]
fn who_does_not_serve_does_not_hold() {
    let (mut replicas, peers, now) = held_by(3);
    replicas.not_served(blob(1), peers[1]);
    assert_eq!(replicas.holders_of(now, blob(1)).len(), 2);
    replicas.report(now, peers[1], all(2, "a", &[holding(1)])).expect("is right");
    assert_eq!(replicas.holders_of(now, blob(1)).len(), 3);
}

#[test]
fn who_is_refused_from_the_first_is_no_member() {
    let (mut replicas, peers, now) = held_by(4);
    let stranger = PeerId::random();
    let many: Vec<Holding> = (0..=u32::try_from(HOLDINGS_MAX).expect("is small")).map(holding).collect();
    let refused = replicas.report(now, stranger, all(1, "z", &many));
    assert!(matches!(refused, Err(ReportError::TooMany { .. })), "{refused:?}");
    assert_eq!(replicas.keep_asked(now, stranger, blob(9), MIB), Err(Refusal::Stranger));
    // Of all that are heard one has no copy; what it will not have goes nowhere, and not to the stranger.
    let (mut alone, _, _) = held_by(1);
    let refused = alone.report(now, stranger, all(1, "z", &many));
    assert!(refused.is_err());
    let no = NotCopied::Refused(Refusal::NotWanted);
    peers[1..].iter().for_each(|peer| alone.copy_refused(now, blob(1), *peer, no));
    assert_eq!(targets(&alone.next_actions(now)), []);
}

#[test]
fn reports_keep_their_bounds() {
    let (now, peer) = (Instant::now(), PeerId::random());
    let mut replicas = Replicas::new(PeerId::random(), Options::default());
    let count = HOLDINGS_MAX as u32;
    let many: Vec<Holding> = (0..=count).map(holding).collect();
    let too_many = ReportError::TooMany { found: HOLDINGS_MAX + 1, limit: HOLDINGS_MAX };
    assert_eq!(replicas.report(now, peer, all(1, "a", &many)), Err(too_many.clone()));
    assert_eq!(replicas.report(now, peer, all(1, "a", &many[1..])), Ok(Heard::Known));
    let change = Change::Since { base: 1, added: vec![holding(0)], removed: vec![] };
    assert_eq!(replicas.report(now, peer, Report { change, ..all(2, "a", &[]) }), Err(too_many));
    assert_eq!(replicas.holders_of(now, blob(count)), [peer], "what was known stays");

    let others = ALL_HOLDINGS_MAX / HOLDINGS_MAX;
    let whole = all(1, "a", &many[1..]);
    let heard: Vec<_> = (0..others).map(|_| replicas.report(now, PeerId::random(), whole.clone())).collect();
    let too_many = ReportError::TooManyInAll { found: ALL_HOLDINGS_MAX + HOLDINGS_MAX, limit: ALL_HOLDINGS_MAX };
    let (last, first) = heard.split_last().expect("there are some");
    assert!(first.iter().all(Result::is_ok));
    assert_eq!(*last, Err(too_many));

    let label = "x".repeat(LABEL_BYTES_MAX + 1);
    let too_long = ReportError::Label { label: "site", found: LABEL_BYTES_MAX + 1 };
    assert_eq!(replicas.report(now, peer, all(3, &label, &[])), Err(too_long));
    assert_eq!(replicas.report(now, peer, all(3, &label[1..], &[])), Ok(Heard::Known));

    let strangers = (others..MEMBERS_MAX).map(|_| replicas.report(now, PeerId::random(), all(1, "a", &[])));
    assert!(strangers.collect::<Vec<_>>().iter().all(Result::is_ok));
    let refused = replicas.report(now, PeerId::random(), all(1, "a", &[]));
    assert_eq!(refused, Err(ReportError::TooManyMembers { limit: MEMBERS_MAX }));
}
