//! What this node tells others to keep: that it provides a key, and what it wrote. Told to the peers nearest to the key, counted
//! by what they acknowledge, and told again before they forget it.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{PeerInfo, ProviderRecord, Record};
use libp2p::request_response::OutboundRequestId;

use super::lookups::Lookup;
use super::{Driver, answer};
use crate::swarm::exchange::{Answer, Question};
use crate::swarm::handle::Reply;
use crate::swarm::record::{self, Draft};
use crate::swarm::{OperationError, Stored};

/// The most names that this node writes records under: as many as others keep of it.
pub(crate) const NAMES_MAX: usize = 64;
/// How long to wait before something is told again that nobody could be told.
const RETRY: Duration = Duration::from_secs(5);
/// The most entries that are told at a time when some are told again.
pub(crate) const REPUBLISHED_AT_ONCE_MAX: usize = 16;

/// Why a peer was asked something.
pub(super) enum Asked {
    Peers,
    Spread(u64),
}

/// Something that peers are being told.
pub(super) struct Spread {
    what: Entry,
    asked: usize,
    open: usize,
    acknowledged: usize,
    reply: Option<Reply<Stored>>,
}

/// Something of this node that peers keep.
#[derive(Clone)]
enum Entry {
    Provided([u8; 32]),
    Withdrawn,
    Written([u8; 32]),
}

/// Something that is to be told again.
enum Due {
    Provided([u8; 32]),
    Written(Vec<u8>),
}

/// What this node wrote under a name.
pub(super) struct Written {
    value: Vec<u8>,
    sequence: u64,
    key: [u8; 32],
    next: Instant,
}

/// What a peer made this node do in the present second.
#[derive(Clone, Copy)]
pub(super) struct Quota {
    since: Instant,
    questions: u32,
    announcements: u32,
}

impl Driver {
    pub(super) fn provide(&mut self, key: [u8; 32], reply: Reply<Stored>) {
        let Some(reply) = self.admit(reply) else { return };
        let local = *self.swarm.local_peer_id();
        let own =
            ProviderRecord { key: record::table_key(&key), provider: local, expires: None, addresses: Vec::new() };
        let limit = self.settings.store.provided_max;
        if self.store().add_provider(own).is_err() {
            answer(reply, Err(OperationError::Full { what: "provided keys", limit }));
            return;
        }
        self.provided.insert(key, Instant::now() + self.settings.republish_interval);
        self.tell(Question::Provide { key, addresses: self.own_addresses() }, Some(reply));
    }

    pub(super) fn stop_providing(&mut self, key: [u8; 32], reply: Reply<Stored>) {
        let Some(reply) = self.admit(reply) else { return };
        let local = *self.swarm.local_peer_id();
        self.store().remove_provider(&record::table_key(&key), &local);
        self.provided.remove(&key);
        self.tell(Question::Withdraw { key }, Some(reply));
    }

