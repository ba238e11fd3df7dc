//! What a running instance finds around itself, and what bounds it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

use crate::vm::Output;
use crate::vm::program::Context;

/// The most elements of one table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 1 << 20;
/// The most instances of modules that a component is made of, adapters between its parts included.
pub(super) const CORE_INSTANCES_MAX: u32 = 32;
/// The most memories of a component. Each takes some 4 GiB of addresses.
pub(super) const MEMORIES_MAX: u32 = 4;
/// The most tables of a component.
pub(super) const TABLES_MAX: u32 = 4;
/// What an element of a table counts as memory, in bytes.
const TABLE_ELEMENT_BYTES: usize = 8;
/// How often a sleeping program looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The data of one store.
pub(super) struct Guest {
    pub(super) arguments: Vec<Vec<u8>>,
    pub(super) environment: Vec<Vec<u8>>,
    pub(super) input: Vec<u8>,
    pub(super) input_read: usize,
    pub(super) sink: Sink,
    pub(super) watch: Watch,
    pub(super) started: Instant,
    memory_max: usize,
    memory_used: usize,
    denied: bool,
}

/// Where output goes.
pub(super) enum Sink {
    /// To the standard output and error of this process, which somebody else counts.
    Process,
    /// Into memory, so many bytes at most.
    Memory {
        /// What was printed on standard output.
        stdout: Vec<u8>,
        /// What was printed on standard error.
        stderr: Vec<u8>,
        /// How many bytes may follow.
        left: usize,
    },
}

/// When a program must end, whatever it does.
#[derive(Clone)]
pub(super) struct Watch {
    deadline: Option<Instant>,
    cancelled: Arc<AtomicBool>,
}

/// An end that is no fault of the code that was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("the program ended with status {0}")]
    Exit(i32),
    #[error("the time is up")]
    Deadline,
    #[error("cancelled")]
    Cancelled,
    #[error("more output than allowed")]
    Output,
}

impl Guest {
    pub(super) fn new(context: &Context, memory_bytes: u64, sink: Sink, watch: Watch) -> Self {
        let environment = context.environment.iter().map(|(name, value)| format!("{name}={value}").into_bytes());
        Self {
            arguments: Vec::new(),
            environment: environment.collect(),
            input: context.input.clone(),
            input_read: 0,
            sink,
            watch,
            started: Instant::now(),
            memory_max: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            memory_used: 0,
            denied: false,
        }
    }

    /// Tells whether the program wanted more memory than it may have.
    pub(super) fn was_denied_memory(&self) -> bool {
        self.denied
    }

    /// Gives the bytes of memories and tables; they never shrink.
    pub(super) fn memory_used(&self) -> usize {
        self.memory_used
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.memory_used.saturating_sub(current).saturating_add(desired);
        let fits = used <= self.memory_max;
        if fits {
            self.memory_used = used;
        } else {
            self.denied = true;
        }
        fits
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        Ok(desired <= TABLE_ELEMENTS_MAX && self.grow(bytes(current), bytes(desired)))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }
}

impl Sink {
    pub(super) fn in_memory(bytes_max: u64) -> Self {
        let left = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self::Memory { stdout: Vec::new(), stderr: Vec::new(), left }
    }

    pub(super) fn write(&mut self, is_error: bool, bytes: &[u8]) -> Result<(), Stop> {
        match self {
            // Whoever reads the other end has gone when this fails, and this process goes with it.
            Self::Process if is_error => std::io::stderr().write_all(bytes).map_err(|_| Stop::Cancelled),
            Self::Process => {
                let mut stdout = std::io::stdout();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|_| Stop::Cancelled)
            }
            Self::Memory { stdout, stderr, left } => {
                let fit = bytes.len().min(*left);
                if is_error { &mut *stderr } else { stdout }.extend_from_slice(&bytes[..fit]);
                *left -= fit;
                if fit < bytes.len() { Err(Stop::Output) } else { Ok(()) }
            }
        }
    }

    pub(super) fn into_output(self) -> Output {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match self {
            Self::Process => Output::default(),
            Self::Memory { stdout, stderr, .. } => Output { stdout: text(stdout), stderr: text(stderr) },
        }
    }
}

impl Watch {
    /// Somebody else ends the whole process.
    pub(super) fn never() -> Self {
        Self { deadline: None, cancelled: Arc::default() }
    }

    pub(super) fn until(deadline: Instant, cancelled: Arc<AtomicBool>) -> Self {
        Self { deadline: Some(deadline), cancelled }
    }

    /// # Errors
    /// The program must end now.
    pub(super) fn look(&self) -> Result<(), Stop> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Stop::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Stop::Deadline),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// The program must end before that.
    pub(super) fn sleep(&self, duration: Duration) -> Result<(), Stop> {
        let began = Instant::now();
        loop {
            self.look()?;
            let left = duration.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
