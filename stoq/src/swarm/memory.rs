//! A network in memory, for tests: the addresses are those of the real one, a connection is a pair of queues, and everybody is
//! who they say they are.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::futures::{AsyncRead, AsyncWrite};
use libp2p::{Multiaddr, PeerId, Transport};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::address::{from_multiaddr, to_multiaddr};

/// How long a dial waits for somebody to accept it: what the handshake of the real transport waits.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The most dials that wait at one listener.
const DIALS_WAITING_MAX: usize = 256;
/// The most streams that wait to be accepted.
const STREAMS_WAITING_MAX: usize = 64;
/// The bytes that one direction of a stream holds.
const STREAM_BYTES: usize = 16 << 10;

/// The network. Clones are the same network.
#[derive(Clone, Default)]
pub struct Network {
    listeners: Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Dial>>>>,
}

/// A connection in memory.
struct Muxer {
    to_peer: mpsc::Sender<DuplexStream>,
    from_peer: mpsc::Receiver<DuplexStream>,
}

/// A stream in memory.
struct Substream(DuplexStream);

/// Somebody dials.
struct Dial {
    from: (PeerId, SocketAddr),
    muxer: Muxer,
    accepted: oneshot::Sender<PeerId>,
}

/// The transport of one node.
struct Port {
    network: Network,
    peer: PeerId,
    address: SocketAddr,
    listener: Option<(ListenerId, mpsc::Receiver<Dial>)>,
    announce: bool,
}

impl Network {
    /// Gives the transport of a node that lives at an address of this network.
    pub fn transport(&self, peer: PeerId, address: SocketAddr) -> Boxed<(PeerId, StreamMuxerBox)> {
        Port { network: self.clone(), peer, address, listener: None, announce: false }.boxed()
    }

    fn listener(&self, address: SocketAddr) -> Option<mpsc::Sender<Dial>> {
        self.listeners.lock().expect("no holder panics").get(&address).cloned()
    }
}

impl Transport for Port {
    type Output = (PeerId, StreamMuxerBox);
    type Error = io::Error;
    type ListenerUpgrade = Ready<Result<Self::Output, io::Error>>;
    type Dial = Pin<Box<dyn Future<Output = Result<Self::Output, io::Error>> + Send>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let (address, _) = from_multiaddr(&address).map_err(|e| TransportError::MultiaddrNotSupported(e.address))?;
        let (send, receive) = mpsc::channel(DIALS_WAITING_MAX);
        self.network.listeners.lock().expect("no holder panics").insert(address, send);
        (self.listener, self.announce) = (Some((id, receive)), true);
        Ok(())
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        self.network.listeners.lock().expect("no holder panics").remove(&self.address);
        self.listener.take().is_some()
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let (address, _) = from_multiaddr(&address).map_err(|e| TransportError::MultiaddrNotSupported(e.address))?;
        let (listener, from) = (self.network.listener(address), (self.peer, self.address));
        Ok(Box::pin(async move {
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let ((here, there), (accepted, answer)) = (pair(), oneshot::channel());
            listener.try_send(Dial { from, muxer: there, accepted }).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            let answer = tokio::time::timeout(DIAL_TIMEOUT, answer).await.map_err(|_| io::ErrorKind::TimedOut)?;
            let peer = answer.map_err(|_| io::ErrorKind::ConnectionReset)?;
            Ok((peer, StreamMuxerBox::new(here)))
        }))
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = self.get_mut();
        let local_addr = to_multiaddr(this.address);
        let Some((listener_id, listener)) = &mut this.listener else { return Poll::Pending };
        let listener_id = *listener_id;
        if std::mem::take(&mut this.announce) {
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr: local_addr });
        }
        let Poll::Ready(Some(dial)) = listener.poll_recv(context) else { return Poll::Pending };
        // Whoever dialled may have given up.
        dial.accepted.send(this.peer).ok();
        let (peer, address) = dial.from;
        let upgrade = ready(Ok((peer, StreamMuxerBox::new(dial.muxer))));
        let send_back_addr = to_multiaddr(address);
        Poll::Ready(TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.listener.is_some() {
            self.network.listeners.lock().expect("no holder panics").remove(&self.address);
        }
    }
}

fn pair() -> (Muxer, Muxer) {
    let (a, from_a) = mpsc::channel(STREAMS_WAITING_MAX);
    let (b, from_b) = mpsc::channel(STREAMS_WAITING_MAX);
    (Muxer { to_peer: a, from_peer: from_b }, Muxer { to_peer: b, from_peer: from_a })
}

impl StreamMuxer for Muxer {
    type Substream = Substream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        let stream = std::task::ready!(self.get_mut().from_peer.poll_recv(context));
        Poll::Ready(stream.map(Substream).ok_or_else(|| io::ErrorKind::ConnectionReset.into()))
    }

    fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        let (here, there) = tokio::io::duplex(STREAM_BYTES);
        match self.to_peer.try_send(there) {
            Ok(()) => Poll::Ready(Ok(Substream(here))),
            // Gone, or it accepts nothing: libp2p's own bounds are below this one.
            Err(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().from_peer.close();
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}

impl AsyncRead for Substream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        std::task::ready!(Pin::new(&mut self.get_mut().0).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Substream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
