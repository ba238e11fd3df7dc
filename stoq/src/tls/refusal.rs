//! Every reason why a peer is not believed, by name.

use std::sync::Arc;

use rustls::{AlertDescription, CertificateError as TlsCertificateError};
use trustchain::certificate::CertificateError;
use trustchain::path::{INTERMEDIATES_MAX, PathError};

use crate::PeerId;

/// Why a peer is not believed, or does not believe this node.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No authority stands for its certificate.
    #[error("its certificate does not hold: {source}")]
    Path {
        /// Why.
        source: Arc<PathError>,
    },
    /// One of its certificates cannot be read.
    #[error("its certificate `{position}` cannot be read: {source}")]
    Unreadable {
        /// Which, from 0 for the leaf.
        position: usize,
        /// Why.
        source: Arc<CertificateError>,
    },
    /// It sent too many certificates.
    #[error("it sent `{actual}` certificates, at most {} are looked at", INTERMEDIATES_MAX + 1)]
    Count {
        /// How many.
        actual: usize,
    },
    /// It is another node than the one that was dialed.
    #[error("it is `{actual}`, not `{expected}`")]
    WrongPeer {
        /// Who was dialed.
        expected: Box<PeerId>,
        /// Who answered.
        actual: Box<PeerId>,
    },
    /// Its certificate has no FALCON key, and one is required.
    #[error("its certificate has no FALCON-1024 key, and this node requires one of its peers")]
    Classical,
    /// It did not prove the FALCON key of its certificate.
    #[error("it did not prove the FALCON-1024 key of its certificate: {reason}")]
    Unproven {
        /// What is wrong.
        reason: String,
    },
    /// Its hello is none.
    #[error("its hello is refused: {reason}")]
    Hello {
        /// What is wrong.
        reason: String,
    },
    /// TLS ended with an alert, by either side.
    #[error("TLS ended with the alert `{name}`: {reason}")]
    Alert {
        /// The alert by name.
        name: &'static str,
        /// What was said about it.
        reason: String,
    },
    /// There is no time by which it could be judged.
    #[error("this node has no time by which a certificate could be judged")]
    NoTime,
    /// It took too long.
    #[error("it took longer than `{limit_ms}` ms from its first packet to its hello")]
    Slow {
        /// The limit.
        limit_ms: u128,
    },
}

impl Refusal {
    /// Gives the name under which it is counted, such as `expired`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Path { source } => path_name(source),
            Self::Unreadable { .. } => "unreadable-certificate",
            Self::Count { .. } => "too-many-certificates",
            Self::WrongPeer { .. } => "wrong-peer",
            Self::Classical => "classical-only",
            Self::Unproven { .. } => "falcon-unproven",
            Self::Hello { .. } => "hello",
            Self::Alert { name, .. } => name,
            Self::NoTime => "no-time",
            Self::Slow { .. } => "slow",
        }
    }

    /// Takes the alert of a handshake that failed (RFC 8446, 6.2).
    pub(crate) fn alert(code: u8, reason: String) -> Self {
        let name = match AlertDescription::from(code) {
            AlertDescription::HandshakeFailure => "no-common-key-exchange",
            AlertDescription::BadCertificate => "bad-certificate",
            AlertDescription::UnsupportedCertificate => "wrong-usage",
            AlertDescription::CertificateRevoked => "revoked",
            AlertDescription::CertificateExpired => "expired",
            AlertDescription::CertificateUnknown => "certificate-refused",
            AlertDescription::UnknownCA => "unknown-issuer",
            AlertDescription::AccessDenied => "access-denied",
            AlertDescription::DecryptError => "wrong-key",
            AlertDescription::CertificateRequired => "no-certificate",
            AlertDescription::NoApplicationProtocol => "unknown-protocol",
            _ => "tls",
        };
        Self::Alert { name, reason }
    }

    /// Gives what rustls says to the peer, an alert; the reason itself stays here.
    pub(crate) fn to_tls(&self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::Path { source } => match &**source {
                PathError::Expired { .. } => TlsCertificateError::Expired,
                PathError::NotYetValid { .. } => TlsCertificateError::NotValidYet,
                PathError::Revoked { .. } => TlsCertificateError::Revoked,
                PathError::RevocationUnknown { .. } => TlsCertificateError::UnknownRevocationStatus,
                PathError::RevocationStale { .. } => TlsCertificateError::ExpiredRevocationList,
                PathError::WrongUsage { .. } => TlsCertificateError::InvalidPurpose,
                PathError::UnknownIssuer { .. } => TlsCertificateError::UnknownIssuer,
                _ => TlsCertificateError::BadEncoding,
            },
            Self::Unreadable { .. } | Self::Count { .. } => TlsCertificateError::BadEncoding,
            _ => TlsCertificateError::ApplicationVerificationFailure,
        })
    }
}

fn path_name(error: &PathError) -> &'static str {
    match error {
        PathError::Expired { .. } => "expired",
        PathError::NotYetValid { .. } => "not-yet-valid",
        PathError::Revoked { .. } => "revoked",
        PathError::RevocationUnknown { .. } => "revocation-unknown",
        PathError::RevocationStale { .. } => "revocation-stale",
        PathError::RevocationForged => "revocation-forged",
        PathError::WrongUsage { .. } => "wrong-usage",
        PathError::OutsideNamespace { .. } => "outside-namespace",
        PathError::TooLong { .. } | PathError::TooManyIntermediates { .. } => "path-too-long",
        PathError::UnknownCritical { .. } => "unknown-critical-extension",
        PathError::UnknownIssuer { .. } => "unknown-issuer",
        PathError::Forged { .. } | PathError::AlternativeForged { .. } => "forged",
        PathError::ClassicalOnly { .. } => "classical-only",
        PathError::WrongRole { .. } => "wrong-role",
        _ => "profile",
    }
}
