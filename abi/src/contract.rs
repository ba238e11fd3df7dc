//! The contract itself: every type and trait that crosses the boundary between a host and an extension.
//!
//! Nothing here has behaviour beyond encoding. What may change in a minor version, and what may not, is written in
//! `docs/abi.md`; a frozen copy of each released version is checked against this one by the tests of the workspace.

pub mod error;
pub mod extension;
pub mod host_services;
pub mod message;
pub mod registrar;
pub mod root;
