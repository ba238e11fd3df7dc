//! X.509 revocation lists as path validation takes them: parsed once, expiry enforced, unknown status refused.

use webpki::{CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth};
use webpki::{RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy};

use crate::certificate::Certificate;
use crate::der::{Reader, SEQUENCE};

/// The largest list in bytes: about 28,000 entries.
pub const CRL_BYTES_MAX: usize = 1024 * 1024;
/// The most lists.
pub const CRLS_MAX: usize = 32;

/// Parsed revocation lists; whether they are genuine and fresh is checked on each use.
#[derive(Debug)]
pub struct Crls(Vec<CertRevocationList<'static>>);

/// Why bytes are no revocation lists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// None, or too many.
    #[error("there are 1 to 32 revocation lists, not `{actual}`")]
    Count {
        /// How many there are.
        actual: usize,
    },
    /// Too many bytes.
    #[error("a revocation list has at most 1048576 bytes, list `{index}` has `{actual}`")]
    TooLarge {
        /// Which, from 0.
        index: usize,
        /// How many bytes there are.
        actual: usize,
    },
    /// Not a revocation list.
    #[error("revocation list `{index}` cannot be read")]
    Malformed {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        source: webpki::Error,
    },
}

impl Crls {
    /// Reads lists in DER.
    ///
    /// # Errors
    /// None, too many, or the first that cannot be read.
    pub fn parse<'a>(lists: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, CrlError> {
        let mut parsed = Vec::new();
        for (index, der) in lists.into_iter().enumerate() {
            if index == CRLS_MAX {
                return Err(CrlError::Count { actual: index + 1 });
            }
            if der.len() > CRL_BYTES_MAX {
                return Err(CrlError::TooLarge { index, actual: der.len() });
            }
            let list = OwnedCertRevocationList::from_der(der);
            parsed.push(list.map_err(|source| CrlError::Malformed { index, source })?.into());
        }
        if parsed.is_empty() { Err(CrlError::Count { actual: 0 }) } else { Ok(Self(parsed)) }
    }

    pub(super) fn borrow(&self) -> Vec<&CertRevocationList<'static>> {
        self.0.iter().collect()
    }

    /// Says whether a list of the certificate's issuer names it.
    pub(super) fn revokes(&self, certificate: &Certificate) -> bool {
        let serial = certificate.serial().as_bytes();
        self.of_issuer(certificate).any(|list| matches!(list.find_serial(serial), Ok(Some(_))))
    }

    /// Says whether there is a list of the certificate's issuer.
    pub(super) fn cover(&self, certificate: &Certificate) -> bool {
        self.of_issuer(certificate).next().is_some()
    }

    fn of_issuer(&self, certificate: &Certificate) -> impl Iterator<Item = &CertRevocationList<'static>> {
        let issuer =
            Reader::new(certificate.raw_issuer()).next(SEQUENCE, "a name").map_or(&[][..], |name| name.content);
        let issuer = issuer.to_vec();
        self.0.iter().filter(move |list| list.issuer() == issuer)
    }
}

/// Spells out every policy: webpki's default is to ignore that a list has expired.
pub(crate) fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Deny);
    Some(options.with_expiration_policy(ExpirationPolicy::Enforce).build())
}
