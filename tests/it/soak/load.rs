//! What the nodes are asked meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{NODES, Soak, good};
use crate::programs;

/// How many packages have new versions all the time.
pub(super) const LIBRARIES: usize = 5;

/// What the example in WebAssembly counts.
const PRIMES: u32 = 78_498;

/// How many ask at the same time.
pub(super) const CALLERS: usize = 4;

/// What is done, by what it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Publish,
    Install,
    Remove,
    Lua,
    Wasm,
    Julia,
    Endless,
    OnPeer,
    Search,
    Sync,
    Prune,
    Upgrade,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Install => "install",
            Self::Remove => "remove",
            Self::Lua => "run lua",
            Self::Wasm => "run wasm",
            Self::Julia => "run julia",
            Self::Endless => "run and kill",
            Self::OnPeer => "run on peer",
            Self::Search => "search",
            Self::Sync => "sync",
            Self::Prune => "prune",
            Self::Upgrade => "upgrade",
        }
    }

    /// Whether other nodes have a part in it.
    pub(super) fn needs_others(self) -> bool {
        matches!(self, Self::Install | Self::OnPeer | Self::Sync)
    }
}

/// Numbers that are the same each time (the generator of Numerical Recipes, 64 bits).
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Copies the example in WebAssembly, which waits longer for its turn here: four callers keep two processors busy all the time.
fn primes(parent: &Path) -> PathBuf {
    let (from, to) = (programs::workspace().join("manifests/wasm/primes"), parent.join("primes"));
    fs::create_dir_all(&to).expect("made");
    fs::copy(from.join("primes.wasm"), to.join("primes.wasm")).expect("copied");
    let manifest = fs::read_to_string(from.join("package.yaml")).expect("text");
    let patient = manifest.replace("execution_timeout: 10s", "execution_timeout: 60s");
    assert_ne!(manifest, patient);
    fs::write(to.join("package.yaml"), patient).expect("written");
    to
}

