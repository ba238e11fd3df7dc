//! The graph as PubGrub sees it.
//!
//! Versions are ranks in the ascending list of a package's versions, so a requirement is exactly the set of ranks that
//! `semver` says it matches. A feature is a package of its own that needs its package at the same rank.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;

use pubgrub::{Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError, Ranges};
use semver::VersionReq;

use super::conflict::{dismantle, explain};
use super::{CANDIDATES_MAX, Candidate, Candidates, CandidatesError, Options, ResolveError};
use super::{foreign_source, on_platform, source_of};
use crate::lockfile::{LockedPackage, Lockfile, Requirement};
use crate::package::model::Dependency;
use crate::package::name::PackageName;

pub(super) type Ranks = Ranges<u32>;

/// What PubGrub chooses a version for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The requirements together, at rank 0.
    Root,
    /// A package.
    Package(PackageName),
    /// A feature of a package.
    Feature(PackageName, String),
}

/// Every version of one package, in ascending order.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) versions: Vec<Candidate>,
    /// The rank that is locked.
    locked: Option<u32>,
}

/// The graph; asks for a package once, when PubGrub first meets it.
pub(super) struct Graph<'a> {
    candidates: &'a dyn Candidates,
    pub(super) roots: &'a [Requirement],
    locked: Option<&'a Lockfile>,
    pub(super) options: &'a Options,
    pools: RefCell<HashMap<PackageName, Rc<Pool>>>,
    /// The rank last chosen for each package: its features are best tried there.
    chosen: RefCell<HashMap<PackageName, u32>>,
    rounds: Cell<u32>,
}

/// Why PubGrub was stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("too many rounds")]
    Rounds,
    #[error("cannot look up packages")]
    Candidates(#[source] CandidatesError),
}

/// Chooses a version for each package, in order of name; the packages may still form a circle.
pub(super) fn solve(
    candidates: &dyn Candidates,
    roots: &[Requirement],
    locked: Option<&Lockfile>,
    options: &Options,
) -> Result<Vec<LockedPackage>, ResolveError> {
    let graph = Graph {
        candidates,
        roots,
        locked,
        options,
        pools: RefCell::default(),
        chosen: RefCell::default(),
        rounds: Cell::new(0),
    };
    let stopped = |stop| match stop {
        Stop::Rounds => ResolveError::Rounds { rounds: options.rounds_max },
        Stop::Candidates(error) => ResolveError::Candidates(error),
    };
    match pubgrub::resolve(&graph, Node::Root, 0_u32) {
        Ok(selected) => graph.packages(selected).map_err(stopped),
        Err(PubGrubError::NoSolution(tree)) => {
            let conflict = explain(&graph, &tree);
            dismantle(tree);
            Err(ResolveError::Unsatisfiable(Box::new(conflict.map_err(stopped)?)))
        }
        Err(
            PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorInShouldCancel(source),
        ) => Err(stopped(source)),
    }
}

