//! What one side does with records that arrive: hash, compare with what was asked, offer to the set, count.

use std::collections::HashSet;
use std::mem;

use bytes::Bytes;
use libp2p::PeerId;
use serde_bytes::ByteBuf;

use super::item::RecordId;
use super::limits::{LATER_BYTES_MAX, REFUSED_MAX, UNSERVED_MAX};
use super::{Outcome, RecordSet, SessionError, Verdict};

#[derive(Debug)]
pub(super) struct Intake {
    peer: PeerId,
    expected: Expected,
    later: Vec<Bytes>,
    later_bytes: usize,
}

#[derive(Debug)]
enum Expected {
    Nothing,
    /// These, each once.
    Asked(HashSet<RecordId>),
    /// Whatever the peer finds missing.
    Any,
}

impl Intake {
    pub(super) fn new(peer: PeerId) -> Self {
        Self { peer, expected: Expected::Nothing, later: Vec::new(), later_bytes: 0 }
    }

    pub(super) fn expect(&mut self, ids: &[RecordId]) {
        self.expected = Expected::Asked(ids.iter().copied().collect());
    }

    pub(super) fn expect_any(&mut self) {
        self.expected = Expected::Any;
    }

    /// Takes the records of a frame.
    pub(super) fn take(
        &mut self,
        set: &dyn RecordSet,
        records: Vec<ByteBuf>,
        outcome: &mut Outcome,
    ) -> Result<(), SessionError> {
        let records: Vec<Bytes> = records.into_iter().map(|record| Bytes::from(record.into_vec())).collect();
        self.check_asked(&records)?;
        self.offer(set, records, outcome).map(drop)
    }

    /// Ends what was asked: offers again what needed others, and counts what did not come.
    pub(super) fn end(&mut self, set: &dyn RecordSet, outcome: &mut Outcome) -> Result<(), SessionError> {
        while !self.later.is_empty() {
            self.later_bytes = 0;
            let again = mem::take(&mut self.later);
            outcome.later -= again.len() as u64;
            if self.offer(set, again, outcome)? == 0 {
                break;
            }
        }
        if let Expected::Asked(left) = mem::replace(&mut self.expected, Expected::Nothing) {
            outcome.unserved += left.len() as u64;
        }
        if outcome.unserved > UNSERVED_MAX {
            return Err(SessionError::Unserved { peer: self.peer, count: outcome.unserved });
        }
        Ok(())
    }

    fn check_asked(&mut self, records: &[Bytes]) -> Result<(), SessionError> {
        let peer = self.peer;
        let asked = match &mut self.expected {
            Expected::Nothing => return Err(SessionError::OutOfTurn { peer, frame: "records" }),
            Expected::Any => return Ok(()),
            Expected::Asked(asked) => asked,
        };
        let unasked = records.iter().map(|record| RecordId::of(record)).find(|id| !asked.remove(id));
        unasked.map_or(Ok(()), |id| Err(SessionError::NotAsked { peer, id }))
    }

    /// Gives how many were accepted.
    fn offer(&mut self, set: &dyn RecordSet, records: Vec<Bytes>, outcome: &mut Outcome) -> Result<u64, SessionError> {
        let before = outcome.accepted;
        let verdicts =
            if records.is_empty() { Vec::new() } else { set.offer(self.peer, &records).map_err(SessionError::Set)? };
        for (record, verdict) in records.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Accepted => outcome.accepted += 1,
                Verdict::Known => outcome.known += 1,
                Verdict::Later => {
                    outcome.later += 1;
                    self.keep(record);
                }
                Verdict::Refused { reason } => {
                    outcome.refused += 1;
                    if outcome.refused > REFUSED_MAX {
                        return Err(SessionError::Refused { peer: self.peer, reason });
                    }
                }
            }
        }
        Ok(outcome.accepted - before)
    }

    fn keep(&mut self, record: Bytes) {
        if self.later_bytes + record.len() <= LATER_BYTES_MAX {
            self.later_bytes += record.len();
            self.later.push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::RECORD_BYTES_MAX;
    use super::super::memory::{Described, MemorySet};
    use super::*;

    #[test]
    fn records_that_need_others_are_kept_up_to_a_bound() {
        let needs = vec![RecordId([9; 32])];
        let set = MemorySet::new(move |_| Ok(Described { needs: needs.clone(), ..Described::default() }));
        let mut intake = Intake::new(PeerId::random());
        let mut outcome = Outcome::default();
        intake.expect_any();
        let count = LATER_BYTES_MAX / RECORD_BYTES_MAX + 3;
        for number in 0..count {
            let record = ByteBuf::from(vec![number as u8; RECORD_BYTES_MAX]);
            intake.take(&set, vec![record], &mut outcome).expect("is not refused");
        }
        assert_eq!(intake.later_bytes, LATER_BYTES_MAX);
        intake.end(&set, &mut outcome).expect("is not refused");
        assert_eq!(outcome.later, count as u64);
    }
}
