//! What might help after a conflict: a version that is near, hidden or a pre-release, a name that was meant, a requirement
//! whose change would do.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Comparator, Prerelease, Version, VersionReq};

use super::all;
use crate::resolve::Rules;
use crate::resolve::graph::Unusable;
use crate::resolve::pool::{Hidden, Pool, Ranks};
use crate::resolve::solver;
use crate::resolve::source::{Need as Wanted, Needs, Source};

/// The most requirements of which each is tried without its versions, and the rounds that one try may take.
const FIXES_TRIED_MAX: usize = 8;
const FIX_ROUNDS_MAX: u32 = 2_000;
/// The most features that are listed beside one that is not there.
const FEATURES_SHOWN_MAX: usize = 5;
/// How alike (Jaro-Winkler, 0 to 1) a name must be to be suggested.
const LIKENESS_MIN: f64 = 0.85;

/// Gives the name most like another, if one is alike at all.
pub(super) fn closest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let alike = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let alike = alike.filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    alike.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1))).map(|(_, other)| other)
}

/// Says that a version lacks a feature, and what it has.
pub(in crate::resolve) fn no_feature(feature: &str, needs: &Needs) -> Unusable {
    let optional = needs.dependencies.iter().filter(|need| need.optional).map(|need| need.name.as_str());
    let has: BTreeSet<&str> = needs.features.keys().map(String::as_str).chain(optional).collect();
    let hint =
        closest(feature, has.iter().copied()).map(|other| format!("did you mean feature `{other}`?")).or_else(|| {
            let shown: Vec<_> = has.iter().take(FEATURES_SHOWN_MAX).map(|name| format!("`{name}`")).collect();
            let more = if has.len() > shown.len() { ", …" } else { "" };
            (!has.is_empty()).then(|| format!("it has the features {}{more}", shown.join(", ")))
        });
    Unusable { reason: format!("has no feature `{feature}`"), hint }
}

/// Gives the one requirement whose change would let everything fit, and the version that would do.
pub(in crate::resolve) fn nearest_fix(source: &dyn Source, roots: &[Wanted], rules: &Rules<'_>) -> Option<String> {
    let rules = Rules { rounds_max: rules.rounds_max.min(FIX_ROUNDS_MAX), ..rules.clone() };
    if roots.len() > FIXES_TRIED_MAX {
        return None;
    }
    (0..roots.len()).filter(|at| !roots[*at].requirement.comparators.is_empty()).find_map(|at| {
        let mut others = roots.to_vec();
        others[at].requirement = VersionReq::STAR;
        others[at].text = "*".to_owned();
        let chosen = solver::attempt(source, &others, &rules)?;
        let (name, text) = (&roots[at].name, &roots[at].text);
        let chosen = chosen.into_iter().rev().find(|chosen| *chosen.name == **name)?;
        Some(format!("`{name}` {} instead of `{text}` fits all the rest", chosen.version))
    })
}

/// Says what the node lacks that a virtual package stands for.
pub(super) fn lacking(name: &str, pool: &Pool, requirements: &BTreeMap<String, VersionReq>) -> Option<String> {
    let Some(offer) = pool.versions.first() else { return Some(format!("this node has no `{name}`")) };
    let (text, _) = requirements.iter().find(|(_, requirement)| !requirement.matches(&offer.version))?;
    Some(format!("this node has `{name}` {}, which does not meet `{text}`", offer.version))
}

/// What might help where no version meets a requirement.
pub(super) fn hint(name: &str, text: &str, (requirement, ranks): (&VersionReq, &Ranks), pool: &Pool) -> String {
    let versions = || pool.versions.iter().rev().map(|offer| &offer.version);
    let matching: Vec<u32> = all(pool, ranks).collect();
    if let Some((version, hidden)) = matching.last().and_then(|rank| Some((pool.version(*rank), pool.hidden(*rank)?))) {
        return match hidden {
            Hidden::Yanked(reason) if reason.is_empty() => format!("`{name}` {version} meets `{text}` but was yanked"),
            Hidden::Yanked(reason) => format!("`{name}` {version} meets `{text}` but was yanked: {reason}"),
            Hidden::TooNew => format!("`{name}` {version} meets `{text}` but is newer than `--exclude-newer` allows"),
            Hidden::Incompatible(from) => {
                format!("`{name}` {version} meets `{text}` but is not compatible with {from}, which is locked")
            }
        };
    }
    let released = |version: &Version| Version { pre: Prerelease::EMPTY, ..version.clone() };
    if let Some(version) = versions().find(|version| requirement.matches(&released(version))) {
        return format!("`{name}` {version} is a pre-release; `={version}` asks for it");
    }
    let full = Ranks::full();
    let usable = pool.usable(&full).map(|rank| pool.version(rank));
    match usable.min_by_key(|version| distance(version, requirement)) {
        Some(nearest) => format!("the nearest version of `{name}` is {nearest}"),
        None if all(pool, &full).all(|rank| matches!(pool.hidden(rank), Some(Hidden::Yanked(_)))) => {
            format!("every version of `{name}` was yanked")
        }
        None => format!("no version of `{name}` may be chosen: each was yanked or is too new"),
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
