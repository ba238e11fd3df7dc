//! Why no choice of versions meets every requirement, in sentences that people can check one by one.
//!
//! PubGrub proves a conflict by a tree of derivations. Its leaves are facts about packages, and they alone already
//! contradict each other; the steps between them are case distinctions that few people want to read. So the report gives
//! the facts, beginning with what was asked for and following the dependencies, then what they contradict each other
//! about, then what might help.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use pubgrub::{DerivationTree, External};
use semver::{Comparator, Prerelease, Version, VersionReq};

use super::solver::{Graph, Node, Pool, Ranks, Stop};
use crate::package::name::PackageName;

/// The most lines of a report.
pub const REPORT_LINES_MAX: usize = 30;
const CONCLUSIONS_MAX: usize = 4;
const HINTS_MAX: usize = 4;
/// The most requirements on one package that are compared with each other.
const COMPARED_MAX: usize = 100;
const VERSIONS_SHOWN_MAX: usize = 3;
/// How alike (Jaro-Winkler, 0 to 1) a name must be to be suggested.
const LIKENESS_MIN: f64 = 0.85;

/// A conflict, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    facts: Vec<String>,
    conclusions: Vec<String>,
    hints: Vec<String>,
    needs: BTreeMap<Need, BTreeSet<u32>>,
}

impl Conflict {
    /// Gives the facts that contradict each other, each a sentence, from the requirements onwards.
    pub fn facts(&self) -> &[String] {
        &self.facts
    }

    /// Gives what the facts contradict each other about.
    pub fn conclusions(&self) -> &[String] {
        &self.conclusions
    }

