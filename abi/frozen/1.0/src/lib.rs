//! The contract as 1.0 released it: a real copy, which does not change when the contract does.
//!
//! Nothing is built on it. The tests of the workspace check that the contract of today still fits it in both directions
//! that matter: a library built with 1.0 on today's host, and today's library on a host of 1.0.
#![allow(non_local_definitions, reason = "abi_stable 0.11.3's sabi_trait expands to impls inside functions")]
#![allow(rustdoc::broken_intra_doc_links, reason = "the records it names are not part of the layout and not copied")]

pub mod contract;
