//! How resolutions read, and conflicts.

use std::fmt::Write;
use std::path::Path;

use hypermesh_abi::records::Response;
use semver::Version;
use serde_json::{Value as Json, json};

use super::locked;
use crate::ops::resolve::{LOCKFILE_NAME, Resolved};
use crate::resolve::Conflict;

pub(in crate::extension) fn resolved(resolved: &Resolved, lock: Option<&Path>) -> Response {
    let Resolved { resolution, merged, warnings } = resolved;
    let mut text = String::new();
    for package in resolution.packages() {
        let named = format!("{} {}", package.name, package.version);
        let needs: Vec<&str> = package.dependencies.iter().map(|name| name.as_str()).collect();
        let needs = if needs.is_empty() { String::new() } else { format!("  needs {}", needs.join(", ")) };
        let _ = writeln!(text, "{}", format!("{named:<28} {}{needs}", package.digest.short()).trim_end());
    }
    if *merged {
        let _ = writeln!(
            text,
            "{LOCKFILE_NAME} was not whole, as after a merge: the versions in it were kept where they fit"
        );
    }
    super::warn(&mut text, warnings);
    if let Some(directory) = lock {
        let _ = writeln!(text, "written to {}", directory.join(LOCKFILE_NAME).display());
    }
    let packages: Vec<Json> = resolution.packages().map(locked).collect();
    Response { data: json!({"packages": packages, "lock": lock, "merged": merged, "warnings": warnings}), text }
}

pub(in crate::extension) fn resolved_in_universe(chosen: &[(String, Version)]) -> Response {
    let mut text = String::new();
    for (name, version) in chosen {
        let _ = writeln!(text, "{name} {version}");
    }
    let packages = chosen.iter().map(|(name, version)| json!({"name": name, "version": version}));
    Response { data: json!({"packages": packages.collect::<Vec<_>>()}), text }
}

/// Gives what programs read of a conflict; people read it as the error.
pub(in crate::extension) fn explanation(conflict: &Conflict) -> Response {
    let data = json!({"explanation": conflict.to_string(), "facts": conflict.facts(),
        "conclusions": conflict.conclusions(), "hints": conflict.hints()});
    Response { data, text: String::new() }
}
