//! Programs, calls and limits: what a caller gives an executor. No language and no process is known here.

pub(crate) mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::digest::Digest;
use crate::package::model::{Bytes, CpuMillis};
use crate::value::Value;
use crate::vm::VmError;
use crate::vm::monitor::Monitor;
use crate::vm::sandbox::Grade;
use crate::vm::storage::Storage;

pub use source::Source;

/// A language that some executor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Language {
    /// Lua 5.4.
    Lua,
    /// Julia.
    Julia,
    /// WebAssembly.
    Wasm,
    /// Attacks on the sandbox, by name: what [`escape`](crate::vm::escape) tries. No package is written in it.
    Probe,
}

/// The modules of a program and which of them it begins with; immutable, named by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    language: Language,
    entry: String,
    modules: BTreeMap<String, Module>,
    digest: Digest,
}

/// One module of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The file it comes from, such as `ray-tracer/main.lua`, for messages.
    pub file: String,
    /// The text, or the bytes where the language has no text form.
    pub source: Source,
}

/// What a program finds around itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Global variables.
    pub globals: BTreeMap<String, Value>,
    /// The variables of the table `env`; the environment of the process is empty.
    pub environment: BTreeMap<String, String>,
    /// What a WebAssembly command reads on its standard input; other languages have no such thing.
    #[serde(default, with = "source::bytes", skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<u8>,
}

/// A call of one function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: String,
    /// Its arguments.
    pub args: Vec<Value>,
}

/// Who may share a worker with whom: callers in different domains never meet in one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(pub String);

/// Bounds on one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Wall time of loading and calling; [`Limits::WALL_MAX`] at most. The start of a worker does not count.
    pub wall: Duration,
    /// Share of processors: a run may use `wall` times this much processor time, rounded up to whole seconds.
    pub cpu: CpuMillis,
    /// Memory of the program.
    pub memory: Bytes,
    /// What the program may print, standard output and standard error together.
    pub output: Bytes,
    /// Instructions of WebAssembly, as the engine counts them; not counted if not given. With it the engine also computes
    /// the same on every machine: one bit pattern for every NaN, no choice in relaxed vector instructions.
    pub fuel: Option<u64>,
    /// Size of a directory for temporary files, which is gone with the worker; zero for none.
    pub temp: Bytes,
    /// The least grade of the sandbox that it may run in.
    pub grade: Grade,
    /// Wall time of loading alone: compiling, and running the entry module; never more than `wall`.
    pub compilation: Duration,
    /// Wall time of one question that the program asks its storage.
    pub io: Duration,
}

/// One run: what to execute, for whom, within which bounds.
#[derive(Clone, Debug)]
pub struct Run {
    /// The program.
    pub program: Arc<Program>,
    /// What it finds around itself.
    pub context: Context,
    /// The call.
    pub call: Call,
    /// The bounds.
    pub limits: Limits,
    /// For whom.
    pub domain: TrustDomain,
}

/// A caller's hold on runs: ends them, watches them, keeps what they store. Clones are the same hold.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<Hold>);

#[derive(Debug)]
struct Hold {
    on: watch::Sender<bool>,
    monitor: Monitor,
    storage: Option<Arc<dyn Storage>>,
}

impl Language {
    /// Gives the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Julia => "julia",
            Self::Wasm => "wasm",
            Self::Probe => "probe",
        }
    }

    /// Gives the extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Julia => "jl",
            Self::Wasm => "wasm",
            Self::Probe => "probe",
        }
    }
}

impl Program {
    /// Makes a program of modules by the names that other modules use for them.
    ///
    /// # Errors
    /// No module has the name `entry`.
    pub fn new(language: Language, entry: &str, modules: BTreeMap<String, Module>) -> Result<Self, VmError> {
        if !modules.contains_key(entry) {
            return Err(VmError::NoEntry { entry: entry.to_owned() });
        }
        let digest = Digest::of(&digest_input(language, entry, &modules));
        Ok(Self { language, entry: entry.to_owned(), modules, digest })
    }

    /// Gives the language.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Gives the name of the module that the program begins with.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// Gives the modules by name.
    pub fn modules(&self) -> &BTreeMap<String, Module> {
        &self.modules
    }

    /// Tells whether a text stands anywhere in its modules.
    pub fn has_word(&self, word: &str) -> bool {
        self.modules.values().any(|module| module.source.text().contains(word))
    }

    /// Gives the digest over language, entry and modules.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Limits {
    /// The longest wall time.
    pub const WALL_MAX: Duration = Duration::from_secs(300);
    /// The least memory: an engine with its libraries needs a part of it.
    pub const MEMORY_MIN: Bytes = Bytes(1 << 20);
    /// The most output that is kept in memory for a caller.
    pub const OUTPUT_MAX: Bytes = Bytes(64 << 20);

    /// Checks the limits against their bounds.
    ///
    /// # Errors
    /// A limit is zero or beyond its bound.
    pub fn check(&self) -> Result<(), VmError> {
        let fault = |name, reason: String| Err(VmError::Limits { name, reason });
        if self.wall.is_zero() || self.wall > Self::WALL_MAX {
            return fault("wall", format!("`{:?}` is not above zero and at most `{:?}`", self.wall, Self::WALL_MAX));
        }
        if self.cpu.0 == 0 {
            return fault("cpu", "a share of `0m` cannot run anything".into());
        }
        for (name, time) in [("compilation", self.compilation), ("io", self.io)] {
            if time.is_zero() {
                return fault(name, "no time at all is not enough for anything".into());
            }
        }
        if self.memory < Self::MEMORY_MIN {
            return fault("memory", format!("`{}` bytes are below `{}`", self.memory.0, Self::MEMORY_MIN.0));
        }
        if self.output > Self::OUTPUT_MAX {
            return fault("output", format!("`{}` bytes are above `{}`", self.output.0, Self::OUTPUT_MAX.0));
        }
        Ok(())
    }

