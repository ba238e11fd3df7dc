//! Package manifests in all three formats: what is valid has one canonical form, which is valid and the same.

#![no_main]

use catalog::package::{Format, Package, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let format = match first % 3 {
        0 => Format::Yaml,
        1 => Format::Json,
        _ => Format::Toml,
    };
    let Ok((package, _)) = parse(text, format, "package") else { return };
    let canonical = package.to_canonical_json();
    let again = Package::from_canonical_json(&canonical).expect("the canonical form is read");
    assert_eq!(again.to_canonical_json(), canonical);
});
