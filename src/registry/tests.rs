//! A registry over a real file: what stays, what is refused, and what two processes see.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use time::macros::datetime;

use super::*;
use crate::lockfile::Lockfile;
use crate::package::model::{Conflict, Source};
use crate::resolve::{self, fixture};

pub(super) struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a directory") }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.root.path().join("registry.db")
    }

    pub(super) fn open(&self) -> Registry {
        Registry::open(&self.path()).expect("opens")
    }
}

pub(super) fn name(text: &str) -> PackageName {
    text.parse().expect("a valid name")
}

pub(super) fn version(text: &str) -> Version {
    text.parse().expect("a valid version")
}

pub(super) fn release(name_text: &str, version_text: &str, needs: &[&str]) -> Release {
    let digests = Digests::of(format!("{name_text}@{version_text}").as_bytes());
    Release {
        name: name(name_text),
        version: version(version_text),
        kind: PackageType::LuaScript,
        description: Some("Says hello.".into()),
        tags: vec!["demo".into()],
        keywords: vec![],
        dependencies: needs.iter().map(|need| fixture::dependency(need)).collect(),
        conflicts: Vec::new(),
        features: BTreeMap::from([("fast".into(), vec!["simd".into()])]),
        blob: Digest::of(digests.sha256.as_bytes()),
        digests,
        tar_bytes: 4096,
        archive_bytes: 300,
        published_at: datetime!(2026-01-02 03:04:05 +01:00),
    }
}

pub(super) fn publish(registry: &mut Registry, releases: &[Release]) -> Result<(), RegistryError> {
    let publications: Vec<_> =
        releases.iter().map(|release| Publication { release, manifest: b"{}", voucher: None }).collect();
    registry.publish(&publications, &BTreeMap::new())
}

#[test]
fn what_is_published_is_there_after_a_restart_and_counted() {
    let fixture = Fixture::new();
    let mut one = release("acme/app", "1.0.0", &["lib[x]@linux ^1", "opt? >=2, <3", "far git:https://example.org"]);
    one.dependencies[1].source = Source::Http { url: "https://example.org/a".into(), sha256: "00".into() };
    one.conflicts = vec![Conflict {
        name: "other".parse().expect("a name"),
        requirement: "<2".parse().expect("a requirement"),
        requirement_text: "<2".into(),
    }];
    one.dependencies.push(Dependency { source: Source::Local { path: "../l".into() }, ..one.dependencies[0].clone() });
    publish(&mut fixture.open(), &[one.clone(), release("lib", "1.0.0", &[])]).expect("publishes");

    let registry = fixture.open();
    let record = registry.get(&name("acme/app"), &version("1.0.0")).expect("reads").expect("is there");
    assert_eq!(record, Record { release: one, yanked: None, downloads: 0, asset_id: None });
    assert_eq!(registry.count().expect("counts"), Count { packages: 2, versions: 2 });
    assert_eq!(registry.names().expect("lists"), [name("acme/app"), name("lib")]);
    assert_eq!(registry.manifest(&name("lib"), &version("1.0.0")).expect("reads").as_deref(), Some(&b"{}"[..]));
    assert_eq!(registry.get(&name("lib"), &version("2.0.0")).expect("reads"), None);
    assert_eq!(registry.latest(&name("absent")).expect("reads"), None);
}

#[test]
fn every_type_of_package_has_its_own_text() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    use PackageType as Kind;
    for kind in [
        Kind::JuliaProgram,
        Kind::JuliaLibrary,
        Kind::LuaScript,
        Kind::LuaLibrary,
        Kind::WasmModule,
        Kind::Container,
        Kind::MlModel,
        Kind::DataPipeline,
        Kind::Binary,
        Kind::Custom,
    ] {
        let package = release(&format!("{kind:?}").to_lowercase(), "1.0.0", &[]);
        publish(&mut registry, &[Release { kind, ..package.clone() }]).expect("publishes");
        assert_eq!(registry.latest(&package.name).expect("reads").expect("is there").release.kind, kind);
    }
}

