//! STOQ, the transport of HyperMesh: nodes that TrustChain certifies, and nobody else, find each other and exchange what they
//! have, over one UDP port.
//!
//! | module | what it is for |
//! |---|---|
//! | [`identity`] | who this node is and whom it believes; the secret key stays with whoever implements it |
//! | [`service`] | what peers ask of each other: named services, each request one bidirectional stream |
//!
//! Nothing here knows packages, registries or the host's contract. What is protocol logic reads no clock and touches no socket:
//! it is told the time and what happened, and answers what to do; drivers do it. Everything that a peer can make grow has a
//! bound with a name.

pub mod identity;
pub mod service;

pub use libp2p::PeerId;
