//! A small TrustChain for tests: root, an authority for each purpose, leaves, all valid at [`NOW`].

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::certificate::{
    Authority, Certificate, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, Purpose, ROOT_LIFETIME,
    SubjectName, Validity,
};
use crate::digest::{Blake3, Nonce, Sha256};
use crate::ed25519;
use crate::genesis::{Allotment, Genesis};
use crate::hybrid::SecretKey;
use crate::path::{Hybrid, Revocation, Roots};
use crate::proof::space::{Node, Plot};
use crate::proof::work::solve;
use crate::proof::{
    self, Challenge, Claim, JudgeOptions, Operation, OperationKind, OperationProof, Profile, SignedStake, Space, Stake,
    Time, Work, WorkState, WorkloadType, combined,
};
use crate::quorum::ValidatorSet;

/// The time of every test.
pub(crate) const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);
/// The domain of the publisher of the tests.
pub(crate) const ACME: &str = "acme.pub.trustchain";

/// Two authorities and the publisher below them.
pub(crate) struct Pki {
    pub(crate) root: Authority,
    pub(crate) publishers: Authority,
    pub(crate) publisher: SecretKey,
    pub(crate) leaf: Certificate,
}

impl Pki {
    /// Makes root, an authority limited to [`ACME`] and a publisher for it.
    pub(crate) fn new() -> Self {
        let root = root();
        let publishers = intermediate(&root, Purpose::Publisher, &[ACME.to_owned()]);
        let publisher = keys();
        let leaf = publishers.leaf(&leaf(LeafKey::Hybrid(&publisher.public()), &names(ACME))).expect("issues");
        Self { root, publishers, publisher, leaf }
    }

    /// Issues the same publisher a certificate with one key.
    pub(crate) fn classical(&self) -> (ed25519::SecretKey, Certificate) {
        let key = ed25519::SecretKey::generate().expect("generates");
        let leaf = self.publishers.leaf(&leaf(LeafKey::Classical(&key.public()), &names(ACME))).expect("issues");
        (key, leaf)
    }

    /// Gives the certificates a leaf travels with.
    pub(crate) fn intermediates(&self) -> Vec<Certificate> {
        vec![self.publishers.certificate().clone()]
    }
}

pub(crate) fn keys() -> SecretKey {
    SecretKey::generate().expect("generates")
}

pub(crate) fn validity(lifetime: Duration) -> Validity {
    Validity::starting(NOW - Duration::DAY, lifetime)
}

pub(crate) fn root() -> Authority {
    Authority::root("TrustChain root", keys(), validity(ROOT_LIFETIME)).expect("issues")
}

pub(crate) fn intermediate(issuer: &Authority, purpose: Purpose, permitted: &[String]) -> Authority {
    let keys = keys();
    let options = IntermediateOptions {
        common_name: "authority",
        keys: &keys.public(),
        purpose,
        path_length: 0,
        permitted,
        validity: validity(INTERMEDIATE_LIFETIME),
    };
    Authority::new(issuer.intermediate(&options).expect("issues"), keys).expect("fits")
}

pub(crate) fn names(name: &str) -> Vec<SubjectName> {
    vec![SubjectName::dns(name).expect("a domain")]
}

pub(crate) fn leaf<'a>(key: LeafKey<'a>, names: &'a [SubjectName]) -> LeafOptions<'a> {
    let purpose = Purpose::Publisher;
    LeafOptions { common_name: "acme", key, purpose, names, validity: validity(Duration::days(90)) }
}

