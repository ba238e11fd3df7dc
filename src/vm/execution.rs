//! What runs and what ran: the table behind status, logs and kill.
//!
//! A state machine without IO and clock: the runner of a program tells it what happens and when, and passes the record's
//! [`Cancel`] to the executor. Leases and proofs are only named here, never released or checked.
//!
//! Invariant: a state changes only along [`State::may_become`], and neither the running nor the finished records grow
//! beyond their bounds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::package::model::Priority;
use crate::package::name::PackageName;
use crate::vm::program::Cancel;
use crate::vm::queue;
use crate::vm::{Failure, Outcome, Usage, VmError};

/// The most executions that are not finished: those that wait and those that run.
pub const ACTIVE_MAX: usize = queue::WAITING_MAX + queue::RUNNING_MAX;
/// The most finished executions that are remembered; the one that finished first is forgotten first.
pub const FINISHED_MAX: usize = 1024;

/// The identity of one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(Uuid);

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Accepted; waits for its resources.
    Pending,
    /// Has its resources; its worker starts.
    Starting,
    /// Its program runs.
    Running,
    /// Gave a value.
    Completed,
    /// Gave an error.
    Failed,
    /// Ended because somebody asked for it.
    Terminated,
    /// Ended because a time limit was reached, while it waited or ran.
    TimedOut,
}

/// One that is to be accepted.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// Its place in the queue.
    pub priority: Priority,
    /// The node it was placed on, by its id.
    pub node: String,
    /// Whether it goes on without whoever asked for it.
    pub detached: bool,
    /// Ends it, and shows what it does.
    pub cancel: Cancel,
}

/// One execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its identity.
    pub id: ExecutionId,
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// Its place in the queue.
    pub priority: Priority,
    /// The node it was placed on, by its id.
    pub node: String,
    /// Whether it goes on without whoever asked for it.
    pub detached: bool,
    /// Where it stands.
    pub state: State,
    /// How often it was tried, the present time included.
    pub attempts: u32,
    /// How long it has waited in the queue, all attempts together, in microseconds; what goes on is counted when it ends.
    pub queued_us: u64,
    /// The leases it holds, by the host's ids.
    pub leases: Vec<String>,
    /// The consensus proof it runs under, by the host's id.
    pub proof: Option<String>,
    /// When it was accepted.
    pub accepted_at: OffsetDateTime,
    /// When its program began to run.
    pub started_at: Option<OffsetDateTime>,
    /// When it finished.
    pub finished_at: Option<OffsetDateTime>,
    /// What it has used so far.
    pub usage: Usage,
    /// Why it failed.
    pub error: Option<String>,
    /// Ends it; the runner passes this to the executor.
    pub cancel: Cancel,
}

/// The executions of one node.
#[derive(Debug, Default)]
pub struct Executions {
    active: BTreeMap<ExecutionId, Execution>,
    finished: VecDeque<Execution>,
    totals: Totals,
}

/// What was counted since the node began.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How many ended in each state.
    pub ended: BTreeMap<&'static str, u64>,
    /// How many attempts were made after a failure.
    pub retried: u64,
    /// Processor time of all runs, in microseconds.
    pub cpu_us: u64,
    /// Wall time of all runs, in microseconds.
    pub wall_us: u64,
    /// The most memory that one run has had, in bytes.
    pub memory_peak_bytes: u64,
    /// How long the last ones waited in the queue, in microseconds.
    waits_us: VecDeque<u64>,
}

/// A change the table refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// No execution has this id, or it finished long ago.
    #[error("no execution `{id}`")]
    Unknown {
        /// The id.
        id: ExecutionId,
    },
    /// The execution cannot go from one state to the other.
    #[error("execution `{id}` is {from:?} and cannot become {to:?}")]
    Transition {
        /// The id.
        id: ExecutionId,
        /// Where it stands.
        from: State,
        /// Where it should go.
        to: State,
    },
    /// Too many executions are not finished.
    #[error("{ACTIVE_MAX} executions are running or waiting; try again when one has finished")]
    Full,
}

impl State {
    /// Tells whether an execution may go from this state to another.
    pub fn may_become(self, next: Self) -> bool {
        use State::{Completed, Failed, Pending, Running, Starting, Terminated, TimedOut};
        matches!(
            (self, next),
            (Pending, Starting)
                | (Starting, Running)
                | (Running, Completed)
                // Another attempt.
                | (Starting | Running, Pending)
                | (Pending | Starting | Running, Failed | Terminated | TimedOut)
        )
    }

