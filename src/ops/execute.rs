//! From a package to a program that is ready to run, as far as policy lets it, with its limits. [`super::executions`] runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stoq::PeerId;
use stoq::records::Mode;
use time::OffsetDateTime;

use super::error::Obstacle;
use super::executions::off_thread;
use super::install::closure;
use super::judge;
use super::memory::{Keep, Region};
use super::spec::{self, Target};
use super::validate::read_manifest;
use super::{Catalog, OpError};
use crate::archive::Archive;
use crate::digest::Digest;
use crate::host::{Host, LeasedAsset};
use crate::lockfile::{LockedPackage, Lockfile, Requirement};
use crate::package::Package;
use crate::package::model::{Bytes, CpuMillis, FileAccessLevel, FilePath, PackageType, SandboxLevel, Security};
use crate::package::name::PackageName;
use crate::trust::Intact;
use crate::trust::policy::Confirmed;
use crate::trust::reputation::Event;
use crate::value::Value;
use crate::vm::execution::ExecutionId;
use crate::vm::{
    Call, Cancel, Context, Executor, Failure, Language, Limits, Module, Outcome, Program, Run, Source, TrustDomain,
    VmError,
};

/// What to run and how.
#[derive(Clone, Debug)]
pub struct Execute {
    /// An installed package, or a directory that holds one.
    pub target: String,
    /// Exactly the release with this digest, named as `name@=version`, whether it is installed or not.
    pub release: Option<Digest>,
    /// The peer that asks for it, which is asked for the records of a release that is not known here.
    pub asked_by: Option<PeerId>,
    /// The function; the package's main one if empty.
    pub function: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// A shorter time limit than the package's own.
    pub timeout: Option<Duration>,
    /// A smaller share of processors than the package's own.
    pub cpu: Option<CpuMillis>,
    /// Less memory than the package's own.
    pub memory: Option<Bytes>,
    /// Not before this time.
    pub at: Option<OffsetDateTime>,
    /// What becomes of it if it cannot begin at once.
    pub wait: Wait,
    /// Whether the host is told what the program prints while it does.
    pub follow: bool,
    /// For whom the arrays of its result are kept, if for anybody.
    pub keep: Option<Keep>,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
}

/// What becomes of a run that cannot begin at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// It waits in the queue.
    #[default]
    Queue,
    /// It is refused.
    No,
}

/// What a run gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Microseconds in the queue.
    pub queued_us: u64,
    /// How often it was tried, the last time included.
    pub attempts: u32,
    /// The node it ran on, by its id.
    pub node: String,
    /// What is kept of its result.
    #[serde(default)]
    pub kept: Vec<Region>,
}

/// A package by name, version and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedName {
    /// The name.
    pub name: PackageName,
    /// The version, in text.
    pub version: String,
    /// The digest of its archive.
    pub digest: Digest,
}

/// Binds a result to what gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub finished_at: OffsetDateTime,
}

/// A program ready to run, with the package it belongs to.
pub(super) struct Prepared {
    pub(super) package: Package,
    /// The directory it runs from, if it is not installed.
    pub(super) directory: Option<PathBuf>,
    pub(super) locked: LockedName,
    pub(super) program: Arc<Program>,
}

impl Prepared {
    /// Makes the error of a run that gave no value.
    pub(super) fn failed(&self, failure: Failure) -> OpError {
        let (name, directory) = (self.package.name.clone(), self.directory.clone());
        OpError::Run { name, directory, failure: Box::new(failure) }
    }
}

