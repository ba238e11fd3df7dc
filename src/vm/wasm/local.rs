//! Runs modules in this process: for programs that somebody trusts, where a process for each would cost more than the call.
//!
//! What keeps a module apart from this process is the compiler's work alone: it can reach its own memory and what is
//! imported, and nothing else. Time is kept by a thread that counts epochs while something runs; at each one a program
//! looks whether its time is up or somebody has cancelled it, and ends where it stands, with its functions named. Memory
//! and tables are counted as they grow. Processor time has no clock of its own here: a program has one thread, so its wall
//! time bounds it. Compiling cannot be interrupted; the size of a module bounds it.
//!
//! Invariant: when [`LocalExecutor::execute`] returns, nothing of the run is left; when its future is dropped, the run ends
//! within [`TICK`] and the time of one import.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use wasmtime::EngineWeak;

use super::cache::Cache;
use super::guest::{Guest, Sink, Stop, Watch};
use super::runtime::{Called, INSTANCES_MAX, Loaded, Place, Runtime, Settings};
use crate::digest::Digest;
use crate::vm::program::{Cancel, Language, Program, Run};
use crate::vm::protocol::{ScriptError, ScriptErrorKind};
use crate::vm::{Clock, Executor, Failure, Grade, Outcome, Running, Usage, VmError};

/// How often running programs look whether they should end.
pub const TICK: Duration = Duration::from_millis(5);
/// Programs that stay ready after their run; the one that was used longest ago goes first.
const LOADED_MAX: usize = 64;
/// What stands for the layers of a sandbox in results.
const LAYER: &str = "wasm_isolation";
const GRADE: &str = "in-process";

/// Runs WebAssembly in this process.
pub struct LocalExecutor {
    shared: Arc<Shared>,
    places: Semaphore,
}

struct Shared {
    plain: OnceLock<Result<Runtime, String>>,
    metered: OnceLock<Result<Runtime, String>>,
    cache: Option<Arc<Cache>>,
    /// By program and whether it is metered; the last used one last.
    loaded: Mutex<VecDeque<Ready>>,
    ticker: Ticker,
}

type Ready = ((Digest, bool), Arc<Loaded>);

/// The thread that counts epochs.
struct Ticker {
    state: Arc<(Mutex<Ticks>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Ticks {
    engines: Vec<EngineWeak>,
    running: usize,
    /// The thread waits until somebody says that something runs.
    is_asleep: bool,
    is_over: bool,
}

/// Counts a run as running.
struct Counted<'a>(&'a Ticker);

/// Ends a run when nobody waits for it any more.
struct EndOnDrop(Arc<AtomicBool>);

impl LocalExecutor {
    /// Makes an executor; engines are made at the first run. What is compiled is kept in `cache`, if there is one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(cache: Option<Arc<Cache>>) -> std::io::Result<Self> {
        let shared = Shared {
            plain: OnceLock::new(),
            metered: OnceLock::new(),
            cache,
            loaded: Mutex::default(),
            ticker: Ticker::start()?,
        };
        Ok(Self { shared: Arc::new(shared), places: Semaphore::new(INSTANCES_MAX as usize) })
    }

    /// Runs on this thread, which blocks until it has ended; nothing can cancel it but its own limits.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn run_here(&self, run: &Run) -> Result<Outcome, Failure> {
        run.limits.check()?;
        self.shared.run(run, Arc::default())
    }

    /// Gives the name of the engine, as [`Cache`] knows it.
    ///
    /// # Errors
    /// The engine cannot be used on this machine.
    pub fn identity(&self) -> Result<String, VmError> {
        Ok(self.shared.runtime(false)?.identity().to_owned())
    }

    async fn run(&self, run: &Run, cancel: &Cancel) -> Result<Outcome, Failure> {
        if run.program.language() != Language::Wasm {
            return Err(VmError::Language { executor: Language::Wasm, program: run.program.language() }.into());
        }
        run.limits.check()?;
        // It is closed never, so it always gives a place in the end.
        let _place = tokio::select! {
            place = self.places.acquire() => place.ok(),
            () = cancel.cancelled() => return Err(VmError::Cancelled.into()),
        };
        let ending = Arc::new(AtomicBool::new(false));
        let _end = EndOnDrop(Arc::clone(&ending));
        let (shared, own, watched) = (Arc::clone(&self.shared), run.clone(), Arc::clone(&ending));
        let mut running = tokio::task::spawn_blocking(move || shared.run(&own, watched));
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = cancel.cancelled() => {
                ending.store(true, Ordering::Relaxed);
                running.await
            }
        };
        ended.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(VmError::Cancelled.into()),
        })
    }
}

impl Executor for LocalExecutor {
    fn language(&self) -> Language {
        Language::Wasm
    }

    fn check<'a>(&'a self, program: &'a Program) -> Running<'a, Result<(), VmError>> {
        Box::pin(async { super::check(program) })
    }

