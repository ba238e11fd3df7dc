//! What works when everybody does what they should.

use std::sync::atomic::Ordering;

use trustchain::digest::Blake3;

use super::network::*;
use crate::PeerId;
use crate::blobs::GROUP_BYTES;
use crate::blobs::fetch::{FetchError, FetchOptions, State, fetch};
use crate::blobs::schedule::{Fault, Limits};

#[tokio::test]
async fn every_size_comes_from_one_source() {
    for size in [0, 1, 64, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, GROUP_BYTES + 64, 9 * GROUP_BYTES + 5] {
        let (network, place, bytes) = (Network::new(), Place::new(), content(size));
        let server = network.serve(&bytes);
        let digest = Blake3::of(&bytes);
        let fetched = fetch_all(&network, &place, digest, vec![server.peer]).await.expect("is fetched");
        assert_eq!(fetched.complete.size, size as u64);
        assert_holds(&place, &bytes);
        assert!(fetched.liars.is_empty());
        assert!(fetched.received_bytes <= size as u64 + 8 * 1024, "{} for {size}", fetched.received_bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_sources_share_the_work_on_many_threads() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(24 << 20));
    let servers: Vec<_> = (0..4).map(|_| network.serve(&bytes)).collect();
    let peers: Vec<PeerId> = servers.iter().map(|server| server.peer).collect();
    let fetched = fetch_all(&network, &place, Blake3::of(&bytes), peers).await.expect("is fetched");
    assert_holds(&place, &bytes);
    assert!(fetched.received_bytes <= (24 << 20) * 6 / 5, "{} came twice", fetched.received_bytes - (24 << 20));
}

#[tokio::test]
async fn nobody_has_it() {
    let (network, place) = (Network::new(), Place::new());
    let (server, stranger) = (network.serve(b"another"), PeerId::random());
    let error =
        fetch_all(&network, &place, Blake3::of(b"this"), vec![server.peer, stranger]).await.expect_err("nobody has it");
    let FetchError::NoSource { tried, .. } = &error else { panic!("{error}") };
    assert_eq!(tried.len(), 2);
    assert!(tried.contains(&(server.peer, Fault::NotHeld)));
    assert!(error.to_string().contains("2 were tried"), "{error}");
    let (download, handle) = fetch(network, place.open(Blake3::of(b"this")), vec![], options());
    drop(handle);
    assert!(matches!(download.await, Err(FetchError::NoSource { tried, .. }) if tried.is_empty()));
}

#[tokio::test]
async fn a_source_that_is_found_later_is_used() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(3 << 20));
    let digest = Blake3::of(&bytes);
    let (download, handle) = fetch(network.clone(), place.open(digest), vec![], options());
    let download = tokio::spawn(download);
    let server = network.serve(&bytes);
    assert!(handle.add_source(server.peer));
    download.await.expect("no panic").expect("is fetched");
    assert_holds(&place, &bytes);
    let last = handle.progress().borrow().clone();
    assert_eq!((last.state, last.size, last.verified_bytes), (State::Completed, Some(3 << 20), 3 << 20));
    assert!(!handle.add_source(server.peer), "it is over");
}

#[tokio::test]
async fn a_blob_that_is_larger_than_wanted_costs_one_group() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(5 << 20));
    let server = network.serve(&bytes);
    let small = FetchOptions { limits: Limits::for_size((5 << 20) - 1), ..options() };
    let (download, _handle) = fetch(network.clone(), place.open(Blake3::of(&bytes)), vec![server.peer], small);
    let error = download.await.expect_err("is too large");
    assert_eq!(error.to_string(), format!("blob `{}` has `5242880` bytes, more than `5242879`", Blake3::of(&bytes)));
    assert_eq!(network.opened.load(Ordering::Relaxed), 1);
    assert_eq!(std::fs::metadata(place.path()).expect("is there").len(), 0, "no room was made");
}

#[tokio::test]
async fn pausing_stops_and_resuming_goes_on() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(48 << 20));
    let server = network.serve(&bytes);
    let (download, handle) = fetch(network.clone(), place.open(Blake3::of(&bytes)), vec![server.peer], options());
    let download = tokio::spawn(download);
    let mut progress = handle.progress();
    progress.wait_for(|progress| progress.size.is_some()).await.expect("goes on");
    handle.pause();
    progress.wait_for(|progress| progress.state == State::Paused).await.expect("goes on");
    let opened = network.opened.load(Ordering::Relaxed);
    // Another source would be asked at once. The download has heard of it when the queue of sources is empty again.
    let other = network.serve(&bytes);
    assert!(handle.add_source(other.peer));
    while handle.waiting_sources() > 0 {
        tokio::task::yield_now().await;
    }
    // And what it began would have asked by now.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let verified = progress.borrow().verified_bytes;
    assert!(!download.is_finished());
    assert_eq!(network.opened.load(Ordering::Relaxed), opened, "nothing is asked for");
    assert!(verified < bytes.len() as u64, "{verified}");
    handle.resume();
    download.await.expect("no panic").expect("is fetched");
    assert_holds(&place, &bytes);
}
