//! What is known about a release when a policy decides about it.

use time::OffsetDateTime;

use super::{Check, Severity, Use, Violation};
use crate::digest::Digest;
use crate::package::Package;
use crate::package::analyse::Analyser;
use crate::package::name::PackageName;

/// Everything that a policy looks at.
pub struct Evidence<'a> {
    /// What the release is wanted for.
    pub wanted: Use,
    /// The package.
    pub package: &'a Package,
    /// The digest of its archive: what the decision is about.
    pub digest: Digest,
    /// Bytes of the archive's tar.
    pub size_bytes: u64,
    /// Its files.
    pub files: Vec<&'a str>,
    /// Who vouches for it, or what is wrong with whoever claims to.
    pub signer: Result<Signer, Fault>,
    /// Where the release stands in its publisher's feed, or why that says nothing.
    pub freshness: Result<String, Fault>,
    /// Advisories that affect the version, and how many are known at all.
    pub vulnerabilities: Vec<Vulnerability>,
    /// How many advisories this node knows; with none, nothing can be found.
    pub advisories: u64,
    /// The publisher's reputation, 0 to 1.
    pub reputation: f64,
    /// What the validators agreed to at publication, or why they are not believed.
    pub consensus: Result<String, String>,
    /// To whom the package belongs; none if nobody has signed a release of it before.
    pub ownership: Option<Ownership>,
    /// The publisher and keys of the first release of this publisher under the name that was accepted here.
    pub pin: Option<Pin>,
    /// A package of another publisher whose name this new one could be mistaken for.
    pub lookalike: Option<PackageName>,
    /// Scores of the package's analysers, 0 to 100, taken when a rule asks.
    pub score: &'a dyn Fn(Analyser) -> u8,
}

/// Who vouches for a release, after every signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The publisher's domain, such as `acme.pub.trustchain`.
    pub publisher: String,
    /// The subject of its certificate.
    pub subject: String,
    /// The subjects of its chain, leaf to root.
    pub path: Vec<String>,
    /// The SHA-256 of its keys: of both, or of its one.
    pub keys: String,
    /// When its certificate ends.
    pub expires: OffsetDateTime,
    /// The algorithms by which the whole chain is vouched for.
    pub algorithms: Vec<&'static str>,
    /// When it signed, by its own clock.
    pub signed_at: OffsetDateTime,
}

/// To whom a package belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Its owners, the longest one first.
    pub owners: Vec<String>,
    /// The release is of one of them, or of one who was an owner when it released it.
    pub is_theirs: bool,
}

/// What is wrong, with which check, and what HyperMesh calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The check that failed.
    pub check: Check,
    /// Its name.
    pub violation: Violation,
    /// For people.
    pub reason: String,
}

/// An advisory that affects the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vulnerability {
    /// Its id.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
}

/// A publisher and its keys, as its first accepted release of a package had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The publisher's domain.
    pub publisher: String,
    /// The SHA-256 of both keys, or of the one.
    pub keys: String,
}
