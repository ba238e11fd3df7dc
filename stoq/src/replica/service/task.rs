//! The task that watches copies: it reports what changed, asks for copies, fetches what was agreed to, and drops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use trustchain::digest::Blake3;

use super::super::plan::{Action, COPY_RATE_BYTES, COPY_TIMEOUT, NotCopied, REPORT_INTERVAL};
use super::super::report::{Heard, MEMBERS_MAX};
use super::reporter::{Reporter, Reports};
use super::{Agreed, KeeperError, Replication};

/// Watches copies while it runs.
pub struct ReplicationTask {
    replication: Arc<Replication>,
    agreed: mpsc::Receiver<Agreed>,
    /// Whom this node reports to.
    connected: BTreeMap<PeerId, Listener>,
    /// The number of the last report.
    sequence: u64,
    /// What runs; it ends with the task.
    running: JoinSet<Done>,
    reported: Option<Instant>,
    has_changed: bool,
    last_plan: Option<Planned>,
}

/// When actions were planned last.
#[derive(Clone, Copy, Debug)]
struct Planned {
    at: Instant,
    took: Duration,
    revision: u64,
}

/// A peer that is reported to.
#[derive(Clone, Copy, Debug, Default)]
struct Listener {
    /// The last report it knows.
    known: u64,
    /// Whether it is being told one; the next one waits.
    is_told: bool,
}

/// What the task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer can be reached.
    Connected(PeerId),
    /// A peer cannot be reached any more.
    Disconnected(PeerId),
    /// This node holds something new, or something not any more.
    Changed,
}

/// What ended.
#[derive(Clone, Copy, Debug)]
enum Done {
    Told { peer: PeerId, sequence: u64, is_known: bool },
    Kept { digest: Blake3 },
    Asked { digest: Blake3, to: PeerId, refused: Option<NotCopied> },
}

impl ReplicationTask {
    pub(super) fn new(replication: Arc<Replication>, agreed: mpsc::Receiver<Agreed>) -> Self {
        Self {
            replication,
            agreed,
            connected: BTreeMap::new(),
            sequence: 0,
            running: JoinSet::new(),
            reported: None,
            has_changed: true,
            last_plan: None,
        }
    }

