//! Executions over a host that is a fake: other nodes, validators who never answer, and leases that are refused for good.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::asset::AssetNeed;
use catalog::config::{Config, When};
use catalog::host::{
    Host, Lease, Network, NodeCandidate, Operation, Pending, Progress, Refusal, Signed, ToSign, TrustAnchors,
};
use catalog::ops::execute::{Execute, Wait};
use catalog::ops::executions::error::RunError;
use catalog::ops::executions::record::Record;
use catalog::ops::{Catalog, OpError};
use catalog::trust::policy::{Confirmed, PolicyName};
use catalog::vm::execution::State;
use tempfile::TempDir;
use time::OffsetDateTime;

use super::super::programs;
use super::super::support::block_on;

/// A host that believes nobody, whose validators never answer, and that leases nothing.
#[derive(Default)]
struct Fake {
    nodes: Vec<NodeCandidate>,
}

impl Host for Fake {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn platform(&self) -> String {
        "linux-x86_64".into()
    }

    fn candidates(&self) -> Vec<NodeCandidate> {
        self.nodes.clone()
    }

    fn progress(&self, _: Progress) {}

    fn network(&self) -> Network {
        Network::NotGranted
    }

    fn lease<'a>(
        &'a self,
        _: &'a str,
        _: &'a [AssetNeed],
        _: Duration,
    ) -> Pending<'a, Result<Box<dyn Lease>, Refusal>> {
        refuse()
    }

    fn anchors<'a>(&'a self) -> Pending<'a, Result<TrustAnchors, Refusal>> {
        Box::pin(async { Ok(TrustAnchors::default()) })
    }

    fn sign<'a>(&'a self, _: Option<&'a str>, _: &'a ToSign) -> Pending<'a, Result<Signed, Refusal>> {
        refuse()
    }

    fn consensus<'a>(&'a self, _: &'a Operation) -> Pending<'a, Result<Vec<u8>, Refusal>> {
        Box::pin(std::future::pending())
    }
}

fn refuse<'a, T>() -> Pending<'a, Result<T, Refusal>> {
    Box::pin(async { Err(Refusal { code: 7, message: "nothing here".into(), help: None }) })
}

struct Node {
    catalog: Arc<Catalog>,
    home: TempDir,
}

impl Node {
    fn new(consensus: When) -> Self {
        let mut config = Config::default();
        config.trust.policy = PolicyName::Permissive;
        config.consensus.execute = consensus;
        let home = tempfile::tempdir().expect("a directory");
        let catalog = Catalog::open(home.path(), config, &[PathBuf::from("/bin/true")]).expect("opens");
        Self { catalog, home }
    }

    async fn refused(&self, rest: &str, nodes: Vec<NodeCandidate>) -> OpError {
        let package = programs::package(self.home.path(), "app", "lua-script", rest, "return function() end");
        let execute = Execute {
            target: package.display().to_string(),
            release: None,
            asked_by: None,
            function: "main".into(),
            arguments: Vec::new(),
            timeout: None,
            cpu: None,
            memory: None,
            at: None,
            wait: Wait::Queue,
            follow: false,
            keep: None,
            confirmed: Confirmed::No,
        };
        self.catalog.execute(execute, Arc::new(Fake { nodes })).await.expect_err("is refused")
    }

    fn last(&self) -> Option<Record> {
        self.catalog.executions_page(0, 1, OffsetDateTime::now_utc()).expect("lists").list.into_iter().next()
    }
}

fn node(id: &str, round_trip_ms: u64) -> NodeCandidate {
    NodeCandidate {
        id: id.into(),
        is_local: id == "here",
        round_trip: Duration::from_millis(round_trip_ms),
        load_permille: if id == "here" { 900 } else { 0 },
        total: catalog::host::NodeResources { cpu_cores: 4, memory_bytes: 8 << 30, gpus: 0, gpu_memory_bytes: 0 },
        free: catalog::host::NodeResources { cpu_cores: 4, memory_bytes: 8 << 30, gpus: 0, gpu_memory_bytes: 0 },
        labels: BTreeMap::new(),
    }
}

#[test]
fn a_run_that_only_another_node_may_have_is_refused_by_its_name() {
    block_on(async {
        let fake = Node::new(When::Never);
        let nodes = || vec![node("here", 0), node("far", 80)];
        let rest = "  execution: {delegation_strategy: load_balanced}\n";
        let error = fake.refused(rest, nodes()).await;
        assert!(
            matches!(&error, OpError::Running(RunError::Elsewhere { node, .. }) if node == "far"),
            "the other one is idle: {error}"
        );
        assert!(fake.last().is_none(), "nothing was accepted");
        // The nearest is this one, which gets as far as its lease.
        let error = fake.refused("  execution: {delegation_strategy: nearest_node}\n", nodes()).await;
        assert!(matches!(error, OpError::Resources { .. }), "{error}");
        let last = fake.last().expect("was accepted");
        assert_eq!((last.state, last.node.as_str()), (State::Failed, "here"));
        let error = fake.refused("  resources: {memory_limit: 9Gi}\n", nodes()).await;
        assert!(matches!(error, OpError::Running(RunError::Placement { .. })), "{error}");
    });
}

#[test]
fn validators_who_never_answer_are_waited_for_as_long_as_the_package_says() {
    block_on(async {
        let fake = Node::new(When::Always);
        let rest = "  execution: {timeout_config: {execution: 60s, network: 50ms}}\n";
        let error = fake.refused(rest, Vec::new()).await;
        assert!(
            matches!(&error, OpError::Running(RunError::Late { field, .. }) if field.ends_with("network")),
            "{error}"
        );
        assert_eq!(fake.last().expect("was accepted").state, State::TimedOut);
    });
}
