//! The layers of a sandbox by name, and how complete a set of them is.
//!
//! Invariant: a grade is computed from the layers that were seen to hold, never said by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that keeps a program from one way out. The order is that in which a worker sets them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The worker leads a process group of its own, so that one signal reaches all of it.
    ProcessGroup,
    /// No variable of the host's environment is visible.
    EmptyEnvironment,
    /// No descriptor of the host but socket, pipes and arena is open.
    FdsClosed,
    /// A user namespace: the worker's user is nobody in particular outside.
    UserNamespace,
    /// The worker runs as a user without privileges, without a namespace for it.
    UnprivilegedUser,
    /// A mount namespace of its own.
    MountNamespace,
    /// A process namespace: other processes have no number that could be named.
    PidNamespace,
    /// A network namespace without an interface.
    NetworkNamespace,
    /// Namespaces for System V and POSIX queues, names of the host and control groups.
    IpcNamespace,
    /// See [`Layer::IpcNamespace`].
    UtsNamespace,
    /// See [`Layer::IpcNamespace`].
    CgroupNamespace,
    /// The root directory holds what the engine needs, read-only, and nothing else.
    PrivateRoot,
    /// A first process that reaps, and with which everything in the namespace dies.
    Init,
    /// The worker dies with its host.
    Lifeline,
    /// Bounds of the kernel on memory, processor time, processes, files and descriptors.
    Rlimits,
    /// When the machine is out of memory the worker is the first to go.
    OomScore,
    /// No program it starts gains privileges.
    NoNewPrivs,
    /// No capability is left in any set.
    Capabilities,
    /// Other processes of the user cannot look into it.
    NotDumpable,
    /// Landlock allows what the engine needs of files, and no network, no signal and no socket across its border.
    Landlock,
    /// A filter of system calls.
    Seccomp,
    /// A new process was asked for, and refused.
    ForkDenied,
    /// A control group (v2) with bounds of its own on memory and processes.
    Cgroup,
}

/// A layer that does not hold, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Which one.
    pub layer: Layer,
    /// Why: the system call that failed and its error, or what was asked for.
    pub reason: String,
}

/// How complete a sandbox is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// A way out is open: no program may run in it.
    Refused,
    /// Every way out is closed, by fewer layers than there could be.
    Degraded,
    /// Every layer that counts holds.
    Full,
}

/// A group of layers that can be left out, to see that the others hold without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Barrier {
    /// All namespaces with the private root.
    Namespaces,
    /// Landlock.
    Landlock,
    /// The filter of system calls.
    Seccomp,
}

impl Layer {
    /// All layers, in their order.
    pub const ALL: [Self; 23] = [
        Self::ProcessGroup,
        Self::EmptyEnvironment,
        Self::FdsClosed,
        Self::UserNamespace,
        Self::UnprivilegedUser,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::PrivateRoot,
        Self::Init,
        Self::Lifeline,
        Self::Rlimits,
        Self::OomScore,
        Self::NoNewPrivs,
        Self::Capabilities,
        Self::NotDumpable,
        Self::Landlock,
        Self::Seccomp,
        Self::ForkDenied,
        Self::Cgroup,
    ];
    /// What a sandbox without a gap has. A control group is a second bound on memory beside `rlimits` and the host's own
    /// watch, and there are few machines that delegate one, so it is reported and does not count.
    pub const COUNTED: [Self; 15] = [
        Self::ProcessGroup,
        Self::EmptyEnvironment,
        Self::FdsClosed,
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::PrivateRoot,
        Self::Lifeline,
        Self::Rlimits,
        Self::NoNewPrivs,
        Self::Capabilities,
        Self::Landlock,
        Self::Seccomp,
        Self::ForkDenied,
    ];

