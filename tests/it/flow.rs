//! The main job from end to end over both ways of loading: publish, search, resolve, install, run, verify, remove.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use hypermesh_abi::records::{AssetRecord, Health};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;

/// How Catalog is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loading {
    Bundle,
    Linked,
}

macro_rules! over_both_loadings {
    ($($test:ident)+) => {
        $(mod $test {
            use super::{Loading, block_on};

            #[test]
            fn opened_from_a_bundle() {
                block_on(super::$test(Loading::Bundle));
            }

            #[test]
            fn linked() {
                block_on(super::$test(Loading::Linked));
            }
        })+
    };
}

over_both_loadings! {
    the_main_job_works_from_end_to_end
    values_keep_their_types
    leases_last_as_long_as_the_program
    packages_and_programs_are_assets_of_the_host
    an_upgrade_keeps_packages
    a_state_moves_to_another_node
    without_programs_it_is_still_a_package_manager
    a_wrong_configuration_is_named
    damage_is_found_refused_and_mended
    a_killed_execution_is_terminated
    an_archive_that_the_host_hands_over_is_checked_too
}

/// A host with Catalog.
struct Node {
    host: Host,
    home: TempDir,
}

const ENDLESS: &str = "return function() while true do end end";

/// The longest a test waits for something to become visible.
const SOON: Duration = Duration::from_secs(20);

fn source(loading: Loading, home: &Path, configuration: &Json) -> Source {
    match loading {
        Loading::Linked => programs::linked(configuration),
        Loading::Bundle => {
            let directory = home.join("bundle");
            let fields = configuration.as_object().expect("a map").iter();
            let lines: Vec<String> = fields.map(|(name, value)| format!("{name}: {value}")).collect();
            programs::install(&directory, &lines.join("\n  "));
            Source::Bundle(directory)
        }
    }
}

impl Node {
    async fn new(loading: Loading) -> Self {
        Self::with(loading, json!({"vm": true})).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn with(loading: Loading, configuration: Json) -> Result<Self, Error> {
        let home = programs::bare_home();
        // That a library is tried in a child is the subject of other tests.
        let options = HostOptions { child: None, ..HostOptions::new(home.path().into())? };
        let host = Host::open(options)?;
        host.load(source(loading, home.path(), &configuration)).await?;
        Ok(Self { host, home })
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.try_ask(verb, params).await.expect_err("is refused")
    }

    fn lua(&self, name: &str, rest: &str, main: &str) -> PathBuf {
        programs::package(self.path(), name, "lua-script", rest, main)
    }

    async fn run(&self, directory: &Path) -> Result<Json, Error> {
        self.try_ask("run", json!({"package": directory})).await
    }

    fn leases(&self) -> usize {
        self.host.asset_manager().leases(None).len()
    }

    async fn asset(&self, wanted: impl Fn(&AssetRecord) -> bool) -> Option<AssetRecord> {
        self.host.assets().await.into_iter().find(wanted)
    }
}

/// Asks again and again until there is an answer.
async fn soon<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("it happens soon")
}

fn names(list: &Json) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(|entry| entry["package"].as_str().or(entry["name"].as_str())).collect()
}

