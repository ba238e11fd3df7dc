//! Copies what a node knows into a bucket: only what is missing, and what is named before what names it. A copy that was cut
//! short leaves a registry that can be used, and the next one goes on from there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::RemoteError;
use super::super::layout::{
    self, FORMAT_VERSION, FeedDocument, HealthDocument, NamesDocument, OfferedRelease, PackageDocument,
    ReleaseDocument, feed_path, heads_path, releases_path,
};
use super::super::write::{Side, Sink, WriteError, Written};
use super::{Bucket, line_of, merge};
use crate::digest::Digest;
use crate::package::name::PackageName;

/// A copy into a bucket.
#[derive(Debug)]
pub struct Push<'a> {
    bucket: &'a Bucket,
    /// What is there under the names that were asked for.
    known: Mutex<BTreeMap<PackageName, Arc<Known>>>,
    written: AtomicUsize,
    unchanged: AtomicUsize,
}

/// What is there under a name.
#[derive(Debug)]
struct Known {
    document: Option<PackageDocument>,
    paths: Vec<String>,
}

impl Known {
    fn releases(&self) -> impl Iterator<Item = &OfferedRelease> {
        self.document.iter().flat_map(|document| &document.releases)
    }

    /// What a head names lies in the bucket already.
    fn has_blob(&self, blob: Digest) -> bool {
        self.releases().any(|release| release.blob == blob)
    }

    fn has(&self, release: &OfferedRelease) -> bool {
        self.releases().any(|there| (&there.version, there.blob) == (&release.version, release.blob))
    }
}

impl<'a> Push<'a> {
    /// Begins.
    pub fn new(bucket: &'a Bucket) -> Self {
        Self { bucket, known: Mutex::default(), written: AtomicUsize::new(0), unchanged: AtomicUsize::new(0) }
    }

    fn known(&self, name: &PackageName) -> Result<Arc<Known>, RemoteError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(name) {
            return Ok(Arc::clone(known));
        }
        let below = heads_path(name);
        let heads = self.bucket.heads(&below, None, |bytes| PackageDocument::read(bytes, name))?;
        let (documents, paths) = heads.map(|heads| (heads.documents, heads.paths)).unwrap_or_default();
        let is_empty = documents.is_empty();
        let merged = merge::packages(name, documents).map_err(|reason| self.bucket.client.wrong(&below, reason))?;
        let document = (!is_empty).then_some(merged);
        let found = Arc::new(Known { document, paths });
        known().insert(name.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// Puts bytes under their digest, if nothing as long is there.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let is_there = self.bucket.client.size_bytes(path)? == Some(bytes.len() as u64);
        if !is_there {
            self.bucket.client.put(path, bytes)?;
        }
        self.count(!is_there);
        Ok(())
    }

    fn count(&self, is_written: bool) {
        let counter = if is_written { &self.written } else { &self.unchanged };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn put_release(&self, name: &PackageName, release: &OfferedRelease) -> Result<(), RemoteError> {
        self.bucket.put_release(name, release)?;
        self.count(true);
        Ok(())
    }
}

impl Bucket {
    /// Puts a release, from which heads can be made again.
    pub(super) fn put_release(&self, name: &PackageName, release: &OfferedRelease) -> Result<(), RemoteError> {
        let release = OfferedRelease { yanked: None, ..release.clone() };
        let bytes = line_of(&ReleaseDocument { format: FORMAT_VERSION, name: name.clone(), release });
        self.client.put(&format!("{}{}", releases_path(name), Digest::of(&bytes).to_hex()), &bytes)
    }
}

impl Sink for Push<'_> {
    fn blob(&self, name: &PackageName, bytes: &[u8]) -> Result<(), WriteError> {
        let digest = Digest::of(bytes);
        if self.known(name)?.has_blob(digest) {
            self.count(false);
            return Ok(());
        }
        Ok(self.put(&layout::blob_path(digest), bytes)?)
    }

    fn chain(&self, pem: &str) -> Result<(), WriteError> {
        Ok(self.put(&layout::chain_path(Digest::of(pem.as_bytes())), pem.as_bytes())?)
    }

    fn feed(&self, feed: &FeedDocument) -> Result<(), WriteError> {
        let Some(path) = feed_path(&feed.publisher) else { return Ok(()) };
        let below = format!("{path}/");
        let heads = self.bucket.heads(&below, None, |bytes| FeedDocument::read(bytes, &feed.publisher))?;
        let (documents, paths) = heads.map(|heads| (heads.documents, heads.paths)).unwrap_or_default();
        let merged = merge::feeds(documents.into_iter().chain([feed.clone()]));
        let merged = merged.map_err(|reason| self.bucket.client.wrong(&below, reason))?;
        let bytes = line_of(merged.as_ref().unwrap_or(feed));
        self.count(self.bucket.replace(&below, &bytes, &paths, &[])?);
        Ok(())
    }

    fn package(&self, document: &PackageDocument, side: Side) -> Result<(), WriteError> {
        let name = &document.name;
        let known = self.known(name)?;
        let there = known.document.clone();
        let first_counts: Vec<PackageDocument> = match side {
            Side::Own => [document.clone()].into_iter().chain(there).collect(),
            Side::Copied => there.into_iter().chain([document.clone()]).collect(),
        };
        let below = heads_path(name);
        let merged = merge::packages(name, first_counts).map_err(|reason| self.bucket.client.wrong(&below, reason))?;
        let mut missing = document.releases.iter().filter(|release| !known.has(release));
        missing.try_for_each(|release| self.put_release(name, release))?;
        self.count(self.bucket.replace(&below, &line_of(&merged), &known.paths, &[])?);
        Ok(())
    }

    /// Names and figures are counted from what lies in the bucket, so what one node knows of them is not put.
    fn finish(&self, _: &NamesDocument, _: &HealthDocument) -> Result<Written, WriteError> {
        self.bucket.mark()?;
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Ok(Written { written: count(&self.written), unchanged: count(&self.unchanged) })
    }
}
