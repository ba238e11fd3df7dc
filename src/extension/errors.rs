//! Errors of the operations as errors of the contract: a code, whose fault, the place, and what to do next.

mod memory;
mod owners;
mod remote;
mod runs;
mod runtime;
mod template;

use std::path::Path;

use hypermesh_abi::records::InputFault;
use hypermesh_abi::{Code, Error, Fault};
use trustchain::feed::FeedError;

use super::answers::size;
use crate::advisory::AdvisoryError;
use crate::archive::delta::DeltaError;
use crate::consensus::ConsensusError;
use crate::host::Refusal;
use crate::lockfile::LockedPackage;
use crate::mesh::LedgerError;
use crate::ops::network::NetworkError;
use crate::ops::{Obstacle, OpError};
use crate::package::Faults;
use crate::package::analyse::{Finding, Level};
use crate::package::model::PackageType;
use crate::package::name::PackageName;
use crate::registry::RegistryError;
use crate::remote::RemoteError;
use crate::resolve::ResolveError;
use crate::search::{ImportError, SearchError};
use crate::sqlite::SqliteError;
use crate::store::StoreError;
use crate::trust::freshness::FreshnessError;
use crate::trust::policy::{Check, Decision, Denied, Outcome, Reason, Verdict};
use crate::vm::execution::ExecutionError;
use crate::vm::{ErrorKind, Failure, ScriptError, ScriptErrorKind, VmError};

/// Translates an error.
pub(super) fn to_error(error: &OpError) -> Error {
    let mut converted = Error::wrap(code(error), error);
    converted.detail.name = name(error).map(Into::into);
    converted.detail.help = help(error);
    match error {
        OpError::Invalid { directory, faults } => {
            converted.detail.faults = input_faults(faults, Some(&in_directory(directory, &faults.file)));
        }
        OpError::Unfit { manifest, analysis, .. } => {
            let serious = analysis.findings.iter().filter(|found| found.level >= Level::High);
            converted.detail.faults = serious.map(|found| of_finding(found, manifest)).collect();
        }
        OpError::Run { name, directory, failure } => {
            let place = directory.as_ref().map(|directory| (name, directory.as_path()));
            return of_failure(failure, place, converted);
        }
        OpError::Vm(vm) => return of_vm(vm, None, converted),
        OpError::Host(refusal) | OpError::Resources { refusal, .. } => return of_host(refusal, converted),
        OpError::Consensus { source, .. } => {
            if let ConsensusError::Host(refusal) = &**source {
                return of_host(refusal, converted);
            }
        }
        OpError::New(error) => return template::complete(error, converted),
        OpError::Denied(Denied(decision)) => converted.detail.faults = of_reasons(decision),
        OpError::Remote(RemoteError::Unreachable { .. }) => converted.retryable = true,
        OpError::Network(network) => {
            if let NetworkError::NoAgreement(agreement) = &**network {
                converted.detail.answer = Some(super::answers::disagreement(agreement));
            }
        }
        OpError::Resolve(ResolveError::Unsatisfiable(conflict)) => {
            converted.detail.answer = Some(super::answers::explanation(conflict));
        }
        _ => {}
    }
    converted
}

/// Passes on what the host said.
fn of_host(refusal: &Refusal, mut converted: Error) -> Error {
    converted.code = Code(refusal.code);
    converted.fault = converted.code.usual_fault();
    converted.retryable = matches!(converted.code, Code::RESOURCE_UNAVAILABLE | Code::BUSY);
    converted
}

/// Gives what a policy has against a package, one fault for each reason.
fn of_reasons(decision: &Decision) -> Vec<InputFault> {
    let fault = |reason: &Reason| InputFault {
        code: reason.violation.map_or_else(|| "Rule".into(), |violation| format!("{violation:?}")),
        severity: "error".into(),
        message: format!("{}: {}", decision.package, reason.message),
        ..InputFault::default()
    };
    decision.reasons.iter().map(fault).collect()
}

