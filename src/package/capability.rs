//! What a package may do and what it takes, as a list that two versions of it can be compared by.
//!
//! Whoever updates reads this before the code: a version that wants more than the one before says so here, whatever its
//! changelog says. Nothing here decides; the policy and the sandbox do.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::model::{Bytes, FileAccessLevel, Package, Resources, SandboxLevel};
use super::units::format_cpu;

/// One thing that differs between two versions of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which capability, by the field that grants it.
    pub capability: &'static str,
    /// What changed, as a sentence without its subject: `now wants network`.
    pub text: String,
    /// The later version may do more or takes more than the earlier one.
    pub wider: bool,
}

/// Says what a later version may do that the earlier one might not, and the other way round.
pub fn changes(before: &Package, after: &Package) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    changes.network(before, after);
    changes.files(before, after);
    changes.sandbox(before, after);
    changes.resources(before, after);
    changes.0
}

struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, capability: &'static str, wider: bool, text: String) {
        self.0.push(Change { capability, text, wider });
    }

    fn network(&mut self, before: &Package, after: &Package) {
        const NETWORK: &str = "network";
        let (old, new) = (&before.security.network_access, &after.security.network_access);
        match (old.enabled, new.enabled) {
            (false, true) => {
                let to = if new.allowed_domains.is_empty() { "any".into() } else { new.allowed_domains.join(", ") };
                self.add(NETWORK, true, format!("now wants network, to {to}"));
            }
            (true, false) => self.add(NETWORK, false, "no longer wants network".into()),
            (false, false) => return,
            (true, true) => {
                // An empty list lets everything through, so losing the last entry is what widens it most.
                self.open_list("network.domains", "to reach", &old.allowed_domains, &new.allowed_domains);
                self.open_list("network.ports", "to reach port", &old.allowed_ports, &new.allowed_ports);
            }
        }
        if old.require_tls != new.require_tls && new.enabled {
            let text = if new.require_tls { "now insists on TLS" } else { "now allows connections without TLS" };
            self.add("network.tls", !new.require_tls, text.into());
        }
    }

    fn files(&mut self, before: &Package, after: &Package) {
        let (old, new) = (&before.security.file_access, &after.security.file_access);
        let (was, is) = (rank(old.level), rank(new.level));
        if was != is {
            let text = match new.level {
                FileAccessLevel::None => "no longer wants files".to_owned(),
                FileAccessLevel::ReadOnly => "now wants to read files".to_owned(),
                FileAccessLevel::ReadWrite => "now wants to write files".to_owned(),
            };
            self.add("files", is > was, text);
        }
        self.list("files.paths", "to open", &old.allowed_paths, &new.allowed_paths, true);
        self.list("files.denied", "to be kept from", &old.denied_paths, &new.denied_paths, false);
        if old.allow_temp != new.allow_temp {
            let text = if new.allow_temp { "now wants" } else { "no longer wants" };
            self.add("files.temporary", new.allow_temp, format!("{text} temporary files"));
        }
    }

    fn sandbox(&mut self, before: &Package, after: &Package) {
        let (old, new) = (&before.security, &after.security);
        if old.sandbox_level != new.sandbox_level {
            let text = format!("sandbox goes from {} to {}", level(old.sandbox_level), level(new.sandbox_level));
            self.add("sandbox", new.sandbox_level < old.sandbox_level, text);
        }
        self.list("syscalls", "the system call", &old.allowed_syscalls, &new.allowed_syscalls, true);
        self.list("permissions", "the permission", &old.permissions, &new.permissions, true);
        for (capability, was, is, what) in [
            ("consensus", old.consensus_required, new.consensus_required, "the validators' agreement"),
            ("pinning", old.certificate_pinning, new.certificate_pinning, "its publisher's keys pinned"),
        ] {
            if was != is {
                let text = if is { "now asks for" } else { "no longer asks for" };
                self.add(capability, !is, format!("{text} {what}"));
            }
        }
    }

    fn resources(&mut self, before: &Package, after: &Package) {
        let (old, new) = (&before.resources, &after.resources);
        self.amount("cpu", old.cpu_limit, new.cpu_limit, "processor", format_cpu);
        self.amount("memory", old.memory_limit, new.memory_limit, "memory", shown);
        self.amount("timeout", old.execution_timeout, new.execution_timeout, "time", |time| format!("{time:?}"));
        let or_none = |bytes: Option<_>| bytes.map_or_else(|| "none".to_owned(), shown);
        self.amount("storage", old.storage_required, new.storage_required, "storage", or_none);
        self.amount("bandwidth", old.network_bandwidth, new.network_bandwidth, "bandwidth", or_none);
        let count = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
        let mebibytes = |number: Option<u64>| or_none(number.map(|number| Bytes(number.saturating_mul(1 << 20))));
        let cores = |resources: &Resources| resources.cpu_cores.map(u64::from);
        self.amount("cpu.cores", cores(old), cores(new), "number of cores", count);
        self.amount("memory.leased", old.memory_mb, new.memory_mb, "leased memory", mebibytes);
        self.amount("storage.leased", old.storage_mb, new.storage_mb, "leased storage", mebibytes);
        self.amount("gpu.memory", old.gpu_memory_mb, new.gpu_memory_mb, "graphics memory", mebibytes);
        if old.gpu_required != new.gpu_required {
            let text = if new.gpu_required { "now needs" } else { "no longer needs" };
            self.add("gpu", new.gpu_required, format!("{text} a graphics processor"));
        }
    }

    fn amount<T: PartialOrd + Copy>(
        &mut self,
        capability: &'static str,
        was: T,
        is: T,
        what: &str,
        text: impl Fn(T) -> String,
    ) {
        if was != is {
            self.add(capability, is > was, format!("{what} goes from {} to {}", text(was), text(is)));
        }
    }

    /// A list of what is allowed (`widens`) or forbidden.
    fn list(&mut self, capability: &'static str, what: &str, was: &[String], is: &[String], widens: bool) {
        let (was, is): (BTreeSet<_>, BTreeSet<_>) = (was.iter().collect(), is.iter().collect());
        for new in is.difference(&was) {
            self.add(capability, widens, format!("now wants {what} `{new}`"));
        }
        for gone in was.difference(&is) {
            self.add(capability, !widens, format!("no longer wants {what} `{gone}`"));
        }
    }

    /// A list of what is allowed, in which nothing stands for everything.
    fn open_list<T: Ord + Debug + ToString>(&mut self, capability: &'static str, what: &str, was: &[T], is: &[T]) {
        match (was.is_empty(), is.is_empty()) {
            (false, true) => self.add(capability, true, format!("now wants {what} any")),
            (true, false) => {
                let named: Vec<String> = is.iter().map(ToString::to_string).collect();
                self.add(capability, false, format!("now wants {what} only `{}`", named.join("`, `")));
            }
            _ => {
                let texts = |list: &[T]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
                self.list(capability, what, &texts(was), &texts(is), true);
            }
        }
    }
}

