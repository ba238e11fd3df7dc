//! Makes the heads of a bucket anew from what lies in it: releases whose archives and chains are there, and feeds. Only heads are
//! removed, and only those whose content is in the new one or that are damaged.

use std::collections::{BTreeMap, BTreeSet};

use super::super::layout::{
    self, FeedDocument, OfferedRelease, PackageDocument, ReleaseDocument, feed_path, heads_path,
};
use super::super::{DOCUMENT_BYTES_MAX, PARALLEL_MAX, RemoteError};
use super::client::Listed;
use super::merge::{self, Releases};
use super::{Bucket, HEADS_MAX, line_of, newest_first};
use crate::digest::Digest;
use crate::package::name::PackageName;
use crate::parallel;

/// The most archives and chains whose presence is remembered: 48 bytes each.
const NAMED_MAX: usize = 10_000_000;
/// The most faults that are told one by one.
const FAULTS_MAX: usize = 1_000;

/// What came of making heads anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Names that have a head now.
    pub packages: u64,
    /// Releases of all names.
    pub versions: u64,
    /// Feeds of publishers.
    pub feeds: u64,
    /// Heads, feeds and releases put.
    pub written: usize,
    /// Heads and feeds that were as they should be.
    pub unchanged: usize,
    /// What is damaged or not whole, and was left out.
    pub faults: Vec<Mended>,
    /// How many more there are.
    pub further_faults: usize,
}

/// Something in a bucket that is damaged or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The object.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Rebuilt {
    fn fault(&mut self, path: &str, reason: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Mended { path: path.to_owned(), reason: reason.into() });
        } else {
            self.further_faults += 1;
        }
    }

    fn count(&mut self, is_written: bool) {
        let counter = if is_written { &mut self.written } else { &mut self.unchanged };
        *counter += 1;
    }
}

/// What lies in the bucket under digests.
struct Present {
    blobs: BTreeMap<Digest, u64>,
    chains: BTreeSet<Digest>,
}

impl Present {
    /// Says what of a release is not there, if anything is not.
    fn lacks(&self, release: &OfferedRelease) -> Option<String> {
        match self.blobs.get(&release.blob) {
            None => return Some(format!("version {}: its archive `{}` is not there", release.version, release.blob)),
            Some(size) if *size != release.archive_bytes => {
                let (is, should) = (size, release.archive_bytes);
                return Some(format!("version {}: its archive has {is} bytes, expected {should}", release.version));
            }
            Some(_) => {}
        }
        let chain = release.statement.as_ref().map(|statement| statement.chain)?;
        let is_there = self.chains.contains(&chain);
        (!is_there).then(|| format!("version {}: its signer's chain `{chain}` is not there", release.version))
    }
}

/// What was read of some objects.
struct Read<T> {
    /// What those say that are whole.
    values: Vec<T>,
    /// Where they lie.
    whole: Vec<String>,
    /// Where others lie.
    damaged: Vec<String>,
}

/// What lies under one name, or of one publisher.
#[derive(Default)]
struct Group {
    heads: Vec<Listed>,
    releases: Vec<Listed>,
}

impl Bucket {
    /// Makes all heads anew; `progress` is told each name.
    ///
    /// # Errors
    /// The bucket cannot be asked or written.
    pub fn rebuild(&self, progress: &(dyn Fn(&str) + Sync)) -> Result<Rebuilt, RemoteError> {
        let mut rebuilt = Rebuilt::default();
        let names = self.groups(layout::ASSETS_PATH)?;
        // After the names: what they name was put before them, also by who exports at the same time.
        let present = self.present()?;
        for (name, group) in names {
            progress(&name);
            match name.replace('~', "/").parse::<PackageName>() {
                Ok(name) => self.rebuild_name(&name, group, &present, &mut rebuilt)?,
                Err(error) => rebuilt.fault(&format!("{}{name}", layout::ASSETS_PATH), error.to_string()),
            }
        }
        for (publisher, group) in self.groups(layout::FEEDS_PATH)? {
            progress(&publisher);
            self.rebuild_feed(&publisher, group.heads, &mut rebuilt)?;
        }
        self.mark()?;
        Ok(rebuilt)
    }

    fn present(&self) -> Result<Present, RemoteError> {
        let mut present = Present { blobs: BTreeMap::new(), chains: BTreeSet::new() };
        let digest_of = |path: &str| Digest::from_hex(path.rsplit('/').next()?.trim_end_matches(".pem"));
        self.client.list(layout::BLOBS_PATH, |object| {
            if let Some(digest) = digest_of(&object.path).filter(|_| present.blobs.len() < NAMED_MAX) {
                present.blobs.insert(digest, object.size_bytes);
            }
            Ok(())
        })?;
        self.client.list(layout::CHAINS_PATH, |object| {
            if let Some(digest) = digest_of(&object.path).filter(|_| present.chains.len() < NAMED_MAX) {
                present.chains.insert(digest);
            }
            Ok(())
        })?;
        Ok(present)
    }

