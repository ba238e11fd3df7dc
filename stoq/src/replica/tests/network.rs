//! `replica/1` between real nodes. Their keepers hand bytes to each other in memory: what moves them between nodes is another
//! service, and none of this one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::frame;
use crate::identity::Pending;
use crate::pool::Pool;
use crate::records::tests::loopback::{Lan, serve, soon, until};
use crate::replica::service::{Event, Keeper, KeeperError, NAME, ReplicaService, Replication};
use crate::replica::wire::{Answer, Ask, PART_BYTES_MAX, decode, encode};
use crate::service::Peers;

/// What every node of a test has.
type Shelves = Arc<Mutex<HashMap<PeerId, HashMap<Blake3, Bytes>>>>;

struct Shelf {
    own: PeerId,
    site: &'static str,
    shelves: Shelves,
}

impl Shelf {
    fn with<T>(&self, peer: PeerId, what: impl FnOnce(&mut HashMap<Blake3, Bytes>) -> T) -> T {
        what(self.shelves.lock().unwrap_or_else(PoisonError::into_inner).entry(peer).or_default())
    }
}

impl Keeper for Shelf {
    fn holdings(&self) -> Result<(Capacity, Vec<Holding>), KeeperError> {
        let all = self.with(self.own, |shelf| shelf.clone());
        let holding = |(digest, bytes): (&Blake3, &Bytes)| Holding {
            digest: *digest,
            size_bytes: bytes.len() as u64,
            ..holding(0)
        };
        Ok((capacity(self.site), all.iter().map(holding).collect()))
    }

    fn keep(&self, digest: Blake3, size_bytes: u64, from: PeerId) -> Pending<'_, Result<(), KeeperError>> {
        Box::pin(async move {
            let bytes = self.with(from, |shelf| shelf.get(&digest).cloned()).ok_or("the peer does not have it")?;
            if Blake3::of(&bytes) != digest || bytes.len() as u64 != size_bytes {
                return Err("it is something else".into());
            }
            self.with(self.own, |shelf| shelf.insert(digest, bytes));
            Ok(())
        })
    }

    fn drop_copy(&self, digest: Blake3) -> Result<(), KeeperError> {
        self.with(self.own, |shelf| shelf.remove(&digest)).map(drop).ok_or_else(|| "it is not here".into())
    }
}

struct Node {
    peer: PeerId,
    pool: Arc<Pool>,
    replication: Arc<Replication>,
    events: mpsc::Sender<Event>,
}

fn node(lan: &Lan, name: &str, site: &'static str, shelves: &Shelves) -> Node {
    let (peer, pool) = lan.node(name);
    let shelf = Arc::new(Shelf { own: peer, site, shelves: Arc::clone(shelves) });
    let (replication, task) = Replication::new(peer, Options::default(), shelf, pool.clone());
    serve(&pool, ReplicaService(Arc::clone(&replication)));
    let (events, told) = mpsc::channel(16);
    tokio::spawn(task.run(told));
    Node { peer, pool, replication, events }
}

fn holders(shelves: &Shelves, digest: Blake3) -> usize {
    let shelves = shelves.lock().unwrap_or_else(PoisonError::into_inner);
    shelves.values().filter(|shelf| shelf.contains_key(&digest)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_publishes_three_hold() {
    let (lan, shelves) = (Lan::default(), Shelves::default());
    let nodes =
        [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")].map(|(name, site)| node(&lan, name, site, &shelves));
    for (one, other) in nodes.iter().flat_map(|one| nodes.iter().map(move |other| (one, other))) {
        if one.peer != other.peer {
            one.events.send(Event::Connected(other.peer)).await.expect("the task runs");
        }
    }
    let blobs: Vec<Bytes> = (0..10).map(|number| Bytes::from(vec![number; 1000])).collect();
    let digests: Vec<Blake3> = blobs.iter().map(|blob| Blake3::of(blob)).collect();
    {
        let mut shelves = shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.entry(nodes[0].peer).or_default().extend(digests.iter().copied().zip(blobs));
    }
    nodes[0].events.send(Event::Changed).await.expect("the task runs");
    until(|| digests.iter().all(|digest| nodes.iter().all(|node| node.replication.holders_of(*digest).len() >= 3)))
        .await;
    // On a busy machine a report may come so late that another copy is asked for; it goes again later.
    let copies: Vec<usize> = digests.iter().map(|digest| holders(&shelves, *digest)).collect();
    assert!(copies.iter().all(|copies| *copies >= 3) && copies.iter().sum::<usize>() <= 33, "{copies:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_and_answers_say_why() {
    let (lan, shelves) = (Lan::default(), Shelves::default());
    let server = node(&lan, "server", "a", &shelves);
    let (rude, pool) = lan.node("rude");
    let ask = |request: Vec<u8>, parts: Vec<Vec<u8>>| {
        let (pool, server) = (Arc::clone(&pool), server.peer);
        async move {
            let mut stream = pool.open(server, NAME, &request).await.expect("a stream is opened");
            for part in parts {
                let _ = frame::write(&mut stream.send, &part).await;
            }
            frame::read(&mut stream.receive, 256).await.ok().map(|answer| decode::<Answer>(&answer).expect("is one"))
        }
    };
    assert_eq!(soon(ask(b"nothing".to_vec(), vec![])).await, None);
    let keep = encode(&Ask::Keep { digest: (*blob(1).as_bytes()).into(), size_bytes: 5 });
    // Before the first look of its task the server does not know what it can take.
    let answer = async |until_not: Refusal| loop {
        match ask(keep.clone(), vec![]).await {
            Some(Answer::No(refusal)) if refusal == until_not => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    let no_room = Refusal::NoRoom { size_bytes: 5 };
    assert_eq!(soon(answer(no_room)).await, Some(Answer::No(Refusal::Stranger)));

    let (head, parts) = Ask::report(&all(1, "b", &[]));
    assert_eq!(soon(ask(encode(&head), vec![vec![0; PART_BYTES_MAX + 1]])).await, None);
    assert_eq!(soon(ask(encode(&head), vec![b"no part".to_vec()])).await, None);
    assert_eq!(soon(ask(encode(&head), parts)).await, Some(Answer::Known));
    let change = Change::Since { base: 5, added: vec![], removed: vec![] };
    let (head, parts) = Ask::report(&Report { change, ..all(6, "b", &[]) });
    assert_eq!(soon(ask(encode(&head), parts)).await, Some(Answer::SayAll));

    // It agrees, finds that the peer has nothing to give, and can be asked again: while it fetches it would say so.
    assert_eq!(soon(ask(keep.clone(), vec![])).await, Some(Answer::Yes));
    assert_eq!(soon(answer(Refusal::Coming)).await, Some(Answer::Yes));
    assert_eq!(holders(&shelves, blob(1)), 0);
    assert_eq!(server.replication.holders_of(blob(1)), []);
    assert!(server.pool.round_trip(rude).is_some(), "nobody was sent away for it");
}
