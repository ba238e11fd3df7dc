//! Homes: made once, changed by whole steps, opened by the right secret, and consistent after a step that was cut short.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use trustchain::certificate::SubjectName;
use trustchain::keyfile::KeyfileError;
use trustchain::revocation::Reason;

use super::*;

fn made() -> (TempDir, TrustHome) {
    let home = tempfile::tempdir().expect("temporary directory");
    let trust = TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file()).expect("makes certificates");
    (home, trust)
}

fn verdict(home: &TempDir, name: &str, at: OffsetDateTime) -> Verdict {
    let chain = TrustHome::open(home.path()).and_then(|trust| trust.chain(name)).expect("is there");
    let ders: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    Verdict::by_home(home.path(), &ders, None, None, at, at).expect("the home believes somebody")
}

fn is_good(home: &TempDir, name: &str) -> bool {
    matches!(verdict(home, name, now()), Verdict::Success { path } if path.len() == 3)
}

#[test]
fn a_new_home_has_everything_and_is_made_once() {
    let (home, trust) = made();
    let names = ["local", "node", "validator-1", "validator-2", "validator-3", "validator-4"];
    for name in names {
        assert!(is_good(&home, name), "{name}");
    }
    assert_eq!(trust.records().expect("reads").len(), 9);
    let lists = trust.lists().expect("reads");
    assert_eq!(lists.len(), 4);
    assert!(lists.iter().all(|list| list.fresh && list.number == 1 && list.revoked == 0), "{lists:?}");
    let again = TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file());
    assert!(matches!(again, Err(TrustError::Initialized { .. })));
    assert!(!TrustHome::open_or_init(home.path(), &Unlock::key_file()).expect("opens").1);
    let other = tempfile::tempdir().expect("temporary directory");
    assert!(matches!(TrustHome::open(other.path()), Err(TrustError::Uninitialized { .. })));
    assert!(TrustHome::open_or_init(other.path(), &Unlock::key_file()).expect("makes").1);
}

