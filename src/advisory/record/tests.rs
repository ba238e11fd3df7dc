//! What is read, what is ignored, and what is refused with its path.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::advisory::rating::Rating;

fn record(change: impl FnOnce(&mut Json)) -> Json {
    let mut record = json!({
        "schema_version": "1.7.4", "id": "HM-2026-0001", "modified": "2026-03-01T10:00:00.5Z",
        "published": "2026-02-01T10:00:00Z", "aliases": ["CVE-2026-1000"], "related": ["X-1"], "upstream": [],
        "summary": "Reads out of bounds", "details": "Long.\n\nText.",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}],
        "affected": [
            {"package": {"ecosystem": "HyperMesh", "name": "acme/vec3", "purl": "pkg:generic/vec3"},
             "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.0.2"}], "database_specific": {}}],
             "versions": ["2.0.0"], "ecosystem_specific": {}, "database_specific": {"x": [1]}},
            {"package": {"ecosystem": "npm", "name": "@Not/Ours"}, "ranges": [{"type": "NEW", "events": []}],
             "versions": ["no version"]}],
        "references": [{"type": "WEB", "url": "https://example.org/1"}],
        "credits": [{"name": "Ada", "type": "FINDER"}], "database_specific": {"severity": "LOW"}, "unknown": {"a": 1},
    });
    change(&mut record);
    record
}

fn parse(record: &Json) -> Result<Record, Fault> {
    Record::parse(record.to_string().as_bytes())
}

#[test]
fn a_record_keeps_what_matters_and_ignores_what_is_new() {
    let record = parse(&record(|_| ())).expect("reads");
    assert_eq!((record.id.as_str(), record.aliases.as_slice()), ("HM-2026-0001", &["CVE-2026-1000".to_owned()][..]));
    assert_eq!((record.modified.nanosecond(), record.withdrawn), (500_000_000, None));
    assert_eq!(record.entries.len(), 1, "the other is not of our ecosystem");
    let entry = &record.entries[0];
    assert_eq!((entry.package.as_str(), entry.severity.rating), ("acme/vec3", Some(Rating::High)));
    for (version, expected) in [("0.1.0", true), ("1.0.1", true), ("1.0.2", false), ("2.0.0", true), ("2.0.1", false)] {
        assert_eq!(entry.affected.contains(&version.parse().expect("a version")), expected, "{version}");
    }
}

#[test]
fn the_least_record_and_null_for_absent_fields_are_read() {
    let least = parse(&json!({"id": "A-1", "modified": "2026-01-01T00:00:00Z"})).expect("reads");
    assert!(least.entries.is_empty());
    let nulls = parse(&record(|record| {
        for field in ["withdrawn", "aliases", "summary", "severity", "references", "database_specific"] {
            record[field] = Json::Null;
        }
    }));
    assert_eq!(nulls.expect("reads").entries[0].severity, Severity::default());
}

#[test]
fn the_severity_of_a_package_stands_above_that_of_the_record() {
    let of = |change: &dyn Fn(&mut Json)| parse(&record(change)).expect("reads").entries[0].severity.rating;
    let critical = json!([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]);
    assert_eq!(of(&|record| record["affected"][0]["severity"] = critical.clone()), Some(Rating::Critical));
    assert_eq!(of(&|record| record["severity"] = json!([])), Some(Rating::Low));
    let own = |record: &mut Json| {
        record["severity"] = json!([]);
        record["affected"][0]["ecosystem_specific"]["severity"] = "CRITICAL".into();
    };
    assert_eq!(of(&own), Some(Rating::Critical));
}

