//! Proofs of operations: what holds, and everything that does not.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::quorum::{self, Attestation, Decision, QuorumCertificate, Statement};
use crate::testing::{Cluster, NOW, Pki, id};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::new);

fn error(cluster: &Cluster, claim: &Claim) -> ProofError {
    cluster.seal(claim).verify(&cluster.options()).expect_err("refused")
}

#[test]
fn four_proofs_are_verified_and_each_is_needed() {
    let cluster = Cluster::new();
    let claim = cluster.claim(cluster.operation());
    cluster.seal(&claim).verify(&cluster.options()).expect("holds");
    for kind in ProofKind::ALL {
        let mut claim = claim.clone();
        match kind {
            ProofKind::Space => claim.space = None,
            ProofKind::Stake => claim.stake = None,
            ProofKind::Work => claim.work = None,
            ProofKind::Time => claim.time = None,
        }
        assert_eq!(error(&cluster, &claim).failed_proofs(), [kind]);
        // A profile that asks for the operation's own proofs alone does not miss the others.
        let profile = Profile { level: Level::Basic, ..Profile::LOCALHOST };
        let options = JudgeOptions { profile: &profile, ..cluster.options() };
        assert_eq!(cluster.seal(&claim).verify(&options).is_ok(), kind != ProofKind::Work);
    }
}

#[test]
fn proofs_of_another_operation_are_refused() {
    let cluster = Cluster::new();
    let claim = cluster.claim(cluster.operation());
    let moved = |change: fn(&mut Operation)| {
        let mut claim = claim.clone();
        change(&mut claim.operation);
        error(&cluster, &claim)
    };
    let fraud = [ProofKind::Space, ProofKind::Work];
    assert_eq!(moved(|it| it.digest = Blake3::of(b"other")).failed_proofs(), fraud);
    assert_eq!(moved(|it| it.nonce = Nonce::from_bytes([7; 32])).failed_proofs(), fraud);
    assert_eq!(moved(|it| it.kind = OperationKind::Generic).failed_proofs(), fraud);
    assert_eq!(moved(|it| it.expires -= Duration::SECOND).failed_proofs(), fraud);
    assert!(matches!(moved(|it| it.cluster = "x".into()), ProofError::OtherCluster { .. }));
    assert!(matches!(moved(|it| it.epoch = 4), ProofError::OtherEpoch { actual: 4, expected: 3 }));
    assert!(matches!(moved(|it| it.expires = NOW - Duration::SECOND), ProofError::Expired { .. }));
    assert!(matches!(moved(|it| it.expires = NOW + Duration::seconds(301)), ProofError::Lifetime { .. }));
    let mut drawn_again = claim.clone();
    drawn_again.challenges[2].nonce = Nonce::from_bytes([7; 32]);
    assert_eq!(error(&cluster, &drawn_again).failed_proofs(), fraud);
    drawn_again.challenges.remove(1);
    assert_eq!(error(&cluster, &drawn_again).failed_proofs(), fraud);
}

#[test]
fn evidence_is_named_by_its_kind() {
    let cluster = Cluster::new();
    let claim = cluster.claim(cluster.operation());
    let evidence = |change: &dyn Fn(&mut Claim)| {
        let mut claim = claim.clone();
        change(&mut claim);
        error(&cluster, &claim).evidence()
    };
    let of_stake = |it: &mut Claim| {
        let amount = |stake| Stake { stake_amount: 10_001, ..stake };
        let stake = it.stake.as_ref().map(|stake| amount(stake.claimed().expect("reads")));
        it.stake = stake.map(|stake| SignedStake::seal(&stake, &cluster.pki.publisher).expect("signs"));
    };
    assert_eq!(evidence(&of_stake), [ByzantineKind::FalseStakeProof]);
    let of_work = |it: &mut Claim| it.work.iter_mut().for_each(|work| work.difficulty = 32);
    assert_eq!(evidence(&of_work), [ByzantineKind::ComputationalFraud]);
    let of_space = |it: &mut Claim| it.space.iter_mut().for_each(|it| it.file_hash = Sha256::of(b"x"));
    assert_eq!(evidence(&of_space), [ByzantineKind::StorageCommitmentFraud]);
    let of_time = |it: &mut Claim| it.time = Some(Time::new(NOW - Duration::hours(1), 0, 7));
    assert_eq!(evidence(&of_time), [ByzantineKind::TimestampManipulation]);
    let going_on = |it: &mut Claim| it.work.iter_mut().for_each(|work| work.work_state = WorkState::Running);
    assert_eq!(evidence(&going_on), []);
    let mut waiting = claim.clone();
    going_on(&mut waiting);
    assert!(error(&cluster, &waiting).is_pending());
}

