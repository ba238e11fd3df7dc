//! What an extension holds of its host: the services, the call it answers, and its leases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::contract::host_services::HostBox;
use crate::contract::message::{Bag, Blob, CallCtx};
use crate::records::{AssetList, AssetQuery, Grants, Lease, LeaseRequest, NodeIdentity, Progress};

/// The host's services. Clones share them.
#[derive(Clone)]
pub struct Host {
    services: Arc<HostBox>,
}

/// One call: its context and the host it came from.
#[derive(Clone, Debug)]
pub struct Call {
    /// The context as it came.
    pub ctx: CallCtx,
    /// The host.
    pub host: Host,
}

/// Leased resources, released when dropped.
#[derive(Debug)]
pub struct LeaseGuard {
    call: Call,
    lease: Lease,
}

impl Host {
    pub(super) fn new(services: HostBox) -> Self {
        Self { services: Arc::new(services) }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.services, &other.services)
    }

    pub(super) fn services(&self) -> &HostBox {
        &self.services
    }

    /// Gives the capabilities and limits in force.
    pub fn grants(&self) -> Grants {
        self.services.grants().decode().unwrap_or_default()
    }

    /// Says who this node is.
    pub fn identity(&self) -> NodeIdentity {
        self.services.identity().decode().unwrap_or_default()
    }

    /// Writes to the host's log; levels are 1 error to 5 trace. Prefer `tracing`, which arrives there too.
    pub fn log(&self, level: u32, target: &str, message: &str) {
        self.services.log(level, target.into(), message.into());
    }

    /// Releases leases by number, for those that outlive a guard.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such lease.
    pub fn release(&self, ctx: CallCtx, lease: u64) -> Result<(), Error> {
        Ok(self.services.asset_release(ctx, lease).into_result()?)
    }
}

impl Call {
    /// Leases resources, all or none.
    ///
    /// # Errors
    /// `CAPABILITY_NOT_GRANTED`, `RESOURCE_LIMIT_EXCEEDED` or `RESOURCE_UNAVAILABLE`.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeaseGuard, Error> {
        let answer = self.host.services.asset_lease(self.ctx, Bag::encode(request)?).await.into_result()?;
        Ok(LeaseGuard { call: self.clone(), lease: answer.decode()? })
    }

    /// Lists the node's assets.
    ///
    /// # Errors
    /// `CAPABILITY_NOT_GRANTED`.
    pub async fn assets(&self, query: &AssetQuery) -> Result<AssetList, Error> {
        Ok(self.host.services.asset_list(self.ctx, Bag::encode(query)?).await.into_result()?.decode()?)
    }

    /// Asks the validators for a consensus decision.
    ///
    /// # Errors
    /// `CAPABILITY_NOT_GRANTED`, or `UNSUPPORTED` by a host without validators.
    pub async fn consensus<T: DeserializeOwned>(&self, operation: &impl Serialize) -> Result<T, Error> {
        Ok(self.host.services.consensus(self.ctx, Bag::encode(operation)?).await.into_result()?.decode()?)
    }

    /// Asks TrustChain to verify a signature over the bytes.
    ///
    /// # Errors
    /// `CAPABILITY_NOT_GRANTED`, or `CERTIFICATE_VALIDATION_FAILED` with the reason.
    pub async fn trust_verify<T: DeserializeOwned>(
        &self,
        signed: Vec<u8>,
        request: &impl Serialize,
    ) -> Result<T, Error> {
        let request = Bag::encode(request)?;
        Ok(self.host.services.trust_verify(self.ctx, Blob::inline(signed), request).await.into_result()?.decode()?)
    }

    /// Asks a service of the growth lane, by its number in [`crate::service`].
    ///
    /// # Errors
    /// `UNSUPPORTED` by a host that does not know it, `CAPABILITY_NOT_GRANTED`, or what the service says.
    pub async fn invoke<T: DeserializeOwned>(&self, service: u32, request: &impl Serialize) -> Result<T, Error> {
        let request = Blob::inline(Bag::encode(request)?.0);
        let answer = self.host.services.invoke(self.ctx, service, request).await.into_result()?;
        Ok(Bag(answer.into_bytes()?.into()).decode()?)
    }

    /// Reports how far the call has come.
    pub fn progress(&self, progress: &Progress) {
        if let Ok(bag) = Bag::encode(progress) {
            self.host.services.progress(self.ctx, bag);
        }
    }

    /// Gives the time left before the caller stops waiting; none if it waits for ever.
    pub fn time_left(&self) -> Option<Duration> {
        (self.ctx.deadline_mono_ns != 0)
            .then(|| Duration::from_nanos(self.ctx.deadline_mono_ns.saturating_sub(monotonic_ns())))
    }
}

impl LeaseGuard {
    /// Gives the lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        // The host releases what is left when the generation stops, so a failure here has no one left to hear it.
        let _ = self.call.host.release(self.call.ctx, self.lease.id);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// Reads `CLOCK_MONOTONIC` in nanoseconds, the clock of [`CallCtx::deadline_mono_ns`].
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
