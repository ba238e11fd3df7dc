//! Part files that are torn, of another blob, or open twice.

use super::*;

const DIGEST: [u8; 32] = [7; 32];

/// A part of two groups of a blob of which one is right, and the directory it lies in.
fn half() -> (tempfile::TempDir, PathBuf, Blake3, Vec<u8>) {
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("part");
    let bytes: Vec<u8> = (0..2 * GROUP_BYTES).map(|index| (index % 253) as u8).collect();
    let digest = Blake3::of(&bytes);
    let mut part = PartFile::open(&path, digest).expect("opens");
    part.prove(bytes.len() as u64).expect("makes room");
    let file = super::super::tests::memory(&bytes);
    let outboard = Outboard::compute(&digest, &file).expect("is right");
    let mut slice = tree::Slice::new(&digest, bytes.len() as u64, &tree::one(1..2));
    let frames = outboard.frames(&tree::one(1..2));
    let Ok(tree::Piece::Pair(pair)) = slice.verify(&frames[0].pairs) else { panic!("a pair") };
    write(part.data(), 1, &bytes[GROUP_BYTES..]).expect("writes");
    assert!(!part.mark(1, &[pair]));
    (directory, path, digest, bytes)
}

fn done(path: &Path, digest: Blake3) -> Option<Vec<u64>> {
    let part = PartFile::open(path, digest).expect("opens");
    part.done().map(|done| done.iter().collect())
}

#[test]
fn dropping_a_part_notes_what_is_right() {
    let (_directory, path, digest, _) = half();
    let part = PartFile::open(&path, digest).expect("opens");
    assert_eq!((part.size(), part.verified_bytes()), (Some(2 * GROUP_BYTES as u64), GROUP_BYTES as u64));
    drop(part);
    assert_eq!(done(&path, digest), Some(vec![1]));
}

#[test]
fn a_part_is_open_once() {
    let (_directory, path, digest, _) = half();
    let part = PartFile::open(&path, digest).expect("opens");
    let error = PartFile::open(&path, digest).expect_err("is in use");
    assert_eq!(error.to_string(), format!("part file `{}` is in use", path.display()));
    drop(part);
    assert!(PartFile::open(&path, digest).is_ok());
}

#[test]
fn the_state_of_another_blob_begins_anew() {
    let (_directory, path, _, _) = half();
    assert_eq!(done(&path, Blake3::from_bytes(DIGEST)), None);
}

#[test]
fn a_torn_state_begins_anew() {
    let (_directory, path, digest, _) = half();
    let state = fs::read(state_path(&path)).expect("is there");
    for length in 0..state.len() {
        fs::write(state_path(&path), &state[..length]).expect("writes");
        assert_eq!(done(&path, digest), None, "{length} bytes");
    }
    for bit in 0..state.len() * 8 {
        let mut torn = state.clone();
        torn[bit / 8] ^= 1 << (bit % 8);
        fs::write(state_path(&path), torn).expect("writes");
        assert_eq!(done(&path, digest), None, "bit {bit}");
    }
    fs::write(state_path(&path), [&state[..], b"x"].concat()).expect("writes");
    assert_eq!(done(&path, digest), None);
    fs::write(state_path(&path), state).expect("writes");
    assert_eq!(done(&path, digest), Some(vec![1]));
}

/// A state with a right checksum may still claim what is not there.
#[test]
fn a_forged_state_gives_nothing() {
    let (_directory, path, digest, bytes) = half();
    let forge = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut state = fs::read(state_path(&path)).expect("is there");
        state.truncate(state.len() - CHECKSUM_BYTES);
        change(&mut state);
        let checksum = blake3::hash(&state);
        state.extend_from_slice(checksum.as_bytes());
        state
    };
    let claims_all = forge(&|state| state[HEADER_BYTES] = 0b11);
    let other_size = forge(&|state| state[48..56].copy_from_slice(&(2 * GROUP_BYTES as u64 - 1).to_le_bytes()));
    let other_tree = forge(&|state| *state.last_mut().expect("a tree") ^= 1);
    let huge = forge(&|state| state[48..56].copy_from_slice(&u64::MAX.to_le_bytes()));
    for (forged, right) in [(claims_all, Some(vec![1])), (other_size, None), (other_tree, None), (huge, None)] {
        fs::write(state_path(&path), forged).expect("writes");
        assert_eq!(done(&path, digest), right);
    }
    // The data was cut off.
    let (_directory, path, digest, _) = half();
    OpenOptions::new().write(true).open(&path).expect("opens").set_len(bytes.len() as u64 - 1).expect("cuts");
    assert_eq!(done(&path, digest), None);
}