#[test]
fn only_a_publisher_under_the_roots_requests() {
    let (cluster, stranger) = (Cluster::new(), Pki::new());
    let claim = cluster.claim(cluster.operation());
    let bytes = cluster.seal(&claim).to_bytes().expect("writes");
    let chain = [stranger.leaf.clone(), stranger.publishers.certificate().clone()];
    assert!(matches!(seal(&claim, &chain, &stranger.publisher), Err(ProofError::OtherRequester)));
    let stolen = Claim { requester: id(&stranger.publisher), ..claim };
    let theirs = OperationProof::parse(&seal(&stolen, &chain, &stranger.publisher).expect("signs")).expect("reads");
    assert!(matches!(theirs.verify(&cluster.options()), Err(ProofError::Untrusted(_))));
    // The right claim and signatures under another's certificates.
    let mut json: Json = serde_json::from_slice(&bytes).expect("JSON");
    json["x5c"] = json!(chain.iter().map(|it| BASE64.encode(it.der())).collect::<Vec<_>>());
    let swapped = OperationProof::parse(&serde_json::to_vec(&json).expect("writes")).expect("reads");
    assert!(matches!(swapped.verify(&cluster.options()), Err(ProofError::OtherRequester)));
}

/// Alters one leaf of a JSON document after the other.
fn alterations(value: &Json) -> Vec<Json> {
    let mut altered = Vec::new();
    let pointers = leaves(value, String::new());
    for pointer in pointers {
        let mut copy = value.clone();
        if let Some(leaf) = copy.pointer_mut(&pointer) {
            *leaf = match &*leaf {
                Json::Number(number) => json!(number.as_u64().unwrap_or(0) + 1),
                Json::String(text) => {
                    let (head, tail) = text.split_at(text.len() / 2);
                    let first = tail.chars().next().map_or('x', |c| if c == '1' { '2' } else { '1' });
                    json!(format!("{head}{first}{}", tail.chars().skip(1).collect::<String>()))
                }
                _ => json!(true),
            };
        }
        altered.push(copy);
    }
    altered
}

fn leaves(value: &Json, at: String) -> Vec<String> {
    match value {
        Json::Object(fields) => fields.iter().flat_map(|(name, it)| leaves(it, format!("{at}/{name}"))).collect(),
        Json::Array(items) => {
            items.iter().enumerate().flat_map(|(index, it)| leaves(it, format!("{at}/{index}"))).collect()
        }
        _ => vec![at],
    }
}

#[test]
fn every_altered_field_is_refused() {
    let cluster = Cluster::new();
    let proof = cluster.seal(&cluster.claim(cluster.operation()));
    let envelope: Json = serde_json::from_slice(&proof.to_bytes().expect("writes")).expect("JSON");
    let refused =
        |bytes: &[u8]| !OperationProof::parse(bytes).is_ok_and(|proof| proof.verify(&cluster.options()).is_ok());
    let claim = serde_json::to_value(proof.claimed()).expect("JSON");
    let altered = alterations(&claim);
    assert!(altered.len() > 40, "{} fields", altered.len());
    for altered in altered {
        let mut envelope = envelope.clone();
        envelope["payload"] = json!(BASE64.encode(&canonical::write(&altered).expect("writes")));
        assert!(refused(&canonical::write(&envelope).expect("writes")), "{altered}");
    }
    for altered in alterations(&envelope) {
        assert!(refused(&canonical::write(&altered).expect("writes")), "{altered}");
    }
}

