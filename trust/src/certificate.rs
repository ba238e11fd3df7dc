//! Certificates of TrustChain: X.509 v3 with an Ed25519 key, and a FALCON-1024 key and signature beside it.
//!
//! [`Certificate::parse`] takes DER to the letter: whatever is not well formed, comes twice, or is outside the profile is
//! refused with the place of the fault. A parsed certificate is not a trusted one; that is for [`crate::path`] to say.
//! [`Authority`] issues.

mod alternative;
mod identity;
mod issue;
mod name;
mod pem;
mod read;

use std::fmt;

use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use webpki::EndEntityCert;

use crate::der::DerError;
use crate::ed25519;
use crate::falcon::{self, FalconError};
use crate::hybrid;

pub use self::identity::{Fingerprint, ParseFingerprintError, Serial};
pub use self::issue::{
    Authority, CrlOptions, INTERMEDIATE_LIFETIME, IntermediateOptions, IssueError, LeafKey, LeafOptions, NODE_LIFETIME,
    PUBLISHER_LIFETIME, ROOT_LIFETIME, Revoked,
};
pub use self::name::{NamesError, PUBLISHER_DOMAIN, SubjectName};
pub use self::pem::{
    CRLS_PEM_BYTES_MAX, PEM_BYTES_MAX, PEM_CERTIFICATES_MAX, PemError, crl_to_pem, crls_from_pem, ders_from_pem,
    from_pem, to_pem,
};

/// The largest certificate in bytes; hybrid ones have 3,500 to 3,700.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// The most names in one certificate.
pub const NAMES_MAX: usize = 64;

/// A parsed certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    signed_alternatively: Vec<u8>,
    raw_subject: Vec<u8>,
    raw_issuer: Vec<u8>,
    subject: String,
    issuer: String,
    common_name: Option<String>,
    serial: Serial,
    validity: Validity,
    key: ed25519::PublicKey,
    alternative_key: Option<falcon::PublicKey>,
    alternative_signature: Option<falcon::Signature>,
    names: Vec<SubjectName>,
    role: Role,
    usage: Usage,
    permitted: Option<Vec<String>>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    extensions: Vec<Extension>,
}

/// What a certificate may be used for; an authority is one for some of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Signing releases: code signing.
    Publisher,
    /// Transport between nodes: TLS server and client. Short-lived; its own key may be Ed25519 only.
    Node,
    /// Attesting operations.
    Validator,
}

/// Whether a certificate issues others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It issues.
    Authority {
        /// How many authorities may stand between it and a leaf, if that is limited.
        path_length: Option<u32>,
    },
    /// It does not.
    Leaf,
}

/// What the key usage extensions allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Whether there is a key usage extension at all.
    pub stated: bool,
    /// Signing of data.
    pub digital_signature: bool,
    /// Signing of certificates.
    pub certificates: bool,
    /// Signing of revocation lists.
    pub revocation_lists: bool,
    /// The extended usages, as dotted object identifiers.
    pub extended: Vec<String>,
}

/// When a certificate is valid, both ends included, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: OffsetDateTime,
    /// The last second.
    pub not_after: OffsetDateTime,
}

/// One extension as it is in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The dotted object identifier.
    pub oid: String,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// The DER inside.
    pub value: Vec<u8>,
}

