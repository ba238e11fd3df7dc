//! What this node believes: roots and revocation lists, as the host gives them, checked here once more.

use time::OffsetDateTime;
use trustchain::certificate::{Certificate, PemError, from_pem};
use trustchain::digest::Sha256;
use trustchain::path::{Hybrid, Revocation, RootError, Roots};
use trustchain::revocation::{RevocationError, RevocationList};

use super::freshness::Freshness;
use crate::host::TrustAnchors;

/// The most authorities and lists that are looked at.
pub const AUTHORITIES_MAX: usize = 64;

/// Roots, and the lists of what no longer counts.
#[derive(Clone, Debug)]
pub struct Anchors {
    roots: Roots,
    lists: Vec<RevocationList>,
    refused: Vec<String>,
    now: OffsetDateTime,
}

/// Why there is nothing to believe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorsError {
    /// A certificate cannot be read.
    #[error("a root or authority of this node cannot be read")]
    Pem(#[from] PemError),
    /// The roots are none.
    #[error("the roots of this node cannot be used")]
    Roots(#[from] RootError),
    /// More than a bound.
    #[error("there are more than {AUTHORITIES_MAX} authorities or revocation lists")]
    TooMany,
}

impl Anchors {
    /// Takes what the host believes, both algorithms required of everything below the roots.
    ///
    /// # Errors
    /// As [`Self::pinned`].
    pub fn read(given: &TrustAnchors, now: OffsetDateTime, freshness: &mut Freshness) -> Result<Self, AnchorsError> {
        Self::pinned(given, Hybrid::Required, now, freshness)
    }

    /// Takes what the host believes, and pins what is required of everything below the roots.
    ///
    /// Lists that are not genuine, fresh and the newest seen do not count; what they would have covered is then of unknown
    /// status, which is refused, and [`Self::refused`] says why.
    ///
    /// # Errors
    /// Roots that are none.
    pub fn pinned(
        given: &TrustAnchors,
        hybrid: Hybrid,
        now: OffsetDateTime,
        freshness: &mut Freshness,
    ) -> Result<Self, AnchorsError> {
        if given.authorities.len().max(given.revocations.len()).max(given.roots.len()) > AUTHORITIES_MAX {
            return Err(AnchorsError::TooMany);
        }
        let certificates = |texts: &[String]| -> Result<Vec<Certificate>, PemError> {
            let read: Result<Vec<_>, _> = texts.iter().map(|text| from_pem(text.as_bytes())).collect();
            Ok(read?.concat())
        };
        let (roots, authorities) = (Roots::read(&given.roots, hybrid)?, certificates(&given.authorities)?);
        let now = freshness.now(now);
        let (mut lists, mut refused) = (Vec::new(), Vec::new());
        for text in &given.revocations {
            match list(text.as_bytes(), roots.certificates().iter().chain(&authorities), now, freshness) {
                Ok(list) => lists.push(list),
                Err(error) => refused.push(error.to_string()),
            }
        }
        Ok(Self { roots, lists, refused, now })
    }

    /// Gives the roots.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Says how revocation is checked.
    pub fn revocation(&self) -> Revocation<'_> {
        Revocation::Lists { lists: &self.lists, now: self.now }
    }

    /// Gives the present: never earlier than what trusted signers have said.
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Says which lists do not count, and why.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }
}

/// Finds the authority that signed a list. A list of an authority that nobody believes is harmless: it counts only for what
/// those very keys issued.
fn list<'a>(
    bytes: &[u8],
    authorities: impl Iterator<Item = &'a Certificate>,
    now: OffsetDateTime,
    freshness: &mut Freshness,
) -> Result<RevocationList, RevocationError> {
    let mut refused = None;
    for authority in authorities {
        let Some(keys) = authority.keys() else { continue };
        let id = Sha256::from_bytes(keys.fingerprint());
        match RevocationList::verify(bytes, authority, now, freshness.list(&id)) {
            Ok(list) => {
                freshness.saw_list(id, &list);
                return Ok(list);
            }
            // These are found after the signatures were, so they are about the right authority.
            Err(
                error @ (RevocationError::Rollback { .. }
                | RevocationError::Fork { .. }
                | RevocationError::Stale { .. }
                | RevocationError::Future { .. }),
            ) => return Err(error),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or(RevocationError::NotAuthority { subject: "nobody".into() }))
}
