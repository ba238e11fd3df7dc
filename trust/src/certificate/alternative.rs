//! The alternative key and signature of ITU-T X.509 (2019), clauses 7.2.2 and 9.8.
//!
//! Three extensions make a certificate hybrid: `2.5.29.72` holds the subject's second public key, `2.5.29.73` names the
//! algorithm of the second signature, `2.5.29.74` is that signature. It covers the TBSCertificate without its `signature`
//! element and without `.74`, everything else byte for byte and in place; `.72` and `.73` are therefore covered. The primary
//! signature covers all three. None is critical, so that software which does not know them still works; which certificates
//! must have them is for the policy of the roots to say.

use crate::der::{BIT_STRING, BOOLEAN, DerError, Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE};
use crate::der::{context, write};
use crate::falcon;

/// `subjectAltPublicKeyInfo` as rcgen and the parser write it.
pub(crate) const SUBJECT_KEY: &[u64] = &[2, 5, 29, 72];
/// `altSignatureAlgorithm`.
pub(crate) const ALGORITHM: &[u64] = &[2, 5, 29, 73];
/// `altSignatureValue`.
pub(crate) const SIGNATURE: &[u64] = &[2, 5, 29, 74];

/// `AlgorithmIdentifier { 1.3.9999.3.14 }`, FALCON-1024 as the Open Quantum Safe project numbers it, without parameters.
const FALCON_1024: &[u8] = &[0x30, 0x07, 0x06, 0x05, 0x2b, 0xce, 0x0f, 0x03, 0x0e];
/// The contents of the object identifiers of the three extensions.
const OID_SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 72];
const OID_ALGORITHM: &[u8] = &[0x55, 0x1d, 73];
const OID_SIGNATURE: &[u8] = &[0x55, 0x1d, 74];
const VERSION_3: &[u8] = &[0x02, 0x01, 0x02];

/// The parts of a certificate that this module cuts out.
pub(crate) struct Parts<'a> {
    /// What the alternative signature covers.
    pub(crate) signed: Vec<u8>,
    /// The content of `.72`.
    pub(crate) subject_key: Option<Element<'a>>,
    /// The content of `.73`.
    pub(crate) algorithm: Option<Element<'a>>,
    /// The content of `.74`.
    pub(crate) signature: Option<Element<'a>>,
    /// What the primary signature covers.
    pub(crate) tbs: &'a [u8],
    /// The primary signature.
    pub(crate) primary: &'a [u8],
    /// The issuer's name.
    pub(crate) issuer: &'a [u8],
    /// The subject's name.
    pub(crate) subject: &'a [u8],
    /// The subject's primary public key with its algorithm.
    pub(crate) key: &'a [u8],
}

/// Cuts a certificate.
pub(crate) fn cut(der: &[u8]) -> Result<Parts<'_>, DerError> {
    let mut outer = Reader::new(der);
    let certificate = outer.next(SEQUENCE, "a certificate is a sequence")?;
    outer.end()?;
    let mut fields = certificate.children();
    let signed = fields.next(SEQUENCE, "the part to be signed is a sequence")?;
    let outer_algorithm = fields.next(SEQUENCE, "the algorithm of the signature is a sequence")?;
    let primary = fields.next(BIT_STRING, "the signature is a bit string")?;
    fields.end()?;

    let mut tbs = signed.children();
    let version = tbs.next(context(0), "the version is missing, only X.509 v3 is accepted")?;
    if version.content != VERSION_3 {
        return Err(version.fault("only X.509 v3 is accepted"));
    }
    let serial = tbs.next(INTEGER, "the serial number is an integer")?;
    let inner_algorithm = tbs.next(SEQUENCE, "the algorithm of the signature is a sequence")?;
    if inner_algorithm.raw != outer_algorithm.raw {
        return Err(outer_algorithm.fault("it differs from the algorithm inside the signed part"));
    }
    let issuer = tbs.next(SEQUENCE, "the issuer is a sequence")?;
    let validity = tbs.next(SEQUENCE, "the validity is a sequence")?;
    let subject = tbs.next(SEQUENCE, "the subject is a sequence")?;
    let key = tbs.next(SEQUENCE, "the public key is a sequence")?;
    let extensions = tbs.next(context(3), "the extensions are missing, or unique identifiers are there")?;
    tbs.end()?;

    let mut parts = Parts {
        signed: Vec::new(),
        subject_key: None,
        algorithm: None,
        signature: None,
        tbs: signed.raw,
        primary: whole_bytes(&primary)?,
        issuer: issuer.raw,
        subject: subject.raw,
        key: key.raw,
    };
    let kept = parts.take_extensions(&extensions)?;
    let kept = write(context(3), &[&write(SEQUENCE, &kept)]);
    parts.signed = write(SEQUENCE, &[version.raw, serial.raw, issuer.raw, validity.raw, subject.raw, key.raw, &kept]);
    Ok(parts)
}

