//! What comes into a ledger, what does not, and what registry it makes.

use time::Duration;

use super::*;
use crate::archive::{self, Archive};
use crate::digest::Digest;
use crate::mesh::{MeshDocuments, feed_record, release_record};
use crate::remote::{Documents, Fetched, PackageDocument};
use crate::trust::freshness::Freshness;
use crate::trust::testing::{NOW, Pki, Publisher, freshness};
use crate::trust::vouch::Statement;

/// A node: its ledger, and what it believes.
struct Node {
    ledger: Arc<Ledger>,
    freshness: Freshness,
    _directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::open(&directory.path().join("mesh.sqlite")).expect("opens");
        Self { ledger: Arc::new(ledger), freshness: freshness(&directory), _directory: directory }
    }

    fn offer(&mut self, record: &[u8], pki: &Pki, at: OffsetDateTime) -> Verdict {
        let anchors = pki.anchors(at, &[], &mut self.freshness);
        self.ledger.offer(record, &anchors).expect("the database works")
    }

    fn package(&self, name: &str) -> Option<PackageDocument> {
        let documents = MeshDocuments::new(Arc::clone(&self.ledger));
        match documents.package(&name.parse().expect("a name"), None).expect("reads") {
            Fetched::Found { value, .. } => Some(value),
            Fetched::Absent => None,
            Fetched::Unchanged => panic!("nothing was known"),
        }
    }
}

fn archive(version: &str) -> Archive {
    let manifest =
        format!(r#"{{"metadata":{{"name":"acme/vec","version":"{version}"}},"spec":{{"type":"lua-library"}}}}"#);
    archive::pack(manifest.as_bytes(), &[]).expect("packs")
}

/// What a publisher has said: two releases of one package, and the records that tell of them.
struct Told {
    publisher: Publisher,
    archives: [Archive; 2],
    statements: [Statement; 2],
    feed: FeedCopy,
}

impl Told {
    fn new(pki: &Pki) -> Self {
        let publisher = pki.publisher("acme", NOW - Duration::days(1));
        let archives = ["1.0.0", "1.0.1"].map(archive);
        let statements = [0, 1].map(|index| publisher.release(&archives[index], NOW));
        let feed = publisher.feed(&statements.iter().collect::<Vec<_>>(), NOW);
        Self { publisher, archives, statements, feed }
    }

    fn release(&self, index: usize) -> Vec<u8> {
        let (archive, statement) = (&self.archives[index], &self.statements[index]);
        let offer = self.publisher.offer(archive, statement, NOW);
        release_record(&offer, &statement.envelope, &statement.chain, archive.manifest()).expect("fits")
    }

    fn steps(&self) -> Vec<u8> {
        feed_record(Some(&self.feed.head), &self.feed.entries).expect("fits")
    }
}

fn accepted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accepted(_))
}

#[test]
fn releases_come_in_when_a_step_names_them_and_make_a_registry() {
    let (pki, mut node) = (Pki::new(), Node::new());
    let told = Told::new(&pki);
    assert_eq!(node.offer(&told.release(0), &pki, NOW), Verdict::Later, "nothing names it");
    assert!(accepted(&node.offer(&told.steps(), &pki, NOW)));
    assert_eq!(node.offer(&told.steps(), &pki, NOW), Verdict::Known);
    assert_eq!(node.package("acme/vec"), None);
    for index in [1, 0] {
        assert!(accepted(&node.offer(&told.release(index), &pki, NOW)));
    }
    let document = node.package("acme/vec").expect("is there");
    let versions: Vec<String> = document.releases.iter().map(|release| release.version.to_string()).collect();
    assert_eq!(versions, ["1.0.0", "1.0.1"]);
    let offered = &document.releases[0];
    assert_eq!((offered.blob, &offered.digests), (told.archives[0].blob(), &told.archives[0].digests()));
    let statement = offered.statement.as_ref().expect("is signed");
    let documents = MeshDocuments::new(Arc::clone(&node.ledger));
    assert_eq!(documents.chain(statement.chain).expect("is there"), told.statements[0].chain);
    let bytes = serde_json::to_vec(&document).expect("writes");
    PackageDocument::read(&bytes, &document.name).expect("is what registries write");
    let count = node.ledger.count().expect("counts");
    assert_eq!((count.records, count.publishers, count.packages, count.releases), (3, 1, 1, 2));
    let listed = node.ledger.list().expect("lists");
    assert_eq!(listed.len(), 3);
    let bytes = node.ledger.get(&listed[0].id).expect("reads").expect("is there");
    assert_eq!(*blake3::hash(&bytes).as_bytes(), listed[0].id);
}

