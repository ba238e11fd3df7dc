//! How an object becomes a file of a tree: as a reflink, a hard link or a copy, whichever the file system allows.
//!
//! A reflink costs no bytes and is a file of its own, so it is preferred. A hard link costs none either, and is the object: it
//! is the reason why nothing may write to an installed tree. What one file refuses (too many links to one inode, say) is
//! written out instead, and never an error.

use std::borrow::Cow;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, linkat, statat};

use super::record::object_name;
use super::{StoreError, at};
use crate::archive::{Entry, ListedFile};
use crate::digest::Digest;

/// A file of a tree.
#[derive(Clone, Debug)]
pub(super) struct Planted<'a> {
    /// The path in the tree.
    pub(super) path: &'a str,
    /// The digest of the content.
    pub(super) digest: Digest,
    /// Whether it may be run.
    pub(super) executable: bool,
    /// Whether it may be changed.
    pub(super) writable: bool,
    /// The content, unless its object alone has it.
    pub(super) bytes: Option<&'a [u8]>,
}

/// A directory that is open, so that looking for what is below does not begin at the root of everything.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    open: File,
    path: &'a Path,
}

/// A name below an open directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    directory: &'a File,
    root: &'a Path,
    path: &'a str,
}

impl<'a> Directory<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, StoreError> {
        Ok(Self { open: File::open(path).map_err(at("open", path))?, path })
    }

    pub(super) fn spot<'b>(&'b self, path: &'b str) -> Spot<'b> {
        Spot { directory: &self.open, root: self.path, path }
    }
}

impl Spot<'_> {
    fn full(&self) -> PathBuf {
        self.root.join(self.path)
    }
}

impl<'a> Planted<'a> {
    pub(super) fn of_entry(entry: Entry<'a>) -> Self {
        let Entry { path, executable, writable, bytes } = entry;
        Self { path, digest: Digest::of(bytes), executable, writable, bytes: Some(bytes) }
    }

    pub(super) fn of_listed(file: &'a ListedFile) -> Self {
        let ListedFile { path, digest, executable, writable } = file;
        Self { path, digest: *digest, executable: *executable, writable: *writable, bytes: None }
    }

    /// Gives the name of its object.
    pub(super) fn object(&self) -> String {
        object_name(self.digest, self.executable)
    }

    /// Reads the content from its object, and hashes it.
    fn read(&self, object: &Path) -> Result<Vec<u8>, StoreError> {
        let bytes = fs::read(object).map_err(at("read", object))?;
        let (expected, actual) = (self.digest, Digest::of(&bytes));
        if actual == expected {
            return Ok(bytes);
        }
        let reason = format!("expected `{expected}`, found `{actual}`");
        Err(StoreError::Damaged { path: object.to_owned(), reason })
    }

    fn mode(&self) -> u32 {
        if self.writable { object_mode(self.executable) | 0o200 } else { object_mode(self.executable) }
    }
}

/// How files of trees share their bytes with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Copy on write: btrfs, xfs, bcachefs.
    Reflink,
    /// One inode: ext4, tmpfs.
    HardLink,
    /// They do not.
    Copy,
}

impl Method {
    /// Gives the name that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::HardLink => "hard link",
            Self::Copy => "copy",
        }
    }

    /// Tries what the file system of a directory allows, best first.
    pub(super) fn probe(directory: &Path) -> Self {
        let (from, to) = (directory.join("probe"), directory.join("probed"));
        let allows = |method: Self| {
            let placed = match method {
                Self::Reflink => reflink(&from, &to, object_mode(false)),
                _ => fs::hard_link(&from, &to),
            };
            let _ = fs::remove_file(&to);
            placed.is_ok()
        };
        if fs::write(&from, "probe").is_err() {
            return Self::HardLink;
        }
        let best = [Self::Reflink, Self::HardLink].into_iter().find(|method| allows(*method));
        let _ = fs::remove_file(&from);
        best.unwrap_or(Self::Copy)
    }

    /// Makes a file of a tree from its object, and gives how many bytes were written for it.
    pub(super) fn place(self, object: Spot<'_>, to: Spot<'_>, file: &Planted<'_>) -> Result<u64, StoreError> {
        let copy = || {
            let bytes = file
                .bytes
                .map_or_else(|| file.read(&object.full()).map(Cow::Owned), |bytes| Ok(Cow::Borrowed(bytes)))?;
            write_file(&to.full(), &bytes, file.mode())?;
            Ok(bytes.len() as u64)
        };
        let placed = match self {
            _ if file.writable => return copy(),
            Self::Copy => return copy(),
            Self::Reflink => reflink(&object.full(), &to.full(), file.mode()),
            Self::HardLink => {
                let linked = linkat(object.directory, object.path, to.directory, to.path, AtFlags::empty());
                linked.map_err(io::Error::from)
            }
        };
        match placed {
            Ok(()) => Ok(0),
            Err(error) if does_not_reach(&error) => copy(),
            Err(source) => Err(at("link", &to.full())(source)),
        }
    }
}

