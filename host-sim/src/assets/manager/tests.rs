//! The asset manager over a node whose figures the tests give, and once over this machine.

use std::time::Duration;

use super::*;
use crate::assets::{
    Constraints, CpuFigures, GpuAbsent, GpuFigures, InterfaceFigures, Item, MemoryFigures, StorageFigures,
};
use crate::manifest::Bytes;

const GIB: u64 = 1 << 30;

/// A node whose figures are what the test says.
struct Given(Mutex<NodeFigures>);

impl Node for Given {
    fn figures(&self, _: &[AssetType]) -> NodeFigures {
        self.0.lock().expect("no test panics with it").clone()
    }
}

fn figures() -> NodeFigures {
    let gpu = |index, name: &str, gib| GpuFigures {
        index,
        uuid: Some(format!("GPU-{index}")),
        name: Some(name.to_owned()),
        memory_total: Some(gib * GIB),
        memory_used: Some(0),
        ..GpuFigures::default()
    };
    let interface = |name: &str, loopback, bytes_per_second| InterfaceFigures {
        name: name.to_owned(),
        loopback,
        received: 0,
        sent: 0,
        bytes_per_second,
    };
    NodeFigures {
        cpu: CpuFigures {
            cores: 8,
            architecture: "x86_64".to_owned(),
            model: None,
            frequency_mhz: None,
            utilisation_percent: Some(25.0),
        },
        memory: MemoryFigures { total: 24 * GIB, available: 20 * GIB, swap_total: 0, swap_used: 0 },
        storage: Some(StorageFigures { path: "/home".into(), total: 100 * GIB, available: 50 * GIB }),
        network: vec![interface("eth0", false, Some(1000)), interface("lo", true, None)],
        gpus: vec![gpu(0, "NVIDIA A100", 40), gpu(1, "NVIDIA H100", 80), gpu(2, "NVIDIA H100", 80)],
        gpu_absent: None,
    }
}

struct Setup {
    node: Arc<Given>,
    now_us: Arc<Mutex<u64>>,
    manager: AssetManager,
}

impl Setup {
    /// Registers `a` and `b` with limits beyond the node.
    fn new() -> Self {
        let node = Arc::new(Given(Mutex::new(figures())));
        let now_us = Arc::new(Mutex::new(1_000_000));
        let clock = Arc::clone(&now_us);
        let clock: Clock = Arc::new(move || *clock.lock().expect("no test panics with it"));
        let manager = AssetManager::new(node.clone(), clock);
        for extension in ["a", "b"] {
            manager.register(owner(extension), unlimited());
        }
        Self { node, now_us, manager }
    }

    fn lease(&self, extension: &str, items: &[Item]) -> Result<Lease, AssetError> {
        self.manager.lease(&request(extension, items))
    }

    fn refusal(&self, items: &[Item]) -> String {
        self.lease("a", items).expect_err("refused").to_string()
    }

    fn held(&self) -> Vec<(u64, usize)> {
        self.manager.totals().iter().map(|totals| (totals.held, totals.leases)).collect()
    }
}

const NOTHING: [(u64, usize); 5] = [(0, 0); 5];

fn unlimited() -> Limits {
    Limits {
        cpu: "100%".parse().expect("valid"),
        memory: Bytes(u64::MAX),
        storage: Bytes(u64::MAX),
        bandwidth: Bytes(u64::MAX),
        ..Limits::default()
    }
}

fn owner(extension: &str) -> Owner {
    Owner { extension: extension.parse().expect("valid"), generation: 1 }
}

fn item(kind: AssetType, amount: u64) -> Item {
    Item { kind, amount, constraints: Constraints::default() }
}

fn gpu(amount: u64, gpu_type: Option<&str>, gib: Option<u64>) -> Item {
    let constraints = Constraints {
        gpu_type: gpu_type.map(str::to_owned),
        gpu_memory_min: gib.map(Bytes::gibibytes),
        ..Constraints::default()
    };
    Item { constraints, ..item(AssetType::Gpu, amount) }
}

