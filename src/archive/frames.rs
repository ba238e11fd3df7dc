//! zstd in frames: a large tar is compressed in pieces of one size, each a frame of its own (RFC 8878, section 3.1 lets frames
//! follow each other), so that all cores work on it in both directions.
//!
//! The pieces do not depend on the machine. Of frames in any other pattern only the first is taken for the archive; what
//! follows it is the caller's to refuse.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::WINDOW_LOG_MAX;
use super::codec::{ZSTD_LEVEL, ZSTD_MAGIC};

/// How much of a tar one frame holds, in bytes; the last may hold less. At level 3 a frame looks back 2 MiB, so frames of this
/// size cost next to nothing.
pub(super) const FRAME_BYTES: usize = 8 << 20;
/// The most threads that work on one tar.
const THREADS_MAX: usize = 8;

/// Compresses a tar.
pub(super) fn fold(tar: &[u8]) -> io::Result<Vec<u8>> {
    let frames = on_all_cores(tar.chunks(FRAME_BYTES), |piece| zstd::bulk::compress(piece, ZSTD_LEVEL))?;
    Ok(frames.concat())
}

/// Unfolds at most one byte beyond the limit, and counts the bytes after the last frame.
pub(super) fn unfold(compressed: &[u8], limit: u64) -> io::Result<(Vec<u8>, usize)> {
    let Some(frames) = frames(compressed) else { return unfold_one(compressed, limit) };
    let total: usize = frames.iter().map(|frame| frame.content).sum();
    if total as u64 > limit {
        // Nothing of it is wanted; the caller sees that it is too much.
        let mut begin = unfold_one(frames[0].bytes, limit)?.0;
        begin.resize(usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX).min(total), 0);
        return Ok((begin, 0));
    }
    let mut tar = vec![0; total];
    on_all_cores(frames.iter().zip(tar.chunks_mut(FRAME_BYTES)), |(frame, piece)| {
        let written = zstd::bulk::Decompressor::new()?.decompress_to_buffer(frame.bytes, piece)?;
        if written == piece.len() { Ok(()) } else { Err(io::Error::other("a frame holds less than it says")) }
    })?;
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

/// Tells the frames that [`fold`] makes of more than one piece: all hold a whole piece, and the last a part of one.
fn frames(compressed: &[u8]) -> Option<Vec<Frame<'_>>> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut rest = compressed;
    while rest.starts_with(&ZSTD_MAGIC) && frames.last().is_none_or(|last| last.content == FRAME_BYTES) {
        let content = zstd::zstd_safe::get_frame_content_size(rest).ok().flatten()?;
        let length = zstd::zstd_safe::find_frame_compressed_size(rest).ok()?;
        let content = usize::try_from(content).ok().filter(|content| (1..=FRAME_BYTES).contains(content))?;
        let (bytes, further) = rest.split_at_checked(length)?;
        frames.push(Frame { bytes, content });
        rest = further;
    }
    (frames.len() > 1).then_some(frames)
}

/// Does pieces of work on all cores; the results are in the order of the work.
fn on_all_cores<J: Send, R: Send>(
    jobs: impl Iterator<Item = J>,
    work: impl Fn(J) -> io::Result<R> + Sync,
) -> io::Result<Vec<R>> {
    let jobs: Vec<J> = jobs.collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(jobs.len());
    if cores < 2 {
        return jobs.into_iter().map(work).collect();
    }
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let share = || {
        let mut done = Vec::new();
        while let Some((number, job)) = next() {
            done.push((number, work(job)));
        }
        done
    };
    let mut done: Vec<(usize, io::Result<R>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
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
            let folded = fold(&text).expect("folds");
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
        let folded = fold(&text(2 * FRAME_BYTES)).expect("folds");
        let limit = FRAME_BYTES as u64 + 7;
        assert_eq!(unfold(&folded, limit).expect("stops").0.len() as u64, limit + 1);
        assert_eq!(unfold(&folded, 2 * FRAME_BYTES as u64).expect("unfolds").0.len(), 2 * FRAME_BYTES);
        assert_eq!(unfold(&folded, 5).expect("stops").0.len(), 6);
    }

    #[test]
    fn a_frame_that_holds_something_else_is_refused() {
        let mut folded = fold(&text(FRAME_BYTES + 100)).expect("folds");
        let last = folded.len() - 3;
        folded[last] ^= 0xFF;
        let tar = unfold(&folded, 1 << 30);
        assert!(tar.is_err() || tar.is_ok_and(|(tar, _)| tar != text(FRAME_BYTES + 100)));
    }
}
