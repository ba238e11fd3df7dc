//! Nodes that start, find and ask each other, and are gone when they are shut down.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::*;
use crate::identity::Pending;
use crate::service::{Caller, OpenError, ServiceError, Stream};
use crate::swarm::cluster::until;
use crate::swarm::{Event, OperationError};
use crate::testing::{Authority, TestIdentity};

const PATIENCE: Duration = Duration::from_secs(30);

/// Says who asked, and what.
struct Echo;

impl Service for Echo {
    fn name(&self) -> &'static str {
        "echo/1"
    }

    fn serve(&self, caller: Caller, request: Bytes, stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Stream { mut send, .. } = stream;
            let ended = |source: Box<dyn std::error::Error + Send + Sync>| ServiceError::Ended {
                peer: caller.peer,
                service: "echo/1",
                source,
            };
            let answer = [caller.name.as_bytes(), b": ", &request].concat();
            send.write_all(&answer).await.map_err(|e| ended(e.into()))?;
            send.finish().map_err(|e| ended(e.into()))
        })
    }
}

fn options(authority: &Authority, identity: &Arc<TestIdentity>, bootstrap: Vec<SocketAddr>) -> NodeOptions {
    NodeOptions {
        identity: identity.clone(),
        clock: authority.clock(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: Vec::new(),
        bootstrap,
        limits: Limits::default(),
        settings: Settings::default(),
        services: vec![Arc::new(Echo)],
    }
}

fn start(authority: &Authority, name: &str, bootstrap: Vec<SocketAddr>) -> Node {
    Node::start(options(authority, &authority.node(name), bootstrap)).expect("a loopback port is free")
}

/// Starts nodes that know the first, and waits until all know all.
async fn started(authority: &Authority, count: usize) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..count {
        let bootstrap = nodes.first().map(Node::address).into_iter().collect();
        nodes.push(start(authority, &format!("n{number}"), bootstrap));
    }
    for node in &nodes {
        until(PATIENCE, "all know all", async || {
            node.metrics().await.is_ok_and(|m| m.swarm.peers_connected + 1 == count && m.swarm.table_peers + 1 == count)
        })
        .await;
    }
    nodes
}

async fn echoed(peers: &Arc<dyn Peers>, peer: PeerId, request: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut stream = peers.open(peer, "echo/1", request).await?;
    Ok(stream.receive.read_to_end(1024).await.expect("it is answered"))
}

#[tokio::test]
async fn a_provider_is_found_and_asked_for_a_service() {
    let authority = Authority::new();
    let nodes = started(&authority, 4).await;
    let key = [5; 32];
    let stored = nodes[1].swarm().provide(key).await.expect("it is stored");
    assert!(stored.acknowledged > 1, "{stored:?}");
    let found = nodes[3].swarm().providers(key, 1).await.expect("it is found").value;
    assert_eq!(found[0].peer, nodes[1].peer_id());
    let answer = echoed(&nodes[3].pool(), found[0].peer, b"hello").await.expect("it answers");
    assert_eq!(answer, b"n3.node.trustchain: hello");
    assert!(nodes[3].pool().round_trip(found[0].peer).is_some());
    let record = nodes[2].swarm().put_record(b"n", b"v").await.expect("it is stored");
    assert!(record.acknowledged > 0);
    let read = nodes[0].swarm().get_record(nodes[2].peer_id(), b"n").await.expect("it is read").value;
    assert_eq!(read.expect("it is there").value, b"v");
}

