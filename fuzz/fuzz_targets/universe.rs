//! Universes: the first line is the requirements, the others are versions, resolved in both modes.

#![no_main]

use catalog::resolve::universe::{self, Mode, UniverseOptions};
use catalog::resolve::{Preference, Universe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (requirements, index) = text.split_once('\n').unwrap_or((text, ""));
    let (Ok(universe), Ok(wanted)) = (Universe::read(index.as_bytes()), universe::requirements(requirements)) else {
        return;
    };
    for mode in [Mode::Single, Mode::Majors] {
        let options = UniverseOptions {
            platform: "linux-x86_64".into(),
            mode,
            preference: Preference::Highest,
            exclude_newer: None,
            rounds_max: 1_000,
        };
        if let Err(error) = universe.resolve(&wanted, &options) {
            assert!(error.to_string().lines().count() <= catalog::resolve::REPORT_LINES_MAX);
        }
    }
});
