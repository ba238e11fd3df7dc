//! One dial, from the address to a connection whose peer holds and believes this node.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ApplicationClose, ConnectionError};
use tokio::time::timeout;

use super::binding::{self, Role};
use super::shared::{Made, Shared, Unfit};
use super::{BUSY, ConnectError, Connection, HELLO, UNPROVEN, congestion};
use crate::PeerId;
use crate::tls::{Lane, Refusal, SERVER_NAME, Verifier};

/// Dials, and counts how it went.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    address: SocketAddr,
    peer: Option<PeerId>,
    lane: Lane,
) -> Result<Connection, ConnectError> {
    let made = make(shared, address, peer, lane).await;
    match &made {
        Ok(_) => shared.metrics().dialed(),
        // Each handshake counts once, and a refusal among those of strangers.
        Err(ConnectError::Refused { refusal, .. }) => shared.metrics().refused(refusal.name()),
        Err(error) => shared.metrics().failed(error.name()),
    }
    made
}

async fn make(
    shared: &Arc<Shared>,
    address: SocketAddr,
    peer: Option<PeerId>,
    lane: Lane,
) -> Result<Connection, ConnectError> {
    let unfit = |unfit| match unfit {
        Unfit::TooMany { limit } => ConnectError::Busy { limit },
        Unfit::Withdrawn(refusal) => ConnectError::Refused { address, refusal },
    };
    let slot = shared.slot(lane).map_err(unfit)?;
    let verifier = shared.verifier(peer);
    let limit = shared.limits().connect_timeout;
    let made = timeout(limit, shake(shared, &verifier, address, lane)).await;
    let made = made.unwrap_or(Err(ConnectError::TimedOut { address, limit_ms: limit.as_millis() }))?;
    shared.admit(made, slot).map_err(unfit)
}

async fn shake(
    shared: &Shared,
    verifier: &Arc<Verifier>,
    address: SocketAddr,
    lane: Lane,
) -> Result<Made, ConnectError> {
    let round = shared.round();
    let config = shared.client(verifier, lane);
    let config = config.map_err(|error| ConnectError::Address { address, reason: error.to_string() })?;
    let endpoint = shared.quic().ok_or(ConnectError::Closed)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME).map_err(|error| match error {
        quinn::ConnectError::EndpointStopping => ConnectError::Closed,
        error => ConnectError::Address { address, reason: error.to_string() },
    })?;
    // The port closes when nobody has it, and this dial is nobody.
    drop(endpoint);
    let quic = match connecting.await {
        Ok(quic) => quic,
        Err(error) => {
            return Err(match verifier.verdict() {
                Some(Err(refusal)) => ConnectError::Refused { address, refusal },
                _ => ended(address, error),
            });
        }
    };
    let lost = || ConnectError::Lost { address, reason: "TLS asked for no certificate".to_owned() };
    let peer = verifier.verdict().and_then(Result::ok).ok_or_else(lost)?;
    match binding::exchange(&quic, &peer, Role::Client, &**shared.identity()).await {
        Ok(()) => Ok(Made { quic, peer, lane, round }),
        // A peer that refuses this node's certificate says so only after TLS told this side that all is well.
        Err(refusal) => Err(match quic.close_reason() {
            Some(error) => ended(address, error),
            None => {
                close(&quic, &refusal);
                ConnectError::Refused { address, refusal }
            }
        }),
    }
}

/// Closes a connection whose hello was refused.
pub(super) fn close(quic: &quinn::Connection, refusal: &Refusal) {
    let code = if matches!(refusal, Refusal::Unproven { .. }) { UNPROVEN } else { HELLO };
    congestion::close(quic, code, refusal.name().as_bytes());
}

/// Names how a connection ended before it was made.
fn ended(address: SocketAddr, error: ConnectionError) -> ConnectError {
    let reason = error.to_string();
    let lost = |reason| ConnectError::Lost { address, reason };
    match error {
        ConnectionError::TransportError(error) => match alert(error.code) {
            Some(code) => ConnectError::Refused { address, refusal: Refusal::alert(code, error.reason) },
            None => lost(reason),
        },
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(code) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                ConnectError::RefusedByPeer { address, refusal: Refusal::alert(code, reason) }
            }
            None if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED => {
                ConnectError::BusyPeer { address }
            }
            None => lost(reason),
        },
        ConnectionError::ApplicationClosed(close) if close.error_code == BUSY => ConnectError::BusyPeer { address },
        ConnectionError::ApplicationClosed(close) => match said(&close) {
            Some(refusal) => ConnectError::RefusedByPeer { address, refusal },
            None => lost(reason),
        },
        ConnectionError::LocallyClosed => ConnectError::Closed,
        _ => lost(reason),
    }
}

/// Gives what a peer said that refuses this node after the handshake.
pub(super) fn said(close: &ApplicationClose) -> Option<Refusal> {
    let reason = String::from_utf8_lossy(&close.reason).into_owned();
    match close.error_code {
        HELLO => Some(Refusal::Hello { reason }),
        UNPROVEN => Some(Refusal::Unproven { reason }),
        _ => None,
    }
}

/// Gives the TLS alert that a code of QUIC carries (RFC 9001, 4.8).
pub(super) fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    let code = u64::from(code).checked_sub(0x100)?;
    u8::try_from(code).ok()
}
