//! `records/1` over streams: sessions that this node leads, sessions that it serves, and the task that runs the schedule.
//!
//! What blocks runs on the threads for that, one call of a session at a time; the number of sessions is bounded on both sides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::PeerId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};
use tokio::time::{sleep_until, timeout};

use super::announcement;
use super::frame::FrameError;
use super::item::{Mode, RecordId};
use super::limits::{FRAME_BYTES_MAX, FRAME_TIMEOUT, SERVED_MAX, SERVED_PER_PEER_MAX, SESSION_TIMEOUT};
use super::schedule::{Action, Ending, Schedule};
use super::{Follower, Leader, Outcome, RecordSet, SessionError, Side};
use crate::frame;
use crate::identity::Pending;
use crate::service::{BUSY, Caller, FAILED, OpenError, Peers, REFUSED, Service, ServiceError, Stream};

/// The name of the service.
pub const NAME: &str = "records/1";

/// The records of this node, for its peers and from them.
pub struct Records {
    set: Arc<dyn RecordSet>,
    peers: Arc<dyn Peers>,
    schedule: Mutex<Schedule>,
    seats: Seats,
}

/// What the task of the schedule is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A peer can be reached.
    Connected(PeerId),
    /// A peer cannot be reached any more.
    Disconnected(PeerId),
    /// An announcement came from a peer.
    Announcement {
        /// From whom.
        from: PeerId,
        /// As it came.
        message: Bytes,
    },
    /// This node added records of its own; they are announced.
    Added(Vec<RecordId>),
}

