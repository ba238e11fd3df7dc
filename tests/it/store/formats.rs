//! What version 1 of each format wrote is read by every later one: archives, deltas, lists, a whole home, an exported registry.
//!
//! The files lie in `tests/fixtures/v1` as they were written once. With `CATALOG_WRITE_FIXTURES` set the test writes them anew,
//! which a version does once, into a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::{Node, block_on, programs, version_of};

const ARCHIVE: &str = "archive.tar.zst";
const LZ4: &str = "archive.tar.lz4";
const DELTA: &str = "delta";
const UNIVERSE: &str = "universe.ndjson";
const REQUIREMENTS: &str = "requirements.json";
const DESCRIPTIONS: &str = "descriptions.ndjson";
const HOME: &str = "home.tar.zst";
const REGISTRY: &str = "registry.tar.zst";
/// The digest of `app` 2.0.0, in whatever way it is stored or sent.
const DIGEST: &str = "digest";

fn permissive(remote: Option<&Path>) -> Json {
    let remote = remote.map(|path| json!({"url": format!("file://{}", path.display())}));
    json!({"vm": true, "trust": {"policy": "permissive"}, "remote": remote})
}

fn fixtures() -> PathBuf {
    programs::workspace().join("tests/fixtures/v1")
}

#[test]
fn what_version_1_wrote_is_read() {
    if std::env::var_os("CATALOG_WRITE_FIXTURES").is_some() {
        block_on(write(&fixtures()));
    }
    let fixture = |name: &str| fixtures().join(name);
    let digest = fs::read_to_string(fixture(DIGEST)).expect("is there");
    let digest = digest.trim_end();
    let home = programs::bare_home();
    let unfolded = home.path().join("unfolded");
    unfold(&fixture(REGISTRY), &unfolded.join("registry"));
    unfold(&fixture(HOME), &home.path().join("catalog"));
    block_on(async {
        let node = Node::on(home.path(), permissive(None)).await;
        for (file, base) in [(ARCHIVE, None), (LZ4, None), (DELTA, Some(fixture("base.tar.zst")))] {
            let params = json!({"file": fixture(file), "directory": unfolded.join(file), "base": base});
            assert_eq!(node.ask("unpack", params).await["digest"], digest, "{file}");
        }
        let params = json!({"index": fixture(UNIVERSE), "requirements": fixture(REQUIREMENTS)});
        let resolved = node.ask("resolve", params).await;
        assert_eq!(resolved["packages"], json!([{"name": "a", "version": "1.0.0"}, {"name": "b", "version": "1.5.0"}]));

        // The home: what is installed and what was, what runs, and everything that `fsck` looks at.
        let list = node.ask("list", json!({})).await;
        assert_eq!((version_of(&list, "app"), &list["packages"][0]["digest"]), (Some("2.0.0".into()), &json!(digest)));
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "2.0.0");
        node.ask("fsck", json!({})).await;
        for (query, found) in [("imported description", "of-a-list"), ("app", "app")] {
            let answer = node.ask("search", json!({"words": [query]})).await;
            assert_eq!(answer["results"][0]["name"], found, "{answer}");
        }
        let back = node.ask("rollback", json!({})).await;
        assert_eq!(version_of(&back, "app"), Some("1.0.0".into()), "{back}");
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.0.0");
        assert_eq!(node.ask("info", json!({"package": "app@1.0.0"})).await["yanked"], "has a successor");
        node.stop().await;

        let other = programs::bare_home();
        let node = Node::on(other.path(), permissive(Some(&unfolded.join("registry")))).await;
        let installed = node.install("app").await;
        assert_eq!(version_of(&installed, "app"), Some("2.0.0".into()), "{installed}");
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "2.0.0");
    });
}

async fn write(to: &Path) {
    fs::create_dir_all(to).expect("made");
    let fixture = |name: &str| to.join(name);
    let home = programs::bare_home();
    let node = Node::on(home.path(), permissive(None)).await;
    for version in ["1.0.0", "2.0.0"] {
        node.publish("app", version).await;
        node.install(&format!("app@{version}")).await;
        let packed = home.path().join("app");
        let out = if version == "1.0.0" { "base.tar.zst" } else { ARCHIVE };
        let answer = node.ask("pack", json!({"directory": packed, "out": fixture(out)})).await;
        fs::write(fixture(DIGEST), answer["digest"].as_str().expect("text").to_owned() + "\n").expect("written");
    }
    let directory = home.path().join("app");
    node.ask("pack", json!({"directory": directory, "out": fixture(LZ4), "compression": "lz4"})).await;
    node.ask("pack", json!({"directory": directory, "out": fixture(DELTA), "delta_from": fixture("base.tar.zst")}))
        .await;
    node.ask("yank", json!({"package": "app@1.0.0", "reason": "has a successor"})).await;
    let universe = [
        json!({"name": "a", "version": "1.0.0", "dependencies": [{"name": "b", "req": "^1"}], "features": {}, "yanked": false}),
        json!({"name": "b", "version": "1.5.0", "dependencies": [], "features": {}, "yanked": false}),
        json!({"name": "b", "version": "2.0.0", "dependencies": [], "features": {}, "yanked": false}),
    ];
    fs::write(fixture(UNIVERSE), universe.map(|line| line.to_string()).join("\n") + "\n").expect("written");
    fs::write(fixture(REQUIREMENTS), json!([{"name": "a", "req": "*"}]).to_string() + "\n").expect("written");
    let line = json!({"name": "of-a-list", "version": "1.0.0", "description": "an imported description", "keywords": ["k"], "tags": ["t"]});
    fs::write(fixture(DESCRIPTIONS), line.to_string() + "\n").expect("written");
    node.ask("index import", json!({"file": fixture(DESCRIPTIONS)})).await;
    node.ask("search", json!({"words": ["app"]})).await;
    let exported = home.path().join("exported");
    node.ask("registry export", json!({"directory": exported})).await;
    node.stop().await;
    fold(&home.path().join("catalog"), &fixture(HOME));
    fold(&exported, &fixture(REGISTRY));
}

fn fold(directory: &Path, file: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", directory).expect("reads");
    fs::write(file, zstd::encode_all(&*tar.into_inner().expect("ends"), 19).expect("compresses")).expect("written");
}

fn unfold(file: &Path, directory: &Path) {
    let tar = zstd::decode_all(fs::File::open(file).expect("is there")).expect("is whole");
    tar::Archive::new(&*tar).unpack(directory).expect("is written");
}
