//! Tests of paths, and every fault by its name.

use time::Duration;

use super::*;
use crate::certificate::{
    Authority, CrlOptions, IntermediateOptions, LeafKey, LeafOptions, NODE_LIFETIME, Revoked, Validity,
};
use crate::ed25519;
use crate::falcon::FalconError;
use crate::hybrid::SecretKey;
use crate::testing::{ACME, NOW, Pki, intermediate, keys, leaf, names, root, validity};

fn pinned(root: &Authority) -> Roots {
    Roots::new(vec![root.certificate().clone()], Hybrid::Required).expect("a root")
}

fn request<'a>(leaf: &'a Certificate, intermediates: &'a [Certificate]) -> Request<'a> {
    Request { leaf, intermediates, purpose: Purpose::Publisher, at: NOW, revocation: Revocation::Unchecked }
}

fn refusal(roots: &Roots, request: &Request<'_>) -> PathError {
    roots.validate(request).expect_err("is refused")
}

/// An authority whose certificate is genuine and one of whose keys is another.
fn with_keys(authority: &Authority, ed25519: &SecretKey, falcon: &SecretKey) -> Authority {
    let keys = SecretKey { ed25519: ed25519.ed25519.clone(), falcon: falcon.falcon.clone() };
    Authority::with_other_keys(authority.certificate().clone(), keys)
}

#[test]
fn a_chain_is_found_leaf_to_root() {
    let pki = Pki::new();
    let (roots, intermediates) = (pinned(&pki.root), pki.intermediates());
    let chain = roots.validate(&request(&pki.leaf, &intermediates)).expect("validates");
    assert_eq!(
        chain.certificates(),
        [pki.leaf.clone(), pki.publishers.certificate().clone(), pki.root.certificate().clone()]
    );
    assert_eq!((chain.leaf(), chain.root()), (&pki.leaf, pki.root.certificate()));
    assert_eq!((chain.purpose(), chain.algorithms()), (Purpose::Publisher, &["ed25519", "falcon-1024-r3"][..]));
}

#[test]
fn names_decide_nothing() {
    let pki = Pki::new();
    // The same names all the way, other keys: the monorepo compared common names.
    let twin = Pki::new();
    let roots = pinned(&pki.root);
    let error = refusal(&roots, &request(&twin.leaf, &twin.intermediates()));
    assert_eq!(
        error.to_string(),
        "the `ed25519` signature of the certificate of `CN=authority` is not that of `CN=TrustChain root`"
    );
    let error = refusal(&roots, &request(&twin.leaf, &pki.intermediates()));
    assert!(matches!(error, PathError::Forged { subject, .. } if subject == "CN=acme"));
}

#[test]
fn a_missing_issuer_is_named() {
    let pki = Pki::new();
    let error = refusal(&pinned(&pki.root), &request(&pki.leaf, &[]));
    assert_eq!(error.to_string(), "nobody known issued the certificate of `CN=acme`, it names `CN=authority`");
    let stray = Authority::root("other", keys(), validity(Duration::DAY * 10)).expect("issues");
    let error = refusal(&pinned(&stray), &request(&pki.leaf, &pki.intermediates()));
    assert!(
        matches!(error, PathError::UnknownIssuer { subject, issuer } if subject == "CN=authority" && issuer == "CN=TrustChain root")
    );
}

