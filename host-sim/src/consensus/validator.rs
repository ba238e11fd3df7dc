//! An honest validator: keys, checks and a memory of its own.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use time::{Duration, OffsetDateTime};
use trustchain::digest::{Nonce, Sha256};
use trustchain::genesis::Genesis;
use trustchain::hybrid::SecretKey;
use trustchain::path::{Revocation, Roots};
use trustchain::proof::{ByzantineKind, JudgeOptions, OperationProof, Profile, ProofError, Verdict};
use trustchain::quorum::{Attestation, Decision, QuorumError, Statement};
use trustchain::revocation::RevocationList;

use super::evidence::Evidence;
use super::message::{Answer, DrawRequest, Drawn, JudgeRequest, Judgement, Silent, Validator};
use super::replay::{ReplayError, ReplayStore};

/// How long a number that was drawn may be answered to.
pub const DRAWN_FOR: Duration = Duration::minutes(5);
/// The most numbers that are waiting to be answered to; asking for more is refused until some are over.
pub const DRAWN_MAX: usize = 4_096;
/// After how long to ask again whether work is done.
const PENDING_ETA_MS: u64 = 1_000;

/// Reads the time.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// What everybody in a cluster believes.
pub struct Beliefs {
    /// The roots.
    pub roots: Roots,
    /// The start of the epoch.
    pub genesis: Genesis,
    /// How much of each proof an operation needs.
    pub profile: Profile,
    /// The newest revocation lists; without any, revocation is not checked.
    pub lists: RwLock<Vec<RevocationList>>,
    /// The clock.
    pub clock: Clock,
}

/// An honest validator. Clones share it.
#[derive(Clone)]
pub struct Honest {
    inner: Arc<Inner>,
}

struct Inner {
    id: Sha256,
    keys: SecretKey,
    beliefs: Arc<Beliefs>,
    state: Mutex<State>,
}

struct State {
    replay: ReplayStore,
    evidence: Evidence,
    /// What was drawn for which operation, and when.
    drawn: HashMap<Nonce, (Sha256, OffsetDateTime)>,
}

/// Why a proof that may be right is refused by this validator.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the proof does not answer to what this validator drew for the operation")]
    NotDrawn,
}

impl Beliefs {
    /// Runs something with the options by which proofs are judged now.
    pub fn judging<T>(&self, judge: impl FnOnce(&JudgeOptions<'_>) -> T) -> T {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let revocation =
            if lists.is_empty() { Revocation::Unchecked } else { Revocation::Lists { lists: &lists, now } };
        judge(&JudgeOptions { roots: &self.roots, genesis: &self.genesis, profile: &self.profile, now, revocation })
    }
}

impl Honest {
    /// Starts a validator that remembers in a file.
    ///
    /// # Errors
    /// The file cannot be read or written, or is damaged.
    pub fn open(keys: SecretKey, beliefs: Arc<Beliefs>, memory: &Path) -> Result<Self, ReplayError> {
        let replay = ReplayStore::open(memory, (beliefs.clock)())?;
        let state = State { replay, evidence: Evidence::default(), drawn: HashMap::new() };
        let id = Sha256::from_bytes(keys.public().fingerprint());
        Ok(Self { inner: Arc::new(Inner { id, keys, beliefs, state: Mutex::new(state) }) })
    }
}

impl Validator for Honest {
    fn id(&self) -> Sha256 {
        self.inner.id
    }

    fn draw(&self, request: DrawRequest) -> Answer<Drawn> {
        let drawn = self.inner.draw(&request);
        Box::pin(std::future::ready(drawn))
    }

    fn judge(&self, sender: Sha256, request: JudgeRequest) -> Answer<Judgement> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let judged = tokio::task::spawn_blocking(move || inner.judge(sender, &request)).await;
            judged.map_err(|error| Silent(error.to_string()))
        })
    }
}

impl Inner {
    fn draw(&self, request: &DrawRequest) -> Result<Drawn, Silent> {
        let now = (self.beliefs.clock)();
        let nonce = Nonce::random().map_err(|error| Silent(error.to_string()))?;
        let mut state = self.state();
        state.drawn.retain(|_, (_, since)| now - *since < DRAWN_FOR);
        if state.drawn.len() >= DRAWN_MAX {
            return Err(Silent("too many operations are waiting to be proved".into()));
        }
        state.drawn.insert(nonce, (request.operation, now));
        Ok(Drawn { nonce, now_us: u64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(0) })
    }

