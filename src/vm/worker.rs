//! The life of a worker process: greet, close the sandbox, then load and call as the host says.
//!
//! The socket is standard input, so that the host needs no unsafe code to hand it over; standard output and standard
//! error are pipes for what the program prints. One thread runs everything; a second one only watches the socket's end.
//!
//! Invariant: no byte of a program is looked at before the sandbox is closed.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::Serialize;

use crate::value::Value;
#[cfg(feature = "wasm")]
use crate::vm::VmError;
#[cfg(feature = "lua")]
use crate::vm::lua;
use crate::vm::program::{Context, Language, Program};
use crate::vm::protocol::{
    self, FrameError, FromWorker, Ready, ScriptError, ScriptErrorKind, ToWorker, WorkerLimits, WorkerUsage,
};
use crate::vm::sandbox::{self, Grade, Plan, Sandbox, SandboxError};
#[cfg(feature = "lua")]
use crate::vm::storage::{StorageAnswer, StorageAsk};
#[cfg(feature = "wasm")]
use crate::vm::wasm;

pub use crate::vm::sandbox::EXIT_REFUSED;

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    #[error("host: {0}")]
    Frame(#[from] FrameError),
    #[error("host: expected {0}")]
    Expected(String),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the sandbox is {0}")]
    Refused(String),
    #[error("cannot execute `{}`: {source}", program.display())]
    Image { program: PathBuf, source: io::Error },
    #[cfg(feature = "wasm")]
    #[error(transparent)]
    Engine(#[from] VmError),
}

/// The engines that this program has itself.
enum Engine {
    #[cfg(feature = "lua")]
    Lua(lua::Engine),
    #[cfg(feature = "wasm")]
    Wasm(Box<wasm::Engine>),
}

/// Serves the host until it closes the socket; what a worker program's `main` calls, first and alone.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("catalog-worker: {error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn serve() -> Result<(), WorkerError> {
    let input = rustix::stdio::stdin();
    // A second descriptor would be one more to keep open; this one is borrowed for the life of the process.
    let mut socket = Socket(input);
    let (first, arena) = socket.receive_first()?;
    let ToWorker::Hello { version, language, limits, image, without } = first else {
        return Err(WorkerError::Expected("`Hello` first; this program is started by Catalog only".into()));
    };
    let is_own = language == Language::Probe || Engine::serves(language);
    if version != protocol::VERSION || (image.is_none() && !is_own) {
        let served = protocol::VERSION;
        let expected = format!("version {served} and a language built in, not version {version} and {language}");
        return Err(WorkerError::Expected(expected));
    }
    let sandbox = Sandbox::enter(input, Plan { language, limits, image: image.as_ref(), without: &without, arena })?;
    socket.send(&FromWorker::Enclosed(sandbox.enclosed().clone()))?;
    if sandbox.enclosed().grade == Grade::Refused {
        return Err(WorkerError::Refused(sandbox.enclosed().to_string()));
    }
    if let Some(image) = image {
        // Descriptors 0 to 2 and the arena are inherited; this returns only if it fails.
        let error = Command::new(&image.program).args(&image.args).env_clear().envs(&image.environment).exec();
        return Err(WorkerError::Image { program: image.program, source: error });
    }
    if language == Language::Probe {
        return serve_attacks(&mut socket);
    }
    let engine = Engine::new(language, limits, input)?;
    serve_calls(&mut socket, limits, engine)
}

/// Makes attacks on the sandbox by name, for a self-test.
fn serve_attacks<Fd: rustix::fd::AsFd>(socket: &mut Socket<Fd>) -> Result<(), WorkerError> {
    socket.send(&FromWorker::Ready(Ready { version: protocol::VERSION, engine: "attacks".into() }))?;
    while let Some(request) = socket.receive()? {
        let answer = match request {
            ToWorker::Hello { .. } | ToWorker::Storage { .. } => {
                return Err(WorkerError::Expected("`Load` or `Call`".into()));
            }
            ToWorker::Load { .. } => FromWorker::Loaded,
            ToWorker::Call { id, function, args, .. } => match crate::vm::escape::attack(&function, &args) {
                Ok(value) => {
                    let usage =
                        WorkerUsage { cpu_us: 0, memory_peak_bytes: sandbox::memory_peak_bytes(), fuel_used: 0 };
                    FromWorker::Done { id, value, usage }
                }
                Err(reason) => FromWorker::Failed { id, error: ScriptError::new(ScriptErrorKind::NoFunction, reason) },
            },
        };
        socket.answer(answer)?;
    }
    Ok(())
}

