//! Packages of a registry as the solver sees them, and what it chose as packages of a lockfile.

use std::cell::RefCell;
use std::collections::HashMap;

use semver::Version;

use super::solver::{self, Chosen};
use super::source::{Exclusion, Need, Needs, Offer, Source, on_platform};
use super::{CANDIDATES_MAX, Candidates, CandidatesError, Options, ResolveError, Rules, Update};
use crate::digest::Digest;
use crate::lockfile::{LockedPackage, LockedSource, Lockfile, Requirement};
use crate::package::model::{self, Dependency};
use crate::package::name::PackageName;

/// The candidates, with the digests of those whose details were looked at.
struct Published<'a> {
    candidates: &'a dyn Candidates,
    options: &'a Options,
    digests: RefCell<HashMap<String, HashMap<Version, Digest>>>,
}

/// Chooses a version for each package, in order of name; the packages may still form a circle.
pub(super) fn solve(
    candidates: &dyn Candidates,
    roots: &[Requirement],
    locked: Option<&Lockfile>,
    options: &Options,
) -> Result<Vec<LockedPackage>, ResolveError> {
    let published = Published { candidates, options, digests: RefCell::default() };
    let kept: Vec<&LockedPackage> = locked.into_iter().flat_map(Lockfile::packages).chain(&options.preferred).collect();
    let rules = rules(&kept, options);
    let roots: Vec<Need> = roots.iter().map(of_requirement).filter(|need| published.is_asked(&need.name)).collect();
    let chosen = solver::solve(&published, &roots, &rules);
    let chosen = chosen.map_err(|unsolved| ResolveError::of(unsolved, options.rounds_max))?;
    let packages: Result<Vec<_>, _> = chosen.into_iter().map(|chosen| published.locked(chosen)).collect();
    let packages = packages?;
    packages.iter().try_for_each(|package| check_unchanged(package, &kept))?;
    Ok(packages)
}

/// Gives what a package's own dependencies ask for on a platform, without the optional ones.
///
/// # Errors
/// [`ResolveError::Source`] for a dependency that comes from elsewhere than the registry.
pub fn requirements(dependencies: &[Dependency], options: &Options) -> Result<Vec<Requirement>, ResolveError> {
    let wanted = dependencies
        .iter()
        .filter(|dependency| !dependency.optional && on_platform(dependency.platform.as_deref(), &options.platform));
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

impl Published<'_> {
    /// Whether anything is known of what a name stands for.
    fn is_asked(&self, name: &str) -> bool {
        self.options.node.is_some() || !name.starts_with(PackageName::VIRTUAL_PREFIX)
    }

    fn locked(&self, chosen: Chosen) -> Result<LockedPackage, ResolveError> {
        let digests = self.digests.borrow();
        let digest = digests.get(&*chosen.name).and_then(|versions| versions.get(&chosen.version));
        let name = |text: &str| text.parse::<PackageName>().map_err(|error| ResolveError::Candidates(error.into()));
        let dependencies: Result<Vec<_>, _> = chosen.dependencies.iter().map(|text| name(text)).collect();
        Ok(LockedPackage {
            name: name(&chosen.name)?,
            digest: *digest.ok_or_else(|| ResolveError::Candidates("a version was chosen unseen".into()))?,
            version: chosen.version,
            source: LockedSource::Registry { registry: self.options.registry.clone() },
            features: chosen.features,
            dependencies: dependencies?,
        })
    }
}

impl Source for Published<'_> {
    fn versions(&self, name: &str) -> Result<Vec<Offer>, CandidatesError> {
        let Ok(name) = name.parse() else { return Ok(Vec::new()) };
        let candidates = self.candidates.candidates(&name)?.into_iter();
        let offer = |candidate: super::Candidate| Offer {
            version: candidate.version,
            yanked: candidate.yanked,
            published_at: candidate.published_at,
        };
        Ok(candidates.map(offer).collect())
    }

    fn needs(&self, name: &str, version: &Version) -> Result<Needs, CandidatesError> {
        let details = self.candidates.details(&name.parse()?, version)?;
        let mut digests = self.digests.borrow_mut();
        digests.entry(name.to_owned()).or_default().insert(version.clone(), details.digest);
        let asked = details.dependencies.into_iter().filter(|dependency| self.is_asked(dependency.name.as_str()));
        let dependencies = asked.map(|dependency| self.need(dependency)).collect();
        let conflicts = details.conflicts.into_iter().map(|conflict| Exclusion {
            name: conflict.name.into(),
            requirement: conflict.requirement,
            text: conflict.requirement_text,
        });
        Ok(Needs { dependencies, conflicts: conflicts.collect(), features: details.features })
    }

    fn names(&self) -> Result<Vec<String>, CandidatesError> {
        Ok(self.candidates.names()?.into_iter().map(String::from).collect())
    }
}

impl Published<'_> {
    fn need(&self, dependency: Dependency) -> Need {
        Need {
            foreign: foreign_source(&dependency, self.options),
            name: dependency.name.into(),
            requirement: dependency.requirement,
            text: dependency.requirement_text,
            optional: dependency.optional,
            features: dependency.features,
            platform: dependency.platform,
        }
    }
}

fn of_requirement(root: &Requirement) -> Need {
    Need {
        name: root.name.to_string(),
        requirement: root.requirement.clone(),
        text: root.requirement_text.clone(),
        optional: false,
        features: root.features.clone(),
        platform: None,
        foreign: None,
    }
}

fn rules<'a>(kept: &[&LockedPackage], options: &'a Options) -> Rules<'a> {
    let mut rules = Rules {
        platform: &options.platform,
        majors: false,
        circles: false,
        preference: options.preference,
        exclude_newer: options.exclude_newer,
        locked: HashMap::new(),
        compatible_with: HashMap::new(),
        node: options.node.as_ref(),
        candidates_max: CANDIDATES_MAX,
        rounds_max: options.rounds_max,
    };
    for package in kept {
        let (name, version) = (package.name.to_string(), package.version.clone());
        if !options.unlock.contains(&package.name) {
            rules.locked.entry(name).or_default().push(version);
        } else if options.update == Update::Safe {
            let from = rules.compatible_with.entry(name).or_insert_with(|| version.clone());
            *from = version.max(from.clone());
        }
    }
    rules
}

/// Where a dependency comes from, in words, if that is not the registry at hand.
fn foreign_source(dependency: &Dependency, options: &Options) -> Option<String> {
    match &dependency.source {
        model::Source::Registry { registry: None } => None,
        model::Source::Registry { registry } if *registry == options.registry => None,
        model::Source::Registry { registry: Some(registry) } => Some(format!("the registry `{registry}`")),
        model::Source::Git { url, .. } => Some(format!("the git repository `{url}`")),
        model::Source::Local { path } => Some(format!("the local directory `{path}`")),
        model::Source::Http { url, .. } => Some(format!("the web address `{url}`")),
    }
}

fn check_unchanged(package: &LockedPackage, kept: &[&LockedPackage]) -> Result<(), ResolveError> {
    let same = kept.iter().filter(|locked| locked.name == package.name && locked.version == package.version);
    match same.into_iter().find(|locked| locked.digest != package.digest) {
        Some(locked) => Err(ResolveError::Changed {
            name: package.name.clone(),
            version: package.version.clone(),
            locked: locked.digest.to_string(),
            found: package.digest.to_string(),
        }),
        None => Ok(()),
    }
}
