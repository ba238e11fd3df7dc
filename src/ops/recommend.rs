//! `recommend`: packages that whoever has what is installed here may want, each with the reason.
//!
//! The same registry and the same installed packages give the same answer. What is installed is never recommended.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::{Catalog, OpError};
use crate::package::name::PackageName;
use crate::registry::{Record, Statistics};
use crate::search::{QUERY_WORDS_MAX, Query, Sort};

/// The most recommendations given at once.
pub const RECOMMENDATIONS_MAX: usize = 100;

/// One recommended package.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The package.
    pub name: PackageName,
    /// Its latest version.
    pub version: Version,
    /// What it says about itself.
    pub description: Option<String>,
    /// Why, the strongest first.
    pub reasons: Vec<Reason>,
    /// How strong the reasons are together; only comparable within one answer.
    pub score: f64,
}

/// Why a package is recommended.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It builds on packages that are installed.
    Dependency(Vec<PackageName>),
    /// It has tags or keywords of packages that are installed.
    Similar {
        /// The words it shares.
        words: Vec<String>,
        /// With which packages.
        with: Vec<PackageName>,
    },
    /// Many install it.
    Trending {
        /// Downloads of all versions.
        downloads: u64,
    },
    /// People who rated it like it.
    Rated {
        /// The mean of their stars.
        average: f64,
        /// How many they are.
        count: u64,
    },
}

/// What is installed, as far as it can resemble something.
#[derive(Default)]
struct Owned {
    names: BTreeSet<PackageName>,
    /// For each tag or keyword the installed packages that have it.
    words: BTreeMap<String, BTreeSet<PackageName>>,
}

impl Catalog {
    /// Recommends packages, the best first.
    ///
    /// # Errors
    /// The store, the registry.
    pub fn recommend(&self, limit: usize, platform: &str) -> Result<Vec<Recommendation>, OpError> {
        let owned = self.owned(platform)?;
        let mut found = Vec::new();
        for name in self.considered(&owned)? {
            let registry = self.registry();
            if let Some(record) = registry.latest(&name)? {
                found.extend(recommendation(&owned, &registry.statistics(&name)?, &record));
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
        found.truncate(limit.min(RECOMMENDATIONS_MAX));
        Ok(found)
    }

    fn owned(&self, platform: &str) -> Result<Owned, OpError> {
        let installed = self.installed(platform)?;
        let registry = self.registry();
        let mut owned = Owned::default();
        for package in installed.packages() {
            owned.names.insert(package.name.clone());
            if let Some(record) = registry.get(&package.name, &package.version)? {
                for word in words(&record) {
                    owned.words.entry(word).or_default().insert(package.name.clone());
                }
            }
        }
        Ok(owned)
    }

    /// Gives the packages that may be recommended: what builds on installed ones, is found by their words, or is installed or
    /// liked most. A registry may have a million packages, and nobody wants to hear of more than these.
    fn considered(&self, owned: &Owned) -> Result<BTreeSet<PackageName>, OpError> {
        let mut shared: Vec<(&String, usize)> = owned.words.iter().map(|(word, by)| (word, by.len())).collect();
        shared.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let shared: Vec<&str> = shared.into_iter().map(|(word, _)| word.as_str()).take(QUERY_WORDS_MAX).collect();
        let ask = |text: String, sort| Query { sort, limit: CONSIDERED_MAX, ..Query::words(text) };
        let mut queries = vec![ask(String::new(), Sort::Popularity), ask(String::new(), Sort::Rating)];
        queries.extend((!shared.is_empty()).then(|| ask(shared.join(" "), Sort::Relevance)));
        let mut considered: BTreeSet<PackageName> = BTreeSet::new();
        for query in &queries {
            let hits = self.search(query)?.found.hits.into_iter();
            // A description of something elsewhere may have a name that no package can have.
            considered.extend(hits.filter_map(|hit| hit.document.name.parse::<PackageName>().ok()));
        }
        let registry = self.registry();
        for name in &owned.names {
            considered.extend(registry.dependents(name, CONSIDERED_MAX)?);
        }
        Ok(considered.into_iter().filter(|name| !owned.names.contains(name)).collect())
    }
}

/// The most packages that are considered for each installed one, and for each reason that is none of them.
const CONSIDERED_MAX: usize = 200;

fn recommendation(owned: &Owned, statistics: &Statistics, record: &Record) -> Option<Recommendation> {
    let mut reasons: Vec<(f64, Reason)> = Vec::new();
    let release = &record.release;
    let builds_on: BTreeSet<&PackageName> =
        release.dependencies.iter().map(|wanted| &wanted.name).filter(|name| owned.names.contains(*name)).collect();
    if !builds_on.is_empty() {
        let score = 3.0 * builds_on.len() as f64 / release.dependencies.len().max(1) as f64;
        reasons.push((score, Reason::Dependency(builds_on.into_iter().cloned().collect())));
    }
    let shared: Vec<String> = words(record).into_iter().filter(|word| owned.words.contains_key(word)).collect();
    if !shared.is_empty() {
        let with: BTreeSet<&PackageName> = shared.iter().filter_map(|word| owned.words.get(word)).flatten().collect();
        let with = with.into_iter().cloned().collect();
        reasons.push(((1.0 + shared.len() as f64).ln(), Reason::Similar { words: shared, with }));
    }
    // Logarithms: a thousand downloads are not a thousand reasons.
    if statistics.downloads > 0 {
        let score = 0.2 * (1.0 + statistics.downloads as f64).ln();
        reasons.push((score, Reason::Trending { downloads: statistics.downloads }));
    }
    let rating = statistics.rating;
    if rating.count > 0 && rating.average >= LIKED {
        let score = 0.3 * (rating.average - 3.0) * (1.0 + rating.count as f64).ln();
        reasons.push((score, Reason::Rated { average: rating.average, count: rating.count }));
    }
    if reasons.is_empty() {
        return None;
    }
    reasons.sort_by(|a, b| b.0.total_cmp(&a.0));
    let score = reasons.iter().map(|(score, _)| score).sum();
    Some(Recommendation {
        name: release.name.clone(),
        version: release.version.clone(),
        description: release.description.clone(),
        reasons: reasons.into_iter().map(|(_, reason)| reason).collect(),
        score,
    })
}

/// Stars from which on people like it.
const LIKED: f64 = 3.5;

/// The tags and keywords of a release, once each, in order.
fn words(record: &Record) -> BTreeSet<String> {
    record.release.tags.iter().chain(&record.release.keywords).map(|word| word.to_lowercase()).collect()
}
