//! What becomes of errors of installing a runtime.

#[cfg(feature = "julia")]
use hypermesh_abi::Code;

use crate::ops::OpError;
#[cfg(feature = "julia")]
use crate::vm::julia::install::InstallError;

/// Gives what to do about an error, if it is one of these.
pub(super) fn help(error: &OpError) -> Option<String> {
    match error {
        OpError::NoSuchRuntime { .. } => Some("`catalog runtime list` shows what is there".into()),
        #[cfg(feature = "julia")]
        OpError::Runtime(error) => Some(help_of_installing(error)),
        _ => None,
    }
}

#[cfg(feature = "julia")]
pub(super) fn code(error: &InstallError) -> Code {
    match error {
        InstallError::Digest { .. } | InstallError::Unknown { .. } => Code::INTEGRITY,
        InstallError::Download { .. } | InstallError::Tool { .. } | InstallError::Unusable(_) => {
            Code::RESOURCE_UNAVAILABLE
        }
        InstallError::NoRelease(_) => Code::UNSUPPORTED,
        InstallError::Present { .. } => Code::ALREADY_EXISTS,
        _ => Code::IO,
    }
}

#[cfg(feature = "julia")]
fn help_of_installing(error: &InstallError) -> String {
    match error {
        InstallError::Download { .. } => {
            "try again, fetch the file elsewhere and give it with `--from FILE`, or take Debian's with `--source debian`"
        }
        InstallError::Digest { .. } => "do not use these bytes: fetch them again, from their makers",
        InstallError::Unknown { .. } => {
            "give a release of Julia 1.10.10 for Linux as its makers ship it, or a directory of Debian's packages with SHA256SUMS"
        }
        InstallError::Tool { .. } => "on a machine that is no Debian, leave `--source debian` out",
        InstallError::NoRelease(_) => "install a Julia yourself, and set `configuration.julia` to its directory",
        _ => "`configuration.julia` can name the directory of a Julia that is installed already",
    }
    .into()
}
