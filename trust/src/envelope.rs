//! Release statements: who vouches for which bytes as which version of which package.
//!
//! A [`Release`] is written as an in-toto Statement v1 in canonical JSON and signed by every key of a publisher's leaf. The
//! publisher's chain travels along, or by its digest where chains are stored once. The statement names the leaf's
//! fingerprint, so the same signature cannot be shown under another certificate of the same keys.
//!
//! [`Envelope::verify`] is the only maker of a [`VerifiedRelease`], which says who signed, by which algorithms and under which
//! chain. A leaf with both keys signs with both, whatever the roots say; a leaf with one key is believed only below roots that
//! are pinned with [`Hybrid::IfPresent`], and its statement has one signature.

mod statement;

use data_encoding::BASE64;
use sha2::Digest as _;
use time::OffsetDateTime;

use crate::canonical::CanonicalError;
use crate::certificate::{Certificate, CertificateError, Fingerprint, Purpose};
use crate::digest::{Artifact, Sha256};
use crate::dsse::{self, Document, DsseError};
use crate::hybrid::HybridError;
use crate::moment::shown;
use crate::path::{Chain, Hybrid, INTERMEDIATES_MAX, PathError, Request, Revocation, Roots};
use crate::signer::{PublicKeys, Signature, SignerKeys};

pub use self::statement::{NAME_CHARS_MAX, PREDICATE_TYPE, Release, STATEMENT_TYPE, StatementError, TOOL_CHARS_MAX};

/// The media type of the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The largest envelope in bytes; one with a chain of two has about 12,000.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;

/// An envelope whose form is right and whose signatures nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    document: Document<Signature>,
    release: Release,
    signer: Fingerprint,
    chain: ChainReference,
}

/// How an envelope names its signer's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainReference {
    /// The certificates themselves, leaf first, without the root.
    Inline(Vec<Certificate>),
    /// Their digest, see [`chain_digest`].
    Digest(Sha256),
}

/// How a chain is to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainForm {
    /// In the envelope.
    Inline,
    /// Apart, named by digest.
    Digest,
}

/// A release that its publisher vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRelease {
    release: Release,
    algorithms: &'static [&'static str],
    chain: Chain,
}

/// What verification needs besides the envelope.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions<'a> {
    /// The roots.
    pub roots: &'a Roots,
    /// The certificates that the digest means, if the chain travels apart.
    pub chain: Option<&'a [Certificate]>,
    /// The time for which the answer holds: now, or when somebody trusted saw the envelope.
    pub at: OffsetDateTime,
    /// How revocation is checked.
    pub revocation: Revocation<'a>,
}

/// Why an envelope vouches for nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The envelope or its signatures are wrong.
    #[error(transparent)]
    Document(#[from] DsseError),
    /// The statement inside is wrong.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A certificate of the chain cannot be read.
    #[error("certificate `{index}` of the signer's chain cannot be read")]
    Certificate {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// There is no chain, or not the right one.
    #[error("the signer's chain is not usable: {reason}")]
    Chain {
        /// What is wrong.
        reason: &'static str,
    },
    /// Nobody stands for the signer.
    #[error("the signer is not trusted")]
    Untrusted(#[from] PathError),
    /// The statement names another certificate.
    #[error("the statement was made under certificate `{named}`, and the chain is of `{actual}`")]
    OtherSigner {
        /// The certificate that it names.
        named: Fingerprint,
        /// The leaf of the chain.
        actual: Fingerprint,
    },
    /// The signer has one key, and the roots ask for both or the document has two signatures.
    #[error("`{subject}` has one key, and releases are signed with both")]
    ClassicalSigner {
        /// The signer.
        subject: String,
    },
    /// The signer may not speak for the package.
    #[error("`{subject}` does not own the namespace of package `{package}`")]
    OutsideNamespace {
        /// The signer.
        subject: String,
        /// The package.
        package: String,
    },
    /// It was signed under a certificate that was not valid then.
    #[error("the statement says it was signed at `{}`, when its certificate was not valid", shown(.signed_at))]
    SignedAt {
        /// What it says.
        signed_at: OffsetDateTime,
    },
    /// It was signed later than it is: by a clock that is ahead, or here is one that is behind. Its time will come.
    #[error("the statement says it was signed at `{}`, in the future", shown(.signed_at))]
    Ahead {
        /// What it says.
        signed_at: OffsetDateTime,
    },
    /// The keys are not the certificate's.
    #[error("the keys are not those of `{subject}`")]
    Keys {
        /// The certificate.
        subject: String,
    },
    /// Other bytes than those vouched for.
    #[error("the bytes of `{package}` have {what} `{actual}`, its publisher vouches for `{expected}`")]
    Artifact {
        /// The package and version.
        package: String,
        /// What differs.
        what: &'static str,
        /// What was vouched for.
        expected: String,
        /// What the bytes have.
        actual: String,
    },
}

/// Signs a release with every key of a publisher.
///
/// `chain` is the leaf and the intermediates above it, without the root.
///
/// # Errors
/// A release that breaks the statement's rules, keys that are not the leaf's, a chain that is empty or too long.
pub fn seal<'a>(
    release: &Release,
    chain: &[Certificate],
    form: ChainForm,
    keys: impl Into<SignerKeys<'a>>,
) -> Result<Vec<u8>, EnvelopeError> {
    let keys = keys.into();
    let leaf = expect_keys(chain, keys)?;
    let payload = statement::write(release, leaf.fingerprint())?;
    let mut envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, keys).map_err(DsseError::from)?;
    match form {
        ChainForm::Inline => envelope.x5c = Some(chain.iter().map(|c| BASE64.encode(c.der())).collect()),
        ChainForm::Digest => envelope.chain = Some(chain_digest(chain).to_string()),
    }
    Ok(envelope.write().map_err(DsseError::from)?)
}

