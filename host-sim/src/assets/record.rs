//! How assets are listed: those of the node, those leased, and those extensions contribute.

use std::sync::Arc;

use serde::Serialize;

use super::RECORDS_MAX;
use super::id::AssetId;
use super::kind::{AssetState, AssetType, PrivacyLevel};
use super::lease::Owner;
use crate::manifest::ExtensionId;

/// One asset in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AssetRecord {
    /// Its id.
    pub id: AssetId,
    /// Its kind.
    pub kind: AssetType,
    /// Its name, for people.
    pub name: String,
    /// What it is doing.
    pub state: AssetState,
    /// Who holds or contributes it; the node itself if none.
    pub owner: Option<Owner>,
    /// How much it is, in the unit of the kind, if that is known.
    pub amount: Option<u64>,
    /// Which part of all the node has, if it is a leased part.
    pub share: Option<f64>,
    /// How much of it is used, in the unit of the kind, if that is known.
    pub used: Option<u64>,
    /// The asset it is a part of.
    pub parent: Option<AssetId>,
    /// Labels to find it by.
    pub tags: Vec<String>,
    /// Who may see and use it.
    pub privacy: PrivacyLevel,
    /// Since when it exists, in microseconds since 1970 (UTC).
    pub created_us: u64,
    /// Until when it is leased, in microseconds since 1970 (UTC).
    pub expires_us: Option<u64>,
    /// Further figures.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// Gives the assets an extension contributes. It is called for every list, on the caller's thread, outside all locks.
pub type AssetSource = Arc<dyn Fn() -> Vec<AssetRecord> + Send + Sync>;

/// Which assets to list; what is not given does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Of this kind.
    pub kind: Option<AssetType>,
    /// Held or contributed by any generation of this extension.
    pub owner: Option<ExtensionId>,
    /// With this label.
    pub tag: Option<String>,
    /// In this state.
    pub state: Option<AssetState>,
    /// At most so many; [`RECORDS_MAX`] if not given.
    pub limit: Option<usize>,
}

/// The sums of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindTotals {
    /// The kind.
    pub kind: AssetType,
    /// The unit of every amount.
    pub unit: &'static str,
    /// All the node has, if that is known.
    pub total: Option<u64>,
    /// What can still be leased, if that is known.
    pub free: Option<u64>,
    /// What leases hold.
    pub held: u64,
    /// How much of that their holders use, as they last reported.
    pub used: u64,
    /// How many leases hold some.
    pub leases: usize,
    /// Whether the kind can be leased.
    pub state: AssetState,
}

impl Query {
    /// Gives the records that match, in their order.
    pub(super) fn select(&self, records: impl Iterator<Item = AssetRecord>) -> Vec<AssetRecord> {
        let limit = self.limit.unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
        records.filter(|record| self.matches(record)).take(limit).collect()
    }

    fn matches(&self, record: &AssetRecord) -> bool {
        let owner = || record.owner.as_ref().map(|owner| &owner.extension);
        self.kind.is_none_or(|kind| record.kind == kind)
            && self.state.is_none_or(|state| record.state == state)
            && self.owner.as_ref().is_none_or(|wanted| owner() == Some(wanted))
            && self.tag.as_ref().is_none_or(|tag| record.tags.contains(tag))
    }
}
