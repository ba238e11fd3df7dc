//! Signatures of publishers over extension libraries, and the proof that one was checked.
//!
//! A publisher signs a [`Subject`]: id, version, contract version, the BLAKE3 digests of the library and of every worker. It
//! travels as a `trustchain` document: both signatures, Ed25519 and FALCON-1024, over the same bytes, and the publisher's
//! certificate chain. [`verify`] hashes the bytes that will be loaded, compares them with manifest and subject, checks
//! signatures, chain and revocation by what the home believes, and gives a [`Verified`], the only thing a loader accepts.
//! Nothing here opens the library.

use std::path::Path;

use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use trustchain::certificate::{Fingerprint, Purpose};
use trustchain::document::{DOCUMENT_BYTES_MAX, Document};
use trustchain::envelope::{EnvelopeError, VerifyOptions};
use trustchain::path::{PathError, Revocation};

use crate::manifest::{Digest, ExtensionId, Manifest, Trust};
use crate::trust::{Anchors, Signer, TrustError};

/// The media type of a signed subject; its version changes when a field does.
pub const KIND: &str = "application/vnd.hypermesh.extension.v1+json";
/// The largest signature in bytes; one with a chain of two and 16 workers is below 16 KiB.
pub const SIGNATURE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

/// What a publisher signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The id of the extension.
    pub id: ExtensionId,
    /// Its version.
    pub version: Version,
    /// The version of the extension contract it was built against.
    pub contract: Version,
    /// BLAKE3 of the library.
    pub library: Digest,
    /// BLAKE3 of every worker, sorted.
    pub workers: Vec<Digest>,
}

/// The proof that these bytes are the ones the manifest means and that someone the host trusts stands for them.
///
/// Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    library: Digest,
    voucher: Voucher,
}

/// Who stands for a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// A publisher, with both keys of a certificate.
    Publisher {
        /// The certificate.
        certificate: Fingerprint,
        /// Its subject.
        subject: String,
        /// The version of the extension contract the publisher built against.
        contract: Version,
    },
    /// The administrator, by the digest in a manifest with `trust: basic`.
    Administrator,
}

/// Why a library is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The library is not the one of the manifest.
    #[error("the library is `{actual}`, and the manifest names `{expected}`")]
    WrongDigest {
        /// The digest in the manifest.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// There is no signature, and the manifest requires one.
    #[error("the library of `{id}` is not signed, and its manifest requires a signature")]
    Unsigned {
        /// The extension.
        id: String,
    },
    /// The signature is over something else.
    #[error("the signature is for {field} `{signed}`, expected `{expected}`")]
    WrongSubject {
        /// What differs.
        field: &'static str,
        /// What was signed.
        signed: String,
        /// What the manifest says.
        expected: String,
    },
    /// The signature is malformed, forged, or of somebody nobody stands for.
    #[error("the signature of the library is not trusted")]
    Refused(#[from] EnvelopeError),
    /// What the home believes cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Subject {
    /// Takes the subject from a manifest whose digests are those of the files.
    pub fn of(manifest: &Manifest, contract: Version) -> Self {
        Self {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            contract,
            library: manifest.library.digest,
            workers: workers(manifest),
        }
    }

    /// Signs the subject.
    ///
    /// # Errors
    /// Keys that do not open or are not the certificate's.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, TrustError> {
        signer.seal(KIND, self, OffsetDateTime::now_utc())
    }

    /// Checks that the subject is the extension of a manifest.
    fn expect_manifest(&self, manifest: &Manifest) -> Result<(), SignatureError> {
        let list = |digests: &[Digest]| digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(" ");
        let fields = [
            ("id", self.id.to_string(), manifest.id.to_string()),
            ("version", self.version.to_string(), manifest.version.to_string()),
            ("library", self.library.to_string(), manifest.library.digest.to_string()),
            ("workers", list(&self.workers), list(&workers(manifest))),
        ];
        match fields.into_iter().find(|(_, signed, expected)| signed != expected) {
            Some((field, signed, expected)) => Err(SignatureError::WrongSubject { field, signed, expected }),
            None => Ok(()),
        }
    }
}