/// Names a chain, leaf first: the SHA-256 of its certificates' SHA-256 digests, one behind the other.
pub fn chain_digest(chain: &[Certificate]) -> Sha256 {
    let fingerprints = chain.iter().map(Certificate::fingerprint);
    let hash = fingerprints.fold(sha2::Sha256::new(), |hash, fingerprint| hash.chain_update(fingerprint.as_bytes()));
    Sha256::from_bytes(hash.finalize().into())
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// Anything but the one form of an envelope with both signatures, or `ed25519` alone, and a statement.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (envelope, document) = dsse::Envelope::read_signed(bytes, ENVELOPE_BYTES_MAX, PAYLOAD_TYPE)?;
        let chain = match (envelope.x5c, envelope.chain) {
            (Some(x5c), None) => ChainReference::Inline(read_chain(&x5c)?),
            (None, Some(digest)) => {
                let fault = |_| EnvelopeError::Chain { reason: "its digest is not 64 hexadecimal digits" };
                ChainReference::Digest(digest.parse().map_err(fault)?)
            }
            _ => return Err(EnvelopeError::Chain { reason: "there is neither `x5c` nor `chain`, or both" }),
        };
        let (release, signer) = statement::read(&document.payload)?;
        Ok(Self { document, release, signer, chain })
    }

    /// Gives what is claimed; nobody has checked it.
    pub fn claimed(&self) -> &Release {
        &self.release
    }

    /// Says where the signer's chain is.
    pub fn chain(&self) -> &ChainReference {
        &self.chain
    }

    /// Checks every signature and the signer's chain.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(&self, options: &VerifyOptions<'_>) -> Result<VerifiedRelease, EnvelopeError> {
        let chain = match (&self.chain, options.chain) {
            (ChainReference::Inline(chain), _) => chain,
            (ChainReference::Digest(digest), Some(chain)) if chain_digest(chain) == *digest => chain,
            (ChainReference::Digest(_), Some(_)) => {
                return Err(EnvelopeError::Chain { reason: "the certificates given are not those of its digest" });
            }
            (ChainReference::Digest(_), None) => {
                return Err(EnvelopeError::Chain { reason: "it travels apart and was not given" });
            }
        };
        let leaf = expect_chain(chain)?;
        if leaf.fingerprint() != self.signer {
            return Err(EnvelopeError::OtherSigner { named: self.signer, actual: leaf.fingerprint() });
        }
        let subject = || leaf.subject().to_owned();
        expect_signed(&self.document, PAYLOAD_TYPE, leaf, options.roots.hybrid())?;
        expect_time(self.release.signed_at, leaf, options.at)?;
        let owns = self.release.namespace().is_none_or(|namespace| leaf.covers_namespace(namespace));
        if !owns {
            return Err(EnvelopeError::OutsideNamespace { subject: subject(), package: self.release.package.clone() });
        }
        let chain = options.roots.validate(&Request {
            leaf,
            intermediates: &chain[1..],
            purpose: Purpose::Publisher,
            at: options.at,
            revocation: options.revocation,
        })?;
        Ok(VerifiedRelease { release: self.release.clone(), algorithms: self.document.signature.algorithms(), chain })
    }
}

