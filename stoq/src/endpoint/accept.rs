//! Handshakes that strangers begin: each in a task of its own, with a bound, and nothing of them is seen before it holds.

use std::sync::Arc;

use quinn::ConnectionError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::binding::{self, Role};
use super::shared::{Made, Shared, Unfit};
use super::{BUSY, Connection, congestion, dial};
use crate::tls::{Lane, Refusal, Verifier};

/// Where finished connections go.
#[derive(Clone)]
pub(super) struct Backlog {
    pub(super) control: mpsc::Sender<Connection>,
    pub(super) data: mpsc::Sender<Connection>,
}

/// The alert `certificate_required` (RFC 8446, 6).
const NO_CERTIFICATE: u8 = 116;
/// The alert `no_application_protocol` (RFC 8446, 6).
const NO_PROTOCOL: u8 = 120;
/// The name of a refusal for want of room.
const NO_ROOM: &str = "busy";

/// A handshake that came to nothing.
enum Failure {
    Refused(Refusal),
    RefusedByPeer(Refusal),
    Lost(ConnectionError),
}

/// Accepts until the port is closed.
pub(super) async fn run(shared: Arc<Shared>, backlog: Backlog) {
    let Some(quic) = shared.quic() else { return };
    let handshakes_max = shared.limits().handshakes_max;
    let unfinished_max = handshakes_max + 2 * shared.limits().connections_max;
    let room = Arc::new(Semaphore::new(handshakes_max));
    while let Some(incoming) = quic.accept().await {
        // A stranger whose first datagram says that it closes ends its handshake at once, and quinn keeps it until it counts
        // as silent; so what counts is what quinn keeps, this node's own dials with it.
        let unfinished = quic.open_connections().saturating_sub(shared.live_count());
        if unfinished >= shared.limits().retry_above && incoming.may_retry() {
            // Costs the stranger a round trip to its address and this node no state.
            let _ = incoming.retry();
            shared.metrics().retried();
            continue;
        }
        let permit = Arc::clone(&room).try_acquire_owned().ok().filter(|_| unfinished < unfinished_max);
        let Some(permit) = permit else {
            incoming.refuse();
            shared.metrics().refused(NO_ROOM);
            continue;
        };
        let (shared, backlog) = (Arc::clone(&shared), backlog.clone());
        shared.clone().tasks().spawn(async move {
            accept(&shared, &backlog, incoming).await;
            drop(permit);
        });
    }
}

async fn accept(shared: &Arc<Shared>, backlog: &Backlog, incoming: quinn::Incoming) {
    let address = incoming.remote_address();
    let verifier = shared.verifier(None);
    let limit = shared.limits().connect_timeout;
    let made = timeout(limit, shake(shared, &verifier, incoming)).await;
    match made.unwrap_or(Err(Failure::Refused(Refusal::Slow { limit_ms: limit.as_millis() }))) {
        Ok(made) => hand_over(shared, backlog, made),
        Err(Failure::Refused(refusal)) => {
            tracing::debug!(%address, %refusal, "a stranger is refused");
            shared.metrics().refused(refusal.name());
        }
        Err(Failure::RefusedByPeer(refusal)) => {
            tracing::debug!(%address, %refusal, "a stranger refuses this node");
            shared.metrics().lost(refusal.name());
        }
        Err(Failure::Lost(error)) => {
            tracing::debug!(%address, %error, "a stranger went away");
            shared.metrics().lost("lost");
        }
    }
}

async fn shake(shared: &Shared, verifier: &Arc<Verifier>, incoming: quinn::Incoming) -> Result<Made, Failure> {
    let round = shared.round();
    let tls = |error: rustls::Error| Failure::Refused(Refusal::Alert { name: "tls", reason: error.to_string() });
    let config = shared.server(verifier).map_err(tls)?;
    let refused = |error| verifier.verdict().and_then(Result::err).map_or_else(|| ended(error), Failure::Refused);
    let quic = incoming.accept_with(config).map_err(ended)?.await.map_err(refused)?;
    let missing = |code, what: &str| Failure::Refused(Refusal::alert(code, what.to_owned()));
    let peer = verifier.verdict().and_then(Result::ok);
    let peer = peer.ok_or_else(|| missing(NO_CERTIFICATE, "TLS asked for no certificate"))?;
    let lane = lane(&quic).ok_or_else(|| missing(NO_PROTOCOL, "no protocol was agreed upon"))?;
    if let Err(refusal) = binding::exchange(&quic, &peer, Role::Server, &**shared.identity()).await {
        return Err(match quic.close_reason() {
            Some(error) => ended(error),
            None => {
                dial::close(&quic, &refusal);
                Failure::Refused(refusal)
            }
        });
    }
    Ok(Made { quic, peer, lane, round })
}

fn hand_over(shared: &Arc<Shared>, backlog: &Backlog, made: Made) {
    let to = match made.lane {
        Lane::Control => &backlog.control,
        Lane::Data => &backlog.data,
    };
    let quic = made.quic.clone();
    let Some((place, slot)) = to.try_reserve().ok().zip(shared.slot(made.lane).ok()) else {
        congestion::close(&quic, BUSY, NO_ROOM.as_bytes());
        shared.metrics().refused(NO_ROOM);
        return;
    };
    match shared.admit(made, slot) {
        Ok(connection) => {
            shared.metrics().accepted();
            place.send(connection);
        }
        Err(Unfit::TooMany { .. }) => shared.metrics().refused(NO_ROOM),
        Err(Unfit::Withdrawn(refusal)) => shared.metrics().refused(refusal.name()),
    }
}

fn lane(quic: &quinn::Connection) -> Option<Lane> {
    let data = quic.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    Lane::of_protocol(&data.protocol?)
}

/// Says who ended a handshake.
fn ended(error: ConnectionError) -> Failure {
    let reason = error.to_string();
    match &error {
        ConnectionError::TransportError(by_us) => match dial::alert(by_us.code) {
            Some(code) => Failure::Refused(Refusal::alert(code, reason)),
            None => Failure::Lost(error),
        },
        ConnectionError::ConnectionClosed(by_peer) => match dial::alert(by_peer.error_code) {
            Some(code) => Failure::RefusedByPeer(Refusal::alert(code, reason)),
            None => Failure::Lost(error),
        },
        ConnectionError::ApplicationClosed(by_peer) => match dial::said(by_peer) {
            Some(refusal) => Failure::RefusedByPeer(refusal),
            None => Failure::Lost(error),
        },
        _ => Failure::Lost(error),
    }
}
