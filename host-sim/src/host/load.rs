//! Loading: manifest, digest, signature, trial, layout, construction, registration, activation. Nothing takes effect
//! before the last step succeeded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hypermesh_abi::host::Root;
use hypermesh_abi::records::{CreateOptions, ExtensionState, Grants, InputFault};
use hypermesh_abi::{Code, Error};
use semver::Version;
use serde_json::json;

use super::slot::{Generation, Slot};
use super::{Host, at};
use crate::lifecycle::Lifecycle;
use crate::loader::{Image, LibraryBytes, LoadError};
use crate::manifest::{self, Manifest, ManifestError, Trust};
use crate::services::Granted;
use crate::{check, dependency, discovery, signature};

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
struct Admitted {
    root: Root,
    manifest: Manifest,
    digest: String,
    workers: BTreeMap<String, PathBuf>,
    linked: bool,
}

/// How long registration and activation may take together.
const ACTIVATE_TIMEOUT: Duration = Duration::from_secs(30);

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
        let generation = self.construct(source).await?;
        let id = generation.manifest.id.to_string();
        if self.slot(&id).is_ok() {
            self.retire(generation).await;
            let message = format!("extension `{id}` is loaded already");
            return Err(Error::new(Code::EXTENSION_ALREADY_LOADED, message).help("`upgrade` replaces a loaded extension"));
        }
        let mut lifecycle = Lifecycle::default();
        let activated = generation.extension.activate(self.call_context(ACTIVATE_TIMEOUT), None).await;
        if let Err(error) = activated {
            self.inner.audit.record("failed", json!({"extension": id, "error": error.to_string()}));
            self.retire(generation).await;
            return Err(error);
        }
        lifecycle.to(ExtensionState::Running).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        generation.load_us.store(started.elapsed().as_micros() as u64, Ordering::SeqCst);
        self.inner.audit.record(
            "loaded",
            json!({"extension": id, "version": generation.manifest.version.to_string(), "digest": generation.digest,
                "generation": generation.number}),
        );
        let slot = Slot::new(generation, lifecycle);
        self.inner.slots.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, Arc::new(slot));
        Ok(())
    }

    /// Finds bundles in directories and loads all that are enabled, those that others need first. Answers the ones that
    /// could not be loaded.
    ///
    /// # Errors
    /// A circle among their dependencies.
    pub async fn load_all(&self, search: &[PathBuf]) -> Result<Vec<(String, Error)>, Error> {
        let found = discovery::discover(search);
        let mut failed: Vec<(String, Error)> =
            found.unreadable.iter().map(|(path, error)| (path.display().to_string(), manifest_error(error))).collect();
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        let enabled = found.bundles.into_iter().filter(|bundle| bundle.manifest.enabled).collect();
        let order = dependency::order(enabled, &host_version())
            .map_err(|error| Error::wrap(Code::DEPENDENCY_RESOLUTION_FAILED, &error))?;
        for bundle in order {
            let id = bundle.manifest.id.to_string();
            if self.slot(&id).is_err()
                && let Err(error) = self.load(Source::Bundle(bundle.path.clone())).await
            {
                failed.push((id, error));
            }
        }
        Ok(failed)
    }

    /// Does everything up to activation.
    pub(super) async fn construct(&self, source: Source) -> Result<Arc<Generation>, Error> {
        let host = self.clone();
        tokio::task::spawn_blocking(move || host.construct_blocking(source))
            .await
            .map_err(|error| Error::wrap(Code::INTERNAL, &error))?
    }

    fn construct_blocking(&self, source: Source) -> Result<Arc<Generation>, Error> {
        let admitted = match source {
            Source::Bundle(path) => self.admit(&path)?,
            Source::Linked { root, manifest, workers } => {
                Admitted { root, manifest: *manifest, digest: String::new(), workers, linked: true }
            }
        };
        let Admitted { root, manifest, digest, workers, linked } = admitted;
        let number = GENERATION.fetch_add(1, Ordering::SeqCst) + 1;
        let id = manifest.id.to_string();
        let services = Arc::new(self.services(&manifest, number));
        let home = self.home().join(&id);
        std::fs::create_dir_all(&home).map_err(|error| at(&home, &error))?;
        let options = CreateOptions {
            config: manifest.configuration.clone().into(),
            home,
            workers,
            worker_threads: self.inner.assets.threads_of(manifest.resources.limits.cpu),
            linked,
            generation: number,
        };
        let owner = services.owner.clone();
        let extension = root.create(Arc::clone(&services) as _, &options)?;
        let description = extension.describe()?;
        require_granted(&manifest, &description.metadata.required_capabilities)?;
        let contributions = extension.register(&mut |kind, contribution| match kind {
            "asset_adapter" => services.require("AssetManagement", contribution),
            "vm_executor" => services.require("VMExecution", contribution),
            _ => Ok(()),
        })?;
        self.inner.assets.set_quota(&owner, &manifest.resources.limits);
        self.inner.audit.record("registered", json!({"extension": id, "generation": number}));
        let load_us = AtomicU64::new(0);
        Ok(Arc::new(Generation { number, digest, manifest, extension, contributions, description, owner, load_us }))
    }

    /// Checks a bundle down to its code.
    fn admit(&self, path: &Path) -> Result<Admitted, Error> {
        let file = if path.is_dir() { path.join(manifest::FILE_NAME) } else { path.to_path_buf() };
        let manifest = manifest::read(&file).map_err(|error| manifest_error(&error))?;
        if !manifest.enabled {
            let message = format!("extension `{}` is not enabled", manifest.id);
            return Err(Error::new(Code::POLICY_DENIED, message).help(format!("set `enabled: true` in `{}`", file.display())));
        }
        if !manifest.hypermesh.matches(&host_version()) {
            let message = format!("extension `{}` wants HyperMesh {}, this is {}", manifest.id, manifest.hypermesh, host_version());
            return Err(Error::new(Code::VERSION_INCOMPATIBLE, message));
        }
        let directory = file.parent().unwrap_or(Path::new("."));
        let library = LibraryBytes::read(&manifest.library.path.resolve(directory)).map_err(|e| load_error(&e))?;
        library.expect(&manifest.library.digest.to_string()).map_err(|error| load_error(&error))?;
        let workers = read_workers(&manifest, directory)?;
        self.check_signature(&manifest, directory, &library)?;
        let image = library.seal().map_err(|error| load_error(&error))?;
        let root = self.open(image, &manifest, &library)?;
        if root.id() != manifest.id.as_str() || root.version() != manifest.version.to_string() {
            let message = format!(
                "library is `{} {}`, the manifest says `{} {}`",
                root.id(), root.version(), manifest.id, manifest.version
            );
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help(format!("make `{}` again with `host-sim bundle`", file.display())));
        }
        Ok(Admitted { root, digest: library.digest(), manifest, workers, linked: false })
    }

    fn open(&self, image: Image, manifest: &Manifest, library: &LibraryBytes) -> Result<Root, Error> {
        if let Some(child) = &self.inner.options.child {
            image.probe(child, false).map_err(|error| load_error(&error))?;
        }
        let level = manifest.conformance.level.get();
        if level > 0 {
            check::require(self.inner.options.child.as_ref(), library, level)?;
        }
        image.open().map_err(|error| load_error(&error))
    }

    fn check_signature(&self, manifest: &Manifest, directory: &Path, library: &LibraryBytes) -> Result<(), Error> {
        if manifest.trust == Trust::Basic {
            return Ok(());
        }
        let statement = signature::Statement::of(manifest, &library.digest());
        self.inner.verifier.verify(manifest, directory, &statement).map(drop).map_err(|error| {
            self.inner.audit.record("SecurityViolation", json!({"extension": manifest.id.to_string(), "error": error.to_string()}));
            Error::wrap(Code::CERTIFICATE_VALIDATION_FAILED, &error)
                .help("trust the publisher's key by copying it to `HOME/trust/`, or get the bundle again from its publisher")
        })
    }

    fn services(&self, manifest: &Manifest, generation: u64) -> Granted {
        let limits = &manifest.resources.limits;
        let capabilities: std::collections::BTreeSet<String> =
            manifest.capabilities.granted.iter().map(ToString::to_string).collect();
        Granted {
            extension: manifest.id.to_string(),
            owner: format!("{}#{generation}", manifest.id),
            grants: Grants {
                capabilities: capabilities.iter().cloned().collect(),
                cpu_percent: limits.cpu.as_percent(),
                memory_bytes: limits.memory.0,
                storage_bytes: limits.storage.0,
                concurrent_operations: limits.concurrent_operations,
                operation_timeout_ms: limits.operation_timeout.duration().as_millis() as u64,
            },
            capabilities,
            node: self.inner.node.clone(),
            assets: Arc::clone(&self.inner.assets),
            audit: Arc::clone(&self.inner.audit),
            progress: Arc::clone(&self.inner.progress),
        }
    }
}

/// Reads, checks and seals the auxiliary programs, so that what runs later is what was verified now.
fn read_workers(manifest: &Manifest, directory: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut workers = BTreeMap::new();
    for worker in &manifest.workers {
        let path = worker.path.resolve(directory);
        let bytes = LibraryBytes::read(&path).map_err(|error| load_error(&error))?;
        bytes.expect(&worker.digest.to_string()).map_err(|error| load_error(&error))?;
        let image = bytes.seal().map_err(|error| load_error(&error))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        workers.insert(name, image.keep());
    }
    Ok(workers)
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
        _ => Code::INITIALIZATION_FAILED,
    };
    Error::wrap(code, error)
}

pub(super) fn manifest_error(error: &ManifestError) -> Error {
    let mut converted = Error::wrap(Code::INVALID_ARGUMENT, error);
    if let ManifestError::Faults(faults) = error {
        converted.detail.faults = faults
            .iter()
            .map(|fault| InputFault {
                code: fault.code.to_string(),
                severity: "error".into(),
                file: Some(fault.file.clone()),
                path: Some(fault.path.clone()),
                line: fault.line,
                column: fault.column,
                message: fault.message.clone(),
                hint: fault.hint.clone(),
            })
            .collect();
    }
    converted
}
