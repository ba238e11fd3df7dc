//! Certificates as text (RFC 7468), several in one file.

use data_encoding::BASE64;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use super::{Certificate, CertificateError};

/// The largest file in bytes.
pub const PEM_BYTES_MAX: usize = 512 * 1024;
/// The largest file of X.509 revocation lists in bytes: the largest list that a path is validated with has 1.4 MB as text.
pub const CRLS_PEM_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most certificates in one file.
pub const PEM_CERTIFICATES_MAX: usize = 32;
/// Characters in a line.
const LINE_CHARS: usize = 64;

/// Why a file holds no certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// Too many bytes.
    #[error("a file of this kind has at most {most} bytes, this one has `{actual}`")]
    TooLarge {
        /// How many there are.
        actual: usize,
        /// How many there may be.
        most: usize,
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
    certificates.into_iter().map(|certificate| section("CERTIFICATE", certificate.der())).collect()
}

/// Writes an X.509 revocation list in DER as text.
pub fn crl_to_pem(der: &[u8]) -> String {
    section("X509 CRL", der)
}

/// Reads every certificate of a file; other sections and text between them are skipped.
///
/// # Errors
/// None, too many, or the first that cannot be read.
pub fn from_pem(text: &[u8]) -> Result<Vec<Certificate>, PemError> {
    let parse = |(index, der): (usize, Vec<u8>)| {
        Certificate::parse(&der).map_err(|source| PemError::Certificate { index, source })
    };
    ders_from_pem(text)?.into_iter().enumerate().map(parse).collect()
}

/// Reads the DER of every certificate of a file, whatever is in it.
///
/// # Errors
/// None, too many, or the first that is not PEM.
pub fn ders_from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    sections::<CertificateDer<'static>>(text, PEM_BYTES_MAX)
        .and_then(|found| if found.is_empty() { Err(PemError::Empty) } else { Ok(found) })
}

/// Reads the DER of every X.509 revocation list of a file; there may be none.
///
/// # Errors
/// Too many, or the first that is not PEM.
pub fn crls_from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    sections::<CertificateRevocationListDer<'static>>(text, CRLS_PEM_BYTES_MAX)
}

fn sections<T: PemObject + AsRef<[u8]>>(text: &[u8], most: usize) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > most {
        return Err(PemError::TooLarge { actual: text.len(), most });
    }
    let mut found = Vec::new();
    for (index, der) in T::pem_slice_iter(text).enumerate() {
        if index == PEM_CERTIFICATES_MAX {
            return Err(PemError::TooMany);
        }
        let der = der.map_err(|error| PemError::Text { index, reason: error.to_string() })?;
        found.push(der.as_ref().to_vec());
    }
    Ok(found)
}

fn section(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let lines = base64.as_bytes().chunks(LINE_CHARS).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}
