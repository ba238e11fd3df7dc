//! Installing: files become objects, objects become a tree of hard links, and the tree appears whole.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Installed, StoreError, Writer, archive_path, at, read_below, rename, rename_into_shard, shard, tree};
use crate::archive::{Archive, Entry};
use crate::digest::Digest;
use crate::trust::{Intact, Verified};

impl Writer {
    /// Installs a package. One that is already there whole stays as it is; a damaged one is made anew.
    ///
    /// # Errors
    /// The file system.
    pub fn install(&mut self, archive: &Verified<Archive>) -> Result<Installed, StoreError> {
        let installed = self.store.place(archive.name(), archive.version(), archive.digest());
        self.keep(archive)?;
        if self.store.has_tree(&installed) && tree::check(&installed.path, archive).is_ok() {
            return Ok(installed);
        }
        let stage = self.stage()?;
        let root = stage.path().join("tree");
        let mut objects = Objects { store: &self.store.root, stage: stage.path(), staged: HashMap::new() };
        create_dir(&root)?;
        for entry in archive.entries() {
            let path = root.join(entry.path);
            if let Some(parent) = path.parent() {
                create_dir(parent)?;
            }
            let object = objects.find_or_stage(&entry)?;
            link_or_write(&object, &path, &entry)?;
        }
        // Before the renames: a name must never stand for bytes that a crash can still take away.
        self.sync()?;
        for (name, staged) in objects.staged {
            rename_into_shard(&staged, &self.store.root.join(object_path(&name)))?;
        }
        if fs::symlink_metadata(&installed.path).is_ok() {
            rename(&installed.path, &stage.path().join("damaged"))?;
        }
        rename(&root, &installed.path)?;
        Ok(installed)
    }

    /// Keeps an archive without installing it, for passing it on. A damaged one is replaced.
    ///
    /// # Errors
    /// The file system.
    pub fn keep(&mut self, archive: &Intact<Archive>) -> Result<(), StoreError> {
        let path = archive_path(archive.digest());
        if matches!(read_below(&self.store.root, &path), Ok(Some(bytes)) if Digest::of(&bytes) == archive.blob()) {
            return Ok(());
        }
        let stage = self.stage()?;
        let staged = stage.path().join("archive");
        write_file(&staged, archive.compressed(), 0o444)?;
        let file = File::open(&staged).map_err(at("open", &staged))?;
        file.sync_all().map_err(at("sync", &staged))?;
        rename_into_shard(&staged, &self.store.root.join(path))
    }
}

/// The objects of one install: those that are there and whole, and those staged to be put there.
struct Objects<'a> {
    store: &'a Path,
    stage: &'a Path,
    staged: HashMap<String, PathBuf>,
}

impl Objects<'_> {
    fn find_or_stage(&mut self, entry: &Entry<'_>) -> Result<PathBuf, StoreError> {
        let digest = Digest::of(entry.bytes);
        // A hard link shares its mode, so a file that is run and the same file that is not are two objects.
        let name = if entry.executable { digest.to_hex() + "x" } else { digest.to_hex() };
        if let Some(staged) = self.staged.get(&name) {
            return Ok(staged.clone());
        }
        let path = object_path(&name);
        if tree::check_file(self.store, &Entry { path: &path, ..*entry }).is_ok() {
            return Ok(self.store.join(path));
        }
        let staged = self.stage.join(&name);
        write_file(&staged, entry.bytes, mode_of(entry))?;
        self.staged.insert(name, staged.clone());
        Ok(staged)
    }
}

fn object_path(name: &str) -> String {
    format!("objects/{}", shard(name))
}

fn mode_of(entry: &Entry<'_>) -> u32 {
    if entry.executable { 0o555 } else { 0o444 }
}

/// Links, or writes the bytes where links do not reach: another file system, or more links than an inode takes.
fn link_or_write(object: &Path, path: &Path, entry: &Entry<'_>) -> Result<(), StoreError> {
    match fs::hard_link(object, path) {
        Ok(()) => Ok(()),
        Err(error) if links_do_not_reach(&error) => write_file(path, entry.bytes, mode_of(entry)),
        Err(source) => Err(at("link", path)(source)),
    }
}

fn links_do_not_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

pub(super) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))
    };
    write().map_err(at("write", path))
}

fn create_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(at("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_where_links_do_not_reach() {
        let root = tempfile::tempdir().expect("a directory");
        let (object, path) = (root.path().join("absent"), root.path().join("file"));
        let entry = Entry { path: "file", executable: true, bytes: b"#!" };
        assert!(link_or_write(&object, &path, &entry).is_err(), "an object that is missing is a fault of ours");
        for code in
            [rustix::io::Errno::XDEV, rustix::io::Errno::MLINK, rustix::io::Errno::PERM, rustix::io::Errno::OPNOTSUPP]
        {
            assert!(links_do_not_reach(&code.into()), "{code}");
        }
        assert!(!links_do_not_reach(&rustix::io::Errno::NOSPC.into()));
        write_file(&path, entry.bytes, mode_of(&entry)).expect("writes");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o555);
    }
}
