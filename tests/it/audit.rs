//! Advisories through the verbs of the loaded library: what is known against installed packages, and how it is told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use hypermesh_abi::{Code, Error, Fault};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;

/// A host with Catalog, loaded from a bundle, with the example packages published.
struct Node {
    host: Host,
    home: TempDir,
}

impl Node {
    async fn new() -> Self {
        let home = programs::bare_home();
        let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("options") };
        let host = Host::open(options).expect("opens");
        let bundle = home.path().join("bundle");
        programs::install(&bundle, "vm: true");
        host.load(Source::Bundle(bundle)).await.expect("loads");
        let node = Self { host, home };
        node.ask("publish", json!({"directories": programs::examples()})).await;
        node
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.try_ask(verb, params).await.expect_err("is refused")
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    async fn text(&self, verb: &str, params: Json) -> String {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.unwrap_or_else(|error| panic!("`{verb}`: {error}")).text
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn has_database(&self) -> bool {
        let files = walkdir::WalkDir::new(self.home.path()).into_iter().filter_map(Result::ok);
        files.into_iter().any(|file| file.file_name() == "advisories.sqlite")
    }

    /// Writes records into a directory and imports it.
    async fn import(&self, records: &[Json]) -> Json {
        let directory = tempfile::tempdir().expect("a directory");
        for record in records {
            let id = record["id"].as_str().expect("has an id");
            std::fs::write(directory.path().join(format!("{id}.json")), record.to_string()).expect("written");
        }
        self.ask("advisories import", json!({"path": directory.path()})).await
    }
}

const HIGH: &str = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N";
const LOW: &str = "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N";

/// Makes a record about all versions of a package below one.
fn record(id: &str, package: &str, fixed: &str, vector: &str) -> Json {
    json!({"schema_version": "1.7.0", "id": id, "modified": "2026-03-01T00:00:00Z", "summary": format!("{package} is weak"),
        "severity": [{"type": "CVSS_V3", "score": vector}],
        "references": [{"type": "ADVISORY", "url": format!("https://example.org/{id}")}],
        "affected": [{"package": {"ecosystem": "HyperMesh", "name": package},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}]})
}

fn with(mut record: Json, field: &str, value: Json) -> Json {
    record[field] = value;
    record
}

/// Gives the answer that goes with a refusal.
fn answer(error: &Error) -> &Json {
    &error.detail.answer.as_ref().expect("has an answer").data
}

#[test]
fn a_dependency_in_an_advisory_is_flagged_with_its_id() {
    block_on(async {
        let node = Node::new().await;
        node.ask("install", json!({"packages": ["ray-tracer"]})).await;
        let records = [
            with(record("HM-2026-0001", "vec3", "99.0.0", HIGH), "aliases", json!(["CVE-2026-1"])),
            with(record("CVE-2026-1", "vec3", "99.1.0", LOW), "aliases", json!([])),
            with(record("HM-2026-0002", "vec3", "99.0.0", HIGH), "withdrawn", json!("2026-04-01T00:00:00Z")),
            record("HM-2026-0003", "vec3", "0.0.1", HIGH),
            record("HM-2026-0004", "geometry", "99.0.0", LOW),
            record("HM-2026-0005", "statistics", "99.0.0", HIGH),
        ];
        assert_eq!(node.import(&records).await["added"], 6);
        let error = node.refusal("audit", json!({})).await;
        assert_eq!(
            (error.code, error.fault, error.detail.name.as_deref()),
            (Code::POLICY_DENIED, Fault::POLICY, Some("VULNERABLE"))
        );
        assert_eq!(error.to_string(), "2 findings are rated low or worse in 3 packages");
        let ids: Vec<&str> = error.detail.faults.iter().map(|fault| fault.code.as_str()).collect();
        assert_eq!(ids, ["HM-2026-0004", "HM-2026-0001"], "by package; the withdrawn and the mended are not there");
        let fault = &error.detail.faults[1];
        assert_eq!(fault.message, "vec3 1.0.0: vec3 is weak (high 7.5; also CVE-2026-1), there for ray-tracer -> vec3");
        assert_eq!(fault.hint.as_deref(), Some("vec3 99.1.0 mends it"));
        let found = &answer(&error)["findings"][1];
        assert_eq!(
            (&found["ids"], &found["path"]),
            (&json!(["HM-2026-0001", "CVE-2026-1"]), &json!(["ray-tracer", "vec3"]))
        );
        let text = node.text("audit", json!({"level": "critical"})).await;
        insta::with_settings!({filters => vec![(r"of 20\S+Z", "of [time]")]}, {
            insta::assert_snapshot!(text, @r"
            geometry 1.2.0: HM-2026-0004 (low 3.1)
              title     geometry is weak
              fixed in  99.0.0
              why       ray-tracer -> geometry
              read      https://example.org/HM-2026-0004
            vec3 1.0.0: HM-2026-0001 (high 7.5)
              title     vec3 is weak
              also      CVE-2026-1
              fixed in  99.1.0
              why       ray-tracer -> vec3
              read      https://example.org/CVE-2026-1
            3 packages held against 5 advisories of [time]: 2 below level critical
            ");
        });
    });
}

#[test]
fn the_level_and_exceptions_decide_what_is_refused() {
    block_on(async {
        let node = Node::new().await;
        node.ask("install", json!({"packages": ["geometry"]})).await;
        node.import(&[
            record("HM-1", "vec3", "99.0.0", LOW),
            with(record("HM-2", "geometry", "99.0.0", HIGH), "severity", json!([])),
        ])
        .await;
        // What nobody has rated counts as high.
        let error = node.refusal("audit", json!({"level": "high"})).await;
        let severities: Vec<&str> = error.detail.faults.iter().map(|fault| fault.severity.as_str()).collect();
        assert_eq!(
            (error.to_string().as_str(), severities),
            ("1 finding is rated high or worse in 2 packages", vec!["error", "warning"])
        );
        assert_eq!(node.ask("audit", json!({"level": "critical"})).await["denied"], 0);
        let ignored = json!({"ignore": ["hm-1=not reached", "HM-2=accepted until May", "HM-9=gone"]});
        let audited = node.ask("audit", ignored.clone()).await;
        assert_eq!(
            (&audited["findings"], audited["ignored"][1]["ignored"].as_str()),
            (&json!([]), Some("not reached"))
        );
        assert_eq!(audited["warnings"], json!(["`HM-9` is to be ignored, and was not found"]));
        let text = node.text("audit", ignored).await;
        assert!(text.contains("ignored   accepted until May"), "{text}");
        for wrong in ["HM-1", "HM-1=", "=why"] {
            let error = node.refusal("audit", json!({"ignore": [wrong]})).await;
            assert_eq!(error.to_string(), format!("parameter `ignore`: `{wrong}` has no reason"));
        }
    });
}

#[test]
fn without_advisories_an_audit_says_so() {
    block_on(async {
        let node = Node::new().await;
        node.ask("install", json!({"packages": ["vec3"]})).await;
        let audited = node.ask("audit", json!({})).await;
        assert_eq!((&audited["advisories"], &audited["imported_at"]), (&json!(0), &Json::Null));
        let text = node.text("audit", json!({})).await;
        assert_eq!(
            text,
            "warning: no advisories were imported, so nothing can be found; `catalog advisories import PATH` imports some\n"
        );
        assert!(!node.has_database(), "asking makes no database");
        assert!(node.text("advisories list", json!({})).await.starts_with("no advisories"));
        let other = json!({"id": "N-1", "modified": "2026-01-01T00:00:00Z", "affected": [{"package": {"ecosystem": "npm", "name": "vec3"}}]});
        assert_eq!(node.import(&[other]).await["other_ecosystems"], 1);
        assert!(node.has_database());
        let text = node.text("audit", json!({})).await;
        assert!(text.contains("has no advisory about packages of HyperMesh"), "{text}");
    });
}

#[test]
fn packages_that_are_not_installed_and_lockfiles_are_audited() {
    block_on(async {
        let node = Node::new().await;
        node.import(&[record("HM-1", "vec3", "99.0.0", HIGH)]).await;
        assert_eq!(node.ask("audit", json!({})).await["packages"], 0, "nothing is installed");
        let error = node.refusal("audit", json!({"packages": ["ray-tracer"]})).await;
        assert_eq!(error.to_string(), "1 finding is rated low or worse in 3 packages");
        node.ask("install", json!({"packages": ["ray-tracer", "statistics"]})).await;
        assert_eq!(node.ask("audit", json!({"packages": ["statistics"]})).await["findings"], json!([]));
        assert_eq!(node.refusal("audit", json!({"packages": ["geometry"]})).await.detail.faults.len(), 1);
        node.ask("resolve", json!({"packages": ["geometry"], "lock": node.home.path()})).await;
        let lockfile = node.path("catalog.lock");
        let error = node.refusal("audit", json!({"lockfile": lockfile})).await;
        assert_eq!(answer(&error)["findings"][0]["path"], json!(["geometry", "vec3"]));
        std::fs::write(&lockfile, "version = 1\n").expect("written");
        let error = node.refusal("audit", json!({"lockfile": lockfile})).await;
        assert_eq!((error.code, error.detail.name.as_deref()), (Code::INVALID_ARGUMENT, Some("INVALID_LOCKFILE")));
        let error = node.refusal("audit", json!({"lockfile": lockfile, "packages": ["vec3"]})).await;
        assert_eq!(error.to_string(), "parameters `packages` and `lockfile` exclude each other");
    });
}

#[test]
fn an_import_is_all_or_nothing_and_names_what_is_wrong() {
    block_on(async {
        let node = Node::new().await;
        node.import(&[record("HM-1", "vec3", "99.0.0", HIGH)]).await;
        let directory = node.path("advisories");
        std::fs::create_dir(&directory).expect("made");
        let write =
            |name: &str, record: &Json| std::fs::write(directory.join(name), record.to_string()).expect("written");
        write("a.json", &record("HM-2", "vec3", "99.0.0", HIGH));
        write("b.json", &with(record("HM-3", "vec3", "99.0.0", HIGH), "aliases", json!("CVE-1")));
        let error = node.refusal("advisories import", json!({"path": directory, "replace": true})).await;
        assert_eq!((error.code, error.detail.name.as_deref()), (Code::INVALID_ARGUMENT, Some("INVALID_ADVISORY")));
        let said = "b.json: record `HM-3`: `aliases`: invalid type: string \"CVE-1\", expected a sequence";
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(node.ask("advisories list", json!({})).await["total"], 1);
        write("b.json", &record("HM-3", "geometry", "99.0.0", LOW));
        let imported = node.ask("advisories import", json!({"path": directory, "replace": true})).await;
        assert_eq!((&imported["added"], &imported["removed"]), (&json!(2), &json!(1)));
        let listed = node.ask("advisories list", json!({"package": "geometry"})).await;
        assert_eq!((&listed["advisories"][0]["id"], listed["total"].as_u64()), (&json!("HM-3"), Some(1)));
        let error = node.refusal("advisories import", json!({"path": node.path("absent")})).await;
        assert_eq!(error.code, Code::NOT_FOUND, "{error}");
    });
}

#[test]
fn findings_are_written_as_sarif() {
    block_on(async {
        let node = Node::new().await;
        node.ask("install", json!({"packages": ["ray-tracer"]})).await;
        node.import(&[record("HM-1", "vec3", "99.0.0", HIGH), record("HM-2", "geometry", "99.0.0", LOW)]).await;
        let file = node.path("audit.sarif");
        let error = node.refusal("audit", json!({"sarif": file, "ignore": ["HM-2=accepted"]})).await;
        assert_eq!(error.detail.answer.as_ref().map(|answer| answer.text.as_str()), Some(""));
        let written = std::fs::read_to_string(&file).expect("is written");
        let sarif: Json = serde_json::from_str(&written).expect("is JSON");
        check_sarif(&sarif);
        let results = &sarif["runs"][0]["results"];
        let brief: Vec<_> =
            results.as_array().expect("a list").iter().map(|it| (&it["ruleId"], &it["level"])).collect();
        assert_eq!(brief, [(&json!("HM-2"), &json!("note")), (&json!("HM-1"), &json!("error"))]);
        assert_eq!(results[0]["suppressions"][0]["justification"], "accepted");
        assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][0]["properties"]["security-severity"], "7.5");
        let error = node.refusal("audit", json!({"sarif": "-", "ignore": ["HM-2=accepted"]})).await;
        assert_eq!(error.detail.answer.expect("has an answer").text, written, "it is printed beside the refusal");
        let quiet = node.text("audit", json!({"sarif": "-", "level": "critical", "packages": ["statistics"]})).await;
        let sarif: Json = serde_json::from_str(&quiet).expect("is JSON");
        check_sarif(&sarif);
        assert_eq!(sarif["runs"][0]["results"], json!([]));
    });
}

