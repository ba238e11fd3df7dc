//! Members: what they get, what is renewed for them, and what they refuse.

use std::os::unix::fs::MetadataExt as _;

use tempfile::TempDir;
use trustchain::certificate::{IntermediateOptions, Validity};
use trustchain::revocation::Reason;

use super::super::record::{RECORDS_MAX, Record, Revoked};
use super::super::{InitOptions, Verdict};
use super::*;

struct Cluster {
    _home: TempDir,
    authority: TrustHome,
    unlock: Unlock,
}

impl Cluster {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        let unlock = Unlock::key_file();
        let authority = TrustHome::init(home.path(), &InitOptions::default(), &unlock).expect("makes certificates");
        Self { _home: home, authority, unlock }
    }

    fn membership(&self, home: &TempDir, name: &str) -> Result<Membership, TrustError> {
        let application = TrustHome::apply(home.path(), name, &self.unlock)?;
        self.authority.admit(name, &application, KeyKind::Usual, &self.unlock)
    }

    fn join(&self, name: &str) -> (TempDir, TrustHome) {
        let home = empty();
        let membership = self.membership(&home, name).expect("is admitted");
        let trust = TrustHome::take(home.path(), &membership, &self.unlock).expect("is taken");
        (home, trust)
    }

    fn update(&self, home: &TempDir, name: &str) -> Result<TrustHome, TrustError> {
        let membership = self.authority.membership(name, &self.unlock).expect("is a member");
        TrustHome::take(home.path(), &membership, &self.unlock)
    }
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn fault(home: &TempDir, of: &TrustHome, name: &str) -> Option<&'static str> {
    let chain = of.chain(name).expect("is there");
    let ders: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    match Verdict::by_home(home.path(), &ders, None, None, now(), now()).expect("believes somebody") {
        Verdict::Success { .. } => None,
        Verdict::Failure { fault, .. } => Some(fault),
    }
}

#[test]
fn members_believe_each_other_and_issue_nothing() {
    let cluster = Cluster::new();
    let ((home, one), (_other_home, other)) = (cluster.join("n1"), cluster.join("n2"));
    for (of, name) in [(&one, NODE), (&one, DEFAULT_PUBLISHER), (&other, NODE), (&other, DEFAULT_PUBLISHER)] {
        assert_eq!(fault(&home, of, name), None, "{name}");
    }
    let names: Vec<String> =
        other.chain(DEFAULT_PUBLISHER).expect("is there")[0].names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["n2.pub.trustchain"]);
    assert_eq!(one.cluster().expect("reads"), cluster.authority.cluster().expect("reads"));
    assert_eq!(one.crls(Purpose::Node).expect("reads").len(), 2);
    assert!(one.keep_fresh(&cluster.unlock).expect("what is due is another home's").is_empty());
    let issued = one.issue(&IssueOptions::new(Purpose::Publisher, "mine"), &cluster.unlock);
    assert!(matches!(issued, Err(TrustError::KeysElsewhere { .. })), "{issued:?}");
    let revoked = one.revoke(NODE, Reason::Superseded, None, &cluster.unlock);
    assert!(matches!(revoked, Err(TrustError::KeysElsewhere { .. })), "{revoked:?}");
    let signer = one.signer(DEFAULT_PUBLISHER, cluster.unlock.clone()).expect("is there");
    signer.seal("kind", &1, now()).expect("its own keys sign");
    assert!(matches!(TrustHome::apply(home.path(), "n9", &cluster.unlock), Err(TrustError::Initialized { .. })));
    assert!(matches!(cluster.membership(&empty(), "n1"), Err(TrustError::Taken { .. })));
    assert!(matches!(cluster.authority.membership("n3", &cluster.unlock), Err(TrustError::Unknown { .. })));
}

#[test]
fn a_member_proves_both_keys_if_its_authority_wants_that() {
    let cluster = Cluster::new();
    let home = empty();
    let application = TrustHome::apply(home.path(), "n1", &cluster.unlock).expect("asks");
    let admitted = cluster.authority.admit("n1", &application, KeyKind::Hybrid, &cluster.unlock).expect("is admitted");
    let trust = TrustHome::take(home.path(), &admitted, &cluster.unlock).expect("is taken");
    let node = trust.signer(NODE, cluster.unlock).expect("is there");
    let signature = node.sign_post_quantum(b"m").expect("signs");
    node.certificate().keys().expect("names both").falcon.verify(b"m", &signature).expect("is right");
    assert_eq!(fault(&home, &trust, NODE), None);
}

