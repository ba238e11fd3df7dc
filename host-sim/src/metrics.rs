//! Counters, gauges and latency histograms, rendered as Prometheus text or JSON.
//!
//! Handles are cheap to clone and lock nothing when they count. The number of series is bounded: labels come from
//! extensions, and an extension must not grow the host. A series beyond the bound still counts for its holder, is not
//! rendered, and shows in `hypermesh_metrics_dropped_series_total`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

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

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// One more than the bounds: the last is everything above.
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    series: BTreeMap<Labels, Series>,
}

/// Names and values, in the order of the caller.
type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Metrics {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the counter of this name and these labels; by custom the name ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        match self.series(name, help, labels, Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// Gives the gauge of this name and these labels.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        match self.series(name, help, labels, Series::Gauge(Gauge::default())) {
            Series::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// Gives the latency histogram of this name and these labels; by custom the name ends in `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        match self.series(name, help, labels, Series::Histogram(Histogram::default())) {
            Series::Histogram(histogram) => histogram,
            _ => Histogram::default(),
        }
    }

    /// Removes every series with this label, as when an extension is gone.
    pub fn remove(&self, label: &str, value: &str) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        for family in families.values_mut() {
            family.series.retain(|labels, _| !labels.iter().any(|(name, held)| *name == label && held == value));
        }
        families.retain(|_, family| !family.series.is_empty());
    }

    /// Renders the Prometheus text format, version 0.0.4.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, family) in self.families.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let kind = family.series.values().next().map_or("untyped", Series::kind);
            line(&mut out, format_args!("# HELP {name} {}", family.help.replace('\\', "\\\\").replace('\n', "\\n")));
            line(&mut out, format_args!("# TYPE {name} {kind}"));
            for (labels, series) in &family.series {
                series.to_prometheus(&mut out, name, labels);
            }
        }
        if self.dropped.get() > 0 {
            line(&mut out, format_args!("# TYPE {DROPPED} counter\n{DROPPED} {}", self.dropped.get()));
        }
        out
    }

    /// Renders JSON: `{name: {type, help, series: [{labels, …}]}}`; times are seconds.
    pub fn to_json(&self) -> Value {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let rendered = families.iter().map(|(name, family)| {
            let series: Vec<Value> = family.series.iter().map(|(labels, series)| series.to_json(labels)).collect();
            let kind = family.series.values().next().map_or("untyped", Series::kind);
            ((*name).to_owned(), json!({"type": kind, "help": family.help, "series": series}))
        });
        let mut json: serde_json::Map<String, Value> = rendered.collect();
        if self.dropped.get() > 0 {
            json.insert(DROPPED.to_owned(), json!({"type": "counter", "series": [{"value": self.dropped.get()}]}));
        }
        Value::Object(json)
    }

    fn series(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], new: Series) -> Series {
        let labels: Labels =
            labels.iter().map(|(name, value)| (*name, value.chars().take(LABEL_CHARS_MAX).collect())).collect();
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let count: usize = families.values().map(|family| family.series.len()).sum();
        let fits = |family: &Family| family.series.values().next().is_none_or(|held| held.kind() == new.kind());
        match families.get(name) {
            Some(family) if !fits(family) => {}
            Some(family) if family.series.contains_key(&labels) => return family.series[&labels].clone(),
            _ if count < SERIES_MAX => {
                let family = families.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
                family.series.insert(labels, new.clone());
                return new;
            }
            _ => {}
        }
        self.dropped.increment();
        new
    }
}

const DROPPED: &str = "hypermesh_metrics_dropped_series_total";

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

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the number, or takes from it.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Gives the number.
    pub fn get(&self) -> i64 {
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
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }

    fn to_prometheus(&self, out: &mut String, name: &str, labels: &Labels) {
        match self {
            Self::Counter(counter) => line(out, format_args!("{name}{} {}", braces(labels, None), counter.get())),
            Self::Gauge(gauge) => line(out, format_args!("{name}{} {}", braces(labels, None), gauge.get())),
            Self::Histogram(histogram) => {
                let mut sum = 0;
                for (bucket, count) in histogram.counts().into_iter().enumerate() {
                    sum += count;
                    let bound = BUCKETS_US.get(bucket).map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
                    line(out, format_args!("{name}_bucket{} {sum}", braces(labels, Some(&bound))));
                }
                line(out, format_args!("{name}_sum{} {}", braces(labels, None), histogram.sum_seconds()));
                line(out, format_args!("{name}_count{} {sum}", braces(labels, None)));
            }
        }
    }

    fn to_json(&self, labels: &Labels) -> Value {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        match self {
            Self::Counter(counter) => json!({"labels": labels, "value": counter.get()}),
            Self::Gauge(gauge) => json!({"labels": labels, "value": gauge.get()}),
            Self::Histogram(histogram) => {
                let quantile = |share| histogram.quantile(share).map(|duration| duration.as_secs_f64());
                json!({
                    "labels": labels,
                    "count": histogram.count(),
                    "sum": histogram.sum_seconds(),
                    "p50": quantile(0.5),
                    "p90": quantile(0.9),
                    "p99": quantile(0.99),
                })
            }
        }
    }
}

/// Renders labels, and the bound of a bucket, as `{name="value",…}`.
fn braces(labels: &Labels, bound: Option<&str>) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .chain(bound.map(|bound| format!("le=\"{bound}\"")))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_labels_are_the_same_series() {
        let metrics = Metrics::new();
        metrics.counter("calls_total", "Calls.", &[("extension", "a")]).increment();
        metrics.counter("calls_total", "Calls.", &[("extension", "a")]).add(2);
        metrics.counter("calls_total", "Calls.", &[("extension", "b\"\n\\")]).increment();
        metrics.gauge("running", "Now running.", &[]).add(-3);
        insta::assert_snapshot!(metrics.to_prometheus(), @r#"
        # HELP calls_total Calls.
        # TYPE calls_total counter
        calls_total{extension="a"} 3
        calls_total{extension="b\"\n\\"} 1
        # HELP running Now running.
        # TYPE running gauge
        running -3
        "#);
        metrics.remove("extension", "a");
        assert_eq!(metrics.to_json()["calls_total"]["series"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_histogram_counts_into_cumulative_buckets() {
        let metrics = Metrics::new();
        let histogram = metrics.histogram("call_seconds", "Time of calls.", &[]);
        for us in [1, 2, 3, 1_000_000, 60_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let text = metrics.to_prometheus();
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
            metrics.counter("calls_total", "Calls.", &[("extension", &index.to_string())]).increment();
        }
        assert!(metrics.to_prometheus().ends_with("hypermesh_metrics_dropped_series_total 1\n"));
        let detached = metrics.gauge("calls_total", "Of another type.", &[]);
        detached.set(1);
        assert_eq!(metrics.to_json()[DROPPED]["series"][0]["value"], 2);
        let metrics = Metrics::new();
        metrics.gauge("x", "X.", &[("extension", &"é".repeat(LABEL_CHARS_MAX + 1))]).set(1);
        assert!(metrics.to_prometheus().contains(&format!("\"{}\"", "é".repeat(LABEL_CHARS_MAX))));
    }

    #[test]
    fn a_counter_stays_at_the_largest_number() {
        let counter = Counter::default();
        counter.add(u64::MAX);
        counter.increment();
        assert_eq!(counter.get(), u64::MAX);
    }
}
