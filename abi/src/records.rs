//! The messages that travel in bags and JSON blobs: plain serde records whose unknown keys are ignored.
//!
//! Every field has a default, so that a newer side can leave out what an older one asks for. Names and values are
//! HyperMesh's where it has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::consensus::{ConsensusAnswer, ConsensusRequest};
pub use self::metric::{Metric, MetricKind, Sample};
pub use self::trust::{FeedSubject, ReleaseSubject, SignRequest, Signed, TrustAnchors, TrustQuery, TrustVerdict};
pub use self::verb::{Example, Panel, Positional, Verb};

mod consensus;
mod metric;
mod trust;
mod verb;

/// Where an error happened and what to do next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Detail {
    /// What the reader can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// A stable name finer than the code, such as `DUPLICATE_VERSION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Every fault found in one pass over an input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<InputFault>,
    /// What whoever made the request can be asked, to make it again with the answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// What the verb would have answered: found in full, and refused for what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Response>,
}

/// What an extension must know before it can answer a verb. A host asks it where a person is, and makes the request again with
/// the answers; everywhere else it is a part of the error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Question {
    /// The parameter of the verb that takes the answer.
    pub parameter: String,
    /// Where that parameter is a list of `NAME=ANSWER`, the name of this answer.
    pub name: Option<String>,
    /// What it is for, in a sentence.
    pub about: String,
    /// A JSON Schema of the answer, with its `default` if there is one.
    pub schema: Json,
    /// What is wrong with the answer that was given, if one was.
    pub fault: Option<String>,
}

/// One fault of an input, with its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InputFault {
    /// A stable name such as `UNKNOWN_FIELD`.
    pub code: String,
    /// `critical`, `error` or `warning`.
    pub severity: String,
    /// The file.
    pub file: Option<String>,
    /// The field, as `spec.resources.memory_limit`.
    pub path: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column, from 1, in characters.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// An error in JSON, as commands print it and nodes send it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorRecord {
    /// The name of the code, such as `NOT_FOUND`.
    pub code: String,
    /// The number of the code.
    pub number: u32,
    /// Whose fault: `input`, `peer`, `environment`, `policy` or `bug`.
    pub fault: String,
    /// What went wrong, for people.
    pub message: String,
    /// The messages of the causes, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// Trying again may succeed.
    pub retryable: bool,
    /// Where and what to do.
    #[serde(flatten)]
    pub detail: Detail,
}

/// What an extension says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Identity and texts.
    pub metadata: Metadata,
    /// The request table, in the order of its help.
    pub verbs: Vec<Verb>,
}

/// Identity, texts and needs of an extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Identifier, such as `catalog`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// Author.
    pub author: String,
    /// SPDX licence expression.
    pub license: String,
    /// Web address.
    pub homepage: Option<String>,
    /// HyperMesh's category, such as `AssetLibrary`.
    pub category: String,
    /// The host versions it works with (a semver requirement).
    pub hypermesh_version: String,
    /// Capabilities without which it cannot work.
    pub required_capabilities: Vec<String>,
    /// Kinds of asset it provides.
    pub provided_assets: Vec<String>,
    /// A JSON Schema of its configuration.
    pub config_schema: Option<Json>,
}

/// What a host gives to the constructor of an extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateOptions {
    /// The configuration of the manifest.
    pub config: Json,
    /// A directory that belongs to the extension alone.
    pub home: PathBuf,
    /// The extension's auxiliary programs by name, each a path to the very bytes that the host verified. A constructor cannot
    /// start them yet: a host may still be verifying them, and their paths name nothing until then.
    pub workers: BTreeMap<String, PathBuf>,
    /// Threads the extension may use for its runtime; at least 1.
    pub worker_threads: u32,
    /// The extension is linked into the host: it must leave process-wide hooks alone.
    pub linked: bool,
    /// The number of this generation within the host's life.
    pub generation: u64,
}

/// What the administrator's manifest grants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    /// Capabilities by HyperMesh's names.
    pub capabilities: Vec<String>,
    /// Processor share in percent of the node.
    pub cpu_percent: f64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of storage.
    pub storage_bytes: u64,
    /// Operations at the same time.
    pub concurrent_operations: u32,
    /// Milliseconds one operation may take.
    pub operation_timeout_ms: u64,
}

