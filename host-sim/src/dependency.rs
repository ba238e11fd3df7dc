//! The order in which extensions are loaded, and which of them cannot be.
//!
//! An extension that cannot be loaded takes those with it that require it, and no others. Among extensions that are free
//! to go first, ids decide, so the same manifests always give the same order.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use crate::manifest::{ExtensionId, Manifest, Requirement};

/// What the host brings itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its version, which `hypermesh` of a manifest must match.
    pub version: Version,
    /// Services that count as extensions already loaded, such as `io.hypermesh.trustchain`.
    pub provides: BTreeMap<ExtensionId, Version>,
}

/// Which extensions are loaded, in which order, and which are not.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan<'a> {
    /// In the order of loading: what is required comes first.
    pub order: Vec<&'a Manifest>,
    /// What cannot be loaded and why, by id.
    pub refused: BTreeMap<ExtensionId, DependencyError>,
}

/// Why an extension cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DependencyError {
    /// It is made for another version of HyperMesh.
    #[error("`{id}` works with HyperMesh `{required}`, and this host is {host}")]
    Host {
        /// The extension.
        id: ExtensionId,
        /// What it requires.
        required: Requirement,
        /// What the host is.
        host: Version,
    },
    /// Something it requires is not there.
    #[error("`{id}` requires `{dependency}` `{required}`, which is not installed or not enabled")]
    Missing {
        /// The extension.
        id: ExtensionId,
        /// What it requires.
        dependency: ExtensionId,
        /// In which version.
        required: Requirement,
    },
    /// Something it requires is there in another version.
    #[error("`{id}` requires `{dependency}` `{required}`, and {found} is installed")]
    Version {
        /// The extension.
        id: ExtensionId,
        /// What it requires.
        dependency: ExtensionId,
        /// In which version.
        required: Requirement,
        /// What is there.
        found: Version,
    },
    /// Something it requires cannot be loaded either.
    #[error("`{id}` requires `{dependency}`, which cannot be loaded")]
    Refused {
        /// The extension.
        id: ExtensionId,
        /// What it requires.
        dependency: ExtensionId,
    },
    /// It requires itself through others.
    #[error("extensions depend on each other in a circle: {}", circle_text(.circle))]
    Cycle {
        /// The circle, from its smallest id; the last requires the first.
        circle: Vec<ExtensionId>,
    },
}

/// Orders manifests so that each comes after what it depends on. Disabled ones count as not installed.
///
/// An optional dependency that is missing, of another version or refused is left out; one that is there is loaded first.
/// Where an id is there twice, the later manifest counts: `discovery` gives each id once.
pub fn load_order<'a>(manifests: impl IntoIterator<Item = &'a Manifest>, host: &Host) -> LoadPlan<'a> {
    let installed: BTreeMap<&ExtensionId, &Manifest> =
        manifests.into_iter().filter(|manifest| manifest.enabled).map(|manifest| (&manifest.id, manifest)).collect();
    let graph = Graph { installed, host };
    let mut plan = LoadPlan { order: Vec::new(), refused: BTreeMap::new() };
    for manifest in graph.installed.values() {
        if let Some(error) = graph.fault(manifest) {
            plan.refused.insert(manifest.id.clone(), error);
        }
    }
    let mut placed = BTreeSet::new();
    loop {
        graph.refuse_dependents(&mut plan.refused);
        let waiting: Vec<_> = graph
            .installed
            .values()
            .filter(|manifest| !placed.contains(&manifest.id) && !plan.refused.contains_key(&manifest.id))
            .collect();
        let next = |manifest: &Manifest| graph.first_unplaced(manifest, &placed, &plan.refused).cloned();
        if let Some(free) = waiting.iter().find(|manifest| next(manifest).is_none()) {
            placed.insert(free.id.clone());
            plan.order.push(free);
        } else if let Some(start) = waiting.first() {
            let circle = circle(&start.id, |id| graph.installed.get(id).and_then(|manifest| next(manifest)));
            for id in &circle {
                plan.refused.insert(id.clone(), DependencyError::Cycle { circle: circle.clone() });
            }
        } else {
            return plan;
        }
    }
}

struct Graph<'a, 'h> {
    installed: BTreeMap<&'a ExtensionId, &'a Manifest>,
    host: &'h Host,
}

