//! What Catalog tells about packages through the loaded library: why they are there, what changes between versions, under
//! which licences they stand, who owns them, what is thought of them.

use std::path::{Path, PathBuf};

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;

/// A host with Catalog, loaded from a bundle.
struct Node {
    host: Host,
    home: TempDir,
}

impl Node {
    async fn new(configuration: &str) -> Self {
        let home = programs::bare_home();
        let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("options") };
        let host = Host::open(options).expect("opens");
        let bundle = home.path().join("bundle");
        programs::install(&bundle, configuration);
        host.load(Source::Bundle(bundle)).await.expect("loads");
        Self { host, home }
    }

    /// With the example packages published and `ray-tracer` installed.
    async fn with_ray_tracer() -> Self {
        let node = Self::new("vm: true").await;
        node.ask("publish", json!({"directories": programs::examples()})).await;
        node.ask("install", json!({"packages": ["ray-tracer"]})).await;
        node
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}")).0
    }

    async fn text(&self, verb: &str, params: Json) -> String {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}")).1
    }

    async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.try_ask(verb, params).await.expect_err("is refused")
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<(Json, String), Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| (crate::schemas::fitting(verb, response.data), response.text))
    }

    async fn publish(&self, directory: &Path) {
        self.ask("publish", json!({"directories": [directory]})).await;
    }

    /// Writes a package; `metadata` and `spec` are further lines, the latter indented by two.
    fn package(&self, name: &str, version: &str, metadata: &str, spec: &str) -> PathBuf {
        let directory = self.home.path().join("sources").join(format!("{name}-{version}"));
        std::fs::create_dir_all(&directory).expect("made");
        let manifest = format!(
            "apiVersion: catalog.v1\nmetadata: {{name: {name}, version: {version}, {metadata}}}\nspec:\n  \
             type: lua-library\n  content: {{main: main.lua}}\n{spec}"
        );
        std::fs::write(directory.join("package.yaml"), manifest).expect("written");
        std::fs::write(directory.join("main.lua"), format!("return {{version = '{version}'}}\n")).expect("written");
        directory
    }
}

