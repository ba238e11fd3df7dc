//! Reading universes and requirements: bounds first, and every fault by its line or number.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read};

use semver::{Version, VersionReq};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Dependency, Entry, Universe};
use crate::resolve::source::Need;

/// The longest line, in bytes; the longest of the Rust ecosystem's index has some 100 KiB.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// The most lines; that index has about 2 million.
pub const LINES_MAX: usize = 4_000_000;
/// The most dependencies of all versions together.
pub const DEPENDENCIES_MAX: usize = 40_000_000;
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest text of requirements, in bytes.
pub const REQUIREMENTS_BYTES_MAX: usize = 16 << 20;

/// What is asked of a universe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniverseRequirement {
    name: String,
    requirement: VersionReq,
    text: String,
    features: Vec<String>,
}

/// Why a text is no universe, or no requirements.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UniverseError {
    /// A line that does not read.
    #[error("line {line}: {reason}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no list of requirements.
    #[error("requirements: {reason}")]
    Requirements {
        /// What is wrong, and where.
        reason: String,
    },
    /// The text cannot be read at all.
    #[error("cannot read the index")]
    Io(#[from] std::io::Error),
}

/// One line; what it does not name is not looked at.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, alias = "vers")]
    version: Cow<'a, str>,
    #[serde(borrow, default, alias = "deps")]
    dependencies: Option<Vec<LineDependency<'a>>>,
    #[serde(default)]
    features: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    yanked: Option<bool>,
    #[serde(default)]
    published_at: Option<String>,
}

#[derive(Deserialize)]
struct LineDependency<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    req: Option<Cow<'a, str>>,
    #[serde(default)]
    optional: Option<bool>,
    #[serde(default)]
    features: Option<Vec<String>>,
    #[serde(default)]
    platform: Option<String>,
    /// What it is needed for; a dependency for development is not needed by users.
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    req: Option<String>,
    features: Option<Vec<String>>,
}

/// How much is read, for tests that reach a bound.
pub(super) struct Bounds {
    pub(super) lines: usize,
    pub(super) dependencies: usize,
}

impl Universe {
    /// Reads one version a line.
    ///
    /// # Errors
    /// A line that does not read or passes a bound, or the reader's own error.
    pub fn read(reader: impl BufRead) -> Result<Self, UniverseError> {
        Self::read_within(reader, &Bounds { lines: LINES_MAX, dependencies: DEPENDENCIES_MAX })
    }

    pub(super) fn read_within(mut reader: impl BufRead, bounds: &Bounds) -> Result<Self, UniverseError> {
        let mut universe = Self::default();
        let (mut bytes, mut dependencies) = (Vec::new(), 0);
        let mut versions = HashMap::new();
        for line in 1.. {
            let fault = |reason: String| UniverseError::Line { line, reason };
            bytes.clear();
            if (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            if bytes.len() > LINE_BYTES_MAX {
                return Err(fault(format!("it is longer than {LINE_BYTES_MAX} bytes")));
            }
            if line > bounds.lines {
                return Err(fault(format!("there are more than {} lines", bounds.lines)));
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let (name, entry) = universe.entry(&bytes).map_err(fault)?;
            dependencies += entry.dependencies.len();
            if dependencies > bounds.dependencies {
                return Err(fault(format!("there are more than {} dependencies", bounds.dependencies)));
            }
            if let Some(first) = versions.insert((name, entry.version.clone()), line) {
                let (name, version) = (&universe.names.all[name as usize].0, &entry.version);
                return Err(fault(format!("`{name}` {version} is there twice, first in line {first}")));
            }
            universe.packages.entry(name).or_default().push(entry);
        }
        Ok(universe)
    }

    fn entry(&mut self, bytes: &[u8]) -> Result<(u32, Entry), String> {
        let read: Line<'_> = serde_json::from_slice(bytes).map_err(|error| of_json(&error))?;
        let name = self.names.number(&read.name, check_name)?;
        let version = Version::parse(&read.version).map_err(|error| format!("version `{}`: {error}", read.version))?;
        let published_at = read.published_at.map(|text| {
            OffsetDateTime::parse(&text, &Rfc3339)
                .map_err(|_| format!("published_at `{text}` is not a time of RFC 3339"))
        });
        let needed = read.dependencies.into_iter().flatten().filter(|need| need.kind.as_deref() != Some("dev"));
        let dependencies: Result<Vec<_>, String> = needed.map(|need| self.dependency(need)).collect();
        let entry = Entry {
            version,
            yanked: read.yanked.unwrap_or(false),
            published_at: published_at.transpose()?,
            dependencies: dependencies?,
            features: read.features.into_iter().flatten().collect(),
        };
        Ok((name, entry))
    }

    fn dependency(&mut self, read: LineDependency<'_>) -> Result<Dependency, String> {
        let name = self.names.number(&read.name, check_name)?;
        let text = read.req.as_deref().unwrap_or("*");
        let requirement = self.requirements.number(text, |text| {
            VersionReq::parse(text).map_err(|error| format!("dependency `{}`: req `{text}`: {error}", read.name))
        })?;
        Ok(Dependency {
            name,
            requirement,
            optional: read.optional.unwrap_or(false),
            features: read.features.unwrap_or_default(),
            platform: read.platform,
        })
    }
}

/// Reads requirements: a list of `{"name", "req", "features"}`.
///
/// # Errors
/// [`UniverseError::Requirements`], with the number of the requirement.
pub fn requirements(text: &str) -> Result<Vec<UniverseRequirement>, UniverseError> {
    let fault = |reason: String| UniverseError::Requirements { reason };
    if text.len() > REQUIREMENTS_BYTES_MAX {
        return Err(fault(format!("they are longer than {REQUIREMENTS_BYTES_MAX} bytes")));
    }
    let wanted: Vec<Wanted> = serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
    let read = wanted.into_iter().zip(1..).map(|(Wanted { name, req, features }, number)| {
        let fault = |reason: String| fault(format!("number {number}: {reason}"));
        check_name(&name).map_err(fault)?;
        let text = req.unwrap_or_else(|| "*".to_owned());
        let requirement = VersionReq::parse(&text).map_err(|error| fault(format!("req `{text}`: {error}")))?;
        Ok(UniverseRequirement { name, requirement, text, features: features.unwrap_or_default() })
    });
    read.collect()
}

impl UniverseRequirement {
    pub(super) fn to_need(&self) -> Need {
        Need {
            name: self.name.clone(),
            requirement: self.requirement.clone(),
            text: self.text.clone(),
            optional: false,
            features: self.features.clone(),
            platform: None,
            foreign: None,
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    match name.chars().find(|character| character.is_whitespace() || character.is_control() || *character == '`') {
        Some(character) => Err(format!("name `{}` holds {character:?}", name.escape_debug())),
        None => Ok(()),
    }
}

/// What is wrong with a line of JSON; its own line numbers are always 1.
fn of_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    format!("column {}: {message}", error.column())
}
