//! Child processes that touch a library before the host does.
//!
//! Loading runs a library's initialisers, and a library may abort, exit or hang in them. So the same program is started
//! again with one task in its environment; what it prints behind [`MARK`] is its answer, and how it ends is evidence.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How to start this program again so that it runs [`crate::child_main`].
#[derive(Clone, Debug)]
pub struct ChildCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How long one task may take.
    pub timeout: Duration,
}

/// How long a task may take if nothing else is said.
pub const TASK_TIMEOUT: Duration = Duration::from_secs(20);

/// The environment variable that carries the task, as JSON.
pub const TASK: &str = "HYPERMESH_CHILD_TASK";

/// What stands before the answer on standard output.
pub const MARK: &str = "\u{1}hypermesh-answer ";

/// The longest answer read from a child.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// With this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed because it ran longer than it may.
    TimeOut,
}

/// What became of a child.
#[derive(Clone, Debug)]
pub struct Report<T> {
    /// Its answer, if it gave one before it ended.
    pub answer: Option<T>,
    /// How it ended.
    pub ending: Ending,
    /// The end of what it wrote to standard error, in one line.
    pub stderr: String,
}

impl ChildCommand {
    /// Starts this very executable again.
    ///
    /// # Errors
    /// What the system says when the executable cannot be found.
    pub fn this_program() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, arguments: Vec::new(), timeout: TASK_TIMEOUT })
    }

    /// Runs a task in a child and waits for it, at most [`Self::timeout`]. Blocks.
    ///
    /// # Errors
    /// What the system says when the child cannot be started.
    pub fn run<T: DeserializeOwned>(&self, task: &impl Serialize) -> std::io::Result<Report<T>> {
        let task = serde_json::to_string(task)?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env(TASK, task)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let ending = wait(&mut child, self.timeout)?;
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        let answer = stdout.rsplit_once(MARK).and_then(|(_, rest)| serde_json::from_str(rest.lines().next()?).ok());
        Ok(Report { answer, ending, stderr: last_words(&stderr) })
    }
}

impl Ending {
    /// Says in a few words how it ended.
    pub fn describe(&self) -> String {
        match self {
            Self::Exit(0) => "ended without an answer".into(),
            Self::Exit(status) => format!("ended the process with exit status {status}"),
            Self::Signal(6) => "aborted the process (SIGABRT)".into(),
            Self::Signal(11) => "crashed the process (SIGSEGV)".into(),
            Self::Signal(signal) => format!("was ended by signal {signal}"),
            Self::TimeOut => "did not answer in time and was killed".into(),
        }
    }
}

fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Ending> {
    let (process, started) = (pidfd_open(Pid::from_child(child), PidfdFlags::empty())?, Instant::now());
    loop {
        let left = Timespec::try_from(timeout.saturating_sub(started.elapsed())).map_err(std::io::Error::other)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(0) => {
                child.kill()?;
                child.wait()?;
                return Ok(Ending::TimeOut);
            }
            Ok(_) => return Ok(ending(child.wait()?)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| Ending::Exit(status.code().unwrap_or(-1)), Ending::Signal)
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What is beyond the bound is read and thrown away, so that the child never blocks on a full pipe.
            let _ = pipe.by_ref().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn last_words(stderr: &str) -> String {
    const CHARS_MAX: usize = 200;
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    line.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_within(script: &str, timeout: Duration) -> Report<u32> {
        let arguments = vec!["-c".into(), script.into()];
        ChildCommand { program: "/bin/sh".into(), arguments, timeout }.run(&()).expect("starts")
    }

    fn shell(script: &str) -> Report<u32> {
        shell_within(script, Duration::from_secs(5))
    }

    #[test]
    fn every_ending_is_told_apart() {
        let answered = shell(&format!("echo noise; echo '{MARK}7'; echo oops >&2; exit 3"));
        assert_eq!((answered.answer, answered.ending, answered.stderr.as_str()), (Some(7), Ending::Exit(3), "oops"));
        assert_eq!(shell("kill -ABRT $$").ending, Ending::Signal(6));
        let hung = shell_within("exec sleep 60", Duration::from_millis(30));
        assert_eq!((hung.answer, hung.ending), (None, Ending::TimeOut));
    }
}
