//! Loading: manifest, digest, signature, trial, layout, construction, registration, activation. Nothing takes effect
//! before the last step succeeded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use hypermesh_abi::host::{Contributions, Extension, Root};
use hypermesh_abi::records::{CreateOptions, Description, ExtensionState, Grants, InputFault};
use hypermesh_abi::{Code, Error};
use semver::Version;

use super::slot::{Generation, Slot};
use super::{Host, at};
use crate::assets::Owner;
use crate::audit::Event;
use crate::check::{self, CheckOptions};
use crate::lifecycle::Lifecycle;
use crate::loader::{Image, LibraryBytes, LoadError, Place, Trial};
use crate::manifest::{self, Capability, Manifest, ManifestError, SignatureSource};
use crate::services::Granted;
use crate::signature::{self, Verified};
use crate::{dependency, discovery};

/// Where an extension comes from.
pub enum Source {
    /// A manifest file, or a bundle: a directory that holds `extension.yaml`.
    Bundle(PathBuf),
    /// Code that is linked into this program, with the manifest it would have, and its auxiliary programs by name.
    Linked {
        /// The root module.
        root: Root,
        /// The manifest; digest and signature are not looked at.
        manifest: Box<Manifest>,
        /// The auxiliary programs.
        workers: BTreeMap<String, PathBuf>,
    },
}

/// An extension that passed every check and has not run a line in the host yet, but for its initialisers.
pub(super) struct Admitted {
    root: Root,
    pub(super) manifest: Manifest,
    digest: String,
    /// The certificate that stands for the library, if one does.
    certificate: Option<String>,
    workers: Workers,
    linked: bool,
}

/// Numbers generations over all hosts of a process, since they share its descriptors and thread names.
static GENERATION: AtomicU64 = AtomicU64::new(0);

