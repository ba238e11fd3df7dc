//! The connections of the data lane: made when needed, used again, served, and given up when nothing moves on them.
//!
//! A connection serves both sides, whoever made it: requests of the peer go to [`Services`], and requests of this node go out
//! on it. One dial at a time goes to a peer, and whoever wants that peer meanwhile waits for it, in bounded numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::PeerId;
use crate::endpoint::{Connection, Endpoint};
use crate::frame;
use crate::identity::Pending;
use crate::service::{OpenError, Peers, REQUEST_BYTES_MAX, Services, Stream, ask};

mod dial;
mod serve;
mod table;

use self::table::{Pooled, Table};

/// The most addresses of a peer that are tried.
pub const ADDRESSES_MAX: usize = 8;

/// Where peers are.
pub trait AddressBook: Send + Sync + 'static {
    /// Gives the addresses of a peer, the best first; none if nobody knows.
    fn addresses(&self, peer: PeerId) -> Vec<SocketAddr>;
}

impl<F: Fn(PeerId) -> Vec<SocketAddr> + Send + Sync + 'static> AddressBook for F {
    fn addresses(&self, peer: PeerId) -> Vec<SocketAddr> {
        self(peer)
    }
}

/// The connections of the data lane of one port. Clones are the same pool; they end with the port.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    services: Services,
    addresses: Box<dyn AddressBook>,
    table: Arc<Table>,
    serving: Arc<serve::Serving>,
}

impl Pool {
    /// Takes over the data lane of a port: the connections that peers make, and those that this node makes.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        endpoint: Endpoint,
        incoming: mpsc::Receiver<Connection>,
        services: Services,
        addresses: impl AddressBook,
    ) -> Self {
        let limits = endpoint.limits();
        let table = Arc::new(Table::new(limits.waiting_per_peer_max));
        let serving = Arc::new(serve::Serving::new(&endpoint));
        let inner = Inner { endpoint, services, addresses: Box::new(addresses), table, serving };
        let pool = Self(Arc::new(inner));
        pool.take(incoming);
        pool
    }

    /// Gives the port.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Gives the services, to which more may be added.
    pub fn services(&self) -> &Services {
        &self.0.services
    }

    /// Takes connections that peers make until the port or the pool is gone.
    fn take(&self, mut incoming: mpsc::Receiver<Connection>) {
        let pool = Arc::downgrade(&self.0);
        self.0.endpoint.tasks().spawn(async move {
            while let Some(connection) = incoming.recv().await {
                let Some(inner) = pool.upgrade() else { break };
                Self(inner).keep(connection);
            }
        });
    }

    /// Puts a connection into the table and serves it.
    fn keep(&self, connection: Connection) -> Arc<Pooled> {
        let pooled = self.0.table.insert(connection);
        let (table, serving, services) =
            (Arc::clone(&self.0.table), Arc::clone(&self.0.serving), self.0.services.clone());
        let tasks = self.0.endpoint.tasks().clone();
        self.0.endpoint.tasks().spawn(serve::connection(Arc::clone(&pooled), table, serving, services, tasks));
        pooled
    }

    /// Says whether there is a connection with a peer.
    pub(crate) fn is_connected(&self, peer: PeerId) -> bool {
        !self.0.table.live(peer).is_empty()
    }

    async fn ask(&self, peer: PeerId, service: &str, request: &[u8]) -> Result<Stream, OpenError> {
        let content = ask(service, request);
        if content.len() > REQUEST_BYTES_MAX {
            return Err(OpenError::TooLarge { peer, limit: REQUEST_BYTES_MAX, actual: content.len() });
        }
        let _waiting = self.0.table.wait(peer)?;
        let limits = self.0.endpoint.limits();
        // A connection may end between the look into the table and the write; the next look does not find it any more.
        let mut lost = String::new();
        for _ in 0..ATTEMPTS {
            let (pooled, opened) = self.stream(peer).await?;
            match send(&pooled, opened, &content, limits.connect_timeout).await {
                Ok(stream) => {
                    self.0.endpoint.counters().opened(peer);
                    return Ok(stream);
                }
                Err(Unsent::Lost(error)) => {
                    self.0.table.remove(&pooled);
                    lost = error.to_string();
                }
                Err(Unsent::NoStream) if self.0.table.live(peer).len() >= limits.connections_per_peer_max => {
                    let limit = limits.connections_per_peer_max;
                    return Err(OpenError::Busy { peer, what: "connections with it without room for a stream", limit });
                }
                Err(Unsent::NoStream | Unsent::NotTaken) => {
                    let reason = format!("it takes no request within {:?}", limits.connect_timeout);
                    return Err(OpenError::Unreachable { peer, reason });
                }
            }
        }
        Err(OpenError::Unreachable { peer, reason: lost })
    }

    /// Finds a connection and opens a stream on it; where all are full and there may be no more, the stream is to be waited
    /// for.
    async fn stream(&self, peer: PeerId) -> Result<(Arc<Pooled>, Option<Opened>), OpenError> {
        let live = self.0.table.live(peer);
        for pooled in &live {
            if let Some(Ok(opened)) = pooled.connection().quic().open_bi().now_or_never() {
                return Ok((Arc::clone(pooled), Some(opened)));
            }
        }
        if let Some(full) = live.first()
            && live.len() >= self.0.endpoint.limits().connections_per_peer_max
        {
            return Ok((Arc::clone(full), None));
        }
        Ok((self.dial_once(peer, live.len()).await?, None))
    }
}

/// Both halves of a stream.
type Opened = (quinn::SendStream, quinn::RecvStream);

/// Why a request was not sent.
enum Unsent {
    /// The peer lets nobody open a stream.
    NoStream,
    /// The peer does not take it.
    NotTaken,
    /// The connection ended.
    Lost(std::io::Error),
}

/// Sends a request within a time; a stream that is not open yet is waited for.
async fn send(pooled: &Pooled, opened: Option<Opened>, content: &[u8], within: Duration) -> Result<Stream, Unsent> {
    let deadline = Instant::now() + within;
    let (mut send, receive) = match opened {
        Some(opened) => opened,
        None => {
            let opened = timeout_at(deadline, pooled.connection().quic().open_bi()).await;
            opened.map_err(|_| Unsent::NoStream)?.map_err(|error| Unsent::Lost(error.into()))?
        }
    };
    pooled.used();
    let written = timeout_at(deadline, frame::write(&mut send, content)).await;
    written.map_err(|_| Unsent::NotTaken)?.map_err(Unsent::Lost)?;
    Ok(Stream { send, receive })
}

impl Peers for Pool {
    fn open<'a>(&'a self, peer: PeerId, service: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>> {
        self.ask(peer, service, request).boxed()
    }

    fn round_trip(&self, peer: PeerId) -> Option<Duration> {
        self.0.endpoint.round_trip(peer)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("endpoint", &self.0.endpoint).finish_non_exhaustive()
    }
}

/// How often a request is tried on a connection that turns out to have ended.
const ATTEMPTS: usize = 2;

#[cfg(test)]
mod tests;
