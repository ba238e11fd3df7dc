//! From text to a [`Manifest`], with every fault in one pass.
//!
//! serde stops at its first error. To find the next ones, each faulty value is replaced by a known good one and the text is
//! decoded again; what comes out of that is only used to look for faults.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_path_to_error::Segment;
use serde_yaml::Value;

use super::check::broken_rules;
use super::fault::{Fault, FaultCode, Faults};
use super::model::Manifest;
use super::yaml::{self, Node, Step, path_text};
use super::{BYTES_MAX, FAULTS_MAX};

/// Why a manifest file gave no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file could not be read.
    #[error("cannot read the manifest `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a valid manifest.
    #[error(transparent)]
    Invalid(#[from] Faults),
}

impl ManifestError {
    /// Gives the file.
    pub fn file(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } => path,
            Self::Invalid(faults) => Path::new(&faults.file),
        }
    }
}

/// Reads a manifest file.
///
/// # Errors
/// The file is unreadable or no valid manifest.
pub fn read(path: &Path) -> Result<Manifest, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte beyond the bound is enough for `parse` to refuse the file.
    File::open(path).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
    Ok(parse(&text, &path.display().to_string())?)
}

/// Reads a manifest from text; `file` names it in faults.
///
/// # Errors
/// Every fault found, in the order of lines.
pub fn parse(text: &str, file: &str) -> Result<Manifest, Faults> {
    let refuse = |mut faults: Vec<Fault>| {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.truncate(FAULTS_MAX);
        Err(Faults { file: file.to_owned(), faults })
    };
    let tree = match yaml::scan(text) {
        Ok(tree) => tree,
        Err(faults) => return refuse(faults),
    };
    let value = match serde_yaml::from_str::<Value>(text) {
        Ok(value) => value,
        Err(error) => return refuse(vec![syntax(&error)]),
    };
    let (manifest, mut faults) = decode(value, &tree);
    let Some(manifest) = manifest else { return refuse(faults) };
    for broken in broken_rules(&manifest) {
        faults.push(fault(&tree, broken.code, &broken.path, broken.message, broken.hint));
    }
    if faults.is_empty() { Ok(manifest) } else { refuse(faults) }
}

/// Gives the JSON Schema of the manifest, for editors and for other programs that write manifests.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}

/// Decodes a value. The manifest is there only if there is no fault.
fn decode(mut value: Value, tree: &Node) -> (Option<Manifest>, Vec<Fault>) {
    let mut faults = Vec::new();
    let sample = serde_yaml::from_str::<Value>(SAMPLE).unwrap_or_default();
    while faults.len() < FAULTS_MAX {
        let mut track = serde_path_to_error::Track::new();
        let error = match Manifest::deserialize(serde_path_to_error::Deserializer::new(&value, &mut track)) {
            Ok(manifest) => return (faults.is_empty().then_some(manifest), faults),
            Err(error) => error.to_string(),
        };
        let mut path = steps(&track.path());
        let unknown = error.starts_with("unknown field");
        if let Some(missing) = error.strip_prefix("missing field ").and_then(|rest| rest.split('`').nth(1)) {
            path.push(Step::Key(missing.to_owned()));
        }
        let code = match () {
            () if unknown => FaultCode::UnknownField,
            () if error.starts_with("missing field") => FaultCode::MissingField,
            () => FaultCode::InvalidValue,
        };
        let hint = match code {
            FaultCode::MissingField => example(&sample, &path),
            _ => hint(&error),
        };
        faults.push(fault(tree, code, &path, error, hint));
        let good = if unknown { None } else { lookup(&sample, &path).cloned() };
        if (!unknown && good.is_none()) || !replace(&mut value, &path, good) {
            break;
        }
    }
    (None, faults)
}

/// A complete and valid manifest; its values stand in for faulty ones.
const SAMPLE: &str = "
apiVersion: extension.hypermesh/v1
kind: Extension
id: sample
version: 1.0.0
description: sample
enabled: true
trust: basic
library:
  path: sample.so
  digest: blake3:0000000000000000000000000000000000000000000000000000000000000000
  signature: sample.sig
workers:
  - {path: sample, digest: blake3:0000000000000000000000000000000000000000000000000000000000000000}
