//! Every reason not to trust a library, each by its own name.

use std::sync::OnceLock;

use tempfile::TempDir;
use time::Duration;
use trustchain::DsseError;
use trustchain::revocation::Reason;

use super::*;
use crate::manifest::parse;
use crate::trust::{DEFAULT_PUBLISHER, InitOptions, IssueOptions, KeyKind, NewKeys, TrustHome, Unlock};

const LIBRARY: &[u8] = b"\x7fELF library";

fn manifest(rest: &str) -> Manifest {
    let (library, worker) = (Digest::of(LIBRARY), Digest::of(b"worker"));
    let text = format!(
        "{{apiVersion: extension.hypermesh/v1, id: catalog, version: 1.0.0, workers: [{{path: w, digest: '{worker}'}}],
          library: {{path: x.so, digest: '{library}', signature: x.sig}}{rest}}}"
    );
    parse(&text, "x").expect("valid")
}

fn subject() -> Subject {
    Subject::of(&manifest(""), Version::new(1, 0, 0))
}

fn made() -> TempDir {
    let home = tempfile::tempdir().expect("temporary directory");
    TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file()).expect("makes certificates");
    home
}

/// A home for the tests that change nothing in it.
fn home() -> &'static Path {
    static HOME: OnceLock<TempDir> = OnceLock::new();
    HOME.get_or_init(made).path()
}

fn signer(home: &Path, name: &str) -> Signer {
    TrustHome::open(home).expect("opens").signer(name, Unlock::key_file()).expect("is there")
}

fn signed(home: &Path) -> Vec<u8> {
    subject().sign(&signer(home, DEFAULT_PUBLISHER)).expect("signs")
}

fn verified(home: &Path, signature: &[u8], after: Duration) -> Result<Verified, SignatureError> {
    verify(&manifest(""), Digest::of(LIBRARY), Some(signature), home, OffsetDateTime::now_utc() + after)
}

fn refusal(home: &Path, signature: &[u8]) -> SignatureError {
    verified(home, signature, Duration::ZERO).expect_err("refused")
}

