//! From DER to a [`Certificate`]: strict well-formedness, the cut of the alternative signature, then each field.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use super::alternative::{self, Parts};
use super::{
    CERTIFICATE_BYTES_MAX, Certificate, CertificateError, Extension, NAMES_MAX, NamesError, Role, Serial, SubjectName,
    Usage, Validity,
};
use crate::{der, ed25519, falcon};

/// `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410) up to the key.
const ED25519_KEY: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519: &str = "1.3.101.112";
/// Key usage, alternative names, basic constraints, name constraints, extended key usage.
const UNDERSTOOD: [&str; 5] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.37"];

/// What the extensions say.
struct Statements {
    names: Vec<SubjectName>,
    role: Role,
    usage: Usage,
    permitted: Option<Vec<String>>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
}

/// Says whether an extension is acted on, so that it may be critical.
pub(super) fn is_understood(oid: &str) -> bool {
    UNDERSTOOD.contains(&oid)
}

/// Reads a certificate.
pub(super) fn certificate(bytes: &[u8]) -> Result<Certificate, CertificateError> {
    if bytes.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge { actual: bytes.len() });
    }
    der::check(bytes)?;
    let parts = alternative::cut(bytes)?;
    let (_, x509) = X509Certificate::from_der(bytes).map_err(|error| malformed(&error))?;
    if x509.signature_algorithm.algorithm.to_id_string() != ED25519 {
        return Err(CertificateError::Algorithm { what: "signature" });
    }
    let key = parts.key.strip_prefix(ED25519_KEY).and_then(|key| ed25519::PublicKey::from_bytes(key).ok());
    let (alternative_key, alternative_signature) = alternative_of(&parts)?;
    let said = statements(x509.extensions())?;
    let common_name = x509.subject().iter_common_name().next();
    Ok(Certificate {
        der: CertificateDer::from(bytes.to_vec()),
        raw_subject: parts.subject.to_vec(),
        raw_issuer: parts.issuer.to_vec(),
        subject: x509.subject().to_string(),
        issuer: x509.issuer().to_string(),
        common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
        serial: serial(x509.raw_serial())?,
        validity: Validity {
            not_before: moment(x509.validity().not_before),
            not_after: moment(x509.validity().not_after),
        },
        key: key.ok_or(CertificateError::Algorithm { what: "public key" })?,
        alternative_key,
        alternative_signature,
        names: said.names,
        role: said.role,
        usage: said.usage,
        permitted: said.permitted,
        subject_key_id: said.subject_key_id,
        authority_key_id: said.authority_key_id,
        extensions: x509.extensions().iter().map(extension).collect(),
        signed_alternatively: parts.signed,
    })
}

type Alternative = (Option<falcon::PublicKey>, Option<falcon::Signature>);

fn alternative_of(parts: &Parts<'_>) -> Result<Alternative, CertificateError> {
    let key = parts.subject_key.as_ref().map(alternative::read_key).transpose()?;
    match (&parts.algorithm, &parts.signature) {
        (Some(algorithm), Some(signature)) => Ok((key, Some(alternative::read_signature(algorithm, signature)?))),
        (None, None) => Ok((key, None)),
        (Some(_), None) => Err(CertificateError::Alternative { reason: "`2.5.29.73` is there without `2.5.29.74`" }),
        (None, Some(_)) => Err(CertificateError::Alternative { reason: "`2.5.29.74` is there without `2.5.29.73`" }),
    }
}

fn statements(extensions: &[X509Extension<'_>]) -> Result<Statements, CertificateError> {
    let mut said = Statements {
        names: Vec::new(),
        role: Role::Leaf,
        usage: Usage::default(),
        permitted: None,
        subject_key_id: None,
        authority_key_id: None,
    };
    for extension in extensions {
        let fault = |reason: String| CertificateError::Extension { oid: extension.oid.to_id_string(), reason };
        match extension.parsed_extension() {
            ParsedExtension::ParseError { error } => return Err(fault(error.to_string())),
            ParsedExtension::SubjectAlternativeName(names) => said.names = subject_names(&names.general_names)?,
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                said.role = Role::Authority { path_length: constraints.path_len_constraint };
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.path_len_constraint.is_some() => {
                return Err(fault("a certificate that does not issue has a path length".to_owned()));
            }
            ParsedExtension::KeyUsage(usage) => {
                said.usage.stated = true;
                said.usage.digital_signature = usage.digital_signature();
                said.usage.certificates = usage.key_cert_sign();
                said.usage.revocation_lists = usage.crl_sign();
            }
            ParsedExtension::ExtendedKeyUsage(usage) => said.usage.extended = extended(usage),
            ParsedExtension::NameConstraints(constraints) => {
                if constraints.excluded_subtrees.is_some() {
                    return Err(fault("only permitted domains are used, there are excluded names".to_owned()));
                }
                let permitted = constraints.permitted_subtrees.iter().flatten().map(|subtree| match subtree.base {
                    GeneralName::DNSName(name) => Ok(name.to_owned()),
                    _ => Err(fault("only domains are permitted, there is a name of another kind".to_owned())),
                });
                said.permitted = Some(permitted.collect::<Result<_, _>>()?);
            }
            ParsedExtension::SubjectKeyIdentifier(id) => said.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                said.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            _ => {}
        }
    }
    Ok(said)
}

fn subject_names(names: &[GeneralName<'_>]) -> Result<Vec<SubjectName>, NamesError> {
    if names.len() > NAMES_MAX {
        return Err(NamesError::Count { actual: names.len() });
    }
    names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => SubjectName::dns(name),
            GeneralName::IPAddress(bytes) => address(bytes).map(SubjectName::Ip),
            GeneralName::RFC822Name(_) => Err(NamesError::Kind { kind: "a mail address" }),
            GeneralName::URI(_) => Err(NamesError::Kind { kind: "a URI" }),
            GeneralName::DirectoryName(_) => Err(NamesError::Kind { kind: "a directory name" }),
            _ => Err(NamesError::Kind { kind: "a name of another kind" }),
        })
        .collect()
}

fn address(bytes: &[u8]) -> Result<IpAddr, NamesError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into());
    v4.or_else(|_| v6()).map_err(|_| NamesError::Kind { kind: "an address of another length" })
}

fn extended(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "2.5.29.37.0"),
        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let known = known.into_iter().filter(|(there, _)| *there).map(|(_, oid)| oid.to_owned());
    known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect()
}

fn extension(extension: &X509Extension<'_>) -> Extension {
    Extension { oid: extension.oid.to_id_string(), critical: extension.critical, value: extension.value.to_vec() }
}

fn serial(bytes: &[u8]) -> Result<Serial, CertificateError> {
    // DER puts a zero before a first byte that would otherwise read as a sign.
    match bytes {
        [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => Serial::from_bytes(rest),
        [first, ..] if first & 0x80 == 0 => Serial::from_bytes(bytes),
        _ => Err(CertificateError::Serial),
    }
}

fn moment(time: ASN1Time) -> OffsetDateTime {
    time.to_datetime()
}

fn malformed(error: &impl std::fmt::Display) -> CertificateError {
    CertificateError::Malformed { reason: error.to_string() }
}
