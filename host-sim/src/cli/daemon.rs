//! A node that runs until it is told to stop, and the socket other commands reach it by.
//!
//! One connection carries one operation: a JSON line in, then lines `{"progress": …}` and one line `{"answer": …}` or
//! `{"error": …}`. A caller that hangs up cancels what it asked for. The socket lies in a directory of the owner alone.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use host_sim::console::Console;
use host_sim::exporter::Exporter;
use host_sim::operation::{Line, Operation, perform};
use host_sim::trust::Unlock;
use host_sim::{accept, authority};
use hypermesh_abi::records::Progress;
use hypermesh_abi::{Code, Error};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Telemetry;
use super::node::Here;

/// The longest line either side reads.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Connections at the same time; more wait.
const CONNECTIONS_MAX: usize = 256;
/// How long operations in flight may take to end when the node stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The longest path of a socket: `sun_path` of unix(7) without its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// How often a member asks its authority, which bounds how long a revocation takes to be known.
const AUTHORITY_TICK: Duration = Duration::from_secs(60);
/// How often expired leases are taken back.
const LEASE_TICK: Duration = Duration::from_secs(1);

/// A bound socket, removed when dropped.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Says whether a node answers on a home.
pub(crate) async fn is_running(home: &Path) -> bool {
    UnixStream::connect(path(home)).await.is_ok()
}

/// Asks the running node.
///
/// # Errors
/// `IO` if it hangs up, and whatever it says.
pub(crate) async fn ask(home: &Path, operation: &Operation, progress: mpsc::Sender<Progress>) -> Result<Json, Error> {
    let fault = |error: &std::io::Error| {
        Error::new(Code::IO, format!("the node on `{}` does not answer: {error}", home.display()))
    };
    let stream = UnixStream::connect(path(home)).await.map_err(|error| fault(&error))?;
    let (reader, mut writer) = stream.into_split();
    let mut request = serde_json::to_vec(operation).map_err(|error| Error::wrap(Code::INTERNAL, &error))?;
    request.push(b'\n');
    writer.write_all(&request).await.map_err(|error| fault(&error))?;
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_line(&mut line).await.map_err(|error| fault(&error))?;
        if read == 0 {
            return Err(fault(&std::io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line).map_err(|error| Error::wrap(Code::VERSION_INCOMPATIBLE, &error))? {
            // Progress that nobody is fast enough to see is superseded by the next.
            Line::Progress(report) => drop(progress.try_send(report)),
            Line::Answer(answer) => return Ok(answer),
            Line::Error(record) => return Err((*record).into()),
        }
    }
}

impl Socket {
    /// Binds the socket of a home.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` if a node runs there, `IO` otherwise.
    pub(crate) async fn bind(home: &Path) -> Result<Self, Error> {
        if is_running(home).await {
            let message = format!("a node runs on `{}` already", home.display());
            return Err(Error::new(Code::ALREADY_EXISTS, message).help("`host-sim down` stops it"));
        }
        let path = path(home);
        let fault = |error: &std::io::Error| Error::new(Code::IO, format!("cannot bind `{}`: {error}", path.display()));
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "the socket `{}` has {} bytes, and a path of a socket has at most {SOCKET_PATH_BYTES_MAX}",
                path.display(),
                path.as_os_str().len()
            );
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help("give a shorter --home, or a link to it"));
        }
        let directory = path.parent().unwrap_or(home);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| fault(&error))?;
        // What is left of a node that was killed answers nobody, as was just seen.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(|error| fault(&error))?;
        Ok(Self { listener, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until a caller or a signal says stop, then lets what is in flight end.
    pub(crate) async fn serve(
        self,
        node: Here,
        exporter: Option<Exporter>,
        console: Option<Console>,
        telemetry: Option<Telemetry>,
    ) {
        let node = Arc::new(node);
        let (stop, stopping) = watch::channel(false);
        let stopped = || {
            let mut stopping = stopping.clone();
            async move { drop(stopping.wait_for(|stop| *stop).await) }
        };
        let stop = Arc::new(stop);
        let mut tasks = JoinSet::new();
        if let Some(exporter) = exporter {
            tasks.spawn(exporter.serve(node.host.clone(), stopped()));
        }
        if let Some(console) = console {
            tasks.spawn(console.serve(node.host.clone(), stopped()));
        }
        if let Some((settings, spans)) = telemetry {
            tasks.spawn(settings.export(node.host.clone(), spans, stopped()));
        }
        tasks.spawn(ask_authority(node.host.home().to_path_buf(), stopping.clone()));
        tasks.spawn(expire_leases(Arc::clone(&node), stopped()));
        let mut signals = Signals::new();
        let until = async {
            tokio::select! {
                () = stopped() => {}
                () = signals.wait() => {}
            }
        };
        let answered = |stream| {
            let (node, stop) = (Arc::clone(&node), Arc::clone(&stop));
            async move {
                if let Err(error) = answer(stream, &node, &stop).await {
                    tracing::debug!("connection: {error}");
                }
            }
        };
        let mut in_flight = accept::serve(&self.listener, CONNECTIONS_MAX, until, answered).await;
        drop(self);
        stop.send_replace(true);
        let drained = async {
            while in_flight.join_next().await.is_some() {}
            while tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(STOP_GRACE, drained).await.is_err() {
            tracing::warn!("operations in flight were cancelled");
        }
        node.host.shutdown().await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What tells this process to stop.
pub(crate) struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self { interrupt: signal(SignalKind::interrupt()).ok(), terminate: signal(SignalKind::terminate()).ok() }
    }

    /// Waits for the first of them.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            () = received(self.interrupt.as_mut()) => {}
            () = received(self.terminate.as_mut()) => {}
        }
    }
}

