//! Connections: who came, who went, what they say of themselves, and whom to try next.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, identify, kad, mdns, ping};

use super::{Driver, answer};
use crate::swarm::address::{believable, from_multiaddr, subnet, to_multiaddr};
use crate::swarm::behaviour::KADEMLIA;
use crate::swarm::discovery::{self, Action, Source};
use crate::swarm::exchange::{Contact, PEERS_PER_ANSWER_MAX, Question};
use crate::swarm::gate::Keep;
use crate::swarm::handle::{PeerState, Reply};
use crate::swarm::{ADDRESSES_PER_PEER_MAX, Event, OperationError};

/// The most addresses of this node that are counted before one is believed.
const OBSERVED_MAX: usize = 16;
/// So many peers have to see this node at an address when it knows another one already.
const OBSERVERS_NEEDED: usize = 2;

/// A connected peer.
pub(super) struct Peer {
    /// Where it is, by its last connection.
    pub(super) remote: Option<SocketAddr>,
    /// Whether it said that it keeps a routing table and entries for others.
    pub(super) serves_table: bool,
}

/// A dial that this node began.
pub(super) struct Dial {
    address: SocketAddr,
    reply: Option<Reply<PeerId>>,
}

/// Where peers see this node, and how many do.
#[derive(Default)]
pub(super) struct Observed(BTreeMap<SocketAddr, BTreeSet<PeerId>>);

impl Observed {
    /// Counts; says whether enough peers agree.
    fn agree(&mut self, address: SocketAddr, observer: PeerId, needed: usize) -> bool {
        if self.0.len() >= OBSERVED_MAX && !self.0.contains_key(&address) {
            self.0.pop_first();
        }
        let observers = self.0.entry(address).or_default();
        observers.insert(observer);
        let enough = observers.len() >= needed;
        if enough {
            self.0.remove(&address);
        }
        enough
    }
}

impl Driver {
    pub(super) fn connect(&mut self, address: SocketAddr, reply: Reply<PeerId>) {
        let Some(reply) = self.admit(reply) else { return };
        self.dial(None, &[address], Some(reply));
    }

