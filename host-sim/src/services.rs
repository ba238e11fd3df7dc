//! The services that one generation of an extension gets: what the manifest grants, and nothing else.
//!
//! Grants of in-process code are a contract and not a sandbox: a library can call the system by itself. What they give
//! is that an honest extension cannot do by accident what the administrator did not allow, and that every refusal is
//! audited.

mod leasing;
mod transport;
mod trusting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hypermesh_abi::host::{Answer, CallCtx, Services};
use hypermesh_abi::records::{
    AssetList, AssetQuery, AssetRecord, Callsite, Fields, Grants, Lease, LeaseRequest, NodeIdentity, Progress,
    SignRequest, TransportSignRequest, TrustQuery,
};
use hypermesh_abi::{Bag, Code, Error, service};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::assets::{AssetManager, AssetType, LeaseId, Owner, Query};
use crate::audit::Event;
use crate::consensus::{self, Seat};
use crate::host::Journal;
use crate::manifest::{Capability, ExtensionId};
use crate::metrics::Metrics;
use crate::metrics::definition::CAPABILITY_REQUESTS;
use crate::trace;

pub(crate) use leasing::record as asset_record;
pub(crate) use trusting::Trusting;

/// The services of a generation.
pub(crate) struct Granted {
    pub(crate) extension: ExtensionId,
    /// The owner of its leases.
    pub(crate) owner: Owner,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) grants: Grants,
    pub(crate) node: NodeIdentity,
    pub(crate) assets: Arc<AssetManager>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) progress: Arc<ProgressHub>,
    pub(crate) trust: Arc<Trusting>,
    pub(crate) consensus: Arc<Seat>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Gives reports of progress to whoever made the request.
#[derive(Default)]
pub(crate) struct ProgressHub {
    listeners: Mutex<HashMap<[u64; 2], mpsc::Sender<Progress>>>,
}

/// Listens to one request until dropped.
pub(crate) struct Listening<'a> {
    hub: &'a ProgressHub,
    request: [u64; 2],
}

/// Services that grant nothing, for a library that is only being looked at.
pub(crate) struct Detached;

impl ProgressHub {
    pub(crate) fn listen(&self, request: [u64; 2], sender: mpsc::Sender<Progress>) -> Listening<'_> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(request, sender);
        Listening { hub: self, request }
    }

    fn report(&self, request: [u64; 2], progress: Progress) {
        let listener = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).get(&request).cloned();
        if let Some(listener) = listener {
            // A full channel means a reader that is slower than the work; what it misses is superseded anyway.
            let _ = listener.try_send(progress);
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.hub.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request);
    }
}

impl Granted {
    /// Checks a grant, counts the answer, and audits it if it is no.
    pub(crate) fn require(&self, capability: &Capability, service: &str) -> Result<(), Error> {
        let granted = self.capabilities.contains(capability);
        let labels = [self.extension.as_str(), &capability.to_string(), if granted { "true" } else { "false" }];
        self.metrics.counter(&CAPABILITY_REQUESTS, &labels).increment();
        if !granted {
            let (extension, capability) = (self.extension.clone(), capability.clone());
            self.journal.record(Event::CapabilityRequest { extension, capability: capability.clone(), granted });
            let message =
                format!("extension `{}` is not granted `{capability}`, which `{service}` needs", self.extension);
            let help = format!("add `{capability}` to `capabilities.granted` in its manifest if it should have it");
            return Err(Error::new(Code::CAPABILITY_NOT_GRANTED, message).help(help));
        }
        Ok(())
    }

    fn lease(&self, request: &LeaseRequest) -> Result<Lease, Error> {
        self.require(&Capability::AssetManagement, "asset_lease")?;
        for expired in self.assets.expire() {
            tracing::warn!("the lease of {} for `{}` has expired and is taken back", expired.owner, expired.label);
        }
        let resource = request.label.clone();
        let asked = leasing::request(&self.owner, request)?;
        let leased = self.assets.lease(&asked).map_err(|error| leasing::error(&error));
        let (extension, allowed) = (self.extension.clone(), leased.is_ok());
        self.journal.record(Event::ResourceAccess { extension, resource, action: "lease".into(), allowed });
        leased.map(|lease| leasing::lease(&lease))
    }

    fn list(&self, query: &AssetQuery) -> Result<AssetList, Error> {
        self.require(&Capability::AssetManagement, "asset_list")?;
        let matches = |asset: &AssetRecord| {
            query.asset_type.as_ref().is_none_or(|kind| *kind == asset.asset_type)
                && query.label.as_ref().is_none_or(|label| *label == asset.label)
                && (!query.own || asset.owner == self.owner.to_string())
        };
        let assets = self.assets.list(&Query::default());
        Ok(AssetList { assets: assets.iter().map(leasing::record).filter(matches).collect() })
    }

    /// Does something with the node's trust, if that is granted, and audits it.
    fn trusting<T: Serialize>(
        &self,
        capability: &Capability,
        action: &'static str,
        work: impl FnOnce(&Trusting) -> Result<trusting::Done<T>, Error> + Send + 'static,
    ) -> Answer<Bag> {
        if let Err(error) = self.require(capability, action) {
            return ready(Err(error));
        }
        let (trust, journal, extension) = (Arc::clone(&self.trust), Arc::clone(&self.journal), self.extension.clone());
        trusting::apart(move || {
            let done = work(&trust);
            let allowed = done.is_ok();
            let resource = done.as_ref().map_or_else(ToString::to_string, |done| done.resource.clone());
            journal.record(Event::ResourceAccess { extension, resource, action: action.to_owned(), allowed });
            Ok(Bag::encode(&done?.answer)?)
        })
    }
}

