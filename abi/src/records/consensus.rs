//! What travels through the consensus service.

use serde::{Deserialize, Serialize};

/// What the validators are asked to agree to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsensusRequest {
    /// What is done: `publish`, `install`, `load`, `store`, `compute`, `sync`, `allocate`, `certificate-issue` or `generic`.
    pub operation: String,
    /// BLAKE3 of what it is done to, in hexadecimal.
    pub digest: String,
    /// Validators that must agree; never fewer than the cluster's quorum do.
    pub minimum: u32,
    /// 32 random bytes in hexadecimal that the answer must repeat, so that an old answer is told from a new one; drawn by
    /// the host if not given.
    pub nonce: Option<String>,
    /// The profile by which the validators must judge: `localhost`, `default` or `production`; theirs if not given.
    pub profile: Option<String>,
}

/// What they agreed to. Who acts on it checks the certificate against [`crate::records::TrustAnchors`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsensusAnswer {
    /// The text of the certificate of agreement: the proof of the operation and the attestations of a quorum.
    pub certificate: String,
    /// SHA-256 of the proof, in hexadecimal.
    pub proof: String,
    /// Validators that were asked.
    pub asked: u32,
    /// Validators that agreed.
    pub agreed: u32,
    /// The cluster's epoch.
    pub epoch: u64,
    /// When the agreement stops to count, in seconds since 1970.
    pub expires: i64,
}
