//! Putting one release into the tables, or finding that its version is there.

use rusqlite::{OptionalExtension, Transaction, named_params, params};

use super::rows::{self, Raw};
use super::{Publication, RegistryError, Release, signed};
use crate::digest::Digest;

pub(super) fn insert(
    transaction: &Transaction<'_>,
    publication: &Publication<'_>,
    versions_max: usize,
) -> Result<(), RegistryError> {
    let Publication { release, manifest, voucher } = publication;
    let Release { name, version, .. } = release;
    let existing = "SELECT digest FROM versions JOIN packages ON package = id WHERE name = ?1 AND version = ?2";
    let existing = transaction
        .prepare_cached(existing)?
        .query_row(params![name.as_str(), version.to_string()], |row| row.get::<_, String>(0))
        .optional()?;
    if let Some(existing) = existing {
        let (name, version, offered) = (name.clone(), version.clone(), release.digests.blake3);
        let existing: Digest = rows::parsed("digest", &existing)?;
        return Err(if existing == offered {
            RegistryError::AlreadyPublished { name, version, digest: offered }
        } else {
            RegistryError::Conflict { name, version, existing: existing.to_string(), offered: offered.to_string() }
        });
    }
    transaction
        .prepare_cached("INSERT INTO packages (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute(params![name.as_str()])?;
    let package: i64 = transaction
        .prepare_cached("SELECT id FROM packages WHERE name = ?1")?
        .query_row(params![name.as_str()], |row| row.get(0))?;
    let count: i64 = transaction
        .prepare_cached("SELECT count(*) FROM versions WHERE package = ?1")?
        .query_row(params![package], |row| row.get(0))?;
    if count.unsigned_abs() >= versions_max as u64 {
        return Err(RegistryError::TooMany { what: format!("versions of `{name}`"), limit: versions_max });
    }
    let raw = Raw::of(release)?;
    transaction.prepare_cached(INSERT)?.execute(named_params! {
        ":package": package, ":version": raw.version, ":kind": raw.kind, ":description": raw.description,
        ":tags": raw.tags, ":keywords": raw.keywords, ":dependencies": raw.dependencies, ":features": raw.features,
        ":conflicts": raw.conflicts,
        ":digest": raw.digest, ":sha256": raw.sha256, ":sha512": raw.sha512, ":blob": raw.blob,
        ":tar_bytes": raw.tar_bytes, ":archive_bytes": raw.archive_bytes, ":manifest": manifest,
        ":published_at": raw.published_at,
    })?;
    voucher.map_or(Ok(()), |voucher| signed::insert_statement(transaction, package, &raw.version, &voucher))
}

const INSERT: &str = "INSERT INTO versions (package, version, kind, description, tags, keywords, dependencies, features, \
                      digest, sha256, sha512, blob, tar_bytes, archive_bytes, manifest, published_at, conflicts) VALUES (:package, \
                      :version, :kind, :description, :tags, :keywords, :dependencies, :features, :digest, :sha256, \
                      :sha512, :blob, :tar_bytes, :archive_bytes, :manifest, :published_at, :conflicts)";
