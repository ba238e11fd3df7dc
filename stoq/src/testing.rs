//! Certificates and identities for tests: a TrustChain of one root and one authority of nodes, at a time that tests set.
//!
//! Everything is real but the time and where the keys are: certificates are issued, revoked and judged as anywhere else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use trustchain::certificate::{
    self, Certificate, CrlOptions, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, NODE_LIFETIME,
    Purpose, ROOT_LIFETIME, Revoked, SubjectName, Validity,
};
use trustchain::path::{Crls, Hybrid, Roots};
use trustchain::{ed25519, falcon, hybrid};

use crate::PeerId;
use crate::endpoint::{Endpoint, EndpointOptions, Incoming};
use crate::identity::{Credentials, Identity, Pending, SignError};
use crate::limits::Limits;
use crate::tls;

/// The time at which tests begin.
pub const START: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);

/// A clock that tests set.
#[derive(Debug)]
pub struct TestClock(Mutex<OffsetDateTime>);

impl TestClock {
    /// Makes a clock at [`START`].
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(START)))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        *locked(&self.0) += by;
    }

    /// Tells the time.
    pub fn now(&self) -> OffsetDateTime {
        *locked(&self.0)
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().unix_timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// A root, an authority of nodes below it, and the revocation lists of both.
pub struct Authority {
    clock: Arc<TestClock>,
    root: certificate::Authority,
    nodes: certificate::Authority,
    publishers: certificate::Authority,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    number: u64,
    revoked: Vec<Revoked>,
    issued: Vec<Weak<TestIdentity>>,
}

/// What a node of tests is to be.
#[derive(Clone, Copy, Debug)]
pub struct NodeOptions<'a> {
    /// Its name below `node.trustchain`.
    pub name: &'a str,
    /// Whether it has a FALCON-1024 key, too.
    pub keys: Keys,
    /// What its certificate is for.
    pub purpose: Purpose,
    /// When its certificate is valid.
    pub validity: Validity,
}

/// The keys of a node of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Ed25519 alone.
    Classical,
    /// Ed25519 alone, of these bytes: the node has the same id in each run.
    Known([u8; 32]),
    /// Ed25519 and FALCON-1024.
    Hybrid,
}

/// A node with its keys.
pub struct TestIdentity {
    current: RwLock<Arc<Credentials>>,
    key: ed25519::SecretKey,
    falcon: Option<falcon::SecretKey>,
}

impl Authority {
    /// Makes an authority with a clock of its own.
    pub fn new() -> Self {
        Self::named("Test", TestClock::new())
    }

    /// Makes an authority of a name that shares a clock, such as a stranger's in the same test.
    pub fn named(name: &str, clock: Arc<TestClock>) -> Self {
        let validity = |lifetime| Validity::starting(START - Duration::days(2), lifetime);
        let root = certificate::Authority::root(&format!("{name} root"), generate(), validity(ROOT_LIFETIME));
        let root = root.expect("issues");
        let below = |purpose: Purpose| {
            let keys = generate();
            let options = IntermediateOptions {
                common_name: &format!("{name} {purpose}"),
                keys: &keys.public(),
                purpose,
                path_length: 0,
                permitted: &[],
                validity: validity(INTERMEDIATE_LIFETIME),
            };
            certificate::Authority::new(root.intermediate(&options).expect("issues"), keys).expect("fits")
        };
        let nodes = below(Purpose::Node);
        let publishers = below(Purpose::Publisher);
        Self { clock, root, nodes, publishers, state: Mutex::default() }
    }

    /// Gives the clock.
    pub fn clock(&self) -> Arc<TestClock> {
        Arc::clone(&self.clock)
    }

    /// Makes a node with an Ed25519 key, valid for a day.
    pub fn node(&self, name: &str) -> Arc<TestIdentity> {
        self.issue(self.options(name))
    }

    /// Makes a node with an Ed25519 and a FALCON-1024 key, valid for a day.
    pub fn hybrid_node(&self, name: &str) -> Arc<TestIdentity> {
        self.issue(NodeOptions { keys: Keys::Hybrid, ..self.options(name) })
    }

    /// Makes a node whose certificate has expired.
    pub fn expired_node(&self, name: &str) -> Arc<TestIdentity> {
        let validity = Validity::starting(self.clock.now() - Duration::hours(25), NODE_LIFETIME);
        self.issue(NodeOptions { validity, ..self.options(name) })
    }

