//! How good a peer is: how often it answers, and how fast.

use std::time::Duration;

/// The weight of a new round trip, as TCP has it (RFC 6298).
const ROUND_TRIP_WEIGHT: f64 = 0.125;
/// How much of what is missing to reliability an answer gives back.
const ANSWER_WEIGHT: f64 = 0.1;
/// What is left of it after a missing answer.
const MISS_FACTOR: f64 = 0.7;
/// A peer that takes so long is half as good as one that takes none.
const HALF_QUALITY: Duration = Duration::from_millis(100);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quality {
    reliability: f64,
    round_trip: Option<f64>,
}

impl Default for Quality {
    /// Neither good nor bad.
    fn default() -> Self {
        Self { reliability: 0.5, round_trip: None }
    }
}

impl Quality {
    pub(super) fn answered(&mut self, round_trip: Duration) {
        let took = round_trip.as_secs_f64();
        self.reliability += (1.0 - self.reliability) * ANSWER_WEIGHT;
        self.round_trip = Some(self.round_trip.map_or(took, |known| known + (took - known) * ROUND_TRIP_WEIGHT));
    }

    pub(super) fn unanswered(&mut self) {
        self.reliability *= MISS_FACTOR;
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.map(Duration::from_secs_f64)
    }

    /// From 0 to 1. Whoever was never measured counts as one that takes [`HALF_QUALITY`].
    pub(super) fn score(&self) -> f64 {
        let half = HALF_QUALITY.as_secs_f64();
        self.reliability / (1.0 + self.round_trip.unwrap_or(half) / half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: u32, misses: u32, millis: u64) -> f64 {
        let mut quality = Quality::default();
        (0..answers).for_each(|_| quality.answered(Duration::from_millis(millis)));
        (0..misses).for_each(|_| quality.unanswered());
        quality.score()
    }

    #[test]
    fn the_fast_and_the_reliable_are_better() {
        assert!(after(20, 0, 1) > after(20, 0, 50));
        assert!(after(20, 0, 50) > after(20, 3, 50));
        assert!(after(5, 0, 1) > after(0, 0, 1));
        assert!(after(0, 0, 1) > after(0, 1, 1));
        assert!((0.0..=1.0).contains(&after(1000, 0, 0)) && (0.0..=1.0).contains(&after(0, 1000, 0)));
    }
}
