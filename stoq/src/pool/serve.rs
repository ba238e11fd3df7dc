//! Serving what a peer asks for on one connection, and giving the connection up when nothing moves on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::table::{Pooled, Table};
use crate::PeerId;
use crate::endpoint::{Endpoint, IDLE, Tasks};
use crate::frame;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::service::{BUSY, REFUSED, REQUEST_BYTES_MAX, ServiceError, Services, Stream, UNKNOWN_SERVICE, asked};

/// How often a connection is looked at in the shortest of the times that it may be quiet.
const LOOKS: u32 = 4;

/// What bounds the requests that are served: in all, and for each peer.
pub(super) struct Serving {
    limits: Limits,
    metrics: Arc<Metrics>,
    all: Arc<Semaphore>,
    peers: Mutex<HashMap<PeerId, usize>>,
}

/// Room for one request.
struct Room {
    serving: Arc<Serving>,
    peer: PeerId,
    _permit: OwnedSemaphorePermit,
}

impl Serving {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let (limits, metrics) = (endpoint.limits().clone(), Arc::clone(endpoint.counters()));
        let all = Arc::new(Semaphore::new(limits.served_max));
        Self { limits, metrics, all, peers: Mutex::default() }
    }

    fn room(self: &Arc<Self>, peer: PeerId) -> Option<Room> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let served = peers.entry(peer).or_default();
        if *served >= self.limits.served_per_peer_max {
            return None;
        }
        *served += 1;
        Some(Room { serving: Arc::clone(self), peer, _permit: permit })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut peers = self.serving.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = peers.get_mut(&self.peer) {
            *served -= 1;
            if *served == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn connection(
    pooled: Arc<Pooled>,
    table: Arc<Table>,
    serving: Arc<Serving>,
    services: Services,
    tasks: Tasks,
) {
    let limits = &serving.limits;
    let look = limits.idle_timeout.min(limits.quiet_timeout) / LOOKS;
    let quic = pooled.connection().quic();
    loop {
        tokio::select! {
            accepted = quic.accept_bi() => match accepted {
                Ok((send, receive)) => {
                    let stream = Stream { send, receive };
                    accept(&pooled, &serving, &services, &tasks, stream);
                }
                Err(_) => break,
            },
            () = sleep(look.max(Duration::from_millis(1))) => {
                if table.remove_quiet(&pooled, limits.idle_timeout) {
                    pooled.connection().close(IDLE, "idle");
                }
            }
        }
    }
    table.remove(&pooled);
}

/// Serves one stream in a task of its own, if there is room.
fn accept(pooled: &Arc<Pooled>, serving: &Arc<Serving>, services: &Services, tasks: &Tasks, stream: Stream) {
    let peer = pooled.connection().peer();
    let Some(room) = serving.room(peer) else {
        serving.metrics.error(peer, "busy");
        stream.reset(BUSY);
        return;
    };
    let (pooled, serving, services) = (Arc::clone(pooled), Arc::clone(serving), services.clone());
    tasks.spawn(async move {
        let _counted = (pooled.serve(), serving.metrics.serve(peer), room);
        tokio::select! {
            () = serve(&pooled, &serving, &services, stream) => {}
            // Whatever the service waits for, nobody waits for the service any more.
            _ = pooled.connection().quic().closed() => serving.metrics.error(peer, "connection-lost"),
        }
    });
}

async fn serve(pooled: &Pooled, serving: &Serving, services: &Services, mut stream: Stream) {
    let caller = pooled.connection().caller();
    let peer = caller.peer;
    let refuse = |name, code: u32, stream: Stream| {
        serving.metrics.error(peer, name);
        stream.reset(code);
    };
    let read = frame::read(&mut stream.receive, REQUEST_BYTES_MAX);
    let (name, request) = match timeout(serving.limits.request_timeout, read).await {
        Err(_) => return refuse("slow-request", REFUSED, stream),
        Ok(Err(_)) => return refuse("request", REFUSED, stream),
        Ok(Ok(content)) => match asked(&content) {
            Ok(asked) => asked,
            Err(_) => return refuse("request", REFUSED, stream),
        },
    };
    let Some(service) = services.find(&name) else { return refuse("unknown-service", UNKNOWN_SERVICE, stream) };
    if let Err(error) = service.serve(caller, request, stream).await {
        tracing::debug!(%peer, service = service.name(), %error, "a request came to nothing");
        serving.metrics.error(peer, error_name(&error));
    }
}

fn error_name(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Refused { .. } => "refused",
        ServiceError::Ended { .. } => "ended",
        ServiceError::Environment { .. } => "environment",
    }
}
