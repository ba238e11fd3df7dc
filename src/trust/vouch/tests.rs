//! Releases and feeds as attackers would have them: late, withheld, rolled back, borrowed, of stolen keys.

use tempfile::TempDir;
use time::Duration;
use trustchain::falcon::FalconError;
use trustchain::feed::HEAD_LIFETIME;
use trustchain::revocation::{Entry as Revoked, Reason};

use super::*;
use crate::trust::testing::{NOW, Pki, Publisher, archive, freshness};

/// A node, a publisher with a fresh certificate, and its first release.
struct Setting {
    directory: TempDir,
    freshness: Freshness,
    pki: Pki,
    acme: Publisher,
    archive: Archive,
    statement: Statement,
}

impl Setting {
    fn new() -> Self {
        let (directory, pki) = (tempfile::tempdir().expect("a directory"), Pki::new());
        let acme = pki.publisher("acme", NOW - Duration::DAY);
        let archive = archive("acme/vec", "1.0.0");
        let statement = acme.release(&archive, NOW);
        Self { freshness: freshness(&directory), directory, pki, acme, archive, statement }
    }

    fn anchors(&mut self, at: OffsetDateTime) -> Anchors {
        self.pki.anchors(at, &[], &mut self.freshness)
    }

    fn check_feed(&mut self, feed: &FeedCopy, at: OffsetDateTime) -> Result<CheckedFeed, Fault> {
        let anchors = self.anchors(at);
        feed.check(&anchors, &mut self.freshness)
    }

    /// Judges a statement about the setting's archive with a feed, at a time.
    fn judge(&mut self, statement: &Statement, feed: Option<&FeedCopy>, at: OffsetDateTime) -> Vouched {
        self.judge_revoked(statement, feed, at, &[])
    }

