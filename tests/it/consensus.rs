//! Packages that run only if validators agree, through the loaded extension and real validators.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host_sim::consensus::message::{Answer, DrawRequest, Drawn, JudgeRequest, Judgement, Silent, Validator};
use host_sim::consensus::{Consensus, ConsensusOptions, Seating};
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::trust::Unlock;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use trustchain::digest::Sha256;
use trustchain::proof::Profile;

use super::programs;
use super::support::block_on;

/// A validator that is not there.
struct Gone(Sha256);

impl Validator for Gone {
    fn id(&self) -> Sha256 {
        self.0
    }

    fn draw(&self, _: DrawRequest) -> Answer<Drawn> {
        Box::pin(std::future::ready(Err(Silent("its machine is off".into()))))
    }

    fn judge(&self, _: Sha256, _: JudgeRequest) -> Answer<Judgement> {
        Box::pin(std::future::ready(Err(Silent("its machine is off".into()))))
    }
}

/// A host with Catalog, and the home it lives in.
struct Node {
    host: Host,
    home: TempDir,
}

/// Makes the consensus of a home, with this many validators gone.
fn consensus(home: &TempDir, gone: usize) -> Arc<Consensus> {
    let options = ConsensusOptions::of_home(home.path(), &Unlock::key_file(), Profile::LOCALHOST);
    let opened = Consensus::open(options.expect("reads").expect("has validators")).expect("opens");
    let ids: Vec<Sha256> = opened.validators().iter().map(|validator| validator.id()).take(gone).collect();
    let seats = ids.into_iter().map(|id| Arc::new(Gone(id)) as Arc<dyn Validator>).enumerate();
    Arc::new(opened.seated(seats).patient(Duration::from_secs(20), 1))
}

impl Node {
    async fn new(gone: Option<usize>, configuration: &str) -> Self {
        let home = programs::bare_home();
        let consensus = gone.map_or(Seating::Nobody, |gone| Seating::Given(consensus(&home, gone)));
        let options = HostOptions { child: None, consensus, ..HostOptions::new(home.path().into()).expect("options") };
        let host = Host::open(options).expect("opens");
        let directory = home.path().join("bundle");
        programs::install(&directory, configuration);
        host.load(Source::Bundle(directory)).await.expect("loads");
        Self { host, home }
    }

    /// Writes a package that leaves a trace of having run in what it prints.
    fn package(&self, name: &str, rest: &str) -> PathBuf {
        programs::package(self.home.path(), name, "lua-script", rest, "return function() print('ran') return 7 end")
    }

    async fn run(&self, package: &PathBuf) -> Result<Json, Error> {
        let params = json!({"package": package});
        self.host.request("catalog", "run", &params, RequestOptions::default()).await.map(|response| response.data)
    }

    async fn proofs(&self) -> Vec<String> {
        let listed = self.host.request("catalog", "ps", &json!({}), RequestOptions::default()).await.expect("lists");
        let executions = listed.data["executions"].as_array().cloned().unwrap_or_default();
        executions.iter().filter_map(|execution| execution["proof"].as_str().map(str::to_owned)).collect()
    }
}

fn needs(minimum: u32) -> String {
    format!("  security: {{consensus_required: true}}\n  execution: {{minimum_consensus: {minimum}}}\n")
}

#[test]
fn a_package_that_needs_consensus_runs_if_a_quorum_agrees() {
    block_on(async {
        for gone in [0, 1] {
            let node = Node::new(Some(gone), "vm: true").await;
            let package = node.package("agreed", &needs(3));
            let mut receipts = Vec::new();
            for _ in 0..2 {
                let ran = node.run(&package).await.unwrap_or_else(|error| panic!("{gone} gone: {error}"));
                assert_eq!(ran["value"], 7, "{ran}");
                receipts.insert(0, ran["receipt"]["proof"].as_str().expect("a proof").to_owned());
            }
            let proofs = node.proofs().await;
            assert_eq!(proofs, receipts);
            assert!(proofs.len() == 2 && proofs[0] != proofs[1], "each run has a proof of its own: {proofs:?}");
            assert!(proofs.iter().all(|proof| proof.len() == 64));
        }
    });
}

#[test]
fn without_a_quorum_nothing_runs() {
    block_on(async {
        let node = Node::new(Some(2), "vm: true").await;
        let error = node.run(&node.package("split", &needs(1))).await.expect_err("refused");
        assert_eq!(error.code, Code::CONSENSUS_VALIDATION_FAILED);
        assert!(error.to_string().contains("its machine is off"), "{error}");
        assert!(node.proofs().await.is_empty() && node.host.asset_manager().leases(None).is_empty());
        let ran = node.run(&node.package("free", "")).await.expect("nobody is asked");
        assert_eq!(ran["value"], 7);
    });
}

#[test]
fn more_validators_than_there_are_never_agree() {
    block_on(async {
        let node = Node::new(Some(0), "vm: true").await;
        let error = node.run(&node.package("many", &needs(5))).await.expect_err("refused");
        assert_eq!(error.code, Code::CONSENSUS_VALIDATION_FAILED);
        assert!(error.to_string().contains("`5` validators must agree, and the cluster has `4`"), "{error}");
        assert_eq!(node.run(&node.package("all", &needs(4))).await.expect("runs")["value"], 7);
    });
}

#[test]
fn without_validators_a_package_that_needs_them_does_not_run() {
    block_on(async {
        let node = Node::new(None, "vm: true").await;
        let error = node.run(&node.package("alone", &needs(1))).await.expect_err("refused");
        assert_eq!(error.code, Code::CONSENSUS_VALIDATION_FAILED);
        assert!(error.detail.help.is_some_and(|help| help.contains("cluster")));
        let node = Node::new(None, "vm: true\n  consensus: {execute: always}").await;
        node.run(&node.package("free", "")).await.expect_err("the administrator asks for it");
        let node = Node::new(Some(0), "vm: true\n  consensus: {execute: never}").await;
        let error = node.run(&node.package("never", &needs(1))).await.expect_err("refused");
        assert!(error.to_string().contains("configuration.consensus.execute"), "{error}");
        assert_eq!(node.run(&node.package("free", "")).await.expect("runs")["value"], 7);
    });
}
