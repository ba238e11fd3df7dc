//! Errors of the operations as errors of the contract: a code, whose fault, the place, and what to do next.

use hypermesh_abi::records::InputFault;
use hypermesh_abi::{Code, Error, Fault};

use crate::ops::OpError;
use crate::package::Faults;
use crate::registry::RegistryError;
use crate::resolve::ResolveError;
use crate::store::StoreError;
use crate::vm::{ErrorKind, ScriptError, VmError};

/// Translates an error.
pub(super) fn to_error(error: &OpError) -> Error {
    let mut converted = Error::wrap(code(error), error);
    converted.detail.name = name(error).map(Into::into);
    converted.detail.help = help(error);
    match error {
        OpError::Invalid { directory, faults } => {
            let directory = if directory.is_file() { directory.parent().unwrap_or(directory) } else { directory };
            converted.detail.faults = input_faults(faults, Some(&directory.join(&faults.file).display().to_string()));
        }
        OpError::Run(failure) => return of_vm(&failure.error, converted),
        OpError::Vm(vm) => return of_vm(vm, converted),
        OpError::Host(refusal) => {
            converted.code = Code(refusal.code);
            converted.fault = converted.code.usual_fault();
            converted.retryable = matches!(converted.code, Code::RESOURCE_UNAVAILABLE | Code::BUSY);
        }
        _ => {}
    }
    converted
}

/// Gives faults as records, with the file they are in.
pub(super) fn input_faults(faults: &Faults, file: Option<&str>) -> Vec<InputFault> {
    let place = |number: u32| (number > 0).then_some(number);
    let record = |fault: &crate::package::Fault| InputFault {
        code: fault.code.into(),
        severity: format!("{:?}", fault.severity).to_lowercase(),
        file: Some(file.unwrap_or(&faults.file).to_owned()),
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
        OpError::NotPublished { .. } | OpError::NoVersion { .. } | OpError::NotInstalled { .. } => Code::NOT_FOUND,
        OpError::Published { .. } => Code::ALREADY_EXISTS,
        OpError::Invalid { .. } | OpError::Spec { .. } | OpError::Needed { .. } => Code::INVALID_ARGUMENT,
        OpError::NotRunnable { .. } => Code::UNSUPPORTED,
        OpError::Resolve(ResolveError::Changed { .. }) | OpError::Trust(_) => Code::INTEGRITY,
        OpError::Resolve(ResolveError::Candidates(_)) => Code::CORRUPT,
        OpError::Resolve(_) => Code::DEPENDENCY_RESOLUTION_FAILED,
        OpError::Archive(_) => Code::INVALID_ARGUMENT,
        OpError::Store(StoreError::Busy { .. }) => Code::BUSY,
        OpError::Store(StoreError::NotInstalled { .. }) => Code::NOT_FOUND,
        OpError::Store(StoreError::Damaged { .. } | StoreError::Archive(_)) => Code::INTEGRITY,
        OpError::Store(_) | OpError::File { .. } => Code::IO,
        OpError::Registry(RegistryError::AlreadyPublished { .. } | RegistryError::Conflict { .. }) => {
            Code::ALREADY_EXISTS
        }
        OpError::Registry(_) | OpError::Lockfile(_) => Code::CORRUPT,
        OpError::State { .. } => Code::INVALID_ARGUMENT,
        OpError::Execution(_) => Code::NOT_FOUND,
        _ => Code::INTERNAL,
    }
}

fn name(error: &OpError) -> Option<&'static str> {
    match error {
        OpError::Published { .. } => Some("DUPLICATE_VERSION"),
        OpError::NotPublished { .. } => Some("PACKAGE_NOT_FOUND"),
        OpError::NoVersion { .. } => Some("VERSION_NOT_FOUND"),
        OpError::NotInstalled { .. } => Some("PACKAGE_NOT_INSTALLED"),
        OpError::Needed { .. } => Some("PACKAGE_NEEDED"),
        OpError::Invalid { .. } => Some("INVALID_PACKAGE"),
        OpError::Resolve(ResolveError::Cycle { .. }) => Some("DEPENDENCY_CYCLE"),
        OpError::Resolve(ResolveError::Unsatisfiable(_)) => Some("UNSATISFIABLE"),
        OpError::Resolve(ResolveError::Source { .. }) => Some("UNSUPPORTED_SOURCE"),
        _ => None,
    }
}

