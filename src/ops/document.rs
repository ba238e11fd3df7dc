//! `doc`: the documentation of a package in a directory or of a published one, written into a directory.
//!
//! The package is read as it is or would be published, so the same package has the same documentation. Its examples run in the
//! sandbox that its programs get, if the policy lets them; that they cannot is told in the documentation and is no error.

mod examples;
mod history;
mod place;

use std::path::PathBuf;
use std::sync::Arc;

use semver::Version;

use super::cache::Hold;
use super::executions::off_thread;
use super::spec::{self, Target};
use super::validate::read_manifest;
use super::{Catalog, OpError};
use crate::archive::{Archive, MANIFEST_PATH};
use crate::docgen::example::Example;
use crate::docgen::{Draft, Figures, Format, Warning};
use crate::host::Host;
use crate::lockfile::Lockfile;
use crate::package::name::PackageName;
use crate::package::{Package, PackageFile};
use crate::trust::policy::Confirmed;

/// Where documentation lies below the directory of a node, if nobody says where else.
const DIRECTORY: &str = "docs";

/// What to document and how.
#[derive(Clone, Debug)]
pub struct Ask {
    /// A published package as `name` or `name@version`, or a directory that holds one.
    pub target: String,
    /// The form.
    pub format: Format,
    /// The directory to write into; one of the node's own, by name, version and form, if not given.
    pub out: Option<PathBuf>,
    /// What becomes of examples.
    pub examples: Examples,
    /// Whether somebody said that what needs confirmation may be done.
    pub confirmed: Confirmed,
}

/// What becomes of examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examples {
    /// They run, and their results are shown.
    Run,
    /// They are shown as they are.
    LeaveOut,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Documented {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Where the documentation is.
    pub directory: PathBuf,
    /// The files with their sizes in bytes.
    pub files: Vec<(&'static str, u64)>,
    /// The sections with their words.
    pub sections: Vec<(&'static str, usize)>,
    /// The documentation in figures.
    pub figures: Figures,
    /// The examples with their results.
    pub examples: Vec<Example>,
    /// What was left out.
    pub warnings: Vec<Warning>,
}

/// A package that is to be documented.
struct Subject {
    package: Package,
    archive: Archive,
    /// The directory it is in, if it is not published.
    directory: Option<PathBuf>,
}

impl Catalog {
    /// Writes the documentation of a package.
    ///
    /// # Errors
    /// A package that is not valid or not published; a directory that holds something else than documentation, or cannot be
    /// written. Nothing was written then, or some files of a documentation that was there are new already.
    pub async fn document(self: &Arc<Self>, ask: Ask, host: Arc<dyn Host>) -> Result<Documented, OpError> {
        let Ask { target, format, out, examples, confirmed } = ask;
        let (catalog, port) = (Arc::clone(self), Arc::clone(&host));
        let (mut draft, subject, out) = off_thread(move || {
            let subject = catalog.subject(&target, &*port)?;
            let out = out.unwrap_or_else(|| catalog.own_place(&subject.package, format));
            place::check(&out)?;
            let files = files(&subject.archive);
            Ok((Draft::read(subject.package.clone(), subject.archive.digest(), &files), subject, out))
        })
        .await?;
        let subject = Arc::new(subject);
        match examples {
            Examples::Run => self.run_examples(&mut draft, &subject, confirmed, &host).await?,
            Examples::LeaveOut => {}
        }
        let catalog = Arc::clone(self);
        off_thread(move || {
            let steps = catalog.steps(&subject, &draft.items, &mut draft.warnings, &*host)?;
            let mut document = draft.finish(&steps);
            let pages = document.pages(format);
            place::write(&out, &pages)?;
            Ok(Documented {
                name: subject.package.name.clone(),
                version: subject.package.version.clone(),
                directory: out,
                files: pages.iter().map(|page| (page.name, page.bytes.len() as u64)).collect(),
                sections: document.sections.iter().map(|section| (section.id, section.words())).collect(),
                figures: document.figures(),
                examples: document.examples,
                warnings: document.warnings,
            })
        })
        .await
    }

    fn own_place(&self, package: &Package, format: Format) -> PathBuf {
        let version = package.version.to_string();
        self.home().join(DIRECTORY).join(package.name.as_str()).join(version).join(format.as_str())
    }

    fn subject(&self, word: &str, host: &dyn Host) -> Result<Subject, OpError> {
        if let Target::Directory(directory) = spec::target(word)? {
            let packed = self.pack(&directory)?;
            return Ok(Subject { package: packed.package, archive: packed.archive, directory: Some(directory) });
        }
        let archive = self.released(word, None, host)?.into_inner();
        Ok(Subject { package: read_manifest(archive.manifest())?, archive, directory: None })
    }

    /// Gives everything that a package builds on; nothing is installed by it.
    fn needs(&self, subject: &Subject, hold: &Hold<'_>, host: &dyn Host) -> Result<Lockfile, OpError> {
        let resolution = match &subject.directory {
            Some(directory) => self.resolve_packed(&self.pack(directory)?, host)?,
            None => {
                let Package { name, version, .. } = &subject.package;
                let root = spec::requirement(&format!("{name}@{version}"))?;
                self.pull(std::slice::from_ref(&root), host)?;
                self.resolve_roots(std::slice::from_ref(&root), None, host)?
            }
        };
        self.download(&resolution.packages().collect::<Vec<_>>(), hold, host)?;
        Ok(resolution.lockfile().clone())
    }
}

/// Gives the files of an archive without the manifest, in the order of their paths.
fn files(archive: &Archive) -> Vec<PackageFile> {
    let entries = archive.entries().filter(|entry| entry.path != MANIFEST_PATH);
    entries
        .filter_map(|entry| Some(PackageFile { path: entry.path.parse().ok()?, bytes: entry.bytes.to_vec() }))
        .collect()
}
