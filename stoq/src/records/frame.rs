//! Frames of `records/1`: u32 little endian, then so many bytes of MessagePack.
//!
//! Nothing here waits or reads more than a frame may have; what is decoded keeps every bound of [`super::limits`].

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::{ByteArray, ByteBuf, Bytes as SerdeBytes};

use super::item::{CATEGORIES_MAX, Filter, RecordId};
use super::limits::{FRAME_BYTES_MAX, FRAME_IDS_MAX, FRAME_RECORDS_MAX, RECORD_BYTES_MAX};
use crate::frame::framed;

/// How a session begins: the request of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Which records it is about.
    pub filter: Filter,
    /// The first message of the comparison, or nothing if something else comes first.
    pub message: ByteBuf,
}

/// What the two sides of a session say. The one that opened it leads; the other one answers each frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// A message of the comparison, or the answer to it.
    Compare {
        /// Whether it begins again, over what the sets hold now.
        restart: bool,
        /// As negentropy reads it.
        message: ByteBuf,
    },
    /// Asks for a [`Frame::Sample`].
    Sampling,
    /// The beginnings of the least ids of the set.
    Sample {
        /// Four bytes each.
        prefixes: ByteBuf,
    },
    /// A part of a [`super::bulk::Possession`]; after the last one, what is not in it is sent.
    Have {
        /// The key of its hash function.
        salt: ByteArray<32>,
        /// Bits.
        bits: ByteBuf,
        /// Whether another part follows.
        more: bool,
    },
    /// Asks for records.
    Want(Ids),
    /// Names records that the other side may lack; it answers with those it wants.
    Offer(Ids),
    /// Records.
    Records {
        /// Their bytes.
        records: Vec<ByteBuf>,
        /// Whether another frame of them follows.
        more: bool,
    },
    /// Ends the session.
    Finish,
}

/// Ids in one string of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids(pub Vec<RecordId>);

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|id| id.0).collect();
        SerdeBytes::new(&bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        let (ids, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(D::Error::custom("ids have 32 bytes each"));
        }
        Ok(Self(ids.iter().copied().map(RecordId).collect()))
    }
}

impl Opening {
    /// Writes it as the request of a stream.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("numbers and bytes can be written")
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is no opening, or its filter has too many categories.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let opening: Self = rmp_serde::from_slice(bytes).map_err(FrameError::malformed)?;
        bounded("categories", opening.filter.categories.len(), CATEGORIES_MAX)?;
        Ok(opening)
    }
}

impl Frame {
    /// Writes it with its length before it.
    pub fn encode(&self) -> Vec<u8> {
        framed(0, |bytes| rmp_serde::encode::write(bytes, self).expect("numbers and bytes can be written"))
    }

    /// Reads what follows the length.
    ///
    /// # Errors
    /// It is no frame, or holds more than it may.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        bounded("bytes", bytes.len(), FRAME_BYTES_MAX)?;
        let frame: Self = rmp_serde::from_slice(bytes).map_err(FrameError::malformed)?;
        match &frame {
            Self::Want(ids) | Self::Offer(ids) => bounded("ids", ids.0.len(), FRAME_IDS_MAX)?,
            Self::Records { records, .. } => {
                bounded("records", records.len(), FRAME_RECORDS_MAX)?;
                let longest = records.iter().map(|record| record.len()).max().unwrap_or_default();
                bounded("bytes of a record", longest, RECORD_BYTES_MAX)?;
            }
            _ => {}
        }
        Ok(frame)
    }

    /// Gives its name, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Compare { .. } => "compare",
            Self::Sampling => "sampling",
            Self::Sample { .. } => "sample",
            Self::Have { .. } => "have",
            Self::Want(_) => "want",
            Self::Offer(_) => "offer",
            Self::Records { .. } => "records",
            Self::Finish => "finish",
        }
    }
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Something has too much.
    #[error("a frame has {found} {what}, at most {limit} are allowed")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// It cannot be read.
    #[error("a frame cannot be read: {reason}")]
    Malformed {
        /// Why.
        reason: String,
    },
}

impl FrameError {
    #[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
    fn malformed(error: rmp_serde::decode::Error) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}

fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), FrameError> {
    if found > limit { Err(FrameError::TooMuch { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::records::Category;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..64).prop_map(ByteBuf::from);
        let ids = || prop::collection::vec(any::<[u8; 32]>().prop_map(RecordId), 0..4).prop_map(Ids);
        prop_oneof![
            (any::<bool>(), bytes()).prop_map(|(restart, message)| Frame::Compare { restart, message }),
            Just(Frame::Sampling),
            bytes().prop_map(|prefixes| Frame::Sample { prefixes }),
            (any::<[u8; 32]>(), bytes(), any::<bool>()).prop_map(|(salt, bits, more)| Frame::Have {
                salt: salt.into(),
                bits,
                more
            }),
            ids().prop_map(Frame::Want),
            ids().prop_map(Frame::Offer),
            (prop::collection::vec(bytes(), 0..4), any::<bool>())
                .prop_map(|(records, more)| Frame::Records { records, more }),
            Just(Frame::Finish),
        ]
    }

    proptest! {
        #[test]
        fn frames_are_read_as_written(frame in frames()) {
            let bytes = frame.encode();
            let (head, body) = bytes.split_first_chunk().expect("there is a length");
            prop_assert_eq!(u32::from_le_bytes(*head) as usize, body.len());
            prop_assert_eq!(Frame::decode(body), Ok(frame));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Frame::decode(&bytes);
            let _ = Opening::decode(&bytes);
        }
    }

    #[test]
    fn a_frame_keeps_its_bounds() {
        let check = |frame: Frame, allowed: bool| {
            let decoded = Frame::decode(&frame.encode()[4..]);
            assert_eq!(decoded.is_ok(), allowed, "{}: {:?}", frame.name(), decoded.err());
        };
        let ids = |count| Ids(vec![RecordId([7; 32]); count]);
        let records = |length| Frame::Records { records: vec![ByteBuf::from(vec![0; length])], more: false };
        check(Frame::Want(ids(FRAME_IDS_MAX)), true);
        check(Frame::Want(ids(FRAME_IDS_MAX + 1)), false);
        check(Frame::Offer(ids(FRAME_IDS_MAX + 1)), false);
        let many = |count| Frame::Records { records: vec![ByteBuf::new(); count], more: false };
        check(many(FRAME_RECORDS_MAX), true);
        check(many(FRAME_RECORDS_MAX + 1), false);
        check(records(RECORD_BYTES_MAX), true);
        check(records(RECORD_BYTES_MAX + 1), false);
        assert_eq!(
            Frame::decode(&vec![0; FRAME_BYTES_MAX + 1]).expect_err("is too long").to_string(),
            "a frame has 1048577 bytes, at most 1048576 are allowed"
        );
    }

    #[test]
    fn an_opening_keeps_its_bounds() {
        let opening = |count: usize| Opening {
            filter: Filter { categories: vec![Category(1); count], ..Filter::default() },
            message: ByteBuf::from([0x61]),
        };
        let full = opening(CATEGORIES_MAX);
        assert_eq!(Opening::decode(&full.encode()), Ok(full));
        assert!(Opening::decode(&opening(CATEGORIES_MAX + 1).encode()).is_err());
    }

    #[test]
    fn ids_of_another_length_are_refused() {
        let mut bytes = Frame::Want(Ids(vec![RecordId([7; 32])])).encode().split_off(4);
        let length = bytes.iter().rposition(|byte| *byte == 32).expect("the length of the ids is there");
        bytes[length] = 31;
        bytes.pop();
        assert!(Frame::decode(&bytes).is_err());
    }
}
