//! The profile: what webpki leaves open and TrustChain does not, and the alternative signatures.

use super::{Hybrid, PathError, Request, Revocation};
use crate::certificate::{Certificate, Purpose, Role};
use crate::revocation::Status;

const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const NAME_CONSTRAINTS: &str = "2.5.29.30";

/// Checks a candidate, leaf to root.
pub(super) fn check(chain: &[&Certificate], request: &Request<'_>, hybrid: Hybrid) -> Result<(), PathError> {
    let [leaf, authorities @ ..] = chain else { return Ok(()) };
    check_leaf(leaf, request.purpose)?;
    for authority in authorities {
        check_authority(authority)?;
    }
    if let Some(root) = authorities.last() {
        check_root(root, authorities.len() - 1, request)?;
    }
    for intermediate in authorities.iter().rev().skip(1) {
        expect_usages(intermediate, request.purpose)?;
    }
    if hybrid == Hybrid::Required && request.purpose != Purpose::Node && leaf.alternative_key().is_none() {
        return Err(PathError::ClassicalOnly { subject: leaf.subject().to_owned() });
    }
    for pair in chain.windows(2) {
        check_issued(pair[0], pair[1], may_be_classical(pair[0], request.purpose, hybrid))?;
        check_revoked(pair[0], pair[1], request)?;
    }
    Ok(())
}

fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), PathError> {
    expect_usages(leaf, purpose)?;
    let usage = leaf.usage();
    if !usage.digital_signature || usage.certificates || usage.revocation_lists {
        return Err(PathError::WrongUsage { subject: leaf.subject().to_owned(), purpose });
    }
    if leaf.names().is_empty() {
        return Err(outside(leaf, "it speaks for no name"));
    }
    Ok(())
}

fn check_authority(authority: &Certificate) -> Result<(), PathError> {
    if authority.role() == Role::Leaf {
        return Err(PathError::WrongRole { subject: authority.subject().to_owned(), reason: "it does not issue" });
    }
    if !authority.usage().stated || !authority.usage().certificates {
        return Err(outside(authority, "its key usage does not allow signing certificates"));
    }
    for (oid, reason) in [
        (BASIC_CONSTRAINTS, "its basic constraints are not critical"),
        (NAME_CONSTRAINTS, "its name constraints are not critical"),
    ] {
        if authority.extensions().iter().any(|extension| extension.oid == oid && !extension.critical) {
            return Err(outside(authority, reason));
        }
    }
    Ok(())
}

/// Checks what webpki takes for granted in a trust anchor.
fn check_root(root: &Certificate, intermediates: usize, request: &Request<'_>) -> Result<(), PathError> {
    let subject = || root.subject().to_owned();
    let validity = root.validity();
    if request.at < validity.not_before {
        return Err(PathError::NotYetValid { subject: subject(), not_before: validity.not_before });
    }
    if request.at > validity.not_after {
        return Err(PathError::Expired { subject: subject(), not_after: validity.not_after });
    }
    if let Some(extension) = root.unknown_critical() {
        return Err(PathError::UnknownCritical { subject: subject(), oid: extension.oid.clone() });
    }
    if let Role::Authority { path_length: Some(allowed) } = root.role()
        && intermediates > usize::try_from(allowed).unwrap_or(usize::MAX)
    {
        return Err(PathError::TooLong { subject: request.leaf.subject().to_owned() });
    }
    Ok(())
}

fn expect_usages(certificate: &Certificate, purpose: Purpose) -> Result<(), PathError> {
    let has = |oid: &&str| certificate.usage().extended.iter().any(|usage| usage == oid);
    if purpose.extended_usages().iter().all(has) {
        return Ok(());
    }
    Err(PathError::WrongUsage { subject: certificate.subject().to_owned(), purpose })
}

fn may_be_classical(certificate: &Certificate, purpose: Purpose, hybrid: Hybrid) -> bool {
    let own_node = purpose == Purpose::Node && certificate.role() == Role::Leaf;
    hybrid == Hybrid::IfPresent || own_node
}

/// Checks the link between a certificate and its issuer: key identifiers and the alternative signature.
fn check_issued(certificate: &Certificate, issuer: &Certificate, may_be_classical: bool) -> Result<(), PathError> {
    if let (Some(named), Some(own)) = (certificate.authority_key_id(), issuer.subject_key_id())
        && named != own
    {
        return Err(outside(certificate, "it names another key of its issuer"));
    }
    let subject = || certificate.subject().to_owned();
    if !certificate.is_signed_alternatively() {
        return if may_be_classical { Ok(()) } else { Err(PathError::ClassicalOnly { subject: subject() }) };
    }
    let Some(key) = issuer.alternative_key() else {
        return Err(PathError::ClassicalOnly { subject: issuer.subject().to_owned() });
    };
    match certificate.verify_alternative(key) {
        Some(Err(source)) => {
            Err(PathError::AlternativeForged { subject: subject(), issuer: issuer.subject().to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Checks the lists of a certificate's issuer; any of them may revoke it, and one must be there and fresh.
fn check_revoked(certificate: &Certificate, issuer: &Certificate, request: &Request<'_>) -> Result<(), PathError> {
    let Revocation::Lists { lists, now } = request.revocation else { return Ok(()) };
    let subject = || certificate.subject().to_owned();
    let mut covered = false;
    for list in lists.iter().filter(|list| list.is_of(issuer)) {
        if now > list.expires() {
            return Err(PathError::RevocationStale { next_update: list.expires() });
        }
        if matches!(list.status(certificate, request.at), Status::Revoked { .. }) {
            return Err(PathError::Revoked { subject: subject() });
        }
        covered = true;
    }
    if covered { Ok(()) } else { Err(PathError::RevocationUnknown { subject: subject() }) }
}

fn outside(certificate: &Certificate, reason: &'static str) -> PathError {
    PathError::Profile { subject: certificate.subject().to_owned(), reason }
}
