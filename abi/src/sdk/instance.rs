//! The object behind the contract's `Extension`: an author's extension with its runtime, state and counters.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RString};
use async_ffi::FfiFuture;
use serde_json::Value as Json;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::call::{Call, Host, monotonic_ns};
use super::contribution::{Registration, bag};
use super::guard::{entered, guard, guard_or, panicked};
use super::{Extension, trace};
use crate::contract::error::{AbiResult, Fut};
use crate::contract::extension::{self, Extension_TO, ExtensionBox};
use crate::contract::message::{Bag, Blob, CallCtx};
use crate::contract::registrar::RegistrarMut;
use crate::records::{CreateOptions, StateExport, Status};
use crate::{Code, Error};

/// What an instance and its contributions share.
pub(super) struct Core {
    host: Host,
    id: &'static str,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    stopping: watch::Sender<bool>,
    state: AtomicU8,
    active: AtomicU64,
    idle: Notify,
    total: AtomicU64,
    errors: AtomicU64,
    since: OnceLock<Instant>,
}

struct Instance<E> {
    extension: Arc<E>,
    core: Arc<Core>,
}

/// A request being worked on; counts itself out when dropped.
struct Active(Arc<Core>);

/// A pause that has not come to its end; if it never does, because of an error, a panic, the deadline or a caller who went
/// away, the extension runs on.
struct Pausing(Arc<Core>);

/// A task that ends with its handle.
struct AbortOnDrop<T>(JoinHandle<T>);

const INITIALIZING: u8 = 0;
const RUNNING: u8 = 1;
const PAUSED: u8 = 2;
const STOPPED: u8 = 3;
const PAUSING: u8 = 4;

/// How long `quiesce` waits for requests in flight when the call has no deadline.
const QUIESCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The version of [`StateExport`].
const STATE_VERSION: u32 = 1;

/// Constructs an instance; the body of the root module's constructor.
pub(super) fn create<E: Extension>(host: Host, options: CreateOptions) -> Result<ExtensionBox, Error> {
    if !options.linked {
        trace::install(host.clone());
        super::guard::forward_panics();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.worker_threads.clamp(1, 64) as usize)
        .thread_name(format!("{}-{}", E::ID, options.generation))
        .enable_all()
        .build()
        .map_err(|error| Error::wrap(Code::INITIALIZATION_FAILED, &error))?;
    let handle = runtime.handle().clone();
    let extension = {
        let _runtime = handle.enter();
        // An instance that never comes to be has nobody to stop it.
        Arc::new(E::create(host.clone(), options).inspect_err(|_| trace::forget(&host))?)
    };
    let core = Arc::new(Core {
        host,
        id: E::ID,
        runtime: Mutex::new(Some(runtime)),
        handle,
        stopping: watch::Sender::new(false),
        state: AtomicU8::new(INITIALIZING),
        active: AtomicU64::new(0),
        idle: Notify::new(),
        total: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        since: OnceLock::new(),
    });
    Ok(Extension_TO::from_value(Instance { extension, core }, TD_Opaque))
}

impl Core {
    /// Gives the runtime while the extension has one.
    pub(super) fn handle(&self) -> Result<Handle, Error> {
        if self.state.load(SeqCst) == STOPPED { Err(self.not_running("stopped")) } else { Ok(self.handle.clone()) }
    }

    pub(super) fn call(&self, ctx: CallCtx) -> Call {
        Call { ctx, host: self.host.clone() }
    }

