//! The packages on this machine: what is installed, kept content-addressed, and which set of them is current.
//!
//! ```text
//! format                      the version of this layout
//! lock                        held by the one writer; holds its process id
//! current                     the number of the current generation
//! objects/ab/<blake3>[x]      whole files by their BLAKE3, read-only; `x` for executables
//! archives/ab/<blake3>        compressed archives by the BLAKE3 of their tar
//! packages/<name>@<version>-<12 digits>/   installed trees: reflinks of objects, hard links to them, or copies
//! records/<name>@<version>-<12 digits>     what an archive holds, written once its tree was made of objects that were right
//! generations/<n>/catalog.lock             what is installed together
//! tmp/                        what a writer is making; cleaned by the next one
//! count                       how many bytes all that takes, as far as it was counted along
//! ```
//!
//! `docs/formats.md` states the invariants; [`Store::inspect`] looks at each.
//!
//! Anybody may read at any time; one [`Writer`] at a time, of all processes, changes things. Everything is made in `tmp`,
//! made durable, and renamed into place, so a crash leaves either the old or the new, and leftovers in `tmp`. Installed
//! packages become durable with the next [`Writer::switch`], before `current` names them.
//!
//! The store never decides what to trust: it takes a [`trust::Verified`] archive, or a [`trust::Verified`] listing of one that
//! it has taken apart before. It builds on objects whose seal (`place`) nothing has broken, and hashes all others again. Links are never followed. Files are shared between packages, so nothing
//! may write to an installed tree.

mod generations;
mod inspect;
mod install;
mod mend;
mod place;
mod prune;
mod record;
mod tree;

use std::cell::OnceCell;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use semver::Version;
use tempfile::TempDir;

pub use self::generations::Generation;
pub use self::inspect::{Flaw, Rule};
pub use self::install::Installable;
pub use self::place::Method;
pub use self::prune::{Collected, Extent, Usage};
pub use self::record::{Record, Recorded};
use crate::archive::{self, Archive};
use crate::digest::Digest;
use crate::lockfile::{LockedPackage, LockfileError};
use crate::package::name::PackageName;
use crate::trust::{self, Expected, Intact, TrustError};

/// The version of the layout.
pub const FORMAT_VERSION: u32 = 2;
/// The layout that had a second level of directories, `ab/cd`, above objects and archives; a store of it is brought up to date.
/// The directory that each object then had for itself was most of what looking for it took.
const NESTED_VERSION: u32 = 1;
/// The most generations that are kept, the current one included.
pub const GENERATIONS_MAX: usize = 32;

/// The packages on this machine, for reading.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The right to change a store; no other process or thread has it meanwhile.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    _lock: File,
    /// Tried at the first tree.
    method: OnceCell<Method>,
    /// Records of trees that are whole, by their places; they count from the next switch on.
    believed: Vec<(PathBuf, String)>,
    /// Bytes that were added and not counted yet.
    grown: u64,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The identity of its archive.
    pub digest: Digest,
    /// The directory of its files; nothing may write there.
    pub path: PathBuf,
}

