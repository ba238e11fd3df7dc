//! Certificates as text (RFC 7468), several in one file.

use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{Certificate, CertificateError};

/// The largest file in bytes.
pub const PEM_BYTES_MAX: usize = 512 * 1024;
/// The most certificates in one file.
pub const PEM_CERTIFICATES_MAX: usize = 32;
/// Characters in a line.
const LINE_CHARS: usize = 64;

/// Why a file holds no certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// Too many bytes.
    #[error("a file of certificates has at most 524288 bytes, this one has `{actual}`")]
    TooLarge {
        /// How many there are.
        actual: usize,
    },
    /// Too many certificates.
    #[error("a file has at most 32 certificates")]
    TooMany,
    /// No certificate at all.
    #[error("the file holds no `BEGIN CERTIFICATE`")]
    Empty,
    /// The text is not PEM.
    #[error("certificate `{index}` of the file is malformed: {reason}")]
    Text {
        /// Which, from 0.
        index: usize,
        /// What the parser says.
        reason: String,
    },
    /// The bytes inside are no certificate.
    #[error("certificate `{index}` of the file cannot be read")]
    Certificate {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        source: CertificateError,
    },
}

/// Writes certificates one below the other.
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = BASE64.encode(certificate.der());
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, below) = rest.split_at(rest.len().min(LINE_CHARS));
            text.push_str(line);
            text.push('\n');
            rest = below;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Reads every certificate of a file; other sections and text between them are skipped.
///
/// # Errors
/// None, too many, or the first that cannot be read.
pub fn from_pem(text: &[u8]) -> Result<Vec<Certificate>, PemError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(PemError::TooLarge { actual: text.len() });
    }
    let mut certificates = Vec::new();
    for (index, der) in CertificateDer::pem_slice_iter(text).enumerate() {
        if index == PEM_CERTIFICATES_MAX {
            return Err(PemError::TooMany);
        }
        let der = der.map_err(|error| PemError::Text { index, reason: error.to_string() })?;
        certificates.push(Certificate::parse(&der).map_err(|source| PemError::Certificate { index, source })?);
    }
    if certificates.is_empty() { Err(PemError::Empty) } else { Ok(certificates) }
}
