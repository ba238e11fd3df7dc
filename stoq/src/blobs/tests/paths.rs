//! Long, lossy and broken paths, in virtual time: QUIC is real, with its timers, and the datagrams are not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::congestion::{ControllerFactory, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TransportConfig};
use tokio::time::Instant;
use trustchain::digest::Blake3;

use super::network::{One, Place, assert_holds, content, options};
use crate::PeerId;
use crate::blobs::fetch::fetch;
use crate::blobs::serve::{BlobServer, ServeLimits};
use crate::endpoint::ByPath;
use crate::frame;
use crate::identity::{Identity, Pending};
use crate::service::{Caller, OpenError, Peers, REQUEST_BYTES_MAX, Service as _, Stream};
use crate::testing::Authority;
use crate::tls::{self, Clock, Lane, Verifier};

mod wires;

use wires::{Path, Wires};

/// The windows of the transport.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// Which congestion controller.
#[derive(Clone, Copy, Debug)]
enum Control {
    Cubic,
    /// What the transport has.
    ByPath,
}

/// Nodes behind the same kind of path.
struct Virtual {
    wires: Arc<Wires>,
    authority: Authority,
    control: Control,
    client: Endpoint,
    servers: Mutex<HashMap<PeerId, SocketAddr>>,
    connections: tokio::sync::Mutex<HashMap<PeerId, Connection>>,
}

impl Virtual {
    fn new(path: Path, control: Control) -> Arc<Self> {
        let (wires, authority) = (Wires::new(path, 7), Authority::new());
        let client = endpoint(&wires, None);
        let (servers, connections) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { wires, authority, control, client, servers, connections })
    }

    fn transport(&self) -> Arc<TransportConfig> {
        let factory: Arc<dyn ControllerFactory + Send + Sync> = match self.control {
            Control::Cubic => Arc::new(CubicConfig::default()),
            Control::ByPath => Arc::new(ByPath),
        };
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(1452);
        let mut transport = TransportConfig::default();
        transport
            .congestion_controller_factory(factory)
            .stream_receive_window(STREAM_WINDOW_BYTES.into())
            .send_window(u64::from(STREAM_WINDOW_BYTES) * 8)
            .mtu_discovery_config(Some(mtu))
            .keep_alive_interval(Some(Duration::from_secs(3)))
            .max_idle_timeout(Some(Duration::from_secs(10).try_into().expect("is short")));
        Arc::new(transport)
    }

    fn verifier(&self, name: &str) -> (PeerId, Arc<Verifier>) {
        let identity = self.authority.node(name);
        let peer = identity.peer_id();
        let (identity, clock): (Arc<dyn Identity>, Clock) = (identity, self.authority.clock());
        (peer, Verifier::new(&identity, &clock, None))
    }

    fn serve(self: &Arc<Self>, bytes: &[u8]) -> (PeerId, SocketAddr) {
        let (peer, verifier) = self.verifier("server");
        let crypto = QuicServerConfig::try_from(tls::server(&verifier).expect("fits")).expect("has AES-128-GCM");
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(self.transport());
        let endpoint = endpoint(&self.wires, Some(config));
        let address = endpoint.local_addr().expect("has one");
        self.servers.lock().expect("no panic").insert(peer, address);
        let server = Arc::new(BlobServer::new(One::of(bytes), ServeLimits::STANDARD));
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else { continue };
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    while let Ok((send, mut receive)) = connection.accept_bi().await {
                        let server = Arc::clone(&server);
                        tokio::spawn(async move {
                            let request = frame::read(&mut receive, REQUEST_BYTES_MAX).await.expect("a request");
                            let caller = Caller {
                                peer: PeerId::random(),
                                name: "client.node.trustchain".to_owned(),
                                is_hybrid: false,
                            };
                            _ = server.serve(caller, request.into(), Stream { send, receive }).await;
                        });
                    }
                });
            }
        });
        (peer, address)
    }

    async fn connection(&self, peer: PeerId) -> Result<Connection, OpenError> {
        let address = self.servers.lock().expect("no panic")[&peer];
        let (_, verifier) = self.verifier("client");
        let crypto =
            QuicClientConfig::try_from(tls::client(&verifier, Lane::Data).expect("fits")).expect("has AES-128-GCM");
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport());
        let lost = |reason: String| OpenError::Unreachable { peer, reason };
        let dial =
            self.client.connect_with(config, address, tls::SERVER_NAME).map_err(|error| lost(error.to_string()))?;
        dial.await.map_err(|error| lost(error.to_string()))
    }

    async fn ask(&self, peer: PeerId, request: &[u8]) -> Result<Stream, OpenError> {
        let lost = |reason: String| OpenError::Unreachable { peer, reason };
        let connection = {
            let mut connections = self.connections.lock().await;
            match connections.get(&peer) {
                Some(connection) => connection.clone(),
                None => {
                    let connection = self.connection(peer).await?;
                    connections.insert(peer, connection.clone());
                    connection
                }
            }
        };
        let (mut send, receive) = connection.open_bi().await.map_err(|error| lost(error.to_string()))?;
        frame::write(&mut send, request).await.map_err(|error| lost(error.to_string()))?;
        Ok(Stream { send, receive })
    }
}

