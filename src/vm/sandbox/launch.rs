//! The three processes of a worker: the launcher, the first process of its namespace, and the engine's.
//!
//! ```text
//! host --socket--> launcher (host's namespaces; waits)
//!                    `-- init (pid 1 inside; reaps, confined)
//!                          `-- engine (confined; keeps socket, pipes and arena)
//! ```
//!
//! The launcher is a process of its own since the host has many threads and must not do this between fork and exec. It
//! writes the user map of its child, which only somebody outside can, and ends as the engine ends: with its exit code or
//! by its signal. Without namespaces there is no init, and the engine is the launcher's own child.
//!
//! Invariant: whoever of the three ends, or the host, the engine ends: init dies with the launcher (parent-death signal),
//! everything inside with init, the launcher ends its child when the host closes the socket or asks by SIGTERM.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Pid, Signal, Uid, WaitOptions};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::cgroup;
use super::confine::{self, Found, held};
use super::profile::Profile;
use super::root;
use super::sys::{self, Forked};
use super::{Absent, Barrier, Layer, Plan};

/// The user inside, and outside if the host is the superuser: nobody, by the number that systems give nobody.
const NOBODY: u32 = 65_534;
/// The user inside.
const INSIDE: u32 = 1000;
/// What the out-of-memory killer adds to a worker's score: takes it before anybody else (`proc(5)`).
const OOM_SCORE: &str = "1000";

const NAMESPACES: [(Layer, &str, i32); 7] = [
    (Layer::UserNamespace, "user", libc::CLONE_NEWUSER),
    (Layer::MountNamespace, "mnt", libc::CLONE_NEWNS),
    (Layer::PidNamespace, "pid", libc::CLONE_NEWPID),
    (Layer::NetworkNamespace, "net", libc::CLONE_NEWNET),
    (Layer::IpcNamespace, "ipc", libc::CLONE_NEWIPC),
    (Layer::UtsNamespace, "uts", libc::CLONE_NEWUTS),
    (Layer::CgroupNamespace, "cgroup", libc::CLONE_NEWCGROUP),
];
/// What only namespaces make possible.
const OF_NAMESPACES: [Layer; 9] = [
    Layer::UserNamespace,
    Layer::MountNamespace,
    Layer::PidNamespace,
    Layer::NetworkNamespace,
    Layer::IpcNamespace,
    Layer::UtsNamespace,
    Layer::CgroupNamespace,
    Layer::PrivateRoot,
    Layer::Init,
];

/// The engine's process, as it is before it confines itself.
pub(super) struct Inside {
    pub(super) found: Found,
    /// Its number in the host's process namespace; zero if that is not known.
    pub(super) process: u32,
}

/// Makes the processes. Returns in the engine's alone; the others end in here.
///
/// # Errors
/// No process can be made.
pub(super) fn launch(
    socket: BorrowedFd<'static>,
    plan: &Plan<'_>,
    profile: &Profile,
    mut found: Found,
) -> io::Result<Inside> {
    let signals = sys::hold_signals(&[Signal::TERM, Signal::CHILD])?;
    found.note(Layer::OomScore, fs::write("/proc/self/oom_score_adj", OOM_SCORE));
    if plan.without.contains(&Barrier::Namespaces) {
        found.left_out(&OF_NAMESPACES, "left out");
    } else {
        match namespaces(socket, profile, &signals, found) {
            Ok(inside) => return Ok(inside),
            Err((rest, error)) => {
                found = *rest;
                found.left_out(&OF_NAMESPACES, &error.to_string());
            }
        }
    }
    let launcher = rustix::process::getpid();
    match sys::fork()? {
        Forked::Parent(engine) => {
            supervise(socket, profile.inherited, &signals, Held { child: engine, status: None, group: None })
        }
        Forked::Child => {
            let die_with_it = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            let still_there = || held(rustix::process::getppid() == Some(launcher), "the launcher is gone");
            if !found.note(Layer::UnprivilegedUser, confine::become_nobody(NOBODY)) {
                return Err(io::Error::other("the superuser cannot become somebody else"));
            }
            // Again: a change of the user clears it.
            let again = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            found.note(Layer::Lifeline, die_with_it.and(again).map_err(io::Error::from).and_then(|()| still_there()));
            let process = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
            Ok(Inside { found, process })
        }
    }
}

/// What was found is given back with the error, as the launcher goes on without namespaces.
type Without = (Box<Found>, io::Error);

