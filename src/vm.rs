//! Executes programs: limits, worker processes, engines.
//!
//! A program never runs in the process that asked for it. [`ProcessExecutor`] starts `catalog-worker`, tells it over a
//! socket what to load and call ([`protocol`]), counts what it prints, and kills it when a limit is passed; [`sandbox`]
//! is what the worker does to itself first. This module knows nothing of packages, policy, leases or receipts.
//!
//! Invariant: when an [`Executor`] returns or its future is dropped, no process of that run is left, except an idle
//! worker that a [`Pool`](pool::Pool) keeps for the same program, caller and limits.

pub mod arena;
pub mod escape;
pub mod execution;
#[cfg(feature = "julia")]
pub mod julia;
#[cfg(feature = "lua")]
pub mod lua;
pub mod monitor;
pub mod pool;
pub mod process;
pub mod program;
pub mod protocol;
pub mod queue;
pub mod retry;
pub mod sandbox;
pub mod schedule;
pub mod session;
pub mod storage;
#[cfg(feature = "wasm")]
pub mod wasm;
#[cfg(any(feature = "lua", feature = "wasm"))]
pub mod worker;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::package::model::Bytes;
use crate::value::Value;

#[cfg(feature = "julia")]
pub use julia::JuliaExecutor;
pub use process::{Engine, WorkerProgram};
pub use program::{Call, Cancel, Context, Language, Limits, Module, Program, Run, Source, TrustDomain};
pub use protocol::{Image, ScriptError, ScriptErrorKind};
pub use sandbox::{Absent, Barrier, Grade, Layer};
pub use session::{ProcessExecutor, Session};

/// A future that an executor gives; dropping it ends the run.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that runs programs of one language.
pub trait Executor: Send + Sync {
    /// Gives the language.
    fn language(&self) -> Language;

    /// Checks a program without running any of it.
    ///
    /// # Errors
    /// The first fault of syntax, or the program is in another language.
    fn check<'a>(&'a self, program: &'a Program) -> Running<'a, Result<(), VmError>>;

    /// Runs a program in a fresh environment.
    ///
    /// # Errors
    /// [`Failure`] says why the run gave no value, and what it printed until then.
    fn execute<'a>(&'a self, run: &'a Run, cancel: &'a Cancel) -> Running<'a, Result<Outcome, Failure>>;
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the function returned.
    pub value: Value,
    /// What the program printed.
    pub output: Output,
    /// What the run used.
    pub usage: Usage,
    /// The layers of the sandbox that were active, by name.
    pub layers: Vec<String>,
    /// How complete the sandbox was.
    pub grade: String,
}

/// What a program printed; bytes that are no UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error: warnings of the program, last words of the worker.
    pub stderr: String,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall time of loading and calling, in microseconds.
    pub wall_us: u64,
    /// Wall time until a worker was ready, in microseconds; zero for a warm one.
    pub worker_start_us: u64,
    /// Wall time of the call alone, in microseconds.
    pub call_us: u64,
    /// Processor time of the call, in microseconds, as the worker reports it.
    pub cpu_us: u64,
    /// The most memory the worker had resident, in bytes, as the worker reports it.
    pub memory_peak_bytes: u64,
    /// Instructions of the call, if they had a limit; zero otherwise.
    pub fuel_used: u64,
}

