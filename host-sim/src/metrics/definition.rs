//! What this program measures: every metric with its name, type, labels and meaning. A page of the documentation is made
//! of this table.

/// A metric of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The name, with the unit last and `_total` behind what only grows.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, as a sentence.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations into buckets.
    Histogram,
}

/// Requests to extensions.
pub const REQUESTS: Definition = Definition {
    name: "hypermesh_requests_total",
    kind: Kind::Counter,
    labels: &["extension", "verb"],
    help: "Requests to an extension.",
};
/// Requests that ended in an error.
pub const REQUEST_ERRORS: Definition = Definition {
    name: "hypermesh_request_errors_total",
    kind: Kind::Counter,
    labels: &["extension", "code"],
    help: "Requests that ended in an error, by its code.",
};
/// Time of requests.
pub const REQUEST_SECONDS: Definition = Definition {
    name: "hypermesh_request_seconds",
    kind: Kind::Histogram,
    labels: &["extension", "verb"],
    help: "Time from a request to its answer.",
};
/// Uses of what is granted, and tries to use what is not.
pub const CAPABILITY_REQUESTS: Definition = Definition {
    name: "hypermesh_capability_requests_total",
    kind: Kind::Counter,
    labels: &["extension", "capability", "granted"],
    help: "Uses of the host's services that need a capability, and whether the manifest grants it.",
};
/// Health of extensions.
pub const EXTENSION_HEALTH: Definition = Definition {
    name: "hypermesh_extension_health",
    kind: Kind::Gauge,
    labels: &["extension", "health"],
    help: "1 for the health that the extension has now: Healthy, Degraded or Unhealthy.",
};
/// Generations of extensions.
pub const EXTENSION_GENERATION: Definition = Definition {
    name: "hypermesh_extension_generation",
    kind: Kind::Gauge,
    labels: &["extension"],
    help: "Number of the generation that runs; each upgrade takes the next.",
};
/// Retired generations.
pub const EXTENSION_RETIRED: Definition = Definition {
    name: "hypermesh_extension_retired_generations",
    kind: Kind::Gauge,
    labels: &["extension"],
    help: "Earlier generations whose code stays mapped.",
};
/// What an extension works on.
pub const EXTENSION_ACTIVE: Definition = Definition {
    name: "hypermesh_extension_active_operations",
    kind: Kind::Gauge,
    labels: &["extension"],
    help: "Requests that the extension works on.",
};
/// How long an extension runs.
pub const EXTENSION_UPTIME: Definition = Definition {
    name: "hypermesh_extension_uptime_seconds",
    kind: Kind::Gauge,
    labels: &["extension"],
    help: "Time since the generation that runs was activated.",
};
/// How long loading took.
pub const EXTENSION_LOAD: Definition = Definition {
    name: "hypermesh_extension_load_seconds",
    kind: Kind::Gauge,
    labels: &["extension"],
    help: "Time from the first byte read to running.",
};
/// Health of the node.
pub const NODE_HEALTH: Definition = Definition {
    name: "hypermesh_node_health",
    kind: Kind::Gauge,
    labels: &["health"],
    help: "1 for the worst health of the node's extensions: Healthy, Degraded or Unhealthy.",
};
/// Leases.
pub const NODE_LEASES: Definition = Definition {
    name: "hypermesh_node_leases",
    kind: Kind::Gauge,
    labels: &[],
    help: "Leases of assets that are held.",
};
/// Memory.
pub const NODE_MEMORY: Definition = Definition {
    name: "hypermesh_node_resident_memory_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Resident memory of the node's process.",
};
/// What is not shown.
pub const DROPPED: Definition = Definition {
    name: "hypermesh_metrics_dropped_series_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Series that are not shown: beyond a bound, of another type than their name has, or malformed.",
};

/// Every metric of this program, by name. Those of extensions come on top.
pub const ALL: [Definition; 14] = [
    CAPABILITY_REQUESTS,
    EXTENSION_ACTIVE,
    EXTENSION_GENERATION,
    EXTENSION_HEALTH,
    EXTENSION_LOAD,
    EXTENSION_RETIRED,
    EXTENSION_UPTIME,
    DROPPED,
    NODE_HEALTH,
    NODE_LEASES,
    NODE_MEMORY,
    REQUEST_ERRORS,
    REQUEST_SECONDS,
    REQUESTS,
];

impl Kind {
    /// Gives the name that the text format has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_unit_and_type() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name));
        for Definition { name, kind, labels, help } in ALL {
            assert!(name.starts_with("hypermesh_") && help.ends_with('.'), "{name}");
            assert!(labels.iter().all(|label| !["le", "quantile"].contains(label)), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        }
    }
}
