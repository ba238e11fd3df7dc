//! `run --language`: programs in one file, with data by a pipe, and the status they end with.

use std::fs::File;
use std::process::Stdio;

use super::*;

/// Copies its input to its output and ends with a status: the number of its arguments.
const COPY: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $again
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
            (if (i32.load (i32.const 4)) (then
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $again))))
        (drop (call $sizes (i32.const 16) (i32.const 20)))
        (call $exit (i32.sub (i32.load (i32.const 16)) (i32.const 1)))))"#;

impl Node {
    /// Runs a command in the home with a file as its standard input.
    fn piped(&self, words: &[&str], input: &str) -> Answer {
        let path = self.path().join("input");
        std::fs::write(&path, input).expect("is written");
        let input = Stdio::from(File::open(&path).expect("is there"));
        run(command(self.path()).current_dir(self.path()).args(words).stdin(input))
    }
}

#[test]
fn a_bare_file_runs_with_its_data_and_its_status() {
    let node = Node::up();
    let write = |name: &str, bytes: &[u8]| std::fs::write(node.path().join(name), bytes).expect("is written");
    write("sum.lua", b"print('summing')\nreturn function(first, data) return first + #data.items end\n");
    write("type.lua", b"return function(data) return type(data) .. ':' .. tostring(data) end\n");
    write("bad.lua", b"local function f() error('no') end\nreturn function() print('before') f() end\n");
    write("copy.wasm", &wat::parse_str(COPY).expect("is a module"));
    write(
        "add.wasm",
        &wat::parse_str(
            "(module (func (export \"add\") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1))))",
        )
        .expect("is a module"),
    );
    let lua = ["catalog", "run", "--language", "lua"];
    let ran = node.piped(&[&lua[..], &["./sum.lua", "40"]].concat(), "{\"items\": [1, 2]}");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "summing\n42\n"), "{}", ran.stderr);
    let ran = node.piped(&[&lua[..], &["./type.lua"]].concat(), "no JSON\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "\"string:no JSON\\n\"\n"), "{}", ran.stderr);
    let nothing = node.text(&[&lua[..], &["./type.lua"]].concat());
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, "\"nil:nil\"\n"), "{}", nothing.stderr);
    let bad = node.text(&[&lua[..], &["./bad.lua"]].concat());
    assert_eq!((bad.code, bad.stdout.as_str()), (1, "before\n"), "{}", bad.stderr);
    assert!(bad.stderr.contains("no") && bad.stderr.contains("bad.lua"), "{}", bad.stderr);

    let wasm = ["catalog", "run", "--language", "wasm"];
    let long = "what comes in goes out\n".repeat(1000);
    let copied = node.piped(&[&wasm[..], &["./copy.wasm"]].concat(), &long);
    assert!(copied.code == 0 && copied.stdout == long, "{} {}", copied.code, copied.stderr);
    let ended = node.piped(&[&wasm[..], &["./copy.wasm", "a", "b", "c"]].concat(), "x");
    assert_eq!((ended.code, ended.stdout.as_str()), (3, "x\n"), "{}", ended.stderr);
    let added = node.good(&[&wasm[..], &["./add.wasm", "-f", "add", "20", "22"]].concat());
    assert_eq!((&added["value"], &added["exit_status"]), (&json!(42), &json!(0)));
    let missing = node.text(&[&wasm[..], &["./nowhere.wasm"]].concat());
    assert!(missing.code == 1 && missing.stderr.contains("nowhere.wasm"), "{} {}", missing.code, missing.stderr);
    let unknown = node.text(&["catalog", "run", "--language", "cobol", "./sum.lua"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert_eq!(node.leases(), 0);
}

#[test]
fn what_calls_cost_is_measured_in_every_language_that_runs() {
    let node = Node::up();
    let measured = node.good(&["catalog", "bench-vm", "--calls", "100"]);
    let languages = measured["languages"].as_array().expect("a list");
    let names: Vec<&str> = languages.iter().filter_map(|cost| cost["language"].as_str()).collect();
    // Julia is measured where the machine has one.
    assert_eq!(names.iter().filter(|name| **name != "julia").collect::<Vec<_>>(), [&"lua", &"wasm"], "{measured}");
    assert!(names.contains(&"julia") != measured["absent"]["julia"].is_string(), "{measured}");
    for cost in languages {
        for field in ["start_ms", "call_us", "call_p99_us", "of_echo"] {
            assert!(cost[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {cost}");
        }
    }
    let text = node.text(&["catalog", "bench-vm", "--language", "lua", "--calls", "10"]);
    assert!(text.stdout.contains("LANGUAGE") && text.stdout.contains("lua "), "{}", text.stdout);
    let (code, json) = node.json(&["catalog", "bench-vm", "--language", "cobol"]);
    assert_eq!(code, 2, "{json}");
}
