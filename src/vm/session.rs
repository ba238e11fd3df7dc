//! Runs in worker processes: one shot through an executor, or many calls of one loaded program through a session.
//!
//! Limits are kept here by the host's clock, on whatever the worker does. An error the program raised leaves the worker
//! usable; every other failure, a cancelled run and a dropped future end it.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tokio::time::{Instant as Deadline, sleep_until};

use crate::value::Value;
use crate::vm::pool::{Key, Pool, PoolOptions};
use crate::vm::process::{Broken, Worker, WorkerProgram, unexpected};
use crate::vm::program::{Call, Cancel, Context, Language, Limits, Program, Run};
use crate::vm::protocol::{self, FromWorker, ScriptError, ScriptErrorKind, ToWorker, WorkerUsage};
use crate::vm::{Clock, Executor, Failure, Outcome, Output, Running, Usage, VmError};

/// Runs programs in worker processes, and keeps idle workers for the next run.
#[derive(Debug)]
pub struct ProcessExecutor {
    worker_program: WorkerProgram,
    pool: Pool,
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
        Self { worker_program, pool: Pool::new(pool) }
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
            None => Session::start(&self.worker_program, run.program.language(), &run.limits, cancel).await?,
        };
        let began = Instant::now();
        let deadline = Deadline::now() + run.limits.wall;
        let result = match session.load(&run.program, &run.context, deadline, cancel).await {
            Ok(()) => session.call_until(&run.call, deadline, cancel).await,
            Err(failure) => Err(failure),
        };
        let wall_us = micros(began.elapsed());
        if let Some(worker) = session.worker.take() {
            self.pool.put(key, worker, Instant::now());
        }
        match result {
            Ok(outcome) => {
                let worker_start_us = if is_warm { 0 } else { outcome.usage.worker_start_us };
                Ok(Outcome { usage: Usage { wall_us, worker_start_us, ..outcome.usage }, ..outcome })
            }
            Err(failure) => Err(Failure { wall_us, ..failure }),
        }
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
        Language::Lua
    }

    fn check<'a>(&'a self, program: &'a Program) -> Running<'a, Result<(), VmError>> {
        Box::pin(async {
            self.check_language(program)?;
            #[cfg(feature = "lua")]
            return crate::vm::lua::check(program);
            #[cfg(not(feature = "lua"))]
            Err(VmError::NotBuilt { language: program.language() })
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
        limits.check()?;
        let mut session = Self::start(worker_program, program.language(), &limits, cancel).await?;
        session.load(program, context, Deadline::now() + limits.wall, cancel).await?;
        Ok(session)
    }

    /// Calls a function of the program; each call has the whole wall time of the limits.
    ///
    /// # Errors
    /// As [`Executor::execute`]. After any but an error of the program itself the session has ended.
    pub async fn call(&mut self, call: &Call, cancel: &Cancel) -> Result<Outcome, Failure> {
        self.call_until(call, Deadline::now() + self.limits.wall, cancel).await
    }

    /// Gives the process id of the worker, unless the session has ended.
    pub fn pid(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::pid)
    }

    fn with(worker: Worker, limits: Limits) -> Self {
        Self { worker: Some(worker), limits, call_id: 0 }
    }

    async fn start(
        worker_program: &WorkerProgram,
        language: Language,
        limits: &Limits,
        cancel: &Cancel,
    ) -> Result<Self, VmError> {
        tokio::select! {
            worker = Worker::start(worker_program, language, limits) => Ok(Self::with(worker?, *limits)),
            () = cancel.cancelled() => Err(VmError::Cancelled),
        }
    }

    async fn load(
        &mut self,
        program: &Program,
        context: &Context,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let load = ToWorker::Load { program: Cow::Borrowed(program), context: Cow::Borrowed(context) };
        match self.ask(&load, deadline, cancel).await? {
            FromWorker::Loaded => Ok(()),
            FromWorker::LoadFailed { error } => Err(self.program_failed(error).await),
            other => Err(self.protocol_broken(&other).await),
        }
    }

    async fn call_until(&mut self, call: &Call, deadline: Deadline, cancel: &Cancel) -> Result<Outcome, Failure> {
        self.call_id += 1;
        let id = self.call_id;
        let asked = ToWorker::Call { id, function: Cow::Borrowed(&call.function), args: Cow::Borrowed(&call.args) };
        let began = Instant::now();
        match self.ask(&asked, deadline, cancel).await? {
            FromWorker::Done { id: answered, value, usage } if answered == id => {
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
            },
            layers: worker.ready().layers.clone(),
            grade: worker.ready().grade.clone(),
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
            answer = worker.ask(&frame, self.limits.output) => match answer {
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
