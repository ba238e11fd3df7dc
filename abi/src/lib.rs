//! The stable contract between a HyperMesh host and its extensions, and the SDK that extension authors use.
//!
//! - [`contract`] is what crosses the boundary: `abi_stable` traits and a handful of `repr(C)` values. It is used as a
//!   vtable generator and layout checker only.
//! - [`service`] numbers the services that began after the first release.
//! - [`records`] are the messages that travel inside a [`contract::message::Bag`] or a JSON blob.
//! - [`sdk`] lets an author write a plain async Rust trait and one [`export_extension!`] line.
//! - [`host`] is the other side of the traits for those who write a host.
//!
//! An extension never sees an `abi_stable` type; a host sees them in one place. `docs/abi.md` states what may change.
#![allow(non_local_definitions, reason = "abi_stable 0.11.3's sabi_trait expands to impls inside functions")]

pub mod contract;
mod error;
pub mod host;
pub mod records;
pub mod sdk;
pub mod service;

#[doc(hidden)]
pub use abi_stable;
pub use contract::error::{Code, Fault};
pub use contract::message::{Bag, Blob, CallCtx, MessageError, sealed_memfd_with};
pub use error::Error;

/// The examples of the guide for authors, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/abi.md")]
struct Guide;
