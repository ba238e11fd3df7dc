//! Who is answered what by the console, over HTTP, and every bound.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::host::HostOptions;

struct Node {
    _home: tempfile::TempDir,
    address: SocketAddr,
    token: String,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        let host = Host::open(HostOptions::new(home.path().into()).expect("finds itself")).expect("opens");
        let console = Console::bind(([127, 0, 0, 1], 0).into(), Reach::ThisMachine, Names::default()).await;
        let console = console.expect("binds");
        let url = console.url();
        let (address, token) = url.strip_prefix("http://").and_then(|url| url.split_once("/#token=")).expect("a URL");
        let (address, token) = (address.parse().expect("an address"), token.to_owned());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(console.serve(host, async { drop(stopped.await) }));
        Self { _home: home, address, token, stop, serving }
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

    async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address).as_bytes()).await
    }

    /// Asks as the page does, but for further headers and another token.
    async fn post(&self, body: &str, token: &str, headers: &str) -> (u16, String, String) {
        let request = format!(
            "POST /node HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        self.send(request.as_bytes()).await
    }

    /// Asks with the token and gives the last line.
    async fn ask(&self, what: &Json) -> Json {
        let (status, head, body) = self.post(&what.to_string(), &self.token, "").await;
        assert_eq!(status, 200, "{head} {body}");
        // The body comes in chunks, each with its length before it; a line of JSON is one chunk.
        let line = body.lines().rev().find(|line| line.starts_with('{')).expect("a line");
        serde_json::from_str(line).expect("is JSON")
    }
}

#[tokio::test]
async fn the_page_is_served_and_nothing_but_the_page() {
    let node = Node::new().await;
    for path in ["/", "/main.js", "/console.css", "/icon.svg", "/?x=1"] {
        let (status, head, body) = node.get(path, "").await;
        assert!(status == 200 && !body.is_empty(), "{path}");
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header} in {head}");
        }
        assert!(!body.contains(&node.token), "{path}");
    }
    for path in ["/metrics", "/health", "/../Cargo.toml", "/%2e%2e/x", "//", "/main.js/"] {
        let (status, head, _) = node.get(path, "").await;
        assert!(status == 404 && head.contains("content-security-policy"), "{path} {status}");
    }
    assert_eq!(node.send(format!("PUT / HTTP/1.1\r\nHost: {}\r\n\r\n", node.address).as_bytes()).await.0, 405);
    let bearer = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", node.token);
    assert_eq!(node.get("/node", &bearer).await.0, 405, "what changes something is never a plain link");
}

#[tokio::test]
async fn nobody_is_told_anything_without_the_token_or_from_another_page() {
    let node = Node::new().await;
    let status = json!("status").to_string();
    let (told, head, body) = node.post(&status, &node.token, "").await;
    assert!(told == 200 && head.contains("application/x-ndjson") && body.contains("node_id"), "{head} {body}");
    for wrong in ["", "x", &node.token[1..], &format!("{}x", node.token), &node.token.to_lowercase()] {
        let (told, head, body) = node.post(&status, wrong, "").await;
        assert!(told == 401 && !body.contains("node_id") && head.contains("content-security-policy"), "{wrong}");
    }
    assert_eq!(node.get("/node", "").await.0, 401);
    for (headers, expected) in [
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
    ] {
        assert_eq!(node.post(&status, &node.token, headers).await.0, expected, "{headers}");
        if expected == 403 {
            assert_eq!(node.get("/", headers).await.0, 403, "{headers}");
        }
    }
    // A name that means this address now, and another one before: the browser thinks it is the other page's own.
    for path in ["/", "/node", "/main.js"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", node.address.port());
        assert_eq!(node.send(request.as_bytes()).await.0, 421, "{path}");
    }
    let form = format!(
        "POST /node HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\n{status}",
        node.address, node.token
    );
    assert_eq!(node.send(form.as_bytes()).await.0, 415);
    let preflight = "OPTIONS /node HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n";
    let (told, head, _) = node.send(preflight.as_bytes()).await;
    assert!(told == 403 && !head.contains("access-control"), "{head}");
}

