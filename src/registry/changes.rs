//! What search needs of the registry: everything that can be found, and which of it has changed since when.
//!
//! Triggers note the name of whatever a transaction publishes, yanks, downloads or imports, in that very transaction, so a
//! reader that remembers a [`Mark`] misses nothing, whichever process wrote it and wherever that was killed. Every note
//! has a random stamp: a mark of another file, or of a copy that went on differently, is not known here.

use std::cmp::Ordering;

use rusqlite::{OptionalExtension, Row, Statement, params};
use semver::Version;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Registry, RegistryError, rows};
use crate::package::model::PackageType;

/// The most changes that are remembered, but for the last thousand that wait to be forgotten together.
pub const CHANGES_MAX: i64 = 65_536;

/// A state of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of the last change.
    pub number: i64,
    /// What was drawn for it.
    pub stamp: [u8; 8],
}

/// One thing that can be found: a package in its latest version, or a description that was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Its name; that of an imported description may be any line of text.
    pub name: String,
    /// Its latest version in use.
    pub version: String,
    /// What it is; none for a description that was imported, of which nothing can be installed.
    pub kind: Option<PackageType>,
    /// What it says about itself.
    pub description: String,
    /// Exact-match labels.
    pub tags: Vec<String>,
    /// Words for search.
    pub keywords: Vec<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// The file that runs.
    pub entry: Option<String>,
    /// When its first version was published, in seconds since 1970.
    pub created: i64,
    /// When its latest version was published, in seconds since 1970.
    pub updated: i64,
    /// Downloads of all its versions.
    pub downloads: u64,
    /// What users think of it; none if nobody has said.
    pub rating: Option<f32>,
}

/// What has become of the registry since a mark.
#[derive(Clone, Debug, PartialEq)]
pub enum Changes {
    /// Nothing.
    None,
    /// These names changed; those without a listing can be found no more.
    Some(Mark, Vec<(String, Option<Listing>)>),
    /// More than is worth telling one by one, or the mark is not known.
    Unknown,
}

impl Registry {
    /// Tells what changed since a mark, unless that is more than so many names. All of it is of one moment.
    ///
    /// # Errors
    /// The database.
    pub fn changes_since(&self, since: Mark, names_max: usize) -> Result<Changes, RegistryError> {
        let now = self.mark()?;
        if now == since {
            return Ok(Changes::None);
        }
        self.at_one_moment(|registry| {
            let now = registry.mark()?;
            let sql = "SELECT stamp FROM changes WHERE number = ?1";
            let mut statement = registry.connection.prepare_cached(sql)?;
            let stamp = statement.query_row([since.number], |row| row.get::<_, [u8; 8]>(0)).optional()?;
            if stamp != Some(since.stamp) {
                return Ok(Changes::Unknown);
            }
            let sql = "SELECT DISTINCT name FROM changes WHERE number > ?1 LIMIT ?2";
            let limit = i64::try_from(names_max).unwrap_or(i64::MAX).saturating_add(1);
            let mut statement = registry.connection.prepare_cached(sql)?;
            let names = statement.query_map(params![since.number, limit], |row| row.get(0))?;
            let names: Vec<String> = names.collect::<Result<_, _>>()?;
            if names.len() > names_max {
                return Ok(Changes::Unknown);
            }
            let listed = names.into_iter().map(|name| Ok((registry.listing(&name)?, name)));
            let listed: Result<Vec<_>, RegistryError> =
                listed.map(|pair| pair.map(|(listing, name)| (name, listing))).collect();
            Ok(Changes::Some(now, listed?))
        })
    }

    /// Gives everything that can be found, in order of name, and the mark of that state. An imported description gives way to
    /// a package of its name.
    ///
    /// # Errors
    /// The database, or what `take` says.
    pub fn listings<E: From<RegistryError>>(&self, take: &mut dyn FnMut(Listing) -> Result<(), E>) -> Result<Mark, E> {
        self.at_one_moment(|registry| {
            let database = |error: rusqlite::Error| E::from(RegistryError::from(error));
            let sql = format!("SELECT {PUBLISHED} ORDER BY name");
            let mut published = registry.connection.prepare(&sql).map_err(database)?;
            let mut published = Grouped::new(&mut published, [])?;
            let sql = format!("SELECT {IMPORTED} ORDER BY name");
            let mut imported = registry.connection.prepare(&sql).map_err(database)?;
            let mut imported = imported.query_map([], read_imported).map_err(database)?;
            let mut package = published.next()?;
            let mut description = imported.next().transpose().map_err(database)?;
            loop {
                let order = match (&package, &description) {
                    (None, None) => return Ok(registry.mark()?),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(package), Some(description)) => package.name.cmp(&description.name),
                };
                if order.is_ge() {
                    let next = imported.next().transpose().map_err(database)?;
                    let taken = std::mem::replace(&mut description, next);
                    taken.filter(|_| order.is_gt()).map_or(Ok(()), &mut *take)?;
                }
                if order.is_le() {
                    let next = published.next()?;
                    std::mem::replace(&mut package, next).map_or(Ok(()), &mut *take)?;
                }
            }
        })
    }

    /// Gives what is found under a name.
    ///
    /// # Errors
    /// The database.
    pub fn listing(&self, name: &str) -> Result<Option<Listing>, RegistryError> {
        let sql = format!("SELECT {PUBLISHED} WHERE name = ?1");
        let mut published = self.connection.prepare_cached(&sql)?;
        if let Some(listing) = Grouped::new(&mut published, [name])?.next()? {
            return Ok(Some(listing));
        }
        let sql = format!("SELECT {IMPORTED} WHERE name = ?1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([name], read_imported).optional()?)
    }

    /// Gives the mark of this moment.
    fn mark(&self) -> Result<Mark, RegistryError> {
        let sql = "SELECT number, stamp FROM changes ORDER BY number DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| Ok(Mark { number: row.get(0)?, stamp: row.get(1)? }))?)
    }

    /// Reads several things of one state, whatever other processes write meanwhile.
    fn at_one_moment<T, E: From<RegistryError>>(&self, read: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        let database = |error: rusqlite::Error| E::from(RegistryError::from(error));
        let transaction = self.connection.unchecked_transaction().map_err(database)?;
        let done = read(self)?;
        transaction.commit().map_err(database)?;
        Ok(done)
    }
}

