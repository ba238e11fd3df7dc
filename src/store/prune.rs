//! Size and collection: what may go, what never goes, and how much room that gives.
//!
//! Live is what a kept generation refers to, and every archive that the caller pins. Everything else is there only to make a
//! later installation faster, and goes: as a whole, or until the store is within a bound. Programs that run hold their bytes
//! in memory and no file of the store, so nothing of them is in the way. Nothing is written before something is removed, so
//! this works on a full disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::install::object_path;
use super::{Store, StoreError, Writer, archive_path, at, entries, read_below, remove, sharded};
use crate::digest::Digest;
use crate::lockfile::LockedPackage;

/// What a store takes on the disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Archives.
    pub archives: u64,
    /// Objects, each once.
    pub objects: u64,
    /// Files of trees that share no inode with an object.
    pub trees: u64,
}

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Installed trees.
    pub packages: usize,
    /// Archives.
    pub archives: usize,
    /// Objects.
    pub objects: usize,
    /// Bytes of archives and objects, and of trees that share none.
    pub bytes: u64,
}

/// How far a collection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything that is not live.
    All,
    /// Until the store takes no more bytes than these.
    Within(u64),
}

/// What refers to what.
struct Live {
    trees: BTreeSet<PathBuf>,
    archives: BTreeSet<PathBuf>,
    /// None if a live tree has no record: then an object counts as live while it has a second name.
    objects: Option<BTreeSet<PathBuf>>,
}

impl Usage {
    /// Gives the bytes of everything.
    pub fn total(&self) -> u64 {
        self.archives + self.objects + self.trees
    }
}

impl Store {
    /// Measures what the store takes, by walking over it.
    ///
    /// # Errors
    /// The file system.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let bytes = |directory: &str| -> Result<u64, StoreError> {
            sharded(&self.root.join(directory))?.iter().map(|path| size(path)).sum()
        };
        let mut usage = Usage { archives: bytes("archives")?, objects: bytes("objects")?, trees: 0 };
        usage.trees = own_bytes(&self.root.join("packages"))?;
        Ok(usage)
    }

    /// Gives what the store takes as far as it was counted along, without walking over it; nothing if nobody has counted.
    pub fn counted_bytes(&self) -> Option<u64> {
        let bytes = read_below(&self.root, COUNT).ok()??;
        std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok()
    }

    fn live(&self, pinned: &BTreeSet<Digest>) -> Result<Live, StoreError> {
        let mut packages: Vec<LockedPackage> = Vec::new();
        for number in self.generations()? {
            packages.extend(self.generation(number)?.lockfile.packages().cloned());
        }
        let digests = packages.iter().map(|package| &package.digest).chain(pinned);
        let archives = digests.map(|digest| self.root.join(archive_path(*digest))).collect();
        let mut trees = BTreeSet::new();
        let mut objects = Some(BTreeSet::new());
        for package in &packages {
            if !trees.insert(self.place(&package.name, &package.version, package.digest).path) {
                continue;
            }
            match (self.record(package)?, &mut objects) {
                (Some(record), Some(objects)) => {
                    objects.extend(record.files.iter().map(|file| self.root.join(object_path(&file.object()))));
                }
                _ => objects = None,
            }
        }
        Ok(Live { trees, archives, objects })
    }
}

