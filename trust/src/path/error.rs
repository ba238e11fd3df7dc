//! Every reason why a root is none and a path is refused.

use time::OffsetDateTime;

use crate::certificate::{PemError, Purpose};
use crate::falcon::FalconError;
use crate::moment::shown;
use crate::rootset::RootSetError;

/// Why a set of roots is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// None, or too many.
    #[error("there are 1 to 32 roots, not `{actual}`")]
    Count {
        /// How many there are.
        actual: usize,
    },
    /// A text is not certificates in PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A text is no root set.
    #[error(transparent)]
    Set(#[from] RootSetError),
    /// Two sets would decide about one root.
    #[error("`{subject}` is a root of two root sets")]
    TwoSets {
        /// The root.
        subject: String,
    },
    /// A certificate that does not issue, or not by itself.
    #[error("`{subject}` is not a root: {reason}")]
    NotRoot {
        /// The certificate.
        subject: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Why nobody stands for a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Its time is over.
    #[error("the certificate of `{subject}` expired at `{}`", shown(.not_after))]
    Expired {
        /// Which certificate of the path.
        subject: String,
        /// When.
        not_after: OffsetDateTime,
    },
    /// Its time has not come.
    #[error("the certificate of `{subject}` is not valid before `{}`", shown(.not_before))]
    NotYetValid {
        /// Which certificate of the path.
        subject: String,
        /// When it will be.
        not_before: OffsetDateTime,
    },
    /// It was revoked.
    #[error("the certificate of `{subject}` was revoked")]
    Revoked {
        /// Which certificate of the path.
        subject: String,
    },
    /// No revocation list covers it.
    #[error("no revocation list covers the certificate of `{subject}`")]
    RevocationUnknown {
        /// Which certificate of the path.
        subject: String,
    },
    /// A revocation list is too old to be believed.
    #[error("the revocation list that covers the path expired at `{}`", shown(.next_update))]
    RevocationStale {
        /// When.
        next_update: OffsetDateTime,
    },
    /// A revocation list was not signed by the authority it is of.
    #[error("a revocation list was not signed by the authority it names")]
    RevocationForged,
    /// It is for something else.
    #[error("the certificate of `{subject}` is not for a {purpose}")]
    WrongUsage {
        /// Which certificate of the path.
        subject: String,
        /// What it was used for.
        purpose: Purpose,
    },
    /// It speaks for a name that its authority may not give.
    #[error("the certificate of `{subject}` speaks for `{names}`, outside the domains of its authority")]
    OutsideNamespace {
        /// The leaf.
        subject: String,
        /// Its names.
        names: String,
    },
    /// There are more authorities than one of them allows.
    #[error("the path from `{subject}` has more authorities than allowed")]
    TooLong {
        /// The leaf.
        subject: String,
    },
    /// More certificates came with it than are looked at.
    #[error("at most 6 intermediate certificates are looked at, there are `{actual}`")]
    TooManyIntermediates {
        /// How many there are.
        actual: usize,
    },
    /// It demands something that is not known here.
    #[error("the certificate of `{subject}` has the unknown critical extension `{oid}`")]
    UnknownCritical {
        /// Which certificate of the path.
        subject: String,
        /// The extension.
        oid: String,
    },
    /// No root and no intermediate is its issuer.
    #[error("nobody known issued the certificate of `{subject}`, it names `{issuer}`")]
    UnknownIssuer {
        /// The last certificate that was reached.
        subject: String,
        /// The issuer it names.
        issuer: String,
    },
    /// Its primary signature is not its issuer's.
    #[error("the `ed25519` signature of the certificate of `{subject}` is not that of `{issuer}`")]
    Forged {
        /// Which certificate of the path.
        subject: String,
        /// The issuer it names.
        issuer: String,
    },
    /// Its alternative signature is not its issuer's.
    #[error("the alternative signature of the certificate of `{subject}` is not that of `{issuer}`")]
    AlternativeForged {
        /// Which certificate of the path.
        subject: String,
        /// The issuer it names.
        issuer: String,
        /// What the primitive says.
        #[source]
        source: FalconError,
    },
    /// It has one key or one signature where both are pinned.
    #[error("the certificate of `{subject}` is classical only, and the roots require both algorithms")]
    ClassicalOnly {
        /// Which certificate of the path.
        subject: String,
    },
    /// A certificate on the way does not issue, or the one at the end does.
    #[error("the certificate of `{subject}` is in the wrong place: {reason}")]
    WrongRole {
        /// Which certificate of the path.
        subject: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// It breaks a rule of the profile.
    #[error("the certificate of `{subject}` is outside the profile: {reason}")]
    Profile {
        /// Which certificate of the path.
        subject: String,
        /// The rule.
        reason: &'static str,
    },
    /// The root is one of a set, which does not name the authority below it.
    #[error("root set {version} does not name the authority `{subject}`; one root alone is not enough")]
    NotInRootSet {
        /// The authority, or a leaf right below the root.
        subject: String,
        /// The number of the set.
        version: u64,
    },
    /// Anything else the path builder refuses, its budgets included.
    #[error("the path from `{subject}` is refused")]
    Refused {
        /// The leaf.
        subject: String,
        /// Why.
        #[source]
        source: webpki::Error,
    },
}
