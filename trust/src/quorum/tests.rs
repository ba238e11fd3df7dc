//! Certificates of agreement: who may agree to what, and every byte that is changed.

use ::time::Duration;
use proptest::prelude::*;

use super::*;
use crate::hybrid::SecretKey;
use crate::proof::Profile;
use crate::testing::{Cluster, NOW, id, keys};

fn attest(proof: &OperationProof, keys: &SecretKey, decision: Decision) -> Attestation {
    Attestation::seal(&Statement::about(proof, "localhost", id(keys), decision), keys).expect("signs")
}

fn accept(cluster: &Cluster, proof: &OperationProof, how_many: usize) -> Vec<Attestation> {
    cluster.validators[..how_many].iter().map(|(keys, _)| attest(proof, keys, Decision::Accept)).collect()
}

fn expected(proof: &OperationProof, minimum: usize) -> Expected {
    let operation = &proof.claimed().operation;
    Expected { kind: operation.kind, digest: operation.digest, nonce: operation.nonce, minimum }
}

fn verify(cluster: &Cluster, proof: &OperationProof, attestations: Vec<Attestation>) -> Result<Agreement, QuorumError> {
    let certificate = QuorumCertificate::new(proof.clone(), attestations);
    certificate.verify(&cluster.set(), &expected(proof, 1), &cluster.options())
}

#[test]
fn two_thirds_agree_and_fewer_do_not() {
    let cluster = Cluster::new();
    let set = cluster.set();
    assert_eq!((set.size(), set.faulty_max(), set.quorum()), (4, 1, 3));
    let proof = cluster.seal(&cluster.claim(cluster.operation()));
    for agreeing in 0..=4 {
        let result = verify(&cluster, &proof, accept(&cluster, &proof, agreeing));
        match result {
            Ok(agreement) => assert_eq!((agreement.validators().len(), agreement.proof()), (agreeing, proof.id())),
            Err(error) => assert!(matches!(error, QuorumError::TooFew { needed: 3, .. }) && agreeing < 3, "{error}"),
        }
        assert_eq!(agreeing >= 3, verify(&cluster, &proof, accept(&cluster, &proof, agreeing)).is_ok());
    }
    let certificate = QuorumCertificate::new(proof.clone(), accept(&cluster, &proof, 4));
    for (minimum, holds) in [(4, true), (5, false)] {
        assert_eq!(certificate.verify(&set, &expected(&proof, minimum), &cluster.options()).is_ok(), holds);
    }
}

#[test]
fn who_may_not_agree_is_refused() {
    let cluster = Cluster::new();
    let proof = cluster.seal(&cluster.claim(cluster.operation()));
    let other = cluster.seal(&cluster.claim(cluster.operation()));
    let two = || accept(&cluster, &proof, 2);
    let third = &cluster.validators[2].0;
    let with = |attestation| verify(&cluster, &proof, [two(), vec![attestation]].concat()).expect_err("refused");
    assert!(matches!(with(two()[0].clone()), QuorumError::Duplicate));
    assert!(matches!(with(attest(&proof, &keys(), Decision::Accept)), QuorumError::NotMember { .. }));
    assert!(matches!(with(attest(&other, third, Decision::Accept)), QuorumError::Other { field: "proof", .. }));
    let no = Decision::Refuse { reason: "no".into() };
    assert!(matches!(with(attest(&proof, third, no)), QuorumError::Refusal { .. }));
    let said = Statement::about(&proof, "localhost", id(third), Decision::Accept);
    let by = |keys: &SecretKey, said: &Statement| with(Attestation::seal(said, keys).expect("signs"));
    assert!(matches!(by(&cluster.validators[0].0, &said), QuorumError::Forged { .. }), "in another's name");
    let altered = |name: &str, alter: fn(&mut Statement)| {
        let mut said = said.clone();
        alter(&mut said);
        let error = by(third, &said);
        assert!(matches!(error, QuorumError::Other { field, .. } if field == name), "{name}: {error}");
    };
    altered("cluster", |it| it.cluster = "other".into());
    altered("epoch", |it| it.epoch += 1);
    altered("kind", |it| it.kind = OperationKind::Generic);
    altered("expiry", |it| it.expires += Duration::SECOND);
    altered("profile", |it| it.profile = "default".into());
}

