//! Answers about registries as a whole.

use hypermesh_abi::records::Response;
use serde_json::json;

use crate::config::RemoteMode;
use crate::ops::export::Exported;
use crate::ops::remote::RemoteStatus;
use crate::remote::{Mended, Rebuilt};

pub(in crate::extension) fn registry_exported(exported: &Exported) -> Response {
    let Exported { to, packages, versions, left_out, files } = exported;
    let mut text = format!(
        "exported {versions} versions of {packages} packages to {to}: {} files written, {} left as they were\n",
        files.written, files.unchanged
    );
    if *left_out > 0 {
        text.push_str(&format!("left out {left_out} versions of a remote registry that were never fetched\n"));
    }
    let data = json!({"directory": to, "packages": packages, "versions": versions, "left_out": left_out,
        "written": files.written, "unchanged": files.unchanged});
    Response { data, text }
}

pub(in crate::extension) fn registry_rebuilt(url: &str, rebuilt: &Rebuilt) -> Response {
    let Rebuilt { packages, versions, feeds, written, unchanged, faults, further_faults } = rebuilt;
    let mut text = format!(
        "{url} offers {versions} versions of {packages} packages, and {feeds} feeds: {written} objects written, {unchanged} \
         left as they were\n"
    );
    for Mended { path, reason } in faults {
        text.push_str(&format!("  left out  {path}: {reason}\n"));
    }
    if *further_faults > 0 {
        text.push_str(&format!("  and {further_faults} more\n"));
    }
    let told: Vec<_> = faults.iter().map(|Mended { path, reason }| json!({"object": path, "reason": reason})).collect();
    let data = json!({"url": url, "packages": packages, "versions": versions, "feeds": feeds, "written": written,
        "unchanged": unchanged, "faults": told, "further_faults": further_faults});
    Response { data, text }
}

pub(in crate::extension) fn remote_status(status: &RemoteStatus) -> Response {
    let RemoteStatus { url, mode, sync_seconds, health, known } = status;
    let (mode, meaning) = match mode {
        RemoteMode::Fallback => ("fallback", "for packages that are not published here"),
        RemoteMode::Only => ("only", "for all packages"),
    };
    let text = format!(
        "{url}: {}, {meaning}\n  packages  {}\n  versions  {}, {known} of them known here\n  asked     again after \
         {sync_seconds} s\n",
        health.status, health.packages, health.versions
    );
    let data = json!({"url": url, "mode": mode, "status": health.status, "format": health.format,
        "packages": health.packages, "versions": health.versions, "known": known, "sync_seconds": sync_seconds});
    Response { data, text }
}
