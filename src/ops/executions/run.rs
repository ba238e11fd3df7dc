//! One execution from its admission to its end: placed, queued, agreed to, leased, run, tried again, and noted at each step.
//!
//! While it waits it holds its arguments and its manifest, and nothing of its program: that is put together anew when its turn comes, so what
//! the policy says then is what counts, and ten thousand that wait need little memory. Invariant: whatever becomes of it, even
//! when its future is dropped, its turn and its lease go back, and its record says how it ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::admission::Turn;
use super::record::{Record, VALUE_BYTES_MAX};
use super::{FOLLOW_EVERY, RunError, Told};
use crate::asset;
use crate::consensus::Ask;
use crate::digest::Digest;
use crate::host::{Host, Lease, LeasedAsset, OperationKind, Refusal};
use crate::ops::execute::{self, Execute, Executed, LockedName, Prepared, Wait};
use crate::ops::network::RanThere;
use crate::ops::{Catalog, OpError};
use crate::package::Package;
use crate::trust::policy::Check;
use crate::value::Value;
use crate::vm::execution::{ExecutionError, ExecutionId, Executions, State};
use crate::vm::program::Cancel;
use crate::vm::queue;
use crate::vm::{Call, Context, Failure, Grade, Language, Limits, Outcome, Program, Run, TrustDomain, VmError, retry};

/// How much longer than the run its lease lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// How long a program that was put together counts: what the policy says of it may change.
const PREPARED_FRESH: Duration = Duration::from_secs(5);
/// Everything that runs on a node runs for the node's owner.
pub(super) const DOMAIN: &str = "node";

/// Whether somebody waits for an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Somebody does; when he goes away it ends.
    Attached,
    /// Nobody does; it goes on.
    Detached,
}

/// An execution that goes on without whoever asked for it.
#[derive(Clone, Debug)]
pub struct Detached {
    /// How it stood when it was accepted, and is kept on the disk.
    pub record: Record,
}

/// An execution between its admission and its end.
pub(super) struct Going {
    pub(super) catalog: Arc<Catalog>,
    pub(super) host: Arc<dyn Host>,
    pub(super) execute: Execute,
    pub(super) id: ExecutionId,
    pub(super) hold: Cancel,
    pub(super) turn: Turn,
    pub(super) ask: queue::Ask,
    /// When it stops to wait for its turn.
    pub(super) patience: Instant,
    pub(super) package: Package,
    pub(super) limits: Limits,
    pub(super) node: String,
    /// The program, as long as it is sure to run at once, and since when.
    pub(super) prepared: Option<(Prepared, Instant)>,
    pub(super) program: Digest,
    /// When it was asked for.
    pub(super) began: Instant,
    /// Since when it waits now.
    pub(super) waits_since: Instant,
    pub(super) queued_us: u64,
    pub(super) attempts: u32,
    pub(super) ended: bool,
}

/// What one attempt gave that the sandbox survived.
struct Ran {
    outcome: Outcome,
    locked: LockedName,
    leased: Vec<LeasedAsset>,
    record: Receipted,
}

/// The parts of a receipt that belong to one attempt.
struct Receipted {
    input: Digest,
    output: Digest,
    proof: Option<String>,
    started_at: time::OffsetDateTime,
    finished_at: time::OffsetDateTime,
}

/// Why an attempt gave nothing.
enum Missed {
    /// The host has no lease at present.
    Refused(Refusal),
    /// It ran, or should have.
    Failed(Failure),
    /// Anything else; it is over.
    Over(OpError),
}

impl Catalog {
    /// Runs a package. Resources are leased for the run only, whatever becomes of it; dropping the future ends the run.
    ///
    /// # Errors
    /// A package that is not there or cannot run; what the host refuses; a queue that is full or took too long; what the
    /// program itself says.
    pub async fn execute(self: &Arc<Self>, execute: Execute, host: Arc<dyn Host>) -> Result<Executed, OpError> {
        let follow = execute.follow;
        let going = match self.admit(execute.clone(), Arc::clone(&host), Presence::Attached).await {
            Err(OpError::Running(RunError::Elsewhere { node, .. })) if self.has_network() => {
                return match self.execute_on(&node, execute, false, host).await? {
                    RanThere::Done(executed) => Ok(*executed),
                    RanThere::Detached(record) => Err(ExecutionError::Unknown { id: record.id }.into()),
                };
            }
            admitted => admitted?,
        };
        let hold = going.hold.clone();
        let mut running = std::pin::pin!(going.go());
        if !follow {
            return running.await;
        }
        let mut told = Told::default();
        loop {
            tokio::select! {
                executed = &mut running => {
                    told.all = true;
                    told.report(hold.monitor(), &*host);
                    return executed;
                }
                () = tokio::time::sleep(FOLLOW_EVERY) => told.report(hold.monitor(), &*host),
            }
        }
    }