    fn judge(&self, sender: Sha256, request: &JudgeRequest) -> Judgement {
        let started = Instant::now();
        let now = (self.beliefs.clock)();
        let unsigned = |verdict| Judgement { verdict, attestation: None };
        let invalid = |reason: String| Verdict::Invalid { reason, failed_proofs: Vec::new() };
        if self.state().evidence.is_blocked(sender, now) {
            return unsigned(invalid("the sender is blocked for an hour for what it sent before".into()));
        }
        let proof = match OperationProof::parse(request.proof.as_bytes()) {
            Ok(proof) => proof,
            Err(error) => return unsigned(invalid(with_causes(&error))),
        };
        if self.state().evidence.is_blocked(proof.claimed().requester, now) {
            return unsigned(invalid("the requester is blocked for an hour for what it signed before".into()));
        }
        match self.decide(&proof, now) {
            Ok(()) => {
                let duration_us = started.elapsed().as_micros() as u64;
                let timestamp = now.unix_timestamp();
                self.signed(&proof, Decision::Accept, Verdict::Valid { confidence: 1.0, timestamp, duration_us })
            }
            Err(Refusal::Proof(error)) if error.is_pending() => {
                unsigned(Verdict::Pending { id: proof.id().to_string(), eta_ms: PENDING_ETA_MS })
            }
            Err(Refusal::Replay(error)) if !matches!(error, ReplayError::Used) => {
                unsigned(Verdict::Error { reason: with_causes(&error) })
            }
            Err(refusal) => {
                self.remember(sender, &proof, &refusal, now);
                let failed_proofs = match &refusal {
                    Refusal::Proof(error) => error.failed_proofs(),
                    _ => Vec::new(),
                };
                let reason = with_causes(&refusal);
                let verdict = Verdict::Invalid { reason: reason.clone(), failed_proofs };
                self.signed(&proof, Decision::Refuse { reason }, verdict)
            }
        }
    }

    /// Judges a proof, and records its use before anything is signed.
    fn decide(&self, proof: &OperationProof, now: OffsetDateTime) -> Result<(), Refusal> {
        self.beliefs.judging(|options| proof.verify(options))?;
        let operation = proof.claimed().operation.id()?;
        let own = proof.claimed().challenges.iter().find(|challenge| challenge.validator == self.id);
        let (uses, until) = proof.uses();
        let mut state = self.state();
        if state.replay.was_used(&uses) {
            return Err(ReplayError::Used.into());
        }
        let own = own.ok_or(Refusal::NotDrawn)?.nonce;
        match state.drawn.get(&own) {
            Some((drawn_for, since)) if *drawn_for == operation && now - *since < DRAWN_FOR => {}
            _ => return Err(Refusal::NotDrawn),
        }
        state.replay.record(&uses, until, now)?;
        state.drawn.remove(&own);
        Ok(())
    }

    /// Keeps evidence: of what a requester signed against it; of what nobody signed, or was shown again, against whoever sent
    /// it, since anybody can show a proof that he has seen.
    fn remember(&self, sender: Sha256, proof: &OperationProof, refusal: &Refusal, now: OffsetDateTime) {
        let requester = proof.claimed().requester;
        let kinds = match refusal {
            Refusal::Proof(error) => error.evidence(),
            Refusal::Replay(ReplayError::Used) => vec![ByzantineKind::DoubleSpending],
            _ => Vec::new(),
        };
        let mut state = self.state();
        for kind in kinds {
            match kind {
                ByzantineKind::InvalidSignature | ByzantineKind::DoubleSpending => {
                    state.evidence.add(sender, kind, None, now);
                }
                _ => state.evidence.add(requester, kind, Some(proof.id()), now),
            }
        }
    }

    fn signed(&self, proof: &OperationProof, decision: Decision, verdict: Verdict) -> Judgement {
        let statement = Statement::about(proof, &self.beliefs.profile.name, self.id, decision);
        match Attestation::seal(&statement, &self.keys).and_then(|attestation| text(&attestation)) {
            Ok(attestation) => Judgement { verdict, attestation: Some(attestation) },
            Err(error) => Judgement { verdict: Verdict::Error { reason: with_causes(&error) }, attestation: None },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes an attestation as it travels.
pub(super) fn text(attestation: &Attestation) -> Result<String, QuorumError> {
    attestation.to_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Gives an error with its causes in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
