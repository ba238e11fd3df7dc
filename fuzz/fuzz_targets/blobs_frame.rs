//! Requests for blobs, and answers of hostile sources: foreign bytes, and honest answers that were edited. What is taken for a
//! group is one, and what is honest is taken.

#![no_main]

use std::io;
use std::sync::LazyLock;

use catalog_fuzz::next;
use libfuzzer_sys::fuzz_target;
use stoq::blobs::tree::{Outboard, Piece, Slice, group_count, one};
use stoq::blobs::wire::{GROUPS_MAX, Part, RANGES_MAX, Request};
use stoq::blobs::{BlobFile, GROUP_BYTES, SIZE_BYTES_MAX};
use trustchain::digest::Blake3;

/// The size of the blob that is asked for: three groups, the last not full.
const SIZE: usize = 2 * GROUP_BYTES + 1000;

struct Memory(Vec<u8>);

impl BlobFile for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        buffer.copy_from_slice(&self.0[offset..offset + buffer.len()]);
        Ok(())
    }
}

static BLOB: LazyLock<Memory> = LazyLock::new(|| Memory((0..SIZE).map(|index| (index % 251) as u8).collect()));
static DIGEST: LazyLock<Blake3> = LazyLock::new(|| Blake3::of(&BLOB.0));
static ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let outboard = Outboard::compute(&DIGEST, &*BLOB).expect("is right");
    let mut answer = (SIZE as u64).to_le_bytes().to_vec();
    for frame in outboard.frames(&one(0..group_count(SIZE as u64))) {
        let offset = usize::try_from(frame.offset).expect("small");
        answer.extend(frame.pairs);
        answer.extend_from_slice(&BLOB.0[offset..offset + frame.size]);
    }
    answer
});

/// Where the pieces of the honest answer end.
static ENDS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut slice = Slice::new(&DIGEST, SIZE as u64, &one(0..group_count(SIZE as u64)));
    let mut ends = vec![8];
    while let Some(expects) = slice.expects() {
        let from = ends[ends.len() - 1];
        slice.verify(&ANSWER[from..from + expects]).expect("is honest");
        ends.push(from + expects);
    }
    ends
});

fuzz_target!(|data: &[u8]| {
    let mut edits = data;
    match next(&mut edits).map(|how| how % 3) {
        Some(0) => request(edits),
        Some(1) => drop(answer(edits)),
        Some(_) => edited(edits),
        None => {}
    }
});

/// What is read is written as the same request again.
fn request(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    let again = Request::parse(&request.to_bytes()).expect("what is written is read");
    assert_eq!(again, request);
    if let Part::Groups(groups) = request.part {
        assert!(groups.iter().all(|range| range.start < range.end));
        assert!(groups.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let count: u64 = groups.iter().map(|range| range.end - range.start).sum();
        assert!(groups.len() <= RANGES_MAX && count <= GROUPS_MAX);
    }
}

/// Reads an answer as a client does that does not know the size; every group that is taken is that of the blob. Gives how many
/// bytes of an answer for the last three groups were taken.
fn answer(data: &[u8]) -> usize {
    let Some((size, slices)) = data.split_first_chunk() else { return 0 };
    let size = u64::from_le_bytes(*size);
    if size > SIZE_BYTES_MAX {
        return 0;
    }
    // Whoever knows no size asks for the last group; an answer for the last three is read, too.
    let count = group_count(size);
    slice(size, count - 1, slices);
    size_of_val(&size) + slice(size, count.saturating_sub(3), slices)
}

fn slice(size: u64, first: u64, mut bytes: &[u8]) -> usize {
    let mut slice = Slice::new(&DIGEST, size, &one(first..group_count(size)));
    let mut taken = 0;
    while let Some((piece, rest)) = slice.expects().and_then(|expects| bytes.split_at_checked(expects)) {
        bytes = rest;
        match slice.verify(piece) {
            Ok(Piece::Group(group)) => {
                let from = usize::try_from(group).expect("small") * GROUP_BYTES;
                assert_eq!(BLOB.0.get(from..from + piece.len()), Some(piece), "what is taken is of the blob");
                let last = group + 1 == group_count(size);
                assert!(!last || size == SIZE as u64, "the last group proves the size");
            }
            Ok(Piece::Pair(_)) => {}
            Err(_) => break,
        }
        taken += piece.len();
    }
    taken
}

/// Bytes of an honest answer are changed, and it is cut off: all pieces before the first change are taken, and none that has one.
fn edited(mut edits: &[u8]) {
    let mut bytes = ANSWER.clone();
    while let Some((at, rest)) = edits.split_first_chunk::<4>() {
        let at = u32::from_le_bytes(*at) as usize % (bytes.len() + 1);
        let how = rest.first().copied().unwrap_or_default();
        edits = rest.get(1..).unwrap_or_default();
        match bytes.get_mut(at) {
            Some(byte) if how != 0 => *byte ^= how,
            _ => bytes.truncate(at),
        }
    }
    let honest = bytes.iter().zip(&*ANSWER).take_while(|(one, other)| one == other).count();
    let expected = ENDS.iter().copied().take_while(|end| *end <= honest).last().unwrap_or_default();
    let taken = answer(&bytes);
    // A wrong size makes another tree, of which nothing is expected here.
    assert!(honest < 8 || taken == expected, "{taken} of {honest} honest bytes, not {expected}");
}
