//! What this program does when it was started as a child: one task, one answer, the end.

use std::io::Write;
use std::sync::Arc;

use hypermesh_abi::host::{Root, open};
use hypermesh_abi::records::{CreateOptions, Description};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::child::{MARK, TASK};
use crate::loader::{ProbeTask, Probed, Trial};
use crate::services::Detached;

/// What a child can be asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    Probe(ProbeTask),
    Check(check::CheckTask),
}

/// Runs the task of this process, if it was started for one, and ends the process then. Call it first in `main`.
pub fn child_main() {
    let Ok(task) = std::env::var(TASK) else { return };
    let answer = match serde_json::from_str(&task) {
        Ok(Task::Probe(task)) => serde_json::to_string(&probe(&task)),
        Ok(Task::Check(task)) => serde_json::to_string(&check::run_task(&task)),
        Err(error) => serde_json::to_string(&Err::<(), _>(format!("task cannot be read: {error}"))),
    };
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{MARK}{}", answer.unwrap_or_default()).and_then(|()| stdout.flush());
    std::process::exit(i32::from(written.is_err()));
}

fn probe(task: &ProbeTask) -> Result<Probed, String> {
    let root = open(&task.library).map_err(|error| error.to_string())?;
    let description = construct(root, &task.trial);
    Ok(Probed {
        id: root.id().into(),
        version: root.version().into(),
        build_info: root.build_info().into(),
        description,
    })
}

fn construct(root: Root, trial: &Trial) -> Result<Description, String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let options = CreateOptions {
        config: trial.config.clone(),
        home: home.path().into(),
        worker_threads: 1,
        generation: 1,
        ..CreateOptions::default()
    };
    let extension = root.create(Arc::new(Detached), &options).map_err(|error| error.to_string())?;
    let description = extension.describe().map_err(|error| error.to_string());
    let _ = extension.stop(1_000);
    description
}
