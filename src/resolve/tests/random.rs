//! Random registries and universes, held against a search that tries everything.
//!
//! The oracle knows nothing of ranks, buckets or derivations: it meets one open need after the other with each version that
//! will do, and goes back where that leads nowhere.

use super::super::fixture::Fixture;
use super::super::universe::{Mode, UniverseOptions, requirements as universe_requirements};
use super::*;

/// What may be chosen, and how.
struct Oracle<'a> {
    versions: BTreeMap<&'a str, Vec<(&'a Candidate, &'a Details)>>,
    locked: Option<&'a Lockfile>,
    limit: Option<OffsetDateTime>,
    majors: bool,
    circles: bool,
}

/// A choice in the making.
#[derive(Clone, Default)]
struct Choice<'a> {
    /// By name and major version.
    versions: BTreeMap<(&'a str, (u64, u64, u64)), &'a Version>,
    features: BTreeSet<(&'a str, &'a Version, &'a str)>,
    open: Vec<Open<'a>>,
}

#[derive(Clone)]
struct Open<'a> {
    by: Option<(&'a str, (u64, u64, u64))>,
    name: &'a str,
    requirement: &'a semver::VersionReq,
    features: &'a [String],
}

impl<'a> Oracle<'a> {
    fn of(registry: &'a Fixture) -> Self {
        let versions = registry.packages.iter();
        let versions = versions.map(|(name, all)| (name.as_str(), all.iter().map(|(one, two)| (one, two)).collect()));
        Self { versions: versions.collect(), locked: None, limit: None, majors: false, circles: false }
    }

    /// Whether some choice meets the requirements.
    fn is_satisfiable(&self, roots: &'a [Requirement]) -> bool {
        let mut choice = Choice::default();
        choice.open.extend(roots.iter().map(|root| Open {
            by: None,
            name: root.name.as_str(),
            requirement: &root.requirement,
            features: &root.features,
        }));
        self.search(choice)
    }

    /// Whether these versions, and only these, meet the requirements.
    fn holds(&self, roots: &'a [Requirement], chosen: &[(String, Version)]) -> bool {
        let is_chosen = |name: &str, version: &Version| chosen.iter().any(|(a, b)| a == name && b == version);
        let versions = self.versions.iter().map(|(name, all)| {
            (*name, all.iter().copied().filter(|(candidate, _)| is_chosen(name, &candidate.version)).collect())
        });
        let mut slots = BTreeSet::new();
        chosen.iter().all(|(name, version)| slots.insert((name, self.slot(version))))
            && Self { versions: versions.collect(), ..*self }.is_satisfiable(roots)
    }

    fn slot(&self, version: &Version) -> (u64, u64, u64) {
        if self.majors { pool::major(version) } else { (0, 0, 0) }
    }

    fn may_be_chosen(&self, name: &str, candidate: &Candidate) -> bool {
        let mut locked = self.locked.into_iter().flat_map(Lockfile::packages);
        let is_locked = locked.any(|package| package.name.as_str() == name && package.version == candidate.version);
        let too_new = self.limit.is_some_and(|limit| candidate.published_at.is_none_or(|day| day > limit));
        is_locked || (candidate.yanked.is_none() && !too_new)
    }

    fn search(&self, mut choice: Choice<'a>) -> bool {
        let Some(need) = choice.open.pop() else { return self.stands_together(&choice) };
        let versions = self.versions.get(need.name).map_or(&[][..], Vec::as_slice);
        versions.iter().any(|(candidate, details)| {
            let key = (need.name, self.slot(&candidate.version));
            let fits = need.requirement.matches(&candidate.version)
                && self.may_be_chosen(need.name, candidate)
                && choice.versions.get(&key).is_none_or(|chosen| **chosen == candidate.version)
                && (self.circles || need.by != Some(key));
            let mut next = choice.clone();
            fits && self.take(&mut next, key, (candidate, details), need.features) && self.search(next)
        })
    }

    /// Whether no version excludes another.
    fn stands_together(&self, choice: &Choice<'a>) -> bool {
        choice.versions.iter().all(|((name, _), version)| {
            let mut known = self.versions[name].iter();
            let details = known.find(|(candidate, _)| candidate.version == **version).map(|(_, details)| details);
            details.into_iter().flat_map(|details| &details.conflicts).all(|conflict| {
                let excludes = |(name, version): (&str, &Version)| {
                    name == conflict.name.as_str() && conflict.requirement.matches(version)
                };
                !choice.versions.iter().any(|((name, _), version)| excludes((name, version)))
            })
        })
    }

    /// Takes a version with features into a choice; not if it lacks one.
    fn take(
        &self,
        choice: &mut Choice<'a>,
        key: (&'a str, (u64, u64, u64)),
        (candidate, details): (&'a Candidate, &'a Details),
        features: &'a [String],
    ) -> bool {
        let open = |need: &'a Dependency| Open {
            by: Some(key),
            name: need.name.as_str(),
            requirement: &need.requirement,
            features: &need.features,
        };
        let here = |need: &&Dependency| {
            need.platform.as_deref().is_none_or(|platform| crate::package::platform::matches(platform, PLATFORM))
        };
        if choice.versions.insert(key, &candidate.version).is_none() {
            choice.open.extend(details.dependencies.iter().filter(|need| !need.optional).filter(here).map(open));
        }
        let mut waiting: Vec<&str> = features.iter().map(String::as_str).collect();
        while let Some(feature) = waiting.pop() {
            if !choice.features.insert((key.0, &candidate.version, feature)) {
                continue;
            }
            let named = |need: &&Dependency| need.optional && need.name.as_str() == feature;
            let listed = details.features.get(feature);
            if listed.is_none() && !details.dependencies.iter().any(|need| named(&need)) {
                return false;
            }
            waiting.extend(listed.into_iter().flatten().map(String::as_str));
            choice.open.extend(details.dependencies.iter().filter(named).filter(here).map(open));
        }
        true
    }
}

const PLATFORM: &str = "linux-x86_64";

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed says all.
struct Random(u64);

impl Random {
    fn seeded(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).expect("is small")]
    }

    fn one_in(&mut self, many: u64, text: &'static str) -> &'static str {
        if self.below(many) == 0 { text } else { "" }
    }

    fn need(&mut self, optional: &str, feature: &str) -> String {
        let requirement =
            self.pick(&["*", "*", "*", "^1", "^1", "^2", ">=1.1", "<2", "=1.0.0", "~1.1", ">=2.0.0-rc.1", "^3"]);
        let names = ["a", "b", "c", "d", "e", "a", "b", "c", "d", "e", "a", "f"];
        let platform = self.pick(&["", "", "", "", "", "@linux", "@windows"]);
        format!("{}{optional}{feature}{platform} {requirement}", self.pick(&names))
    }

    fn registry(&mut self, with_features: bool, with_exclusions: bool) -> String {
        let many = |yes: bool, many| if yes { many } else { u64::MAX };
        let mut lines = String::new();
        for name in ["a", "b", "c", "d", "e"] {
            for version in ["1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0"] {
                if self.below(4) == 0 {
                    continue;
                }
                let yanked = self.one_in(10, " yanked");
                let day = self.below(10);
                let features = match self.below(many(with_features, 2)) {
                    0 => format!(" +x={}", self.pick(&["", "y", "a", "b"])),
                    _ => String::new(),
                };
                let mut needs: Vec<_> = (0..self.below(3))
                    .map(|_| {
                        let optional = self.one_in(many(with_features, 3), "?");
                        let feature = self.one_in(many(with_features, 3), "[x]");
                        self.need(optional, feature)
                    })
                    .collect();
                if self.below(many(with_exclusions, 3)) == 0 {
                    needs.push(format!("!{}", self.need("", "").replace("@linux", "").replace("@windows", "")));
                }
                lines += &format!("{name} {version}{yanked} #{day}{features} -> {}\n", needs.join("; "));
            }
        }
        lines
    }

    fn roots(&mut self, with_features: bool) -> String {
        let feature = if with_features { "[x]" } else { "" };
        format!("{}; {}", self.need("", ""), self.need("", feature)).replace("@linux", "").replace("@windows", "")
    }
}

