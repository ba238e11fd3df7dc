//! What a subject sends to an authority to get a certificate: names, purpose, both public keys, signed with both.
//!
//! The signatures prove that the sender has the secret keys, so nobody gets a certificate over somebody else's. They prove
//! nothing about the names; whether the sender may have them is for the authority to find out. A request is fresh for
//! [`LIFETIME`], which bounds what a replay can do: ask once more for the same.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::canonical;
use crate::certificate::{NAMES_MAX, NamesError, Purpose, SubjectName};
use crate::dsse::{self, DsseError};
use crate::ed25519;
use crate::falcon;
use crate::hybrid::{HybridError, PublicKey, SecretKey};
use crate::{SKEW, moment};

/// The media type of the payload; its version changes when a field does.
pub const PAYLOAD_TYPE: &str = "application/vnd.hypermesh.certificate-request.v1+json";
/// The largest request in bytes; one has about 5,500.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How long a request may be under way.
pub const LIFETIME: Duration = Duration::minutes(10);
/// The longest common name in characters (X.520).
pub const COMMON_NAME_CHARS_MAX: usize = 64;

/// A request; one that was verified comes from whoever has the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The common name asked for.
    pub common_name: String,
    /// The subject's keys.
    pub keys: PublicKey,
    /// What for.
    pub purpose: Purpose,
    /// The names asked for.
    pub names: Vec<SubjectName>,
    /// When it was made, in whole seconds.
    pub made: OffsetDateTime,
}

/// Why a request is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The envelope or its signatures are wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// A key in it is none.
    #[error("the request holds a key that is none")]
    Key(#[from] HybridError),
    /// A name in it is none, or there are too many.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The common name is none.
    #[error("a common name is 1 to 64 printable characters, not `{actual}`")]
    CommonName {
        /// What it is.
        actual: String,
    },
    /// It is too old or from the future.
    #[error("the request was made at `{}`, not in the last ten minutes", moment::shown(.made))]
    Time {
        /// When it was made.
        made: OffsetDateTime,
    },
    /// It is made for other keys than it is to be signed with.
    #[error("the request is for other keys")]
    OtherKeys,
}

