//! The verbs about runtimes: which there are, installing one, removing it.

use std::path::PathBuf;

use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::{self, Call};
use hypermesh_abi::{Code, Error};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::parameters::Nothing;
use super::read;
use crate::extension::{CatalogExtension, answers};
use crate::ops::runtime::WithImage;
use crate::vm::julia::install::Source;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Install {
    /// Which runtime
    #[schemars(extend("x-cli" = {"position": 1, "value": "NAME"}, "enum" = ["julia"]))]
    name: String,
    /// A release as a file, or a directory of Debian's packages with their SHA256SUMS; no network is needed then
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "PATH", "path": true}))]
    from: Option<PathBuf>,
    /// Where to download it from; its makers if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "NAME"}, "enum" = ["release", "debian"]))]
    source: Option<String>,
    /// Do not compile the worker into an image; workers then take seconds to start
    #[serde(default)]
    no_image: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remove {
    /// Which runtime, as julia@VERSION
    #[schemars(extend("x-cli" = {"position": 1, "value": "NAME"}))]
    name: String,
}

/// Gives the rows of the request table.
pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Nothing>("runtime list", "List the runtimes that programs can run with")
            .description(
                "Shows every Julia, 1.5 or newer, that is configured, installed into the node's home, on the search path or of \
                 Juliaup. Programs run with the first.",
            )
            .example("runtime list", "which there are"),
        Verb::new::<Install>("runtime install", "Install a runtime into the node's home")
            .description(
                "Brings a Julia into the node's home and changes nothing else on the machine. Without `--from` it is downloaded: \
                 the release of its makers, whose digest is known, or Debian's packages, which `apt-get` verifies. Then the \
                 worker is compiled into an image, which takes minutes and needs a C compiler, so that programs start at \
                 once. What is there already is not installed again; a missing image is made.",
            )
            .example("runtime install julia", "the release of its makers")
            .example("runtime install julia --source debian --no-image", "Debian's packages, and workers that start slowly")
            .example("runtime install julia --from ./debs", "from packages in a directory, offline")
            .streaming(),
        Verb::new::<Remove>("runtime remove", "Remove a runtime from the node's home")
            .taking_away()
            .example("runtime remove julia@1.10.10", "this version, with its image"),
    ]
}

/// Answers a verb of this table.
pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    match verb {
        "runtime list" => {
            let Nothing {} = read(params)?;
            extension.blocking(call, |catalog, _| Ok(answers::runtimes(&catalog.runtimes()))).await
        }
        "runtime install" => {
            let params: Install = read(params)?;
            let source = source(&params)?;
            let with = if params.no_image { WithImage::No } else { WithImage::Yes };
            extension
                .blocking(call, move |catalog, host| {
                    Ok(answers::runtime_installed(&catalog.runtime_install(&source, with, host)?))
                })
                .await
        }
        "runtime remove" => {
            let Remove { name } = read(params)?;
            let Some(version) = name.strip_prefix("julia@").map(str::to_owned) else {
                let message = format!("parameter `name`: `{name}` is no runtime with its version");
                return Err(Error::new(Code::INVALID_ARGUMENT, message).help("write it as `julia@1.10.10`"));
            };
            extension
                .blocking(call, move |catalog, _| {
                    let (julia, bytes) = catalog.runtime_remove(&version)?;
                    Ok(answers::runtime_removed(&julia, bytes))
                })
                .await
        }
        _ => Err(sdk::unknown_verb(verb)),
    }
}

fn source(params: &Install) -> Result<Source, Error> {
    let refuse = |message: String, help: &str| Err(Error::new(Code::INVALID_ARGUMENT, message).help(help.to_owned()));
    if params.name != "julia" {
        return refuse(format!("parameter `name`: there is no runtime `{}`", params.name), "`julia` can be installed");
    }
    match (&params.from, params.source.as_deref()) {
        (Some(_), Some(_)) => {
            refuse("parameters `from` and `source` exclude each other".into(), "with `from` nothing is downloaded")
        }
        (Some(path), None) => Ok(Source::Path(path.clone())),
        (None, None | Some("release")) => Ok(Source::Release),
        (None, Some("debian")) => Ok(Source::Debian),
        (None, Some(other)) => refuse(format!("parameter `source`: `{other}` is not known"), "`release` or `debian`"),
    }
}
