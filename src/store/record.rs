//! Records of trees: what a tree holds, written once it was made of objects that were right, and durable.
//!
//! ```text
//! catalog-tree 2
//! blake3:<64 digits of the tar>
//! <bytes of the tar>
//! <64 digits of the object>[x] <path>      one line for each file, in the order of the archive
//! ```
//!
//! A tree that has its record is taken for whole by an installation, which does not read it. A record outlives its tree and
//! goes with its archive: while the objects that it names are sealed, the tree is made again of them, and the archive is not
//! unfolded. Whoever finds damage removes the record first, and the next installation reads every byte again. A record is no
//! defence against somebody who may write to the store: what runs is read from the archive and hashed each time.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::install::object_path;
use super::place::{Planted, write_file};
use super::{Installed, Store, StoreError, Writer, at, entries, read_below, remove, rename};
use crate::archive::{Archive, Listing, MANIFEST_PATH};
use crate::digest::Digest;
use crate::lockfile::LockedPackage;

/// The first lines that are known; the first of them knows no size.
const HEADS: [&str; 2] = ["catalog-tree 1", "catalog-tree 2"];

/// What a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The digest of the tar.
    pub digest: Digest,
    /// The size of the tar in bytes; none in a record of version 1.
    pub tar_bytes: Option<u64>,
    /// Each file, in the order of the archive.
    pub files: Vec<Recorded>,
}

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The path in the tree.
    pub path: String,
    /// The digest of the content.
    pub digest: Digest,
    /// Whether it may be run.
    pub executable: bool,
}

impl Recorded {
    /// Gives the name of its object. A hard link shares its mode, so a file that may be run and the same file that may not are
    /// two objects.
    pub(super) fn object(&self) -> String {
        object_name(self.digest, self.executable)
    }
}

impl From<&Planted<'_>> for Recorded {
    fn from(file: &Planted<'_>) -> Self {
        Self { path: file.path.to_owned(), digest: file.digest, executable: file.executable }
    }
}

impl Record {
    pub(super) fn of(archive: &Archive) -> Self {
        let files = archive.entries().map(|entry| Recorded::from(&Planted::of_entry(entry)));
        Self { digest: archive.digest(), tar_bytes: Some(archive.tar_bytes()), files: files.collect() }
    }

    /// Whether this is the record of an archive.
    pub(super) fn is_of(&self, archive: &Archive) -> bool {
        let right = Self::of(archive);
        (self.digest, &self.files) == (right.digest, &right.files)
            && (self.tar_bytes.is_none() || self.tar_bytes == right.tar_bytes)
    }

    pub(super) fn to_text(&self) -> String {
        let [first, second] = HEADS;
        let mut text = match self.tar_bytes {
            None => format!("{first}\n{}\n", self.digest),
            Some(bytes) => format!("{second}\n{}\n{bytes}\n", self.digest),
        };
        for file in &self.files {
            text.extend([&file.object(), " ", &file.path, "\n"]);
        }
        text
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let version = HEADS.iter().position(|head| lines.clone().next() == Some(head))?;
        let digest = lines.nth(1)?.parse().ok()?;
        let tar_bytes = if version == 0 { None } else { Some(lines.next()?.parse().ok()?) };
        let files = lines.map(|line| {
            let (object, path) = line.split_once(' ')?;
            let (digest, executable) = read_object_name(object)?;
            Some(Recorded { path: path.to_owned(), digest, executable })
        });
        let files = files.collect::<Option<_>>()?;
        text.ends_with('\n').then_some(Self { digest, tar_bytes, files })
    }
}

/// Gives the name of an object: 64 lower-case hexadecimal digits, and `x` for what may be run.
pub(super) fn object_name(digest: Digest, executable: bool) -> String {
    let digits = digest.to_hex();
    if executable { digits + "x" } else { digits }
}

/// Reads the name of an object: the digest of its content, and whether it may be run.
pub(super) fn read_object_name(name: &str) -> Option<(Digest, bool)> {
    let digits = name.strip_suffix('x').unwrap_or(name);
    Some((Digest::from_hex(digits)?, digits.len() < name.len()))
}

impl Store {
    /// Says whether a package is installed and its tree was whole when it was last read; reads no file of it.
    ///
    /// # Errors
    /// The file system.
    pub fn is_believed(&self, package: &LockedPackage) -> Result<bool, StoreError> {
        let installed = self.place(&package.name, &package.version, package.digest);
        Ok(self.has_tree(&installed) && self.has_record(&installed, &HEADS)?)
    }

    /// Says whether an archive is kept and [`Self::listing`] knows what is in it, as far as that is seen without reading more
    /// than the head of its record.
    ///
    /// # Errors
    /// The file system.
    pub fn is_listed(&self, package: &LockedPackage) -> Result<bool, StoreError> {
        let installed = self.place(&package.name, &package.version, package.digest);
        Ok(self.has_archive(package.digest) && self.has_record(&installed, &HEADS[1..])?)
    }

    pub(super) fn has_archive(&self, digest: Digest) -> bool {
        fs::symlink_metadata(self.archive_path(digest)).is_ok_and(|found| found.is_file())
    }

