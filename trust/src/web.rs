//! Paths of the public web: any algorithm that is common there, judged by rustls-webpki alone.
//!
//! For comparison and for strangers' certificates. Nothing here is believed by a host or an extension of HyperMesh: there is
//! no alternative signature, no profile and no purpose, only what RFC 5280 asks as webpki reads it.

use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId,
    KeyPurposeIdIter, KeyUsage, OwnedCertRevocationList, RequiredEkuNotFoundContext,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::path::options;

/// What is to be validated; certificates and lists in DER.
#[derive(Clone, Copy, Debug)]
pub struct WebRequest<'a> {
    /// The roots.
    pub roots: &'a [Vec<u8>],
    /// What the leaf came with.
    pub intermediates: &'a [Vec<u8>],
    /// The certificate in question.
    pub leaf: &'a [u8],
    /// Revocation lists; none to look at no revocation.
    pub crls: &'a [Vec<u8>],
    /// The time for which the answer holds.
    pub at: OffsetDateTime,
    /// The extended usage, as a dotted object identifier; a certificate without usages has all of them.
    pub usage: Option<&'a str>,
    /// The domain or address that the leaf must speak for.
    pub name: Option<&'a str>,
}

/// Why webpki refuses a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The usage is no object identifier.
    #[error("`{usage}` is not a dotted object identifier")]
    Usage {
        /// The text.
        usage: String,
    },
    /// The name is none.
    #[error("`{name}` is neither a domain nor an address")]
    Name {
        /// The text.
        name: String,
    },
    /// One of the roots cannot be read.
    #[error("root `{index}` cannot be read: {source}")]
    Root {
        /// Which, from 0.
        index: usize,
        /// What webpki says.
        source: Error,
    },
    /// One of the revocation lists cannot be read.
    #[error("revocation list `{index}` cannot be read: {source}")]
    Crl {
        /// Which, from 0.
        index: usize,
        /// What webpki says.
        source: Error,
    },
    /// None of the certificates has the usage.
    #[error("a certificate of the path is not for the usage `{usage}`")]
    WrongUsage {
        /// The usage.
        usage: String,
    },
    /// Everything else.
    #[error("webpki refuses the path: {0}")]
    Refused(#[from] Error),
}

/// Validates a path and gives its subjects, leaf to root.
///
/// # Errors
/// The reason of webpki.
pub fn validate(request: &WebRequest<'_>) -> Result<Vec<String>, WebError> {
    let usage = request.usage.map(|usage| encode(usage).ok_or_else(|| WebError::Usage { usage: usage.to_owned() }));
    let usage = Usage(usage.transpose()?);
    let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
    let roots: Vec<_> = request.roots.iter().map(|root| der(root)).collect();
    let anchors = roots
        .iter()
        .enumerate()
        .map(|(index, root)| webpki::anchor_from_trusted_cert(root).map_err(|source| WebError::Root { index, source }));
    let anchors: Vec<TrustAnchor<'_>> = anchors.collect::<Result<_, _>>()?;
    let intermediates: Vec<_> = request.intermediates.iter().map(|intermediate| der(intermediate)).collect();
    let leaf = der(request.leaf);
    let leaf = EndEntityCert::try_from(&leaf)?;
    let lists = request.crls.iter().enumerate().map(|(index, list)| {
        let list = OwnedCertRevocationList::from_der(list).map_err(|source| WebError::Crl { index, source })?;
        Ok(CertRevocationList::from(list))
    });
    let lists: Vec<CertRevocationList<'_>> = lists.collect::<Result<_, WebError>>()?;
    let lists: Vec<_> = lists.iter().collect();
    let seconds = u64::try_from(request.at.unix_timestamp()).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let path =
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, at, &usage, options(&lists), None);
    let path = path.map_err(|error| match (error, request.usage) {
        (Error::RequiredEkuNotFoundContext(_), Some(usage)) => WebError::WrongUsage { usage: usage.to_owned() },
        (error, _) => WebError::Refused(error),
    })?;
    if let Some(name) = request.name {
        let server = ServerName::try_from(name).map_err(|_| WebError::Name { name: name.to_owned() })?;
        leaf.verify_is_valid_for_subject_name(&server)?;
    }
    let root = anchors.iter().position(|anchor| anchor == path.anchor()).map(|index| &roots[index][..]);
    let above: Vec<_> = path.intermediate_certificates().map(|certificate| certificate.der()).collect();
    let path = std::iter::once(request.leaf).chain(above.iter().map(|der| &der[..])).chain(root);
    Ok(path.map(subject).collect())
}