/// Seeds of random registries.
const CASES: u64 = 6_000;
/// Seeds of random universes.
const UNIVERSES: u64 = 4_000;

#[test]
fn random_graphs_agree_with_trying_everything() {
    let (mut satisfiable, mut unsatisfiable, mut circles, mut locks) = (0, 0, 0, 0);
    for seed in 1..=CASES {
        let mut random = Random::seeded(seed);
        let text = random.registry(seed % 2 == 0, seed % 7 < 3);
        let roots_text = random.roots(seed % 4 == 0);
        let (registry, roots) = (fixture(&text), fixture::requirements(&roots_text));
        // What was locked was chosen among all versions, so some of it is yanked or too new now.
        let mut before = registry.clone();
        let all = before.packages.values_mut().flatten();
        all.for_each(|(candidate, _)| (candidate.yanked, candidate.published_at) = (None, None));
        let locked = (seed % 3 == 0).then(|| resolve(&before, &roots, None, &options()).ok()).flatten();
        let locked = locked.map(Resolution::into_lockfile);
        locks += usize::from(locked.is_some());
        let limit = (seed % 5 == 0).then(|| OffsetDateTime::UNIX_EPOCH + time::Duration::days(6));
        let preference = [Preference::Highest, Preference::Lowest, Preference::LowestDirect];
        let preference = preference[usize::try_from(random.below(3)).expect("is small")];
        let options = Options { exclude_newer: limit, preference, ..options() };
        let oracle = Oracle { locked: locked.as_ref(), limit, ..Oracle::of(&registry) };
        let context = format!("seed {seed}, roots {roots_text}\n{text}");
        match resolve(&registry, &roots, locked.as_ref(), &options) {
            Ok(resolution) => {
                satisfiable += 1;
                let chosen: Vec<_> =
                    resolution.packages().map(|package| (package.name.to_string(), package.version.clone())).collect();
                assert!(oracle.holds(&roots, &chosen), "{context}");
                for left_out in 0..chosen.len() {
                    let fewer = [&chosen[..left_out], &chosen[left_out + 1..]].concat();
                    assert!(!oracle.holds(&roots, &fewer), "{} is not needed: {context}", chosen[left_out].0);
                }
                let again = resolve(&registry, &roots, Some(resolution.lockfile()), &options).expect("resolves");
                assert_eq!(again, resolution, "{context}");
                if let Some(locked) = &locked {
                    assert_eq!(resolution.lockfile(), locked, "what is locked fits and is kept: {context}");
                }
            }
            Err(ResolveError::Cycle { .. }) => {
                circles += 1;
                assert!(oracle.is_satisfiable(&roots), "{context}");
            }
            Err(ResolveError::Unsatisfiable(conflict)) => {
                unsatisfiable += 1;
                assert!(!oracle.is_satisfiable(&roots), "{conflict}\n{context}");
                assert!(conflict.to_string().lines().count() <= REPORT_LINES_MAX, "{conflict}");
                if seed % 2 == 1 {
                    assert!(facts_suffice(&registry, &roots, &conflict, limit), "{conflict}\n{context}");
                }
            }
            Err(error) => panic!("{error}\n{context}"),
        }
    }
    let counts = (satisfiable, unsatisfiable, circles, locks);
    assert!(satisfiable > 1_000 && unsatisfiable > 1_000 && circles > 50 && locks > 300, "{counts:?}");
}