async fn the_main_job_works_from_end_to_end(loading: Loading) {
    let node = Node::new(loading).await;
    let published = node.ask("publish", json!({"directories": programs::examples()})).await;
    assert_eq!(published["packages"].as_array().map(Vec::len), Some(9));
    let found = node.ask("search", json!({"words": ["rays", "spheres"]})).await;
    assert_eq!(names(&found["results"])[0], "geometry");
    let resolved = node.ask("resolve", json!({"packages": ["ray-tracer"]})).await;
    assert_eq!(names(&resolved["packages"]), ["vec3", "geometry", "ray-tracer"], "what is needed comes first");
    assert_eq!(node.ask("list", json!({})).await["packages"], json!([]), "resolving installs nothing");
    let dry = node.ask("install", json!({"packages": ["ray-tracer"], "dry_run": true})).await;
    assert_eq!((dry["generation"].as_u64(), names(&dry["plan"]["added"]).len()), (Some(0), 3));
    let installed = node.ask("install", json!({"packages": ["ray-tracer"]})).await;
    assert_eq!(installed["generation"], 1);
    assert_eq!(names(&installed["packages"]), ["geometry", "ray-tracer", "vec3"]);
    let ran = node.ask("run", json!({"package": "ray-tracer", "arguments": [{"width": 60}]})).await;
    assert_eq!((ran["state"].as_str(), ran["value"]["width"].as_u64()), (Some("Completed"), Some(60)));
    assert_eq!(ran["value"]["image"].as_str().map(|image| image.lines().next().map(str::len)), Some(Some(60)));
    let ray_tracer = &installed["packages"][1];
    assert_eq!(ran["receipt"]["package"], ray_tracer["digest"]);
    let again = node.ask("run", json!({"package": "ray-tracer@1.0.0", "arguments": [{"width": 60}]})).await;
    for digest in ["program", "input", "output"] {
        assert_eq!(ran["receipt"][digest], again["receipt"][digest], "the same run gives the same {digest}");
    }
    let verified = node.ask("verify", json!({})).await;
    assert_eq!((names(&verified["packages"]).len(), &verified["findings"]), (3, &json!([])));
    let needed = node.refusal("remove", json!({"packages": ["vec3"]})).await;
    assert_eq!(needed.to_string(), "package `vec3` is needed by `geometry`, `ray-tracer`");
    let removed = node.ask("remove", json!({"packages": ["ray-tracer"]})).await;
    assert_eq!((removed["generation"].as_u64(), &removed["packages"]), (Some(2), &json!([])));
    assert_eq!(node.leases(), 0);
}

async fn values_keep_their_types(loading: Loading) {
    let node = Node::new(loading).await;
    let echo = node.lua("echo", "", "return function(...) return {...} end");
    let values = json!([1, 1.5, -0.0, true, "grüße\n", [], [1, [2]], {"a": {"b": false}}, 9_007_199_254_740_993_i64]);
    let ran = node.ask("run", json!({"package": echo, "arguments": values})).await;
    assert_eq!(ran["value"].to_string(), values.to_string());
    let nothing = node.lua("nothing", "", "return function() end");
    assert_eq!(node.run(&nothing).await.expect("runs")["value"], Json::Null);
    let other =
        node.lua("other", "", "return {main = function() return 1 end, test = function(a, b) return a + b end}");
    let ran = node.ask("run", json!({"package": other, "function": "test", "arguments": [20, 22]})).await;
    assert_eq!(ran["value"], 42);
    let environment =
        node.lua("env", "  environment: {GREETING: hello}\n", "return function() return env.GREETING end");
    assert_eq!(node.run(&environment).await.expect("runs")["value"], "hello");
}

async fn leases_last_as_long_as_the_program(loading: Loading) {
    let node = Node::new(loading).await;
    let limits = "  resources: {cpu_limit: 500m, memory_limit: 32Mi, execution_timeout: 300ms}\n";
    let endless = node.lua("endless", limits, ENDLESS);
    let watch = soon(async || {
        let leased = node.asset(|asset| asset.label == "endless@1.0.0" && asset.asset_type == "memory").await?;
        Some((leased, node.leases()))
    });
    let (ended, (leased, count)) = tokio::join!(node.run(&endless), watch);
    assert_eq!((leased.amount, leased.state.as_str(), count), (32 << 20, "Allocated", 1));
    let error = ended.expect_err("is stopped");
    assert_eq!(
        (error.code, error.to_string().as_str()),
        (Code::TIMEOUT, "package `endless`: time limit of 300ms reached")
    );
    assert_eq!(node.leases(), 0, "after a timeout");
    let good = node.run(&node.lua("good", limits, "return function() return 1 end")).await.expect("runs");
    assert_eq!(
        (good["leases"][0]["amount"].as_u64(), good["leases"][1]["amount"].as_u64()),
        (Some(500), Some(32 << 20))
    );
    assert_eq!(node.leases(), 0, "after a success");
    node.run(&node.lua("bad", limits, "return function() error('no') end")).await.expect_err("fails");
    assert_eq!(node.leases(), 0, "after a failure");
    let patient = node.lua("patient", "  resources: {execution_timeout: 60s}\n", ENDLESS);
    {
        let mut running = std::pin::pin!(node.run(&patient));
        tokio::select! {
            ended = &mut running => panic!("it is endless: {ended:?}"),
            () = soon(async || (node.leases() == 1).then_some(())) => {}
        }
    }
    soon(async || {
        let executions = node.ask("ps", json!({})).await;
        let last = &executions["executions"][0];
        ((&last["package"], &last["state"]) == (&json!("patient"), &json!("Terminated"))).then_some(())
    })
    .await;
    // It is over when what it held is back, and not before.
    assert_eq!(node.leases(), 0, "after it was dropped");
}

