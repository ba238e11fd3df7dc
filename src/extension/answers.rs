//! Answers: the data that programs read and the text that people read, of one operation each.

mod audit;
mod bench_vm;
mod doctor;
mod document;
mod inspect;
mod memory;
mod network;
mod registry;
mod resolve;
mod runs;
#[cfg(feature = "julia")]
mod runtime;
mod sandbox;
mod sarif;
mod search;
mod shown;
mod store;
mod template;
mod trust;

use std::fmt::Write;
use std::path::Path;

use hypermesh_abi::records::Response;
use serde_json::{Value as Json, json};

pub(super) use self::audit::{advisories, advisories_imported, audited};
pub(super) use self::bench_vm::measured;
pub(super) use self::doctor::doctor;
pub(super) use self::document::documented;
pub(super) use self::inspect::{bill, difference, licences, noted, outdated, owners, recommended, tree, why};
pub(super) use self::memory::{ended_memory, kept_memory, read_memory, word, written_memory};
pub(super) use self::network::{mirrored, mirrored_now, peers, replicas, synchronised};
pub(super) use self::registry::{registry_exported, registry_rebuilt, remote_status};
pub(super) use self::resolve::{explanation, resolved, resolved_in_universe};
pub(super) use self::runs::{
    agreed, checked_receipt, detached, disagreement, executed, execution, executions, logs, terminated, verified,
};
#[cfg(feature = "julia")]
pub(super) use self::runtime::{runtime_installed, runtime_removed, runtimes};
pub(super) use self::sandbox::{attacked, attacks};
pub(super) use self::sarif::sarif;
pub(super) use self::search::{Batch, descriptions_imported, found};
pub(super) use self::shown::size;
pub(super) use self::store::{cache_size, checked, packed, pruned, unpacked};
pub(super) use self::template::{brought_up, made, template, templates};
pub(super) use self::trust::{explained, feeds, renewed, yanked};
use super::errors;
use crate::lockfile::{LockedPackage, Lockfile};
use crate::ops::inspect::Details;
use crate::ops::install::{Installation, Plan};
use crate::ops::publish::{Mode, Published, published_at};
use crate::ops::validate::Packed;
use crate::package::Faults;
use crate::package::analyse::Analyser;
use crate::registry::{Opinion, Record};
use crate::trust::policy::Decision;

pub(super) fn validated(packed: &Packed) -> Response {
    let (package, analysis) = (&packed.package, &packed.analysis);
    let warnings = Faults { file: String::new(), list: packed.warnings.clone() };
    let mut faults = errors::input_faults(&warnings, Some(&packed.manifest.display().to_string()));
    faults.extend(analysis.findings.iter().map(|found| errors::of_finding(found, &packed.manifest)));
    let mut text = format!("{} {} is a valid {}\n", package.name, package.version, package.kind);
    let scores = analysis.scores.iter().map(|(analyser, score)| format!("{analyser:?} {score}").to_lowercase());
    let _ = writeln!(text, "  scores           {}", scores.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "  execution-ready  {}", if analysis.execution_ready { "yes" } else { "no" });
    for fault in &faults {
        let file = fault.file.as_deref().and_then(|file| Path::new(file).file_name());
        let line = fault.line.map_or(String::new(), |line| format!(":{line}"));
        let place = file.map_or(String::new(), |file| format!("{}{line}: ", file.display()));
        let field = fault.path.as_ref().map_or(String::new(), |path| format!("`{path}`: "));
        let _ = writeln!(text, "  {:<8} {place}{field}{} [{}]", fault.severity, fault.message, fault.code);
        if let Some(hint) = &fault.hint {
            let _ = writeln!(text, "           {hint}");
        }
    }
    let scores: serde_json::Map<String, Json> = analysis
        .scores
        .iter()
        .map(|(analyser, score)| (format!("{analyser:?}").to_lowercase(), (*score).into()))
        .collect();
    let data = json!({"package": package.name, "version": package.version, "type": package.kind.as_str(),
        "faults": faults, "findings": analysis.findings, "score": analysis.score(Analyser::Security), "scores": scores,
        "passed": analysis.passed, "execution_ready": analysis.execution_ready, "risk": analysis.risk});
    Response { data, text }
}

