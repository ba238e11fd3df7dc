//! Tests of revocation lists.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use time::Duration;

use super::*;
use crate::certificate::{LeafKey, Purpose};
use crate::hybrid::SecretKey;
use crate::path::{Hybrid, PathError, Request, Revocation, Roots};
use crate::testing::{ACME, NOW, Pki, keys, leaf, names};

fn options(number: u64, entries: &[Entry]) -> ListOptions<'_> {
    ListOptions { number, issued: NOW, expires: NOW + Duration::DAY, entries }
}

fn list(authority: &Authority, number: u64, entries: &[Entry]) -> Vec<u8> {
    authority.revocation_list(&options(number, entries)).expect("signs")
}

fn verified(authority: &Authority, number: u64, entries: &[Entry]) -> RevocationList {
    let bytes = list(authority, number, entries);
    RevocationList::verify(&bytes, authority.certificate(), NOW, None).expect("verifies")
}

#[test]
fn a_list_says_who_is_revoked_and_since_when() {
    let pki = Pki::new();
    let entry = Entry::of(&pki.leaf, Reason::Superseded, NOW);
    let found = verified(&pki.publishers, 7, std::slice::from_ref(&entry));
    assert_eq!((found.number(), found.issued(), found.expires()), (7, NOW, NOW + Duration::DAY));
    assert_eq!(found.entries(), [entry]);
    assert!(found.is_of(pki.publishers.certificate()) && !found.is_of(pki.root.certificate()));
    let revoked = Status::Revoked { reason: Reason::Superseded, effective: NOW };
    assert_eq!(found.status(&pki.leaf, NOW), revoked);
    assert_eq!(found.status(&pki.leaf, NOW - Duration::SECOND), Status::Good, "what was signed before still counts");
    assert_eq!(found.status(pki.publishers.certificate(), NOW), Status::Good);
}

#[test]
fn a_compromised_key_is_revoked_in_every_certificate() {
    let pki = Pki::new();
    let (public, acme) = (pki.publisher.public(), names(ACME));
    let twin = pki.publishers.leaf(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let compromised = verified(&pki.publishers, 1, &[Entry::of(&pki.leaf, Reason::KeyCompromise, NOW)]);
    assert!(matches!(compromised.status(&twin, NOW), Status::Revoked { .. }));
    let superseded = verified(&pki.publishers, 1, &[Entry::of(&pki.leaf, Reason::Superseded, NOW)]);
    assert_eq!(superseded.status(&twin, NOW), Status::Good);
}

#[test]
fn an_older_or_second_list_of_a_number_is_refused() {
    let pki = Pki::new();
    let authority = pki.publishers.certificate();
    let (old, new) = (list(&pki.publishers, 1, &[]), verified(&pki.publishers, 2, &[]));
    let error = RevocationList::verify(&old, authority, NOW, Some(new.seen())).expect_err("is refused");
    assert_eq!(error.to_string(), "revocation list `1` is older than list `2`, which was seen before");
    let other = list(&pki.publishers, 2, &[Entry::of(&pki.leaf, Reason::Superseded, NOW)]);
    let error = RevocationList::verify(&other, authority, NOW, Some(new.seen())).expect_err("is refused");
    assert!(matches!(error, RevocationError::Fork { number: 2 }));
    let same = list(&pki.publishers, 2, &[]);
    RevocationList::verify(&same, authority, NOW, Some(new.seen())).expect("signed anew, the same content");
    RevocationList::verify(&list(&pki.publishers, 3, &[]), authority, NOW, Some(new.seen())).expect("newer");
}

#[test]
fn a_list_is_fresh() {
    let pki = Pki::new();
    let bytes = list(&pki.publishers, 1, &[]);
    let at = |now| RevocationList::verify(&bytes, pki.publishers.certificate(), now, None);
    at(NOW + Duration::DAY).expect("the last second");
    assert!(matches!(at(NOW + Duration::DAY + Duration::SECOND), Err(RevocationError::Stale { number: 1, .. })));
    at(NOW - crate::SKEW).expect("clocks differ");
    assert!(matches!(at(NOW - crate::SKEW - Duration::SECOND), Err(RevocationError::Future { .. })));
}

#[test]
fn only_its_authority_signs_a_list_and_with_both_keys() {
    let pki = Pki::new();
    let bytes = list(&pki.publishers, 1, &[]);
    let by = |certificate| RevocationList::verify(&bytes, certificate, NOW, None).expect_err("is refused");
    assert!(matches!(by(pki.root.certificate()), RevocationError::Document(DsseError::Signature(_))));
    assert!(matches!(by(&pki.leaf), RevocationError::NotAuthority { .. }));
    let attacker = keys();
    let own = pki.publishers.keys();
    for (ed25519, falcon) in [(own, &attacker), (&attacker, own)] {
        let keys = SecretKey { ed25519: ed25519.ed25519.clone(), falcon: falcon.falcon.clone() };
        let posing = Authority::with_other_keys(pki.publishers.certificate().clone(), keys);
        let forged = list(&posing, 2, &[]);
        let error = RevocationList::verify(&forged, pki.publishers.certificate(), NOW, None).expect_err("is refused");
        assert!(matches!(error, RevocationError::Document(DsseError::Signature(_))));
    }
}

#[test]
fn every_flipped_byte_is_refused() {
    let pki = Pki::new();
    let bytes = list(&pki.publishers, 1, &[Entry::of(&pki.leaf, Reason::KeyCompromise, NOW)]);
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 7);
        assert!(RevocationList::verify(&altered, pki.publishers.certificate(), NOW, None).is_err(), "byte {at}");
    }
}