    pub(super) fn put_record(&mut self, name: Vec<u8>, value: Vec<u8>, reply: Reply<Stored>) {
        let Some(reply) = self.admit(reply) else { return };
        if self.written.len() >= NAMES_MAX && !self.written.contains_key(&name) {
            answer(reply, Err(OperationError::Full { what: "names", limit: NAMES_MAX }));
            return;
        }
        // Seconds, so that a node that lost its memory goes on above where it was.
        let seconds = u64::try_from(self.time().unix_timestamp()).unwrap_or_default();
        let sequence = self.written.get(&name).map_or(seconds, |written| seconds.max(written.sequence + 1));
        let key = record::key(*self.swarm.local_peer_id(), &name);
        let next = Instant::now() + self.settings.republish_interval;
        let written = Written { value, sequence, key, next };
        match self.sign(&name, &written) {
            Ok(record) => {
                self.written.insert(name, written);
                self.tell(Question::Store { key, record }, Some(reply));
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Signs what this node wrote, and keeps it here, too.
    fn sign(&mut self, name: &[u8], written: &Written) -> Result<Vec<u8>, OperationError> {
        let expires = self.time() + self.settings.record_lifetime;
        let draft = Draft { name, value: &written.value, sequence: written.sequence, expires };
        let bytes = record::sign(&*self.identity, &draft)?;
        let mut own = Record::new(record::table_key(&written.key), bytes.clone());
        own.expires = Some(Instant::now() + self.settings.record_lifetime);
        let limit = self.settings.store.records_max;
        self.store().put(own).map_err(|_| OperationError::Full { what: "records", limit })?;
        Ok(bytes)
    }

    /// Finds the peers nearest to the key of a question, and asks it.
    fn tell(&mut self, question: Question, reply: Option<Reply<Stored>>) {
        let (Question::Provide { key, .. } | Question::Withdraw { key } | Question::Store { key, .. }) = &question
        else {
            return;
        };
        let (key, replication) = (key.to_vec(), self.settings.replication);
        let id = self.swarm.behaviour_mut().kad.get_n_closest_peers(key, replication);
        self.lookups.insert(id, Lookup::Audience { question, reply });
    }

    /// Asks a question of all of these peers.
    pub(super) fn spread(&mut self, question: &Question, peers: &[PeerInfo], reply: Option<Reply<Stored>>) {
        let what = match question {
            Question::Provide { key, .. } => Entry::Provided(*key),
            Question::Store { key, .. } => Entry::Written(*key),
            Question::Peers | Question::Withdraw { .. } => Entry::Withdrawn,
        };
        let spread_id = self.spread_next;
        self.spread_next += 1;
        for peer in peers {
            let exchange = &mut self.swarm.behaviour_mut().exchange;
            let id = exchange.send_request_with_addresses(&peer.peer_id, question.clone(), peer.addrs.clone());
            self.questions.insert(id, Asked::Spread(spread_id));
        }
        let asked = peers.len();
        self.spreads.insert(spread_id, Spread { what, asked, open: asked, acknowledged: 0, reply });
        self.settle_spread(spread_id);
    }

    /// Takes the end of a question that was part of something told.
    pub(super) fn answered(&mut self, id: OutboundRequestId, result: Option<&Answer>) {
        let Some(Asked::Spread(spread_id)) = self.questions.remove(&id) else { return };
        let Some(spread) = self.spreads.get_mut(&spread_id) else { return };
        spread.open -= 1;
        spread.acknowledged += usize::from(result == Some(&Answer::Done));
        self.settle_spread(spread_id);
    }

    /// Answers when a majority has acknowledged, or when nobody is left to answer.
    fn settle_spread(&mut self, id: u64) {
        let Some(spread) = self.spreads.get_mut(&id) else { return };
        let Spread { asked, open, acknowledged, .. } = *spread;
        if (open == 0 || acknowledged > asked / 2)
            && let Some(reply) = spread.reply.take()
        {
            let nobody = acknowledged == 0 && asked > 0 && !matches!(spread.what, Entry::Withdrawn);
            let stored = Stored { asked, acknowledged };
            answer(reply, if nobody { Err(OperationError::NotStored { asked }) } else { Ok(stored) });
        }
        if open > 0 {
            return;
        }
        let Some(spread) = self.spreads.remove(&id) else { return };
        if acknowledged > 0 {
            return;
        }
        let soon = Instant::now() + RETRY.min(self.settings.republish_interval);
        match spread.what {
            Entry::Provided(key) => {
                self.provided.entry(key).and_modify(|next| *next = soon);
            }
            Entry::Written(key) => self.written.values_mut().filter(|w| w.key == key).for_each(|w| w.next = soon),
            Entry::Withdrawn => (),
        }
    }

    /// Tells again what is due, what waited longest first.
    pub(super) fn republish(&mut self, now: Instant) {
        let provided = self.provided.iter().map(|(key, next)| (*next, Due::Provided(*key)));
        let written = self.written.iter().map(|(name, written)| (written.next, Due::Written(name.clone())));
        let mut due: Vec<(Instant, Due)> = provided.chain(written).filter(|(next, _)| *next <= now).collect();
        due.sort_unstable_by_key(|(next, _)| *next);
        let free = REPUBLISHED_AT_ONCE_MAX.saturating_sub(self.telling());
        let next = now + self.settings.republish_interval;
        for (_, due) in due.into_iter().take(free) {
            match due {
                Due::Provided(key) => {
                    self.provided.insert(key, next);
                    self.tell(Question::Provide { key, addresses: self.own_addresses() }, None);
                }
                Due::Written(name) => self.write_again(name, next),
            }
        }
    }

    fn write_again(&mut self, name: Vec<u8>, next: Instant) {
        let Some(mut written) = self.written.remove(&name) else { return };
        written.next = next;
        match self.sign(&name, &written) {
            Ok(record) => self.tell(Question::Store { key: written.key, record }, None),
            Err(error) => tracing::warn!(%error, "a record could not be renewed"),
        }
        self.written.insert(name, written);
    }

    /// How much is being told: whom to is looked for, or they have not all answered.
    fn telling(&self) -> usize {
        let looked_for = self.lookups.values().filter(|lookup| matches!(lookup, Lookup::Audience { .. }));
        looked_for.count() + self.spreads.len()
    }

    /// Says whether one more question, record or word about itself of a peer is looked at in this second.
    pub(super) fn may_ask(&mut self, peer: PeerId) -> bool {
        let limit = self.settings.questions_per_peer_per_second_max;
        let quota = self.quota(peer);
        quota.questions = quota.questions.saturating_add(1);
        quota.questions <= limit
    }

    /// Says whether an announcement more of a peer is judged in this second.
    pub(super) fn may_announce(&mut self, peer: PeerId) -> bool {
        let limit = self.settings.announcements_per_peer_per_second_max;
        let quota = self.quota(peer);
        quota.announcements = quota.announcements.saturating_add(1);
        quota.announcements <= limit
    }

    fn quota(&mut self, peer: PeerId) -> &mut Quota {
        let now = Instant::now();
        let fresh = Quota { since: now, questions: 0, announcements: 0 };
        let quota = self.quotas.entry(peer).or_insert(fresh);
        if now.duration_since(quota.since) >= Duration::from_secs(1) {
            *quota = fresh;
        }
        quota
    }
}