#[test]
fn a_feed_fills_up_backwards_from_its_newest_step_and_by_no_other_way() {
    let (pki, mut node) = (Pki::new(), Node::new());
    let told = Told::new(&pki);
    let earlier = feed_record(None, &told.feed.entries[..1]).expect("fits");
    let newest = feed_record(Some(&told.feed.head), &told.feed.entries[1..]).expect("fits");
    assert_eq!(node.offer(&earlier, &pki, NOW), Verdict::Later, "nobody stands for it yet");
    assert!(accepted(&node.offer(&newest, &pki, NOW)));
    assert_eq!(node.ledger.feed("acme.pub.trustchain").expect("reads"), None, "there is a gap");
    assert!(accepted(&node.offer(&earlier, &pki, NOW)), "the step after it names it");
    assert_eq!(node.ledger.feed("acme.pub.trustchain").expect("reads"), Some(told.feed));
}

#[test]
fn what_an_expired_head_says_counts_for_the_sake_of_a_later_one() {
    let (pki, mut node) = (Pki::new(), Node::new());
    let told = Told::new(&pki);
    let late = NOW + Duration::days(20);
    assert_eq!(node.offer(&told.steps(), &pki, late), Verdict::Later, "its head is over");
    let digest = Sha256::of(&told.feed.entries[1]);
    let renewed = feed_record(Some(&told.publisher.head(2, digest, late)), &[]).expect("fits");
    assert!(accepted(&node.offer(&renewed, &pki, late)));
    assert!(accepted(&node.offer(&told.steps(), &pki, late)), "a head that counts is of its last step");
    let again = feed_record(Some(&told.publisher.head(2, digest, late + Duration::days(1))), &[]).expect("fits");
    assert!(accepted(&node.offer(&again, &pki, late + Duration::days(1))));
    assert!(!node.ledger.holds(blake3::hash(&renewed).as_bytes()).expect("reads"), "the newer took its place");
    assert_eq!(node.offer(&renewed, &pki, late + Duration::days(1)), Verdict::Known);
}

#[test]
fn a_fork_is_refused_and_kept_as_evidence() {
    let (pki, mut node) = (Pki::new(), Node::new());
    let told = Told::new(&pki);
    assert!(accepted(&node.offer(&told.steps(), &pki, NOW)));
    let other = told.publisher.release(&archive("9.0.0"), NOW);
    let forked = told.publisher.feed(&[&other], NOW);
    let verdict = node.offer(&feed_record(Some(&forked.head), &forked.entries).expect("fits"), &pki, NOW);
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    let forks = node.ledger.forks().expect("reads");
    assert_eq!((forks[0].publisher.as_str(), forks[0].number), ("acme.pub.trustchain", 1));
    assert_eq!(node.ledger.feed("acme.pub.trustchain").expect("reads"), Some(told.feed), "the first stays");
}

#[test]
fn strangers_thieves_and_forgers_are_refused() {
    let (pki, mut node) = (Pki::new(), Node::new());
    let told = Told::new(&pki);
    let stranger = Told::new(&Pki::new());
    assert!(matches!(node.offer(&stranger.steps(), &pki, NOW), Verdict::Refused(_)), "another root");
    assert!(accepted(&node.offer(&told.steps(), &pki, NOW)));
    assert_eq!(node.offer(&stranger.release(0), &pki, NOW), Verdict::Later, "no step names it");
    // An offer by somebody else of what a step names.
    let thief = pki.publisher("thief", NOW);
    let offer = thief.offer(&told.archives[0], &told.statements[0], NOW);
    let statement = &told.statements[0];
    let stolen = release_record(&offer, &statement.envelope, &statement.chain, told.archives[0].manifest());
    assert_eq!(node.offer(&stolen.expect("fits"), &pki, NOW), Verdict::Later, "no step of the thief names it");
    // An envelope with one byte changed.
    let mut forged = told.release(0);
    let at = forged.windows(7).position(|window| window == b"payload").expect("has one") + 60;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    assert!(matches!(node.offer(&forged, &pki, NOW), Verdict::Refused(_)));
    for wrong in [&b"{}"[..], b"[]", br#"{"kind":"feed","format":2,"head":null,"entries":[]}"#, &[0; 300_000]] {
        assert!(matches!(node.offer(wrong, &pki, NOW), Verdict::Refused(_)));
    }
    assert_eq!(node.ledger.count().expect("counts").records, 1);
}

#[test]
fn of_two_offers_of_one_release_every_node_keeps_the_same() {
    let pki = Pki::new();
    let told = Told::new(&pki);
    let offers = [told.release(0), told.release(0)];
    assert_ne!(offers[0], offers[1], "signatures are random");
    let kept = [[0, 1], [1, 0]].map(|order| {
        let mut node = Node::new();
        assert!(accepted(&node.offer(&told.steps(), &pki, NOW)));
        for index in order {
            node.offer(&offers[index], &pki, NOW);
        }
        assert_eq!(node.ledger.count().expect("counts").releases, 1);
        let ids: Vec<RecordId> = node.ledger.list().expect("lists").iter().map(|listed| listed.id).collect();
        ids
    });
    assert_eq!(kept[0], kept[1]);
}

