//! Numbers of services that a host answers through `HostServices::invoke`, the growth lane. The payload of each is a CBOR
//! record ([`crate::records`]); a host that does not know a number answers `UNSUPPORTED`.

/// Gives what the node believes: nothing is asked, [`crate::records::TrustAnchors`] is answered. Needs `TrustChainAccess`.
pub const TRUST_ANCHORS: u32 = 1;

/// Signs with a publisher's keys, which stay with the host: [`crate::records::SignRequest`] is asked,
/// [`crate::records::Signed`] answered. Needs `TrustChainAccess`.
pub const TRUST_SIGN: u32 = 2;

/// Gives what the node has, whoever uses it now: nothing is asked, [`crate::records::NodeResources`] is answered. Needs no
/// grant.
pub const NODE_RESOURCES: u32 = 3;

/// Gives who this node is to other nodes: nothing is asked, [`crate::records::TransportIdentity`] is answered. The host renews the
/// certificate in time, so whoever uses it asks again. Needs `TransportAccess`.
pub const TRANSPORT_IDENTITY: u32 = 4;

/// Signs with the keys of the node's certificate, which stay with the host:
/// [`crate::records::TransportSignRequest`] is asked, [`crate::records::TransportSignature`] answered. Only what a handshake
/// between nodes needs is signed. Needs `TransportAccess`.
pub const TRANSPORT_SIGN: u32 = 5;
