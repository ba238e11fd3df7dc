//! Known weaknesses of packages: records of the OSV schema, in one SQLite file beside the registry.
//!
//! Records come from a file, a directory or a zip, all or none; of two records with one id the later one stands. They are
//! found by the name of a package, and a version is held against them as the schema says. Records that are aliases of each
//! other are one finding. A record that was withdrawn finds nothing.
//!
//! A record may come from anybody: everything it can grow is bounded, and what is shown of it is plain text. Nothing here
//! reads the clock, fetches anything or decides what to do about a finding.

mod finding;
mod range;
mod rating;
mod record;
mod schema;
mod source;
mod text;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use semver::Version;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::finding::{Advisory, Finding};
pub use self::rating::{ParseRatingError, Rating, Severity};
use self::record::Record;
pub use self::record::{ECOSYSTEM, ID_BYTES_MAX, RECORD_BYTES_MAX};
use self::schema::FORM;
pub use self::schema::SCHEMA_VERSION;
pub use self::source::{DEPTH_MAX, RECORDS_MAX, ZIP_BYTES_MAX, ZIP_RATIO_MAX};
use crate::package::name::PackageName;
use crate::sqlite::SqliteError;

/// The advisories of one node.
#[derive(Debug)]
pub struct Advisories {
    connection: Connection,
}

/// What becomes of records that an import does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They stay: the import is one source of several.
    Keep,
    /// They go: the import is everything.
    Remove,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records read.
    pub records: usize,
    /// Advisories that were not there before.
    pub added: usize,
    /// Advisories of which this is a later edition.
    pub changed: usize,
    /// Advisories that were there in this edition or a later one.
    pub unchanged: usize,
    /// Records about no package of ours.
    pub other_ecosystems: usize,
    /// Advisories removed.
    pub removed: usize,
}

/// How much is there, and how old it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Advisories that can find something.
    pub advisories: u64,
    /// When something was imported last.
    pub imported_at: Option<OffsetDateTime>,
    /// When the newest record was modified, as its database says.
    pub newest: Option<OffsetDateTime>,
}

