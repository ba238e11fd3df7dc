//! A file that is not complete yet, and what of it is known to be right.
//!
//! Beside `FILE` lies `FILE.state`: the digest, the size, a bit for each group that was verified, and the hash tree as far as it
//! is known, with a BLAKE3 over all of it. It is replaced as a whole and may be older than the data. What it says is never
//! believed: when a part is opened again, every group it claims is hashed, and a claim that does not hold is dropped.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trustchain::digest::Blake3;

use super::groups::{self, Groups};
use super::tree::{self, Outboard, Pair};
use super::{GROUP_BYTES, SIZE_BYTES_MAX};

const MAGIC: &[u8; 16] = b"stoq blob part 1";
const HEADER_BYTES: usize = 16 + 32 + 8;
const CHECKSUM_BYTES: usize = 32;
/// The state is written after so many bytes of data, or a thirty-second of the blob if that is more: a crash costs no more.
pub(super) const CHECKPOINT_BYTES: u64 = 16 << 20;
const CHECKPOINTS_MAX: u64 = 32;

/// A part cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// Another transfer writes it.
    #[error("part file `{path}` is in use")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The disk does not do what is asked.
    #[error("part file `{path}` cannot be {action}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was tried, as `written`.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A file that is not complete yet; one at a time for a path. Dropping it keeps it for the next attempt.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    digest: Blake3,
    data: Arc<File>,
    /// Held for as long as this value lives; writes that are still under way go through `data`.
    _lock: File,
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    outboard: Outboard,
    done: Groups,
    unsaved_bytes: u64,
}

/// A blob that is complete and right.
#[derive(Debug)]
pub struct Complete {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name.
    pub digest: Blake3,
    /// The bytes; every group was verified before it was written. They are not yet forced to the disk.
    pub file: Arc<File>,
    /// How many there are.
    pub size: u64,
}

impl PartFile {
    /// Opens or makes the part of a blob. Blocks for as long as hashing what is there takes: half a second for a gibibyte.
    ///
    /// # Errors
    /// Another transfer has it open; the disk cannot be read or written.
    pub fn open(path: &Path, digest: Blake3) -> Result<Self, PartError> {
        let fail = |action| move |source| PartError::Disk { path: path.to_owned(), action, source };
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let lock = open().map_err(fail("opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PartError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(fail("locked")(source)),
        }
        let data = Arc::new(open().map_err(fail("opened"))?);
        let known = match read_state(&state_path(path)).map_err(fail("read"))? {
            Some(bytes) => checked(&bytes, &digest, &data).map_err(fail("read"))?,
            None => None,
        };
        Ok(Self { path: path.to_owned(), digest, data, _lock: lock, known })
    }

    /// Gives what blob it is of.
    pub fn digest(&self) -> &Blake3 {
        &self.digest
    }

    /// Gives the size of the blob, if it was proved.
    pub fn size(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.outboard.size())
    }

    /// Gives how many bytes of it are verified.
    pub fn verified_bytes(&self) -> u64 {
        self.known.as_ref().map_or(0, |known| {
            let size = known.outboard.size();
            let last = known.done.bound() - 1;
            let missing_of_last =
                if known.done.has(last) { GROUP_BYTES as u64 - tree::group_len(size, last) } else { 0 };
            known.done.count() * GROUP_BYTES as u64 - missing_of_last
        })
    }

    /// Gives which groups are verified.
    pub(crate) fn done(&self) -> Option<&Groups> {
        self.known.as_ref().map(|known| &known.done)
    }

    /// Gives the file that verified groups are written to.
    pub(crate) fn data(&self) -> &Arc<File> {
        &self.data
    }

    /// Takes the size that was proved, and makes the file so large, without filling it.
    pub(crate) fn prove(&mut self, size: u64) -> Result<(), PartError> {
        self.data.set_len(size).map_err(|source| self.fail("made larger", source))?;
        let done = Groups::new(tree::group_count(size));
        self.known = Some(Known { outboard: Outboard::unknown(&self.digest, size), done, unsaved_bytes: 0 });
        Ok(())
    }

