//! The audit log: what extensions asked for, got and did, one JSON object per line, each line bound to the one before.
//!
//! A line holds a sequence number and the BLAKE3 of the previous line, so a line that is changed, removed or moved breaks
//! the chain and [`verify`] says where. Cutting lines off the end cannot be seen from the file alone: keep a [`Head`]
//! elsewhere and give it to [`verify`]. Old segments are removed at a bound; the chain then begins at the oldest line left.
//! Text that extensions wrote is cut to a bound, never left out. Nothing here decides anything.

mod event;
mod log;
mod verify;

pub use self::event::{AnomalyAction, Event, Record};
pub use self::log::{AuditError, AuditLog, Clock, Head, Options};
pub use self::verify::{Verification, VerifyError, verify};

/// The most characters kept of one text in an event.
pub const TEXT_CHARS_MAX: usize = 2_048;
/// The longest line in bytes; the bound on texts keeps ours below it.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
