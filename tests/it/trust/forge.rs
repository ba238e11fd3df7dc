//! What an attacker makes who has stolen keys of an authority: certificates that the authority would not issue.

use host_sim::trust::{TrustHome, Unlock};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use trustchain::hybrid::SecretKey;

/// `AlgorithmIdentifier` of FALCON-1024.
const FALCON_1024: [u8; 9] = [0x30, 0x07, 0x06, 0x05, 0x2b, 0xce, 0x0f, 0x03, 0x0e];

/// An authority's name, and keys with which certificates are signed under it.
pub(super) struct Stolen {
    common_name: String,
    /// The keys whose identifier the certificates name.
    own: [u8; 32],
    keys: SecretKey,
}

struct Key<'a> {
    public: [u8; 32],
    keys: &'a SecretKey,
}

impl Stolen {
    /// Steals both keys of an authority.
    pub(super) fn of(home: &TrustHome, name: &str) -> Self {
        let signer = home.signer(name, Unlock::key_file()).expect("is there");
        let keys = signer.with_keys(|keys| Ok(keys.clone())).expect("opens");
        let common_name = signer.certificate().common_name().expect("has one").to_owned();
        Self { common_name, own: *keys.ed25519.public().as_bytes(), keys }
    }

    /// Keeps the classical key only.
    pub(super) fn without_falcon(mut self) -> Self {
        self.keys.falcon = SecretKey::generate().expect("generates").falcon;
        self
    }

    /// Keeps the post-quantum key only.
    pub(super) fn without_ed25519(mut self) -> Self {
        self.keys.ed25519 = SecretKey::generate().expect("generates").ed25519;
        self
    }

    /// Issues a classical certificate as a publisher would have it, but for one change, for new keys; gives both.
    pub(super) fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, SecretKey) {
        let keys = SecretKey::generate().expect("generates");
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "forged");
        (params.not_before, params.not_after) = (now - Duration::MINUTE, now + Duration::days(30));
        params.serial_number = Some(SerialNumber::from_slice(
            &keys.ed25519.public().as_bytes()[..8].iter().map(|byte| byte & 0x7f | 1).collect::<Vec<_>>(),
        ));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.subject_alt_names = vec![SanType::DnsName("forged.pub.trustchain".try_into().expect("a domain"))];
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(keys.ed25519.public().as_bytes()));
        change(&mut params);
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = DistinguishedName::new();
        issuer.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        issuer.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(key_id(&self.own));
        let issuer = Issuer::from_params(&issuer, Key::of(&self.keys));
        let der = params.signed_by(&Key::of(&keys), &issuer).expect("signs").der().to_vec();
        let certificate = trustchain::certificate::Certificate::parse(&der).expect("a certificate");
        (trustchain::certificate::to_pem([&certificate]), keys)
    }

    /// Issues a certificate with an alternative key, and an alternative signature of the keys that were stolen.
    pub(super) fn issue_hybrid(&self) -> String {
        let subject = SecretKey::generate().expect("generates");
        let signature = self.keys.falcon.sign(b"whatever the certificate says").expect("signs");
        let bits = |bytes: &[u8]| element(0x03, &[&[0], bytes].concat());
        let key = element(0x30, &[&FALCON_1024[..], &bits(subject.falcon.public().as_bytes())].concat());
        let extensions = [(72, key), (73, FALCON_1024.to_vec()), (74, bits(signature.as_bytes()))];
        let extensions =
            extensions.map(|(last, content)| CustomExtension::from_oid_content(&[2, 5, 29, last], content));
        self.issue(|params| params.custom_extensions.extend(extensions)).0
    }

    /// Makes another authority below this one.
    pub(super) fn authority(&self) -> (String, Self) {
        let (pem, keys) = self.issue(|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.subject_alt_names.clear();
        });
        (pem, Self { common_name: "forged".to_owned(), own: *keys.ed25519.public().as_bytes(), keys })
    }
}

impl<'a> Key<'a> {
    fn of(keys: &'a SecretKey) -> Self {
        Self { public: *keys.ed25519.public().as_bytes(), keys }
    }
}

impl PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.keys.ed25519.sign(message).as_bytes().to_vec())
    }
}

fn key_id(key: &[u8; 32]) -> Vec<u8> {
    Sha256::digest(key)[..20].to_vec()
}

/// Writes an element of DER of up to 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    let header = match length {
        0..=127 => vec![tag, length.to_be_bytes()[1]],
        128..=255 => vec![tag, 0x81, length.to_be_bytes()[1]],
        _ => vec![tag, 0x82, length.to_be_bytes()[0], length.to_be_bytes()[1]],
    };
    [&header, content].concat()
}
