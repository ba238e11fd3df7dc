//! Root sets between homes: how one is agreed on, what a thief of one root can do, and how a stolen root is left out.

use tempfile::TempDir;
use trustchain::certificate::{Authority, LeafKey, LeafOptions, Purpose, SubjectName};
use trustchain::hybrid::SecretKey;
use trustchain::rootset::RootSetError;

use super::super::{DEFAULT_PUBLISHER, InitOptions, IssueOptions, KeyKind, Membership, NODE, Verdict, authority_of};
use super::*;

/// A home with authorities, and two that only hold a root.
struct Homes {
    homes: [TempDir; 3],
    unlock: Unlock,
}

impl Homes {
    fn new() -> Self {
        let homes = [(); 3].map(|()| tempfile::tempdir().expect("temporary directory"));
        let unlock = Unlock::key_file();
        for (index, home) in homes.iter().enumerate() {
            let options = InitOptions {
                organization: Some(format!("Home {index}")),
                root_only: index > 0,
                ..InitOptions::default()
            };
            TrustHome::init(home.path(), &options, &unlock).expect("makes certificates");
        }
        Self { homes, unlock }
    }

    fn home(&self, index: usize) -> TrustHome {
        TrustHome::open(self.homes[index].path()).expect("has a root")
    }

    fn root(&self, index: usize) -> Certificate {
        self.home(index).chain(ROOT).expect("is there").swap_remove(0)
    }

    fn proposed(&self, change: &SetChange) -> Vec<u8> {
        self.home(0).propose(change).expect("keeps the rules").write().expect("writes")
    }

    fn signed(&self, proposal: &[u8], by: &[usize]) -> Vec<u8> {
        by.iter().fold(proposal.to_vec(), |bytes, &index| {
            self.home(index).cosign(&bytes, &self.unlock).expect("signs").write().expect("writes")
        })
    }

    /// Lets the three roots decide together, two of them at least.
    fn agree(&self) -> Vec<u8> {
        let with = vec![self.root(1), self.root(2)];
        let proposal = self.proposed(&SetChange { with, ..SetChange::default() });
        let bytes = self.signed(&proposal, &[0, 1]);
        for index in 0..3 {
            self.home(index).accept(&bytes).expect("two of three have signed");
        }
        bytes
    }

    fn join(&self, name: &str) -> TempDir {
        let home = tempfile::tempdir().expect("temporary directory");
        let application = TrustHome::apply(home.path(), name, &self.unlock).expect("applies");
        let membership = self.home(0).admit(name, &application, KeyKind::Usual, &self.unlock).expect("admits");
        TrustHome::take(home.path(), &membership, &self.unlock).expect("takes");
        home
    }

    fn membership(&self, name: &str) -> Membership {
        self.home(0).membership(name, &self.unlock).expect("is a member")
    }
}

/// Judges a chain by what a home believes.
fn judge(home: &TempDir, chain: &[Certificate]) -> Result<Vec<String>, &'static str> {
    let ders: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.der().to_vec()).collect();
    match Verdict::by_home(home.path(), &ders, None, None, now(), now()).expect("believes somebody") {
        Verdict::Success { path } => Ok(path),
        Verdict::Failure { fault, .. } => Err(fault),
    }
}

/// What the thief of a root makes with it: an authority and a publisher below it.
fn forged(homes: &Homes, thief: usize) -> Vec<Certificate> {
    let root = change::open_authority(&homes.home(thief), ROOT, &homes.unlock).expect("opens");
    let (keys, leaf_keys) = (SecretKey::generate().expect("keys"), SecretKey::generate().expect("keys"));
    let validity = Validity::starting(now() - trustchain::SKEW, time::Duration::days(30));
    let public = keys.public();
    let options = IntermediateOptions {
        common_name: "Home 0 publisher authority",
        keys: &public,
        purpose: Purpose::Publisher,
        path_length: 0,
        permitted: &[],
        validity,
    };
    let authority = Authority::new(root.intermediate(&options).expect("issues"), keys).expect("fits");
    let names = [SubjectName::namespace("local").expect("a name")];
    let (leaf_public, validity) =
        (leaf_keys.public(), Validity::starting(now() - trustchain::SKEW, time::Duration::DAY));
    let options = LeafOptions {
        common_name: "local",
        key: LeafKey::Hybrid(&leaf_public),
        purpose: Purpose::Publisher,
        names: &names,
        validity,
    };
    vec![authority.leaf(&options).expect("issues"), authority.certificate().clone()]
}

