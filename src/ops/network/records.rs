//! The ledger of the mesh as the set of records that nodes bring into line.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use stoq::PeerId;
use stoq::records::{Category, Item, Items, RecordId, RecordSet, SetError, Verdict};
use tokio::sync::mpsc;

use crate::host::Host;
use crate::mesh::{self, FEED_CATEGORY, Ledger, Listed};
use crate::ops::Catalog;

/// The records of a node, while its network runs.
pub(super) struct MeshRecords {
    catalog: Weak<Catalog>,
    ledger: Arc<Ledger>,
    host: Arc<dyn Host>,
    /// The items of the list that was made of them last.
    items: Mutex<Option<(Arc<Vec<Listed>>, Items)>>,
    /// Told when something came; full while that was not looked at.
    news: mpsc::Sender<()>,
}

impl MeshRecords {
    pub(super) fn new(
        catalog: &Arc<Catalog>,
        ledger: Arc<Ledger>,
        host: Arc<dyn Host>,
        news: mpsc::Sender<()>,
    ) -> Self {
        Self { catalog: Arc::downgrade(catalog), ledger, host, items: Mutex::default(), news }
    }
}

impl RecordSet for MeshRecords {
    fn items(&self) -> Result<Items, SetError> {
        let listed = self.ledger.list()?;
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, items)) = &*items
            && Arc::ptr_eq(of, &listed)
        {
            return Ok(items.clone());
        }
        let made = Items::new(listed.iter().map(item).collect());
        *items = Some((listed, made.clone()));
        Ok(made)
    }

    fn get(&self, ids: &[RecordId]) -> Result<Vec<Option<Bytes>>, SetError> {
        let get = |id: &RecordId| Ok(self.ledger.get(&id.0)?.map(Bytes::from));
        ids.iter().map(get).collect()
    }

    fn lacking(&self, ids: &[RecordId]) -> Result<Vec<RecordId>, SetError> {
        let mut lacking = Vec::new();
        for id in ids {
            if !self.ledger.holds(&id.0)? {
                lacking.push(*id);
            }
        }
        Ok(lacking)
    }

    fn offer(&self, from: PeerId, records: &[Bytes]) -> Result<Vec<Verdict>, SetError> {
        let catalog = self.catalog.upgrade().ok_or("the node stops")?;
        let verdicts = catalog.take_records(records, &*self.host)?;
        if verdicts.iter().any(|verdict| matches!(verdict, mesh::Verdict::Accepted(_))) {
            let _ = self.news.try_send(());
        }
        Ok(verdicts.into_iter().map(|verdict| told(verdict, from)).collect())
    }
}

fn told(verdict: mesh::Verdict, from: PeerId) -> Verdict {
    match verdict {
        mesh::Verdict::Accepted(_) => Verdict::Accepted,
        mesh::Verdict::Known => Verdict::Known,
        mesh::Verdict::Later => Verdict::Later,
        mesh::Verdict::Refused(reason) => {
            tracing::warn!(peer = %from, "a record is refused: {reason}");
            Verdict::Refused { reason }
        }
    }
}

fn item(listed: &Listed) -> Item {
    // What is yanked should be known before what is released.
    let priority = if listed.category == FEED_CATEGORY { 2 } else { 1 };
    Item { time: listed.time, id: RecordId(listed.id), category: Category::of(&listed.category), priority }
}