async fn packages_and_programs_are_assets_of_the_host(loading: Loading) {
    let node = Node::new(loading).await;
    let endless = node.lua("endless", "  resources: {execution_timeout: 60s}\n", ENDLESS);
    let published = node.ask("publish", json!({"directories": [endless]})).await;
    let id = published["packages"][0]["asset"].as_str().expect("has an asset");
    let asset = node.asset(|asset| asset.id == id).await.expect("is an asset of the host");
    assert_eq!(
        (asset.name.as_str(), asset.owner.as_str(), asset.state.as_str()),
        ("endless@1.0.0", "catalog", "Available")
    );
    let found = node.ask("info", json!({"package": id})).await;
    assert_eq!((&found["package"], &found["digest"]), (&json!("endless"), &asset.attributes["digest"]));
    let mut running = std::pin::pin!(node.run(&endless));
    let machine = tokio::select! {
        ended = &mut running => panic!("it is endless: {ended:?}"),
        machine = soon(async || node.asset(|asset| asset.state == "InUse" && asset.label == "Running").await) => machine,
    };
    assert_eq!((machine.asset_type.as_str(), machine.name.as_str()), ("virtual-machine", "endless"));
    let leases = machine.attributes["leases"].as_array().expect("names its leases").clone();
    let held = node.host.assets().await.into_iter().filter(|asset| leases.contains(&json!(asset.id)));
    let kinds: Vec<String> = held.map(|asset| asset.asset_type).collect();
    assert_eq!(kinds, ["cpu", "memory"]);
}

async fn an_upgrade_keeps_packages(loading: Loading) {
    let node = Node::new(loading).await;
    node.ask("publish", json!({"directories": programs::examples()})).await;
    node.ask("install", json!({"packages": ["prime-sieve"]})).await;
    let before = node.ask("list", json!({"published": true})).await;
    // A call that is going on ends in the old generation; one that comes meanwhile waits for the new one.
    let long = node.ask("run", json!({"package": "prime-sieve", "arguments": [{"limit": 200_000}]}));
    let next = source(loading, &node.path().join("next"), &json!({"vm": true}));
    let upgrade = async { node.host.upgrade(next).await.unwrap_or_else(|error| panic!("{error}")) };
    let (ran, upgraded) = tokio::join!(long, upgrade);
    assert_eq!((ran["value"]["count"].as_u64(), upgraded.retired_generations), (Some(17_984), 1));
    assert_eq!(node.ask("list", json!({"published": true})).await, before);
    assert_eq!(names(&node.ask("list", json!({})).await["packages"]), ["prime-sieve"]);
    assert_eq!(node.ask("run", json!({"package": "prime-sieve"})).await["state"], "Completed");
}

