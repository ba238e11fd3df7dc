//! The valid package: what the schema becomes once every fault has been ruled out.
//!
//! A [`Package`] is only made by `package::read`; inside, invalid values do not exist. Field names follow HyperMesh's.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::name::PackageName;
pub use super::path::FilePath;

/// A package as its manifest describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// The name.
    pub name: PackageName,
    /// The version.
    pub version: Version,
    /// Texts for people and search.
    pub about: About,
    /// What the package is, which decides the executor.
    pub kind: PackageType,
    /// Its files.
    pub content: Content,
    /// What it asks of the sandbox.
    pub security: Security,
    /// What it needs of the machine.
    pub resources: Resources,
    /// How it wants to be run.
    pub execution: Execution,
    /// What it builds on, in the order of the manifest.
    pub dependencies: Vec<Dependency>,
    /// What it cannot stand beside.
    pub conflicts: Vec<Conflict>,
    /// Named sets of optional dependencies and further features that a dependent may switch on.
    pub features: BTreeMap<String, Vec<String>>,
    /// Variables its program sees.
    pub environment: BTreeMap<String, String>,
    /// A JSON Schema of its configuration.
    pub config_schema: Option<serde_json::Value>,
}

/// Texts for people and search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// One sentence or more.
    pub description: Option<String>,
    /// Author, as `Name <mail>` or just a name.
    pub author: Option<String>,
    /// SPDX licence expression.
    pub license: Option<String>,
    /// Web address.
    pub homepage: Option<String>,
    /// Source repository.
    pub repository: Option<String>,
    /// Time of creation, RFC 3339.
    pub created: Option<String>,
    /// Time of the last change, RFC 3339.
    pub updated: Option<String>,
    /// Exact-match labels.
    pub tags: Vec<String>,
    /// Words for search.
    pub keywords: Vec<String>,
}

/// What a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackageType {
    /// A Julia program with an entry function.
    JuliaProgram,
    /// Julia modules that other packages use.
    JuliaLibrary,
    /// A Lua 5.4 program.
    LuaScript,
    /// A Lua 5.4 module that other packages `require`.
    LuaLibrary,
    /// A WebAssembly module.
    WasmModule,
    /// A container image description.
    Container,
    /// A machine-learning model.
    MlModel,
    /// A data pipeline.
    DataPipeline,
    /// A native binary.
    Binary,
    /// Anything else.
    Custom,
}

/// The files of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The file that runs, relative to the package.
    pub main: FilePath,
    /// Further files, sorted, without `main`.
    pub files: Vec<FilePath>,
    /// Those of `files` and `binary` that may be changed where the package is installed, sorted.
    pub writable: Vec<FilePath>,
    /// Text that stands in for the file `main`.
    pub inline: Option<String>,
    /// Files carried in the manifest in base64.
    pub binary: Vec<BinaryAsset>,
    /// The templates this package offers, by name: what each asks and makes.
    pub templates: BTreeMap<String, serde_json::Value>,
}

/// A file carried in the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryAsset {
    /// Where it is unpacked, relative to the package.
    pub path: FilePath,
    /// Media type (RFC 6838).
    pub mime_type: String,
    /// The decoded bytes; their size and SHA-256 have been checked where the manifest gives them.
    pub bytes: Vec<u8>,
}

/// What a package asks of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Running needs a consensus proof.
    pub consensus_required: bool,
    /// The publisher's certificate is pinned at the first install.
    pub certificate_pinning: bool,
    /// The digest that installs must check besides BLAKE3.
    pub hash_validation: HashAlgorithm,
    /// How closed the sandbox is.
    pub sandbox_level: SandboxLevel,
    /// System calls allowed besides those of the level.
    pub allowed_syscalls: Vec<String>,
    /// Further permissions by name.
    pub permissions: Vec<String>,
    /// Network rules.
    pub network_access: NetworkAccess,
    /// File rules.
    pub file_access: FileAccess,
}

/// A digest algorithm a package may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE3, the default.
    Blake3,
}

/// How closed the sandbox is; ordered from open to closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SandboxLevel {
    /// No filter; network and files as the rules say.
    Minimal,
    /// Filtered, limited network, files read-only; the default.
    Standard,
    /// No network, no files.
    Strict,
    /// Strict, and only on hardware isolation.
    Paranoid,
}

/// Network rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAccess {
    /// Off unless the package says otherwise.
    pub enabled: bool,
    /// Names that may be reached.
    pub allowed_domains: Vec<String>,
    /// Ports that may be reached.
    pub allowed_ports: Vec<u16>,
    /// Plain connections are refused; true unless the package says otherwise.
    pub require_tls: bool,
}

/// File rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAccess {
    /// None unless the package says otherwise.
    pub level: FileAccessLevel,
    /// Paths opened besides the package's own files.
    pub allowed_paths: Vec<String>,
    /// Paths closed whatever else is allowed.
    pub denied_paths: Vec<String>,
    /// A private directory for temporary files.
    pub allow_temp: bool,
}