fn help(error: &OpError) -> Option<String> {
    Some(match error {
        OpError::NotPublished { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
        OpError::NotPublished { .. } => "`catalog search` finds packages, `catalog publish DIR` publishes one".into(),
        OpError::NoVersion { latest: Some(latest), .. } => format!("the latest version is {latest}"),
        OpError::NotInstalled { name } => format!("`catalog install {name}` installs it"),
        OpError::Needed { .. } => "remove those first, or along with it".into(),
        OpError::Published { identical: true, .. } => "the content is the same, so there is nothing to publish".into(),
        OpError::Published { .. } => "raise `metadata.version` in the manifest and publish again".into(),
        OpError::Spec { .. } => "name packages as `vec3`, `vec3@1.2.0`, `vec3@^1.2`, or a directory as `./vec3`".into(),
        OpError::NotRunnable { help, .. } => (*help).to_owned(),
        OpError::Host(refusal) => return refusal.help.clone(),
        OpError::Resolve(ResolveError::Cycle { .. }) => "take one of these dependencies out".into(),
        OpError::Resolve(ResolveError::Source { .. }) => "publish that package here, and depend on its version".into(),
        OpError::Store(StoreError::Damaged { .. } | StoreError::Archive(_)) => {
            "remove the package and install it again".into()
        }
        OpError::Trust(_) => "publish the package again from a good copy".into(),
        OpError::Store(StoreError::Busy { .. }) => "try again when the other process has ended".into(),
        _ => return None,
    })
}

fn of_vm(vm: &VmError, mut converted: Error) -> Error {
    converted.code = match vm {
        VmError::Timeout { .. } => Code::TIMEOUT,
        VmError::MemoryLimit { .. } => Code::MEMORY_LIMIT,
        VmError::OutputLimit { .. } => Code::OUTPUT_LIMIT,
        VmError::Cancelled | VmError::SessionEnded => Code::CANCELLED,
        VmError::WorkerMissing { .. } | VmError::WorkerStart { .. } | VmError::WorkerLate { .. } => {
            Code::RESOURCE_UNAVAILABLE
        }
        VmError::Limits { .. } | VmError::Language { .. } | VmError::TooLarge(_) => Code::INVALID_ARGUMENT,
        _ => Code::RUNTIME_ERROR,
    };
    converted.fault = match vm.kind() {
        ErrorKind::Input => converted.code.usual_fault(),
        ErrorKind::Peer => Fault::PEER,
        ErrorKind::Environment => Fault::ENVIRONMENT,
    };
    converted.retryable = vm.is_transient();
    converted.detail.help = converted.detail.help.or_else(|| vm_help(vm));
    if let Some(script) = vm.script() {
        converted.chain.extend(script.traceback.iter().map(|line| format!("at {line}")));
        converted.detail.faults = vec![of_script(script)];
        converted.chain.clear();
    }
    converted
}

fn vm_help(vm: &VmError) -> Option<String> {
    Some(match vm {
        VmError::Timeout { .. } => "raise `spec.resources.execution_timeout` of the package, up to 300s".into(),
        VmError::MemoryLimit { .. } => "raise `spec.resources.memory_limit` of the package".into(),
        VmError::OutputLimit { .. } => "print less, or return the text as the result".into(),
        VmError::WorkerMissing { .. } => "lay out the extension with its worker: `host-sim bundle`".into(),
        _ => return None,
    })
}

/// Gives the error of a program, with its line, as one fault.
pub(super) fn of_script(script: &ScriptError) -> InputFault {
    InputFault {
        code: format!("{:?}", script.kind).to_uppercase(),
        severity: "error".into(),
        file: script.file.clone(),
        path: None,
        line: script.line,
        column: script.column,
        message: script.message.clone(),
        hint: (script.traceback.len() > 1).then(|| format!("called from {}", script.traceback[1..].join(", "))),
    }
}
