//! An authority and homes that join it, each a process of the `host-sim` program.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::trust_into;

/// A process on a home, ended when the test is.
struct Running(Child);

impl Running {
    /// Starts a command and gives what it says when it is up.
    fn start(home: &Path, words: &[&str]) -> (Self, Json) {
        let mut command = command(home);
        let mut process = command.args(words).arg("--json").stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("is piped")).read_line(&mut line).expect("reads");
        (Self(process), serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env_remove("HYPERMESH_PASSPHRASE").env_remove("HYPERMESH_TOKEN").env("HOME", home);
    command.arg("--home").arg(home).stdin(Stdio::null());
    command
}

fn answer(command: &mut Command) -> (i32, Json) {
    let output = command.arg("--json").output().expect("starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let last = stdout.lines().last().unwrap_or_default();
    let json = serde_json::from_str(last);
    let json = json.unwrap_or_else(|error| panic!("{error}: {last}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap_or(-1), json)
}

fn good(home: &Path, words: &[&str]) -> Json {
    let (code, json) = answer(command(home).args(words));
    assert_eq!((code, &json["ok"]), (0, &json!(true)), "{words:?}: {json}");
    json
}

fn refused(home: &Path, words: &[&str]) -> (i32, String) {
    let (code, json) = answer(command(home).args(words));
    assert_eq!(json["ok"], json!(false), "{words:?}: {json}");
    (code, json["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

#[test]
fn homes_join_an_authority_and_learn_what_it_knows() {
    let (authority, one, other) = (empty(), empty(), empty());
    trust_into(authority.path());
    let serve = ["trust", "serve", "--listen", "127.0.0.1:0", "--may-revoke", "n2"];
    let (mut server, up) = Running::start(authority.path(), &serve);
    let address = up["address"].as_str().expect("text");
    let token = |name: &str| -> PathBuf {
        let file = authority.path().join(format!("{name}.token"));
        good(authority.path(), &["trust", "token", name, "--out", file.to_str().expect("text")]);
        file
    };
    let (first, second) = (token("n1"), token("n2"));
    let joined = good(one.path(), &["trust", "join", address, "--token-file", first.to_str().expect("text")]);
    assert_eq!(joined["path"][0], json!("CN=n1"), "{joined}");
    let again = ["trust", "join", address, "--token-file", first.to_str().expect("text")];
    assert_eq!(refused(other.path(), &again), (5, "POLICY_DENIED".to_owned()), "it was used");
    assert_eq!(refused(other.path(), &["trust", "join", address]).0, 1, "there is no token");
    let text = std::fs::read_to_string(second).expect("reads");
    let (code, joined) = answer(command(other.path()).args(["trust", "join", address]).env("HYPERMESH_TOKEN", text));
    assert_eq!((code, &joined["path"][0]), (0, &json!("CN=n2")), "{joined}");
    assert_eq!(refused(one.path(), &again), (1, "ALREADY_EXISTS".to_owned()), "it has a root");

    let serial = joined["serial"].as_str().expect("text");
    assert_eq!(good(one.path(), &["trust", "status", serial])["state"], json!("good"));
    assert_eq!(good(one.path(), &["trust", "status", "4242"])["state"], json!("unknown"));
    let fetched = good(one.path(), &["trust", "fetch", "n2"])["chain"].as_str().expect("text").to_owned();
    assert_eq!(fetched, std::fs::read_to_string(other.path().join("trust/node.pem")).expect("reads"));
    assert_eq!(refused(one.path(), &["trust", "revoke", "n2", "--remote"]).0, 5, "it is another one's");
    assert_eq!(good(other.path(), &["trust", "revoke", "n1-publisher", "--remote"])["ok"], json!(true));

    // A node that comes up asks its authority by itself.
    let publisher = one.path().join("trust/local.pem");
    let verify = ["trust", "verify", "--leaf", publisher.to_str().expect("text"), "--eku", "publisher"];
    assert_eq!(good(other.path(), &verify)["result"], json!("SUCCESS"), "it has not asked yet");
    let (_node, _) = Running::start(other.path(), &["up"]);
    let started = std::time::Instant::now();
    while answer(command(other.path()).args(verify)).1["fault"] != json!("REVOKED") {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "it was not told soon");
    }

    server.0.kill().expect("ends");
    server.0.wait().expect("ends");
    assert_eq!(refused(one.path(), &["trust", "fetch"]), (4, "IO".to_owned()));
    assert_eq!(refused(authority.path(), &["trust", "fetch"]).0, 1, "it has a root of its own");
}