#[test]
fn secrets_are_for_the_owner_and_for_the_right_secret() {
    let home = tempfile::tempdir().expect("temporary directory");
    let right = Unlock::passphrase("a right passphrase");
    let trust = TrustHome::init(home.path(), &InitOptions::default(), &right).expect("makes certificates");
    assert!(!trust.directory().join("unlock.key").exists());
    let renew = |unlock: &Unlock| trust.renew("local", NewKeys::Keep, None, unlock);
    renew(&right).expect("the right one");
    let wrong = renew(&Unlock::passphrase("a wrong passphrase")).expect_err("refused");
    assert!(matches!(wrong, TrustError::Keys { source: KeyfileError::Locked, .. }), "{wrong:?}");
    assert!(renew(&Unlock::key_file()).is_err());
    for stem in files::stems(trust.directory(), ".key").expect("lists") {
        let mode = std::fs::metadata(trust.key_file(&stem)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{stem}");
    }
    let key = trust.key_file("publisher-authority");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("changed");
    assert!(matches!(renew(&right), Err(TrustError::Exposed { mode: 0o640, .. })));
    assert_eq!(format!("{right:?}"), "Unlock(passphrase)");
}

#[test]
fn certificates_are_issued_renewed_and_revoked() {
    let (home, trust) = made();
    let unlock = Unlock::key_file();
    let options =
        IssueOptions { namespaces: vec!["acme".to_owned()], ..IssueOptions::new(Purpose::Publisher, "tools") };
    let first = trust.issue(&options, &unlock).expect("issues").chain.swap_remove(0);
    assert!(first.covers_namespace("acme"));
    assert!(matches!(trust.issue(&options, &unlock), Err(TrustError::Taken { .. })));
    let second = trust.renew("tools", NewKeys::Keep, None, &unlock).expect("renews").chain.swap_remove(0);
    assert_eq!((first.names(), first.key()), (second.names(), second.key()));
    assert_ne!(first.serial(), second.serial());
    let third = trust.renew("tools", NewKeys::Make, None, &unlock).expect("renews").chain.swap_remove(0);
    assert_ne!(second.key(), third.key());
    trust
        .signer("tools", unlock.clone())
        .expect("is there")
        .seal("kind", &1, now())
        .expect("the keys are the new ones");
    trust.revoke(&first.serial().to_string(), Reason::Superseded, None, &unlock).expect("revokes by serial number");
    assert!(is_good(&home, "tools"), "another certificate was revoked");
    trust.revoke("tools", Reason::KeyCompromise, None, &unlock).expect("revokes by name");
    assert!(matches!(verdict(&home, "tools", now()), Verdict::Failure { fault: "REVOKED", .. }));
    assert!(is_good(&home, "local"));
    assert!(matches!(trust.revoke("tools", Reason::Superseded, None, &unlock), Err(TrustError::Revoked { .. })));
    for (target, later) in [("root", None), ("nobody", None), ("local", Some(now() + Duration::hours(1)))] {
        assert!(trust.revoke(target, Reason::Superseded, later, &unlock).is_err(), "{target}");
    }
    assert!(matches!(trust.renew("root", NewKeys::Keep, None, &unlock), Err(TrustError::Root { .. })));
}

#[test]
fn a_publisher_may_have_one_key_and_keeps_to_one() {
    let (home, trust) = made();
    let unlock = Unlock::key_file();
    let classical = |purpose, name| IssueOptions { keys: KeyKind::Classical, ..IssueOptions::new(purpose, name) };
    let first = trust.issue(&classical(Purpose::Publisher, "small"), &unlock).expect("issues").chain.swap_remove(0);
    let kept = trust.renew("small", NewKeys::Keep, None, &unlock).expect("renews").chain.swap_remove(0);
    let made = trust.renew("small", NewKeys::Make, None, &unlock).expect("renews").chain.swap_remove(0);
    assert_eq!((first.keys(), kept.keys(), made.keys()), (None, None, None));
    assert_eq!((first.key() == kept.key(), kept.key() == made.key()), (true, false));
    let signer = trust.signer("small", unlock.clone()).expect("is there");
    signer.seal("kind", &1, now()).expect("signs with its one key");
    assert!(matches!(signer.with_keys(|_| Ok(())), Err(TrustError::OneKey { .. })));
    assert!(matches!(verdict(&home, "small", now()), Verdict::Failure { fault: "CLASSICAL_ONLY", .. }));
    let request = trust.request(&IssueOptions::new(Purpose::Publisher, "acme"), &unlock).expect("makes one");
    let with_request = IssueOptions { request: Some(request), ..classical(Purpose::Publisher, "acme") };
    let others = [classical(Purpose::Validator, "v"), classical(Purpose::Node, "n"), with_request];
    for refused in others.map(|options| trust.issue(&options, &unlock).expect_err("is refused")) {
        assert!(matches!(refused, TrustError::Classical { .. }), "{refused}");
    }
}

#[test]
fn a_node_names_both_keys_where_that_is_asked_for() {
    let (home, trust) = made();
    let unlock = Unlock::key_file();
    let leaf = |issued: Result<Issued, TrustError>| issued.expect("issues").chain.swap_remove(0);
    let usual = leaf(trust.issue(&IssueOptions::new(Purpose::Node, "usual"), &unlock));
    let both = IssueOptions { keys: KeyKind::Hybrid, ..IssueOptions::new(Purpose::Node, "both") };
    let both = leaf(trust.issue(&both, &unlock));
    assert_eq!((usual.keys(), both.keys().is_some(), both.is_signed_alternatively()), (None, true, true));
    assert!(leaf(trust.renew("both", NewKeys::Make, None, &unlock)).keys().is_some(), "a renewal keeps the kind");
    assert!(leaf(trust.renew("usual", NewKeys::Make, None, &unlock)).keys().is_none());
    let changed = leaf(trust.renew("usual", NewKeys::NameBoth, None, &unlock));
    assert_eq!(changed.keys().map(|keys| keys.ed25519), Some(*trust.chain("usual").expect("is there")[0].key()));
    assert!(["usual", "both", "node"].iter().all(|name| is_good(&home, name)));
    let classical = IssueOptions { keys: KeyKind::Classical, ..IssueOptions::new(Purpose::Publisher, "small") };
    trust.issue(&classical, &unlock).expect("issues");
    let refused = trust.renew("small", NewKeys::NameBoth, None, &unlock);
    assert!(matches!(refused, Err(TrustError::OneKey { .. })), "{refused:?}");
}

#[test]
fn an_authority_is_rotated_and_what_it_issued_goes_on() {
    let (home, trust) = made();
    let unlock = Unlock::key_file();
    trust.renew("publisher-authority", NewKeys::Make, None, &unlock).expect("renews");
    assert!(is_good(&home, "local"), "it was issued by the retired one");
    trust.renew("local", NewKeys::Keep, None, &unlock).expect("renews");
    let issuer = trust.chain("local").expect("is there").swap_remove(1);
    assert_eq!(issuer, trust.chain("publisher-authority").expect("is there")[0]);
    assert!(is_good(&home, "local"));
    trust.renew("publisher-authority", NewKeys::Make, None, &unlock).expect("a second time");
    assert_eq!(trust.authorities().expect("reads").len(), 6);
    trust.revoke("publisher-authority.2", Reason::KeyCompromise, None, &unlock).expect("revokes");
    assert!(matches!(verdict(&home, "local", now()), Verdict::Failure { fault: "REVOKED", .. }));
}

#[test]
fn a_request_keeps_the_keys_with_its_sender() {
    let ((subject_home, subject), (_authority_home, authority)) = (made(), made());
    let unlock = Unlock::key_file();
    let request = subject.request(&IssueOptions::new(Purpose::Publisher, "acme"), &unlock).expect("makes one");
    let options = IssueOptions { request: Some(request), ..IssueOptions::new(Purpose::Publisher, "customer") };
    let more = authority.issue(&options, &unlock).expect_err("`acme` is not what the command grants");
    assert!(more.to_string().contains("does not grant"), "{more}");
    let node = IssueOptions { purpose: Purpose::Node, ..options.clone() };
    assert!(matches!(authority.issue(&node, &unlock), Err(TrustError::Purpose { .. })));
    let granted = IssueOptions { namespaces: vec!["acme".to_owned()], ..options };
    authority.issue(&granted, &unlock).expect("issues");
    assert!(matches!(authority.renew("customer", NewKeys::Make, None, &unlock), Err(TrustError::KeysElsewhere { .. })));
    authority.renew("customer", NewKeys::Keep, None, &unlock).expect("its keys stay");
    let theirs = authority.directory().join("customer.pem");
    std::fs::copy(theirs, subject.directory().join("acme.pem")).expect("copied");
    let signer = TrustHome::open(subject_home.path()).and_then(|home| home.signer("acme", unlock)).expect("opens");
    signer.seal("kind", &1, now()).expect("the keys never left");
}

#[test]
fn lists_are_signed_again_before_they_end_and_after_damage() {
    let (_home, trust) = made();
    let unlock = Unlock::key_file();
    assert!(trust.renew_lists(false, &unlock).expect("nothing to do").is_empty());
    std::fs::write(trust.directory().join("lists/root.json"), "{").expect("written");
    assert_eq!(trust.renew_lists(false, &unlock).expect("signs"), ["root"]);
    assert_eq!(trust.renew_lists(true, &unlock).expect("signs").len(), 4);
    assert!(trust.keep_fresh(&unlock).expect("nothing to do").is_empty());
    trust.renew("node", NewKeys::Keep, Some(Duration::hours(5)), &unlock).expect("renews");
    assert_eq!(trust.keep_fresh(&unlock).expect("renews"), ["node"]);
    let numbers: Vec<u64> = trust.lists().expect("reads").iter().map(|list| list.number).collect();
    assert_eq!(numbers, [3, 2, 2, 2], "no number is used twice");
}

#[test]
fn a_step_that_was_cut_short_leaves_a_consistent_home() {
    let (home, trust) = made();
    let unlock = Unlock::key_file();
    let seal = |trust: &TrustHome| trust.signer("local", unlock.clone()).and_then(|s| s.seal("kind", &1, now()));
    // New keys were written, and the certificate was not.
    let (key, next) = (trust.key_file("local"), trust.directory().join("local.key.next"));
    std::fs::copy(trust.key_file("validator-1"), &next).expect("copied");
    seal(&trust).expect("the old keys count");
    // The certificate was written, and the keys were not renamed.
    trust.renew("local", NewKeys::Make, None, &unlock).expect("renews");
    std::fs::rename(&key, &next).expect("renamed");
    std::fs::copy(trust.key_file("validator-1"), &key).expect("copied");
    seal(&trust).expect("the next keys count");
    trust.renew("local", NewKeys::Keep, None, &unlock).expect("renews and cleans up");
    assert!(!next.exists());
    seal(&trust).expect("the keys are in place");
    // A revocation was decided, and no list was signed.
    let mut book = record::Book::read(trust.directory()).expect("reads");
    let decided = Revoked { reason: Reason::Superseded, effective: now(), decided: now() };
    let serial = trust.chain("local").expect("is there")[0].serial().to_string();
    book.issued.iter_mut().find(|record| record.serial == serial).expect("is there").revoked = Some(decided);
    book.next_list(lists::id(&trust.chain("publisher-authority").expect("is there")[0]));
    book.write(trust.directory(), now()).expect("writes");
    assert!(is_good(&home, "local"));
    trust.renew_lists(false, &unlock).expect("signs");
    assert!(!is_good(&home, "local"));
    // Making a home was cut short before its root was written.
    std::fs::remove_file(trust.directory().join("root.pem")).expect("removed");
    TrustHome::init(home.path(), &InitOptions::default(), &unlock).expect("begins again");
    assert!(is_good(&home, "local"));
}

#[test]
fn concurrent_changes_wait_for_each_other() {
    let (home, trust) = made();
    let issue = |number: usize| {
        let name = format!("p{number}");
        trust.issue(&IssueOptions::new(Purpose::Publisher, &name), &Unlock::key_file()).expect("issues");
        trust.revoke(&name, Reason::Superseded, None, &Unlock::key_file()).expect("revokes");
    };
    std::thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(move || issue(number));
        }
    });
    let lists = trust.lists().expect("reads");
    let publishers = lists.iter().find(|list| list.authority == "publisher-authority").expect("is there");
    assert_eq!((publishers.number, publishers.revoked, publishers.fresh), (7, 6, true));
    assert!(is_good(&home, "local"));
}

