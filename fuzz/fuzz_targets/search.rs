//! Search: a list of descriptions as an import reads it, the index of them, and a segment of an index.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    catalog::search::exercise(data);
});