#[tokio::test]
async fn only_what_a_console_may_ask_is_asked() {
    let node = Node::new().await;
    let status = node.ask(&json!("status")).await;
    assert_eq!((&status["answer"]["health"], &status["answer"]["failed"]), (&json!("Healthy"), &json!([])));
    assert!(status["answer"]["metrics"]["hypermesh_node_leases"].is_object(), "{status}");
    assert_eq!(node.ask(&json!("offered")).await["answer"], json!({"extensions": []}));
    assert_eq!(node.ask(&json!({"audit": {"before": null, "limit": 9}})).await["answer"], json!({"records": []}));
    let refused = node.ask(&json!({"view": {"extension": "x", "role": "packages"}})).await;
    assert_eq!(refused["error"]["code"], "EXTENSION_NOT_FOUND", "{refused}");
    let relative = node.ask(&json!({"upgrade": {"bundle": "../x"}})).await;
    assert_eq!(relative["error"]["code"], "INVALID_ARGUMENT", "{relative}");
    for hostile in [
        json!("stop"),
        json!("nonsense"),
        json!({"export_state": {"extension": "x"}}),
        json!({"import_state": {"extension": "x", "state": ""}}),
        json!({"request": {"extension": "x", "verb": "pack", "params": {}}}),
        json!({"view": {"extension": "x", "role": "y", "more": 1}}),
    ] {
        assert_eq!(node.post(&hostile.to_string(), &node.token, "").await.0, 400, "{hostile}");
    }
    let long = format!("\"{}\"", "x".repeat(65 << 10));
    assert_eq!(node.post(&long, &node.token, "").await.0, 413);
    assert_ne!(node.send(b"\x16\x03\x01\r\n\r\n").await.0, 200);
    assert!(node.ask(&json!("status")).await["answer"].is_object(), "and the next is answered");
}

#[tokio::test]
async fn other_machines_are_served_only_where_somebody_said_so() {
    let bind = |address: &str, reach| Console::bind(address.parse().expect("an address"), reach, Names::default());
    let refused = bind("0.0.0.0:0", Reach::ThisMachine).await.expect_err("other machines reach it");
    assert!(refused.message.contains("nothing is encrypted"), "{refused}");
    assert!(refused.detail.help.is_some_and(|help| help.contains("--console-remote")));
    assert!(bind("0.0.0.0:0", Reach::Anywhere).await.is_ok());
    let console = bind("127.0.0.1:0", Reach::ThisMachine).await.expect("binds");
    let taken = console.url().split('/').nth(2).expect("an address").to_owned();
    assert!(bind(&taken, Reach::ThisMachine).await.expect_err("is taken").message.contains(&taken));
    let other = bind("127.0.0.1:0", Reach::ThisMachine).await.expect("binds");
    assert_ne!(console.url().split('#').nth(1), other.url().split('#').nth(1), "each has a token of its own");
    assert!(!format!("{:?}", console.access).contains("token="), "{console:?}");
}

/// Time is that of tokio here: it goes on when nothing else does.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_let_go_and_keeps_nobody_from_stopping() {
    let node = Node::new().await;
    let started = tokio::time::Instant::now();
    let _held = accept::silent(node.address, CONNECTIONS_MAX).await;
    assert_eq!(node.get("/", "").await.0, 200, "once there is room");
    assert!(started.elapsed() <= Duration::from_secs(10), "{:?}", started.elapsed());
    // One that begins to ask and never ends.
    let mut half = TcpStream::connect(node.address).await.expect("connects");
    let head = format!(
        "POST /node HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{",
        node.address, node.token
    );
    half.write_all(head.as_bytes()).await.expect("is taken");
    let mut answer = String::new();
    half.read_to_string(&mut answer).await.expect("is answered");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let _held = accept::silent(node.address, CONNECTIONS_MAX).await;
    let asked = tokio::time::Instant::now();
    node.stop.send(()).expect("it serves");
    node.serving.await.expect("no panic");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}
