//! `advisories`: what is known against packages, as this node has it.

use std::path::Path;
use std::sync::PoisonError;

use semver::Version;

use super::{Catalog, OpError, spec};
use crate::advisory::{Advisories, Advisory, Finding, Imported, Leftovers, Status};
use crate::host::Host;
use crate::package::name::PackageName;

/// The database, beside the registry.
const FILE_NAME: &str = "advisories.sqlite";

impl Catalog {
    /// Imports the advisories of a file, a directory or a zip, all or none.
    ///
    /// # Errors
    /// The first record that is not of the schema, with its file, id and field; a source that cannot be used.
    pub fn advisories_import(&self, path: &Path, leftovers: Leftovers, host: &dyn Host) -> Result<Imported, OpError> {
        let _turn = self.writing();
        let mut advisories = self.advisories.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match advisories.take() {
            Some(opened) => opened,
            None => Advisories::open(&self.home.join(FILE_NAME))?,
        };
        Ok(advisories.insert(opened).import(path, leftovers, host.now())?)
    }

    /// Lists advisories by id, of one package or of all; those withdrawn too.
    ///
    /// # Errors
    /// A word that names no package; the database.
    pub fn advisories_list(&self, package: Option<&str>) -> Result<(Vec<Advisory>, Status), OpError> {
        let name = package.map(|word| spec::exact(word).map(|(name, _)| name)).transpose()?;
        let listed = self.ask_advisories(|advisories| Ok((advisories.list(name.as_ref())?, advisories.status()?)))?;
        Ok(listed.unwrap_or_default())
    }

    /// Tells how many advisories there are, and how old they are.
    ///
    /// # Errors
    /// The database.
    pub fn advisories_status(&self) -> Result<Status, OpError> {
        Ok(self.ask_advisories(Advisories::status)?.unwrap_or_default())
    }

    /// Gives what is known against a version of a package, the worst first. Made for every package of every operation: one
    /// look at an index, and nothing at all on a node without advisories.
    ///
    /// # Errors
    /// The database.
    pub(crate) fn advisories_affecting(&self, name: &PackageName, version: &Version) -> Result<Vec<Finding>, OpError> {
        Ok(self.ask_advisories(|advisories| advisories.affecting(name, version))?.unwrap_or_default())
    }

    /// Gives what is wrong with the database's file; nothing on a node without one.
    pub(super) fn advisories_faults(&self) -> Result<Option<Vec<String>>, OpError> {
        self.ask_advisories(Advisories::faults)
    }

    /// Asks the database, which is opened at the first question; a node where nothing was imported has none.
    fn ask_advisories<T>(
        &self,
        ask: impl FnOnce(&Advisories) -> Result<T, crate::advisory::AdvisoryError>,
    ) -> Result<Option<T>, OpError> {
        let mut advisories = self.advisories.lock().unwrap_or_else(PoisonError::into_inner);
        if advisories.is_none() {
            let path = self.home.join(FILE_NAME);
            if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                return Ok(None);
            }
            *advisories = Some(Advisories::open(&path)?);
        }
        Ok(advisories.as_ref().map(ask).transpose()?)
    }
}
