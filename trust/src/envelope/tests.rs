//! Tests of release statements and everything that must not pass for one.

use data_encoding::BASE64;
use proptest::prelude::*;
use serde_json::{Value, json};

use time::Duration;

use super::*;
use crate::SKEW;
use crate::certificate::LeafKey;
use crate::digest::Blake3;
use crate::ed25519;
use crate::falcon::{FalconError, SIGNATURE_BYTES_MAX};
use crate::hybrid::SecretKey;
use crate::path::Hybrid;
use crate::testing::{ACME, NOW, Pki, keys, leaf, names};

fn release() -> Release {
    Release {
        package: "acme/vec".to_owned(),
        version: "1.2.0".parse().expect("a version"),
        artifact: Artifact::of(b"archive"),
        manifest: Blake3::of(b"manifest"),
        lock: Some(Blake3::of(b"lock")),
        signed_at: NOW,
        tool: "catalog 1.0.0".to_owned(),
    }
}

struct Signed {
    pki: Pki,
    roots: Roots,
    bytes: Vec<u8>,
}

impl Signed {
    fn new() -> Self {
        let pki = Pki::new();
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::Required).expect("a root");
        let bytes = seal(&release(), &chain(&pki), ChainForm::Inline, &pki.publisher).expect("signs");
        Self { pki, roots, bytes }
    }

    fn verify(&self, bytes: &[u8]) -> Result<VerifiedRelease, EnvelopeError> {
        self.verify_with(bytes, None, NOW)
    }

    /// As this one, for who believes publishers with one key.
    fn lenient() -> Self {
        let mut signed = Self::new();
        signed.roots = Roots::new(vec![signed.pki.root.certificate().clone()], Hybrid::IfPresent).expect("a root");
        signed
    }

    fn verify_with(
        &self,
        bytes: &[u8],
        chain: Option<&[Certificate]>,
        at: OffsetDateTime,
    ) -> Result<VerifiedRelease, EnvelopeError> {
        let options = VerifyOptions { roots: &self.roots, chain, at, revocation: Revocation::Unchecked };
        Envelope::parse(bytes)?.verify(&options)
    }

    /// Changes the envelope's JSON and writes it in canonical form again, as an attacker would.
    fn altered(&self, alter: impl FnOnce(&mut Value)) -> EnvelopeError {
        let mut json: Value = serde_json::from_slice(&self.bytes).expect("JSON");
        alter(&mut json);
        self.verify(&crate::canonical::write(&json).expect("writes")).expect_err("is refused")
    }
}

fn chain(pki: &Pki) -> Vec<Certificate> {
    vec![pki.leaf.clone(), pki.publishers.certificate().clone()]
}

fn decoded(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().expect("text").as_bytes()).expect("base64")
}

#[test]
fn a_release_is_vouched_for() {
    let signed = Signed::new();
    let verified = signed.verify(&signed.bytes).expect("verifies");
    assert_eq!(verified.release(), &release());
    assert_eq!(verified.signer(), &signed.pki.leaf);
    assert_eq!(verified.algorithms(), ["ed25519", "falcon-1024-r3"]);
    assert_eq!(verified.chain().certificates().len(), 3);
    verified.expect_artifact(&Artifact::of(b"archive")).expect("the same bytes");
    let error = verified.expect_artifact(&Artifact::of(b"archivf")).expect_err("other bytes").to_string();
    assert!(error.starts_with("the bytes of `acme/vec@1.2.0` have SHA-256 `"), "{error}");
    assert!((11_000..13_000).contains(&signed.bytes.len()), "{}", signed.bytes.len());
}

#[test]
fn the_statement_is_in_toto_in_canonical_json() {
    let signed = Signed::new();
    let envelope: Value = serde_json::from_slice(&signed.bytes).expect("JSON");
    let statement: Value = serde_json::from_slice(&decoded(&envelope["payload"])).expect("JSON");
    let artifact = Artifact::of(b"archive");
    assert_eq!(
        statement,
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": {
                "lock": Blake3::of(b"lock").to_string(),
                "manifest": Blake3::of(b"manifest").to_string(),
                "signedAt": "2030-01-01T12:00:00Z",
                "signer": signed.pki.leaf.fingerprint().to_string(),
                "size": 7,
                "tool": "catalog 1.0.0",
            },
            "predicateType": "https://hypermesh.online/attestation/release/v1",
            "subject": [{
                "digest": {"blake3": artifact.blake3.to_string(), "sha256": artifact.sha256.to_string()},
                "name": "acme/vec@1.2.0",
            }],
        })
    );
    assert_eq!(envelope["payloadType"], PAYLOAD_TYPE);
}

