//! Asks the policy about releases: gathers what it looks at, from the host, the registry and the archive.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use semver::Version;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use trustchain::path::Hybrid;

use super::validate;
use super::{Catalog, OpError};
use crate::advisory::{Finding, Rating};
use crate::archive::Archive;
use crate::consensus::Ask;
use crate::digest::Digest;
use crate::host::{Host, OperationKind, wait};
use crate::package::Package;
use crate::package::analyse::Analyser;
use crate::package::name::PackageName;
use crate::registry::{Registry, RegistryError, StoredStatement};
use crate::trust::anchors::Anchors;
use crate::trust::policy::{
    Accepted, Check, Confirmed, Decision, Evidence, Fault, Level, Ownership, Severity, Use, Violation, Vulnerability,
};
use crate::trust::reputation::{self, Event, Reputation};
use crate::trust::vouch::{CheckedFeed, FeedCopy, Subject, Vouched};

/// How long a decision about an installed package counts before it is made anew: so soon does a revocation stop a program.
const DECISION_FRESH: Duration = Duration::from_secs(10);
/// The most decisions that are remembered.
const DECISIONS_MAX: usize = 1_000;

/// What one verb believes while it decides about releases.
pub(super) struct Judge<'a> {
    catalog: &'a Catalog,
    host: &'a dyn Host,
    /// Where answers of the host are waited for, whichever thread decides.
    runtime: Handle,
    wanted: Use,
    /// What the host believes, or why that is nothing.
    anchors: Result<Anchors, String>,
    feeds: BTreeMap<String, Result<CheckedFeed, Fault>>,
    /// Feeds of the registry by which only owners are judged; none for one that says nothing.
    lasting: Mutex<BTreeMap<String, Option<Arc<CheckedFeed>>>>,
}

/// A release that is decided about.
pub(super) struct Candidate<'a> {
    pub(super) package: &'a Package,
    pub(super) subject: Subject<'a>,
    pub(super) files: Vec<&'a str>,
    /// Its bytes; they may be missing where [`crate::trust::policy::Policy::looks_inside`] says that nobody asks for them.
    pub(super) archive: Option<&'a Archive>,
}

/// Decisions about installed packages.
#[derive(Default)]
pub(super) struct Decisions(Mutex<HashMap<Digest, (Instant, Accepted)>>);

impl Catalog {
    /// Asks the host what it believes.
    pub(super) fn judge<'a>(&'a self, wanted: Use, host: &'a dyn Host) -> Result<Judge<'a>, OpError> {
        let anchors = match wait(host.anchors()) {
            Ok(given) => {
                let hybrid = match self.policy.level() {
                    Level::Full => Hybrid::Required,
                    Level::Basic => Hybrid::IfPresent,
                };
                let read = Anchors::pinned(&given, hybrid, host.now(), &mut self.freshness());
                read.map_err(|error| format!("the roots of this node cannot be used: {error}"))
            }
            Err(refusal) => {
                let help = refusal.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
                Err(format!("this node believes nobody: {refusal}{help}"))
            }
        };
        let (runtime, feeds, lasting) = (Handle::current(), BTreeMap::new(), Mutex::default());
        Ok(Judge { catalog: self, host, runtime, wanted, anchors, feeds, lasting })
    }

    /// Asks whether an installed package may run; the answer is remembered for [`DECISION_FRESH`].
    pub(super) fn may_run(
        &self,
        package: &Package,
        archive: &Archive,
        confirmed: Confirmed,
        host: &dyn Host,
    ) -> Result<Accepted, OpError> {
        if let Some(accepted) = self.decisions.get(archive.digest()) {
            return Ok(accepted);
        }
        let mut judge = self.judge(Use::Execute, host)?;
        let statement = self.registry().statement(&package.name, &package.version)?;
        judge.with_feed_of(statement.as_ref())?;
        let decided = judge.decide(package, archive, statement.as_ref());
        let accepted = judge.note().and(decided)?.require(confirmed)?;
        // What somebody confirmed was confirmed for this one time.
        if confirmed == Confirmed::No {
            self.decisions.put(&accepted);
        }
        Ok(accepted)
    }
}

