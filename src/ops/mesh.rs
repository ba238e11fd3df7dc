//! What this node and its peers say to each other of releases: what is published here goes into the ledger of the mesh, and
//! what peers put there becomes known here, as if a registry offered it.

use std::collections::BTreeSet;
use std::sync::Arc;

use semver::Version;
use trustchain::digest::{Blake3, Sha256};
use trustchain::feed::Entry;
use trustchain::offer::Offer;

use super::judge::Judge;
use super::network::NetworkError;
use super::remote::Upstream;
use super::{Catalog, OpError};
use crate::config::Share;
use crate::digest::Digest;
use crate::host::{Host, ToSign, wait};
use crate::mesh::{
    ENTRIES_MAX, Fork, Ledger, LedgerCount, MeshDocuments, RecordId, Verdict, feed_record, release_record,
};
use crate::package::name::PackageName;
use crate::registry::{Record, Release};
use crate::trust::policy::Use;
use crate::trust::vouch::FeedCopy;

/// The mesh, as one node sees it.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) documents: Arc<MeshDocuments>,
}

/// What is known of packages through the mesh.
#[derive(Clone, Debug)]
pub struct LedgerState {
    /// How much.
    pub count: LedgerCount,
    /// Where publishers contradict themselves.
    pub forks: Vec<Fork>,
}

/// An archive that is here.
#[derive(Clone, Debug)]
pub(super) struct KeptArchive {
    /// Its package.
    pub(super) package: PackageName,
    /// Its version.
    pub(super) version: Version,
    /// The digest of its tar.
    pub(super) tar: Digest,
    /// The digest of its compressed form.
    pub(super) blob: Digest,
    /// The size of that in bytes.
    pub(super) bytes: u64,
    /// It is installed or published here.
    pub(super) is_pinned: bool,
}

/// Whether every version of a package is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirroring {
    /// From now on.
    Begin,
    /// Not any more.
    End,
}

impl Mesh {
    /// Opens the ledger of a home.
    pub(super) fn open(home: &std::path::Path) -> Result<Self, OpError> {
        let ledger = Ledger::open(&home.join("mesh.sqlite"))?;
        Ok(Self { documents: Arc::new(MeshDocuments::new(Arc::new(ledger))) })
    }
}

