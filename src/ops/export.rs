//! `registry export`: this node's registry as files that any web server can hold, or as objects of a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::remote::UpstreamError;
use super::{Catalog, OpError};
use crate::digest::Digest;
use crate::host::{Host, Network, Progress};
use crate::package::name::PackageName;
use crate::parallel;
use crate::registry::{Origin, Record};
use crate::remote::{
    Address, BUCKET_SCHEME, Bucket, FORMAT_VERSION, FeedDocument, HealthDocument, NamesDocument, OfferedRelease,
    OfferedStatement, PARALLEL_MAX, PackageDocument, Push, Rebuilt, Side, Sink, Writer, Written,
};
use crate::trust::vouch::FeedCopy;

/// What an export wrote.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Where.
    pub to: String,
    /// Names.
    pub packages: u64,
    /// Versions of all names.
    pub versions: u64,
    /// Versions of remote registries whose archives are not here.
    pub left_out: u64,
    /// How many files there are.
    pub files: Written,
}

/// What is known of one name, for others.
#[derive(Default)]
struct Described {
    document: Option<(PackageDocument, Side)>,
    chains: BTreeMap<Digest, String>,
    publishers: BTreeSet<String>,
    left_out: u64,
}

impl Catalog {
    /// Writes everything that is published here, and what was fetched from a remote registry, into a directory, or into a bucket
    /// as `s3://BUCKET/PREFIX`. What is there already stays; what is named is written before what names it.
    ///
    /// # Errors
    /// An archive of our own that is missing or damaged, the file system, or the bucket.
    pub fn export_registry(&self, to: &str, host: &dyn Host) -> Result<Exported, OpError> {
        if to.starts_with(BUCKET_SCHEME) {
            let bucket = self.bucket(to, host)?;
            return self.export_to(&Push::new(&bucket), to, host);
        }
        self.export_to(&Writer::new(Path::new(to))?, to, host)
    }

    /// Makes what a bucket knows under each name anew from the releases that lie in it.
    ///
    /// # Errors
    /// No bucket is named, or it cannot be asked or written.
    pub fn rebuild_registry(&self, address: Option<&str>, host: &dyn Host) -> Result<(String, Rebuilt), OpError> {
        let configured = self.config.remote.as_ref().map(|remote| &*remote.url);
        let address = address.or(configured).ok_or(UpstreamError::NotConfigured)?;
        let bucket = self.bucket(address, host)?;
        let progress = |name: &str| {
            host.progress(Progress { stage: "rebuild", subject: name.to_owned(), done: 0, total: 0 });
        };
        Ok((bucket.address().as_str().to_owned(), bucket.rebuild(&progress)?))
    }

    fn bucket(&self, address: &str, host: &dyn Host) -> Result<Bucket, OpError> {
        let address = Address::parse(address, false)?;
        let url = address.as_str().to_owned();
        match host.network() {
            Network::NotGranted => Err(UpstreamError::NotGranted { url }.into()),
            Network::Offline => Err(UpstreamError::Offline { url }.into()),
            Network::Granted => Ok(self.config.s3.bucket(address)?),
        }
    }

    fn export_to(&self, sink: &dyn Sink, to: &str, host: &dyn Host) -> Result<Exported, OpError> {
        let names = self.registry().names()?;
        let described = parallel::try_map(PARALLEL_MAX, names.iter().enumerate(), |(done, name)| {
            host.progress(Progress { stage: "export", subject: name.to_string(), done, total: names.len() });
            self.described(name, sink)
        })?;
        let (mut documents, mut publishers) = (Vec::new(), BTreeSet::new());
        let (mut chains, mut left_out) = (BTreeMap::new(), 0);
        for name in described {
            documents.extend(name.document);
            publishers.extend(name.publishers);
            chains.extend(name.chains);
            left_out += name.left_out;
        }
        chains.values().try_for_each(|chain| sink.chain(chain))?;
        for publisher in publishers {
            let feed = self.registry().feed(&publisher)?;
            if let Some(feed) = feed {
                sink.feed(&feed_document(publisher, &feed))?;
            }
        }
        parallel::try_map(PARALLEL_MAX, &documents, |(document, side)| sink.package(document, *side))?;
        let versions = documents.iter().map(|(document, _)| document.releases.len() as u64).sum();
        let names: Vec<PackageName> = documents.into_iter().map(|(document, _)| document.name).collect();
        let packages = names.len() as u64;
        let health = HealthDocument { format: FORMAT_VERSION, status: "ok".into(), packages, versions };
        let files = sink.finish(&NamesDocument { format: FORMAT_VERSION, names }, &health)?;
        Ok(Exported { to: to.to_owned(), packages, versions, left_out, files })
    }

    /// Writes the archives under a name, and describes their releases.
    fn described(&self, name: &PackageName, sink: &dyn Sink) -> Result<Described, OpError> {
        let (mut described, mut releases) = (Described::default(), Vec::new());
        let versions = self.registry().versions(name)?;
        for record in versions {
            let Some(bytes) = self.blob_of(&record)? else {
                described.left_out += 1;
                continue;
            };
            sink.blob(name, &bytes)?;
            releases.push(self.offered(record, &bytes, &mut described.chains, &mut described.publishers)?);
        }
        if !self.tells_the_owner(name, &releases)? {
            described.left_out += releases.len() as u64;
            return Ok(Described { left_out: described.left_out, ..Described::default() });
        }
        if !releases.is_empty() {
            described.publishers.extend(self.ever_owners(name)?);
            let is_own = self.registry().origin(name)? == Origin::Here;
            let document = PackageDocument { format: FORMAT_VERSION, name: name.clone(), releases };
            described.document = Some((document, if is_own { Side::Own } else { Side::Copied }));
        }
        Ok(described)
    }

    /// Says whether who knows nothing but these releases finds to whom the name belongs: the one that was signed first must be of
    /// its first publisher, and without it another owner would be taken for that.
    fn tells_the_owner(&self, name: &PackageName, releases: &[OfferedRelease]) -> Result<bool, OpError> {
        let registry = self.registry();
        let Some(first) = registry.first_publisher(name)? else { return Ok(true) };
        let signed = releases.iter().filter(|release| release.statement.is_some());
        let Some(earliest) = signed.min_by_key(|release| release.published_at) else { return Ok(true) };
        let publisher = registry.statement(name, &earliest.version)?.map(|statement| statement.pin.publisher);
        Ok(publisher.is_some_and(|publisher| publisher == first))
    }

    /// Gives everybody whom owners of a name ever named, in whose feeds more may be said.
    fn ever_owners(&self, name: &PackageName) -> Result<BTreeSet<String>, OpError> {
        let registry = self.registry();
        let (mut found, mut open) = (BTreeSet::new(), Vec::from_iter(registry.first_publisher(name)?));
        while let Some(publisher) = open.pop() {
            if found.insert(publisher.clone()) {
                open.extend(registry.owners_said(&publisher, name)?);
            }
        }
        Ok(found)
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
