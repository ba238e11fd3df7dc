//! Trust through the verbs of the loaded library: who signs, what the policy looks at, and what it refuses.

use std::path::{Path, PathBuf};

use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions};
use host_sim::trust::{InitOptions, IssueOptions, NewKeys, SetChange, TrustHome, Unlock};
use hypermesh_abi::{Code, Error};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use trustchain::certificate::Purpose;
use trustchain::revocation::Reason;

use super::programs;
use super::support::block_on;

/// A host with Catalog, which can be stopped, tampered with and started again.
pub(super) struct Node {
    host: Host,
    pub(super) home: TempDir,
}

impl Node {
    pub(super) async fn new(trust: Json) -> Self {
        Self::on(programs::bare_home(), trust).await
    }

    async fn on(home: TempDir, trust: Json) -> Self {
        Self::judged(home, trust, Seating::OfHome).await
    }

    async fn judged(home: TempDir, trust: Json, consensus: Seating) -> Self {
        let options = HostOptions { child: None, consensus, ..HostOptions::new(home.path().into()).expect("options") };
        let host = Host::open(options).expect("opens");
        let configuration = json!({"vm": true, "trust": trust});
        host.load(programs::linked(&configuration)).await.unwrap_or_else(|error| panic!("{error}"));
        Self { host, home }
    }

    /// Stops the node, lets somebody at its files, and starts it again.
    pub(super) async fn restart(self, trust: Json, meanwhile: impl FnOnce(&Path)) -> Self {
        self.host.shutdown().await;
        drop(self.host);
        meanwhile(&self.home.path().join("catalog"));
        Self::on(self.home, trust).await
    }

    pub(super) async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    pub(super) async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.try_ask(verb, params).await.expect_err("is refused")
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| response.data)
    }

    pub(super) async fn publish(&self, name: &str, version: &str, rest: &str) -> Result<Json, Error> {
        let directory = package(self.home.path(), name, version, rest);
        self.try_ask("publish", json!({"directories": [directory]})).await
    }

    pub(super) async fn install(&self, name: &str) -> Result<Json, Error> {
        self.try_ask("install", json!({"packages": [name]})).await
    }

    fn revoke(&self, name: &str) {
        let trust = TrustHome::open(self.home.path()).expect("opens");
        trust.revoke(name, Reason::KeyCompromise, None, &Unlock::key_file()).expect("revokes");
    }
}

const VALUE: &str = "return function() return 42 end";

pub(super) fn package(home: &Path, name: &str, version: &str, rest: &str) -> PathBuf {
    let directory = programs::package(home, name, "lua-script", rest, VALUE);
    let file = directory.join("package.yaml");
    let text = std::fs::read_to_string(&file).expect("text").replace("version: 1.0.0", &format!("version: {version}"));
    std::fs::write(file, text).expect("written");
    directory
}

pub(super) fn violations(error: &Error) -> Vec<&str> {
    error.detail.faults.iter().map(|fault| fault.code.as_str()).collect()
}

/// Changes what the registry never changes, as somebody who holds the file can.
pub(super) fn tamper(catalog: &Path, sql: &str) {
    let registry = Connection::open(catalog.join("registry.sqlite")).expect("opens");
    for trigger in ["statements_never_change", "feed_entries_never_change"] {
        registry.execute_batch(&format!("DROP TRIGGER IF EXISTS {trigger}")).expect("dropped");
    }
    registry.execute_batch(sql).expect("changed");
}

