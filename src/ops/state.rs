//! Export and import of everything a node knows: packages with their archives, statistics, and what is installed.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::install::Installation;
use super::publish::{Mode, asset_id};
use super::validate::read_manifest;
use super::{Catalog, OpError};
use crate::archive::Archive;
use crate::digest::Digest;
use crate::host::Host;
use crate::lockfile::Lockfile;
use crate::package::Package;
use crate::registry::{Publication, Release, StoredStatement, Voucher};
use crate::trust::policy::{Confirmed, Pin, Use};
use crate::trust::vouch::{FeedCopy, Statement};
use crate::trust::{self, Expected, Intact};

/// An exported state; a format of its own, with a version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exported {
    version: u32,
    packages: Vec<ExportedPackage>,
    /// Publishers' feeds, by their domains.
    feeds: BTreeMap<String, ExportedFeed>,
    /// The lockfile of what is installed, in its own format.
    installed: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedPackage {
    name: String,
    version: String,
    digest: Digest,
    /// RFC 3339.
    published_at: String,
    yanked: Option<String>,
    downloads: u64,
    /// The compressed archive in base64.
    archive: String,
    /// What its publisher signed.
    statement: Option<ExportedStatement>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedStatement {
    publisher: String,
    keys: String,
    /// JSON.
    envelope: String,
    /// PEM.
    chain: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedFeed {
    /// JSON.
    head: String,
    /// JSON each.
    entries: Vec<String>,
}

/// A package of a state, whole and with what was signed about it.
struct Imported<'a> {
    exported: &'a ExportedPackage,
    package: Package,
    release: Release,
    archive: Intact<Archive>,
    statement: Option<StoredStatement>,
}

/// Version 1 had no signatures.
const FORMAT_VERSION: u32 = 2;

impl Catalog {
    /// Exports the state as JSON.
    ///
    /// # Errors
    /// The registry or the store.
    pub fn export(&self) -> Result<serde_json::Value, OpError> {
        let mut packages = Vec::new();
        for record in self.published()? {
            let release = record.release;
            let digest = release.digests.blake3;
            let archive = self.store.compressed(digest)?.ok_or_else(|| OpError::ArchiveMissing {
                name: release.name.clone(),
                version: release.version.clone(),
            })?;
            packages.push(ExportedPackage {
                name: release.name.to_string(),
                version: release.version.to_string(),
                digest,
                published_at: super::publish::published_at(release.published_at),
                yanked: record.yanked,
                downloads: record.downloads,
                archive: BASE64.encode(&archive),
                statement: self.registry().statement(&release.name, &release.version)?.map(ExportedStatement::of),
            });
        }
        let feeds = self.export_feeds()?;
        let installed = self.store.current()?.map(|generation| generation.lockfile.to_string());
        let exported = Exported { version: FORMAT_VERSION, packages, feeds, installed };
        serde_json::to_value(exported).map_err(|error| OpError::State { reason: error.to_string() })
    }

    /// Imports a state into this node: what is not published yet is, as far as the policy accepts it, then the installed
    /// packages are installed.
    ///
    /// # Errors
    /// A state of another version, one that is not whole, or a package that the policy refuses. Nothing is published then.
    pub fn import(&self, state: serde_json::Value, host: &dyn Host) -> Result<Installation, OpError> {
        let fault = |reason: String| OpError::State { reason };
        let exported: Exported = serde_json::from_value(state).map_err(|error| fault(error.to_string()))?;
        if exported.version != FORMAT_VERSION {
            return Err(fault(format!("it has version {}, expected {FORMAT_VERSION}", exported.version)));
        }
        let installed = exported.installed.as_deref().map(Lockfile::parse).transpose()?;
        let turn = self.writing();
        self.import_packages(&exported, host)?;
        drop(turn);
        let words: Vec<String> = installed
            .iter()
            .flat_map(Lockfile::roots)
            .map(|root| format!("{}@{}", root.name, root.requirement_text))
            .collect();
        self.install(&words, Mode::Commit, Confirmed::No, host)
    }

    fn import_packages(&self, exported: &Exported, host: &dyn Host) -> Result<(), OpError> {
        let feeds = self.newer_feeds(&exported.feeds)?;
        let mut judge = self.judge(Use::Publish, host)?;
        for (publisher, feed) in &feeds {
            judge.with_feed(publisher, feed);
        }
        let (mut imported, mut accepted) = (Vec::new(), Vec::new());
        for package in &exported.packages {
            let new = Imported::of(package)?;
            if self.registry().get(&new.release.name, &new.release.version)?.is_none() {
                judge.with_feed_of(new.statement.as_ref())?;
                let decision = judge.decide(&new.package, &new.archive, new.statement.as_ref())?;
                accepted.push(decision.require(Confirmed::No)?);
                imported.push(new);
            }
        }
        judge.note()?;
        let mut writer = self.store.writer()?;
        imported.iter().try_for_each(|package| writer.keep(&package.archive))?;
        drop(writer);
        let publications: Vec<Publication<'_>> = imported.iter().map(Imported::publication).collect();
        let mut registry = self.registry();
        registry.publish(&publications, &feeds)?;
        for Imported { exported, release, .. } in &imported {
            let (name, version) = (&release.name, &release.version);
            registry.set_asset_id(name, version, &asset_id(release.kind, release.digests.blake3))?;
            registry.set_yanked(name, version, exported.yanked.as_deref())?;
            registry.add_downloads(name, version, u32::try_from(exported.downloads).unwrap_or(u32::MAX))?;
        }
        drop(registry);
        Ok(())
    }

    fn export_feeds(&self) -> Result<BTreeMap<String, ExportedFeed>, OpError> {
        let registry = self.registry();
        let mut feeds = BTreeMap::new();
        for publisher in registry.publishers()? {
            if let Some(FeedCopy { head, entries }) = registry.feed(&publisher)? {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let entries = entries.into_iter().map(text).collect();
                feeds.insert(publisher, ExportedFeed { head: text(head), entries });
            }
        }
        Ok(feeds)
    }

    /// Gives the feeds that go further than the ones that are here.
    fn newer_feeds(&self, exported: &BTreeMap<String, ExportedFeed>) -> Result<BTreeMap<String, FeedCopy>, OpError> {
        let mut newer = BTreeMap::new();
        for (publisher, feed) in exported {
            let known = self.registry().feed(publisher)?.map_or(0, |known| known.entries.len());
            if feed.entries.len() > known {
                let entries = feed.entries.iter().map(|entry| entry.clone().into_bytes()).collect();
                newer.insert(publisher.clone(), FeedCopy { head: feed.head.clone().into_bytes(), entries });
            }
        }
        Ok(newer)
    }
}

impl<'a> Imported<'a> {
    fn of(exported: &'a ExportedPackage) -> Result<Self, OpError> {
        let fault = |reason: String| OpError::State { reason };
        let bytes = BASE64.decode(exported.archive.as_bytes()).map_err(|error| fault(error.to_string()))?;
        let expected = Expected {
            name: exported.name.parse().map_err(|error| fault(format!("{error}")))?,
            version: exported.version.parse().map_err(|error| fault(format!("`{}`: {error}", exported.version)))?,
            digest: exported.digest,
            blob: None,
            sha256: None,
            sha512: None,
        };
        let archive = trust::check_archive(bytes, &expected)?;
        let package = read_manifest(archive.manifest())?;
        let rfc3339 = &time::format_description::well_known::Rfc3339;
        let published_at = time::OffsetDateTime::parse(&exported.published_at, rfc3339);
        let published_at = published_at.map_err(|error| fault(format!("`{}`: {error}", exported.published_at)))?;
        let release = Release::new(&package, &archive, published_at)?;
        let statement = exported.statement.as_ref().map(ExportedStatement::read);
        Ok(Self { exported, package, release, archive, statement })
    }

    fn publication(&self) -> Publication<'_> {
        let voucher = self.statement.as_ref().map(|StoredStatement { statement, pin }| Voucher { statement, pin });
        Publication { release: &self.release, manifest: self.archive.manifest(), voucher }
    }
}

impl ExportedStatement {
    fn of(stored: StoredStatement) -> Self {
        let StoredStatement { statement, pin } = stored;
        Self {
            publisher: pin.publisher,
            keys: pin.keys,
            envelope: String::from_utf8_lossy(&statement.envelope).into_owned(),
            chain: statement.chain,
        }
    }

    fn read(&self) -> StoredStatement {
        StoredStatement {
            statement: Statement { envelope: self.envelope.clone().into_bytes(), chain: self.chain.clone() },
            pin: Pin { publisher: self.publisher.clone(), keys: self.keys.clone() },
        }
    }
}
