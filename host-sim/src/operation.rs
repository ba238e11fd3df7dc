//! What can be asked of a node, the same whether it runs in this process, behind a socket or behind a console.

use std::path::PathBuf;
use std::time::Duration;

use hypermesh_abi::records::{ErrorRecord, Progress};
use hypermesh_abi::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::host::{Host, RequestOptions, Source, resident_bytes};

/// One thing asked of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Ids of the loaded extensions.
    Extensions,
    /// The description of an extension.
    Describe {
        /// The extension.
        extension: String,
    },
    /// A verb of an extension.
    Request {
        /// The extension.
        extension: String,
        /// The verb.
        verb: String,
        /// Its parameters.
        params: Json,
        /// How long it may take; as long as the manifest allows, if not given.
        timeout_ms: Option<u64>,
    },
    /// How the node is: the report on every extension, those that could not be loaded, health, and metrics.
    Status,
    /// Metrics as text and JSON.
    Metrics,
    /// Assets.
    Assets,
    /// Another build of a loaded extension.
    Upgrade {
        /// The bundle or its manifest.
        bundle: PathBuf,
    },
    /// Pause.
    Pause {
        /// The extension.
        extension: String,
    },
    /// Resume.
    Resume {
        /// The extension.
        extension: String,
    },
    /// Export of a state.
    ExportState {
        /// The extension.
        extension: String,
    },
    /// Import of a state.
    ImportState {
        /// The extension.
        extension: String,
        /// What an export gave.
        state: String,
    },
    /// Lines of the audit log, the newest first.
    Audit {
        /// Only those before this number.
        before: Option<u64>,
        /// So many at most, [`AUDIT_LINES_MAX`] in any case.
        limit: usize,
    },
    /// The end of the node.
    Stop,
}

/// The most lines of the audit log in one answer.
pub const AUDIT_LINES_MAX: usize = 200;

/// One line of what comes back: progress, and in the end an answer or an error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// How far it has come.
    Progress(Progress),
    /// What came of it.
    Answer(Json),
    /// Why nothing came of it.
    Error(Box<ErrorRecord>),
}

impl Line {
    /// Makes the last line.
    pub fn last(outcome: Result<Json, Error>) -> Self {
        outcome.map_or_else(|error| Self::Error(Box::new(ErrorRecord::from(&error))), Self::Answer)
    }

    /// Gives the line with its end.
    ///
    /// # Errors
    /// A value has no form in JSON.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Does it. [`Operation::Stop`] is up to whoever owns the node.
///
/// # Errors
/// Whatever the host or the extension says.
pub async fn perform(
    host: &Host,
    operation: Operation,
    progress: Option<mpsc::Sender<Progress>>,
) -> Result<Json, Error> {
    match operation {
        Operation::Extensions => to_json(&host.extensions()),
        Operation::Describe { extension } => to_json(&host.describe(&extension)?),
        Operation::Request { extension, verb, params, timeout_ms } => {
            let options = RequestOptions { timeout: timeout_ms.map(Duration::from_millis), progress };
            to_json(&host.request(&extension, &verb, &params, options).await?)
        }
        Operation::Status => {
            let extensions = host.report().await;
            let failed = host.failed();
            let failed: Vec<Json> =
                failed.iter().map(|(id, error)| json!({"id": id, "error": ErrorRecord::from(error)})).collect();
            Ok(json!({"node": host.identity(), "pid": std::process::id(), "health": host.condition(&extensions).health,
                "leases": host.asset_manager().leases(None).len(), "rss_mb": rss_mb(), "failed": failed,
                "metrics": host.observe_by(&extensions).to_json(), "extensions": extensions}))
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
        Operation::Audit { before, limit } => {
            let (host, most) = (host.clone(), limit.min(AUDIT_LINES_MAX));
            let read = tokio::task::spawn_blocking(move || host.audited(before, most)).await;
            Ok(json!({"records": read.map_err(|error| Error::wrap(Code::INTERNAL, &error))??}))
        }
        Operation::Stop => Ok(json!({"stopping": true})),
    }
}

/// Gives the resident memory of this process in MiB.
pub fn rss_mb() -> f64 {
    rss_mb_of("self")
}

/// Gives the resident memory of a process in MiB, by its name below `/proc`; 0 if it has ended.
pub fn rss_mb_of(process: &str) -> f64 {
    (resident_bytes(process) as f64 / 1_024.0 / 102.4).round() / 10.0
}

fn to_json(value: &impl Serialize) -> Result<Json, Error> {
    serde_json::to_value(value).map_err(|error| Error::wrap(Code::INTERNAL, &error))
}