#[test]
fn a_version_never_changes() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let one = release("app", "1.0.0", &[]);
    publish(&mut registry, std::slice::from_ref(&one)).expect("publishes");
    insta::assert_snapshot!(publish(&mut registry, std::slice::from_ref(&one)).expect_err("is refused"), @"package `app` 1.0.0 is already published with this very digest `blake3:5e30deb33e9b8c9d00e04aac33e5df3e83e17299ef0f6c658aed891535ab1e42`");
    let other = Release { digests: Digests::of(b"other"), ..one.clone() };
    insta::assert_snapshot!(publish(&mut registry, &[other]).expect_err("is refused"), @"package `app` 1.0.0 is already published with digest `blake3:5e30deb33e9b8c9d00e04aac33e5df3e83e17299ef0f6c658aed891535ab1e42`, not `blake3:3f796163ebf94718de1cd7582655c012f995c06f1e6970ea2bdc15bcd88a324a`; versions never change");
    for sql in ["UPDATE versions SET digest = 'x'", "UPDATE versions SET manifest = x'00'", "DELETE FROM versions"] {
        assert!(registry.connection.execute(sql, []).is_err(), "{sql}");
    }
    assert_eq!(registry.latest(&one.name).expect("reads").expect("is there").release.digests, one.digests);
}

#[test]
fn several_are_published_together_or_not_at_all() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    publish(&mut registry, &[release("b", "1.0.0", &[])]).expect("publishes");
    assert!(publish(&mut registry, &[release("a", "1.0.0", &[]), release("b", "1.0.0", &[])]).is_err());
    assert_eq!(registry.count().expect("counts"), Count { packages: 1, versions: 1 });
}

#[test]
fn the_latest_version_is_the_highest_release_in_use() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let app = name("app");
    let latest = |registry: &Registry| {
        registry.latest(&app).expect("reads").map(|record| record.release.version.to_string()).unwrap_or_default()
    };
    publish(&mut registry, &[release("app", "2.0.0-rc.1", &[])]).expect("publishes");
    assert_eq!(latest(&registry), "2.0.0-rc.1");
    publish(&mut registry, &["1.9.0", "1.10.0", "1.2.0"].map(|version| release("app", version, &[])))
        .expect("publishes");
    assert_eq!(latest(&registry), "1.10.0");
    registry.set_yanked(&app, &version("1.10.0"), Some("leaks")).expect("yanks");
    assert_eq!(latest(&registry), "1.9.0");
    assert_eq!(registry.list().expect("lists").len(), 1);
    let versions = registry.versions(&app).expect("reads");
    let shown: Vec<_> = versions.iter().map(|record| record.release.version.to_string()).collect();
    assert_eq!(shown, ["1.2.0", "1.9.0", "1.10.0", "2.0.0-rc.1"]);
    assert_eq!(versions[2].yanked.as_deref(), Some("leaks"));
    registry.set_yanked(&app, &version("1.10.0"), None).expect("takes back");
    assert_eq!(latest(&registry), "1.10.0");
}

#[test]
fn downloads_and_the_host_asset_are_noted() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let (app, one) = (name("app"), version("1.0.0"));
    publish(&mut registry, &[release("app", "1.0.0", &[])]).expect("publishes");
    registry.add_downloads(&app, &one, 2).expect("counts");
    registry.add_downloads(&app, &one, 1).expect("counts");
    registry.set_asset_id(&app, &one, "Package:1:2").expect("notes");
    let record = registry.get(&app, &one).expect("reads").expect("is there");
    assert_eq!((record.downloads, record.asset_id.as_deref()), (3, Some("Package:1:2")));
    assert_eq!(registry.by_asset_id("Package:1:2").expect("reads"), [record]);
    assert!(registry.by_asset_id("other").expect("reads").is_empty());
    insta::assert_snapshot!(registry.add_downloads(&app, &version("2.0.0"), 1).expect_err("is refused"), @"package `app` 2.0.0 is not in the registry");
}

#[test]
fn the_bounds_hold() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let many: Vec<_> = (0..=BATCH_MAX).map(|i| release("app", &format!("1.{i}.0"), &[])).collect();
    assert!(matches!(publish(&mut registry, &many), Err(RegistryError::TooMany { .. })));
    publish(&mut registry, &many[..BATCH_MAX]).expect("publishes");
    let last = Publication { release: &many[BATCH_MAX], manifest: b"{}", voucher: None };
    let transaction = registry.connection.transaction().expect("begins");
    insta::assert_snapshot!(insert(&transaction, &last, BATCH_MAX).expect_err("is refused"), @"versions of `app` pass the bound of 1000");
    insert(&transaction, &last, BATCH_MAX + 1).expect("fits");
}