    /// Has a package run while nobody waits for it. When this answers, the execution is on the disk.
    ///
    /// # Errors
    /// As [`Self::execute`], for what comes before the queue; a disk that refuses.
    pub async fn detach(self: &Arc<Self>, execute: Execute, host: Arc<dyn Host>) -> Result<Detached, OpError> {
        let going = match self.admit(execute.clone(), Arc::clone(&host), Presence::Detached).await {
            Err(OpError::Running(RunError::Elsewhere { node, .. })) if self.has_network() => {
                return match self.execute_on(&node, execute, true, host).await? {
                    RanThere::Detached(record) => Ok(Detached { record: *record }),
                    RanThere::Done(executed) => Err(ExecutionError::Unknown { id: executed.id }.into()),
                };
            }
            admitted => admitted?,
        };
        let record = Record::of(&self.executions().get(going.id)?.clone(), going.hold.monitor(), host.now());
        let journal = self.runs.journal(host.now())?;
        journal.durable(journal.note(record.clone())).await.map_err(RunError::from)?;
        let id = going.id;
        self.runs.spawn(async move {
            if let Err(error) = going.go().await {
                tracing::info!("execution {id} gave nothing: {error}");
            }
        });
        Ok(Detached { record })
    }
}

impl Going {
    /// Goes to the end.
    async fn go(mut self) -> Result<Executed, OpError> {
        loop {
            self.comes().await?;
            let others = self.turn.is_one_of_many();
            match self.attempt().await {
                Ok(ran) => {
                    let (catalog, host, keep) = (Arc::clone(&self.catalog), Arc::clone(&self.host), self.execute.keep);
                    let mut executed = self.completed(ran)?;
                    if let Some(keep) = keep {
                        executed.kept = catalog.keep(&executed, keep, &*host).await?;
                    }
                    return Ok(executed);
                }
                Err(Missed::Refused(_)) if self.may_wait(others) => self.turn.is_refused(),
                Err(Missed::Refused(refusal)) => {
                    let refused = OpError::Resources { name: self.package.name.clone(), refusal };
                    self.attempts += 1;
                    match retry::delay(self.package.execution.retry_policy, self.attempts) {
                        Some(delay) if self.execute.wait == Wait::Queue => self.try_again(delay),
                        _ => return Err(self.over(refused)),
                    }
                }
                Err(Missed::Failed(failure)) => {
                    self.attempts += 1;
                    let policy = self.package.execution.retry_policy;
                    let Some(delay) = retry::after(policy, self.attempts, &failure.error) else {
                        return Err(self.failed(failure));
                    };
                    let said = failure.error.to_string();
                    let retried = self.note(|table| table.retrying(self.id, &said), |_| {});
                    retried.map_err(|error| self.over(error))?;
                    self.try_again(delay);
                }
                Err(Missed::Over(error)) => return Err(self.over(error)),
            }
        }
    }

