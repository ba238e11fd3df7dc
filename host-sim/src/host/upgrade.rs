//! Pausing, upgrading without a failed call, and stopping.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use hypermesh_abi::records::ExtensionState;
use hypermesh_abi::{Code, Error};
use serde::{Deserialize, Serialize};

use super::load::{Source, manifest_of};
use super::slot::{Generation, Slot};
use super::{DEADLINE_SLACK, Host};
use crate::audit::Event;
use crate::lifecycle;

/// What an upgrade did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upgraded {
    /// The extension.
    pub id: String,
    /// The version that ran before.
    pub from: String,
    /// The version that runs now.
    pub to: String,
    /// Microseconds during which requests waited.
    pub paused_us: u64,
    /// Microseconds in all.
    pub total_us: u64,
    /// Generations that stay mapped.
    pub retired_generations: u32,
}

/// Says which extension a source is of.
fn id(source: &Source) -> Result<String, Error> {
    match source {
        Source::Bundle(path) => manifest_of(path).map(|(manifest, _)| manifest.id.to_string()),
        Source::Linked { manifest, .. } => Ok(manifest.id.to_string()),
    }
}

impl Host {
    /// Replaces the running generation of an extension: loads the next one beside it, pauses the old one, hands over,
    /// activates the next. Requests wait meanwhile and none fails. If the next one cannot be activated, the old one goes
    /// on.
    ///
    /// # Errors
    /// `RESOURCE_LIMIT_EXCEEDED` when too many retired generations are mapped; `BUSY` when requests in flight do not
    /// end; whatever keeps the next generation from running. The old one runs on in every case.
    pub async fn upgrade(&self, source: Source) -> Result<Upgraded, Error> {
        let _changing = self.inner.changing.lock().await;
        let started = Instant::now();
        let slot = self.may_retire(self.slot(&id(&source)?)?)?;
        let admitted = self.admit_source(source).await?;
        if admitted.manifest.id.as_str() != slot.id() {
            return Err(Error::new(Code::INVALID_ARGUMENT, "the manifest changed while it was being loaded"));
        }
        // From here one generation more stays mapped: the old one, or the next one if it does not come to run.
        let retired_generations = slot.retired.fetch_add(1, SeqCst) + 1;
        let next = self.construct(admitted).await?;
        let paused = Instant::now();
        let old = match self.switch(&slot, Arc::clone(&next)).await {
            Ok(old) => old,
            Err(error) => {
                self.inner
                    .journal
                    .record(Event::Failed { extension: next.manifest.id.clone(), reason: error.to_string() });
                self.retire(next).await;
                return Err(error);
            }
        };
        let paused_us = paused.elapsed().as_micros() as u64;
        next.load_us.store(started.elapsed().as_micros() as u64, SeqCst);
        let from = old.manifest.version.to_string();
        self.retire(old).await;
        let upgraded = Upgraded {
            id: slot.id().to_owned(),
            from,
            to: next.manifest.version.to_string(),
            paused_us,
            total_us: started.elapsed().as_micros() as u64,
            retired_generations,
        };
        self.inner.journal.record(next.loaded());
        Ok(upgraded)
    }

    /// Pauses an extension: it answers no requests and holds nothing exclusive.
    ///
    /// # Errors
    /// An illegal transition, and whatever the extension says.
    pub async fn pause(&self, extension: &str) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        let slot = self.slot(extension)?;
        slot.lifecycle().check(&ExtensionState::Paused).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let generation = slot.generation();
        self.step("pause", |ctx| generation.extension.quiesce(ctx)).await?;
        self.transition(&slot, ExtensionState::Paused)
    }

    /// Lets a paused extension run again.
    ///
    /// # Errors
    /// An illegal transition, and whatever the extension says.
    pub async fn resume(&self, extension: &str) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        let slot = self.slot(extension)?;
        slot.lifecycle()
            .check(&ExtensionState::Running)
            .map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let generation = slot.generation();
        self.step("resume", |ctx| generation.extension.activate(ctx, None)).await?;
        self.transition(&slot, ExtensionState::Running)
    }

    /// Stops an extension and forgets it.
    ///
    /// # Errors
    /// `EXTENSION_NOT_FOUND`.
    pub async fn unload(&self, extension: &str) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        let slot = self.slot(extension)?;
        // A failed extension has no way out but this one.
        let failed = matches!(slot.state(), ExtensionState::Error(_));
        if !failed {
            self.transition(&slot, ExtensionState::ShuttingDown)?;
        }
        self.inner.slots.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(extension);
        self.retire(slot.generation()).await;
        if failed { Ok(()) } else { self.transition(&slot, ExtensionState::Stopped) }
    }

    /// Stops every extension, the last loaded first.
    pub async fn shutdown(&self) {
        let mut slots = self.slots();
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.generation().number));
        for slot in slots {
            if let Err(error) = self.unload(slot.id()).await {
                tracing::warn!(extension = slot.id(), "cannot stop: {error}");
            }
        }
    }

    async fn switch(&self, slot: &Slot, next: Arc<Generation>) -> Result<Arc<Generation>, Error> {
        let _change = slot.change();
        let old = slot.generation();
        let handover = self.step("pause", |ctx| old.extension.quiesce(ctx)).await?;
        match self.step("activate", |ctx| next.extension.activate(ctx, Some(&handover))).await {
            Ok(()) => Ok(slot.replace(next)),
            Err(error) => {
                if let Err(worse) = self.step("resume", |ctx| old.extension.activate(ctx, Some(&handover))).await {
                    let _ = self.transition(slot, ExtensionState::Error(worse.to_string()));
                }
                Err(error)
            }
        }
    }

    /// Stops a generation and takes back what it holds. Its library stays mapped.
    pub(super) async fn retire(&self, generation: Arc<Generation>) {
        let grace = self.inner.options.stop_grace;
        let (extension, number) = (generation.manifest.id.clone(), generation.number);
        let owner = generation.owner.clone();
        let stop = move || generation.extension.stop(grace.as_millis() as u64);
        if let Err(error) = super::apart(grace + DEADLINE_SLACK, "stop", stop).await.flatten() {
            tracing::warn!(%extension, "retired generation does not stop: {error}");
        }
        self.inner.assets.release_all(&owner);
        self.inner.journal.record(Event::Unloaded { extension, generation: number });
    }

    fn may_retire(&self, slot: Arc<Slot>) -> Result<Arc<Slot>, Error> {
        let (retired, bound) = (slot.retired.load(SeqCst), self.inner.options.retired_generations_max);
        if retired < bound {
            return Ok(slot);
        }
        let message = format!("{retired} retired generations of `{}` are mapped, the bound is {bound}", slot.id());
        Err(Error::new(Code::RESOURCE_LIMIT_EXCEEDED, message).help("restart the host to free them, then upgrade"))
    }

    fn transition(&self, slot: &Slot, state: ExtensionState) -> Result<(), Error> {
        let to = lifecycle::name(&state);
        let left = slot.lifecycle().advance(state).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let extension = slot.generation().manifest.id.clone();
        self.inner.journal.record(Event::HealthChanged { extension, from: lifecycle::name(&left), to });
        Ok(())
    }
}
