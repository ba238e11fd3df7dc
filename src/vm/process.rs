//! One worker process, as the host holds it: start, ask, kill, reap.
//!
//! The host's end of a socket pair is a [`UnixStream`], the worker's end is its standard input, so no descriptor is
//! handed over by number; standard output and error are pipes that are read while the host waits for an answer. The end
//! of a worker is seen at its socket, so no signal handler is installed in a process that belongs to somebody else. This
//! module knows frames, not programs.
//!
//! Invariant: a started process is killed with everything inside and reaped, on every path, when its `Worker` is dropped.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::{Instant as Deadline, MissedTickBehavior, interval_at, sleep, timeout};

use crate::package::model::Bytes;
use crate::value::Value;
use crate::vm::arena::{self, ARENA_BYTES, Arena};
use crate::vm::monitor::Stream;
use crate::vm::program::{Cancel, Context, Language, Limits};
use crate::vm::protocol::{self, Enclosed, FrameError, FromWorker, Image, ToWorker, WorkerLimits};
use crate::vm::sandbox::{Barrier, Grade, data_bytes};
use crate::vm::storage::{StorageAnswer, StorageAsk};
use crate::vm::{Clock, Output, VmError};

/// How long a worker may take from its start to `Ready`: 5 ms when idle; the rest is for a loaded machine.
pub const START_WITHIN: Duration = Duration::from_secs(10);
/// How long a worker that has closed its socket may take to end by itself, so that its own exit status is seen.
const EXIT_WITHIN: Duration = Duration::from_secs(1);
/// How long a launcher may take to end everything inside: as long as the kernel needs to give back its memory.
const KILLED_WITHIN: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// How often a worker's memory is looked at while it works.
const MEMORY_WATCHED_EVERY: Duration = Duration::from_millis(20);
/// How much of a crashed worker's standard error goes into the error.
const STDERR_TAIL_BYTES: usize = 2048;
/// What is kept of an engine's name.
#[cfg(feature = "wasm")]
const NAME_BYTES_MAX: usize = 256;
/// An answer that comes sooner is looked out for the next time.
const AT_ONCE: Duration = Duration::from_micros(60);
/// How long an answer is looked out for before whoever waits goes to sleep; being woken takes some ten microseconds.
const LOOK_OUT: Duration = Duration::from_micros(40);
/// How much of an answer that is looked out for is taken at once.
const PIECE_BYTES: usize = 4 << 10;
/// What an idle worker's buffer keeps.
const INBOX_BYTES: usize = 16 << 10;
/// What the runtimes of workers write when the system gives them no memory: ours, LLVM, libstdc++.
const OUT_OF_MEMORY: [&str; 4] =
    ["memory allocation of", "LLVM ERROR: out of memory", "std::bad_alloc", "Unable to allocate"];

/// How often one worker loads a program: what Julia compiled for earlier loads is never given back.
const LOADS_MAX: u32 = 64;
/// How much more memory than after its first call a worker takes before another one takes its place.
const GROWTH_BYTES_MAX: u64 = 200 << 20;

/// The program that workers are started from.
#[derive(Clone, Debug)]
pub struct WorkerProgram(PathBuf);

/// What runs inside a worker.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The program to execute there; absent for a language that the worker program itself speaks.
    pub image: Option<Image>,
    /// What is left out of the sandbox, to see that the rest holds.
    pub without: Vec<Barrier>,
    /// How long a worker may take from its start to `Ready`.
    pub start_within: Duration,
    /// Whether large arrays go through memory that host and worker share.
    pub arena: bool,
    /// Whether loading takes so long that it is done ahead, for the next run.
    pub loads_ahead: bool,
}

impl Default for Engine {
    fn default() -> Self {
        let (image, without) = (None, Vec::new());
        Self { image, without, start_within: START_WITHIN, arena: false, loads_ahead: false }
    }
}