#[test]
fn both_signatures_are_there_once_and_nothing_else_whatever_the_roots_say() {
    [Signed::new(), Signed::lenient()].iter().for_each(expect_both_signatures);
}

fn expect_both_signatures(signed: &Signed) {
    let wrong = |alter: fn(&mut Vec<Value>)| {
        let error = signed.altered(|json| alter(json["signatures"].as_array_mut().expect("a list")));
        let EnvelopeError::Document(DsseError::Signatures { actual }) = error else { panic!("{error:?}") };
        actual.join(" ")
    };
    assert_eq!(wrong(|list| drop(list.remove(0))), "falcon-1024-r3", "one stripped");
    assert_eq!(wrong(|list| drop(list.remove(1))), "ed25519", "the other stripped");
    assert_eq!(wrong(Vec::clear), "");
    assert_eq!(wrong(|list| list[1] = list[0].clone()), "ed25519 ed25519", "one doubled");
    assert_eq!(wrong(|list| list.swap(0, 1)), "falcon-1024-r3 ed25519");
    assert_eq!(wrong(|list| list.push(list[0].clone())), "ed25519 falcon-1024-r3 ed25519", "a third");
    assert_eq!(wrong(|list| list[1]["keyid"] = "fn-dsa-1024".into()), "ed25519 fn-dsa-1024", "renamed");
    let forged = signed.altered(|json| {
        let other = keys().sign(b"another message").expect("signs");
        json["signatures"][1]["sig"] = BASE64.encode(other.falcon.as_bytes()).into();
    });
    let EnvelopeError::Document(DsseError::Signature(HybridError::Falcon(error))) = forged else {
        panic!("{forged:?}")
    };
    assert!(matches!(error, FalconError::Forged), "a wrong one is not looked past: {error}");
}

#[test]
fn payload_type_and_form_are_what_was_signed() {
    let signed = Signed::new();
    let error = signed.altered(|json| {
        let mut payload = decoded(&json["payload"]);
        let at = payload.windows(5).position(|window| window == b"1.2.0").expect("is there");
        payload[at] = b'2';
        json["payload"] = BASE64.encode(&payload).into();
    });
    assert!(matches!(error, EnvelopeError::Document(DsseError::Signature(HybridError::Ed25519(_)))), "{error:?}");
    let error = signed.altered(|json| json["payloadType"] = "application/json".into());
    assert_eq!(
        error.to_string(),
        "the document is of type `application/json`, expected `application/vnd.in-toto+json`"
    );
    let error = signed.altered(|json| {
        let mut falcon = decoded(&json["signatures"][1]["sig"]);
        falcon.resize(SIGNATURE_BYTES_MAX.max(falcon.len() + 1), 0);
        json["signatures"][1]["sig"] = BASE64.encode(&falcon).into();
    });
    assert!(
        matches!(error, EnvelopeError::Document(DsseError::Signature(HybridError::Falcon(FalconError::Form { .. })))),
        "{error:?}"
    );
    let error = signed.altered(|json| json["signed"] = true.into());
    assert!(matches!(error, EnvelopeError::Document(DsseError::Canonical(CanonicalError::Json(_)))));
}

