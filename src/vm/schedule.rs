//! Where a run goes: one of several nodes, by what a package demands, its rules and its strategies. Pure: nodes, load and chance
//! come in.
//!
//! First what binds: a node must have what is demanded, meet every required rule of affinity and none of anti-affinity. Then
//! what is better, each step deciding among those that are equal so far: what is demanded is free now; the sum of preferred
//! rules, those of anti-affinity counted against a node; the delegation strategy; the allocation strategy; this node before
//! others, and the order of ids.
//!
//! Invariant: the same nodes, demand and chance give the same choice, in whatever order the nodes come.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use crate::host::{NodeCandidate, NodeResources};
use crate::package::model::{
    AffinityOperator, AffinityRule, AllocationStrategy, Bytes, CpuMillis, DelegationStrategy, RuleType, Scheduling,
};

/// The label by which rules name a node.
pub const NODE_LABEL: &str = "node";
/// The label with a node's processor architecture.
pub const ARCHITECTURE_LABEL: &str = "arch";
/// Nodes whose round-trip times differ by less are equally near: this much is noise between two measurements.
pub const NEAR_WITHIN: Duration = Duration::from_millis(5);
/// Nodes whose load differs by less, in thousandths, are equally busy.
pub const BUSY_WITHIN_PERMILLE: u32 = 50;

/// What a run demands of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Share of processors.
    pub cpu: Option<CpuMillis>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Graphics processors.
    pub gpus: u32,
    /// Memory of each of them.
    pub gpu_memory: Option<Bytes>,
    /// Processor architecture, such as `x86_64`.
    pub architecture: Option<String>,
}

/// Why no node will do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unplaced {
    /// No node is known.
    #[error("no node is known that could run it")]
    NoNodes,
    /// `specific_node` without a name.
    #[error(
        "`delegation_strategy: specific_node` needs a required rule of `node_affinity` with the key `{NODE_LABEL}` and the operator `in`"
    )]
    Unnamed,
    /// None has what is demanded.
    #[error("none of {nodes} nodes has {what}")]
    Demand {
        /// What none has.
        what: String,
        /// How many there are.
        nodes: usize,
    },
    /// None meets the required rules.
    #[error("none of {nodes} nodes meets the required rule about the label `{key}`")]
    Rule {
        /// The label of the first rule that leaves none over.
        key: String,
        /// How many there are that have what is demanded.
        nodes: usize,
    },
}

/// Chooses a node. `chance` decides where the strategy leaves it to chance; any number will do.
///
/// # Errors
/// [`Unplaced`], with what leaves no node over.
pub fn place<'a>(
    nodes: &'a [NodeCandidate],
    demand: &Demand,
    delegation: DelegationStrategy,
    scheduling: &Scheduling,
    chance: u64,
) -> Result<&'a NodeCandidate, Unplaced> {
    let mut left = able(nodes, demand)?;
    let rules = || {
        let affinity = scheduling.node_affinity.iter().map(|rule| (rule, true));
        affinity.chain(scheduling.anti_affinity.iter().map(|rule| (rule, false)))
    };
    if delegation == DelegationStrategy::SpecificNode && !scheduling.node_affinity.iter().any(names_a_node) {
        return Err(Unplaced::Unnamed);
    }
    for (rule, wanted) in rules().filter(|(rule, _)| rule.rule_type == RuleType::Required) {
        let before = left.len();
        left.retain(|node| meets(node, rule) == wanted);
        if left.is_empty() {
            return Err(Unplaced::Rule { key: rule.key.clone(), nodes: before });
        }
    }
    let score = |node: &NodeCandidate| {
        let preferred = rules().filter(|(rule, _)| rule.rule_type == RuleType::Preferred && meets(node, rule));
        preferred.map(|(rule, wanted)| if wanted { rule.weight } else { -rule.weight }).sum::<f64>()
    };
    left.sort_by(|a, b| {
        let is_free = |node: &NodeCandidate| lacks(&node.free, demand).is_none();
        (is_free(b).cmp(&is_free(a))).then_with(|| score(b).total_cmp(&score(a))).then_with(|| a.id.cmp(&b.id))
    });
    let first = left.first().ok_or(Unplaced::NoNodes)?;
    let is_free = lacks(&first.free, demand).is_none();
    let best = score(first);
    left.retain(|node| lacks(&node.free, demand).is_none() == is_free && score(node).total_cmp(&best).is_eq());
    Ok(choose(left, demand, delegation, scheduling.allocation_strategy, chance))
}

