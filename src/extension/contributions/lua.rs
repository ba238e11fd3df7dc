//! The executor of Lua programs, for hosts that have a text and no package.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::records::{ExecutionOutcome, ExecutionRequest, ExecutorDescription, Metrics, ProgramCheck};
use hypermesh_abi::sdk::{self, Call};
use hypermesh_abi::{Code, Error};

use crate::asset::{Amount, AssetNeed};
use crate::extension::ports::CallHost;
use crate::extension::{CatalogExtension, errors};
use crate::host::Host;
use crate::package::model::{Bytes, CpuMillis};
use crate::value::Value;
use crate::vm::{self, Language, Limits, Module, Program, lua};

/// The executor.
pub(super) struct Lua(Arc<CatalogExtension>);

impl Lua {
    pub(super) fn new(extension: &Arc<CatalogExtension>) -> Self {
        Self(Arc::clone(extension))
    }
}

impl sdk::VmExecutor for Lua {
    fn describe(&self) -> ExecutorDescription {
        ExecutorDescription { languages: vec!["lua".into()], engine: "Lua 5.4".into() }
    }

    async fn check(&self, _: Call, program: Vec<u8>) -> Result<ProgramCheck, Error> {
        let checked =
            tokio::task::spawn_blocking(move || lua_program(&program).and_then(|program| lua::check(&program)));
        match checked.await.map_err(|error| Error::wrap(Code::INTERNAL, &error))? {
            Ok(()) => Ok(ProgramCheck { valid: true, faults: Vec::new() }),
            Err(error) => match error.script() {
                Some(script) => Ok(ProgramCheck { valid: false, faults: vec![errors::of_script(script, None)] }),
                None => Err(errors::to_error(&error.into())),
            },
        }
    }

    async fn execute(
        &self,
        call: Call,
        program: Vec<u8>,
        request: ExecutionRequest,
    ) -> Result<ExecutionOutcome, Error> {
        let to_error = |error: crate::ops::OpError| errors::to_error(&error);
        let args: Result<Vec<Value>, _> = request.arguments.iter().map(Value::from_json).collect();
        let args = args.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
        let limits = limits(&request);
        let needs =
            [Amount::Cpu { cores: 1, share: limits.cpu, architecture: None }, Amount::Memory { size: limits.memory }]
                .map(|amount| AssetNeed { amount, hardware: Vec::new(), duration_limit: limits.wall });
        let host = CallHost::new(call);
        let lease = host.lease("program", &needs, limits.wall).await.map_err(|refusal| to_error(refusal.into()))?;
        let function = if request.function.is_empty() { lua::MAIN.to_owned() } else { request.function };
        let program = lua_program(&program).map_err(|error| to_error(error.into()))?;
        let run = vm::Call { function, args };
        let outcome = self.0.catalog()?.execute_program(program, run, limits).await.map_err(to_error)?;
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
        let Ok(catalog) = self.0.catalog() else { return Metrics::default() };
        let mut counters = BTreeMap::new();
        for execution in catalog.executions_list() {
            *counters.entry(format!("executions_{}", execution.state.to_string().to_lowercase())).or_insert(0) += 1;
        }
        Metrics { counters }
    }
}

fn lua_program(source: &[u8]) -> Result<Program, vm::VmError> {
    let source = String::from_utf8_lossy(source).into_owned();
    let module = Module { file: "program.lua".into(), source };
    Program::new(Language::Lua, "program", [("program".to_owned(), module)].into())
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