/// What a program may do with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileAccessLevel {
    /// Nothing.
    None,
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// A share of processors in thousandths of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuMillis(pub u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// What a package needs of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Processor share while running; 1000m if not given.
    pub cpu_limit: CpuMillis,
    /// Memory while running; 512Mi if not given.
    pub memory_limit: Bytes,
    /// Wall time of one run; 30 s if not given.
    pub execution_timeout: Duration,
    /// Storage beside the package's own files.
    pub storage_required: Option<Bytes>,
    /// Network bandwidth in bytes per second.
    pub network_bandwidth: Option<Bytes>,
    /// A processor is needed at all; true if not given.
    pub cpu_required: bool,
    /// Whole cores.
    pub cpu_cores: Option<u32>,
    /// Processor architecture, such as `x86_64`.
    pub cpu_architecture: Option<String>,
    /// A graphics processor is needed.
    pub gpu_required: bool,
    /// Graphics memory in MiB.
    pub gpu_memory_mb: Option<u64>,
    /// Graphics programming model, such as `CUDA`.
    pub gpu_type: Option<String>,
    /// Memory to lease in MiB; `memory_limit` if not given.
    pub memory_mb: Option<u64>,
    /// Storage to lease in MiB; `storage_required` if not given.
    pub storage_mb: Option<u64>,
    /// The storage outlives the run.
    pub persistent_storage: bool,
    /// Further demands on hardware.
    pub hardware_requirements: Vec<HardwareRequirement>,
}

/// A demand on one kind of hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareRequirement {
    /// The kind.
    pub hardware_type: HardwareType,
    /// What must hold.
    pub minimum_spec: String,
    /// What would be better.
    pub preferred_spec: Option<String>,
    /// Features that must be there.
    pub required_features: Vec<String>,
}

/// A kind of hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HardwareType {
    /// Processors.
    Cpu,
    /// Graphics processors.
    Gpu,
    /// Memory.
    Memory,
    /// Storage.
    Storage,
    /// Network.
    Network,
}

/// How a package wants to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Which node runs it.
    pub delegation_strategy: DelegationStrategy,
    /// Validators that must agree, 1 to 5; 1 if not given.
    pub minimum_consensus: u32,
    /// What happens after a failure.
    pub retry_policy: RetryPolicy,
    /// Runs at the same time on one node; no bound if not given.
    pub max_concurrent: Option<u32>,
    /// Instructions of one run of a WebAssembly module, as its engine counts them; not counted if not given.
    pub fuel: Option<u64>,
    /// Place in the queue.
    pub priority: Priority,
    /// Bounds on time.
    pub timeout_config: TimeoutConfig,
    /// When and where.
    pub scheduling: Scheduling,
}

/// Which node runs a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DelegationStrategy {
    /// The node with the lowest round-trip time; the default.
    NearestNode,
    /// The node with the lowest load.
    LoadBalanced,
    /// The node with the most power.
    HighPerformanceCluster,
    /// Any node.
    RandomNode,
    /// The node that affinity names.
    SpecificNode,
}

/// What happens after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryPolicy {
    /// Nothing; the default.
    None,
    /// Up to three attempts, 1,000 ms apart.
    Simple,
    /// Up to three attempts, 1,000 ms apart and doubling.
    ExponentialBackoff,
}

/// A place in the queue; later is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Can wait.
    Low,
    /// The default.
    Normal,
    /// Before normal ones.
    High,
    /// Before all others.
    Critical,
}

/// Bounds on time, each by what it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeoutConfig {
    /// One run; `resources.execution_timeout` if not given.
    pub execution: Duration,
    /// One network operation; 10 s if not given.
    pub network: Duration,
    /// One read or write; 5 s if not given.
    pub io: Duration,
    /// Compilation; 60 s if not given.
    pub compilation: Duration,
}

/// When and where a package runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduling {
    /// When.
    pub timing: Timing,
    /// How nodes are filled.
    pub allocation_strategy: AllocationStrategy,
    /// Rules a node should meet.
    pub node_affinity: Vec<AffinityRule>,
    /// Rules a node should not meet.
    pub anti_affinity: Vec<AffinityRule>,
}

/// When a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// At once; the default.
    Immediate,
    /// At a given time.
    Scheduled,
    /// When nothing else runs.
    Background,
}

/// How nodes are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllocationStrategy {
    /// The node with the least left over.
    BestFit,
    /// The first that fits.
    FirstFit,
    /// The node with the most left over; the default.
    Balanced,
}

/// One rule about the labels of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct AffinityRule {
    /// It binds or it scores.
    pub rule_type: RuleType,
    /// The label.
    pub key: String,
    /// How the label's value is compared.
    pub operator: AffinityOperator,
    /// What it is compared with.
    pub values: Vec<String>,
    /// What a preferred rule is worth; 1 if not given.
    pub weight: f64,
}

/// Whether a rule binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleType {
    /// It binds.
    Required,
    /// It adds to a score.
    Preferred,
}

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AffinityOperator {
    /// The value is one of these.
    In,
    /// The value is none of these.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

/// Versions of a package that cannot be on a node together with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The package.
    pub name: PackageName,
    /// The versions.
    pub requirement: VersionReq,
    /// The versions as written, for messages.
    pub requirement_text: String,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The package.
    pub name: PackageName,
    /// The versions that will do.
    pub requirement: VersionReq,
    /// The requirement as written, for messages.
    pub requirement_text: String,
    /// Only used when a feature of the same name, or one that lists it, is on.
    pub optional: bool,
    /// Where it comes from.
    pub source: Source,
    /// Features of the dependency to switch on.
    pub features: Vec<String>,
    /// Only needed on this platform, such as `linux-x86_64` or `linux`.
    pub platform: Option<String>,
}

/// Where a dependency comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A registry; the node's own if no name is given.
    Registry {
        /// The registry's name.
        registry: Option<String>,
    },
    /// A git repository.
    Git {
        /// Its address.
        url: String,
        /// Branch, tag or commit.
        reference: Option<String>,
        /// The package's directory inside it.
        path: Option<String>,
    },
    /// A directory on this machine.
    Local {
        /// Its path, relative to the manifest.
        path: String,
    },
    /// An archive on the web.
    Http {
        /// Its address.
        url: String,
        /// SHA-256 of the archive in hexadecimal.
        sha256: String,
    },
}
