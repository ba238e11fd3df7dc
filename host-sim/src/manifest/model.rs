//! The types of the manifest. Leaf types refuse bad text while they are read; rules across fields are in `check`.

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Deserializer, de};

use super::digest::Digest;
use super::names::{Capability, ExtensionId, FilePath};
use super::units::{Bytes, CpuShare, Literal, Period, Requirement};
use super::{ASSETS_MAX, OPERATIONS_MAX};

/// A manifest that tells a HyperMesh host how to load one extension.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "HyperMesh extension manifest")]
pub struct Manifest {
    /// The format of this file.
    #[serde(rename = "apiVersion")]
    pub api_version: ApiVersion,
    /// What this file describes.
    #[serde(default)]
    pub kind: Kind,
    /// The id of the extension, one per host.
    pub id: ExtensionId,
    /// The version of the extension: MAJOR.MINOR.PATCH.
    #[serde(deserialize_with = "version")]
    pub version: Version,
    /// One sentence or more for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether the host loads the extension at all; true if not given.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whose word is needed for the library; `required` if not given.
    #[serde(default)]
    pub trust: Trust,
    /// The shared library.
    pub library: Library,
    /// Executables the extension starts.
    #[serde(default)]
    pub workers: Vec<Worker>,
    /// Versions of HyperMesh the extension works with; `^1` if not given.
    #[serde(default = "hypermesh")]
    pub hypermesh: Requirement,
    /// Extensions that are loaded before this one.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// What the extension needs and may do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How much of the node the extension may hold.
    #[serde(default)]
    pub resources: Resources,
    /// Evidence that the extension keeps the contract.
    #[serde(default)]
    pub conformance: Conformance,
    /// Settings handed to the extension as they are.
    #[serde(default)]
    pub configuration: serde_json::Map<String, serde_json::Value>,
}

/// The format of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first format.
    #[serde(rename = "extension.hypermesh/v1")]
    V1,
}

/// What a manifest describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Kind {
    /// An extension of the host.
    #[default]
    Extension,
}

/// Whose word is needed before a library is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// A publisher the host trusts has signed library, id, version and workers.
    #[default]
    Required,
    /// The digest in this manifest is enough: the administrator vouches for it.
    Basic,
}

/// The shared library of an extension.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Where it lies, seen from the manifest.
    pub path: FilePath,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Its signature bundle: a file, or `base64:` and the bundle itself.
    #[serde(default)]
    pub signature: Option<SignatureSource>,
}

/// Where a signature bundle is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SignatureSource {
    /// In a file, seen from the manifest.
    File(FilePath),
    /// In the manifest; these are the decoded bytes.
    Inline(Vec<u8>),
}

/// An executable the extension starts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Where it lies, seen from the manifest.
    pub path: FilePath,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// Another extension this one builds on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Its id.
    pub id: ExtensionId,
    /// Versions that will do; any if not given.
    #[serde(default = "Requirement::any")]
    pub version: Requirement,
    /// The extension also works without it.
    #[serde(default)]
    pub optional: bool,
}

/// What an extension needs and may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Without these the extension is not loaded.
    #[serde(default)]
    pub required: Vec<Capability>,
    /// These the host grants; its defaults if not given.
    #[serde(default = "Capability::defaults")]
    pub granted: Vec<Capability>,
}

/// How much of the node an extension may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The most it may hold.
    #[serde(default)]
    pub limits: Limits,
}

/// The most an extension may hold of a node at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Share of all processors; 25 % if not given.
    pub cpu: CpuShare,
    /// Memory; 1 GiB if not given.
    pub memory: Bytes,
    /// Storage; 10 GiB if not given.
    pub storage: Bytes,
    /// Network bandwidth per second; 100 MiB if not given.
    pub bandwidth: Bytes,
    /// Operations at once; 100 if not given.
    #[schemars(range(min = 1, max = OPERATIONS_MAX))]
    pub concurrent_operations: u32,
    /// Time for one operation; 300 s if not given.
    pub operation_timeout: Period,
    /// Assets; 10,000 if not given.
    #[schemars(range(min = 1, max = ASSETS_MAX))]
    pub assets: u32,
}

/// Evidence that an extension keeps the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conformance {
    /// The level of checks the library must have passed; 0, none, if not given.
    #[serde(default)]
    pub level: ConformanceLevel,
    /// A signed report of the checks; the host runs them itself if not given.
    #[serde(default)]
    pub attestation: Option<FilePath>,
}

/// A level of the conformance checks, 0 to 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "u64")]
pub struct ConformanceLevel(#[schemars(range(max = 3))] u8);

impl ConformanceLevel {
    /// Gives the level.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u64> for ConformanceLevel {
    type Error = String;

    fn try_from(level: u64) -> Result<Self, String> {
        match u8::try_from(level) {
            Ok(level @ 0..=3) => Ok(Self(level)),
            _ => Err(format!("`{level}` is not a conformance level, expected 0 to 3")),
        }
    }
}

impl TryFrom<String> for SignatureSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("base64:") {
            None => text.parse().map(Self::File).map_err(|error: super::ParseNameError| error.to_string()),
            Some(encoded) => data_encoding::BASE64.decode(encoded.as_bytes()).map(Self::Inline).map_err(|error| {
                format!(
                    "the inline signature is not base64 (RFC 4648, padded), expected `base64:` and a bundle: {error}"
                )
            }),
        }
    }
}

impl JsonSchema for SignatureSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SignatureSource".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1})
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { required: Vec::new(), granted: Capability::defaults() }
    }
}

impl Default for Limits {
    /// HyperMesh's defaults.
    fn default() -> Self {
        Self {
            cpu: CpuShare::percent(25),
            memory: Bytes::gibibytes(1),
            storage: Bytes::gibibytes(10),
            bandwidth: Bytes::mebibytes(100),
            concurrent_operations: 100,
            operation_timeout: Period::seconds(300),
            assets: 10_000,
        }
    }
}

fn yes() -> bool {
    true
}

fn hypermesh() -> Requirement {
    Requirement::caret(1)
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    let literal = Literal::deserialize(deserializer)?;
    literal.as_str().parse().map_err(|error| {
        let text = literal.as_str();
        de::Error::custom(format!("`{text}` is not a version, expected MAJOR.MINOR.PATCH, as in `1.0.0`: {error}"))
    })
}
