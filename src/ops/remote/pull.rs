//! Asks a remote registry for the descriptions of packages and of all that they may need, round by round.
//!
//! A round asks for all names at once that the round before has found; what is known and young enough is not asked for. If the
//! registry cannot be reached, what is known stands in: its publishers' feeds stop to count soon enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use semver::VersionReq;
use time::OffsetDateTime;
use trustchain::feed::OWNERS_MAX;

use super::feeds::Feed;
use super::{Upstream, UpstreamError};
use crate::config::RemoteMode;
use crate::digest::Digest;
use crate::host::{Host, Progress};
use crate::lockfile::Requirement;
use crate::ops::judge::Judge;
use crate::ops::owners::named_owners;
use crate::ops::{Catalog, OpError};
use crate::package::model::Source;
use crate::package::name::PackageName;
use crate::parallel;
use crate::registry::{Heard, Origin, Registry};
use crate::remote::{Fetched, PARALLEL_MAX, PackageDocument, RemoteError, feed_path, package_path};
use crate::trust::policy::Use;

/// The most packages that are asked for at one time: ten times what the largest of 1,361 roots of a well-known registry needs.
pub(super) const NAMES_MAX: usize = 20_000;

/// The most different requirements that are followed: a name may be needed in many ways.
const REQUIREMENTS_MAX: usize = 10 * NAMES_MAX;
/// The most chains that a few descriptions may name and that are not here: publishers renew their keys once in a while.
const CHAINS_MAX: usize = 256;

/// One pass through what a remote registry has.
pub(super) struct Pull<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) upstream: &'a Upstream,
    pub(super) host: &'a dyn Host,
    /// Who is believed; asked for when the first answer is there.
    pub(super) judge: Option<Judge<'a>>,
    /// Feeds that were looked at in this pass; none for one that is not believed and need not be.
    pub(super) feeds: BTreeMap<String, Option<Feed>>,
    /// Names that were asked for; each is asked for once.
    asked: BTreeSet<PackageName>,
    /// Why the registry cannot be reached, and of how many packages older descriptions stand in.
    unreachable: Option<(String, usize)>,
}

/// A name that is to be asked for.
struct Due {
    name: PackageName,
    /// What is known of it already.
    heard: Option<Heard>,
    /// Somebody asked for it by name.
    is_wanted: bool,
}

impl Due {
    /// What is known can stand in for an answer: a description, or that there was none of something that is only perhaps needed.
    fn can_stand_in(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.exists || !self.is_wanted)
    }
}

impl Catalog {
    /// Makes known what the remote registry has under the names of requirements and of everything that they may need. Answers
    /// what to warn of.
    pub(in crate::ops) fn pull(&self, roots: &[Requirement], host: &dyn Host) -> Result<Vec<String>, OpError> {
        let mut warnings = Vec::new();
        for upstream in &self.upstreams {
            let mut pull = Pull::new(self, upstream, host);
            pull.follow(roots)?;
            warnings.extend(pull.warnings());
        }
        Ok(warnings)
    }

    /// Makes known what is offered elsewhere under one name.
    pub(in crate::ops) fn pull_name(&self, name: &PackageName, host: &dyn Host) -> Result<(), OpError> {
        self.upstreams.iter().try_for_each(|upstream| self.pull_name_from(upstream, name, host))
    }

    /// As [`Self::pull_name`], from one place.
    pub(in crate::ops) fn pull_name_from(
        &self,
        upstream: &Upstream,
        name: &PackageName,
        host: &dyn Host,
    ) -> Result<(), OpError> {
        Pull::new(self, upstream, host).round(std::iter::once(name), &BTreeSet::from([name.clone()]))
    }

    /// Gives what the versions that meet requirements need in turn.
    fn needed_by(&self, open: Vec<(PackageName, VersionReq)>) -> Result<Vec<(PackageName, VersionReq)>, OpError> {
        let mut asked: BTreeMap<PackageName, Vec<VersionReq>> = BTreeMap::new();
        for (name, requirement) in open {
            asked.entry(name).or_default().push(requirement);
        }
        let mut needed = Vec::new();
        for (name, requirements) in asked {
            let records = self.registry().versions(&name)?;
            let releases = records.into_iter().map(|record| record.release);
            let fitting = releases.filter(|release| requirements.iter().any(|asked| asked.matches(&release.version)));
            let dependencies = fitting.flat_map(|release| release.dependencies);
            let published = dependencies.filter(|needs| matches!(needs.source, Source::Registry { .. }));
            needed.extend(published.map(|needs| (needs.name, needs.requirement)));
        }
        Ok(needed)
    }
}

impl<'a> Pull<'a> {
    fn new(catalog: &'a Catalog, upstream: &'a Upstream, host: &'a dyn Host) -> Self {
        let (feeds, asked) = (BTreeMap::new(), BTreeSet::new());
        Self { catalog, upstream, host, judge: None, feeds, asked, unreachable: None }
    }

