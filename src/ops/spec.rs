//! How a person names packages: `vec3`, `vec3@1.2.0`, `vec3@^1.2`, or a directory.

use std::path::PathBuf;

use semver::{Version, VersionReq};

use super::OpError;
use crate::lockfile::Requirement;
use crate::package::name::PackageName;

/// What a word names.
pub(super) enum Target {
    /// A package by name.
    Named(Requirement),
    /// A package in a directory.
    Directory(PathBuf),
}

/// Reads a word that may be a directory: it has a path separator before any `@`, or begins with a dot.
pub(super) fn target(word: &str) -> Result<Target, OpError> {
    let looks_like_path = word.starts_with('.') || word.starts_with('/') || std::path::Path::new(word).is_absolute();
    if looks_like_path { Ok(Target::Directory(word.into())) } else { requirement(word).map(Target::Named) }
}

/// Reads `name` or `name@requirement`. A whole version means exactly that one.
pub(super) fn requirement(word: &str) -> Result<Requirement, OpError> {
    let fault = |reason: String| OpError::Spec { word: word.to_owned(), reason };
    let (name, text) = word.split_once('@').unwrap_or((word, "*"));
    let name: PackageName = name.parse().map_err(|error| fault(format!("{error}")))?;
    let requirement = match Version::parse(text) {
        Ok(version) => VersionReq::parse(&format!("={version}")),
        Err(_) => VersionReq::parse(text),
    }
    .map_err(|error| fault(format!("`{text}` is no version requirement: {error}")))?;
    Ok(Requirement { name, requirement, requirement_text: text.to_owned(), features: Vec::new() })
}

/// Reads `name` or `name@version`.
pub(super) fn exact(word: &str) -> Result<(PackageName, Option<Version>), OpError> {
    let fault = |reason: String| OpError::Spec { word: word.to_owned(), reason };
    let (name, version) = match word.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (word, None),
    };
    let name = name.parse().map_err(|error| fault(format!("{error}")))?;
    let version = version.map(Version::parse).transpose().map_err(|error| fault(error.to_string()))?;
    Ok((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_packages_in_four_ways() {
        let text = |word: &str| match target(word).expect("names something") {
            Target::Named(requirement) => format!("{} {}", requirement.name, requirement.requirement),
            Target::Directory(path) => path.display().to_string(),
        };
        assert_eq!(text("vec3"), "vec3 *");
        assert_eq!(text("acme/vec3@1.2.0"), "acme/vec3 =1.2.0");
        assert_eq!(text("vec3@^1.2"), "vec3 ^1.2");
        assert_eq!(text("./vec3"), "./vec3");
        for wrong in ["Vec3", "vec3@", "vec3@new", ""] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert_eq!(exact("vec3@1.0.0").expect("valid").1, Some(Version::new(1, 0, 0)));
        assert!(exact("vec3@^1").is_err());
    }
}
