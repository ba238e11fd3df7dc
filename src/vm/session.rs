//! Runs in worker processes: one shot through an executor, or many calls of one loaded program through a session.
//!
//! Limits are kept here by the host's clock, on whatever the worker does. An error the program raised leaves the worker
//! usable; every other failure, a cancelled run and a dropped future end it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, sleep_until};

use crate::value::{Array, Value};
use crate::vm::pool::{Key, Pool, PoolOptions};
use crate::vm::process::{Broken, Engine, Served, Worker, WorkerProgram, unexpected};
use crate::vm::program::{Call, Cancel, Context, Language, Limits, Program, Run};
use crate::vm::protocol::{self, Enclosed, FromWorker, ScriptError, ScriptErrorKind, ToWorker, WorkerUsage};
#[cfg(feature = "wasm")]
use crate::vm::wasm::{Artefact, cache::Cache};
use crate::vm::{Clock, Executor, Failure, Outcome, Output, Running, Usage, VmError};

/// How many workers of one executor start at a time.
pub const STARTS_MAX: usize = 4;

/// Runs programs in worker processes, and keeps idle workers for the next run.
#[derive(Debug)]
pub struct ProcessExecutor {
    worker_program: WorkerProgram,
    language: Language,
    engine: Arc<Engine>,
    pool: Arc<Pool>,
    /// Workers that are made ready for the next run; they end with the executor.
    ahead: Mutex<JoinSet<()>>,
    /// Starts take memory and a processor each, so only so many go on at a time; the others wait.
    starts: Arc<Semaphore>,
    /// Where compiled programs are kept, for engines that compile.
    #[cfg(feature = "wasm")]
    compiled: Option<Arc<Cache>>,
}

/// One program, loaded in its own worker. Its state stays from call to call; nothing else shares it.
#[derive(Debug)]
pub struct Session {
    /// None while a call runs, so that a call whose future is dropped takes the worker with it, and after a failure.
    worker: Option<Worker>,
    limits: Limits,
    call_id: u64,
}

impl ProcessExecutor {
    /// Makes an executor of Lua programs.
    pub fn new(worker_program: WorkerProgram, pool: PoolOptions) -> Self {
        Self::with_engine(worker_program, Language::Lua, Engine::default(), pool)
    }

    /// Makes an executor of programs in a language, by the engine that runs in its workers.
    pub fn with_engine(worker_program: WorkerProgram, language: Language, engine: Engine, pool: PoolOptions) -> Self {
        let starts = Arc::new(Semaphore::new(STARTS_MAX));
        let (engine, pool, ahead) = (Arc::new(engine), Arc::new(Pool::new(pool)), Mutex::default());
        Self {
            worker_program,
            language,
            engine,
            pool,
            ahead,
            starts,
            #[cfg(feature = "wasm")]
            compiled: None,
        }
    }

    /// Keeps what its workers compile, so that the next one need not compile it again.
    #[cfg(feature = "wasm")]
    #[must_use]
    pub fn keeping(self, compiled: Arc<Cache>) -> Self {
        Self { compiled: Some(compiled), ..self }
    }

    /// Gives the program that workers are started from.
    pub fn worker_program(&self) -> &WorkerProgram {
        &self.worker_program
    }

