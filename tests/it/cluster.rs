//! Clusters through the `host-sim` program: real processes under one authority, killed, cut off from each other, and gone.

mod clock;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host_sim::manifest;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::programs;
use super::support::{self, library};

/// How long something may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a packet is waited for before it is sent again.
const PACKET_TIMEOUT: Duration = Duration::from_millis(100);
/// How often a packet is sent that must come through, on a machine that is busy.
const TRIES_MAX: usize = 100;
/// How often a packet is sent that must not.
const TRIES_OF_NONE: usize = 5;

/// A cluster that is ended when the test does, whatever became of it.
struct Cluster {
    directory: TempDir,
    bundle: PathBuf,
    _publisher: Option<support::Home>,
}

impl Cluster {
    fn new() -> Self {
        let publisher = support::Home::new();
        let bundle = publisher.bundle("witness", &library("witness_extension"), &json!({})).expect("laid out");
        Self::with(bundle, Some(publisher))
    }

    fn with(bundle: PathBuf, _publisher: Option<support::Home>) -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory"), bundle, _publisher }
    }

    /// Asks a node again and again until it can answer.
    fn until(&self, name: &str, words: &[&str]) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (code, json) = ask(&self.home(name), words);
            if code == 0 {
                return;
            }
            assert!(Instant::now() < until, "{name} {words:?} stays {json}");
            std::thread::sleep(PACKET_TIMEOUT);
        }
    }

    fn up(&self, nodes: usize, network: &str) -> Json {
        let (nodes, bundle) = (nodes.to_string(), self.bundle.to_str().expect("text"));
        self.good(&["cluster", "up", "-n", &nodes, "--bundle", bundle, "--network", network])
    }

    fn home(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn good(&self, words: &[&str]) -> Json {
        good(self.directory.path(), words)
    }

    fn refused(&self, words: &[&str]) -> (i32, String, String) {
        let (code, json) = ask(self.directory.path(), words);
        let text = |field: &str| json["error"][field].as_str().unwrap_or_default().to_owned();
        assert_eq!(json["ok"], json!(false), "{words:?}: {json}");
        (code, text("message"), text("help"))
    }

    /// Gives the command lines of living processes that name a home of this cluster.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("is there").map(|entry| entry.expect("readable")) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(self.directory.path().to_str().expect("text")) {
                found.push(line);
            }
        }
        found
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = ask(self.directory.path(), &["cluster", "down"]);
    }
}