    /// Tells whether no state follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated | Self::TimedOut)
    }
}

impl Totals {
    /// How many waits the quantiles are taken of.
    const WAITS_MAX: usize = 1024;

    /// Gives how long the last 1,024 starts had waited in the queue: the wait that this part of a thousand did not exceed, in
    /// microseconds. Sorts them.
    pub fn wait_us(&self, permille: usize) -> Option<u64> {
        let mut waits: Vec<u64> = self.waits_us.iter().copied().collect();
        waits.sort_unstable();
        let place = (waits.len() * permille).div_ceil(1_000).max(1) - 1;
        waits.get(place).copied()
    }

    fn waited(&mut self, wait_us: u64) {
        if self.waits_us.len() == Self::WAITS_MAX {
            self.waits_us.pop_front();
        }
        self.waits_us.push_back(wait_us);
    }

    fn ended(&mut self, state: State, usage: &Usage) {
        let name = match state {
            State::Completed => "completed",
            State::Failed => "failed",
            State::Terminated => "terminated",
            State::TimedOut => "timed_out",
            State::Pending | State::Starting | State::Running => return,
        };
        *self.ended.entry(name).or_default() += 1;
        self.cpu_us = self.cpu_us.saturating_add(usage.cpu_us);
        self.wall_us = self.wall_us.saturating_add(usage.wall_us);
        self.memory_peak_bytes = self.memory_peak_bytes.max(usage.memory_peak_bytes);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names are HyperMesh's.
        write!(f, "{self:?}")
    }
}

impl ExecutionId {
    /// Makes an id that no other execution has.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Gives a number that is as random as the id.
    pub(crate) fn as_u64(self) -> u64 {
        self.0.as_u64_pair().1
    }
}

impl Executions {
    /// Accepts an execution.
    ///
    /// # Errors
    /// [`ACTIVE_MAX`] executions are not finished.
    pub fn accept(&mut self, admitted: Admitted, now: OffsetDateTime) -> Result<&Execution, ExecutionError> {
        if self.active.len() >= ACTIVE_MAX {
            return Err(ExecutionError::Full);
        }
        let id = ExecutionId::random();
        let Admitted { package, version, priority, node, detached, cancel } = admitted;
        Ok(self.active.entry(id).or_insert(Execution {
            id,
            package,
            version,
            priority,
            node,
            detached,
            state: State::Pending,
            attempts: 0,
            queued_us: 0,
            leases: Vec::new(),
            proof: None,
            accepted_at: now,
            started_at: None,
            finished_at: None,
            usage: Usage::default(),
            error: None,
            cancel,
        }))
    }

    /// Notes that an execution has waited so long, and has its proof and leases and starts its worker.
    ///
    /// # Errors
    /// It is unknown or not pending.
    pub fn starting(
        &mut self,
        id: ExecutionId,
        queued_us: u64,
        proof: Option<String>,
        leases: Vec<String>,
    ) -> Result<(), ExecutionError> {
        let execution = self.change(id, State::Starting)?;
        (execution.proof, execution.leases) = (proof, leases);
        execution.attempts += 1;
        execution.queued_us += queued_us;
        self.totals.waited(queued_us);
        Ok(())
    }

    /// Notes that an execution failed, gave its leases back, and waits to be tried again.
    ///
    /// # Errors
    /// It is unknown, waits already or has finished.
    pub fn retrying(&mut self, id: ExecutionId, failure: &str) -> Result<(), ExecutionError> {
        let execution = self.change(id, State::Pending)?;
        execution.leases.clear();
        execution.error = Some(failure.to_owned());
        self.totals.retried += 1;
        Ok(())
    }

    /// Notes that an execution's program begins to run.
    ///
    /// # Errors
    /// It is unknown or not starting.
    pub fn running(&mut self, id: ExecutionId, now: OffsetDateTime) -> Result<(), ExecutionError> {
        let execution = self.change(id, State::Running)?;
        execution.started_at = Some(now);
        Ok(())
    }