#[test]
fn a_release_is_signed_listed_and_explained() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        let explained = node.ask("verify", json!({"packages": ["answer"], "explain": true})).await;
        let decision = &explained["decisions"][0];
        assert_eq!((&explained["accepted"], &decision["verdict"]), (&json!(true), &json!("allow")), "{decision:#}");
        let checks: Vec<(&str, &str)> = decision["checks"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|check| (check["check"].as_str().expect("text"), check["outcome"].as_str().expect("text")))
            .collect();
        assert_eq!(
            checks,
            [
                ("signature", "passed"),
                ("certificate", "passed"),
                ("chain", "passed"),
                ("revocation", "passed"),
                ("post_quantum", "passed"),
                ("freshness", "passed"),
                ("vulnerability", "passed"),
                ("reputation", "passed"),
                ("consensus", "not_reached"),
            ]
        );
        node.install("answer").await.expect("installs");
        let ran = node.ask("run", json!({"package": "answer"})).await;
        assert_eq!(ran["value"], 42);
        let feeds = node.ask("feeds", json!({})).await;
        assert_eq!(
            (&feeds["feeds"][0]["publisher"], &feeds["feeds"][0]["entries"]),
            (&json!("local.pub.trustchain"), &json!(1))
        );
        assert_eq!(feeds["feeds"][0]["tier"], "bronze");
        assert_eq!(node.ask("feeds", json!({"renew": true})).await["renewed"], json!(["local.pub.trustchain"]));
        node.install("answer").await.expect("a renewed head counts");
    });
}

#[test]
fn nobody_publishes_without_a_signature_unless_the_administrator_is_permissive() {
    block_on(async {
        let home = tempfile::tempdir().expect("a directory");
        let node = Node::on(home, json!({})).await;
        let error = node.publish("answer", "1.0.0", "").await.expect_err("is refused");
        assert!(error.to_string().contains("no certificates yet"), "{error}");
        assert!(error.detail.help.as_deref().is_some_and(|help| help.contains("host-sim trust init")), "{error:?}");
        let node = node.restart(json!({"policy": "permissive"}), |_| {}).await;
        let published = node.publish("answer", "1.0.0", "").await.expect("publishes");
        let warnings = published["packages"][0]["warnings"].to_string();
        assert!(warnings.contains("nobody signed it"), "{warnings}");
        node.install("answer").await.expect("installs");
        assert_eq!(node.ask("run", json!({"package": "answer"})).await["value"], 42);
        // What came in unsigned does not run under another policy.
        let node = node.restart(json!({}), |_| {}).await;
        let error = node.refusal("run", json!({"package": "answer"})).await;
        assert_eq!((error.code, violations(&error)[0]), (Code::POLICY_DENIED, "InvalidSignature"), "{error}");
    });
}

#[test]
fn whoever_changes_the_registry_is_found_out() {
    let flip =
        "UPDATE statements SET envelope = CAST(replace(CAST(envelope AS TEXT), '\"sig\":\"', '\"sig\":\"A') AS BLOB)";
    let cases = [
        (flip, "InvalidSignature"),
        ("DELETE FROM statements", "InvalidSignature"),
        ("UPDATE chains SET pem = ''", "InvalidCertificate"),
        ("DELETE FROM feed_heads", "StaleFeed"),
        ("DELETE FROM feed_entries", "StaleFeed"),
        (
            "UPDATE feed_heads SET head = CAST(replace(CAST(head AS TEXT), '\"payload\":\"e', '\"payload\":\"f') AS BLOB)",
            "StaleFeed",
        ),
    ];
    block_on(async {
        for (change, violation) in cases {
            let node = Node::new(json!({})).await;
            node.publish("answer", "1.0.0", "").await.expect("publishes");
            let node = node.restart(json!({}), |catalog| tamper(catalog, change)).await;
            let error = node.install("answer").await.expect_err("is refused");
            assert_eq!(error.code, Code::POLICY_DENIED, "{change}: {error}");
            assert!(violations(&error).contains(&violation), "{change}: {error}");
            assert_eq!(node.ask("list", json!({})).await["packages"], json!([]), "nothing is installed");
        }
    });
}

#[test]
fn a_registry_that_was_taken_back_in_time_is_refused_after_a_restart_too() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        let old = tempfile::tempdir().expect("a directory");
        let copy = |from: &Path, to: &Path| {
            for name in ["registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm"] {
                let _ = std::fs::remove_file(to.join(name));
                if from.join(name).exists() {
                    std::fs::copy(from.join(name), to.join(name)).expect("copied");
                }
            }
        };
        let node = node.restart(json!({}), |catalog| copy(catalog, old.path())).await;
        node.publish("answer", "1.0.1", "").await.expect("publishes");
        let mut node = node.restart(json!({}), |catalog| copy(old.path(), catalog)).await;
        for _ in 0..2 {
            let error = node.install("answer").await.expect_err("is refused");
            assert!(error.to_string().contains("entry `2` was seen before: it was rolled back"), "{error}");
            // Going on from there would be a fork, so the node does not publish either.
            let error = node.publish("other", "1.0.0", "").await.expect_err("is refused");
            assert!(error.to_string().contains("two different entries"), "{error}");
            node = node.restart(json!({}), |_| {}).await;
        }
    });
}