/// A stranger to all of this: a thread without a runtime.
#[test]
fn a_node_is_used_from_threads_that_have_no_runtime() {
    let authority = Authority::new();
    let (first, second) = (start(&authority, "n0", Vec::new()), start(&authority, "n1", Vec::new()));
    let block = libp2p::futures::executor::block_on::<std::pin::Pin<Box<dyn Future<Output = ()>>>>;
    let (first_ref, second_ref) = (&first, &second);
    let peer = libp2p::futures::executor::block_on(first_ref.swarm().connect(second_ref.address()));
    assert_eq!(peer.expect("it is there"), second.peer_id());
    let answer = libp2p::futures::executor::block_on(echoed(&first.pool(), second.peer_id(), b"hi"));
    assert_eq!(answer.expect("it answers"), b"n0.node.trustchain: hi");
    let node = Arc::new(first);
    let ending = node.clone();
    block(Box::pin(async move { ending.shutdown().await }));
    let gone = libp2p::futures::executor::block_on(node.swarm().peers());
    assert!(matches!(gone, Err(OperationError::Stopped)));
    let gone = libp2p::futures::executor::block_on(echoed(&node.pool(), second.peer_id(), b"hi"));
    assert!(matches!(gone, Err(OpenError::Unreachable { .. })), "{gone:?}");
}

#[tokio::test]
async fn whoever_is_not_known_is_looked_up_and_whoever_is_nowhere_is_not_found() {
    let authority = Authority::new();
    let nodes = started(&authority, 3).await;
    let (asker, asked) = (&nodes[1], nodes[2].peer_id());
    asker.swarm().address_book().replace(asked, Vec::new());
    let answer = echoed(&asker.pool(), asked, b"?").await.expect("it is found");
    assert_eq!(answer, b"n1.node.trustchain: ?");
    let nowhere = asker.pool().open(authority.node("n9").peer_id(), "echo/1", b"").await.expect_err("it is nowhere");
    assert!(matches!(nowhere, OpenError::NoAddress { .. }), "{nowhere}");
}

#[tokio::test]
async fn whoever_is_not_where_it_was_is_looked_up_again() {
    let authority = Authority::new();
    let nodes = started(&authority, 3).await;
    let mut hasty = options(&authority, &authority.node("n3"), vec![nodes[0].address()]);
    hasty.limits.connect_timeout = Duration::from_millis(500);
    let asker = Node::start(hasty).expect("it starts");
    let (book, asked) = (asker.swarm().address_book(), nodes[2].peer_id());
    until(PATIENCE, "it knows all", async || asker.metrics().await.is_ok_and(|m| m.swarm.table_peers == 3)).await;
    // Where nobody answers, nor says that there is nobody.
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let old = deaf.local_addr().expect("has an address");
    book.replace(asked, vec![old]);
    let answer = echoed(&asker.pool(), asked, b"?").await.expect("it is found");
    assert_eq!(answer, b"n3.node.trustchain: ?");
    // Of one that nobody finds, what was known stays.
    let nowhere = authority.node("n9").peer_id();
    book.replace(nowhere, vec![old]);
    let error = asker.pool().open(nowhere, "echo/1", b"").await.expect_err("it is nowhere");
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert_eq!(book.addresses(nowhere), [old]);
}

#[tokio::test]
async fn peers_are_told_when_a_node_shuts_down() {
    let authority = Authority::new();
    let nodes = started(&authority, 2).await;
    let (mut events, gone) = (nodes[0].swarm().events(), nodes[1].peer_id());
    let began = Instant::now();
    nodes[1].shutdown().await;
    let left = async { while events.recv().await.expect("the node runs") != (Event::PeerLeft { peer: gone }) {} };
    tokio::time::timeout(PATIENCE, left).await.expect("it is told");
    // Told, and not missed after ten seconds of silence.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn what_cannot_start_leaves_nothing() {
    let authority = Authority::new();
    let node = start(&authority, "n0", Vec::new());
    let identity = authority.node("n1");
    let taken = NodeOptions { listen: node.address(), ..options(&authority, &identity, Vec::new()) };
    assert!(matches!(Node::start(taken), Err(StartError::Bind(_))));
    let twice =
        NodeOptions { services: vec![Arc::new(Echo), Arc::new(Echo)], ..options(&authority, &identity, Vec::new()) };
    assert!(matches!(Node::start(twice), Err(StartError::Service(_))));
    let mut wrong = options(&authority, &identity, Vec::new());
    wrong.settings.discovery.peers_min = 1000;
    wrong.listen = free_address();
    let listen = wrong.listen;
    assert!(matches!(Node::start(wrong), Err(StartError::Swarm(_))));
    std::net::UdpSocket::bind(listen).expect("its port is free at once");
    Node::start(options(&authority, &identity, Vec::new())).expect("the same starts when it makes sense");
}