fn request(extension: &str, items: &[Item]) -> LeaseRequest {
    LeaseRequest {
        owner: owner(extension),
        label: "run 7".to_owned(),
        items: items.to_vec(),
        ttl: Duration::from_secs(60),
        tags: vec!["run".to_owned()],
        origin: Origin::Local,
    }
}

#[test]
fn every_kind_is_leased_listed_used_and_freed() {
    let setup = Setup::new();
    let amounts = [
        (AssetType::Cpu, 2_000, Some(0.25)),
        (AssetType::Gpu, 1, Some(1.0 / 3.0)),
        (AssetType::Memory, 6 * GIB, Some(0.25)),
        (AssetType::Storage, 10 * GIB, Some(0.1)),
        (AssetType::Network, 500, Some(0.5)),
    ];
    for (kind, amount, share) in amounts {
        let lease = setup.lease("a", &[item(kind, amount)]).expect("given");
        assert_eq!((lease.items[0].share, lease.items[0].state), (share, AssetState::Allocated), "{kind}");
        let asset = lease.items[0].asset;
        setup.manager.mark(&owner("a"), &asset, AssetState::InUse).expect("held");
        setup.manager.report_usage(&owner("a"), &asset, amount / 2).expect("held");
        let query = Query { kind: Some(kind), tag: Some("run".to_owned()), ..Query::default() };
        let listed = setup.manager.list(&query);
        let figures = (listed[0].id, listed[0].amount, listed[0].used, listed[0].state);
        assert_eq!((listed.len(), figures), (1, (asset, Some(amount), Some(amount / 2), AssetState::InUse)));
        assert_eq!(AssetId::parse(&asset.to_string(), listed[0].created_us), Ok(asset), "its id can be checked again");
        setup.manager.release(&owner("a"), lease.id).expect("held");
        assert_eq!(setup.held(), NOTHING);
    }
}

#[test]
fn this_machine_leases_what_it_has() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let node = Arc::new(crate::assets::LocalNode::new(directory.path()).expect("supported"));
    let manager = AssetManager::new(node, Arc::new(|| 1));
    manager.register(owner("a"), unlimited());
    for kind in AssetType::HARDWARE {
        match manager.lease(&request("a", &[item(kind, 1)])) {
            Ok(lease) => assert_eq!(lease.items[0].devices.len(), usize::from(kind == AssetType::Gpu)),
            Err(AssetError::NoGpu(absent)) => assert_eq!(manager.figures().gpu_absent, Some(absent)),
            Err(error) => panic!("{kind}: {error}"),
        }
    }
    let memory = manager.figures().memory.total;
    assert!(matches!(
        manager.lease(&request("a", &[item(AssetType::Memory, memory + 1)])),
        Err(AssetError::Exhausted { .. })
    ));
    manager.release_all(&owner("a"));
    assert!(manager.totals().iter().all(|totals| totals.leases == 0));
}

#[test]
fn a_lease_is_all_or_nothing() {
    let setup = Setup::new();
    let refused = setup.lease("a", &[item(AssetType::Memory, GIB), item(AssetType::Cpu, 9_000)]);
    assert!(matches!(refused, Err(AssetError::Quota { .. })), "{refused:?}");
    assert_eq!(setup.held(), NOTHING);
    let twice = [item(AssetType::Memory, 12 * GIB), item(AssetType::Memory, 12 * GIB)];
    assert!(setup.refusal(&twice).starts_with("asked 12 GiB of memory, 8 GiB free of 24 GiB"));
    assert_eq!(setup.held(), NOTHING);
}

