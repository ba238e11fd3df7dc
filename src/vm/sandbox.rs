//! What a worker is closed in with before it answers the host.
//!
//! Layers, each of which is reported by name once it was seen to hold ([`Layer`]): namespaces with a root directory of
//! their own (`root`) under a first process that reaps (`launch`), limits of the kernel, no privileges, Landlock, and
//! a filter of system calls (`confine`, `filter`). What a kernel or an administrator does not allow is reported with
//! the reason and lowers the [`Grade`]; a sandbox in which a way out is open is refused. [`selftest`](crate::vm::escape)
//! tries to get out of it.
//!
//! It does not defend against faults of the kernel itself: that takes a machine of its own.
//!
//! Invariant: [`Sandbox::enter`] returns in a process from which the layers it names cannot be taken away again.

mod cgroup;
mod confine;
mod filter;
mod grade;
mod launch;
mod profile;
mod root;
mod sys;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};

use crate::vm::program::Language;
use crate::vm::protocol::{self, Enclosed, FRAME_BYTES_MAX, Image, WorkerLimits};

use confine::held;
use profile::Profile;

pub use grade::{Absent, Barrier, Grade, Layer};

/// Memory of the worker beside its program's: one frame in, one frame out, and the values between bytes and program.
pub const HEADROOM_BYTES: u64 = 8 * FRAME_BYTES_MAX as u64;
/// The exit code of a worker whose host broke the protocol, or that could not close its sandbox.
pub const EXIT_REFUSED: u8 = 70;
/// The number under which an engine finds the descriptor that came with `Hello`.
const ARENA: i32 = 3;

/// A sandbox that is closed, from inside.
#[derive(Debug)]
pub struct Sandbox {
    enclosed: Enclosed,
}

/// What a sandbox is closed around.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The language of its programs.
    pub language: Language,
    /// The bounds.
    pub limits: WorkerLimits,
    /// The engine, where it is another program.
    pub image: Option<&'a Image>,
    /// What is left out.
    pub without: &'a [Barrier],
    /// What becomes the engine's descriptor 3.
    pub arena: Option<OwnedFd>,
}

/// A step without which nothing can run.
#[derive(Debug, thiserror::Error)]
#[error("sandbox: {step}: {source}")]
pub struct SandboxError {
    step: &'static str,
    source: io::Error,
}

impl Sandbox {
    /// Closes the sandbox and returns inside; `socket` is the host's. The calling process stays outside and waits, in
    /// this function, until everything inside has ended. Thread: the only one, before anything else runs.
    ///
    /// # Errors
    /// A step fails without which nothing can run; the caller must end the process.
    pub fn enter(socket: BorrowedFd<'static>, mut plan: Plan<'_>) -> Result<Self, SandboxError> {
        let failed = |step| move |source| SandboxError { step, source };
        let mut found = confine::Found::default();
        let leads = rustix::process::getpgrp() == rustix::process::getpid();
        found.note(Layer::ProcessGroup, held(leads, "the host did not make one"));
        found.note(Layer::EmptyEnvironment, held(std::env::vars_os().next().is_none(), "the host left variables"));
        let arena = plan.arena.take();
        let first_to_close = if arena.is_some() { ARENA + 1 } else { ARENA };
        if let Some(arena) = arena {
            sys::place(arena, ARENA).map_err(failed("place the arena"))?;
        }
        found.note(Layer::FdsClosed, sys::close_from(first_to_close, &[]));
        let mut profile = Profile::of(&plan, first_to_close);
        let inside = launch::launch(socket, &plan, &profile, found).map_err(failed("launch"))?;
        if !inside.found.has(Layer::PrivateRoot) {
            profile.without_private_root();
        }
        Ok(Self { enclosed: confined(&plan, &profile, inside) })
    }

    /// Tells what holds.
    pub fn enclosed(&self) -> &Enclosed {
        &self.enclosed
    }
}

/// Confines the engine's process.
fn confined(plan: &Plan<'_>, profile: &Profile, inside: launch::Inside) -> Enclosed {
    let launch::Inside { mut found, process } = inside;
    sys::release_signals();
    // Of a user without a namespace for it, all processes count.
    let others = if found.has(Layer::UserNamespace) || profile.threads == 0 { 0 } else { confine::threads_of_user() };
    let threads = profile.threads + others;
    let cpu = Duration::from_millis(plan.limits.cpu_ms);
    found.note(Layer::Rlimits, confine::limit(profile, threads, cpu));
    found.note(Layer::NoNewPrivs, confine::no_new_privileges());
    found.note(Layer::Capabilities, confine::drop_capabilities());
    if plan.image.is_none() {
        found.note(Layer::NotDumpable, confine::not_dumpable());
    }
    if plan.without.contains(&Barrier::Landlock) {
        found.left_out(&[Layer::Landlock], "left out");
    } else {
        let private = found.has(Layer::PrivateRoot);
        found.note(Layer::Landlock, confine::landlock(profile, private));
    }
    if plan.without.contains(&Barrier::Seccomp) {
        found.left_out(&[Layer::Seccomp], "left out");
    } else {
        found.note(Layer::Seccomp, confine::seccomp(profile));
    }
    found.note(Layer::ForkDenied, held(sys::fork_is_refused(), "a process could be made"));
    launch::complete(&mut found);
    found.layers.sort_unstable();
    let grade = Grade::of(&found.layers);
    Enclosed { version: protocol::VERSION, layers: found.layers, absent: found.absent, grade, process }
}

/// Gives the memory that a worker may have in all, in bytes: its program's, and what engine and frames need beside.
pub(crate) fn data_bytes(language: Language, memory_bytes: u64) -> u64 {
    memory_bytes.saturating_add(HEADROOM_BYTES).saturating_add(profile::overhead_bytes(language))
}

/// Gives the most memory this process has had resident, in bytes.
pub fn memory_peak_bytes() -> u64 {
    sys::memory_peak_bytes()
}

/// Gives the processor time this thread has used, which in a worker is what its program has used.
///
/// The clock of the process advances by ticks only while a limit on processor time is set.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Gives how many seconds of processor time a process may have used at the end of a budget that begins when it has used some.
/// The kernel counts whole ones, so this is the net below the host's own clock: rounded up, and one more because the time used
/// so far is cut off.
pub fn cpu_seconds(used: Duration, budget: Duration) -> u64 {
    (used + budget).as_secs() + 1
}

/// Lets this process use so many seconds of processor time in all; beyond them the kernel sends SIGXCPU, which ends it.
pub fn allow_cpu(seconds: u64) -> io::Result<()> {
    Ok(rustix::process::setrlimit(Resource::Cpu, Rlimit { current: Some(seconds), maximum: None })?)
}
