//! The trust level `basic`: whose packages with one signature are taken, by whom, and what that does not weaken.

use std::path::Path;
use std::process::{Command, Stdio};

use host_sim::host::{Host, HostOptions};
use host_sim::trust::{IssueOptions, KeyKind, TrustHome, Unlock};
use hypermesh_abi::{Code, Error};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use trustchain::certificate::Purpose;

use super::policy::{Node, package, tamper, violations};
use super::programs;
use super::support::block_on;

/// A publisher with an Ed25519 key alone.
const SMALL: &str = "small";

fn basic() -> Json {
    json!({"level": "basic"})
}

fn issue_small(node: &Node) {
    let trust = TrustHome::open(node.home.path()).expect("opens");
    let options = IssueOptions { keys: KeyKind::Classical, ..IssueOptions::new(Purpose::Publisher, SMALL) };
    trust.issue(&options, &Unlock::key_file()).expect("issues");
}

/// What a publisher with one key publishes.
fn of_small(node: &Node, name: &str) -> Json {
    json!({"directories": [package(node.home.path(), name, "1.0.0", "")], "publisher": SMALL})
}

/// Gives outcome and whether it is required, of the check of the post-quantum signatures.
async fn post_quantum(node: &Node, name: &str) -> (String, Json) {
    let explained = node.ask("verify", json!({"packages": [name], "explain": true})).await;
    let decision = &explained["decisions"][0];
    let check = decision["checks"].as_array().into_iter().flatten().find(|check| check["check"] == "post_quantum");
    let check = check.unwrap_or_else(|| panic!("{explained:#}"));
    (check["outcome"].as_str().unwrap_or_default().to_owned(), check["required"].clone())
}

/// Changes the signatures of the one release of a package, of a registry that never changes them, as somebody who holds
/// the file can.
fn alter_signatures(catalog: &Path, package: &str, alter: impl FnOnce(&mut Vec<Json>)) {
    tamper(catalog, "");
    let registry = Connection::open(catalog.join("registry.sqlite")).expect("opens");
    let of = "package = (SELECT id FROM packages WHERE name = ?1)";
    let sql = format!("SELECT envelope FROM statements WHERE {of}");
    let envelope: Vec<u8> = registry.query_row(&sql, [package], |row| row.get(0)).expect("is there");
    let mut envelope: Json = serde_json::from_slice(&envelope).expect("JSON");
    alter(envelope["signatures"].as_array_mut().expect("a list"));
    let sql = format!("UPDATE statements SET envelope = CAST(?2 AS BLOB) WHERE {of}");
    assert_eq!(registry.execute(&sql, [package, &envelope.to_string()]).expect("changes"), 1);
}

#[test]
fn a_publisher_with_one_key_is_refused_by_default_and_taken_where_an_administrator_says_basic() {
    block_on(async {
        let node = Node::new(json!({})).await;
        issue_small(&node);
        let error = node.refusal("publish", of_small(&node, "answer")).await;
        assert_eq!((error.code, violations(&error)[0]), (Code::POLICY_DENIED, "InvalidSignature"), "{error}");
        assert!(error.to_string().contains("`CN=small` has one key"), "{error}");

        let node = node.restart(basic(), |_| {}).await;
        let published = node.ask("publish", of_small(&node, "answer")).await;
        let warnings = published["packages"][0]["warnings"].to_string();
        assert!(warnings.contains("vouches for it with `ed25519` alone"), "{warnings}");
        node.install("answer").await.expect("installs");
        assert_eq!(node.ask("run", json!({"package": "answer"})).await["value"], 42);
        assert_eq!(post_quantum(&node, "answer").await, ("failed".to_owned(), json!(false)));
        let renewed = node.ask("feeds", json!({"renew": true})).await["renewed"].clone();
        assert_eq!(renewed, json!(["small.pub.trustchain"]), "a feed has as many signatures as its publisher has keys");
        node.publish("both", "1.0.0", "").await.expect("publishers with both keys are taken, too");
        assert_eq!(post_quantum(&node, "both").await, ("passed".to_owned(), json!(false)));

        // What came in at that level does not run at the other.
        let node = node.restart(json!({}), |_| {}).await;
        let error = node.refusal("run", json!({"package": "answer"})).await;
        assert_eq!((error.code, violations(&error)[0]), (Code::POLICY_DENIED, "InvalidSignature"), "{error}");
        node.install("both").await.expect("installs");
    });
}