impl VerifiedRelease {
    /// Gives what was vouched for.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Gives the certificate that signed.
    pub fn signer(&self) -> &Certificate {
        self.chain.leaf()
    }

    /// Gives the chain, leaf to root.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Gives the algorithms of the statement's signatures.
    pub fn algorithms(&self) -> &'static [&'static str] {
        self.algorithms
    }

    /// Checks that bytes are those vouched for.
    ///
    /// # Errors
    /// [`EnvelopeError::Artifact`] with the first difference.
    pub fn expect_artifact(&self, actual: &Artifact) -> Result<(), EnvelopeError> {
        let expected = &self.release.artifact;
        let fields: [(&'static str, String, String); 3] = [
            ("size", expected.size_bytes.to_string(), actual.size_bytes.to_string()),
            ("SHA-256", expected.sha256.to_string(), actual.sha256.to_string()),
            ("BLAKE3", expected.blake3.to_string(), actual.blake3.to_string()),
        ];
        match fields.into_iter().find(|(_, expected, actual)| expected != actual) {
            None => Ok(()),
            Some((what, expected, actual)) => {
                Err(EnvelopeError::Artifact { package: self.release.to_string(), what, expected, actual })
            }
        }
    }
}

impl From<CanonicalError> for EnvelopeError {
    fn from(error: CanonicalError) -> Self {
        DsseError::from(error).into()
    }
}

impl From<HybridError> for EnvelopeError {
    fn from(error: HybridError) -> Self {
        DsseError::from(error).into()
    }
}

/// Gives the leaf of a chain whose keys these are, neither more nor fewer.
pub(crate) fn expect_keys<'a>(
    chain: &'a [Certificate],
    keys: SignerKeys<'_>,
) -> Result<&'a Certificate, EnvelopeError> {
    let leaf = expect_chain(chain)?;
    let own = PublicKeys::of(leaf) == keys.public();
    if own { Ok(leaf) } else { Err(EnvelopeError::Keys { subject: leaf.subject().to_owned() }) }
}

/// Checks that a leaf signed with every key it has, and that one key is enough for the roots if it has no more.
pub(crate) fn expect_signed(
    document: &Document<Signature>,
    payload_type: &str,
    leaf: &Certificate,
    hybrid: Hybrid,
) -> Result<(), EnvelopeError> {
    let keys = PublicKeys::of(leaf);
    let classical = || EnvelopeError::ClassicalSigner { subject: leaf.subject().to_owned() };
    match (&keys, hybrid, &document.signature) {
        (PublicKeys::Classical(_), Hybrid::Required, _)
        | (PublicKeys::Classical(_), Hybrid::IfPresent, Signature::Hybrid(_)) => Err(classical()),
        _ => Ok(document.verify(payload_type, &keys)?),
    }
}

/// Checks that a certificate was valid at the time of a signature, and that this time has come.
pub(crate) fn expect_time(
    signed_at: OffsetDateTime,
    leaf: &Certificate,
    at: OffsetDateTime,
) -> Result<(), EnvelopeError> {
    if !leaf.validity().contains(signed_at) {
        return Err(EnvelopeError::SignedAt { signed_at });
    }
    if signed_at > at.saturating_add(crate::SKEW) {
        return Err(EnvelopeError::Ahead { signed_at });
    }
    Ok(())
}

/// Reads the certificates that travel in an envelope.
pub(crate) fn read_chain(x5c: &[String]) -> Result<Vec<Certificate>, EnvelopeError> {
    if x5c.len() > 1 + INTERMEDIATES_MAX {
        return Err(EnvelopeError::Chain { reason: "it has more than 7 certificates" });
    }
    let read = |(index, text): (usize, &String)| {
        let der = dsse::decode(text, "x5c")?;
        Certificate::parse(&der).map_err(|source| EnvelopeError::Certificate { index, source })
    };
    x5c.iter().enumerate().map(read).collect()
}

/// Gives the leaf of a chain of a length that is followed.
pub(crate) fn expect_chain(chain: &[Certificate]) -> Result<&Certificate, EnvelopeError> {
    match chain {
        [] => Err(EnvelopeError::Chain { reason: "it is empty" }),
        [_, intermediates @ ..] if intermediates.len() > INTERMEDIATES_MAX => {
            Err(EnvelopeError::Chain { reason: "it has more than 7 certificates" })
        }
        [leaf, ..] => Ok(leaf),
    }
}

#[cfg(test)]
mod tests;
