//! What a publisher vouches for: its feed, and one release in it, checked down to the roots of this node.
//!
//! The feed is looked at first and at the present time. A release that a fresh feed names is judged at the time of its own
//! signing: the publisher, whose certificate is valid now, still stands for it, so it outlives the certificate it was signed
//! under, and a stolen old key cannot slip in a release with an early date. A release that no fresh feed names is judged at
//! the present.

use std::collections::BTreeMap;
use std::error::Error;

use semver::Version;
use time::OffsetDateTime;
use trustchain::certificate::{Certificate, from_pem};
use trustchain::digest::{Artifact, Blake3, Sha256};
use trustchain::envelope::{ChainReference, Envelope, EnvelopeError, VerifiedRelease, VerifyOptions};
use trustchain::feed::{Action, Entry, FeedError, HEAD_LIFETIME, VerifiedHead, publisher_of};
use trustchain::owners::OwnerStep;
use trustchain::path::PathError;
use trustchain::signer::PublicKeys;

use super::anchors::Anchors;
use super::freshness::Freshness;
use super::policy::{Check, Fault, Signer, Violation};
use crate::archive::Archive;
use crate::digest::Digest;
use crate::package::name::PackageName;

/// A signed release statement as it is kept: with its signer's chain apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The envelope.
    pub envelope: Vec<u8>,
    /// The signer's certificate and the authorities above it but the root, in PEM, leaf first.
    pub chain: String,
}

/// A feed as it is kept or was received: nobody has checked it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedCopy {
    /// The signed head.
    pub head: Vec<u8>,
    /// Every entry from the first on.
    pub entries: Vec<Vec<u8>>,
}

/// A feed that its publisher vouches for, and that is fresh.
#[derive(Debug)]
pub struct CheckedFeed {
    head: VerifiedHead,
    entries: Vec<Entry>,
    /// The number of the entry of each release statement, by its SHA-256.
    releases: BTreeMap<Sha256, u64>,
    /// What it says about the owners of packages, by package.
    owners: BTreeMap<String, Vec<OwnerStep>>,
}

/// What a statement must be about: an archive, or what a registry says of one that is not here yet.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The package.
    pub name: &'a PackageName,
    /// Its version.
    pub version: &'a Version,
    /// The digest of the tar.
    pub digest: Digest,
    /// The SHA-256 of the tar in hexadecimal.
    pub sha256: &'a str,
    /// Size of the tar in bytes.
    pub tar_bytes: u64,
    /// The manifest in canonical form.
    pub manifest: &'a [u8],
}

/// What was found out about a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Who stands for it, or what is wrong.
    pub signer: Result<Signer, Fault>,
    /// Where it stands in its publisher's feed, or what is wrong with that.
    pub freshness: Result<String, Fault>,
}

impl FeedCopy {
    /// Checks the feed against the roots, the present, and what was seen of it before. What was found is to be noted with
    /// [`CheckedFeed::note`] by who acts on it; that a head is over is noted here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, anchors: &Anchors, freshness: &mut Freshness) -> Result<CheckedFeed, Fault> {
        let checked = self.checked(anchors.now(), anchors, freshness).and_then(|(head, entries)| {
            let (publisher, expires) = (head.head().publisher.clone(), head.head().expires);
            if freshness.has_passed(&publisher, expires) {
                return Err(FeedError::Expired { publisher, expires });
            }
            CheckedFeed::new(head, entries)
        });
        if let Err(FeedError::Expired { publisher, expires }) = &checked {
            freshness.saw_passed(publisher, *expires);
        }
        checked.map_err(|error| match &error {
            FeedError::Expired { .. } => fault(Check::Freshness, Violation::ExpiredCertificate, &error),
            FeedError::Document(EnvelopeError::Untrusted(PathError::Revoked { .. })) => {
                fault(Check::Freshness, Violation::RevokedCertificate, &error)
            }
            _ => fault(Check::Freshness, Violation::StaleFeed, &error),
        })
    }

    /// Checks the feed at the time when its head was signed, for what lasts longer than a head: to whom packages belong. A feed
    /// that was rolled back or never counted says nothing about that either, one that is over still does: a publisher that is
    /// gone must not take its packages with it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_lasting(&self, anchors: &Anchors, freshness: &Freshness) -> Result<CheckedFeed, FeedError> {
        let claimed =
            trustchain::document::Document::<trustchain::feed::Head>::parse(&self.head, trustchain::feed::HEAD_KIND)?;
        let at = (claimed.claimed().expires - HEAD_LIFETIME).min(anchors.now());
        let (head, entries) = self.checked(at, anchors, freshness)?;
        CheckedFeed::new(head, entries)
    }

    fn checked(
        &self,
        at: OffsetDateTime,
        anchors: &Anchors,
        freshness: &Freshness,
    ) -> Result<(VerifiedHead, Vec<Entry>), FeedError> {
        let claimed =
            trustchain::document::Document::<trustchain::feed::Head>::parse(&self.head, trustchain::feed::HEAD_KIND)?;
        let seen = freshness.feed(&claimed.claimed().publisher);
        let head = VerifiedHead::verify(&self.head, &options(anchors, None, at), seen)?;
        let entries = head.entries(self.entries.iter().map(Vec::as_slice), seen)?;
        Ok((head, entries))
    }
}

