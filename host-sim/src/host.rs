//! The host: extensions in their states, the requests they answer, and everything around a call.
//!
//! One [`Host`] owns one home directory. All methods may be called from any thread; asynchronous ones need a tokio
//! runtime, and code of extensions that may block runs on its blocking threads.

mod load;
mod observe;
mod slot;
mod upgrade;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hypermesh_abi::host::{CallCtx, monotonic_ns};
use hypermesh_abi::records::{
    AssetRecord, Description, ExtensionState, Health, NodeIdentity, Progress, Response, Status, ValidationReport,
};
use hypermesh_abi::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::mpsc;

use crate::assets::{AssetManager, LocalNode, Query};
use crate::audit::{self, AuditLog};
use crate::child::ChildCommand;
use crate::consensus::{Seat, Seating};
use crate::metrics::Metrics;
use crate::metrics::definition::{REQUEST_ERRORS, REQUEST_SECONDS, REQUESTS};
use crate::services::{ProgressHub, Trusting, asset_record};
use crate::telemetry::spans::ERROR;
use crate::trace;
use crate::trust::{TrustHome, Unlock};

pub use load::Source;
pub use observe::{Condition, ConditionOf, Grade, resident_bytes};
pub use slot::Generation;
use slot::Slot;
pub use upgrade::Upgraded;

/// How a host is set up.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The directory that holds everything the node owns; made if it is missing.
    pub home: PathBuf,
    /// How to start a child that tries a library first; none to load without a trial.
    pub child: Option<ChildCommand>,
    /// Generations of one extension that may stay mapped after an upgrade before a restart is advised and further
    /// upgrades are refused.
    pub retired_generations_max: u32,
    /// How long constructing, activating and pausing a generation may take, each.
    pub step_timeout: Duration,
    /// How long a generation may take to stop.
    pub stop_grace: Duration,
    /// Who judges operations that need agreement.
    pub consensus: Seating,
}

/// A stand-in HyperMesh host. Clones share it.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    options: HostOptions,
    node: NodeIdentity,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    /// Extensions that were found and could not be loaded, and why.
    failed: Mutex<Vec<(String, Error)>>,
    assets: Arc<AssetManager>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    progress: Arc<ProgressHub>,
    trust: Arc<Trusting>,
    consensus: Arc<Seat>,
    /// Loads, upgrades and unloads happen one at a time.
    changing: tokio::sync::Mutex<()>,
    last_request: Mutex<u64>,
}

/// The audit log of a host that must go on when the disk is full.
pub(crate) struct Journal {
    log: AuditLog,
}

/// How one request is made.
#[derive(Debug, Default)]
pub struct RequestOptions {
    /// The longest the caller waits; the manifest's limit if that is shorter or nothing is given.
    pub timeout: Option<Duration>,
    /// Takes reports of progress.
    pub progress: Option<mpsc::Sender<Progress>>,
}

/// One extension as the host sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExtensionReport {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its state.
    pub state: ExtensionState,
    /// Its health; none while it does not run.
    pub health: Option<Health>,
    /// Its figures; none while it does not run.
    pub status: Option<Status>,
    /// The number of the generation that runs.
    pub generation: u64,
    /// Generations that stay mapped.
    pub retired_generations: u32,
    /// Digest of the library; empty for a linked one.
    pub digest: String,
    /// Capabilities granted.
    pub capabilities: Vec<String>,
    /// Ids of what it contributed.
    pub contributions: Vec<String>,
    /// Microseconds from the first byte read to Running.
    pub load_us: u64,
}

impl HostOptions {
    /// Sets up a host in a directory, with trials in children of this very program.
    ///
    /// # Errors
    /// `IO` if this program cannot find itself.
    pub fn new(home: PathBuf) -> Result<Self, Error> {
        let child = ChildCommand::this_program().map_err(|error| Error::wrap(Code::IO, &error))?;
        Ok(Self {
            home,
            child: Some(child),
            retired_generations_max: RETIRED_GENERATIONS_MAX,
            step_timeout: STEP_TIMEOUT,
            stop_grace: STOP_GRACE,
            consensus: Seating::OfHome,
        })
    }
}

/// Mapped but retired generations after which a restart is advised; each keeps about 80 KiB and one descriptor.
pub const RETIRED_GENERATIONS_MAX: u32 = 32;