impl Engine {
    fn serves(language: Language) -> bool {
        match language {
            Language::Lua => cfg!(feature = "lua"),
            Language::Wasm => cfg!(feature = "wasm"),
            Language::Julia | Language::Probe => false,
        }
    }

    fn new(language: Language, limits: WorkerLimits, socket: BorrowedFd<'static>) -> Result<Self, WorkerError> {
        // WebAssembly asks no storage.
        let _ = socket;
        match language {
            #[cfg(feature = "lua")]
            Language::Lua => {
                Ok(Self::Lua(lua::Engine::new(limits.memory_bytes).storing(move |ask| Socket(socket).ask_storage(ask))))
            }
            #[cfg(feature = "wasm")]
            Language::Wasm => Ok(Self::Wasm(Box::new(wasm::Engine::new(limits.memory_bytes, limits.fuel)?))),
            other => Err(WorkerError::Expected(format!("a language built in, not {other} with {limits:?}"))),
        }
    }

    fn name(&self) -> &str {
        match self {
            #[cfg(feature = "lua")]
            Self::Lua(_) => "Lua 5.4",
            #[cfg(feature = "wasm")]
            Self::Wasm(engine) => engine.identity(),
        }
    }

    fn load(&mut self, program: &Program, context: &Context, compiled: Option<Vec<u8>>) -> FromWorker {
        let loaded: Result<Option<Vec<u8>>, ScriptError> = match self {
            #[cfg(feature = "lua")]
            Self::Lua(engine) => engine.load(program, context).map(|()| compiled.filter(|_| false)),
            #[cfg(feature = "wasm")]
            Self::Wasm(engine) => {
                let loaded = engine.load(program, context, compiled.map(wasm::Artefact::believed));
                loaded.map(|new| new.map(wasm::Artefact::into_bytes))
            }
        };
        match loaded {
            Ok(Some(artefact)) => FromWorker::Compiled { artefact },
            Ok(None) => FromWorker::Loaded,
            Err(error) => FromWorker::LoadFailed { error: error.bounded() },
        }
    }

    /// Makes ready for another program, when nobody waits for that.
    fn clear(&mut self) {
        match self {
            #[cfg(feature = "lua")]
            Self::Lua(engine) => engine.clear(),
            // Which is kept compiled for the next run of it, and has no state.
            #[cfg(feature = "wasm")]
            Self::Wasm(_) => {}
        }
    }

    /// Calls a function; gives the instructions it took with its value, where they are counted.
    fn call(&mut self, function: &str, args: &[Value]) -> Result<(Value, u64), ScriptError> {
        match self {
            #[cfg(feature = "lua")]
            Self::Lua(engine) => Ok((engine.call(function, args)?, 0)),
            #[cfg(feature = "wasm")]
            Self::Wasm(engine) => Ok((engine.call(function, args)?, engine.fuel_used())),
        }
    }
}

fn serve_calls<Fd: rustix::fd::AsFd>(
    socket: &mut Socket<Fd>,
    limits: WorkerLimits,
    mut engine: Engine,
) -> Result<(), WorkerError> {
    socket.send(&FromWorker::Ready(Ready { version: protocol::VERSION, engine: engine.name().into() }))?;
    let (mut last_allowed, mut comes_at_once) = (0, false);
    loop {
        let free = Instant::now();
        if comes_at_once {
            socket.look_out();
        }
        let Some(request) = socket.receive()? else { return Ok(()) };
        comes_at_once = free.elapsed() < AT_ONCE;
        let cpu_before = sandbox::cpu_time();
        let allowed = sandbox::cpu_seconds(cpu_before, Duration::from_millis(limits.cpu_ms));
        if allowed != last_allowed {
            sandbox::allow_cpu(allowed)?;
            last_allowed = allowed;
        }
        let is_last = matches!(request, ToWorker::Call { is_last: true, .. });
        let answer = match request {
            ToWorker::Storage { .. } => return Err(WorkerError::Expected("`Load` or `Call`, not an answer".into())),
            ToWorker::Hello { .. } => return Err(WorkerError::Expected("`Load` or `Call`, not `Hello` again".into())),
            ToWorker::Load { program, context, compiled } => engine.load(&program, &context, compiled),
            ToWorker::Call { id, function, args, .. } => match engine.call(&function, &args) {
                Ok((value, fuel_used)) => {
                    let cpu_us = u64::try_from((sandbox::cpu_time() - cpu_before).as_micros()).unwrap_or(u64::MAX);
                    let usage = WorkerUsage { cpu_us, memory_peak_bytes: sandbox::memory_peak_bytes(), fuel_used };
                    FromWorker::Done { id, value, usage }
                }
                Err(error) => FromWorker::Failed { id, error: error.bounded() },
            },
        };
        // The host takes what is in the pipes when it has the answer. If it has closed them, it wants nothing more.
        let _ = io::stdout().flush();
        socket.answer(answer)?;
        if is_last {
            engine.clear();
        }
    }
}

