//! Sessions between two sides in memory, and hostile ones.

use std::sync::Arc;

use bytes::Bytes;
use libp2p::PeerId;
use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::frame::{Frame, Ids, Opening};
use super::limits::{BULKS_MAX, PASS_IDS_MAX, PASSES_MAX, RECORD_BYTES_MAX, REFUSED_MAX, TURNS_MAX, UNSERVED_MAX};
use super::memory::Described;
use super::*;

pub(crate) mod loopback;
mod network;
mod schedules;
mod streams;

/// A record of so many bytes that claims a time, and needs others.
fn record(number: u64, needs: &[RecordId], length: usize) -> Bytes {
    let head = [[(number / 10).to_le_bytes(), number.to_le_bytes()].concat(), vec![needs.len() as u8]].concat();
    let mut bytes = [head, needs.iter().flat_map(|id| id.0).collect()].concat();
    bytes.resize(bytes.len().max(length), 7);
    bytes.into()
}

fn plain(number: u64) -> Bytes {
    record(number, &[], 100)
}

/// Times are in tens of numbers, so that many records share one; odd numbers are of category 1, and priority is the rest by 10.
/// Only what [`record`] makes is right.
fn describe(bytes: &[u8]) -> Result<Described, String> {
    let (Some(time), Some(number), Some(count)) = (bytes.get(..8), bytes.get(8..16), bytes.get(16)) else {
        return Err("it is too short".to_owned());
    };
    let number = u64::from_le_bytes(number.try_into().map_err(|_| "no number")?);
    let time = u64::from_le_bytes(time.try_into().map_err(|_| "no time")?);
    let needs: Vec<RecordId> =
        bytes[17..].as_chunks::<32>().0.iter().take(usize::from(*count)).copied().map(RecordId).collect();
    if *bytes != record(number, &needs, bytes.len()) {
        return Err("it was not made so".to_owned());
    }
    Ok(Described { time, category: Category((number % 2) as u32), priority: (number % 10) as u8, needs })
}

fn set_of(numbers: impl IntoIterator<Item = u64>) -> Arc<MemorySet> {
    let set = MemorySet::new(describe);
    for number in numbers {
        set.insert(plain(number));
    }
    Arc::new(set)
}

fn ids(set: &MemorySet) -> Vec<RecordId> {
    set.items().expect("is in memory").as_slice().iter().map(|item| item.id).collect()
}

/// Runs a session to its end; gives the outcome of the leader and all bytes in both directions.
fn run(mut leader: Leader, mut follower: Follower) -> Result<(Outcome, u64), SessionError> {
    while !follower.is_finished() {
        while let Some(frame) = leader.next_frame()? {
            follower.receive(&frame[4..])?;
        }
        while let Some(frame) = follower.next_frame()? {
            leader.receive(&frame[4..])?;
        }
    }
    assert!(leader.is_finished());
    let outcome = leader.outcome();
    Ok((outcome, outcome.sent_bytes + outcome.received_bytes))
}

fn flip(bytes: &mut [u8], at: prop::sample::Index, bits: u8) {
    if !bytes.is_empty() {
        bytes[at.index(bytes.len())] ^= bits;
    }
}

/// Runs a session whose frames are changed on the way, until it ends, stops, or one side gives up.
fn run_with_flips(mut leader: Leader, mut follower: Follower, flips: &[(usize, prop::sample::Index, u8)]) {
    let mut turn = 0;
    let mut changed = |mut frame: Vec<u8>| {
        turn += 1;
        flips.iter().filter(|(when, ..)| *when == turn).for_each(|(_, at, bits)| flip(&mut frame[4..], *at, *bits));
        frame
    };
    loop {
        let mut is_still = true;
        while let Ok(Some(frame)) = leader.next_frame() {
            is_still = false;
            if follower.receive(&changed(frame)[4..]).is_err() {
                return;
            }
        }
        while let Ok(Some(frame)) = follower.next_frame() {
            is_still = false;
            if leader.receive(&changed(frame)[4..]).is_err() {
                return;
            }
        }
        if is_still {
            return;
        }
    }
}