#[test]
fn one_of_three_roots_decides_nothing_alone() {
    let homes = Homes::new();
    let before = forged(&homes, 0);
    assert_ne!(
        judge(&homes.homes[0], &before),
        Err("NOT_IN_ROOT_SET"),
        "a root that decides alone is what is mended here"
    );
    let with = vec![homes.root(1), homes.root(2)];
    let proposal = homes.proposed(&SetChange { with, ..SetChange::default() });
    for too_few in [vec![], vec![0], vec![2]] {
        let refused = homes.home(0).accept(&homes.signed(&proposal, &too_few)).expect_err("is refused");
        assert!(matches!(refused, TrustError::Set(RootSetError::TooFew { needed: 2, .. })), "{refused}");
        assert!(homes.home(0).root_set().expect("reads").is_none());
    }
    homes.agree();
    for name in [DEFAULT_PUBLISHER, NODE, "validator-1"] {
        let chain = homes.home(0).chain(name).expect("is there");
        assert_eq!(judge(&homes.homes[0], &chain).map(|path| path.len()), Ok(3), "{name}");
    }
    for thief in 0..3 {
        assert_eq!(judge(&homes.homes[0], &forged(&homes, thief)), Err("NOT_IN_ROOT_SET"), "root {thief}");
    }
    // The thief makes a set of its own, of which it is the only root.
    let grab = SetChange { threshold: Some(1), without: vec![homes.root(1), homes.root(2)], ..SetChange::default() };
    let grab = homes.signed(&homes.proposed(&grab), &[0]);
    let refused = homes.home(0).accept(&grab).expect_err("is refused");
    assert!(matches!(refused, TrustError::Set(RootSetError::TooFew { signed: 1, needed: 2, .. })), "{refused}");
    // Issuing goes on: authorities are named, not certificates.
    let issued = homes.home(0).issue(&IssueOptions::new(Purpose::Publisher, "tools"), &homes.unlock).expect("issues");
    judge(&homes.homes[0], &issued.chain).expect("counts");
}

