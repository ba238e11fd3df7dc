//! The regions of a node, their capabilities and the mappings of holders.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use time::OffsetDateTime;

use super::address::ProxyAddress;
use super::capability::{CODE_BYTES, Capability, Key, Peer, Rights};
use super::memory::Memory;
use super::message::Notification;
use super::{
    CHANGED_MAX, HOLDERS_MAX, MAPPING_LIVES, MAPPINGS_PER_HOLDER_MAX, NOTIFICATIONS_MAX, PORT_MIN, ProxyError,
    REGIONS_MAX,
};

/// The exported memory of one node.
pub struct Regions {
    network: [u8; 16],
    node: [u8; 8],
    key: Key,
    tables: RwLock<Tables>,
}

/// A region that is exported for as long as this lives; dropping it ends every mapping.
pub struct Export {
    regions: Arc<Regions>,
    address: ProxyAddress,
}

#[derive(Default)]
struct Tables {
    regions: BTreeMap<u16, Region>,
    mappings: BTreeMap<u64, Mapping>,
    notifications: BTreeMap<Peer, VecDeque<Notification>>,
    next_port: u16,
    next_mapping: u64,
}

struct Region {
    memory: Arc<dyn Memory>,
    version: Arc<AtomicU64>,
    first_serial: u64,
    next_serial: u64,
    /// Rights that are left of capabilities that were restricted; none of those that were revoked.
    changed: BTreeMap<u64, Rights>,
    /// What ends with the region, such as a lease.
    _held: Box<dyn Send + Sync>,
}

/// A mapping as an operation needs it.
#[derive(Clone)]
pub(super) struct Mapping {
    pub(super) holder: Peer,
    pub(super) port: u16,
    pub(super) serial: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) rights: Rights,
    pub(super) expires_at: i64,
    pub(super) memory: Arc<dyn Memory>,
    pub(super) version: Arc<AtomicU64>,
}

/// What is asked of [`Export::grant`] and of a holder who shares.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// For whom.
    pub holder: Peer,
    /// Where the range begins in the region, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// What may be done.
    pub rights: Rights,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