    /// Runs until the events end. Dropping the future ends what it does, copies on their way among it.
    ///
    /// # Errors
    /// The system has no randomness, or a part of the watch panicked.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), KeeperError> {
        let mut reporter = Reporter::new(getrandom::u64()?);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle(event).await?,
                    None => return Ok(()),
                },
                Some(agreed) = self.agreed.recv() => self.keep(agreed),
                Some(ended) = self.running.join_next() => match ended {
                    Ok(done) => self.done(done).await?,
                    Err(error) => tracing::error!(%error, "a part of the watch over copies panicked"),
                },
                _ = ticks.tick() => {
                    if let Err(error) = self.look(&mut reporter).await {
                        tracing::warn!(%error, "what this node holds cannot be read, or a copy cannot be dropped");
                    }
                }
            }
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), JoinError> {
        match event {
            Event::Connected(peer) if self.connected.len() < MEMBERS_MAX => {
                self.connected.entry(peer).or_default();
                self.has_changed = true;
                self.replication.plan(move |replicas| replicas.returned(peer)).await?;
            }
            Event::Connected(_) => {}
            Event::Disconnected(peer) => {
                self.connected.remove(&peer);
                self.replication.plan(move |replicas| replicas.left(Instant::now(), peer)).await?;
            }
            Event::Changed => self.has_changed = true,
        }
        Ok(())
    }

    async fn done(&mut self, done: Done) -> Result<(), JoinError> {
        match done {
            Done::Told { peer, sequence, is_known } => {
                let Some(listener) = self.connected.get_mut(&peer) else { return Ok(()) };
                *listener = Listener { known: if is_known { sequence } else { 0 }, is_told: false };
                self.has_changed |= is_known && sequence < self.sequence;
            }
            Done::Kept { digest } => {
                self.has_changed = true;
                self.replication.plan(move |replicas| replicas.keep_ended(digest)).await?;
            }
            Done::Asked { digest, to, refused: Some(why) } => {
                self.replication.plan(move |replicas| replicas.copy_refused(Instant::now(), digest, to, why)).await?;
            }
            Done::Asked { refused: None, .. } => {}
        }
        Ok(())
    }

    /// Reports if something changed or it is time, and does what is to be done.
    async fn look(&mut self, reporter: &mut Reporter) -> Result<(), KeeperError> {
        let is_due = self.reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL);
        if self.has_changed || is_due {
            let keeper = Arc::clone(&self.replication.keeper);
            let (capacity, mut holdings) = spawn_blocking(move || keeper.holdings()).await??;
            let own = self.replication.own;
            holdings.extend(self.replication.plan(|replicas| replicas.keeping().collect::<Vec<_>>()).await?);
            let reports = reporter.next(capacity, holdings);
            let all = Arc::clone(&reports.all);
            self.replication.plan(move |replicas| replicas.report(Instant::now(), own, (*all).clone())).await??;
            (self.has_changed, self.reported) = (false, Some(Instant::now()));
            self.tell(&reports);
        }
        for action in self.plan().await? {
            self.act(action).await?;
        }
        Ok(())
    }

    /// Plans when something was heard or it is time, and never for more than a twentieth of the time.
    async fn plan(&mut self) -> Result<Vec<Action>, KeeperError> {
        let (now, revision) = (Instant::now(), self.replication.plan(|replicas| replicas.revision()).await?);
        let is_due = self.last_plan.is_none_or(|last| {
            let since = now - last.at;
            since >= last.took * PLAN_SHARE && (since >= PLAN_INTERVAL || last.revision != revision)
        });
        if !is_due {
            return Ok(Vec::new());
        }
        let actions = self.replication.plan(move |replicas| replicas.next_actions(now)).await?;
        self.last_plan = Some(Planned { at: now, took: now.elapsed(), revision });
        Ok(actions)
    }

    fn tell(&mut self, reports: &Reports) {
        self.sequence = reports.sequence;
        for (peer, listener) in self.connected.iter_mut().filter(|(_, listener)| !listener.is_told) {
            listener.is_told = true;
            let (peer, sequence) = (*peer, reports.sequence);
            let (replication, all) = (Arc::clone(&self.replication), Arc::clone(&reports.all));
            let first = if listener.known + 1 == sequence { &reports.since } else { &reports.all };
            let first = Arc::clone(first);
            self.running.spawn(async move {
                let mut told = replication.tell(peer, &first).await;
                if matches!(told, Ok(Heard::SayAll)) {
                    told = replication.tell(peer, &all).await;
                }
                if let Err(error) = &told {
                    tracing::debug!(%error, "a report was not heard");
                }
                Done::Told { peer, sequence, is_known: matches!(told, Ok(Heard::Known)) }
            });
        }
    }

    fn keep(&mut self, agreed: Agreed) {
        let Agreed { digest, size_bytes, from } = agreed;
        let replication = Arc::clone(&self.replication);
        self.has_changed = true;
        self.running.spawn(async move {
            let limit = COPY_TIMEOUT + Duration::from_secs(size_bytes / COPY_RATE_BYTES);
            match timeout(limit, replication.keeper.keep(digest, size_bytes, from)).await {
                Ok(Ok(())) => tracing::debug!(%digest, "a copy is kept"),
                Ok(Err(error)) => tracing::warn!(%digest, %from, %error, "a copy could not be made"),
                Err(_) => tracing::warn!(%digest, %from, "a copy took more than {limit:?}"),
            }
            Done::Kept { digest }
        });
    }

    async fn act(&mut self, action: Action) -> Result<(), KeeperError> {
        match action {
            Action::Drop { digest, .. } => {
                self.has_changed = true;
                let keeper = Arc::clone(&self.replication.keeper);
                spawn_blocking(move || keeper.drop_copy(digest)).await?
            }
            Action::Copy { digest, size_bytes, to, .. } => {
                let replication = Arc::clone(&self.replication);
                self.running.spawn(async move {
                    let refused = match replication.ask_to_keep(to, digest, size_bytes).await {
                        Ok(answer) => answer.err().map(NotCopied::Refused),
                        Err(error) => {
                            tracing::debug!(%error, "a copy was not asked for");
                            Some(NotCopied::Unreachable)
                        }
                    };
                    Done::Asked { digest, to, refused }
                });
                Ok(())
            }
        }
    }
}

/// How often the task looks whether anything changed, and how often it reports at most.
const TICK: Duration = Duration::from_millis(500);
/// How often it plans although nothing was heard: silence is news, too.
const PLAN_INTERVAL: Duration = Duration::from_secs(5);
/// One part of so many is the time that planning may take.
const PLAN_SHARE: u32 = 20;
