//! A control group (version 2) of one worker, where the host's own group may have groups below it with bounds on memory and
//! processes: on a systemd unit with `Delegate=memory pids`, or as the superuser.
//!
//! It is a second bound beside the limits of the process and the host's watch, and the only one that also counts what the
//! kernel keeps on behalf of a worker. There are few machines where it can be had without asking, so it is reported and
//! does not count for the grade.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// How the groups of workers are named; one whose launcher was killed is removed by the next.
const PREFIX: &str = "catalog-worker-";
/// What a worker has beside the threads of its profile: the first process and the engine.
const OTHER_PROCESSES: u64 = 4;

/// A group; dropping it removes it, once nobody is in it.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

/// Finds the group of this process, in the hierarchy of version 2.
///
/// # Errors
/// There is none.
pub(super) fn own() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // Fields: number, parent, device, root, mount point, options, optional fields, `-`, type (`proc(5)`).
    let mounted = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4))?
    });
    let mounted = mounted.ok_or_else(|| io::Error::other("no hierarchy of version 2 is mounted"))?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new(mounted).join(group.ok_or_else(|| io::Error::other("this process is in no group of version 2"))?))
}

impl Group {
    /// Makes a group below another with these bounds.
    ///
    /// # Errors
    /// The other hands neither controller down, or may not be written.
    pub(super) fn below(parent: &Path, name: u32, memory_bytes: u64, threads: u64) -> io::Result<Self> {
        let handed_down = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        if !["memory", "pids"].iter().all(|wanted| handed_down.split_whitespace().any(|it| it == *wanted)) {
            let reason = format!("`{}` does not hand memory and pids down", parent.display());
            return Err(io::Error::other(reason));
        }
        remove_empty(parent);
        let path = parent.join(format!("{PREFIX}{name}"));
        fs::create_dir(&path)?;
        let group = Self(path);
        for (file, bound) in [("memory.max", memory_bytes), ("pids.max", threads + OTHER_PROCESSES)] {
            fs::write(group.0.join(file), bound.to_string())?;
        }
        // Where there is no swapping there is no such file.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Ok(group)
    }

    /// Puts a process into it, and sees that it is there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn take(&self, process: Pid) -> io::Result<()> {
        let number = process.as_raw_nonzero().to_string();
        let members = self.0.join("cgroup.procs");
        fs::write(&members, &number)?;
        let is_in = fs::read_to_string(&members)?.lines().any(|line| line == number);
        if is_in { Ok(()) } else { Err(io::Error::other("the process is not in its group")) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that is not empty yet is removed by the next worker.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes groups of earlier workers; the kernel keeps those with somebody in them.
fn remove_empty(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_needs_both_controllers_and_says_what_is_missing() {
        let parent = tempfile::tempdir().expect("a directory");
        let control = parent.path().join("cgroup.subtree_control");
        for missing in ["", "memory", "pids cpu", "memory_pids"] {
            fs::write(&control, missing).expect("writes");
            let refused = Group::below(parent.path(), 1, 1, 1).expect_err("a controller is missing");
            assert!(refused.to_string().contains("memory and pids"), "{refused}");
        }
        fs::write(&control, "cpu memory pids").expect("writes");
        let group = Group::below(parent.path(), 7, 1 << 20, 3).expect("has both");
        let read =
            |file: &str| fs::read_to_string(parent.path().join("catalog-worker-7").join(file)).expect("is there");
        assert_eq!((read("memory.max").as_str(), read("pids.max").as_str()), ("1048576", "7"));
        let own = rustix::process::getpid();
        group.take(own).expect("is written and read back");
        assert_eq!(read("cgroup.procs"), own.as_raw_nonzero().to_string());
    }
}
