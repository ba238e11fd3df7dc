//! A million packages in one registry, and the index of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use catalog::digest::{Digest, Digests};
use catalog::package::model::PackageType;
use catalog::package::name::PackageName;
use catalog::registry::{Publication, Registry, Release};
use catalog::search::{Cache, IndexBuilder, Query};
use time::macros::datetime;

use crate::corpus::{self, Random};
use crate::{Asked, cpu, load, micros, ms, resident_mib, target, us};

const PACKAGES: usize = 1_000_000;
const QUESTIONS: usize = 2_000;
const OPEN_MS_MAX: f64 = 50.0;
const LOOKUP_MS_MAX: f64 = 1.0;
const SEARCH_MS_MAX: f64 = 20.0;

pub(crate) fn run() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, cache) = (directory.path().join("registry.sqlite"), Cache::new(&directory.path().join("search")));
    println!("{PACKAGES} packages; {}", load());
    let start = Instant::now();
    publish(&path);
    println!(
        "published in {}, {} MiB",
        ms(start.elapsed()),
        std::fs::metadata(&path).map_or(0, |file| file.len() >> 20)
    );
    let start = cpu();
    {
        let registry = Registry::open(&path).expect("opens");
        let mut builder = IndexBuilder::begin();
        let mark = registry.listings(&mut |listing| builder.add(&listing)).expect("lists");
        let mut index = builder.finish().expect("an index");
        cache.save(&mut index, mark).expect("saves");
        println!(
            "index built and saved in {} of processor time, {} MiB",
            ms(cpu() - start),
            index.segment_bytes() >> 20
        );
    }
    println!("resident memory after building {} MiB; what follows is a process that only asks", resident_mib());
    if let Ok(program) = std::env::current_exe() {
        let status = std::process::Command::new(program).env(ASK, directory.path()).arg("million").status();
        assert!(status.is_ok_and(|status| status.success()), "the questions are answered");
    }
}

/// Names the directory in which a process finds a registry and an index to ask.
pub(crate) const ASK: &str = "CATALOG_BENCH_ASK";

pub(crate) fn ask(directory: &std::path::Path) {
    let before = resident_mib();
    let start = Instant::now();
    let registry = Registry::open(&directory.join("registry.sqlite")).expect("opens");
    let opened = start.elapsed();
    target::at_most("a million packages: open the registry", micros(opened) / 1e3, OPEN_MS_MAX, "ms");
    let mut random = Random(3);
    let times = timed(|| {
        let name: PackageName = corpus::name(random.below(PACKAGES)).parse().expect("valid");
        assert!(registry.latest(&name).expect("reads").is_some());
    });
    println!("name lookups: p50 {}, max {}", us(times.p50()), us(times.at(1.0)));
    target::at_most("a million packages: look a name up, p99", micros(times.p99()) / 1e3, LOOKUP_MS_MAX, "ms");

    let start = Instant::now();
    let (mut index, mark) = Cache::new(&directory.join("search")).load().expect("is there");
    let loaded = start.elapsed();
    let start = Instant::now();
    assert_eq!(registry.changes_since(mark, 1).expect("asks"), catalog::registry::Changes::None);
    println!("caught up in {}", us(start.elapsed()));
    target::at_most("a million packages: open the index", micros(loaded) / 1e3, OPEN_MS_MAX, "ms");
    println!("resident memory {} MiB, {before} MiB before", resident_mib());

    let start = Instant::now();
    assert!(index.search(&Query::words("bagra")).is_ok());
    println!("first query {}", us(start.elapsed()));
    let mut random = Random(4);
    let mut all = Vec::new();
    for kind in ["words", "names", "typos"] {
        let times = timed(|| {
            let text = match kind {
                "words" => {
                    let words = 1 + random.below(3);
                    corpus::sentence(&mut random, words)
                }
                "names" => corpus::name(random.below(PACKAGES)),
                _ => corpus::name(random.below(PACKAGES)).replacen('-', "q-", 1),
            };
            assert!(index.search(&Query { limit: 10, ..Query::words(text) }).is_ok());
        });
        println!("{kind}: p50 {}, p99 {}, max {}", us(times.p50()), us(times.p99()), us(times.at(1.0)));
        all.extend(times.times);
    }
    all.sort_unstable();
    let all = Asked { times: all, ..Asked::default() };
    println!("all searches: p50 {}", us(all.p50()));
    target::at_most("a million packages: search, p99", micros(all.p99()) / 1e3, SEARCH_MS_MAX, "ms");
    println!("resident memory {} MiB; {}", resident_mib(), load());
}

fn timed(mut work: impl FnMut()) -> Asked {
    let mut times: Vec<Duration> = (0..QUESTIONS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    Asked { times, ..Asked::default() }
}

fn publish(path: &std::path::Path) {
    let mut registry = Registry::open(path).expect("opens");
    let mut random = Random(5);
    let mut number = 0;
    while number < PACKAGES {
        let releases: Vec<Release> = (number..number + 1_000).map(|number| release(number, &mut random)).collect();
        let publications: Vec<_> =
            releases.iter().map(|release| Publication { release, manifest: MANIFEST, voucher: None }).collect();
        registry.publish(&publications, &BTreeMap::new()).expect("publishes");
        number += releases.len();
    }
}

const MANIFEST: &[u8] = br#"{"metadata":{"author":"Ada <ada@example.org>"},"spec":{"content":{"main":"main.lua"}}}"#;

fn release(number: usize, random: &mut Random) -> Release {
    let digests = Digests::of(&number.to_le_bytes());
    Release {
        name: corpus::name(number).parse().expect("a valid name"),
        version: semver::Version::new(1, random.next() % 20, 0),
        kind: PackageType::LuaLibrary,
        description: Some(corpus::sentence(random, 12)),
        tags: vec![corpus::word(random)],
        keywords: vec![corpus::word(random), corpus::word(random)],
        dependencies: vec![],
        conflicts: vec![],
        features: BTreeMap::new(),
        blob: Digest::of(digests.sha256.as_bytes()),
        digests,
        tar_bytes: 4096,
        archive_bytes: 300,
        published_at: datetime!(2026-01-02 03:04:05 UTC),
    }
}
