//! The names a certificate speaks for: domains and addresses, nothing else and no wildcards.
//!
//! A namespace of packages is written as a domain, `acme` as `acme.pub.trustchain`, so that the name constraints which every
//! X.509 library enforces hold an authority to its namespaces.

use std::fmt;
use std::net::IpAddr;

/// The domain under which publishers' namespaces are.
pub const PUBLISHER_DOMAIN: &str = "pub.trustchain";
/// The longest domain in characters (RFC 1035).
const DNS_CHARS_MAX: usize = 253;
/// The longest label in characters.
const LABEL_CHARS_MAX: usize = 63;

/// One name of a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectName {
    /// A domain, lower case.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// The text is no domain.
    #[error("`{name}` is not a domain: labels of 1 to 63 of `a` to `z`, `0` to `9`, `-` and `_`, no wildcard")]
    Dns {
        /// The text.
        name: String,
    },
    /// A name of a kind that is not used.
    #[error("a certificate speaks for domains and addresses, not for {kind}")]
    Kind {
        /// The kind.
        kind: &'static str,
    },
    /// Too many names.
    #[error("a certificate has at most 64 names, this one has `{actual}`")]
    Count {
        /// How many there are.
        actual: usize,
    },
}

impl SubjectName {
    /// Takes a domain.
    ///
    /// # Errors
    /// Upper case, a wildcard, an empty or too long label.
    pub fn dns(name: &str) -> Result<Self, NamesError> {
        let label = |label: &str| {
            (1..=LABEL_CHARS_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= DNS_CHARS_MAX && name.split('.').all(label) {
            return Ok(Self::Dns(name.to_owned()));
        }
        Err(NamesError::Dns { name: name.chars().take(DNS_CHARS_MAX).collect() })
    }

    /// Takes the namespace of a publisher's packages.
    ///
    /// # Errors
    /// The namespace is no label.
    pub fn namespace(namespace: &str) -> Result<Self, NamesError> {
        if namespace.contains('.') {
            return Err(NamesError::Dns { name: namespace.chars().take(DNS_CHARS_MAX).collect() });
        }
        Self::dns(&format!("{namespace}.{PUBLISHER_DOMAIN}"))
    }

    /// Says whether an authority limited to these domains may speak for this name.
    pub(crate) fn is_within(&self, permitted: &[String]) -> bool {
        match self {
            Self::Dns(name) => permitted.iter().any(|domain| is_below(name, domain)),
            Self::Ip(_) => true,
        }
    }
}

/// Says whether a domain is another one or below it.
pub(crate) fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_strict() {
        assert_eq!(SubjectName::namespace("acme").expect("valid").to_string(), "acme.pub.trustchain");
        let long = format!("{}.x", "a".repeat(64));
        let longer = ["a"; 128].join(".");
        for wrong in ["", ".", "a..b", "*.acme", "Acme", "-a", "a-", "a b", "ä", &long, &longer] {
            assert!(SubjectName::dns(wrong).is_err(), "{wrong}");
        }
        assert!(SubjectName::namespace("acme.other").is_err());
    }

    #[test]
    fn below_is_by_labels() {
        assert!(is_below("acme.pub", "acme.pub") && is_below("tools.acme.pub", "acme.pub"));
        assert!(!is_below("evilacme.pub", "acme.pub") && !is_below("pub", "acme.pub"));
    }
}