/// A size in the largest unit that it is a whole number of.
pub(crate) fn shown(bytes: Bytes) -> String {
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let unit = units.into_iter().find(|(_, size)| bytes.0 >= *size && bytes.0.is_multiple_of(*size));
    unit.map_or_else(|| bytes.0.to_string(), |(unit, size)| format!("{}{unit}", bytes.0 / size))
}

fn rank(level: FileAccessLevel) -> u8 {
    match level {
        FileAccessLevel::None => 0,
        FileAccessLevel::ReadOnly => 1,
        FileAccessLevel::ReadWrite => 2,
    }
}

fn level(level: SandboxLevel) -> &'static str {
    match level {
        SandboxLevel::Minimal => "minimal",
        SandboxLevel::Standard => "standard",
        SandboxLevel::Strict => "strict",
        SandboxLevel::Paranoid => "paranoid",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::package::tests::minimal;
    use crate::package::{self, source::Format};

    type Edit = fn(&mut Package);

    #[track_caller]
    fn check(before: Edit, after: Edit, expected: &[(&str, bool, &str)]) {
        let text = minimal("  content: {main: a.lua}\n");
        let mut old = package::parse(&text, Format::Yaml, "p").expect("valid").0;
        let mut new = old.clone();
        before(&mut old);
        after(&mut new);
        let wanted: Vec<_> = expected.to_vec();
        let found = changes(&old, &new);
        let found: Vec<_> = found.iter().map(|c| (c.capability, c.wider, c.text.as_str())).collect();
        assert_eq!(found, wanted);
        // The way back says the same the other way round.
        let back = changes(&new, &old);
        assert_eq!(back.len(), found.len());
        assert!(back.iter().zip(&found).all(|(back, there)| back.wider != there.1), "{back:?}");
    }

    #[test]
    fn what_a_version_wants_more_is_told_and_what_it_wants_less_too() {
        check(|_| {}, |_| {}, &[]);
        check(|_| {}, |p| p.security.network_access.enabled = true, &[("network", true, "now wants network, to any")]);
        check(
            |p| p.security.network_access.enabled = true,
            |p| {
                p.security.network_access.enabled = true;
                p.security.network_access.allowed_domains = vec!["a.example".into()];
            },
            &[("network.domains", false, "now wants to reach only `a.example`")],
        );
        check(
            |p| {
                p.security.network_access.enabled = true;
                p.security.network_access.allowed_ports = vec![443];
            },
            |p| {
                p.security.network_access.enabled = true;
                p.security.network_access.allowed_ports = vec![443, 80];
            },
            &[("network.ports", true, "now wants to reach port `80`")],
        );
        check(
            |_| {},
            |p| p.security.file_access.level = FileAccessLevel::ReadWrite,
            &[("files", true, "now wants to write files")],
        );
        check(
            |p| p.security.file_access.denied_paths = vec!["/etc".into()],
            |_| {},
            &[("files.denied", true, "no longer wants to be kept from `/etc`")],
        );
        check(
            |_| {},
            |p| p.security.allowed_syscalls = vec!["ptrace".into()],
            &[("syscalls", true, "now wants the system call `ptrace`")],
        );
        check(
            |_| {},
            |p| p.security.sandbox_level = SandboxLevel::Minimal,
            &[("sandbox", true, "sandbox goes from standard to minimal")],
        );
        check(
            |p| p.security.consensus_required = true,
            |_| {},
            &[("consensus", true, "no longer asks for the validators' agreement")],
        );
        check(
            |_| {},
            |p| {
                p.resources.memory_limit = Bytes(1 << 30);
                p.resources.execution_timeout = Duration::from_secs(10);
                p.resources.storage_required = Some(Bytes(1 << 20));
                p.resources.gpu_required = true;
                p.resources.memory_mb = Some(2_048);
                p.resources.cpu_cores = Some(2);
            },
            &[
                ("memory", true, "memory goes from 512Mi to 1Gi"),
                ("timeout", false, "time goes from 30s to 10s"),
                ("storage", true, "storage goes from none to 1Mi"),
                ("cpu.cores", true, "number of cores goes from none to 2"),
                ("memory.leased", true, "leased memory goes from none to 2Gi"),
                ("gpu", true, "now needs a graphics processor"),
            ],
        );
    }
}