/// When a message came sooner after the last answer than this, the next one is looked out for.
const AT_ONCE: Duration = Duration::from_micros(30);
/// How long a message is looked out for before the worker goes to sleep; being woken takes some ten microseconds.
const LOOK_OUT: Duration = Duration::from_micros(20);
/// How much of a message is asked for at first, in bytes.
const FIRST_BYTES: usize = 4096;

struct Socket<Fd>(Fd);

impl<Fd: rustix::fd::AsFd> Socket<Fd> {
    /// Takes the first message, and the descriptor that came with it.
    fn receive_first(&mut self) -> Result<(ToWorker<'static>, Option<OwnedFd>), WorkerError> {
        let mut header = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut header)], &mut control, flags)
            .map_err(io::Error::from)?
            .bytes;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((self.receive_rest(&header[..got])?, descriptor))
    }

    /// Looks again and again whether a message has come.
    fn look_out(&self) {
        let began = Instant::now();
        let mut wanted = [PollFd::new(&self.0, PollFlags::IN)];
        while began.elapsed() < LOOK_OUT && poll(&mut wanted, Some(&Timespec::default())) == Ok(0) {
            std::hint::spin_loop();
        }
    }

    /// Takes the next message; `None` when the host has closed its end between two messages.
    fn receive(&mut self) -> Result<Option<ToWorker<'static>>, WorkerError> {
        // Most messages come whole with their first bytes, and then one call to the kernel is all.
        let mut first = [0; FIRST_BYTES];
        match self.read(&mut first)? {
            0 => Ok(None),
            got => Ok(Some(self.receive_rest(&first[..got])?)),
        }
    }

    /// Takes the message that begins with these bytes.
    fn receive_rest(&mut self, first: &[u8]) -> Result<ToWorker<'static>, WorkerError> {
        let mut header = [0; 4];
        let (begun, body) = first.split_at(first.len().min(header.len()));
        header[..begun.len()].copy_from_slice(begun);
        self.read_exact(&mut header[begun.len()..])?;
        let mut frame = vec![0; protocol::frame_length(header)?];
        let Some((begun, rest)) = frame.split_at_mut_checked(body.len()) else {
            return Err(WorkerError::Expected("one message at a time".into()));
        };
        begun.copy_from_slice(body);
        self.read_exact(rest)?;
        Ok(protocol::decode(&frame)?)
    }

    /// Asks the host's storage, in the middle of a request of the host.
    #[cfg(feature = "lua")]
    fn ask_storage(&mut self, ask: StorageAsk) -> Result<StorageAnswer, String> {
        self.send(&FromWorker::Storage { ask }).map_err(|error| error.to_string())?;
        match self.receive().map_err(|error| error.to_string())? {
            Some(ToWorker::Storage { answer }) => Ok(answer),
            _ => Err("the host did not answer".into()),
        }
    }

    /// Sends an answer; a value that no frame can hold becomes the error that says so.
    fn answer(&mut self, answer: FromWorker) -> Result<(), WorkerError> {
        match (protocol::encode(&answer), answer) {
            (Ok(frame), _) => Ok(self.write_all(&frame)?),
            (Err(refused), FromWorker::Done { id, .. }) => {
                let message = format!("the result cannot be handed over: {refused}");
                self.send(&FromWorker::Failed { id, error: ScriptError::new(ScriptErrorKind::Value, message) })
            }
            (Err(refused), _) => Err(refused.into()),
        }
    }

    fn send<T: Serialize>(&mut self, message: &T) -> Result<(), WorkerError> {
        Ok(self.write_all(&protocol::encode(message)?)?)
    }
}

impl<Fd: rustix::fd::AsFd> Read for Socket<Fd> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }
}

impl<Fd: rustix::fd::AsFd> Write for Socket<Fd> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
