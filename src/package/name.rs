//! Package names: `[namespace/]name`, lower case, one registry each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a package.
///
/// Each part is 1 to 64 characters of `a`–`z`, `0`–`9`, `-` and `_`, beginning with a letter and not ending in `-` or
/// `_`. Names order by their text. A name without namespace that begins with `__` is a virtual package: something of the
/// node that a dependency may ask for and nobody publishes.
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

    /// How the name of a virtual package begins.
    pub const VIRTUAL_PREFIX: &str = "__";

    /// Says whether it stands for something of the node, such as `__gpu`.
    pub fn is_virtual(&self) -> bool {
        self.0.starts_with(Self::VIRTUAL_PREFIX)
    }

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

    /// Says whether somebody could take one name for the other: one letter is missing, doubled, exchanged or swapped with the
    /// next, or they differ in `-`, `_` and in characters that look alike only. Names of up to three letters are too many
    /// that are near each other, so only the second counts for them; namespaces must be equal.
    pub fn is_mistaken_for(&self, other: &Self) -> bool {
        if self == other || self.namespace() != other.namespace() {
            return false;
        }
        let skeleton = |name: &Self| {
            let plain = name.base().replace(['-', '_'], "");
            plain.replace('0', "o").replace(['1', 'l'], "i").replace('5', "s").replace("rn", "m").replace("vv", "w")
        };
        let shorter = self.base().len().min(other.base().len());
        skeleton(self) == skeleton(other) || (shorter > 3 && strsim::osa_distance(self.base(), other.base()) == 1)
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
        let virtual_of = text.strip_prefix(Self::VIRTUAL_PREFIX).filter(|rest| !rest.contains('/'));
        for part in virtual_of.unwrap_or(text).split('/') {
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
        assert!("__runtime-julia".parse::<PackageName>().expect("valid").is_virtual() && !name.is_virtual());
    }

    #[test]
    fn names_that_look_alike_are_found_and_others_are_not() {
        let name = |text: &str| text.parse::<PackageName>().expect("valid");
        let alike = "reqwest reqwset, reqwest requwest, serde serd, serde serdee, tokio tokoi, numpy nunpy, numpy nump, \
            requests request, requests reqeusts, pandas pandsa, django dajngo, flask flaskk, urllib3 urlib3, crossenv cross-env, \
            lodash lodahs, express expres, react raect, jquery jquerry, webpack webpackk, babel bable, mongoose mongose, \
            tensorflow tensorfow, pytorch pytorhc, matplotlib matplotlb, scipy sciyp, colorama colourama, python-dateutil \
            python-dateuti, setuptools setuptool, cryptography crypt0graphy, openssl 0penssl, rand-core rand_core, \
            rand-core randcore, modern modem, vvasm wasm, statistics statistcs, geometry geomerty, ray-tracer raytracer, \
            ray-tracer ray-trace, mandelbrot mandelbrto, monte-carlo montecarlo, prime-sieve prime-seive, histogram h1stogram, \
            linear-algebra 1inear-algebra, linear-algebra iinear-algebra, financial-calculator financia1-calculator, \
            json-parser json-parsr, yaml-tools yaml-tool5, http-client http-cilent, vec3 vecs3, matrix matirx";
        let mut count = 0;
        for pair in alike.split(',') {
            let (known, wrong) = pair.trim().split_once(' ').expect("two names");
            let Ok(wrong) = wrong.parse::<PackageName>() else { continue };
            assert!(name(known).is_mistaken_for(&wrong) && wrong.is_mistaken_for(&name(known)), "{pair}");
            count += 1;
        }
        assert!(count >= 46, "{count}; the others are no names at all");
        assert!("r\u{435}qwest".parse::<PackageName>().is_err(), "letters of other scripts are no names");
        let apart =
            ["vec3", "geometry", "statistics", "random", "ray-tracer", "mandelbrot", "prime-sieve", "serde", "tokio"];
        for (index, one) in apart.iter().enumerate() {
            assert!(apart[index + 1..].iter().all(|other| !name(one).is_mistaken_for(&name(other))), "{one}");
        }
        assert!(!name("lua").is_mistaken_for(&name("luz")) && !name("acme/vec").is_mistaken_for(&name("other/vex")));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a".repeat(65);
        for wrong in [
            "", "/", "a/", "a/b/c", "Vec", "1a", "-a", "a-", "a b", "ä", "../x", "_a", "__", "___a", "a/__b", "__a/b",
            &long,
        ] {
            assert!(wrong.parse::<PackageName>().is_err(), "{wrong}");
        }
    }
}