#[test]
fn a_use_is_named_by_requester_and_number() {
    let cluster = Cluster::new();
    let claim = cluster.claim(cluster.operation());
    let (uses, until) = cluster.seal(&claim).uses();
    assert_eq!((uses.len(), until), (2, claim.operation.expires));
    let again = cluster.claim(claim.operation);
    assert_eq!(cluster.seal(&again).uses().0, uses, "other challenges make no other use");
    let other = cluster.claim(cluster.operation());
    assert_eq!(cluster.seal(&other).uses().0[1], uses[1], "the same number in a proof of time");
    assert_ne!(cluster.seal(&other).uses().0[0], uses[0]);
}

fn times() -> impl Strategy<Value = OffsetDateTime> {
    (0..253_402_300_800_i64).prop_map(|seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a time"))
}

fn names() -> impl Strategy<Value = String> {
    "[ -~]{1,128}"
}

prop_compose! {
    fn operations()(
        cluster in names(), digest: [u8; 32], epoch in 0..=NUMBER_MAX, expires in times(),
        kind in prop::sample::select(OperationKind::ALL.to_vec()), nonce: [u8; 32],
    ) -> Operation {
        let (digest, nonce) = (Blake3::from_bytes(digest), Nonce::from_bytes(nonce));
        Operation { cluster, digest, epoch, expires, kind, nonce }
    }
}

prop_compose! {
    /// Gives claims of the right form, of which little is true.
    fn claims()(
        operation in operations(),
        validators in prop::collection::btree_map(any::<[u8; 32]>(), any::<[u8; 32]>(), 0..=VALIDATORS_MAX),
        genuine in any::<[bool; 4]>(),
        (size, power, solution) in (0..=NUMBER_MAX, 0..=NUMBER_MAX, 0..=NUMBER_MAX),
        (difficulty, offset, number) in any::<(u32, i64, u64)>(),
        (path, openings) in (".{0,40}", ".{0,40}"),
        timestamp in times(),
    ) -> Claim {
        let made = CLUSTER.claim(operation.clone());
        let drawn = |(validator, nonce)| {
            Challenge { validator: Sha256::from_bytes(validator), nonce: Nonce::from_bytes(nonce) }
        };
        let [space, stake, time, work] = genuine;
        let altered_space = |it| Space { total_size: size, storage_path: path.clone(), openings, timestamp, ..it };
        let altered_work = |it| Work { computational_power: power, difficulty, solution, workload_id: path.clone(), ..it };
        Claim {
            challenges: validators.into_iter().map(drawn).collect(),
            operation,
            space: made.space.filter(|_| space).map(altered_space),
            stake: made.stake.filter(|_| stake),
            time: time.then(|| Time::new(timestamp, offset, number)),
            work: made.work.filter(|_| work).map(altered_work),
            ..made
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_claimed_is_read_as_it_was_written(claim in claims(), reason in ".{0,300}", profile in names()) {
        let proof = CLUSTER.seal(&claim);
        prop_assert_eq!(proof.claimed(), &claim);
        let bytes = proof.to_bytes().expect("writes");
        prop_assert_eq!(&OperationProof::parse(&bytes).expect("reads"), &proof);
        prop_assert_eq!(proof.id(), Sha256::of(&bytes));
        prop_assert!(proof.verify(&CLUSTER.options()).is_err(), "it is of another cluster or time");
        let attest = |decision| {
            let keys = &CLUSTER.validators[0].0;
            Attestation::seal(&Statement::about(&proof, &profile, id(keys), decision), keys).expect("signs")
        };
        let attestations = vec![attest(Decision::Accept), attest(Decision::Refuse { reason })];
        for attestation in &attestations {
            let bytes = attestation.to_bytes().expect("writes");
            prop_assert!(bytes.len() <= quorum::ATTESTATION_BYTES_MAX);
            prop_assert_eq!(&Attestation::parse(&bytes).expect("reads"), attestation);
        }
        let certificate = QuorumCertificate::new(proof, attestations);
        let bytes = certificate.to_bytes().expect("writes");
        prop_assert_eq!(QuorumCertificate::parse(&bytes).expect("reads"), certificate);
    }

    #[test]
    fn arbitrary_bytes_are_no_proof(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(OperationProof::parse(&bytes).is_err());
    }
}
