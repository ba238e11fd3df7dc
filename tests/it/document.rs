//! Documentation made by the loaded library: of packages in Lua, Julia and WebAssembly, with examples that run in the sandbox, and
//! of what changed between published versions.

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

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    /// Writes a package of these files below `spec` lines.
    fn package(&self, name: &str, version: &str, spec: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let directory = self.home.path().join("sources").join(format!("{name}-{version}"));
        std::fs::create_dir_all(&directory).expect("made");
        let manifest = format!(
            "apiVersion: catalog.v1\nmetadata: {{name: {name}, version: {version}, license: MIT}}\nspec:\n{spec}"
        );
        std::fs::write(directory.join("package.yaml"), manifest).expect("written");
        for (path, bytes) in files {
            std::fs::write(directory.join(path), bytes).expect("written");
        }
        directory
    }

    fn out(&self, name: &str) -> PathBuf {
        self.home.path().join("out").join(name)
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn states(answer: &Json) -> Vec<&str> {
    answer["examples"].as_array().expect("a list").iter().filter_map(|example| example["state"].as_str()).collect()
}

const LUA: &str = "--- Sums.\nlocal sums = {}\n\n--- Adds two numbers.\n--- ```lua\n--- local sums = require(\"sums\")\n\
                   --- print(\"adding\")\n--- return sums.add(1, 2)\n--- ```\n--- ```output\n--- adding\n--- 3\n--- ```\n\
                   ---@param a number one\n---@param b number the other\nfunction sums.add(a, b) return a + b end\n\nreturn sums\n";

#[test]
fn a_library_is_documented_with_examples_that_ran() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let vec3 = programs::workspace().join("manifests/packages/vec3");
        node.ask("publish", json!({"directories": [vec3]})).await;
        let readme = "# sums\n\nIt builds on vectors:\n\n```lua\nlocal vec3 = require(\"vec3\")\nreturn vec3.new(1, 2, 3)\n```\n\n\
                      ```lua\nreturn 1\n```\n```output\n2\n```\n\n```lua\nlocal x = 1\nerror(\"on purpose\")\n```\n\n\
                      ```lua\nwhile true do end\n```\n\n```lua no-run\nfor example\n```\n";
        let spec = "  type: lua-library\n  content: {main: sums.lua, files: [README.md]}\n  \
                    resources: {execution_timeout: 1s}\n  dependencies: [{name: vec3, version: ^1.0}]\n";
        let files = [("sums.lua", LUA.as_bytes()), ("README.md", readme.as_bytes())];
        let directory = node.package("sums", "1.0.0", spec, &files);
        let out = node.out("html");
        let answer = node.ask("doc", json!({"package": directory, "out": out})).await;
        assert_eq!(states(&answer), ["passed", "differs", "failed", "failed", "passed"], "{answer:#}");
        assert_eq!(answer["examples"][0]["result"]["output"], "{\"x\":1,\"y\":2,\"z\":3}\n");
        let message = &answer["examples"][2]["result"]["message"];
        assert!(
            message.as_str().is_some_and(|text| text.starts_with("line 2: ") && text.contains("on purpose")),
            "{message}"
        );
        assert_eq!(
            answer["examples"][4],
            json!({"origin": "sums.add", "state": "passed",
            "result": {"state": "passed", "output": "adding\n3\n"}})
        );
        let codes: Vec<&str> = answer["warnings"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|warning| warning["code"].as_str())
            .collect();
        assert_eq!(codes, ["EXAMPLE_FAILED"; 3]);
        assert_eq!(answer["api"], json!({"public": 2, "documented": 2}));
        let html = text(&out.join("index.html"));
        for part in ["Adds two numbers.", "sums.add(a, b)", "Ran as shown.", "on purpose", "for example"] {
            assert!(html.contains(part), "{part}");
        }
        let metadata: Json = serde_json::from_str(&text(&out.join("metadata.json"))).expect("is JSON");
        assert_eq!(metadata["examples"], json!({"passed": 2, "failed": 2, "differs": 1, "not_run": 0}));

        // Nothing is leased any more, and nothing was published or installed by it.
        let listed = node.ask("list", json!({"published": true})).await;
        assert_eq!(listed["packages"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn every_format_is_written_and_the_same_each_time() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let spec = "  type: lua-library\n  content: {main: sums.lua}\n";
        let directory = node.package("sums", "1.0.0", spec, &[("sums.lua", LUA.as_bytes())]);
        node.ask("publish", json!({"directories": [directory]})).await;
        let forms = [
            ("html", "index.html"),
            ("markdown", "README.md"),
            ("json", "documentation.json"),
            ("text", "documentation.txt"),
            ("pdf", "documentation.pdf"),
        ];
        for (format, file) in forms {
            let (one, two) = (node.out(&format!("{format}-1")), node.out(&format!("{format}-2")));
            let answer = node.ask("doc", json!({"package": directory, "format": format, "out": one})).await;
            node.ask("doc", json!({"package": "sums@1.0.0", "format": format, "out": two})).await;
            assert_eq!(answer["files"][0]["name"], file);
            for name in [file, "metadata.json"] {
                let read = |out: &Path| std::fs::read(out.join(name)).expect("is there");
                assert!(!read(&one).is_empty());
                assert_eq!(read(&one), read(&two), "{format}: a directory and what was published of it read alike");
            }
        }
        let readme = text(&node.out("markdown-1").join("README.md"));
        for title in [
            "Overview",
            "Install",
            "Parameters",
            "What it asks for",
            "API",
            "Examples",
            "Dependencies",
            "Security",
            "Deployment",
            "Changelog",
        ] {
            assert!(readme.contains(&format!("\n## {title}\n")), "{title}");
        }
        // Without a directory it goes to one of the node's own, and again to the same.
        let first = node.ask("doc", json!({"package": "sums", "no_run": true})).await;
        assert_eq!(states(&first), ["not_run"]);
        assert_eq!(node.ask("doc", json!({"package": "sums", "no_run": true})).await["directory"], first["directory"]);

        let foreign = node.home.path().join("sources");
        let refused = node.try_ask("doc", json!({"package": "sums", "out": foreign})).await.expect_err("is occupied");
        assert_eq!(refused.code, Code::ALREADY_EXISTS);
        assert!(!foreign.join("index.html").exists());
        let refused = node.try_ask("doc", json!({"package": "sum"})).await.expect_err("is not there");
        assert_eq!((refused.code, refused.detail.help.is_some()), (Code::NOT_FOUND, true));
    });
}

