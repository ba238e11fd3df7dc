//! What may be named where.

use super::tree::{File, Tree, find_word, line_of, numbered};

/// A word of code that only some places may use, each for its reason.
struct Fence {
    word: &'static str,
    scope: &'static str,
    doors: &'static [(&'static str, &'static str)],
}

/// Every other place of a scope keeps to what a door gives it.
const FENCES: [Fence; 4] = [
    Fence {
        word: "hypermesh_abi",
        scope: "src/",
        doors: &[("src/extension", "it translates between the contract and the rest")],
    },
    Fence {
        word: "abi_stable",
        scope: "",
        doors: &[
            ("abi/", "the contract is made of its types"),
            ("tests/it/frozen.rs", "it compares the layouts of contracts as a host does"),
            ("tests/fixtures/broken/", "a library whose header answers wrongly cannot be made with the SDK"),
            ("tests/fixtures/newer/", "a library built with a later contract, whose SDK does not exist"),
            ("tests/fixtures/variants/", "contracts that differ from ours by one edit"),
        ],
    },
    Fence {
        word: "unsafe",
        scope: "",
        doors: &[
            ("abi/", "loading a library and taking a descriptor that crossed the boundary"),
            ("src/pages.rs", "advice on memory has no safe form"),
            ("src/vm/sandbox/sys.rs", "processes, namespaces and mounts have calls without a safe form"),
            ("src/vm/escape/native", "attacks are system calls and crashes"),
            ("src/vm/wasm/runtime.rs", "loading code that was compiled on this node"),
            ("tests/fixtures/clock/", "functions of the system have no safe form"),
            ("tests/fixtures/hostile/", "an initialiser that misbehaves before anybody looks"),
            ("tests/fixtures/broken/", "an exported symbol made by hand"),
            ("tests/fixtures/newer/", "an exported symbol made by hand"),
            ("tests/fixtures/variants/", "an exported symbol made by hand"),
        ],
    },
    Fence { word: "catalog", scope: "host-sim/", doors: &[] },
];

/// Words stay behind their fences.
pub(super) fn fences_hold(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for fence in &FENCES {
        let fenced = |file: &&File| {
            let is_door = |(path, _): &(&str, &str)| file.path.starts_with(path);
            file.path.starts_with(fence.scope) && !fence.doors.iter().any(is_door)
        };
        for file in tree.rust().filter(fenced) {
            if let Some(at) = find_word(&file.code, fence.word) {
                let line = line_of(&file.code, at);
                let doors: Vec<&str> = fence.doors.iter().map(|(path, _)| *path).collect();
                faults.push(format!("{}:{line}: `{}` belongs to {doors:?}", file.path, fence.word));
            }
        }
    }
    faults
}

/// Every door still leads somewhere: what lies behind it uses the word.
pub(super) fn doors_are_used(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for fence in &FENCES {
        for (path, reason) in fence.doors {
            let mut behind = tree.rust().filter(|file| file.path.starts_with(path)).peekable();
            if behind.peek().is_some() && !behind.any(|file| find_word(&file.code, fence.word).is_some()) {
                faults.push(format!("{path}:1: does not use `{}`, though {reason}", fence.word));
            }
        }
    }
    faults
}

/// The stand-in host knows no extension by name; what its command line shows to people may.
pub(super) fn the_host_names_no_extension(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let of_host = |file: &&File| file.path.starts_with("host-sim/src/") && !file.path.starts_with("host-sim/src/cli/");
    for file in tree.rust().filter(of_host).filter(|file| !file.path.ends_with("/tests.rs")) {
        for (line, text) in file.shipped_lines() {
            if find_word(&text.to_lowercase(), "catalog").is_some() {
                faults.push(format!("{}:{line}: names an extension", file.path));
            }
        }
    }
    let manifest = tree.get("host-sim/Cargo.toml");
    let depends = numbered(manifest.map_or("", |file| &file.text)).filter(|(_, line)| line.starts_with("catalog"));
    faults.extend(depends.map(|(line, _)| format!("host-sim/Cargo.toml:{line}: depends on an extension")));
    faults
}