/// A run without a value.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// Why.
    #[source]
    pub error: Box<VmError>,
    /// What the program printed until then.
    pub output: Output,
    /// Wall time of loading and calling, in microseconds.
    pub wall_us: u64,
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// A program names an entry it does not have.
    #[error("the program has no module `{entry}` to begin with")]
    NoEntry {
        /// The entry.
        entry: String,
    },
    /// A program is in a language the executor does not run.
    #[error("an executor of {executor} cannot run a program in {program}")]
    Language {
        /// The executor's language.
        executor: Language,
        /// The program's language.
        program: Language,
    },
    /// This build lacks the engine of a language.
    #[error("this build has no engine for {language}")]
    NotBuilt {
        /// The language.
        language: Language,
    },
    /// No runtime of a language was found on this machine.
    #[error("there is no {language} on this machine")]
    NoRuntime {
        /// The language.
        language: Language,
    },
    /// The memory shared with a worker cannot be written.
    #[error("memory shared with a worker")]
    Arena {
        /// Why.
        source: io::Error,
    },
    /// The memory shared with a worker is full, or there is none.
    #[error("no room for {bytes} bytes in the memory shared with the worker")]
    NoRoom {
        /// What was to be placed.
        bytes: u64,
    },
    /// A limit is out of bounds.
    #[error("limit `{name}`: {reason}")]
    Limits {
        /// Which one.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The program or the arguments are too large for one frame.
    #[error("program or arguments do not fit into one message")]
    TooLarge(#[source] protocol::FrameError),
    /// The text is no program.
    #[error("syntax error: {0}")]
    Syntax(ScriptError),
    /// The program raised an error, lacks the function, or returned what has no form outside.
    #[error("{0}")]
    Script(ScriptError),
    /// The program wanted more memory than its limit.
    #[error("memory limit of {} bytes reached", limit.0)]
    MemoryLimit {
        /// The limit.
        limit: Bytes,
    },
    /// The program used more instructions than its limit.
    #[error("fuel limit of {limit} instructions reached")]
    FuelLimit {
        /// The limit.
        limit: u64,
    },
    /// An engine cannot be used on this machine.
    #[error("the engine for {language} cannot be used here: {reason}")]
    Engine {
        /// The language.
        language: Language,
        /// Why.
        reason: String,
    },
    /// The program ran longer than its limit, and was killed.
    #[error("{clock} limit of {limit:?} reached")]
    Timeout {
        /// The limit.
        limit: Duration,
        /// Which clock ran out.
        clock: Clock,
    },
    /// The program printed more than its limit, and was killed.
    #[error("output limit of {} bytes reached", limit.0)]
    OutputLimit {
        /// The limit.
        limit: Bytes,
    },
    /// The caller ended the run.
    #[error("cancelled")]
    Cancelled,
    /// The session has ended with an earlier failure.
    #[error("the session has ended with an earlier failure")]
    SessionEnded,
    /// There is no worker program.
    #[error("no worker program; looked for {}", list(looked))]
    WorkerMissing {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A program's file cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A worker could not be started.
    #[error("cannot start worker `{}`", path.display())]
    WorkerStart {
        /// The worker program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A worker was not ready in time.
    #[error("worker not ready within {limit:?}")]
    WorkerLate {
        /// The limit.
        limit: Duration,
    },
    /// A worker ended in the middle of a run.
    #[error("worker ended in the middle of a run: {exit}")]
    WorkerCrashed {
        /// Its exit status.
        exit: String,
        /// The end of what it wrote on standard error.
        stderr_tail: String,
    },
    /// The sandbox that this machine can give is less than what is asked for.
    #[error("the sandbox here is {sandbox}, and the least that is accepted is {least}")]
    SandboxGrade {
        /// The sandbox, with the layers it lacks.
        sandbox: String,
        /// What is asked for.
        least: Grade,
        /// The layers that do not hold, with reasons.
        absent: Vec<Absent>,
    },
    /// A worker said what the protocol does not allow, and was killed.
    #[error("worker broke the protocol: {reason}")]
    Protocol {
        /// How.
        reason: String,
    },
}

/// A clock that a limit is set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Wall time.
    Wall,
    /// Processor time.
    Processor,
    /// Wall time of loading.
    Compilation,
    /// Wall time of one question to the storage.
    Io,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's or the program's.
    Input,
    /// A worker misbehaved.
    Peer,
    /// The machine's: a file, a process, time.
    Environment,
    /// What is asked for is not allowed here.
    Policy,
}

impl VmError {
    /// Tells whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WorkerMissing { .. }
            | Self::WorkerStart { .. }
            | Self::WorkerLate { .. }
            | Self::NoRuntime { .. }
            | Self::Arena { .. }
            | Self::Engine { .. } => ErrorKind::Environment,
            Self::SandboxGrade { .. } => ErrorKind::Policy,
            Self::WorkerCrashed { .. } | Self::Protocol { .. } => ErrorKind::Peer,
            _ => ErrorKind::Input,
        }
    }

    /// Gives the error of the program, with its place, where there is one.
    pub fn script(&self) -> Option<&ScriptError> {
        match self {
            Self::Syntax(error) | Self::Script(error) => Some(error),
            _ => None,
        }
    }

    /// Tells whether the program went beyond what it may use.
    pub fn is_beyond_limits(&self) -> bool {
        matches!(
            self,
            Self::MemoryLimit { .. } | Self::FuelLimit { .. } | Self::Timeout { .. } | Self::OutputLimit { .. }
        )
    }

    /// Tells whether the same run may succeed when it is tried again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::WorkerStart { .. } | Self::WorkerLate { .. } | Self::WorkerCrashed { .. })
    }
}

impl From<VmError> for Failure {
    fn from(error: VmError) -> Self {
        Self { error: Box::new(error), output: Output::default(), wall_us: 0 }
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wall => "time",
            Self::Processor => "processor time",
            Self::Compilation => "compilation time",
            Self::Io => "input and output time",
        })
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}
