//! The graph as PubGrub asks for it: what to decide next, which version to take, and what that needs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pubgrub::{Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError};
use semver::Version;

use super::conflict::{self, Conflict, dismantle, explain};
use super::graph::{Graph, Name, Node, Stop, Unusable, WideNeed};
use super::pool::{Pool, Ranks};
use super::source::{Need, Source};
use super::{Preference, Rules};

/// A package that was chosen.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) name: Arc<str>,
    pub(super) version: Version,
    pub(super) features: Vec<String>,
    /// The names of what it needs, sorted.
    pub(super) dependencies: Vec<String>,
}

/// Why there is no choice.
pub(super) enum Unsolved {
    Conflict(Conflict),
    Stopped(Stop),
}

/// Chooses versions, in order of name; the packages may still form a circle.
pub(super) fn solve(source: &dyn Source, roots: &[Need], rules: &Rules<'_>) -> Result<Vec<Chosen>, Unsolved> {
    let graph = Graph::new(source, roots, rules);
    match graph.choose_all() {
        Ok(selected) => graph.packages(selected).map_err(Unsolved::Stopped),
        Err(PubGrubError::NoSolution(tree)) => {
            let conflict = explain(&graph, &tree);
            dismantle(tree);
            let mut conflict = conflict.map_err(Unsolved::Stopped)?;
            if conflict.hints().is_empty() {
                conflict.hint(conflict::nearest_fix(source, roots, rules));
            }
            Err(Unsolved::Conflict(conflict))
        }
        Err(
            PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorInShouldCancel(source),
        ) => Err(Unsolved::Stopped(source)),
    }
}

/// Tells only whether there is a choice, and which.
pub(super) fn attempt(source: &dyn Source, roots: &[Need], rules: &Rules<'_>) -> Option<Vec<Chosen>> {
    let graph = Graph::new(source, roots, rules);
    match graph.choose_all() {
        Ok(selected) => graph.packages(selected).ok(),
        Err(PubGrubError::NoSolution(tree)) => {
            dismantle(tree);
            None
        }
        Err(_) => None,
    }
}

type Selected = Vec<(Node, u32)>;

impl<'a> Graph<'a> {
    /// Chooses a version for every node, from the beginning whenever a package turned out to be excluded.
    fn choose_all(&self) -> Result<Selected, PubGrubError<Self>> {
        loop {
            self.chosen.borrow_mut().clear();
            match pubgrub::resolve(self, Node::Root, 0_u32) {
                Err(PubGrubError::ErrorRetrievingDependencies { source: Stop::Again, .. }) => {}
                chosen => return chosen.map(|selected| selected.into_iter().collect()),
            }
        }
    }
}

impl Graph<'_> {
    fn packages(&self, selected: impl IntoIterator<Item = (Node, u32)>) -> Result<Vec<Chosen>, Stop> {
        let mut nodes: BTreeMap<(Arc<str>, u32), Vec<Node>> = BTreeMap::new();
        for (node, rank) in selected {
            let (Node::Package(name, _) | Node::Feature(name, ..)) = node else { continue };
            let text = self.text(name);
            if !self.is_virtual(&text) {
                nodes.entry((text, rank)).or_default().push(node);
            }
        }
        let mut packages = Vec::with_capacity(nodes.len());
        for ((text, rank), nodes) in nodes {
            let name = self.number(&text);
            let pool = self.pool(name)?;
            let needs = self.needs(name, &pool, rank)?;
            let active = nodes.iter().flat_map(|node| self.active(*node, &needs));
            let dependencies: BTreeSet<String> =
                active.map(|(need, _)| need.name.clone()).filter(|name| !self.is_virtual(name)).collect();
            let mut features: Vec<String> = nodes
                .iter()
                .filter_map(|node| match node {
                    Node::Feature(_, _, feature) => Some(self.text(*feature).to_string()),
                    _ => None,
                })
                .collect();
            features.sort_unstable();
            packages.push(Chosen {
                version: pool.version(rank).clone(),
                features,
                dependencies: dependencies.into_iter().collect(),
                name: text,
            });
        }
        Ok(packages)
    }

    fn choose(&self, name: Name, pool: &Pool, ranks: &Ranks) -> Option<u32> {
        let lowest = match self.rules.preference {
            Preference::Highest => false,
            Preference::Lowest => true,
            Preference::LowestDirect => self.direct.contains(&name),
        };
        let free = || if lowest { pool.usable(ranks).next() } else { pool.highest(ranks) };
        pool.locked_in(ranks).or_else(free)
    }

    fn choose_bucket(&self, wide: &WideNeed, buckets: &Ranks) -> Result<Option<u32>, Stop> {
        let pool = self.pool(wide.name)?;
        let parts: Vec<_> = wide.parts.iter().filter(|(bucket, _)| buckets.contains(bucket)).collect();
        let all = parts.iter().fold(Ranks::empty(), |all, (_, part)| all.union(part));
        Ok(self.choose(wide.name, &pool, &all).map(|rank| pool.bucket_of(rank)))
    }
}

