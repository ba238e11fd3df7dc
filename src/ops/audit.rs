//! `audit`: every package of a set against every advisory, and why the package is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::spec::Target;
use super::{Catalog, OpError, spec};
use crate::advisory::{Finding, Status};
use crate::host::{Host, Progress};
use crate::lockfile::{LOCKFILE_BYTES_MAX, LockedPackage, Lockfile};
use crate::package::name::PackageName;

/// What to look at.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Everything that is installed.
    Installed,
    /// Packages by name, as they are installed or would be, or in a directory; with what they need.
    Packages(Vec<String>),
    /// The packages of a lockfile.
    Lockfile(PathBuf),
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Audited {
    /// The packages that were looked at.
    pub packages: usize,
    /// The advisories they were held against.
    pub status: Status,
    /// What was found, by package, the worst of each first.
    pub weaknesses: Vec<Weakness>,
    /// Ids that were to be ignored and were not found.
    pub unused: Vec<String>,
}

/// One finding about one package.
#[derive(Clone, Debug)]
pub struct Weakness {
    /// The package.
    pub package: LockedPackage,
    /// What is known against it.
    pub finding: Finding,
    /// Why it is there: from what was asked for down to it.
    pub path: Vec<PackageName>,
    /// Why somebody ignores it, if so.
    pub ignored: Option<String>,
}

impl Catalog {
    /// Holds packages against the advisories. Advisories to ignore are given by any of their names, with a reason.
    ///
    /// # Errors
    /// A package that is not published, a lockfile that is none, the database; a finding is no error.
    pub fn audit(
        &self,
        scope: &Scope,
        ignored: &BTreeMap<String, String>,
        host: &dyn Host,
    ) -> Result<Audited, OpError> {
        let lockfile = self.lockfile_of(scope, host)?;
        let status = self.advisories_status()?;
        let parents = parents(&lockfile);
        let total = lockfile.packages().len();
        let (mut weaknesses, mut used) = (Vec::new(), BTreeSet::new());
        for (done, package) in lockfile.packages().enumerate() {
            host.progress(Progress { stage: "audit", subject: package.name.to_string(), done, total });
            for finding in self.advisories_affecting(&package.name, &package.version)? {
                let reason = ignored.iter().find(|(id, _)| finding.is_called(id));
                used.extend(ignored.keys().filter(|id| finding.is_called(id)));
                let path = path_to(&package.name, &parents);
                let ignored = reason.map(|(_, reason)| reason.clone());
                weaknesses.push(Weakness { package: package.clone(), finding, path, ignored });
            }
        }
        let unused = ignored.keys().filter(|id| !used.contains(id)).cloned().collect();
        Ok(Audited { packages: total, status, weaknesses, unused })
    }

    /// Gives the packages of a scope.
    pub(super) fn lockfile_of(&self, scope: &Scope, host: &dyn Host) -> Result<Lockfile, OpError> {
        let words = match scope {
            Scope::Installed => return self.installed(&host.platform()),
            Scope::Lockfile(path) => return read_lockfile(path),
            Scope::Packages(words) => words,
        };
        let installed = self.installed(&host.platform())?;
        let mut roots = Vec::new();
        for word in words {
            match spec::target(word)? {
                Target::Named(wanted) if is_installed(&installed, &wanted) => roots.push(wanted),
                _ => return Ok(self.resolve(words, host)?.into_lockfile()),
            }
        }
        let mut needed: BTreeMap<&PackageName, &LockedPackage> = BTreeMap::new();
        let mut open: Vec<&PackageName> = roots.iter().map(|root| &root.name).collect();
        while let Some(package) = open.pop().and_then(|name| installed.get(name)) {
            if needed.insert(&package.name, package).is_none() {
                open.extend(&package.dependencies);
            }
        }
        let packages = needed.into_values().cloned().collect();
        Ok(Lockfile::new(installed.platform().to_owned(), roots, packages)?)
    }
}

fn is_installed(installed: &Lockfile, wanted: &crate::lockfile::Requirement) -> bool {
    installed.get(&wanted.name).is_some_and(|package| wanted.requirement.matches(&package.version))
}

fn read_lockfile(path: &Path) -> Result<Lockfile, OpError> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(LOCKFILE_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    read.map_err(|source| OpError::File { path: path.to_owned(), source })?;
    Lockfile::parse(&text).map_err(|source| OpError::GivenLockfile { path: path.to_owned(), source })
}

/// Gives each package the one that it is there for, by the shortest way from what was asked for.
pub(super) fn parents(lockfile: &Lockfile) -> BTreeMap<&PackageName, Option<&PackageName>> {
    let mut parents: BTreeMap<&PackageName, Option<&PackageName>> = BTreeMap::new();
    let mut open: VecDeque<&PackageName> = lockfile.roots().iter().map(|root| &root.name).collect();
    parents.extend(open.iter().map(|root| (*root, None)));
    while let Some(name) = open.pop_front() {
        for dependency in lockfile.get(name).into_iter().flat_map(|package| &package.dependencies) {
            if !parents.contains_key(dependency) {
                parents.insert(dependency, Some(name));
                open.push_back(dependency);
            }
        }
    }
    parents
}

pub(super) fn path_to(name: &PackageName, parents: &BTreeMap<&PackageName, Option<&PackageName>>) -> Vec<PackageName> {
    let mut path = vec![name.clone()];
    let mut current = name;
    while let Some(Some(parent)) = parents.get(current) {
        path.push((*parent).clone());
        current = parent;
    }
    path.reverse();
    path
}
