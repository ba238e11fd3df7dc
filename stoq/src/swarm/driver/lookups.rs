//! Lookups: who provides a key, what a peer wrote, who is nearest. Each ends: with enough, with all there is, or in time.

use std::collections::BTreeSet;
use std::time::Instant;

use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, QueryId, QueryResult, QueryStats};
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::{Driver, answer};
use crate::swarm::address::believable;
use crate::swarm::exchange::Question;
use crate::swarm::handle::{Found, Provider, Reply};
use crate::swarm::record::{self, Record};
use crate::swarm::{OperationError, Stored};

/// So many peers with a valid record are enough: the newest counts.
const RECORDS_ENOUGH: usize = 3;
/// The most providers that a lookup takes in, whatever peers answer.
const PROVIDERS_MAX: usize = 64;

/// A lookup in flight.
pub(super) enum Lookup {
    Providers(Providers),
    Record {
        key: [u8; 32],
        best: Option<Record>,
        valid: usize,
        started: Instant,
        reply: Reply<Found<Option<Record>>>,
    },
    Closest {
        started: Instant,
        reply: Reply<Found<Vec<Provider>>>,
    },
    /// Peers to tell something to.
    Audience {
        question: Question,
        reply: Option<Reply<Stored>>,
    },
}

/// A lookup of providers: those named by peers are dialled while the lookup still knows their addresses.
pub(super) struct Providers {
    enough: usize,
    reached: BTreeSet<PeerId>,
    waited_for: BTreeSet<PeerId>,
    ended: bool,
    timed_out: bool,
    requests: u32,
    started: Instant,
    reply: Reply<Found<Vec<Provider>>>,
}

impl Driver {
    pub(super) fn find_providers(&mut self, key: [u8; 32], enough: usize, reply: Reply<Found<Vec<Provider>>>) {
        let Some(reply) = self.admit(reply) else { return };
        let id = self.swarm.behaviour_mut().kad.get_providers(record::table_key(&key));
        let lookup = Providers {
            enough: enough.clamp(1, PROVIDERS_MAX),
            reached: BTreeSet::new(),
            waited_for: BTreeSet::new(),
            ended: false,
            timed_out: false,
            requests: 0,
            started: Instant::now(),
            reply,
        };
        self.lookups.insert(id, Lookup::Providers(lookup));
    }

    pub(super) fn get_record(&mut self, signer: PeerId, name: &[u8], reply: Reply<Found<Option<Record>>>) {
        let Some(reply) = self.admit(reply) else { return };
        let key = record::key(signer, name);
        let id = self.swarm.behaviour_mut().kad.get_record(record::table_key(&key));
        self.lookups.insert(id, Lookup::Record { key, best: None, valid: 0, started: Instant::now(), reply });
    }

    pub(super) fn find_closest(&mut self, key: Vec<u8>, reply: Reply<Found<Vec<Provider>>>) {
        let Some(reply) = self.admit(reply) else { return };
        let id = self.swarm.behaviour_mut().kad.get_closest_peers(key);
        self.lookups.insert(id, Lookup::Closest { started: Instant::now(), reply });
    }

    pub(super) fn lookup_progressed(&mut self, id: QueryId, result: QueryResult, stats: &QueryStats, last: bool) {
        match result {
            QueryResult::GetProviders(result) => self.providers_progressed(id, result, stats, last),
            QueryResult::GetRecord(result) => self.record_progressed(id, result, stats, last),
            QueryResult::GetClosestPeers(result) => self.closest_found(id, result, stats),
            // Refreshes of the table, and queries that this driver does not begin.
            _ => (),
        }
    }

    fn providers_progressed(
        &mut self,
        id: QueryId,
        result: Result<kad::GetProvidersOk, kad::GetProvidersError>,
        stats: &QueryStats,
        last: bool,
    ) {
        let Some(Lookup::Providers(lookup)) = self.lookups.get_mut(&id) else { return };
        lookup.ended |= last;
        lookup.timed_out |= result.is_err();
        lookup.requests = stats.num_requests();
        if let Ok(kad::GetProvidersOk::FoundProviders { key, providers }) = result {
            let local = *self.swarm.local_peer_id();
            for peer in providers.into_iter().filter(|peer| *peer != local) {
                let seen = lookup.reached.contains(&peer) || lookup.waited_for.contains(&peer);
                if seen || lookup.reached.len() + lookup.waited_for.len() >= PROVIDERS_MAX {
                    continue;
                }
                if self.peers.contains_key(&peer) || !self.book.addresses(peer).is_empty() {
                    lookup.reached.insert(peer);
                    continue;
                }
                // Where it is, this node keeps itself, or the lookup knows from the peer that named it.
                let kept = self.swarm.behaviour_mut().kad.store_mut().providers(&key);
                let addresses =
                    kept.into_iter().filter(|entry| entry.provider == peer).flat_map(|entry| entry.addresses);
                let options = DialOpts::peer_id(peer)
                    .addresses(addresses.collect())
                    .extend_addresses_through_behaviour()
                    .condition(PeerCondition::DisconnectedAndNotDialing);
                // A dial that fails at once is reported nowhere else; one that is under way already has an end, too.
                match self.swarm.dial(options.build()) {
                    Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {
                        lookup.waited_for.insert(peer);
                    }
                    Err(error) => tracing::debug!(%peer, %error, "a provider cannot be dialled"),
                }
            }
        }
        self.settle_providers(id);
    }

