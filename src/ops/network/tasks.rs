//! What goes on while the network runs: announcements are spread and heard, who comes and goes is told, and what is here is
//! provided. Each ends with what it listens to, or when the network stops.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use stoq::node::Node;
use stoq::records::service::Event;
use stoq::{PeerId, replica, swarm};
use tokio::sync::{broadcast, mpsc};

use super::connected;
use crate::digest::Digest;
use crate::host::Host;
use crate::ops::Catalog;

/// The topic on which nodes say which records are new.
const RECORDS_TOPIC: &str = "hypermesh/records/1";

/// Spreads announcements of records.
pub(super) async fn spread(node: Arc<Node>, mut announced: mpsc::Receiver<Bytes>) {
    while let Some(message) = announced.recv().await {
        if let Err(error) = node.swarm().announce(RECORDS_TOPIC, &message).await {
            tracing::debug!("nobody is told of new records: {error}");
        }
    }
}

/// Hears announcements of records.
pub(super) async fn hear(node: Arc<Node>, events: mpsc::Sender<Event>) {
    let judge = |_: &str, _: PeerId, bytes: &[u8]| match stoq::records::announcement::decode(bytes) {
        Ok(_) => swarm::Verdict::Accept,
        Err(_) => swarm::Verdict::Reject,
    };
    let mut announcements = match node.swarm().subscribe(RECORDS_TOPIC, Arc::new(judge)).await {
        Ok(announcements) => announcements,
        Err(error) => return tracing::error!("announcements of records are not heard: {error}"),
    };
    while let Some(swarm::Announcement { from, bytes, .. }) = announcements.recv().await {
        let event = Event::Announcement { from, message: bytes.into() };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Tells the records who comes and goes.
pub(super) async fn follow(
    node: Arc<Node>,
    events: mpsc::Sender<Event>,
    copies: mpsc::Sender<replica::service::Event>,
) {
    let mut changes = node.swarm().events();
    let here = connected(&node).await.unwrap_or_default();
    for peer in here {
        let _ = events.send(Event::Connected(peer)).await;
        let _ = copies.send(replica::service::Event::Connected(peer)).await;
    }
    loop {
        let event = match changes.recv().await {
            Ok(swarm::Event::PeerJoined { peer }) => {
                let _ = copies.send(replica::service::Event::Connected(peer)).await;
                Event::Connected(peer)
            }
            Ok(swarm::Event::PeerLeft { peer }) => {
                let _ = copies.send(replica::service::Event::Disconnected(peer)).await;
                Event::Disconnected(peer)
            }
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Tells who asks that the archives of this node are here: when it starts, when some come, and every minute in any case.
pub(super) async fn provide(node: Arc<Node>, catalog: Weak<Catalog>, platform: String, mut wanted: mpsc::Receiver<()>) {
    let mut told: BTreeSet<Digest> = BTreeSet::new();
    loop {
        let Some(strong) = catalog.upgrade() else { return };
        let platform = platform.clone();
        let here = tokio::task::spawn_blocking(move || strong.archives_here(&platform)).await;
        match here {
            Ok(Ok(here)) => {
                let new: Vec<Digest> = here.difference(&told).copied().collect();
                for blob in &new {
                    match node.swarm().provide(*blob.as_bytes()).await {
                        Ok(_) => drop(told.insert(*blob)),
                        Err(error) => tracing::debug!(%blob, "nobody is told that it is here yet: {error}"),
                    }
                }
                for blob in told.extract_if(.., |blob| !here.contains(blob)) {
                    let _ = node.swarm().stop_providing(*blob.as_bytes()).await;
                }
            }
            Ok(Err(error)) => tracing::warn!("what is here is not told to peers: {error}"),
            Err(_) => return,
        }
        match tokio::time::timeout(LOOK_EVERY, wanted.recv()).await {
            Ok(Some(())) | Err(_) => {}
            Ok(None) => return,
        }
    }
}

/// How often this node looks which archives it has, and which it should have.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Fetches what is mirrored here, when something new is known and now and then in any case.
pub(super) async fn mirror(catalog: Weak<Catalog>, host: Arc<dyn Host>, mut wanted: mpsc::Receiver<()>) {
    loop {
        let Some(strong) = catalog.upgrade() else { return };
        let port = Arc::clone(&host);
        let fetched = tokio::task::spawn_blocking(move || (strong.fetch_mirrored(&*port), strong)).await;
        match fetched {
            Ok((Ok(true), catalog)) => catalog.archives_changed().await,
            Ok((Ok(false), _)) => {}
            Ok((Err(error), _)) => tracing::warn!("packages are not mirrored: {error}"),
            Err(_) => return,
        }
        if let Ok(None) = tokio::time::timeout(LOOK_EVERY, wanted.recv()).await {
            return;
        }
    }
}
