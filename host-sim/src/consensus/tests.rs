//! Real validators, and real ones that misbehave, around one coordinator.

mod cluster;
mod faulty;

use std::sync::{LazyLock, Mutex as StdMutex};

use tempfile::TempDir;
use time::macros::datetime;
use trustchain::proof::{ByzantineKind, Operation};
use trustchain::quorum::{Attestation, Decision};

use self::cluster::{Cluster, id};
use self::faulty::{Fault, Faulty};
use super::message::{DrawRequest, JudgeRequest, Judgement};
use super::*;

const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);
/// Long enough for any answer on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);
/// How long somebody is waited for who never answers.
const IMPATIENT: Duration = Duration::from_millis(1_500);

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::new(NOW, 1_000));

struct Node {
    consensus: Arc<Consensus>,
    home: TempDir,
}

fn options(cluster: &Cluster, home: &TempDir, profile: Profile) -> ConsensusOptions {
    ConsensusOptions {
        roots: cluster.roots.clone(),
        genesis: cluster.genesis.clone(),
        validators: cluster.validators.clone(),
        requester: cluster.requester.clone(),
        lists: Vec::new(),
        directory: home.path().join("consensus"),
        profile,
        clock: Arc::new(|| NOW),
    }
}

fn node(cluster: &Cluster, faults: &[Fault], patience: Duration) -> Node {
    let home = tempfile::tempdir().expect("temporary directory");
    let seat = |(index, fault): (usize, &Fault)| {
        let (keys, victim) = (cluster.validators[index].1.clone(), id(&cluster.validators[3].1));
        let faulty = Faulty { keys, fault: *fault, victim, earlier: StdMutex::default() };
        (index, Arc::new(faulty) as Arc<dyn Validator>)
    };
    let consensus = Consensus::open(options(cluster, &home, Profile::LOCALHOST)).expect("opens");
    let consensus = consensus.seated(faults.iter().enumerate().map(seat)).patient(patience, 1);
    Node { consensus: Arc::new(consensus), home }
}

fn ask(minimum: usize) -> Ask {
    let nonce = Nonce::random().expect("random bytes");
    Ask { kind: OperationKind::Compute, digest: Blake3::of(b"program"), nonce, minimum }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts").block_on(future)
}

#[test]
fn four_honest_validators_agree_and_not_five() {
    let node = node(&CLUSTER, &[], PATIENT);
    let agreed = block_on(node.consensus.agree(ask(1))).expect("agrees");
    assert!(agreed.agreement.validators().len() >= 3 && agreed.asked == 4);
    assert!(matches!(agreed.verdict, Verdict::Valid { confidence, .. } if confidence >= 0.75));
    let agreed = block_on(node.consensus.agree(ask(4))).expect("agrees");
    assert_eq!(agreed.agreement.validators().len(), 4);
    let error = block_on(node.consensus.agree(ask(5))).expect_err("refused");
    assert!(matches!(error, ConsensusError::Minimum { minimum: 5, size: 4 }), "{error}");
}

#[test]
fn one_faulty_validator_of_four_changes_nothing() {
    for fault in Fault::ALL {
        let node = node(&CLUSTER, &[fault], PATIENT);
        for _ in 0..2 {
            let agreed = block_on(node.consensus.agree(ask(3))).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert!(agreed.agreement.validators().len() >= 3, "{fault:?}");
        }
    }
}

#[test]
fn two_faulty_validators_of_four_agree_to_nothing() {
    for fault in Fault::ALL {
        // Who signs everything and has another time lets a right proof through, as the honest do.
        if !matches!(fault, Fault::SignsEverything | Fault::HasAnotherTime | Fault::Replays) {
            let node = node(&CLUSTER, &[fault, fault], IMPATIENT);
            let error = block_on(node.consensus.agree(ask(1))).expect_err("refused");
            let refused = matches!(error, ConsensusError::Refused { .. } | ConsensusError::Undecided { .. });
            assert!(refused, "{fault:?}: {error}");
        }
    }
    let node = node(&CLUSTER, &[Fault::Replays, Fault::Replays], IMPATIENT);
    block_on(node.consensus.agree(ask(1))).expect("the first time nothing is old");
    let error = block_on(node.consensus.agree(ask(1))).expect_err("refused");
    assert!(matches!(error, ConsensusError::Undecided { agreed: 2, needed: 3, .. }), "{error}");
}

