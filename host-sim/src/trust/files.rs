//! Files of a home's trust: bounded reads, writes that are whole or not there, the lock of those who change.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trustchain::certificate::{self, Certificate};

use super::TrustError;

/// The largest file that is read, but for the book: a revocation list.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How long a command waits for another one.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The most files of one kind in a directory.
const FILES_MAX: usize = 10_000;
/// The longest name of a certificate, that of a domain's label.
const NAME_CHARS_MAX: usize = 63;

/// The right to change a home's trust.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for others that change.
    pub(super) fn take(directory: &Path) -> Result<Self, TrustError> {
        std::fs::create_dir_all(directory).map_err(|source| fault(directory, source))?;
        let path = directory.join("lock");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|source| fault(&path, source))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(std::fs::TryLockError::Error(source)) => return Err(fault(&path, source)),
                Err(std::fs::TryLockError::WouldBlock) if started.elapsed() > LOCK_TIMEOUT => {
                    return Err(TrustError::Busy { directory: directory.to_owned() });
                }
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Says whether a text can name a certificate, retired authorities included, and no file elsewhere.
pub(super) fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let (first, number) = name.split_once('.').map_or((name, None), |(first, number)| (first, Some(number)));
    let retired = |number: &str| first.ends_with("-authority") && number.parse::<u32>().is_ok_and(|number| number > 0);
    part(first)
        && first.len() <= NAME_CHARS_MAX
        && !first.starts_with('-')
        && !first.ends_with('-')
        && number.is_none_or(retired)
}

/// Reads a file up to the usual bound.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    read_at_most(path, FILE_BYTES_MAX)
}

/// Reads a file up to a bound.
pub(super) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, TrustError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|source| fault(path, source))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|source| fault(path, source))?;
    if bytes.len() as u64 > most {
        return Err(TrustError::TooLarge { path: path.to_owned(), most });
    }
    Ok(bytes)
}

/// Reads a file of text.
pub(super) fn read_text(path: &Path) -> Result<String, TrustError> {
    String::from_utf8(read(path)?).map_err(|error| fault(path, io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Reads a file that only its owner may read.
pub(super) fn read_secret(path: &Path) -> Result<Vec<u8>, TrustError> {
    let mode = std::fs::metadata(path).map_err(|source| fault(path, source))?.mode() & 0o777;
    if mode & 0o077 == 0 { read(path) } else { Err(TrustError::Exposed { path: path.to_owned(), mode }) }
}

/// Reads the certificates of a file.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<Certificate>, TrustError> {
    let read = certificate::from_pem(&read(path)?);
    read.map_err(|source| TrustError::Certificates { path: path.to_owned(), source })
}

/// Writes a file that everybody may read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    put(path, bytes, 0o644)
}

/// Writes a file that everybody may read, unless it is the same already.
pub(super) fn update(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    if read(path).is_ok_and(|held| held == bytes) { Ok(()) } else { write(path, bytes) }
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    put(path, bytes, 0o600)
}

/// Renames a file and makes that durable.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), TrustError> {
    std::fs::rename(from, to).map_err(|source| fault(to, source))?;
    sync_parent(to)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), TrustError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(fault(path, source)),
        _ => Ok(()),
    }
}

/// Gives the names of files with an ending, without it, sorted; none if there is no such directory.
pub(super) fn stems(directory: &Path, ending: &str) -> Result<Vec<String>, TrustError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fault(directory, source)),
    };
    let mut stems = Vec::new();
    for entry in entries {
        let name = entry.map_err(|source| fault(directory, source))?.file_name();
        if let Some(stem) =
            name.to_str().and_then(|name| name.strip_suffix(ending)).filter(|stem| !stem.starts_with('.'))
        {
            stems.push(stem.to_owned());
        }
        if stems.len() > FILES_MAX {
            return Err(TrustError::TooMany { directory: directory.to_owned(), most: FILES_MAX });
        }
    }
    stems.sort();
    Ok(stems)
}

pub(super) fn fault(path: &Path, source: io::Error) -> TrustError {
    TrustError::File { path: path.to_owned(), source }
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    let parent = parent(path);
    std::fs::create_dir_all(&parent).map_err(|source| fault(&parent, source))?;
    let made = tempfile::Builder::new().prefix(".new-").permissions(Permissions::from_mode(mode)).tempfile_in(&parent);
    let mut file = made.map_err(|source| fault(path, source))?;
    let written = file.write_all(bytes).and_then(|()| file.as_file().set_permissions(Permissions::from_mode(mode)));
    written.and_then(|()| file.as_file().sync_all()).map_err(|source| fault(path, source))?;
    file.persist(path).map_err(|error| fault(path, error.error))?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<(), TrustError> {
    let parent = parent(path);
    File::open(&parent).and_then(|directory| directory.sync_all()).map_err(|source| fault(&parent, source))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).to_path_buf()
}
