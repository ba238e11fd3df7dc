//! Tests of root sets: how many must sign, what follows what, and what a thief of one root can do.

use super::*;
use crate::certificate::Purpose;
use crate::dsse::DsseError;
use crate::genesis::{Allotment, Genesis, GenesisError};
use crate::path::{Hybrid, PathError, Request, Revocation, RootError, Roots};
use crate::testing::{ACME, NOW, Pki, intermediate, keys, leaf, names, root};

/// Three roots, the authority below the first, and what they would agree on.
struct Three {
    pki: Pki,
    others: [Authority; 2],
}

impl Three {
    fn new() -> Self {
        Self { pki: Pki::new(), others: [root(), root()] }
    }

    fn all(&self) -> [&Authority; 3] {
        [&self.pki.root, &self.others[0], &self.others[1]]
    }

    fn terms(&self) -> Terms {
        Terms {
            threshold: 2,
            roots: self.all().map(|root| root.certificate().clone()).to_vec(),
            authorities: vec![self.pki.publishers.certificate().clone()],
            geneses: Vec::new(),
        }
    }

    fn first(&self) -> RootSet {
        signed(None, &self.terms(), &self.all()[..2]).accept(None).expect("two have signed")
    }
}

fn signed(previous: Option<&RootSet>, terms: &Terms, by: &[&Authority]) -> Proposal {
    let mut proposal = Proposal::new(previous, terms).expect("keeps the rules");
    for root in by {
        // Each reads what the one before has written.
        proposal = Proposal::read(&proposal.write().expect("writes")).expect("reads");
        proposal.sign(root, previous).expect("signs");
    }
    proposal
}

fn judge(roots: &Roots, leaf: &Certificate, authority: &Authority) -> Result<(), PathError> {
    let intermediates = [authority.certificate().clone()];
    let (purpose, revocation) = (Purpose::Publisher, Revocation::Unchecked);
    roots.validate(&Request { leaf, intermediates: &intermediates, purpose, at: NOW, revocation }).map(drop)
}

#[test]
fn one_of_three_root_keys_signs_no_set() {
    let three = Three::new();
    let alone = signed(None, &three.terms(), &three.all()[..1]);
    assert_eq!(alone.progress().expect("is genuine"), (1, 2));
    let error = alone.accept(None).expect_err("is refused").to_string();
    assert_eq!(error, "`1` of the roots of it have signed root set 1, 2 must");

    // The thief of one root makes it the only one.
    let first = three.first();
    let thief = three.all()[0];
    let grab = Terms { threshold: 1, roots: vec![thief.certificate().clone()], ..three.terms() };
    let error = signed(Some(&first), &grab, &[thief]).accept(Some(&first)).expect_err("is refused").to_string();
    assert_eq!(error, "`1` of the roots before it have signed root set 2, 2 must");

    // Two of three, whichever they are, are enough.
    for pair in [[0, 1], [0, 2], [1, 2]] {
        let by = pair.map(|index| three.all()[index]);
        signed(None, &three.terms(), &by).accept(None).expect("two have signed");
    }
}

#[test]
fn one_of_three_root_keys_makes_no_authority_and_no_cluster() {
    let three = Three::new();
    let set = three.first();
    let roots = Roots::with_sets(Vec::new(), vec![set.clone()], Hybrid::Required).expect("a set");
    judge(&roots, &three.pki.leaf, &three.pki.publishers).expect("the set names its authority");

    let thief = &three.pki.root;
    let forged = intermediate(thief, Purpose::Publisher, &[ACME.to_owned()]);
    let (publisher, acme) = (keys().public(), names(ACME));
    let options = leaf(crate::certificate::LeafKey::Hybrid(&publisher), &acme);
    let below = forged.leaf(&options).expect("issues");
    let error = judge(&roots, &below, &forged).expect_err("is refused").to_string();
    assert_eq!(error, "root set 1 does not name the authority `CN=authority`; one root alone is not enough");
    let direct = thief.leaf_unchecked(&options).expect("issues");
    let error = judge(&roots, &direct, &forged).expect_err("is refused");
    assert!(matches!(error, PathError::NotInRootSet { subject, version: 1 } if subject == "CN=acme"));
    // Neither that the root is also named alone, nor another certificate for its keys, is a way around the set.
    let again = thief.certificate().clone();
    let roots = Roots::with_sets(vec![again], vec![set], Hybrid::Required).expect("a set");
    judge(&roots, &below, &forged).expect_err("is refused");

    let stake = Allotment { amount: 1, holder: "eve".into(), id: Sha256::of(b"eve") };
    let genesis = Genesis { cluster: "test".into(), epoch: 1, stakes: vec![stake], validators: vec![Sha256::of(b"v")] };
    let genesis = thief.genesis(&genesis).expect("signs");
    let error = Genesis::verify(&genesis, &roots).expect_err("is refused");
    assert!(matches!(error, GenesisError::NotInRootSet { version: 1, .. }), "{error}");
    let named = Terms { geneses: vec![Genesis::digest(&genesis).expect("a genesis")], ..three.terms() };
    let named = signed(None, &named, &three.all()[1..]).accept(None).expect("two have signed");
    let roots = Roots::with_sets(Vec::new(), vec![named], Hybrid::Required).expect("a set");
    Genesis::verify(&genesis, &roots).expect("two roots have named it");
}

