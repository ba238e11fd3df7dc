//! The control lane as libp2p's transport. Connections come from [`Endpoint`] authenticated: there is nothing to upgrade, and
//! whoever is not the peer that was dialled never becomes a connection.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::{Multiaddr, PeerId, Transport};
use tokio::sync::mpsc;

use super::address::{from_multiaddr, to_multiaddr};
use super::muxer::Muxer;
use crate::endpoint::{ConnectError, Connection, Endpoint};
use crate::tls::Lane;

/// One port; it listens already, and is told here that somebody wants to know.
struct Port {
    endpoint: Endpoint,
    incoming: mpsc::Receiver<Connection>,
    listener: Option<ListenerId>,
    announced: bool,
}

/// Makes a transport of the control lane of an endpoint.
pub fn transport(endpoint: Endpoint, control: mpsc::Receiver<Connection>) -> Boxed<(PeerId, StreamMuxerBox)> {
    Port { endpoint, incoming: control, listener: None, announced: false }.boxed()
}

impl Transport for Port {
    type Output = (PeerId, StreamMuxerBox);
    type Error = ConnectError;
    type ListenerUpgrade = Ready<Result<Self::Output, ConnectError>>;
    type Dial = Pin<Box<dyn Future<Output = Result<Self::Output, ConnectError>> + Send>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<ConnectError>> {
        if self.listener.is_some() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.listener = Some(id);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listener.take_if(|listener| *listener == id).is_some()
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<ConnectError>> {
        let parsed = from_multiaddr(&address).map_err(|e| TransportError::MultiaddrNotSupported(e.address))?;
        let (endpoint, (address, peer)) = (self.endpoint.clone(), parsed);
        Ok(Box::pin(async move { Ok(muxed(endpoint.connect(address, peer, Lane::Control).await?)) }))
    }

    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, ConnectError>> {
        let this = self.get_mut();
        let local_addr = to_multiaddr(this.endpoint.local_address());
        let Some(listener_id) = this.listener else { return Poll::Pending };
        if !std::mem::replace(&mut this.announced, true) {
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr: local_addr });
        }
        let Poll::Ready(Some(connection)) = this.incoming.poll_recv(context) else { return Poll::Pending };
        let send_back_addr = to_multiaddr(connection.remote_address());
        let upgrade = ready(Ok(muxed(connection)));
        Poll::Ready(TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr })
    }
}

fn muxed(connection: Connection) -> (PeerId, StreamMuxerBox) {
    let (peer, quic) = (connection.peer(), connection.quic().clone());
    (peer, StreamMuxerBox::new(Muxer::new(quic, connection)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::swarm::cluster::until;
    use crate::swarm::{Driver, DriverOptions, Handle, OperationError, Settings};
    use crate::testing::{Authority, TestIdentity};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Starts the control plane of a node on a port of the loopback interface.
    fn start(authority: &Authority, identity: &Arc<TestIdentity>, settings: Settings) -> (Handle, SocketAddr) {
        let (endpoint, incoming) = identity.bind(&authority.clock());
        let (listen, identity) = (endpoint.local_address(), identity.clone());
        let transport = transport(endpoint, incoming.control);
        let (clock, advertise) = (authority.clock(), Vec::new());
        let options = DriverOptions { identity, clock, transport, listen, advertise, settings, book: Arc::default() };
        let (mut driver, handle) = Driver::new(options).expect("it starts");
        tokio::spawn(async move { driver.run().await });
        (handle, listen)
    }

    #[tokio::test]
    async fn nodes_on_quic_find_what_others_provide() {
        let authority = Authority::new();
        let mut settings = Settings::default();
        let mut nodes = Vec::new();
        for number in 0..5 {
            let (handle, address) = start(&authority, &authority.node(&format!("n{number}")), settings.clone());
            settings.discovery.bootstrap = vec![nodes.first().map_or(address, |(_, first)| *first)];
            nodes.push((handle, address));
        }
        for (node, _) in &nodes {
            until(PATIENCE, "each knows all others", async || {
                node.metrics().await.is_ok_and(|metrics| metrics.peers_connected == 4 && metrics.table_peers == 4)
            })
            .await;
        }
        let key = [7; 32];
        let stored = nodes[1].0.provide(key).await.expect("it is stored");
        assert_eq!(stored.asked, 4);
        for (node, _) in nodes.iter().filter(|(node, _)| node.peer_id() != nodes[1].0.peer_id()) {
            let found = node.providers(key, 1).await.expect("the lookup ends").value;
            assert_eq!((found[0].peer, found[0].addresses[0]), (nodes[1].0.peer_id(), nodes[1].1));
        }
        until(PATIENCE, "round trips are measured", async || {
            nodes[0].0.peers().await.is_ok_and(|peers| peers.iter().any(|peer| peer.round_trip.is_some()))
        })
        .await;
    }

    #[tokio::test]
    async fn a_stranger_and_somebody_else_are_no_peers() {
        let (authority, strangers) = (Authority::new(), Authority::new());
        let (node, address) = start(&authority, &authority.node("n0"), Settings::default());
        let (stranger, _) = start(&strangers, &strangers.node("s0"), Settings::default());
        let refused = stranger.connect(address).await.expect_err("it is not believed");
        assert!(matches!(refused, OperationError::Unreachable { .. }), "{refused}");
        let (other, other_address) = start(&authority, &authority.node("n1"), Settings::default());
        assert_eq!(node.connect(other_address).await.expect("it is"), other.peer_id());
        let metrics = node.metrics().await.expect("it runs");
        assert_eq!((metrics.peers_connected, metrics.connections_denied), (1, 0));
        let known: Vec<PeerId> = node.peers().await.expect("it runs").into_iter().map(|state| state.peer).collect();
        assert_eq!(known, [other.peer_id()]);
    }

    #[tokio::test]
    async fn whoever_listens_everywhere_learns_its_address_from_peers() {
        let authority = Authority::new();
        let (first, address) = start(&authority, &authority.node("n0"), Settings::default());
        let identity = authority.node("n1");
        let (listen, clock) = (SocketAddr::from(([0, 0, 0, 0], 0)), authority.clock());
        let limits = crate::limits::Limits::default();
        let options =
            crate::endpoint::EndpointOptions { identity: identity.clone(), listen, limits, clock: clock.clone() };
        let (endpoint, incoming) = Endpoint::bind(options).expect("a port is free");
        let port = endpoint.local_address().port();
        let transport = transport(endpoint, incoming.control);
        let settings = Settings::default();
        let options =
            DriverOptions { identity, clock, transport, listen, advertise: Vec::new(), settings, book: Arc::default() };
        let (mut driver, everywhere) = Driver::new(options).expect("it starts");
        tokio::spawn(async move { driver.run().await });
        everywhere.connect(address).await.expect("it is there");
        let expected = SocketAddr::from(([127, 0, 0, 1], port));
        until(PATIENCE, "it is in the table with its address", async || {
            let found = first.closest(b"any").await.expect("the lookup ends").value;
            found.iter().any(|p| p.peer == everywhere.peer_id() && p.addresses == [expected])
        })
        .await;
    }
}
