//! Validators that do not keep to the rules, each in its own way.

use std::sync::Mutex;

use time::Duration;
use trustchain::digest::Nonce;
use trustchain::proof::OperationProof;
use trustchain::quorum::{Attestation, Decision, Statement};

use super::cluster::id;
use super::*;
use crate::consensus::message::{Answer, DrawRequest, Drawn, JudgeRequest, Judgement, Silent};
use crate::consensus::validator::text;

/// How a validator misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    SignsEverything,
    RefusesEverything,
    SaysYesAndSignsNo,
    SaysYesAndSignsNothing,
    Replays,
    SignsForAnother,
    SendsRubbish,
    HasAnotherTime,
    NeverAnswers,
    NeverJudges,
    Fails,
}

impl Fault {
    pub(super) const ALL: [Self; 11] = [
        Self::SignsEverything,
        Self::RefusesEverything,
        Self::SaysYesAndSignsNo,
        Self::SaysYesAndSignsNothing,
        Self::Replays,
        Self::SignsForAnother,
        Self::SendsRubbish,
        Self::HasAnotherTime,
        Self::NeverAnswers,
        Self::NeverJudges,
        Self::Fails,
    ];
}

/// A validator with real keys that does as it likes.
pub(super) struct Faulty {
    pub(super) keys: SecretKey,
    pub(super) fault: Fault,
    /// In whose name it signs when it forges.
    pub(super) victim: Sha256,
    pub(super) earlier: Mutex<Option<String>>,
}

impl Validator for Faulty {
    fn id(&self) -> Sha256 {
        id(&self.keys)
    }

    fn draw(&self, _: DrawRequest) -> Answer<Drawn> {
        let now = match self.fault {
            Fault::NeverAnswers => return Box::pin(std::future::pending()),
            Fault::Fails => return Box::pin(std::future::ready(Err(Silent("the disk is gone".into())))),
            Fault::HasAnotherTime => NOW + Duration::days(400),
            _ => NOW,
        };
        // Numbers that anybody can guess are no worse than any other: those of the honest are not.
        let now_us = u64::try_from(now.unix_timestamp_nanos() / 1_000).expect("after 1970");
        Box::pin(std::future::ready(Ok(Drawn { nonce: Nonce::from_bytes([0; 32]), now_us })))
    }

    fn judge(&self, _: Sha256, request: JudgeRequest) -> Answer<Judgement> {
        if self.fault == Fault::NeverJudges {
            return Box::pin(std::future::pending());
        }
        let proof = OperationProof::parse(request.proof.as_bytes()).expect("reads");
        let sign = |name: Sha256, decision| {
            let statement = Statement::about(&proof, "localhost", name, decision);
            text(&Attestation::seal(&statement, &self.keys).expect("signs")).expect("writes")
        };
        let no = || Decision::Refuse { reason: "no".into() };
        let valid = Verdict::Valid { confidence: 1.0, timestamp: 0, duration_us: 0 };
        let (verdict, attestation) = match self.fault {
            Fault::RefusesEverything => {
                let verdict = Verdict::Invalid { reason: "no".into(), failed_proofs: Vec::new() };
                (verdict, Some(sign(self.id(), no())))
            }
            Fault::SaysYesAndSignsNo => (valid, Some(sign(self.id(), no()))),
            Fault::SaysYesAndSignsNothing => (valid, None),
            Fault::Replays => {
                let new = sign(self.id(), Decision::Accept);
                let earlier = self.earlier.lock().expect("not poisoned").replace(new.clone());
                (valid, Some(earlier.unwrap_or(new)))
            }
            Fault::SignsForAnother => (valid, Some(sign(self.victim, Decision::Accept))),
            Fault::SendsRubbish => (valid, Some("{}".into())),
            _ => (valid, Some(sign(self.id(), Decision::Accept))),
        };
        Box::pin(std::future::ready(Ok(Judgement { verdict, attestation })))
    }
}
