//! The graph that is solved, met piece by piece.
//!
//! A package is a node whose versions are ranks in its pool. A feature is a node of its own that needs its package at the
//! same rank. Where several major versions stand side by side, each of them is a node, and a requirement that reaches into
//! several is a node whose versions are the majors. That a package is there, at which rank, is a node where another version
//! excludes it: PubGrub knows only what must hold together with a version. Names and features are numbers in here: nodes are copied and hashed
//! millions of times.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::conflict;
use super::pool::{Pool, Ranks};
use super::source::{Entry, Exclusion, Need, Needs, Offer, Source, on_platform};
use super::{CandidatesError, Preference, Rules};
use crate::package::name::PackageName;

/// What PubGrub chooses a version for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The requirements together, at rank 0.
    Root,
    /// A package, and which of its buckets.
    Package(Name, u32),
    /// A feature of a package in a bucket.
    Feature(Name, u32, Name),
    /// A requirement that several buckets meet; its versions are the buckets.
    Wide(u32),
    /// Which version of a package there is, or, by the rank after the highest, that there is none: what others exclude. Only
    /// packages that somebody excludes have one.
    Presence(Name),
}

/// The number of a name or of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(u32);

/// Why PubGrub was stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("too many rounds")]
    Rounds,
    /// A package turned out to be excluded by another: what was chosen before did not tell that it is there.
    #[error("another package is excluded")]
    Again,
    #[error("cannot look up packages")]
    Candidates(#[source] CandidatesError),
}

/// Why a version cannot be used, as the rest of a sentence about it, and what might help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

/// The graph; asks for a package once, when PubGrub first meets it.
pub(super) struct Graph<'a> {
    source: &'a dyn Source,
    pub(super) roots: &'a [Need],
    pub(super) rules: &'a Rules<'a>,
    names: RefCell<Names>,
    /// By the numbers of their packages.
    pools: RefCell<Vec<Option<Rc<Pool>>>>,
    wide: RefCell<Vec<Rc<WideNeed>>>,
    wide_by_need: RefCell<HashMap<WideKey, u32>>,
    /// The rank last chosen for each package: its features are best tried there.
    pub(super) chosen: RefCell<HashMap<(Name, u32), u32>>,
    /// What is asked for by name, if that matters.
    pub(super) direct: BTreeSet<Name>,
    pub(super) rounds: Cell<u32>,
    /// The packages that others exclude, as far as they were met.
    excluded: RefCell<BTreeSet<Name>>,
}

#[derive(Default)]
struct Names {
    numbers: HashMap<Arc<str>, Name>,
    texts: Vec<Arc<str>>,
}

/// The name, versions and features of a requirement that several buckets meet.
type WideKey = (Name, Ranks, Vec<Name>);

pub(super) struct WideNeed {
    pub(super) name: Name,
    features: Vec<Name>,
    /// The part of the requirement in each bucket it reaches into.
    pub(super) parts: Vec<(u32, Ranks)>,
}

/// A set of versions of something that must hold.
pub(super) type Constraint = (Node, Ranks);

impl<'a> Graph<'a> {
    pub(super) fn new(source: &'a dyn Source, roots: &'a [Need], rules: &'a Rules<'a>) -> Self {
        let mut graph = Self {
            source,
            roots,
            rules,
            names: RefCell::default(),
            pools: RefCell::default(),
            wide: RefCell::default(),
            wide_by_need: RefCell::default(),
            chosen: RefCell::default(),
            direct: BTreeSet::new(),
            rounds: Cell::new(0),
            excluded: RefCell::default(),
        };
        if rules.preference == Preference::LowestDirect {
            graph.direct = roots.iter().map(|root| graph.number(&root.name)).collect();
        }
        graph
    }

    pub(super) fn number(&self, text: &str) -> Name {
        let mut names = self.names.borrow_mut();
        if let Some(name) = names.numbers.get(text) {
            return *name;
        }
        let name = Name(u32::try_from(names.texts.len()).expect("there are fewer names than bytes of memory"));
        let text: Arc<str> = text.into();
        names.texts.push(text.clone());
        names.numbers.insert(text, name);
        name
    }

    pub(super) fn text(&self, name: Name) -> Arc<str> {
        self.names.borrow().texts[name.0 as usize].clone()
    }

