//! A cluster of five processes under mixed load, killed, cut apart and upgraded meanwhile: nothing fails but what is made to,
//! nothing that was acknowledged is lost, memory stays flat, and nothing is left when it ends.
//!
//! It takes half a minute; `CATALOG_SOAK_SECONDS` asks for another time.

mod load;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use self::load::{CALLERS, Kind, LIBRARIES, Rng};
use super::programs;

/// How long the load lasts if nobody asks for another time, in seconds.
const SECONDS: u64 = 30;
/// The variable that asks for another time.
const SECONDS_VARIABLE: &str = "CATALOG_SOAK_SECONDS";
const NODES: usize = 5;
/// From this round on the node that is never killed is not upgraded any more.
const FIRST_UPGRADED_UNTIL: usize = 90;
/// How often an upgrade is asked for.
const UPGRADE_TRIES: usize = 3;
/// How long after a fault what needs other nodes may still fail: connections are given up and made again.
const GRACE: Duration = Duration::from_secs(20);
/// How long everything may take to be the same everywhere again, on a busy machine.
const CONVERGES_IN: Duration = Duration::from_secs(120);
/// How much more memory a node may have at the end than it had in the second quarter, in KiB, besides a quarter.
const GROWTH_KIB_MAX: u64 = 24 << 10;
/// How many more descriptors.
const GROWTH_DESCRIPTORS_MAX: usize = 24;

/// What is going on, for all who cause it.
struct Soak {
    directory: TempDir,
    started: Instant,
    lasts: Duration,
    nodes: Vec<Node>,
    /// When something was wrong on purpose, and for how long.
    faults: Mutex<Vec<Fault>>,
    done: Mutex<BTreeMap<&'static str, Done>>,
    /// What failed though nothing was wrong.
    failures: Mutex<Vec<String>>,
    /// The newest version of each library that was acknowledged.
    published: Mutex<BTreeMap<String, u64>>,
    /// The newest version of each that somebody tried to publish.
    tried: Mutex<BTreeMap<String, u64>>,
    /// Held by whoever removes a package.
    removing: Mutex<()>,
    /// Held by whoever has something run detached; an upgrade is refused as long as that runs.
    detached: RwLock<()>,
}

#[derive(Default)]
struct Node {
    /// Nobody begins anything on one that is to be killed, and whoever kills it waits for nobody.
    is_up: RwLock<bool>,
    busy: AtomicUsize,
    kills: AtomicUsize,
}

struct Fault {
    /// The node that is gone; all, if the network is cut.
    node: Option<usize>,
    end: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Done {
    well: usize,
    excused: usize,
    longest: Duration,
}

/// What a node process has. Memory that is a file's is not counted: a library that was upgraded stays mapped, as no library can
/// be taken out of a process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_kib: u64,
    descriptors: usize,
    threads: usize,
}

#[test]
fn five_nodes_under_mixed_load_fail_only_where_they_are_made_to() {
    let seconds = std::env::var(SECONDS_VARIABLE).ok().map_or(SECONDS, |text| text.parse().expect("seconds"));
    let soak = Soak::up(Duration::from_secs(seconds));
    let samples = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for seed in 0..CALLERS as u64 {
            scope.spawn({
                let soak = &soak;
                move || soak.load(Rng(seed + 1))
            });
        }
        scope.spawn(|| soak.disturb());
        scope.spawn(|| soak.watch(&samples));
    });
    let (early, late) = growth(&samples.into_inner().expect("nobody panicked"));
    let report = format!(
        "{}memory in KiB, descriptors and threads of the first node: {early:?} early, {late:?} late\n",
        soak.report()
    );
    let kinds = [Kind::Publish, Kind::Install, Kind::Lua, Kind::Wasm, Kind::Julia, Kind::OnPeer, Kind::Upgrade];
    for kind in kinds.map(Kind::name) {
        let went_well = soak.done.lock().expect("nobody panicked").get(kind).is_some_and(|done| done.well > 0);
        assert!(went_well, "{kind} never went well:\n{report}");
    }
    let failures = soak.failures.lock().expect("nobody panicked");
    assert!(failures.is_empty(), "{} failures without a cause:\n{}\n{report}", failures.len(), failures.join("\n"));
    drop(failures);
    soak.expect_everything_everywhere();
    assert!(late.0 <= early.0 + early.0 / 4 + GROWTH_KIB_MAX, "more memory:\n{report}");
    assert!(late.1 <= early.1 + GROWTH_DESCRIPTORS_MAX as u64, "more descriptors:\n{report}");
    soak.down();
    eprintln!("{report}");
}

