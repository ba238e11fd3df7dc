//! A process that another command started: found again by its number and the time of its start, so that a number that the
//! system has given to somebody else since is never taken for it.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the machine did.
    started: u64,
}

impl Process {
    /// Finds a process that runs.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; state is the first field behind it, the start the 20th (proc(5)).
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let has_ended = matches!(fields.next()?, "Z" | "X");
        let started = fields.nth(18)?.parse().ok()?;
        (!has_ended).then_some(Self { pid, started })
    }

    /// Says whether it still runs.
    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Asks it to end by SIGTERM, if it runs.
    pub(super) fn terminate(self) {
        self.signal(Signal::TERM);
    }

    /// Ends it by SIGKILL, if it runs, and says whether it is gone within a time. Blocks.
    pub(super) fn kill(self, limit: Duration) -> bool {
        self.signal(Signal::KILL);
        self.wait(limit)
    }

    fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = self.number()
        {
            // It may have ended by itself since it was looked at.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it has ended, and says whether it has within a time. Blocks.
    pub(super) fn wait(self, limit: Duration) -> bool {
        let Some(Ok(handle)) = self.number().map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return !self.is_alive();
        };
        if self.is_alive() {
            let limit = Timespec { tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
        }
        !self.is_alive()
    }

    /// Gives its resident memory in MiB.
    pub(super) fn rss_mb(self) -> f64 {
        host_sim::operation::rss_mb_of(&self.pid.to_string())
    }

    fn number(self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_of_its_number() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        // Once it answers, it is itself and no copy of this process.
        child.stdin.as_mut().expect("is piped").write_all(b"x").expect("reads");
        child.stdout.as_mut().expect("is piped").read_exact(&mut [0]).expect("answers");
        let process = Process::of(child.id()).expect("runs");
        assert!(process.is_alive() && process.rss_mb() > 0.0);
        assert!(!Process { started: process.started + 1, ..process }.is_alive());
        assert!(!process.wait(Duration::ZERO), "nobody has ended it");
        assert!(process.kill(Duration::from_secs(10)));
        assert_eq!(Process::of(child.id()), None, "a zombie has ended");
        child.wait().expect("ends");
        assert!(process.wait(Duration::ZERO) && process.kill(Duration::ZERO));
    }
}
