//! Which versions a record is about: the evaluation of the OSV schema, with the order of Semantic Versioning.
//!
//! Build metadata does not count, as section 10 of Semantic Versioning 2.0 says. Events at one version are taken in the
//! order introduced, last affected, fixed: the specification leaves it open, and any other order would let a range that
//! begins and ends at one version go on for ever.

use std::cmp::Ordering;

use semver::Version;

/// A point in the order of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// `0` as an introduction: before every version.
    Start,
    /// A version.
    At(Version),
}

/// What happens at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// From here on versions are affected.
    Introduced(Point),
    /// Up to and with this version they are.
    LastAffected(Version),
    /// From here on they are not.
    Fixed(Version),
}

/// One range of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// In the order in which they are evaluated.
    events: Vec<Event>,
    /// The version must be below one of these, if there are any; nothing stands for `*`.
    limits: Vec<Option<Version>>,
}

/// The versions that an entry is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Affected {
    pub(super) versions: Vec<Version>,
    pub(super) ranges: Vec<Range>,
}

impl Range {
    /// Puts events in order.
    pub(super) fn new(mut events: Vec<Event>, limits: Vec<Option<Version>>) -> Self {
        events.sort_by(compare);
        Self { events, limits }
    }

    /// Says whether a version lies in it.
    pub(super) fn contains(&self, version: &Version) -> bool {
        let below = |limit: &Option<Version>| limit.as_ref().is_none_or(|limit| before(version, limit));
        if !self.limits.is_empty() && !self.limits.iter().any(below) {
            return false;
        }
        let mut affected = false;
        for event in &self.events {
            match event {
                Event::Introduced(Point::Start) => affected = true,
                Event::Introduced(Point::At(at)) if !before(version, at) => affected = true,
                Event::Fixed(at) if !before(version, at) => affected = false,
                Event::LastAffected(at) if before(at, version) => affected = false,
                _ => {}
            }
        }
        affected
    }

    /// Gives the versions with a fix.
    pub(super) fn fixes(&self) -> impl Iterator<Item = &Version> {
        self.events.iter().filter_map(|event| match event {
            Event::Fixed(at) => Some(at),
            _ => None,
        })
    }
}

impl Affected {
    /// Says whether a version is listed or lies in a range.
    pub(super) fn contains(&self, version: &Version) -> bool {
        let is_listed = self.versions.iter().any(|listed| listed.cmp_precedence(version) == Ordering::Equal);
        is_listed || self.ranges.iter().any(|range| range.contains(version))
    }
}

fn before(a: &Version, b: &Version) -> bool {
    a.cmp_precedence(b) == Ordering::Less
}

fn compare(a: &Event, b: &Event) -> Ordering {
    let place = |event: &Event| match event {
        Event::Introduced(_) => 0,
        Event::LastAffected(_) => 1,
        Event::Fixed(_) => 2,
    };
    let by_version = match (version_of(a), version_of(b)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => a.cmp_precedence(b),
    };
    by_version.then_with(|| place(a).cmp(&place(b)))
}