impl Engine {
    /// Gives the image with the bounds that it keeps itself.
    fn image(&self, cpu_ms: u64) -> Option<Image> {
        let mut image = self.image.clone()?;
        image.environment.insert("CATALOG_CPU_MS".into(), cpu_ms.to_string());
        if self.arena {
            image.environment.insert("CATALOG_ARENA_BYTES".into(), ARENA_BYTES.to_string());
        }
        Some(image)
    }
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    socket: UnixStream,
    /// What has come of the next frame.
    inbox: Vec<u8>,
    stdout: Pipe,
    stderr: Pipe,
    enclosed: Enclosed,
    /// What the engine calls itself, cut short.
    #[cfg(feature = "wasm")]
    name: String,
    memory_max_bytes: u64,
    started_in: Duration,
    /// How much of the pipes' bytes was shown already.
    shown: [usize; 2],
    arena: Option<Arena>,
    loaded: Option<Loaded>,
    /// Whether the last answer came so soon that being woken for the next one would be most of the wait.
    answers_at_once: bool,
}

/// What a worker has loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What the program found around itself.
    pub(crate) context: Context,
    /// Whether none of it was called since.
    pub(crate) is_fresh: bool,
    /// How often this worker has loaded.
    pub(crate) times: u32,
    /// The peak of memory after its first call, and now.
    pub(crate) peak_bytes: Option<(u64, u64)>,
}

/// Why a worker that has started is not taken.
enum Greeting {
    /// It is not what was asked for.
    Refused(VmError),
    /// It gave no answer.
    Broken(Broken),
}

impl From<Broken> for Greeting {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Who watches a run and serves its storage.
#[derive(Clone, Copy)]
pub(crate) struct Served<'a> {
    pub(crate) hold: &'a Cancel,
    /// How long one question to the storage may take.
    pub(crate) io: Duration,
}

/// Says in which process a run is, until dropped.
struct Seen<'a>(&'a Cancel);

/// Why a worker gave no answer; the worker is of no further use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("closed its socket")]
    Closed,
    #[error("output limit")]
    OutputLimit,
    #[error("memory limit")]
    MemoryLimit,
    #[error("storage took too long")]
    StorageLate,
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

impl Served<'_> {
    /// Answers what a program asks its storage.
    async fn answer(&self, ask: StorageAsk) -> Result<StorageAnswer, Broken> {
        let Some(storage) = self.hold.storage().map(Arc::clone) else {
            let reason = "the package asks for no storage; `spec.resources.storage_mb` does";
            return Ok(StorageAnswer::refused(reason));
        };
        let answered = timeout(self.io, tokio::task::spawn_blocking(move || storage.ask(ask))).await;
        Ok(answered.map_err(|_| Broken::StorageLate)?.map_err(io::Error::other)?)
    }
}

impl<'a> Seen<'a> {
    fn of(hold: &'a Cancel, pid: u32) -> Self {
        hold.monitor().runs_in(Some(pid));
        Self(hold)
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.0.monitor().runs_in(None);
    }
}

impl Worker {
    /// Starts a worker and waits until it is ready. Thread: in a tokio runtime with IO and time.
    pub(crate) async fn start(
        program: &WorkerProgram,
        language: Language,
        engine: &Engine,
        limits: &Limits,
    ) -> Result<Self, VmError> {
        let started = Instant::now();
        let failed = |source| VmError::WorkerStart { path: program.0.clone(), source };
        let mut worker = Self::spawn(program).map_err(failed)?;
        let arena = if engine.arena { Some(Arena::new().map_err(failed)?) } else { None };
        let cpu_ms = u64::try_from(limits.cpu_time().as_millis()).unwrap_or(u64::MAX);
        let own = WorkerLimits { memory_bytes: limits.memory.0, cpu_ms, temp_bytes: limits.temp.0, fuel: limits.fuel };
        let (image, without) = (engine.image(cpu_ms), engine.without.clone());
        let version = protocol::VERSION;
        let hello = protocol::encode(&ToWorker::Hello { version, language, limits: own, image, without })
            .map_err(VmError::TooLarge)?;
        let arena_fd = arena.as_ref().map(AsFd::as_fd);
        match timeout(engine.start_within, worker.greet(&hello, arena_fd, limits)).await {
            Ok(Ok(())) => {}
            Ok(Err(Greeting::Refused(error))) => return Err(error),
            Ok(Err(Greeting::Broken(broken))) => return Err(worker.explain(broken, limits).await.0),
            Err(_) => return Err(VmError::WorkerLate { limit: engine.start_within }),
        }
        let arena_bytes = if arena.is_some() { ARENA_BYTES } else { 0 };
        worker.memory_max_bytes = data_bytes(language, limits.memory.0) + arena_bytes;
        worker.arena = arena;
        worker.started_in = started.elapsed();
        Ok(worker)
    }

