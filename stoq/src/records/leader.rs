//! The side of a session that opens it and decides what comes next: compare; where much differs, exchange in bulk and compare
//! again; fetch what is missing here, offer what is missing there.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;

use libp2p::PeerId;
use negentropy::Id;
use serde_bytes::ByteBuf;

use super::bulk::{Possession, decode_sample, difference_permille, sample};
use super::compare::{self, Comparison};
use super::follower::{gather, receiving, sending};
use super::frame::{Frame, Ids, Opening};
use super::intake::Intake;
use super::item::{Filter, Items, Mode, RecordId};
use super::limits::{FRAME_IDS_MAX, PASS_IDS_MAX, PASSES_MAX};
use super::outbox::Outbox;
use super::{Outcome, RecordSet, SessionError, Side};

/// The side that opens a session.
pub struct Leader {
    set: Arc<dyn RecordSet>,
    peer: PeerId,
    filter: Filter,
    salt: [u8; 32],
    opening: Vec<u8>,
    /// As they were when the comparison began.
    items: Items,
    comparison: Comparison,
    passes: usize,
    /// Whether the differences were looked at as a whole: once in a session.
    is_sampled: bool,
    /// Whether the comparison ended before it had gone through everything.
    is_cut: bool,
    need: Vec<RecordId>,
    have: Vec<RecordId>,
    phase: Phase,
    outbox: Outbox,
    intake: Intake,
    outcome: Outcome,
}

#[derive(Debug)]
enum Phase {
    /// A message of the comparison is answered.
    Comparing,
    /// A sample comes, then the comparison goes on with this message, unless too much differs.
    Sampling { next: Vec<u8> },
    /// The records come that this side lacks by its possession.
    BulkReceiving,
    /// The possession of the peer comes.
    BulkSending { possession: Vec<u8> },
    /// The records come that were asked for.
    Fetching,
    /// The peer tells which of these it wants.
    Offering { offered: HashSet<RecordId> },
    /// Nothing is to be done.
    Finished,
}

impl Leader {
    /// Brings the sets into line. The salt is fresh randomness.
    ///
    /// # Errors
    /// The set cannot be read.
    pub fn synchronise(
        set: Arc<dyn RecordSet>,
        peer: PeerId,
        salt: [u8; 32],
        mode: &Mode,
    ) -> Result<Self, SessionError> {
        let mut leader = Self::new(set, peer, salt, mode.filter())?;
        if *mode == Mode::Full {
            leader.opening = leader.encode_opening(Vec::new());
            leader.exchange_in_bulk();
        } else {
            let message = leader.begin_pass()?;
            leader.opening = leader.encode_opening(message);
        }
        Ok(leader)
    }

    /// Fetches records that somebody named, at most [`PASS_IDS_MAX`].
    ///
    /// # Errors
    /// The set cannot be read.
    pub fn fetch(set: Arc<dyn RecordSet>, peer: PeerId, mut ids: Vec<RecordId>) -> Result<Self, SessionError> {
        let mut leader = Self::new(set, peer, [0; 32], Filter::default())?;
        ids.truncate(PASS_IDS_MAX);
        leader.need = ids;
        leader.opening = leader.encode_opening(Vec::new());
        leader.fetch_or_offer()?;
        Ok(leader)
    }

    /// Gives the request with which the stream is opened.
    pub fn opening(&self) -> &[u8] {
        &self.opening
    }

    fn new(set: Arc<dyn RecordSet>, peer: PeerId, salt: [u8; 32], filter: Filter) -> Result<Self, SessionError> {
        let items = set.items().map_err(SessionError::Set)?.filtered(&filter);
        Ok(Self {
            set,
            peer,
            filter,
            salt,
            opening: Vec::new(),
            comparison: compare::over(items.clone()),
            items,
            passes: 0,
            is_sampled: false,
            is_cut: false,
            need: Vec::new(),
            have: Vec::new(),
            phase: Phase::Finished,
            outbox: Outbox::default(),
            intake: Intake::new(peer),
            outcome: Outcome::default(),
        })
    }

