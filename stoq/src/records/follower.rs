//! The side of a session that answers: it serves what is asked and takes what it wants of what is offered.

use std::mem;
use std::sync::Arc;

use libp2p::PeerId;
use serde_bytes::ByteBuf;

use super::bulk::{Possession, encode_sample, sample};
use super::compare::{self, Comparison};
use super::frame::{Frame, Ids, Opening};
use super::intake::Intake;
use super::item::{Filter, Items};
use super::limits::{BULKS_MAX, PASSES_MAX, POSSESSION_BYTES_MAX, SESSION_BYTES_MAX, TURNS_MAX};
use super::outbox::Outbox;
use super::{Outcome, RecordSet, SessionError, Side};

/// The side that answers.
pub struct Follower {
    set: Arc<dyn RecordSet>,
    peer: PeerId,
    filter: Filter,
    /// As they were when the comparison began, or will be.
    items: Items,
    comparison: Comparison,
    salt: [u8; 32],
    /// What the leader has, as far as it came.
    possession: Vec<u8>,
    asked: Asked,
    outbox: Outbox,
    intake: Intake,
    outcome: Outcome,
    is_finished: bool,
}

/// How often the leader asked for what costs a look at every record.
#[derive(Debug, Default)]
struct Asked {
    passes: usize,
    samples: usize,
    possessions: usize,
}

impl Follower {
    /// Answers an opening. The salt is fresh randomness.
    ///
    /// # Errors
    /// The opening cannot be read, or the set cannot.
    pub fn new(set: Arc<dyn RecordSet>, peer: PeerId, salt: [u8; 32], opening: &[u8]) -> Result<Self, SessionError> {
        let opening = Opening::decode(opening).map_err(|source| SessionError::Frame { peer, source })?;
        let items = set.items().map_err(SessionError::Set)?.filtered(&opening.filter);
        let mut follower = Self {
            set,
            peer,
            filter: opening.filter,
            comparison: compare::over(items.clone()),
            items,
            salt,
            possession: Vec::new(),
            asked: Asked::default(),
            outbox: Outbox::default(),
            intake: Intake::new(peer),
            outcome: Outcome::default(),
            is_finished: false,
        };
        if !opening.message.is_empty() {
            follower.asked.passes = 1;
            follower.compare(&opening.message)?;
        }
        Ok(follower)
    }

    fn answer(&mut self, frame: Frame) -> Result<(), SessionError> {
        match frame {
            Frame::Compare { restart, message } => {
                if restart {
                    count(self.peer, &mut self.asked.passes, "comparisons", PASSES_MAX)?;
                    self.items = self.set.items().map_err(SessionError::Set)?.filtered(&self.filter);
                    self.comparison = compare::over(self.items.clone());
                }
                self.compare(&message)
            }
            Frame::Sampling => {
                count(self.peer, &mut self.asked.samples, "samples", BULKS_MAX)?;
                let prefixes = ByteBuf::from(encode_sample(&sample(self.items.as_slice())));
                self.outbox.push(Frame::Sample { prefixes });
                Ok(())
            }
            Frame::Have { salt, bits, more } => self.answer_possession(*salt, &bits, more),
            Frame::Want(ids) => {
                self.outbox.push_records(ids.0);
                Ok(())
            }
            Frame::Offer(ids) => {
                let lacking = self.set.lacking(&ids.0).map_err(SessionError::Set)?;
                self.intake.expect(&lacking);
                self.outbox.push(Frame::Want(Ids(lacking)));
                Ok(())
            }
            Frame::Records { records, more } => {
                self.intake.take(&*self.set, records, &mut self.outcome)?;
                if more { Ok(()) } else { self.intake.end(&*self.set, &mut self.outcome) }
            }
            Frame::Finish => {
                self.is_finished = true;
                self.outcome.is_complete = true;
                Ok(())
            }
            Frame::Sample { .. } => Err(SessionError::OutOfTurn { peer: self.peer, frame: frame.name() }),
        }
    }

    fn compare(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let answer = self
            .comparison
            .reconcile(message)
            .map_err(|error| SessionError::Comparison { peer: self.peer, reason: error.to_string() })?;
        self.outbox.push(Frame::Compare { restart: false, message: ByteBuf::from(answer) });
        Ok(())
    }

