//! One question about one certificate, as the command `trust verify` and its batches ask it: does this path hold?
//!
//! Two profiles judge. `trustchain` is what hosts and extensions themselves use: strict X.509 with Ed25519 keys, and both
//! algorithms unless the case says that classical paths are looked at. `webpki` is rustls-webpki alone, with the algorithms
//! of the public web. A case that cannot be read is refused like any other, with the reason.

use std::path::Path;

use time::OffsetDateTime;
use trustchain::certificate::{Certificate, Purpose};
use trustchain::path::{Chain, Crls, Hybrid, PathError, Request, Revocation, Roots};
use trustchain::web::{self, WebRequest};

use super::issue::purpose_of;
use super::{Anchors, TrustError};

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// TrustChain's own rules.
    TrustChain(Hybrid),
    /// rustls-webpki alone.
    WebPki,
}

/// A path to be judged: certificates and lists in DER.
#[derive(Clone, Debug)]
pub struct Case {
    /// The roots.
    pub roots: Vec<Vec<u8>>,
    /// What came with the leaf.
    pub intermediates: Vec<Vec<u8>>,
    /// The certificate in question.
    pub leaf: Vec<u8>,
    /// X.509 revocation lists; none to look at no revocation.
    pub crls: Vec<Vec<u8>>,
    /// The time for which the answer holds.
    pub at: OffsetDateTime,
    /// The extended usage as a dotted object identifier; what the leaf says it is for if not given.
    pub usage: Option<String>,
    /// The domain or address that the leaf must speak for.
    pub name: Option<String>,
    /// Who judges.
    pub profile: Profile,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The path holds: its subjects, leaf to root.
    Success {
        /// The subjects.
        path: Vec<String>,
    },
    /// It does not.
    Failure {
        /// The stable name of the fault, such as `EXPIRED`.
        fault: &'static str,
        /// The reason, for people.
        reason: String,
    },
}

impl Case {
    /// Judges.
    pub fn judge(&self) -> Verdict {
        match self.profile {
            Profile::TrustChain(hybrid) => self.trustchain(hybrid).unwrap_or_else(|failure| failure),
            Profile::WebPki => self.webpki(),
        }
    }

    fn trustchain(&self, hybrid: Hybrid) -> Result<Verdict, Verdict> {
        let roots = Roots::new(parse_all("a root", &self.roots)?, hybrid);
        let roots = roots.map_err(|error| Verdict::failure("NOT_A_ROOT", &error))?;
        let leaf = parse("the leaf", &self.leaf)?;
        let intermediates = parse_all("an intermediate", &self.intermediates)?;
        let crls = match &self.crls[..] {
            [] => None,
            lists => Some(Crls::parse(lists.iter().map(Vec::as_slice))),
        };
        let crls = crls.transpose().map_err(|error| malformed("a revocation list", &error))?;
        let purpose = purpose_for(&leaf, self.usage.as_deref())?;
        let revocation = crls.as_ref().map_or(Revocation::Unchecked, Revocation::Crls);
        let request = Request { leaf: &leaf, intermediates: &intermediates, purpose, at: self.at, revocation };
        let chain = roots.validate(&request).map_err(|error| Verdict::path(&error))?;
        self.name.as_deref().map_or(Ok(()), |name| expect_name(&leaf, name))?;
        Ok(Verdict::success(&chain))
    }

    fn webpki(&self) -> Verdict {
        let request = WebRequest {
            roots: &self.roots,
            intermediates: &self.intermediates,
            leaf: &self.leaf,
            crls: &self.crls,
            at: self.at,
            usage: self.usage.as_deref(),
            name: self.name.as_deref(),
        };
        match web::validate(&request) {
            Ok(path) => Verdict::Success { path },
            Err(error) => Verdict::failure(error.fault(), &error),
        }
    }
}

