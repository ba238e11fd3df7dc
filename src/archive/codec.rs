//! Compression: one zstd or LZ4 frame around the tar. Which of the two is told by the magic number, not by a name.
//!
//! Nothing here knows the tar. A frame is unfolded to a bound that the caller states, and ends where its format says; what
//! stands after it is counted and never read.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::WINDOW_LOG_MAX;

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
/// Above this size, in bytes, a tar is compressed by as many threads as there are cores, in jobs of a size that is fixed, so
/// that the bytes do not depend on the machine. Below it one job is all there is.
const PARALLEL_BYTES: usize = 8 << 20;
/// The most threads that compress one tar.
const THREADS_MAX: usize = 8;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4D, 0x18];

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
    pub(super) fn compress(self, tar: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd if tar.len() > PARALLEL_BYTES => zstd_parallel(tar),
            Self::Zstd => zstd::bulk::compress(tar, ZSTD_LEVEL),
            Self::Lz4 => {
                let info = FrameInfo::new()
                    .block_size(BlockSize::Max4MB)
                    .block_mode(BlockMode::Independent)
                    .content_checksum(true);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(tar.len() / 2));
                encoder.write_all(tar)?;
                encoder.finish().map_err(io::Error::other)
            }
        }
    }

    /// Unfolds one frame, at most one byte beyond the limit, and counts the bytes after it.
    pub(super) fn unfold(compressed: &[u8], limit: u64) -> io::Result<(Vec<u8>, usize)> {
        match Self::of(compressed) {
            Some(Self::Zstd) => unfold_zstd(compressed, limit),
            Some(Self::Lz4) => unfold_lz4(compressed, limit),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "it begins like neither zstd nor LZ4")),
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

fn zstd_parallel(tar: &[u8]) -> io::Result<Vec<u8>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::with_capacity(tar.len() / 4), ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(tar.len() as u64))?;
    encoder.multithread(u32::try_from(cores).unwrap_or(1))?;
    encoder.write_all(tar)?;
    encoder.finish()
}

fn unfold_zstd(compressed: &[u8], limit: u64) -> io::Result<(Vec<u8>, usize)> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut frame = decoder.single_frame().take(limit + 1);
    // What the frame says of its size saves growing, and is believed no further than a frame of its length may unfold.
    let said = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten().unwrap_or(0).min(limit);
    let mut tar = Vec::with_capacity(usize::try_from(said).unwrap_or(0));
    frame.read_to_end(&mut tar)?;
    Ok((tar, frame.into_inner().finish().len()))
}

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
            let mut frame = compression.compress(&text).expect("compresses");
            assert_eq!(Compression::of(&frame), Some(compression));
            assert_eq!(Compression::unfold(&frame, 1 << 20).expect("unfolds"), (text.clone(), 0));
            frame.extend_from_slice(b"xyz");
            assert_eq!(Compression::unfold(&frame, 1 << 20).expect("unfolds").1, 3, "{compression:?}");
            assert_eq!(Compression::unfold(&frame, 99).expect("stops").0.len(), 100, "{compression:?}");
        }
    }

    #[test]
    fn a_frame_does_not_depend_on_the_number_of_threads() {
        let text: Vec<u8> = (0..12_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
        assert!(text.len() > PARALLEL_BYTES);
        let with = |threads| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).expect("starts");
            encoder.set_pledged_src_size(Some(text.len() as u64)).expect("is a size");
            encoder.multithread(threads).expect("are threads");
            encoder.write_all(&text).expect("writes");
            encoder.finish().expect("ends")
        };
        assert_eq!(with(1), with(4));
        assert_eq!(Compression::Zstd.compress(&text).expect("compresses"), with(3));
    }

    #[test]
    fn words_are_compressions_or_named() {
        assert_eq!("lz4".parse(), Ok(Compression::Lz4));
        assert_eq!("zstd".parse(), Ok(Compression::Zstd));
        let error = "gzip".parse::<Compression>().expect_err("is none").to_string();
        assert_eq!(error, "`gzip` is no compression; there are `zstd` and `lz4`");
    }
}
