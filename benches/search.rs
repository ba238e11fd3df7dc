//! What search costs and how good it is: over the descriptions that this machine's package lists have, or else over generated
//! ones; beside SQLite's FTS5 over the same documents and queries in the same run, and `apt-cache search` where it is there.
//!
//! `cargo bench --bench search` takes a minute. `cargo bench --bench search -- million` makes a registry of a million
//! packages in a temporary directory (about 2 GB) and asks it and its index; that takes some minutes.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "search/corpus.rs"]
mod corpus;
#[path = "search/million.rs"]
mod million;
#[path = "search/peer.rs"]
mod peer;
#[path = "target.rs"]
mod target;

use std::time::{Duration, Instant};

use catalog::registry::Mark;
use catalog::search::{Cache, Document, Index, IndexBuilder, Query};
use rustix::time::{ClockId, clock_gettime};

use corpus::{Question, Random};

/// What a search may take at the median and at the 99th percentile.
const P50_US_MAX: f64 = 100.0;
const P99_US_MAX: f64 = 1_000.0;
/// Processor time that making an index of all documents may take, and taking in one publication.
const BUILD_MS_MAX: f64 = 2_000.0;
const PUBLISH_MS_MAX: f64 = 5.0;

const QUESTIONS: usize = 2_000;
const HITS: usize = 10;

fn main() {
    if let Some(directory) = std::env::var_os(million::ASK) {
        return million::ask(directory.as_ref());
    }
    if std::env::args().any(|argument| argument == "million") {
        return million::run();
    }
    let (source, documents) = corpus::documents();
    println!("{} documents of {source}; {}\n", documents.len(), load());
    let (mut index, cpu) = built(&documents);
    println!("index built in {} of processor time, {} KiB", ms(cpu), index.segment_bytes() >> 10);
    files(&mut index, documents.len());
    let kinds = corpus::questions(&documents, QUESTIONS);
    let peer = peer::Fts::new(&documents);
    println!("\nSQLite FTS5 (porter) built in {} of processor time\n", ms(peer.cpu));
    println!(
        "{:<10} {:>22} {:>8} {:>8} | {:>22} {:>8} {:>8} | {:>9}",
        "", "p50 / p99 / max", "S@1", "S@10", "FTS5 p50 / p99", "S@1", "S@10", "FTS5/ours"
    );
    let (mut all, mut peers, mut worked) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, questions) in &kinds {
        let ours = asked(questions, |text| hits(&mut index, text));
        let theirs = asked(questions, |text| peer.search(text, HITS));
        println!(
            "{kind:<10} {:>22} {:>8.3} {:>8.3} | {:>22} {:>8.3} {:>8.3} | {:>8.1}x  MRR {:.3} {:.3}  nDCG {:.3} {:.3}",
            format!("{} / {} / {}", us(ours.p50()), us(ours.p99()), us(ours.at(1.0))),
            ours.first,
            ours.found,
            format!("{} / {}", us(theirs.p50()), us(theirs.p99())),
            theirs.first,
            theirs.found,
            theirs.p50().as_secs_f64() / ours.p50().as_secs_f64(),
            ours.reciprocal,
            theirs.reciprocal,
            ours.gain,
            theirs.gain,
        );
        all.extend(ours.times);
        peers.extend(theirs.times);
        worked.extend(ours.cpu);
    }
    all.sort_unstable();
    peers.sort_unstable();
    worked.sort_unstable();
    let (all, worked) = (Asked { times: all, ..Asked::default() }, Asked { times: worked, ..Asked::default() });
    println!("processor time of a query: p50 {}, p99 {}", us(worked.p50()), us(worked.p99()));
    target::at_most("search 60,000 documents, p50", micros(all.p50()), P50_US_MAX, "µs");
    target::at_most("search 60,000 documents, p99", micros(all.p99()), P99_US_MAX, "µs");
    let peers = Asked { times: peers, ..Asked::default() };
    target::beside("search 60,000 documents beside SQLite FTS5, p50", micros(all.p50()) / micros(peers.p50()), "times");
    target::at_most("index of 60,000 documents, processor time", micros(cpu) / 1e3, BUILD_MS_MAX, "ms");
    let published = publications(&mut index);
    target::at_most("a publication in the index, processor time p99", micros(published) / 1e3, PUBLISH_MS_MAX, "ms");
    peer::apt(&kinds, &all);
    println!("resident memory {} MiB; {}", resident_mib(), load());
}

