//! Who runs next: a bounded queue with priorities that age, bounds for each package, times to wait for, and leases that may be
//! refused.
//!
//! A state machine without IO and clock. Its owner tells it who came, whom the host refused a lease, and who left, and asks
//! it who may try next. The order is that of one number for each ticket, its time of coming plus what its priority lets it
//! wait: [`HEAD_START`] for each step below critical. So a critical run overtakes a low one that came less than three steps
//! before it, and no other; whoever waits longest is first in the end. The order of two tickets never changes while they
//! wait, so nothing is sorted again as time goes by.
//!
//! Invariants: a ticket is given out once at a time and to nobody but its owner; no package has more tickets out than its
//! bound; a ticket that the host refuses is passed by others for [`RESERVE_AFTER`] at most, and by [`PASSED_BY_MAX`] lanes; of
//! those who were refused only the first in the order tries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::package::model::Priority;
use crate::package::name::PackageName;

/// The most tickets that wait.
pub const WAITING_MAX: usize = 10_000;
/// The most tickets that are out, whatever the leases allow: each is a process.
pub const RUNNING_MAX: usize = 256;
/// How much earlier than it came a ticket counts for each step of priority.
pub const HEAD_START: Duration = Duration::from_secs(30);
/// How long others may overtake a ticket whose lease was refused; then what becomes free is kept for it.
pub const RESERVE_AFTER: Duration = Duration::from_secs(5);
/// How many packages may wait for a lease before nobody else is let past them.
pub const PASSED_BY_MAX: usize = 16;
/// How long work for idle times waits at most for one.
pub const BACKGROUND_WAIT_MAX: Duration = Duration::from_secs(300);

/// The number of somebody in the queue; numbers rise and are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What somebody who queues says of himself.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose bound counts.
    pub package: PackageName,
    /// How urgent it is.
    pub priority: Priority,
    /// How many of the package may be out at the same time.
    pub running_max: Option<u32>,
    /// Not before this time.
    pub not_before: Option<Instant>,
    /// Only when nothing else is out, or after [`BACKGROUND_WAIT_MAX`].
    pub background: bool,
}

/// [`WAITING_MAX`] tickets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{WAITING_MAX} executions wait already; try again when some have begun")]
pub struct Full;

/// The queue.
#[derive(Debug)]
pub struct Queue {
    running_max: usize,
    issued: u64,
    tickets: HashMap<Ticket, Entry>,
    lanes: HashMap<LaneKey, Lane>,
    /// The heads of lanes that have room and are not parked, of foreground and background.
    ready: [BTreeSet<(Rank, LaneKey)>; 2],
    /// The heads of lanes whose lease was refused, with the time of the first refusal.
    parked: BTreeMap<(Rank, LaneKey), Instant>,
    /// Those who are out for another try to get a lease, with the time of the first refusal.
    trying: BTreeMap<Rank, Instant>,
    delayed: BTreeSet<(Instant, Ticket)>,
    waiting: usize,
    out: usize,
}

/// A place in the order: earlier is sooner. No two are equal.
type Rank = (Instant, Ticket);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct LaneKey {
    package: PackageName,
    background: bool,
}

#[derive(Debug)]
struct Entry {
    lane: LaneKey,
    rank: Rank,
    came: Instant,
    place: Place,
    /// When the host first refused it a lease.
    refused: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Delayed(Instant),
    Waiting,
    Out,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeSet<Rank>,
    /// How many wait for a time.
    delayed: usize,
    out: usize,
    out_max: Option<u32>,
}

impl Queue {
    /// Makes an empty queue that lets so many out at the same time.
    pub fn new(running_max: usize) -> Self {
        Self {
            running_max,
            issued: 0,
            tickets: HashMap::new(),
            lanes: HashMap::new(),
            ready: Default::default(),
            parked: BTreeMap::new(),
            trying: BTreeMap::new(),
            delayed: BTreeSet::new(),
            waiting: 0,
            out: 0,
        }
    }

