//! Advisories: a record or a zip of records as an import reads it, held against versions.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    catalog::advisory::exercise(data);
});
