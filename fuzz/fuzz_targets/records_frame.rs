//! Sessions of records with a hostile side: nothing panics, no bound is passed, and what was not asked for is not taken.
//!
//! The first byte says who is attacked and how. Then come frames, each with two bytes of length before it.

#![no_main]

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use stoq::PeerId;
use stoq::records::frame::{Frame, Opening};
use stoq::records::limits::{FRAME_BYTES_MAX, FRAME_IDS_MAX, REFUSED_MAX, TURNS_MAX, UNSERVED_MAX};
use stoq::records::memory::Described;
use stoq::records::{Filter, Follower, Leader, MemorySet, Mode, RecordId, RecordSet, Side, announcement};

/// What both sides of a session could have: 200 records of which the attacked side has the first 150.
static PEER: LazyLock<PeerId> = LazyLock::new(PeerId::random);
const HELD: u8 = 150;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else { return };
    let set = set();
    match kind % 5 {
        0 => {
            let (opening, rest) = split(rest);
            if let Ok(follower) = Follower::new(set.clone(), *PEER, [7; 32], opening) {
                attack(&set, follower, rest, <[u8]>::to_vec);
            }
        }
        1 => {
            let leader = Leader::synchronise(set.clone(), *PEER, [7; 32], &Mode::Differential).expect("begins");
            attack(&set, leader, rest, <[u8]>::to_vec);
        }
        // Messages of comparisons, which flipped bytes of frames seldom reach.
        2 => {
            let (message, rest) = split(rest);
            let opening = Opening { filter: Filter::default(), message: message.to_vec().into() };
            if let Ok(follower) = Follower::new(set.clone(), *PEER, [7; 32], &opening.encode()) {
                attack(&set, follower, rest, compare);
            }
        }
        3 => {
            let leader = Leader::synchronise(set.clone(), *PEER, [7; 32], &Mode::Differential).expect("begins");
            attack(&set, leader, rest, compare);
        }
        _ => {
            if let Ok(ids) = announcement::decode(rest) {
                let again: Vec<_> = announcement::encode(&ids)
                    .iter()
                    .flat_map(|message| announcement::decode(message).expect("reads"))
                    .collect();
                assert_eq!(again, ids);
            }
        }
    }
});

/// What a session has asked for.
#[derive(Default)]
struct Asked {
    wanted: HashSet<RecordId>,
    /// Whether both sides told what they have: then each sends what it finds missing.
    in_bulk: bool,
}

fn attack(set: &MemorySet, mut side: impl Side, mut frames: &[u8], wrap: impl Fn(&[u8]) -> Vec<u8>) {
    let before = ids(set);
    let mut asked = Asked::default();
    loop {
        while let Ok(Some(frame)) = side.next_frame() {
            let (head, body) = frame.split_first_chunk().expect("there is a length");
            assert_eq!(u32::from_le_bytes(*head) as usize, body.len());
            assert!(body.len() <= FRAME_BYTES_MAX, "what is sent keeps the bound");
            match Frame::decode(body).expect("what is sent can be read") {
                Frame::Want(ids) => asked.wanted.extend(ids.0),
                Frame::Have { .. } => asked.in_bulk = true,
                _ => {}
            }
        }
        if frames.is_empty() || side.is_finished() {
            break;
        }
        let (frame, rest) = split(frames);
        frames = rest;
        let body = wrap(frame);
        if let Ok(frame) = Frame::decode(&body) {
            assert_eq!(Frame::decode(&frame.encode()[4..]), Ok(frame));
        }
        if side.receive(&body).is_err() {
            break;
        }
    }
    let (outcome, after) = (side.outcome(), ids(set));
    let new: Vec<&RecordId> = after.difference(&before).collect();
    assert_eq!(new.len() as u64, outcome.accepted, "what is counted is what is taken");
    assert!(before.is_subset(&after), "a set only grows");
    assert!(asked.in_bulk || new.iter().all(|id| asked.wanted.contains(id)), "what is taken was asked for");
    assert!(outcome.turns <= TURNS_MAX + 1 && outcome.refused <= REFUSED_MAX + 1);
    assert!(outcome.unserved <= UNSERVED_MAX + FRAME_IDS_MAX as u64, "one frame goes over the bound and no more");
}

fn ids(set: &MemorySet) -> HashSet<RecordId> {
    set.items().expect("is in memory").as_slice().iter().map(|item| item.id).collect()
}

fn compare(message: &[u8]) -> Vec<u8> {
    Frame::Compare { restart: false, message: message.to_vec().into() }.encode().split_off(4)
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.split_first_chunk() {
        Some((length, rest)) => rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len())),
        None => (&[], &[]),
    }
}

/// Times are shared by ten records each, so that bounds need ids.
fn set() -> Arc<MemorySet> {
    let set = MemorySet::new(|bytes| match bytes {
        [number, ..] => Ok(Described { time: u64::from(number / 10), ..Described::default() }),
        [] => Err("it is empty".to_owned()),
    });
    for number in 0..HELD {
        set.insert(vec![number; 20].into());
    }
    Arc::new(set)
}