impl Graph<'_, '_> {
    /// Says what keeps an extension from being loaded whatever happens to the others.
    fn fault(&self, manifest: &Manifest) -> Option<DependencyError> {
        let id = manifest.id.clone();
        if !manifest.hypermesh.matches(&self.host.version) {
            let (required, host) = (manifest.hypermesh.clone(), self.host.version.clone());
            return Some(DependencyError::Host { id, required, host });
        }
        manifest.dependencies.iter().filter(|dependency| !dependency.optional).find_map(|dependency| {
            let (id, required) = (id.clone(), dependency.version.clone());
            match self.version(&dependency.id) {
                None => Some(DependencyError::Missing { id, dependency: dependency.id.clone(), required }),
                Some(found) if !required.matches(found) => {
                    let (dependency, found) = (dependency.id.clone(), found.clone());
                    Some(DependencyError::Version { id, dependency, required, found })
                }
                Some(_) => None,
            }
        })
    }

    /// Refuses, to the end of every chain, what requires something refused.
    fn refuse_dependents(&self, refused: &mut BTreeMap<ExtensionId, DependencyError>) {
        loop {
            let broken =
                self.installed.values().filter(|manifest| !refused.contains_key(&manifest.id)).find_map(|manifest| {
                    let mut required = manifest.dependencies.iter().filter(|dependency| !dependency.optional);
                    required
                        .find(|dependency| refused.contains_key(&dependency.id))
                        .map(|dependency| (manifest.id.clone(), dependency.id.clone()))
                });
            let Some((id, dependency)) = broken else { return };
            refused.insert(id.clone(), DependencyError::Refused { id, dependency });
        }
    }

    /// Finds a dependency that has to be loaded before an extension and is not placed yet.
    fn first_unplaced<'m>(
        &self,
        manifest: &'m Manifest,
        placed: &BTreeSet<ExtensionId>,
        refused: &BTreeMap<ExtensionId, DependencyError>,
    ) -> Option<&'m ExtensionId> {
        manifest
            .dependencies
            .iter()
            .filter(|dependency| {
                let installed = self.installed.get(&dependency.id);
                installed.is_some_and(|manifest| dependency.version.matches(&manifest.version))
            })
            .map(|dependency| &dependency.id)
            .find(|id| !placed.contains(id) && !refused.contains_key(id))
    }

    /// Gives the version of an installed extension, or of a service of the host.
    fn version(&self, id: &ExtensionId) -> Option<&Version> {
        self.installed.get(id).map(|manifest| &manifest.version).or_else(|| self.host.provides.get(id))
    }
}

/// Follows `next` from `start` until it comes back to where it has been; the circle begins at its smallest id.
fn circle(start: &ExtensionId, next: impl Fn(&ExtensionId) -> Option<ExtensionId>) -> Vec<ExtensionId> {
    let mut walk = vec![start.clone()];
    while let Some(id) = walk.last().and_then(&next) {
        if let Some(begin) = walk.iter().position(|seen| *seen == id) {
            walk.drain(..begin);
            break;
        }
        walk.push(id);
    }
    let smallest = walk.iter().enumerate().min_by_key(|(_, id)| *id).map_or(0, |(index, _)| index);
    walk.rotate_left(smallest);
    walk
}

