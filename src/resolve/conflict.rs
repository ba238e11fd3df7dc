//! Why no choice of versions meets every requirement, in sentences that people can check one by one.
//!
//! PubGrub proves a conflict by a tree of derivations. Its leaves are facts about packages, and they alone already
//! contradict each other; the steps between them are case distinctions that few people want to read. So the report gives
//! the facts, beginning with what was asked for and following the dependencies, then what they contradict each other
//! about, then what might help.

mod hint;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use pubgrub::{DerivationTree, External};
use semver::VersionReq;

use self::hint::{closest, hint, lacking};
pub(super) use self::hint::{nearest_fix, no_feature};
use super::graph::{Constraint, Graph, Name, Node, Stop, Unusable};
use super::pool::{Pool, Ranks};
use super::source::{Need as Wanted, Needs};

/// The most lines of a report.
pub const REPORT_LINES_MAX: usize = 30;
const CONCLUSIONS_MAX: usize = 4;
const HINTS_MAX: usize = 4;
/// The most requirements on one package that are compared with each other.
const COMPARED_MAX: usize = 100;
const VERSIONS_SHOWN_MAX: usize = 3;

/// A conflict, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    facts: Vec<String>,
    conclusions: Vec<String>,
    hints: Vec<String>,
    needs: BTreeMap<Need, BTreeSet<u32>>,
    exclusions: Exclusions,
}

/// Versions that exclude others, by package, the other package, and which of its versions.
type Exclusions = BTreeMap<(Arc<str>, Arc<str>, String), BTreeSet<u32>>;

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

    pub(super) fn hint(&mut self, hint: Option<String>) {
        self.hints.extend(hint);
    }

    /// Whether it is among the facts that a version excludes others.
    #[cfg(test)]
    pub(super) fn excludes(&self, by: &str, rank: u32, other: &str, text: &str) -> bool {
        let key = (by.into(), other.into(), text.to_owned());
        self.exclusions.get(&key).is_some_and(|ranks| ranks.contains(&rank))
    }

    /// Whether a dependency of a version is among the facts.
    #[cfg(test)]
    pub(super) fn names(&self, by: Option<&str>, rank: u32, on: &str, text: &str) -> bool {
        self.needs.iter().any(|(need, ranks)| {
            need.by.name().map(|name| &**name) == by
                && *need.on == *on
                && need.text == text
                && (by.is_none() || ranks.contains(&rank))
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
    on: Arc<str>,
    text: String,
    feature: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Root,
    Package(Arc<str>),
    Feature(Arc<str>, Arc<str>),
}

impl By {
    fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Root => None,
            Self::Package(name) | Self::Feature(name, _) => Some(name),
        }
    }
}

type Tree = DerivationTree<Node, Ranks, Unusable>;