async fn a_state_moves_to_another_node(loading: Loading) {
    let (from, to) = (Node::new(loading).await, Node::new(loading).await);
    from.ask("publish", json!({"directories": programs::examples()})).await;
    from.ask("install", json!({"packages": ["ray-tracer@^1", "statistics"]})).await;
    let state = from.host.export_state("catalog").await.expect("exports");
    to.host.import_state("catalog", state.clone()).await.expect("imports");
    for (verb, params) in [("list", json!({"published": true})), ("list", json!({}))] {
        let (left, right) = (from.ask(verb, params.clone()).await, to.ask(verb, params.clone()).await);
        assert_eq!(names(&left["packages"]), names(&right["packages"]), "{params}");
    }
    let digest = async |node: &Node| node.ask("info", json!({"package": "ray-tracer"})).await["digest"].clone();
    assert_eq!(digest(&from).await, digest(&to).await);
    assert_eq!(to.ask("run", json!({"package": "ray-tracer"})).await["state"], "Completed");
    // Once more changes nothing, and a state that was touched is refused whole.
    to.host.import_state("catalog", state.clone()).await.expect("imports again");
    let touched = String::from_utf8(state).expect("is JSON").replace("\"yanked\": null", "\"yanked\": \"no\"");
    let third = Node::new(loading).await;
    let error = third.host.import_state("catalog", touched.into_bytes()).await.expect_err("is refused");
    assert_eq!(error.code, Code::INTEGRITY, "{error}");
    assert_eq!(third.ask("list", json!({"published": true})).await["packages"], json!([]));
}

async fn without_programs_it_is_still_a_package_manager(loading: Loading) {
    let node = Node::with(loading, json!({"vm": false})).await.unwrap_or_else(|error| panic!("{error}"));
    let report = node.host.report().await;
    assert_eq!(report[0].health, Some(Health::Healthy));
    assert!(!report[0].contributions.contains(&"hypermesh.lua/1".to_owned()), "no executor is offered");
    node.ask("publish", json!({"directories": programs::examples()})).await;
    node.ask("install", json!({"packages": ["ray-tracer"]})).await;
    assert_eq!(node.ask("verify", json!({})).await["findings"], json!([]));
    let error = node.refusal("run", json!({"package": "ray-tracer"})).await;
    assert_eq!(error.to_string(), "package `ray-tracer` cannot run: running programs is switched off on this node");
    assert_eq!((error.code, error.detail.name.as_deref()), (Code::POLICY_DENIED, Some("EXECUTION_DISABLED")));
    assert!(error.detail.help.as_ref().is_some_and(|help| help.contains("configuration.vm: true")));
    node.ask("remove", json!({"packages": ["ray-tracer"]})).await;
}

async fn a_wrong_configuration_is_named(loading: Loading) {
    for (wrong, named) in [
        (json!({"vm": true, "idle_workers_max": 65}), "field `idle_workers_max` of the configuration: 65 is above 64"),
        (json!({"vm": true, "wm": false}), "field `wm` of the configuration"),
        (json!({"sandbox": "open"}), "field `sandbox` of the configuration"),
        (json!({"vm": "perhaps"}), "field `vm` of the configuration"),
    ] {
        let error = Node::with(loading, wrong).await.err().expect("is refused");
        assert!(error.to_string().contains(named), "{error}");
    }
}

async fn damage_is_found_refused_and_mended(loading: Loading) {
    let node = Node::new(loading).await;
    let tool = node.lua("tool", "", "return function() return 1 end");
    node.ask("publish", json!({"directories": [tool]})).await;
    let installed = node.ask("install", json!({"packages": ["tool"]})).await;
    let digest = installed["packages"][0]["digest"].as_str().and_then(|text| text.strip_prefix("blake3:"));
    let digest = digest.expect("has a digest");
    let store = node.path().join("catalog/store");
    let file = store.join(format!("packages/tool@1.0.0-{}/main.lua", &digest[..12]));
    overwrite(&file, b"return function() return 2 end");
    let error = node.refusal("verify", json!({})).await;
    let fault = &error.detail.faults[0];
    assert_eq!((error.code, fault.file.as_deref()), (Code::INTEGRITY, file.to_str()));
    assert!(fault.message.contains("tool 1.0.0") && fault.message.matches("blake3:").count() == 2, "{}", fault.message);
    let mended = node.ask("install", json!({"packages": ["tool"]})).await;
    assert_eq!(names(&mended["plan"]["repaired"]), ["tool"]);
    node.ask("verify", json!({})).await;
    let archive = store.join(format!("archives/{}/{digest}", &digest[..2]));
    overwrite(&archive, b"nonsense");
    node.ask("remove", json!({"packages": ["tool"]})).await;
    for (verb, params) in [("install", json!({"packages": ["tool"]})), ("install", json!({"packages": ["tool@1.0.0"]}))]
    {
        let error = node.refusal(verb, params).await;
        assert_eq!(error.code, Code::INTEGRITY, "{error}");
        assert!(
            error.detail.help.as_ref().is_some_and(|help| help.contains("publish the same package again")),
            "{error:?}"
        );
    }
    node.ask("publish", json!({"directories": [tool]})).await;
    node.ask("install", json!({"packages": ["tool"]})).await;
    assert_eq!(node.ask("run", json!({"package": "tool"})).await["value"], 1);
}

