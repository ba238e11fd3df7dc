//! The store through the verbs of the loaded library: going back, exact lockfiles, collecting, checking and mending, archives in
//! both compressions, deltas.

mod crash;
mod formats;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::block_on;

/// A host with Catalog on a home that others may hold, too.
struct Node {
    host: Host,
    home: PathBuf,
}

impl Node {
    async fn on(home: &Path, configuration: Json) -> Self {
        let options =
            HostOptions { child: None, consensus: Seating::Nobody, ..HostOptions::new(home.into()).expect("options") };
        let host = Host::open(options).expect("opens");
        let manifest = std::env::var_os(crash::MANIFEST).map_or_else(programs::manifest, PathBuf::from);
        let source = programs::linked_by(&manifest, &configuration);
        host.load(source).await.unwrap_or_else(|error| panic!("{error}"));
        Self { host, home: home.to_path_buf() }
    }

    async fn stop(self) {
        self.host.shutdown().await;
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}: {:?}", error.detail))
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| crate::schemas::fitting(verb, response.data))
    }

    async fn refusal(&self, verb: &str, params: Json) -> Error {
        self.try_ask(verb, params).await.expect_err("is refused")
    }

    async fn publish(&self, name: &str, version: &str) {
        let directory = package(&self.home, name, version, 3);
        self.ask("publish", json!({"directories": [directory]})).await;
    }

    async fn install(&self, word: &str) -> Json {
        self.ask("install", json!({"packages": [word]})).await
    }

    /// Gives the findings of a check that finds something open.
    async fn findings(&self) -> Vec<Json> {
        let error = self.refusal("fsck", json!({})).await;
        assert_eq!((error.code, error.detail.name.as_deref()), (Code::INTEGRITY, Some("DAMAGED")));
        error.detail.answer.expect("goes with the error").data["findings"].as_array().expect("a list").clone()
    }

    fn store(&self) -> PathBuf {
        self.home.join("catalog/store")
    }
}

/// Writes a package with as many further files as are wanted; their content depends on the version.
fn package(home: &Path, name: &str, version: &str, files: usize) -> PathBuf {
    let main = format!("return function() return '{version}' end");
    let names: Vec<String> = (0..files).map(|number| format!("f{number}.lua")).collect();
    let directory = programs::package(home, name, "lua-script", "", &main);
    let manifest = directory.join("package.yaml");
    let text = fs::read_to_string(&manifest).expect("text").replace("version: 1.0.0", &format!("version: {version}"));
    let text = text.replace("{main: main.lua}", &format!("{{main: main.lua, files: [{}]}}", names.join(", ")));
    fs::write(&manifest, text).expect("written");
    for (number, file) in names.iter().enumerate() {
        let shared = if number == 0 { "shared" } else { version };
        fs::write(directory.join(file), format!("return '{shared} {number}'")).expect("written");
    }
    directory
}

/// Runs a test on a fresh home.
fn on_home(test: impl AsyncFnOnce(Node)) {
    let home: TempDir = programs::bare_home();
    block_on(async { test(Node::on(home.path(), json!({"vm": true})).await).await });
}

fn version_of(answer: &Json, name: &str) -> Option<String> {
    let found = answer["packages"].as_array()?.iter().find(|package| package["package"] == name)?;
    found["version"].as_str().map(str::to_owned)
}

/// Writes to a file as a failing disk would.
fn overwrite(path: &Path, bytes: &[u8]) {
    let permissions = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions();
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, permissions).expect("as it was");
}

fn only_entry(directory: &Path) -> PathBuf {
    let mut entries = fs::read_dir(directory).expect("lists").map(|entry| entry.expect("reads").path());
    let first = entries.next().expect("there is one");
    assert!(entries.next().is_none(), "one entry in `{}`", directory.display());
    first
}

