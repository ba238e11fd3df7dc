//! What whoever watches this node is told: health of the whole, and metrics with those of its extensions.

use hypermesh_abi::Error;
use hypermesh_abi::records::Health;
use serde::Serialize;

use super::{ExtensionReport, Host};
use crate::metrics::Snapshot;
use crate::metrics::definition::{
    EXTENSION_ACTIVE, EXTENSION_GENERATION, EXTENSION_HEALTH, EXTENSION_LOAD, EXTENSION_RETIRED, EXTENSION_UPTIME,
    NODE_HEALTH, NODE_LEASES, NODE_MEMORY,
};

/// How a node is: the worst of its extensions, and each of them, those included that could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// That of the node.
    pub health: Grade,
    /// That of each extension.
    pub extensions: Vec<ConditionOf>,
}

/// How one extension is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionOf {
    /// Its id, or the file of a manifest that says none.
    pub id: String,
    /// Its health.
    pub health: Grade,
    /// Why it is not the best.
    pub reason: Option<String>,
}

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
    /// Says how the node is, by reports on its extensions. One that was found and could not be loaded does not work.
    pub fn condition(&self, reports: &[ExtensionReport]) -> Condition {
        let of_report = |report: &ExtensionReport| {
            let reason = match &report.health {
                Some(Health::Degraded(reason) | Health::Unhealthy(reason)) => Some(reason.clone()),
                Some(Health::Healthy) => None,
                None => Some("it does not run".to_owned()),
            };
            ConditionOf { id: report.id.clone(), health: Grade::of(report), reason }
        };
        let of_failed = |(id, error): (String, Error)| {
            let reason = Some(format!("it could not be loaded: {error}"));
            ConditionOf { id, health: Grade::Unhealthy, reason }
        };
        let failed = self.failed().into_iter().map(of_failed);
        let extensions: Vec<ConditionOf> = reports.iter().map(of_report).chain(failed).collect();
        let health = extensions.iter().map(|one| one.health).max().unwrap_or(Grade::Healthy);
        Condition { health, extensions }
    }

    /// Gives every metric as it is now, with what extensions tell of themselves.
    pub async fn observe(&self) -> Snapshot {
        self.observe_by(&self.report().await)
    }

    /// Gives every metric as it is now, by reports on the extensions.
    pub fn observe_by(&self, reports: &[ExtensionReport]) -> Snapshot {
        let mut snapshot = self.metrics().snapshot();
        for report in reports {
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
        let health = self.condition(reports).health;
        for grade in Grade::ALL {
            snapshot.set(&NODE_HEALTH, &[grade.name()], f64::from(u8::from(health == grade)));
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
