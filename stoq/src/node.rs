//! A node: one UDP port with the control plane, the connections of the data lane and the services that it offers, on two
//! threads of its own.
//!
//! The control plane is short messages and timers; the data plane moves bytes. Each has a runtime of one thread, so that
//! neither waits for the other and nothing runs on the threads of the host. After [`Node::shutdown`] no thread, task or socket
//! of the node is left. (One thread of libp2p's timers, `futures-timer`, serves all nodes of a process and stays.)

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::PeerId;
use crate::endpoint::{BindError, Connection, Endpoint, EndpointOptions, Incoming};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::metrics::Snapshot;
use crate::pool::Pool;
use crate::service::{Peers, RegisterError, Service, Services};
use crate::swarm::{self, AddressBook, Driver, DriverOptions, Handle, Settings};
use crate::tls::Clock;

mod peers;
#[cfg(test)]
mod tests;

/// How often the certificates of connected peers are judged again, against the lists that are believed then.
pub const REVALIDATION_INTERVAL: Duration = Duration::from_secs(60);

/// What a node is made of.
pub struct NodeOptions {
    /// Who it is and whom it believes.
    pub identity: Arc<dyn Identity>,
    /// The time by which certificates and records are judged.
    pub clock: Clock,
    /// Where it listens; `[::]` takes IPv4, too. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Where it is reached besides, such as behind a translator of addresses.
    pub advertise: Vec<SocketAddr>,
    /// Where others are expected to be, besides those in the settings.
    pub bootstrap: Vec<SocketAddr>,
    /// The bounds of the transport. The control plane has as many connections at most.
    pub limits: Limits,
    /// The settings of the control plane.
    pub settings: Settings,
    /// What peers may ask for; more can be added to [`Node::services`].
    pub services: Vec<Arc<dyn Service>>,
}

/// A node that runs. Dropping it shuts it down, too, and waits for its threads.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    endpoint: Endpoint,
    handle: Handle,
    services: Services,
    peers: Arc<peers::OnDataPlane>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ended: watch::Receiver<()>,
}

/// A node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port cannot be opened.
    #[error("the port of the node cannot be opened")]
    Bind(#[source] BindError),
    /// The control plane cannot start.
    #[error("the control plane cannot start")]
    Swarm(#[source] swarm::StartError),
    /// A service cannot be offered.
    #[error("a service cannot be offered")]
    Service(#[source] RegisterError),
    /// The system gives no thread or runtime.
    #[error("the thread `{thread}` cannot be started")]
    Thread {
        /// Which.
        thread: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What a node counted.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    /// The port.
    pub transport: Snapshot,
    /// The control plane.
    pub swarm: swarm::Metrics,
}

/// What the data plane hands to the rest of the node.
struct DataPlane {
    endpoint: Endpoint,
    pool: Pool,
    control: mpsc::Receiver<Connection>,
    runtime: tokio::runtime::Handle,
}

/// In which order the threads end: the control plane, so that it says goodbye; the port; the runtime that served both.
struct Ending {
    stopped: watch::Receiver<bool>,
    control_ended: oneshot::Receiver<()>,
    port_closed: oneshot::Sender<()>,
    /// Dropped when the runtime of the port has nothing more to do.
    ended: watch::Sender<()>,
}

impl Node {
    /// Starts a node: when this returns, it listens.
    ///
    /// # Errors
    /// A bound or setting that makes no sense, no certificate, an address that is not free, two services of one name.
    pub fn start(options: NodeOptions) -> Result<Self, StartError> {
        let NodeOptions { identity, clock, listen, advertise, bootstrap, limits, mut settings, services } = options;
        settings.discovery.bootstrap.extend(bootstrap);
        settings.connections_max =
            settings.connections_max.min(u32::try_from(limits.connections_max).unwrap_or(u32::MAX));
        let registry = Services::new();
        services.into_iter().try_for_each(|service| registry.register(service)).map_err(StartError::Service)?;
        let book = Arc::new(AddressBook::default());
        let (stop, stopped) = watch::channel(false);
        let (control_end, control_ended) = oneshot::channel();
        let (port_close, port_closed) = oneshot::channel();
        let (end, ended) = watch::channel(());
        let port = EndpointOptions { identity: identity.clone(), listen, limits, clock: clock.clone() };
        let ending = Ending { stopped: stopped.clone(), control_ended, port_closed: port_close, ended: end };
        let (data, data_thread) = start_data(port, registry.clone(), book.clone(), ending)?;
        let address = data.endpoint.local_address();
        let transport = swarm::transport(data.endpoint.clone(), data.control);
        let driver = DriverOptions { identity, clock, transport, listen: address, advertise, settings, book };
        let ending = ControlEnding { stopped, control_ended: control_end, port_closed };
        let (handle, control_thread) = match start_control(driver, ending) {
            Ok(started) => started,
            Err(error) => {
                // The data plane sees that its counterpart is gone, and ends; the port is free when this returns.
                stop.send_replace(true);
                drop(data.pool);
                join(data_thread);
                return Err(error);
            }
        };
        let peers = Arc::new(peers::OnDataPlane::new(data.pool, data.runtime, handle.clone()));
        let threads = Mutex::new(vec![control_thread, data_thread]);
        Ok(Self { address, endpoint: data.endpoint, handle, services: registry, peers, stop, threads, ended })
    }

    /// Shuts the node down: tells peers, ends what is under way, and waits until no thread, task or socket of it is left.
    /// Streams that somebody still holds are ended, and keep the socket until they are dropped. Whoever calls it again waits
    /// for the same end.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        // Nothing is ever sent: it fails when the sender is gone.
        self.ended.clone().changed().await.ok();
        self.join();
    }

    /// Waits until the node is being shut down.
    pub async fn stopped(&self) {
        // It fails when the node is gone.
        self.stop.subscribe().wait_for(|stop| *stop).await.ok();
    }

    /// Gives the id of this node.
    pub fn peer_id(&self) -> PeerId {
        self.handle.peer_id()
    }

    /// Gives the address on which this node listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the control plane: peers, providers, records, announcements, events.
    pub fn swarm(&self) -> &Handle {
        &self.handle
    }

    /// Gives the way to ask peers for services. Works on any thread; where nobody knows the address of a peer, it is looked up.
    pub fn pool(&self) -> Arc<dyn Peers> {
        self.peers.clone()
    }

    /// Gives what peers may ask for.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Judges the certificates of connected peers again, now; says how many connections were closed. It is done every minute.
    pub fn revalidate(&self) -> usize {
        self.endpoint.revalidate()
    }

    /// Gives what a peer was called in the certificate that it showed last, if it had a connection not long ago.
    pub fn name_of(&self, peer: PeerId) -> Option<String> {
        self.endpoint.name_of(peer)
    }

    /// Gives what the port has counted.
    pub fn transport(&self) -> Snapshot {
        self.endpoint.metrics()
    }

    /// Gives what was counted.
    ///
    /// # Errors
    /// The node is shut down.
    pub async fn metrics(&self) -> Result<NodeMetrics, swarm::OperationError> {
        Ok(NodeMetrics { transport: self.transport(), swarm: self.handle.metrics().await? })
    }

    /// Waits for the threads.
    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(join);
    }
}

/// Waits for a thread, but for this one.
fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
        tracing::error!("a thread of a node ended by a panic");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.join();
    }
}

