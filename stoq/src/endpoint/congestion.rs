//! Congestion control by path: CUBIC where the round trip is short, BBR where it is long.
//!
//! CUBIC takes each lost datagram for a full queue, which on a long path with a little loss costs most of its speed: over 100 ms
//! with 1 % of the packets lost this choice is at least twice as fast
//! (`blobs::tests::paths::on_a_long_and_lossy_path_the_choice_is_several_times_faster_than_cubic`). On a short path CUBIC
//! recovers at once, and quinn calls its BBR experimental. quinn takes a controller before anything is known of the path, so each
//! connection begins with CUBIC, and the first round trips decide.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn::VarInt;
use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

/// The shortest round trip of a path for BBR.
const LONG: Duration = Duration::from_millis(5);
/// Acknowledgements that are waited for: the first ones carry the time in which the peer checked a certificate.
const ACKNOWLEDGEMENTS: u32 = 16;

/// How the bytes in flight are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 9438, for paths below 5 ms.
    Cubic,
    /// Bottleneck bandwidth and round trip, for paths from 5 ms.
    Bbr,
}

/// Makes controllers that choose by path.
#[derive(Debug)]
pub(crate) struct ByPath;

/// A controller that chooses by path.
struct Chosen {
    algorithm: Algorithm,
    controller: Box<dyn Controller>,
    acknowledgements: u32,
    mtu: u16,
    /// Nothing is sent any more but that the connection closes; all copies have the same.
    is_closing: Arc<AtomicBool>,
}

/// Closes a connection, and says so to the peer whatever is in flight.
///
/// quinn counts the datagram that says so among those that the window bounds as long as anything else waits to be sent, and takes
/// no acknowledgement after it: where the window is full the peer hears nothing, and waits until this side counts as silent
/// (<https://github.com/quinn-rs/quinn/issues/2785>). So the window has no end from now on.
pub(crate) fn close(quic: &quinn::Connection, code: VarInt, reason: &[u8]) {
    if let Ok(chosen) = quic.congestion_state().into_any().downcast::<Chosen>() {
        chosen.is_closing.store(true, Ordering::Relaxed);
    }
    quic.close(code, reason);
}

/// Says which one a connection has.
pub(super) fn algorithm(state: Box<dyn Controller>) -> Option<Algorithm> {
    Some(state.into_any().downcast::<Chosen>().ok()?.algorithm)
}

impl Algorithm {
    /// Chooses by the shortest round trip so far.
    fn of_path(round_trip: Duration) -> Self {
        if round_trip < LONG { Self::Cubic } else { Self::Bbr }
    }

    fn build(self, now: Instant, mtu: u16) -> Box<dyn Controller> {
        match self {
            Self::Cubic => Arc::new(CubicConfig::default()).build(now, mtu),
            Self::Bbr => Arc::new(BbrConfig::default()).build(now, mtu),
        }
    }
}

impl ControllerFactory for ByPath {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let algorithm = Algorithm::Cubic;
        let (controller, is_closing) = (algorithm.build(now, mtu), Arc::default());
        Box::new(Chosen { algorithm, controller, acknowledgements: 0, mtu, is_closing })
    }
}

impl Chosen {
    /// Changes over when the path turns out to be another one; the shortest round trip only falls, so this happens at most
    /// twice.
    fn choose(&mut self, now: Instant, round_trip: Duration) {
        self.acknowledgements = self.acknowledgements.saturating_add(1);
        let algorithm = Algorithm::of_path(round_trip);
        if self.acknowledgements >= ACKNOWLEDGEMENTS && algorithm != self.algorithm {
            self.algorithm = algorithm;
            self.controller = algorithm.build(now, self.mtu);
        }
    }
}

impl Controller for Chosen {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.controller.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.choose(now, rtt.min());
        self.controller.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.controller.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.controller.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu;
        self.controller.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        if self.is_closing.load(Ordering::Relaxed) { u64::MAX } else { self.controller.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.controller.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            algorithm: self.algorithm,
            controller: self.controller.clone_box(),
            acknowledgements: self.acknowledgements,
            mtu: self.mtu,
            is_closing: Arc::clone(&self.is_closing),
        })
    }

    fn initial_window(&self) -> u64 {
        self.controller.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller() -> Chosen {
        *Arc::new(ByPath).build(Instant::now(), 1200).into_any().downcast().expect("is ours")
    }

    #[test]
    fn a_path_is_judged_after_enough_acknowledgements() {
        let (now, mut chosen) = (Instant::now(), controller());
        for _ in 1..ACKNOWLEDGEMENTS {
            chosen.choose(now, LONG);
            assert_eq!(chosen.algorithm, Algorithm::Cubic);
        }
        chosen.choose(now, LONG);
        assert_eq!(chosen.algorithm, Algorithm::Bbr);
        assert_eq!(algorithm(chosen.clone_box()), Some(Algorithm::Bbr));
        // It was the peer that was slow, and not the path.
        chosen.choose(now, LONG - Duration::from_nanos(1));
        assert_eq!(chosen.algorithm, Algorithm::Cubic);
    }

    #[test]
    fn a_change_over_keeps_the_largest_datagram() {
        let (now, mut chosen) = (Instant::now(), controller());
        chosen.on_mtu_update(6000);
        chosen.acknowledgements = ACKNOWLEDGEMENTS;
        chosen.choose(now, LONG);
        assert_eq!((chosen.algorithm, chosen.mtu), (Algorithm::Bbr, 6000));
        assert!(chosen.window() >= 4 * 6000, "{}", chosen.window());
    }
}
