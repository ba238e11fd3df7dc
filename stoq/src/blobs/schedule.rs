//! Who is asked for which groups, and when. No sockets, no clock, no disk: it is told the time and what happened, and says what
//! to do.
//!
//! - A source gets spans of about a second of its measured rate, two at a time.
//! - A request of which no byte comes for two seconds *lends* its groups: others may fetch them, while the source is kept and
//!   goes on when bytes come. A time for whole groups would give up slow paths for ever.
//! - A wrong byte drops a source for good; one that fails waits longer each time and is dropped after five failures in a row.
//! - When nothing is left to ask for, idle sources take the second half of the slowest request.
//! - An empty list of missing groups ends nothing: groups in flight can come back, and idle sources then get them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::groups::Groups;
use super::tree::group_count;
use super::{GROUP_BYTES, wire};

mod event;
mod source;

pub use event::{Action, Event, Fault, RequestId};
use source::Source;

/// Bounds and times of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most sources that are used at once; more are not taken.
    pub sources_max: usize,
    /// The most requests in flight.
    pub requests_max: usize,
    /// The most requests in flight to one source.
    pub requests_per_source_max: usize,
    /// The most groups of a request.
    pub span_groups_max: u64,
    /// How long a span should take.
    pub span: Duration,
    /// After how long without a byte the groups of a request are lent.
    pub no_bytes: Duration,
    /// After how long without a byte a request is given up.
    pub silence_max: Duration,
    /// After how many failures in a row a source is dropped.
    pub failures_max: u32,
    /// The largest blob that is wanted, in bytes.
    pub size_bytes_max: u64,
}

impl Limits {
    /// What is used where nothing else is said, for blobs of at most so many bytes.
    pub fn for_size(size_bytes_max: u64) -> Self {
        Self {
            sources_max: 64,
            requests_max: 32,
            requests_per_source_max: 2,
            span_groups_max: 64,
            span: Duration::from_secs(1),
            no_bytes: Duration::from_secs(2),
            silence_max: Duration::from_secs(30),
            failures_max: 5,
            size_bytes_max,
        }
    }
}

/// The most sources that are remembered as dropped; when there are so many, no other is taken.
pub const DROPPED_MAX: usize = 1024;
/// How many sources are asked for the size at once.
const PROBES_MAX: usize = 3;
/// A source whose rate is not known gets so many groups.
const FIRST_SPAN_GROUPS: u64 = 4;
/// A request that is nearly done is not worth a second one.
const HEDGE_MIN: Duration = Duration::from_millis(200);
/// How often it is looked whether a request became worth a second one.
const HEDGE_EVERY: Duration = Duration::from_millis(250);

/// Who is asked for what.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    plan: Option<Plan>,
    sources: BTreeMap<PeerId, Source>,
    dropped: BTreeMap<PeerId, Fault>,
    requests: BTreeMap<RequestId, Request>,
    next_id: u64,
    paused: bool,
}

/// What is known of the groups; there is none before the size is proved.
#[derive(Debug)]
struct Plan {
    done: Groups,
    /// Neither done nor asked for, or asked for and lent.
    missing: Groups,
}

#[derive(Debug)]
struct Request {
    peer: PeerId,
    /// None of the question for the last group.
    groups: Option<Range<u64>>,
    started: Instant,
    last_byte: Instant,
    lent: bool,
}

impl Scheduler {
    /// Begins with nothing.
    pub fn new(limits: Limits) -> Self {
        let (sources, dropped, requests) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { limits, plan: None, sources, dropped, requests, next_id: 0, paused: false }
    }

    /// Begins with groups of an earlier attempt that were verified, the last one among them.
    pub(crate) fn resume(limits: Limits, done: Groups) -> Self {
        let mut missing = Groups::full(done.bound());
        done.iter().for_each(|group| missing.remove(group));
        Self { plan: Some(Plan { done, missing }), ..Self::new(limits) }
    }

