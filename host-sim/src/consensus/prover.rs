//! The requester's side: keeps the space, holds the stake, does the work and tells the time of one node.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use time::OffsetDateTime;
use trustchain::certificate::Certificate;
use trustchain::digest::{Nonce, Sha256};
use trustchain::hybrid::SecretKey;
use trustchain::proof::space::{self, Node, Plot};
use trustchain::proof::{
    self, Challenge, Claim, Operation, OperationKind, ProofError, ProofKind, SignedStake, Space, SpaceError, Stake,
    StakeError, Time, Work, WorkState, WorkloadType, combined, work,
};

use super::message::Drawn;
use super::validator::Beliefs;

/// The most space that a node fills for proofs. Filling holds twice as much in memory, for a moment.
pub const SPACE_BYTES_MAX: u64 = 128 << 20;
/// Bits of the work by which a node measures its power: a few milliseconds.
const MEASURED_BITS: u32 = 14;

/// A requester.
pub struct Prover {
    id: Sha256,
    chain: Vec<Certificate>,
    keys: SecretKey,
    beliefs: Arc<Beliefs>,
    directory: PathBuf,
    /// Thousand hashes a second.
    power: u64,
    /// Space is filled by one at a time.
    filling: Mutex<()>,
}

/// Why an operation is not proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProverError {
    /// The profile asks for more space than a node fills.
    #[error("the profile asks for `{asked}` bytes of space, and this node fills at most `{SPACE_BYTES_MAX}`")]
    TooMuchSpace {
        /// What is asked.
        asked: u64,
    },
    /// The profile asks for work that nobody does.
    #[error("the profile asks for work of `{bits}` bits, at most 32 are done")]
    TooMuchWork {
        /// What is asked.
        bits: u32,
    },
    /// The requester has no stake in this cluster.
    #[error("the genesis of cluster `{cluster}` allots no stake to this node")]
    NoStake {
        /// The cluster.
        cluster: String,
    },
    /// The space cannot be kept.
    #[error("space at `{}` cannot be kept", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The space has a size that none has.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The stake cannot be stated.
    #[error(transparent)]
    Stake(#[from] StakeError),
    /// The proof cannot be made.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// There is no randomness.
    #[error(transparent)]
    Entropy(#[from] trustchain::EntropyError),
}

impl Prover {
    /// Takes the chain and keys of a requester, and a directory for its space; measures what the machine computes.
    pub fn new(chain: Vec<Certificate>, keys: SecretKey, beliefs: Arc<Beliefs>, directory: PathBuf) -> Self {
        let id = Sha256::from_bytes(keys.public().fingerprint());
        Self { id, chain, keys, beliefs, directory, power: measure(), filling: Mutex::default() }
    }

    /// Names the requester by the fingerprint of its keys.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// Proves an operation to those who drew for it. Blocks while it works.
    ///
    /// # Errors
    /// What the profile asks cannot be done here, or the disk fails.
    pub fn prove(&self, operation: Operation, drawn: &[(Sha256, Drawn)]) -> Result<Vec<u8>, ProverError> {
        let now = (self.beliefs.clock)();
        let needed = self.beliefs.profile.requirement(operation.kind);
        let mut challenges: Vec<Challenge> =
            drawn.iter().map(|(validator, drawn)| Challenge { validator: *validator, nonce: drawn.nonce }).collect();
        challenges.sort();
        let challenge = combined(&operation, &challenges)?;
        let asks = |kind| needed.proofs.contains(&kind);
        let (space_least, kind, bits) = (needed.space_bytes_min, operation.kind, needed.difficulty_bits);
        let space = asks(ProofKind::Space).then(|| self.space(challenge, space_least, now)).transpose()?;
        let stake = asks(ProofKind::Stake).then(|| self.stake(now)).transpose()?;
        let work = asks(ProofKind::Work).then(|| self.work(challenge, kind, bits, now)).transpose()?;
        let time = asks(ProofKind::Time).then(|| self.time(drawn)).transpose()?;
        let claim = Claim { challenges, operation, requester: self.id, space, stake, time, work };
        Ok(proof::seal(&claim, &self.chain, &self.keys)?)
    }

    fn space(&self, challenge: Sha256, least: u64, now: OffsetDateTime) -> Result<Space, ProverError> {
        if least > SPACE_BYTES_MAX {
            return Err(ProverError::TooMuchSpace { asked: least });
        }
        let plot = Plot::at_least(least)?;
        let path = self.directory.join(format!("{}.space", plot.size_bytes()));
        let io = |source| ProverError::Io { path: path.clone(), source };
        let file = self.filled(plot, &path).map_err(io)?;
        let read = |node: u64| read_node(&file, node);
        let openings = plot.answer(challenge, read).map_err(io)?;
        let (room, root) =
            (rustix::fs::statvfs(&self.directory).map_err(|error| io(error.into()))?, read(1).map_err(io)?);
        let storage = room.f_blocks.saturating_mul(room.f_frsize);
        let shown: String = path.to_string_lossy().chars().take(space::PATH_CHARS_MAX).collect();
        Ok(Space {
            file_hash: Sha256::from_bytes(root),
            node_id: self.id,
            openings,
            storage_path: shown,
            timestamp: now,
            total_size: plot.size_bytes(),
            total_storage: storage.clamp(plot.size_bytes(), space::SPACE_BYTES_MAX),
        })
    }

    /// Opens the space, and fills it if it is not there, not whole, or another node's.
    fn filled(&self, plot: Plot, path: &Path) -> io::Result<File> {
        let _one = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(file) = File::open(path) {
            let whole = file.metadata()?.len() == plot.nodes() * space::NODE_BYTES as u64;
            if whole && read_node(&file, 0)? == plot.seed(self.id) {
                return Ok(file);
            }
        }
        tracing::info!(path = %path.display(), bytes = plot.size_bytes(), "space for proofs is filled");
        fs::create_dir_all(&self.directory)?;
        let mut aside = tempfile::NamedTempFile::new_in(&self.directory)?;
        aside.write_all(plot.fill(self.id).as_flattened())?;
        aside.as_file().sync_all()?;
        aside.persist(path).map_err(|error| error.error)?;
        File::open(path)
    }

    fn stake(&self, now: OffsetDateTime) -> Result<SignedStake, ProverError> {
        let genesis = &self.beliefs.genesis;
        let cluster = genesis.cluster.clone();
        let allotted = genesis.stake_of(self.id).ok_or_else(|| ProverError::NoStake { cluster: cluster.clone() })?;
        let stake = Stake {
            cluster,
            stake_amount: allotted.amount,
            stake_holder: allotted.holder.clone(),
            stake_holder_id: self.id,
            timestamp: now,
        };
        Ok(SignedStake::seal(&stake, &self.keys)?)
    }

    fn work(&self, challenge: Sha256, kind: OperationKind, bits: u32, at: OffsetDateTime) -> Result<Work, ProverError> {
        Ok(Work {
            challenges: vec![challenge],
            computational_power: self.power,
            difficulty: bits,
            owner_id: self.id,
            pid: std::process::id(),
            solution: work::solve(challenge, bits).ok_or(ProverError::TooMuchWork { bits })?,
            timestamp: at,
            work_state: WorkState::Completed,
            workload_id: format!("{kind}:{challenge}"),
            workload_type: match kind {
                OperationKind::CertificateIssue => WorkloadType::Certificate,
                OperationKind::Sync => WorkloadType::Network,
                OperationKind::Compute | OperationKind::Allocate | OperationKind::Generic => WorkloadType::Compute,
                _ => WorkloadType::Storage,
            },
        })
    }

    fn time(&self, drawn: &[(Sha256, Drawn)]) -> Result<Time, ProverError> {
        let now = (self.beliefs.clock)();
        let nonce = *Nonce::random()?.as_bytes();
        let nonce = nonce.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(Time::new(now, offset(now, drawn), nonce))
    }
}

/// Gives the microseconds by which the network is ahead: the median of those who drew, of whom less than half are wrong.
fn offset(now: OffsetDateTime, drawn: &[(Sha256, Drawn)]) -> i64 {
    let now = i64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
    let mut offsets: Vec<i64> =
        drawn.iter().map(|(_, drawn)| i64::try_from(drawn.now_us).unwrap_or(i64::MAX).saturating_sub(now)).collect();
    offsets.sort_unstable();
    offsets.get(offsets.len() / 2).copied().unwrap_or(0)
}

/// Measures thousand hashes a second, within the bounds of a proof.
fn measure() -> u64 {
    let started = Instant::now();
    let hashes = work::solve(Sha256::of(b"how fast is this machine"), MEASURED_BITS).unwrap_or(0) + 1;
    let micros = started.elapsed().as_micros().max(1) as u64;
    (hashes.saturating_mul(1_000) / micros).clamp(1, work::POWER_MAX)
}

fn read_node(file: &File, node: u64) -> io::Result<Node> {
    let mut bytes = [0; space::NODE_BYTES];
    file.read_exact_at(&mut bytes, node * space::NODE_BYTES as u64)?;
    Ok(bytes)
}
