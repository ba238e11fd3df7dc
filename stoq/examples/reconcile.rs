//! Measures what it costs to bring two sets of a million records into line: bytes of frames in both directions, frames that
//! carry no records, and time of both sides together, in one thread and without a network.
//!
//! `cargo run --release -p stoq --example reconcile [RECORDS]`

#![expect(clippy::print_stdout, reason = "it is there to print")]

#[path = "../../benches/target.rs"]
mod target;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stoq::PeerId;
use stoq::records::memory::Described;
use stoq::records::{Follower, Leader, MemorySet, Mode, Outcome, RecordSet, Side};

/// As long as a small release record.
const RECORD_BYTES: usize = 512;
const TRIALS: usize = 3;
/// Bytes that it may take to see that nothing differs.
const SAME_BYTES_MAX: f64 = 1024.0;

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse::<u64>())?;
    println!("{count} records of {RECORD_BYTES} bytes, median of {TRIALS}; bytes beside those of the records");
    println!("{:<22} {:>12} {:>12} {:>7} {:>8}", "different", "bytes", "a record", "frames", "ms");
    let five = count / 40;
    for (name, ours, theirs) in [
        ("none", 0, 0),
        ("1 + 1", 1, 1),
        ("50 + 50", 50, 50),
        ("1000 + 1000", 1000, 1000),
        ("0.5 % in all", count / 400, count / 400),
        ("5 % in all", five, five),
        ("all, one side empty", 0, count),
    ] {
        let mut trials = (0..TRIALS).map(|_| trial(count, ours, theirs)).collect::<Result<Vec<_>, _>>()?;
        trials.sort_by_key(|(_, took)| *took);
        let (outcome, took) = trials[TRIALS / 2];
        let records = outcome.accepted + outcome.sent;
        let bytes = outcome.sent_bytes + outcome.received_bytes - records * (RECORD_BYTES as u64 + 3);
        let each = bytes.checked_div(ours + theirs).map_or("-".to_owned(), |each| each.to_string());
        println!("{name:<22} {bytes:>12} {each:>12} {:>7} {:>8.1}", outcome.turns, took.as_secs_f64() * 1e3);
        if records == 0 {
            target::at_most(
                "equal indexes of a million records are confirmed in",
                bytes as f64,
                SAME_BYTES_MAX,
                "bytes",
            );
        }
    }
    Ok(())
}

/// Gives what the leader did and how long both sides took. The items are at hand on both sides when it begins.
fn trial(count: u64, ours: u64, theirs: u64) -> Result<(Outcome, Duration), Box<dyn Error>> {
    let (us, them) = (PeerId::random(), PeerId::random());
    let lacking_there = |number: u64| ours > 0 && number % (count / ours) == 1;
    let lacking_here = |number: u64| theirs > 0 && number.is_multiple_of(count / theirs);
    let (ours, theirs) =
        (set_of((0..count).filter(|n| !lacking_here(*n))), set_of((0..count).filter(|n| !lacking_there(*n))));
    let begin = Instant::now();
    let mut leader = Leader::synchronise(ours.clone(), them, [1; 32], &Mode::Differential)?;
    let mut follower = Follower::new(theirs.clone(), us, [2; 32], leader.opening())?;
    while !follower.is_finished() {
        while let Some(frame) = leader.next_frame()? {
            follower.receive(&frame[4..])?;
        }
        while let Some(frame) = follower.next_frame()? {
            leader.receive(&frame[4..])?;
        }
    }
    let took = begin.elapsed();
    let (ours, theirs) = (ours.items().expect("is in memory"), theirs.items().expect("is in memory"));
    assert_eq!(ours.as_slice(), theirs.as_slice(), "both sides have the same in the end");
    assert!(leader.outcome().is_complete);
    Ok((leader.outcome(), took))
}

fn set_of(numbers: impl Iterator<Item = u64>) -> Arc<MemorySet> {
    let set = MemorySet::new(|bytes| {
        let time = bytes.first_chunk().map(|time| u64::from_le_bytes(*time)).ok_or("it is too short")?;
        Ok(Described { time, ..Described::default() })
    });
    for number in numbers {
        let mut bytes = vec![7; RECORD_BYTES];
        bytes[..8].copy_from_slice(&(number / 4).to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        set.insert(Bytes::from(bytes));
    }
    set.items().expect("is in memory");
    Arc::new(set)
}
