//! SQLite files of ours: told from foreign, damaged and newer ones before anything is written to them, and brought up to date
//! all at once. Nothing here knows what the tables are for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// How long to wait for another process that writes.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest file that is read through before it is used, in bytes: that takes some 30 ms, and a registry of a million
/// packages would take seconds at each command. Of a larger one SQLite sees what is cut off at once, and other damage when
/// it reads the page.
pub const CHECKED_BYTES_MAX: u64 = 16 << 20;

/// One kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What it is, for people: `registry`.
    pub what: &'static str,
    /// What to do about one that is damaged.
    pub remedy: &'static str,
    /// Marks a file as one of this kind.
    pub application_id: u32,
    /// The steps from each schema to the next; a step that was released is never changed.
    pub migrations: &'static [&'static str],
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// The file is damaged.
    #[error("{what} `{path}` is damaged: {reason}; {remedy}", path = path.display())]
    Damaged {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The file is something else.
    #[error("`{path}` is no {what}", path = path.display())]
    Foreign {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is of a later version of this program.
    #[error("{what} `{path}` has schema {found}, and this program knows schemas up to {known}", path = path.display())]
    Newer {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The latest schema that is known.
        known: u32,
    },
    /// SQLite refused: disk, permissions, another process.
    #[error("cannot use the {what} `{path}`", path = path.display())]
    Database {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
}

/// The most faults of a file that are told.
const FAULTS_MAX: u32 = 20;

/// Gives what SQLite finds wrong with an open file, and rows that refer to nothing.
///
/// # Errors
/// SQLite cannot read it at all.
pub fn faults(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    for table in statement.query_map([], |row| row.get::<_, String>(0))?.take(FAULTS_MAX as usize) {
        found.push(format!("a row of `{}` refers to one that is not there", table?));
    }
    Ok(found)
}

impl Form {
    /// The version of the tables that this program makes.
    pub const fn schema(&self) -> u32 {
        self.migrations.len() as u32
    }

    /// Opens a file, makes it if there is none, and brings older tables up to date. Writes are durable when they are
    /// committed (write-ahead log, `synchronous = FULL`).
    ///
    /// # Errors
    /// [`SqliteError`]; a file that is damaged, foreign or newer is left as it is. Damage in a file of more than 16 MiB may be
    /// met later, where it is read.
    pub fn open(&self, path: &Path) -> Result<Connection, SqliteError> {
        let refused = |source| SqliteError::Database { what: self.what, path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(path, flags).map_err(refused)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
        self.check(&connection, path)?;
        self.prepare(&mut connection).map_err(refused)?;
        Ok(connection)
    }

    /// Reads enough of a file to know that it is whole and that we understand it; writes nothing.
    fn check(&self, connection: &Connection, path: &Path) -> Result<(), SqliteError> {
        let (what, remedy) = (self.what, self.remedy);
        let damaged = |reason: String| SqliteError::Damaged { what, path: path.to_owned(), reason, remedy };
        let fault = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                damaged(source.to_string())
            }
            _ => SqliteError::Database { what, path: path.to_owned(), source },
        };
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map_err(fault);
        let (application, found) = (number("application_id")?, number("user_version")?);
        let tables = "SELECT count(*) FROM sqlite_schema";
        let is_new = connection.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(fault)? == 0;
        if application != self.application_id && !(is_new && application == 0) {
            return Err(SqliteError::Foreign { what, path: path.to_owned() });
        }
        if found > self.schema() {
            return Err(SqliteError::Newer { what, path: path.to_owned(), found, known: self.schema() });
        }
        // What is larger would be read whole at every opening; there SQLite refuses a damaged page when it meets it.
        if u64::from(number("page_count")?) * u64::from(number("page_size")?) > CHECKED_BYTES_MAX {
            return Ok(());
        }
        let result: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(fault)?;
        if result == "ok" { Ok(()) } else { Err(damaged(result)) }
    }

    fn prepare(&self, connection: &mut Connection) -> Result<(), rusqlite::Error> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // Whoever only reads waits for no writer, who may be at work for minutes.
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == self.schema() {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for step in self.migrations.iter().skip(version as usize) {
            transaction.execute_batch(step)?;
        }
        if version < self.schema() {
            transaction.pragma_update(None, "application_id", self.application_id)?;
            transaction.pragma_update(None, "user_version", self.schema())?;
        }
        transaction.commit()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const FORM: Form = Form {
        what: "test",
        remedy: "make it anew",
        application_id: 7,
        migrations: &["CREATE TABLE blobs (bytes BLOB NOT NULL) STRICT;"],
    };

    /// Makes a file with a blob, and damages a page in its middle.
    fn damaged(bytes: u64) -> (tempfile::TempDir, Result<Connection, SqliteError>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.sqlite");
        let connection = FORM.open(&path).expect("opens");
        connection.execute("INSERT INTO blobs VALUES (zeroblob(?1))", [bytes.cast_signed()]).expect("inserts");
        drop(connection);
        let mut content = fs::read(&path).expect("reads");
        let middle = content.len() / 2 / 4_096 * 4_096;
        content[middle..middle + 4_096].fill(0xff);
        fs::write(&path, content).expect("writes");
        (directory, FORM.open(&path))
    }

    #[test]
    fn a_file_opens_while_somebody_writes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.sqlite");
        let writer = FORM.open(&path).expect("opens");
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO blobs VALUES (x'00');").expect("writes");
        let reader = FORM.open(&path).expect("opens at once");
        let count = reader.query_row("SELECT count(*) FROM blobs", [], |row| row.get::<_, i64>(0));
        assert_eq!(count, Ok(0));
    }

    #[test]
    fn files_are_checked_whole_up_to_a_size_and_page_by_page_beyond() {
        assert!(matches!(damaged(CHECKED_BYTES_MAX / 2).1, Err(SqliteError::Damaged { .. })));
        let (_directory, large) = damaged(CHECKED_BYTES_MAX + 1);
        let read = large.expect("opens").query_row("SELECT bytes FROM blobs", [], |row| row.get::<_, Vec<u8>>(0));
        let code = read.expect_err("is met").sqlite_error_code();
        assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseCorrupt));
    }
}
