//! One operation through its rounds: numbers from all, one proof, judgements of all, one certificate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use trustchain::digest::Sha256;
use trustchain::proof::{ByzantineKind, LIFETIME_MAX, Operation, OperationProof, Verdict};
use trustchain::quorum::{Attestation, Decision, Expected, QuorumCertificate, QuorumError, ValidatorSet};

use super::message::{Answer, DrawRequest, Drawn, JudgeRequest, Judgement, Validator};
use super::validator::with_causes;
use super::{Agreed, Ask, Consensus, ConsensusError};

/// Once enough have drawn, how long the first attempt waits for the others, as a share of the whole patience.
const GRACE_SHARE: u32 = 20;

/// One attempt.
struct Round<'a> {
    consensus: &'a Consensus,
    set: ValidatorSet,
    needed: usize,
    reasons: Vec<String>,
}

/// How a judgement counts.
enum Count {
    Agrees(Box<Attestation>),
    Refuses(String),
    /// No answer that counts; asking again may help.
    Nothing(String),
}

/// Tries until it is decided, or as often as the profile says.
pub(super) async fn agree(consensus: &Consensus, ask: Ask) -> Result<Agreed, ConsensusError> {
    let mut attempt = 1;
    loop {
        match once(consensus, ask, attempt).await {
            Err(ConsensusError::Undecided { .. }) if attempt < consensus.attempts => attempt += 1,
            result => return result,
        }
    }
}

async fn once(consensus: &Consensus, ask: Ask, attempt: u32) -> Result<Agreed, ConsensusError> {
    let started = Instant::now();
    let genesis = &consensus.beliefs.genesis;
    let set = consensus.beliefs.judging(|options| {
        ValidatorSet::new(genesis, &consensus.chains, options.roots, options.now, options.revocation)
    });
    let (set, refused) = set?;
    if ask.minimum > set.size() {
        return Err(ConsensusError::Minimum { minimum: ask.minimum, size: set.size() });
    }
    let reasons = refused.iter().map(|error| with_causes(error)).collect();
    let needed = set.quorum().max(ask.minimum);
    let mut round = Round { consensus, needed, set, reasons };
    let expires = consensus.now().saturating_add(LIFETIME_MAX - time::Duration::SECOND);
    let operation = Operation {
        cluster: genesis.cluster.clone(),
        digest: ask.digest,
        epoch: genesis.epoch,
        expires: expires.replace_nanosecond(0).unwrap_or(expires),
        kind: ask.kind,
        nonce: ask.nonce,
    };
    let drawn = round.draw(&operation, attempt).await?;
    let prover = Arc::clone(&consensus.prover);
    let asked: Vec<Sha256> = drawn.iter().map(|(id, _)| *id).collect();
    let proof = tokio::task::spawn_blocking(move || prover.prove(operation, &drawn)).await;
    let proof = proof.map_err(|_| ConsensusError::Stopped)??;
    let proof = OperationProof::parse(&proof).map_err(QuorumError::from)?;
    let attestations = round.judge(&proof, &asked).await?;
    let agreed = attestations.len() as f64 / round.set.size() as f64;
    let certificate = QuorumCertificate::new(proof, attestations);
    let expected = Expected { kind: ask.kind, digest: ask.digest, nonce: ask.nonce, minimum: ask.minimum };
    let checked = consensus.beliefs.judging(|options| certificate.verify(&round.set, &expected, options));
    let text = String::from_utf8_lossy(&certificate.to_bytes()?).into_owned();
    let duration_us = started.elapsed().as_micros() as u64;
    let timestamp = consensus.now().unix_timestamp();
    let verdict = Verdict::Valid { confidence: agreed, timestamp, duration_us };
    Ok(Agreed { certificate: text, agreement: checked?, verdict, asked: consensus.validators.len() })
}