struct ControlEnding {
    stopped: watch::Receiver<bool>,
    control_ended: oneshot::Sender<()>,
    port_closed: oneshot::Receiver<()>,
}

fn start_data(
    port: EndpointOptions,
    services: Services,
    book: Arc<AddressBook>,
    ending: Ending,
) -> Result<(DataPlane, JoinHandle<()>), StartError> {
    spawn("stoq-data", move |runtime, started| {
        let handle = runtime.handle().clone();
        runtime.block_on(async move {
            let (endpoint, Incoming { control, data }) = match Endpoint::bind(port) {
                Ok(bound) => bound,
                Err(error) => return drop(started.send(Err(StartError::Bind(error)))),
            };
            let pool = Pool::new(endpoint.clone(), data, services, move |peer| book.addresses(peer));
            let plane = DataPlane { endpoint: endpoint.clone(), pool, control, runtime: handle };
            if started.send(Ok(plane)).is_err() {
                return;
            }
            serve_until_stopped(&endpoint, ending.stopped).await;
            // Whether it said goodbye or could not start: it is gone.
            ending.control_ended.await.ok();
            endpoint.close().await;
            ending.port_closed.send(()).ok();
            drop(ending.ended);
        });
    })
}

async fn serve_until_stopped(endpoint: &Endpoint, mut stopped: watch::Receiver<bool>) {
    let mut revalidations = tokio::time::interval(REVALIDATION_INTERVAL);
    loop {
        tokio::select! {
            // An error means that the node is gone.
            _ = stopped.wait_for(|stopped| *stopped) => return,
            _ = revalidations.tick() => drop(endpoint.revalidate()),
        }
    }
}

fn start_control(options: DriverOptions, ending: ControlEnding) -> Result<(Handle, JoinHandle<()>), StartError> {
    spawn("stoq-control", move |runtime, started| {
        runtime.block_on(async move {
            let (mut driver, handle) = match Driver::new(options) {
                Ok(made) => made,
                Err(error) => return drop(started.send(Err(StartError::Swarm(error)))),
            };
            if started.send(Ok(handle)).is_err() {
                return;
            }
            let mut stopped = ending.stopped;
            tokio::select! {
                () = driver.run() => (),
                _ = stopped.wait_for(|stopped| *stopped) => (),
            }
            drop(driver);
            ending.control_ended.send(()).ok();
            // The connections that this node dialled live in this runtime until they are closed.
            ending.port_closed.await.ok();
        });
    })
}

/// What a thread says when it has started.
type Started<T> = oneshot::Sender<Result<T, StartError>>;

/// Starts a thread with a runtime, and waits for what it says.
fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce(tokio::runtime::Runtime, Started<T>) + Send + 'static,
) -> Result<(T, JoinHandle<()>), StartError> {
    let failed = |source| StartError::Thread { thread: name, source };
    let runtime = tokio::runtime::Builder::new_current_thread().thread_name(name).enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let (started, start) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(runtime, started));
    let thread = thread.map_err(failed)?;
    let error = match receive(start) {
        Some(Ok(started)) => return Ok((started, thread)),
        Some(Err(error)) => error,
        None => failed(std::io::Error::other("it ended by a panic")),
    };
    join(thread);
    Err(error)
}

/// Waits for a thread on whatever thread this is, also on one of a runtime.
fn receive<T>(from: oneshot::Receiver<T>) -> Option<T> {
    libp2p::futures::executor::block_on(from).ok()
}