#[test]
fn of_two_publishers_of_a_name_the_first_has_it_everywhere() {
    let (pki, mut node) = (Pki::new(), Node::new());
    let (mut told, rival) = (Told::new(&pki), pki.publisher("rival", NOW - Duration::days(1)));
    told.statements[0] = told.publisher.release(&told.archives[0], NOW - Duration::hours(1));
    told.feed = told.publisher.feed(&told.statements.iter().collect::<Vec<_>>(), NOW);
    let archive = archive("1.0.0");
    let statement = rival.release(&archive, NOW);
    let feed = rival.feed(&[&statement], NOW);
    let offer = rival.offer(&archive, &statement, NOW);
    let release = release_record(&offer, &statement.envelope, &statement.chain, archive.manifest()).expect("fits");
    let steps = feed_record(Some(&feed.head), &feed.entries).expect("fits");
    for record in [steps, release, told.steps(), told.release(0)] {
        assert!(accepted(&node.offer(&record, &pki, NOW)));
    }
    let document = node.package("acme/vec").expect("is there");
    assert_eq!(document.releases.len(), 1);
    let chain = document.releases[0].statement.as_ref().expect("is signed").chain;
    assert_eq!(chain, Digest::of(told.statements[0].chain.as_bytes()));
}

/// Gives the next step of a feed, and the whole of it as a record.
fn said(publisher: &Publisher, feed: &mut Vec<Entry>, version: Option<&str>, action: Action) -> Vec<u8> {
    let version = version.map(|version| version.parse().expect("a version"));
    let domain = trustchain::feed::publisher_of(publisher.leaf()).expect("a domain");
    feed.push(Entry::after(feed.last(), domain, ("acme/vec", version.as_ref()), action, NOW).expect("an entry"));
    let newest = feed.last().expect("was just put there");
    let head = publisher.head(newest.number, newest.digest().expect("a digest"), NOW);
    let bytes: Vec<Vec<u8>> = feed.iter().map(|entry| entry.to_bytes().expect("writes")).collect();
    feed_record(Some(&head), &bytes).expect("fits")
}

#[test]
fn every_node_knows_the_owners_of_a_name_whatever_comes_first() {
    let pki = Pki::new();
    let first = pki.publisher("acme", NOW - Duration::days(1));
    let friend = pki.publisher_of(&["friend", "acme"], NOW - Duration::days(1));
    let archives = ["1.0.0", "1.0.1", "1.0.2", "1.0.3"].map(archive);
    let by = [&first, &friend, &friend, &first];
    let statements: Vec<Statement> =
        (0..4).map(|at| by[at].release(&archives[at], NOW - Duration::hours(9 - at as i64))).collect();
    let releases: Vec<Vec<u8>> = (0..4)
        .map(|at| {
            let (archive, statement) = (&archives[at], &statements[at]);
            let offer = by[at].offer(archive, statement, NOW);
            release_record(&offer, &statement.envelope, &statement.chain, archive.manifest()).expect("fits")
        })
        .collect();
    let publish = |at: usize| Action::Publish { release: Sha256::of(&statements[at].envelope) };
    let own = |publishers: &[&str], former: &[(&str, u64)], after: Option<&Entry>| Action::Own {
        after: after.map(|entry| entry.digest().expect("a digest")),
        former: former.iter().map(|(name, last)| (name.to_string(), *last)).collect(),
        owners: publishers.iter().map(ToString::to_string).collect(),
    };
    let (acme, theirs) = ("acme.pub.trustchain", "friend.pub.trustchain");
    let (mut of_first, mut of_friend) = (Vec::new(), Vec::new());
    said(&first, &mut of_first, Some("1.0.0"), publish(0));
    let stranger = said(&friend, &mut of_friend, Some("1.0.1"), publish(1));
    let added = said(&first, &mut of_first, None, own(&[acme, theirs], &[], None));
    let before: Vec<Vec<u8>> = vec![stranger, added, releases[0].clone(), releases[1].clone()];
    let step = of_first[1].clone();
    said(&first, &mut of_first, None, own(&[acme], &[(theirs, 1)], Some(&step)));
    let removed = said(&first, &mut of_first, Some("1.0.3"), publish(3));
    let late = said(&friend, &mut of_friend, Some("1.0.2"), publish(2));
    let after: Vec<Vec<u8>> = vec![removed, late, releases[2].clone(), releases[3].clone()];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]] {
        let mut node = Node::new();
        let versions = |node: &Node| -> Vec<String> {
            let document = node.package("acme/vec");
            document.into_iter().flat_map(|it| it.releases).map(|release| release.version.to_string()).collect()
        };
        let offer_all = |node: &mut Node, records: &[Vec<u8>]| {
            // What is to come later is offered again, as nodes do.
            for _ in 0..2 {
                order.iter().for_each(|at| drop(node.offer(&records[*at], &pki, NOW)));
            }
        };
        offer_all(&mut node, &before);
        assert_eq!(versions(&node), ["1.0.0", "1.0.1"], "{order:?}");
        offer_all(&mut node, &after);
        assert_eq!(versions(&node), ["1.0.0", "1.0.1", "1.0.3"], "{order:?}: what came after the removal is nobody's");
    }
}
