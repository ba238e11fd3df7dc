//! Making a connection with a peer: room for it, its addresses, and what its other callers get of the result.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::table::{Failed, Pooled};
use super::{ADDRESSES_MAX, Pool};
use crate::PeerId;
use crate::endpoint::{BUSY, Connection};
use crate::service::OpenError;
use crate::tls::Lane;

/// How long an address has to itself before the next one is tried beside it (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);

impl Pool {
    /// Dials a peer unless somebody does; then that result counts, the failure too.
    pub(super) async fn dial_once(&self, peer: PeerId, known: usize) -> Result<Arc<Pooled>, OpenError> {
        let began = Instant::now();
        let lock = self.0.table.dial(peer);
        let mut failed = lock.lock().await;
        let live = self.0.table.live(peer);
        if live.len() > known
            && let Some(made) = live.last()
        {
            return Ok(Arc::clone(made));
        }
        // Somebody dialed while this caller waited, and nothing came of it.
        if let Some(Failed { at, error }) = &*failed
            && *at >= began
        {
            return Err(error.clone());
        }
        let made = self.dial(peer).await;
        *failed = made.as_ref().err().map(|error| Failed { at: Instant::now(), error: error.clone() });
        made.map(|connection| self.keep(connection))
    }

    async fn dial(&self, peer: PeerId) -> Result<Connection, OpenError> {
        let mut addresses = self.0.addresses.addresses(peer);
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(OpenError::NoAddress { peer });
        }
        self.make_room(peer).await?;
        self.race(peer, &addresses).await
    }

    /// Gives up the quietest connection where there is no room for another one.
    async fn make_room(&self, peer: PeerId) -> Result<(), OpenError> {
        let (endpoint, table) = (&self.0.endpoint, &self.0.table);
        let limits = endpoint.limits();
        let full = || OpenError::Busy { peer, what: "connections", limit: limits.connections_max };
        if timeout(Duration::ZERO, endpoint.room(Lane::Data)).await.is_ok() {
            return Ok(());
        }
        let (quietest, quiet) = table.quietest().ok_or_else(full)?;
        if quiet < limits.quiet_timeout || !table.remove_quiet(&quietest, limits.quiet_timeout) {
            return Err(full());
        }
        quietest.connection().close(BUSY, "room for another peer");
        timeout(limits.connect_timeout, endpoint.room(Lane::Data)).await.map_err(|_| full())
    }

    /// Dials the addresses one after another, each a little after the one before or as soon as that one failed; the first
    /// that answers counts.
    async fn race(&self, peer: PeerId, addresses: &[SocketAddr]) -> Result<Connection, OpenError> {
        let mut left = addresses.iter().copied();
        let mut dials = FuturesUnordered::new();
        let mut reasons = Vec::new();
        loop {
            match left.next() {
                Some(address) => dials.push(self.0.endpoint.connect(address, Some(peer), Lane::Data)),
                None if dials.is_empty() => return Err(OpenError::Unreachable { peer, reason: reasons.join("; ") }),
                None => {}
            }
            let next = async { if left.len() > 0 { sleep(STAGGER).await } else { std::future::pending().await } };
            tokio::select! {
                Some(made) = dials.next() => match made {
                    Ok(connection) => return Ok(connection),
                    Err(error) => reasons.push(error.to_string()),
                },
                () = next => {}
            }
        }
    }
}