fn circle_text(circle: &[ExtensionId]) -> String {
    circle.iter().chain(circle.first()).map(|id| format!("`{id}`")).collect::<Vec<_>>().join(" -> ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::{Digest, parse};

    /// Reads lines such as `app 1.0.0 -> lib ^2, log? *`; `?` marks an optional dependency, `!` a disabled extension.
    fn manifests(lines: &str) -> Vec<Manifest> {
        lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(manifest).collect()
    }

    fn manifest(line: &str) -> Manifest {
        let (head, tail) = line.split_once("->").unwrap_or((line, ""));
        let (id, version) = head.trim().split_once(' ').expect("id and version");
        let dependencies: Vec<_> = tail
            .split(',')
            .filter_map(|dependency| dependency.trim().split_once(' '))
            .map(|(id, version)| {
                format!("{{id: {}, version: '{version}', optional: {}}}", id.trim_end_matches('?'), id.ends_with('?'))
            })
            .collect();
        let text = format!(
            "{{apiVersion: extension.hypermesh/v1, id: {}, version: {version}, trust: basic, enabled: {}, \
             library: {{path: x.so, digest: '{}'}}, dependencies: [{}]}}",
            id.trim_end_matches('!'),
            !id.ends_with('!'),
            Digest::of(b""),
            dependencies.join(", ")
        );
        parse(&text, line).expect("valid")
    }

    fn host() -> Host {
        let service = "io.hypermesh.trustchain".parse().expect("valid");
        Host { version: Version::new(1, 2, 0), provides: [(service, Version::new(1, 0, 0))].into() }
    }

    fn check(lines: &str, order: &str, refused: &[&str]) {
        let manifests = manifests(lines);
        let plan = load_order(&manifests, &host());
        let ids: Vec<_> = plan.order.iter().map(|manifest| manifest.id.as_str()).collect();
        assert_eq!(ids.join(" "), order);
        assert_eq!(plan.refused.values().map(ToString::to_string).collect::<Vec<_>>(), refused);
    }

    #[test]
    fn what_is_required_comes_first_and_ids_decide_among_equals() {
        check("a 1.0.0 -> c ^1\nb 1.0.0\nc 1.1.0 -> d *\nd 1.0.0", "b d c a", &[]);
        check("a 1.0.0 -> io.hypermesh.trustchain >=1", "a", &[]);
    }

    #[test]
    fn a_missing_or_other_version_refuses_the_extension_and_what_requires_it() {
        check(
            "a 1.0.0 -> b *\nb 1.0.0 -> gone ^1\nc 1.0.0 -> d ^2\nd 1.0.0\ne 1.0.0 -> off *\noff! 1.0.0",
            "d",
            &[
                "`a` requires `b`, which cannot be loaded",
                "`b` requires `gone` `^1`, which is not installed or not enabled",
                "`c` requires `d` `^2`, and 1.0.0 is installed",
                "`e` requires `off` `*`, which is not installed or not enabled",
            ],
        );
    }

    #[test]
    fn an_optional_dependency_is_loaded_first_if_it_can_be() {
        check("a 1.0.0 -> b? *\nb 1.0.0", "b a", &[]);
        check(
            "a 1.0.0 -> gone? *, b? ^2, c? *\nb 1.0.0\nc 1.0.0 -> gone *",
            "a b",
            &["`c` requires `gone` `*`, which is not installed or not enabled"],
        );
    }

    #[test]
    fn a_circle_is_named_and_spares_the_others() {
        let circle = "extensions depend on each other in a circle: `a` -> `c` -> `b` -> `a`";
        check(
            "x 1.0.0 -> a *\na 1.0.0 -> c *\nb 1.0.0 -> a *\nc 1.0.0 -> b *\ny 1.0.0",
            "y",
            &[circle, circle, circle, "`x` requires `a`, which cannot be loaded"],
        );
    }

    #[test]
    fn another_version_of_hypermesh_is_refused() {
        let mut wanted = manifests("a 1.0.0\nb 1.0.0");
        wanted[0].hypermesh = Requirement::caret(2);
        let plan = load_order(&wanted, &host());
        let id = "a".parse().expect("valid");
        assert_eq!(plan.refused[&id].to_string(), "`a` works with HyperMesh `^2`, and this host is 1.2.0");
        assert_eq!(plan.order.len(), 1);
    }

    proptest! {
        /// Whatever the graph: each extension is placed or refused, once, and after all it requires.
        #[test]
        fn every_extension_is_placed_after_its_dependencies_or_refused(edges in proptest::collection::btree_set((0_u8..8, 0_u8..9, any::<bool>()), 0..20)) {
            let line = |node: u8| {
                let mut seen = BTreeSet::new();
                let wanted: Vec<_> = edges
                    .iter()
                    .filter(|(from, to, _)| *from == node && to != from && seen.insert(*to))
                    .map(|(_, to, optional)| format!("n{to}{} *", if *optional { "?" } else { "" }))
                    .collect();
                format!("n{node} 1.0.0 -> {}", wanted.join(", "))
            };
            let manifests: Vec<_> = (0..8).map(|node| manifest(&line(node))).collect();
            let plan = load_order(&manifests, &host());
            prop_assert_eq!(plan.order.len() + plan.refused.len(), 8);
            for (place, manifest) in plan.order.iter().enumerate() {
                for dependency in &manifest.dependencies {
                    let before = plan.order[..place].iter().any(|earlier| earlier.id == dependency.id);
                    let absent = plan.refused.contains_key(&dependency.id) || dependency.id.as_str() == "n8";
                    prop_assert!(before || (dependency.optional && absent), "{} before {}", manifest.id, dependency.id);
                }
            }
        }
    }
}
