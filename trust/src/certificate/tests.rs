//! Tests of issuing and reading, also by OpenSSL.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use time::Duration;

use super::*;
use crate::testing::{ACME, NOW, Pki, intermediate, keys, leaf, names, root, validity};

/// Runs the system's OpenSSL and gives what it writes.
fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn what_was_issued_is_read() {
    let pki = Pki::new();
    let leaf = Certificate::parse(pki.leaf.der()).expect("parses");
    assert_eq!(leaf, pki.leaf);
    assert_eq!((leaf.subject(), leaf.issuer()), ("CN=acme", "CN=authority"));
    assert_eq!(leaf.common_name(), Some("acme"));
    assert_eq!(leaf.names(), names(ACME));
    assert_eq!(leaf.validity(), Validity { not_before: NOW - Duration::DAY, not_after: NOW + Duration::days(89) });
    assert_eq!((leaf.role(), leaf.serial().as_bytes().len()), (Role::Leaf, 16));
    assert_eq!(leaf.keys(), Some(pki.publisher.public()));
    assert!(leaf.usage().digital_signature && !leaf.usage().certificates);
    assert_eq!(leaf.usage().extended, Purpose::Publisher.extended_usages());
    let oids: Vec<_> = leaf.extensions().iter().map(|e| (e.oid.as_str(), e.critical)).collect();
    assert_eq!(
        oids,
        [
            ("2.5.29.35", false),
            ("2.5.29.17", false),
            ("2.5.29.15", true),
            ("2.5.29.37", false),
            ("2.5.29.14", false),
            ("2.5.29.19", true),
            ("2.5.29.72", false),
            ("2.5.29.73", false),
            ("2.5.29.74", false)
        ]
    );
    let authority = pki.publishers.certificate();
    assert_eq!(authority.role(), Role::Authority { path_length: Some(0) });
    assert_eq!(authority.permitted(), Some(&[ACME.to_owned()][..]));
    assert_eq!(leaf.authority_key_id(), authority.subject_key_id());
    assert!((3_300..3_800).contains(&leaf.der().len()), "{}", leaf.der().len());
}

#[test]
fn a_publisher_covers_its_namespace_and_no_other() {
    let pki = Pki::new();
    assert!(pki.leaf.covers_namespace("acme"));
    for other in ["acm", "acme2", "tools.acme", "", "evilacme"] {
        assert!(!pki.leaf.covers_namespace(other), "{other}");
    }
}

#[test]
fn fingerprints_and_serials_are_text() {
    let pki = Pki::new();
    let fingerprint = pki.leaf.fingerprint();
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    assert_eq!(pki.leaf.serial().to_string().parse(), Ok(pki.leaf.serial().clone()));
    for wrong in ["", "SHA256:", "SHA256:00", "sha256:00", &"0".repeat(64)] {
        assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
    }
    for wrong in ["", "00", "0x", &"11".repeat(21)] {
        assert_eq!(wrong.parse::<Serial>(), Err(CertificateError::Serial), "{wrong}");
    }
}

