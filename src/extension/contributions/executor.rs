//! The executors of single programs, one for each language, for hosts that have a program and no package.

use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::records::{ExecutionOutcome, ExecutionRequest, ExecutorDescription, Metrics, ProgramCheck};
use hypermesh_abi::sdk::{self, Call};
use hypermesh_abi::{Code, Error};

use crate::asset::{Amount, AssetNeed};
use crate::extension::ports::CallHost;
use crate::extension::{CatalogExtension, errors};
use crate::host::Host;
use crate::ops::OpError;
use crate::package::model::{Bytes, CpuMillis};
use crate::value::Value;
use crate::vm::{self, Language, Limits, Module, Program, ScriptError, ScriptErrorKind, Source, VmError};

/// The function that is called where a host names none.
const MAIN: &str = "main";

/// An executor.
pub(super) struct Executor {
    extension: Arc<CatalogExtension>,
    language: Language,
    engine: &'static str,
}

impl Executor {
    #[cfg(feature = "lua")]
    pub(super) fn lua(extension: &Arc<CatalogExtension>) -> Self {
        let extension = Arc::clone(extension);
        Self { extension, language: Language::Lua, engine: "Lua 5.4" }
    }

    #[cfg(feature = "julia")]
    pub(super) fn julia(extension: &Arc<CatalogExtension>) -> Self {
        let extension = Arc::clone(extension);
        Self { extension, language: Language::Julia, engine: "Julia 1.5 or newer" }
    }

    #[cfg(feature = "wasm")]
    pub(super) fn wasm(extension: &Arc<CatalogExtension>) -> Self {
        let extension = Arc::clone(extension);
        Self { extension, language: Language::Wasm, engine: "WebAssembly with WASI preview 1" }
    }
}

impl sdk::VmExecutor for Executor {
    fn describe(&self) -> ExecutorDescription {
        ExecutorDescription { languages: vec![self.language.as_str().into()], engine: self.engine.into() }
    }

    async fn check(&self, _: Call, program: Vec<u8>) -> Result<ProgramCheck, Error> {
        let checked = match single(self.language, program) {
            Ok(program) => self.extension.catalog()?.check_program(&program).await,
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(()) => Ok(ProgramCheck { valid: true, faults: Vec::new() }),
            Err(OpError::Vm(error)) if error.script().is_some() => {
                let faults = error.script().map(|script| errors::of_script(script, None)).into_iter().collect();
                Ok(ProgramCheck { valid: false, faults })
            }
            Err(error) => Err(errors::to_error(&error)),
        }
    }

    async fn execute(
        &self,
        call: Call,
        program: Vec<u8>,
        request: ExecutionRequest,
    ) -> Result<ExecutionOutcome, Error> {
        let to_error = |error: OpError| errors::to_error(&error);
        let args: Result<Vec<Value>, _> = request.arguments.iter().map(Value::from_json).collect();
        let args = args.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let limits = limits(&request);
        let needs =
            [Amount::Cpu { cores: 1, share: limits.cpu, architecture: None }, Amount::Memory { size: limits.memory }]
                .map(|amount| AssetNeed { amount, hardware: Vec::new(), duration_limit: limits.wall });
        let host = CallHost::new(call);
        let lease = host.lease("program", &needs, limits.wall).await.map_err(|refusal| to_error(refusal.into()))?;
        let function = if request.function.is_empty() { MAIN.to_owned() } else { request.function };
        let program = single(self.language, program).map_err(|error| to_error(error.into()))?;
        let run = vm::Call { function, args };
        let outcome = self.extension.catalog()?.execute_program(program, run, limits).await.map_err(to_error)?;
        drop(lease);
        let usage = outcome.usage;
        Ok(ExecutionOutcome {
            value: outcome.value.to_json(),
            stdout: outcome.output.stdout,
            wall_us: usage.wall_us,
            usage: [("cpu_us".to_owned(), usage.cpu_us), ("memory_peak_bytes".to_owned(), usage.memory_peak_bytes)]
                .into(),
        })
    }

    fn stats(&self) -> Metrics {
        let Ok(catalog) = self.extension.catalog() else { return Metrics::default() };
        let counted = catalog.figures().counters.into_iter();
        Metrics { counters: counted.map(|(name, value)| (name.to_owned(), value)).collect() }
    }
}

fn single(language: Language, source: Vec<u8>) -> Result<Program, VmError> {
    if language == Language::Julia && std::str::from_utf8(&source).is_err() {
        return Err(VmError::Syntax(ScriptError::new(ScriptErrorKind::Syntax, "the text is not UTF-8")));
    }
    let module = Module { file: format!("program.{}", language.extension()), source: Source::of(language, source) };
    Program::new(language, "program", [("program".to_owned(), module)].into())
}

fn limits(request: &ExecutionRequest) -> Limits {
    let mut limits = Limits { cpu: CpuMillis(1_000), ..Limits::default() };
    if request.timeout_ms > 0 {
        limits.wall = Duration::from_millis(request.timeout_ms).min(Limits::WALL_MAX);
    }
    if request.memory_bytes > 0 {
        limits.memory = Bytes(request.memory_bytes);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_julia_program_is_text() {
        assert!(single(Language::Julia, vec![0xff]).is_err_and(|error| error.script().is_some()));
        assert_eq!(single(Language::Julia, b"main() = 1".to_vec()).expect("is text").language(), Language::Julia);
    }
}