impl CertificateRequest {
    /// Signs the request with the keys it is for.
    ///
    /// # Errors
    /// Other keys, a common name or names that cannot be, or no randomness.
    pub fn seal(&self, keys: &SecretKey) -> Result<Vec<u8>, RequestError> {
        if self.keys != keys.public() {
            return Err(RequestError::OtherKeys);
        }
        self.check()?;
        let payload = canonical::write(&Wire::from(self)).map_err(DsseError::from)?;
        let envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, keys).map_err(DsseError::from)?;
        Ok(envelope.write().map_err(DsseError::from)?)
    }

    /// Checks form, freshness, and that whoever sent it has both secret keys.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(bytes: &[u8], now: OffsetDateTime) -> Result<Self, RequestError> {
        let (envelope, document) = dsse::Envelope::read(bytes, REQUEST_BYTES_MAX, PAYLOAD_TYPE)?;
        if envelope.x5c.is_some() || envelope.chain.is_some() {
            return Err(DsseError::Chain.into());
        }
        let wire: Wire = canonical::read(&document.payload, REQUEST_BYTES_MAX).map_err(DsseError::from)?;
        let request = Self::try_from(wire)?;
        document.verify(PAYLOAD_TYPE, &request.keys).map_err(DsseError::from)?;
        request.check()?;
        let oldest = now.saturating_sub(LIFETIME);
        if request.made < oldest || request.made > now.saturating_add(SKEW) {
            return Err(RequestError::Time { made: request.made });
        }
        Ok(request)
    }

    fn check(&self) -> Result<(), RequestError> {
        let chars = self.common_name.chars().count();
        if !(1..=COMMON_NAME_CHARS_MAX).contains(&chars) || self.common_name.chars().any(char::is_control) {
            let actual = self.common_name.chars().take(COMMON_NAME_CHARS_MAX).collect();
            return Err(RequestError::CommonName { actual });
        }
        if self.names.len() > NAMES_MAX {
            return Err(NamesError::Count { actual: self.names.len() }.into());
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    common_name: String,
    ed25519: String,
    falcon: String,
    #[serde(with = "moment")]
    made: OffsetDateTime,
    names: Vec<Name>,
    purpose: Purpose,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    Dns(String),
    Ip(std::net::IpAddr),
}

impl From<&CertificateRequest> for Wire {
    fn from(request: &CertificateRequest) -> Self {
        let name = |name: &SubjectName| match name {
            SubjectName::Dns(name) => Name::Dns(name.clone()),
            SubjectName::Ip(address) => Name::Ip(*address),
        };
        Self {
            common_name: request.common_name.clone(),
            ed25519: data_encoding::BASE64.encode(request.keys.ed25519.as_bytes()),
            falcon: data_encoding::BASE64.encode(request.keys.falcon.as_bytes()),
            made: request.made,
            names: request.names.iter().map(name).collect(),
            purpose: request.purpose,
        }
    }
}

impl TryFrom<Wire> for CertificateRequest {
    type Error = RequestError;

    fn try_from(wire: Wire) -> Result<Self, RequestError> {
        let ed25519 = ed25519::PublicKey::from_bytes(&dsse::decode(&wire.ed25519, "ed25519")?);
        let falcon = falcon::PublicKey::from_bytes(&dsse::decode(&wire.falcon, "falcon")?);
        let name = |name| match name {
            Name::Dns(name) => SubjectName::dns(&name),
            Name::Ip(address) => Ok(SubjectName::Ip(address)),
        };
        Ok(Self {
            common_name: wire.common_name,
            keys: PublicKey {
                ed25519: ed25519.map_err(HybridError::from)?,
                falcon: falcon.map_err(HybridError::from)?,
            },
            purpose: wire.purpose,
            names: wire.names.into_iter().map(name).collect::<Result<_, _>>()?,
            made: wire.made,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::CanonicalError;
    use crate::testing::{ACME, NOW, keys, names};

    fn request(keys: &SecretKey) -> CertificateRequest {
        CertificateRequest {
            common_name: "Acme tools".to_owned(),
            keys: keys.public(),
            purpose: Purpose::Publisher,
            names: [names(ACME), vec![SubjectName::Ip("2001:db8::1".parse().expect("an address"))]].concat(),
            made: NOW,
        }
    }

    #[test]
    fn a_request_comes_from_whoever_has_the_keys() {
        let keys = keys();
        let bytes = request(&keys).seal(&keys).expect("signs");
        assert_eq!(CertificateRequest::verify(&bytes, NOW).expect("verifies"), request(&keys));
        assert!((4_500..6_500).contains(&bytes.len()), "{}", bytes.len());
    }

    #[test]
    fn nobody_asks_for_a_certificate_over_the_keys_of_another() {
        let (own, victim) = (keys(), keys());
        assert!(matches!(request(&victim).seal(&own), Err(RequestError::OtherKeys)));
        for (ed25519, falcon) in [(&own, &victim), (&victim, &own)] {
            let mixed = SecretKey { ed25519: ed25519.ed25519.clone(), falcon: falcon.falcon.clone() };
            let payload = canonical::write(&Wire::from(&request(&victim))).expect("writes");
            let envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, &mixed).expect("signs");
            let error = CertificateRequest::verify(&envelope.write().expect("writes"), NOW).expect_err("is refused");
            assert!(matches!(error, RequestError::Document(DsseError::Signature(_))), "{error:?}");
        }
    }

    #[test]
    fn a_request_is_fresh() {
        let keys = keys();
        let bytes = request(&keys).seal(&keys).expect("signs");
        let at = |now| CertificateRequest::verify(&bytes, now);
        at(NOW + LIFETIME).expect("just in time");
        at(NOW - SKEW).expect("clocks differ");
        assert!(matches!(at(NOW + LIFETIME + Duration::SECOND), Err(RequestError::Time { .. })));
        assert!(matches!(at(NOW - SKEW - Duration::SECOND), Err(RequestError::Time { .. })));
    }

    #[test]
    fn names_and_size_are_bounded() {
        let keys = keys();
        let with = |change: fn(&mut CertificateRequest)| {
            let mut request = request(&keys);
            change(&mut request);
            request.seal(&keys)
        };
        assert!(with(|request| request.common_name = "x".repeat(COMMON_NAME_CHARS_MAX)).is_ok());
        let long = with(|request| request.common_name = "x".repeat(COMMON_NAME_CHARS_MAX + 1));
        let (empty, control) = (with(|r| r.common_name.clear()), with(|r| r.common_name = "a\nb".to_owned()));
        for wrong in [long, empty, control] {
            assert!(matches!(wrong, Err(RequestError::CommonName { .. })));
        }
        let many = with(|request| request.names = vec![request.names[0].clone(); NAMES_MAX + 1]);
        assert!(matches!(many, Err(RequestError::Names(NamesError::Count { actual: 65 }))));
        let huge = vec![b' '; REQUEST_BYTES_MAX + 1];
        let error = CertificateRequest::verify(&huge, NOW).expect_err("is refused");
        assert!(matches!(error, RequestError::Document(DsseError::Canonical(CanonicalError::TooLarge { .. }))));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let keys = keys();
        let bytes = request(&keys).seal(&keys).expect("signs");
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 7);
            assert!(CertificateRequest::verify(&altered, NOW).is_err(), "byte {at}");
        }
    }
}