#[test]
fn openssl_accepts_what_is_issued() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, certificate: &Certificate| {
        std::fs::write(folder.path().join(name), to_pem([certificate])).expect("writes");
    };
    write("root.pem", pki.root.certificate());
    write("authority.pem", pki.publishers.certificate());
    write("leaf.pem", &pki.leaf);
    let at = NOW.unix_timestamp().to_string();
    let chain = ["-x509_strict", "-CAfile", "root.pem", "-untrusted", "authority.pem", "leaf.pem"];
    let verified = openssl(folder.path(), &[&["verify", "-attime", &at][..], &chain].concat());
    assert_eq!(verified.trim(), "leaf.pem: OK");

    let text = openssl(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-text", "-fingerprint", "-sha256"]);
    for expected in ["Subject: CN = acme", "DNS:acme.pub.trustchain", "Code Signing", "2.5.29.72", "2.5.29.74"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let fingerprint = text.lines().find_map(|line| line.split_once("ingerprint=")).expect("a fingerprint").1;
    assert_eq!(format!("SHA256:{}", fingerprint.replace(':', "").to_lowercase()), pki.leaf.fingerprint().to_string());

    // OpenSSL refuses what it must, so its OK means something.
    let other = root();
    write("root.pem", other.certificate());
    let refused =
        Command::new("openssl").args(["verify", "-attime", &at]).args(chain).current_dir(folder.path()).output();
    assert!(!refused.expect("runs").status.success());
}

#[test]
fn certificates_of_other_software_are_read_or_refused_for_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let request = |algorithm: &str, extra: &[&str]| {
        let common = ["req", "-x509", "-noenc", "-keyout", "k", "-out", "c.der", "-outform", "DER", "-days", "1"];
        openssl(folder.path(), &[&common[..], &["-newkey", algorithm, "-subj", "/C=DE/O=Acme/CN=a"], extra].concat());
        Certificate::parse(&std::fs::read(folder.path().join("c.der")).expect("is there"))
    };
    let read = request("ed25519", &[]).expect("parses");
    assert_eq!((read.subject(), read.keys()), ("C=DE, O=Acme, CN=a", None));
    assert!(!read.is_signed_alternatively());
    let refused = |error: Result<Certificate, CertificateError>| error.expect_err("is refused").to_string();
    assert_eq!(refused(request("rsa:2048", &[])), "the signature is not of `ed25519`");
    let mail = ["-addext", "subjectAltName=email:a@b"];
    assert_eq!(
        refused(request("ed25519", &mail)),
        "a certificate speaks for domains and addresses, not for a mail address"
    );
    let wild = ["-addext", "subjectAltName=DNS:*.acme"];
    assert!(refused(request("ed25519", &wild)).starts_with("`*.acme` is not a domain"));
    let critical = request("ed25519", &["-addext", "1.2.3.4=critical,DER:0500"]).expect("parses");
    assert_eq!(critical.unknown_critical().map(|extension| extension.oid.as_str()), Some("1.2.3.4"));
}

#[test]
fn malformed_der_is_refused_with_its_offset() {
    let pki = Pki::new();
    let der = pki.leaf.der();
    for cut in [0, 1, 3, 10, der.len() - 1] {
        assert!(matches!(Certificate::parse(&der[..cut]), Err(CertificateError::Der(_))), "{cut}");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = der.to_vec();
        bytes[at] = byte;
        Certificate::parse(&bytes).expect_err("is refused").to_string()
    };
    assert_eq!(with(0, 0x31), "malformed DER at byte `0`: a certificate is a sequence");
    // 30 82 .. .. 30 82 .. .. a0 03 02 01 02: the version is at byte 8, its number at 12.
    assert_eq!(with(12, 1), "malformed DER at byte `8`: only X.509 v3 is accepted");
    let longer = [der, &[0][..]].concat();
    assert!(matches!(Certificate::parse(&longer), Err(CertificateError::Der(error)) if error.offset == der.len()));
    let huge = vec![0x30; CERTIFICATE_BYTES_MAX + 1];
    assert_eq!(Certificate::parse(&huge), Err(CertificateError::TooLarge { actual: huge.len() }));
}

#[test]
fn the_cut_is_what_x509_2019_says() {
    // Written by hand from the clause, not with the cutter: drop the third field and the last extension, shorten three lengths.
    let pki = Pki::new();
    let cut = alternative::cut(pki.leaf.der()).expect("cuts");
    let issuer_key = &pki.publishers.certificate().alternative_key().expect("has one").clone();
    assert!(matches!(pki.leaf.verify_alternative(issuer_key), Some(Ok(()))));
    let der: &[u8] = pki.leaf.der();
    let ed25519 = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let at = der.windows(ed25519.len()).position(|window| window == ed25519).expect("is there");
    let value = [0x06, 0x03, 0x55, 0x1d, 74];
    let last = der.windows(value.len()).position(|window| window == value).expect("is there") - 4;
    let signed_end = 8 + usize::from(u16::from_be_bytes([der[6], der[7]]));
    assert!(last < signed_end, "the signature is the last extension");
    let by_hand = [&der[8..at], &der[at + ed25519.len()..last]].concat();
    // [3] { SEQUENCE { .. } } is the only place where lengths changed: four bytes each, six bytes from each other's end.
    let body = &cut.signed[4..];
    assert_eq!(body.len(), by_hand.len());
    let differences: Vec<usize> = (0..body.len()).filter(|i| body[*i] != by_hand[*i]).collect();
    assert!(differences.len() <= 4, "{differences:?}");
    assert!(differences.iter().all(|i| i.abs_diff(differences[0]) <= 6), "{differences:?}");
}

