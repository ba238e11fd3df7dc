//! The form of a release in the tables, which is not the form it has in memory.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::Row;
use semver::VersionReq;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::{Record, RegistryError, Release};
use crate::digest::Digests;
use crate::package::model::{Conflict, Dependency, Source};
use crate::package::name::PackageName;

/// The columns that [`Raw::read`] reads, in its order.
pub(super) const COLUMNS: &str = "name, version, kind, description, tags, keywords, dependencies, features, digest, sha256, \
                                  sha512, blob, tar_bytes, archive_bytes, published_at, yanked, downloads, asset_id, conflicts";

/// A row as SQLite holds it.
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) description: Option<String>,
    pub(super) tags: String,
    pub(super) keywords: String,
    pub(super) dependencies: String,
    pub(super) features: String,
    pub(super) conflicts: String,
    pub(super) digest: String,
    pub(super) sha256: String,
    pub(super) sha512: String,
    pub(super) blob: String,
    pub(super) tar_bytes: i64,
    pub(super) archive_bytes: i64,
    pub(super) published_at: String,
    yanked: Option<String>,
    downloads: i64,
    asset_id: Option<String>,
}

impl Raw {
    pub(super) fn of(release: &Release) -> Result<Self, RegistryError> {
        let dependencies: Vec<_> = release.dependencies.iter().map(DependencyRow::of).collect();
        let published_at = release.published_at.to_offset(UtcOffset::UTC).replace_nanosecond(0);
        Ok(Self {
            name: release.name.to_string(),
            version: release.version.to_string(),
            kind: release.kind.to_string(),
            description: release.description.clone(),
            tags: json("tags", &release.tags)?,
            keywords: json("keywords", &release.keywords)?,
            dependencies: json("dependencies", &dependencies)?,
            features: json("features", &release.features)?,
            conflicts: json("conflicts", &release.conflicts.iter().map(ConflictRow::of).collect::<Vec<_>>())?,
            digest: release.digests.blake3.to_string(),
            sha256: release.digests.sha256.clone(),
            sha512: release.digests.sha512.clone(),
            blob: release.blob.to_string(),
            tar_bytes: size("tar_bytes", release.tar_bytes)?,
            archive_bytes: size("archive_bytes", release.archive_bytes)?,
            published_at: published_at
                .map_err(|error| fault("published_at", error))?
                .format(&Rfc3339)
                .map_err(|error| fault("published_at", error))?,
            yanked: None,
            downloads: 0,
            asset_id: None,
        })
    }

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            version: row.get(1)?,
            kind: row.get(2)?,
            description: row.get(3)?,
            tags: row.get(4)?,
            keywords: row.get(5)?,
            dependencies: row.get(6)?,
            features: row.get(7)?,
            digest: row.get(8)?,
            sha256: row.get(9)?,
            sha512: row.get(10)?,
            blob: row.get(11)?,
            tar_bytes: row.get(12)?,
            archive_bytes: row.get(13)?,
            published_at: row.get(14)?,
            yanked: row.get(15)?,
            downloads: row.get(16)?,
            asset_id: row.get(17)?,
            conflicts: row.get(18)?,
        })
    }

    pub(super) fn into_record(self) -> Result<Record, RegistryError> {
        let release = Release {
            name: parsed("name", &self.name)?,
            version: parsed("version", &self.version)?,
            kind: parsed("kind", &self.kind)?,
            description: self.description,
            tags: from_json("tags", &self.tags)?,
            keywords: from_json("keywords", &self.keywords)?,
            dependencies: dependencies(&self.dependencies)?,
            features: from_json("features", &self.features)?,
            conflicts: conflicts(&self.conflicts)?,
            digests: Digests { blake3: parsed("digest", &self.digest)?, sha256: self.sha256, sha512: self.sha512 },
            blob: parsed("blob", &self.blob)?,
            tar_bytes: self.tar_bytes.unsigned_abs(),
            archive_bytes: self.archive_bytes.unsigned_abs(),
            published_at: OffsetDateTime::parse(&self.published_at, &Rfc3339)
                .map_err(|error| fault("published_at", error))?,
        };
        let (yanked, asset_id) = (self.yanked, self.asset_id);
        Ok(Record { release, yanked, downloads: self.downloads.unsigned_abs(), asset_id })
    }
}