    pub(super) fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dial { peer, addresses } => self.dial(peer, &addresses, None),
                Action::Ask { peer } => self.ask_peers(peer),
                Action::Walk => {
                    // Anywhere: what matters is who is met on the way.
                    self.swarm.behaviour_mut().kad.get_closest_peers(PeerId::random());
                }
                Action::Disconnect { peer } => self.disconnect(peer),
                Action::Block { peer } => {
                    let behaviour = self.swarm.behaviour_mut();
                    behaviour.gate.block(peer);
                    behaviour.gossip.blacklist_peer(&peer);
                    behaviour.kad.remove_peer(&peer);
                    self.disconnect(peer);
                }
                Action::Unblock { peer } => {
                    let behaviour = self.swarm.behaviour_mut();
                    behaviour.gate.unblock(&peer);
                    behaviour.gossip.remove_blacklisted_peer(&peer);
                }
                Action::Keep { peer } => self.swarm.behaviour_mut().gate.keep(&peer, Keep::Open),
                Action::Release { peer } => self.swarm.behaviour_mut().gate.keep(&peer, Keep::WhileUsed),
            }
        }
    }

    fn disconnect(&mut self, peer: PeerId) {
        // It may have gone already.
        self.swarm.disconnect_peer_id(peer).ok();
    }

    /// Tells discovery, and does what it wants.
    pub(super) fn discover(&mut self, event: discovery::Event) {
        let actions = self.discovery.handle(Instant::now(), event);
        self.apply(actions);
    }

    pub(super) fn misbehaved(&mut self, peer: PeerId) {
        self.discover(discovery::Event::Misbehaved { peer });
    }

    fn dial(&mut self, peer: Option<PeerId>, addresses: &[SocketAddr], reply: Option<Reply<PeerId>>) {
        let Some(first) = addresses.first().copied() else { return };
        let options: DialOpts = match peer {
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(addresses.iter().copied().map(to_multiaddr).collect())
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .build(),
            None => DialOpts::unknown_peer_id().address(to_multiaddr(first)).build(),
        };
        let id = options.connection_id();
        self.dials.insert(id, Dial { address: first, reply });
        // Libp2p reports most failures as events, and those that it finds at once only here.
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(id, peer, &error);
        }
    }

    pub(super) fn established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let remote = from_multiaddr(endpoint.get_remote_address()).ok().map(|(address, _)| address);
        if let Some(Dial { reply: Some(reply), .. }) = self.dials.remove(&id) {
            answer(reply, Ok(peer));
        }
        let serves_table = self.peers.get(&peer).is_some_and(|known| known.serves_table);
        if self.peers.insert(peer, Peer { remote, serves_table }).is_none() {
            // Nobody may be listening.
            self.events.send(Event::PeerJoined { peer }).ok();
        }
        // A node dials from the port on which it listens, so this is its address in either direction.
        if let Some(remote) = remote {
            self.book.prefer(peer, remote);
        }
        let dialled = remote.filter(|_| endpoint.is_dialer());
        self.discover(discovery::Event::Connected { peer, dialled });
        self.provider_reached(peer);
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.quotas.remove(&peer);
        self.events.send(Event::PeerLeft { peer }).ok();
        self.discover(discovery::Event::Disconnected { peer });
    }

    pub(super) fn dial_failed(&mut self, id: ConnectionId, peer: Option<PeerId>, error: &DialError) {
        let dial = self.dials.remove(&id);
        // Somebody else is dialling it already, or there is a connection: nothing failed.
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        self.metrics.dials_failed += 1;
        let addresses: Vec<SocketAddr> = dial.iter().map(|dial| dial.address).collect();
        if let Some(Dial { address, reply: Some(reply) }) = dial {
            answer(reply, Err(OperationError::Unreachable { address, reason: error.to_string() }));
        }
        self.discover(discovery::Event::DialFailed { peer, addresses });
        if let Some(peer) = peer.filter(|peer| !self.peers.contains_key(peer)) {
            self.provider_lost(peer);
        }
    }

    pub(super) fn listening(&mut self, address: Multiaddr) {
        // Without an address that others can use, entries of this node would be dropped by whoever answers with them.
        if from_multiaddr(&address).is_ok_and(|(address, _)| !address.ip().is_unspecified()) {
            self.swarm.add_external_address(address);
        }
    }

    pub(super) fn identified(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id: peer, info, .. } = event else { return };
        if !self.may_ask(peer) {
            return;
        }
        if info.public_key.to_peer_id() != peer {
            self.misbehaved(peer);
            return;
        }
        let addresses = self.addresses_of(peer, &info.listen_addrs);
        self.book.replace(peer, addresses.clone());
        let serves_table = info.protocols.contains(&KADEMLIA);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.serves_table = serves_table;
        }
        if serves_table {
            self.enter_table(peer, &addresses);
        }
        self.seen_at(peer, &info.observed_addr);
        self.discover(discovery::Event::Heard { peer, addresses, source: Source::Itself });
    }

    /// Gives the addresses of a connected peer: first where it is seen, then what can be true of what it claims.
    pub(super) fn addresses_of(&self, peer: PeerId, claimed: &[Multiaddr]) -> Vec<SocketAddr> {
        let remote = self.peers.get(&peer).and_then(|peer| peer.remote);
        let claimed = believable(peer, claimed, remote.map(|remote| remote.ip()));
        let others = claimed.into_iter().filter(|address| Some(*address) != remote);
        remote.into_iter().chain(others).take(ADDRESSES_PER_PEER_MAX).collect()
    }

    /// Puts a peer into the routing table with these addresses and no others, unless its network has enough there.
    fn enter_table(&mut self, peer: PeerId, addresses: &[SocketAddr]) {
        if addresses.iter().any(|address| self.is_crowded(peer, address.ip())) {
            return;
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        for address in addresses {
            kad.add_address(&peer, to_multiaddr(*address));
        }
        let key = kad::KBucketKey::from(peer);
        let known: Vec<Multiaddr> = kad
            .kbucket(peer)
            .into_iter()
            .flat_map(|bucket| {
                let entry = bucket.iter().find(|entry| *entry.node.key == key);
                entry.map(|entry| entry.node.value.iter().cloned().collect::<Vec<_>>())
            })
            .flatten()
            .collect();
        for old in known {
            let current = from_multiaddr(&old).is_ok_and(|(address, _)| addresses.contains(&address));
            if !current {
                kad.remove_address(&peer, &old);
            }
        }
    }

    /// Offers a peer that answers the place of one that does not any more, if its bucket was full when it came.
    fn offer_place(&mut self, peer: PeerId) {
        if self.peers.get(&peer).is_some_and(|known| known.serves_table) && !self.is_in_table(peer) {
            self.enter_table(peer, &self.book.addresses(peer));
        }
    }

    fn is_in_table(&mut self, peer: PeerId) -> bool {
        let key = kad::KBucketKey::from(peer);
        let bucket = self.swarm.behaviour_mut().kad.kbucket(peer);
        bucket.is_some_and(|bucket| bucket.iter().any(|entry| *entry.node.key == key))
    }

    fn is_crowded(&mut self, peer: PeerId, ip: IpAddr) -> bool {
        let Some(subnet) = subnet(ip) else { return false };
        let in_subnet = |address: &Multiaddr| {
            from_multiaddr(address).is_ok_and(|(a, _)| crate::swarm::address::subnet(a.ip()) == Some(subnet))
        };
        let mut neighbours = HashSet::new();
        for bucket in self.swarm.behaviour_mut().kad.kbuckets() {
            let of_subnet = bucket.iter().filter(|entry| entry.node.value.iter().any(in_subnet));
            neighbours.extend(of_subnet.map(|entry| *entry.node.key.preimage()));
        }
        neighbours.remove(&peer);
        neighbours.len() >= self.settings.peers_per_subnet_max
    }

    /// Takes an address for one of this node when peers see it there: the first if it knows none, later ones if two agree.
    fn seen_at(&mut self, observer: PeerId, at: &Multiaddr) {
        let Ok((address, _)) = from_multiaddr(at) else { return };
        let own = self.own_addresses();
        let listens = |listener: &Multiaddr| from_multiaddr(listener).is_ok_and(|(l, _)| l.port() == address.port());
        if own.contains(&address) || !self.swarm.listeners().any(listens) {
            return;
        }
        let needed = if own.is_empty() { 1 } else { OBSERVERS_NEEDED };
        if self.observed.agree(address, observer, needed) && own.len() < OBSERVED_MAX {
            self.swarm.add_external_address(to_multiaddr(address));
        }
    }

    pub(super) fn pinged(&mut self, event: &ping::Event) {
        let peer = event.peer;
        match event.result {
            Ok(round_trip) => {
                self.discover(discovery::Event::Answered { peer, round_trip });
                self.offer_place(peer);
            }
            Err(ping::Failure::Unsupported) => (),
            Err(_) => self.discover(discovery::Event::Unanswered { peer }),
        }
    }

    pub(super) fn local_network_event(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else { return };
        for (peer, address) in found {
            let addresses = believable(peer, &[address], None);
            self.discover(discovery::Event::Heard { peer, addresses, source: Source::LocalNetwork });
        }
    }

    fn ask_peers(&mut self, peer: PeerId) {
        let id = self.swarm.behaviour_mut().exchange.send_request(&peer, Question::Peers);
        self.questions.insert(id, super::Asked::Peers);
    }

    /// Takes the peers that a peer named.
    pub(super) fn peers_named(&mut self, by: PeerId, contacts: Vec<Contact>) {
        let seen = self.peers.get(&by).and_then(|peer| peer.remote).map(|remote| remote.ip());
        for contact in contacts.into_iter().take(PEERS_PER_ANSWER_MAX) {
            let Some(peer) = contact.peer() else { continue };
            let claimed: Vec<Multiaddr> = contact.addresses.into_iter().map(to_multiaddr).collect();
            let addresses = believable(peer, &claimed, seen);
            self.discover(discovery::Event::Heard { peer, addresses, source: Source::Peer(by) });
        }
    }

    /// Chooses whom to name to a peer: the best that this node is connected to.
    pub(super) fn contacts_for(&self, asker: PeerId) -> Vec<Contact> {
        let best = self.discovery.standings().into_iter().filter(|s| s.connected && s.peer != asker);
        best.map(|standing| Contact { peer: standing.peer.to_bytes(), addresses: self.book.addresses(standing.peer) })
            .filter(|contact| !contact.addresses.is_empty())
            .take(PEERS_PER_ANSWER_MAX)
            .collect()
    }

    pub(super) fn peer_states(&mut self) -> Vec<PeerState> {
        let standings = self.discovery.standings();
        standings
            .into_iter()
            .map(|standing| PeerState {
                peer: standing.peer,
                connected: standing.connected,
                in_table: self.is_in_table(standing.peer),
                addresses: self.book.addresses(standing.peer),
                round_trip: standing.round_trip,
                quality: standing.quality,
            })
            .collect()
    }
}
