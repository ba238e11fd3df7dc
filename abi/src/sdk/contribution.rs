//! Contributions as authors write them, and the fences around them.

use std::future::Future;
use std::sync::Arc;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RSlice, RStr, RString, RVec};
use serde::Serialize;

use super::call::Call;
use super::guard::{entered, guard};
use super::instance::Core;
use crate::Error;
use crate::contract::error::{AbiResult, Fut};
use crate::contract::message::{Bag, Blob, CallCtx};
use crate::contract::registrar::{self, AssetAdapter_TO, PackageHandler_TO, RegistrarMut, VmExecutor_TO};
use crate::records::{
    AdapterDescription, AssetList, AssetRequest, AssetUsage, ExecutionOutcome, ExecutionRequest, ExecutorDescription,
    Metrics, PackageVerdict, ProgramCheck,
};

/// Makes kinds of asset available.
pub trait AssetAdapter: Send + Sync + 'static {
    /// Says which kinds.
    fn describe(&self) -> AdapterDescription;
    /// Lists the assets that exist now.
    fn discover(&self, call: Call) -> impl Future<Output = Result<AssetList, Error>> + Send;
    /// Allocates one.
    fn allocate(&self, call: Call, request: AssetRequest) -> impl Future<Output = Result<u64, Error>> + Send;
    /// Reports the use of an allocation.
    fn usage(&self, call: Call, allocation: u64) -> impl Future<Output = Result<AssetUsage, Error>> + Send;
    /// Releases an allocation.
    fn release(&self, call: Call, allocation: u64) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Understands one kind of package archive.
pub trait PackageHandler: Send + Sync + 'static {
    /// Gives the media types.
    fn media_types(&self) -> Vec<String>;
    /// Says from the first bytes whether an archive can be one of its own.
    fn inspect(&self, media_type: &str, head: &[u8]) -> bool;
    /// Verifies an archive.
    fn verify(&self, call: Call, archive: Vec<u8>) -> impl Future<Output = Result<PackageVerdict, Error>> + Send;
    /// Verifies an archive and installs it.
    fn install(&self, call: Call, archive: Vec<u8>) -> impl Future<Output = Result<PackageVerdict, Error>> + Send;
    /// Removes an installed package by `name@version`.
    fn remove(&self, call: Call, package: String) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Runs programs.
pub trait VmExecutor: Send + Sync + 'static {
    /// Says which languages.
    fn describe(&self) -> ExecutorDescription;
    /// Checks a program without running it.
    fn check(&self, call: Call, program: Vec<u8>) -> impl Future<Output = Result<ProgramCheck, Error>> + Send;
    /// Runs a program once.
    fn execute(
        &self,
        call: Call,
        program: Vec<u8>,
        request: ExecutionRequest,
    ) -> impl Future<Output = Result<ExecutionOutcome, Error>> + Send;
    /// Reports counters.
    fn stats(&self) -> Metrics;
}

/// Collects contributions for the host.
pub struct Registration<'a> {
    registrar: RegistrarMut<'a>,
    core: Arc<Core>,
}

struct Fenced<T> {
    inner: Arc<T>,
    core: Arc<Core>,
}

impl<'a> Registration<'a> {
    pub(super) fn new(registrar: RegistrarMut<'a>, core: Arc<Core>) -> Self {
        Self { registrar, core }
    }

    /// Contributes an asset adapter under an id such as `hypermesh.package/1`.
    ///
    /// # Errors
    /// `CAPABILITY_NOT_GRANTED`, or `ALREADY_EXISTS` for an id used twice.
    pub fn asset_adapter(&mut self, id: &str, adapter: Arc<impl AssetAdapter>) -> Result<(), Error> {
        let adapter = AssetAdapter_TO::from_value(self.fence(adapter), TD_Opaque);
        Ok(self.registrar.asset_adapter(id.into(), adapter).into_result()?)
    }

    /// Contributes a package handler.
    ///
    /// # Errors
    /// As [`Self::asset_adapter`].
    pub fn package_handler(&mut self, id: &str, handler: Arc<impl PackageHandler>) -> Result<(), Error> {
        let handler = PackageHandler_TO::from_value(self.fence(handler), TD_Opaque);
        Ok(self.registrar.package_handler(id.into(), handler).into_result()?)
    }

    /// Contributes a VM executor.
    ///
    /// # Errors
    /// As [`Self::asset_adapter`].
    pub fn vm_executor(&mut self, id: &str, executor: Arc<impl VmExecutor>) -> Result<(), Error> {
        let executor = VmExecutor_TO::from_value(self.fence(executor), TD_Opaque);
        Ok(self.registrar.vm_executor(id.into(), executor).into_result()?)
    }

