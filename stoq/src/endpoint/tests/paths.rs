//! Short and long paths: a line in between that takes its time and loses what it is told to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;
use crate::endpoint::shared::CLOSES_WITHIN;

/// A line between a dialer and a port.
struct Line {
    address: SocketAddr,
    /// Nothing comes to the dialer any more.
    is_one_way: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    /// Makes a line on which each way takes so long, and each so many-th datagram to the dialer is lost.
    async fn to(port: SocketAddr, each_way: Duration, lost: Option<u64>) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let back = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let address = front.local_addr().expect("has an address");
        let is_one_way = Arc::new(AtomicBool::new(false));
        let loses = loses(lost, Arc::clone(&is_one_way));
        Self { address, is_one_way, task: tokio::spawn(carry(front, back, port, each_way, loses)) }
    }
}

/// Says of each datagram to the dialer whether it is lost.
fn loses(each: Option<u64>, is_one_way: Arc<AtomicBool>) -> impl FnMut() -> bool + Send {
    let mut carried = 0_u64;
    move || {
        carried += 1;
        each.is_some_and(|each| carried.is_multiple_of(each)) || is_one_way.load(Ordering::Relaxed)
    }
}

async fn carry(
    front: UdpSocket,
    back: UdpSocket,
    port: SocketAddr,
    each_way: Duration,
    mut loses: impl FnMut() -> bool,
) {
    let mut there: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut here: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut one, mut other) = (vec![0; 65536], vec![0; 65536]);
    let mut dialer = None;
    loop {
        let due = [there.front(), here.front()].into_iter().flatten().map(|(at, _)| *at).min();
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                let now = Instant::now();
                while let Some((_, datagram)) = there.pop_front_if(|(at, _)| *at <= now) {
                    let _ = back.send_to(&datagram, port).await;
                }
                while let Some((_, datagram)) = here.pop_front_if(|(at, _)| *at <= now) {
                    let _ = front.send_to(&datagram, dialer.expect("has sent first")).await;
                }
            }
            Ok((length, from)) = front.recv_from(&mut one) => {
                dialer = Some(from);
                there.push_back((Instant::now() + each_way, one[..length].to_vec()));
            }
            Ok((length, _)) = back.recv_from(&mut other) => {
                if !loses() {
                    here.push_back((Instant::now() + each_way, other[..length].to_vec()));
                }
            }
        }
    }
}

/// Fetches so many bytes over a path, and says how long it took and what the sender used.
async fn fetch(each_way: Duration, lost: Option<u64>, bytes: usize) -> (Duration, Algorithm) {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let line = Line::to(b.endpoint.local_address(), each_way, lost).await;
    let made = soon(a.endpoint.connect(line.address, Some(b.identity.peer_id()), Lane::Data)).await;
    let made = made.expect("connects");
    let taken = b.taken().await;
    let began = Instant::now();
    let sent = async {
        let (mut send, _receive) = soon(taken.quic().accept_bi()).await.expect("comes");
        for _ in 0..bytes / PIECE {
            send.write_all(&[7; PIECE]).await.expect("is sent");
        }
        send.finish().expect("ends");
    };
    let received = async {
        let (mut send, mut receive) = made.quic().open_bi().await.expect("opens");
        send.write_all(b"go").await.expect("is sent");
        receive.read_to_end(bytes).await.expect("comes").len()
    };
    let ((), length) = soon(async { tokio::join!(sent, received) }).await;
    assert_eq!(length, bytes);
    (began.elapsed(), taken.congestion_control().expect("is ours"))
}

const PIECE: usize = 64 << 10;

#[tokio::test]
async fn a_short_path_has_cubic_and_a_long_one_bbr() {
    assert_eq!(fetch(Duration::ZERO, None, 16 * PIECE).await.1, Algorithm::Cubic);
    assert_eq!(fetch(Duration::from_millis(10), None, 16 * PIECE).await.1, Algorithm::Bbr);
}

/// Ten segments of more than 6,550 bytes are more than one call of the kernel takes: they would be lost without an error, and
/// the connection would fall back to the smallest datagrams.
#[tokio::test]
async fn a_short_path_has_large_datagrams_that_are_sent_together() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let made = a.dial(&b).await.expect("connects");
    let taken = b.taken().await;
    let read = tokio::spawn(async move {
        let (_send, mut receive) = taken.quic().accept_bi().await.expect("comes");
        let mut length = 0;
        while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.expect("comes") {
            length += chunk.bytes.len();
        }
        (length, taken)
    });
    let (mut send, _receive) = made.quic().open_bi().await.expect("opens");
    let length = 512 * PIECE;
    for _ in 0..length / PIECE {
        send.write_all(&[7; PIECE]).await.expect("is sent");
    }
    send.finish().expect("ends");
    assert_eq!(soon(read).await.expect("runs").0, length);
    let stats = made.quic().stats();
    assert!((6000..=6550).contains(&stats.path.current_mtu), "{stats:?}");
    assert_eq!(stats.path.black_holes_detected, 0, "{stats:?}");
    assert!(stats.udp_tx.datagrams > 3 * stats.udp_tx.ios, "{stats:?}");
}

/// QUIC would have it wait for eleven seconds, and for minutes after a node stood still while datagrams came.
#[tokio::test]
async fn a_port_closes_in_time_though_its_peer_takes_long_to_answer() {
    let authority = Authority::new();
    let (a, b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let line = Line::to(b.endpoint.local_address(), Duration::from_millis(600), None).await;
    let made = soon(a.endpoint.connect(line.address, Some(b.identity.peer_id()), Lane::Data)).await.expect("connects");
    let (began, address) = (Instant::now(), a.endpoint.local_address());
    a.endpoint.close().await;
    assert!(began.elapsed() < 2 * CLOSES_WITHIN, "{:?}", began.elapsed());
    assert!(made.is_closed());
    drop((made, a));
    UdpSocket::bind(address).await.expect("the address is free again");
}

#[tokio::test]
async fn whoever_closes_while_much_is_in_flight_is_heard() {
    let authority = Authority::new();
    let (a, mut b) = (Node::new(&authority, authority.node("a")), Node::new(&authority, authority.node("b")));
    let line = Line::to(b.endpoint.local_address(), Duration::from_millis(300), None).await;
    let made = soon(a.endpoint.connect(line.address, Some(b.identity.peer_id()), Lane::Data)).await.expect("connects");
    let taken = b.taken().await;
    let (mut send, _receive) = made.quic().open_bi().await.expect("opens");
    // More than the window has room for, and nothing is acknowledged: it is full long before anything counts as lost.
    line.is_one_way.store(true, Ordering::Relaxed);
    let waited = tokio::time::timeout(Duration::from_millis(900), async {
        send.write_all(&[7; 16 * PIECE]).await.expect("there is room here");
        std::future::pending::<()>().await;
    });
    assert!(waited.await.is_err());
    drop(made);
    let ended = soon(taken.quic().closed()).await;
    assert!(matches!(&ended, quinn::ConnectionError::ApplicationClosed(it) if it.error_code == CLOSED), "{ended}");
}

#[tokio::test]
async fn a_long_path_that_loses_datagrams_is_not_given_up() {
    let (took, algorithm) = fetch(Duration::from_millis(10), Some(50), 32 * PIECE).await;
    assert_eq!(algorithm, Algorithm::Bbr);
    assert!(took < Duration::from_secs(5), "{took:?}");
}
