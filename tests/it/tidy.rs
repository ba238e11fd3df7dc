//! The rules of the tree that machines can hold: layers, boundaries, form, manifests, and documents that cite tests.
//!
//! A rule is a function from the files to its faults, `path:line: what`. Each runs over the workspace, and each over a
//! small tree that breaks it. That the JSON Schemas are fresh is held where they are made.

mod boundaries;
mod citations;
mod form;
mod layers;
mod manifests;
mod tree;

use std::sync::LazyLock;

use tree::Tree;

type Rule = fn(&Tree) -> Vec<String>;

static WORKSPACE: LazyLock<Tree> = LazyLock::new(Tree::of_workspace);

/// Fails with every fault of the workspace and what to do about them.
fn hold(rule: Rule, advice: &str) {
    assert!(WORKSPACE.get("Cargo.toml").is_some(), "the files of the workspace are found");
    let faults = rule(&WORKSPACE);
    assert!(faults.is_empty(), "{}\n\n{advice}", faults.join("\n"));
}

#[test]
fn layers() {
    hold(
        layers::imports_go_down,
        "A module of `src/` imports only modules above it in the table of layers in ARCHITECTURE.md. Move what both need \
         down, pass it in, or give the upper module a trait of the lower one to implement.",
    );
    hold(layers::the_table_is_the_tree, "Every module at the top of `src/` has one row there, lowest layer first.");
}

#[test]
fn boundaries() {
    hold(
        boundaries::fences_hold,
        "Go through what the named places offer, or give a new place its reason in `FENCES`.",
    );
    hold(
        boundaries::doors_are_used,
        "Remove the entry in `FENCES`: an exception that nothing needs hides the next one.",
    );
}

#[test]
fn host_names_no_extension() {
    hold(
        boundaries::the_host_names_no_extension,
        "host-sim serves any extension; what it shows for one comes from that extension's request table or manifest.",
    );
}

#[test]
fn sizes() {
    hold(form::files_are_small, "Split the file along its concepts; make a large fixture by code.");
}

#[test]
fn openings() {
    hold(
        form::modules_say_what_they_are_for,
        "Begin with `//!`: what the module is for, what it never does, the invariant it keeps.",
    );
}

#[test]
fn no_forgotten_modules() {
    hold(
        form::no_module_is_forgotten,
        "Declare it in the file above it, or delete it; `foo.rs` and `foo/`, no `mod.rs`.",
    );
}

#[test]
fn nothing_unfinished() {
    hold(
        form::nothing_is_unfinished,
        "Finish it or leave it out; a test that cannot pass asserts what does happen and why.",
    );
}

#[test]
fn lint_exceptions_have_reasons() {
    hold(form::lint_exceptions_have_reasons, "Write `#[expect(lint, reason = \"...\")]`.");
}

#[test]
fn no_registry_hosts() {
    hold(form::no_registry_is_named, "Say which tool fetches it; the tool knows from where.");
}

#[test]
fn line_ends() {
    hold(form::lines_end_clean, "Remove the space, end the last line.");
}

#[test]
fn dependencies_are_used() {
    hold(manifests::dependencies_are_used, "Remove it, or move its version to `[workspace.dependencies]`.");
    hold(manifests::workspace_dependencies_are_used, "Remove it from `[workspace.dependencies]`.");
    hold(manifests::features_are_used, "Remove the feature.");
}

#[test]
fn cited_tests_exist() {
    hold(citations::cited_tests_exist, "Cite `it::module::name`, or `module::tests::name` as `cargo test` prints it.");
}

#[test]
fn architecture_is_whole() {
    hold(citations::the_map_names_every_module, "Name it there with one line on what it is for.");
    hold(citations::every_invariant_has_a_test, "Name the test that holds it, or write one.");
}

#[test]
fn every_threat_has_a_test() {
    hold(
        citations::every_threat_has_a_test,
        "Name the test that holds the defence, or end the row with `| not built |`.",
    );
}

#[test]
fn every_capability_has_a_test() {
    hold(citations::every_capability_has_a_test, "Name the test that holds it; keep the numbers in their order.");
}

#[test]
fn every_target_is_in_the_page() {
    hold(citations::every_target_is_in_the_page, "Run `benches/compare.sh --write`, which makes the page.");
}

