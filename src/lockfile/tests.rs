//! The text of a lockfile there and back, its frozen first version, and what is refused with its line.

use proptest::prelude::*;

use super::merge::Merged;
use super::*;

const V1: &str = include_str!("../../tests/fixtures/catalog-v1.lock");

fn refusal(text: &str) -> String {
    Lockfile::parse(text).expect_err("is refused").to_string()
}

fn package(name: &str, dependencies: &[&str]) -> LockedPackage {
    LockedPackage {
        name: name.parse().expect("valid"),
        version: Version::new(1, 0, 0),
        digest: Digest::of(name.as_bytes()),
        source: LockedSource::Registry { registry: None },
        features: vec![],
        dependencies: dependencies.iter().map(|name| name.parse().expect("valid")).collect(),
    }
}

fn locked(packages: &[LockedPackage]) -> Result<Lockfile, LockfileError> {
    Lockfile::new("linux-x86_64".into(), vec![], packages.to_vec())
}

#[test]
fn version_1_is_read_and_written_byte_for_byte() {
    let lockfile = Lockfile::parse(V1).expect("reads");
    assert_eq!(lockfile.to_string(), V1);
    assert_eq!(lockfile.roots()[1].requirement_text, "2..3");
    let order: Vec<_> =
        lockfile.dependency_order().expect("no circle").iter().map(|package| package.name.as_str()).collect();
    assert_eq!(order, ["math/vec3", "app", "tools/lint"]);
}

#[test]
fn other_texts_are_refused_with_their_line() {
    insta::assert_snapshot!(refusal(&V1.replace("version = 1\n", "version = 2\n")), @"lockfile has format version 2, and this program reads version 1");
    insta::assert_snapshot!(refusal("platform = \"linux\""), @"line 1: missing field `version`");
    insta::assert_snapshot!(refusal(&V1.replacen("blake3:7b", "blake3:7", 1)), @"line 35: `blake3:77015bb92cf0b318037702a6cdd81dee41224f734684c2c122cd6359cb1ee63` is not a digest of the form blake3:<64 hexadecimal digits>");
    insta::assert_snapshot!(refusal(&V1.replacen("registry+acme", "ftp", 1)), @"line 28: source `ftp` is neither `registry` nor `registry+<name>`");
    insta::assert_snapshot!(refusal(&V1.replacen("version = \"2.0.1\"", "version = \"2\"", 1)), @"line 34: unexpected end of input while parsing major version number");
    insta::assert_snapshot!(refusal(&V1.replacen("source =", "origin =", 1)), @"line 20: unknown field `origin`, expected one of `name`, `version`, `digest`, `source`, `features`, `dependencies`");
    insta::assert_snapshot!(refusal(&format!("{V1}\n{}", &V1[V1.find("[[package]]").expect("is there")..])), @"line 40: package `app` is there twice, first in line 16");
    insta::assert_snapshot!(refusal(&V1.replace("[\"math/vec3\"]", "[\"math/vec4\"]")), @"`math/vec4`, which package `app` needs, is not there");
    insta::assert_snapshot!(refusal(&V1.replacen("\"^1\"", "\"^2\"", 1)), @"package `app` 1.2.0 does not meet the requirement `^2`");
    insta::assert_snapshot!(refusal(&"#".repeat(LOCKFILE_BYTES_MAX + 1)), @"lockfile passes the bound of 16777216 bytes");
    for cut in 0..V1.len() {
        // A lockfile cut between two tables still reads as TOML; then its packages are not whole, or it is one.
        if let Ok(lockfile) = Lockfile::parse(&V1[..cut]) {
            assert!(lockfile.packages().len() < 4);
        }
    }
}

#[test]
fn a_set_that_is_not_whole_is_refused() {
    assert!(locked(&[package("a", &["b"]), package("b", &[])]).is_ok());
    insta::assert_snapshot!(locked(&[package("a", &["b"])]).expect_err("is refused"), @"`b`, which package `a` needs, is not there");
    insta::assert_snapshot!(locked(&[package("a", &[]), package("a", &[])]).expect_err("is refused"), @"package `a` is there twice");
    let circle = [package("r", &["a"]), package("a", &["b"]), package("b", &["c"]), package("c", &["a"])];
    insta::assert_snapshot!(locked(&circle).expect_err("is refused"), @"packages build on each other in a circle: a -> b -> c -> a");
    insta::assert_snapshot!(locked(&[package("a", &["a"])]).expect_err("is refused"), @"packages build on each other in a circle: a -> a");
}

