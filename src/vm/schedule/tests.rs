//! Placement over synthetic nodes.

use proptest::prelude::*;

use super::*;
use crate::package::model::Timing;

fn node(id: &str, cores: u32, round_trip_ms: u64, load_permille: u32) -> NodeCandidate {
    let total = NodeResources { cpu_cores: cores, memory_bytes: u64::from(cores) << 30, gpus: 0, gpu_memory_bytes: 0 };
    let labels = [(NODE_LABEL, id), (ARCHITECTURE_LABEL, "x86_64")];
    NodeCandidate {
        id: id.into(),
        is_local: id == "here",
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        round_trip: Duration::from_millis(round_trip_ms),
        load_permille,
        total,
        free: total,
    }
}

fn nodes() -> Vec<NodeCandidate> {
    let mut strong = node("strong", 64, 80, 900);
    (strong.total.gpus, strong.total.gpu_memory_bytes) = (2, 16 << 30);
    strong.free = NodeResources { cpu_cores: 4, ..strong.total };
    let mut arm = node("arm", 8, 30, 10);
    arm.labels.insert(ARCHITECTURE_LABEL.into(), "aarch64".into());
    let mut zoned = node("zoned", 4, 40, 300);
    zoned.labels.insert("zone".into(), "a".into());
    vec![node("here", 2, 0, 600), node("near", 8, 3, 400), strong, arm, zoned]
}

fn scheduling() -> Scheduling {
    Scheduling {
        timing: Timing::Immediate,
        allocation_strategy: AllocationStrategy::Balanced,
        node_affinity: Vec::new(),
        anti_affinity: Vec::new(),
    }
}

fn rule(rule_type: RuleType, key: &str, operator: AffinityOperator, values: &[&str]) -> AffinityRule {
    let values = values.iter().map(|&value| value.into()).collect();
    AffinityRule { rule_type, key: key.into(), operator, values, weight: 1.0 }
}

fn chosen(delegation: DelegationStrategy, scheduling: &Scheduling) -> String {
    let nodes = nodes();
    let placed = place(&nodes, &Demand::default(), delegation, scheduling, 0);
    placed.map_or_else(|error| error.to_string(), |node| node.id.clone())
}

#[test]
fn each_strategy_chooses_the_node_it_says() {
    let by = |allocation_strategy| Scheduling { allocation_strategy, ..scheduling() };
    // Two are equally near, so the allocation strategy decides: which has more left over.
    assert_eq!(chosen(DelegationStrategy::NearestNode, &scheduling()), "near");
    assert_eq!(chosen(DelegationStrategy::NearestNode, &by(AllocationStrategy::BestFit)), "here");
    assert_eq!(chosen(DelegationStrategy::NearestNode, &by(AllocationStrategy::FirstFit)), "here");
    assert_eq!(chosen(DelegationStrategy::LoadBalanced, &scheduling()), "arm");
    assert_eq!(chosen(DelegationStrategy::HighPerformanceCluster, &scheduling()), "strong");
    let named = rule(RuleType::Required, NODE_LABEL, AffinityOperator::In, &["zoned"]);
    let named = Scheduling { node_affinity: vec![named], ..scheduling() };
    assert_eq!(chosen(DelegationStrategy::SpecificNode, &named), "zoned");
    assert_eq!(chosen(DelegationStrategy::SpecificNode, &scheduling()), Unplaced::Unnamed.to_string());
    let nodes = nodes();
    let mut random: Vec<&str> = (0..nodes.len() as u64)
        .map(|chance| place(&nodes, &Demand::default(), DelegationStrategy::RandomNode, &scheduling(), chance))
        .map(|placed| placed.expect("any will do").id.as_str())
        .collect();
    random.sort_unstable();
    assert_eq!(random, ["arm", "here", "near", "strong", "zoned"], "every node has its turn");
}

#[test]
fn best_first_and_balanced_fit_differ_as_they_say() {
    let mut nodes = vec![node("a", 4, 0, 0), node("b", 2, 0, 0), node("c", 16, 0, 0)];
    nodes[2].free.cpu_cores = 1;
    let demand = Demand { cpu: Some(CpuMillis(2_000)), ..Demand::default() };
    let chosen = |allocation_strategy| {
        let scheduling = Scheduling { allocation_strategy, ..scheduling() };
        let placed = place(&nodes, &demand, DelegationStrategy::NearestNode, &scheduling, 0);
        placed.expect("fits").id.clone()
    };
    let strategies = [AllocationStrategy::FirstFit, AllocationStrategy::BestFit, AllocationStrategy::Balanced];
    assert_eq!(strategies.map(chosen), ["a", "b", "a"], "`c` has more, and it is not free");
}

