//! From a certificate to a root: the one question is whether an authority the caller pinned stands for it, now, for this use.
//!
//! [`Roots`] are pinned together with [`Hybrid`], whether two signatures are required; a certificate cannot say that about
//! itself. rustls-webpki builds the path under its budgets and checks the primary signatures (strict Ed25519), validity,
//! constraints, usages, names and revocation lists; inside path building every candidate must also pass the alternative
//! signatures and the profile, which is stricter than webpki's. What comes out is a [`Chain`], which nothing else makes.
//!
//! Names decide nothing: an issuer is found by name and believed by signature.

mod crls;
mod error;
mod explain;
mod profile;

use std::cell::RefCell;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::certificate::{Certificate, Purpose, Role, from_pem, to_pem};
use crate::ed25519::STRICT;
use crate::hybrid;
use crate::revocation::RevocationList;
use crate::rootset::RootSet;

pub(crate) use self::crls::options;
pub use self::crls::{CRL_BYTES_MAX, CRLS_MAX, CrlError, Crls};
pub use self::error::{PathError, RootError};

/// The most intermediate certificates that are looked at; webpki follows six at most.
pub const INTERMEDIATES_MAX: usize = 6;
/// The most roots.
pub const ROOTS_MAX: usize = 32;

/// Whether certificates must be vouched for by both algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hybrid {
    /// Every certificate of a path is signed with both algorithms, and a publisher or validator has both keys. A node's own
    /// certificate may be classical, those of its authorities may not.
    Required,
    /// An alternative signature is checked where there is one, and a publisher with one key is believed.
    IfPresent,
}

/// The authorities that the caller believes, and how.
#[derive(Clone, Debug)]
pub struct Roots {
    certificates: Vec<Certificate>,
    anchors: Vec<TrustAnchor<'static>>,
    sets: Vec<RootSet>,
    hybrid: Hybrid,
}

/// What is to be validated.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The certificate in question.
    pub leaf: &'a Certificate,
    /// What it came with, in any order.
    pub intermediates: &'a [Certificate],
    /// What it is used for.
    pub purpose: Purpose,
    /// The time for which the answer holds: now, or a time that somebody trusted vouches for.
    pub at: OffsetDateTime,
    /// How revocation is checked.
    pub revocation: Revocation<'a>,
}

/// How revocation is checked.
#[derive(Clone, Copy, Debug)]
pub enum Revocation<'a> {
    /// Not at all: for tests of a chain before its lists were fetched.
    Unchecked,
    /// By X.509 revocation lists: every certificate of the path must be covered by one that has not expired.
    Crls(&'a Crls),
    /// By lists that are signed with both algorithms: every certificate of the path must be covered by one of its issuer.
    Lists {
        /// The lists, each checked against its authority.
        lists: &'a [RevocationList],
        /// The present, at which a list must not have expired; [`Request::at`] may be earlier.
        now: OffsetDateTime,
    },
}

/// A validated path, leaf to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<Certificate>,
    purpose: Purpose,
}

impl Roots {
    /// Pins roots and what is required of everything below them.
    ///
    /// # Errors
    /// None or too many, or one that is no authority or is not signed by itself, with both keys if both are required.
    pub fn new(certificates: Vec<Certificate>, hybrid: Hybrid) -> Result<Self, RootError> {
        Self::with_sets(certificates, Vec::new(), hybrid)
    }

