//! Attacks on the sandbox, shipped with it: what `catalog sandbox selftest` tries on the machine it will run on.
//!
//! Each attack runs in a worker like any program's, and tells whether it got somewhere; the host looks at what it put up
//! outside as bait, and whether anything is left. An attack counts as contained if it says so by a reason, or ends in one
//! of the ways that its case allows; everything else is an escape, also what nobody thought of.
//!
//! These are known techniques and no faults of a kernel: a machine on which all are contained closes its doors, and says
//! nothing about holes in the walls.
//!
//! Invariant: however an attack ends, the process it ran in is gone before the next result is given, and at most
//! [`AT_ONCE`] run at a time.

mod cases;
#[cfg(any(feature = "lua", feature = "wasm"))]
mod native;
mod trial;
mod wasm;

use serde::Serialize;

use crate::vm::program::Language;
use crate::vm::sandbox::Grade;
use crate::vm::{Absent, Layer};

pub use cases::all;
pub use trial::{Trial, attempt};

/// How many attacks run at a time, each in a worker of three processes.
pub const AT_ONCE: usize = 4;

/// One attack, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name, which no other has.
    pub name: &'static str,
    /// The language it is written in.
    pub language: Language,
    /// What it tries, in a few words.
    pub tries: &'static str,
    /// How it may end.
    pub ends: Ends,
}

/// How an attack may end if it is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It says that it was stopped.
    Answered,
    /// It says so, or its worker ends in one of these ways.
    AnsweredOr(&'static [End]),
    /// Its worker ends in one of these ways.
    By(&'static [End]),
}

/// How a worker or a call ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The host's clock ran out, and it was killed.
    Time,
    /// It wanted more memory than it may have.
    Memory,
    /// It printed more than it may, and was killed.
    Output,
    /// The kernel ended it by a signal.
    Signal,
    /// It left by itself.
    Exit,
    /// It said what the protocol does not allow, and was killed.
    Protocol,
    /// The engine gave an error instead of a value.
    Error,
}

/// What came of all attacks that were made.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many were made.
    pub total: usize,
    /// How many of them were contained.
    pub contained: usize,
    /// How many were not made, since their engine is not there.
    pub skipped: usize,
    /// How complete the sandbox is.
    pub grade: Grade,
    /// The layers that hold.
    pub layers: Vec<Layer>,
    /// The layers that do not, with reasons.
    pub absent: Vec<Absent>,
    /// Each, in the order of the list.
    pub cases: Vec<Tried>,
}

/// What came of one attack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Its name.
    pub name: &'static str,
    /// Its language.
    pub language: String,
    /// What it tried.
    pub tries: &'static str,
    /// Whether it was contained; absent if it was not made.
    pub contained: Option<bool>,
    /// What stopped it: the name of an error number, the engine's or the host's words; or how it escaped.
    pub stopped_by: String,
    /// The layer of which that is the sign; empty if it was not contained or not made.
    pub layer: String,
}

impl Report {
    /// Tells whether every attack that was made was contained, and there was one.
    pub fn is_clean(&self) -> bool {
        self.total > 0 && self.contained == self.total
    }
}

#[cfg(any(feature = "lua", feature = "wasm"))]
pub(crate) use native::attack;