#[test]
fn a_stolen_root_is_left_out_and_what_it_signed_is_below_no_root() {
    let three = Three::new();
    let first = three.first();
    let [stolen, second, third] = three.all();
    let heir = root();
    // The authority keeps its keys, and another root stands for them.
    let moved = second.intermediate(&crate::certificate::IntermediateOptions {
        common_name: "authority",
        keys: &three.pki.publishers.keys().public(),
        purpose: Purpose::Publisher,
        path_length: 0,
        permitted: &[ACME.to_owned()],
        validity: three.pki.publishers.certificate().validity(),
    });
    let moved = Authority::new(moved.expect("issues"), three.pki.publishers.keys().clone()).expect("fits");
    let terms = Terms {
        roots: [second, third, &heir].map(|root| root.certificate().clone()).to_vec(),
        authorities: vec![moved.certificate().clone()],
        ..three.terms()
    };
    let next = signed(Some(&first), &terms, &[second, third]).accept(Some(&first)).expect("two have signed");
    assert_eq!((next.version(), next.threshold(), next.roots().len(), next.authorities()), (2, 2, 3, 1));
    let roots = Roots::with_sets(Vec::new(), vec![next.clone()], Hybrid::Required).expect("a set");
    judge(&roots, &three.pki.leaf, &moved).expect("what the authority issued goes on to count");
    judge(&roots, &three.pki.leaf, &three.pki.publishers).expect_err("not by the stolen root");
    // The stolen root has no say any more, also not together with one of those that stayed.
    let mut proposal = Proposal::new(Some(&next), &terms).expect("keeps the rules");
    let error = proposal.sign(stolen, Some(&next)).expect_err("is refused");
    assert!(matches!(error, RootSetError::Stranger { .. }), "{error}");
    proposal.sign(second, Some(&next)).expect("signs");
    assert!(matches!(proposal.accept(Some(&next)), Err(RootSetError::TooFew { signed: 1, needed: 2, .. })));
}

#[test]
fn sets_follow_each_other_by_number_and_digest() {
    let three = Three::new();
    let first = three.first();
    let all = three.all();
    let second = signed(Some(&first), &three.terms(), &all).accept(Some(&first)).expect("all have signed");
    // The same again, an older one, and one that leaves one out.
    for (known, stale) in [(&first, &first), (&second, &first), (&second, &second)] {
        let again = Proposal::read(stale.document()).expect("reads");
        assert!(matches!(again.accept(Some(known)), Err(RootSetError::NotNext { .. })));
    }
    let third = signed(Some(&second), &three.terms(), &all);
    assert!(matches!(third.clone().accept(Some(&first)), Err(RootSetError::NotNext { known: 1, actual: 3 })));
    // A second history: the same number behind another first set.
    let other = Terms { threshold: 3, ..three.terms() };
    let other = signed(None, &other, &all).accept(None).expect("all have signed");
    let fork = signed(Some(&other), &three.terms(), &all);
    assert!(matches!(fork.accept(Some(&first)), Err(RootSetError::OtherBefore { version: 2 })));
    third.accept(Some(&second)).expect("comes next");
    // Who knows none takes any that is signed by enough of its own.
    assert_eq!(RootSet::verify(second.document()).expect("is believed"), second);
}

