//! What travels through the trust services: the numbers in [`crate::service`].

use serde::{Deserialize, Serialize};

/// What a node believes: answered by [`crate::service::TRUST_ANCHORS`]. Public; who acts on it checks everything again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustAnchors {
    /// The name of the cluster, to which proofs of operations are bound.
    pub cluster: String,
    /// The roots: each a certificate in PEM, or the text of a root set, whose roots decide together.
    pub roots: Vec<String>,
    /// Intermediate authorities that the node knows, in PEM.
    pub authorities: Vec<String>,
    /// The newest signed revocation list of each authority, roots included, each the text of its envelope.
    pub revocations: Vec<String>,
    /// The validators of the cluster, each its certificate and the authorities above it but the root, in PEM, leaf first.
    pub validators: Vec<String>,
    /// The cluster's genesis, the text of its envelope: which keys are validators, in which epoch, and who has what at stake.
    /// Empty on a node without a cluster.
    pub genesis: String,
}

/// What is to be signed with a publisher's keys: asked of [`crate::service::TRUST_SIGN`]. One of the subjects is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignRequest {
    /// Which of the node's publishers signs; its default one if not given.
    pub publisher: Option<String>,
    /// A release.
    pub release: Option<ReleaseSubject>,
    /// The head of the publisher's feed.
    pub feed: Option<FeedSubject>,
    /// A receipt of a run, in the form of `application/vnd.hypermesh.receipt.v1+json`. Its answer has no chain, since that
    /// travels in the envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<serde_json::Value>,
    /// In which form a release travels between nodes, as `application/vnd.hypermesh.offer.v1+json` has it. Its answer has no
    /// chain either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<serde_json::Value>,
}

/// A release to be signed; the host adds the time and the signer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseSubject {
    /// `[namespace/]name`.
    pub package: String,
    /// A semantic version.
    pub version: String,
    /// Bytes of the archive's tar.
    pub size_bytes: u64,
    /// SHA-256 of the tar, in hexadecimal.
    pub sha256: String,
    /// BLAKE3 of the tar, in hexadecimal.
    pub blake3: String,
    /// BLAKE3 of the manifest in canonical form, in hexadecimal.
    pub manifest: String,
    /// BLAKE3 of the lockfile, in hexadecimal.
    pub lock: Option<String>,
    /// What asks, such as `catalog 1.0.0`.
    pub tool: String,
}

/// The head of a feed to be signed; the host adds publisher and times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedSubject {
    /// The number of the newest entry.
    pub number: u64,
    /// SHA-256 of the newest entry, in hexadecimal.
    pub entry: String,
}

/// A signed document: the answer of [`crate::service::TRUST_SIGN`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signed {
    /// The text of the envelope, which names its chain by digest.
    pub envelope: String,
    /// The signer's certificate and the authorities above it but the root, in PEM, leaf first.
    pub chain: Vec<String>,
}

/// What is asked of the service `trust_verify` beside the bytes of an artifact: who vouches for them?
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustQuery {
    /// The text of the release statement's envelope.
    pub envelope: String,
    /// The signer's certificate and the authorities above it but the root, in PEM, leaf first, if the envelope names them by
    /// digest.
    pub chain: Vec<String>,
    /// The time for which the answer holds (RFC 3339), if it is not now: when somebody trusted saw the envelope.
    pub at: Option<String>,
}

/// Who vouches for an artifact: the answer of the service `trust_verify`. What nobody vouches for is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustVerdict {
    /// `[namespace/]name` of the package that the artifact is.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The subject of the signer's certificate.
    pub signer: String,
    /// The fingerprint of the signer's certificate, `SHA256:` and hexadecimal.
    pub certificate: String,
    /// The subjects of the path, leaf to root.
    pub path: Vec<String>,
    /// The algorithms of the signatures.
    pub algorithms: Vec<String>,
    /// When it was signed, by the signer's clock (RFC 3339).
    pub signed_at: String,
}
