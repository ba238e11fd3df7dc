//! Search through the verbs of the loaded library: what is found, how it is told, and what an import refuses.

use std::path::PathBuf;

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use hypermesh_abi::records::Response;
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
    /// Opens one with the example packages published.
    async fn new() -> Self {
        let node = Self::bare().await;
        node.ask("publish", json!({"directories": programs::examples()})).await;
        node
    }

    async fn bare() -> Self {
        let home = programs::bare_home();
        let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("options") };
        let host = Host::open(options).expect("opens");
        let bundle = home.path().join("bundle");
        programs::install(&bundle, "vm: false");
        host.load(Source::Bundle(bundle)).await.expect("loads");
        Self { host, home }
    }

    async fn answer(&self, verb: &str, params: Json) -> Result<Response, Error> {
        self.host.request("catalog", verb, &params, RequestOptions::default()).await
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.answer(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}")).data
    }

    async fn text(&self, verb: &str, params: Json) -> String {
        self.answer(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}")).text
    }

    async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.answer(verb, params).await.expect_err("is refused")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }
}

const CORPUS: &str = r#"{"name": "g++", "version": "4:12.2", "description": "GNU C++ compiler for rays", "tags": ["devel"]}
{"name": "geometry", "version": "9.9", "description": "Elsewhere."}
"#;

fn names(found: &Json) -> Vec<&str> {
    let results = found["results"].as_array().expect("a list");
    results.iter().filter_map(|result| result["name"].as_str()).collect()
}

#[test]
fn imported_descriptions_are_found_and_told_from_packages() {
    block_on(async {
        let node = Node::new().await;
        let corpus = node.write("corpus.ndjson", CORPUS);
        let imported = node.ask("index import", json!({"file": corpus})).await;
        assert_eq!((&imported["imported"], &imported["descriptions"]), (&json!(2), &json!(2)));
        let found = node.ask("search", json!({"words": ["compilers"]})).await;
        let hit = &found["results"][0];
        assert_eq!((&hit["name"], &hit["version"], &hit["type"]), (&json!("g++"), &json!("4:12.2"), &Json::Null));
        assert_eq!((&hit["installable"], &hit["source"]), (&json!(false), &json!("import")));
        assert_eq!(hit["highlights"]["description"], json!([[8, 16]]));
        assert!(hit["score"].as_f64().is_some_and(|score| score > 0.0) && found["elapsed_us"].is_number());
        assert_eq!(
            node.text("search", json!({"words": ["compilers"]})).await,
            "g++ 4:12.2                   GNU C++ *compiler* for rays  (imported)\n"
        );
        // A package stands before a description of its name.
        let found = node.ask("search", json!({"words": ["geometry"], "limit": 1})).await;
        assert_eq!(found["results"][0]["installable"], true);
        assert!(node.refusal("info", json!({"package": "g++"})).await.to_string().contains("g++"));

        let empty = node.write("empty.ndjson", "\n");
        assert_eq!(node.refusal("index import", json!({"file": empty})).await.code, Code::INVALID_ARGUMENT);
        let gone = node.ask("index import", json!({"file": empty, "replace": true})).await;
        assert_eq!((&gone["replaced"], &gone["descriptions"]), (&json!(2), &json!(0)));
        assert_eq!(node.text("search", json!({"words": ["compilers"]})).await, "nothing found\n");
    });
}

#[test]
fn an_import_with_a_fault_names_its_line_and_changes_nothing() {
    block_on(async {
        let node = Node::bare().await;
        let corpus = node.write("corpus.ndjson", &format!("{CORPUS}{{\"name\": []}}\n"));
        let error = node.refusal("index import", json!({"file": corpus})).await;
        assert!(error.to_string().contains("corpus.ndjson:3: `name`: invalid type"), "{error}");
        assert_eq!((error.code, error.detail.name.as_deref()), (Code::INVALID_ARGUMENT, Some("INVALID_DESCRIPTION")));
        assert!(error.detail.help.is_some_and(|help| help.starts_with("nothing was imported")));
        assert_eq!(node.text("search", json!({"words": ["compilers"]})).await, "nothing found\n");
        let absent = node.refusal("index import", json!({"file": node.home.path().join("absent")})).await;
        assert_eq!(absent.code, Code::NOT_FOUND);
        let directory = node.refusal("index import", json!({"file": node.home.path()})).await;
        assert!(directory.chain.iter().any(|cause| cause.contains("not a file")), "{directory:?}");
    });
}

