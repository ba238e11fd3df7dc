//! Every wrong certificate, dialing and being dialed, refused by name.

use rcgen::{CertificateParams, DnType, Issuer, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use time::Duration;
use trustchain::certificate::{Certificate, NODE_LIFETIME, Purpose, Validity};
use trustchain::ed25519::SecretKey;

use super::*;
use crate::testing::{CRL_LIFETIME, NodeOptions};

/// Refuses a node that dials and one that is dialed: what the right node says, and what the wrong one is told.
async fn check(authority: &Authority, wrong: Arc<TestIdentity>, name: &str, told: &str) {
    let mut right = Node::new(authority, authority.node("right"));
    let wrong = Node::new(authority, wrong);
    // The wrong one believes the right one, so that the refusal is that of the right one alone.
    let error = wrong.dial(&right).await.expect_err("is refused");
    let ConnectError::RefusedByPeer { refusal, .. } = &error else { panic!("{name}: {error:?}") };
    assert_eq!(refusal.name(), told, "{error}");
    until(|| right.refusals(name) == 1).await;
    let metrics = wrong.endpoint.metrics();
    assert_eq!((metrics.failures.get(told), metrics.refusals.len()), (Some(&1), 0), "{metrics:?}");
    assert!(right.incoming.data.try_recv().is_err(), "{name}: nobody gets the connection");

    let error = right.dial(&wrong).await.expect_err("is refused");
    let ConnectError::Refused { refusal, .. } = &error else { panic!("{name}: {error:?}") };
    assert_eq!(refusal.name(), name, "{error}");
    // Each handshake counts once, and for the one that was refused neither was a dial that failed.
    until(|| wrong.endpoint.metrics().lost.values().sum::<u64>() == 1).await;
    let metrics = right.endpoint.metrics();
    assert_eq!(metrics.refusals.values().sum::<u64>(), 2, "{metrics:?}");
    assert_eq!((metrics.refusals.get(name), metrics.failures.len(), metrics.lost.len()), (Some(&2), 0, 0));
    assert_eq!(metrics.connections, 0);
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    check(&authority, authority.expired_node("late"), "expired", "expired").await;
}

#[tokio::test]
async fn a_certificate_of_tomorrow_is_refused() {
    let authority = Authority::new();
    let validity = Validity::starting(authority.clock().now() + Duration::DAY, NODE_LIFETIME);
    let early = authority.issue(NodeOptions { validity, ..authority.options("early") });
    check(&authority, early, "not-yet-valid", "expired").await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let authority = Authority::new();
    let revoked = authority.node("revoked");
    authority.revoke(&revoked);
    check(&authority, revoked, "revoked", "revoked").await;
}

#[tokio::test]
async fn a_publisher_is_no_node() {
    let authority = Authority::new();
    let publisher = authority.issue(NodeOptions { purpose: Purpose::Publisher, ..authority.options("publisher") });
    check(&authority, publisher, "wrong-usage", "wrong-usage").await;
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let authority = Authority::new();
    let (victim, thief) = (authority.node("victim"), authority.node("thief"));
    let stolen = authority.presenting(&thief, victim.current().chain.clone());
    check(&authority, stolen, "wrong-key", "wrong-key").await;
}

#[tokio::test]
async fn a_node_is_no_authority() {
    let authority = Authority::new();
    let (node, below) = (authority.node("node"), authority.node("below"));
    let chain = &node.current().chain;
    let forged = issued_by(&chain[0], node.key(), below.key());
    let below = authority.presenting(&below, vec![forged, chain[0].clone(), chain[1].clone()]);
    check(&authority, below, "wrong-role", "bad-certificate").await;
}

#[tokio::test]
async fn a_chain_without_the_authority_is_refused() {
    let authority = Authority::new();
    let node = authority.node("node");
    let alone = authority.presenting(&node, node.current().chain[..1].to_vec());
    check(&authority, alone, "unknown-issuer", "unknown-issuer").await;
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_refused() {
    let authority = Authority::new();
    let node = authority.node("node");
    let chain = &node.current().chain;
    let long = std::iter::once(&chain[0]).chain(std::iter::repeat_n(&chain[1], 7)).cloned().collect();
    check(&authority, authority.presenting(&node, long), "too-many-certificates", "bad-certificate").await;
}

#[tokio::test]
async fn a_node_of_another_root_is_refused_by_both() {
    let authority = Authority::new();
    // One has names of its own, the other those of the right one and keys of its own.
    for (name, refused) in [("Stranger", "unknown-issuer"), ("Test", "forged")] {
        let stranger = Authority::named(name, authority.clock()).node("stranger");
        let (mut right, wrong) = (Node::new(&authority, authority.node("right")), Node::new(&authority, stranger));
        for (from, to) in [(&wrong, &right), (&right, &wrong)] {
            // Whoever dials sees the certificate of the other first.
            let error = from.dial(to).await.expect_err("is refused");
            let ConnectError::Refused { refusal, .. } = &error else { panic!("{error:?}") };
            assert_eq!(refusal.name(), refused);
        }
        assert_eq!(right.refusals(refused), 1);
        assert!(right.incoming.data.try_recv().is_err());
    }
}

#[tokio::test]
async fn revocation_lists_that_expired_stand_for_nobody() {
    let authority = Authority::new();
    authority.clock().advance(CRL_LIFETIME + Duration::DAY);
    let (right, wrong) =
        (Node::new(&authority, authority.node("right")), Node::new(&authority, authority.node("other")));
    let error = right.dial(&wrong).await.expect_err("is refused");
    let ConnectError::Refused { refusal, .. } = &error else { panic!("{error:?}") };
    assert_eq!(refusal.name(), "revocation-stale");
}

#[tokio::test]
async fn another_node_than_the_one_that_was_dialed_is_refused() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let other = authority.node("other").peer_id();
    let error = soon(a.endpoint.connect(b.endpoint.local_address(), Some(other), Lane::Data)).await;
    let error = error.expect_err("is refused");
    let ConnectError::Refused { refusal: Refusal::WrongPeer { expected, actual }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((**expected, **actual), (other, b.identity.peer_id()));
    until(|| b.endpoint.metrics().lost.get("access-denied") == Some(&1)).await;
    assert!(b.incoming.data.try_recv().is_err());
}

/// Issues a certificate as a node would that takes itself for an authority.
fn issued_by(issuer: &Certificate, with: &SecretKey, subject: &SecretKey) -> Certificate {
    let mut params = CertificateParams::new(vec!["below.node.trustchain".to_owned()]).expect("a domain");
    params.distinguished_name.push(DnType::CommonName, "below");
    (params.not_before, params.not_after) = (issuer.validity().not_before, issuer.validity().not_after);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(7_u64.into());
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![7; 20]);
    let mut own = CertificateParams::default();
    own.distinguished_name = rcgen::DistinguishedName::new();
    own.distinguished_name.push(DnType::CommonName, issuer.common_name().expect("it has one"));
    own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    own.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![8; 20]);
    let der = params.signed_by(&Key::of(subject), &Issuer::from_params(&own, Key::of(with))).expect("signs");
    Certificate::parse(der.der()).expect("is one")
}

struct Key {
    public: [u8; 32],
    secret: SecretKey,
}

impl Key {
    fn of(secret: &SecretKey) -> Self {
        Self { public: *secret.public().as_bytes(), secret: secret.clone() }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.secret.sign(message).as_bytes().to_vec())
    }
}
