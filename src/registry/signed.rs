//! What publishers signed: statements about releases, feeds, and what is thought of publishers.
//!
//! Nothing here checks a signature: what comes out is as untrusted as what went in.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction, params};
use semver::Version;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use trustchain::feed::{Action, Entry};

use super::{Registry, RegistryError};
use crate::digest::Digest;
use crate::package::name::PackageName;
use crate::trust::policy::Pin;
use crate::trust::reputation::Reputation;
use crate::trust::vouch::{FeedCopy, Statement};

/// Who stands for a release on its way into the registry.
#[derive(Clone, Copy, Debug)]
pub struct Voucher<'a> {
    /// The signed statement.
    pub statement: &'a Statement,
    /// The publisher and its keys, as they were verified.
    pub pin: &'a Pin,
}

/// A statement as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredStatement {
    /// The signed statement.
    pub statement: Statement,
    /// The publisher and its keys, as they were when it came in.
    pub pin: Pin,
}

impl Registry {
    /// Gives what was signed about a version.
    ///
    /// # Errors
    /// The database.
    pub fn statement(&self, name: &PackageName, version: &Version) -> Result<Option<StoredStatement>, RegistryError> {
        let sql = "SELECT publisher, keys, envelope, pem FROM statements JOIN packages ON package = id \
                   JOIN chains ON chain = digest WHERE name = ?1 AND version = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row(params![name.as_str(), version.to_string()], |row| {
            Ok(StoredStatement {
                pin: Pin { publisher: row.get(0)?, keys: row.get(1)? },
                statement: Statement { envelope: row.get(2)?, chain: row.get(3)? },
            })
        });
        Ok(found.optional()?)
    }

    /// Says who published the first signed version of a package that came in: to whom the name belongs, unless owners said
    /// otherwise since.
    ///
    /// # Errors
    /// The database.
    pub fn first_publisher(&self, name: &PackageName) -> Result<Option<String>, RegistryError> {
        let sql = "SELECT publisher FROM statements JOIN packages ON package = id WHERE name = ?1 \
                   ORDER BY statements.rowid LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row(params![name.as_str()], |row| row.get(0)).optional()?)
    }

    /// Gives the keys under which a publisher first published a package.
    ///
    /// # Errors
    /// The database.
    pub fn pin(&self, name: &PackageName, publisher: &str) -> Result<Option<Pin>, RegistryError> {
        let sql = "SELECT publisher, keys FROM statements JOIN packages ON package = id WHERE name = ?1 \
                   AND publisher = ?2 ORDER BY statements.rowid LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let pin = |row: &rusqlite::Row<'_>| Ok(Pin { publisher: row.get(0)?, keys: row.get(1)? });
        Ok(statement.query_row(params![name.as_str(), publisher], pin).optional()?)
    }

    /// Gives whomever a publisher's feed names as owners of a package, in order; nobody has checked it.
    ///
    /// # Errors
    /// The database.
    pub fn owners_said(&self, publisher: &str, name: &PackageName) -> Result<BTreeSet<String>, RegistryError> {
        // The condition is the one of the index.
        let sql = "SELECT entry FROM feed_entries WHERE publisher = ?1 AND instr(entry, x'7B226F776E223A') > 0";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([publisher])?;
        let mut said = BTreeSet::new();
        while let Some(row) = rows.next()? {
            let entry = Entry::parse(row.get_ref(0)?.as_bytes().unwrap_or_default());
            let entry = entry.ok().filter(|entry| entry.package == name.as_str());
            if let Some(Entry { action: Action::Own { owners, .. }, .. }) = entry {
                said.extend(owners);
            }
        }
        Ok(said)
    }

    /// Gives the feed of a publisher.
    ///
    /// # Errors
    /// The database.
    pub fn feed(&self, publisher: &str) -> Result<Option<FeedCopy>, RegistryError> {
        let mut head = self.connection.prepare_cached("SELECT head FROM feed_heads WHERE publisher = ?1")?;
        let Some(head) = head.query_row(params![publisher], |row| row.get(0)).optional()? else { return Ok(None) };
        let sql = "SELECT entry FROM feed_entries WHERE publisher = ?1 ORDER BY number";
        let mut entries = self.connection.prepare_cached(sql)?;
        let entries = entries.query_map(params![publisher], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Some(FeedCopy { head, entries }))
    }

    /// Gives every publisher with the head of its feed, in order.
    ///
    /// # Errors
    /// The database.
    pub fn feed_heads(&self) -> Result<Vec<(String, Vec<u8>)>, RegistryError> {
        let sql = "SELECT publisher, head FROM feed_heads ORDER BY publisher";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
    }

    /// Gives every publisher of whom there is a feed, in order.
    ///
    /// # Errors
    /// The database.
    pub fn publishers(&self) -> Result<Vec<String>, RegistryError> {
        let mut statement = self.connection.prepare_cached("SELECT publisher FROM feed_heads ORDER BY publisher")?;
        let publishers = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(publishers)
    }

    /// Gives what is thought of a publisher, if anything is.
    ///
    /// # Errors
    /// The database, or a row that no time is in.
    pub fn reputation(&self, publisher: &str) -> Result<Option<Reputation>, RegistryError> {
        let sql = "SELECT publisher, score, packages, updated FROM reputations WHERE publisher = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = statement.query_row(params![publisher], thought).optional()?;
        row.map(|row| Ok(reputation(row)?.1)).transpose()
    }

    /// Gives what is thought of everybody, in order of publisher.
    ///
    /// # Errors
    /// The database, or a row that no time is in.
    pub fn reputations(&self) -> Result<Vec<(String, Reputation)>, RegistryError> {
        let sql = "SELECT publisher, score, packages, updated FROM reputations ORDER BY publisher";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], thought)?;
        rows.map(|row| reputation(row?)).collect()
    }

    /// Notes what is thought of a publisher.
    ///
    /// # Errors
    /// The database.
    pub fn set_reputation(&mut self, publisher: &str, reputation: &Reputation) -> Result<(), RegistryError> {
        let updated = reputation.updated.format(&Rfc3339);
        let updated = updated.map_err(|error| RegistryError::Row { reason: format!("updated: {error}") })?;
        let sql = "INSERT INTO reputations (publisher, score, packages, updated) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (publisher) DO UPDATE SET score = ?2, packages = ?3, updated = ?4";
        let values = params![publisher, reputation.score, reputation.packages, updated];
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }
}

