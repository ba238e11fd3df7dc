//! Decides whether a request fits, and makes its items. Pure: figures and what is held go in, items or the reason come out.

use super::id::AssetId;
use super::kind::{Amount, AssetState, AssetType};
use super::lease::{AssetError, GpuDevice, Item, Lease, LeaseRequest, LeasedItem};
use super::node::NodeFigures;
use crate::manifest::{ExtensionId, Limits};

/// What a request is held against.
pub(super) struct Situation<'a> {
    pub(super) figures: &'a NodeFigures,
    pub(super) leases: Vec<&'a Lease>,
    pub(super) limits: &'a Limits,
    pub(super) now_us: u64,
}

/// What the leases hold of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) leases: usize,
    pub(super) amount: u64,
    /// The part of it that its holders use.
    pub(super) used: u64,
}

impl Held {
    pub(super) fn of<'a>(kind: AssetType, leases: impl IntoIterator<Item = &'a Lease>) -> Self {
        leases.into_iter().fold(Self::default(), |held, lease| {
            let items = || lease.items.iter().filter(|item| item.kind == kind);
            Self {
                leases: held.leases + usize::from(items().next().is_some()),
                amount: items().fold(held.amount, |sum, item| sum.saturating_add(item.amount)),
                used: items().fold(held.used, |sum, item| sum.saturating_add(item.used.unwrap_or(0).min(item.amount))),
            }
        })
    }
}

/// Makes the items of a request, or says why not.
pub(super) fn plan(request: &LeaseRequest, situation: &Situation<'_>) -> Result<Vec<LeasedItem>, AssetError> {
    within_count(request, situation)?;
    let mut items: Vec<LeasedItem> = Vec::new();
    for item in &request.items {
        let planned = items.iter().filter(|planned| planned.kind == item.kind).map(|planned| planned.amount);
        let planned = planned.fold(0, u64::saturating_add);
        within_limit(&request.owner.extension, item, planned, situation)?;
        let devices = match item.kind {
            AssetType::Gpu => choose_devices(item, &items, situation)?,
            _ => {
                suits(item, situation.figures)?;
                within_capacity(item, planned, situation)?;
                Vec::new()
            }
        };
        items.push(LeasedItem {
            asset: AssetId::mint(item.kind, situation.now_us),
            kind: item.kind,
            amount: item.amount,
            share: total(item.kind, situation.figures).map(|total| item.amount as f64 / total as f64),
            devices,
            state: AssetState::Allocated,
            used: None,
        });
    }
    Ok(items)
}

/// Gives all the node has of a kind, if that is known and not nothing.
pub(super) fn total(kind: AssetType, figures: &NodeFigures) -> Option<u64> {
    let total = match kind {
        AssetType::Cpu => Some(u64::from(figures.cpu.cores) * 1_000),
        AssetType::Gpu => Some(figures.gpus.len() as u64),
        AssetType::Memory => Some(figures.memory.total),
        AssetType::Storage => figures.storage.as_ref().map(|storage| storage.total),
        AssetType::Network => {
            let links = figures.network.iter().filter(|interface| !interface.loopback);
            let speeds: Vec<u64> = links.filter_map(|interface| interface.bytes_per_second).collect();
            (!speeds.is_empty()).then(|| speeds.iter().fold(0, |sum: u64, speed| sum.saturating_add(*speed)))
        }
        _ => None,
    };
    total.filter(|total| *total > 0)
}

/// Gives what of a kind can still be leased, if that is known.
///
/// What is held and not used yet is still counted as available by the machine, so it is taken off; what is held and used
/// is not taken off twice.
pub(super) fn free(kind: AssetType, held: Held, figures: &NodeFigures) -> Option<u64> {
    let available = match kind {
        AssetType::Memory => Some(figures.memory.available),
        AssetType::Storage => figures.storage.as_ref().map(|storage| storage.available),
        _ => None,
    };
    let unleased = total(kind, figures)?.saturating_sub(held.amount);
    Some(available.map_or(unleased, |available| unleased.min(available.saturating_sub(held.amount - held.used))))
}

fn within_count(request: &LeaseRequest, situation: &Situation<'_>) -> Result<(), AssetError> {
    let extension = &request.owner.extension;
    let held = own(situation, extension).map(|lease| lease.items.len()).sum::<usize>();
    let (asked, limit) = (request.items.len(), situation.limits.assets as usize);
    if held + asked > limit {
        return Err(AssetError::TooManyAssets { extension: extension.clone(), asked, held, limit });
    }
    Ok(())
}