/// Gives one fault for a damaged file.
pub(super) fn of_damage(package: &LockedPackage, error: &OpError) -> InputFault {
    let file = match error {
        OpError::Store(StoreError::Damaged { path, .. }) => Some(path.display().to_string()),
        _ => None,
    };
    let converted = to_error(error);
    InputFault {
        code: "DAMAGED".into(),
        severity: "critical".into(),
        file,
        message: format!("{} {}: {converted}", package.name, package.version),
        hint: converted.detail.help,
        ..InputFault::default()
    }
}

/// Gives what an analyser found as a fault, in a file beside the manifest or in the manifest itself.
pub(super) fn of_finding(finding: &Finding, manifest: &Path) -> InputFault {
    let times = if finding.count > 1 { format!(" ({} places)", finding.count) } else { String::new() };
    InputFault {
        code: finding.code.into(),
        severity: match finding.level {
            Level::Critical => "critical",
            Level::High => "error",
            Level::Medium | Level::Low | Level::Info => "warning",
        }
        .into(),
        file: Some(match &finding.file {
            Some(file) => manifest.with_file_name(file.as_str()).display().to_string(),
            None => manifest.display().to_string(),
        }),
        line: (finding.line > 0).then_some(finding.line),
        message: format!("{}{times}", finding.message),
        hint: Some(finding.hint.into()),
        ..InputFault::default()
    }
}

fn in_directory(directory: &Path, file: &str) -> String {
    let directory = if directory.is_file() { directory.parent().unwrap_or(directory) } else { directory };
    directory.join(file).display().to_string()
}

fn beside(file: &str, other: &str) -> String {
    Path::new(file).with_file_name(other).display().to_string()
}

/// Gives faults as records, with the file they are in.
pub(super) fn input_faults(faults: &Faults, file: Option<&str>) -> Vec<InputFault> {
    let place = |number: u32| (number > 0).then_some(number);
    let record = |fault: &crate::package::Fault| InputFault {
        code: fault.code.into(),
        severity: format!("{:?}", fault.severity).to_lowercase(),
        file: Some(match &fault.file {
            // Beside the manifest.
            Some(own) => file.map_or_else(|| own.to_string(), |file| beside(file, own.as_str())),
            None => file.unwrap_or(&faults.file).to_owned(),
        }),
        path: (!fault.path.is_empty()).then(|| fault.path.clone()),
        line: place(fault.line),
        column: place(fault.column),
        message: fault.message.clone(),
        hint: fault.hint.clone(),
    };
    faults.list.iter().map(record).collect()
}

