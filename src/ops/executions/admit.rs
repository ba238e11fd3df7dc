//! Admission: whether a package may run, where and when, and its place in the queue. Nothing of it has run when this is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::run::{DOMAIN, Going, Presence};
use super::{QUEUE_WAIT_MAX, RunError, SCHEDULED_WITHIN, off_thread};
use crate::asset::{self, Amount};
use crate::host::{Host, NodeCandidate, NodeResources};
use crate::ops::execute::{self, Execute, Wait};
use crate::ops::sandbox::least_grade;
use crate::ops::{Catalog, OpError};
use crate::package::Package;
use crate::package::model;
use crate::vm::execution::{Admitted, ExecutionId};
use crate::vm::program::Cancel;
use crate::vm::queue;
use crate::vm::schedule::{self, ARCHITECTURE_LABEL, Demand, NODE_LABEL};
use crate::vm::{Grade, Limits, TrustDomain};

impl Catalog {
    /// Finds out whether and where a package may run, and takes a place in the queue.
    pub(super) async fn admit(
        self: &Arc<Self>,
        execute: Execute,
        host: Arc<dyn Host>,
        presence: Presence,
    ) -> Result<Going, OpError> {
        let began = Instant::now();
        if self.runs.is_stopping() {
            return Err(RunError::Stopping.into());
        }
        let prepared = self.prepare_off_thread(&execute, &host).await?;
        let package = prepared.package.clone();
        if let Some(obstacle) = execute::unmet(&package.security) {
            return Err(OpError::NotRunnable { name: package.name, obstacle });
        }
        let limits = Limits {
            grade: least_grade(package.security.sandbox_level, self.config.sandbox),
            ..execute::limits(&package, &execute).map_err(|error| prepared.failed(error.into()))?
        };
        let may_share = prepared.directory.is_none() && limits.grade < Grade::Full;
        self.executor(&package.name, prepared.program.language(), may_share)?;
        let delay = delay(&package, execute.at, host.now())?;
        // A directory is of this node alone, and what runs for a peer is not given on.
        let may_go = prepared.directory.is_none() && execute.release.is_none() && wants_others(&package);
        let others = if may_go { self.peer_candidates().await } else { Vec::new() };
        let others = others.into_iter().map(|(_, candidate)| candidate).collect();
        let node = self.place(&package, others, &host).await?;
        let hold = self.hold_of(&package).await?;
        let ask = queue::Ask {
            package: package.name.clone(),
            priority: package.execution.priority,
            running_max: package.execution.max_concurrent,
            not_before: delay.map(|delay| began + delay),
            background: package.execution.scheduling.timing == model::Timing::Background,
        };
        let bytes = execute.arguments.iter().map(|value| value.to_json().to_string().len() as u64).sum();
        let mut turn = self.runs.admission.enter(&ask, bytes).map_err(RunError::from)?;
        let comes_now = turn.has_come();
        if !comes_now && execute.wait == Wait::No {
            let (waiting, begun) = self.runs.admission.counts();
            return Err(RunError::Busy { name: package.name, waiting: waiting - 1, begun }.into());
        }
        let accepted = Admitted {
            package: package.name.clone(),
            version: package.version.to_string(),
            priority: package.execution.priority,
            node: node.clone(),
            detached: presence == Presence::Detached,
            cancel: hold.clone(),
        };
        let id = self.executions().accept(accepted, host.now())?.id;
        let patience = if presence == Presence::Detached { QUEUE_WAIT_MAX } else { limits.wall };
        let (program, now) = (prepared.program.digest(), Instant::now());
        let prepared = comes_now.then_some((prepared, now));
        let going = Going {
            patience: now.max(ask.not_before.unwrap_or(now)) + patience,
            catalog: Arc::clone(self),
            host,
            execute,
            id,
            hold,
            turn,
            ask,
            package,
            limits,
            node,
            prepared,
            program,
            began,
            waits_since: now,
            queued_us: 0,
            attempts: 0,
            ended: false,
        };
        going.note(|_| Ok(()), |_| {})?;
        Ok(going)
    }