pub(super) fn explain(graph: &Graph<'_>, tree: &Tree) -> Result<Conflict, Stop> {
    let mut facts = Facts {
        graph,
        needs: BTreeMap::new(),
        unusable: BTreeMap::new(),
        exclusions: BTreeMap::new(),
        requirements: BTreeMap::new(),
        hints: Vec::new(),
    };
    facts.collect(tree)?;
    facts.drop_repeated();
    let (conclusions, hints) = facts.conclude()?;
    Ok(Conflict { facts: facts.sentences()?, conclusions, hints, needs: facts.needs, exclusions: facts.exclusions })
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
    unusable: BTreeMap<(Arc<str>, String), BTreeSet<u32>>,
    exclusions: Exclusions,
    /// Every requirement on a package, by its text.
    requirements: BTreeMap<Arc<str>, BTreeMap<String, VersionReq>>,
    hints: Vec<String>,
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

    fn take(&mut self, external: &External<Node, Ranks, Unusable>) -> Result<(), Stop> {
        match external {
            External::FromDependencyOf(Node::Root, _, on, ranks) => {
                for root in self.graph.roots {
                    self.take_need(&By::Root, 0, (root, None), &(*on, ranks.clone()))?;
                }
                Ok(())
            }
            External::FromDependencyOf(by, by_ranks, on, ranks) => {
                self.take_dependency(*by, by_ranks, &(*on, ranks.clone()))
            }
            External::Custom(Node::Package(name, _) | Node::Feature(name, ..), ranks, unusable) => {
                let pool = self.graph.pool(*name)?;
                self.hints.extend(unusable.hint.clone());
                let key = (self.graph.text(*name), unusable.reason.clone());
                self.unusable.entry(key).or_default().extend(all(&pool, ranks));
                Ok(())
            }
            External::Custom(Node::Root | Node::Wide(_) | Node::Presence(_), ..)
            | External::NotRoot(..)
            | External::NoVersions(..) => Ok(()),
        }
    }

    fn take_dependency(&mut self, by: Node, by_ranks: &Ranks, on: &Constraint) -> Result<(), Stop> {
        // A requirement that several majors meet is told by whoever has it.
        let (name, who) = match by {
            Node::Root | Node::Wide(_) | Node::Presence(_) => return Ok(()),
            Node::Package(name, _) => (name, By::Package(self.graph.text(name))),
            Node::Feature(name, _, feature) => (name, By::Feature(self.graph.text(name), self.graph.text(feature))),
        };
        let pool = self.graph.pool(name)?;
        for rank in all(&pool, by_ranks) {
            if let (Node::Feature(_, _, feature), Node::Feature(other, _, switched)) = (by, on.0)
                && name == other
            {
                let text = format!("switches on feature `{}`", self.graph.text(switched));
                let reason = format!("with feature `{}` {text}", self.graph.text(feature));
                self.unusable.entry((self.graph.text(name), reason)).or_default().insert(rank);
            }
            let needs = self.graph.needs(name, &pool, rank)?;
            if let Node::Presence(other) = on.0 {
                self.take_exclusions(name, rank, &needs, (other, on))?;
                continue;
            }
            for need in self.graph.active(by, &needs) {
                self.take_need(&who, rank, need, on)?;
            }
        }
        Ok(())
    }

    /// Notes what a version excludes of another package. That a version is there itself is nothing to be told.
    fn take_exclusions(
        &mut self,
        name: Name,
        rank: u32,
        needs: &Needs,
        (other, on): (Name, &Constraint),
    ) -> Result<(), Stop> {
        for exclusion in needs.conflicts.iter().filter(|exclusion| self.graph.number(&exclusion.name) == other) {
            if self.graph.excluding(exclusion)?.as_ref() == Some(on) {
                let key = (self.graph.text(name), self.graph.text(other), exclusion.text.clone());
                self.exclusions.entry(key).or_default().insert(rank);
            }
        }
        Ok(())
    }

    /// Notes a need if it comes to a constraint.
    fn take_need(
        &mut self,
        by: &By,
        rank: u32,
        (wanted, further): (&Wanted, Option<&str>),
        on: &Constraint,
    ) -> Result<(), Stop> {
        let number = self.graph.number(&wanted.name);
        if matches!(on.0, Node::Package(name, _) | Node::Feature(name, ..) if name != number)
            || !self.graph.constraints(wanted, further)?.contains(on)
        {
            return Ok(());
        }
        let feature = match on.0 {
            Node::Feature(_, _, feature) => Some(self.graph.text(feature).to_string()),
            _ => None,
        };
        let (name, text) = (self.graph.text(number), wanted.text.clone());
        self.add(Need { by: by.clone(), on: name, text, feature }, rank, &wanted.requirement);
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
        let names = names.chain(self.exclusions.keys().map(|key| &key.0));
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
                let pool = self.pool(name)?;
                sentences.push(format!("{} {reason}", versions(name, &pool, ranks)));
            }
            for ((_, other, text), ranks) in self.exclusions.iter().filter(|((by, ..), _)| by == name) {
                let pool = self.pool(name)?;
                sentences.push(format!("{} cannot stand beside `{other} {text}`", versions(name, &pool, ranks)));
            }
        }
        Ok(sentences)
    }

    fn sentence(&self, need: &Need, ranks: &BTreeSet<u32>) -> Result<String, Stop> {
        let Need { by, on, text, feature } = need;
        let subject = match by {
            By::Root => "you require".to_owned(),
            By::Package(name) | By::Feature(name, _) => {
                let subject = versions(name, &*self.pool(name)?, ranks);
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
        let (mut conclusions, mut hints) = (Vec::new(), self.hints.clone());
        for (name, requirements) in &self.requirements {
            let pool = self.pool(name)?;
            if self.graph.is_virtual(name) {
                conclusions.extend(lacking(name, &pool, requirements));
                continue;
            }
            if pool.versions.is_empty() {
                conclusions.push(format!("there is no package `{name}`"));
                hints.extend(self.alike(name)?);
                continue;
            }
            let ranks: Vec<_> =
                requirements.iter().map(|(text, req)| (text.as_str(), req, pool.matching(req, text))).collect();
            let none = |ranks: &Ranks| pool.count_usable(ranks) == 0;
            if let Some((text, requirement, ranks)) = ranks.iter().find(|(.., ranks)| none(ranks)) {
                conclusions.push(format!("no version of `{name}` meets `{text}`"));
                hints.push(hint(name, text, (requirement, ranks), &pool));
            } else {
                // Requirements that different majors meet are no contradiction where these stand side by side.
                let apart = |one: &Ranks, other: &Ranks| {
                    let (one_in, other_in) = (pool.split(one), pool.split(other));
                    let same = one_in.len() == 1 && other_in.len() == 1 && one_in[0].0 == other_in[0].0;
                    same && none(&one.intersection(other))
                };
                let both = |(one, other)| format!("no version of `{name}` meets both `{one}` and `{other}`");
                conclusions.extend(self.disjoint(name, &ranks, apart).into_iter().map(both));
            }
        }
        let excluded: BTreeSet<_> = self.exclusions.keys().map(|(name, other, _)| (name, other)).collect();
        if conclusions.is_empty() {
            let apart =
                |(name, other)| format!("no version of `{name}` that will do goes with one of `{other}` that will do");
            conclusions.extend(excluded.into_iter().map(apart));
        }
        conclusions.truncate(CONCLUSIONS_MAX);
        hints.dedup();
        hints.truncate(HINTS_MAX);
        Ok((conclusions, hints))
    }

    fn pool(&self, name: &str) -> Result<Rc<Pool>, Stop> {
        let number: Name = self.graph.number(name);
        self.graph.pool(number)
    }

    /// Pairs of requirements on a package that no version meets; if it is asked for, those with what was asked for.
    fn disjoint<'r>(
        &self,
        name: &str,
        all: &[Matching<'r>],
        apart: impl Fn(&Ranks, &Ranks) -> bool,
    ) -> Vec<(&'r str, &'r str)> {
        let of_root = |need: &&Need| need.by == By::Root && *need.on == *name;
        let asked: Vec<_> = self.needs.keys().filter(of_root).map(|need| need.text.as_str()).collect();
        let mut pairs = Vec::new();
        let all = &all[..all.len().min(COMPARED_MAX)];
        for (i, (one, _, ranks)) in all.iter().enumerate() {
            for (other, _, others) in &all[i + 1..] {
                let concerns_us = asked.is_empty() || asked.contains(one) || asked.contains(other);
                if concerns_us && apart(ranks, others) {
                    pairs.push((*one, *other));
                }
            }
        }
        pairs
    }

    fn alike(&self, name: &str) -> Result<Option<String>, Stop> {
        let names = self.graph.package_names()?;
        Ok(closest(name, names.iter().map(String::as_str)).map(|other| format!("there is a package `{other}`")))
    }
}

type Matching<'a> = (&'a str, &'a VersionReq, Ranks);

fn all<'p>(pool: &'p Pool, ranks: &'p Ranks) -> impl Iterator<Item = u32> + 'p {
    (0_u32..).zip(&pool.versions).map(|(rank, _)| rank).filter(|rank| ranks.contains(rank))
}

/// Names versions of a package as the subject of a sentence.
fn versions(name: &str, pool: &Pool, ranks: &BTreeSet<u32>) -> String {
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
