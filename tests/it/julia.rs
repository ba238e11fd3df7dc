//! Julia packages from end to end with the `host-sim` program: a runtime installed, packages published, installed and run.

use std::path::Path;
use std::process::{Command, Stdio};

use catalog::vm::julia::install::Source;
use serde_json::{Value as Json, json};

use super::programs;
use super::vm::julia::source;

/// Runs a command on a home; gives exit code, the last line as JSON, and everything else.
fn ask(home: &Path, words: &[&str]) -> (i32, Json, String) {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env("HOME", home).arg("--home").arg(home).args(words).arg("--json");
    let output = command.stdin(Stdio::null()).output().expect("starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let rest = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let last = stdout.lines().last().unwrap_or_default();
    let json: Json = serde_json::from_str(last).unwrap_or_else(|error| panic!("{words:?}: {error}: {rest}"));
    (output.status.code().unwrap_or(-1), json, rest)
}

fn good(home: &Path, words: &[&str]) -> Json {
    let (code, json, rest) = ask(home, words);
    assert!(code == 0 && json["ok"] == json!(true), "{words:?}: {code} {rest}");
    json
}

fn install_runtime(home: &Path) -> Json {
    let install = ["catalog", "runtime", "install", "julia", "--no-image"];
    match source() {
        Source::Path(path) => good(home, &[&install[..], &["--from", path.to_str().expect("UTF-8")]].concat()),
        _ => good(home, &[&install[..], &["--source", "debian"]].concat()),
    }
}

#[test]
fn a_program_with_a_library_runs_with_the_runtime_of_the_node() {
    let node = programs::home();
    let home = node.path();
    let packages = programs::workspace().join("manifests/julia");
    let [program, library] = ["portfolio-risk", "return-stats"].map(|name| packages.join(name).display().to_string());
    good(home, &["catalog", "publish", &library, &program]);
    good(home, &["catalog", "install", "portfolio-risk"]);

    let before = good(home, &["catalog", "runtime", "list"]);
    if before["runtimes"] == json!([]) {
        let (code, refused, rest) = ask(home, &["catalog", "run", "portfolio-risk"]);
        assert_eq!((code, &refused["ok"]), (3, &json!(false)), "{rest}");
        assert!(rest.contains("catalog runtime install julia"), "{rest}");
    }
    let installed = install_runtime(home);
    assert_eq!((&installed["installed"], &installed["runtimes"][0]["origin"]), (&json!(true), &json!("home")));
    let version = installed["runtimes"][0]["version"].as_str().expect("text").to_owned();
    assert_eq!(install_runtime(home)["installed"], json!(false), "what is there is not installed again");
    let listed = good(home, &["catalog", "runtime", "list"]);
    assert_eq!((&listed["runtimes"][0]["chosen"], &listed["runtimes"][0]["version"]), (&json!(true), &json!(version)));

    let ran = good(home, &["catalog", "run", "portfolio-risk", "500", "0.95"]);
    let value = &ran["value"]["$struct"];
    assert!(value["type"].as_str().is_some_and(|name| name.ends_with(".Risk")), "{ran}");
    let number = |name: &str| value["fields"][name].as_f64().expect("a number");
    assert_eq!(value["fields"]["days"], json!(500));
    assert!(number("worst") > number("value_at_risk") && number("value_at_risk") > number("deviation"), "{ran}");
    let again = good(home, &["catalog", "run", "portfolio-risk", "500", "0.95"]);
    assert_eq!(again["value"], ran["value"]);

    let (code, _, rest) = ask(home, &["catalog", "run", "portfolio-risk", "500", "2"]);
    assert_eq!(code, 1, "{rest}");
    assert!(rest.contains("quantiles.jl:3") && rest.contains("a share of"), "{rest}");

    let removed = good(home, &["catalog", "runtime", "remove", &format!("julia@{version}")]);
    assert!(removed["bytes"].as_u64().is_some_and(|bytes| bytes > 100 << 20), "{removed}");
    let (code, ..) = ask(home, &["catalog", "runtime", "remove", &format!("julia@{version}")]);
    assert_eq!(code, 1);
}

#[test]
fn bytes_that_nobody_vouches_for_are_no_runtime() {
    let node = programs::home();
    let file = node.path().join("julia.tar.gz");
    std::fs::write(&file, b"anything").expect("written");
    let file = file.display().to_string();
    let (code, _, rest) = ask(node.path(), &["catalog", "runtime", "install", "julia", "--from", &file]);
    assert!(code != 0 && rest.contains("SHA-256") && rest.contains("1.10.10"), "{code} {rest}");
    assert_eq!(ask(node.path(), &["catalog", "runtime", "install", "ruby"]).0, 2);
}

#[test]
fn what_the_node_runs_can_be_required() {
    let node = programs::home();
    let home = super::vm::julia::home();
    let runtimes = node.path().join("catalog/runtimes");
    std::fs::create_dir_all(runtimes.parent().expect("has one")).expect("made");
    std::os::unix::fs::symlink(home.join("runtimes"), &runtimes).expect("linked");
    let wants = |name: &str, version: &str| {
        let dependencies = format!("  dependencies: [{{name: __runtime-julia, version: '{version}'}}]\n");
        let main = "return function() return 1 end";
        programs::package(node.path(), name, "lua-script", &dependencies, main).display().to_string()
    };
    good(node.path(), &["catalog", "resolve", &wants("modest", ">=1.5")]);
    let (code, _, rest) = ask(node.path(), &["catalog", "resolve", &wants("demanding", ">=99")]);
    assert!(code == 1 && rest.contains("__runtime-julia"), "{code} {rest}");
}
