//! zstd in frames: a large tar is compressed in pieces of one size, each a frame of its own (RFC 8878, section 3.1 lets frames
//! follow each other), so that all cores work on it in both directions.
//!
//! The pieces do not depend on the machine. Of frames in any other pattern only the first is taken for the archive; what
//! follows it is the caller's to refuse.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::codec::{Compressed, ZSTD_LEVEL, ZSTD_MAGIC};
use super::form::within;
use super::{ArchiveError, WINDOW_LOG_MAX};
use crate::digest::Digest;
use crate::{pages, parallel};

/// How much of a tar one frame holds, in bytes; the last may hold less. At level 3 a frame looks back 2 MiB, so frames of this
/// size cost next to nothing.
pub(super) const FRAME_BYTES: usize = 8 << 20;

/// Compresses a tar, and hashes what comes of it while the rest is still compressed.
pub(super) fn fold(tar: &[u8]) -> io::Result<Compressed> {
    let longest = zstd::zstd_safe::compress_bound(tar.len().min(FRAME_BYTES));
    // Room that is used again costs nothing: making it anew for each piece took a tenth of the time.
    let room = || -> io::Result<_> { Ok((zstd::bulk::Compressor::new(ZSTD_LEVEL)?, Vec::with_capacity(longest))) };
    // As much as sources take, in one piece; what takes more moves on.
    let folded = Mutex::new(Folded { bytes: pages::room(tar.len() / 4), ..Folded::default() });
    let pieces = tar.chunks(FRAME_BYTES).enumerate();
    parallel::try_map_in(parallel::cores(), pieces, room, |(compressor, frame), (number, piece)| {
        frame.clear();
        compressor.compress_to_buffer(piece, frame)?;
        folded.lock().unwrap_or_else(PoisonError::into_inner).put(number, frame);
        Ok::<_, io::Error>(())
    })?;
    let Folded { bytes, hasher, .. } = folded.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Compressed { bytes, blob: Digest::from_bytes(*hasher.finalize().as_bytes()) })
}

/// Frames behind each other, which come in any order: what has all before it is put in its place at once, while others are
/// still made.
#[derive(Default)]
struct Folded {
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    /// How many frames these are.
    frames: usize,
    waiting: BTreeMap<usize, Vec<u8>>,
}

impl Folded {
    fn put(&mut self, number: usize, frame: &[u8]) {
        if number != self.frames {
            self.waiting.insert(number, frame.to_vec());
            return;
        }
        self.append(frame);
        while let Some(next) = self.waiting.remove(&self.frames) {
            self.append(&next);
        }
    }

    fn append(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.hasher.update(frame);
        self.frames += 1;
    }
}

/// Unfolds at most one byte beyond the limit, and counts the bytes after the last frame.
///
/// # Errors
/// Frames that say that they hold more than the limit, before any is unfolded; bytes that are no frames.
pub(super) fn unfold(compressed: &[u8], limit: u64) -> Result<(Vec<u8>, usize), ArchiveError> {
    let Some(frames) = frames(compressed, limit)? else {
        return unfold_one(compressed, limit).map_err(ArchiveError::Compression);
    };
    let mut tar = pages::zeros(frames.iter().map(|frame| frame.content).sum());
    let jobs = frames.iter().zip(tar.chunks_mut(FRAME_BYTES));
    parallel::try_map_in(parallel::cores(), jobs, zstd::bulk::Decompressor::new, |decompressor, (frame, piece)| {
        let written = decompressor.decompress_to_buffer(frame.bytes, piece)?;
        if written == piece.len() { Ok(()) } else { Err(io::Error::other("a frame holds less than it says")) }
    })
    .map_err(ArchiveError::Compression)?;
    let read: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
    Ok((tar, compressed.len() - read))
}

/// Unfolds the first frame.
fn unfold_one(compressed: &[u8], limit: u64) -> io::Result<(Vec<u8>, usize)> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut frame = decoder.single_frame().take(limit + 1);
    // What the frame says of its size saves growing, and is believed no further than a frame of its length may unfold.
    let said = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten().unwrap_or(0).min(limit);
    let mut tar = Vec::with_capacity(usize::try_from(said).unwrap_or(0));
    frame.read_to_end(&mut tar)?;
    Ok((tar, frame.into_inner().finish().len()))
}

/// One frame that says how much it holds.
struct Frame<'a> {
    bytes: &'a [u8],
    content: usize,
}

