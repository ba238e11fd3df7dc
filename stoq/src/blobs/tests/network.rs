//! Nodes on the loopback interface: one that fetches, and those that serve.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trustchain::digest::Blake3;

use crate::PeerId;
use crate::blobs::fetch::{FetchError, FetchOptions, Fetched, fetch};
use crate::blobs::part::PartFile;
use crate::blobs::schedule::Limits;
use crate::blobs::serve::{BlobServer, ServeLimits};
use crate::blobs::{BlobFile, BlobSource};
use crate::identity::Pending;
use crate::pool::Pool;
use crate::service::{Caller, OpenError, Peers, Service, Services, Stream};
use crate::testing::Authority;

/// How long anything here may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// A blob in memory.
pub(super) struct Memory(pub(super) Vec<u8>);

impl BlobFile for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        let bytes = self.0.get(offset..offset + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// One blob that everybody may have.
pub(super) struct One(pub(super) Blake3, pub(super) Arc<dyn BlobFile>);

impl One {
    pub(super) fn of(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self(Blake3::of(bytes), Arc::new(Memory(bytes.to_vec()))))
    }
}

impl BlobSource for One {
    fn open(&self, digest: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
        Ok((*digest == self.0).then(|| Arc::clone(&self.1)))
    }

    fn may(&self, _: &Caller, _: &Blake3) -> bool {
        true
    }
}

/// A node that serves for as long as this value lives.
pub(super) struct Server {
    pub(super) peer: PeerId,
    pool: Pool,
}

impl Server {
    /// Ends it: its port answers nothing any more.
    pub(super) async fn kill(self) {
        self.pool.endpoint().close().await;
    }
}

/// Where the nodes of a test are.
type Addresses = Arc<Mutex<HashMap<PeerId, SocketAddr>>>;

/// A node that fetches, and whom it knows.
pub(super) struct Network {
    authority: Authority,
    client: Pool,
    addresses: Addresses,
    pub(super) opened: AtomicUsize,
}

impl Network {
    pub(super) fn new() -> Arc<Self> {
        let (authority, addresses) = (Authority::new(), Addresses::default());
        let (endpoint, incoming) = authority.node("client").bind(&authority.clock());
        let book = Arc::clone(&addresses);
        let find = move |peer: PeerId| book.lock().expect("no panic").get(&peer).copied().into_iter().collect();
        let client = Pool::new(endpoint, incoming.data, Services::new(), find);
        Arc::new(Self { authority, client, addresses, opened: AtomicUsize::new(0) })
    }

    /// Adds a node that offers a service.
    pub(super) fn add(&self, service: Arc<dyn Service>) -> Server {
        let name = format!("n{}", self.addresses.lock().expect("no panic").len());
        let (endpoint, incoming) = self.authority.node(&name).bind(&self.authority.clock());
        let (peer, services) = (endpoint.peer_id(), Services::new());
        services.register(service).expect("is the only one");
        self.addresses.lock().expect("no panic").insert(peer, endpoint.local_address());
        Server { peer, pool: Pool::new(endpoint, incoming.data, services, |_| Vec::new()) }
    }

    /// Adds a node that serves a blob as it should.
    pub(super) fn serve(&self, bytes: &[u8]) -> Server {
        self.add(Arc::new(BlobServer::new(One::of(bytes), ServeLimits::STANDARD)))
    }
}

/// The pool of the client; requests are counted.
impl Peers for Network {
    fn open<'a>(&'a self, peer: PeerId, service: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.client.open(peer, service, request)
    }

    fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.client.round_trip(peer)
    }
}

/// Bytes of no pattern that a shift would keep.
pub(super) fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn options() -> FetchOptions {
    FetchOptions {
        limits: Limits { failures_max: 3, ..Limits::for_size(1 << 30) },
        sources_wait: Duration::from_secs(5),
    }
}

/// A directory with a part file.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("makes a directory"))
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("part")
    }

    pub(super) fn open(&self, digest: Blake3) -> PartFile {
        PartFile::open(&self.path(), digest).expect("opens")
    }
}

/// Fetches with nobody adding sources, within the deadline.
pub(super) async fn fetch_all(
    network: &Arc<Network>,
    place: &Place,
    digest: Blake3,
    sources: Vec<PeerId>,
) -> Result<Fetched, FetchError> {
    let (download, handle) = fetch(network.clone(), place.open(digest), sources, options());
    drop(handle);
    tokio::time::timeout(DEADLINE, download).await.expect("ends in time")
}

/// Fails unless the file of a place is this.
pub(super) fn assert_holds(place: &Place, bytes: &[u8]) {
    let read = std::fs::read(place.path()).expect("is there");
    assert_eq!(read.len(), bytes.len());
    assert!(read == bytes, "the file has another content");
    assert!(!crate::blobs::part::state_path(&place.path()).exists(), "its state is gone");
}
