//! What `replica/1` says, as bytes: a request that may be followed by parts of a report, and one answer.
//!
//! Every frame is u32 little endian and so many bytes of MessagePack, and holds at most [`PART_HOLDINGS_MAX`] blobs.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use trustchain::digest::Blake3;

use super::plan::Refusal;
use super::report::{Capacity, Change, HOLDINGS_MAX, Heard, Holding, Report, ReportError};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Hear a report, whose parts follow.
    Report {
        /// Drawn when the node starts.
        epoch: u64,
        /// The number of the report.
        sequence: u64,
        /// What the node gives to copies, in bytes.
        total_bytes: u64,
        /// What of that is free.
        free_bytes: u64,
        /// What it can send in a second.
        rate_bytes: u64,
        /// Where it is.
        site: String,
        /// The part of the world of its site.
        region: String,
        /// The sequence it builds on; nothing if it says all.
        base: Option<u64>,
    },
    /// Keep a copy, which the asker has.
    Keep {
        /// Of what.
        digest: ByteArray<32>,
        /// How large it is.
        size_bytes: u64,
    },
}

/// A part of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What is held.
    added: Vec<Entry>,
    /// What is not held any more, 32 bytes each.
    removed: ByteBuf,
    /// Whether another part follows.
    more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry(ByteArray<32>, u64, u32, bool, bool);

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The report is known.
    Known,
    /// The report builds on something that is not known.
    SayAll,
    /// The copy will be fetched.
    Yes,
    /// It will not.
    No(Refusal),
}

/// Bytes that say nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It cannot be read.
    #[error("a message cannot be read: {reason}")]
    Malformed {
        /// Why.
        reason: String,
    },
    /// A part names too much.
    #[error("a part of a report names {found} blobs, at most {PART_HOLDINGS_MAX} are allowed")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The report is too long as a whole.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Gathers the parts of a report.
#[derive(Debug)]
pub struct Gathering {
    report: Report,
}

impl Gathering {
    /// Takes a part; gives the report if it was the last one.
    ///
    /// # Errors
    /// It cannot be read, or makes the report too long.
    pub fn take(mut self, bytes: &[u8]) -> Result<Gathered, WireError> {
        let Part { added: entries, removed: digests, more } = decode(bytes)?;
        let (chunks, rest) = digests.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(WireError::Malformed { reason: "digests have 32 bytes each".to_owned() });
        }
        let found = entries.len() + chunks.len();
        if found > PART_HOLDINGS_MAX {
            return Err(WireError::TooMany { found });
        } else if more && found == 0 {
            return Err(WireError::Malformed { reason: "an empty part announces another".to_owned() });
        }
        let entries = entries.into_iter().map(Holding::from);
        let digests = chunks.iter().copied().map(Blake3::from_bytes);
        let count = match &mut self.report.change {
            Change::All(holdings) => {
                holdings.extend(entries);
                holdings.len()
            }
            Change::Since { added, removed, .. } => {
                added.extend(entries);
                removed.extend(digests);
                added.len().max(removed.len())
            }
        };
        if count > HOLDINGS_MAX {
            return Err(ReportError::TooMany { found: count, limit: HOLDINGS_MAX }.into());
        }
        Ok(if more { Gathered::More(self) } else { Gathered::Whole(self.report) })
    }
}

/// What there is after a part.
#[derive(Debug)]
pub enum Gathered {
    /// Another part follows.
    More(Gathering),
    /// That was the last one.
    Whole(Report),
}

impl Ask {
    /// Gives the head of a report, and its parts as bytes.
    pub fn report(report: &Report) -> (Self, Vec<Vec<u8>>) {
        let (base, added, removed) = match &report.change {
            Change::All(holdings) => (None, &holdings[..], &[][..]),
            Change::Since { base, added, removed } => (Some(*base), &added[..], &removed[..]),
        };
        let Capacity { total_bytes, free_bytes, rate_bytes, site, region } = report.capacity.clone();
        let Report { epoch, sequence, .. } = *report;
        let head = Self::Report { epoch, sequence, total_bytes, free_bytes, rate_bytes, site, region, base };
        let added = added.chunks(PART_HOLDINGS_MAX).map(|added| (added, &[][..]));
        let removed = removed.chunks(PART_HOLDINGS_MAX).map(|removed| (&[][..], removed));
        let mut parts: Vec<Part> = added.chain(removed).map(|(added, removed)| Part::of(added, removed)).collect();
        match parts.last_mut() {
            Some(last) => last.more = false,
            None => parts.push(Part { added: Vec::new(), removed: ByteBuf::new(), more: false }),
        }
        (head, parts.iter().map(encode).collect())
    }

    /// Gives the report of which this is the head, without what it holds; nothing for another request.
    pub fn gathering(self) -> Option<Gathering> {
        let Self::Report { epoch, sequence, total_bytes, free_bytes, rate_bytes, site, region, base } = self else {
            return None;
        };
        let change = match base {
            None => Change::All(Vec::new()),
            Some(base) => Change::Since { base, added: Vec::new(), removed: Vec::new() },
        };
        let capacity = Capacity { total_bytes, free_bytes, rate_bytes, site, region };
        Some(Gathering { report: Report { epoch, sequence, capacity, change } })
    }
}

