//! Services as a host writes them, and the fence that lets an extension call them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RStr};
use async_ffi::FfiFuture;
use serde::Serialize;

use crate::contract::error::{AbiResult, Fut};
use crate::contract::host_services::{HostBox, HostServices, HostServices_TO};
use crate::contract::message::{Bag, Blob, CallCtx};
use crate::records::{AssetList, AssetQuery, Callsite, Fields, Grants, Lease, LeaseRequest, NodeIdentity, Progress};
use crate::{Code, Error};

/// A future of a service's answer.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// What a host offers to one generation of an extension.
///
/// Services answer from any thread and do not depend on the executor that polls them.
pub trait Services: Send + Sync + 'static {
    /// Gives the capabilities and limits in force.
    fn grants(&self) -> Grants;
    /// Says who this node is.
    fn identity(&self) -> NodeIdentity;
    /// Takes a line for the log.
    fn log(&self, level: u32, target: &str, message: &str);
    /// Registers a callsite.
    fn trace_register(&self, callsite: Callsite) -> u64;
    /// Says whether anybody listens.
    fn trace_enabled(&self, callsite: u64) -> bool;
    /// Opens a span.
    fn trace_span(&self, callsite: u64, parent: u64, fields: Fields) -> u64;
    /// Closes a span.
    fn trace_close(&self, span: u64);
    /// Emits an event.
    fn trace_event(&self, callsite: u64, parent: u64, fields: Fields);
    /// Takes a report of progress.
    fn progress(&self, ctx: CallCtx, progress: Progress);
    /// Leases resources.
    fn asset_lease(&self, ctx: CallCtx, request: LeaseRequest) -> Answer<Lease>;
    /// Releases a lease.
    ///
    /// # Errors
    /// `NOT_FOUND` for an unknown or foreign lease.
    fn asset_release(&self, ctx: CallCtx, lease: u64) -> Result<(), Error>;
    /// Lists assets.
    fn asset_list(&self, ctx: CallCtx, query: AssetQuery) -> Answer<AssetList>;
    /// Decides by consensus.
    fn consensus(&self, ctx: CallCtx, operation: Bag) -> Answer<Bag>;
    /// Verifies a signature.
    fn trust_verify(&self, ctx: CallCtx, signed: Vec<u8>, request: Bag) -> Answer<Bag>;
    /// Answers a service of a later version; the default knows none.
    fn invoke(&self, ctx: CallCtx, id: u32, payload: Vec<u8>) -> Answer<Vec<u8>> {
        let _ = (ctx, payload);
        Box::pin(std::future::ready(Err(Error::new(
            Code::UNSUPPORTED,
            format!("service {id} is not known to this host"),
        ))))
    }
}

/// Makes services callable by an extension.
pub fn share(services: Arc<dyn Services>) -> HostBox {
    HostServices_TO::from_value(Shared(services), TD_Opaque)
}

struct Shared(Arc<dyn Services>);

impl Shared {
    /// A panic in a service must not unwind into an extension.
    fn fence<T>(&self, fallback: T, service: impl FnOnce(&dyn Services) -> T) -> T {
        catch_unwind(AssertUnwindSafe(|| service(&*self.0))).unwrap_or_else(|payload| {
            std::mem::forget(payload);
            fallback
        })
    }

    fn answer<T, U>(&self, service: impl FnOnce(&dyn Services) -> Result<Answer<T>, Error>) -> Fut<U>
    where
        T: IntoMessage<U> + Send + 'static,
        U: Send + 'static,
    {
        let answer = self.fence(Err(panicked()), service);
        FfiFuture::new(async move {
            let message = async { answer?.await?.into_message() }.await;
            message.map_err(Into::into).into()
        })
    }
}

/// An answer that becomes a message of the contract.
trait IntoMessage<U> {
    fn into_message(self) -> Result<U, Error>;
}

impl<T: Serialize> IntoMessage<Bag> for Record<T> {
    fn into_message(self) -> Result<Bag, Error> {
        Ok(Bag::encode(&self.0)?)
    }
}

impl IntoMessage<Self> for Bag {
    fn into_message(self) -> Result<Self, Error> {
        Ok(self)
    }
}

impl IntoMessage<Blob> for Vec<u8> {
    fn into_message(self) -> Result<Blob, Error> {
        Ok(Blob::inline(self))
    }
}

struct Record<T>(T);

fn record<T: Send + 'static>(answer: Answer<T>) -> Answer<Record<T>> {
    Box::pin(async move { answer.await.map(Record) })
}

impl HostServices for Shared {
    fn grants(&self) -> Bag {
        self.fence(Bag::default(), |services| Bag::encode(&services.grants()).unwrap_or_default())
    }

    fn identity(&self) -> Bag {
        self.fence(Bag::default(), |services| Bag::encode(&services.identity()).unwrap_or_default())
    }

    fn log(&self, level: u32, target: RStr<'_>, message: RStr<'_>) {
        self.fence((), |services| services.log(level, target.as_str(), message.as_str()));
    }

    fn trace_register(&self, callsite: Bag) -> u64 {
        self.fence(0, |services| callsite.decode().map_or(0, |callsite| services.trace_register(callsite)))
    }

    fn trace_enabled(&self, callsite: u64) -> bool {
        self.fence(false, |services| services.trace_enabled(callsite))
    }

    fn trace_span(&self, callsite: u64, parent: u64, fields: Bag) -> u64 {
        let fields = fields.decode().unwrap_or_default();
        self.fence(0, |services| services.trace_span(callsite, parent, fields))
    }

    fn trace_close(&self, span: u64) {
        self.fence((), |services| services.trace_close(span));
    }

    fn trace_event(&self, callsite: u64, parent: u64, fields: Bag) {
        let fields = fields.decode().unwrap_or_default();
        self.fence((), |services| services.trace_event(callsite, parent, fields));
    }

    fn progress(&self, ctx: CallCtx, progress: Bag) {
        if let Ok(progress) = progress.decode() {
            self.fence((), |services| services.progress(ctx, progress));
        }
    }

    fn asset_lease(&self, ctx: CallCtx, request: Bag) -> Fut<Bag> {
        self.answer(|services| Ok(record(services.asset_lease(ctx, request.decode()?))))
    }

    fn asset_release(&self, ctx: CallCtx, lease: u64) -> AbiResult<()> {
        match self.fence(Err(panicked()), |services| services.asset_release(ctx, lease)) {
            Ok(()) => RResult::ROk(()),
            Err(error) => RResult::RErr(error.into()),
        }
    }

    fn asset_list(&self, ctx: CallCtx, query: Bag) -> Fut<Bag> {
        self.answer(|services| Ok(record(services.asset_list(ctx, query.decode()?))))
    }

    fn consensus(&self, ctx: CallCtx, operation: Bag) -> Fut<Bag> {
        self.answer(|services| Ok(services.consensus(ctx, operation)))
    }

    fn trust_verify(&self, ctx: CallCtx, signed: Blob, request: Bag) -> Fut<Bag> {
        self.answer(|services| Ok(services.trust_verify(ctx, signed.into_bytes()?, request)))
    }

    fn invoke(&self, ctx: CallCtx, id: u32, payload: Blob) -> Fut<Blob> {
        self.answer(|services| Ok(services.invoke(ctx, id, payload.into_bytes()?)))
    }
}

fn panicked() -> Error {
    Error::new(Code::PANIC, "the host's service panicked")
}
