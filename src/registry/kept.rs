//! What the registry needs of the rest of the node: the archives of what was published here, and itself whole.

use semver::Version;

use super::rows::parsed;
use super::{Registry, RegistryError};
use crate::digest::Digest;
use crate::package::name::PackageName;
use crate::sqlite;

/// A published version and the archive that must be kept for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The digest of the tar.
    pub digest: Digest,
    /// The digest of the compressed archive.
    pub blob: Digest,
}

impl Registry {
    /// Gives the archive of every version that was published here, in order of name and version.
    ///
    /// # Errors
    /// The database, or a row that does not read.
    pub fn kept(&self) -> Result<Vec<Kept>, RegistryError> {
        let sql = "SELECT name, v.version, digest, v.blob FROM versions v JOIN packages ON v.package = id \
                   WHERE NOT EXISTS (SELECT 1 FROM remote_versions r \
                                     WHERE r.package = v.package AND r.version = v.version AND came_in) \
                   ORDER BY name, v.version";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
        })?;
        rows.map(|row| {
            let (name, version, digest, blob) = row?;
            Ok(Kept {
                name: parsed("name", &name)?,
                version: parsed("version", &version)?,
                digest: parsed("digest", &digest)?,
                blob: parsed("blob", &blob)?,
            })
        })
        .collect()
    }

    /// Gives what SQLite finds wrong with the file, and rows that refer to nothing.
    ///
    /// # Errors
    /// The database.
    pub fn faults(&self) -> Result<Vec<String>, RegistryError> {
        Ok(sqlite::faults(&self.connection)?)
    }
}
