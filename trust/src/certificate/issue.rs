//! Issuing: an authority signs certificates and revocation lists with both of its keys.
//!
//! A certificate is built twice. The first build has the alternative key and algorithm; what the alternative signature covers
//! is cut from it and signed; the second build adds that signature, and what it covers must be the same bytes. Serial
//! numbers are random; a subject's secret keys are never needed.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Name};

use super::{Certificate, CertificateError, Purpose, Role, SubjectName, Validity, alternative, name};
use crate::ed25519;
use crate::entropy::random;
use crate::falcon;
use crate::hybrid::{self, HybridError};

mod crl;
mod error;

pub use self::crl::{CrlOptions, Revoked};
pub use self::error::IssueError;

/// How long a root is valid.
pub const ROOT_LIFETIME: Duration = Duration::days(3650);
/// How long an intermediate authority is valid.
pub const INTERMEDIATE_LIFETIME: Duration = Duration::days(3 * 365);
/// How long a publisher or validator is valid.
pub const PUBLISHER_LIFETIME: Duration = Duration::days(365);
/// How long a node is valid; it renews six hours before.
pub const NODE_LIFETIME: Duration = Duration::hours(24);

/// A certificate that issues, and its secret keys.
pub struct Authority {
    certificate: Certificate,
    keys: hybrid::SecretKey,
}

/// What an intermediate authority is to be.
#[derive(Debug)]
pub struct IntermediateOptions<'a> {
    /// The common name.
    pub common_name: &'a str,
    /// Its keys.
    pub keys: &'a hybrid::PublicKey,
    /// What the certificates below it are for.
    pub purpose: Purpose,
    /// How many authorities may stand between it and a leaf.
    pub path_length: u8,
    /// The domains that certificates below it may speak for; empty is no limit.
    pub permitted: &'a [String],
    /// When it is valid.
    pub validity: Validity,
}

/// What a leaf is to be.
#[derive(Debug)]
pub struct LeafOptions<'a> {
    /// The common name.
    pub common_name: &'a str,
    /// Its keys.
    pub key: LeafKey<'a>,
    /// What it is for.
    pub purpose: Purpose,
    /// What it speaks for.
    pub names: &'a [SubjectName],
    /// When it is valid.
    pub validity: Validity,
}

