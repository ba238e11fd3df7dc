//! The executor of Julia programs: finds a Julia when the first program asks for one, and goes on with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::value::Value;
use crate::vm::pool::PoolOptions;
use crate::vm::program::{Call, Cancel, Context, Language, Limits, Module, Program, Run};
use crate::vm::protocol::{ScriptError, ScriptErrorKind};
use crate::vm::session::{ProcessExecutor, Session};
use crate::vm::{Engine, Executor, Failure, Outcome, Running, VmError, WorkerProgram};

use super::{Julia, image};

/// How long a worker may take to be ready: without an image it compiles its own program first, 1.3 to 2.5 s when idle.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long the texts of one program may take to be parsed.
const CHECK_WITHIN: Duration = Duration::from_secs(60);

/// Where to look for a Julia.
#[derive(Clone, Debug)]
pub struct Places {
    /// The directory that the configuration names.
    pub configured: Option<PathBuf>,
    /// The node's home, which has those that it installed itself, and the images.
    pub home: PathBuf,
}

/// Runs Julia programs in worker processes.
#[derive(Debug)]
pub struct JuliaExecutor {
    worker_program: WorkerProgram,
    places: Places,
    pool: PoolOptions,
    found: Mutex<Option<Found>>,
}

#[derive(Clone, Debug)]
struct Found {
    julia: Julia,
    engine: Arc<Engine>,
    processes: Arc<ProcessExecutor>,
}

impl JuliaExecutor {
    /// Makes an executor; looks for nothing yet.
    pub fn new(worker_program: WorkerProgram, places: Places, pool: PoolOptions) -> Self {
        Self { worker_program, places, pool, found: Mutex::default() }
    }

    /// Gives the engine of workers, and the executor that starts them.
    ///
    /// # Errors
    /// There is no Julia on this machine.
    pub async fn processes(&self) -> Result<(Arc<Engine>, Arc<ProcessExecutor>), VmError> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.filter(|found| found.julia.program.is_file());
        let found = match known {
            Some(found) => found,
            None => {
                // Each Julia is started for its version.
                let places = self.places.clone();
                let looked = tokio::task::spawn_blocking(move || look(&places)).await;
                let (julia, engine) = looked.ok().flatten().ok_or(VmError::NoRuntime { language: Language::Julia })?;
                let program = self.worker_program.clone();
                let processes = ProcessExecutor::with_engine(program, Language::Julia, engine.clone(), self.pool);
                Found { julia, engine: Arc::new(engine), processes: Arc::new(processes) }
            }
        };
        let mut slot = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(found.clone());
        Ok((found.engine, found.processes))
    }

    /// Gives the version of the Julia that programs would run with. Blocks; starts each Julia once, for its version.
    pub fn version(&self) -> Option<semver::Version> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.map(|found| found.julia.version).or_else(|| look(&self.places).map(|(julia, _)| julia.version))
    }

    /// Forgets which Julia was found, and the idle workers: another one was installed, or an image was made.
    pub fn look_again(&self) {
        let forgotten = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(forgotten);
    }

    async fn parse(&self, program: &Program) -> Result<(), VmError> {
        let (engine, _) = self.processes().await?;
        let module = Module { file: "check/main.jl".into(), source: include_str!("check.jl").into() };
        let checker = Program::new(Language::Julia, "check", [("check".to_owned(), module)].into())?;
        let limits = Limits { wall: CHECK_WITHIN, ..Limits::default() };
        let (context, cancel) = (Context::default(), Cancel::new());
        let failed = |failure: Failure| *failure.error;
        let session = Session::open_with(&self.worker_program, &engine, &checker, &context, limits, &cancel).await;
        let mut session = session.map_err(failed)?;
        let texts: BTreeMap<String, Value> = program
            .modules()
            .values()
            .filter(|module| module.file.ends_with(".jl"))
            .map(|module| (module.file.clone(), Value::Str(module.source.text().into_owned())))
            .collect();
        let call = Call { function: "main".into(), args: vec![Value::Map(texts)] };
        match session.call(&call, &cancel).await.map_err(failed)?.value {
            Value::List(fault) => Err(VmError::Syntax(read_fault(&fault))),
            _ => Ok(()),
        }
    }
}

impl Executor for JuliaExecutor {
    fn language(&self) -> Language {
        Language::Julia
    }

    fn check<'a>(&'a self, program: &'a Program) -> Running<'a, Result<(), VmError>> {
        Box::pin(async {
            if program.language() != Language::Julia {
                return Err(VmError::Language { executor: Language::Julia, program: program.language() });
            }
            self.parse(program).await
        })
    }

    fn execute<'a>(&'a self, run: &'a Run, cancel: &'a Cancel) -> Running<'a, Result<Outcome, Failure>> {
        Box::pin(async {
            let (_, processes) = self.processes().await?;
            processes.execute(run, cancel).await
        })
    }
}

/// Gives the engine that workers of a Julia have.
pub fn engine(julia: &Julia, home: &std::path::Path) -> Engine {
    let image = image::find(julia, home);
    Engine {
        image: Some(julia.engine(image.as_deref())),
        start_within: START_WITHIN,
        arena: true,
        loads_ahead: true,
        ..Engine::default()
    }
}

fn look(places: &Places) -> Option<(Julia, Engine)> {
    let julia = Julia::find_all(places.configured.as_deref(), &places.home).into_iter().next()?;
    let engine = engine(&julia, &places.home);
    Some((julia, engine))
}

/// Reads `[file, line, message]` of the checker.
fn read_fault(fault: &[Value]) -> ScriptError {
    let (file, line, message) = match fault {
        [Value::Str(file), Value::Int(line), Value::Str(message)] => {
            (Some(file.clone()), u32::try_from(*line).ok(), message.clone())
        }
        _ => (None, None, "cannot be parsed".into()),
    };
    ScriptError { file, line, ..ScriptError::new(ScriptErrorKind::Syntax, message) }
}