    fn execute<'a>(&'a self, run: &'a Run, cancel: &'a Cancel) -> Running<'a, Result<Outcome, Failure>> {
        Box::pin(self.run(run, cancel))
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Loads and calls, on this thread.
    fn run(&self, run: &Run, ending: Arc<AtomicBool>) -> Result<Outcome, Failure> {
        let began = Instant::now();
        let limits = run.limits;
        if limits.grade > Grade::Degraded {
            let (sandbox, least) = (GRADE.to_owned(), limits.grade);
            return Err(VmError::SandboxGrade { sandbox, least, absent: Vec::new() }.into());
        }
        let watch = Watch::until(began + limits.wall, ending);
        let runtime = self.runtime(limits.fuel.is_some())?;
        let loaded = self.load(runtime, run).map_err(VmError::Syntax)?;
        let (call_began, cpu_before) = (Instant::now(), crate::vm::sandbox::cpu_time());
        let guest = Guest::new(&run.context, limits.memory.0, Sink::in_memory(limits.output.0), watch);
        let called = {
            let _counted = self.ticker.count();
            runtime.call(&loaded, &run.call.function, &run.call.args, guest, limits.fuel)
        };
        let usage = Usage {
            wall_us: micros(began.elapsed()),
            worker_start_us: 0,
            call_us: micros(call_began.elapsed()),
            cpu_us: micros(crate::vm::sandbox::cpu_time().saturating_sub(cpu_before)),
            memory_peak_bytes: called.guest.memory_used() as u64,
            fuel_used: called.fuel_used,
        };
        let error = called.explain(loaded.file()).map(|error| reason(&called, error, run));
        let output = called.guest.sink.into_output();
        match (called.result, error) {
            (Ok(value), None) => {
                Ok(Outcome { value, output, usage, layers: vec![LAYER.to_owned()], grade: GRADE.to_owned() })
            }
            (_, error) => {
                let error = Box::new(error.unwrap_or(VmError::Cancelled));
                Err(Failure { error, output, wall_us: usage.wall_us })
            }
        }
    }

    fn runtime(&self, is_metered: bool) -> Result<&Runtime, VmError> {
        let made = if is_metered { &self.metered } else { &self.plain };
        let make = || {
            let runtime =
                Runtime::new(Settings { is_metered, place: Place::Here }).map_err(|error| error.to_string())?;
            self.ticker.lock().engines.push(runtime.engine().weak());
            Ok(runtime)
        };
        let made = made.get_or_init(make).as_ref();
        made.map_err(|reason| VmError::Engine { language: Language::Wasm, reason: reason.clone() })
    }

    fn load(&self, runtime: &Runtime, run: &Run) -> Result<Arc<Loaded>, ScriptError> {
        let key = (run.program.digest(), run.limits.fuel.is_some());
        {
            let mut loaded = lock(&self.loaded);
            if let Some(at) = loaded.iter().position(|(other, _)| *other == key)
                && let Some(found) = loaded.remove(at)
            {
                let ready = Arc::clone(&found.1);
                loaded.push_back(found);
                return Ok(ready);
            }
        }
        let cache = self.cache.as_deref();
        let kept = cache.and_then(|cache| cache.find(key.0, runtime.identity()));
        let (ready, new) = runtime.load(&run.program, kept)?;
        if let (Some(cache), Some(new)) = (cache, new)
            && let Err(error) = cache.keep(key.0, runtime.identity(), &new)
        {
            tracing::warn!("a compiled module is not kept: {error}");
        }
        let ready = Arc::new(ready);
        let mut loaded = lock(&self.loaded);
        loaded.push_back((key, Arc::clone(&ready)));
        if loaded.len() > LOADED_MAX {
            loaded.pop_front();
        }
        Ok(ready)
    }
}

/// Makes the error of a run from the error of its program.
fn reason(called: &Called, error: ScriptError, run: &Run) -> VmError {
    let limits = run.limits;
    let stop = called.result.as_ref().err().and_then(|error| error.downcast_ref::<Stop>());
    match (stop, error.kind) {
        (Some(Stop::Deadline), _) => VmError::Timeout { limit: limits.wall, clock: Clock::Wall },
        (Some(Stop::Cancelled), _) => VmError::Cancelled,
        (Some(Stop::Output), _) => VmError::OutputLimit { limit: limits.output },
        (_, ScriptErrorKind::MemoryLimit) => VmError::MemoryLimit { limit: limits.memory },
        (_, ScriptErrorKind::FuelLimit) => VmError::FuelLimit { limit: limits.fuel.unwrap_or_default() },
        _ => VmError::Script(error),
    }
}

impl Ticker {
    fn start() -> std::io::Result<Self> {
        let state: Arc<(Mutex<Ticks>, Condvar)> = Arc::default();
        let own = Arc::clone(&state);
        let tick = move || {
            let (ticks, changed) = &*own;
            let mut ticks = lock(ticks);
            while !ticks.is_over {
                // Being woken costs more than most calls, so it ticks on when one ends, and sleeps only if none runs at a tick.
                ticks.is_asleep = ticks.running == 0;
                ticks = if ticks.is_asleep {
                    changed.wait(ticks).unwrap_or_else(PoisonError::into_inner)
                } else {
                    changed.wait_timeout(ticks, TICK).unwrap_or_else(PoisonError::into_inner).0
                };
                ticks.is_asleep = false;
                for engine in ticks.engines.iter().filter_map(EngineWeak::upgrade) {
                    engine.increment_epoch();
                }
            }
        };
        let thread = std::thread::Builder::new().name("wasm-epochs".into()).spawn(tick)?;
        Ok(Self { state, thread: Some(thread) })
    }

    fn count(&self) -> Counted<'_> {
        let mut ticks = self.lock();
        ticks.running += 1;
        if ticks.is_asleep {
            self.state.1.notify_one();
        }
        Counted(self)
    }

    fn lock(&self) -> MutexGuard<'_, Ticks> {
        lock(&self.state.0)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.lock().is_over = true;
        self.state.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it counts and waits.
            let _ = thread.join();
        }
    }
}

/// Nothing under these locks leaves what they guard half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