/// There was no session, or it did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynchroniseError {
    /// There was none.
    #[error("no session with peer `{peer}`")]
    Open {
        /// The peer.
        peer: PeerId,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// It did not go on.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Records {
    /// Shares a set with peers.
    pub fn new(own: PeerId, set: Arc<dyn RecordSet>, peers: Arc<dyn Peers>) -> Arc<Self> {
        let schedule = Mutex::new(Schedule::new(Instant::now(), own));
        Arc::new(Self { set, peers, schedule, seats: Seats::default() })
    }

    /// Brings the set into line with that of a peer.
    ///
    /// # Errors
    /// The peer cannot be reached or breaks the rules, or the set cannot be used. What was accepted before stays.
    pub async fn synchronise(&self, peer: PeerId, mode: &Mode) -> Result<Outcome, SynchroniseError> {
        let (set, mode) = (Arc::clone(&self.set), mode.clone());
        let salt = salt()?;
        self.lead(peer, move || Leader::synchronise(set, peer, salt, &mode)).await
    }

    /// Fetches records from a peer that may have them.
    ///
    /// # Errors
    /// As for [`Records::synchronise`].
    pub async fn fetch(&self, peer: PeerId, ids: Vec<RecordId>) -> Result<Outcome, SynchroniseError> {
        let ids = self.lacking(ids).await;
        if ids.is_empty() {
            return Ok(Outcome { is_complete: true, ..Outcome::default() });
        }
        let set = Arc::clone(&self.set);
        self.lead(peer, move || Leader::fetch(set, peer, ids)).await
    }

    /// Runs the schedule until the events end: synchronises, fetches what is announced, and gives announcements to be spread.
    /// To be run once; dropping the future ends every session that it leads.
    pub async fn run(self: Arc<Self>, mode: Mode, mut events: mpsc::Receiver<Event>, announce: mpsc::Sender<Bytes>) {
        let mut sessions = JoinSet::new();
        loop {
            while let Some(action) = self.schedule().next_action(Instant::now()) {
                sessions.spawn(Arc::clone(&self).act(action, mode.clone()));
            }
            let wake = self.schedule().wake_at(Instant::now()).max(Instant::now() + WAKE_MIN);
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.handle(event, &announce).await,
                    None => return,
                },
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a session of records panicked");
                    }
                }
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    async fn handle(&self, event: Event, announce: &mpsc::Sender<Bytes>) {
        let now = Instant::now();
        match event {
            Event::Connected(peer) => self.schedule().connected(now, peer),
            Event::Disconnected(peer) => self.schedule().disconnected(now, peer),
            Event::Announcement { from, message } => match announcement::decode(&message) {
                Ok(ids) => {
                    let lacking = self.lacking(ids).await;
                    self.schedule().announced(now, from, &lacking);
                }
                Err(error) => {
                    tracing::debug!(peer = %from, %error, "an announcement is refused");
                    self.schedule().served(now, from, Ending::Misbehaved);
                }
            },
            Event::Added(ids) => {
                self.schedule().arrived(&ids);
                for message in announcement::encode(&ids) {
                    if announce.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn act(self: Arc<Self>, action: Action, mode: Mode) {
        let ended = match &action {
            Action::Synchronise { peer } => self.synchronise(*peer, &mode).await,
            Action::Fetch { peer, ids } => self.fetch(*peer, ids.clone()).await,
        };
        if let Err(error) = &ended {
            tracing::debug!(%error, ?action, "records were not synchronised");
        }
        let lacking = match &action {
            Action::Synchronise { .. } => Vec::new(),
            Action::Fetch { ids, .. } => self.lacking(ids.clone()).await,
        };
        self.schedule().ended(Instant::now(), &action, ending(&ended), &lacking);
    }

    async fn lead(
        &self,
        peer: PeerId,
        begin: impl FnOnce() -> Result<Leader, SessionError> + Send + 'static,
    ) -> Result<Outcome, SynchroniseError> {
        let leader = blocking(begin).await??;
        let opened = self.peers.open(peer, NAME, leader.opening()).await;
        let mut stream = opened.map_err(|source| SynchroniseError::Open { peer, source })?;
        match converse(leader, peer, &mut stream.send, &mut stream.receive).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                stream.reset(code(&error));
                Err(error.into())
            }
        }
    }

    async fn follow(&self, peer: PeerId, opening: Bytes, stream: &mut Stream) -> Result<Outcome, SessionError> {
        let (set, salt) = (Arc::clone(&self.set), salt()?);
        let follower = blocking(move || Follower::new(set, peer, salt, &opening)).await??;
        converse(follower, peer, &mut stream.send, &mut stream.receive).await
    }

    /// Those of the ids that the set lacks; all, if it cannot say.
    async fn lacking(&self, ids: Vec<RecordId>) -> Vec<RecordId> {
        let set = Arc::clone(&self.set);
        let lacking = move || set.lacking(&ids).unwrap_or(ids);
        blocking(lacking).await.unwrap_or_default()
    }

    fn schedule(&self) -> std::sync::MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(peer: PeerId, reason: impl Into<String>) -> ServiceError {
        ServiceError::Refused { peer, service: NAME, reason: reason.into() }
    }
}

/// Serves sessions of a peer.
#[derive(Clone)]
pub struct RecordsService(pub Arc<Records>);

impl Service for RecordsService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn serve(&self, caller: Caller, request: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        let records = Arc::clone(&self.0);
        Box::pin(async move {
            let peer = caller.peer;
            if records.schedule().is_banned(Instant::now(), peer) {
                stream.reset(REFUSED);
                return Err(Records::refuse(peer, "it broke the rules too often"));
            }
            let _seat = match records.seats.take(peer) {
                Ok(seat) => seat,
                Err(full) => {
                    stream.reset(BUSY);
                    return Err(Records::refuse(peer, full));
                }
            };
            let served = records.follow(peer, request, &mut stream).await.map_err(SynchroniseError::Session);
            records.schedule().served(Instant::now(), peer, ending(&served));
            let Err(SynchroniseError::Session(error)) = served else { return Ok(()) };
            stream.reset(code(&error));
            match error {
                SessionError::Set(source) => Err(ServiceError::Environment { service: NAME, source }),
                error => Err(ServiceError::Ended { peer, service: NAME, source: Box::new(error) }),
            }
        })
    }
}

/// The sessions that are served, by peer: nobody takes the place of the others.
#[derive(Default)]
struct Seats(Mutex<HashMap<PeerId, usize>>);

/// The right to one session; given back when it is dropped.
struct Seat<'a> {
    seats: &'a Seats,
    peer: PeerId,
}

