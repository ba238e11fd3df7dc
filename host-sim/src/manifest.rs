//! The extension manifest: what an administrator writes so that a host loads an extension.
//!
//! Text becomes a [`Manifest`] once, here: [`parse`] refuses what it does not know and names every fault with file, line,
//! column, field, expectation and a suggestion. It never touches the library the manifest names. A [`Manifest`] that
//! [`read`] or [`parse`] gave is consistent in itself: what is required is granted, names are unique, a library that must be
//! signed names its signature.

mod check;
mod digest;
mod fault;
mod model;
mod names;
mod read;
mod units;
mod write;
mod yaml;

pub use self::digest::{Digest, ParseDigestError};
pub use self::fault::{Fault, FaultCode, Faults};
pub use self::model::{
    ApiVersion, Capabilities, Conformance, ConformanceLevel, Dependency, Kind, Library, Limits, Manifest, Resources,
    SignatureSource, Trust, Worker,
};
pub use self::names::{Capability, ExtensionId, FilePath, ParseNameError};
pub use self::read::{ManifestError, json_schema, parse, read};
pub use self::units::{Bytes, CpuShare, Literal, ParseUnitError, Period, Requirement};
pub use self::write::write;

/// The file name of a manifest inside a bundle.
pub const FILE_NAME: &str = "extension.yaml";

/// The largest manifest in bytes; a real one is below 4 KiB.
pub const BYTES_MAX: usize = 256 * 1024;
/// The deepest nesting of lists and maps; the manifest itself needs 4, the rest is for `configuration`.
pub const DEPTH_MAX: usize = 32;
/// The most values, keys included, in one manifest.
pub const NODES_MAX: usize = 20_000;
/// The most faults listed for one manifest.
pub const FAULTS_MAX: usize = 64;
/// The most auxiliary executables of one extension.
pub const WORKERS_MAX: usize = 16;
/// The most dependencies of one extension.
pub const DEPENDENCIES_MAX: usize = 64;
/// The most capabilities in one list.
pub const CAPABILITIES_MAX: usize = 64;
/// The longest description in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 4096;
/// The most operations an extension may be allowed at once.
pub const OPERATIONS_MAX: u32 = 100_000;
/// The most assets an extension may be allowed.
pub const ASSETS_MAX: u32 = 10_000_000;
