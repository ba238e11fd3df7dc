//! A small TrustChain for tests: root, an authority for each purpose, leaves, all valid at [`NOW`].

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::certificate::{
    Authority, Certificate, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, Purpose, ROOT_LIFETIME,
    SubjectName, Validity,
};
use crate::hybrid::SecretKey;

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
