//! What an extension tells of itself to those who watch the node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A metric of an extension. The host shows it under a name of its own for the extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metric {
    /// The name: letters `a` to `z`, digits and `_`, with the unit last, and `_total` behind what only grows.
    pub name: String,
    /// The type.
    pub kind: MetricKind,
    /// What it means, as a sentence.
    pub help: String,
    /// Its values, each with other labels.
    pub samples: Vec<Sample>,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    /// Only grows while the extension runs.
    Counter,
    /// Goes up and down.
    #[default]
    Gauge,
}

/// A value of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// What tells it from the others; the host adds the extension.
    pub labels: BTreeMap<String, String>,
    /// The value; times are seconds.
    pub value: f64,
}