#[test]
fn the_resolver_chooses_from_it() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let releases = [release("app", "1.0.0", &["lib ^1"]), release("lib", "1.0.0", &[]), release("lib", "1.1.0", &[])];
    publish(&mut registry, &releases).expect("publishes");
    let options = resolve::Options::new("linux-x86_64".into(), None);
    let resolved = |registry: &Registry, locked: Option<&Lockfile>| {
        let roots = fixture::requirements("app *");
        let resolution = resolve::resolve(registry, &roots, locked, &options).expect("resolves");
        resolution.into_lockfile()
    };
    let lockfile = resolved(&registry, None);
    let lib = lockfile.get(&name("lib")).expect("is there");
    assert_eq!((lib.version.to_string().as_str(), lib.digest), ("1.1.0", releases[2].digests.blake3));
    registry.set_yanked(&name("lib"), &version("1.1.0"), Some("")).expect("yanks");
    assert_eq!(resolved(&registry, Some(&lockfile)), lockfile);
    assert_eq!(resolved(&registry, None).get(&name("lib")).expect("is there").version, version("1.0.0"));
}

#[test]
fn a_file_that_is_no_whole_registry_is_refused_and_left_alone() {
    let refused = |change: &dyn Fn(&Path), expected: &str| {
        let fixture = Fixture::new();
        let many: Vec<_> = (0..200).map(|i| release("app", &format!("1.{i}.0"), &[])).collect();
        publish(&mut fixture.open(), &many).expect("publishes");
        change(&fixture.path());
        let before = fs::read(fixture.path()).expect("reads");
        let error = Registry::open(&fixture.path()).expect_err("is refused").to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read(fixture.path()).expect("reads"), before);
    };
    let run = |path: &Path, sql: &str| {
        let connection = Connection::open(path).expect("opens");
        connection.execute_batch(sql).expect("runs");
    };
    refused(
        &|path| fs::write(path, "not a database, but long enough to be read as one".repeat(40)).expect("writes"),
        "damaged",
    );
    refused(
        &|path| {
            let mut bytes = fs::read(path).expect("reads");
            let middle = bytes.len() / 2;
            bytes[middle..middle + 8192].fill(0xA5);
            fs::write(path, bytes).expect("writes");
        },
        "damaged",
    );
    refused(
        &|path| {
            let bytes = fs::read(path).expect("reads");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("writes");
        },
        "damaged",
    );
    refused(&|path| run(path, "PRAGMA user_version = 99"), "has schema 99, and this program knows schemas up to ");
    refused(&|path| run(path, "PRAGMA application_id = 7"), "is no registry");
}

#[test]
fn a_large_file_is_not_read_through_and_still_refused_when_cut_short() {
    let fixture = Fixture::new();
    let manifest = vec![b' '; usize::try_from(crate::sqlite::CHECKED_BYTES_MAX / 80).expect("fits")];
    let many: Vec<_> = (0..101).map(|i| release("app", &format!("1.{i}.0"), &[])).collect();
    let publications: Vec<_> =
        many.iter().map(|release| Publication { release, manifest: &manifest, voucher: None }).collect();
    fixture.open().publish(&publications, &BTreeMap::new()).expect("publishes");
    let spoiled = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(fixture.path()).expect("reads");
        change(&mut bytes);
        fs::write(fixture.path(), bytes).expect("writes");
        Registry::open(&fixture.path())
    };
    // The middle is the manifest of some version: only who reads it can know.
    let registry = spoiled(&|bytes| bytes[8 << 20..9 << 20].fill(0xA5)).expect("opens");
    let read = |i: usize| registry.manifest(&many[i].name, &many[i].version);
    assert!((0..101).any(|i| read(i).is_err()), "damage is found when it is read");
    drop(registry);
    let error = spoiled(&|bytes| bytes.truncate(18 << 20)).expect_err("is refused").to_string();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn two_processes_may_use_it_at_once() {
    let fixture = Fixture::new();
    let (mut one, mut two) = (fixture.open(), fixture.open());
    publish(&mut one, &[release("a", "1.0.0", &[])]).expect("publishes");
    publish(&mut two, &[release("b", "1.0.0", &[])]).expect("publishes");
    assert_eq!(one.count().expect("counts"), two.count().expect("counts"));
}
