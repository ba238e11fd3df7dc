//! A registry written as text, for tests.
//!
//! One version a line: `name version [yanked[:reason]] [#day] [+feature[=item,item]]... [-> dependency;...]`, where the day of
//! publication counts from 1970, and a
//! dependency is `name[?][feature,feature][@platform] requirement`, where `?` says optional and the requirement may be
//! `git:URL`. `!name requirement` among the dependencies is what the version cannot stand beside. Versions may leave out trailing
//! zeros.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use time::OffsetDateTime;

use super::{Candidate, Candidates, CandidatesError, Details};
use crate::digest::Digest;
use crate::lockfile::Requirement;
use crate::package::model::{Conflict, Dependency, Source};
use crate::package::name::PackageName;

/// A registry in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fixture {
    pub(crate) packages: BTreeMap<PackageName, Vec<(Candidate, Details)>>,
}

impl Candidates for Fixture {
    fn candidates(&self, name: &PackageName) -> Result<Vec<Candidate>, CandidatesError> {
        Ok(self.packages.get(name).into_iter().flatten().map(|(candidate, _)| candidate.clone()).collect())
    }

    fn details(&self, name: &PackageName, version: &Version) -> Result<Details, CandidatesError> {
        let mut versions = self.packages.get(name).into_iter().flatten();
        let found = versions.find(|(candidate, _)| candidate.version == *version);
        found.map(|(_, details)| details.clone()).ok_or_else(|| "no such version".into())
    }

    fn names(&self) -> Result<Vec<PackageName>, CandidatesError> {
        Ok(self.packages.keys().cloned().collect())
    }
}

pub(crate) fn fixture(text: &str) -> Fixture {
    let mut fixture = Fixture::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, tail) = line.split_once("->").unwrap_or((line, ""));
        let mut words = head.split_whitespace();
        let name: PackageName = words.next().expect("a name").parse().expect("a valid name");
        let version = version(words.next().expect("a version"));
        let mut details = Details {
            digest: Digest::of(format!("{name}@{version}").as_bytes()),
            dependencies: split(tail, ';').filter(|part| !part.starts_with('!')).map(dependency).collect(),
            conflicts: split(tail, ';').filter_map(|part| part.strip_prefix('!')).map(conflict).collect(),
            features: BTreeMap::new(),
        };
        let mut candidate = Candidate { version, yanked: None, published_at: None };
        for word in words {
            if let Some(feature) = word.strip_prefix('+') {
                let (feature, items) = feature.split_once('=').unwrap_or((feature, ""));
                details.features.insert(feature.to_owned(), split(items, ',').map(str::to_owned).collect());
            } else if let Some(day) = word.strip_prefix('#') {
                let day: i64 = day.parse().expect("a number of days");
                candidate.published_at = Some(OffsetDateTime::UNIX_EPOCH + time::Duration::days(day));
            } else {
                let reason = word.strip_prefix("yanked").expect("a feature, a day or `yanked`");
                candidate.yanked = Some(reason.trim_start_matches(':').to_owned());
            }
        }
        fixture.packages.entry(name).or_default().push((candidate, details));
    }
    fixture
}

pub(crate) fn requirements(text: &str) -> Vec<Requirement> {
    split(text, ';')
        .map(dependency)
        .map(|Dependency { name, requirement, requirement_text, features, .. }| Requirement {
            name,
            requirement,
            requirement_text,
            features,
        })
        .collect()
}

pub(crate) fn dependency(text: &str) -> Dependency {
    let (head, requirement_text) = text.trim().split_once(' ').expect("a name and a requirement");
    let (head, platform) = head.split_once('@').map_or((head, None), |(head, platform)| (head, Some(platform)));
    let (head, features) = head.trim_end_matches(']').split_once('[').unwrap_or((head, ""));
    let git = requirement_text.strip_prefix("git:");
    Dependency {
        name: head.trim_end_matches('?').parse().expect("a valid name"),
        requirement: VersionReq::parse(git.map_or(requirement_text, |_| "*")).expect("a valid requirement"),
        requirement_text: requirement_text.to_owned(),
        optional: head.ends_with('?'),
        source: match git {
            Some(url) => Source::Git { url: url.to_owned(), reference: None, path: None },
            None => Source::Registry { registry: None },
        },
        features: split(features, ',').map(str::to_owned).collect(),
        platform: platform.map(str::to_owned),
    }
}

fn conflict(text: &str) -> Conflict {
    let Dependency { name, requirement, requirement_text, .. } = dependency(text);
    Conflict { name, requirement, requirement_text }
}

fn version(text: &str) -> Version {
    let padded = match text.matches('.').count() {
        0 => format!("{text}.0.0"),
        1 => format!("{text}.0"),
        _ => text.to_owned(),
    };
    padded.parse().expect("a valid version")
}

fn split(text: &str, by: char) -> impl Iterator<Item = &str> {
    text.split(by).map(str::trim).filter(|part| !part.is_empty())
}