/// Why bytes are not a certificate of TrustChain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Too many bytes.
    #[error("a certificate has at most 16384 bytes, this one has `{actual}`")]
    TooLarge {
        /// How many there are.
        actual: usize,
    },
    /// Not DER, or not the DER of a certificate.
    #[error(transparent)]
    Der(#[from] DerError),
    /// A field that is well-formed DER and yet not what it should be.
    #[error("malformed certificate: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// An extension is not what its identifier says.
    #[error("malformed extension `{oid}`: {reason}")]
    Extension {
        /// The dotted object identifier.
        oid: String,
        /// What is wrong.
        reason: String,
    },
    /// The key or the signature is of another algorithm.
    #[error("the {what} is not of `ed25519`")]
    Algorithm {
        /// The key or the signature.
        what: &'static str,
    },
    /// The serial number is outside the profile.
    #[error("the serial number is not 1 to 20 bytes and positive")]
    Serial,
    /// A name is outside the profile.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The three alternative extensions do not fit together.
    #[error("the alternative extensions do not fit together: {reason}")]
    Alternative {
        /// What is wrong.
        reason: &'static str,
    },
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// The first fault, with its offset where the DER is at fault.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        read::certificate(der)
    }

    /// Gives the DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Gives the SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(Sha256::digest(&self.der).into())
    }

    /// Gives the subject for people, such as `CN=acme, O=Acme`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Gives the issuer for people.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Gives the subject's common name.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Gives the serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Says when it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Gives the subject's alternative names.
    pub fn names(&self) -> &[SubjectName] {
        &self.names
    }

    /// Gives the domains that an authority is limited to; `None` is no limit.
    pub fn permitted(&self) -> Option<&[String]> {
        self.permitted.as_deref()
    }

    /// Says whether it issues.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Says what its keys may be used for.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Gives all extensions in their order.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// Gives the classical public key.
    pub fn key(&self) -> &ed25519::PublicKey {
        &self.key
    }

    /// Gives both public keys, if there are both.
    pub fn keys(&self) -> Option<hybrid::PublicKey> {
        let falcon = self.alternative_key.clone()?;
        Some(hybrid::PublicKey { ed25519: self.key, falcon })
    }

    /// Says whether a second signature vouches for it.
    pub fn is_signed_alternatively(&self) -> bool {
        self.alternative_signature.is_some()
    }

    /// Gives the first critical extension that this crate does not act on.
    pub fn unknown_critical(&self) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.critical && !read::is_understood(&extension.oid))
    }

    /// Says whether the publisher of this certificate owns a namespace of packages: `acme` is `acme.pub.trustchain`.
    pub fn covers_namespace(&self, namespace: &str) -> bool {
        let domain = format!("{namespace}.{PUBLISHER_DOMAIN}");
        self.names.iter().any(|name| matches!(name, SubjectName::Dns(dns) if *dns == domain))
    }

    /// Says whether the certificate speaks for a domain or address, as peers of a connection compare names.
    pub fn speaks_for(&self, name: &str) -> bool {
        let server = ServerName::try_from(name).ok();
        let leaf = EndEntityCert::try_from(&self.der).ok();
        leaf.zip(server).is_some_and(|(leaf, server)| leaf.verify_is_valid_for_subject_name(&server).is_ok())
    }

    /// Says whether an authority has signed this certificate with both of its keys. Says nothing about time or rights.
    pub fn is_issued_by(&self, authority: &Self) -> bool {
        let alternatively = authority.alternative_key().and_then(|key| self.verify_alternative(key));
        self.raw_issuer == authority.raw_subject
            && self.is_signed_by(authority.key())
            && alternatively.is_some_and(|verified| verified.is_ok())
    }

    pub(crate) fn raw_subject(&self) -> &[u8] {
        &self.raw_subject
    }

    pub(crate) fn raw_issuer(&self) -> &[u8] {
        &self.raw_issuer
    }

    pub(crate) fn subject_key_id(&self) -> Option<&[u8]> {
        self.subject_key_id.as_deref()
    }

    pub(crate) fn authority_key_id(&self) -> Option<&[u8]> {
        self.authority_key_id.as_deref()
    }

    /// Checks the alternative signature against its issuer's key; `None` says that there is none to check.
    pub(crate) fn verify_alternative(&self, issuer: &falcon::PublicKey) -> Option<Result<(), FalconError>> {
        let signature = self.alternative_signature.as_ref()?;
        Some(issuer.verify(&self.signed_alternatively, signature))
    }

    /// Says whether the primary signature is this key's.
    pub(crate) fn is_signed_by(&self, issuer: &ed25519::PublicKey) -> bool {
        let Ok(parts) = alternative::cut(&self.der) else { return false };
        ed25519::Signature::from_bytes(parts.primary)
            .is_ok_and(|signature| issuer.verify(parts.tbs, &signature).is_ok())
    }

    pub(crate) fn alternative_key(&self) -> Option<&falcon::PublicKey> {
        self.alternative_key.as_ref()
    }
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publisher, Self::Node, Self::Validator];

    /// Gives the extended key usages that a certificate for this purpose, and every authority above it but the root, has.
    pub fn extended_usages(self) -> &'static [&'static str] {
        match self {
            Self::Publisher => &["1.3.6.1.5.5.7.3.3"],
            Self::Node => &["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
            Self::Validator => &["1.3.9999.4857.1"],
        }
    }

    /// Gives the content of the first usage's object identifier.
    pub(crate) fn usage_oid(self) -> &'static [u8] {
        match self {
            Self::Publisher => &[0x2b, 6, 1, 5, 5, 7, 3, 3],
            Self::Node => &[0x2b, 6, 1, 5, 5, 7, 3, 1],
            // HyperMesh has no registered arc; like the number of FALCON-1024 this one is below 1.3.9999.
            Self::Validator => &[0x2b, 0xce, 0x0f, 0xa5, 0x79, 1],
        }
    }
}

impl Validity {
    /// Says whether a time is within.
    pub fn contains(&self, at: OffsetDateTime) -> bool {
        self.not_before <= at && at <= self.not_after
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publisher => "publisher",
            Self::Node => "node",
            Self::Validator => "validator",
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.subject, self.fingerprint())
    }
}

#[cfg(test)]
mod tests;
