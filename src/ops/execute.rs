//! `run` and `ps`: from a package to a typed result. Policy, consensus, lease, worker, value, receipt, release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::error::Obstacle;
use super::install::closure;
use super::judge;
use super::spec::{self, Target};
use super::validate::read_manifest;
use super::{Catalog, OpError};
use crate::archive::Archive;
use crate::asset;
use crate::consensus::Ask;
use crate::digest::Digest;
use crate::host::{Host, Lease, LeasedAsset, OperationKind};
use crate::lockfile::{LockedPackage, Lockfile};
use crate::package::Package;
use crate::package::model::{FileAccessLevel, FilePath, PackageType, SandboxLevel, Security};
use crate::package::name::PackageName;
use crate::trust::policy::{Check, Confirmed};
use crate::trust::reputation::Event;
use crate::value::Value;
use crate::vm::execution::{Execution, ExecutionId};
use crate::vm::{
    Call, Cancel, Context, Executor, Failure, Language, Limits, Module, Outcome, Program, Run, TrustDomain, VmError,
};

/// What to run and how.
#[derive(Clone, Debug)]
pub struct Execute {
    /// An installed package, or a directory that holds one.
    pub target: String,
    /// The function; the package's main one if empty.
    pub function: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// A shorter time limit than the package's own.
    pub timeout: Option<Duration>,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The execution.
    pub id: ExecutionId,
    /// The package that ran.
    pub package: LockedName,
    /// The sandbox level it asked for.
    pub sandbox_level: SandboxLevel,
    /// Value, output and use.
    pub outcome: Outcome,
    /// What was leased for it, and is released by now.
    pub leased: Vec<LeasedAsset>,
    /// What can be shown to others.
    pub receipt: Receipt,
    /// Microseconds from the request to the answer.
    pub total_us: u64,
}

/// A package by name, version and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedName {
    /// The name.
    pub name: PackageName,
    /// The version, in text.
    pub version: String,
    /// The digest of its archive.
    pub digest: Digest,
}

/// Binds a result to what gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The digest of the program: the package and everything it requires.
    pub program: Digest,
    /// The digest of function and arguments, in their JSON form.
    pub input: Digest,
    /// The digest of the value, in its JSON form.
    pub output: Digest,
    /// The proof to which validators agreed before it ran, if they were asked.
    pub proof: Option<String>,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// When it ended.
    pub finished_at: OffsetDateTime,
}

/// A program ready to run, with the package it belongs to.
struct Prepared {
    package: Package,
    /// The directory it runs from, if it is not installed.
    directory: Option<PathBuf>,
    locked: LockedName,
    program: Arc<Program>,
}

impl Catalog {
    /// Runs a package. Resources are leased for the run only, whatever becomes of it; dropping the future ends the run.
    ///
    /// # Errors
    /// A package that is not there or cannot run; what the host refuses; what the program itself says.
    pub async fn execute(self: &Arc<Self>, execute: Execute, host: Arc<dyn Host>) -> Result<Executed, OpError> {
        let started = Instant::now();
        let prepared = self.prepare_off_thread(&execute, &host).await?;
        let Prepared { package, directory, locked, program } = prepared;
        let failed = |failure: Failure| {
            let name = package.name.clone();
            OpError::Run { name, directory: directory.clone(), failure: Box::new(failure) }
        };
        if let Some(obstacle) = unmet(&package.security) {
            return Err(OpError::NotRunnable { name: package.name, obstacle });
        }
        let limits = limits(&package, execute.timeout).map_err(|error| failed(error.into()))?;
        let executor = self.executor(&package.name)?;
        let ask = Ask {
            kind: OperationKind::Execute,
            digest: program.digest(),
            required: package.security.consensus_required || self.policy.requires(Check::Consensus),
            minimum: package.execution.minimum_consensus,
        };
        let agreement = self.agreed(&package.name, &ask, &*host).await?;
        let proof = agreement.map(|agreement| agreement.proof());
        let entry = self.executions().accept(package.name.clone(), proof, host.now())?.clone();
        let mut running = Accounted { catalog: self, id: entry.id, host: &*host, started, ended: false };
        let lease = lease(&package, &limits, &*host).await?;
        let leased = lease.assets();
        self.executions().starting(entry.id, leased.iter().map(|asset| asset.id.clone()).collect())?;
        let started_at = host.now();
        self.executions().running(entry.id, started_at)?;
        let call = Call { function: execute.function, args: execute.arguments };
        let input = input_digest(&call);
        let context = Context { globals: BTreeMap::new(), environment: package.environment.clone() };
        let domain = TrustDomain("node".into());
        let run = Run { program: Arc::clone(&program), context, call, limits, domain };
        let result = executor.execute(&run, &entry.cancel).await;
        let finished_at = host.now();
        running.ended = true;
        self.executions().finish(entry.id, result.as_ref(), finished_at)?;
        drop(lease);
        if result.as_ref().is_err_and(|failure| failure.error.is_beyond_limits()) {
            self.misbehaved(&package, finished_at).await;
        }
        let outcome = result.map_err(failed)?;
        let output = Digest::of(outcome.value.to_json().to_string().as_bytes());
        let receipt = Receipt { program: program.digest(), input, output, proof: entry.proof, started_at, finished_at };
        let total_us = started.elapsed().as_micros() as u64;
        let sandbox_level = package.security.sandbox_level;
        Ok(Executed { id: entry.id, package: locked, sandbox_level, outcome, leased, receipt, total_us })
    }