fn code(error: &OpError) -> Code {
    match error {
        OpError::NotPublished { .. }
        | OpError::NoVersion { .. }
        | OpError::NotInstalled { .. }
        | OpError::OtherVersion { .. }
        | OpError::NoDirectory { .. }
        | OpError::NoGeneration { .. }
        | OpError::NoEarlier { .. } => Code::NOT_FOUND,
        OpError::Published { .. } | OpError::GivenTwice { .. } | OpError::Occupied { .. } => Code::ALREADY_EXISTS,
        OpError::Frozen { .. } => Code::DEPENDENCY_RESOLUTION_FAILED,
        OpError::OtherPlatform { .. } | OpError::NoBase { .. } => Code::INVALID_ARGUMENT,
        OpError::Delta(DeltaError::OtherBase { .. } | DeltaError::OtherResult { .. }) => Code::INTEGRITY,
        OpError::Delta(_) => Code::INVALID_ARGUMENT,
        OpError::Unfit { analysis, .. } if analysis.findings.iter().any(|found| found.level == Level::Critical) => {
            Code::POLICY_DENIED
        }
        OpError::Invalid { .. }
        | OpError::Unfit { .. }
        | OpError::Spec { .. }
        | OpError::Rating { .. }
        | OpError::NoAttack { .. }
        | OpError::Needed { .. } => Code::INVALID_ARGUMENT,
        OpError::Licence { .. } => Code::POLICY_DENIED,
        OpError::NotRunnable { obstacle: Obstacle::SwitchedOff | Obstacle::Sandbox { .. }, .. } => Code::POLICY_DENIED,
        OpError::NotRunnable { .. } | OpError::Policy(_) => Code::INVALID_ARGUMENT,
        OpError::Denied(_) | OpError::UnsignedDirectory { .. } => Code::POLICY_DENIED,
        OpError::Ledger(LedgerError::Row { .. } | LedgerError::File(SqliteError::Damaged { .. })) => Code::CORRUPT,
        OpError::Ledger(_) => Code::IO,
        OpError::Record(_) | OpError::NotShared { .. } => Code::INVALID_ARGUMENT,
        OpError::Unsigned { .. } | OpError::Feed { .. } => Code::CERTIFICATE_VALIDATION_FAILED,
        OpError::Freshness(FreshnessError::Damaged { .. }) => Code::CORRUPT,
        OpError::Freshness(_) => Code::IO,
        OpError::Resolve(ResolveError::Changed { .. }) | OpError::Trust(_) => Code::INTEGRITY,
        OpError::Resolve(ResolveError::Candidates(_)) => Code::CORRUPT,
        OpError::Resolve(_) => Code::DEPENDENCY_RESOLUTION_FAILED,
        OpError::Archive(_) | OpError::State { .. } => Code::INVALID_ARGUMENT,
        OpError::Store(StoreError::Busy { .. }) => Code::BUSY,
        OpError::Store(StoreError::NotInstalled { .. }) => Code::NOT_FOUND,
        OpError::Store(StoreError::Damaged { .. } | StoreError::Archive(_)) => Code::INTEGRITY,
        OpError::Store(_) | OpError::File { .. } => Code::IO,
        OpError::FeedEntry(FeedError::Malformed { .. }) => Code::INVALID_ARGUMENT,
        OpError::Registry(error)
        | OpError::Import(ImportError::Registry(error))
        | OpError::Search(SearchError::Registry(error)) => of_registry(error),
        OpError::Lockfile(_) | OpError::ArchiveMissing { .. } | OpError::FeedEntry(_) => Code::CORRUPT,
        #[cfg(feature = "julia")]
        OpError::Runtime(error) => runtime::code(error),
        OpError::NoSuchRuntime { .. } => Code::NOT_FOUND,
        OpError::Remote(error) => remote::code_of_remote(error),
        OpError::Owner(error) => owners::code_of_owner(error),
        OpError::Upstream(error) => remote::code_of_upstream(error),
        OpError::Network(error) => remote::code_of_network(error),
        OpError::OtherRelease { .. } => Code::INTEGRITY,
        OpError::GivenLockfile { .. }
        | OpError::Unmerged { .. }
        | OpError::Universe { .. }
        | OpError::Moment { .. }
        | OpError::Address(_) => Code::INVALID_ARGUMENT,
        OpError::Advisory(error) => match error {
            AdvisoryError::Record { .. } | AdvisoryError::Source { .. } | AdvisoryError::TooMany { .. } => {
                Code::INVALID_ARGUMENT
            }
            AdvisoryError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NOT_FOUND,
            AdvisoryError::File { .. } | AdvisoryError::Database(_) => Code::IO,
            _ => Code::CORRUPT,
        },
        OpError::Import(error) => match error {
            ImportError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NOT_FOUND,
            ImportError::File { .. } => Code::IO,
            _ => Code::INVALID_ARGUMENT,
        },
        OpError::BatchTooLong { .. } | OpError::BatchTooLarge { .. } => Code::INVALID_ARGUMENT,
        OpError::Search(SearchError::Damaged) => Code::CORRUPT,
        OpError::Search(SearchError::TooMany) => Code::RESOURCE_LIMIT_EXCEEDED,
        OpError::Search(SearchError::File(_)) => Code::IO,
        OpError::Execution(ExecutionError::Unknown { .. }) => Code::NOT_FOUND,
        OpError::Execution(ExecutionError::Full) => Code::BUSY,
        OpError::Running(error) => runs::code(error),
        OpError::Memory(error) => memory::code(error),
        OpError::New(error) => template::code(error),
        OpError::Consensus { .. } => Code::CONSENSUS_VALIDATION_FAILED,
        OpError::Execution(_) => Code::INVALID_ARGUMENT,
        _ => Code::INTERNAL,
    }
}

fn of_registry(error: &RegistryError) -> Code {
    match error {
        RegistryError::AlreadyPublished { .. } | RegistryError::Conflict { .. } => Code::ALREADY_EXISTS,
        RegistryError::Database(_) => Code::IO,
        RegistryError::TooMany { .. } => Code::INVALID_ARGUMENT,
        _ => Code::CORRUPT,
    }
}

