//! How fast and how much a peer is served; no clock and no sockets.

use std::time::{Duration, Instant};

/// A speed, and how much may go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes per second; at least one.
    pub bytes_per_second: u64,
    /// How many bytes may go at once after a pause.
    pub burst_bytes: u64,
}

impl Rate {
    /// What is thought fair when a limit is wanted: 1 MiB each second, and five of them at once.
    pub const FAIR: Self = Self { bytes_per_second: 1 << 20, burst_bytes: 5 << 20 };
}

/// Tokens for bytes: they come at a rate, and what does not fit the burst is lost.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// What is there; below zero, what was promised.
    tokens: f64,
    updated: Instant,
}

impl Bucket {
    /// Makes a full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst_bytes as f64, updated: now }
    }

    /// Takes tokens for bytes that will go, and says how long they must wait. Whoever asks for more than the burst waits for it.
    pub fn take(&mut self, now: Instant, bytes: u64) -> Duration {
        let speed = self.rate.bytes_per_second.max(1) as f64;
        let gained = now.saturating_duration_since(self.updated).as_secs_f64() * speed;
        self.tokens = (self.tokens + gained).min(self.rate.burst_bytes as f64) - bytes as f64;
        self.updated = self.updated.max(now);
        Duration::from_secs_f64((-self.tokens / speed).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate::FAIR, start);
        assert_eq!(bucket.take(start, 5 * MIB), Duration::ZERO);
        assert_eq!(bucket.take(start, MIB), Duration::from_secs(1));
        assert_eq!(bucket.take(start, MIB), Duration::from_secs(2));
        assert_eq!(bucket.take(start + Duration::from_secs(3), MIB), Duration::ZERO);
        // Hours of silence are worth no more than the burst.
        assert_eq!(bucket.take(start + Duration::from_secs(9999), 5 * MIB), Duration::ZERO);
        assert_eq!(bucket.take(start + Duration::from_secs(9999), MIB), Duration::from_secs(1));
        // A clock that goes back gives nothing.
        assert_eq!(bucket.take(start, MIB), Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_rate_and_burst(takes in prop::collection::vec((0u64..2000, 1u64..3 * MIB), 1..60)) {
            let start = Instant::now();
            let mut bucket = Bucket::new(Rate::FAIR, start);
            let (mut now, mut gone) = (start, 0u64);
            for (pause_ms, bytes) in takes {
                now += Duration::from_millis(pause_ms);
                now += bucket.take(now, bytes);
                gone += bytes;
                let allowed = Rate::FAIR.burst_bytes as f64 + (now - start).as_secs_f64() * Rate::FAIR.bytes_per_second as f64;
                prop_assert!(gone as f64 <= allowed + 16.0, "{gone} of {allowed}");
            }
        }
    }
}
