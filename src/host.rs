//! What Catalog needs of its host: ports, and nothing that implements them.
//!
//! One [`Host`] stands for one call: what it leases, reports and asks belongs to that call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::offer::Offer;
use trustchain::receipt::Receipt;

use crate::asset::AssetNeed;
use crate::digest::{Digest, Digests};

/// A future of a port's answer.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Waits for a port's answer on a thread that may block.
///
/// # Panics
/// Outside a tokio runtime, or on a thread that drives one.
pub fn wait<T>(pending: Pending<'_, T>) -> T {
    tokio::runtime::Handle::current().block_on(pending)
}

/// The host, as one call sees it.
pub trait Host: Send + Sync {
    /// Gives the time.
    fn now(&self) -> OffsetDateTime;

    /// Gives the platform of this node, such as `linux-x86_64`.
    fn platform(&self) -> String;

    /// Gives what this node has; nothing if the host does not say. Blocks while the host reads it.
    fn resources(&self) -> Option<NodeResources> {
        None
    }

    /// Gives the nodes that could run something, from a host that knows them better than this node and its peers do.
    fn candidates(&self) -> Vec<NodeCandidate> {
        Vec::new()
    }

    /// Gives the id of this node.
    fn node_id(&self) -> String {
        "local".to_owned()
    }

    /// Reports how far the call has come. Never blocks.
    fn progress(&self, progress: Progress);

    /// Says whether this call may ask other machines.
    fn network(&self) -> Network;

    /// Leases what a run needs, all or none, for at most the given time.
    fn lease<'a>(
        &'a self,
        label: &'a str,
        needs: &'a [AssetNeed],
        at_most: Duration,
    ) -> Pending<'a, Result<Box<dyn Lease>, Refusal>>;

    /// Gives what the host believes.
    fn anchors<'a>(&'a self) -> Pending<'a, Result<TrustAnchors, Refusal>>;

    /// Has something signed with the keys of one of the host's publishers; the default one if none is named.
    fn sign<'a>(&'a self, publisher: Option<&'a str>, what: &'a ToSign) -> Pending<'a, Result<Signed, Refusal>>;

    /// Asks the validators to agree to an operation; answers their certificate, which nobody has checked.
    fn consensus<'a>(&'a self, operation: &'a Operation) -> Pending<'a, Result<Vec<u8>, Refusal>>;
}

/// Whether a call may ask other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It may.
    Granted,
    /// Whoever called wants to do without.
    Offline,
    /// The administrator has not granted it.
    NotGranted,
}

/// What a node has, whoever uses it now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeResources {
    /// Processors.
    pub cpu_cores: u32,
    /// Memory.
    pub memory_bytes: u64,
    /// Graphics processors.
    pub gpus: u32,
    /// Memory of the largest of them.
    pub gpu_memory_bytes: u64,
}

/// A node that could run something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCandidate {
    /// Its id.
    pub id: String,
    /// Whether it is this node.
    pub is_local: bool,
    /// What rules of packages may ask about: `node`, `os`, `arch`, and whatever its administrator says.
    pub labels: BTreeMap<String, String>,
    /// How long it takes there and back; zero for this node.
    pub round_trip: Duration,
    /// How busy it is, in thousandths.
    pub load_permille: u32,
    /// What it has.
    pub total: NodeResources,
    /// What of it is free.
    pub free: NodeResources,
}

/// What the host believes, in the forms in which it travels. Nobody has checked it here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustAnchors {
    /// The name of the cluster, to which proofs of operations are bound.
    pub cluster: String,
    /// The roots, in PEM.
    pub roots: Vec<String>,
    /// Intermediate authorities, in PEM.
    pub authorities: Vec<String>,
    /// The texts of signed revocation lists.
    pub revocations: Vec<String>,
    /// The chain of each validator in PEM, leaf first.
    pub validators: Vec<String>,
    /// The genesis of the cluster, the text of its envelope; empty without a cluster.
    pub genesis: String,
}

/// What a publisher is asked to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSign {
    /// A release.
    Release {
        /// The package, `[namespace/]name`.
        package: String,
        /// Its version.
        version: String,
        /// Bytes of the tar.
        size_bytes: u64,
        /// Digests of the tar.
        digests: Digests,
        /// The digest of the manifest.
        manifest: Digest,
    },
    /// The head of the publisher's feed.
    Feed {
        /// The number of the newest entry.
        number: u64,
        /// SHA-256 of that entry in hexadecimal.
        entry: String,
    },
    /// A receipt of a run; its chain travels in the envelope.
    Receipt(Box<Receipt>),
    /// In which form a release travels between nodes. Its chain travels in the envelope.
    Offer(Box<Offer>),
}

/// A signed document and the chain of its signer, leaf first, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The document's envelope.
    pub envelope: Vec<u8>,
    /// The chain.
    pub chain: Vec<String>,
}

/// Leased resources; released when dropped.
pub trait Lease: Send + Sync {
    /// Gives the assets that stand for them.
    fn assets(&self) -> Vec<LeasedAsset>;
}

/// One leased asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedAsset {
    /// The host's id of it.
    pub id: String,
    /// Its kind, by HyperMesh's name.
    pub kind: String,
    /// How much, in the host's unit of the kind.
    pub amount: u64,
}

/// How far a call has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// What it is done to.
    pub subject: String,
    /// How many are done.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// The stage whose progress counts bytes; every other but the next two counts packages.
pub const DOWNLOAD: &str = "download";
/// The stages whose progress is what a program printed: `subject` is the text, `done` how many bytes came before it.
pub const STDOUT: &str = "stdout";
/// As [`STDOUT`].
pub const STDERR: &str = "stderr";

/// An operation that needs agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What is to be done.
    pub kind: OperationKind,
    /// To which content.
    pub digest: Digest,
    /// Validators that must agree.
    pub minimum: u32,
    /// Drawn for this one time: 32 bytes in hexadecimal.
    pub nonce: String,
    /// The profile by which the validators must judge.
    pub profile: String,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Running a package.
    Execute,
    /// Publishing a package.
    Publish,
    /// Installing packages.
    Install,
}

impl OperationKind {
    /// Gives HyperMesh's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "compute",
            Self::Publish => "publish",
            Self::Install => "install",
        }
    }
}

/// The host said no. Passed on to the caller as it is.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The host's number for the reason.
    pub code: u32,
    /// The reason.
    pub message: String,
    /// What to do, if the host says.
    pub help: Option<String>,
}
