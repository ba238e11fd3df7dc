//! The verbs about registries as a whole: this node's for others, and the remote one.

use std::path::PathBuf;

use hypermesh_abi::Error;
use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::Call;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::extension::{CatalogExtension, answers};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    /// The directory to write into; made if there is none
    #[schemars(extend("x-cli" = {"position": 1, "value": "DIR", "path": true}))]
    directory: PathBuf,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Export>("registry export", "Write this node's registry as files for a web server")
            .description(
                "Other nodes name the directory, or where it is served, as `configuration.remote.url`. Everything stays \
                 signed by its publishers, so whoever holds the files can change nothing. Writes what is new and leaves \
                 the rest alone; do it again after `publish`, `yank` and `feeds --renew`, weekly at least.",
            )
            .example("registry export /srv/registry", "everything that is published here")
            .streaming(),
        Verb::new::<Status>("registry status", "Ask the remote registry how it is")
            .example("registry status", "its address, what it has, and how much of that is known here"),
    ]
}

pub(super) async fn export(extension: &CatalogExtension, call: Call, params: Export) -> Result<Response, Error> {
    extension
        .blocking(call, move |catalog, host| {
            Ok(answers::registry_exported(&catalog.export_registry(&params.directory, host)?))
        })
        .await
}

pub(super) async fn status(extension: &CatalogExtension, call: Call, _: Status) -> Result<Response, Error> {
    extension.blocking(call, |catalog, host| Ok(answers::remote_status(&catalog.remote_status(host)?))).await
}
