//! `validate` and `pack`: from a directory to a valid package, what the analysers think of it, and its archive.

#[cfg(any(feature = "lua", feature = "wasm"))]
mod syntax;

use std::path::{Path, PathBuf};

use super::error::SYNTAX_ERROR;
use super::{Catalog, OpError};
use crate::archive::{self, Archive, Compression, Content, SourceFile};
use crate::lockfile::LockedPackage;
use crate::package::analyse::{self, Analysis, Finding, Level, Profile};
use crate::package::{self, Fault, Faults, Package, PackageFile};
use crate::registry::Registry;
use crate::template;

/// A valid package and its archive.
pub struct Packed {
    /// The package.
    pub package: Package,
    /// Its manifest; empty for a package that comes as an archive.
    pub manifest: PathBuf,
    /// What should be looked at in its manifest.
    pub warnings: Vec<Fault>,
    /// What the analysers found; every program file has the grammar of its language.
    pub analysis: Analysis,
    /// The archive.
    pub archive: Archive,
}

impl Packed {
    /// Gives the directory of its manifest.
    pub fn directory(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new(""))
    }

    /// Gives the package back if it may be published.
    ///
    /// # Errors
    /// [`OpError::Unfit`] if a finding is critical.
    pub fn publishable(self) -> Result<Self, OpError> {
        self.unless(|finding| finding.level == Level::Critical)
    }

    /// Looks into a package that comes as an archive.
    pub(super) fn of_archive(archive: Archive) -> Result<Self, OpError> {
        let package = read_manifest(archive.manifest())?;
        let analysis = analyse_archive(&package, &archive);
        let packed = Self { package, manifest: PathBuf::new(), warnings: Vec::new(), analysis, archive };
        packed.unless(|finding| finding.code == SYNTAX_ERROR)
    }

    fn unless(self, blocks: impl Fn(&Finding) -> bool) -> Result<Self, OpError> {
        if self.analysis.findings.iter().any(blocks) {
            let (name, version) = (self.package.name, self.package.version);
            return Err(OpError::Unfit { name, version, manifest: self.manifest, analysis: Box::new(self.analysis) });
        }
        Ok(self)
    }
}

impl Catalog {
    /// Makes the archive of the package in a directory, after checking everything that can be checked without running it.
    ///
    /// # Errors
    /// Every fault of the manifest; every program file without the grammar of its language; a package that is too large.
    pub fn pack(&self, directory_or_manifest: &Path) -> Result<Packed, OpError> {
        self.pack_with(directory_or_manifest, Compression::default())
    }

    /// Makes the archive as [`Catalog::pack`] does, in the compression that is wanted.
    ///
    /// # Errors
    /// As [`Catalog::pack`].
    pub fn pack_with(&self, directory_or_manifest: &Path, compression: Compression) -> Result<Packed, OpError> {
        if !directory_or_manifest.exists() {
            return Err(OpError::NoDirectory { path: directory_or_manifest.to_path_buf() });
        }
        let directory = directory_or_manifest.to_path_buf();
        let invalid = |faults| OpError::Invalid { directory: directory.clone(), faults };
        let (package, mut warnings) = package::read(directory_or_manifest).map_err(invalid)?;
        let files = package::read_files(directory_or_manifest, &package).map_err(invalid)?;
        warnings.extend(check_templates(directory_or_manifest, &package, &files).map_err(invalid)?);
        let analysis = analyse(&package, &files);
        let sources: Vec<SourceFile<'_>> = files
            .iter()
            .map(|file| SourceFile {
                path: file.path.as_str(),
                content: Content::Bytes { bytes: &file.bytes, executable: false },
            })
            .collect();
        let archive = archive::pack_with(compression, &package.to_canonical_json(), &sources)?;
        let manifest = manifest_of(directory_or_manifest);
        let packed = Packed { package, manifest, warnings, analysis, archive };
        packed.unless(|finding| finding.code == SYNTAX_ERROR)
    }
}

/// Reads a manifest that is kept in its canonical form.
pub(super) fn read_manifest(bytes: &[u8]) -> Result<Package, OpError> {
    Package::from_canonical_json(bytes).map_err(|faults| OpError::Invalid { directory: PathBuf::new(), faults })
}

/// Gives a locked package as it was published.
pub(super) fn published(registry: &Registry, package: &LockedPackage) -> Result<Package, OpError> {
    let LockedPackage { name, version, .. } = package;
    let unknown = || OpError::NoVersion { name: name.clone(), version: version.clone(), latest: None };
    read_manifest(&registry.manifest(name, version)?.ok_or_else(unknown)?)
}

/// Looks into the files of an archive.
pub(super) fn analyse_archive(package: &Package, archive: &Archive) -> Analysis {
    let entries = archive
        .entries()
        .filter_map(|entry| Some(PackageFile { path: entry.path.parse().ok()?, bytes: entry.bytes.to_vec() }));
    analyse(package, &entries.collect::<Vec<_>>())
}

/// Looks at the templates that a package offers, and gives what should be looked at in them.
fn check_templates(manifest: &Path, package: &Package, files: &[PackageFile]) -> Result<Vec<Fault>, Faults> {
    let mut list = template::check::check(package, files);
    package::read::locate(manifest, &mut list);
    let file = manifest_of(manifest).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let faults = Faults { file, list };
    if faults.is_acceptable() { Ok(faults.list) } else { Err(faults) }
}

fn manifest_of(directory_or_manifest: &Path) -> PathBuf {
    let inside = package::read::MANIFEST_NAMES.map(|name| directory_or_manifest.join(name));
    inside.into_iter().find(|path| path.exists()).unwrap_or_else(|| directory_or_manifest.to_path_buf())
}

fn analyse(package: &Package, files: &[PackageFile]) -> Analysis {
    #[cfg(feature = "lua")]
    let syntax: Option<&analyse::SyntaxCheck> = Some(&syntax::check);
    #[cfg(not(feature = "lua"))]
    let syntax = None;
    #[cfg(feature = "wasm")]
    let module: Option<&analyse::ModuleCheck> = Some(&syntax::check_module);
    #[cfg(not(feature = "wasm"))]
    let module = None;
    let options = analyse::Options { profile: Profile::Standard, syntax, module, dependency_depth: None };
    analyse::analyse(package, files, &options)
}
