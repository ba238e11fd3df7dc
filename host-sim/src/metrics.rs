//! Counters and latency histograms, each by its definition; a snapshot of them is rendered as text or JSON.
//!
//! Handles are cheap to clone and lock nothing when they count. The number of series is bounded: labels come from
//! extensions, and an extension must not grow the host. A series beyond the bound still counts for its holder, is not
//! rendered, and shows in [`definition::DROPPED`].

pub mod definition;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::definition::{Definition, Kind};
use self::snapshot::Point;
pub use self::snapshot::{
    BucketCounts, EXTENSION_SERIES_MAX, FamilyView, HELP_CHARS_MAX, LABELS_MAX, NAME_CHARS_MAX, Snapshot,
};

/// The most series of one registry.
pub const SERIES_MAX: usize = 4_096;
/// The most characters of a label's value; the rest is cut.
pub const LABEL_CHARS_MAX: usize = 128;

/// Upper bounds of the latency buckets in microseconds: 1 µs to 50 s in steps of 1, 2, 5.
const BUCKETS_US: [u64; 24] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000,
];

/// A set of metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<&'static str, Family>>,
    dropped: Counter,
}

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// One more than the bounds: the last is everything above.
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

/// The values of the labels, in the order of the definition.
type Values = Vec<String>;

#[derive(Debug)]
struct Family {
    definition: &'static Definition,
    series: BTreeMap<Values, Series>,
}

#[derive(Clone, Debug)]
enum Series {
    Counter(Counter),
    Histogram(Histogram),
}