fn synchronise(ours: &Arc<MemorySet>, theirs: &Arc<MemorySet>, mode: &Mode) -> (Outcome, u64) {
    let (us, them) = (PeerId::random(), PeerId::random());
    let leader = Leader::synchronise(ours.clone(), them, [1; 32], mode).expect("begins");
    let follower = Follower::new(theirs.clone(), us, [2; 32], leader.opening()).expect("answers");
    run(leader, follower).expect("two correct sides agree")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_two_sets_are_equal_afterwards(
        ours in prop::collection::btree_set(0..4000_u64, 0..400),
        theirs in prop::collection::btree_set(0..4000_u64, 0..400),
        full in any::<bool>(),
    ) {
        let union = set_of(ours.union(&theirs).copied());
        let (ours, theirs) = (set_of(ours), set_of(theirs));
        let mode = if full { Mode::Full } else { Mode::Differential };
        let (outcome, _) = synchronise(&ours, &theirs, &mode);
        prop_assert!(outcome.is_complete);
        prop_assert_eq!(ids(&ours), ids(&union));
        prop_assert_eq!(ids(&theirs), ids(&union));
    }

    #[test]
    fn sessions_with_flipped_bytes_end_without_harm(
        flips in prop::collection::vec((0..6_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        full in any::<bool>(),
    ) {
        let (ours, theirs) = (set_of(0..300), set_of(200..500));
        let mode = if full { Mode::Full } else { Mode::Differential };
        let leader = Leader::synchronise(ours.clone(), PeerId::random(), [1; 32], &mode).expect("begins");
        let mut opening = leader.opening().to_vec();
        flips.iter().filter(|(turn, ..)| *turn == 0).for_each(|(_, at, bits)| flip(&mut opening, *at, *bits));
        if let Ok(follower) = Follower::new(theirs.clone(), PeerId::random(), [2; 32], &opening) {
            run_with_flips(leader, follower, &flips);
        }
        let right = set_of(0..500);
        for set in [ours, theirs] {
            prop_assert!(ids(&set).len() >= 300);
            prop_assert!(ids(&set).iter().all(|id| right.lacking(&[*id]).expect("is in memory").is_empty()));
        }
    }

    #[test]
    fn whatever_a_leader_sends_the_follower_answers_or_refuses(
        opening in prop::collection::vec(any::<u8>(), 0..64),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4),
    ) {
        let Ok(mut follower) = Follower::new(set_of(0..100), PeerId::random(), [0; 32], &opening) else { return Ok(()) };
        for frame in frames {
            let _ = follower.receive(&frame);
            while let Ok(Some(_)) = follower.next_frame() {}
        }
    }
}

#[test]
fn large_sets_that_differ_by_much_are_exchanged_in_bulk() {
    let (ours, theirs) = (set_of((0..30_000).filter(|n| n % 10 != 1)), set_of((0..30_000).filter(|n| n % 10 != 2)));
    let (outcome, bytes) = synchronise(&ours, &theirs, &Mode::Differential);
    assert!(outcome.is_complete);
    assert_eq!((outcome.accepted, outcome.sent, outcome.known), (3000, 3000, 0));
    assert_eq!(ids(&ours), ids(&theirs));
    let records = 6000 * 102;
    assert!(
        bytes - records < 400_000,
        "{} bytes beside the records; their ids alone would be 1,900,000",
        bytes - records
    );
}

#[test]
fn equal_sets_confirm_in_a_kilobyte() {
    let ours = set_of(0..50_000);
    let (outcome, bytes) = synchronise(&ours, &ours, &Mode::Differential);
    assert!(outcome.is_complete);
    assert!(bytes <= 1024, "{bytes} bytes for equal sets");
}

#[test]
fn a_mode_brings_its_part_and_nothing_else() {
    let check = |mode: Mode, expected: &dyn Fn(u64) -> bool| {
        let (ours, theirs) = (set_of(0..100), set_of(100..300));
        let (outcome, _) = synchronise(&ours, &theirs, &mode);
        assert!(outcome.is_complete);
        let union = (0..300).filter(|number| *number < 100 || expected(*number));
        assert_eq!(ids(&ours), ids(&set_of(union)), "{mode:?}");
    };
    check(Mode::Full, &|_| true);
    check(Mode::Differential, &|_| true);
    check(Mode::Incremental { since: 20 }, &|number| number >= 200);
    check(Mode::Selective { categories: vec![Category(1)] }, &|number| number % 2 == 1);
    check(Mode::Priority { min: 7 }, &|number| number % 10 >= 7);
}

#[test]
fn records_that_need_others_wait_for_them() {
    let mut chain = vec![plain(1_000_000)];
    for number in (0..200).rev() {
        let before = RecordId::of(chain.last().expect("begins with one"));
        chain.push(record(number, &[before], 60));
    }
    let (ours, theirs) = (set_of(0..0), set_of(0..0));
    chain.into_iter().for_each(|record| assert_eq!(theirs.insert(record), Verdict::Accepted));
    let (outcome, _) = synchronise(&ours, &theirs, &Mode::Differential);
    assert_eq!((outcome.accepted, outcome.later), (201, 0));
    assert_eq!(ids(&ours), ids(&theirs));
}

#[test]
fn large_records_fill_frames_and_no_more() {
    let theirs = set_of(0..0);
    for number in 0..40 {
        assert_eq!(theirs.insert(record(number, &[], RECORD_BYTES_MAX)), Verdict::Accepted);
    }
    let ours = set_of(0..3);
    let (outcome, _) = synchronise(&ours, &theirs, &Mode::Differential);
    assert_eq!((outcome.accepted, outcome.sent), (40, 3));
}

#[test]
fn announced_records_are_fetched_without_a_comparison() {
    let (ours, theirs) = (set_of(0..10), set_of(5..30));
    let wanted: Vec<RecordId> = [7, 20, 21, 99].map(|number| RecordId::of(&plain(number))).into();
    let leader = Leader::fetch(ours.clone(), PeerId::random(), wanted).expect("begins");
    let follower = Follower::new(theirs, PeerId::random(), [0; 32], leader.opening()).expect("answers");
    let (outcome, _) = run(leader, follower).expect("agrees");
    assert_eq!((outcome.accepted, outcome.unserved, outcome.known), (2, 1, 0));
    assert_eq!(ids(&ours).len(), 12);
}

#[test]
fn what_a_session_leaves_the_next_one_brings() {
    let (ours, theirs) = (set_of(0..100), set_of(50..100));
    for number in 100..600 {
        assert_eq!(theirs.insert(record(number, &[], 8 << 10)), Verdict::Accepted);
    }
    let leader = || Leader::synchronise(ours.clone(), PeerId::random(), [1; 32], &Mode::Differential).expect("begins");
    let mut stopped = leader();
    let mut peer = Follower::new(theirs.clone(), PeerId::random(), [2; 32], stopped.opening()).expect("answers");
    while stopped.outcome().accepted == 0 {
        while let Some(frame) = peer.next_frame().expect("is in memory") {
            stopped.receive(&frame[4..]).expect("is right");
            if stopped.outcome().accepted > 0 {
                break;
            }
        }
        while let Some(frame) = stopped.next_frame().expect("is in memory") {
            peer.receive(&frame[4..]).expect("is right");
        }
    }
    drop((stopped, peer));
    let before = ids(&ours).len();
    assert!((101..500).contains(&before), "{before} records came before the peer stopped");
    let (outcome, _) = synchronise(&ours, &theirs, &Mode::Differential);
    assert_eq!(outcome.accepted as usize, 600 - before);
    assert_eq!(ids(&ours), ids(&theirs));
}

/// A leader in the middle of fetching, and the id it asked for.
fn fetching() -> (Leader, RecordId) {
    let id = RecordId::of(&plain(1));
    let mut leader = Leader::fetch(set_of(5..10), PeerId::random(), vec![id]).expect("begins");
    assert!(leader.next_frame().expect("is in memory").is_some(), "it asks");
    (leader, id)
}

fn answer(leader: &mut Leader, frame: &Frame) -> Result<(), SessionError> {
    leader.receive(&frame.encode()[4..])
}

fn records(records: impl IntoIterator<Item = Bytes>, more: bool) -> Frame {
    Frame::Records { records: records.into_iter().map(ByteBuf::from).collect(), more }
}

#[test]
fn forged_bytes_for_an_id_end_the_session_before_the_set_sees_them() {
    let (mut leader, _) = fetching();
    let error = answer(&mut leader, &records([plain(2)], false)).expect_err("is not what was asked");
    assert!(matches!(error, SessionError::NotAsked { id, .. } if id == RecordId::of(&plain(2))), "{error}");
    assert!(error.is_misbehaviour());
    assert_eq!(leader.outcome().accepted, 0);
}

#[test]
fn a_record_is_taken_once() {
    let (mut leader, _) = fetching();
    let error = answer(&mut leader, &records([plain(1), plain(1)], false)).expect_err("comes twice");
    assert!(matches!(error, SessionError::NotAsked { .. }), "{error}");
}

#[test]
fn frames_out_of_turn_end_the_session() {
    let message = || ByteBuf::from([0x61]);
    for frame in [
        Frame::Compare { restart: true, message: message() },
        Frame::Sampling,
        Frame::Sample { prefixes: message() },
        Frame::Have { salt: [0; 32].into(), bits: message(), more: false },
        Frame::Want(Ids::default()),
        Frame::Offer(Ids::default()),
        Frame::Finish,
    ] {
        let (mut leader, _) = fetching();
        let error = answer(&mut leader, &frame).expect_err("is out of turn");
        assert!(matches!(error, SessionError::OutOfTurn { frame: name, .. } if name == frame.name()), "{error}");
    }
    let mut follower = follower_of(set_of(0..3));
    let error = follower.receive(&records([plain(9)], false).encode()[4..]).expect_err("nobody asked");
    assert!(matches!(error, SessionError::OutOfTurn { frame: "records", .. }), "{error}");
}

fn follower_of(set: Arc<MemorySet>) -> Follower {
    let opening = Opening { filter: Filter::default(), message: ByteBuf::new() };
    Follower::new(set, PeerId::random(), [0; 32], &opening.encode()).expect("answers")
}

#[test]
fn ids_that_cannot_be_served_end_the_session() {
    let check = |count: u64, allowed: bool| {
        let ids = (0..count).map(|number| RecordId::of(&number.to_le_bytes())).collect();
        let mut leader = Leader::fetch(set_of(0..3), PeerId::random(), ids).expect("begins");
        let ended = answer(&mut leader, &records([], false));
        assert_eq!(ended.is_ok(), allowed, "{ended:?}");
        assert_eq!(leader.outcome().unserved, count);
    };
    check(UNSERVED_MAX, true);
    check(UNSERVED_MAX + 1, false);
}

#[test]
fn wrong_records_end_the_session() {
    let check = |count: u64, allowed: bool| {
        let wrong: Vec<Bytes> = (0..count).map(|number| Bytes::from(vec![number as u8; 5])).collect();
        let ids = wrong.iter().map(|record| RecordId::of(record)).collect();
        let mut leader = Leader::fetch(set_of(0..3), PeerId::random(), ids).expect("begins");
        let ended = answer(&mut leader, &records(wrong, false));
        assert_eq!(ended.is_ok(), allowed, "{ended:?}");
        assert_eq!(leader.outcome().refused, count);
    };
    check(REFUSED_MAX, true);
    check(REFUSED_MAX + 1, false);
}

#[test]
fn a_peer_asks_only_for_what_was_offered() {
    let mut leader = Leader::synchronise(set_of(0..5), PeerId::random(), [0; 32], &Mode::Differential).expect("begins");
    let mut follower = Follower::new(set_of(0..0), PeerId::random(), [0; 32], leader.opening()).expect("answers");
    let compared = follower.next_frame().expect("is in memory").expect("answers");
    leader.receive(&compared[4..]).expect("is right");
    let error = answer(&mut leader, &Frame::Want(Ids(vec![RecordId([9; 32])]))).expect_err("was not offered");
    assert!(matches!(error, SessionError::NotAsked { id: RecordId([9, ..]), .. }), "{error}");
}

#[test]
fn endless_rounds_are_cut_on_both_sides() {
    let mut follower = follower_of(set_of(0..100));
    let turn = Frame::Offer(Ids::default()).encode();
    for _ in 0..TURNS_MAX {
        follower.receive(&turn[4..]).expect("is within the bound");
    }
    let error = follower.receive(&turn[4..]).expect_err("is one too many");
    assert!(matches!(error, SessionError::TooMuch { what: "frames", .. }), "{error}");

    // Records of nothing, with more to follow for ever.
    let (mut leader, _) = fetching();
    let ended = (0..=TURNS_MAX).try_for_each(|_| answer(&mut leader, &records([], true)));
    assert!(matches!(ended, Err(SessionError::TooMuch { what: "frames", .. })), "{ended:?}");
}

#[test]
fn a_leader_asks_only_so_often_for_what_costs_a_look_at_every_record() {
    let check = |frame: Frame, asked: &str, limit: usize| {
        let (mut follower, frame) = (follower_of(set_of(0..100)), frame.encode());
        for _ in 0..limit {
            follower.receive(&frame[4..]).expect("is within the bound");
            while follower.next_frame().expect("is in memory").is_some() {}
        }
        let error = follower.receive(&frame[4..]).expect_err("is one too many");
        let SessionError::TooMuch { what, limit: bound, .. } = error else { panic!("{error}") };
        assert_eq!((what, bound), (asked, limit as u64));
    };
    check(Frame::Compare { restart: true, message: ByteBuf::from([0x61]) }, "comparisons", PASSES_MAX);
    check(Frame::Sampling, "samples", BULKS_MAX);
    check(Frame::Have { salt: [0; 32].into(), bits: ByteBuf::from([7]), more: false }, "possessions", BULKS_MAX);
}

#[test]
fn a_possession_is_bounded() {
    let part = Frame::Have { salt: [0; 32].into(), bits: ByteBuf::from(vec![0; 1_000_000]), more: true }.encode();
    let mut follower = follower_of(set_of(0..3));
    let ended = (0..17).try_for_each(|_| follower.receive(&part[4..]));
    assert!(matches!(ended, Err(SessionError::TooMuch { what: "bytes of a possession", .. })), "{ended:?}");
}

#[test]
fn what_a_comparison_names_is_bounded() {
    // A follower that claims ids without end: each message lists 30,000 and says that more differs.
    let mut leader =
        Leader::synchronise(set_of(0..1000), PeerId::random(), [0; 32], &Mode::Differential).expect("begins");
    let lying = Arc::new(Liar { claims: PASS_IDS_MAX * 2 });
    let mut follower = Follower::new(lying, PeerId::random(), [0; 32], leader.opening()).expect("answers");
    let ended = (|| -> Result<(), SessionError> {
        while !leader.is_finished() {
            while let Some(frame) = follower.next_frame()? {
                leader.receive(&frame[4..])?;
                assert!(leader.outcome().received_bytes < 20 << 20, "the leader stops in time");
            }
            while let Some(frame) = leader.next_frame()? {
                follower.receive(&frame[4..])?;
            }
        }
        Ok(())
    })();
    assert!(matches!(ended, Err(SessionError::Unserved { .. })), "{ended:?}");
}

/// Claims records and serves none.
struct Liar {
    claims: usize,
}

impl RecordSet for Liar {
    fn items(&self) -> Result<Items, SetError> {
        let item = |number: usize| Item {
            time: number as u64,
            id: RecordId::of(&number.to_le_bytes()),
            category: Category(0),
            priority: 0,
        };
        Ok(Items::new((0..self.claims).map(item).collect()))
    }

    fn get(&self, ids: &[RecordId]) -> Result<Vec<Option<Bytes>>, SetError> {
        Ok(vec![None; ids.len()])
    }

    fn lacking(&self, _ids: &[RecordId]) -> Result<Vec<RecordId>, SetError> {
        Ok(Vec::new())
    }

    fn offer(&self, _from: PeerId, records: &[Bytes]) -> Result<Vec<Verdict>, SetError> {
        Ok(vec![Verdict::Known; records.len()])
    }
}