#[test]
fn time_is_checked_for_every_certificate() {
    let pki = Pki::new();
    let (roots, intermediates) = (pinned(&pki.root), pki.intermediates());
    let at = |at| Request { at, ..request(&pki.leaf, &intermediates) };
    let Validity { not_before, not_after } = pki.leaf.validity();
    for inside in [not_before, not_after] {
        roots.validate(&at(inside)).expect("both ends are included");
    }
    let error = refusal(&roots, &at(not_after + Duration::SECOND)).to_string();
    assert_eq!(error, "the certificate of `CN=acme` expired at `2030-03-31T12:00:00Z`");
    assert!(matches!(refusal(&roots, &at(not_before - Duration::SECOND)), PathError::NotYetValid { .. }));

    // A root that is over, which webpki alone does not look at.
    let short = Authority::root("short", keys(), validity(Duration::DAY * 2)).expect("issues");
    let child = {
        let keys = keys();
        let options = IntermediateOptions {
            common_name: "child",
            keys: &keys.public(),
            purpose: Purpose::Publisher,
            path_length: 0,
            permitted: &[],
            validity: validity(Duration::DAY * 2),
        };
        Authority::new(short.intermediate(&options).expect("issues"), keys).expect("fits")
    };
    let (publisher, acme) = (keys(), names(ACME));
    let public = publisher.public();
    let long = child.leaf_unchecked(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let below = [child.certificate().clone()];
    let later = Request { at: NOW + Duration::DAY * 2, ..request(&long, &below) };
    let Err(PathError::Expired { subject, .. }) = pinned(&short).validate(&later) else { panic!("expired") };
    assert_eq!(subject, "CN=child");
    let only = short.leaf_unchecked(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let later = Request { at: NOW + Duration::DAY * 2, ..request(&only, &[]) };
    assert!(matches!(refusal(&pinned(&short), &later), PathError::Expired { subject, .. } if subject == "CN=short"));
}

#[test]
fn usage_is_checked_for_every_certificate() {
    let pki = Pki::new();
    let (roots, intermediates) = (pinned(&pki.root), pki.intermediates());
    for purpose in [Purpose::Node, Purpose::Validator] {
        let error = refusal(&roots, &Request { purpose, ..request(&pki.leaf, &intermediates) });
        assert_eq!(error.to_string(), format!("the certificate of `CN=acme` is not for a {purpose}"));
    }
    // An authority for nodes that issues for publishers.
    let nodes = intermediate(&pki.root, Purpose::Node, &[]);
    let (public, acme) = (pki.publisher.public(), names(ACME));
    let wrong = nodes.leaf_unchecked(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let error = refusal(&roots, &request(&wrong, &[nodes.certificate().clone()]));
    assert!(matches!(error, PathError::WrongUsage { subject, .. } if subject == "CN=authority"));
}

#[test]
fn a_name_outside_the_namespace_is_refused() {
    let pki = Pki::new();
    let (public, evil) = (pki.publisher.public(), names("evil.other"));
    let wrong = pki.publishers.leaf_unchecked(&leaf(LeafKey::Hybrid(&public), &evil)).expect("issues");
    let error = refusal(&pinned(&pki.root), &request(&wrong, &pki.intermediates()));
    assert_eq!(
        error.to_string(),
        "the certificate of `CN=acme` speaks for `evil.other`, outside the domains of its authority"
    );
    let below = names("tools.acme.pub.trustchain");
    let right = pki.publishers.leaf(&leaf(LeafKey::Hybrid(&public), &below)).expect("issues");
    pinned(&pki.root).validate(&request(&right, &pki.intermediates())).expect("below is inside");
}

#[test]
fn a_path_of_more_authorities_than_allowed_is_refused() {
    let pki = Pki::new();
    let keys = keys();
    let options = IntermediateOptions {
        common_name: "below",
        keys: &keys.public(),
        purpose: Purpose::Publisher,
        path_length: 0,
        permitted: &[ACME.to_owned()],
        validity: validity(Duration::DAY * 100),
    };
    let below = pki.publishers.intermediate_unchecked(&options).expect("issues");
    let below = Authority::new(below, keys).expect("fits");
    let (public, acme) = (pki.publisher.public(), names(ACME));
    let leaf = below.leaf(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let between = [below.certificate().clone(), pki.publishers.certificate().clone()];
    let error = refusal(&pinned(&pki.root), &request(&leaf, &between));
    assert_eq!(error.to_string(), "the path from `CN=acme` has more authorities than allowed");
}

#[test]
fn a_leaf_does_not_issue_and_an_authority_is_no_leaf() {
    let pki = Pki::new();
    let posing = Authority::with_other_keys(pki.leaf.clone(), pki.publisher.clone());
    let (public, acme) = (keys().public(), names(ACME));
    let options = LeafOptions { common_name: "below", ..leaf(LeafKey::Hybrid(&public), &acme) };
    let wrong = posing.leaf_unchecked(&options).expect("issues");
    let between = [pki.leaf.clone(), pki.publishers.certificate().clone()];
    let error = refusal(&pinned(&pki.root), &request(&wrong, &between));
    assert!(matches!(error, PathError::WrongRole { reason: "it does not issue", .. }), "{error:?}");
    let error = refusal(&pinned(&pki.root), &request(pki.publishers.certificate(), &[]));
    assert!(matches!(error, PathError::WrongRole { reason: "an authority is used as a leaf", .. }), "{error:?}");
}

#[test]
fn one_stolen_key_of_an_authority_is_not_enough() {
    let pki = Pki::new();
    let attacker = keys();
    let (public, acme) = (attacker.public(), names(ACME));
    let options = leaf(LeafKey::Hybrid(&public), &acme);
    let (roots, intermediates) = (pinned(&pki.root), pki.intermediates());
    let own = pki.publishers.keys();

    let ed25519_stolen = with_keys(&pki.publishers, own, &attacker).leaf_unchecked(&options).expect("issues");
    let error = refusal(&roots, &request(&ed25519_stolen, &intermediates));
    assert!(
        matches!(&error, PathError::AlternativeForged { subject, source: FalconError::Forged, .. } if subject == "CN=acme")
    );

    let falcon_stolen = with_keys(&pki.publishers, &attacker, own).leaf_unchecked(&options).expect("issues");
    let error = refusal(&roots, &request(&falcon_stolen, &intermediates));
    assert!(matches!(&error, PathError::Forged { subject, .. } if subject == "CN=acme"), "{error:?}");
}

#[test]
fn a_classical_leaf_is_refused_where_both_are_pinned() {
    let pki = Pki::new();
    let acme = names(ACME);
    let public = pki.publisher.public();
    let classical = pki.publishers.leaf_unchecked(&leaf(LeafKey::Classical(&public.ed25519), &acme)).expect("issues");
    let intermediates = pki.intermediates();
    let error = refusal(&pinned(&pki.root), &request(&classical, &intermediates));
    assert_eq!(
        error.to_string(),
        "the certificate of `CN=acme` is classical only, and the roots require both algorithms"
    );
    let lenient = Roots::new(vec![pki.root.certificate().clone()], Hybrid::IfPresent).expect("a root");
    let chain = lenient.validate(&request(&classical, &intermediates)).expect("validates");
    assert_eq!(chain.algorithms(), ["ed25519"]);
}

#[test]
fn a_node_may_be_classical_and_its_authority_may_not() {
    let root = root();
    let nodes = intermediate(&root, Purpose::Node, &[]);
    let key = ed25519::SecretKey::generate().expect("generates").public();
    let names = names("one.nodes.trustchain");
    let options = LeafOptions {
        purpose: Purpose::Node,
        validity: Validity::starting(NOW, NODE_LIFETIME),
        ..leaf(LeafKey::Classical(&key), &names)
    };
    let node = nodes.leaf(&options).expect("issues");
    let between = [nodes.certificate().clone()];
    let asked = Request { purpose: Purpose::Node, ..request(&node, &between) };
    assert_eq!(pinned(&root).validate(&asked).expect("validates").algorithms(), ["ed25519"]);

    let attacker = keys();
    let forged = {
        let posing = with_keys(&root, root.keys(), &attacker);
        let options = IntermediateOptions {
            common_name: "authority",
            keys: &attacker.public(),
            purpose: Purpose::Node,
            path_length: 0,
            permitted: &[],
            validity: validity(Duration::DAY * 10),
        };
        Authority::new(posing.intermediate(&options).expect("issues"), attacker).expect("fits")
    };
    let node = forged.leaf(&options).expect("issues");
    let between = [forged.certificate().clone()];
    let asked = Request { purpose: Purpose::Node, ..request(&node, &between) };
    assert!(matches!(refusal(&pinned(&root), &asked), PathError::AlternativeForged { .. }));
}

#[test]
fn an_unknown_critical_extension_is_named() {
    let pki = Pki::new();
    let (public, acme) = (pki.publisher.public(), names(ACME));
    let critical = pki.publishers.leaf_with_critical(&leaf(LeafKey::Hybrid(&public), &acme)).expect("issues");
    let error = refusal(&pinned(&pki.root), &request(&critical, &pki.intermediates()));
    assert_eq!(error.to_string(), "the certificate of `CN=acme` has the unknown critical extension `1.2.3.4`");
}

#[test]
fn revocation_lists_are_complete_fresh_and_genuine() {
    let pki = Pki::new();
    let (roots, intermediates) = (pinned(&pki.root), pki.intermediates());
    let list = |authority: &Authority, revoked: &[Revoked], lifetime| {
        let options = CrlOptions { number: 1, this_update: NOW, next_update: NOW + lifetime, revoked };
        authority.crl(&options).expect("issues")
    };
    let ask = |lists: &[&[u8]]| {
        let crls = Crls::parse(lists.iter().copied()).expect("parses");
        let revocation = Revocation::Crls(&crls);
        roots.validate(&Request { at: NOW + Duration::HOUR, revocation, ..request(&pki.leaf, &intermediates) })
    };
    let of_root = list(&pki.root, &[], Duration::DAY);
    let clean = list(&pki.publishers, &[], Duration::DAY);
    ask(&[&of_root, &clean]).expect("nothing is revoked");

    let revoked = [Revoked { serial: pki.leaf.serial().clone(), at: NOW }];
    let error = ask(&[&of_root, &list(&pki.publishers, &revoked, Duration::DAY)]).expect_err("is refused");
    assert_eq!(error.to_string(), "the certificate of `CN=acme` was revoked");
    let authority = [Revoked { serial: pki.publishers.certificate().serial().clone(), at: NOW }];
    let error = ask(&[&list(&pki.root, &authority, Duration::DAY), &clean]).expect_err("is refused");
    assert_eq!(error.to_string(), "the certificate of `CN=authority` was revoked");

    let error = ask(&[&of_root, &list(&pki.publishers, &[], Duration::MINUTE)]).expect_err("is refused");
    assert!(matches!(error, PathError::RevocationStale { next_update } if next_update == NOW + Duration::MINUTE));
    let error = ask(&[&of_root]).expect_err("is refused");
    assert_eq!(error.to_string(), "no revocation list covers the certificate of `CN=acme`");
    let twin = Authority::with_other_keys(pki.publishers.certificate().clone(), keys());
    let error = ask(&[&of_root, &list(&twin, &[], Duration::DAY)]).expect_err("is refused");
    assert!(matches!(error, PathError::RevocationForged));
}

#[test]
fn lists_are_bounded() {
    assert!(matches!(Crls::parse([]), Err(CrlError::Count { actual: 0 })));
    assert!(matches!(Crls::parse([&[0x30][..]]), Err(CrlError::Malformed { index: 0, .. })));
    let huge = vec![0; CRL_BYTES_MAX + 1];
    assert!(matches!(Crls::parse([&huge[..]]), Err(CrlError::TooLarge { index: 0, .. })));
    let root = root();
    let options = CrlOptions { number: 1, this_update: NOW, next_update: NOW + Duration::DAY, revoked: &[] };
    let list = root.crl(&options).expect("issues");
    let lists = |count| Crls::parse(std::iter::repeat_n(&list[..], count));
    assert!(lists(CRLS_MAX).is_ok());
    assert!(matches!(lists(CRLS_MAX + 1), Err(CrlError::Count { .. })));
}

#[test]
fn intermediates_and_roots_are_bounded() {
    let pki = Pki::new();
    let many = vec![pki.publishers.certificate().clone(); INTERMEDIATES_MAX + 1];
    let roots = pinned(&pki.root);
    roots.validate(&request(&pki.leaf, &many[..INTERMEDIATES_MAX])).expect("six are looked at");
    let error = refusal(&roots, &request(&pki.leaf, &many));
    assert!(matches!(error, PathError::TooManyIntermediates { actual: 7 }));
    assert!(matches!(Roots::new(vec![], Hybrid::Required), Err(RootError::Count { actual: 0 })));
    let many = vec![pki.root.certificate().clone(); ROOTS_MAX + 1];
    assert!(matches!(Roots::new(many, Hybrid::Required), Err(RootError::Count { actual: 33 })));
}

#[test]
fn only_roots_are_pinned() {
    let pki = Pki::new();
    let reason = |certificate: &Certificate| {
        Roots::new(vec![certificate.clone()], Hybrid::Required).expect_err("is refused").to_string()
    };
    assert_eq!(reason(&pki.leaf), "`CN=acme` is not a root: it does not issue certificates");
    assert_eq!(reason(pki.publishers.certificate()), "`CN=authority` is not a root: it did not sign itself");
}

#[test]
fn every_flipped_byte_of_a_leaf_is_refused() {
    let pki = Pki::new();
    let (roots, intermediates) = (pinned(&pki.root), pki.intermediates());
    for at in 0..pki.leaf.der().len() {
        let mut der = pki.leaf.der().to_vec();
        der[at] ^= 1 << (at % 8);
        if let Ok(altered) = Certificate::parse(&der) {
            assert!(roots.validate(&request(&altered, &intermediates)).is_err(), "byte {at}");
        }
    }
}