impl Peers for Virtual {
    fn open<'a>(&'a self, peer: PeerId, _: &'a str, request: &'a [u8]) -> Pending<'a, Result<Stream, OpenError>> {
        Box::pin(self.ask(peer, request))
    }

    fn round_trip(&self, _: PeerId) -> Option<Duration> {
        None
    }
}

fn endpoint(wires: &Arc<Wires>, server: Option<ServerConfig>) -> Endpoint {
    let socket = wires.socket();
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), server, socket, Arc::new(quinn::TokioRuntime))
        .expect("needs no port")
}

/// Fetches from one source and gives the virtual time that it took.
async fn take(path: Path, control: Control, bytes: &[u8]) -> Duration {
    let (network, place) = (Virtual::new(path, control), Place::new());
    let (peer, _) = network.serve(bytes);
    let started = Instant::now();
    let (download, _handle) = fetch(network, place.open(Blake3::of(bytes)), vec![peer], options());
    download.await.expect("is fetched");
    assert_holds(&place, bytes);
    started.elapsed()
}

const LONG_AND_LOSSY: Path =
    Path { delay: Duration::from_millis(50), lost_per_mille: 10, bytes_per_second: 100_000_000 / 8 };

/// One percent of loss at a round trip of 100 ms: CUBIC takes each loss for a full queue, BBR does not.
#[tokio::test(start_paused = true)]
async fn on_a_long_and_lossy_path_the_choice_is_several_times_faster_than_cubic() {
    let bytes = content(4 << 20);
    let ours = take(LONG_AND_LOSSY, Control::ByPath, &bytes).await;
    let cubic = take(LONG_AND_LOSSY, Control::Cubic, &bytes).await;
    let rate = |time: Duration| 8.0 * bytes.len() as f64 / 1e6 / time.as_secs_f64();
    let rates = format!("{:.1} Mbit/s, CUBIC {:.1} Mbit/s", rate(ours), rate(cubic));
    tracing::info!("{rates}");
    assert!(ours * 2 < cubic, "{rates}");
}

/// A source disappears without a word while it sends; the idle timeout of its connection is ten seconds.
#[tokio::test(start_paused = true)]
async fn a_source_that_is_cut_off_costs_at_most_five_seconds() {
    let path = Path { delay: Duration::from_millis(5), lost_per_mille: 0, bytes_per_second: 2 << 20 };
    let bytes = content(16 << 20);
    let (network, place) = (Virtual::new(path, Control::Cubic), Place::new());
    let (first, address) = network.serve(&bytes);
    let (second, _) = network.serve(&bytes);
    let started = Instant::now();
    let (download, handle) = fetch(network.clone(), place.open(Blake3::of(&bytes)), vec![first, second], options());
    let download = tokio::spawn(download);
    let mut progress = handle.progress();
    let before = progress.wait_for(|progress| progress.verified_bytes > 4 << 20).await.expect("goes on").verified_bytes;
    network.wires.cut(address);
    let cut_at = started.elapsed();
    download.await.expect("no panic").expect("is fetched");
    assert_holds(&place, &bytes);
    let alone = Duration::from_secs_f64((bytes.len() as u64 - before) as f64 / path.bytes_per_second as f64);
    let cost = (started.elapsed() - cut_at).saturating_sub(alone);
    assert!(cost <= Duration::from_secs(5), "it cost {cost:?}");
}

/// A path so slow that a group takes far longer than two seconds: it goes on, and nothing is sent twice.
#[tokio::test(start_paused = true)]
async fn a_path_of_a_few_kilobytes_a_second_comes_to_its_end() {
    let path = Path { delay: Duration::from_millis(300), lost_per_mille: 5, bytes_per_second: 20_000 };
    let bytes = content(600_000);
    let took = take(path, Control::Cubic, &bytes).await;
    assert!(took < Duration::from_secs(60), "{took:?}");
}