#[test]
fn a_list_that_is_signed_and_malformed_is_refused() {
    let pki = Pki::new();
    let entry = Entry::of(&pki.leaf, Reason::Superseded, NOW);
    let fault = |alter: fn(&mut Value)| {
        let wire = Wire {
            authority: authority_id(pki.publishers.certificate()).expect("an authority"),
            entries: vec![WireEntry::from(&entry)],
            expires: NOW + Duration::DAY,
            issued: NOW,
            number: 1,
        };
        let mut json = serde_json::to_value(&wire).expect("JSON");
        alter(&mut json);
        let payload = serde_json::to_vec(&json).expect("JSON");
        let payload = canonical::write(&json).unwrap_or(payload);
        let envelope = dsse::Envelope::seal(PAYLOAD_TYPE, &payload, pki.publishers.keys()).expect("signs");
        let bytes = envelope.write().expect("writes");
        RevocationList::verify(&bytes, pki.publishers.certificate(), NOW, None).expect_err("is refused").to_string()
    };
    assert!(fault(|json| json["entries"][0]["serial"] = "00".into()).contains("a serial number is not"));
    assert!(fault(|json| json["entries"][0]["serial"] = "AB".into()).contains("a serial number is not"));
    let twice = |json: &mut Value| json["entries"] = json!([json["entries"][0], json["entries"][0]]);
    assert!(fault(twice).contains("one comes twice"));
    assert!(fault(|json| json["expires"] = json["issued"].clone()).contains("expires before it begins"));
    assert!(fault(|json| json["authority"] = "00".repeat(32).into()).contains("another authority"));
    assert!(fault(|json| json["extra"] = json!(1)).contains("malformed"));
    assert!(fault(|json| json["entries"][0]["reason"] = "x".into()).contains("malformed"));
}

#[test]
fn lists_are_bounded() {
    let pki = Pki::new();
    let entry = |n: usize| Entry {
        serial: Serial::from_bytes(&[&[1][..], &n.to_be_bytes()].concat()).expect("a serial number"),
        key: None,
        reason: Reason::Superseded,
        effective: NOW,
    };
    let entries: Vec<_> = (0..=ENTRIES_MAX).map(entry).collect();
    let most = verified(&pki.publishers, 1, &entries[1..]);
    assert_eq!(most.entries().len(), ENTRIES_MAX);
    let error = pki.publishers.revocation_list(&options(1, &entries)).expect_err("is refused");
    assert_eq!(error.to_string(), "the revocation list is malformed: it has more than 32768 entries");
    let error = pki.publishers.revocation_list(&options(NUMBER_MAX + 1, &[])).expect_err("is refused");
    assert_eq!(error.to_string(), "the revocation list is malformed: its number is not below 2^53");
    let huge = vec![b' '; LIST_BYTES_MAX + 1];
    let error = RevocationList::verify(&huge, pki.publishers.certificate(), NOW, None).expect_err("is refused");
    assert!(matches!(error, RevocationError::Document(DsseError::Canonical(CanonicalError::TooLarge { .. }))));
}

#[test]
fn paths_are_checked_against_the_lists_of_every_issuer() {
    let pki = Pki::new();
    let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::Required).expect("a root");
    let intermediates = pki.intermediates();
    let ask = |lists: &[RevocationList], at, now| {
        let revocation = Revocation::Lists { lists, now };
        let purpose = Purpose::Publisher;
        roots.validate(&Request { leaf: &pki.leaf, intermediates: &intermediates, purpose, at, revocation })
    };
    let (of_root, clean) = (verified(&pki.root, 1, &[]), verified(&pki.publishers, 1, &[]));
    let both = [of_root.clone(), clean];
    ask(&both, NOW, NOW).expect("nothing is revoked");
    assert!(matches!(ask(&both, NOW, NOW + Duration::DAY * 2), Err(PathError::RevocationStale { .. })));
    let error = ask(std::slice::from_ref(&of_root), NOW, NOW).expect_err("is refused").to_string();
    assert_eq!(error, "no revocation list covers the certificate of `CN=acme`");
    let revoked = verified(&pki.publishers, 2, &[Entry::of(&pki.leaf, Reason::KeyCompromise, NOW)]);
    let lists = [of_root, revoked];
    assert!(matches!(ask(&lists, NOW, NOW), Err(PathError::Revoked { subject }) if subject == "CN=acme"));
    ask(&lists, NOW - Duration::HOUR, NOW).expect("a trusted time before it took effect");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);
        prop_assert!(RevocationList::verify(&bytes, PKI.root.certificate(), NOW, None).is_err());
    }
}