    /// Takes note of a group whose bytes were verified and written, and of the pairs of hashes that came with it; says whether it
    /// is time to [`PartFile::save`].
    pub(crate) fn mark(&mut self, group: u64, pairs: &[Pair]) -> bool {
        let known = self.known.as_mut().expect("groups come after the size was proved");
        pairs.iter().for_each(|pair| known.outboard.insert(pair));
        if known.done.insert(group) {
            known.unsaved_bytes += GROUP_BYTES as u64;
        }
        known.unsaved_bytes >= CHECKPOINT_BYTES.max(known.outboard.size() / CHECKPOINTS_MAX)
    }

    /// Writes what is known to the disk. Blocks as writing a file does.
    pub(crate) fn save(&mut self) -> Result<(), PartError> {
        let Some(known) = &mut self.known else { return Ok(()) };
        if known.unsaved_bytes == 0 {
            return Ok(());
        }
        known.unsaved_bytes = 0;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + known.outboard.as_bytes().len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.digest.as_bytes());
        bytes.extend_from_slice(&known.outboard.size().to_le_bytes());
        bytes.extend(known.done.to_bytes());
        bytes.extend_from_slice(known.outboard.as_bytes());
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        let (state, fresh) = (state_path(&self.path), with_suffix(&self.path, ".state.new"));
        let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, state));
        written.map_err(|source| self.fail("noted", source))
    }

    /// Gives the blob away when all of it was verified; removes the state.
    pub(crate) fn complete(mut self) -> Result<Complete, PartError> {
        let known = self.known.take().expect("a blob is complete after its size was proved");
        assert_eq!(known.done.count(), known.done.bound(), "only complete blobs are given away");
        let remove = |path: PathBuf| match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(source),
            _ => Ok(()),
        };
        remove(state_path(&self.path)).map_err(|source| self.fail("finished", source))?;
        let size = known.outboard.size();
        Ok(Complete { path: self.path.clone(), digest: self.digest, file: Arc::clone(&self.data), size })
    }

    pub(crate) fn fail(&self, action: &'static str, source: io::Error) -> PartError {
        PartError::Disk { path: self.path.clone(), action, source }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "what was fetched will be fetched again");
        }
    }
}

/// Writes a verified group. Blocks as writing a file does.
pub(crate) fn write(data: &File, group: u64, bytes: &[u8]) -> io::Result<()> {
    data.write_all_at(bytes, group * GROUP_BYTES as u64)
}

/// The file beside a part that says what of it is right.
pub fn state_path(path: &Path) -> PathBuf {
    with_suffix(path, ".state")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn state_len(size: u64) -> usize {
    HEADER_BYTES + groups::bytes_len(tree::group_count(size)) + tree::outboard_len(size) + CHECKSUM_BYTES
}

fn read_state(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(state_len(SIZE_BYTES_MAX) as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Reads a state and hashes what it claims. Whatever is not as it should be begins anew.
fn checked(bytes: &[u8], digest: &Blake3, data: &File) -> io::Result<Option<Known>> {
    let Some((outboard, claimed)) = parse(bytes, digest) else { return Ok(None) };
    let mut done = Groups::new(claimed.bound());
    for group in claimed.iter() {
        if outboard.has_valid(data, group)? {
            done.insert(group);
        }
    }
    // The last group proves the size; without it nothing of the rest can be placed.
    Ok(done.has(claimed.bound() - 1).then_some(Known { outboard, done, unsaved_bytes: 1 }))
}

fn parse(bytes: &[u8], digest: &Blake3) -> Option<(Outboard, Groups)> {
    let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    let rest = content.strip_prefix(MAGIC)?.strip_prefix(digest.as_bytes().as_slice())?;
    let (size, rest) = rest.split_first_chunk()?;
    let size = u64::from_le_bytes(*size);
    if size > SIZE_BYTES_MAX || bytes.len() != state_len(size) || blake3::hash(content).as_bytes() != checksum {
        return None;
    }
    let count = tree::group_count(size);
    let (done, pairs) = rest.split_at_checked(groups::bytes_len(count))?;
    Some((Outboard::partial(digest, size, pairs.to_vec()), Groups::from_bytes(done, count)?))
}

#[cfg(test)]
mod tests;
