//! Keeps so many copies of every blob alive, whoever comes and goes, and forgets what too many keep.
//!
//! | module | what it is for |
//! |---|---|
//! | [`report`] | what nodes tell each other of themselves and of what they hold |
//! | [`mirror`] | how many copies are wanted |
//! | [`placement`] | where they are to be, and who acts: pure functions that give every node the same answer |
//! | [`cache`] | what goes first when room is needed |
//! | [`plan`] | the state of all that and what to do next, without IO |
//! | [`service`] | `replica/1`: reports, and copies asked of peers |
//! | [`wire`] | what it says, as bytes |
//!
//! No node leads. Every node hears the reports of all, ranks the holders of a blob alike, and only a holder acts, the first of
//! them at once and each later one only if nothing happened for a while. A copy is asked for, never forced. A node drops
//! nothing but its own, never what is pinned, and only while enough others said lately that they hold it.
//!
//! Reports are believed: a certified node that claims what it does not hold takes the place of a copy until somebody finds out
//! and says so ([`plan::Replicas::not_served`]).

pub mod cache;
pub mod mirror;
pub mod placement;
pub mod plan;
pub mod report;
pub mod service;
#[cfg(test)]
mod tests;
pub mod wire;

pub use mirror::Mirror;
pub use plan::{Action, Options, Replicas};
pub use report::{Capacity, Change, Holding, Report};