    /// Takes what happened, and says what to do now.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Source(peer) => self.add(now, peer),
            Event::Proved { id, size } => self.proved(id, size, &mut actions),
            Event::Received { id, bytes } => self.received(now, id, bytes),
            Event::Verified { id, group } => self.verified(id, group, &mut actions),
            Event::Ended { id, fault } => self.ended(now, id, fault, &mut actions),
        }
        self.ask(now, &mut actions);
        actions
    }

    /// Says what to do because time has passed.
    pub fn due(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let silent = |request: &Request, time: Duration| now.saturating_duration_since(request.last_byte) >= time;
        let lend: Vec<RequestId> = self.matching(|request| !request.lent && silent(request, self.limits.no_bytes));
        for id in lend {
            self.lend(id);
        }
        for id in self.matching(|request| silent(request, self.limits.silence_max)) {
            actions.push(Action::Cancel(id));
            let why = format!("no byte for {} s", self.limits.silence_max.as_secs());
            self.ended(now, id, Some(Fault::Failed(why)), &mut actions);
        }
        self.ask(now, &mut actions);
        actions
    }

    /// Says when [`Scheduler::due`] has something to do, if nothing happens before.
    pub fn wakes(&self, now: Instant) -> Option<Instant> {
        let requests = self.requests.values().map(|request| {
            request.last_byte + if request.lent { self.limits.silence_max } else { self.limits.no_bytes }
        });
        let sources = self.sources.values().filter_map(|source| source.waits_until(now));
        let idle = self.sources.values().any(|source| source.is_idle(now)) && !self.requests.is_empty();
        requests.chain(sources).chain(idle.then(|| now + HEDGE_EVERY)).min()
    }

    /// Gives up all requests and asks nobody until [`Scheduler::go_on`].
    pub fn pause(&mut self) -> Vec<Action> {
        self.paused = true;
        let ids: Vec<RequestId> = self.requests.keys().copied().collect();
        ids.iter().for_each(|id| _ = self.take(*id));
        ids.into_iter().map(Action::Cancel).collect()
    }

    /// Asks again.
    pub fn go_on(&mut self, now: Instant) -> Vec<Action> {
        self.paused = false;
        let mut actions = Vec::new();
        self.ask(now, &mut actions);
        actions
    }

    /// Says whether every group is verified.
    pub fn is_complete(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.done.count() == plan.done.bound())
    }

    /// Says whether nobody is left to ask; more sources may be told.
    pub fn is_stranded(&self) -> bool {
        self.sources.is_empty()
    }

    /// Gives how many sources are used or wait for their next try.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Gives the sources that were dropped, and why.
    pub fn dropped(&self) -> &BTreeMap<PeerId, Fault> {
        &self.dropped
    }

    fn add(&mut self, now: Instant, peer: PeerId) {
        let room = self.sources.len() < self.limits.sources_max && self.dropped.len() < DROPPED_MAX;
        if room && !self.dropped.contains_key(&peer) {
            self.sources.entry(peer).or_insert_with(|| Source::new(now));
        }
    }

    fn proved(&mut self, id: RequestId, size: u64, actions: &mut Vec<Action>) {
        self.take(id);
        if self.plan.is_some() {
            return;
        }
        if size > self.limits.size_bytes_max {
            self.paused = true;
            actions.push(Action::TooLarge { size });
            return;
        }
        let others: Vec<RequestId> = self.requests.keys().copied().collect();
        for other in others {
            self.take(other);
            actions.push(Action::Cancel(other));
        }
        let count = group_count(size);
        let (mut done, mut missing) = (Groups::new(count), Groups::full(count));
        done.insert(count - 1);
        missing.remove(count - 1);
        self.plan = Some(Plan { done, missing });
    }

    fn received(&mut self, now: Instant, id: RequestId, bytes: u64) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.last_byte = now;
        if let Some(source) = self.sources.get_mut(&request.peer) {
            source.received(now, bytes);
        }
        // Bytes come again: what nobody has borrowed is taken back.
        if std::mem::take(&mut request.lent)
            && let (Some(plan), Some(groups)) = (&mut self.plan, request.groups.clone())
        {
            plan.missing.remove_all(groups);
        }
    }

    /// A group counts also when its request was given up meanwhile: it is there.
    fn verified(&mut self, id: RequestId, group: u64, actions: &mut Vec<Action>) {
        let Some(plan) = &mut self.plan else { return };
        if let Some(source) = self.requests.get(&id).and_then(|request| self.sources.get_mut(&request.peer)) {
            source.succeeded();
        }
        if !plan.done.insert(group) {
            return;
        }
        plan.missing.remove(group);
        // Whoever else was asked for this group and has nothing else to bring can stop.
        let done = &plan.done;
        let covers = |groups: &Range<u64>| groups.contains(&group) && done.has_all(groups.clone());
        let others = self
            .requests
            .iter()
            .filter(|(other, request)| **other != id && request.groups.as_ref().is_some_and(covers));
        let others: Vec<RequestId> = others.map(|(other, _)| *other).collect();
        for other in others {
            self.take(other);
            actions.push(Action::Cancel(other));
        }
    }

    fn ended(&mut self, now: Instant, id: RequestId, fault: Option<Fault>, actions: &mut Vec<Action>) {
        let Some(Request { peer, .. }) = self.take(id) else { return };
        let why = match fault {
            None => return,
            Some(Fault::Failed(why)) => {
                let Some(source) = self.sources.get_mut(&peer) else { return };
                if source.failed(now) < self.limits.failures_max {
                    return;
                }
                Fault::Failed(why)
            }
            Some(why) => why,
        };
        for id in self.matching(|request| request.peer == peer) {
            self.take(id);
            actions.push(Action::Cancel(id));
        }
        self.sources.remove(&peer);
        self.dropped.insert(peer, why.clone());
        actions.push(Action::Dropped { peer, why });
    }

    /// Removes a request; groups of it that nobody else brings are missing again.
    fn take(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        if let Some(source) = self.sources.get_mut(&request.peer) {
            source.in_flight -= 1;
        }
        self.give_back(&request);
        Some(request)
    }

    fn lend(&mut self, id: RequestId) {
        let Some(mut request) = self.requests.remove(&id) else { return };
        request.lent = true;
        self.give_back(&request);
        self.requests.insert(id, request);
    }

    fn give_back(&mut self, request: &Request) {
        let (Some(plan), Some(groups)) = (&mut self.plan, request.groups.clone()) else { return };
        let brought = |group: &u64| {
            let brings =
                |other: &Request| !other.lent && other.groups.as_ref().is_some_and(|groups| groups.contains(group));
            plan.done.has(*group) || self.requests.values().any(brings)
        };
        let missing: Vec<u64> = groups.filter(|group| !brought(group)).collect();
        missing.into_iter().for_each(|group| _ = plan.missing.insert(group));
    }

    fn matching(&self, wanted: impl Fn(&Request) -> bool) -> Vec<RequestId> {
        self.requests.iter().filter(|(_, request)| wanted(request)).map(|(id, _)| *id).collect()
    }

    /// Asks whoever has room for what is missing, the fastest first; then for what is slow.
    fn ask(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while !self.paused && !self.is_complete() && self.requests.len() < self.limits.requests_max {
            let next = match &self.plan {
                None => self.probe(now),
                Some(plan) if plan.missing.count() > 0 => self.span(now, plan),
                Some(plan) => self.hedge(now, plan),
            };
            let Some((peer, groups)) = next else { return };
            let id = RequestId(self.next_id);
            self.next_id += 1;
            if let (Some(plan), Some(groups)) = (&mut self.plan, groups.clone()) {
                plan.missing.remove_all(groups);
            }
            self.sources.get_mut(&peer).expect("only sources are chosen").asked(now);
            let part = groups.clone().map_or(wire::Part::Last, |groups| wire::Part::Groups(vec![groups]));
            self.requests.insert(id, Request { peer, groups, started: now, last_byte: now, lent: false });
            actions.push(Action::Ask { id, peer, part });
        }
    }

    fn probe(&self, now: Instant) -> Option<(PeerId, Option<Range<u64>>)> {
        let asked = self.requests.values().filter(|request| !request.lent).count();
        let idle = self.sources.iter().find(|(_, source)| source.is_idle(now));
        idle.filter(|_| asked < PROBES_MAX).map(|(peer, _)| (*peer, None))
    }

    fn span(&self, now: Instant, plan: &Plan) -> Option<(PeerId, Option<Range<u64>>)> {
        let stalled = |peer: &PeerId| self.requests.values().any(|request| request.lent && request.peer == *peer);
        let ready = |source: &Source| source.is_ready(now) && source.in_flight < self.limits.requests_per_source_max;
        let free = self.sources.iter().filter(|(peer, source)| ready(source) && !stalled(peer));
        // Whoever has less in flight comes first, then whoever is faster.
        let (peer, source) =
            free.min_by(|(_, a), (_, b)| a.in_flight.cmp(&b.in_flight).then(b.rate(now).total_cmp(&a.rate(now))))?;
        let slots =
            self.sources.values().filter(|source| source.is_ready(now)).count() * self.limits.requests_per_source_max;
        let share = plan.missing.count().div_ceil(slots.max(1) as u64);
        let wanted = match source.rate(now) {
            0.0 => FIRST_SPAN_GROUPS,
            rate => (rate * self.limits.span.as_secs_f64() / GROUP_BYTES as f64) as u64,
        };
        let count = wanted.min(share).clamp(1, self.limits.span_groups_max.min(wire::GROUPS_MAX));
        Some((*peer, plan.missing.first_run(count)))
    }

    /// Finds an idle source, and the second half of the request that ends last and that nobody else brings.
    fn hedge(&self, now: Instant, plan: &Plan) -> Option<(PeerId, Option<Range<u64>>)> {
        let idle = self.sources.iter().filter(|(_, source)| source.is_idle(now));
        let (peer, source) = idle.max_by(|(_, a), (_, b)| a.rate(now).total_cmp(&b.rate(now)))?;
        let candidates = self.requests.values().filter_map(|request| {
            let groups = request.groups.clone()?;
            let left: Vec<u64> = groups.filter(|group| !plan.done.has(*group)).collect();
            let alone = |group: &u64| {
                let brings = |other: &&Request| other.groups.as_ref().is_some_and(|groups| groups.contains(group));
                self.requests.values().filter(brings).count() == 1
            };
            (request.peer != *peer && !left.is_empty() && left.iter().all(alone))
                .then(|| (self.time_left(now, request, left.len()), left))
        });
        let (time_left, left) = candidates.max_by_key(|(time_left, _)| *time_left)?;
        let tail = &left[left.len() / 2..];
        let (first, last) = (*tail.first()?, *tail.last()?);
        let ours = source.time_for(now, tail.len() as u64 * GROUP_BYTES as u64).unwrap_or(HEDGE_MIN);
        (time_left >= HEDGE_MIN && ours < time_left).then(|| (*peer, Some(first..last + 1)))
    }

    fn time_left(&self, now: Instant, request: &Request, groups: usize) -> Duration {
        if request.lent {
            return Duration::MAX;
        }
        let source = self.sources.get(&request.peer);
        let alone = source.and_then(|source| source.time_for(now, groups as u64 * GROUP_BYTES as u64));
        let silent = now.saturating_duration_since(request.last_byte);
        // Nothing is known of a source that sent nothing yet: it will take as long as it took.
        alone.unwrap_or_else(|| now.saturating_duration_since(request.started)).max(silent)
    }
}

#[cfg(test)]
mod tests;