#[test]
fn names_lifetimes_and_namespaces_are_bounded() {
    let home = tempfile::tempdir().expect("temporary directory");
    let unlock = Unlock::key_file();
    let options = InitOptions {
        organization: Some("Acme Ltd".to_owned()),
        namespaces: vec!["acme".to_owned()],
        ..InitOptions::default()
    };
    let trust = TrustHome::init(home.path(), &options, &unlock).expect("makes certificates");
    assert_eq!(trust.root().expect("reads").subject(), "CN=Acme Ltd root");
    let issue = |name: &str, namespace: &str, lifetime: Option<Duration>| {
        let namespaces = vec![namespace.to_owned()];
        trust.issue(&IssueOptions { namespaces, lifetime, ..IssueOptions::new(Purpose::Publisher, name) }, &unlock)
    };
    issue("good", "acme", Some(Duration::HOUR)).expect("is allowed");
    let whole = issue("whole", "acme.pub.trustchain", None).expect("is the same namespace");
    assert_eq!(whole.chain[0].names(), [SubjectName::dns("acme.pub.trustchain").expect("a name")]);
    let outside = issue("bad", "evil", None).expect_err("refused").to_string();
    assert!(outside.contains("is limited to other domains than `evil.pub.trustchain`"), "{outside}");
    for name in ["", "a b", "../x", "UPPER", "root", "my-authority", "a.b", "-a", &"x".repeat(64)] {
        assert!(matches!(issue(name, "acme", None), Err(TrustError::Name { .. })), "{name}");
    }
    for wrong in [Duration::ZERO, Duration::minutes(59), Duration::days(4_000), -Duration::HOUR] {
        assert!(matches!(issue("bad", "acme", Some(wrong)), Err(TrustError::Lifetime { .. })), "{wrong}");
    }
    let beyond = issue("bad", "acme", Some(Duration::days(3_000))).expect_err("refused").to_string();
    assert!(beyond.contains("not within that of"), "{beyond}");
    let long = InitOptions { organization: Some("x".repeat(41)), ..InitOptions::default() };
    let other = tempfile::tempdir().expect("temporary directory");
    assert!(matches!(TrustHome::init(other.path(), &long, &unlock), Err(TrustError::Name { .. })));
}
