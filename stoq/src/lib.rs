//! STOQ, the transport of HyperMesh: nodes that TrustChain certifies, and nobody else, find each other and exchange what they
//! have, over one UDP port.
//!
//! | module | what it is for |
//! |---|---|
//! | [`endpoint`] | one UDP port on which nodes dial each other; who is certified gets a connection, nobody else |
//! | [`blobs`] | verified transfer: blobs by their BLAKE3, from many peers at once |
//! | [`frame`] | one frame on a stream: a length, and so many bytes |
//! | [`identity`] | who this node is and whom it believes; the secret key stays with whoever implements it |
//! | [`limits`] | every bound that is set for a node, with its default |
//! | [`records`] | a grow-only set of records that certify themselves, the same on every node in the end |
//! | [`metrics`] | what a port counts, in all and for each peer |
//! | [`node`] | all of it together: one port, two threads, the services that are offered |
//! | [`pool`] | connections of the data lane: made when needed, used again, served, given up |
//! | [`replica`] | so many copies of every blob, whoever comes and goes |
//! | [`service`] | what peers ask of each other: named services, each request one bidirectional stream |
//! | [`swarm`] | who is there, who has what, what is new: Kademlia, announcements, discovery |
//! | `testing` | certificates and identities for tests, behind the feature of that name |
//! | [`tls`] | what mutual TLS offers, and whom it believes |
//!
//! Nothing here knows packages, registries or the host's contract. What is protocol logic reads no clock and touches no socket:
//! it is told the time and what happened, and answers what to do; drivers do it. Everything that a peer can make grow has a
//! bound with a name.

pub mod blobs;
pub mod endpoint;
pub mod frame;
pub mod identity;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod pool;
pub mod records;
pub mod replica;
pub mod service;
pub mod swarm;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;

pub use libp2p::PeerId;