#[test]
fn more_than_is_free_is_refused_with_the_figures() {
    let setup = Setup::new();
    setup.lease("a", &[item(AssetType::Memory, GIB)]).expect("given");
    setup.lease("b", &[item(AssetType::Memory, GIB / 2)]).expect("given");
    assert_eq!(
        setup.refusal(&[item(AssetType::Memory, 64 * GIB)]),
        "asked 64 GiB of memory, 18.5 GiB free of 24 GiB, 2 leases hold 1.5 GiB"
    );
    setup.lease("a", &[item(AssetType::Cpu, 7_500)]).expect("given");
    let asked = setup.lease("b", &[item(AssetType::Cpu, 501)]).expect_err("refused").to_string();
    assert_eq!(asked, "asked 0.501 cores of cpu, 0.5 cores free of 8 cores, 1 lease holds 7.5 cores");
    assert!(setup.lease("b", &[item(AssetType::Cpu, 500)]).is_ok(), "what is free is given to the last");
}

#[test]
fn memory_that_a_holder_uses_is_not_taken_off_twice() {
    let setup = Setup::new();
    let lease = setup.lease("a", &[item(AssetType::Memory, 4 * GIB)]).expect("given");
    let free = || setup.manager.totals()[2].free;
    assert_eq!(free(), Some(16 * GIB), "available 20, of which 4 are promised");
    setup.node.0.lock().expect("free").memory.available = 16 * GIB;
    assert_eq!(free(), Some(12 * GIB), "the machine has 16 left and 4 are promised, as far as is known");
    setup.manager.report_usage(&owner("a"), &lease.items[0].asset, 4 * GIB).expect("held");
    assert_eq!(free(), Some(16 * GIB), "the promise is kept already");
    setup.manager.report_usage(&owner("a"), &lease.items[0].asset, u64::MAX).expect("held");
    assert_eq!(free(), Some(16 * GIB), "a false report gives nobody more");
}

#[test]
fn limits_hold_over_all_generations_and_the_refusal_has_the_figures() {
    let setup = Setup::new();
    setup.manager.register(owner("a"), Limits::default());
    let second = Owner { generation: 2, ..owner("a") };
    setup.manager.register(second.clone(), Limits { assets: 4, ..Limits::default() });
    setup.lease("a", &[item(AssetType::Memory, GIB / 2)]).expect("given");
    let ask = |items: &[Item]| setup.manager.lease(&LeaseRequest { owner: second.clone(), ..request("a", items) });
    assert_eq!(
        ask(&[item(AssetType::Memory, GIB)]).expect_err("refused").to_string(),
        "asked 1 GiB of memory, `a` holds 512 MiB and may hold 1 GiB"
    );
    assert!(ask(&[item(AssetType::Cpu, 2_001)]).is_err(), "25 % of 8 cores are 2");
    assert!(ask(&[item(AssetType::Storage, 10 * GIB + 1)]).is_err());
    assert!(ask(&[item(AssetType::Network, (100 << 20) + 1)]).is_err());
    assert!(
        ask(&[item(AssetType::Memory, GIB / 2), item(AssetType::Cpu, 2_000), item(AssetType::Storage, GIB)]).is_ok()
    );
    assert_eq!(
        ask(&[item(AssetType::Gpu, 1)]).expect_err("refused").to_string(),
        "asked 1 assets, `a` holds 4 and may hold 4"
    );
}

