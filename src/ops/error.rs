//! The one error of all verbs: which part said no, with that part's own words.

use std::path::PathBuf;

use semver::Version;

use crate::archive::ArchiveError;
use crate::host::Refusal;
use crate::lockfile::LockfileError;
use crate::package::Faults;
use crate::package::name::PackageName;
use crate::registry::RegistryError;
use crate::resolve::ResolveError;
use crate::store::StoreError;
use crate::trust::TrustError;
use crate::vm::execution::ExecutionError;
use crate::vm::{Failure, VmError};

/// Why a verb was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// The package is not valid.
    #[error("{}", count(faults))]
    Invalid {
        /// Where the manifest was looked for.
        directory: PathBuf,
        /// What is wrong with it.
        faults: Faults,
    },
    /// A word that should name a package does not.
    #[error("`{word}` names no package: {reason}")]
    Spec {
        /// The word.
        word: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No such package is published.
    #[error("package `{name}` is not published here")]
    NotPublished {
        /// Its name.
        name: PackageName,
        /// The published name nearest to it.
        nearest: Option<PackageName>,
    },
    /// No such version is published.
    #[error("package `{name}` has no version {version}")]
    NoVersion {
        /// Its name.
        name: PackageName,
        /// The version.
        version: Version,
        /// The latest one.
        latest: Option<Version>,
    },
    /// The package is not installed.
    #[error("package `{name}` is not installed")]
    NotInstalled {
        /// Its name.
        name: PackageName,
    },
    /// Other packages need it.
    #[error("package `{name}` is needed by {}", names(dependents))]
    Needed {
        /// Its name.
        name: PackageName,
        /// Who needs it.
        dependents: Vec<PackageName>,
    },
    /// The version is published already.
    #[error("`{name}` {version} is published already, and versions never change")]
    Published {
        /// Its name.
        name: PackageName,
        /// Its version.
        version: Version,
        /// The content is the same, too.
        identical: bool,
    },
    /// The package cannot run.
    #[error("package `{name}` cannot run: {reason}")]
    NotRunnable {
        /// Its name.
        name: PackageName,
        /// Why.
        reason: String,
        /// What to do.
        help: &'static str,
    },
    /// The host said no.
    #[error(transparent)]
    Host(#[from] Refusal),
    /// The program failed or was stopped.
    #[error(transparent)]
    Run(Box<Failure>),
    /// A program cannot be made or started.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// An execution is not known or not in the right state.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// Requirements cannot be met.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// An archive cannot be made or read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An archive is not the one expected.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A lockfile is not whole.
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
    /// An exported state is not whole.
    #[error("the state cannot be imported: {reason}")]
    State {
        /// Why.
        reason: String,
    },
    /// A file of the caller cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl From<Failure> for OpError {
    fn from(failure: Failure) -> Self {
        Self::Run(Box::new(failure))
    }
}

fn count(faults: &Faults) -> String {
    match faults.list.len() {
        1 => format!("the package has a fault in `{}`", faults.file),
        many => format!("the package has {many} faults in `{}`", faults.file),
    }
}

fn names(names: &[PackageName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
