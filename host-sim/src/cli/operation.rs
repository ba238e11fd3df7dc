//! What can be asked of a node, the same whether it runs in this process or behind a socket.

use std::path::PathBuf;
use std::time::Duration;

use host_sim::host::{Host, RequestOptions, Source, resident_bytes};
use hypermesh_abi::records::Progress;
use hypermesh_abi::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

/// One thing asked of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Ids of the loaded extensions.
    Extensions,
    /// The description of an extension.
    Describe { extension: String },
    /// A verb of an extension.
    Request { extension: String, verb: String, params: Json, timeout_ms: Option<u64> },
    /// The report on every extension.
    Status,
    /// Metrics as text and JSON.
    Metrics,
    /// Assets.
    Assets,
    /// Another build of a loaded extension.
    Upgrade { bundle: PathBuf },
    /// Pause.
    Pause { extension: String },
    /// Resume.
    Resume { extension: String },
    /// Export of a state.
    ExportState { extension: String },
    /// Import of a state.
    ImportState { extension: String, state: String },
    /// The end of the node.
    Stop,
}

/// Does it. [`Operation::Stop`] is up to whoever owns the node.
///
/// # Errors
/// Whatever the host or the extension says.
pub(crate) async fn perform(
    host: &Host,
    operation: Operation,
    progress: Option<mpsc::Sender<Progress>>,
) -> Result<Json, Error> {
    match operation {
        Operation::Extensions => to_json(&host.report().await.iter().map(|report| &report.id).collect::<Vec<_>>()),
        Operation::Describe { extension } => to_json(&host.describe(&extension)?),
        Operation::Request { extension, verb, params, timeout_ms } => {
            let options = RequestOptions { timeout: timeout_ms.map(Duration::from_millis), progress };
            to_json(&host.request(&extension, &verb, &params, options).await?)
        }
        Operation::Status => {
            Ok(json!({"node": host.identity(), "pid": std::process::id(), "extensions": host.report().await,
                "leases": host.asset_manager().leases(None).len(), "rss_mb": rss_mb()}))
        }
        Operation::Metrics => {
            let metrics = host.observe().await;
            Ok(json!({"text": metrics.to_prometheus(), "metrics": metrics.to_json()}))
        }
        Operation::Assets => Ok(json!({"assets": host.assets().await})),
        Operation::Upgrade { bundle } => to_json(&host.upgrade(Source::Bundle(bundle)).await?),
        Operation::Pause { extension } => host.pause(&extension).await.map(|()| json!({"extension": extension})),
        Operation::Resume { extension } => host.resume(&extension).await.map(|()| json!({"extension": extension})),
        Operation::ExportState { extension } => {
            let state = host.export_state(&extension).await?;
            Ok(json!({"state": String::from_utf8_lossy(&state)}))
        }
        Operation::ImportState { extension, state } => {
            host.import_state(&extension, state.into_bytes()).await.map(|()| json!({"extension": extension}))
        }
        Operation::Stop => Ok(json!({"stopping": true})),
    }
}

/// Gives the resident memory of this process in MiB.
pub(crate) fn rss_mb() -> f64 {
    rss_mb_of("self")
}

/// Gives the resident memory of a process in MiB, by its name below `/proc`; 0 if it has ended.
pub(crate) fn rss_mb_of(process: &str) -> f64 {
    (resident_bytes(process) as f64 / 1_024.0 / 102.4).round() / 10.0
}

fn to_json(value: &impl Serialize) -> Result<Json, Error> {
    serde_json::to_value(value).map_err(|error| Error::wrap(Code::INTERNAL, &error))
}
