//! Signed lists of certificates that no longer count, and since when.
//!
//! An authority signs with both of its keys, so that a list outlives the break of one algorithm, which X.509 revocation lists
//! do not. A list is numbered and expires: an old one is refused by its number if a newer was seen, by its time otherwise.
//! An entry has an effective time, for a compromise the earliest suspicion, so that what was signed before, by a time that
//! somebody trusted vouches for, still counts.
//!
//! Nothing here stores: the caller keeps [`RevocationList::seen`] of each authority and gives it back the next time.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::canonical::{self, CanonicalError, NUMBER_MAX};
use crate::certificate::{Authority, Certificate, Role, Serial};
use crate::digest::Sha256;
use crate::dsse::{self, DsseError};
use crate::hybrid::HybridError;
use crate::moment;

/// The media type of the payload; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.revocations.v1+json";
/// The largest list in bytes.
pub const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most entries in one list; 32,768 are about 8 MiB.
pub const ENTRIES_MAX: usize = 32 * 1024;

/// A genuine and fresh list of one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    authority: Sha256,
    number: u64,
    issued: OffsetDateTime,
    expires: OffsetDateTime,
    /// Sorted by serial number.
    entries: Vec<Entry>,
    digest: Sha256,
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its serial number.
    pub serial: Serial,
    /// The SHA-256 of its Ed25519 key, if every certificate with that key is revoked.
    pub key: Option<Sha256>,
    /// Why.
    pub reason: Reason,
    /// Since when it does not count; for a compromise the earliest suspicion.
    pub effective: OffsetDateTime,
}

/// Why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// A secret key is, or may be, somebody else's.
    KeyCompromise,
    /// The subject is not what it was.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// The subject has stopped.
    CessationOfOperation,
    /// The subject may no longer do what the certificate allows.
    PrivilegeWithdrawn,
}

/// What a list is to say.
#[derive(Debug)]
pub struct ListOptions<'a> {
    /// Its number, higher than that of the one before and below 2^53.
    pub number: u64,
    /// When it is made.
    pub issued: OffsetDateTime,
    /// When it stops to count.
    pub expires: OffsetDateTime,
    /// Everything that is revoked, in any order.
    pub entries: &'a [Entry],
}

/// The newest list that was seen of an authority; the caller keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its number.
    pub number: u64,
    /// The SHA-256 of its content.
    pub digest: Sha256,
}

/// What a list says about a certificate at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is not on the list, or not yet in effect.
    Good,
    /// It does not count.
    Revoked {
        /// Why.
        reason: Reason,
        /// Since when.
        effective: OffsetDateTime,
    },
}

/// Why a list is not believed, or not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The envelope or its signatures are wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// A field is not what it must be.
    #[error("the revocation list is malformed: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// It is of another authority.
    #[error("the revocation list is of another authority than `{expected}`")]
    OtherAuthority {
        /// Whose list was expected.
        expected: String,
    },
    /// Who should have signed it does not issue, or has one key.
    #[error("`{subject}` is not an authority with both keys that may sign revocation lists")]
    NotAuthority {
        /// The certificate.
        subject: String,
    },
    /// It is over.
    #[error("revocation list `{number}` expired at `{}`", moment::shown(.expires))]
    Stale {
        /// Its number.
        number: u64,
        /// When.
        expires: OffsetDateTime,
    },
    /// It is from the future.
    #[error("revocation list `{number}` was issued at `{}`, in the future", moment::shown(.issued))]
    Future {
        /// Its number.
        number: u64,
        /// When.
        issued: OffsetDateTime,
    },
    /// A newer one was seen.
    #[error("revocation list `{number}` is older than list `{seen}`, which was seen before")]
    Rollback {
        /// Its number.
        number: u64,
        /// The number that was seen.
        seen: u64,
    },
    /// Another one of the same number was seen: the authority contradicts itself.
    #[error("two different revocation lists have the number `{number}`")]
    Fork {
        /// The number.
        number: u64,
    },
}

