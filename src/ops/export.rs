//! `registry export`: this node's registry as files that any web server can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Catalog, OpError};
use crate::digest::Digest;
use crate::host::{Host, Progress};
use crate::package::name::PackageName;
use crate::registry::Record;
use crate::remote::{
    FORMAT_VERSION, FeedDocument, HealthDocument, NamesDocument, OfferedRelease, OfferedStatement, PackageDocument,
    Writer, Written,
};
use crate::trust::vouch::FeedCopy;

/// What an export wrote.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Where.
    pub directory: PathBuf,
    /// Names.
    pub packages: u64,
    /// Versions of all names.
    pub versions: u64,
    /// Versions of remote registries whose archives are not here.
    pub left_out: u64,
    /// How many files there are.
    pub files: Written,
}

impl Catalog {
    /// Writes everything that is published here, and what was fetched from a remote registry, into a directory. What is there
    /// already stays; what is named is written before what names it.
    ///
    /// # Errors
    /// An archive of our own that is missing or damaged, or the file system.
    pub fn export_registry(&self, directory: &Path, host: &dyn Host) -> Result<Exported, OpError> {
        let fault = |source| OpError::File { path: directory.to_owned(), source };
        let mut writer = Writer::new(directory).map_err(fault)?;
        let names = self.registry().names()?;
        let (mut documents, mut publishers) = (Vec::new(), BTreeSet::new());
        let (mut chains, mut left_out) = (BTreeMap::new(), 0);
        for (done, name) in names.iter().enumerate() {
            host.progress(Progress { stage: "export", subject: name.to_string(), done, total: names.len() });
            let mut releases = Vec::new();
            let versions = self.registry().versions(name)?;
            for record in versions {
                let Some(bytes) = self.blob_of(&record)? else {
                    left_out += 1;
                    continue;
                };
                writer.blob(&bytes).map_err(fault)?;
                releases.push(self.offered(record, &bytes, &mut chains, &mut publishers)?);
            }
            if !releases.is_empty() {
                documents.push(PackageDocument { format: FORMAT_VERSION, name: name.clone(), releases });
            }
        }
        chains.values().try_for_each(|chain: &String| writer.chain(chain)).map_err(fault)?;
        for publisher in publishers {
            if let Some(feed) = self.registry().feed(&publisher)? {
                writer.feed(&feed_document(publisher, &feed)).map_err(fault)?;
            }
        }
        documents.iter().try_for_each(|document| writer.package(document)).map_err(fault)?;
        let versions = documents.iter().map(|document| document.releases.len() as u64).sum();
        let names: Vec<PackageName> = documents.into_iter().map(|document| document.name).collect();
        let packages = names.len() as u64;
        let health = HealthDocument { format: FORMAT_VERSION, status: "ok".into(), packages, versions };
        let files = writer.finish(&NamesDocument { format: FORMAT_VERSION, names }, &health).map_err(fault)?;
        Ok(Exported { directory: directory.to_owned(), packages, versions, left_out, files })
    }

    /// Gives the compressed archive of a release, if it is here as it came in. Our own must be.
    fn blob_of(&self, record: &Record) -> Result<Option<Vec<u8>>, OpError> {
        let release = &record.release;
        let foreign = self.registry().foreign(&release.name, &release.version)?;
        let known = [Some(release.blob), foreign.as_ref().map(|foreign| foreign.blob)];
        let bytes = self.store.compressed(release.digests.blake3)?;
        let whole = bytes.filter(|bytes| known.contains(&Some(Digest::of(bytes))));
        if whole.is_none() && foreign.is_none() {
            let (name, version) = (release.name.clone(), release.version.clone());
            return Err(OpError::ArchiveMissing { name, version });
        }
        Ok(whole)
    }

    /// Describes a release for others.
    fn offered(
        &self,
        record: Record,
        compressed: &[u8],
        chains: &mut BTreeMap<Digest, String>,
        publishers: &mut BTreeSet<String>,
    ) -> Result<OfferedRelease, OpError> {
        let (release, registry) = (record.release, self.registry());
        let manifest = registry.manifest(&release.name, &release.version)?.unwrap_or_default();
        let statement = registry.statement(&release.name, &release.version)?.map(|stored| {
            publishers.insert(stored.pin.publisher);
            let chain = Digest::of(stored.statement.chain.as_bytes());
            chains.entry(chain).or_insert(stored.statement.chain);
            OfferedStatement { envelope: text(&stored.statement.envelope), chain }
        });
        Ok(OfferedRelease {
            version: release.version,
            digests: release.digests,
            tar_bytes: release.tar_bytes,
            blob: Digest::of(compressed),
            archive_bytes: compressed.len() as u64,
            manifest: text(&manifest),
            published_at: release.published_at,
            yanked: record.yanked,
            statement,
        })
    }
}

fn feed_document(publisher: String, feed: &FeedCopy) -> FeedDocument {
    let entries = feed.entries.iter().map(|entry| text(entry)).collect();
    FeedDocument { format: FORMAT_VERSION, publisher, head: text(&feed.head), entries }
}

/// Manifests, envelopes and entries are JSON, and so is what holds them here.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