impl DependencyProvider for Graph<'_> {
    type P = Node;
    type V = u32;
    type VS = Ranks;
    type M = Unusable;
    type Err = Stop;
    /// Most conflicts first, then fewest versions, then packages before their features.
    type Priority = (u32, Reverse<u32>, Reverse<bool>);

    fn prioritize(&self, node: &Node, ranks: &Ranks, statistics: &PackageResolutionStatistics) -> Self::Priority {
        let (name, is_feature) = match node {
            Node::Root => return (u32::MAX, Reverse(0), Reverse(false)),
            Node::Package(name, _) => (*name, false),
            Node::Feature(name, ..) => (*name, true),
            // Last, when every package that is there has said so.
            Node::Presence(_) => return (0, Reverse(u32::MAX), Reverse(true)),
            Node::Wide(index) => {
                let parts = self.wide(*index).parts.iter().filter(|(bucket, _)| ranks.contains(bucket)).count();
                // Nothing is known of which of its versions it needs, so packages that are known come first.
                return (statistics.conflict_count(), Reverse(u32::try_from(parts).unwrap_or(u32::MAX)), Reverse(true));
            }
        };
        // A failing source fails again, and is reported, when a version is chosen.
        let count = self.pool(name).map_or(0, |pool| pool.count_usable(ranks));
        let conflicts = if count == 0 { u32::MAX } else { statistics.conflict_count() };
        (conflicts, Reverse(count), Reverse(is_feature))
    }

    fn choose_version(&self, node: &Node, ranks: &Ranks) -> Result<Option<u32>, Stop> {
        match node {
            Node::Root => Ok(Some(0)),
            Node::Wide(index) => self.choose_bucket(&self.wide(*index), ranks),
            Node::Presence(name) => {
                let absent = u32::try_from(self.pool(*name)?.versions.len()).expect("there are fewer versions");
                Ok((0..=absent).rev().find(|rank| ranks.contains(rank)))
            }
            Node::Package(name, bucket) => {
                let rank = self.choose(*name, &*self.pool(*name)?, ranks);
                if let Some(rank) = rank {
                    self.chosen.borrow_mut().insert((*name, *bucket), rank);
                }
                Ok(rank)
            }
            Node::Feature(name, bucket, _) => {
                let chosen = self.chosen.borrow().get(&(*name, *bucket)).copied().filter(|rank| ranks.contains(rank));
                Ok(chosen.or(self.choose(*name, &*self.pool(*name)?, ranks)))
            }
        }
    }

    fn get_dependencies(&self, node: &Node, rank: &u32) -> Result<Dependencies<Node, Ranks, Unusable>, Stop> {
        Ok(match self.needed(*node, *rank)? {
            Ok(constraints) => Dependencies::Available(constraints.into_iter().collect()),
            Err(unusable) => Dependencies::Unavailable(unusable),
        })
    }

    fn should_cancel(&self) -> Result<(), Stop> {
        self.rounds.set(self.rounds.get() + 1);
        if self.rounds.get() > self.rules.rounds_max { Err(Stop::Rounds) } else { Ok(()) }
    }
}
