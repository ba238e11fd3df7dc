//! Writes the files of a registry into a directory. A file that is as it should be is left alone, so that web servers and
//! caches before them keep it; another appears whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::layout::{self, FeedDocument, HealthDocument, NamesDocument, PackageDocument, feed_path, package_path};
use crate::digest::Digest;

/// A directory that becomes a registry. What a document names is written before it, so that a reader never finds a name
/// without what it stands for.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    written: Written,
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
    pub fn new(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_owned(), written: Written::default() })
    }

    /// Writes a compressed archive.
    ///
    /// # Errors
    /// The file system.
    pub fn blob(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(&layout::blob_path(Digest::of(bytes)), bytes)
    }

    /// Writes a chain of certificates.
    ///
    /// # Errors
    /// The file system.
    pub fn chain(&mut self, pem: &str) -> io::Result<()> {
        self.put(&layout::chain_path(Digest::of(pem.as_bytes())), pem.as_bytes())
    }

    /// Writes a publisher's feed; one whose name is no domain has no place.
    ///
    /// # Errors
    /// The file system.
    pub fn feed(&mut self, feed: &FeedDocument) -> io::Result<()> {
        match feed_path(&feed.publisher) {
            Some(path) => self.document(&path, feed),
            None => Ok(()),
        }
    }

    /// Writes what is published under a name.
    ///
    /// # Errors
    /// The file system.
    pub fn package(&mut self, package: &PackageDocument) -> io::Result<()> {
        self.document(&package_path(&package.name), package)
    }

    /// Writes what stands for the whole, and says how many files there are.
    ///
    /// # Errors
    /// The file system.
    pub fn finish(mut self, names: &NamesDocument, health: &HealthDocument) -> io::Result<Written> {
        self.document(layout::NAMES_PATH, names)?;
        self.document(layout::HEALTH_PATH, health)?;
        Ok(self.written)
    }

    fn document(&mut self, path: &str, document: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(document)?;
        bytes.push(b'\n');
        self.put(path, &bytes)
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(path);
        let is_same = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64)
            && fs::read(&path).is_ok_and(|there| there == bytes);
        if is_same {
            self.written.unchanged += 1;
            return Ok(());
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
        self.written.written += 1;
        Ok(())
    }
}
