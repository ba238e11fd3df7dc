//! `catalog.lock`: the exact packages that a set of requirements came to.
//!
//! Goals: readable, one key per line, one table per package in order of name, so that a change of one package is a change
//! of one table; the same resolution always gives the same bytes. Non-goals: it holds no choice of its own and nothing
//! about where the files lie.
//!
//! A [`Lockfile`] is whole: one version per name, every dependency is there, and no package builds on itself. Reading
//! refuses every other text with the line at fault. The first line after the comment is the version of the format. No line
//! depends on all packages, so two changes of different packages merge; [`merge`] reads what a merge left otherwise.

pub mod merge;

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::str::FromStr;

use semver::{Version, VersionReq};
use serde::Deserialize;
use toml::Spanned;

use crate::digest::Digest;
use crate::package::name::PackageName;

/// The version of the format that is written, and the only one so far.
pub const FORMAT_VERSION: u32 = 1;
/// The largest text, in bytes.
pub const LOCKFILE_BYTES_MAX: usize = 16 << 20;
/// The most packages and the most requirements.
pub const PACKAGES_MAX: usize = 20_000;

/// A whole set of packages and the requirements they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockfile {
    platform: String,
    roots: Vec<Requirement>,
    packages: BTreeMap<PackageName, LockedPackage>,
}

/// What somebody asks for: a package and the versions that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The package.
    pub name: PackageName,
    /// The versions that will do.
    pub requirement: VersionReq,
    /// The requirement as written, for messages.
    pub requirement_text: String,
    /// Features to switch on.
    pub features: Vec<String>,
}

/// One package at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The identity of its archive.
    pub digest: Digest,
    /// Where it comes from.
    pub source: LockedSource,
    /// The features that are on, sorted.
    pub features: Vec<String>,
    /// The packages it builds on, sorted; there is one version of each.
    pub dependencies: Vec<PackageName>,
}

/// Where a locked package comes from; in text `registry` or `registry+<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockedSource {
    /// A registry; the node's own if no name is given.
    Registry {
        /// The registry's name.
        registry: Option<String>,
    },
}

/// Why a text or a set of packages is no lockfile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockfileError {
    /// A text that is not of the format.
    #[error("line {line}: {reason}")]
    Text {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A format that is not known.
    #[error("lockfile has format version {found}, and this program reads version {FORMAT_VERSION}")]
    FormatVersion {
        /// The version found.
        found: u32,
    },
    /// More than the bound.
    #[error("lockfile passes the bound of {limit} {unit}")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A package twice.
    #[error("package `{name}` is there twice")]
    Duplicate {
        /// The package.
        name: PackageName,
    },
    /// A dependency or requirement without its package.
    #[error("`{name}`, which {dependent} needs, is not there")]
    Absent {
        /// The package that is missing.
        name: PackageName,
        /// Who needs it.
        dependent: String,
    },
    /// A package that is not what a requirement asks for.
    #[error("package `{name}` {version} does not meet the requirement `{requirement}`")]
    Unmet {
        /// The package.
        name: PackageName,
        /// The version locked.
        version: Version,
        /// The requirement as written.
        requirement: String,
    },
    /// Packages that build on each other in a circle.
    #[error("packages build on each other in a circle: {circle}", circle = Circle(circle))]
    Cycle {
        /// The circle; the first is not repeated at the end.
        circle: Vec<PackageName>,
    },
}