#[test]
fn what_is_due_is_renewed_for_a_member_until_it_is_revoked() {
    let cluster = Cluster::new();
    let ((home, trust), (other_home, _)) = (cluster.join("n1"), cluster.join("n2"));
    let serial = || trust.chain(NODE).expect("is there")[0].serial().clone();
    let first = serial();
    let files = || {
        let list =
            |directory: &Path| std::fs::read_dir(directory).expect("is there").map(|entry| entry.expect("reads"));
        let (top, lists) = (list(trust.directory()), list(&trust.directory().join("lists")));
        let number = |entry: std::fs::DirEntry| (entry.path(), entry.metadata().expect("is there").ino());
        top.chain(lists).map(number).collect::<BTreeMap<_, _>>()
    };
    let before = files();
    cluster.update(&home, "n1").expect("nothing is new");
    assert_eq!((serial(), files()), (first.clone(), before), "no file is written again");
    cluster.authority.renew("n1", NewKeys::Keep, Some(Duration::hours(5)), &cluster.unlock).expect("renews");
    let short = cluster.authority.chain("n1").expect("is there")[0].serial().clone();
    cluster.update(&home, "n1").expect("is taken");
    assert!(serial() != first && serial() != short, "5 hours are less than NODE_RENEWAL");
    trust.signer(NODE, cluster.unlock.clone()).and_then(|node| node.sign_classical(b"m")).expect("the keys stayed");

    cluster.authority.revoke("n1", Reason::KeyCompromise, None, &cluster.unlock).expect("revokes");
    let last = serial();
    cluster.update(&home, "n1").expect("it learns that, and gets no new certificate");
    assert_eq!((serial(), fault(&home, &trust, NODE)), (last, Some("REVOKED")));
    assert_eq!(fault(&other_home, &trust, NODE), None, "nobody told the other one");
    cluster.update(&other_home, "n2").expect("is taken");
    assert_eq!(fault(&other_home, &trust, NODE), Some("REVOKED"));
}

#[test]
fn near_the_end_of_an_authority_nothing_is_renewed_again_and_again() {
    let cluster = Cluster::new();
    let (authority, unlock) = (&cluster.authority, &cluster.unlock);
    let (_home, _) = cluster.join("n1");
    // An authority that ends in three hours, which is less than NODE_RENEWAL, and the same keys.
    let old = authority.chain("node-authority").expect("is there").swap_remove(0);
    let keys = change::open_both_keys(authority, "node-authority", &old, unlock).expect("opens").public();
    let permitted = old.permitted().expect("has some").to_vec();
    let validity = Validity { not_after: now() + Duration::hours(3), ..old.validity() };
    let options = IntermediateOptions {
        common_name: old.common_name().expect("has one"),
        keys: &keys,
        purpose: Purpose::Node,
        path_length: 0,
        permitted: &permitted,
        validity,
    };
    let ending = authority.root_authority(unlock).expect("opens").intermediate(&options).expect("issues");
    let change = Change { name: "node-authority", chain: &[ending], keys: None };
    change.make(authority, unlock).expect("writes");
    for name in ["n1", NODE] {
        authority.renew(name, NewKeys::Keep, None, unlock).expect("renews");
    }
    let serials = || {
        let member = authority.membership("n1", unlock).expect("is a member").node;
        authority.keep_fresh(unlock).expect("nothing is due");
        let own = authority.chain(NODE).expect("is there")[0].serial().clone();
        (certificate::from_pem(member.as_bytes()).expect("is PEM")[0].serial().clone(), own)
    };
    let (first, issued) = (serials(), authority.records().expect("reads").len());
    assert_eq!((serials(), serials()), (first.clone(), first.clone()), "a new one would end no later");
    assert_eq!(authority.records().expect("reads").len(), issued);
    authority.renew("node-authority", NewKeys::Keep, None, unlock).expect("renews");
    let (member, own) = serials();
    assert!(member != first.0 && own != first.1, "a new one ends later now");
    assert_eq!(serials(), (member, own));
}

