//! A constructed extension as its host calls it, and what it contributed.

use std::sync::Arc;

use abi_stable::RMut;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString};
use serde_json::Value as Json;

use crate::contract::error::AbiResult;
use crate::contract::extension::ExtensionBox;
use crate::contract::message::{Bag, Blob, CallCtx};
use crate::contract::registrar::{AssetAdapterBox, PackageHandlerBox, Registrar, Registrar_TO, VmExecutorBox};
use crate::records::{
    AdapterDescription, AssetList, AssetRequest, AssetUsage, Description, ExecutionOutcome, ExecutionRequest,
    ExecutorDescription, Health, Metrics, PackageVerdict, ProgramCheck, Response, Status, ValidationReport,
};
use crate::{Code, Error};

/// A constructed extension. Clones share it.
///
/// The last clone should be dropped on a thread that may block, since that runs the extension's code.
#[derive(Clone)]
pub struct Extension {
    object: Arc<ExtensionBox>,
}

/// One contribution under its id.
#[derive(Clone)]
pub struct Contribution<T> {
    /// Such as `hypermesh.package/1`.
    pub id: String,
    /// The object.
    pub object: T,
}

/// Everything an extension contributed.
#[derive(Clone, Default)]
pub struct Contributions {
    /// Asset adapters.
    pub adapters: Vec<Contribution<Adapter>>,
    /// Package handlers.
    pub handlers: Vec<Contribution<Handler>>,
    /// VM executors.
    pub executors: Vec<Contribution<Executor>>,
}

/// A contributed asset adapter.
#[derive(Clone)]
pub struct Adapter(Arc<AssetAdapterBox>);
/// A contributed package handler.
#[derive(Clone)]
pub struct Handler(Arc<PackageHandlerBox>);
/// A contributed VM executor.
#[derive(Clone)]
pub struct Executor(Arc<VmExecutorBox>);

impl Extension {
    pub(super) fn new(object: ExtensionBox) -> Self {
        Self { object: Arc::new(object) }
    }

    /// Describes the extension and its verbs.
    ///
    /// # Errors
    /// Whatever the extension says, and a description that cannot be read.
    pub fn describe(&self) -> Result<Description, Error> {
        Ok(self.object.describe().into_result()?.decode()?)
    }

    /// Counts the requests being worked on.
    pub fn active_operations(&self) -> u64 {
        self.object.active_operations()
    }

    /// Collects the contributions, all or none. `admit` is asked before each and may refuse it.
    ///
    /// # Errors
    /// Whatever the extension or `admit` says.
    pub fn register(&self, admit: &mut dyn FnMut(&str, &str) -> Result<(), Error>) -> Result<Contributions, Error> {
        let mut collector = Collector { admit, collected: Contributions::default() };
        self.object.register(Registrar_TO::from_ptr(RMut::new(&mut collector), TD_Opaque)).into_result()?;
        Ok(collector.collected)
    }

