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
use crate::registry::{Publication, Release};
use crate::trust::{self, Expected, Verified};

/// An exported state; a format of its own, with a version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exported {
    version: u32,
    packages: Vec<ExportedPackage>,
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
}

const FORMAT_VERSION: u32 = 1;

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
            });
        }
        let installed = self.store.current()?.map(|generation| generation.lockfile.to_string());
        let exported = Exported { version: FORMAT_VERSION, packages, installed };
        serde_json::to_value(exported).map_err(|error| OpError::State { reason: error.to_string() })
    }

    /// Imports a state into this node: what is not published yet is, then the installed packages are installed.
    ///
    /// # Errors
    /// A state of another version, or one that is not whole. Nothing is published then.
    pub fn import(&self, state: serde_json::Value, host: &dyn Host) -> Result<Installation, OpError> {
        let fault = |reason: String| OpError::State { reason };
        let exported: Exported = serde_json::from_value(state).map_err(|error| fault(error.to_string()))?;
        if exported.version != FORMAT_VERSION {
            return Err(fault(format!("it has version {}, expected {FORMAT_VERSION}", exported.version)));
        }
        let installed = exported.installed.as_deref().map(Lockfile::parse).transpose()?;
        let turn = self.writing();
        let mut releases = BTreeMap::new();
        let mut archives = Vec::new();
        for package in &exported.packages {
            let (release, archive) = Self::checked(package)?;
            if self.registry().get(&release.name, &release.version)?.is_none() {
                archives.push(archive);
                releases.insert((release.name.clone(), release.version.clone()), (release, package));
            }
        }
        let mut writer = self.store.writer()?;
        let mut manifests = BTreeMap::new();
        for archive in &archives {
            writer.keep(archive)?;
            manifests.insert((archive.name().clone(), archive.version().clone()), archive.manifest().to_vec());
        }
        drop(writer);
        let publications: Vec<Publication<'_>> =
            releases.iter().map(|(key, (release, _))| Publication { release, manifest: &manifests[key] }).collect();
        let mut registry = self.registry();
        registry.publish(&publications)?;
        for (release, package) in releases.values() {
            let (name, version) = (&release.name, &release.version);
            registry.set_asset_id(name, version, &asset_id(release.kind, release.digests.blake3))?;
            registry.set_yanked(name, version, package.yanked.as_deref())?;
            registry.add_downloads(name, version, u32::try_from(package.downloads).unwrap_or(u32::MAX))?;
        }
        drop(registry);
        *self.index() = None;
        drop(turn);
        let words: Vec<String> = installed
            .iter()
            .flat_map(Lockfile::roots)
            .map(|root| format!("{}@{}", root.name, root.requirement_text))
            .collect();
        self.install(&words, Mode::Commit, host)
    }

    fn checked(package: &ExportedPackage) -> Result<(Release, Verified<Archive>), OpError> {
        let fault = |reason: String| OpError::State { reason };
        let bytes = BASE64.decode(package.archive.as_bytes()).map_err(|error| fault(error.to_string()))?;
        let expected = Expected {
            name: package.name.parse().map_err(|error| fault(format!("{error}")))?,
            version: package.version.parse().map_err(|error| fault(format!("`{}`: {error}", package.version)))?,
            digest: package.digest,
            blob: None,
            sha256: None,
            sha512: None,
        };
        let archive = trust::verify_archive(bytes, &expected)?;
        let model = read_manifest(archive.manifest())?;
        let rfc3339 = &time::format_description::well_known::Rfc3339;
        let published_at = time::OffsetDateTime::parse(&package.published_at, rfc3339);
        let published_at = published_at.map_err(|error| fault(format!("`{}`: {error}", package.published_at)))?;
        Ok((Release::new(&model, &archive, published_at)?, archive))
    }
}
