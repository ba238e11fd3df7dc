//! What an archive holds, without the bytes: enough to decide about a package, and to install it where its files are already.

use semver::Version;

use super::form::check_path;
use super::{ArchiveError, Head, MANIFEST_PATH};
use crate::digest::Digest;
use crate::package::name::PackageName;

/// The files of an archive, each by its digest. Whoever makes one has looked into the archive, now or at another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    name: PackageName,
    version: Version,
    digest: Digest,
    tar_bytes: u64,
    manifest: Vec<u8>,
    files: Vec<ListedFile>,
}

/// One file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// The path, relative to the package.
    pub path: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether it may be changed where the package is installed.
    pub writable: bool,
}

impl Listing {
    /// Lists the files of the archive of a digest, whose tar has so many bytes, in its order: their paths, digests, and which
    /// may be run.
    ///
    /// # Errors
    /// A manifest that does not say which package this is, or a path that no package may hold.
    pub fn new(
        digest: Digest,
        tar_bytes: u64,
        manifest: Vec<u8>,
        files: impl IntoIterator<Item = (String, Digest, bool)>,
    ) -> Result<Self, ArchiveError> {
        let Head { metadata, spec } = serde_json::from_slice(&manifest).map_err(ArchiveError::Manifest)?;
        let listed = |(path, digest, executable): (String, Digest, bool)| {
            check_path(&path)?;
            let writable = path != MANIFEST_PATH && spec.content.writable.contains(&path);
            Ok(ListedFile { path, digest, executable, writable })
        };
        let files = files.into_iter().map(listed).collect::<Result<_, ArchiveError>>()?;
        Ok(Self { name: metadata.name, version: metadata.version, digest, tar_bytes, manifest, files })
    }

    /// Gives the name in the manifest.
    pub fn name(&self) -> &PackageName {
        &self.name
    }

    /// Gives the version in the manifest.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Gives the identity: the BLAKE3 digest of the tar.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives the size of the tar in bytes.
    pub fn tar_bytes(&self) -> u64 {
        self.tar_bytes
    }

    /// Gives the manifest in canonical form.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Gives every file in the order of the tar, the manifest first.
    pub fn files(&self) -> &[ListedFile] {
        &self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] =
        br#"{"metadata":{"name":"app","version":"1.0.0"},"spec":{"content":{"writable":["own","package.json"]}}}"#;

    #[test]
    fn a_listing_tells_what_its_manifest_tells_of_each_file() {
        let file = |path: &str, executable| (path.to_owned(), Digest::of(path.as_bytes()), executable);
        let files = [file(MANIFEST_PATH, false), file("bin/run", true), file("own", false)];
        let listing = Listing::new(Digest::of(b"tar"), 4096, MANIFEST.to_vec(), files).expect("lists");
        assert_eq!((listing.name().as_str(), listing.version().to_string()), ("app", "1.0.0".to_owned()));
        let told: Vec<_> = listing.files().iter().map(|file| (file.executable, file.writable)).collect();
        assert_eq!(told, [(false, false), (true, false), (false, true)]);
    }

    #[test]
    fn what_no_archive_holds_is_in_no_listing() {
        let list = |manifest: &[u8], path: &str| {
            Listing::new(Digest::of(b"tar"), 4096, manifest.to_vec(), [(path.to_owned(), Digest::of(b""), false)])
        };
        for path in ["../x", "/x", "a//b", "a\\b", ""] {
            assert!(matches!(list(MANIFEST, path), Err(ArchiveError::Path { .. })), "{path}");
        }
        assert!(matches!(list(b"{}", "a"), Err(ArchiveError::Manifest(_))));
    }
}
