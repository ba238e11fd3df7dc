//! The root directory of a sandbox: a small file system in memory with what the engine needs, bound read-only.
//!
//! What is bound is taken hold of before the worker gives up its user (so that a directory only that user may enter can
//! still be bound) and attached after, when the file system belongs to the user of the sandbox.
//!
//! Invariant: when [`enter`] returns well, no path leads to a file of the host that was not named in the profile, and
//! nothing of the host can be written.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::sys;

/// Inodes of the root and of the directory for temporary files, each.
const INODES_MAX: u32 = 4096;
/// Size of the root's file system, which holds directories and empty files only.
const ROOT_BYTES: u32 = 1 << 20;
/// The devices an engine finds; none of them reaches anything.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// What of `/proc` tells about the machine, or changes it: covered by something empty (as runc does by default).
const PROC_MASKED: [&str; 16] = [
    "proc/acpi",
    "proc/asound",
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/kallsyms",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/modules",
    "proc/sched_debug",
    "proc/scsi",
    "proc/sysrq-trigger",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/key-users",
];
/// What of `/proc` an engine may read and nobody may change.
const PROC_READ_ONLY: &str = "proc/sys";

/// What a root holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Paths of the host.
    pub(super) read_only: Vec<PathBuf>,
    /// Whether there are `/proc` and `/dev`.
    pub(super) system: bool,
    /// Size of `/tmp`; none if zero.
    pub(super) temp_bytes: u64,
}

/// Mounts that are not attached anywhere yet.
pub(super) struct Held(Vec<(PathBuf, OwnedFd)>);

/// Takes hold of what will be bound.
///
/// # Errors
/// A path does not exist, is not absolute, or the kernel has no `open_tree(2)`.
pub(super) fn hold(contents: &Contents) -> io::Result<Held> {
    let devices = DEVICES.iter().filter(|_| contents.system).map(PathBuf::from);
    let mut paths: Vec<PathBuf> = contents.read_only.iter().cloned().chain(devices).collect();
    // A directory before what lies in it, and each once.
    paths.sort();
    paths.dedup();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mut held = Vec::new();
    for path in paths {
        if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(io::Error::other(format!("`{}` is not an absolute path without `..`", path.display())));
        }
        let mount = rustix::mount::open_tree(CWD, &path, flags).map_err(|error| in_place(&error.into(), &path))?;
        let is_device = path.starts_with("/dev");
        let own = if is_device { 0 } else { libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_RDONLY };
        sys::restrict_mount(&mount, own | libc::MOUNT_ATTR_NOSUID).map_err(|error| in_place(&error, &path))?;
        held.push((path, mount));
    }
    Ok(Held(held))
}

/// Makes the root and moves into it. In a mount namespace of its own, with all capabilities in its user namespace.
///
/// # Errors
/// A step fails. Then the old root is still there, and other layers must close the files.
pub(super) fn enter(contents: &Contents, held: Held) -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("make mounts private", rustix::mount::mount_change("/", private))?;
    let place = ["/tmp", "/mnt", "/dev"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/proc");
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    tmpfs(place, ROOT_BYTES.into(), safe | MountFlags::NOEXEC, "0755")?;
    step("enter", rustix::process::chdir(place))?;
    // Before the engine's own files, which may lie below the host's directory of that name.
    if contents.temp_bytes > 0 {
        directory("tmp")?;
        tmpfs("tmp", contents.temp_bytes, safe | MountFlags::NOEXEC, "0700")?;
    }
    for (path, mount) in held.0 {
        attach(&path, &mount)?;
    }
    if contents.system {
        directory("proc")?;
        let proc = rustix::mount::mount("proc", "proc", "proc", safe | MountFlags::NOEXEC, None);
        step("mount proc", proc)?;
        mask_proc()?;
    }
    step("change root", rustix::process::pivot_root(".", "."))?;
    step("detach the old root", rustix::mount::unmount(".", UnmountFlags::DETACH))?;
    step("enter", rustix::process::chdir("/"))?;
    let read_only = safe | MountFlags::NOEXEC | MountFlags::RDONLY | MountFlags::BIND;
    step("make read-only", rustix::mount::mount_remount("/", read_only, ""))?;
    verify(contents)
}

/// Sees that the root is the new one: nothing in it but what was put there.
fn verify(contents: &Contents) -> io::Result<()> {
    let expected = |name: &Path| {
        let within = |path: &Path| path.components().nth(1).is_some_and(|first| Path::new(&first) == name);
        contents.read_only.iter().any(|path| within(path))
            || (contents.system && (name == Path::new("proc") || name == Path::new("dev")))
            || name == Path::new(EMPTY_FILE)
            || name == Path::new(EMPTY_DIRECTORY)
            || (contents.temp_bytes > 0 && name == Path::new("tmp"))
    };
    for entry in fs::read_dir("/")? {
        let name = entry?.file_name();
        if !expected(Path::new(&name)) {
            return Err(io::Error::other(format!("`/{}` is still there", name.display())));
        }
    }
    match fs::write("/written", "") {
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::other("the root can be written")),
    }
}

const EMPTY_FILE: &str = ".empty-file";
const EMPTY_DIRECTORY: &str = ".empty-directory";

fn mask_proc() -> io::Result<()> {
    let present: Vec<&str> = PROC_MASKED.into_iter().filter(|path| Path::new(path).exists()).collect();
    file(EMPTY_FILE)?;
    directory(EMPTY_DIRECTORY)?;
    for path in present {
        let source = if Path::new(path).is_dir() { EMPTY_DIRECTORY } else { EMPTY_FILE };
        step("mask proc", rustix::mount::mount_bind(source, path))?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let sys = step("hold proc/sys", rustix::mount::open_tree(CWD, PROC_READ_ONLY, flags))?;
    sys::restrict_mount(&sys, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)?;
    let onto = rustix::mount::move_mount(&sys, "", CWD, PROC_READ_ONLY, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    step("make proc/sys read-only", onto)
}

fn tmpfs(path: &str, bytes: u64, flags: MountFlags, mode: &str) -> io::Result<()> {
    let options = CString::new(format!("size={bytes},nr_inodes={INODES_MAX},mode={mode}")).expect("has no zero byte");
    step("mount a file system in memory", rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str()))
}

/// Attaches a mount under its own path below the current directory.
fn attach(path: &Path, mount: &OwnedFd) -> io::Result<()> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let is_directory = rustix::fs::fstat(mount).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
    // What lies in a directory that is bound already is there already.
    if !inside.exists() {
        if let Some(parent) = inside.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| in_place(&error, path))?;
        }
        if is_directory { directory(inside) } else { file(inside) }.map_err(|error| in_place(&error, path))?;
    }
    rustix::mount::move_mount(mount, "", CWD, inside, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| in_place(&error.into(), path))
}

fn directory(path: impl AsRef<Path>) -> io::Result<()> {
    match rustix::fs::mkdir(path.as_ref(), Mode::from_raw_mode(0o755)) {
        Err(rustix::io::Errno::EXIST) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn file(path: impl AsRef<Path>) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path.as_ref(), flags, Mode::from_raw_mode(0o444)).map(drop)?)
}

fn step<T>(what: &str, result: rustix::io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::other(format!("{what}: {error}")))
}

fn in_place(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}
