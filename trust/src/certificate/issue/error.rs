//! Why a certificate is not issued.

use crate::certificate::{CertificateError, Purpose};
use crate::entropy::EntropyError;
use crate::hybrid::HybridError;

/// Why a certificate is not issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The keys are not the certificate's.
    #[error("the keys are not those of `{subject}`")]
    Keys {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate does not issue.
    #[error("`{subject}` is not an authority with both keys")]
    NotAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// The path length does not allow another authority.
    #[error("`{issuer}` allows `{allowed}` authorities below it, and one that allows `{asked}` more was asked for")]
    PathLength {
        /// The issuer.
        issuer: String,
        /// How many it allows.
        allowed: u32,
        /// What was asked for.
        asked: u8,
    },
    /// The issuer may not speak for a name.
    #[error("`{issuer}` is limited to other domains than `{name}`")]
    OutsideNamespace {
        /// The issuer.
        issuer: String,
        /// The name.
        name: String,
    },
    /// The issuer is not for this purpose.
    #[error("`{issuer}` does not issue certificates of a {purpose}")]
    Purpose {
        /// The issuer.
        issuer: String,
        /// What was asked for.
        purpose: Purpose,
    },
    /// The certificate would be valid when its issuer is not.
    #[error("the validity asked for is not within that of `{issuer}`")]
    Validity {
        /// The issuer.
        issuer: String,
    },
    /// Only nodes and publishers may have one key.
    #[error("a {purpose} needs both keys")]
    ClassicalKey {
        /// What was asked for.
        purpose: Purpose,
    },
    /// A leaf needs a name.
    #[error("a certificate of a {purpose} needs a domain or an address")]
    Nameless {
        /// What was asked for.
        purpose: Purpose,
    },
    /// The library does not build it.
    #[error("the certificate cannot be built")]
    Build(#[from] rcgen::Error),
    /// The two builds differ, or the result breaks the profile.
    #[error("the certificate built is not one: {reason}")]
    Unstable {
        /// What is wrong.
        reason: &'static str,
    },
    /// The result breaks the profile.
    #[error("the certificate asked for is outside the profile")]
    Profile(#[from] CertificateError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] HybridError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}