/// Who this node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeIdentity {
    /// The node's number, stable over restarts.
    pub node_id: String,
    /// The host's program and version.
    pub host: String,
    /// `operating system-architecture`, as packages name platforms: `linux-x86_64`.
    pub platform: String,
}

/// What a node has, whoever uses it now: answered by [`crate::service::NODE_RESOURCES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeResources {
    /// Processors.
    pub cpu_cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Graphics processors.
    pub gpus: u32,
    /// Memory of the largest of them in bytes.
    pub gpu_memory_bytes: u64,
}

/// Who this node is to other nodes: answered by [`crate::service::TRANSPORT_IDENTITY`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportIdentity {
    /// The node's certificate and the authorities above it but the root, leaf first, in PEM.
    pub chain: Vec<String>,
    /// X.509 revocation lists of the root and of every authority that issues for nodes, in PEM.
    pub crls: Vec<String>,
}

/// What is signed with the keys of the node's certificate: asked with [`crate::service::TRANSPORT_SIGN`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportSignRequest {
    /// `handshake`: the content of a TLS 1.3 `CertificateVerify` (RFC 8446, 4.4.3), signed with Ed25519. `binding`: what binds a
    /// connection of STOQ, signed with FALCON-1024.
    pub kind: String,
    /// What is signed, in base64 with padding.
    pub message: String,
}

/// A signature with a key of the node's certificate: answered by [`crate::service::TRANSPORT_SIGN`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransportSignature {
    /// In base64 with padding.
    pub signature: String,
}

/// HyperMesh's states of an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExtensionState {
    /// Constructed, not yet active.
    #[default]
    Initializing,
    /// Takes requests.
    Running,
    /// Takes no requests, holds nothing exclusive.
    Paused,
    /// On its way out.
    ShuttingDown,
    /// Gone.
    Stopped,
    /// Failed, and why.
    Error(String),
}

/// HyperMesh's health of an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// All is well.
    #[default]
    Healthy,
    /// Works, but something should be looked at.
    Degraded(String),
    /// Does not work.
    Unhealthy(String),
}

/// Figures of an extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Requests being worked on.
    pub active_operations: u64,
    /// Requests since activation.
    pub total_requests: u64,
    /// Requests that ended in an error.
    pub error_count: u64,
    /// Milliseconds since activation.
    pub uptime_ms: u64,
    /// Further figures for people by name, such as `packages`.
    pub figures: BTreeMap<String, Json>,
    /// What those who watch the node are told.
    pub metrics: Vec<Metric>,
}

/// The answer to [`crate::contract::extension::Extension::validate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValidationReport {
    /// No error was found.
    pub valid: bool,
    /// What is wrong.
    pub errors: Vec<InputFault>,
    /// What might be.
    pub warnings: Vec<InputFault>,
}

impl Default for ValidationReport {
    fn default() -> Self {
        Self { valid: true, errors: Vec::new(), warnings: Vec::new() }
    }
}

/// The answer to a verb.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Response {
    /// For programs: an object.
    pub data: Json,
    /// For people: text without escape sequences, ending in a line break unless empty.
    pub text: String,
}

/// How far a call has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What is being done, such as `install`.
    pub stage: String,
    /// What it is being done to.
    pub message: String,
    /// How much is done, in `unit`s.
    pub done: u64,
    /// How much there is; 0 if not known.
    pub total: u64,
    /// `packages`, `bytes` or the like. `output` if `message` is what a program printed, to be shown as it is; `stage` is then
    /// `stdout` or `stderr`, and `done` how many bytes of that stream have come before it.
    pub unit: String,
}

/// A place in the source that makes spans or events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Callsite {
    /// It makes spans, not events.
    pub is_span: bool,
    /// 1 error to 5 trace.
    pub level: u32,
    /// The span's or event's name.
    pub name: String,
    /// The target, usually a module path.
    pub target: String,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
    /// Names of its fields.
    pub fields: Vec<String>,
}

/// Values of a callsite's fields, in the order in which they were recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fields {
    /// Name and value.
    pub values: Vec<(String, String)>,
}

