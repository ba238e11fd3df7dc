//! TrustChain: certificates and signatures of HyperMesh, each vouched for by two algorithms.
//!
//! Every publisher, validator and authority has two keys, Ed25519 and FALCON-1024, and every statement of theirs carries two
//! signatures of which both must hold. A host and its extensions link this crate each for itself: what it proves is proved
//! in the process that acts on it, and no proof crosses a process or library boundary.
//!
//! | module | what it is for |
//! |---|---|
//! | [`certificate`] | X.509 with the alternative signature of ITU-T X.509 (2019): parsing, issuing |
//! | [`ed25519`], [`falcon`], [`hybrid`] | keys as types; the two primitives and the pair of them |
//! | [`path`] | which authority stands for a certificate, and every reason why none does |
//! | [`envelope`], [`digest`] | signed release statements |
//! | [`revocation`] | signed lists of certificates that no longer count |
//! | [`keyfile`] | secret keys on disk, encrypted |
//!
//! Nothing here reads a clock, a file or a socket: time and bytes come in as arguments. Nothing here negotiates: which
//! algorithms are required is pinned with the roots and never read from what is being judged.
//!
//! Stack: signing needs 1 MiB in an unoptimised build (measured between 512 KiB and 1 MiB), which the default threads of
//! Rust and tokio (2 MiB) have.

pub mod certificate;
pub mod digest;
pub mod ed25519;
pub mod envelope;
pub mod falcon;
pub mod hybrid;
pub mod keyfile;
pub mod path;
pub mod revocation;

mod canonical;
mod der;
mod dsse;
mod entropy;
mod moment;

#[cfg(test)]
mod testing;

pub use canonical::CanonicalError;
pub use der::DerError;
pub use dsse::DsseError;
pub use entropy::EntropyError;

/// How far the clock of whoever signed may be ahead of the one that verifies.
pub const SKEW: time::Duration = time::Duration::minutes(5);
