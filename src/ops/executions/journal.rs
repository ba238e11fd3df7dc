//! What was executed, kept over restarts: one row for each execution in a file of its own, written by a thread of its own.
//!
//! Many changes become one transaction: whoever notes something goes on at once, and the thread takes all that was noted in
//! some milliseconds and while the disk was busy with the transaction before. Of several changes of one execution only the last is
//! written, which for most is the only one. So ten thousand executions that begin at once cost some transactions and not ten
//! thousand, and memory holds one record for each at most. Whoever must know waits for [`Journal::durable`], which lingers for
//! nobody.
//!
//! Invariants: what [`Journal::durable`] has answered for is there after a crash; an execution that had not finished when its
//! node ended is shown as failed; no more than [`KEPT_MAX`] finished ones and [`KEPT_BYTES_MAX`] are kept, the oldest go first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::record::Record;
use crate::sqlite::{Form, SqliteError};
use crate::vm::execution::{ExecutionId, State};

/// The most finished executions that are kept.
pub const KEPT_MAX: usize = 10_000;
/// The most bytes of records that are kept.
pub const KEPT_BYTES_MAX: u64 = 256 << 20;
/// How many rows are written between two looks at the bounds.
const PRUNE_EVERY: usize = 256;
/// How long what was noted waits for more: longer than most programs run, so that the processor is theirs meanwhile.
const LINGER: Duration = Duration::from_millis(5);
/// How long to wait after the disk refused.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The most rows of one transaction: some 10 ms.
const BATCH_MAX: usize = 1_024;

const FORM: Form = Form {
    what: "list of executions",
    remedy: "move it away; what ran before is forgotten then, and nothing else",
    application_id: 0x4354_4C45,
    migrations: &["
CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    final INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX executions_by_age ON executions (final, number, bytes);
"],
};

/// The kept executions. Methods may be called from any thread; all but `note` and `durable` block.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    reader: Mutex<Connection>,
    writer: Option<JoinHandle<()>>,
}

/// What cannot be kept or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the list of executions cannot be {what}: {reason}")]
pub struct JournalError {
    what: &'static str,
    reason: String,
}

#[derive(Debug)]
struct Shared {
    noted: Mutex<Noted>,
    wake: Condvar,
    committed: watch::Sender<Committed>,
}

#[derive(Debug, Default)]
struct Noted {
    /// What nobody has begun to write.
    waiting: BTreeMap<ExecutionId, Record>,
    /// What is being written.
    writing: Arc<BTreeMap<ExecutionId, Record>>,
    /// How many notes there were.
    count: u64,
    /// Up to which note somebody waits for the disk.
    wanted: u64,
    closing: bool,
}

/// How far the file is.
#[derive(Clone, Debug, Default)]
struct Committed {
    count: u64,
    refused: Option<String>,
}

impl Journal {
    /// Opens the file, or makes it. Executions that had not finished are failed since `now`, with the given reason.
    ///
    /// # Errors
    /// A file that is damaged, foreign or newer, or no thread.
    pub fn open(path: &Path, interrupted: &str, now: OffsetDateTime) -> Result<Self, JournalError> {
        let refused = |error: &dyn std::error::Error| JournalError { what: "opened", reason: chain(error) };
        let open = || FORM.open(path).map_err(|error: SqliteError| refused(&error));
        let (mut connection, reader) = (open()?, open()?);
        interrupt(&mut connection, interrupted, now)
            .and_then(|()| prune(&connection))
            .map_err(|error| refused(&error))?;
        let shared = Arc::new(Shared {
            noted: Mutex::default(),
            wake: Condvar::new(),
            committed: watch::Sender::new(Committed::default()),
        });
        let own = Arc::clone(&shared);
        let writer =
            std::thread::Builder::new().name("executions".to_owned()).spawn(move || own.write(&mut connection));
        let writer = Some(writer.map_err(|error| refused(&error))?);
        Ok(Self { shared, reader: Mutex::new(reader), writer })
    }

    /// Notes how an execution stands; gives a number to ask [`Self::durable`] about. Never blocks for long.
    pub fn note(&self, record: Record) -> u64 {
        let mut noted = self.shared.noted();
        noted.waiting.insert(record.id, record);
        noted.count += 1;
        self.shared.wake.notify_one();
        noted.count
    }

