//! Catalog as an extension of a HyperMesh host: the only module that knows the contract.
//!
//! It translates: verbs to operations, ports to services, errors to errors, contributions to what is below. The files of
//! the node are open only while the extension runs, so that two generations never have them open at once.

mod answers;
mod contributions;
mod errors;
mod identity;
pub mod metrics;
mod ports;
pub mod schema;
mod verbs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use hypermesh_abi::records::{Description, Health, InputFault, Metadata, Metric, Response, ValidationReport};
use hypermesh_abi::sdk::{self, Call, CreateOptions, Host};
use hypermesh_abi::{Code, Error, export_extension};
use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::ops::network::Starting;
use crate::ops::{Catalog, OpError};
use ports::CallHost;

/// The extension.
pub struct CatalogExtension {
    config: Config,
    home: PathBuf,
    workers: Vec<PathBuf>,
    host: Host,
    /// There while the extension runs.
    catalog: RwLock<Option<Arc<Catalog>>>,
    /// Why the network does not run, if it should.
    network_fault: Arc<Mutex<Option<String>>>,
    /// Starts the network and looks after it.
    network: Mutex<Option<AbortOnDrop>>,
    /// The generation that was counted last, and its packages: it never changes, and reading it takes as long as it is.
    counted: Mutex<Option<(u64, usize)>>,
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The name of the program that runs packages.
const WORKER: &str = "catalog-worker";

/// How long the files may still be in use after the last request, by listings that are no requests.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl CatalogExtension {
    /// Gives the open catalog.
    fn catalog(&self) -> Result<Arc<Catalog>, Error> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.clone().ok_or_else(|| Error::new(Code::NOT_RUNNING, "catalog is not running"))
    }

    /// Runs an operation that blocks where it may.
    async fn blocking<T, F>(&self, call: Call, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Catalog, &CallHost) -> Result<T, OpError> + Send + 'static,
    {
        self.blocking_as(CallHost::new(call), work).await
    }

    /// As [`Self::blocking`], for a host that is set up already.
    async fn blocking_as<T, F>(&self, host: CallHost, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Catalog, &CallHost) -> Result<T, OpError> + Send + 'static,
    {
        let catalog = self.catalog()?;
        let done = tokio::task::spawn_blocking(move || work(&catalog, &host).map_err(|error| errors::to_error(&error)));
        match done.await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(Error::new(Code::CANCELLED, "the extension stops")),
        }
    }

    /// Begins to start the network, if there is to be one; who needs it waits. A node whose network cannot start is a node
    /// without one, and says why.
    async fn start_network(&self, catalog: &Arc<Catalog>) {
        let Some(starting) = catalog.network_starts().await else { return };
        let (host, fault, catalog) = (self.host.clone(), Arc::clone(&self.network_fault), Arc::downgrade(catalog));
        let hybrid_peers_only = self.config.network.as_ref().is_some_and(|network| network.hybrid_peers_only);
        let runs = async move {
            let started = run_network(&host, hybrid_peers_only, starting, &catalog).await;
            if let Err(error) = started {
                tracing::error!("the network does not run: {error}");
                *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        };
        let runs = AbortOnDrop(tokio::spawn(runs));
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(runs);
    }

    fn close(&self) -> Option<Arc<Catalog>> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Counts what is installed, once for each generation.
    fn installed(&self, catalog: &Catalog) -> Option<(u64, usize)> {
        let current = catalog.current_generation().ok()?;
        let counted = || self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *counted();
        if let Some(known) = known.filter(|(generation, _)| current == Some(*generation)) {
            return Some(known);
        }
        let (generation, lockfile) = catalog.list(&self.host.identity().platform).ok()?;
        let found = (generation, lockfile.packages().len());
        *counted() = Some(found).filter(|_| current == Some(generation));
        Some(found)
    }
}