fn within_limit(
    extension: &ExtensionId,
    item: &Item,
    planned: u64,
    situation: &Situation<'_>,
) -> Result<(), AssetError> {
    let limits = situation.limits;
    let limit = match item.kind {
        AssetType::Cpu => limits.cpu.of_millicores(u64::from(situation.figures.cpu.cores) * 1_000),
        AssetType::Memory => limits.memory.0,
        AssetType::Storage => limits.storage.0,
        AssetType::Network => limits.bandwidth.0,
        _ => return Ok(()),
    };
    let held = Held::of(item.kind, own(situation, extension)).amount.saturating_add(planned);
    if item.amount > limit.saturating_sub(held) {
        let amount = |amount| Amount(item.kind, amount);
        let (asked, held, limit) = (amount(item.amount), amount(held), amount(limit));
        return Err(AssetError::Quota { extension: extension.clone(), asked, held, limit });
    }
    Ok(())
}

fn within_capacity(item: &Item, planned: u64, situation: &Situation<'_>) -> Result<(), AssetError> {
    let held = Held::of(item.kind, situation.leases.iter().copied());
    let with_planned = Held { amount: held.amount.saturating_add(planned), ..held };
    let Some(free) = free(item.kind, with_planned, situation.figures) else {
        // A link of unknown speed is bounded by the owners' limits alone.
        return if item.kind == AssetType::Network { Ok(()) } else { Err(AssetError::NotOffered { kind: item.kind }) };
    };
    if item.amount > free {
        let total = total(item.kind, situation.figures).unwrap_or_default();
        return Err(exhausted(item, free, total, held));
    }
    Ok(())
}

fn suits(item: &Item, figures: &NodeFigures) -> Result<(), AssetError> {
    let Some(wanted) = item.constraints.architecture.as_ref().filter(|_| item.kind == AssetType::Cpu) else {
        return Ok(());
    };
    let canonical = match wanted.to_lowercase().as_str() {
        "amd64" | "x86-64" | "x64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    };
    if canonical == figures.cpu.architecture {
        return Ok(());
    }
    let (wanted, found) = (format!("architecture `{wanted}`"), format!("`{}`", figures.cpu.architecture));
    Err(AssetError::Unsuitable { wanted, found })
}

/// Chooses whole devices nobody holds, the lowest numbers first.
fn choose_devices(
    item: &Item,
    planned: &[LeasedItem],
    situation: &Situation<'_>,
) -> Result<Vec<GpuDevice>, AssetError> {
    let figures = situation.figures;
    if figures.gpus.is_empty() {
        return Err(figures.gpu_absent.clone().map_or(AssetError::NotOffered { kind: item.kind }, AssetError::NoGpu));
    }
    let memory_min = item.constraints.gpu_memory_min.map_or(0, |bytes| bytes.0);
    let suitable: Vec<_> = figures
        .gpus
        .iter()
        .filter(|gpu| item.constraints.gpu_type.as_ref().is_none_or(|wanted| gpu.is_of_type(wanted)))
        .filter(|gpu| memory_min == 0 || gpu.memory_free().is_some_and(|free| free >= memory_min))
        .collect();
    if suitable.is_empty() {
        return Err(unsuitable_gpu(item, figures));
    }
    let held: Vec<u32> = situation
        .leases
        .iter()
        .flat_map(|lease| &lease.items)
        .chain(planned)
        .flat_map(|item| item.devices.iter().map(|device| device.index))
        .collect();
    let free: Vec<_> = suitable.iter().filter(|gpu| !held.contains(&gpu.index)).collect();
    let chosen = free.iter().take(usize::try_from(item.amount).unwrap_or(usize::MAX));
    let chosen: Vec<_> = chosen.map(|gpu| GpuDevice { index: gpu.index, uuid: gpu.uuid.clone() }).collect();
    if (chosen.len() as u64) < item.amount {
        let held = Held::of(item.kind, situation.leases.iter().copied());
        return Err(exhausted(item, free.len() as u64, suitable.len() as u64, held));
    }
    Ok(chosen)
}

fn unsuitable_gpu(item: &Item, figures: &NodeFigures) -> AssetError {
    let mut wanted = "a graphics processor".to_owned();
    if let Some(gpu_type) = &item.constraints.gpu_type {
        wanted.push_str(&format!(" of type `{gpu_type}`"));
    }
    if let Some(memory) = item.constraints.gpu_memory_min {
        wanted.push_str(&format!(" with {} free", memory.rounded()));
    }
    let found = figures.gpus.iter().map(|gpu| {
        let name = gpu.name.as_deref().unwrap_or("a device without a name");
        match gpu.memory_free() {
            Some(free) => format!("`{name}` with {} free", crate::manifest::Bytes(free).rounded()),
            None => format!("`{name}`"),
        }
    });
    AssetError::Unsuitable { wanted, found: found.collect::<Vec<_>>().join(", ") }
}

fn exhausted(item: &Item, free: u64, total: u64, held: Held) -> AssetError {
    let amount = |amount| Amount(item.kind, amount);
    AssetError::Exhausted {
        asked: amount(item.amount),
        free: amount(free),
        total: amount(total),
        leases: held.leases,
        held: amount(held.amount),
    }
}

fn own<'a>(situation: &Situation<'a>, extension: &ExtensionId) -> impl Iterator<Item = &'a Lease> {
    situation.leases.iter().copied().filter(move |lease| lease.owner.extension == *extension)
}