impl Lockfile {
    /// Puts packages together, in any order.
    ///
    /// # Errors
    /// A package twice, a dependency or root that is missing or does not meet its requirement, a circle, or too many.
    pub fn new(
        platform: String,
        mut roots: Vec<Requirement>,
        packages: Vec<LockedPackage>,
    ) -> Result<Self, LockfileError> {
        if packages.len().max(roots.len()) > PACKAGES_MAX {
            return Err(LockfileError::TooLarge { limit: PACKAGES_MAX, unit: "packages" });
        }
        let mut by_name = BTreeMap::new();
        for mut package in packages {
            package.features.sort_unstable();
            package.dependencies.sort_unstable();
            let name = package.name.clone();
            if by_name.insert(name.clone(), package).is_some() {
                return Err(LockfileError::Duplicate { name });
            }
        }
        roots.sort_unstable_by(|a, b| (&a.name, &a.requirement_text).cmp(&(&b.name, &b.requirement_text)));
        let lockfile = Self { platform, roots, packages: by_name };
        lockfile.check_roots()?;
        lockfile.dependency_order()?;
        Ok(lockfile)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// A text of another format or version, with the line, or a set of packages that is not whole.
    pub fn parse(text: &str) -> Result<Self, LockfileError> {
        let schema = Schema::parse(text)?;
        let mut lines = BTreeMap::new();
        let mut packages = Vec::with_capacity(schema.package.len());
        for package in schema.package {
            let line = line_of(text, package.span().start);
            let package = package.into_inner();
            if let Some(first) = lines.insert(package.name.clone(), line) {
                let reason = format!("package `{}` is there twice, first in line {first}", package.name);
                return Err(LockfileError::Text { line, reason });
            }
            packages.push(package.into_package(text)?);
        }
        let roots = schema.root.into_iter().map(RootSchema::into_requirement).collect();
        Self::new(schema.platform, roots, packages)
    }

    /// Gives the platform the packages were resolved for, such as `linux-x86_64`.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Gives the requirements, in order of name.
    pub fn roots(&self) -> &[Requirement] {
        &self.roots
    }

    /// Gives the packages, in order of name.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = &LockedPackage> {
        self.packages.values()
    }

    /// Gives one package.
    pub fn get(&self, name: &PackageName) -> Option<&LockedPackage> {
        self.packages.get(name)
    }

    /// Gives the packages with every dependency before its dependents; the order is the same for the same packages.
    ///
    /// # Errors
    /// None for a lockfile that has been made: they are the reason why [`Lockfile::new`] refuses.
    pub fn dependency_order(&self) -> Result<Vec<&LockedPackage>, LockfileError> {
        let mut order = Vec::with_capacity(self.packages.len());
        let mut known: Known<'_> =
            self.packages.iter().map(|(name, package)| (name, (package, Visit::Outstanding))).collect();
        for root in self.packages.values() {
            visit(root, &mut known, &mut order)?;
        }
        Ok(order)
    }

    fn check_roots(&self) -> Result<(), LockfileError> {
        for Requirement { name, requirement, requirement_text, .. } in &self.roots {
            match self.packages.get(name) {
                None => {
                    return Err(LockfileError::Absent {
                        name: name.clone(),
                        dependent: format!("the requirement `{requirement_text}`"),
                    });
                }
                Some(package) if !requirement.matches(&package.version) => {
                    return Err(LockfileError::Unmet {
                        name: name.clone(),
                        version: package.version.clone(),
                        requirement: requirement_text.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The text form.
impl fmt::Display for Lockfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        writeln!(f, "version = {FORMAT_VERSION}\nplatform = {}", quoted(&self.platform))?;
        for Requirement { name, requirement, requirement_text, features } in &self.roots {
            writeln!(f, "\n[[root]]\nname = \"{name}\"\nrequirement = \"{requirement}\"")?;
            if requirement.to_string() != *requirement_text {
                writeln!(f, "written = {}", quoted(requirement_text))?;
            }
            writeln!(f, "features = {}", list(features))?;
        }
        for LockedPackage { name, version, digest, source, features, dependencies } in self.packages.values() {
            writeln!(f, "\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndigest = \"{digest}\"")?;
            writeln!(f, "source = {}\nfeatures = {}", quoted(&source.to_string()), list(features))?;
            writeln!(f, "dependencies = {}", list(dependencies))?;
        }
        Ok(())
    }
}

impl fmt::Display for LockedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { registry: None } => f.write_str("registry"),
            Self::Registry { registry: Some(name) } => write!(f, "registry+{name}"),
        }
    }
}

impl FromStr for LockedSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('+') {
            None if text == "registry" => Ok(Self::Registry { registry: None }),
            Some(("registry", name)) if !name.is_empty() => Ok(Self::Registry { registry: Some(name.to_owned()) }),
            _ => Err(format!("source `{text}` is neither `registry` nor `registry+<name>`")),
        }
    }
}