/// Tells the frames that [`fold`] makes of more than one piece: all hold a whole piece, and the last a part of one. A frame
/// that says that it holds much may be a dozen bytes, so they are counted against the limit as they are met.
fn frames(compressed: &[u8], limit: u64) -> Result<Option<Vec<Frame<'_>>>, ArchiveError> {
    let (mut frames, mut rest, mut total): (Vec<Frame<'_>>, _, _) = (Vec::new(), compressed, 0);
    while rest.starts_with(&ZSTD_MAGIC) && frames.last().is_none_or(|last| last.content == FRAME_BYTES) {
        let Some(frame) = first_frame(rest) else { return Ok(None) };
        total += frame.content as u64;
        within("the tar", total, limit)?;
        rest = &rest[frame.bytes.len()..];
        frames.push(frame);
    }
    Ok((frames.len() > 1).then_some(frames))
}

fn first_frame(compressed: &[u8]) -> Option<Frame<'_>> {
    let content = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten()?;
    let content = usize::try_from(content).ok().filter(|content| (1..=FRAME_BYTES).contains(content))?;
    let bytes = compressed.get(..zstd::zstd_safe::find_frame_compressed_size(compressed).ok()?)?;
    Some(Frame { bytes, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 27) as u8).collect()
    }

    #[test]
    fn pieces_are_those_of_the_format_whatever_the_machine() {
        for (bytes, pieces) in [(FRAME_BYTES, 1), (FRAME_BYTES + 1, 2), (2 * FRAME_BYTES, 2), (2 * FRAME_BYTES + 5, 3)]
        {
            let text = text(bytes);
            let Compressed { bytes: folded, blob } = fold(&text).expect("folds");
            assert_eq!(blob, Digest::of(&folded));
            let one_by_one: Vec<Vec<u8>> =
                text.chunks(FRAME_BYTES).map(|piece| zstd::bulk::compress(piece, ZSTD_LEVEL).expect("folds")).collect();
            assert_eq!((folded == one_by_one.concat(), one_by_one.len()), (true, pieces), "{bytes}");
            assert!(unfold(&folded, bytes as u64).expect("unfolds") == (text, 0), "{bytes}");
        }
    }

    #[test]
    fn frames_in_another_pattern_are_left_over() {
        let (whole, part) = (text(FRAME_BYTES), text(1_000));
        let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, ZSTD_LEVEL).expect("folds");
        let (whole_frame, part_frame) = (frame(&whole), frame(&part));
        let skippable = b"\x50\x2a\x4d\x18\x02\x00\x00\x00hi";
        for (rest, left) in [
            ([part_frame.clone(), part_frame.clone()].concat(), part_frame.len()),
            ([&part_frame[..], b"x"].concat(), 1),
            ([&part_frame[..], skippable].concat(), skippable.len()),
        ] {
            // After a whole piece a part ends the archive; alone, it is the archive.
            assert_eq!(unfold(&rest, 1 << 30).expect("unfolds"), (part.clone(), left));
            let after_whole = [&whole_frame[..], &rest].concat();
            let (tar, found) = unfold(&after_whole, 1 << 30).expect("unfolds");
            assert_eq!((tar.len(), found), (FRAME_BYTES + part.len(), left));
        }
        let empty = [&whole_frame[..], &frame(&[])].concat();
        assert_eq!(unfold(&empty, 1 << 30).expect("unfolds").0.len(), FRAME_BYTES);
        assert!(unfold(&empty, 1 << 30).expect("unfolds").1 > 0, "an empty frame is left over");
        let mut cut = [&whole_frame[..], &part_frame].concat();
        cut.pop();
        assert!(unfold(&cut, 1 << 30).expect("the first unfolds").1 > 0, "what is cut off is left over");
    }

    #[test]
    fn the_limit_holds_over_all_frames() {
        let folded = fold(&text(2 * FRAME_BYTES)).expect("folds").bytes;
        let refused = |bytes: &[u8], limit: usize| {
            assert!(matches!(unfold(bytes, limit as u64), Err(ArchiveError::TooLarge { .. })), "{limit}");
        };
        refused(&folded, 5);
        refused(&folded, 2 * FRAME_BYTES - 1);
        assert_eq!(unfold(&folded, 2 * FRAME_BYTES as u64).expect("unfolds").0.len(), 2 * FRAME_BYTES);
        // A frame that says that it holds a whole piece, and ends at once: a single segment of 8 MiB and an empty last block.
        let empty = [&ZSTD_MAGIC[..], &[0xA0], &(FRAME_BYTES as u32).to_le_bytes(), &[1, 0, 0]].concat();
        assert_eq!(empty.len(), 12);
        refused(&empty.repeat(100_000), 128 * FRAME_BYTES);
        assert!(matches!(unfold(&empty.repeat(2), 1 << 30), Err(ArchiveError::Compression(_))));
    }
}