    /// Lets somebody in. The bound of a package is that of whoever came last.
    ///
    /// # Errors
    /// [`WAITING_MAX`] wait.
    pub fn enter(&mut self, ask: &Ask, now: Instant) -> Result<Ticket, Full> {
        if self.waiting >= WAITING_MAX { Err(Full) } else { Ok(self.enter_again(ask, now)) }
    }

    /// Lets somebody in who was in before and has left: beyond [`WAITING_MAX`] if need be, by [`RUNNING_MAX`] at most.
    pub fn enter_again(&mut self, ask: &Ask, now: Instant) -> Ticket {
        self.issued += 1;
        let ticket = Ticket(self.issued);
        let lane = LaneKey { package: ask.package.clone(), background: ask.background };
        let begins = ask.not_before.unwrap_or(now).max(now);
        let rank = (begins + allowance(ask.priority), ticket);
        let place = if begins > now { Place::Delayed(begins) } else { Place::Waiting };
        self.change(&lane, |lane| {
            lane.out_max = ask.running_max;
            match place {
                Place::Delayed(_) => lane.delayed += 1,
                _ => drop(lane.waiting.insert(rank)),
            }
        });
        if let Place::Delayed(at) = place {
            self.delayed.insert((at, ticket));
        }
        self.tickets.insert(ticket, Entry { lane, rank, came: begins, place, refused: None });
        self.waiting += 1;
        ticket
    }

    /// Gives the next that may try to get its lease; it is out from now on.
    pub fn next(&mut self, now: Instant) -> Option<Ticket> {
        self.end_delays(now);
        if self.out >= self.running_max {
            return None;
        }
        let (rank, key) = self.candidate(now)?;
        // Of those who were refused only the first tries, or chance would decide who gets what becomes free in between.
        let was_refused = self.tickets.get(&rank.1).is_some_and(|entry| entry.refused.is_some());
        let parked_before = || self.parked.first_key_value().is_some_and(|((first, _), _)| *first < rank);
        let others_before = || self.trying.range(..rank).next().is_some() || parked_before();
        if (was_refused && others_before()) || self.is_kept_for_others(rank, now) {
            return None;
        }
        self.change(&key, |lane| {
            lane.waiting.remove(&rank);
            lane.out += 1;
        });
        let entry = self.tickets.get_mut(&rank.1)?;
        entry.place = Place::Out;
        if let Some(since) = entry.refused {
            self.trying.insert(rank, since);
        }
        self.waiting -= 1;
        self.out += 1;
        Some(rank.1)
    }

    /// Notes that somebody who is out has his lease, so that nothing need be kept for him any more.
    pub fn started(&mut self, ticket: Ticket) {
        if let Some(entry) = self.tickets.get(&ticket) {
            self.trying.remove(&entry.rank);
        }
    }

    /// Takes somebody back whom the host refused a lease at present. He keeps his place, and is not tried again before
    /// [`Self::wake`] or somebody leaves who was out.
    pub fn refused(&mut self, ticket: Ticket, now: Instant) {
        let Some(entry) = self.tickets.get_mut(&ticket).filter(|entry| entry.place == Place::Out) else { return };
        entry.place = Place::Waiting;
        let since = *entry.refused.get_or_insert(now);
        let (key, rank) = (entry.lane.clone(), entry.rank);
        self.trying.remove(&rank);
        self.out -= 1;
        self.waiting += 1;
        self.change(&key, |lane| {
            lane.out -= 1;
            lane.waiting.insert(rank);
        });
        // The others of the package want the same, so the lane waits as a whole behind whoever is first in it.
        self.unlist(&key);
        if let Some(head) = self.lanes.get(&key).and_then(|lane| lane.waiting.first().copied()) {
            self.parked.insert((head, key), since);
        }
    }

    /// Lets those try again whose lease was refused: something may have become free.
    pub fn wake(&mut self) {
        for (_, key) in std::mem::take(&mut self.parked).into_keys() {
            self.list(&key);
        }
    }

