//! Consensus: proofs of operations on behalf of extensions, judged by validators of which a quorum must agree.
//!
//! A coordinator asks all validators for a number, proves the operation to all of them at once ([`prover`]), asks all of
//! them to judge the proof, and gives out a certificate when a quorum signed. Validators are actors with keys, checks and a
//! memory of their own ([`validator`]), known only by what they say ([`message`]): whatever up to a third of them says, does
//! not say, or says twice, the outcome is that of the honest ones. What comes out is checked once more before it is given
//! out, and again by whoever acts on it.

pub mod evidence;
pub mod message;
pub mod prover;
pub mod replay;
pub mod validator;

mod coordinator;
mod error;
mod home;
mod seat;
mod service;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hypermesh_abi::records::TrustAnchors;
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use trustchain::certificate::{Certificate, to_pem};
use trustchain::digest::{Blake3, Nonce, Sha256};
use trustchain::genesis::Genesis;
use trustchain::hybrid::SecretKey;
use trustchain::path::Roots;
use trustchain::proof::{OperationKind, Profile, Verdict};
use trustchain::quorum::Agreement;
use trustchain::revocation::RevocationList;

use self::evidence::Evidence;
use self::message::Validator;
use self::prover::Prover;
use self::validator::{Beliefs, Clock, Honest};

pub use self::error::ConsensusError;
pub use self::home::{STAKE, geneses};
pub(crate) use self::seat::Seat;
pub use self::seat::Seating;
pub(crate) use self::service::answer;

/// How long validators are waited for under the profiles `localhost` and `default`.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long validators are waited for under the profile `production`.
pub const PRODUCTION_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an undecided operation is tried.
pub const ATTEMPTS: u32 = 3;
/// How often an undecided operation is tried under the profile `production`.
pub const PRODUCTION_ATTEMPTS: u32 = 5;

/// What a node needs to take part.
pub struct ConsensusOptions {
    /// The roots.
    pub roots: Roots,
    /// The genesis of the cluster, as a root signed it.
    pub genesis: Vec<u8>,
    /// Chain, leaf first, and keys of each validator that runs here.
    pub validators: Vec<(Vec<Certificate>, SecretKey)>,
    /// Chain, leaf first, and keys of the publisher that requests and holds the stake.
    pub requester: (Vec<Certificate>, SecretKey),
    /// Revocation lists that were checked; without any, revocation is not checked.
    pub lists: Vec<RevocationList>,
    /// Where space and memories are kept: `HOME/consensus`.
    pub directory: PathBuf,
    /// How much of each proof an operation needs.
    pub profile: Profile,
    /// The clock.
    pub clock: Clock,
}

/// The consensus of a node.
pub struct Consensus {
    beliefs: Arc<Beliefs>,
    genesis: String,
    /// Chains of the validators, leaf first.
    chains: Vec<Vec<Certificate>>,
    validators: Vec<Arc<dyn Validator>>,
    prover: Arc<Prover>,
    evidence: Mutex<Evidence>,
    timeout: Duration,
    attempts: u32,
    /// Its own, so that whoever polls an answer need not be one.
    runtime: Option<Runtime>,
}

/// What is to be agreed to.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// What is done.
    pub kind: OperationKind,
    /// To what.
    pub digest: Blake3,
    /// Drawn by whoever asks, for this one time.
    pub nonce: Nonce,
    /// Validators that must agree, at least.
    pub minimum: usize,
}

/// What was agreed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    /// The text of the certificate.
    pub certificate: String,
    /// What it proves.
    pub agreement: Agreement,
    /// The same in HyperMesh's words: [`Verdict::Valid`].
    pub verdict: Verdict,
    /// How many validators were asked.
    pub asked: usize,
}

