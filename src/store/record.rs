//! Records of trees: what a tree holds, written once it was made of objects that were right, and durable.
//!
//! ```text
//! catalog-tree 1
//! blake3:<64 digits of the tar>
//! <64 digits of the object>[x] <path>      one line for each file, in the order of the archive
//! ```
//!
//! While a tree has its record, an installation takes the tree for whole without reading it. Whoever finds damage removes the
//! record first, and the next installation reads every byte again. A record is no defence against somebody who may write to
//! the store: what runs is read from the archive and hashed each time.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::place::write_file;
use super::{Installed, Store, StoreError, Writer, at, read_below, rename};
use crate::archive::Archive;
use crate::digest::Digest;
use crate::lockfile::LockedPackage;

const HEAD: &str = "catalog-tree 1";
/// The longest head, in bytes: its line and that of the digest.
const HEAD_BYTES_MAX: usize = 128;

/// What a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The digest of the tar.
    pub digest: Digest,
    /// Each file's object and path, in the order of the archive.
    pub files: Vec<(String, String)>,
}

impl Record {
    pub(super) fn new(archive: &Archive, objects: impl Iterator<Item = String>) -> Self {
        let paths = archive.entries().map(|entry| entry.path.to_owned());
        Self { digest: archive.digest(), files: objects.zip(paths).collect() }
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\n{}\n", self.digest);
        for (object, path) in &self.files {
            text.extend([object, " ", path, "\n"]);
        }
        text
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let head = lines.next()? == HEAD && text.ends_with('\n');
        let digest = lines.next()?.parse().ok()?;
        let files = lines.map(|line| {
            let (object, path) = line.split_once(' ')?;
            is_object_name(object).then(|| (object.to_owned(), path.to_owned()))
        });
        let files = files.collect::<Option<_>>()?;
        head.then_some(Self { digest, files })
    }
}

/// Whether a name is that of an object: 64 lower-case hexadecimal digits, and `x` for what may be run.
pub(super) fn is_object_name(name: &str) -> bool {
    let digits = name.strip_suffix('x').unwrap_or(name);
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Store {
    /// Says whether a package is installed and its tree was whole when it was last read; reads no file of it.
    ///
    /// # Errors
    /// The file system.
    pub fn is_believed(&self, package: &LockedPackage) -> Result<bool, StoreError> {
        let installed = self.place(&package.name, &package.version, package.digest);
        if !self.has_tree(&installed) {
            return Ok(false);
        }
        let head = format!("{HEAD}\n{}\n", package.digest);
        let mut begins = Vec::with_capacity(HEAD_BYTES_MAX);
        let read = crate::archive::open_beneath(&self.root, &record_path(&installed))
            .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, head.len() as u64), &mut begins));
        match read {
            Ok(_) => Ok(begins == head.as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(at("read", &self.root.join(record_path(&installed)))(source)),
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
        let object = Digest::of(b"1").to_hex();
        let record = Record {
            digest: Digest::of(b"tar"),
            files: vec![(object.clone(), "package.json".into()), (object.clone() + "x", "bin/a b".into())],
        };
        assert_eq!(Record::parse(&record.to_text()), Some(record.clone()));
        let text = record.to_text();
        for wrong in [
            "",
            HEAD,
            &text[..text.len() - 1],
            &text.replace("tree 1", "tree 2"),
            &text.replace("blake3", "sha256"),
            &text.replace(&object, "../x"),
            &text.replace(" package.json", ""),
        ] {
            assert_eq!(Record::parse(wrong), None, "{wrong}");
        }
    }
}
