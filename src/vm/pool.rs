//! Idle workers, kept so that a second run of the same program for the same caller need not start one.
//!
//! A worker is only ever given to a run with the program, the trust domain and the limits it was started for; the next
//! load gives that run a fresh environment. The pool reads no clock: `now` comes from the caller.
//!
//! Invariant: at most [`PoolOptions::idle_max`] processes wait here, none longer than [`PoolOptions::idle_for`] past the
//! next use of the pool.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::vm::process::Worker;
use crate::vm::program::{Limits, Run, TrustDomain};

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// How many workers wait at most; the one that has waited longest goes first. Zero keeps none.
    pub idle_max: usize,
    /// How long one waits at most.
    pub idle_for: Duration,
}

/// Idle workers.
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    /// In the order of their coming.
    idle: Mutex<VecDeque<Idle>>,
}

/// What a worker and a run must share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    program: Digest,
    domain: TrustDomain,
    limits: Limits,
}

#[derive(Debug)]
struct Idle {
    key: Key,
    worker: Worker,
    since: Instant,
}

impl PoolOptions {
    /// Eight workers of some 5 MB each, for one minute.
    pub const DEFAULT: Self = Self { idle_max: 8, idle_for: Duration::from_secs(60) };
}

impl Pool {
    /// Makes an empty pool.
    pub fn new(options: PoolOptions) -> Self {
        Self { options, idle: Mutex::default() }
    }

    /// Ends the workers that have waited too long.
    pub fn evict(&self, now: Instant) {
        let kept = |idle: &Idle| now.saturating_duration_since(idle.since) < self.options.idle_for;
        let count = self.lock().iter().take_while(|idle| !kept(idle)).count();
        self.drop_oldest(count);
    }

    /// Tells how many workers wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Tells whether no worker waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether it is of no use to bring it a worker.
    pub(crate) fn keeps_none(&self) -> bool {
        self.options.idle_max == 0
    }

    pub(crate) fn take(&self, key: &Key, now: Instant) -> Option<Worker> {
        self.evict(now);
        loop {
            let mut idle = self.lock();
            // The one that came last, whose pages are the likeliest to be in memory.
            let at = idle.iter().rposition(|idle| idle.key == *key)?;
            let mut found = idle.remove(at)?;
            drop(idle);
            if found.worker.is_alive() {
                return Some(found.worker);
            }
        }
    }

    pub(crate) fn put(&self, key: Key, worker: Worker, now: Instant) {
        self.lock().push_back(Idle { key, worker, since: now });
        self.evict(now);
        self.drop_oldest(self.len().saturating_sub(self.options.idle_max));
    }

    /// Takes them out under the lock, ends them after it.
    fn drop_oldest(&self, count: usize) {
        let mut idle = self.lock();
        let count = count.min(idle.len());
        let gone: Vec<Idle> = idle.drain(..count).collect();
        drop(idle);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // Nothing under the lock leaves the queue half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    pub(crate) fn of(run: &Run) -> Self {
        Self { program: run.program.digest(), domain: run.domain.clone(), limits: run.limits }
    }
}