/// How long the lock is waited for. A process that is being started holds every descriptor of this one, the lock's too, until
/// it becomes another program; that takes some milliseconds and is nobody's doing.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another writer is at work.
    #[error("store `{path}` is being changed by process {holder}", path = path.display())]
    Busy {
        /// The store.
        path: PathBuf,
        /// The process id of the writer, or `unknown`.
        holder: String,
    },
    /// A layout that is not known.
    #[error("store `{path}` has layout `{found}`, and this program knows layout {FORMAT_VERSION}", path = path.display())]
    FormatVersion {
        /// The store.
        path: PathBuf,
        /// What its `format` says.
        found: String,
    },
    /// A package that is not there.
    #[error("package `{name}` {version} is not installed")]
    NotInstalled {
        /// The package.
        name: PackageName,
        /// Its version.
        version: Version,
    },
    /// A generation that is not there.
    #[error("store has no generation {number}")]
    NoGeneration {
        /// Its number.
        number: u64,
    },
    /// A file that is not what was written.
    #[error("`{path}` is damaged: {reason}; install the package again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the digests expected and found.
        reason: String,
    },
    /// A kept archive that is not what was written.
    #[error("archive in the store is damaged; install the package again")]
    Archive(#[source] Box<TrustError>),
    /// A generation's lockfile that does not read.
    #[error("lockfile `{path}` is damaged", path = path.display())]
    Lockfile {
        /// The lockfile.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<LockfileError>,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Store {
    /// Opens the store in a directory, and makes it if there is none; brings one of the layout before up to date.
    ///
    /// # Errors
    /// A store of another layout, one of the layout before that is being changed, or the file system.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let format = root.join("format");
        let version = match fs::read_to_string(&format) {
            Ok(text) => {
                let known = [NESTED_VERSION, FORMAT_VERSION].into_iter().find(|known| text == format!("{known}\n"));
                let found = || text.trim().chars().take(20).collect();
                Some(known.ok_or_else(|| StoreError::FormatVersion { path: root.to_owned(), found: found() })?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(at("read", &format)(source)),
        };
        // Only now: a store of another layout is left alone.
        for directory in DIRECTORIES {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(at("create", &path))?;
        }
        let store = Self { root: root.to_owned() };
        if version == Some(NESTED_VERSION) {
            store.hold()?.flatten()?;
        }
        if version != Some(FORMAT_VERSION) {
            replace(root, "format", &format!("{FORMAT_VERSION}\n"))?;
        }
        Ok(store)
    }

    /// Takes the right to change the store, and clears what a writer that died has left. Waits for [`LOCK_PATIENCE`].
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another writer is at work, or the file system.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        let writer = self.hold()?;
        for leftover in entries(&self.root.join("tmp"))? {
            remove(&leftover)?;
        }
        Ok(writer)
    }

    /// Keeps others from changing the store, and leaves everything as it is, what a writer that died has left, too.
    ///
    /// # Errors
    /// As [`Store::writer`].
    pub fn hold(&self) -> Result<Writer, StoreError> {
        let path = self.root.join("lock");
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = options.map_err(at("open", &path))?;
        match patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder writes its id after it has the lock, so there is a moment without one.
                let _ = lock.take(20).read_to_string(&mut holder);
                let known = !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
                return Err(StoreError::Busy { path: self.root.clone(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(at("lock", &path)(source)),
        }
        // The id is for messages alone; on a full disk there is none, and removing goes on.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let writer =
            Writer { store: self.clone(), _lock: lock, method: OnceCell::new(), believed: Vec::new(), grown: 0 };
        Ok(writer)
    }

    /// Gives an installed package, by the directory it would have; [`Store::verify`] looks inside.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`].
    pub fn installed(&self, package: &LockedPackage) -> Result<Installed, StoreError> {
        let LockedPackage { name, version, digest, .. } = package;
        let installed = self.place(name, version, *digest);
        if !self.has_tree(&installed) {
            return Err(StoreError::NotInstalled { name: name.clone(), version: version.clone() });
        }
        Ok(installed)
    }

    /// Gives a kept archive, after checking that it is the one locked.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] without one, [`StoreError::Archive`] for one that is damaged.
    pub fn load(&self, package: &LockedPackage) -> Result<Intact<Archive>, StoreError> {
        self.load_as(&package.name, &package.version, package.digest)
    }

    fn load_as(&self, name: &PackageName, version: &Version, digest: Digest) -> Result<Intact<Archive>, StoreError> {
        let (name, version) = (name.clone(), version.clone());
        let Some(compressed) = self.compressed(digest)? else {
            return Err(StoreError::NotInstalled { name, version });
        };
        let expected = Expected { name, version, digest, blob: None, sha256: None, sha512: None };
        trust::check_archive(compressed, &expected).map_err(|error| StoreError::Archive(Box::new(error)))
    }

    /// Gives the compressed bytes of a kept archive by the digest of its tar, as they lie there, for passing on.
    ///
    /// # Errors
    /// The file system.
    pub fn compressed(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        read_below(&self.root, &archive_path(digest))
    }

    /// Gives the digest of the compressed bytes of a kept archive, as they lie there, by that of its tar.
    ///
    /// # Errors
    /// The file system.
    pub fn blob(&self, digest: Digest) -> Result<Option<Digest>, StoreError> {
        let hashed = self.open_archive(digest).and_then(|file| file.map(Digest::of_reader).transpose());
        hashed.map_err(|source| at("read", &self.root.join(archive_path(digest)))(source))
    }

    /// Gives the digests of the archives that are kept, installed or not.
    ///
    /// # Errors
    /// The file system.
    pub fn archives(&self) -> Result<Vec<Digest>, StoreError> {
        let files = sharded(&self.root.join("archives"))?;
        let name = |path: &PathBuf| Some(format!("blake3:{}", path.file_name()?.to_str()?));
        // What has another name is no archive, and for `fsck` to tell.
        Ok(files.iter().filter_map(|path| name(path)?.parse().ok()).collect())
    }

    /// Opens a kept archive by the digest of its tar, for reading it in parts.
    ///
    /// # Errors
    /// The file system.
    pub fn open_archive(&self, digest: Digest) -> io::Result<Option<File>> {
        match archive::open_beneath(&self.root, &archive_path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Checks every byte of an installed package against its archive, and that archive against its digest.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`], [`StoreError::Archive`], or [`StoreError::Damaged`] with the file and both digests.
    pub fn verify(&self, package: &LockedPackage) -> Result<Installed, StoreError> {
        let installed = self.installed(package)?;
        let archive = self.load(package)?;
        tree::check(&installed.path, &archive)?;
        Ok(installed)
    }

    /// Whether there is a directory of that name, and no link to one.
    fn has_tree(&self, installed: &Installed) -> bool {
        fs::symlink_metadata(&installed.path).is_ok_and(|metadata| metadata.is_dir())
    }

    fn place(&self, name: &PackageName, version: &Version, digest: Digest) -> Installed {
        let directory = format!("{}@{version}-{}", name.to_file_name(), digest.short());
        let path = self.root.join("packages").join(directory);
        Installed { name: name.clone(), version: version.clone(), digest, path }
    }
}

impl Writer {
    /// Gives the store, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Moves every object and archive of the layout before to where it belongs. Whoever is interrupted begins again.
    fn flatten(&self) -> Result<(), StoreError> {
        let is_directory = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        for pool in POOLS {
            for shard in entries(&self.store.root.join(pool))?.iter().filter(|path| is_directory(path)) {
                for inner in entries(shard)?.iter().filter(|path| is_directory(path)) {
                    for file in entries(inner)? {
                        rename(&file, &shard.join(file.file_name().unwrap_or_default()))?;
                    }
                    fs::remove_dir(inner).map_err(at("remove", inner))?;
                }
            }
        }
        self.sync()
    }

    /// A fresh directory for what is being made; removed with all it holds when dropped.
    fn stage(&self) -> Result<TempDir, StoreError> {
        let tmp = self.store.root.join("tmp");
        TempDir::new_in(&tmp).map_err(at("create a directory in", &tmp))
    }

    /// Makes everything written so far durable: one call for any number of files.
    fn sync(&self) -> Result<(), StoreError> {
        let root = &self.store.root;
        let directory = File::open(root).map_err(at("open", root))?;
        rustix::fs::syncfs(&directory).map_err(|error| at("sync", root)(error.into()))
    }
}

/// The directories of the layout.
const DIRECTORIES: [&str; 6] = ["objects", "archives", "packages", "records", "generations", "tmp"];

/// Those in which every file has the digest of its content for a name.
const POOLS: [&str; 2] = ["objects", "archives"];

fn archive_path(digest: Digest) -> String {
    format!("archives/{}", shard(&digest.to_hex()))
}

fn shard(name: &str) -> String {
    [&name[..2], "/", name].concat()
}

/// Reads a file below the root without following links, or gives nothing if there is none.
fn read_below(root: &Path, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut bytes = Vec::new();
    let read = archive::open_beneath(root, path).and_then(|mut file| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(at("read", &root.join(path))(source)),
    }
}

/// Puts a small text in place of a file of the store's root, at once and durably.
fn replace(root: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let (tmp, path) = (root.join("tmp"), root.join(name));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(&tmp)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        File::open(root)?.sync_all()
    };
    write().map_err(at("write", &path))
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(at("move into place", to))
}

/// Moves a finished file to its shard.
fn rename_into_shard(from: &Path, to: &Path) -> Result<(), StoreError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(at("create", parent))?;
    }
    rename(from, to)
}

/// Removes a file or a whole directory, and gives the size of the file.
fn remove(path: &Path) -> Result<u64, StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(at("read", path))?;
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(at("remove", path))?;
    Ok(if metadata.is_file() { metadata.len() } else { 0 })
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = list().map_err(at("list", directory))?;
    paths.sort_unstable();
    Ok(paths)
}

/// Everything a directory down, and what stands above it in a directory's place.
fn sharded(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    let walk = walkdir::WalkDir::new(directory).min_depth(1).max_depth(2).sort_by_file_name();
    for found in walk {
        let found = found.map_err(|error| at("list", directory)(error.into()))?;
        if found.depth() == 2 || !found.file_type().is_dir() {
            files.push(found.into_path());
        }
    }
    Ok(files)
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File { action, path, source }
}

fn patiently(lock: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