    /// Gives the idle workers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn run(&self, run: &Run, cancel: &Cancel) -> Result<Outcome, Failure> {
        self.check_language(&run.program)?;
        run.limits.check()?;
        let key = Key::of(run);
        let warm = self.pool.take(&key, Instant::now());
        let is_warm = warm.is_some();
        let mut session = match warm {
            Some(worker) => Session::with(worker, run.limits),
            None => self.start(&run.limits, cancel).await?,
        };
        let began = Instant::now();
        let deadline = Deadline::now() + run.limits.wall;
        let loaded = self.load(&mut session, run, is_warm, deadline, cancel).await;
        let runs = loaded.is_ok();
        let result = match loaded {
            Ok(()) => session.call_until(&run.call, true, deadline, cancel).await,
            Err(failure) => Err(failure),
        };
        let wall_us = micros(began.elapsed());
        match session.worker.take() {
            worker if self.engine.loads_ahead && runs => self.load_ahead(key, worker, run),
            Some(worker) => self.pool.put(key, worker, Instant::now()),
            None => {}
        }
        match result {
            Ok(outcome) => {
                let worker_start_us = if is_warm { 0 } else { outcome.usage.worker_start_us };
                Ok(Outcome { usage: Usage { wall_us, worker_start_us, ..outcome.usage }, ..outcome })
            }
            Err(failure) => Err(Failure { wall_us, ..failure }),
        }
    }

    async fn start(&self, limits: &Limits, cancel: &Cancel) -> Result<Session, VmError> {
        let permit = tokio::select! {
            permit = self.starts.acquire() => permit,
            () = cancel.cancelled() => return Err(VmError::Cancelled),
        };
        let session = Session::start(&self.worker_program, self.language, &self.engine, limits, cancel).await;
        drop(permit);
        session
    }

    /// Makes a worker ready for the next run of this program: the one that has just run it with everything loaded anew,
    /// or another one if that is gone or has grown.
    fn load_ahead(&self, key: Key, worker: Option<Worker>, run: &Run) {
        if self.pool.keeps_none() {
            return;
        }
        let (program, context, limits) = (Arc::clone(&run.program), run.context.clone(), run.limits);
        let (worker_program, engine) = (self.worker_program.clone(), Arc::clone(&self.engine));
        let (pool, starts, language) = (Arc::clone(&self.pool), Arc::clone(&self.starts), self.language);
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        while ahead.try_join_next().is_some() {}
        ahead.spawn(async move {
            let Ok(_permit) = starts.acquire().await else { return };
            let cancel = Cancel::new();
            let session = match worker.map(|worker| (worker.has_grown(), worker)) {
                Some((false, worker)) => Ok(Session::with(worker, limits)),
                grown => {
                    drop(grown);
                    Session::start(&worker_program, language, &engine, &limits, &cancel).await
                }
            };
            let Ok(mut session) = session else { return };
            let deadline = Deadline::now() + limits.wall;
            // One that fails here is told to whoever runs the program next, by a worker of its own.
            if session.load(&program, &context, None, deadline, &cancel).await.is_ok()
                && let Some(worker) = session.worker.take()
            {
                pool.put(key, worker, Instant::now());
            }
        });
    }

    /// Waits until every worker that is being made ready is.
    pub async fn settle(&self) {
        let mut ahead = std::mem::take(&mut *self.ahead.lock().unwrap_or_else(PoisonError::into_inner));
        while ahead.join_next().await.is_some() {}
    }

    /// Loads a program unless that was done ahead, in the form that an earlier worker compiled it to where there is one. A warm worker has its own.
    async fn load(
        &self,
        session: &mut Session,
        run: &Run,
        is_warm: bool,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        if session.is_ready_for(&run.context) {
            return Ok(());
        }
        #[cfg(feature = "wasm")]
        if let Some(cache) = self.compiled.as_ref().filter(|_| !is_warm) {
            return session.load_kept(run, cache, deadline, cancel).await;
        }
        let _ = is_warm;
        session.load(&run.program, &run.context, None, deadline, cancel).await.map(drop)
    }

    fn check_language(&self, program: &Program) -> Result<(), VmError> {
        match (self.language(), program.language()) {
            (own, other) if own == other => Ok(()),
            (executor, program) => Err(VmError::Language { executor, program }),
        }
    }
}

impl Executor for ProcessExecutor {
    fn language(&self) -> Language {
        self.language
    }

    fn check<'a>(&'a self, program: &'a Program) -> Running<'a, Result<(), VmError>> {
        Box::pin(async {
            self.check_language(program)?;
            match self.language {
                #[cfg(feature = "lua")]
                Language::Lua => crate::vm::lua::check(program),
                #[cfg(feature = "wasm")]
                Language::Wasm => crate::vm::wasm::check(program),
                language => Err(VmError::NotBuilt { language }),
            }
        })
    }

    fn execute<'a>(&'a self, run: &'a Run, cancel: &'a Cancel) -> Running<'a, Result<Outcome, Failure>> {
        Box::pin(self.run(run, cancel))
    }
}

impl Session {
    /// Starts a worker and loads a program into it.
    ///
    /// # Errors
    /// As [`Executor::execute`], for loading.
    pub async fn open(
        worker_program: &WorkerProgram,
        program: &Program,
        context: &Context,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        Self::open_with(worker_program, &Engine::default(), program, context, limits, cancel).await
    }

    /// As [`Self::open`], with an engine other than the worker program's own, or a sandbox other than the usual.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        worker_program: &WorkerProgram,
        engine: &Engine,
        program: &Program,
        context: &Context,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<Self, Failure> {
        limits.check()?;
        let mut session = Self::start(worker_program, program.language(), engine, &limits, cancel).await?;
        session.load(program, context, None, Deadline::now() + limits.wall, cancel).await?;
        Ok(session)
    }

    /// Puts an array into the memory shared with the worker, for all calls to come; the value stands for it and is of use
    /// in this session only.
    ///
    /// # Errors
    /// The session has ended, its engine shares no memory, or there is no room.
    pub fn keep(&mut self, array: &Array) -> Result<Value, VmError> {
        let arena = self.worker.as_mut().ok_or(VmError::SessionEnded)?.arena();
        let placed = arena.and_then(|arena| arena.keep(array).ok().flatten());
        placed.map(|array| Value::Array(Box::new(array))).ok_or(VmError::NoRoom { bytes: array.size_bytes() })
    }

