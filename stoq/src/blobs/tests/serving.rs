//! The serving side: who gets what, how fast, and how much at once.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use trustchain::digest::Blake3;

use super::network::*;
use crate::PeerId;
use crate::blobs::fair::Rate;
use crate::blobs::serve::{BlobServer, ServeLimits};
use crate::blobs::tree::one;
use crate::blobs::wire::{NOT_HELD, Part, Request, UNREADABLE};
use crate::blobs::{BlobFile, BlobSource, FileBlob, GROUP_BYTES, SERVICE};
use crate::service::{BUSY, Caller, Peers as _, REFUSED, Stream};

async fn ask(network: &Network, peer: PeerId, request: &[u8]) -> Stream {
    network.open(peer, SERVICE, request).await.expect("opens")
}

async fn code(network: &Network, peer: PeerId, request: &[u8]) -> u32 {
    let mut stream = ask(network, peer, request).await;
    match stream.receive.read_to_end(64 << 20).await {
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => {
            u32::try_from(code.into_inner()).expect("small")
        }
        other => panic!("not reset, but {:?} bytes", other.map(|bytes| bytes.len())),
    }
}

fn request(bytes: &[u8], part: Part) -> Vec<u8> {
    Request { digest: Blake3::of(bytes), part }.to_bytes()
}

struct Secret(Arc<One>);

impl BlobSource for Secret {
    fn open(&self, digest: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
        self.0.open(digest)
    }

    fn may(&self, caller: &Caller, _: &Blake3) -> bool {
        caller.name != "client.node.trustchain"
    }
}

#[tokio::test]
async fn whoever_may_not_have_a_blob_is_told_that_there_is_none() {
    let (network, bytes) = (Network::new(), content(5));
    let secret = network.add(Arc::new(BlobServer::new(Arc::new(Secret(One::of(&bytes))), ServeLimits::STANDARD)));
    assert_eq!(code(&network, secret.peer, &request(&bytes, Part::Last)).await, NOT_HELD);
    assert_eq!(code(&network, secret.peer, &request(b"nothing", Part::Last)).await, NOT_HELD);
}

/// Remembers on which thread it was asked.
struct Asked(Arc<One>, Mutex<Vec<ThreadId>>);

impl BlobSource for Asked {
    fn open(&self, digest: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
        self.1.lock().expect("no panic").push(thread::current().id());
        self.0.open(digest)
    }

    fn may(&self, _: &Caller, _: &Blake3) -> bool {
        self.1.lock().expect("no panic").push(thread::current().id());
        true
    }
}

/// Both may read a database: meanwhile the thread of the runtime serves others.
#[tokio::test]
async fn what_may_block_is_asked_off_the_thread_of_the_runtime() {
    let (network, bytes) = (Network::new(), content(5));
    let asked = Arc::new(Asked(One::of(&bytes), Mutex::default()));
    let server = network.add(Arc::new(BlobServer::new(asked.clone(), ServeLimits::STANDARD)));
    let mut stream = ask(&network, server.peer, &request(&bytes, Part::Last)).await;
    assert_eq!(stream.receive.read_to_end(1 << 20).await.expect("is served").len(), 8 + 5);
    let threads = asked.1.lock().expect("no panic").clone();
    assert!(threads.len() == 2 && !threads.contains(&thread::current().id()), "{threads:?}");
}

#[tokio::test]
async fn requests_that_are_none_are_refused() {
    let (network, bytes) = (Network::new(), content(3 * GROUP_BYTES));
    let server = network.serve(&bytes);
    assert_eq!(code(&network, server.peer, b"").await, REFUSED);
    assert_eq!(code(&network, server.peer, &[0xff; 60_000]).await, REFUSED);
    assert_eq!(code(&network, server.peer, &request(&bytes, Part::Groups(one(1..4).to_vec()))).await, REFUSED);
    let several = request(&bytes, Part::Groups(vec![0..1, 2..3]));
    let answer = ask(&network, server.peer, &several).await.receive.read_to_end(1 << 20).await.expect("is served");
    assert_eq!(answer.len(), 8 + 2 * 64 + 2 * GROUP_BYTES);
}

#[tokio::test]
async fn a_file_with_another_content_is_not_served() {
    let (network, place) = (Network::new(), Place::new());
    std::fs::write(place.path(), b"another").expect("writes");
    let file = FileBlob::new(std::fs::File::open(place.path()).expect("opens")).expect("has a size");
    let source = Arc::new(One(Blake3::of(b"this"), Arc::new(file)));
    let server = network.add(Arc::new(BlobServer::new(source, ServeLimits::STANDARD)));
    assert_eq!(code(&network, server.peer, &request(b"this", Part::Last)).await, UNREADABLE);
}

/// Gives a stream that was admitted, or the code that it was reset with. What it asks for takes hours at the rate.
async fn admitted(network: &Network, peer: PeerId, request: &[u8]) -> Result<Stream, u32> {
    let mut stream = ask(network, peer, request).await;
    match stream.receive.read_exact(&mut [0; 8]).await {
        Ok(()) => Ok(stream),
        Err(quinn::ReadExactError::ReadError(quinn::ReadError::Reset(code))) => {
            Err(u32::try_from(code.into_inner()).expect("small"))
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn streams_of_one_peer_are_bounded_and_those_that_are_given_up_count_no_more() {
    let (network, bytes) = (Network::new(), content(2 * GROUP_BYTES));
    let slow = Some(Rate { bytes_per_second: 1, burst_bytes: 1 });
    let limits = ServeLimits { streams_per_peer_max: 3, rate: slow, ..ServeLimits::STANDARD };
    let server = network.add(Arc::new(BlobServer::new(One::of(&bytes), limits)));
    let request = request(&bytes, Part::Last);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(admitted(&network, server.peer, &request).await.expect("has room"));
    }
    assert_eq!(admitted(&network, server.peer, &request).await.expect_err("has no room"), BUSY);
    drop(held);
    let deadline = Instant::now() + DEADLINE;
    while let Err(code) = admitted(&network, server.peer, &request).await {
        assert_eq!(code, BUSY);
        assert!(Instant::now() < deadline, "the streams that were given up count for ever");
    }
}

#[tokio::test]
async fn a_peer_is_served_as_fast_as_is_fair() {
    let (network, place, bytes) = (Network::new(), Place::new(), content(4 << 20));
    let fair = Rate { bytes_per_second: 2 << 20, burst_bytes: 1 << 20 };
    let service = Arc::new(BlobServer::new(One::of(&bytes), ServeLimits { rate: Some(fair), ..ServeLimits::STANDARD }));
    let server = network.add(service.clone());
    let started = Instant::now();
    fetch_all(&network, &place, Blake3::of(&bytes), vec![server.peer]).await.expect("is fetched");
    assert!(started.elapsed() >= Duration::from_millis(1400), "{:?}", started.elapsed());
    assert_holds(&place, &bytes);
    let served: u64 = service.served().iter().map(|(_, bytes)| bytes).sum();
    assert!(served >= 4 << 20, "{served}");
}
