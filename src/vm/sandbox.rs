//! What a worker process does to itself before it answers the host.
//!
//! Layers, by name: `process_group` and `empty_environment` (checked, the host made them), `fds_closed`,
//! `no_new_privs`, `not_dumpable`, `lifeline` (the process group dies with the host's end of the socket; the kernel's
//! parent-death signal follows the parent's *thread*, and the threads of a host come and go), `rlimits`. Namespaces,
//! Landlock and a system call filter are not here, and the grade says so.
//!
//! Invariant: a layer is reported only after its system call has succeeded or its state has been read back; a layer
//! that fails ends the worker.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use crate::vm::protocol::{FRAME_BYTES_MAX, WorkerLimits};

/// How complete this sandbox is.
pub const GRADE: &str = "degraded(no namespaces, no landlock, no seccomp)";
/// Memory of the worker beside its program's: one frame in, one frame out, and the values between bytes and program.
pub const HEADROOM_BYTES: u64 = 8 * FRAME_BYTES_MAX as u64;
/// Descriptors: the socket, two pipes and what reads the peak of memory; the rest is room for `poll`.
const FDS_MAX: u64 = 16;

/// A sandbox that is closed.
#[derive(Debug)]
pub struct Sandbox {
    layers: Vec<&'static str>,
    status: File,
}

/// A layer that could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("sandbox layer `{layer}` failed: {source}")]
pub struct SandboxError {
    layer: &'static str,
    source: io::Error,
}

impl Sandbox {
    /// Closes the sandbox around this process; `socket` is the host's. Thread: the only one, before anything else runs.
    ///
    /// # Errors
    /// A layer cannot be set up; the caller must end the process.
    pub fn enter(socket: BorrowedFd<'static>, limits: WorkerLimits) -> Result<Self, SandboxError> {
        let mut layers = Vec::new();
        let mut layer = |name, result: io::Result<()>| {
            layers.push(name);
            result.map_err(|source| SandboxError { layer: name, source })
        };
        layer("process_group", held(rustix::process::getpgrp() == rustix::process::getpid()))?;
        layer("empty_environment", held(std::env::vars_os().next().is_none()))?;
        layer("fds_closed", close_other_fds())?;
        // Opened while this process may still look at itself.
        let status = File::open("/proc/self/status").map_err(|source| SandboxError { layer: "status", source })?;
        layer("no_new_privs", rustix::thread::set_no_new_privs(true).map_err(Into::into))?;
        let dumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        layer("not_dumpable", dumpable.map_err(Into::into))?;
        layer("lifeline", start_lifeline(socket))?;
        layer("rlimits", limit_resources(limits))?;
        Ok(Self { layers, status })
    }

    /// Gives the names of the layers.
    pub fn layers(&self) -> Vec<String> {
        self.layers.iter().map(ToString::to_string).collect()
    }

    /// Gives the most memory this process has had resident, in bytes; zero if the kernel does not say.
    pub fn memory_peak_bytes(&self) -> u64 {
        let mut text = [0; 4096];
        let length = self.status.read_at(&mut text, 0).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..length]);
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak.map_or(0, |kib: u64| kib * 1024)
    }
}

/// Gives the processor time this thread has used, which in a worker is what its program has used.
///
/// The clock of the process advances by ticks only while a limit on processor time is set.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Lets this process use so much processor time from now on; beyond it the kernel sends SIGXCPU, which ends it.
///
/// The kernel counts whole seconds, so this is the net below the host's own clock. Rounded up, and one more because the
/// time used so far is cut off.
pub fn allow_cpu(budget: Duration) -> io::Result<()> {
    let seconds = (cpu_time() + budget).as_secs() + 1;
    Ok(rustix::process::setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: None })?)
}

fn held(condition: bool) -> io::Result<()> {
    if condition { Ok(()) } else { Err(io::Error::other("the host did not start this process in that way")) }
}

/// Closes what the host leaked: descriptors of other libraries that lack the close-on-exec flag.
fn close_other_fds() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut listing = Dir::new(rustix::fs::open("/proc/self/fd", flags, Mode::empty())?)?;
    let own = listing.fd()?.as_raw_fd();
    let mut inherited = Vec::new();
    while let Some(entry) = listing.next().transpose()? {
        if let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok()) {
            inherited.push(fd);
        }
    }
    for fd in inherited.into_iter().filter(|fd| *fd > 2 && *fd != own) {
        close(fd);
    }
    Ok(())
}

#[expect(unsafe_code, reason = "nobody owns what was inherited, so closing it has no safe form")]
fn close(fd: i32) {
    // SAFETY: `Sandbox::enter` runs before anything in this process opens or adopts a descriptor, so no value in it owns
    // `fd`; the listing that named it is still open under another number, so nothing can have taken `fd` since.
    unsafe { rustix::io::close(fd) }
}

/// Ends the process group as soon as the host's end of the socket closes.
fn start_lifeline(socket: BorrowedFd<'static>) -> io::Result<()> {
    let watch = move || {
        // Asks for nothing but the end; the frames are for the main thread.
        let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
        while poll(&mut fds, None).is_err() || fds[0].revents().is_empty() {}
        // The group is this process's own, as `process_group` has shown. There is nobody left to tell about a failure.
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    };
    thread::Builder::new().name("lifeline".into()).stack_size(64 << 10).spawn(watch)?;
    Ok(())
}

fn limit_resources(limits: WorkerLimits) -> io::Result<()> {
    let data = limits.memory_bytes.saturating_add(HEADROOM_BYTES);
    let hard = [
        (Resource::Data, data),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, FDS_MAX),
        // No thread and no process from here on. The superuser is exempt: then only the absence of a way to ask for one
        // holds, until a system call filter does.
        (Resource::Nproc, 0),
    ];
    for (resource, bound) in hard {
        rustix::process::setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    allow_cpu(Duration::from_millis(limits.cpu_ms))
}