#[test]
fn going_back_takes_one_step_or_goes_to_a_number() {
    on_home(async |node| {
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            node.publish("app", version).await;
            node.install(&format!("app@{version}")).await;
        }
        let now = async |node: &Node| {
            let list = node.ask("list", json!({})).await;
            (list["generation"].as_u64(), version_of(&list, "app").expect("is installed"))
        };
        let (latest, version) = now(&node).await;
        assert_eq!(version, "1.2.0");
        let dry = node.ask("rollback", json!({"dry_run": true})).await;
        assert_eq!((dry["dry_run"].as_bool(), now(&node).await.0), (Some(true), latest));
        node.ask("rollback", json!({})).await;
        node.ask("rollback", json!({})).await;
        let (earlier, _) = now(&node).await;
        assert_eq!(earlier, latest.map(|number| number - 2), "two steps back, not to and fro");
        node.ask("rollback", json!({"generation": 1})).await;
        assert_eq!(now(&node).await, (Some(1), "1.0.0".to_owned()));
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.0.0", "and that is what runs");
        let error = node.refusal("rollback", json!({})).await;
        assert_eq!((error.code, error.detail.name.as_deref()), (Code::NOT_FOUND, Some("GENERATION_NOT_FOUND")));
        let error = node.refusal("rollback", json!({"generation": 99})).await;
        assert!(error.detail.help.is_some_and(|help| help.starts_with("kept are 1, 2")), "it says which there are");
        node.ask("rollback", json!({"generation": latest})).await;
        assert_eq!(now(&node).await, (latest, "1.2.0".to_owned()), "and forward again");
        node.ask("fsck", json!({})).await;
    });
}

#[test]
fn frozen_refuses_another_choice_and_a_lockfile_is_installed_exactly() {
    on_home(async |node| {
        node.publish("lib", "1.0.0").await;
        node.publish("other", "1.0.0").await;
        let frozen = json!({"packages": ["lib"], "frozen": true});
        let error = node.refusal("install", frozen.clone()).await;
        assert_eq!(error.detail.name.as_deref(), Some("FROZEN"));
        assert!(error.to_string().contains("+ lib 1.0.0"), "{error}");
        node.install("lib").await;
        assert_eq!(node.ask("install", frozen).await["generation"], 1, "what is locked is installed");

        let app = programs::package(
            &node.home,
            "app",
            "lua-script",
            "  dependencies: [{name: lib, version: ^1}]\n",
            "return 1",
        );
        node.ask("resolve", json!({"packages": [app], "lock": app})).await;
        node.publish("lib", "1.1.0").await;
        node.install("other").await;
        let exact = node.ask("install", json!({"lockfile": app, "frozen": true, "offline": true})).await;
        assert_eq!(version_of(&exact, "lib").as_deref(), Some("1.0.0"), "not the newer one");
        assert_eq!((version_of(&exact, "other"), exact["offline"].as_bool()), (None, Some(true)), "and no other");
        let manifest = app.join("package.yaml");
        let text = fs::read_to_string(&manifest).expect("text").replace("^1", "^1.1");
        fs::write(&manifest, text).expect("written");
        let error = node.refusal("install", json!({"lockfile": app, "frozen": true})).await;
        assert!(error.to_string().contains("~ lib 1.0.0 -> 1.1.0"), "{error}");
        node.ask("install", json!({"lockfile": app.join("catalog.lock")})).await;
        let error = node.refusal("install", json!({"lockfile": app, "packages": ["lib"]})).await;
        assert_eq!(error.code, Code::INVALID_ARGUMENT);
        let lockfile = app.join("catalog.lock");
        let text = fs::read_to_string(&lockfile).expect("text");
        fs::write(&lockfile, text.replace("linux-x86_64", "plan9-z80")).expect("written");
        let error = node.refusal("install", json!({"lockfile": lockfile})).await;
        assert_eq!(error.detail.name.as_deref(), Some("OTHER_PLATFORM"));
        fs::write(&lockfile, "version = 9\n").expect("written");
        let error = node.refusal("install", json!({"lockfile": lockfile})).await;
        assert_eq!(error.detail.name.as_deref(), Some("INVALID_LOCKFILE"));
    });
}

#[test]
fn an_installation_that_changes_nothing_reads_no_tree_until_somebody_finds_damage() {
    on_home(async |node| {
        node.publish("app", "1.0.0").await;
        let tree = node.install("app").await;
        let digest = tree["packages"][0]["digest"].as_str().expect("has one")["blake3:".len()..][..12].to_owned();
        let file = node.store().join(format!("packages/app@1.0.0-{digest}/main.lua"));
        overwrite(&file, b"return 2");
        let again = node.install("app").await;
        assert_eq!(again["plan"]["repaired"], json!([]), "nobody has looked");
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.0.0", "wrong bytes never run");
        assert_eq!(node.refusal("verify", json!({})).await.code, Code::INTEGRITY, "whoever looks finds it");
        let mended = node.install("app").await;
        assert_eq!(mended["plan"]["repaired"][0]["package"], "app", "and the next installation mends it");
        node.ask("verify", json!({})).await;
    });
}

