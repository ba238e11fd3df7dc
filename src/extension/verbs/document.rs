//! The verb that documents packages: doc.

use std::path::PathBuf;
use std::sync::Arc;

use hypermesh_abi::Error;
use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::Call;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::ports::CallHost;
use super::super::{CatalogExtension, answers, errors};
use super::confirmed;
use crate::docgen::Format;
use crate::ops::document::{Ask, Examples};

/// The forms of documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Html,
    Markdown,
    Json,
    Text,
    Pdf,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Doc {
    /// The package: NAME@VERSION, NAME for its latest version, or ./DIR
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG", "maybe_path": true}))]
    package: String,
    /// The form
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "FORM"}))]
    format: Form,
    /// Write into this directory, which is new, empty, or has documentation; one of the node's own if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"short": "o", "value": "DIR", "path": true}))]
    out: Option<PathBuf>,
    /// Do not run the examples
    #[serde(default)]
    no_run: bool,
    /// Run the examples although a rule of the policy asks for a confirmation
    #[serde(default)]
    confirm: bool,
}

pub(super) fn verb() -> Verb {
    Verb::new::<Doc>("doc", "Write the documentation of a package")
        .description(
            "Reads manifest, README, changelog and sources of a package: what it asks for in plain words, what it offers, \
             with the texts above definitions of Julia and Lua and the exports of WebAssembly, what it builds on, and what \
             each version changed. Examples run in the sandbox and are shown with their results; one that fails is shown \
             as failed. The HTML is one page without a request to anywhere. The same package gives the same files.",
        )
        .example("doc vec3", "the latest version, as HTML")
        .example("doc ./vec3 --format markdown --out ./docs", "a directory that is about to be published")
        .example("doc vec3@1.0.0 --format json --no-run", "for programs, without running anything")
}

pub(super) async fn document(extension: &CatalogExtension, call: Call, params: Doc) -> Result<Response, Error> {
    let format = match params.format {
        Form::Html => Format::Html,
        Form::Markdown => Format::Markdown,
        Form::Json => Format::Json,
        Form::Text => Format::Text,
        Form::Pdf => Format::Pdf,
    };
    let ask = Ask {
        target: params.package,
        format,
        out: params.out,
        examples: if params.no_run { Examples::LeaveOut } else { Examples::Run },
        confirmed: confirmed(params.confirm),
    };
    let documented = extension.catalog()?.document(ask, Arc::new(CallHost::new(call))).await;
    documented.map(|documented| answers::documented(&documented)).map_err(|error| errors::to_error(&error))
}
