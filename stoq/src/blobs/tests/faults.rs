//! Sources that are slow, go away, or are cut off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use trustchain::digest::Blake3;

use super::network::*;
use crate::blobs::fair::Rate;
use crate::blobs::fetch::{State, fetch};
use crate::blobs::serve::{BlobServer, ServeLimits};
use crate::blobs::{BlobFile, GROUP_BYTES, SERVICE};
use crate::identity::Pending;
use crate::service::{Caller, Service, ServiceError, Stream};

/// Takes requests and never answers, as behind a network that lost its way.
struct Silent;

impl Service for Silent {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn serve(&self, _: Caller, _: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            _ = stream.send.stopped().await;
            Ok(())
        })
    }
}

fn rate(bytes_per_second: u64) -> ServeLimits {
    ServeLimits { rate: Some(Rate { bytes_per_second, burst_bytes: 1 << 20 }), ..ServeLimits::STANDARD }
}

/// One would need minutes, one is gone after the first megabytes: two others bring it.
#[tokio::test]
async fn a_slow_source_and_one_that_is_killed_cost_little() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(48 << 20));
    let digest = Blake3::of(&bytes);
    let slow = network.add(Arc::new(BlobServer::new(One::of(&bytes), rate(100_000))));
    let killed = network.add(Arc::new(BlobServer::new(One::of(&bytes), rate(4 << 20))));
    let steady = network.add(Arc::new(BlobServer::new(One::of(&bytes), rate(24 << 20))));
    let sources = vec![slow.peer, killed.peer, steady.peer];
    let started = Instant::now();
    let (download, handle) = fetch(network.clone(), place.open(digest), sources, options());
    let download = tokio::spawn(download);
    let mut progress = handle.progress();
    progress.wait_for(|progress| progress.verified_bytes > 4 << 20).await.expect("goes on");
    killed.kill().await;
    let fetched =
        tokio::time::timeout(DEADLINE, download).await.expect("in time").expect("no panic").expect("is fetched");
    assert_holds(&place, &bytes);
    assert!(fetched.liars.is_empty(), "going away is no lie");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(progress.borrow().state, State::Completed);
}

/// A source that does not answer any more costs at most five seconds: its groups are lent after two.
#[tokio::test]
async fn a_partitioned_source_costs_at_most_five_seconds() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(8 << 20));
    let (silent, good) = (network.add(Arc::new(Silent)), network.serve(&bytes));
    let started = Instant::now();
    fetch_all(&network, &place, Blake3::of(&bytes), vec![silent.peer, good.peer]).await.expect("is fetched");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_holds(&place, &bytes);
}

/// A blob whose file ends earlier from some moment on.
struct Cut {
    whole: Memory,
    left: AtomicU64,
}

impl BlobFile for Cut {
    fn size(&self) -> u64 {
        self.whole.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.whole.read_at(offset, buffer)
    }
}

#[tokio::test]
async fn a_file_that_is_truncated_while_it_is_served_is_fetched_from_elsewhere() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(40 * GROUP_BYTES));
    let digest = Blake3::of(&bytes);
    // The tree is computed with one read for each group; then it ends soon.
    let cut = Cut { whole: Memory(bytes.clone()), left: AtomicU64::new(40 + 6) };
    let source = Arc::new(One(digest, Arc::new(cut)));
    let cut = network.add(Arc::new(BlobServer::new(source, ServeLimits::STANDARD)));
    let (download, handle) = fetch(network.clone(), place.open(digest), vec![cut.peer], options());
    let download = tokio::spawn(download);
    let mut progress = handle.progress();
    progress.wait_for(|progress| progress.size.is_some()).await.expect("goes on");
    let whole = network.serve(&bytes);
    assert!(handle.add_source(whole.peer));
    let fetched =
        tokio::time::timeout(DEADLINE, download).await.expect("in time").expect("no panic").expect("is fetched");
    assert!(fetched.liars.is_empty());
    assert_holds(&place, &bytes);
}
