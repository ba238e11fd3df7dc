//! Lockfiles and what merges made of them: a whole one has one text.

#![no_main]

use catalog::lockfile::Lockfile;
use catalog::lockfile::merge::{self, Merged};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(Merged::Whole(lockfile)) = merge::read(text) else { return };
    let again = Lockfile::parse(&lockfile.to_string()).expect("what is written is read");
    assert_eq!(again, lockfile);
});
