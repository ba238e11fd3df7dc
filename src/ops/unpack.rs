//! `unpack` and deltas: from an archive to its files, outside of any store, and from one version to the next.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Catalog, OpError};
use crate::archive::{self, Archive, Compression, delta};
use crate::{pages, parallel};

/// What was unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The archive.
    pub archive: Archive,
    /// The bytes that were read: of the archive, or of the delta.
    pub bytes: u64,
    /// Where it was unpacked.
    pub directory: PathBuf,
}

impl Catalog {
    /// Unpacks an archive, or a delta with the archive it was made from, into a directory that is not there yet, or is empty.
    ///
    /// Everything is checked before anything is written, and the directory appears whole. Modes are 0644 and 0755, less what the
    /// process's mask takes away.
    ///
    /// # Errors
    /// An archive that is not in canonical form, a delta that does not fit, a directory with something in it. Nothing has been
    /// written then.
    pub fn unpack(&self, file: &Path, base: Option<&Path>, directory: &Path) -> Result<Unpacked, OpError> {
        let bytes = read(file, archive::COMPRESSED_BYTES_MAX)?;
        let size = bytes.len() as u64;
        let archive = match (delta::is_delta(&bytes), base) {
            (true, None) => return Err(OpError::NoBase { path: file.to_path_buf() }),
            (true, Some(base)) => delta::apply(&read_archive(base)?, &bytes, Compression::default())?,
            (false, _) => archive::read(bytes)?,
        };
        write(&archive, directory)?;
        Ok(Unpacked { archive, bytes: size, directory: directory.to_path_buf() })
    }

    /// Makes the delta from an older archive to a newer one.
    ///
    /// # Errors
    /// A file that is no archive, or one beyond the bound for deltas.
    pub fn delta(&self, old: &Path, new: &Archive) -> Result<Vec<u8>, OpError> {
        Ok(delta::make(&read_archive(old)?, new)?)
    }
}

fn read_archive(path: &Path) -> Result<Archive, OpError> {
    Ok(archive::read(read(path, archive::COMPRESSED_BYTES_MAX)?)?)
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, OpError> {
    let fault = |source| OpError::File { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(fault)?;
    // With room for one byte more the end is found without making more of it.
    let size = file.metadata().map_err(fault)?.len().min(bytes_max) + 1;
    let mut bytes = pages::room(usize::try_from(size).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > bytes_max {
        return Err(fault(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "no archive is that large")));
    }
    Ok(bytes)
}

/// Writes the files beside the directory and renames them into place; what is there and not empty stays.
fn write(archive: &Archive, directory: &Path) -> Result<(), OpError> {
    let fault = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpError::File { path, source }
    };
    match fs::symlink_metadata(directory) {
        Ok(metadata) if metadata.is_dir() => {
            if fs::read_dir(directory).map_err(fault(directory))?.next().is_some() {
                return Err(OpError::Occupied { path: directory.to_path_buf() });
            }
        }
        Ok(_) => return Err(OpError::Occupied { path: directory.to_path_buf() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(fault(directory)(error)),
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stage = tempfile::TempDir::new_in(parent).map_err(fault(parent))?;
    let root = stage.path().join("tree");
    fs::create_dir(&root).map_err(fault(&root))?;
    let entries: Vec<archive::Entry<'_>> = archive.entries().collect();
    let parents: BTreeSet<&str> = entries.iter().filter_map(|entry| Some(entry.path.rsplit_once('/')?.0)).collect();
    for parent in parents {
        let path = root.join(parent);
        fs::create_dir_all(&path).map_err(fault(&path))?;
    }
    parallel::try_map(parallel::cores(), &entries, |entry| {
        let (path, mode) = (root.join(entry.path), if entry.executable { 0o755 } else { 0o644 });
        let file = File::options().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(entry.bytes)).map_err(fault(&path))
    })?;
    // An empty directory gives way to another; one that somebody has filled meanwhile does not.
    fs::rename(&root, directory).map_err(fault(directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::archive::{Content, SourceFile, hostile};
    use crate::config::Config;

    /// Everything below a directory, with content.
    fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let found = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|found| found.expect("lists"));
        found.map(|found| (found.path().to_owned(), fs::read(found.path()).unwrap_or_default())).collect()
    }

    #[test]
    fn hostile_archives_leave_everything_as_it_is() {
        let root = tempfile::tempdir().expect("a directory");
        let catalog = Catalog::open(&root.path().join("home"), Config::default(), &[]).expect("opens");
        let victim = root.path().join("victim");
        fs::create_dir_all(victim.join("inside")).expect("creates");
        fs::write(victim.join("victim"), "precious").expect("writes");
        let archive = root.path().join("archive");
        let before = files(&victim);
        for (name, bytes) in hostile::cases() {
            fs::write(&archive, bytes).expect("writes");
            assert!(catalog.unpack(&archive, None, &victim.join("inside")).is_err(), "{name}");
            assert!(catalog.unpack(&archive, None, &victim.join("new")).is_err(), "{name}");
            assert!(catalog.delta(&archive, &archive::read(good()).expect("reads")).is_err(), "{name}");
            assert_eq!(files(&victim), before, "{name}");
        }
    }

    fn good() -> Vec<u8> {
        let content = Content::Bytes { bytes: b"1", executable: true };
        let file = SourceFile { path: "bin/run", content };
        let packed = archive::pack(br#"{"metadata":{"name":"app","version":"1.0.0"}}"#, &[file]).expect("packs");
        packed.compressed().to_vec()
    }

    #[test]
    fn a_directory_with_something_in_it_and_a_link_are_left_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let catalog = Catalog::open(&root.path().join("home"), Config::default(), &[]).expect("opens");
        let archive = root.path().join("archive");
        fs::write(&archive, good()).expect("writes");
        let (empty, full, link) = (root.path().join("empty"), root.path().join("full"), root.path().join("link"));
        fs::create_dir(&empty).expect("creates");
        fs::create_dir(&full).expect("creates");
        fs::write(full.join("mine"), "").expect("writes");
        std::os::unix::fs::symlink(&empty, &link).expect("links");
        for occupied in [&full, &link, &archive] {
            let refused = catalog.unpack(&archive, None, occupied);
            assert!(matches!(refused, Err(OpError::Occupied { .. })), "{}", occupied.display());
        }
        assert!(matches!(catalog.unpack(&root.path().join("absent"), None, &empty), Err(OpError::File { .. })));
        catalog.unpack(&archive, None, &empty).expect("unpacks");
        let mode = fs::metadata(empty.join("bin/run")).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode & 0o700, 0o700);
    }
}
