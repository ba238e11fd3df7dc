//! A bounded cache of hash trees; each is computed once, however many ask for it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore};
use trustchain::digest::Blake3;

use crate::blobs::BlobFile;
use crate::blobs::tree::Outboard;

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
    /// The blobs by when they were asked for, the longest ago first.
    order: BTreeMap<u64, Blake3>,
    clock: u64,
    /// What all entries cost together.
    bytes: usize,
}

#[derive(Default)]
struct Entry {
    cell: Arc<OnceCell<Arc<Outboard>>>,
    used: u64,
    bytes: usize,
}

impl Outboards {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, entries: Mutex::default(), turns: Semaphore::new(COMPUTED_AT_ONCE) }
    }

    /// Gives the tree of a blob.
    ///
    /// # Errors
    /// The file cannot be read, or is not that blob (any more).
    pub(super) async fn get(&self, digest: Blake3, file: &Arc<dyn BlobFile>) -> io::Result<Arc<Outboard>> {
        let cell = self.lock().touch(digest);
        let outboard = cell.get_or_try_init(|| self.make(digest, file)).await.cloned();
        let mut entries = self.lock();
        match &outboard {
            Ok(outboard) => entries.weigh(&digest, ENTRY_BYTES + outboard.as_bytes().len()),
            // Unless somebody else makes it, or has.
            Err(_) => entries.forget_unless_made(&digest),
        }
        entries.shrink(self.bytes_max);
        drop(entries);
        let outboard = outboard?;
        if outboard.size() == file.size() {
            return Ok(outboard);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file of blob `{digest}` has another size than it had"),
        ))
    }

    async fn make(&self, digest: Blake3, file: &Arc<dyn BlobFile>) -> io::Result<Arc<Outboard>> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let file = Arc::clone(file);
        let make = move || Outboard::compute(&digest, &*file);
        tokio::task::spawn_blocking(make).await.map_err(io::Error::other)?.map(Arc::new)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Gives the place of a tree, which is the last to be forgotten now.
    fn touch(&mut self, digest: Blake3) -> Arc<OnceCell<Arc<Outboard>>> {
        self.clock += 1;
        let entry = self.cells.entry(digest).or_default();
        self.order.remove(&entry.used);
        self.order.insert(self.clock, digest);
        entry.used = self.clock;
        let cell = Arc::clone(&entry.cell);
        self.weigh(&digest, ENTRY_BYTES);
        cell
    }

    /// Notes what an entry costs; it never becomes less.
    fn weigh(&mut self, digest: &Blake3, bytes: usize) {
        if let Some(entry) = self.cells.get_mut(digest) {
            let more = bytes.saturating_sub(entry.bytes);
            entry.bytes += more;
            self.bytes += more;
        }
    }

    fn forget_unless_made(&mut self, digest: &Blake3) {
        if self.cells.get(digest).is_some_and(|entry| !entry.cell.initialized()) {
            self.forget(digest);
        }
    }

    /// Forgets what was asked for longest ago until the rest fits.
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(oldest) = self.order.first_key_value().map(|(_, digest)| *digest) else { return };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, digest: &Blake3) {
        if let Some(entry) = self.cells.remove(digest) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::blobs::GROUP_BYTES;

    struct Memory(Vec<u8>, AtomicUsize);

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
    }

    fn memory(seed: u8) -> (Blake3, Arc<Memory>) {
        let bytes = vec![seed; 3 * GROUP_BYTES];
        (Blake3::of(&bytes), Arc::new(Memory(bytes, AtomicUsize::new(0))))
    }

    #[tokio::test]
    async fn a_tree_is_computed_once() {
        let outboards = Outboards::new(1 << 20);
        let (digest, blob) = memory(1);
        let file: Arc<dyn BlobFile> = blob.clone();
        let all = (0..8).map(|_| outboards.get(digest, &file));
        for outboard in futures_util::future::join_all(all).await {
            assert_eq!(outboard.expect("is right").as_bytes().len(), 128);
        }
        let reads = blob.1.load(Ordering::Relaxed);
        assert!(reads <= 4, "{reads} reads of three groups");
    }

    #[tokio::test]
    async fn the_cache_is_bounded_keeps_what_is_used_and_no_failures() {
        let outboards = Outboards::new(3 * (ENTRY_BYTES + 128));
        let (first, used) = memory(0);
        let used: Arc<dyn BlobFile> = used;
        for seed in 0..20 {
            let (digest, blob) = memory(seed);
            let file: Arc<dyn BlobFile> = blob;
            outboards.get(digest, &file).await.expect("is right");
            outboards.get(first, &used).await.expect("is right");
            let entries = outboards.lock();
            assert!(entries.cells.len() <= 3 && entries.cells.contains_key(&first));
            let counted: usize = entries.cells.values().map(|entry| entry.bytes).sum();
            assert_eq!((entries.bytes, entries.order.len()), (counted, entries.cells.len()));
        }
        let (_, blob) = memory(99);
        let file: Arc<dyn BlobFile> = blob;
        assert!(outboards.get(Blake3::of(b"another"), &file).await.is_err());
        assert!(!outboards.lock().cells.contains_key(&Blake3::of(b"another")));
        // A file that was replaced by a shorter one.
        let (digest, _) = memory(19);
        let file: Arc<dyn BlobFile> = Arc::new(Memory(vec![19; 5], AtomicUsize::new(0)));
        let error = outboards.get(digest, &file).await.expect_err("is another");
        assert!(error.to_string().contains("another size"), "{error}");
    }
}