impl Graph<'_> {
    pub(super) fn pool(&self, name: &PackageName) -> Result<Rc<Pool>, Stop> {
        if let Some(pool) = self.pools.borrow().get(name) {
            return Ok(pool.clone());
        }
        let mut versions = self.candidates.candidates(name).map_err(Stop::Candidates)?;
        versions.sort_unstable_by(|a, b| a.version.cmp(&b.version));
        let locked = self.locked.filter(|_| !self.options.unlock.contains(name)).and_then(|lock| lock.get(name));
        let mut left_out = versions.len().saturating_sub(CANDIDATES_MAX);
        versions.retain(|candidate| {
            let keep = left_out == 0 || locked.is_some_and(|package| package.version == candidate.version);
            left_out = left_out.saturating_sub(1);
            keep
        });
        let locked = locked.and_then(|package| versions.iter().position(|other| other.version == package.version));
        let pool = Rc::new(Pool { versions, locked: locked.and_then(|rank| u32::try_from(rank).ok()) });
        self.pools.borrow_mut().insert(name.clone(), pool.clone());
        Ok(pool)
    }

    pub(super) fn names(&self) -> Result<Vec<PackageName>, Stop> {
        self.candidates.names().map_err(Stop::Candidates)
    }

    /// The dependencies that a node has at a rank on this platform.
    pub(super) fn dependencies_of<'p>(
        &'p self,
        node: &'p Node,
        candidate: &'p Candidate,
    ) -> impl Iterator<Item = &'p Dependency> {
        let of_node = move |dependency: &Dependency| match node {
            Node::Root => false,
            Node::Package(_) => !dependency.optional,
            Node::Feature(_, feature) => dependency.optional && dependency.name.as_str() == feature,
        };
        candidate
            .dependencies
            .iter()
            .filter(move |dependency| of_node(dependency) && on_platform(dependency, self.options))
    }

    fn root_dependencies(&self) -> Result<Vec<(Node, Ranks)>, Stop> {
        let mut constraints = Vec::new();
        for Requirement { name, requirement, features, .. } in self.roots {
            self.constrain(&mut constraints, name, requirement, features)?;
        }
        Ok(constraints)
    }

    fn constrain(
        &self,
        constraints: &mut Vec<(Node, Ranks)>,
        name: &PackageName,
        requirement: &VersionReq,
        features: &[String],
    ) -> Result<(), Stop> {
        let ranks = self.pool(name)?.matching(requirement);
        for feature in features {
            constraints.push((Node::Feature(name.clone(), feature.clone()), ranks.clone()));
        }
        constraints.push((Node::Package(name.clone()), ranks));
        Ok(())
    }

    /// What a node needs at a rank, or why it cannot be used.
    fn needs(&self, node: &Node, name: &PackageName, rank: u32) -> Result<Result<Vec<(Node, Ranks)>, String>, Stop> {
        let pool = self.pool(name)?;
        let candidate = &pool.versions[rank as usize];
        let mut constraints = Vec::new();
        if let Node::Feature(_, feature) = node {
            let listed = candidate.features.get(feature);
            let switched = candidate.dependencies.iter().any(|dep| dep.optional && dep.name.as_str() == feature);
            if listed.is_none() && !switched {
                return Ok(Err(format!("has no feature `{feature}`")));
            }
            constraints.push((Node::Package(name.clone()), Ranks::singleton(rank)));
            for other in listed.into_iter().flatten().filter(|other| *other != feature) {
                constraints.push((Node::Feature(name.clone(), other.clone()), Ranks::singleton(rank)));
            }
        }
        for dependency in self.dependencies_of(node, candidate) {
            if let Some(from) = foreign_source(dependency, self.options) {
                let unusable = format!("cannot be used: its dependency `{}` comes from {from}", dependency.name);
                return Ok(Err(unusable));
            }
            if dependency.name == *name {
                return Ok(Err(format!("cannot be used: it depends on itself, {name} -> {name}")));
            }
            self.constrain(&mut constraints, &dependency.name, &dependency.requirement, &dependency.features)?;
        }
        Ok(Ok(constraints))
    }

    fn packages(&self, selected: impl IntoIterator<Item = (Node, u32)>) -> Result<Vec<LockedPackage>, Stop> {
        let mut ranks = BTreeMap::new();
        let mut nodes: BTreeMap<PackageName, Vec<Node>> = BTreeMap::new();
        for (node, rank) in selected {
            let (Node::Package(name) | Node::Feature(name, _)) = &node else { continue };
            ranks.insert(name.clone(), rank);
            nodes.entry(name.clone()).or_default().push(node);
        }
        let mut packages = Vec::with_capacity(ranks.len());
        for (name, nodes) in nodes {
            let pool = self.pool(&name)?;
            let candidate = &pool.versions[ranks[&name] as usize];
            let dependencies: BTreeSet<_> = nodes
                .iter()
                .flat_map(|node| self.dependencies_of(node, candidate))
                .map(|dep| dep.name.clone())
                .collect();
            let features = nodes.iter().filter_map(|node| match node {
                Node::Feature(_, feature) => Some(feature.clone()),
                _ => None,
            });
            packages.push(LockedPackage {
                version: candidate.version.clone(),
                digest: candidate.digest,
                source: source_of(self.options),
                features: features.collect(),
                dependencies: dependencies.into_iter().collect(),
                name,
            });
        }
        Ok(packages)
    }
}

