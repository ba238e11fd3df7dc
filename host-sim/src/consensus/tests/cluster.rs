//! A cluster for tests: a root, a publisher that requests, four validators, and a genesis that names them.

use time::{Duration, OffsetDateTime};
use trustchain::certificate::{
    Authority, Certificate, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, PUBLISHER_LIFETIME,
    Purpose, ROOT_LIFETIME, SubjectName, Validity,
};
use trustchain::digest::Sha256;
use trustchain::genesis::{Allotment, Genesis};
use trustchain::hybrid::SecretKey;
use trustchain::path::{Hybrid, Roots};

/// What a cluster is made of.
pub(crate) struct Cluster {
    pub(crate) roots: Roots,
    pub(crate) genesis: Vec<u8>,
    pub(crate) validators: Vec<(Vec<Certificate>, SecretKey)>,
    pub(crate) requester: (Vec<Certificate>, SecretKey),
}

impl Cluster {
    /// Makes one that is valid at a time, with a stake for the requester.
    pub(crate) fn new(now: OffsetDateTime, stake: u64) -> Self {
        let validity = |lifetime| Validity::starting(now - Duration::DAY, lifetime);
        let root = Authority::root("Test root", keys(), validity(ROOT_LIFETIME)).expect("issues");
        let authority = |purpose| {
            let keys = keys();
            let options = IntermediateOptions {
                common_name: "Test authority",
                keys: &keys.public(),
                purpose,
                path_length: 0,
                permitted: &[],
                validity: validity(INTERMEDIATE_LIFETIME),
            };
            Authority::new(root.intermediate(&options).expect("issues"), keys).expect("fits")
        };
        let member = |authority: &Authority, name: &str, purpose| {
            let keys = keys();
            let options = LeafOptions {
                common_name: name,
                key: LeafKey::Hybrid(&keys.public()),
                purpose,
                names: &[SubjectName::dns(&format!("{name}.pub.trustchain")).expect("a domain")],
                validity: validity(PUBLISHER_LIFETIME),
            };
            (vec![authority.leaf(&options).expect("issues"), authority.certificate().clone()], keys)
        };
        let requester = member(&authority(Purpose::Publisher), "local", Purpose::Publisher);
        let judges = authority(Purpose::Validator);
        let validators: Vec<_> =
            (1..=4).map(|number| member(&judges, &format!("validator-{number}"), Purpose::Validator)).collect();
        let genesis = Genesis {
            cluster: "test".into(),
            epoch: 1,
            stakes: vec![Allotment { amount: stake, holder: "local".into(), id: id(&requester.1) }],
            validators: validators.iter().map(|(_, keys)| id(keys)).collect(),
        };
        let genesis = root.genesis(&genesis).expect("signs");
        let roots = Roots::new(vec![root.certificate().clone()], Hybrid::Required).expect("a root");
        Self { roots, genesis, validators, requester }
    }
}

/// Names keys by their fingerprint.
pub(crate) fn id(keys: &SecretKey) -> Sha256 {
    Sha256::from_bytes(keys.public().fingerprint())
}

fn keys() -> SecretKey {
    SecretKey::generate().expect("random bytes")
}