    /// Notes that a program went beyond its limits. Nothing depends on it, so a failure is only traced.
    async fn misbehaved(self: &Arc<Self>, package: &Package, now: OffsetDateTime) {
        let (catalog, name, version) = (Arc::clone(self), package.name.clone(), package.version.clone());
        let note = move || judge::experience(&mut catalog.registry(), &name, &version, Event::Misbehaved, now);
        match tokio::task::spawn_blocking(note).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("what {} did is not noted: {error}", package.name),
            Err(ended) => tracing::warn!("what {} did is not noted: {ended}", package.name),
        }
    }

    /// Runs a program that belongs to no package, in the role of a host's own executor.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn execute_program(&self, program: Program, call: Call, limits: Limits) -> Result<Outcome, OpError> {
        let executor = self.executor.as_ref().map_err(|looked| no_worker(looked))?;
        let domain = TrustDomain("host".into());
        let run = Run { program: Arc::new(program), context: Context::default(), call, limits, domain };
        executor.execute(&run, &Cancel::new()).await.map_err(|failure| OpError::Vm(*failure.error))
    }

    /// Gives the executions that are known: those going on, then the finished ones, the latest first.
    pub fn executions_list(&self) -> Vec<Execution> {
        self.executions().list().cloned().collect()
    }

    /// Gives an execution by its id.
    ///
    /// # Errors
    /// It is unknown, or forgotten.
    pub fn execution(&self, id: ExecutionId) -> Result<Execution, OpError> {
        Ok(self.executions().get(id)?.clone())
    }

    /// Ends an execution.
    ///
    /// # Errors
    /// It is unknown or has finished already.
    pub fn terminate(&self, id: ExecutionId, host: &dyn Host) -> Result<Execution, OpError> {
        Ok(self.executions().terminate(id, host.now())?.clone())
    }

    async fn prepare_off_thread(
        self: &Arc<Self>,
        execute: &Execute,
        host: &Arc<dyn Host>,
    ) -> Result<Prepared, OpError> {
        let (catalog, host, target) = (Arc::clone(self), Arc::clone(host), execute.target.clone());
        let confirmed = execute.confirmed;
        match tokio::task::spawn_blocking(move || catalog.prepare(&target, confirmed, &*host)).await {
            Ok(prepared) => prepared,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }

    fn prepare(&self, word: &str, confirmed: Confirmed, host: &dyn Host) -> Result<Prepared, OpError> {
        match spec::target(word)? {
            Target::Directory(path) if !self.policy.runs_directories() => Err(OpError::UnsignedDirectory { path }),
            Target::Directory(directory) => self.prepare_directory(&directory, confirmed, host),
            Target::Named(requirement) => {
                let lockfile = self.installed(&host.platform())?;
                let name = &requirement.name;
                let locked = lockfile.get(name).ok_or_else(|| self.not_installed(name, &lockfile))?;
                if !requirement.requirement.matches(&locked.version) {
                    let (installed, wanted) = (locked.version.clone(), requirement.requirement_text);
                    return Err(OpError::OtherVersion { name: name.clone(), installed, wanted });
                }
                let archive = self.store.load(locked)?;
                let package = read_manifest(archive.manifest())?;
                self.may_run(&package, &archive, confirmed, host)?;
                self.assemble(package, &archive, &lockfile, confirmed, host)
            }
        }
    }

    fn prepare_directory(&self, directory: &Path, confirmed: Confirmed, host: &dyn Host) -> Result<Prepared, OpError> {
        let packed = self.pack(directory)?;
        let resolution = self.resolve_packed(&packed, host)?;
        self.download(&resolution.packages().collect::<Vec<_>>(), host)?;
        let directory = packed.directory().to_path_buf();
        let prepared = self.assemble(packed.package, &packed.archive, resolution.lockfile(), confirmed, host)?;
        Ok(Prepared { directory: Some(directory), ..prepared })
    }

    /// Puts a program together: its own modules and those of everything it depends on, of which the policy is asked.
    fn assemble(
        &self,
        package: Package,
        archive: &Archive,
        lockfile: &Lockfile,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Prepared, OpError> {
        let language = language(&package)?;
        let mut modules = BTreeMap::new();
        add_modules(&package, archive, &mut modules);
        for locked in dependencies(&package, lockfile) {
            let archive = self.store.load(locked)?;
            let dependency = read_manifest(archive.manifest())?;
            self.may_run(&dependency, &archive, confirmed, host)?;
            add_modules(&dependency, &archive, &mut modules);
        }
        let program = Program::new(language, package.name.as_str(), modules)?;
        let version = package.version.to_string();
        let locked = LockedName { name: package.name.clone(), version, digest: archive.digest() };
        Ok(Prepared { package, directory: None, locked, program: Arc::new(program) })
    }

    fn executor(&self, package: &PackageName) -> Result<&dyn Executor, OpError> {
        match &self.executor {
            Ok(executor) => Ok(executor),
            Err(_) if !self.config.vm => {
                Err(OpError::NotRunnable { name: package.clone(), obstacle: Obstacle::SwitchedOff })
            }
            Err(looked) => Err(no_worker(looked)),
        }
    }
}

/// An execution that is told to be over when the run is cut short.
struct Accounted<'a> {
    catalog: &'a Catalog,
    id: ExecutionId,
    host: &'a dyn Host,
    started: Instant,
    ended: bool,
}