/// How long constructing, activating and pausing may take if nothing else is said.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a generation may take to stop if nothing else is said.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// How much longer than the deadline the host itself waits, for extensions that do not keep it.
const DEADLINE_SLACK: Duration = Duration::from_secs(1);

impl Host {
    /// Opens the home directory, with no extension loaded.
    ///
    /// # Errors
    /// `IO` or `CORRUPT` with the file that cannot be used.
    pub fn open(options: HostOptions) -> Result<Self, Error> {
        let home = &options.home;
        std::fs::create_dir_all(home).map_err(|error| at(home, &error))?;
        let node = NodeIdentity {
            node_id: node_id(&home.join("node-id"))?,
            host: concat!("host-sim ", env!("CARGO_PKG_VERSION")).into(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        };
        let local = LocalNode::new(home).map_err(|error| Error::wrap(Code::RESOURCE_UNAVAILABLE, &error))?;
        let journal = Journal::open(&home.join("audit"))?;
        keep_trust_fresh(home);
        let inner = Inner {
            node,
            slots: RwLock::default(),
            failed: Mutex::default(),
            assets: Arc::new(AssetManager::new(Arc::new(local), steady_clock())),
            journal: Arc::new(journal),
            metrics: Arc::new(Metrics::default()),
            progress: Arc::default(),
            trust: Arc::new(Trusting::new(home)),
            consensus: Arc::new(Seat::new(options.consensus.clone(), home)),
            changing: tokio::sync::Mutex::default(),
            last_request: Mutex::default(),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks an extension one verb. Waits while the extension is being upgraded.
    ///
    /// # Errors
    /// `EXTENSION_NOT_FOUND`, `RESOURCE_LIMIT_EXCEEDED` above the manifest's number of operations, and whatever the
    /// extension says.
    pub async fn request(
        &self,
        extension: &str,
        verb: &str,
        params: &Json,
        options: RequestOptions,
    ) -> Result<Response, Error> {
        let slot = self.slot(extension)?;
        let started = Instant::now();
        let (ctx, deadline) = self.context(&slot, options.timeout);
        let _listening = options.progress.map(|sender| self.inner.progress.listen(ctx.request, sender));
        let span = tracing::info_span!("request", extension, verb, error = tracing::field::Empty);
        let ctx = CallCtx { trace_parent: trace::keep(span.clone()), ..ctx };
        let answer =
            tokio::time::timeout(deadline + DEADLINE_SLACK, slot.request(ctx, verb, params)).await.unwrap_or_else(
                |_| Err(Error::new(Code::DEADLINE_EXCEEDED, format!("`{extension} {verb}` took too long"))),
            );
        if let Err(error) = &answer {
            span.record(ERROR, error.code.name());
        }
        drop(span);
        trace::close_span(ctx.trace_parent);
        self.measure(extension, verb, started.elapsed(), &answer);
        answer
    }

    /// Describes an extension and its verbs.
    ///
    /// # Errors
    /// `EXTENSION_NOT_FOUND`.
    pub fn describe(&self, extension: &str) -> Result<Description, Error> {
        Ok(self.slot(extension)?.current()?.description().clone())
    }

    /// Gives the running generation, for calls that are no requests.
    ///
    /// # Errors
    /// `EXTENSION_NOT_FOUND` or `NOT_RUNNING`.
    pub fn generation(&self, extension: &str) -> Result<Arc<Generation>, Error> {
        self.slot(extension)?.current()
    }

    /// Makes the context of a call that the host itself makes.
    pub fn call_context(&self, timeout: Duration) -> CallCtx {
        CallCtx {
            request: self.next_request(),
            deadline_mono_ns: monotonic_ns() + timeout.as_nanos() as u64,
            ..CallCtx::default()
        }
    }

    /// Gives the ids of the loaded extensions, without asking them anything.
    pub fn extensions(&self) -> Vec<String> {
        self.slots().iter().map(|slot| slot.id().to_owned()).collect()
    }

    /// Reports on every extension.
    pub async fn report(&self) -> Vec<ExtensionReport> {
        let mut reports = Vec::new();
        for slot in self.slots() {
            reports.push(slot.report(self.call_context(Duration::from_secs(5))).await);
        }
        reports
    }

    /// Gives the extensions that the last search found and that could not be loaded, and why. The names of manifests that
    /// cannot be read stand for the ids that they do not say.
    pub fn failed(&self) -> Vec<(String, Error)> {
        self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets an extension check itself.
    ///
    /// # Errors
    /// `EXTENSION_NOT_FOUND`, and whatever the extension says.
    pub async fn validate(&self, extension: &str) -> Result<ValidationReport, Error> {
        let ctx = self.call_context(Duration::from_secs(30));
        self.generation(extension)?.extension().validate(ctx).await
    }

    /// Exports an extension's state as JSON text, with the time.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn export_state(&self, extension: &str) -> Result<Vec<u8>, Error> {
        let ctx = self.call_context(Duration::from_secs(300));
        let bytes = self.generation(extension)?.extension().export_state(ctx).await?;
        let mut state: hypermesh_abi::records::StateExport =
            serde_json::from_slice(&bytes).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
        state.exported_at = now_rfc3339();
        serde_json::to_vec_pretty(&state).map_err(|error| Error::wrap(Code::INTERNAL, &error))
    }

    /// Imports a state that [`Self::export_state`] gave.
    ///
    /// # Errors
    /// `VERSION_INCOMPATIBLE` or `INTEGRITY` for a state that is not whole, and whatever the extension says.
    pub async fn import_state(&self, extension: &str, state: Vec<u8>) -> Result<(), Error> {
        let ctx = self.call_context(Duration::from_secs(300));
        self.generation(extension)?.extension().import_state(ctx, state).await
    }

    /// Lists the node's assets, those of extensions' adapters included.
    pub async fn assets(&self) -> Vec<AssetRecord> {
        let own = self.inner.assets.list(&Query::default());
        let mut assets: Vec<AssetRecord> = own.iter().map(asset_record).collect();
        for slot in self.slots() {
            let Ok(generation) = slot.current() else { continue };
            for adapter in &generation.contributions().adapters {
                let ctx = self.call_context(Duration::from_secs(5));
                match adapter.object.discover(ctx).await {
                    Ok(list) => assets.extend(list.assets),
                    Err(error) => tracing::warn!(adapter = adapter.id, "cannot list assets: {error}"),
                }
            }
        }
        assets
    }

    /// Gives the asset manager.
    pub fn asset_manager(&self) -> &Arc<AssetManager> {
        &self.inner.assets
    }

    /// Gives the directory of the audit log.
    pub fn audit_directory(&self) -> &Path {
        self.inner.journal.log.directory()
    }

    /// Gives lines of the audit log, the newest first: so many at most, and only those before a number if one is given. Blocks.
    ///
    /// # Errors
    /// A file of the log cannot be read.
    pub fn audited(&self, before: Option<u64>, most: usize) -> Result<Vec<audit::Record>, Error> {
        self.inner.journal.log.newest(before, most).map_err(|error| Error::wrap(Code::CORRUPT, &error))
    }

    /// Gives the metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Says who this node is.
    pub fn identity(&self) -> &NodeIdentity {
        &self.inner.node
    }

    /// Gives the home directory.
    pub fn home(&self) -> &Path {
        &self.inner.options.home
    }

    fn slot(&self, extension: &str) -> Result<Arc<Slot>, Error> {
        let slots = self.inner.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(extension).cloned().ok_or_else(|| {
            let known: Vec<&str> = slots.keys().map(String::as_str).collect();
            let help = if known.is_empty() {
                "no extension is loaded; `host-sim bundle` builds one into this home".to_owned()
            } else {
                format!("loaded are: {}", known.join(", "))
            };
            Error::new(Code::EXTENSION_NOT_FOUND, format!("extension `{extension}` is not loaded")).help(help)
        })
    }

    fn measure(&self, extension: &str, verb: &str, took: Duration, answer: &Result<Response, Error>) {
        // An unknown verb must not become a label, or callers could grow the metrics.
        let known = !matches!(answer, Err(error) if error.code == Code::UNSUPPORTED);
        let labels = [extension, if known { verb } else { "unknown" }];
        let metrics = &self.inner.metrics;
        metrics.counter(&REQUESTS, &labels).increment();
        metrics.histogram(&REQUEST_SECONDS, &labels).observe(took);
        if let Err(error) = answer {
            metrics.counter(&REQUEST_ERRORS, &[extension, error.code.name()]).increment();
        }
    }

    /// Makes one step of a change, `call` with its context, and waits no longer than the step may take: an extension that
    /// blocks its own threads does not keep its deadlines.
    async fn step<T, F>(&self, what: &str, call: impl FnOnce(CallCtx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let limit = self.inner.options.step_timeout;
        let late = || Error::new(Code::DEADLINE_EXCEEDED, format!("the extension did not {what} within {limit:?}"));
        let answer = tokio::time::timeout(limit + DEADLINE_SLACK, call(self.call_context(limit))).await;
        answer.unwrap_or_else(|_| Err(late()))
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.inner.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn context(&self, slot: &Slot, timeout: Option<Duration>) -> (CallCtx, Duration) {
        let limit = slot.operation_timeout();
        let timeout = timeout.map_or(limit, |timeout| timeout.min(limit));
        (self.call_context(timeout), timeout)
    }

    fn next_request(&self) -> [u64; 2] {
        let mut last = self.inner.last_request.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        [u64::from(std::process::id()), *last]
    }
}

impl Journal {
    fn open(directory: &Path) -> Result<Self, Error> {
        const OPTIONS: audit::Options = audit::Options { segment_bytes_max: 8 << 20, segments_max: 8 };
        let log = AuditLog::open(directory, OPTIONS, clock()).map_err(|error| Error::wrap(Code::CORRUPT, &error))?;
        Ok(Self { log })
    }

    /// Writes an event; a log that cannot be written is itself an event of the ordinary log.
    pub(crate) fn record(&self, event: audit::Event) {
        if let Err(error) = self.log.append(event) {
            tracing::error!("cannot write the audit log: {error}");
        }
    }
}

/// Gives the wall clock in microseconds since 1970 (UTC).
fn clock() -> audit::Clock {
    Arc::new(|| (time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).try_into().unwrap_or(0))
}

/// Gives the wall clock as it was when this was asked, going on by itself: whoever sets the time ends no lease by that.
fn steady_clock() -> audit::Clock {
    let (since, wall) = (Instant::now(), clock()());
    Arc::new(move || wall.saturating_add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)))
}

/// Renews what is due of the home's own certificates and lists; a home whose keys are elsewhere goes on with what it has.
fn keep_trust_fresh(home: &Path) {
    let Ok(trust) = TrustHome::open(home) else { return };
    match Unlock::from_environment(None).and_then(|unlock| trust.keep_fresh(&unlock)) {
        Ok(renewed) if renewed.is_empty() => {}
        Ok(renewed) => tracing::info!("renewed {}", renewed.join(", ")),
        Err(error) => tracing::warn!("cannot renew certificates or revocation lists that are due: {error}"),
    }
}

fn now_rfc3339() -> String {
    time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// Runs code of an extension that may block on a thread of its own, which is given up if it takes too long. A thread of
/// the runtime would keep the whole host from ending.
async fn apart<T: Send + 'static>(
    limit: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = move || drop(sender.send(work()));
    let thread = std::thread::Builder::new().name(format!("host-{what}"));
    thread.spawn(work).map_err(|error| Error::wrap(Code::RESOURCE_UNAVAILABLE, &error))?;
    match tokio::time::timeout(limit, receiver).await {
        Ok(answer) => answer.map_err(|_| Error::new(Code::INTERNAL, format!("the thread that should {what} panicked"))),
        Err(_) => Err(Error::new(Code::DEADLINE_EXCEEDED, format!("the extension did not {what} within {limit:?}"))),
    }
}

fn node_id(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) if uuid::Uuid::parse_str(text.trim()).is_ok() => Ok(text.trim().to_owned()),
        Ok(_) => Err(Error::new(Code::CORRUPT, format!("`{}` holds no UUID", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().to_string();
            std::fs::write(path, format!("{id}\n")).map_err(|error| at(path, &error))?;
            Ok(id)
        }
        Err(error) => Err(at(path, &error)),
    }
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    let mut wrapped = Error::new(Code::IO, format!("cannot use `{}`", path.display()));
    wrapped.chain.push(error.to_string());
    wrapped
}
