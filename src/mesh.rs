//! The mesh: what publishers say of their releases, as records that nodes replicate among each other.
//!
//! | module | what it is for |
//! |---|---|
//! | `record` | the two kinds of records, steps of feeds and releases, read strictly |
//! | `ledger` | the records of this node in SQLite, with the rules by which one comes in |
//! | `documents` | a registry made of them, for whoever asks registries |
//!
//! A record certifies itself: a step of a feed by its publisher's signature or by the hash of the step that follows, a release by
//! the step that names it and by its publisher's offer. So it does not matter from whom it comes: a peer can delay, and never
//! forge, roll back or exchange. What is chosen and installed is checked by the policy again, as from any registry. Nothing here
//! knows a socket.

mod documents;
mod ledger;
mod record;

pub use documents::{ArchiveError, Archives, MESH_URL, MeshDocuments};
pub(crate) use ledger::FEED_CATEGORY;
pub use ledger::{Fork, Ledger, LedgerCount, LedgerError, Listed, Verdict};
pub(crate) use record::ENTRIES_MAX;
pub use record::{RECORD_BYTES_MAX, Record, RecordError, RecordId, feed_record, release_record};
