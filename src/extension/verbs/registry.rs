//! The verbs about registries as a whole: this node's for others, and the remote one.

use hypermesh_abi::Error;
use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::Call;
use schemars::JsonSchema;
use serde::Deserialize;

use super::parameters::Nothing;
use crate::extension::{CatalogExtension, answers};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    /// The directory to write into, made if there is none; or a bucket as s3://BUCKET/PREFIX
    #[schemars(extend("x-cli" = {"position": 1, "value": "DIR", "path": true}))]
    directory: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rebuild {
    /// The bucket as s3://BUCKET/PREFIX; the remote registry of this node, if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"position": 1, "value": "URL"}))]
    bucket: Option<String>,
}

pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<Export>("registry export", "Write this node's registry as files for a web server, or into a bucket")
            .description(
                "Other nodes name the directory, or where it is served, as `configuration.remote.url`. Everything stays \
                 signed by its publishers, so whoever holds the files can change nothing. Writes what is new and leaves \
                 the rest alone; do it again after `publish`, `yank` and `feeds --renew`, weekly at least. Several nodes may \
                 export into one bucket: what each knows is merged. `configuration.s3` says how buckets are asked.",
            )
            .example("registry export /srv/registry", "everything that is published here")
            .example("registry export s3://packages/registry", "the same into a bucket: only what is missing there")
            .streaming(),
        Verb::new::<Rebuild>("registry rebuild", "Make the index of a bucket anew from what lies in it")
            .description(
                "For a bucket whose index was lost or damaged, or names archives that are gone. Nothing is believed that is \
                 not whole: what is left out is told, and `registry export` puts it there again. Archives, chains and \
                 releases stay.",
            )
            .example("registry rebuild s3://packages/registry", "that bucket")
            .streaming(),
        Verb::new::<Nothing>("registry status", "Ask the remote registry how it is")
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

pub(super) async fn rebuild(extension: &CatalogExtension, call: Call, params: Rebuild) -> Result<Response, Error> {
    extension
        .blocking(call, move |catalog, host| {
            let (url, rebuilt) = catalog.rebuild_registry(params.bucket.as_deref(), host)?;
            Ok(answers::registry_rebuilt(&url, &rebuilt))
        })
        .await
}

pub(super) async fn status(extension: &CatalogExtension, call: Call, _: Nothing) -> Result<Response, Error> {
    extension.blocking(call, |catalog, host| Ok(answers::remote_status(&catalog.remote_status(host)?))).await
}