fn ask(home: &Path, words: &[&str]) -> (i32, Json) {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env_remove("HYPERMESH_PASSPHRASE").env("HOME", home).arg("--home").arg(home);
    let output = command.args(words).arg("--json").stdin(Stdio::null()).output().expect("starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let last = stdout.lines().last().unwrap_or_default();
    let json = serde_json::from_str(last);
    let json = json.unwrap_or_else(|error| panic!("{error}: {last}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap_or(-1), json)
}

fn good(home: &Path, words: &[&str]) -> Json {
    let (code, json) = ask(home, words);
    assert_eq!((code, &json["ok"]), (0, &json!(true)), "{words:?}: {json}");
    json
}

/// Gives a field of every node.
fn each(answer: &Json, field: &str) -> Vec<Json> {
    answer["nodes"].as_array().expect("nodes").iter().map(|node| node[field].clone()).collect()
}

#[test]
fn a_cluster_of_processes_is_made_killed_started_and_gone() {
    let cluster = Cluster::new();
    let (code, message, help) = cluster.refused(&["cluster", "status"]);
    assert!(code == 1 && message.starts_with("there is no cluster in") && help.contains("cluster up"), "{message}");
    let up = cluster.up(3, "loopback");
    assert_eq!((&up["state"], each(&up, "id")), (&json!("Running"), vec![json!("n1"), json!("n2"), json!("n3")]));
    assert_eq!(each(&up, "health"), vec![json!("Healthy"); 3], "{up}");
    assert!(each(&up, "rss_mb").iter().all(|mb| mb.as_f64().is_some_and(|mb| mb > 1.0)), "{up}");
    assert_eq!(cluster.processes().len(), 4, "and the authority");

    // Every other command works on the home of a node, and goes through it.
    for name in ["n1", "n2", "n3"] {
        assert_eq!(good(&cluster.home(name), &["witness", "count"])["generation"], json!(1));
        let grants = good(&cluster.home(name), &["witness", "grants"])["capabilities"].to_string();
        assert!(grants.contains("TransportAccess") && grants.contains("NetworkAccess"), "{grants}");
        assert_eq!(good(&cluster.home(name), &["status"])["state"], json!("Running"));
    }
    // The extension takes a setting `network`, so it is told where it is and whom to ask.
    let manifest = cluster.home("n2/extensions/witness").join(manifest::FILE_NAME);
    let told = manifest::read(&manifest).expect("a valid manifest").configuration["network"].clone();
    let addresses = each(&up, "address");
    assert_eq!(told, json!({"listen": addresses[1], "bootstrap": [addresses[0], addresses[2]]}));

    let (code, message, help) = cluster.refused(&["cluster", "kill", "node2"]);
    assert_eq!((code, message.as_str()), (1, "the cluster has no node `node2`"));
    assert!(help.starts_with("did you mean `n2`?"), "{help}");
    let killed = cluster.good(&["cluster", "kill", "n2"]);
    assert_eq!(each(&killed, "state"), [json!("Running"), json!("Failed"), json!("Running")]);
    assert_eq!((killed["state"].clone(), each(&killed, "pid")[1].clone()), (json!("Degraded"), Json::Null));
    assert_eq!(cluster.processes().len(), 3);
    assert!(cluster.refused(&["cluster", "kill", "n2"]).1.contains("does not run"));
    let started = cluster.good(&["cluster", "start", "n2"]);
    assert_eq!((each(&started, "state"), each(&started, "address")), (vec![json!("Running"); 3], addresses.clone()));
    assert_eq!(
        [0, 2].map(|place| each(&started, "pid")[place].clone()),
        [0, 2].map(|place| each(&up, "pid")[place].clone())
    );
    assert!(cluster.refused(&["cluster", "start", "n2"]).1.contains("runs already"));
    // One that cannot load its extension is no node, and leaves no process.
    cluster.good(&["cluster", "kill", "n2"]);
    let (library, aside) = (cluster.home("n2/extensions/witness/libwitness_extension.so"), cluster.home("aside"));
    std::fs::rename(&library, &aside).expect("moved");
    let (code, message, help) = cluster.refused(&["cluster", "start", "n2"]);
    assert!(code == 3 && message.contains("has not loaded its extension") && help.contains("node.log"), "{message}");
    assert_eq!(cluster.processes().len(), 3);
    std::fs::rename(&aside, &library).expect("moved");
    assert_eq!(cluster.good(&["cluster", "up"])["state"], json!("Running"), "it starts what is stopped");
    let (code, message, help) = cluster.refused(&["cluster", "partition", "n1", "n2,n3"]);
    assert!(code == 3 && message.contains("share one loopback") && help.contains("--network namespaces"), "{message}");
    assert!(cluster.refused(&["cluster", "up", "-n", "4"]).1.contains("has 3 nodes, and not 4"));

    // One that a command has started and not noted, since it was interrupted, is found again.
    let before = each(&cluster.good(&["cluster", "status"]), "pid");
    let file = cluster.home("cluster.json");
    let mut record: Json = serde_json::from_slice(&std::fs::read(&file).expect("reads")).expect("is JSON");
    record["nodes"][0]["process"] = Json::Null;
    std::fs::write(&file, record.to_string()).expect("written");
    assert_eq!(each(&cluster.good(&["cluster", "status"]), "state")[0], json!("Stopped"));
    assert_eq!(each(&cluster.good(&["cluster", "up"]), "pid"), before);
    std::fs::write(&file, record.to_string()).expect("written");

    let down = cluster.good(&["cluster", "down"]);
    assert_eq!(each(&down, "state"), vec![json!("Stopped"); 3]);
    assert_eq!(cluster.processes(), Vec::<String>::new());
    assert!(["n1", "n2", "n3"].iter().all(|name| !cluster.home(name).join("run/host.sock").exists()));
    let again = cluster.good(&["cluster", "up"]);
    assert_eq!((each(&again, "address"), &again["state"]), (addresses, &json!("Running")));
}

#[test]
fn nodes_of_a_cluster_are_under_one_authority_and_learn_of_revocations() {
    let cluster = Cluster::new();
    // What a first try has left is in nobody's way.
    let (code, message, _) = cluster.refused(&["cluster", "up", "-n", "2", "--bundle", "nowhere"]);
    assert!(code == 1 || code == 3, "{code} {message}");
    let up = cluster.up(2, "loopback");
    assert_eq!((&up["authority"]["home"], &up["authority"]["state"]), (&json!(cluster.home("ca")), &json!("Running")));
    let shown = |name: &str| good(&cluster.home(name), &["trust", "show", "local"])["certificates"][0].clone();
    assert_eq!(
        (shown("n1")["names"].clone(), shown("n2")["names"].clone()),
        (json!(["n1.pub.trustchain"]), json!(["n2.pub.trustchain"]))
    );
    let identity = good(&cluster.home("n2"), &["witness", "identity"]);
    assert_eq!(
        (identity["chain"].as_array().map(Vec::len), identity["crls"].as_array().map(Vec::len)),
        (Some(2), Some(2))
    );

    let certificate = cluster.home("n2/trust/node.pem");
    let verify = ["trust", "verify", "--leaf", certificate.to_str().expect("text"), "--eku", "node"];
    assert_eq!(good(&cluster.home("n1"), &verify)["result"], json!("SUCCESS"));
    // A node asks the authority, which is a process like the others, over a connection.
    let serial = good(&cluster.home("n2"), &["trust", "show", "node"])["certificates"][0]["serial"].clone();
    let ask_status = ["trust", "status", serial.as_str().expect("text")];
    assert_eq!(good(&cluster.home("n1"), &ask_status)["state"], json!("good"));
    good(&cluster.home("ca"), &["trust", "revoke", "n2", "--reason", "key-compromise"]);
    assert_eq!(good(&cluster.home("n1"), &ask_status)["state"], json!("revoked"));
    assert_eq!(good(&cluster.home("n1"), &verify)["result"], json!("SUCCESS"), "until it has asked for lists");
    good(&cluster.home("n1"), &["trust", "fetch"]);
    let (code, refused) = ask(&cluster.home("n1"), &verify);
    assert_eq!((code, &refused["fault"]), (5, &json!("REVOKED")), "{refused}");
    cluster.good(&["cluster", "refresh"]);
    assert_eq!(ask(&cluster.home("n2"), &verify).0, 5, "it knows itself");
    assert_eq!(good(&cluster.home("n1"), &["witness", "identity"])["crls"].to_string().matches("X509 CRL").count(), 4);
}

#[test]
fn a_partition_cuts_the_network_between_its_groups_until_it_is_healed() {
    let cluster = Cluster::new();
    let up = cluster.up(4, network_to_cut());
    if up["partitions"] == json!(false) {
        // Whoever may not make namespaces is told so, and gets a cluster that cannot be cut.
        assert_eq!(cluster.refused(&["cluster", "partition", "n1"]).0, 3);
        return;
    }
    let name = up["network"]["name"].as_str().expect("text").to_owned();
    let peers = Peers::of(&name, &each(&up, "address"));
    peers.expect(&ALL_PAIRS);
    let cut = cluster.good(&["cluster", "partition", "n1,n2", "n3"]);
    assert_eq!(cut["groups"], json!([["n1", "n2"], ["n3"], ["n4"]]));
    peers.expect(&[(0, 1)]);
    // Nodes themselves know nothing of it, and their sockets answer.
    assert_eq!((each(&cut, "health"), each(&cut, "pid")), (vec![json!("Healthy"); 4], each(&up, "pid")));
    cluster.good(&["cluster", "partition", "n1|n2,n3,n4"]);
    peers.expect(&[(1, 2), (1, 3), (2, 3)]);
    assert_eq!(cluster.good(&["cluster", "heal"])["groups"], json!([]));
    peers.expect(&ALL_PAIRS);
    cluster.good(&["cluster", "heal"]);

    // A cut that fails half-way changes nothing, and is in the way of no other: a name of the third group is taken.
    let hub = |words: &str| {
        let words = words.split(' ');
        let done = Command::new("ip").args(["-n", &format!("{name}-hub")]).args(words).status();
        assert!(done.expect("starts").success());
    };
    hub("link add group2 type veth peer name other");
    let (code, message, _) = cluster.refused(&["cluster", "partition", "n1", "n2"]);
    assert!(code == 3 && message.contains("File exists"), "{code} {message}");
    assert_eq!(cluster.good(&["cluster", "status"])["groups"], json!([]));
    peers.expect(&ALL_PAIRS);
    hub("link del group2");
    cluster.good(&["cluster", "partition", "n1", "n2"]);
    peers.expect(&[(2, 3)]);
    cluster.good(&["cluster", "heal"]);
    cluster.good(&["cluster", "kill", "n4"]);
    assert_eq!(each(&cluster.good(&["cluster", "start", "n4"]), "address"), each(&up, "address"));
    drop(peers);
    cluster.good(&["cluster", "down"]);
    let left = std::fs::read_dir("/run/netns").expect("is there").map(|entry| entry.expect("readable").file_name());
    assert_eq!(left.filter(|left| left.to_string_lossy().starts_with(&name)).count(), 0);
}

#[test]
fn packages_reach_every_node_and_outlive_the_one_that_published_them() {
    let cluster = Cluster::with(programs::bundle().to_path_buf(), None);
    let up = cluster.up(3, network_to_cut());
    let package =
        programs::package(cluster.directory.path(), "answer", "lua-script", "", "return function() return 42 end");
    let publish = |directory: &Path| {
        good(&cluster.home("n1"), &["catalog", "publish", directory.to_str().expect("text")]);
    };
    publish(&package);
    for name in ["n2", "n3"] {
        cluster.until(name, &["catalog", "info", "answer"]);
    }
    if up["partitions"] == json!(true) {
        cluster.good(&["cluster", "partition", "n1,n2", "n3"]);
        let late =
            programs::package(cluster.directory.path(), "late", "lua-script", "", "return function() return 1 end");
        publish(&late);
        cluster.until("n2", &["catalog", "info", "late"]);
        assert_ne!(ask(&cluster.home("n3"), &["catalog", "info", "late"]).0, 0, "it is cut off");
        cluster.good(&["cluster", "heal"]);
        cluster.until("n3", &["catalog", "info", "late"]);
    }
    good(&cluster.home("n3"), &["catalog", "install", "answer"]);
    cluster.good(&["cluster", "kill", "n1"]);
    good(&cluster.home("n2"), &["catalog", "install", "answer"]);
    good(&cluster.home("n2"), &["catalog", "verify"]);
    assert_eq!(good(&cluster.home("n2"), &["catalog", "run", "answer"])["value"], json!(42));
    cluster.good(&["cluster", "start", "n1"]);
    assert_eq!(good(&cluster.home("n1"), &["catalog", "info", "answer"])["package"], json!("answer"));
    cluster.good(&["cluster", "down"]);
    assert_eq!(cluster.processes(), Vec::<String>::new());
}

/// Who may make namespaces must get them; others test what they can.
fn network_to_cut() -> &'static str {
    if rustix::process::geteuid().is_root() { "namespaces" } else { "auto" }
}

/// The pairs of four nodes.
const ALL_PAIRS: [(usize, usize); 6] = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];

/// A socket in the namespace of every node, beside the node.
struct Peers(Vec<(UdpSocket, SocketAddr)>);

impl Peers {
    fn of(name: &str, addresses: &[Json]) -> Self {
        let bind = |(index, address): (usize, &Json)| {
            let node: SocketAddr = address.as_str().and_then(|text| text.parse().ok()).expect("an address");
            let namespace = format!("/run/netns/{name}-n{}", index + 1);
            // A socket stays where it was made; the thread that goes there ends.
            let made = std::thread::spawn(move || {
                let file = std::fs::File::open(namespace).expect("is there");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("is permitted");
                UdpSocket::bind((node.ip(), 0)).expect("has the address")
            });
            let socket = made.join().expect("no panic");
            socket.set_read_timeout(Some(PACKET_TIMEOUT)).expect("is a time");
            let address = socket.local_addr().expect("is bound");
            (socket, address)
        };
        Self(addresses.iter().enumerate().map(bind).collect())
    }

    /// Expects that packets come through between these and no others.
    fn expect(&self, pairs: &[(usize, usize)]) {
        for pair in ALL_PAIRS {
            let expected = pairs.contains(&pair);
            let tries = if expected { TRIES_MAX } else { TRIES_OF_NONE };
            assert_eq!(self.reach(pair, tries), expected, "{pair:?}");
        }
    }

    /// Says whether a packet of one comes to the other. The first of many may be lost while addresses are looked up.
    fn reach(&self, (from, to): (usize, usize), tries: usize) -> bool {
        let mut bytes = [0; 16];
        let sent = format!("{from} to {to}");
        (0..tries).any(|_| {
            let _ = self.0[from].0.send_to(sent.as_bytes(), self.0[to].1);
            let received = self.0[to].0.recv_from(&mut bytes);
            received.is_ok_and(|(length, sender)| sender == self.0[from].1 && bytes[..length] == *sent.as_bytes())
        })
    }
}