pub(super) fn published(published: &[Published], mode: Mode) -> Response {
    let word = if mode == Mode::DryRun { "would publish" } else { "published" };
    let mut text = String::new();
    let mut packages = Vec::new();
    for Published { release, asset_id, decision } in published {
        let (name, version, digest) = (&release.name, &release.version, release.digests.blake3);
        let named = format!("{name} {version}");
        let _ = writeln!(text, "{word} {named:<28} {}  {}", digest.short(), size(release.archive_bytes));
        let warnings: Vec<String> = decision.iter().flat_map(Decision::warnings).collect();
        warn(&mut text, &warnings);
        packages.push(json!({"package": name, "version": version, "digest": digest, "bytes": release.archive_bytes,
            "asset": asset_id, "warnings": warnings}));
    }
    let mut data = json!({"dry_run": mode == Mode::DryRun, "packages": packages});
    if let [only] = packages.as_slice() {
        for field in ["package", "version", "digest"] {
            data[field] = only[field].clone();
        }
    }
    Response { data, text }
}

pub(super) fn details(details: &Details) -> Response {
    let (package, record) = (&details.package, &details.record);
    let release = &record.release;
    let mut text = format!("{} {}\n", package.name, package.version);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "  {name:<13} {value}");
        }
    };
    line("description", package.about.description.clone());
    line("type", Some(package.kind.to_string()));
    line("author", package.about.author.clone());
    line("license", package.about.license.clone());
    line("tags", Some(package.about.tags.join(", ")));
    let needs = package.dependencies.iter().map(|need| format!("{} {}", need.name, need.requirement_text));
    line("depends on", Some(needs.collect::<Vec<_>>().join(", ")));
    let conflicts = package.conflicts.iter().map(|other| format!("{} {}", other.name, other.requirement_text));
    line("not beside", Some(conflicts.collect::<Vec<_>>().join(", ")));
    let resources = &package.resources;
    let limits = format!(
        "{}m cpu, {}, {:?}",
        resources.cpu_limit.0,
        size(resources.memory_limit.0),
        resources.execution_timeout
    );
    line("limits", Some(limits));
    line("digest", Some(release.digests.blake3.to_string()));
    line("asset", record.asset_id.clone());
    line("size", Some(format!("{} ({} unpacked)", size(release.archive_bytes), size(release.tar_bytes))));
    line("published", Some(published_at(release.published_at)));
    line("yanked", record.yanked.clone());
    let statistics = &details.statistics;
    let of_all = format!("{} of this version, {} of all", record.downloads, statistics.downloads);
    line("downloads", Some(of_all));
    let rating = statistics.rating;
    line("rating", (rating.count > 0).then(|| format!("{:.1} of 5, by {}", rating.average, rating.count)));
    line("dependents", Some(statistics.dependents.to_string()));
    line("published by", details.publisher.clone());
    let versions: Vec<String> = details.versions.iter().map(ToString::to_string).collect();
    line("versions", Some(versions.join(", ")));
    line("installed", Some(details.installed.as_ref().map_or("no".into(), ToString::to_string)));
    for opinion in &details.opinions {
        let comment = opinion.comment.as_deref().map_or(String::new(), |comment| format!(": {comment}"));
        line("opinion", Some(format!("{} of 5 for {}{comment}", opinion.stars, opinion.version)));
    }
    let opinion = |opinion: &Opinion| {
        json!({"rater": opinion.rater, "version": opinion.version, "stars": opinion.stars, "comment": opinion.comment,
            "at": published_at(opinion.at)})
    };
    let opinions: Vec<Json> = details.opinions.iter().map(opinion).collect();
    let manifest: Json = serde_json::from_slice(&package.to_canonical_json()).unwrap_or_default();
    let data = json!({"package": package.name, "version": package.version, "digest": release.digests.blake3,
        "asset": record.asset_id, "published_at": published_at(release.published_at), "yanked": record.yanked,
        "downloads": record.downloads, "downloads_of_all_versions": statistics.downloads,
        "dependents": statistics.dependents, "rating": {"average": rating.average, "count": rating.count},
        "opinions": opinions, "publisher": details.publisher, "versions": versions, "installed": details.installed, "manifest": manifest});
    Response { data, text }
}

