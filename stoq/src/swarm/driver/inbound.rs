//! What peers ask of this node, and what they answer it. Everything is judged before it is kept.

use std::net::SocketAddr;
use std::time::Instant;

use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, ProviderRecord};
use libp2p::request_response::{Event, Message};
use libp2p::{Multiaddr, PeerId};

use super::{Asked, Driver};
use crate::swarm::address::to_multiaddr;
use crate::swarm::discovery;
use crate::swarm::exchange::{Answer, Question};
use crate::swarm::record;

impl Driver {
    pub(super) fn exchange_event(&mut self, event: Event<Question, Answer>) {
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let answer = self.question(peer, request);
                // The asker may have gone.
                self.swarm.behaviour_mut().exchange.send_response(channel, answer).ok();
            }
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                if let Some(Asked::Peers) = self.questions.get(&request_id) {
                    self.questions.remove(&request_id);
                    match response {
                        Answer::Peers(contacts) => self.peers_named(peer, contacts),
                        // It has answered enough questions lately.
                        Answer::Refused => (),
                        Answer::Done => self.misbehaved(peer),
                    }
                } else {
                    self.answered(request_id, Some(&response));
                }
            }
            Event::OutboundFailure { peer, request_id, .. } => {
                self.answered(request_id, None);
                self.discover(discovery::Event::Unanswered { peer });
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => (),
        }
    }

    fn question(&mut self, peer: PeerId, question: Question) -> Answer {
        let kept = match question {
            _ if !self.may_ask(peer) => false,
            Question::Peers => return Answer::Peers(self.contacts_for(peer)),
            Question::Provide { key, addresses } => self.keep_provider(peer, &key, addresses),
            Question::Withdraw { key } => {
                self.store().remove_provider(&record::table_key(&key), &peer);
                true
            }
            Question::Store { key, record } => {
                self.keep_record(peer, kad::Record::new(record::table_key(&key), record))
            }
        };
        if kept {
            self.metrics.writes_kept += 1;
            Answer::Done
        } else {
            self.metrics.writes_refused += 1;
            Answer::Refused
        }
    }

    fn keep_provider(&mut self, peer: PeerId, key: &[u8; 32], addresses: Vec<SocketAddr>) -> bool {
        let claimed: Vec<Multiaddr> = addresses.into_iter().map(to_multiaddr).collect();
        let addresses = self.addresses_of(peer, &claimed);
        let entry = ProviderRecord {
            key: record::table_key(key),
            provider: peer,
            expires: Some(Instant::now() + self.settings.provider_lifetime),
            addresses: addresses.into_iter().map(to_multiaddr).collect(),
        };
        self.store().add_provider(entry).is_ok()
    }

    /// Keeps a record that a peer brought, if it holds.
    fn keep_record(&mut self, from: PeerId, mut record: kad::Record) -> bool {
        let now = self.time();
        match record::open(&record.value, record.key.as_ref(), &self.identity.current(), now) {
            Ok(opened) => {
                let left = (opened.expires - now).unsigned_abs();
                record.expires = Some(Instant::now() + left.min(self.settings.record_lifetime));
                record.publisher = None;
                self.store().put(record).is_ok()
            }
            Err(error) => {
                tracing::debug!(%from, %error, "a record is not kept");
                if error.is_forgery() {
                    self.misbehaved(from);
                }
                false
            }
        }
    }

    /// Takes what comes by Kademlia's own messages: copies of records that are kept. Providers come by questions only.
    pub(super) fn kad_request(&mut self, request: kad::InboundRequest) {
        let kept = match request {
            kad::InboundRequest::PutRecord { source, record: Some(record), .. } => {
                self.may_ask(source) && self.keep_record(source, record)
            }
            kad::InboundRequest::AddProvider { record: Some(_) } => false,
            _ => return,
        };
        let count = if kept { &mut self.metrics.writes_kept } else { &mut self.metrics.writes_refused };
        *count += 1;
    }
}
