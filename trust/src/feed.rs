//! Feeds: what a publisher has released, in a numbered and hash-chained list whose newest entry the publisher signs.
//!
//! An [`Entry`] names the one before by its digest, so the [`Head`], which names the newest, vouches for all of them in their
//! order: none can be left out, added, exchanged or taken from another state of the feed. A head expires, so that whoever
//! holds the newest ones back is noticed, and a lower number than one seen before is refused. Heads travel as signed
//! documents ([`crate::document`]).
//!
//! Entries also say to whom a package belongs; what follows from several feeds is in [`crate::owners`].
//!
//! Nothing here stores: the caller keeps [`VerifiedHead::seen`] of each publisher and gives it back the next time.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::canonical::{self, CanonicalError};
use crate::certificate::{Certificate, Purpose, SubjectName};
use crate::digest::Sha256;
use crate::document::{self, Document, Verified};
use crate::envelope::{EnvelopeError, VerifyOptions};
use crate::moment;
use crate::signer::SignerKeys;

/// The kind of document that a head is; its version changes when a field does.
pub const HEAD_KIND: &str = "application/vnd.hypermesh.feed-head.v1+json";
/// How long a head counts: TUF gives its snapshots a week, and a publisher must not be needed more often than that.
pub const HEAD_LIFETIME: Duration = Duration::days(7);
/// The largest entry in bytes; one has about 350.
pub const ENTRY_BYTES_MAX: usize = 2 * 1024;
/// The most entries of a feed: ten times the versions that a registry keeps of one package, some 40 MB. Whoever sends an
/// endless feed is not read further.
pub const ENTRIES_MAX: u64 = 100_000;
/// The longest reason for a yank, in characters.
pub const REASON_CHARS_MAX: usize = 200;
/// The most owners of a package at one time, and the most that it had before: so that they fit into an entry.
pub const OWNERS_MAX: usize = 16;

/// One step of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What happens.
    pub action: Action,
    /// When, by the publisher's clock, in whole seconds.
    #[serde(with = "moment")]
    pub at: OffsetDateTime,
    /// Its place: 1 for the first, then one more each time.
    pub number: u64,
    /// The package, `[namespace/]name`.
    pub package: String,
    /// The digest of the entry before; none before the first.
    pub previous: Option<Sha256>,
    /// Whose feed it is: the domain of a publisher, such as `acme.pub.trustchain`.
    pub publisher: String,
    /// The version of the package; none where the step is about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A version is released.
    Publish {
        /// The SHA-256 of its release statement's envelope.
        release: Sha256,
    },
    /// A version should not be chosen any more.
    Yank {
        /// Why.
        reason: String,
    },
    /// A yanked version may be chosen again.
    Restore,
    /// The package belongs to these publishers from now on.
    Own {
        /// The digest of the entry before that said to whom the package belongs, in whoever's feed; none if none did.
        after: Option<Sha256>,
        /// To whom it belonged before, and up to which entry of its feed what it released counts.
        former: BTreeMap<String, u64>,
        /// To whom it belongs, in the order in which they came.
        owners: Vec<String>,
    },
}

/// What a publisher signs: which entry is the newest, and until when that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The digest of the newest entry.
    pub entry: Sha256,
    /// When it stops to count.
    #[serde(with = "moment")]
    pub expires: OffsetDateTime,
    /// The number of the newest entry.
    pub number: u64,
    /// Whose feed it is.
    pub publisher: String,
}

/// The newest head that was seen of a publisher; the caller keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The number of its newest entry.
    pub number: u64,
    /// The digest of that entry.
    pub entry: Sha256,
}

/// A head that its publisher vouches for, and that is fresh.
#[derive(Clone, Debug)]
pub struct VerifiedHead(Verified<Head>);

