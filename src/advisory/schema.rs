//! The tables, and what an unknown file must have to be taken for a database of advisories.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::AdvisoryError;

/// The version of the tables; each step from one to the next is in `MIGRATIONS`.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Marks the file as ours: `CTLA`.
const APPLICATION_ID: u32 = 0x4354_4C41;

/// Reads enough of a file to know that it is whole and that we understand it; writes nothing.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), AdvisoryError> {
    let damaged = |reason: String| AdvisoryError::Damaged { path: path.to_owned(), reason };
    let fault = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => damaged(error.to_string()),
        _ => AdvisoryError::Database(error),
    };
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map_err(fault);
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let is_new = connection.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(fault)? == 0;
    if application != APPLICATION_ID && !(is_new && application == 0) {
        return Err(AdvisoryError::Foreign { path: path.to_owned() });
    }
    if version > SCHEMA_VERSION {
        return Err(AdvisoryError::Newer { path: path.to_owned(), found: version });
    }
    let result: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fault)?;
    if result == "ok" { Ok(()) } else { Err(damaged(result)) }
}

/// Brings the tables up to date, all at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), AdvisoryError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for step in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(step)?;
    }
    if version < SCHEMA_VERSION {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// The steps from each schema to the next; a step that was released is never changed. `modified` is in microseconds of
/// Unix time; `seen` is the import that had the record last.
const MIGRATIONS: &[&str] = &["
CREATE TABLE imports (
    id INTEGER PRIMARY KEY,
    imported_at TEXT NOT NULL
) STRICT;

CREATE TABLE records (
    id TEXT PRIMARY KEY,
    modified INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL,
    document TEXT NOT NULL,
    seen INTEGER NOT NULL REFERENCES imports (id)
) STRICT;

CREATE TABLE affected (
    package TEXT NOT NULL,
    record TEXT NOT NULL REFERENCES records (id) ON DELETE CASCADE,
    PRIMARY KEY (package, record)
) STRICT, WITHOUT ROWID;

CREATE INDEX affected_by_record ON affected (record);
"];
