//! Package names: `[namespace/]name`, lower case, one registry each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a package.
///
/// Each part is 1 to 64 characters of `a`–`z`, `0`–`9`, `-` and `_`, beginning with a letter and not ending in `-` or
/// `_`. Names order by their text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PackageName(String);

/// A text that is no package name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a package name: {reason}")]
pub struct ParseNameError {
    text: String,
    reason: &'static str,
}

impl PackageName {
    /// The longest part, in characters.
    pub const PART_CHARS_MAX: usize = 64;

    /// Gives the whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the namespace, if there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('/').map(|(namespace, _)| namespace)
    }

    /// Gives the name without its namespace.
    pub fn base(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, base)| base)
    }

    /// Gives a form that is one component of a path: the slash becomes `+`, which no name contains.
    pub fn to_file_name(&self) -> String {
        self.0.replace('/', "+")
    }
}

impl FromStr for PackageName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let fault = |reason| Err(ParseNameError { text: text.to_owned(), reason });
        if text.matches('/').count() > 1 {
            return fault("at most one namespace, as in `namespace/name`");
        }
        for part in text.split('/') {
            if part.is_empty() {
                return fault("a part is empty");
            }
            if part.len() > Self::PART_CHARS_MAX {
                return fault("a part is longer than 64 characters");
            }
            if !part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_') {
                return fault("only lower-case letters, digits, `-` and `_` are allowed");
            }
            if !part.as_bytes()[0].is_ascii_lowercase() || part.ends_with(['-', '_']) {
                return fault("a part begins with a letter and ends with a letter or digit");
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl TryFrom<String> for PackageName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, ParseNameError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_into_their_parts() {
        let name: PackageName = "acme/ray-tracer_2".parse().expect("valid");
        assert_eq!(
            (name.namespace(), name.base(), name.to_file_name()),
            (Some("acme"), "ray-tracer_2", "acme+ray-tracer_2".into())
        );
        assert_eq!("vec3".parse::<PackageName>().expect("valid").namespace(), None);
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a".repeat(65);
        for wrong in ["", "/", "a/", "a/b/c", "Vec", "1a", "-a", "a-", "a b", "ä", "../x", &long] {
            assert!(wrong.parse::<PackageName>().is_err(), "{wrong}");
        }
    }
}