#[test]
fn one_stolen_key_of_a_publisher_is_not_enough() {
    let signed = Signed::new();
    let attacker = keys();
    let own = &signed.pki.publisher;
    for (ed25519, falcon) in [(own, &attacker), (&attacker, own)] {
        let keys = SecretKey { ed25519: ed25519.ed25519.clone(), falcon: falcon.falcon.clone() };
        let error = seal(&release(), &chain(&signed.pki), ChainForm::Inline, &keys).expect_err("is refused");
        assert_eq!(error.to_string(), "the keys are not those of `CN=acme`");
        let payload = statement::write(&release(), signed.pki.leaf.fingerprint()).expect("writes");
        let mut envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, &keys).expect("signs");
        envelope.x5c = Some(chain(&signed.pki).iter().map(|c| BASE64.encode(c.der())).collect());
        let error = signed.verify(&envelope.write().expect("writes")).expect_err("is refused");
        assert!(matches!(error, EnvelopeError::Document(DsseError::Signature(_))), "{error:?}");
    }
}

#[test]
fn every_flipped_byte_of_an_envelope_is_refused() {
    let mut signed = Signed::new();
    expect_no_flipped_byte(&signed);
    // And of one with one signature, below roots that are content with it.
    signed = Signed::lenient();
    let (key, leaf) = signed.pki.classical();
    let chain = [leaf, signed.pki.publishers.certificate().clone()];
    signed.bytes = seal(&release(), &chain, ChainForm::Inline, &key).expect("signs");
    expect_no_flipped_byte(&signed);
}

