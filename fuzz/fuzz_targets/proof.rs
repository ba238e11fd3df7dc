//! Proofs of operations, attestations, certificates of agreement and the genesis: foreign bytes, and edited ones that are
//! signed again by whoever may.

#![no_main]

use std::sync::LazyLock;

use catalog_fuzz::{CLUSTER, PKI, PROFILE, canonical, edit, id, next, payload, sealed, unsigned};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use trustchain::genesis::{self, Genesis};
use trustchain::proof::{self, Claim, OperationProof, Stake, stake};
use trustchain::quorum::{self, Attestation, Decision, Expected, QuorumCertificate, Statement};

static CLAIM: LazyLock<Json> = LazyLock::new(|| serde_json::to_value(&CLUSTER.claim).expect("JSON"));
static GENESIS: LazyLock<Json> = LazyLock::new(|| serde_json::to_value(&CLUSTER.genesis).expect("JSON"));
static STATEMENT: LazyLock<Json> =
    LazyLock::new(|| serde_json::to_value(CLUSTER.attestations[0].statement()).expect("JSON"));
static CERTIFICATE: LazyLock<Json> = LazyLock::new(|| {
    let certificate = QuorumCertificate::new(CLUSTER.proof.clone(), CLUSTER.attestations.clone());
    serde_json::from_slice(&certificate.to_bytes().expect("writes")).expect("JSON")
});

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"{") {
        return foreign(data);
    }
    let mut edits = data;
    match next(&mut edits).map(|how| how % 5) {
        Some(0) => claim(edits),
        Some(1) => attestation(edits),
        Some(2) => genesis(edits),
        Some(3) => certificate(edits),
        Some(_) => stake(edits),
        None => {}
    }
});

fn foreign(data: &[u8]) {
    if let Some(proof) = read(data) {
        assert!(proof.verify(&CLUSTER.options(&PKI)).is_err(), "nobody has signed it");
    }
    if let Ok(attestation) = Attestation::parse(data) {
        assert_eq!(attestation.to_bytes().expect("writes"), data);
    }
    if let Ok(certificate) = QuorumCertificate::parse(data) {
        assert_eq!(certificate.to_bytes().expect("writes"), data);
    }
    assert!(Genesis::verify(data, &PKI.roots).is_err(), "no root has signed it");
}

fn read(data: &[u8]) -> Option<OperationProof> {
    let proof = OperationProof::parse(data).ok()?;
    assert_eq!(proof.to_bytes().expect("writes"), data);
    let _ = proof.uses();
    Some(proof)
}

/// A claim is edited and signed by the requester: whatever holds is for an operation of this cluster that still counts.
fn claim(edits: &[u8]) {
    let mut json = CLAIM.clone();
    edit(&mut json, edits);
    judge(json);
}

/// A statement of stake is edited and signed by the requester, and so is the claim that it is in.
fn stake(edits: &[u8]) {
    let stake = CLUSTER.claim.stake.as_ref().expect("is there").claimed().expect("reads");
    let mut json = serde_json::to_value(stake).expect("JSON");
    edit(&mut json, edits);
    if Stake::deserialize(&json).is_err() {
        return;
    }
    let bytes = canonical(json);
    let mut claim = CLAIM.clone();
    claim["stake"] = serde_json::from_slice(&sealed(stake::PAYLOAD_TYPE, &bytes, &PKI.keys, &[])).expect("JSON");
    judge(claim);
}

