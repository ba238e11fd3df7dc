//! What another node costs: memory that it keeps, a run that it does, news that sixteen of them hear. The floor is plain quinn as
//! it comes, in the same run and in turns with ours: one stream that stays open, a few bytes there, and an answer.
//!
//! Nodes are whole ones in this process, on loopback ports.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "bundle.rs"]
mod bundle;
#[path = "target.rs"]
mod target;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::proxy::client::Client;
use catalog::proxy::stream::{MemoryService, OverPeers, holder};
use catalog::proxy::{Grant, Regions, Rights, WordMemory};
use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::manifest::{self, Capability};
use host_sim::trust::{InitOptions, KeyKind, TrustHome, Unlock};
use hypermesh_abi::host::Root;
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream, ServerConfig};
use serde_json::{Value as Json, json};
use stoq::limits::Limits;
use stoq::node::{Node, NodeOptions};
use stoq::swarm::Settings;
use stoq::testing::{Authority, START};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How much longer than the floor reading another node's memory may take.
const READ_TIMES_MAX: f64 = 1.3;
/// Microseconds that a run on another node may take beyond one here and a round trip.
const RUN_US_MAX: f64 = 300.0;
/// Seconds until every node has heard of a publication.
const NEWS_S_MAX: f64 = 2.0;

const READ_BYTES: usize = 64 << 10;
const ROUNDS: usize = 20;
const READS: usize = 200;
const RUNS: usize = 50;
const NODES: usize = 16;
const PUBLICATIONS: usize = 10;
/// How long joining may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = Runtime::new().expect("starts");
    memory(&runtime);
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::new(directory.path());
    runtime.block_on(async {
        runs(&cluster).await;
        news(&cluster).await;
    });
}

/// Times of one thing, in microseconds.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, began: Instant) {
        self.0.push(began.elapsed().as_secs_f64() * 1e6);
    }

    fn at(&self, percent: usize) -> f64 {
        let mut times = self.0.clone();
        times.sort_by(f64::total_cmp);
        times[(times.len() - 1) * percent / 100]
    }

    fn show(&self, what: &str) {
        println!("{what:<44} {:>9.1} us  p99 {:.1}", self.at(50), self.at(99));
    }
}

/// The floor: a server on a thread of its own, and a stream to it.
struct Raw {
    runtime: Runtime,
    send: SendStream,
    receive: RecvStream,
    _client: Endpoint,
}

impl Raw {
    /// Connects to a server that answers each 8 bytes, which say how much, with so many.
    fn connect() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("is made");
        let certificate = made.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let own = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        let (tell, told) = std::sync::mpsc::channel();
        let chain = vec![certificate.clone()];
        std::thread::spawn(move || {
            own().block_on(async move {
                let config = ServerConfig::with_single_cert(chain, key.into()).expect("fits");
                let server = Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("is free");
                tell.send(server.local_addr().expect("is bound")).expect("somebody waits");
                let connection = server.accept().await.expect("comes").await.expect("connects");
                let (mut send, mut receive) = connection.accept_bi().await.expect("opens");
                let (mut asked, bytes) = ([0; 8], vec![7; READ_BYTES]);
                while receive.read_exact(&mut asked).await.is_ok() {
                    let length = usize::try_from(u64::from_le_bytes(asked)).expect("is short");
                    send.write_all(&bytes[..length]).await.expect("is taken");
                }
            });
        });
        let address = told.recv().expect("starts");
        let runtime = own();
        let (send, receive, client) = runtime.block_on(async {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(certificate).expect("is one");
            let mut client = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("is free");
            client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots)).expect("fits"));
            let connection = client.connect(address, "localhost").expect("may").await.expect("connects");
            let (send, receive) = connection.open_bi().await.expect("opens");
            (send, receive, client)
        });
        Self { runtime, send, receive, _client: client }
    }

    fn ask(&mut self, bytes: &mut [u8]) {
        let asked = (bytes.len() as u64).to_le_bytes();
        self.runtime.block_on(async {
            self.send.write_all(&asked).await.expect("is taken");
            self.receive.read_exact(bytes).await.expect("comes");
        });
    }
}