#[test]
fn every_flipped_byte_of_a_set_is_refused() {
    let three = Three::new();
    let set = three.first();
    let bytes = set.document();
    assert_eq!(RootSet::verify(bytes).expect("is believed"), set);
    for index in (0..bytes.len()).step_by(61) {
        let mut flipped = bytes.to_vec();
        flipped[index] ^= 1;
        assert!(RootSet::verify(&flipped).is_err(), "byte {index}");
    }
    let text = String::from_utf8(bytes.to_vec()).expect("is text");
    for (from, to) in [
        ("ed25519", "falcon-1024-r3"),
        ("falcon-1024-r3", "ed25519"),
        ("/", ""),
        ("\"signatures\":[", "\"signatures\":[{\"keyid\":\"x\",\"sig\":\"\"},"),
    ] {
        let error = RootSet::verify(text.replacen(from, to, 1).as_bytes()).expect_err("is refused");
        assert!(matches!(error, RootSetError::Document(_)), "{error}");
    }
    let one = three.pki.root.genesis(&Genesis {
        cluster: "test".into(),
        epoch: 1,
        stakes: Vec::new(),
        validators: vec![Sha256::of(b"v")],
    });
    let error = RootSet::verify(&one.expect("signs")).expect_err("is refused");
    assert!(matches!(error, RootSetError::Document(DsseError::Type { .. })), "{error}");
}

#[test]
fn a_signature_of_one_key_of_a_root_is_refused() {
    let three = Three::new();
    let [first, second, third] = three.all();
    // Who has stolen the Ed25519 key of the second root only signs with a FALCON key of its own.
    let mut half = second.keys().clone();
    half.falcon = third.keys().falcon.clone();
    let half = Authority::with_other_keys(second.certificate().clone(), half);
    let error = signed(None, &three.terms(), &[first, &half]).accept(None).expect_err("is refused");
    assert!(matches!(error, RootSetError::Forged { .. }), "{error}");
}

#[test]
fn a_broken_rule_is_named() {
    let three = Three::new();
    let [one, two, _] = three.all().map(|root| root.certificate().clone());
    let refuse = |change: &dyn Fn(&mut Terms), named: &str| {
        let mut terms = three.terms();
        change(&mut terms);
        let error = Proposal::new(None, &terms).expect_err("is refused").to_string();
        assert!(error.contains(named), "{error}");
    };
    refuse(&|it| it.threshold = 0, "threshold");
    refuse(&|it| it.threshold = 4, "threshold");
    refuse(&|it| it.roots.clear(), "1 to 32 roots");
    refuse(&|it| it.roots.push(one.clone()), "twice");
    refuse(&|it| it.geneses = (0..17u8).map(|byte| Sha256::of(&[byte])).collect(), "16 starts");
    // Two certificates of one Ed25519 key would be one root that counts twice.
    let mut shared = three.all()[0].keys().clone();
    shared.falcon = keys().falcon;
    let twin = Authority::root("twin", shared, one.validity()).expect("issues").certificate().clone();
    refuse(&|it| it.roots = vec![one.clone(), two.clone(), twin.clone()], "share a key");
    let set = three.first();
    let twice = Roots::with_sets(Vec::new(), vec![set.clone(), set], Hybrid::Required);
    assert!(matches!(twice, Err(RootError::TwoSets { .. })));
}

#[test]
fn roots_are_read_as_they_are_handed_over() {
    let three = Three::new();
    let alone = root();
    let roots = Roots::with_sets(vec![alone.certificate().clone()], vec![three.first()], Hybrid::Required);
    let texts = roots.expect("roots").texts();
    assert_eq!(texts.len(), 2);
    let read = Roots::read(&texts, Hybrid::Required).expect("reads");
    assert_eq!((read.certificates().len(), read.sets().len(), read.texts()), (4, 1, texts));
    assert!(read.set_of(alone.certificate()).is_none());
    let error = Roots::read(&["{}".to_owned()], Hybrid::Required).expect_err("is refused");
    assert!(matches!(error, RootError::Set(_)), "{error}");
}