impl Pool {
    /// The ranks of the versions that a requirement matches, yanked or not.
    pub(super) fn matching(&self, requirement: &VersionReq) -> Ranks {
        let mut ranks = Ranks::empty();
        let mut start = None;
        for (rank, candidate) in (0_u32..).zip(&self.versions) {
            match (requirement.matches(&candidate.version), start) {
                (true, None) => start = Some(rank),
                (false, Some(first)) => {
                    ranks = ranks.union(&Ranks::between(first, rank));
                    start = None;
                }
                _ => {}
            }
        }
        match start {
            Some(first) => ranks.union(&Ranks::between(first, self.len())),
            None => ranks,
        }
    }

    /// The ranks that may be chosen, ascending.
    pub(super) fn usable<'p>(&'p self, ranks: &'p Ranks) -> impl DoubleEndedIterator<Item = u32> + 'p {
        (0..self.len()).filter(|rank| {
            let yanked = self.versions[*rank as usize].yanked.is_some();
            (!yanked || self.locked == Some(*rank)) && ranks.contains(rank)
        })
    }

    fn choose(&self, ranks: &Ranks) -> Option<u32> {
        self.locked.filter(|rank| ranks.contains(rank)).or_else(|| self.usable(ranks).next_back())
    }

    fn len(&self) -> u32 {
        u32::try_from(self.versions.len()).expect("a pool holds at most CANDIDATES_MAX versions and one")
    }
}

impl DependencyProvider for Graph<'_> {
    type P = Node;
    type V = u32;
    type VS = Ranks;
    type M = String;
    type Err = Stop;
    /// Most conflicts first, then fewest versions, then packages before their features.
    type Priority = (u32, Reverse<usize>, Reverse<bool>);

    fn prioritize(&self, node: &Node, ranks: &Ranks, statistics: &PackageResolutionStatistics) -> Self::Priority {
        let (name, is_feature) = match node {
            Node::Root => return (u32::MAX, Reverse(0), Reverse(false)),
            Node::Package(name) => (name, false),
            Node::Feature(name, _) => (name, true),
        };
        // A failing source fails again, and is reported, when a version is chosen.
        let count = self.pool(name).map_or(0, |pool| pool.usable(ranks).count());
        let conflicts = if count == 0 { u32::MAX } else { statistics.conflict_count() };
        (conflicts, Reverse(count), Reverse(is_feature))
    }

    fn choose_version(&self, node: &Node, ranks: &Ranks) -> Result<Option<u32>, Stop> {
        match node {
            Node::Root => Ok(Some(0)),
            Node::Package(name) => {
                let rank = self.pool(name)?.choose(ranks);
                if let Some(rank) = rank {
                    self.chosen.borrow_mut().insert(name.clone(), rank);
                }
                Ok(rank)
            }
            Node::Feature(name, _) => {
                let chosen = self.chosen.borrow().get(name).copied().filter(|rank| ranks.contains(rank));
                Ok(chosen.or(self.pool(name)?.choose(ranks)))
            }
        }
    }

    fn get_dependencies(&self, node: &Node, rank: &u32) -> Result<Dependencies<Node, Ranks, String>, Stop> {
        let needs = match node {
            Node::Root => Ok(self.root_dependencies()?),
            Node::Package(name) | Node::Feature(name, _) => self.needs(node, name, *rank)?,
        };
        Ok(match needs {
            Ok(constraints) => Dependencies::Available(constraints.into_iter().collect()),
            Err(reason) => Dependencies::Unavailable(reason),
        })
    }

    fn should_cancel(&self) -> Result<(), Stop> {
        self.rounds.set(self.rounds.get() + 1);
        if self.rounds.get() > self.options.rounds_max { Err(Stop::Rounds) } else { Ok(()) }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the requirements"),
            Self::Package(name) => write!(f, "{name}"),
            Self::Feature(name, feature) => write!(f, "{name}[{feature}]"),
        }
    }
}