#[derive(Serialize, Deserialize)]
struct DependencyRow {
    name: PackageName,
    requirement: VersionReq,
    written: String,
    optional: bool,
    source: SourceRow,
    features: Vec<String>,
    platform: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceRow {
    Registry { registry: Option<String> },
    Git { url: String, reference: Option<String>, path: Option<String> },
    Local { path: String },
    Http { url: String, sha256: String },
}

impl DependencyRow {
    fn of(dependency: &Dependency) -> Self {
        Self {
            name: dependency.name.clone(),
            requirement: dependency.requirement.clone(),
            written: dependency.requirement_text.clone(),
            optional: dependency.optional,
            source: match dependency.source.clone() {
                Source::Registry { registry } => SourceRow::Registry { registry },
                Source::Git { url, reference, path } => SourceRow::Git { url, reference, path },
                Source::Local { path } => SourceRow::Local { path },
                Source::Http { url, sha256 } => SourceRow::Http { url, sha256 },
            },
            features: dependency.features.clone(),
            platform: dependency.platform.clone(),
        }
    }

    fn into_dependency(self) -> Dependency {
        Dependency {
            name: self.name,
            requirement: self.requirement,
            requirement_text: self.written,
            optional: self.optional,
            source: match self.source {
                SourceRow::Registry { registry } => Source::Registry { registry },
                SourceRow::Git { url, reference, path } => Source::Git { url, reference, path },
                SourceRow::Local { path } => Source::Local { path },
                SourceRow::Http { url, sha256 } => Source::Http { url, sha256 },
            },
            features: self.features,
            platform: self.platform,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ConflictRow {
    name: PackageName,
    requirement: VersionReq,
    written: String,
}

impl ConflictRow {
    fn of(conflict: &Conflict) -> Self {
        let Conflict { name, requirement, requirement_text } = conflict.clone();
        Self { name, requirement, written: requirement_text }
    }
}

/// Reads the column `conflicts`.
pub(super) fn conflicts(text: &str) -> Result<Vec<Conflict>, RegistryError> {
    let rows: Vec<ConflictRow> = from_json("conflicts", text)?;
    let conflict =
        |row: ConflictRow| Conflict { name: row.name, requirement: row.requirement, requirement_text: row.written };
    Ok(rows.into_iter().map(conflict).collect())
}

/// Reads the column `dependencies`.
pub(super) fn dependencies(text: &str) -> Result<Vec<Dependency>, RegistryError> {
    let rows: Vec<DependencyRow> = from_json("dependencies", text)?;
    Ok(rows.into_iter().map(DependencyRow::into_dependency).collect())
}

pub(super) fn parsed<T: FromStr<Err: Display>>(column: &str, text: &str) -> Result<T, RegistryError> {
    text.parse().map_err(|error| fault(column, error))
}

pub(super) fn json(column: &str, value: &impl Serialize) -> Result<String, RegistryError> {
    serde_json::to_string(value).map_err(|error| fault(column, error))
}

pub(super) fn from_json<T: for<'de> Deserialize<'de>>(column: &str, text: &str) -> Result<T, RegistryError> {
    serde_json::from_str(text).map_err(|error| fault(column, error))
}

fn size(column: &str, bytes: u64) -> Result<i64, RegistryError> {
    i64::try_from(bytes).map_err(|error| fault(column, error))
}

pub(super) fn fault(column: &str, error: impl Display) -> RegistryError {
    RegistryError::Row { reason: format!("`{column}`: {error}") }
}