    /// Gives what [`Self::node`] makes, to be changed.
    pub fn options<'a>(&self, name: &'a str) -> NodeOptions<'a> {
        let validity = Validity::starting(self.clock.now() - Duration::HOUR, NODE_LIFETIME);
        NodeOptions { name, keys: Keys::Classical, purpose: Purpose::Node, validity }
    }

    /// Makes a node.
    pub fn issue(&self, options: NodeOptions<'_>) -> Arc<TestIdentity> {
        let (key, keys) = match options.keys {
            Keys::Classical => (ed25519::SecretKey::generate().expect("the system has randomness"), None),
            Keys::Known(bytes) => (ed25519::SecretKey::from_bytes(&bytes).expect("so many bytes"), None),
            Keys::Hybrid => {
                let keys = generate();
                (keys.ed25519.clone(), Some(keys))
            }
        };
        let public = keys.as_ref().map(hybrid::SecretKey::public);
        let chain = self.leaf(&options, public.as_ref().map_or(LeafKey::Classical(&key.public()), LeafKey::Hybrid));
        let mut state = locked(&self.state);
        let current = RwLock::new(Arc::new(self.credentials(&state, chain, false)));
        let identity = Arc::new(TestIdentity { current, key, falcon: keys.map(|keys| keys.falcon) });
        state.issued.push(Arc::downgrade(&identity));
        identity
    }

    /// Makes whoever has the keys of a node and shows other certificates, such as those of somebody else.
    pub fn presenting(&self, identity: &TestIdentity, chain: Vec<Certificate>) -> Arc<TestIdentity> {
        let current = RwLock::new(Arc::new(self.credentials(&locked(&self.state), chain, false)));
        Arc::new(TestIdentity { current, key: identity.key.clone(), falcon: identity.falcon.clone() })
    }

    /// Revokes the certificate of a node and tells every node of this authority.
    pub fn revoke(&self, identity: &TestIdentity) {
        let leaf = &identity.current().chain[0];
        let revoked = Revoked { serial: leaf.serial().clone(), at: self.clock.now() };
        let mut state = locked(&self.state);
        state.revoked.push(revoked);
        state.number += 1;
        for node in state.issued.iter().filter_map(Weak::upgrade) {
            let current = node.current();
            node.replace(self.credentials(&state, current.chain.clone(), current.hybrid_peers_only));
        }
    }

    /// Makes a node demand a FALCON-1024 key of every peer.
    pub fn require_hybrid_peers(&self, identity: &TestIdentity) {
        identity.replace(self.credentials(&locked(&self.state), identity.current().chain.clone(), true));
    }

    /// Renews the certificate of a node under another name.
    pub fn renew(&self, identity: &TestIdentity, name: &str) {
        let options = self.options(name);
        let leaf = self.leaf(&options, LeafKey::Classical(&identity.key.public()));
        let state = locked(&self.state);
        identity.replace(self.credentials(&state, leaf, identity.current().hybrid_peers_only));
    }

    /// Issues a leaf and gives it with what is above it.
    fn leaf(&self, options: &NodeOptions<'_>, key: LeafKey<'_>) -> Vec<Certificate> {
        let names = [format!("{}.node.trustchain", options.name), "node.trustchain".to_owned()];
        let names = names.map(|name| SubjectName::dns(&name).expect("a domain"));
        let authority = match options.purpose {
            Purpose::Node => &self.nodes,
            _ => &self.publishers,
        };
        let leaf = authority.leaf(&LeafOptions {
            common_name: options.name,
            key,
            purpose: options.purpose,
            names: &names,
            validity: options.validity,
        });
        vec![leaf.expect("issues"), authority.certificate().clone()]
    }

    fn credentials(&self, state: &State, chain: Vec<Certificate>, hybrid_peers_only: bool) -> Credentials {
        let options = CrlOptions {
            number: state.number,
            this_update: START - Duration::HOUR,
            next_update: START + CRL_LIFETIME,
            revoked: &state.revoked,
        };
        let of = |authority: &certificate::Authority, options: &CrlOptions<'_>| authority.crl(options).expect("issues");
        let none = CrlOptions { revoked: &[], ..options };
        let lists = [of(&self.root, &none), of(&self.nodes, &options), of(&self.publishers, &none)];
        Credentials {
            chain,
            roots: Roots::new(vec![self.root.certificate().clone()], Hybrid::Required).expect("a root"),
            crls: Crls::parse(lists.iter().map(Vec::as_slice)).expect("lists"),
            hybrid_peers_only,
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl TestIdentity {
    /// Gives the Ed25519 key of the node.
    pub fn key(&self) -> &ed25519::SecretKey {
        &self.key
    }

    /// Gives the id of the node.
    pub fn peer_id(&self) -> PeerId {
        tls::peer_id(&self.current().chain[0])
    }

    /// Opens a port on the loopback interface with the default limits.
    ///
    /// # Panics
    /// The port cannot be opened.
    pub fn bind(self: &Arc<Self>, clock: &Arc<TestClock>) -> (Endpoint, Incoming) {
        self.bind_with(clock, Limits::default())
    }

    /// Opens a port on the loopback interface.
    ///
    /// # Panics
    /// The port cannot be opened.
    pub fn bind_with(self: &Arc<Self>, clock: &Arc<TestClock>, limits: Limits) -> (Endpoint, Incoming) {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (identity, clock) = (Arc::clone(self) as Arc<dyn Identity>, Arc::clone(clock) as tls::Clock);
        Endpoint::bind(EndpointOptions { identity, listen, limits, clock }).expect("a loopback port is free")
    }

    fn replace(&self, credentials: Credentials) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
    }
}

impl Identity for TestIdentity {
    fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(*self.key.sign(content).as_bytes())
    }

    fn sign_binding<'a>(&'a self, binding: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            let failed = |reason: String| SignError { reason };
            let key = self.falcon.as_ref().ok_or_else(|| failed("it has no FALCON-1024 key".to_owned()))?;
            let signature = key.sign(binding).map_err(|error| failed(error.to_string()))?;
            Ok(signature.as_bytes().to_vec())
        })
    }
}

/// How long revocation lists of tests count.
pub const CRL_LIFETIME: Duration = Duration::days(7);

fn generate() -> hybrid::SecretKey {
    hybrid::SecretKey::generate().expect("the system has randomness")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