    /// Gives the name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcessGroup => "process_group",
            Self::EmptyEnvironment => "empty_environment",
            Self::FdsClosed => "fds_closed",
            Self::UserNamespace => "user_namespace",
            Self::UnprivilegedUser => "unprivileged_user",
            Self::MountNamespace => "mount_namespace",
            Self::PidNamespace => "pid_namespace",
            Self::NetworkNamespace => "network_namespace",
            Self::IpcNamespace => "ipc_namespace",
            Self::UtsNamespace => "uts_namespace",
            Self::CgroupNamespace => "cgroup_namespace",
            Self::PrivateRoot => "private_root",
            Self::Init => "init",
            Self::Lifeline => "lifeline",
            Self::Rlimits => "rlimits",
            Self::OomScore => "oom_score",
            Self::NoNewPrivs => "no_new_privs",
            Self::Capabilities => "capabilities",
            Self::NotDumpable => "not_dumpable",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::ForkDenied => "fork_denied",
            Self::Cgroup => "cgroup",
        }
    }
}

impl Grade {
    /// Gives the grade of a set of layers.
    ///
    /// Each way out needs one layer at least: files, network, other processes, privileges and what the kernel bounds.
    pub fn of(layers: &[Layer]) -> Self {
        let has = |layer| layers.contains(&layer);
        let files = has(Layer::PrivateRoot) || has(Layer::Landlock);
        let network = has(Layer::NetworkNamespace) || has(Layer::Seccomp);
        // Without a process namespace nothing but the filter keeps a fork bomb from outliving its worker.
        let processes = has(Layer::PidNamespace) || (has(Layer::Seccomp) && has(Layer::ForkDenied));
        let privileges = has(Layer::NoNewPrivs) && (has(Layer::UserNamespace) || has(Layer::Capabilities));
        let kept = has(Layer::Rlimits) && has(Layer::FdsClosed) && has(Layer::Lifeline);
        if !(files && network && processes && privileges && kept) {
            Self::Refused
        } else if Layer::COUNTED.into_iter().all(has) {
            Self::Full
        } else {
            Self::Degraded
        }
    }

    /// Gives the name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Degraded => "degraded",
            Self::Full => "full",
        }
    }
}

impl Barrier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Namespaces, Self::Landlock, Self::Seccomp];

    /// Gives the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

impl FromStr for Barrier {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|barrier| barrier.as_str() == word)
            .ok_or_else(|| format!("`{word}` is none of namespaces, landlock, seccomp"))
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grade_follows_from_the_layers() {
        assert_eq!(Grade::of(&Layer::ALL), Grade::Full);
        assert_eq!(Grade::of(&Layer::COUNTED), Grade::Full);
        assert_eq!(Grade::of(&[]), Grade::Refused);
        for left_out in Layer::COUNTED {
            let rest: Vec<Layer> = Layer::ALL.into_iter().filter(|layer| *layer != left_out).collect();
            assert!(Grade::of(&rest) < Grade::Full, "{left_out}");
        }
        let without = |gone: &[Layer]| {
            Grade::of(&Layer::ALL.into_iter().filter(|layer| !gone.contains(layer)).collect::<Vec<_>>())
        };
        // One of two locks on each door.
        for gone in [Layer::Landlock, Layer::PrivateRoot, Layer::NetworkNamespace, Layer::PidNamespace] {
            assert_eq!(without(&[gone]), Grade::Degraded, "{gone}");
        }
        // Both.
        for gone in [
            [Layer::Landlock, Layer::PrivateRoot],
            [Layer::NetworkNamespace, Layer::Seccomp],
            [Layer::PidNamespace, Layer::ForkDenied],
            [Layer::PidNamespace, Layer::Seccomp],
        ] {
            assert_eq!(without(&gone), Grade::Refused, "{gone:?}");
        }
        for gone in [Layer::Rlimits, Layer::FdsClosed, Layer::Lifeline, Layer::NoNewPrivs] {
            assert_eq!(without(&[gone]), Grade::Refused, "{gone}");
        }
    }

    #[test]
    fn names_are_those_of_json() {
        for layer in Layer::ALL {
            assert_eq!(serde_json::to_value(layer).expect("is a text"), layer.as_str());
        }
        for barrier in Barrier::ALL {
            assert_eq!(serde_json::to_value(barrier).expect("is a text"), barrier.as_str());
            assert_eq!(barrier.as_str().parse(), Ok(barrier));
        }
        assert!("walls".parse::<Barrier>().is_err());
    }
}