    /// Lets the extension take up work.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn activate(&self, ctx: CallCtx, handover: Option<&Json>) -> Result<(), Error> {
        let handover = handover.map(Bag::encode).transpose()?;
        Ok(self.object.activate(ctx, ROption::from(handover)).await.into_result()?)
    }

    /// Pauses the extension and takes what it hands over.
    ///
    /// # Errors
    /// Whatever the extension says; it runs on then.
    pub async fn quiesce(&self, ctx: CallCtx) -> Result<Json, Error> {
        Ok(self.object.quiesce(ctx).await.into_result()?.decode()?)
    }

    /// Asks one verb.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn request(&self, ctx: CallCtx, verb: &str, params: &Json) -> Result<Response, Error> {
        let answer = self.object.request(ctx, verb.into(), Blob::inline(params.to_string().into_bytes())).await;
        let bytes = answer.into_result()?.into_bytes()?;
        serde_json::from_slice(&bytes).map_err(|error| Error::wrap(Code::INTERNAL, &error))
    }

    /// Reports figures.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn status(&self, ctx: CallCtx) -> Result<Status, Error> {
        Ok(self.object.status(ctx).await.into_result()?.decode()?)
    }

    /// Reports health.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn health(&self, ctx: CallCtx) -> Result<Health, Error> {
        Ok(self.object.health(ctx).await.into_result()?.decode()?)
    }

    /// Lets the extension check itself.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn validate(&self, ctx: CallCtx) -> Result<ValidationReport, Error> {
        Ok(self.object.validate(ctx).await.into_result()?.decode()?)
    }

    /// Exports the state, as JSON text.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub async fn export_state(&self, ctx: CallCtx) -> Result<Vec<u8>, Error> {
        Ok(self.object.export_state(ctx).await.into_result()?.into_bytes()?)
    }

    /// Imports a state.
    ///
    /// # Errors
    /// Whatever the extension says; nothing has changed then.
    pub async fn import_state(&self, ctx: CallCtx, state: Vec<u8>) -> Result<(), Error> {
        Ok(self.object.import_state(ctx, Blob::inline(state)).await.into_result()?)
    }

    /// Lets the extension ask again who listens to its trace.
    pub fn trace_rebuild(&self) {
        self.object.trace_rebuild();
    }

    /// Ends the extension. Thread: one that may block, for as long as the grace.
    ///
    /// # Errors
    /// Whatever the extension says.
    pub fn stop(&self, grace_ms: u64) -> Result<(), Error> {
        Ok(self.object.stop(grace_ms).into_result()?)
    }

    /// Calls a method of the growth lane.
    ///
    /// # Errors
    /// `UNSUPPORTED` for an unknown number, and whatever the extension says.
    pub async fn invoke(&self, ctx: CallCtx, id: u32, payload: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(self.object.invoke(ctx, id, Blob::inline(payload)).await.into_result()?.into_bytes()?)
    }
}

impl Adapter {
    /// Says which kinds of asset it serves.
    ///
    /// # Errors
    /// Whatever the adapter says.
    pub fn describe(&self) -> Result<AdapterDescription, Error> {
        Ok(self.0.describe().into_result()?.decode()?)
    }

    /// Lists its assets.
    ///
    /// # Errors
    /// Whatever the adapter says.
    pub async fn discover(&self, ctx: CallCtx) -> Result<AssetList, Error> {
        Ok(self.0.discover(ctx).await.into_result()?.decode()?)
    }

    /// Allocates an asset.
    ///
    /// # Errors
    /// Whatever the adapter says.
    pub async fn allocate(&self, ctx: CallCtx, request: &AssetRequest) -> Result<u64, Error> {
        Ok(self.0.allocate(ctx, Bag::encode(request)?).await.into_result()?)
    }

    /// Reports the use of an allocation.
    ///
    /// # Errors
    /// Whatever the adapter says.
    pub async fn usage(&self, ctx: CallCtx, allocation: u64) -> Result<AssetUsage, Error> {
        Ok(self.0.usage(ctx, allocation).await.into_result()?.decode()?)
    }

    /// Releases an allocation.
    ///
    /// # Errors
    /// Whatever the adapter says.
    pub async fn release(&self, ctx: CallCtx, allocation: u64) -> Result<(), Error> {
        Ok(self.0.release(ctx, allocation).await.into_result()?)
    }
}

impl Handler {
    /// Gives the media types it understands.
    ///
    /// # Errors
    /// Whatever the handler says.
    pub fn media_types(&self) -> Result<Vec<String>, Error> {
        Ok(self.0.media_types().into_result()?.into_iter().map(RString::into_string).collect())
    }

    /// Says whether an archive that begins so can be one of its own.
    ///
    /// # Errors
    /// Whatever the handler says.
    pub fn inspect(&self, media_type: &str, head: &[u8]) -> Result<bool, Error> {
        // By hand: `into_result()?` moves the answer, with its room for an error, twice more.
        match self.0.inspect(RStr::from_str(media_type), RSlice::from_slice(head)) {
            RResult::ROk(known) => Ok(!known.is_empty()),
            RResult::RErr(error) => Err(error.into()),
        }
    }