    /// Sends what the leader lacks, in order of time, and then what this side has, so that the leader does the same.
    fn answer_possession(&mut self, salt: [u8; 32], bits: &[u8], more: bool) -> Result<(), SessionError> {
        gather(self.peer, &mut self.possession, bits)?;
        if more {
            return Ok(());
        }
        count(self.peer, &mut self.asked.possessions, "possessions", BULKS_MAX)?;
        let theirs = Possession { salt, bits: mem::take(&mut self.possession) };
        let missing = self.items.as_slice().iter().map(|item| item.id).filter(|id| !theirs.contains(*id)).collect();
        self.outbox.push_records(missing);
        self.outbox.push_possession(&Possession::of(self.items.as_slice(), self.salt));
        self.intake.expect_any();
        Ok(())
    }
}

impl Side for Follower {
    fn next_frame(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        let frame = self.outbox.next(&*self.set).map_err(SessionError::Set)?;
        frame.map(|frame| sending(self.peer, &frame, &mut self.outcome)).transpose()
    }

    fn receive(&mut self, body: &[u8]) -> Result<(), SessionError> {
        let frame = receiving(self.peer, body, &mut self.outcome)?;
        self.answer(frame)
    }

    fn is_finished(&self) -> bool {
        self.is_finished
    }

    fn outcome(&self) -> Outcome {
        Outcome { sent: self.outbox.sent, ..self.outcome }
    }
}

fn count(peer: PeerId, asked: &mut usize, what: &'static str, limit: usize) -> Result<(), SessionError> {
    *asked += 1;
    if *asked > limit { Err(too_much(peer, what, limit as u64)) } else { Ok(()) }
}

/// Adds a part of a possession to what came before.
pub(super) fn gather(peer: PeerId, parts: &mut Vec<u8>, bits: &[u8]) -> Result<(), SessionError> {
    if parts.len() + bits.len() > POSSESSION_BYTES_MAX {
        return Err(too_much(peer, "bytes of a possession", POSSESSION_BYTES_MAX as u64));
    }
    parts.extend_from_slice(bits);
    Ok(())
}

/// Counts and reads what arrives.
pub(super) fn receiving(peer: PeerId, body: &[u8], outcome: &mut Outcome) -> Result<Frame, SessionError> {
    outcome.received_bytes += body.len() as u64 + 4;
    if outcome.received_bytes > SESSION_BYTES_MAX {
        return Err(too_much(peer, "bytes received", SESSION_BYTES_MAX));
    }
    let frame = Frame::decode(body).map_err(|source| SessionError::Frame { peer, source })?;
    if !matches!(&frame, Frame::Records { records, .. } if !records.is_empty()) {
        outcome.turns += 1;
        if outcome.turns > TURNS_MAX {
            return Err(too_much(peer, "frames", TURNS_MAX as u64));
        }
    }
    Ok(frame)
}

/// Counts and writes what leaves.
pub(super) fn sending(peer: PeerId, frame: &Frame, outcome: &mut Outcome) -> Result<Vec<u8>, SessionError> {
    let bytes = frame.encode();
    outcome.sent_bytes += bytes.len() as u64;
    if outcome.sent_bytes > SESSION_BYTES_MAX {
        return Err(too_much(peer, "bytes sent", SESSION_BYTES_MAX));
    }
    Ok(bytes)
}

fn too_much(peer: PeerId, what: &'static str, limit: u64) -> SessionError {
    SessionError::TooMuch { peer, what, limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_receives_and_sends_so_much() {
        let peer = PeerId::random();
        let frame = Frame::Finish.encode();
        let length = frame.len() as u64;
        let check = |before: u64, allowed: bool| {
            let mut outcome = Outcome { received_bytes: before, sent_bytes: before, ..Outcome::default() };
            assert_eq!(receiving(peer, &frame[4..], &mut outcome).is_ok(), allowed);
            assert_eq!(sending(peer, &Frame::Finish, &mut outcome).is_ok(), allowed);
        };
        check(0, true);
        check(SESSION_BYTES_MAX - length, true);
        check(SESSION_BYTES_MAX - length + 1, false);
    }
}
