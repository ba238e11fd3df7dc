//! `validate` and `pack`: from a directory to a valid package, and to its archive.

use std::path::Path;

use super::{Catalog, OpError};
use crate::archive::{self, Archive, Content, SourceFile};
use crate::package::{self, Fault, Package};
use crate::vm::{Language, Module, Program, lua};

/// A valid package and its archive.
pub struct Packed {
    /// The package.
    pub package: Package,
    /// What should be looked at.
    pub warnings: Vec<Fault>,
    /// The archive.
    pub archive: Archive,
}

impl Catalog {
    /// Reads the package in a directory and checks everything about it that can be checked without running it.
    ///
    /// # Errors
    /// Every fault of the manifest; the first fault of syntax of each program file.
    pub fn validate(&self, directory: &Path) -> Result<(Package, Vec<Fault>), OpError> {
        self.pack(directory).map(|packed| (packed.package, packed.warnings))
    }

    /// Makes the archive of the package in a directory.
    ///
    /// # Errors
    /// As [`Self::validate`], and a package that is too large.
    pub fn pack(&self, directory: &Path) -> Result<Packed, OpError> {
        let invalid = |faults| OpError::Invalid { directory: directory.to_path_buf(), faults };
        let (package, warnings) = package::read(directory).map_err(invalid)?;
        let files = package::read_files(directory, &package).map_err(invalid)?;
        for file in files.iter().filter(|file| file.path.extension() == Some("lua")) {
            check_lua(&package, file.path.as_str(), &file.bytes)?;
        }
        let sources: Vec<SourceFile<'_>> = files
            .iter()
            .map(|file| SourceFile {
                path: file.path.as_str(),
                content: Content::Bytes { bytes: &file.bytes, executable: false },
            })
            .collect();
        let archive = archive::pack(&package.to_canonical_json(), &sources)?;
        Ok(Packed { package, warnings, archive })
    }
}

/// Checks the syntax of a file without running it.
fn check_lua(package: &Package, path: &str, bytes: &[u8]) -> Result<(), OpError> {
    let source = String::from_utf8_lossy(bytes).into_owned();
    let module = Module { file: format!("{}/{path}", package.name), source };
    let modules = [(package.name.to_string(), module)].into();
    let program = Program::new(Language::Lua, package.name.as_str(), modules)?;
    Ok(lua::check(&program)?)
}
