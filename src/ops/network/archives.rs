//! Archives for peers and from peers: what the store keeps is served to whom it may be, and what is wanted is fetched from
//! whoever has it, several at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use stoq::PeerId;
use stoq::blobs::fetch::{FetchError, FetchOptions, Fetched, Handle, Progress, fetch};
use stoq::blobs::part::{PartFile, state_path};
use stoq::blobs::schedule::Limits;
use stoq::blobs::{BlobFile, BlobSource, FileBlob};
use stoq::node::Node;
use stoq::service::Caller;
use stoq::swarm::OperationError;
use tokio::runtime;
use tokio::sync::watch;
use trustchain::digest::Blake3;

use super::connected;
use super::keeper::Demand;
use crate::config::{NetworkConfig, Share};
use crate::digest::Digest;
use crate::mesh::{ArchiveError, Archives};
use crate::ops::{Catalog, OpError};

/// What of the store peers may have.
pub(super) struct ServedArchives {
    pub(super) catalog: Weak<Catalog>,
    pub(super) config: NetworkConfig,
    pub(super) demand: Arc<Demand>,
}

/// Fetches from peers.
pub(super) struct PeerArchives {
    pub(super) catalog: Weak<Catalog>,
    /// Where parts lie until they are whole.
    pub(super) directory: PathBuf,
    /// Where downloads run; archives are wanted on any thread.
    pub(super) runtime: runtime::Handle,
    /// What is fetched now: whoever wants the same waits for it.
    pub(super) busy: Busy,
}

/// The archives that are fetched now.
#[derive(Default)]
pub(super) struct Busy {
    blobs: Mutex<BTreeSet<Digest>>,
    done: Condvar,
}

/// One archive that is fetched; nobody else fetches it meanwhile.
struct Fetching<'a>(&'a Busy, Digest);

impl Busy {
    /// Waits until nobody fetches an archive, and says that it is fetched now.
    fn begin(&self, blob: Digest) -> Fetching<'_> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.done.wait_while(blobs, |blobs| blobs.contains(&blob));
        waited.unwrap_or_else(PoisonError::into_inner).insert(blob);
        Fetching(self, blob)
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.blobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.done.notify_all();
    }
}

/// How long a download that has lost its last source waits for another.
const SOURCES_WAIT: Duration = Duration::from_secs(5);
/// How long is waited for who says to have an archive before those that are near are asked for it: a lookup waits for each
/// peer that has gone without a word.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);
/// How long a download waits for its first source then: longer than a lookup takes.
const SLOW_SOURCES_WAIT: Duration = Duration::from_secs(12);
/// The most peers that are asked though nobody said that they have an archive.
const GUESSES_MAX: usize = 8;
/// The most providers that are looked for.
const SOURCES_MAX: usize = 20;

impl BlobSource for ServedArchives {
    fn open(&self, digest: &Blake3) -> io::Result<Option<Arc<dyn BlobFile>>> {
        let Some(catalog) = self.catalog.upgrade() else { return Ok(None) };
        let found = catalog.registry().archives_of_blob(Digest::from_bytes(*digest.as_bytes()));
        for (.., tar) in found.map_err(io::Error::other)? {
            if let Some(file) = catalog.store.open_archive(tar)? {
                return Ok(Some(Arc::new(FileBlob::new(file)?)));
            }
        }
        Ok(None)
    }

    fn may(&self, caller: &Caller, digest: &Blake3) -> bool {
        let Some(catalog) = self.catalog.upgrade() else { return false };
        let packages = catalog.registry().archives_of_blob(Digest::from_bytes(*digest.as_bytes()));
        // The same archive under two names may be had by who may have one of them.
        let may = packages.is_ok_and(|packages| packages.iter().any(|(name, ..)| self.shares(name.as_str(), caller)));
        if may {
            self.demand.asked(Digest::from_bytes(*digest.as_bytes()), Instant::now());
        }
        may
    }
}

impl ServedArchives {
    fn shares(&self, package: &str, caller: &Caller) -> bool {
        match self.config.share_of(package) {
            Share::Public => true,
            Share::Private => false,
            Share::Restricted(names) => names.contains(&caller.name),
            Share::Verified => caller.is_hybrid,
        }
    }
}

