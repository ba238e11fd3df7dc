//! One worker process, as the host holds it: start, ask, kill, reap.
//!
//! The host's end of a socket pair is a [`UnixStream`], the worker's end is its standard input, so no descriptor is
//! handed over by number; standard output and error are pipes that are read while the host waits for an answer. The end
//! of a worker is seen at its socket, so no signal handler is installed in a process that belongs to somebody else. This
//! module knows frames, not programs.
//!
//! Invariant: a started process is killed with its group and reaped, on every path, when its `Worker` is dropped.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use crate::package::model::Bytes;
use crate::vm::program::{Language, Limits};
use crate::vm::protocol::{self, FrameError, FromWorker, Ready, ToWorker, WorkerLimits};
use crate::vm::{Clock, Output, VmError};

/// How long a worker may take from its start to `Ready`: 5 ms when idle; the rest is for a loaded machine.
pub const START_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker that has closed its socket may take to end by itself, so that its own exit status is seen.
const EXIT_WITHIN: Duration = Duration::from_secs(1);
/// How much of a crashed worker's standard error goes into the error.
const STDERR_TAIL_BYTES: usize = 2048;
/// What an idle worker's buffer keeps.
const INBOX_BYTES: usize = 16 << 10;
/// What the worker's runtime writes when the system gives it no memory.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// The program that workers are started from.
#[derive(Clone, Debug)]
pub struct WorkerProgram(PathBuf);

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    socket: UnixStream,
    /// What has come of the next frame.
    inbox: Vec<u8>,
    stdout: Pipe,
    stderr: Pipe,
    ready: Ready,
    started_in: Duration,
}

/// Why a worker gave no answer; the worker is of no further use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("closed its socket")]
    Closed,
    #[error("output limit")]
    OutputLimit,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug)]
struct Pipe {
    pipe: pipe::Receiver,
    bytes: Vec<u8>,
    ended: bool,
}

impl WorkerProgram {
    /// Takes the first of these paths that is a file. Links are not followed for good: a host may name verified bytes as
    /// `/proc/PID/fd/N`, which leads to a file without a name.
    ///
    /// # Errors
    /// None is; the error lists them.
    pub fn find(candidates: &[PathBuf]) -> Result<Self, VmError> {
        let found = candidates.iter().find(|path| path.is_file()).and_then(|path| std::path::absolute(path).ok());
        found.map(Self).ok_or_else(|| VmError::WorkerMissing { looked: candidates.to_vec() })
    }
}

impl Worker {
    /// Starts a worker and waits until it is ready. Thread: in a tokio runtime with IO and time.
    pub(crate) async fn start(program: &WorkerProgram, language: Language, limits: &Limits) -> Result<Self, VmError> {
        let started = Instant::now();
        let mut worker =
            Self::spawn(program).map_err(|source| VmError::WorkerStart { path: program.0.clone(), source })?;
        let cpu_ms = u64::try_from(limits.cpu_time().as_millis()).unwrap_or(u64::MAX);
        let own = WorkerLimits { memory_bytes: limits.memory.0, cpu_ms };
        let hello = protocol::encode(&ToWorker::Hello { version: protocol::VERSION, language, limits: own })
            .map_err(VmError::TooLarge)?;
        match timeout(START_WITHIN, worker.ask(&hello, Bytes(STDERR_TAIL_BYTES as u64))).await {
            Ok(Ok(FromWorker::Ready(ready))) if ready.version == protocol::VERSION => worker.ready = ready,
            Ok(Ok(answer)) => {
                return Err(unexpected("`Ready` of this version", &answer));
            }
            Ok(Err(broken)) => return Err(worker.explain(broken, limits).await.0),
            Err(_) => return Err(VmError::WorkerLate { limit: START_WITHIN }),
        }
        worker.started_in = started.elapsed();
        Ok(worker)
    }

    /// Takes the process to its end and tells why it had to come to this, and what the program printed.
    pub(crate) async fn explain(mut self, broken: Broken, limits: &Limits) -> (VmError, Output) {
        let error = match broken {
            Broken::OutputLimit => VmError::OutputLimit { limit: limits.output },
            Broken::Frame(error) => VmError::Protocol { reason: error.to_string() },
            Broken::Closed | Broken::Io(_) => {
                let status = timeout(EXIT_WITHIN, self.exit_status()).await.ok();
                let output = self.end(limits.output).await;
                return (explain_exit(status, &output.stderr, limits), output);
            }
        };
        (error, self.end(limits.output).await)
    }

    /// Kills the process, reaps it, and gives what the program printed, up to a limit.
    pub(crate) async fn end(mut self, output_max: Bytes) -> Output {
        let output_max = usize::try_from(output_max.0).unwrap_or(usize::MAX);
        kill_group(&mut self.child);
        // The kernel gives back memory, which takes long, then closes files: after the socket's end reaping in `drop` is
        // a matter of microseconds. The time-out is for a socket that somebody else still holds.
        let _ = timeout(EXIT_WITHIN, async {
            while matches!(self.socket.read_buf(&mut self.inbox).await, Ok(1..)) {
                self.inbox.clear();
            }
        })
        .await;
        self.stdout.fill_now(output_max);
        self.stderr.fill_now(output_max);
        self.stdout.bytes.truncate(output_max);
        self.stderr.bytes.truncate(output_max);
        self.take_output()
    }

