//! Resolution over registries written as text, and random ones against trying everything.

mod random;

use super::fixture::{dependency, fixture};
use super::*;
use crate::package::model::Source;

fn options() -> Options {
    Options::new("linux-x86_64".into(), None)
}

fn resolved(registry: &str, roots: &str, locked: Option<&Lockfile>) -> Result<Resolution, ResolveError> {
    resolve(&fixture(registry), &fixture::requirements(roots), locked, &options())
}

/// Writes a resolution as `name version` or `name[feature] version`, in order.
fn shown(resolution: &Resolution) -> String {
    let packages = resolution.packages().map(|package| {
        let features = package.features.join(",");
        let features = if features.is_empty() { features } else { format!("[{features}]") };
        format!("{}{features} {}", package.name, package.version)
    });
    packages.collect::<Vec<_>>().join(", ")
}

fn check(registry: &str, roots: &str, expected: &str) {
    match resolved(registry, roots, None) {
        Ok(resolution) => assert_eq!(shown(&resolution), expected),
        Err(error) => panic!("{error}"),
    }
}

fn refusal(registry: &str, roots: &str) -> String {
    resolved(registry, roots, None).expect_err("is refused").to_string()
}

#[test]
fn three_levels_come_out_dependencies_first_with_the_highest_versions() {
    let registry =
        "app 1.0 -> lib ^1; tool ^1\nlib 1.0\nlib 1.2 -> base *\nlib 2.0\nbase 1.0\nbase 0.1\ntool 1.0 -> base ^1";
    check(registry, "app ^1", "base 1.0.0, lib 1.2.0, tool 1.0.0, app 1.0.0");
    let lockfile = || resolved(registry, "app ^1", None).expect("resolves").into_lockfile();
    assert_eq!(lockfile().to_string(), lockfile().to_string());
    assert_eq!(lockfile().get(&"app".parse().expect("valid")).expect("is there").dependencies.len(), 2);
    check(registry, "", "");
}

#[test]
fn a_dead_end_is_left_again() {
    let registry = "app 1.0 -> lib ^1\napp 2.0 -> lib ^2; old ^1\nlib 1.0\nlib 2.0\nold 1.0 -> lib ^1";
    check(registry, "app *", "lib 1.0.0, app 1.0.0");
}

