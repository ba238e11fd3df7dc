//! What the solver is told of packages: names as texts, and of each version only what it asks for.
//!
//! Names are texts so that one solver serves the registry, whose names are [`PackageName`]s, and foreign universes, whose
//! names follow other rules. A version comes in two steps, since most versions are only looked at to pass them over.
//!
//! [`PackageName`]: crate::package::name::PackageName

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use time::OffsetDateTime;

use super::CandidatesError;

/// The feature that may be asked for whether or not it is listed.
const DEFAULT_FEATURE: &str = "default";

/// Where the solver finds packages.
pub(super) trait Source {
    /// Gives every version of a package in any order, none for a name that is not known.
    fn versions(&self, name: &str) -> Result<Vec<Offer>, CandidatesError>;

    /// Gives what one of these versions needs.
    fn needs(&self, name: &str, version: &Version) -> Result<Needs, CandidatesError>;

    /// Gives every name, for suggestions.
    fn names(&self) -> Result<Vec<String>, CandidatesError>;
}

/// One version, as far as choosing among versions goes.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) version: Version,
    pub(super) yanked: Option<String>,
    pub(super) published_at: Option<OffsetDateTime>,
}

/// What a version needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    pub(super) dependencies: Vec<Need>,
    /// What it cannot stand beside.
    pub(super) conflicts: Vec<Exclusion>,
    /// Features and what each switches on.
    pub(super) features: BTreeMap<String, Vec<String>>,
}

/// Versions of another package that exclude this one.
#[derive(Clone, Debug)]
pub(super) struct Exclusion {
    pub(super) name: String,
    pub(super) requirement: VersionReq,
    /// The requirement as written.
    pub(super) text: String,
}

/// One dependency or requirement.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) name: String,
    pub(super) requirement: VersionReq,
    /// The requirement as written.
    pub(super) text: String,
    pub(super) optional: bool,
    pub(super) features: Vec<String>,
    pub(super) platform: Option<String>,
    /// Where it comes from, in words, if that is not where everything comes from.
    pub(super) foreign: Option<String>,
}

/// What an entry of a feature stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A feature of the same package, or its optional dependency of that name.
    Feature(&'a str),
    /// `dep:name`: an optional dependency, and no feature.
    Dependency(&'a str),
    /// `name/feature` or `name?/feature`: a feature of a dependency, which is switched on if it is optional.
    Of(&'a str, &'a str),
}

impl Needs {
    /// Reads an entry of a feature; names of packages may have a slash, too.
    pub(super) fn entry<'a>(&self, text: &'a str) -> Entry<'a> {
        match (text.strip_prefix("dep:"), text.split_once('/')) {
            (Some(name), _) => Entry::Dependency(name),
            (None, Some((name, feature))) if !self.has_feature(text) => Entry::Of(name.trim_end_matches('?'), feature),
            _ => Entry::Feature(text),
        }
    }

    /// Whether a feature is listed, or an optional dependency has its name; `default` is there without being listed.
    pub(super) fn has_feature(&self, feature: &str) -> bool {
        feature == DEFAULT_FEATURE || self.features.contains_key(feature) || self.optional(feature).next().is_some()
    }

    /// Gives the optional dependencies of a name.
    pub(super) fn optional(&self, name: &str) -> impl Iterator<Item = &Need> {
        self.dependencies.iter().filter(move |need| need.optional && need.name == name)
    }
}

/// Whether a platform is meant: `linux` stands for every `linux-…`, and no platform for all.
pub(super) fn on_platform(wanted: Option<&str>, platform: &str) -> bool {
    wanted
        .is_none_or(|wanted| platform.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}
