//! The request and the answer of `blobs/1`.
//!
//! The request is MessagePack in the first frame of the stream: the digest, and ranges of groups or the last one. The answer is
//! the size of the blob, u64 little endian, and the `bao-tree` slice of those groups; then the stream ends. One that is not
//! given is reset with a code that says why.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use trustchain::digest::Blake3;

use super::{GROUP_BYTES, SIZE_BYTES_MAX};

/// The most ranges of a request.
pub const RANGES_MAX: usize = 64;
/// The most groups of a request: a gibibyte.
pub const GROUPS_MAX: u64 = 4096;
/// The bytes of the size before a slice.
pub const SIZE_PREFIX_BYTES: usize = 8;
/// The code with which a stream is reset that asks for a blob that is not here, or not for this peer.
pub const NOT_HELD: u32 = 16;
/// The code with which a stream is reset because this node cannot read the blob.
pub const UNREADABLE: u32 = 17;
/// The code with which a stream is reset because the peer does not read what it asked for.
pub const SLOW: u32 = 18;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The name of the blob.
    pub digest: Blake3,
    /// What of it.
    pub part: Part,
}

/// What of a blob is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The last group, by whoever does not know the size: it proves it.
    Last,
    /// Ranges of groups, none empty, in order and without overlap.
    Groups(Vec<Range<u64>>),
}

/// A request that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It has not the form.
    #[error("the request cannot be read")]
    Form(#[source] rmp_serde::decode::Error),
    /// A name has another length.
    #[error("the digest has `{length}` bytes, not 32")]
    Digest {
        /// The length.
        length: usize,
    },
    /// It wants too much at once.
    #[error("the request has `{ranges}` ranges of `{groups}` groups, more than {RANGES_MAX} or {GROUPS_MAX}")]
    TooMuch {
        /// How many ranges.
        ranges: usize,
        /// How many groups in all.
        groups: u64,
    },
    /// A range is empty, or does not come after the one before it, or ends above every blob.
    #[error("the range of `{count}` groups at `{first}` is empty or out of order")]
    Range {
        /// The first group.
        first: u64,
        /// How many.
        count: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Frame {
    #[serde(with = "serde_bytes")]
    digest: Vec<u8>,
    /// First group and how many; none for the last group.
    ranges: Vec<(u64, u64)>,
}

impl Request {
    /// Writes the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let ranges = match &self.part {
            Part::Last => Vec::new(),
            Part::Groups(ranges) => ranges.iter().map(|range| (range.start, range.end - range.start)).collect(),
        };
        let frame = Frame { digest: self.digest.as_bytes().to_vec(), ranges };
        rmp_serde::to_vec(&frame).expect("bytes and numbers are always written")
    }

    /// Reads a request of a peer.
    ///
    /// # Errors
    /// It has not the form, or asks for nothing or too much.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        let Frame { digest, ranges } = rmp_serde::from_slice(bytes).map_err(RequestError::Form)?;
        let length = digest.len();
        let digest = Blake3::from_bytes(digest.try_into().map_err(|_| RequestError::Digest { length })?);
        let groups = ranges.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
        if ranges.len() > RANGES_MAX || groups > GROUPS_MAX {
            return Err(RequestError::TooMuch { ranges: ranges.len(), groups });
        }
        if ranges.is_empty() {
            return Ok(Self { digest, part: Part::Last });
        }
        let mut end = 0;
        let mut parsed = Vec::with_capacity(ranges.len());
        for (first, count) in ranges {
            let after = first.checked_add(count).filter(|after| *after <= SIZE_BYTES_MAX / GROUP_BYTES as u64);
            let Some(after) = after.filter(|_| count > 0 && first >= end) else {
                return Err(RequestError::Range { first, count });
            };
            parsed.push(first..after);
            end = after;
        }
        Ok(Self { digest, part: Part::Groups(parsed) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(ranges: &[(u64, u64)]) -> Result<Request, String> {
        let frame = Frame { digest: vec![7; 32], ranges: ranges.to_vec() };
        let bytes = rmp_serde::to_vec(&frame).expect("writes");
        Request::parse(&bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn only_ranges_in_order_are_read() {
        assert_eq!(parse(&[]).map(|request| request.part), Ok(Part::Last));
        assert_eq!(
            parse(&[(0, 2), (2, 1), (9, 1)]).map(|request| request.part),
            Ok(Part::Groups(vec![0..2, 2..3, 9..10]))
        );
        for (wrong, first, count) in [
            (vec![(0, 0)], 0, 0),
            (vec![(2, 2), (3, 1)], 3, 1),
            (vec![(5, 1), (0, 1)], 0, 1),
            (vec![(u64::MAX, 1)], u64::MAX, 1),
            (vec![(1 << 22, 1)], 1 << 22, 1),
        ] {
            assert_eq!(
                parse(&wrong),
                Err(format!("the range of `{count}` groups at `{first}` is empty or out of order"))
            );
        }
    }

    #[test]
    fn requests_are_bounded() {
        let ranges: Vec<(u64, u64)> = (0..RANGES_MAX as u64).map(|index| (index * 2, 1)).collect();
        assert!(parse(&ranges).is_ok());
        assert!(
            parse(&[ranges, vec![(1000, 1)]].concat()).is_err_and(|error| error.contains("`65` ranges of `65` groups"))
        );
        assert!(parse(&[(0, GROUPS_MAX)]).is_ok());
        assert!(parse(&[(0, GROUPS_MAX + 1)]).is_err());
        assert!(parse(&[(0, u64::MAX), (1, u64::MAX)]).is_err());
    }

    #[test]
    fn other_forms_are_refused() {
        assert!(Request::parse(&[]).is_err());
        assert!(Request::parse(&rmp_serde::to_vec(&("a", 1)).expect("writes")).is_err());
        let short = rmp_serde::to_vec(&Frame { digest: vec![1; 31], ranges: vec![] }).expect("writes");
        assert_eq!(Request::parse(&short).expect_err("is short").to_string(), "the digest has `31` bytes, not 32");
        // A list that claims four billion ranges and has none.
        let huge = [&[0x92, 0xc4, 32][..], &[0; 32], &[0xdd, 0xff, 0xff, 0xff, 0xff]].concat();
        assert!(matches!(Request::parse(&huge), Err(RequestError::Form(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(starts in prop::collection::btree_map(0u64..1000, 1u64..60, 0..RANGES_MAX)) {
            let mut end = 0;
            let ranges: Vec<_> = starts.into_iter().map(|(first, count)| {
                let first = first.max(end);
                end = first + count;
                first..end
            }).collect();
            let part = if ranges.is_empty() { Part::Last } else { Part::Groups(ranges) };
            let request = Request { digest: Blake3::of(b"a"), part };
            prop_assert_eq!(Request::parse(&request.to_bytes()).expect("reads"), request);
        }
    }
}
