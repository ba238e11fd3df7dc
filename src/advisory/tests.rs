//! A database over a real file: what is found, what an import changes, and what is refused.

use std::fs;

use serde_json::{Value as Json, json};
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-06-01 00:00 UTC);

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("advisories.sqlite")
    }

    fn open(&self) -> Advisories {
        Advisories::open(&self.path()).expect("opens")
    }

    fn import(&self, records: &[Json], leftovers: Leftovers) -> Result<Imported, AdvisoryError> {
        let source = tempfile::tempdir().expect("a directory");
        for (index, record) in records.iter().enumerate() {
            fs::write(source.path().join(format!("{index:03}.json")), record.to_string()).expect("writes");
        }
        self.open().import(source.path(), leftovers, NOW)
    }

    fn found(&self, package: &str, version: &str) -> Vec<Finding> {
        let (name, version) = (package.parse().expect("a name"), version.parse().expect("a version"));
        self.open().affecting(&name, &version).expect("reads")
    }
}

/// Makes a record about `vec3` below 1.2.0.
fn record(id: &str, day: u8) -> Json {
    json!({"id": id, "modified": format!("2026-03-{day:02}T00:00:00Z"), "summary": format!("{id} of day {day}"),
        "affected": [{"package": {"ecosystem": "HyperMesh", "name": "vec3"},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2.0"}]}]}]})
}

fn with(mut record: Json, field: &str, value: Json) -> Json {
    record[field] = value;
    record
}

#[test]
fn a_version_is_found_by_the_name_of_its_package() {
    let fixture = Fixture::new();
    assert_eq!(fixture.open().status().expect("reads"), Status::default());
    let other = with(record("HM-2", 1), "affected", json!([{"package": {"ecosystem": "npm", "name": "vec3"}}]));
    let imported = fixture.import(&[record("HM-1", 1), other], Leftovers::Keep).expect("imports");
    assert_eq!(imported, Imported { records: 2, added: 1, other_ecosystems: 1, ..Imported::default() });
    let found = fixture.found("vec3", "1.1.0");
    assert_eq!((found.len(), found[0].id(), found[0].title.as_str()), (1, "HM-1", "HM-1 of day 1"));
    assert_eq!(found[0].fixed, Some(Version::new(1, 2, 0)));
    assert_eq!((found[0].severity.rating, found[0].level()), (None, Rating::High));
    assert!(fixture.found("vec3", "1.2.0").is_empty());
    assert!(fixture.found("acme/vec3", "1.1.0").is_empty());
    let status = fixture.open().status().expect("reads");
    assert_eq!((status.advisories, status.imported_at), (1, Some(NOW)));
    assert_eq!(status.newest, Some(datetime!(2026-03-01 00:00 UTC)));
}

#[test]
fn the_later_edition_stands_whatever_the_order() {
    let fixture = Fixture::new();
    let count = |imported: Imported| (imported.added, imported.changed, imported.unchanged);
    assert_eq!(count(fixture.import(&[record("HM-1", 2)], Leftovers::Keep).expect("imports")), (1, 0, 0));
    for _ in 0..2 {
        assert_eq!(count(fixture.import(&[record("HM-1", 2)], Leftovers::Keep).expect("imports")), (0, 0, 1));
    }
    assert_eq!(count(fixture.import(&[record("HM-1", 1)], Leftovers::Keep).expect("imports")), (0, 0, 1));
    assert_eq!(fixture.found("vec3", "1.0.0")[0].title, "HM-1 of day 2");
    let both = [record("HM-1", 4), record("HM-1", 3)];
    assert_eq!(count(fixture.import(&both, Leftovers::Keep).expect("imports")), (0, 1, 1));
    assert_eq!(fixture.found("vec3", "1.0.0")[0].title, "HM-1 of day 4");
    // One that names our package no more finds nothing, and an earlier edition does not bring it back.
    let moved = with(record("HM-1", 5), "affected", json!([]));
    fixture.import(&[moved], Leftovers::Keep).expect("imports");
    fixture.import(&[record("HM-1", 4)], Leftovers::Keep).expect("imports");
    assert!(fixture.found("vec3", "1.0.0").is_empty());
    assert_eq!(fixture.open().status().expect("reads").advisories, 0);
}

#[test]
fn a_withdrawn_record_finds_nothing() {
    let fixture = Fixture::new();
    fixture.import(&[record("HM-1", 1)], Leftovers::Keep).expect("imports");
    let withdrawn = with(record("HM-1", 2), "withdrawn", json!("2026-03-02T00:00:00Z"));
    fixture.import(&[withdrawn], Leftovers::Keep).expect("imports");
    assert!(fixture.found("vec3", "1.0.0").is_empty());
    let listed = fixture.open().list(None).expect("reads");
    assert_eq!((listed.len(), listed[0].withdrawn), (1, Some(datetime!(2026-03-02 00:00 UTC))));
    assert_eq!(fixture.open().status().expect("reads").advisories, 0);
}

#[test]
fn aliases_are_one_finding_with_all_names() {
    let fixture = Fixture::new();
    let low = json!([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N"}]);
    let mut later = with(record("ZZ-9", 1), "aliases", json!(["CVE-1", "GHSA-x"]));
    later["affected"][0]["ranges"][0]["events"][1]["fixed"] = "1.3.0".into();
    let records = [
        with(record("CVE-1", 1), "severity", low),
        // Through `CVE-1`, which it does not name, it is the same as the first.
        later,
        with(record("GHSA-x", 1), "summary", Json::Null),
        record("HM-7", 1),
    ];
    fixture.import(&records, Leftovers::Keep).expect("imports");
    let found = fixture.found("vec3", "1.0.0");
    let ids: Vec<_> = found.iter().map(|finding| finding.ids.join(" ")).collect();
    assert_eq!(ids, ["HM-7", "GHSA-x ZZ-9 CVE-1"], "the worst first: nobody has rated HM-7");
    assert_eq!((found[1].level(), found[1].title.as_str()), (Rating::Low, "no title"));
    assert_eq!(found[1].fixed, Some(Version::new(1, 3, 0)), "1.2.0 mends only two of them");
    assert!(found[1].is_called("cve-1") && !found[1].is_called("CVE-2"));
}

#[test]
fn one_record_that_is_wrong_leaves_everything_as_it_was() {
    let fixture = Fixture::new();
    fixture.import(&[record("HM-1", 1)], Leftovers::Keep).expect("imports");
    let mut wrong = record("HM-3", 1);
    wrong["affected"][0]["ranges"][0]["events"][1] = json!({"fixed": 7});
    let error = fixture.import(&[record("HM-2", 1), wrong], Leftovers::Remove).expect_err("is refused").to_string();
    let said = "001.json: record `HM-3`: `affected[0].ranges[0].events[1].fixed`: invalid type: integer `7`";
    assert!(error.contains(said), "{error}");
    let listed = fixture.open().list(None).expect("reads");
    assert_eq!(listed.iter().map(|advisory| advisory.id.as_str()).collect::<Vec<_>>(), ["HM-1"]);
    let error = fixture.import(&[], Leftovers::Remove).expect_err("is refused").to_string();
    assert!(error.ends_with("there is no record in it"), "{error}");
}

#[test]
fn an_import_that_is_everything_removes_the_rest() {
    let fixture = Fixture::new();
    fixture.import(&[record("HM-1", 1), record("HM-2", 1)], Leftovers::Keep).expect("imports");
    let imported = fixture.import(&[record("HM-2", 1), record("HM-3", 1)], Leftovers::Remove).expect("imports");
    assert_eq!((imported.added, imported.unchanged, imported.removed), (1, 1, 1));
    let listed = fixture.open().list(Some(&"vec3".parse().expect("a name"))).expect("reads");
    assert_eq!(listed.iter().map(|advisory| advisory.id.as_str()).collect::<Vec<_>>(), ["HM-2", "HM-3"]);
    assert!(fixture.open().list(Some(&"other".parse().expect("a name"))).expect("reads").is_empty());
}

#[test]
fn a_file_that_is_no_whole_database_is_refused_and_left_alone() {
    let refused = |change: &dyn Fn(&Path), expected: &str| {
        let fixture = Fixture::new();
        let many: Vec<_> = (0..200).map(|index| record(&format!("HM-{index}"), 1)).collect();
        fixture.import(&many, Leftovers::Keep).expect("imports");
        change(&fixture.path());
        let before = fs::read(fixture.path()).expect("reads");
        let error = Advisories::open(&fixture.path()).expect_err("is refused").to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read(fixture.path()).expect("reads"), before);
    };
    let run = |path: &Path, sql: &str| Connection::open(path).expect("opens").execute_batch(sql).expect("runs");
    refused(&|path| fs::write(path, "no database, but as long as one".repeat(40)).expect("writes"), "damaged");
    refused(
        &|path| {
            let bytes = fs::read(path).expect("reads");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("writes");
        },
        "damaged",
    );
    refused(&|path| run(path, "PRAGMA user_version = 99"), "has schema 99, and this program knows schemas up to 1");
    refused(&|path| run(path, "PRAGMA application_id = 7"), "is no database of advisories");
}

#[test]
fn a_record_of_nothing_but_fixes_takes_no_long_time() {
    let fixture = Fixture::new();
    let mut hostile = record("HM-1", 1);
    let fixes = (0..60_000).map(|patch| json!({"fixed": format!("1.0.{patch}")}));
    let events: Vec<Json> = std::iter::once(json!({"introduced": "0"})).chain(fixes).collect();
    hostile["affected"][0]["ranges"][0]["events"] = json!(events);
    let open = json!({"type": "SEMVER", "events": [{"introduced": "0"}]});
    hostile["affected"][0]["ranges"].as_array_mut().expect("a list").push(open);
    fixture.import(&[hostile], Leftovers::Keep).expect("imports");
    assert_eq!(fixture.found("vec3", "1.0.0")[0].fixed, None);
}
