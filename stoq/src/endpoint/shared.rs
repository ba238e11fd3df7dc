//! What the tasks of a port have in common: the port itself, its live connections and their number.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ServerConfig, TransportConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::tasks::Tasks;
use super::{BUSY, BindError, CLOSED, Connection, EndpointOptions, WITHDRAWN, congestion, settings};
use crate::PeerId;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::metrics::{Exchanged, Metrics, Snapshot};
use crate::tls::{self, Clock, Lane, Peer, Refusal, Verifier};

/// How long a port that closes waits until its peers have heard of it. Three times as long as an answer takes is what QUIC asks for
/// (RFC 9000, 10.2), which is minutes on a node that stood still, where answers have waited meanwhile.
pub(super) const CLOSES_WITHIN: Duration = Duration::from_secs(3);

/// How many names of peers are remembered before those that are not here are forgotten.
const NAMES_MAX: usize = 1024;

/// What all tasks of a port share.
pub(crate) struct Shared {
    quic: Mutex<Option<quinn::Endpoint>>,
    identity: Arc<dyn Identity>,
    clock: Clock,
    limits: Limits,
    peer_id: PeerId,
    local_address: SocketAddr,
    transport: Arc<TransportConfig>,
    server: ServerConfig,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    slots: [Arc<Semaphore>; 2],
    round: AtomicU64,
    live: Mutex<HashMap<usize, Live>>,
    /// What peers were called when they were here last.
    names: Mutex<HashMap<PeerId, String>>,
}

/// A connection that somebody has.
#[derive(Clone)]
struct Live {
    quic: quinn::Connection,
    peer: Arc<Peer>,
    lane: Lane,
}

/// A connection whose handshake and hello are done.
pub(super) struct Made {
    pub(super) quic: quinn::Connection,
    pub(super) peer: Peer,
    pub(super) lane: Lane,
    /// [`Shared::round`] from before the peer was judged.
    pub(super) round: u64,
}

/// Room for one connection.
pub(super) type Slot = OwnedSemaphorePermit;

/// A connection that is made and not given to anybody.
#[derive(Debug)]
pub(super) enum Unfit {
    /// There is no room for another one.
    TooMany { limit: usize },
    /// The peer was judged again while it shook hands, and no longer holds.
    Withdrawn(Refusal),
}

impl Shared {
    pub(super) fn bind(options: EndpointOptions) -> Result<Arc<Self>, BindError> {
        let EndpointOptions { identity, listen, limits, clock } = options;
        limits.validate()?;
        let peer_id = tls::own_id(&*identity).ok_or(BindError::NoCertificate)?;
        let failed = |source| BindError::Listen { address: listen, source };
        let socket = settings::socket(listen).map_err(failed)?;
        let transport = settings::transport(&limits);
        let verifier = Verifier::new(&identity, &clock, None);
        let mut server = ServerConfig::with_crypto(server_crypto(&verifier).map_err(BindError::Tls)?);
        server
            .transport_config(Arc::clone(&transport))
            .migration(false)
            .max_incoming(settings::STRANGERS_MAX)
            .incoming_buffer_size(settings::STRANGER_BYTES_MAX)
            .incoming_buffer_size_total(settings::STRANGER_BYTES_MAX * settings::STRANGERS_MAX as u64);
        let tasks = Tasks::new();
        let runtime = Arc::new(tasks.clone());
        let config = settings::endpoint(&limits);
        let quic = quinn::Endpoint::new(config, Some(server.clone()), socket, runtime).map_err(failed)?;
        let local_address = quic.local_addr().map_err(failed)?;
        let slots = [(); 2].map(|()| Arc::new(Semaphore::new(limits.connections_max)));
        let metrics = Metrics::new(limits.peers_counted_max);
        let (quic, live) = (Mutex::new(Some(quic)), Mutex::default());
        let shared = Self {
            quic,
            identity,
            clock,
            limits,
            peer_id,
            local_address,
            transport,
            server,
            tasks,
            metrics,
            slots,
            round: AtomicU64::new(0),
            live,
            names: Mutex::default(),
        };
        Ok(Arc::new(shared))
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let open: Vec<Exchanged> = self.live().values().map(Live::exchanged).collect();
        self.metrics.snapshot(&open)
    }

    pub(super) fn live_count(&self) -> usize {
        self.live().len()
    }

    pub(super) fn identity(&self) -> &Arc<dyn Identity> {
        &self.identity
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    pub(super) fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Gives the port, while it is open.
    pub(super) fn quic(&self) -> Option<quinn::Endpoint> {
        self.quic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a verifier for one handshake.
    pub(super) fn verifier(&self, expected: Option<PeerId>) -> Arc<Verifier> {
        Verifier::new(&self.identity, &self.clock, expected)
    }

    /// Configures one handshake that a stranger began: with the certificate of now, and a verifier of its own.
    pub(super) fn server(&self, verifier: &Arc<Verifier>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = self.server.clone();
        config.crypto = server_crypto(verifier)?;
        Ok(Arc::new(config))
    }

    /// Configures one dial.
    pub(super) fn client(&self, verifier: &Arc<Verifier>, lane: Lane) -> Result<ClientConfig, rustls::Error> {
        let crypto = QuicClientConfig::try_from(tls::client(verifier, lane)?);
        let mut config = ClientConfig::new(Arc::new(crypto.expect("the provider has AES-128-GCM")));
        config.transport_config(Arc::clone(&self.transport));
        Ok(config)
    }

    /// Takes room for one connection of a lane.
    pub(super) fn slot(&self, lane: Lane) -> Result<Slot, Unfit> {
        let slot = Arc::clone(&self.slots[lane as usize]).try_acquire_owned();
        slot.map_err(|_| Unfit::TooMany { limit: self.limits.connections_max })
    }

    /// Counts how often all live peers were judged again.
    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::SeqCst)
    }