impl Host {
    /// Loads an extension and activates it.
    ///
    /// # Errors
    /// `EXTENSION_ALREADY_LOADED`; the faults of the manifest; whatever check the library does not pass.
    pub async fn load(&self, source: Source) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        let started = Instant::now();
        let generation = self.construct(self.admit_source(source).await?).await?;
        let id = generation.manifest.id.to_string();
        if self.slot(&id).is_ok() {
            self.retire(generation).await;
            let message = format!("extension `{id}` is loaded already");
            return Err(
                Error::new(Code::EXTENSION_ALREADY_LOADED, message).help("`upgrade` replaces a loaded extension")
            );
        }
        let mut lifecycle = Lifecycle::default();
        let activated = self.step("activate", |ctx| generation.extension.activate(ctx, None)).await;
        if let Err(error) = activated {
            let failed = Event::Failed { extension: generation.manifest.id.clone(), reason: error.to_string() };
            self.inner.journal.record(failed);
            self.retire(generation).await;
            return Err(error);
        }
        lifecycle.advance(ExtensionState::Running).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        generation.load_us.store(started.elapsed().as_micros() as u64, Ordering::SeqCst);
        self.inner.journal.record(generation.loaded());
        let slot = Slot::new(generation, lifecycle);
        self.failures().retain(|(failed, _)| *failed != id);
        self.inner.slots.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(slot));
        Ok(())
    }

    /// Finds bundles in directories and loads all that are enabled, those that others need first. [`Host::failed`] gives the
    /// ones that could not be loaded, and why.
    pub async fn load_all(&self, search: &[PathBuf]) {
        let found = discovery::discover(search);
        let mut failed: Vec<(String, Error)> =
            found.rejected.iter().map(|rejected| (place_of(rejected), rejection(rejected))).collect();
        for shadowed in &found.shadowed {
            tracing::warn!("{shadowed}");
        }
        let host = dependency::Host { version: host_version(), provides: BTreeMap::new() };
        let plan = dependency::load_order(found.bundles.iter().map(|bundle| &bundle.manifest), &host);
        failed.extend(
            plan.refused.iter().map(|(id, e)| (id.to_string(), Error::wrap(Code::DEPENDENCY_RESOLUTION_FAILED, e))),
        );
        for manifest in plan.order {
            let Some(bundle) = found.bundles.iter().find(|bundle| bundle.manifest.id == manifest.id) else { continue };
            if self.slot(manifest.id.as_str()).is_err()
                && let Err(error) = self.load(Source::Bundle(bundle.directory.clone())).await
            {
                failed.push((manifest.id.to_string(), error));
            }
        }
        *self.failures() = failed;
    }

    fn failures(&self) -> MutexGuard<'_, Vec<(String, Error)>> {
        self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a source down to its code, which is mapped afterwards.
    pub(super) async fn admit_source(&self, source: Source) -> Result<Admitted, Error> {
        let host = self.clone();
        tokio::task::spawn_blocking(move || host.admitted(source))
            .await
            .map_err(|error| Error::wrap(Code::INTERNAL, &error))?
    }

    /// Does everything from there up to activation.
    pub(super) async fn construct(&self, admitted: Admitted) -> Result<Arc<Generation>, Error> {
        let number = GENERATION.fetch_add(1, Ordering::SeqCst) + 1;
        let owner = Owner { extension: admitted.manifest.id.clone(), generation: number };
        let host = self.clone();
        let limit = self.inner.options.step_timeout;
        let built = super::apart(limit, "construct", move || host.build(admitted, number)).await.flatten();
        if built.is_err() {
            self.inner.assets.release_all(&owner);
        }
        built.map(Arc::new)
    }

    fn admitted(&self, source: Source) -> Result<Admitted, Error> {
        match source {
            Source::Bundle(path) => self.admit(&path),
            Source::Linked { root, manifest, workers } => {
                let (digest, certificate) = (String::new(), None);
                let workers = Workers { paths: workers, reading: None };
                Ok(Admitted { root, manifest: *manifest, digest, certificate, workers, linked: true })
            }
        }
    }

    /// Constructs and registers an extension. Runs its code, which may block.
    fn build(&self, admitted: Admitted, number: u64) -> Result<Generation, Error> {
        let Admitted { root, manifest, digest, certificate, mut workers, linked } = admitted;
        let id = manifest.id.to_string();
        let services = Arc::new(self.services(&manifest, number));
        let home = self.home().join(&id);
        std::fs::create_dir_all(&home).map_err(|error| at(&home, &error))?;
        let options = CreateOptions {
            config: manifest.configuration.clone().into(),
            home,
            workers: workers.paths.clone(),
            worker_threads: threads(&manifest),
            linked,
            generation: number,
        };
        let owner = services.owner.clone();
        self.inner.assets.register(owner.clone(), manifest.resources.limits.clone());
        let extension = root.create(Arc::clone(&services) as _, &options)?;
        let introduced = introduce(&extension, &manifest, &services);
        let (description, contributions) =
            introduced.and_then(|known| workers.wait().map(|()| known)).inspect_err(|_| {
                let _ = extension.stop(self.inner.options.stop_grace.as_millis() as u64);
            })?;
        let version = manifest.version.to_string();
        self.inner.journal.record(Event::Registered { extension: manifest.id.clone(), version });
        let load_us = AtomicU64::new(0);
        Ok(Generation { number, digest, certificate, manifest, extension, contributions, description, owner, load_us })
    }

    /// Checks a bundle down to its code.
    fn admit(&self, path: &Path) -> Result<Admitted, Error> {
        let (manifest, file) = manifest_of(path)?;
        if !manifest.enabled {
            let message = format!("extension `{}` is not enabled", manifest.id);
            return Err(
                Error::new(Code::POLICY_DENIED, message).help(format!("set `enabled: true` in `{}`", file.display()))
            );
        }
        if !manifest.hypermesh.matches(&host_version()) {
            let message = format!(
                "extension `{}` wants HyperMesh {}, this is {}",
                manifest.id,
                manifest.hypermesh,
                host_version()
            );
            return Err(Error::new(Code::VERSION_INCOMPATIBLE, message));
        }
        let directory = file.parent().unwrap_or(Path::new("."));
        let (library, image) = read_library(&manifest, directory)?;
        let verified = self.check_signature(&manifest, directory, &library)?;
        let mut workers = Workers::begin(&manifest, directory)?;
        self.try_image(&image, &manifest)?;
        self.check_conformance(&manifest, &library, &mut workers)?;
        let root = image.open().map_err(|error| load_error(&error))?;
        if root.id() != manifest.id.as_str() || root.version() != manifest.version.to_string() {
            let message = format!(
                "library is `{} {}`, the manifest says `{} {}`",
                root.id(),
                root.version(),
                manifest.id,
                manifest.version
            );
            return Err(Error::new(Code::INVALID_ARGUMENT, message)
                .help(format!("make `{}` again with `host-sim bundle`", file.display())));
        }
        let certificate = verified.voucher().certificate();
        Ok(Admitted { root, digest: library.digest(), certificate, manifest, workers, linked: false })
    }

    fn try_image(&self, image: &Image, manifest: &Manifest) -> Result<(), Error> {
        let Some(child) = &self.inner.options.child else { return Ok(()) };
        // What its constructor answers in the trial does not matter, only that the child survives it: the trial has another
        // home, no grants and no workers.
        let trial = Trial { config: manifest.configuration.clone().into() };
        image.probe(child, trial).map(drop).map_err(|error| load_error(&error))
    }

    fn check_conformance(
        &self,
        manifest: &Manifest,
        library: &LibraryBytes,
        workers: &mut Workers,
    ) -> Result<(), Error> {
        let level = manifest.conformance.level.get();
        if level == 0 {
            return Ok(());
        }
        workers.wait()?;
        let (config, workers) = (manifest.configuration.clone().into(), workers.paths.clone());
        check::require(self.inner.options.child.as_ref(), library, &CheckOptions { level, config, workers })
    }

    fn check_signature(
        &self,
        manifest: &Manifest,
        directory: &Path,
        library: &LibraryBytes,
    ) -> Result<Verified, Error> {
        let bundle = match &manifest.library.signature {
            None => None,
            Some(SignatureSource::Inline(bytes)) => Some(bytes.clone()),
            Some(SignatureSource::File(file)) => {
                let path = file.resolve(directory);
                Some(std::fs::read(&path).map_err(|error| at(&path, &error))?)
            }
        };
        let now = time::OffsetDateTime::now_utc();
        signature::verify(manifest, library.blake3(), bundle.as_deref(), self.home(), now).map_err(|error| {
            self.inner.journal.record(Event::SecurityViolation {
                extension: Some(manifest.id.clone()),
                violation: "InvalidSignature".into(),
                detail: error.to_string(),
            });
            Error::wrap(Code::CERTIFICATE_VALIDATION_FAILED, &error).help(error.help())
        })
    }

    fn services(&self, manifest: &Manifest, generation: u64) -> Granted {
        let limits = &manifest.resources.limits;
        Granted {
            extension: manifest.id.clone(),
            owner: Owner { extension: manifest.id.clone(), generation },
            grants: Grants {
                capabilities: manifest.capabilities.granted.iter().map(ToString::to_string).collect(),
                cpu_percent: limits.cpu.of_millicores(100_000) as f64 / 1_000.0,
                memory_bytes: limits.memory.0,
                storage_bytes: limits.storage.0,
                concurrent_operations: limits.concurrent_operations,
                operation_timeout_ms: limits.operation_timeout.duration().as_millis() as u64,
            },
            capabilities: manifest.capabilities.granted.clone(),
            node: self.inner.node.clone(),
            assets: Arc::clone(&self.inner.assets),
            journal: Arc::clone(&self.inner.journal),
            progress: Arc::clone(&self.inner.progress),
            trust: Arc::clone(&self.inner.trust),
            consensus: Arc::clone(&self.inner.consensus),
            metrics: Arc::clone(&self.inner.metrics),
        }
    }
}