impl Part {
    fn of(added: &[Holding], removed: &[Blake3]) -> Self {
        let removed: Vec<u8> = removed.iter().flat_map(|digest| *digest.as_bytes()).collect();
        Self { added: added.iter().map(Entry::from).collect(), removed: ByteBuf::from(removed), more: true }
    }
}

impl From<&Holding> for Entry {
    fn from(holding: &Holding) -> Self {
        let Holding { digest, size_bytes, demand, is_pinned, is_complete } = *holding;
        Self((*digest.as_bytes()).into(), size_bytes, demand, is_pinned, is_complete)
    }
}

impl From<Entry> for Holding {
    fn from(entry: Entry) -> Self {
        let Entry(digest, size_bytes, demand, is_pinned, is_complete) = entry;
        Self { digest: Blake3::from_bytes(*digest), size_bytes, demand, is_pinned, is_complete }
    }
}

impl From<Heard> for Answer {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Known => Self::Known,
            Heard::SayAll => Self::SayAll,
        }
    }
}

/// Writes a message.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec(message).expect("numbers, texts and bytes can be written")
}

/// Reads a message.
///
/// # Errors
/// It is none.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(bytes).map_err(|error| WireError::Malformed { reason: error.to_string() })
}

/// The most blobs in one part.
pub const PART_HOLDINGS_MAX: usize = 8 << 10;
/// The largest part in bytes: each blob takes less than 64.
pub const PART_BYTES_MAX: usize = PART_HOLDINGS_MAX * 64;
/// The largest answer in bytes.
pub const ANSWER_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holding(number: u64) -> Holding {
        Holding {
            digest: Blake3::of(&number.to_le_bytes()),
            size_bytes: u64::MAX - number,
            demand: u32::MAX,
            is_pinned: number.is_multiple_of(2),
            is_complete: number.is_multiple_of(3),
        }
    }

    fn report(change: Change) -> Report {
        let capacity = Capacity { total_bytes: 9, free_bytes: 8, rate_bytes: 7, site: "a".into(), region: "b".into() };
        Report { epoch: u64::MAX, sequence: 3, capacity, change }
    }

    fn read(report: &Report) -> (Result<Report, WireError>, usize) {
        let (head, parts) = Ask::report(report);
        let mut gathering = decode::<Ask>(&encode(&head)).expect("was written").gathering().expect("is a report");
        let count = parts.len();
        for part in parts {
            assert!(part.len() <= PART_BYTES_MAX, "{} bytes", part.len());
            match gathering.take(&part) {
                Ok(Gathered::More(more)) => gathering = more,
                Ok(Gathered::Whole(report)) => return (Ok(report), count),
                Err(error) => return (Err(error), count),
            }
        }
        panic!("the last part says that another follows");
    }

    #[test]
    fn reports_are_read_as_written() {
        let limit = PART_HOLDINGS_MAX as u64;
        let check = |change: Change, parts: usize| {
            let report = report(change);
            assert_eq!(read(&report), (Ok(report), parts));
        };
        check(Change::All(Vec::new()), 1);
        check(Change::All((0..limit).map(holding).collect()), 1);
        check(Change::All((0..=limit).map(holding).collect()), 2);
        let removed = (0..limit + 1).map(|number| holding(number).digest).collect();
        check(Change::Since { base: 2, added: (0..3).map(holding).collect(), removed }, 3);
        check(Change::Since { base: 2, added: Vec::new(), removed: Vec::new() }, 1);
    }

    #[test]
    fn reports_that_are_too_long_are_refused() {
        let too_many = |found| WireError::Report(ReportError::TooMany { found, limit: HOLDINGS_MAX });
        let count = HOLDINGS_MAX as u64;
        assert!(read(&report(Change::All((0..count).map(holding).collect()))).0.is_ok());
        let found = HOLDINGS_MAX + 1;
        assert_eq!(read(&report(Change::All((0..=count).map(holding).collect()))).0, Err(too_many(found)));
        let removed = (0..=count).map(|number| holding(number).digest).collect();
        let since = Change::Since { base: 1, added: Vec::new(), removed };
        assert_eq!(read(&report(since)).0, Err(too_many(found)));

        let gathering = || Ask::report(&report(Change::All(Vec::new()))).0.gathering().expect("is a report");
        let entries: Vec<Holding> = (0..=PART_HOLDINGS_MAX as u64).map(holding).collect();
        let part = Part::of(&entries, &[]);
        let error = gathering().take(&encode(&part)).expect_err("is too long");
        assert_eq!(error, WireError::TooMany { found: PART_HOLDINGS_MAX + 1 });
        let endless = Part::of(&[], &[]);
        assert!(matches!(gathering().take(&encode(&endless)), Err(WireError::Malformed { .. })));
        let half = Part { removed: ByteBuf::from([7; 31]), ..endless };
        assert!(matches!(gathering().take(&encode(&half)), Err(WireError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode::<Ask>(&bytes);
            let _ = decode::<Answer>(&bytes);
            if let Some(gathering) = Ask::report(&report(Change::All(Vec::new()))).0.gathering() {
                let _ = gathering.take(&bytes);
            }
        }
    }
}