hypermesh: ^1
dependencies:
  - {id: other, version: ^1, optional: true}
capabilities: {required: [AssetManagement], granted: [AssetManagement]}
resources:
  limits:
    cpu: 25%
    memory: 1Gi
    storage: 10Gi
    bandwidth: 100Mi
    concurrent_operations: 100
    operation_timeout: 300s
    assets: 10000
conformance: {level: 0, attestation: sample.json}
configuration: {}
";

fn fault(tree: &Node, code: FaultCode, path: &[Step], message: String, hint: Option<String>) -> Fault {
    let place = tree.place(path);
    Fault { code, path: path_text(path), line: place.line, column: place.column, message, hint }
}

fn syntax(error: &serde_yaml::Error) -> Fault {
    let (line, column) = error.location().map_or((1, 1), |location| (location.line(), location.column()));
    Fault { code: FaultCode::Syntax, path: String::new(), line, column, message: error.to_string(), hint: None }
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Finds the value of the sample at a path; every index is its first entry.
fn lookup<'a>(sample: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(sample, |value, step| match step {
        Step::Key(key) => value.get(key.as_str()),
        Step::Index(_) => value.get(0),
    })
}

/// Puts a value at a path, or removes what is there; says whether that could be done.
fn replace(value: &mut Value, path: &[Step], good: Option<Value>) -> bool {
    let Some((last, around)) = path.split_last() else {
        return good.is_some_and(|good| {
            *value = good;
            true
        });
    };
    let parent = around.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::Index(index) => value.get_mut(*index),
    });
    match (parent, last, good) {
        (Some(Value::Mapping(map)), Step::Key(key), Some(good)) => {
            map.insert(Value::String(key.clone()), good);
            true
        }
        (Some(Value::Mapping(map)), Step::Key(key), None) => map.remove(key.as_str()).is_some(),
        (Some(Value::Sequence(list)), Step::Index(index), Some(good)) => list.get_mut(*index).is_some_and(|slot| {
            *slot = good;
            true
        }),
        _ => false,
    }
}

/// Shows what a missing field looks like.
fn example(sample: &Value, path: &[Step]) -> Option<String> {
    let Some(Step::Key(name)) = path.last() else { return None };
    Some(match lookup(sample, path).and_then(Value::as_str) {
        Some(text) => format!("add it, as in `{name}: {text}`"),
        None => format!("add a section `{name}:`"),
    })
}

