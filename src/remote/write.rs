//! Writes a registry: the trait of where, and a directory as one of two. There a file that is as it should be is left alone, so that web servers and
//! caches before them keep it; another appears whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::RemoteError;
use super::layout::{self, FeedDocument, HealthDocument, NamesDocument, PackageDocument, feed_path, package_path};
use crate::digest::Digest;
use crate::package::name::PackageName;

/// Where a registry is written to. What a document names is written before it, so that a reader never finds a name without what
/// it stands for.
pub trait Sink: Sync {
    /// Writes a compressed archive of a release under a name.
    ///
    /// # Errors
    /// [`WriteError`].
    fn blob(&self, name: &PackageName, bytes: &[u8]) -> Result<(), WriteError>;

    /// Writes a chain of certificates.
    ///
    /// # Errors
    /// [`WriteError`].
    fn chain(&self, pem: &str) -> Result<(), WriteError>;

    /// Writes a publisher's feed; one whose name is no domain has no place.
    ///
    /// # Errors
    /// [`WriteError`].
    fn feed(&self, feed: &FeedDocument) -> Result<(), WriteError>;

    /// Writes what is published under a name.
    ///
    /// # Errors
    /// [`WriteError`].
    fn package(&self, package: &PackageDocument, side: Side) -> Result<(), WriteError>;

    /// Writes what stands for the whole, and says how many files there are.
    ///
    /// # Errors
    /// [`WriteError`].
    fn finish(&self, names: &NamesDocument, health: &HealthDocument) -> Result<Written, WriteError>;
}

/// Whose word counts about releases that others have written, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// That of whoever writes: they were published there.
    Own,
    /// That of what is there: they are only copied.
    Copied,
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file system.
    #[error("`{path}`", path = path.display())]
    File {
        /// The directory.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// A bucket.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A directory that becomes a registry.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    written: AtomicUsize,
    unchanged: AtomicUsize,
}

/// How many files there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Written now.
    pub written: usize,
    /// Left as they were.
    pub unchanged: usize,
}

impl Writer {
    /// Begins to write into a directory, which is made if there is none.
    ///
    /// # Errors
    /// The file system.
    pub fn new(root: &Path) -> Result<Self, WriteError> {
        fs::create_dir_all(root).map_err(|source| WriteError::File { path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned(), written: AtomicUsize::new(0), unchanged: AtomicUsize::new(0) })
    }

    fn document(&self, path: &str, document: &impl Serialize) -> Result<(), WriteError> {
        let mut bytes = serde_json::to_vec(document).map_err(|error| self.fault(error.into()))?;
        bytes.push(b'\n');
        self.put(path, &bytes)
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let is_written = self.put_file(path, bytes).map_err(|error| self.fault(error))?;
        let counter = if is_written { &self.written } else { &self.unchanged };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a file unless it is as it should be; says whether it had to.
    fn put_file(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        let path = self.root.join(path);
        let is_same = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|there| there == bytes);
        if is_same {
            return Ok(false);
        }
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
        file.write_all(bytes)?;
        // A web server runs as somebody else.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(true)
    }

    fn fault(&self, source: io::Error) -> WriteError {
        WriteError::File { path: self.root.clone(), source }
    }
}

impl Sink for Writer {
    fn blob(&self, _: &PackageName, bytes: &[u8]) -> Result<(), WriteError> {
        self.put(&layout::blob_path(Digest::of(bytes)), bytes)
    }

    fn chain(&self, pem: &str) -> Result<(), WriteError> {
        self.put(&layout::chain_path(Digest::of(pem.as_bytes())), pem.as_bytes())
    }

    fn feed(&self, feed: &FeedDocument) -> Result<(), WriteError> {
        match feed_path(&feed.publisher) {
            Some(path) => self.document(&path, feed),
            None => Ok(()),
        }
    }

    /// A directory has one writer, so its word counts.
    fn package(&self, package: &PackageDocument, _: Side) -> Result<(), WriteError> {
        self.document(&package_path(&package.name), package)
    }

    fn finish(&self, names: &NamesDocument, health: &HealthDocument) -> Result<Written, WriteError> {
        self.document(layout::NAMES_PATH, names)?;
        self.document(layout::HEALTH_PATH, health)?;
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Ok(Written { written: count(&self.written), unchanged: count(&self.unchanged) })
    }
}