fn free_address() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("has an address")
}

/// Holds the thread of the data plane until it is told to go on.
struct Holds(Mutex<std::sync::mpsc::Receiver<()>>);

impl Service for Holds {
    fn name(&self) -> &'static str {
        "holds/1"
    }

    fn serve(&self, _: Caller, _: Bytes, mut stream: Stream) -> Pending<'static, Result<(), ServiceError>> {
        // On the thread of whoever asks for the future: the data plane's.
        let held = self.0.lock().expect("no panic").recv();
        Box::pin(async move {
            held.expect("the test goes on");
            // The caller may be gone.
            stream.send.write_all(b"on").await.ok();
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_second_shutdown_waits_like_the_first_and_holds_no_thread() {
    let authority = Authority::new();
    let (go_on, held) = std::sync::mpsc::channel();
    let mut holding = options(&authority, &authority.node("n0"), Vec::new());
    holding.services = vec![Arc::new(Holds(Mutex::new(held)))];
    let (node, other) = (Node::start(holding).expect("it starts"), start(&authority, "n1", Vec::new()));
    other.swarm().connect(node.address()).await.expect("it is there");
    let _stream = other.pool().open(node.peer_id(), "holds/1", b"").await.expect("it is opened");
    // Whatever happens below, the data plane goes on in the end.
    let releasing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        go_on.send(()).expect("it is held");
    });
    let (mut first, mut second) = (Box::pin(node.shutdown()), Box::pin(node.shutdown()));
    assert_eq!(((&mut first).now_or_never(), (&mut second).now_or_never()), (None, None));
    tokio::join!(first, second);
    node.shutdown().await;
    releasing.join().expect("no panic");
}

/// Runs alone, in a process of its own: threads and files of other tests would be counted.
#[test]
fn nothing_is_left_of_a_node_that_was_shut_down() {
    const ALONE: &str = "STOQ_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let program = std::env::current_exe().expect("this program has a path");
        let name = "node::tests::nothing_is_left_of_a_node_that_was_shut_down";
        let alone = Command::new(program).args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").output();
        let alone = alone.expect("this program runs");
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&alone.stderr)
        );
        return;
    }
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
        runtime.block_on(async {
            let authority = Authority::new();
            let nodes = started(&authority, 3).await;
            nodes[1].swarm().provide([1; 32]).await.expect("it is stored");
            echoed(&nodes[2].pool(), nodes[1].peer_id(), b"hello").await.expect("it answers");
            let mut wrong = options(&authority, &authority.node("wrong"), Vec::new());
            wrong.settings.discovery.peers_min = 1000;
            assert!(Node::start(wrong).is_err());
            nodes[0].shutdown().await;
            nodes[1].shutdown().await;
            // The third is only dropped.
        });
    };
    // The first time starts what a process has once: the thread of libp2p's timers.
    run();
    let before = settled(3);
    run();
    assert_eq!(settled(before.0), before);
    assert_eq!(before.0, 3, "the program, this test, and libp2p's timers");
}

/// Counts threads and files, once there are so many threads or it has taken too long: a node that is dropped ends a moment later.
fn settled(threads: usize) -> (usize, usize) {
    let began = Instant::now();
    while count("/proc/self/task") != threads && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    (count("/proc/self/task"), count("/proc/self/fd"))
}

fn count(folder: &str) -> usize {
    Path::new(folder).read_dir().expect("there is a folder of it").count()
}