pub(super) fn releases(records: &[Record]) -> Response {
    let mut text = String::new();
    let mut packages = Vec::new();
    for record in records {
        let release = &record.release;
        let named = format!("{} {}", release.name, release.version);
        let yanked = if record.yanked.is_some() { "  (yanked)" } else { "" };
        let _ = writeln!(text, "{named:<28} {:<14} {}{yanked}", release.kind.as_str(), release.digests.blake3.short());
        packages.push(json!({"package": release.name, "version": release.version, "type": release.kind.as_str(),
            "digest": release.digests.blake3, "asset": record.asset_id, "yanked": record.yanked,
            "downloads": record.downloads}));
    }
    if records.is_empty() {
        text.push_str("nothing is published; `catalog publish DIR` publishes a package\n");
    }
    Response { data: json!({"packages": packages}), text }
}

pub(super) fn installed(generation: u64, lockfile: &Lockfile) -> Response {
    let mut text = String::new();
    let mut packages = Vec::new();
    for package in lockfile.packages() {
        let asked = lockfile.roots().iter().any(|root| root.name == package.name);
        let named = format!("{} {}", package.name, package.version);
        let why = if asked { "asked for" } else { "needed by others" };
        let _ = writeln!(text, "{named:<28} {:<14} {why}", package.digest.short());
        let mut entry = locked(package);
        entry["asked_for"] = asked.into();
        packages.push(entry);
    }
    if packages.is_empty() {
        text.push_str("nothing is installed; `catalog install PKG` installs a package\n");
    }
    Response { data: json!({"generation": generation, "packages": packages}), text }
}

pub(super) fn installation(installation: &Installation, mode: Mode) -> Response {
    let Plan { added, changed, removed, repaired } = &installation.plan;
    let mut text = String::new();
    for (name, version) in added {
        let _ = writeln!(text, "+ {name} {version}");
    }
    for (name, from, to) in changed {
        let _ = writeln!(text, "~ {name} {from} -> {to}");
    }
    for (name, version) in removed {
        let _ = writeln!(text, "- {name} {version}");
    }
    for (name, version) in repaired {
        let _ = writeln!(text, "! {name} {version} was damaged and is made anew");
    }
    if installation.merged {
        let _ =
            writeln!(text, "its catalog.lock was not whole, as after a merge: what is in it was kept where it fits");
    }
    warn(&mut text, &installation.warnings);
    let count = installation.lockfile.packages().len();
    match mode {
        Mode::DryRun => {
            let _ = writeln!(text, "nothing was changed; {count} packages would be installed in all");
        }
        Mode::Commit if text.is_empty() => {
            let _ = writeln!(text, "nothing to do: generation {}, {count} packages installed", installation.generation);
        }
        Mode::Commit => {
            let _ = writeln!(text, "generation {}: {count} packages installed", installation.generation);
        }
    }
    let pair = |(name, version): &(_, _)| json!({"package": name, "version": version});
    let data = json!({
        "generation": installation.generation,
        "packages": installation.lockfile.packages().map(locked).collect::<Vec<_>>(),
        "plan": {
            "added": added.iter().map(pair).collect::<Vec<_>>(),
            "changed": changed.iter().map(|(name, from, to)| json!({"package": name, "from": from, "to": to}))
                .collect::<Vec<_>>(),
            "removed": removed.iter().map(pair).collect::<Vec<_>>(),
            "repaired": repaired.iter().map(pair).collect::<Vec<_>>(),
        },
        "dry_run": mode == Mode::DryRun,
        "warnings": installation.warnings,
        "merged": installation.merged,
    });
    Response { data, text }
}

fn warn(text: &mut String, warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
}

fn locked(package: &LockedPackage) -> Json {
    json!({"package": package.name, "name": package.name, "version": package.version, "digest": package.digest,
        "dependencies": package.dependencies})
}