#[test]
fn why_and_tree_tell_how_packages_hang_together() {
    block_on(async {
        let node = Node::with_ray_tracer().await;
        insta::assert_snapshot!(node.text("why", json!({"package": "vec3"})).await, @r"
        vec3 1.0.0
          ray-tracer 1.0.0 -[^1.1]-> geometry 1.2.0 -[^1.0]-> vec3 1.0.0
          ray-tracer 1.0.0 -[^1.0]-> vec3 1.0.0
        ");
        insta::assert_snapshot!(node.text("tree", json!({})).await, @r"
        ray-tracer 1.0.0
        ├── geometry 1.2.0
        │   └── vec3 1.0.0
        └── vec3 1.0.0
        ");
        insta::assert_snapshot!(node.text("tree", json!({"packages": ["ray-tracer"], "depth": 1})).await, @r"
        ray-tracer 1.0.0
        ├── geometry 1.2.0
        └── vec3 1.0.0
        ");
        let why = node.ask("why", json!({"package": "ray-tracer"})).await;
        assert_eq!((&why["asked_for"], &why["dependents"]), (&json!("*"), &json!(0)));
        let error = node.refusal("why", json!({"package": "statistics"})).await;
        assert_eq!(error.to_string(), "package `statistics` is not installed");
        assert_eq!(node.refusal("tree", json!({"packages": ["vec"]})).await.code, Code::NOT_FOUND);
    });
}

#[test]
fn a_difference_names_files_dependencies_and_what_a_version_wants_more() {
    block_on(async {
        let node = Node::new("vm: true").await;
        node.publish(&node.package("base", "1.0.0", "license: MIT", "")).await;
        node.publish(&node.package("tool", "1.4.0", "license: MIT", "")).await;
        let network = "  security: {network_access: {enabled: true, allowed_domains: [api.example]}}\n  \
                       dependencies: [{name: base, version: ^1.0}]\n";
        let later = node.package("tool", "1.5.0", "license: Apache-2.0", network);
        std::fs::write(later.join("more.lua"), "return 1\n").expect("written");
        let manifest = std::fs::read_to_string(later.join("package.yaml")).expect("text");
        let manifest = manifest.replace("{main: main.lua}", "{main: main.lua, files: [more.lua]}");
        std::fs::write(later.join("package.yaml"), manifest).expect("written");
        // Before it is published, from the directory; and afterwards by version, and against what is installed.
        node.ask("install", json!({"packages": ["tool"]})).await;
        let before = node.text("diff", json!({"from": later})).await;
        node.publish(&later).await;
        let by_version = node.text("diff", json!({"from": "tool@1.4.0", "to": "tool@1.5.0"})).await;
        assert_eq!(before, by_version);
        assert_eq!(node.text("diff", json!({"from": "tool"})).await, by_version);
        insta::with_settings!({filters => [(r"\d+ B", "[size]")]}, {
            insta::assert_snapshot!(by_version, @r"
            tool 1.4.0 -> tool 1.5.0
            capabilities
              ! now wants network, to api.example
            licence
              ~ MIT -> Apache-2.0
            dependencies
              + base ^1.0
            files
              ~ main.lua [size]
              + more.lua [size]
              ~ package.json [size] -> [size]
            ");
        });
        let data = node.ask("diff", json!({"from": "tool@1.4.0", "to": "tool@1.5.0"})).await;
        assert_eq!(data["capabilities"][0]["wider"], true);
        let same = node.ask("diff", json!({"from": "tool@1.4.0", "to": "tool@1.4.0"})).await;
        assert_eq!((&same["files"], &same["capabilities"]), (&json!([]), &json!([])));
        let error = node.refusal("diff", json!({"from": "tool@1.4.0", "to": "tool@9.0.0"})).await;
        assert_eq!(error.to_string(), "package `tool` has no version 9.0.0");
    });
}

#[test]
fn what_is_outdated_or_yanked_is_listed_with_what_fits() {
    block_on(async {
        let node = Node::new("vm: true").await;
        for version in ["1.0.0", "1.1.0", "1.2.0-rc.1", "2.0.0"] {
            node.publish(&node.package("tool", version, "license: MIT", "")).await;
        }
        node.ask("install", json!({"packages": ["tool@1.0.0"]})).await;
        let row = |list: Json| {
            let row = &list["packages"][0];
            (row["version"].clone(), row["compatible"].clone(), row["latest"].clone(), row["yanked"].clone())
        };
        let listed = node.ask("list", json!({"outdated": true})).await;
        assert_eq!(row(listed), (json!("1.0.0"), json!("1.1.0"), json!("2.0.0"), json!(null)));
        node.ask("yank", json!({"package": "tool@2.0.0", "reason": "broken"})).await;
        node.ask("yank", json!({"package": "tool@1.0.0", "reason": "leaks"})).await;
        let listed = node.ask("list", json!({"outdated": true})).await;
        assert_eq!(row(listed), (json!("1.0.0"), json!("1.1.0"), json!("1.1.0"), json!("leaks")));
        node.ask("install", json!({"packages": ["tool@1.1.0"]})).await;
        assert_eq!(node.ask("list", json!({"outdated": true})).await["packages"], json!([]));
    });
}

#[test]
fn licences_that_are_not_allowed_are_listed_and_not_installed() {
    block_on(async {
        let node = Node::new("licenses: {allow: [MIT], exceptions: [known]}").await;
        node.publish(&node.package("free", "1.0.0", "license: MIT OR GPL-3.0-only", "")).await;
        node.publish(&node.package("known", "1.0.0", "license: Apache-2.0", "")).await;
        node.publish(&node.package("other", "1.0.0", "license: Apache-2.0", "")).await;
        let needs = "  dependencies: [{name: other, version: ^1.0}]\n";
        node.publish(&node.package("user", "1.0.0", "license: MIT", needs)).await;
        node.ask("install", json!({"packages": ["free", "known"]})).await;
        node.ask("licenses", json!({})).await;
        let error = node.refusal("install", json!({"packages": ["user"]})).await;
        assert_eq!(error.to_string(), "other@1.0.0 is not allowed here by its licence: `Apache-2.0` is not allowed");
        assert_eq!(error.code, Code::POLICY_DENIED);
        assert_eq!(node.ask("list", json!({})).await["packages"].as_array().map(Vec::len), Some(2));
        let error = node.refusal("licenses", json!({"packages": ["user"]})).await;
        let answer = error.detail.answer.as_ref().expect("the whole list goes with it");
        assert_eq!(answer.data["packages"].as_array().map(Vec::len), Some(2));
        assert_eq!(error.detail.name.as_deref(), Some("LICENCE_REFUSED"));
    });
}

#[test]
fn bills_of_materials_are_what_the_readers_of_both_forms_take() {
    use cyclonedx_bom::validation::Validate;

    block_on(async {
        let node = Node::with_ray_tracer().await;
        let out = node.home.path().join("sbom.json");
        node.ask("sbom", json!({"out": out})).await;
        let bill = std::fs::read(&out).expect("written");
        let bill = cyclonedx_bom::models::bom::Bom::parse_json_value(serde_json::from_slice(&bill).expect("is JSON"));
        let bill = bill.expect("reads");
        assert!(bill.validate().passed(), "{:?}", bill.validate());
        assert_eq!(bill.components.map(|all| all.0.len()), Some(3));
        let spdx = node.ask("sbom", json!({"format": "spdx"})).await;
        let read: spdx_rs::models::SPDX = serde_json::from_value(spdx["sbom"].clone()).expect("reads");
        assert_eq!(read.package_information.len(), 3);
        assert_eq!(read.relationships.len(), 4);
        let again = node.ask("sbom", json!({"format": "spdx"})).await;
        let name = |bill: &Json| bill["sbom"]["documentNamespace"].clone();
        assert_eq!(name(&again), name(&spdx), "the same packages have the same name");
    });
}

#[test]
fn opinions_are_counted_once_and_lead_to_recommendations() {
    block_on(async {
        let node = Node::with_ray_tracer().await;
        let refused = node.refusal("rate", json!({"package": "statistics", "stars": 5})).await;
        assert_eq!(refused.to_string(), "package `statistics` is not installed");
        node.ask("rate", json!({"package": "vec3", "stars": 2})).await;
        let noted = node.ask("rate", json!({"package": "vec3", "stars": 5, "comment": "does what it says"})).await;
        assert_eq!((&noted["average"], &noted["ratings"]), (&json!(5.0), &json!(1)));
        let info = node.ask("info", json!({"package": "vec3"})).await;
        assert_eq!((&info["rating"]["average"], &info["dependents"]), (&json!(5.0), &json!(2)));
        assert_eq!(info["opinions"][0]["comment"], "does what it says");
        assert!(node.refusal("rate", json!({"package": "vec3", "stars": 6})).await.to_string().contains("6 stars"));

        // A package that builds on what is installed comes first, and nothing that is installed comes at all.
        let needs = "  dependencies: [{name: vec3, version: ^1.0}]\n";
        node.publish(&node.package("scene", "1.0.0", "license: MIT", needs)).await;
        let first = node.ask("recommend", json!({})).await;
        let names: Vec<&str> =
            first["results"].as_array().expect("a list").iter().filter_map(|r| r["name"].as_str()).collect();
        assert_eq!(first["results"][0]["reasons"][0], "builds on vec3");
        assert!(names.contains(&"scene") && !names.contains(&"vec3") && !names.contains(&"ray-tracer"), "{names:?}");
        assert_eq!(node.ask("recommend", json!({})).await, first, "it is the same every time");
        assert_eq!(node.ask("recommend", json!({"limit": 1})).await["results"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_name_has_the_owner_who_published_it_first() {
    block_on(async {
        let node = Node::with_ray_tracer().await;
        let owners = node.ask("owner list", json!({"package": "vec3"})).await;
        assert_eq!(owners["owners"], json!(["local.pub.trustchain"]));
        assert_eq!(node.ask("owner list", json!({"package": "nobodys"})).await["owners"], json!([]));
        let text = node.text("owner list", json!({"package": "acme/vec3"})).await;
        assert_eq!(text, "`acme/` belongs to publishers whose certificate names the namespace\n");
    });
}

#[test]
fn an_update_goes_as_far_as_it_is_told_and_changes_nothing_else() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let needs = "  dependencies: [{name: base, version: '>=1.0'}]\n";
        for version in ["1.0.0", "1.1.0"] {
            node.publish(&node.package("base", version, "license: MIT", "")).await;
            node.publish(&node.package("other", version, "license: MIT", "")).await;
            node.publish(&node.package("tool", version, "license: MIT", needs)).await;
            if version == "1.0.0" {
                node.ask("install", json!({"packages": ["tool@^1.0", "other"]})).await;
            }
        }
        for name in ["base", "tool"] {
            node.publish(&node.package(name, "2.0.0", "license: MIT", if name == "tool" { needs } else { "" })).await;
        }
        let versions = async || {
            let list = node.ask("list", json!({})).await;
            let rows = list["packages"].as_array().expect("a list").clone();
            rows.iter().map(|row| format!("{} {}", row["name"], row["version"]).replace('"', "")).collect::<Vec<_>>()
        };
        assert_eq!(versions().await, ["base 1.0.0", "other 1.0.0", "tool 1.0.0"]);
        let plan = node.text("update", json!({"dry_run": true})).await;
        insta::assert_snapshot!(plan, @r"
        ~ base 1.0.0 -> 1.1.0
        ~ other 1.0.0 -> 1.1.0
        ~ tool 1.0.0 -> 1.1.0
        nothing was changed; 3 packages would be installed in all
        ");
        node.ask("update", json!({"packages": ["tool"]})).await;
        assert_eq!(versions().await, ["base 1.0.0", "other 1.0.0", "tool 1.1.0"]);
        node.ask("update", json!({"packages": ["base"], "strategy": "safe"})).await;
        assert_eq!(versions().await, ["base 1.1.0", "other 1.0.0", "tool 1.1.0"]);
        node.ask("update", json!({"packages": ["tool", "base"], "strategy": "latest"})).await;
        assert_eq!(versions().await, ["base 2.0.0", "other 1.0.0", "tool 2.0.0"]);
        // From here on it is what somebody asked for.
        assert_eq!(node.ask("why", json!({"package": "tool"})).await["asked_for"], "^2.0.0");
        node.ask("update", json!({})).await;
        assert_eq!(versions().await, ["base 2.0.0", "other 1.1.0", "tool 2.0.0"]);
        assert!(node.text("update", json!({})).await.starts_with("nothing to do"));
        let error = node.refusal("update", json!({"packages": ["othre"]})).await;
        assert_eq!(error.detail.help.as_deref(), Some("did you mean `other`?"));
    });
}