    /// Calls a function of the program; each call has the whole wall time of the limits.
    ///
    /// # Errors
    /// As [`Executor::execute`]. After any but an error of the program itself the session has ended.
    pub async fn call(&mut self, call: &Call, cancel: &Cancel) -> Result<Outcome, Failure> {
        self.call_until(call, false, Deadline::now() + self.limits.wall, cancel).await
    }

    /// Gives the process id of the worker's launcher, unless the session has ended.
    pub fn pid(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::pid)
    }

    /// Gives what holds of the sandbox, unless the session has ended.
    pub fn enclosed(&self) -> Option<&Enclosed> {
        self.worker.as_ref().map(Worker::enclosed)
    }

    /// Gives the process id of the engine inside the sandbox, unless the session has ended.
    pub fn engine_pid(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::engine_pid)
    }

    fn with(worker: Worker, limits: Limits) -> Self {
        Self { worker: Some(worker), limits, call_id: 0 }
    }

    async fn start(
        worker_program: &WorkerProgram,
        language: Language,
        engine: &Engine,
        limits: &Limits,
        cancel: &Cancel,
    ) -> Result<Self, VmError> {
        tokio::select! {
            worker = Worker::start(worker_program, language, engine, limits) => Ok(Self::with(worker?, *limits)),
            () = cancel.cancelled() => Err(VmError::Cancelled),
        }
    }

    /// Tells whether the worker has loaded its program with this context and was not called since.
    fn is_ready_for(&self, context: &Context) -> bool {
        let loaded = self.worker.as_ref().and_then(Worker::loaded);
        loaded.is_some_and(|loaded| loaded.is_fresh && loaded.context == *context)
    }

    /// Loads a program; gives what it was compiled to, if the engine compiled it now.
    async fn load(
        &mut self,
        program: &Program,
        context: &Context,
        compiled: Option<Vec<u8>>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(arena) = self.worker.as_mut().and_then(Worker::arena) {
            arena.clear().map_err(|source| VmError::Arena { source })?;
        }
        let load = ToWorker::Load { program: Cow::Borrowed(program), context: Cow::Borrowed(context), compiled };
        let limit = self.limits.compilation;
        let until = Deadline::now() + limit;
        let answer = self.ask(&load, deadline.min(until), cancel).await.map_err(|failure| match *failure.error {
            VmError::Timeout { clock: Clock::Wall, .. } if until < deadline => {
                Failure { error: Box::new(VmError::Timeout { limit, clock: Clock::Compilation }), ..failure }
            }
            _ => failure,
        });
        let compiled = match answer? {
            FromWorker::Loaded => None,
            FromWorker::Compiled { artefact } => Some(artefact),
            FromWorker::LoadFailed { error } => return Err(self.program_failed(error).await),
            other => return Err(self.protocol_broken(&other).await),
        };
        if let Some(worker) = self.worker.as_mut() {
            worker.has_loaded(context);
        }
        Ok(compiled)
    }

    /// Loads a program with what is kept of it, and keeps what was compiled.
    ///
    /// The worker is new and compiles before it runs anything of the program, so what it gives is as good as what this
    /// process would have made of the same bytes; and it is only ever given to workers that run this very program.
    #[cfg(feature = "wasm")]
    async fn load_kept(
        &mut self,
        run: &Run,
        cache: &Arc<Cache>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let engine = self.worker.as_ref().map(|worker| worker.name().to_owned()).unwrap_or_default();
        let (kept, digest) = (Arc::clone(cache), run.program.digest());
        let name = engine.clone();
        let found = tokio::task::spawn_blocking(move || kept.find(digest, &name)).await.ok().flatten();
        // Both must fit into one frame; the module itself is there in case the compiled form is refused.
        let module: usize = run.program.modules().values().map(|module| module.source.as_bytes().len()).sum();
        let fits = |artefact: &Artefact| artefact.as_bytes().len() + module < protocol::FRAME_BYTES_MAX / 4 * 3;
        let found = found.filter(fits).map(|artefact| artefact.as_bytes().to_vec());
        if let Some(new) = self.load(&run.program, &run.context, found, deadline, cancel).await? {
            let kept = Arc::clone(cache);
            let keep = move || kept.keep(digest, &engine, &Artefact::believed(new));
            // Nothing depends on it: without it the module is compiled again.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(keep).await {
                tracing::warn!("a compiled module is not kept: {error}");
            }
        }
        Ok(())
    }

    async fn call_until(
        &mut self,
        call: &Call,
        is_last: bool,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<Outcome, Failure> {
        self.call_id += 1;
        let id = self.call_id;
        let began = Instant::now();
        let worker = self.worker.as_mut().ok_or(VmError::SessionEnded)?;
        let placed = worker.place(&call.args).map_err(|source| VmError::Arena { source })?;
        let args = placed.map_or(Cow::Borrowed(call.args.as_slice()), Cow::Owned);
        let asked = ToWorker::Call { id, function: Cow::Borrowed(&call.function), args, is_last };
        match self.ask(&asked, deadline, cancel).await? {
            FromWorker::Done { id: answered, mut value, usage } if answered == id => {
                let worker = self.worker.as_mut().ok_or(VmError::SessionEnded)?;
                if let Err(reason) = worker.fetch(&mut value, usage.memory_peak_bytes) {
                    let worker = self.worker.take().ok_or(VmError::SessionEnded)?;
                    let output = worker.end(self.limits.output).await;
                    return Err(Failure { output, ..VmError::Protocol { reason }.into() });
                }
                self.outcome(value, usage, began.elapsed())
            }
            FromWorker::Failed { id: answered, error } if answered == id => {
                let failure = self.program_failed(error).await;
                Err(Failure { wall_us: micros(began.elapsed()), ..failure })
            }
            other => Err(self.protocol_broken(&other).await),
        }
    }

    fn outcome(&mut self, value: Value, usage: WorkerUsage, call: Duration) -> Result<Outcome, Failure> {
        let worker = self.worker.as_mut().ok_or(VmError::SessionEnded)?;
        let call_us = micros(call);
        Ok(Outcome {
            value,
            output: worker.take_output(),
            usage: Usage {
                wall_us: call_us,
                worker_start_us: micros(worker.started_in()),
                call_us,
                cpu_us: usage.cpu_us,
                memory_peak_bytes: usage.memory_peak_bytes,
                fuel_used: usage.fuel_used,
            },
            layers: worker.enclosed().layers.iter().map(ToString::to_string).collect(),
            grade: worker.enclosed().to_string(),
        })
    }

    /// Asks the worker; only an answer puts it back.
    async fn ask(
        &mut self,
        message: &ToWorker<'_>,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<FromWorker, Failure> {
        let mut worker = self.worker.take().ok_or(VmError::SessionEnded)?;
        let frame = match protocol::encode(message) {
            Ok(frame) => frame,
            Err(error) => {
                self.worker = Some(worker);
                return Err(VmError::TooLarge(error).into());
            }
        };
        let ended = tokio::select! {
            biased;
            answer = worker.ask(&frame, self.limits.output, Some(Served { hold: cancel, io: self.limits.io })) => match answer {
                Ok(answer) => {
                    self.worker = Some(worker);
                    return Ok(answer);
                }
                Err(broken) => Ended::Broken(broken),
            },
            () = cancel.cancelled() => Ended::Told(VmError::Cancelled),
            () = sleep_until(deadline) => {
                Ended::Told(VmError::Timeout { limit: self.limits.wall, clock: Clock::Wall })
            }
        };
        let (error, output) = match ended {
            Ended::Broken(broken) => worker.explain(broken, &self.limits).await,
            Ended::Told(error) => (error, worker.end(self.limits.output).await),
        };
        Err(Failure { output, ..error.into() })
    }

    /// Makes the failure of an error the program raised; without memory left it costs the worker.
    async fn program_failed(&mut self, error: ScriptError) -> Failure {
        let error = error.bounded();
        let Some(mut worker) = self.worker.take() else { return VmError::SessionEnded.into() };
        if error.kind == ScriptErrorKind::MemoryLimit {
            let output = worker.end(self.limits.output).await;
            return Failure { output, ..VmError::MemoryLimit { limit: self.limits.memory }.into() };
        }
        let output = worker.take_output();
        self.worker = Some(worker);
        if let (ScriptErrorKind::FuelLimit, Some(limit)) = (error.kind, self.limits.fuel) {
            return Failure { output, ..VmError::FuelLimit { limit }.into() };
        }
        let syntax = error.kind == ScriptErrorKind::Syntax;
        let error = if syntax { VmError::Syntax(error) } else { VmError::Script(error) };
        Failure { output, ..error.into() }
    }

    async fn protocol_broken(&mut self, answer: &FromWorker) -> Failure {
        let output = match self.worker.take() {
            Some(worker) => worker.end(self.limits.output).await,
            None => Output::default(),
        };
        Failure { output, ..unexpected("an answer to the question", answer).into() }
    }
}

/// Why a question has no answer.
enum Ended {
    Broken(Broken),
    Told(VmError),
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