#[test]
fn required_rules_bind_and_preferred_ones_score() {
    use AffinityOperator::{DoesNotExist, Exists, In, NotIn};
    let with = |affinity: Vec<AffinityRule>, anti: Vec<AffinityRule>| {
        let scheduling = Scheduling { node_affinity: affinity, anti_affinity: anti, ..scheduling() };
        chosen(DelegationStrategy::NearestNode, &scheduling)
    };
    let required = |key, operator, values: &[&str]| rule(RuleType::Required, key, operator, values);
    let preferred = |key, operator, values: &[&str]| rule(RuleType::Preferred, key, operator, values);
    assert_eq!(with(vec![required("zone", Exists, &[])], vec![]), "zoned");
    assert_eq!(with(vec![], vec![required("zone", DoesNotExist, &[])]), "zoned");
    assert_eq!(with(vec![required("arch", NotIn, &["x86_64"])], vec![]), "arm");
    assert_eq!(with(vec![], vec![required(NODE_LABEL, In, &["here", "near"])]), "arm");
    assert_eq!(with(vec![preferred("zone", In, &["a"])], vec![]), "zoned", "it outweighs nearness");
    assert_eq!(with(vec![], vec![preferred(NODE_LABEL, In, &["near"])]), "here");
    let heavier = AffinityRule { weight: 2.0, ..preferred("arch", In, &["aarch64"]) };
    assert_eq!(with(vec![preferred("zone", In, &["a"]), heavier], vec![]), "arm");
    assert_eq!(
        with(vec![required("zone", In, &["b"])], vec![]),
        "none of 5 nodes meets the required rule about the label `zone`"
    );
}

#[test]
fn what_no_node_has_is_named() {
    let nodes = nodes();
    let refused = |demand: Demand| {
        let placed = place(&nodes, &demand, DelegationStrategy::NearestNode, &scheduling(), 0);
        placed.expect_err("nobody has it").to_string()
    };
    let architecture = Demand { architecture: Some("riscv64".into()), ..Demand::default() };
    assert_eq!(refused(architecture), "none of 5 nodes has the architecture `riscv64`");
    let much = Demand { memory: Some(Bytes(1 << 50)), ..Demand::default() };
    assert!(refused(much).starts_with("none of 5 nodes has 1125899906842624 bytes of memory"));
    assert_eq!(refused(Demand { gpus: 3, ..Demand::default() }), "none of 5 nodes has 3 graphics processors");
    let graphics = Demand { gpus: 1, gpu_memory: Some(Bytes(8 << 30)), ..Demand::default() };
    let placed = place(&nodes, &graphics, DelegationStrategy::NearestNode, &scheduling(), 0);
    assert_eq!(placed.expect("one has it").id, "strong", "although it is far away and busy");
    assert_eq!(
        place(&[], &Demand::default(), DelegationStrategy::NearestNode, &scheduling(), 0),
        Err(Unplaced::NoNodes)
    );
}

proptest! {
    /// With many nodes: the choice can do what is demanded, depends on no order, and is as near, idle or strong as it may be.
    #[test]
    fn the_choice_is_right_and_the_same_in_any_order(
        figures in proptest::collection::vec((1..64_u32, 0..200_u64, 0..1_000_u32, 0..64_u32), 1..80),
        cores in 1..32_u64,
        turn in any::<usize>(),
    ) {
        let mut nodes: Vec<NodeCandidate> = figures.iter().enumerate().map(|(number, &(cores, far, load, free))| {
            let mut made = node(&format!("n{number:02}"), cores, far, load);
            made.free.cpu_cores = free.min(cores);
            made
        }).collect();
        let demand = Demand { cpu: Some(CpuMillis(cores * 1_000)), ..Demand::default() };
        for delegation in [
            DelegationStrategy::NearestNode, DelegationStrategy::LoadBalanced,
            DelegationStrategy::HighPerformanceCluster, DelegationStrategy::RandomNode,
        ] {
            let first = place(&nodes, &demand, delegation, &scheduling(), 7).cloned();
            nodes.rotate_left(turn % figures.len());
            prop_assert_eq!(place(&nodes, &demand, delegation, &scheduling(), 7).cloned(), first.clone());
            let Ok(first) = first else {
                prop_assert!(nodes.iter().all(|node| u64::from(node.total.cpu_cores) < cores));
                continue;
            };
            prop_assert!(u64::from(first.total.cpu_cores) >= cores);
            let free_now = |node: &&NodeCandidate| u64::from(node.free.cpu_cores) >= cores;
            let peers: Vec<_> = nodes.iter().filter(free_now).collect();
            if peers.is_empty() {
                continue;
            }
            prop_assert!(free_now(&&first), "one that is free goes before one that is not");
            match delegation {
                DelegationStrategy::NearestNode => {
                    prop_assert!(peers.iter().all(|peer| first.round_trip < peer.round_trip + NEAR_WITHIN));
                }
                DelegationStrategy::LoadBalanced => {
                    let within = BUSY_WITHIN_PERMILLE;
                    prop_assert!(peers.iter().all(|peer| first.load_permille < peer.load_permille + within));
                }
                DelegationStrategy::HighPerformanceCluster => {
                    prop_assert!(peers.iter().all(|peer| first.total.cpu_cores >= peer.total.cpu_cores));
                }
                _ => {}
            }
        }
    }
}