#[test]
fn graphics_processors_are_whole_devices_that_suit() {
    let setup = Setup::new();
    let indices = |lease: Lease| lease.items[0].devices.iter().map(|device| device.index).collect::<Vec<_>>();
    let big = setup.lease("a", &[gpu(1, Some("CUDA"), Some(60))]).expect("given");
    assert_eq!(big.items[0].devices[0].uuid.as_deref(), Some("GPU-1"));
    let listed = setup.manager.list(&Query { tag: Some("run".to_owned()), ..Query::default() });
    let parents = setup.manager.list(&Query { kind: Some(AssetType::Gpu), ..Query::default() });
    assert_eq!(listed[0].parent, Some(parents[1].id), "a leased device is a part of that device");
    assert_eq!(
        setup.refusal(&[gpu(2, Some("h100"), None)]),
        "asked 2 devices of gpu, 1 device free of 2 devices, 1 lease holds 1 device"
    );
    assert_eq!(
        setup.refusal(&[gpu(1, Some("ROCm"), Some(16))]),
        "asked for a graphics processor of type `ROCm` with 16 GiB free, this node has `NVIDIA A100` with 40 GiB \
         free, `NVIDIA H100` with 80 GiB free, `NVIDIA H100` with 80 GiB free"
    );
    assert!(setup.lease("b", &[gpu(1, Some("h100"), None), gpu(1, Some("h100"), None)]).is_err());
    assert_eq!(indices(setup.lease("b", &[gpu(2, None, None)]).expect("given")), [0, 2]);
    *setup.node.0.lock().expect("free") = NodeFigures {
        gpus: Vec::new(),
        gpu_absent: Some(GpuAbsent::NoLibrary { library: "libnvidia-ml.so.1".to_owned() }),
        ..figures()
    };
    assert!(setup.refusal(&[gpu(1, None, None)]).ends_with("`libnvidia-ml.so.1` is not installed"));
}

#[test]
fn what_the_node_is_not_or_keeps_back_is_refused() {
    let setup = Setup::new();
    let cpu = |architecture: &str| {
        let constraints = Constraints { architecture: Some(architecture.to_owned()), ..Constraints::default() };
        Item { constraints, ..item(AssetType::Cpu, 1_000) }
    };
    assert_eq!(setup.refusal(&[cpu("arm64")]), "asked for architecture `arm64`, this node has `x86_64`");
    assert!(setup.lease("a", &[cpu("amd64")]).is_ok());
    assert_eq!(setup.refusal(&[item(AssetType::Economic, 1)]), "this node has no assets of kind `economic` to lease");
    setup.manager.set_kind_state(AssetType::Memory, AssetState::Maintenance);
    assert_eq!(setup.refusal(&[item(AssetType::Memory, 1)]), "`memory` of this node is in maintenance");
    setup.manager.set_kind_state(AssetType::Memory, AssetState::Available);
    let remote = LeaseRequest { origin: Origin::Remote, ..request("a", &[item(AssetType::Memory, 1)]) };
    assert!(matches!(setup.manager.lease(&remote), Err(AssetError::Private { .. })));
    setup.manager.set_privacy(AssetType::Memory, PrivacyLevel::PrivateNetwork);
    assert!(setup.manager.lease(&remote).is_ok());
    assert!(matches!(setup.lease("stranger", &[cpu("x86_64")]), Err(AssetError::NotRegistered { .. })));
}

#[test]
fn a_link_of_unknown_speed_is_bounded_by_limits_alone() {
    let setup = Setup::new();
    assert!(setup.refusal(&[item(AssetType::Network, 1_001)]).contains("1000 B/s free of 1000 B/s"));
    setup.node.0.lock().expect("free").network[0].bytes_per_second = None;
    let lease = setup.lease("a", &[item(AssetType::Network, 1_001)]).expect("given");
    assert_eq!((lease.items[0].share, setup.manager.totals()[4].total), (None, None));
    setup.node.0.lock().expect("free").storage = None;
    assert!(matches!(setup.lease("a", &[item(AssetType::Storage, 1)]), Err(AssetError::NotOffered { .. })));
}

