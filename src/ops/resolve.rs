//! `resolve`: exact packages for what is wanted, without installing anything.

use std::path::Path;

use semver::{Version, VersionReq};

use super::spec::{self, Target};
use super::validate::Packed;
use super::{Catalog, OpError};
use crate::host::Host;
use crate::lockfile::{Lockfile, Requirement};
use crate::package::Package;
use crate::package::name::PackageName;
use crate::resolve::{self, Resolution};

/// The name of a lockfile beside a manifest.
pub const LOCKFILE_NAME: &str = "catalog.lock";

impl Catalog {
    /// Resolves packages by name, or the dependencies of a package in a directory, whose lockfile is honoured.
    ///
    /// # Errors
    /// [`OpError::Resolve`] explains what cannot be met.
    pub fn resolve(&self, words: &[String], host: &dyn Host) -> Result<Resolution, OpError> {
        let mut roots = Vec::new();
        let mut locked = None;
        for word in words {
            match spec::target(word)? {
                Target::Named(requirement) => roots.push(requirement),
                Target::Directory(directory) => {
                    let packed = self.pack(&directory)?;
                    roots.extend(self.requirements_of(&packed.package, host)?);
                    locked = read_lockfile(packed.directory())?;
                }
            }
        }
        self.resolve_roots(&roots, locked.as_ref(), host)
    }

    /// Resolves the dependencies of a package in a directory, whose lockfile is honoured.
    pub(super) fn resolve_packed(&self, packed: &Packed, host: &dyn Host) -> Result<Resolution, OpError> {
        let roots = self.requirements_of(&packed.package, host)?;
        self.resolve_roots(&roots, read_lockfile(packed.directory())?.as_ref(), host)
    }

    /// Resolves requirements, keeping locked versions where they still fit.
    pub(super) fn resolve_roots(
        &self,
        roots: &[Requirement],
        locked: Option<&Lockfile>,
        host: &dyn Host,
    ) -> Result<Resolution, OpError> {
        let options = self.options(&host.platform());
        let registry = self.registry();
        Ok(resolve::resolve(&*registry, roots, locked, &options)?)
    }

    fn requirements_of(&self, package: &Package, host: &dyn Host) -> Result<Vec<Requirement>, OpError> {
        Ok(resolve::requirements(&package.dependencies, &self.options(&host.platform()))?)
    }
}

/// Writes a lockfile beside a manifest, whole or not at all.
///
/// # Errors
/// [`OpError::File`].
pub fn write_lockfile(directory: &Path, lockfile: &Lockfile) -> Result<(), OpError> {
    let path = directory.join(LOCKFILE_NAME);
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        std::io::Write::write_all(&mut file, lockfile.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| OpError::File { path: path.clone(), source })
}

/// Gives the requirement that only one version meets.
pub(super) fn exactly(name: &PackageName, version: &Version) -> Requirement {
    let comparator = semver::Comparator {
        op: semver::Op::Exact,
        major: version.major,
        minor: Some(version.minor),
        patch: Some(version.patch),
        pre: version.pre.clone(),
    };
    Requirement {
        name: name.clone(),
        requirement: VersionReq { comparators: vec![comparator] },
        requirement_text: format!("={version}"),
        features: Vec::new(),
    }
}

fn read_lockfile(directory: &Path) -> Result<Option<Lockfile>, OpError> {
    let path = directory.join(LOCKFILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Lockfile::parse(&text)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpError::File { path, source }),
    }
}