    /// Runs work as a task of the runtime. It ends early with the caller's interest, the deadline or the extension.
    pub(super) fn spawned<T, F>(self: &Arc<Self>, ctx: CallCtx, work: F) -> Fut<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let handle = match self.handle() {
            Ok(handle) => handle,
            Err(error) => return self.refused(error),
        };
        let mut stopping = self.stopping.subscribe();
        let deadline = (ctx.deadline_mono_ns != 0)
            .then(|| Duration::from_nanos(ctx.deadline_mono_ns.saturating_sub(monotonic_ns())));
        let mut task = AbortOnDrop(handle.spawn(trace::under(ctx.trace_parent, async move {
            tokio::select! {
                answer = work => answer,
                _ = stopping.wait_for(|stopping| *stopping) => Err(cancelled()),
                () = passed(deadline) => Err(Error::new(Code::DEADLINE_EXCEEDED, "the deadline of the call passed")),
            }
        })));
        FfiFuture::new(async move {
            let answer = match (&mut task.0).await {
                Ok(answer) => answer,
                Err(ended) => Err(ended.try_into_panic().map_or_else(|_| cancelled(), panicked)),
            };
            answer.map_err(Into::into).into()
        })
    }

    pub(super) fn refused<T: Send + 'static>(&self, error: Error) -> Fut<T> {
        FfiFuture::new(std::future::ready(RResult::RErr(error.into())))
    }

    fn admit(self: &Arc<Self>) -> Result<Active, Error> {
        // Counted first: `quiesce` sets the state and then waits for zero, so that one of the two sees the other.
        self.active.fetch_add(1, SeqCst);
        let active = Active(Arc::clone(self));
        match self.state.load(SeqCst) {
            RUNNING => Ok(active),
            INITIALIZING => Err(self.not_running("not active yet")),
            PAUSED | PAUSING => Err(self.not_running("paused")),
            _ => Err(self.not_running("stopped")),
        }
    }

    fn not_running(&self, state: &str) -> Error {
        let mut error = Error::new(Code::NOT_RUNNING, format!("extension `{}` is {state}", self.id));
        error.retryable = true;
        error
    }

    fn status(&self) -> Status {
        Status {
            active_operations: self.active.load(SeqCst),
            total_requests: self.total.load(SeqCst),
            error_count: self.errors.load(SeqCst),
            uptime_ms: self.since.get().map_or(0, |since| since.elapsed().as_millis() as u64),
            ..Status::default()
        }
    }

    async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.active.load(SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl<E: Extension> Instance<E> {
    fn enter<T, F>(&self, ctx: CallCtx, work: impl FnOnce(Arc<E>, Arc<Core>) -> F + Send + 'static) -> Fut<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (extension, core) = (Arc::clone(&self.extension), Arc::clone(&self.core));
        match self.core.handle() {
            Ok(handle) => entered(handle, ctx.trace_parent, async move { work(extension, core).await }),
            Err(error) => self.core.refused(error),
        }
    }

    fn spawn<T, F>(&self, ctx: CallCtx, work: impl FnOnce(Arc<E>, Arc<Core>) -> F + Send + 'static) -> Fut<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (extension, core) = (Arc::clone(&self.extension), Arc::clone(&self.core));
        self.core.spawned(ctx, async move { work(extension, core).await })
    }
}

impl<E: Extension> extension::Extension for Instance<E> {
    fn describe(&self) -> AbiResult<Bag> {
        guard(|| {
            let mut description = self.extension.describe();
            description.metadata.id = E::ID.into();
            description.metadata.version = E::VERSION.into();
            bag(&description)
        })
    }

    fn active_operations(&self) -> u64 {
        self.core.active.load(SeqCst)
    }

    fn register(&self, registrar: RegistrarMut<'_>) -> AbiResult<()> {
        guard(move || {
            let _runtime = self.core.handle()?;
            self.extension.register(&mut Registration::new(registrar, Arc::clone(&self.core)))
        })
    }

    fn activate(&self, ctx: CallCtx, handover: ROption<Bag>) -> Fut<()> {
        self.spawn(ctx, move |extension, core| async move {
            let handover = handover.into_option().map(|bag| bag.decode::<Json>()).transpose()?;
            if core.state.load(SeqCst) != RUNNING {
                extension.activate(core.call(ctx), handover).await?;
                let _ = core.since.set(Instant::now());
                core.state.store(RUNNING, SeqCst);
            }
            Ok(())
        })
    }

    fn quiesce(&self, ctx: CallCtx) -> Fut<Bag> {
        self.spawn(ctx, move |extension, core| async move {
            if core.state.compare_exchange(RUNNING, PAUSING, SeqCst, SeqCst).is_err() {
                return Err(core.not_running("not running, so there is nothing to pause"));
            }
            let pausing = Pausing(core);
            let core = &pausing.0;
            let timeout = core.call(ctx).time_left().unwrap_or(QUIESCE_TIMEOUT).mul_f64(0.9);
            if tokio::time::timeout(timeout, core.idle()).await.is_err() {
                return Err(Error::new(Code::BUSY, "requests in flight did not end in time"));
            }
            let handover = bag(&extension.quiesce(core.call(ctx)).await?)?;
            pausing.done();
            Ok(handover)
        })
    }

    fn request(&self, ctx: CallCtx, verb: RString, params: Blob) -> Fut<Blob> {
        let active = match self.core.admit() {
            Ok(active) => active,
            Err(error) => return self.core.refused(error),
        };
        self.core.total.fetch_add(1, SeqCst);
        self.spawn(ctx, move |extension, core| async move {
            let _active = active;
            let answer = async {
                let params = params_from(&params.into_bytes()?)?;
                let response = extension.request(core.call(ctx), verb.as_str(), params).await?;
                Ok(Blob::inline(serde_json::to_vec(&response).map_err(|error| Error::wrap(Code::INTERNAL, &error))?))
            }
            .await;
            if answer.is_err() {
                core.errors.fetch_add(1, SeqCst);
            }
            answer
        })
    }

    fn status(&self, ctx: CallCtx) -> Fut<Bag> {
        self.enter(ctx, |extension, core| async move {
            let figures = extension.figures();
            let metrics = extension.metrics(&figures);
            bag(&Status { figures, metrics, ..core.status() })
        })
    }

    fn health(&self, ctx: CallCtx) -> Fut<Bag> {
        self.enter(ctx, |extension, _| async move { bag(&extension.health().await) })
    }

    fn validate(&self, ctx: CallCtx) -> Fut<Bag> {
        self.spawn(ctx, |extension, _| async move { bag(&extension.validate().await) })
    }

    fn export_state(&self, ctx: CallCtx) -> Fut<Blob> {
        self.spawn(ctx, |extension, _| async move {
            let state = extension.export_state().await?;
            let export = StateExport {
                version: STATE_VERSION,
                extension: E::ID.into(),
                extension_version: E::VERSION.into(),
                exported_at: String::new(),
                checksum: checksum(&state),
                state,
            };
            Ok(Blob::inline(serde_json::to_vec(&export).map_err(|error| Error::wrap(Code::INTERNAL, &error))?))
        })
    }

    fn import_state(&self, ctx: CallCtx, state: Blob) -> Fut<()> {
        self.spawn(ctx, |extension, _| async move {
            let export = checked_state::<E>(&state.into_bytes()?)?;
            extension.import_state(export.state).await
        })
    }

    fn trace_rebuild(&self) {
        guard_or((), tracing_core::callsite::rebuild_interest_cache);
    }

    fn stop(&self, grace_ms: u64) -> AbiResult<()> {
        guard(|| {
            let mut stopped = Ok(());
            if self.core.state.swap(STOPPED, SeqCst) != STOPPED {
                self.core.stopping.send_replace(true);
                let _runtime = self.core.handle.enter();
                // Whatever the author's code does, the runtime's threads must end.
                stopped = guard(|| {
                    self.extension.stop();
                    Ok(())
                })
                .into_result();
            }
            let runtime = self.core.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(Duration::from_millis(grace_ms));
            }
            trace::forget(&self.core.host);
            Ok(stopped?)
        })
    }

    fn invoke(&self, ctx: CallCtx, id: u32, payload: Blob) -> Fut<Blob> {
        self.spawn(ctx, move |extension, core| async move {
            Ok(Blob::inline(extension.invoke(core.call(ctx), id, payload.into_bytes()?).await?))
        })
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        trace::forget(&self.host);
        // An extension that was never stopped must not block whoever drops it.
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Pausing {
    fn done(self) {
        let _ = self.0.state.compare_exchange(PAUSING, PAUSED, SeqCst, SeqCst);
    }
}

impl Drop for Pausing {
    fn drop(&mut self) {
        let _ = self.0.state.compare_exchange(PAUSING, RUNNING, SeqCst, SeqCst);
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = <JoinHandle<T> as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

fn cancelled() -> Error {
    Error::new(Code::CANCELLED, "the call was cancelled because the extension stops")
}

async fn passed(deadline: Option<Duration>) {
    match deadline {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

fn params_from(bytes: &[u8]) -> Result<Json, Error> {
    if bytes.is_empty() {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    let params: Json = serde_json::from_slice(bytes).map_err(|error| {
        Error::wrap(Code::INVALID_ARGUMENT, &error).help("parameters are a JSON object, as the request table describes")
    })?;
    if params.is_object() {
        Ok(params)
    } else {
        Err(Error::new(Code::INVALID_ARGUMENT, "parameters must be a JSON object"))
    }
}

fn checked_state<E: Extension>(bytes: &[u8]) -> Result<StateExport, Error> {
    let export: StateExport = serde_json::from_slice(bytes).map_err(|error| Error::wrap(Code::CORRUPT, &error))?;
    if export.version != STATE_VERSION {
        let message = format!("state has version {}, this extension reads version {STATE_VERSION}", export.version);
        return Err(Error::new(Code::VERSION_INCOMPATIBLE, message));
    }
    if export.extension != E::ID {
        let message = format!("state belongs to extension `{}`, not to `{}`", export.extension, E::ID);
        return Err(Error::new(Code::INVALID_ARGUMENT, message));
    }
    let actual = checksum(&export.state);
    if export.checksum != actual {
        let message = format!("state has checksum {actual}, but says {}", export.checksum);
        return Err(Error::new(Code::INTEGRITY, message));
    }
    Ok(export)
}

fn checksum(state: &Json) -> String {
    format!("blake3:{}", blake3::hash(state.to_string().as_bytes()).to_hex())
}