#[test]
fn a_revoked_publisher_stops_installing_and_running() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        node.install("answer").await.expect("installs");
        node.publish("other", "1.0.0", "").await.expect("publishes");
        node.revoke("local");
        let error = node.install("other").await.expect_err("is refused");
        assert!(violations(&error).contains(&"RevokedCertificate"), "{error}");
        let error = node.refusal("run", json!({"package": "answer"})).await;
        assert!(violations(&error).contains(&"RevokedCertificate"), "{error}");
    });
}

#[test]
fn rules_block_warn_and_ask_for_a_confirmation() {
    let rules = json!([
        {"name": "no-secrets", "when": [{"contains_file_pattern": "*.lua"}, {"package_name_pattern": "bad*"}], "action": "block"},
        {"name": "look-twice", "when": [{"package_name_pattern": "answer"}], "action": "require_confirmation"},
    ]);
    let custom = json!({"policy": "custom", "custom": {"rules": rules}});
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        node.publish("badly", "1.0.0", "").await.expect("publishes");
        let node = node.restart(custom, |_| {}).await;
        let error = node.install("badly").await.expect_err("is refused");
        assert_eq!((error.code, violations(&error)), (Code::POLICY_DENIED, vec!["Rule"]), "{error}");
        let error = node.install("answer").await.expect_err("is refused");
        assert_eq!(error.detail.name.as_deref(), Some("CONFIRMATION_REQUIRED"));
        let confirmed = json!({"packages": ["answer"], "confirm": true});
        let installed = node.ask("install", confirmed).await;
        assert!(installed["warnings"].to_string().contains("look-twice"), "{installed}");
        let error = node.refusal("run", json!({"package": "answer"})).await;
        assert_eq!(error.detail.name.as_deref(), Some("CONFIRMATION_REQUIRED"));
        assert_eq!(node.ask("run", json!({"package": "answer", "confirm": true})).await["value"], 42);
    });
}

#[test]
fn the_strict_policy_takes_listed_publishers_and_runs_no_directory() {
    block_on(async {
        let node = Node::new(json!({"policy": "strict"})).await;
        let directory = package(node.home.path(), "answer", "1.0.0", "");
        let error = node.refusal("run", json!({"package": directory})).await;
        assert_eq!(error.detail.name.as_deref(), Some("UNSIGNED_DIRECTORY"), "{error}");
        // Nor does a program of a template that nobody signed run, whoever grants it.
        let template = node.home.path().join("template");
        let program = json!({"actions": [{"execute_command": {"command": "lua", "arguments": ["hook.lua"]}}]});
        let files = [("files/a", "a"), ("hook.lua", "return function() return 1 end\n")];
        super::templates::template(&template, "1.0.0", program, &files);
        let out = node.home.path().join("made");
        let made = json!({"template": template, "directory": out, "commands": "run"});
        let error = node.refusal("new", made).await;
        assert_eq!(error.detail.name.as_deref(), Some("UNSIGNED_DIRECTORY"), "{error}");
        assert!(!out.exists());
        let error = node.publish("answer", "1.0.0", "").await.expect_err("is refused");
        let found = violations(&error);
        assert!(found.contains(&"UnknownPublisher") && found.contains(&"LowReputation"), "{found:?}");
    });
}