impl Regions {
    /// Makes the table of a node that exports nothing yet.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(network: [u8; 16], node: [u8; 8]) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { network, node, key: Key::random()?, tables: RwLock::default() }))
    }

    /// Exports memory under a new address; `held` ends with it.
    ///
    /// # Errors
    /// [`REGIONS_MAX`] regions are exported.
    pub fn export(self: &Arc<Self>, memory: Arc<dyn Memory>, held: Box<dyn Send + Sync>) -> Result<Export, ProxyError> {
        let mut tables = self.lock();
        if tables.regions.len() >= REGIONS_MAX {
            return Err(ProxyError::Full(REGIONS_MAX, "regions".into()));
        }
        // Ports go round, so that an address is not soon another region's.
        let port = loop {
            let port = PORT_MIN + tables.next_port;
            tables.next_port = (tables.next_port + 1) % REGIONS_MAX as u16;
            if !tables.regions.contains_key(&port) {
                break port;
            }
        };
        // Random, so that a capability of an earlier region at this port fits none of this one.
        let first = uuid::Uuid::new_v4().as_u64_pair().0 >> 1;
        let region = Region {
            memory,
            version: Arc::default(),
            first_serial: first,
            next_serial: first,
            changed: BTreeMap::new(),
            _held: held,
        };
        tables.regions.insert(port, region);
        let address = ProxyAddress { network: self.network, node: self.node, port };
        Ok(Export { regions: Arc::clone(self), address })
    }

    /// Gives a capability for less than another one, which its holder may share.
    ///
    /// # Errors
    /// The capability is not good for that, or the grant goes beyond it.
    pub fn share(
        &self,
        capability: &Capability,
        from: Peer,
        grant: &Grant,
        now: OffsetDateTime,
    ) -> Result<Capability, ProxyError> {
        let mut tables = self.lock();
        let rights = self.check(&tables, capability, from, now)?;
        if !rights.share {
            return Err(ProxyError::Right("share".into()));
        }
        if !grant.rights.are_within(rights) {
            return Err(ProxyError::Right("share more than one has".into()));
        }
        if !capability.covers(grant.offset, grant.length) {
            let Grant { offset, length, .. } = *grant;
            return Err(ProxyError::Range { offset, length, size: capability.length });
        }
        let ends = grant.expires_at.unix_timestamp().min(capability.expires_at);
        self.issue(&mut tables, capability.address, grant, ends)
    }

    /// Tells how many regions are exported.
    pub fn exported(&self) -> usize {
        self.lock().regions.len()
    }

    /// Tells how many mappings there are.
    pub fn mapped(&self) -> usize {
        self.lock().mappings.len()
    }

    /// Ends the mappings whose time is over.
    pub fn sweep(&self, now: OffsetDateTime) {
        self.lock().mappings.retain(|_, mapping| now.unix_timestamp() < mapping.expires_at);
    }

    /// Ends everything of a holder, such as one whose connection has ended.
    pub fn forget(&self, holder: Peer) {
        let mut tables = self.lock();
        tables.mappings.retain(|_, mapping| mapping.holder != holder);
        tables.notifications.remove(&holder);
    }

    pub(super) fn map(
        &self,
        capability: &Capability,
        from: Peer,
        rights: Rights,
        now: OffsetDateTime,
    ) -> Result<(u64, Mapping), ProxyError> {
        let mut tables = self.lock();
        let allowed = self.check(&tables, capability, from, now)?;
        if !rights.are_within(allowed) {
            return Err(ProxyError::Right("map with these rights".into()));
        }
        tables.mappings.retain(|_, mapping| now.unix_timestamp() < mapping.expires_at);
        let of_holder = tables.mappings.values().filter(|mapping| mapping.holder == from).count();
        if of_holder >= MAPPINGS_PER_HOLDER_MAX {
            return Err(ProxyError::Full(MAPPINGS_PER_HOLDER_MAX, "mappings of this holder".into()));
        }
        if of_holder == 0 && tables.holders() >= HOLDERS_MAX {
            return Err(ProxyError::Full(HOLDERS_MAX, "holders".into()));
        }
        let port = capability.address.port;
        let region = tables.regions.get(&port).ok_or_else(|| ProxyError::NoRegion(capability.address.to_string()))?;
        let mapping = Mapping {
            holder: from,
            port,
            serial: capability.serial,
            offset: capability.offset,
            length: capability.length,
            rights,
            expires_at: capability.expires_at.min((now + MAPPING_LIVES).unix_timestamp()),
            memory: Arc::clone(&region.memory),
            version: Arc::clone(&region.version),
        };
        tables.next_mapping += 1;
        let id = tables.next_mapping;
        tables.mappings.insert(id, mapping.clone());
        Ok((id, mapping))
    }

    pub(super) fn unmap(&self, id: u64, from: Peer) -> Result<(), ProxyError> {
        let mut tables = self.lock();
        match tables.mappings.get(&id) {
            Some(mapping) if mapping.holder == from => {
                tables.mappings.remove(&id);
                Ok(())
            }
            _ => Err(ProxyError::NoMapping(id)),
        }
    }

    /// Does something with a mapping while nothing can end it: an operation is over before an unmapping returns.
    pub(super) fn with<T>(
        &self,
        id: u64,
        from: Peer,
        now: OffsetDateTime,
        operation: impl FnOnce(&Mapping) -> Result<T, ProxyError>,
    ) -> Result<T, ProxyError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        // Whether a mapping of somebody else is there is nobody's business.
        let mapping = tables.mappings.get(&id).filter(|mapping| mapping.holder == from);
        let mapping = mapping.ok_or(ProxyError::NoMapping(id))?;
        if now.unix_timestamp() >= mapping.expires_at {
            return Err(ProxyError::Expired);
        }
        operation(mapping)
    }

    /// Counts a change and tells those who keep what they read.
    pub(super) fn modified(&self, id: u64, port: u16, offset: u64, length: u64, version: u64) {
        let mut tables = self.lock();
        let told: Vec<(Peer, Notification)> = tables
            .mappings
            .iter()
            .filter(|(other, mapping)| **other != id && mapping.port == port && mapping.rights.cache)
            .filter_map(|(other, mapping)| {
                let begin = offset.max(mapping.offset);
                let end = (offset + length).min(mapping.offset + mapping.length);
                let (mapping_offset, mapping_length) = (begin.checked_sub(mapping.offset)?, end.checked_sub(begin)?);
                (mapping_length > 0).then_some((
                    mapping.holder,
                    Notification::Modified { mapping: *other, offset: mapping_offset, length: mapping_length, version },
                ))
            })
            .collect();
        for (holder, notification) in told {
            tables.notify(holder, notification);
        }
    }

    pub(super) fn take_notifications(&self, from: Peer) -> Vec<Notification> {
        self.lock().notifications.remove(&from).map(Vec::from).unwrap_or_default()
    }

    /// Checks a capability against its seal, its holder, its end and what was changed since; gives the rights it has.
    fn check(
        &self,
        tables: &Tables,
        capability: &Capability,
        from: Peer,
        now: OffsetDateTime,
    ) -> Result<Rights, ProxyError> {
        if !capability.is_genuine(&self.key) || capability.holder != from {
            return Err(ProxyError::NotGenuine);
        }
        let region = tables.regions.get(&capability.address.port);
        let region = region.ok_or_else(|| ProxyError::NoRegion(capability.address.to_string()))?;
        let is_of_region = (region.first_serial..region.next_serial).contains(&capability.serial)
            && capability.offset.checked_add(capability.length).is_some_and(|end| end <= region.memory.length());
        if !is_of_region {
            return Err(ProxyError::NotGenuine);
        }
        if capability.has_ended(now) {
            return Err(ProxyError::Expired);
        }
        match region.changed.get(&capability.serial) {
            Some(rights) if *rights == Rights::default() => Err(ProxyError::Revoked),
            Some(rights) => Ok(capability.rights.both(*rights)),
            None => Ok(capability.rights),
        }
    }

    fn issue(
        &self,
        tables: &mut Tables,
        address: ProxyAddress,
        grant: &Grant,
        expires_at: i64,
    ) -> Result<Capability, ProxyError> {
        let Grant { holder, offset, length, rights, .. } = *grant;
        let region = tables.regions.get_mut(&address.port);
        let region = region.ok_or_else(|| ProxyError::NoRegion(address.to_string()))?;
        let size = region.memory.length();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(ProxyError::Range { offset, length, size });
        }
        let serial = region.next_serial;
        region.next_serial += 1;
        let code = [0; CODE_BYTES];
        let mut capability = Capability { address, serial, holder, offset, length, rights, expires_at, code };
        capability.seal(&self.key);
        Ok(capability)
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Tables> {
        // Nothing under the lock leaves the tables half changed.
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Export {
    /// Gives the address.
    pub fn address(&self) -> ProxyAddress {
        self.address
    }

    /// Gives a capability to a holder.
    ///
    /// # Errors
    /// The range is not in the region.
    pub fn grant(&self, grant: &Grant) -> Result<Capability, ProxyError> {
        let mut tables = self.regions.lock();
        self.regions.issue(&mut tables, self.address, grant, grant.expires_at.unix_timestamp())
    }

    /// Takes a capability back: its mappings end, and it makes no others. What was shared from it stays, and has a
    /// serial of its own.
    ///
    /// # Errors
    /// [`CHANGED_MAX`] capabilities of the region were changed; end the region instead.
    pub fn revoke(&self, serial: u64) -> Result<(), ProxyError> {
        self.restrict(serial, Rights::default())
    }

    /// Leaves a capability no more than these rights, and its mappings too.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    pub fn restrict(&self, serial: u64, rights: Rights) -> Result<(), ProxyError> {
        let mut tables = self.regions.lock();
        let Some(region) = tables.regions.get_mut(&self.address.port) else { return Ok(()) };
        let left = region.changed.get(&serial).map_or(rights, |before| before.both(rights));
        if region.changed.len() >= CHANGED_MAX && !region.changed.contains_key(&serial) {
            return Err(ProxyError::Full(CHANGED_MAX, "changed capabilities of this region".into()));
        }
        region.changed.insert(serial, left);
        let port = self.address.port;
        if left == Rights::default() {
            tables.end(|mapping| mapping.port == port && mapping.serial == serial);
            return Ok(());
        }
        let of_capability = |mapping: &Mapping| mapping.port == port && mapping.serial == serial;
        let mut told = Vec::new();
        for (id, mapping) in tables.mappings.iter_mut().filter(|(_, mapping)| of_capability(mapping)) {
            mapping.rights = mapping.rights.both(left);
            told.push((mapping.holder, Notification::PermissionChanged { mapping: *id, rights: mapping.rights }));
        }
        for (holder, notification) in told {
            tables.notify(holder, notification);
        }
        Ok(())
    }

    /// Ends the region and tells its holders where it is now.
    pub fn migrate(self, to: ProxyAddress) {
        let mut tables = self.regions.lock();
        let port = self.address.port;
        let mut holders: Vec<Peer> =
            tables.mappings.values().filter(|mapping| mapping.port == port).map(|mapping| mapping.holder).collect();
        holders.sort_unstable();
        holders.dedup();
        for holder in holders {
            tables.notify(holder, Notification::Migrated { from: self.address, to });
        }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let port = self.address.port;
        let mut tables = self.regions.lock();
        tables.end(|mapping| mapping.port == port);
        let region = tables.regions.remove(&port);
        drop(tables);
        // What it held may take a lock of its own when it ends.
        drop(region);
    }
}

impl Tables {
    fn holders(&self) -> usize {
        let mut holders: Vec<Peer> = self.mappings.values().map(|mapping| mapping.holder).collect();
        holders.sort_unstable();
        holders.dedup();
        holders.len()
    }

    /// Ends mappings and tells their holders.
    fn end(&mut self, ends: impl Fn(&Mapping) -> bool) {
        let ended: Vec<(u64, Peer)> =
            self.mappings.iter().filter(|(_, one)| ends(one)).map(|(id, one)| (*id, one.holder)).collect();
        for (id, holder) in ended {
            self.mappings.remove(&id);
            self.notify(holder, Notification::Unmapped { mapping: id });
        }
    }

    fn notify(&mut self, holder: Peer, notification: Notification) {
        if self.notifications.len() >= 2 * HOLDERS_MAX && !self.notifications.contains_key(&holder) {
            return;
        }
        let waiting = self.notifications.entry(holder).or_default();
        if waiting.len() >= NOTIFICATIONS_MAX {
            waiting.pop_front();
        }
        waiting.push_back(notification);
    }
}

impl Mapping {
    /// Counts a change; gives the version after it.
    pub(super) fn changed(&self) -> u64 {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }
}
