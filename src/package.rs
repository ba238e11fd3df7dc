//! Packages: the schema authors write, the valid model the rest of Catalog works with, and every check between the two.
//!
//! Text becomes a tree with places (`source`), is held against the JSON Schema (`check`), becomes schema types and then a
//! [`Package`] (`convert`). Every fault of a manifest comes in one [`Faults`]. Nothing here runs code of a package.
//!
//! Invariant: a [`Package`] that came from here is valid, and YAML, JSON and TOML of one package give equal values and
//! byte-equal canonical JSON.

pub mod analyse;
pub mod canonical;
pub mod capability;
pub mod fault;
pub mod kind;
pub mod model;
pub mod name;
pub mod path;
pub mod platform;
pub mod read;
pub(crate) mod scan;
pub mod schema;
pub mod source;
pub mod units;

#[cfg(test)]
mod arbitrary;
mod check;
mod convert;
mod defaults;
mod document;
#[cfg(test)]
mod examples;

pub(crate) use check::closest;
use document::Cursor;
pub use fault::{Fault, Faults, Severity};
pub use model::Package;
pub use read::{PackageFile, read, read_files};
use source::Bounds;
pub use source::Format;

/// Reads the text of a manifest; files it names are not looked at. Gives the package and its warnings.
///
/// # Errors
/// Every fault of the text, in the order of its lines.
pub fn parse(text: &str, format: Format, file_name: &str) -> Result<(Package, Vec<Fault>), Faults> {
    let mut faults = Faults::new(file_name);
    let package = parse_into(text, format, Bounds::MANIFEST, &mut faults).map(|(package, _)| package);
    faults.finish(package)
}

