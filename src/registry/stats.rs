//! What people and packages say about a package: ratings, and who builds on it.

use rusqlite::{OptionalExtension, params};
use semver::Version;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Registry, RegistryError, rows};
use crate::package::name::PackageName;

/// One opinion about one version; a rater has one for each package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Who says so: the id of a node.
    pub rater: String,
    /// The version that was in use.
    pub version: Version,
    /// 1 to 5.
    pub stars: u8,
    /// In words.
    pub comment: Option<String>,
    /// When it was given.
    pub at: OffsetDateTime,
}

/// What is thought of a package.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rating {
    /// How many gave an opinion.
    pub count: u64,
    /// The mean of their stars, 1 to 5; 0 without an opinion.
    pub average: f64,
}

/// A package in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Downloads of all versions.
    pub downloads: u64,
    /// Packages of which some version builds on it.
    pub dependents: u64,
    /// What is thought of it.
    pub rating: Rating,
}

impl Registry {
    /// Notes an opinion; an earlier one of the same rater about the package is replaced and given back.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for a version that is not here, or the database.
    pub fn rate(&mut self, name: &PackageName, opinion: &Opinion) -> Result<Option<u8>, RegistryError> {
        let Opinion { rater, version, stars, comment, at } = opinion;
        if self.get(name, version)?.is_none() {
            return Err(RegistryError::NotFound { name: name.clone(), version: version.clone() });
        }
        let sql = "SELECT stars FROM ratings JOIN packages ON package = id WHERE name = ?1 AND rater = ?2";
        let before = self.connection.prepare_cached(sql)?.query_row(params![name.as_str(), rater], |row| row.get(0));
        let before = before.optional()?;
        let at = at.format(&Rfc3339).map_err(|error| RegistryError::Row { reason: format!("at: {error}") })?;
        let sql = "INSERT INTO ratings (package, rater, version, stars, comment, at) \
                   SELECT id, ?2, ?3, ?4, ?5, ?6 FROM packages WHERE name = ?1 \
                   ON CONFLICT (package, rater) DO UPDATE SET version = ?3, stars = ?4, comment = ?5, at = ?6";
        let values = params![name.as_str(), rater, version.to_string(), stars, comment, at];
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(before)
    }

    /// Gives opinions about a package, the newest first and so many at most.
    ///
    /// # Errors
    /// The database, or a row that does not read.
    pub fn opinions(&self, name: &PackageName, limit: u32) -> Result<Vec<Opinion>, RegistryError> {
        let sql = "SELECT rater, version, stars, comment, at FROM ratings JOIN packages ON package = id \
                   WHERE name = ?1 ORDER BY at DESC, rater LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![name.as_str(), limit], |row| {
            let (version, at): (String, String) = (row.get(1)?, row.get(4)?);
            Ok((row.get(0)?, version, row.get(2)?, row.get(3)?, at))
        })?;
        rows.map(|row| {
            let (rater, version, stars, comment, at) = row?;
            let at = OffsetDateTime::parse(&at, &Rfc3339);
            let at = at.map_err(|error| RegistryError::Row { reason: format!("at: {error}") })?;
            Ok(Opinion { rater, version: rows::parsed("version", &version)?, stars, comment, at })
        })
        .collect()
    }

    /// Gives a package in figures; all are zero for one that is not here.
    ///
    /// # Errors
    /// The database.
    pub fn statistics(&self, name: &PackageName) -> Result<Statistics, RegistryError> {
        let number = |sql: &str| -> Result<u64, RegistryError> {
            let mut statement = self.connection.prepare_cached(sql)?;
            Ok(statement.query_row(params![name.as_str()], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        let downloads =
            number("SELECT coalesce(sum(downloads), 0) FROM versions JOIN packages ON package = id WHERE name = ?1")?;
        let dependents = number("SELECT count(DISTINCT package) FROM needs WHERE dependency = ?1")?;
        let sql = "SELECT count(*), coalesce(avg(stars), 0) FROM ratings JOIN packages ON package = id WHERE name = ?1";
        let rating = self.connection.prepare_cached(sql)?.query_row(params![name.as_str()], |row| {
            Ok(Rating { count: row.get::<_, i64>(0)?.unsigned_abs(), average: row.get(1)? })
        })?;
        Ok(Statistics { downloads, dependents, rating })
    }

    /// Gives packages of which some version builds on a package, the first in order of name and so many at most.
    ///
    /// # Errors
    /// The database.
    pub fn dependents(&self, name: &PackageName, limit: usize) -> Result<Vec<PackageName>, RegistryError> {
        let sql = "SELECT DISTINCT name FROM needs JOIN packages ON package = id WHERE dependency = ?1 ORDER BY name \
                   LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let names = statement.query_map(params![name.as_str(), limit], |row| row.get::<_, String>(0))?;
        names.map(|name| rows::parsed("name", &name?)).collect()
    }
}
