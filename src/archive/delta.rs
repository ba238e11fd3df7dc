//! Deltas: what changes from one version's tar to the next, as one zstd frame that has the older tar as its prefix.
//!
//! ```text
//! 0   "HMDELTA1"                8 bytes
//! 8   BLAKE3 of the older tar   32 bytes
//! 40  BLAKE3 of the newer tar   32 bytes
//! 72  size of the newer tar     8 bytes, little-endian
//! 80  a zstd frame
//! ```
//!
//! A delta is worth nothing without its digests: what it makes is read as any archive is, and is given back only if it is the
//! very tar that the delta names. Who vouches for that one is [`crate::trust`]'s business, as ever.

use std::io::{self, Read, Write};

use super::codec::Compression;
use super::form::Limits;
use super::{Archive, ArchiveError, codec, finish};
use crate::digest::Digest;

/// The first bytes of a delta.
pub const MAGIC: [u8; 8] = *b"HMDELTA1";
/// The largest older and the largest newer tar, in bytes; both are in memory at once, and so is a window over them.
pub const DELTA_TAR_BYTES_MAX: u64 = 512 << 20;

const HEADER: usize = 80;
/// zstd's smallest window, as a power of two.
const WINDOW_LOG_MIN: u32 = 10;

/// Why a delta could not be made or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// Not a delta, or one that is cut off.
    #[error("the bytes are no delta: {reason}")]
    Malformed {
        /// How.
        reason: &'static str,
    },
    /// Made from another archive.
    #[error("the delta begins with a tar of `{expected}`, and the archive given has `{actual}`")]
    OtherBase {
        /// What it begins with.
        expected: Digest,
        /// What was given.
        actual: Digest,
    },
    /// It made something else than it says.
    #[error("the delta should make a tar of `{expected}`, and made `{actual}`")]
    OtherResult {
        /// What it says.
        expected: Digest,
        /// What it made.
        actual: Digest,
    },
    /// A tar beyond the bound.
    #[error("the {which} tar passes the bound of {limit} bytes for deltas")]
    TooLarge {
        /// Which of the two.
        which: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The frame does not unfold.
    #[error("the frame of the delta does not unfold")]
    Frame(#[source] io::Error),
    /// What it made is no archive.
    #[error("the delta makes no archive")]
    Archive(#[source] Box<ArchiveError>),
}

/// Whether bytes begin as a delta does.
pub fn is_delta(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Makes a delta from an older archive to a newer one.
///
/// # Errors
/// [`DeltaError::TooLarge`].
pub fn make(old: &Archive, new: &Archive) -> Result<Vec<u8>, DeltaError> {
    within("older", old.tar_bytes())?;
    within("newer", new.tar_bytes())?;
    let mut bytes = Vec::with_capacity(HEADER + new.tar.len() / 16);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(old.digest().as_bytes());
    bytes.extend_from_slice(new.digest().as_bytes());
    bytes.extend_from_slice(&new.tar_bytes().to_le_bytes());
    encode(&old.tar, &new.tar, bytes).map_err(DeltaError::Frame)
}

/// Makes the newer archive from the older one and a delta.
///
/// Memory stays below both tars and the window over them, and the newer tar below the older one and what an archive of the
/// delta's length may unfold to.
///
/// # Errors
/// [`DeltaError`]; nothing is given back that is not the tar the delta names.
pub fn apply(old: &Archive, delta: &[u8], compression: Compression) -> Result<Archive, DeltaError> {
    let (base, result, size, frame) = parse(delta)?;
    if base != old.digest() {
        return Err(DeltaError::OtherBase { expected: base, actual: old.digest() });
    }
    within("older", old.tar_bytes())?;
    within("newer", size)?;
    let limit = Limits::ALL.tar(frame.len()).saturating_add(old.tar_bytes());
    if size > limit {
        return Err(DeltaError::TooLarge { which: "newer", limit });
    }
    let tar = decode(&old.tar, frame, size).map_err(DeltaError::Frame)?;
    if tar.len() as u64 != size {
        return Err(DeltaError::Malformed { reason: "the size in the header is not that of the tar" });
    }
    let actual = Digest::of(&tar);
    if actual != result {
        return Err(DeltaError::OtherResult { expected: result, actual });
    }
    finish(&Limits::ALL, compression, tar).map_err(|error| DeltaError::Archive(Box::new(error)))
}

fn parse(delta: &[u8]) -> Result<(Digest, Digest, u64, &[u8]), DeltaError> {
    let malformed = |reason| DeltaError::Malformed { reason };
    if !is_delta(delta) {
        return Err(malformed("they begin otherwise"));
    }
    let (header, frame) = delta.split_at_checked(HEADER).ok_or_else(|| malformed("the header is cut off"))?;
    let digest = |at: usize| header[at..].first_chunk().copied().map(Digest::from_bytes);
    let size = header[72..].first_chunk().copied().map(u64::from_le_bytes);
    let (Some(base), Some(result), Some(size)) = (digest(8), digest(40), size) else {
        return Err(malformed("the header is cut off"));
    };
    Ok((base, result, size, frame))
}

fn encode(old: &[u8], new: &[u8], head: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(head, codec::ZSTD_LEVEL, old)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(window_log(old.len() as u64 + new.len() as u64))?;
    encoder.set_pledged_src_size(Some(new.len() as u64))?;
    encoder.write_all(new)?;
    encoder.finish()
}

fn decode(old: &[u8], frame: &[u8], size: u64) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(frame, old)?;
    decoder.window_log_max(window_log(old.len() as u64 + size))?;
    let mut decoder = decoder.single_frame().take(size + 1);
    let mut tar = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    decoder.read_to_end(&mut tar)?;
    match decoder.into_inner().finish().len() {
        0 => Ok(tar),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes follow its end")),
    }
}

/// The smallest window over so many bytes; for the largest two tars it is 1 GiB.
fn window_log(bytes: u64) -> u32 {
    bytes.next_power_of_two().trailing_zeros().max(WINDOW_LOG_MIN)
}

fn within(which: &'static str, bytes: u64) -> Result<(), DeltaError> {
    if bytes <= DELTA_TAR_BYTES_MAX {
        return Ok(());
    }
    Err(DeltaError::TooLarge { which, limit: DELTA_TAR_BYTES_MAX })
}

#[cfg(test)]
mod tests;