/// Holds a log against what the schema of SARIF 2.1.0 requires of the objects that are used, and what its text adds.
fn check_sarif(sarif: &Json) {
    let text = |json: &Json| json.as_str().is_some_and(|text| !text.is_empty());
    assert_eq!(sarif["version"], "2.1.0");
    assert!(sarif["$schema"].as_str().is_some_and(|url| url.ends_with("sarif-schema-2.1.0.json")));
    let runs = sarif["runs"].as_array().expect("a list");
    for run in runs {
        let driver = &run["tool"]["driver"];
        assert!(text(&driver["name"]));
        let rules = driver["rules"].as_array().expect("a list");
        let ids: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["id"].as_str()).collect();
        assert_eq!(ids.len(), rules.len(), "every rule has an id of its own");
        for rule in rules {
            assert!(text(&rule["shortDescription"]["text"]));
        }
        for result in run["results"].as_array().expect("a list") {
            assert!(text(&result["message"]["text"]), "{result}");
            assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().expect("text")));
            let index = usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("fits");
            assert_eq!(rules[index]["id"], result["ruleId"]);
            let locations = result["locations"].as_array().expect("a list");
            for location in locations {
                let place = &location["physicalLocation"];
                assert!(text(&place["artifactLocation"]["uri"]));
                assert!(place["region"]["startLine"].as_u64() >= Some(1));
                assert!(text(&location["logicalLocations"][0]["name"]));
            }
            for suppression in result["suppressions"].as_array().into_iter().flatten() {
                assert!(["inSource", "external"].contains(&suppression["kind"].as_str().expect("text")));
            }
        }
    }
    assert_eq!(runs.len(), 1);
}

