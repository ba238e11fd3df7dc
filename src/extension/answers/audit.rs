//! Answers about advisories: what an audit found, what was imported, what there is.

use std::fmt::Write;

use hypermesh_abi::records::{InputFault, Response};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use crate::advisory::{Advisory, Imported, Rating, Severity, Status};
use crate::ops::audit::{Audited, Weakness};
use crate::ops::publish::published_at;

/// A finding as bad as the level is an error of the verb, so that scripts see it; each is one fault, and the whole answer
/// goes with the error. `printed` stands for the text, if something else is to be printed.
pub(in crate::extension) fn audited(
    audited: &Audited,
    level: Rating,
    printed: Option<String>,
) -> Result<Response, Error> {
    let warnings = warnings(audited);
    let (ignored, open): (Vec<&Weakness>, Vec<&Weakness>) =
        audited.weaknesses.iter().partition(|weakness| weakness.ignored.is_some());
    let denied = open.iter().filter(|weakness| weakness.finding.level() >= level).count();
    let rows = |list: &[&Weakness]| list.iter().map(|weakness| row(weakness)).collect::<Vec<Json>>();
    let status = &audited.status;
    let data = json!({"packages": audited.packages, "advisories": status.advisories,
        "imported_at": status.imported_at.map(published_at), "newest": status.newest.map(published_at), "level": level,
        "denied": denied, "findings": rows(&open), "ignored": rows(&ignored), "warnings": warnings});
    if denied > 0 {
        let counted = if denied == 1 { "1 finding is".into() } else { format!("{denied} findings are") };
        let message = format!("{counted} rated {level} or worse in {}", packages(audited.packages));
        let mut error = Error::new(Code::POLICY_DENIED, message)
            .help("update the packages, or accept a finding with `--ignore ID=REASON`");
        error.detail.name = Some("VULNERABLE".into());
        error.detail.faults = open.iter().map(|weakness| fault(weakness, level)).collect();
        error.detail.answer = Some(Response { data, text: printed.unwrap_or_default() });
        return Err(error);
    }
    let mut text = String::new();
    for weakness in open.iter().chain(&ignored) {
        describe(&mut text, weakness);
    }
    for warning in &warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    if status.advisories > 0 {
        let found = match open.len() {
            0 => "nothing is known against them".to_owned(),
            many => format!("{many} below level {level}"),
        };
        let (against, age) = (advisories_of(status), age(status));
        let _ = writeln!(text, "{} held against {against}{age}: {found}", packages(audited.packages));
    }
    Ok(Response { data, text: printed.unwrap_or(text) })
}

pub(in crate::extension) fn advisories_imported(imported: &Imported, status: &Status) -> Response {
    let Imported { records, added, changed, unchanged, other_ecosystems, removed } = *imported;
    let mut text = format!("{records} records: {added} new, {changed} changed, {unchanged} unchanged");
    let _ = writeln!(text, ", {other_ecosystems} of other ecosystems, {removed} removed");
    let _ = writeln!(text, "this node now has {}", advisories_of(status));
    let data = json!({"records": records, "added": added, "changed": changed, "unchanged": unchanged,
        "other_ecosystems": other_ecosystems, "removed": removed, "advisories": status.advisories});
    Response { data, text }
}

pub(in crate::extension) fn advisories(listed: &[Advisory], limit: usize, status: &Status) -> Response {
    let mut text = String::new();
    let mut rows = Vec::new();
    for advisory in listed.iter().take(limit) {
        let names: Vec<&str> = advisory.packages.iter().map(|name| name.as_str()).collect();
        let withdrawn = if advisory.withdrawn.is_some() { " (withdrawn)" } else { "" };
        let (id, rating) = (&advisory.id, rated(&advisory.severity));
        let _ = writeln!(text, "{id:<20} {rating:<13} {}: {}{withdrawn}", names.join(", "), advisory.title);
        rows.push(
            json!({"id": id, "aliases": advisory.aliases, "title": advisory.title, "packages": advisory.packages,
            "rating": advisory.severity.rating, "score": advisory.severity.score,
            "modified": published_at(advisory.modified), "withdrawn": advisory.withdrawn.map(published_at)}),
        );
    }
    match listed.len() {
        0 => text.push_str("no advisories; `catalog advisories import PATH` imports some\n"),
        total if total > limit => {
            let _ = writeln!(text, "… and {} more; -n {total} shows them", total - limit);
        }
        _ => {}
    }
    let moment = |at: Option<OffsetDateTime>| at.map(published_at);
    let data = json!({"advisories": rows, "total": listed.len(), "active": status.advisories,
        "imported_at": moment(status.imported_at), "newest": moment(status.newest)});
    Response { data, text }
}

