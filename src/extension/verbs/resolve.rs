//! The verb `resolve`.

use std::path::PathBuf;

use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extension::ports::CallHost;
use crate::extension::{CatalogExtension, answers};
use crate::ops::resolve::{How, InUniverse, write_lockfile};
use crate::resolve::Preference;
use crate::resolve::universe::Mode;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolve {
    /// Packages as NAME or NAME@REQUIREMENT, or a directory as ./DIR
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    packages: Vec<String>,
    /// Keep the versions of the catalog.lock in this directory where they fit, and write it
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "DIR", "path": true}))]
    lock: Option<PathBuf>,
    /// Pass over versions published after this moment (RFC 3339), or within this time (such as 7d or 12h)
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "TIME"}))]
    exclude_newer: Option<String>,
    /// Choose the lowest versions that fit together instead of the highest
    #[serde(default)]
    minimal_versions: bool,
    /// Choose the lowest versions of what is named, and the highest of what that needs
    #[serde(default)]
    minimal_direct: bool,
    /// Resolve for this platform instead of the node's
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "PLATFORM"}))]
    platform: Option<String>,
    /// Ask no other machine; use what is on this node
    #[serde(default)]
    offline: bool,
    /// Resolve against the versions in this file, one a line as JSON, instead of what is published
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    index: Option<PathBuf>,
    /// What to resolve against the index: a JSON list of {"name", "req", "features"}
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    requirements: Option<PathBuf>,
    /// One version of each name of the index, or one of each major version
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "MODE"}, "enum" = ["single", "majors"]))]
    mode: Option<String>,
}

pub(super) fn verb() -> Verb {
    Verb::new::<Resolve>("resolve", "Find exact packages for requirements, installing nothing")
        .description(
            "Chooses the highest versions that fit together, keeping those of an existing catalog.lock where they \
             still fit, or explains in a few sentences why nothing fits. A catalog.lock with the marks of a merge is \
             read as both its sides, and written without them. With an index, resolves against the versions in a file.",
        )
        .example("resolve ray-tracer", "what installing it would bring")
        .example("resolve ./my-package --lock ./my-package", "write a package's catalog.lock, or mend it after a merge")
        .example("resolve ray-tracer --exclude-newer 7d", "nothing that is younger than a week")
        .example("resolve ./my-package --minimal-direct", "whether the lower bounds of requirements are true")
        .example("resolve --index all.ndjson --requirements app.json --mode majors", "against versions in a file")
}

pub(super) async fn resolve(extension: &CatalogExtension, call: Call, params: Resolve) -> Result<Response, Error> {
    let preference = match (params.minimal_versions, params.minimal_direct) {
        (true, true) => return Err(exclude("minimal_versions", "minimal_direct")),
        (true, false) => Preference::Lowest,
        (false, true) => Preference::LowestDirect,
        (false, false) => Preference::Highest,
    };
    let how = How { exclude_newer: params.exclude_newer, preference, platform: params.platform };
    match (params.index, params.requirements, params.mode) {
        (Some(_), ..) if !params.packages.is_empty() => Err(exclude("index", "packages")),
        (Some(_), ..) if params.lock.is_some() => Err(exclude("index", "lock")),
        (Some(index), Some(requirements), mode) => {
            let mode = match mode.as_deref() {
                None | Some("single") => Mode::Single,
                Some("majors") => Mode::Majors,
                Some(other) => {
                    let message = format!("parameter `mode`: `{other}` is neither `single` nor `majors`");
                    return Err(Error::new(Code::INVALID_ARGUMENT, message));
                }
            };
            let what = InUniverse { index, requirements, mode };
            extension
                .blocking(call, move |catalog, host| {
                    Ok(answers::resolved_in_universe(&catalog.resolve_in_universe(&what, &how, host)?))
                })
                .await
        }
        (None, None, None) if params.packages.is_empty() => {
            let message = "nothing to resolve: no package is given";
            Err(Error::new(Code::INVALID_ARGUMENT, message).help("give packages, or `--index` and `--requirements`"))
        }
        (None, None, None) => {
            extension
                .blocking_as(CallHost::new(call).offline_if(params.offline), move |catalog, host| {
                    let resolved = catalog.resolve_as(&params.packages, params.lock.as_deref(), &how, host)?;
                    if let Some(directory) = &params.lock {
                        write_lockfile(directory, resolved.resolution.lockfile())?;
                    }
                    Ok(answers::resolved(&resolved, params.lock.as_deref()))
                })
                .await
        }
        _ => {
            let message = "parameters `index` and `requirements` need each other, and `mode` needs both";
            Err(Error::new(Code::INVALID_ARGUMENT, message).help("give both files, or packages alone"))
        }
    }
}

fn exclude(one: &str, other: &str) -> Error {
    let message = format!("parameters `{one}` and `{other}` exclude each other");
    Error::new(Code::INVALID_ARGUMENT, message).help("leave one of them out")
}
