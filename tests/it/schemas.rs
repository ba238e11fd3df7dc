//! Answers held against their JSON Schemas: those of a whole tour over the verbs here, and those that other tests get.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use boon::{Compiler, SchemaIndex, Schemas};
use host_sim::host::{Host, HostOptions, RequestOptions};
use hypermesh_abi::Error;
use hypermesh_abi::records::ErrorRecord;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;

/// The committed schema of all answers.
static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let path = programs::workspace().join("manifests/schema/answers.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("is there")).expect("is JSON")
});

/// The schema of each verb, ready to hold answers against.
static READY: LazyLock<(Schemas, BTreeMap<&str, SchemaIndex>)> = LazyLock::new(|| {
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("answers.json", SCHEMA.clone()).expect("a schema");
    let verbs = SCHEMA["properties"].as_object().expect("has verbs").keys().map(|verb| {
        let place = format!("answers.json#/properties/{}", verb.replace(' ', "%20"));
        let index = compiler.compile(&place, &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        (verb.as_str(), index)
    });
    let verbs = verbs.collect();
    (schemas, verbs)
});

/// Holds an answer against the schema of its verb.
pub(crate) fn fits(verb: &str, answer: &Json) {
    let (schemas, verbs) = &*READY;
    let index = *verbs.get(verb).unwrap_or_else(|| panic!("`{verb}` has no schema"));
    schemas.validate(answer, index).unwrap_or_else(|error| panic!("`{verb}`: {error:#}\n{answer:#}"));
}

/// Gives an answer back that fits the schema of its verb.
pub(crate) fn fitting(verb: &str, answer: Json) -> Json {
    fits(verb, &answer);
    answer
}

/// Holds what a command line printed against the schema of its verb, or of a failure.
pub(crate) fn printed(words: &[&str], answer: &Json) {
    let Some(at) = words.iter().position(|word| *word == "catalog") else { return };
    let verb = words.get(at + 1..at + 3).map(|two| two.join(" ")).filter(|two| SCHEMA["properties"][two].is_object());
    let one = words.get(at + 1).filter(|one| SCHEMA["properties"][**one].is_object()).map(|one| (*one).to_owned());
    match (answer["ok"] == json!(false), verb.or(one)) {
        (true, _) => fits("failure", answer),
        (false, Some(verb)) => fits(&verb, answer),
        // Help, and words that are no verb.
        (false, None) => {}
    }
}

struct Node {
    host: Host,
    home: TempDir,
    asked: Mutex<BTreeSet<String>>,
}

impl Node {
    async fn new() -> Self {
        let home = programs::bare_home();
        let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("a home") };
        let host = Host::open(options).expect("opens");
        host.load(programs::linked(&json!({"vm": true}))).await.expect("loads");
        Self { host, home, asked: Mutex::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        self.host.request("catalog", verb, &params, RequestOptions::default()).await.map(|response| response.data)
    }

    /// Asks, and holds the answer against its schema.
    async fn good(&self, verb: &str, params: Json) -> Json {
        let answer = self.ask(verb, params.clone()).await.unwrap_or_else(|error| panic!("`{verb}` {params}: {error}"));
        fits(verb, &answer);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(verb.to_owned());
        answer
    }

    /// Asks for what is refused, and holds that against the schema of failures.
    async fn refused(&self, verb: &str, params: Json) {
        let error = self.ask(verb, params).await.expect_err("is refused");
        fits("failure", &json!({"ok": false, "error": ErrorRecord::from(&error)}));
    }
}

/// Verbs that need other nodes, a bucket, a remote registry or a Julia: their tests hold their answers against the schemas.
const ELSEWHERE: [&str; 12] = [
    "peers",
    "sync",
    "replicas",
    "mirror add",
    "mirror remove",
    "mirror list",
    "registry rebuild",
    "registry status",
    "runtime install",
    "runtime remove",
    "kill",
    "failure",
];

async fn packages(node: &Node) {
    let example = |name: &str| programs::workspace().join("manifests/packages").join(name);
    for template in ["lua-script", "wasm-module", "data-pipeline"] {
        node.good("new", json!({"template": template, "directory": node.path(template), "dry_run": true})).await;
        node.good("new", json!({"template": template, "directory": node.path(template)})).await;
    }
    node.good("template list", json!({})).await;
    node.good("template show", json!({"template": "container-app"})).await;
    node.good("template update", json!({"directory": node.path("lua-script")})).await;
    node.good("validate", json!({"directory": node.path("lua-script")})).await;
    node.good("publish", json!({"directories": [node.path("lua-script")], "dry_run": true})).await;
    let all: Vec<PathBuf> = programs::examples();
    node.good("publish", json!({"directories": all})).await;
    node.good("yank", json!({"package": "mandelbrot@1.0.0", "reason": "tried"})).await;
    node.good("yank", json!({"package": "mandelbrot@1.0.0", "undo": true})).await;
    node.good("feeds", json!({})).await;
    node.good("feeds", json!({"renew": true})).await;
    node.good("search", json!({"words": ["rays"]})).await;
    node.good("info", json!({"package": "ray-tracer"})).await;
    node.good("resolve", json!({"packages": ["ray-tracer"]})).await;
    node.good("install", json!({"packages": ["ray-tracer"], "dry_run": true})).await;
    node.good("install", json!({"packages": ["ray-tracer", "prime-sieve"]})).await;
    for params in [json!({}), json!({"outdated": true}), json!({"published": true})] {
        node.good("list", params).await;
    }
    node.good("verify", json!({})).await;
    node.good("verify", json!({"packages": ["vec3"], "explain": true})).await;
    node.good("why", json!({"package": "vec3"})).await;
    node.good("tree", json!({})).await;
    node.good("licenses", json!({})).await;
    node.good("sbom", json!({})).await;
    node.good("owner list", json!({"package": "vec3"})).await;
    node.good("owner add", json!({"package": "vec3", "owner": "friend.pub.trustchain"})).await;
    node.good("owner remove", json!({"package": "vec3", "owner": "friend.pub.trustchain"})).await;
    node.good("rate", json!({"package": "vec3", "stars": 5, "comment": "does what it says"})).await;
    node.good("recommend", json!({})).await;
    node.good("info", json!({"package": "vec3"})).await;
    node.good("update", json!({"dry_run": true})).await;
    node.good("remove", json!({"packages": ["ray-tracer"]})).await;
    node.good("rollback", json!({})).await;
    newer(node, &example("vec3")).await;
    node.good("diff", json!({"from": "vec3@1.0.0", "to": "vec3@9.0.0"})).await;
    node.good("list", json!({"outdated": true})).await;
    node.refused("install", json!({"packages": ["nowhere"]})).await;
    node.refused("new", json!({})).await;
}

/// Publishes another version of a package.
async fn newer(node: &Node, package: &Path) {
    let copy = node.path("newer");
    super::support::copy_directory(package, &copy);
    let manifest = std::fs::read_to_string(copy.join("package.yaml")).expect("reads");
    std::fs::write(copy.join("package.yaml"), manifest.replace("1.0.0", "9.0.0")).expect("written");
    node.good("publish", json!({"directories": [copy]})).await;
}

async fn runs(node: &Node) {
    let ran = node.good("run", json!({"package": "prime-sieve", "arguments": [{"limit": 100}]})).await;
    node.good("run", json!({"package": node.path("wasm-module")})).await;
    std::fs::write(node.path("one.lua"), "return function() return 1 end\n").expect("written");
    node.good("run", json!({"package": node.path("one.lua"), "language": "lua"})).await;
    let id = ran["execution"].clone();
    node.good("run", json!({"package": "prime-sieve", "arguments": [{"limit": 10}], "detach": true})).await;
    node.good("ps", json!({"all": true})).await;
    node.good("ps", json!({"execution": id})).await;
    node.good("logs", json!({"execution": id})).await;
    node.good("receipt", json!({"execution": id, "out": node.path("run.receipt")})).await;
    node.good("bench-vm", json!({"calls": 20})).await;
    node.good("sandbox selftest", json!({"list": true})).await;
    node.good("sandbox selftest", json!({"case": ["fork-bomb"]})).await;
    node.good("doctor", json!({})).await;
    node.good("runtime list", json!({})).await;
    node.good("doc", json!({"package": node.path("lua-script"), "out": node.path("docs")})).await;
    node.refused("logs", json!({"execution": "64a78dd2-e4f4-44cc-a303-fbae48570238"})).await;
}

/// What is kept of a result, and how it is changed.
async fn memory(node: &Node) {
    let package = programs::package(
        node.home.path(),
        "kept",
        "lua-script",
        "",
        "return function() return '\\255' .. ('a'):rep(7) end",
    );
    let ran = node.good("run", json!({"package": package, "export": "here", "export_rights": "read,write"})).await;
    let (capability, address) = (&ran["memory"][0]["capability"], &ran["memory"][0]["address"]);
    node.good("memory list", json!({})).await;
    node.good("memory read", json!({"capability": capability})).await;
    node.good("memory read", json!({"capability": capability, "out": node.path("kept.bin")})).await;
    node.good("memory write", json!({"capability": capability, "bytes": "AA=="})).await;
    node.good("memory add", json!({"capability": capability, "amount": 1})).await;
    node.good("memory swap", json!({"capability": capability, "expected": 0, "new": 1})).await;
    node.good("memory end", json!({"address": address})).await;
    node.refused("memory end", json!({"address": address})).await;
}

async fn stores(node: &Node) {
    let archive = node.path("one.tar.zst");
    node.good("pack", json!({"directory": node.path("lua-script"), "out": archive})).await;
    node.good("unpack", json!({"file": archive, "directory": node.path("unpacked")})).await;
    for verb in ["cache size", "cache verify", "cache repair", "fsck"] {
        node.good(verb, json!({})).await;
    }
    node.good("cache prune", json!({})).await;
    node.good("registry export", json!({"directory": node.path("registry")})).await;
    let advisory = json!({"schema_version": "1.6.0", "id": "HM-1", "modified": "2026-01-02T00:00:00Z", "summary": "Wrong",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:L/A:N"}],
        "affected": [{"package": {"ecosystem": "HyperMesh", "name": "vec3"},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]}]});
    std::fs::write(node.path("HM-1.json"), advisory.to_string()).expect("written");
    node.good("advisories import", json!({"path": node.path("HM-1.json")})).await;
    node.good("advisories list", json!({})).await;
    node.good("audit", json!({"level": "critical"})).await;
    node.good("audit", json!({"ignore": ["HM-1=not reached"]})).await;
    std::fs::write(node.path("index.ndjson"), r#"{"name": "elsewhere", "description": "Something else"}"#)
        .expect("written");
    node.good("index import", json!({"file": node.path("index.ndjson")})).await;
}

#[test]
fn every_answer_is_as_its_schema_says() {
    block_on(async {
        let node = Node::new().await;
        packages(&node).await;
        runs(&node).await;
        memory(&node).await;
        stores(&node).await;
        let asked = node.asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        let described: BTreeSet<String> = SCHEMA["properties"].as_object().expect("verbs").keys().cloned().collect();
        let left: Vec<&String> =
            described.difference(&asked).filter(|verb| !ELSEWHERE.contains(&verb.as_str())).collect();
        assert!(left.is_empty(), "nobody asked {left:?}");
    });
}

#[test]
fn a_schema_knows_every_field_and_no_other() {
    let answer = json!({"package": "a", "version": "1.0.0", "yanked": null});
    fits("yank", &answer);
    for wrong in [
        json!({"package": "a", "version": "1.0.0", "yanked": null, "more": 1}),
        json!({"package": "a", "yanked": null}),
        json!({"package": 1, "version": "1.0.0"}),
    ] {
        let refused = std::panic::catch_unwind(|| fits("yank", &wrong));
        assert!(refused.is_err(), "{wrong}");
    }
}