impl Catalog {
    /// Gives the records of the mesh that are here; none without a network.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        Some(self.mesh.as_ref()?.documents.ledger())
    }

    /// Says what is known through the mesh.
    ///
    /// # Errors
    /// The ledger.
    pub fn ledger_state(&self) -> Result<LedgerState, OpError> {
        let Some(ledger) = self.ledger() else { return Err(NetworkError::NotConfigured.into()) };
        Ok(LedgerState { count: ledger.count()?, forks: ledger.forks()? })
    }

    /// Puts what is published here, and not for this node alone, into the ledger. Answers the records that are new.
    ///
    /// # Errors
    /// The host signs no offer or believes nobody; a release that does not fit into a record; the files.
    pub fn share(&self, host: &dyn Host) -> Result<Vec<RecordId>, OpError> {
        let Some(ledger) = self.ledger() else { return Ok(Vec::new()) };
        let judge = self.judge(Use::Publish, host)?;
        let mut shared = Vec::new();
        let publishers = self.registry().publishers()?;
        for publisher in publishers {
            if self.registry().feed_origin(&publisher)?.is_some() {
                continue;
            }
            let feed = self.registry().feed(&publisher)?.unwrap_or_default();
            let steps = share_feed(ledger, &publisher, &feed)?;
            self.keep_own(ledger, &steps, &judge, &mut shared)?;
            for (entry, release) in ledger.unshared(&publisher)? {
                if let Some(record) = self.shared_release(&entry, release, host)? {
                    self.keep_own(ledger, &[record], &judge, &mut shared)?;
                }
            }
        }
        Ok(shared)
    }

    /// Looks at records of a peer, keeps those that somebody stands for, and makes known what they say.
    ///
    /// # Errors
    /// The host believes nobody; the files.
    pub fn take_records(&self, records: &[impl AsRef<[u8]>], host: &dyn Host) -> Result<Vec<Verdict>, OpError> {
        let Some(ledger) = self.ledger() else { return Ok(vec![Verdict::Later; records.len()]) };
        let judge = self.judge(Use::Install, host)?;
        let anchors = judge.anchors().ok_or(OpError::Unsigned { reason: "this node believes nobody" })?;
        let verdicts: Vec<Verdict> =
            records.iter().map(|record| ledger.offer(record.as_ref(), anchors)).collect::<Result<_, _>>()?;
        let changed = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Accepted(packages) => Some(packages),
            _ => None,
        });
        let mut names: Vec<&PackageName> = changed.flatten().collect();
        names.sort();
        names.dedup();
        for name in names {
            self.learn(name, host);
        }
        Ok(verdicts)
    }

    /// Makes known what the mesh has under a name, so that it is found. What the policy refuses, or cannot be looked at now, is
    /// looked at again when somebody asks for it.
    fn learn(&self, name: &PackageName, host: &dyn Host) {
        let Some(upstream) = self.upstreams.iter().find(|upstream| upstream.is_mesh()) else { return };
        if let Err(error) = self.pull_name_from(upstream, name, host) {
            tracing::debug!(package = %name, "what peers say of it is not taken in: {error}");
        }
    }

    /// Fetches what is not here of the packages that are mirrored, as far as it can be had now; says whether anything came.
    pub(super) fn fetch_mirrored(&self, host: &dyn Host) -> Result<bool, OpError> {
        let mut came = false;
        for name in self.mirrored()? {
            let versions = self.registry().versions(&name)?;
            for Record { release, .. } in versions {
                match self.fetch_archive(&name, &release.version, host) {
                    Ok(fetched) => came |= fetched,
                    Err(error) => {
                        tracing::info!(package = %name, version = %release.version, "it is not mirrored yet: {error}");
                    }
                }
            }
        }
        Ok(came)
    }

    /// Gives the archives that are here, and which of them this node needs itself.
    ///
    /// # Errors
    /// The registry, or the store.
    pub(super) fn archives_kept(&self, platform: &str) -> Result<Vec<KeptArchive>, OpError> {
        let installed = self.installed(platform)?;
        let mut kept = Vec::new();
        for tar in self.store.archives()? {
            let records = self.registry().of_archive(tar)?;
            for record in records {
                let Record { release, .. } = record;
                let (blob, bytes, is_own) = self.form_of(&release)?;
                let is_installed = installed.get(&release.name).is_some_and(|locked| locked.digest == tar);
                let (package, version) = (release.name, release.version);
                kept.push(KeptArchive { package, version, tar, blob, bytes, is_pinned: is_own || is_installed });
            }
        }
        Ok(kept)
    }

    /// Gives digest and size of the compressed form of a release, and whether it was published here.
    pub(super) fn form_of(&self, release: &Release) -> Result<(Digest, u64, bool), OpError> {
        Ok(match self.registry().foreign(&release.name, &release.version)? {
            Some(foreign) => (foreign.blob, foreign.archive_bytes, false),
            None => (release.blob, release.archive_bytes, true),
        })
    }

    /// Gives the digests of the compressed archives that are here for peers.
    ///
    /// # Errors
    /// The registry, or the store.
    pub(super) fn archives_here(&self, platform: &str) -> Result<BTreeSet<Digest>, OpError> {
        let network = self.config.network.as_ref();
        let is_private =
            |package: &PackageName| network.is_some_and(|it| *it.share_of(package.as_str()) == Share::Private);
        let kept = self.archives_kept(platform)?.into_iter();
        Ok(kept.filter(|archive| !is_private(&archive.package)).map(|archive| archive.blob).collect())
    }

    /// Gives the packages of which every version is kept here.
    ///
    /// # Errors
    /// The ledger.
    pub fn mirrored(&self) -> Result<BTreeSet<PackageName>, OpError> {
        Ok(self.ledger().map_or(Ok(BTreeSet::new()), |ledger| ledger.mirrored())?)
    }

    /// Keeps every version of a package here from now on, or not any more; answers which versions could not be fetched.
    ///
    /// # Errors
    /// There is no network; the package is not known; the ledger.
    pub fn mirror(&self, package: &str, wish: Mirroring, host: &dyn Host) -> Result<Vec<String>, OpError> {
        let (name, _) = super::spec::exact(package)?;
        let Some(ledger) = self.ledger() else { return Err(NetworkError::NotConfigured.into()) };
        self.pull_name(&name, host)?;
        let records = self.registry().versions(&name)?;
        if records.is_empty() && wish == Mirroring::Begin {
            return Err(self.unknown(&name, host));
        }
        ledger.set_mirrored(&name, wish == Mirroring::Begin)?;
        let mut missing = Vec::new();
        for record in records.iter().filter(|_| wish == Mirroring::Begin) {
            if let Err(error) = self.fetch_archive(&name, &record.release.version, host) {
                missing.push(format!("{name}@{}: {error}", record.release.version));
            }
        }
        Ok(missing)
    }

    /// Removes an archive that is kept for others only.
    pub(super) fn forget_archive(&self, tar: Digest) -> Result<(), OpError> {
        let _turn = self.writing();
        Ok(self.store.writer()?.forget_archive(tar)?)
    }

    /// Gives how many bytes are free where the store lies; none if that cannot be found out.
    pub(super) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.home).map_or(0, |it| it.f_bavail.saturating_mul(it.f_frsize))
    }

    /// Makes the record of a release of ours, if there is to be one and there is none.
    fn shared_release(&self, entry: &Entry, named: Sha256, host: &dyn Host) -> Result<Option<Vec<u8>>, OpError> {
        let (Ok(name), Some(version)) = (entry.package.parse::<PackageName>(), &entry.version) else { return Ok(None) };
        let is_private = self.config.network.as_ref().is_some_and(|it| *it.share_of(name.as_str()) == Share::Private);
        if is_private {
            return Ok(None);
        }
        let registry = self.registry();
        let Some(statement) = registry.statement(&name, version)? else { return Ok(None) };
        let Some(record) = registry.get(&name, version)? else { return Ok(None) };
        let manifest = registry.manifest(&name, version)?.unwrap_or_default();
        drop(registry);
        // What was published again after a loss has another statement than the step names.
        if Sha256::of(&statement.statement.envelope) != named {
            return Ok(None);
        }
        let release = record.release;
        let offer = Offer {
            blob: Blake3::from_bytes(*release.blob.as_bytes()),
            blob_bytes: release.archive_bytes,
            package: release.name.to_string(),
            release: named,
            sha512: release.digests.sha512,
            version: release.version,
        };
        let signed = wait(host.sign(Some(&entry.publisher), &ToSign::Offer(Box::new(offer))))?;
        let record =
            release_record(&signed.envelope, &statement.statement.envelope, &statement.statement.chain, &manifest);
        Ok(Some(record?))
    }

    /// Keeps records of our own, which must be right.
    fn keep_own(
        &self,
        ledger: &Ledger,
        records: &[Vec<u8>],
        judge: &Judge<'_>,
        shared: &mut Vec<RecordId>,
    ) -> Result<(), OpError> {
        let anchors = judge.anchors().ok_or(OpError::Unsigned { reason: "this node believes nobody" })?;
        for record in records {
            match ledger.offer(record, anchors)? {
                Verdict::Accepted(_) => shared.push(*blake3::hash(record).as_bytes()),
                Verdict::Known => {}
                Verdict::Later => return Err(OpError::NotShared { reason: "its feed does not name it".into() }),
                Verdict::Refused(reason) => return Err(OpError::NotShared { reason }),
            }
        }
        Ok(())
    }
}

impl Upstream {
    /// The mesh as a place where packages come from: it says what it knows without being asked, so nothing of it is old.
    pub(super) fn of_mesh(mesh: &Mesh) -> Self {
        Self::over(Arc::clone(&mesh.documents) as _)
    }
}

/// Makes records of what a feed has beyond the ledger, the newest first: what stands before it is believed for its sake.
fn share_feed(ledger: &Ledger, publisher: &str, feed: &FeedCopy) -> Result<Vec<Vec<u8>>, OpError> {
    let known = ledger.feed(publisher)?;
    let first = known.as_ref().map_or(0, |known| known.entries.len());
    let new = feed.entries.get(first..).unwrap_or_default();
    if new.is_empty() {
        let is_new = !feed.head.is_empty() && known.is_none_or(|known| known.head != feed.head);
        return Ok(if is_new { vec![feed_record(Some(&feed.head), &[])?] } else { Vec::new() });
    }
    let mut records = Vec::new();
    for (index, some) in new.rchunks(ENTRIES_MAX).enumerate() {
        records.push(feed_record((index == 0).then_some(feed.head.as_slice()), some)?);
    }
    Ok(records)
}
