//! Every bound of the transport that is set for a node, with its default.
//!
//! What no operator has a reason to change is a constant beside the code that keeps it.

use std::time::Duration;

/// The largest UDP payload: segmentation offload sends ten at once, and more than 65,507 bytes in one call are lost without an
/// error and end in a connection that believes the path to be broken.
pub const MTU_MAX: u16 = 6550;
/// The smallest UDP payload that QUIC works with (RFC 9000, 14).
pub const MTU_MIN: u16 = 1200;
/// The largest window in bytes that may be asked for.
pub const WINDOW_BYTES_MAX: u32 = 1 << 30;
/// The largest of all counts that may be asked for.
pub const COUNT_MAX: usize = 1 << 20;
/// The longest time that may be asked for.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// The bounds of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of each lane, dials in flight included: 100.
    pub connections_max: usize,
    /// Connections of each lane with one peer: 5.
    pub connections_per_peer_max: usize,
    /// Accepted connections of each lane that nobody has taken yet: 64.
    pub backlog_max: usize,
    /// Handshakes of strangers in flight; whoever comes then is refused: 64.
    pub handshakes_max: usize,
    /// Handshakes in flight above which a stranger must first show that it receives at its address: 16.
    pub retry_above: usize,
    /// How long a connection may take from the first packet to the end of the hello, on either side: 5 s.
    pub connect_timeout: Duration,
    /// How long a connection of the data lane is kept on whose streams nothing moves, and nothing is served: 120 s. An answer
    /// that takes longer says in between that it is coming.
    pub idle_timeout: Duration,
    /// How long nothing has moved on a connection of the data lane before it makes room for another peer when there is
    /// none: 2 s.
    pub quiet_timeout: Duration,
    /// How long a peer may answer nothing before it counts as dead: 10 s.
    pub silence_timeout: Duration,
    /// How long a connection is quiet before the peer is asked whether it lives: 3 s.
    pub keep_alive_interval: Duration,
    /// Streams that a peer may have open in one connection: 1000.
    pub streams_per_connection_max: u32,
    /// Requests of one peer that are served at the same time: 256.
    pub served_per_peer_max: usize,
    /// Requests that are served at the same time: 1000.
    pub served_max: usize,
    /// How long the first frame of a stream may take: 5 s.
    pub request_timeout: Duration,
    /// Callers of one peer that wait for a connection: 64.
    pub waiting_per_peer_max: usize,
    /// Bytes of one stream that were received and not read: 8 MiB.
    pub stream_window_bytes: u32,
    /// Bytes of one connection that were received and not read: 16 MiB.
    pub receive_window_bytes: u32,
    /// Bytes of one connection that were sent and not acknowledged: 16 MiB.
    pub send_window_bytes: u32,
    /// The largest UDP payload that is tried on a path: 6550 bytes.
    pub mtu_max: u16,
    /// Peers whose counters are kept; the one that was gone longest makes room: 1024.
    pub peers_counted_max: usize,
}

/// A limit that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{field}` is `{actual}`, and is {expected}")]
pub struct LimitError {
    /// The field of [`Limits`].
    pub field: &'static str,
    /// What it is.
    pub actual: String,
    /// What it may be.
    pub expected: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 100,
            connections_per_peer_max: 5,
            backlog_max: 64,
            handshakes_max: 64,
            retry_above: 16,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(120),
            quiet_timeout: Duration::from_secs(2),
            silence_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(3),
            streams_per_connection_max: 1000,
            served_per_peer_max: 256,
            served_max: 1000,
            request_timeout: Duration::from_secs(5),
            waiting_per_peer_max: 64,
            stream_window_bytes: 8 << 20,
            receive_window_bytes: 16 << 20,
            send_window_bytes: 16 << 20,
            mtu_max: MTU_MAX,
            peers_counted_max: 1024,
        }
    }
}

