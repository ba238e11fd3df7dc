//! Catalog, the asset package manager of HyperMesh.
//!
//! The library is loaded by a host as an extension (`extension`, the only module that knows the host's contract) and is
//! made of layers; a module imports only from lower ones. `ARCHITECTURE.md` holds the map.

pub mod asset;
pub mod digest;
pub mod package;
pub mod value;
