//! The system calls that have no safe form elsewhere: new processes, numbers of descriptors, one's own death.
//!
//! Nothing here decides anything; `launch`, `root` and `confine` do. Everything is for a process with one thread.

#![expect(unsafe_code, reason = "clone, fork, fixed descriptors and mount attributes have no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::process::{Pid, Signal};

/// What a call of `fork` or `clone` returns in.
pub(super) enum Forked {
    /// The process that called.
    Parent(Pid),
    /// The new one, with a copy of everything.
    Child,
}

/// Makes a copy of this process in new namespaces (`clone(2)` with `CLONE_NEW*` flags and nothing shared).
pub(super) fn clone_into(namespaces: u64) -> io::Result<Forked> {
    let flags = namespaces | libc::SIGCHLD as u64;
    // SAFETY: without `CLONE_VM` the child runs on a copy of this stack, so a null stack is right, and the other
    // pointers are not read without their flags. There is one thread, so no lock is held by a thread that is gone.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    forked(result)
}

/// Makes a copy of this process.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: there is one thread, so the child may do whatever this process may.
    let result = unsafe { libc::fork() };
    forked(result.into())
}

fn forked(result: i64) -> io::Result<Forked> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let child = i32::try_from(result).ok().and_then(Pid::from_raw);
    Ok(child.map_or(Forked::Child, Forked::Parent))
}

/// Tries to make a process and tells whether that was refused. One that was made ends at once and is reaped.
pub(super) fn fork_is_refused() -> bool {
    match fork() {
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
        Ok(Forked::Child) => exit_now(0),
        Ok(Forked::Parent(pid)) => {
            // There is nothing to do about a failure, and the answer is the same.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            false
        }
    }
}

/// Ends this process without running anything of its own.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Ends this process by a signal, as another one has ended; without a core file.
pub(super) fn die_by(signal: i32) -> ! {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    // SAFETY: a default disposition needs no handler, and the mask is a local that lives through the call.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut mask = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
    exit_now(128 + signal)
}

/// Holds back the signals that a launcher waits for, and gives a descriptor on which they can be read.
pub(super) fn hold_signals(signals: &[Signal]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used and lives through the calls; the descriptor is new and nobody's.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, signal.as_raw());
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(descriptor)) }
    }
}

/// Takes what is held back, and lets every signal through again.
pub(super) fn release_signals() {
    // SAFETY: the mask is a local that lives through the call.
    unsafe {
        let mut mask = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
    }
}

/// Puts a descriptor under a number and lets it be inherited.
pub(super) fn place(descriptor: OwnedFd, number: i32) -> io::Result<()> {
    if descriptor.as_raw_fd() == number {
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::empty())?;
        let _ = descriptor.into_raw_fd();
        return Ok(());
    }
    // SAFETY: numbers only; whatever `number` was is nobody's, as nothing in this process has opened it.
    let result = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from a number on, `kept` excepted.
pub(super) fn close_from(first: i32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    let mut from = first;
    for fd in kept {
        if from < fd {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, i32::MAX)
}

fn close_range(first: i32, last: i32) -> io::Result<()> {
    // SAFETY: the caller says that nobody owns what is in the range: this runs before an engine exists, in a process that
    // keeps what it owns in `kept` or below the range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes one of the first descriptors, which nobody in this process owns.
pub(super) fn close(number: i32) {
    // SAFETY: as the name says; the callers have one thread and use the number no more.
    unsafe { libc::close(number) };
}

/// Adds attributes to a mount and everything below it (`mount_setattr(2)`).
pub(super) fn restrict_mount(mount: impl AsFd, attributes: u64) -> io::Result<()> {
    let change = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let (path, flags) = (c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE);
    // SAFETY: path and structure live through the call, and the size is the structure's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            CStr::as_ptr(path),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives the most memory this process has had resident, in bytes.
pub(super) fn memory_peak_bytes() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is as large as the call expects, and all of its bytes are zero or written.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024
}

/// Asks for something that every filter here refuses and that does nothing where there is none; gives whether it was.
pub(super) fn filter_refuses() -> bool {
    // SAFETY: without flags `unshare(2)` changes nothing.
    let result = unsafe { libc::unshare(0) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}
