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
