//! A network of UDP datagrams in virtual time: delay, bandwidth, loss, partitions; no sockets.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How every path is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// One way.
    pub(super) delay: Duration,
    /// How many datagrams of a thousand are lost.
    pub(super) lost_per_mille: u64,
    /// What leaves one node in a second.
    pub(super) bytes_per_second: u64,
}

/// A queue of so much time stands before each link; what does not fit is lost.
const QUEUE: Duration = Duration::from_millis(100);

type Datagram = (SocketAddr, Vec<u8>);

/// All nodes and the paths between them.
pub(super) struct Wires {
    path: Path,
    inboxes: Mutex<HashMap<SocketAddr, mpsc::UnboundedSender<Datagram>>>,
    cut: Mutex<Vec<SocketAddr>>,
    random: Mutex<u64>,
}

impl Wires {
    pub(super) fn new(path: Path, seed: u64) -> Arc<Self> {
        Arc::new(Self { path, inboxes: Mutex::default(), cut: Mutex::default(), random: Mutex::new(seed | 1) })
    }

    /// Makes a socket of its own address.
    pub(super) fn socket(self: &Arc<Self>) -> Arc<Socket> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inboxes = self.inboxes.lock().expect("no panic");
        let port = 1000 + u16::try_from(inboxes.len()).expect("few nodes");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        inboxes.insert(address, sender);
        let (inbox, free_at) = (Mutex::new(receiver), Mutex::new(Instant::now()));
        Arc::new(Socket { wires: Arc::clone(self), address, inbox, free_at })
    }

    /// Loses everything from and to a node from now on.
    pub(super) fn cut(&self, address: SocketAddr) {
        self.cut.lock().expect("no panic").push(address);
    }

    fn loses(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let cut = self.cut.lock().expect("no panic").iter().any(|cut| *cut == from || *cut == to);
        let mut state = self.random.lock().expect("no panic");
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        cut || *state % 1000 < self.path.lost_per_mille
    }
}

/// One node's end of the network.
pub(super) struct Socket {
    wires: Arc<Wires>,
    address: SocketAddr,
    inbox: Mutex<mpsc::UnboundedReceiver<Datagram>>,
    /// When the link has sent what is before the next datagram.
    free_at: Mutex<Instant>,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Always)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let path = self.wires.path;
        let mut free_at = self.free_at.lock().expect("no panic");
        let now = Instant::now();
        let time = Duration::from_secs_f64(transmit.contents.len() as f64 / path.bytes_per_second as f64);
        let begins = (*free_at).max(now);
        if begins - now > QUEUE || self.wires.loses(self.address, transmit.destination) {
            return Ok(());
        }
        *free_at = begins + time;
        let arrives = *free_at + path.delay;
        let inboxes = self.wires.inboxes.lock().expect("no panic");
        let inbox = inboxes.get(&transmit.destination).cloned().ok_or(io::ErrorKind::HostUnreachable)?;
        let datagram = (self.address, transmit.contents.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep_until(arrives).await;
            _ = inbox.send(datagram);
        });
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inbox.lock().expect("no panic").poll_recv(cx);
        let Poll::Ready(Some((from, bytes))) = received else { return Poll::Pending };
        buffers[0][..bytes.len()].copy_from_slice(&bytes);
        let (len, stride) = (bytes.len(), bytes.len());
        meta[0] = RecvMeta { addr: from, len, stride, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.address).finish()
    }
}

/// There is always room to send; what is too much is lost.
#[derive(Debug)]
struct Always;

impl UdpPoller for Always {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
