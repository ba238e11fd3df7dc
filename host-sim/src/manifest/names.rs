//! Names in the manifest: extension ids, capabilities and file paths.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The id of an extension, such as `catalog` or `io.hypermesh.trustchain`.
///
/// 1 to 128 characters of `a`–`z`, `0`–`9`, `.`, `-` and `_`; each part between dots begins with a letter or digit. It is
/// one safe component of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ExtensionId(String);

/// Something a host lets an extension do; the names are HyperMesh's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Capability {
    /// Lease, list and release assets.
    AssetManagement,
    /// Run containers.
    ContainerManagement,
    /// Run programs of packages.
    VmExecution,
    /// Open network connections.
    NetworkAccess,
    /// Read and write files outside its own directory.
    FileSystemAccess,
    /// Validate and produce consensus proofs.
    ConsensusAccess,
    /// Use certificates and the trust authority.
    TrustChainAccess,
    /// Use the transport between nodes.
    TransportAccess,
    /// Resolve and assign proxy addresses.
    ProxyAccess,
    /// Read metrics and health of the host.
    MonitoringAccess,
    /// Read data of users.
    UserDataAccess,
    /// Change the host's configuration.
    ConfigurationAccess,
    /// A capability that host and extension agree on by name; its text is `Custom(name)`.
    Custom(String),
}

/// A path of a file of the bundle: relative without `..`, or absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FilePath(String);

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}, expected {expected}")]
pub struct ParseNameError {
    text: String,
    what: &'static str,
    expected: String,
}

const NAMED: [(Capability, &str); 12] = [
    (Capability::AssetManagement, "AssetManagement"),
    (Capability::ContainerManagement, "ContainerManagement"),
    (Capability::VmExecution, "VMExecution"),
    (Capability::NetworkAccess, "NetworkAccess"),
    (Capability::FileSystemAccess, "FileSystemAccess"),
    (Capability::ConsensusAccess, "ConsensusAccess"),
    (Capability::TrustChainAccess, "TrustChainAccess"),
    (Capability::TransportAccess, "TransportAccess"),
    (Capability::ProxyAccess, "ProxyAccess"),
    (Capability::MonitoringAccess, "MonitoringAccess"),
    (Capability::UserDataAccess, "UserDataAccess"),
    (Capability::ConfigurationAccess, "ConfigurationAccess"),
];

impl ExtensionId {
    /// The longest id in characters.
    pub const CHARS_MAX: usize = 128;

    /// Gives the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExtensionId {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let part = |part: &str| {
            part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
                && part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        };
        if text.len() <= Self::CHARS_MAX && text.split('.').all(part) {
            return Ok(Self(text.to_owned()));
        }
        let expected =
            "up to 128 lower-case letters, digits, `-` and `_` in parts between dots, as in `io.example.tool`";
        Err(ParseNameError { text: clip(text), what: "an extension id", expected: expected.to_owned() })
    }
}

impl Capability {
    /// The longest name of a custom capability in characters.
    pub const CUSTOM_CHARS_MAX: usize = 64;

    /// Gives what a host grants when the manifest does not say.
    pub fn defaults() -> Vec<Self> {
        vec![Self::AssetManagement, Self::VmExecution, Self::NetworkAccess, Self::ConsensusAccess]
    }

    /// Gives every capability with a name of its own.
    pub fn named() -> impl Iterator<Item = Self> {
        NAMED.iter().map(|(capability, _)| capability.clone())
    }
}

impl FromStr for Capability {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        if let Some((capability, _)) = NAMED.iter().find(|(_, name)| *name == text) {
            return Ok(capability.clone());
        }
        let custom = text.strip_prefix("Custom(").and_then(|rest| rest.strip_suffix(')'));
        match custom {
            Some(name)
                if (1..=Self::CUSTOM_CHARS_MAX).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".:_-/".contains(&b)) =>
            {
                Ok(Self::Custom(name.to_owned()))
            }
            _ => {
                let names = NAMED.map(|(_, name)| format!("`{name}`")).join(", ");
                let expected = format!("one of {names}, `Custom(name)`");
                Err(ParseNameError { text: clip(text), what: "a capability", expected })
            }
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(name) => write!(f, "Custom({name})"),
            named => f.write_str(NAMED.iter().find(|(known, _)| known == named).map_or("", |(_, name)| name)),
        }
    }
}

impl FilePath {
    /// The longest path in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Gives the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the file the path means, seen from the directory of the manifest.
    pub fn resolve(&self, directory: &Path) -> PathBuf {
        directory.join(&self.0)
    }
}

impl FromStr for FilePath {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let relative = text.strip_prefix('/').unwrap_or(text);
        let component = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if text.len() <= Self::BYTES_MAX && relative.split('/').all(component) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "a path beside the manifest or an absolute one, `/` between its parts, without `..`";
        Err(ParseNameError { text: clip(text), what: "a file path", expected: expected.to_owned() })
    }
}

/// Implements what every name shares: its text forms and its JSON Schema.
macro_rules! name {
    ($($name:ident: $schema:expr),+) => {$(
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseNameError;

            fn try_from(text: String) -> Result<Self, ParseNameError> {
                text.parse()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )+};
}

name! {
    ExtensionId: json_schema!({
        "type": "string",
        "maxLength": 128,
        "pattern": "^[a-z0-9][a-z0-9_-]*(\\.[a-z0-9][a-z0-9_-]*)*$"
    }),
    Capability: json_schema!({"anyOf": [
        {"type": "string", "enum": NAMED.map(|(_, name)| name)},
        {"type": "string", "pattern": "^Custom\\([A-Za-z0-9.:_/-]{1,64}\\)$"}
    ]}),
    FilePath: json_schema!({"type": "string", "minLength": 1, "maxLength": 1024})
}

impl fmt::Display for ExtensionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keeps messages short whatever the text was.
fn clip(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_text_that_reads_back() {
        for capability in Capability::named().chain([Capability::Custom("acme:scan".to_owned())]) {
            assert_eq!(capability.to_string().parse(), Ok(capability));
        }
        for wrong in ["", "vmexecution", "Custom()", "Custom(a b)", "Custom", &format!("Custom({})", "x".repeat(65))] {
            assert!(wrong.parse::<Capability>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_and_paths_cannot_leave_their_place() {
        assert!(
            "io.hypermesh.catalog".parse::<ExtensionId>().is_ok() && "a".repeat(128).parse::<ExtensionId>().is_ok()
        );
        for wrong in ["", ".", "..", "a..b", "a/b", "A", "-a", "a.", &"a".repeat(129)] {
            assert!(wrong.parse::<ExtensionId>().is_err(), "{wrong}");
        }
        let path: FilePath = "bin/worker".parse().expect("valid");
        assert_eq!(path.resolve(Path::new("/x")), Path::new("/x/bin/worker"));
        for wrong in ["", "/", "a//b", "../a", "a/../b", "./a", "a/", "a\nb", &"a".repeat(1025)] {
            assert!(wrong.parse::<FilePath>().is_err(), "{wrong}");
        }
    }
}