/// Gives the mode of an object, whatever the files of trees may have.
pub(super) fn object_mode(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

/// When every object claims to have been written: the second of 1970 that other content-addressed stores use as well. Whoever
/// writes to an object, by accident or by a program that does not know better, takes that away.
const SEALED_SECONDS: i64 = 1;

/// Writes a new object and seals it.
pub(super) fn write_object(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    write_file(path, bytes, mode)?;
    seal(path).map_err(at("write", path))
}

/// Seals an object whose every byte is right.
pub(super) fn seal(path: &Path) -> io::Result<()> {
    File::open(path)?.set_modified(UNIX_EPOCH + Duration::from_secs(SEALED_SECONDS.unsigned_abs()))
}

/// Tells whether an object was right when it was sealed and has not been written to since; reads no byte of it.
pub(super) fn is_sealed(object: Spot<'_>, file: &Planted<'_>) -> bool {
    statat(object.directory, object.path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && file.bytes.is_none_or(|bytes| found.st_size.unsigned_abs() == bytes.len() as u64)
            && found.st_mode & 0o7777 == object_mode(file.executable)
            && (found.st_mtime, found.st_mtime_nsec) == (SEALED_SECONDS, 0)
    })
}

/// Writes a new file and gives it its mode last.
pub(super) fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))
    };
    write().map_err(at("write", path))
}

fn reflink(object: &Path, path: &Path, mode: u32) -> io::Result<()> {
    let from = File::open(object)?;
    let to = File::create_new(path)?;
    let cloned = rustix::fs::ioctl_ficlone(&to, &from).map_err(io::Error::from);
    let done = cloned.and_then(|()| to.set_permissions(Permissions::from_mode(mode)));
    if done.is_err() {
        // Whoever writes the bytes instead makes the file anew.
        fs::remove_file(path)?;
    }
    done
}

/// Whether an error means that files cannot share bytes here: another file system, one that does not know how, or more
/// links than an inode takes.
fn does_not_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidInput, PermissionDenied, TooManyLinks, Unsupported};
    let no_such_call = error.raw_os_error() == Some(rustix::io::Errno::NOTTY.raw_os_error());
    no_such_call
        || matches!(error.kind(), CrossesDevices | InvalidInput | PermissionDenied | TooManyLinks | Unsupported)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn bytes_are_written_where_links_do_not_reach() {
        let root = tempfile::tempdir().expect("a directory");
        let object = root.path().join("object");
        let entry = Entry { path: "file", executable: true, writable: false, bytes: b"#!" };
        let file = Planted::of_entry(entry);
        let directory = Directory::open(root.path()).expect("opens");
        let spot = |path: &'static str| directory.spot(path);
        let absent = Method::HardLink.place(spot("object"), spot("x"), &file);
        assert!(absent.is_err(), "an object that is missing is a fault of ours");
        for code in [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL] {
            assert!(does_not_reach(&code.into()), "{code}");
        }
        assert!(!does_not_reach(&Errno::NOSPC.into()));
        write_file(&object, entry.bytes, object_mode(true)).expect("writes");
        for (method, bytes) in [Method::Reflink, Method::HardLink, Method::Copy]
            .into_iter()
            .flat_map(|method| [(method, file.bytes), (method, None)])
        {
            let path = root.path().join(method.as_str());
            let file = Planted { bytes, ..file.clone() };
            let written = method
                .place(spot("object"), spot(method.as_str()), &file)
                .expect("is placed, whatever the file system allows");
            assert!(method != Method::Copy || written == 2, "{written}");
            assert_eq!(fs::read(&path).expect("is there"), b"#!");
            assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o555);
            fs::remove_file(&path).expect("removes");
        }
    }

    #[test]
    fn what_the_probe_says_works() {
        let root = tempfile::tempdir().expect("a directory");
        let method = Method::probe(root.path());
        assert_ne!(method, Method::Copy, "every file system that tests run on has links");
        assert_eq!(fs::read_dir(root.path()).expect("lists").count(), 0, "and it leaves nothing behind");
    }
}
