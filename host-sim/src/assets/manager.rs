//! The asset manager: one per host, used by every extension through the host's services.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::id::AssetId;
use super::kind::{AssetState, AssetType, PrivacyLevel};
use super::lease::{AssetError, Lease, LeaseId, LeaseRequest, LeasedItem, Origin, Owner};
use super::node::{Node, NodeFigures};
use super::plan::{self, Held, Situation};
use super::record::{AssetRecord, AssetSource, KindTotals, Query};
use super::{LEASES_MAX, RECORDS_MAX, SOURCES_MAX};
use crate::audit::Clock;
use crate::manifest::Limits;

/// Leases what the node has and lists all assets. Methods may be called from any thread; none waits for another owner.
pub struct AssetManager {
    node: Arc<dyn Node>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    limits: BTreeMap<Owner, Limits>,
    leases: BTreeMap<LeaseId, Lease>,
    sources: Vec<Source>,
    /// Ids of the node's own assets by kind and name.
    own: BTreeMap<(AssetType, String), AssetId>,
    /// Kinds that are kept back, and privacy levels that are not the default.
    kept_back: BTreeMap<AssetType, AssetState>,
    privacy: BTreeMap<AssetType, PrivacyLevel>,
}

#[derive(Clone)]
struct Source {
    owner: Owner,
    kinds: Vec<AssetType>,
    records: AssetSource,
}

impl AssetManager {
    /// Manages the assets of a node; nobody is registered and nothing is leased. Leases end by the clock, which must not jump.
    pub fn new(node: Arc<dyn Node>, clock: Clock) -> Self {
        Self { node, clock, state: Mutex::default() }
    }

    /// Lets an owner lease within limits. Registering again replaces the limits and keeps what is held.
    pub fn register(&self, owner: Owner, limits: Limits) {
        self.lock().limits.insert(owner, limits);
    }