#[test]
fn a_member_refuses_what_is_not_for_it() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let (home, _) = cluster.join("n1");
    let good = cluster.authority.membership("n1", &cluster.unlock).expect("is a member");
    let take = |home: &TempDir, membership: &Membership| TrustHome::take(home.path(), membership, &cluster.unlock);
    let refused = |change: &dyn Fn(&mut Membership)| {
        let mut membership = good.clone();
        change(&mut membership);
        take(&home, &membership).expect_err("refused")
    };
    let stranger = other.membership(&empty(), "n1").expect("is admitted");
    assert!(matches!(take(&home, &stranger), Err(TrustError::OtherRoot { .. })));
    assert!(matches!(refused(&|m| m.node.clone_from(&stranger.node)), TrustError::NotBelieved { .. }));
    cluster.join("n2");
    let second = cluster.authority.membership("n2", &cluster.unlock).expect("is a member");
    assert!(matches!(refused(&|m| m.node.clone_from(&second.node)), TrustError::KeysElsewhere { .. }));
    assert!(matches!(refused(&|m| m.node.clone_from(&good.publisher)), TrustError::NotBelieved { .. }));
    assert!(matches!(refused(&|m| m.root = "no PEM".to_owned()), TrustError::Certificates { .. }));
    let with_authority = |name: &str| {
        refused(&|m| drop(m.authorities.insert(name.to_owned(), good.authorities["node-authority"].clone())))
    };
    for name in ["../x-authority", "node", "root", "x-authority.0"] {
        assert!(matches!(with_authority(name), TrustError::Name { .. }), "{name}");
    }
    let stray = |m: &mut Membership| drop(m.lists.insert("stray".to_owned(), good.lists["root"].clone()));
    assert!(matches!(refused(&stray), TrustError::Name { .. }));
    let foreign = |m: &mut Membership| drop(m.lists.insert("root".to_owned(), stranger.lists["root"].clone()));
    assert!(matches!(refused(&foreign), TrustError::List(_)));
    let missing = |m: &mut Membership| drop(m.lists.remove("root"));
    let due = cluster.authority.renew("n1", NewKeys::Keep, None, &cluster.unlock).expect("renews");
    let renewed = certificate::to_pem(&due.chain);
    let unknown = refused(&|m| {
        m.node.clone_from(&renewed);
        missing(m);
    });
    assert!(matches!(unknown, TrustError::NotBelieved { .. }), "{unknown}");

    // A list never goes back: neither to an older number nor to another of the same.
    cluster.authority.renew_lists(true, &cluster.unlock).expect("signs");
    cluster.update(&home, "n1").expect("is taken");
    assert!(matches!(take(&home, &good), Err(TrustError::List(_))));

    let crowd = |m: &mut Membership| {
        for number in 0..=AUTHORITIES_MAX - good.authorities.len() {
            m.authorities.insert(format!("x{number}-authority"), good.authorities["node-authority"].clone());
        }
    };
    assert!(matches!(refused(&crowd), TrustError::TooMany { most: AUTHORITIES_MAX, .. }));
    let crowd = |m: &mut Membership| {
        for number in 0..=LISTS_MAX {
            m.lists.insert(format!("x{number}"), good.lists["root"].clone());
        }
    };
    assert!(matches!(refused(&crowd), TrustError::TooMany { most: LISTS_MAX, .. }));
}

#[test]
fn the_lists_of_a_full_book_reach_a_member_and_more_is_refused() {
    let cluster = Cluster::new();
    let (home, trust) = cluster.join("n1");
    let directory = cluster.authority.directory();
    let mut book = Book::read(directory).expect("reads");
    let own = book.issued.iter().find(|record| record.name == "n1").expect("is there").clone();
    let at = now();
    let revoked = Revoked { reason: Reason::KeyCompromise, effective: at, decided: at };
    let one = |number: usize| Record {
        name: "n".repeat(63),
        serial: format!("7f{number:038x}"),
        key: trustchain::digest::Sha256::of(&number.to_be_bytes()),
        revoked: Some(revoked),
        ..own.clone()
    };
    book.issued.extend((book.issued.len()..RECORDS_MAX).map(one));
    book.write(directory, at).expect("there is room");
    cluster.authority.renew_lists(true, &cluster.unlock).expect("signs");
    let membership = cluster.authority.membership("n1", &cluster.unlock).expect("is a member");
    let answer = serde_json::to_vec(&membership).expect("is JSON").len();
    assert!((5 << 20..crate::authority::ANSWER_BYTES_MAX).contains(&answer), "{answer}");
    TrustHome::take(home.path(), &membership, &cluster.unlock).expect("is taken");
    let list = trust.lists().expect("reads").into_iter().find(|list| list.authority == "node-authority");
    assert!(list.is_some_and(|list| list.revoked > RECORDS_MAX - 100));
    let crls = trust.crls(Purpose::Node).expect("reads");
    let ders = crls.iter().flat_map(|pem| certificate::crls_from_pem(pem.as_bytes()).expect("is PEM"));
    let ders: Vec<Vec<u8>> = ders.collect();
    trustchain::path::Crls::parse(ders.iter().map(Vec::as_slice)).expect("are as large as may be");

    // What has ended makes room for what is new; what counts or is revoked does not.
    book.issued.push(Record { serial: "01".into(), ..own.clone() });
    let full = book.write(directory, at);
    assert!(matches!(full, Err(TrustError::BookFull { most: RECORDS_MAX, .. })), "{full:?}");
    book.issued[0] = Record { not_after: at - Duration::SECOND, revoked: None, serial: "02".into(), ..own };
    book.write(directory, at).expect("there is room");
    let serials = |serial: &str| book.issued.iter().filter(|record| record.serial == serial).count();
    assert_eq!((serials("01"), serials("02"), book.issued.len()), (1, 0, RECORDS_MAX));
}