/// Reads the manifest of a bundle, and says which file it is.
pub(super) fn manifest_of(path: &Path) -> Result<(Manifest, PathBuf), Error> {
    let file = if path.is_dir() { path.join(manifest::FILE_NAME) } else { path.to_path_buf() };
    let manifest = manifest::read(&file).map_err(|error| manifest_error(&error))?;
    Ok((manifest, file))
}

/// Lets a constructed extension say who it is and what it contributes.
fn introduce(
    extension: &Extension,
    manifest: &Manifest,
    services: &Granted,
) -> Result<(Description, Contributions), Error> {
    let description = extension.describe()?;
    require_granted(manifest, &description.metadata.required_capabilities)?;
    let contributions = extension.register(&mut |kind, contribution| match kind {
        "asset_adapter" => services.require(&Capability::AssetManagement, contribution),
        "vm_executor" => services.require(&Capability::VmExecution, contribution),
        _ => Ok(()),
    })?;
    Ok((description, contributions))
}

/// Reads, checks and seals the library.
fn read_library(manifest: &Manifest, directory: &Path) -> Result<(LibraryBytes, Image), Error> {
    let library = LibraryBytes::read(&manifest.library.path.resolve(directory)).map_err(|e| load_error(&e))?;
    library.expect(&manifest.library.digest.to_string()).map_err(|error| load_error(&error))?;
    let image = library.image().map_err(|error| load_error(&error))?;
    Ok((library, image))
}

