//! The registry: what has been published on this node, in one SQLite file.
//!
//! A published version never changes: the database itself refuses to change or remove it, and another publication under
//! its name and version is refused with the digest that is there. Only being yanked, the count of downloads and the host's
//! asset id change. Several releases are published together or not at all, and are durable when [`Registry::publish`]
//! returns (write-ahead log, `synchronous = FULL`).
//!
//! A file that is damaged, newer or not a registry is refused before anything is written to it. Nothing here reads the
//! clock, holds archives (the store does) or decides what to trust.

mod candidates;
mod changes;
mod foreign;
mod imported;
mod insert;
mod kept;
mod rows;
mod schema;
mod signed;
mod stats;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use semver::Version;
use time::OffsetDateTime;

pub use self::changes::{CHANGES_MAX, Changes, Listing, Mark};
pub use self::foreign::{Foreign, Heard, Offer, Origin};
pub use self::imported::{Description, Earlier, IMPORTED_MAX, ImportedCount};
use self::insert::insert;
pub use self::kept::Kept;
use self::rows::{COLUMNS, Raw};
use self::schema::FORM;
pub use self::schema::SCHEMA_VERSION;
pub use self::signed::{StoredStatement, Voucher};
pub use self::stats::{Opinion, Rating, Statistics};
use crate::archive::Archive;
use crate::digest::{Digest, Digests};
use crate::package::model::{Conflict, Dependency, Package, PackageType};
use crate::package::name::PackageName;
use crate::sqlite::SqliteError;
use crate::trust::vouch::FeedCopy;

/// The most releases published together.
pub const BATCH_MAX: usize = 1_000;
/// The most versions of one package; the resolver looks at the highest of them.
pub const VERSIONS_MAX: usize = 10_000;

/// The registry of one node.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
}

/// One version of a package, as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// What it is.
    pub kind: PackageType,
    /// What it says about itself.
    pub description: Option<String>,
    /// Exact-match labels.
    pub tags: Vec<String>,
    /// Words for search.
    pub keywords: Vec<String>,
    /// What it builds on.
    pub dependencies: Vec<Dependency>,
    /// What it cannot stand beside.
    pub conflicts: Vec<Conflict>,
    /// Its features and what each switches on.
    pub features: BTreeMap<String, Vec<String>>,
    /// Digests of the tar; BLAKE3 is the identity.
    pub digests: Digests,
    /// Digest of the compressed archive.
    pub blob: Digest,
    /// Size of the tar in bytes.
    pub tar_bytes: u64,
    /// Size of the compressed archive in bytes.
    pub archive_bytes: u64,
    /// When it was published; kept to the second, in UTC.
    pub published_at: OffsetDateTime,
}

/// One published version and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// As it was published.
    pub release: Release,
    /// Why it was yanked, if it was.
    pub yanked: Option<String>,
    /// How often it was downloaded.
    pub downloads: u64,
    /// The host's asset that stands for it, if there is one.
    pub asset_id: Option<String>,
}

/// A release on its way into the registry.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its manifest in canonical form; [`Registry::manifest`] gives it back.
    pub manifest: &'a [u8],
    /// Who stands for it; none for a release that nobody signed.
    pub voucher: Option<Voucher<'a>>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Names.
    pub packages: u64,
    /// Versions of all names.
    pub versions: u64,
}