impl Drop for Accounted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let wall_us = self.started.elapsed().as_micros() as u64;
            let failure = Failure { wall_us, ..Failure::from(VmError::Cancelled) };
            let mut executions = self.catalog.executions();
            // One that waits is over by being terminated; one that runs by being finished.
            if executions.finish(self.id, Err(&failure), self.host.now()).is_err() {
                let _ = executions.terminate(self.id, self.host.now());
            }
        }
    }
}

/// How much longer than the run its lease lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

async fn lease(package: &Package, limits: &Limits, host: &dyn Host) -> Result<Box<dyn Lease>, OpError> {
    let label = format!("{}@{}", package.name, package.version);
    let lease = host.lease(&label, &asset::needs(package), limits.wall + LEASE_MARGIN).await;
    lease.map_err(|refusal| OpError::Resources { name: package.name.clone(), refusal })
}

fn limits(package: &Package, timeout: Option<Duration>) -> Result<Limits, VmError> {
    let resources = &package.resources;
    let own = package.execution.timeout_config.execution.min(Limits::WALL_MAX);
    let limits = Limits {
        wall: timeout.map_or(own, |timeout| timeout.min(own)),
        cpu: resources.cpu_limit,
        memory: resources.memory_limit,
        ..Limits::default()
    };
    limits.check()?;
    Ok(limits)
}

/// Gives what a package asks of the sandbox beyond what workers have: they reach no network and no file, whoever runs in
/// them, and are a process and no machine of their own. So every level but the last is kept, and kept closed.
fn unmet(security: &Security) -> Option<Obstacle> {
    let (files, network) = (&security.file_access, &security.network_access);
    let (field, wanted) = if security.sandbox_level == SandboxLevel::Paranoid {
        ("spec.security.sandbox_level", "hardware isolation")
    } else if network.enabled {
        ("spec.security.network_access", "the network")
    } else if files.level != FileAccessLevel::None || files.allow_temp {
        ("spec.security.file_access", "files")
    } else {
        return None;
    };
    Some(Obstacle::Sandbox { field, wanted })
}

fn language(package: &Package) -> Result<Language, OpError> {
    let obstacle = match package.kind {
        PackageType::LuaScript => return Ok(Language::Lua),
        kind if kind.is_library() => Obstacle::Library(kind),
        kind => Obstacle::NoExecutor(kind),
    };
    Err(OpError::NotRunnable { name: package.name.clone(), obstacle })
}

fn no_worker(looked: &[PathBuf]) -> OpError {
    OpError::Vm(VmError::WorkerMissing { looked: looked.to_vec() })
}

/// Gives everything a package depends on, directly or not, in the order of names.
fn dependencies<'a>(package: &Package, lockfile: &'a Lockfile) -> Vec<&'a LockedPackage> {
    let names: Vec<PackageName> = package.dependencies.iter().map(|dependency| dependency.name.clone()).collect();
    let found = closure(lockfile, &names);
    found.into_iter().filter_map(|name| lockfile.get(name)).collect()
}

/// Names modules as programs require them: the package for its main file, `package.stem` for every other one.
fn add_modules(package: &Package, archive: &Archive, modules: &mut BTreeMap<String, Module>) {
    for entry in archive.entries() {
        let Ok(path) = entry.path.parse::<FilePath>() else { continue };
        let is_main = path == package.content.main;
        if !is_main && path.extension() != Some("lua") {
            continue;
        }
        let name = if is_main { package.name.to_string() } else { format!("{}.{}", package.name, path.stem()) };
        let source = String::from_utf8_lossy(entry.bytes).into_owned();
        modules.insert(name, Module { file: format!("{}/{path}", package.name), source });
    }
}

fn input_digest(call: &Call) -> Digest {
    let arguments: Vec<serde_json::Value> = call.args.iter().map(Value::to_json).collect();
    Digest::of(serde_json::json!([call.function, arguments]).to_string().as_bytes())
}
