//! Has releases and feeds signed by a publisher of the host, and keeps its feed going.

use std::collections::BTreeMap;

use semver::Version;
use time::OffsetDateTime;
use trustchain::digest::Sha256;
use trustchain::feed::{Action, Entry};
use trustchain::signer::PublicKeys;

use super::{Catalog, OpError, spec};
use crate::archive::Archive;
use crate::digest::Digest;
use crate::host::{Host, ToSign, wait};
use crate::package::name::PackageName;
use crate::registry::StoredStatement;
use crate::trust::policy::{Check, Pin, Use};
use crate::trust::vouch::{FeedCopy, Statement};

/// What a publisher signed at one time: statements about releases, and the feed that names them.
#[derive(Debug, Default)]
pub(super) struct Signing {
    /// One statement for each archive, in their order; none if nobody signs on this node and nobody has to.
    pub(super) statements: Vec<StoredStatement>,
    /// The feeds that go on, by publisher.
    pub(super) feeds: BTreeMap<String, FeedCopy>,
}

/// One publisher's feed on this node.
#[derive(Clone, Debug)]
pub struct FeedState {
    /// The publisher's domain.
    pub publisher: String,
    /// How many entries it has.
    pub entries: u64,
    /// When it stops to count; none if it is not believed.
    pub expires: Option<OffsetDateTime>,
    /// Why it is not believed.
    pub fault: Option<String>,
    /// What the publisher's reputation is, and how that is called.
    pub reputation: (f64, String),
}

impl Catalog {
    /// Has releases signed. Without somebody who signs, nothing is signed if the policy accepts that.
    pub(super) fn sign(
        &self,
        archives: &[&Archive],
        publisher: Option<&str>,
        host: &dyn Host,
    ) -> Result<Signing, OpError> {
        let mut signing = Signing::default();
        for archive in archives {
            let what = ToSign::Release {
                package: archive.name().to_string(),
                version: archive.version().to_string(),
                size_bytes: archive.tar_bytes(),
                digests: archive.digests(),
                manifest: Digest::of(archive.manifest()),
            };
            let signed = match wait(host.sign(publisher, &what)) {
                Ok(signed) => signed,
                Err(_) if publisher.is_none() && !self.policy.requires(Check::Signature) => {
                    return Ok(Signing::default());
                }
                Err(refusal) => return Err(refusal.into()),
            };
            let statement = Statement { envelope: signed.envelope, chain: signed.chain.concat() };
            let pin = pin_of(&statement).ok_or(OpError::Unsigned { reason: "the signer's chain cannot be read" })?;
            let action = Action::Publish { release: Sha256::of(&statement.envelope) };
            let subject = (archive.name(), Some(archive.version()));
            self.append(&mut signing.feeds, &pin.publisher, subject, action, host.now())?;
            signing.statements.push(StoredStatement { statement, pin });
        }
        for feed in signing.feeds.values_mut() {
            feed.head = head(feed, publisher, host)?;
        }
        Ok(signing)
    }

    /// Marks a version as yanked, or takes that back, in the publisher's feed and in the registry.
    ///
    /// # Errors
    /// A version that is not published; a publisher that does not sign here.
    pub fn yank(&self, word: &str, reason: Option<&str>, host: &dyn Host) -> Result<(PackageName, Version), OpError> {
        let _turn = self.writing();
        let (name, version) = spec::exact(word)?;
        let version = version.ok_or_else(|| OpError::Spec {
            word: word.to_owned(),
            reason: "a version is needed, as in `vec3@1.2.0`".into(),
        })?;
        self.expect_own(std::iter::once(&name), host)?;
        let record = self.registry().get(&name, &version)?;
        if record.is_none() {
            return Err(OpError::NoVersion { name, version, latest: None });
        }
        let Some(statement) = self.registry().statement(&name, &version)? else {
            self.registry().set_yanked(&name, &version, reason)?;
            return Ok((name, version));
        };
        let action = match reason {
            Some(reason) => Action::Yank { reason: reason.to_owned() },
            None => Action::Restore,
        };
        let publisher = &statement.pin.publisher;
        let mut feeds = BTreeMap::new();
        self.append(&mut feeds, publisher, (&name, Some(&version)), action, host.now())?;
        let mut feed = feeds.remove(publisher).unwrap_or_default();
        feed.head = head(&feed, Some(publisher), host)?;
        self.expect_whole(publisher, &feed, host)?;
        self.registry().yank(&name, &version, reason, (publisher, &feed))?;
        Ok((name, version))
    }