impl Seats {
    fn take(&self, peer: PeerId) -> Result<Seat<'_>, String> {
        let mut taken = self.lock();
        if taken.values().sum::<usize>() >= SERVED_MAX {
            return Err(format!("{SERVED_MAX} sessions are served already"));
        }
        let of_peer = taken.entry(peer).or_default();
        if *of_peer >= SERVED_PER_PEER_MAX {
            return Err(format!("it leads {SERVED_PER_PEER_MAX} sessions already"));
        }
        *of_peer += 1;
        Ok(Seat { seats: self, peer })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PeerId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if let Some(of_peer) = taken.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

/// Runs one side of a session over a stream to its end.
///
/// # Errors
/// The peer leaves, is silent or breaks the rules, or the set cannot be used.
pub async fn converse<S: Side>(
    side: S,
    peer: PeerId,
    send: &mut (impl AsyncWrite + Unpin),
    receive: &mut (impl AsyncRead + Unpin),
) -> Result<Outcome, SessionError> {
    let session = async {
        let side = take_turns(side, peer, send, receive).await?;
        in_time(peer, "to take the end", send.shutdown()).await?;
        // The peer closes its side when it has dealt with all; whether it does is its own affair.
        let _ = timeout(FRAME_TIMEOUT, receive.read(&mut [0])).await;
        Ok(side.outcome())
    };
    timeout(SESSION_TIMEOUT, session).await.unwrap_or_else(|_| Err(left(peer, "it takes too long")))
}

async fn take_turns<S: Side>(
    mut side: S,
    peer: PeerId,
    send: &mut (impl AsyncWrite + Unpin),
    receive: &mut (impl AsyncRead + Unpin),
) -> Result<S, SessionError> {
    loop {
        let frame;
        (side, frame) = blocking(move || {
            let frame = side.next_frame();
            (side, frame)
        })
        .await?;
        if let Some(frame) = frame? {
            in_time(peer, "to take a frame", send.write_all(&frame)).await?;
            continue;
        }
        if side.is_finished() {
            return Ok(side);
        }
        let body = read_frame(peer, receive).await?;
        let received;
        (side, received) = blocking(move || {
            let received = side.receive(&body);
            (side, received)
        })
        .await?;
        received?;
    }
}

async fn read_frame(peer: PeerId, receive: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, SessionError> {
    let read = timeout(FRAME_TIMEOUT, frame::read(receive, FRAME_BYTES_MAX)).await;
    match read.map_err(|_| left(peer, format!("{FRAME_TIMEOUT:?} were not enough to send a frame")))? {
        Ok(body) => Ok(body),
        Err(frame::FrameError::TooLarge { limit, actual: found }) => {
            Err(SessionError::Frame { peer, source: FrameError::TooMuch { what: "bytes", found, limit } })
        }
        Err(error) => Err(left(peer, error.to_string())),
    }
}

async fn in_time<T>(
    peer: PeerId,
    what: &str,
    done: impl Future<Output = std::io::Result<T>>,
) -> Result<T, SessionError> {
    match timeout(FRAME_TIMEOUT, done).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(left(peer, error.to_string())),
        Err(_) => Err(left(peer, format!("{FRAME_TIMEOUT:?} were not enough {what}"))),
    }
}

/// Runs what may block on a thread for it. Sessions are bounded, and each has one such call at a time.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, SessionError> {
    task::spawn_blocking(call).await.map_err(|error| SessionError::Set(error.into()))
}

fn salt() -> Result<[u8; 32], SessionError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| SessionError::Set(error.into()))?;
    Ok(salt)
}

fn left(peer: PeerId, reason: impl Into<String>) -> SessionError {
    SessionError::Left { peer, reason: reason.into() }
}

fn code(error: &SessionError) -> u32 {
    if error.is_misbehaviour() { REFUSED } else { FAILED }
}

fn ending(ended: &Result<Outcome, SynchroniseError>) -> Ending {
    match ended {
        Ok(outcome) => Ending::Finished(*outcome),
        Err(SynchroniseError::Session(error)) if error.is_misbehaviour() => Ending::Misbehaved,
        Err(_) => Ending::Failed,
    }
}

/// How long the task of the schedule waits at least, so that a schedule with nothing to do never spins.
const WAKE_MIN: Duration = Duration::from_millis(50);
