//! Archives: whatever is read is the one form of what it holds.

#![no_main]

use catalog::archive::{self, Content, SourceFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(archive) = archive::read(data.to_vec()) else { return };
    let entries: Vec<_> = archive.entries().collect();
    let files: Vec<SourceFile<'_>> = entries
        .iter()
        .filter(|entry| entry.path != archive::MANIFEST_PATH)
        .map(|entry| SourceFile {
            path: entry.path,
            content: Content::Bytes { bytes: entry.bytes, executable: entry.executable },
        })
        .collect();
    let again = archive::pack(archive.manifest(), &files).expect("what was read can be packed");
    assert_eq!(again.digest(), archive.digest());
});