/// Keeps certificates and revocation lists of a member as new as its authority has them, until the node stops.
async fn ask_authority(home: PathBuf, mut stopping: watch::Receiver<bool>) {
    if !authority::is_member(&home) {
        return;
    }
    let mut tick = tokio::time::interval(AUTHORITY_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let asking = async {
        loop {
            tick.tick().await;
            let fetched = async { authority::fetch(&home, &Unlock::from_environment(None)?).await };
            match fetched.await {
                Ok(_) => tracing::debug!("the certificates of this node are as new as its authority has them"),
                Err(error) => tracing::warn!("the authority of this node is not to be had: {error}"),
            }
        }
    };
    tokio::select! {
        () = asking => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// Takes expired leases back, until the node stops.
async fn expire_leases(node: Arc<Here>, stopped: impl Future<Output = ()>) {
    let mut tick = tokio::time::interval(LEASE_TICK);
    let expiring = async {
        loop {
            tick.tick().await;
            node.expire_leases();
        }
    };
    tokio::select! {
        () = expiring => {}
        () = stopped => {}
    }
}

async fn received(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn answer(stream: UnixStream, node: &Here, stop: &watch::Sender<bool>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    (&mut reader).take(LINE_BYTES_MAX).read_line(&mut line).await?;
    if line.is_empty() {
        return Ok(());
    }
    let operation: Operation = serde_json::from_str(&line)?;
    let stops = matches!(operation, Operation::Stop);
    let (sender, mut progress) = mpsc::channel(64);
    let mut work = std::pin::pin!(perform(&node.host, operation, Some(sender)));
    let mut reporting = true;
    let outcome = loop {
        let mut byte = [0];
        tokio::select! {
            outcome = &mut work => break outcome,
            report = progress.recv(), if reporting => match report {
                Some(report) => write(&mut writer, &Line::Progress(report)).await?,
                None => reporting = false,
            },
            // Nothing more comes from a caller but its end, which cancels the work by dropping it.
            _ = reader.read(&mut byte) => return Ok(()),
        }
    };
    write(&mut writer, &Line::last(outcome)).await?;
    if stops {
        stop.send_replace(true);
    }
    Ok(())
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), line: &Line) -> std::io::Result<()> {
    writer.write_all(&line.to_bytes()?).await
}

/// Removes what a node that was killed has left of its socket.
pub(crate) fn remove_socket(home: &Path) {
    let _ = std::fs::remove_file(path(home));
}

fn path(home: &Path) -> PathBuf {
    home.join("run").join("host.sock")
}