    /// Sends a frame and waits for the answer, reading what the program prints meanwhile.
    ///
    /// Not to be asked again after an error or when its future was dropped: an answer may be left in between.
    pub(crate) async fn ask(&mut self, frame: &[u8], output_max: Bytes) -> Result<FromWorker, Broken> {
        let output_max = usize::try_from(output_max.0).unwrap_or(usize::MAX);
        self.socket.write_all(frame).await?;
        let answer = loop {
            if let Some(answer) = self.take_answer()? {
                break answer;
            }
            tokio::select! {
                read = self.socket.read_buf(&mut self.inbox) => if read? == 0 { return Err(Broken::Closed) },
                read = self.stdout.fill(), if !self.stdout.ended => read?,
                read = self.stderr.fill(), if !self.stderr.ended => read?,
            }
            self.check_output(output_max)?;
        };
        // The worker writes what is printed before it answers, so all of it is in the pipes by now.
        self.stdout.fill_now(output_max);
        self.stderr.fill_now(output_max);
        self.check_output(output_max)?;
        Ok(answer)
    }

    /// Takes what the program has printed so far.
    pub(crate) fn take_output(&mut self) -> Output {
        let output = Output { stdout: self.stdout.text(), stderr: self.stderr.text() };
        self.stdout.bytes.clear();
        self.stderr.bytes.clear();
        output
    }

    /// Tells whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Gives what the worker said of itself.
    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Gives the time from start to `Ready`.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Gives the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn spawn(program: &WorkerProgram) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let (stdout, stdout_theirs) = io::pipe()?;
        let (stderr, stderr_theirs) = io::pipe()?;
        ours.set_nonblocking(true)?;
        let socket = UnixStream::from_std(ours)?;
        let (stdout, stderr) = (Pipe::new(stdout.into())?, Pipe::new(stderr.into())?);
        let child = Command::new(&program.0)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout_theirs)
            .stderr(stderr_theirs)
            .spawn()?;
        Ok(Self {
            child,
            socket,
            inbox: Vec::with_capacity(INBOX_BYTES),
            stdout,
            stderr,
            ready: Ready { version: 0, engine: String::new(), layers: Vec::new(), grade: String::new() },
            started_in: Duration::ZERO,
        })
    }

    /// Waits for the process to end by itself.
    async fn exit_status(&mut self) -> ExitStatus {
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            // Between closing its socket and its end lie microseconds, unless the program plays games.
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Takes the next frame out of what has come, once it is whole.
    fn take_answer(&mut self) -> Result<Option<FromWorker>, Broken> {
        let Some((header, rest)) = self.inbox.split_first_chunk::<4>() else { return Ok(None) };
        let length = protocol::frame_length(*header)?;
        if rest.len() < length {
            self.inbox.reserve(length - rest.len());
            return Ok(None);
        }
        let answer = protocol::decode(&rest[..length])?;
        self.inbox.drain(..4 + length);
        self.inbox.shrink_to(INBOX_BYTES);
        if self.inbox.is_empty() { Ok(Some(answer)) } else { Err(FrameError::Trailing { at: length }.into()) }
    }

    fn check_output(&self, output_max: usize) -> Result<(), Broken> {
        if self.stdout.bytes.len() + self.stderr.bytes.len() > output_max { Err(Broken::OutputLimit) } else { Ok(()) }
    }
}

impl Drop for Worker {
    /// Kills and reaps. Blocks until the kernel has ended the process, some milliseconds, unless [`Worker::end`] has
    /// waited before.
    fn drop(&mut self) {
        kill_group(&mut self.child);
        // It can only fail if somebody else has reaped the process, and then it is gone as well.
        let _ = self.child.wait();
    }
}

/// Kills a child that leads its own process group, with the group.
fn kill_group(child: &mut Child) {
    // While the leader is not reaped nobody else can have its number, so the signal cannot hit a stranger.
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
}

impl Pipe {
    /// The bytes of one read: what a pipe holds.
    const CHUNK_BYTES: usize = 64 << 10;

    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: pipe::Receiver::from_owned_fd(fd)?, bytes: Vec::new(), ended: false })
    }

    /// Waits for bytes or the end, and takes what is there, one chunk at most.
    async fn fill(&mut self) -> io::Result<()> {
        self.pipe.readable().await?;
        self.read_chunk().map(drop)
    }

    /// Takes what is there without waiting, until there are more than `bytes_max`.
    fn fill_now(&mut self, bytes_max: usize) {
        while !self.ended && self.bytes.len() <= bytes_max && matches!(self.read_chunk(), Ok(1..)) {}
    }

    fn read_chunk(&mut self) -> io::Result<usize> {
        self.bytes.reserve(Self::CHUNK_BYTES);
        match self.pipe.try_read_buf(&mut self.bytes) {
            Ok(read) => {
                self.ended = read == 0;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Makes the error of an answer that does not fit the question.
pub(crate) fn unexpected(expected: &str, answer: &FromWorker) -> VmError {
    let mut reason = format!("expected {expected}, not `{answer:?}`");
    reason.truncate(reason.floor_char_boundary(protocol::MESSAGE_BYTES_MAX));
    VmError::Protocol { reason }
}

fn explain_exit(status: Option<ExitStatus>, stderr: &str, limits: &Limits) -> VmError {
    let signal = status.and_then(|status| status.signal()).and_then(Signal::from_named_raw);
    let tail = &stderr[stderr.ceil_char_boundary(stderr.len().saturating_sub(STDERR_TAIL_BYTES))..];
    match signal {
        Some(Signal::XCPU) => VmError::Timeout { limit: limits.cpu_time(), clock: Clock::Processor },
        Some(Signal::ABORT) if tail.contains(OUT_OF_MEMORY) => VmError::MemoryLimit { limit: limits.memory },
        _ => VmError::WorkerCrashed {
            exit: status.map_or_else(|| "closed its socket and went on".into(), |status| status.to_string()),
            stderr_tail: tail.to_owned(),
        },
    }
}