    /// Chooses the node.
    async fn place(
        self: &Arc<Self>,
        package: &Package,
        others: Vec<NodeCandidate>,
        host: &Arc<dyn Host>,
    ) -> Result<String, OpError> {
        let mut nodes = host.candidates();
        if !others.is_empty() {
            let (catalog, port) = (Arc::clone(self), Arc::clone(host));
            nodes = vec![off_thread(move || Ok(catalog.own_candidate(&*port))).await?];
            nodes.extend(others);
        }
        // Of one node its asset manager tells better what is missing, and to ask what it has takes longer than most programs.
        let demand = if nodes.len() > 1 { demand(package) } else { Demand::default() };
        if nodes.is_empty() {
            nodes.push(this_node(&**host, NodeResources::default()));
        }
        let execution = &package.execution;
        let chance = ExecutionId::random().as_u64();
        let placed = schedule::place(&nodes, &demand, execution.delegation_strategy, &execution.scheduling, chance);
        let node = placed.map_err(|source| RunError::Placement { name: package.name.clone(), source })?;
        if !node.is_local {
            return Err(RunError::Elsewhere { name: package.name.clone(), node: node.id.clone() }.into());
        }
        Ok(node.id.clone())
    }

    /// Describes this node for a peer that may want to run something here.
    pub(in crate::ops) fn own_candidate(&self, host: &dyn Host) -> NodeCandidate {
        let candidate = this_node(host, host.resources().unwrap_or_default());
        let cores = u64::from(candidate.total.cpu_cores.max(1));
        let (waiting, begun) = self.runs.admission.counts();
        let load = ((waiting + begun) as u64).saturating_mul(1_000) / cores;
        NodeCandidate { load_permille: u32::try_from(load).unwrap_or(u32::MAX), ..candidate }
    }

    /// Makes what ends a run, shows it and keeps what it stores.
    async fn hold_of(self: &Arc<Self>, package: &Package) -> Result<Cancel, OpError> {
        let asked = asset::needs(package).into_iter().find_map(|need| match need.amount {
            Amount::Storage { size, persistent } => Some((size.0, persistent)),
            _ => None,
        });
        let Some((quota_bytes, persistent)) = asked else { return Ok(Cancel::new()) };
        let (catalog, name) = (Arc::clone(self), package.name.clone());
        let storage = move || catalog.runs.storage(&TrustDomain(DOMAIN.into()), &name, quota_bytes, persistent);
        Ok(Cancel::with_storage(off_thread(storage).await?))
    }
}

/// Describes this node as one that has so much; whether there is room now is what its leases tell, and the queue waits for them.
fn this_node(host: &dyn Host, total: NodeResources) -> NodeCandidate {
    let (id, platform) = (host.node_id(), host.platform());
    let (os, arch) = platform.split_once('-').unwrap_or((&platform, ""));
    let labels = [(NODE_LABEL, id.as_str()), ("os", os), (ARCHITECTURE_LABEL, arch)];
    NodeCandidate {
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        id,
        is_local: true,
        round_trip: Duration::ZERO,
        load_permille: 0,
        total,
        free: total,
    }
}

/// Gives how long to wait for the time that was asked for; none if it begins as soon as it may.
fn delay(
    package: &Package,
    at: Option<time::OffsetDateTime>,
    now: time::OffsetDateTime,
) -> Result<Option<Duration>, OpError> {
    let scheduled = package.execution.scheduling.timing == model::Timing::Scheduled;
    let Some(at) = at else {
        let name = || package.name.clone();
        return if scheduled { Err(RunError::Unscheduled { name: name() }.into()) } else { Ok(None) };
    };
    let delay = Duration::try_from(at - now).unwrap_or_default();
    if delay > SCHEDULED_WITHIN {
        return Err(RunError::TooFar { name: package.name.clone(), at }.into());
    }
    Ok(Some(delay))
}

/// Says whether another node than this one may be the right one for a package: this one is always the nearest.
fn wants_others(package: &Package) -> bool {
    let execution = &package.execution;
    let has_rules = !execution.scheduling.node_affinity.is_empty() || !execution.scheduling.anti_affinity.is_empty();
    has_rules || execution.delegation_strategy != model::DelegationStrategy::NearestNode
}

/// Gives what a package demands of a node.
fn demand(package: &Package) -> Demand {
    let mut demand = Demand::default();
    for need in asset::needs(package) {
        match need.amount {
            Amount::Cpu { cores, share, architecture } => {
                demand.cpu = Some(model::CpuMillis(share.0.max(1).min(u64::from(cores).max(1) * 1_000)));
                demand.architecture = architecture;
            }
            Amount::Gpu { units, memory, .. } => (demand.gpus, demand.gpu_memory) = (units, Some(memory)),
            Amount::Memory { size } => demand.memory = Some(size),
            Amount::Storage { .. } | Amount::Network { .. } | Amount::Container { .. } => {}
        }
    }
    demand
}
