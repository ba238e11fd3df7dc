//! Nodes that find each other, tell each other what is published, and fetch and run it, each a whole Catalog in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::manifest::Capability;
use host_sim::trust::{InitOptions, KeyKind, TrustHome, Unlock};
use hypermesh_abi::Error;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;

/// How long something may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One root, of which all nodes are members.
struct Cluster {
    home: TempDir,
    trust: TrustHome,
}

/// A node of it.
struct Node {
    host: Host,
    home: TempDir,
}

impl Cluster {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let trust = TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file()).expect("makes a root");
        Self { home, trust }
    }

    /// Makes a home that is a member.
    fn member(&self, name: &str) -> TempDir {
        let home = tempfile::tempdir().expect("a directory");
        let unlock = Unlock::key_file();
        let application = TrustHome::apply(home.path(), name, &unlock).expect("applies");
        let membership = self.trust.admit(name, &application, KeyKind::Usual, &unlock).expect("admits");
        TrustHome::take(home.path(), &membership, &unlock).expect("takes");
        home
    }

    /// Starts a node that asks others first.
    async fn node(&self, name: &str, bootstrap: &[&Node], more: Json) -> Node {
        let mut asked = Vec::new();
        for node in bootstrap {
            asked.push(node.address().await);
        }
        let mut network = json!({"listen": "127.0.0.1:0", "bootstrap": asked});
        network.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
        Node::on(self.member(name), &json!({"vm": true, "network": network})).await
    }
}

