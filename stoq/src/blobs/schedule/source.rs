//! What is known of one source.

use std::time::{Duration, Instant};

/// The shortest time over which a rate is measured.
const SAMPLE_MIN: Duration = Duration::from_millis(20);
/// What was measured fades within about this time, in silence, too: a burst is not taken for a rate.
const MEMORY: Duration = Duration::from_millis(500);
/// How long a source waits after its first failure; twice as long after each further one.
const BACK_OFF: Duration = Duration::from_millis(250);
/// The longest wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Source {
    pub(super) in_flight: usize,
    failures: u32,
    waits_until: Instant,
    /// Bytes per second at the end of the last sample; zero when it is not known.
    rate: f64,
    sample_began: Instant,
    sample_bytes: u64,
}

impl Source {
    pub(super) fn new(now: Instant) -> Self {
        Self { in_flight: 0, failures: 0, waits_until: now, rate: 0.0, sample_began: now, sample_bytes: 0 }
    }

    pub(super) fn asked(&mut self, now: Instant) {
        if self.in_flight == 0 {
            (self.sample_began, self.sample_bytes) = (now, 0);
        }
        self.in_flight += 1;
    }

    pub(super) fn received(&mut self, now: Instant, bytes: u64) {
        self.sample_bytes += bytes;
        let time = now.saturating_duration_since(self.sample_began);
        if time >= SAMPLE_MIN {
            let sample = self.sample_bytes as f64 / time.as_secs_f64();
            let kept = if self.rate == 0.0 { 0.0 } else { faded(time) };
            self.rate = self.rate * kept + sample * (1.0 - kept);
            (self.sample_began, self.sample_bytes) = (now, 0);
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and gives how many there were in a row.
    pub(super) fn failed(&mut self, now: Instant) -> u32 {
        let wait = BACK_OFF.saturating_mul(1 << self.failures.min(16)).min(BACK_OFF_MAX);
        self.waits_until = now + wait;
        self.failures += 1;
        self.failures
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        now >= self.waits_until
    }

    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.in_flight == 0 && self.is_ready(now)
    }

    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        (!self.is_ready(now)).then_some(self.waits_until)
    }

    /// Gives bytes per second; zero when they are not known.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let silence = now.saturating_duration_since(self.sample_began);
        if self.in_flight > 0 { self.rate * faded(silence.saturating_sub(SAMPLE_MIN)) } else { self.rate }
    }

    pub(super) fn time_for(&self, now: Instant, bytes: u64) -> Option<Duration> {
        let rate = self.rate(now);
        (rate > 0.0).then(|| Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(Duration::MAX))
    }
}

fn faded(time: Duration) -> f64 {
    (-time.as_secs_f64() / MEMORY.as_secs_f64()).exp()
}
