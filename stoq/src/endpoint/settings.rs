//! What quinn is told, and the socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use super::congestion::ByPath;
use crate::limits::Limits;

/// The largest flight of handshake messages in bytes: seven hybrid certificates of 4 KiB each.
const CRYPTO_BYTES_MAX: usize = 32 << 10;
/// Bytes that a peer may send before its hello was answered.
pub(super) const HELLO_WINDOW_BYTES: u32 = 16 << 10;
/// Strangers whose first datagram is kept until the next turn of the accepting task; the datagrams of more are dropped.
pub(super) const STRANGERS_MAX: usize = 256;
/// Bytes that are kept of one of them.
pub(super) const STRANGER_BYTES_MAX: u64 = 16 << 10;
/// The round trip that is assumed of a path of which nothing is known. A lost first datagram is sent again after three of it,
/// and a port that is closed in the middle of a dial waits for nine of it: 3 s with the 333 ms of RFC 9002. Nodes are nearer.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);
/// The bytes of datagrams that the kernel is asked to keep for this node; it may give less.
const SOCKET_BYTES: usize = 2 << 20;

/// Settings for connections: before the hello one stream and a few bytes are let through.
pub(super) fn transport(limits: &Limits) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(limits.mtu_max);
    let mut transport = TransportConfig::default();
    let silence = IdleTimeout::try_from(limits.silence_timeout).expect("times are at most a day");
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .initial_rtt(FIRST_ROUND_TRIP)
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(Some(limits.keep_alive_interval))
        .stream_receive_window(limits.stream_window_bytes.into())
        .receive_window(VarInt::from_u32(HELLO_WINDOW_BYTES))
        .send_window(limits.send_window_bytes.into())
        .crypto_buffer_size(CRYPTO_BYTES_MAX)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(ByPath))
        .enable_segmentation_offload(true);
    Arc::new(transport)
}

/// Settings of the port: its receive buffers are as large as the largest datagram of a path.
pub(super) fn endpoint(limits: &Limits) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(limits.mtu_max).expect("the limit is from 1200 to 6550");
    config
}

/// Lets a peer that holds open as many streams, and send as many bytes, as the limits say.
pub(super) fn open_up(quic: &quinn::Connection, limits: &Limits) {
    quic.set_receive_window(limits.receive_window_bytes.into());
    quic.set_max_concurrent_bi_streams(VarInt::from_u32(limits.streams_per_connection_max));
}

/// Opens the socket; one for `[::]` takes IPv4, too.
pub(super) fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
