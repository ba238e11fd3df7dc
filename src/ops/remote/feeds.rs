//! Publishers' feeds of a remote registry: they come in only if they count and go on from what is here, and they, not the
//! registry, say what is yanked.

use std::collections::{BTreeMap, BTreeSet};

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
use crate::trust::policy::Check;
use crate::trust::vouch::{CheckedFeed, FeedCopy};

/// What was asked about one feed, and the answer.
struct Asked {
    publisher: String,
    heard: Option<Heard>,
    offered: Result<Fetched<FeedCopy>, RemoteError>,
}

impl Pull<'_> {
    /// Asks for the feeds of publishers that were not looked at in this pass, and takes them in.
    pub(super) fn look_at_feeds(&mut self, publishers: BTreeSet<String>) -> Result<(), OpError> {
        let mut wanted = Vec::new();
        for publisher in publishers {
            let Some(path) = feed_path(&publisher) else { continue };
            if !self.feeds.contains_key(&publisher) {
                let heard = self.catalog.registry().heard(self.upstream.url(), &path)?;
                wanted.push((publisher, heard));
            }
        }
        let asked = parallel::try_map(PARALLEL_MAX, wanted.iter(), |(publisher, heard)| {
            let tag = heard.as_ref().and_then(|heard| heard.tag.as_deref());
            let offered = self.upstream.remote.feed(publisher, tag).map(|fetched| fetched.map(FeedCopy::from));
            Ok::<_, OpError>(Asked { publisher: publisher.clone(), heard: heard.clone(), offered })
        })?;
        for Asked { publisher, heard, offered } in asked {
            let known = self.catalog.registry().feed(&publisher)?;
            let (copy, tag) = match offered {
                Ok(Fetched::Found { value, tag }) => (self.newer(&publisher, known, value)?, tag),
                Ok(Fetched::Unchanged) => (known, heard.and_then(|heard| heard.tag)),
                Ok(Fetched::Absent) => (known, None),
                Err(error @ RemoteError::Unreachable { .. }) if known.is_some() => {
                    self.stood_in(&error.to_string());
                    (known, None)
                }
                Err(error) => return Err(error.into()),
            };
            let checked = copy.map(|copy| self.checked_feed(&publisher, &copy, tag)).transpose()?.flatten();
            self.feeds.insert(publisher, checked);
        }
        Ok(())
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
        let checked = copy.check(anchors, &mut self.catalog.freshness());
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

    /// Yanks what publishers have yanked since their releases came in, and takes back what they took back.
    pub(super) fn yank_by_feeds(&mut self) -> Result<(), OpError> {
        for (publisher, feed) in &self.feeds {
            let Some(feed) = feed else { continue };
            for ((name, version), reason) in yanks(feed) {
                let mut registry = self.catalog.registry();
                if registry.foreign(&name, &version)?.is_none() {
                    continue;
                }
                let is_theirs = registry.statement(&name, &version)?.is_some_and(|it| it.pin.publisher == *publisher);
                let was = registry.get(&name, &version)?.and_then(|record| record.yanked);
                if is_theirs && was.as_deref() != reason {
                    registry.set_yanked(&name, &version, reason)?;
                }
            }
        }
        Ok(())
    }
}

/// Gives for each version that a feed has ever yanked why it is yanked, or that it is not any more.
fn yanks(feed: &CheckedFeed) -> BTreeMap<(PackageName, Version), Option<&str>> {
    let mut yanks = BTreeMap::new();
    for entry in feed.entries() {
        let reason = match &entry.action {
            Action::Yank { reason } => Some(reason.as_str()),
            Action::Restore => None,
            Action::Publish { .. } => continue,
        };
        if let Ok(name) = entry.package.parse::<PackageName>() {
            yanks.insert((name, entry.version.clone()), reason);
        }
    }
    yanks
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
