//! `run --language L FILE`: a program in one file, for a quick try, in the sandbox that every program gets.
//!
//! A file is signed by nobody, so this asks the policy for the same as running a directory. Nothing is published, installed
//! or remembered.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sandbox::least_grade;
use super::{Catalog, OpError};
use crate::asset::{Amount, AssetNeed};
use crate::host::Host;
use crate::package::model::{Bytes, SandboxLevel};
use crate::value::Value;
use crate::vm::{
    Call, Cancel, Context, Failure, Language, Limits, Module, Outcome, Program, Run, Source, TrustDomain, VmError,
};

/// The most bytes of a program; it fits into one message with its input.
pub const FILE_BYTES_MAX: u64 = 12 << 20;
/// Memory of a program, if nobody says otherwise.
pub const MEMORY_DEFAULT: Bytes = Bytes(256 << 20);
/// The function that is called, if nobody says otherwise.
pub const MAIN: &str = "main";
/// How much longer than the run its lease lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// What to run and how.
#[derive(Clone, Debug)]
pub struct RunFile {
    /// Its language.
    pub language: Language,
    /// The file.
    pub path: PathBuf,
    /// The function.
    pub function: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// Data for it. A WebAssembly command reads it as its standard input; any other function gets it as its last argument,
    /// as JSON if it is such and as text if not.
    pub input: Option<String>,
    /// A shorter time limit than 30 seconds.
    pub timeout: Option<Duration>,
}

impl Catalog {
    /// Runs a program in one file. Its resources are leased for the run only.
    ///
    /// # Errors
    /// The policy runs nothing unsigned, the file cannot be read or is too long, the host has no resources, or this node
    /// has no engine; what the program itself says is the inner error, with what it printed.
    pub async fn run_file(&self, run: RunFile, host: &dyn Host) -> Result<Result<Outcome, Failure>, OpError> {
        if !self.policy.runs_directories() {
            return Err(OpError::UnsignedDirectory { path: run.path });
        }
        let path = run.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path));
        let bytes = match read.await {
            Ok(bytes) => bytes?,
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        };
        self.run_bytes(run, bytes, host).await
    }

    /// Runs what was read of a file already; its path names it in messages.
    pub(super) async fn run_bytes(
        &self,
        run: RunFile,
        bytes: Vec<u8>,
        host: &dyn Host,
    ) -> Result<Result<Outcome, Failure>, OpError> {
        let grade = least_grade(SandboxLevel::Standard, self.config.sandbox);
        let default = Limits { memory: MEMORY_DEFAULT, grade, ..Limits::default() };
        let limits = Limits { wall: run.timeout.map_or(default.wall, |timeout| timeout.min(default.wall)), ..default };
        let engines = self.engines.as_ref().map_err(|looked| VmError::WorkerMissing { looked: looked.clone() })?;
        let language = run.language;
        let executor = engines.of(language, false)?;
        let (call, context) = call(run.function, run.arguments, run.input, language, &bytes);
        let program = program(language, &run.path, bytes)?;
        let needs =
            [Amount::Cpu { cores: 1, share: limits.cpu, architecture: None }, Amount::Memory { size: limits.memory }]
                .map(|amount| AssetNeed { amount, hardware: Vec::new(), duration_limit: limits.wall });
        let lease = host.lease("program", &needs, limits.wall + LEASE_MARGIN).await?;
        let run = Run { program: program.into(), context, call, limits, domain: TrustDomain("node".into()) };
        let result = executor.execute(&run, &Cancel::new()).await;
        drop(lease);
        Ok(result)
    }
}

fn program(language: Language, path: &Path, bytes: Vec<u8>) -> Result<Program, VmError> {
    let file = path.file_name().map_or_else(|| MAIN.into(), |name| name.to_string_lossy()).into_owned();
    let module = Module { file, source: Source::of(language, bytes) };
    Program::new(language, MAIN, [(MAIN.to_owned(), module)].into())
}

/// Puts input where the program looks for it.
fn call(
    function: String,
    mut args: Vec<Value>,
    input: Option<String>,
    language: Language,
    bytes: &[u8],
) -> (Call, Context) {
    let mut context = Context::default();
    if let Some(input) = input {
        if language == Language::Wasm && function == MAIN && is_command(bytes) {
            context.input = input.into_bytes();
        } else {
            let json = serde_json::from_str(&input).ok().and_then(|json| Value::from_json(&json).ok());
            args.push(json.unwrap_or(Value::Str(input)));
        }
    }
    (Call { function, args }, context)
}

#[cfg(feature = "wasm")]
fn is_command(bytes: &[u8]) -> bool {
    crate::vm::wasm::is_command(bytes)
}

#[cfg(not(feature = "wasm"))]
fn is_command(_: &[u8]) -> bool {
    false
}

fn read(path: &Path) -> Result<Vec<u8>, VmError> {
    let failed = |reason: String| VmError::File { path: path.to_path_buf(), reason };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