fn untrusted(error: SignatureError) -> PathError {
    match error {
        SignatureError::Refused(EnvelopeError::Untrusted(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_library_signed_by_a_publisher_of_the_home_is_verified() {
    let verified = verified(home(), &signed(home()), Duration::ZERO).expect("verified");
    assert_eq!(verified.library(), Digest::of(LIBRARY));
    let signer = signer(home(), DEFAULT_PUBLISHER);
    let expected = Voucher::Publisher {
        certificate: signer.certificate().fingerprint(),
        subject: "CN=local".to_owned(),
        contract: Version::new(1, 0, 0),
    };
    assert_eq!(verified.voucher(), &expected);
}

#[test]
fn wrong_bytes_no_signature_and_a_malformed_one_are_refused() {
    let now = OffsetDateTime::now_utc();
    let check = |library: &[u8], signature| {
        verify(&manifest(""), Digest::of(library), signature, home(), now).expect_err("refused")
    };
    let good = signed(home());
    assert!(matches!(check(b"other", Some(&good)), SignatureError::WrongDigest { .. }));
    assert!(matches!(check(LIBRARY, None), SignatureError::Unsigned { .. }));
    for malformed in [&b""[..], b"{}", &good[1..], &vec![b' '; SIGNATURE_BYTES_MAX + 1]] {
        let error = refusal(home(), malformed);
        assert!(
            matches!(error, SignatureError::Refused(EnvelopeError::Document(DsseError::Canonical(_)))),
            "{error:?}"
        );
    }
}

#[test]
fn a_signature_for_something_else_is_refused_by_the_field_that_differs() {
    type Change = fn(&mut Subject);
    let changes: [(&str, Change); 4] = [
        ("id", |subject| subject.id = "other".parse().expect("valid")),
        ("version", |subject| subject.version = Version::new(1, 0, 1)),
        ("library", |subject| subject.library = Digest::of(b"other")),
        ("workers", |subject| subject.workers.clear()),
    ];
    for (field, change) in changes {
        let mut other = subject();
        change(&mut other);
        let signature = other.sign(&signer(home(), DEFAULT_PUBLISHER)).expect("signs");
        let found = refusal(home(), &signature);
        assert!(matches!(found, SignatureError::WrongSubject { field: named, .. } if named == field), "{found}");
    }
}

#[test]
fn no_byte_of_a_signature_can_be_changed() {
    let good = signed(home());
    for at in (0..good.len()).step_by(97) {
        let mut altered = good.clone();
        altered[at] ^= 1 << (at % 7);
        assert!(verified(home(), &altered, Duration::ZERO).is_err(), "byte {at}");
    }
}

#[test]
fn strangers_and_those_who_are_no_publishers_are_refused() {
    let stranger = made();
    let error = untrusted(refusal(home(), &signed(stranger.path())));
    assert!(matches!(error, PathError::UnknownIssuer { .. }), "{error}");
    for other in ["validator-1", "publisher-authority"] {
        let signature = subject().sign(&signer(home(), other)).expect("signs");
        let error = untrusted(refusal(home(), &signature));
        assert!(matches!(error, PathError::WrongUsage { .. } | PathError::WrongRole { .. }), "{other}: {error}");
    }
    let node = subject().sign(&signer(home(), "node")).expect_err("a node has one key");
    assert!(node.to_string().contains("the keys are not those of `CN=node`"), "{node}");
    let empty = tempfile::tempdir().expect("temporary directory");
    let error = refusal(empty.path(), &signed(home()));
    assert!(matches!(error, SignatureError::Trust(TrustError::Uninitialized { .. })), "{error:?}");
}

#[test]
fn an_extension_is_signed_with_both_keys() {
    let home = made();
    let options = IssueOptions { keys: KeyKind::Classical, ..IssueOptions::new(Purpose::Publisher, "small") };
    let trust = TrustHome::open(home.path()).expect("opens");
    trust.issue(&options, &Unlock::key_file()).expect("issues");
    let signature = subject().sign(&signer(home.path(), "small")).expect("signs");
    let error = refusal(home.path(), &signature);
    assert!(matches!(error, SignatureError::Refused(EnvelopeError::ClassicalSigner { .. })), "{error:?}");
}

#[test]
fn times_and_revocations_count() {
    let home = made();
    let trust = TrustHome::open(home.path()).expect("opens");
    let unlock = Unlock::key_file();
    let short = IssueOptions { lifetime: Some(Duration::days(2)), ..IssueOptions::new(Purpose::Publisher, "short") };
    trust.issue(&short, &unlock).expect("issues");
    let signature = subject().sign(&signer(home.path(), "short")).expect("signs");
    let at = |after| untrusted(verified(home.path(), &signature, after).expect_err("refused"));
    assert!(matches!(at(Duration::days(3)), PathError::Expired { .. }));
    assert!(matches!(at(-Duration::hours(1)), PathError::NotYetValid { .. }));
    let local = untrusted(verified(home.path(), &signed(home.path()), Duration::days(31)).expect_err("refused"));
    assert!(matches!(local, PathError::RevocationStale { .. }), "{local}");
    trust.revoke("short", Reason::PrivilegeWithdrawn, None, &unlock).expect("revokes");
    assert!(matches!(at(Duration::ZERO), PathError::Revoked { .. }));
    trust.renew("short", NewKeys::Make, None, &unlock).expect("renews");
    let signature = subject().sign(&signer(home.path(), "short")).expect("signs");
    verified(home.path(), &signature, Duration::ZERO).expect("the new certificate counts");
    std::fs::remove_dir_all(trust.directory().join("lists")).expect("removed");
    let error = untrusted(refusal(home.path(), &signature));
    assert!(matches!(error, PathError::RevocationUnknown { .. }), "{error}");
}

#[test]
fn the_administrator_may_vouch_for_the_digest_and_for_nothing_else() {
    let (basic, nowhere) = (manifest(", trust: basic"), Path::new("/nonexistent"));
    let check = |library: &[u8]| verify(&basic, Digest::of(library), None, nowhere, OffsetDateTime::now_utc());
    assert_eq!(check(LIBRARY).expect("verified").voucher(), &Voucher::Administrator);
    assert!(matches!(check(b"x"), Err(SignatureError::WrongDigest { .. })));
}
