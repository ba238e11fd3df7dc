//! The tables.

use crate::sqlite::Form;

/// The file; marked as ours by `CTLA`.
pub(super) const FORM: Form = Form {
    what: "database of advisories",
    remedy: "remove it and import again",
    application_id: 0x4354_4C41,
    migrations: MIGRATIONS,
};

/// The version of the tables; each step from one to the next is in `MIGRATIONS`.
pub const SCHEMA_VERSION: u32 = FORM.schema();

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