/// Why a feed says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The head's signatures, certificate or form are wrong.
    #[error(transparent)]
    Document(#[from] EnvelopeError),
    /// An entry is not one.
    #[error("an entry of the feed cannot be read")]
    Entry(#[from] CanonicalError),
    /// A field is not what it must be.
    #[error("entry `{number}` of the feed is malformed: {reason}")]
    Malformed {
        /// The number of the entry.
        number: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The signer may not speak for this feed.
    #[error("`{subject}` is not the publisher `{publisher}`")]
    OtherPublisher {
        /// The signer.
        subject: String,
        /// Whose feed it is.
        publisher: String,
    },
    /// It is over.
    #[error("the feed of `{publisher}` expired at `{}`: newer releases or warnings may be held back", moment::shown(.expires))]
    Expired {
        /// Whose feed it is.
        publisher: String,
        /// When.
        expires: OffsetDateTime,
    },
    /// A newer one was seen.
    #[error(
        "the feed of `{publisher}` ends at entry `{number}`, and entry `{seen}` was seen before: it was rolled back"
    )]
    Rollback {
        /// Whose feed it is.
        publisher: String,
        /// Where it ends.
        number: u64,
        /// What was seen.
        seen: u64,
    },
    /// Another one was seen: the publisher contradicts itself.
    #[error("two different entries of the feed of `{publisher}` have the number `{number}`")]
    Fork {
        /// Whose feed it is.
        publisher: String,
        /// The number.
        number: u64,
    },
    /// The entries are not the ones that the head means.
    #[error("entry `{number}` of the feed of `{publisher}` {reason}")]
    Broken {
        /// Whose feed it is.
        publisher: String,
        /// The number of the entry.
        number: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Entry {
    /// Makes the entry that follows another, or the first. What would be too long to be read is not made: every later entry
    /// rests on it, so the feed could never be read again.
    ///
    /// # Errors
    /// A reason or an entry that is too long, or a field that has no canonical form.
    pub fn after<'v>(
        previous: Option<&Self>,
        publisher: &str,
        subject: (&str, impl Into<Option<&'v Version>>),
        action: Action,
        at: OffsetDateTime,
    ) -> Result<Self, FeedError> {
        let entry = Self {
            action,
            at,
            number: previous.map_or(1, |entry| entry.number.saturating_add(1)),
            package: subject.0.to_owned(),
            previous: previous.map(Self::digest).transpose()?,
            publisher: publisher.to_owned(),
            version: subject.1.into().cloned(),
        };
        entry.check()?;
        if entry.to_bytes()?.len() > ENTRY_BYTES_MAX {
            return Err(FeedError::Malformed { number: entry.number, reason: "it has more than 2048 bytes" });
        }
        Ok(entry)
    }

    /// Reads an entry in its one form.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, FeedError> {
        let entry: Self = canonical::read(bytes, ENTRY_BYTES_MAX)?;
        entry.check()?;
        Ok(entry)
    }

    /// Writes the one form of the entry.
    ///
    /// # Errors
    /// A field that has no canonical form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FeedError> {
        Ok(canonical::write(self)?)
    }

    /// Gives the SHA-256 of that form.
    ///
    /// # Errors
    /// A field that has no canonical form.
    pub fn digest(&self) -> Result<Sha256, FeedError> {
        Ok(Sha256::of(&self.to_bytes()?))
    }

    fn check(&self) -> Result<(), FeedError> {
        let fault = |reason| Err(FeedError::Malformed { number: self.number, reason });
        if self.number == 0 || self.number > ENTRIES_MAX {
            return fault("its number is not from 1 to 100000");
        }
        if (self.number == 1) != self.previous.is_none() {
            return fault("the first entry, and no other, has none before it");
        }
        if self.version.is_none() != matches!(self.action, Action::Own { .. }) {
            return fault("a step about owners, and no other, is about no version");
        }
        match &self.action {
            Action::Yank { reason } if reason.chars().count() > REASON_CHARS_MAX => {
                fault("its reason has more than 200 characters")
            }
            Action::Own { former, owners, .. } => {
                let different: BTreeSet<&String> = owners.iter().collect();
                if owners.is_empty() || owners.len() > OWNERS_MAX || former.len() > OWNERS_MAX {
                    return fault("it has no owner, or more than 16");
                }
                let is_twice = different.len() < owners.len() || former.keys().any(|name| different.contains(name));
                if is_twice { fault("it names an owner twice") } else { Ok(()) }
            }
            Action::Publish { .. } | Action::Yank { .. } | Action::Restore => Ok(()),
        }
    }
}

/// Says whose feed a publisher's certificate signs: the first domain that it speaks for.
pub fn publisher_of(leaf: &Certificate) -> Option<&str> {
    leaf.names().iter().find_map(|name| match name {
        SubjectName::Dns(domain) => Some(domain.as_str()),
        _ => None,
    })
}