/// Whether what a report states, and nothing else, already rules out every choice.
fn facts_suffice(
    registry: &Fixture,
    roots: &[Requirement],
    conflict: &Conflict,
    limit: Option<OffsetDateTime>,
) -> bool {
    let mut stated = registry.clone();
    for (name, versions) in &mut stated.packages {
        versions.sort_by(|(a, _), (b, _)| a.version.cmp(&b.version));
        for (rank, (_, details)) in (0..).zip(versions) {
            details
                .conflicts
                .retain(|it| conflict.excludes(name.as_str(), rank, it.name.as_str(), &it.requirement_text));
            details.dependencies.retain(|need| {
                need.name == *name
                    || conflict.names(Some(name.as_str()), rank, need.name.as_str(), &need.requirement_text)
            });
        }
    }
    let mut roots = roots.to_vec();
    roots.retain(|root| conflict.names(None, 0, root.name.as_str(), &root.requirement_text));
    !Oracle { limit, ..Oracle::of(&stated) }.is_satisfiable(&roots)
}

#[test]
fn random_universes_agree_with_trying_everything_in_both_modes() {
    let (mut satisfiable, mut unsatisfiable, mut side_by_side) = (0, 0, 0);
    for seed in 1..=UNIVERSES {
        let mut random = Random::seeded(seed.wrapping_mul(0x5851_F42D));
        let text = random.registry(seed % 2 == 0, false);
        let roots_text = random.roots(seed % 4 == 0);
        let (registry, roots) = (fixture(&text), fixture::requirements(&roots_text));
        let majors = seed % 3 != 0;
        let oracle = Oracle { majors, circles: true, ..Oracle::of(&registry) };
        let options = UniverseOptions {
            platform: PLATFORM.into(),
            mode: if majors { Mode::Majors } else { Mode::Single },
            preference: if seed % 5 == 0 { Preference::Lowest } else { Preference::Highest },
            exclude_newer: None,
            rounds_max: ROUNDS_MAX,
        };
        let universe = Universe::read(lines(&registry).as_bytes()).expect("reads");
        let wanted: Vec<_> = roots
            .iter()
            .map(|root| serde_json::json!({"name": root.name, "req": root.requirement_text, "features": root.features}))
            .collect();
        let wanted = universe_requirements(&serde_json::Value::from(wanted).to_string()).expect("reads");
        let context = format!("seed {seed}, majors {majors}, roots {roots_text}\n{text}");
        match universe.resolve(&wanted, &options) {
            Ok(chosen) => {
                satisfiable += 1;
                let names: BTreeSet<_> = chosen.iter().map(|(name, _)| name).collect();
                side_by_side += usize::from(names.len() < chosen.len());
                assert!(oracle.holds(&roots, &chosen), "{chosen:?}\n{context}");
            }
            Err(ResolveError::Unsatisfiable(conflict)) => {
                unsatisfiable += 1;
                assert!(!oracle.is_satisfiable(&roots), "{conflict}\n{context}");
            }
            Err(error) => panic!("{error}\n{context}"),
        }
    }
    let counts = (satisfiable, unsatisfiable, side_by_side);
    assert!(satisfiable > 1_000 && unsatisfiable > 1_000 && side_by_side > 100, "{counts:?}");
}

/// Writes a registry as a universe.
fn lines(registry: &Fixture) -> String {
    let mut lines = String::new();
    for (name, versions) in &registry.packages {
        for (candidate, details) in versions {
            let needs: Vec<_> = details
                .dependencies
                .iter()
                .map(|need| {
                    serde_json::json!({"name": need.name, "req": need.requirement_text, "optional": need.optional,
                        "features": need.features, "platform": need.platform})
                })
                .collect();
            let line = serde_json::json!({"name": name, "version": candidate.version, "dependencies": needs,
                "features": details.features, "yanked": candidate.yanked.is_some()});
            lines += &format!("{line}\n");
        }
    }
    lines
}
