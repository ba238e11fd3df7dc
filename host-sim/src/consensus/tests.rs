//! Real validators, and real ones that misbehave, around one coordinator.

mod cluster;
mod faulty;

use std::sync::{LazyLock, Mutex as StdMutex};
use std::time::Instant;

use tempfile::TempDir;
use time::macros::datetime;
use trustchain::proof::{ByzantineKind, Claim, Operation, OperationProof, SignedStake, Stake};
use trustchain::quorum::{Attestation, Decision, Expected, QuorumCertificate, ValidatorSet};

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

struct Node<'a> {
    consensus: Arc<Consensus>,
    home: TempDir,
    requester: (&'a [Certificate], &'a SecretKey),
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

fn node<'a>(cluster: &'a Cluster, faults: &[Fault], patience: Duration) -> Node<'a> {
    let home = tempfile::tempdir().expect("temporary directory");
    let seat = |(index, fault): (usize, &Fault)| {
        let (keys, victim) = (cluster.validators[index].1.clone(), id(&cluster.validators[3].1));
        let faulty = Faulty { keys, fault: *fault, victim, earlier: StdMutex::default() };
        (index, Arc::new(faulty) as Arc<dyn Validator>)
    };
    let consensus = Consensus::open(options(cluster, &home, Profile::LOCALHOST)).expect("opens");
    let consensus = consensus.seated(faults.iter().enumerate().map(seat)).patient(patience, 1);
    let (chain, keys) = &cluster.requester;
    Node { consensus: Arc::new(consensus), home, requester: (chain, keys) }
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
    let node = node(&CLUSTER, &[Fault::Replays, Fault::Replays], PATIENT);
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

fn draw_and_prove(node: &Node<'_>, validator: &dyn Validator) -> JudgeRequest {
    draw_and_prove_with(node, validator, |_| {})
}

/// Proves an operation to one validator, and signs the claim again after a change.
fn draw_and_prove_with(node: &Node<'_>, validator: &dyn Validator, change: impl Fn(&mut Claim)) -> JudgeRequest {
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
    let mut claim = OperationProof::parse(&proof).expect("reads").claimed().clone();
    change(&mut claim);
    let (chain, keys) = node.requester;
    let proof = trustchain::proof::seal(&claim, chain, keys).expect("signs");
    JudgeRequest { proof: String::from_utf8(proof).expect("text") }
}

fn judge(node: &Node<'_>, validator: &dyn Validator, request: &JudgeRequest) -> Judgement {
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
fn who_signs_wrong_proofs_or_shows_old_ones_is_blocked_by_each_validator() {
    let poor = Cluster::new(NOW, 1);
    let node = node(&poor, &[], PATIENT);
    let validator = &*node.consensus.validators()[0];
    // A stake that is too small is refused and is no evidence; a claim of more than one has is.
    for _ in 0..evidence::FAILED_MAX + 1 {
        let judged = judge(&node, validator, &draw_and_prove(&node, validator));
        assert!(reason(&judged).contains("at least"), "{judged:?}");
    }
    let lie = || {
        draw_and_prove_with(&node, validator, |claim| {
            let stake = claim.stake.as_ref().expect("there").claimed().expect("reads");
            let more = Stake { stake_amount: 1_000, ..stake };
            claim.stake = Some(SignedStake::seal(&more, &poor.requester.1).expect("signs"));
        })
    };
    let first = lie();
    for _ in 0..evidence::FAILED_MAX + 1 {
        assert!(reason(&judge(&node, validator, &first)).contains("claims"), "one proof counts once, whoever shows it");
    }
    for _ in 1..evidence::FAILED_MAX {
        assert!(reason(&judge(&node, validator, &lie())).contains("claims"));
    }
    let blocked = judge(&node, validator, &lie());
    assert!(reason(&blocked).contains("blocked") && blocked.attestation.is_none(), "{blocked:?}");
}

#[test]
fn who_shows_old_proofs_of_others_harms_itself() {
    let node = node(&CLUSTER, &[], PATIENT);
    let validator = &*node.consensus.validators()[0];
    let request = draw_and_prove(&node, validator);
    judge(&node, validator, &request);
    let stranger = Sha256::of(b"stranger");
    let by_stranger = || block_on(validator.judge(stranger, request.clone())).expect("judges");
    for _ in 0..evidence::FAILED_MAX {
        assert!(reason(&by_stranger()).contains("used before"));
    }
    assert!(reason(&by_stranger()).contains("blocked"));
    let judged = judge(&node, validator, &draw_and_prove(&node, validator));
    assert!(matches!(judged.verdict, Verdict::Valid { .. }), "{judged:?}");
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

#[test]
fn an_agreement_takes_milliseconds() {
    let node = node(&CLUSTER, &[], PATIENT);
    let (mut agreeing, mut checking) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        let (ask, started) = (ask(4), Instant::now());
        let agreed = block_on(node.consensus.agree(ask)).expect("agrees");
        agreeing.push(started.elapsed());
        let (started, beliefs) = (Instant::now(), &node.consensus.beliefs);
        let chains = &node.consensus.chains;
        let checked = beliefs.judging(|options| {
            let (roots, now) = (options.roots, options.now);
            let (set, _) = ValidatorSet::new(options.genesis, chains, roots, now, options.revocation).expect("fits");
            let Ask { kind, digest, nonce, minimum } = ask;
            let expected = Expected { kind, digest, nonce, minimum };
            let certificate = QuorumCertificate::parse(agreed.certificate.as_bytes()).expect("reads");
            certificate.verify(&set, &expected, options)
        });
        checking.push(started.elapsed());
        assert_eq!(checked.expect("holds"), agreed.agreement);
    }
    // The first fills the space. Busy machines and unoptimised builds are slow, so the bound is a loose one; HyperMesh's is 50 ms.
    agreeing.remove(0);
    agreeing.sort();
    checking.sort();
    let text = format!("agreement of 4: median {:?}, slowest {:?}; check: {:?}", agreeing[5], agreeing[9], checking[5]);
    eprintln!("{text}");
    assert!(agreeing[5] < Duration::from_secs(5), "{text}");
}