#[test]
fn a_chain_as_long_as_the_bound_is_taken_and_no_longer_one() {
    let name = |i: usize| format!("p{i:05}");
    let mut chain: Vec<_> = (1..PACKAGES_MAX).map(|i| package(&name(i - 1), &[&name(i)])).collect();
    chain.push(package(&name(PACKAGES_MAX - 1), &[]));
    assert_eq!(locked(&chain).expect("fits").packages().len(), PACKAGES_MAX);
    chain.push(package("further", &[]));
    assert!(matches!(locked(&chain), Err(LockfileError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn the_text_form_round_trips(
        names in proptest::collection::btree_set("[a-z]{1,4}(/[a-z]{1,4})?", 1..6),
        texts in ("\\PC{0,8}", "\\PC{1,8}", "\\PC{0,8}"),
    ) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut packages: Vec<_> =
            (0..names.len()).rev().map(|i| package(names[i], &names[..i])).collect();
        packages[0].features = vec![texts.0];
        packages[0].source = LockedSource::Registry { registry: Some(texts.1) };
        let root = Requirement {
            name: packages[0].name.clone(),
            requirement: VersionReq::STAR,
            requirement_text: texts.2.clone(),
            features: vec![texts.2.clone()],
        };
        let lockfile = Lockfile::new(texts.2, vec![root], packages).expect("is whole");
        prop_assert_eq!(Lockfile::parse(&lockfile.to_string()).expect("reads back"), lockfile);
    }
}

/// Merges two lockfiles as git does, block by block: what only one side has, and what both have differently, in marks.
fn merged(ours: &Lockfile, theirs: &Lockfile, base: bool) -> String {
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    let blocks = |text: &str| text.split("\n\n").map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (blocks(&ours), blocks(&theirs));
    let marked = |ours: &[String], theirs: &[String]| {
        let side =
            |blocks: &[String]| blocks.iter().map(|block| format!("{}\n\n", block.trim_end())).collect::<String>();
        let base = if base { "||||||| base\nwhat = [was, before\n" } else { "" };
        format!("<<<<<<< ours\n{}{base}=======\n{}>>>>>>> theirs\n", side(ours), side(theirs))
    };
    let same = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
    let head: String = ours[..same].iter().map(|block| format!("{block}\n\n")).collect();
    head + &marked(&ours[same..], &theirs[same..])
}

#[test]
fn the_marks_of_a_merge_are_read_as_both_sides() {
    let at =
        |version: &str, name: &str| LockedPackage { version: version.parse().expect("valid"), ..package(name, &[]) };
    let lockfile = |packages: Vec<LockedPackage>| Lockfile::new("linux".into(), vec![], packages).expect("is whole");
    let ours = lockfile(vec![package("a", &["b"]), at("1.2.0", "b"), at("3.0.0", "c")]);
    let theirs = lockfile(vec![package("a", &["b"]), at("1.3.0", "b"), at("1.0.0", "d")]);
    for base in [false, true] {
        let Ok(Merged::Parts(parts)) = merge::read(&merged(&ours, &theirs, base)) else { panic!("is merged") };
        let shown: Vec<_> = parts.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
        assert_eq!(shown, ["a 1.0.0", "b 1.2.0", "b 1.3.0", "c 3.0.0", "d 1.0.0"]);
    }
    assert_eq!(merge::read(&ours.to_string()).expect("reads"), Merged::Whole(ours.clone()));
    // Merged without a mark: one side took `b` out, the other began to need it.
    let gone = ours.to_string().replacen("name = \"b\"", "name = \"z\"", 1);
    assert!(matches!(merge::read(&gone), Ok(Merged::Parts(parts)) if parts.len() == 3));
    let refusal = |text: &str| merge::read(text).expect_err("is refused").to_string();
    let wrong = merged(&ours, &theirs, false).replacen("version = \"1.3.0\"", "version = \"1.3\"", 1);
    let line = wrong.lines().position(|line| line == "version = \"1.3\"").expect("is there") + 1;
    assert_eq!(refusal(&wrong), format!("line {line}: unexpected end of input while parsing minor version number"));
    assert_eq!(
        refusal(&merged(&ours, &theirs, false).replacen("version = 1\n", "version = 9\n", 1)),
        refusal("version = 9")
    );
    assert!(refusal(&"<<<<<<< ours\n".repeat(LOCKFILE_BYTES_MAX / 12)).contains("bound"));
}

proptest! {
    #[test]
    fn a_merge_keeps_the_packages_of_both_sides_and_nothing_else(
        ours in proptest::collection::btree_map("[a-e]", 0_u64..3, 0..5),
        theirs in proptest::collection::btree_map("[a-e]", 0_u64..3, 0..5),
        base in any::<bool>(),
    ) {
        let lockfile = |versions: &BTreeMap<String, u64>| {
            let at = |(name, minor): (&String, &u64)| LockedPackage { version: Version::new(1, *minor, 0), ..package(name, &[]) };
            locked(&versions.iter().map(at).collect::<Vec<_>>()).expect("is whole")
        };
        let text = merged(&lockfile(&ours), &lockfile(&theirs), base);
        let Ok(Merged::Parts(parts)) = merge::read(&text) else { panic!("is merged:\n{text}") };
        let found: Vec<_> = parts.iter().map(|package| (package.name.to_string(), package.version.minor)).collect();
        let wanted: std::collections::BTreeSet<_> = ours.into_iter().chain(theirs).collect();
        prop_assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_change_of_one_package_is_a_change_of_its_lines_alone(at in 0_usize..5) {
        let mut packages: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| package(name, &[])).collect();
        let before = locked(&packages).expect("is whole").to_string();
        packages[at].version = Version::new(7, 0, 0);
        packages[at].digest = Digest::of(b"another");
        let after = locked(&packages).expect("is whole").to_string();
        let changed: Vec<_> = before.lines().zip(after.lines()).filter(|(one, other)| one != other).collect();
        prop_assert_eq!((changed.len(), before.lines().count()), (2, after.lines().count()));
    }
}