#[test]
fn a_certificate_counts_for_its_operation_alone() {
    let cluster = Cluster::new();
    let proof = cluster.seal(&cluster.claim(cluster.operation()));
    let certificate = QuorumCertificate::new(proof.clone(), accept(&cluster, &proof, 3));
    let (set, right) = (cluster.set(), expected(&proof, 1));
    let wrong = |expected: Expected| certificate.verify(&set, &expected, &cluster.options()).expect_err("refused");
    assert!(matches!(wrong(Expected { kind: OperationKind::Publish, ..right }), QuorumError::OtherKind { .. }));
    assert!(matches!(wrong(Expected { digest: Blake3::of(b"x"), ..right }), QuorumError::OtherDigest { .. }));
    assert!(matches!(wrong(Expected { nonce: Nonce::from_bytes([1; 32]), ..right }), QuorumError::Replayed));
    let late = JudgeOptions { now: NOW + Duration::seconds(121), ..cluster.options() };
    assert!(matches!(certificate.verify(&set, &right, &late), Err(QuorumError::Proof(_))));
    let strict = JudgeOptions { profile: &Profile::DEFAULT, ..cluster.options() };
    assert!(matches!(certificate.verify(&set, &right, &strict), Err(QuorumError::Proof(_))));
    let mut later = cluster.genesis.clone();
    later.epoch += 1;
    let later = JudgeOptions { genesis: &later, ..cluster.options() };
    assert!(matches!(certificate.verify(&set, &right, &later), Err(QuorumError::Proof(_))));
}

#[test]
fn who_is_left_out_still_counts() {
    let cluster = Cluster::new();
    let chains: Vec<_> = cluster.validators[..2].iter().map(|(_, chain)| chain.clone()).collect();
    let (set, _) =
        ValidatorSet::new(&cluster.genesis, &chains, &cluster.roots, NOW, Revocation::Unchecked).expect("set");
    assert_eq!((set.size(), set.quorum(), set.members().count()), (4, 3, 2));
    let late = NOW + Duration::days(100);
    let (set, refused) =
        ValidatorSet::new(&cluster.genesis, &chains, &cluster.roots, late, Revocation::Unchecked).expect("set");
    assert_eq!((set.quorum(), set.members().count(), refused.len()), (3, 0, 2), "expired validators do not agree");
    let stranger = Cluster::new().validators[0].1.clone();
    let result = ValidatorSet::new(&cluster.genesis, &[stranger], &cluster.roots, NOW, Revocation::Unchecked);
    assert!(matches!(result, Err(QuorumError::NotMember { .. })));
}

#[test]
fn two_decisions_on_one_proof_contradict() {
    let cluster = Cluster::new();
    let proof = cluster.seal(&cluster.claim(cluster.operation()));
    let keys = &cluster.validators[0].0;
    let (yes, no) = (Decision::Accept, Decision::Refuse { reason: "\u{7}".repeat(300) });
    let (yes, no) = (attest(&proof, keys, yes), attest(&proof, keys, no));
    assert!(yes.contradicts(&no) && !yes.contradicts(&yes));
    assert!(Attestation::parse(&no.to_bytes().expect("writes")).is_ok(), "a long reason is cut");
}

#[test]
fn every_flipped_byte_of_a_certificate_is_refused() {
    let cluster = Cluster::new();
    let proof = cluster.seal(&cluster.claim(cluster.operation()));
    let certificate = QuorumCertificate::new(proof.clone(), accept(&cluster, &proof, 3));
    let bytes = certificate.to_bytes().expect("writes");
    let (set, expected) = (cluster.set(), expected(&proof, 1));
    let parsed = QuorumCertificate::parse(&bytes).expect("reads");
    parsed.verify(&set, &expected, &cluster.options()).expect("holds");
    // A prime step meets every position of every base64 group; one bit of each byte is flipped in turn.
    for index in (0..bytes.len()).step_by(211) {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1 << (index % 7);
        let holds = QuorumCertificate::parse(&flipped)
            .is_ok_and(|certificate| certificate.verify(&set, &expected, &cluster.options()).is_ok());
        assert!(!holds, "byte {index}");
    }
    for length in (0..bytes.len()).step_by(1_009) {
        assert!(QuorumCertificate::parse(&bytes[..length]).is_err(), "cut at {length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Two quorums share a member that is honest, for every size of a cluster.
    #[test]
    fn two_quorums_share_an_honest_member(size in 1..=VALIDATORS_MAX) {
        let set = ValidatorSet { cluster: "c".into(), epoch: 0, size, members: Vec::new() };
        let (f, quorum) = (set.faulty_max(), set.quorum());
        prop_assert!(size > 3 * f && quorum <= size);
        prop_assert!(2 * quorum > size + f, "the overlap has more than f members");
        prop_assert!(size - f >= quorum, "the honest alone reach it");
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(QuorumCertificate::parse(&bytes).is_err());
        prop_assert!(Attestation::parse(&bytes).is_err());
    }
}