#[test]
fn filters_orders_and_pages_are_parameters() {
    block_on(async {
        let node = Node::new().await;
        let found = |params: Json| node.ask("search", params);
        let all = found(json!({"sort": "name", "limit": 3})).await;
        assert_eq!((names(&all).len(), &all["total"]), (3, &json!(9)));
        let next = found(json!({"sort": "name", "limit": 3, "offset": 1})).await;
        assert_eq!(names(&next)[0], names(&all)[1]);
        assert_eq!(found(json!({"tag": ["absent"]})).await["total"], json!(0));
        assert_eq!(found(json!({"version": ">=99"})).await["total"], json!(0));
        assert_eq!(found(json!({"since": "2001-01-01", "until": "2999-01-01T00:00:00Z"})).await["total"], json!(9));
        assert_eq!(found(json!({"until": "2001-01-01"})).await["total"], json!(0));
        assert_eq!(found(json!({"author": "nobody"})).await["total"], json!(0));
        let text = node.text("search", json!({"sort": "name", "limit": 3})).await;
        assert!(text.ends_with("… and 6 more; --offset 3 -n 3 shows the next\n"), "{text}");
        for (params, expected) in [
            (json!({"since": "yesterday"}), "parameter `since`: `yesterday` is no date"),
            (json!({"version": "new"}), "parameter `version`"),
            (json!({"sort": "best"}), "parameter `sort`"),
            (json!({"type": "novel"}), "`novel` is not a package type"),
            (json!({"out": "x"}), "parameter `out` is for the answers of a batch"),
            (json!({"batch": "x", "words": ["a"]}), "parameters `words` and `batch` exclude each other"),
        ] {
            let error = node.refusal("search", params).await;
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.code, Code::INVALID_ARGUMENT);
        }
    });
}

#[test]
fn a_batch_answers_every_line() {
    block_on(async {
        let node = Node::new().await;
        let queries = node.write("queries.txt", "rays spheres\n\n  geometri \nnowhere\n");
        let answered = node.ask("search", json!({"batch": queries, "limit": 2})).await;
        let batches = answered["batches"].as_array().expect("a list");
        assert_eq!(batches.len(), 3);
        assert_eq!((&batches[0]["query"], names(&batches[0])[0]), (&json!("rays spheres"), "geometry"));
        assert_eq!((&batches[1]["query"], names(&batches[1])[0]), (&json!("geometri"), "geometry"));
        assert_eq!((names(&batches[2]).len(), &batches[2]["total"]), (0, &json!(0)));
        assert!(answered["timing"]["p99_us"].as_f64() >= answered["timing"]["p50_us"].as_f64());
        let text = node.text("search", json!({"batch": queries, "limit": 1})).await;
        assert!(text.starts_with("rays spheres: geometry\ngeometri: geometry\nnowhere: -\n3 queries: p50 "), "{text}");

        let out = node.home.path().join("answers.ndjson");
        node.ask("search", json!({"batch": queries, "out": out})).await;
        let lines = std::fs::read_to_string(&out).expect("is written");
        let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((lines.len(), &lines[2]["query"]), (3, &json!("nowhere")));

        let many = node.write("many.txt", &"a\n".repeat(40_000));
        let error = node.refusal("search", json!({"batch": many})).await;
        assert!(error.detail.help.as_deref().is_some_and(|help| help.contains("--out FILE")), "{error:?}");
        let absent = node.refusal("search", json!({"batch": "absent.txt"})).await;
        assert_eq!(absent.code, Code::IO);
    });
}
