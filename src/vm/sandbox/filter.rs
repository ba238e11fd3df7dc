//! Which system calls a worker may make.
//!
//! Two filters. The narrow one is for engines that live in the worker program and need nothing but memory, their
//! descriptors and time: everything it does not name is refused. The broad one is for engines that are runtimes of
//! their own, with threads, a compiler and files: it refuses what makes processes, reaches other processes, the network,
//! namespaces and mounts, the parts of the kernel that have been ways out before, and every call that is newer than it.
//!
//! Invariant: with either, no process can be made, signalled or looked into, and no shared memory that is charged to
//! nobody.

use std::collections::BTreeMap;

use rustix::process::Pid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch, sock_filter,
};

/// How much an engine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Memory, descriptors, time.
    Narrow,
    /// Threads, files, a compiler; and `execve` if the engine is another program.
    Broad {
        /// Whether a program may be executed, in place of this one.
        execute: bool,
        /// Whether owners, modes, times and attributes of files may be changed, of which Landlock says nothing: only where
        /// no file of the host is in sight.
        attributes: bool,
    },
}

type Rules = BTreeMap<i64, Vec<Rule>>;

/// Makes the filters, in the order in which they are to be applied.
pub(super) fn programs(width: Width, own: Pid) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = |rules, otherwise, then| -> Result<BpfProgram, seccompiler::Error> {
        let filter = SeccompFilter::new(rules, otherwise, then, architecture())?;
        Ok(filter.try_into()?)
    };
    match width {
        Width::Narrow => Ok(vec![filter(narrow(own)?, refuse, SeccompAction::Allow)?]),
        Width::Broad { execute, attributes } => {
            let mut rules = broad(own, execute)?;
            if !attributes {
                rules.extend(ATTRIBUTES.iter().map(|call| (*call, Vec::new())));
            }
            // The last one refuses to be followed by another.
            Ok(vec![unknown_to_us(), filter(rules, SeccompAction::Allow, refuse)?])
        }
    }
}

fn architecture() -> TargetArch {
    if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 }
}

/// The first number that is refused for being newer than this list; 450 is `set_mempolicy_home_node` (Linux 5.17). The
/// numbers are the same on all architectures since 424.
const UNKNOWN_FROM: u32 = 450;

/// `ENOSYS` for `clone3`, whose flags a filter cannot see, so that callers fall back to `clone`; for every number that is
/// not known here; and by that for the x32 calls, whose numbers have bit 30 set (`seccomp(2)`, caveats).
fn unknown_to_us() -> BpfProgram {
    let none = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let clone3 = u32::try_from(libc::SYS_clone3).expect("is a small number");
    // Loads the number; equal: 2 further; at least: 1 further; allow; refuse. The other filter checks the architecture.
    let line = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, clone3),
        line(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, UNKNOWN_FROM),
        line(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        line(libc::BPF_RET | libc::BPF_K, 0, 0, none.into()),
    ]
}

fn narrow(own: Pid) -> Result<Rules, seccompiler::Error> {
    let mut rules: Rules = NARROW.iter().map(|call| (*call, Vec::new())).collect();
    // Memory that can be written and executed is for compilers.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![when(2, Is::MaskedEq(executable), 0)?]);
    }
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![when(0, Is::Eq, own_number(own))?]);
    }
    Ok(rules)
}

fn broad(own: Pid, execute: bool) -> Result<Rules, seccompiler::Error> {
    let mut rules: Rules = BROAD_REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    if !execute {
        rules.insert(libc::SYS_execve, Vec::new());
    }
    // Signals to anybody else, and limits of anybody else.
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![when(0, Is::Ne, own_number(own))?]);
    }
    let others =
        vec![Condition::new(0, Length::Dword, Is::Ne, 0)?, Condition::new(0, Length::Dword, Is::Ne, own_number(own))?];
    rules.insert(libc::SYS_prlimit64, vec![Rule::new(others)?]);
    // Threads are well; processes and namespaces are not.
    let thread = libc::CLONE_THREAD as u64;
    let mut clone = vec![when(0, Is::MaskedEq(thread), 0)?];
    for flag in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        clone.push(when(0, Is::MaskedEq(flag as u64), flag as u64)?);
    }
    rules.insert(libc::SYS_clone, clone);
    // That it dies with its parent: without a process namespace nothing else ends it when the launcher is killed.
    let outlive = u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs());
    rules.insert(libc::SYS_prctl, vec![when(0, Is::Eq, outlive)?]);
    // Typing on a terminal on somebody's behalf; Linux has both.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX];
    rules
        .insert(libc::SYS_ioctl, typing.into_iter().map(|request| when(1, Is::Eq, request)).collect::<Result<_, _>>()?);
    Ok(rules)
}

fn own_number(own: Pid) -> u64 {
    own.as_raw_nonzero().get().unsigned_abs().into()
}

/// Makes the condition on the lower half of one argument; the kernel reads no more of these.
fn when(argument: u8, is: Is, value: u64) -> Result<Rule, seccompiler::Error> {
    Ok(Rule::new(vec![Condition::new(argument, Length::Dword, is, value)?])?)
}

/// What the narrow filter lets through, beside memory that is not executable and signals to oneself.
const NARROW: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ppoll,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_setrlimit,
];

/// What changes files without writing to them.
const ATTRIBUTES: &[i64] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

/// What the broad filter refuses, whatever the arguments.
const BROAD_REFUSED: &[i64] = &[
    // Processes, and other processes' memory, descriptors and priorities.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_tkill,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_setpriority,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_ioprio_set,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The network. Pairs are made without it.
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Memory that belongs to no process.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Mounts, roots, namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    // Users and keys.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Wide doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_getevents,
    libc::SYS_io_cancel,
    libc::SYS_io_destroy,
    libc::SYS_seccomp,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_lookup_dcookie,
    libc::SYS_personality,
    libc::SYS_remap_file_pages,
    libc::SYS_vmsplice,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_are_bounded() {
        let own = Pid::from_raw(2).expect("is a number");
        let broad = |execute, attributes| Width::Broad { execute, attributes };
        for width in [Width::Narrow, broad(true, true), broad(false, true), broad(false, false)] {
            let programs = programs(width, own).expect("compiles");
            let lines: usize = programs.iter().map(Vec::len).sum();
            // The kernel takes 4096 in one program.
            assert!((20..2000).contains(&lines), "{width:?}: {lines}");
        }
    }

    #[test]
    fn nothing_is_refused_and_allowed_at_once() {
        let forbidden = [libc::SYS_execve, libc::SYS_clone, libc::SYS_socket, libc::SYS_openat, libc::SYS_ptrace];
        for call in BROAD_REFUSED.iter().chain(&forbidden) {
            assert!(!NARROW.contains(call), "{call}");
        }
    }
}
