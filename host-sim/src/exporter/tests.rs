//! Who is answered what over HTTP, and every bound.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::host::HostOptions;
use crate::http::{HEAD_BYTES_MAX, HEAD_TIMEOUT};

struct Node {
    _home: tempfile::TempDir,
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        let host = Host::open(HostOptions::new(home.path().into()).expect("finds itself")).expect("opens");
        let exporter = Exporter::bind(([127, 0, 0, 1], 0).into(), Names::default()).await.expect("binds");
        let address = exporter.address();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(exporter.serve(host, async { drop(stopped.await) }));
        Self { _home: home, address, stop, serving }
    }

    /// Sends bytes and reads until the other side ends: status, head and body.
    async fn send(&self, bytes: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let _ = stream.write_all(bytes).await;
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        let all = String::from_utf8(all).expect("UTF-8");
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await
    }
}

#[tokio::test]
async fn metrics_and_health_are_answered_and_nothing_else() {
    let node = Node::new().await;
    let (status, head, body) = node.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\n# TYPE hypermesh_node_leases gauge\nhypermesh_node_leases 0\n"), "{body}");
    assert!(body.contains("hypermesh_node_health{health=\"Healthy\"} 1\n"), "{body}");
    let (status, _, body) = node.get("/health?x=1").await;
    assert_eq!((status, body.as_str()), (200, "{\"health\":\"Healthy\",\"extensions\":[]}\n"));
    let (status, _, body) = node.send(b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((status, body.as_str()), (200, ""));
    for (path, expected) in [("/", 404), ("/metrics/", 404), ("/../etc/passwd", 404)] {
        assert_eq!(node.get(path).await.0, expected, "{path}");
    }
    let (status, head, _) =
        node.send(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}").await;
    assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    // No HTTP at all, and more than a head may have.
    assert_ne!(node.send(b"\x16\x03\x01\r\n\r\n").await.0, 200);
    let long = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    assert_ne!(node.send(long.as_bytes()).await.0, 200);
    assert_eq!(node.get("/health").await.0, 200, "and the next is answered");
}

#[tokio::test]
async fn a_page_whose_name_suddenly_means_this_machine_is_told_nothing() {
    let node = Node::new().await;
    for path in ["/metrics", "/health", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let (status, _, body) = node.send(request.as_bytes()).await;
        assert!(status == 421 && !body.contains("hypermesh_"), "{path} {status}");
    }
}

/// Time is that of tokio here: it goes on when nothing else does.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_let_go_and_keeps_nobody_from_stopping() {
    let node = Node::new().await;
    let started = tokio::time::Instant::now();
    let _held = accept::silent(node.address, CONNECTIONS_MAX).await;
    assert_eq!(node.get("/health").await.0, 200, "once there is room");
    let waited = started.elapsed();
    assert!((HEAD_TIMEOUT..=CONNECTION_TIMEOUT).contains(&waited), "{waited:?}");
    let _held = accept::silent(node.address, CONNECTIONS_MAX).await;
    let (asked, really) = (tokio::time::Instant::now(), Instant::now());
    node.stop.send(()).expect("it serves");
    node.serving.await.expect("no panic");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?} {:?}", asked.elapsed(), really.elapsed());
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_told() {
    let node = Node::new().await;
    let refused = Exporter::bind(node.address, Names::default()).await.expect_err("is taken");
    assert!(refused.message.contains(&node.address.to_string()), "{refused}");
}
