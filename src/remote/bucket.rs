//! A registry in a bucket of an S3-compatible store, from which and to which nodes copy; its form is in `docs/formats.md`.
//!
//! Archives, chains, releases and what is known under a name (a head) are objects named by their digests, which never change.
//! Whoever puts something adds an object: the heads that it has read, merged with what it knows, under the digest of the result;
//! then the heads that were merged go. Whoever reads merges the heads that there are, so that nodes that put at the same time
//! lose nothing of each other's and nothing hangs on conditional writes. What a head names is put before it.
//!
//! Blocks, as [`super::Remote`] does. Believes nothing: what is read is bounded and hashed.

mod client;
mod credentials;
mod fault;
mod merge;
mod push;
mod rebuild;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use self::client::{Client, Listed};
pub use self::credentials::CredentialsFile;
pub use self::fault::BucketFault;
pub use self::push::Push;
pub use self::rebuild::{Mended, Rebuilt};
use super::layout::{self, BucketDocument, FeedDocument, HealthDocument, PackageDocument, feed_path, heads_path};
use super::transport::Patience;
use super::{
    Address, BLOB_BYTES_MAX, CHAIN_BYTES_MAX, DOCUMENT_BYTES_MAX, Documents, FORMAT_VERSION, Fetched, RemoteError,
};
use crate::digest::Digest;
use crate::package::name::PackageName;

/// The most heads that are read under one name, the newest: each holds what those before it held, unless they were put at the
/// same time.
const HEADS_MAX: usize = 64;
/// How many bytes of heads one look reads: a name that has more is not merged but refused.
const HEADS_BYTES_MAX: u64 = 8 * DOCUMENT_BYTES_MAX;
/// The most heads whose ages are compared.
const HEADS_LISTED_MAX: usize = 10_000;
/// How often heads are looked for again that went while they were read.
const LOOKS_MAX: usize = 4;
/// The largest object that says that there is a registry, in bytes.
const MARK_BYTES_MAX: u64 = 4 << 10;

/// A registry in a bucket.
#[derive(Debug)]
pub struct Bucket {
    client: Client,
    /// A registry was seen in it.
    is_registry: AtomicBool,
}

/// How a store of buckets is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketOptions {
    /// Its address; Amazon's of the region, if there is none.
    pub endpoint: Option<String>,
    /// The region for which requests are signed.
    pub region: String,
    /// The bucket stands in the path, and not before the host.
    pub path_style: bool,
    /// Allows `http://` to other machines.
    pub insecure: bool,
    /// A file of the authorities that may vouch for the store, in the place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The file of the credentials; the environment, if there is none.
    pub credentials: Option<CredentialsFile>,
}

impl BucketOptions {
    fn endpoint(&self) -> String {
        let amazon = || format!("https://s3.{}.amazonaws.com", self.region);
        self.endpoint.as_deref().map_or_else(amazon, |endpoint| endpoint.trim_end_matches('/').to_owned())
    }
}

/// What lies under one name or of one publisher.
struct Heads<T> {
    /// The newest first; none is damaged.
    documents: Vec<T>,
    /// Where they lie.
    paths: Vec<String>,
    /// By what this state is told from others.
    tag: String,
}

impl Bucket {
    /// Makes a client of a bucket; nothing is asked yet.
    ///
    /// # Errors
    /// An address of no bucket, an endpoint that may not be asked, authorities that do not read.
    pub fn new(address: Address, options: &BucketOptions, patience: Patience) -> Result<Self, RemoteError> {
        Ok(Self { client: Client::new(address, options, patience)?, is_registry: AtomicBool::new(false) })
    }

    /// Gives its address.
    pub fn address(&self) -> &Address {
        self.client.address()
    }

