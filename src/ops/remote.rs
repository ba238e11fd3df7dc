//! What this node lacks, from a remote registry: descriptions before packages are chosen, archives before they are checked.
//!
//! What comes in is kept by the registry and the store like what was published here, so that choosing, checking and explaining
//! know no difference and a second time needs no network. Without `configuration.remote` nothing of this does anything.
//!
//! A remote registry decides nothing: descriptions come in only if their publisher signed them and the policy wants that, feeds
//! only if they count and go on from what was seen, archives only if they are what was signed. What is here never changes.

mod feeds;
mod offers;
mod pull;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use semver::Version;

use super::cache::Hold;
use super::{Catalog, OpError, inspect};
use crate::config::{RemoteConfig, RemoteMode, S3Config};
use crate::host::{DOWNLOAD, Host, Network, Progress};
use crate::lockfile::{LockedPackage, Lockfile, Requirement};
use crate::mesh::MESH_URL;
use crate::package::model::HashAlgorithm;
use crate::package::name::PackageName;
use crate::parallel;
use crate::registry::{Foreign, Origin, Registry};
use crate::remote::{Documents, HealthDocument, PARALLEL_MAX, Patience, Remote};
use crate::resolve::{Candidate, Candidates, CandidatesError, Details};
use crate::store::StoreError;
use crate::trust::policy::Use;
use crate::trust::{self, Expected};

/// Where a node gets packages that it does not have, and what that is for.
#[derive(Debug)]
pub(super) struct Upstream {
    documents: Arc<dyn Documents>,
    sync: Duration,
    mode: RemoteMode,
}

/// How the remote registry of a node is.
#[derive(Clone, Debug)]
pub struct RemoteStatus {
    /// Its address.
    pub url: String,
    /// What this node's own publications count beside it.
    pub mode: RemoteMode,
    /// How long what it said counts, in seconds.
    pub sync_seconds: u64,
    /// What it says of itself.
    pub health: HealthDocument,
    /// How many of its versions are known here.
    pub known: u64,
}

/// Why something does not come from a remote registry, or may not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The administrator has not granted the network.
    #[error("the remote registry `{url}` cannot be asked: capability `NetworkAccess` is not granted")]
    NotGranted {
        /// Its address.
        url: String,
    },
    /// There is none.
    #[error("this node has no remote registry")]
    NotConfigured,
    /// It has no such package either.
    #[error("package `{name}` is neither published here nor at `{url}`")]
    NotThere {
        /// Its name.
        name: PackageName,
        /// The address of the registry.
        url: String,
    },
    /// Nobody was asked for a package that is not known.
    #[error("package `{name}` is not known here, and `{url}` is not asked offline")]
    NotCached {
        /// Its name.
        name: PackageName,
        /// The address of the registry.
        url: String,
    },
    /// An archive has never been fetched.
    #[error("the archive of package `{name}` {version} was not yet fetched from `{url}`")]
    NotDownloaded {
        /// Its name.
        name: PackageName,
        /// Its version.
        version: Version,
        /// The address of the registry.
        url: String,
    },
    /// It offers a version that is here, and it is another.
    #[error(
        "the remote registry `{url}` offers another content for `{name}` {version}: `{offered}`, and here it is `{known}`"
    )]
    Conflict {
        /// Its address.
        url: String,
        /// The package.
        name: PackageName,
        /// Its version.
        version: Version,
        /// The digest that it offers.
        offered: String,
        /// The digest that is here.
        known: String,
    },
    /// No version of a package can be believed.
    #[error("the remote registry `{url}` has package `{name}`, but {version} cannot be believed: {reason}")]
    Unbelievable {
        /// Its address.
        url: String,
        /// The package.
        name: PackageName,
        /// The highest version that it offers.
        version: Version,
        /// What is wrong with that.
        reason: String,
    },
    /// A feed cannot be believed.
    #[error("the remote registry `{url}` has a feed of `{publisher}` that does not count: {reason}")]
    Feed {
        /// Its address.
        url: String,
        /// Whose feed it is.
        publisher: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A feed ends before what was seen of it.
    #[error(
        "the remote registry `{url}` was taken back in time: its feed of `{publisher}` ends at entry {offered}, and entry \
         {known} was seen"
    )]
    RolledBack {
        /// Its address.
        url: String,
        /// Whose feed it is.
        publisher: String,
        /// The last entry that it has.
        offered: usize,
        /// The last entry that was seen.
        known: usize,
    },
    /// A feed is another than the one that is here.
    #[error("the remote registry `{url}` has another entry {number} in the feed of `{publisher}` than was seen")]
    Forked {
        /// Its address.
        url: String,
        /// Whose feed it is.
        publisher: String,
        /// The first entry that differs.
        number: usize,
    },
    /// More than a bound.
    #[error("what is asked for needs more than {limit} packages of the remote registry")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// Descriptions name more signers than anybody has.
    #[error("descriptions of the remote registry `{url}` name more than {limit} certificate chains")]
    TooManyChains {
        /// Its address.
        url: String,
        /// The bound.
        limit: usize,
    },
    /// Nothing is published on a node that takes everything from elsewhere.
    #[error(
        "nothing is published on this node: all its packages come from `{url}` (`configuration.remote.mode: only`)"
    )]
    Centralised {
        /// The address of the registry.
        url: String,
    },
    /// A bucket is to be written offline.
    #[error("`{url}` is not asked offline")]
    Offline {
        /// Its address.
        url: String,
    },
    /// A name belongs to the remote registry.
    #[error("package `{name}` came from a remote registry, and is published there")]
    ForeignName {
        /// The name.
        name: PackageName,
    },
    /// A feed belongs to the remote registry.
    #[error("the feed of `{publisher}` came from `{url}`; if it went on here, too, it would be two feeds")]
    ForeignFeed {
        /// Whose feed it is.
        publisher: String,
        /// The address of the registry.
        url: String,
    },
}

