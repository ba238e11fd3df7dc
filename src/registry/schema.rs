//! The tables.

use crate::sqlite::Form;

/// The file; marked as ours by `CTLG`.
pub(super) const FORM: Form = Form {
    what: "registry",
    remedy: "nothing was changed, restore it from a copy",
    application_id: 0x4354_4C47,
    migrations: MIGRATIONS,
};

/// The version of the tables; each step from one to the next is in `MIGRATIONS`.
pub const SCHEMA_VERSION: u32 = FORM.schema();

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
    // A trigger fills `needs`, so that no way to publish forgets it.
    "
CREATE TABLE ratings (
    package INTEGER NOT NULL REFERENCES packages (id),
    rater TEXT NOT NULL,
    version TEXT NOT NULL,
    stars INTEGER NOT NULL CHECK (stars BETWEEN 1 AND 5),
    comment TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (package, rater)
) STRICT;

CREATE TABLE needs (
    dependency TEXT NOT NULL,
    package INTEGER NOT NULL REFERENCES packages (id),
    PRIMARY KEY (dependency, package)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO needs (dependency, package)
    SELECT json_extract(value, '$.name'), package FROM versions, json_each(versions.dependencies);

CREATE TRIGGER needs_are_noted AFTER INSERT ON versions
BEGIN
    INSERT OR IGNORE INTO needs (dependency, package)
        SELECT json_extract(value, '$.name'), NEW.package FROM json_each(NEW.dependencies);
END;
",
    "
CREATE INDEX versions_to_choose_from ON versions (package, version, yanked, published_at);
",
    "
CREATE TABLE imported (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    description TEXT NOT NULL,
    tags TEXT NOT NULL,
    keywords TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    stamp BLOB NOT NULL DEFAULT (randomblob(8))
) STRICT;

INSERT INTO changes (name) VALUES ('');

CREATE TRIGGER changes_are_bounded AFTER INSERT ON changes WHEN NEW.number % 1024 = 0
BEGIN
    DELETE FROM changes WHERE number <= NEW.number - 65536;
END;

CREATE TRIGGER publications_are_noted AFTER INSERT ON versions
BEGIN
    INSERT INTO changes (name) SELECT name FROM packages WHERE id = NEW.package;
END;

CREATE TRIGGER updates_are_noted AFTER UPDATE OF yanked, downloads ON versions
BEGIN
    INSERT INTO changes (name) SELECT name FROM packages WHERE id = NEW.package;
END;

CREATE TRIGGER imports_are_noted AFTER INSERT ON imported
BEGIN
    INSERT INTO changes (name) VALUES (NEW.name);
END;

CREATE TRIGGER later_imports_are_noted AFTER UPDATE ON imported
BEGIN
    INSERT INTO changes (name) VALUES (NEW.name);
END;

CREATE TRIGGER removals_are_noted AFTER DELETE ON imported
BEGIN
    INSERT INTO changes (name) VALUES (OLD.name);
END;

CREATE TRIGGER ratings_are_noted AFTER INSERT ON ratings
BEGIN
    INSERT INTO changes (name) SELECT name FROM packages WHERE id = NEW.package;
END;

CREATE TRIGGER later_ratings_are_noted AFTER UPDATE ON ratings
BEGIN
    INSERT INTO changes (name) SELECT name FROM packages WHERE id = NEW.package;
END;
",
    // What came from remote registries. `remote_versions` may be updated: nobody signs where an archive is found.
    "
CREATE TABLE remote_versions (
    package INTEGER NOT NULL,
    version TEXT NOT NULL,
    registry TEXT NOT NULL,
    blob TEXT NOT NULL,
    archive_bytes INTEGER NOT NULL,
    PRIMARY KEY (package, version),
    FOREIGN KEY (package, version) REFERENCES versions (package, version)
) STRICT;

CREATE TABLE remote_feeds (
    publisher TEXT PRIMARY KEY,
    registry TEXT NOT NULL
) STRICT;

CREATE TABLE remote_documents (
    registry TEXT NOT NULL,
    path TEXT NOT NULL,
    at INTEGER NOT NULL,
    tag TEXT,
    present INTEGER NOT NULL,
    PRIMARY KEY (registry, path)
) STRICT;
",
    // Whether it was the registry that brought it, or it was here before and is only there, too.
    "
ALTER TABLE remote_versions ADD COLUMN came_in INTEGER NOT NULL DEFAULT 1;
",
    // Peers ask for archives by the digest of their compressed form.
    "
CREATE INDEX versions_by_blob ON versions (blob);
CREATE INDEX remote_versions_by_blob ON remote_versions (blob);
",
    // Entries that say to whom a package belongs, by the bytes that only those have: `{\"own\":`.
    "
CREATE INDEX feed_entries_about_owners ON feed_entries (publisher) WHERE instr(entry, x'7B226F776E223A') > 0;
",
    "
ALTER TABLE versions ADD COLUMN conflicts TEXT NOT NULL DEFAULT '[]';

CREATE TRIGGER conflicts_never_change BEFORE UPDATE OF conflicts ON versions
BEGIN
    SELECT RAISE(ABORT, 'a published version never changes');
END;
",
];
