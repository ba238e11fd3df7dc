//! The one error of all verbs: which part said no, with that part's own words.

use std::path::PathBuf;

use semver::Version;
use trustchain::feed::FeedError;

use super::executions::error::RunError;
use super::memory::MemoryError;
use super::network::NetworkError;
use super::owners::OwnerError;
use super::remote::UpstreamError;
use super::template::error::NewError;
use crate::advisory::AdvisoryError;
use crate::archive::ArchiveError;
use crate::archive::delta::DeltaError;
use crate::consensus::ConsensusError;
use crate::digest::Digest;
use crate::host::Refusal;
use crate::lockfile::LockfileError;
use crate::mesh::{LedgerError, RecordError};
use crate::package::Faults;
use crate::package::analyse::{Analysis, Finding, Level};
use crate::package::model::PackageType;
use crate::package::name::PackageName;
use crate::registry::RegistryError;
use crate::remote::{AddressError, RemoteError, WriteError};
use crate::resolve::ResolveError;
use crate::resolve::universe::UniverseError;
use crate::search::{ImportError, SearchError};
use crate::store::StoreError;
use crate::template::TemplateError;
use crate::trust::TrustError;
use crate::trust::freshness::FreshnessError;
use crate::trust::policy::{Denied, PolicyError};
use crate::vm::execution::ExecutionError;
use crate::vm::{Failure, VmError};

