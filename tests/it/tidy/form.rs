//! The form of files: sizes, openings, words, spaces.

use super::tree::{File, Tree, find_word, line_of, numbered};

/// Lines of a Rust file. Above 400 a second look is due; this is where looking ends.
const RUST_LINES_MAX: usize = 800;
/// Bytes of any file, so that a clone stays cheap.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a file under `tests/fixtures`: a fixture is read by people, or made by code.
const FIXTURE_BYTES_MAX: usize = 64 << 10;

/// What says that something is unfinished, with the letter case in which it says so. Written in halves, since this file
/// is read too.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("not yet ", "implemented"),
    concat!("place", "holder"),
    concat!("for ", "now"),
];

/// Files that use one of those words in another sense.
const OTHER_SENSE: [(&str, &str, &str); 1] =
    [("src/package/analyse/security.rs", UNFINISHED[4], "it tells credentials from what stands in their place")];

/// Macros and attributes that postpone or weaken.
const POSTPONING: [&str; 4] = ["todo!", "unimplemented!", "#[ignore", "#[should_panic"];

/// Hosts of package registries, in halves for the same reason.
const REGISTRIES: [&str; 7] = [
    concat!("crates", ".io"),
    concat!("npm", "js."),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("ruby", "gems.org"),
    concat!("lua", "rocks.org"),
    concat!("proxy.", "golang.org"),
];

/// Files are small enough to be read and cloned.
pub(super) fn files_are_small(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &tree.0 {
        let bytes_max = if file.path.starts_with("tests/fixtures/") { FIXTURE_BYTES_MAX } else { FILE_BYTES_MAX };
        if file.size_bytes > bytes_max {
            faults.push(format!("{}:1: {} bytes, at most {bytes_max}", file.path, file.size_bytes));
        }
        let lines = file.text.lines().count();
        if file.path.ends_with(".rs") && lines > RUST_LINES_MAX {
            faults.push(format!("{}:{lines}: {lines} lines, at most {RUST_LINES_MAX}", file.path));
        }
    }
    faults
}

/// A module says first what it is for.
pub(super) fn modules_say_what_they_are_for(tree: &Tree) -> Vec<String> {
    let silent = tree.rust().filter(|file| !file.text.starts_with("//! "));
    silent.map(|file| format!("{}:1: does not begin with `//!`", file.path)).collect()
}

/// Every module is declared by the file above it, and lies in `foo.rs`, not `foo/mod.rs`.
pub(super) fn no_module_is_forgotten(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.rust() {
        let Some((folder, name)) =
            file.path.rsplit_once('/').and_then(|(folder, name)| Some((folder, name.strip_suffix(".rs")?)))
        else {
            continue;
        };
        if name == "mod" {
            faults.push(format!("{}:1: a `mod.rs`", file.path));
            continue;
        }
        let in_crate =
            folder == "src" || folder.starts_with("src/") || folder.contains("/src") || folder.starts_with("tests/it");
        let is_root = ["lib", "main", "build"].contains(&name) || folder.ends_with("src/bin");
        if !in_crate || is_root {
            continue;
        }
        let parents = [format!("{folder}.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs")];
        let declares = |parent: &File| {
            let declaration = format!("mod {name};");
            parent.code.lines().any(|line| find_word(line, &declaration).is_some())
        };
        if !parents.iter().filter_map(|path| tree.get(path)).any(declares) {
            faults.push(format!("{}:1: no `mod {name};` in `{}`", file.path, parents[0]));
        }
    }
    faults
}

/// Nothing says that it is unfinished.
pub(super) fn nothing_is_unfinished(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.0.iter().filter(|file| !is_lock(file)) {
        for word in UNFINISHED {
            if OTHER_SENSE.iter().any(|(path, sense, _)| file.path == *path && *sense == word) {
                continue;
            }
            let shouted = word.chars().all(char::is_uppercase);
            let text = if shouted { file.text.clone() } else { file.text.to_lowercase() };
            let found = find_word(&text, word).map(|at| line_of(&text, at));
            faults.extend(found.map(|line| format!("{}:{line}: `{word}`", file.path)));
        }
        for mark in POSTPONING {
            let found = file.code.find(mark).map(|at| line_of(&file.code, at));
            faults.extend(found.map(|line| format!("{}:{line}: `{mark}`", file.path)));
        }
    }
    faults
}

/// What switches a lint off or expects it says why.
pub(super) fn lint_exceptions_have_reasons(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.rust() {
        for attribute in ["[allow(", "[expect("] {
            for (at, _) in file.code.match_indices(attribute) {
                let end = file.code[at..].find(")]").map_or(file.code.len(), |end| at + end);
                if find_word(&file.code[at..end], "reason").is_none() {
                    faults.push(format!("{}:{}: no `reason`", file.path, line_of(&file.code, at)));
                }
            }
        }
    }
    faults
}

/// No file names the host of a package registry; lockfiles, which tools write, do.
pub(super) fn no_registry_is_named(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.0.iter().filter(|file| !is_lock(file)) {
        for host in REGISTRIES {
            let found = file.text.find(host).map(|at| line_of(&file.text, at));
            faults.extend(found.map(|line| format!("{}:{line}: `{host}`", file.path)));
        }
    }
    faults
}

/// Lines end where their text ends, and the last line ends.
pub(super) fn lines_end_clean(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &tree.0 {
        let trailing = numbered(&file.text).filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
        faults.extend(trailing.map(|(line, _)| format!("{}:{line}: space at the end of the line", file.path)));
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            faults.push(format!("{}:{}: the last line does not end", file.path, file.text.lines().count()));
        }
    }
    faults
}

fn is_lock(file: &File) -> bool {
    file.path.ends_with("Cargo.lock")
}

#[test]
fn every_other_sense_is_still_used() {
    let tree = Tree::of_workspace();
    for (path, word, reason) in OTHER_SENSE {
        let file = tree.get(path).unwrap_or_else(|| panic!("{path} is gone: {reason}"));
        assert!(find_word(&file.text, word).is_some(), "{path} no longer says `{word}`: {reason}");
    }
}