#[test]
fn a_publisher_with_both_keys_signs_with_both_at_the_level_basic_too() {
    block_on(async {
        let mut node = Node::new(basic()).await;
        for (name, change, reason) in [
            ("stripped", Change::Strip, "the document is signed by `ed25519`, expected exactly"),
            ("altered", Change::Alter, "`falcon-1024-r3` signature"),
            ("left", Change::KeepFalcon, "the document is signed by `falcon-1024-r3`, expected exactly"),
            ("doubled", Change::Double, "the document is signed by `ed25519`, `ed25519`, expected exactly"),
        ] {
            node.publish(name, "1.0.0", "").await.expect("publishes");
            node = node.restart(basic(), |catalog| alter_signatures(catalog, name, |list| change.make(list))).await;
            let error = node.install(name).await.expect_err("is refused");
            assert_eq!(error.code, Code::POLICY_DENIED, "{name}: {error}");
            assert_eq!(violations(&error), ["InvalidSignature", "StaleFeed"], "{name}: {error}");
            assert!(error.to_string().contains(reason), "{name}: {error}");
        }
        node.publish("whole", "1.0.0", "").await.expect("publishes");
        node.install("whole").await.expect("what nobody touched is installed");
        let strip = |catalog: &Path| {
            let registry = Connection::open(catalog.join("registry.sqlite")).expect("opens");
            let head: Vec<u8> =
                registry.query_row("SELECT head FROM feed_heads", [], |row| row.get(0)).expect("is there");
            let mut head: Json = serde_json::from_slice(&head).expect("JSON");
            Change::Strip.make(head["signatures"].as_array_mut().expect("a list"));
            registry.execute("UPDATE feed_heads SET head = CAST(?1 AS BLOB)", [head.to_string()]).expect("changes");
        };
        let node = node.restart(basic(), strip).await;
        let error = node.install("whole").await.expect_err("is refused");
        assert_eq!(violations(&error), ["StaleFeed"], "{error}");
    });
}

/// What is done to two signatures.
#[derive(Clone, Copy)]
enum Change {
    /// The second is taken away.
    Strip,
    /// One character of the second is another.
    Alter,
    /// The first is taken away.
    KeepFalcon,
    /// The first is there twice.
    Double,
}

impl Change {
    fn make(self, signatures: &mut Vec<Json>) {
        match self {
            Self::Strip => signatures.truncate(1),
            Self::Alter => {
                let signature = signatures[1]["sig"].as_str().expect("text");
                let (before, after) = signature.split_at(signature.len() / 2);
                let other = if after.starts_with('A') { "B" } else { "A" };
                signatures[1]["sig"] = format!("{before}{other}{}", &after[1..]).into();
            }
            Self::KeepFalcon => drop(signatures.remove(0)),
            Self::Double => signatures[1] = signatures[0].clone(),
        }
    }
}

#[test]
fn the_strict_policy_is_not_basic() {
    block_on(async {
        let refused = |trust: Json| async move {
            let home = programs::bare_home();
            let options = HostOptions { child: None, ..HostOptions::new(home.path().into()).expect("options") };
            let host = Host::open(options).expect("opens");
            let error: Error = host.load(programs::linked(&json!({"trust": trust}))).await.expect_err("is refused");
            host.shutdown().await;
            error.to_string()
        };
        for trust in [
            json!({"policy": "strict", "level": "basic"}),
            json!({"policy": "custom", "level": "basic", "custom": {"base": "strict"}}),
            json!({"policy": "custom", "level": "basic", "custom": {"checks": ["signature", "post_quantum"]}}),
        ] {
            let error = refused(trust.clone()).await;
            assert!(error.contains("field `level` of the trust policy"), "{trust}: {error}");
        }
        let error = refused(json!({"level": "none"})).await;
        assert!(error.contains("trust.level"), "{error}");
    });
}

#[test]
fn a_package_has_no_say_in_the_level() {
    block_on(async {
        let node = Node::new(json!({})).await;
        issue_small(&node);
        let directory = package(node.home.path(), "answer", "1.0.0", "  security: {level: basic}\n");
        let error = node.refusal("publish", json!({"directories": [directory], "publisher": SMALL})).await;
        assert_eq!(error.code, Code::INVALID_ARGUMENT, "there is no such field: {error}");
    });
}

#[test]
fn certificates_with_one_key_are_issued_renewed_and_shown_by_the_command_line() {
    let home = programs::bare_home();
    let host_sim = |words: &[&str]| {
        let mut command = Command::new(programs::host_sim());
        command.env_remove("RUST_LOG").env_remove("HYPERMESH_PASSPHRASE").env("HOME", home.path());
        command.arg("--home").arg(home.path()).args(words).arg("--json").stdin(Stdio::null());
        let output = command.output().expect("starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_default().to_owned();
        (output.status.code(), serde_json::from_str::<Json>(&last).unwrap_or_else(|_| panic!("{text}")))
    };
    let (code, issued) = host_sim(&["trust", "issue", "publisher", SMALL, "--classical"]);
    assert_eq!((code, &issued["hybrid"]), (Some(0), &json!(false)), "{issued}");
    let (code, renewed) = host_sim(&["trust", "renew", SMALL, "--new-keys"]);
    assert_eq!((code, &renewed["hybrid"]), (Some(0), &json!(false)), "{renewed}");
    let (code, verdict) = host_sim(&["trust", "verify", "--leaf", SMALL]);
    assert_eq!((code, &verdict["fault"]), (Some(5), &json!("CLASSICAL_ONLY")), "{verdict}");
    let (code, refused) = host_sim(&["trust", "issue", "validator", "v", "--classical"]);
    assert_eq!((code, &refused["ok"]), (Some(1), &json!(false)), "{refused}");
}