fn judge(claim: Json) {
    // The chain around a claim takes a hundred times as long to read as the claim, and is the same for each.
    if Claim::deserialize(&claim).is_err() {
        return;
    }
    let bytes = canonical(claim);
    let Some(proof) = read(&unsigned(proof::PAYLOAD_TYPE, &bytes, &PKI.chain)) else { return };
    assert!(proof.verify(&CLUSTER.options(&PKI)).is_err(), "nobody has signed it");
    let signed = sealed(proof::PAYLOAD_TYPE, &bytes, &PKI.keys, &PKI.chain);
    let proof = read(&signed).expect("has the same form");
    if proof.verify(&CLUSTER.options(&PKI)).is_err() {
        return;
    }
    let (claim, genuine) = (proof.claimed(), &CLUSTER.claim);
    assert_eq!((claim.requester, &claim.operation.cluster), (genuine.requester, &genuine.operation.cluster));
    assert!(claim.space.is_some() && claim.stake.is_some() && claim.work.is_some() && claim.time.is_some());
    // Space and work answer to the challenge, and the challenge is of every field of the operation.
    assert_eq!((&claim.operation, &claim.challenges), (&genuine.operation, &genuine.challenges));
    let again = proof::seal(claim, &PKI.chain, &PKI.keys).expect("what was read is written");
    assert_eq!(canonical(payload(&again)), bytes);
}

/// A statement is edited and signed by its validator: whatever holds is what a validator says of this proof.
fn attestation(edits: &[u8]) {
    let mut json = STATEMENT.clone();
    edit(&mut json, edits);
    if Statement::deserialize(&json).is_err() {
        return;
    }
    let bytes = canonical(json);
    if Attestation::parse(&unsigned(quorum::PAYLOAD_TYPE, &bytes, &[])).is_err() {
        return;
    }
    let signed = sealed(quorum::PAYLOAD_TYPE, &bytes, &CLUSTER.validators[0], &[]);
    let attestation = Attestation::parse(&signed).expect("has the same form");
    assert_eq!(attestation.to_bytes().expect("writes"), signed);
    if attestation.verify(&CLUSTER.set, &CLUSTER.proof, &PROFILE.name).is_err() {
        return;
    }
    let (said, genuine) = (attestation.statement(), CLUSTER.attestations[0].statement());
    assert_eq!(said.validator, id(&CLUSTER.validators[0]));
    assert_eq!(attestation.contradicts(&CLUSTER.attestations[0]), said.decision != Decision::Accept);
    assert!(said == genuine || said.decision != Decision::Accept, "{said:?}");
}

/// A genesis is edited and signed by a root: whatever holds is written to the same bytes.
fn genesis(edits: &[u8]) {
    let mut json = GENESIS.clone();
    edit(&mut json, edits);
    if Genesis::deserialize(&json).is_err() {
        return;
    }
    let bytes = canonical(json);
    let Ok(genesis) = Genesis::verify(&sealed(genesis::PAYLOAD_TYPE, &bytes, &PKI.root_keys, &[]), &PKI.roots) else {
        return;
    };
    assert!(genesis.stakes.iter().all(|stake| genesis.stake_of(stake.id) == Some(stake)));
    let again = PKI.root.genesis(&genesis).expect("what was read is written");
    assert_eq!(canonical(payload(&again)), bytes);
}

/// A certificate of agreement is edited: whatever holds is agreed to by a quorum.
fn certificate(edits: &[u8]) {
    let mut json = CERTIFICATE.clone();
    edit(&mut json, edits);
    let bytes = canonical(json);
    let Ok(certificate) = QuorumCertificate::parse(&bytes) else { return };
    assert_eq!(certificate.to_bytes().expect("writes"), bytes);
    let operation = &CLUSTER.claim.operation;
    let expected = Expected { kind: operation.kind, digest: operation.digest, nonce: operation.nonce, minimum: 1 };
    let Ok(agreement) = certificate.verify(&CLUSTER.set, &expected, &CLUSTER.options(&PKI)) else { return };
    assert_eq!(agreement.proof(), CLUSTER.proof.id());
    assert!(agreement.validators().len() >= CLUSTER.set.quorum(), "{agreement:?}");
    assert!(agreement.validators().iter().all(|validator| CLUSTER.genesis.validators.contains(validator)));
    let attested = json!(serde_json::from_slice::<Json>(&bytes).expect("JSON")["attestations"]);
    assert_eq!(attested.as_array().map(Vec::len), Some(agreement.validators().len()), "none counts twice");
}