impl Services for Granted {
    fn grants(&self) -> Grants {
        self.grants.clone()
    }

    fn identity(&self) -> NodeIdentity {
        self.node.clone()
    }

    fn log(&self, level: u32, target: &str, message: &str) {
        let extension = self.extension.as_str();
        match level {
            1 => tracing::error!(extension, from = target, "{message}"),
            2 => tracing::warn!(extension, from = target, "{message}"),
            3 => tracing::info!(extension, from = target, "{message}"),
            4 => tracing::debug!(extension, from = target, "{message}"),
            _ => tracing::trace!(extension, from = target, "{message}"),
        }
    }

    fn trace_register(&self, callsite: Callsite) -> u64 {
        trace::register(callsite)
    }

    fn trace_enabled(&self, callsite: u64) -> bool {
        trace::enabled(callsite)
    }

    fn trace_span(&self, callsite: u64, parent: u64, fields: Fields) -> u64 {
        trace::open_span(callsite, parent, &fields)
    }

    fn trace_close(&self, span: u64) {
        trace::close_span(span);
    }

    fn trace_event(&self, callsite: u64, parent: u64, fields: Fields) {
        trace::event(callsite, parent, &fields);
    }

    fn progress(&self, ctx: CallCtx, progress: Progress) {
        self.progress.report(ctx.request, progress);
    }

    fn asset_lease(&self, _: CallCtx, request: LeaseRequest) -> Answer<Lease> {
        ready(self.lease(&request))
    }

    fn asset_release(&self, _: CallCtx, lease: u64) -> Result<(), Error> {
        self.assets.release(&self.owner, LeaseId::of(lease)).map(drop).map_err(|error| leasing::error(&error))
    }

    fn asset_list(&self, _: CallCtx, query: AssetQuery) -> Answer<AssetList> {
        ready(self.list(&query))
    }

    fn consensus(&self, _: CallCtx, operation: Bag) -> Answer<Bag> {
        match self.require(&Capability::ConsensusAccess, "consensus") {
            Ok(()) => {
                let seat = Arc::clone(&self.consensus);
                consensus::answer(trusting::apart(move || seat.consensus()), operation)
            }
            Err(error) => ready(Err(error)),
        }
    }

    fn trust_verify(&self, _: CallCtx, signed: Vec<u8>, request: Bag) -> Answer<Bag> {
        let capability = Capability::TrustChainAccess;
        self.trusting(&capability, "trust_verify", move |trust| trust.verify(&signed, &request.decode::<TrustQuery>()?))
    }

    fn invoke(&self, _: CallCtx, id: u32, payload: Vec<u8>) -> Answer<Vec<u8>> {
        let answer = match id {
            service::TRUST_ANCHORS => {
                let cluster = self.consensus.anchors();
                self.trusting(&Capability::TrustChainAccess, "trust_anchors", move |trust| trust.anchors(cluster))
            }
            service::TRUST_SIGN => {
                let request = Bag(payload.into());
                let work = move |trust: &Trusting| trust.sign(&request.decode::<SignRequest>()?);
                self.trusting(&Capability::TrustChainAccess, "trust_sign", work)
            }
            service::TRANSPORT_IDENTITY => {
                self.trusting(&Capability::TransportAccess, "transport_identity", Trusting::transport_identity)
            }
            service::TRANSPORT_SIGN => {
                let request = Bag(payload.into());
                let work = move |trust: &Trusting| trust.transport_sign(&request.decode::<TransportSignRequest>()?);
                self.trusting(&Capability::TransportAccess, "transport_sign", work)
            }
            service::NODE_RESOURCES => {
                let assets = Arc::clone(&self.assets);
                trusting::apart(move || Ok(Bag::encode(&leasing::resources(&assets.figures_of(&[AssetType::Gpu])))?))
            }
            _ => ready(Err(Error::new(Code::UNSUPPORTED, format!("service {id} is not known to this host")))),
        };
        Box::pin(async move { Ok(answer.await?.0.into_vec()) })
    }
}

impl Services for Detached {
    fn grants(&self) -> Grants {
        Grants::default()
    }

    fn identity(&self) -> NodeIdentity {
        NodeIdentity::default()
    }

    fn log(&self, _: u32, _: &str, _: &str) {}

    fn trace_register(&self, _: Callsite) -> u64 {
        0
    }

    fn trace_enabled(&self, _: u64) -> bool {
        false
    }

    fn trace_span(&self, _: u64, _: u64, _: Fields) -> u64 {
        0
    }

    fn trace_close(&self, _: u64) {}

    fn trace_event(&self, _: u64, _: u64, _: Fields) {}

    fn progress(&self, _: CallCtx, _: Progress) {}

    fn asset_lease(&self, _: CallCtx, _: LeaseRequest) -> Answer<Lease> {
        ready(Err(nothing_granted()))
    }

    fn asset_release(&self, _: CallCtx, _: u64) -> Result<(), Error> {
        Err(nothing_granted())
    }

    fn asset_list(&self, _: CallCtx, _: AssetQuery) -> Answer<AssetList> {
        ready(Err(nothing_granted()))
    }

    fn consensus(&self, _: CallCtx, _: Bag) -> Answer<Bag> {
        ready(Err(nothing_granted()))
    }

    fn trust_verify(&self, _: CallCtx, _: Vec<u8>, _: Bag) -> Answer<Bag> {
        ready(Err(nothing_granted()))
    }
}

fn nothing_granted() -> Error {
    Error::new(Code::CAPABILITY_NOT_GRANTED, "nothing is granted to an extension that is only being looked at")
}

fn ready<T: Send + 'static>(answer: Result<T, Error>) -> Answer<T> {
    Box::pin(std::future::ready(answer))
}
