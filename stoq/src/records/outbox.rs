//! What one side still has to send. Records are read from the set a few at a time, when the stream takes them.

use std::collections::VecDeque;
use std::vec;

use bytes::Bytes;
use serde_bytes::ByteBuf;

use super::bulk::Possession;
use super::frame::Frame;
use super::item::RecordId;
use super::limits::{FRAME_BYTES_MAX, FRAME_RECORDS_MAX};
use super::{RecordSet, SetError};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Records that were read and did not fit into the last frame.
    ready: VecDeque<Bytes>,
    /// How many records were sent.
    pub(super) sent: u64,
}

#[derive(Debug)]
enum Piece {
    Frame(Frame),
    Records(vec::IntoIter<RecordId>),
}

impl Outbox {
    pub(super) fn push(&mut self, frame: Frame) {
        self.pieces.push_back(Piece::Frame(frame));
    }

    /// Sends those of the records that are there, in this order, and that they were all.
    pub(super) fn push_records(&mut self, ids: Vec<RecordId>) {
        self.pieces.push_back(Piece::Records(ids.into_iter()));
    }

    pub(super) fn push_possession(&mut self, possession: &Possession) {
        let parts = possession.bits.chunks(POSSESSION_PART_BYTES).collect::<Vec<_>>();
        let (last, rest) = parts.split_last().map_or((&[][..], &[][..]), |(last, rest)| (*last, rest));
        let part = |bits: &[u8], more| Frame::Have { salt: possession.salt.into(), bits: ByteBuf::from(bits), more };
        rest.iter().for_each(|bits| self.push(part(bits, true)));
        self.push(part(last, false));
    }

    pub(super) fn next(&mut self, set: &dyn RecordSet) -> Result<Option<Frame>, SetError> {
        match self.pieces.pop_front() {
            None => Ok(None),
            Some(Piece::Frame(frame)) => Ok(Some(frame)),
            Some(Piece::Records(mut ids)) => {
                let records = self.fill(set, &mut ids)?;
                self.sent += records.len() as u64;
                let more = ids.len() > 0 || !self.ready.is_empty();
                if more {
                    self.pieces.push_front(Piece::Records(ids));
                }
                Ok(Some(Frame::Records { records, more }))
            }
        }
    }

    fn fill(&mut self, set: &dyn RecordSet, ids: &mut vec::IntoIter<RecordId>) -> Result<Vec<ByteBuf>, SetError> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < FRAME_RECORDS_MAX {
            if self.ready.is_empty() {
                let batch: Vec<RecordId> = ids.take(READ_RECORDS).collect();
                if batch.is_empty() {
                    break;
                }
                self.ready.extend(set.get(&batch)?.into_iter().flatten());
                continue;
            }
            bytes += self.ready[0].len() + RECORD_OVERHEAD_BYTES;
            if bytes > RECORDS_BYTES_MAX {
                break;
            }
            records.extend(self.ready.pop_front().map(ByteBuf::from));
        }
        Ok(records)
    }
}

/// How many records are read at once: up to 4 MiB.
const READ_RECORDS: usize = 16;
/// What MessagePack puts before the bytes of a record, at most.
const RECORD_OVERHEAD_BYTES: usize = 5;
/// What the records of one frame have together, at most.
const RECORDS_BYTES_MAX: usize = FRAME_BYTES_MAX - 64;
const POSSESSION_PART_BYTES: usize = FRAME_BYTES_MAX - 128;