    /// Gives the processor time of one run.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.wall.saturating_mul(u32::try_from(self.cpu.0).unwrap_or(u32::MAX)) / 1000
    }
}

impl Default for Limits {
    /// 30 s, one core, 64 MiB, 1 MiB of output, no directory for temporary files, any sandbox without a way out,
    /// instructions not counted, and HyperMesh's 60 s for compiling and 5 s for a read or write.
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: CpuMillis(1000),
            memory: Bytes(64 << 20),
            output: Bytes(1 << 20),
            compilation: Duration::from_secs(60),
            io: Duration::from_secs(5),
            temp: Bytes(0),
            grade: Grade::Degraded,
            fuel: None,
        }
    }
}

impl Cancel {
    /// Makes a hold that ends nothing yet, for programs that store nothing.
    pub fn new() -> Self {
        Self::holding(None)
    }

    /// The same, for programs that keep what they store there.
    pub fn with_storage(storage: Arc<dyn Storage>) -> Self {
        Self::holding(Some(storage))
    }

    /// Ends the runs, for good.
    pub fn cancel(&self) {
        self.0.on.send_replace(true);
    }

    /// Tells whether the runs are ended.
    pub fn is_cancelled(&self) -> bool {
        *self.0.on.borrow()
    }

    /// Waits until the runs are ended.
    pub async fn cancelled(&self) {
        let on = self.0.on.subscribe().wait_for(|on| *on).await.is_ok();
        debug_assert!(on, "`self` holds the sender");
    }

    /// Gives what can be seen of the runs.
    pub fn monitor(&self) -> &Monitor {
        &self.0.monitor
    }

    /// Gives what keeps the values that the runs store.
    pub fn storage(&self) -> Option<&Arc<dyn Storage>> {
        self.0.storage.as_ref()
    }

    fn holding(storage: Option<Arc<dyn Storage>>) -> Self {
        Self(Arc::new(Hold { on: watch::Sender::new(false), monitor: Monitor::default(), storage }))
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes what names a program, each text behind its length, so that no two programs give the same bytes.
fn digest_input(language: Language, entry: &str, modules: &BTreeMap<String, Module>) -> Vec<u8> {
    let mut input = Vec::new();
    let texts =
        modules.iter().flat_map(|(name, module)| [name.as_bytes(), module.file.as_bytes(), module.source.as_bytes()]);
    for text in [language.as_str().as_bytes(), entry.as_bytes()].into_iter().chain(texts) {
        input.extend_from_slice(&(text.len() as u64).to_le_bytes());
        input.extend_from_slice(text);
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(pairs: &[(&str, &str)]) -> BTreeMap<String, Module> {
        pairs
            .iter()
            .map(|(name, source)| {
                (name.to_string(), Module { file: format!("{name}.lua"), source: Source::from(*source) })
            })
            .collect()
    }

    #[test]
    fn a_digest_names_a_program() {
        let digest =
            |entry, pairs: &[_]| Program::new(Language::Lua, entry, modules(pairs)).expect("has entry").digest();
        assert_eq!(digest("a", &[("a", "x"), ("b", "y")]), digest("a", &[("b", "y"), ("a", "x")]));
        assert_ne!(digest("a", &[("a", "x"), ("b", "y")]), digest("b", &[("a", "x"), ("b", "y")]));
        assert_ne!(digest("a", &[("a", "x")]), digest("a", &[("a", "x ")]));
        let missing = Program::new(Language::Lua, "c", modules(&[("a", "x")])).expect_err("has no entry");
        assert_eq!(missing.to_string(), "the program has no module `c` to begin with");
    }

    #[test]
    fn limits_hold_at_their_bounds() {
        let limits = Limits::default();
        limits.check().expect("the defaults are within the bounds");
        Limits { wall: Limits::WALL_MAX, memory: Limits::MEMORY_MIN, output: Limits::OUTPUT_MAX, ..limits }
            .check()
            .expect("the bounds themselves are allowed");
        for wrong in [
            Limits { wall: Limits::WALL_MAX + Duration::from_nanos(1), ..limits },
            Limits { wall: Duration::ZERO, ..limits },
            Limits { cpu: CpuMillis(0), ..limits },
            Limits { compilation: Duration::ZERO, ..limits },
            Limits { io: Duration::ZERO, ..limits },
            Limits { memory: Bytes(Limits::MEMORY_MIN.0 - 1), ..limits },
            Limits { output: Bytes(Limits::OUTPUT_MAX.0 + 1), ..limits },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        let half = Limits { cpu: CpuMillis(500), ..limits };
        assert_eq!(half.cpu_time(), Duration::from_secs(15));
    }

    #[tokio::test]
    async fn a_switch_stays_on() {
        let cancel = Cancel::new();
        assert!(!cancel.is_cancelled());
        cancel.clone().cancel();
        cancel.cancelled().await;
        assert!(cancel.is_cancelled());
    }
}