#[test]
fn a_tree_that_is_gone_comes_back_and_its_archive_is_held_against_its_digest() {
    on_home(async |node| {
        let asks = "  security: {hash_validation: sha512}\n";
        let asking = programs::package(&node.home, "asking", "lua-script", asks, "return function() return 1 end");
        node.ask("publish", json!({"directories": [asking]})).await;
        for (name, digest_asked_for) in [("plain", "blake3"), ("asking", "sha512")] {
            if digest_asked_for == "blake3" {
                node.publish(name, "1.0.0").await;
            }
            let installed = node.install(name).await;
            let found = installed["packages"].as_array().expect("a list").iter().find(|it| it["package"] == name);
            let digest =
                found.and_then(|it| it["digest"].as_str()?.strip_prefix("blake3:")).expect("has one").to_owned();
            let tree = node.store().join(format!("packages/{name}@1.0.0-{}", &digest[..12]));
            let archive = node.store().join(format!("archives/{}/{digest}", &digest[..2]));
            fs::remove_dir_all(&tree).expect("removes");
            let again = node.install(name).await;
            assert!(tree.join("main.lua").exists() && again["plan"]["repaired"] == json!([]), "{again}");
            let bytes = fs::read(&archive).expect("reads");
            fs::remove_dir_all(&tree).expect("removes");
            overwrite(&archive, b"nonsense");
            assert_eq!(node.refusal("install", json!({"packages": [name]})).await.code, Code::INTEGRITY);
            assert!(!tree.exists());
            overwrite(&archive, &bytes);
            node.install(name).await;
            node.ask("fsck", json!({})).await;
        }
    });
}

#[test]
fn what_is_live_survives_every_collection() {
    let home = programs::bare_home();
    block_on(async {
        // A bound of one byte: every installation collects, and nothing that is needed may go.
        let node = Node::on(home.path(), json!({"vm": true, "cache_bytes_max": 1})).await;
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            node.publish("app", version).await;
            node.install(&format!("app@{version}")).await;
        }
        node.ask("fsck", json!({})).await;
        let before = node.ask("cache size", json!({})).await;
        assert_eq!((before["generations"].as_u64(), before["bytes_max"].as_u64()), (Some(3), Some(1)));
        let pruned = node.ask("cache prune", json!({"keep": 1})).await;
        assert_eq!((pruned["generations"].as_u64(), pruned["removed"]["packages"].as_u64()), (Some(2), Some(2)));
        assert_eq!(pruned["removed"]["archives"], 0, "published archives are pinned");
        assert!(pruned["usage"]["bytes"].as_u64() < before["bytes"].as_u64());
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.2.0");
        node.ask("fsck", json!({})).await;
        node.install("app@1.0.0").await;
        let error = node.refusal("cache prune", json!({"max": "much"})).await;
        assert!(error.detail.help.is_some_and(|help| help.contains("GiB")));
        let kept = node.ask("cache prune", json!({"max": "1GiB"})).await;
        assert_eq!(kept["removed"]["objects"], 0, "it stops at the bound");
    });
}

#[test]
fn every_kind_of_damage_is_found_by_its_number_and_mended_where_it_can_be() {
    on_home(async |node| {
        node.publish("app", "1.0.0").await;
        node.install("app").await;
        node.ask("fsck", json!({})).await;
        let store = node.store();
        let tree = only_entry(&store.join("packages"));
        let archive = only_entry(&only_entry(&store.join("archives")));
        let record = only_entry(&store.join("records"));
        let check = async |damage: &dyn Fn(), numbers: &[&str]| {
            damage();
            let findings = node.findings().await;
            for number in numbers {
                assert!(findings.iter().any(|found| found["invariant"] == *number), "{number}: {findings:?}");
            }
            let mended = node.ask("fsck", json!({"repair": true})).await;
            assert!(mended["repaired"].as_u64() > Some(0), "{mended}");
            assert_eq!(node.ask("fsck", json!({})).await["findings"], json!([]), "{numbers:?}");
        };
        let main = tree.join("main.lua");
        check(&|| overwrite(&main, b"return 2"), &["S4"]).await;
        check(&|| fs::write(tree.join("new"), "").expect("writes"), &["S4"]).await;
        check(&|| fs::remove_dir_all(&tree).expect("removes"), &["S4"]).await;
        check(
            &|| {
                fs::remove_file(&main).expect("removes");
                symlink("/etc/hostname", &main).expect("links");
            },
            &["S4", "S8"],
        )
        .await;
        check(&|| overwrite(&archive, b"nonsense"), &["S5", "R2"]).await;
        check(&|| fs::remove_file(&archive).expect("removes"), &["S5", "R2"]).await;
        check(&|| write_through(&main), &["S4", "S6"]).await;
        check(&|| set_mode(&main, 0o644), &["S7"]).await;
        check(&|| set_mode(&archive, 0o744), &["S7"]).await;
        check(&|| overwrite(&record, b"nonsense"), &["S9"]).await;
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.0.0");

        // What only people can mend says what to do.
        fs::write(store.join("stranger"), "").expect("writes");
        let findings = node.findings().await;
        assert_eq!((findings[0]["invariant"].as_str(), findings.len()), (Some("S10"), 1), "{findings:?}");
        fs::remove_file(store.join("stranger")).expect("removes");
        for stray in ["packages/stray", "generations/01"] {
            fs::create_dir(store.join(stray)).expect("makes");
            assert_eq!(node.findings().await[0]["invariant"], "S10", "{stray}");
            fs::remove_dir(store.join(stray)).expect("removes");
        }
        fs::write(store.join("current"), "7\n").expect("writes");
        let findings = node.findings().await;
        assert_eq!(findings[0]["invariant"], "S2");
        assert!(findings[0]["help"].as_str().is_some_and(|help| help.contains("rollback")));
        node.ask("rollback", json!({"generation": 1})).await;
        node.ask("fsck", json!({})).await;
        fs::write(store.join("tmp/leftover"), "").expect("writes");
        assert_eq!(node.ask("fsck", json!({})).await["findings"][0]["state"], "harmless");
        node.ask("cache verify", json!({})).await;
        node.ask("cache repair", json!({})).await;
    });
}