fn namespaces(
    socket: BorrowedFd<'static>,
    profile: &Profile,
    signals: &OwnedFd,
    mut found: Found,
) -> Result<Inside, Without> {
    let prepared = (|| Ok::<_, io::Error>((inodes()?, io::pipe()?, io::pipe()?)))();
    let (outside, (status, report), (go, mut permit)) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Err((Box::new(found), error)),
    };
    let flags = NAMESPACES.iter().fold(0, |flags, (.., flag)| flags | flag);
    let mut group = cgroup::own().and_then(|parent| {
        cgroup::Group::below(
            &parent,
            std::process::id(),
            profile.data_bytes + profile.contents.temp_bytes,
            profile.threads,
        )
    });
    match sys::clone_into(flags.unsigned_abs().into()) {
        Err(error) => Err((Box::new(found), io::Error::other(format!("clone: {error}")))),
        Ok(Forked::Parent(init)) => {
            drop((go, report));
            if let Err(error) = group.as_ref().map_or(Ok(()), |group| group.take(init)) {
                group = Err(error);
            }
            match write_maps(init).and_then(|()| permit.write_all(&[u8::from(group.is_ok())])) {
                Ok(()) => {
                    let held = Held { child: init, status: Some(status.into()), group: group.ok() };
                    supervise(socket, profile.inherited, signals, held)
                }
                Err(error) => {
                    let _ = rustix::process::kill_process(init, Signal::KILL);
                    let _ = rustix::process::waitpid(Some(init), WaitOptions::empty());
                    Err((Box::new(found), io::Error::other(format!("user map: {error}"))))
                }
            }
        }
        Ok(Forked::Child) => {
            drop((status, permit));
            let mut in_group = [0];
            if (&go).read(&mut in_group).ok() != Some(1) {
                sys::exit_now(1);
            }
            drop(go);
            let refused = |error: &io::Error| io::Error::other(error.to_string());
            let in_group = match &group {
                Err(error) => Err(refused(error)),
                Ok(_) => held(in_group == [1], "the kernel did not take this process into its group"),
            };
            // It is the launcher's to remove.
            std::mem::forget(group);
            found.note(Layer::Cgroup, in_group);
            become_init(profile, found, &outside, report.into())
        }
    }
}

/// Writes who the child's user is. As the superuser that is nobody, unless this is a namespace that has no such user; else
/// it is the user of this process.
fn write_maps(child: Pid) -> io::Result<()> {
    let process = format!("/proc/{}", child.as_raw_nonzero());
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let outside = |own: u32, map: &str| if uid.is_root() && is_mapped(map) { NOBODY } else { own };
    fs::write(format!("{process}/uid_map"), format!("{INSIDE} {} 1", outside(uid.as_raw(), "/proc/self/uid_map")))?;
    fs::write(format!("{process}/setgroups"), "deny")?;
    fs::write(format!("{process}/gid_map"), format!("{INSIDE} {} 1", outside(gid.as_raw(), "/proc/self/gid_map")))
}

/// Tells whether nobody is somebody here; a map's lines are the first number inside, the first outside, how many.
fn is_mapped(map: &str) -> bool {
    let holds = |line: &str| {
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        matches!(numbers[..], [inside, _, count] if (inside..inside + count).contains(&u64::from(NOBODY)))
    };
    fs::read_to_string(map).is_ok_and(|map| map.lines().any(holds))
}

/// The number by which the kernel knows each namespace of this process.
fn inodes() -> io::Result<[u64; NAMESPACES.len()]> {
    let mut inodes = [0; NAMESPACES.len()];
    for (inode, (_, name, _)) in inodes.iter_mut().zip(NAMESPACES) {
        *inode = fs::metadata(format!("/proc/self/ns/{name}"))?.ino();
    }
    Ok(inodes)
}

/// Makes this process, the first of its namespace, ready to be left, and splits the engine's off.
fn become_init(
    profile: &Profile,
    mut found: Found,
    outside: &[u64; NAMESPACES.len()],
    report: OwnedFd,
) -> Result<Inside, Without> {
    match inodes() {
        Ok(inside) => {
            for (index, (layer, name, _)) in NAMESPACES.into_iter().enumerate() {
                found.note(layer, held(inside[index] != outside[index], &format!("still in the host's `{name}`")));
            }
        }
        Err(error) => found.left_out(&OF_NAMESPACES[..NAMESPACES.len()], &error.to_string()),
    }
    // Through this, which shows the numbers of the host, the engine learns its own before it is closed.
    let host_processes = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mounts = root::hold(&profile.contents);
    if let Err(error) = become_inside_user() {
        // With the launcher's user, nothing may run in here.
        eprintln!("catalog-worker: cannot become the user of the sandbox: {error}");
        sys::exit_now(i32::from(super::EXIT_REFUSED));
    }
    let private = mounts.and_then(|mounts| root::enter(&profile.contents, mounts));
    found.note(Layer::PrivateRoot, private);
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    let launcher_lives = || held(!is_unread(report.as_fd()), "the launcher is gone");
    found.note(Layer::Lifeline, tied.and_then(|()| launcher_lives()));
    match sys::fork() {
        Err(error) => Err((Box::new(found), error)),
        Ok(Forked::Parent(engine)) => reap(engine, &report, profile),
        Ok(Forked::Child) => {
            drop(report);
            let process = host_processes.ok().and_then(|processes| {
                let own = rustix::fs::readlinkat(processes, "self", Vec::new()).ok()?;
                own.to_str().ok()?.parse().ok()
            });
            let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
            found.note(Layer::Init, held(parent == 1, "the first process is another"));
            Ok(Inside { found, process: process.unwrap_or_default() })
        }
    }
}

