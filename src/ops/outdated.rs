//! `list --outdated`: which installed packages have newer versions, and which of those fit what was asked for.

use semver::{Comparator, Op, Version, VersionReq};

use super::{Catalog, OpError};
use crate::package::name::PackageName;
use crate::resolve::{Candidate, Candidates, ResolveError};

/// An installed package with newer versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The package.
    pub name: PackageName,
    /// The version that is installed.
    pub installed: Version,
    /// Why that version was yanked, if it was.
    pub yanked: Option<String>,
    /// The highest version that is compatible with it by the rules of semantic versioning, if it is another.
    pub compatible: Option<Version>,
    /// The highest version of all, if it is another.
    pub latest: Option<Version>,
}

impl Catalog {
    /// Lists installed packages that have a newer version or whose version was yanked, in order of name.
    ///
    /// # Errors
    /// The store, the registry.
    pub fn outdated(&self, platform: &str) -> Result<Vec<Outdated>, OpError> {
        let installed = self.installed(platform)?;
        let registry = self.registry();
        let mut outdated = Vec::new();
        for package in installed.packages() {
            let found = Outdated::of(
                &package.name,
                &package.version,
                &registry.candidates(&package.name).map_err(ResolveError::Candidates)?,
            );
            outdated.extend(found);
        }
        Ok(outdated)
    }
}

impl Outdated {
    fn of(name: &PackageName, installed: &Version, all: &[Candidate]) -> Option<Self> {
        let yanked = all.iter().find(|candidate| candidate.version == *installed);
        let yanked = yanked.and_then(|candidate| candidate.yanked.clone());
        let is_choice = |candidate: &&Candidate| {
            let version = &candidate.version;
            candidate.yanked.is_none() && version > installed && (version.pre.is_empty() || !installed.pre.is_empty())
        };
        let newer: Vec<&Version> = all.iter().filter(is_choice).map(|candidate| &candidate.version).collect();
        let compatible = compatible_with(installed);
        let highest = |fits: &dyn Fn(&Version) -> bool| newer.iter().copied().filter(|v| fits(v)).max().cloned();
        let compatible = highest(&|version| compatible.matches(version));
        let latest = highest(&|_| true);
        (yanked.is_some() || latest.is_some()).then(|| Self {
            name: name.clone(),
            installed: installed.clone(),
            yanked,
            compatible,
            latest,
        })
    }
}

/// Gives the requirement `^version`.
pub(super) fn compatible_with(version: &Version) -> VersionReq {
    let comparator = Comparator {
        op: Op::Caret,
        major: version.major,
        minor: Some(version.minor),
        patch: Some(version.patch),
        pre: version.pre.clone(),
    };
    VersionReq { comparators: vec![comparator] }
}
