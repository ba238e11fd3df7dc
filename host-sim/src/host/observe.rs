//! What whoever watches this node is told: health of the whole, and metrics with those of its extensions.

use hypermesh_abi::records::Health;
use serde::Serialize;

use super::{ExtensionReport, Host};
use crate::metrics::Snapshot;
use crate::metrics::definition::{
    EXTENSION_ACTIVE, EXTENSION_GENERATION, EXTENSION_HEALTH, EXTENSION_LOAD, EXTENSION_RETIRED, EXTENSION_UPTIME,
    NODE_HEALTH, NODE_LEASES, NODE_MEMORY,
};

/// Health without its reason, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Grade {
    /// All is well.
    Healthy,
    /// Works, but something should be looked at.
    Degraded,
    /// Does not work, or does not run.
    Unhealthy,
}

impl Grade {
    /// Every grade, the best first.
    const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Unhealthy];

    /// Gives the grade of one extension; one that does not run is not healthy.
    pub fn of(report: &ExtensionReport) -> Self {
        match report.health {
            Some(Health::Healthy) => Self::Healthy,
            Some(Health::Degraded(_)) => Self::Degraded,
            Some(Health::Unhealthy(_)) | None => Self::Unhealthy,
        }
    }

    /// Gives the worst grade of extensions.
    pub fn worst(reports: &[ExtensionReport]) -> Self {
        reports.iter().map(Self::of).max().unwrap_or(Self::Healthy)
    }

    /// Gives the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Unhealthy => "Unhealthy",
        }
    }
}

impl Host {
    /// Gives every metric as it is now, with what extensions tell of themselves.
    pub async fn observe(&self) -> Snapshot {
        let reports = self.report().await;
        let mut snapshot = self.metrics().snapshot();
        for report in &reports {
            let labels = [report.id.as_str()];
            for grade in Grade::ALL {
                let is = f64::from(u8::from(Grade::of(report) == grade));
                snapshot.set(&EXTENSION_HEALTH, &[&report.id, grade.name()], is);
            }
            snapshot.set(&EXTENSION_GENERATION, &labels, report.generation as f64);
            snapshot.set(&EXTENSION_RETIRED, &labels, f64::from(report.retired_generations));
            snapshot.set(&EXTENSION_LOAD, &labels, report.load_us as f64 / 1e6);
            let Some(status) = &report.status else { continue };
            snapshot.set(&EXTENSION_ACTIVE, &labels, status.active_operations as f64);
            snapshot.set(&EXTENSION_UPTIME, &labels, status.uptime_ms as f64 / 1e3);
            snapshot.extend(&report.id, &status.metrics);
        }
        for grade in Grade::ALL {
            snapshot.set(&NODE_HEALTH, &[grade.name()], f64::from(u8::from(Grade::worst(&reports) == grade)));
        }
        snapshot.set(&NODE_LEASES, &[], self.asset_manager().leases(None).len() as f64);
        snapshot.set(&NODE_MEMORY, &[], resident_bytes("self") as f64);
        snapshot
    }
}

/// Gives the resident memory of a process in bytes, by its name below `/proc`; 0 if it has ended.
pub fn resident_bytes(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib * 1024
}
