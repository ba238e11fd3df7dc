//! The one task that owns the control plane: it takes requests of the node and events of libp2p, and keeps what is under way.
//!
//! Nothing else touches libp2p. What it decides about whom to connect to is [`super::discovery`]'s; here it is only done.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::futures::StreamExt;
use libp2p::identity::{PublicKey, ed25519};
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, kad};
use time::OffsetDateTime;
use tokio::sync::{broadcast, mpsc};

use super::address::to_multiaddr;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::discovery::Discovery;
use super::handle::{COMMANDS_WAITING_MAX, Command, EVENTS_WAITING_MAX, Handle, Metrics, OPERATIONS_MAX, Reply};
use super::{AddressBook, Event, OperationError, Settings, StartError};
use crate::identity::Identity;
use crate::tls::{Clock, moment};

mod gossip;
mod inbound;
mod lookups;
mod peers;
mod writes;

use gossip::Topics;
use lookups::Lookup;
use peers::{Dial, Peer};
#[cfg(test)]
pub(super) use writes::REPUBLISHED_AT_ONCE_MAX;
use writes::{Asked, Quota, Spread, Written};

/// How often the driver looks what is due.
const TICK: Duration = Duration::from_millis(500);
/// How often what expired is forgotten.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// What a control plane is made of.
pub struct DriverOptions {
    /// Who this node is and whom it believes.
    pub identity: Arc<dyn Identity>,
    /// The time by which records are judged.
    pub clock: Clock,
    /// How connections are made: authenticated ones only.
    pub transport: Boxed<(PeerId, StreamMuxerBox)>,
    /// Where the transport listens.
    pub listen: SocketAddr,
    /// Where this node is reached besides, such as behind a translator of addresses.
    pub advertise: Vec<SocketAddr>,
    /// The settings.
    pub settings: Settings,
    /// Where the addresses of peers are kept.
    pub book: Arc<AddressBook>,
}

/// The task. Whoever drops it closes every connection.
pub struct Driver {
    swarm: libp2p::Swarm<Behaviour>,
    identity: Arc<dyn Identity>,
    clock: Clock,
    settings: Settings,
    commands: mpsc::Receiver<Command>,
    events: broadcast::Sender<Event>,
    book: Arc<AddressBook>,
    discovery: Discovery,
    peers: HashMap<PeerId, Peer>,
    dials: HashMap<ConnectionId, Dial>,
    observed: peers::Observed,
    lookups: HashMap<kad::QueryId, Lookup>,
    questions: HashMap<OutboundRequestId, Asked>,
    spreads: HashMap<u64, Spread>,
    spread_next: u64,
    provided: BTreeMap<[u8; 32], Instant>,
    written: BTreeMap<Vec<u8>, Written>,
    quotas: HashMap<PeerId, Quota>,
    topics: Topics,
    metrics: Metrics,
    purge_next: Instant,
}

