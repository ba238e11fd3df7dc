//! A stand-in HyperMesh host: finds, verifies, tries, loads, runs, checks and upgrades any extension.
//!
//! It knows extensions only through `hypermesh_abi`, and none by name. The command line is in the binary beside it.

pub mod child;
pub mod trace;
