//! The tables: whether a file has ours, and bringing older ones up to date.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::RegistryError;

/// The version of the tables; each step from one to the next is in `MIGRATIONS`.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Marks the file as ours: `CTLG`.
const APPLICATION_ID: u32 = 0x4354_4C47;

/// Reads enough of a file to know that it is a whole registry that we understand; writes nothing.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), RegistryError> {
    let damaged = |reason: String| RegistryError::Damaged { path: path.to_owned(), reason };
    let fault = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => damaged(error.to_string()),
        _ => RegistryError::Database(error),
    };
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map_err(fault);
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let is_new = connection.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(fault)? == 0;
    if application != APPLICATION_ID && !(is_new && application == 0) {
        return Err(RegistryError::Foreign { path: path.to_owned() });
    }
    if version > SCHEMA_VERSION {
        return Err(RegistryError::Newer { path: path.to_owned(), found: version });
    }
    let result: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fault)?;
    if result == "ok" { Ok(()) } else { Err(damaged(result)) }
}

/// Brings the tables up to date, all at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), RegistryError> {
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

/// The steps from each schema to the next; a step that was released is never changed.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE packages (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE versions (
    package INTEGER NOT NULL REFERENCES packages (id),
    version TEXT NOT NULL,
    kind TEXT NOT NULL,
    description TEXT,
    tags TEXT NOT NULL,
    keywords TEXT NOT NULL,
    dependencies TEXT NOT NULL,
    features TEXT NOT NULL,
    digest TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    sha512 TEXT NOT NULL,
    blob TEXT NOT NULL,
    tar_bytes INTEGER NOT NULL,
    archive_bytes INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    published_at TEXT NOT NULL,
    yanked TEXT,
    downloads INTEGER NOT NULL DEFAULT 0,
    asset_id TEXT,
    PRIMARY KEY (package, version)
) STRICT;

CREATE INDEX versions_by_digest ON versions (digest);
CREATE INDEX versions_by_asset_id ON versions (asset_id) WHERE asset_id IS NOT NULL;

CREATE TRIGGER versions_never_change BEFORE UPDATE OF package, version, kind, description, tags, keywords, dependencies,
    features, digest, sha256, sha512, blob, tar_bytes, archive_bytes, manifest, published_at ON versions
BEGIN
    SELECT RAISE(ABORT, 'a published version never changes');
END;

CREATE TRIGGER versions_never_go BEFORE DELETE ON versions
BEGIN
    SELECT RAISE(ABORT, 'a published version is yanked, not removed');
END;
",
    "
CREATE TABLE chains (
    digest TEXT PRIMARY KEY,
    pem TEXT NOT NULL
) STRICT;

CREATE TABLE statements (
    package INTEGER NOT NULL,
    version TEXT NOT NULL,
    publisher TEXT NOT NULL,
    keys TEXT NOT NULL,
    envelope BLOB NOT NULL,
    chain TEXT NOT NULL REFERENCES chains (digest),
    PRIMARY KEY (package, version),
    FOREIGN KEY (package, version) REFERENCES versions (package, version)
) STRICT;

CREATE TRIGGER statements_never_change BEFORE UPDATE ON statements
BEGIN
    SELECT RAISE(ABORT, 'a statement about a published version never changes');
END;

CREATE TABLE feed_entries (
    publisher TEXT NOT NULL,
    number INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (publisher, number)
) STRICT;

CREATE TRIGGER feed_entries_never_change BEFORE UPDATE ON feed_entries
BEGIN
    SELECT RAISE(ABORT, 'an entry of a feed never changes');
END;

CREATE TABLE feed_heads (
    publisher TEXT PRIMARY KEY,
    head BLOB NOT NULL
) STRICT;

CREATE TABLE reputations (
    publisher TEXT PRIMARY KEY,
    score REAL NOT NULL,
    packages INTEGER NOT NULL,
    updated TEXT NOT NULL
) STRICT;
",
];
