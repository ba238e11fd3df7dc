//! Resolution: from what somebody asks for to exact packages, or to why there are none.
//!
//! One version of each name is chosen by PubGrub (the `pubgrub` crate), which finds a choice if there is one. Locked
//! versions are preferred, so a change of one requirement changes as little as it can; otherwise the highest version is.
//! Yanked versions are only taken where they are locked, pre-releases only where a requirement names one (the rule of
//! the `semver` crate). A feature switches on the optional dependency of its name and whatever it lists.
//!
//! The resolver sees packages through [`Candidates`]; it reads no file, no clock and no network, and the same inputs give
//! the same answer. Only registries are resolved so far: a version with a dependency from elsewhere cannot be used, and
//! the error says so.

mod conflict;
#[cfg(test)]
pub(crate) mod fixture;
mod solver;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use semver::Version;

pub use self::conflict::{Conflict, REPORT_LINES_MAX};
use crate::digest::Digest;
use crate::lockfile::{Circle, LockedPackage, LockedSource, Lockfile, LockfileError, Requirement};
use crate::package::model::{Dependency, Source};
use crate::package::name::PackageName;

/// The rounds after which resolution gives up; graphs of a thousand packages take some thousands.
pub const ROUNDS_MAX: u32 = 200_000;
/// The most versions of one package that are looked at: the highest, and the locked one. A conflict about all of them takes
/// time that grows with their square.
pub const CANDIDATES_MAX: usize = 1_000;

/// Where the resolver finds packages.
pub trait Candidates {
    /// Gives every version of a package in any order, none for a name that is not known.
    ///
    /// # Errors
    /// Whatever keeps the source from answering.
    fn candidates(&self, name: &PackageName) -> Result<Vec<Candidate>, CandidatesError>;

    /// Gives every name, for suggestions after a failure.
    ///
    /// # Errors
    /// Whatever keeps the source from answering.
    fn names(&self) -> Result<Vec<PackageName>, CandidatesError>;
}

/// Why a source of packages could not answer.
pub type CandidatesError = Box<dyn Error + Send + Sync>;

/// One version of a package as the resolver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// The identity of its archive.
    pub digest: Digest,
    /// What it builds on.
    pub dependencies: Vec<Dependency>,
    /// Its features and what each switches on.
    pub features: BTreeMap<String, Vec<String>>,
    /// Why it was yanked, if it was.
    pub yanked: Option<String>,
}

/// How to resolve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The platform to resolve for, such as `linux-x86_64`.
    pub platform: String,
    /// The name of the registry that the candidates come from, if it has one.
    pub registry: Option<String>,
    /// Locked packages that may change nevertheless.
    pub unlock: BTreeSet<PackageName>,
    /// The rounds after which to give up; [`ROUNDS_MAX`] unless there is a reason.
    pub rounds_max: u32,
}

/// Exact packages that meet every requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    order: Vec<PackageName>,
    lockfile: Lockfile,
}

