//! Each bound of the pool in effect.

use super::*;

/// Opens streams that wait until there are so many.
async fn hold(from: &Node, to: &Node, count: usize) -> Vec<Stream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = from.open(to, "waits/1", b"").await.expect("opens");
        soon(stream.receive.read_exact(&mut [0; 5])).await.expect("begins");
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn requests_of_one_peer_are_bounded() {
    let cluster = Cluster::new();
    let server = cluster.node_with("server", |limits| limits.served_per_peer_max = 2);
    let (greedy, other) = (cluster.node("greedy"), cluster.node("other"));
    let held = hold(&greedy, &server, 2).await;
    assert_eq!(greedy.reset_by(&server, "echo/1", b"").await, Some(BUSY));
    assert_eq!(server.errors(&greedy, "busy"), 1);
    other.echo(&server, "x").await;
    server.waits.add_permits(held.len());
    until(|| server.serves() == 0).await;
    greedy.echo(&server, "x").await;
}

#[tokio::test]
async fn requests_of_all_peers_are_bounded() {
    let cluster = Cluster::new();
    let server = cluster.node_with("server", |limits| limits.served_max = 2);
    let clients: Vec<_> = (0..3).map(|index| cluster.node(&format!("n{index}"))).collect();
    let _held = (hold(&clients[0], &server, 1).await, hold(&clients[1], &server, 1).await);
    let code = clients[2].reset_by(&server, "echo/1", b"").await;
    assert_eq!(code, Some(BUSY));
    server.waits.add_permits(2);
    until(|| server.serves() == 0).await;
    clients[2].echo(&server, "x").await;
}

#[tokio::test]
async fn callers_that_wait_for_one_peer_are_bounded() {
    let cluster = Cluster::new();
    let a = cluster.node_with("a", |limits| {
        limits.waiting_per_peer_max = 3;
        limits.connect_timeout = Duration::from_millis(300);
    });
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let peer = cluster.authority.node("deaf").peer_id();
    cluster.set(peer, vec![deaf.local_addr().expect("has an address")]);
    let results = soon(futures_util::future::join_all((0..5).map(|_| a.pool.open(peer, "echo/1", b"")))).await;
    let busy = results.iter().filter(|result| matches!(result, Err(OpenError::Busy { limit: 3, .. }))).count();
    let failed = results.iter().filter(|result| matches!(result, Err(OpenError::Unreachable { .. }))).count();
    assert_eq!((busy, failed), (2, 3));
}

#[tokio::test]
async fn a_connection_without_room_for_a_stream_gets_a_second_one_and_no_third() {
    let cluster = Cluster::new();
    let server = cluster.node_with("server", |limits| limits.streams_per_connection_max = 2);
    let client = cluster.node_with("client", |limits| {
        limits.connections_per_peer_max = 2;
        limits.connect_timeout = Duration::from_millis(500);
    });
    let held = hold(&client, &server, 4).await;
    assert_eq!(client.connections(), 2);
    let error = client.open(&server, "echo/1", b"").await.expect_err("there is no room");
    let said = "it has 2 connections with it without room for a stream, the most it may";
    assert_eq!(
        error.to_string(),
        format!("this node has no room for another stream to peer `{}`: {said}", server.id())
    );
    server.waits.add_permits(held.len());
    for mut stream in held {
        stream.send.finish().expect("ends");
        soon(stream.receive.read_to_end(64)).await.expect("ends");
    }
    client.echo(&server, "x").await;
}

#[tokio::test]
async fn a_request_is_bounded_on_both_sides() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    // The frame has the two names, the name of the service and two lengths beside the request.
    let around = ask("echo/1", &[0; 1000]).len() - 1000;
    let largest = vec![b'x'; REQUEST_BYTES_MAX - around];
    assert_eq!(ask("echo/1", &largest).len(), REQUEST_BYTES_MAX);
    let mut stream = a.open(&b, "echo/1", &largest).await.expect("opens");
    stream.send.finish().expect("ends");
    assert!(soon(stream.receive.read_to_end(1 << 20)).await.expect("comes").len() > largest.len());
    let error = a.open(&b, "echo/1", &[&largest[..], b"x"].concat()).await.expect_err("is too large");
    assert!(matches!(error, OpenError::TooLarge { limit: REQUEST_BYTES_MAX, .. }), "{error}");
}

