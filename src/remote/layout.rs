//! The files of a registry, version 1: their paths and what they say. `docs/formats.md` describes them for others.

use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::feed::ENTRIES_MAX;

use crate::digest::{Digest, Digests};
use crate::package::name::PackageName;

/// The version of the files.
pub const FORMAT_VERSION: u32 = 1;
/// The most versions of one package in a document.
const RELEASES_MAX: usize = 10_000;
/// The most names in a list.
const NAMES_MAX: usize = 1_000_000;
/// The longest domain, as DNS has it.
const DOMAIN_BYTES_MAX: usize = 253;

pub(super) const HEALTH_PATH: &str = "api/v1/health";
pub(super) const NAMES_PATH: &str = "api/v1/names";
/// What says that a bucket holds a registry.
pub(super) const BUCKET_PATH: &str = "api/v1/bucket";
/// Below this a bucket has what it knows under each name.
pub(super) const ASSETS_PATH: &str = "api/v1/assets/";
/// Below this a bucket has the feed of each publisher.
pub(super) const FEEDS_PATH: &str = "api/v1/feeds/";
/// Below this are chains.
pub(super) const CHAINS_PATH: &str = "api/v1/chains/";
/// Below this are archives.
pub(super) const BLOBS_PATH: &str = "blobs/";

/// What a registry says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthDocument {
    /// The version of its files.
    pub format: u32,
    /// `ok`.
    pub status: String,
    /// Names.
    pub packages: u64,
    /// Versions of all names.
    pub versions: u64,
}

/// Every name that is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesDocument {
    /// The version of the files.
    pub format: u32,
    /// In order.
    pub names: Vec<PackageName>,
}

/// Everything that is published under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageDocument {
    /// The version of the files.
    pub format: u32,
    /// The name.
    pub name: PackageName,
    /// The lowest version first.
    pub releases: Vec<OfferedRelease>,
}

/// Says that a bucket holds a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BucketDocument {
    /// The version of the files.
    pub(super) format: u32,
}

/// One release in a bucket, from which the documents about packages can be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseDocument {
    /// The version of the files.
    pub(super) format: u32,
    /// The name.
    pub(super) name: PackageName,
    /// The release, which is not yanked: that may change, and this object may not.
    pub(super) release: OfferedRelease,
}

/// One release as a registry describes it; nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedRelease {
    /// Its version.
    pub version: Version,
    /// Digests of the tar.
    pub digests: Digests,
    /// Size of the tar in bytes.
    pub tar_bytes: u64,
    /// Digest of the compressed archive, by which it is found.
    pub blob: Digest,
    /// Size of the compressed archive in bytes.
    pub archive_bytes: u64,
    /// The manifest in canonical form.
    pub manifest: String,
    /// When it was published, in RFC 3339.
    #[serde(with = "time::serde::rfc3339")]
    pub published_at: OffsetDateTime,
    /// Why it was yanked, if it was.
    pub yanked: Option<String>,
    /// What its publisher signed.
    pub statement: Option<OfferedStatement>,
}

/// What a publisher signed about a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedStatement {
    /// The envelope, which is JSON, as a text: its bytes count.
    pub envelope: String,
    /// The digest of the signer's chain, by which that is found.
    pub chain: Digest,
}

/// What a publisher released, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedDocument {
    /// The version of the files.
    pub format: u32,
    /// The publisher's domain.
    pub publisher: String,
    /// The signed head, which is JSON, as a text.
    pub head: String,
    /// Every entry from the first on, each as a text.
    pub entries: Vec<String>,
}

/// Gives the path of the document about a package. A slash becomes `~`, which no name has and every server keeps as it is.
pub fn package_path(name: &PackageName) -> String {
    format!("{ASSETS_PATH}{}/metadata", of_path(name))
}

/// Gives below which path a bucket has what it knows under a name.
pub(super) fn heads_path(name: &PackageName) -> String {
    format!("{ASSETS_PATH}{}/heads/", of_path(name))
}

/// Gives below which path a bucket has the releases of a name.
pub(super) fn releases_path(name: &PackageName) -> String {
    format!("{ASSETS_PATH}{}/releases/", of_path(name))
}

fn of_path(name: &PackageName) -> String {
    name.as_str().replace('/', "~")
}