impl Upstream {
    /// Makes a client of the registry that the settings name.
    ///
    /// # Errors
    /// An address that is none, or authorities that do not read.
    pub(super) fn new(config: &RemoteConfig, s3: &S3Config) -> Result<Self, OpError> {
        let (address, patience) = (config.address()?, Patience::default());
        let documents: Arc<dyn Documents> = match &config.ca_file {
            _ if address.is_bucket() => Arc::new(s3.bucket(address)?),
            Some(path) => Arc::new(Remote::with_authorities(address, patience, path)?),
            None => Arc::new(Remote::new(address, patience)),
        };
        let sync = Duration::from_secs(config.sync_seconds);
        Ok(Self { documents, sync, mode: config.mode })
    }

    /// Something that knows by itself what is new: it is asked each time.
    pub(super) fn over(documents: Arc<dyn Documents>) -> Self {
        Self { documents, sync: Duration::ZERO, mode: RemoteMode::Fallback }
    }

    /// Whether it is what peers say.
    pub(super) fn is_mesh(&self) -> bool {
        self.url() == MESH_URL
    }

    fn url(&self) -> &str {
        self.documents.url()
    }

    /// Says whether it may be asked now, or that nobody allows it. Files need no network.
    fn may_be_asked(&self, host: &dyn Host) -> Result<bool, OpError> {
        match host.network() {
            Network::Offline => Ok(false),
            Network::NotGranted if self.documents.is_network() => {
                Err(UpstreamError::NotGranted { url: self.url().to_owned() }.into())
            }
            Network::NotGranted | Network::Granted => Ok(true),
        }
    }
}

impl Catalog {
    /// Makes ready what an installation needs: what is wanted beside what is installed is described, chosen and downloaded. What
    /// cannot be chosen is told by who chooses it again. Answers what to warn of.
    pub(super) fn prefetch(
        &self,
        wanted: &[Requirement],
        hold: &Hold<'_>,
        host: &dyn Host,
    ) -> Result<Vec<String>, OpError> {
        if self.upstreams.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.installed(&host.platform())?;
        let is_wanted = |name: &PackageName| wanted.iter().any(|root| root.name == *name);
        let kept = before.roots().iter().filter(|root| !is_wanted(&root.name));
        let roots: Vec<Requirement> = kept.chain(wanted).cloned().collect();
        let warnings = self.pull(&roots, host)?;
        if let Ok(resolution) = self.resolve_roots(&roots, Some(&before), host) {
            self.download(&resolution.packages().collect::<Vec<_>>(), hold, host)?;
        }
        Ok(warnings)
    }

    /// Makes ready what a lockfile names.
    pub(super) fn prefetch_locked(
        &self,
        locked: &Lockfile,
        hold: &Hold<'_>,
        host: &dyn Host,
    ) -> Result<Vec<String>, OpError> {
        let warnings = self.pull(locked.roots(), host)?;
        self.download(&locked.packages().collect::<Vec<_>>(), hold, host)?;
        Ok(warnings)
    }