    /// Gives what might help.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Whether a dependency of a version is among the facts.
    #[cfg(test)]
    pub(super) fn names(&self, by: Option<&PackageName>, rank: u32, on: &PackageName, text: &str) -> bool {
        self.needs.iter().any(|(need, ranks)| {
            need.by.name() == by && need.on == *on && need.text == text && (by.is_none() || ranks.contains(&rank))
        })
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no choice of versions meets every requirement")?;
        let room = REPORT_LINES_MAX - 1 - self.conclusions.len() - self.hints.len();
        let shown = if self.facts.len() <= room { room } else { room - 1 };
        for fact in self.facts.iter().take(shown) {
            write!(f, "\n- {fact}")?;
        }
        if self.facts.len() > shown {
            write!(f, "\n- and {} facts more", self.facts.len() - shown)?;
        }
        for conclusion in &self.conclusions {
            write!(f, "\nso {conclusion}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// That something needs a package; which of its versions do is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    by: By,
    on: PackageName,
    text: String,
    feature: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Root,
    Package(PackageName),
    Feature(PackageName, String),
}

impl By {
    fn name(&self) -> Option<&PackageName> {
        match self {
            Self::Root => None,
            Self::Package(name) | Self::Feature(name, _) => Some(name),
        }
    }
}

type Tree = DerivationTree<Node, Ranks, String>;

pub(super) fn explain(graph: &Graph<'_>, tree: &Tree) -> Result<Conflict, Stop> {
    let mut facts = Facts { graph, needs: BTreeMap::new(), unusable: BTreeMap::new(), requirements: BTreeMap::new() };
    facts.collect(tree)?;
    facts.drop_repeated();
    let (conclusions, hints) = facts.conclude()?;
    Ok(Conflict { facts: facts.sentences()?, conclusions, hints, needs: facts.needs })
}

/// Drops a tree part by part: a proof may be deeper than the stack on which it would drop itself.
pub(super) fn dismantle(tree: Tree) {
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        if let DerivationTree::Derived(derived) = tree {
            open.extend([derived.cause1, derived.cause2].into_iter().filter_map(Arc::into_inner));
        }
    }
}

struct Facts<'g, 'a> {
    graph: &'g Graph<'a>,
    needs: BTreeMap<Need, BTreeSet<u32>>,
    /// Versions that cannot be used, by package and reason.
    unusable: BTreeMap<(PackageName, String), BTreeSet<u32>>,
    /// Every requirement on a package, by its text.
    requirements: BTreeMap<PackageName, BTreeMap<String, VersionReq>>,
}

impl Facts<'_, '_> {
    /// Walks the leaves, each shared part once and without recursion: both bound the work on a deep tree.
    fn collect(&mut self, tree: &Tree) -> Result<(), Stop> {
        let mut seen = HashSet::new();
        let mut open = vec![tree];
        while let Some(tree) = open.pop() {
            match tree {
                DerivationTree::External(external) => self.take(external)?,
                DerivationTree::Derived(derived) => {
                    for cause in [&derived.cause1, &derived.cause2] {
                        if seen.insert(Arc::as_ptr(cause)) {
                            open.push(cause);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, external: &External<Node, Ranks, String>) -> Result<(), Stop> {
        match external {
            External::FromDependencyOf(Node::Root, _, on, ranks) => self.take_root(on, ranks),
            External::FromDependencyOf(by, by_ranks, on, ranks) => self.take_dependency(by, by_ranks, on, ranks),
            External::Custom(Node::Package(name) | Node::Feature(name, _), ranks, reason) => {
                let pool = self.graph.pool(name)?;
                self.unusable.entry((name.clone(), reason.clone())).or_default().extend(all(&pool, ranks));
                Ok(())
            }
            External::Custom(Node::Root, ..) | External::NotRoot(..) | External::NoVersions(..) => Ok(()),
        }
    }

    fn take_root(&mut self, on: &Node, ranks: &Ranks) -> Result<(), Stop> {
        for root in self.graph.roots {
            let Some(feature) = asked_for(on, &root.name, &root.features) else { continue };
            if self.graph.pool(&root.name)?.matching(&root.requirement) == *ranks {
                let need = Need { by: By::Root, on: root.name.clone(), text: root.requirement_text.clone(), feature };
                self.add(need, 0, &root.requirement);
            }
        }
        Ok(())
    }

    fn take_dependency(&mut self, by: &Node, by_ranks: &Ranks, on: &Node, ranks: &Ranks) -> Result<(), Stop> {
        let (name, who) = match by {
            Node::Root => return Ok(()),
            Node::Package(name) => (name, By::Package(name.clone())),
            Node::Feature(name, feature) => (name, By::Feature(name.clone(), feature.clone())),
        };
        let pool = self.graph.pool(name)?;
        for rank in all(&pool, by_ranks) {
            let candidate = &pool.versions[rank as usize];
            if let (Node::Feature(_, feature), Node::Feature(other, switched)) = (by, on)
                && name == other
            {
                let text = format!("switches on feature `{switched}`");
                let reason = format!("with feature `{feature}` {text}");
                self.unusable.entry((name.clone(), reason)).or_default().insert(rank);
            }
            for dependency in self.graph.dependencies_of(by, candidate) {
                let Some(feature) = asked_for(on, &dependency.name, &dependency.features) else { continue };
                if self.graph.pool(&dependency.name)?.matching(&dependency.requirement) == *ranks {
                    let (on, text) = (dependency.name.clone(), dependency.requirement_text.clone());
                    self.add(Need { by: who.clone(), on, text, feature }, rank, &dependency.requirement);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, need: Need, rank: u32, requirement: &VersionReq) {
        let requirements = self.requirements.entry(need.on.clone()).or_default();
        requirements.insert(need.text.clone(), requirement.clone());
        self.needs.entry(need).or_default().insert(rank);
    }

    /// A need with a feature says what the same need without one says.
    fn drop_repeated(&mut self) {
        let with_feature: Vec<_> = self.needs.iter().filter(|(need, _)| need.feature.is_some()).collect();
        let repeated: Vec<_> = with_feature
            .into_iter()
            .map(|(need, ranks)| (Need { feature: None, ..need.clone() }, ranks.clone()))
            .collect();
        for (need, ranks) in repeated {
            if self.needs.get(&need).is_some_and(|other| other.is_subset(&ranks)) {
                self.needs.remove(&need);
            }
        }
    }

    /// The facts in order: breadth first from the requirements.
    fn sentences(&self) -> Result<Vec<String>, Stop> {
        let mut sentences = Vec::new();
        let mut seen = HashSet::new();
        let mut open = VecDeque::from([None]);
        let names = self.needs.keys().filter_map(|need| need.by.name()).chain(self.unusable.keys().map(|key| &key.0));
        // What the walk does not reach comes last: a fact must not be lost.
        let mut rest = names.map(Some);
        while let Some(name) = open.pop_front().or_else(|| rest.next()) {
            if !seen.insert(name) {
                continue;
            }
            for (need, ranks) in self.needs.iter().filter(|(need, _)| need.by.name() == name) {
                sentences.push(self.sentence(need, ranks)?);
                open.push_back(Some(&need.on));
            }
            let Some(name) = name else { continue };
            for ((_, reason), ranks) in self.unusable.iter().filter(|((other, _), _)| other == name) {
                let pool = self.graph.pool(name)?;
                sentences.push(format!("{} {reason}", versions(name, &pool, ranks)));
            }
        }
        Ok(sentences)
    }

    fn sentence(&self, need: &Need, ranks: &BTreeSet<u32>) -> Result<String, Stop> {
        let Need { by, on, text, feature } = need;
        let subject = match by {
            By::Root => "you require".to_owned(),
            By::Package(name) | By::Feature(name, _) => {
                let subject = versions(name, &*self.graph.pool(name)?, ranks);
                match by {
                    By::Feature(_, feature) => format!("{subject} with feature `{feature}` requires"),
                    _ => format!("{subject} requires"),
                }
            }
        };
        let feature = feature.as_ref().map_or(String::new(), |feature| format!(" with feature `{feature}`"));
        Ok(format!("{subject} `{on} {text}`{feature}"))
    }

    fn conclude(&self) -> Result<(Vec<String>, Vec<String>), Stop> {
        let (mut conclusions, mut hints) = (Vec::new(), Vec::new());
        for (name, requirements) in &self.requirements {
            let pool = self.graph.pool(name)?;
            if pool.versions.is_empty() {
                conclusions.push(format!("there is no package `{name}`"));
                hints.extend(self.alike(name)?);
                continue;
            }
            let ranks: Vec<_> =
                requirements.iter().map(|(text, req)| (text.as_str(), req, pool.matching(req))).collect();
            let none = |ranks: &Ranks| pool.usable(ranks).next().is_none();
            if let Some((text, requirement, _)) = ranks.iter().find(|(.., ranks)| none(ranks)) {
                conclusions.push(format!("no version of `{name}` meets `{text}`"));
                hints.push(hint(name, text, requirement, &pool));
            } else {
                let both = |(one, other)| format!("no version of `{name}` meets both `{one}` and `{other}`");
                conclusions.extend(self.disjoint(name, &ranks, none).into_iter().map(both));
            }
        }
        conclusions.truncate(CONCLUSIONS_MAX);
        hints.truncate(HINTS_MAX);
        Ok((conclusions, hints))
    }

    /// Pairs of requirements on a package that no version meets; if it is asked for, those with what was asked for.
    fn disjoint<'r>(
        &self,
        name: &PackageName,
        all: &[Matching<'r>],
        none: impl Fn(&Ranks) -> bool,
    ) -> Vec<(&'r str, &'r str)> {
        let of_root = |need: &&Need| need.by == By::Root && need.on == *name;
        let asked: Vec<_> = self.needs.keys().filter(of_root).map(|need| need.text.as_str()).collect();
        let mut pairs = Vec::new();
        let all = &all[..all.len().min(COMPARED_MAX)];
        for (i, (one, _, ranks)) in all.iter().enumerate() {
            for (other, _, others) in &all[i + 1..] {
                let concerns_us = asked.is_empty() || asked.contains(one) || asked.contains(other);
                if concerns_us && none(&ranks.intersection(others)) {
                    pairs.push((*one, *other));
                }
            }
        }
        pairs
    }

    fn alike(&self, name: &PackageName) -> Result<Option<String>, Stop> {
        let likeness = |other: &PackageName| strsim::jaro_winkler(name.as_str(), other.as_str());
        let mut names = self.graph.names()?;
        names.retain(|other| likeness(other) >= LIKENESS_MIN);
        names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then_with(|| a.cmp(b)));
        Ok(names.first().map(|other| format!("there is a package `{other}`")))
    }
}

type Matching<'a> = (&'a str, &'a VersionReq, Ranks);

/// The feature that a need of these features has on a node, or nothing if it has no need of the node.
fn asked_for(on: &Node, name: &PackageName, features: &[String]) -> Option<Option<String>> {
    match on {
        Node::Package(other) if other == name => Some(None),
        Node::Feature(other, feature) if other == name && features.contains(feature) => Some(Some(feature.clone())),
        _ => None,
    }
}

fn all<'p>(pool: &'p Pool, ranks: &'p Ranks) -> impl Iterator<Item = u32> + 'p {
    (0_u32..).zip(&pool.versions).map(|(rank, _)| rank).filter(|rank| ranks.contains(rank))
}

/// Names versions of a package as the subject of a sentence.
fn versions(name: &PackageName, pool: &Pool, ranks: &BTreeSet<u32>) -> String {
    let mut shown: Vec<_> = ranks.iter().map(|rank| pool.versions[*rank as usize].version.to_string()).collect();
    if shown.len() > 1 && shown.len() == pool.versions.len() {
        return format!("every version of `{name}`");
    }
    let contiguous =
        ranks.last().zip(ranks.first()).is_some_and(|(last, first)| (last - first) as usize + 1 == ranks.len());
    if shown.len() > VERSIONS_SHOWN_MAX && contiguous {
        return format!("each of `{name}` {} to {}", shown[0], shown[shown.len() - 1]);
    }
    if shown.len() > VERSIONS_SHOWN_MAX {
        let more = shown.len() - VERSIONS_SHOWN_MAX;
        shown.truncate(VERSIONS_SHOWN_MAX);
        return format!("each of `{name}` {} and {more} more", shown.join(", "));
    }
    match shown.len() {
        1 => format!("`{name}` {}", shown[0]),
        _ => format!("each of `{name}` {}", shown.join(", ")),
    }
}

/// What might help where no version meets a requirement.
fn hint(name: &PackageName, text: &str, requirement: &VersionReq, pool: &Pool) -> String {
    let versions = || pool.versions.iter().rev();
    if let Some(yanked) = versions().find(|candidate| requirement.matches(&candidate.version)) {
        let reason = yanked.yanked.as_ref().filter(|reason| !reason.is_empty());
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        return format!("`{name}` {} meets `{text}` but was yanked{reason}", yanked.version);
    }
    let released = |version: &Version| Version { pre: Prerelease::EMPTY, ..version.clone() };
    let pre_release =
        versions().map(|candidate| &candidate.version).find(|version| requirement.matches(&released(version)));
    if let Some(version) = pre_release {
        return format!("`{name}` {version} is a pre-release; `={version}` asks for it");
    }
    let usable: Vec<_> = pool.usable(&Ranks::full()).map(|rank| &pool.versions[rank as usize].version).collect();
    match usable.iter().min_by_key(|version| distance(version, requirement)) {
        Some(nearest) => format!("the nearest version of `{name}` is {nearest}"),
        None => format!("every version of `{name}` was yanked"),
    }
}

/// How far a version is from the first bound of a requirement; a higher part weighs more than all lower ones.
fn distance(version: &Version, requirement: &VersionReq) -> (u64, u64, u64) {
    let Some(Comparator { major, minor, patch, .. }) = requirement.comparators.first() else { return (0, 0, 0) };
    (
        version.major.abs_diff(*major),
        version.minor.abs_diff(minor.unwrap_or(0)),
        version.patch.abs_diff(patch.unwrap_or(0)),
    )
}