impl Archives for PeerArchives {
    fn fetch(&self, digest: Digest, size_bytes: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, ArchiveError> {
        let catalog = self.catalog.upgrade().ok_or("this node stops")?;
        let _fetching = self.busy.begin(digest);
        if let Some(bytes) = catalog.archive_of_blob(digest)? {
            return Ok(bytes);
        }
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(digest.to_hex());
        let part = PartFile::open(&path, Blake3::from_bytes(*digest.as_bytes()))?;
        let fetched = self.runtime.block_on(async {
            let node = catalog.node().await?;
            let fetched = tokio::select! {
                fetched = download(&node, digest, size_bytes, part, progress) => fetched?,
                // What has come stays for the next time.
                () = node.stopped() => return Err("the network of this node stops".into()),
            };
            match &fetched {
                Ok(fetched) => catalog.blame(digest, [], &fetched.liars).await,
                Err(FetchError::NoSource { tried, .. }) => {
                    catalog.blame(digest, tried.iter().map(|(peer, _)| *peer), &[]).await;
                }
                Err(_) => {}
            }
            Ok::<_, ArchiveError>(fetched?)
        })?;
        let bytes = fs::read(&fetched.complete.path)?;
        for path in [&path, &state_path(&path)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(bytes)
    }
}

impl Catalog {
    /// Gives an archive by the digest of its compressed form, if it is here in that form.
    fn archive_of_blob(&self, blob: Digest) -> Result<Option<Vec<u8>>, OpError> {
        let releases = self.registry().archives_of_blob(blob)?;
        for (.., tar) in releases {
            if let Some(bytes) = self.store.compressed(tar)?.filter(|bytes| Digest::of(bytes) == blob) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

async fn download(
    node: &Node,
    blob: Digest,
    size_bytes: u64,
    part: PartFile,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Result<Fetched, FetchError>, ArchiveError> {
    let begun = part.verified_bytes();
    progress(begun);
    let near = first_peers(node).await;
    let mut lookup = pin!(providers(node, blob));
    let patience = if near.is_empty() { Duration::MAX } else { LOOKUP_PATIENCE };
    let looked = tokio::time::timeout(patience, &mut lookup).await.ok();
    let sources_wait = if looked.is_some() { SOURCES_WAIT } else { SLOW_SOURCES_WAIT };
    let mut sources = looked.clone().unwrap_or_default();
    let guesses: Vec<PeerId> = near.into_iter().filter(|peer| !sources.contains(peer)).take(GUESSES_MAX).collect();
    sources.extend(guesses);
    let options = FetchOptions { limits: Limits::for_size(size_bytes), sources_wait };
    let (download, handle) = fetch(node.pool(), part, sources, options);
    let told = tell(handle.progress(), begun, progress);
    let more = async {
        if looked.is_none() {
            lookup.await.into_iter().for_each(|peer| {
                handle.add_source(peer);
            });
        }
        find_more(node, blob, &handle).await;
    };
    let fetched = async {
        tokio::select! {
            fetched = download => Ok(fetched),
            () = more => Err("the network of this node stops".into()),
        }
    };
    tokio::join!(fetched, told).0
}

/// Tells a download of peers that have come to have its blob, until the node stops.
async fn find_more(node: &Node, blob: Digest, download: &Handle) {
    loop {
        tokio::time::sleep(SOURCES_WAIT / 2).await;
        match node.swarm().providers(*blob.as_bytes(), SOURCES_MAX).await {
            // One that is known already, or lied, is not taken again.
            Ok(found) => found.value.into_iter().for_each(|provider| {
                download.add_source(provider.peer);
            }),
            Err(OperationError::Stopped) => return,
            Err(error) => tracing::debug!(%blob, "nobody says who has it: {error}"),
        }
    }
}

/// Gives who says to have a blob.
async fn providers(node: &Node, digest: Digest) -> Vec<PeerId> {
    match node.swarm().providers(*digest.as_bytes(), SOURCES_MAX).await {
        Ok(found) => found.value.into_iter().map(|it| it.peer).filter(|peer| *peer != node.peer_id()).collect(),
        Err(error) => {
            tracing::debug!(blob = %digest, "nobody says who has it: {error}");
            Vec::new()
        }
    }
}

/// Gives who is connected; a node that has just started waits for the first for a while.
async fn first_peers(node: &Node) -> Vec<PeerId> {
    let mut events = node.swarm().events();
    let here = connected(node).await.unwrap_or_default();
    if here.is_empty() {
        // Whatever comes first: somebody, or the end of the time.
        let _ = tokio::time::timeout(SOURCES_WAIT, events.recv()).await;
        return connected(node).await.unwrap_or_default();
    }
    here
}

/// Passes on how far a download is, until it is over.
async fn tell(mut at: watch::Receiver<Progress>, begun: u64, progress: &(dyn Fn(u64) + Sync)) {
    let mut told = begun;
    loop {
        let verified = at.borrow_and_update().verified_bytes;
        if verified > told {
            progress(verified - told);
            told = verified;
        }
        if at.changed().await.is_err() {
            return;
        }
    }
}
