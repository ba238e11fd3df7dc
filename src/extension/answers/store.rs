//! Answers about archives and the store: what was packed and unpacked, what the store takes, what is wrong with it.

use std::fmt::Write;
use std::path::Path;

use hypermesh_abi::records::{InputFault, Response};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};

use super::size;
use crate::ops::cache::{CacheSize, Pruned};
use crate::ops::fsck::{Fault, State};
use crate::ops::unpack::Unpacked;
use crate::ops::validate::Packed;
use crate::store::{Collected, Extent, Usage};

pub(in crate::extension) fn packed(packed: &Packed, delta: Option<&[u8]>, out: Option<&Path>) -> Response {
    let archive = &packed.archive;
    let (digests, bytes) = (archive.digests(), archive.compressed().len());
    let compression = archive.compression().as_str();
    let mut text = format!("{} {}\n", packed.package.name, packed.package.version);
    let _ = writeln!(text, "  digest   {}", digests.blake3);
    let _ = writeln!(text, "  sha256   {}", digests.sha256);
    let _ = writeln!(text, "  files    {}", archive.entries().len());
    let _ =
        writeln!(text, "  size     {} in {compression} ({} unpacked)", size(bytes as u64), size(archive.tar_bytes()));
    if let Some(delta) = delta {
        let _ = writeln!(text, "  delta    {}", size(delta.len() as u64));
    }
    if let Some(out) = out {
        let _ = writeln!(text, "  written  {}", out.display());
    }
    let data = json!({"package": packed.package.name, "version": packed.package.version, "digest": digests.blake3,
        "sha256": digests.sha256, "sha512": digests.sha512, "bytes": bytes, "compression": compression,
        "delta_bytes": delta.map(<[u8]>::len), "file": out});
    Response { data, text }
}

pub(in crate::extension) fn unpacked(unpacked: &Unpacked) -> Response {
    let Unpacked { archive, bytes, directory } = unpacked;
    let (name, version, digest) = (archive.name(), archive.version(), archive.digest());
    let files: Vec<Json> = archive
        .entries()
        .map(|entry| json!({"path": entry.path, "bytes": entry.bytes.len(), "executable": entry.executable}))
        .collect();
    let count = files.len();
    let text = format!("{name} {version}: {count} files of {digest} in {}\n", directory.display());
    let data = json!({"package": name, "version": version, "digest": digest, "bytes": bytes,
        "tar_bytes": archive.tar_bytes(), "directory": directory, "files": files});
    Response { data, text }
}

pub(in crate::extension) fn cache_size(cache: &CacheSize) -> Response {
    let CacheSize { usage, method, generations, bytes_max } = cache;
    let mut text = shown(usage);
    let _ = writeln!(text, "files are installed by {}; {generations} generations are kept", method.as_str());
    let _ = writeln!(text, "above {} an installation removes what nobody needs", size(*bytes_max));
    let mut data = usage_json(usage);
    data["method"] = method.as_str().into();
    data["generations"] = (*generations).into();
    data["bytes_max"] = (*bytes_max).into();
    Response { data, text }
}

pub(in crate::extension) fn pruned(pruned: &Pruned, extent: Extent) -> Response {
    let Pruned { collected: Collected { packages, archives, objects, bytes }, generations, usage } = pruned;
    let mut text = format!("removed {packages} trees, {archives} archives and {objects} objects: {}\n", size(*bytes));
    if *generations > 0 {
        let _ = writeln!(text, "forgot {generations} generations");
    }
    text.push_str(&shown(usage));
    if let Extent::Within(bound) = extent
        && usage.total() > bound
    {
        let _ = writeln!(text, "everything left is installed, published, or kept to roll back to (`--keep` forgets)");
    }
    let data = json!({"removed": {"packages": packages, "archives": archives, "objects": objects, "bytes": bytes},
        "generations": generations, "usage": usage_json(usage)});
    Response { data, text }
}

pub(in crate::extension) fn checked(faults: &[Fault]) -> Result<Response, Error> {
    let findings: Vec<Json> = faults.iter().map(finding).collect();
    let open: Vec<&Fault> = faults.iter().filter(|fault| matches!(fault.state, State::Open(_))).collect();
    let mut text = String::new();
    for fault in faults {
        let state = match fault.state {
            State::Open(_) => "open",
            State::Repaired => "repaired",
            State::Harmless => "harmless",
        };
        let _ = writeln!(text, "{:<4} {state:<9} {}: {}", fault.invariant, fault.path.display(), fault.reason);
    }
    if faults.is_empty() {
        text.push_str("every invariant holds\n");
    }
    let repaired = faults.iter().filter(|fault| fault.state == State::Repaired).count();
    let data = json!({"clean": open.is_empty(), "open": open.len(), "repaired": repaired, "findings": findings});
    if open.is_empty() {
        return Ok(Response { data, text });
    }
    let counted = if open.len() == 1 { "1 invariant does".into() } else { format!("{} invariants do", open.len()) };
    let mut error = Error::new(Code::INTEGRITY, format!("{counted} not hold"));
    error.detail.name = Some("DAMAGED".into());
    error.detail.faults = open.into_iter().map(fault).collect();
    error.detail.answer = Some(Response { data, text });
    Err(error)
}

fn finding(fault: &Fault) -> Json {
    let (state, help) = match fault.state {
        State::Open(help) => ("open", Some(help)),
        State::Repaired => ("repaired", None),
        State::Harmless => ("harmless", None),
    };
    json!({"invariant": fault.invariant, "path": fault.path, "reason": fault.reason, "package": fault.package,
        "state": state, "help": help})
}

fn fault(fault: &Fault) -> InputFault {
    let help = match fault.state {
        State::Open(help) => Some(help.to_owned()),
        State::Repaired | State::Harmless => None,
    };
    let package = fault.package.as_ref().map_or_else(String::new, |package| format!("{package}: "));
    InputFault {
        code: fault.invariant.into(),
        severity: "critical".into(),
        file: Some(fault.path.display().to_string()),
        message: format!("{package}{}", fault.reason),
        hint: help,
        ..InputFault::default()
    }
}

fn shown(usage: &Usage) -> String {
    let Usage { archives, objects, trees } = *usage;
    let (all, archives, objects) = (size(usage.total()), size(archives), size(objects));
    format!("{all}: {archives} of archives, {objects} of files, {} of files of their own in trees\n", size(trees))
}

fn usage_json(usage: &Usage) -> Json {
    json!({"bytes": usage.total(), "archives": usage.archives, "objects": usage.objects, "trees": usage.trees})
}
