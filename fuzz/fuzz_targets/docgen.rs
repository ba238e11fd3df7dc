//! Documentation: sources in Lua, Julia and WebAssembly and Markdown of an author, by the first byte, as names and blocks.

#![no_main]

use libfuzzer_sys::fuzz_target;

use catalog::docgen::{api, prose};
use catalog::package::PackageFile;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let path = match kind % 4 {
        0 => "main.lua",
        1 => "main.jl",
        2 => "main.wasm",
        _ => {
            prose::read(&String::from_utf8_lossy(rest), 3);
            return;
        }
    };
    let file = PackageFile { path: path.parse().expect("a path"), bytes: rest.to_vec() };
    api::extract("package", path, &[file], &mut Vec::new());
});
