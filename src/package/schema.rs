//! The form authors write: one serde type per section of a manifest, and the JSON Schema made from them.
//!
//! Everything is optional here, so a document with faults still reads as far as it goes; `required` is said in the JSON
//! Schema, which `check` holds documents against. Meaning (units, names, versions) belongs to `convert`. Unknown fields
//! are faults everywhere except in `templates`, `environment` and `config_schema`, whose keys are the author's.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::model::{
    AffinityOperator, AllocationStrategy, DelegationStrategy, FileAccessLevel, HardwareType, HashAlgorithm,
    PackageType, Priority, RetryPolicy, RuleType, SandboxLevel, Timing,
};

/// The value of `apiVersion`.
pub const API_VERSION: &str = "catalog.v1";
/// The values of `kind`; the first is written.
pub const KINDS: [&str; 2] = ["AssetPackage", "Asset"];

const CPU: &str = r"^[0-9]+(\.[0-9]+)?m?$";
const BYTES: &str = r"^[0-9]+(\.[0-9]+)?([kMGT]|[KMGT]i)?$";
const DURATION: &str = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$";
const SHA256: &str = "^[0-9a-fA-F]{64}$";

/// Gives the JSON Schema (draft 2020-12) of a manifest.
pub fn json_schema() -> Json {
    schemars::schema_for!(Manifest).to_value()
}

/// The manifest of a HyperMesh asset package.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "HyperMesh asset package")]
pub struct Manifest {
    /// Version of this format: `catalog.v1`.
    #[serde(rename = "apiVersion")]
    #[schemars(required, extend("enum" = [API_VERSION]))]
    pub api_version: Option<String>,
    /// `AssetPackage` (also `Asset`); `AssetPackage` if not given.
    #[schemars(extend("enum" = ["AssetPackage", "Asset", null]))]
    pub kind: Option<String>,
    /// What the package is called and what people read about it.
    #[schemars(required)]
    pub metadata: Option<Metadata>,
    /// What is in it and how it runs.
    #[schemars(required)]
    pub spec: Option<Spec>,
}

/// What a package is called and what people read about it.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// `[namespace/]name` in lower case, such as `acme/ray-tracer`.
    #[schemars(required, regex(pattern = r"^([a-z][a-z0-9_-]{0,63}/)?[a-z][a-z0-9_-]{0,63}$"))]
    pub name: Option<String>,
    /// Semantic version of three parts, such as `"1.10.0"`; always in quotes.
    #[schemars(required)]
    pub version: Option<String>,
    /// What it does, in a sentence or more.
    pub description: Option<String>,
    /// Author, as `Name <mail>` or just a name.
    pub author: Option<String>,
    /// SPDX licence expression, such as `MIT OR Apache-2.0`.
    pub license: Option<String>,
    /// Web address.
    pub homepage: Option<String>,
    /// Source repository.
    pub repository: Option<String>,
    /// Time of creation, RFC 3339.
    pub created: Option<String>,
    /// Time of the last change, RFC 3339.
    pub updated: Option<String>,
    /// Labels that searches filter by.
    pub tags: Option<Vec<String>>,
    /// Words that searches find.
    pub keywords: Option<Vec<String>>,
}

/// What is in a package and how it runs.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What the package is, which decides what runs it.
    #[serde(rename = "type")]
    #[schemars(required, extend("enum" = PackageType::spellings()))]
    pub kind: Option<String>,
    /// Its files.
    #[schemars(required)]
    pub content: Option<Content>,
    /// What it asks of the sandbox.
    pub security: Option<Security>,
    /// What it needs of the machine.
    pub resources: Option<Resources>,
    /// How it wants to be run.
    pub execution: Option<Execution>,
    /// What it builds on.
    pub dependencies: Option<Vec<Dependency>>,
    /// What it cannot stand beside: no node has both.
    pub conflicts: Option<Vec<Conflict>>,
    /// Named sets of optional dependencies and further features; `default` is on unless a dependent says otherwise.
    pub features: Option<BTreeMap<String, Vec<String>>>,
    /// Variables its program sees.
    pub environment: Option<BTreeMap<String, String>>,
    /// A JSON Schema of its configuration.
    pub config_schema: Option<Json>,
}

/// The files of a package; `main` or `inline` is needed.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The file that runs, relative to the manifest; with `inline`, `main` and the extension of the type if not given.
    pub main: Option<String>,
    /// Further files, relative to the manifest.
    pub files: Option<Vec<String>>,
    /// Those of the files that may be changed where the package is installed. They are copied there and shared with nothing.
    pub writable: Option<Vec<String>>,
    /// Text that stands in for the file `main`.
    pub inline: Option<String>,
    /// Files carried in the manifest.
    pub binary: Option<Vec<Binary>>,
    /// The templates this package offers, by name: what each asks and makes.
    pub templates: Option<BTreeMap<String, Json>>,
}