impl Soak {
    /// Publishes and installs what is run, everywhere.
    pub(super) fn furnish(&self) {
        let parent = self.directory.path().join("packages");
        let sum = "return function(n) local s = 0 for i = 1, n do s = s + i end return s end";
        let endless = "return function() while true do end end";
        let mut directories = vec![
            programs::package(&parent, "sum", "lua-script", "", sum),
            programs::package(&parent, "endless", "lua-script", "", endless),
            primes(&parent),
        ];
        let julia =
            ["return-stats", "portfolio-risk"].map(|name| programs::workspace().join("manifests/julia").join(name));
        directories.extend(julia);
        let directories: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
        let mut words = vec!["catalog", "publish"];
        words.extend(directories.iter().map(String::as_str));
        good(&self.home(0), &words);
        for library in 0..LIBRARIES {
            self.publish(library, 0);
        }
        let installed = ["sum", "endless", "primes", "portfolio-risk"];
        for node in 0..NODES {
            let home = self.home(node);
            good(&home, &["catalog", "sync"]);
            for name in installed {
                let known = (0..600).any(|_| {
                    let known = super::ask(&home, &["catalog", "info", name]).is_ok();
                    if !known {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    known
                });
                assert!(known, "n{} never hears of `{name}`", node + 1);
            }
            let mut words = vec!["catalog", "install"];
            words.extend(installed);
            good(&home, &words);
        }
    }

    /// Publishes the next version of a library, on the node that its publisher is.
    fn publish(&self, library: usize, caller: usize) {
        let name = format!("library-{library}");
        let patch = {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            // One that nobody answered for may be there, so its number is not taken again.
            let patch = tried.get(&name).map_or(0, |patch| patch + 1);
            tried.insert(name.clone(), patch);
            patch
        };
        let parent = self.directory.path().join(format!("packages/{caller}"));
        let main = format!("return {{ version = function() return {patch} end, text = '{}' }}", "x".repeat(2_000));
        let directory = programs::package(&parent, &name, "lua-library", "", &main);
        let manifest = directory.join("package.yaml");
        let text =
            fs::read_to_string(&manifest).expect("text").replace("version: 1.0.0", &format!("version: 1.0.{patch}"));
        fs::write(&manifest, text).expect("written");
        let words = ["catalog", "publish", directory.to_str().expect("text")];
        if self.ask(Kind::Publish, library % NODES, &words).is_some() {
            self.published.lock().unwrap_or_else(PoisonError::into_inner).insert(name, patch);
        }
    }

    /// Does one thing after the other until time is up. Of several who do this each publishes for itself.
    pub(super) fn load(&self, mut rng: Rng) {
        let number = rng.0 as usize;
        let mut step = 0;
        while !self.is_over() {
            step += 1;
            let node = rng.below(NODES);
            match rng.below(14) {
                0 | 1 => {
                    // Each library has one who publishes it, so its versions come one after the other.
                    let library = rng.below(LIBRARIES);
                    if library % CALLERS == number % CALLERS {
                        self.publish(library, number);
                    }
                }
                2 | 3 => {
                    self.ask(
                        Kind::Install,
                        node,
                        &["catalog", "install", &format!("library-{}", rng.below(LIBRARIES))],
                    );
                }
                4 => self.remove(node, rng.below(LIBRARIES)),
                5 | 6 => {
                    let upto = 1 + rng.below(1_000);
                    let words = ["catalog", "run", "sum", &upto.to_string()];
                    self.expect(Kind::Lua, node, &words, &json!(upto * (upto + 1) / 2));
                }
                7 => self.expect(Kind::Wasm, node, &["catalog", "run", "primes"], &json!(PRIMES)),
                8 => {
                    self.ask(Kind::Julia, node, &["catalog", "run", "portfolio-risk", "100", "0.95"]);
                }
                9 => self.run_and_kill(node),
                10 => {
                    let other = format!("n{}", 1 + rng.below(NODES));
                    if other != format!("n{}", node + 1) {
                        self.expect(Kind::OnPeer, node, &["catalog", "run", "sum", "10", "--node", &other], &json!(55));
                    }
                }
                11 => {
                    let found = self.ask(Kind::Search, node, &["catalog", "search", "primes"]);
                    if found.is_some_and(|found| !found.to_string().contains("\"primes\"")) {
                        self.fail(format!("n{} does not find what is installed there", node + 1));
                    }
                }
                12 => drop(self.ask(Kind::Sync, node, &["catalog", "sync"])),
                _ if step % 7 == 0 => drop(self.ask(Kind::Prune, node, &["catalog", "cache", "prune", "--keep", "3"])),
                _ => {}
            }
        }
    }

    fn expect(&self, kind: Kind, node: usize, words: &[&str], value: &Json) {
        if let Some(ran) = self.ask(kind, node, words)
            && ran["value"] != *value
        {
            self.fail(format!("n{} {words:?} gives {ran}, expected {value}", node + 1));
        }
    }

    /// Removes a library, if it is there; only one at a time does that.
    fn remove(&self, node: usize, library: usize) {
        let _alone = self.removing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("library-{library}");
        let listed = self.ask(Kind::Search, node, &["catalog", "list"]);
        if listed.is_some_and(|listed| listed.to_string().contains(&format!("\"{name}\""))) {
            self.ask(Kind::Remove, node, &["catalog", "remove", &name]);
        }
    }

    fn run_and_kill(&self, node: usize) {
        let _runs = self.detached.read().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = self.ask(Kind::Endless, node, &["catalog", "run", "endless", "--detach"]) else { return };
        let Some(id) = begun["execution"].as_str() else {
            return self.fail(format!("n{} gives no execution: {begun}", node + 1));
        };
        self.ask(Kind::Endless, node, &["catalog", "kill", id]);
    }
}
