//! Metrics at one moment, with what extensions tell of themselves, as Prometheus text or JSON.
//!
//! What an extension tells is bounded and checked: its names get a prefix that is the extension's own, labels that would
//! change what others mean are not taken, and a series that comes twice is one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hypermesh_abi::records::{Metric, MetricKind};
use serde_json::{Value as Json, json};

use super::definition::{ALL, DROPPED, Definition, Kind};
use super::{BUCKETS_US, Counter, Histogram, LABEL_CHARS_MAX};

/// The most series of one extension.
pub const EXTENSION_SERIES_MAX: usize = 16_384;
/// The most characters of the name of a metric or label that an extension gives.
pub const NAME_CHARS_MAX: usize = 64;
/// The most labels of one series that an extension gives.
pub const LABELS_MAX: usize = 8;
/// The most characters of the explanation that an extension gives.
pub const HELP_CHARS_MAX: usize = 256;

/// Metrics at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    families: BTreeMap<String, Family>,
    /// That of the registry, so that it grows from snapshot to snapshot.
    dropped: Counter,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    series: BTreeMap<Labels, Point>,
}

/// Names and values, in the order of the definition.
type Labels = Vec<(String, String)>;

/// The metrics of one name, in a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct FamilyView<'a> {
    /// The name.
    pub name: &'a str,
    /// The type.
    pub kind: Kind,
    /// What it means.
    pub help: &'a str,
    series: Option<&'a BTreeMap<Labels, Point>>,
    /// The value of the only series, which has no labels, where there is no map of them.
    number: u64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketCounts {
    /// Upper bounds of all buckets but the last, which has none.
    pub bounds_seconds: Vec<f64>,
    /// How many fell into each bucket.
    pub counts: Vec<u64>,
    /// The sum of all.
    pub sum_seconds: f64,
}

#[derive(Clone, Debug)]
pub(super) enum Point {
    Number(f64),
    Histogram(Histogram),
}

impl Snapshot {
    pub(super) fn new(dropped: Counter) -> Self {
        Self { families: BTreeMap::new(), dropped }
    }

    /// Sets a gauge.
    pub fn set(&mut self, definition: &Definition, values: &[&str], number: f64) {
        self.put(definition, values, Point::Number(number));
    }

    pub(super) fn put(&mut self, definition: &Definition, values: &[&str], point: Point) {
        let labels = definition.labels.iter().zip(values);
        let labels = labels.map(|(name, value)| ((*name).to_owned(), cut(value, LABEL_CHARS_MAX))).collect();
        self.insert(definition.name.to_owned(), definition.kind, definition.help, labels, point);
    }

    /// Takes what an extension tells of itself; what is beyond a bound or malformed is counted and not shown.
    pub fn extend(&mut self, extension: &str, metrics: &[Metric]) {
        let prefix: String = extension.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut left = EXTENSION_SERIES_MAX;
        for metric in metrics {
            let kind = match metric.kind {
                MetricKind::Counter => Kind::Counter,
                MetricKind::Gauge => Kind::Gauge,
            };
            let name = format!("hypermesh_{prefix}_{}", metric.name);
            let fits = is_name(&metric.name)
                && metric.name.ends_with("_total") == (kind == Kind::Counter)
                && !ALL.iter().any(|own| name.starts_with(own.name));
            for sample in &metric.samples {
                let foreign =
                    |name: &String| !is_name(name) || ["extension", "le", "quantile"].contains(&name.as_str());
                let odd = sample.labels.len() > LABELS_MAX || sample.labels.keys().any(foreign);
                if !fits || odd || !sample.value.is_finite() || left == 0 {
                    self.dropped.increment();
                    continue;
                }
                left -= 1;
                let own = ("extension".to_owned(), extension.to_owned());
                let given = sample.labels.iter().map(|(name, value)| (name.clone(), cut(value, LABEL_CHARS_MAX)));
                let labels = std::iter::once(own).chain(given).collect();
                self.insert(
                    name.clone(),
                    kind,
                    &cut(&metric.help, HELP_CHARS_MAX),
                    labels,
                    Point::Number(sample.value),
                );
            }
        }
    }