impl Verdict {
    /// Judges a certificate by what a home believes: the leaf first, then what came along, in DER.
    ///
    /// # Errors
    /// The home believes nobody, or a file of its cannot be read.
    pub fn by_home(
        home: &Path,
        chain: &[Vec<u8>],
        usage: Option<&str>,
        name: Option<&str>,
        at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Self, TrustError> {
        let anchors = Anchors::read(home, now)?;
        let judge = || {
            let chain = parse_all("a certificate", chain)?;
            let (leaf, intermediates) = chain
                .split_first()
                .ok_or_else(|| Self::Failure { fault: "MALFORMED", reason: "there is no certificate".to_owned() })?;
            let purpose = purpose_for(leaf, usage)?;
            let validated = anchors.validate(leaf, intermediates, purpose, at).map_err(|error| Self::path(&error))?;
            name.map_or(Ok(()), |name| expect_name(leaf, name))?;
            Ok(Self::success(&validated))
        };
        Ok(judge().unwrap_or_else(|failure: Self| failure))
    }

    fn success(chain: &Chain) -> Self {
        Self::Success { path: chain.certificates().iter().map(|one| one.subject().to_owned()).collect() }
    }

    fn path(error: &PathError) -> Self {
        Self::failure(fault_of(error), error)
    }

    fn failure(fault: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Failure { fault, reason: reason_of(error) }
    }
}

/// Gives the dotted object identifier of a usage: a name of TrustChain or of RFC 5280, or an identifier as it is.
pub fn usage_of(text: &str) -> Option<String> {
    let known = [
        ("publisher", "1.3.6.1.5.5.7.3.3"),
        ("codesigning", "1.3.6.1.5.5.7.3.3"),
        ("node", "1.3.6.1.5.5.7.3.1"),
        ("serverauth", "1.3.6.1.5.5.7.3.1"),
        ("clientauth", "1.3.6.1.5.5.7.3.2"),
        ("emailprotection", "1.3.6.1.5.5.7.3.4"),
        ("timestamping", "1.3.6.1.5.5.7.3.8"),
        ("ocspsigning", "1.3.6.1.5.5.7.3.9"),
        ("anyextendedkeyusage", "2.5.29.37.0"),
        ("validator", Purpose::Validator.extended_usages()[0]),
    ];
    let plain: String = text.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_lowercase();
    let named = known.into_iter().find(|(name, _)| *name == plain).map(|(_, oid)| oid.to_owned());
    let dotted = text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    named.or_else(|| dotted.then(|| text.to_owned()))
}

/// Names the fault of a path.
fn fault_of(error: &PathError) -> &'static str {
    match error {
        PathError::Expired { .. } => "EXPIRED",
        PathError::NotYetValid { .. } => "NOT_YET_VALID",
        PathError::Revoked { .. } => "REVOKED",
        PathError::RevocationUnknown { .. } => "REVOCATION_UNKNOWN",
        PathError::RevocationStale { .. } => "REVOCATION_STALE",
        PathError::RevocationForged => "REVOCATION_FORGED",
        PathError::WrongUsage { .. } => "WRONG_USAGE",
        PathError::OutsideNamespace { .. } => "OUTSIDE_NAMESPACE",
        PathError::TooLong { .. } | PathError::TooManyIntermediates { .. } => "PATH_TOO_LONG",
        PathError::UnknownCritical { .. } => "UNKNOWN_CRITICAL_EXTENSION",
        PathError::UnknownIssuer { .. } => "UNKNOWN_ISSUER",
        PathError::Forged { .. } => "FORGED",
        PathError::AlternativeForged { .. } => "ALTERNATIVE_FORGED",
        PathError::ClassicalOnly { .. } => "CLASSICAL_ONLY",
        PathError::WrongRole { .. } => "WRONG_ROLE",
        PathError::Profile { .. } => "OUTSIDE_PROFILE",
        PathError::NotInRootSet { .. } => "NOT_IN_ROOT_SET",
        _ => "REFUSED",
    }
}

fn parse(what: &str, der: &[u8]) -> Result<Certificate, Verdict> {
    Certificate::parse(der).map_err(|error| malformed(what, &error))
}

fn parse_all(what: &str, ders: &[Vec<u8>]) -> Result<Vec<Certificate>, Verdict> {
    ders.iter().map(|der| parse(what, der)).collect()
}

/// Finds the purpose of a usage, or that of the leaf.
fn purpose_for(leaf: &Certificate, usage: Option<&str>) -> Result<Purpose, Verdict> {
    let Some(usage) = usage else { return Ok(purpose_of(leaf)) };
    Purpose::ALL.into_iter().find(|purpose| purpose.extended_usages().contains(&usage)).ok_or_else(|| {
        let reason = format!("TrustChain has no certificates for usage `{usage}`");
        Verdict::Failure { fault: "UNKNOWN_USAGE", reason }
    })
}

fn expect_name(leaf: &Certificate, name: &str) -> Result<(), Verdict> {
    if leaf.speaks_for(name) {
        return Ok(());
    }
    let names: Vec<String> = leaf.names().iter().map(ToString::to_string).collect();
    let reason = format!("the certificate of `{}` speaks for `{}`, not for `{name}`", leaf.subject(), names.join(", "));
    Err(Verdict::Failure { fault: "WRONG_NAME", reason })
}

/// Puts an error and its causes into one line.
fn reason_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |reason, cause| format!("{reason}: {cause}"))
}

fn malformed(what: &str, error: &dyn std::error::Error) -> Verdict {
    Verdict::Failure { fault: "MALFORMED", reason: format!("{what} cannot be read: {}", reason_of(error)) }
}