    /// Says `Hello` and hears both answers. Nothing of a program is sent before the sandbox is good enough for it.
    async fn greet(&mut self, hello: &[u8], arena: Option<BorrowedFd<'_>>, limits: &Limits) -> Result<(), Greeting> {
        let output_max = Bytes(STDERR_TAIL_BYTES as u64);
        let sent = self.send_first(hello, arena).await.map_err(Broken::Io)?;
        match self.ask(&hello[sent..], output_max, None).await? {
            FromWorker::Enclosed(enclosed) if enclosed.version == protocol::VERSION => self.enclosed = enclosed,
            answer => return Err(Greeting::Refused(unexpected("`Enclosed` of this version", &answer))),
        }
        // Computed here as well: what counts is what holds, not what it is called.
        let grade = self.enclosed.grade.min(Grade::of(&self.enclosed.layers));
        if grade == Grade::Refused || grade < limits.grade {
            let (sandbox, absent) = (self.enclosed.to_string(), self.enclosed.absent.clone());
            return Err(Greeting::Refused(VmError::SandboxGrade { sandbox, least: limits.grade, absent }));
        }
        match self.hear(output_max, None).await? {
            FromWorker::Ready(ready) if ready.version == protocol::VERSION => {
                #[cfg(feature = "wasm")]
                ready.engine[..ready.engine.floor_char_boundary(NAME_BYTES_MAX)].clone_into(&mut self.name);
                Ok(())
            }
            answer => Err(Greeting::Refused(unexpected("`Ready` of this version", &answer))),
        }
    }