/// The auxiliary programs by name, which a thread reads, checks and seals, so that what runs later is what was verified now.
///
/// Each has some ten megabytes, and nobody starts them before the extension is activated: until they are verified, their paths
/// name nothing that could be started.
pub(super) struct Workers {
    paths: BTreeMap<String, PathBuf>,
    reading: Option<JoinHandle<Result<Vec<Image>, LoadError>>>,
}

impl Workers {
    fn begin(manifest: &Manifest, directory: &Path) -> Result<Self, Error> {
        let (mut paths, mut wanted) = (BTreeMap::new(), Vec::new());
        for worker in &manifest.workers {
            let place = Place::reserve().map_err(|error| load_error(&error))?;
            let file = worker.path.resolve(directory);
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            paths.insert(name, place.path_for_children());
            wanted.push((file, worker.digest.to_string(), place));
        }
        let read = |(file, digest, place): (PathBuf, String, Place)| {
            let bytes = LibraryBytes::read(&file)?;
            bytes.expect(&digest)?;
            bytes.image_at(place)
        };
        let reading = std::thread::spawn(move || wanted.into_iter().map(read).collect());
        Ok(Self { paths, reading: Some(reading) })
    }

    /// Waits until all are verified; they stay for the life of the process. Blocks.
    fn wait(&mut self) -> Result<(), Error> {
        let Some(reading) = self.reading.take() else { return Ok(()) };
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read.map_err(|error| load_error(&error))?.into_iter().for_each(Image::keep);
        Ok(())
    }
}

/// Threads of an extension's runtime: its share of this node's cores, at least one.
fn threads(manifest: &Manifest) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    manifest.resources.limits.cpu.of_millicores(cores * 1_000).div_ceil(1_000) as u32
}

fn require_granted(manifest: &Manifest, required: &[String]) -> Result<(), Error> {
    let granted: Vec<String> = manifest.capabilities.granted.iter().map(ToString::to_string).collect();
    let missing: Vec<&str> = required.iter().filter(|name| !granted.contains(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("extension `{}` needs capabilities it is not granted: {}", manifest.id, missing.join(", "));
    Err(Error::new(Code::CAPABILITY_NOT_GRANTED, message).help("add them to `capabilities.granted` in its manifest"))
}

fn host_version() -> Version {
    Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo checks the version of a package")
}

pub(super) fn load_error(error: &LoadError) -> Error {
    let code = match error {
        LoadError::Digest { .. } => Code::INTEGRITY,
        LoadError::Read { .. } | LoadError::Image(_) => Code::IO,
        LoadError::Open(_) => Code::VERSION_INCOMPATIBLE,
        LoadError::TooMany => Code::RESOURCE_LIMIT_EXCEEDED,
        _ => Code::INITIALIZATION_FAILED,
    };
    let wrapped = Error::wrap(code, error);
    if code == Code::RESOURCE_LIMIT_EXCEEDED { wrapped.help("restart the host to free them") } else { wrapped }
}

pub(super) fn manifest_error(error: &ManifestError) -> Error {
    let mut converted = Error::wrap(Code::INVALID_ARGUMENT, error);
    if let ManifestError::Invalid(faults) = error {
        converted.detail.faults = faults
            .faults
            .iter()
            .map(|fault| InputFault {
                code: code_name(fault.code),
                severity: "error".into(),
                file: Some(faults.file.clone()),
                path: Some(fault.path.clone()),
                line: u32::try_from(fault.line).ok(),
                column: u32::try_from(fault.column).ok(),
                message: fault.message.clone(),
                hint: fault.hint.clone(),
            })
            .collect();
    }
    converted
}

fn rejection(rejected: &discovery::Rejected) -> Error {
    match rejected {
        discovery::Rejected::Manifest(error) => manifest_error(error),
        other => Error::wrap(Code::INVALID_ARGUMENT, other),
    }
}

/// Says where that is which gave no extension.
fn place_of(rejected: &discovery::Rejected) -> String {
    let path = match rejected {
        discovery::Rejected::Manifest(error) => error.file(),
        discovery::Rejected::Unlistable { path, .. } | discovery::Rejected::TooManyEntries { path, .. } => path,
        discovery::Rejected::TooMany { id, .. } => return id.to_string(),
    };
    path.display().to_string()
}

fn code_name(code: manifest::FaultCode) -> String {
    serde_json::to_value(code).ok().and_then(|name| name.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}