impl Node {
    async fn on(home: TempDir, configuration: &Json) -> Self {
        let options = HostOptions {
            child: None,
            consensus: Seating::Nobody,
            ..HostOptions::new(home.path().into()).expect("options")
        };
        let host = Host::open(options).expect("opens");
        let mut source = programs::linked(configuration);
        if let Source::Linked { manifest, .. } = &mut source {
            manifest.capabilities.granted.push(Capability::TransportAccess);
        }
        host.load(source).await.unwrap_or_else(|error| panic!("{error}"));
        Self { host, home }
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    async fn address(&self) -> SocketAddr {
        let peers = self.ask("peers", json!({})).await;
        peers["address"].as_str().expect("text").parse().expect("an address")
    }

    async fn id(&self) -> String {
        self.ask("peers", json!({})).await["id"].as_str().expect("text").to_owned()
    }

    async fn connected_to(&self, count: usize) {
        self.until("peers", &json!({}), |it| it["connected"] == count).await;
    }

    async fn publish(&self, name: &str, kind: &str, rest: &str, main: &str) -> Result<Json, Error> {
        let directory: PathBuf = programs::package(self.home.path(), name, kind, rest, main);
        self.try_ask("publish", json!({"directories": [directory]})).await
    }

    /// Waits until an answer is as it should be.
    async fn until(&self, verb: &str, params: &Json, is_so: impl Fn(&Json) -> bool) -> Json {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_ask(verb, params.clone()).await;
            match answer {
                Ok(answer) if is_so(&answer) => return answer,
                other => assert!(Instant::now() < until, "`{verb}` {params} stays {other:?}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn knows(&self, package: &str) {
        self.until("info", &json!({"package": package}), |_| true).await;
    }

    async fn stop(self) -> TempDir {
        self.host.shutdown().await;
        self.home
    }
}

const ANSWER: &str = "return {answer = function() return 42 end}";

#[test]
fn what_one_node_publishes_another_installs_and_runs() {
    block_on(async {
        let cluster = Cluster::new();
        let first = cluster.node("n1", &[], json!({})).await;
        let second = cluster.node("n2", &[&first], json!({})).await;
        let third = cluster.node("n3", &[&first], json!({})).await;
        third.connected_to(2).await;
        second.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        let needs = "  dependencies: [{name: answer, version: ^1.0}]\n";
        let main = "return function() return require('answer').answer() end";
        second.publish("app", "lua-script", needs, main).await.expect("publishes");
        third.knows("app").await;
        let peers = third.ask("peers", json!({})).await;
        let exchanged = |peer: &Json| peer["received_bytes"].as_u64().is_some_and(|bytes| bytes > 1_000);
        assert!(peers["peers"].as_array().expect("a list").iter().any(exchanged), "{peers}");
        let found = third.ask("search", json!({"words": ["app"]})).await;
        assert_eq!(found["results"][0]["name"], "app", "{found}");
        third.ask("install", json!({"packages": ["app"]})).await;
        let ran = third.ask("run", json!({"package": "app"})).await;
        assert_eq!(ran["value"], 42, "{ran}");
        let held_by_two = |it: &Json| it["replicas"][0]["holders"].as_array().is_some_and(|holders| holders.len() == 2);
        let replicas = third.until("replicas", &json!({"package": "app"}), held_by_two).await;
        assert_eq!(replicas["replicas"][0]["here"], true);
        for node in [first, second, third] {
            node.stop().await;
        }
        drop(cluster.home);
    });
}

#[test]
fn a_package_outlives_the_node_that_published_it() {
    block_on(async {
        let cluster = Cluster::new();
        let first = cluster.node("n1", &[], json!({})).await;
        let publisher = cluster.node("n2", &[&first], json!({})).await;
        publisher.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        first.knows("answer").await;
        first.ask("install", json!({"packages": ["answer"]})).await;
        publisher.stop().await;
        let late = cluster.node("n3", &[&first], json!({})).await;
        late.knows("answer").await;
        late.ask("install", json!({"packages": ["answer"]})).await;
        late.ask("verify", json!({})).await;
        for node in [first, late] {
            node.stop().await;
        }
    });
}

#[test]
fn who_may_have_an_archive_is_up_to_the_node_that_has_it() {
    block_on(async {
        let cluster = Cluster::new();
        let share = json!({"share": {"restricted": ["n2.node.trustchain"]}, "share_packages": {"secret": "private"}});
        let owner = cluster.node("n1", &[], share).await;
        let friend = cluster.node("n2", &[&owner], json!({"share": "private"})).await;
        let stranger = cluster.node("n3", &[&owner], json!({})).await;
        for node in [&friend, &stranger] {
            node.connected_to(2).await;
        }
        owner.publish("secret", "lua-library", "", ANSWER).await.expect("publishes");
        owner.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        for node in [&friend, &stranger] {
            node.knows("answer").await;
            let error = node.try_ask("info", json!({"package": "secret"})).await.expect_err("is nobody's business");
            assert_eq!(error.detail.name.as_deref(), Some("PACKAGE_NOT_FOUND"), "{error}");
        }
        friend.ask("install", json!({"packages": ["answer"]})).await;
        let refused = stranger.try_ask("install", json!({"packages": ["answer"]})).await.expect_err("may not have it");
        assert_eq!(refused.detail.name.as_deref(), Some("REMOTE_UNREACHABLE"), "{refused}");
        for node in [owner, friend, stranger] {
            node.stop().await;
        }
    });
}

#[test]
fn a_node_runs_packages_for_whom_it_wants_to() {
    block_on(async {
        let cluster = Cluster::new();
        let worker = cluster.node("n1", &[], json!({"run_for": ["n2.node.trustchain"]})).await;
        let caller = cluster.node("n2", &[&worker], json!({})).await;
        let stranger = cluster.node("n3", &[&worker], json!({})).await;
        caller.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        let needs = "  dependencies: [{name: answer, version: ^1.0}]\n";
        let main = "return function(n) print('asked for ' .. n) return n * require('answer').answer() end";
        caller.publish("app", "lua-script", needs, main).await.expect("publishes");
        for node in [&worker, &stranger] {
            node.knows("app").await;
        }
        let there = worker.id().await;
        let ran = caller.ask("run", json!({"package": "app", "arguments": [2], "node": "n1", "follow": true})).await;
        assert_eq!((&ran["value"], &ran["stdout"]), (&json!(84), &json!("asked for 2\n")), "{ran}");
        assert_eq!(worker.ask("list", json!({})).await["packages"], json!([]), "nothing was installed for it");
        // However much it was about to send when it was refused.
        let large = "x".repeat(8 << 20);
        let refused = stranger.try_ask("run", json!({"package": "app", "arguments": [large], "node": there})).await;
        assert_eq!(refused.expect_err("is refused").detail.name.as_deref(), Some("PEER_REFUSES"));
        // The caller runs for nobody.
        let back = caller.id().await;
        let refused = worker.try_ask("run", json!({"package": "app", "arguments": [2], "node": back})).await;
        assert_eq!(refused.expect_err("is refused").detail.name.as_deref(), Some("PEER_REFUSES"));
        // What the worker cannot have heard of yet it asks for.
        for round in 1..=5 {
            let (library, program) = (format!("library-{round}"), format!("program-{round}"));
            caller.publish(&library, "lua-library", "", ANSWER).await.expect("publishes");
            let needs = format!("  dependencies: [{{name: {library}, version: ^1.0}}]\n");
            let main = format!("return function() return require('{library}').answer() end");
            caller.publish(&program, "lua-script", &needs, &main).await.expect("publishes");
            let ran = caller.ask("run", json!({"package": program, "node": there})).await;
            assert_eq!(ran["value"], 42, "{ran}");
        }
        let broken = "return function() error('out of order') end";
        caller.publish("broken", "lua-script", "", broken).await.expect("publishes");
        worker.knows("broken").await;
        let failed = caller.try_ask("run", json!({"package": "broken", "node": there})).await.expect_err("fails");
        assert!(failed.to_string().contains("out of order"), "{failed}");
        assert_eq!(failed.detail.name.as_deref(), Some("PEER_RUN_FAILED"));
        for node in [worker, caller, stranger] {
            node.stop().await;
        }
    });
}

#[test]
fn a_detached_run_on_another_node_is_followed_and_ended_from_here() {
    block_on(async {
        let cluster = Cluster::new();
        let worker = cluster.node("n1", &[], json!({"run_for": ["*"]})).await;
        let caller = cluster.node("n2", &[&worker], json!({})).await;
        caller
            .publish("endless", "lua-script", "", "return function() print('begun') while true do end end")
            .await
            .expect("publishes");
        worker.knows("endless").await;
        let there = worker.id().await;
        let begun = caller.ask("run", json!({"package": "endless", "node": there, "detach": true})).await;
        let asked = json!({"execution": begun["execution"], "node": there});
        caller.until("ps", &asked, |it| it["executions"][0]["state"] == "Running" || it["state"] == "Running").await;
        caller.until("logs", &asked, |it| it["stdout"].as_str().is_some_and(|text| text.contains("begun"))).await;
        caller.ask("kill", asked.clone()).await;
        caller.until("ps", &asked, |it| it.to_string().contains("Terminated")).await;
        let unknown = json!({"execution": "64a78dd2-e4f4-44cc-a303-fbae48570238", "node": there});
        caller.try_ask("ps", unknown).await.expect_err("is unknown there");
        for node in [worker, caller] {
            node.stop().await;
        }
    });
}

#[test]
fn what_is_yanked_is_yanked_everywhere_and_partitions_heal() {
    block_on(async {
        let cluster = Cluster::new();
        let first = cluster.node("n1", &[], json!({})).await;
        let alone = cluster.node("n2", &[], json!({})).await;
        first.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        alone.publish("other", "lua-library", "", ANSWER).await.expect("publishes");
        first.ask("yank", json!({"package": "answer@1.0.0", "reason": "wrong"})).await;
        let address = first.address().await;
        alone.ask("peers", json!({"add": address})).await;
        first.knows("other").await;
        alone.until("info", &json!({"package": "answer@1.0.0"}), |it| it.to_string().contains("wrong")).await;
        let synchronised = alone.ask("sync", json!({})).await;
        assert_eq!((&synchronised["packages"], &synchronised["peers"][0]["accepted"]), (&json!(2), &json!(0)));
        for node in [first, alone] {
            node.stop().await;
        }
    });
}

#[test]
fn a_package_runs_on_the_node_that_its_strategy_names() {
    block_on(async {
        let cluster = Cluster::new();
        let worker = cluster.node("n1", &[], json!({"run_for": ["*"]})).await;
        let caller = cluster.node("n2", &[&worker], json!({})).await;
        caller.connected_to(1).await;
        let here = caller.publish("endless", "lua-script", "", "return function() while true do end end").await;
        here.expect("publishes");
        let strategy = "  execution: {delegation_strategy: load_balanced}\n";
        caller.publish("anywhere", "lua-script", strategy, "return function() return 7 end").await.expect("publishes");
        worker.knows("anywhere").await;
        caller.ask("install", json!({"packages": ["anywhere", "endless"]})).await;
        let there = caller.ask("run", json!({"package": "anywhere", "node": worker.id().await})).await;
        let at_rest = caller.ask("run", json!({"package": "anywhere"})).await;
        assert_ne!(at_rest["node"], there["node"], "both are idle, and this one is nearer");
        let begun = caller.ask("run", json!({"package": "endless", "detach": true})).await;
        caller.until("ps", &json!({"execution": begun["execution"]}), |it| it.to_string().contains("Running")).await;
        let busy = caller.ask("run", json!({"package": "anywhere"})).await;
        assert_eq!((&busy["node"], &busy["value"]), (&there["node"], &json!(7)), "this one is busy");
        caller.ask("kill", json!({"execution": begun["execution"]})).await;
        let rule = "{rule_type: required, key: node, operator: in, values: [NODE]}";
        let rule = rule.replace("NODE", there["node"].as_str().expect("text"));
        let strategy =
            format!("  execution: {{delegation_strategy: specific_node, scheduling: {{node_affinity: [{rule}]}}}}\n");
        caller.publish("there", "lua-script", &strategy, "return function() return 8 end").await.expect("publishes");
        worker.knows("there").await;
        caller.ask("install", json!({"packages": ["there"]})).await;
        let ran = caller.ask("run", json!({"package": "there"})).await;
        assert_eq!((&ran["node"], &ran["value"]), (&there["node"], &json!(8)));
        for node in [worker, caller] {
            node.stop().await;
        }
    });
}

#[test]
fn arrays_of_a_result_stay_on_the_node_that_ran_it_for_their_holder_alone() {
    block_on(async {
        let cluster = Cluster::new();
        let worker = cluster.node("n1", &[], json!({"run_for": ["*"]})).await;
        let caller = cluster.node("n2", &[&worker], json!({})).await;
        let stranger = cluster.node("n3", &[&worker], json!({})).await;
        caller.publish("counters", "lua-script", "", COUNTERS).await.expect("publishes");
        worker.knows("counters").await;
        let run = json!({"package": "counters", "node": "n1", "export": "here", "export_rights": "read,write"});
        let ran = caller.ask("run", run.clone()).await;
        let kept = &ran["memory"][0];
        assert_eq!(
            (&kept["at"], &kept["bytes"], &kept["rights"]),
            (&json!("/words"), &json!(24), &json!(["read", "write"]))
        );
        let (capability, address) = (&kept["capability"], &kept["address"]);
        assert_eq!(worker.ask("memory list", json!({})).await["memory"][0]["address"], *address);
        assert_eq!(caller.ask("memory list", json!({})).await["memory"], json!([]));
        assert_eq!(worker.host.asset_manager().leases(None).len(), 1, "its memory is leased");
        let read = json!({"capability": capability, "offset": 8, "length": 16});
        assert_eq!(caller.ask("memory read", read.clone()).await["bytes"], words(&[5, u64::MAX]));
        let add = json!({"capability": capability, "offset": 8, "amount": 3});
        assert_eq!(caller.ask("memory add", add).await, json!({"offset": 8, "before": 5, "changed": true}));
        for (before, changed) in [(8, true), (100, false)] {
            let swap = json!({"capability": capability, "offset": 8, "expected": 8, "new": 100});
            let swapped = caller.ask("memory swap", swap).await;
            assert_eq!(swapped, json!({"offset": 8, "before": before, "changed": changed}));
        }
        let write = json!({"capability": capability, "offset": 16, "bytes": words(&[7])});
        assert_eq!(caller.ask("memory write", write).await, json!({"offset": 16, "length": 8}));
        assert_eq!(caller.ask("memory read", read.clone()).await["bytes"], words(&[100, 7]));
        let file = caller.home.path().join("all.bin");
        caller.ask("memory read", json!({"capability": capability, "out": file})).await;
        assert_eq!(std::fs::read(&file).expect("is written").len(), 24);
        // Others show it in vain, and what is outside of it is nobody's.
        for other in [&stranger, &worker] {
            let refused = other.try_ask("memory read", read.clone()).await.expect_err("is refused");
            assert_eq!(refused.detail.name.as_deref(), Some("MEMORY_REFUSED"), "{refused}");
        }
        let beyond = caller.try_ask("memory read", json!({"capability": capability, "offset": 20, "length": 8})).await;
        assert!(beyond.expect_err("is refused").to_string().contains("lie outside the 24 bytes"));
        // For another one it may only be read.
        let for_stranger = json!({"package": "counters", "node": "n1", "export": stranger.id().await});
        let kept = caller.ask("run", for_stranger).await["memory"][0].clone();
        let add = json!({"capability": kept["capability"], "amount": 1});
        let refused = stranger.try_ask("memory add", add.clone()).await.expect_err("is refused");
        assert!(refused.to_string().contains("rights"), "{refused}");
        stranger.ask("memory read", json!({"capability": kept["capability"]})).await;
        assert!(caller.try_ask("memory read", json!({"capability": kept["capability"]})).await.is_err());
        // One peer does not fill the node.
        let many = "return function() local t = {} for i = 1, 65 do t[i] = string.pack('<i8', -i) end return t end";
        caller.publish("many", "lua-script", "", many).await.expect("publishes");
        worker.knows("many").await;
        let held = worker.ask("memory list", json!({})).await["memory"].as_array().map(Vec::len);
        let refused = caller.try_ask("run", json!({"package": "many", "node": "n1", "export": "here"})).await;
        assert!(refused.expect_err("is refused").to_string().contains("regions for this peer"));
        assert_eq!(worker.ask("memory list", json!({})).await["memory"].as_array().map(Vec::len), held);
        assert_eq!(worker.host.asset_manager().leases(None).len(), 2, "what was refused is not leased");
        // It ends when its node says so, and at its time.
        worker.ask("memory end", json!({"address": address})).await;
        worker.ask("memory end", json!({"address": kept["address"]})).await;
        let ended = caller.try_ask("memory read", read).await.expect_err("is gone");
        assert_eq!(ended.detail.name.as_deref(), Some("MEMORY_NOT_FOUND"), "{ended}");
        let mut short = run;
        short["export_for"] = json!("1s");
        caller.ask("run", short).await;
        worker.until("memory list", &json!({}), |it| it["memory"] == json!([])).await;
        assert_eq!(worker.host.asset_manager().leases(None).len(), 0);
        for node in [worker, caller, stranger] {
            node.stop().await;
        }
    });
}

/// Gives words of 64 bits in Base64, as memory has them.
fn words(words: &[u64]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    data_encoding::BASE64.encode(&bytes)
}

/// A program that gives three words: 0, 5 and the largest.
const COUNTERS: &str = "return function() return {words = string.pack('<i8i8i8', 0, 5, -1), count = 3} end";

/// Gives what one node is shown with, and what it is said to have given.
fn said(agreement: &Json) -> Vec<(&str, &str)> {
    let nodes = agreement["nodes"].as_array().expect("a list").iter();
    nodes.map(|it| (it["node"].as_str().expect("text"), it["said"].as_str().expect("text"))).collect()
}

#[test]
fn what_enough_nodes_give_counts_and_who_differs_fails_or_is_slow_is_named() {
    block_on(async {
        let cluster = Cluster::new();
        let caller = cluster.node("n1", &[], json!({})).await;
        let mut workers = Vec::new();
        for name in ["n2", "n3", "n4"] {
            workers.push(cluster.node(name, &[&caller], json!({"run_for": ["*"]})).await);
        }
        caller.connected_to(3).await;
        // What it does is up to what its node keeps for it.
        let program = "return {
            set = function(how) storage.set('how', how) return how end,
            main = function(n)
                local how = storage.get('how')
                if how == 'fail' then error('out of order') end
                if how == 'hang' then while true do end end
                return how == 'lie' and n + 1 or n * 2
            end}";
        let keeps = "  resources: {storage_mb: 1, persistent_storage: true}\n";
        caller.publish("moody", "lua-script", keeps, program).await.expect("publishes");
        for worker in &workers {
            worker.knows("moody").await;
            worker.ask("install", json!({"packages": ["moody"]})).await;
        }
        let set = async |node: &str, how: &str| {
            let run = json!({"package": "moody", "function": "set", "arguments": [how], "node": node});
            caller.ask("run", run).await;
        };
        let run = async |nodes: &str, agree: usize, deadline_ms: u64| {
            let run = json!({"package": "moody", "arguments": [5], "nodes": nodes, "agree": agree,
                "deadline_ms": deadline_ms});
            caller.try_ask("run", run).await
        };
        let long = u64::try_from(PATIENCE.as_millis()).expect("fits");
        let all = "n2,n3,n4";
        let ran = run(all, 3, long).await.expect("all agree");
        assert_eq!((&ran["value"], said(&ran["agreement"]).len()), (&json!(10), 3), "{ran:#}");
        assert!(said(&ran["agreement"]).iter().all(|(_, said)| *said == "most"), "{ran:#}");

        set("n3", "lie").await;
        let error = run(all, 3, long).await.expect_err("one differs");
        assert_eq!(error.detail.name.as_deref(), Some("NO_AGREEMENT"), "{error}");
        let answer = error.detail.answer.clone().expect("says who gave what").data;
        let of = |node: &str| said(&answer["agreement"]).into_iter().find(|(name, _)| name.starts_with(node));
        // Nobody is waited for once three can no longer agree.
        assert!(of("n3").is_some_and(|(_, said)| matches!(said, "differs" | "value")), "{answer:#}");
        let told = error.to_string();
        // Whoever differs signs what it gave, and so do the others: each can be shown what it said.
        let nodes = answer["agreement"]["nodes"].as_array().expect("a list").iter();
        let signed = nodes.filter(|it| it["receipt"]["signer"].is_string() && it["output"].is_string());
        assert!(signed.count() >= 2, "{answer:#}");
        assert!(told.contains("3 of 3 nodes must give the same") && told.matches("execution").count() >= 2, "{told}");
        let ran = run(all, 2, long).await.expect("two agree");
        assert_eq!(ran["value"], 10, "{ran:#}");
        let lied = said(&ran["agreement"]).into_iter().any(|(node, said)| node.starts_with("n3") && said == "most");
        assert!(!lied, "{ran:#}");

        set("n4", "hang").await;
        let begun = Instant::now();
        let error = run(all, 2, 3_000).await.expect_err("one differs, one is slow");
        assert!(begun.elapsed() < PATIENCE / 2, "nobody waits longer than was said");
        let answer = error.detail.answer.clone().expect("says who gave what").data;
        let of = |node: &str| said(&answer["agreement"]).into_iter().find(|(name, _)| name.starts_with(node));
        assert_eq!(of("n4").map(|(_, said)| said), Some("unfinished"), "{answer:#}");
        set("n3", "work").await;
        let ran = run(all, 2, long).await.expect("two agree, and nobody waits for the third");
        assert_eq!(ran["value"], 10, "{ran:#}");
        assert!(said(&ran["agreement"]).iter().any(|(node, said)| node.starts_with("n4") && *said == "unfinished"));

        let ran = run("4", 3, long).await.expect("this node makes up for the one that hangs");
        assert_eq!((&ran["value"], said(&ran["agreement"]).len()), (&json!(10), 4), "{ran:#}");

        for (nodes, agree, name) in
            [("n2,n2", 1, "TOO_FEW_NODES"), ("n2,n3", 3, "NOT_RUNNABLE"), ("9", 5, "TOO_FEW_NODES")]
        {
            let error = run(nodes, agree, long).await.expect_err(nodes);
            assert_eq!(error.detail.name.as_deref(), Some(name), "{error}");
        }
        for node in workers.into_iter().chain([caller]) {
            node.stop().await;
        }
    });
}

#[test]
fn copies_are_made_and_made_again_when_a_holder_is_gone() {
    block_on(async {
        let cluster = Cluster::new();
        let first = cluster.node("n1", &[], json!({"replicas": 2})).await;
        let mut others = Vec::new();
        for name in ["n2", "n3"] {
            others.push(cluster.node(name, &[&first], json!({"replicas": 2})).await);
        }
        for node in &others {
            node.connected_to(2).await;
        }
        first.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        let asked = json!({"package": "answer"});
        let is_here = |it: &Json| it["replicas"][0]["here"] == true;
        let holder = loop {
            let mut found = None;
            for (index, node) in others.iter().enumerate() {
                if node.try_ask("replicas", asked.clone()).await.is_ok_and(|it| is_here(&it)) {
                    found = Some(index);
                }
            }
            if let Some(index) = found {
                break index;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let gone = others.swap_remove(holder);
        let left = others.remove(0);
        let there = left.ask("replicas", asked.clone()).await;
        assert_eq!(there["replicas"][0]["here"], false, "two copies are enough");
        gone.stop().await;
        left.until("replicas", &asked, is_here).await;
        for node in [first, left] {
            node.stop().await;
        }
    });
}

#[test]
fn what_is_fetched_for_an_installation_is_there_until_it_is_installed() {
    block_on(async {
        let cluster = Cluster::new();
        let first = cluster.node("n1", &[], json!({"replicas": 1})).await;
        let second = cluster.node("n2", &[&first], json!({"replicas": 1})).await;
        let names: Vec<String> = (0..10).map(|number| format!("answer-{number}")).collect();
        for name in &names {
            first.publish(name, "lua-library", "", ANSWER).await.expect("publishes");
            second.knows(name).await;
        }
        // Somebody removes what nobody needs, all the time.
        let prunes = async {
            loop {
                second.ask("cache prune", json!({})).await;
            }
        };
        let installs = async {
            for name in &names {
                second.ask("install", json!({"packages": [name]})).await;
            }
        };
        tokio::select! {
            () = installs => {}
            () = prunes => {}
        }
        second.ask("verify", json!({})).await;
        for node in [first, second] {
            node.stop().await;
        }
    });
}

#[test]
fn what_is_mirrored_comes_by_itself() {
    block_on(async {
        let cluster = Cluster::new();
        let first = cluster.node("n1", &[], json!({"replicas": 1})).await;
        let mirror = cluster.node("n2", &[&first], json!({"replicas": 1})).await;
        first.publish("answer", "lua-library", "", ANSWER).await.expect("publishes");
        mirror.knows("answer").await;
        assert_eq!(mirror.ask("fsck", json!({})).await["findings"], json!([]), "known is not kept");
        let begun = mirror.ask("mirror add", json!({"package": "answer"})).await;
        assert_eq!(begun["missing"], json!([]));
        assert_eq!(mirror.ask("mirror list", json!({})).await["packages"], json!(["answer"]));
        let directory = first.home.path().join("answer");
        let file = directory.join("package.yaml");
        let text = std::fs::read_to_string(&file).expect("text").replace("1.0.0", "1.1.0");
        std::fs::write(&file, text).expect("written");
        first.ask("publish", json!({"directories": [directory]})).await;
        let all_here = |it: &Json| {
            let replicas = it["replicas"].as_array().expect("a list");
            replicas.len() == 2 && replicas.iter().all(|replica| replica["here"] == true)
        };
        mirror.until("replicas", &json!({"package": "answer"}), all_here).await;
        first.stop().await;
        mirror.ask("install", json!({"packages": ["answer"]})).await;
        let prune = async || mirror.ask("cache prune", json!({})).await["removed"]["archives"].clone();
        assert_eq!(prune().await, 0, "all that is mirrored stays");
        mirror.ask("mirror remove", json!({"package": "answer"})).await;
        assert_eq!(prune().await, 1, "one of them is installed");
        assert_eq!(mirror.ask("fsck", json!({})).await["findings"], json!([]));
        assert_eq!(mirror.ask("mirror list", json!({})).await["packages"], json!([]));
        mirror.stop().await;
    });
}
