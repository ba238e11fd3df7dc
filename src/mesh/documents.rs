//! A registry made of the records of this node, for whoever asks registries. Only archives come from peers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use semver::Version;
use trustchain::digest::Sha256;
use trustchain::feed::{Action, Entry};
use trustchain::owners::{OwnerStep, Owners};

use super::ledger::{Ledger, LedgerError};
use super::record::{RecordId, ReleaseRecord};
use crate::digest::{Digest, Digests};
use crate::package::name::PackageName;
use crate::remote::{
    Documents, FORMAT_VERSION, FeedDocument, Fetched, HealthDocument, OfferedRelease, OfferedStatement,
    PackageDocument, RemoteError,
};

/// The address under which what comes from peers is known.
pub const MESH_URL: &str = "stoq:mesh";

/// Fetches archives from peers.
pub trait Archives: Send + Sync {
    /// Gives a compressed archive whose digest is right; `progress` is told how many bytes came since it was told last. Blocks.
    ///
    /// # Errors
    /// Why nobody gave it.
    fn fetch(&self, digest: Digest, size_bytes: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, ArchiveError>;
}

/// Why no peer gave an archive.
pub type ArchiveError = Box<dyn std::error::Error + Send + Sync>;

/// The registry.
pub struct MeshDocuments {
    ledger: Arc<Ledger>,
    /// There while the network runs.
    archives: RwLock<Option<Arc<dyn Archives>>>,
}

impl MeshDocuments {
    /// Makes one of the records of a node.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, archives: RwLock::default() }
    }

    /// Says where archives come from, from now on.
    pub fn fetch_from(&self, archives: Option<Arc<dyn Archives>>) {
        *self.archives.write().unwrap_or_else(PoisonError::into_inner) = archives;
    }

    /// Gives the records.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Chooses among publishers of one name: its owners, of whom the first is whose release claims to be the first. Every node
    /// that has the same records chooses the same. Gives the releases by version, and what was said about the name in the feeds
    /// of those who have it or had it.
    fn of_its_owners(&self, name: &PackageName) -> Result<(Vec<(RecordId, ReleaseRecord)>, Said), LedgerError> {
        let mut releases = self.ledger.releases(name)?;
        let first = releases.iter().min_by_key(|(id, release)| (release.claimed.signed_at, *id));
        let Some(first) = first.map(|(_, release)| release.publisher.clone()) else { return Ok(Default::default()) };
        let mut said = Said::new();
        let owners = Owners::follow(&first, |publisher| {
            let entries = self.said(publisher, name)?;
            let steps = entries.iter().filter_map(|entry| OwnerStep::of(entry).ok().flatten()).collect();
            said.insert(publisher.to_owned(), entries);
            Ok::<_, LedgerError>(steps)
        })?;
        for publisher in owners.former().keys() {
            if !said.contains_key(publisher) {
                said.insert(publisher.clone(), self.said(publisher, name)?);
            }
        }
        releases.retain(|(_, release)| {
            let entries = said.get(&release.publisher).into_iter().flatten();
            let named = Sha256::of(&release.statement);
            let is_named = |it: &&Entry| matches!(it.action, Action::Publish { release } if release == named);
            owners.count(&release.publisher, entries.into_iter().find(is_named).map(|entry| entry.number))
        });
        let mut versions: BTreeMap<Version, (RecordId, ReleaseRecord)> = BTreeMap::new();
        for (id, release) in releases {
            // Of two owners who released one version, the one whose release claims to be the first.
            let is_earlier = |(other, known): &(RecordId, ReleaseRecord)| {
                (release.claimed.signed_at, &id) < (known.claimed.signed_at, other)
            };
            if versions.get(&release.version).is_none_or(is_earlier) {
                versions.insert(release.version.clone(), (id, release));
            }
        }
        Ok((versions.into_values().collect(), said))
    }

    /// Gives what a publisher said about a name, in order.
    fn said(&self, publisher: &str, name: &PackageName) -> Result<Vec<Entry>, LedgerError> {
        let entries = self.ledger.feed(publisher)?.map(|feed| feed.entries).unwrap_or_default();
        let parsed = entries.iter().filter_map(|bytes| Entry::parse(bytes).ok());
        Ok(parsed.filter(|it| it.package == name.as_str()).collect())
    }
}

impl fmt::Debug for MeshDocuments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshDocuments").finish_non_exhaustive()
    }
}

impl Documents for MeshDocuments {
    fn url(&self) -> &str {
        MESH_URL
    }

    /// Records are here, and archives come over a network that runs only where it may.
    fn is_network(&self) -> bool {
        false
    }