impl Consensus {
    /// Starts the validators and the requester of a node.
    ///
    /// # Errors
    /// A genesis that no root signed, keys that are not those of their certificates, a memory that is damaged.
    pub fn open(options: ConsensusOptions) -> Result<Self, ConsensusError> {
        let ConsensusOptions { roots, genesis, validators, requester, lists, directory, profile, clock } = options;
        let read = Genesis::verify(&genesis, &roots)?;
        let beliefs = Beliefs { roots, genesis: read, profile, lists: RwLock::new(lists), clock };
        let beliefs = Arc::new(beliefs);
        let (mut chains, mut seats) = (Vec::new(), Vec::<Arc<dyn Validator>>::new());
        for (chain, keys) in validators {
            let id = expect_keys(&chain, &keys)?;
            let memory = directory.join("validators").join(format!("{id}.used"));
            seats.push(Arc::new(Honest::open(keys, Arc::clone(&beliefs), &memory)?));
            chains.push(chain);
        }
        expect_keys(&requester.0, &requester.1)?;
        let prover = Prover::new(requester.0, requester.1, Arc::clone(&beliefs), directory.join("space"));
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        threads.worker_threads(1).thread_name("consensus").enable_all();
        let production = beliefs.profile.name == Profile::PRODUCTION.name;
        Ok(Self {
            genesis: String::from_utf8_lossy(&genesis).into_owned(),
            chains,
            validators: seats,
            prover: Arc::new(prover),
            evidence: Mutex::default(),
            timeout: if production { PRODUCTION_TIMEOUT } else { TIMEOUT },
            attempts: if production { PRODUCTION_ATTEMPTS } else { ATTEMPTS },
            runtime: Some(threads.build().map_err(ConsensusError::Threads)?),
            beliefs,
        })
    }

    /// Puts other validators in the seats, by position; for those that run elsewhere, and those that misbehave.
    pub fn seated(mut self, seats: impl IntoIterator<Item = (usize, Arc<dyn Validator>)>) -> Self {
        for (index, validator) in seats {
            if let Some(seat) = self.validators.get_mut(index) {
                *seat = validator;
            }
        }
        self
    }

    /// Sets how long validators are waited for, and how often.
    pub fn patient(mut self, timeout: Duration, attempts: u32) -> Self {
        (self.timeout, self.attempts) = (timeout, attempts);
        self
    }

    /// Takes newer revocation lists, which were checked.
    pub fn set_lists(&self, lists: Vec<RevocationList>) {
        *self.beliefs.lists.write().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    /// Gives what a verifier needs: the name of the cluster, roots, validators and genesis.
    pub fn anchors(&self) -> TrustAnchors {
        TrustAnchors {
            cluster: self.beliefs.genesis.cluster.clone(),
            roots: self.beliefs.roots.texts(),
            validators: self.chains.iter().map(to_pem).collect(),
            genesis: self.genesis.clone(),
            ..TrustAnchors::default()
        }
    }

    /// Gives the profile by which the validators judge.
    pub fn profile(&self) -> &Profile {
        &self.beliefs.profile
    }

    /// Gives the validators in their seats.
    pub fn validators(&self) -> &[Arc<dyn Validator>] {
        &self.validators
    }

    /// Says how often somebody was seen breaking a rule, by this coordinator.
    pub fn evidence(&self, against: Sha256, kind: trustchain::proof::ByzantineKind) -> u32 {
        self.blames().count(against, kind)
    }

    /// Proves an operation and asks the validators, from any executor. Dropping the future gives up.
    ///
    /// # Errors
    /// Why the operation is not agreed to.
    pub async fn agree(self: &Arc<Self>, ask: Ask) -> Result<Agreed, ConsensusError> {
        let this = Arc::clone(self);
        let runtime = self.runtime.as_ref().ok_or(ConsensusError::Stopped)?;
        let task = runtime.spawn(async move { coordinator::agree(&this, ask).await });
        let mut task = AbortOnDrop(task);
        match (&mut task.0).await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(ConsensusError::Stopped),
        }
    }

    fn blames(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> OffsetDateTime {
        (self.beliefs.clock)()
    }
}

impl fmt::Debug for Consensus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consensus({}, {} validators)", self.beliefs.genesis.cluster, self.validators.len())
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        // A runtime must not be waited for where it may have been dropped by one of its own threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn expect_keys(chain: &[Certificate], keys: &SecretKey) -> Result<Sha256, ConsensusError> {
    let public = keys.public();
    let own = chain.first().is_some_and(|leaf| leaf.keys().as_ref() == Some(&public));
    let subject = || chain.first().map_or_else(String::new, |leaf| leaf.subject().to_owned());
    own.then(|| Sha256::from_bytes(public.fingerprint())).ok_or_else(|| ConsensusError::Keys { subject: subject() })
}

#[cfg(test)]
mod tests;