/// Keeps the nodes that have what is demanded, whoever uses it now.
fn able<'a>(nodes: &'a [NodeCandidate], demand: &Demand) -> Result<Vec<&'a NodeCandidate>, Unplaced> {
    if nodes.is_empty() {
        return Err(Unplaced::NoNodes);
    }
    let right = |node: &&NodeCandidate| {
        demand.architecture.as_ref().is_none_or(|wanted| node.labels.get(ARCHITECTURE_LABEL) == Some(wanted))
    };
    let able: Vec<_> = nodes.iter().filter(right).collect();
    if able.is_empty() {
        let wanted = demand.architecture.as_deref().unwrap_or_default();
        return Err(Unplaced::Demand { what: format!("the architecture `{wanted}`"), nodes: nodes.len() });
    }
    let fits: Vec<_> = able.iter().copied().filter(|node| lacks(&node.total, demand).is_none()).collect();
    match able.iter().find_map(|node| lacks(&node.total, demand)) {
        Some(what) if fits.is_empty() => Err(Unplaced::Demand { what, nodes: nodes.len() }),
        _ => Ok(fits),
    }
}

/// Gives the first thing that is demanded and not there.
fn lacks(there: &NodeResources, demand: &Demand) -> Option<String> {
    let cpu = demand.cpu.filter(|cpu| u64::from(there.cpu_cores) * 1_000 < cpu.0);
    if let Some(cpu) = cpu {
        return Some(format!("`{}m` of processors", cpu.0));
    }
    if let Some(memory) = demand.memory.filter(|memory| there.memory_bytes < memory.0) {
        return Some(format!("{} bytes of memory", memory.0));
    }
    if demand.gpus > there.gpus {
        return Some(format!("{} graphics processors", demand.gpus));
    }
    let memory = demand.gpu_memory.filter(|memory| demand.gpus > 0 && there.gpu_memory_bytes < memory.0)?;
    Some(format!("a graphics processor with {} bytes", memory.0))
}

fn meets(node: &NodeCandidate, rule: &AffinityRule) -> bool {
    let label = node.labels.get(&rule.key);
    match rule.operator {
        AffinityOperator::In => label.is_some_and(|label| rule.values.contains(label)),
        AffinityOperator::NotIn => label.is_none_or(|label| !rule.values.contains(label)),
        AffinityOperator::Exists => label.is_some(),
        AffinityOperator::DoesNotExist => label.is_none(),
    }
}

fn names_a_node(rule: &AffinityRule) -> bool {
    rule.rule_type == RuleType::Required && rule.key == NODE_LABEL && rule.operator == AffinityOperator::In
}

/// Chooses among nodes that are equally right, in the order of their ids; there is at least one.
fn choose<'a>(
    mut nodes: Vec<&'a NodeCandidate>,
    demand: &Demand,
    delegation: DelegationStrategy,
    allocation: AllocationStrategy,
    chance: u64,
) -> &'a NodeCandidate {
    if delegation == DelegationStrategy::RandomNode {
        return nodes[(chance % nodes.len() as u64) as usize];
    }
    let nearest = nodes.iter().map(|node| node.round_trip).min().unwrap_or_default();
    let idlest = nodes.iter().map(|node| node.load_permille).min().unwrap_or_default();
    let power = |node: &NodeCandidate| (node.total.gpus, node.total.cpu_cores, node.total.memory_bytes);
    let strongest = nodes.iter().map(|node| power(node)).max().unwrap_or_default();
    nodes.retain(|node| match delegation {
        DelegationStrategy::NearestNode => node.round_trip < nearest + NEAR_WITHIN,
        DelegationStrategy::LoadBalanced => node.load_permille < idlest + BUSY_WITHIN_PERMILLE,
        DelegationStrategy::HighPerformanceCluster => power(node) == strongest,
        DelegationStrategy::RandomNode | DelegationStrategy::SpecificNode => true,
    });
    // The order of ids stays where this says nothing.
    nodes.sort_by(|a, b| by_allocation(a, b, demand, allocation).then(b.is_local.cmp(&a.is_local)));
    nodes[0]
}

fn by_allocation(a: &NodeCandidate, b: &NodeCandidate, demand: &Demand, strategy: AllocationStrategy) -> Ordering {
    let left = |node: &NodeCandidate| {
        let cpu = u64::from(node.free.cpu_cores) * 1_000;
        let memory = demand.memory.map_or(0, |memory| memory.0);
        (cpu.saturating_sub(demand.cpu.map_or(0, |cpu| cpu.0)), node.free.memory_bytes.saturating_sub(memory))
    };
    match strategy {
        AllocationStrategy::FirstFit => Ordering::Equal,
        AllocationStrategy::BestFit => left(a).cmp(&left(b)),
        AllocationStrategy::Balanced => Reverse(left(a)).cmp(&Reverse(left(b))),
    }
}

#[cfg(test)]
mod tests;