    fn package(&self, name: &PackageName, tag: Option<&str>) -> Result<Fetched<PackageDocument>, RemoteError> {
        let wrong = |error: LedgerError| unreadable(name.as_str(), &error);
        let (releases, said) = self.of_its_owners(name).map_err(wrong)?;
        if releases.is_empty() {
            return Ok(Fetched::Absent);
        }
        let state = state_of(&releases, said.values().map(Vec::len).sum());
        if tag == Some(state.as_str()) {
            return Ok(Fetched::Unchanged);
        }
        let offered = releases.into_iter().map(|(_, release)| offered(release, &said)).collect();
        let value = PackageDocument { format: FORMAT_VERSION, name: name.clone(), releases: offered };
        Ok(Fetched::Found { value, tag: Some(state) })
    }

    fn feed(&self, publisher: &str, tag: Option<&str>) -> Result<Fetched<FeedDocument>, RemoteError> {
        let feed = self.ledger.feed(publisher).map_err(|error| unreadable(publisher, &error))?;
        let Some(feed) = feed else { return Ok(Fetched::Absent) };
        let state = format!("{} {}", feed.entries.len(), Digest::of(&feed.head).to_hex());
        if tag == Some(state.as_str()) {
            return Ok(Fetched::Unchanged);
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
        let value = FeedDocument {
            format: FORMAT_VERSION,
            publisher: publisher.to_owned(),
            head: text(feed.head),
            entries: feed.entries.into_iter().map(text).collect(),
        };
        Ok(Fetched::Found { value, tag: Some(state) })
    }

    fn chain(&self, digest: Digest) -> Result<String, RemoteError> {
        let chain = self.ledger.chain(digest.as_bytes()).map_err(|error| unreadable("chains", &error))?;
        chain.ok_or_else(|| RemoteError::Missing { url: format!("{MESH_URL}/chains/{}", digest.to_hex()) })
    }

    fn blob(&self, digest: Digest, size_bytes: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, RemoteError> {
        let url = format!("{MESH_URL}/blobs/{}", digest.to_hex());
        let archives = self.archives.read().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = |source| RemoteError::Unreachable { url, attempts: 1, source };
        match archives {
            Some(archives) => archives.fetch(digest, size_bytes, progress).map_err(refused),
            None => Err(refused("the network of this node does not run".into())),
        }
    }

    fn health(&self) -> Result<HealthDocument, RemoteError> {
        let count = self.ledger.count().map_err(|error| unreadable("health", &error))?;
        let (packages, versions) = (count.packages, count.releases);
        Ok(HealthDocument { format: FORMAT_VERSION, status: "ok".into(), packages, versions })
    }
}

/// What each publisher said about one name.
type Said = BTreeMap<String, Vec<Entry>>;

/// Describes a release as registries do.
fn offered(release: ReleaseRecord, said: &Said) -> OfferedRelease {
    let offer = release.offer.claimed();
    let artifact = &release.claimed.artifact;
    let about = said.get(&release.publisher).into_iter().flatten();
    let is_yank = |entry: &&Entry| matches!(entry.action, Action::Yank { .. } | Action::Restore);
    let last = about.filter(is_yank).rfind(|entry| entry.version.as_ref() == Some(&release.version));
    let yanked = last.and_then(|entry| match &entry.action {
        Action::Yank { reason } => Some(reason.clone()),
        Action::Publish { .. } | Action::Restore | Action::Own { .. } => None,
    });
    OfferedRelease {
        version: release.version.clone(),
        digests: Digests {
            sha256: artifact.sha256.to_string().trim_start_matches("sha256:").to_owned(),
            sha512: offer.sha512.clone(),
            blake3: Digest::from_bytes(*artifact.blake3.as_bytes()),
        },
        tar_bytes: artifact.size_bytes,
        blob: Digest::from_bytes(*offer.blob.as_bytes()),
        archive_bytes: offer.blob_bytes,
        published_at: release.claimed.signed_at,
        yanked,
        statement: Some(OfferedStatement {
            envelope: String::from_utf8_lossy(&release.statement).into_owned(),
            chain: release.chain_digest(),
        }),
        manifest: release.manifest,
    }
}

/// By what one state of a package is told from another.
fn state_of(releases: &[(RecordId, ReleaseRecord)], entries: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    for (id, _) in releases {
        hasher.update(id);
    }
    hasher.update(&(entries as u64).to_le_bytes());
    hasher.finalize().to_hex().to_string()
}

fn unreadable(what: &str, error: &LedgerError) -> RemoteError {
    RemoteError::Document { url: format!("{MESH_URL}/{what}"), reason: error.to_string() }
}