/// Makes an index of documents in order of name, and tells the processor time.
fn built(documents: &[Document]) -> (Index, Duration) {
    let start = cpu();
    let mut builder = IndexBuilder::begin();
    documents.iter().for_each(|document| builder.add(document).expect("in order"));
    (builder.finish().expect("an index"), cpu() - start)
}

/// Saves and loads the index, as one command after another does.
fn files(index: &mut Index, documents: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = Cache::new(directory.path());
    let start = Instant::now();
    cache.save(index, Mark { number: 1, stamp: [0; 8] }).expect("saves");
    let saved = start.elapsed();
    let start = Instant::now();
    let (mut loaded, _) = cache.load().expect("is there");
    let opened = start.elapsed();
    let start = Instant::now();
    hits(&mut loaded, "image viewer");
    println!("saved in {}, loaded in {}, first query in {}", ms(saved), ms(opened), us(start.elapsed()));
    assert_eq!(loaded.len(), documents);
}

fn hits(index: &mut Index, text: &str) -> Vec<String> {
    let found = index.search(&Query { limit: HITS, ..Query::words(text) }).expect("an index that is whole");
    found.hits.into_iter().map(|hit| hit.document.name).collect()
}

/// Takes in changes one by one and gives the 99th percentile.
fn publications(index: &mut Index) -> Duration {
    let mut random = Random(7);
    let (mut times, mut worked): (Vec<_>, Vec<_>) = (0..2_000)
        .map(|number| {
            let document = corpus::document(&format!("published-{number}"), &corpus::sentence(&mut random, 12));
            let (start, worked) = (Instant::now(), cpu());
            index.apply(vec![(document.name.clone(), Some(document))]).expect("applies");
            (start.elapsed(), cpu().saturating_sub(worked))
        })
        .unzip();
    times.sort_unstable();
    worked.sort_unstable();
    let (times, worked) = (Asked { times, ..Asked::default() }, Asked { times: worked, ..Asked::default() });
    println!("\npublications one by one: p50 {}, p99 {}, max {}", us(times.p50()), us(times.p99()), us(times.at(1.0)));
    worked.p99()
}

/// How questions were answered.
#[derive(Default)]
struct Asked {
    times: Vec<Duration>,
    /// Processor time of each: on a machine that others use, the time that passes is mostly theirs.
    cpu: Vec<Duration>,
    first: f64,
    found: f64,
    reciprocal: f64,
    gain: f64,
}

impl Asked {
    fn at(&self, share: f64) -> Duration {
        let at = (self.times.len() as f64 * share).ceil() as usize;
        self.times.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn p50(&self) -> Duration {
        self.at(0.5)
    }

    fn p99(&self) -> Duration {
        self.at(0.99)
    }
}

fn asked(questions: &[Question], mut answer: impl FnMut(&str) -> Vec<String>) -> Asked {
    let mut asked = Asked::default();
    let share = 1.0 / questions.len() as f64;
    for Question { text, wanted } in questions {
        let (start, worked) = (Instant::now(), cpu());
        let hits = answer(text);
        asked.cpu.push(cpu().saturating_sub(worked));
        asked.times.push(start.elapsed());
        if let Some(at) = hits.iter().position(|hit| hit == wanted) {
            asked.first += if at == 0 { share } else { 0.0 };
            asked.found += share;
            asked.reciprocal += share / (at + 1) as f64;
            asked.gain += share / ((at + 2) as f64).log2();
        }
    }
    asked.times.sort_unstable();
    asked
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn us(time: Duration) -> String {
    format!("{:.0} µs", micros(time))
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average {}", text.split(' ').next().unwrap_or("unknown"))
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}
