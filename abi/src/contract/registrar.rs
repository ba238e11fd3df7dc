//! What an extension contributes: asset adapters, package handlers and VM executors, collected by the registrar.

use abi_stable::RMut;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RSlice, RStr, RString, RVec};

use super::error::{AbiResult, Fut};
use super::message::{Bag, Blob, CallCtx};

/// A registrar borrowed for one call of `register`.
pub type RegistrarMut<'a> = Registrar_TO<'a, RMut<'a, ()>>;
/// An asset adapter.
pub type AssetAdapterBox = AssetAdapter_TO<'static, RBox<()>>;
/// A package handler.
pub type PackageHandlerBox = PackageHandler_TO<'static, RBox<()>>;
/// A VM executor.
pub type VmExecutorBox = VmExecutor_TO<'static, RBox<()>>;

/// Collects the contributions of one extension. Transactional: nothing takes effect unless
/// `Extension::register` answers Ok.
#[sabi_trait]
pub trait Registrar {
    /// Contributes an asset adapter under a contribution id such as `hypermesh.package/1`. Needs `AssetManagement`.
    ///
    /// Thread: the one that called `register`. State: Initializing. Owns: the host takes the adapter. Since: 1.0.
    fn asset_adapter(&mut self, id: RStr<'_>, adapter: AssetAdapterBox) -> AbiResult<()>;

    /// Contributes a package handler.
    ///
    /// Thread: the one that called `register`. State: Initializing. Owns: the host takes the handler. Since: 1.0.
    fn package_handler(&mut self, id: RStr<'_>, handler: PackageHandlerBox) -> AbiResult<()>;

    /// Contributes a VM executor. Needs `VMExecution`.
    ///
    /// Thread: the one that called `register`. State: Initializing. Owns: the host takes the executor. Since: 1.0.
    #[sabi(last_prefix_field)]
    fn vm_executor(&mut self, id: RStr<'_>, executor: VmExecutorBox) -> AbiResult<()>;
}

/// Makes one or more kinds of HyperMesh asset available through the extension.
#[sabi_trait]
pub trait AssetAdapter: Send + Sync {
    /// Says which kinds it serves: a [`crate::records::AdapterDescription`].
    ///
    /// Thread: any; does not block. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn describe(&self) -> AbiResult<Bag>;

    /// Lists the assets that exist now: a [`crate::records::AssetList`].
    ///
    /// Thread: any. State: Running. Owns: the caller owns the answer. Since: 1.0.
    fn discover(&self, ctx: CallCtx) -> Fut<Bag>;

    /// Allocates an asset from a [`crate::records::AssetRequest`]; answers the allocation's number.
    ///
    /// Thread: any. State: Running. Owns: the caller must release the allocation. Since: 1.0.
    fn allocate(&self, ctx: CallCtx, request: Bag) -> Fut<u64>;

    /// Reports the use of an allocation: a [`crate::records::AssetUsage`].
    ///
    /// Thread: any. State: Running. Owns: the caller owns the answer. Since: 1.0.
    fn usage(&self, ctx: CallCtx, allocation: u64) -> Fut<Bag>;

    /// Releases an allocation.
    ///
    /// Thread: any. State: any. Owns: ends the allocation. Since: 1.0.
    #[sabi(last_prefix_field)]
    fn release(&self, ctx: CallCtx, allocation: u64) -> Fut<()>;
}

/// Understands one kind of package archive.
#[sabi_trait]
pub trait PackageHandler: Send + Sync {
    /// Gives the media types (RFC 6838) it understands.
    ///
    /// Thread: any; does not block. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn media_types(&self) -> AbiResult<RVec<RString>>;

    /// Looks at the first bytes of an archive and says whether it can be one of its own: empty bytes for no, the media
    /// type for yes.
    ///
    /// Thread: any; does not block. State: any. Owns: borrows for the call. Since: 1.0.
    fn inspect(&self, media_type: RStr<'_>, head: RSlice<'_, u8>) -> AbiResult<RVec<u8>>;

    /// Verifies an archive under a policy: a [`crate::records::PackageVerdict`].
    ///
    /// Thread: any. State: Running. Owns: the blob moves. Since: 1.0.
    fn verify(&self, ctx: CallCtx, archive: Blob, policy: Bag) -> Fut<Bag>;

    /// Verifies an archive again and installs it: a [`crate::records::PackageVerdict`]. A verdict from elsewhere is
    /// never believed.
    ///
    /// Thread: any. State: Running. Owns: the blob moves. Since: 1.0.
    fn install(&self, ctx: CallCtx, archive: Blob, options: Bag) -> Fut<Bag>;

    /// Removes an installed package by `name@version`.
    ///
    /// Thread: any. State: Running. Owns: the name moves. Since: 1.0.
    #[sabi(last_prefix_field)]
    fn remove(&self, ctx: CallCtx, package: RString) -> Fut<()>;
}

/// Runs programs of one or more languages in a sandbox.
#[sabi_trait]
pub trait VmExecutor: Send + Sync {
    /// Says which languages it runs: a [`crate::records::ExecutorDescription`].
    ///
    /// Thread: any; does not block. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn describe(&self) -> AbiResult<Bag>;

    /// Checks a program without running it: a [`crate::records::ProgramCheck`].
    ///
    /// Thread: any. State: Running. Owns: the blob moves. Since: 1.0.
    fn check(&self, ctx: CallCtx, program: Blob, options: Bag) -> Fut<Bag>;

    /// Runs a program once, with an [`crate::records::ExecutionRequest`]; answers an
    /// [`crate::records::ExecutionOutcome`].
    ///
    /// Thread: any. State: Running. Owns: the blob moves; resources are leased for the call only. Since: 1.0.
    fn execute(&self, ctx: CallCtx, program: Blob, request: Bag) -> Fut<Bag>;

    /// Reports counters: a [`crate::records::Metrics`].
    ///
    /// Thread: any. State: any. Owns: the caller owns the answer. Since: 1.0.
    #[sabi(last_prefix_field)]
    fn stats(&self, ctx: CallCtx) -> Fut<Bag>;
}