/// The usage that a certificate must have if it has any; `None` takes whatever it has.
struct Usage(Option<Vec<u8>>);

impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let wanted = self.0.as_deref().map(KeyPurposeId::new);
        let (mut none, mut found) = (true, false);
        for usage in usages {
            none = false;
            found |= wanted == Some(usage?);
        }
        if none || found || wanted.is_none() {
            return Ok(());
        }
        let context = RequiredEkuNotFoundContext { required: KeyUsage::required(&[]), present: Vec::new() };
        Err(Error::RequiredEkuNotFoundContext(context))
    }
}

/// Gives the content of a dotted object identifier (X.690, 8.19).
fn encode(dotted: &str) -> Option<Vec<u8>> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().ok()).collect::<Option<_>>()?;
    let [first @ 0..=2, second, rest @ ..] = &arcs[..] else { return None };
    if *first < 2 && *second > 39 {
        return None;
    }
    let head = first.checked_mul(40)?.checked_add(*second)?;
    let mut content = Vec::new();
    for arc in std::iter::once(&head).chain(rest) {
        let digits = (u64::BITS - arc.leading_zeros()).div_ceil(7).max(1);
        for digit in (0..digits).rev() {
            let more = if digit == 0 { 0 } else { 0x80 };
            content.push(u8::try_from((arc >> (7 * digit)) & 0x7f).ok()? | more);
        }
    }
    Some(content)
}

fn subject(der: &[u8]) -> String {
    X509Certificate::from_der(der).map_or_else(|_| String::new(), |(_, certificate)| certificate.subject().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ACME, NOW, Pki};

    #[test]
    fn object_identifiers_are_encoded() {
        assert_eq!(encode("1.3.6.1.5.5.7.3.3").as_deref(), Some(&[0x2b, 6, 1, 5, 5, 7, 3, 3][..]));
        assert_eq!(encode("1.3.9999.4857.1").as_deref(), Some(&[0x2b, 0xce, 0x0f, 0xa5, 0x79, 1][..]));
        for wrong in ["", "1", "3.1", "1.40", "1.2.x", "1..2", "-1.2"] {
            assert_eq!(encode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_holds_for_its_usage_name_and_time() {
        let pki = Pki::new();
        let (roots, intermediates) =
            ([pki.root.certificate().der().to_vec()], [pki.publishers.certificate().der().to_vec()]);
        let right = WebRequest {
            roots: &roots,
            intermediates: &intermediates,
            leaf: pki.leaf.der(),
            crls: &[],
            at: NOW,
            usage: Some("1.3.6.1.5.5.7.3.3"),
            name: Some(ACME),
        };
        assert_eq!(validate(&right).expect("holds").len(), 3);
        let refused = |request: WebRequest<'_>| validate(&request).expect_err("is refused");
        let server = refused(WebRequest { usage: Some("1.3.6.1.5.5.7.3.1"), ..right });
        assert!(matches!(server, WebError::WrongUsage { .. }), "{server}");
        let other = refused(WebRequest { name: Some("other.example"), ..right });
        assert!(matches!(other, WebError::Refused(Error::CertNotValidForName(_))), "{other}");
        let late = refused(WebRequest { at: NOW + time::Duration::days(9_000), ..right });
        assert!(matches!(late, WebError::Refused(Error::CertExpired { .. })), "{late}");
        assert!(matches!(refused(WebRequest { roots: &[], ..right }), WebError::Refused(Error::UnknownIssuer)));
        assert!(matches!(refused(WebRequest { usage: Some("x"), ..right }), WebError::Usage { .. }));
    }
}