/// Columns of published versions in the order in which they are read here; the large ones last and only if wanted.
const PUBLISHED: &str = "name, version, yanked, published_at, downloads, kind, description, tags, keywords, manifest, \
                         (SELECT avg(stars) FROM ratings WHERE ratings.package = packages.id) FROM packages CROSS JOIN versions ON package = id";
const IMPORTED: &str = "name, version, description, tags, keywords FROM imported";

/// Rows of versions, taken together by their package.
struct Grouped<'s> {
    rows: rusqlite::Rows<'s>,
    /// The name of the row that stands at the front; none at the end.
    front: Option<String>,
}

impl<'s> Grouped<'s> {
    fn new(statement: &'s mut Statement<'_>, values: impl rusqlite::Params) -> Result<Self, RegistryError> {
        let mut rows = statement.query(values)?;
        let front = rows.next()?.map(|row| row.get(0)).transpose()?;
        Ok(Self { rows, front })
    }

    /// Gives the next package that has a version in use.
    fn next(&mut self) -> Result<Option<Listing>, RegistryError> {
        while let Some(name) = self.front.take() {
            let (mut latest, mut downloads, mut created) = (None::<((bool, Version), Listing)>, 0_u64, i64::MAX);
            // `get` gives the row that `next` went to last.
            let mut current = rusqlite::fallible_streaming_iterator::FallibleStreamingIterator::get(&self.rows);
            while let Some(row) = current {
                let found: String = row.get(0)?;
                if found != name {
                    self.front = Some(found);
                    break;
                }
                let version: Version = rows::parsed("version", row.get_ref(1)?.as_str().unwrap_or_default())?;
                let published_at = seconds(row.get_ref(3)?.as_str().unwrap_or_default())?;
                created = created.min(published_at);
                downloads = downloads.saturating_add(row.get::<_, i64>(4)?.unsigned_abs());
                let rank = (version.pre.is_empty(), version);
                let yanked = row.get_ref(2)?.as_str_or_null().ok().flatten().is_some();
                if !yanked && latest.as_ref().is_none_or(|(best, _)| rank > *best) {
                    latest = Some((rank, read_published(row, published_at)?));
                }
                current = self.rows.next()?;
            }
            if let Some((_, listing)) = latest {
                return Ok(Some(Listing { created, downloads, ..listing }));
            }
        }
        Ok(None)
    }
}

fn read_published(row: &Row<'_>, updated: i64) -> Result<Listing, RegistryError> {
    let manifest: About = serde_json::from_slice(row.get_ref(9)?.as_bytes().unwrap_or_default()).unwrap_or_default();
    Ok(Listing {
        name: row.get(0)?,
        version: row.get(1)?,
        kind: Some(rows::parsed("kind", row.get_ref(5)?.as_str().unwrap_or_default())?),
        description: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
        tags: rows::from_json("tags", row.get_ref(7)?.as_str().unwrap_or_default())?,
        keywords: rows::from_json("keywords", row.get_ref(8)?.as_str().unwrap_or_default())?,
        author: manifest.metadata.author,
        entry: manifest.spec.content.main,
        created: updated,
        updated,
        downloads: 0,
        rating: row.get(10)?,
    })
}

fn read_imported(row: &Row<'_>) -> rusqlite::Result<Listing> {
    let list = |column: usize| -> rusqlite::Result<Vec<String>> {
        let text: String = row.get(column)?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    };
    Ok(Listing {
        name: row.get(0)?,
        version: row.get(1)?,
        kind: None,
        description: row.get(2)?,
        tags: list(3)?,
        keywords: list(4)?,
        author: None,
        entry: None,
        created: 0,
        updated: 0,
        downloads: 0,
        rating: None,
    })
}

fn seconds(text: &str) -> Result<i64, RegistryError> {
    let at = OffsetDateTime::parse(text, &Rfc3339);
    at.map(OffsetDateTime::unix_timestamp).map_err(|error| rows::fault("published_at", error))
}

/// What of a canonical manifest is searched and has no column of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    author: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    content: Content,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    main: Option<String>,
}

#[cfg(test)]
mod tests;