    /// Whether there is a record of a package that begins as one of these.
    fn has_record(&self, installed: &Installed, heads: &[&str]) -> Result<bool, StoreError> {
        let heads: Vec<String> = heads.iter().map(|head| format!("{head}\n{}\n", installed.digest)).collect();
        let mut begins = Vec::with_capacity(heads[0].len());
        let read = crate::archive::open_beneath(&self.root, &record_path(installed))
            .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, heads[0].len() as u64), &mut begins));
        match read {
            Ok(_) => Ok(heads.iter().any(|head| head.as_bytes() == begins)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(at("read", &self.root.join(record_path(installed)))(source)),
        }
    }

    /// Gives the record of an installed package; none if there is none, or one that does not read.
    ///
    /// # Errors
    /// The file system.
    pub fn record(&self, package: &LockedPackage) -> Result<Option<Record>, StoreError> {
        let installed = self.place(&package.name, &package.version, package.digest);
        let bytes = read_below(&self.root, &record_path(&installed))?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.and_then(|text| Record::parse(&text)))
    }

    /// Lists the files of a kept archive by the record of its tree, whether that one is there or not; reads the manifest alone.
    /// Nothing if there is no such record, or if anything about it is not as it must be: then the archive is to be read.
    ///
    /// # Errors
    /// The file system.
    pub fn listing(&self, package: &LockedPackage) -> Result<Option<Listing>, StoreError> {
        let record = self.record(package)?.filter(|record| record.digest == package.digest);
        let Some((tar_bytes, record)) = record.and_then(|record| Some((record.tar_bytes?, record))) else {
            return Ok(None);
        };
        let is_kept = self.has_archive(package.digest);
        let Some(first) = record.files.first().filter(|file| is_kept && file.path == MANIFEST_PATH) else {
            return Ok(None);
        };
        let manifest = read_below(&self.root, &object_path(&first.object()))?;
        let Some(manifest) = manifest.filter(|bytes| Digest::of(bytes) == first.digest) else { return Ok(None) };
        let files = record.files.into_iter().map(|Recorded { path, digest, executable }| (path, digest, executable));
        Ok(Listing::new(package.digest, tar_bytes, manifest, files).ok())
    }

    /// Takes a package's tree for damaged, so that the next installation reads every byte of it. Needs no writer, and no room.
    ///
    /// # Errors
    /// The file system.
    pub fn doubt(&self, package: &LockedPackage) -> Result<(), StoreError> {
        self.forget_record(&self.place(&package.name, &package.version, package.digest))
    }

    pub(super) fn forget_record(&self, installed: &Installed) -> Result<(), StoreError> {
        let path = self.root.join(record_path(installed));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

impl Writer {
    /// Notes that every byte of a tree was right; it counts from the next switch on.
    pub(super) fn believe(&mut self, installed: &Installed, record: &Record) {
        self.believed.push((self.store.root.join(record_path(installed)), record.to_text()));
    }

    /// Removes the records of archives, which go.
    pub(super) fn forget_records_of(&self, archives: &[Digest]) -> Result<(), StoreError> {
        if archives.is_empty() {
            return Ok(());
        }
        let ends: HashSet<String> = archives.iter().map(Digest::short).collect();
        for path in entries(&self.store.root.join("records"))? {
            let name = path.file_name().map(|name| name.to_string_lossy());
            if name.and_then(|name| Some(ends.contains(name.rsplit_once('-')?.1))) == Some(true) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Writes the records of what is believed into a directory. They must be durable, and the trees, before they are put in
    /// their places.
    pub(super) fn stage_records(&mut self, stage: &std::path::Path) -> Result<Vec<(PathBuf, PathBuf)>, StoreError> {
        let mut staged = Vec::with_capacity(self.believed.len());
        for (number, (path, text)) in self.believed.drain(..).enumerate() {
            let at = stage.join(format!("record-{number}"));
            write_file(&at, text.as_bytes(), 0o444)?;
            staged.push((at, path));
        }
        Ok(staged)
    }
}

/// Puts staged records in their places.
pub(super) fn place_records(staged: &[(PathBuf, PathBuf)]) -> Result<(), StoreError> {
    staged.iter().try_for_each(|(from, to)| rename(from, to))
}

pub(super) fn record_path(installed: &Installed) -> String {
    let name = installed.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    format!("records/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_and_others_are_none() {
        let digest = Digest::of(b"1");
        let object = digest.to_hex();
        let file = |path: &str, executable| Recorded { path: path.to_owned(), digest, executable };
        let record = Record {
            digest: Digest::of(b"tar"),
            tar_bytes: Some(2048),
            files: vec![file("package.json", false), file("bin/a b", true)],
        };
        assert_eq!(Record::parse(&record.to_text()), Some(record.clone()));
        let old = Record { tar_bytes: None, ..record.clone() };
        assert_eq!(Record::parse(&old.to_text()), Some(old));
        let text = record.to_text();
        for wrong in [
            "",
            HEADS[0],
            &text[..text.len() - 1],
            &text.replace("tree 2", "tree 3"),
            &text.replace("2048", "2 kB"),
            &text.replace("2048\n", ""),
            &text.replace("blake3", "sha256"),
            &text.replace(&object, "../x"),
            &text.replace(" package.json", ""),
        ] {
            assert_eq!(Record::parse(wrong), None, "{wrong}");
        }
    }
}
