//! What an extension is to its host.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RString};

use super::error::{AbiResult, Fut};
use super::message::{Bag, Blob, CallCtx};
use super::registrar::RegistrarMut;

/// An extension object.
pub type ExtensionBox = Extension_TO<'static, RBox<()>>;

/// One loaded extension. The host drives it through the states of [`crate::records::ExtensionState`].
///
/// Every method is safe to call in every state; one that does not fit the state answers `NOT_RUNNING`.
#[sabi_trait]
pub trait Extension: Send + Sync {
    /// Describes the extension and its verbs: a [`crate::records::Description`].
    ///
    /// Thread: any; does not block. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn describe(&self) -> AbiResult<Bag>;

    /// Counts the requests that are being worked on.
    ///
    /// Thread: any; does not block. State: any. Owns: nothing. Since: 1.0.
    fn active_operations(&self) -> u64;

    /// Offers the extension's contributions. Called once, before [`Self::activate`].
    ///
    /// Thread: any; may block briefly. State: Initializing. Owns: borrows the registrar. Since: 1.0.
    fn register(&self, registrar: RegistrarMut<'_>) -> AbiResult<()>;

    /// Takes up work, with what [`Self::quiesce`] of the generation before handed over, if any.
    ///
    /// Thread: any. State: Initializing or Paused, to Running. Owns: the bag moves. Since: 1.0.
    fn activate(&self, ctx: CallCtx, handover: ROption<Bag>) -> Fut<()>;

    /// Finishes the requests in flight, lets go of exclusive things (locks, ports) and hands over what the next
    /// generation needs. [`Self::activate`] may follow on this very object: that is how a pause and a failed upgrade end.
    ///
    /// Thread: any. State: Running to Paused. Owns: the caller owns the answer. Since: 1.0.
    fn quiesce(&self, ctx: CallCtx) -> Fut<Bag>;

    /// Answers one verb of the request table: parameters are a JSON object, the answer is a
    /// [`crate::records::Response`] in JSON.
    ///
    /// Thread: any. State: Running. Owns: arguments move, the caller owns the answer. Since: 1.0.
    fn request(&self, ctx: CallCtx, verb: RString, params: Blob) -> Fut<Blob>;

    /// Reports figures: a [`crate::records::Status`].
    ///
    /// Thread: any. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn status(&self, ctx: CallCtx) -> Fut<Bag>;

    /// Reports health: a [`crate::records::Health`].
    ///
    /// Thread: any. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn health(&self, ctx: CallCtx) -> Fut<Bag>;

    /// Checks its own configuration, grants and files: a [`crate::records::ValidationReport`].
    ///
    /// Thread: any. State: any. Owns: the caller owns the answer. Since: 1.0.
    fn validate(&self, ctx: CallCtx) -> Fut<Bag>;

    /// Gives everything a new instance needs to go on: a [`crate::records::StateExport`] in JSON.
    ///
    /// Thread: any. State: Running or Paused. Owns: the caller owns the answer. Since: 1.0.
    fn export_state(&self, ctx: CallCtx) -> Fut<Blob>;

    /// Takes over an exported state; refuses another version or a wrong checksum and changes nothing then.
    ///
    /// Thread: any. State: Running or Paused. Owns: the blob moves. Since: 1.0.
    fn import_state(&self, ctx: CallCtx, state: Blob) -> Fut<()>;

    /// Forgets which callsites the host listens to; the host calls it after changing its log filter.
    ///
    /// Thread: any; does not block. State: any. Owns: nothing. Since: 1.0.
    fn trace_rebuild(&self);

    /// Ends: cancels what is in flight, joins its threads, releases everything. Blocking and idempotent.
    ///
    /// Thread: one that may block. State: any, to Stopped. Owns: nothing. Since: 1.0.
    fn stop(&self, grace_ms: u64) -> AbiResult<()>;

    /// The growth lane: methods of later minor versions by number. An unknown number answers `UNSUPPORTED`.
    ///
    /// Thread: any. State: any. Owns: the blob moves. Since: 1.0.
    #[sabi(last_prefix_field)]
    fn invoke(&self, ctx: CallCtx, id: u32, payload: Blob) -> Fut<Blob>;
}