impl Catalog {
    /// Notes that a program went beyond its limits. Nothing depends on it, so a failure is only traced.
    pub(super) async fn misbehaved(self: &Arc<Self>, package: &Package, now: OffsetDateTime) {
        let (catalog, name, version) = (Arc::clone(self), package.name.clone(), package.version.clone());
        let note = move || judge::experience(&mut catalog.registry(), &name, &version, Event::Misbehaved, now);
        match tokio::task::spawn_blocking(note).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("what {} did is not noted: {error}", package.name),
            Err(ended) => tracing::warn!("what {} did is not noted: {ended}", package.name),
        }
    }

    /// Checks a program that belongs to no package without running any of it.
    ///
    /// # Errors
    /// The first fault of syntax; there is no worker or no runtime to check with.
    pub async fn check_program(&self, program: &Program) -> Result<(), OpError> {
        let executor = self.engines.as_ref().map_err(|looked| no_worker(looked))?.of(program.language(), false)?;
        executor.check(program).await.map_err(OpError::Vm)
    }

    /// Runs a program that belongs to no package, in the role of a host's own executor.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn execute_program(&self, program: Program, call: Call, limits: Limits) -> Result<Outcome, OpError> {
        let executor = self.engines.as_ref().map_err(|looked| no_worker(looked))?.of(program.language(), false)?;
        let domain = TrustDomain("host".into());
        let run = Run { program: Arc::new(program), context: Context::default(), call, limits, domain };
        executor.execute(&run, &Cancel::new()).await.map_err(|failure| OpError::Vm(*failure.error))
    }

    pub(super) async fn prepare_off_thread(
        self: &Arc<Self>,
        execute: &Execute,
        host: &Arc<dyn Host>,
    ) -> Result<Prepared, OpError> {
        let (release, confirmed) = (execute.release, execute.confirmed);
        let prepare = || {
            let (catalog, host, target) = (Arc::clone(self), Arc::clone(host), execute.target.clone());
            off_thread(move || match release {
                Some(digest) => catalog.prepare_exact(&target, digest, confirmed, &*host),
                None => catalog.prepare(&target, confirmed, &*host),
            })
        };
        match (prepare().await, execute.asked_by) {
            (Err(_), Some(peer)) => {
                self.learn_release(execute, peer, host).await;
                prepare().await
            }
            (prepared, _) => prepared,
        }
    }

    /// Asks a peer for its records, if something of what it wants run is not known here yet: records come in no order, and in
    /// their own time. Whether that helped, or what was missing has come meanwhile, is seen when it is tried again.
    async fn learn_release(self: &Arc<Self>, execute: &Execute, peer: PeerId, host: &Arc<dyn Host>) {
        let (catalog, host, target, release) =
            (Arc::clone(self), Arc::clone(host), execute.target.clone(), execute.release);
        let is_known = move || match (spec::target(&target)?, release) {
            (Target::Named(requirement), Some(digest)) => Ok(catalog.is_known(&requirement, digest, &*host)),
            _ => Ok(true),
        };
        if off_thread(is_known).await.is_ok_and(|is_known| !is_known) {
            let synchronised = self.synchronise(Some(&peer.to_string()), &Mode::Differential).await;
            tracing::info!(%peer, release = execute.target, "is not known here, and asked for: {synchronised:?}");
        }
    }

    fn prepare(&self, word: &str, confirmed: Confirmed, host: &dyn Host) -> Result<Prepared, OpError> {
        match spec::target(word)? {
            Target::Directory(path) if !self.policy.runs_directories() => Err(OpError::UnsignedDirectory { path }),
            Target::Directory(directory) => self.prepare_directory(&directory, confirmed, host),
            Target::Named(requirement) => {
                let lockfile = self.installed(&host.platform())?;
                let (package, archive) = self.load_installed(&requirement, &lockfile, confirmed, host)?;
                self.assemble(package, &archive, &lockfile, confirmed, host)
            }
        }
    }

    /// Gives an installed package that the policy lets run, with its archive.
    pub(super) fn load_installed(
        &self,
        wanted: &Requirement,
        lockfile: &Lockfile,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<(Package, Intact<Archive>), OpError> {
        let name = &wanted.name;
        let locked = lockfile.get(name).ok_or_else(|| self.not_installed(name, lockfile))?;
        if !wanted.requirement.matches(&locked.version) {
            let (installed, wanted) = (locked.version.clone(), wanted.requirement_text.clone());
            return Err(OpError::OtherVersion { name: name.clone(), installed, wanted });
        }
        let archive = self.store.load(locked)?;
        let package = read_manifest(archive.manifest())?;
        self.may_run(&package, &archive, confirmed, host)?;
        Ok((package, archive))
    }

    /// Whether a release and everything that it needs are known here, or to a registry that can be asked.
    fn is_known(&self, release: &Requirement, digest: Digest, host: &dyn Host) -> bool {
        if self.installed(&host.platform()).is_ok_and(|installed| is_of(&installed, &release.name, digest)) {
            return true;
        }
        let release = std::slice::from_ref(release);
        self.pull(release, host).and_then(|_| self.resolve_roots(release, None, host)).is_ok()
    }

    /// Puts a program together from a release that need not be installed, fetched with what it needs if it is not here.
    fn prepare_exact(
        &self,
        word: &str,
        digest: Digest,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Prepared, OpError> {
        let Target::Named(requirement) = spec::target(word)? else {
            let reason = "a release is named as `vec3@=1.2.0`".into();
            return Err(OpError::Spec { word: word.to_owned(), reason });
        };
        let installed = self.installed(&host.platform())?;
        if is_of(&installed, &requirement.name, digest) {
            let (package, archive) = self.load_installed(&requirement, &installed, confirmed, host)?;
            return self.assemble(package, &archive, &installed, confirmed, host);
        }
        self.pull(std::slice::from_ref(&requirement), host)?;
        let resolution = self.resolve_roots(std::slice::from_ref(&requirement), None, host)?;
        let hold = self.hold();
        self.download(&resolution.packages().collect::<Vec<_>>(), &hold, host)?;
        let lockfile = resolution.lockfile();
        let locked = lockfile.get(&requirement.name).ok_or_else(|| self.unknown(&requirement.name, host))?;
        if locked.digest != digest {
            return Err(OpError::OtherRelease { name: requirement.name, asked: digest, known: locked.digest });
        }
        let archive = self.store.load(locked)?;
        let package = read_manifest(archive.manifest())?;
        self.may_run(&package, &archive, confirmed, host)?;
        self.assemble(package, &archive, lockfile, confirmed, host)
    }

    fn prepare_directory(&self, directory: &Path, confirmed: Confirmed, host: &dyn Host) -> Result<Prepared, OpError> {
        let packed = self.pack(directory)?;
        let resolution = self.resolve_packed(&packed, host)?;
        let hold = self.hold();
        self.download(&resolution.packages().collect::<Vec<_>>(), &hold, host)?;
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
        let modules = self.modules(language, &package, archive, lockfile, confirmed, host)?;
        let program = Program::new(language, package.name.as_str(), modules)?;
        let version = package.version.to_string();
        let locked = LockedName { name: package.name.clone(), version, digest: archive.digest() };
        Ok(Prepared { package, directory: None, locked, program: Arc::new(program) })
    }

    /// Gives the modules of a package and of everything it depends on, of which the policy is asked.
    pub(super) fn modules(
        &self,
        language: Language,
        package: &Package,
        archive: &Archive,
        lockfile: &Lockfile,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<BTreeMap<String, Module>, OpError> {
        let mut modules = BTreeMap::new();
        add_modules(package, archive, language, &mut modules);
        for locked in dependencies(package, lockfile) {
            let archive = self.store.load(locked)?;
            let dependency = read_manifest(archive.manifest())?;
            self.may_run(&dependency, &archive, confirmed, host)?;
            add_modules(&dependency, &archive, language, &mut modules);
        }
        Ok(modules)
    }

    pub(super) fn executor(
        &self,
        package: &PackageName,
        language: Language,
        installed: bool,
    ) -> Result<&dyn Executor, OpError> {
        match &self.engines {
            Ok(engines) => Ok(engines.of(language, installed)?),
            Err(_) if !self.config.vm => {
                Err(OpError::NotRunnable { name: package.clone(), obstacle: Obstacle::SwitchedOff })
            }
            Err(looked) => Err(no_worker(looked)),
        }
    }
}

/// Whether a package is installed in exactly this release.
fn is_of(installed: &Lockfile, name: &PackageName, digest: Digest) -> bool {
    installed.get(name).is_some_and(|locked| locked.digest == digest)
}

/// Size of the directory for temporary files, which is memory of the node: as HyperMesh's default for files of a sandbox.
const TEMP_BYTES: Bytes = Bytes(100 << 20);

/// Gives the limits of a run: the package's, and what whoever asks wants less of.
pub(super) fn limits(package: &Package, asked: &Execute) -> Result<Limits, VmError> {
    let own = limits_of(package);
    let limits = Limits {
        wall: asked.timeout.map_or(own.wall, |timeout| timeout.min(own.wall)),
        cpu: asked.cpu.map_or(own.cpu, |cpu| cpu.min(own.cpu)),
        memory: asked.memory.map_or(own.memory, |memory| memory.min(own.memory)),
        ..own
    };
    limits.check()?;
    if limits.fuel.is_some() && language(package).ok() != Some(Language::Wasm) {
        let reason = "only the engine for WebAssembly counts instructions; remove `spec.execution.fuel`".into();
        return Err(VmError::Limits { name: "fuel", reason });
    }
    Ok(limits)
}

/// Gives the limits that a package sets itself.
pub(super) fn limits_of(package: &Package) -> Limits {
    let (resources, times) = (&package.resources, &package.execution.timeout_config);
    Limits {
        wall: times.execution.min(Limits::WALL_MAX),
        cpu: resources.cpu_limit,
        memory: resources.memory_limit,
        compilation: times.compilation,
        io: times.io,
        temp: temp(&package.security),
        fuel: package.execution.fuel,
        ..Limits::default()
    }
}

/// Gives the size of the directory for temporary files that a package asks for.
fn temp(security: &Security) -> Bytes {
    if security.file_access.allow_temp { TEMP_BYTES } else { Bytes(0) }
}

/// Gives the directory that a package runs from, if it is not installed.
pub(super) fn directory(target: &str) -> Option<PathBuf> {
    match spec::target(target) {
        Ok(Target::Directory(directory)) => Some(directory),
        _ => None,
    }
}

/// Gives what a package asks of the sandbox beyond what workers have: they reach no network and no file but temporary
/// ones, whoever runs in them, and are a process and no machine of their own. So every level but the last is kept.
pub(super) fn unmet(security: &Security) -> Option<Obstacle> {
    let (files, network) = (&security.file_access, &security.network_access);
    let (field, wanted) = if security.sandbox_level == SandboxLevel::Paranoid {
        ("spec.security.sandbox_level", "hardware isolation")
    } else if network.enabled {
        ("spec.security.network_access", "the network")
    } else if files.level != FileAccessLevel::None {
        ("spec.security.file_access", "files")
    } else {
        return None;
    };
    Some(Obstacle::Sandbox { field, wanted })
}

fn language(package: &Package) -> Result<Language, OpError> {
    let obstacle = match package.kind {
        PackageType::LuaScript => return Ok(Language::Lua),
        PackageType::WasmModule => return Ok(Language::Wasm),
        #[cfg(feature = "julia")]
        PackageType::JuliaProgram => return Ok(Language::Julia),
        PackageType::MlModel | PackageType::DataPipeline | PackageType::Custom => match language_of_main(package) {
            Some(language) => return Ok(language),
            None => Obstacle::NoExecutor(package.kind),
        },
        kind if kind.is_library() => Obstacle::Library(kind),
        kind => Obstacle::NoExecutor(kind),
    };
    Err(OpError::NotRunnable { name: package.name.clone(), obstacle })
}

/// Gives the language of a main file by its name, for types that do not say what they are written in.
fn language_of_main(package: &Package) -> Option<Language> {
    match package.content.main.extension()? {
        "lua" => Some(Language::Lua),
        "wasm" => Some(Language::Wasm),
        #[cfg(feature = "julia")]
        "jl" => Some(Language::Julia),
        _ => None,
    }
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

/// Names modules as programs of a language find them: the package for its main file; for another one `package.stem` in
/// Lua, which requires modules by name, and `package/path` in Julia, which includes files by path. What is in another
/// language is left out.
fn add_modules(package: &Package, archive: &Archive, language: Language, modules: &mut BTreeMap<String, Module>) {
    let extension = language.extension();
    if package.kind.main_extension().is_some_and(|own| own != extension) {
        return;
    }
    for entry in archive.entries() {
        let Ok(path) = entry.path.parse::<FilePath>() else { continue };
        let is_main = path == package.content.main;
        // A WebAssembly module finds no other by a name.
        if !is_main && (language == Language::Wasm || path.extension() != Some(extension)) {
            continue;
        }
        let name = match language {
            _ if is_main => package.name.to_string(),
            Language::Julia => format!("{}/{path}", package.name),
            _ => format!("{}.{}", package.name, path.stem()),
        };
        let source = Source::of(language, entry.bytes.to_vec());
        modules.insert(name, Module { file: format!("{}/{path}", package.name), source });
    }
}

pub(super) fn input_digest(call: &Call) -> Digest {
    let arguments: Vec<serde_json::Value> = call.args.iter().map(Value::to_json).collect();
    Digest::of(serde_json::json!([call.function, arguments]).to_string().as_bytes())
}
