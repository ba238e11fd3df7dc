//! What a set of records is made of: ids in one order, and which of them a synchronisation is about.
//!
//! Time, category and priority of a record follow from its bytes alone, so that two nodes that have a record agree on them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a record: the BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 32]);

impl RecordId {
    /// Names a record by its bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a record is about, as a number: two names that share one only bring each other's records along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Category(pub u32);

impl Category {
    /// Gives the number of a name: the first four bytes of its BLAKE3, little endian.
    pub fn of(name: &str) -> Self {
        let [a, b, c, d, ..] = *blake3::hash(name.as_bytes()).as_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }
}

/// One record of a set, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Seconds since 1970 as the record claims: a hint that only orders.
    pub time: u64,
    /// Its name.
    pub id: RecordId,
    /// What it is about.
    pub category: Category,
    /// How important it is; larger is more.
    pub priority: u8,
}

impl Item {
    fn key(&self) -> (u64, RecordId) {
        (self.time, self.id)
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.key(), self.category, self.priority).cmp(&(other.key(), other.category, other.priority))
    }
}

/// Items in order of time and id, each once. A clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Items {
    items: Arc<Vec<Item>>,
    begin: usize,
}

impl Items {
    /// Sorts items and removes what is there twice. Cost: that of sorting; nearly none if they are in order.
    pub fn new(mut items: Vec<Item>) -> Self {
        items.sort();
        items.dedup_by_key(|item| item.key());
        Self { items: Arc::new(items), begin: 0 }
    }

    /// Gives those that a filter lets through. Cost: none for all or by time, else a copy of what is left.
    pub fn filtered(&self, filter: &Filter) -> Self {
        let begin = self.begin + self.as_slice().partition_point(|item| item.time < filter.since);
        let since = Self { items: Arc::clone(&self.items), begin };
        if filter.priority_min == 0 && filter.categories.is_empty() {
            return since;
        }
        let items = since.as_slice().iter().filter(|item| filter.accepts(item)).copied().collect();
        Self { items: Arc::new(items), begin: 0 }
    }

    /// Gives them in order.
    pub fn as_slice(&self) -> &[Item] {
        &self.items[self.begin..]
    }

    /// Counts them.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

/// Which records a synchronisation brings into line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All, without comparing first: for a node that has next to none.
    Full,
    /// Those whose time is not before.
    Incremental {
        /// Seconds since 1970.
        since: u64,
    },
    /// Those of some categories, at most [`CATEGORIES_MAX`].
    Selective {
        /// The categories.
        categories: Vec<Category>,
    },
    /// Those that are at least so important.
    Priority {
        /// The least priority.
        min: u8,
    },
    /// All, by comparing fingerprints of ranges.
    Differential,
}

impl Mode {
    /// Gives the filter that both sides apply.
    pub fn filter(&self) -> Filter {
        match self {
            Self::Full | Self::Differential => Filter::default(),
            Self::Incremental { since } => Filter { since: *since, ..Filter::default() },
            Self::Selective { categories } => Filter { categories: categories.clone(), ..Filter::default() },
            Self::Priority { min } => Filter { priority_min: *min, ..Filter::default() },
        }
    }
}

/// A condition on items; what holds for all of its parts passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The earliest time, in seconds since 1970.
    pub since: u64,
    /// The least priority.
    pub priority_min: u8,
    /// The categories; none stands for all.
    pub categories: Vec<Category>,
}

impl Filter {
    /// Tells whether an item passes.
    pub fn accepts(&self, item: &Item) -> bool {
        item.time >= self.since
            && item.priority >= self.priority_min
            && (self.categories.is_empty() || self.categories.contains(&item.category))
    }
}

/// The most categories of one filter.
pub const CATEGORIES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(time: u64, id: u8) -> Item {
        Item { time, id: RecordId([id; 32]), category: Category(u32::from(id % 2)), priority: id }
    }

    #[test]
    fn items_are_sorted_and_unique() {
        let items = Items::new(vec![item(2, 1), item(1, 9), item(2, 1), item(1, 3)]);
        assert_eq!(items.as_slice(), [item(1, 3), item(1, 9), item(2, 1)]);
    }

    #[test]
    fn every_mode_selects_its_part() {
        let items = Items::new(vec![item(1, 1), item(2, 2), item(3, 3), item(3, 4)]);
        let check = |mode: Mode, expected: &[u8]| {
            let left: Vec<u8> = items.filtered(&mode.filter()).as_slice().iter().map(|item| item.id.0[0]).collect();
            assert_eq!(left, expected, "{mode:?}");
        };
        check(Mode::Full, &[1, 2, 3, 4]);
        check(Mode::Differential, &[1, 2, 3, 4]);
        check(Mode::Incremental { since: 3 }, &[3, 4]);
        check(Mode::Incremental { since: 4 }, &[]);
        check(Mode::Selective { categories: vec![Category(1)] }, &[1, 3]);
        check(Mode::Priority { min: 2 }, &[2, 3, 4]);
        let late = items.filtered(&Mode::Incremental { since: 2 }.filter());
        let both = late.filtered(&Mode::Priority { min: 3 }.filter());
        assert_eq!(both.len(), 2, "a filter applies to what another left");
    }
}
