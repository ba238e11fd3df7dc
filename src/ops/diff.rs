//! `diff`: what changes from one version of a package to another: files, dependencies, and what it may do.

use std::collections::BTreeMap;

use semver::Version;

use super::spec::{self, Target};
use super::validate::read_manifest;
use super::{Catalog, OpError};
use crate::archive::{Archive, Entry};
use crate::host::Host;
use crate::package::Package;
use crate::package::capability::{self, Change};
use crate::package::name::PackageName;
use crate::trust::Intact;

/// What changes from one package to another.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The package that is compared from.
    pub before: (PackageName, Version),
    /// The package that is compared to.
    pub after: (PackageName, Version),
    /// The files that differ, in order of path.
    pub files: Vec<FileChange>,
    /// The dependencies that differ, in order of name.
    pub dependencies: Vec<DependencyChange>,
    /// What the later one may do that the earlier one may not, and the other way round.
    pub capabilities: Vec<Change>,
    /// The licences, if they differ.
    pub licences: Option<(Option<String>, Option<String>)>,
}

/// A file that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// Its size in bytes before; none if it was not there.
    pub before: Option<u64>,
    /// Its size in bytes after; none if it is gone.
    pub after: Option<u64>,
}

/// A dependency that is not the same in both, as written; none where there is none of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyChange {
    /// The package depended on.
    pub name: PackageName,
    /// What was asked for.
    pub before: Option<String>,
    /// What is asked for.
    pub after: Option<String>,
}

/// One side of a comparison.
struct Side {
    package: Package,
    files: BTreeMap<String, (bool, Vec<u8>)>,
}

impl Catalog {
    /// Compares two packages, each `name@version`, `name` (the latest), or a directory. With one word its installed version
    /// is compared to the latest; a directory is then compared from the latest that is published of its name.
    ///
    /// # Errors
    /// A package that is not published, or not installed where that is asked; an archive that is not the one published.
    pub fn diff(&self, from: &str, to: Option<&str>, host: &dyn Host) -> Result<Difference, OpError> {
        let (before, after) = match to {
            Some(to) => (self.side(from, None, host)?, self.side(to, None, host)?),
            None => match spec::target(from)? {
                Target::Directory(directory) => {
                    let after = self.side(&directory.display().to_string(), None, host)?;
                    (self.side(after.package.name.as_str(), None, host)?, after)
                }
                Target::Named(wanted) => {
                    let installed = self.installed(&host.platform())?;
                    let here = installed.get(&wanted.name);
                    let here = here.ok_or_else(|| self.not_installed(&wanted.name, &installed))?.version.clone();
                    (self.side(wanted.name.as_str(), Some(&here), host)?, self.side(from, None, host)?)
                }
            },
        };
        Ok(compare(&before, &after))
    }

    fn side(&self, word: &str, version: Option<&Version>, host: &dyn Host) -> Result<Side, OpError> {
        if let Target::Directory(directory) = spec::target(word)? {
            let packed = self.pack(&directory)?;
            return Ok(Side::of(packed.package, &packed.archive));
        }
        let archive = self.released(word, version, host)?;
        Ok(Side::of(read_manifest(archive.manifest())?, &archive))
    }

    /// Gives the archive of a published release, `name@version` or `name` for the latest, in a version that goes before the
    /// word's.
    pub(super) fn released(
        &self,
        word: &str,
        version: Option<&Version>,
        host: &dyn Host,
    ) -> Result<Intact<Archive>, OpError> {
        let (name, named) = spec::exact(word)?;
        self.pull_name(&name, host)?;
        let registry = self.registry();
        let record = match version.or(named.as_ref()) {
            None => registry.latest(&name)?,
            Some(version) => registry.get(&name, version)?,
        };
        let Some(record) = record else {
            let latest = registry.latest(&name)?.map(|record| record.release.version);
            return Err(match (named, latest) {
                (Some(version), Some(latest)) => OpError::NoVersion { name, version, latest: Some(latest) },
                _ => self.unknown_in(&registry, &name, host),
            });
        };
        drop(registry);
        self.archive_of(record.release, host)
    }
}

impl Side {
    fn of(package: Package, archive: &Archive) -> Self {
        let file = |entry: Entry<'_>| (entry.path.to_owned(), (entry.executable, entry.bytes.to_vec()));
        Self { package, files: archive.entries().map(file).collect() }
    }
}

fn compare(before: &Side, after: &Side) -> Difference {
    let licences = (before.package.about.license.clone(), after.package.about.license.clone());
    Difference {
        before: (before.package.name.clone(), before.package.version.clone()),
        after: (after.package.name.clone(), after.package.version.clone()),
        files: files(before, after),
        dependencies: dependencies(&before.package, &after.package),
        capabilities: capability::changes(&before.package, &after.package),
        licences: (licences.0 != licences.1).then_some(licences),
    }
}

fn files(before: &Side, after: &Side) -> Vec<FileChange> {
    let size = |file: Option<&(bool, Vec<u8>)>| file.map(|(_, bytes)| bytes.len() as u64);
    changed(&before.files, &after.files)
        .map(|(path, before, after)| FileChange { path: path.clone(), before: size(before), after: size(after) })
        .collect()
}

pub(super) fn dependencies(before: &Package, after: &Package) -> Vec<DependencyChange> {
    let written = |package: &Package| -> BTreeMap<PackageName, String> {
        let mut all: BTreeMap<PackageName, String> = BTreeMap::new();
        for dependency in &package.dependencies {
            let mut text = dependency.requirement_text.clone();
            if !dependency.features.is_empty() {
                text.push_str(&format!(" with {}", dependency.features.join(", ")));
            }
            if let Some(platform) = &dependency.platform {
                text.push_str(&format!(" on {platform}"));
            }
            if dependency.optional {
                text.push_str(", optional");
            }
            all.entry(dependency.name.clone())
                .and_modify(|known| known.push_str(&format!("; {text}")))
                .or_insert_with(|| text.clone());
        }
        all
    };
    changed(&written(before), &written(after))
        .map(|(name, before, after)| DependencyChange {
            name: name.clone(),
            before: before.cloned(),
            after: after.cloned(),
        })
        .collect()
}

/// Gives the keys whose values differ, in order, with both values.
pub(super) fn changed<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: std::collections::BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter().map(|key| (key, before.get(key), after.get(key))).filter(|(_, before, after)| before != after)
}
