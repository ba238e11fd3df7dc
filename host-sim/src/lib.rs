//! A stand-in HyperMesh host: what it needs to find, trust, admit and account for any extension.
//!
//! Nothing here knows a particular extension.

pub mod assets;
pub mod audit;
pub mod dependency;
pub mod discovery;
pub mod lifecycle;
pub mod manifest;
pub mod metrics;
pub mod signature;