fn name(error: &OpError) -> Option<&'static str> {
    Some(match error {
        OpError::Published { .. } | OpError::GivenTwice { .. } => "DUPLICATE_VERSION",
        OpError::Registry(RegistryError::AlreadyPublished { .. } | RegistryError::Conflict { .. }) => {
            "DUPLICATE_VERSION"
        }
        OpError::NotPublished { .. } => "PACKAGE_NOT_FOUND",
        OpError::NoVersion { .. } => "VERSION_NOT_FOUND",
        OpError::NotInstalled { .. } | OpError::OtherVersion { .. } => "PACKAGE_NOT_INSTALLED",
        OpError::NoDirectory { .. } => "DIRECTORY_NOT_FOUND",
        OpError::Needed { .. } => "PACKAGE_NEEDED",
        OpError::NoAttack { .. } => "ATTACK_NOT_FOUND",
        OpError::Unfit { .. } if code(error) == Code::POLICY_DENIED => "CRITICAL_FINDINGS",
        OpError::Invalid { .. } | OpError::Unfit { .. } => "INVALID_PACKAGE",
        OpError::NotRunnable { obstacle: Obstacle::SwitchedOff, .. } => "EXECUTION_DISABLED",
        OpError::NotRunnable { obstacle: Obstacle::Sandbox { .. }, .. } => "SANDBOX_UNFIT",
        OpError::NotRunnable { .. } => "NOT_RUNNABLE",
        OpError::Consensus { .. } => "CONSENSUS_REQUIRED",
        OpError::Licence { .. } => "LICENCE_REFUSED",
        OpError::Denied(Denied(decision)) if decision.verdict == Verdict::Confirm => "CONFIRMATION_REQUIRED",
        OpError::Denied(_) => "UNTRUSTED_PACKAGE",
        OpError::UnsignedDirectory { .. } => "UNSIGNED_DIRECTORY",
        OpError::Resolve(ResolveError::Cycle { .. }) => "DEPENDENCY_CYCLE",
        OpError::Resolve(ResolveError::Unsatisfiable(_)) => "UNSATISFIABLE",
        OpError::Resolve(ResolveError::Source { .. }) => "UNSUPPORTED_SOURCE",
        OpError::Execution(ExecutionError::Unknown { .. }) => "EXECUTION_NOT_FOUND",
        OpError::Running(error) => return runs::name(error),
        OpError::Memory(error) => memory::name(error),
        OpError::New(error) => return template::name(error),
        OpError::Remote(error) => remote::name_of_remote(error),
        OpError::Owner(error) => owners::name_of_owner(error),
        OpError::Upstream(error) => remote::name_of_upstream(error),
        OpError::Network(error) => remote::name_of_network(error),
        OpError::GivenLockfile { .. } => "INVALID_LOCKFILE",
        OpError::Unmerged { .. } => "LOCKFILE_UNMERGED",
        OpError::Frozen { .. } => "FROZEN",
        OpError::OtherPlatform { .. } => "OTHER_PLATFORM",
        OpError::NoGeneration { .. } | OpError::NoEarlier { .. } => "GENERATION_NOT_FOUND",
        OpError::NoBase { .. } | OpError::Delta(DeltaError::OtherBase { .. }) => "DELTA_BASE",
        OpError::Occupied { .. } => "DIRECTORY_OCCUPIED",
        OpError::Universe { .. } => "INVALID_UNIVERSE",
        OpError::Advisory(AdvisoryError::Record { .. }) => "INVALID_ADVISORY",
        OpError::Import(ImportError::Line { .. }) => "INVALID_DESCRIPTION",
        _ => return None,
    })
}

