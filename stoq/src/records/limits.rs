//! What a peer may make a session of `records/1` spend.

use std::time::Duration;

/// The largest record in bytes.
pub const RECORD_BYTES_MAX: usize = 256 << 10;
/// The largest frame in bytes, without its length. Below it, a comparison with many differences takes a hundred times as many
/// rounds: with 64 KiB, 100,000 missing records took 1182.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// The most ids in one frame: half of its bytes.
pub const FRAME_IDS_MAX: usize = 16 << 10;
/// The most records in one frame.
pub const FRAME_RECORDS_MAX: usize = 4096;
/// The most frames, but those that carry records, that one side takes in one session. One that compares twice, with bulk between, needs
/// some thirty.
pub const TURNS_MAX: usize = 512;
/// The most ids that one comparison collects before their records are fetched and offered.
pub const PASS_IDS_MAX: usize = 64 << 10;
/// The most comparisons from the beginning in one session; what is left then is for the next one. Each looks at all records of
/// both sides, so the side that answers counts them, too.
pub const PASSES_MAX: usize = 8;
/// The most possessions, and the most samples, that one side gives in one session: one hashes every record of the set, and a
/// correct leader asks once.
pub const BULKS_MAX: usize = 1;
/// The most bytes that one side receives, and the most that it sends, in one session.
pub const SESSION_BYTES_MAX: u64 = 1 << 30;
/// The most records whose bytes were refused before a session is given up.
pub const REFUSED_MAX: u64 = 8;
/// The most ids that a peer may advertise in one session without serving them, before it is given up.
pub const UNSERVED_MAX: u64 = 64;
/// The most bytes of records that are kept because they need others, until those arrive.
pub const LATER_BYTES_MAX: usize = 8 << 20;
/// The most bytes that tell what a side has, in bulk: 8 bits an id, so for sixteen million ids.
pub const POSSESSION_BYTES_MAX: usize = 16 << 20;
/// How long a peer may take to send or take a frame: at its bound that is 35 KiB in a second.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one session may take.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(300);
/// The most sessions that peers lead at the same time.
pub const SERVED_MAX: usize = 16;
/// The most of them that one peer leads: one, and another one while the first one ends.
pub const SERVED_PER_PEER_MAX: usize = 2;