/// An amount of one kind of resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AssetRequest {
    /// HyperMesh's asset type: `cpu`, `gpu`, `memory`, `storage`, `network`, …
    pub asset_type: String,
    /// Thousandths of a core, bytes, devices or bytes per second, by type.
    pub amount: u64,
    /// Needed architecture or device type.
    pub variant: Option<String>,
    /// Storage that outlives the lease.
    pub persistent: bool,
    /// Further demands by name.
    pub attributes: BTreeMap<String, String>,
}

/// Resources to lease together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseRequest {
    /// What they are for, such as `ray-tracer@1.0.0`.
    pub label: String,
    /// All of these or none.
    pub items: Vec<AssetRequest>,
    /// Milliseconds after which the host may take them back.
    pub ttl_ms: u64,
}

/// Leased resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// The lease's number, for release.
    pub id: u64,
    /// The assets that stand for the resources.
    pub assets: Vec<AssetRecord>,
}

/// An asset as the host lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AssetRecord {
    /// `type:uuid:hex64`, or whatever the adapter calls it.
    pub id: String,
    /// HyperMesh's asset type.
    pub asset_type: String,
    /// Name for people.
    pub name: String,
    /// `Available`, `Allocated`, `InUse`, `Maintenance` or `Failed`.
    pub state: String,
    /// Who holds it; empty if nobody.
    pub owner: String,
    /// What it is held for.
    pub label: String,
    /// Thousandths of a core, bytes, devices or bytes per second, by type.
    pub amount: u64,
    /// Further properties.
    pub attributes: BTreeMap<String, Json>,
}

/// Which assets to list; empty fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AssetQuery {
    /// Only of this type.
    pub asset_type: Option<String>,
    /// Only with this label.
    pub label: Option<String>,
    /// Only those of the caller itself.
    pub own: bool,
}

/// Assets, in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AssetList {
    /// The assets.
    pub assets: Vec<AssetRecord>,
}

/// The use of one allocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AssetUsage {
    /// Its state.
    pub state: String,
    /// Figures by name, unit last in the name.
    pub figures: BTreeMap<String, u64>,
}

/// Which kinds of asset an adapter serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterDescription {
    /// HyperMesh's asset types.
    pub asset_types: Vec<String>,
    /// Allocations at the same time; 0 if the adapter only lists.
    pub allocations_max: u64,
}

/// Which languages an executor runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutorDescription {
    /// `lua`, `julia`, `wasm`.
    pub languages: Vec<String>,
    /// Engine and version.
    pub engine: String,
}

/// What an executor thinks of a program it has not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramCheck {
    /// It would start.
    pub valid: bool,
    /// Why not.
    pub faults: Vec<InputFault>,
}

/// One run of a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionRequest {
    /// `lua`, `julia` or `wasm`.
    pub language: String,
    /// The function to call; the program's main one if empty.
    pub function: String,
    /// Arguments, in JSON.
    pub arguments: Vec<Json>,
    /// Milliseconds of wall time; 0 for the default.
    pub timeout_ms: u64,
    /// Bytes of memory; 0 for the default.
    pub memory_bytes: u64,
}

/// What a run gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionOutcome {
    /// The result, in JSON.
    pub value: Json,
    /// What the program printed.
    pub stdout: String,
    /// Microseconds of wall time.
    pub wall_us: u64,
    /// Figures by name, unit last in the name.
    pub usage: BTreeMap<String, u64>,
}

/// What a package handler says of an archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PackageVerdict {
    /// `name@version`.
    pub package: String,
    /// Digest of the content.
    pub digest: String,
    /// The archive is what it claims to be and the policy accepts it.
    pub accepted: bool,
    /// Every check by name, with its outcome.
    pub checks: BTreeMap<String, String>,
}

/// Counters by name, unit last in the name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// The counters.
    pub counters: BTreeMap<String, u64>,
}

/// An exported state. Its form is JSON, so that people can read a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateExport {
    /// The version of this record: 1.
    pub version: u32,
    /// Which extension it comes from.
    pub extension: String,
    /// The version of that extension.
    pub extension_version: String,
    /// When, RFC 3339.
    pub exported_at: String,
    /// What the extension keeps: opaque to the host.
    pub state: Json,
    /// `blake3:<hex>` of the state's compact JSON text.
    pub checksum: String,
}
