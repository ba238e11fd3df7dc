//! A download from many peers at once.
//!
//! [`fetch`] gives a future and a handle. The future owns everything: dropping it cancels the download and keeps what is
//! verified in the part file. The handle adds sources that are found later, pauses, and shows progress.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::part::{self, Complete, PartError, PartFile};
use super::pool::{Buffer, Pool};
use super::request::{Job, Said, Trouble};
use super::schedule::{Action, Event, Fault, Limits, RequestId, Scheduler};
use super::tree::{Pair, group_count};
use super::wire::Part;
use crate::service::Peers;

mod progress;

use progress::Meter;
pub use progress::{Progress, State};

/// How many sources may wait to be taken.
const SOURCES_WAITING_MAX: usize = 64;
/// How much may be said by requests and not yet heard.
const SAID_MAX: usize = 256;

/// How a blob is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// Bounds and times.
    pub limits: Limits,
    /// How long the download waits for another source when it has none, while its [`Handle`] lives.
    pub sources_wait: Duration,
}

/// A blob was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is nobody to ask (any more).
    #[error("no source of blob `{digest}` is left; {} were tried: {}", tried.len(), reasons(tried))]
    NoSource {
        /// The blob.
        digest: trustchain::digest::Blake3,
        /// Who was asked, and why that is over.
        tried: Vec<(PeerId, Fault)>,
    },
    /// The blob is proved to be larger than wanted.
    #[error("blob `{digest}` has `{size}` bytes, more than `{size_max}`")]
    TooLarge {
        /// The blob.
        digest: trustchain::digest::Blake3,
        /// Its size.
        size: u64,
        /// What is wanted.
        size_max: u64,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Part(#[from] PartError),
    /// A task of the download broke.
    #[error("the download of blob `{digest}` broke off")]
    Broken {
        /// The blob.
        digest: trustchain::digest::Blake3,
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

fn reasons(tried: &[(PeerId, Fault)]) -> String {
    tried.iter().take(3).map(|(peer, fault)| format!("`{peer}` {fault}")).collect::<Vec<_>>().join(", ")
}

/// A blob that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The file.
    pub complete: Complete,
    /// Who sent what is not of the blob: nobody should ask them again.
    pub liars: Vec<PeerId>,
    /// How many bytes of the blob came, those that came twice counted twice.
    pub received_bytes: u64,
}

/// Adds sources to a download, pauses it, shows how far it is.
#[derive(Debug)]
pub struct Handle {
    sources: mpsc::Sender<PeerId>,
    paused: watch::Sender<bool>,
    progress: watch::Receiver<Progress>,
}

impl Handle {
    /// Tells of a peer that may have the blob; says whether it was taken: not when many wait, or the download is over.
    pub fn add_source(&self, peer: PeerId) -> bool {
        self.sources.try_send(peer).is_ok()
    }

    /// Says how many peers the download has not looked at yet.
    #[cfg(test)]
    pub(super) fn waiting_sources(&self) -> usize {
        self.sources.max_capacity() - self.sources.capacity()
    }

    /// Gives up all requests and asks for nothing until [`Handle::resume`].
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Shows how far the download is; the last value stays when it is over.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

/// Begins to fetch the blob of a part file. The future is to be polled on a Tokio runtime.
pub fn fetch(
    peers: Arc<dyn Peers>,
    part: PartFile,
    sources: Vec<PeerId>,
    options: FetchOptions,
) -> (impl Future<Output = Result<Fetched, FetchError>> + Send + 'static, Handle) {
    let (found, waiting) = mpsc::channel(SOURCES_WAITING_MAX);
    let (pause, paused) = watch::channel(false);
    let (meter, progress) = Meter::new(&part);
    let download = async move {
        let mut driver = Driver::new(peers, part, options, meter);
        let outcome = driver.run(sources, waiting, paused).await;
        driver.meter.end(if outcome.is_ok() { State::Completed } else { State::Failed });
        outcome
    };
    (download, Handle { sources: found, paused: pause, progress })
}

struct Driver {
    peers: Arc<dyn Peers>,
    /// Away only while a blocking task has it.
    part: Option<PartFile>,
    options: FetchOptions,
    scheduler: Scheduler,
    /// Ended with this value.
    jobs: JoinSet<()>,
    running: HashMap<RequestId, AbortHandle>,
    pool: Pool,
    said: mpsc::Sender<Said>,
    heard: mpsc::Receiver<Said>,
    meter: Meter,
    too_large: Option<u64>,
    received_bytes: u64,
}

impl Driver {
    fn new(peers: Arc<dyn Peers>, part: PartFile, options: FetchOptions, meter: Meter) -> Self {
        let scheduler = match part.done() {
            None => Scheduler::new(options.limits),
            Some(done) => Scheduler::resume(options.limits, done.clone()),
        };
        let (said, heard) = mpsc::channel(SAID_MAX);
        let (jobs, running, pool) = (JoinSet::new(), HashMap::new(), Pool::default());
        let (part, too_large, received_bytes) = (Some(part), None, 0);
        Self { peers, part, options, scheduler, jobs, running, pool, said, heard, meter, too_large, received_bytes }
    }

    async fn run(
        &mut self,
        sources: Vec<PeerId>,
        mut waiting: mpsc::Receiver<PeerId>,
        mut paused: watch::Receiver<bool>,
    ) -> Result<Fetched, FetchError> {
        let size = self.part().size();
        self.too_large = size.filter(|size| *size > self.options.limits.size_bytes_max);
        for peer in sources {
            self.tell(Event::Source(peer));
        }
        let (mut more, mut steered, mut stranded_since) = (true, true, None);
        loop {
            if let Some(size) = self.too_large {
                let size_max = self.options.limits.size_bytes_max;
                return Err(FetchError::TooLarge { digest: *self.part().digest(), size, size_max });
            }
            if self.scheduler.is_complete() {
                return self.complete().await;
            }
            let stranded = self.scheduler.is_stranded();
            let since = stranded.then(|| stranded_since.unwrap_or_else(now));
            stranded_since = since;
            let gives_up = since.map(|since| since + self.options.sources_wait);
            if stranded && (!more || gives_up.is_some_and(|time| now() >= time)) {
                return Err(self.no_source());
            }
            let wakes = self.scheduler.wakes(now()).into_iter().chain(gives_up).min();
            let sleep = tokio::time::sleep_until(wakes.unwrap_or_else(|| now() + Duration::from_secs(1)).into());
            tokio::select! {
                Some(said) = self.heard.recv() => self.hear(said).await?,
                source = waiting.recv(), if more => match source {
                    Some(peer) => self.tell(Event::Source(peer)),
                    None => more = false,
                },
                changed = paused.changed(), if steered => {
                    steered = changed.is_ok();
                    let pause = *paused.borrow_and_update();
                    self.steer(pause).await?;
                }
                Some(joined) = self.jobs.join_next() => {
                    if let Some(source) = joined.err().filter(|error| error.is_panic()) {
                        return Err(FetchError::Broken { digest: *self.part().digest(), source });
                    }
                }
                () = sleep => {
                    let actions = self.scheduler.due(now());
                    self.act(actions);
                }
            }
            let verified = self.part().verified_bytes();
            self.meter.tick(now(), verified, self.scheduler.source_count());
        }
    }

    async fn hear(&mut self, said: Said) -> Result<(), FetchError> {
        match said {
            Said::Received { id, bytes } => {
                self.received_bytes += bytes;
                self.tell(Event::Received { id, bytes });
            }
            Said::Proved { id, size, bytes, pairs } => {
                if self.part().size().is_none() && size <= self.options.limits.size_bytes_max {
                    self.prove(size, bytes, pairs).await?;
                }
                self.tell(Event::Proved { id, size });
            }
            Said::Verified { id, group, pairs } => {
                if self.part_mut().mark(group, &pairs) {
                    self.off_thread(PartFile::save).await?;
                }
                self.tell(Event::Verified { id, group });
            }
            Said::Ended { id, trouble } => {
                self.running.remove(&id);
                let fault = match trouble {
                    None => None,
                    Some(Trouble::Source(fault)) => Some(fault),
                    Some(Trouble::Disk(source)) => return Err(self.part().fail("written", source).into()),
                };
                self.tell(Event::Ended { id, fault });
            }
        }
        Ok(())
    }

    /// Makes room for the blob, and keeps the last group, which came with the proof.
    async fn prove(&mut self, size: u64, bytes: Buffer, pairs: Vec<Pair>) -> Result<(), FetchError> {
        self.meter.proved(size);
        self.off_thread(move |part| {
            part.prove(size)?;
            let last = group_count(size) - 1;
            part::write(part.data(), last, &bytes).map_err(|source| part.fail("written", source))?;
            part.mark(last, &pairs);
            Ok(())
        })
        .await
    }

    async fn steer(&mut self, pause: bool) -> Result<(), FetchError> {
        let actions = if pause { self.scheduler.pause() } else { self.scheduler.go_on(now()) };
        self.meter.state(if pause { State::Paused } else { State::Active });
        self.act(actions);
        if pause { self.off_thread(PartFile::save).await } else { Ok(()) }
    }

    async fn complete(&mut self) -> Result<Fetched, FetchError> {
        self.jobs.abort_all();
        let part = self.part.take().expect("a blocking task gives the part back");
        let complete = tokio::task::spawn_blocking(|| part.complete());
        let digest = *self.meter.digest();
        let complete = complete.await.map_err(|source| FetchError::Broken { digest, source })??;
        let dropped = self.scheduler.dropped().iter();
        let liars = dropped.filter(|(_, why)| matches!(why, Fault::Lied(_))).map(|(peer, _)| *peer).collect();
        Ok(Fetched { complete, liars, received_bytes: self.received_bytes })
    }

    fn no_source(&self) -> FetchError {
        let tried = self.scheduler.dropped().iter().map(|(peer, why)| (*peer, why.clone())).collect();
        FetchError::NoSource { digest: *self.part().digest(), tried }
    }

    fn tell(&mut self, event: Event) {
        let actions = self.scheduler.handle(now(), event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Ask { id, peer, part } => self.ask(id, peer, part),
                Action::Cancel(id) => {
                    if let Some(job) = self.running.remove(&id) {
                        job.abort();
                    }
                }
                Action::Dropped { peer, why } => {
                    tracing::debug!(%peer, %why, "a source is dropped");
                    if matches!(why, Fault::Lied(_)) {
                        self.meter.lied(peer);
                    }
                }
                Action::TooLarge { size } => self.too_large = Some(size),
            }
        }
    }

    fn ask(&mut self, id: RequestId, peer: PeerId, part: Part) {
        let file = self.part();
        let (digest, size, data) = (*file.digest(), file.size(), Arc::clone(file.data()));
        let (peers, pool, said) = (Arc::clone(&self.peers), self.pool.clone(), self.said.clone());
        let job = Job { id, peer, peers, digest, part, size, data, pool, said };
        self.running.insert(id, self.jobs.spawn(job.run()));
    }

    fn part(&self) -> &PartFile {
        self.part.as_ref().expect("a blocking task gives the part back")
    }

    fn part_mut(&mut self) -> &mut PartFile {
        self.part.as_mut().expect("a blocking task gives the part back")
    }

    /// Lets a blocking task have the part; one at a time.
    async fn off_thread(
        &mut self,
        work: impl FnOnce(&mut PartFile) -> Result<(), PartError> + Send + 'static,
    ) -> Result<(), FetchError> {
        let mut part = self.part.take().expect("a blocking task gives the part back");
        let task = tokio::task::spawn_blocking(move || {
            let worked = work(&mut part);
            (part, worked)
        });
        let digest = *self.meter.digest();
        let (part, worked) = task.await.map_err(|source| FetchError::Broken { digest, source })?;
        self.part = Some(part);
        Ok(worked?)
    }
}

/// The time of the runtime, which tests may hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
