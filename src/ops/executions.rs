//! What runs and what ran on this node: the executions with their queue, their journal, their storage and their receipts.
//!
//! `admit` decides whether, where and when, `run` takes an execution to its end; everything else asks about executions or
//! ends them.

pub mod admission;
pub mod error;
pub mod journal;
pub mod receipt;
pub mod record;
pub mod storage;

mod admit;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinSet;

use self::admission::Admission;
use self::error::RunError;
use self::journal::{Journal, JournalError};
use self::record::Record;
use self::storage::Storages;
use super::{Catalog, OpError};
use crate::host::{Host, Progress, STDERR, STDOUT};
use crate::package::name::PackageName;
use crate::vm::TrustDomain;
use crate::vm::execution::{Execution, ExecutionError, ExecutionId, Executions, State};
use crate::vm::monitor::{Monitor, Stream};
use crate::vm::program::Cancel;
use crate::vm::queue::RUNNING_MAX;
use crate::vm::storage::{Scratch, Storage};

pub use self::run::Detached;

/// The file with what was executed, in the directory of a node.
pub const JOURNAL_FILE: &str = "executions.sqlite";
/// The file with what packages keep.
pub const STORAGE_FILE: &str = "storage.sqlite";
/// How long a detached execution waits in the queue at most; one that somebody waits for waits no longer than it may run.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How far ahead an execution may be scheduled.
pub const SCHEDULED_WITHIN: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often somebody who follows is told what was printed.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);
/// The most bytes of one report of what was printed.
const FOLLOW_BYTES_MAX: usize = 8 << 10;

/// Everything about the executions of one node that is not a package's.
pub(super) struct Runs {
    home: PathBuf,
    table: Mutex<Executions>,
    pub(super) admission: Arc<Admission>,
    /// Opened by whoever runs or asks first; most commands do neither.
    journal: OnceLock<Result<Journal, JournalError>>,
    storages: OnceLock<Result<Arc<Storages>, String>>,
    /// The detached executions.
    tasks: Mutex<JoinSet<()>>,
    stopping: AtomicBool,
}

/// How an execution ended that somebody followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// How it ended.
    pub record: Record,
    /// Whether it was still going on, so that what it printed was told as it came.
    pub told: bool,
}

/// Some of the executions that a node knows.
#[derive(Clone, Debug)]
pub struct Listed {
    /// These.
    pub list: Vec<Record>,
    /// How many there are in all.
    pub total: usize,
}

