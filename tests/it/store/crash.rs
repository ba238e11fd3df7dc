//! Nodes that are killed in the middle of something, and nodes whose disk is full: afterwards every invariant holds, and nothing
//! that was acknowledged is lost.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

const HOME: &str = "CATALOG_TEST_CRASH_HOME";
/// The manifest that the parent made for its children.
pub(super) const MANIFEST: &str = "CATALOG_TEST_CRASH_MANIFEST";
/// How many kills; a thousand take some minutes.
const KILLS: &str = "CATALOG_TEST_KILLS";
const KILLS_DEFAULT: u64 = 40;
/// How many kills one home has to stand: all of it is checked after each, and it grows.
const KILLS_OF_HOME: u64 = 100;
/// The longest a killer spins before it kills, in turns: about as long as an operation takes.
const TURNS_MAX: u64 = 4_000_000;

/// What a node said it would do, and what it said it did.
#[derive(Debug, Default)]
struct Said {
    published: Vec<String>,
    /// The version that is current, as far as it was acknowledged.
    current: Option<String>,
    /// The version that will be current once the operation that goes on is done.
    intended: Option<String>,
}

impl Said {
    fn take(&mut self, line: &str) {
        let (what, version) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "published" => self.published.push(version.to_owned()),
            "intends" => self.intended = Some(version.to_owned()),
            "current" => {
                self.current = Some(version.to_owned());
                self.intended = None;
            }
            _ => {}
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stderr();
    writeln!(out, "said {line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// Publishes, installs, updates, goes back and collects until it is killed. An ordinary run has no home and passes at once.
#[test]
fn child_that_is_killed() {
    let Ok(home) = std::env::var(HOME) else { return };
    block_on(async {
        let node = Node::on(Path::new(&home), json!({"vm": false, "cache_bytes_max": 20_000})).await;
        let known = node.try_ask("info", json!({"package": "app"})).await;
        let mut next = known.map_or(0, |info| info["versions"].as_array().map_or(0, Vec::len));
        say("begins");
        loop {
            let version = format!("1.0.{next}");
            let directory = package(Path::new(&home), "app", &version, 12);
            node.ask("publish", json!({"directories": [directory]})).await;
            say(&format!("published {version}"));
            say(&format!("intends {version}"));
            node.install(&format!("app@{version}")).await;
            say(&format!("current {version}"));
            if next % 3 == 2 {
                let dry = node.ask("rollback", json!({"dry_run": true})).await;
                let version = version_of(&dry, "app").expect("is in it");
                say(&format!("intends {version}"));
                node.ask("rollback", json!({})).await;
                say(&format!("current {version}"));
            }
            if next % 4 == 1 {
                node.ask("cache prune", json!({"keep": 2})).await;
                say("pruned");
            }
            next += 1;
        }
    });
}

fn start(test: &str, home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("is known"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(HOME, home);
    command.env(MANIFEST, programs::manifest());
    command
}

/// Lets a child say some lines, spins, and kills it; gives all it said.
fn kill_after(mut child: Child, lines: usize, turns: u64) -> Vec<String> {
    let mut reader = BufReader::new(child.stderr.take().expect("is piped")).lines().map_while(Result::ok);
    let mut said: Vec<String> = Vec::new();
    while said.len() < lines {
        let Some(line) = reader.next() else { break };
        match line.strip_prefix("said ") {
            Some(line) => said.push(line.to_owned()),
            None => assert!(!line.contains("panicked"), "{line}: {}", reader.next().unwrap_or_default()),
        }
    }
    for _ in 0..turns {
        std::hint::spin_loop();
    }
    child.kill().expect("kills");
    child.wait().expect("ends");
    said.extend(reader.filter_map(|line| line.strip_prefix("said ").map(str::to_owned)));
    said
}

#[test]
fn a_node_killed_at_any_point_keeps_what_it_acknowledged() {
    let kills = std::env::var(KILLS).ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS_DEFAULT);
    let (mut home, mut said, mut published) = (programs::bare_home(), Said::default(), 0);
    // Multiplier and increment of Knuth's MMIX; the point of each kill follows from its number.
    let mut state: u64 = 0x5EED;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for kill in 0..kills {
        if kill > 0 && kill % KILLS_OF_HOME == 0 {
            published += said.published.len() as u64;
            (home, said) = (programs::bare_home(), Said::default());
        }
        let child = start("store::crash::child_that_is_killed", home.path());
        let child = { child }.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let (lines, turns) = (1 + random(9) as usize, random(TURNS_MAX));
        for line in kill_after(child, lines, turns) {
            said.take(&line);
        }
        block_on(async {
            let node = Node::on(home.path(), json!({"vm": false})).await;
            let place = format!("kill {kill} after {lines} lines and {turns} turns");
            let checked = node.try_ask("fsck", json!({})).await;
            let checked = checked.unwrap_or_else(|error| panic!("{place}: {error}: {:?}", error.detail));
            assert_eq!(checked["open"], 0, "{place}: {checked}");
            let info = node.try_ask("info", json!({"package": "app"})).await;
            let versions = info.map_or(Vec::new(), |info| info["versions"].as_array().cloned().unwrap_or_default());
            for version in &said.published {
                assert!(versions.iter().any(|known| known == version), "{place}: {version} was published");
            }
            let current = version_of(&node.ask("list", json!({})).await, "app");
            assert!(current == said.current || current == said.intended, "{place}: {current:?} of {said:?}");
            said.current = current;
            said.intended = None;
            node.stop().await;
        });
    }
    published += said.published.len() as u64;
    assert!(published >= kills / 8, "the kills let something happen: {said:?}");
}

/// Fills its disk, and goes on when there is room again. An ordinary run has no home and passes at once.
#[test]
fn child_with_a_full_disk() {
    let Ok(home) = std::env::var(HOME) else { return };
    block_on(async {
        let node = Node::on(Path::new(&home), json!({"vm": true})).await;
        let publish = async |version: &str, bytes: usize| {
            let directory = package(Path::new(&home), "app", version, 2);
            fs::write(directory.join("f1.lua"), noise(bytes)).expect("written");
            node.try_ask("publish", json!({"directories": [directory]})).await
        };
        publish("1.0.0", 100).await.expect("publishes");
        node.install("app@1.0.0").await;
        let mut refused = None;
        let mut acknowledged = "1.0.0".to_owned();
        for patch in 1..100 {
            let version = format!("1.0.{patch}");
            let installed = match publish(&version, 150_000 * patch).await {
                Ok(_) => node.try_ask("install", json!({"packages": [format!("app@{version}")]})).await,
                Err(error) => Err(error),
            };
            match installed {
                Ok(_) => acknowledged = version,
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let error = refused.expect("the disk is full at some point");
        assert_eq!(error.code, Code::IO, "{error}: {:?}", error.detail);
        assert_eq!(node.ask("fsck", json!({})).await["open"], 0);
        assert_eq!(version_of(&node.ask("list", json!({})).await, "app"), Some(acknowledged.clone()));
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], acknowledged.as_str());
        let pruned = node.ask("cache prune", json!({"keep": 1})).await;
        assert!(pruned["removed"]["bytes"].as_u64() > Some(0), "{pruned}");
        node.install("app@1.0.0").await;
        assert_eq!(node.ask("fsck", json!({})).await["open"], 0);
        node.stop().await;
    });
    say("the disk was full");
}

/// Text that does not compress, as a Lua comment.
fn noise(bytes: usize) -> String {
    let mut state: u64 = bytes as u64 | 1;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    });
    format!("return 1 --{}", letters.filter(|letter| *letter != ']').take(bytes).collect::<String>())
}

#[test]
fn a_full_disk_takes_nothing_that_was_acknowledged_and_can_be_cleared() {
    let home = programs::bare_home();
    fs::create_dir(home.path().join("catalog")).expect("made");
    let test = "store::crash::child_with_a_full_disk";
    // A small file system of its own where namespaces allow one; where they do not, files that may not grow, which refuses
    // writes in the same places.
    let mount = "mount -t tmpfs -o size=12m,mode=700 none \"$0\" && exec \"$@\"";
    let limit = "trap '' XFSZ; ulimit -f 1200; exec \"$@\"";
    let may_mount = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    let may_mount = may_mount.is_ok_and(|status| status.success());
    let mut command = if may_mount { Command::new("unshare") } else { Command::new("sh") };
    let arguments = if may_mount { vec!["-rm", "sh", "-c", mount] } else { vec!["-c", limit] };
    command.args(arguments);
    let inner = start(test, home.path());
    command.arg(home.path().join("catalog")).arg(inner.get_program()).args(inner.get_args());
    command.env(HOME, home.path()).env(MANIFEST, programs::manifest());
    let output = command.output().expect("starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("said the disk was full"), "{text}");
}