/// The keys of a leaf.
#[derive(Clone, Copy, Debug)]
pub enum LeafKey<'a> {
    /// Both keys, signed for by both.
    Hybrid(&'a hybrid::PublicKey),
    /// One key, signed for by one: for nodes, whose handshakes have no room for more, and for publishers that only those
    /// believe who pin their roots with [`crate::path::Hybrid::IfPresent`].
    Classical(&'a ed25519::PublicKey),
}

impl Authority {
    /// Makes a root: an authority that stands for itself.
    ///
    /// # Errors
    /// No randomness, or a common name that X.509 does not have.
    pub fn root(common_name: &str, keys: hybrid::SecretKey, validity: Validity) -> Result<Self, IssueError> {
        let mut params = params(common_name, &keys.ed25519.public(), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = params.clone();
        let certificate = build(params, LeafKey::Hybrid(&keys.public()), &issuer, &keys)?;
        Ok(Self { certificate, keys })
    }

    /// Puts a certificate and its keys together.
    ///
    /// # Errors
    /// The keys are others, or the certificate does not issue.
    pub fn new(certificate: Certificate, keys: hybrid::SecretKey) -> Result<Self, IssueError> {
        let subject = certificate.subject().to_owned();
        if certificate.keys().as_ref() != Some(&keys.public()) {
            return Err(IssueError::Keys { subject });
        }
        if certificate.role() == Role::Leaf || !certificate.usage().certificates {
            return Err(IssueError::NotAuthority { subject });
        }
        Ok(Self { certificate, keys })
    }

    /// Gives the certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Gives the keys, for lists that are signed with both.
    pub(crate) fn keys(&self) -> &hybrid::SecretKey {
        &self.keys
    }

    /// Issues an intermediate authority.
    ///
    /// # Errors
    /// What was asked for is more than this authority may give.
    pub fn intermediate(&self, options: &IntermediateOptions<'_>) -> Result<Certificate, IssueError> {
        self.expect_may_issue(options.purpose, options.validity)?;
        let issuer = || self.certificate.subject().to_owned();
        if let Role::Authority { path_length: Some(allowed) } = self.certificate.role()
            && u32::from(options.path_length) >= allowed
        {
            return Err(IssueError::PathLength { issuer: issuer(), allowed, asked: options.path_length });
        }
        let within =
            |domain: &String| self.certificate.permitted().is_none_or(|p| p.iter().any(|p| name::is_below(domain, p)));
        if let Some(outside) = options.permitted.iter().find(|domain| !within(domain)) {
            return Err(IssueError::OutsideNamespace { issuer: issuer(), name: outside.clone() });
        }
        self.intermediate_unchecked(options)
    }

    pub(crate) fn intermediate_unchecked(&self, options: &IntermediateOptions<'_>) -> Result<Certificate, IssueError> {
        let mut params = params(options.common_name, &options.keys.ed25519, options.validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(options.path_length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = extended(options.purpose);
        if !options.permitted.is_empty() {
            for domain in options.permitted {
                SubjectName::dns(domain).map_err(CertificateError::from)?;
            }
            let permitted_subtrees = options.permitted.iter().cloned().map(GeneralSubtree::DnsName).collect();
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        }
        self.issue(params, LeafKey::Hybrid(options.keys))
    }

    /// Issues a certificate that does not issue.
    ///
    /// # Errors
    /// What was asked for is more than this authority may give, or a validator with one key.
    pub fn leaf(&self, options: &LeafOptions<'_>) -> Result<Certificate, IssueError> {
        self.expect_may_issue(options.purpose, options.validity)?;
        if matches!(options.key, LeafKey::Classical(_)) && options.purpose == Purpose::Validator {
            return Err(IssueError::ClassicalKey { purpose: options.purpose });
        }
        if options.names.is_empty() {
            return Err(IssueError::Nameless { purpose: options.purpose });
        }
        if let Some(permitted) = self.certificate.permitted()
            && let Some(outside) = options.names.iter().find(|name| !name.is_within(permitted))
        {
            let issuer = self.certificate.subject().to_owned();
            return Err(IssueError::OutsideNamespace { issuer, name: outside.to_string() });
        }
        self.leaf_unchecked(options)
    }

    /// Issues whatever it is told to, as an authority gone bad does.
    pub(crate) fn leaf_unchecked(&self, options: &LeafOptions<'_>) -> Result<Certificate, IssueError> {
        self.issue(leaf_params(options)?, options.key)
    }

    fn expect_may_issue(&self, purpose: Purpose, validity: Validity) -> Result<(), IssueError> {
        let issuer = || self.certificate.subject().to_owned();
        let usages = &self.certificate.usage().extended;
        if !usages.is_empty() && !purpose.extended_usages().iter().all(|oid| usages.iter().any(|has| has == oid)) {
            return Err(IssueError::Purpose { issuer: issuer(), purpose });
        }
        let own = self.certificate.validity();
        let within = own.contains(validity.not_before) && own.contains(validity.not_after);
        let within = within && validity.not_before <= validity.not_after;
        if within { Ok(()) } else { Err(IssueError::Validity { issuer: issuer() }) }
    }

    fn issue(&self, params: CertificateParams, key: LeafKey<'_>) -> Result<Certificate, IssueError> {
        let issued = build(params, key, &self.issuer_params()?, &self.keys)?;
        if issued.raw_issuer() != self.certificate.raw_subject() {
            return Err(IssueError::Unstable { reason: "the issuer's name has a form that is not written here" });
        }
        Ok(issued)
    }

    fn issuer_params(&self) -> Result<CertificateParams, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(self.certificate.raw_subject())?;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let id = self.certificate.subject_key_id();
        let id = id.map_or_else(|| key_id(self.certificate.key()), <[u8]>::to_vec);
        params.key_identifier_method = KeyIdMethod::PreSpecified(id);
        Ok(params)
    }
}

/// What an attacker does, for the tests of those who must refuse it.
#[cfg(test)]
impl Authority {
    /// Puts a certificate and other keys together.
    pub(crate) fn with_other_keys(certificate: Certificate, keys: hybrid::SecretKey) -> Self {
        Self { certificate, keys }
    }

    /// Issues a leaf with a critical extension that nobody knows.
    pub(crate) fn leaf_with_critical(&self, options: &LeafOptions<'_>) -> Result<Certificate, IssueError> {
        let mut params = leaf_params(options)?;
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0x05, 0x00]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
        self.issue(params, options.key)
    }
}

impl LeafKey<'_> {
    fn ed25519(&self) -> &ed25519::PublicKey {
        match self {
            Self::Hybrid(keys) => &keys.ed25519,
            Self::Classical(key) => key,
        }
    }
}

impl Validity {
    /// Begins at a time and ends after so long; parts of seconds are dropped.
    pub fn starting(at: OffsetDateTime, lifetime: Duration) -> Self {
        let seconds = |time: OffsetDateTime| time.replace_nanosecond(0).expect("0 is a nanosecond");
        Self { not_before: seconds(at), not_after: seconds(at.saturating_add(lifetime)) }
    }
}

fn leaf_params(options: &LeafOptions<'_>) -> Result<CertificateParams, IssueError> {
    let mut params = params(options.common_name, options.key.ed25519(), options.validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = extended(options.purpose);
    params.subject_alt_names = options.names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    Ok(params)
}

fn params(common_name: &str, key: &ed25519::PublicKey, validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut serial = random::<16>()?;
    // Positive and without a leading zero, whatever was drawn.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(serial.as_ref()));
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(key));
    Ok(params)
}

/// Builds twice, see the module.
fn build(
    mut params: CertificateParams,
    key: LeafKey<'_>,
    issuer: &CertificateParams,
    issuer_keys: &hybrid::SecretKey,
) -> Result<Certificate, IssueError> {
    let signer = Signer { public: *issuer_keys.ed25519.public().as_bytes(), secret: &issuer_keys.ed25519 };
    let issuer = Issuer::from_params(issuer, signer);
    let subject = Subject(*key.ed25519().as_bytes());
    let LeafKey::Hybrid(keys) = key else {
        return Ok(Certificate::parse(params.signed_by(&subject, &issuer)?.der())?);
    };
    let extension = CustomExtension::from_oid_content;
    params.custom_extensions.push(extension(alternative::SUBJECT_KEY, alternative::write_key(&keys.falcon)));
    params.custom_extensions.push(extension(alternative::ALGORITHM, alternative::write_algorithm()));
    let first = params.signed_by(&subject, &issuer)?;
    let covered = alternative::cut(first.der()).map_err(CertificateError::from)?.signed;
    let signature: falcon::Signature = issuer_keys.falcon.sign(&covered).map_err(HybridError::from)?;
    params.custom_extensions.push(extension(alternative::SIGNATURE, alternative::write_signature(&signature)));
    let second = params.signed_by(&subject, &issuer)?;
    if alternative::cut(second.der()).map_err(CertificateError::from)?.signed != covered {
        return Err(IssueError::Unstable { reason: "its two builds differ in what the alternative signature covers" });
    }
    Ok(Certificate::parse(second.der())?)
}

fn extended(purpose: Purpose) -> Vec<ExtendedKeyUsagePurpose> {
    let arcs = |oid: &&str| oid.split('.').map(|arc| arc.parse().expect("constants are dotted numbers")).collect();
    purpose.extended_usages().iter().map(|oid| ExtendedKeyUsagePurpose::Other(arcs(oid))).collect()
}

fn alternative_name(name: &SubjectName) -> Result<SanType, IssueError> {
    Ok(match name {
        SubjectName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        SubjectName::Ip(address) => SanType::IpAddress(*address),
    })
}

/// Reads a name into the form that the builder writes; whether the two are the same is checked on what was built.
fn distinguished_name(raw: &[u8]) -> Result<DistinguishedName, IssueError> {
    let unstable = || IssueError::Unstable { reason: "the issuer's name cannot be read" };
    let (_, parsed) = X509Name::from_der(raw).map_err(|_| unstable())?;
    let mut name = DistinguishedName::new();
    for attribute in parsed.iter_attributes() {
        let arcs: Vec<u64> = attribute.attr_type().iter().ok_or_else(unstable)?.collect();
        name.push(DnType::from_oid(&arcs), attribute.as_str().map_err(|_| unstable())?);
    }
    Ok(name)
}

/// Gives 160 bits of the SHA-256 of the key (RFC 7093, method 1).
fn key_id(key: &ed25519::PublicKey) -> Vec<u8> {
    Sha256::digest(key.as_bytes())[..20].to_vec()
}

struct Subject([u8; ed25519::PUBLIC_KEY_BYTES]);

struct Signer<'a> {
    public: [u8; ed25519::PUBLIC_KEY_BYTES],
    secret: &'a ed25519::SecretKey,
}

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.secret.sign(message).as_bytes().to_vec())
    }
}
