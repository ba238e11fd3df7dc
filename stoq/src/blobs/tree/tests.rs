//! Slices and trees beside those of the library, with wrong bits and wrong sizes.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

struct Memory(Vec<u8>);

impl BlobFile for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        buffer.copy_from_slice(self.0.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn blob(size: usize) -> (Blake3, Memory, Outboard) {
    let bytes: Vec<u8> = (0..size).map(|index| (index * 7 + index / 251) as u8).collect();
    let digest = Blake3::of(&bytes);
    let memory = Memory(bytes);
    let outboard = Outboard::compute(&digest, &memory).expect("is what it is");
    (digest, memory, outboard)
}

fn encoded(memory: &Memory, outboard: &Outboard, groups: &[Range<u64>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in outboard.frames(groups) {
        bytes.extend(frame.pairs);
        let offset = usize::try_from(frame.offset).expect("small");
        bytes.extend_from_slice(&memory.0[offset..offset + frame.size]);
    }
    bytes
}

fn decode(mut slice: Slice, mut bytes: &[u8]) -> Result<Vec<Piece>, WrongBytes> {
    let mut pieces = Vec::new();
    while let Some(expects) = slice.expects() {
        let (piece, rest) = bytes.split_at_checked(expects).ok_or(WrongBytes { what: "the end".into() })?;
        pieces.push(slice.verify(piece)?);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(pieces) } else { slice.verify(bytes).map(|_| pieces) }
}

const SIZES: [usize; 8] =
    [0, 1, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, 3 * GROUP_BYTES, 5 * GROUP_BYTES + 77, 8 * GROUP_BYTES];

#[test]
fn what_is_sent_is_what_the_library_sends_and_is_verified() {
    for size in SIZES {
        let (digest, memory, outboard) = blob(size);
        let count = group_count(size as u64);
        for (first, end) in (0..count).flat_map(|first| (first + 1..=count).map(move |end| (first, end))) {
            let groups = one(first..end);
            let ours = encoded(&memory, &outboard, &groups);
            let mut theirs = Vec::new();
            let ranges = chunks(size as u64, &groups);
            sync::encode_ranges_validated(&memory.0[..], &outboard.0, &ranges, &mut theirs).expect("encodes");
            assert_eq!(ours, theirs, "groups {first}..{end} of {size} bytes");
            let pieces = decode(Slice::new(&digest, size as u64, &groups), &ours).expect("is right");
            let got: Vec<u64> = pieces
                .iter()
                .filter_map(|piece| if let Piece::Group(group) = piece { Some(*group) } else { None })
                .collect();
            assert_eq!(got, (first..end).collect::<Vec<_>>());
        }
    }
}

/// A smaller or larger size has another shape of the tree: the last group proves it.
#[test]
fn no_other_size_can_be_proved() {
    for size in SIZES {
        let (_, memory, outboard) = blob(size);
        let digest = Blake3::from_bytes(*outboard.0.root.as_bytes());
        for other in SIZES.iter().copied().chain([size + 1, size.saturating_sub(1), size + 1024, 2 * size]) {
            let last = group_count(other as u64) - 1;
            let honest_last = group_count(size as u64) - 1;
            let right = encoded(&memory, &outboard, &one(honest_last..honest_last + 1));
            let believed = decode(Slice::new(&digest, other as u64, &one(last..last + 1)), &right).is_ok();
            assert_eq!(believed, other == size, "{other} claimed, {size} is right");
        }
    }
}

#[test]
fn an_outboard_is_collected_from_pairs_and_made_of_the_right_file_alone() {
    let (digest, memory, outboard) = blob(5 * GROUP_BYTES + 77);
    let mut collected = Outboard::unknown(&digest, outboard.size());
    for piece in decode(Slice::new(&digest, outboard.size(), &one(0..6)), &encoded(&memory, &outboard, &one(0..6)))
        .expect("right")
    {
        if let Piece::Pair(pair) = piece {
            collected.insert(&pair);
        }
    }
    assert_eq!(collected.as_bytes(), outboard.as_bytes());
    let other = Blake3::of(b"another");
    assert!(Outboard::compute(&other, &*Arc::new(memory)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn one_wrong_bit_is_found(size in 1..3 * GROUP_BYTES, at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let (digest, memory, outboard) = blob(size);
        let all = one(0..group_count(size as u64));
        let mut bytes = encoded(&memory, &outboard, &all);
        let index = at.index(bytes.len());
        bytes[index] ^= 1u8 << bit;
        prop_assert!(decode(Slice::new(&digest, size as u64, &all), &bytes).is_err());
    }
}