/// Why the registry could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The version is there, and it is the same.
    #[error("package `{name}` {version} is already published with this very digest `{digest}`")]
    AlreadyPublished {
        /// The package.
        name: PackageName,
        /// Its version.
        version: Version,
        /// The digest.
        digest: Digest,
    },
    /// The version is there, and it is another.
    #[error(
        "package `{name}` {version} is already published with digest `{existing}`, not `{offered}`; versions never change"
    )]
    Conflict {
        /// The package.
        name: PackageName,
        /// Its version.
        version: Version,
        /// The digest that is there, in text.
        existing: String,
        /// The digest that was offered, in text.
        offered: String,
    },
    /// The version is not there.
    #[error("package `{name}` {version} is not in the registry")]
    NotFound {
        /// The package.
        name: PackageName,
        /// Its version.
        version: Version,
    },
    /// An archive of another package than the manifest's.
    #[error("archive holds `{archive}`, but the package is `{package}`")]
    OtherArchive {
        /// The archive's package, as `name@version`.
        archive: String,
        /// The package, as `name@version`.
        package: String,
    },
    /// A feed goes on from other entries than those that are there.
    #[error("the feed of `{publisher}` has another entry `{number}` than the one that is here")]
    FeedConflict {
        /// Whose feed it is.
        publisher: String,
        /// The number of the entry.
        number: u64,
    },
    /// More than a bound.
    #[error("{what} pass the bound of {limit}")]
    TooMany {
        /// What.
        what: String,
        /// The bound.
        limit: usize,
    },
    /// A row that cannot be, except by another program's hand.
    #[error("registry holds a row that does not read: {reason}")]
    Row {
        /// The column and what is wrong.
        reason: String,
    },
    /// The file cannot be used.
    #[error(transparent)]
    Form(#[from] SqliteError),
    /// SQLite refused: disk, permissions, another process.
    #[error("cannot use the registry's database")]
    Database(#[from] rusqlite::Error),
}

impl Release {
    /// Describes a package and its archive.
    ///
    /// # Errors
    /// [`RegistryError::OtherArchive`].
    pub fn new(package: &Package, archive: &Archive, published_at: OffsetDateTime) -> Result<Self, RegistryError> {
        if (archive.name(), archive.version()) != (&package.name, &package.version) {
            return Err(RegistryError::OtherArchive {
                archive: format!("{}@{}", archive.name(), archive.version()),
                package: format!("{}@{}", package.name, package.version),
            });
        }
        Ok(Self {
            name: package.name.clone(),
            version: package.version.clone(),
            kind: package.kind,
            description: package.about.description.clone(),
            tags: package.about.tags.clone(),
            keywords: package.about.keywords.clone(),
            dependencies: package.dependencies.clone(),
            conflicts: package.conflicts.clone(),
            features: package.features.clone(),
            digests: archive.digests(),
            blob: archive.blob(),
            tar_bytes: archive.tar_bytes(),
            archive_bytes: archive.compressed().len() as u64,
            published_at,
        })
    }
}

impl Registry {
    /// Opens a registry, makes it if there is no file, and brings older tables up to date.
    ///
    /// # Errors
    /// [`SqliteError`]; a file that is damaged, foreign or newer is left as it is.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        Ok(Self { connection: FORM.open(path)? })
    }

    /// Publishes releases together with the feeds that name them: all of it, or nothing.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyPublished`] or [`RegistryError::Conflict`] for a version that is there,
    /// [`RegistryError::FeedConflict`], a bound, or the database.
    pub fn publish(
        &mut self,
        publications: &[Publication<'_>],
        feeds: &BTreeMap<String, FeedCopy>,
    ) -> Result<(), RegistryError> {
        if publications.len() > BATCH_MAX {
            return Err(RegistryError::TooMany { what: "releases at once".to_owned(), limit: BATCH_MAX });
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for publication in publications {
            insert(&transaction, publication, VERSIONS_MAX)?;
        }
        for (publisher, feed) in feeds {
            signed::insert_feed(&transaction, publisher, feed)?;
        }
        Ok(transaction.commit()?)
    }

    /// Makes several changes durable at once, or none of them.
    ///
    /// # Errors
    /// What `work` says, or the database.
    pub fn together<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = work(self);
        self.connection.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        done
    }

    /// Marks a version as yanked, with a reason that people see, or takes that back with `None`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or the database.
    pub fn set_yanked(
        &mut self,
        name: &PackageName,
        version: &Version,
        reason: Option<&str>,
    ) -> Result<(), RegistryError> {
        self.update("yanked = ?3", name, version, reason)
    }

    /// Yanks a version or takes that back, together with the feed that says so.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::FeedConflict`], or the database.
    pub fn yank(
        &mut self,
        name: &PackageName,
        version: &Version,
        reason: Option<&str>,
        feed: (&str, &FeedCopy),
    ) -> Result<(), RegistryError> {
        let transaction = self.connection.unchecked_transaction()?;
        self.update("yanked = ?3", name, version, reason)?;
        signed::insert_feed(&transaction, feed.0, feed.1)?;
        Ok(transaction.commit()?)
    }

    /// Puts a newer state of a feed in the place of an older one.
    ///
    /// # Errors
    /// [`RegistryError::FeedConflict`], or the database.
    pub fn set_feed(&mut self, publisher: &str, feed: &FeedCopy) -> Result<(), RegistryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        signed::insert_feed(&transaction, publisher, feed)?;
        Ok(transaction.commit()?)
    }

    /// Notes the host's asset that stands for a version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or the database.
    pub fn set_asset_id(&mut self, name: &PackageName, version: &Version, id: &str) -> Result<(), RegistryError> {
        self.update("asset_id = ?3", name, version, id)
    }

    /// Counts downloads of a version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or the database.
    pub fn add_downloads(
        &mut self,
        name: &PackageName,
        version: &Version,
        downloads: u32,
    ) -> Result<(), RegistryError> {
        self.update("downloads = downloads + ?3", name, version, downloads)
    }

    /// Gives one version.
    ///
    /// # Errors
    /// The database.
    pub fn get(&self, name: &PackageName, version: &Version) -> Result<Option<Record>, RegistryError> {
        let found = self.select("name = ?1 AND version = ?2", params![name.as_str(), version.to_string()])?;
        Ok(found.into_iter().next())
    }

    /// Gives the manifest of one version in canonical form.
    ///
    /// # Errors
    /// The database.
    pub fn manifest(&self, name: &PackageName, version: &Version) -> Result<Option<Vec<u8>>, RegistryError> {
        let sql = "SELECT manifest FROM versions JOIN packages ON package = id WHERE name = ?1 AND version = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row(params![name.as_str(), version.to_string()], |row| row.get(0)).optional()?)
    }

    /// Gives every version of a package, the lowest first, yanked ones included.
    ///
    /// # Errors
    /// The database.
    pub fn versions(&self, name: &PackageName) -> Result<Vec<Record>, RegistryError> {
        let mut records = self.select("name = ?1", params![name.as_str()])?;
        records.sort_unstable_by(|a, b| a.release.version.cmp(&b.release.version));
        Ok(records)
    }

    /// Gives the version that someone who names none means: the highest that is not yanked, and a pre-release only if
    /// there is nothing else.
    ///
    /// # Errors
    /// The database.
    pub fn latest(&self, name: &PackageName) -> Result<Option<Record>, RegistryError> {
        Ok(latest_of(self.versions(name)?))
    }

    /// Gives the latest version of every package that has one, in order of name.
    ///
    /// # Errors
    /// The database.
    pub fn list(&self) -> Result<Vec<Record>, RegistryError> {
        let latest = self.names()?.into_iter().map(|name| self.latest(&name));
        latest.filter_map(Result::transpose).collect()
    }

    /// Gives the versions that one of the host's assets stands for.
    ///
    /// # Errors
    /// The database.
    pub fn by_asset_id(&self, id: &str) -> Result<Vec<Record>, RegistryError> {
        self.select("asset_id = ?1", params![id])
    }

    /// Gives the versions whose archive has a digest.
    ///
    /// # Errors
    /// The database.
    pub fn of_archive(&self, tar: Digest) -> Result<Vec<Record>, RegistryError> {
        self.select("digest = ?1", params![tar.to_string()])
    }

    /// Gives every name in order.
    ///
    /// # Errors
    /// The database.
    pub fn names(&self) -> Result<Vec<PackageName>, RegistryError> {
        let mut statement = self.connection.prepare_cached("SELECT name FROM packages ORDER BY name")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        names.map(|name| rows::parsed("name", &name?)).collect()
    }

    /// Counts packages and versions.
    ///
    /// # Errors
    /// The database.
    pub fn count(&self) -> Result<Count, RegistryError> {
        let count = |table| -> Result<u64, RegistryError> {
            let sql = format!("SELECT count(*) FROM {table}");
            Ok(self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        Ok(Count { packages: count("packages")?, versions: count("versions")? })
    }

    fn select(&self, condition: &str, values: impl rusqlite::Params) -> Result<Vec<Record>, RegistryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM versions JOIN packages ON package = id WHERE {condition} ORDER BY name, version"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(values, Raw::read)?;
        rows.map(|raw| raw?.into_record()).collect()
    }

    fn update(
        &self,
        change: &str,
        name: &PackageName,
        version: &Version,
        value: impl rusqlite::ToSql,
    ) -> Result<(), RegistryError> {
        let condition = "version = ?2 AND package = (SELECT id FROM packages WHERE name = ?1)";
        let sql = format!("UPDATE versions SET {change} WHERE {condition}");
        match self.connection.prepare_cached(&sql)?.execute(params![name.as_str(), version.to_string(), value])? {
            0 => Err(RegistryError::NotFound { name: name.clone(), version: version.clone() }),
            _ => Ok(()),
        }
    }
}

fn latest_of(records: Vec<Record>) -> Option<Record> {
    let usable = records.into_iter().filter(|record| record.yanked.is_none());
    usable.max_by(|a, b| {
        let key = |record: &Record| record.release.version.pre.is_empty();
        key(a).cmp(&key(b)).then_with(|| a.release.version.cmp(&b.release.version))
    })
}

#[cfg(test)]
mod tests;
