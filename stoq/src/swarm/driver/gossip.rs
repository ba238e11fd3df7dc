//! Announcements: judged by whoever follows the topic before they are delivered and passed on.

use std::collections::HashMap;
use std::sync::Arc;

use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, PublishError, TopicHash};
use tokio::sync::mpsc;

use super::Driver;
use crate::swarm::handle::{ANNOUNCEMENTS_WAITING_MAX, Announcement, Validate, Verdict};
use crate::swarm::{ANNOUNCEMENT_BYTES_MAX, OperationError, TOPICS_PER_PEER_MAX};

/// The topics that somebody in this node follows.
pub(super) type Topics = HashMap<TopicHash, Follower>;

pub(super) struct Follower {
    topic: IdentTopic,
    validate: Arc<dyn Validate>,
    announcements: mpsc::Sender<Announcement>,
}

impl Driver {
    pub(super) fn announce(&mut self, topic: String, bytes: Vec<u8>) -> Result<(), OperationError> {
        match self.swarm.behaviour_mut().gossip.publish(IdentTopic::new(&topic), bytes) {
            Ok(_) | Err(PublishError::Duplicate) => Ok(()),
            Err(PublishError::NoPeersSubscribedToTopic) => Err(OperationError::NobodyListens { topic }),
            Err(error) => Err(OperationError::NotSent { topic, reason: error.to_string() }),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        topic: String,
        validate: Arc<dyn Validate>,
    ) -> Result<mpsc::Receiver<Announcement>, OperationError> {
        self.close_topics();
        let name = IdentTopic::new(&topic);
        if self.topics.contains_key(&name.hash()) {
            return Err(OperationError::Followed { topic });
        }
        if self.topics.len() >= TOPICS_PER_PEER_MAX {
            return Err(OperationError::Full { what: "topics", limit: TOPICS_PER_PEER_MAX });
        }
        let subscribed = self.swarm.behaviour_mut().gossip.subscribe(&name);
        subscribed.map_err(|error| OperationError::NotSent { topic, reason: error.to_string() })?;
        let (announcements, receiver) = mpsc::channel(ANNOUNCEMENTS_WAITING_MAX);
        self.topics.insert(name.hash(), Follower { topic: name, validate, announcements });
        Ok(receiver)
    }

    /// Leaves topics whose reader is gone.
    pub(super) fn close_topics(&mut self) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        self.topics.retain(|_, follower| {
            let followed = !follower.announcements.is_closed();
            if !followed {
                gossip.unsubscribe(&follower.topic);
            }
            followed
        });
    }

    pub(super) fn gossip_event(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: from, message_id, message } = event else { return };
        let judged = self.may_announce(from);
        let verdict = match self.topics.get(&message.topic).filter(|_| judged) {
            None => Verdict::Ignore,
            Some(_) if message.data.len() > ANNOUNCEMENT_BYTES_MAX => Verdict::Reject,
            Some(follower) => follower.validate.judge(message.topic.as_str(), from, &message.data),
        };
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&message_id, &from, acceptance);
        match verdict {
            Verdict::Accept => {
                self.deliver(Announcement { topic: message.topic.as_str().to_owned(), from, bytes: message.data });
            }
            Verdict::Ignore => (),
            Verdict::Reject => {
                self.metrics.announcements_refused += 1;
                self.misbehaved(from);
            }
        }
    }

    fn deliver(&mut self, announcement: Announcement) {
        let topic = TopicHash::from_raw(announcement.topic.clone());
        let Some(follower) = self.topics.get(&topic) else { return };
        match follower.announcements.try_send(announcement) {
            Ok(()) => self.metrics.announcements_delivered += 1,
            Err(mpsc::error::TrySendError::Full(_)) => self.metrics.announcements_dropped += 1,
            // Its reader has gone; the next tick leaves the topic.
            Err(mpsc::error::TrySendError::Closed(_)) => (),
        }
    }
}
