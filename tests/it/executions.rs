//! Executions over a host with real workers: their states, queue, limits, storage and receipts, and what is left after a restart.

mod ports;
mod restart;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::manifest;
use hypermesh_abi::host::Root;
use hypermesh_abi::records::Progress;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::programs;
use super::support::block_on;

/// A host with Catalog linked in.
struct Node {
    host: Host,
    home: TempDir,
}

const ENDLESS: &str = "return function() print('begun') while true do end end";
const LONG: &str = "  resources: {memory_limit: 32Mi, cpu_limit: 100m, execution_timeout: 60s}\n";

/// The longest a test waits for something to become visible.
const SOON: Duration = Duration::from_secs(60);

impl Node {
    async fn new() -> Self {
        Self::open(programs::bare_home(), programs::linked(&json!({"vm": true}))).await
    }

    async fn open(home: TempDir, source: Source) -> Self {
        let options = || HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("options") };
        // A child that another test starts at this moment has the locks of a host that has just ended, until it is a program.
        let host = soon(async || Host::open(options()).ok()).await;
        host.load(source).await.unwrap_or_else(|error| panic!("{error}"));
        Self { host, home }
    }

    /// Stops the node and starts another one on the same home.
    async fn restarted(self) -> Self {
        self.host.shutdown().await;
        drop(self.host);
        Self::open(self.home, programs::linked(&json!({"vm": true}))).await
    }

    fn lua(&self, name: &str, rest: &str, main: &str) -> PathBuf {
        programs::package(self.home.path(), name, "lua-script", rest, main)
    }

    /// Writes a package in Julia, and lets the node use the Julia of the tests.
    fn julia(&self, name: &str, rest: &str, main: &str) -> PathBuf {
        let runtimes = self.home.path().join("catalog/runtimes");
        if !runtimes.exists() {
            std::fs::create_dir_all(runtimes.parent().expect("has one")).expect("made");
            std::os::unix::fs::symlink(super::vm::julia::home().join("runtimes"), &runtimes).expect("linked");
        }
        programs::package(self.home.path(), name, "julia-program", rest, main)
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.try_ask(verb, params).await.expect_err("is refused")
    }

    async fn run(&self, package: &Path) -> Json {
        self.ask("run", json!({"package": package})).await
    }

    /// Has a package run in the background, and gives its id.
    async fn detach(&self, package: &Path) -> String {
        let detached = self.ask("run", json!({"package": package, "detach": true})).await;
        detached["execution"].as_str().expect("has an id").to_owned()
    }

    async fn record(&self, id: &str) -> Json {
        self.ask("ps", json!({"execution": id})).await
    }

    async fn becomes(&self, id: &str, state: &str) -> Json {
        let asked = async {
            loop {
                let record = self.record(id).await;
                if record["state"] == state {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(SOON, asked).await {
            Ok(record) => record,
            Err(_) => panic!("does not become {state}: {}", self.record(id).await),
        }
    }

    fn leases(&self) -> usize {
        self.host.asset_manager().leases(None).len()
    }
}

#[test]
fn a_detached_execution_is_seen_heard_and_ended() {
    block_on(async {
        let node = Node::new().await;
        let id = node.detach(&node.lua("endless", LONG, ENDLESS)).await;
        let running = node.becomes(&id, "Running").await;
        assert_eq!(
            (&running["detached"], &running["attempts"], &running["priority"]),
            (&json!(true), &json!(1), &json!("normal"))
        );
        let logs = soon(async || {
            let logs = node.ask("logs", json!({"execution": id})).await;
            (logs["stdout"] == "begun\n").then_some(logs)
        });
        assert_eq!(logs.await["state"], "Running");
        let used = soon(async || {
            let usage = node.record(&id).await["usage"].clone();
            (usage["cpu_us"].as_u64() > Some(0)).then_some(usage)
        });
        let used = used.await;
        assert!(used["memory_peak_bytes"].as_u64() > Some(1 << 20) && used["wall_us"].as_u64() > Some(0), "{used}");
        assert_eq!(node.leases(), 1);
        node.ask("kill", json!({"execution": id})).await;
        let ended = node.becomes(&id, "Terminated").await;
        assert_eq!((&ended["leases"].as_array().map(Vec::len), node.leases()), (&Some(2), 0));
        let report = node.host.report().await;
        let figures = &report[0].status.as_ref().expect("runs").figures;
        assert_eq!((&figures["executions"], &figures["executions_terminated_total"]), (&json!(0), &json!(1)));
        assert!(figures["executions_wait_p99_us"].is_u64());
        assert_eq!(node.ask("logs", json!({"execution": id, "follow": true})).await["stdout"], "begun\n");
    });
}

#[test]
fn what_a_program_prints_is_told_as_it_comes() {
    block_on(async {
        let node = Node::new().await;
        let talking = "return function() for i = 1, 3 do print('line ' .. i) local t = 0
            for k = 1, 2e6 do t = t + k end end warn('done') end";
        let talking = node.lua("talking", "", talking);
        let (sender, mut receiver) = mpsc::channel::<Progress>(256);
        let options = RequestOptions { progress: Some(sender), ..RequestOptions::default() };
        let params = json!({"package": talking, "follow": true});
        let answer = node.host.request("catalog", "run", &params, options).await.expect("runs");
        let (mut stdout, mut stderr) = (String::new(), String::new());
        while let Ok(report) = receiver.try_recv() {
            match (report.unit.as_str(), report.stage.as_str()) {
                ("output", "stdout") => {
                    assert_eq!(report.done, stdout.len() as u64, "nothing is left out");
                    stdout.push_str(&report.message);
                }
                ("output", "stderr") => stderr.push_str(&report.message),
                _ => {}
            }
        }
        assert_eq!((stdout.as_str(), stderr.as_str()), ("line 1\nline 2\nline 3\n", "warning: done\n"));
        assert!(!answer.text.contains("line"), "it was shown already: {}", answer.text);
        assert_eq!(answer.data["stdout"], stdout);
    });
}

#[test]
fn more_than_a_package_allows_at_once_wait_for_each_other() {
    block_on(async {
        let node = Node::new().await;
        let rest = format!("{LONG}  execution: {{max_concurrent: 1}}\n");
        let single = node.lua("single", &rest, ENDLESS);
        let first = node.detach(&single).await;
        node.becomes(&first, "Running").await;
        let second = node.detach(&single).await;
        let third = node.detach(&single).await;
        let refused = node.refusal("run", json!({"package": single, "no_wait": true})).await;
        assert_eq!((refused.code, refused.detail.name.as_deref()), (Code::BUSY, Some("EXECUTION_WOULD_WAIT")));
        for waiting in [&second, &third] {
            assert_eq!(node.record(waiting).await["state"], "Pending");
        }
        node.ask("kill", json!({"execution": second})).await;
        assert_eq!(node.record(&second).await["state"], "Terminated", "one that waits is over at once");
        node.ask("kill", json!({"execution": first})).await;
        let running = node.becomes(&third, "Running").await;
        assert!(running["usage"]["queued_us"].as_u64() > Some(0));
        node.ask("kill", json!({"execution": third})).await;
        node.becomes(&third, "Terminated").await;
        assert_eq!(node.leases(), 0);
    });
}

#[test]
fn whoever_gets_no_lease_waits_and_the_urgent_go_first() {
    block_on(async {
        let node = Node::new().await;
        // The extension's limit is 2 GiB, so two of these do not fit.
        let large = |priority: &str| {
            format!(
                "  resources: {{memory_limit: 1500Mi, cpu_limit: 100m, execution_timeout: 60s}}\n  execution: {{priority: {priority}}}\n"
            )
        };
        let blocker = node.detach(&node.lua("blocker", &large("normal"), ENDLESS)).await;
        node.becomes(&blocker, "Running").await;
        let quick = "return function() return 1 end";
        let mut ids = Vec::new();
        for priority in ["low", "normal", "high", "critical"] {
            ids.push(node.detach(&node.lua(priority, &large(priority), quick)).await);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        for id in &ids {
            assert_eq!(node.record(id).await["state"], "Pending");
        }
        let refused =
            node.refusal("run", json!({"package": node.lua("hasty", &large("low"), quick), "no_wait": true})).await;
        assert!(matches!(refused.code, Code::BUSY | Code::RESOURCE_LIMIT_EXCEEDED), "{refused}");
        node.ask("kill", json!({"execution": blocker})).await;
        for id in &ids {
            node.becomes(id, "Completed").await;
        }
        let finished = node.ask("ps", json!({})).await["executions"].clone();
        let order: Vec<&str> =
            finished.as_array().expect("a list").iter().filter_map(|row| row["package"].as_str()).collect();
        assert_eq!(order[..4], ["low", "normal", "high", "critical"], "the latest first");
        assert_eq!(node.leases(), 0);
        // What no node of this size could ever give is refused at once.
        let huge = node.lua("huge", "  resources: {memory_limit: 3Gi}\n", quick);
        assert_eq!(node.refusal("run", json!({"package": huge})).await.code, Code::RESOURCE_LIMIT_EXCEEDED);
    });
}

#[test]
fn a_hundred_detached_executions_all_end_and_leave_nothing() {
    block_on(async {
        let node = Node::new().await;
        let rest = "  resources: {memory_limit: 16Mi, cpu_limit: 100m}\n  execution: {max_concurrent: 3}\n";
        let main = "return function() if math.random() < 0.2 then error('unlucky') end return 1 end";
        let packages = [node.lua("first", rest, main), node.lua("second", rest, main)];
        let mut ids = Vec::new();
        for number in 0..100 {
            ids.push(node.detach(&packages[number % 2]).await);
        }
        let ended = soon(async || {
            let active = node.ask("ps", json!({"active": true})).await;
            active["executions"].as_array()?.is_empty().then_some(())
        });
        ended.await;
        for id in &ids {
            let state = node.record(id).await["state"].clone();
            assert!(state == "Completed" || state == "Failed", "{state}");
        }
        assert_eq!(node.ask("ps", json!({"all": true})).await["executions"].as_array().map(Vec::len), Some(100));
        assert_eq!(node.leases(), 0);
    });
}

#[test]
fn each_time_limit_ends_what_it_is_for() {
    block_on(async {
        let node = Node::new().await;
        let compiling = node.lua(
            "compiling",
            "  execution: {timeout_config: {execution: 60s, compilation: 300ms}}\n",
            "while true do end",
        );
        let error = node.refusal("run", json!({"package": compiling})).await;
        let said = "package `compiling`: compilation time limit of 300ms reached";
        assert_eq!((error.code, error.to_string().as_str()), (Code::TIMEOUT, said));
        let running = node.lua("running", "  execution: {timeout_config: {execution: 300ms}}\n", ENDLESS);
        let id = node.detach(&running).await;
        let ended = node.becomes(&id, "TimedOut").await;
        assert_eq!(ended["error"], "time limit of 300ms reached");
        let shorter = node.lua("shorter", LONG, ENDLESS);
        let error = node.refusal("run", json!({"package": shorter, "limit": "wall=200ms,memory=8Mi,cpu=50m"})).await;
        assert!(error.to_string().starts_with("package `shorter`: time limit of 200ms reached"), "{error}");
        let wrong = node.refusal("run", json!({"package": shorter, "limit": "disk=1"})).await;
        assert_eq!(wrong.code, Code::INVALID_ARGUMENT);
        // One that waits for its turn waits no longer than it may run.
        let rest = "  resources: {execution_timeout: 300ms}\n  execution: {max_concurrent: 1}\n";
        let blocker = node.detach(&node.lua("narrow", &rest.replace("300ms", "60s"), ENDLESS)).await;
        node.becomes(&blocker, "Running").await;
        let late = node.refusal("run", json!({"package": node.lua("narrow", rest, ENDLESS)})).await;
        assert_eq!((late.code, late.detail.name.as_deref()), (Code::TIMEOUT, Some("QUEUE_TIMEOUT")));
        node.ask("kill", json!({"execution": blocker})).await;
        node.becomes(&blocker, "Terminated").await;
        assert_eq!(node.leases(), 0);
    });
}

#[test]
fn executions_are_remembered_over_a_restart() {
    block_on(async {
        let node = Node::new().await;
        let good = node.lua("good", "", "return function(x) print('hello') return {twice = x * 2} end");
        let ran = node.ask("run", json!({"package": good, "input": 21})).await;
        let id = ran["execution"].as_str().expect("has an id").to_owned();
        node.try_ask("run", json!({"package": node.lua("bad", "", "return function() error('no') end")}))
            .await
            .expect_err("fails");
        let endless = node.detach(&node.lua("endless", LONG, ENDLESS)).await;
        node.becomes(&endless, "Running").await;
        let busy = node.host.pause("catalog").await.expect_err("is at work");
        assert_eq!(busy.code, Code::BUSY, "{busy}");
        let node = node.restarted().await;
        assert_eq!(node.leases(), 0);
        let record = node.record(&id).await;
        assert_eq!((&record["state"], &record["value"]), (&json!("Completed"), &json!({"twice": 42})));
        assert_eq!(node.ask("logs", json!({"execution": id})).await["stdout"], "hello\n");
        let ended = node.record(&endless).await;
        assert_eq!(ended["state"], "Failed", "{ended}");
        assert!(ended["error"].as_str().is_some_and(|error| error.contains("the node")), "{ended}");
        let all = node.ask("ps", json!({"all": true})).await;
        assert_eq!(all["executions"].as_array().map(Vec::len), Some(3));
        assert_eq!(node.ask("receipt", json!({"execution": id})).await["verified"], true, "signed after the restart");
    });
}

#[test]
fn a_receipt_is_signed_exported_and_checked() {
    block_on(async {
        let node = Node::new().await;
        let ran = node.run(&node.lua("good", "", "return function() return 7 end")).await;
        let id = ran["execution"].as_str().expect("has an id");
        let file = node.home.path().join("run.receipt");
        let signed = node.ask("receipt", json!({"execution": id, "out": file})).await;
        for field in ["program", "input", "output"] {
            assert_eq!(signed["receipt"][field], ran["receipt"][field], "{field}");
        }
        assert_eq!(
            (&signed["receipt"]["package_digest"], &signed["receipt"]["sandbox"]["grade"]),
            (&ran["receipt"]["package"], &ran["sandbox"]["grade"])
        );
        let check = async |path: &Path| node.try_ask("receipt", json!({"execution": path, "verify": true})).await;
        assert_eq!(check(&file).await.expect("verifies")["receipt"], signed["receipt"]);
        // Another node with the same roots believes it as well, and has never heard of the execution.
        let other = Node::new().await;
        let elsewhere = other.ask("receipt", json!({"execution": file, "verify": true})).await;
        assert_eq!(elsewhere["signer"], signed["signer"]);
        let text = std::fs::read_to_string(&file).expect("is text");
        let mut envelope: Json = serde_json::from_str(&text).expect("is JSON");
        let payload = envelope["payload"].as_str().expect("has a payload").to_owned();
        // One letter of the payload, in the middle.
        let middle = payload.len() / 2;
        let letter = if &payload[middle..=middle] == "A" { "B" } else { "A" };
        envelope["payload"] = format!("{}{letter}{}", &payload[..middle], &payload[middle + 1..]).into();
        let forged = node.home.path().join("forged.receipt");
        std::fs::write(&forged, envelope.to_string()).expect("written");
        let refused = check(&forged).await.expect_err("is refused");
        assert_eq!(
            (refused.code, refused.detail.name.as_deref()),
            (Code::CERTIFICATE_VALIDATION_FAILED, Some("RECEIPT_REFUSED"))
        );
        node.try_ask("run", json!({"package": node.lua("bad", "", "return function() error('no') end")}))
            .await
            .expect_err("fails");
        let failed = node.ask("ps", json!({})).await["executions"][0]["execution"].clone();
        let none = node.refusal("receipt", json!({"execution": failed})).await;
        assert_eq!((none.code, none.detail.name.as_deref()), (Code::NOT_FOUND, Some("NO_RECEIPT")));
    });
}

#[test]
fn a_program_sees_what_is_leased_for_it_and_nothing_else() {
    block_on(async {
        let node = Node::new().await;
        let other = node.detach(&node.lua("endless", LONG, ENDLESS)).await;
        node.becomes(&other, "Running").await;
        let rest = "  resources: {memory_limit: 48Mi, cpu_limit: 300m}\n";
        let ran = node.run(&node.lua("curious", rest, "return function() return assets end")).await;
        let mut seen = ran["value"].as_array().expect("a list").clone();
        seen.sort_by_key(|asset| asset["kind"].to_string());
        let shown: Vec<(&Json, &Json)> = seen.iter().map(|asset| (&asset["kind"], &asset["amount"])).collect();
        assert_eq!(shown, [(&json!("cpu"), &json!(300)), (&json!("memory"), &json!(48 << 20))]);
        assert_eq!(ids(&ran["value"]), ids(&ran["leases"]));
        node.ask("kill", json!({"execution": other})).await;
    });
}

#[test]
fn arrays_of_a_result_are_kept_for_whoever_asks_for_that() {
    block_on(async {
        let node = Node::new().await;
        let package = node.julia("matrix", "", "main() = (; m = [1.0 2.0; 3.0 4.0], parts = [[Int32(7)], \"text\"])\n");
        let ran = node.ask("run", json!({"package": package, "export": "here", "export_for": "10m"})).await;
        let of = |at: usize, field: &str| ran["memory"][at][field].clone();
        assert_eq!((of(0, "dtype"), of(0, "shape"), of(0, "bytes")), (json!("f64"), json!([2, 2]), json!(32)), "{ran}");
        assert_eq!((of(1, "dtype"), of(1, "bytes")), (json!("i32"), json!(4)));
        assert_eq!((of(0, "at"), of(1, "at")), (json!("/m"), json!("/parts/0")));
        assert_eq!(node.leases(), 1, "one for all of them");
        let read = node.ask("memory read", json!({"capability": of(0, "capability"), "offset": 8, "length": 8})).await;
        let third = data_encoding::BASE64.encode(&3.0_f64.to_le_bytes());
        assert_eq!(read["bytes"], third, "Julia has its columns one behind the other");
        let refused = node.refusal("memory write", json!({"capability": of(0, "capability"), "bytes": third})).await;
        assert!(refused.to_string().contains("rights"), "{refused}");
        node.ask("memory end", json!({"address": of(0, "address")})).await;
        assert_eq!(node.leases(), 1, "there is another one");
        node.ask("memory end", json!({"address": of(1, "address")})).await;
        assert_eq!(node.leases(), 0);
        let again = node.refusal("memory end", json!({"address": of(1, "address")})).await;
        assert_eq!(again.detail.name.as_deref(), Some("MEMORY_NOT_FOUND"));
        let number = node.lua("number", "", "return function() return 7 end");
        let nothing = node.refusal("run", json!({"package": number, "export": "here"})).await;
        assert_eq!(nothing.detail.name.as_deref(), Some("NOTHING_TO_KEEP"));
        assert_eq!(node.ask("ps", json!({"limit": 1})).await["executions"][0]["value"], 7, "which is not lost");
        for wrong in [
            json!({"package": number, "export": "here", "detach": true}),
            json!({"package": number, "export": "here", "export_rights": "read,run"}),
            json!({"package": number, "export": "here", "export_for": "2d"}),
            json!({"package": number, "export_for": "1h"}),
        ] {
            assert_eq!(node.refusal("run", wrong.clone()).await.code, Code::INVALID_ARGUMENT, "{wrong}");
        }
        for wrong in ["", "AAAA"] {
            let refused = node.refusal("memory read", json!({"capability": wrong})).await;
            assert_eq!(refused.code, Code::INVALID_ARGUMENT);
        }
        node.host.shutdown().await;
    });
}

/// Gives the ids of what a run had leased, or of what it saw, in order.
fn ids(assets: &Json) -> Vec<String> {
    let mut ids: Vec<String> = assets
        .as_array()
        .expect("a list")
        .iter()
        .map(|asset| asset["id"].as_str().expect("has one").to_owned())
        .collect();
    ids.sort();
    ids
}

#[test]
fn a_julia_program_is_loaded_ahead_unless_it_has_to_know_what_is_leased_for_it() {
    block_on(async {
        let node = Node::new().await;
        let plain = node.julia("plain", "", "const LOADED = time()\nmain() = time() - LOADED\n");
        soon(async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            node.run(&plain).await["value"].as_f64().filter(|seconds| *seconds > 0.9)
        })
        .await;
        let curious = node.julia("curious", "", "main() = assets\n");
        for _ in 0..2 {
            let ran = node.run(&curious).await;
            assert_eq!(ids(&ran["value"]), ids(&ran["leases"]));
        }
    });
}

#[test]
fn what_a_package_stores_outlives_its_runs_where_it_asks_for_that() {
    block_on(async {
        let node = Node::new().await;
        let counting = "return function(n) local count = (storage.get('count') or 0) + 1 storage.set('count', count)
            if n then storage.set('blob', ('x'):rep(n)) end return {count, storage.keys()} end";
        let keeps = node.lua("keeps", "  resources: {storage_mb: 1, persistent_storage: true}\n", counting);
        let scratch = node.lua("scratch", "  resources: {storage_mb: 1}\n", counting);
        for expected in 1..=2 {
            assert_eq!(node.run(&keeps).await["value"], json!([expected, ["count"]]));
            assert_eq!(node.run(&scratch).await["value"], json!([1, ["count"]]));
        }
        let node = node.restarted().await;
        assert_eq!(node.run(&keeps).await["value"][0], 3);
        let full = node.refusal("run", json!({"package": keeps, "arguments": [2 << 20]})).await;
        assert!(full.to_string().contains("the storage of the package is full"), "{full}");
        assert_eq!(
            node.run(&keeps).await["value"],
            json!([5, ["count"]]),
            "what fits was stored, what does not was not"
        );
        let none = node.refusal("run", json!({"package": node.lua("none", "", counting)})).await;
        assert!(none.to_string().contains("asks for no storage"), "{none}");
    });
}

#[test]
fn a_julia_program_has_its_storage_as_a_dictionary() {
    block_on(async {
        let node = Node::new().await;
        // Both large arrays would go by shared memory if they were results.
        let main = "function main(bytes = 0)
            count = storage[\"count\"] = get(storage, \"count\", 0) + 1
            count == 1 && (storage[\"grid\"] = reshape(1.0:40_000.0, 200, 200))
            bytes > 0 && (storage[\"blob\"] = zeros(UInt8, bytes))
            same = storage[\"grid\"] == reshape(1.0:40_000.0, 200, 200)
            return (count, same, sort(collect(keys(storage))), haskey(storage, \"none\"), length(storage))
        end
        forget() = (delete!(storage, \"grid\"); storage[\"grid\"])\n";
        let kept = node.julia("kept", "  resources: {storage_mb: 1, persistent_storage: true}\n", main);
        for expected in 1..=2 {
            assert_eq!(node.run(&kept).await["value"], json!([expected, true, ["count", "grid"], false, 2]));
        }
        let node = node.restarted().await;
        let full = node.refusal("run", json!({"package": kept, "arguments": [1 << 20]})).await;
        assert!(full.to_string().contains("the storage of the package is full"), "{full}");
        assert_eq!(node.run(&kept).await["value"][0], 4);
        let gone = node.refusal("run", json!({"package": kept, "function": "forget"})).await;
        assert!(gone.to_string().contains("KeyError: key \"grid\" not found"), "{gone}");
        let none = node.refusal("run", json!({"package": node.julia("none", "", main)})).await;
        assert!(none.to_string().contains("asks for no storage"), "{none}");
        let own = node.julia("own", "", "storage(x) = 2x\nmain() = storage(21)\n");
        assert_eq!(node.run(&own).await["value"], 42);
    });
}

#[test]
fn failures_of_the_node_are_tried_again_as_the_package_says() {
    block_on(async {
        let mut manifest = manifest::read(&programs::manifest()).expect("a valid manifest");
        manifest.configuration = json!({"vm": true}).as_object().cloned().expect("a map");
        // A program that ends at once is a worker that crashes.
        let workers = BTreeMap::from([("catalog-worker".to_owned(), PathBuf::from("/bin/true"))]);
        let root = Root::linked(catalog::extension::extension_root());
        let node =
            Node::open(programs::bare_home(), Source::Linked { root, manifest: Box::new(manifest), workers }).await;
        let main = "return function() end";
        let tries = node.lua("tries", &format!("{LONG}  execution: {{retry_policy: simple}}\n"), main);
        let error = node.refusal("run", json!({"package": tries})).await;
        assert!(error.to_string().contains("worker ended"), "{error}");
        let record = node.ask("ps", json!({})).await["executions"][0].clone();
        assert_eq!((&record["state"], &record["attempts"]), (&json!("Failed"), &json!(3)));
        assert!(record["usage"]["queued_us"].as_u64() >= Some(2_000_000), "1 s before each: {record}");
        let once = node.lua("once", LONG, main);
        node.refusal("run", json!({"package": once})).await;
        assert_eq!(node.ask("ps", json!({})).await["executions"][0]["attempts"], 1);
        assert_eq!(node.leases(), 0);
    });
}

#[test]
fn what_must_run_elsewhere_or_later_is_refused_or_waits() {
    block_on(async {
        let node = Node::new().await;
        let main = "return function() return 1 end";
        let rule = "node_affinity: [{rule_type: required, key: node, operator: in, values: [elsewhere]}]";
        let rest = format!("  execution: {{delegation_strategy: specific_node, scheduling: {{{rule}}}}}\n");
        let refused = node.refusal("run", json!({"package": node.lua("remote", &rest, main)})).await;
        assert_eq!((refused.code, refused.detail.name.as_deref()), (Code::RESOURCE_UNAVAILABLE, Some("NO_PLACEMENT")));
        let own = node.host.identity().node_id.clone();
        let rest = rest.replace("elsewhere", &own);
        assert_eq!(node.run(&node.lua("own", &rest, main)).await["node"], json!(own));
        let scheduled = node.lua("scheduled", "  execution: {scheduling: {timing: scheduled}}\n", main);
        let refused = node.refusal("run", json!({"package": scheduled})).await;
        assert_eq!(refused.detail.name.as_deref(), Some("NO_TIME_GIVEN"));
        let at = time::OffsetDateTime::now_utc() + Duration::from_secs(1);
        let at = at.format(&time::format_description::well_known::Rfc3339).expect("a time");
        let ran = node.ask("run", json!({"package": scheduled, "at": at})).await;
        assert!(ran["receipt"]["started_at"].as_str() >= Some(&at[..19]), "{ran}");
        let background = node.lua("background", "  execution: {scheduling: {timing: background}}\n", main);
        let busy = node.detach(&node.lua("endless", LONG, ENDLESS)).await;
        node.becomes(&busy, "Running").await;
        let idle = node.detach(&background).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(node.record(&idle).await["state"], "Pending");
        node.ask("kill", json!({"execution": busy})).await;
        node.becomes(&idle, "Completed").await;
    });
}

/// Asks again and again until there is an answer.
async fn soon<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("it happens soon")
}
