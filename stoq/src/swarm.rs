//! The control plane: who is there, who has what, and what is new.
//!
//! libp2p's Kademlia, identify and gossipsub over connections that were authenticated before (QUIC of this crate, or a network
//! in memory for tests), with what they leave open filled in: every entry is judged before it is kept, storing is acknowledged,
//! everything is bounded, addresses are checked. Never moves packages: that is the data lane's.
//!
//! | module | what it is for |
//! |---|---|
//! | `address` | addresses of nodes, which claims can be true, the [`AddressBook`] |
//! | `transport`, `muxer` | the control lane and its connections as libp2p sees them |
//! | [`record`] | signed values under keys that only their signer writes |
//! | [`store`] | what is kept for others, bounded |
//! | `exchange` | direct questions with real acknowledgements |
//! | `gate` | whom to deny, whom to keep |
//! | `behaviour` | the protocols put together |
//! | [`discovery`] | whom to connect to: no IO, time comes in |
//! | `driver` | the one task that owns all of it |
//! | `memory`, `cluster` | a network in memory for tests, and many nodes on it |

mod address;
mod behaviour;
#[cfg(any(test, feature = "testing"))]
pub mod cluster;
pub mod discovery;
mod driver;
mod exchange;
mod gate;
mod handle;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod muxer;
pub mod record;
mod settings;
pub mod store;
mod transport;

pub use address::{ADDRESSES_PER_PEER_MAX, AddressBook, AddressError, KNOWN_PEERS_MAX};
pub use driver::{Driver, DriverOptions};
pub use handle::{
    ANNOUNCEMENTS_WAITING_MAX, Announcement, EVENTS_WAITING_MAX, Event, Found, Handle, Metrics, OPERATIONS_MAX,
    OperationError, PeerState, Provider, Stored, Validate, Verdict,
};
pub use settings::{LocalNetwork, Settings, StartError};
pub use transport::transport;

/// The largest announcement in bytes.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 4 << 10;
/// The longest name of a topic in bytes.
pub const TOPIC_BYTES_MAX: usize = 64;
/// The most topics that a peer may follow.
pub const TOPICS_PER_PEER_MAX: usize = 16;

#[cfg(test)]
mod tests;