impl Limits {
    /// Checks that every limit can be kept.
    ///
    /// # Errors
    /// The first that cannot, by name.
    pub fn validate(&self) -> Result<(), LimitError> {
        for (field, count, least) in [
            ("connections_max", self.connections_max, 1),
            ("connections_per_peer_max", self.connections_per_peer_max, 1),
            ("backlog_max", self.backlog_max, 1),
            ("handshakes_max", self.handshakes_max, 1),
            ("retry_above", self.retry_above, 0),
            ("streams_per_connection_max", self.streams_per_connection_max as usize, 1),
            ("served_per_peer_max", self.served_per_peer_max, 1),
            ("served_max", self.served_max, 1),
            ("waiting_per_peer_max", self.waiting_per_peer_max, 1),
            ("peers_counted_max", self.peers_counted_max, 1),
        ] {
            within(field, count, least, COUNT_MAX)?;
        }
        for (field, time) in [
            ("connect_timeout", self.connect_timeout),
            ("idle_timeout", self.idle_timeout),
            ("quiet_timeout", self.quiet_timeout),
            ("silence_timeout", self.silence_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
            ("request_timeout", self.request_timeout),
        ] {
            if time < Duration::from_millis(1) || time > TIME_MAX {
                let expected = format!("from 1ms to {TIME_MAX:?}");
                return Err(LimitError { field, actual: format!("{time:?}"), expected });
            }
        }
        if self.keep_alive_interval >= self.silence_timeout {
            let expected = format!("below `silence_timeout`, {:?}", self.silence_timeout);
            let actual = format!("{:?}", self.keep_alive_interval);
            return Err(LimitError { field: "keep_alive_interval", actual, expected });
        }
        for (field, bytes) in [
            ("stream_window_bytes", self.stream_window_bytes),
            ("receive_window_bytes", self.receive_window_bytes),
            ("send_window_bytes", self.send_window_bytes),
        ] {
            within(field, bytes, u32::from(MTU_MAX), WINDOW_BYTES_MAX)?;
        }
        within("mtu_max", self.mtu_max, MTU_MIN, MTU_MAX)
    }
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    field: &'static str,
    actual: T,
    least: T,
    most: T,
) -> Result<(), LimitError> {
    if least <= actual && actual <= most {
        return Ok(());
    }
    Err(LimitError { field, actual: actual.to_string(), expected: format!("from {least} to {most}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, change: impl FnOnce(&mut Limits)) {
        let mut limits = Limits::default();
        change(&mut limits);
        assert_eq!(limits.validate().expect_err("cannot be kept").field, field);
    }

    #[test]
    fn the_defaults_can_be_kept() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn a_limit_that_cannot_be_kept_is_named() {
        check("connections_max", |limits| limits.connections_max = 0);
        check("connections_per_peer_max", |limits| limits.connections_per_peer_max = 0);
        check("backlog_max", |limits| limits.backlog_max = 0);
        check("handshakes_max", |limits| limits.handshakes_max = 0);
        check("retry_above", |limits| limits.retry_above = COUNT_MAX + 1);
        check("streams_per_connection_max", |limits| limits.streams_per_connection_max = 0);
        check("served_per_peer_max", |limits| limits.served_per_peer_max = 0);
        check("served_max", |limits| limits.served_max = COUNT_MAX + 1);
        check("waiting_per_peer_max", |limits| limits.waiting_per_peer_max = 0);
        check("peers_counted_max", |limits| limits.peers_counted_max = 0);
        check("connect_timeout", |limits| limits.connect_timeout = Duration::ZERO);
        check("idle_timeout", |limits| limits.idle_timeout = TIME_MAX + Duration::from_secs(1));
        check("quiet_timeout", |limits| limits.quiet_timeout = Duration::ZERO);
        check("silence_timeout", |limits| limits.silence_timeout = Duration::ZERO);
        check("keep_alive_interval", |limits| limits.keep_alive_interval = limits.silence_timeout);
        check("request_timeout", |limits| limits.request_timeout = Duration::ZERO);
        check("stream_window_bytes", |limits| limits.stream_window_bytes = 1);
        check("receive_window_bytes", |limits| limits.receive_window_bytes = WINDOW_BYTES_MAX + 1);
        check("send_window_bytes", |limits| limits.send_window_bytes = 0);
        check("mtu_max", |limits| limits.mtu_max = MTU_MAX + 1);
        check("mtu_max", |limits| limits.mtu_max = MTU_MIN - 1);
    }
}