#[test]
fn the_strict_policy_asks_the_validators_each_time() {
    let trust = json!({"policy": "custom", "custom": {"base": "strict", "reputation_min": 0.4},
        "publishers": [{"kind": "organization", "publishers": ["local.pub.trustchain"]}]});
    block_on(async {
        let node = Node::new(trust.clone()).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        node.install("answer").await.expect("installs");
        let explained = node.ask("verify", json!({"packages": ["answer"], "explain": true})).await;
        let consensus = &explained["decisions"][0]["checks"][8];
        assert_eq!(
            (&consensus["check"], &consensus["outcome"]),
            (&json!("consensus"), &json!("passed")),
            "{explained:#}"
        );
        let ran = node.ask("run", json!({"package": "answer"})).await;
        assert_eq!((&ran["value"], ran["receipt"]["proof"].is_string()), (&json!(42), true));
        node.host.shutdown().await;
        drop(node.host);
        let alone = Node::judged(node.home, trust, Seating::Nobody).await;
        let error = alone.publish("other", "1.0.0", "").await.expect_err("is refused");
        assert_eq!(violations(&error), ["NoConsensus"], "{error}");
        let error = alone.refusal("run", json!({"package": "answer"})).await;
        assert_eq!(error.code, Code::CONSENSUS_VALIDATION_FAILED, "{error}");
    });
}

#[test]
fn a_vulnerable_package_is_neither_published_nor_installed_nor_run() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        node.publish("other", "1.0.0", "  dependencies: [{name: answer, version: ^1.0}]\n").await.expect("publishes");
        node.install("answer").await.expect("installs");
        let advisory = json!({"schema_version": "1.7.0", "id": "HM-2030-7", "modified": "2026-03-01T00:00:00Z",
            "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}],
            "affected": [{"package": {"ecosystem": "HyperMesh", "name": "answer"},
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "2.0.0"}]}]}]});
        let file = node.home.path().join("HM-2030-7.json");
        std::fs::write(&file, advisory.to_string()).expect("written");
        node.ask("advisories import", json!({"path": file})).await;
        let refused = [
            node.publish("answer", "1.0.1", "").await,
            node.install("other").await,
            node.try_ask("run", json!({"package": "answer"})).await,
        ];
        for error in refused.map(|answer| answer.expect_err("is refused")) {
            assert_eq!(violations(&error), ["Vulnerability"], "{error}");
            assert!(error.to_string().contains("HM-2030-7 (critical)"), "{error}");
        }
        node.publish("answer", "2.0.0", "").await.expect("the version that mends it");
    });
}

#[test]
fn a_yanked_version_is_passed_over_until_that_is_taken_back() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        node.publish("answer", "1.1.0", "").await.expect("publishes");
        node.ask("yank", json!({"package": "answer@1.1.0", "reason": "wrong question"})).await;
        assert_eq!(node.install("answer").await.expect("installs")["plan"]["added"][0]["version"], "1.0.0");
        assert_eq!(node.ask("info", json!({"package": "answer@1.1.0"})).await["yanked"], "wrong question");
        node.ask("yank", json!({"package": "answer@1.1.0", "undo": true})).await;
        assert_eq!(node.ask("feeds", json!({})).await["feeds"][0]["entries"], 4);
        let resolved = node.ask("install", json!({"packages": ["answer@^1.1"]})).await;
        assert_eq!(resolved["plan"]["changed"][0]["to"], "1.1.0");
        let error = node.refusal("yank", json!({"package": "answer@9.0.0"})).await;
        assert_eq!(error.code, Code::NOT_FOUND);
        let error = node.refusal("yank", json!({"package": "answer@1.0.0", "reason": "x".repeat(201)})).await;
        assert_eq!(error.code, Code::INVALID_ARGUMENT, "{error}");
        assert!(error.to_string().contains("its reason has more than 200 characters"), "{error}");
    });
}

/// Gives the verdict about a release by a publisher of the node, or who owns the name as its refusal says.
async fn release_as(node: &Node, version: &str, publisher: &str) -> String {
    let directory = package(node.home.path(), "answer", version, "");
    match node.try_ask("publish", json!({"directories": [directory], "publisher": publisher})).await {
        Ok(_) => "published".to_owned(),
        Err(error) => {
            assert_eq!(violations(&error), ["UnknownPublisher"], "{error}");
            let fault = &error.detail.faults[0].message;
            fault.split("the package belongs to ").nth(1).unwrap_or(fault).to_owned()
        }
    }
}

fn issue(node: &Node, publisher: &str) {
    let trust = TrustHome::open(node.home.path()).expect("opens");
    trust.issue(&IssueOptions::new(Purpose::Publisher, publisher), &Unlock::key_file()).expect("issues");
}

