//! `update`: newer versions of what is installed, as far as somebody wants to go.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::cache::Hold;
use super::install::{Installation, Target};
use super::outdated::compatible_with;
use super::publish::Mode;
use super::{Catalog, OpError, spec};
use crate::host::Host;
use crate::lockfile::{Lockfile, Requirement};
use crate::package::name::PackageName;
use crate::resolve::{self, Options, Update};
use crate::trust::policy::Confirmed;

/// How far an update goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// To versions that are compatible with the installed ones by the rules of semantic versioning.
    Safe,
    /// To the newest versions that fit together, whatever was asked for when they were installed.
    Latest,
}

impl Catalog {
    /// Updates installed packages, or all of them if none is named. What is not named stays as it is where that is possible.
    ///
    /// # Errors
    /// [`OpError::NotInstalled`], requirements that cannot be met together, an archive that is not the one published, a
    /// version that the policy refuses. Nothing has changed then.
    pub fn update(
        &self,
        words: &[String],
        strategy: Strategy,
        mode: Mode,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Installation, OpError> {
        let hold = self.hold();
        let mut warnings = self.prefetch_update(words, strategy, &hold, host)?;
        let _turn = self.writing();
        let before = self.installed(&host.platform())?;
        let (names, after) = self.updated(words, strategy, &before, host)?;
        let named = names.into_iter().collect();
        let mut installation = self.reach(&Target { before: &before, after: &after, named }, mode, confirmed, host)?;
        warnings.append(&mut installation.warnings);
        Ok(Installation { warnings, ..installation })
    }

    /// Makes known and ready what an update needs of a remote registry; what cannot be chosen is told by who chooses again.
    fn prefetch_update(
        &self,
        words: &[String],
        strategy: Strategy,
        hold: &Hold<'_>,
        host: &dyn Host,
    ) -> Result<Vec<String>, OpError> {
        if self.upstreams.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.installed(&host.platform())?;
        let names = self.to_update(words, &before)?;
        let open: Vec<Requirement> = match strategy {
            Strategy::Safe => before.roots().to_vec(),
            Strategy::Latest => before.roots().iter().map(|root| opened(root, &names, &before)).collect(),
        };
        let warnings = self.pull(&open, host)?;
        if let Ok((_, after)) = self.updated(words, strategy, &before, host) {
            self.download(&after.packages().collect::<Vec<_>>(), hold, host)?;
        }
        Ok(warnings)
    }

    /// Chooses what is to be installed instead of what is.
    fn updated(
        &self,
        words: &[String],
        strategy: Strategy,
        before: &Lockfile,
        host: &dyn Host,
    ) -> Result<(BTreeSet<PackageName>, Lockfile), OpError> {
        let names = self.to_update(words, before)?;
        let choose = |roots: &[Requirement], locked: &Lockfile, options: &Options| {
            self.with_candidates(|candidates| resolve::resolve(candidates, roots, Some(locked), options))
        };
        let mut options = self.options_for(None, host);
        options.unlock = names.clone();
        let after = match strategy {
            Strategy::Safe => {
                options.update = Update::Safe;
                choose(before.roots(), before, &options)?.into_lockfile()
            }
            Strategy::Latest => {
                let open: Vec<Requirement> = before.roots().iter().map(|root| opened(root, &names, before)).collect();
                let newest = choose(&open, before, &options)?;
                // Whoever asked for `^1` and now has 2 asks for `^2` from here on; other requirements stay as written.
                let roots: Vec<Requirement> =
                    before.roots().iter().map(|root| followed(root, newest.lockfile())).collect();
                options.unlock = BTreeSet::new();
                choose(&roots, newest.lockfile(), &options)?.into_lockfile()
            }
        };
        Ok((names, after))
    }

    fn to_update(&self, words: &[String], installed: &Lockfile) -> Result<BTreeSet<PackageName>, OpError> {
        if words.is_empty() {
            return Ok(installed.packages().map(|package| package.name.clone()).collect());
        }
        let installed_name = |word: &String| {
            let (name, _) = spec::exact(word)?;
            installed.get(&name).map(|_| name.clone()).ok_or_else(|| self.not_installed(&name, installed))
        };
        words.iter().map(installed_name).collect()
    }
}

/// A requirement that takes every version from the installed one on, if it is about a package that is to be updated.
fn opened(root: &Requirement, names: &BTreeSet<PackageName>, before: &Lockfile) -> Requirement {
    let Some(installed) = before.get(&root.name).filter(|_| names.contains(&root.name)) else { return root.clone() };
    let mut requirement = compatible_with(&installed.version);
    requirement.comparators.iter_mut().for_each(|comparator| comparator.op = semver::Op::GreaterEq);
    Requirement { requirement_text: requirement.to_string(), requirement, ..root.clone() }
}

/// The requirement as it was, or the one that the chosen version calls for.
fn followed(root: &Requirement, chosen: &Lockfile) -> Requirement {
    match chosen.get(&root.name) {
        Some(package) if !root.requirement.matches(&package.version) => {
            let requirement = compatible_with(&package.version);
            Requirement { requirement_text: requirement.to_string(), requirement, ..root.clone() }
        }
        _ => root.clone(),
    }
}
