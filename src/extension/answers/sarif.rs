//! An audit as SARIF 2.1.0, the form that code scanners exchange.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::audit::{rated, shown_path};
use crate::advisory::Rating;
use crate::ops::audit::{Audited, Scope, Weakness};
use crate::ops::resolve::LOCKFILE_NAME;

/// Where the schema of the form lies, as its specification says.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Gives a log of one run: a rule for each advisory, a result for each package that it is about. What is ignored is a
/// result too, suppressed with its reason.
pub(in crate::extension) fn sarif(audited: &Audited, scope: &Scope) -> Json {
    let mut rules: BTreeMap<&str, &Weakness> = BTreeMap::new();
    for weakness in &audited.weaknesses {
        rules.entry(weakness.finding.id()).or_insert(weakness);
    }
    let places: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(index, id)| (*id, index)).collect();
    let file = match scope {
        Scope::Lockfile(path) => path.to_string_lossy().into_owned(),
        _ => LOCKFILE_NAME.to_owned(),
    };
    let results: Vec<Json> = audited
        .weaknesses
        .iter()
        .map(|weakness| result(weakness, places.get(weakness.finding.id()).copied().unwrap_or_default(), &file))
        .collect();
    let driver = json!({"name": "catalog", "version": env!("CARGO_PKG_VERSION"),
        "rules": rules.values().map(|weakness| rule(weakness)).collect::<Vec<_>>()});
    json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]})
}

fn rule(weakness: &Weakness) -> Json {
    let finding = &weakness.finding;
    let mut rule = json!({"id": finding.id(), "shortDescription": {"text": finding.title},
        "defaultConfiguration": {"level": level(finding.level())}, "properties": {"tags": ["security"]}});
    if let Some(url) = finding.references.first() {
        rule["helpUri"] = url.as_str().into();
    }
    if let Some(score) = finding.severity.score {
        // Scanners read it as text, by a custom that the specification leaves to them.
        rule["properties"]["security-severity"] = format!("{score:.1}").into();
    }
    rule
}

fn result(weakness: &Weakness, rule: usize, file: &str) -> Json {
    let Weakness { package, finding, ignored, .. } = weakness;
    let fix =
        finding.fixed.as_ref().map_or("no version is known to mend it".into(), |fixed| format!("{fixed} mends it"));
    let text = format!(
        "{} {}: {} ({}); {fix}; there for {}",
        package.name,
        package.version,
        finding.title,
        rated(&finding.severity),
        shown_path(weakness)
    );
    let named = format!("{}@{}", package.name, package.version);
    let mut result = json!({"ruleId": finding.id(), "ruleIndex": rule, "level": level(finding.level()),
        "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(file)}, "region": {"startLine": 1}},
            "logicalLocations": [{"name": package.name, "fullyQualifiedName": named, "kind": "module"}]}],
        "partialFingerprints": {"package/v1": format!("{named}/{}", finding.id())}});
    if let Some(reason) = ignored {
        result["suppressions"] = json!([{"kind": "external", "justification": reason}]);
    }
    result
}

fn level(rating: Rating) -> &'static str {
    match rating {
        Rating::Critical | Rating::High => "error",
        Rating::Medium => "warning",
        Rating::Low | Rating::None => "note",
    }
}

/// Writes a path as a URI: absolute with a scheme, and every byte escaped that a URI does not take as it is.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    let escaped = path.bytes().map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'~' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (byte as char).to_string(),
        other => format!("%{other:02X}"),
    });
    escaped.fold(scheme.to_owned(), |uri, part| uri + &part)
}

#[test]
fn a_path_is_a_uri() {
    assert_eq!(uri("catalog.lock"), "catalog.lock");
    assert_eq!(uri("/home/ä b/catalog.lock"), "file:///home/%C3%A4%20b/catalog.lock");
}
