//! What a host offers to an extension.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RStr};

use super::error::{AbiResult, Fut};
use super::message::{Bag, Blob, CallCtx};

/// The services object of one generation. Owns: the extension.
pub type HostBox = HostServices_TO<'static, RBox<()>>;

/// The services of a host, limited to what the administrator's manifest grants.
///
/// A service that is not granted answers `CAPABILITY_NOT_GRANTED` and is audited.
#[sabi_trait]
pub trait HostServices: Send + Sync {
    /// Gives the capabilities and limits in force: a [`crate::records::Grants`].
    ///
    /// Thread: any. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn grants(&self) -> Bag;

    /// Says who this node is: a [`crate::records::NodeIdentity`].
    ///
    /// Thread: any. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn identity(&self) -> Bag;

    /// Writes a line to the host's log. Levels are those of `tracing`: 1 error to 5 trace.
    ///
    /// Thread: any; does not block. State: any. Owns: borrows for the call. Since: 1.0.
    fn log(&self, level: u32, target: RStr<'_>, message: RStr<'_>);

    /// Registers a place in the source that makes spans or events, a [`crate::records::Callsite`]; equal descriptions
    /// give equal numbers.
    ///
    /// Thread: any. State: any. Owns: the host keeps the description for its own lifetime. Since: 1.0.
    fn trace_register(&self, callsite: Bag) -> u64;

    /// Says whether anybody listens to a callsite; the extension caches the answer until
    /// `Extension::trace_rebuild`.
    ///
    /// Thread: any; does not block. State: any. Owns: nothing. Since: 1.0.
    fn trace_enabled(&self, callsite: u64) -> bool;

    /// Opens a span under `parent` (0 for none) with a [`crate::records::Fields`]; answers its id, or 0 if nobody
    /// listens.
    ///
    /// Thread: any. State: any. Owns: the span lives until [`Self::trace_close`]. Since: 1.0.
    fn trace_span(&self, callsite: u64, parent: u64, fields: Bag) -> u64;

    /// Closes a span. Closing an unknown span does nothing.
    ///
    /// Thread: any. State: any. Owns: ends the span. Since: 1.0.
    fn trace_close(&self, span: u64);

    /// Emits an event under `parent` (0 for none) with a [`crate::records::Fields`].
    ///
    /// Thread: any. State: any. Owns: the fields move. Since: 1.0.
    fn trace_event(&self, callsite: u64, parent: u64, fields: Bag);

    /// Reports how far a call has come: a [`crate::records::Progress`]. The host may drop reports.
    ///
    /// Thread: any; does not block. State: Running. Owns: the report moves. Since: 1.0.
    fn progress(&self, ctx: CallCtx, progress: Bag);

    /// Leases resources of this node, all or none: a [`crate::records::LeaseRequest`] answered by a
    /// [`crate::records::Lease`]. Needs `AssetManagement`.
    ///
    /// Thread: any. State: Running. Owns: the extension must release the lease; the host does when the generation
    /// stops. Since: 1.0.
    fn asset_lease(&self, ctx: CallCtx, request: Bag) -> Fut<Bag>;

    /// Releases a lease. Releasing an unknown or foreign lease is `NOT_FOUND`.
    ///
    /// Thread: any; does not block, so it may be called from `Drop`. State: any. Owns: ends the lease. Since: 1.0.
    fn asset_release(&self, ctx: CallCtx, lease: u64) -> AbiResult<()>;

    /// Lists the node's assets: a [`crate::records::AssetQuery`] answered by [`crate::records::AssetList`]. Needs
    /// `AssetManagement`.
    ///
    /// Thread: any. State: Running. Owns: the caller owns the answer. Since: 1.0.
    fn asset_list(&self, ctx: CallCtx, query: Bag) -> Fut<Bag>;

    /// Asks the validators for a consensus decision. Needs `ConsensusAccess`.
    ///
    /// Thread: any. State: Running. Owns: the caller owns the answer. Since: 1.0.
    fn consensus(&self, ctx: CallCtx, operation: Bag) -> Fut<Bag>;

    /// Asks TrustChain to verify a signature over the blob. Needs `TrustChainAccess`.
    ///
    /// Thread: any. State: Running. Owns: the blob moves. Since: 1.0.
    fn trust_verify(&self, ctx: CallCtx, signed: Blob, request: Bag) -> Fut<Bag>;

    /// The growth lane: services of later minor versions by number. An unknown number answers `UNSUPPORTED`.
    ///
    /// Thread: any. State: any. Owns: the blob moves. Since: 1.0.
    #[sabi(last_prefix_field)]
    fn invoke(&self, ctx: CallCtx, id: u32, payload: Blob) -> Fut<Blob>;
}