impl Metrics {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the counter of a definition with these values of its labels.
    pub fn counter(&self, definition: &'static Definition, values: &[&str]) -> Counter {
        match self.series(definition, values, Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// Gives the latency histogram of a definition with these values of its labels.
    pub fn histogram(&self, definition: &'static Definition, values: &[&str]) -> Histogram {
        match self.series(definition, values, Series::Histogram(Histogram::default())) {
            Series::Histogram(histogram) => histogram,
            _ => Histogram::default(),
        }
    }

    /// Gives everything as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new(self.dropped.clone());
        for family in self.families.lock().unwrap_or_else(PoisonError::into_inner).values() {
            for (values, series) in &family.series {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                snapshot.put(family.definition, &values, series.point());
            }
        }
        snapshot
    }

    fn series(&self, definition: &'static Definition, values: &[&str], new: Series) -> Series {
        let values: Values = values.iter().map(|value| value.chars().take(LABEL_CHARS_MAX).collect()).collect();
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let count: usize = families.values().map(|family| family.series.len()).sum();
        let known = families.get(definition.name);
        // Both are mistakes of who asks; nothing that is shown may come of them.
        let fits = definition.kind == new.kind()
            && definition.labels.len() == values.len()
            && known.is_none_or(|family| family.definition == definition);
        match known.and_then(|family| family.series.get(&values)) {
            Some(held) if fits => return held.clone(),
            None if fits && count < SERIES_MAX => {
                let family = families.entry(definition.name);
                let family = family.or_insert_with(|| Family { definition, series: BTreeMap::new() });
                family.series.insert(values, new.clone());
                return new;
            }
            _ => {}
        }
        self.dropped.increment();
        new
    }
}

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts several; stays at the largest number rather than begin anew.
    pub fn add(&self, count: u64) {
        let add = |held: u64| Some(held.saturating_add(count));
        // The closure never refuses.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Gives the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// Counts one thing that took this long.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Gives how many were counted.
    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    /// Estimates the time below which this share (0 to 1) of all lies: linear inside its bucket, so at most one bucket
    /// off. None were counted, or it lies above 50 s: none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts = self.counts();
        let rank = share.clamp(0.0, 1.0) * counts.iter().sum::<u64>() as f64;
        let mut below = 0_u64;
        for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            if (below + count) as f64 >= rank {
                let upper = *BUCKETS_US.get(bucket)? as f64;
                let lower = bucket.checked_sub(1).map_or(0.0, |bucket| BUCKETS_US[bucket] as f64);
                let inside = ((rank - below as f64) / *count as f64).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64((lower + (upper - lower) * inside) / 1e6));
            }
            below += count;
        }
        None
    }

    fn counts(&self) -> Vec<u64> {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn sum_seconds(&self) -> f64 {
        self.0.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

impl Series {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Histogram(_) => Kind::Histogram,
        }
    }

    fn point(&self) -> Point {
        match self {
            Self::Counter(counter) => Point::Number(counter.get() as f64),
            Self::Histogram(histogram) => Point::Histogram(histogram.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: Definition =
        Definition { name: "calls_total", kind: Kind::Counter, labels: &["extension"], help: "Calls." };
    const RUNNING: Definition = Definition { name: "running", kind: Kind::Gauge, labels: &[], help: "Now running." };
    const SECONDS: Definition =
        Definition { name: "call_seconds", kind: Kind::Histogram, labels: &[], help: "Time of calls." };

    #[test]
    fn the_same_name_and_labels_are_the_same_series() {
        let metrics = Metrics::new();
        metrics.counter(&CALLS, &["a"]).increment();
        metrics.counter(&CALLS, &["a"]).add(2);
        metrics.counter(&CALLS, &["b\"\n\\"]).increment();
        let mut snapshot = metrics.snapshot();
        snapshot.set(&RUNNING, &[], -3.0);
        insta::assert_snapshot!(snapshot.to_prometheus(), @r#"
        # HELP calls_total Calls.
        # TYPE calls_total counter
        calls_total{extension="a"} 3
        calls_total{extension="b\"\n\\"} 1
        # HELP running Now running.
        # TYPE running gauge
        running -3
        # HELP hypermesh_metrics_dropped_series_total Series that are not shown: beyond a bound, of another type than their name has, or malformed.
        # TYPE hypermesh_metrics_dropped_series_total counter
        hypermesh_metrics_dropped_series_total 0
        "#);
    }

    #[test]
    fn a_histogram_counts_into_cumulative_buckets() {
        let metrics = Metrics::new();
        let histogram = metrics.histogram(&SECONDS, &[]);
        for us in [1, 2, 3, 1_000_000, 60_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let text = metrics.snapshot().to_prometheus();
        for expected in [
            "call_seconds_bucket{le=\"0.000001\"} 1",
            "call_seconds_bucket{le=\"0.000002\"} 2",
            "call_seconds_bucket{le=\"0.000005\"} 3",
            "call_seconds_bucket{le=\"0.5\"} 3",
            "call_seconds_bucket{le=\"1\"} 4",
            "call_seconds_bucket{le=\"50\"} 4",
            "call_seconds_bucket{le=\"+Inf\"} 5",
            "call_seconds_sum 61.000006",
            "call_seconds_count 5",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn quantiles_lie_inside_the_bucket_of_their_rank() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None, "nothing was counted");
        for us in 1..=1_000 {
            histogram.observe(Duration::from_micros(us));
        }
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(500)));
        assert_eq!(histogram.quantile(0.9), Some(Duration::from_micros(900)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(1_000)));
        histogram.observe(Duration::from_secs(3_600));
        assert_eq!(histogram.quantile(1.0), None, "above the last bound there is no figure");
    }

    #[test]
    fn series_and_labels_are_bounded_and_what_is_dropped_is_counted() {
        let metrics = Metrics::new();
        for index in 0..=SERIES_MAX {
            metrics.counter(&CALLS, &[&index.to_string()]).increment();
        }
        let dropped = || metrics.snapshot().to_json()[definition::DROPPED.name]["series"][0]["value"].as_f64();
        assert_eq!(dropped(), Some(1.0));
        // Of another type, of another definition, and with another number of labels.
        metrics.histogram(&CALLS, &["1"]).observe(Duration::from_secs(1));
        metrics.counter(&Definition { help: "Others.", ..CALLS }, &["1"]).increment();
        metrics.counter(&CALLS, &[]).increment();
        assert_eq!(dropped(), Some(4.0));
        let metrics = Metrics::new();
        metrics.counter(&CALLS, &[&"é".repeat(LABEL_CHARS_MAX + 1)]).increment();
        let label = metrics.snapshot().to_json()["calls_total"]["series"][0]["labels"]["extension"].to_string();
        assert_eq!(label.chars().filter(|c| *c == 'é').count(), LABEL_CHARS_MAX);
    }

    #[test]
    fn a_counter_stays_at_the_largest_number() {
        let counter = Counter::default();
        counter.add(u64::MAX);
        counter.increment();
        assert_eq!(counter.get(), u64::MAX);
    }
}