async fn a_killed_execution_is_terminated(loading: Loading) {
    let node = Node::new(loading).await;
    let endless = node.lua("endless", "  resources: {execution_timeout: 60s}\n", ENDLESS);
    let kill = async {
        let id = soon(async || {
            let active = node.ask("ps", json!({"active": true})).await;
            let running = active["executions"].as_array()?.iter().find(|execution| execution["state"] == "Running")?;
            running["execution"].as_str().map(str::to_owned)
        });
        let id = id.await;
        node.ask("kill", json!({"execution": id})).await;
        id
    };
    let (ended, id) = tokio::join!(node.run(&endless), kill);
    assert_eq!((ended.expect_err("is ended").code, node.leases()), (Code::CANCELLED, 0));
    let executions = node.ask("ps", json!({})).await;
    assert_eq!(
        (&executions["executions"][0]["execution"], &executions["executions"][0]["state"]),
        (&json!(id), &json!("Terminated"))
    );
    let twice = node.refusal("kill", json!({"execution": id})).await;
    assert_eq!((twice.code, twice.to_string().contains("Terminated")), (Code::INVALID_ARGUMENT, true));
    let unknown = node.refusal("kill", json!({"execution": "64a78dd2-e4f4-44cc-a303-fbae48570238"})).await;
    assert_eq!(unknown.detail.name.as_deref(), Some("EXECUTION_NOT_FOUND"));
    assert_eq!(node.refusal("kill", json!({"execution": "x"})).await.code, Code::INVALID_ARGUMENT);
}

async fn an_archive_that_the_host_hands_over_is_checked_too(loading: Loading) {
    let node = Node::new(loading).await;
    let archive = async |directory: &Path| {
        let out = directory.with_extension("tar.zst");
        node.ask("pack", json!({"directory": directory, "out": out})).await;
        std::fs::read(out).expect("written")
    };
    let generation = node.host.generation("catalog").expect("runs");
    let handler = &generation.contributions().handlers[0].object;
    let good = archive(&node.lua("good", "", "return function() return 1 end")).await;
    let before = handler.verify(node.host.call_context(SOON), good.clone()).await.expect("is looked at");
    assert_eq!((before.accepted, before.checks["signature"].as_str()), (false, "failed"), "nobody has signed it yet");
    let verdict = handler.install(node.host.call_context(SOON), good).await.expect("installs");
    assert_eq!((verdict.package.as_str(), verdict.accepted), ("good@1.0.0", true));
    assert_eq!(verdict.checks["signature"], "passed");
    assert_eq!(node.ask("run", json!({"package": "good"})).await["value"], 1);
    let evil = archive(&node.lua("evil", "", "return function() os.execute('ls') end")).await;
    let error = handler.install(node.host.call_context(SOON), evil).await.expect_err("is refused");
    assert_eq!((error.code, error.detail.name.as_deref()), (Code::POLICY_DENIED, Some("CRITICAL_FINDINGS")));
    let damaged = handler.install(node.host.call_context(SOON), b"nonsense".to_vec()).await.expect_err("is refused");
    assert_eq!(damaged.code, Code::INVALID_ARGUMENT, "{damaged}");
    assert_eq!(names(&node.ask("list", json!({"published": true})).await["packages"]), ["good"]);
}

/// Writes to a file that is read-only and shared, as a failing disk would.
fn overwrite(path: &Path, bytes: &[u8]) {
    let permissions =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions();
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
    std::fs::set_permissions(path, permissions).expect("as it was");
}