    fn judge_revoked(
        &mut self,
        statement: &Statement,
        feed: Option<&FeedCopy>,
        at: OffsetDateTime,
        revoked: &[Revoked],
    ) -> Vouched {
        let anchors = self.pki.anchors(at, revoked, &mut self.freshness);
        let absent = Fault { check: Check::Freshness, violation: Violation::StaleFeed, reason: "no feed".into() };
        let feed = feed.map_or(Err(absent), |feed| feed.check(&anchors, &mut self.freshness));
        statement.check(&self.archive, feed.as_ref().map_err(Clone::clone), &anchors)
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, Fault>) -> (Check, Violation) {
    let fault = result.expect_err("is refused");
    (fault.check, fault.violation)
}

#[test]
fn a_release_in_a_fresh_feed_is_vouched_for_by_both_keys_and_the_whole_chain() {
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let feed = setting.acme.feed(&[&statement], NOW);
    let Vouched { signer, freshness } = setting.judge(&statement, Some(&feed), NOW);
    let signer = signer.expect("is vouched for");
    assert_eq!((signer.publisher.as_str(), signer.path.len()), ("acme.pub.trustchain", 3));
    assert_eq!(signer.algorithms, trustchain::hybrid::ALGORITHMS);
    assert_eq!(
        freshness.expect("is in the feed"),
        "entry 1 of 1 of `acme.pub.trustchain`, which counts until 2030-01-08T12:00:00Z"
    );
}

#[test]
fn a_head_seen_expired_stays_expired_when_the_clock_is_set_back_and_after_a_restart() {
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let feed = setting.acme.feed(&[&statement], NOW);
    setting.check_feed(&feed, NOW).expect("is fresh").note(&mut setting.freshness);
    let late = NOW + HEAD_LIFETIME + Duration::seconds(1);
    let over = (Check::Freshness, Violation::ExpiredCertificate);
    assert_eq!(kind(setting.check_feed(&feed, late)), over);
    // The lists that came with the late look are newer than the old clock, so the clock alone does not go back; what is
    // remembered of the head holds for a node that got none.
    let early = setting.pki.given(1 << 40, NOW, &[]);
    setting.freshness.save().expect("saves");
    let mut reopened = freshness(&setting.directory);
    let anchors = Anchors::read(&early, NOW, &mut reopened).expect("reads");
    assert!(anchors.now() >= late, "{}", anchors.now());
    assert!(reopened.has_passed("acme.pub.trustchain", NOW + HEAD_LIFETIME));
    assert_eq!(kind(feed.check(&anchors, &mut reopened)), over);
    // A new head of the same state opens it again.
    let head = setting.acme.head(1, Sha256::of(&feed.entries[0]), late);
    let renewed = FeedCopy { head, ..feed };
    let anchors = Anchors::read(&early, late, &mut reopened).expect("reads");
    renewed.check(&anchors, &mut reopened).expect("is fresh");
}

#[test]
fn a_head_seen_expired_stays_expired_without_any_newer_signature() {
    // The attacker holds back everything, lists included, and sets the clock on and back: no signer has said a later time.
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let feed = setting.acme.feed(&[&statement], NOW);
    let given = setting.pki.given(1, NOW, &[]);
    let mut look = |at| {
        let anchors = Anchors::read(&given, at, &mut setting.freshness).expect("reads");
        let checked = feed.check(&anchors, &mut setting.freshness);
        checked.map(|feed| feed.note(&mut setting.freshness))
    };
    look(NOW).expect("is fresh");
    let late = NOW + HEAD_LIFETIME + Duration::seconds(1);
    assert_eq!(kind(look(late)).1, Violation::ExpiredCertificate);
    assert_eq!(kind(look(NOW)).1, Violation::ExpiredCertificate, "the clock was set back");
}

#[test]
fn an_older_state_of_a_feed_is_refused_after_a_restart_too() {
    let mut setting = Setting::new();
    let (first, second) = (setting.statement.clone(), setting.acme.release(&archive("acme/vec", "1.0.1"), NOW));
    let (old, new) = (setting.acme.feed(&[&first], NOW), setting.acme.feed(&[&first, &second], NOW));
    setting.check_feed(&new, NOW).expect("is fresh").note(&mut setting.freshness);
    assert_eq!(kind(setting.check_feed(&old, NOW)), (Check::Freshness, Violation::StaleFeed));
    setting.freshness.save().expect("saves");
    setting.freshness = freshness(&setting.directory);
    assert_eq!(kind(setting.check_feed(&old, NOW)), (Check::Freshness, Violation::StaleFeed));
    let mixed = FeedCopy { head: new.head, entries: old.entries };
    assert_eq!(kind(setting.check_feed(&mixed, NOW)), (Check::Freshness, Violation::StaleFeed), "two states mixed");
}

#[test]
fn a_release_outlives_its_certificate_only_by_a_fresh_feed_of_the_same_publisher() {
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let later = NOW + Duration::days(200);
    let renewed = setting.pki.publisher("acme", later - Duration::DAY);
    let feed = renewed.feed(&[&statement], later);
    let Vouched { signer, freshness } = setting.judge(&statement, Some(&feed), later);
    assert_eq!(signer.expect("its publisher still stands for it").expires, setting.acme.leaf().validity().not_after);
    freshness.expect("is in the feed");
    let alone = setting.judge(&statement, None, later);
    assert_eq!(kind(alone.signer), (Check::Certificate, Violation::ExpiredCertificate));
    assert_eq!(kind(alone.freshness), (Check::Freshness, Violation::StaleFeed));
}

#[test]
fn a_feed_of_an_expired_or_revoked_certificate_vouches_for_nothing() {
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let revoked = [Revoked::of(setting.acme.leaf(), Reason::KeyCompromise, NOW - Duration::HOUR)];
    let feed = setting.acme.feed(&[&statement], NOW);
    let found = setting.judge_revoked(&statement, Some(&feed), NOW, &revoked);
    assert_eq!(kind(found.signer), (Check::Revocation, Violation::RevokedCertificate));
    assert_eq!(kind(found.freshness), (Check::Freshness, Violation::RevokedCertificate));
    let later = NOW + Duration::days(91);
    let expired = setting.acme.feed(&[&statement], NOW + Duration::days(88));
    let found = setting.judge(&statement, Some(&expired), later);
    assert_eq!(kind(found.signer), (Check::Certificate, Violation::ExpiredCertificate));
    assert_eq!(kind(found.freshness).0, Check::Freshness);
}

#[test]
fn a_stolen_old_key_slips_in_no_release_with_an_early_date() {
    let mut setting = Setting::new();
    let real = setting.statement.clone();
    let revoked = [Revoked::of(setting.acme.leaf(), Reason::KeyCompromise, NOW + Duration::DAY)];
    let later = NOW + Duration::days(10);
    let next = setting.pki.publisher("acme", NOW);
    let feed = next.feed(&[&real], later);
    // What was signed before the compromise goes on, for the publisher's new keys name it.
    setting.judge_revoked(&real, Some(&feed), later, &revoked).signer.expect("still counts");
    // What the thief signs now, with a date before the compromise, is in no feed, so the date counts for nothing.
    let backdated = setting.acme.release_as(&setting.archive, NOW, |release| release.tool = "thief".into());
    let found = setting.judge_revoked(&backdated, Some(&feed), later, &revoked);
    assert_eq!(kind(found.signer), (Check::Revocation, Violation::RevokedCertificate));
    assert_eq!(kind(found.freshness), (Check::Freshness, Violation::StaleFeed));
}

#[test]
fn the_feed_of_another_publisher_vouches_for_nothing() {
    // A rival with a genuine certificate lists a release that a stolen, expired key of acme signed with an early date.
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let later = NOW + Duration::days(200);
    let rival = setting.pki.publisher("rival", later - Duration::DAY);
    let feed = rival.feed(&[&statement], later);
    let found = setting.judge(&statement, Some(&feed), later);
    assert_eq!(kind(found.signer), (Check::Certificate, Violation::ExpiredCertificate));
    assert_eq!(kind(found.freshness), (Check::Freshness, Violation::StaleFeed));
    // The chain that is kept beside the envelope says rival, and the envelope brings its own.
    let inline = setting.acme.release_inline(&setting.archive, NOW);
    let disguised = Statement { chain: rival.release(&setting.archive, later).chain, ..inline };
    let found = setting.judge(&disguised, Some(&rival.feed(&[&disguised], later)), later);
    assert_eq!(kind(found.signer), (Check::Certificate, Violation::ExpiredCertificate));
    assert!(found.freshness.expect_err("is refused").reason.contains("is not the publisher's own"));
}

#[test]
fn a_statement_about_another_archive_version_or_manifest_is_refused() {
    let mut setting = Setting::new();
    let other = archive("acme/vec", "1.0.1");
    let wrong = [
        setting.acme.release(&other, NOW),
        setting.acme.release_as(&setting.archive, NOW, |release| release.version = Version::new(1, 0, 9)),
        setting.acme.release_as(&setting.archive, NOW, |release| release.package = "acme/other".into()),
        setting.acme.release_as(&setting.archive, NOW, |release| release.artifact.size_bytes += 1),
        setting.acme.release_as(&setting.archive, NOW, |release| release.artifact.sha256 = Sha256::of(b"other")),
        setting.acme.release_as(&setting.archive, NOW, |release| release.artifact.blake3 = Blake3::of(b"other")),
        setting.acme.release_as(&setting.archive, NOW, |release| release.manifest = Blake3::of(b"other")),
    ];
    for statement in wrong {
        let feed = setting.acme.feed(&[&statement], NOW);
        let found = setting.judge(&statement, Some(&feed), NOW);
        assert_eq!(kind(found.signer), (Check::Signature, Violation::InvalidSignature));
    }
}

#[test]
fn nobody_vouches_outside_its_namespace_or_below_another_root() {
    let mut setting = Setting::new();
    let rival = setting.pki.publisher("rival", NOW - Duration::DAY);
    let foreign = rival.release(&setting.archive, NOW);
    let feed = rival.feed(&[&foreign], NOW);
    let found = setting.judge(&foreign, Some(&feed), NOW);
    assert_eq!(kind(found.signer), (Check::Certificate, Violation::InvalidCertificate));
    let stranger = Pki::new().publisher("acme", NOW - Duration::DAY);
    let statement = stranger.release(&setting.archive, NOW);
    let found = setting.judge(&statement, Some(&stranger.feed(&[&statement], NOW)), NOW);
    assert_eq!(kind(found.signer), (Check::Chain, Violation::InvalidCertificate));
    assert_eq!(kind(found.freshness), (Check::Freshness, Violation::StaleFeed));
}

#[test]
fn without_fresh_revocation_lists_nothing_is_believed_and_the_reason_says_which() {
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let later = NOW + Duration::days(31);
    let stale = setting.pki.given(1, NOW, &[]);
    let anchors = Anchors::read(&stale, later, &mut setting.freshness).expect("reads");
    let absent = Fault { check: Check::Freshness, violation: Violation::StaleFeed, reason: "no feed".into() };
    let fault = statement.check(&setting.archive, Err(absent), &anchors).signer.expect_err("is refused");
    assert_eq!((fault.check, fault.violation), (Check::Revocation, Violation::InvalidCertificate));
    assert!(fault.reason.contains("revocation list `1` expired"), "{}", fault.reason);
}

#[test]
fn a_feed_leaps_forward_only_with_every_entry_and_takes_no_clock_along() {
    // Whoever has stolen a key could sign a head of the highest number, so that every genuine one after it is taken for old.
    let mut setting = Setting::new();
    let statement = setting.statement.clone();
    let real = setting.acme.feed(&[&statement], NOW);
    for leap in [2, trustchain::feed::ENTRIES_MAX, u64::MAX >> 11] {
        let head = setting.acme.head(leap, Sha256::of(b"entry"), NOW);
        let forged = FeedCopy { head, entries: real.entries.clone() };
        assert_eq!(kind(setting.check_feed(&forged, NOW)), (Check::Freshness, Violation::StaleFeed), "{leap}");
    }
    // Nor does a time in the future become the clock of this node.
    let ahead = setting.acme.feed(&[&statement], NOW + Duration::DAY);
    assert_eq!(kind(setting.check_feed(&ahead, NOW)), (Check::Freshness, Violation::StaleFeed));
    setting.check_feed(&real, NOW).expect("nothing of that was remembered").note(&mut setting.freshness);
    assert_eq!(setting.freshness.now(NOW), NOW);
}

#[test]
fn a_release_is_signed_and_judged_on_the_stack_of_an_ordinary_thread() {
    // An overflow of the stack ends the host; extensions verify on threads of 2 MiB.
    let work = || {
        let mut setting = Setting::new();
        let statement = setting.statement.clone();
        let feed = setting.acme.feed(&[&statement], NOW);
        setting.judge(&statement, Some(&feed), NOW).signer.expect("is vouched for");
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn every_fault_of_a_path_has_its_check_and_its_violation() {
    use Check::{Certificate, Chain, PostQuantum, Revocation};
    use Violation::{ExpiredCertificate, InvalidCertificate, RevokedCertificate};
    let anchors = Setting::new().anchors(NOW);
    let text = || "CN=x".to_owned();
    let cases = [
        (PathError::Expired { subject: text(), not_after: NOW }, Certificate, ExpiredCertificate),
        (PathError::NotYetValid { subject: text(), not_before: NOW }, Certificate, InvalidCertificate),
        (PathError::Revoked { subject: text() }, Revocation, RevokedCertificate),
        (PathError::RevocationUnknown { subject: text() }, Revocation, InvalidCertificate),
        (PathError::RevocationStale { next_update: NOW }, Revocation, InvalidCertificate),
        (PathError::RevocationForged, Revocation, InvalidCertificate),
        (
            PathError::WrongUsage { subject: text(), purpose: trustchain::certificate::Purpose::Node },
            Certificate,
            InvalidCertificate,
        ),
        (PathError::OutsideNamespace { subject: text(), names: text() }, Certificate, InvalidCertificate),
        (PathError::UnknownCritical { subject: text(), oid: text() }, Certificate, InvalidCertificate),
        (PathError::Profile { subject: text(), reason: "x" }, Certificate, InvalidCertificate),
        (PathError::ClassicalOnly { subject: text() }, PostQuantum, InvalidCertificate),
        (
            PathError::AlternativeForged { subject: text(), issuer: text(), source: FalconError::Forged },
            PostQuantum,
            InvalidCertificate,
        ),
        (PathError::Forged { subject: text(), issuer: text() }, Chain, InvalidCertificate),
        (PathError::UnknownIssuer { subject: text(), issuer: text() }, Chain, InvalidCertificate),
        (PathError::TooLong { subject: text() }, Chain, InvalidCertificate),
        (PathError::TooManyIntermediates { actual: 7 }, Chain, InvalidCertificate),
        (PathError::WrongRole { subject: text(), reason: "x" }, Chain, InvalidCertificate),
    ];
    for (error, check, violation) in cases {
        let shown = error.to_string();
        let fault = of_envelope(&EnvelopeError::Untrusted(error), &anchors);
        assert_eq!((fault.check, fault.violation), (check, violation), "{shown}");
    }
}
