//! One extension of a host: its running generation, its state, and the gate that requests pass.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hypermesh_abi::host::{CallCtx, Contributions, Extension};
use hypermesh_abi::records::{Description, ExtensionState, Response};
use hypermesh_abi::{Code, Error};
use serde_json::Value as Json;
use tokio::sync::{Semaphore, watch};

use super::ExtensionReport;
use crate::assets::Owner;
use crate::audit::Event;
use crate::lifecycle::Lifecycle;
use crate::manifest::Manifest;

/// One loaded copy of an extension.
pub struct Generation {
    pub(super) number: u64,
    pub(super) digest: String,
    /// The certificate that stands for the library, if one does.
    pub(super) certificate: Option<String>,
    pub(super) manifest: Manifest,
    pub(super) extension: Extension,
    pub(super) contributions: Contributions,
    pub(super) description: Description,
    /// The owner of its leases.
    pub(super) owner: Owner,
    pub(super) load_us: AtomicU64,
}

/// The place of one extension in the host.
pub(super) struct Slot {
    id: String,
    current: RwLock<Arc<Generation>>,
    lifecycle: Mutex<Lifecycle>,
    /// Counts changes of the running generation: odd while one is under way.
    epoch: watch::Sender<u64>,
    operations: Semaphore,
    operations_max: u32,
    operation_timeout: Duration,
    pub(super) retired: AtomicU32,
}

/// A change of the running generation; ends when dropped, whatever came of it.
pub(super) struct Changing<'a>(&'a watch::Sender<u64>);

impl Generation {
    /// Gives the extension.
    pub fn extension(&self) -> &Extension {
        &self.extension
    }

    /// Gives what it contributed.
    pub fn contributions(&self) -> &Contributions {
        &self.contributions
    }

    /// Gives what it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Gives the audit event that says it runs.
    pub(super) fn loaded(&self) -> Event {
        Event::Loaded {
            extension: self.manifest.id.clone(),
            version: self.manifest.version.to_string(),
            generation: self.number,
            library: self.manifest.library.digest,
            certificate: self.certificate.clone(),
        }
    }

    /// Gives its number within the host's life.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn contribution_ids(&self) -> Vec<String> {
        let all = &self.contributions;
        let adapters = all.adapters.iter().map(|c| c.id.clone());
        let handlers = all.handlers.iter().map(|c| c.id.clone());
        adapters.chain(handlers).chain(all.executors.iter().map(|c| c.id.clone())).collect()
    }
}

impl Slot {
    pub(super) fn new(generation: Arc<Generation>, lifecycle: Lifecycle) -> Self {
        let limits = &generation.manifest.resources.limits;
        let operations_max = limits.concurrent_operations;
        Self {
            id: generation.manifest.id.as_str().to_owned(),
            operations: Semaphore::new(operations_max as usize),
            operations_max,
            operation_timeout: limits.operation_timeout.duration(),
            current: RwLock::new(generation),
            lifecycle: Mutex::new(lifecycle),
            epoch: watch::Sender::new(0),
            retired: AtomicU32::new(0),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn operation_timeout(&self) -> Duration {
        self.operation_timeout
    }

    pub(super) fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> ExtensionState {
        self.lifecycle().state().clone()
    }

    pub(super) fn current(&self) -> Result<Arc<Generation>, Error> {
        match self.state() {
            ExtensionState::Stopped | ExtensionState::ShuttingDown => {
                Err(Error::new(Code::NOT_RUNNING, format!("extension `{}` is stopped", self.id)))
            }
            _ => Ok(self.generation()),
        }
    }

    pub(super) fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, next: Arc<Generation>) -> Arc<Generation> {
        std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), next)
    }

    /// Makes requests that meet a paused generation wait until the guard is dropped.
    pub(super) fn change(&self) -> Changing<'_> {
        self.epoch.send_modify(|epoch| *epoch += 1);
        Changing(&self.epoch)
    }

    /// Asks the running generation. A request that an upgrade turned away is asked again of the generation that runs
    /// afterwards; the caller's deadline bounds the waiting.
    pub(super) async fn request(&self, ctx: CallCtx, verb: &str, params: &Json) -> Result<Response, Error> {
        let Ok(_operation) = self.operations.try_acquire() else {
            let message = format!("extension `{}` works on {} operations already", self.id, self.operations_max);
            let mut error = Error::new(Code::RESOURCE_LIMIT_EXCEEDED, message)
                .help("try again later, or raise `resources.limits.concurrent_operations` in its manifest");
            error.retryable = true;
            return Err(error);
        };
        let mut epoch = self.epoch.subscribe();
        loop {
            let before = *epoch.borrow_and_update();
            let generation = self.current()?;
            let answer = generation.extension.request(ctx, verb, params).await;
            let turned_away = matches!(&answer, Err(error) if error.code == Code::NOT_RUNNING && error.retryable);
            if !turned_away || (before.is_multiple_of(2) && *epoch.borrow() == before) {
                return answer;
            }
            drop(generation);
            let settled = epoch.wait_for(|epoch| epoch % 2 == 0).await.map(|epoch| *epoch);
            if settled.is_err() {
                return answer;
            }
        }
    }

    pub(super) async fn report(&self, ctx: CallCtx) -> ExtensionReport {
        let generation = self.generation();
        let state = self.state();
        let alive = matches!(state, ExtensionState::Running | ExtensionState::Paused);
        let extension = &generation.extension;
        let health = if alive { Some(health(extension.health(ctx).await)) } else { None };
        let status = if alive { extension.status(ctx).await.ok() } else { None };
        ExtensionReport {
            id: self.id.clone(),
            version: generation.manifest.version.to_string(),
            state,
            health,
            status,
            generation: generation.number,
            retired_generations: self.retired.load(SeqCst),
            digest: generation.digest.clone(),
            capabilities: generation.manifest.capabilities.granted.iter().map(ToString::to_string).collect(),
            contributions: generation.contribution_ids(),
            load_us: generation.load_us.load(SeqCst),
        }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|epoch| *epoch += 1);
    }
}

fn health(answer: Result<hypermesh_abi::records::Health, Error>) -> hypermesh_abi::records::Health {
    answer.unwrap_or_else(|error| hypermesh_abi::records::Health::Unhealthy(error.to_string()))
}
