//! Tests that documents cite by name: each exists, and what must have one does.

use super::tree::{File, Tree, line_of, numbered};

const MAP: &str = "ARCHITECTURE.md";
const THREATS: &str = "docs/threats.md";
const CAPABILITIES: &str = "docs/capabilities.md";
const PERFORMANCE: &str = "docs/performance.md";
/// How many capabilities the system must have.
const CAPABILITIES_COUNT: usize = 189;
/// What a row says in the place of a test where there is nothing yet that could be attacked or defended.
const NOT_BUILT: &str = "| not built |";

/// Every test named in a document is a test.
pub(super) fn cited_tests_exist(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.0.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, text) in numbered(&file.text) {
            for cited in text.split('`').skip(1).step_by(2).filter(|quoted| is_citation(quoted)) {
                if !exists(tree, cited) {
                    faults.push(format!("{}:{line}: there is no test `{cited}`", file.path));
                }
            }
        }
    }
    faults
}

/// The map of the project names every module at the top of a crate, in the section of that crate.
pub(super) fn the_map_names_every_module(tree: &Tree) -> Vec<String> {
    let map = tree.get(MAP).map_or("", |file| file.text.as_str());
    let mut faults = Vec::new();
    for file in tree.rust() {
        let Some((folder, module)) = top_level(&file.path) else { continue };
        let heading = format!("### `{folder}/`");
        let section = map.split_once(&heading).map_or("", |(_, rest)| rest.split("\n#").next().unwrap_or(""));
        if !section.contains(&format!("`{module}`")) {
            faults.push(format!("{}:1: section `{heading}` of {MAP} does not name `{module}`", file.path));
        }
    }
    faults
}

/// Every invariant in the map names a test.
pub(super) fn every_invariant_has_a_test(tree: &Tree) -> Vec<String> {
    let map = tree.get(MAP).map_or("", |file| file.text.as_str());
    let section = numbered(map).skip_while(|(_, line)| *line != "## Invariants").skip(1);
    let section = section.take_while(|(_, line)| !line.starts_with("## "));
    let mut rows = section.filter(|(_, line)| line.starts_with("| ")).skip(1).peekable();
    if rows.peek().is_none() {
        return vec![format!("{MAP}:1: no table under `## Invariants`")];
    }
    let unheld = rows.filter(|(_, row)| !row.split('`').skip(1).step_by(2).any(is_citation));
    unheld.map(|(line, _)| format!("{MAP}:{line}: an invariant that no test holds")).collect()
}

/// Every threat names a test, or says that its part is not built; a part that is built has its tests named.
pub(super) fn every_threat_has_a_test(tree: &Tree) -> Vec<String> {
    every_row_has_a_test(tree, THREATS, "threat", Some(NOT_BUILT))
}

/// Every capability names a test or a bench, or says that none shows it; and all of them are there, in their order.
pub(super) fn every_capability_has_a_test(tree: &Tree) -> Vec<String> {
    let mut faults = every_row_has_a_test(tree, CAPABILITIES, "capability", None);
    let text = tree.get(CAPABILITIES).map_or("", |file| file.text.as_str());
    let rows = numbered(text).filter(|(_, line)| line.starts_with("| S"));
    for ((line, row), number) in rows.zip(1..) {
        if !row.starts_with(&format!("| S{number:03} |")) {
            faults.push(format!("{CAPABILITIES}:{line}: S{number:03} should stand here"));
            break;
        }
    }
    let count = numbered(text).filter(|(_, line)| line.starts_with("| S")).count();
    if count != CAPABILITIES_COUNT {
        faults.push(format!("{CAPABILITIES}:1: {count} capabilities of {CAPABILITIES_COUNT}"));
    }
    faults
}

/// Every target that a benchmark holds itself to stands in the page of performance, if there is one, and everything there is a
/// target.
pub(super) fn every_target_is_in_the_page(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.get(PERFORMANCE) else { return Vec::new() };
    let rows: Vec<(usize, &str)> = numbered(&page.text)
        .filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| Benchmark |"))
        .filter_map(|(line, row)| Some((line, row.split(" | ").nth(1)?)))
        .collect();
    let mut faults = Vec::new();
    let mut targets = Vec::new();
    for file in tree.0.iter().filter(|file| file.path.contains("benches/") || file.path.contains("/examples/")) {
        for call in ["at_most(", "at_least(", "beside("] {
            for (at, _) in file.text.match_indices(call) {
                let Some(rest) = file.text[at + call.len()..].trim_start().strip_prefix('"') else { continue };
                let name = rest.split('"').next().unwrap_or_default();
                targets.push(name);
                // A peer that is not on a machine has no row.
                if file.path.ends_with(".rs") && !rows.iter().any(|(_, row)| *row == name) {
                    let line = line_of(&file.text, at);
                    faults.push(format!("{}:{line}: {PERFORMANCE} does not have `{name}`", file.path));
                }
            }
        }
    }
    let unknown = rows.iter().filter(|(_, row)| !targets.contains(row));
    faults.extend(unknown.map(|(line, row)| format!("{PERFORMANCE}:{line}: no benchmark measures `{row}`")));
    faults
}

