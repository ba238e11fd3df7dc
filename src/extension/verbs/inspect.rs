//! The verbs that tell about packages and change none: why, tree, diff, licenses, sbom, recommend; and rate.

use std::path::PathBuf;

use hypermesh_abi::Error;
use hypermesh_abi::records::{Panel, Response, Verb};
use hypermesh_abi::sdk::Call;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{read, scope};
use crate::extension::{CatalogExtension, answers};
use crate::ops::OpError;
use crate::ops::rate::Rate;
use crate::ops::sbom::Form;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Why {
    /// The package
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    package: String,
    /// Look into this catalog.lock instead of what is installed
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    lockfile: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tree {
    /// Where to begin; with everything that was asked for if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    packages: Vec<String>,
    /// Draw this catalog.lock instead of what is installed
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    lockfile: Option<PathBuf>,
    /// Draw so many levels below the first
    #[serde(default = "all_levels")]
    #[schemars(extend("x-cli" = {"short": "d", "value": "LEVELS"}))]
    depth: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Diff {
    /// The earlier package: NAME@VERSION, NAME for its latest version, or ./DIR
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    from: String,
    /// The later one; if not given, the installed version is held against FROM
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 2, "value": "PKG", "maybe_path": true}))]
    to: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Licenses {
    /// Packages as they are installed or would be; everything installed if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    packages: Vec<String>,
    /// Look into this catalog.lock instead
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    lockfile: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sbom {
    /// Packages as they are installed or would be; everything installed if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    packages: Vec<String>,
    /// List this catalog.lock instead
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FILE", "path": true}))]
    lockfile: Option<PathBuf>,
    /// The form
    #[serde(default = "cyclonedx")]
    #[schemars(extend("x-cli" = {"value": "FORM"}, "enum" = ["cyclonedx", "spdx"]))]
    format: String,
    /// Where to write it; it is printed if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "o", "value": "FILE", "path": true}))]
    out: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recommend {
    /// At most so many
    #[serde(default = "ten")]
    #[schemars(extend("x-cli" = {"short": "n", "value": "COUNT"}))]
    limit: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GiveRating {
    /// The installed package
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    package: String,
    /// 1 to 5
    #[schemars(extend("x-cli" = {"position": 2, "value": "STARS"}), range(min = 1, max = 5))]
    stars: u8,
    /// Why, in words
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "c", "value": "TEXT"}))]
    comment: Option<String>,
}

fn all_levels() -> usize {
    crate::ops::graph::DEPTH_MAX
}

fn cyclonedx() -> String {
    "cyclonedx".to_owned()
}

fn ten() -> usize {
    10
}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Why>("why", "Say why a package is installed")
            .description("Shows the chain from what was asked for down to the package, with what each asks of the next.")
            .example("why vec3", "who needs it")
            .example("why vec3 --lockfile ./catalog.lock", "in a lockfile"),
        Verb::new::<Tree>("tree", "Draw what builds on what")
            .description("Each package unfolds once; `(*)` marks where it is drawn again without what it builds on.")
            .example("tree", "everything that is installed")
            .example("tree ray-tracer -d 1", "one package and what it asks for itself")
            .panel(Panel::new("graph").about("packages")),
        Verb::new::<Diff>("diff", "Show what changes between two versions of a package")
            .description(
                "Reads both archives, and says what the later one may do or takes that the earlier one does not, before \
                 any of its code runs: network, files, system calls, permissions, resources.",
            )
            .example("diff vec3@1.0.0 vec3@1.1.0", "two published versions")
            .example("diff vec3", "the installed version and the latest")
            .example("diff ./vec3", "the latest version and a directory that is about to be published"),
        Verb::new::<Licenses>("licenses", "List licences, and which of them this node does not allow")
            .description(
                "An administrator names allowed and denied SPDX identifiers under `configuration.licenses`; installing what \
                 they do not meet is refused.",
            )
            .example("licenses", "of everything that is installed")
            .example("licenses ray-tracer", "of what installing it would bring"),
        Verb::new::<Sbom>("sbom", "Write a bill of materials: CycloneDX 1.5 or SPDX 2.3")
            .example("sbom -o sbom.json", "everything that is installed, as CycloneDX")
            .example("sbom ray-tracer --format spdx", "what installing it would bring, as SPDX"),
        Verb::new::<Recommend>("recommend", "Recommend packages, with the reasons")
            .example("recommend", "what builds on it, resembles it, or is liked and installed by many")
            .example("recommend -n 3", "the best three"),
        Verb::new::<GiveRating>("rate", "Say how good an installed package is")
            .description("One opinion for each node and package; a later one replaces it. It counts for the publisher, too.")
            .example("rate vec3 5 -c 'does what it says'", "the best, with a reason")
            .example("rate vec3 1", "the worst"),
    ]
}

/// Answers a verb of [`table`].
pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    match verb {
        "why" => {
            let Why { package, lockfile } = read(params)?;
            let scope = scope(Vec::new(), lockfile)?;
            extension.blocking(call, move |catalog, host| Ok(answers::why(&catalog.why(&package, &scope, host)?))).await
        }
        "tree" => {
            let Tree { packages, lockfile, depth } = read(params)?;
            let scope = scope(Vec::new(), lockfile)?;
            extension
                .blocking(call, move |catalog, host| Ok(answers::tree(&catalog.tree(&packages, &scope, host)?, depth)))
                .await
        }
        "diff" => {
            let Diff { from, to } = read(params)?;
            extension
                .blocking(call, move |catalog, host| {
                    Ok(answers::difference(&catalog.diff(&from, to.as_deref(), host)?))
                })
                .await
        }
        "licenses" => {
            let Licenses { packages, lockfile } = read(params)?;
            let scope = scope(packages, lockfile)?;
            let licences = extension.blocking(call, move |catalog, host| catalog.licences(&scope, host)).await?;
            answers::licences(&licences)
        }
        "sbom" => sbom(extension, call, read(params)?).await,
        "recommend" => {
            let Recommend { limit } = read(params)?;
            let platform = call.host.identity().platform;
            extension
                .blocking(call, move |catalog, _| Ok(answers::recommended(&catalog.recommend(limit, &platform)?)))
                .await
        }
        _ => {
            let GiveRating { package, stars, comment } = read(params)?;
            let rate = Rate { package, stars, comment, rater: call.host.identity().node_id };
            extension
                .blocking(call, move |catalog, host| {
                    let (name, statistics) = catalog.rate(&rate, host)?;
                    Ok(answers::noted(&name, rate.stars, &statistics))
                })
                .await
        }
    }
}

async fn sbom(extension: &CatalogExtension, call: Call, params: Sbom) -> Result<Response, Error> {
    let form = if params.format == cyclonedx() { Form::CycloneDx } else { Form::Spdx };
    let scope = scope(params.packages, params.lockfile)?;
    extension
        .blocking(call, move |catalog, host| {
            let bill = catalog.sbom(&scope, form, host)?;
            if let Some(path) = &params.out {
                let fault = |source| OpError::File { path: path.clone(), source };
                std::fs::write(path, format!("{bill:#}\n")).map_err(fault)?;
            }
            Ok(answers::bill(&bill, params.out.as_deref()))
        })
        .await
}
