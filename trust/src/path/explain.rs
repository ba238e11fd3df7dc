//! From webpki's error, which names no certificate, to one of ours, which does.

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use webpki::Error;

use super::{PathError, Request, Revocation, Roots};
use crate::certificate::{Certificate, Role};

/// Explains a refusal by looking again at what was given.
pub(super) fn explain(error: Error, request: &Request<'_>, roots: &Roots) -> PathError {
    let leaf = || request.leaf.subject().to_owned();
    let which = |wrong: &dyn Fn(&Certificate) -> bool| {
        let found = given(request).find(|certificate| wrong(certificate));
        found.unwrap_or(request.leaf).subject().to_owned()
    };
    match error {
        Error::CertExpired { not_after, .. } => {
            let not_after = moment(not_after);
            PathError::Expired { subject: which(&|c| c.validity().not_after == not_after), not_after }
        }
        Error::CertNotValidYet { not_before, .. } => {
            let not_before = moment(not_before);
            PathError::NotYetValid { subject: which(&|c| c.validity().not_before == not_before), not_before }
        }
        Error::CertRevoked => PathError::Revoked { subject: which(&|c| crls(request, |crls| crls.revokes(c))) },
        Error::UnknownRevocationStatus => {
            PathError::RevocationUnknown { subject: which(&|c| crls(request, |crls| !crls.cover(c))) }
        }
        Error::CrlExpired { next_update, .. } => PathError::RevocationStale { next_update: moment(next_update) },
        Error::InvalidCrlSignatureForPublicKey | Error::IssuerNotCrlSigner => PathError::RevocationForged,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            let wanted = request.purpose.extended_usages();
            let lacks = |c: &Certificate| !wanted.iter().all(|oid| c.usage().extended.iter().any(|usage| usage == oid));
            PathError::WrongUsage { subject: which(&lacks), purpose: request.purpose }
        }
        Error::NameConstraintViolation => {
            let names: Vec<_> = request.leaf.names().iter().map(ToString::to_string).collect();
            PathError::OutsideNamespace { subject: leaf(), names: names.join(", ") }
        }
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => PathError::TooLong { subject: leaf() },
        Error::CaUsedAsEndEntity => PathError::WrongRole { subject: leaf(), reason: "an authority is used as a leaf" },
        Error::EndEntityUsedAsCa => {
            let is_leaf = |c: &Certificate| c.role() == Role::Leaf && c != request.leaf;
            PathError::WrongRole { subject: which(&is_leaf), reason: "it does not issue" }
        }
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => {
            let forged = given(request).find(|c| is_forged(c, request, roots)).unwrap_or(request.leaf);
            PathError::Forged { subject: forged.subject().to_owned(), issuer: forged.issuer().to_owned() }
        }
        Error::UnknownIssuer => {
            let last = given(request).find(|c| issuers(c, request, roots).next().is_none()).unwrap_or(request.leaf);
            PathError::UnknownIssuer { subject: last.subject().to_owned(), issuer: last.issuer().to_owned() }
        }
        source => PathError::Refused { subject: leaf(), source },
    }
}

fn given<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a Certificate> {
    std::iter::once(request.leaf).chain(request.intermediates)
}

/// Gives everyone who has the name of a certificate's issuer.
fn issuers<'a>(
    certificate: &'a Certificate,
    request: &Request<'a>,
    roots: &'a Roots,
) -> impl Iterator<Item = &'a Certificate> {
    let candidates = request.intermediates.iter().chain(&roots.certificates);
    candidates.filter(|candidate| candidate.raw_subject() == certificate.raw_issuer())
}

fn is_forged(certificate: &Certificate, request: &Request<'_>, roots: &Roots) -> bool {
    let mut issuers = issuers(certificate, request, roots).peekable();
    issuers.peek().is_some() && issuers.all(|issuer| !certificate.is_signed_by(issuer.key()))
}

fn crls(request: &Request<'_>, ask: impl Fn(&super::Crls) -> bool) -> bool {
    matches!(request.revocation, Revocation::Crls(crls) if ask(crls))
}

fn moment(time: UnixTime) -> OffsetDateTime {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