/// A cluster of four validators with one requester that holds a stake of 10,000, under the root of a [`Pki`].
pub(crate) struct Cluster {
    pub(crate) pki: Pki,
    pub(crate) roots: Roots,
    pub(crate) genesis: Genesis,
    /// Keys and chain of each validator.
    pub(crate) validators: Vec<(SecretKey, Vec<Certificate>)>,
    nodes: Vec<Node>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let pki = Pki::new();
        let authority = intermediate(&pki.root, Purpose::Validator, &[]);
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::Required).expect("a root");
        let validator = |_| {
            let keys = keys();
            let (names, public) = (names("v.hypermesh.online"), keys.public());
            let options = LeafOptions { purpose: Purpose::Validator, ..leaf(LeafKey::Hybrid(&public), &names) };
            let leaf = authority.leaf(&options).expect("issues");
            (keys, vec![leaf, authority.certificate().clone()])
        };
        let validators: Vec<_> = (0..4).map(validator).collect();
        let id = id(&pki.publisher);
        let mut genesis = Genesis {
            cluster: "test".into(),
            epoch: 3,
            stakes: vec![Allotment { amount: 10_000, holder: "acme".into(), id }],
            validators: validators.iter().map(|(keys, _)| self::id(keys)).collect(),
        };
        genesis.validators.sort();
        let nodes = plot().fill(id);
        Self { pki, roots, genesis, validators, nodes }
    }

    pub(crate) fn operation(&self) -> Operation {
        Operation {
            cluster: "test".into(),
            digest: Blake3::of(b"program"),
            epoch: 3,
            expires: NOW + Duration::seconds(120),
            kind: OperationKind::Compute,
            nonce: Nonce::random().expect("random bytes"),
        }
    }

    /// Makes all four proofs of an operation with fresh challenges of all validators.
    pub(crate) fn claim(&self, operation: Operation) -> Claim {
        let draw = |validator: &Sha256| Challenge { validator: *validator, nonce: Nonce::random().expect("random") };
        let challenges: Vec<Challenge> = self.genesis.validators.iter().map(draw).collect();
        let challenge = combined(&operation, &challenges).expect("an operation");
        let requester = id(&self.pki.publisher);
        let space = Space {
            file_hash: Sha256::from_bytes(self.nodes[1]),
            node_id: requester,
            openings: plot().answer_from(challenge, &self.nodes),
            storage_path: "space".into(),
            timestamp: NOW,
            total_size: plot().size_bytes(),
            total_storage: 1 << 40,
        };
        let stake = Stake {
            cluster: "test".into(),
            stake_amount: 10_000,
            stake_holder: "acme".into(),
            stake_holder_id: requester,
            timestamp: NOW,
        };
        let work = Work {
            challenges: vec![challenge],
            computational_power: 100,
            difficulty: 5,
            owner_id: requester,
            pid: 1,
            solution: solve(challenge, 5).expect("is found"),
            timestamp: NOW,
            work_state: WorkState::Completed,
            workload_id: "run".into(),
            workload_type: WorkloadType::Compute,
        };
        Claim {
            challenges,
            operation,
            requester,
            space: Some(space),
            stake: Some(SignedStake::seal(&stake, &self.pki.publisher).expect("signs")),
            time: Some(Time::new(NOW, 0, 7)),
            work: Some(work),
        }
    }

    /// Signs a claim as the requester does.
    pub(crate) fn seal(&self, claim: &Claim) -> OperationProof {
        let chain = [self.pki.leaf.clone(), self.pki.publishers.certificate().clone()];
        let bytes = proof::seal(claim, &chain, &self.pki.publisher).expect("signs");
        OperationProof::parse(&bytes).expect("reads")
    }

    pub(crate) fn options(&self) -> JudgeOptions<'_> {
        JudgeOptions {
            roots: &self.roots,
            genesis: &self.genesis,
            profile: &Profile::LOCALHOST,
            now: NOW,
            revocation: Revocation::Unchecked,
        }
    }

    pub(crate) fn set(&self) -> ValidatorSet {
        let chains: Vec<_> = self.validators.iter().map(|(_, chain)| chain.clone()).collect();
        let set = ValidatorSet::new(&self.genesis, &chains, &self.roots, NOW, Revocation::Unchecked);
        set.expect("members of the genesis").0
    }
}

/// Names keys by their fingerprint.
pub(crate) fn id(keys: &SecretKey) -> Sha256 {
    Sha256::from_bytes(keys.public().fingerprint())
}

fn plot() -> Plot {
    Plot::new(1 << 20).expect("a size")
}