    /// Notes what a running execution has used so far.
    ///
    /// # Errors
    /// It is unknown, or not running.
    pub fn update(&mut self, id: ExecutionId, usage: Usage) -> Result<(), ExecutionError> {
        match self.active.get_mut(&id) {
            Some(execution) if execution.state == State::Running => execution.usage = usage,
            _ => return Err(self.refusal(id, State::Running)),
        }
        Ok(())
    }

    /// Notes the end of an execution: a cancelled one is terminated, any other without a value has failed.
    ///
    /// # Errors
    /// It is unknown or has finished already, or it gave a value without having run.
    pub fn finish(
        &mut self,
        id: ExecutionId,
        result: Result<&Outcome, &Failure>,
        now: OffsetDateTime,
    ) -> Result<&Execution, ExecutionError> {
        let (state, error) = match result {
            Ok(_) => (State::Completed, None),
            Err(failure) if matches!(*failure.error, VmError::Cancelled) => (State::Terminated, None),
            Err(failure) if matches!(*failure.error, VmError::Timeout { .. }) => {
                (State::TimedOut, Some(failure.error.to_string()))
            }
            Err(failure) => (State::Failed, Some(failure.error.to_string())),
        };
        let execution = self.change(id, state)?;
        match result {
            Ok(outcome) => execution.usage = outcome.usage,
            Err(failure) => execution.usage.wall_us = failure.wall_us,
        }
        execution.error = error;
        let usage = execution.usage;
        self.totals.ended(state, &usage);
        self.retire(id, now)
    }

    /// Notes the end of an execution that came to nothing before its program ran.
    ///
    /// # Errors
    /// It is unknown or has finished already, or the state is none that it may end in.
    pub fn give_up(
        &mut self,
        id: ExecutionId,
        state: State,
        error: Option<String>,
        now: OffsetDateTime,
    ) -> Result<&Execution, ExecutionError> {
        let execution = self.change(id, state)?;
        execution.error = error;
        self.totals.ended(state, &Usage::default());
        self.retire(id, now)
    }

    /// Gives what was counted since the node began.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Ends an execution. One that waits is terminated at once; one that runs when its runner reports the end.
    ///
    /// # Errors
    /// It is unknown or has finished already.
    pub fn terminate(&mut self, id: ExecutionId, now: OffsetDateTime) -> Result<&Execution, ExecutionError> {
        match self.active.get_mut(&id) {
            None => Err(self.refusal(id, State::Terminated)),
            Some(execution) => {
                execution.cancel.cancel();
                if execution.state == State::Pending {
                    execution.state = State::Terminated;
                    self.totals.ended(State::Terminated, &Usage::default());
                    return self.retire(id, now);
                }
                self.get(id)
            }
        }
    }

    /// Gives an execution.
    ///
    /// # Errors
    /// It is unknown, or finished so long ago that it is forgotten.
    pub fn get(&self, id: ExecutionId) -> Result<&Execution, ExecutionError> {
        let finished = || self.finished.iter().find(|execution| execution.id == id);
        self.active.get(&id).or_else(finished).ok_or(ExecutionError::Unknown { id })
    }

    /// Gives all executions: those not finished by id, then the finished ones, the latest first.
    pub fn list(&self) -> impl Iterator<Item = &Execution> {
        self.active.values().chain(self.finished.iter().rev())
    }

    fn change(&mut self, id: ExecutionId, to: State) -> Result<&mut Execution, ExecutionError> {
        if !self.active.get(&id).is_some_and(|execution| execution.state.may_become(to)) {
            return Err(self.refusal(id, to));
        }
        let execution = self.active.get_mut(&id).ok_or(ExecutionError::Unknown { id })?;
        execution.state = to;
        Ok(execution)
    }

    fn retire(&mut self, id: ExecutionId, now: OffsetDateTime) -> Result<&Execution, ExecutionError> {
        let mut execution = self.active.remove(&id).ok_or(ExecutionError::Unknown { id })?;
        execution.finished_at = Some(now);
        // What it printed is not kept here; whoever watches has a hold of his own.
        execution.cancel = Cancel::new();
        if self.finished.len() == FINISHED_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(execution);
        self.get(id)
    }

    fn refusal(&self, id: ExecutionId, to: State) -> ExecutionError {
        match self.get(id) {
            Ok(execution) => ExecutionError::Transition { id, from: execution.state, to },
            Err(unknown) => unknown,
        }
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ExecutionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests;