#[test]
fn every_rule_finds_its_fault() {
    let check = |rule: Rule, files: &[(&str, &str)], expected: &[&str]| {
        assert_eq!(rule(&Tree::of(files)), expected);
    };
    let map = "| L0 | `low` | x |\n| L2 | `high` | x |\n";
    let low = ("src/low.rs", "//! See `crate::high`.\nuse crate::{low::A, high::{B, C}};\nuse super::high;\n");
    check(
        layers::imports_go_down,
        &[("ARCHITECTURE.md", map), low, ("src/high.rs", "use crate::low;\n")],
        &[
            "src/low.rs:2: `low` imports `high`, which is above it",
            "src/low.rs:3: `super` reaches the root of the crate, which hides an import",
        ],
    );
    check(
        layers::the_table_is_the_tree,
        &[("ARCHITECTURE.md", "| L2 | `a` | x |\n| L1 | `b` | x |\n"), ("src/a.rs", ""), ("src/c.rs", "")],
        &[
            "ARCHITECTURE.md:2: layer L1 stands below L2",
            "ARCHITECTURE.md:2: there is no module `b`",
            "src/c.rs:1: `c` has no row in the table of layers",
        ],
    );
    check(
        boundaries::fences_hold,
        &[("src/a.rs", "// unsafe\nuse hypermesh_abi::x;\n"), ("src/extension/b.rs", "use hypermesh_abi::x;\n")],
        &["src/a.rs:2: `hypermesh_abi` belongs to [\"src/extension\"]"],
    );
    check(
        boundaries::doors_are_used,
        &[("src/vm/sandbox/sys.rs", "//! Nothing unsafe.\n")],
        &[
            "src/vm/sandbox/sys.rs:1: does not use `unsafe`, though processes, namespaces and mounts have calls without a safe form",
        ],
    );
    check(
        boundaries::the_host_names_no_extension,
        &[("host-sim/src/a.rs", "// catalog\n\"catalogue\"\n\"catalog\"\nmod tests {\n\"catalog\"\n")],
        &["host-sim/src/a.rs:3: names an extension"],
    );
    check(
        citations::cited_tests_exist,
        &[
            (
                "README.md",
                "`it::a` `it::a::yes` `it::a::by_macro` `it::a::no` `b::c::tests::yes` `host_sim::d::tests::yes` `b::tests::helper`\n",
            ),
            ("tests/it/a.rs", "#[test]\nfn yes() {}\nfn by_macro() {}\ntests! {\n    by_macro\n}\n"),
            ("src/b.rs", "mod tests {\n    fn helper() {}\n}\n"),
            ("src/b/c/tests.rs", "#[tokio::test(start_paused = true)]\nasync fn yes() {}\n"),
            ("host-sim/src/d.rs", "mod tests {\n    #[test]\n    fn yes() {}\n}\n"),
        ],
        &["README.md:1: there is no test `it::a::no`", "README.md:1: there is no test `b::tests::helper`"],
    );
    let map = "### `src/`\n`a`\n### `abi/`\n`b`\n## Invariants\n\n| x | y |\n|---|---|\n| c | d |\n";
    check(
        citations::the_map_names_every_module,
        &[("ARCHITECTURE.md", map), ("abi/src/a.rs", ""), ("src/a.rs", "")],
        &["abi/src/a.rs:1: section `### `abi/`` of ARCHITECTURE.md does not name `a`"],
    );
    check(
        citations::every_invariant_has_a_test,
        &[("ARCHITECTURE.md", map)],
        &["ARCHITECTURE.md:9: an invariant that no test holds"],
    );
    check(citations::every_invariant_has_a_test, &[], &["ARCHITECTURE.md:1: no table under `## Invariants`"]);
    let threats = "| threat | held by |\n|---|---|\n| a | `it::b` |\n| c | not built |\n| d | `e` |\n| f | hope |\n";
    check(
        citations::every_threat_has_a_test,
        &[("docs/threats.md", threats)],
        &["docs/threats.md:5: a threat that no test holds", "docs/threats.md:6: a threat that no test holds"],
    );
    check(citations::every_threat_has_a_test, &[], &["docs/threats.md:1: no table of threat"]);
    let capabilities = "| capability | means | held by |\n|---|---|---|\n| S001 | a | `it::b` |\n| S003 | c | hope |\n";
    check(
        citations::every_capability_has_a_test,
        &[("docs/capabilities.md", capabilities)],
        &[
            "docs/capabilities.md:4: a capability that no test holds",
            "docs/capabilities.md:4: S002 should stand here",
            "docs/capabilities.md:1: 2 capabilities of 189",
        ],
    );
    let page = "| Benchmark | What | Median |\n|---|---|---|\n| a | fast | 1 |\n| a | gone | 2 |\n";
    let bench = "at_most(\"fast\", 1);\ntarget::at_least(\n    \"new\", 2);\nfn at_most(what: &str) {}\n";
    check(
        citations::every_target_is_in_the_page,
        &[("docs/performance.md", page), ("benches/a.rs", bench)],
        &[
            "benches/a.rs:2: docs/performance.md does not have `new`",
            "docs/performance.md:4: no benchmark measures `gone`",
        ],
    );
}