fn help(error: &OpError) -> Option<String> {
    Some(match error {
        OpError::NotPublished { nearest: Some(nearest), .. } | OpError::NotInstalled { nearest: Some(nearest), .. } => {
            format!("did you mean `{nearest}`?")
        }
        OpError::NotPublished { .. } => "`catalog search` finds packages, `catalog publish DIR` publishes one".into(),
        OpError::NoVersion { latest: Some(latest), .. } => format!("the latest version is {latest}"),
        OpError::NotInstalled { published: true, name, .. } => format!("`catalog install {name}` installs it"),
        OpError::NotInstalled { .. } => {
            "`catalog list` shows what is installed; a directory is named as `./DIR`".into()
        }
        OpError::OtherVersion { name, wanted, .. } => format!("`catalog install {name}@{wanted}` installs it"),
        OpError::NoDirectory { .. } => "give the directory of a package, or its manifest".into(),
        OpError::Licence { .. } => {
            "`configuration.licenses` says what is allowed, and has exceptions; `catalog licenses PKG` lists all".into()
        }
        OpError::Needed { .. } => "remove those first, or along with it".into(),
        OpError::Published { identical: true, .. } => "the content is the same, so there is nothing to publish".into(),
        OpError::Published { .. } => "raise `metadata.version` in the manifest and publish again".into(),
        OpError::GivenTwice { .. } => "leave one of the directories out, or raise its `metadata.version`".into(),
        OpError::Spec { .. } => "name packages as `vec3`, `vec3@1.2.0`, `vec3@^1.2`, or a directory as `./vec3`".into(),
        OpError::NoAttack { .. } => "`catalog sandbox selftest --list` shows the names".into(),
        OpError::NotRunnable { obstacle, .. } => help_of_obstacle(obstacle).into(),
        OpError::Denied(Denied(decision)) if decision.verdict == Verdict::Confirm => {
            "look at `catalog verify PKG --explain`, and repeat with `--confirm` if it is wanted".into()
        }
        OpError::Denied(Denied(decision)) => denied(decision),
        OpError::UnsignedDirectory { .. } => "publish and install it, or set `run_directories` in the policy".into(),
        OpError::Feed { .. } => {
            "the registry is older than what this node has seen: restore the newer one, or ask who runs it".into()
        }
        OpError::Freshness(FreshnessError::Damaged { .. }) => {
            "restore it from a copy; without it older feeds than those seen would be believed once more".into()
        }
        OpError::Resources { refusal, .. } => {
            let help = refusal.help.as_ref().map_or(String::new(), |help| format!("{help}; "));
            format!("{help}the package asks for it in `spec.resources`")
        }
        OpError::Host(refusal) => return refusal.help.clone(),
        OpError::Consensus { source, .. } => match &**source {
            ConsensusError::Host(refusal) => return refusal.help.clone(),
            ConsensusError::SwitchedOff { .. } => "let an administrator set it to `package`".into(),
            ConsensusError::Full => "try again in some minutes".into(),
            _ => "the host's answer is not that of its cluster: see its trust anchors and its log".into(),
        },
        OpError::Resolve(ResolveError::Cycle { .. }) => "take one of these dependencies out".into(),
        OpError::Resolve(ResolveError::Unsatisfiable(_)) => {
            "publish what is missing, or change the requirement in `spec.dependencies`".into()
        }
        OpError::Universe { .. } => {
            "each line is {\"name\", \"version\", \"dependencies\": [{\"name\", \"req\"}]}, and requirements are a list of \
             {\"name\", \"req\", \"features\"}"
                .into()
        }
        OpError::Moment { .. } => "write it as `2026-01-31T12:00:00Z`, `2026-01-31`, `7d`, `12h` or `2w`".into(),
        OpError::Resolve(ResolveError::Source { .. }) => "publish that package here, and depend on its version".into(),
        OpError::Frozen { .. } => "leave `--frozen` out to choose anew, or ask for what is locked".into(),
        OpError::Unmerged { .. } => "`catalog resolve DIR --lock DIR` mends it, and installing without `--frozen`".into(),
        OpError::OtherPlatform { .. } => "resolve it on this platform: `catalog resolve DIR --lock DIR`".into(),
        OpError::NoGeneration { kept, .. } | OpError::NoEarlier { kept } => match &kept[..] {
            [] => "nothing was ever installed here".into(),
            kept => format!("kept are {}", kept.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        },
        OpError::NoBase { .. } => "name the archive it was made from with `--base FILE`".into(),
        OpError::Delta(DeltaError::OtherBase { .. }) => "give the archive of the version that it was made from".into(),
        OpError::Occupied { .. } => "name a directory that is not there yet, or an empty one".into(),
        OpError::Store(StoreError::Damaged { .. }) => "install the package again: its files are then made anew".into(),
        OpError::Store(StoreError::Archive(_)) | OpError::Trust(_) | OpError::ArchiveMissing { .. } => {
            "publish the same package again: its archive is then made anew".into()
        }
        OpError::Remote(error) => remote::help_of_remote(error).into(),
        OpError::Owner(error) => owners::help_of_owner(error),
        OpError::Upstream(error) => remote::help_of_upstream(error),
        OpError::Network(error) => remote::help_of_network(error).into(),
        OpError::Store(StoreError::Busy { .. }) => "try again when the other process has ended".into(),
        OpError::Advisory(AdvisoryError::Record { .. }) => {
            "nothing was imported; mend the record, or take its file out".into()
        }
        OpError::Advisory(AdvisoryError::Source { .. }) => {
            "give a record of the OSV schema, a directory of them, or a zip as OSV databases publish it".into()
        }
        OpError::Import(ImportError::Line { .. }) => {
            "nothing was imported; a line is an object with `name`, and may have `version`, `description`, `keywords` and \
             `tags`"
                .into()
        }
        OpError::Import(ImportError::TooMany { .. } | ImportError::Registry(RegistryError::TooMany { .. })) => {
            "nothing was imported; leave some out, or give `--replace` to let earlier ones go".into()
        }
        OpError::BatchTooLong { .. } => "cut it into several files".into(),
        OpError::BatchTooLarge { .. } => {
            "cut it into several files, write the answers to one with `--out FILE`, or ask for less with `--limit`".into()
        }
        OpError::Execution(ExecutionError::Unknown { .. }) => {
            "`catalog ps --all` lists the executions that the node remembers".into()
        }
        OpError::Running(error) => return runs::help(error),
        OpError::Memory(error) => return memory::help(error),
        OpError::New(error) => return template::help(error),
        _ => return runtime::help(error),
    })
}

fn help_of_obstacle(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Library(_) => "run a package that depends on it",
        Obstacle::Sandbox { .. } => "a package that can do without runs here: take the demand out of its manifest",
        Obstacle::SwitchedOff => "set `configuration.vm: true` in the extension's manifest",
        Obstacle::NoExecutor(PackageType::Container) => {
            "a node carries containers and does not run them: build it with `podman build` or `docker build` (on Debian `apt \
             install podman`)"
        }
        _ => {
            "packages of types julia-program, lua-script and wasm-module run on this node, and of types ml-model, data-pipeline \
             and custom if their main file ends in `.lua`, `.jl` or `.wasm`"
        }
    }
}