#[test]
fn owners_let_others_publish_and_take_it_back() {
    block_on(async {
        let node = Node::new(json!({})).await;
        let owners =
            |owners: &[&str]| json!(owners.iter().map(|it| format!("{it}.pub.trustchain")).collect::<Vec<_>>());
        let to = |owner: &str| json!({"package": "answer", "owner": owner});
        let nobodys = node.refusal("owner add", to("friend")).await;
        assert_eq!((nobodys.code, nobodys.detail.name.as_deref()), (Code::NOT_FOUND, Some("NO_OWNER")), "{nobodys}");
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        for publisher in ["friend", "rival"] {
            issue(&node, publisher);
            assert_eq!(release_as(&node, "1.1.0", publisher).await, "`local.pub.trustchain`");
        }
        let added = node.ask("owner add", to("friend")).await;
        assert_eq!(added["owners"], owners(&["local", "friend"]));
        assert_eq!(release_as(&node, "1.1.0", "friend").await, "published");
        assert_eq!(release_as(&node, "1.2.0", "rival").await, "`local.pub.trustchain`, `friend.pub.trustchain`");
        // Whose it is stays known, and only owners say it.
        let node = node.restart(json!({}), |_| {}).await;
        assert_eq!(node.ask("owner list", json!({"package": "answer"})).await, added);
        let mut by_rival = to("rival");
        by_rival["publisher"] = json!("rival");
        let refused = node.refusal("owner add", by_rival).await;
        assert_eq!(
            (refused.code, refused.detail.name.as_deref()),
            (Code::POLICY_DENIED, Some("NOT_OWNER")),
            "{refused}"
        );
        assert!(
            refused.to_string().contains("belongs to `local.pub.trustchain`, `friend.pub.trustchain`"),
            "{refused}"
        );
        for (verb, owner, why) in [("owner add", "friend", "an owner already"), ("owner remove", "rival", "no owner")] {
            let refused = node.refusal(verb, to(owner)).await;
            assert_eq!(
                (refused.code, refused.detail.name.as_deref()),
                (Code::INVALID_ARGUMENT, Some("OWNERS_UNCHANGED"))
            );
            assert!(refused.chain.join(" ").contains(why), "{refused:?}");
        }
        // An owner who was added removes the one who was first; the last stays.
        let mut by_friend = to("local");
        by_friend["publisher"] = json!("friend");
        let removed = node.ask("owner remove", by_friend).await;
        assert_eq!(removed["owners"], owners(&["friend"]));
        assert_eq!(removed["former"], json!([{"publisher": "local.pub.trustchain", "until": 2}]));
        assert_eq!(release_as(&node, "1.2.0", "local").await, "`friend.pub.trustchain`");
        let last = node.refusal("owner remove", to("friend")).await;
        assert!(last.chain.join(" ").contains("the last owner"), "{last:?}");
        assert_eq!(release_as(&node, "1.2.0", "friend").await, "published");
        // What both have released stays installable, and is explained.
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            node.install(&format!("answer@={version}")).await.unwrap_or_else(|error| panic!("{version}: {error}"));
            let explained = node.ask("verify", json!({"packages": ["answer"], "explain": true})).await;
            assert_eq!(explained["decisions"][0]["verdict"], "allow", "{explained:#}");
        }
        // A name that is nearly that of one's own is no other's.
        let near = package(node.home.path(), "answre", "1.0.0", "");
        let published = node.ask("publish", json!({"directories": [near], "publisher": "friend"})).await;
        assert_eq!(published["packages"][0]["warnings"], json!([]));
    });
}

#[test]
fn whoever_moves_owners_in_the_registry_is_found_out() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes");
        issue(&node, "rival");
        let feed = "SELECT 'rival.pub.trustchain', 1, CAST(replace(entry, 'local.pub', 'rival.pub') AS BLOB) FROM feed_entries WHERE number = 2";
        node.ask("owner add", json!({"package": "answer", "owner": "friend"})).await;
        let node = node
            .restart(json!({}), |catalog| {
                tamper(catalog, &format!("INSERT INTO feed_entries (publisher, number, entry) {feed}"));
                tamper(
                    catalog,
                    "UPDATE feed_entries SET entry = CAST(replace(entry, 'friend', 'rival') AS BLOB) WHERE number = 2",
                );
            })
            .await;
        let owners = node.ask("owner list", json!({"package": "answer"})).await["owners"].clone();
        assert_eq!(owners, json!(["local.pub.trustchain"]), "a feed that is not what its head names says nothing");
        let directory = package(node.home.path(), "answer", "1.1.0", "");
        let error = node.refusal("publish", json!({"directories": [directory], "publisher": "rival"})).await;
        assert!(!error.to_string().is_empty());
    });
}