/// Checks a library, by the digest of its bytes, against its manifest and, unless the manifest says `trust: basic`, its signature, by what a home
/// believes at a time.
///
/// With `trust: basic` a signature is not looked at: a wrong one is not better than none. Digests of workers are covered by
/// the signature; the bytes of a worker are checked against the manifest when it is started. Takes about 1 ms.
///
/// # Errors
/// The first reason not to trust the library.
pub fn verify(
    manifest: &Manifest,
    library: Digest,
    signature: Option<&[u8]>,
    home: &Path,
    now: OffsetDateTime,
) -> Result<Verified, SignatureError> {
    let (expected, actual) = (manifest.library.digest, library);
    if actual != expected {
        return Err(SignatureError::WrongDigest { expected, actual });
    }
    let voucher = match (manifest.trust, signature) {
        (Trust::Basic, _) => Voucher::Administrator,
        (Trust::Required, None) => return Err(SignatureError::Unsigned { id: manifest.id.to_string() }),
        (Trust::Required, Some(signature)) => publisher(manifest, signature, &Anchors::read(home, now)?)?,
    };
    Ok(Verified { library: actual, voucher })
}

fn publisher(manifest: &Manifest, signature: &[u8], anchors: &Anchors) -> Result<Voucher, SignatureError> {
    let document = Document::<Subject>::parse(signature, KIND)?;
    document.claimed().expect_manifest(manifest)?;
    let lists = anchors.lists(document.chain().get(1..).unwrap_or_default());
    let verified = document.verify(
        Purpose::Publisher,
        &VerifyOptions {
            roots: anchors.roots(),
            chain: None,
            at: anchors.now(),
            revocation: Revocation::Lists { lists: &lists, now: anchors.now() },
        },
    )?;
    let (certificate, subject) = (verified.signer().fingerprint(), verified.signer().subject().to_owned());
    Ok(Voucher::Publisher { certificate, subject, contract: verified.into_value().contract })
}

impl Verified {
    /// Gives the digest of the bytes that may be loaded.
    pub fn library(&self) -> Digest {
        self.library
    }

    /// Says who stands for them.
    pub fn voucher(&self) -> &Voucher {
        &self.voucher
    }
}

impl Voucher {
    /// Gives the certificate that stands for the library, for records.
    pub fn certificate(&self) -> Option<String> {
        match self {
            Self::Publisher { certificate, .. } => Some(certificate.to_string()),
            Self::Administrator => None,
        }
    }
}

impl SignatureError {
    /// Says what an administrator can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Trust(TrustError::Uninitialized { .. }) => {
                "make certificates with `host-sim trust init`, or copy the publisher's root to `HOME/trust/roots/`"
            }
            Self::Refused(EnvelopeError::Untrusted(error)) => match error {
                PathError::UnknownIssuer { .. } | PathError::Forged { .. } => {
                    "to believe the publisher, copy its root to `HOME/trust/roots/` and its lists to `HOME/trust/lists/`"
                }
                PathError::Expired { .. } => {
                    "the publisher signs again under a new certificate: `host-sim trust renew`"
                }
                PathError::RevocationStale { .. } | PathError::RevocationUnknown { .. } => {
                    "copy its newest list to `HOME/trust/lists/`; `host-sim trust crl --renew` signs this home's own"
                }
                _ => "get the bundle again from its publisher",
            },
            _ => "get the bundle again from its publisher",
        }
    }
}

fn workers(manifest: &Manifest) -> Vec<Digest> {
    let mut digests: Vec<_> = manifest.workers.iter().map(|worker| worker.digest).collect();
    digests.sort();
    digests
}

#[cfg(test)]
mod tests;
