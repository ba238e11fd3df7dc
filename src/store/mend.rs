//! Mending: what is damaged is made anew from what is whole, an archive from its tree, a tree from its archive.

use std::fs;
use std::path::Path;

use walkdir::WalkDir;

use super::install::{Objects, Source};
use super::{Store, StoreError, Writer, archive_path, at, read_below};
use crate::archive::{self, Archive, Content, SourceFile};
use crate::digest::Digest;
use crate::lockfile::LockedPackage;
use crate::trust::{self, Expected, Intact};

impl Writer {
    /// Makes a damaged package whole: its tree from its archive, or its archive from its tree if that one is the damaged one.
    /// `blob` is the digest of the compressed bytes that somebody expects, if known.
    ///
    /// Nothing is let in that was not: what comes out has the digest under which the package was installed.
    ///
    /// # Errors
    /// Neither is whole, so only whoever has the package can help; or the file system.
    pub fn mend(&mut self, package: &LockedPackage, blob: Option<Digest>) -> Result<(), StoreError> {
        let archive = match self.store.load(package) {
            Ok(archive) if blob.is_none_or(|blob| blob == archive.blob()) => archive,
            kept => {
                let Some(rebuilt) = self.store.rebuild(package, blob)? else {
                    return kept.and_then(|archive| self.plant_again(&archive));
                };
                self.keep(&rebuilt)?;
                rebuilt
            }
        };
        self.plant_again(&archive)
    }

    /// Removes a file that is not what its name says; whoever needs it writes it again. An object or archive that has become
    /// whole since somebody looked stays.
    ///
    /// # Errors
    /// The file system.
    pub fn discard(&mut self, path: &Path) -> Result<(), StoreError> {
        if self.store.is_whole(path) {
            return Ok(());
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let archive = name.and_then(Digest::from_hex).filter(|_| path.starts_with(self.store.root.join("archives")));
        self.forget_records_of(archive.as_slice())?;
        super::remove(path).map(|_| ())
    }

    /// Removes the archive of a digest, which nobody needs any more: no installed package and no publication of this node.
    ///
    /// # Errors
    /// The file system.
    pub fn forget_archive(&mut self, digest: Digest) -> Result<(), StoreError> {
        self.forget_records_of(&[digest])?;
        super::remove(&self.store.archive_path(digest)).map(|_| ())
    }

    /// Makes a file of the store readable for all and writable for nobody again.
    ///
    /// # Errors
    /// The file system.
    pub fn seal(&mut self, path: &Path) -> Result<(), StoreError> {
        use std::os::unix::fs::PermissionsExt;

        let metadata = fs::symlink_metadata(path).map_err(at("read", path))?;
        // In a tree the mode itself says it; an object says it by its name, and no archive is run.
        let in_tree = path.starts_with(self.store.root.join("packages"));
        let is_run =
            if in_tree { metadata.permissions().mode() & 0o111 != 0 } else { path.to_string_lossy().ends_with('x') };
        let mode = if is_run { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("change the mode of", path))
    }

    /// Makes the tree, and every object of it that is not whole.
    fn plant_again(&mut self, archive: &Archive) -> Result<(), StoreError> {
        self.make_trees(&[Source::Archive(archive)], Objects::Read)?;
        self.settle_believed()
    }
}

impl Store {
    /// Packs an archive from an installed tree, in the compression that gives the bytes expected; nothing if the tree is not
    /// that package any more.
    fn rebuild(&self, package: &LockedPackage, blob: Option<Digest>) -> Result<Option<Intact<Archive>>, StoreError> {
        let Ok(installed) = self.installed(package) else { return Ok(None) };
        let root = &installed.path;
        let Ok(Some(manifest)) = read_below(root, archive::MANIFEST_PATH) else { return Ok(None) };
        let mut paths = Vec::new();
        for found in WalkDir::new(root).min_depth(1) {
            let found = found.map_err(|error| at("list", root)(error.into()))?;
            let path = found.path().strip_prefix(root).ok().and_then(Path::to_str);
            match path {
                Some(path) if found.file_type().is_file() && path != archive::MANIFEST_PATH => {
                    paths.push(path.to_owned());
                }
                _ => {}
            }
        }
        let below = |path| SourceFile { path, content: Content::Below(root) };
        let files: Vec<SourceFile<'_>> = paths.iter().map(|path| below(path.as_str())).collect();
        let Ok(archive) = archive::pack(&manifest, &files) else { return Ok(None) };
        let archive = match blob {
            Some(blob) => archive.with_blob(blob).ok().flatten(),
            None => Some(archive),
        };
        let Some(archive) = archive else { return Ok(None) };
        let LockedPackage { name, version, digest, .. } = package;
        let (name, version) = (name.clone(), version.clone());
        let expected = Expected { name, version, digest: *digest, blob, sha256: None, sha512: None };
        Ok(trust::check_archive(archive.compressed().to_vec(), &expected).ok())
    }

    /// Gives where the archive of a digest lies, or would lie.
    pub fn archive_path(&self, digest: Digest) -> std::path::PathBuf {
        self.root.join(archive_path(digest))
    }
}