fn expect_no_flipped_byte(signed: &Signed) {
    for at in 0..signed.bytes.len() {
        let mut bytes = signed.bytes.clone();
        bytes[at] ^= 1 << (at % 7);
        assert!(signed.verify(&bytes).is_err(), "byte {at}");
    }
    for cut in (0..signed.bytes.len()).step_by(97) {
        assert!(signed.verify(&signed.bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_chain_travels_by_digest() {
    let signed = Signed::new();
    let chain = chain(&signed.pki);
    let bytes = seal(&release(), &chain, ChainForm::Digest, &signed.pki.publisher).expect("signs");
    assert!(bytes.len() < 3_500, "{}", bytes.len());
    let parsed = Envelope::parse(&bytes).expect("parses");
    assert_eq!(parsed.chain(), &ChainReference::Digest(chain_digest(&chain)));
    assert_eq!(signed.verify_with(&bytes, Some(&chain), NOW).expect("verifies").release(), &release());
    let reason = |given| signed.verify_with(&bytes, given, NOW).expect_err("is refused").to_string();
    assert_eq!(reason(None), "the signer's chain is not usable: it travels apart and was not given");
    assert!(reason(Some(&chain[..1])).ends_with("the certificates given are not those of its digest"));
    let both = signed.altered(|json| json["chain"] = chain_digest(&chain).to_string().into());
    assert!(matches!(both, EnvelopeError::Chain { .. }));
    let neither = signed.altered(|json| drop(json.as_object_mut().expect("an object").remove("x5c")));
    assert!(matches!(neither, EnvelopeError::Chain { .. }));
}

#[test]
fn another_certificate_of_the_same_keys_is_not_the_signer() {
    let signed = Signed::new();
    let (public, acme) = (signed.pki.publisher.public(), names(ACME));
    let twin = signed.pki.publishers.leaf(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let error = signed.altered(|json| json["x5c"][0] = BASE64.encode(twin.der()).into());
    assert!(matches!(error, EnvelopeError::OtherSigner { actual, .. } if actual == twin.fingerprint()), "{error:?}");
}

#[test]
fn the_signer_is_trusted_owns_the_namespace_and_was_valid() {
    let signed = Signed::new();
    let stranger = Signed::new();
    assert!(matches!(stranger.verify(&signed.bytes), Err(EnvelopeError::Untrusted(PathError::Forged { .. }))));
    let made = |change: fn(&mut Release)| {
        let mut release = release();
        change(&mut release);
        let bytes = seal(&release, &chain(&signed.pki), ChainForm::Inline, &signed.pki.publisher).expect("signs");
        signed.verify(&bytes).map_err(|error| error.to_string())
    };
    let error = made(|release| release.package = "other/vec".to_owned()).expect_err("is refused");
    assert_eq!(error, "`CN=acme` does not own the namespace of package `other/vec`");
    made(|release| release.package = "vec".to_owned()).expect("no namespace, no owner");
    made(|release| release.signed_at += SKEW).expect("clocks differ");
    let error = made(|release| release.signed_at += SKEW + Duration::SECOND).expect_err("is refused");
    assert!(error.ends_with("in the future"), "{error}");
    let error = made(|release| release.signed_at -= Duration::DAY * 2).expect_err("is refused");
    assert!(error.ends_with("when its certificate was not valid"), "{error}");
    let later = signed.verify_with(&signed.bytes, None, NOW + Duration::DAY * 90).expect_err("is refused");
    assert!(matches!(later, EnvelopeError::Untrusted(PathError::Expired { .. })), "unless its time is vouched for");
}

#[test]
fn a_signer_with_one_key_is_believed_only_where_the_roots_are_content_with_one() {
    let (mut signed, lenient) = (Signed::new(), Signed::lenient());
    let (key, leaf) = lenient.pki.classical();
    let chain = [leaf.clone(), lenient.pki.publishers.certificate().clone()];
    let bytes = seal(&release(), &chain, ChainForm::Inline, &key).expect("signs");
    let verified = lenient.verify(&bytes).expect("verifies");
    assert_eq!((verified.signer(), verified.algorithms()), (&leaf, &["ed25519"][..]));
    assert_eq!(verified.chain().algorithms(), ["ed25519"]);
    signed.roots = Roots::new(lenient.roots.certificates().to_vec(), Hybrid::Required).expect("a root");
    let error = signed.verify(&bytes).expect_err("is refused");
    assert_eq!(error.to_string(), "`CN=acme` has one key, and releases are signed with both");
    let other = ed25519::SecretKey::generate().expect("generates");
    let refused = [
        seal(&release(), &chain, ChainForm::Inline, &other),
        seal(&release(), &chain, ChainForm::Inline, &lenient.pki.publisher),
        seal(&release(), &self::chain(&lenient.pki), ChainForm::Inline, &lenient.pki.publisher.ed25519),
    ];
    for error in refused.map(|sealed| sealed.expect_err("is refused")) {
        assert!(matches!(error, EnvelopeError::Keys { .. }), "neither other keys, nor more, nor fewer: {error}");
    }
}

#[test]
fn what_a_signer_with_one_key_did_not_sign_is_refused() {
    let lenient = Signed::lenient();
    let (key, leaf) = lenient.pki.classical();
    let authority = lenient.pki.publishers.certificate();
    let payload = statement::write(&release(), leaf.fingerprint()).expect("writes");
    let under = |keys: SignerKeys<'_>| {
        let mut envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, keys).expect("signs");
        envelope.x5c = Some([&leaf, authority].map(|c| BASE64.encode(c.der())).to_vec());
        lenient.verify(&envelope.write().expect("writes"))
    };
    under(SignerKeys::Classical(&key)).expect("verifies");
    let forged = under(SignerKeys::Classical(&lenient.pki.publisher.ed25519)).expect_err("is refused");
    assert!(matches!(forged, EnvelopeError::Document(DsseError::Signature(HybridError::Ed25519(_)))), "{forged:?}");
    // A second signature that no key of the leaf stands for is not ignored.
    let both = SecretKey { ed25519: key, falcon: keys().falcon };
    let more = under(SignerKeys::Hybrid(&both)).expect_err("is refused");
    assert_eq!(more.to_string(), "`CN=acme` has one key, and releases are signed with both");
}

#[test]
fn a_leaf_loses_its_second_key_to_nobody() {
    // An attacker without FALCON keys shows the leaf as it would be with one key: the Ed25519 signature covers the other.
    let lenient = Signed::lenient();
    let stranger = Signed::new();
    let public = lenient.pki.publisher.ed25519.public();
    let posing = stranger.pki.publishers.leaf(&leaf(LeafKey::Classical(&public), &names(ACME))).expect("issues");
    let chain = [posing, lenient.pki.publishers.certificate().clone()];
    let bytes = seal(&release(), &chain, ChainForm::Inline, &lenient.pki.publisher.ed25519).expect("signs");
    let error = lenient.verify(&bytes).expect_err("is refused");
    assert!(
        matches!(error, EnvelopeError::Untrusted(PathError::Forged { .. } | PathError::Profile { .. })),
        "{error:?}"
    );
}

#[test]
fn a_statement_that_says_something_else_is_refused() {
    let signed = Signed::new();
    let refused = |alter: fn(&mut Value)| {
        let payload = statement::write(&release(), signed.pki.leaf.fingerprint()).expect("writes");
        let mut json: Value = serde_json::from_slice(&payload).expect("JSON");
        alter(&mut json);
        let payload = crate::canonical::write(&json).expect("writes");
        let mut envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, &signed.pki.publisher).expect("signs");
        envelope.x5c = Some(chain(&signed.pki).iter().map(|c| BASE64.encode(c.der())).collect());
        match signed.verify(&envelope.write().expect("writes")) {
            Err(EnvelopeError::Statement(StatementError::Field { field, .. })) => field,
            Err(EnvelopeError::Statement(StatementError::Canonical(_))) => "canonical",
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|json| json["_type"] = "x".into()), "_type");
    assert_eq!(refused(|json| json["predicateType"] = "x".into()), "predicateType");
    assert_eq!(refused(|json| json["subject"] = json!([])), "subject");
    for name in ["vec", "vec@", "vec@1", "Vec@1.0.0", "a/b/c@1.0.0", "@1.0.0"] {
        let alter = |json: &mut Value| json["subject"][0]["name"] = name.into();
        let payload = statement::write(&release(), signed.pki.leaf.fingerprint()).expect("writes");
        let mut json: Value = serde_json::from_slice(&payload).expect("JSON");
        alter(&mut json);
        assert!(statement::read(&crate::canonical::write(&json).expect("writes")).is_err(), "{name}");
    }
    assert_eq!(refused(|json| json["predicate"]["signedAt"] = "2030-01-01T13:00:00+01:00".into()), "canonical");
    assert_eq!(refused(|json| json["predicate"]["signer"] = "x".into()), "predicate.signer");
    assert_eq!(refused(|json| json["predicate"]["tool"] = "\n".into()), "predicate.tool");
    assert_eq!(refused(|json| json["predicate"]["size"] = json!("7")), "canonical");
    assert_eq!(refused(|json| json["predicate"]["extra"] = json!(1)), "canonical");
    assert_eq!(refused(|json| json["subject"][0]["digest"]["sha256"] = "AA".into()), "canonical");
    let long = Release { package: format!("a{}", "b".repeat(NAME_CHARS_MAX)), ..release() };
    assert!(statement::write(&long, signed.pki.leaf.fingerprint()).is_err());
    let long = Release { tool: "t".repeat(TOOL_CHARS_MAX + 1), ..release() };
    assert!(statement::write(&long, signed.pki.leaf.fingerprint()).is_err());
}

#[test]
fn sizes_are_bounded() {
    let signed = Signed::new();
    let huge = vec![b' '; ENVELOPE_BYTES_MAX + 1];
    assert!(matches!(
        signed.verify(&huge),
        Err(EnvelopeError::Document(DsseError::Canonical(CanonicalError::TooLarge { .. })))
    ));
    let long = vec![signed.pki.leaf.clone(); 2 + INTERMEDIATES_MAX];
    assert!(matches!(
        seal(&release(), &long, ChainForm::Digest, &signed.pki.publisher),
        Err(EnvelopeError::Chain { .. })
    ));
    let error = signed.altered(|json| {
        let leaf = json["x5c"][0].clone();
        json["x5c"] = vec![leaf; 2 + INTERMEDIATES_MAX].into();
    });
    assert!(matches!(error, EnvelopeError::Chain { .. }));
}

#[test]
fn a_statement_that_is_too_long_to_be_read_is_not_signed() {
    let pki = Pki::new();
    let sealed = |length: usize| {
        let version = format!("1.0.0-{}", "a".repeat(length)).parse().expect("a version");
        seal(&Release { version, ..release() }, &chain(&pki), ChainForm::Inline, &pki.publisher)
    };
    assert!(Envelope::parse(&sealed(7_000).expect("signs")).is_ok());
    assert!(matches!(sealed(8_192), Err(EnvelopeError::Statement(StatementError::Canonical(_)))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(Envelope::parse(&bytes).is_err());
    }
}
