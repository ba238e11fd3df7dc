//! What this node and its peers say to each other of releases: what is published here goes into the ledger of the mesh, and
//! what peers put there becomes known here, as if a registry offered it.

use std::sync::Arc;

use trustchain::digest::{Blake3, Sha256};
use trustchain::feed::{Action, Entry};
use trustchain::offer::Offer;

use super::judge::Judge;
use super::remote::Upstream;
use super::{Catalog, OpError};
use crate::config::Share;
use crate::host::{Host, ToSign, wait};
use crate::mesh::{ENTRIES_MAX, Ledger, MeshDocuments, RecordId, Verdict, feed_record, release_record};
use crate::package::name::PackageName;
use crate::trust::policy::Use;
use crate::trust::vouch::FeedCopy;

/// The mesh, as one node sees it.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) documents: Arc<MeshDocuments>,
}

/// What became of records of peers.
#[derive(Debug, Default)]
pub struct Taken {
    /// One for each record.
    pub verdicts: Vec<Verdict>,
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
            for entry in feed.entries.iter().filter_map(|bytes| Entry::parse(bytes).ok()) {
                let Action::Publish { release } = entry.action else { continue };
                if let Some(record) = self.shared_release(ledger, &entry, release, host)? {
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

    /// Makes the record of a release of ours, if there is to be one and there is none.
    fn shared_release(
        &self,
        ledger: &Ledger,
        entry: &Entry,
        named: Sha256,
        host: &dyn Host,
    ) -> Result<Option<Vec<u8>>, OpError> {
        let Ok(name) = entry.package.parse::<PackageName>() else { return Ok(None) };
        let is_private = self.config.network.as_ref().is_some_and(|it| *it.share_of(name.as_str()) == Share::Private);
        if is_private || ledger.has_release(&entry.publisher, &name, &entry.version.to_string())? {
            return Ok(None);
        }
        let registry = self.registry();
        let Some(statement) = registry.statement(&name, &entry.version)? else { return Ok(None) };
        let Some(record) = registry.get(&name, &entry.version)? else { return Ok(None) };
        let manifest = registry.manifest(&name, &entry.version)?.unwrap_or_default();
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