impl Driver {
    /// Sets everything up and begins to listen; nothing happens before it is run.
    ///
    /// # Errors
    /// A setting that makes no sense, no certificate, or an address that cannot be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(options: DriverOptions) -> Result<(Self, Handle), StartError> {
        let DriverOptions { identity, clock, transport, listen, advertise, mut settings, book } = options;
        settings.validate()?;
        // What is left is for lookups, which connect to whom they ask.
        let peers_max = (settings.connections_max - settings.connections_max / 4) as usize;
        settings.discovery.peers_max = settings.discovery.peers_max.min(peers_max);
        settings.discovery.peers_min = settings.discovery.peers_min.min(peers_max);
        let public = public_key(&*identity).ok_or(StartError::NoCertificate)?;
        let local = public.to_peer_id();
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(settings.idle_timeout)
            .with_max_negotiating_inbound_streams(STREAMS_NEGOTIATING_MAX);
        let mut swarm = libp2p::Swarm::new(transport, Behaviour::new(public, &settings)?, local, config);
        let listening = swarm.listen_on(to_multiaddr(listen));
        listening.map_err(|e| StartError::Listen { reason: e.to_string() })?;
        advertise.into_iter().map(to_multiaddr).for_each(|address| swarm.add_external_address(address));
        let (commands, commands_of) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (events, _) = broadcast::channel(EVENTS_WAITING_MAX);
        let now = Instant::now();
        let handle = Handle { local, commands, events: events.clone(), book: book.clone() };
        let driver = Self {
            swarm,
            identity,
            clock,
            commands: commands_of,
            events,
            book,
            discovery: Discovery::new(local, settings.discovery.clone(), now),
            settings,
            peers: HashMap::new(),
            dials: HashMap::new(),
            observed: peers::Observed::default(),
            lookups: HashMap::new(),
            questions: HashMap::new(),
            spreads: HashMap::new(),
            spread_next: 0,
            provided: BTreeMap::new(),
            written: BTreeMap::new(),
            quotas: HashMap::new(),
            topics: Topics::default(),
            metrics: Metrics::default(),
            purge_next: now + PURGE_INTERVAL,
        };
        Ok((driver, handle))
    }

    /// Runs until it is told to stop or nobody has its [`Handle`] any more.
    pub async fn run(&mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return,
                    Some(Command::Stop { reply }) => {
                        self.commands.close();
                        reply.send(Ok(())).ok();
                        return;
                    }
                    Some(command) => self.command(command),
                },
                event = self.swarm.select_next_some() => self.event(event),
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect { address, reply } => self.connect(address, reply),
            Command::Provide { key, reply } => self.provide(key, reply),
            Command::StopProviding { key, reply } => self.stop_providing(key, reply),
            Command::Providers { key, enough, reply } => self.find_providers(key, enough, reply),
            Command::Put { name, value, reply } => self.put_record(name, value, reply),
            Command::Get { signer, name, reply } => self.get_record(signer, &name, reply),
            Command::Closest { key, reply } => self.find_closest(key, reply),
            Command::Announce { topic, bytes, reply } => answer(reply, self.announce(topic, bytes)),
            Command::Subscribe { topic, validate, reply } => answer(reply, self.subscribe(topic, validate)),
            Command::Misbehaved { peer, reply } => {
                self.misbehaved(peer);
                answer(reply, Ok(()));
            }
            Command::Peers { reply } => {
                let states = self.peer_states();
                answer(reply, Ok(states));
            }
            Command::Metrics { reply } => {
                let metrics = self.measure();
                answer(reply, Ok(metrics));
            }
            Command::Stop { .. } => unreachable!("the loop takes it"),
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.disconnected(peer_id),
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { .. } => self.metrics.connections_denied += 1,
            SwarmEvent::NewListenAddr { address, .. } => self.listening(address),
            _ => (),
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Kad(event) => self.kad_event(event),
            BehaviourEvent::Identify(event) => self.identified(event),
            BehaviourEvent::Ping(event) => self.pinged(&event),
            BehaviourEvent::Gossip(event) => self.gossip_event(event),
            BehaviourEvent::Exchange(event) => self.exchange_event(event),
            BehaviourEvent::Mdns(event) => self.local_network_event(event),
            BehaviourEvent::Limits(never) | BehaviourEvent::Gate(never) => match never {},
        }
    }

    fn kad_event(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, stats, step } => {
                self.lookup_progressed(id, result, &stats, step.last);
            }
            kad::Event::InboundRequest { request } => self.kad_request(request),
            _ => (),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let actions = self.discovery.tick(now);
        self.apply(actions);
        self.republish(now);
        self.close_topics();
        if now >= self.purge_next {
            self.purge_next = now + PURGE_INTERVAL;
            self.store().purge(now);
            // What came from a peer after it had gone began anew.
            self.quotas.retain(|peer, _| self.peers.contains_key(peer));
        }
    }

    fn measure(&mut self) -> Metrics {
        let mut metrics = self.metrics.clone();
        metrics.peers_connected = self.peers.len();
        metrics.table_buckets = self.swarm.behaviour_mut().kad.kbuckets().map(|b| b.num_entries()).collect();
        metrics.table_peers = metrics.table_buckets.iter().sum();
        metrics.store = self.store().sizes();
        metrics.operations = self.operations();
        metrics
    }

    /// Refuses an operation when too many are in flight.
    fn admit<T>(&self, reply: Reply<T>) -> Option<Reply<T>> {
        if self.operations() < OPERATIONS_MAX {
            return Some(reply);
        }
        answer(reply, Err(OperationError::Busy { limit: OPERATIONS_MAX }));
        None
    }

    fn operations(&self) -> usize {
        self.lookups.len() + self.spreads.len() + self.dials.len()
    }

    fn store(&mut self) -> &mut super::store::Store {
        self.swarm.behaviour_mut().kad.store_mut()
    }

    /// Tells the time by which records are judged.
    fn time(&self) -> OffsetDateTime {
        // A clock that cannot tell the time lets nothing hold.
        self.clock.current_time().map_or(time::PrimitiveDateTime::MAX.assume_utc(), moment)
    }

    fn own_addresses(&self) -> Vec<SocketAddr> {
        let own = |address: &Multiaddr| super::address::from_multiaddr(address).ok().map(|(address, _)| address);
        self.swarm.external_addresses().filter_map(own).collect()
    }
}

/// The most streams of one connection whose protocol is not agreed on yet.
const STREAMS_NEGOTIATING_MAX: usize = 64;

/// Answers, unless whoever asked has gone.
fn answer<T>(reply: Reply<T>, result: Result<T, OperationError>) {
    reply.send(result).ok();
}

fn public_key(identity: &dyn Identity) -> Option<PublicKey> {
    let credentials = identity.current();
    let key = ed25519::PublicKey::try_from_bytes(credentials.chain.first()?.key().as_bytes()).ok()?;
    Some(key.into())
}