fn warnings(audited: &Audited) -> Vec<String> {
    let mut warnings = Vec::new();
    if audited.status.advisories == 0 {
        let none = match audited.status.imported_at {
            None => "no advisories were imported",
            Some(_) => "what was imported has no advisory about packages of HyperMesh",
        };
        warnings.push(format!("{none}, so nothing can be found; `catalog advisories import PATH` imports some"));
    }
    let unused = audited.unused.iter().map(|id| format!("`{id}` is to be ignored, and was not found"));
    warnings.extend(unused);
    warnings
}

fn row(weakness: &Weakness) -> Json {
    let Weakness { package, finding, path, ignored } = weakness;
    json!({"package": package.name, "version": package.version, "id": finding.id(), "ids": finding.ids,
        "rating": finding.severity.rating, "score": finding.severity.score, "level": finding.level(),
        "title": finding.title, "fixed_in": finding.fixed, "path": path, "references": finding.references,
        "ignored": ignored})
}

/// Shows one finding as people read it.
fn describe(text: &mut String, weakness: &Weakness) {
    let Weakness { package, finding, ignored, .. } = weakness;
    let _ = writeln!(text, "{} {}: {} ({})", package.name, package.version, finding.id(), rated(&finding.severity));
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<9} {value}");
        }
    };
    line("title", &finding.title);
    line("also", &finding.ids[1..].join(", "));
    line("fixed in", &finding.fixed.as_ref().map_or("no version".into(), ToString::to_string));
    line("why", &shown_path(weakness));
    line("read", finding.references.first().map_or("", String::as_str));
    line("ignored", ignored.as_deref().unwrap_or_default());
}

/// Gives a finding that is refused, or one beside it, as a fault.
fn fault(weakness: &Weakness, level: Rating) -> InputFault {
    let Weakness { package, finding, .. } = weakness;
    let also = match &finding.ids[1..] {
        [] => String::new(),
        others => format!("; also {}", others.join(", ")),
    };
    InputFault {
        code: finding.id().to_owned(),
        severity: match finding.level() {
            below if below < level => "warning",
            Rating::Critical => "critical",
            _ => "error",
        }
        .into(),
        message: format!(
            "{} {}: {} ({}{also}), there for {}",
            package.name,
            package.version,
            finding.title,
            rated(&finding.severity),
            shown_path(weakness)
        ),
        hint: Some(match &finding.fixed {
            Some(fixed) => format!("{} {fixed} mends it", package.name),
            None => "no version is known to mend it".into(),
        }),
        ..InputFault::default()
    }
}

/// Writes the way from what was asked for: `ray-tracer -> geometry -> vec3`.
pub(super) fn shown_path(weakness: &Weakness) -> String {
    weakness.path.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" -> ")
}

pub(super) fn rated(severity: &Severity) -> String {
    match (severity.rating, severity.score) {
        (None, _) => "not rated, taken as high".into(),
        (Some(rating), None) => rating.to_string(),
        (Some(rating), Some(score)) => format!("{rating} {score:.1}"),
    }
}

fn packages(count: usize) -> String {
    if count == 1 { "1 package".into() } else { format!("{count} packages") }
}

fn advisories_of(status: &Status) -> String {
    match status.advisories {
        1 => "1 advisory".into(),
        many => format!("{many} advisories"),
    }
}

fn age(status: &Status) -> String {
    status.imported_at.map_or(String::new(), |at| format!(" of {}", published_at(at)))
}