impl CheckedFeed {
    fn new(head: VerifiedHead, entries: Vec<Entry>) -> Result<Self, FeedError> {
        let releases = entries.iter().filter_map(|entry| match entry.action {
            Action::Publish { release } => Some((release, entry.number)),
            _ => None,
        });
        let releases = releases.collect();
        let mut owners: BTreeMap<String, Vec<OwnerStep>> = BTreeMap::new();
        for entry in &entries {
            if let Some(step) = OwnerStep::of(entry)? {
                owners.entry(entry.package.clone()).or_default().push(step);
            }
        }
        Ok(Self { head, entries, releases, owners })
    }

    /// Gives the publisher's domain.
    pub fn publisher(&self) -> &str {
        &self.head.head().publisher
    }

    /// Says when it stops to count.
    pub fn expires(&self) -> OffsetDateTime {
        self.head.head().expires
    }

    /// Gives its entries, the first one first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives the newest entry.
    pub fn newest(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// Notes that this state of the feed was seen.
    pub fn note(&self, freshness: &mut Freshness) {
        freshness.saw_feed(&self.head);
    }

    /// Gives what it says about the owners of a package, in its order.
    pub fn owner_steps(&self, package: &PackageName) -> &[OwnerStep] {
        self.owners.get(package.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Gives the packages about whose owners it says something, each with every owner that it names.
    pub fn owners_named(&self) -> impl Iterator<Item = (&str, &str)> {
        self.owners.iter().flat_map(|(package, steps)| {
            steps.iter().flat_map(OwnerStep::owners).map(move |owner| (package.as_str(), owner.as_str()))
        })
    }

    /// Gives the number of the entry that names a release statement.
    pub fn find(&self, envelope: &[u8]) -> Option<u64> {
        self.releases.get(&Sha256::of(envelope)).copied()
    }
}

impl Statement {
    /// Checks that a publisher vouches for an archive. Takes about half a millisecond.
    ///
    /// A feed counts for the releases of its own publisher only: another one, with a genuine certificate and a feed of its own,
    /// could otherwise lend its word to a release that an old key signed.
    pub fn check(&self, archive: &Archive, feed: Result<&CheckedFeed, Fault>, anchors: &Anchors) -> Vouched {
        self.check_subject(&Subject::of(archive), feed, anchors)
    }

    /// As [`Self::check`], for a release whose archive is not here: that the archive is the one described remains to be seen.
    pub fn check_subject(
        &self,
        subject: &Subject<'_>,
        feed: Result<&CheckedFeed, Fault>,
        anchors: &Anchors,
    ) -> Vouched {
        let stale = |reason: String| Fault { check: Check::Freshness, violation: Violation::StaleFeed, reason };
        let (envelope, chain) = match self.read(anchors) {
            Ok(read) => read,
            Err(fault) => {
                return Vouched { signer: Err(fault), freshness: Err(stale("what was signed cannot be read".into())) };
            }
        };
        let publisher = chain.first().and_then(publisher_of);
        let freshness = feed.and_then(|feed| {
            let of = feed.publisher();
            if publisher != Some(of) {
                return Err(stale(format!("the feed of `{of}` is not the publisher's own")));
            }
            let number = feed.find(&self.envelope);
            let number = number.ok_or_else(|| stale(format!("the feed of `{of}` does not name this release")))?;
            let (newest, expires) = (feed.newest().map_or(0, |entry| entry.number), shown(feed.expires()));
            Ok(format!("entry {number} of {newest} of `{of}`, which counts until {expires}"))
        });
        let now = anchors.now();
        let at = if freshness.is_ok() { envelope.claimed().signed_at.min(now) } else { now };
        Vouched { signer: signer(&envelope, &chain, at, subject, anchors), freshness }
    }

    /// Gives the envelope and the chain by which it is judged, whichever of the two ways that chain travels.
    fn read(&self, anchors: &Anchors) -> Result<(Envelope, Vec<Certificate>), Fault> {
        let envelope = Envelope::parse(&self.envelope).map_err(|error| of_envelope(&error, anchors))?;
        let chain = match envelope.chain() {
            ChainReference::Inline(chain) => chain.clone(),
            ChainReference::Digest(_) => from_pem(self.chain.as_bytes())
                .map_err(|error| fault(Check::Certificate, Violation::InvalidCertificate, &error))?,
        };
        Ok((envelope, chain))
    }
}

/// Checks an envelope at a time, and gives who signed it.
fn signer(
    envelope: &Envelope,
    chain: &[Certificate],
    at: OffsetDateTime,
    subject: &Subject<'_>,
    anchors: &Anchors,
) -> Result<Signer, Fault> {
    let release = envelope.verify(&options(anchors, Some(chain), at)).map_err(|e| of_envelope(&e, anchors))?;
    expect(&release, subject)?;
    let leaf = release.signer();
    let publisher = publisher_of(leaf).ok_or_else(|| Fault {
        check: Check::Certificate,
        violation: Violation::InvalidCertificate,
        reason: format!("the certificate of `{}` speaks for no domain", leaf.subject()),
    })?;
    Ok(Signer {
        publisher: publisher.to_owned(),
        subject: leaf.subject().to_owned(),
        path: release.chain().certificates().iter().map(|c| c.subject().to_owned()).collect(),
        keys: PublicKeys::of(leaf).fingerprint().to_string(),
        expires: leaf.validity().not_after,
        algorithms: release.chain().algorithms().to_vec(),
        signed_at: release.release().signed_at,
    })
}

impl<'a> Subject<'a> {
    /// Describes an archive.
    pub fn of(archive: &'a Archive) -> Self {
        Self {
            name: archive.name(),
            version: archive.version(),
            digest: archive.digest(),
            sha256: archive.sha256(),
            tar_bytes: archive.tar_bytes(),
            manifest: archive.manifest(),
        }
    }

    /// Gives what identifies the archive in a statement.
    pub(super) fn artifact(&self) -> Option<Artifact> {
        Some(Artifact {
            size_bytes: self.tar_bytes,
            sha256: self.sha256.parse().ok()?,
            blake3: Blake3::from_bytes(*self.digest.as_bytes()),
        })
    }
}

fn expect(release: &VerifiedRelease, subject: &Subject<'_>) -> Result<(), Fault> {
    let wrong = |reason: String| Fault { check: Check::Signature, violation: Violation::InvalidSignature, reason };
    let stated = release.release();
    let actual = format!("{}@{}", subject.name, subject.version);
    if stated.to_string() != actual {
        return Err(wrong(format!("its publisher vouches for `{stated}`, and the archive holds `{actual}`")));
    }
    let artifact = subject.artifact().ok_or_else(|| wrong("the archive has no SHA-256".into()))?;
    release.expect_artifact(&artifact).map_err(|error| wrong(told(&error)))?;
    if stated.manifest != Blake3::of(subject.manifest) {
        return Err(wrong("its publisher vouches for another manifest".into()));
    }
    Ok(())
}

fn options<'a>(anchors: &'a Anchors, chain: Option<&'a [Certificate]>, at: OffsetDateTime) -> VerifyOptions<'a> {
    VerifyOptions { roots: anchors.roots(), chain, at, revocation: anchors.revocation() }
}

fn of_envelope(error: &EnvelopeError, anchors: &Anchors) -> Fault {
    use Check::{Certificate, Chain, PostQuantum, Revocation, Signature};
    use Violation::{ExpiredCertificate, InvalidCertificate, InvalidSignature, RevokedCertificate};
    let (check, violation) = match error {
        EnvelopeError::Untrusted(path) => match path {
            PathError::Expired { .. } => (Certificate, ExpiredCertificate),
            PathError::Revoked { .. } => (Revocation, RevokedCertificate),
            PathError::RevocationUnknown { .. } | PathError::RevocationStale { .. } | PathError::RevocationForged => {
                (Revocation, InvalidCertificate)
            }
            PathError::ClassicalOnly { .. } | PathError::AlternativeForged { .. } => (PostQuantum, InvalidCertificate),
            PathError::NotYetValid { .. }
            | PathError::WrongUsage { .. }
            | PathError::OutsideNamespace { .. }
            | PathError::UnknownCritical { .. }
            | PathError::Profile { .. } => (Certificate, InvalidCertificate),
            _ => (Chain, InvalidCertificate),
        },
        EnvelopeError::ClassicalSigner { .. } => (PostQuantum, InvalidSignature),
        EnvelopeError::OutsideNamespace { .. }
        | EnvelopeError::SignedAt { .. }
        | EnvelopeError::Ahead { .. }
        | EnvelopeError::Certificate { .. } => (Certificate, InvalidCertificate),
        EnvelopeError::Chain { .. } | EnvelopeError::OtherSigner { .. } => (Chain, InvalidCertificate),
        _ => (Signature, InvalidSignature),
    };
    let mut fault = fault(check, violation, error);
    if check == Revocation && !anchors.refused().is_empty() {
        fault.reason = format!("{} ({})", fault.reason, anchors.refused().join("; "));
    }
    fault
}

fn fault(check: Check, violation: Violation, error: &dyn Error) -> Fault {
    Fault { check, violation, reason: told(error) }
}

/// Gives an error with its causes.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn shown(time: OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests;
