//! Deltas there and back, and every other one refused.

use super::super::{Content, SourceFile, pack};
use super::*;

/// A package of many files, of which a patch release changes a few lines.
fn version(number: u32) -> Archive {
    let manifest = format!(r#"{{"metadata":{{"name":"app","version":"1.0.{number}"}}}}"#);
    let text = |file: u32| -> String {
        let mut state = file;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let patch = if file % 10 == 3 { number } else { 0 };
        (0..200).map(|line| format!("{} = {}\n", word(), if line == 7 { patch } else { word() })).collect()
    };
    let files: Vec<(String, String)> = (0..40).map(|file| (format!("src/f{file}.lua"), text(file))).collect();
    let sources = files
        .iter()
        .map(|(path, text)| SourceFile { path, content: Content::Bytes { bytes: text.as_bytes(), executable: false } });
    pack(manifest.as_bytes(), &sources.collect::<Vec<_>>()).expect("packs")
}

#[test]
fn a_patch_release_is_a_small_delta_and_comes_out_bit_by_bit() {
    let (old, new) = (version(1), version(2));
    let delta = make(&old, &new).expect("is made");
    assert!(is_delta(&delta) && !is_delta(new.compressed()));
    assert!(delta.len() * 20 < new.compressed().len(), "{} of {} bytes", delta.len(), new.compressed().len());
    assert_eq!(apply(&old, &delta, Compression::Zstd).expect("is applied"), new);
    let other = apply(&old, &delta, Compression::Lz4).expect("is applied");
    assert_eq!((other.digest(), other.compression()), (new.digest(), Compression::Lz4));
}

#[test]
fn a_delta_from_another_version_is_refused_with_both_digests() {
    let (old, new) = (version(1), version(2));
    let delta = make(&old, &new).expect("is made");
    let error = apply(&new, &delta, Compression::Zstd).expect_err("is refused").to_string();
    assert!(error.contains(&old.digest().to_string()) && error.contains(&new.digest().to_string()), "{error}");
}

#[test]
fn cut_off_forged_and_lying_deltas_are_refused() {
    let (old, new) = (version(1), version(2));
    let delta = make(&old, &new).expect("is made");
    let refused = |bytes: &[u8]| apply(&old, bytes, Compression::Zstd).expect_err("is refused");
    for cut in (0..delta.len()).step_by(7).chain([HEADER - 1, HEADER, delta.len() - 1]) {
        refused(&delta[..cut]);
    }
    assert!(matches!(refused(&[&delta[..], b"x"].concat()), DeltaError::Frame(_)));
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = delta.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    assert!(matches!(refused(&with(0, b"X")), DeltaError::Malformed { .. }));
    assert!(matches!(refused(&with(40, &[0; 32])), DeltaError::OtherResult { .. }));
    assert!(matches!(refused(&with(72, &u64::MAX.to_le_bytes())), DeltaError::TooLarge { .. }));
    assert!(matches!(refused(&with(72, &(new.tar_bytes() - 1).to_le_bytes())), DeltaError::Malformed { .. }));
    // What it makes is an archive, or refused: a delta is no way around the form of the tar.
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(old.digest().as_bytes());
    bytes.extend_from_slice(Digest::of(b"no tar").as_bytes());
    bytes.extend_from_slice(&6_u64.to_le_bytes());
    let bytes = encode(&old.tar, b"no tar", bytes).expect("is made");
    assert!(matches!(refused(&bytes), DeltaError::Archive(_)));
}

#[test]
fn a_delta_unfolds_no_further_than_it_may() {
    let old = version(1);
    // 200 MiB of zeros in some bytes: more than the older tar and what an archive of that length may hold.
    let zeros = vec![0; 200 << 20];
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(old.digest().as_bytes());
    bytes.extend_from_slice(Digest::of(&zeros).as_bytes());
    bytes.extend_from_slice(&(zeros.len() as u64).to_le_bytes());
    let bytes = encode(&old.tar, &zeros, bytes).expect("is made");
    assert!(matches!(apply(&old, &bytes, Compression::Zstd), Err(DeltaError::TooLarge { which: "newer", .. })));
}

#[test]
fn the_bound_of_a_delta_is_held() {
    assert!(within("older", DELTA_TAR_BYTES_MAX).is_ok());
    assert!(within("older", DELTA_TAR_BYTES_MAX + 1).is_err());
    assert_eq!(window_log(2 * DELTA_TAR_BYTES_MAX), 30);
    assert_eq!((window_log(0), window_log(1025)), (10, 11));
}