/// Reads the alternative public key.
pub(crate) fn read_key(extension: &Element<'_>) -> Result<falcon::PublicKey, DerError> {
    let mut inside = extension.children();
    let info = inside.next(SEQUENCE, "the alternative key is a sequence")?;
    inside.end()?;
    let mut fields = info.children();
    let algorithm = fields.next(SEQUENCE, "the algorithm of the alternative key is a sequence")?;
    if algorithm.raw != FALCON_1024 {
        return Err(algorithm.fault("the alternative key is not of FALCON-1024"));
    }
    let key = fields.next(BIT_STRING, "the alternative key is a bit string")?;
    fields.end()?;
    falcon::PublicKey::from_bytes(whole_bytes(&key)?).map_err(|_| key.fault("the alternative key is out of range"))
}

/// Reads the alternative signature.
pub(crate) fn read_signature(algorithm: &Element<'_>, signature: &Element<'_>) -> Result<falcon::Signature, DerError> {
    if algorithm.content != FALCON_1024 {
        return Err(algorithm.fault("the alternative signature is not of FALCON-1024"));
    }
    let mut inside = signature.children();
    let bits = inside.next(BIT_STRING, "the alternative signature is a bit string")?;
    inside.end()?;
    falcon::Signature::from_bytes(whole_bytes(&bits)?)
        .map_err(|_| bits.fault("the alternative signature is not in its one form"))
}

/// Writes the content of `.72`.
pub(crate) fn write_key(key: &falcon::PublicKey) -> Vec<u8> {
    write(SEQUENCE, &[FALCON_1024, &write(BIT_STRING, &[&[0], key.as_bytes()])])
}

/// Writes the content of `.73`.
pub(crate) fn write_algorithm() -> Vec<u8> {
    FALCON_1024.to_vec()
}

/// Writes the content of `.74`.
pub(crate) fn write_signature(signature: &falcon::Signature) -> Vec<u8> {
    write(BIT_STRING, &[&[0], signature.as_bytes()])
}

impl<'a> Parts<'a> {
    /// Takes the three extensions and gives all but `.74`, raw; none may come twice.
    fn take_extensions(&mut self, extensions: &Element<'a>) -> Result<Vec<&'a [u8]>, DerError> {
        let mut inside = extensions.children();
        let list = inside.next(SEQUENCE, "the extensions are a sequence")?;
        inside.end()?;
        let (mut kept, mut seen, mut list) = (Vec::new(), Vec::new(), list.children());
        while !list.is_empty() {
            let extension = list.next(SEQUENCE, "an extension is a sequence")?;
            let mut fields = extension.children();
            let oid = fields.next(OBJECT_IDENTIFIER, "an extension begins with its identifier")?;
            fields.optional(BOOLEAN)?;
            let value = fields.next(OCTET_STRING, "the value of an extension is an octet string")?;
            fields.end()?;
            if seen.contains(&oid.content) {
                return Err(extension.fault("the extension comes twice"));
            }
            seen.push(oid.content);
            match oid.content {
                OID_SUBJECT_KEY => self.subject_key = Some(value),
                OID_ALGORITHM => self.algorithm = Some(value),
                OID_SIGNATURE => self.signature = Some(value),
                _ => {}
            }
            if oid.content != OID_SIGNATURE {
                kept.push(extension.raw);
            }
        }
        Ok(kept)
    }
}

fn whole_bytes<'a>(bits: &Element<'a>) -> Result<&'a [u8], DerError> {
    match bits.content {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err(bits.fault("the bit string does not end with a byte")),
    }
}
