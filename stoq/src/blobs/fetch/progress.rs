//! How far a download is.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use tokio::sync::watch;
use trustchain::digest::Blake3;

use crate::blobs::part::PartFile;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How a download stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on, or waits for a source.
    Active,
    /// It was told to wait.
    Paused,
    /// The blob is there.
    Completed,
    /// It was given up; an error says why.
    Failed,
    /// Its future was dropped; what is verified is kept.
    Cancelled,
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// How it stands.
    pub state: State,
    /// The size in bytes, when it is proved.
    pub size: Option<u64>,
    /// How many bytes are verified, those of earlier attempts among them.
    pub verified_bytes: u64,
    /// How many bytes are verified each second, smoothed over some seconds.
    pub bytes_per_second: u64,
    /// How many sources are used.
    pub sources: usize,
    /// Who sent what is not of the blob.
    pub liars: Vec<PeerId>,
    /// How long it will take if it goes on like this.
    pub time_left: Option<Duration>,
}

/// Measures and tells progress; says that the download was cancelled when it is dropped before its end.
pub(super) struct Meter {
    digest: Blake3,
    progress: watch::Sender<Progress>,
    told: Option<(Instant, u64)>,
}

impl Meter {
    pub(super) fn new(part: &PartFile) -> (Self, watch::Receiver<Progress>) {
        let first = Progress {
            state: State::Active,
            size: part.size(),
            verified_bytes: part.verified_bytes(),
            bytes_per_second: 0,
            sources: 0,
            liars: Vec::new(),
            time_left: None,
        };
        let (progress, receiver) = watch::channel(first);
        (Self { digest: *part.digest(), progress, told: None }, receiver)
    }

    pub(super) fn digest(&self) -> &Blake3 {
        &self.digest
    }

    pub(super) fn proved(&self, size: u64) {
        self.progress.send_modify(|progress| progress.size = Some(size));
    }

    pub(super) fn lied(&self, peer: PeerId) {
        self.progress.send_modify(|progress| progress.liars.push(peer));
    }

    pub(super) fn state(&self, state: State) {
        self.progress.send_modify(|progress| progress.state = state);
    }

    pub(super) fn tick(&mut self, now: Instant, verified_bytes: u64, sources: usize) {
        let (since, before) = *self.told.get_or_insert((now, verified_bytes));
        let time = now.saturating_duration_since(since);
        if time < TELL_EVERY {
            return;
        }
        self.told = Some((now, verified_bytes));
        let sample = verified_bytes.saturating_sub(before) as f64 / time.as_secs_f64();
        self.progress.send_modify(|progress| {
            // A sample counts by its time: what was before fades within about two seconds.
            let weight = if progress.bytes_per_second == 0 { 1.0 } else { 1.0 - (-time.as_secs_f64() / 2.0).exp() };
            let rate = progress.bytes_per_second as f64 * (1.0 - weight) + sample * weight;
            progress.bytes_per_second = rate as u64;
            progress.verified_bytes = verified_bytes;
            progress.sources = sources;
            let left = progress.size.map(|size| size.saturating_sub(verified_bytes) as f64 / rate);
            progress.time_left = left.and_then(|left| Duration::try_from_secs_f64(left).ok());
        });
    }

    /// Tells how it ended.
    pub(super) fn end(&self, state: State) {
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.time_left = None;
            if state == State::Completed {
                progress.verified_bytes = progress.size.unwrap_or_default();
            }
        });
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if matches!(self.progress.borrow().state, State::Active | State::Paused) {
            self.end(State::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_what_is_verified() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let part = PartFile::open(&directory.path().join("part"), Blake3::of(b"a")).expect("opens");
        let (mut meter, progress) = Meter::new(&part);
        meter.proved(10_000_000);
        let start = Instant::now();
        for second in 0..=4 {
            meter.tick(start + Duration::from_secs(second), second * 1_000_000, 2);
        }
        let seen = progress.borrow().clone();
        assert_eq!((seen.verified_bytes, seen.bytes_per_second, seen.sources), (4_000_000, 1_000_000, 2));
        assert_eq!(seen.time_left, Some(Duration::from_secs(6)));
        // Twice as fast: the rate moves there, not at once.
        meter.tick(start + Duration::from_secs(5), 6_000_000, 2);
        assert!((1_300_000..1_500_000).contains(&progress.borrow().bytes_per_second));
        drop(meter);
        assert_eq!(progress.borrow().state, State::Cancelled);
    }
}