    /// Sends the first bytes, with a descriptor if there is one, and gives how many were sent.
    async fn send_first(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let Some(descriptor) = descriptor else { return Ok(0) };
        self.socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let descriptors = [descriptor];
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
                let bytes = [IoSlice::new(bytes)];
                Ok(rustix::net::sendmsg(self.socket.as_fd(), &bytes, &mut control, SendFlags::NOSIGNAL)?)
            })
            .await
    }

    /// Takes the process to its end and tells why it had to come to this, and what the program printed.
    pub(crate) async fn explain(mut self, broken: Broken, limits: &Limits) -> (VmError, Output) {
        let error = match broken {
            Broken::OutputLimit => VmError::OutputLimit { limit: limits.output },
            Broken::MemoryLimit => VmError::MemoryLimit { limit: limits.memory },
            Broken::StorageLate => VmError::Timeout { limit: limits.io, clock: Clock::Io },
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
        ask_to_end(&self.child);
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

    /// Sends a frame and waits for the answer, reading what the program prints meanwhile, and answering what it asks its
    /// storage if there is somebody who serves it.
    ///
    /// Not to be asked again after an error or when its future was dropped: an answer may be left in between.
    pub(crate) async fn ask(
        &mut self,
        frame: &[u8],
        output_max: Bytes,
        served: Option<Served<'_>>,
    ) -> Result<FromWorker, Broken> {
        let asked = Instant::now();
        self.socket.write_all(frame).await?;
        if self.answers_at_once {
            self.look_out(asked)?;
        }
        let answer = self.hear(output_max, served).await;
        self.answers_at_once = asked.elapsed() < AT_ONCE;
        answer
    }

    /// Looks for the answer again and again for as long as being woken takes, and takes what is there of it.
    fn look_out(&mut self, asked: Instant) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        while asked.elapsed() < LOOK_OUT {
            match rustix::net::recv(self.socket.as_fd(), &mut piece, RecvFlags::DONTWAIT) {
                // That the socket has ended is seen again by whoever waits.
                Ok((count, _)) => {
                    self.inbox.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
                Err(Errno::AGAIN | Errno::INTR) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for the next answer, reading what the program prints meanwhile.
    async fn hear(&mut self, output_max: Bytes, served: Option<Served<'_>>) -> Result<FromWorker, Broken> {
        let output_max = usize::try_from(output_max.0).unwrap_or(usize::MAX);
        let _seen = served.as_ref().map(|served| Seen::of(served.hold, self.engine_pid()));
        let mut watch = interval_at(Deadline::now() + MEMORY_WATCHED_EVERY, MEMORY_WATCHED_EVERY);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let answer = loop {
            match (self.take_answer()?, &served) {
                (Some(FromWorker::Storage { ask }), Some(served)) => {
                    let answer = protocol::encode(&ToWorker::Storage { answer: served.answer(ask).await? })?;
                    self.socket.write_all(&answer).await?;
                    continue;
                }
                (Some(answer), _) => break answer,
                (None, _) => {}
            }
            tokio::select! {
                _ = watch.tick() => self.check_memory()?,
                read = self.socket.read_buf(&mut self.inbox) => if read? == 0 { return Err(Broken::Closed) },
                read = self.stdout.fill(), if !self.stdout.ended => read?,
                read = self.stderr.fill(), if !self.stderr.ended => read?,
            }
            self.check_output(output_max)?;
            self.show(served.as_ref());
        };
        // The worker writes what is printed before it answers, so all of it is in the pipes by now.
        self.stdout.fill_now(output_max);
        self.stderr.fill_now(output_max);
        self.check_output(output_max)?;
        self.show(served.as_ref());
        Ok(answer)
    }

    /// Lets whoever watches see what has come.
    fn show(&mut self, served: Option<&Served<'_>>) {
        let Some(served) = served else { return };
        let streams = [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)];
        for (shown, (stream, pipe)) in self.shown.iter_mut().zip(streams) {
            served.hold.monitor().printed(stream, pipe.bytes.get(*shown..).unwrap_or_default());
            *shown = pipe.bytes.len();
        }
    }

    /// Takes what the program has printed so far.
    pub(crate) fn take_output(&mut self) -> Output {
        let output = Output { stdout: self.stdout.text(), stderr: self.stderr.text() };
        self.stdout.bytes.clear();
        self.stderr.bytes.clear();
        self.shown = [0; 2];
        output
    }

    /// Tells whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Gives what the launcher said of the sandbox.
    pub(crate) fn enclosed(&self) -> &Enclosed {
        &self.enclosed
    }

    /// Gives the memory it shares with this process, if it does.
    pub(crate) fn arena(&mut self) -> Option<&mut Arena> {
        self.arena.as_mut()
    }

    /// Tells what it has loaded.
    pub(crate) fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// Notes that a program was loaded.
    pub(crate) fn has_loaded(&mut self, context: &Context) {
        let (times, peak_bytes) = self.loaded.take().map_or((0, None), |loaded| (loaded.times, loaded.peak_bytes));
        self.loaded = Some(Loaded { context: context.clone(), is_fresh: true, times: times + 1, peak_bytes });
    }

    /// Tells whether it has loaded so often or taken so much more memory that another one should take its place.
    pub(crate) fn has_grown(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| {
            let grown = loaded.peak_bytes.map_or(0, |(first, now)| now.saturating_sub(first));
            loaded.times >= LOADS_MAX || grown > GROWTH_BYTES_MAX
        })
    }

    /// Makes ready for a call: large arrays are placed where the worker finds them, and its program is no longer fresh.
    pub(crate) fn place(&mut self, args: &[Value]) -> io::Result<Option<Vec<Value>>> {
        if let Some(loaded) = &mut self.loaded {
            loaded.is_fresh = false;
        }
        self.arena.as_mut().map_or(Ok(None), |arena| arena.place_all(args))
    }

    /// Takes what a call gave: copies what it refers to.
    pub(crate) fn fetch(&mut self, value: &mut Value, peak_bytes: u64) -> Result<(), String> {
        if let Some(loaded) = &mut self.loaded {
            loaded.peak_bytes = Some((loaded.peak_bytes.map_or(peak_bytes, |(first, _)| first), peak_bytes));
        }
        match &self.arena {
            Some(arena) => arena.fetch_all(value),
            None if arena::refers(value) => Err("the result is in shared memory, and there is none".into()),
            None => Ok(()),
        }
    }

    /// Gives what the engine calls itself.
    #[cfg(feature = "wasm")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the time from start to `Ready`.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Gives the process id of the launcher.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives the process id of the engine; zero if it is not known.
    pub(crate) fn engine_pid(&self) -> u32 {
        self.enclosed.process
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
            enclosed: Enclosed {
                version: 0,
                layers: Vec::new(),
                absent: Vec::new(),
                grade: Grade::Refused,
                process: 0,
            },
            #[cfg(feature = "wasm")]
            name: String::new(),
            memory_max_bytes: u64::MAX,
            started_in: Duration::ZERO,
            arena: None,
            loaded: None,
            shown: [0; 2],
            answers_at_once: false,
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
        // `Ready` follows `Enclosed` without another question; everything else that comes unasked is refused.
        let more = self.inbox.is_empty() || matches!(answer, FromWorker::Enclosed(_));
        if more { Ok(Some(answer)) } else { Err(FrameError::Trailing { at: length }.into()) }
    }

    /// Looks at the memory the engine has written, which is the third net: the kernel's limits are the first, and what
    /// escapes them (pages shared without a file) has no call that makes them. The arena is the host's own.
    fn check_memory(&self) -> Result<(), Broken> {
        match written_memory_bytes(self.enclosed.process) {
            Some(bytes) if bytes > self.memory_max_bytes => Err(Broken::MemoryLimit),
            _ => Ok(()),
        }
    }

    fn check_output(&self, output_max: usize) -> Result<(), Broken> {
        if self.stdout.bytes.len() + self.stderr.bytes.len() > output_max { Err(Broken::OutputLimit) } else { Ok(()) }
    }
}

/// Gives the memory of a process that no file backs, in bytes; nothing if it is gone.
fn written_memory_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name| {
        let rest = status.lines().find_map(|line: &str| line.strip_prefix(name))?;
        rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some((field("RssAnon:")? + field("RssShmem:")?) * 1024)
}

impl Drop for Worker {
    /// Kills and reaps. Blocks until the kernel has ended the process, some milliseconds, unless [`Worker::end`] has
    /// waited before.
    fn drop(&mut self) {
        kill(&mut self.child);
        // It can only fail if somebody else has reaped the process, and then it is gone as well.
        let _ = self.child.wait();
    }
}

/// Asks a launcher to end everything inside and itself.
fn ask_to_end(child: &Child) {
    // It is not reaped before `drop`, so the number is its own.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}

/// Ends a launcher with everything inside its sandbox, and leaves it to be reaped.
///
/// It is asked first: it kills the first process inside, waits until the kernel has taken everything down, and so leaves
/// nobody behind for the machine's own init to reap. It runs nothing of a program, so it can be relied on; if it is not
/// there within [`KILLED_WITHIN`] all the same, the kernel ends it and, by its death, what is inside.
fn kill(child: &mut Child) {
    // While it is not reaped nobody else can have its number, so no signal can hit a stranger.
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    let pid = Pid::from_child(child);
    let ended = || -> rustix::io::Result<bool> {
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        rustix::process::pidfd_send_signal(&process, Signal::TERM)?;
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&KILLED_WITHIN))? > 0)
    };
    if !ended().unwrap_or(false) {
        let _ = kill_process_group(pid, Signal::KILL);
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

    /// Takes what is there without waiting, until there are more than `bytes_max`. Asks the kernel and not the runtime, which may
    /// have heard of an answer and not yet of what was printed before it.
    fn fill_now(&mut self, bytes_max: usize) {
        while !self.ended && self.bytes.len() <= bytes_max {
            self.bytes.reserve(Self::CHUNK_BYTES);
            match rustix::io::read(&self.pipe, rustix::buffer::spare_capacity(&mut self.bytes)) {
                Ok(read) => self.ended = read == 0,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
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
        Some(Signal::ABORT | Signal::ILL | Signal::TRAP | Signal::SEGV) | None
            if OUT_OF_MEMORY.iter().any(|words| tail.contains(words)) =>
        {
            VmError::MemoryLimit { limit: limits.memory }
        }
        _ => VmError::WorkerCrashed {
            exit: status.map_or_else(|| "closed its socket and went on".into(), |status| status.to_string()),
            stderr_tail: tail.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_printed_is_taken_before_the_runtime_has_heard_of_it() {
        let (ours, mut theirs) = io::pipe().expect("there are descriptors");
        let mut pipe = Pipe::new(ours.into()).expect("is a pipe");
        theirs.write_all(&[7; 1000]).expect("has room");
        pipe.fill_now(10);
        assert_eq!((pipe.bytes.len(), pipe.ended), (1000, false));
        theirs.write_all(&[7; 24]).expect("has room");
        drop(theirs);
        pipe.fill_now(4096);
        assert_eq!((pipe.bytes.len(), pipe.ended), (1024, true));
    }
}
