//! Resolution: from what somebody asks for to exact packages, or to why there are none.
//!
//! One version of each name is chosen by PubGrub (the `pubgrub` crate), which finds a choice if there is one. Locked
//! versions are preferred, so a change of one requirement changes as little as it can; otherwise the highest version is.
//! Yanked and too new versions are only taken where they are locked, pre-releases only where a requirement names one (the
//! rule of the `semver` crate). A feature switches on the optional dependency of its name and whatever it lists. A name
//! that begins with `__` is a virtual package: it stands for something of the node, such as `__gpu`, and is met by what
//! the node reports.
//!
//! A version may also name what it cannot stand beside: then none of these versions is chosen with it, whoever needs them.
//!
//! On a node there is one version of a name, whatever the type of the package: a program and all it builds on live in one
//! process, where a module of Lua or Julia has one name, and what is installed is found by its name. A [`Universe`] may
//! have several majors side by side, as its caller says.
//!
//! The resolver sees packages through [`Candidates`]; it reads no file, no clock and no network, and the same inputs give
//! the same answer. Only registries are resolved so far: a version with a dependency from elsewhere cannot be used, and
//! the error says so.

mod conflict;
#[cfg(test)]
pub(crate) mod fixture;
mod graph;
mod pool;
mod published;
mod solver;
mod source;
pub mod universe;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;

use semver::Version;
use time::OffsetDateTime;

pub use self::conflict::{Conflict, REPORT_LINES_MAX};
use self::graph::Stop;
use self::solver::Unsolved;
pub use self::universe::Universe;
use crate::digest::Digest;
use crate::lockfile::{Circle, LockedPackage, Lockfile, LockfileError, Requirement};
use crate::package::model::{Conflict as Exclusion, Dependency};
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

    /// Gives what one of these versions is made of. Most versions are only looked at to pass them over, so it is asked of
    /// few of them.
    ///
    /// # Errors
    /// Whatever keeps the source from answering; a version that it has not given before.
    fn details(&self, name: &PackageName, version: &Version) -> Result<Details, CandidatesError>;

    /// Gives every name, for suggestions after a failure.
    ///
    /// # Errors
    /// Whatever keeps the source from answering.
    fn names(&self) -> Result<Vec<PackageName>, CandidatesError>;
}

/// Why a source of packages could not answer.
pub type CandidatesError = Box<dyn Error + Send + Sync>;

/// One version of a package, as far as choosing among versions goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// Why it was yanked, if it was.
    pub yanked: Option<String>,
    /// When it was published, if that is known.
    pub published_at: Option<OffsetDateTime>,
}

/// What one version of a package is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The identity of its archive.
    pub digest: Digest,
    /// What it builds on.
    pub dependencies: Vec<Dependency>,
    /// What it cannot stand beside.
    pub conflicts: Vec<Exclusion>,
    /// Its features and what each switches on.
    pub features: BTreeMap<String, Vec<String>>,
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
    /// How far these may go.
    pub update: Update,
    /// Further versions to be kept where they fit, such as those of the other side of a merge.
    pub preferred: Vec<LockedPackage>,
    /// Which version is taken where several fit and none is locked.
    pub preference: Preference,
    /// Versions published later than this are only taken where they are locked.
    pub exclude_newer: Option<OffsetDateTime>,
    /// What the node has, by names of virtual packages; where nothing is known, nothing is asked.
    pub node: Option<BTreeMap<String, Version>>,
    /// The rounds after which to give up; [`ROUNDS_MAX`] unless there is a reason.
    pub rounds_max: u32,
}

/// How far unlocked packages may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// To any version that the requirements allow.
    Latest,
    /// To versions that are compatible with the locked one by the rules of semantic versions, and not lower.
    Safe,
}

/// Which version is taken where several fit and none is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The highest.
    Highest,
    /// The lowest, to find out whether lower bounds are true.
    Lowest,
    /// The lowest of what is asked for by name, the highest of what that needs.
    LowestDirect,
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

/// What the solver goes by, in names as texts.
#[derive(Clone)]
struct Rules<'a> {
    platform: &'a str,
    /// One version of each major instead of one version.
    majors: bool,
    /// A version may depend on itself.
    circles: bool,
    preference: Preference,
    exclude_newer: Option<OffsetDateTime>,
    locked: HashMap<String, Vec<Version>>,
    /// The locked versions that an update stays compatible with.
    compatible_with: HashMap<String, Version>,
    node: Option<&'a BTreeMap<String, Version>>,
    candidates_max: usize,
    rounds_max: u32,
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
    let packages = published::solve(candidates, roots, locked, options)?;
    // What is of the node is met anew on each node.
    let roots = roots.iter().filter(|root| !root.name.is_virtual()).cloned().collect();
    let lockfile = Lockfile::new(options.platform.clone(), roots, packages).map_err(from_lockfile)?;
    let order = lockfile.dependency_order().map_err(from_lockfile)?;
    let order = order.into_iter().map(|package| package.name.clone()).collect();
    Ok(Resolution { order, lockfile })
}

pub use self::published::requirements;

impl Options {
    /// Gives the options of an ordinary resolution: the highest versions, and everything that is locked is kept.
    pub fn new(platform: String, registry: Option<String>) -> Self {
        Self {
            platform,
            registry,
            unlock: BTreeSet::new(),
            update: Update::Latest,
            preferred: Vec::new(),
            preference: Preference::Highest,
            exclude_newer: None,
            node: None,
            rounds_max: ROUNDS_MAX,
        }
    }
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

impl ResolveError {
    fn of(unsolved: Unsolved, rounds: u32) -> Self {
        match unsolved {
            Unsolved::Conflict(conflict) => Self::Unsatisfiable(Box::new(conflict)),
            Unsolved::Stopped(Stop::Rounds | Stop::Again) => Self::Rounds { rounds },
            Unsolved::Stopped(Stop::Candidates(error)) => Self::Candidates(error),
        }
    }
}

fn from_lockfile(error: LockfileError) -> ResolveError {
    match error {
        LockfileError::Cycle { circle } => ResolveError::Cycle { circle },
        other => ResolveError::Lockfile(other),
    }
}

#[cfg(test)]
mod tests;