/// Becomes the mapped user, and keeps the capabilities inside the namespace for the mounts to come.
fn become_inside_user() -> io::Result<()> {
    rustix::thread::set_keep_capabilities(true)?;
    let (uid, gid) = (Uid::from_raw(INSIDE), Gid::from_raw(INSIDE));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let kept = rustix::thread::capabilities(None)?;
    let usable = CapabilitySets { effective: kept.permitted, ..kept };
    Ok(rustix::thread::set_capabilities(None, usable)?)
}

/// Tells whether nobody reads a pipe any more.
fn is_unread(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(&pipe, PollFlags::empty())];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&none)).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

/// The life of init: nothing but reaping until the engine has ended, and telling how.
fn reap(engine: Pid, report: &OwnedFd, profile: &Profile) -> ! {
    (0..profile.inherited).for_each(sys::close);
    // It does nothing any more that needs them; if they cannot be given up there is no harm in having them in here.
    let _ = confine::no_new_privileges();
    let _ = confine::drop_capabilities();
    let _ = confine::not_dumpable();
    loop {
        match rustix::process::waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == engine => {
                let _ = rustix::io::write(report, &status.as_raw().to_le_bytes());
                sys::exit_now(0);
            }
            Err(rustix::io::Errno::CHILD) => sys::exit_now(1),
            _ => {}
        }
    }
}

/// What the launcher waits for.
struct Held {
    /// Init, or the engine where there is none.
    child: Pid,
    /// Where init tells how the engine has ended.
    status: Option<OwnedFd>,
    /// The control group they are in.
    group: Option<cgroup::Group>,
}

/// The life of the launcher: waits for the end of its child, or brings it about, and ends alike.
fn supervise(socket: BorrowedFd<'static>, inherited: i32, signals: &OwnedFd, held: Held) -> ! {
    let Held { child, status, group } = held;
    (1..inherited).for_each(sys::close);
    give_up_privileges();
    let mut host_is_there = true;
    loop {
        let waits = if host_is_there { PollFlags::RDHUP } else { PollFlags::empty() };
        let mut fds = [PollFd::new(signals, PollFlags::IN), PollFd::new(&socket, waits)];
        // Without the host there is only the child to wait for; the socket would wake this at once, again and again.
        let watched = if host_is_there { &mut fds[..] } else { &mut fds[..1] };
        let _ = poll(watched, None);
        let (signalled, hung_up) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if (signalled && has_term(signals)) || (host_is_there && hung_up) {
            host_is_there = false;
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        if let Ok(Some((_, ended))) = rustix::process::waitpid(Some(child), WaitOptions::NOHANG) {
            drop(group);
            end_like(status.as_ref().and_then(reported).unwrap_or(ended.as_raw()));
        }
    }
}

/// Keeps what it takes to end the child: without namespaces that is another user's.
fn give_up_privileges() {
    let _ = confine::no_new_privileges();
    let kill = CapabilitySet::KILL;
    if let Ok(own) = rustix::thread::capabilities(None) {
        let (effective, permitted) = (own.effective & kill, own.permitted & kill);
        let _ = rustix::thread::set_capabilities(
            None,
            CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() },
        );
    }
    let _ = confine::not_dumpable();
}

/// Takes what signals have come; tells whether the host's was among them.
fn has_term(signals: &OwnedFd) -> bool {
    // `struct signalfd_siginfo` is 128 bytes and begins with the number of the signal.
    let (mut term, mut one) = (false, [0; 128]);
    while matches!(rustix::io::read(signals, &mut one), Ok(128)) {
        term |= one[..4] == Signal::TERM.as_raw().to_ne_bytes();
    }
    term
}

fn reported(status: &OwnedFd) -> Option<i32> {
    let mut bytes = [0; 4];
    let read = rustix::io::read(status, &mut bytes).ok()?;
    (read == bytes.len()).then(|| i32::from_le_bytes(bytes))
}

/// Ends this process as a wait status tells that another one has ended.
fn end_like(status: i32) -> ! {
    if libc::WIFSIGNALED(status) {
        sys::die_by(libc::WTERMSIG(status));
    }
    sys::exit_now(libc::WEXITSTATUS(status))
}

/// Gives a reason to every layer that counts and was neither seen nor told about.
pub(super) fn complete(found: &mut Found) {
    for layer in Layer::COUNTED {
        if !found.has(layer) && !found.absent.iter().any(|absent| absent.layer == layer) {
            found.absent.push(Absent { layer, reason: "was not set up".into() });
        }
    }
}
