//! A stand-in HyperMesh host: finds, verifies, tries, loads, runs, checks and upgrades any extension.
//!
//! It knows extensions only through `hypermesh_abi`, and none by name. The command line is in the binary beside it.

pub mod accept;
pub mod assets;
pub mod audit;
pub mod authority;
pub mod bundle;
pub mod check;
pub mod child;
mod child_main;
pub mod consensus;
pub mod console;
pub mod dependency;
pub mod discovery;
pub mod exporter;
pub mod host;
pub mod http;
pub mod lifecycle;
pub mod loader;
pub mod manifest;
pub mod metrics;
pub mod operation;
pub mod redaction;
mod services;
pub mod signature;
pub mod telemetry;
mod trace;
pub mod trust;

pub use child_main::child_main;