    /// Gives the feeds of this node's registry, and what is thought of their publishers.
    ///
    /// # Errors
    /// The registry.
    pub fn feeds(&self, host: &dyn Host) -> Result<Vec<FeedState>, OpError> {
        let mut judge = self.judge(Use::Install, host)?;
        let publishers = self.registry().publishers()?;
        let states = publishers.into_iter().map(|publisher| {
            let copy = self.registry().feed(&publisher)?.unwrap_or_default();
            let now = host.now();
            let reputation = self.registry().reputation(&publisher)?;
            let reputation = reputation.unwrap_or_else(|| crate::trust::reputation::Reputation::new(now));
            let checked = judge.check_feed(&copy);
            Ok(FeedState {
                entries: copy.entries.len() as u64,
                expires: checked.as_ref().ok().copied(),
                fault: checked.err(),
                reputation: (reputation.at(now), reputation.tier(now).to_string()),
                publisher,
            })
        });
        states.collect()
    }

    /// Signs the heads of the feeds anew, of those publishers that sign on this node.
    ///
    /// # Errors
    /// The host refuses to sign for one that was named, or a feed that was rolled back.
    pub fn renew_feeds(&self, publisher: Option<&str>, host: &dyn Host) -> Result<Vec<String>, OpError> {
        let _turn = self.writing();
        let publishers = self.registry().publishers()?;
        let mut renewed = Vec::new();
        for domain in publishers.into_iter().filter(|domain| publisher.is_none_or(|wanted| wanted == domain)) {
            if let Err(error) = self.expect_own_feed(&domain) {
                if publisher.is_some() {
                    return Err(error);
                }
                continue;
            }
            let mut feed = self.registry().feed(&domain)?.unwrap_or_default();
            match head(&feed, Some(&domain), host) {
                Ok(head) => feed.head = head,
                Err(error) if publisher.is_some() => return Err(error),
                Err(_) => continue,
            }
            self.expect_whole(&domain, &feed, host)?;
            self.registry().set_feed(&domain, &feed)?;
            renewed.push(domain);
        }
        Ok(renewed)
    }

    /// Puts an entry behind the ones of a publisher's feed.
    pub(super) fn append(
        &self,
        feeds: &mut BTreeMap<String, FeedCopy>,
        publisher: &str,
        subject: (&PackageName, Option<&Version>),
        action: Action,
        at: OffsetDateTime,
    ) -> Result<(), OpError> {
        if !feeds.contains_key(publisher) {
            self.expect_own_feed(publisher)?;
            let copy = self.registry().feed(publisher)?.unwrap_or_default();
            feeds.insert(publisher.to_owned(), copy);
        }
        let feed = feeds.get_mut(publisher).expect("it was put there when it was missing");
        let last = feed.entries.last().map(|bytes| Entry::parse(bytes)).transpose()?;
        let entry = Entry::after(last.as_ref(), publisher, (subject.0.as_str(), subject.1), action, at)?;
        feed.entries.push(entry.to_bytes()?);
        Ok(())
    }

    /// A feed of our own that was rolled back must not go on from there: that would be a fork.
    pub(super) fn expect_whole(&self, publisher: &str, feed: &FeedCopy, host: &dyn Host) -> Result<(), OpError> {
        let mut judge = self.judge(Use::Publish, host)?;
        match judge.check_feed(feed) {
            Ok(_) => {
                judge.with_feed(publisher, feed);
                judge.note()
            }
            Err(reason) => Err(OpError::Feed { publisher: publisher.to_owned(), reason }),
        }
    }
}

/// Has the head of a feed signed.
pub(super) fn head(feed: &FeedCopy, publisher: Option<&str>, host: &dyn Host) -> Result<Vec<u8>, OpError> {
    let newest = feed.entries.last().ok_or(OpError::Unsigned { reason: "its feed has no entry" })?;
    let what = ToSign::Feed { number: feed.entries.len() as u64, entry: Sha256::of(newest).to_string() };
    Ok(wait(host.sign(publisher, &what))?.envelope)
}

/// Gives publisher and keys of a statement, as its chain says; nobody has checked them.
pub(super) fn pin_of(statement: &Statement) -> Option<Pin> {
    let chain = trustchain::certificate::from_pem(statement.chain.as_bytes()).ok()?;
    let leaf = chain.first()?;
    let publisher = trustchain::feed::publisher_of(leaf)?.to_owned();
    Some(Pin { publisher, keys: PublicKeys::of(leaf).fingerprint().to_string() })
}