/// Why there is no resolution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No choice of versions meets every requirement.
    #[error("{0}")]
    Unsatisfiable(Box<Conflict>),
    /// The chosen packages build on each other in a circle.
    #[error("packages depend on each other in a circle: {circle}", circle = Circle(circle))]
    Cycle {
        /// The circle; the first is not repeated at the end.
        circle: Vec<PackageName>,
    },
    /// A dependency from where nothing is resolved.
    #[error("dependency `{name}` comes from {from}, and only dependencies from the registry are resolved")]
    Source {
        /// The dependency.
        name: PackageName,
        /// Where it comes from.
        from: String,
    },
    /// A locked version has another content now, which a registry must never allow.
    #[error("package `{name}` {version} is locked with digest `{locked}`, but the registry has `{found}`")]
    Changed {
        /// The package.
        name: PackageName,
        /// Its version.
        version: Version,
        /// The digest in the lockfile, in text.
        locked: String,
        /// The digest in the registry, in text.
        found: String,
    },
    /// The graph is too hard.
    #[error("no resolution found in {rounds} rounds; narrower requirements help")]
    Rounds {
        /// The bound.
        rounds: u32,
    },
    /// The packages found make no lockfile.
    #[error("resolution is too large or not whole")]
    Lockfile(#[source] LockfileError),
    /// The source of packages failed.
    #[error("cannot look up packages")]
    Candidates(#[source] CandidatesError),
}

/// Resolves requirements for one platform.
///
/// # Errors
/// [`ResolveError::Unsatisfiable`] explains a conflict; the others are as their documentation says.
pub fn resolve(
    candidates: &dyn Candidates,
    roots: &[Requirement],
    locked: Option<&Lockfile>,
    options: &Options,
) -> Result<Resolution, ResolveError> {
    let packages = solver::solve(candidates, roots, locked, options)?;
    for package in &packages {
        check_unchanged(package, locked)?;
    }
    let lockfile = Lockfile::new(options.platform.clone(), roots.to_vec(), packages).map_err(from_lockfile)?;
    let order = lockfile.dependency_order().map_err(from_lockfile)?;
    let order = order.into_iter().map(|package| package.name.clone()).collect();
    Ok(Resolution { order, lockfile })
}

/// Gives what a package's own dependencies ask for on a platform, without the optional ones.
///
/// # Errors
/// [`ResolveError::Source`] for a dependency that comes from elsewhere than the registry.
pub fn requirements(dependencies: &[Dependency], options: &Options) -> Result<Vec<Requirement>, ResolveError> {
    let wanted = dependencies.iter().filter(|dependency| !dependency.optional && on_platform(dependency, options));
    wanted
        .map(|dependency| {
            if let Some(from) = foreign_source(dependency, options) {
                return Err(ResolveError::Source { name: dependency.name.clone(), from });
            }
            Ok(Requirement {
                name: dependency.name.clone(),
                requirement: dependency.requirement.clone(),
                requirement_text: dependency.requirement_text.clone(),
                features: dependency.features.clone(),
            })
        })
        .collect()
}

impl Resolution {
    /// Gives the packages with every dependency before its dependents.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.order.iter().filter_map(|name| self.lockfile.get(name))
    }

    /// Gives the packages as a lockfile.
    pub fn lockfile(&self) -> &Lockfile {
        &self.lockfile
    }

    /// Becomes the lockfile.
    pub fn into_lockfile(self) -> Lockfile {
        self.lockfile
    }
}

/// Whether a dependency is needed: `linux` stands for every `linux-…`.
fn on_platform(dependency: &Dependency, options: &Options) -> bool {
    dependency.platform.as_ref().is_none_or(|platform| {
        options.platform.strip_prefix(platform.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Where a dependency comes from, in words, if that is not the registry at hand.
fn foreign_source(dependency: &Dependency, options: &Options) -> Option<String> {
    match &dependency.source {
        Source::Registry { registry: None } => None,
        Source::Registry { registry } if *registry == options.registry => None,
        Source::Registry { registry: Some(registry) } => Some(format!("the registry `{registry}`")),
        Source::Git { url, .. } => Some(format!("the git repository `{url}`")),
        Source::Local { path } => Some(format!("the local directory `{path}`")),
        Source::Http { url, .. } => Some(format!("the web address `{url}`")),
    }
}

fn check_unchanged(package: &LockedPackage, locked: Option<&Lockfile>) -> Result<(), ResolveError> {
    match locked.and_then(|lockfile| lockfile.get(&package.name)) {
        Some(locked) if locked.version == package.version && locked.digest != package.digest => {
            Err(ResolveError::Changed {
                name: package.name.clone(),
                version: package.version.clone(),
                locked: locked.digest.to_string(),
                found: package.digest.to_string(),
            })
        }
        _ => Ok(()),
    }
}

fn from_lockfile(error: LockfileError) -> ResolveError {
    match error {
        LockfileError::Cycle { circle } => ResolveError::Cycle { circle },
        other => ResolveError::Lockfile(other),
    }
}

fn source_of(options: &Options) -> LockedSource {
    LockedSource::Registry { registry: options.registry.clone() }
}

#[cfg(test)]
mod tests;