/// Reads memory of one node from another.
fn memory(runtime: &Runtime) {
    let authority = Authority::new();
    let regions = Regions::new([1; 16], [2; 8]).expect("there is randomness");
    let service = MemoryService::new(Arc::clone(&regions), Box::new(|| START));
    let start = |name: &str, bootstrap: Vec<SocketAddr>| {
        let identity = authority.node(name);
        let node = Node::start(NodeOptions {
            identity: Arc::clone(&identity) as _,
            clock: authority.clock(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: Vec::new(),
            bootstrap,
            limits: Limits::default(),
            settings: Settings::default(),
            services: Vec::new(),
        });
        (node.expect("starts"), holder(&identity.peer_id()))
    };
    let (keeps, _) = start("keeps", Vec::new());
    keeps.services().register(Arc::new(service)).expect("is the first");
    let (reads, reader) = start("reads", vec![keeps.address()]);
    let export = regions.export(Arc::new(WordMemory::new(&vec![7; 1 << 20])), Box::new(())).expect("there is room");
    let expires_at = START + time::Duration::HOUR;
    let grant = Grant { holder: reader, offset: 0, length: 1 << 20, rights: Rights::READ, expires_at };
    let capability = export.grant(&grant).expect("is in range");
    let until = Instant::now() + PATIENCE;
    while runtime.block_on(reads.swarm().metrics()).is_ok_and(|metrics| metrics.peers_connected == 0) {
        assert!(Instant::now() < until, "they connect");
        std::thread::sleep(Duration::from_millis(10));
    }
    let client = Client::new(OverPeers::new(reads.pool(), keeps.peer_id(), runtime.handle().clone()));
    let mapped = client.map(&capability, Rights::READ).expect("may");
    let (mut raw, mut buffer) = (Raw::connect(), vec![0; READ_BYTES]);
    let (mut ours, mut floor) = (Times::default(), Times::default());
    for round in 0..ROUNDS {
        if round == 1 {
            // The windows are open by now.
            (ours, floor) = Default::default();
        }
        for _ in 0..READS {
            let began = Instant::now();
            let bytes = mapped.read(0, READ_BYTES as u64).expect("may");
            ours.add(began);
            assert_eq!(bytes.len(), READ_BYTES);
        }
        for _ in 0..READS {
            let began = Instant::now();
            raw.ask(&mut buffer);
            floor.add(began);
        }
    }
    ours.show("64 KiB of another node's memory");
    floor.show("64 KiB by plain quinn");
    target::at_most(
        "64 KiB of another node's memory beside plain quinn",
        ours.at(50) / floor.at(50),
        READ_TIMES_MAX,
        "times",
    );
}

/// One root, of which all nodes are members.
struct Cluster {
    directory: PathBuf,
    trust: TrustHome,
    manifest: PathBuf,
}

/// A node of it.
struct Member {
    host: Host,
    home: TempDir,
}

impl Cluster {
    fn new(directory: &Path) -> Self {
        let trust = TrustHome::init(directory, &InitOptions::default(), &Unlock::key_file()).expect("makes a root");
        let bundle = bundle::lay_out(&directory.join("publisher"));
        Self { directory: directory.into(), trust, manifest: bundle.join(manifest::FILE_NAME) }
    }

    async fn node(&self, name: &str, bootstrap: &[SocketAddr]) -> Member {
        let home = tempfile::tempdir_in(&self.directory).expect("a directory");
        let unlock = Unlock::key_file();
        let application = TrustHome::apply(home.path(), name, &unlock).expect("applies");
        let membership = self.trust.admit(name, &application, KeyKind::Usual, &unlock).expect("admits");
        TrustHome::take(home.path(), &membership, &unlock).expect("takes");
        let options = HostOptions {
            child: None,
            consensus: Seating::Nobody,
            ..HostOptions::new(home.path().into()).expect("options")
        };
        let host = Host::open(options).expect("opens");
        let network = json!({"listen": "127.0.0.1:0", "bootstrap": bootstrap, "run_for": ["*"]});
        let mut manifest = manifest::read(&self.manifest).expect("a valid manifest");
        manifest.configuration = json!({"vm": true, "network": network}).as_object().cloned().expect("a map");
        manifest.capabilities.granted.push(Capability::TransportAccess);
        let worker = PathBuf::from(env!("CARGO_BIN_EXE_catalog-worker"));
        let workers = BTreeMap::from([("catalog-worker".to_owned(), worker)]);
        let root = Root::linked(catalog::extension::extension_root());
        host.load(Source::Linked { root, manifest: Box::new(manifest), workers }).await.expect("loads");
        Member { host, home }
    }
}

impl Member {
    async fn try_ask(&self, verb: &str, params: Json) -> Option<Json> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.ok().map(|response| response.data)
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|| panic!("`{verb}` goes well"))
    }

    async fn address(&self) -> SocketAddr {
        self.ask("peers", json!({})).await["address"].as_str().expect("text").parse().expect("an address")
    }

    async fn until(&self, verb: &str, params: &Json, is_so: impl Fn(&Json) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !self.try_ask(verb, params.clone()).await.is_some_and(|answer| is_so(&answer)) {
            assert!(Instant::now() < until, "`{verb}` {params} is so in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn publish(&self, name: &str) {
        let directory = bundle::package(self.home.path(), name, "", "return function(n) return n + 1 end");
        self.ask("publish", json!({"directories": [directory]})).await;
    }
}

/// The same run here and on another node.
async fn runs(cluster: &Cluster) {
    let worker = cluster.node("worker", &[]).await;
    let caller = cluster.node("caller", &[worker.address().await]).await;
    caller.publish("next").await;
    worker.until("info", &json!({"package": "next"}), |_| true).await;
    for node in [&worker, &caller] {
        node.ask("install", json!({"packages": ["next"]})).await;
    }
    let here = json!({"package": "next", "arguments": [1]});
    let mut there = here.clone();
    there["node"] = worker.ask("peers", json!({})).await["id"].clone();
    let (mut near, mut far, mut trip) = (Times::default(), Times::default(), Times::default());
    let mut raw = tokio::task::block_in_place(Raw::connect);
    for round in 0..ROUNDS {
        if round == 1 {
            (near, far, trip) = Default::default();
        }
        for (times, params) in [(&mut near, &here), (&mut far, &there)] {
            for _ in 0..RUNS {
                let began = Instant::now();
                let ran = caller.ask("run", params.clone()).await;
                times.add(began);
                assert_eq!(ran["value"], 2);
            }
        }
        tokio::task::block_in_place(|| {
            for _ in 0..RUNS {
                let began = Instant::now();
                raw.ask(&mut [0; 64]);
                trip.add(began);
            }
        });
    }
    // A runtime may not end where others are driven.
    tokio::task::block_in_place(move || drop(raw));
    near.show("a run here");
    far.show("a run on another node");
    trip.show("64 bytes by plain quinn");
    let beyond = far.at(50) - near.at(50) - trip.at(50);
    target::at_most("a run on another node, beyond one here and a round trip", beyond, RUN_US_MAX, "µs");
    for node in [worker, caller] {
        node.host.shutdown().await;
    }
}

/// Publishes on one node, and waits until all others know.
async fn news(cluster: &Cluster) {
    let mut nodes = vec![cluster.node("n1", &[]).await];
    let first = nodes[0].address().await;
    for number in 2..=NODES {
        nodes.push(cluster.node(&format!("n{number}"), &[first]).await);
    }
    for node in &nodes {
        node.until("peers", &json!({}), |it| it["connected"].as_u64() >= Some(1)).await;
    }
    let mut heard = Times::default();
    for number in 0..PUBLICATIONS {
        let name = format!("news-{number}");
        let began = Instant::now();
        nodes[number % NODES].publish(&name).await;
        for node in &nodes {
            node.until("info", &json!({"package": name}), |_| true).await;
        }
        heard.add(began);
    }
    heard.show("a publication, until 16 nodes know it");
    let worst = heard.at(100) / 1e6;
    target::at_most("a publication is known on 16 nodes, the slowest of 10", worst, NEWS_S_MAX, "s");
    for node in nodes {
        node.host.shutdown().await;
    }
}