#[test]
fn malformed_requests_are_refused_at_their_bounds() {
    use crate::assets::{ITEMS_MAX, TAGS_MAX, TEXT_BYTES_MAX};
    let setup = Setup::new();
    let good = request("a", &[item(AssetType::Cpu, 1)]);
    let with = |change: &dyn Fn(&mut LeaseRequest)| {
        let mut request = good.clone();
        change(&mut request);
        setup.manager.lease(&request)
    };
    assert!(with(&|r| r.items = vec![item(AssetType::Cpu, 1); ITEMS_MAX]).is_ok());
    assert!(with(&|r| r.tags = vec!["x".repeat(TEXT_BYTES_MAX); TAGS_MAX]).is_ok());
    assert!(with(&|r| r.ttl = LeaseRequest::TTL_MAX).is_ok());
    let wrong: [&dyn Fn(&mut LeaseRequest); 9] = [
        &|r| r.items = vec![item(AssetType::Cpu, 1); ITEMS_MAX + 1],
        &|r| r.items.clear(),
        &|r| r.items[0].amount = 0,
        &|r| r.ttl = Duration::ZERO,
        &|r| r.ttl = LeaseRequest::TTL_MAX + Duration::from_micros(1),
        &|r| r.tags = vec![String::new(); TAGS_MAX + 1],
        &|r| r.tags = vec!["x".repeat(TEXT_BYTES_MAX + 1)],
        &|r| r.label = "two\nlines".to_owned(),
        &|r| r.items[0].constraints.architecture = Some("x".repeat(TEXT_BYTES_MAX + 1)),
    ];
    for change in wrong {
        assert!(matches!(with(change), Err(AssetError::Invalid { .. })));
    }
}

#[test]
fn the_number_of_leases_is_bounded() {
    let setup = Setup::new();
    setup.manager.register(owner("a"), Limits { assets: u32::MAX, ..unlimited() });
    let lease = setup.lease("a", &[item(AssetType::Memory, 1)]).expect("given");
    let mut state = setup.manager.lock();
    while state.leases.len() < LEASES_MAX {
        state.leases.insert(LeaseId::mint(), lease.clone());
    }
    drop(state);
    assert_eq!(setup.lease("a", &[item(AssetType::Memory, 1)]), Err(AssetError::TooManyLeases));
    assert_eq!(setup.manager.list(&Query::default()).len(), RECORDS_MAX, "a list is bounded too");
    setup.manager.release_all(&owner("a"));
    assert_eq!(setup.held(), NOTHING);
}

#[test]
fn only_the_holder_touches_a_lease() {
    let setup = Setup::new();
    let lease = setup.lease("a", &[item(AssetType::Cpu, 1)]).expect("given");
    let asset = lease.items[0].asset;
    for other in [owner("b"), Owner { generation: 2, ..owner("a") }] {
        assert!(matches!(setup.manager.release(&other, lease.id), Err(AssetError::NotHeld { .. })));
        assert!(setup.manager.mark(&other, &asset, AssetState::InUse).is_err());
        assert!(setup.manager.report_usage(&other, &asset, 1).is_err());
    }
    assert!(setup.manager.mark(&owner("a"), &asset, AssetState::Available).is_err());
    assert_eq!(setup.manager.release(&owner("a"), lease.id).expect("held").id, lease.id);
    assert!(setup.manager.release(&owner("a"), lease.id).is_err(), "a second release finds nothing");
}

