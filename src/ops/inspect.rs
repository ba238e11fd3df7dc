//! `info` and `list`: what is published and what is installed.

use semver::Version;

use super::validate::read_manifest;
use super::{Catalog, OpError, spec};
use crate::host::Host;
use crate::lockfile::Lockfile;
use crate::package::Package;
use crate::package::name::PackageName;
use crate::registry::{Count, Opinion, Record, Statistics};

/// Everything known of one release.
#[derive(Clone, Debug)]
pub struct Details {
    /// The release and its statistics.
    pub record: Record,
    /// The package as published.
    pub package: Package,
    /// All versions, the highest first.
    pub versions: Vec<Version>,
    /// The version that is installed, if one is.
    pub installed: Option<Version>,
    /// The package in figures.
    pub statistics: Statistics,
    /// What was said of it last, [`OPINIONS_SHOWN`] at most.
    pub opinions: Vec<Opinion>,
    /// Who published the release, if somebody signed it.
    pub publisher: Option<String>,
}

/// How many opinions are shown of a package.
pub const OPINIONS_SHOWN: u32 = 5;

impl Catalog {
    /// Tells everything of a release: `name`, `name@version`, or the id of the host's asset that stands for it.
    ///
    /// # Errors
    /// [`OpError::NotPublished`] or [`OpError::NoVersion`].
    pub fn info(&self, word: &str, host: &dyn Host) -> Result<Details, OpError> {
        let installed = self.installed(&host.platform())?;
        if let Ok((name, _)) = spec::exact(word) {
            self.pull_name(&name, host)?;
        }
        let registry = self.registry();
        let record = match registry.by_asset_id(word)?.into_iter().next() {
            Some(record) => record,
            None => {
                let (name, version) = spec::exact(word)?;
                let latest = registry.latest(&name)?;
                match version {
                    None => latest.ok_or_else(|| self.unknown_in(&registry, &name, host))?,
                    Some(version) => registry.get(&name, &version)?.ok_or_else(|| match latest {
                        None => self.unknown_in(&registry, &name, host),
                        Some(latest) => OpError::NoVersion { name, version, latest: Some(latest.release.version) },
                    })?,
                }
            }
        };
        let (name, version) = (&record.release.name, &record.release.version);
        let manifest = registry.manifest(name, version)?.unwrap_or_default();
        let package = read_manifest(&manifest)?;
        let mut versions: Vec<Version> =
            registry.versions(name)?.into_iter().map(|record| record.release.version).collect();
        versions.sort_by(|a, b| b.cmp(a));
        let installed = installed.get(name).map(|package| package.version.clone());
        let (statistics, statement) = (registry.statistics(name)?, registry.statement(name, version)?);
        let publisher = statement.map(|statement| statement.pin.publisher);
        let opinions = registry.opinions(name, OPINIONS_SHOWN)?;
        Ok(Details { package, versions, installed, statistics, opinions, publisher, record })
    }

    /// Lists what is published.
    ///
    /// # Errors
    /// The registry.
    pub fn published(&self) -> Result<Vec<Record>, OpError> {
        Ok(self.registry().list()?)
    }

    /// Counts what is published.
    ///
    /// # Errors
    /// The registry.
    pub fn count(&self) -> Result<Count, OpError> {
        Ok(self.registry().count()?)
    }

    /// Gives what is installed, as the lockfile of the current generation with its number; 0 for none.
    ///
    /// # Errors
    /// The store.
    pub fn list(&self, platform: &str) -> Result<(u64, Lockfile), OpError> {
        match self.store.current()? {
            Some(generation) => Ok((generation.number, generation.lockfile)),
            None => Ok((0, self.installed(platform)?)),
        }
    }

    /// Gives the number of the current generation; none before the first. Reads one line.
    ///
    /// # Errors
    /// The store.
    pub fn current_generation(&self) -> Result<Option<u64>, OpError> {
        Ok(self.store.current_number()?)
    }
}

impl Catalog {
    /// Makes the error for a package that is not installed: with a name that was probably meant, or how to get it.
    pub(super) fn not_installed(&self, name: &PackageName, installed: &Lockfile) -> OpError {
        let published = self.registry().latest(name).is_ok_and(|latest| latest.is_some());
        let near = if published { None } else { nearest(name, installed.packages().map(|package| &package.name)) };
        OpError::NotInstalled { name: name.clone(), published, nearest: near }
    }
}

/// Makes the error for an unknown package, with the nearest name.
pub(super) fn not_published(name: &PackageName, names: &[PackageName]) -> OpError {
    OpError::NotPublished { name: name.clone(), nearest: nearest(name, names.iter()) }
}

fn nearest<'a>(name: &PackageName, names: impl Iterator<Item = &'a PackageName>) -> Option<PackageName> {
    const NEAR: f64 = 0.75;
    let near = |other: &PackageName| strsim::jaro_winkler(name.as_str(), other.as_str());
    names.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|other| near(other) > NEAR).cloned()
}