#[test]
fn every_rule_of_form_finds_its_fault() {
    let check = |rule: Rule, files: &[(&str, &str)], expected: &[&str]| {
        assert_eq!(rule(&Tree::of(files)), expected);
    };
    let (long, large) = ("\n".repeat(801), "x".repeat((64 << 10) + 1));
    check(
        form::files_are_small,
        &[("src/a.rs", &long), ("src/b.rs", &long[1..]), ("tests/fixtures/c", &large), ("c", &large)],
        &["src/a.rs:801: 801 lines, at most 800", "tests/fixtures/c:1: 65537 bytes, at most 65536"],
    );
    check(
        form::modules_say_what_they_are_for,
        &[("src/a.rs", "use b;\n"), ("src/b.rs", "//! Is for b.\n")],
        &["src/a.rs:1: does not begin with `//!`"],
    );
    check(
        form::no_module_is_forgotten,
        &[
            ("src/lib.rs", "pub mod a;\n// mod b;\n"),
            ("src/a.rs", ""),
            ("src/b.rs", ""),
            ("src/a/mod.rs", ""),
            ("tests/it/main.rs", "mod c;\n"),
            ("tests/it/d.rs", ""),
        ],
        &[
            "src/b.rs:1: no `mod b;` in `src.rs`",
            "src/a/mod.rs:1: a `mod.rs`",
            "tests/it/d.rs:1: no `mod d;` in `tests/it.rs`",
        ],
    );
    check(
        form::nothing_is_unfinished,
        &[("a.rs", "// todo!\ntodo!();\n"), ("b.md", concat!("mastodon TODOs\n", "This is For ", "Now.\n"))],
        &["a.rs:2: `todo!`", concat!("b.md:2: `for ", "now`")],
    );
    check(
        form::lint_exceptions_have_reasons,
        &[("a.rs", "#[expect(\n    a,\n    reason = \"(b)\"\n)]\n#![allow(a)]\n")],
        &["a.rs:5: no `reason`"],
    );
    check(
        form::no_registry_is_named,
        &[("a", concat!("b\ncrates", ".io\n")), ("Cargo.lock", concat!("crates", ".io"))],
        &[concat!("a:2: `crates", ".io`")],
    );
    check(
        form::lines_end_clean,
        &[("a", "b \nc")],
        &["a:1: space at the end of the line", "a:2: the last line does not end"],
    );
    let manifest = "[workspace.dependencies]\na = \"1\"\nb = \"1\"\n[package]\n[dependencies]\na.workspace = true\n[features]\nf = []\n";
    let inner = "[package]\n[dev-dependencies]\nc-d = \"1\"\n";
    let files =
        [("Cargo.toml", manifest), ("src/lib.rs", "use a::x;\n"), ("e/Cargo.toml", inner), ("e/src/lib.rs", "c\n")];
    check(
        manifests::dependencies_are_used,
        &files,
        &[
            "e/Cargo.toml:3: `c-d` has its version here and not in the workspace",
            "e/Cargo.toml:3: no code of `e` names `c-d`",
        ],
    );
    check(manifests::workspace_dependencies_are_used, &files, &["Cargo.toml:3: no member depends on `b`"]);
    check(manifests::features_are_used, &files, &["Cargo.toml:8: feature `f` switches nothing"]);
}
