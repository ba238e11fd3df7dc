//! What can be seen of a run while it goes on: the end of what it printed, and what its process uses now.
//!
//! Whoever runs a program writes here, whoever is curious reads; neither waits for the other. Invariant: of each stream the last
//! [`TAIL_BYTES_MAX`] bytes are kept, with their place in the whole.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// How much of each stream is kept.
pub const TAIL_BYTES_MAX: usize = 64 << 10;
/// How many processes of one run are looked at.
const PROCESSES_MAX: usize = 64;
/// The unit of times in `/proc/PID/stat` on Linux, whatever the kernel's own tick is (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICK_US: u64 = 10_000;

/// One of the two streams of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A part of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it begins, in bytes from the beginning of the stream. Later than what was asked for if that is gone.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What the processes of a run use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveUsage {
    /// Processor time so far, in microseconds; steps of 10 ms.
    pub cpu_us: u64,
    /// Memory that is resident now, in bytes.
    pub memory_bytes: u64,
}

/// What can be seen of a run.
#[derive(Debug)]
pub struct Monitor {
    seen: Mutex<Seen>,
    /// Counts what was written.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    stdout: Tail,
    stderr: Tail,
    pid: Option<u32>,
}

#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
    /// Bytes that are gone.
    start: u64,
}

impl Monitor {
    /// Notes what a program printed.
    pub fn printed(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut seen = self.seen();
        let tail = match stream {
            Stream::Stdout => &mut seen.stdout,
            Stream::Stderr => &mut seen.stderr,
        };
        let skipped = bytes.len().saturating_sub(TAIL_BYTES_MAX);
        tail.bytes.extend(&bytes[skipped..]);
        let over = tail.bytes.len().saturating_sub(TAIL_BYTES_MAX);
        tail.bytes.drain(..over);
        tail.start += (skipped + over) as u64;
        drop(seen);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes in which process the program runs; none when it has ended.
    pub fn runs_in(&self, pid: Option<u32>) {
        self.seen().pid = pid;
    }

    /// Gives what was printed from a place on, as far as it is kept.
    pub fn printed_since(&self, stream: Stream, offset: u64) -> Part {
        let seen = self.seen();
        let tail = match stream {
            Stream::Stdout => &seen.stdout,
            Stream::Stderr => &seen.stderr,
        };
        let skipped = usize::try_from(offset.saturating_sub(tail.start)).unwrap_or(usize::MAX).min(tail.bytes.len());
        Part { offset: offset.max(tail.start), bytes: tail.bytes.iter().skip(skipped).copied().collect() }
    }

    /// Gives what the program uses now; none if it runs in no process of its own, or in none at the moment.
    pub fn usage(&self) -> Option<LiveUsage> {
        let pid = self.seen().pid?;
        let mut total = LiveUsage::default();
        let mut processes = vec![pid];
        for place in 0..PROCESSES_MAX {
            let Some(pid) = processes.get(place).copied() else { break };
            let Some((usage, children)) = usage_of(pid) else { continue };
            total.cpu_us += usage.cpu_us;
            total.memory_bytes += usage.memory_bytes;
            processes.extend(children);
        }
        Some(total)
    }

    /// Subscribes to changes of what was printed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Each change of a tail ends before anything could panic.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self { seen: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

/// Gives what one process uses and who its children are; none if it has gone.
fn usage_of(pid: u32) -> Option<(LiveUsage, Vec<u32>)> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let stat = read("stat")?;
    // The name in parentheses may hold anything; after it come state (3), … utime (14), stime (15).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place - 3).and_then(|text| text.parse::<u64>().ok());
    let cpu_us = (number(14)? + number(15)?) * TICK_US;
    let status = read("status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    // A process that is ending has no memory any more, and no such line.
    let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    let memory_bytes = kib * 1024;
    let children = read(&format!("task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    Some((LiveUsage { cpu_us, memory_bytes }, children))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_printed_is_kept_with_its_place() {
        let monitor = Monitor::default();
        monitor.printed(Stream::Stdout, b"first ");
        monitor.printed(Stream::Stdout, b"second");
        monitor.printed(Stream::Stderr, b"apart");
        let part = |offset| monitor.printed_since(Stream::Stdout, offset);
        assert_eq!(part(0), Part { offset: 0, bytes: b"first second".to_vec() });
        assert_eq!(part(6), Part { offset: 6, bytes: b"second".to_vec() });
        assert_eq!(part(99).bytes, b"");
        monitor.printed(Stream::Stdout, &vec![b'x'; TAIL_BYTES_MAX + 1]);
        let rest = part(0);
        assert_eq!((rest.offset, rest.bytes.len()), (13, TAIL_BYTES_MAX));
        assert_eq!(monitor.printed_since(Stream::Stderr, 0).bytes, b"apart");
        assert_eq!(*monitor.changes().borrow(), 4);
    }

    #[test]
    fn what_a_process_uses_is_seen_while_it_runs() {
        let monitor = Monitor::default();
        assert_eq!(monitor.usage(), None);
        monitor.runs_in(Some(std::process::id()));
        let usage = monitor.usage().expect("this process runs");
        assert!(usage.memory_bytes > 1 << 20, "{usage:?}");
        monitor.runs_in(None);
        assert_eq!(monitor.usage(), None);
    }
}
