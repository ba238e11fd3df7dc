//! What of this registry came from a remote one: which versions, which feeds, and what was asked when.
//!
//! A release that came in stays as it is, like one that was published here; only where its archive is found may change, since
//! nobody signs that. Nothing here asks a remote registry or believes it.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, TransactionBehavior, params};
use semver::Version;
use time::OffsetDateTime;

use super::insert::insert;
use super::{Publication, Registry, RegistryError, VERSIONS_MAX, rows, signed};
use crate::digest::Digest;
use crate::package::name::PackageName;
use crate::trust::vouch::FeedCopy;

/// Where a version comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The address of the registry that has it.
    pub registry: String,
    /// The digest of the compressed archive there.
    pub blob: Digest,
    /// Its size in bytes.
    pub archive_bytes: u64,
}

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing is known under it.
    Unknown,
    /// Something was published here under it.
    Here,
    /// Everything that is known under it came from remote registries.
    Remote,
}

/// What was heard of one document of a remote registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When, in whole seconds.
    pub at: OffsetDateTime,
    /// By what the registry tells that state from others; none where there was no such document.
    pub tag: Option<String>,
    /// There was such a document.
    pub exists: bool,
}

/// A release that a remote registry offers.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The release and who stands for it.
    pub publication: Publication<'a>,
    /// Why it is yanked, as the remote registry says.
    pub yanked: Option<&'a str>,
    /// The host's asset that stands for it.
    pub asset_id: &'a str,
}

impl Registry {
    /// Takes in releases of a remote registry, all of them or none. Those that are here already are noted as being there, too.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] for one that is here with other content, a bound, or the database.
    pub fn take_in(&mut self, registry: &str, offers: &[Offer<'_>]) -> Result<(), RegistryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for Offer { publication, yanked, asset_id } in offers {
            let release = publication.release;
            let (name, version) = (release.name.as_str(), release.version.to_string());
            let key = "version = ?2 AND package = (SELECT id FROM packages WHERE name = ?1)";
            let came_in = match insert(&transaction, publication, VERSIONS_MAX) {
                Ok(()) => {
                    let sql = format!("UPDATE versions SET yanked = ?3, asset_id = ?4 WHERE {key}");
                    transaction.prepare_cached(&sql)?.execute(params![name, version, yanked, asset_id])?;
                    true
                }
                // Published here, or come in before: that stays as it was noted.
                Err(RegistryError::AlreadyPublished { .. }) => false,
                Err(error) => return Err(error),
            };
            let size = i64::try_from(release.archive_bytes).unwrap_or(i64::MAX);
            transaction.prepare_cached(MARK)?.execute(params![
                name,
                version,
                registry,
                release.blob.to_string(),
                size,
                came_in
            ])?;
        }
        Ok(transaction.commit()?)
    }