/// Reads a text as far as it goes; the package is only valid if no fault is left in `faults`.
fn parse_into(text: &str, format: Format, bounds: Bounds, faults: &mut Faults) -> Option<(Package, document::Node)> {
    let root = source::read(text, format, bounds, faults)?;
    let fitting = check::check(&root, faults);
    let cursor = Cursor::new(&root);
    match serde_path_to_error::deserialize::<_, schema::Manifest>(fitting) {
        Ok(raw) => convert::package(raw, &cursor, faults).map(|package| (package, root)),
        Err(error) => {
            let place = document::Place { path: error.path().to_string(), position: cursor.place.position };
            faults.push(Fault::error("WRONG_TYPE", &place, error.into_inner().to_string()));
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const YAML: &str = include_str!("../manifests/examples/every-field.yaml");
    const JSON: &str = include_str!("../manifests/examples/every-field.json");
    const TOML: &str = include_str!("../manifests/examples/every-field.toml");

    pub(crate) fn every_field() -> Package {
        parse(YAML, Format::Yaml, "every-field.yaml").unwrap_or_else(|faults| panic!("{faults}")).0
    }

    pub(crate) fn minimal(spec: &str) -> String {
        format!("apiVersion: catalog.v1\nmetadata: {{name: a, version: 1.0.0}}\nspec:\n  type: lua-script\n{spec}")
    }

    fn faults(text: &str) -> String {
        let faults = match parse(text, Format::Yaml, "package.yaml") {
            Ok((_, warnings)) => Faults { file: "package.yaml".into(), list: warnings },
            Err(faults) => faults,
        };
        faults.list.iter().map(|fault| format!("{}:{} {fault}\n", fault.line, fault.column)).collect()
    }

    #[test]
    fn yaml_json_and_toml_give_equal_packages_and_equal_canonical_bytes() {
        let yaml = every_field();
        assert!(YAML.contains("1.10.0") && yaml.version.to_string() == "1.10.0");
        for (text, format) in [(JSON, Format::Json), (TOML, Format::Toml)] {
            let (package, warnings) = parse(text, format, "p").unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!((&package, &warnings[..]), (&yaml, &[][..]), "{format:?}");
            assert_eq!(package.to_canonical_json(), yaml.to_canonical_json(), "{format:?}");
        }
    }

    #[test]
    fn a_file_that_would_be_a_directory_is_found_whatever_sorts_between() {
        for files in ["a.b, a/b, a", "a, a.b, a/b", "a/b, a, a-b"] {
            let found = faults(&minimal(&format!("  content: {{main: m.lua, files: [{files}]}}")));
            assert!(found.contains("would be a file and a directory"), "{files}: {found}");
        }
        assert_eq!(faults(&minimal("  content: {main: m.lua, files: [a.b, a/b, a-b/c]}")), "");
    }

    #[test]
    fn every_field_of_the_schema_stands_in_the_example() {
        let written: serde_json::Value = serde_json::from_str(JSON).expect("is JSON");
        let written = written.to_string();
        let schema = schema::json_schema();
        let sections = schema["$defs"].as_object().expect("has sections").values().chain([&schema]);
        let fields = sections.filter_map(|section| section["properties"].as_object()).flat_map(|fields| fields.keys());
        // `inline` stands in for `main`, and both cannot be given.
        let missing: Vec<_> =
            fields.filter(|name| *name != "inline" && !written.contains(&format!("\"{name}\":"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_minimal_package_gets_every_default() {
        let (package, warnings) = parse(&minimal("  content: {main: a.lua}\n"), Format::Yaml, "p")
            .unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(package.security, model::Security::default());
        assert_eq!(package.resources, model::Resources::default());
        assert_eq!(package.execution, model::Execution::default());
        assert!(warnings.is_empty() && package.dependencies.is_empty());
        let inline = parse(&minimal("  content: {inline: return 1}\n"), Format::Yaml, "p").expect("is valid").0;
        assert_eq!(inline.content.main.as_str(), "main.lua");
    }

    #[test]
    fn only_further_files_are_writable() {
        let content = |writable: &str| {
            let binary = "[{name: d, base64: AA==}]";
            minimal(&format!("  content: {{main: a, files: [c, b], binary: {binary}, writable: [{writable}]}}\n"))
        };
        let package = parse(&content("d, b"), Format::Yaml, "p").expect("is valid").0;
        assert_eq!(package.content.writable.iter().map(|path| path.as_str()).collect::<Vec<_>>(), ["b", "d"]);
        insta::assert_snapshot!(faults(&content("b, b, a, e, ../f")), @r"
        5:86 error[DUPLICATE_FILE] spec.content.writable[1]: `b` is listed twice; keep one of the two
        5:89 error[NOT_A_FURTHER_FILE] spec.content.writable[2]: `a` is none of the further files of the package; list it in `files`; what runs is never writable
        5:92 error[NOT_A_FURTHER_FILE] spec.content.writable[3]: `e` is none of the further files of the package; list it in `files`; what runs is never writable
        5:95 error[INVALID_PATH] spec.content.writable[4]: `../f` is not a path inside the package: it has an empty, `.` or `..` component; write the path from the manifest's directory with `/`, such as `src/util.lua`
        ");
    }

    #[test]
    fn faults_of_meaning_and_of_structure_come_in_one_pass() {
        let text = minimal(
            "  color: red\n  content: {main: ../a.lua, files: [b.lua, b.lua, b.lua/c], binary: [{name: d, base64: '?'}, {name: e, base64: AA==, size: 2, sha256: 00}]}
  resources: {cpu_limit: 1x, memory_limit: 512MB, execution_timeout: 0s, gpu_memory_mb: 1}
  security: {sandbox_level: strict, network_access: {enabled: true, allowed_ports: [70000]}}
  execution: {scheduling: {node_affinity: [{key: zone, operator: in}]}}
  dependencies:
    - {name: a, version: '1'}
    - {name: b, version: 1..2}
    - {name: c, version: '1', platform: linux-x8664, source: {http: {url: 'ftp://x', sha256: zz}}}
    - {name: d, version: '1', source: {http: {url: 'https://x'}}}
    - {name: e, version: '1'}
    - {name: e, version: '2'}
    - {name: Not A Name, version: '1'}
  features: {full: [ful, e]}
  environment: {1X: a}
",
        );
        insta::assert_snapshot!(faults(&text), @r#"
        5:3 error[UNKNOWN_FIELD] spec.color: `color` is not a field here; the fields here are `type`, `content`, `security`, `resources`, `execution`, `dependencies`, `conflicts`, `features`, `environment`, `config_schema`
        6:19 error[INVALID_PATH] spec.content.main: `../a.lua` is not a path inside the package: it has an empty, `.` or `..` component; write the path from the manifest's directory with `/`, such as `src/util.lua`
        6:44 error[DUPLICATE_FILE] spec.content.files[1]: `b.lua` is listed twice; keep one of the two
        6:51 error[INVALID_PATH] spec.content.files[2]: `b.lua/c` would be a file and a directory; rename one of the two
        6:88 error[BINARY_DECODE_ERROR] spec.content.binary[0].base64: `d` is not base64: invalid length at 0; encode the file anew with standard, padded base64
        6:124 error[BINARY_SIZE_MISMATCH] spec.content.binary[1].size: `e` decodes to 1 bytes, not 2; correct or remove `size`
        6:135 error[BINARY_DIGEST_MISMATCH] spec.content.binary[1].sha256: `e` has the SHA-256 `6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d`, not `00`; correct or remove `sha256`
        7:26 error[INVALID_UNIT] spec.resources.cpu_limit: `1x` has the unknown unit `x`; write cores as `"1000m"`, `"2"` or `"0.5"`
        7:44 error[INVALID_UNIT] spec.resources.memory_limit: `512MB` has the unknown unit `MB`; write bytes as `"512Mi"` (1024²), `"1Gi"` (1024³) or `"100M"` (1000²)
        7:70 error[OUT_OF_RANGE] spec.resources.execution_timeout: zero would allow nothing at all; give more, or remove the field
        7:89 warning[NO_EFFECT] spec.resources.gpu_memory_mb: graphics needs are given, but none is required; set `gpu_required: true`, or remove them
        8:29 warning[NO_EFFECT] spec.security.sandbox_level: this sandbox level has no network, whatever `network_access` says; choose `standard`, or remove the rule
        8:85 error[OUT_OF_RANGE] spec.security.network_access.allowed_ports[0]: `70000` is out of range; write a number from 1 to 65535
        9:44 error[INVALID_RULE] spec.execution.scheduling.node_affinity[0].values: this operator compares with values, but none are given; list `values`
        11:14 error[SELF_DEPENDENCY] spec.dependencies[0].name: `a` depends on itself; remove it
        12:26 error[INVALID_REQUIREMENT] spec.dependencies[1].version: `1..2` is not a version requirement: unexpected character '.' while parsing minor version number; write a range as `>=1.0.0, <2.0.0`
        13:41 error[INVALID_PLATFORM] spec.dependencies[2].platform: `linux-x8664` is not a platform; did you mean `linux-x86_64`?
        13:75 error[INVALID_ADDRESS] spec.dependencies[2].source.http.url: `ftp://x` is not an address that can be fetched; begin it with https:// or http://
        13:94 error[INVALID_DIGEST] spec.dependencies[2].source.http.sha256: `zz` is not a SHA-256; write 64 hexadecimal digits
        14:46 error[MISSING_FIELD] spec.dependencies[3].source.http.sha256: `sha256` is missing; add it: SHA-256 of the archive in hexadecimal
        16:14 error[DUPLICATE_DEPENDENCY] spec.dependencies[5].name: `e` is listed on line 15 and again on line 16; keep one, or give each its own `platform`
        17:14 error[INVALID_NAME] spec.dependencies[6].name: `Not A Name` is not a package name: only lower-case letters, digits, `-` and `_` are allowed; names are `name` or `namespace/name` in lower case, such as `acme/ray-tracer`
        18:21 error[UNKNOWN_FEATURE] spec.features.full[0]: `ful` is neither a feature nor an optional dependency; did you mean `full`?
        18:26 error[UNKNOWN_FEATURE] spec.features.full[1]: `e` is neither a feature nor an optional dependency; mark this dependency `optional: true`
        19:21 error[INVALID_VARIABLE] spec.environment.1X: `1X` cannot be a variable of a program; use letters, digits and `_` in names, and no zero byte in values
        "#);
    }

    #[test]
    fn without_content_nothing_could_run() {
        for content in ["  content: {}\n", "", "  content: {files: [a]}\n"] {
            let text = minimal(content);
            let found = parse(&text, Format::Yaml, "p").expect_err("has no content");
            assert_eq!((found.list[0].code, found.list[0].severity), ("NO_CONTENT", Severity::Critical), "{content}");
        }
    }
}
