//! What a package asks for, in plain words: what it may reach, what it takes, and what it cannot do.

use crate::package::Package;
use crate::package::capability::shown;
use crate::package::model::{FileAccessLevel, HardwareRequirement, HardwareType, Resources, SandboxLevel, Security};
use crate::package::units::format_cpu;

/// Says what a package may do and takes, one sentence each.
pub(super) fn capabilities(package: &Package) -> Vec<String> {
    let security = &package.security;
    let mut sentences = vec![network(security), files(security)];
    if security.file_access.allow_temp {
        sentences.push("It has a directory for temporary files, which is gone after the run.".into());
    }
    if !security.file_access.denied_paths.is_empty() {
        sentences.push(format!("It is kept from these paths: {}.", security.file_access.denied_paths.join(", ")));
    }
    sentences.push(match security.allowed_syscalls.as_slice() {
        [] => "It asks for no system calls beyond those of its sandbox.".into(),
        calls => format!("It asks for these system calls beyond those of its sandbox: {}.", calls.join(", ")),
    });
    if !security.permissions.is_empty() {
        sentences.push(format!("It asks for these permissions: {}.", security.permissions.join(", ")));
    }
    sentences.extend(resources(&package.resources));
    sentences
}

fn network(security: &Security) -> String {
    let rules = &security.network_access;
    if security.sandbox_level >= SandboxLevel::Strict || !rules.enabled {
        return "It has no network.".into();
    }
    let domains = match rules.allowed_domains.as_slice() {
        [] => "any host".into(),
        domains => domains.join(", "),
    };
    let ports = match rules.allowed_ports.as_slice() {
        [] => String::new(),
        ports => format!(", on port {}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
    };
    let tls = if rules.require_tls { "by TLS only" } else { "also without TLS" };
    format!("It asks for the network: {domains}{ports}, {tls}.")
}

fn files(security: &Security) -> String {
    let rules = &security.file_access;
    let paths = match rules.allowed_paths.as_slice() {
        [] => "its own files".into(),
        paths => format!("its own files and {}", paths.join(", ")),
    };
    match rules.level {
        _ if security.sandbox_level >= SandboxLevel::Strict => "It opens no files.".into(),
        FileAccessLevel::None => "It opens no files.".into(),
        FileAccessLevel::ReadOnly => format!("It asks to read {paths}."),
        FileAccessLevel::ReadWrite => format!("It asks to read and write {paths}."),
    }
}

fn resources(resources: &Resources) -> Vec<String> {
    let mut sentences = vec![format!(
        "One run takes at most {} of processor, {} of memory and {:?}.",
        format_cpu(resources.cpu_limit),
        shown(resources.memory_limit),
        resources.execution_timeout,
    )];
    let cores = resources.cpu_cores.map(|cores| format!("{cores} whole cores"));
    let architecture = resources.cpu_architecture.as_ref().map(|name| format!("the processor architecture {name}"));
    let leased = resources.memory_mb.map(|size| format!("{size} MiB of memory to lease"));
    let storage = resources.storage_required.map(|size| format!("{} of storage", shown(size)));
    let storage_leased = resources.storage_mb.map(|size| format!("{size} MiB of storage to lease"));
    let kept = resources.persistent_storage.then(|| "storage that outlives the run".to_owned());
    let bandwidth = resources.network_bandwidth.map(|size| format!("{} of network in a second", shown(size)));
    let needs = [cores, architecture, leased, storage, storage_leased, kept, bandwidth, graphics(resources)];
    sentences.extend(needs.into_iter().flatten().map(|need| format!("It needs {need}.")));
    sentences.extend(resources.hardware_requirements.iter().map(hardware));
    sentences
}

fn graphics(resources: &Resources) -> Option<String> {
    resources.gpu_required.then(|| {
        let memory = resources.gpu_memory_mb.map_or(String::new(), |size| format!(" with {size} MiB"));
        let kind = resources.gpu_type.as_ref().map_or(String::new(), |kind| format!(", for {kind}"));
        format!("a graphics processor{memory}{kind}")
    })
}

fn hardware(requirement: &HardwareRequirement) -> String {
    let kind = match requirement.hardware_type {
        HardwareType::Cpu => "processor",
        HardwareType::Gpu => "graphics processor",
        HardwareType::Memory => "memory",
        HardwareType::Storage => "storage",
        HardwareType::Network => "network",
    };
    let better = requirement.preferred_spec.as_ref().map_or(String::new(), |spec| format!("; better {spec}"));
    let features = match requirement.required_features.as_slice() {
        [] => String::new(),
        features => format!("; with {}", features.join(", ")),
    };
    format!("Of {kind} it needs {}{better}{features}.", requirement.minimum_spec)
}