    fn encode_opening(&mut self, message: Vec<u8>) -> Vec<u8> {
        let opening = Opening { filter: self.filter.clone(), message: ByteBuf::from(message) }.encode();
        self.outcome.sent_bytes += opening.len() as u64;
        opening
    }

    /// Gives the first message of a comparison over what is there now.
    fn begin_pass(&mut self) -> Result<Vec<u8>, SessionError> {
        self.passes += 1;
        self.is_cut = false;
        self.items = self.set.items().map_err(SessionError::Set)?.filtered(&self.filter);
        self.comparison = compare::over(self.items.clone());
        self.phase = Phase::Comparing;
        Ok(self.comparison.initiate().expect("a comparison begins once"))
    }

    fn compare_again(&mut self) -> Result<(), SessionError> {
        let message = ByteBuf::from(self.begin_pass()?);
        self.outbox.push(Frame::Compare { restart: true, message });
        Ok(())
    }

    fn compared(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let (mut have, mut need): (Vec<Id>, Vec<Id>) = (Vec::new(), Vec::new());
        let next = self
            .comparison
            .reconcile_with_ids(message, &mut have, &mut need)
            .map_err(|error| SessionError::Comparison { peer: self.peer, reason: error.to_string() })?;
        self.have.extend(have.into_iter().map(|id| RecordId(id.to_bytes())));
        self.need.extend(need.into_iter().map(|id| RecordId(id.to_bytes())));
        let Some(next) = next else { return self.fetch_or_offer() };
        let differing = self.have.len() + self.need.len();
        if !self.is_sampled && (next.len() >= SAMPLING_BYTES || differing >= SAMPLING_IDS) {
            self.is_sampled = true;
            self.phase = Phase::Sampling { next };
            self.outbox.push(Frame::Sampling);
            return Ok(());
        }
        if differing >= PASS_IDS_MAX {
            self.have.truncate(PASS_IDS_MAX);
            self.need.truncate(PASS_IDS_MAX);
            self.is_cut = true;
            return self.fetch_or_offer();
        }
        self.continue_comparing(next);
        Ok(())
    }

    fn continue_comparing(&mut self, message: Vec<u8>) {
        self.phase = Phase::Comparing;
        self.outbox.push(Frame::Compare { restart: false, message: ByteBuf::from(message) });
    }

    fn sampled(&mut self, prefixes: &[u8], next: Vec<u8>) {
        let ours = sample(self.items.as_slice());
        if difference_permille(&ours, &decode_sample(prefixes)) >= BULK_PERMILLE_MIN {
            self.exchange_in_bulk();
        } else {
            self.continue_comparing(next);
        }
    }

    fn exchange_in_bulk(&mut self) {
        self.is_sampled = true;
        self.have.clear();
        self.need.clear();
        self.outbox.push_possession(&Possession::of(self.items.as_slice(), self.salt));
        self.intake.expect_any();
        self.phase = Phase::BulkReceiving;
    }

    /// Sends what the peer lacks by its possession, and compares for what that hid.
    fn possession_came(
        &mut self,
        mut possession: Vec<u8>,
        salt: [u8; 32],
        bits: &[u8],
        more: bool,
    ) -> Result<(), SessionError> {
        gather(self.peer, &mut possession, bits)?;
        if more {
            self.phase = Phase::BulkSending { possession };
            return Ok(());
        }
        let theirs = Possession { salt, bits: possession };
        let missing = self.items.as_slice().iter().map(|item| item.id).filter(|id| !theirs.contains(*id)).collect();
        self.outbox.push_records(missing);
        self.compare_again()
    }

