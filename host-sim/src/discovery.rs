//! Finds extension bundles: directories with an `extension.yaml`.
//!
//! A bundle that cannot be read is reported and never hides the others. Nothing is loaded and no library is opened. The
//! same directories give the same answer in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use crate::manifest::{self, ExtensionId, FILE_NAME, Manifest, ManifestError};

/// The most extensions of one host.
pub const EXTENSIONS_MAX: usize = 50;
/// The most entries looked at in one search path.
pub const ENTRIES_MAX: usize = 1_000;

/// An extension that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// The directory that relative paths of the manifest begin at.
    pub directory: PathBuf,
    /// What the manifest says.
    pub manifest: Manifest,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// One bundle per id, by id.
    pub bundles: Vec<Bundle>,
    /// What could not be used, in the order it was met.
    pub rejected: Vec<Rejected>,
    /// What an administrator should know, by id.
    pub shadowed: Vec<Shadowed>,
}

/// A place that gave no extension.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The manifest is unreadable or invalid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The directory could not be listed.
    #[error("cannot list the search path `{path}`")]
    Unlistable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory has too many entries; those beyond the bound, by name, were not looked at.
    #[error("the search path `{path}` has {count} entries, expected at most {ENTRIES_MAX}")]
    TooManyEntries {
        /// The directory.
        path: PathBuf,
        /// How many entries it has.
        count: usize,
    },
    /// There are more extensions than a host takes.
    #[error("the extension `{id}` in `{directory}` is one too many, expected at most {EXTENSIONS_MAX}")]
    TooMany {
        /// Its id.
        id: ExtensionId,
        /// Its directory.
        directory: PathBuf,
    },
}

/// One id in several bundles: the highest version is used, the others are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extension `{id}` is there more than once: `{}` is used, `{}` is ignored", describe(.used), describe(.ignored))]
pub struct Shadowed {
    /// The id.
    pub id: ExtensionId,
    /// The bundle in use.
    pub used: (Version, PathBuf),
    /// A bundle that is ignored.
    pub ignored: (Version, PathBuf),
}

/// Gives the places to search, the first ones first: those given, then HyperMesh's own.
pub fn search_paths(given: &[PathBuf], user_home: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = given.to_vec();
    paths.push(PathBuf::from("./extensions"));
    paths.extend(user_home.map(|home| home.join(".hypermesh/extensions")));
    paths.push(PathBuf::from("/usr/local/lib/hypermesh/extensions"));
    paths.push(PathBuf::from("/opt/hypermesh/extensions"));
    let mut seen = Vec::new();
    paths.retain(|path| {
        !seen.contains(path) && {
            seen.push(path.clone());
            true
        }
    });
    paths
}

/// Searches directories for bundles: each directory itself and the directories in it.
///
/// Where an id is there more than once, an enabled bundle wins over a disabled one, then the higher version, then the
/// earlier place. A search path that does not exist is no fault, and one that is there by another name is searched once.
pub fn discover(paths: &[PathBuf]) -> Discovery {
    let mut found = Discovery::default();
    let mut by_id: BTreeMap<ExtensionId, Vec<Bundle>> = BTreeMap::new();
    // A home has its extensions by two names where the command is run in it.
    let mut seen = BTreeSet::new();
    let paths = paths.iter().filter(|path| path.canonicalize().map_or(true, |real| seen.insert(real)));
    for directory in paths.flat_map(|path| candidates(path, &mut found.rejected)).collect::<Vec<_>>() {
        match manifest::read(&directory.join(FILE_NAME)) {
            Ok(manifest) => by_id.entry(manifest.id.clone()).or_default().push(Bundle { directory, manifest }),
            Err(error) => found.rejected.push(error.into()),
        }
    }
    for (id, mut bundles) in by_id {
        // The sort is stable: among equals the earlier place stays first.
        bundles.sort_by(|a, b| rank(b).cmp(&rank(a)));
        let mut bundles = bundles.into_iter();
        let Some(used) = bundles.next() else { continue };
        found.shadowed.extend(bundles.map(|ignored| Shadowed {
            id: id.clone(),
            used: identity(&used),
            ignored: identity(&ignored),
        }));
        if found.bundles.len() < EXTENSIONS_MAX {
            found.bundles.push(used);
        } else {
            found.rejected.push(Rejected::TooMany { id, directory: used.directory });
        }
    }
    found
}

fn rank(bundle: &Bundle) -> (bool, &Version) {
    (bundle.manifest.enabled, &bundle.manifest.version)
}

fn identity(bundle: &Bundle) -> (Version, PathBuf) {
    (bundle.manifest.version.clone(), bundle.directory.clone())
}

fn describe((version, directory): &(Version, PathBuf)) -> String {
    format!("{version} in {}", directory.display())
}

