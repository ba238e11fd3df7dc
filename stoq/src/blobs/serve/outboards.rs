//! A bounded cache of hash trees; each is computed once, however many ask for it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore};
use trustchain::digest::Blake3;

use crate::blobs::tree::Outboard;
use crate::blobs::{BlobFile, BlobSource};

/// How many trees are computed at once: each reads a whole file.
const COMPUTED_AT_ONCE: usize = 2;
/// What an entry costs beside its tree: most blobs are so small that they have none.
const ENTRY_BYTES: usize = 256;

pub(super) struct Outboards {
    bytes_max: usize,
    entries: Mutex<Entries>,
    turns: Semaphore,
}

#[derive(Default)]
struct Entries {
    cells: HashMap<Blake3, Entry>,
    clock: u64,
}

#[derive(Default)]
struct Entry {
    cell: Arc<OnceCell<Arc<Outboard>>>,
    used: u64,
}

impl Outboards {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, entries: Mutex::default(), turns: Semaphore::new(COMPUTED_AT_ONCE) }
    }

    /// Gives the tree of a blob.
    ///
    /// # Errors
    /// The file cannot be read, or is not that blob (any more).
    pub(super) async fn get(
        &self,
        source: &Arc<dyn BlobSource>,
        digest: Blake3,
        file: &Arc<dyn BlobFile>,
    ) -> io::Result<Arc<Outboard>> {
        let cell = self.touch(digest);
        let outboard = cell.get_or_try_init(|| self.make(source, digest, file)).await.cloned();
        self.shrink(digest, outboard.is_ok());
        let outboard = outboard?;
        if outboard.size() == file.size() {
            return Ok(outboard);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file of blob `{digest}` has another size than it had"),
        ))
    }

    async fn make(
        &self,
        source: &Arc<dyn BlobSource>,
        digest: Blake3,
        file: &Arc<dyn BlobFile>,
    ) -> io::Result<Arc<Outboard>> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let (source, file) = (Arc::clone(source), Arc::clone(file));
        let make = move || {
            if let Some(kept) = file.outboard().and_then(|kept| Outboard::verified(&digest, file.size(), kept)) {
                return Ok(kept);
            }
            let made = Outboard::compute(&digest, &*file)?;
            source.keep_outboard(&digest, made.as_bytes());
            Ok(made)
        };
        tokio::task::spawn_blocking(make).await.map_err(io::Error::other)?.map(Arc::new)
    }

    fn touch(&self, digest: Blake3) -> Arc<OnceCell<Arc<Outboard>>> {
        let mut entries = self.lock();
        entries.clock += 1;
        let clock = entries.clock;
        let entry = entries.cells.entry(digest).or_default();
        entry.used = clock;
        Arc::clone(&entry.cell)
    }

    /// Forgets a failure, and whatever was used longest ago until the rest fits.
    fn shrink(&self, digest: Blake3, made: bool) {
        let mut entries = self.lock();
        if !made && entries.cells.get(&digest).is_some_and(|entry| !entry.cell.initialized()) {
            entries.cells.remove(&digest);
        }
        let bytes = |entry: &Entry| ENTRY_BYTES + entry.cell.get().map_or(0, |outboard| outboard.as_bytes().len());
        let mut total: usize = entries.cells.values().map(bytes).sum();
        while total > self.bytes_max {
            let Some((oldest, size)) =
                entries.cells.iter().min_by_key(|(_, entry)| entry.used).map(|(d, e)| (*d, bytes(e)))
            else {
                return;
            };
            entries.cells.remove(&oldest);
            total -= size;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::blobs::GROUP_BYTES;
    use crate::service::Caller;

    struct Memory(Vec<u8>, AtomicUsize, Option<Vec<u8>>);

    impl BlobFile for Memory {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let offset = usize::try_from(offset).expect("small");
            buffer.copy_from_slice(&self.0[offset..offset + buffer.len()]);
            Ok(())
        }
        fn outboard(&self) -> Option<Vec<u8>> {
            self.2.clone()
        }
    }

    #[derive(Default)]
    struct Keeper(Mutex<Vec<(Blake3, Vec<u8>)>>);

    impl BlobSource for Keeper {
        fn open(&self, _: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
            Ok(None)
        }
        fn may(&self, _: &Caller, _: &Blake3) -> bool {
            true
        }
        fn keep_outboard(&self, digest: &Blake3, outboard: &[u8]) {
            self.0.lock().expect("no panic").push((*digest, outboard.to_vec()));
        }
    }

    fn memory(seed: u8, kept: Option<Vec<u8>>) -> (Blake3, Arc<Memory>) {
        let bytes = vec![seed; 3 * GROUP_BYTES];
        (Blake3::of(&bytes), Arc::new(Memory(bytes, AtomicUsize::new(0), kept)))
    }

    #[tokio::test]
    async fn a_tree_is_computed_once_kept_and_checked() {
        let keeper = Arc::new(Keeper::default());
        let source: Arc<dyn BlobSource> = keeper.clone();
        let outboards = Outboards::new(1 << 20);
        let (digest, blob) = memory(1, None);
        let file: Arc<dyn BlobFile> = blob.clone();
        let all = (0..8).map(|_| outboards.get(&source, digest, &file));
        for outboard in futures_util::future::join_all(all).await {
            assert_eq!(outboard.expect("is right").as_bytes().len(), 128);
        }
        let reads = blob.1.load(Ordering::Relaxed);
        assert!(reads <= 4, "{reads} reads of three groups");
        let kept = keeper.0.lock().expect("no panic").pop().expect("was kept").1;

        // What was kept is used when it is right, and made anew when it is not.
        let (digest, blob) = memory(1, Some(kept.clone()));
        let file: Arc<dyn BlobFile> = blob.clone();
        Outboards::new(1 << 20).get(&source, digest, &file).await.expect("is right");
        assert_eq!(blob.1.load(Ordering::Relaxed), 0);
        let mut wrong = kept;
        wrong[100] ^= 1;
        let (digest, blob) = memory(1, Some(wrong));
        let file: Arc<dyn BlobFile> = blob.clone();
        Outboards::new(1 << 20).get(&source, digest, &file).await.expect("is made");
        assert!(blob.1.load(Ordering::Relaxed) > 0);
    }

    #[tokio::test]
    async fn the_cache_is_bounded_and_failures_are_not_kept() {
        let source: Arc<dyn BlobSource> = Arc::new(Keeper::default());
        let outboards = Outboards::new(3 * (ENTRY_BYTES + 128));
        for seed in 0..20 {
            let (digest, blob) = memory(seed, None);
            let file: Arc<dyn BlobFile> = blob;
            outboards.get(&source, digest, &file).await.expect("is right");
            assert!(outboards.lock().cells.len() <= 3);
        }
        let (_, blob) = memory(99, None);
        let file: Arc<dyn BlobFile> = blob;
        assert!(outboards.get(&source, Blake3::of(b"another"), &file).await.is_err());
        assert!(!outboards.lock().cells.contains_key(&Blake3::of(b"another")));
        // A file that was replaced by a shorter one.
        let (digest, _) = memory(19, None);
        let file: Arc<dyn BlobFile> = Arc::new(Memory(vec![19; 5], AtomicUsize::new(0), None));
        let error = outboards.get(&source, digest, &file).await.expect_err("is another");
        assert!(error.to_string().contains("another size"), "{error}");
    }
}
