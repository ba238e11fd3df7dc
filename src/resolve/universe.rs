//! A universe: packages and versions given as text, of whatever registry, to resolve against without publishing anything.
//!
//! One line of JSON is one version: `{"name", "version", "dependencies": [{"name", "req", "optional", "features",
//! "platform"}], "features": {}, "yanked": false, "published_at": null}`. All but name and version may be left out, and
//! other fields are passed over. Names are any texts without white space. Features may list features, optional
//! dependencies, `dep:name` and `name/feature`; `name?/feature` counts as that, as in Cargo's lockfiles, and every version
//! has a feature `default`.
//!
//! It is read line by line within bounds, and every fault names its line. Versions may depend on each other in a circle:
//! whether that can be built is not asked here. Nothing is published, locked or of a platform but what its caller says.

mod read;

use std::collections::HashMap;

use semver::{Version, VersionReq};
use time::OffsetDateTime;

use super::solver;
use super::source::{Need, Needs, Offer, Source};
use super::{CandidatesError, Preference, ResolveError, Rules};

pub use self::read::{
    DEPENDENCIES_MAX, LINE_BYTES_MAX, LINES_MAX, NAME_BYTES_MAX, REQUIREMENTS_BYTES_MAX, UniverseError,
    UniverseRequirement, requirements,
};

/// The most versions of one package that are looked at, the highest.
const VERSIONS_MAX: usize = 10_000;

/// Packages and versions given as text.
#[derive(Clone, Debug, Default)]
pub struct Universe {
    names: Table<()>,
    requirements: Table<VersionReq>,
    /// The versions of each name, in the order of the lines.
    packages: HashMap<u32, Vec<Entry>>,
}

/// How many versions of a name may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One.
    Single,
    /// One of each major version: of each range in which `^` stays.
    Majors,
}

/// How to resolve in a universe.
#[derive(Clone, Debug)]
pub struct UniverseOptions {
    /// The platform, such as `linux-x86_64`.
    pub platform: String,
    /// How many versions of a name may be chosen.
    pub mode: Mode,
    /// Which version is taken where several fit.
    pub preference: Preference,
    /// Versions published later than this, or nobody knows when, are not taken.
    pub exclude_newer: Option<OffsetDateTime>,
    /// The rounds after which to give up.
    pub rounds_max: u32,
}

/// Texts by number, each with what it means.
#[derive(Clone, Debug)]
struct Table<T> {
    numbers: HashMap<String, u32>,
    all: Vec<(String, T)>,
}

#[derive(Clone, Debug)]
struct Entry {
    version: Version,
    yanked: bool,
    published_at: Option<OffsetDateTime>,
    dependencies: Vec<Dependency>,
    features: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: u32,
    requirement: u32,
    optional: bool,
    features: Vec<String>,
    platform: Option<String>,
}

impl Universe {
    /// Chooses versions that meet the requirements, in order of name and version.
    ///
    /// # Errors
    /// [`ResolveError::Unsatisfiable`] explains a conflict; [`ResolveError::Rounds`].
    pub fn resolve(
        &self,
        roots: &[UniverseRequirement],
        options: &UniverseOptions,
    ) -> Result<Vec<(String, Version)>, ResolveError> {
        let roots: Vec<Need> = roots.iter().map(UniverseRequirement::to_need).collect();
        let rules = Rules {
            platform: &options.platform,
            majors: options.mode == Mode::Majors,
            circles: true,
            preference: options.preference,
            exclude_newer: options.exclude_newer,
            locked: HashMap::new(),
            compatible_with: HashMap::new(),
            node: None,
            candidates_max: VERSIONS_MAX,
            rounds_max: options.rounds_max,
        };
        let chosen = solver::solve(self, &roots, &rules);
        let chosen = chosen.map_err(|unsolved| ResolveError::of(unsolved, options.rounds_max))?;
        Ok(chosen.into_iter().map(|chosen| (chosen.name.to_string(), chosen.version)).collect())
    }

    /// Gives how many versions there are.
    pub fn versions(&self) -> usize {
        self.packages.values().map(Vec::len).sum()
    }

    fn entries(&self, name: &str) -> &[Entry] {
        let number = self.names.numbers.get(name);
        number.and_then(|number| self.packages.get(number)).map_or(&[], Vec::as_slice)
    }

    fn need(&self, dependency: &Dependency) -> Need {
        let (text, requirement) = &self.requirements.all[dependency.requirement as usize];
        Need {
            name: self.names.all[dependency.name as usize].0.clone(),
            requirement: requirement.clone(),
            text: text.clone(),
            optional: dependency.optional,
            features: dependency.features.clone(),
            platform: dependency.platform.clone(),
            foreign: None,
        }
    }
}

impl Source for Universe {
    fn versions(&self, name: &str) -> Result<Vec<Offer>, CandidatesError> {
        let offer = |entry: &Entry| Offer {
            version: entry.version.clone(),
            yanked: entry.yanked.then(String::new),
            published_at: entry.published_at,
        };
        Ok(self.entries(name).iter().map(offer).collect())
    }

    fn needs(&self, name: &str, version: &Version) -> Result<Needs, CandidatesError> {
        let entry = self.entries(name).iter().find(|entry| entry.version == *version);
        let entry = entry.ok_or_else(|| format!("there is no `{name}` {version}"))?;
        let dependencies = entry.dependencies.iter().map(|dependency| self.need(dependency)).collect();
        Ok(Needs { dependencies, conflicts: Vec::new(), features: entry.features.iter().cloned().collect() })
    }

    fn names(&self) -> Result<Vec<String>, CandidatesError> {
        let named = self.names.all.iter().zip(0_u32..).filter(|(_, number)| self.packages.contains_key(number));
        Ok(named.map(|((name, ()), _)| name.clone()).collect())
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), all: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Gives the number of a text, and finds out what it means if it is new.
    fn number<E>(&mut self, text: &str, meaning: impl FnOnce(&str) -> Result<T, E>) -> Result<u32, E> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let meaning = meaning(text)?;
        let number = u32::try_from(self.all.len()).expect("the bounds on lines and dependencies are below u32");
        self.all.push((text.to_owned(), meaning));
        self.numbers.insert(text.to_owned(), number);
        Ok(number)
    }
}

#[cfg(test)]
mod tests;
