//! What can be found, and that no change of it is missed.

use std::collections::BTreeMap;

use super::super::imported::{Description, Earlier, ImportedCount};
use super::super::tests::{Fixture, name, publish, release, version};
use super::*;

fn description(name: &str, text: &str) -> Description {
    let (tags, keywords) = (vec!["devel".to_owned()], vec!["cc".to_owned()]);
    Description { name: name.into(), version: "4:12".into(), description: text.into(), tags, keywords }
}

fn import(registry: &mut Registry, earlier: Earlier, all: &[Description]) -> Result<ImportedCount, RegistryError> {
    let mut all = all.iter().cloned();
    registry.import(earlier, &mut || Ok::<_, RegistryError>(all.next()))
}

fn listed(registry: &Registry) -> Vec<Listing> {
    let mut all = Vec::new();
    let take = &mut |listing| {
        all.push(listing);
        Ok::<_, RegistryError>(())
    };
    registry.listings(take).expect("lists");
    all
}

fn names(registry: &Registry) -> String {
    listed(registry).into_iter().map(|listing| listing.name).collect::<Vec<_>>().join(" ")
}

/// The names that changed since a mark, with `-` before those that are found no more.
fn since(registry: &Registry, mark: &mut Mark) -> String {
    match registry.changes_since(*mark, 100).expect("reads") {
        Changes::None => String::new(),
        Changes::Unknown => "unknown".into(),
        Changes::Some(now, names) => {
            *mark = now;
            let names: BTreeMap<_, _> = names.into_iter().collect();
            let shown = names.into_iter().map(|(name, listing)| match listing {
                Some(listing) => format!("{name} {}", listing.version),
                None => format!("-{name}"),
            });
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn a_listing_is_the_latest_version_in_use() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let manifest = br#"{"metadata":{"author":"Ada"},"spec":{"content":{"main":"app.lua"}}}"#;
    let mut releases = ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"].map(|version| release("app", version, &[]));
    releases[1].published_at += time::Duration::hours(1);
    let publications: Vec<_> =
        releases.iter().map(|release| super::super::Publication { release, manifest, voucher: None }).collect();
    registry.publish(&publications, &BTreeMap::new()).expect("publishes");
    publish(&mut registry, &[release("other", "1.0.0", &[])]).expect("publishes");
    for (version_text, downloads) in [("1.0.0", 2), ("2.0.0-rc.1", 3)] {
        registry.add_downloads(&name("app"), &version(version_text), downloads).expect("counts");
    }
    let expected = Listing {
        name: "app".into(),
        version: "1.10.0".into(),
        kind: Some(PackageType::LuaScript),
        description: "Says hello.".into(),
        tags: vec!["demo".into()],
        keywords: vec![],
        author: Some("Ada".into()),
        entry: Some("app.lua".into()),
        created: 1_767_319_445,
        updated: 1_767_319_445 + 3_600,
        downloads: 5,
        rating: None,
    };
    assert_eq!(registry.listing("app").expect("reads"), Some(expected.clone()));
    assert_eq!(listed(&registry)[0], expected);
    assert_eq!(names(&registry), "app other");
    for text in ["1.0.0", "1.9.0", "1.10.0", "2.0.0-rc.1"] {
        registry.set_yanked(&name("app"), &version(text), Some("")).expect("yanks");
    }
    assert_eq!((registry.listing("app").expect("reads"), names(&registry)), (None, "other".into()));
}

#[test]
fn no_change_is_missed_whoever_made_it() {
    let fixture = Fixture::new();
    let (mut registry, mut other) = (fixture.open(), fixture.open());
    let mut mark = registry.listings(&mut |_| Ok::<_, RegistryError>(())).expect("lists");
    assert_eq!(since(&registry, &mut mark), "");
    publish(&mut registry, &[release("a", "1.0.0", &[]), release("b", "1.0.0", &[])]).expect("publishes");
    publish(&mut other, &[release("b", "2.0.0", &[])]).expect("publishes");
    assert_eq!(since(&registry, &mut mark), "a 1.0.0, b 2.0.0");
    assert_eq!(since(&registry, &mut mark), "");
    other.set_yanked(&name("b"), &version("2.0.0"), Some("leaks")).expect("yanks");
    other.set_yanked(&name("a"), &version("1.0.0"), Some("leaks")).expect("yanks");
    assert_eq!(since(&registry, &mut mark), "-a, b 1.0.0");
    registry.add_downloads(&name("b"), &version("1.0.0"), 1).expect("counts");
    import(&mut other, Earlier::Keep, &[description("g++", "A compiler.")]).expect("imports");
    assert_eq!(since(&registry, &mut mark), "b 1.0.0, g++ 4:12");
    assert!(publish(&mut registry, &[release("c", "1.0.0", &[]), release("b", "1.0.0", &[])]).is_err());
    assert_eq!(since(&registry, &mut mark), "", "what was rolled back is no change");
    registry.set_asset_id(&name("b"), &version("1.0.0"), "Package:1").expect("notes");
    assert_eq!(since(&registry, &mut mark), "", "nobody finds by an asset's id");
}

#[test]
fn marks_of_other_states_are_not_known() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let mark = |registry: &Registry| registry.listings(&mut |_| Ok::<_, RegistryError>(())).expect("lists");
    let (mut registry, other) = (one.open(), two.open());
    assert_eq!(since(&registry, &mut mark(&other)), "unknown", "a new file is another file");
    publish(&mut registry, &[release("a", "1.0.0", &[])]).expect("publishes");
    let mut newer = mark(&registry);
    // A copy that goes on differently reaches the same number.
    let copy = two.path().with_file_name("copy.db");
    drop(other);
    publish(&mut registry, &[release("b", "1.0.0", &[])]).expect("publishes");
    registry.connection.execute("VACUUM INTO ?1", [copy.display().to_string()]).expect("copies");
    publish(&mut registry, &[release("c", "1.0.0", &[])]).expect("publishes");
    let mut copied = Registry::open(&copy).expect("opens");
    publish(&mut copied, &[release("d", "1.0.0", &[])]).expect("publishes");
    assert_eq!(since(&copied, &mut mark(&registry)), "unknown");
    assert_eq!(since(&copied, &mut newer), "b 1.0.0, d 1.0.0");
    assert_eq!(registry.changes_since(newer, 0).expect("reads"), Changes::Unknown, "more than is worth telling");
}

#[test]
fn changes_are_forgotten_beyond_the_bound() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    publish(&mut registry, &[release("a", "1.0.0", &[])]).expect("publishes");
    let first = registry.listings(&mut |_| Ok::<_, RegistryError>(())).expect("lists");
    let last = CHANGES_MAX + 2_048;
    registry
        .connection
        .execute(&format!(
            "INSERT INTO changes (name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
             SELECT 'a' FROM n"
        ), [])
        .expect("notes");
    let kept: i64 =
        registry.connection.query_row("SELECT count(*) FROM changes", [], |row| row.get(0)).expect("counts");
    assert!((CHANGES_MAX..CHANGES_MAX + 1_024).contains(&kept), "{kept}");
    assert_eq!(since(&registry, &mut { first }), "unknown");
}