    /// Lists what lies below a path, by the part that follows it.
    fn groups(&self, below: &str) -> Result<BTreeMap<String, Group>, RemoteError> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        self.client.list(below, |object| {
            let Some((group, rest)) = object.path[below.len()..].split_once('/') else { return Ok(()) };
            let is_release = rest.starts_with("releases/");
            if !groups.contains_key(group) {
                groups.insert(group.to_owned(), Group::default());
            }
            if let Some(group) = groups.get_mut(group) {
                if is_release { group.releases.push(object) } else { group.heads.push(object) }
            }
            Ok(())
        })?;
        Ok(groups)
    }

    fn rebuild_name(
        &self,
        name: &PackageName,
        mut group: Group,
        present: &Present,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), RemoteError> {
        newest_first(&mut group.heads);
        group.heads.truncate(HEADS_MAX);
        // What came first counts where two disagree; what heads say, which may be yanked, counts before what never changes.
        group.releases.sort_by(|one, other| (&one.modified, &one.path).cmp(&(&other.modified, &other.path)));
        let heads = self.read_each(&group.heads, rebuilt, |bytes| PackageDocument::read(bytes, name))?;
        let records = self.read_each(&group.releases, rebuilt, |bytes| ReleaseDocument::read(bytes, name))?;
        let recorded: BTreeSet<Digest> = records.values.iter().map(|record| record.release.digests.blake3).collect();
        let named = heads.values.into_iter().flat_map(|head| head.releases);
        let (below, mut releases) = (heads_path(name), Releases::default());
        let mut told = BTreeSet::new();
        for release in named.chain(records.values.into_iter().map(|record| record.release)) {
            let (digest, is_new) = (release.digests.blake3, !recorded.contains(&release.digests.blake3));
            let fault = present.lacks(&release).map_or_else(|| releases.add(release.clone()).err(), Some);
            match fault {
                Some(reason) if told.insert(reason.clone()) => rebuilt.fault(&below, reason),
                None if is_new && told.insert(digest.to_string()) => {
                    self.put_release(name, &release)?;
                    rebuilt.count(true);
                }
                Some(_) | None => {}
            }
        }
        let document = releases.into_document(name).map_err(|reason| self.client.wrong(&below, reason))?;
        if document.releases.is_empty() {
            heads.whole.iter().chain(&heads.damaged).try_for_each(|path| self.client.delete(path))?;
            return Ok(());
        }
        rebuilt.packages += 1;
        rebuilt.versions += document.releases.len() as u64;
        let is_written = self.replace(&below, &line_of(&document), &heads.whole, &heads.damaged)?;
        rebuilt.count(is_written);
        Ok(())
    }

    fn rebuild_feed(&self, publisher: &str, mut heads: Vec<Listed>, rebuilt: &mut Rebuilt) -> Result<(), RemoteError> {
        let Some(path) = feed_path(publisher) else {
            rebuilt.fault(&format!("{}{publisher}", layout::FEEDS_PATH), "it is no publisher's domain");
            return Ok(());
        };
        let below = format!("{path}/");
        newest_first(&mut heads);
        let feeds = self.read_each(&heads, rebuilt, |bytes| FeedDocument::read(bytes, publisher))?;
        match merge::feeds(feeds.values) {
            Ok(Some(feed)) => {
                let is_written = self.replace(&below, &line_of(&feed), &feeds.whole, &feeds.damaged)?;
                rebuilt.count(is_written);
                rebuilt.feeds += 1;
            }
            // Whoever has it puts it again, where nothing damaged is in its way.
            Ok(None) => feeds.damaged.iter().try_for_each(|path| self.client.delete(path))?,
            Err(reason) => rebuilt.fault(&below, reason),
        }
        Ok(())
    }

    /// Reads objects that are named by their digests; what is damaged is told and left out.
    fn read_each<T: Send>(
        &self,
        objects: &[Listed],
        rebuilt: &mut Rebuilt,
        read: impl Fn(&[u8]) -> Result<T, String> + Sync,
    ) -> Result<Read<T>, RemoteError> {
        let read = parallel::try_map(PARALLEL_MAX, objects, |object| {
            let path = &*object.path;
            let bytes = match self.client.get(path, DOCUMENT_BYTES_MAX, &|_| {}) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(None),
                Err(error @ RemoteError::TooLarge { .. }) => return Ok(Some(Err((path, error.to_string())))),
                Err(error) => return Err(error),
            };
            let checked = self.expect_named(path, &bytes).map_err(|error| error.to_string());
            Ok(Some(checked.and_then(|()| read(&bytes)).map(|value| (path, value)).map_err(|reason| (path, reason))))
        })?;
        let mut sorted = Read { values: Vec::new(), whole: Vec::new(), damaged: Vec::new() };
        for value in read.into_iter().flatten() {
            match value {
                Ok((path, value)) => {
                    sorted.values.push(value);
                    sorted.whole.push(path.to_owned());
                }
                Err((path, reason)) => {
                    rebuilt.fault(path, reason);
                    sorted.damaged.push(path.to_owned());
                }
            }
        }
        Ok(sorted)
    }
}
