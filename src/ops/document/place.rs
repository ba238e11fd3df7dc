//! Where documentation is written: a directory of its own, in which nothing but documentation is written over.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::docgen::{METADATA, Page};
use crate::ops::OpError;

/// The most bytes of a `metadata.json` that says whose a directory is.
const METADATA_BYTES_MAX: u64 = 16 << 20;

/// Checks that a directory is not there, is empty, or holds documentation of an earlier time.
pub(super) fn check(directory: &Path) -> Result<(), OpError> {
    let occupied = || Err(OpError::Occupied { path: directory.to_path_buf() });
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(OpError::File { path: directory.to_path_buf(), source }),
        Ok(metadata) if !metadata.is_dir() => occupied(),
        Ok(_) => {
            let fault = |source| OpError::File { path: directory.to_path_buf(), source };
            let empty = fs::read_dir(directory).map_err(fault)?.next().is_none();
            if empty || is_documentation(directory) { Ok(()) } else { occupied() }
        }
    }
}

/// Writes files, each whole: made aside, and renamed into its place, so that a link there is replaced and not followed.
pub(super) fn write(directory: &Path, pages: &[Page]) -> Result<(), OpError> {
    check(directory)?;
    let fault = |source| OpError::File { path: directory.to_path_buf(), source };
    fs::create_dir_all(directory).map_err(fault)?;
    for page in pages {
        let path = directory.join(page.name);
        let written = tempfile::Builder::new().permissions(mode()).tempfile_in(directory).and_then(|mut file| {
            file.write_all(&page.bytes)?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        });
        written.map_err(|source| OpError::File { path, source })?;
    }
    Ok(())
}

fn mode() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

fn is_documentation(directory: &Path) -> bool {
    #[derive(Deserialize)]
    struct Known {
        generator: String,
    }
    let path = directory.join(METADATA);
    let is_small = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= METADATA_BYTES_MAX);
    let known = || serde_json::from_slice::<Known>(&fs::read(&path).ok()?).ok();
    is_small && known().is_some_and(|known| known.generator.starts_with("catalog "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documentation_is_written_over() {
        let root = tempfile::tempdir().expect("a directory");
        let out = root.path().join("a/docs");
        let page = |text: &str| Page { name: "README.md", bytes: text.into() };
        let metadata = Page { name: METADATA, bytes: br#"{"generator": "catalog 1.0.0"}"#.to_vec() };
        write(&out, &[page("one"), metadata.clone()]).expect("writes");
        // A link that somebody put there is replaced, and what it leads to stays.
        let precious = root.path().join("precious");
        fs::write(&precious, "precious").expect("writes");
        fs::remove_file(out.join("README.md")).expect("removes");
        std::os::unix::fs::symlink(&precious, out.join("README.md")).expect("links");
        write(&out, &[page("two"), metadata]).expect("writes");
        assert_eq!(fs::read_to_string(out.join("README.md")).expect("reads"), "two");
        assert_eq!(fs::read_to_string(&precious).expect("reads"), "precious");

        let foreign = root.path().join("foreign");
        fs::create_dir(&foreign).expect("makes");
        fs::write(foreign.join("README.md"), "mine").expect("writes");
        for directory in [&foreign, &precious] {
            assert!(matches!(write(directory, &[page("three")]), Err(OpError::Occupied { .. })), "{directory:?}");
        }
        assert_eq!(fs::read_to_string(foreign.join("README.md")).expect("reads"), "mine");
    }
}