#[test]
fn an_authority_gives_no_more_than_it_has() {
    let pki = Pki::new();
    let keys = keys();
    let public = keys.public();
    let fault = |options: &LeafOptions<'_>| pki.publishers.leaf(options).expect_err("is refused").to_string();
    let (inside, outside) = (names(ACME), names("evil.other"));
    let hybrid = LeafKey::Hybrid(&public);
    assert_eq!(fault(&leaf(hybrid, &outside)), "`CN=authority` is limited to other domains than `evil.other`");
    assert_eq!(fault(&leaf(hybrid, &[])), "a certificate of a publisher needs a domain or an address");
    let validators = intermediate(&pki.root, Purpose::Validator, &[]);
    let one = LeafOptions { purpose: Purpose::Validator, ..leaf(LeafKey::Classical(&public.ed25519), &inside) };
    assert_eq!(validators.leaf(&one).expect_err("is refused").to_string(), "a validator needs both keys");
    let long = LeafOptions { validity: validity(ROOT_LIFETIME), ..leaf(hybrid, &inside) };
    assert_eq!(fault(&long), "the validity asked for is not within that of `CN=authority`");
    let node = LeafOptions { purpose: Purpose::Node, ..leaf(hybrid, &inside) };
    assert_eq!(fault(&node), "`CN=authority` does not issue certificates of a node");
    let below = IntermediateOptions {
        common_name: "below",
        keys: &public,
        purpose: Purpose::Publisher,
        path_length: 0,
        permitted: &["evil.other".to_owned()],
        validity: validity(Duration::DAY),
    };
    let refused = pki.publishers.intermediate(&below).expect_err("is refused").to_string();
    assert_eq!(refused, "`CN=authority` allows `0` authorities below it, and one that allows `0` more was asked for");
    assert!(matches!(Authority::new(pki.leaf.clone(), pki.publisher.clone()), Err(IssueError::NotAuthority { .. })));
    assert!(matches!(Authority::new(pki.root.certificate().clone(), keys), Err(IssueError::Keys { .. })));
}

#[test]
fn a_node_has_one_key_and_a_small_certificate() {
    let authority = intermediate(&root(), Purpose::Node, &[]);
    let key = ed25519::SecretKey::generate().expect("generates").public();
    let names =
        [SubjectName::Ip("2001:db8::1".parse().expect("an address")), SubjectName::dns("n.nodes").expect("valid")];
    let options = LeafOptions {
        purpose: Purpose::Node,
        validity: validity(NODE_LIFETIME * 2),
        ..leaf(LeafKey::Classical(&key), &names)
    };
    let node = authority.leaf(&options).expect("issues");
    assert_eq!((node.names(), node.keys(), node.is_signed_alternatively()), (&names[..], None, false));
    assert!(node.der().len() < 500, "{}", node.der().len());
}

#[test]
fn pem_holds_several_and_is_bounded() {
    let pki = Pki::new();
    let chain = [pki.leaf.clone(), pki.publishers.certificate().clone()];
    let text = format!("a note\n{}", to_pem(&chain));
    assert_eq!(from_pem(text.as_bytes()).expect("reads"), chain);
    assert!(text.lines().all(|line| line.len() <= 64));
    assert!(matches!(from_pem(b""), Err(PemError::Empty)));
    assert!(matches!(from_pem(&text.as_bytes()[..text.len() - 30]), Err(PemError::Text { index: 1, .. })));
    assert!(matches!(
        from_pem(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
        Err(PemError::Certificate { index: 0, .. })
    ));
    let many = to_pem(std::iter::repeat_n(&chain[0], PEM_CERTIFICATES_MAX + 1));
    assert!(matches!(from_pem(many.as_bytes()), Err(PemError::TooMany)));
    assert!(matches!(from_pem(&vec![b' '; PEM_BYTES_MAX + 1]), Err(PemError::TooLarge { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        let _ = from_pem(&bytes);
    }
}
