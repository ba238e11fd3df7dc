//! Paths inside a package, the same on every platform.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A relative path inside a package.
///
/// `/`-separated; no empty, `.` or `..` component, no control character, backslash or colon, so it stays inside the package on every
/// platform, and nothing that is another name to the eye or to some file system. Paths order by their text.
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

/// Paths order as their texts do.
impl Borrow<str> for FilePath {
    fn borrow(&self) -> &str {
        &self.0
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
        if let Some(reason) = ambiguity(text) {
            return fault(reason);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Says why a relative path is another one, or none, to some file system or to the eye, if it is.
///
/// A letter that is written as base and mark would be one file with its composed form where names are normalised (HFS+), so
/// only composed forms (NFC) pass: no combining mark, no conjoining Hangul. Characters that are not seen or that turn the
/// direction of writing (Trojan Source, CVE-2021-42574) make one name look like another. Windows drops dots and spaces at
/// the end and keeps names for devices.
pub(crate) fn ambiguity(path: &str) -> Option<&'static str> {
    // Of the characters below none is ASCII.
    for c in path.chars().filter(|c| !c.is_ascii()) {
        match c {
            '\u{300}'..='\u{36f}'
            | '\u{1100}'..='\u{11ff}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}' => {
                return Some("it holds a letter in parts: write its composed form (NFC)");
            }
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}' => {
                return Some("it holds a character that is not seen or that turns the writing");
            }
            _ => {}
        }
    }
    for component in path.split('/') {
        if component.ends_with(['.', ' ']) {
            return Some("it has a component that ends in a dot or a space");
        }
        if is_device(component) {
            return Some("it has a component that names a device on Windows");
        }
    }
    None
}

fn is_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or(component).trim_end().as_bytes();
    let is_one_of = |text: &[u8], names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name.as_bytes()));
    match stem.len() {
        3 => is_one_of(stem, &["CON", "PRN", "AUX", "NUL"]),
        4 => stem[3].is_ascii_digit() && is_one_of(&stem[..3], &["COM", "LPT"]),
        _ => false,
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

    #[test]
    fn paths_that_are_another_one_somewhere_are_refused() {
        for wrong in [
            "cafe\u{301}.lua",
            "\u{1100}\u{1161}",
            "a\u{202e}aul.txt",
            "a\u{200b}b",
            "\u{feff}a",
            "a.",
            "a ",
            "a./b",
            "con",
            "src/NUL.lua",
            "Com1",
            "lpt9.txt",
            "aux .x",
        ] {
            assert!(wrong.parse::<FilePath>().is_err(), "{wrong:?}");
        }
        for right in
            ["café.lua", "가", "日本.lua", "a.b.c", ".hidden", "console.lua", "com10", "null.lua", "comx", "a b"]
        {
            assert!(right.parse::<FilePath>().is_ok(), "{right:?}");
        }
    }
}