/// Changes a file and its object at once, if they are one inode.
fn write_through(path: &Path) {
    set_mode(path, 0o644);
    fs::write(path, "return 3").expect("writes");
    set_mode(path, 0o444);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets");
}

#[test]
fn archives_in_both_compressions_and_deltas_unpack_to_the_same_files() {
    on_home(async |node| {
        let out = |name: &str| node.home.join(name);
        let old = package(&node.home, "app", "1.0.0", 40);
        node.ask("pack", json!({"directory": old, "out": out("old.tar.zst")})).await;
        let new = package(&node.home, "app", "1.0.1", 40);
        let packed = node.ask("pack", json!({"directory": new, "out": out("new.tar.zst")})).await;
        let lz4 = json!({"directory": new, "out": out("new.tar.lz4"), "compression": "lz4"});
        assert_eq!(node.ask("pack", lz4).await["digest"], packed["digest"], "one tar, one identity");
        let delta = json!({"directory": new, "out": out("delta"), "delta_from": out("old.tar.zst")});
        let delta = node.ask("pack", delta).await;
        assert!(delta["delta_bytes"].as_u64() < packed["bytes"].as_u64());
        let unpack = async |file: &str, to: &str, base: Option<&str>| {
            let params = json!({"file": out(file), "directory": out(to), "base": base.map(out)});
            node.try_ask("unpack", params).await
        };
        for (file, to, base) in
            [("new.tar.zst", "a", None), ("new.tar.lz4", "b", None), ("delta", "c", Some("old.tar.zst"))]
        {
            let unpacked = unpack(file, to, base).await.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(unpacked["digest"], packed["digest"]);
            assert_eq!(fs::read(out(to).join("f7.lua")).expect("is there"), b"return '1.0.1 7'");
        }
        assert_eq!(
            unpack("delta", "d", None).await.expect_err("is refused").detail.name.as_deref(),
            Some("DELTA_BASE")
        );
        let wrong = unpack("delta", "d", Some("new.tar.zst")).await.expect_err("is refused");
        assert_eq!(wrong.code, Code::INTEGRITY, "{wrong}");
        let occupied = unpack("new.tar.zst", "a", None).await.expect_err("is refused");
        assert_eq!(occupied.code, Code::ALREADY_EXISTS);
        fs::write(out("bad"), b"nonsense").expect("writes");
        assert_eq!(unpack("bad", "d", None).await.expect_err("is refused").code, Code::INVALID_ARGUMENT);
        assert!(!out("d").exists(), "what is refused writes nothing");

        node.ask("publish", json!({"directories": [new], "compression": "lz4"})).await;
        node.install("app").await;
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.0.1");
        let archive = only_entry(&only_entry(&node.store().join("archives")));
        assert_eq!(fs::read(&archive).expect("is there"), fs::read(out("new.tar.lz4")).expect("is there"));
        overwrite(&archive, b"nonsense");
        node.ask("publish", json!({"directories": [new]})).await;
        node.ask("fsck", json!({})).await;
        let error = node.refusal("pack", json!({"directory": new, "compression": "gzip"})).await;
        assert_eq!(error.code, Code::INVALID_ARGUMENT);
    });
}