impl Round<'_> {
    /// Gets a number from everybody who is listened to.
    async fn draw(&mut self, operation: &Operation, attempt: u32) -> Result<Vec<(Sha256, Drawn)>, ConsensusError> {
        let request = DrawRequest { operation: operation.id().map_err(QuorumError::from)? };
        let mut asked = JoinSet::new();
        let (mut drawn, mut waiting) = (Vec::new(), BTreeSet::new());
        for validator in self.listened_to() {
            let answer = validator.draw(request.clone());
            waiting.insert(validator.id());
            asked.spawn(async move { (validator.id(), answer.await) });
        }
        let (started, patience) = (Instant::now(), self.consensus.timeout);
        loop {
            let enough = drawn.len() >= self.needed && attempt == 1;
            let most = if enough { patience / GRACE_SHARE } else { patience };
            match tokio::time::timeout(most.saturating_sub(started.elapsed()), asked.join_next()).await {
                Ok(Some(Ok((id, answer)))) => {
                    waiting.remove(&id);
                    match answer {
                        Ok(answer) => drawn.push((id, answer)),
                        Err(silent) => self.silent(id, &silent.to_string()),
                    }
                }
                Ok(Some(Err(panicked))) => self.reasons.push(panicked.to_string()),
                Ok(None) | Err(_) => break,
            }
        }
        for id in waiting {
            self.silent(id, "does not answer in time");
        }
        self.blame_clocks(&drawn);
        if drawn.len() >= self.needed { Ok(drawn) } else { Err(self.undecided(0)) }
    }

    /// Gets a judgement from everybody who drew, until a quorum agrees or none can.
    async fn judge(&mut self, proof: &OperationProof, asked: &[Sha256]) -> Result<Vec<Attestation>, ConsensusError> {
        let text = proof.to_bytes().map_err(QuorumError::from)?;
        let request = JudgeRequest { proof: String::from_utf8_lossy(&text).into_owned() };
        let mut judging: JoinSet<(Sha256, Result<Judgement, String>)> = JoinSet::new();
        let sender = self.consensus.prover.id();
        for validator in self.listened_to().into_iter().filter(|validator| asked.contains(&validator.id())) {
            let answer = in_time(validator.judge(sender, request.clone()), self.consensus.timeout);
            judging.spawn(async move { (validator.id(), answer.await) });
        }
        let (mut agreeing, mut refusing) = (Vec::new(), 0);
        while let Some(judged) = judging.join_next().await {
            let (id, answer) = judged.map_err(|_| ConsensusError::Stopped)?;
            match self.count(proof, id, answer) {
                Count::Agrees(attestation) => agreeing.push(*attestation),
                Count::Refuses(reason) => {
                    refusing += 1;
                    self.reasons.push(reason);
                }
                Count::Nothing(reason) => self.reasons.push(reason),
            }
            if agreeing.len() >= self.needed {
                return Ok(agreeing);
            }
            if refusing > self.set.size() - self.needed {
                let (agreed, needed, size) = (agreeing.len(), self.needed, self.set.size());
                return Err(ConsensusError::Refused { agreed, needed, size, reasons: self.reasons.clone() });
            }
        }
        Err(self.undecided(agreeing.len()))
    }

    /// Takes a judgement for what it is worth, and keeps evidence of what it should not be.
    fn count(&self, proof: &OperationProof, id: Sha256, answer: Result<Judgement, String>) -> Count {
        let says = |what: String| format!("{} {what}", short(id));
        let judgement = match answer {
            Ok(judgement) => judgement,
            Err(silent) => {
                self.blame(id, ByzantineKind::NetworkPartitioning);
                return Count::Nothing(says(silent));
            }
        };
        let refusal = match judgement.verdict {
            Verdict::Valid { .. } => None,
            Verdict::Invalid { reason, .. } => Some(Count::Refuses(says(reason))),
            Verdict::Pending { .. } => Some(Count::Nothing(says("waits for work to be done".into()))),
            Verdict::Error { reason } => Some(Count::Nothing(says(reason))),
        };
        let Some(text) = judgement.attestation else {
            return refusal.unwrap_or_else(|| Count::Nothing(says("agrees without a signature".into())));
        };
        let attestation = match self.attestation(proof, id, &text) {
            Ok(attestation) => attestation,
            Err(error) => {
                let kind = match error {
                    QuorumError::Other { .. } => ByzantineKind::DoubleSpending,
                    _ => ByzantineKind::InvalidSignature,
                };
                self.blame(id, kind);
                return Count::Nothing(says(with_causes(&error)));
            }
        };
        let signed = attestation.statement().decision == Decision::Accept;
        match refusal {
            None if signed => Count::Agrees(Box::new(attestation)),
            Some(refusal) if !signed => refusal,
            _ => {
                self.blame(id, ByzantineKind::DoubleSpending);
                Count::Nothing(says("says one thing and signs another".into()))
            }
        }
    }

    fn attestation(&self, proof: &OperationProof, id: Sha256, text: &str) -> Result<Attestation, QuorumError> {
        let attestation = Attestation::parse(text.as_bytes())?;
        if attestation.statement().validator != id {
            return Err(QuorumError::NotMember { validator: attestation.statement().validator.to_string() });
        }
        attestation.verify(&self.set, proof, &self.consensus.beliefs.profile.name)?;
        Ok(attestation)
    }

    fn listened_to(&self) -> Vec<Arc<dyn Validator>> {
        let (blames, now) = (self.consensus.blames(), self.consensus.now());
        let listened = self.consensus.validators.iter().filter(|validator| !blames.is_blocked(validator.id(), now));
        listened.cloned().collect()
    }

    /// Holds clocks against their owners that are further from most than the profile lets any be.
    fn blame_clocks(&self, drawn: &[(Sha256, Drawn)]) {
        let mut clocks: Vec<u64> = drawn.iter().map(|(_, drawn)| drawn.now_us).collect();
        clocks.sort_unstable();
        let Some(median) = clocks.get(clocks.len() / 2) else { return };
        let most = self.consensus.beliefs.profile.offset_max.whole_microseconds();
        for (id, drawn) in drawn {
            if i128::from(drawn.now_us.abs_diff(*median)) > most {
                self.blame(*id, ByzantineKind::TimestampManipulation);
            }
        }
    }

    fn silent(&mut self, id: Sha256, reason: &str) {
        self.blame(id, ByzantineKind::NetworkPartitioning);
        self.reasons.push(format!("{} {reason}", short(id)));
    }

    fn blame(&self, id: Sha256, kind: ByzantineKind) {
        self.consensus.blames().add(id, kind, None, self.consensus.now());
    }

    fn undecided(&mut self, agreed: usize) -> ConsensusError {
        let (needed, size) = (self.needed, self.set.size());
        ConsensusError::Undecided { agreed, needed, size, reasons: std::mem::take(&mut self.reasons) }
    }
}

async fn in_time<T>(answer: Answer<T>, most: Duration) -> Result<T, String> {
    match tokio::time::timeout(most, answer).await {
        Ok(answer) => answer.map_err(|silent| silent.to_string()),
        Err(_) => Err("does not answer in time".into()),
    }
}

/// Names a validator for people.
fn short(id: Sha256) -> String {
    id.to_string().chars().take(8).collect()
}
