//! `records/1` between real nodes: the task of the schedule, and peers that do not keep to it.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::loopback::{Lan, serve, soon, until};
use super::*;
use crate::pool::Pool;
use crate::records::limits::{SERVED_MAX, SERVED_PER_PEER_MAX};
use crate::records::service::{Event, NAME, Records, RecordsService, SynchroniseError};
use crate::service::{BUSY, Peers, Stream};

struct Node {
    peer: PeerId,
    pool: Arc<Pool>,
    set: Arc<MemorySet>,
    records: Arc<Records>,
    events: mpsc::Sender<Event>,
    announced: mpsc::Receiver<Bytes>,
    task: JoinHandle<()>,
}

fn node(lan: &Lan, name: &str, set: Arc<MemorySet>) -> Node {
    let (peer, pool) = lan.node(name);
    let records = Records::new(peer, set.clone(), pool.clone());
    serve(&pool, RecordsService(Arc::clone(&records)));
    let ((events, told), (announce, announced)) = (mpsc::channel(16), mpsc::channel(16));
    let task = tokio::spawn(Arc::clone(&records).run(Mode::Differential, told, announce));
    Node { peer, pool, set, records, events, announced, task }
}

impl Node {
    async fn tell(&self, event: Event) {
        self.events.send(event).await.expect("the task runs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_connect_agree_and_announce_what_is_new() {
    let lan = Lan::default();
    let mut one = node(&lan, "one", set_of(0..600));
    let two = node(&lan, "two", set_of(300..900));
    one.tell(Event::Connected(two.peer)).await;
    two.tell(Event::Connected(one.peer)).await;
    until(|| ids(&one.set).len() == 900 && ids(&two.set).len() == 900).await;

    let new = plain(5000);
    assert_eq!(one.set.insert(new.clone()), Verdict::Accepted);
    one.tell(Event::Added(vec![RecordId::of(&new)])).await;
    let message = soon(one.announced.recv()).await.expect("it is announced");
    two.tell(Event::Announcement { from: one.peer, message }).await;
    until(|| ids(&two.set).len() == 901).await;

    // The task ends with its events and is owned by whoever runs it.
    drop(one.events);
    soon(one.task).await.expect("ends without a panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_and_bulk_go_over_one_stream() {
    let lan = Lan::default();
    let (one, two) = (node(&lan, "one", set_of(0..8000)), node(&lan, "two", set_of(6000..20_000)));
    let outcome = soon(one.records.synchronise(two.peer, &Mode::Differential)).await.expect("agrees");
    assert!(outcome.is_complete);
    assert_eq!((outcome.accepted, outcome.sent), (12_000, 6000));
    assert_eq!(ids(&one.set), ids(&two.set));
    let fetched = soon(one.records.fetch(two.peer, vec![RecordId::of(&plain(77_777))])).await.expect("agrees");
    assert_eq!((fetched.accepted, fetched.unserved), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_no_frames_is_refused_and_in_the_end_banned() {
    let lan = Lan::default();
    let (server, (rude, pool)) = (node(&lan, "server", set_of(0..10)), lan.node("rude"));
    let openings: [&[u8]; 3] = [b"no opening", &[0xff; 100], &[]];
    for opening in openings {
        let mut stream = soon(pool.open(server.peer, NAME, opening)).await.expect("a stream is opened");
        soon(stream.receive.read_to_end(1)).await.expect_err("it is reset");
    }
    let polite = Records::new(rude, set_of(0..20), pool);
    let banned = soon(polite.synchronise(server.peer, &Mode::Differential)).await.expect_err("it is banned");
    assert!(matches!(banned, SynchroniseError::Session(SessionError::Left { .. })), "{banned}");
    assert_eq!(ids(&server.set).len(), 10);
    let other = node(&lan, "other", set_of(5..15));
    soon(other.records.synchronise(server.peer, &Mode::Differential)).await.expect("others are served");
    assert!(server.pool.round_trip(other.peer).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_sessions_are_served_at_once_and_nobody_leads_them_all() {
    let lan = Lan::default();
    let server = node(&lan, "server", set_of(0..10));
    let mut held = Vec::new();
    for number in 0..SERVED_MAX / SERVED_PER_PEER_MAX {
        let (_, pool) = lan.node(&format!("greedy{number}"));
        let mut sessions = Vec::new();
        for _ in 0..SERVED_PER_PEER_MAX {
            sessions.push(begin(&pool, server.peer).await.expect("there is a seat"));
        }
        assert_eq!(begin(&pool, server.peer).await.expect_err("has its seats"), BUSY);
        held.push((pool, sessions));
    }
    let (_, late) = lan.node("late");
    assert_eq!(begin(&late, server.peer).await.expect_err("all seats are taken"), BUSY);
    // One ends, and another one is served.
    let mut ended = held[0].1.pop().expect("there are some");
    ended.send.write_all(&Frame::Finish.encode()).await.expect("is sent");
    ended.send.finish().expect("ends");
    soon(ended.receive.read_to_end(1 << 10)).await.expect("ends well");
    soon(async { while begin(&late, server.peer).await.is_err() {} }).await;
}

/// Leads a session and leaves it open; gives the code if it is refused.
async fn begin(pool: &Pool, server: PeerId) -> Result<Stream, u32> {
    let opening = Opening { filter: Filter::default(), message: ByteBuf::new() }.encode();
    let mut stream = soon(pool.open(server, NAME, &opening)).await.expect("a stream is opened");
    let _ = stream.send.write_all(&Frame::Sampling.encode()).await;
    match soon(stream.receive.read_exact(&mut [0; 4])).await {
        Ok(()) => Ok(stream),
        Err(quinn::ReadExactError::ReadError(quinn::ReadError::Reset(code))) => {
            Err(u32::try_from(code.into_inner()).expect("is small"))
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_claims_what_it_does_not_have_is_found_out() {
    let lan = Lan::default();
    let (liar, pool) = lan.node("liar");
    serve(&pool, RecordsService(Records::new(liar, Arc::new(Liar { claims: 100 }), pool.clone())));
    let honest = node(&lan, "honest", set_of(0..10));
    let error = soon(honest.records.synchronise(liar, &Mode::Differential)).await.expect_err("it lies");
    let expected = SessionError::Unserved { peer: liar, count: 100 }.to_string();
    assert_eq!(error.to_string(), expected);
    assert_eq!(ids(&honest.set).len(), 10);
}
