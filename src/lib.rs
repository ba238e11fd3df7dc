//! Catalog, the asset package manager of HyperMesh.
//!
//! The library is loaded by a host as an extension (`extension`, the only module that knows the host's contract) and is
//! made of layers; a module imports only from lower ones. `ARCHITECTURE.md` holds the map.

pub mod advisory;
pub mod archive;
pub mod asset;
pub mod config;
pub mod consensus;
pub mod digest;
pub mod docgen;
pub mod extension;
pub mod host;
pub mod lockfile;
pub mod mesh;
pub mod ops;
pub mod package;
mod pages;
mod parallel;
pub mod proxy;
pub mod registry;
pub mod remote;
pub mod resolve;
pub mod search;
pub mod sqlite;
pub mod store;
pub mod template;
pub mod trust;
pub mod value;
pub mod vm;
