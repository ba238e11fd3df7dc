//! What it costs to resolve a graph of a thousand packages out of 50,000 versions that lie in a registry's database: opening
//! it, reading and solving. Beside it, in the same run, what Cargo takes for the lockfile of the same graph, offline, from a
//! local registry made of the same versions; both must choose the same.
//!
//! The graph is made from a seed. Each version needs some eight other packages; one version in twenty needs a version that is
//! not there, so that both resolvers have to go back.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use catalog::digest::{Digest, Digests};
use catalog::lockfile::Requirement;
use catalog::package::model::{Dependency, PackageType, Source};
use catalog::registry::{Publication, Registry, Release};
use catalog::resolve::universe::{self, Mode, UniverseOptions};
use catalog::resolve::{self, Options, Preference, ROUNDS_MAX, Universe};
use semver::{Version, VersionReq};
use time::macros::datetime;

/// Milliseconds that opening, reading and solving may take at the median.
const RESOLVE_MS_MAX: f64 = 150.0;
/// How many times faster than Cargo it must be.
const TIMES_FASTER_MIN: f64 = 10.0;
/// Milliseconds that reading and resolving a universe of the same versions may take at the median.
const UNIVERSE_MS_MAX: f64 = 2_000.0;
const PACKAGES: usize = 1_250;
const MAJORS: u64 = 4;
const MINORS: u64 = 10;
const ROOTS: usize = 20;
/// How far behind a package what it needs may be; more of it makes the graph flat.
const REACH: u64 = 60;
const ROUNDS: usize = 15;
const ROUNDS_OF_CARGO: usize = 5;

/// One version: what it needs, by number and requirement.
struct Node {
    name: String,
    version: Version,
    needs: Vec<(usize, String)>,
}

fn main() {
    let graph = graph();
    let needs: usize = graph.iter().map(|node| node.needs.len()).sum();
    println!("{} versions of {PACKAGES} packages with {needs} dependencies; load {}", graph.len(), load());
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("registry.sqlite");
    publish(&database, &graph);
    let roots: Vec<Requirement> = (0..ROOTS).map(|at| requirement(&name(at), "^4")).collect();
    let options = Options::new("linux-x86_64".into(), None);
    let mut chosen = BTreeSet::new();
    let ours = median(ROUNDS, || {
        let registry = Registry::open(&database).expect("opens");
        let resolution = resolve::resolve(&registry, &roots, None, &options).expect("resolves");
        chosen = resolution.packages().map(|package| (package.name.to_string(), package.version.clone())).collect();
    });
    println!("{} packages are chosen", chosen.len());
    target::at_most("resolve 1,000 packages of 50,000 versions", ms(ours), RESOLVE_MS_MAX, "ms");
    let in_universe = of_universe(&graph, &chosen);
    target::at_most("resolve the same from lines of text", ms(in_universe), UNIVERSE_MS_MAX, "ms");
    let peer = cargo(directory.path(), &graph);
    let (time, lock) = peer.expect("cargo makes a lockfile");
    let ratio = time.as_secs_f64() / ours.as_secs_f64();
    println!("cargo generate-lockfile --offline, local registry: {:.1} ms", ms(time));
    target::at_least("resolve, faster than cargo generate-lockfile", ratio, TIMES_FASTER_MIN, "times");
    println!("load {}", load());
    assert_eq!(chosen, lock, "both choose the same");
    assert!(chosen.len() >= 1_000, "the graph is large enough");
}

/// Reads the graph as text and resolves against that.
fn of_universe(graph: &[Node], chosen: &BTreeSet<(String, Version)>) -> Duration {
    let mut text = String::new();
    for Node { name: named, version, needs } in graph {
        let needs: Vec<_> =
            needs.iter().map(|(at, text)| format!("{{\"name\":\"{}\",\"req\":\"{text}\"}}", name(*at))).collect();
        let _ = writeln!(
            text,
            "{{\"name\":\"{named}\",\"version\":\"{version}\",\"dependencies\":[{}],\"features\":{{}},\"yanked\":false}}",
            needs.join(",")
        );
    }
    let roots: Vec<_> = (0..ROOTS).map(|at| format!("{{\"name\":\"{}\",\"req\":\"^4\"}}", name(at))).collect();
    let roots = universe::requirements(&format!("[{}]", roots.join(","))).expect("reads");
    let options = UniverseOptions {
        platform: "linux-x86_64".into(),
        mode: Mode::Majors,
        preference: Preference::Highest,
        exclude_newer: None,
        rounds_max: ROUNDS_MAX,
    };
    median(ROUNDS_OF_CARGO, || {
        let universe = Universe::read(text.as_bytes()).expect("reads");
        let found = universe.resolve(&roots, &options).expect("resolves");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), *chosen, "text and database agree");
    })
}

