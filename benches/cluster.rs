//! What a cluster of real processes does when it is cut apart and when its nodes are killed: how soon all of sixteen know what was
//! published on both sides of a cut of a minute, and whether installations go on while any one of five nodes is killed, two
//! hundred times, at any moment of them.
//!
//! Nodes are those of `host-sim cluster`, each a process with a network namespace of its own. That takes root; who is not has
//! nothing to cut, and the kills are measured alone. Ten minutes.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "bundle.rs"]
mod bundle;
#[path = "target.rs"]
mod target;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// Seconds after which both sides of a cut know everything.
const HEALED_S_MAX: f64 = 5.0;
/// On how many nodes each archive is at least in the end.
const COPIES_MIN: f64 = 3.0;

const CUT_NODES: usize = 16;
const CUT: Duration = Duration::from_secs(60);
const NODES: usize = 5;
const KILLS: usize = 200;
/// Packages that there are before the first kill.
const PACKAGES: usize = 10;
/// How many packages are looked at to find one that a node does not have.
const DRAWN_MAX: usize = 10;
/// How long anything may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle::lay_out(directory.path());
    if Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        cut(&bundle);
    } else {
        println!("only root can cut a network: the cut is left out");
    }
    kills(&bundle);
}

/// Nodes with their homes; they end with it.
struct Cluster(TempDir);

impl Cluster {
    fn up(bundle: &Path, nodes: usize, network: &str) -> Self {
        let cluster = Self(tempfile::tempdir().expect("a directory"));
        let (nodes, bundle) = (nodes.to_string(), bundle.to_str().expect("text"));
        cluster.change(&["up", "-n", &nodes, "--bundle", bundle, "--network", network]);
        cluster
    }