#[test]
fn a_name_like_that_of_another_publisher_is_reported() {
    block_on(async {
        let node = Node::new(json!({})).await;
        node.publish("geometry", "1.0.0", "").await.expect("publishes");
        let own = node.publish("geomerty", "1.0.0", "").await.expect("publishes");
        assert_eq!(own["packages"][0]["warnings"], json!([]), "one publisher may use both");
        let trust = TrustHome::open(node.home.path()).expect("opens");
        let options = IssueOptions::new(Purpose::Publisher, "rival");
        trust.issue(&options, &Unlock::key_file()).expect("issues");
        let directory = package(node.home.path(), "ge0metry", "1.0.0", "");
        let rival = json!({"directories": [directory], "publisher": "rival"});
        let published = node.ask("publish", rival).await;
        assert!(published["packages"][0]["warnings"].to_string().contains("mistaken for `geom"), "{published}");
        // And a name belongs to whoever had it first.
        let directory = package(node.home.path(), "geometry", "1.1.0", "");
        let error = node.refusal("publish", json!({"directories": [directory], "publisher": "rival"})).await;
        assert_eq!(violations(&error), ["UnknownPublisher"], "{error}");
        // A namespace belongs to whose certificate names it.
        let directory = package(node.home.path(), "foreign", "1.0.0", "");
        let file = directory.join("package.yaml");
        let text = std::fs::read_to_string(&file).expect("text").replace("name: foreign", "name: acme/foreign");
        std::fs::write(&file, text).expect("written");
        let error = node.refusal("publish", json!({"directories": [directory]})).await;
        assert!(error.to_string().contains("does not own the namespace"), "{error}");
    });
}

#[test]
fn what_one_of_several_roots_makes_alone_is_refused() {
    let home = programs::bare_home();
    let unlock = Unlock::key_file();
    let trust = TrustHome::open(home.path()).expect("opens");
    let keepers = [(); 2].map(|()| {
        let keeper = tempfile::tempdir().expect("temporary directory");
        let options = InitOptions { root_only: true, ..InitOptions::default() };
        let trust = TrustHome::init(keeper.path(), &options, &unlock).expect("makes a root");
        (keeper, trust)
    });
    let agree = |change: SetChange| {
        let geneses = host_sim::consensus::geneses(home.path(), &unlock).expect("has a cluster");
        let proposal = trust.propose(&SetChange { geneses, ..change }).expect("keeps the rules");
        let sign = |bytes: Vec<u8>, (_, keeper): &(TempDir, TrustHome)| {
            keeper.cosign(&bytes, &unlock).expect("signs").write().expect("writes")
        };
        let bytes = keepers.iter().fold(proposal.write().expect("writes"), sign);
        for each in keepers.iter().map(|(_, keeper)| keeper).chain([&trust]) {
            each.accept(&bytes).expect("two of three have signed");
        }
    };
    let with = keepers.iter().map(|(_, keeper)| keeper.root().expect("reads")).collect();
    agree(SetChange { threshold: Some(2), with, ..SetChange::default() });
    block_on(async {
        let node = Node::judged(home, json!({}), Seating::OfHome).await;
        node.publish("answer", "1.0.0", "").await.expect("publishes below the set");
        node.install("answer").await.expect("installs");
        trust.renew("publisher-authority", NewKeys::Make, None, &unlock).expect("renews");
        trust.renew("local", NewKeys::Keep, None, &unlock).expect("renews");
        let refused = node.publish("second", "1.0.0", "").await.expect_err("is refused");
        assert!(format!("{refused:?}").contains("root set 1 does not name the authority"), "{refused:?}");
        node.install("answer").await.expect("what was signed before goes on to count");
    });
}
