//! Downloads that end and go on.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use trustchain::digest::Blake3;

use super::network::*;
use crate::blobs::GROUP_BYTES;
use crate::blobs::fair::Rate;
use crate::blobs::fetch::{State, fetch};
use crate::blobs::part::{CHECKPOINT_BYTES, state_path, write};
use crate::blobs::serve::{BlobServer, ServeLimits};
use crate::blobs::tree::{Outboard, Piece, Slice, one};

/// Serves so slowly that a download is still under way when a test looks.
fn serve_slowly(network: &Network, bytes: &[u8]) -> Server {
    let rate = Some(Rate { bytes_per_second: 16 << 20, burst_bytes: 1 << 20 });
    network.add(Arc::new(BlobServer::new(One::of(bytes), ServeLimits { rate, ..ServeLimits::STANDARD })))
}

/// The client goes away at different points and comes again: what was verified is not fetched again.
#[tokio::test]
async fn dropping_the_download_keeps_what_is_verified() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(24 << 20));
    let server = serve_slowly(&network, &bytes);
    let digest = Blake3::of(&bytes);
    let mut before = 0;
    for quarter in 1..4 {
        let part = place.open(digest);
        assert!(part.verified_bytes() >= before, "{} after {before}", part.verified_bytes());
        let (download, handle) = fetch(network.clone(), part, vec![server.peer], options());
        let download = tokio::spawn(download);
        let mut progress = handle.progress();
        let reached = progress.wait_for(|progress| progress.verified_bytes >= quarter * (6 << 20));
        let reached = reached.await.expect("goes on").clone();
        download.abort();
        assert!(download.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(progress.borrow().state, State::Cancelled);
        before = reached.verified_bytes;
    }
    let part = place.open(digest);
    let there = part.verified_bytes();
    assert!(there >= before, "{there} after {before}");
    drop(part);
    let fetched = fetch_all(&network, &place, digest, vec![server.peer]).await.expect("is fetched");
    assert_holds(&place, &bytes);
    assert!(
        fetched.received_bytes <= (24 << 20) - there + 64 * 1024,
        "{} came for {there} missing",
        fetched.received_bytes
    );
}

/// A crash leaves the files as they are at any moment: copies of them, taken while the download runs, are gone on with.
#[tokio::test]
async fn a_crash_at_any_moment_is_gone_on_from() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(40 << 20));
    let server = serve_slowly(&network, &bytes);
    let digest = Blake3::of(&bytes);
    let (download, handle) = fetch(network.clone(), place.open(digest), vec![server.peer], options());
    let download = tokio::spawn(download);
    let mut progress = handle.progress();
    let mut copies = Vec::new();
    for bytes in [1 << 20, 18 << 20, 34 << 20] {
        progress.wait_for(|progress| progress.verified_bytes >= bytes).await.expect("goes on");
        assert_eq!(progress.borrow().state, State::Active);
        let copy = Place::new();
        // The state first, as the older one: data is written before the state that tells of it.
        _ = fs::copy(state_path(&place.path()), state_path(&copy.path()));
        fs::copy(place.path(), copy.path()).expect("copies");
        copies.push(copy);
    }
    download.await.expect("no panic").expect("is fetched");
    let whole = network.serve(&bytes);
    for (copy, at_least) in copies.into_iter().zip([0, CHECKPOINT_BYTES, 2 * CHECKPOINT_BYTES]) {
        let part = copy.open(digest);
        let there = part.verified_bytes();
        assert!((at_least..40 << 20).contains(&there), "{there}");
        drop(part);
        let fetched = fetch_all(&network, &copy, digest, vec![whole.peer]).await.expect("is fetched");
        assert_holds(&copy, &bytes);
        assert!(fetched.received_bytes <= (40 << 20) - there + 64 * 1024, "{} for {there}", fetched.received_bytes);
    }
}

#[tokio::test]
async fn what_a_state_claims_is_hashed_and_not_believed() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(10 * GROUP_BYTES + 9));
    let server = network.serve(&bytes);
    let digest = Blake3::of(&bytes);
    // A part with all but the groups 2 and 5, of which the disk then loses two others.
    let mut part = place.open(digest);
    part.prove(bytes.len() as u64).expect("makes room");
    let outboard = Outboard::compute(&digest, &Memory(bytes.clone())).expect("is right");
    let mut slice = Slice::new(&digest, bytes.len() as u64, &one(0..11));
    let mut pairs = Vec::new();
    for frame in outboard.frames(&one(0..11)) {
        for pair in frame.pairs.chunks(64) {
            if let Ok(Piece::Pair(pair)) = slice.verify(pair) {
                pairs.push(pair);
            }
        }
        let offset = usize::try_from(frame.offset).expect("small");
        slice.verify(&bytes[offset..offset + frame.size]).expect("is right");
        let group = frame.offset / GROUP_BYTES as u64;
        if group != 2 && group != 5 {
            write(part.data(), group, &bytes[offset..offset + frame.size]).expect("writes");
            part.mark(group, &std::mem::take(&mut pairs));
        }
    }
    part.save().expect("writes");
    drop(part);
    let file = fs::OpenOptions::new().write(true).open(place.path()).expect("opens");
    for group in [0u64, 7] {
        std::os::unix::fs::FileExt::write_all_at(&file, b"lost", group * GROUP_BYTES as u64 + 1000).expect("writes");
    }
    let part = place.open(digest);
    assert_eq!(part.done().expect("is known").iter().collect::<Vec<_>>(), [1, 3, 4, 6, 8, 9, 10]);
    drop(part);
    let before = network.opened.load(Ordering::Relaxed);
    let fetched = fetch_all(&network, &place, digest, vec![server.peer]).await.expect("is fetched");
    assert!(network.opened.load(Ordering::Relaxed) > before);
    assert_holds(&place, &bytes);
    assert!(fetched.received_bytes < 5 * GROUP_BYTES as u64, "{} bytes for four groups", fetched.received_bytes);
}