    /// Goes on with what the comparison found: first what is missing here, then what is missing there, then the end.
    fn fetch_or_offer(&mut self) -> Result<(), SessionError> {
        while let Some(batch) = next_batch(&mut self.need) {
            let lacking = self.set.lacking(&batch).map_err(SessionError::Set)?;
            if !lacking.is_empty() {
                self.intake.expect(&lacking);
                self.outbox.push(Frame::Want(Ids(lacking)));
                self.phase = Phase::Fetching;
                return Ok(());
            }
        }
        if let Some(batch) = next_batch(&mut self.have) {
            self.phase = Phase::Offering { offered: batch.iter().copied().collect() };
            self.outbox.push(Frame::Offer(Ids(batch)));
            return Ok(());
        }
        if self.is_cut && self.passes < PASSES_MAX {
            return self.compare_again();
        }
        self.outcome.is_complete = !self.is_cut;
        self.outbox.push(Frame::Finish);
        self.phase = Phase::Finished;
        Ok(())
    }

    fn offer_answered(&mut self, offered: &HashSet<RecordId>, wanted: Vec<RecordId>) -> Result<(), SessionError> {
        if let Some(id) = wanted.iter().find(|id| !offered.contains(*id)) {
            return Err(SessionError::NotAsked { peer: self.peer, id: *id });
        }
        if !wanted.is_empty() {
            self.outbox.push_records(wanted);
        }
        self.fetch_or_offer()
    }

    fn records_came(&mut self, records: Vec<ByteBuf>, more: bool, phase: Phase) -> Result<(), SessionError> {
        self.intake.take(&*self.set, records, &mut self.outcome)?;
        if more {
            self.phase = phase;
            return Ok(());
        }
        self.intake.end(&*self.set, &mut self.outcome)?;
        if matches!(phase, Phase::BulkReceiving) {
            self.phase = Phase::BulkSending { possession: Vec::new() };
            return Ok(());
        }
        self.fetch_or_offer()
    }
}

impl Side for Leader {
    fn next_frame(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        let frame = self.outbox.next(&*self.set).map_err(SessionError::Set)?;
        frame.map(|frame| sending(self.peer, &frame, &mut self.outcome)).transpose()
    }

    fn receive(&mut self, body: &[u8]) -> Result<(), SessionError> {
        let frame = receiving(self.peer, body, &mut self.outcome)?;
        match (mem::replace(&mut self.phase, Phase::Finished), frame) {
            (Phase::Comparing, Frame::Compare { message, .. }) => self.compared(&message),
            (Phase::Sampling { next }, Frame::Sample { prefixes }) => {
                self.sampled(&prefixes, next);
                Ok(())
            }
            (phase @ (Phase::BulkReceiving | Phase::Fetching), Frame::Records { records, more }) => {
                self.records_came(records, more, phase)
            }
            (Phase::BulkSending { possession }, Frame::Have { salt, bits, more }) => {
                self.possession_came(possession, *salt, &bits, more)
            }
            (Phase::Offering { offered }, Frame::Want(wanted)) => self.offer_answered(&offered, wanted.0),
            (_, frame) => Err(SessionError::OutOfTurn { peer: self.peer, frame: frame.name() }),
        }
    }

    fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    fn outcome(&self) -> Outcome {
        Outcome { sent: self.outbox.sent, ..self.outcome }
    }
}

fn next_batch(ids: &mut Vec<RecordId>) -> Option<Vec<RecordId>> {
    let rest = ids.split_off(ids.len().min(FRAME_IDS_MAX));
    let batch = mem::replace(ids, rest);
    (!batch.is_empty()).then_some(batch)
}

/// A message of this size tells of so many differences that it is worth 4 KiB to know how many there are.
const SAMPLING_BYTES: usize = 64 << 10;
/// So does this number of ids.
const SAMPLING_IDS: usize = 4096;
/// From this share of records that differ, in thousandths, they are exchanged in bulk. Of a million, comparing costs 720 bytes
/// for each that differs; two possessions cost 2 MB and less than a second of hashing, whatever differs.
const BULK_PERMILLE_MIN: usize = 10;