    /// Fetches the archives that came from a remote registry and are not in the store, and keeps them there as long as the hold.
    pub(super) fn download(
        &self,
        packages: &[&LockedPackage],
        hold: &Hold<'_>,
        host: &dyn Host,
    ) -> Result<(), OpError> {
        if self.upstreams.is_empty() {
            return Ok(());
        }
        // Before it is looked whether they are here.
        hold.keep(packages.iter().map(|package| package.digest));
        let mut wanted = Vec::new();
        for package in packages {
            let Some(foreign) = self.registry().foreign(&package.name, &package.version)? else { continue };
            let Some(upstream) = self.upstreams.iter().find(|upstream| upstream.url() == foreign.registry) else {
                continue;
            };
            // What is installed was whole when it was last read, and its archive stays as long as it is.
            if self.store.is_believed(package)?
                || self.store.is_listed(package)? && self.is_archive_whole(package, foreign.blob)?
            {
                continue;
            }
            match self.store.load(package) {
                Ok(_) => {}
                Err(StoreError::NotInstalled { .. } | StoreError::Archive(_)) => {
                    if upstream.may_be_asked(host)? {
                        wanted.push((*package, foreign, upstream));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let total = wanted.iter().map(|(_, foreign, _)| foreign.archive_bytes as usize).sum();
        let done = AtomicUsize::new(0);
        parallel::try_map(PARALLEL_MAX, wanted.iter(), |(package, foreign, upstream)| {
            let subject = format!("{} {}", package.name, package.version);
            let progress = |bytes: u64| {
                let done = done.fetch_add(bytes as usize, Ordering::Relaxed) + bytes as usize;
                host.progress(Progress { stage: DOWNLOAD, subject: subject.clone(), done, total });
            };
            self.keep_archive(upstream, &package.name, &package.version, foreign, &progress)
        })?;
        Ok(())
    }

    /// Fetches the archive of a release that is known here, if it is not in the store, for keeping; says whether it had to.
    pub(super) fn fetch_archive(
        &self,
        name: &PackageName,
        version: &Version,
        host: &dyn Host,
    ) -> Result<bool, OpError> {
        let foreign = self.registry().foreign(name, version)?;
        let record = self.registry().get(name, version)?;
        let (Some(foreign), Some(record)) = (foreign, record) else { return Ok(false) };
        if self.store.archive_path(record.release.digests.blake3).exists() {
            return Ok(false);
        }
        match self.upstreams.iter().find(|upstream| upstream.url() == foreign.registry) {
            Some(upstream) if upstream.may_be_asked(host)? => {
                self.keep_archive(upstream, name, version, &foreign, &|_| {}).map(|()| true)
            }
            _ => Err(self.no_archive(name, version)),
        }
    }

    fn keep_archive(
        &self,
        upstream: &Upstream,
        name: &PackageName,
        version: &Version,
        foreign: &Foreign,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), OpError> {
        let compressed = upstream.documents.blob(foreign.blob, foreign.archive_bytes, progress)?;
        let expected = self.expected_of(name, version)?;
        let archive = trust::check_archive(compressed, &expected)?;
        let _turn = self.writing();
        Ok(self.store.writer()?.keep(&archive)?)
    }

    /// Says how the remote registry is.
    ///
    /// # Errors
    /// There is none, it is not granted, or cannot be reached.
    pub fn remote_status(&self, host: &dyn Host) -> Result<RemoteStatus, OpError> {
        let upstream = self.configured().ok_or(UpstreamError::NotConfigured)?;
        if host.network() == Network::NotGranted {
            upstream.may_be_asked(host)?;
        }
        Ok(RemoteStatus {
            url: upstream.url().to_owned(),
            mode: upstream.mode,
            sync_seconds: upstream.sync.as_secs(),
            health: upstream.documents.health()?,
            known: self.registry().count_of(upstream.url())?,
        })
    }

    /// Gives what an archive must be, by what is known of it here and what its package asks for. Where a compressed archive is
    /// found may change at its registry, so its digest is no identity.
    pub(super) fn expected(&self, package: &LockedPackage) -> Result<Expected, OpError> {
        let expected = self.expected_of(&package.name, &package.version)?;
        Ok(Expected { digest: package.digest, ..expected })
    }

    fn expected_of(&self, name: &PackageName, version: &Version) -> Result<Expected, OpError> {
        let registry = self.registry();
        let record = registry.get(name, version)?.ok_or_else(|| OpError::NoVersion {
            name: name.clone(),
            version: version.clone(),
            latest: None,
        })?;
        let is_foreign = registry.foreign(name, version)?.is_some();
        let manifest = registry.manifest(name, version)?.unwrap_or_default();
        drop(registry);
        let asked = super::validate::read_manifest(&manifest)?.security.hash_validation;
        let digests = record.release.digests;
        Ok(Expected {
            name: name.clone(),
            version: version.clone(),
            digest: digests.blake3,
            blob: (!is_foreign).then_some(record.release.blob),
            sha256: (asked == HashAlgorithm::Sha256).then_some(digests.sha256),
            // Nobody signed this digest of what came from elsewhere: that registry could only lie about it.
            sha512: (!is_foreign && asked == HashAlgorithm::Sha512).then_some(digests.sha512),
        })
    }

    /// Makes the error for an archive that is not in the store.
    pub(super) fn no_archive(&self, name: &PackageName, version: &Version) -> OpError {
        let (foreign, name, version) = (self.registry().foreign(name, version), name.clone(), version.clone());
        match foreign {
            Ok(Some(foreign)) => UpstreamError::NotDownloaded { name, version, url: foreign.registry }.into(),
            _ => OpError::ArchiveMissing { name, version },
        }
    }

    /// Makes the error for a package that is not known, after the remote registry was asked if it may be.
    pub(super) fn unknown(&self, name: &PackageName, host: &dyn Host) -> OpError {
        self.unknown_in(&self.registry(), name, host)
    }

    /// As [`Self::unknown`], for who has the registry at hand.
    pub(super) fn unknown_in(&self, registry: &Registry, name: &PackageName, host: &dyn Host) -> OpError {
        if self.upstreams.is_empty() {
            return inspect::not_published(name, &registry.names().unwrap_or_default());
        }
        let urls: Vec<&str> = self.upstreams.iter().map(Upstream::url).collect();
        let (name, url) = (name.clone(), urls.join("` nor at `"));
        match host.network() {
            Network::Offline => UpstreamError::NotCached { name, url }.into(),
            Network::Granted | Network::NotGranted => UpstreamError::NotThere { name, url }.into(),
        }
    }

    /// Says whether any version of a package may be chosen on this node.
    pub(super) fn is_offered(&self, name: &PackageName) -> Result<bool, OpError> {
        let registry = self.registry();
        Ok(match self.only_upstream() {
            Some(upstream) => !registry.versions_of(upstream.url(), name)?.is_empty(),
            None => registry.origin(name)? != Origin::Unknown,
        })
    }

    /// Checks that names may be published here. One that came from elsewhere may be if it has several owners: whether whoever
    /// signs is one of them remains to be seen.
    ///
    /// # Errors
    /// The node takes everything from elsewhere, or the name is of a remote registry.
    pub(super) fn expect_own<'a>(
        &self,
        names: impl Iterator<Item = &'a PackageName>,
        host: &dyn Host,
    ) -> Result<(), OpError> {
        if let Some(upstream) = self.only_upstream() {
            return Err(UpstreamError::Centralised { url: upstream.url().to_owned() }.into());
        }
        for name in names {
            if self.registry().origin(name)? == Origin::Remote && !self.has_co_owners(name, host)? {
                return Err(UpstreamError::ForeignName { name: name.clone() }.into());
            }
        }
        Ok(())
    }

    fn has_co_owners(&self, name: &PackageName, host: &dyn Host) -> Result<bool, OpError> {
        let judge = self.judge(Use::Publish, host)?;
        let owners = judge.owners(&self.registry(), name)?;
        Ok(owners.is_some_and(|owners| owners.current().len() > 1))
    }

    /// Checks that the feed of a publisher goes on here.
    ///
    /// # Errors
    /// It goes on at a remote registry.
    pub(super) fn expect_own_feed(&self, publisher: &str) -> Result<(), OpError> {
        match self.registry().feed_origin(publisher)? {
            Some(url) => Err(UpstreamError::ForeignFeed { publisher: publisher.to_owned(), url }.into()),
            None => Ok(()),
        }
    }

    /// Chooses among what may be chosen on this node.
    pub(super) fn with_candidates<T>(&self, choose: impl FnOnce(&dyn Candidates) -> T) -> T {
        let registry = self.registry();
        match self.only_upstream() {
            Some(upstream) => choose(&FromUpstream { registry: &registry, url: upstream.url() }),
            None => choose(&*registry),
        }
    }

    /// Gives the remote registry of a node that takes everything from there.
    fn only_upstream(&self) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.mode == RemoteMode::Only)
    }

    /// Gives the remote registry of the settings.
    fn configured(&self) -> Option<&Upstream> {
        let url = self.config.remote.as_ref()?.address().ok()?;
        self.upstreams.iter().find(|upstream| upstream.url() == url.as_str())
    }
}

/// What one remote registry has of all that is known.
struct FromUpstream<'a> {
    registry: &'a Registry,
    url: &'a str,
}

impl Candidates for FromUpstream<'_> {
    fn candidates(&self, name: &PackageName) -> Result<Vec<Candidate>, CandidatesError> {
        let offered = self.registry.versions_of(self.url, name)?;
        let mut candidates = self.registry.candidates(name)?;
        candidates.retain(|candidate| offered.contains(&candidate.version));
        Ok(candidates)
    }

    fn details(&self, name: &PackageName, version: &Version) -> Result<Details, CandidatesError> {
        self.registry.details(name, version)
    }

    fn names(&self) -> Result<Vec<PackageName>, CandidatesError> {
        let mut names = Vec::new();
        for name in self.registry.names()? {
            if !self.registry.versions_of(self.url, &name)?.is_empty() {
                names.push(name);
            }
        }
        Ok(names)
    }
}