    /// Takes in a feed of a remote registry in the place of an older state.
    ///
    /// # Errors
    /// [`RegistryError::FeedConflict`], or the database.
    pub fn take_in_feed(&mut self, registry: &str, publisher: &str, feed: &FeedCopy) -> Result<(), RegistryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        signed::insert_feed(&transaction, publisher, feed)?;
        let sql = "INSERT INTO remote_feeds (publisher, registry) VALUES (?1, ?2) \
                   ON CONFLICT (publisher) DO UPDATE SET registry = ?2";
        transaction.prepare_cached(sql)?.execute(params![publisher, registry])?;
        Ok(transaction.commit()?)
    }

    /// Gives the remote registry that a publisher's feed came from, if it did not begin and go on here.
    ///
    /// # Errors
    /// The database.
    pub fn feed_origin(&self, publisher: &str) -> Result<Option<String>, RegistryError> {
        let sql = "SELECT registry FROM remote_feeds WHERE publisher = ?1";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![publisher], |row| row.get(0)).optional()?)
    }

    /// Says where a version comes from; nothing if it was published here only.
    ///
    /// # Errors
    /// The database.
    pub fn foreign(&self, name: &PackageName, version: &Version) -> Result<Option<Foreign>, RegistryError> {
        let sql = "SELECT registry, blob, archive_bytes FROM remote_versions JOIN packages ON package = id \
                   WHERE name = ?1 AND version = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?));
        let found = statement.query_row(params![name.as_str(), version.to_string()], row).optional()?;
        let Some((registry, blob, archive_bytes)) = found else { return Ok(None) };
        let blob = rows::parsed("blob", &blob)?;
        Ok(Some(Foreign { registry, blob, archive_bytes: archive_bytes.unsigned_abs() }))
    }

    /// Gives the versions of a package that a remote registry has.
    ///
    /// # Errors
    /// The database.
    pub fn versions_of(&self, registry: &str, name: &PackageName) -> Result<BTreeSet<Version>, RegistryError> {
        let sql = "SELECT version FROM remote_versions JOIN packages ON package = id \
                   WHERE name = ?1 AND registry = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let versions = statement.query_map(params![name.as_str(), registry], |row| row.get::<_, String>(0))?;
        versions.map(|version| rows::parsed("version", &version?)).collect()
    }

    /// Gives the releases whose compressed archive has a digest, and the digest of its tar.
    ///
    /// # Errors
    /// The database.
    pub fn archives_of_blob(&self, blob: Digest) -> Result<Vec<(PackageName, Version, Digest)>, RegistryError> {
        let sql = "SELECT name, version, digest FROM versions JOIN packages ON package = id WHERE blob = ?1 \
                   UNION SELECT name, version, digest FROM remote_versions JOIN versions USING (package, version) \
                   JOIN packages ON package = id WHERE remote_versions.blob = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        };
        let rows = statement.query_map([blob.to_string()], row)?.collect::<Result<Vec<_>, _>>()?;
        let read = |(name, version, tar): (String, String, String)| {
            Ok((rows::parsed("name", &name)?, rows::parsed("version", &version)?, rows::parsed("digest", &tar)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// Says whose a name is.
    ///
    /// # Errors
    /// The database.
    pub fn origin(&self, name: &PackageName) -> Result<Origin, RegistryError> {
        let sql = "SELECT count(*), coalesce(sum(came_in), 0) FROM versions LEFT JOIN remote_versions USING (package, version) \
                   WHERE package = (SELECT id FROM packages WHERE name = ?1)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let count = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        Ok(match statement.query_row(params![name.as_str()], count)? {
            (0, _) => Origin::Unknown,
            (all, remote) if all == remote => Origin::Remote,
            _ => Origin::Here,
        })
    }

    /// Counts the versions that came from a remote registry.
    ///
    /// # Errors
    /// The database.
    pub fn count_of(&self, registry: &str) -> Result<u64, RegistryError> {
        let sql = "SELECT count(*) FROM remote_versions WHERE registry = ?1";
        let count: i64 = self.connection.query_row(sql, params![registry], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Says what was heard last of a document of a remote registry.
    ///
    /// # Errors
    /// The database.
    pub fn heard(&self, registry: &str, path: &str) -> Result<Option<Heard>, RegistryError> {
        let sql = "SELECT at, tag, present FROM remote_documents WHERE registry = ?1 AND path = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let Some((at, tag, exists)) = statement.query_row(params![registry, path], row).optional()? else {
            return Ok(None);
        };
        let at = OffsetDateTime::from_unix_timestamp(at);
        let at = at.map_err(|error| RegistryError::Row { reason: format!("`at`: {error}") })?;
        Ok(Some(Heard { at, tag, exists }))
    }

    /// Notes what was heard of a document of a remote registry.
    ///
    /// # Errors
    /// The database.
    pub fn set_heard(&mut self, registry: &str, path: &str, heard: &Heard) -> Result<(), RegistryError> {
        let sql = "INSERT INTO remote_documents (registry, path, at, tag, present) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (registry, path) DO UPDATE SET at = ?3, tag = ?4, present = ?5";
        let values = params![registry, path, heard.at.unix_timestamp(), heard.tag, heard.exists];
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Gives the chain of certificates with a digest, if it is here.
    ///
    /// # Errors
    /// The database.
    pub fn chain(&self, digest: Digest) -> Result<Option<String>, RegistryError> {
        let sql = "SELECT pem FROM chains WHERE digest = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row(params![digest.to_string()], |row| row.get(0)).optional()?)
    }
}

const MARK: &str = "INSERT INTO remote_versions (package, version, registry, blob, archive_bytes, came_in) \
                    SELECT id, ?2, ?3, ?4, ?5, ?6 FROM packages WHERE name = ?1 \
                    ON CONFLICT (package, version) DO UPDATE SET registry = ?3, blob = ?4, archive_bytes = ?5";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::macros::datetime;

    use super::*;
    use crate::digest::Digests;
    use crate::package::model::PackageType;
    use crate::registry::Release;

    const URL: &str = "https://registry.example.org";

    fn release(name: &str, version: &str, content: &str) -> Release {
        Release {
            name: name.parse().expect("a name"),
            version: version.parse().expect("a version"),
            kind: PackageType::LuaScript,
            description: None,
            tags: vec![],
            keywords: vec![],
            dependencies: vec![],
            conflicts: Vec::new(),
            features: BTreeMap::new(),
            digests: Digests::of(content.as_bytes()),
            blob: Digest::of(content.as_bytes()),
            tar_bytes: 1,
            archive_bytes: 1,
            published_at: datetime!(2026-01-02 03:04:05 UTC),
        }
    }

    fn take_in(registry: &mut Registry, release: &Release) -> Result<(), RegistryError> {
        let publication = Publication { release, manifest: b"{}", voucher: None };
        registry.take_in(URL, &[Offer { publication, yanked: Some("leaks"), asset_id: "a:b:c" }])
    }

    #[test]
    fn a_release_that_came_in_never_changes_and_is_told_from_our_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(&directory.path().join("r")).expect("opens");
        let app = release("app", "1.0.0", "one");
        let (name, version) = (&app.name, &app.version);
        assert_eq!(registry.origin(name).expect("reads"), Origin::Unknown);
        take_in(&mut registry, &app).expect("comes in");
        assert_eq!(registry.origin(name).expect("reads"), Origin::Remote);
        assert_eq!(registry.count_of(URL).expect("counts"), 1);
        let record = registry.get(name, version).expect("reads").expect("is there");
        assert_eq!((record.yanked.as_deref(), record.asset_id.as_deref()), (Some("leaks"), Some("a:b:c")));

        let elsewhere = Release { blob: Digest::of(b"packed anew"), ..app.clone() };
        take_in(&mut registry, &elsewhere).expect("the same content, compressed in another way");
        let foreign = registry.foreign(name, version).expect("reads").expect("is foreign");
        assert_eq!((foreign.registry.as_str(), foreign.blob), (URL, elsewhere.blob));
        let error = take_in(&mut registry, &release("app", "1.0.0", "two")).expect_err("is refused");
        assert!(matches!(error, RegistryError::Conflict { .. }), "{error}");

        let own = release("app", "2.0.0", "own");
        let publication = Publication { release: &own, manifest: b"{}", voucher: None };
        registry.publish(&[publication], &BTreeMap::new()).expect("publishes");
        assert_eq!(registry.origin(name).expect("reads"), Origin::Here);
        assert_eq!(registry.foreign(name, &own.version).expect("reads"), None);
        // That somebody else has it, too, makes it nobody else's.
        take_in(&mut registry, &own).expect("is there already");
        assert_eq!(registry.origin(name).expect("reads"), Origin::Here);
        registry.connection.execute("DELETE FROM remote_versions WHERE version = '2.0.0'", []).expect("forgotten");
        assert_eq!(registry.versions_of(URL, name).expect("reads"), BTreeSet::from([version.clone()]));
        assert!(registry.versions_of("https://other.example", name).expect("reads").is_empty());
    }

    #[test]
    fn what_was_heard_is_remembered_by_registry() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::open(&directory.path().join("r")).expect("opens");
        let heard = Heard { at: datetime!(2026-01-02 03:04:05 UTC), tag: Some("\"x\"".into()), exists: true };
        registry.set_heard(URL, "a", &heard).expect("notes");
        assert_eq!(registry.heard(URL, "a").expect("reads"), Some(heard.clone()));
        let gone = Heard { tag: None, exists: false, ..heard };
        registry.set_heard(URL, "a", &gone).expect("notes");
        assert_eq!(registry.heard(URL, "a").expect("reads"), Some(gone));
        assert_eq!(registry.heard("https://other.example", "a").expect("reads"), None);
        let feed = FeedCopy { head: b"h".to_vec(), entries: vec![b"1".to_vec()] };
        registry.take_in_feed(URL, "acme.pub.trustchain", &feed).expect("comes in");
        assert_eq!(registry.feed_origin("acme.pub.trustchain").expect("reads").as_deref(), Some(URL));
        let forked = FeedCopy { entries: vec![b"2".to_vec()], ..feed };
        assert!(registry.take_in_feed(URL, "acme.pub.trustchain", &forked).is_err());
    }
}
