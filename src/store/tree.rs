//! Comparing an installed tree with the archive it came from.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use walkdir::WalkDir;

use super::{StoreError, at};
use crate::archive::{Archive, Entry, open_beneath};
use crate::digest::Digest;

/// Checks that a directory holds exactly the files of an archive; links are not followed.
pub(super) fn check(root: &Path, archive: &Archive) -> Result<(), StoreError> {
    let mut expected = BTreeSet::new();
    for entry in archive.entries() {
        check_file(root, &entry)?;
        expected.insert(root.join(entry.path));
    }
    for found in WalkDir::new(root) {
        let found = found.map_err(|error| at("list", root)(error.into()))?;
        if !found.file_type().is_dir() && !expected.contains(found.path()) {
            return Err(damaged(found.path(), "no such file is in the package".to_owned()));
        }
    }
    Ok(())
}

/// Checks that the file of an entry's path below a directory has the entry's content, unless it may be changed, and may be run if it may.
pub(super) fn check_file(root: &Path, entry: &Entry<'_>) -> Result<(), StoreError> {
    let path = root.join(entry.path);
    let file = match open_beneath(root, entry.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(&path, "the file is missing".to_owned()));
        }
        Err(source) => return Err(at("read", &path)(source)),
    };
    let metadata = file.metadata().map_err(at("read", &path))?;
    if !metadata.is_file() {
        return Err(damaged(&path, "it is not a regular file".to_owned()));
    }
    if (metadata.permissions().mode() & 0o111 != 0) != entry.executable {
        return Err(damaged(&path, "its executable bit has changed".to_owned()));
    }
    if entry.writable {
        // What is in it is somebody else's.
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(entry.bytes.len() + 1);
    file.take(entry.bytes.len() as u64 + 1).read_to_end(&mut bytes).map_err(at("read", &path))?;
    if bytes != entry.bytes {
        let (expected, actual) = (Digest::of(entry.bytes), Digest::of(&bytes));
        return Err(damaged(&path, format!("expected `{expected}`, found `{actual}`")));
    }
    Ok(())
}

fn damaged(path: &Path, reason: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason }
}