/// A file carried in the manifest.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Where it is unpacked, relative to the package.
    #[schemars(required)]
    pub name: Option<String>,
    /// Media type; `application/octet-stream` if not given.
    pub mime_type: Option<String>,
    /// The bytes in base64 (RFC 4648, padded; white space is ignored).
    #[schemars(required)]
    pub base64: Option<String>,
    /// Number of decoded bytes, checked if given.
    pub size: Option<u64>,
    /// SHA-256 of the decoded bytes in hexadecimal, checked if given.
    #[schemars(regex(pattern = SHA256))]
    pub sha256: Option<String>,
}

/// What a package asks of the sandbox.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Running needs a consensus proof; false if not given.
    pub consensus_required: Option<bool>,
    /// The publisher's certificate is pinned at the first install; false if not given.
    pub certificate_pinning: Option<bool>,
    /// The digest installs check besides BLAKE3; `blake3` if not given.
    pub hash_validation: Option<HashAlgorithm>,
    /// How closed the sandbox is; `standard` if not given.
    pub sandbox_level: Option<SandboxLevel>,
    /// System calls allowed besides those of the level.
    pub allowed_syscalls: Option<Vec<String>>,
    /// Further permissions by name.
    pub permissions: Option<Vec<String>>,
    /// Network rules.
    pub network_access: Option<NetworkAccess>,
    /// File rules.
    pub file_access: Option<FileAccess>,
}

/// Network rules.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkAccess {
    /// False if not given.
    pub enabled: Option<bool>,
    /// Names that may be reached.
    pub allowed_domains: Option<Vec<String>>,
    /// Ports that may be reached.
    pub allowed_ports: Option<Vec<NonZeroU16>>,
    /// Plain connections are refused; true if not given.
    pub require_tls: Option<bool>,
}

/// File rules.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileAccess {
    /// `none` if not given.
    pub level: Option<FileAccessLevel>,
    /// Paths opened besides the package's own files.
    pub allowed_paths: Option<Vec<String>>,
    /// Paths closed whatever else is allowed.
    pub denied_paths: Option<Vec<String>>,
    /// A private directory for temporary files; false if not given.
    pub allow_temp: Option<bool>,
}

/// What a package needs of the machine.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor share, such as `"500m"` or `"2"`; `1000m` if not given.
    #[schemars(regex(pattern = CPU))]
    pub cpu_limit: Option<String>,
    /// Memory, such as `"512Mi"` or `"100M"`; `512Mi` if not given.
    #[schemars(regex(pattern = BYTES))]
    pub memory_limit: Option<String>,
    /// Wall time of one run, such as `"30s"`; `30s` if not given.
    #[schemars(regex(pattern = DURATION))]
    pub execution_timeout: Option<String>,
    /// Storage beside the package's own files, such as `"10Gi"`.
    #[schemars(regex(pattern = BYTES))]
    pub storage_required: Option<String>,
    /// Bytes per second, such as `"10M"`.
    #[schemars(regex(pattern = BYTES))]
    pub network_bandwidth: Option<String>,
    /// A processor is needed at all; true if not given.
    pub cpu_required: Option<bool>,
    /// Whole cores.
    #[schemars(range(min = 1))]
    pub cpu_cores: Option<u32>,
    /// Processor architecture, such as `x86_64`.
    pub cpu_architecture: Option<String>,
    /// A graphics processor is needed; false if not given.
    pub gpu_required: Option<bool>,
    /// Graphics memory in MiB.
    #[schemars(range(min = 1))]
    pub gpu_memory_mb: Option<u64>,
    /// Graphics programming model, such as `CUDA`.
    pub gpu_type: Option<String>,
    /// Memory to lease in MiB; `memory_limit` if not given.
    #[schemars(range(min = 1))]
    pub memory_mb: Option<u64>,
    /// Storage to lease in MiB; `storage_required` if not given.
    #[schemars(range(min = 1))]
    pub storage_mb: Option<u64>,
    /// The storage outlives the run; false if not given.
    pub persistent_storage: Option<bool>,
    /// Further demands on hardware.
    pub hardware_requirements: Option<Vec<HardwareRequirement>>,
}

/// A demand on one kind of hardware.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareRequirement {
    /// The kind.
    #[schemars(required)]
    pub hardware_type: Option<HardwareType>,
    /// What must hold.
    #[schemars(required)]
    pub minimum_spec: Option<String>,
    /// What would be better.
    pub preferred_spec: Option<String>,
    /// Features that must be there.
    pub required_features: Option<Vec<String>>,
}

/// How a package wants to be run.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// Which node runs it; `nearest_node` if not given.
    pub delegation_strategy: Option<DelegationStrategy>,
    /// Validators that must agree; 1 if not given.
    #[schemars(range(min = 1, max = 5))]
    pub minimum_consensus: Option<u32>,
    /// What happens after a failure; `none` if not given.
    pub retry_policy: Option<RetryPolicy>,
    /// Runs at the same time on one node; no bound if not given.
    #[schemars(range(min = 1))]
    pub max_concurrent: Option<u32>,
    /// Instructions of one run, for WebAssembly: they are counted the same on every machine, and so is what it computes; not
    /// counted if not given.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Place in the queue; `normal` if not given.
    pub priority: Option<Priority>,
    /// Bounds on time.
    pub timeout_config: Option<TimeoutConfig>,
    /// When and where it runs.
    pub scheduling: Option<Scheduling>,
}