#[test]
fn whoever_signs_everything_lets_no_wrong_proof_through() {
    let poor = Cluster::new(NOW, 99);
    for how_many in 0..=2 {
        let node = node(&poor, &[Fault::SignsEverything; 2][..how_many], PATIENT);
        let error = block_on(node.consensus.agree(ask(1))).expect_err("refused");
        assert!(matches!(error, ConsensusError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("`99` is at stake, at least `100` is asked"), "{error}");
    }
    // A whole quorum of liars convinces each other, and not whoever checks.
    let node = node(&poor, &[Fault::SignsEverything; 3], PATIENT);
    let error = block_on(node.consensus.agree(ask(1))).expect_err("refused");
    assert!(matches!(error, ConsensusError::Quorum(_)), "{error}");
}

#[test]
fn who_breaks_rules_is_known_and_blocked() {
    let check = |fault, kind, times: usize| {
        let node = node(&CLUSTER, &[fault], PATIENT);
        let who = id(&CLUSTER.validators[0].1);
        for _ in 0..times + 3 {
            // The judgement of all four is waited for, so that none is missed.
            let _ = block_on(node.consensus.agree(ask(4)));
        }
        assert_eq!(node.consensus.evidence(who, kind), times as u32, "{fault:?}: then nobody asks any more");
    };
    check(Fault::SendsRubbish, ByzantineKind::InvalidSignature, 5);
    check(Fault::SaysYesAndSignsNo, ByzantineKind::DoubleSpending, 3);
    check(Fault::HasAnotherTime, ByzantineKind::TimestampManipulation, 3);
}

fn draw_and_prove(node: &Node, validator: &dyn Validator) -> JudgeRequest {
    let now = node.consensus.now();
    let operation = Operation {
        cluster: "test".into(),
        digest: Blake3::of(b"program"),
        epoch: 1,
        expires: now + time::Duration::minutes(4),
        kind: OperationKind::Compute,
        nonce: Nonce::random().expect("random bytes"),
    };
    let drawn = block_on(validator.draw(DrawRequest { operation: operation.id().expect("an id") })).expect("draws");
    let proof = node.consensus.prover.prove(operation, &[(validator.id(), drawn)]).expect("proves");
    JudgeRequest { proof: String::from_utf8(proof).expect("text") }
}

fn judge(node: &Node, validator: &dyn Validator, request: &JudgeRequest) -> Judgement {
    block_on(validator.judge(node.consensus.prover.id(), request.clone())).expect("judges")
}

fn reason(judgement: &Judgement) -> &str {
    match &judgement.verdict {
        Verdict::Invalid { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_proof_counts_once_for_a_validator_and_not_again_after_a_restart() {
    let node = node(&CLUSTER, &[], PATIENT);
    let validator = &*node.consensus.validators()[0];
    let request = draw_and_prove(&node, validator);
    let first = judge(&node, validator, &request);
    assert!(matches!(first.verdict, Verdict::Valid { .. }), "{:?}", first.verdict);
    let again = judge(&node, validator, &request);
    assert!(reason(&again).contains("used before"), "{again:?}");
    let restarted = Consensus::open(options(&CLUSTER, &node.home, Profile::LOCALHOST)).expect("opens");
    let again = judge(&node, &*restarted.validators()[0], &request);
    assert!(reason(&again).contains("used before"), "{again:?}");
    let attestation = Attestation::parse(again.attestation.expect("signed").as_bytes()).expect("reads");
    assert!(matches!(&attestation.statement().decision, Decision::Refuse { reason } if reason.contains("used before")));
    // Another validator has not seen it, and drew nothing for it.
    let other = judge(&node, &*node.consensus.validators()[1], &request);
    assert!(reason(&other).contains("drew"), "{other:?}");
}

#[test]
fn a_requester_that_signs_wrong_proofs_is_blocked_by_each_validator() {
    let node = node(&CLUSTER, &[], PATIENT);
    let validator = &*node.consensus.validators()[0];
    let request = draw_and_prove(&node, validator);
    judge(&node, validator, &request);
    for _ in 0..evidence::FAILED_MAX {
        assert!(reason(&judge(&node, validator, &request)).contains("used before"));
    }
    let fresh = draw_and_prove(&node, validator);
    let blocked = judge(&node, validator, &fresh);
    assert!(reason(&blocked).contains("blocked") && blocked.attestation.is_none(), "{blocked:?}");
    let flipped = JudgeRequest { proof: fresh.proof.replace("payload\"", "paylaod\"") };
    assert!(matches!(judge(&node, &*node.consensus.validators()[1], &flipped).verdict, Verdict::Invalid { .. }));
}

#[test]
fn space_is_filled_once_and_again_if_it_is_damaged() {
    let node = node(&CLUSTER, &[], PATIENT);
    block_on(node.consensus.agree(ask(1))).expect("agrees");
    let path = node.home.path().join("consensus/space/1048576.space");
    let before = std::fs::metadata(&path).expect("there");
    assert_eq!(before.len(), 2 << 20);
    std::fs::write(&path, b"short").expect("written");
    block_on(node.consensus.agree(ask(1))).expect("agrees");
    let mut bytes = std::fs::read(&path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0);
    std::fs::write(&path, bytes).expect("written");
    let error = block_on(node.consensus.agree(ask(1))).expect_err("refused");
    assert!(error.to_string().contains("is not under the root"), "{error}");
}

#[test]
fn what_a_developers_node_cannot_prove_is_said() {
    let home = tempfile::tempdir().expect("temporary directory");
    let consensus = Consensus::open(options(&CLUSTER, &home, Profile::DEFAULT)).expect("opens");
    let error = block_on(Arc::new(consensus).agree(ask(1))).expect_err("refused").to_error();
    assert!(error.to_string().contains("1073741824"), "{error}");
    assert!(error.detail.help.is_some_and(|help| help.contains("localhost")));
    let strangers = Cluster::new(NOW, 1);
    let mixed = ConsensusOptions { genesis: strangers.genesis, ..options(&CLUSTER, &home, Profile::LOCALHOST) };
    assert!(matches!(Consensus::open(mixed), Err(ConsensusError::Genesis(_))));
}