/// Writes a circle of packages with its first repeated at the end: `a -> b -> a`.
pub(crate) struct Circle<'a>(pub(crate) &'a [PackageName]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in self.0 {
            write!(f, "{name} -> ")?;
        }
        self.0.first().map_or(Ok(()), |first| write!(f, "{first}"))
    }
}

enum Visit {
    Outstanding,
    Open,
    Done,
}

/// Each package by its name, and how far it was looked at.
type Known<'a> = HashMap<&'a PackageName, (&'a LockedPackage, Visit)>;

/// Depth first and without recursion: a chain of dependencies may be as long as the lockfile.
fn visit<'a>(
    root: &'a LockedPackage,
    known: &mut Known<'a>,
    order: &mut Vec<&'a LockedPackage>,
) -> Result<(), LockfileError> {
    if !matches!(known.get(&root.name), Some((_, Visit::Outstanding))) {
        return Ok(());
    }
    known.insert(&root.name, (root, Visit::Open));
    let mut path = vec![(root, root.dependencies.iter())];
    while let Some((package, dependencies)) = path.last_mut() {
        let package = *package;
        let Some(name) = dependencies.next() else {
            known.insert(&package.name, (package, Visit::Done));
            order.push(package);
            path.pop();
            continue;
        };
        let (dependency, state) = known.get_mut(name).ok_or_else(|| LockfileError::Absent {
            name: name.clone(),
            dependent: format!("package `{}`", package.name),
        })?;
        match state {
            Visit::Done => {}
            Visit::Open => {
                let circle = path.iter().map(|(package, _)| package.name.clone());
                return Err(LockfileError::Cycle { circle: circle.skip_while(|open| open != name).collect() });
            }
            Visit::Outstanding => {
                *state = Visit::Open;
                path.push((*dependency, dependency.dependencies.iter()));
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    #[serde(rename = "version")]
    _version: u32,
    platform: String,
    #[serde(default)]
    root: Vec<RootSchema>,
    #[serde(default)]
    package: Vec<Spanned<PackageSchema>>,
}

impl Schema {
    fn parse(text: &str) -> Result<Self, LockfileError> {
        if text.len() > LOCKFILE_BYTES_MAX {
            return Err(LockfileError::TooLarge { limit: LOCKFILE_BYTES_MAX, unit: "bytes" });
        }
        // The version first: the rest of another version means nothing to us.
        let head: Head = parse_toml(text)?;
        if head.version != FORMAT_VERSION {
            return Err(LockfileError::FormatVersion { found: head.version });
        }
        parse_toml(text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootSchema {
    name: PackageName,
    requirement: VersionReq,
    written: Option<String>,
    features: Vec<String>,
}

impl RootSchema {
    fn into_requirement(self) -> Requirement {
        let requirement_text = self.written.unwrap_or_else(|| self.requirement.to_string());
        Requirement { name: self.name, requirement: self.requirement, requirement_text, features: self.features }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackageSchema {
    name: PackageName,
    version: Version,
    digest: Digest,
    source: Spanned<String>,
    features: Vec<String>,
    dependencies: Vec<PackageName>,
}

impl PackageSchema {
    fn into_package(self, text: &str) -> Result<LockedPackage, LockfileError> {
        let line = line_of(text, self.source.span().start);
        let source = self.source.get_ref().parse().map_err(|reason| LockfileError::Text { line, reason })?;
        let Self { name, version, digest, features, dependencies, .. } = self;
        Ok(LockedPackage { name, version, digest, source, features, dependencies })
    }
}

fn parse_toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, LockfileError> {
    toml::from_str(text).map_err(|error| LockfileError::Text {
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        reason: error.message().to_owned(),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(texts: &[impl ToString]) -> String {
    let mut list = String::from("[");
    for (i, text) in texts.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(list, "{comma}{}", quoted(&text.to_string())).expect("writing to a string cannot fail");
    }
    list + "]"
}

const HEADER: &str = "# The versions that were resolved, and their digests. Written by Catalog: keep it beside the package, \
                      do not edit it.\n";

#[cfg(test)]
mod tests;