/// Bounds on time, each by what it stops.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutConfig {
    /// One run; `resources.execution_timeout` if not given.
    #[schemars(regex(pattern = DURATION))]
    pub execution: Option<String>,
    /// One network operation; `10s` if not given.
    #[schemars(regex(pattern = DURATION))]
    pub network: Option<String>,
    /// One read or write; `5s` if not given.
    #[schemars(regex(pattern = DURATION))]
    pub io: Option<String>,
    /// Compilation; `60s` if not given.
    #[schemars(regex(pattern = DURATION))]
    pub compilation: Option<String>,
}

/// When and where a package runs.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scheduling {
    /// When; `immediate` if not given.
    pub timing: Option<Timing>,
    /// How nodes are filled; `balanced` if not given.
    pub allocation_strategy: Option<AllocationStrategy>,
    /// Rules a node should meet.
    pub node_affinity: Option<Vec<AffinityRule>>,
    /// Rules a node should not meet.
    pub anti_affinity: Option<Vec<AffinityRule>>,
}

/// One rule about the labels of a node.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AffinityRule {
    /// It binds or it scores; `required` if not given.
    pub rule_type: Option<RuleType>,
    /// The label.
    #[schemars(required)]
    pub key: Option<String>,
    /// How the label's value is compared.
    #[schemars(required)]
    pub operator: Option<AffinityOperator>,
    /// What it is compared with.
    pub values: Option<Vec<String>>,
    /// What a preferred rule is worth; 1 if not given.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<f64>,
}

/// One dependency.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The package.
    #[schemars(required)]
    pub name: Option<String>,
    /// The versions that will do, such as `"^1.2"` or `">=1.0.0, <3"`.
    #[schemars(required)]
    pub version: Option<String>,
    /// Only used when a feature asks for it; false if not given.
    pub optional: Option<bool>,
    /// Where it comes from; the node's own registry if not given.
    pub source: Option<Source>,
    /// Features of the dependency to switch on.
    pub features: Option<Vec<String>>,
    /// Only needed on this platform, such as `linux` or `linux-x86_64`.
    pub platform: Option<String>,
}

/// Versions of a package that cannot be on a node together with this one.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conflict {
    /// The package.
    #[schemars(required)]
    pub name: Option<String>,
    /// The versions, such as `"<2"`; all of them if not given.
    pub version: Option<String>,
}

/// Where a dependency comes from; exactly one of the four.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Source {
    /// A registry.
    pub registry: Option<RegistrySource>,
    /// A git repository.
    pub git: Option<GitSource>,
    /// A directory on this machine.
    pub local: Option<LocalSource>,
    /// An archive on the web.
    pub http: Option<HttpSource>,
}

/// A registry.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySource {
    /// Its name; the node's own if not given.
    pub registry: Option<String>,
    /// The namespace of the package, where its name has none.
    pub namespace: Option<String>,
}

/// A git repository.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitSource {
    /// Its address.
    #[schemars(required)]
    pub url: Option<String>,
    /// Branch, tag or commit.
    pub reference: Option<String>,
    /// The package's directory inside it.
    pub path: Option<String>,
}

/// A directory on this machine.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalSource {
    /// Its path, relative to the manifest.
    #[schemars(required)]
    pub path: Option<String>,
}

/// An archive on the web.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    /// Its address.
    #[schemars(required)]
    pub url: Option<String>,
    /// SHA-256 of the archive in hexadecimal.
    #[schemars(required, regex(pattern = SHA256))]
    pub sha256: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SCHEMA=1 cargo test -p catalog schema` writes the file anew.
    #[test]
    fn the_committed_json_schema_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/schema/package.schema.json");
        let fresh = serde_json::to_string_pretty(&json_schema()).expect("a schema is JSON") + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &fresh).expect("the repository is writable");
        }
        let committed = std::fs::read_to_string(path).expect("the schema is committed");
        assert!(committed == fresh, "manifests/schema/package.schema.json differs from the types");
    }

    #[test]
    fn the_nine_fields_and_all_sections_are_in_it() {
        let schema = json_schema();
        let resources = &schema["$defs"]["Resources"]["properties"];
        for field in [
            "cpu_required",
            "cpu_cores",
            "cpu_architecture",
            "gpu_required",
            "gpu_memory_mb",
            "gpu_type",
            "memory_mb",
            "storage_mb",
            "persistent_storage",
        ] {
            assert!(resources[field].is_object(), "{field}");
        }
        assert_eq!(schema["required"], serde_json::json!(["apiVersion", "metadata", "spec"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