#[test]
fn descriptions_are_imported_all_or_none_and_give_way_to_packages() {
    let fixture = Fixture::new();
    let mut registry = fixture.open();
    let all = [description("g++", "A compiler."), description("app", "Elsewhere."), description("0ad", "A game.")];
    let counted = import(&mut registry, Earlier::Keep, &all).expect("imports");
    assert_eq!(counted, ImportedCount { read: 3, removed: 0, total: 3 });
    assert_eq!(names(&registry), "0ad app g++");
    assert_eq!(registry.listing("g++").expect("reads").map(|listing| listing.kind), Some(None));
    publish(&mut registry, &[release("app", "1.0.0", &[])]).expect("publishes");
    assert_eq!(names(&registry), "0ad app g++");
    assert_eq!(registry.listing("app").expect("reads").map(|listing| listing.version), Some("1.0.0".into()));
    registry.set_yanked(&name("app"), &version("1.0.0"), Some("")).expect("yanks");
    assert_eq!(registry.listing("app").expect("reads").map(|listing| listing.version), Some("4:12".into()));

    let mut left = 1;
    let failed = registry.import(Earlier::Remove, &mut || {
        left -= 1;
        if left < 0 { Err(RegistryError::Row { reason: "bad".into() }) } else { Ok(Some(description("new", ""))) }
    });
    assert!(failed.is_err());
    assert_eq!(names(&registry), "0ad app g++");
    let mut one = vec![description("g++", "Newer.")].into_iter();
    let over = registry.import_at_most(Earlier::Keep, &mut || Ok::<_, RegistryError>(one.next()), 2);
    insta::assert_snapshot!(over.expect_err("is refused"), @"imported descriptions pass the bound of 2");
    let counted = import(&mut registry, Earlier::Remove, &[description("g++", "Newer.")]).expect("imports");
    assert_eq!((counted, names(&registry)), (ImportedCount { read: 1, removed: 3, total: 1 }, "g++".into()));
    assert_eq!(listed(&registry)[0].description, "Newer.");
}
