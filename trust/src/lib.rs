//! TrustChain: certificates and signatures of HyperMesh, each vouched for by two algorithms.
//!
//! Every publisher, validator and authority has two keys, Ed25519 and FALCON-1024, and every statement of theirs carries two
//! signatures of which both must hold. A publisher may be given Ed25519 alone; it is believed by nobody but who pins roots with
//! [`path::Hybrid::IfPresent`]. A host and its extensions link this crate each for itself: what it proves is proved
//! in the process that acts on it, and no proof crosses a process or library boundary.
//!
//! | module | what it is for |
//! |---|---|
//! | [`certificate`] | X.509 with the alternative signature of ITU-T X.509 (2019): parsing, issuing |
//! | [`ed25519`], [`falcon`], [`hybrid`] | keys as types; the two primitives and the pair of them |
//! | [`signer`] | the keys of whoever signs: both, or Ed25519 alone |
//! | [`path`] | which authority stands for a certificate, and every reason why none does |
//! | [`envelope`], [`digest`] | signed release statements |
//! | [`document`] | signed values of any other kind |
//! | [`web`] | paths of the public web, of any algorithm, by rustls-webpki alone |
//! | [`offer`] | in which form a release travels between nodes, as its publisher says |
//! | [`feed`] | numbered, hash-chained, expiring lists of what a publisher released |
//! | [`owners`] | to whom a package belongs, as its owners say in their feeds |
//! | [`revocation`] | signed lists of certificates that no longer count |
//! | [`request`] | what a subject sends to an authority to get a certificate |
//! | [`proof`] | the four proofs of HyperMesh, bound to one operation by its requester |
//! | [`rootset`] | what several roots decide together, and how the next set replaces the one before |
//! | [`genesis`], [`quorum`] | who the validators are and what is staked; their agreement on a proof |
//! | [`keyfile`] | secret keys on disk, encrypted |
//!
//! Nothing here reads a clock, a file or a socket: time and bytes come in as arguments. Nothing here negotiates: which
//! algorithms are required is pinned with the roots and never read from what is being judged.
//!
//! # Example
//! A root, an authority for one namespace, a publisher, a release, and what a stranger makes of it who knows the root only.
//!
//! ```
//! use time::{OffsetDateTime, macros::datetime};
//! use trustchain::certificate::{
//!     Authority, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, PUBLISHER_LIFETIME, Purpose,
//!     ROOT_LIFETIME, SubjectName, Validity,
//! };
//! use trustchain::digest::{Artifact, Blake3};
//! use trustchain::envelope::{self, ChainForm, Envelope, Release, VerifyOptions};
//! use trustchain::hybrid::SecretKey;
//! use trustchain::path::{Hybrid, Revocation, Roots};
//!
//! let now: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);
//! let root = Authority::root("Example root", SecretKey::generate()?, Validity::starting(now, ROOT_LIFETIME))?;
//! let keys = SecretKey::generate()?;
//! let authority = root.intermediate(&IntermediateOptions {
//!     common_name: "Acme authority",
//!     keys: &keys.public(),
//!     purpose: Purpose::Publisher,
//!     path_length: 0,
//!     permitted: &["acme.pub.trustchain".to_owned()],
//!     validity: Validity::starting(now, INTERMEDIATE_LIFETIME),
//! })?;
//! let authority = Authority::new(authority, keys)?;
//! let keys = SecretKey::generate()?;
//! let leaf = authority.leaf(&LeafOptions {
//!     common_name: "Acme tools",
//!     key: LeafKey::Hybrid(&keys.public()),
//!     purpose: Purpose::Publisher,
//!     names: &[SubjectName::namespace("acme")?],
//!     validity: Validity::starting(now, PUBLISHER_LIFETIME),
//! })?;
//!
//! let release = Release {
//!     package: "acme/vec".to_owned(),
//!     version: "1.2.0".parse()?,
//!     artifact: Artifact::of(b"the archive"),
//!     manifest: Blake3::of(b"the manifest"),
//!     lock: None,
//!     signed_at: now,
//!     tool: "example 1.0.0".to_owned(),
//! };
//! let chain = [leaf, authority.certificate().clone()];
//! let bytes = envelope::seal(&release, &chain, ChainForm::Inline, &keys)?;
//!
//! let roots = Roots::new(vec![root.certificate().clone()], Hybrid::Required)?;
//! let options = VerifyOptions { roots: &roots, chain: None, at: now, revocation: Revocation::Unchecked };
//! let verified = Envelope::parse(&bytes)?.verify(&options)?;
//! assert_eq!(verified.signer().subject(), "CN=Acme tools");
//! verified.expect_artifact(&Artifact::of(b"the archive"))?;
//! assert!(verified.expect_artifact(&Artifact::of(b"another")).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Stack: signing needs 1 MiB in an unoptimised build (measured between 512 KiB and 1 MiB), which the default threads of
//! Rust and tokio (2 MiB) have.

pub mod certificate;
pub mod digest;
pub mod document;
pub mod ed25519;
pub mod envelope;
pub mod falcon;
pub mod feed;
pub mod genesis;
pub mod hybrid;
pub mod keyfile;
pub mod offer;
pub mod owners;
pub mod path;
pub mod proof;
pub mod quorum;
pub mod receipt;
pub mod request;
pub mod revocation;
pub mod rootset;
pub mod signer;
pub mod web;

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