fn graph() -> Vec<Node> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut graph = Vec::new();
    for at in 0..PACKAGES {
        for major in 1..=MAJORS {
            for minor in 0..MINORS {
                let mut needs = BTreeMap::new();
                for _ in 0..9 {
                    let other = at + 1 + usize::try_from(random.below(REACH)).expect("is small");
                    if other < PACKAGES {
                        needs.insert(other, format!("^{major}.{}", random.below(minor + 1)));
                    }
                }
                // The newest of every twentieth package cannot be used.
                if at % 20 == 7 && (major, minor) == (MAJORS, MINORS - 1) && at + 1 < PACKAGES {
                    needs.insert(at + 1, format!("^{}", MAJORS + 1));
                }
                let needs = needs.into_iter().collect();
                graph.push(Node { name: name(at), version: Version::new(major, minor, 0), needs });
            }
        }
    }
    graph
}

fn publish(database: &Path, graph: &[Node]) {
    let mut registry = Registry::open(database).expect("opens");
    let manifest = vec![b'm'; 700];
    for batch in graph.chunks(1_000) {
        let releases: Vec<Release> = batch.iter().map(release).collect();
        let publications: Vec<_> =
            releases.iter().map(|release| Publication { release, manifest: &manifest, voucher: None }).collect();
        registry.publish(&publications, &BTreeMap::new()).expect("publishes");
    }
}

fn release(node: &Node) -> Release {
    let digests = Digests::of(format!("{}@{}", node.name, node.version).as_bytes());
    let dependency = |(at, text): &(usize, String)| {
        let Requirement { name, requirement, requirement_text, .. } = requirement(&name(*at), text);
        let source = Source::Registry { registry: None };
        Dependency { name, requirement, requirement_text, optional: false, source, features: vec![], platform: None }
    };
    Release {
        name: node.name.parse().expect("a name"),
        version: node.version.clone(),
        kind: PackageType::LuaLibrary,
        description: Some("One of many packages of a benchmark.".into()),
        tags: vec!["bench".into()],
        keywords: vec![],
        dependencies: node.needs.iter().map(dependency).collect(),
        conflicts: vec![],
        features: BTreeMap::new(),
        blob: Digest::of(node.name.as_bytes()),
        digests,
        tar_bytes: 4_096,
        archive_bytes: 1_024,
        published_at: datetime!(2026-01-01 0:00 UTC),
    }
}

/// Has Cargo make the lockfile of the same graph; gives its time and what it chose.
fn cargo(directory: &Path, graph: &[Node]) -> Option<(Duration, BTreeSet<(String, Version)>)> {
    let registry = directory.join("registry");
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for Node { name: named, version, needs } in graph {
        let needs: Vec<_> = needs
            .iter()
            .map(|(at, text)| {
                format!(
                    "{{\"name\":\"{}\",\"req\":\"{text}\",\"features\":[],\"optional\":false,\"default_features\":true,\
                     \"target\":null,\"kind\":\"normal\"}}",
                    name(*at)
                )
            })
            .collect();
        let digest = "0".repeat(64);
        let _ = writeln!(
            files.entry(named).or_default(),
            "{{\"name\":\"{named}\",\"vers\":\"{version}\",\"deps\":[{}],\"cksum\":\"{digest}\",\"features\":{{}},\
             \"yanked\":false}}",
            needs.join(",")
        );
    }
    for (named, lines) in files {
        let shard = registry.join("index").join(&named[..2]).join(&named[2..4]);
        fs::create_dir_all(&shard).ok()?;
        fs::write(shard.join(named), lines).ok()?;
    }
    let project = directory.join("project");
    fs::create_dir_all(project.join("src")).ok()?;
    fs::create_dir_all(project.join(".cargo")).ok()?;
    fs::write(project.join("src/lib.rs"), "").ok()?;
    let config = format!(
        "[source.crates-io]\nreplace-with = \"bench\"\n[source.bench]\nlocal-registry = \"{}\"\n",
        registry.display()
    );
    fs::write(project.join(".cargo/config.toml"), config).ok()?;
    let mut manifest =
        String::from("[package]\nname = \"bench-root\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n");
    (0..ROOTS).for_each(|at| manifest += &format!("{} = \"4\"\n", name(at)));
    fs::write(project.join("Cargo.toml"), manifest).ok()?;
    let lockfile = project.join("Cargo.lock");
    let time = median(ROUNDS_OF_CARGO, || {
        let _ = fs::remove_file(&lockfile);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["generate-lockfile", "--offline", "--quiet"])
            .env("CARGO_HOME", directory.join("cargo"))
            .current_dir(&project)
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    let lock: toml::Table = fs::read_to_string(&lockfile).ok()?.parse().ok()?;
    let packages = lock["package"].as_array()?.iter().filter_map(|package| {
        let name = package["name"].as_str().filter(|name| *name != "bench-root")?;
        Some((name.to_owned(), package["version"].as_str()?.parse().ok()?))
    });
    Some((time, packages.collect()))
}

fn name(at: usize) -> String {
    format!("pkg{at:05}")
}

fn requirement(name: &str, text: &str) -> Requirement {
    Requirement {
        name: name.parse().expect("a name"),
        requirement: VersionReq::parse(text).expect("a requirement"),
        requirement_text: text.to_owned(),
        features: vec![],
    }
}

fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed says all.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}