    pub(super) fn pool(&self, name: Name) -> Result<Rc<Pool>, Stop> {
        let place = name.0 as usize;
        if let Some(Some(pool)) = self.pools.borrow().get(place) {
            return Ok(pool.clone());
        }
        let text = self.text(name);
        let versions = match self.rules.node {
            Some(node) if text.starts_with(PackageName::VIRTUAL_PREFIX) => {
                let version = node.get(&*text).cloned();
                version.into_iter().map(|version| Offer { version, yanked: None, published_at: None }).collect()
            }
            _ => self.source.versions(&text).map_err(Stop::Candidates)?,
        };
        let rules =
            if self.is_virtual(&text) { &Rules { exclude_newer: None, ..self.rules.clone() } } else { self.rules };
        let pool = Rc::new(Pool::new(&text, versions, rules));
        let mut pools = self.pools.borrow_mut();
        if pools.len() <= place {
            pools.resize(place + 1, None);
        }
        pools[place] = Some(pool.clone());
        Ok(pool)
    }

    /// Whether a name stands for something of the node.
    pub(super) fn is_virtual(&self, name: &str) -> bool {
        self.rules.node.is_some() && name.starts_with(PackageName::VIRTUAL_PREFIX)
    }

    pub(super) fn package_names(&self) -> Result<Vec<String>, Stop> {
        self.source.names().map_err(Stop::Candidates)
    }

    /// What a version needs, and lists as features.
    pub(super) fn needs(&self, name: Name, pool: &Pool, rank: u32) -> Result<Rc<Needs>, Stop> {
        let slot = &pool.needs[rank as usize];
        if let Some(needs) = slot.get() {
            return Ok(needs.clone());
        }
        let text = self.text(name);
        let needs = if self.is_virtual(&text) {
            Needs::default()
        } else {
            self.source.needs(&text, pool.version(rank)).map_err(Stop::Candidates)?
        };
        Ok(slot.get_or_init(|| Rc::new(needs)).clone())
    }