    /// Asks for the names of requirements and of everything that they may need.
    fn follow(&mut self, roots: &[Requirement]) -> Result<(), OpError> {
        let wanted: BTreeSet<PackageName> = roots.iter().map(|root| root.name.clone()).collect();
        let mut open: Vec<(PackageName, VersionReq)> =
            roots.iter().map(|root| (root.name.clone(), root.requirement.clone())).collect();
        let mut seen = BTreeSet::new();
        while !open.is_empty() {
            open.retain(|(name, requirement)| seen.insert((name.clone(), requirement.to_string())));
            if seen.len() > REQUIREMENTS_MAX {
                return Err(UpstreamError::TooMany { limit: NAMES_MAX }.into());
            }
            self.round(open.iter().map(|(name, _)| name), &wanted)?;
            open = self.catalog.needed_by(open)?;
        }
        Ok(())
    }

    /// Asks for names that are due, and takes in what comes.
    fn round<'n>(
        &mut self,
        names: impl Iterator<Item = &'n PackageName>,
        wanted: &BTreeSet<PackageName>,
    ) -> Result<(), OpError> {
        let mut due = Vec::new();
        // What is of the node is asked of nobody.
        for name in names.filter(|name| !name.is_virtual()) {
            if self.asked.insert(name.clone()) {
                due.extend(self.due(name, wanted.contains(name))?);
            }
        }
        if self.asked.len() > NAMES_MAX {
            return Err(UpstreamError::TooMany { limit: NAMES_MAX }.into());
        }
        if due.is_empty() || !self.upstream.may_be_asked(self.host)? {
            return Ok(());
        }
        // A few at a time: each description may be large.
        due.chunks(PARALLEL_MAX).try_for_each(|some| self.ask_and_take(some, due.len()))
    }

    fn ask_and_take(&mut self, due: &[Due], total: usize) -> Result<(), OpError> {
        let answers = self.ask(due, total)?;
        let mut documents = Vec::new();
        let mut heard = Vec::new();
        for (due, answer) in due.iter().zip(answers) {
            let at = self.host.now();
            match answer {
                None => {}
                Some(Fetched::Absent) => heard.push((&due.name, Heard { at, tag: None, exists: false })),
                Some(Fetched::Unchanged) => {
                    let tag = due.heard.as_ref().and_then(|heard| heard.tag.clone());
                    heard.push((&due.name, Heard { at, tag, exists: true }));
                }
                Some(Fetched::Found { value, tag }) => {
                    documents.push((&due.name, value, Heard { at, tag, exists: true }));
                }
            }
        }
        self.take(&documents, &mut heard)?;
        let mut registry = self.catalog.registry();
        for (name, heard) in heard {
            registry.set_heard(self.upstream.url(), &package_path(name), &heard)?;
        }
        Ok(())
    }

    /// Says whether a name is to be asked for: it is neither ours nor known and young enough.
    fn due(&self, name: &PackageName, is_wanted: bool) -> Result<Option<Due>, OpError> {
        let registry = self.catalog.registry();
        let is_ours = self.upstream.mode == RemoteMode::Fallback && registry.origin(name)? == Origin::Here;
        // Other owners publish elsewhere what is ours, too.
        if is_ours && !is_shared(&registry, name)? {
            return Ok(None);
        }
        let heard = registry.heard(self.upstream.url(), &package_path(name))?;
        let is_young = heard.as_ref().is_some_and(|heard| is_young(heard.at, self.host.now(), self.upstream.sync));
        // Who asks for something that was not there yesterday has published it meanwhile.
        let is_known = heard.as_ref().is_some_and(|heard| heard.exists || !is_wanted);
        Ok((!(is_young && is_known)).then(|| Due { name: name.clone(), heard, is_wanted }))
    }

    /// Asks for descriptions; none for one whose older state stands in, since the registry cannot be reached.
    fn ask(&mut self, due: &[Due], total: usize) -> Result<Vec<Option<Fetched<PackageDocument>>>, OpError> {
        let is_down = AtomicBool::new(self.is_down());
        let answers = parallel::try_map(PARALLEL_MAX, due, |due| {
            let subject = due.name.to_string();
            self.host.progress(Progress { stage: "describe", subject, done: 0, total });
            if is_down.load(Ordering::Relaxed) && due.can_stand_in() {
                return Ok(None);
            }
            let tag = due.heard.as_ref().filter(|heard| heard.exists).and_then(|heard| heard.tag.as_deref());
            match self.upstream.documents.package(&due.name, tag) {
                Ok(answer) => Ok(Some(Ok(answer))),
                Err(error @ RemoteError::Unreachable { .. }) if due.can_stand_in() => {
                    is_down.store(true, Ordering::Relaxed);
                    Ok(Some(Err(error)))
                }
                Err(error) => Err(error),
            }
        })?;
        let mut usable = Vec::with_capacity(answers.len());
        for answer in answers {
            usable.push(match answer {
                Some(Ok(answer)) => Some(answer),
                Some(Err(error)) => {
                    self.stood_in(&error.to_string());
                    None
                }
                None => {
                    self.stood_in("");
                    None
                }
            });
        }
        Ok(usable)
    }

    /// Takes in descriptions with the chains and feeds that they name.
    fn take<'n>(
        &mut self,
        documents: &[(&'n PackageName, PackageDocument, Heard)],
        heard: &mut Vec<(&'n PackageName, Heard)>,
    ) -> Result<(), OpError> {
        if self.judge.is_none() {
            self.judge = Some(self.catalog.judge(Use::Install, self.host)?);
        }
        let chains = self.chains(documents.iter().map(|(_, document, _)| document))?;
        let known = heard.iter().filter(|(_, heard)| heard.exists).map(|(name, _)| *name);
        let mut publishers = self.publishers_of(known)?;
        publishers.extend(chains.values().filter_map(|chain| super::offers::publisher_of(chain)));
        self.look_at_feeds(publishers)?;
        let names = heard.iter().filter(|(_, heard)| heard.exists).map(|(name, _)| name.as_str());
        self.look_at_owners(&names.chain(documents.iter().map(|(name, ..)| name.as_str())).collect())?;
        for (name, document, was_heard) in documents {
            // What was not believed may be believed tomorrow: without a tag it is then given again.
            let tag = if self.take_in(document, &chains)? { was_heard.tag.clone() } else { None };
            heard.push((*name, Heard { tag, ..was_heard.clone() }));
        }
        Ok(())
    }

    /// Asks for the feeds of those that others name as owners of packages, as far as they lead.
    fn look_at_owners(&mut self, names: &BTreeSet<&str>) -> Result<(), OpError> {
        for _ in 0..OWNERS_MAX {
            let feeds = self.feeds.values().flatten().map(|feed| &feed.checked);
            let mut named = named_owners(feeds, names);
            named.retain(|owner| !self.feeds.contains_key(owner) && feed_path(owner).is_some());
            if named.is_empty() {
                break;
            }
            self.look_at_feeds(named.into_iter().take(CHAINS_MAX).collect())?;
        }
        Ok(())
    }

    /// Gives the chains that descriptions name, from here or from there.
    fn chains<'d>(
        &self,
        documents: impl Iterator<Item = &'d PackageDocument>,
    ) -> Result<BTreeMap<Digest, String>, OpError> {
        let statements = documents.flat_map(|document| &document.releases).filter_map(|it| it.statement.as_ref());
        let named: BTreeSet<Digest> = statements.map(|statement| statement.chain).collect();
        let (mut chains, mut missing) = (BTreeMap::new(), Vec::new());
        for digest in named {
            match self.catalog.registry().chain(digest)? {
                Some(chain) => drop(chains.insert(digest, chain)),
                None => missing.push(digest),
            }
        }
        if missing.len() > CHAINS_MAX {
            return Err(UpstreamError::TooManyChains { url: self.upstream.url().to_owned(), limit: CHAINS_MAX }.into());
        }
        let fetched = parallel::try_map(PARALLEL_MAX, missing.iter(), |digest| self.upstream.documents.chain(*digest))?;
        chains.extend(missing.into_iter().zip(fetched));
        Ok(chains)
    }

    /// Gives who stands for what is known under names.
    fn publishers_of<'n>(&self, names: impl Iterator<Item = &'n PackageName>) -> Result<BTreeSet<String>, OpError> {
        let registry = self.catalog.registry();
        let mut publishers = BTreeSet::new();
        for name in names {
            for version in registry.versions_of(self.upstream.url(), name)? {
                publishers.extend(registry.statement(name, &version)?.map(|statement| statement.pin.publisher));
            }
        }
        Ok(publishers)
    }

    /// Whether the registry could not be reached in this pass.
    pub(super) fn is_down(&self) -> bool {
        self.unreachable.is_some()
    }

    pub(super) fn stood_in(&mut self, reason: &str) {
        let (_, count) = self.unreachable.get_or_insert_with(|| (reason.to_owned(), 0));
        *count += 1;
    }

    fn warnings(self) -> Vec<String> {
        let told = |(reason, count): (String, usize)| format!("{reason}; what is known of {count} packages is used");
        self.unreachable.map(told).into_iter().collect()
    }
}

/// Says whether a name that was published here may have other owners.
fn is_shared(registry: &Registry, name: &PackageName) -> Result<bool, OpError> {
    let Some(first) = registry.first_publisher(name)? else { return Ok(false) };
    Ok(!registry.owners_said(&first, name)?.is_empty())
}

/// Says whether something is younger than an interval. What seems to come from the future is not.
pub(super) fn is_young(at: OffsetDateTime, now: OffsetDateTime, interval: Duration) -> bool {
    now >= at && now - at < interval
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn youth_ends_with_the_interval_and_is_never_in_the_future() {
        let at = datetime!(2030-01-01 12:00 UTC);
        let hour = Duration::from_secs(3_600);
        for (seconds, expected) in [(-1, false), (0, true), (3_599, true), (3_600, false)] {
            assert_eq!(is_young(at, at + time::Duration::seconds(seconds), hour), expected, "{seconds}");
        }
        assert!(!is_young(at, at, Duration::ZERO));
    }
}