    /// Pins roots that each decide alone, and sets of roots that decide together. A root that is in a set does not decide
    /// alone, wherever else it is named.
    ///
    /// # Errors
    /// As [`Self::new`], and [`RootError::TwoSets`].
    pub fn with_sets(
        mut certificates: Vec<Certificate>,
        sets: Vec<RootSet>,
        hybrid: Hybrid,
    ) -> Result<Self, RootError> {
        for (index, set) in sets.iter().enumerate() {
            for root in set.roots() {
                if sets[..index].iter().any(|other| other.roots().any(|known| known.key() == root.key())) {
                    return Err(RootError::TwoSets { subject: root.subject().to_owned() });
                }
                // Another certificate for the keys of a root of the set would be a way around it.
                certificates.retain(|known| known.key() != root.key());
                certificates.push(root.clone());
            }
        }
        if certificates.is_empty() || certificates.len() > ROOTS_MAX {
            return Err(RootError::Count { actual: certificates.len() });
        }
        let anchors = certificates.iter().map(|root| anchor(root, hybrid)).collect::<Result<_, _>>()?;
        Ok(Self { certificates, anchors, sets, hybrid })
    }

    /// Reads roots as a host hands them over, each text certificates in PEM or the document of a [`RootSet`].
    ///
    /// # Errors
    /// As [`Self::with_sets`], and a text that is neither.
    pub fn read(texts: &[String], hybrid: Hybrid) -> Result<Self, RootError> {
        let (mut certificates, mut sets) = (Vec::new(), Vec::new());
        for text in texts {
            if text.starts_with('{') {
                sets.push(RootSet::verify(text.as_bytes())?);
            } else {
                certificates.extend(from_pem(text.as_bytes())?);
            }
        }
        Self::with_sets(certificates, sets, hybrid)
    }

    /// Gives the roots as texts that [`Self::read`] reads.
    pub fn texts(&self) -> Vec<String> {
        let alone = self.certificates.iter().filter(|root| self.set_of(root).is_none());
        let sets = self.sets.iter().map(|set| String::from_utf8_lossy(set.document()).into_owned());
        alone.map(|root| to_pem([root])).chain(sets).collect()
    }

    /// Gives the sets.
    pub fn sets(&self) -> &[RootSet] {
        &self.sets
    }

    /// Gives the set that a root is of.
    pub fn set_of(&self, root: &Certificate) -> Option<&RootSet> {
        self.sets.iter().find(|set| set.roots().any(|known| known == root))
    }

    /// Gives the roots.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Says what is required of everything below them.
    pub fn hybrid(&self) -> Hybrid {
        self.hybrid
    }