/// Why advisories cannot be read or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvisoryError {
    /// A record is not of the schema.
    #[error("{file}: record {}: `{path}`: {reason}", id.as_deref().map_or("without id".to_owned(), |id| format!("`{id}`")))]
    Record {
        /// Where it is from.
        file: String,
        /// Its id, if it has one.
        id: Option<String>,
        /// The field.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A source of records that cannot be used.
    #[error("cannot import `{path}`{}: {reason}", entry.as_ref().map_or(String::new(), |entry| format!(", entry `{entry}`")), path = path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// The file in it.
        entry: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// More than a bound.
    #[error("{what} pass the bound of {limit}")]
    TooMany {
        /// What.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A file that cannot be read.
    #[error("cannot use `{path}`", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A row that cannot be, except by another program's hand.
    #[error("database of advisories holds a row that does not read: {reason}")]
    Row {
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be used.
    #[error(transparent)]
    Form(#[from] SqliteError),
    /// SQLite refused: disk, permissions, another process.
    #[error("cannot use the database of advisories")]
    Database(#[from] rusqlite::Error),
}

impl Advisories {
    /// Opens a database, makes it if there is no file, and brings older tables up to date.
    ///
    /// # Errors
    /// [`SqliteError`]; a file that is damaged, foreign or newer is left as it is.
    pub fn open(path: &Path) -> Result<Self, AdvisoryError> {
        Ok(Self { connection: FORM.open(path)? })
    }

    /// Imports every record of a file, a directory or a zip: all of them, or none.
    ///
    /// # Errors
    /// A record that is not of the schema, a source that cannot be read or passes a bound, or the database.
    pub fn import(
        &mut self,
        source: &Path,
        leftovers: Leftovers,
        now: OffsetDateTime,
    ) -> Result<Imported, AdvisoryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = now.format(&Rfc3339).map_err(|error| AdvisoryError::Row { reason: error.to_string() })?;
        transaction.execute("INSERT INTO imports (imported_at) VALUES (?1)", [now])?;
        let import = transaction.last_insert_rowid();
        let mut imported = Imported::default();
        source::each(source, &mut |file, bytes| take(&transaction, import, &mut imported, file, bytes))?;
        if imported.records == 0 {
            let reason = "there is no record in it".to_owned();
            return Err(AdvisoryError::Source { path: source.to_owned(), entry: None, reason });
        }
        if leftovers == Leftovers::Remove {
            imported.removed = transaction.execute("DELETE FROM records WHERE seen <> ?1", [import])?;
        }
        transaction.commit()?;
        Ok(imported)
    }

    /// Gives what is known against a version of a package, the worst first; records that are aliases are one finding.
    ///
    /// # Errors
    /// The database.
    pub fn affecting(&self, name: &PackageName, version: &Version) -> Result<Vec<Finding>, AdvisoryError> {
        let records = self.records(Some(name), Withdrawn::Leave)?;
        Ok(finding::group(&records, name, version))
    }

    /// Lists advisories by id, of one package or of all; those withdrawn too.
    ///
    /// # Errors
    /// The database.
    pub fn list(&self, package: Option<&PackageName>) -> Result<Vec<Advisory>, AdvisoryError> {
        Ok(self.records(package, Withdrawn::Take)?.iter().map(Advisory::of).collect())
    }

    /// Tells how much is there, and how old it is.
    ///
    /// # Errors
    /// The database.
    pub fn status(&self) -> Result<Status, AdvisoryError> {
        let imported = "SELECT imported_at FROM imports ORDER BY id DESC LIMIT 1";
        let imported_at: Option<String> = self.connection.query_row(imported, [], |row| row.get(0)).optional()?;
        let counted = "SELECT count(*), max(modified) FROM records \
                       WHERE withdrawn = 0 AND id IN (SELECT record FROM affected)";
        let (count, newest): (i64, Option<i64>) =
            self.connection.query_row(counted, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let row = |error: String| AdvisoryError::Row { reason: error };
        let imported_at = imported_at.map(|text| OffsetDateTime::parse(&text, &Rfc3339)).transpose();
        let newest = newest.map(|micros| OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000));
        Ok(Status {
            advisories: count.unsigned_abs(),
            imported_at: imported_at.map_err(|error| row(format!("`imported_at`: {error}")))?,
            newest: newest.transpose().map_err(|error| row(format!("`modified`: {error}")))?,
        })
    }

    /// Gives what SQLite finds wrong with the file.
    ///
    /// # Errors
    /// The database.
    pub fn faults(&self) -> Result<Vec<String>, AdvisoryError> {
        Ok(crate::sqlite::faults(&self.connection)?)
    }

    /// Reads the records about a package, or about any.
    fn records(&self, package: Option<&PackageName>, withdrawn: Withdrawn) -> Result<Vec<Record>, AdvisoryError> {
        let which = match package {
            Some(_) => "package = ?1",
            None => "?1 IS NULL",
        };
        let sql = format!(
            "SELECT document FROM records WHERE withdrawn <= ?2 AND id IN (SELECT record FROM affected WHERE {which}) \
             ORDER BY id"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let parameters = params![package.map(PackageName::as_str), withdrawn == Withdrawn::Take];
        let documents = statement.query_map(parameters, |row| row.get::<_, String>(0))?;
        documents
            .map(|document| {
                let row = |fault: record::Fault| AdvisoryError::Row {
                    reason: format!("record {:?}: `{}`: {}", fault.id, fault.path, fault.reason),
                };
                Record::parse(document?.as_bytes()).map_err(row)
            })
            .collect()
    }
}

/// Whether records that were withdrawn are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Withdrawn {
    Leave,
    Take,
}

/// Takes one record into the database.
fn take(
    transaction: &Transaction<'_>,
    import: i64,
    imported: &mut Imported,
    file: &str,
    bytes: &[u8],
) -> Result<(), AdvisoryError> {
    let fault = |fault: record::Fault| AdvisoryError::Record {
        file: file.to_owned(),
        id: fault.id,
        path: fault.path,
        reason: fault.reason,
    };
    let record = Record::parse(bytes).map_err(fault)?;
    let document = std::str::from_utf8(bytes)
        .map_err(|error| fault(record::Fault { id: None, path: ".".into(), reason: error.to_string() }))?;
    imported.records += 1;
    let known = "SELECT modified FROM records WHERE id = ?1";
    let known: Option<i64> = transaction.prepare_cached(known)?.query_row([&record.id], |row| row.get(0)).optional()?;
    let modified = micros(record.modified);
    match known {
        None if record.entries.is_empty() => {
            imported.other_ecosystems += 1;
            return Ok(());
        }
        None => imported.added += 1,
        Some(known) if known < modified => imported.changed += 1,
        Some(_) => {
            imported.unchanged += 1;
            transaction.execute("UPDATE records SET seen = ?1 WHERE id = ?2", params![import, record.id])?;
            return Ok(());
        }
    }
    // A later edition that no longer names our packages stays, so that an earlier one does not come back.
    let write = "INSERT INTO records (id, modified, withdrawn, document, seen) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (id) DO UPDATE SET modified = ?2, withdrawn = ?3, document = ?4, seen = ?5";
    let row = params![record.id, modified, record.withdrawn.is_some(), document, import];
    transaction.prepare_cached(write)?.execute(row)?;
    transaction.execute("DELETE FROM affected WHERE record = ?1", [&record.id])?;
    let mut link = transaction.prepare_cached("INSERT OR IGNORE INTO affected (package, record) VALUES (?1, ?2)")?;
    for entry in &record.entries {
        link.execute(params![entry.package.as_str(), record.id])?;
    }
    Ok(())
}

/// Gives a time in microseconds, which hold every year that can be written.
fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// Reads bytes as an import would and holds what they say against some versions, for a fuzzer: nothing comes of it.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let mut records = Vec::new();
    let mut keep = |_: &str, bytes: &[u8]| {
        records.extend(Record::parse(bytes));
        Ok(())
    };
    let _ = source::each_of(Path::new("input"), bytes, &mut keep);
    for record in &records {
        for entry in &record.entries {
            for version in [Version::new(0, 0, 0), Version::new(1, 1, 0), Version::new(u64::MAX, 0, 0)] {
                finding::group(&records, &entry.package, &version);
            }
        }
        Advisory::of(record);
    }
}

#[cfg(test)]
mod tests;