#[test]
fn features_switch_on_optional_dependencies_and_each_other() {
    let registry = "app 1.0 +full=fast,gpu +fast=simd -> simd? ^1; gpu? ^1; lib ^1\nsimd 1.0\ngpu 1.0\nlib 1.0";
    check(registry, "app *", "lib 1.0.0, app 1.0.0");
    check(registry, "app[simd] *", "lib 1.0.0, simd 1.0.0, app[simd] 1.0.0");
    check(registry, "app[full] *", "gpu 1.0.0, lib 1.0.0, simd 1.0.0, app[fast,full,gpu,simd] 1.0.0");
    check("a 1 -> b[x] *\nb 1 +x=c -> c? *\nb 2\nc 1", "a *", "c 1.0.0, b[c,x] 1.0.0, a 1.0.0");
    insta::assert_snapshot!(refusal(registry, "app[slow] ^1"), @r"
        no choice of versions meets every requirement
        - you require `app ^1` with feature `slow`
        - `app` 1.0.0 has no feature `slow`
        hint: it has the features `fast`, `full`, `gpu`, `simd`
        ");
    insta::assert_snapshot!(refusal("a 1 +x=y +y=b -> b? ^2\nb 1", "a[x] *; b ^1"), @r"
        no choice of versions meets every requirement
        - you require `a *` with feature `x`
        - `a` 1.0.0 with feature `b` requires `b ^2`
        - `a` 1.0.0 with feature `x` switches on feature `y`
        - `a` 1.0.0 with feature `y` switches on feature `b`
        so no version of `b` meets `^2`
        hint: the nearest version of `b` is 1.0.0
        ");
}

#[test]
fn a_dependency_of_another_platform_is_left_out() {
    let registry = "app 1.0 -> a@linux ^1; b@linux-x86_64 ^1; c@windows ^9; d@linux-x86 ^9\na 1.0\nb 1.0";
    check(registry, "app *", "a 1.0.0, b 1.0.0, app 1.0.0");
}

#[test]
fn pre_releases_are_only_taken_where_asked_for() {
    let registry = "lib 1.0\nlib 2.0.0-rc.1";
    check(registry, "lib *", "lib 1.0.0");
    check(registry, "lib >=2.0.0-alpha", "lib 2.0.0-rc.1");
    insta::assert_snapshot!(refusal(registry, "lib ^2"), @r"
        no choice of versions meets every requirement
        - you require `lib ^2`
        so no version of `lib` meets `^2`
        hint: `lib` 2.0.0-rc.1 is a pre-release; `=2.0.0-rc.1` asks for it
        ");
}

#[test]
fn yanked_versions_are_only_taken_where_locked() {
    let before = "lib 1.0\nlib 1.1";
    let after = "lib 1.0\nlib 1.1 yanked:leaks";
    let locked = resolved(before, "lib ^1", None).expect("resolves").into_lockfile();
    check(after, "lib ^1", "lib 1.0.0");
    assert_eq!(shown(&resolved(after, "lib ^1", Some(&locked)).expect("resolves")), "lib 1.1.0");
    insta::assert_snapshot!(refusal(after, "lib ^1.1"), @r"
        no choice of versions meets every requirement
        - you require `lib ^1.1`
        so no version of `lib` meets `^1.1`
        hint: `lib` 1.1.0 meets `^1.1` but was yanked: leaks
        ");
    insta::assert_snapshot!(refusal("lib 1.0 yanked", "lib ^2"), @r"
        no choice of versions meets every requirement
        - you require `lib ^2`
        so no version of `lib` meets `^2`
        hint: every version of `lib` was yanked
        ");
}

#[test]
fn locked_versions_stay_unless_they_must_change() {
    let before = "app 1.0 -> lib ^1\nlib 1.0\nother 1.0";
    let after = "app 1.0 -> lib ^1\napp 1.1 -> lib ^1\nlib 1.0\nlib 1.5\nother 1.0\nother 1.1";
    let locked = resolved(before, "app ^1; other ^1", None).expect("resolves").into_lockfile();
    let again = |roots: &str, unlock: &[&str]| {
        let unlock = unlock.iter().map(|name| name.parse().expect("valid")).collect();
        let options = Options { unlock, ..options() };
        let roots = fixture::requirements(roots);
        shown(&resolve(&fixture(after), &roots, Some(&locked), &options).expect("resolves"))
    };
    assert_eq!(again("app ^1; other ^1", &[]), "lib 1.0.0, app 1.0.0, other 1.0.0");
    assert_eq!(again("app ^1.1; other ^1", &[]), "lib 1.0.0, app 1.1.0, other 1.0.0");
    assert_eq!(again("app ^1; other ^1", &["lib"]), "lib 1.5.0, app 1.0.0, other 1.0.0");
}

#[test]
fn a_locked_version_with_another_content_is_refused() {
    let locked = resolved("lib 1.0", "lib ^1", None).expect("resolves").into_lockfile();
    let mut changed = fixture("lib 1.0");
    changed.packages.values_mut().for_each(|versions| versions[0].1.digest = Digest::of(b"other"));
    let error = resolve(&changed, &fixture::requirements("lib ^1"), Some(&locked), &options()).expect_err("is refused");
    assert!(matches!(error, ResolveError::Changed { .. }), "{error}");
}

#[test]
fn a_circle_is_shown_whole() {
    let circle = "r 1 -> a *\na 1 -> b *\nb 1 -> c *\nc 1 -> a *";
    insta::assert_snapshot!(refusal(circle, "r *"), @"packages depend on each other in a circle: a -> b -> c -> a");
    insta::assert_snapshot!(refusal("a 1 -> a *", "a *"), @r"
        no choice of versions meets every requirement
        - you require `a *`
        - `a` 1.0.0 cannot be used: it depends on itself, a -> a
        ");
}

#[test]
fn conflicts_are_explained() {
    insta::assert_snapshot!(
        refusal("app 1 -> lib ^2\ntool 1 -> lib ^1\ntool 1.1 -> lib ^1\nlib 1\nlib 2", "app ^1; tool ^1"),
        @r"
        no choice of versions meets every requirement
        - you require `app ^1`
        - you require `tool ^1`
        - `app` 1.0.0 requires `lib ^2`
        - every version of `tool` requires `lib ^1`
        so no version of `lib` meets both `^1` and `^2`
        "
    );
    // Both versions of `app` fail, for different reasons.
    insta::assert_snapshot!(
        refusal("app 1 -> lib ^1\napp 2 -> log ^3\nlib 1 -> log ^2\nlog 1\nlog 2\nlog 3", "app *; log ^1"),
        @r"
        no choice of versions meets every requirement
        - you require `app *`
        - you require `log ^1`
        - `app` 1.0.0 requires `lib ^1`
        - `app` 2.0.0 requires `log ^3`
        - `lib` 1.0.0 requires `log ^2`
        so no version of `log` meets both `^1` and `^2`
        so no version of `log` meets both `^1` and `^3`
        hint: `log` 3.0.0 instead of `^1` fits all the rest
        "
    );
    insta::assert_snapshot!(refusal("app 1 -> math/vec ^1.4\nmath/vec 1.2\nmath/vec 3.0", "app ^1"), @r"
        no choice of versions meets every requirement
        - you require `app ^1`
        - `app` 1.0.0 requires `math/vec ^1.4`
        so no version of `math/vec` meets `^1.4`
        hint: the nearest version of `math/vec` is 1.2.0
        ");
    insta::assert_snapshot!(refusal("app 1 -> rustls ^1\nrustls 1 -> wbepki *\nwebpki 1", "app ^1"), @r"
        no choice of versions meets every requirement
        - you require `app ^1`
        - `app` 1.0.0 requires `rustls ^1`
        - `rustls` 1.0.0 requires `wbepki *`
        so there is no package `wbepki`
        hint: there is a package `webpki`
        ");
    insta::assert_snapshot!(refusal("app 1 -> lib git:https://example.org/lib", "app ^1"), @r"
        no choice of versions meets every requirement
        - you require `app ^1`
        - `app` 1.0.0 cannot be used: its dependency `lib` comes from the git repository `https://example.org/lib`
        ");
}

#[test]
fn what_cannot_stand_together_is_chosen_apart_or_told() {
    // The highest of each exclude each other, whichever of them says so and whoever needs them.
    let registry = "app 1 -> lib *; tool *\nlib 1\nlib 2 -> !tool >=2\ntool 1\ntool 2\ntool 3";
    check(registry, "app *", "lib 2.0.0, tool 1.0.0, app 1.0.0");
    check(registry, "tool *; app *", "lib 2.0.0, tool 1.0.0, app 1.0.0");
    check(registry, "tool ^3; app *", "lib 1.0.0, tool 3.0.0, app 1.0.0");
    check(registry, "lib *", "lib 2.0.0");
    check("a 1 -> !nobody *\nb 1 -> !a *", "a *", "a 1.0.0");
    // What is locked stays, and what excludes it is not taken.
    let locked = resolved(registry, "tool ^3; lib *", None).expect("resolves").into_lockfile();
    let both = resolved(registry, "tool *; lib *", Some(&locked)).expect("resolves");
    assert_eq!(shown(&both), "lib 1.0.0, tool 3.0.0");
    insta::assert_snapshot!(refusal("app 1 -> lib ^2\nlib 2 -> !tool <3\nlib 2.1 -> !tool <3\ntool 1\ntool 2", "app *; tool ^2"), @r"
    no choice of versions meets every requirement
    - you require `app *`
    - you require `tool ^2`
    - `app` 1.0.0 requires `lib ^2`
    - every version of `lib` cannot stand beside `tool <3`
    so no version of `lib` that will do goes with one of `tool` that will do
    ");
}

#[test]
fn a_feature_that_is_not_there_is_told_with_those_that_are() {
    let registry = "app 1 +fast +full=gpu -> gpu? *\ngpu 1";
    let hint = |roots: &str| match resolved(registry, roots, None) {
        Err(ResolveError::Unsatisfiable(conflict)) => conflict.hints().join("; "),
        other => panic!("{other:?}"),
    };
    assert_eq!(hint("app[fats] *"), "did you mean feature `fast`?");
    assert_eq!(hint("app[zzz] *"), "it has the features `fast`, `full`, `gpu`");
    check(registry, "app[default] *", "app[default] 1.0.0");
}

#[test]
fn too_new_versions_are_only_taken_where_locked() {
    let registry = "lib 1.0 #10\nlib 1.1 #20\nlib 1.2 #30\nlib 1.3";
    let day = |day| Some(OffsetDateTime::UNIX_EPOCH + time::Duration::days(day));
    let newest = resolved(registry, "lib =1.2.0", None).expect("resolves").into_lockfile();
    let resolved = |roots: &str, limit, locked: Option<&Lockfile>| {
        let options = Options { exclude_newer: limit, ..options() };
        resolve(&fixture(registry), &fixture::requirements(roots), locked, &options)
    };
    let at = |limit, locked| shown(&resolved("lib *", limit, locked).expect("resolves"));
    assert_eq!([at(None, None), at(day(20), None), at(day(19), None)], ["lib 1.3.0", "lib 1.1.0", "lib 1.0.0"]);
    assert_eq!(at(day(15), Some(&newest)), "lib 1.2.0");
    insta::assert_snapshot!(resolved("lib ^1.2", day(20), None).expect_err("is refused"), @r"
    no choice of versions meets every requirement
    - you require `lib ^1.2`
    so no version of `lib` meets `^1.2`
    hint: `lib` 1.3.0 meets `^1.2` but is newer than `--exclude-newer` allows
    ");
}

#[test]
fn unlocked_packages_go_as_far_as_the_update_says() {
    let registry = "app 1 -> lib >=1\nlib 1.2 -> base ^1\nlib 1.3 -> base ^1\nlib 2.0\nbase 1.0\nbase 1.1";
    let locked = resolved("app 1 -> lib >=1\nlib 1.2 -> base ^1\nbase 1.0", "app *", None).expect("resolves");
    let again = |update, roots: &str| {
        let options = Options { update, unlock: BTreeSet::from(["lib".parse().expect("valid")]), ..options() };
        resolve(&fixture(registry), &fixture::requirements(roots), Some(locked.lockfile()), &options)
    };
    assert_eq!(shown(&again(Update::Latest, "app *").expect("resolves")), "lib 2.0.0, app 1.0.0");
    assert_eq!(shown(&again(Update::Safe, "app *").expect("resolves")), "base 1.0.0, lib 1.3.0, app 1.0.0");
    insta::assert_snapshot!(again(Update::Safe, "lib ^2").expect_err("is refused"), @r"
    no choice of versions meets every requirement
    - you require `lib ^2`
    so no version of `lib` meets `^2`
    hint: `lib` 2.0.0 meets `^2` but is not compatible with 1.2.0, which is locked
    ");
}

#[test]
fn the_lowest_versions_are_taken_of_all_or_of_what_is_named() {
    let registry = "app 1.0 -> lib ^1.1\napp 1.1 -> lib ^1.1\nlib 1.0\nlib 1.1\nlib 1.2";
    let at = |preference| {
        let options = Options { preference, ..options() };
        shown(&resolve(&fixture(registry), &fixture::requirements("app *"), None, &options).expect("resolves"))
    };
    assert_eq!(at(Preference::Highest), "lib 1.2.0, app 1.1.0");
    assert_eq!(at(Preference::Lowest), "lib 1.1.0, app 1.0.0");
    assert_eq!(at(Preference::LowestDirect), "lib 1.2.0, app 1.0.0");
}

#[test]
fn what_the_node_has_meets_requirements_on_virtual_packages() {
    let registry = "app 1 -> __gpu >=1; __memory >=2048; lib *\napp 2 -> __gpu >=4\nlib 1 -> __runtime-julia ^1.11";
    let on = |node: Option<&[(&str, u64)]>, roots: &str| {
        let node =
            node.map(|node| node.iter().map(|(name, major)| ((*name).into(), Version::new(*major, 11, 0))).collect());
        let options = Options { node, exclude_newer: Some(OffsetDateTime::UNIX_EPOCH), ..options() };
        let mut registry = fixture(registry);
        for (candidate, _) in registry.packages.values_mut().flatten() {
            candidate.published_at = Some(OffsetDateTime::UNIX_EPOCH);
        }
        resolve(&registry, &fixture::requirements(roots), None, &options)
    };
    let all = [("__gpu", 2), ("__memory", 4096), ("__runtime-julia", 1)];
    let lockfile = on(Some(&all), "app *; __gpu *").expect("resolves");
    assert_eq!(shown(&lockfile), "lib 1.0.0, app 1.0.0", "what is of the node is not locked");
    assert_eq!(shown(&on(None, "app *").expect("resolves")), "app 2.0.0", "nothing is asked where nothing is known");
    insta::assert_snapshot!(on(Some(&all[1..]), "app *").expect_err("is refused"), @r"
    no choice of versions meets every requirement
    - you require `app *`
    - `app` 1.0.0 requires `__gpu >=1`
    - `app` 2.0.0 requires `__gpu >=4`
    so this node has no `__gpu`
    ");
    insta::assert_snapshot!(on(Some(&[("__gpu", 1), ("__memory", 1024)]), "app ^1").expect_err("is refused"), @r"
    no choice of versions meets every requirement
    - you require `app ^1`
    - `app` 1.0.0 requires `__memory >=2048`
    so this node has `__memory` 1024.11.0, which does not meet `>=2048`
    ");
}

#[test]
fn a_report_has_a_bounded_length() {
    let mut registry = String::new();
    for i in 0..60 {
        registry += &format!("app 1.{i} -> a{i} ^1\na{i} 1 -> end ^2\n");
    }
    let report = refusal(&(registry + "end 1\nend 2"), "app *; end ^1");
    assert_eq!(report.lines().count(), REPORT_LINES_MAX);
    assert!(report.contains("facts more") && report.contains("so no version of `end` meets both"), "{report}");
}

#[test]
fn a_conflict_about_many_versions_is_explained() {
    let mut registry = String::from("base 1\n");
    for i in 0..300 {
        registry += &format!("app 1.{i}.0 -> lib =1.{i}.0\nlib 1.{i}.0 -> base ^2.{i}\n");
    }
    let report = refusal(&registry, "app *");
    assert_eq!(report.lines().count(), REPORT_LINES_MAX);
}

#[test]
fn a_proof_deeper_than_the_stack_is_dropped() {
    let leaf = || pubgrub::DerivationTree::External(pubgrub::External::NotRoot(graph::Node::Root, 0));
    let mut tree = leaf();
    for _ in 0..200_000 {
        tree = pubgrub::DerivationTree::Derived(pubgrub::Derived {
            terms: pubgrub::Map::default(),
            shared_id: None,
            cause1: std::sync::Arc::new(tree),
            cause2: std::sync::Arc::new(leaf()),
        });
    }
    conflict::dismantle(tree);
}

#[test]
fn only_the_highest_versions_and_the_locked_one_are_looked_at() {
    let oldest = resolved("lib 1", "lib *", None).expect("resolves").into_lockfile();
    let registry: String = (0..=CANDIDATES_MAX).map(|minor| format!("lib 1.{minor}\n")).collect();
    check(&registry, "lib <=1.1", "lib 1.1.0");
    insta::assert_snapshot!(refusal(&registry, "lib <1.1"), @r"
    no choice of versions meets every requirement
    - you require `lib <1.1`
    so no version of `lib` meets `<1.1`
    hint: the nearest version of `lib` is 1.1.0
    ");
    assert_eq!(shown(&resolved(&registry, "lib <1.1", Some(&oldest)).expect("resolves")), "lib 1.0.0");
}

#[test]
fn requirements_of_a_package_leave_out_what_is_optional_or_elsewhere() {
    let wanted = ["a ^1", "b? ^1", "c@windows ^1"].map(dependency);
    let names: Vec<_> =
        requirements(&wanted, &options()).expect("are fine").into_iter().map(|root| root.name).collect();
    assert_eq!(names, ["a".parse().expect("valid")]);

    let refused = |source| {
        let dependency = Dependency { source, ..dependency("lib *") };
        requirements(&[dependency], &options()).expect_err("is refused").to_string()
    };
    let (url, path) = ("https://example.org".to_owned(), "../lib".to_owned());
    insta::assert_snapshot!(refused(Source::Git { url: url.clone(), reference: None, path: None }), @"dependency `lib` comes from the git repository `https://example.org`, and only dependencies from the registry are resolved");
    insta::assert_snapshot!(refused(Source::Local { path }), @"dependency `lib` comes from the local directory `../lib`, and only dependencies from the registry are resolved");
    insta::assert_snapshot!(refused(Source::Http { url, sha256: String::new() }), @"dependency `lib` comes from the web address `https://example.org`, and only dependencies from the registry are resolved");
    insta::assert_snapshot!(refused(Source::Registry { registry: Some("acme".into()) }), @"dependency `lib` comes from the registry `acme`, and only dependencies from the registry are resolved");
    let acme = Options { registry: Some("acme".into()), ..options() };
    let source = Source::Registry { registry: Some("acme".into()) };
    assert!(requirements(&[Dependency { source, ..dependency("lib *") }], &acme).is_ok());
}

#[test]
fn the_rounds_are_bounded() {
    let resolve = |rounds_max| {
        let options = Options { rounds_max, ..options() };
        resolve(&fixture("a 1 -> b *\nb 1 -> c *\nc 1"), &fixture::requirements("a *"), None, &options)
    };
    assert!(resolve(8).is_ok());
    assert!(matches!(resolve(2), Err(ResolveError::Rounds { rounds: 2 })));
}

#[test]
fn a_dependency_from_elsewhere_is_never_taken_from_here() {
    // Dependency confusion: a private name of another place, and here a public one of a far higher version.
    let git = refusal("app 1 -> x git:https://example.org/x\nx 99", "app ^1");
    assert!(git.contains("`x` comes from the git repository"), "{git}");
    let mut public = fixture("app 1 -> x >=1\nx 99");
    let app = public.packages.get_mut(&"app".parse().expect("a name")).expect("is there");
    app[0].1.dependencies[0].source = Source::Registry { registry: Some("acme".into()) };
    let wanted = fixture::requirements("app ^1");
    let error = resolve(&public, &wanted, None, &options()).expect_err("is refused").to_string();
    assert!(error.contains("`x` comes from the registry `acme`"), "{error}");
    let own = Options { registry: Some("acme".into()), ..options() };
    assert!(resolve(&public, &wanted, None, &own).is_ok(), "and where it is from here, it is taken");
}

#[test]
fn a_source_that_fails_is_reported() {
    struct Broken;
    impl Candidates for Broken {
        fn candidates(&self, _: &PackageName) -> Result<Vec<Candidate>, CandidatesError> {
            Err("disk on fire".into())
        }

        fn details(&self, _: &PackageName, _: &Version) -> Result<Details, CandidatesError> {
            Err("disk on fire".into())
        }

        fn names(&self) -> Result<Vec<PackageName>, CandidatesError> {
            Ok(vec![])
        }
    }
    let error = resolve(&Broken, &fixture::requirements("a *"), None, &options()).expect_err("is refused");
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("disk on fire"));
}