    /// A provider that was dialled has answered.
    pub(super) fn provider_reached(&mut self, peer: PeerId) {
        self.for_waiting(peer, |lookup| {
            lookup.reached.insert(peer);
        });
    }

    /// A provider that was dialled has not.
    pub(super) fn provider_lost(&mut self, peer: PeerId) {
        self.for_waiting(peer, |_| ());
    }

    fn for_waiting(&mut self, peer: PeerId, mut change: impl FnMut(&mut Providers)) {
        let mut settled = Vec::new();
        for (id, lookup) in &mut self.lookups {
            if let Lookup::Providers(lookup) = lookup
                && lookup.waited_for.remove(&peer)
            {
                change(lookup);
                settled.push(*id);
            }
        }
        settled.into_iter().for_each(|id| self.settle_providers(id));
    }

    /// Answers when there are enough providers, or no more to come.
    fn settle_providers(&mut self, id: QueryId) {
        let Some(Lookup::Providers(lookup)) = self.lookups.get_mut(&id) else { return };
        let complete = lookup.ended && lookup.waited_for.is_empty();
        if !complete && lookup.reached.len() < lookup.enough {
            return;
        }
        if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&id) {
            query.finish();
        }
        let Some(Lookup::Providers(lookup)) = self.lookups.remove(&id) else { return };
        if lookup.reached.is_empty() && lookup.timed_out {
            self.metrics.lookups_timed_out += 1;
            answer(lookup.reply, Err(OperationError::TimedOut { limit: self.settings.lookup_timeout }));
            return;
        }
        self.metrics.lookups_done += 1;
        let providers = lookup.reached.into_iter().map(|peer| Provider { peer, addresses: self.book.addresses(peer) });
        let found = Found { value: providers.collect(), requests: lookup.requests, took: lookup.started.elapsed() };
        answer(lookup.reply, Ok(found));
    }

    fn record_progressed(
        &mut self,
        id: QueryId,
        result: Result<kad::GetRecordOk, kad::GetRecordError>,
        stats: &QueryStats,
        last: bool,
    ) {
        let timed_out = matches!(result, Err(kad::GetRecordError::Timeout { .. }));
        if let Ok(kad::GetRecordOk::FoundRecord(found)) = result {
            self.record_found(id, &found);
        }
        if !last {
            return;
        }
        let Some(Lookup::Record { best, started, reply, .. }) = self.lookups.remove(&id) else { return };
        if best.is_none() && timed_out {
            self.metrics.lookups_timed_out += 1;
            answer(reply, Err(OperationError::TimedOut { limit: self.settings.lookup_timeout }));
            return;
        }
        self.metrics.lookups_done += 1;
        answer(reply, Ok(Found { value: best, requests: stats.num_requests(), took: started.elapsed() }));
    }

    fn record_found(&mut self, id: QueryId, found: &kad::PeerRecord) {
        let now = self.time();
        let Some(Lookup::Record { key, best, valid, .. }) = self.lookups.get_mut(&id) else { return };
        match record::open(&found.record.value, &*key, &self.identity.current(), now) {
            Ok(record) => {
                *valid += 1;
                if best.as_ref().is_none_or(|best| best.sequence < record.sequence) {
                    *best = Some(record);
                }
                if *valid >= RECORDS_ENOUGH
                    && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&id)
                {
                    query.finish();
                }
            }
            Err(error) if error.is_forgery() => {
                if let Some(peer) = found.peer {
                    self.misbehaved(peer);
                }
            }
            Err(error) => tracing::debug!(%error, "a record that was found is not believed"),
        }
    }

    fn closest_found(
        &mut self,
        id: QueryId,
        result: Result<kad::GetClosestPeersOk, kad::GetClosestPeersError>,
        stats: &QueryStats,
    ) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        let (peers, timed_out) = match result {
            Ok(found) => (found.peers, false),
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => (peers, true),
        };
        match lookup {
            Lookup::Audience { question, reply } => self.spread(&question, &peers, reply),
            Lookup::Closest { reply, .. } if timed_out && peers.is_empty() => {
                self.metrics.lookups_timed_out += 1;
                answer(reply, Err(OperationError::TimedOut { limit: self.settings.lookup_timeout }));
            }
            Lookup::Closest { started, reply } => {
                self.metrics.lookups_done += 1;
                let value = peers.into_iter().map(|found| self.nearest(found.peer_id, &found.addrs)).collect();
                answer(reply, Ok(Found { value, requests: stats.num_requests(), took: started.elapsed() }));
            }
            Lookup::Providers(_) | Lookup::Record { .. } => (),
        }
    }

    /// Prefers what the peer itself said to what another says.
    fn nearest(&self, peer: PeerId, named: &[Multiaddr]) -> Provider {
        let known = self.book.addresses(peer);
        let addresses = if known.is_empty() { believable(peer, named, None) } else { known };
        Provider { peer, addresses }
    }
}
