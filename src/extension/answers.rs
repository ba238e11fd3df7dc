//! Answers: the data that programs read and the text that people read, of one operation each.

use std::fmt::Write;
use std::path::Path;

use hypermesh_abi::records::Response;
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::errors;
use crate::lockfile::{LockedPackage, Lockfile};
use crate::ops::execute::Executed;
use crate::ops::inspect::Details;
use crate::ops::install::{Installation, Plan};
use crate::ops::publish::{Mode, Published, published_at};
use crate::ops::search::Found;
use crate::ops::validate::Packed;
use crate::ops::verify::Finding;
use crate::package::{Fault, Faults, Package};
use crate::registry::Record;
use crate::resolve::Resolution;
use crate::vm::execution::Execution;

pub(super) fn valid(package: &Package, warnings: &[Fault]) -> Response {
    let faults = Faults { file: "package".into(), list: warnings.to_vec() };
    let mut text = format!("{} {} is a valid {}\n", package.name, package.version, package.kind);
    for warning in warnings {
        let place = if warning.line > 0 { format!("line {}: ", warning.line) } else { String::new() };
        let _ = writeln!(text, "  warning  {place}{}", warning.message);
    }
    let faults = errors::input_faults(&faults, None);
    Response { data: json!({"package": package.name, "version": package.version, "faults": faults}), text }
}

pub(super) fn packed(packed: &Packed, out: Option<&Path>) -> Response {
    let archive = &packed.archive;
    let (digests, bytes) = (archive.digests(), archive.compressed().len());
    let mut text = format!("{} {}\n", packed.package.name, packed.package.version);
    let _ = writeln!(text, "  digest   {}", digests.blake3);
    let _ = writeln!(text, "  sha256   {}", digests.sha256);
    let _ = writeln!(text, "  files    {}", archive.entries().len());
    let _ = writeln!(text, "  size     {} ({} unpacked)", size(bytes as u64), size(archive.tar_bytes()));
    if let Some(out) = out {
        let _ = writeln!(text, "  written  {}", out.display());
    }
    let data = json!({"package": packed.package.name, "version": packed.package.version, "digest": digests.blake3,
        "sha256": digests.sha256, "sha512": digests.sha512, "bytes": bytes, "file": out});
    Response { data, text }
}

pub(super) fn published(published: &[Published], mode: Mode) -> Response {
    let word = if mode == Mode::DryRun { "would publish" } else { "published" };
    let mut text = String::new();
    let mut packages = Vec::new();
    for Published { release, asset_id } in published {
        let (name, version, digest) = (&release.name, &release.version, release.digests.blake3);
        let named = format!("{name} {version}");
        let _ = writeln!(text, "{word} {named:<28} {}  {}", digest.short(), size(release.archive_bytes));
        packages.push(json!({"package": name, "version": version, "digest": digest, "bytes": release.archive_bytes,
            "asset": asset_id}));
    }
    let mut data = json!({"dry_run": mode == Mode::DryRun, "packages": packages});
    if let [only] = packages.as_slice() {
        for field in ["package", "version", "digest"] {
            data[field] = only[field].clone();
        }
    }
    Response { data, text }
}

pub(super) fn found(hits: &[Found], total: usize) -> Response {
    let mut text = String::new();
    for hit in hits {
        let named = format!("{} {}", hit.name, hit.version);
        let _ = writeln!(text, "{named:<28} {}", hit.description.as_deref().unwrap_or_default());
    }
    match (hits.len(), total) {
        (0, _) => text.push_str("nothing found\n"),
        (shown, total) if shown < total => {
            let _ = writeln!(text, "… and {} more; -n {total} shows them", total - shown);
        }
        _ => {}
    }
    let result = |hit: &Found| json!({"name": hit.name, "version": hit.version, "score": hit.score, "description": hit.description});
    Response { data: json!({"results": hits.iter().map(result).collect::<Vec<_>>(), "total": total}), text }
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
    line("downloads", Some(record.downloads.to_string()));
    let versions: Vec<String> = details.versions.iter().map(ToString::to_string).collect();
    line("versions", Some(versions.join(", ")));
    line("installed", Some(details.installed.as_ref().map_or("no".into(), ToString::to_string)));
    let manifest: Json = serde_json::from_slice(&package.to_canonical_json()).unwrap_or_default();
    let data = json!({"package": package.name, "version": package.version, "digest": release.digests.blake3,
        "asset": record.asset_id, "published_at": published_at(release.published_at), "yanked": record.yanked,
        "downloads": record.downloads, "versions": versions, "installed": details.installed, "manifest": manifest});
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

pub(super) fn resolved(resolution: &Resolution, lock: Option<&Path>) -> Response {
    let mut text = String::new();
    for package in resolution.packages() {
        let named = format!("{} {}", package.name, package.version);
        let needs: Vec<&str> = package.dependencies.iter().map(|name| name.as_str()).collect();
        let needs = if needs.is_empty() { String::new() } else { format!("  needs {}", needs.join(", ")) };
        let _ = writeln!(text, "{}", format!("{named:<28} {}{needs}", package.digest.short()).trim_end());
    }
    if let Some(directory) = lock {
        let _ = writeln!(text, "written to {}", directory.join(crate::ops::resolve::LOCKFILE_NAME).display());
    }
    let packages: Vec<Json> = resolution.packages().map(locked).collect();
    Response { data: json!({"packages": packages, "lock": lock}), text }
}

pub(super) fn installation(installation: &Installation, mode: Mode) -> Response {
    let Plan { added, changed, removed } = &installation.plan;
    let mut text = String::new();
    let lines = added.iter().map(|(name, version)| {
        format!(
            "+ {name} {version}
"
        )
    });
    let lines = lines.chain(changed.iter().map(|(name, from, to)| {
        format!(
            "~ {name} {from} -> {to}
"
        )
    }));
    let lines = lines.chain(removed.iter().map(|(name, version)| {
        format!(
            "- {name} {version}
"
        )
    }));
    text.extend(lines);
    let count = installation.lockfile.packages().len();
    match mode {
        Mode::DryRun => {
            let _ = writeln!(text, "nothing was changed; {count} packages would be installed");
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
        },
        "dry_run": mode == Mode::DryRun,
    });
    Response { data, text }
}