fn every_row_has_a_test(tree: &Tree, document: &str, what: &str, without: Option<&str>) -> Vec<String> {
    let text = tree.get(document).map_or("", |file| file.text.as_str());
    let is_row = |line: &str| line.starts_with("| ") && !line.starts_with(&format!("| {what} |"));
    let mut rows = numbered(text).filter(|(_, line)| is_row(line)).peekable();
    if rows.peek().is_none() {
        return vec![format!("{document}:1: no table of {what}")];
    }
    let is_cited = |quoted: &str| is_citation(quoted) || is_bench(tree, quoted);
    let held =
        |row: &str| row.split('`').skip(1).step_by(2).any(is_cited) != without.is_some_and(|end| row.ends_with(end));
    rows.filter(|(_, row)| !held(row))
        .map(|(line, _)| format!("{document}:{line}: a {what} that no test holds"))
        .collect()
}

/// Gives folder and module of a file at the top of a crate that is shipped.
fn top_level(path: &str) -> Option<(&str, &str)> {
    let (folder, file) = path.rsplit_once('/')?;
    let module = file.strip_suffix(".rs").filter(|module| !["lib", "main"].contains(module))?;
    let shipped = folder == "src" || (folder.ends_with("/src") && folder.matches('/').count() == 1);
    shipped.then(|| (folder.strip_suffix("/src").unwrap_or(folder), module))
}

/// `it::module::name` is an integration test, `it::module` all of a module, `...::tests::name` a unit test.
fn is_citation(quoted: &str) -> bool {
    let is_path = quoted.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':');
    is_path && (quoted.starts_with("it::") || quoted.contains("::tests::"))
}

/// What is measured and cannot be tested is held by a bench, and how the tree is built by what builds it in all ways.
fn is_bench(tree: &Tree, quoted: &str) -> bool {
    quoted == ".ci/run" || quoted.starts_with("benches/") && tree.0.iter().any(|file| file.path.starts_with(quoted))
}

fn exists(tree: &Tree, cited: &str) -> bool {
    let segments: Vec<&str> = cited.split("::").collect();
    let [modules @ .., name] = segments.as_slice() else { return false };
    let (first, inner) = (modules[0], &modules[1..]);
    if cited.starts_with("it::") && inner.is_empty() && tree.get(&format!("tests/it/{name}.rs")).is_some() {
        return true;
    }
    let mut roots = vec![("src".to_owned(), modules), (format!("{}/src", first.replace('_', "-")), inner)];
    if first == "it" {
        roots = vec![("tests/it".to_owned(), inner)];
    }
    roots.into_iter().any(|(root, modules)| {
        (1..=modules.len()).any(|depth| {
            let path = format!("{root}/{}.rs", modules[..depth].join("/"));
            let rest = &modules[depth..];
            let inline = |file: &File| rest.iter().all(|module| file.code.contains(&format!("mod {module} {{")));
            tree.get(&path)
                .is_some_and(|file| inline(file) && (tests(file).any(|test| test == *name) || is_listed(file, name)))
        })
    })
}

/// Says whether a function is given, on a line of its own, to a macro that makes tests of it.
fn is_listed(file: &File, name: &str) -> bool {
    let of_tests = file.path.starts_with("tests/") && file.code.contains(&format!("fn {name}("));
    of_tests && file.code.lines().any(|line| line.trim().trim_end_matches(',') == name)
}

/// Gives the names of the tests in a file: functions with an attribute that ends in `test]` or `test(...)]`.
fn tests(file: &File) -> impl Iterator<Item = &str> {
    let mut marked = false;
    file.code.lines().filter_map(move |line| {
        let line = line.trim();
        let attribute = line.strip_prefix("#[").map(|rest| rest.split(['(', ']']).next().unwrap_or(rest));
        marked = marked || attribute.is_some_and(|name| name == "test" || name.ends_with("::test"));
        let (_, rest) = line.split_once("fn ").filter(|(before, _)| attribute.is_none() && !before.contains('('))?;
        let name = rest.split('(').next().unwrap_or(rest);
        std::mem::take(&mut marked).then_some(name)
    })
}
