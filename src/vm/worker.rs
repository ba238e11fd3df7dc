//! The life of a worker process: greet, close the sandbox, then load and call as the host says.
//!
//! The socket is standard input, so that the host needs no unsafe code to hand it over; standard output and standard
//! error are pipes for what the program prints. One thread runs everything; a second one only watches the socket's end.
//!
//! Invariant: no byte of a program is looked at before the sandbox is closed.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::vm::lua::Engine;
use crate::vm::program::Language;
use crate::vm::protocol::{self, FrameError, FromWorker, Ready, ScriptError, ScriptErrorKind, ToWorker, WorkerUsage};
use crate::vm::sandbox::{self, Sandbox, SandboxError};

/// The exit code of a worker whose host broke the protocol, or that could not close its sandbox.
pub const EXIT_REFUSED: u8 = 70;

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
    let Some(ToWorker::Hello { version, language, limits }) = socket.receive()? else {
        return Err(WorkerError::Expected("`Hello` first; this program is started by Catalog only".into()));
    };
    if (version, language) != (protocol::VERSION, Language::Lua) {
        let served = protocol::VERSION;
        return Err(WorkerError::Expected(format!("version {served} and lua, not version {version} and {language}")));
    }
    let sandbox = Sandbox::enter(input, limits)?;
    socket.send(&FromWorker::Ready(Ready {
        version: protocol::VERSION,
        engine: "Lua 5.4".into(),
        layers: sandbox.layers(),
        grade: sandbox::GRADE.into(),
    }))?;
    let mut engine = Engine::new(limits.memory_bytes);
    while let Some(request) = socket.receive()? {
        let cpu_before = sandbox::cpu_time();
        sandbox::allow_cpu(Duration::from_millis(limits.cpu_ms))?;
        let answer = match request {
            ToWorker::Hello { .. } => return Err(WorkerError::Expected("`Load` or `Call`, not `Hello` again".into())),
            ToWorker::Load { program, context } => match engine.load(&program, &context) {
                Ok(()) => FromWorker::Loaded,
                Err(error) => FromWorker::LoadFailed { error: error.bounded() },
            },
            ToWorker::Call { id, function, args } => match engine.call(&function, &args) {
                Ok(value) => {
                    let cpu_us = u64::try_from((sandbox::cpu_time() - cpu_before).as_micros()).unwrap_or(u64::MAX);
                    let usage = WorkerUsage { cpu_us, memory_peak_bytes: sandbox.memory_peak_bytes() };
                    FromWorker::Done { id, value, usage }
                }
                Err(error) => FromWorker::Failed { id, error: error.bounded() },
            },
        };
        socket.answer(answer)?;
    }
    Ok(())
}

struct Socket<Fd>(Fd);

impl<Fd: rustix::fd::AsFd> Socket<Fd> {
    /// Takes the next message; `None` when the host has closed its end between two messages.
    fn receive(&mut self) -> Result<Option<ToWorker<'static>>, WorkerError> {
        let mut header = [0; 4];
        match self.read(&mut header)? {
            0 => return Ok(None),
            got => self.read_exact(&mut header[got..])?,
        }
        let mut frame = vec![0; protocol::frame_length(header)?];
        self.read_exact(&mut frame)?;
        Ok(Some(protocol::decode(&frame)?))
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
