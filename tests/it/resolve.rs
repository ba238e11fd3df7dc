//! Resolving at the command line: universes in files, lockfiles after a merge, and what the node has.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;

/// A home with Catalog, and the directory that commands run in.
struct Node(TempDir);

const LIBRARY: &str = "return {}\n";
const INDEX: &str = r#"{"name":"Foo_Bar","version":"1.0.0","dependencies":[{"name":"rand","req":"^0.8"}]}
{"name":"rand","version":"0.8.5"}
{"name":"rand","version":"0.9.0"}
"#;

impl Node {
    fn new() -> Self {
        Self(programs::home())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).expect("is there")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).expect("written");
    }

    /// Runs a verb and gives its exit code and the JSON of its last line.
    fn json(&self, words: &[&str]) -> (i32, Json) {
        let mut command = Command::new(programs::host_sim());
        command.env_remove("RUST_LOG").env("HOME", self.path()).current_dir(self.path()).stdin(Stdio::null());
        let output = command.arg("--home").arg(self.path()).args(["--json", "catalog"]).args(words).output();
        let output = output.expect("starts");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let json = serde_json::from_str(stdout.lines().last().unwrap_or_default());
        (output.status.code().unwrap_or(-1), json.unwrap_or_else(|error| panic!("{error}: {stdout}")))
    }

    fn good(&self, words: &[&str]) -> Json {
        let (code, json) = self.json(words);
        assert_eq!((code, &json["ok"]), (0, &json!(true)), "{words:?}: {json}");
        json
    }

    fn refused(&self, words: &[&str]) -> Json {
        let (code, json) = self.json(words);
        assert_eq!((code, &json["ok"]), (1, &json!(false)), "{words:?}: {json}");
        json
    }

    /// Writes a package of one Lua file with further lines of its `spec`, in a version of its own.
    fn package(&self, name: &str, version: &str, rest: &str) -> String {
        let directory = programs::package(self.path(), name, "lua-library", rest, LIBRARY);
        let manifest = directory.join("package.yaml");
        let text =
            fs::read_to_string(&manifest).expect("reads").replace("version: 1.0.0", &format!("version: {version}"));
        fs::write(manifest, text).expect("written");
        format!("./{name}")
    }
}

fn versions(answer: &Json) -> Vec<String> {
    let packages = answer["packages"].as_array().expect("is a list").iter();
    packages.map(|package| format!("{} {}", package["name"], package["version"]).replace('"', "")).collect()
}

