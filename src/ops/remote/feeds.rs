//! Publishers' feeds of a remote registry: they come in only if they count and go on from what is here, and they, not the
//! registry, say what is yanked.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use semver::Version;
use trustchain::document::Document;
use trustchain::feed::{Action, HEAD_KIND, Head};

use super::UpstreamError;
use super::pull::Pull;
use crate::ops::OpError;
use crate::package::name::PackageName;
use crate::parallel;
use crate::registry::Heard;
use crate::remote::{self, Fetched, PARALLEL_MAX, RemoteError, feed_path};
use crate::trust::policy::{Check, Fault, Violation};
use crate::trust::vouch::{CheckedFeed, FeedCopy};

/// A feed that counts, and what it says is yanked.
pub(super) struct Feed {
    pub(super) checked: CheckedFeed,
    /// For each version that it has ever yanked why it is yanked, or that it is not any more.
    yanks: BTreeMap<(PackageName, Version), Option<String>>,
}

/// What is known of a feed before it is asked for.
struct Due {
    publisher: String,
    heard: Option<Heard>,
    known: Option<FeedCopy>,
}

impl Pull<'_> {
    /// Asks for the feeds of publishers that were not looked at in this pass, takes them in, and yanks what they yank. A few at
    /// a time: each may be large.
    pub(super) fn look_at_feeds(&mut self, publishers: BTreeSet<String>) -> Result<(), OpError> {
        let open: Vec<String> =
            publishers.into_iter().filter(|publisher| !self.feeds.contains_key(publisher)).collect();
        for some in open.chunks(PARALLEL_MAX) {
            let mut wanted = Vec::new();
            for publisher in some {
                let Some(path) = feed_path(publisher) else { continue };
                let registry = self.catalog.registry();
                let (heard, known) = (registry.heard(self.upstream.url(), &path)?, registry.feed(publisher)?);
                wanted.push(Due { publisher: publisher.clone(), heard, known });
            }
            let offered = self.ask_for_feeds(&wanted);
            for (Due { publisher, heard, known }, offered) in wanted.into_iter().zip(offered) {
                let (copy, tag) = match offered {
                    None => (known, None),
                    Some(Ok(Fetched::Found { value, tag })) => (self.newer(&publisher, known, value)?, tag),
                    Some(Ok(Fetched::Unchanged)) => (known, heard.and_then(|heard| heard.tag)),
                    Some(Ok(Fetched::Absent)) => (known, None),
                    Some(Err(error @ RemoteError::Unreachable { .. })) if known.is_some() => {
                        self.stood_in(&error.to_string());
                        (known, None)
                    }
                    Some(Err(error)) => return Err(error.into()),
                };
                let checked = copy.map(|copy| self.checked_feed(&publisher, &copy, tag)).transpose()?.flatten();
                let feed = checked.map(Feed::new);
                if let Some(feed) = &feed {
                    self.yank_by(&publisher, feed)?;
                }
                self.feeds.insert(publisher, feed);
            }
        }
        Ok(())
    }

    /// Asks at the same time; none for a feed that is known where nothing can be reached.
    fn ask_for_feeds(&self, wanted: &[Due]) -> Vec<Option<Result<Fetched<FeedCopy>, RemoteError>>> {
        let asked = parallel::try_map(PARALLEL_MAX, wanted, |due| {
            if self.is_down() && due.known.is_some() {
                return Ok(None);
            }
            let tag = due.heard.as_ref().and_then(|heard| heard.tag.as_deref());
            let offered = self.upstream.documents.feed(&due.publisher, tag);
            Ok::<_, Infallible>(Some(offered.map(|fetched| fetched.map(FeedCopy::from))))
        });
        match asked {
            Ok(asked) => asked,
            Err(never) => match never {},
        }
    }

    /// Gives the newer of the feed that is here and the one that is offered: one must be the beginning of the other.
    fn newer(&self, publisher: &str, known: Option<FeedCopy>, offered: FeedCopy) -> Result<Option<FeedCopy>, OpError> {
        let Some(known) = known else { return Ok(Some(offered)) };
        let (url, publisher) = (self.upstream.url().to_owned(), publisher.to_owned());
        if let Some(at) = known.entries.iter().zip(&offered.entries).position(|(known, offered)| known != offered) {
            return Err(UpstreamError::Forked { url, publisher, number: at + 1 }.into());
        }
        let (ours, theirs) = (known.entries.len(), offered.entries.len());
        if theirs < ours {
            // Our own feed may be further than a copy of it; one that came from elsewhere was further there already.
            if self.catalog.registry().feed_origin(&publisher)?.is_some() {
                return Err(UpstreamError::RolledBack { url, publisher, offered: theirs, known: ours }.into());
            }
            return Ok(Some(known));
        }
        let is_later = theirs > ours || expires(&offered) > expires(&known);
        Ok(Some(if is_later { offered } else { known }))
    }

    /// Checks a feed and keeps it if it counts. One that does not stops everything if the policy asks for feeds.
    fn checked_feed(
        &mut self,
        publisher: &str,
        copy: &FeedCopy,
        tag: Option<String>,
    ) -> Result<Option<CheckedFeed>, OpError> {
        let Some(anchors) = self.judge.as_ref().and_then(|judge| judge.anchors()) else { return Ok(None) };
        let checked = copy.check(anchors, &mut self.catalog.freshness()).and_then(|feed| {
            // The feed of somebody else, which counts, would stand here for ever.
            let reason = || format!("its head is of `{}`", feed.publisher());
            let other = || Fault { check: Check::Freshness, violation: Violation::StaleFeed, reason: reason() };
            if feed.publisher() == publisher { Ok(feed) } else { Err(other()) }
        });
        let feed = match checked {
            Ok(feed) => feed,
            Err(fault) if self.catalog.policy.requires(Check::Freshness) => {
                let (url, publisher) = (self.upstream.url().to_owned(), publisher.to_owned());
                return Err(UpstreamError::Feed { url, publisher, reason: fault.reason }.into());
            }
            Err(_) => return Ok(None),
        };
        let mut registry = self.catalog.registry();
        if registry.feed(publisher)?.as_ref() != Some(copy) {
            registry.take_in_feed(self.upstream.url(), publisher, copy)?;
        }
        if let Some(path) = feed_path(publisher) {
            registry.set_heard(self.upstream.url(), &path, &Heard { at: self.host.now(), tag, exists: true })?;
        }
        drop(registry);
        let mut freshness = self.catalog.freshness();
        feed.note(&mut freshness);
        freshness.save()?;
        Ok(Some(feed))
    }

    /// Yanks what a publisher has yanked since its releases came in, and takes back what it took back.
    fn yank_by(&self, publisher: &str, feed: &Feed) -> Result<(), OpError> {
        for ((name, version), reason) in &feed.yanks {
            let mut registry = self.catalog.registry();
            if registry.foreign(name, version)?.is_none() {
                continue;
            }
            let is_theirs = registry.statement(name, version)?.is_some_and(|it| it.pin.publisher == *publisher);
            let was = registry.get(name, version)?.and_then(|record| record.yanked);
            if is_theirs && was != *reason {
                registry.set_yanked(name, version, reason.as_deref())?;
            }
        }
        Ok(())
    }
}

impl Feed {
    fn new(checked: CheckedFeed) -> Self {
        let mut yanks = BTreeMap::new();
        for entry in checked.entries() {
            let reason = match &entry.action {
                Action::Yank { reason } => Some(reason.clone()),
                Action::Restore => None,
                Action::Publish { .. } | Action::Own { .. } => continue,
            };
            if let (Ok(name), Some(version)) = (entry.package.parse::<PackageName>(), &entry.version) {
                yanks.insert((name, version.clone()), reason);
            }
        }
        Self { checked, yanks }
    }

    /// Says why it yanks a version, if it does.
    pub(super) fn yanked(&self, name: &PackageName, version: &Version) -> Option<&str> {
        self.yanks.get(&(name.clone(), version.clone()))?.as_deref()
    }
}

/// Says until when a head claims to count.
fn expires(copy: &FeedCopy) -> Option<time::OffsetDateTime> {
    Document::<Head>::parse(&copy.head, HEAD_KIND).ok().map(|head| head.claimed().expires)
}

impl From<remote::FeedDocument> for FeedCopy {
    fn from(feed: remote::FeedDocument) -> Self {
        Self { head: feed.head.into_bytes(), entries: feed.entries.into_iter().map(String::into_bytes).collect() }
    }
}
