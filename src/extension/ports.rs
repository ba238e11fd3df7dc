//! The ports of `host`, on the services of one call.

use std::time::Duration;

use hypermesh_abi::records::{self, AssetRequest, ConsensusAnswer, ConsensusRequest, LeaseRequest};
use hypermesh_abi::sdk::{Call, LeaseGuard};
use hypermesh_abi::{Error, service};
use serde_json::json;
use time::OffsetDateTime;

use crate::asset::{Amount, AssetKind, AssetNeed};
use crate::host::{
    DOWNLOAD, Host, Lease, LeasedAsset, Network, NodeResources, Operation, Pending, Progress, Refusal, STDERR, STDOUT,
    Signed, ToSign, TrustAnchors, wait,
};

/// The host, as one call sees it.
pub(super) struct CallHost {
    call: Call,
    offline: bool,
}

/// What an administrator grants for asking other machines.
const NETWORK_CAPABILITY: &str = "NetworkAccess";

struct Leased(LeaseGuard);

impl CallHost {
    pub(super) fn new(call: Call) -> Self {
        Self { call, offline: false }
    }

    /// The same, for a caller that wants nothing asked of other machines.
    pub(super) fn offline_if(self, offline: bool) -> Self {
        Self { offline, ..self }
    }
}

impl Host for CallHost {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn platform(&self) -> String {
        self.call.host.identity().platform
    }

    fn resources(&self) -> Option<NodeResources> {
        // A host of an earlier version does not know the service; then nothing is known, and nothing refused for it.
        let asked =
            async { self.call.invoke::<records::NodeResources>(service::NODE_RESOURCES, &json!({})).await.ok() };
        let found = wait(Box::pin(asked))?;
        let records::NodeResources { cpu_cores, memory_bytes, gpus, gpu_memory_bytes } = found;
        Some(NodeResources { cpu_cores, memory_bytes, gpus, gpu_memory_bytes })
    }

    fn node_id(&self) -> String {
        self.call.host.identity().node_id
    }

    fn progress(&self, progress: Progress) {
        self.call.progress(&records::Progress {
            stage: progress.stage.into(),
            message: progress.subject,
            done: progress.done as u64,
            total: progress.total as u64,
            unit: match progress.stage {
                DOWNLOAD => "bytes",
                STDOUT | STDERR => "output",
                _ => "packages",
            }
            .into(),
        });
    }

    fn network(&self) -> Network {
        let granted = || self.call.host.grants().capabilities;
        match self.offline {
            true => Network::Offline,
            false if granted().iter().any(|capability| capability == NETWORK_CAPABILITY) => Network::Granted,
            false => Network::NotGranted,
        }
    }

    fn lease<'a>(
        &'a self,
        label: &'a str,
        needs: &'a [AssetNeed],
        at_most: Duration,
    ) -> Pending<'a, Result<Box<dyn Lease>, Refusal>> {
        Box::pin(async move {
            let items = needs.iter().filter_map(request).collect();
            let request = LeaseRequest { label: label.into(), items, ttl_ms: at_most.as_millis() as u64 };
            let lease = self.call.lease(&request).await.map_err(|error| refusal(&error))?;
            Ok(Box::new(Leased(lease)) as Box<dyn Lease>)
        })
    }

    fn anchors<'a>(&'a self) -> Pending<'a, Result<TrustAnchors, Refusal>> {
        Box::pin(async move {
            let asked = self.call.invoke(service::TRUST_ANCHORS, &json!({})).await;
            let records::TrustAnchors { cluster, roots, authorities, revocations, validators, genesis } =
                asked.map_err(|error| refusal(&error))?;
            Ok(TrustAnchors { cluster, roots, authorities, revocations, validators, genesis })
        })
    }

    fn sign<'a>(&'a self, publisher: Option<&'a str>, what: &'a ToSign) -> Pending<'a, Result<Signed, Refusal>> {
        Box::pin(async move {
            let request = sign_request(publisher, what);
            let asked = self.call.invoke(service::TRUST_SIGN, &request).await;
            let records::Signed { envelope, chain } = asked.map_err(|error| refusal(&error))?;
            Ok(Signed { envelope: envelope.into_bytes(), chain })
        })
    }

    fn consensus<'a>(&'a self, operation: &'a Operation) -> Pending<'a, Result<Vec<u8>, Refusal>> {
        Box::pin(async move {
            let asked = ConsensusRequest {
                operation: operation.kind.as_str().into(),
                digest: operation.digest.to_hex(),
                minimum: operation.minimum,
                nonce: Some(operation.nonce.clone()),
                profile: Some(operation.profile.clone()),
            };
            let answer: ConsensusAnswer = self.call.consensus(&asked).await.map_err(|error| refusal(&error))?;
            Ok(answer.certificate.into_bytes())
        })
    }
}

impl Lease for Leased {
    fn assets(&self) -> Vec<LeasedAsset> {
        let assets = self.0.lease().assets.iter();
        let leased = |asset: &records::AssetRecord| LeasedAsset {
            id: asset.id.clone(),
            kind: asset.asset_type.clone(),
            amount: asset.amount,
        };
        assets.map(leased).collect()
    }
}

fn sign_request(publisher: Option<&str>, what: &ToSign) -> records::SignRequest {
    let mut request = records::SignRequest { publisher: publisher.map(Into::into), ..records::SignRequest::default() };
    match what {
        ToSign::Release { package, version, size_bytes, digests, manifest } => {
            request.release = Some(records::ReleaseSubject {
                package: package.clone(),
                version: version.clone(),
                size_bytes: *size_bytes,
                sha256: digests.sha256.clone(),
                blake3: digests.blake3.to_hex(),
                manifest: manifest.to_hex(),
                lock: None,
                tool: concat!("catalog ", env!("CARGO_PKG_VERSION")).into(),
            });
        }
        ToSign::Feed { number, entry } => {
            request.feed = Some(records::FeedSubject { number: *number, entry: entry.clone() });
        }
        // Its fields are texts and whole numbers, which have a form in JSON.
        ToSign::Offer(offer) => request.offer = serde_json::to_value(offer).ok(),
        ToSign::Receipt(receipt) => request.receipt = serde_json::to_value(receipt).ok(),
    }
    request
}

/// Gives what the host is asked for; containers are no resource of a node.
fn request(need: &AssetNeed) -> Option<AssetRequest> {
    let mut request = AssetRequest { asset_type: kind_name(need.kind()), ..AssetRequest::default() };
    match &need.amount {
        Amount::Cpu { cores, share, architecture } => {
            request.amount = share.0.max(1).min(u64::from(*cores).max(1) * 1_000);
            request.variant.clone_from(architecture);
        }
        Amount::Gpu { units, memory, gpu_type } => {
            request.amount = u64::from(*units);
            request.variant = Some(gpu_type.clone());
            request.attributes.insert("memory_bytes".into(), memory.0.to_string());
        }
        Amount::Memory { size } => request.amount = size.0,
        Amount::Storage { size, persistent } => {
            request.amount = size.0;
            request.persistent = *persistent;
        }
        Amount::Network { bandwidth, .. } => request.amount = bandwidth.0,
        Amount::Container { .. } => return None,
    }
    Some(request)
}

/// Gives HyperMesh's name of a kind as hosts spell it.
pub(super) fn kind_name(kind: AssetKind) -> String {
    kind.as_str().to_owned()
}

fn refusal(error: &Error) -> Refusal {
    Refusal { code: error.code.0, message: error.to_string(), help: error.detail.help.clone() }
}
