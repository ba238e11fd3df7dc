//! What the process of the engine does to itself, last and for good: limits, privileges, Landlock, system calls.
//!
//! Invariant: a layer is named only after it was seen to hold, by reading its state back or by trying what it refuses.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::filter;
use super::profile::Profile;
use super::sys;
use super::{Absent, Layer};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) layers: Vec<Layer>,
    pub(super) absent: Vec<Absent>,
}

impl Found {
    /// Notes whether a layer holds; gives whether it does.
    pub(super) fn note(&mut self, layer: Layer, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => self.layers.push(layer),
            Err(error) => self.absent.push(Absent { layer, reason: error.to_string() }),
        }
        self.layers.last() == Some(&layer)
    }

    pub(super) fn left_out(&mut self, layers: &[Layer], reason: &str) {
        self.absent.extend(layers.iter().map(|layer| Absent { layer: *layer, reason: reason.to_owned() }));
    }

    pub(super) fn has(&self, layer: Layer) -> bool {
        self.layers.contains(&layer)
    }
}

/// What a runtime asks of the host's `/proc`, where it has none of its own: how large the machine is.
const OF_THE_MACHINE: [&str; 4] = ["/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory"];

/// Gives a layer's state as a result.
pub(super) fn held(condition: bool, otherwise: &str) -> io::Result<()> {
    if condition { Ok(()) } else { Err(io::Error::other(otherwise.to_owned())) }
}

pub(super) fn limit(profile: &Profile, threads: u64, cpu: Duration) -> io::Result<()> {
    let bounds = [
        (Resource::Data, profile.data_bytes),
        (Resource::As, profile.address_bytes),
        (Resource::Fsize, profile.file_bytes),
        (Resource::Core, 0),
        (Resource::Nofile, profile.descriptors),
        (Resource::Nproc, threads),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Sigpending, 64),
    ];
    for (resource, bound) in bounds {
        let bound = Rlimit { current: Some(bound), maximum: Some(bound) };
        rustix::process::setrlimit(resource, bound)?;
        held(rustix::process::getrlimit(resource) == bound, "a limit did not take effect")?;
    }
    super::allow_cpu(super::cpu_seconds(super::cpu_time(), cpu))
}

/// Counts the threads that run as this process's user, in all processes that can be seen.
pub(super) fn threads_of_user() -> u64 {
    let own = rustix::process::getuid().as_raw();
    let of = |entry: std::fs::DirEntry| -> Option<u64> {
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name| status.lines().find_map(|line: &str| line.strip_prefix(name));
        let user: u32 = field("Uid:")?.split_whitespace().next()?.parse().ok()?;
        let threads = field("Threads:")?.trim().parse().ok()?;
        (user == own).then_some(threads)
    };
    std::fs::read_dir("/proc").map_or(0, |entries| entries.flatten().filter_map(of).sum())
}

pub(super) fn no_new_privileges() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    held(rustix::thread::no_new_privs()?, "not set")
}

pub(super) fn not_dumpable() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    held(rustix::process::dumpable_behavior()? == DumpableBehavior::NotDumpable, "not set")
}

/// Gives up every capability, also those that an executed file could give back.
pub(super) fn drop_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            // Past the last one the kernel knows.
            Err(_) => break,
            Ok(false) => {}
            // Refused to whoever has none to give up; then the bounding set gives nothing either, without privileges to
            // gain from files.
            Ok(true) => match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    held(rustix::thread::capabilities(None)? == none, "some are left")
}

/// Restricts files, network, signals and abstract sockets, as far as this kernel can.
pub(super) fn landlock(profile: &Profile, has_private_root: bool) -> io::Result<()> {
    let broken = |error: landlock::RulesetError| io::Error::other(error.to_string());
    let abi = ABI::V7;
    let mut ruleset = landlock::Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(abi)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(abi)))
        .and_then(landlock::Ruleset::create)
        .map_err(broken)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules: Vec<(OwnedFd, landlock::BitFlags<AccessFs>)> = Vec::new();
    let mut rule = |path: &Path, access| -> io::Result<()> {
        let path = PathFd::new(path).map_err(|error| io::Error::other(error.to_string()))?;
        rules.push((path.as_fd().try_clone_to_owned()?, access));
        Ok(())
    };
    let contents = &profile.contents;
    for path in &contents.read_only {
        let access = if path.is_dir() { read } else { AccessFs::ReadFile.into() };
        rule(path, access | AccessFs::Execute)?;
    }
    if contents.system {
        for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            rule(Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
        }
    }
    if contents.system {
        // A compiler writes code through its own `mem`. The rule is on this process's directory, not on the link.
        rule(Path::new("/proc/self"), read | AccessFs::WriteFile)?;
        let shown: &[&str] = if has_private_root { &["/proc"] } else { &OF_THE_MACHINE };
        for path in shown.iter().map(Path::new).filter(|path| path.exists()) {
            let is_directory = path.is_dir();
            rule(path, if is_directory { read } else { AccessFs::ReadFile.into() })?;
        }
    }
    if contents.temp_bytes > 0 && has_private_root {
        rule(Path::new("/tmp"), AccessFs::from_all(abi) & !AccessFs::Execute)?;
    }
    for (path, access) in rules {
        ruleset = ruleset.add_rule(PathBeneath::new(path, access)).map_err(broken)?;
    }
    let status = ruleset.restrict_self().map_err(broken)?;
    held(status.ruleset != RulesetStatus::NotEnforced, "this kernel has none")?;
    // `/` is never among the rules.
    match std::fs::read_dir("/") {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("a directory outside the rules can be listed")),
    }
}

pub(super) fn seccomp(profile: &Profile) -> io::Result<()> {
    let broken = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let programs = filter::programs(profile.width, rustix::process::getpid()).map_err(|error| broken(&error))?;
    for program in &programs {
        seccompiler::apply_filter(program).map_err(|error| broken(&error))?;
    }
    held(sys::filter_refuses(), "a refused call went through")
}

/// Becomes a user without privileges, where no user namespace does.
pub(super) fn become_nobody(user: u32) -> io::Result<()> {
    use rustix::process::{Gid, Uid, geteuid, getuid};
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    if geteuid().is_root() {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    held(!geteuid().is_root() && !getuid().is_root(), "still the superuser")
}
