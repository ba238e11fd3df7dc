//! Proof of time, WHEN: a moment by the prover's clock, how far that clock is from the network's, and a number used once.
//!
//! The hash is the SHA-256 of three numbers, each little-endian in 8 bytes: the offset in microseconds (signed), the moment
//! in microseconds since 1970 (unsigned), and the number (unsigned). It binds them to each other; the requester's signature
//! binds them to the operation. That a number is used once is for whoever keeps [`super::OperationProof::uses`].

use ::time::{Duration, OffsetDateTime};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::canonical::NUMBER_MAX;
use crate::digest::Sha256;

/// How old a proof may be.
pub const AGE_MAX: Duration = Duration::seconds(300);

/// The proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The SHA-256 of the other three.
    pub hash: Sha256,
    /// Microseconds by which the network is ahead of the prover's clock, as decimal text.
    #[serde(with = "decimal")]
    pub network_time_offset: i64,
    /// A number that this prover never uses again, as decimal text.
    #[serde(with = "decimal")]
    pub nonce: u64,
    /// Microseconds since 1970 by the prover's clock.
    pub timestamp: u64,
}

/// Why a proof of time proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The hash is of other numbers.
    #[error("the hash is not that of offset, moment and number")]
    Hash,
    /// The clock is too far from the network's.
    #[error("an offset of `{offset_us}` us from the network's time is more than `{most_us}` us")]
    Offset {
        /// The offset.
        offset_us: i64,
        /// The limit.
        most_us: i64,
    },
    /// It is too old, or from the future.
    #[error("the proof of time was made `{age_us}` us ago, {reason}")]
    Age {
        /// How long ago, negative in the future.
        age_us: i64,
        /// Why that is wrong.
        reason: &'static str,
    },
}

impl Time {
    /// Binds a moment, an offset and a number. The year must be after 1969 and before 2255.
    pub fn new(at: OffsetDateTime, network_time_offset: i64, nonce: u64) -> Self {
        let timestamp = u64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(0).min(NUMBER_MAX);
        Self { hash: hash(network_time_offset, timestamp, nonce), network_time_offset, nonce, timestamp }
    }

    /// Checks the proof: an offset within the limit, not older than five minutes, not ahead by more than the limit.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn check(&self, offset_max: Duration, now: OffsetDateTime) -> Result<(), TimeError> {
        if self.hash != hash(self.network_time_offset, self.timestamp, self.nonce) {
            return Err(TimeError::Hash);
        }
        let (offset_us, most_us) = (self.network_time_offset, microseconds(offset_max));
        if offset_us.unsigned_abs() > most_us.unsigned_abs() {
            return Err(TimeError::Offset { offset_us, most_us });
        }
        let now_us = i64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        let age_us = now_us.saturating_sub_unsigned(self.timestamp);
        if age_us > microseconds(AGE_MAX) {
            return Err(TimeError::Age { age_us, reason: "which is too old" });
        }
        if age_us < -most_us {
            return Err(TimeError::Age { age_us, reason: "which is in the future" });
        }
        Ok(())
    }
}

fn hash(offset_us: i64, timestamp_us: u64, nonce: u64) -> Sha256 {
    let hash = sha2::Sha256::new().chain_update(offset_us.to_le_bytes()).chain_update(timestamp_us.to_le_bytes());
    Sha256::from_bytes(hash.chain_update(nonce.to_le_bytes()).finalize().into())
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.whole_microseconds()).unwrap_or(i64::MAX)
}

/// Numbers of which JSON libraries disagree, as decimal text in one form.
mod decimal {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, T: FromStr + Display, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        let number = text.parse::<T>().ok().filter(|number| number.to_string() == text);
        number.ok_or_else(|| de::Error::custom("expected a number as decimal text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    #[test]
    fn the_encoding_is_fixed() {
        let bytes = [(-2_i64).to_le_bytes(), 3_u64.to_le_bytes(), 4_u64.to_le_bytes()].concat();
        let at = OffsetDateTime::UNIX_EPOCH + Duration::microseconds(3);
        assert_eq!(Time::new(at, -2, 4).hash, Sha256::of(&bytes));
        let text = serde_json::to_string(&Time::new(at, -2, u64::MAX)).expect("writes");
        assert!(text.contains(r#""network_time_offset":"-2","nonce":"18446744073709551615","timestamp":3"#), "{text}");
        assert_eq!(serde_json::from_str::<Time>(&text).expect("reads"), Time::new(at, -2, u64::MAX));
        assert!(serde_json::from_str::<Time>(&text.replace("\"-2\"", "\"-02\"")).is_err());
    }

    #[test]
    fn every_rule_refuses() {
        let limit = Duration::seconds(1);
        let check = |at, offset| Time::new(at, offset, 7).check(limit, NOW);
        check(NOW, 0).expect("now");
        check(NOW - AGE_MAX, 1_000_000).expect("at the limits");
        check(NOW + limit, -1_000_000).expect("at the other limits");
        assert!(matches!(check(NOW - AGE_MAX - Duration::MICROSECOND, 0), Err(TimeError::Age { .. })));
        assert!(matches!(check(NOW + limit + Duration::MICROSECOND, 0), Err(TimeError::Age { .. })));
        assert!(matches!(check(NOW, 1_000_001), Err(TimeError::Offset { .. })));
        assert!(matches!(check(NOW, i64::MIN), Err(TimeError::Offset { .. })));
        let good = Time::new(NOW, 5, 7);
        for wrong in [
            Time { network_time_offset: 4, ..good.clone() },
            Time { timestamp: good.timestamp - 1, ..good.clone() },
            Time { nonce: 8, ..good.clone() },
            Time { hash: Sha256::of(b"x"), ..good },
        ] {
            assert_eq!(wrong.check(limit, NOW), Err(TimeError::Hash));
        }
    }
}