    /// Verifies an archive.
    ///
    /// # Errors
    /// Whatever the handler says.
    pub async fn verify(&self, ctx: CallCtx, archive: Vec<u8>) -> Result<PackageVerdict, Error> {
        Ok(self.0.verify(ctx, Blob::inline(archive), Bag::default()).await.into_result()?.decode()?)
    }

    /// Verifies and installs an archive.
    ///
    /// # Errors
    /// Whatever the handler says.
    pub async fn install(&self, ctx: CallCtx, archive: Vec<u8>) -> Result<PackageVerdict, Error> {
        Ok(self.0.install(ctx, Blob::inline(archive), Bag::default()).await.into_result()?.decode()?)
    }

    /// Removes a package by `name@version`.
    ///
    /// # Errors
    /// Whatever the handler says.
    pub async fn remove(&self, ctx: CallCtx, package: &str) -> Result<(), Error> {
        Ok(self.0.remove(ctx, package.into()).await.into_result()?)
    }
}

impl Executor {
    /// Says which languages it runs.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub fn describe(&self) -> Result<ExecutorDescription, Error> {
        Ok(self.0.describe().into_result()?.decode()?)
    }

    /// Checks a program without running it.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn check(&self, ctx: CallCtx, program: Vec<u8>) -> Result<ProgramCheck, Error> {
        Ok(self.0.check(ctx, Blob::inline(program), Bag::default()).await.into_result()?.decode()?)
    }

    /// Runs a program.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn execute(
        &self,
        ctx: CallCtx,
        program: Vec<u8>,
        request: &ExecutionRequest,
    ) -> Result<ExecutionOutcome, Error> {
        Ok(self.0.execute(ctx, Blob::inline(program), Bag::encode(request)?).await.into_result()?.decode()?)
    }

    /// Reports counters.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn stats(&self, ctx: CallCtx) -> Result<Metrics, Error> {
        Ok(self.0.stats(ctx).await.into_result()?.decode()?)
    }
}

struct Collector<'a> {
    admit: &'a mut dyn FnMut(&str, &str) -> Result<(), Error>,
    collected: Contributions,
}

impl Collector<'_> {
    fn admit(&mut self, kind: &str, id: &str) -> Result<String, Error> {
        let known = self.collected.adapters.iter().map(|c| &c.id);
        let known = known.chain(self.collected.handlers.iter().map(|c| &c.id));
        if known.chain(self.collected.executors.iter().map(|c| &c.id)).any(|other| other == id) {
            return Err(Error::new(Code::ALREADY_EXISTS, format!("contribution `{id}` is registered twice")));
        }
        (self.admit)(kind, id)?;
        Ok(id.to_owned())
    }
}

impl Registrar for Collector<'_> {
    fn asset_adapter(&mut self, id: RStr<'_>, adapter: AssetAdapterBox) -> AbiResult<()> {
        let admitted = self.admit("asset_adapter", id.as_str());
        answer(admitted.map(|id| self.collected.adapters.push(Contribution { id, object: Adapter(Arc::new(adapter)) })))
    }

    fn package_handler(&mut self, id: RStr<'_>, handler: PackageHandlerBox) -> AbiResult<()> {
        let admitted = self.admit("package_handler", id.as_str());
        answer(admitted.map(|id| self.collected.handlers.push(Contribution { id, object: Handler(Arc::new(handler)) })))
    }

    fn vm_executor(&mut self, id: RStr<'_>, executor: VmExecutorBox) -> AbiResult<()> {
        let admitted = self.admit("vm_executor", id.as_str());
        answer(
            admitted.map(|id| self.collected.executors.push(Contribution { id, object: Executor(Arc::new(executor)) })),
        )
    }
}

fn answer(result: Result<(), Error>) -> AbiResult<()> {
    match result {
        Ok(()) => RResult::ROk(()),
        Err(error) => RResult::RErr(error.into()),
    }
}
