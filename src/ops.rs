//! What Catalog does, one file per verb. Everything below is put together here, and nothing here knows the contract.
//!
//! A [`Catalog`] owns the files of one node. Verbs that only touch files are plain functions that block; callers keep
//! them off threads that must not. Verbs that write take turns.

pub mod advisories;
pub mod audit;
pub mod bench_vm;
pub mod cache;
pub mod diff;
pub mod doctor;
pub mod document;
pub mod execute;
pub mod executions;
pub mod explain;
pub mod export;
pub mod fsck;
pub mod graph;
pub mod inspect;
pub mod install;
pub mod licences;
pub mod memory;
pub mod mesh;
pub mod network;
pub mod outdated;
pub mod owners;
pub mod publish;
pub mod rate;
pub mod recommend;
pub mod remote;
pub mod resolve;
pub mod run_file;
#[cfg(feature = "julia")]
pub mod runtime;
pub mod sandbox;
pub mod sbom;
pub mod search;
pub mod sign;
pub mod state;
pub mod template;
pub mod unchanged;
pub mod unpack;
pub mod update;
pub mod validate;
pub mod verify;

mod engines;
mod error;
mod judge;
mod spec;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::advisory::Advisories;
use crate::config::Config;
use crate::consensus::{Agreement, Ask, Consensus};
use crate::host::Host;
use crate::lockfile::Lockfile;
use crate::package::name::PackageName;
use crate::registry::Registry;
use crate::resolve::Options;
use crate::store::Store;
use crate::trust::freshness::Freshness;
use crate::trust::policy::Policy;
#[cfg(feature = "julia")]
use crate::vm::JuliaExecutor;
use crate::vm::WorkerProgram;
use crate::vm::execution::Executions;
use crate::vm::pool::PoolOptions;

pub use error::{Obstacle, OpError};

/// The packages of one node, and the means to run them.
pub struct Catalog {
    config: Config,
    home: PathBuf,
    store: Store,
    registry: Mutex<Registry>,
    /// Opened at the first question; a node where nothing was imported has no file.
    advisories: Mutex<Option<Advisories>>,
    /// Read or made at the first search; every search catches up with the registry.
    index: Mutex<Option<search::Current>>,
    /// Why programs cannot run, where they cannot.
    engines: Result<engines::Engines, Vec<PathBuf>>,
    runs: executions::Runs,
    /// What of results is kept.
    memory: memory::Memory,
    consensus: Consensus,
    /// Where packages come from that this node does not have.
    upstreams: Vec<remote::Upstream>,
    /// What nodes say of releases; there if this one has a network.
    mesh: Option<mesh::Mesh>,
    /// There while it runs.
    network: Arc<tokio::sync::Mutex<Option<network::Running>>>,
    policy: Policy,
    freshness: Mutex<Freshness>,
    decisions: judge::Decisions,
    /// What a collection leaves alone, though it is not installed yet.
    in_use: cache::InUse,
    /// Verbs that write take turns; other processes are kept out by the store's lock.
    writing: Mutex<()>,
}

impl Catalog {
    /// Opens the files below a directory, and makes them if there are none.
    ///
    /// # Errors
    /// A store or registry that is damaged or of another layout; a worker that cannot be used, unless programs are
    /// switched off.
    pub fn open(home: &Path, config: Config, workers: &[PathBuf]) -> Result<Arc<Self>, OpError> {
        let policy = Policy::new(&config.trust)?;
        let store = Store::open(&home.join("store"))?;
        let registry = Registry::open(&home.join("registry.sqlite"))?;
        let pool = PoolOptions {
            idle_max: config.idle_workers_max,
            idle_for: Duration::from_secs(config.idle_worker_seconds),
        };
        // A missing worker is told to whoever wants to run something, not to whoever wants to install.
        let runs = config.vm && cfg!(any(feature = "lua", feature = "wasm"));
        let worker = if runs { WorkerProgram::find(workers).ok() } else { None };
        let engines = worker.ok_or_else(|| workers.to_vec());
        let engines = engines.map(|worker| engines::Engines::new(&worker, pool, home, &config));
        let mesh = config.network.as_ref().map(|_| mesh::Mesh::open(home)).transpose()?;
        let mut upstreams: Vec<_> = mesh.iter().map(remote::Upstream::of_mesh).collect();
        if let Some(remote) = &config.remote {
            upstreams.push(remote::Upstream::new(remote, &config.s3)?);
        }
        Ok(Arc::new(Self {
            consensus: Consensus::new(config.consensus.clone()),
            upstreams,
            mesh,
            network: Arc::default(),
            config,
            home: home.to_path_buf(),
            store,
            registry: Mutex::new(registry),
            advisories: Mutex::default(),
            index: Mutex::default(),
            engines,
            runs: executions::Runs::new(home),
            memory: memory::Memory::default(),
            policy,
            freshness: Mutex::new(Freshness::open(&home.join("trust").join("seen.json"))?),
            decisions: judge::Decisions::default(),
            in_use: cache::InUse::default(),
            writing: Mutex::default(),
        }))
    }

    /// Gives the directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn registry_path(&self) -> PathBuf {
        self.home.join("registry.sqlite")
    }

    /// Gives the settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Says whether programs can run.
    pub fn can_run(&self) -> bool {
        self.engines.is_ok()
    }

    /// Gives what runs Julia programs, where programs can run.
    #[cfg(feature = "julia")]
    fn julia(&self) -> Option<&JuliaExecutor> {
        Some(self.engines.as_ref().ok()?.julia())
    }

    /// Gets agreement of the validators to an operation on a package, if the package or the configuration asks for it. Nothing
    /// of the operation may be done before.
    ///
    /// # Errors
    /// [`OpError::Consensus`], with the host's refusal or why its answer is not believed.
    pub(crate) async fn agreed(
        &self,
        name: &PackageName,
        ask: &Ask,
        host: &dyn Host,
    ) -> Result<Option<Agreement>, OpError> {
        let refused = |source| OpError::Consensus { name: name.clone(), source: Box::new(source) };
        self.consensus.agreed(ask, host).await.map_err(refused)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn freshness(&self) -> MutexGuard<'_, Freshness> {
        self.freshness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn executions(&self) -> MutexGuard<'_, Executions> {
        self.runs.table()
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what is installed now; nothing on a fresh node.
    fn installed(&self, platform: &str) -> Result<Lockfile, OpError> {
        match self.store.current()? {
            Some(generation) => Ok(generation.lockfile),
            None => Ok(Lockfile::new(platform.to_owned(), Vec::new(), Vec::new())?),
        }
    }

    fn options(&self, platform: &str) -> Options {
        Options::new(platform.to_owned(), self.config.registry.clone())
    }
}