    /// Finds the path from a certificate to a root. Takes about 0.3 ms with both algorithms and one intermediate.
    ///
    /// # Errors
    /// Why nobody stands for it; of several the most specific.
    pub fn validate(&self, request: &Request<'_>) -> Result<Chain, PathError> {
        if request.intermediates.len() > INTERMEDIATES_MAX {
            return Err(PathError::TooManyIntermediates { actual: request.intermediates.len() });
        }
        let given = || std::iter::once(request.leaf).chain(request.intermediates);
        for certificate in given() {
            if let Some(extension) = certificate.unknown_critical() {
                let subject = certificate.subject().to_owned();
                return Err(PathError::UnknownCritical { subject, oid: extension.oid.clone() });
            }
        }
        let refused = |source| explain::explain(source, request, self);
        let leaf = EndEntityCert::try_from(request.leaf.der()).map_err(refused)?;
        let intermediates: Vec<CertificateDer<'_>> =
            request.intermediates.iter().map(|c| CertificateDer::from(&c.der()[..])).collect();
        let lists = match request.revocation {
            Revocation::Unchecked | Revocation::Lists { .. } => Vec::new(),
            Revocation::Crls(crls) => crls.borrow(),
        };
        // The callback can only give webpki's errors; ours waits here, behind one that ranks above what is not about it.
        let (found, fault) = (RefCell::new(Vec::new()), RefCell::new(None));
        let check = |path: &VerifiedPath<'_>| {
            let chain = self.certificates_of(path, request);
            let checked = chain.and_then(|chain| {
                self.expect_named(&chain)?;
                profile::check(&chain, request, self.hybrid).map(|()| chain)
            });
            checked.map(|chain| *found.borrow_mut() = chain.into_iter().cloned().collect::<Vec<_>>()).map_err(|error| {
                fault.borrow_mut().get_or_insert(error);
                webpki::Error::CertDistrusted
            })
        };
        let result = leaf.verify_for_usage(
            &[STRICT],
            &self.anchors,
            &intermediates,
            unix_time(request.at),
            KeyUsage::required(request.purpose.usage_oid()),
            options(&lists),
            Some(&check),
        );
        let result = result.map(|_| ());
        match (result, fault.take()) {
            (Ok(()), _) => Ok(Chain { certificates: found.take(), purpose: request.purpose }),
            (Err(webpki::Error::CertDistrusted), Some(fault)) => Err(fault),
            (Err(error), _) => Err(refused(error)),
        }
    }

    /// Checks that the root's set, if it has one, names the authority below it.
    fn expect_named(&self, chain: &[&Certificate]) -> Result<(), PathError> {
        let [below @ .., root] = chain else { return Ok(()) };
        let (Some(set), Some(authority)) = (self.set_of(root), below.last()) else { return Ok(()) };
        if below.len() > 1 && set.names(authority) {
            return Ok(());
        }
        Err(PathError::NotInRootSet { subject: authority.subject().to_owned(), version: set.version() })
    }

    /// Gives the parsed certificates of a path, leaf to root.
    fn certificates_of<'a>(
        &'a self,
        path: &VerifiedPath<'_>,
        request: &Request<'a>,
    ) -> Result<Vec<&'a Certificate>, PathError> {
        let lost = || PathError::UnknownIssuer {
            subject: request.leaf.subject().to_owned(),
            issuer: request.leaf.issuer().to_owned(),
        };
        let mut chain = vec![request.leaf];
        for intermediate in path.intermediate_certificates() {
            let der = intermediate.der();
            chain.push(request.intermediates.iter().find(|known| *known.der() == der).ok_or_else(lost)?);
        }
        let root = self.anchors.iter().position(|anchor| anchor == path.anchor()).ok_or_else(lost)?;
        chain.push(&self.certificates[root]);
        Ok(chain)
    }
}

impl Chain {
    /// Gives the certificates, leaf to root.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Gives the certificate that was validated.
    pub fn leaf(&self) -> &Certificate {
        &self.certificates[0]
    }

    /// Gives the root that stands for it.
    pub fn root(&self) -> &Certificate {
        self.certificates.last().unwrap_or(&self.certificates[0])
    }

    /// Says what the leaf was validated for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Gives the algorithms by which every certificate is vouched for.
    pub fn algorithms(&self) -> &'static [&'static str] {
        let hybrid = self.certificates.iter().all(Certificate::is_signed_alternatively);
        if hybrid { &hybrid::ALGORITHMS } else { &hybrid::ALGORITHMS[..1] }
    }
}

fn anchor(root: &Certificate, hybrid: Hybrid) -> Result<TrustAnchor<'static>, RootError> {
    let not_root = |reason| RootError::NotRoot { subject: root.subject().to_owned(), reason };
    if root.role() == Role::Leaf || !root.usage().certificates {
        return Err(not_root("it does not issue certificates"));
    }
    if !root.is_signed_by(root.key()) {
        return Err(not_root("it did not sign itself"));
    }
    match (root.alternative_key(), root.alternative_key().and_then(|key| root.verify_alternative(key)), hybrid) {
        (_, Some(Err(_)), _) => return Err(not_root("its alternative signature is not its own")),
        (None, _, Hybrid::Required) | (_, None, Hybrid::Required) => {
            return Err(not_root("it is classical only, and both algorithms are required"));
        }
        _ => {}
    }
    let anchor = webpki::anchor_from_trusted_cert(root.der()).map_err(|_| not_root("webpki cannot read it"))?;
    Ok(anchor.to_owned())
}

fn unix_time(at: OffsetDateTime) -> UnixTime {
    let seconds = u64::try_from(at.unix_timestamp()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