#[test]
fn what_is_wrong_is_refused_with_its_path() {
    let check = |change: &dyn Fn(&mut Json), path: &str, reason: &str| {
        let fault = parse(&record(change)).expect_err("is refused");
        assert_eq!(fault.path, path, "{fault:?}");
        assert!(fault.reason.contains(reason), "{fault:?}");
    };
    let event = |record: &mut Json, event: Json| record["affected"][0]["ranges"][0]["events"][1] = event;
    check(&|record| record["id"] = 7.into(), "id", "invalid type: integer");
    check(&|record| record["id"] = "a b".into(), "id", "printable");
    check(&|record| record["id"] = "x".repeat(ID_BYTES_MAX + 1).into(), "id", "printable");
    check(&|record| record["modified"] = "yesterday".into(), "modified", "is no time");
    check(&|record| record["withdrawn"] = true.into(), "withdrawn", "invalid type: boolean");
    check(&|record| record["aliases"] = json!([["x"]]), "aliases[0]", "invalid type: sequence");
    check(&|record| record["aliases"] = json!(["a", "b\u{1b}"]), "aliases[1]", "printable");
    check(&|record| record["affected"][1]["versions"] = json!({}), "affected[1].versions", "invalid type: map");
    check(&|record| record["affected"][0]["package"]["name"] = "Vec3".into(), "affected[0].package.name", "lower-case");
    check(&|record| record["affected"][0]["versions"] = json!(["1"]), "affected[0].versions[0]", "is no version");
    check(&|record| record["affected"][0]["ranges"][0]["type"] = "X".into(), "affected[0].ranges[0].type", "`X`");
    check(&|record| event(record, json!({})), "affected[0].ranges[0].events[1]", "exactly one");
    check(&|r| event(r, json!({"fixed": "1.0.0", "limit": "2.0.0"})), "affected[0].ranges[0].events[1]", "exactly one");
    check(&|record| event(record, json!({"fixed": "1.0"})), "affected[0].ranges[0].events[1]", "`1.0` is no version");
    check(&|record| event(record, json!({"fixed": 1})), "affected[0].ranges[0].events[1].fixed", "invalid type");
    let none = |record: &mut Json| record["affected"][0]["ranges"][0]["events"] = json!([{"fixed": "1.0.0"}]);
    check(&none, "affected[0].ranges[0].events", "introduced");
    check(&|record| drop(record.as_object_mut().expect("a map").remove("modified")), ".", "missing field `modified`");
}

#[test]
fn the_bounds_of_a_record_hold() {
    let padded = |size: usize| {
        let head = br#"{"id": "A-1", "modified": "2026-01-01T00:00:00Z"}"#;
        let mut bytes = head.to_vec();
        bytes.resize(size, b' ');
        Record::parse(&bytes)
    };
    assert!(padded(RECORD_BYTES_MAX).is_ok());
    assert!(padded(RECORD_BYTES_MAX + 1).expect_err("is refused").reason.contains("passes the bound"));
    let deep = |field: &str| {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let head = r#""id": "A-1", "modified": "2026-01-01T00:00:00Z""#;
        Record::parse(format!("{{{head}, {field:?}: {open}{close}}}").as_bytes())
    };
    assert!(deep("unknown").is_ok(), "it is skipped without recursion");
    assert!(deep("database_specific").expect_err("is refused").reason.contains("recursion limit"));
    assert!(Record::parse(b"{\"id\": \"A-1\", \"modified\": \"2026-01-01T00:00:00Z\"} x").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        field in "[a-z_]{0,12}",
        value in prop_oneof![Just("null".to_owned()), "[0-9]{1,4}", "\"\\PC{0,9}\"", Just("[{}]".into()), Just("{}".into())],
    ) {
        let _ = Record::parse(format!("{{\"id\": \"A-1\", \"modified\": \"2026-01-01T00:00:00Z\", {field:?}: {value}}}").as_bytes());
        let mut record = record(|_| ());
        if let Ok(value) = serde_json::from_str::<Json>(&value) {
            record[&field] = value.clone();
            record["affected"][0][&field] = value.clone();
            record["affected"][0]["ranges"][0][&field] = value.clone();
            record["affected"][0]["ranges"][0]["events"][0][&field] = value;
        }
        let _ = parse(&record);
    }
}
