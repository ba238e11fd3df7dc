//! `why` and `tree`: how the packages of a set hang together.

use std::collections::BTreeSet;

use semver::Version;

use super::audit::{Scope, parents, path_to};
use super::{Catalog, OpError, spec};
use crate::host::Host;
use crate::lockfile::{LockedPackage, Lockfile};
use crate::package::name::PackageName;

/// The most chains that are told; beyond it they are counted.
pub const CHAINS_MAX: usize = 20;
/// How deep a tree is drawn at most.
pub const DEPTH_MAX: usize = 128;

/// Why a package is there.
#[derive(Clone, Debug)]
pub struct Why {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// What was asked for by whoever installed it, if somebody did.
    pub asked_for: Option<String>,
    /// For each package that builds on it the shortest chain from something that was asked for, [`CHAINS_MAX`] at most.
    pub chains: Vec<Vec<Link>>,
    /// The packages that build on it, counted.
    pub dependents: usize,
}

/// One package of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The package.
    pub name: PackageName,
    /// The version that is there.
    pub version: Version,
    /// What the one before asks for, as written; what somebody asked for, for the first. None if it is not known any more.
    pub requirement: Option<String>,
}

/// Packages and what they build on.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Every package, whole.
    pub lockfile: Lockfile,
    /// Where to begin.
    pub roots: Vec<PackageName>,
}

impl Catalog {
    /// Says why a package is in a set.
    ///
    /// # Errors
    /// [`OpError::NotInstalled`] for one that is not in it; what keeps the set from being known.
    pub fn why(&self, word: &str, scope: &Scope, host: &dyn Host) -> Result<Why, OpError> {
        let (name, _) = spec::exact(word)?;
        let lockfile = self.lockfile_of(scope, host)?;
        let package = lockfile.get(&name).ok_or_else(|| self.not_installed(&name, &lockfile))?;
        let parents = parents(&lockfile);
        let dependents: Vec<&LockedPackage> =
            lockfile.packages().filter(|other| other.dependencies.contains(&name)).collect();
        let mut chains = Vec::new();
        for dependent in dependents.iter().take(CHAINS_MAX) {
            let mut path = path_to(&dependent.name, &parents);
            path.push(name.clone());
            chains.push(self.links(&lockfile, &path)?);
        }
        Ok(Why {
            asked_for: asked_for(&lockfile, &name),
            name,
            version: package.version.clone(),
            chains,
            dependents: dependents.len(),
        })
    }

    /// Gives packages with what they build on; everything of the set if none is named.
    ///
    /// # Errors
    /// [`OpError::NotInstalled`] for one that is not in the set; what keeps the set from being known.
    pub fn tree(&self, words: &[String], scope: &Scope, host: &dyn Host) -> Result<Tree, OpError> {
        let lockfile = self.lockfile_of(scope, host)?;
        let mut roots = Vec::with_capacity(words.len());
        for word in words {
            let (name, _) = spec::exact(word)?;
            if lockfile.get(&name).is_none() {
                return Err(self.not_installed(&name, &lockfile));
            }
            roots.push(name);
        }
        if words.is_empty() {
            roots.extend(lockfile.roots().iter().map(|root| root.name.clone()));
        }
        Ok(Tree { lockfile, roots })
    }

    fn links(&self, lockfile: &Lockfile, path: &[PackageName]) -> Result<Vec<Link>, OpError> {
        let mut links: Vec<Link> = Vec::with_capacity(path.len());
        for package in path.iter().filter_map(|name| lockfile.get(name)) {
            let requirement = match links.last() {
                None => asked_for(lockfile, &package.name),
                Some(before) => self.registry().get(&before.name, &before.version)?.and_then(|record| {
                    let mut dependencies = record.release.dependencies.into_iter();
                    dependencies.find(|wanted| wanted.name == package.name).map(|wanted| wanted.requirement_text)
                }),
            };
            links.push(Link { name: package.name.clone(), version: package.version.clone(), requirement });
        }
        Ok(links)
    }
}

fn asked_for(lockfile: &Lockfile, name: &PackageName) -> Option<String> {
    lockfile.roots().iter().find(|root| root.name == *name).map(|root| root.requirement_text.clone())
}

/// Draws packages as a tree, so deep at most and never deeper than [`DEPTH_MAX`]. What a package builds on is drawn once; `(*)` marks where it is left out.
pub fn draw(tree: &Tree, depth_max: usize) -> String {
    let mut drawing =
        Drawing { tree, depth_max: depth_max.min(DEPTH_MAX), text: String::new(), drawn: BTreeSet::new() };
    for root in &tree.roots {
        drawing.package(root, "", "", 0);
    }
    drawing.text
}

struct Drawing<'a> {
    tree: &'a Tree,
    depth_max: usize,
    text: String,
    /// Drawn already with what they build on.
    drawn: BTreeSet<&'a PackageName>,
}

impl<'a> Drawing<'a> {
    /// Each package unfolds once, so the drawing has a line for each dependency at most.
    fn package(&mut self, name: &'a PackageName, first: &str, rest: &str, depth: usize) {
        let Some(package) = self.tree.lockfile.get(name) else { return };
        let known = self.drawn.contains(name) && !package.dependencies.is_empty();
        let mark = if known { " (*)" } else { "" };
        self.text.push_str(&format!("{first}{name} {}{mark}\n", package.version));
        if known || depth >= self.depth_max {
            return;
        }
        self.drawn.insert(name);
        for (index, dependency) in package.dependencies.iter().enumerate() {
            let is_last = index + 1 == package.dependencies.len();
            let (branch, below) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
            self.package(dependency, &format!("{rest}{branch}"), &format!("{rest}{below}"), depth + 1);
        }
    }
}