    fn fence<T>(&self, inner: Arc<T>) -> Fenced<T> {
        Fenced { inner, core: Arc::clone(&self.core) }
    }
}

impl<T: Send + Sync + 'static> Fenced<T> {
    /// Polls on the caller's thread, inside the runtime.
    fn enter<R, F>(&self, ctx: CallCtx, work: impl FnOnce(Arc<T>, Call) -> F + Send + 'static) -> Fut<R>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        let (inner, call) = (Arc::clone(&self.inner), self.core.call(ctx));
        match self.core.handle() {
            Ok(handle) => entered(handle, ctx.trace_parent, async move { work(inner, call).await }),
            Err(error) => self.core.refused(error),
        }
    }

    /// Runs as a task of the runtime and ends with the deadline or the extension.
    fn spawn<R, F>(&self, ctx: CallCtx, work: impl FnOnce(Arc<T>, Call) -> F + Send + 'static) -> Fut<R>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        let (inner, call) = (Arc::clone(&self.inner), self.core.call(ctx));
        self.core.spawned(ctx, async move { work(inner, call).await })
    }
}

impl<T: AssetAdapter> registrar::AssetAdapter for Fenced<T> {
    fn describe(&self) -> AbiResult<Bag> {
        guard(|| bag(&self.inner.describe()))
    }

    fn discover(&self, ctx: CallCtx) -> Fut<Bag> {
        self.enter(ctx, |inner, call| async move { bag(&inner.discover(call).await?) })
    }

    fn allocate(&self, ctx: CallCtx, request: Bag) -> Fut<u64> {
        self.enter(ctx, |inner, call| async move { inner.allocate(call, request.decode()?).await })
    }

    fn usage(&self, ctx: CallCtx, allocation: u64) -> Fut<Bag> {
        self.enter(ctx, move |inner, call| async move { bag(&inner.usage(call, allocation).await?) })
    }

    fn release(&self, ctx: CallCtx, allocation: u64) -> Fut<()> {
        self.enter(ctx, move |inner, call| async move { inner.release(call, allocation).await })
    }
}

impl<T: PackageHandler> registrar::PackageHandler for Fenced<T> {
    fn media_types(&self) -> AbiResult<RVec<RString>> {
        guard(|| Ok(self.inner.media_types().into_iter().map(RString::from).collect()))
    }

    fn inspect(&self, media_type: RStr<'_>, head: RSlice<'_, u8>) -> AbiResult<RVec<u8>> {
        guard(|| {
            let known = self.inner.inspect(media_type.as_str(), head.as_slice());
            Ok(if known { media_type.as_bytes().to_vec().into() } else { RVec::new() })
        })
    }

    fn verify(&self, ctx: CallCtx, archive: Blob, _policy: Bag) -> Fut<Bag> {
        self.spawn(ctx, |inner, call| async move { bag(&inner.verify(call, archive.into_bytes()?).await?) })
    }

    fn install(&self, ctx: CallCtx, archive: Blob, _options: Bag) -> Fut<Bag> {
        self.spawn(ctx, |inner, call| async move { bag(&inner.install(call, archive.into_bytes()?).await?) })
    }

    fn remove(&self, ctx: CallCtx, package: RString) -> Fut<()> {
        self.spawn(ctx, |inner, call| async move { inner.remove(call, package.into_string()).await })
    }
}

impl<T: VmExecutor> registrar::VmExecutor for Fenced<T> {
    fn describe(&self) -> AbiResult<Bag> {
        guard(|| bag(&self.inner.describe()))
    }

    fn check(&self, ctx: CallCtx, program: Blob, _options: Bag) -> Fut<Bag> {
        self.spawn(ctx, |inner, call| async move { bag(&inner.check(call, program.into_bytes()?).await?) })
    }

    fn execute(&self, ctx: CallCtx, program: Blob, request: Bag) -> Fut<Bag> {
        self.spawn(ctx, |inner, call| async move {
            bag(&inner.execute(call, program.into_bytes()?, request.decode()?).await?)
        })
    }

    fn stats(&self, ctx: CallCtx) -> Fut<Bag> {
        self.enter(ctx, |inner, _| async move { bag(&inner.stats()) })
    }
}

pub(super) fn bag<T: Serialize>(record: &T) -> Result<Bag, Error> {
    Ok(Bag::encode(record)?)
}