/// Gives the version of an event; nothing for what comes before all.
fn version_of(event: &Event) -> Option<&Version> {
    match event {
        Event::Introduced(Point::Start) => None,
        Event::Introduced(Point::At(at)) | Event::LastAffected(at) | Event::Fixed(at) => Some(at),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `+0 -1.2.0 =2.0.0 <3.0.0 <*`: introduced, fixed, last affected, limits.
    fn range(text: &str) -> Range {
        let (mut events, mut limits) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            let (kind, rest) = word.split_at(1);
            let version = || rest.parse::<Version>().expect("a version");
            match kind {
                "+" if rest == "0" => events.push(Event::Introduced(Point::Start)),
                "+" => events.push(Event::Introduced(Point::At(version()))),
                "-" => events.push(Event::Fixed(version())),
                "=" => events.push(Event::LastAffected(version())),
                _ => limits.push((rest != "*").then(version)),
            }
        }
        Range::new(events, limits)
    }

    #[test]
    fn ranges_end_where_the_specification_says() {
        let check = |text: &str, inside: &[&str], outside: &[&str]| {
            let range = range(text);
            for (versions, expected) in [(inside, true), (outside, false)] {
                for version in versions {
                    assert_eq!(range.contains(&version.parse().expect("a version")), expected, "{text}: {version}");
                }
            }
        };
        check("+0", &["0.0.0-0", "0.0.0", "99.0.0"], &[]);
        check("+0 -1.0.2", &["0.0.0-alpha", "1.0.1", "1.0.2-rc.1"], &["1.0.2", "1.0.2+build", "2.0.0"]);
        check("+1.0.0 -1.0.2 +3.0.0 -3.2.5", &["1.0.0", "3.0.0", "3.2.4"], &["0.9.9", "1.0.0-rc.1", "1.0.2", "3.2.5"]);
        check("-3.2.5 +3.0.0 -1.0.2 +1.0.0", &["1.0.1", "3.1.0"], &["2.0.0"]);
        check("+0 =2.1.214", &["2.1.214", "2.1.214+x", "2.1.214-rc"], &["2.1.215-0", "3.0.0"]);
        check("+1.0.0 =1.0.0", &["1.0.0", "1.0.0+other"], &["0.9.0", "1.0.1"]);
        check("=1.0.0 +1.0.0", &["1.0.0"], &["1.0.1"]);
        check("+1.0.0 -1.0.0", &[], &["1.0.0", "1.0.1"]);
        check("+0 <2.0.0", &["1.9.9", "2.0.0-rc.1"], &["2.0.0"]);
        check("+0 <2.0.0 <3.0.0", &["2.5.0"], &["3.0.0"]);
        check("+0 <2.0.0 <*", &["9.0.0"], &[]);
        check("-1.0.0", &[], &["0.1.0", "1.0.0"]);
        check("", &[], &["1.0.0"]);
    }

    #[test]
    fn a_list_of_versions_counts_beside_ranges() {
        let affected = Affected {
            versions: vec!["1.5.0".parse().expect("a version")],
            ranges: vec![range("+1.0.0 -1.2.0"), range("+2.0.0 -2.1.0")],
        };
        let contains = |version: &str| affected.contains(&version.parse().expect("a version"));
        assert!(contains("1.1.0") && contains("1.5.0") && contains("1.5.0+b") && contains("2.0.5"));
        assert!(!contains("1.2.0") && !contains("1.5.0-rc") && !contains("1.5.1"));
    }

    fn version() -> impl Strategy<Value = Version> {
        ((0..3u64), (0..3u64), prop_oneof![3 => Just(""), 1 => Just("alpha"), 1 => Just("rc.1"), 1 => Just("rc.10")])
            .prop_map(|(minor, patch, pre)| {
                let dash = if pre.is_empty() { "" } else { "-" };
                format!("1.{minor}.{patch}{dash}{pre}").parse().expect("a version")
            })
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Introduced(Point::Start)),
            version().prop_map(|at| Event::Introduced(Point::At(at))),
            version().prop_map(Event::LastAffected),
            version().prop_map(Event::Fixed),
        ]
    }

    /// The same by another way: of all events that lie behind the version, the last one decides.
    fn naive(events: &[Event], limits: &[Version], version: &Version) -> bool {
        if !limits.is_empty() && limits.iter().all(|limit| version >= limit) {
            return false;
        }
        let key = |event: &Event| match event {
            Event::Introduced(Point::Start) => (None, 0),
            Event::Introduced(Point::At(at)) => (Some(at.clone()), 0),
            Event::LastAffected(at) => (Some(at.clone()), 1),
            Event::Fixed(at) => (Some(at.clone()), 2),
        };
        let happened = |event: &&Event| match event {
            Event::Introduced(Point::Start) => true,
            Event::Introduced(Point::At(at)) | Event::Fixed(at) => version >= at,
            Event::LastAffected(at) => version > at,
        };
        let last = events.iter().filter(happened).max_by_key(|event| key(event));
        matches!(last, Some(Event::Introduced(_)))
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_naive_evaluation(
            events in proptest::collection::vec(event(), 0..7),
            limits in proptest::collection::vec(version(), 0..3),
            version in version(),
        ) {
            let range = Range::new(events.clone(), limits.iter().cloned().map(Some).collect());
            prop_assert_eq!(range.contains(&version), naive(&events, &limits, &version));
            let mut turned = events;
            turned.reverse();
            let turned = Range::new(turned, limits.iter().rev().cloned().map(Some).collect());
            prop_assert_eq!(range.contains(&version), turned.contains(&version));
        }
    }
}
