//! The records of this node, in SQLite, and the rules by which one comes in.
//!
//! A step of a feed comes in if its publisher's head, which counts now, is of it, or if the step after it is here and names it.
//! So an old key signs nothing new, and a feed fills up backwards from its newest step. Two different steps with one number are
//! a fork: the first that came stays, and that there was another is kept as evidence. A release comes in if a step names it.
//! Heads without steps replace each other; everything else stays for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use time::OffsetDateTime;
use trustchain::digest::Sha256;
use trustchain::envelope::{EnvelopeError, VerifyOptions};
use trustchain::feed::{Action, Entry, FeedError, Head, VerifiedHead};
use trustchain::offer;

use super::record::{FeedRecord, Record, RecordId, ReleaseRecord, Step};
use crate::package::name::PackageName;
use crate::sqlite::{Form, SqliteError};
use crate::trust::anchors::Anchors;
use crate::trust::vouch::FeedCopy;

/// The file; marked as ours by `CTLM`.
const FORM: Form = Form {
    what: "ledger of the mesh",
    remedy: "remove it: what is published here goes in again, and peers give the rest",
    application_id: 0x4354_4C4D,
    migrations: &["
CREATE TABLE records (
    id BLOB PRIMARY KEY,
    time INTEGER NOT NULL,
    category TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE entries (
    publisher TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    previous BLOB,
    entry BLOB NOT NULL,
    release BLOB,
    record BLOB NOT NULL REFERENCES records (id),
    PRIMARY KEY (publisher, number)
) STRICT;
CREATE INDEX entries_by_release ON entries (release) WHERE release IS NOT NULL;
CREATE TABLE heads (
    record BLOB PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    publisher TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    expires INTEGER NOT NULL,
    alone INTEGER NOT NULL,
    head BLOB NOT NULL
) STRICT;
CREATE INDEX heads_by_publisher ON heads (publisher, number, expires);
CREATE TABLE releases (
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    statement BLOB NOT NULL,
    chain BLOB NOT NULL,
    record BLOB NOT NULL UNIQUE REFERENCES records (id),
    PRIMARY KEY (package, version, publisher)
) STRICT;
CREATE INDEX releases_by_statement ON releases (statement);
CREATE INDEX releases_by_chain ON releases (chain);
CREATE TABLE forks (
    publisher TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    entry BLOB NOT NULL,
    head BLOB NOT NULL,
    PRIMARY KEY (publisher, number)
) STRICT;
CREATE TABLE mirrors (
    package TEXT PRIMARY KEY
) STRICT;
"],
};

/// The category of steps of feeds; releases have the type of their package.
pub(crate) const FEED_CATEGORY: &str = "feed";

/// The records of this node.
#[derive(Debug)]
pub struct Ledger {
    connection: Mutex<Connection>,
    /// What was listed last, while nothing has changed since.
    listed: Mutex<Option<Arc<Vec<Listed>>>>,
}

/// One record without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is known by.
    pub id: RecordId,
    /// Seconds since 1970 as it claims.
    pub time: u64,
    /// `feed`, or the type of a package.
    pub category: String,
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept; these packages have changed.
    Accepted(Vec<PackageName>),
    /// It is here, or was replaced by what is here.
    Known,
    /// Nothing here names it yet.
    Later,
    /// It is wrong.
    Refused(String),
}

/// That a publisher contradicted itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The publisher.
    pub publisher: String,
    /// The number of the first entry that there are two of.
    pub number: u64,
    /// When that was seen.
    pub at: OffsetDateTime,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCount {
    /// Records.
    pub records: u64,
    /// Publishers.
    pub publishers: u64,
    /// Packages.
    pub packages: u64,
    /// Releases.
    pub releases: u64,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file.
    #[error(transparent)]
    File(#[from] SqliteError),
    /// SQLite refuses.
    #[error("the ledger of the mesh cannot be used")]
    Database(#[from] rusqlite::Error),
    /// A row is not what was written.
    #[error("the ledger of the mesh is damaged: {reason}")]
    Row {
        /// What is wrong.
        reason: String,
    },
}

impl Ledger {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`SqliteError`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { connection: Mutex::new(FORM.open(path)?), listed: Mutex::default() })
    }

    /// Looks at a record, and keeps it if somebody stands for it. Takes about a millisecond.
    ///
    /// # Errors
    /// The database.
    pub fn offer(&self, bytes: &[u8], anchors: &Anchors) -> Result<Verdict, LedgerError> {
        let record = match Record::read(bytes) {
            Ok(record) => record,
            Err(error) => return Ok(Verdict::Refused(error.to_string())),
        };
        let id = *blake3::hash(bytes).as_bytes();
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if holds(&transaction, &id)? {
            return Ok(Verdict::Known);
        }
        let seen = Seen { id, bytes, time: record.time(), anchors };
        let verdict = match &record {
            Record::Feed(feed) => seen.feed(&transaction, feed)?,
            Record::Release(release) => seen.release(&transaction, release)?,
        };
        transaction.commit()?;
        drop(connection);
        if matches!(verdict, Verdict::Accepted(_)) {
            *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(verdict)
    }

    /// Lists all records in order of time and id. Costs nothing while nothing changes.
    ///
    /// # Errors
    /// The database.
    pub fn list(&self) -> Result<Arc<Vec<Listed>>, LedgerError> {
        let connection = self.lock();
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listed) = &*listed {
            return Ok(Arc::clone(listed));
        }
        let mut statement = connection.prepare_cached("SELECT id, time, category FROM records ORDER BY time, id")?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Listed { id: row.get(0)?, time: row.get::<_, i64>(1)?.unsigned_abs(), category: row.get(2)? })
        };
        let all = Arc::new(statement.query_map([], row)?.collect::<Result<Vec<_>, _>>()?);
        *listed = Some(Arc::clone(&all));
        Ok(all)
    }

    /// Gives the bytes of a record.
    ///
    /// # Errors
    /// The database.
    pub fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, LedgerError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT bytes FROM records WHERE id = ?1")?;
        Ok(statement.query_row(params![id], |row| row.get(0)).optional()?)
    }

    /// Says whether a record is here.
    ///
    /// # Errors
    /// The database.
    pub fn holds(&self, id: &RecordId) -> Result<bool, LedgerError> {
        holds(&self.lock(), id)
    }

    /// Gives as much of a publisher's feed as is here without a gap and has a head, with its newest head.
    ///
    /// # Errors
    /// The database.
    pub fn feed(&self, publisher: &str) -> Result<Option<FeedCopy>, LedgerError> {
        let connection = self.lock();
        let sql = "SELECT number, entry FROM entries WHERE publisher = ?1 ORDER BY number";
        let mut statement = connection.prepare_cached(sql)?;
        let mut entries: Vec<Vec<u8>> = Vec::new();
        for row in statement.query_map([publisher], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))? {
            let (number, entry) = row?;
            if number.unsigned_abs() != entries.len() as u64 + 1 {
                break;
            }
            entries.push(entry);
        }
        let sql = "SELECT number, head FROM heads WHERE publisher = ?1 AND number <= ?2 ORDER BY number DESC, expires DESC LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let newest = statement
            .query_row(params![publisher, entries.len() as i64], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let Some((number, head)) = newest.optional()? else { return Ok(None) };
        entries.truncate(number.unsigned_abs() as usize);
        Ok(Some(FeedCopy { head, entries }))
    }

    /// Gives the number of the newest entry of a publisher and when its newest head ends, if any is here.
    ///
    /// # Errors
    /// The database.
    pub fn newest(&self, publisher: &str) -> Result<Option<(u64, i64)>, LedgerError> {
        let connection = self.lock();
        let sql = "SELECT number, expires FROM heads WHERE publisher = ?1 ORDER BY number DESC, expires DESC LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?));
        Ok(statement.query_row([publisher], row).optional()?)
    }

    /// Gives the records of the releases under a name.
    ///
    /// # Errors
    /// The database, or a record that does not read.
    pub(super) fn releases(&self, name: &PackageName) -> Result<Vec<(RecordId, ReleaseRecord)>, LedgerError> {
        let sql = "SELECT id, bytes FROM releases JOIN records ON record = id WHERE package = ?1";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([name.as_str()], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let rows = rows.collect::<Result<Vec<(RecordId, _)>, _>>()?;
        drop(statement);
        drop(connection);
        rows.into_iter().map(|(id, bytes)| Ok((id, release(&bytes)?))).collect()
    }

    /// Gives the steps of a publisher's feed that release something of which there is no record, with what they name.
    ///
    /// # Errors
    /// The database, or a step that does not read.
    pub fn unshared(&self, publisher: &str) -> Result<Vec<(Entry, Sha256)>, LedgerError> {
        let sql = "SELECT entry, release FROM entries WHERE publisher = ?1 AND release IS NOT NULL \
                   AND release NOT IN (SELECT statement FROM releases) ORDER BY number";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, [u8; 32]>(1)?));
        let rows = statement.query_map([publisher], row)?.collect::<Result<Vec<_>, _>>()?;
        let read = |(entry, release): (Vec<u8>, _)| {
            let entry = Entry::parse(&entry).map_err(|error| LedgerError::Row { reason: error.to_string() })?;
            Ok((entry, Sha256::from_bytes(release)))
        };
        rows.into_iter().map(read).collect()
    }

    /// Gives a chain of certificates in PEM by its digest.
    ///
    /// # Errors
    /// The database, or a record that does not read.
    pub(super) fn chain(&self, digest: &[u8; 32]) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT bytes FROM releases JOIN records ON record = id WHERE chain = ?1 LIMIT 1";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let bytes = statement.query_row(params![digest], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        bytes.map(|bytes| Ok(release(&bytes)?.chain)).transpose()
    }

    /// Gives every package of which a release is here, in order.
    ///
    /// # Errors
    /// The database.
    pub fn names(&self) -> Result<Vec<PackageName>, LedgerError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT DISTINCT package FROM releases ORDER BY package")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        names.into_iter().map(|name| parsed(&name)).collect()
    }

    /// Gives what publishers contradicted themselves in.
    ///
    /// # Errors
    /// The database.
    pub fn forks(&self) -> Result<Vec<Fork>, LedgerError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT publisher, number, at FROM forks ORDER BY publisher")?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs(), row.get(2)?));
        let rows = statement.query_map([], row)?.collect::<Result<Vec<_>, _>>()?;
        let fork = |(publisher, number, at)| {
            let at = OffsetDateTime::from_unix_timestamp(at);
            Ok(Fork { publisher, number, at: at.map_err(|error| LedgerError::Row { reason: error.to_string() })? })
        };
        rows.into_iter().map(fork).collect()
    }

    /// Gives the packages of which every version is to be kept here.
    ///
    /// # Errors
    /// The database.
    pub fn mirrored(&self) -> Result<BTreeSet<PackageName>, LedgerError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT package FROM mirrors")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        names.into_iter().map(|name| parsed(&name)).collect()
    }

    /// Notes whether every version of a package is to be kept here.
    ///
    /// # Errors
    /// The database.
    pub fn set_mirrored(&self, name: &PackageName, is_mirrored: bool) -> Result<(), LedgerError> {
        let sql = match is_mirrored {
            true => "INSERT INTO mirrors (package) VALUES (?1) ON CONFLICT DO NOTHING",
            false => "DELETE FROM mirrors WHERE package = ?1",
        };
        self.lock().prepare_cached(sql)?.execute([name.as_str()])?;
        Ok(())
    }

    /// Counts what is here.
    ///
    /// # Errors
    /// The database.
    pub fn count(&self) -> Result<LedgerCount, LedgerError> {
        let connection = self.lock();
        let sql = "SELECT (SELECT count(*) FROM records), (SELECT count(DISTINCT publisher) FROM heads), \
                   (SELECT count(DISTINCT package) FROM releases), (SELECT count(*) FROM releases)";
        Ok(connection.query_row(sql, [], |row| {
            let count = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
            Ok(LedgerCount { records: count(0)?, publishers: count(1)?, packages: count(2)?, releases: count(3)? })
        })?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record that is looked at.
struct Seen<'a> {
    id: RecordId,
    bytes: &'a [u8],
    time: u64,
    anchors: &'a Anchors,
}

/// Why steps of a feed are believed.
enum Standing {
    Proven,
    NotYet,
    Wrong(String),
}

impl Seen<'_> {
    fn feed(&self, transaction: &Transaction<'_>, feed: &FeedRecord) -> Result<Verdict, LedgerError> {
        let mut held = BTreeMap::new();
        for step in &feed.entries {
            if let Some(digest) = held_entry(transaction, &feed.publisher, step.entry.number)? {
                held.insert(step.entry.number, digest);
            }
        }
        let head =
            feed.head.as_ref().map(|(bytes, _)| VerifiedHead::verify(bytes, &self.options(self.anchors.now()), None));
        let forked = |step: &&Step| held.get(&step.entry.number).is_some_and(|digest| *digest != step.digest);
        if let Some(step) = feed.entries.iter().find(forked) {
            return self.fork(transaction, step, head.as_ref());
        }
        let expired = feed.head.as_ref().is_some_and(|(_, claimed)| claimed.expires <= self.anchors.now());
        let adds_entries = feed.entries.iter().any(|step| !held.contains_key(&step.entry.number));
        if !adds_entries && (expired || !is_newer(transaction, feed)?) {
            return Ok(Verdict::Known);
        }
        match self.standing(transaction, feed, head)? {
            Standing::Proven => {}
            Standing::NotYet => return Ok(Verdict::Later),
            Standing::Wrong(reason) => return Ok(Verdict::Refused(reason)),
        }
        self.insert(transaction, FEED_CATEGORY)?;
        for step in feed.entries.iter().filter(|step| !held.contains_key(&step.entry.number)) {
            self.insert_entry(transaction, step)?;
        }
        if let Some((bytes, claimed)) = &feed.head {
            self.insert_head(transaction, claimed, bytes, feed.entries.is_empty())?;
        }
        let packages = feed.entries.iter().map(|step| step.entry.package.parse().ok());
        Ok(Verdict::Accepted(packages.flatten().collect()))
    }

    /// Says whether steps are believed: their head counts now, or the step after them is here, or a head of their last is.
    fn standing(
        &self,
        transaction: &Transaction<'_>,
        feed: &FeedRecord,
        head: Option<Result<VerifiedHead, FeedError>>,
    ) -> Result<Standing, LedgerError> {
        match head {
            Some(Ok(_)) => return Ok(Standing::Proven),
            // Its time is over, or has yet to come; until then the step after it may show that it is genuine.
            Some(Err(FeedError::Expired { .. } | FeedError::Document(EnvelopeError::Ahead { .. }))) | None => {}
            Some(Err(error)) => return Ok(Standing::Wrong(error.to_string())),
        }
        let Some(Step { entry, digest, .. }) = feed.entries.last() else { return Ok(Standing::NotYet) };
        let sql = "SELECT previous FROM entries WHERE publisher = ?1 AND number = ?2";
        let next = params![feed.publisher, number(entry.number.saturating_add(1))];
        let mut statement = transaction.prepare_cached(sql)?;
        let previous: Option<Option<[u8; 32]>> = statement.query_row(next, |row| row.get(0)).optional()?;
        if let Some(previous) = previous {
            let is_named = previous.as_ref() == Some(digest.as_bytes());
            let reason = format!("entry {} of `{}` names another before it", entry.number + 1, feed.publisher);
            return Ok(if is_named { Standing::Proven } else { Standing::Wrong(reason) });
        }
        let sql = "SELECT 1 FROM heads WHERE publisher = ?1 AND number = ?2 AND digest = ?3";
        let mut statement = transaction.prepare_cached(sql)?;
        let is_headed = statement.exists(params![feed.publisher, number(entry.number), digest.as_bytes()])?;
        Ok(if is_headed { Standing::Proven } else { Standing::NotYet })
    }

    /// Keeps as evidence that the publisher signed another step with a number that is here.
    fn fork(
        &self,
        transaction: &Transaction<'_>,
        step: &Step,
        head: Option<&Result<VerifiedHead, FeedError>>,
    ) -> Result<Verdict, LedgerError> {
        let Entry { publisher, number: at, .. } = &step.entry;
        if let Some(Ok(_)) = head {
            let sql = "INSERT INTO forks (publisher, number, at, entry, head) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
            let now = self.anchors.now().unix_timestamp();
            let mut statement = transaction.prepare_cached(sql)?;
            statement.execute(params![publisher, number(*at), now, step.bytes, self.bytes])?;
        }
        Ok(Verdict::Refused(format!("there is another entry {at} of the feed of `{publisher}`")))
    }

    fn release(&self, transaction: &Transaction<'_>, release: &ReleaseRecord) -> Result<Verdict, LedgerError> {
        let ReleaseRecord { publisher, package, version, offer, .. } = release;
        let claimed = offer.claimed();
        let sql = "SELECT entry FROM entries WHERE publisher = ?1 AND release = ?2";
        let mut statement = transaction.prepare_cached(sql)?;
        let named = statement.query_row(params![publisher, claimed.release.as_bytes()], |row| row.get::<_, Vec<u8>>(0));
        let Some(entry) = named.optional()? else { return Ok(Verdict::Later) };
        let entry = Entry::parse(&entry).map_err(|error| LedgerError::Row { reason: error.to_string() })?;
        if entry.package != claimed.package || entry.version.as_ref() != Some(&claimed.version) {
            return Ok(Verdict::Refused(format!("entry {} of `{publisher}` is of another package", entry.number)));
        }
        // As a release statement: its publisher, who counts now, still stands for what an earlier certificate signed.
        let at = release.claimed.signed_at.max(entry.at).min(self.anchors.now());
        let judged = [self.anchors.now(), at].into_iter().map(|at| offer::verify(offer.clone(), &self.options(at)));
        if let Some(error) = judged.map(Result::err).collect::<Option<Vec<_>>>().and_then(|mut errors| errors.pop()) {
            return Ok(Verdict::Refused(format!("the offer of `{package}` {version} is not believed: {error}")));
        }
        let sql = "SELECT record FROM releases WHERE package = ?1 AND version = ?2 AND publisher = ?3";
        let key = params![package.as_str(), version.to_string(), publisher];
        let mut statement = transaction.prepare_cached(sql)?;
        let known: Option<RecordId> = statement.query_row(key, |row| row.get(0)).optional()?;
        // Of two offers of one release every node keeps the same.
        if known.is_some_and(|known| known < self.id) {
            return Ok(Verdict::Known);
        }
        transaction
            .prepare_cached("DELETE FROM releases WHERE package = ?1 AND version = ?2 AND publisher = ?3")?
            .execute(key)?;
        if let Some(known) = known {
            transaction.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute(params![known])?;
        }
        self.insert(transaction, &release.kind)?;
        let sql = "INSERT INTO releases (publisher, package, version, statement, chain, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let chain = release.chain_digest();
        let statement = claimed.release.as_bytes();
        let values = params![publisher, package.as_str(), version.to_string(), statement, chain.as_bytes(), self.id];
        transaction.prepare_cached(sql)?.execute(values)?;
        Ok(Verdict::Accepted(vec![package.clone()]))
    }

    fn insert(&self, transaction: &Transaction<'_>, category: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO records (id, time, category, bytes) VALUES (?1, ?2, ?3, ?4)";
        let values = params![self.id, number(self.time), category, self.bytes];
        transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn insert_entry(&self, transaction: &Transaction<'_>, step: &Step) -> Result<(), LedgerError> {
        let Step { entry, digest, bytes } = step;
        let release = match &entry.action {
            Action::Publish { release } => Some(*release.as_bytes()),
            Action::Yank { .. } | Action::Restore | Action::Own { .. } => None,
        };
        let sql = "INSERT INTO entries (publisher, number, digest, previous, entry, release, record) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let previous = entry.previous.as_ref().map(Sha256::as_bytes);
        transaction.prepare_cached(sql)?.execute(params![
            entry.publisher,
            number(entry.number),
            digest.as_bytes(),
            previous,
            bytes,
            release,
            self.id
        ])?;
        Ok(())
    }

    /// Notes a head; one that came alone takes the place of those that came alone before.
    fn insert_head(
        &self,
        transaction: &Transaction<'_>,
        head: &Head,
        bytes: &[u8],
        alone: bool,
    ) -> Result<(), LedgerError> {
        let sql = "DELETE FROM records WHERE id IN (SELECT record FROM heads WHERE publisher = ?1 AND alone AND \
                   (number < ?2 OR (number = ?2 AND expires < ?3)))";
        let (at, expires) = (number(head.number), head.expires.unix_timestamp());
        transaction.prepare_cached(sql)?.execute(params![head.publisher, at, expires])?;
        let sql = "INSERT INTO heads (record, publisher, number, digest, expires, alone, head) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = params![self.id, head.publisher, at, head.entry.as_bytes(), expires, alone, bytes];
        transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn options(&self, at: OffsetDateTime) -> VerifyOptions<'_> {
        VerifyOptions { roots: self.anchors.roots(), chain: None, at, revocation: self.anchors.revocation() }
    }
}

fn holds(connection: &Connection, id: &RecordId) -> Result<bool, LedgerError> {
    Ok(connection.prepare_cached("SELECT 1 FROM records WHERE id = ?1")?.exists(params![id])?)
}

fn held_entry(transaction: &Transaction<'_>, publisher: &str, at: u64) -> Result<Option<Sha256>, LedgerError> {
    let mut statement =
        transaction.prepare_cached("SELECT digest FROM entries WHERE publisher = ?1 AND number = ?2")?;
    let digest = statement.query_row(params![publisher, number(at)], |row| row.get::<_, [u8; 32]>(0)).optional()?;
    Ok(digest.map(Sha256::from_bytes))
}

/// Says whether a head is newer than all that are here.
fn is_newer(transaction: &Transaction<'_>, feed: &FeedRecord) -> Result<bool, LedgerError> {
    let Some((_, head)) = &feed.head else { return Ok(false) };
    let sql = "SELECT 1 FROM heads WHERE publisher = ?1 AND (number > ?2 OR (number = ?2 AND expires >= ?3))";
    let mut statement = transaction.prepare_cached(sql)?;
    Ok(!statement.exists(params![head.publisher, number(head.number), head.expires.unix_timestamp()])?)
}

fn release(bytes: &[u8]) -> Result<ReleaseRecord, LedgerError> {
    match Record::read(bytes) {
        Ok(Record::Release(release)) => Ok(*release),
        Ok(Record::Feed(_)) => Err(LedgerError::Row { reason: "a release is a step of a feed".into() }),
        Err(error) => Err(LedgerError::Row { reason: error.to_string() }),
    }
}

fn parsed(name: &str) -> Result<PackageName, LedgerError> {
    name.parse().map_err(|error| LedgerError::Row { reason: format!("`{name}`: {error}") })
}

/// SQLite has signed numbers only.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