    /// Gives everything a request asks for, or nothing.
    ///
    /// # Errors
    /// The request is malformed; its owner is not registered; a kind is kept back, private or not there; the owner's limits
    /// or what is free do not suffice. The error has the figures.
    pub fn lease(&self, request: &LeaseRequest) -> Result<Lease, AssetError> {
        request.check()?;
        let kinds: Vec<AssetType> = request.items.iter().map(|item| item.kind).collect();
        let figures = self.node.figures(&kinds);
        let now_us = (self.clock)();
        let mut state = self.lock();
        for item in &request.items {
            state.offered(item.kind, request.origin)?;
        }
        if state.leases.len() >= LEASES_MAX {
            return Err(AssetError::TooManyLeases);
        }
        let not_registered = || AssetError::NotRegistered { owner: request.owner.clone() };
        let limits = state.limits.get(&request.owner).ok_or_else(not_registered)?;
        let situation = Situation { figures: &figures, leases: state.leases.values().collect(), limits, now_us };
        let items = plan::plan(request, &situation)?;
        let ttl_us = u64::try_from(request.ttl.as_micros()).unwrap_or(u64::MAX);
        let lease = Lease {
            id: LeaseId::mint(),
            owner: request.owner.clone(),
            label: request.label.clone(),
            items,
            tags: request.tags.clone(),
            created_us: now_us,
            expires_us: now_us.saturating_add(ttl_us),
        };
        state.leases.insert(lease.id, lease.clone());
        Ok(lease)
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// The owner holds no such lease.
    pub fn release(&self, owner: &Owner, id: LeaseId) -> Result<Lease, AssetError> {
        let mut state = self.lock();
        match state.leases.get(&id) {
            Some(lease) if lease.owner == *owner => state.leases.remove(&id).ok_or_else(|| not_held(owner, &id)),
            _ => Err(not_held(owner, &id)),
        }
    }

    /// Takes everything back from an owner, which is then no longer registered: its leases and its contributed assets.
    pub fn release_all(&self, owner: &Owner) -> Vec<Lease> {
        let mut state = self.lock();
        state.limits.remove(owner);
        state.sources.retain(|source| source.owner != *owner);
        state.leases.extract_if(.., |_, lease| lease.owner == *owner).map(|(_, lease)| lease).collect()
    }

    /// Takes back the leases whose time is over; the host calls it on its tick and stops what still runs on them.
    pub fn expire(&self) -> Vec<Lease> {
        let now_us = (self.clock)();
        let mut state = self.lock();
        state.leases.extract_if(.., |_, lease| lease.expires_us <= now_us).map(|(_, lease)| lease).collect()
    }

    /// Records that a leased asset is at work, idle again, in maintenance or broken; it stays leased.
    ///
    /// # Errors
    /// The owner holds no such asset, or the state is `Available`, which only a release gives.
    pub fn mark(&self, owner: &Owner, asset: &AssetId, to: AssetState) -> Result<(), AssetError> {
        if to == AssetState::Available {
            let reason = "a leased asset does not become available, expected its release".to_owned();
            return Err(AssetError::Invalid { reason });
        }
        self.lock().item(owner, asset)?.state = to;
        Ok(())
    }

    /// Records how much of a leased asset its holder uses, in the unit of its kind.
    ///
    /// # Errors
    /// The owner holds no such asset.
    pub fn report_usage(&self, owner: &Owner, asset: &AssetId, used: u64) -> Result<(), AssetError> {
        self.lock().item(owner, asset)?.used = Some(used);
        Ok(())
    }

    /// Keeps a kind of the node's own assets back from new leases, or with `Available` offers it again.
    pub fn set_kind_state(&self, kind: AssetType, to: AssetState) {
        let mut state = self.lock();
        match to {
            AssetState::Maintenance | AssetState::Failed => state.kept_back.insert(kind, to),
            AssetState::Available | AssetState::Allocated | AssetState::InUse => state.kept_back.remove(&kind),
        };
    }

    /// Says who may use a kind of the node's own assets.
    pub fn set_privacy(&self, kind: AssetType, level: PrivacyLevel) {
        self.lock().privacy.insert(kind, level);
    }

    /// Adds assets an extension contributes, until [`release_all`](Self::release_all) of its owner.
    ///
    /// Of what the source gives, records of other kinds are left out, the owner is set to this one, and no more are listed
    /// than its limits allow.
    ///
    /// # Errors
    /// The owner is not registered, or there are too many sources.
    pub fn register_external(
        &self,
        owner: Owner,
        kinds: Vec<AssetType>,
        records: AssetSource,
    ) -> Result<(), AssetError> {
        let mut state = self.lock();
        if !state.limits.contains_key(&owner) {
            return Err(AssetError::NotRegistered { owner });
        }
        if state.sources.len() >= SOURCES_MAX {
            return Err(AssetError::TooManySources);
        }
        state.sources.push(Source { owner, kinds, records });
        Ok(())
    }

    /// Lists assets: the node's own, then the leased ones, then the contributed ones, each by kind and id.
    pub fn list(&self, query: &Query) -> Vec<AssetRecord> {
        let figures = self.figures();
        let now_us = (self.clock)();
        let (mut records, sources) = {
            let mut state = self.lock();
            let mut records = state.own_records(&figures, now_us);
            let mut leased = state.leased_records();
            leased.sort_by_key(|record| record.id);
            records.extend(leased);
            let limit = |source: &Source| state.limits.get(&source.owner).map_or(0, |limits| limits.assets as usize);
            let sources: Vec<_> = state.sources.iter().map(|source| (source.clone(), limit(source))).collect();
            (records, sources)
        };
        for (source, limit) in sources {
            let mut contributed = (source.records)();
            contributed.retain(|record| source.kinds.contains(&record.kind) && record.id.kind() == record.kind);
            contributed.truncate(limit.min(RECORDS_MAX));
            contributed.iter_mut().for_each(|record| record.owner = Some(source.owner.clone()));
            contributed.sort_by_key(|record| record.id);
            records.extend(contributed);
        }
        query.select(records.into_iter())
    }

    /// Gives the sums of every kind the node itself has.
    pub fn totals(&self) -> Vec<KindTotals> {
        let figures = self.figures();
        let state = self.lock();
        let totals = AssetType::HARDWARE.map(|kind| {
            let held = Held::of(kind, state.leases.values());
            KindTotals {
                kind,
                unit: kind.unit(),
                total: plan::total(kind, &figures),
                free: plan::free(kind, held, &figures),
                held: held.amount,
                used: held.used,
                leases: held.leases,
                state: state.kind_state(kind),
            }
        });
        totals.into()
    }

    /// Gives the leases of an owner, or of all.
    pub fn leases(&self, owner: Option<&Owner>) -> Vec<Lease> {
        self.lock().leases.values().filter(|lease| owner.is_none_or(|owner| lease.owner == *owner)).cloned().collect()
    }

    /// Reads all figures of the node.
    pub fn figures(&self) -> NodeFigures {
        self.figures_of(&AssetType::HARDWARE)
    }

    /// Reads the figures of some kinds of the node, as [`Node::figures`].
    pub fn figures_of(&self, kinds: &[AssetType]) -> NodeFigures {
        self.node.figures(kinds)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Checks that a kind may be leased at all.
    fn offered(&self, kind: AssetType, origin: Origin) -> Result<(), AssetError> {
        if !AssetType::HARDWARE.contains(&kind) {
            return Err(AssetError::NotOffered { kind });
        }
        if let Some(state) = self.kept_back.get(&kind) {
            return Err(AssetError::Unavailable { kind, state: *state });
        }
        let level = self.privacy_of(kind);
        if origin == Origin::Remote && !level.allows_remote() {
            return Err(AssetError::Private { kind, level });
        }
        Ok(())
    }

    fn item(&mut self, owner: &Owner, asset: &AssetId) -> Result<&mut LeasedItem, AssetError> {
        self.leases
            .values_mut()
            .filter(|lease| lease.owner == *owner)
            .flat_map(|lease| &mut lease.items)
            .find(|item| item.asset == *asset)
            .ok_or_else(|| not_held(owner, asset))
    }

    fn kind_state(&self, kind: AssetType) -> AssetState {
        self.kept_back.get(&kind).copied().unwrap_or(AssetState::Available)
    }

    fn privacy_of(&self, kind: AssetType) -> PrivacyLevel {
        self.privacy.get(&kind).copied().unwrap_or_default()
    }

    fn own_records(&mut self, figures: &NodeFigures, now_us: u64) -> Vec<AssetRecord> {
        let assets = own_assets(figures);
        // Devices come and go; ids of those that are gone are not kept.
        self.own.retain(|(kind, name), _| assets.iter().any(|asset| asset.kind == *kind && asset.name == *name));
        let record = |asset: OwnAsset| {
            let key = (asset.kind, asset.name.clone());
            let id = *self.own.entry(key).or_insert_with(|| AssetId::mint(asset.kind, now_us));
            AssetRecord {
                id,
                kind: asset.kind,
                name: asset.name,
                state: self.kept_back.get(&asset.kind).copied().unwrap_or(AssetState::Available),
                owner: None,
                amount: asset.amount,
                share: None,
                used: asset.used,
                parent: None,
                tags: Vec::new(),
                privacy: self.privacy.get(&asset.kind).copied().unwrap_or_default(),
                created_us: id.created_us(),
                expires_us: None,
                details: asset.details,
            }
        };
        assets.into_iter().map(record).collect()
    }

    fn leased_records(&self) -> Vec<AssetRecord> {
        let items = self.leases.values().flat_map(|lease| lease.items.iter().map(move |item| (lease, item)));
        items.map(|(lease, item)| self.leased_record(lease, item)).collect()
    }

    fn leased_record(&self, lease: &Lease, item: &LeasedItem) -> AssetRecord {
        // A leased device is a part of that device, other leases are parts of the only asset of their kind, if it is one.
        let device = item.devices.first().map(|device| gpu_name(device.index));
        let mut parents = self
            .own
            .iter()
            .filter(|((kind, name), _)| *kind == item.kind && device.as_ref().is_none_or(|device| device == name));
        let parent = parents.next().map(|(_, id)| *id).filter(|_| parents.next().is_none());
        let mut details = Map::from_iter([("lease".to_owned(), json!(lease.id))]);
        if !item.devices.is_empty() {
            details.insert("devices".to_owned(), json!(item.devices));
        }
        AssetRecord {
            id: item.asset,
            kind: item.kind,
            name: lease.label.clone(),
            state: item.state,
            owner: Some(lease.owner.clone()),
            amount: Some(item.amount),
            share: item.share,
            used: item.used,
            parent,
            tags: lease.tags.clone(),
            privacy: self.privacy_of(item.kind),
            created_us: lease.created_us,
            expires_us: Some(lease.expires_us),
            details,
        }
    }
}

/// An asset of the node itself, before it has an id.
struct OwnAsset {
    kind: AssetType,
    name: String,
    amount: Option<u64>,
    used: Option<u64>,
    details: Map<String, Value>,
}

fn own_assets(figures: &NodeFigures) -> Vec<OwnAsset> {
    let used = |total: u64, available: u64| Some(total.saturating_sub(available));
    let asset = |kind, name: &str, amount, used, details: Value| OwnAsset {
        kind,
        name: name.to_owned(),
        amount,
        used,
        details: details.as_object().cloned().unwrap_or_default(),
    };
    let cores = u64::from(figures.cpu.cores) * 1_000;
    let busy =
        figures.cpu.utilisation_percent.map(|percent| (f64::from(percent) / 100.0 * cores as f64).round() as u64);
    let mut assets = vec![asset(AssetType::Cpu, "processors", Some(cores), busy, json!(figures.cpu))];
    assets
        .extend(figures.gpus.iter().map(|gpu| asset(AssetType::Gpu, &gpu_name(gpu.index), Some(1), None, json!(gpu))));
    let memory = &figures.memory;
    assets.push(asset(
        AssetType::Memory,
        "memory",
        Some(memory.total),
        used(memory.total, memory.available),
        json!(memory),
    ));
    assets.extend(figures.storage.iter().map(|storage| {
        let used = used(storage.total, storage.available);
        asset(AssetType::Storage, "storage", Some(storage.total), used, json!(storage))
    }));
    assets.extend(figures.network.iter().map(|interface| {
        asset(AssetType::Network, &interface.name, interface.bytes_per_second, None, json!(interface))
    }));
    assets
}

fn gpu_name(index: u32) -> String {
    format!("gpu{index}")
}

fn not_held(owner: &Owner, id: &dyn std::fmt::Display) -> AssetError {
    AssetError::NotHeld { owner: owner.clone(), id: id.to_string() }
}

#[cfg(test)]
mod tests;