    /// Checks that there is a registry in the bucket, which an empty answer may hide.
    fn expect_registry(&self) -> Result<(), RemoteError> {
        if self.is_registry.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = layout::BUCKET_PATH;
        let mark = self.client.get(path, MARK_BYTES_MAX, &|_| {})?;
        let mark = mark.ok_or_else(|| self.client.fault(path, BucketFault::NoRegistry))?;
        BucketDocument::read(&mark).map_err(|reason| self.client.wrong(path, reason))?;
        self.is_registry.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Says that there is a registry in the bucket.
    fn mark(&self) -> Result<(), RemoteError> {
        match self.expect_registry() {
            Err(RemoteError::Bucket { fault: BucketFault::NoRegistry, .. }) => {
                self.client.put(layout::BUCKET_PATH, &line_of(&BucketDocument { format: FORMAT_VERSION }))
            }
            other => other,
        }
    }

    /// Lists the heads below a path, the newest first.
    fn listed(&self, below: &str) -> Result<Vec<Listed>, RemoteError> {
        let mut heads = Vec::new();
        self.client.list(below, |head| {
            if heads.len() < HEADS_LISTED_MAX {
                heads.push(head);
            }
            Ok(())
        })?;
        newest_first(&mut heads);
        heads.truncate(HEADS_MAX);
        Ok(heads)
    }

    /// Reads all heads below a path, or none if they are those of a tag.
    fn heads<T>(
        &self,
        below: &str,
        tag: Option<&str>,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Option<Heads<T>>, RemoteError> {
        'looks: for _ in 0..LOOKS_MAX {
            let listed = self.listed(below)?;
            let found = tag_of(&listed);
            if tag == Some(&*found) {
                return Ok(None);
            }
            let mut heads = Heads { documents: Vec::new(), paths: Vec::new(), tag: found };
            let mut left = HEADS_BYTES_MAX;
            for Listed { path, .. } in listed {
                let Some(bytes) = self.client.get(&path, left.min(DOCUMENT_BYTES_MAX), &|_| {})? else {
                    // Somebody merged it into another meanwhile.
                    continue 'looks;
                };
                left = left.saturating_sub(bytes.len() as u64);
                self.expect_named(&path, &bytes)?;
                heads.documents.push(read(&bytes).map_err(|reason| self.client.wrong(&path, reason))?);
                heads.paths.push(path);
            }
            return Ok(Some(heads));
        }
        Err(RemoteError::Missing { url: self.address().url_of(below) })
    }

    /// Puts a head where others were merged into it, which then go, as do damaged ones; says whether there was anything to do.
    fn replace(&self, below: &str, bytes: &[u8], merged: &[String], damaged: &[String]) -> Result<bool, RemoteError> {
        let path = format!("{below}{}", Digest::of(bytes).to_hex());
        let is_there = merged.contains(&path);
        if !is_there {
            self.client.put(&path, bytes)?;
        }
        for old in merged.iter().chain(damaged).filter(|old| **old != path) {
            // Whoever may only add leaves it; it is merged again, and says nothing new.
            if let Err(error) = self.client.delete(old) {
                tracing::debug!(%old, "stays: {error}");
            }
        }
        Ok(!is_there)
    }

    /// Checks that bytes are those that the last part of a path names.
    fn expect_named(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let named = Digest::from_hex(name.trim_end_matches(".pem"));
        let expected = named.ok_or_else(|| self.client.wrong(path, "it is named by no digest"))?;
        let actual = Digest::of(bytes);
        if actual == expected {
            return Ok(());
        }
        Err(RemoteError::Blob { url: self.address().url_of(path), expected, actual })
    }

    fn named(&self, path: &str, limit: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, RemoteError> {
        let bytes = self.client.get(path, limit, progress)?;
        let bytes = bytes.ok_or_else(|| RemoteError::Missing { url: self.address().url_of(path) })?;
        self.expect_named(path, &bytes).map(|()| bytes)
    }
}

impl Documents for Bucket {
    fn url(&self) -> &str {
        self.address().as_str()
    }

    fn is_network(&self) -> bool {
        true
    }

    fn package(&self, name: &PackageName, tag: Option<&str>) -> Result<Fetched<PackageDocument>, RemoteError> {
        let below = heads_path(name);
        let Some(heads) = self.heads(&below, tag, |bytes| PackageDocument::read(bytes, name))? else {
            return Ok(Fetched::Unchanged);
        };
        if heads.documents.is_empty() {
            return self.expect_registry().map(|()| Fetched::Absent);
        }
        let value = merge::packages(name, heads.documents).map_err(|reason| self.client.wrong(&below, reason))?;
        Ok(Fetched::Found { value, tag: Some(heads.tag) })
    }

    fn feed(&self, publisher: &str, tag: Option<&str>) -> Result<Fetched<FeedDocument>, RemoteError> {
        let Some(path) = feed_path(publisher) else { return Ok(Fetched::Absent) };
        let below = format!("{path}/");
        let Some(heads) = self.heads(&below, tag, |bytes| FeedDocument::read(bytes, publisher))? else {
            return Ok(Fetched::Unchanged);
        };
        let merged = merge::feeds(heads.documents).map_err(|reason| self.client.wrong(&below, reason))?;
        Ok(merged.map_or(Fetched::Absent, |value| Fetched::Found { value, tag: Some(heads.tag) }))
    }

    fn chain(&self, digest: Digest) -> Result<String, RemoteError> {
        let path = layout::chain_path(digest);
        let bytes = self.named(&path, CHAIN_BYTES_MAX, &|_| {})?;
        String::from_utf8(bytes).map_err(|error| self.client.wrong(&path, error.to_string()))
    }

    fn blob(&self, digest: Digest, size_bytes: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, RemoteError> {
        self.named(&layout::blob_path(digest), size_bytes.min(BLOB_BYTES_MAX), progress)
    }

    /// Counts names and releases, a thousand keys at a time.
    fn health(&self) -> Result<HealthDocument, RemoteError> {
        self.expect_registry()?;
        let (mut packages, mut versions, mut last) = (0, 0, String::new());
        self.client.list(layout::ASSETS_PATH, |object| {
            let of_name = &object.path[layout::ASSETS_PATH.len()..];
            let Some((name, rest)) = of_name.split_once('/') else { return Ok(()) };
            if rest.starts_with("heads/") && name != last {
                packages += 1;
                name.clone_into(&mut last);
            }
            versions += u64::from(rest.starts_with("releases/"));
            Ok(())
        })?;
        Ok(HealthDocument { format: FORMAT_VERSION, status: "ok".into(), packages, versions })
    }
}

fn newest_first(heads: &mut [Listed]) {
    heads.sort_by(|one, other| (&other.modified, &other.path).cmp(&(&one.modified, &one.path)));
}

/// Heads are named by their digests, so their names tell one state from another.
fn tag_of(heads: &[Listed]) -> String {
    let mut paths: Vec<&str> = heads.iter().map(|head| &*head.path).collect();
    paths.sort_unstable();
    Digest::of(paths.join("\n").as_bytes()).to_hex()
}

/// Writes a document as it lies in a bucket.
fn line_of(document: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(document).expect("documents have text keys only, and write into memory");
    bytes.push(b'\n');
    bytes
}