    pub(super) async fn room(&self, lane: Lane) {
        // The semaphore is never closed.
        let _ = self.slots[lane as usize].acquire().await;
    }

    pub(super) fn name_of(&self, peer: PeerId) -> Option<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned()
    }

    /// Remembers what a peer is called, longer than its connection lasts.
    fn called(&self, peer: &Peer) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            let live = self.live();
            names.retain(|id, _| live.values().any(|live| live.peer.id == *id));
        }
        names.insert(peer.id, peer.name.clone());
    }

    pub(super) fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.live().values().filter(|live| live.peer.id == peer).map(|live| live.quic.rtt()).min()
    }

    /// Makes a connection whose peer holds one that counts: it is judged again when asked for, and its room is given back
    /// when it ends.
    pub(super) fn admit(self: &Arc<Self>, made: Made, slot: Slot) -> Result<Connection, Unfit> {
        let Made { quic, peer, lane, round } = made;
        let (id, peer) = (quic.stable_id(), Arc::new(peer));
        {
            let mut live = self.live();
            let of_peer = |other: &&Live| other.peer.id == peer.id && other.lane == lane;
            let limit = self.limits.connections_per_peer_max;
            if live.values().filter(of_peer).count() >= limit {
                congestion::close(&quic, BUSY, b"busy");
                return Err(Unfit::TooMany { limit });
            }
            // Whoever judges all live peers again does not see this one before it is among them.
            if self.round() != round
                && let Err(refusal) = self.judge(&peer)
            {
                congestion::close(&quic, WITHDRAWN, refusal.name().as_bytes());
                return Err(Unfit::Withdrawn(refusal));
            }
            live.insert(id, Live { quic: quic.clone(), peer: Arc::clone(&peer), lane });
        }
        self.called(&peer);
        self.metrics.began(peer.id);
        settings::open_up(&quic, &self.limits);
        let (shared, ended) = (Arc::clone(self), quic.clone());
        self.tasks.spawn(async move {
            ended.closed().await;
            if let Some(live) = shared.live().remove(&id) {
                shared.metrics.ended(&live.exchanged());
            }
            drop(slot);
        });
        Ok(Connection::new(quic, peer, lane))
    }

    pub(super) fn revalidate(&self) -> usize {
        self.round.fetch_add(1, Ordering::SeqCst);
        let live: Vec<Live> = self.live().values().cloned().collect();
        let mut closed = 0;
        for Live { quic, peer, .. } in live {
            if let Err(refusal) = self.judge(&peer) {
                tracing::info!(peer = %peer.id, %refusal, "a peer no longer holds");
                congestion::close(&quic, WITHDRAWN, refusal.name().as_bytes());
                self.metrics.refused(refusal.name());
                closed += 1;
            }
        }
        closed
    }

    /// Judges a peer by what is believed now; without a clock nobody holds, as in a handshake.
    fn judge(&self, peer: &Peer) -> Result<(), Refusal> {
        let now = self.clock.current_time().ok_or(Refusal::NoTime)?;
        tls::judge(&peer.certificates, &self.identity.current(), tls::moment(now))
    }

    /// Begins to close.
    pub(super) fn shut(&self) -> Option<quinn::Endpoint> {
        let quic = self.quic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.live().values().for_each(|live| congestion::close(&live.quic, CLOSED, b"closed"));
        if let Some(quic) = &quic {
            // Whatever is not made yet.
            quic.close(CLOSED, b"closed");
        }
        quic
    }

    pub(super) async fn close(&self) {
        let quic = self.shut();
        let closed = async {
            if let Some(quic) = quic {
                quic.wait_idle().await;
            }
            self.tasks.ended().await;
        };
        if timeout(CLOSES_WITHIN, closed).await.is_err() {
            self.tasks.abort();
            self.tasks.ended().await;
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<usize, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn exchanged(&self) -> Exchanged {
        let stats = self.quic.stats();
        Exchanged {
            peer: self.peer.id,
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            round_trip: stats.path.rtt,
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("local_address", &self.local_address).finish_non_exhaustive()
    }
}

fn server_crypto(verifier: &Arc<Verifier>) -> Result<Arc<QuicServerConfig>, rustls::Error> {
    Ok(Arc::new(QuicServerConfig::try_from(tls::server(verifier)?).expect("the provider has AES-128-GCM")))
}
