//! The book of a home's authorities: every certificate they issued, what is revoked, the numbers of their lists.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use trustchain::certificate::Certificate;
use trustchain::digest::Sha256;
use trustchain::revocation::{Entry, Reason};

use super::{TrustError, files};

/// The file.
const FILE: &str = "issued.json";
/// The largest book that is read; [`RECORDS_MAX`] records of the longest names are below it.
const BOOK_BYTES_MAX: u64 = 32 << 20;
/// The most records: if all were revoked by one authority, X.509 lists of the size that paths are validated with hold them.
pub(super) const RECORDS_MAX: usize = 24_000;
/// How long a certificate that was never revoked is remembered after its end, while there is room.
const MEMORY: Duration = Duration::days(90);

/// An issued certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name in this home.
    pub name: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Its subject.
    pub subject: String,
    /// The SHA-256 of its DER.
    pub fingerprint: String,
    /// The SHA-256 of its issuer's key pair.
    pub issuer: Sha256,
    /// The SHA-256 of its Ed25519 key.
    pub key: Sha256,
    /// Its first second.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Its last second.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// That it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// Why and since when a certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Why.
    pub reason: Reason,
    /// Since when; for a compromise the earliest suspicion.
    #[serde(with = "time::serde::rfc3339")]
    pub effective: OffsetDateTime,
    /// When that was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub decided: OffsetDateTime,
}

/// The whole book.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    version: Version,
    pub(super) issued: Vec<Record>,
    /// The number of the newest list of each authority, by the SHA-256 of its key pair.
    pub(super) lists: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Version {
    #[serde(rename = "hypermesh.issued/1")]
    V1,
}

impl Record {
    /// Takes the record from a certificate.
    pub(super) fn of(name: &str, certificate: &Certificate, issuer: Sha256) -> Self {
        let validity = certificate.validity();
        Self {
            name: name.to_owned(),
            serial: certificate.serial().to_string(),
            subject: certificate.subject().to_owned(),
            fingerprint: certificate.fingerprint().to_string(),
            issuer,
            key: Sha256::of(certificate.key().as_bytes()),
            not_before: validity.not_before,
            not_after: validity.not_after,
            revoked: None,
        }
    }

    /// Gives the entry of a revocation list.
    pub(super) fn entry(&self) -> Option<Entry> {
        let Revoked { reason, effective, .. } = self.revoked?;
        let key = (reason == Reason::KeyCompromise).then_some(self.key);
        Some(Entry { serial: self.serial.parse().ok()?, key, reason, effective })
    }
}

impl Book {
    pub(super) fn empty() -> Self {
        Self { version: Version::V1, issued: Vec::new(), lists: BTreeMap::new() }
    }

    pub(super) fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    pub(super) fn read(directory: &Path) -> Result<Self, TrustError> {
        let path = directory.join(FILE);
        serde_json::from_slice(&files::read_at_most(&path, BOOK_BYTES_MAX)?)
            .map_err(|source| TrustError::Records { path, source })
    }

    /// Writes the book, without what nobody asks for any more. What could not be read again is not written.
    pub(super) fn write(&mut self, directory: &Path, now: OffsetDateTime) -> Result<(), TrustError> {
        self.forget(now);
        if self.issued.len() > RECORDS_MAX {
            return Err(TrustError::BookFull { path: directory.join(FILE), most: RECORDS_MAX });
        }
        let path = directory.join(FILE);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|source| TrustError::Records { path: path.clone(), source })?;
        text.push(b'\n');
        files::write(&path, &text)
    }

    /// Forgets what ended long ago and was not revoked, and what ended first if there is too much.
    fn forget(&mut self, now: OffsetDateTime) {
        self.issued.retain(|record| record.revoked.is_some() || record.not_after.saturating_add(MEMORY) > now);
        let more = self.issued.len().saturating_sub(RECORDS_MAX);
        let ended = self.issued.iter().filter(|record| record.revoked.is_none() && record.not_after < now);
        let mut ended: Vec<OffsetDateTime> = ended.map(|record| record.not_after).collect();
        ended.sort_unstable();
        let Some(&last) = ended.get(..more.min(ended.len())).and_then(<[_]>::last) else { return };
        self.issued.retain(|record| record.revoked.is_some() || record.not_after > last);
    }

    /// Takes the next number for a list of an authority.
    pub(super) fn next_list(&mut self, authority: Sha256) -> u64 {
        let number = self.lists.entry(authority.to_string()).or_default();
        *number += 1;
        *number
    }
}