impl Writer {
    /// Removes what is not live: first trees, then archives that are not `pinned` either, then objects. Generations themselves
    /// go in [`Writer::switch`].
    ///
    /// # Errors
    /// A generation that does not read (nothing is removed then), or the file system.
    pub fn collect(&mut self, pinned: &BTreeSet<Digest>, extent: Extent) -> Result<Collected, StoreError> {
        let live = self.store.live(pinned)?;
        let mut collected = Collected::default();
        let mut usage = match extent {
            Extent::All => u64::MAX,
            Extent::Within(_) => self.store.usage()?.total(),
        };
        let goes_on = |usage: u64| match extent {
            Extent::All => true,
            Extent::Within(bound) => usage > bound,
        };
        let mut trees = Vec::new();
        for tree in oldest_first(entries(&self.store.root.join("packages"))?) {
            if goes_on(usage) && !live.trees.contains(&tree) {
                let bytes = if tree.is_dir() { own_bytes(&tree)? } else { 0 };
                trees.push(tree);
                collected.bytes += bytes;
                usage = usage.saturating_sub(bytes);
            }
        }
        collected.packages = trees.len();
        self.remove_trees(&trees)?;
        let mut archives = Vec::new();
        for archive in oldest_first(sharded(&self.store.root.join("archives"))?) {
            if goes_on(usage) && !live.archives.contains(&archive) {
                usage = usage.saturating_sub(size(&archive)?);
                archives.push(archive);
            }
        }
        let digests = archives.iter().filter_map(|path| Digest::from_hex(path.file_name()?.to_str()?));
        self.forget_records_of(&digests.collect::<Vec<_>>())?;
        collected.archives = archives.len();
        for archive in &archives {
            collected.bytes += remove(archive)?;
        }
        for object in oldest_first(sharded(&self.store.root.join("objects"))?) {
            let is_live = match &live.objects {
                Some(objects) => objects.contains(&object),
                None => links(&object)? > 1,
            };
            if goes_on(usage) && !is_live {
                let bytes = remove(&object)?;
                collected.objects += 1;
                collected.bytes += bytes;
                usage = usage.saturating_sub(bytes);
            }
        }
        // On a full disk the count is not written; whoever looks for it measures then.
        let _ = fs::remove_file(self.store.root.join(COUNT));
        if let Extent::Within(_) = extent {
            self.note_count(usage);
        }
        Ok(collected)
    }

    /// Counts what was added since it was counted last, and gives what the store takes now; measures if nobody has counted.
    ///
    /// # Errors
    /// The file system.
    pub fn count(&mut self) -> Result<u64, StoreError> {
        let grown = std::mem::take(&mut self.grown);
        let bytes = match self.store.counted_bytes() {
            Some(counted) => counted.saturating_add(grown),
            None => self.store.usage()?.total(),
        };
        self.note_count(bytes);
        Ok(bytes)
    }

    /// Nothing depends on it but when the store is measured, so it need not survive a crash, or be written at all.
    fn note_count(&self, bytes: u64) {
        let staged = self.store.root.join("tmp").join(COUNT);
        if fs::write(&staged, format!("{bytes}\n")).is_ok() {
            let _ = fs::rename(&staged, self.store.root.join(COUNT));
        }
    }

    /// Removes trees: each is moved away whole, so that a name that its record still speaks of never stands for half a tree.
    /// One that cannot be moved loses its record first.
    fn remove_trees(&self, trees: &[PathBuf]) -> Result<(), StoreError> {
        let tmp = self.store.root.join("tmp");
        let mut moved = Vec::with_capacity(trees.len());
        for tree in trees {
            let name = tree.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let away = tmp.join(&name);
            if fs::rename(tree, &away).is_ok() {
                moved.push(away);
                continue;
            }
            let record = self.store.root.join("records").join(name);
            if fs::symlink_metadata(&record).is_ok() {
                remove(&record)?;
            }
            remove(tree)?;
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.sync()?;
        moved.iter().try_for_each(|tree| remove(tree).map(drop))
    }
}

impl Drop for Writer {
    /// What was added and nobody counted is counted along, if somebody has begun to count.
    fn drop(&mut self) {
        if self.grown > 0 && self.store.counted_bytes().is_some() {
            let _ = self.count();
        }
    }
}

/// The file that holds what the store takes, as far as it was counted along.
pub(super) const COUNT: &str = "count";

/// Gives the paths by the time of their last change, a new link included; what does not say it goes first.
fn oldest_first(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let changed = |path: &PathBuf| fs::symlink_metadata(path).map_or((0, 0), |at| (at.ctime(), at.ctime_nsec()));
    paths.sort_by_cached_key(changed);
    paths
}

/// Adds up the files below a directory that have one name only.
fn own_bytes(directory: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for found in walkdir::WalkDir::new(directory) {
        let found = found.map_err(|error| at("list", directory)(error.into()))?;
        let metadata = found.metadata().map_err(|error| at("read", found.path())(error.into()))?;
        if metadata.is_file() && metadata.nlink() == 1 {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}

fn size(path: &Path) -> Result<u64, StoreError> {
    Ok(fs::symlink_metadata(path).map_err(at("read", path))?.len())
}

fn links(path: &Path) -> Result<u64, StoreError> {
    Ok(fs::symlink_metadata(path).map_err(at("read", path))?.nlink())
}