#[test]
fn a_stolen_root_is_left_out_and_members_follow() {
    let homes = Homes::new();
    let early = homes.join("n1");
    homes.agree();
    let member = |home: &TempDir, name: &str| {
        TrustHome::take(home.path(), &homes.membership(name), &homes.unlock).expect("follows")
    };
    let version = |home: &TempDir| {
        TrustHome::open(home.path()).expect("opens").root_set().expect("reads").map(|set| set.version())
    };
    assert_eq!(version(&early), None);
    member(&early, "n1");
    assert_eq!(version(&early), Some(1));
    let late = homes.join("n2");
    assert_eq!(version(&late), Some(1));

    // The keys of root 0 are stolen. Root 1 stands for the authorities from now on.
    let out = SetChange { without: vec![homes.root(0)], ..SetChange::default() };
    let proposal = homes.signed(&homes.proposed(&out), &[1, 2]);
    let cut_off = homes.home(0).accept(&proposal).expect_err("is refused");
    assert!(matches!(&cut_off, TrustError::Unnamed { name, .. } if name.ends_with("-authority")), "{cut_off}");
    for purpose in Purpose::ALL {
        let name = authority_of(purpose);
        let authority = homes.home(0).chain(&name).expect("is there").swap_remove(0);
        let given = homes.home(1).certify(&authority, &homes.unlock).expect("certifies");
        assert_eq!(homes.home(0).take_certification(&given).expect("takes"), name);
    }
    // Who has heard of nothing yet goes on to believe the authority's node by the root that is still in its set.
    let node = homes.home(0).chain(NODE).expect("is there");
    assert_eq!(node.len(), 3, "the leaf, and the authority as each of two roots certified it");
    judge(&early, &node).expect("counts by root 0");
    for index in 0..3 {
        homes.home(index).accept(&proposal).expect("nobody is cut off");
    }
    assert_eq!(homes.home(0).root().expect("reads"), homes.root(1));
    judge(&homes.homes[0], &node).expect("counts by root 1");
    for home in [(&early, "n1"), (&late, "n2")] {
        judge(home.0, &node).expect("counts by root 0");
        let trust = member(home.0, home.1);
        assert_eq!(version(home.0), Some(2));
        judge(home.0, &node).expect("counts by root 1");
        judge(home.0, &trust.chain(DEFAULT_PUBLISHER).expect("is there")).expect("its own counts, too");
        assert_eq!(judge(home.0, &forged(&homes, 0)), Err("UNKNOWN_ISSUER"), "the stolen root is none any more");
    }
    let newcomer = homes.join("n3");
    assert_eq!(version(&newcomer), Some(2));

    // An authority that leaves the sets away, or gives another history, changes nothing.
    let mut without = homes.membership("n1");
    without.root_sets.clear();
    TrustHome::take(early.path(), &without, &homes.unlock).expect("keeps what it knows");
    assert_eq!(version(&early), Some(2));
    let other = Homes::new();
    let mut fork = homes.membership("n1");
    let mut foreign = other.agree();
    for index in 1..3 {
        foreign = other.home(0).propose(&SetChange::default()).expect("keeps the rules").write().expect("writes");
        foreign = other.signed(&foreign, &[0, index]);
        other.home(0).accept(&foreign).expect("two have signed");
    }
    fork.root_sets = vec![String::from_utf8(foreign).expect("is text")];
    let refused = TrustHome::take(early.path(), &fork, &homes.unlock).expect_err("is refused");
    assert!(matches!(refused, TrustError::Set(RootSetError::OtherBefore { version: 3 })), "{refused}");
    assert_eq!(version(&early), Some(2));
}

#[test]
fn only_what_the_set_names_is_certified_and_taken() {
    let homes = Homes::new();
    let authority = homes.home(0).chain(&authority_of(Purpose::Node)).expect("is there").swap_remove(0);
    let refused = homes.home(1).certify(&authority, &homes.unlock).expect_err("is refused");
    assert!(matches!(refused, TrustError::Unnamed { .. }), "{refused}");
    homes.agree();
    let strange = forged(&homes, 2).swap_remove(1);
    let refused = homes.home(1).certify(&strange, &homes.unlock).expect_err("is refused");
    assert!(matches!(refused, TrustError::Unnamed { .. }), "{refused}");
    let leaf = homes.home(0).chain(NODE).expect("is there").swap_remove(0);
    homes.home(1).certify(&leaf, &homes.unlock).expect_err("is refused");

    let other = Homes::new();
    other.agree();
    let foreign = other.home(0).chain(&authority_of(Purpose::Node)).expect("is there").swap_remove(0);
    let foreign = other.home(1).certify(&foreign, &other.unlock).expect("certifies");
    let refused = homes.home(0).take_certification(&foreign).expect_err("is refused");
    assert!(matches!(refused, TrustError::Unnamed { .. }), "{refused}");
    let mut given = homes.home(1).certify(&authority, &homes.unlock).expect("certifies");
    given.list = other
        .home(1)
        .certify(&other.home(0).chain(&authority_of(Purpose::Node)).expect("is there")[0], &other.unlock)
        .expect("certifies")
        .list;
    homes.home(0).take_certification(&given).expect_err("the list is another root's");
    assert_eq!(homes.home(0).chain(NODE).expect("is there").len(), 2, "nothing has changed");
}