#[test]
fn what_changed_between_published_versions_is_told() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let spec = "  type: lua-library\n  content: {main: sums.lua}\n";
        let wider =
            format!("{spec}  security: {{network_access: {{enabled: true, allowed_domains: [api.example]}}}}\n");
        let later = LUA
            .replace("function sums.add(a, b)", "function sums.sub(a, b) return a - b end\nfunction sums.add(a, b, c)");
        let one = node.package("sums", "1.0.0", spec, &[("sums.lua", LUA.as_bytes())]);
        let two = node.package("sums", "1.1.0", &wider, &[("sums.lua", later.as_bytes())]);
        node.ask("publish", json!({"directories": [one]})).await;
        node.ask("publish", json!({"directories": [two]})).await;
        node.ask("yank", json!({"package": "sums@1.0.0", "reason": "adds wrong"})).await;
        let out = node.out("json");
        node.ask("doc", json!({"package": "sums", "format": "json", "out": out})).await;
        let document: Json = serde_json::from_str(&text(&out.join("documentation.json"))).expect("is JSON");
        let log = &document["changelog"];
        assert_eq!(log[0]["version"], "1.1.0");
        assert_eq!(log[0]["added"], json!(["sums.sub(a, b)"]));
        assert_eq!(log[0]["changed"], json!([["sums.add(a, b)", "sums.add(a, b, c)"]]));
        assert_eq!(log[0]["capabilities"], json!([["now wants network, to api.example", true]]));
        assert_eq!(
            (&log[1]["version"], &log[1]["before"], &log[1]["yanked"]),
            (&json!("1.0.0"), &json!(null), &json!("adds wrong"))
        );
        // It asks for what no sandbox here gives, so its examples are shown and do not run.
        assert_eq!(document["examples"][0]["result"]["state"], "not_run");
    });
}

