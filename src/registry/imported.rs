//! Descriptions of things that are elsewhere: found by search, never resolved, fetched or installed.

use rusqlite::{TransactionBehavior, params};

use super::{Registry, RegistryError, rows};

/// The most descriptions that are kept.
pub const IMPORTED_MAX: u64 = 2_000_000;

/// One description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name by which it is known; a later description of the same name takes its place.
    pub name: String,
    /// Its version, as it is written there.
    pub version: String,
    /// What it says.
    pub description: String,
    /// Exact-match labels.
    pub tags: Vec<String>,
    /// Words for search.
    pub keywords: Vec<String>,
}

/// What becomes of descriptions that an import does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// They stay.
    Keep,
    /// They go.
    Remove,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportedCount {
    /// Descriptions read.
    pub read: u64,
    /// Descriptions that were there before and went.
    pub removed: u64,
    /// Descriptions that are there now.
    pub total: u64,
}

impl Registry {
    /// Imports descriptions, all of them or none.
    ///
    /// # Errors
    /// What `next` says, [`RegistryError::TooMany`], or the database.
    pub fn import<E: From<RegistryError>>(
        &mut self,
        earlier: Earlier,
        next: &mut dyn FnMut() -> Result<Option<Description>, E>,
    ) -> Result<ImportedCount, E> {
        self.import_at_most(earlier, next, IMPORTED_MAX)
    }

    pub(super) fn import_at_most<E: From<RegistryError>>(
        &mut self,
        earlier: Earlier,
        next: &mut dyn FnMut() -> Result<Option<Description>, E>,
        total_max: u64,
    ) -> Result<ImportedCount, E> {
        let database = |error: rusqlite::Error| E::from(RegistryError::from(error));
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
        let count = || -> Result<u64, E> {
            let sql = "SELECT count(*) FROM imported";
            Ok(transaction.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(database)?.unsigned_abs())
        };
        let mut counted = ImportedCount::default();
        if earlier == Earlier::Remove {
            counted.removed = transaction.execute("DELETE FROM imported", []).map_err(database)? as u64;
        }
        {
            let mut statement = transaction.prepare(INSERT).map_err(database)?;
            while let Some(description) = next()? {
                let Description { name, version, description, tags, keywords } = description;
                let (tags, keywords) = (rows::json("tags", &tags)?, rows::json("keywords", &keywords)?);
                statement.execute(params![name, version, description, tags, keywords]).map_err(database)?;
                counted.read += 1;
            }
        }
        counted.total = count()?;
        if counted.total > total_max {
            let limit = usize::try_from(total_max).unwrap_or(usize::MAX);
            return Err(RegistryError::TooMany { what: "imported descriptions".to_owned(), limit }.into());
        }
        transaction.commit().map_err(database)?;
        Ok(counted)
    }
}

const INSERT: &str = "INSERT INTO imported (name, version, description, tags, keywords) VALUES (?1, ?2, ?3, ?4, ?5) \
                      ON CONFLICT (name) DO UPDATE SET version = excluded.version, description = excluded.description, \
                      tags = excluded.tags, keywords = excluded.keywords";
