//! Search over the files of a node, whatever became of them and whoever wrote them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use time::macros::datetime;

use super::*;
use crate::config::Config;
use crate::digest::{Digest, Digests};
use crate::package::model::PackageType;
use crate::registry::{Publication, Release};

struct Node {
    home: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    /// Opens the node as a new process would.
    fn open(&self) -> Arc<Catalog> {
        Catalog::open(self.home.path(), Config { vm: false, ..Config::default() }, &[]).expect("opens")
    }

    fn registry(&self) -> PathBuf {
        self.home.path().join("registry.sqlite")
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join(DIRECTORY)
    }

    /// Publishes as another process does that never searches.
    fn publish(&self, names: &[String]) {
        let releases: Vec<Release> = names.iter().map(|name| release(name)).collect();
        let publication = |release| Publication { release, manifest: b"{}", voucher: None };
        let publications: Vec<_> = releases.iter().map(publication).collect();
        let mut registry = Registry::open(&self.registry()).expect("opens");
        registry.publish(&publications, &BTreeMap::new()).expect("publishes");
    }

    /// Publishes so many packages that the index is saved at the next search.
    fn publish_many(&self, prefix: &str) {
        self.publish(&(0..=UNSAVED_MAX).map(|number| format!("{prefix}-{number}")).collect::<Vec<_>>());
    }
}

fn release(name: &str) -> Release {
    let digests = Digests::of(name.as_bytes());
    Release {
        name: name.parse().expect("valid"),
        version: semver::Version::new(1, 0, 0),
        kind: PackageType::LuaLibrary,
        description: Some("Draws a thing.".into()),
        tags: vec![],
        keywords: vec![],
        dependencies: vec![],
        conflicts: vec![],
        features: BTreeMap::new(),
        blob: Digest::of(digests.sha256.as_bytes()),
        digests,
        tar_bytes: 4096,
        archive_bytes: 300,
        published_at: datetime!(2026-01-02 03:04:05 UTC),
    }
}

fn total(catalog: &Catalog, text: &str) -> usize {
    catalog.search(&Query::words(text)).expect("searches").found.total
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
}

#[test]
fn what_another_process_did_is_found_and_what_it_yanked_is_not() {
    let node = Node::new();
    let catalog = node.open();
    assert_eq!(total(&catalog, "draws"), 0);
    node.publish(&["one".into(), "two".into()]);
    assert_eq!((total(&catalog, "draws"), total(&catalog, "one")), (2, 1));
    let mut registry = Registry::open(&node.registry()).expect("opens");
    let one = release("one");
    registry.set_yanked(&one.name, &one.version, Some("leaks")).expect("yanks");
    assert_eq!((total(&catalog, "draws"), total(&catalog, "one")), (1, 0));
    registry.set_yanked(&one.name, &one.version, None).expect("takes back");
    registry.add_downloads(&one.name, &one.version, 3).expect("counts");
    let popular = Query { sort: crate::search::Sort::Popularity, ..Query::words("draws") };
    let searched = catalog.search(&popular).expect("searches");
    assert_eq!(searched.found.hits[0].document.downloads, 3);
}

#[test]
fn a_saved_index_catches_up_after_its_process_was_killed() {
    let node = Node::new();
    node.publish_many("first");
    assert_eq!(total(&node.open(), "draws"), UNSAVED_MAX + 1);
    let saved = fs::read(node.cache().join("segments")).expect("is saved");
    // Published, acknowledged, and killed before anything else happened.
    node.publish(&["late".into()]);
    let catalog = node.open();
    assert_eq!((total(&catalog, "late"), total(&catalog, "draws")), (1, UNSAVED_MAX + 2));
    assert_eq!(fs::read(node.cache().join("segments")).expect("is saved"), saved, "a few changes are not worth a file");
    node.publish_many("second");
    assert_eq!(total(&catalog, "draws"), 2 * UNSAVED_MAX + 3);
    assert_ne!(fs::read(node.cache().join("segments")).expect("is saved"), saved);
    assert_eq!(total(&node.open(), "draws"), 2 * UNSAVED_MAX + 3);
}

#[test]
fn an_index_of_another_time_is_never_believed() {
    let node = Node::new();
    let (older, newer) = (node.home.path().join("older"), node.home.path().join("newer"));
    node.publish_many("first");
    total(&node.open(), "draws");
    copy(&node.cache(), &older);
    fs::copy(node.registry(), node.home.path().join("registry.copy")).expect("copies");
    node.publish_many("second");
    total(&node.open(), "draws");
    copy(&node.cache(), &newer);

    fs::remove_dir_all(node.cache()).expect("removes");
    copy(&older, &node.cache());
    assert_eq!(total(&node.open(), "draws"), 2 * (UNSAVED_MAX + 1), "an older index catches up");

    // The registry is put back from a copy and goes on differently: a newer index shows what it never had.
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(node.home.path().join(format!("registry.sqlite{suffix}")));
    }
    fs::rename(node.home.path().join("registry.copy"), node.registry()).expect("puts back");
    node.publish_many("third");
    fs::remove_dir_all(node.cache()).expect("removes");
    copy(&newer, &node.cache());
    let catalog = node.open();
    assert_eq!(total(&catalog, "second"), 0);
    assert_eq!((total(&catalog, "third"), total(&catalog, "draws")), (UNSAVED_MAX + 1, 2 * (UNSAVED_MAX + 1)));
}

#[test]
fn a_damaged_index_is_made_anew_and_nobody_notices() {
    let node = Node::new();
    node.publish_many("first");
    total(&node.open(), "draws");
    for entry in fs::read_dir(node.cache()).expect("lists") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("reads");
        let kept = bytes.clone();
        bytes.iter_mut().step_by(100).for_each(|byte| *byte = !*byte);
        fs::write(&path, &bytes).expect("writes");
        assert_eq!(total(&node.open(), "draws"), UNSAVED_MAX + 1, "{}", path.display());
        if path.exists() {
            fs::write(&path, kept).expect("writes");
        }
    }
    // A home that takes no files costs time and nothing else.
    fs::remove_dir_all(node.cache()).expect("removes");
    fs::write(node.cache(), "in the way").expect("writes");
    assert_eq!(total(&node.open(), "draws"), UNSAVED_MAX + 1);
}

#[test]
fn a_batch_is_bounded_and_answered_in_order() {
    let node = Node::new();
    node.publish(&["one".into(), "two".into()]);
    let catalog = node.open();
    let mut totals = Vec::new();
    let mut note = |number: usize, searched: &Searched| {
        totals.push((number, searched.found.total));
        Ok(())
    };
    let queries: Vec<Query> = ["two", "draws", "absent"].iter().cycle().take(50).copied().map(Query::words).collect();
    catalog.search_each(&queries, &mut note).expect("searches");
    let expected: Vec<_> = (0..50).map(|number| (number, [1, 2, 0][number % 3])).collect();
    assert_eq!(totals, expected);
    let many = vec![Query::words("x"); BATCH_MAX + 1];
    let nothing = &mut |_: usize, _: &Searched| Ok(());
    assert!(matches!(catalog.search_each(&many, nothing), Err(OpError::BatchTooLong { .. })));
}
