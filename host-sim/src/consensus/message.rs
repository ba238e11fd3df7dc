//! What a coordinator and a validator say to each other, ready to travel.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use trustchain::digest::{Nonce, Sha256};
use trustchain::proof::Verdict;

/// Somebody who judges proofs. Each keeps to itself what it knows, and answers from any thread.
pub trait Validator: Send + Sync {
    /// Names it by the fingerprint of its keys.
    fn id(&self) -> Sha256;

    /// Draws a number for an operation that is to be proved.
    fn draw(&self, request: DrawRequest) -> Answer<Drawn>;

    /// Judges a proof. `sender` is who sent it, as the transport knows, and not what the proof says.
    fn judge(&self, sender: Sha256, request: JudgeRequest) -> Answer<Judgement>;
}

/// What a validator answers; an error is that it does not.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Silent>> + Send>>;

/// A validator gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer: {0}")]
pub struct Silent(pub String);

/// Asks for a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawRequest {
    /// The operation, by its id.
    pub operation: Sha256,
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// The number.
    pub nonce: Nonce,
    /// Microseconds since 1970 by the validator's clock.
    pub now_us: u64,
}

/// Asks for a judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeRequest {
    /// The text of the proof.
    pub proof: String,
}

/// What a validator says of a proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// What came of it.
    pub verdict: Verdict,
    /// The text of the validator's attestation; none if it does not judge.
    pub attestation: Option<String>,
}