    fn insert(&mut self, name: String, kind: Kind, help: &str, labels: Labels, point: Point) {
        let family = self.families.entry(name).or_insert_with(|| Family {
            kind,
            help: help.to_owned(),
            series: BTreeMap::new(),
        });
        if family.kind == kind {
            family.series.insert(labels, point);
        } else {
            self.dropped.increment();
        }
    }

    /// Gives the metrics, in the order of their names but for the last, which says what was dropped.
    pub fn families(&self) -> impl Iterator<Item = FamilyView<'_>> {
        let families = self.families.iter().map(|(name, family)| {
            let Family { kind, help, series } = family;
            FamilyView { name, kind: *kind, help, series: Some(series), number: 0 }
        });
        let Definition { name, kind, help, .. } = DROPPED;
        families.chain([FamilyView { name, kind, help, series: None, number: self.dropped.get() }])
    }

    /// Renders the Prometheus text format, version 0.0.4.
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for (name, family) in &self.families {
            header(&mut out, name, family.kind, &family.help);
            for (labels, point) in &family.series {
                point.to_prometheus(&mut out, name, labels);
            }
        }
        header(&mut out, DROPPED.name, DROPPED.kind, DROPPED.help);
        line(&mut out, format_args!("{} {}", DROPPED.name, self.dropped.get()));
        out
    }

    /// Renders JSON: `{name: {type, help, series: [{labels, …}]}}`; times are seconds.
    pub fn to_json(&self) -> Json {
        let rendered = self.families.iter().map(|(name, family)| {
            let series: Vec<Json> = family.series.iter().map(|(labels, point)| point.to_json(labels)).collect();
            (name.clone(), json!({"type": family.kind.name(), "help": family.help, "series": series}))
        });
        let mut json: serde_json::Map<String, Json> = rendered.collect();
        let dropped = json!({"type": DROPPED.kind.name(), "help": DROPPED.help,
            "series": [{"labels": {}, "value": self.dropped.get()}]});
        json.insert(DROPPED.name.to_owned(), dropped);
        Json::Object(json)
    }
}

impl<'a> FamilyView<'a> {
    /// Gives the numbers of counters and gauges, by their labels.
    pub fn numbers(self) -> impl Iterator<Item = (&'a [(String, String)], f64)> {
        let all = self.series.into_iter().flatten().filter_map(|(labels, point)| match point {
            Point::Number(number) => Some((labels.as_slice(), *number)),
            Point::Histogram(_) => None,
        });
        let only: &'a [(String, String)] = &[];
        all.chain(self.series.is_none().then_some((only, self.number as f64)))
    }

    /// Gives histograms, by their labels.
    pub fn histograms(self) -> impl Iterator<Item = (&'a [(String, String)], BucketCounts)> {
        self.series.into_iter().flatten().filter_map(|(labels, point)| match point {
            Point::Number(_) => None,
            Point::Histogram(histogram) => {
                let bounds_seconds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6).collect();
                let (counts, sum_seconds) = (histogram.counts().to_vec(), histogram.sum_seconds());
                Some((labels.as_slice(), BucketCounts { bounds_seconds, counts, sum_seconds }))
            }
        })
    }
}

impl Point {
    fn to_prometheus(&self, out: &mut String, name: &str, labels: &Labels) {
        match self {
            Self::Number(number) => line(out, format_args!("{name}{} {number}", braces(labels, None))),
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

    fn to_json(&self, labels: &Labels) -> Json {
        let labels: serde_json::Map<_, _> = labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        match self {
            Self::Number(number) => json!({"labels": labels, "value": number}),
            Self::Histogram(histogram) => {
                let quantile = |share| histogram.quantile(share).map(|duration| duration.as_secs_f64());
                json!({
                    "labels": labels,
                    "count": histogram.count(),
                    "sum": histogram.sum_seconds(),
                    "p50": quantile(0.5),
                    "p90": quantile(0.9),
                    "p95": quantile(0.95),
                    "p99": quantile(0.99),
                })
            }
        }
    }
}

/// Says whether an extension may name a metric or a label so.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

fn header(out: &mut String, name: &str, kind: Kind, help: &str) {
    line(out, format_args!("# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n")));
    line(out, format_args!("# TYPE {name} {}", kind.name()));
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
mod tests;