#[test]
fn a_universe_in_a_file_is_resolved_or_its_conflict_explained() {
    let node = Node::new();
    node.write("index.ndjson", INDEX);
    node.write("both.json", r#"[{"name":"Foo_Bar","req":"*","features":[]},{"name":"rand","req":"^0.9"}]"#);
    let words = ["resolve", "--index", "index.ndjson", "--requirements", "both.json"];
    let majors = node.good(&[&words[..], &["--mode", "majors"]].concat());
    assert_eq!(versions(&majors), ["Foo_Bar 1.0.0", "rand 0.8.5", "rand 0.9.0"]);
    let refused = node.refused(&words);
    let explanation = refused["explanation"].as_str().expect("is there");
    assert!(explanation.contains("so no version of `rand` meets both `^0.8` and `^0.9`"), "{explanation}");
    assert_eq!(refused["error"]["name"], "UNSATISFIABLE");
    node.write("index.ndjson", &format!("{INDEX}{{\"name\":\"a\"}}\n"));
    let wrong = node.refused(&words);
    assert_eq!(wrong["error"]["name"], "INVALID_UNIVERSE");
    assert!(wrong["error"]["chain"][0].as_str().is_some_and(|text| text.starts_with("line 4: ")), "{wrong}");
    for words in [&["resolve"][..], &["resolve", "a", "--index", "index.ndjson"], &["resolve", "--mode", "single"]] {
        assert_eq!(node.refused(words)["error"]["code"], "INVALID_ARGUMENT");
    }
}

/// Makes `app`, which needs two packages, and its lockfile as it was after each of three versions of these was published.
fn app_with_locks(node: &Node) -> (String, Vec<String>) {
    let app = node.package(
        "app",
        "1.0.0",
        "  dependencies:\n    - {name: lib, version: ^1}\n    - {name: other, version: ^1}\n",
    );
    let mut locks = Vec::new();
    for minor in 0..3 {
        let version = format!("1.{minor}.0");
        let new = [node.package("lib", &version, ""), node.package("other", &version, "")];
        node.good(&["publish", &new[0], &new[1]]);
        let _ = fs::remove_file(node.path().join("app/catalog.lock"));
        node.good(&["resolve", &app, "--lock", &app]);
        locks.push(node.read("app/catalog.lock"));
    }
    (app, locks)
}

fn conflicted(ours: &str, theirs: &str) -> String {
    format!("<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n")
}

#[test]
fn a_lockfile_with_the_marks_of_a_merge_is_made_whole() {
    let node = Node::new();
    let (app, locks) = app_with_locks(&node);
    let text = conflicted(&locks[0], &locks[1]);
    node.write("app/catalog.lock", &text);
    let mended = node.good(&["resolve", &app, "--lock", &app]);
    assert_eq!((versions(&mended), &mended["merged"]), (vec!["lib 1.1.0".into(), "other 1.1.0".into()], &json!(true)));
    let written = node.read("app/catalog.lock");
    assert_eq!((&written, written == locks[2]), (&locks[1], false), "the higher of what was locked, and clean");
    assert_eq!(node.good(&["resolve", &app, "--lock", &app])["merged"], json!(false));
    node.write("app/catalog.lock", &text.replacen("version = 1\n", "version = one\n", 1));
    assert_eq!(node.refused(&["resolve", &app])["error"]["name"], "INVALID_LOCKFILE");
}

#[test]
fn an_installation_resolves_what_a_merge_left_of_a_lockfile() {
    let node = Node::new();
    let (app, locks) = app_with_locks(&node);
    let text = conflicted(&locks[1], &locks[0]);
    node.write("app/catalog.lock", &text);
    let install = ["install", "--lockfile", &app];
    let refused = node.refused(&[&install[..], &["--frozen"]].concat());
    assert_eq!(refused["error"]["name"], "LOCKFILE_UNMERGED", "nothing may be chosen: {refused}");
    let planned = node.good(&[&install[..], &["--dry-run"]].concat());
    assert_eq!(
        (&planned["merged"], node.read("app/catalog.lock")),
        (&json!(true), text.clone()),
        "nothing was changed"
    );
    let installed = node.good(&install);
    assert_eq!(versions(&installed), ["lib 1.1.0", "other 1.1.0"]);
    assert_eq!((&installed["merged"], node.read("app/catalog.lock")), (&json!(true), locks[1].clone()));
    let again = node.good(&[&install[..], &["--frozen"]].concat());
    assert_eq!((&again["merged"], &again["generation"]), (&json!(false), &installed["generation"]));
    // A merge without marks that lost what one side took out.
    let lost = locks[1].find("[[package]]\nname = \"other\"").map(|at| locks[1][..at].to_owned()).expect("is the last");
    node.write("app/catalog.lock", &lost);
    let installed = node.good(&install);
    assert_eq!(
        (&installed["merged"], versions(&installed)),
        (&json!(true), vec!["lib 1.1.0".into(), "other 1.2.0".into()])
    );
    // Without a package beside it nobody knows what it is for.
    fs::create_dir(node.path().join("lone")).expect("is made");
    node.write("lone/catalog.lock", &text);
    node.refused(&["install", "--lockfile", "lone/catalog.lock"]);
    assert_eq!(node.read("lone/catalog.lock"), text);
    assert_eq!(versions(&node.good(&["list"])), ["lib 1.1.0", "other 1.2.0"], "what was refused changed nothing");
}

#[test]
fn lowest_versions_and_those_of_a_time_are_chosen() {
    let node = Node::new();
    for version in ["1.0.0", "1.1.0"] {
        let lib = node.package("lib", version, "");
        node.good(&["publish", &lib]);
    }
    assert_eq!(versions(&node.good(&["resolve", "lib"])), ["lib 1.1.0"]);
    assert_eq!(versions(&node.good(&["resolve", "lib", "--minimal-versions", "--offline"])), ["lib 1.0.0"]);
    assert_eq!(versions(&node.good(&["resolve", "lib", "--minimal-direct"])), ["lib 1.0.0"]);
    assert_eq!(versions(&node.good(&["resolve", "lib", "--exclude-newer", "2100-01-01"])), ["lib 1.1.0"]);
    let refused = node.refused(&["resolve", "lib", "--exclude-newer", "1w"]);
    assert!(refused["hints"][0].as_str().is_some_and(|hint| hint.contains("newer than")), "{refused}");
    let wrong = node.refused(&["resolve", "lib", "--exclude-newer", "soon"]);
    assert!(wrong["error"]["help"].as_str().is_some_and(|help| help.contains("`7d`")), "{wrong}");
}

#[test]
fn what_the_node_lacks_is_told_before_anything_is_fetched() {
    let node = Node::new();
    let light = node.package(
        "light",
        "1.0.0",
        "  dependencies:\n    - {name: __memory, version: '>=1'}\n    - {name: __runtime-lua, version: ^5.4}\n",
    );
    let heavy = node.package("heavy", "1.0.0", "  dependencies:\n    - {name: __gpu, version: '>=1000'}\n");
    assert_eq!(versions(&node.good(&["resolve", &light])), Vec::<String>::new());
    let refused = node.refused(&["resolve", &heavy]);
    let conclusion = refused["conclusions"][0].as_str().expect("is there");
    assert!(conclusion.starts_with("this node has "), "{conclusion}");
    let elsewhere = node.good(&["resolve", &heavy, "--platform", "windows-x86_64"]);
    assert_eq!(versions(&elsewhere), Vec::<String>::new(), "nothing is known of other nodes");
    let named = node.package("named", "1.0.0", "");
    let manifest = node.path().join("named/package.yaml");
    let text = fs::read_to_string(&manifest).expect("reads").replace("name: named", "name: __gpu");
    fs::write(manifest, text).expect("written");
    let refused = node.refused(&["validate", &named]);
    assert_eq!(refused["error"]["faults"][0]["code"], "INVALID_NAME", "{refused}");
}
