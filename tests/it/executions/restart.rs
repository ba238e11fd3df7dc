//! Executions through the command line: followed, detached, and after their node was killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::super::programs;

/// The longest a test waits for something to become visible.
const SOON: Duration = Duration::from_secs(60);

/// A node that is killed when the test ends.
struct Up(Child);

impl Up {
    fn new(home: &Path) -> Self {
        let mut process = command(home).args(["up", "--json"]).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("is piped")).read_line(&mut line).expect("reads");
        assert!(line.contains("\"Running\""), "{line}");
        Self(process)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env("HOME", home).current_dir(home).arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn json(home: &Path, words: &[&str]) -> Json {
    let output = command(home).arg("--json").args(words).output().expect("starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let answer: Json = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("is JSON");
    assert_eq!(answer["ok"], true, "{words:?}: {answer}");
    answer
}

fn becomes(home: &Path, id: &str, state: &str) -> Json {
    let began = Instant::now();
    loop {
        let record = json(home, &["catalog", "ps", id]);
        if record["state"] == state {
            return record;
        }
        assert!(began.elapsed() < SOON, "does not become {state}: {record}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_ran_when_its_node_was_killed_has_failed_and_holds_nothing() {
    let home = programs::home();
    let home = home.path();
    let rest = "  resources: {execution_timeout: 60s}\n  execution: {max_concurrent: 1}\n";
    let endless = "return function() print('begun') while true do end end\n";
    programs::package(home, "endless", "lua-script", rest, endless);
    let mut node = Up::new(home);
    let detach =
        || json(home, &["catalog", "run", "./endless", "--detach"])["execution"].as_str().expect("an id").to_owned();
    let (running, waiting) = (detach(), detach());
    becomes(home, &running, "Running");
    assert_eq!(json(home, &["status"])["leases"], 1);
    node.0.kill().expect("is killed");
    node.0.wait().expect("is reaped");
    // Without a node, by a command that opens what it left.
    for id in [&running, &waiting] {
        let record = becomes(home, id, "Failed");
        assert!(record["error"].as_str().is_some_and(|error| error.contains("the node ended")), "{record}");
    }
    let _again = Up::new(home);
    assert_eq!(json(home, &["status"])["leases"], 0);
    assert_eq!(json(home, &["catalog", "ps", "--active"])["executions"], Json::Array(Vec::new()));
    let third = detach();
    becomes(home, &third, "Running");
    json(home, &["catalog", "kill", &third]);
    becomes(home, &third, "Terminated");
    let metrics = command(home).arg("metrics").output().expect("starts");
    let counted = "hypermesh_catalog_executions_ended_total{extension=\"catalog\",state=\"terminated\"} 1\n";
    assert!(String::from_utf8_lossy(&metrics.stdout).contains(counted), "{}", String::from_utf8_lossy(&metrics.stdout));
    assert_eq!(json(home, &["catalog", "logs", &third, "--follow"])["stdout"], "begun\n");
}

#[test]
fn output_is_followed_and_input_read_on_the_command_line() {
    let home = programs::home();
    let home = home.path();
    programs::package(
        home,
        "greets",
        "lua-script",
        "",
        "return function(o) print('hello ' .. o.name) return o.size end\n",
    );
    std::fs::write(home.join("input.json"), r#"{"name": "Ada", "size": [1, 2]}"#).expect("written");
    let output = command(home)
        .args(["catalog", "run", "./greets", "--input", "@input.json", "--follow"])
        .output()
        .expect("starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.starts_with("=> [1, 2]"), "the result alone: {stdout}{stderr}");
    assert!(stderr.contains("hello Ada\n"), "{stderr}");
    let missing =
        command(home).args(["--json", "catalog", "run", "./greets", "--input", "@nothing"]).output().expect("starts");
    assert_eq!(missing.status.code(), Some(1), "{}", String::from_utf8_lossy(&missing.stdout));
    // Without a node, what one command ran the next one remembers.
    let ran = json(home, &["catalog", "ps"]);
    let id = ran["executions"][0]["execution"].as_str().expect("an id");
    let file = home.join("run.receipt");
    json(home, &["catalog", "receipt", id, "--out", "run.receipt"]);
    assert!(file.is_file());
    assert_eq!(json(home, &["catalog", "receipt", "./run.receipt", "--verify"])["verified"], true);
}
