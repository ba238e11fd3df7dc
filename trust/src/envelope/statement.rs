//! The statement inside: in-toto Statement v1 with one subject, and what of it is ours.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::canonical::{self, CanonicalError};
use crate::certificate::Fingerprint;
use crate::digest::{Artifact, Blake3, Sha256};
use crate::moment;

/// The type of a statement, of in-toto.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of what it says, of HyperMesh; its version changes when a field does.
pub const PREDICATE_TYPE: &str = "https://hypermesh.online/attestation/release/v1";
/// The longest name of a package with its namespace, in characters.
pub const NAME_CHARS_MAX: usize = 129;
/// The longest name of a tool, in characters.
pub const TOOL_CHARS_MAX: usize = 64;
/// The largest statement in bytes; one has about 700.
const STATEMENT_BYTES_MAX: usize = 8 * 1024;

/// What a publisher says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The package, `[namespace/]name`.
    pub package: String,
    /// Its version.
    pub version: Version,
    /// The archive.
    pub artifact: Artifact,
    /// The package's manifest, in canonical form.
    pub manifest: Blake3,
    /// What its dependencies were resolved to, if it has any.
    pub lock: Option<Blake3>,
    /// When it was signed, in whole seconds, by the publisher's clock.
    pub signed_at: OffsetDateTime,
    /// What signed it, such as `catalog 1.0.0`.
    pub tool: String,
}

/// Why a statement says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not canonical JSON with these fields.
    #[error("the statement cannot be read")]
    Canonical(#[from] CanonicalError),
    /// A field is not what it must be.
    #[error("field `{field}` of the statement is `{actual}`, expected {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it is.
        actual: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl Release {
    /// Gives the namespace, if the package has one.
    pub fn namespace(&self) -> Option<&str> {
        self.package.split_once('/').map(|(namespace, _)| namespace)
    }

    fn check(&self) -> Result<(), StatementError> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        let parts = self.package.split('/').count() <= 2 && self.package.split('/').all(part);
        if !parts || self.package.len() > NAME_CHARS_MAX {
            return Err(field("subject.name", &self.package, "a package `[namespace/]name` in lower case"));
        }
        let printable = self.tool.bytes().all(|b| (0x20..0x7f).contains(&b));
        if !printable || self.tool.is_empty() || self.tool.len() > TOOL_CHARS_MAX {
            return Err(field("predicate.tool", &self.tool, "1 to 64 printable characters"));
        }
        Ok(())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.package, self.version)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    _type: String,
    predicate: Predicate,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    digest: Digests,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    blake3: Blake3,
    sha256: Sha256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predicate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<Blake3>,
    manifest: Blake3,
    #[serde(with = "moment")]
    signed_at: OffsetDateTime,
    signer: String,
    size: u64,
    tool: String,
}

/// Writes a statement made under a certificate.
pub(super) fn write(release: &Release, signer: Fingerprint) -> Result<Vec<u8>, StatementError> {
    release.check()?;
    let statement = Statement {
        _type: STATEMENT_TYPE.to_owned(),
        predicate: Predicate {
            lock: release.lock,
            manifest: release.manifest,
            signed_at: release.signed_at,
            signer: signer.to_string(),
            size: release.artifact.size_bytes,
            tool: release.tool.clone(),
        },
        predicate_type: PREDICATE_TYPE.to_owned(),
        subject: vec![Subject {
            digest: Digests { blake3: release.artifact.blake3, sha256: release.artifact.sha256 },
            name: release.to_string(),
        }],
    };
    let bytes = canonical::write(&statement)?;
    // A version has no bound of its own, and what nobody reads is not worth a signature.
    if bytes.len() > STATEMENT_BYTES_MAX {
        return Err(CanonicalError::TooLarge { actual: bytes.len(), most: STATEMENT_BYTES_MAX }.into());
    }
    Ok(bytes)
}

/// Reads a statement and the certificate it names.
pub(super) fn read(payload: &[u8]) -> Result<(Release, Fingerprint), StatementError> {
    let statement: Statement = canonical::read(payload, STATEMENT_BYTES_MAX)?;
    for (name, actual, expected) in
        [("_type", &statement._type, STATEMENT_TYPE), ("predicateType", &statement.predicate_type, PREDICATE_TYPE)]
    {
        if actual != expected {
            return Err(field(name, actual, expected));
        }
    }
    let [subject] = &statement.subject[..] else {
        return Err(field("subject", &statement.subject.len().to_string(), "exactly one"));
    };
    let expected = "a package and a version, `name@1.0.0`";
    let (package, version) =
        subject.name.split_once('@').ok_or_else(|| field("subject.name", &subject.name, expected))?;
    let predicate = statement.predicate;
    let fingerprint = predicate.signer.parse::<Fingerprint>().ok();
    let fingerprint = fingerprint.filter(|fingerprint| fingerprint.to_string() == predicate.signer);
    let release = Release {
        package: package.to_owned(),
        version: version.parse().map_err(|_| field("subject.name", &subject.name, expected))?,
        artifact: Artifact { sha256: subject.digest.sha256, blake3: subject.digest.blake3, size_bytes: predicate.size },
        manifest: predicate.manifest,
        lock: predicate.lock,
        signed_at: predicate.signed_at,
        tool: predicate.tool,
    };
    release.check()?;
    let signer =
        fingerprint.ok_or_else(|| field("predicate.signer", &predicate.signer, "a fingerprint `SHA256:..`"))?;
    Ok((release, signer))
}

fn field(field: &'static str, actual: &str, expected: &'static str) -> StatementError {
    StatementError::Field { field, actual: actual.chars().take(160).collect(), expected }
}