type Thought = (String, f64, u32, String);

fn thought(row: &rusqlite::Row<'_>) -> rusqlite::Result<Thought> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn reputation((publisher, score, packages, updated): Thought) -> Result<(String, Reputation), RegistryError> {
    let updated = OffsetDateTime::parse(&updated, &Rfc3339);
    let updated = updated.map_err(|error| RegistryError::Row { reason: format!("updated: {error}") })?;
    Ok((publisher, Reputation { score, packages, updated }))
}

pub(super) fn insert_statement(
    transaction: &Transaction<'_>,
    package: i64,
    version: &str,
    voucher: &Voucher<'_>,
) -> Result<(), RegistryError> {
    let Voucher { statement, pin } = voucher;
    let chain = Digest::of(statement.chain.as_bytes()).to_string();
    transaction
        .prepare_cached("INSERT INTO chains (digest, pem) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![chain, statement.chain])?;
    let sql = "INSERT INTO statements (package, version, publisher, keys, envelope, chain) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![package, version, pin.publisher, pin.keys, statement.envelope, chain];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Puts a newer state of a feed in the place of an older one; the entries that are there must be its first ones.
pub(super) fn insert_feed(
    transaction: &Transaction<'_>,
    publisher: &str,
    feed: &FeedCopy,
) -> Result<(), RegistryError> {
    let sql = "SELECT entry FROM feed_entries WHERE publisher = ?1 ORDER BY number";
    let mut known = transaction.prepare_cached(sql)?;
    let known = known.query_map(params![publisher], |row| row.get::<_, Vec<u8>>(0))?.collect::<Result<Vec<_>, _>>()?;
    for (index, entry) in known.iter().enumerate() {
        if feed.entries.get(index) != Some(entry) {
            return Err(RegistryError::FeedConflict { publisher: publisher.to_owned(), number: index as u64 + 1 });
        }
    }
    let sql = "INSERT INTO feed_entries (publisher, number, entry) VALUES (?1, ?2, ?3)";
    let mut insert = transaction.prepare_cached(sql)?;
    for (index, entry) in feed.entries.iter().enumerate().skip(known.len()) {
        insert.execute(params![publisher, index as i64 + 1, entry])?;
    }
    let sql =
        "INSERT INTO feed_heads (publisher, head) VALUES (?1, ?2) ON CONFLICT (publisher) DO UPDATE SET head = ?2";
    transaction.prepare_cached(sql)?.execute(params![publisher, feed.head])?;
    Ok(())
}
