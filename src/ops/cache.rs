//! `cache`: what the store takes on the disk, and what of it may go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Catalog, OpError};
use crate::digest::Digest;
use crate::store::{Collected, Extent, Method, Usage, Writer};

/// What the store takes and how it shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// Bytes by kind.
    pub usage: Usage,
    /// How installed files share their bytes with the store's objects.
    pub method: Method,
    /// Generations that are kept.
    pub generations: usize,
    /// The bound above which an installation collects, in bytes.
    pub bytes_max: u64,
}

/// What a pruning did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed.
    pub collected: Collected,
    /// Generations that were forgotten.
    pub generations: usize,
    /// What is left.
    pub usage: Usage,
}

/// Archives that somebody is about to use, with how many are: they stay, though nothing that is installed needs them yet.
#[derive(Default)]
pub(super) struct InUse(Mutex<BTreeMap<Digest, usize>>);

/// Keeps archives from being collected until it is dropped.
pub(super) struct Hold<'a> {
    in_use: &'a InUse,
    held: RefCell<Vec<Digest>>,
}

impl InUse {
    /// Whoever collects keeps this until that is done: what is held after it is looked for after it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        // Nothing under the lock leaves a count half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold<'_> {
    /// Keeps more archives, be they here or yet to come.
    pub(super) fn keep(&self, archives: impl IntoIterator<Item = Digest>) {
        let mut in_use = self.in_use.lock();
        for archive in archives {
            *in_use.entry(archive).or_default() += 1;
            self.held.borrow_mut().push(archive);
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock();
        for archive in self.held.borrow_mut().drain(..) {
            if let Some(count) = in_use.get_mut(&archive) {
                *count -= 1;
            }
        }
        in_use.retain(|_, count| *count > 0);
    }
}

impl Catalog {
    /// Keeps nothing yet; what is fetched for a purpose is held until that is reached.
    pub(super) fn hold(&self) -> Hold<'_> {
        Hold { in_use: &self.in_use, held: RefCell::default() }
    }

    /// Measures the store.
    ///
    /// # Errors
    /// The store.
    pub fn cache_size(&self) -> Result<CacheSize, OpError> {
        let _turn = self.writing();
        Ok(CacheSize {
            usage: self.store.usage()?,
            method: self.store.writer()?.method(),
            generations: self.store.generations()?.len(),
            bytes_max: self.config.cache_bytes_max,
        })
    }

    /// Removes what nobody needs: all of it, or until the store is within a bound. `keep` forgets older generations first, which
    /// otherwise all stay, with everything they refer to.
    ///
    /// # Errors
    /// The store. What was removed until then is gone, and was not needed.
    pub fn cache_prune(&self, extent: Extent, keep: Option<usize>) -> Result<Pruned, OpError> {
        let _turn = self.writing();
        let mut writer = self.store.writer()?;
        let generations = keep.map_or(Ok(0), |keep| writer.forget(keep))?;
        let collected = self.collect(&mut writer, extent)?;
        Ok(Pruned { collected, generations, usage: self.store.usage()? })
    }

    /// Collects if the store has outgrown its bound. What was installed is installed, so a failure is only traced.
    pub(super) fn keep_within_bound(&self, writer: &mut Writer) {
        let bound = self.config.cache_bytes_max;
        let kept = writer.count().map_err(OpError::from).and_then(|bytes| {
            if bytes <= bound {
                return Ok(None);
            }
            self.collect(writer, Extent::Within(bound)).map(Some)
        });
        match kept {
            Ok(None) => {}
            Ok(Some(Collected { bytes, .. })) => tracing::info!(bytes, bound, "the store was above its bound"),
            Err(error) => tracing::warn!("the store is not kept within its bound: {error}"),
        }
    }

    fn collect(&self, writer: &mut Writer, extent: Extent) -> Result<Collected, OpError> {
        let mut pinned = self.pinned()?;
        let in_use = self.in_use.lock();
        pinned.extend(in_use.keys());
        let collected = writer.collect(&pinned, extent);
        drop(in_use);
        Ok(collected?)
    }

    /// Gives the archives of everything that is published or mirrored here. Others came from elsewhere, and can come again.
    fn pinned(&self) -> Result<BTreeSet<Digest>, OpError> {
        let mirrored = self.mirrored()?;
        let registry = self.registry();
        let mut pinned: BTreeSet<Digest> = registry.kept()?.into_iter().map(|kept| kept.digest).collect();
        for name in mirrored {
            pinned.extend(registry.versions(&name)?.into_iter().map(|record| record.release.digests.blake3));
        }
        Ok(pinned)
    }
}
