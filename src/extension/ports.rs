//! The ports of `host`, on the services of one call.

use std::collections::BTreeMap;
use std::time::Duration;

use hypermesh_abi::records::{self, AssetRequest, LeaseRequest};
use hypermesh_abi::sdk::{Call, LeaseGuard};
use hypermesh_abi::{Code, Error};
use serde_json::json;
use time::OffsetDateTime;

use crate::asset::{Amount, AssetKind, AssetNeed};
use crate::host::{Host, Lease, LeasedAsset, Operation, Pending, Progress, Refusal};

/// The host, as one call sees it.
pub(super) struct CallHost {
    call: Call,
}

struct Leased(LeaseGuard);

impl CallHost {
    pub(super) fn new(call: Call) -> Self {
        Self { call }
    }
}

impl Host for CallHost {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn platform(&self) -> String {
        self.call.host.identity().platform
    }

    fn progress(&self, progress: Progress) {
        self.call.progress(&records::Progress {
            stage: progress.stage.into(),
            message: progress.subject,
            done: progress.done as u64,
            total: progress.total as u64,
            unit: "packages".into(),
        });
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

    fn consensus<'a>(&'a self, operation: &'a Operation) -> Pending<'a, Result<String, Refusal>> {
        Box::pin(async move {
            let asked = json!({"operation": operation.verb, "digest": operation.digest, "minimum": operation.minimum});
            let answer: BTreeMap<String, String> =
                self.call.consensus(&asked).await.map_err(|error| refusal(&error))?;
            answer.get("proof").cloned().ok_or_else(|| Refusal {
                code: Code::CONSENSUS_VALIDATION_FAILED.0,
                message: "the host agreed without a proof".into(),
                help: None,
            })
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
