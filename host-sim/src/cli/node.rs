//! The node that commands talk to: the one running on this home, or one made in this process for the one command.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host_sim::discovery;
use host_sim::host::{Host, HostOptions};
use host_sim::operation::{Operation, perform};
use hypermesh_abi::records::Progress;
use hypermesh_abi::{Code, Error};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::daemon;
use super::output::Output;

/// A node.
pub(crate) enum Node {
    /// In this process.
    Here(Box<Here>),
    /// Behind a socket.
    Running(PathBuf),
}

/// A node in this process; alone on its home while it lives.
pub(crate) struct Here {
    pub(crate) host: Host,
    _lock: HomeLock,
}

/// The right to use a home; other processes wait for it.
pub(crate) struct HomeLock {
    _file: File,
}

/// How long a command waits for another one on the same home.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

impl Node {
    /// Finds the node of a home: the running one if there is one.
    ///
    /// # Errors
    /// `IO` or `BUSY` if the home cannot be used.
    pub(crate) async fn of(home: &Path) -> Result<Self, Error> {
        if daemon::is_running(home).await {
            return Ok(Self::Running(home.into()));
        }
        Ok(Self::Here(Box::new(Here::start(home, &[]).await?)))
    }

    /// Asks the node; progress goes to the output.
    ///
    /// # Errors
    /// Whatever the node says.
    pub(crate) async fn ask(&self, operation: Operation, output: &Output) -> Result<Json, Error> {
        let (sender, mut receiver) = mpsc::channel::<Progress>(64);
        let answer = async {
            match self {
                Self::Here(here) => perform(&here.host, operation, Some(sender)).await,
                Self::Running(home) => daemon::ask(home, &operation, sender).await,
            }
        };
        let show = async {
            while let Some(progress) = receiver.recv().await {
                output.progress(&progress);
            }
        };
        let (answer, ()) = tokio::join!(answer, show);
        answer
    }

    /// Asks for a record.
    ///
    /// # Errors
    /// Whatever the node says.
    pub(crate) async fn get<T: DeserializeOwned>(&self, operation: Operation, output: &Output) -> Result<T, Error> {
        let answer = self.ask(operation, output).await?;
        serde_json::from_value(answer).map_err(|error| Error::wrap(Code::VERSION_INCOMPATIBLE, &error))
    }

    /// Says why an extension is not there, if it was found and could not be loaded.
    pub(crate) fn failure_of(&self, extension: &str) -> Option<Error> {
        let Self::Here(here) = self else { return None };
        here.host.failed().into_iter().find_map(|(id, error)| (id == extension).then_some(error))
    }

    /// Stops what this process started.
    pub(crate) async fn close(self) {
        if let Self::Here(here) = self {
            here.host.shutdown().await;
        }
    }
}

impl Here {
    /// Starts a node in this process with every extension of the home and the given directories.
    ///
    /// # Errors
    /// `IO` or `BUSY` if the home cannot be used.
    pub(crate) async fn start(home: &Path, further: &[PathBuf]) -> Result<Self, Error> {
        let home_of_lock = home.to_path_buf();
        let lock = tokio::task::spawn_blocking(move || HomeLock::take(&home_of_lock))
            .await
            .map_err(|error| Error::wrap(Code::INTERNAL, &error))??;
        let host = Host::open(HostOptions::new(home.into())?)?;
        let mut search = vec![home.join("extensions")];
        search.extend_from_slice(further);
        let user_home = std::env::var_os("HOME").map(PathBuf::from);
        host.load_all(&discovery::search_paths(&search, user_home.as_deref())).await;
        for (id, error) in host.failed() {
            tracing::info!("extension {id} is not loaded: {error}");
        }
        Ok(Self { host, _lock: lock })
    }
}

impl Here {
    /// Takes back what was leased for longer than it may be.
    pub(crate) fn expire_leases(&self) {
        for lease in self.host.asset_manager().expire() {
            tracing::warn!("the lease of {} for `{}` has expired and is taken back", lease.owner, lease.label);
        }
    }
}

impl HomeLock {
    /// Waits for whoever uses the home, a minute at most.
    ///
    /// # Errors
    /// `BUSY`, or `IO` if the home cannot be used.
    pub(crate) fn take(home: &Path) -> Result<Self, Error> {
        let fault = |error: &std::io::Error| {
            Error::new(Code::IO, format!("cannot use the home `{}`: {error}", home.display()))
                .help("give another directory with --home")
        };
        std::fs::create_dir_all(home).map_err(|error| fault(&error))?;
        let path = home.join("lock");
        let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(|error| fault(&error))?;
        let started = Instant::now();
        let mut told = false;
        while let Err(error) = file.try_lock() {
            match error {
                std::fs::TryLockError::Error(error) => return Err(fault(&error)),
                std::fs::TryLockError::WouldBlock if started.elapsed() > LOCK_TIMEOUT => {
                    let message = format!("the home `{}` is in use by {}", home.display(), holder(&mut file));
                    return Err(Error::new(Code::BUSY, message).help("wait for it to end, or give another --home"));
                }
                std::fs::TryLockError::WouldBlock => {
                    if !told && started.elapsed() > Duration::from_secs(1) {
                        tracing::warn!("waiting for {} to end", holder(&mut file));
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(|error| fault(&error))?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    if read.is_ok() && !text.is_empty() { format!("process {text}") } else { "another process".into() }
}