    /// The dependencies that a node has on this platform, each with a feature that its entry adds.
    pub(super) fn active<'n>(&self, node: Node, needs: &'n Needs) -> Vec<(&'n Need, Option<&'n str>)> {
        let mut active = Vec::new();
        match node {
            Node::Root | Node::Wide(_) | Node::Presence(_) => {}
            Node::Package(..) => {
                active.extend(needs.dependencies.iter().filter(|need| !need.optional).map(|need| (need, None)));
            }
            Node::Feature(_, _, feature) => {
                let feature = self.text(feature);
                active.extend(
                    needs
                        .dependencies
                        .iter()
                        .filter(|need| need.optional && *need.name == *feature)
                        .map(|need| (need, None)),
                );
                for entry in needs.features.get(&*feature).into_iter().flatten() {
                    match needs.entry(entry) {
                        Entry::Feature(_) => {}
                        Entry::Dependency(name) => active.extend(needs.optional(name).map(|need| (need, None))),
                        Entry::Of(name, feature) => {
                            let named = needs.dependencies.iter().filter(|need| need.name == name);
                            active.extend(named.map(|need| (need, Some(feature))));
                        }
                    }
                }
            }
        }
        active.retain(|(need, _)| on_platform(need.platform.as_deref(), self.rules.platform));
        active
    }

    /// What meeting a need comes to.
    pub(super) fn constraints(&self, need: &Need, further: Option<&str>) -> Result<Vec<Constraint>, Stop> {
        let name = self.number(&need.name);
        let pool = self.pool(name)?;
        let ranks = pool.matching(&need.requirement, &need.text);
        let mut features: Vec<Name> =
            need.features.iter().map(String::as_str).chain(further).map(|feature| self.number(feature)).collect();
        features.sort_unstable();
        features.dedup();
        let mut parts = pool.split(&ranks);
        Ok(match parts.len() {
            0 => vec![(Node::Package(name, 0), Ranks::empty())],
            1 => {
                let (bucket, part) = parts.remove(0);
                of_bucket(name, bucket, &features, &part).collect()
            }
            _ => {
                let buckets =
                    parts.iter().fold(Ranks::empty(), |all, (bucket, _)| all.union(&Ranks::singleton(*bucket)));
                let node = Node::Wide(self.wide_need((name, ranks, features), parts));
                vec![(node, buckets)]
            }
        })
    }

    /// What it comes to that a version excludes others: nothing if they are not known.
    pub(super) fn excluding(&self, exclusion: &Exclusion) -> Result<Option<Constraint>, Stop> {
        let name = self.number(&exclusion.name);
        let pool = self.pool(name)?;
        let ranks = pool.matching(&exclusion.requirement, &exclusion.text);
        if ranks == Ranks::empty() {
            return Ok(None);
        }
        // Choices that were made before this was known are made again: each package is told of once, so that ends.
        if self.excluded.borrow_mut().insert(name) {
            return Err(Stop::Again);
        }
        Ok(Some((Node::Presence(name), ranks.complement())))
    }

    fn wide_need(&self, key: WideKey, parts: Vec<(u32, Ranks)>) -> u32 {
        let mut wide = self.wide.borrow_mut();
        let (name, features) = (key.0, key.2.clone());
        let mut known = self.wide_by_need.borrow_mut();
        *known.entry(key).or_insert_with(|| {
            wide.push(Rc::new(WideNeed { name, features, parts }));
            u32::try_from(wide.len() - 1).expect("there are fewer requirements than bytes of memory")
        })
    }

    pub(super) fn wide(&self, index: u32) -> Rc<WideNeed> {
        self.wide.borrow()[index as usize].clone()
    }

    /// What a node needs at a rank, or why it cannot be used.
    pub(super) fn needed(&self, node: Node, rank: u32) -> Result<Result<Vec<Constraint>, Unusable>, Stop> {
        let (name, bucket) = match node {
            Node::Root => {
                let all: Result<Vec<_>, _> = self.roots.iter().map(|root| self.constraints(root, None)).collect();
                return Ok(Ok(all?.concat()));
            }
            Node::Wide(index) => {
                let wide = self.wide(index);
                let part = wide.parts.iter().filter(|(bucket, _)| *bucket == rank);
                return Ok(Ok(part
                    .flat_map(|(bucket, part)| of_bucket(wide.name, *bucket, &wide.features, part))
                    .collect()));
            }
            Node::Presence(_) => return Ok(Ok(Vec::new())),
            Node::Package(name, bucket) | Node::Feature(name, bucket, _) => (name, bucket),
        };
        let pool = self.pool(name)?;
        let needs = self.needs(name, &pool, rank)?;
        let mut constraints = Vec::new();
        if matches!(node, Node::Package(..)) {
            for exclusion in &needs.conflicts {
                constraints.extend(self.excluding(exclusion)?);
            }
            if self.excluded.borrow().contains(&name) {
                constraints.push((Node::Presence(name), Ranks::singleton(rank)));
            }
        }
        if let Node::Feature(_, _, feature) = node {
            let text = self.text(feature);
            if !needs.has_feature(&text) {
                return Ok(Err(conflict::no_feature(&text, &needs)));
            }
            constraints.push((Node::Package(name, bucket), Ranks::singleton(rank)));
            for entry in needs.features.get(&*text).into_iter().flatten().filter(|entry| ***entry != *text) {
                let other = match needs.entry(entry) {
                    Entry::Feature(other) => Some(other),
                    Entry::Of(other, _) => {
                        Some(other).filter(|other| needs.features.contains_key(*other) && !entry.contains("?/"))
                    }
                    Entry::Dependency(_) => None,
                };
                if let Some(other) = other {
                    constraints.push((Node::Feature(name, bucket, self.number(other)), Ranks::singleton(rank)));
                }
            }
        }
        for (need, further) in self.active(node, &needs) {
            if let Some(from) = &need.foreign {
                let reason = format!("cannot be used: its dependency `{}` comes from {from}", need.name);
                return Ok(Err(Unusable { reason, hint: None }));
            }
            for (on, ranks) in self.constraints(need, further)? {
                match on {
                    Node::Package(other, same) if other == name && same == bucket => {
                        if !self.rules.circles || !ranks.contains(&rank) {
                            let own = &need.name;
                            let reason = format!("cannot be used: it depends on itself, {own} -> {own}");
                            return Ok(Err(Unusable { reason, hint: None }));
                        }
                    }
                    Node::Feature(other, same, _) if other == name && same == bucket => {
                        constraints.push((on, Ranks::singleton(rank)));
                    }
                    _ => constraints.push((on, ranks)),
                }
            }
        }
        Ok(Ok(constraints))
    }
}

/// A package in a bucket with some of its features, at some of its versions.
fn of_bucket(name: Name, bucket: u32, features: &[Name], ranks: &Ranks) -> impl Iterator<Item = Constraint> {
    let features = features.iter().map(move |feature| Node::Feature(name, bucket, *feature));
    features.chain([Node::Package(name, bucket)]).map(|node| (node, ranks.clone()))
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the requirements"),
            Self::Package(name, bucket) => write!(f, "package {}:{bucket}", name.0),
            Self::Feature(name, bucket, feature) => write!(f, "package {}:{bucket} with feature {}", name.0, feature.0),
            Self::Wide(index) => write!(f, "requirement {index}"),
            Self::Presence(name) => write!(f, "presence of package {}", name.0),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