impl Authority {
    /// Signs a list of everything this authority revokes.
    ///
    /// # Errors
    /// Too many entries, two for one certificate, a list that expires before it begins, or no randomness.
    pub fn revocation_list(&self, options: &ListOptions<'_>) -> Result<Vec<u8>, RevocationError> {
        let keys = self.keys();
        let mut entries = options.entries.to_vec();
        entries.sort_by(|a, b| a.serial.cmp(&b.serial));
        let list = Wire {
            authority: authority_id(self.certificate())?,
            entries: entries.iter().map(WireEntry::from).collect(),
            expires: options.expires,
            issued: options.issued,
            number: options.number,
        };
        list.check()?;
        let payload = canonical::write(&list).map_err(DsseError::from)?;
        let envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, keys).map_err(DsseError::from)?;
        Ok(envelope.write().map_err(DsseError::from)?)
    }
}

impl Entry {
    /// Revokes a certificate; if its key is compromised, every certificate of this authority with that key.
    pub fn of(certificate: &Certificate, reason: Reason, effective: OffsetDateTime) -> Self {
        let key = (reason == Reason::KeyCompromise).then(|| key_id(certificate));
        Self { serial: certificate.serial().clone(), key, reason, effective }
    }
}

impl RevocationList {
    /// Checks a list of an authority that is itself trusted: form, both signatures, time, and that no newer one was seen.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(
        bytes: &[u8],
        authority: &Certificate,
        now: OffsetDateTime,
        seen: Option<Seen>,
    ) -> Result<Self, RevocationError> {
        let (envelope, document) = dsse::Envelope::read(bytes, LIST_BYTES_MAX, PAYLOAD_TYPE)?;
        if envelope.x5c.is_some() || envelope.chain.is_some() {
            return Err(DsseError::Chain.into());
        }
        let subject = || authority.subject().to_owned();
        let expected = authority_id(authority)?;
        let keys = authority.keys().ok_or_else(|| RevocationError::NotAuthority { subject: subject() })?;
        document.verify(PAYLOAD_TYPE, &keys).map_err(DsseError::from)?;
        let wire: Wire = canonical::read(&document.payload, LIST_BYTES_MAX).map_err(DsseError::from)?;
        wire.check()?;
        if wire.authority != expected {
            return Err(RevocationError::OtherAuthority { expected: subject() });
        }
        let list = Self {
            authority: wire.authority,
            number: wire.number,
            issued: wire.issued,
            expires: wire.expires,
            entries: wire.entries.into_iter().map(Entry::try_from).collect::<Result<_, _>>()?,
            digest: Sha256::of(&document.payload),
        };
        list.expect_fresh(now)?;
        list.expect_newest(seen)?;
        Ok(list)
    }

    /// Says what is to be kept until the next list.
    pub fn seen(&self) -> Seen {
        Seen { number: self.number, digest: self.digest }
    }

    /// Gives the number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Says when it was made.
    pub fn issued(&self) -> OffsetDateTime {
        self.issued
    }

    /// Says when it stops to count.
    pub fn expires(&self) -> OffsetDateTime {
        self.expires
    }

    /// Gives the entries, sorted by serial number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Says whether the list is about what this authority issues.
    pub fn is_of(&self, authority: &Certificate) -> bool {
        authority_id(authority).is_ok_and(|id| id == self.authority)
    }

    /// Says what the list means for a certificate of its authority at a time.
    pub fn status(&self, certificate: &Certificate, at: OffsetDateTime) -> Status {
        let by_serial = self.entries.binary_search_by(|entry| entry.serial.cmp(certificate.serial()));
        let by_serial = by_serial.ok().map(|index| &self.entries[index]);
        let key = key_id(certificate);
        let by_key = self.entries.iter().filter(|entry| entry.key == Some(key));
        let earliest = by_serial.into_iter().chain(by_key).min_by_key(|entry| entry.effective);
        match earliest {
            Some(entry) if entry.effective <= at => {
                Status::Revoked { reason: entry.reason, effective: entry.effective }
            }
            _ => Status::Good,
        }
    }

    fn expect_fresh(&self, now: OffsetDateTime) -> Result<(), RevocationError> {
        if now > self.expires {
            return Err(RevocationError::Stale { number: self.number, expires: self.expires });
        }
        if self.issued > now.saturating_add(crate::SKEW) {
            return Err(RevocationError::Future { number: self.number, issued: self.issued });
        }
        Ok(())
    }

    fn expect_newest(&self, seen: Option<Seen>) -> Result<(), RevocationError> {
        let number = self.number;
        match seen {
            Some(seen) if seen.number > number => Err(RevocationError::Rollback { number, seen: seen.number }),
            Some(seen) if seen.number == number && seen.digest != self.digest => Err(RevocationError::Fork { number }),
            _ => Ok(()),
        }
    }
}

