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

use crate::package::name::PackageName;
use crate::vm::program::Cancel;
use crate::vm::{Failure, Outcome, Usage, VmError};

/// The most executions that are not finished.
pub const ACTIVE_MAX: usize = 1024;
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
}

/// One execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its identity.
    pub id: ExecutionId,
    /// The package.
    pub package: PackageName,
    /// Where it stands.
    pub state: State,
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
        use State::{Completed, Failed, Pending, Running, Starting, Terminated};
        matches!(
            (self, next),
            (Pending, Starting)
                | (Starting, Running)
                | (Running, Completed)
                | (Pending | Starting | Running, Failed | Terminated)
        )
    }

    /// Tells whether no state follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
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
}

impl Executions {
    /// Accepts an execution.
    ///
    /// # Errors
    /// [`ACTIVE_MAX`] executions are not finished.
    pub fn accept(
        &mut self,
        package: PackageName,
        proof: Option<String>,
        now: OffsetDateTime,
    ) -> Result<&Execution, ExecutionError> {
        if self.active.len() >= ACTIVE_MAX {
            return Err(ExecutionError::Full);
        }
        let id = ExecutionId::random();
        Ok(self.active.entry(id).or_insert(Execution {
            id,
            package,
            state: State::Pending,
            leases: Vec::new(),
            proof,
            accepted_at: now,
            started_at: None,
            finished_at: None,
            usage: Usage::default(),
            error: None,
            cancel: Cancel::new(),
        }))
    }

    /// Notes that an execution has its leases and starts its worker.
    ///
    /// # Errors
    /// It is unknown or not pending.
    pub fn starting(&mut self, id: ExecutionId, leases: Vec<String>) -> Result<(), ExecutionError> {
        let execution = self.change(id, State::Starting)?;
        execution.leases = leases;
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
            Err(failure) => (State::Failed, Some(failure.error.to_string())),
        };
        let execution = self.change(id, state)?;
        match result {
            Ok(outcome) => execution.usage = outcome.usage,
            Err(failure) => execution.usage.wall_us = failure.wall_us,
        }
        execution.error = error;
        self.retire(id, now)
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
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn package() -> PackageName {
        "acme/tracer".parse().expect("valid")
    }

    fn accepted(executions: &mut Executions) -> ExecutionId {
        executions.accept(package(), None, NOW).expect("there is room").id
    }

    fn outcome() -> Outcome {
        Outcome {
            value: crate::value::Value::Nil,
            output: crate::vm::Output::default(),
            usage: Usage { wall_us: 7, ..Usage::default() },
            layers: Vec::new(),
            grade: String::new(),
        }
    }

    #[test]
    fn an_execution_runs_through_its_states() {
        let (mut executions, later) = (Executions::default(), NOW + time::Duration::SECOND);
        let id = executions.accept(package(), Some("proof-1".into()), NOW).expect("there is room").id;
        assert_eq!(executions.get(id).expect("is there").state, State::Pending);
        executions.starting(id, vec!["lease-1".into()]).expect("was pending");
        executions.running(id, later).expect("was starting");
        executions.update(id, Usage { cpu_us: 3, ..Usage::default() }).expect("is running");
        assert_eq!(executions.get(id).expect("is there").usage.cpu_us, 3);
        let done = executions.finish(id, Ok(&outcome()), later).expect("was running").clone();
        assert_eq!((done.state, done.usage.wall_us, done.proof.as_deref()), (State::Completed, 7, Some("proof-1")));
        assert_eq!((done.started_at, done.finished_at, done.leases.len()), (Some(later), Some(later), 1));
        assert_eq!(executions.list().count(), 1);
    }

    #[test]
    fn failure_and_cancellation_end_apart() {
        let mut executions = Executions::default();
        for (error, state, text) in [
            (VmError::Cancelled, State::Terminated, None),
            (VmError::SessionEnded, State::Failed, Some("the session has ended with an earlier failure")),
        ] {
            let id = accepted(&mut executions);
            executions.starting(id, Vec::new()).expect("was pending");
            let done = executions.finish(id, Err(&error.into()), NOW).expect("was starting");
            assert_eq!((done.state, done.error.as_deref()), (state, text));
        }
    }

    #[test]
    fn termination_reaches_the_runner() {
        let mut executions = Executions::default();
        let waiting = accepted(&mut executions);
        assert_eq!(executions.terminate(waiting, NOW).expect("was pending").state, State::Terminated);
        let id = accepted(&mut executions);
        executions.starting(id, Vec::new()).expect("was pending");
        let cancel = executions.get(id).expect("is there").cancel.clone();
        assert!(!cancel.is_cancelled());
        assert_eq!(executions.terminate(id, NOW).expect("is starting").state, State::Starting);
        assert!(cancel.is_cancelled());
        executions.finish(id, Err(&VmError::Cancelled.into()), NOW).expect("was starting");
        let refused = executions.terminate(id, NOW).expect_err("has finished");
        assert_eq!(refused, ExecutionError::Transition { id, from: State::Terminated, to: State::Terminated });
    }

    #[test]
    fn other_transitions_and_unknown_ids_are_refused() {
        let mut executions = Executions::default();
        let id = accepted(&mut executions);
        assert!(executions.running(id, NOW).is_err());
        assert!(executions.update(id, Usage::default()).is_err());
        let early = executions.finish(id, Ok(&outcome()), NOW).expect_err("has not run");
        assert_eq!(early, ExecutionError::Transition { id, from: State::Pending, to: State::Completed });
        let id = ExecutionId::random();
        for refused in [
            executions.get(id).map(|_| ()),
            executions.terminate(id, NOW).map(|_| ()),
            executions.starting(id, Vec::new()),
            executions.update(id, Usage::default()),
        ] {
            assert_eq!(refused, Err(ExecutionError::Unknown { id }));
        }
        let states = [State::Completed, State::Failed, State::Terminated];
        for (from, to) in states.iter().flat_map(|from| states.map(|to| (*from, to))) {
            assert!(from.is_final() && !from.may_become(to));
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut executions = Executions::default();
        let ids: Vec<_> = (0..ACTIVE_MAX).map(|_| accepted(&mut executions)).collect();
        assert_eq!(executions.accept(package(), None, NOW).map(|_| ()), Err(ExecutionError::Full));
        for id in &ids {
            executions.terminate(*id, NOW).expect("was pending");
        }
        let last = accepted(&mut executions);
        executions.terminate(last, NOW).expect("was pending");
        assert_eq!(executions.list().count(), FINISHED_MAX);
        assert_eq!(executions.get(ids[0]).map(|_| ()), Err(ExecutionError::Unknown { id: ids[0] }));
        assert!(executions.get(ids[1]).is_ok() && executions.get(last).is_ok());
    }
}