#[test]
fn a_finding_ends_the_command_with_the_code_of_policy() {
    let home = programs::home();
    let run = |words: &[&str]| {
        let output = std::process::Command::new(programs::host_sim())
            .args(["--home".as_ref(), home.path().as_os_str()])
            .args(words)
            .output()
            .expect("starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let vec3 = programs::workspace().join("manifests/packages/vec3");
    let file = home.path().join("HM-1.json");
    std::fs::write(&file, record("HM-1", "vec3", "99.0.0", HIGH).to_string()).expect("written");
    let text = |path: &Path| path.display().to_string();
    assert_eq!(run(&["catalog", "publish", &text(&vec3)]).0, Some(0));
    assert_eq!(run(&["catalog", "advisories", "import", &text(&file)]).0, Some(0));
    let (code, stdout) = run(&["catalog", "audit", "vec3", "--json"]);
    let line: Json = serde_json::from_str(stdout.lines().last().expect("a line")).expect("is JSON");
    assert_eq!((code, &line["ok"], &line["error"]["code"]), (Some(5), &json!(false), &json!("POLICY_DENIED")));
    assert_eq!(line["error"]["answer"]["data"]["findings"][0]["id"], "HM-1");
    let (code, stdout) = run(&["catalog", "audit", "vec3", "--sarif", "-"]);
    check_sarif(&serde_json::from_str(&stdout).expect("is JSON"));
    assert_eq!(code, Some(5));
    assert_eq!(run(&["catalog", "audit", "vec3", "--level", "critical"]).0, Some(0));
    let (code, stdout) = run(&["catalog", "advisories", "list"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "HM-1                 high 7.5      vec3: vec3 is weak\n"));
}
