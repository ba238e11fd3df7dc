//! Compression: zstd or LZ4 around the tar. Which of the two is told by the magic number, not by a name.
//!
//! Nothing here knows the tar. A frame is unfolded to a bound that the caller states, and ends where its format says; what
//! stands after it is counted and never read.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{ArchiveError, frames};
use crate::digest::Digest;

/// How a tar is compressed. The choice is the publisher's; the identity of a package does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// zstd, the default: small.
    #[default]
    Zstd,
    /// LZ4: twice the size, and read by anything.
    Lz4,
}

/// Of the levels 1, 3, 6 and 9, level 3 is the last that packs as fast as files are read from a disk. `benches/store.rs`
/// measures them each time; on real sources, on one core: 390, 236, 74 and 43 MB/s for 25.6, 22.0, 19.7 and 18.7 % of
/// the size.
pub const ZSTD_LEVEL: i32 = 3;

pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];

/// Compressed bytes, and the digest that names them.
#[derive(Debug)]
pub(super) struct Compressed {
    pub(super) bytes: Vec<u8>,
    pub(super) blob: Digest,
}

impl Compression {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::Zstd, Self::Lz4];

    /// Gives the name that people write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Tells a frame by its first bytes.
    pub(super) fn of(compressed: &[u8]) -> Option<Self> {
        match *compressed.first_chunk()? {
            ZSTD_MAGIC => Some(Self::Zstd),
            LZ4_MAGIC => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Compresses; the same bytes give the same frame on every machine with this version of the library.
    pub(super) fn compress(self, tar: &[u8]) -> io::Result<Compressed> {
        match self {
            Self::Zstd => frames::fold(tar),
            Self::Lz4 => {
                let info = FrameInfo::new()
                    .block_size(BlockSize::Max4MB)
                    .block_mode(BlockMode::Independent)
                    .content_checksum(true);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(tar.len() / 2));
                encoder.write_all(tar)?;
                let bytes = encoder.finish().map_err(io::Error::other)?;
                Ok(Compressed { blob: Digest::of(&bytes), bytes })
            }
        }
    }

    /// Unfolds one frame, at most one byte beyond the limit, and counts the bytes after it.
    pub(super) fn unfold(compressed: &[u8], limit: u64) -> Result<(Vec<u8>, usize), ArchiveError> {
        match Self::of(compressed) {
            Some(Self::Zstd) => frames::unfold(compressed, limit),
            Some(Self::Lz4) => unfold_lz4(compressed, limit).map_err(ArchiveError::Compression),
            None => {
                let reason = "it begins like neither zstd nor LZ4";
                Err(ArchiveError::Compression(io::Error::new(io::ErrorKind::InvalidData, reason)))
            }
        }
    }
}

impl std::str::FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| UnknownCompression(text.to_owned()))
    }
}

/// A word that names no compression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression; there are `zstd` and `lz4`")]
pub struct UnknownCompression(String);

fn unfold_lz4(compressed: &[u8], limit: u64) -> io::Result<(Vec<u8>, usize)> {
    let cut_off = || io::Error::new(io::ErrorKind::UnexpectedEof, "the LZ4 frame is cut off");
    // The decoder takes the end of its input for the end of the frame, so that is found here.
    let end = lz4_end(compressed).ok_or_else(cut_off)?;
    let mut tar = Vec::new();
    FrameDecoder::new(&compressed[..end]).take(limit + 1).read_to_end(&mut tar)?;
    Ok((tar, compressed.len() - end))
}

/// Walks over the blocks of an LZ4 frame to its end (LZ4 Frame Format 1.6.4).
fn lz4_end(frame: &[u8]) -> Option<usize> {
    let flags = *frame.get(4)?;
    let (block_checksum, content_size, content_checksum, dictionary) =
        (flags & 0x10 != 0, flags & 0x08 != 0, flags & 0x04 != 0, flags & 0x01 != 0);
    let four = |is_there: bool| usize::from(is_there) * 4;
    // Magic, flags, block descriptor, then what the flags say, then one byte of checksum.
    let mut at = 4 + 2 + 2 * four(content_size) + four(dictionary) + 1;
    loop {
        let word = u32::from_le_bytes(*frame.get(at..)?.first_chunk()?);
        at += 4;
        if word == 0 {
            at += four(content_checksum);
            return (at <= frame.len()).then_some(at);
        }
        at = at.checked_add((word & 0x7FFF_FFFF) as usize + four(block_checksum))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_frames_unfold_to_what_was_folded_and_end_where_they_end() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|number| (number % 251).to_le_bytes()).collect();
        for compression in Compression::ALL {
            let mut frame = compression.compress(&text).expect("compresses").bytes;
            assert_eq!(Compression::of(&frame), Some(compression));
            assert_eq!(Compression::unfold(&frame, 1 << 20).expect("unfolds"), (text.clone(), 0));
            frame.extend_from_slice(b"xyz");
            assert_eq!(Compression::unfold(&frame, 1 << 20).expect("unfolds").1, 3, "{compression:?}");
        }
        // A zstd frame of ours says how much it holds and is not begun; an LZ4 frame is unfolded to a byte beyond the limit.
        let folded = |compression: Compression| compression.compress(&text).expect("compresses").bytes;
        let zstd = Compression::unfold(&folded(Compression::Zstd), 99);
        assert!(matches!(zstd, Err(ArchiveError::TooLarge { limit: 99, .. })));
        assert_eq!(Compression::unfold(&folded(Compression::Lz4), 99).expect("stops").0.len(), 100);
    }

    #[test]
    fn words_are_compressions_or_named() {
        assert_eq!("lz4".parse(), Ok(Compression::Lz4));
        assert_eq!("zstd".parse(), Ok(Compression::Zstd));
        let error = "gzip".parse::<Compression>().expect_err("is none").to_string();
        assert_eq!(error, "`gzip` is no compression; there are `zstd` and `lz4`");
    }
}