/// Gives the path of a publisher's feed; none for a text that is no domain.
pub fn feed_path(publisher: &str) -> Option<String> {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain)
    };
    let is_domain = publisher.len() <= DOMAIN_BYTES_MAX && publisher.split('.').all(is_label);
    is_domain.then(|| format!("{FEEDS_PATH}{publisher}"))
}

pub(super) fn chain_path(digest: Digest) -> String {
    format!("{CHAINS_PATH}{}.pem", digest.to_hex())
}

pub(super) fn blob_path(digest: Digest) -> String {
    let hex = digest.to_hex();
    format!("{BLOBS_PATH}{}/{}/{hex}", &hex[..2], &hex[2..4])
}

impl HealthDocument {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let health: Self = read(bytes)?;
        expect_format(health.format).map(|()| health)
    }
}

impl BucketDocument {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let bucket: Self = read(bytes)?;
        expect_format(bucket.format).map(|()| bucket)
    }
}

impl ReleaseDocument {
    pub(super) fn read(bytes: &[u8], name: &PackageName) -> Result<Self, String> {
        let document: Self = read(bytes)?;
        expect_format(document.format)?;
        if document.name != *name {
            return Err(format!("it is about `{}`", document.name));
        }
        document.release.check().map(|()| document)
    }
}

impl NamesDocument {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let names: Self = read(bytes)?;
        expect_format(names.format)?;
        expect_count("names", names.names.len(), NAMES_MAX).map(|()| names)
    }
}

impl PackageDocument {
    /// Reads the document about a package.
    ///
    /// # Errors
    /// What is wrong with it: another format, another package, a version twice, sizes that cannot be.
    pub fn read(bytes: &[u8], name: &PackageName) -> Result<Self, String> {
        let document: Self = read(bytes)?;
        expect_format(document.format)?;
        if document.name != *name {
            return Err(format!("it is about `{}`", document.name));
        }
        expect_releases(document.releases.len())?;
        for pair in document.releases.windows(2) {
            if pair[0].version >= pair[1].version {
                return Err(format!("version {} is not above {}", pair[1].version, pair[0].version));
            }
        }
        document.releases.iter().try_for_each(OfferedRelease::check)?;
        Ok(document)
    }
}

impl OfferedRelease {
    fn check(&self) -> Result<(), String> {
        let fault = |what: &str| Err(format!("version {}: {what}", self.version));
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !is_hex(&self.digests.sha256, 64) || !is_hex(&self.digests.sha512, 128) {
            return fault("a digest is not in lower-case hexadecimal of its length");
        }
        if self.tar_bytes > crate::archive::TAR_BYTES_MAX || self.archive_bytes > super::BLOB_BYTES_MAX {
            return fault("an archive is larger than any may be");
        }
        Ok(())
    }
}

impl FeedDocument {
    /// Reads the feed of a publisher.
    ///
    /// # Errors
    /// What is wrong with it: another format, another publisher, too many entries.
    pub fn read(bytes: &[u8], publisher: &str) -> Result<Self, String> {
        let feed: Self = read(bytes)?;
        expect_format(feed.format)?;
        if feed.publisher != publisher {
            return Err(format!("it is the feed of `{}`", feed.publisher));
        }
        expect_count("entries", feed.entries.len(), ENTRIES_MAX as usize).map(|()| feed)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let deserializer = &mut serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut *deserializer);
    let value = read.map_err(|error| {
        // A later format has other fields; that it is a later one says more than the first of them.
        let marked = serde_json::from_slice::<Marked>(bytes).ok();
        let other = marked.and_then(|Marked { format }| expect_format(format).err());
        other.unwrap_or_else(|| format!("field `{}`: {}", error.path(), error.inner()))
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// What every document of every format has.
#[derive(Deserialize)]
struct Marked {
    format: u32,
}

/// Checks that a document has no more versions than one may have.
pub(super) fn expect_releases(found: usize) -> Result<(), String> {
    expect_count("versions", found, RELEASES_MAX)
}

fn expect_format(found: u32) -> Result<(), String> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    Err(format!("it has format {found}, and this program knows format {FORMAT_VERSION}"))
}

fn expect_count(what: &str, found: usize, limit: usize) -> Result<(), String> {
    if found > limit { Err(format!("{found} {what} pass the bound of {limit}")) } else { Ok(()) }
}