impl Soak {
    fn up(lasts: Duration) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let bundle = directory.path().join("bundle");
        programs::install(&bundle, "vm: true\n  network: {run_for: [\"*\"]}");
        let home = super::vm::julia::home();
        let nodes = (0..NODES).map(|_| Node { is_up: RwLock::new(true), ..Node::default() }).collect();
        let mut soak = Self {
            directory,
            started: Instant::now(),
            lasts,
            nodes,
            faults: Mutex::default(),
            done: Mutex::default(),
            failures: Mutex::default(),
            published: Mutex::default(),
            tried: Mutex::default(),
            removing: Mutex::default(),
            detached: RwLock::default(),
        };
        let network = if rustix::process::geteuid().is_root() { "namespaces" } else { "auto" };
        let bundle = bundle.to_str().expect("text");
        let number = NODES.to_string();
        good(&soak.cluster(), &["cluster", "up", "-n", &number, "--bundle", bundle, "--network", network]);
        for node in 0..NODES {
            let runtimes = soak.home(node).join("catalog/runtimes");
            fs::create_dir_all(runtimes.parent().expect("has one")).expect("made");
            if fs::symlink_metadata(&runtimes).is_err() {
                std::os::unix::fs::symlink(home.join("runtimes"), &runtimes).expect("linked");
            }
        }
        soak.furnish();
        soak.started = Instant::now();
        soak
    }

    fn cluster(&self) -> PathBuf {
        self.directory.path().join("cluster")
    }

    fn home(&self, node: usize) -> PathBuf {
        self.cluster().join(format!("n{}", node + 1))
    }

    fn is_over(&self) -> bool {
        self.started.elapsed() > self.lasts
    }

    /// Asks a node, and notes how that went.
    fn ask(&self, kind: Kind, node: usize, words: &[&str]) -> Option<Json> {
        let up = self.nodes[node].is_up.read().unwrap_or_else(PoisonError::into_inner);
        if !*up {
            return None;
        }
        self.nodes[node].busy.fetch_add(1, SeqCst);
        drop(up);
        let begin = Instant::now();
        let mut answer = ask(&self.home(node), words);
        // One that meets requests that take long is refused, changes nothing, and is to be asked for again.
        for _ in 1..UPGRADE_TRIES {
            if kind == Kind::Upgrade && answer.as_ref().is_err_and(|error| error.contains("\"code\":\"BUSY\"")) {
                answer = ask(&self.home(node), words);
            }
        }
        self.nodes[node].busy.fetch_sub(1, SeqCst);
        let (took, is_excused) = (begin.elapsed(), answer.is_err() && self.is_excused(kind, node, begin));
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let done = done.entry(kind.name()).or_default();
        done.longest = done.longest.max(took);
        match answer {
            Ok(json) => {
                done.well += 1;
                Some(json)
            }
            Err(_) if is_excused => {
                done.excused += 1;
                None
            }
            Err(error) => {
                let at = self.started.elapsed().as_secs();
                self.fail(format!("after {at} s: n{} {words:?}: {error}", node + 1));
                None
            }
        }
    }

    fn fail(&self, reason: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
    }

    /// Whether something that was done on purpose can be the reason why what began then failed.
    fn is_excused(&self, kind: Kind, node: usize, begin: Instant) -> bool {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = |fault: &&Fault| fault.end.is_none_or(|end| end + GRACE > begin);
        let killed = |fault: &Fault| fault.node == Some(node) && fault.end.is_none_or(|end| end > begin);
        faults.iter().filter(lasted).any(|fault| killed(fault) || kind.needs_others())
    }

    /// Kills nodes, cuts the network and upgrades the extension, one after the other.
    fn disturb(&self) {
        let mut rng = Rng(99);
        let cluster = &self.cluster();
        let can_cut = good(cluster, &["cluster", "status"])["partitions"] == json!(true);
        let pause = |seconds: u64| {
            let until = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < until && !self.is_over() {
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        pause(4);
        for round in 0.. {
            if self.is_over() {
                return;
            }
            match round % 3 {
                0 => {
                    // What was upgraded stays mapped for as long as a process lives, and there is a bound on that.
                    let node = if round < FIRST_UPGRADED_UNTIL { rng.below(NODES) } else { 1 + rng.below(NODES - 1) };
                    // Not a call may fail for it, so it is no fault.
                    let bundle = self.home(node).join("extensions/catalog");
                    let _none_runs = self.detached.write().unwrap_or_else(PoisonError::into_inner);
                    self.ask(Kind::Upgrade, node, &["upgrade", bundle.to_str().expect("text")]);
                }
                1 => {
                    // The first node lives as long as the cluster, so that what it takes is seen over all that time.
                    let node = 1 + rng.below(NODES - 1);
                    let name = format!("n{}", node + 1);
                    let fault = self.begin(Some(node));
                    *self.nodes[node].is_up.write().unwrap_or_else(PoisonError::into_inner) = false;
                    good(cluster, &["cluster", "kill", &name]);
                    self.nodes[node].kills.fetch_add(1, SeqCst);
                    pause(3);
                    // A command that found no node has the home for itself, and keeps the node out until it is done.
                    while self.nodes[node].busy.load(SeqCst) > 0 {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    good(cluster, &["cluster", "start", &name]);
                    *self.nodes[node].is_up.write().unwrap_or_else(PoisonError::into_inner) = true;
                    self.end(fault);
                }
                _ if can_cut => {
                    let fault = self.begin(None);
                    let alone = format!("n{}", 1 + rng.below(NODES));
                    good(cluster, &["cluster", "partition", &alone]);
                    pause(4);
                    good(cluster, &["cluster", "heal"]);
                    self.end(fault);
                }
                _ => {}
            }
            pause(3);
        }
    }

    fn begin(&self, node: Option<usize>) -> usize {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push(Fault { node, end: None });
        faults.len() - 1
    }

    fn end(&self, fault: usize) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)[fault].end = Some(Instant::now());
    }

    /// Looks at the first node now and then.
    fn watch(&self, samples: &Mutex<Vec<Sample>>) {
        let status = good(&self.cluster(), &["cluster", "status"]);
        let process = status["nodes"][0]["pid"].as_u64().expect("runs");
        while !self.is_over() {
            samples.lock().unwrap_or_else(PoisonError::into_inner).push(Sample::of(process));
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until every node knows what was published, has nothing open, and finds nothing wrong with its files.
    fn expect_everything_everywhere(&self) {
        let published = self.published.lock().expect("nobody panicked").clone();
        assert_eq!(published.len(), LIBRARIES, "each was published");
        let until = Instant::now() + CONVERGES_IN;
        for node in 0..NODES {
            let home = self.home(node);
            for (name, patch) in &published {
                loop {
                    let known = ask(&home, &["catalog", "info", name]).map(|info| info["version"].to_string());
                    let digits = known.as_ref().ok().and_then(|text| text.trim_matches('"').strip_prefix("1.0."));
                    // A later one than was acknowledged is one that a node published and did not live to say so.
                    if digits.and_then(|digits| digits.parse().ok()) >= Some(*patch) {
                        break;
                    }
                    assert!(Instant::now() < until, "n{}: `{name}` 1.0.{patch} was published: {known:?}", node + 1);
                    std::thread::sleep(Duration::from_millis(200));
                }
                good(&home, &["catalog", "install", name]);
            }
            good(&home, &["catalog", "verify"]);
            good(&home, &["catalog", "fsck"]);
            loop {
                let status = good(&home, &["status"]);
                if status["leases"] == json!(0) && status["health"] == json!("Healthy") {
                    break;
                }
                assert!(Instant::now() < until, "n{}: {status}", node + 1);
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    /// Ends everything; nothing may be left.
    fn down(&self) {
        good(&self.cluster(), &["cluster", "down"]);
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        for node in 0..NODES {
            let left = |directory: &str| fs::read_dir(self.home(node).join(directory)).map_or(0, Iterator::count);
            assert_eq!((left("run"), left("catalog/store/tmp")), (0, 0), "n{} leaves files", node + 1);
        }
    }

    /// Gives the command lines of living processes that name this cluster, or run out of it.
    fn processes(&self) -> Vec<String> {
        let name = self.directory.path().to_str().expect("text");
        let processes = fs::read_dir("/proc").expect("is there").flatten().filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let both = String::from_utf8_lossy(&[line.clone(), environment].concat()).into_owned();
            both.contains(name).then(|| String::from_utf8_lossy(&line).replace('\0', " "))
        });
        processes.collect()
    }

    fn report(&self) -> String {
        let done = self.done.lock().expect("nobody panicked");
        let faults = self.faults.lock().expect("nobody panicked");
        let cuts = faults.iter().filter(|fault| fault.node.is_none()).count();
        let mut text = format!("{} nodes killed, {cuts} cuts, in {} s\n", faults.len() - cuts, self.lasts.as_secs());
        for (kind, Done { well, excused, longest }) in done.iter() {
            let longest = longest.as_millis();
            text.push_str(&format!(
                "{kind:>12}: {well} went well, {excused} failed with a cause, {longest} ms at most\n"
            ));
        }
        text
    }
}

/// Gives the most memory, descriptors and threads in the second and in the last quarter.
fn growth(samples: &[Sample]) -> ((u64, u64, u64), (u64, u64, u64)) {
    let most = |part: &[Sample]| {
        let of = |field: fn(&Sample) -> u64| part.iter().map(field).max().unwrap_or_default();
        (of(|it| it.memory_kib), of(|it| it.descriptors as u64), of(|it| it.threads as u64))
    };
    let quarter = samples.len() / 4;
    (most(&samples[quarter..2 * quarter]), most(&samples[3 * quarter..]))
}

impl Drop for Soak {
    fn drop(&mut self) {
        let _ = ask(&self.cluster(), &["cluster", "down"]);
    }
}

impl Sample {
    fn of(process: u64) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
        Self { memory_kib: field("RssAnon"), descriptors, threads: field("Threads") as usize }
    }
}

/// Runs a command on a home; gives its answer, or what it says of its failure.
fn ask(home: &Path, words: &[&str]) -> Result<Json, String> {
    let mut command = Command::new(programs::host_sim());
    command.env_remove("RUST_LOG").env_remove("HYPERMESH_PASSPHRASE").env("HOME", home).arg("--home").arg(home);
    let output = command.args(words).arg("--json").stdin(Stdio::null()).output().expect("starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let json: Result<Json, _> = serde_json::from_str(stdout.lines().last().unwrap_or_default());
    match json {
        Ok(json) if output.status.success() && json["ok"] == json!(true) => Ok(json),
        Ok(json) => Err(json["error"].to_string()),
        Err(_) => Err(format!("{}: {stdout}{}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

fn good(home: &Path, words: &[&str]) -> Json {
    ask(home, words).unwrap_or_else(|error| panic!("{}: {words:?}: {error}", home.display()))
}
