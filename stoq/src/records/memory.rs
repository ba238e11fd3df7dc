//! A set of records in memory: for what need not outlive the process, and for tests.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use libp2p::PeerId;

use super::item::{Category, Item, Items, RecordId};
use super::{RecordSet, SetError, Verdict};

/// Records in memory.
pub struct MemorySet {
    describe: Box<Describe>,
    held: RwLock<Held>,
}

/// Reads a record, or says why it is wrong.
pub type Describe = dyn Fn(&[u8]) -> Result<Described, String> + Send + Sync;

/// What a record says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Seconds since 1970.
    pub time: u64,
    /// What it is about.
    pub category: Category,
    /// How important it is.
    pub priority: u8,
    /// The records that must be there before it.
    pub needs: Vec<RecordId>,
}

#[derive(Default)]
struct Held {
    records: HashMap<RecordId, (Item, Bytes)>,
    /// Made when somebody asks, until something changes.
    items: Option<Items>,
}

impl MemorySet {
    /// Makes an empty set of what a function finds right.
    pub fn new(describe: impl Fn(&[u8]) -> Result<Described, String> + Send + Sync + 'static) -> Self {
        Self { describe: Box::new(describe), held: RwLock::default() }
    }

    /// Adds a record of this node's own.
    pub fn insert(&self, record: Bytes) -> Verdict {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        self.judge(&mut held, record)
    }

    fn judge(&self, held: &mut Held, record: Bytes) -> Verdict {
        let id = RecordId::of(&record);
        if held.records.contains_key(&id) {
            return Verdict::Known;
        }
        let Described { time, category, priority, needs } = match (self.describe)(&record) {
            Ok(described) => described,
            Err(reason) => return Verdict::Refused { reason },
        };
        if !needs.iter().all(|need| held.records.contains_key(need)) {
            return Verdict::Later;
        }
        held.records.insert(id, (Item { time, id, category, priority }, record));
        held.items = None;
        Verdict::Accepted
    }
}

impl RecordSet for MemorySet {
    fn items(&self) -> Result<Items, SetError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let Held { records, items } = &mut *held;
        Ok(items.get_or_insert_with(|| Items::new(records.values().map(|(item, _)| *item).collect())).clone())
    }

    fn get(&self, ids: &[RecordId]) -> Result<Vec<Option<Bytes>>, SetError> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Ok(ids.iter().map(|id| held.records.get(id).map(|(_, bytes)| bytes.clone())).collect())
    }

    fn lacking(&self, ids: &[RecordId]) -> Result<Vec<RecordId>, SetError> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Ok(ids.iter().filter(|id| !held.records.contains_key(id)).copied().collect())
    }

    fn offer(&self, _from: PeerId, records: &[Bytes]) -> Result<Vec<Verdict>, SetError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        Ok(records.iter().map(|record| self.judge(&mut held, record.clone())).collect())
    }
}