    /// Waits for the turn.
    async fn comes(&mut self) -> Result<(), OpError> {
        let hold = self.hold.clone();
        tokio::select! {
            biased;
            () = hold.cancelled() => Err(self.failed(VmError::Cancelled.into())),
            () = self.turn.comes() => {
                self.queued_us += micros(self.waits_since.elapsed());
                self.waits_since = Instant::now();
                Ok(())
            }
            () = tokio::time::sleep_until(self.patience.into()) => {
                // All of it: a turn that came and got no lease begins to wait anew.
                let limit = Duration::from_millis(micros(self.began.elapsed()) / 1_000);
                let error = OpError::from(RunError::Waited { name: self.package.name.clone(), limit });
                self.give_up(State::TimedOut, Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Tries once, with everything that a run needs.
    async fn attempt(&mut self) -> Result<Ran, Missed> {
        let prepared = self.prepared().await.map_err(Missed::Over)?;
        let proof = self.agreed().await.map_err(Missed::Over)?;
        let label = format!("{}@{}", self.package.name, self.package.version);
        let needs = asset::needs(&self.package);
        let lease = self.host.lease(&label, &needs, self.limits.wall + LEASE_MARGIN).await;
        let lease = match lease {
            Ok(lease) => lease,
            Err(refusal) => {
                // Who does not wait for his lease for long need not read it all again.
                self.prepared = Some(prepared);
                return Err(Missed::Refused(refusal));
            }
        };
        self.turn.has_lease();
        self.run(prepared.0, proof, lease).await
    }

    async fn run(&mut self, prepared: Prepared, proof: Option<String>, lease: Box<dyn Lease>) -> Result<Ran, Missed> {
        let leased = lease.assets();
        let (id, started_at) = (self.id, self.host.now());
        let ids = leased.iter().map(|asset| asset.id.clone()).collect();
        let queued_us = std::mem::take(&mut self.queued_us);
        let starts = self.note(
            |table| {
                table.starting(id, queued_us, proof.clone(), ids)?;
                table.running(id, started_at)
            },
            |_| {},
        );
        starts.map_err(|error| match self.hold.is_cancelled() {
            true => Missed::Failed(VmError::Cancelled.into()),
            false => Missed::Over(error),
        })?;
        let call = Call { function: self.execute.function.clone(), args: self.execute.arguments.clone() };
        let input = execute::input_digest(&call);
        let run = Run {
            program: Arc::clone(&prepared.program),
            context: context(&self.package, &prepared.program, &leased),
            call,
            limits: self.limits,
            domain: TrustDomain(DOMAIN.into()),
        };
        let installed = prepared.directory.is_none() && self.limits.grade < Grade::Full;
        let language = prepared.program.language();
        let executor = self.catalog.executor(&self.package.name, language, installed).map_err(Missed::Over)?;
        let result = executor.execute(&run, &self.hold).await;
        let finished_at = self.host.now();
        drop(lease);
        if result.as_ref().is_err_and(|failure| failure.error.is_beyond_limits()) {
            self.catalog.misbehaved(&self.package, finished_at).await;
        }
        self.prepared = None;
        let outcome = result.map_err(Missed::Failed)?;
        let output = Digest::of(outcome.value.to_json().to_string().as_bytes());
        let record = Receipted { input, output, proof, started_at, finished_at };
        Ok(Ran { outcome, locked: prepared.locked, leased, record })
    }

    /// Gives the program: the one at hand, or put together anew after a wait, and still the same.
    async fn prepared(&mut self) -> Result<(Prepared, Instant), OpError> {
        if let Some(prepared) = self.prepared.take().filter(|(_, since)| since.elapsed() < PREPARED_FRESH) {
            return Ok(prepared);
        }
        let prepared = self.catalog.prepare_off_thread(&self.execute, &self.host).await?;
        if prepared.program.digest() != self.program {
            return Err(RunError::Changed { name: self.package.name.clone() }.into());
        }
        Ok((prepared, Instant::now()))
    }

    /// Asks the validators, if package or policy want it; they have as long as a network operation of the package may take.
    async fn agreed(&self) -> Result<Option<String>, OpError> {
        let ask = Ask {
            kind: OperationKind::Execute,
            digest: self.program,
            required: self.package.security.consensus_required || self.catalog.policy.requires(Check::Consensus),
            minimum: self.package.execution.minimum_consensus,
        };
        let limit = self.package.execution.timeout_config.network;
        let agreed = timeout(limit, self.catalog.agreed(&self.package.name, &ask, &*self.host)).await;
        let agreed = agreed.map_err(|_| RunError::Late {
            name: self.package.name.clone(),
            what: "the validators",
            field: "spec.execution.timeout_config.network",
            limit,
        });
        Ok(agreed??.map(|agreement| agreement.proof()))
    }

    fn may_wait(&self, others: bool) -> bool {
        self.execute.wait == Wait::Queue && (others || self.turn.is_one_of_many())
    }

    fn try_again(&mut self, delay: Duration) {
        let now = Instant::now();
        self.ask.not_before = Some(now + delay);
        self.waits_since = now;
        self.patience = self.patience.max(now + delay + self.limits.wall);
        self.turn.again(&self.ask);
    }

    fn completed(mut self, ran: Ran) -> Result<Executed, OpError> {
        let Ran { outcome, locked, leased, record } = ran;
        let receipt = self.receipt(&outcome, &locked, &record);
        let value = outcome.value.to_json();
        let kept = (value.to_string().len() <= VALUE_BYTES_MAX).then_some(value);
        self.ended = true;
        let (id, finished_at) = (self.id, record.finished_at);
        self.note(
            |table| table.finish(id, Ok(&outcome), finished_at).map(drop),
            |row| (row.value, row.receipt) = (kept, Some(receipt.clone())),
        )?;
        let total_us = micros(self.began.elapsed());
        let sandbox_level = self.package.security.sandbox_level;
        let queued_us = receipt.usage.queued_us;
        let attempts = receipt.attempts;
        let receipt = execute::Receipt {
            program: self.program,
            input: record.input,
            output: record.output,
            proof: record.proof,
            started_at: record.started_at,
            finished_at,
        };
        let node = std::mem::take(&mut self.node);
        Ok(Executed {
            id,
            package: locked,
            node,
            sandbox_level,
            outcome,
            leased,
            receipt,
            total_us,
            queued_us,
            attempts,
            kept: Vec::new(),
        })
    }

    fn receipt(&self, outcome: &Outcome, locked: &LockedName, record: &Receipted) -> trustchain::receipt::Receipt {
        use trustchain::receipt::{Receipt, Sandbox, Usage};
        let known = self.catalog.executions().get(self.id).map(|known| (known.attempts, known.queued_us));
        let (attempts, queued_us) = known.unwrap_or_default();
        let level = serde_json::to_value(self.package.security.sandbox_level).unwrap_or_default();
        Receipt {
            attempts,
            execution: self.id.to_string(),
            finished_at: record.finished_at,
            input: record.input.to_string(),
            node: self.node.clone(),
            output: record.output.to_string(),
            package: locked.name.to_string(),
            package_digest: locked.digest.to_string(),
            program: self.program.to_string(),
            proof: record.proof.clone(),
            sandbox: Sandbox {
                grade: outcome.grade.clone(),
                layers: outcome.layers.clone(),
                level: level.as_str().unwrap_or_default().to_owned(),
            },
            started_at: record.started_at,
            usage: Usage {
                cpu_us: outcome.usage.cpu_us,
                memory_peak_bytes: outcome.usage.memory_peak_bytes,
                queued_us,
                wall_us: outcome.usage.wall_us,
            },
            version: locked.version.clone(),
        }
    }

    /// Ends with a failure of the run, and gives the error for whoever asked.
    fn failed(&mut self, failure: Failure) -> OpError {
        self.ended = true;
        let (id, now) = (self.id, self.host.now());
        // One that was ended while it waited is over already.
        let _ = self.note(|table| table.finish(id, Err(&failure), now).map(drop), |_| {});
        let name = self.package.name.clone();
        OpError::Run { name, directory: execute::directory(&self.execute.target), failure: Box::new(failure) }
    }

    /// Ends with an error that is none of the program, and passes it on.
    fn over(&mut self, error: OpError) -> OpError {
        let state =
            if matches!(error, OpError::Running(RunError::Late { .. })) { State::TimedOut } else { State::Failed };
        self.give_up(state, Some(error.to_string()));
        error
    }

    fn give_up(&mut self, state: State, error: Option<String>) {
        self.ended = true;
        let (id, now) = (self.id, self.host.now());
        let _ = self.note(|table| table.give_up(id, state, error, now).map(drop), |_| {});
    }

    /// Changes the execution in the table, and notes how it stands then.
    pub(super) fn note(
        &self,
        change: impl FnOnce(&mut Executions) -> Result<(), ExecutionError>,
        add: impl FnOnce(&mut Record),
    ) -> Result<u64, OpError> {
        self.catalog.runs.change(self.id, self.hold.monitor(), self.host.now(), change, add)
    }
}

impl Drop for Going {
    /// Ends an execution whose future was dropped: whoever asked went away, or the node stops.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.catalog.runs.is_stopping() {
            self.give_up(State::Failed, Some("the node stopped before it ended; run it again".into()));
        } else {
            self.give_up(State::Terminated, None);
        }
    }
}

/// What a program finds its leases by.
const ASSETS: &str = "assets";

/// Gives what a program finds around itself: its environment, and in `assets` what is leased for it and nothing else.
///
/// Those are others in each run, and a program that finds the same each time can be loaded ahead; so only one whose text has
/// the word gets them.
fn context(package: &Package, program: &Program, leased: &[LeasedAsset]) -> Context {
    let mut globals = BTreeMap::new();
    if program.language() != Language::Wasm && program.has_word(ASSETS) {
        let shown = leased.iter().map(|asset| {
            let amount = i64::try_from(asset.amount).unwrap_or(i64::MAX);
            let fields = [
                ("id", Value::Str(asset.id.clone())),
                ("kind", Value::Str(asset.kind.clone())),
                ("amount", Value::Int(amount)),
            ];
            Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
        });
        globals.insert(ASSETS.to_owned(), Value::List(shown.collect()));
    }
    Context { globals, environment: package.environment.clone(), ..Context::default() }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