fn denied(decision: &Decision) -> String {
    let failed = |check| decision.check(check).is_some_and(|result| result.outcome == Outcome::Failed);
    let next = if failed(Check::Freshness) {
        "have its publisher renew the feed (`catalog feeds --renew`); "
    } else if failed(Check::Signature) {
        "publish it again on a node that signs (`host-sim trust init`); "
    } else {
        ""
    };
    format!("{next}`catalog verify {} --explain` shows every check", decision.package)
}

/// The most of a failed program's output that its error carries, in bytes; the end of it says most.
const OUTPUT_TAIL_BYTES: usize = 1024;

fn of_failure(failure: &Failure, place: Option<(&PackageName, &Path)>, converted: Error) -> Error {
    let mut converted = of_vm(&failure.error, place, converted);
    let printed = failure.output.stdout.trim_end();
    let is_flood = matches!(*failure.error, VmError::OutputLimit { .. });
    if !printed.is_empty() && !is_flood {
        let start = printed.ceil_char_boundary(printed.len().saturating_sub(OUTPUT_TAIL_BYTES));
        let cut = if start > 0 { "…" } else { "" };
        converted.chain.push(format!("printed until then:\n{cut}{}", &printed[start..]));
    }
    converted
}

fn of_vm(vm: &VmError, place: Option<(&PackageName, &Path)>, mut converted: Error) -> Error {
    converted.code = match vm {
        VmError::Timeout { .. } => Code::TIMEOUT,
        VmError::MemoryLimit { .. } => Code::MEMORY_LIMIT,
        VmError::OutputLimit { .. } => Code::OUTPUT_LIMIT,
        VmError::Cancelled | VmError::SessionEnded => Code::CANCELLED,
        VmError::FuelLimit { .. } => Code::RESOURCE_LIMIT_EXCEEDED,
        VmError::WorkerMissing { .. }
        | VmError::WorkerStart { .. }
        | VmError::WorkerLate { .. }
        | VmError::NoRuntime { .. }
        | VmError::Arena { .. }
        | VmError::Engine { .. } => Code::RESOURCE_UNAVAILABLE,
        VmError::Limits { .. } | VmError::Language { .. } | VmError::TooLarge(_) | VmError::File { .. } => {
            Code::INVALID_ARGUMENT
        }
        VmError::SandboxGrade { .. } => Code::POLICY_DENIED,
        _ => Code::RUNTIME_ERROR,
    };
    converted.fault = match vm.kind() {
        ErrorKind::Input => converted.code.usual_fault(),
        ErrorKind::Peer => Fault::PEER,
        ErrorKind::Environment => Fault::ENVIRONMENT,
        ErrorKind::Policy => Fault::POLICY,
    };
    converted.retryable = vm.is_transient();
    converted.detail.help = vm_help(vm);
    converted.chain = Error::wrap(converted.code, vm).chain;
    converted.detail.faults = vm.script().map(|script| of_script(script, place)).into_iter().collect();
    converted
}