impl From<CanonicalError> for RevocationError {
    fn from(error: CanonicalError) -> Self {
        DsseError::from(error).into()
    }
}

impl From<HybridError> for RevocationError {
    fn from(error: HybridError) -> Self {
        DsseError::from(error).into()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    authority: Sha256,
    entries: Vec<WireEntry>,
    #[serde(with = "moment")]
    expires: OffsetDateTime,
    #[serde(with = "moment")]
    issued: OffsetDateTime,
    number: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntry {
    #[serde(with = "moment")]
    effective: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Sha256>,
    reason: Reason,
    serial: String,
}

impl Wire {
    fn check(&self) -> Result<(), RevocationError> {
        let fault = |reason| Err(RevocationError::Malformed { reason });
        if self.entries.len() > ENTRIES_MAX {
            return fault("it has more than 32768 entries");
        }
        if self.number > NUMBER_MAX {
            return fault("its number is not below 2^53");
        }
        if self.expires <= self.issued {
            return fault("it expires before it begins");
        }
        let read = |entry: &WireEntry| entry.serial.parse::<Serial>().ok().filter(|s| s.to_string() == entry.serial);
        let serials: Option<Vec<_>> = self.entries.iter().map(read).collect();
        match serials {
            None => fault("a serial number is not 1 to 20 bytes in lower-case hexadecimal"),
            Some(serials) if !serials.is_sorted_by(|a, b| a < b) => {
                fault("its entries are not sorted, or one comes twice")
            }
            Some(_) => Ok(()),
        }
    }
}

impl From<&Entry> for WireEntry {
    fn from(entry: &Entry) -> Self {
        let Entry { serial, key, reason, effective } = entry;
        Self { effective: *effective, key: *key, reason: *reason, serial: serial.to_string() }
    }
}

impl TryFrom<WireEntry> for Entry {
    type Error = RevocationError;

    fn try_from(wire: WireEntry) -> Result<Self, RevocationError> {
        let fault = |_| RevocationError::Malformed { reason: "a serial number is not 1 to 20 bytes in hexadecimal" };
        let serial = wire.serial.parse().map_err(fault)?;
        Ok(Self { serial, key: wire.key, reason: wire.reason, effective: wire.effective })
    }
}

/// Names an authority by its keys, so that its lists outlive the renewal of its certificate.
fn authority_id(authority: &Certificate) -> Result<Sha256, RevocationError> {
    let issues = authority.role() != Role::Leaf && authority.usage().revocation_lists;
    let keys = authority.keys().filter(|_| issues);
    let not_authority = || RevocationError::NotAuthority { subject: authority.subject().to_owned() };
    keys.map(|keys| Sha256::from_bytes(keys.fingerprint())).ok_or_else(not_authority)
}

fn key_id(certificate: &Certificate) -> Sha256 {
    Sha256::of(certificate.key().as_bytes())
}

#[cfg(test)]
mod tests;