/// Why a verb was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// No attack on the sandbox has this name.
    #[error("no attack has the name `{name}`")]
    NoAttack {
        /// The name.
        name: String,
    },
    /// The package is not valid.
    #[error("{}", count(faults))]
    Invalid {
        /// Where the manifest was looked for.
        directory: PathBuf,
        /// What is wrong with it.
        faults: Faults,
    },
    /// The package is valid, and nothing that should be published or run.
    #[error("package `{name}` {version} {}", blocking(analysis))]
    Unfit {
        /// Its name.
        name: PackageName,
        /// Its version.
        version: Version,
        /// Its manifest.
        manifest: PathBuf,
        /// What the analysers found; never without a finding that is critical or a file that has no grammar.
        analysis: Box<Analysis>,
    },
    /// There is no such directory.
    #[error("there is no package at `{}`: no such file or directory", path.display())]
    NoDirectory {
        /// What was given.
        path: PathBuf,
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
        /// It can be: it is published here.
        published: bool,
        /// The installed name nearest to it.
        nearest: Option<PackageName>,
    },
    /// Another version of the package is installed.
    #[error("package `{name}` is installed as {installed}, which does not meet `{wanted}`")]
    OtherVersion {
        /// Its name.
        name: PackageName,
        /// The version that is installed.
        installed: Version,
        /// What was asked for.
        wanted: String,
    },
    /// Other packages need it.
    #[error("package `{name}` is needed by {}", names(dependents))]
    Needed {
        /// Its name.
        name: PackageName,
        /// Who needs it.
        dependents: Vec<PackageName>,
    },
    /// An opinion that cannot be noted.
    #[error("cannot note this opinion: {reason}")]
    Rating {
        /// What is wrong with it.
        reason: String,
    },
    /// Packages whose licences the administrator does not allow.
    #[error("{} is not allowed here by its licence: {reason}", package)]
    Licence {
        /// The first of them, as `name@version`.
        package: String,
        /// Why.
        reason: String,
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
    /// One version of a package is given by two directories.
    #[error("`{name}` {version} is given twice")]
    GivenTwice {
        /// Its name.
        name: PackageName,
        /// Its version.
        version: Version,
    },
    /// The package cannot run.
    #[error("package `{name}` cannot run: {obstacle}")]
    NotRunnable {
        /// Its name.
        name: PackageName,
        /// Why.
        obstacle: Obstacle,
    },
    /// The host does not give what the package needs.
    #[error("package `{name}` does not get its resources: {refusal}")]
    Resources {
        /// Its name.
        name: PackageName,
        /// What the host says.
        refusal: Refusal,
    },
    /// The validators must agree, and did not.
    #[error("package `{name}` needs consensus (`spec.security.consensus_required`, or this node's configuration)")]
    Consensus {
        /// Its name.
        name: PackageName,
        /// Why there is none.
        #[source]
        source: Box<ConsensusError>,
    },
    /// The host said no.
    #[error(transparent)]
    Host(#[from] Refusal),
    /// The program of a package failed or was stopped.
    #[error("package `{name}`: {failure}")]
    Run {
        /// The package.
        name: PackageName,
        /// Its directory, if it ran from one.
        directory: Option<PathBuf>,
        /// How it ended, and what it printed until then.
        failure: Box<Failure>,
    },
    /// A program cannot be made or started.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// An execution is not known or not in the right state.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// An execution is not accepted, does not begin, or cannot be told about.
    #[error(transparent)]
    Running(#[from] RunError),
    /// Memory is not kept, or not reached.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Requirements cannot be met.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// An archive cannot be made or read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An archive is not the one expected.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The administrator's policy cannot be.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy does not let it through.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A directory may not run: the policy wants packages that somebody signed.
    #[error("`{}` is not published, and the policy of this node runs nothing that nobody signed", path.display())]
    UnsignedDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It was not signed.
    #[error("the release is not signed: {reason}")]
    Unsigned {
        /// Why.
        reason: &'static str,
    },
    /// The owners of a package stay as they are.
    #[error(transparent)]
    Owner(Box<OwnerError>),
    /// A feed cannot go on.
    #[error("the feed of `{publisher}` cannot go on: {reason}")]
    Feed {
        /// Whose feed it is.
        publisher: String,
        /// Why.
        reason: String,
    },
    /// An entry of a feed cannot be made, or one that is here cannot be read.
    #[error(transparent)]
    FeedEntry(#[from] FeedError),
    /// What was seen of feeds and lists is not known.
    #[error(transparent)]
    Freshness(#[from] FreshnessError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A remote registry gave nothing that can be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Something does not come from a remote registry, or may not.
    #[error(transparent)]
    Upstream(Box<UpstreamError>),
    /// A release is asked for that is known here with another content.
    #[error("package `{name}` is asked for with the digest `{asked}`, and here it has `{known}`")]
    OtherRelease {
        /// The package.
        name: PackageName,
        /// The digest that is asked for.
        asked: Digest,
        /// The digest that is known.
        known: Digest,
    },
    /// The network does not do something.
    #[error(transparent)]
    Network(Box<NetworkError>),
    /// The ledger of the mesh refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A release or feed does not fit into a record of the mesh.
    #[error("what is published here cannot be told to peers")]
    Record(#[from] RecordError),
    /// What is published here is not what peers would believe.
    #[error("what is published here cannot be told to peers: {reason}")]
    NotShared {
        /// Why.
        reason: String,
    },
    /// The address of the remote registry is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A lockfile is not whole.
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
    /// Something else than what is locked would be installed, and that was forbidden.
    #[error("what is locked does not meet what is asked for, and nothing may be chosen: {}", changes.join(", "))]
    Frozen {
        /// What would change: `+ added`, `~ changed`, `- removed`.
        changes: Vec<String>,
    },
    /// A lockfile was made for another platform.
    #[error("`{}` was resolved for `{locked}`, and this node is `{node}`", path.display())]
    OtherPlatform {
        /// The lockfile.
        path: PathBuf,
        /// Its platform.
        locked: String,
        /// The node's.
        node: String,
    },
    /// A generation that is not kept.
    #[error("there is no generation {number}")]
    NoGeneration {
        /// Its number.
        number: u64,
        /// Those that are kept.
        kept: Vec<u64>,
    },
    /// There is nothing to go back to.
    #[error("there is no generation before the current one")]
    NoEarlier {
        /// Those that are kept.
        kept: Vec<u64>,
    },
    /// A delta cannot be made or applied.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// A delta needs the older archive.
    #[error("`{}` is a delta, and cannot be read without the archive it was made from", path.display())]
    NoBase {
        /// The delta.
        path: PathBuf,
    },
    /// A directory that is to be made is there already.
    #[error("`{}` is there already", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// A lockfile that a merge left in parts, where nothing may be chosen.
    #[error("`{}` is not whole, as after a merge", path.display())]
    Unmerged {
        /// The file.
        path: PathBuf,
    },
    /// A lockfile that the caller gave is none.
    #[error("`{}` is no lockfile", path.display())]
    GivenLockfile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: LockfileError,
    },
    /// A file that should hold versions or requirements does not.
    #[error("cannot read `{}`", path.display())]
    Universe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: UniverseError,
    },
    /// A text that should say a time does not.
    #[error("`{text}` is neither a time nor a duration")]
    Moment {
        /// The text.
        text: String,
    },
    /// Advisories cannot be imported or read.
    #[error(transparent)]
    Advisory(#[from] AdvisoryError),
    /// Descriptions cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Search has no index, and cannot make one.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// More queries than one batch may have.
    #[error("the batch has {queries} queries, expected at most {}", super::search::BATCH_MAX)]
    BatchTooLong {
        /// How many there are.
        queries: usize,
    },
    /// A file of queries, or the answers to them, are more than a message takes.
    #[error("{what} of the batch have more than {limit} bytes")]
    BatchTooLarge {
        /// `the queries` or `the answers`.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The store has lost what the registry says was published.
    #[error("the archive of package `{name}` {version} is missing from the store")]
    ArchiveMissing {
        /// Its name.
        name: PackageName,
        /// Its version.
        version: Version,
    },
    /// An exported state is not whole.
    #[error("the state cannot be imported: {reason}")]
    State {
        /// Why.
        reason: String,
    },
    /// A Julia cannot be installed or removed.
    #[cfg(feature = "julia")]
    #[error("Julia cannot be installed")]
    Runtime(#[from] crate::vm::julia::install::InstallError),
    /// No runtime of this version is in the node's home.
    #[error("no Julia {version} was installed by this node")]
    NoSuchRuntime {
        /// The version that was asked for, in text.
        version: String,
    },
    /// A package is not made from a template, or not brought to a newer one.
    #[error(transparent)]
    New(Box<NewError>),
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

impl From<NetworkError> for OpError {
    fn from(error: NetworkError) -> Self {
        Self::Network(Box::new(error))
    }
}

impl From<OwnerError> for OpError {
    fn from(error: OwnerError) -> Self {
        Self::Owner(Box::new(error))
    }
}

impl From<NewError> for OpError {
    fn from(error: NewError) -> Self {
        Self::New(Box::new(error))
    }
}

impl From<TemplateError> for OpError {
    fn from(error: TemplateError) -> Self {
        NewError::Template(error).into()
    }
}

impl From<WriteError> for OpError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::File { path, source } => Self::File { path, source },
            WriteError::Remote(error) => Self::Remote(error),
        }
    }
}

impl From<UpstreamError> for OpError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(Box::new(error))
    }
}

/// Why a package cannot run on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Other packages use it.
    #[error("it is a {0}, which other packages use")]
    Library(PackageType),
    /// Nothing here runs packages of its type.
    #[error("this node has no executor for `{0}`")]
    NoExecutor(PackageType),
    /// It asks of the sandbox what this node's sandbox gives nobody.
    #[error("it asks for {wanted} in `{field}`, and the sandbox of this node gives none")]
    Sandbox {
        /// The field of its manifest.
        field: &'static str,
        /// What it asks for.
        wanted: &'static str,
    },
    /// The administrator does not want programs to run.
    #[error("running programs is switched off on this node")]
    SwitchedOff,
}

/// The analysers' code for a source text that is none.
pub(super) const SYNTAX_ERROR: &str = "SYNTAX_ERROR";

fn blocking(analysis: &Analysis) -> String {
    let count = |wanted: fn(&Finding) -> bool| analysis.findings.iter().filter(|finding| wanted(finding)).count();
    match (count(|finding| finding.code == SYNTAX_ERROR), count(|finding| finding.level == Level::Critical)) {
        (0, 1) => "has a critical finding".into(),
        (0, many) => format!("has {many} critical findings"),
        (1, _) => "has a syntax error".into(),
        (many, _) => format!("has syntax errors in {many} files"),
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