#[tokio::test]
async fn a_first_frame_that_is_none_is_refused() {
    let cluster = Cluster::new();
    let b = cluster.node_with("b", |limits| limits.request_timeout = Duration::from_millis(200));
    let (endpoint, _incoming) = cluster.authority.node("raw").bind(&cluster.authority.clock());
    let to = b.pool.endpoint().local_address();
    let connection = soon(endpoint.connect(to, Some(b.id()), Lane::Data)).await.expect("connects");
    let too_long = u32::try_from(REQUEST_BYTES_MAX + 1).expect("is short");
    let wrong: [(&str, Vec<u8>); 5] = [
        ("a length above the bound", too_long.to_le_bytes().to_vec()),
        ("the largest length", vec![0xff; 4]),
        ("no MessagePack", [&3_u32.to_le_bytes()[..], b"abc"].concat()),
        ("an empty frame", vec![0; 4]),
        ("a frame that does not end", [&30_u32.to_le_bytes()[..], b"abc"].concat()),
    ];
    for (what, bytes) in wrong {
        let (mut send, mut receive) = connection.quic().open_bi().await.expect("opens");
        send.write_all(&bytes).await.expect("is sent");
        let error = soon(receive.read_to_end(64)).await.expect_err(what);
        let refused = quinn::ReadError::Reset(VarInt::from_u32(REFUSED));
        assert_eq!(error, quinn::ReadToEndError::Read(refused), "{what}");
    }
    let errors = &b.pool.endpoint().metrics().peers[0].errors;
    assert_eq!((errors.get("request"), errors.get("slow-request")), (Some(&4), Some(&1)));
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn a_flood_of_streams_leaves_room_for_others() {
    let cluster = Cluster::new();
    let server = cluster.node_with("server", |limits| {
        limits.served_per_peer_max = 20;
        limits.request_timeout = Duration::from_millis(500);
    });
    let flooder = cluster.authority.node("flooder");
    let (endpoint, _incoming) = flooder.bind(&cluster.authority.clock());
    let to = server.pool.endpoint().local_address();
    let connection = soon(endpoint.connect(to, Some(server.id()), Lane::Data)).await.expect("connects");
    let mut streams = Vec::new();
    for _ in 0..500 {
        let (mut send, receive) = soon(connection.quic().open_bi()).await.expect("opens");
        send.write_all(&[7]).await.expect("is sent");
        streams.push((send, receive));
    }
    let other = cluster.node("other");
    other.echo(&server, "x").await;
    let mut codes = HashMap::new();
    for (_send, mut receive) in streams {
        let error = soon(receive.read(&mut [0; 1])).await.expect_err("is reset");
        let quinn::ReadError::Reset(code) = error else { panic!("{error:?}") };
        *codes.entry(code.into_inner()).or_insert(0) += 1;
    }
    assert_eq!(codes.values().sum::<u32>(), 500);
    let busy = codes.get(&u64::from(BUSY)).copied().unwrap_or(0);
    assert!(busy >= 400, "most found no room: {codes:?}");
    until(|| server.serves() == 0).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_given_up() {
    let cluster = Cluster::new();
    let idle = |limits: &mut Limits| limits.idle_timeout = Duration::from_millis(300);
    let (a, b) = (cluster.node_with("a", idle), cluster.node("b"));
    a.echo(&b, "x").await;
    until(|| a.connections() == 0 && b.connections() == 0).await;
    a.echo(&b, "x").await;
    assert_eq!(a.pool.endpoint().metrics().dialed, 2);
    // What is served keeps its connection.
    let mut stream = b.open(&a, "waits/1", b"").await.expect("opens");
    soon(stream.receive.read_exact(&mut [0; 5])).await.expect("begins");
    let ended = timeout(Duration::from_millis(900), stream.receive.read(&mut [0; 1])).await;
    assert!(ended.is_err(), "{ended:?}");
    a.waits.add_permits(1);
    assert_eq!(soon(stream.receive.read_to_end(64)).await.expect("ends"), b" done");
    until(|| a.connections() == 0).await;
}

#[tokio::test]
async fn the_quietest_connection_makes_room_for_another_peer() {
    let cluster = Cluster::new();
    let few = |limits: &mut Limits| {
        limits.connections_max = 2;
        limits.quiet_timeout = Duration::from_millis(200);
    };
    let node = cluster.node_with("node", few);
    let peers: Vec<_> = (0..3).map(|index| cluster.node(&format!("n{index}"))).collect();
    node.echo(&peers[0], "x").await;
    // The second serves a request of the node's peer, so that it is never quiet.
    let mut held = peers[1].open(&node, "waits/1", b"").await.expect("opens");
    soon(held.receive.read_exact(&mut [0; 5])).await.expect("begins");
    let refused = node.open(&peers[2], "echo/1", b"").await.expect_err("nothing is quiet yet");
    assert!(matches!(refused, OpenError::Busy { limit: 2, .. }), "{refused}");
    soon(async {
        while node.pool.open(peers[2].id(), "echo/1", b"").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until(|| peers[0].connections() == 0).await;
    assert_eq!((peers[1].connections(), peers[2].connections()), (1, 1));
    node.waits.add_permits(1);
    assert_eq!(soon(held.receive.read_to_end(64)).await.expect("ends"), b" done");
}
