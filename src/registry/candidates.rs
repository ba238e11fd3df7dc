//! The registry as the resolver sees it: of most versions only what choosing takes, read from one index.

use rusqlite::{OptionalExtension, params};
use semver::Version;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Registry, RegistryError, rows};
use crate::package::name::PackageName;
use crate::resolve::{Candidate, Candidates, CandidatesError, Details};

/// Every column is in the index `versions_to_choose_from`; a row with its manifest takes a page of the file.
const VERSIONS: &str =
    "SELECT version, yanked, published_at FROM versions WHERE package = (SELECT id FROM packages WHERE name = ?1)";
const DETAILS: &str = "SELECT digest, dependencies, features, conflicts FROM versions \
                       WHERE package = (SELECT id FROM packages WHERE name = ?1) AND version = ?2";

impl Candidates for Registry {
    fn candidates(&self, name: &PackageName) -> Result<Vec<Candidate>, CandidatesError> {
        let mut statement = self.connection.prepare_cached(VERSIONS)?;
        let mut rows = statement.query(params![name.as_str()])?;
        let mut candidates = Vec::new();
        while let Some(row) = rows.next()? {
            let version = rows::parsed("version", row.get_ref(0)?.as_str()?)?;
            let published_at = OffsetDateTime::parse(row.get_ref(2)?.as_str()?, &Rfc3339);
            let published_at = published_at.map_err(|error| rows::fault("published_at", error))?;
            candidates.push(Candidate { version, yanked: row.get(1)?, published_at: Some(published_at) });
        }
        Ok(candidates)
    }

    fn details(&self, name: &PackageName, version: &Version) -> Result<Details, CandidatesError> {
        let mut statement = self.connection.prepare_cached(DETAILS)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let found: Option<(String, String, String, String)> =
            statement.query_row(params![name.as_str(), version.to_string()], read).optional()?;
        let (digest, dependencies, features, conflicts) =
            found.ok_or_else(|| RegistryError::NotFound { name: name.clone(), version: version.clone() })?;
        Ok(Details {
            digest: rows::parsed("digest", &digest)?,
            dependencies: rows::dependencies(&dependencies)?,
            conflicts: rows::conflicts(&conflicts)?,
            features: rows::from_json("features", &features)?,
        })
    }

    fn names(&self) -> Result<Vec<PackageName>, CandidatesError> {
        Ok(Self::names(self)?)
    }
}
