//! The text of a lockfile there and back, its frozen first version, and what is refused with its line.

use proptest::prelude::*;

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