/// Lists the directories at a search path that have a manifest.
fn candidates(path: &Path, rejected: &mut Vec<Rejected>) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut inside: Vec<PathBuf> = match listed {
        Ok(inside) => inside,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => {
            rejected.push(Rejected::Unlistable { path: path.to_owned(), source });
            return Vec::new();
        }
    };
    inside.sort();
    if inside.len() > ENTRIES_MAX {
        rejected.push(Rejected::TooManyEntries { path: path.to_owned(), count: inside.len() });
        inside.truncate(ENTRIES_MAX);
    }
    inside.insert(0, path.to_owned());
    // A manifest that is there and unreadable is reported later; one that is not there is no bundle.
    inside.retain(|directory| directory.join(FILE_NAME).symlink_metadata().is_ok());
    inside
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::manifest::Digest;

    fn bundle(root: &Path, name: &str, id: &str, version: &str, rest: &str) {
        let directory = root.join(name);
        fs::create_dir_all(&directory).expect("created");
        let text = format!(
            "{{apiVersion: extension.hypermesh/v1, id: {id}, version: {version}, trust: basic, \
             library: {{path: x.so, digest: '{}'}}{rest}}}",
            Digest::of(b"")
        );
        fs::write(directory.join(FILE_NAME), text).expect("written");
    }

    fn ids(discovery: &Discovery) -> Vec<String> {
        discovery.bundles.iter().map(|b| format!("{} {}", b.manifest.id, b.manifest.version)).collect()
    }

    #[test]
    fn given_paths_come_before_those_of_hypermesh_and_none_twice() {
        let paths = search_paths(&["/a".into(), "/opt/hypermesh/extensions".into()], Some(Path::new("/home/x")));
        let texts: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            texts,
            [
                "/a",
                "/opt/hypermesh/extensions",
                "./extensions",
                "/home/x/.hypermesh/extensions",
                "/usr/local/lib/hypermesh/extensions"
            ]
        );
    }

    #[test]
    fn bad_bundles_are_reported_and_hide_nothing() {
        let root = tempfile::tempdir().expect("temporary directory");
        bundle(root.path(), "b", "b", "1.0.0", "");
        bundle(root.path(), "a", "a", "1.0.0", ", unknown: 1");
        fs::create_dir(root.path().join("no-manifest")).expect("created");
        fs::create_dir_all(root.path().join("c").join(FILE_NAME)).expect("created");
        fs::write(root.path().join("file"), "").expect("written");
        let found = discover(&[root.path().join("absent"), root.path().join("file"), root.path().to_owned()]);
        assert_eq!(ids(&found), ["b 1.0.0"]);
        let kinds: Vec<_> = found
            .rejected
            .iter()
            .map(|rejected| match rejected {
                Rejected::Unlistable { .. } => "unlistable",
                Rejected::Manifest(ManifestError::Invalid(_)) => "invalid",
                Rejected::Manifest(ManifestError::Unreadable { .. }) => "unreadable",
                _ => "other",
            })
            .collect();
        assert_eq!(kinds, ["unlistable", "invalid", "unreadable"]);
    }

    #[test]
    fn the_highest_enabled_version_wins_and_the_warning_names_both() {
        let root = tempfile::tempdir().expect("temporary directory");
        bundle(root.path(), "old", "x", "1.9.0", "");
        bundle(root.path(), "new", "x", "1.10.0", "");
        bundle(root.path(), "off", "x", "2.0.0", ", enabled: false");
        let found = discover(&[root.path().to_owned()]);
        assert_eq!(ids(&found), ["x 1.10.0"]);
        let warning = found.shadowed[0].to_string().replace(&root.path().display().to_string(), "");
        assert_eq!(
            warning,
            "the extension `x` is there more than once: `1.10.0 in /new` is used, `1.9.0 in /old` is ignored"
        );
        assert_eq!(found.shadowed.len(), 2);
    }

    #[test]
    fn a_search_path_may_be_a_bundle_itself_and_the_earlier_place_wins_among_equals() {
        let root = tempfile::tempdir().expect("temporary directory");
        bundle(root.path(), "one", "x", "1.0.0", "");
        bundle(root.path(), "two", "x", "1.0.0", "");
        let found = discover(&[root.path().join("two"), root.path().join("one")]);
        assert_eq!(found.bundles[0].directory, root.path().join("two"));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path().join("two"), &link).expect("linked");
        let found = discover(&[root.path().join("two"), link, root.path().join("two/../two")]);
        assert_eq!((found.bundles.len(), found.shadowed), (1, vec![]));
    }

    #[test]
    fn counts_are_bounded_at_their_edge() {
        let root = tempfile::tempdir().expect("temporary directory");
        for index in 0..EXTENSIONS_MAX {
            bundle(root.path(), &format!("x{index:02}"), &format!("x{index:02}"), "1.0.0", "");
        }
        assert!(discover(&[root.path().to_owned()]).rejected.is_empty());
        bundle(root.path(), "y", "y", "1.0.0", "");
        let found = discover(&[root.path().to_owned()]);
        assert_eq!(found.bundles.len(), EXTENSIONS_MAX);
        assert!(matches!(&found.rejected[..], [Rejected::TooMany { id, .. }] if id.as_str() == "y"));

        let crowd = tempfile::tempdir().expect("temporary directory");
        for index in 0..=ENTRIES_MAX {
            fs::write(crowd.path().join(format!("{index}")), "").expect("written");
        }
        let found = discover(&[crowd.path().to_owned()]);
        assert!(matches!(&found.rejected[..], [Rejected::TooManyEntries { count, .. }] if *count == ENTRIES_MAX + 1));
    }
}
