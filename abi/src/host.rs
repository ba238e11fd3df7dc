//! The host's side of the contract, in plain Rust: services to offer, libraries to open, extensions to call.

mod library;
mod loaded;
mod services;

pub use library::{OpenError, Root, open};
#[doc(hidden)]
pub use library::{admit, fits};
pub use loaded::{Contribution, Contributions, Extension};
pub use services::{Answer, Services, share};

pub use crate::sdk::CallCtx;

/// The version of the contract this crate defines.
pub const CONTRACT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Reads `CLOCK_MONOTONIC` in nanoseconds, the clock of [`CallCtx::deadline_mono_ns`].
pub fn monotonic_ns() -> u64 {
    crate::sdk::monotonic_ns()
}
