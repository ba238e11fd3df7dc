//! What Catalog tells those who watch the node. The documentation of it is made of [`DESCRIBED`].

use std::collections::BTreeMap;

use hypermesh_abi::records::{Metric, MetricKind, Sample};
use serde_json::Value as Json;
use stoq::metrics::{PeerSnapshot, Snapshot};

/// A metric of Catalog.
#[derive(Debug)]
pub struct Described {
    /// The name; the host puts `hypermesh_catalog_` in front.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, as a sentence.
    pub help: &'static str,
    take: Take,
}

/// Where its values come from.
#[derive(Debug)]
enum Take {
    /// A figure, times a factor.
    Figure(&'static str, f64),
    /// Figures, each with its value of the label.
    Figures(&'static [(&'static str, &'static str)]),
    /// A number of the transport.
    Port(fn(&Snapshot) -> f64),
    /// Numbers of the transport by name, each with its value of the label.
    PortByName(fn(&Snapshot) -> &BTreeMap<&'static str, u64>),
    /// A number of each peer.
    Peer(fn(&PeerSnapshot) -> Option<f64>),
    /// Errors of each peer by name.
    PeerErrors,
}

/// Every metric of Catalog, the few before those that grow with the peers.
pub const DESCRIBED: [Described; 27] = [
    gauge("registry_packages", "Packages that this node knows.", Take::Figure("packages", 1.0)),
    gauge("registry_versions", "Versions of packages that this node knows.", Take::Figure("versions", 1.0)),
    gauge("installed_packages", "Packages that are installed.", Take::Figure("installed", 1.0)),
    gauge(
        "installed_generation",
        "Number of the generation that is installed; each change takes the next.",
        Take::Figure("installed_generation", 1.0),
    ),
    gauge("executions", "Executions that have not ended.", Take::Figure("executions", 1.0)),
    gauge("executions_waiting", "Executions that wait for their turn.", Take::Figure("executions_waiting", 1.0)),
    gauge("executions_begun", "Executions that have their turn.", Take::Figure("executions_begun", 1.0)),
    Described {
        labels: &["state"],
        ..counter(
            "executions_ended_total",
            "Executions that ended, by their last state.",
            Take::Figures(&[
                ("completed", "executions_completed_total"),
                ("failed", "executions_failed_total"),
                ("terminated", "executions_terminated_total"),
                ("timed_out", "executions_timed_out_total"),
            ]),
        )
    },
    counter("executions_retried_total", "Tries beyond the first.", Take::Figure("executions_retried_total", 1.0)),
    counter(
        "executions_cpu_seconds_total",
        "Processor time of executions that ended.",
        Take::Figure("executions_cpu_us_total", 1e-6),
    ),
    counter(
        "executions_wall_seconds_total",
        "Time from begin to end of executions that ended.",
        Take::Figure("executions_wall_us_total", 1e-6),
    ),
    gauge(
        "executions_memory_peak_bytes",
        "Most memory that one execution had.",
        Take::Figure("executions_memory_peak_bytes", 1.0),
    ),
    gauge(
        "executions_wait_p50_seconds",
        "Time below which half of the executions waited for their turn.",
        Take::Figure("executions_wait_p50_us", 1e-6),
    ),
    gauge(
        "executions_wait_p99_seconds",
        "Time below which 99 of 100 executions waited for their turn.",
        Take::Figure("executions_wait_p99_us", 1e-6),
    ),
    gauge("transport_connections", "Connections to peers that are open.", Take::Port(|port| port.connections as f64)),
    counter("transport_dialed_total", "Connections that this node made.", Take::Port(|port| port.dialed as f64)),
    counter("transport_accepted_total", "Connections that peers made.", Take::Port(|port| port.accepted as f64)),
    Described {
        labels: &["reason"],
        ..counter(
            "transport_refusals_total",
            "Strangers and peers that were refused, by reason.",
            Take::PortByName(|port| &port.refusals),
        )
    },
    Described {
        labels: &["reason"],
        ..counter(
            "transport_dials_failed_total",
            "Connections that could not be made, by reason.",
            Take::PortByName(|port| &port.failures),
        )
    },
    Described {
        labels: &["reason"],
        ..counter(
            "transport_handshakes_lost_total",
            "Handshakes of strangers that came to nothing, by reason.",
            Take::PortByName(|port| &port.lost),
        )
    },
    of_peer("peer_connections", MetricKind::Gauge, "Open connections with a peer.", |peer| {
        Some(peer.connections as f64)
    }),
    of_peer("peer_sent_bytes_total", MetricKind::Counter, "Bytes of UDP payload sent to a peer.", |peer| {
        Some(peer.bytes_sent as f64)
    }),
    of_peer("peer_received_bytes_total", MetricKind::Counter, "Bytes of UDP payload received from a peer.", |peer| {
        Some(peer.bytes_received as f64)
    }),
    of_peer(
        "peer_round_trip_seconds",
        MetricKind::Gauge,
        "Smoothed round trip of the quickest open connection with a peer.",
        |peer| peer.round_trip.map(|time| time.as_secs_f64()),
    ),
    of_peer("peer_streams_opened_total", MetricKind::Counter, "Requests that this node made of a peer.", |peer| {
        Some(peer.streams_opened as f64)
    }),
    of_peer("peer_streams_accepted_total", MetricKind::Counter, "Requests that a peer made.", |peer| {
        Some(peer.streams_accepted as f64)
    }),
    Described {
        labels: &["peer", "error"],
        ..counter("peer_errors_total", "What went wrong with a peer, by name.", Take::PeerErrors)
    },
];

/// Gives every metric that has values now.
pub(super) fn all(figures: &BTreeMap<String, Json>, transport: Option<&Snapshot>) -> Vec<Metric> {
    let metrics = DESCRIBED.iter().map(|described| Metric {
        name: described.name.to_owned(),
        kind: described.kind,
        help: described.help.to_owned(),
        samples: described.samples(figures, transport),
    });
    metrics.filter(|metric| !metric.samples.is_empty()).collect()
}

impl Described {
    fn samples(&self, figures: &BTreeMap<String, Json>, transport: Option<&Snapshot>) -> Vec<Sample> {
        let figure = |name: &str| figures.get(name).and_then(Json::as_f64);
        match &self.take {
            Take::Figure(name, factor) => {
                figure(name).map(|value| self.sample(&[], value * factor)).into_iter().collect()
            }
            Take::Figures(named) => {
                let sample = |(label, name): &(&str, &str)| Some(self.sample(&[label], figure(name)?));
                named.iter().filter_map(sample).collect()
            }
            Take::Port(value) => transport.map(|port| self.sample(&[], value(port))).into_iter().collect(),
            Take::PortByName(values) => {
                let named = transport.into_iter().flat_map(values);
                named.map(|(name, value)| self.sample(&[name], *value as f64)).collect()
            }
            Take::Peer(value) => {
                let peers = transport.into_iter().flat_map(|port| &port.peers);
                peers.filter_map(|peer| Some(self.sample(&[&peer.peer.to_string()], value(peer)?))).collect()
            }
            Take::PeerErrors => {
                let peers = transport.into_iter().flat_map(|port| &port.peers);
                let errors = peers.flat_map(|peer| peer.errors.iter().map(|error| (peer.peer.to_string(), error)));
                errors.map(|(peer, (name, count))| self.sample(&[&peer, name], *count as f64)).collect()
            }
        }
    }

    fn sample(&self, values: &[&str], value: f64) -> Sample {
        let labels = self.labels.iter().zip(values);
        Sample { labels: labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), value }
    }
}

const fn gauge(name: &'static str, help: &'static str, take: Take) -> Described {
    Described { name, kind: MetricKind::Gauge, labels: &[], help, take }
}

const fn counter(name: &'static str, help: &'static str, take: Take) -> Described {
    Described { name, kind: MetricKind::Counter, labels: &[], help, take }
}

const fn of_peer(
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    value: fn(&PeerSnapshot) -> Option<f64>,
) -> Described {
    Described { name, kind, labels: &["peer"], help, take: Take::Peer(value) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn shown(metrics: &[Metric]) -> Vec<String> {
        let lines = metrics.iter().flat_map(|metric| {
            metric.samples.iter().map(|sample| {
                let labels: Vec<&str> = sample.labels.values().map(String::as_str).collect();
                format!("{} [{}] {}", metric.name, labels.join(","), sample.value)
            })
        });
        lines.collect()
    }

    #[test]
    fn what_there_is_becomes_metrics_and_nothing_else() {
        assert!(all(&BTreeMap::new(), None).is_empty());
        let figures = BTreeMap::from([
            ("packages".to_owned(), json!(3)),
            ("executions_cpu_us_total".to_owned(), json!(2_500_000)),
            ("executions_failed_total".to_owned(), json!(4)),
            ("unknown".to_owned(), json!("text")),
        ]);
        let told = shown(&all(&figures, None));
        assert_eq!(
            told,
            ["registry_packages [] 3", "executions_ended_total [failed] 4", "executions_cpu_seconds_total [] 2.5"]
        );
    }

    #[test]
    fn each_peer_has_bytes_round_trip_streams_and_errors() {
        let peer = PeerSnapshot {
            peer: stoq::PeerId::random(),
            connections: 1,
            bytes_sent: 10,
            bytes_received: 20,
            round_trip: Some(Duration::from_millis(5)),
            streams_served: 0,
            streams_accepted: 3,
            streams_opened: 4,
            errors: BTreeMap::from([("late", 2)]),
        };
        let id = peer.peer.to_string();
        let silent = PeerSnapshot { round_trip: None, errors: BTreeMap::new(), ..peer };
        let port = Snapshot { dialed: 7, peers: vec![peer], ..Snapshot::default() };
        let told = shown(&all(&BTreeMap::new(), Some(&port)));
        for expected in [
            "transport_dialed_total [] 7".to_owned(),
            format!("peer_sent_bytes_total [{id}] 10"),
            format!("peer_received_bytes_total [{id}] 20"),
            format!("peer_round_trip_seconds [{id}] 0.005"),
            format!("peer_streams_opened_total [{id}] 4"),
            format!("peer_streams_accepted_total [{id}] 3"),
            format!("peer_errors_total [late,{id}] 2"),
        ] {
            assert!(told.contains(&expected), "{expected} in {told:?}");
        }
        let port = Snapshot { peers: vec![silent], ..Snapshot::default() };
        let told = shown(&all(&BTreeMap::new(), Some(&port)));
        assert!(!told.iter().any(|line| line.contains("round_trip") || line.contains("errors")), "{told:?}");
    }
}