#[test]
fn exports_of_webassembly_are_documented_and_called() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let wasm = std::fs::read(programs::workspace().join("manifests/wasm/primes/primes.wasm")).expect("is there");
        let readme = "Primes:\n\n```call\ncount(100)\n```\n```output\n25\n```\n\n```call\ncount(\n```\n";
        let spec = "  type: wasm-module\n  content: {main: primes.wasm, files: [README.md]}\n";
        let files = [("primes.wasm", wasm.as_slice()), ("README.md", readme.as_bytes())];
        let directory = node.package("primes", "1.0.0", spec, &files);
        let out = node.out("text");
        let answer = node.ask("doc", json!({"package": directory, "format": "text", "out": out})).await;
        assert_eq!(states(&answer), ["passed", "failed"], "{answer:#}");
        let text = text(&out.join("documentation.txt"));
        assert!(text.contains("-> i32") && text.contains("memory memory"), "{text}");
    });
}

#[test]
fn julia_sessions_are_held_against_what_they_give() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let runtimes = node.home.path().join("catalog/runtimes");
        std::fs::create_dir_all(runtimes.parent().expect("has one")).expect("made");
        std::os::unix::fs::symlink(super::vm::julia::home().join("runtimes"), &runtimes).expect("linked");
        let source = "\"Sums.\"\nmodule Sums\nexport add\n\"\"\"\n    add(a, b)\n\nAdds.\n\n```jldoctest\njulia> using Sums\n\n\
                      julia> add(1, 2)\n3\n\njulia> [add(1, 2.5), 1.0]\n2-element Vector{Float64}:\n```\n\n```julia\nusing Sums\n\
                      println(\"adding\")\nadd(2, 2)\n```\n```output\nadding\n4\n```\n\"\"\"\nadd(a, b) = a + b\nend\n";
        let spec = "  type: julia-library\n  content: {main: Sums.jl}\n  resources: {memory_limit: 512Mi}\n";
        let directory = node.package("sums", "1.0.0", spec, &[("Sums.jl", source.as_bytes())]);
        let out = node.out("markdown");
        let answer = node.ask("doc", json!({"package": directory, "format": "markdown", "out": out})).await;
        // What the second line shows goes on for two lines more than the session says.
        assert_eq!(states(&answer), ["differs", "passed"], "{answer:#}");
        let output = answer["examples"][0]["result"]["output"].as_str().expect("text");
        assert!(output.contains("julia> add(1, 2)\n3\n"), "{output}");
        assert!(text(&out.join("README.md")).contains("Adds"));
    });
}

#[test]
fn the_interface_of_a_module_is_documented_and_its_examples_run() {
    block_on(async {
        let node = Node::new("vm: true").await;
        let wasm = std::fs::read(programs::workspace().join("manifests/wasm/primes/primes.wasm")).expect("is there");
        let wit = "/// Counts primes.\npackage acme:primes@1.0.0;\n\n/// What counts.\ninterface counting {\n    /// Counts the \
                   primes below a number.\n    ///\n    /// ```call\n    /// count(100)\n    /// ```\n    /// ```output\n    /// 25\n    \
                   /// ```\n    count: func(below: u32) -> u32;\n}\n";
        let spec = "  type: wasm-module\n  content: {main: primes.wasm, files: [primes.wit]}\n";
        let files = [("primes.wasm", wasm.as_slice()), ("primes.wit", wit.as_bytes())];
        let package = node.package("primes", "1.0.0", spec, &files);
        let answer = node.ask("doc", json!({"package": package, "out": node.out("wit"), "format": "markdown"})).await;
        assert_eq!((states(&answer), &answer["warnings"]), (vec!["passed"], &json!([])), "{answer}");
        let page = text(&node.out("wit").join(answer["files"][0]["name"].as_str().expect("a file")));
        for said in
            ["acme:primes/counting@1.0.0", "What counts.", "count: func(below: u32) -> u32", "Counts the primes"]
        {
            assert!(page.contains(said), "{said} in\n{page}");
        }
    });
}