    /// Lets somebody go, wherever he stands. Who was out frees what others wait for.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(Entry { lane: key, rank, place, .. }) = self.tickets.remove(&ticket) else { return };
        self.change(&key, |lane| match place {
            Place::Delayed(_) => lane.delayed -= 1,
            Place::Waiting => drop(lane.waiting.remove(&rank)),
            Place::Out => lane.out -= 1,
        });
        if self.lanes.get(&key).is_some_and(|lane| lane.waiting.is_empty() && lane.out == 0 && lane.delayed == 0) {
            self.lanes.remove(&key);
        }
        if let Place::Delayed(at) = place {
            self.delayed.remove(&(at, ticket));
        }
        if place == Place::Out {
            self.trying.remove(&rank);
            self.out -= 1;
            self.wake();
        } else {
            self.waiting -= 1;
        }
    }

    /// Tells when a ticket that waits should be looked at again although nobody came or left; none if only that helps.
    pub fn look_again(&self, ticket: Ticket) -> Option<Instant> {
        let entry = self.tickets.get(&ticket)?;
        match entry.place {
            Place::Delayed(at) => Some(at),
            Place::Waiting if entry.lane.background => Some(entry.came + BACKGROUND_WAIT_MAX),
            _ => None,
        }
    }

    /// Counts those who wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Counts those who are out.
    pub fn out(&self) -> usize {
        self.out
    }

    fn candidate(&self, now: Instant) -> Option<(Rank, LaneKey)> {
        let [foreground, background] = &self.ready;
        let idle = self.out == 0 && self.parked.is_empty() && foreground.is_empty();
        let may_run = |(rank, _): &&(Rank, LaneKey)| {
            let came = self.tickets.get(&rank.1).map_or(now, |entry| entry.came);
            idle || now.saturating_duration_since(came) >= BACKGROUND_WAIT_MAX
        };
        match (foreground.first(), background.first().filter(may_run)) {
            (Some(first), Some(second)) => Some(first.min(second).clone()),
            (first, second) => first.or(second).cloned(),
        }
    }

    /// Tells whether what is free is kept for somebody who stands before a rank.
    fn is_kept_for_others(&self, rank: Rank, now: Instant) -> bool {
        let parked = self.parked.iter().map(|((parked, _), since)| (parked, since));
        let mut before = parked.chain(&self.trying).filter(|(other, _)| **other < rank);
        before.clone().count() >= PASSED_BY_MAX
            || before.any(|(_, since)| now.saturating_duration_since(*since) >= RESERVE_AFTER)
    }

    fn end_delays(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.delayed.first().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, ticket));
            let Some(entry) = self.tickets.get_mut(&ticket) else { continue };
            entry.place = Place::Waiting;
            let (key, rank) = (entry.lane.clone(), entry.rank);
            self.change(&key, |lane| {
                lane.delayed -= 1;
                lane.waiting.insert(rank);
            });
        }
    }

    /// Changes a lane, and keeps the lists true. One that is parked stays so: whoever comes wants what was refused.
    fn change(&mut self, key: &LaneKey, change: impl FnOnce(&mut Lane)) {
        let parked = self.parked.iter().find(|((_, parked), _)| parked == key).map(|(_, since)| *since);
        self.unlist(key);
        let lane = self.lanes.entry(key.clone()).or_default();
        change(lane);
        match (parked, lane.waiting.first().copied()) {
            (Some(since), Some(head)) => drop(self.parked.insert((head, key.clone()), since)),
            _ => self.list(key),
        }
    }

    fn unlist(&mut self, key: &LaneKey) {
        let Some(head) = self.lanes.get(key).and_then(|lane| lane.waiting.first().copied()) else { return };
        let listed = (head, key.clone());
        self.ready[usize::from(key.background)].remove(&listed);
        self.parked.remove(&listed);
    }

    /// Puts a lane on the list of those that are ready, if it is.
    fn list(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.get(key) else { return };
        let has_room = lane.out_max.is_none_or(|max| lane.out < max as usize);
        if let Some(head) = lane.waiting.first().copied().filter(|_| has_room) {
            self.ready[usize::from(key.background)].insert((head, key.clone()));
        }
    }
}

/// Gives how long a priority lets others overtake.
fn allowance(priority: Priority) -> Duration {
    let steps = match priority {
        Priority::Critical => 0,
        Priority::High => 1,
        Priority::Normal => 2,
        Priority::Low => 3,
    };
    HEAD_START * steps
}

#[cfg(test)]
mod tests;