/// Signs the head of a publisher's feed; it counts for [`HEAD_LIFETIME`].
///
/// # Errors
/// As [`document::seal`]; a certificate that speaks for no domain.
pub fn seal<'a>(
    number: u64,
    entry: Sha256,
    at: OffsetDateTime,
    chain: &[Certificate],
    keys: impl Into<SignerKeys<'a>>,
) -> Result<Vec<u8>, FeedError> {
    let empty = EnvelopeError::Chain { reason: "its leaf speaks for no domain" };
    let publisher = chain.first().and_then(publisher_of).ok_or(empty)?.to_owned();
    let head = Head { entry, expires: at + HEAD_LIFETIME, number, publisher };
    Ok(document::seal(HEAD_KIND, &head, at, chain, keys)?)
}

impl VerifiedHead {
    /// Checks a head: every signature, the publisher's chain, that it is fresh, and that no newer one was seen.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify(bytes: &[u8], options: &VerifyOptions<'_>, seen: Option<Seen>) -> Result<Self, FeedError> {
        let verified = Document::<Head>::parse(bytes, HEAD_KIND)?.verify(Purpose::Publisher, options)?;
        let (head, signer) = (verified.value(), verified.signer());
        let publisher = || head.publisher.clone();
        if publisher_of(signer) != Some(head.publisher.as_str()) {
            return Err(FeedError::OtherPublisher { subject: signer.subject().to_owned(), publisher: publisher() });
        }
        let number = head.number;
        match seen {
            Some(seen) if seen.number > number => {
                return Err(FeedError::Rollback { publisher: publisher(), number, seen: seen.number });
            }
            Some(seen) if seen.number == number && seen.entry != head.entry => {
                return Err(FeedError::Fork { publisher: publisher(), number });
            }
            _ => {}
        }
        if options.at > head.expires || head.expires - verified.signed_at() > HEAD_LIFETIME {
            return Err(FeedError::Expired { publisher: publisher(), expires: head.expires });
        }
        Ok(Self(verified))
    }

    /// Gives the head.
    pub fn head(&self) -> &Head {
        self.0.value()
    }

    /// Says when it was signed, by the publisher's clock.
    pub fn signed_at(&self) -> OffsetDateTime {
        self.0.signed_at()
    }

    /// Gives the certificate that signed.
    pub fn signer(&self) -> &Certificate {
        self.0.signer()
    }

    /// Says what is to be kept until the next head.
    pub fn seen(&self) -> Seen {
        Seen { number: self.head().number, entry: self.head().entry }
    }

    /// Reads entries, from the first to the newest, and checks that they are exactly those the head vouches for; an older head
    /// that was seen must be among them.
    ///
    /// # Errors
    /// The first entry that is not the right one.
    pub fn entries<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a [u8]>,
        seen: Option<Seen>,
    ) -> Result<Vec<Entry>, FeedError> {
        let Head { publisher, number: newest, entry: expected, .. } = self.head();
        let broken = |number, reason| FeedError::Broken { publisher: publisher.clone(), number, reason };
        let mut found: Vec<Entry> = Vec::new();
        let mut before = None;
        for bytes in entries {
            let entry = Entry::parse(bytes)?;
            let number = found.len() as u64 + 1;
            if number > *newest {
                return Err(broken(number, "is beyond its head"));
            }
            if entry.number != number || entry.previous != before {
                return Err(broken(number, "does not follow the one before it"));
            }
            if entry.publisher != *publisher {
                return Err(broken(number, "is of another feed"));
            }
            let digest = Sha256::of(bytes);
            if seen.is_some_and(|seen| seen.number == number && seen.entry != digest) {
                return Err(FeedError::Fork { publisher: publisher.clone(), number });
            }
            before = Some(digest);
            found.push(entry);
        }
        if found.len() as u64 != *newest {
            return Err(broken(found.len() as u64 + 1, "is missing"));
        }
        if before.as_ref() != Some(expected) {
            return Err(broken(*newest, "is not the one that its head names"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::path::{Hybrid, Revocation, Roots};
    use crate::testing::{NOW, Pki, keys};

    const ACME: &str = crate::testing::ACME;

    fn chain(pki: &Pki) -> Vec<Certificate> {
        [vec![pki.leaf.clone()], pki.intermediates()].concat()
    }

    fn feed(length: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for number in 0..length {
            let action = match number % 3 {
                0 => Action::Publish { release: Sha256::of(&number.to_le_bytes()) },
                1 => Action::Yank { reason: "broken".into() },
                _ => Action::Restore,
            };
            let version = Version::new(1, 0, number / 3);
            entries
                .push(Entry::after(entries.last(), ACME, ("acme/vec", &version), action, NOW).expect("a valid entry"));
        }
        entries
    }

    fn bytes(entries: &[Entry]) -> Vec<Vec<u8>> {
        entries.iter().map(|entry| entry.to_bytes().expect("writes")).collect()
    }

    fn head(pki: &Pki, entries: &[Entry], at: OffsetDateTime) -> Vec<u8> {
        let last = entries.last().expect("an entry");
        seal(last.number, last.digest().expect("a digest"), at, &chain(pki), &pki.publisher).expect("signs")
    }

    fn verify(pki: &Pki, head: &[u8], at: OffsetDateTime, seen: Option<Seen>) -> Result<VerifiedHead, FeedError> {
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::Required).expect("a root");
        let options = VerifyOptions { roots: &roots, chain: None, at, revocation: Revocation::Unchecked };
        VerifiedHead::verify(head, &options, seen)
    }

    fn entries_of(head: &VerifiedHead, entries: &[Entry], seen: Option<Seen>) -> Result<Vec<Entry>, FeedError> {
        let bytes = bytes(entries);
        head.entries(bytes.iter().map(Vec::as_slice), seen)
    }

    #[test]
    fn a_head_vouches_for_every_entry_in_its_order() {
        let pki = Pki::new();
        let entries = feed(7);
        let head = verify(&pki, &head(&pki, &entries, NOW), NOW, None).expect("verifies");
        assert_eq!(entries_of(&head, &entries, None).expect("are those"), entries);
        let without_one = [&entries[..3], &entries[4..]].concat();
        let mut swapped = entries.clone();
        swapped.swap(2, 3);
        let mut changed = entries.clone();
        changed[2].package = "acme/other".into();
        let too_many = feed(8);
        for wrong in [&entries[..6], &entries[1..], &without_one, &swapped, &changed, &too_many, &[]] {
            assert!(matches!(
                entries_of(&head, wrong, None),
                Err(FeedError::Broken { .. } | FeedError::Malformed { .. })
            ));
        }
    }

    #[test]
    fn rollback_freeze_fork_and_mixtures_are_refused_by_name() {
        let pki = Pki::new();
        let entries = feed(5);
        let old = head(&pki, &entries[..3], NOW);
        let new = head(&pki, &entries, NOW);
        let seen = verify(&pki, &new, NOW, None).expect("verifies").seen();
        assert!(matches!(verify(&pki, &old, NOW, Some(seen)), Err(FeedError::Rollback { number: 3, seen: 5, .. })));
        let late = NOW + HEAD_LIFETIME + Duration::seconds(1);
        assert!(matches!(verify(&pki, &new, late, None), Err(FeedError::Expired { .. })));
        // A fork: entry 5 is another one under a genuine signature.
        let mut other = entries;
        other[4] = Entry::after(Some(&other[3]), ACME, ("acme/evil", &Version::new(9, 0, 0)), Action::Restore, NOW)
            .expect("a valid entry");
        let forked = head(&pki, &other, NOW);
        assert!(matches!(verify(&pki, &forked, NOW, Some(seen)), Err(FeedError::Fork { number: 5, .. })));
        // A fork before the newest: the feed goes on from another past than the one seen.
        let longer: Vec<Entry> = {
            let next = Entry::after(other.last(), ACME, ("acme/vec", &Version::new(2, 0, 0)), Action::Restore, NOW);
            [other.clone(), vec![next.expect("a valid entry")]].concat()
        };
        let later = verify(&pki, &head(&pki, &longer, NOW), NOW, Some(seen)).expect("is newer");
        assert!(matches!(entries_of(&later, &longer, Some(seen)), Err(FeedError::Fork { number: 5, .. })));
        // A mixture: the head of one state, entries of another.
        let verified = verify(&pki, &new, NOW, None).expect("verifies");
        assert!(matches!(entries_of(&verified, &other, None), Err(FeedError::Broken { number: 5, .. })));
    }

    #[test]
    fn a_feed_of_one_key_counts_where_the_roots_are_content_with_one() {
        let pki = Pki::new();
        let (key, leaf) = pki.classical();
        let newest = feed(1)[0].digest().expect("a digest");
        let bytes = seal(1, newest, NOW, &[leaf, pki.publishers.certificate().clone()], &key).expect("signs");
        let error = verify(&pki, &bytes, NOW, None).expect_err("is refused");
        assert!(matches!(error, FeedError::Document(EnvelopeError::ClassicalSigner { .. })), "{error:?}");
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::IfPresent).expect("a root");
        let options = VerifyOptions { roots: &roots, chain: None, at: NOW, revocation: Revocation::Unchecked };
        assert_eq!(VerifiedHead::verify(&bytes, &options, None).expect("verifies").head().publisher, ACME);
    }

    #[test]
    fn nobody_signs_the_feed_of_another_publisher() {
        let pki = Pki::new();
        let entries = feed(1);
        let last = &entries[0];
        let foreign = Head {
            entry: last.digest().expect("a digest"),
            expires: NOW + HEAD_LIFETIME,
            number: 1,
            publisher: "other.pub.trustchain".into(),
        };
        let bytes = document::seal(HEAD_KIND, &foreign, NOW, &chain(&pki), &pki.publisher).expect("signs");
        assert!(matches!(verify(&pki, &bytes, NOW, None), Err(FeedError::OtherPublisher { .. })));
        let endless = Head { expires: NOW + Duration::days(999), publisher: ACME.into(), ..foreign };
        let bytes = document::seal(HEAD_KIND, &endless, NOW, &chain(&pki), &pki.publisher).expect("signs");
        assert!(
            matches!(verify(&pki, &bytes, NOW, None), Err(FeedError::Expired { .. })),
            "nobody grants itself more time"
        );
        assert!(seal(1, last.digest().expect("a digest"), NOW, &chain(&pki), &keys()).is_err());
    }

    #[test]
    fn a_feed_has_an_end() {
        let mut last = feed(2).remove(1);
        last.number = ENTRIES_MAX;
        Entry::parse(&last.to_bytes().expect("writes")).expect("the last there can be");
        let next = Entry::after(Some(&last), ACME, ("acme/vec", &Version::new(9, 0, 0)), Action::Restore, NOW);
        assert!(matches!(next, Err(FeedError::Malformed { number, .. }) if number == ENTRIES_MAX + 1));
        // An endless feed of genuine entries is read no further than its head says.
        let pki = Pki::new();
        let entries = feed(3);
        let head = verify(&pki, &head(&pki, &entries[..1], NOW), NOW, None).expect("verifies");
        let endless = bytes(&entries);
        let mut read = 0;
        let endless = endless.iter().cycle().inspect(|_| read += 1).map(Vec::as_slice);
        assert!(matches!(head.entries(endless, None), Err(FeedError::Broken { number: 2, .. })));
        assert_eq!(read, 2);
    }

    #[test]
    fn an_entry_has_one_form() {
        for entry in feed(3) {
            let bytes = entry.to_bytes().expect("writes");
            assert_eq!(Entry::parse(&bytes).expect("reads"), entry);
            for at in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                assert!(Entry::parse(&altered).map_or(true, |other| other != entry), "byte {at}");
            }
        }
        let long = Action::Yank { reason: "x".repeat(REASON_CHARS_MAX + 1) };
        assert!(Entry::after(None, ACME, ("acme/vec", &Version::new(1, 0, 0)), long, NOW).is_err());
    }

    /// A verified head, the six entries that it means, and two that it does not: another third one, and a seventh.
    static HELD: LazyLock<(VerifiedHead, Vec<Vec<u8>>)> = LazyLock::new(|| {
        let (pki, entries) = (Pki::new(), feed(7));
        let other = Entry::after(Some(&entries[1]), ACME, ("acme/evil", &Version::new(1, 0, 0)), Action::Restore, NOW);
        let head = verify(&pki, &head(&pki, &entries[..6], NOW), NOW, None).expect("verifies");
        let pool = [&entries[..6], &[other.expect("a valid entry")], &entries[6..]].concat();
        (head, bytes(&pool))
    });

    /// Gives orders of the pool: any places, permutations, parts, and the right order with one more or another in it.
    fn orders() -> impl Strategy<Value = Vec<usize>> {
        let right = || (0..6).collect::<Vec<usize>>();
        let changed = move |at: usize, place: usize, most: usize| {
            let mut order = right();
            order.splice(at..(at + most).min(6), [place]);
            order
        };
        prop_oneof![
            prop::collection::vec(0..8_usize, 0..9),
            Just(right()).prop_shuffle(),
            subsequence(right(), 0..=6),
            (0..7_usize, 0..8_usize, 0..2_usize).prop_map(move |(at, place, most)| changed(at, place, most)),
        ]
    }

    proptest! {
        #[test]
        fn only_the_entries_of_a_head_in_their_order_are_taken(order in orders(), seen in 1..=6_usize) {
            let (head, pool) = &*HELD;
            let given = || order.iter().map(|place| &*pool[*place]);
            let is_right = order.iter().copied().eq(0..6);
            prop_assert_eq!(head.entries(given(), None).is_ok(), is_right);
            let number = u64::try_from(seen).expect("is small");
            let known = Seen { number, entry: Sha256::of(&pool[seen - 1]) };
            prop_assert_eq!(head.entries(given(), Some(known)).is_ok(), is_right);
            let forked = Seen { number, entry: Sha256::of(b"another") };
            prop_assert!(head.entries(given(), Some(forked)).is_err());
        }

        #[test]
        fn an_entry_that_is_made_is_read(reason in ".{0,220}", package in ".{0,140}", label in "[a-z]{1,2100}") {
            let version = Version::parse(&format!("1.2.3-{label}")).expect("a version");
            let made = Entry::after(None, ACME, (&package, &version), Action::Yank { reason: reason.clone() }, NOW);
            let Ok(entry) = made else {
                let long = reason.len() + package.len() + label.len() > ENTRY_BYTES_MAX / 8;
                prop_assert!(long || reason.chars().count() > REASON_CHARS_MAX);
                return Ok(());
            };
            prop_assert_eq!(Entry::parse(&entry.to_bytes().expect("writes")).expect("reads"), entry);
        }
    }

    #[test]
    fn a_step_about_owners_names_some_each_once_and_no_version() {
        let made = |owners: &[&str], former: &[&str], version: Option<&Version>| {
            let owners = owners.iter().map(ToString::to_string).collect();
            let former = former.iter().map(|name| (name.to_string(), 7)).collect();
            let action = Action::Own { after: Some(Sha256::of(b"a step")), former, owners };
            Entry::after(None, ACME, ("acme/vec", version), action, NOW)
        };
        let entry = made(&[ACME, "b.pub.trustchain"], &["c.pub.trustchain"], None).expect("a valid entry");
        let bytes = entry.to_bytes().expect("writes");
        assert_eq!(Entry::parse(&bytes).expect("reads"), entry);
        assert!(!String::from_utf8_lossy(&bytes).contains("version"));
        let version = Version::new(1, 0, 0);
        let many: Vec<String> = (0..=OWNERS_MAX).map(|number| format!("{number}.x")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(made(&many[1..], &[], None).is_ok());
        for (owners, former, version) in [
            (&[][..], &[][..], None),
            (&[ACME, ACME], &[], None),
            (&[ACME], &[ACME], None),
            (&[ACME], &[], Some(&version)),
            (&many, &[], None),
            (&[ACME], &many, None),
        ] {
            let made = made(owners, former, version);
            assert!(matches!(made, Err(FeedError::Malformed { number: 1, .. })), "{owners:?} {former:?} {version:?}");
        }
        assert!(Entry::after(None, ACME, ("acme/vec", None::<&Version>), Action::Restore, NOW).is_err());
    }

    #[test]
    fn an_entry_that_is_too_long_to_be_read_is_not_made() {
        let made = |length| {
            let version = Version::parse(&format!("1.0.0-{}", "a".repeat(length))).expect("a version");
            Entry::after(None, ACME, ("acme/vec", &version), Action::Restore, NOW)
        };
        let shortest = made(1).and_then(|entry| entry.to_bytes()).expect("is made").len();
        let longest = made(1 + ENTRY_BYTES_MAX - shortest).expect("is made");
        let bytes = longest.to_bytes().expect("writes");
        assert_eq!((bytes.len(), Entry::parse(&bytes).expect("reads")), (ENTRY_BYTES_MAX, longest));
        assert!(matches!(made(2 + ENTRY_BYTES_MAX - shortest), Err(FeedError::Malformed { number: 1, .. })));
    }
}