    fn change(&self, words: &[&str]) -> Json {
        let words: Vec<&str> = ["cluster"].iter().chain(words).copied().collect();
        ask(self.0.path(), &words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn ask(&self, node: usize, words: &[&str]) -> Result<Json, String> {
        let words: Vec<&str> = ["catalog"].iter().chain(words).copied().collect();
        ask(&self.0.path().join(name(node)), &words)
    }

    /// Asks until the answer is right; says whether it was in time.
    fn until(&self, node: usize, words: &[&str], is_right: impl Fn(&Json) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.ask(node, words).is_ok_and(|answer| is_right(&answer)) {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }

    fn publish(&self, node: usize, package: &str) -> Result<Json, String> {
        let main = "return function(n) return n + 1 end";
        let directory = bundle::package(&self.0.path().join("sources"), package, "", main);
        self.ask(node, &["publish", directory.to_str().expect("text")])
    }

    /// The nodes that have the archive of a package.
    fn holders(&self, package: &str) -> Vec<usize> {
        let known = |node| self.ask(node, &["info", package]).ok()?["digest"].as_str().map(str::to_owned);
        let digest = (0..NODES).find_map(known).unwrap_or_else(|| panic!("nobody knows `{package}`"));
        let digest = digest.rsplit(':').next().unwrap_or_default();
        let place = Path::new("catalog/store/archives").join(&digest[..2]).join(digest);
        (0..NODES).filter(|node| self.0.path().join(name(*node)).join(&place).is_file()).collect()
    }

    /// Draws a package that a node has to fetch, of which there is a copy whoever is killed; any, if there is none.
    fn elsewhere(&self, packages: &[String], node: usize, lot: &mut Lot) -> String {
        let drawn: Vec<&String> = (0..DRAWN_MAX).map(|_| &packages[lot.below(packages.len())]).collect();
        let is_elsewhere = |package: &&&String| {
            let holders = self.holders(package);
            holders.len() > 1 && !holders.contains(&node)
        };
        (*drawn.iter().find(is_elsewhere).unwrap_or(&drawn[0])).clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = ask(self.0.path(), &["cluster", "down"]);
    }
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// Runs a command on a home; gives its answer, or what it says of its failure.
fn ask(home: &Path, words: &[&str]) -> Result<Json, String> {
    let mut command = Command::new(bundle::host_sim());
    command.env_remove("RUST_LOG").env("HOME", home).arg("--home").arg(home).args(words).arg("--json");
    let output = command.stdin(Stdio::null()).output().expect("starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    match serde_json::from_str::<Json>(stdout.lines().last().unwrap_or_default()) {
        Ok(json) if json["ok"] == json!(true) => Ok(json),
        Ok(json) => Err(json["error"].to_string()),
        Err(_) => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// Both halves publish while they are apart.
fn cut(bundle: &Path) {
    let cluster = Cluster::up(bundle, CUT_NODES, "namespaces");
    cluster.publish(0, "before").expect("is published");
    for node in 0..CUT_NODES {
        assert!(cluster.until(node, &["info", "before"], |_| true), "{} knows `before`", name(node));
    }
    let half = |nodes: std::ops::Range<usize>| nodes.map(name).collect::<Vec<_>>().join(",");
    let sides = [half(0..CUT_NODES / 2), half(CUT_NODES / 2..CUT_NODES)];
    cluster.change(&["partition", &sides[0], &sides[1]]);
    let began = Instant::now();
    for (node, package) in [(0, "left"), (CUT_NODES / 2, "right")] {
        cluster.publish(node, package).expect("is published");
    }
    std::thread::sleep(CUT.saturating_sub(began.elapsed()));
    let is_cut = cluster.ask(0, &["info", "right"]).is_err() && cluster.ask(CUT_NODES - 1, &["info", "left"]).is_err();
    assert!(is_cut, "nothing came over the cut");
    cluster.change(&["heal"]);
    let healed = Instant::now();
    for node in 0..CUT_NODES {
        for package in ["before", "left", "right"] {
            assert!(cluster.until(node, &["info", package], |_| true), "{} knows `{package}`", name(node));
        }
    }
    let took = healed.elapsed().as_secs_f64();
    target::at_most("16 nodes know everything after a cut of 60 s", took, HEALED_S_MAX, "s");
}

/// Numbers that are the same in each run (SplitMix64, Steele, Lea and Flood 2014).
struct Lot(u64);

impl Lot {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % bound
    }
}

/// One node after the other is killed in the middle of something, while another installs.
fn kills(bundle: &Path) {
    let cluster = Cluster::up(bundle, NODES, "loopback");
    let package = |number: usize| format!("package-{number}");
    for number in 0..PACKAGES {
        cluster.publish(number % NODES, &package(number)).expect("is published");
    }
    for number in 0..PACKAGES {
        for node in 0..NODES {
            assert!(cluster.until(node, &["info", &package(number)], |_| true), "everybody knows everything");
        }
    }
    replicated(&cluster, (0..PACKAGES).map(package));
    let (mut lot, mut well) = (Lot(1), 0);
    let mut acknowledged: Vec<String> = (0..PACKAGES).map(package).collect();
    for kill in 0..KILLS {
        let victim = lot.below(NODES);
        let other = (victim + 1 + lot.below(NODES - 1)) % NODES;
        let fresh = format!("fresh-{kill}");
        let after = Duration::from_millis(lot.below(200) as u64);
        let wanted = cluster.elsewhere(&acknowledged, other, &mut lot);
        let (installed, published) = std::thread::scope(|scope| {
            let install = scope.spawn(|| cluster.ask(other, &["install", &wanted]));
            let publish = scope.spawn(|| cluster.publish(victim, &fresh));
            std::thread::sleep(after);
            cluster.change(&["kill", &name(victim)]);
            (install.join().expect("ends"), publish.join().expect("ends"))
        });
        match installed {
            Ok(_) => well += 1,
            Err(error) => {
                println!("kill {kill} of {}: {} does not install {wanted}: {error}", name(victim), name(other));
            }
        }
        acknowledged.extend(published.ok().map(|_| fresh));
        cluster.change(&["start", &name(victim)]);
    }
    let well = f64::from(well) / KILLS as f64;
    target::at_least("installations that go on while one of five nodes is killed", well, 1.0, "parts");
    println!(
        "{} of {KILLS} nodes were killed after they had acknowledged what they published",
        acknowledged.len() - PACKAGES
    );
    for package in &acknowledged {
        for node in 0..NODES {
            assert!(cluster.until(node, &["info", package], |_| true), "{} knows `{package}`", name(node));
        }
    }
    let least = replicated(&cluster, acknowledged.into_iter());
    target::at_least("copies of each archive after 200 kills", least as f64, COPIES_MIN, "nodes");
    let is_whole = |node: &usize| ["fsck", "verify"].iter().all(|verb| cluster.ask(*node, &[verb]).is_ok());
    let whole = (0..NODES).filter(is_whole).count();
    target::at_least("nodes without a damaged object after 200 kills", whole as f64, NODES as f64, "nodes");
}

/// Waits until there are enough copies of everything; gives how many there are of what has fewest.
fn replicated(cluster: &Cluster, packages: impl Iterator<Item = String>) -> usize {
    let until = Instant::now() + PATIENCE;
    let enough = |package: String| loop {
        let copies = cluster.holders(&package).len();
        if copies as f64 >= COPIES_MIN || Instant::now() >= until {
            return copies;
        }
        std::thread::sleep(POLL);
    };
    packages.map(enough).min().unwrap_or_default()
}
