//! What nodes tell each other of themselves: how much room they have, where they are, what they hold.
//!
//! A report says all, or what changed since another one. Sequence numbers show what is missing; a new epoch says that the node
//! began anew.

use trustchain::digest::Blake3;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Drawn when the node starts.
    pub epoch: u64,
    /// Grows by one with each report of an epoch.
    pub sequence: u64,
    /// Its room and place.
    pub capacity: Capacity,
    /// What it holds.
    pub change: Change,
}

/// The room and place of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// What it gives to copies, in bytes.
    pub total_bytes: u64,
    /// What of that is free.
    pub free_bytes: u64,
    /// What it can send in a second, in bytes.
    pub rate_bytes: u64,
    /// Where it is: nodes of one site fail together. At most [`LABEL_BYTES_MAX`] bytes.
    pub site: String,
    /// The part of the world of its site, as long.
    pub region: String,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This, and nothing else.
    All(Vec<Holding>),
    /// As in an earlier report, but for this.
    Since {
        /// The sequence of the earlier one.
        base: u64,
        /// What is new or different.
        added: Vec<Holding>,
        /// What is gone.
        removed: Vec<Blake3>,
    },
}

/// One blob that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its name.
    pub digest: Blake3,
    /// Its size.
    pub size_bytes: u64,
    /// How often this node was asked for it in the last hour.
    pub demand: u32,
    /// Whether the node keeps it for itself: it is installed or was published there.
    pub is_pinned: bool,
    /// Whether all of it is there; if not, the node is fetching it, and nobody else needs to be asked.
    pub is_complete: bool,
}

/// What is answered to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is known up to its sequence.
    Known,
    /// Something before it is missing; the next one has to say all.
    SayAll,
}

/// A report that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// It names too much.
    #[error("a report names {found} blobs, at most {limit} are allowed")]
    TooMany {
        /// How many it would be.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// Its labels are too long.
    #[error("the label `{label}` of a report has {found} bytes, at most {LABEL_BYTES_MAX} are allowed")]
    Label {
        /// `site` or `region`.
        label: &'static str,
        /// How long it is.
        found: usize,
    },
    /// All nodes together say too much.
    #[error("all nodes together would name {found} blobs, each as often as it is held; at most {limit} are allowed")]
    TooManyInAll {
        /// How many it would be.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// Too many nodes report already.
    #[error("{limit} nodes report already")]
    TooManyMembers {
        /// The bound.
        limit: usize,
    },
}

impl Capacity {
    /// Checks its labels.
    ///
    /// # Errors
    /// One is too long.
    pub fn validate(&self) -> Result<(), ReportError> {
        for (label, text) in [("site", &self.site), ("region", &self.region)] {
            if text.len() > LABEL_BYTES_MAX {
                return Err(ReportError::Label { label, found: text.len() });
            }
        }
        Ok(())
    }

    /// Tells whether a blob fits without filling the last twentieth.
    pub fn has_room_for(&self, size_bytes: u64) -> bool {
        self.free_bytes.saturating_sub(self.total_bytes / RESERVE) >= size_bytes
    }
}

/// The longest label in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// The most blobs of one node.
pub const HOLDINGS_MAX: usize = 64 << 10;
/// The most blobs of all other nodes together, each as often as it is held: some 100 MB.
pub const ALL_HOLDINGS_MAX: usize = 256 << 10;
/// The most nodes that are heard.
pub const MEMBERS_MAX: usize = 256;
/// One part of so many stays free, for what arrives between two reports.
const RESERVE: u64 = 20;