impl Judge<'_> {
    /// Takes the state of a feed in the place of the one that the registry has.
    pub(super) fn with_feed(&mut self, publisher: &str, copy: &FeedCopy) {
        if let Ok(anchors) = &self.anchors {
            let checked = copy.check(anchors, &mut self.catalog.freshness());
            self.feeds.insert(publisher.to_owned(), checked);
        }
    }

    /// Gives what the host believes, if it believes anybody.
    pub(super) fn anchors(&self) -> Option<&Anchors> {
        self.anchors.as_ref().ok()
    }

    /// Says until when a feed counts, or why it does not.
    pub(super) fn check_feed(&mut self, copy: &FeedCopy) -> Result<OffsetDateTime, String> {
        let anchors = self.anchors.as_ref().map_err(Clone::clone)?;
        let checked = copy.check(anchors, &mut self.catalog.freshness());
        checked.map(|feed| feed.expires()).map_err(|fault| fault.reason)
    }

    /// Checks the feed that a release should be in, unless that was done before.
    pub(super) fn with_feed_of(&mut self, statement: Option<&StoredStatement>) -> Result<(), OpError> {
        let Some(publisher) = statement.map(|statement| &statement.pin.publisher) else { return Ok(()) };
        if !self.feeds.contains_key(publisher)
            && let Some(copy) = self.catalog.registry().feed(publisher)?
        {
            self.with_feed(publisher, &copy);
        }
        Ok(())
    }

    /// Looks into a feed for what lasts longer than its head; none if there is none, or if it says nothing.
    pub(super) fn with_lasting<T>(
        &self,
        registry: &Registry,
        publisher: &str,
        look: impl FnOnce(&CheckedFeed) -> T,
    ) -> Result<Option<T>, OpError> {
        if let Some(Ok(feed)) = self.feeds.get(publisher) {
            return Ok(Some(look(feed)));
        }
        let known = self.lasting().get(publisher).cloned();
        let feed = match (known, &self.anchors) {
            (Some(known), _) => known,
            (None, Err(_)) => None,
            (None, Ok(anchors)) => {
                let copy = registry.feed(publisher)?;
                let checked = copy.and_then(|copy| copy.check_lasting(anchors, &self.catalog.freshness()).ok());
                let feed = checked.filter(|feed| feed.publisher() == publisher).map(Arc::new);
                self.lasting().insert(publisher.to_owned(), feed.clone());
                feed
            }
        };
        Ok(feed.as_deref().map(look))
    }

    fn lasting(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<CheckedFeed>>>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a release whose feed was checked; several threads may ask at the same time.
    pub(super) fn decide(
        &self,
        package: &Package,
        archive: &Archive,
        statement: Option<&StoredStatement>,
    ) -> Result<Decision, OpError> {
        let files = archive.entries().map(|entry| entry.path).collect();
        let candidate = Candidate { package, subject: Subject::of(archive), files, archive: Some(archive) };
        self.decide_about(&candidate, statement)
    }

    /// Decides as [`Self::decide`] does, about a release whose bytes need not be there.
    pub(super) fn decide_about(
        &self,
        candidate: &Candidate<'_>,
        statement: Option<&StoredStatement>,
    ) -> Result<Decision, OpError> {
        let Candidate { package, subject, files, archive } = candidate;
        let Vouched { signer, freshness } = self.vouched(subject, statement);
        let publisher = signer.as_ref().ok().map(|signer| signer.publisher.clone());
        let advisories = self.catalog.advisories_status()?.advisories;
        let vulnerabilities = self.catalog.advisories_affecting(&package.name, &package.version)?;
        let vulnerabilities = vulnerabilities.iter().map(vulnerability).collect();
        let registry = self.catalog.registry();
        let now = self.anchors.as_ref().map(Anchors::now).ok();
        let known = publisher.as_deref().map(|publisher| registry.reputation(publisher)).transpose()?.flatten();
        let pin = publisher.as_deref().map(|publisher| registry.pin(&package.name, publisher)).transpose()?.flatten();
        let ownership = self.ownership(&registry, &package.name, publisher.as_deref(), statement)?;
        let lookalike = match self.wanted {
            Use::Publish => self.lookalike(&registry, &package.name, publisher.as_deref())?,
            _ => None,
        };
        drop(registry);
        let reputation = known.zip(now).map_or(reputation::START, |(reputation, now)| reputation.at(now));
        let analysis = std::cell::OnceCell::new();
        let score = |analyser: Analyser| {
            // Nobody's bytes get the lowest score.
            archive.map_or(0, |archive| {
                let analyse = || validate::analyse_archive(package, archive);
                analysis.get_or_init(analyse).score(analyser)
            })
        };
        let evidence = Evidence {
            wanted: self.wanted,
            package,
            digest: subject.digest,
            size_bytes: subject.tar_bytes,
            files: files.clone(),
            signer,
            freshness,
            vulnerabilities,
            advisories,
            lookalike,
            reputation,
            consensus: self.consensus(package, subject.digest)?,
            ownership,
            pin,
            score: &score,
        };
        Ok(self.catalog.policy.evaluate(&evidence))
    }

    /// Says to whom a package belongs, and whether a release is of one of them.
    fn ownership(
        &self,
        registry: &Registry,
        name: &PackageName,
        publisher: Option<&str>,
        statement: Option<&StoredStatement>,
    ) -> Result<Option<Ownership>, OpError> {
        let Some((owners, publisher)) = self.owners(registry, name)?.zip(publisher) else { return Ok(None) };
        let envelope = statement.map_or(&[][..], |statement| &statement.statement.envelope);
        let is_theirs = self.is_theirs(registry, &owners, (publisher, envelope))?;
        Ok(Some(Ownership { owners: owners.current().to_vec(), is_theirs }))
    }

    /// Finds a package of somebody else whose name a new one could be mistaken for.
    fn lookalike(
        &self,
        registry: &Registry,
        name: &PackageName,
        publisher: Option<&str>,
    ) -> Result<Option<PackageName>, OpError> {
        let mut names = registry.names()?;
        if names.contains(name) {
            return Ok(None);
        }
        names.retain(|known| known.is_mistaken_for(name));
        for known in names {
            let owners = self.owners(registry, &known)?;
            let is_own = owners.zip(publisher).is_some_and(|(owners, publisher)| owners.has(publisher));
            if !is_own {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// Makes durable what was seen of feeds and lists, before anything that was decided by it is done.
    pub(super) fn note(&self) -> Result<(), OpError> {
        let mut freshness = self.catalog.freshness();
        self.feeds.values().filter_map(|feed| feed.as_ref().ok()).for_each(|feed| feed.note(&mut freshness));
        Ok(freshness.save()?)
    }

    /// Has the validators agree to a publication or installation, if package, configuration or policy ask for it. Those of a run
    /// are asked at each run, for that run.
    fn consensus(&self, package: &Package, digest: Digest) -> Result<Result<String, String>, OpError> {
        let kind = match self.wanted {
            Use::Publish => OperationKind::Publish,
            Use::Install => OperationKind::Install,
            Use::Execute => return Ok(Ok("asked before each run".into())),
        };
        let by_policy = self.catalog.policy.requires(Check::Consensus);
        let required = by_policy || package.security.consensus_required;
        let minimum = package.execution.minimum_consensus;
        let ask = Ask { kind, digest, required, minimum };
        match self.runtime.block_on(self.catalog.agreed(&package.name, &ask, self.host)) {
            Ok(Some(agreement)) => Ok(Ok(format!("{} validators agreed", agreement.validators()))),
            Ok(None) => Ok(Err("nobody was asked".into())),
            Err(error @ OpError::Consensus { .. }) if by_policy => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn vouched(&self, subject: &Subject<'_>, statement: Option<&StoredStatement>) -> Vouched {
        let nobody = |check, violation, reason: &str| Fault { check, violation, reason: reason.to_owned() };
        let stale = |reason: &str| nobody(Check::Freshness, Violation::StaleFeed, reason);
        let (anchors, statement) = match (&self.anchors, statement) {
            (_, None) => {
                let reason = "nobody signed it";
                let signer = Err(nobody(Check::Signature, Violation::InvalidSignature, reason));
                return Vouched { signer, freshness: Err(stale("it is in no feed")) };
            }
            (Err(reason), Some(_)) => {
                let signer = Err(nobody(Check::Chain, Violation::InvalidCertificate, reason));
                return Vouched { signer, freshness: Err(stale("no feed can be checked without roots")) };
            }
            (Ok(anchors), Some(statement)) => (anchors, statement),
        };
        let feed = match self.feeds.get(&statement.pin.publisher) {
            Some(Ok(feed)) => Ok(feed),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err(stale("there is no feed of its publisher")),
        };
        statement.statement.check_subject(subject, feed, anchors)
    }
}

impl Decisions {
    fn get(&self, digest: Digest) -> Option<Accepted> {
        let decisions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, accepted) = decisions.get(&digest)?;
        (at.elapsed() < DECISION_FRESH).then(|| accepted.clone())
    }

    fn put(&self, accepted: &Accepted) {
        let mut decisions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if decisions.len() >= DECISIONS_MAX {
            decisions.clear();
        }
        decisions.insert(accepted.digest(), (Instant::now(), accepted.clone()));
    }
}

/// Notes what a publisher's package did here.
pub(super) fn experience(
    registry: &mut Registry,
    name: &PackageName,
    version: &Version,
    event: Event,
    now: OffsetDateTime,
) -> Result<(), RegistryError> {
    let Some(StoredStatement { pin, .. }) = registry.statement(name, version)? else { return Ok(()) };
    let before = registry.reputation(&pin.publisher)?.unwrap_or_else(|| Reputation::new(now));
    registry.set_reputation(&pin.publisher, &before.after(event, now))
}

fn vulnerability(finding: &Finding) -> Vulnerability {
    let severity = match finding.level() {
        Rating::None => Severity::None,
        Rating::Low => Severity::Low,
        Rating::Medium => Severity::Medium,
        Rating::High => Severity::High,
        Rating::Critical => Severity::Critical,
    };
    Vulnerability { id: finding.id().to_owned(), severity }
}