impl sdk::Extension for CatalogExtension {
    const ID: &'static str = "catalog";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn create(host: Host, options: CreateOptions) -> Result<Self, Error> {
        let config = Config::from_json(&options.config).map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let workers = options.workers.get(WORKER).cloned().into_iter().collect();
        Ok(Self {
            config,
            home: options.home,
            workers,
            host,
            catalog: RwLock::default(),
            network_fault: Arc::default(),
            network: Mutex::default(),
            counted: Mutex::default(),
        })
    }

    fn describe(&self) -> Description {
        let metadata = Metadata {
            name: "HyperMesh Catalog".into(),
            description: "The asset package manager of HyperMesh".into(),
            author: "The HyperMesh Catalog authors".into(),
            license: env!("CARGO_PKG_LICENSE").into(),
            category: "AssetLibrary".into(),
            hypermesh_version: "^1".into(),
            required_capabilities: vec!["AssetManagement".into(), "VMExecution".into()],
            provided_assets: contributions::provided(),
            config_schema: Some(schemars::schema_for!(Config).to_value()),
            ..Metadata::default()
        };
        Description { metadata, verbs: verbs::table() }
    }

    fn register(self: &Arc<Self>, registration: &mut sdk::Registration<'_>) -> Result<(), Error> {
        contributions::register(self, registration)
    }

    async fn activate(&self, _: Call, _: Option<Json>) -> Result<(), Error> {
        let (home, config, workers) = (self.home.clone(), self.config.clone(), self.workers.clone());
        let opened = tokio::task::spawn_blocking(move || Catalog::open(&home, config, &workers)).await;
        let catalog =
            opened.map_err(|error| Error::wrap(Code::INTERNAL, &error))?.map_err(|error| errors::to_error(&error))?;
        tracing::info!(home = %catalog.home().display(), can_run = catalog.can_run(), "catalog is open");
        self.start_network(&catalog).await;
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Some(catalog);
        Ok(())
    }

    async fn quiesce(&self, _: Call) -> Result<Json, Error> {
        if let Some(detached) = self.catalog().ok().map(|catalog| catalog.detached()).filter(|detached| *detached > 0) {
            // They would end with this generation, and whoever started them was told that they go on.
            let message = format!("{detached} detached executions have not finished");
            return Err(Error::new(Code::BUSY, message).help("wait for them, or end them with `catalog kill`"));
        }
        let Some(catalog) = self.close() else { return Ok(json!({})) };
        self.network.lock().unwrap_or_else(PoisonError::into_inner).take();
        catalog.stop_network().await;
        // Two copies of SQLite in one process that have the same file open take each other's locks away, so the next
        // generation must not open it before this one has closed it.
        let closed = async {
            while Arc::strong_count(&catalog) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            self.start_network(&catalog).await;
            *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Some(catalog);
            return Err(Error::new(Code::BUSY, "the catalog's files are still in use"));
        }
        Ok(json!({"home": self.home}))
    }

    async fn request(&self, call: Call, verb: &str, params: Json) -> Result<Response, Error> {
        verbs::answer(self, call, verb, params).await
    }

    fn figures(&self) -> BTreeMap<String, Json> {
        let Ok(catalog) = self.catalog() else { return BTreeMap::new() };
        let mut figures = BTreeMap::new();
        if let Ok(count) = catalog.count() {
            figures.insert("packages".into(), count.packages.into());
            figures.insert("versions".into(), count.versions.into());
        }
        if let Some((generation, installed)) = self.installed(&catalog) {
            figures.insert("installed".into(), installed.into());
            figures.insert("installed_generation".into(), generation.into());
        }
        let counted = catalog.figures().counters.into_iter().chain(catalog.network_figures());
        figures.extend(counted.map(|(name, value)| (name.to_owned(), value.into())));
        figures
    }

    fn metrics(&self, figures: &BTreeMap<String, Json>) -> Vec<Metric> {
        let transport = self.catalog().ok().and_then(|catalog| catalog.transport());
        metrics::all(figures, transport.as_ref())
    }

    async fn health(&self) -> Health {
        let Ok(catalog) = self.catalog() else { return Health::Degraded("not running".into()) };
        if let Err(error) = catalog.count() {
            return Health::Unhealthy(format!("the registry cannot be read: {error}"));
        }
        if self.config.vm && !catalog.can_run() {
            return Health::Degraded(format!("programs cannot run: `{WORKER}` is missing from the bundle"));
        }
        if let Some(fault) = &*self.network_fault.lock().unwrap_or_else(PoisonError::into_inner) {
            return Health::Degraded(format!("the network does not run: {fault}"));
        }
        Health::Healthy
    }

    async fn validate(&self) -> ValidationReport {
        let mut report = ValidationReport::default();
        let granted = self.host.grants().capabilities;
        for needed in self.describe().metadata.required_capabilities {
            if !granted.contains(&needed) {
                let message = format!("capability `{needed}` is not granted");
                report.errors.push(fault("CAPABILITY_NOT_GRANTED", message));
            }
        }
        match self.health().await {
            Health::Healthy => {}
            Health::Degraded(reason) => report.warnings.push(fault("DEGRADED", reason)),
            Health::Unhealthy(reason) => report.errors.push(fault("INTERNAL_VALIDATION_FAILED", reason)),
        }
        report.valid = report.errors.is_empty();
        report
    }

    async fn export_state(&self) -> Result<Json, Error> {
        let catalog = self.catalog()?;
        let exported = tokio::task::spawn_blocking(move || catalog.export()).await;
        exported.map_err(|error| Error::wrap(Code::INTERNAL, &error))?.map_err(|error| errors::to_error(&error))
    }

    async fn import_state(&self, state: Json) -> Result<(), Error> {
        let catalog = self.catalog()?;
        let call = Call { ctx: sdk::CallCtx::default(), host: self.host.clone() };
        let imported = tokio::task::spawn_blocking(move || catalog.import(state, &CallHost::new(call))).await;
        let imported = imported.map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        imported.map(drop).map_err(|error| errors::to_error(&error))
    }

    fn stop(&self) {
        if let Some(catalog) = self.close() {
            catalog.stop_executions();
        }
    }
}

/// Starts the network, and asks the host again and again who this node is, to judge its peers by what it says then.
async fn run_network(
    host: &Host,
    hybrid_peers_only: bool,
    starting: Starting,
    catalog: &Weak<Catalog>,
) -> Result<(), Error> {
    let identity = identity::HostIdentity::ask(host, hybrid_peers_only).await?;
    let port = Arc::new(CallHost::new(Call { ctx: sdk::CallCtx::default(), host: host.clone() }));
    if let Some(catalog) = catalog.upgrade() {
        let started = catalog.start_network(starting, Arc::clone(&identity) as _, port).await;
        started.map_err(|error| errors::to_error(&error))?;
    }
    loop {
        tokio::time::sleep(IDENTITY_EVERY).await;
        if let Err(error) = identity.renew().await {
            tracing::warn!("the host does not say who this node is: {error}");
        }
        let Some(catalog) = catalog.upgrade() else { return Ok(()) };
        catalog.revalidate_peers().await;
    }
}

/// How often certificates and revocations are looked at: a revoked peer is gone within this time.
const IDENTITY_EVERY: Duration = Duration::from_secs(30);

fn fault(code: &str, message: String) -> InputFault {
    InputFault { code: code.into(), severity: "error".into(), message, ..InputFault::default() }
}

export_extension!(CatalogExtension);