    /// Waits until what was noted is on the disk.
    ///
    /// # Errors
    /// The disk refuses it; it is tried again all the same.
    pub async fn durable(&self, number: u64) -> Result<(), JournalError> {
        self.shared.want(number);
        let mut committed = self.shared.committed.subscribe();
        let reached = committed.wait_for(|committed| committed.count >= number || committed.refused.is_some()).await;
        let reached = reached.map(|committed| committed.clone()).unwrap_or_default();
        match reached.refused {
            Some(reason) if reached.count < number => Err(JournalError { what: "written", reason }),
            _ => Ok(()),
        }
    }

    /// Gives what is kept of one execution.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, id: ExecutionId) -> Result<Option<Record>, JournalError> {
        let noted = self.shared.noted();
        if let Some(record) = noted.waiting.get(&id).or_else(|| noted.writing.get(&id)) {
            return Ok(Some(record.clone()));
        }
        drop(noted);
        let sql = "SELECT record FROM executions WHERE id = ?1";
        let text = self.reader().query_row(sql, [id.to_string()], |row| row.get::<_, String>(0)).optional();
        text.map_err(|error| unreadable(&error))?.map(|text| read(&text)).transpose()
    }

    /// Gives the executions that finished, the latest first: so many at most, behind so many that are passed over; and how many
    /// there are in all. Reads no more records than it gives.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn finished(&self, offset: usize, most: usize) -> Result<(Vec<Record>, usize), JournalError> {
        let noted = self.shared.noted();
        let mut newest: BTreeMap<ExecutionId, Record> = (*noted.writing).clone();
        newest.extend(noted.waiting.iter().map(|(id, record)| (*id, record.clone())));
        drop(noted);
        let connection = self.reader();
        let rows = || -> rusqlite::Result<Vec<(String, i64, Option<String>)>> {
            let sql = "SELECT id, number, record ->> '$.finished_at' FROM executions WHERE final = 1";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            connection.prepare_cached(sql)?.query_map([], row)?.collect()
        };
        let mut ages = BTreeMap::new();
        for (id, accepted, finished) in rows().map_err(|error| unreadable(&error))? {
            let id: ExecutionId =
                id.parse().map_err(|_| JournalError { what: "read", reason: format!("`{id}` is no id") })?;
            let finished = finished.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()).map(number);
            ages.insert(id, (finished, accepted));
        }
        for (id, record) in &newest {
            // What is in the file of one that is noted again is older.
            ages.remove(id);
            if record.state.is_final() {
                ages.insert(*id, (record.finished_at.map(number), number(record.accepted_at)));
            }
        }
        let total = ages.len();
        let mut ids: Vec<_> = ages.into_iter().map(|(id, age)| (age, id)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let mut records = Vec::new();
        let mut statement = connection.prepare_cached("SELECT record FROM executions WHERE id = ?1");
        let statement = statement.as_mut().map_err(|error| unreadable(error))?;
        for (_, id) in ids.into_iter().skip(offset).take(most) {
            if let Some(record) = newest.remove(&id) {
                records.push(record);
                continue;
            }
            let text = statement.query_row([id.to_string()], |row| row.get::<_, String>(0)).optional();
            // One that was forgotten meanwhile is no longer there.
            if let Some(text) = text.map_err(|error| unreadable(&error))? {
                records.push(read(&text)?);
            }
        }
        Ok((records, total))
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Journal {
    /// Waits until all that was noted is written, or the disk refuses it.
    fn drop(&mut self) {
        self.shared.noted().closing = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has written what it could.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Nothing under the lock leaves the lists half changed.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread linger no longer.
    fn want(&self, number: u64) {
        let mut noted = self.noted();
        noted.wanted = noted.wanted.max(number);
        self.wake.notify_one();
    }

    /// Writes until the journal is closed and everything is written.
    fn write(&self, connection: &mut Connection) {
        let mut since_prune = 0;
        loop {
            let Some((batch, count)) = self.take() else { return };
            let written = commit(connection, &batch).and_then(|()| {
                since_prune += batch.len();
                if since_prune < PRUNE_EVERY {
                    return Ok(());
                }
                since_prune = 0;
                prune(connection)
            });
            match written {
                Ok(()) => self.committed.send_modify(|committed| {
                    committed.refused = None;
                    committed.count = committed.count.max(count);
                }),
                Err(error) => {
                    let reason = chain(&error);
                    tracing::error!("what was executed cannot be kept: {reason}");
                    self.committed.send_modify(|committed| committed.refused = Some(reason));
                    if !self.put_back(&batch) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for something to write. The number says up to which note everything is written with it.
    fn take(&self) -> Option<(Arc<BTreeMap<ExecutionId, Record>>, u64)> {
        // What was written is given up before the lock is taken again: nobody who notes something waits for that.
        let written = std::mem::take(&mut self.noted().writing);
        drop(written);
        let mut noted = self.noted();
        while noted.waiting.is_empty() {
            if noted.closing {
                return None;
            }
            noted = self.wake.wait(noted).unwrap_or_else(PoisonError::into_inner);
        }
        let before = self.committed.borrow().count;
        let may_linger =
            |noted: &mut Noted| noted.wanted <= before && !noted.closing && noted.waiting.len() < BATCH_MAX;
        let lingered = self.wake.wait_timeout_while(noted, LINGER, may_linger);
        let mut noted = lingered.unwrap_or_else(PoisonError::into_inner).0;
        let rest = match noted.waiting.keys().nth(BATCH_MAX).copied() {
            Some(first) => noted.waiting.split_off(&first),
            None => BTreeMap::new(),
        };
        let all = rest.is_empty();
        let batch = Arc::new(std::mem::replace(&mut noted.waiting, rest));
        noted.writing = Arc::clone(&batch);
        Some((batch, if all { noted.count } else { before }))
    }

    /// Keeps what could not be written for another try, unless the journal closes.
    fn put_back(&self, batch: &BTreeMap<ExecutionId, Record>) -> bool {
        let mut noted = self.noted();
        for (id, record) in batch {
            noted.waiting.entry(*id).or_insert_with(|| record.clone());
        }
        if noted.closing {
            return false;
        }
        drop(self.wake.wait_timeout_while(noted, AGAIN_AFTER, |noted| !noted.closing));
        true
    }
}

fn commit(connection: &mut Connection, batch: &BTreeMap<ExecutionId, Record>) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for record in batch.values() {
        put(&transaction, record)?;
    }
    transaction.commit()
}

fn put(connection: &Connection, record: &Record) -> Result<(), rusqlite::Error> {
    let text = serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let number = number(record.accepted_at);
    let sql = "INSERT OR REPLACE INTO executions (id, number, final, bytes, record) VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = params![record.id.to_string(), number, record.state.is_final(), text.len() as i64, text];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Gives a time as a number by which executions are ordered, in microseconds.
fn number(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// Fails what had not finished when its node ended.
fn interrupt(connection: &mut Connection, reason: &str, now: OffsetDateTime) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let texts: Vec<String> = transaction
        .prepare("SELECT record FROM executions WHERE final = 0")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for text in texts {
        // One that cannot be read would stay unfinished for ever; it is nothing that anybody could act on.
        let Ok(mut record) = read(&text) else { continue };
        record.state = State::Failed;
        record.error = Some(reason.to_owned());
        record.finished_at = Some(now);
        record.leases.clear();
        put(&transaction, &record)?;
    }
    transaction.commit()
}

/// Forgets the oldest beyond the bounds.
fn prune(connection: &Connection) -> Result<(), rusqlite::Error> {
    let sql = "DELETE FROM executions WHERE final = 1 AND id IN (
        SELECT id FROM (
            SELECT id, row_number() OVER newest AS place, sum(bytes) OVER newest AS total
            FROM executions WHERE final = 1 WINDOW newest AS (ORDER BY number DESC, id)
        ) WHERE place > ?1 OR total > ?2)";
    connection.prepare_cached(sql)?.execute(params![KEPT_MAX as i64, KEPT_BYTES_MAX as i64]).map(drop)
}

fn read(text: &str) -> Result<Record, JournalError> {
    serde_json::from_str(text).map_err(|error| JournalError { what: "read", reason: error.to_string() })
}

fn unreadable(error: &rusqlite::Error) -> JournalError {
    JournalError { what: "read", reason: chain(error) }
}

/// Gives an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