#[test]
fn leases_end_with_their_time_and_with_their_owner() {
    let setup = Setup::new();
    let first = setup.lease("a", &[item(AssetType::Cpu, 1)]).expect("given");
    *setup.now_us.lock().expect("free") += 1;
    setup.lease("b", &[item(AssetType::Cpu, 1)]).expect("given");
    *setup.now_us.lock().expect("free") = first.expires_us - 1;
    assert_eq!(setup.manager.expire(), []);
    *setup.now_us.lock().expect("free") = first.expires_us;
    assert_eq!(setup.manager.expire().iter().map(|lease| lease.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(setup.manager.release_all(&owner("b")).len(), 1);
    assert_eq!((setup.held(), setup.manager.leases(None)), (NOTHING.to_vec(), Vec::new()));
    assert!(matches!(setup.lease("b", &[item(AssetType::Cpu, 1)]), Err(AssetError::NotRegistered { .. })));
}

#[test]
fn nothing_is_overcommitted_or_leaked_by_many_threads() {
    let setup = Setup::new();
    std::thread::scope(|scope| {
        for extension in ["a", "b", "a", "b"] {
            let setup = &setup;
            scope.spawn(move || {
                for round in 0..50 {
                    let lease = setup.lease(extension, &[item(AssetType::Cpu, 3_000), item(AssetType::Memory, GIB)]);
                    assert!(setup.manager.totals()[0].held <= 8_000);
                    if let Ok(lease) = lease
                        && round % 2 == 0
                    {
                        setup.manager.release(&owner(extension), lease.id).expect("held");
                    }
                }
            });
        }
    });
    assert!(setup.manager.totals()[0].leases > 0, "odd rounds left some");
    setup.manager.release_all(&owner("a"));
    setup.manager.release_all(&owner("b"));
    assert_eq!(setup.held(), NOTHING);
}

#[test]
fn the_nodes_own_assets_keep_their_ids() {
    let setup = Setup::new();
    let own = setup.manager.list(&Query::default());
    let names: Vec<_> = own.iter().map(|record| (record.name.as_str(), record.amount, record.used)).collect();
    assert_eq!(
        names,
        [
            ("processors", Some(8_000), Some(2_000)),
            ("gpu0", Some(1), None),
            ("gpu1", Some(1), None),
            ("gpu2", Some(1), None),
            ("memory", Some(24 * GIB), Some(4 * GIB)),
            ("storage", Some(100 * GIB), Some(50 * GIB)),
            ("eth0", Some(1000), None),
            ("lo", None, None),
        ]
    );
    *setup.now_us.lock().expect("free") += 5;
    assert_eq!(setup.manager.list(&Query::default()), own);
    let lease = setup.lease("a", &[item(AssetType::Memory, GIB)]).expect("given");
    let query = Query { owner: Some(owner("a").extension), ..Query::default() };
    let listed = setup.manager.list(&query);
    assert_eq!((listed[0].id, listed[0].parent), (lease.items[0].asset, Some(own[4].id)));
    let available = Query { state: Some(AssetState::Available), limit: Some(2), ..Query::default() };
    assert_eq!(setup.manager.list(&available).len(), 2);
}

#[test]
fn contributed_assets_are_listed_under_their_owner_and_go_with_it() {
    let setup = Setup::new();
    let record = |kind, id_kind| AssetRecord {
        id: AssetId::mint(id_kind, 1),
        kind,
        name: "contributed".to_owned(),
        state: AssetState::Available,
        owner: Some(owner("b")),
        amount: None,
        share: None,
        used: None,
        parent: None,
        tags: Vec::new(),
        privacy: PrivacyLevel::Private,
        created_us: 1,
        expires_us: None,
        details: Map::new(),
    };
    let source: AssetSource = Arc::new(move || {
        vec![
            record(AssetType::Library, AssetType::Library),
            record(AssetType::Cpu, AssetType::Cpu),
            record(AssetType::Library, AssetType::Cpu),
            record(AssetType::Library, AssetType::Library),
        ]
    });
    let query = Query { owner: Some(owner("a").extension), ..Query::default() };
    let register = || setup.manager.register_external(owner("a"), vec![AssetType::Library], source.clone());
    register().expect("registered");
    let listed = setup.manager.list(&query);
    assert_eq!(listed.len(), 2, "other kinds, and ids of other kinds, are left out");
    assert!(listed.iter().all(|record| record.owner == Some(owner("a"))));
    setup.manager.register(owner("a"), Limits { assets: 1, ..unlimited() });
    assert_eq!(setup.manager.list(&query).len(), 1, "the owner's limit holds");
    (1..SOURCES_MAX).for_each(|_| register().expect("registered"));
    assert_eq!(register(), Err(AssetError::TooManySources));
    setup.manager.release_all(&owner("a"));
    assert_eq!(setup.manager.list(&query), []);
    assert!(matches!(register(), Err(AssetError::NotRegistered { .. })));
}