fn vm_help(vm: &VmError) -> Option<String> {
    Some(match vm {
        VmError::NoRuntime { language } => {
            format!("`catalog runtime install {language}` installs one into the node's home")
        }
        VmError::Timeout { .. } => {
            "raise `spec.resources.execution_timeout` of the package, up to 300s, or `--timeout-ms` if it was given"
                .into()
        }
        VmError::MemoryLimit { limit } => {
            format!("raise `spec.resources.memory_limit` of the package, which is {}", size(limit.0))
        }
        VmError::FuelLimit { .. } => "let the program do less, or allow it more instructions".into(),
        VmError::OutputLimit { .. } => "print less, or return the text as the result".into(),
        VmError::SandboxGrade { absent, .. } => {
            let absent: Vec<String> =
                absent.iter().map(|absent| format!("{}: {}", absent.layer, absent.reason)).collect();
            format!(
                "`catalog sandbox selftest` shows what this machine can do; missing: {}. Allow it to its user, or run the \
                 package elsewhere; `configuration.sandbox` and `spec.security.sandbox_level` say how much is asked for",
                absent.join("; ")
            )
        }
        VmError::WorkerMissing { .. } => "lay out the extension with its worker: `host-sim bundle`".into(),
        _ => return None,
    })
}

/// Gives the error of a program, with its line, as one fault. Files of the package itself are named by where they are, if
/// that is known: `place` says its name and its directory.
pub(super) fn of_script(script: &ScriptError, place: Option<(&PackageName, &Path)>) -> InputFault {
    let own = |file: &String| {
        let (name, directory) = place?;
        let inside = file.strip_prefix(name.as_str())?.strip_prefix('/')?;
        Some(in_directory(directory, inside))
    };
    InputFault {
        code: match script.kind {
            ScriptErrorKind::Syntax => "SYNTAX_ERROR",
            ScriptErrorKind::Runtime => "RUNTIME_ERROR",
            ScriptErrorKind::MemoryLimit => "MEMORY_LIMIT",
            ScriptErrorKind::NoFunction => "NO_FUNCTION",
            ScriptErrorKind::Value => "BAD_VALUE",
            ScriptErrorKind::FuelLimit => "FUEL_LIMIT",
            ScriptErrorKind::Exit(_) => "EXIT_STATUS",
        }
        .into(),
        severity: "error".into(),
        file: script.file.as_ref().map(|file| own(file).unwrap_or_else(|| file.clone())),
        path: None,
        line: script.line,
        column: script.column,
        message: script.message.clone(),
        hint: (script.traceback.len() > 1).then(|| format!("called from {}", script.traceback[1..].join(", "))),
    }
}
