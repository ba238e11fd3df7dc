//! Between the contract's records and the host's asset manager.

use std::collections::BTreeMap;
use std::time::Duration;

use hypermesh_abi::records::{self, AssetRequest};
use hypermesh_abi::{Code, Error, Fault};
use serde_json::{Value as Json, json};

use crate::assets::{
    AssetError, AssetRecord, AssetState, AssetType, Constraints, Item, Lease, LeaseRequest, NodeFigures, Origin, Owner,
};
use crate::manifest::Bytes;

/// A lease that names no time ends after the longest the host gives.
const TTL_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a request of the asset manager.
pub(super) fn request(owner: &Owner, asked: &records::LeaseRequest) -> Result<LeaseRequest, Error> {
    let items: Result<Vec<Item>, Error> = asked.items.iter().map(item).collect();
    Ok(LeaseRequest {
        owner: owner.clone(),
        label: asked.label.clone(),
        items: items?,
        ttl: if asked.ttl_ms == 0 { TTL_DEFAULT } else { Duration::from_millis(asked.ttl_ms) },
        tags: vec![asked.label.clone()],
        origin: Origin::Local,
    })
}

/// Gives what the node has, whoever uses it now.
pub(super) fn resources(figures: &NodeFigures) -> records::NodeResources {
    records::NodeResources {
        cpu_cores: figures.cpu.cores,
        memory_bytes: figures.memory.total,
        gpus: u32::try_from(figures.gpus.len()).unwrap_or(u32::MAX),
        gpu_memory_bytes: figures.gpus.iter().filter_map(|gpu| gpu.memory_total).max().unwrap_or(0),
    }
}

/// Gives a lease as its holder sees it.
pub(super) fn lease(lease: &Lease) -> records::Lease {
    let assets = lease.items.iter().map(|item| records::AssetRecord {
        id: item.asset.to_string(),
        asset_type: item.kind.name().into(),
        name: item.kind.name().to_lowercase(),
        state: state(item.state),
        owner: lease.owner.to_string(),
        label: lease.label.clone(),
        amount: item.amount,
        attributes: item.devices.iter().map(|gpu| (format!("gpu{}", gpu.index), json!(gpu.uuid))).collect(),
    });
    records::Lease { id: lease.id.number(), assets: assets.collect() }
}

/// Gives an asset as the host lists it.
pub(crate) fn record(asset: &AssetRecord) -> records::AssetRecord {
    let mut attributes: BTreeMap<String, Json> =
        asset.details.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    attributes.insert("unit".into(), asset.kind.unit().into());
    if let Some(share) = asset.share {
        attributes.insert("share".into(), json!(share));
    }
    records::AssetRecord {
        id: asset.id.to_string(),
        asset_type: asset.kind.name().into(),
        name: asset.name.clone(),
        state: state(asset.state),
        owner: asset.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
        label: if asset.owner.is_some() { asset.tags.first().cloned().unwrap_or_default() } else { String::new() },
        amount: asset.amount.unwrap_or(0),
        attributes,
    }
}

/// Gives a state by HyperMesh's name.
fn state(state: AssetState) -> String {
    format!("{state:?}")
}

/// Gives the contract's error for one of the asset manager.
pub(super) fn error(error: &AssetError) -> Error {
    let code = match error {
        AssetError::Invalid { .. } => Code::INVALID_ARGUMENT,
        AssetError::Quota { .. } | AssetError::TooManyAssets { .. } => Code::RESOURCE_LIMIT_EXCEEDED,
        AssetError::NotHeld { .. } => Code::NOT_FOUND,
        AssetError::NotRegistered { .. } => Code::NOT_RUNNING,
        AssetError::Private { .. } => Code::POLICY_DENIED,
        _ => Code::RESOURCE_UNAVAILABLE,
    };
    let help = match code {
        Code::RESOURCE_LIMIT_EXCEEDED => "raise `resources.limits` in the extension's manifest, or ask for less",
        Code::RESOURCE_UNAVAILABLE => "ask for less, wait for running work to end, or use a node that has more",
        _ => return Error::wrap(code, error),
    };
    Error::wrap(code, error).help(help)
}

fn item(asked: &AssetRequest) -> Result<Item, Error> {
    let kind: AssetType =
        asked.asset_type.parse().map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error).fault(Fault::INPUT))?;
    let memory = asked.attributes.get("memory_bytes").and_then(|text| text.parse().ok()).map(Bytes);
    let constraints = match kind {
        AssetType::Cpu => Constraints { architecture: asked.variant.clone(), ..Constraints::default() },
        AssetType::Gpu => {
            Constraints { gpu_type: asked.variant.clone(), gpu_memory_min: memory, ..Constraints::default() }
        }
        _ => Constraints::default(),
    };
    Ok(Item { kind, amount: asked.amount, constraints })
}
