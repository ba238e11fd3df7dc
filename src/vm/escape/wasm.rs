//! Attacks in WebAssembly: each a module of its own, since some are refused when they are loaded.
//!
//! The modules are in the binary format, put together by hand. They happen to hold no byte above 127, so they are texts as
//! well. Each exports `main`, which gives 0 if the attack came to nothing.

use super::{Case, End, Ends};
use crate::vm::program::Language;

/// An attack with its module.
pub(super) struct Attack {
    pub(super) case: Case,
    pub(super) module: &'static str,
}

const fn module(name: &'static str, tries: &'static str, ends: &'static [End], module: &'static str) -> Attack {
    let case = Case { name, language: Language::Wasm, tries, ends: Ends::AnsweredOr(ends) };
    Attack { case, module }
}

#[rustfmt::skip]
pub(super) const ATTACKS: &[Attack] = &[
    module("wasm-loop", "runs without end", &[End::Time], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04main\0\0\n\x0b\x01\t\0\x03@\x0c\0\x0bA\0\x0b"),
    module("wasm-recursion", "recurses without end", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04main\0\0\n\x06\x01\x04\0\x10\0\x0b"),
    module("wasm-memory-bomb", "takes memory without end", &[End::Error, End::Memory], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x11\x02\x04main\0\0\x06memory\x02\0\n\x17\x01\x15\0\x02@\x03@A?@\0A\x7fF\r\x01\x0c\0\x0b\x0bA\0\x0b"),
    module("wasm-read-beyond", "reads behind its memory", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x11\x02\x04main\0\0\x06memory\x02\0\n\x0c\x01\n\0?\0A\x10t(\x02\0\x0b"),
    module("wasm-write-beyond", "writes behind its memory", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x11\x02\x04main\0\0\x06memory\x02\0\n\x10\x01\x0e\0?\0A\x10tA\x016\x02\0A\x01\x0b"),
    module("wasm-unreachable", "stops where nothing should be", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04main\0\0\n\x05\x01\x03\0\0\x0b"),
    module("wasm-divide", "divides by zero", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04main\0\0\n\t\x01\x07\0A\x01A\0m\x0b"),
    module("wasm-call-beyond", "calls behind its table", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x04\x04\x01p\0\x01\x07\x08\x01\x04main\0\0\n\t\x01\x07\0A\t\x11\0\0\x0b"),
    module("wasm-call-null", "calls an empty place of its table", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x04\x04\x01p\0\x01\x07\x08\x01\x04main\0\0\n\t\x01\x07\0A\0\x11\0\0\x0b"),
    module("wasm-import-host", "imports a function of the host", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x02\x0e\x01\x03env\x06system\0\0\x03\x02\x01\0\x07\x08\x01\x04main\0\x01\n\x06\x01\x04\0\x10\0\x0b"),
    module("wasm-open-file", "opens a file by WASI", &[End::Error], "\0asm\x01\0\0\0\x01\x12\x02`\0\x01\x7f`\t\x7f\x7f\x7f\x7f\x7f~~\x7f\x7f\x01\x7f\x02$\x01\x16wasi_snapshot_preview1\tpath_open\0\x01\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x11\x02\x04main\0\x01\x06memory\x02\0\n\x19\x01\x17\0A\x03A\0A\0A\0A\0B\0B\0A\0A\0\x10\0E\x0b"),
    module("wasm-find-directory", "finds a directory of the host by WASI", &[End::Error], "\0asm\x01\0\0\0\x01\x0b\x02`\0\x01\x7f`\x02\x7f\x7f\x01\x7f\x02)\x01\x16wasi_snapshot_preview1\x0efd_prestat_get\0\x01\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x11\x02\x04main\0\x01\x06memory\x02\0\n\x0b\x01\t\0A\x03A\0\x10\0E\x0b"),
    module("wasm-accept", "accepts a connection by WASI", &[End::Error], "\0asm\x01\0\0\0\x01\x0c\x02`\0\x01\x7f`\x03\x7f\x7f\x7f\x01\x7f\x02&\x01\x16wasi_snapshot_preview1\x0bsock_accept\0\x01\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x11\x02\x04main\0\x01\x06memory\x02\0\n\r\x01\x0b\0A\x03A\0A\0\x10\0E\x0b"),
    module("wasm-start-loop", "runs without end while it is loaded", &[End::Time], "\0asm\x01\0\0\0\x01\x08\x02`\0\x01\x7f`\0\0\x03\x03\x02\0\x01\x07\x08\x01\x04main\0\0\x08\x01\x01\n\x0e\x02\x04\0A\0\x0b\x07\0\x03@\x0c\0\x0b\x0b"),
    module("wasm-wrong-types", "adds what is no number", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04main\0\0\n\x07\x01\x05\0A\0j\x0b"),
    module("wasm-truncated", "ends in the middle", &[End::Error], "\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04main\0\0\n\x06\x01\x04\0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_the_mark_of_the_format() {
        for attack in ATTACKS {
            assert!(attack.module.starts_with("\0asm\x01\0\0\0") && attack.module.is_ascii(), "{}", attack.case.name);
        }
    }
}
