//! Paths inside a package, the same on every platform.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A relative path inside a package.
///
/// `/`-separated; no empty, `.` or `..` component, no control character, backslash or colon, so it stays inside the package on every
/// platform. Paths order by their text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FilePath(String);

/// A text that is no path inside a package, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a path inside the package: {reason}", text.escape_debug())]
pub struct ParsePathError {
    text: String,
    reason: &'static str,
}

impl FilePath {
    /// The longest path, in bytes; a ustar header holds no more.
    pub const BYTES_MAX: usize = 255;

    /// Gives the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Gives the part of the last component before its last dot.
    pub fn stem(&self) -> &str {
        self.file_name().rsplit_once('.').map_or(self.file_name(), |(stem, _)| stem)
    }

    /// Gives the part of the last component after its last dot.
    pub fn extension(&self) -> Option<&str> {
        self.file_name().rsplit_once('.').map(|(_, extension)| extension)
    }
}

impl FromStr for FilePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        let fault = |reason| Err(ParsePathError { text: text.chars().take(80).collect(), reason });
        if text.is_empty() {
            return fault("it is empty");
        }
        if text.len() > Self::BYTES_MAX {
            return fault("it is longer than 255 bytes");
        }
        if text.starts_with('/') {
            return fault("it is absolute");
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
            return fault("it holds a backslash, a colon or a control character");
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return fault("it has an empty, `.` or `..` component");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = ParsePathError;

    fn try_from(text: String) -> Result<Self, ParsePathError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_into_their_parts() {
        let path: FilePath = "src/a.b.lua".parse().expect("valid");
        assert_eq!((path.file_name(), path.stem(), path.extension()), ("a.b.lua", "a.b", Some("lua")));
        assert!("a".repeat(255).parse::<FilePath>().is_ok());
    }

    #[test]
    fn paths_that_could_leave_the_package_are_refused() {
        let long = "a".repeat(256);
        for wrong in
            ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a\\b", "C:x", "a\nb", "a\0", &long]
        {
            assert!(wrong.parse::<FilePath>().is_err(), "{wrong:?}");
        }
    }
}