pub(super) fn executed(executed: &Executed) -> Response {
    let (outcome, usage) = (&executed.outcome, &executed.outcome.usage);
    let value = outcome.value.to_json();
    let mut text = outcome.output.stdout.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let _ = writeln!(text, "=> {}", shown(&value));
    let start = if usage.worker_start_us == 0 {
        "warm worker".into()
    } else {
        format!("worker start {}", micros(usage.worker_start_us))
    };
    let _ = writeln!(
        text,
        "   {} {} in {} ({start}, cpu {}, memory {})",
        executed.package.name,
        executed.package.version,
        micros(usage.wall_us),
        micros(usage.cpu_us),
        size(usage.memory_peak_bytes)
    );
    let receipt = &executed.receipt;
    let leases: Vec<Json> = executed
        .leased
        .iter()
        .map(|asset| json!({"id": asset.id, "type": asset.kind, "amount": asset.amount}))
        .collect();
    let data = json!({
        "execution": executed.id, "state": "Completed", "package": executed.package.name,
        "version": executed.package.version, "value": value,
        "stdout": outcome.output.stdout, "stderr": outcome.output.stderr,
        "usage": {"total_us": executed.total_us, "wall_us": usage.wall_us, "worker_start_us": usage.worker_start_us,
            "call_us": usage.call_us, "cpu_us": usage.cpu_us, "memory_peak_bytes": usage.memory_peak_bytes},
        "leases": leases, "sandbox": {"grade": outcome.grade, "layers": outcome.layers},
        "receipt": {"package": executed.package.digest, "program": receipt.program, "input": receipt.input,
            "output": receipt.output, "started_at": published_at(receipt.started_at),
            "finished_at": published_at(receipt.finished_at)},
    });
    Response { data, text }
}

pub(super) fn executions(executions: &[Execution], active: bool) -> Response {
    let shown = executions.iter().filter(|execution| !active || !execution.state.is_final());
    let mut text = String::new();
    let mut rows = Vec::new();
    for execution in shown {
        let state = execution.state.to_string();
        let error = execution.error.as_deref().unwrap_or_default();
        let row = format!(
            "{}  {:<11} {:<22} {:>10}  {error}",
            execution.id,
            state,
            execution.package.as_str(),
            micros(execution.usage.wall_us)
        );
        let _ = writeln!(text, "{}", row.trim_end());
        rows.push(json!({"execution": execution.id, "package": execution.package, "state": state,
            "leases": execution.leases, "proof": execution.proof, "error": execution.error,
            "accepted_at": published_at(execution.accepted_at),
            "started_at": execution.started_at.map(published_at),
            "finished_at": execution.finished_at.map(published_at),
            "usage": {"wall_us": execution.usage.wall_us, "cpu_us": execution.usage.cpu_us,
                "memory_peak_bytes": execution.usage.memory_peak_bytes}}));
    }
    if rows.is_empty() {
        text.push_str("no executions\n");
    }
    Response { data: json!({"executions": rows}), text }
}

/// Damage is an error of the verb, so that scripts see it; the text still names every package.
pub(super) fn verified(findings: &[Finding]) -> Result<Response, Error> {
    let mut text = String::new();
    let mut rows = Vec::new();
    let mut damaged = Vec::new();
    for finding in findings {
        let package = &finding.package;
        let named = format!("{} {}", package.name, package.version);
        let outcome = finding.fault.as_ref().map_or("ok".to_owned(), ToString::to_string);
        let _ = writeln!(text, "{named:<28} {} {outcome}", package.digest.short());
        rows.push(json!({"package": package.name, "version": package.version, "digest": package.digest,
            "ok": finding.fault.is_none(), "reason": finding.fault.as_ref().map(ToString::to_string)}));
        if let Some(fault) = &finding.fault {
            damaged.push(format!("{named}: {fault}"));
        }
    }
    if damaged.is_empty() {
        let _ = writeln!(text, "{} packages are as they were published", findings.len());
        return Ok(Response { data: json!({"packages": rows, "findings": []}), text });
    }
    let mut error =
        Error::new(Code::INTEGRITY, format!("{} of {} packages are damaged", damaged.len(), findings.len()));
    error.chain = damaged;
    Err(error.help("remove the damaged packages and install them again"))
}

fn locked(package: &LockedPackage) -> Json {
    json!({"package": package.name, "name": package.name, "version": package.version, "digest": package.digest,
        "dependencies": package.dependencies})
}

/// Gives a value as people read it: on one line if it is short.
fn shown(value: &Json) -> String {
    const ONE_LINE_MAX: usize = 100;
    let short = value.to_string();
    if short.len() <= ONE_LINE_MAX { short } else { serde_json::to_string_pretty(value).unwrap_or(short) }
}

fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}
