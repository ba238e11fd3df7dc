//! Nodes on a disk that fails or is slow: what fails is told, nothing that was acknowledged is lost, and the node goes on when the
//! disk does.

mod disk;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions};
use hypermesh_abi::Error;
use serde_json::{Value as Json, json};

use self::disk::Disk;
use super::programs;
use super::support::{block_on, trust_into};

/// A node on such a disk.
struct Node<'a> {
    host: Host,
    disk: &'a Disk,
    sources: tempfile::TempDir,
}

impl<'a> Node<'a> {
    async fn on(disk: &'a Disk) -> Self {
        let home = disk.path();
        let options =
            HostOptions { child: None, consensus: Seating::Nobody, ..HostOptions::new(home.into()).expect("options") };
        let host = Host::open(options).expect("opens");
        host.load(programs::linked(&json!({"vm": true}))).await.unwrap_or_else(|error| panic!("{error}"));
        Self { host, disk, sources: tempfile::tempdir().expect("made") }
    }

    async fn try_ask(&self, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request("catalog", verb, &params, RequestOptions::default()).await;
        answer.map(|response| response.data)
    }

    async fn ask(&self, verb: &str, params: Json) -> Json {
        self.try_ask(verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}: {:?}", error.detail))
    }

    /// Writes a package with some files, which are others in each version.
    fn package(&self, version: &str) -> PathBuf {
        let main = format!("return function() return '{version}' end");
        let directory = programs::package(self.sources.path(), "app", "lua-script", "", &main);
        let manifest = directory.join("package.yaml");
        let text = fs::read_to_string(&manifest).expect("text");
        let text = text.replace("version: 1.0.0", &format!("version: {version}"));
        fs::write(&manifest, text.replace("{main: main.lua}", "{main: main.lua, files: [a.lua, b.lua]}"))
            .expect("written");
        for file in ["a.lua", "b.lua"] {
            fs::write(directory.join(file), format!("return '{file} {version}'")).expect("written");
        }
        directory
    }

    async fn is_whole(&self, after: &str) {
        let found = self.try_ask("fsck", json!({})).await;
        let found = found.unwrap_or_else(|error| panic!("{after}: {error}: {:?}", error.detail));
        let open =
            found["findings"].as_array().expect("a list").iter().filter(|found| found["state"] == "open").count();
        assert_eq!(open, 0, "{after}: {found}");
    }

    /// Does something again and again, each time with the disk failing a little later, until it does not fail in time. What
    /// fails must say so, leave everything whole, and go well once the disk does.
    async fn at_every_point(&self, what: &str, step: i64, mut ask: impl AsyncFnMut(usize) -> (&'static str, Json)) {
        for round in 0.. {
            let (verb, params) = ask(round).await;
            let at = round as i64 * step;
            self.disk.faults.fail_changes_after(at);
            let done = self.try_ask(verb, params.clone()).await;
            let failed = self.disk.mend();
            let after = format!("{what} whose disk fails at change {at}");
            if let Err(error) = &done {
                let told = format!("{error} {:?}", error.detail).to_lowercase();
                let names_it = ["input/output error", "disk i/o error", "i/o error", "os error 5"];
                assert!(names_it.iter().any(|name| told.contains(name)), "{after}: {told}");
            }
            self.is_whole(&after).await;
            if failed == 0 {
                assert!(round > 3, "{what} changes too little to fail in");
                done.unwrap_or_else(|error| panic!("{after}: {error}"));
                return;
            }
            let again = self.try_ask(verb, params).await;
            // What failed at the very end may have been done.
            let was_done = again.as_ref().is_err_and(|error| error.to_string().contains("already"));
            assert!(again.is_ok() || was_done, "{after}, again: {again:?}");
        }
    }
}

fn on_disk(test: impl AsyncFnOnce(Node<'_>)) {
    let Some(disk) = Disk::mount() else { return };
    trust_into(disk.path());
    block_on(async {
        let node = Node::on(&disk).await;
        let host = node.host.clone();
        test(node).await;
        host.shutdown().await;
    });
}

#[test]
fn a_disk_that_fails_at_any_point_loses_nothing_and_stops_nobody() {
    on_disk(async |node| {
        let published = std::cell::Cell::new(0);
        let next = || {
            published.set(published.get() + 1);
            json!({"directories": [node.package(&format!("1.0.{}", published.get()))]})
        };
        node.ask("publish", next()).await;
        node.at_every_point("publishing", 4, async |_| ("publish", next())).await;
        let newest = published.get();
        for patch in 1..=newest {
            node.ask("info", json!({"package": format!("app@1.0.{patch}")})).await;
        }
        let version = |round: usize| format!("app@1.0.{}", newest - (round % newest));
        let install = |round: usize| ("install", json!({"packages": [version(round)]}));
        node.at_every_point("installing", 8, async |round| install(round)).await;
        // So that there is something to go back to, also twice, and something old.
        let two_more = async |round: usize| {
            for (verb, params) in [install(2 * round), install(2 * round + 1)] {
                node.ask(verb, params).await;
            }
        };
        let back = async |round| {
            two_more(round).await;
            ("rollback", json!({}))
        };
        node.at_every_point("going back", 1, back).await;
        node.ask("verify", json!({})).await;
        let ran = node.ask("run", json!({"package": "app"})).await;
        assert!(ran["value"].as_str().is_some_and(|version| version.starts_with("1.0.")), "{ran}");
        let prune = async |round| {
            two_more(round).await;
            ("cache prune", json!({"keep": 1}))
        };
        node.at_every_point("removing what is old", 4, prune).await;
        node.ask("verify", json!({})).await;
    });
}

#[test]
fn what_cannot_be_read_is_told_and_read_again() {
    on_disk(async |node| {
        node.ask("publish", json!({"directories": [node.package("1.0.0")]})).await;
        node.ask("install", json!({"packages": ["app"]})).await;
        node.disk.faults.fail_reads();
        for (verb, params) in [("run", json!({"package": "app"})), ("verify", json!({})), ("fsck", json!({}))] {
            let refused = node.try_ask(verb, params).await;
            assert!(refused.is_err(), "`{verb}` reads: {refused:?}");
        }
        assert!(node.disk.mend() > 0);
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], "1.0.0");
        node.is_whole("reading").await;
    });
}

#[test]
fn nobody_waits_for_a_slow_disk_but_who_writes_to_it() {
    on_disk(async |node| {
        node.ask("publish", json!({"directories": [node.package("1.0.0")]})).await;
        node.ask("install", json!({"packages": ["app"]})).await;
        let directory = node.package("1.0.1");
        node.disk.faults.be_slow(Duration::from_millis(20));
        let publishing = node.ask("publish", json!({"directories": [directory]}));
        let mut publishing = std::pin::pin!(publishing);
        let mut answered = 0;
        loop {
            let looking = async {
                node.ask("search", json!({"words": ["app"]})).await;
                node.ask("list", json!({})).await;
            };
            tokio::select! {
                biased;
                _ = &mut publishing => break,
                () = looking => answered += 1,
            }
        }
        assert!(answered > 2, "{answered} looked while one published");
        node.disk.mend();
        node.is_whole("publishing slowly").await;
    });
}