/// What was counted, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By name, unit last in the name.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Runs {
    pub(super) fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            table: Mutex::default(),
            admission: Admission::new(RUNNING_MAX),
            journal: OnceLock::new(),
            storages: OnceLock::new(),
            tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Gives the journal. Opens it the first time, which blocks.
    pub(super) fn journal(&self, now: OffsetDateTime) -> Result<&Journal, OpError> {
        let interrupted = "the node ended before it did; run it again";
        let open = || Journal::open(&self.home.join(JOURNAL_FILE), interrupted, now);
        self.journal.get_or_init(open).as_ref().map_err(|error| RunError::Journal(error.clone()).into())
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Executions> {
        // A change of the table ends before anything could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an execution and notes how it stands then; nobody sees it in between.
    fn change(
        &self,
        id: ExecutionId,
        monitor: &Monitor,
        now: OffsetDateTime,
        change: impl FnOnce(&mut Executions) -> Result<(), ExecutionError>,
        add: impl FnOnce(&mut Record),
    ) -> Result<u64, OpError> {
        let mut table = self.table();
        change(&mut table)?;
        let mut record = Record::of(table.get(id)?, monitor, now);
        add(&mut record);
        Ok(self.journal(now)?.note(record))
    }

    /// Gives what keeps the values of a run. Blocks the first time.
    fn storage(
        &self,
        domain: &TrustDomain,
        package: &PackageName,
        quota_bytes: u64,
        persistent: bool,
    ) -> Result<Arc<dyn Storage>, OpError> {
        if !persistent {
            return Ok(Arc::new(Scratch::new(quota_bytes)));
        }
        let open = || Storages::open(&self.home.join(STORAGE_FILE)).map_err(|error| error.to_string());
        let storages = self.storages.get_or_init(open).as_ref();
        let storages = storages.map_err(|reason| RunError::Storage { reason: reason.clone() })?;
        Ok(Arc::new(storages.of(domain, package, quota_bytes)))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Catalog {
    /// Gives the executions that have not finished, then the finished ones, the latest first: so many at most, behind so many
    /// that are passed over. Blocks.
    ///
    /// # Errors
    /// The journal.
    pub fn executions_page(&self, offset: usize, most: usize, now: OffsetDateTime) -> Result<Listed, OpError> {
        let mut active = self.executions_active(now);
        let of_active = active.len();
        let behind = offset.saturating_sub(of_active);
        let mut list: Vec<Record> = active.drain(offset.min(of_active)..).take(most).collect();
        let journal = self.runs.journal(now)?;
        let (finished, of_finished) = journal.finished(behind, most - list.len()).map_err(RunError::from)?;
        // One that ended between the two questions is there twice, the later time as it is now.
        let later: std::collections::BTreeSet<ExecutionId> = finished.iter().map(|record| record.id).collect();
        list.retain(|record| !later.contains(&record.id));
        list.extend(finished);
        Ok(Listed { list, total: of_active + of_finished })
    }

    /// Gives the executions that have not finished.
    pub fn executions_active(&self, now: OffsetDateTime) -> Vec<Record> {
        let executions: Vec<Execution> =
            self.executions().list().filter(|execution| !execution.state.is_final()).cloned().collect();
        executions.iter().map(|execution| Record::of(execution, execution.cancel.monitor(), now)).collect()
    }

    /// Gives an execution by its id. Blocks.
    ///
    /// # Errors
    /// It is unknown, or forgotten.
    pub fn execution(&self, id: ExecutionId, now: OffsetDateTime) -> Result<Record, OpError> {
        let active = self.executions().get(id).ok().filter(|execution| !execution.state.is_final()).cloned();
        match active {
            Some(execution) => Ok(Record::of(&execution, execution.cancel.monitor(), now)),
            None => {
                Ok(self.runs.journal(now)?.get(id).map_err(RunError::from)?.ok_or(ExecutionError::Unknown { id })?)
            }
        }
    }

    /// Ends an execution. One that waits is terminated at once; one that runs when its worker has been killed.
    ///
    /// # Errors
    /// It is unknown or has finished already.
    pub fn terminate(&self, id: ExecutionId, now: OffsetDateTime) -> Result<Record, OpError> {
        let mut table = self.executions();
        let is_known = table.get(id).is_ok();
        if !is_known {
            drop(table);
            let from = self.execution(id, now)?.state;
            return Err(ExecutionError::Transition { id, from, to: State::Terminated }.into());
        }
        let hold = table.get(id)?.cancel.clone();
        let record = Record::of(table.terminate(id, now)?, hold.monitor(), now);
        if record.state.is_final() {
            self.runs.journal(now)?.note(record.clone());
        }
        Ok(record)
    }

    /// Reports what an execution prints until it has finished, and gives how it ended.
    ///
    /// # Errors
    /// It is unknown, or forgotten.
    pub async fn follow_execution(self: &Arc<Self>, id: ExecutionId, host: Arc<dyn Host>) -> Result<Followed, OpError> {
        let active = self.executions().get(id).ok().filter(|execution| !execution.state.is_final()).cloned();
        let hold: Option<Cancel> = active.map(|execution| execution.cancel);
        let mut told = Told::default();
        while let Some(hold) = &hold {
            told.report(hold.monitor(), &*host);
            if self.executions().get(id).is_ok_and(|execution| execution.state.is_final()) {
                told.all = true;
                told.report(hold.monitor(), &*host);
                break;
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
        let catalog = Arc::clone(self);
        let record = off_thread(move || catalog.execution(id, host.now())).await?;
        Ok(Followed { record, told: hold.is_some() })
    }

    /// Counts what runs, what ran, and how long it waited.
    pub fn figures(&self) -> Figures {
        let (waiting, begun) = self.runs.admission.counts();
        let table = self.executions();
        let totals = table.totals();
        let mut counters = BTreeMap::from([
            ("executions", (table.list().filter(|execution| !execution.state.is_final()).count()) as u64),
            ("executions_waiting", waiting as u64),
            ("executions_begun", begun as u64),
            ("executions_retried_total", totals.retried),
            ("executions_cpu_us_total", totals.cpu_us),
            ("executions_wall_us_total", totals.wall_us),
            ("executions_memory_peak_bytes", totals.memory_peak_bytes),
        ]);
        for (name, state) in [
            ("executions_completed_total", "completed"),
            ("executions_failed_total", "failed"),
            ("executions_terminated_total", "terminated"),
            ("executions_timed_out_total", "timed_out"),
        ] {
            counters.insert(name, totals.ended.get(state).copied().unwrap_or(0));
        }
        for (name, permille) in [("executions_wait_p50_us", 500), ("executions_wait_p99_us", 990)] {
            counters.extend(totals.wait_us(permille).map(|wait| (name, wait)));
        }
        Figures { counters }
    }

    /// Counts the detached executions that have not finished; they need these files.
    pub fn detached(&self) -> usize {
        self.executions().list().filter(|execution| execution.detached && !execution.state.is_final()).count()
    }

    /// Ends every execution, since the node stops: each of them is failed, and nobody begins any more.
    pub fn stop_executions(&self) {
        self.runs.stopping.store(true, Ordering::Relaxed);
        self.runs.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// How far somebody was told what a run printed.
#[derive(Debug, Default)]
struct Told {
    stdout: u64,
    stderr: u64,
    /// Nothing more comes, so that half a character is told as well.
    all: bool,
}

impl Told {
    /// Reports what is new.
    fn report(&mut self, monitor: &Monitor, host: &dyn Host) {
        let streams = [(Stream::Stdout, STDOUT, &mut self.stdout), (Stream::Stderr, STDERR, &mut self.stderr)];
        for (stream, stage, told) in streams {
            let part = monitor.printed_since(stream, *told);
            *told = part.offset;
            let mut rest = part.bytes.as_slice();
            while !rest.is_empty() {
                let most = rest.len().min(FOLLOW_BYTES_MAX);
                // The rest of a character comes later, unless nothing more comes.
                let is_last = self.all && most == rest.len();
                let chunk = if is_last { most } else { whole_characters(&rest[..most]) };
                if chunk == 0 {
                    break;
                }
                let subject = String::from_utf8_lossy(&rest[..chunk]).into_owned();
                let done = usize::try_from(*told).unwrap_or(usize::MAX);
                host.progress(Progress { stage, subject, done, total: 0 });
                *told += chunk as u64;
                rest = &rest[chunk..];
            }
        }
    }
}

/// Gives how many bytes a text has without a character that it ends in the middle of.
fn whole_characters(bytes: &[u8]) -> usize {
    let Some(back) = bytes.iter().rev().take(4).position(|byte| byte & 0xc0 != 0x80) else { return bytes.len() };
    let start = bytes.len() - 1 - back;
    let length = match bytes[start] {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    if start + length > bytes.len() { start } else { bytes.len() }
}

/// Works on a thread that may block.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(RunError::Stopping.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn a_character_is_not_cut_in_two() {
        for (bytes, whole) in [
            (b"abc".as_slice(), 3),
            (b"", 0),
            ("gr\u{fc}".as_bytes(), 4),
            (b"gr\xc3", 2),
            (b"\xe2\x82", 0),
            ("\u{20ac}".as_bytes(), 3),
            (b"x\xf0\x9f\x98", 1),
            // No text at all is told as it is.
            (b"\x80\x80\x80\x80\x80", 5),
            (b"\xff\xff", 1),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:x?}");
        }
    }
}