/// Suggests the nearest of the names a message lists; its first name is the one that was given.
fn hint(message: &str) -> Option<String> {
    if message.starts_with("invalid type") && message.ends_with("expected a string") {
        return Some("put the value in quotes".to_owned());
    }
    if !message.contains("expected one of") && !message.starts_with("unknown") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let given = names.next()?.to_lowercase();
    names
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use insta::assert_snapshot;

    use super::super::{
        CAPABILITIES_MAX, Capability, DEPENDENCIES_MAX, DESCRIPTION_CHARS_MAX, Limits, OPERATIONS_MAX, Trust,
        WORKERS_MAX,
    };
    use super::*;

    const DIGEST: &str = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    /// A minimal manifest and further lines.
    fn with(lines: &str) -> String {
        format!(
            "apiVersion: extension.hypermesh/v1\nid: catalog\nversion: 1.0.0\nlibrary:\n  path: libcatalog.so\n  digest: {DIGEST}\n  signature: libcatalog.sig\n{lines}"
        )
    }

    fn refusal(text: &str) -> String {
        parse(text, "extension.yaml").expect_err("refused").to_string()
    }

    #[test]
    fn a_minimal_manifest_gets_the_defaults_of_hypermesh() {
        let manifest = parse(&with(""), "x").expect("valid");
        assert_eq!(manifest.resources.limits, Limits::default());
        assert_eq!(manifest.capabilities.granted, Capability::defaults());
        assert_eq!((manifest.trust, manifest.enabled, manifest.conformance.level.get()), (Trust::Required, true, 0));
        assert!(manifest.hypermesh.matches(&semver::Version::new(1, 4, 0)));
        assert!(parse(SAMPLE, "x").is_ok(), "the sample must be valid, or later faults are hidden");
    }

    #[test]
    fn every_fault_is_named_in_one_pass_with_its_place_and_a_suggestion() {
        let text = "apiVersion: extension.hypermesh/v2
id: Catalog
version: 1.10
libary: {}
library:
  path: ../lib.so
  signature: lib.sig
workers:
  - path: worker
    digest: sha256:00
resources:
  limits:
    cpu: 25
    memory: 1Gx
    operation_timeout: 300
enabled: maybe
capabilities:
  required: [VMexecution]
dependencies: {}
conformance: {level: 4}
";
        assert_snapshot!(refusal(text), @r#"
        extension.yaml:1:1: `apiVersion`: unknown variant `extension.hypermesh/v2`, expected `extension.hypermesh/v1`; did you mean `extension.hypermesh/v1`?
        extension.yaml:2:1: `id`: `Catalog` is not an extension id, expected up to 128 lower-case letters, digits, `-` and `_` in parts between dots, as in `io.example.tool`
        extension.yaml:3:1: `version`: `1.1` is not a version, expected MAJOR.MINOR.PATCH, as in `1.0.0`: unexpected end of input while parsing minor version number
        extension.yaml:4:1: `libary`: unknown field `libary`, expected one of `apiVersion`, `kind`, `id`, `version`, `description`, `enabled`, `trust`, `library`, `workers`, `hypermesh`, `dependencies`, `capabilities`, `resources`, `conformance`, `configuration`; did you mean `library`?
        extension.yaml:5:1: `library.digest`: missing field `digest`; add it, as in `digest: blake3:0000000000000000000000000000000000000000000000000000000000000000`
        extension.yaml:6:3: `library.path`: `../lib.so` is not a file path, expected a path beside the manifest or an absolute one, `/` between its parts, without `..`
        extension.yaml:10:5: `workers[0].digest`: `sha256:00` is not a digest, expected `blake3:` and 64 lower-case hexadecimal digits
        extension.yaml:13:5: `resources.limits.cpu`: `25` is not a processor share, expected a percentage above 0% and up to 100%, as in `25%`
        extension.yaml:14:5: `resources.limits.memory`: `1Gx` is not a size, expected a whole number with B, Ki, Mi, Gi or Ti, as in `512Mi`
        extension.yaml:15:5: `resources.limits.operation_timeout`: `300` is not a period, expected a whole number with ms, s, m or h, up to 24h, as in `300s`
        extension.yaml:16:1: `enabled`: invalid type: string "maybe", expected a boolean
        extension.yaml:18:14: `capabilities.required[0]`: `VMexecution` is not a capability, expected one of `AssetManagement`, `ContainerManagement`, `VMExecution`, `NetworkAccess`, `FileSystemAccess`, `ConsensusAccess`, `TrustChainAccess`, `TransportAccess`, `ProxyAccess`, `MonitoringAccess`, `UserDataAccess`, `ConfigurationAccess`, `Custom(name)`; did you mean `VMExecution`?
        extension.yaml:19:1: `dependencies`: invalid type: map, expected a sequence
        extension.yaml:20:15: `conformance.level`: `4` is not a conformance level, expected 0 to 3
        "#);
    }

    #[test]
    fn rules_across_fields_name_both_sides() {
        let text = with(
            "workers:
  - {path: libcatalog.so, digest: DIGEST}
dependencies:
  - id: catalog
  - id: other
  - id: other
capabilities:
  required: [ProxyAccess]
  granted: [AssetManagement, AssetManagement]
",
        );
        assert_snapshot!(refusal(&text.replace("DIGEST", DIGEST)), @r#"
        extension.yaml:9:6: `workers[0].path`: the file `libcatalog.so` is listed twice, expected once; remove one of the two
        extension.yaml:11:5: `dependencies[0].id`: `catalog` depends on itself, expected another extension
        extension.yaml:13:5: `dependencies[2].id`: the dependency `other` is listed twice, expected once; remove one of the two
        extension.yaml:15:14: `capabilities.required[0]`: the capability `ProxyAccess` is required and not granted, expected it in both lists; add `ProxyAccess` to `capabilities.granted` if you allow it
        extension.yaml:16:30: `capabilities.granted[1]`: the capability `AssetManagement` is listed twice, expected once; remove one of the two
        "#);
        assert_snapshot!(refusal(&with("").replace("  signature: libcatalog.sig\n", "")), @r#"extension.yaml:4:1: `library.signature`: missing field `signature`, expected a signature bundle because `trust` is `required`; add the publisher's bundle, or set `trust: basic` to vouch for the digest yourself"#);
        assert!(parse(&with("trust: basic\n").replace("  signature: libcatalog.sig\n", ""), "x").is_ok());
    }

    #[test]
    fn sizes_are_bounded_at_their_edge() {
        let many = |count: usize, line: &dyn Fn(usize) -> String| {
            (0..count).fold(String::new(), |mut text, index| {
                let _ = writeln!(text, "{}", line(index));
                text
            })
        };
        let description = |count| with(&format!("description: {}\n", "x".repeat(count)));
        let workers =
            |count| with(&format!("workers:\n{}", many(count, &|i| format!("  - {{path: w{i}, digest: {DIGEST}}}"))));
        let dependencies = |count| with(&format!("dependencies:\n{}", many(count, &|i| format!("  - id: d{i}"))));
        let granted =
            |count| with(&format!("capabilities:\n  granted:\n{}", many(count, &|i| format!("    - Custom(c{i})"))));
        let operations = |count| with(&format!("resources: {{limits: {{concurrent_operations: {count}}}}}\n"));
        let cases: [(&dyn Fn(usize) -> String, usize); 5] = [
            (&description, DESCRIPTION_CHARS_MAX),
            (&workers, WORKERS_MAX),
            (&dependencies, DEPENDENCIES_MAX),
            (&granted, CAPABILITIES_MAX),
            (&operations, OPERATIONS_MAX as usize),
        ];
        for (text, max) in cases {
            assert!(parse(&text(max), "x").is_ok(), "{max}");
            assert!(refusal(&text(max + 1)).contains("out of range"), "{max}");
        }
        assert!(refusal(&operations(0)).contains("expected 1 to"));
        let unknown = many(FAULTS_MAX + 20, &|i| format!("unknown{i}: 1"));
        assert_eq!(refusal(&with(&unknown)).lines().count(), FAULTS_MAX);
    }

    #[test]
    fn an_inline_signature_is_decoded() {
        let text = |value: &str| with("").replace("libcatalog.sig", value);
        let manifest = parse(&text("base64:e30="), "x").expect("valid");
        assert_eq!(manifest.library.signature, Some(super::super::SignatureSource::Inline(b"{}".to_vec())));
        assert!(refusal(&text("base64:e3")).contains("`library.signature`: the inline signature is not base64"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_an_invalid_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("extension.yaml");
        assert!(matches!(read(&path), Err(ManifestError::Unreadable { .. })));
        std::fs::write(&path, [0xff, 0xfe]).expect("written");
        assert!(matches!(read(&path), Err(ManifestError::Unreadable { .. })));
        std::fs::write(&path, "#".repeat(BYTES_MAX + 10)).expect("written");
        assert!(matches!(read(&path), Err(ManifestError::Invalid(_))));
        std::fs::write(&path, with("")).expect("written");
        assert_eq!(read(&path).expect("valid").id.as_str(), "catalog");
    }

    #[test]
    fn the_published_schema_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/schema/extension.schema.json");
        let fresh = format!("{}\n", serde_json::to_string_pretty(&json_schema()).expect("JSON"));
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, &fresh).expect("written");
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(published == fresh, "run the tests once with UPDATE_SCHEMAS=1 and commit `{}`", path.display());
    }

    #[test]
    fn every_field_of_the_schema_is_described() {
        fn undescribed(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
            for (name, field) in schema.get("properties").and_then(|fields| fields.as_object()).into_iter().flatten() {
                if field.get("description").is_none() {
                    found.push(format!("{path}.{name}"));
                }
            }
            for (name, inner) in schema.get("$defs").and_then(|fields| fields.as_object()).into_iter().flatten() {
                undescribed(inner, name, found);
            }
        }
        let mut found = Vec::new();
        undescribed(&json_schema(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
