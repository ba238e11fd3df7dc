//! What packing, unpacking, deltas and installing cost, each beside its peer in the same run and on the same file system: `tar`
//! and `zstd`, and `uv pip install` by hard links. The data is made from a seed; programs that are not there are left out.
//!
//! Lies in `CATALOG_BENCH_DIR`, or in memory (`/dev/shm`) where that is: a shared disk measures who else uses it.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catalog::archive::{self, Archive, Compression, Content, SourceFile, delta};
use catalog::asset::AssetNeed;
use catalog::config::Config;
use catalog::host::{Host, Lease, Operation, Pending, Progress, Refusal, Signed, ToSign, TrustAnchors};
use catalog::ops::Catalog;
use catalog::ops::publish::{Mode, PublishOptions};
use catalog::trust::policy::{Confirmed, PolicyName};
use catalog::trust::{self, Expected};
use time::OffsetDateTime;
use trustchain::hybrid::SecretKey;
use zip::write::SimpleFileOptions;

/// Milliseconds that an installation may take that changes nothing.
const UNCHANGED_MS_MAX: f64 = 30.0;
/// What a delta of a patch release may be of the whole archive.
const DELTA_SHARE_MAX: f64 = 0.05;
/// A peer is met if it takes no longer.
const PEER_RATIO_MAX: f64 = 1.0;
const ROUNDS: usize = 7;
const PACKAGES: usize = 20;
const FILES: usize = 500;
/// Bytes of the tree that is packed.
const TREE_BYTES: usize = 100 << 20;
const WORDS: [&str; 16] = [
    "local", "function", "return", "value", "index", "table", "string", "result", "for", "end", "then", "if", "node",
    "count", "self", "insert",
];

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let in_memory = Path::new("/dev/shm");
    let parent = std::env::var_os("CATALOG_BENCH_DIR")
        .map_or_else(|| if in_memory.is_dir() { in_memory.to_path_buf() } else { std::env::temp_dir() }, PathBuf::from);
    let directory = tempfile::tempdir_in(parent).expect("a directory");
    println!("in {}, load {}", directory.path().display(), load());
    let archive = pack(directory.path());
    unpack(directory.path(), &archive);
    levels(&archive);
    deltas();
    install(directory.path());
    println!("load {}", load());
}

/// Packs, hashes and signs a tree, beside `tar | zstd -3 -T0`.
fn pack(directory: &Path) -> Archive {
    let tree = directory.join("tree");
    let mut random = Random(7);
    let mut paths = Vec::new();
    let mut bytes = 0;
    while bytes < TREE_BYTES {
        let path = format!("d{:02}/f{:05}.lua", paths.len() % 50, paths.len());
        let size = 4 * random.size();
        let text = random.text(size);
        bytes += text.len();
        write(&tree.join(&path), text.as_bytes());
        paths.push(path);
    }
    let manifest = br#"{"metadata":{"name":"tree","version":"1.0.0"}}"#;
    let files: Vec<SourceFile<'_>> =
        paths.iter().map(|path| SourceFile { path, content: Content::Below(&tree) }).collect();
    let keys = SecretKey::generate().expect("generates");
    let (ours, theirs) = (directory.join("ours.tar.zst"), directory.join("theirs.tar.zst"));
    let work = || {
        let archive = archive::pack(manifest, &files).expect("packs");
        keys.sign(archive.sha256().as_bytes()).expect("signs");
        fs::write(&ours, archive.compressed()).expect("writes");
    };
    let script = format!("tar -C {} -cf - . | zstd -q -f -3 -T0 -o {}", tree.display(), theirs.display());
    println!("a tree of {} files, {} MB", paths.len(), bytes >> 20);
    let times = medians_prepared([&work, &|| shell(&script)], [&|| (), &|| ()]);
    target::at_most("pack, hash and sign beside tar and zstd -3 -T0", ratio(times), PEER_RATIO_MAX, "times");
    archive::pack(manifest, &files).expect("packs")
}

/// Verifies and unpacks, beside `zstd -d | tar x`.
fn unpack(directory: &Path, archive: &Archive) {
    let file = directory.join("ours.tar.zst");
    let home = directory.join("unpack-home");
    let catalog = Catalog::open(&home, config(), &[]).expect("opens");
    let number = std::cell::Cell::new(0);
    let fresh = |name: &str| {
        number.set(number.get() + 1);
        directory.join(format!("{name}-{}", number.get()))
    };
    let expected = archive.digest();
    let work = || {
        let target = fresh("ours");
        let unpacked = catalog.unpack(&file, None, &target).expect("unpacks");
        assert_eq!(unpacked.archive.digest(), expected);
        target
    };
    let peer = || {
        let target = fresh("theirs");
        fs::create_dir(&target).expect("creates");
        shell(&format!("zstd -q -d -c {} | tar -x -C {}", file.display(), target.display()));
        target
    };
    let times = both(&work, &peer, &|target: PathBuf| fs::remove_dir_all(target).expect("removes"));
    target::at_most("verify and unpack beside zstd -d and tar x", ratio(times), PEER_RATIO_MAX, "times");
}

/// What each level gives and costs; the one that is used was chosen by this.
fn levels(archive: &Archive) {
    let plain = archive.recompressed(Compression::Lz4).expect("compresses");
    let tar = tar_of(archive);
    let megabytes = tar.len() as f64 / 1e6;
    for level in [1, 3, 6, 9] {
        let started = Instant::now();
        let compressed = zstd::bulk::compress(&tar, level).expect("compresses");
        let rate = megabytes / started.elapsed().as_secs_f64();
        let share = 100.0 * compressed.len() as f64 / tar.len() as f64;
        println!("zstd -{level}: {rate:.0} MB/s on one core, {share:.1} % of the size");
    }
    let started = Instant::now();
    archive.recompressed(Compression::Lz4).expect("compresses");
    let rate = megabytes / started.elapsed().as_secs_f64();
    println!("lz4: {rate:.0} MB/s, {:.1} % of the size", 100.0 * plain.compressed().len() as f64 / tar.len() as f64);
}

fn tar_of(archive: &Archive) -> Vec<u8> {
    archive.entries().flat_map(|entry| entry.bytes.iter().copied()).collect()
}

/// A patch release: one file in fifty has some lines changed.
fn deltas() {
    let version = |patch: u64| {
        let files: Vec<(String, String)> = (0..1_000_u64)
            .map(|file| {
                let mut random = Random(file + 1);
                let size = random.size();
                let mut text = random.text(size);
                if file % 50 == 0 {
                    let middle = text.len() / 2;
                    text.insert_str(middle, &Random(900 + patch).text(200));
                }
                (format!("src/f{file}.lua"), text)
            })
            .collect();
        let manifest = format!(r#"{{"metadata":{{"name":"app","version":"1.0.{patch}"}}}}"#);
        let sources = files.iter().map(|(path, text)| SourceFile {
            path,
            content: Content::Bytes { bytes: text.as_bytes(), executable: false },
        });
        archive::pack(manifest.as_bytes(), &sources.collect::<Vec<_>>()).expect("packs")
    };
    let (old, new) = (version(1), version(2));
    let made = delta::make(&old, &new).expect("is made");
    let applied = delta::apply(&old, &made, Compression::Zstd).expect("is applied");
    assert!(applied == new, "the archive comes out bit by bit");
    let share = made.len() as f64 / new.compressed().len() as f64;
    println!("delta of a patch release: {} of {} bytes", made.len(), new.compressed().len());
    target::at_most("delta of a patch release, of the archive", share, DELTA_SHARE_MAX, "parts");
}

/// Installs ten thousand files whose archives and objects are there, beside `uv pip install` from its cache; then again with
/// nothing to do.
fn install(directory: &Path) {
    let home = directory.join("home");
    let catalog = Catalog::open(&home, config(), &[]).expect("opens");
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let _entered = runtime.enter();
    let sources: Vec<PathBuf> = (0..PACKAGES).map(|number| source(directory, number)).collect();
    let options = PublishOptions {
        mode: Mode::Commit,
        publisher: None,
        confirmed: Confirmed::No,
        compression: Compression::Zstd,
    };
    catalog.publish(&sources, &options, &Bench).expect("publishes");
    let words: Vec<String> = (0..PACKAGES).map(|number| format!("p{number:02}")).collect();
    let install = || catalog.install(&words, Mode::Commit, Confirmed::No, &Bench).expect("installs");
    install();
    let forget = || {
        for entry in fs::read_dir(home.join("store/packages")).expect("lists") {
            fs::remove_dir_all(entry.expect("reads").path()).expect("removes");
        }
    };
    let wheels: Vec<PathBuf> =
        sources.iter().enumerate().map(|(number, from)| wheel(directory, from, number)).collect();
    let work = || drop(install());
    let uv = Uv::find(directory);
    println!("{PACKAGES} packages of {FILES} files each");
    match &uv {
        Some(uv) => {
            uv.install(&wheels, 0);
            let number = std::cell::Cell::new(0);
            let peer = || {
                number.set(number.get() + 1);
                uv.install(&wheels, number.get());
            };
            let prepared = [&forget as &dyn Fn(), &|| ()];
            let times = medians_prepared([&work, &peer], prepared);
            target::at_most("warm installation beside uv pip install", ratio(times), PEER_RATIO_MAX, "times");
        }
        None => {
            let [ours] = medians_prepared([&work], [&forget]);
            println!("warm installation: {ours:.0} ms; there is no `uv` to compare with");
        }
    }
    let [unchanged] = medians_prepared([&work], [&|| ()]);
    target::at_most("an installation that changes nothing", unchanged, UNCHANGED_MS_MAX, "ms");
    let archive = fs::read(first_file(&home.join("store/archives"))).expect("reads");
    let read = archive::read(archive.clone()).expect("reads");
    let expected = Expected {
        name: read.name().clone(),
        version: read.version().clone(),
        digest: read.digest(),
        blob: Some(read.blob()),
        sha256: None,
        sha512: None,
    };
    let check = || drop(trust::check_archive(archive.clone(), &expected).expect("is intact"));
    let [checked] = medians_prepared([&check], [&|| ()]);
    println!("of it, unfolding and hashing one archive of {FILES} files: {checked:.1} ms");
}

/// Writes the source of a package.
fn source(directory: &Path, number: usize) -> PathBuf {
    let root = directory.join(format!("sources/p{number:02}"));
    let mut random = Random(1_000 + number as u64);
    let names: Vec<String> = (0..FILES - 2).map(|file| format!("d{}/f{file}.txt", file % 20)).collect();
    for name in names.iter().map(String::as_str).chain(["main.txt"]) {
        let size = random.size();
        write(&root.join(name), random.text(size).as_bytes());
    }
    let manifest = format!(
        "{{apiVersion: catalog.v1, metadata: {{name: p{number:02}, version: 1.0.0, license: MIT}}, spec: {{type: custom, \
         content: {{main: main.txt, files: [{}]}}}}}}",
        names.join(", ")
    );
    write(&root.join("package.yaml"), manifest.as_bytes());
    root
}

/// Makes a wheel of the same files.
fn wheel(directory: &Path, source: &Path, number: usize) -> PathBuf {
    let (name, info) = (format!("p{number:02}"), format!("p{number:02}-1.0.0.dist-info"));
    let path = directory.join(format!("{name}-1.0.0-py3-none-any.whl"));
    let mut zip = zip::ZipWriter::new(File::create(&path).expect("creates"));
    let mut record = String::new();
    let mut put = |zip: &mut zip::ZipWriter<File>, path: String, bytes: &[u8]| {
        record.push_str(&format!("{path},,\n"));
        zip.start_file(path, SimpleFileOptions::default()).and_then(|()| Ok(zip.write_all(bytes)?)).expect("writes");
    };
    for found in walkdir::WalkDir::new(source).sort_by_file_name().into_iter().map(|found| found.expect("lists")) {
        if found.file_type().is_file() {
            let relative = found.path().strip_prefix(source).expect("is below").display().to_string();
            put(&mut zip, format!("{name}/{relative}"), &fs::read(found.path()).expect("reads"));
        }
    }
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n");
    put(&mut zip, format!("{info}/METADATA"), metadata.as_bytes());
    let wheel = b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    put(&mut zip, format!("{info}/WHEEL"), wheel);
    record.push_str(&format!("{info}/RECORD,,\n"));
    zip.start_file(format!("{info}/RECORD"), SimpleFileOptions::default()).expect("starts");
    zip.write_all(record.as_bytes()).expect("writes");
    zip.finish().expect("ends");
    path
}

/// The peer.
struct Uv {
    directory: PathBuf,
}

impl Uv {
    fn find(directory: &Path) -> Option<Self> {
        let found = Command::new("uv").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success()).then(|| Self { directory: directory.to_path_buf() })
    }

    fn install(&self, wheels: &[PathBuf], round: usize) {
        let status = Command::new("uv")
            .args(["pip", "install", "--quiet", "--offline", "--no-deps", "--link-mode", "hardlink", "--cache-dir"])
            .arg(self.directory.join("uv-cache"))
            .arg("--target")
            .arg(self.directory.join(format!("uv-{round}")))
            .args(wheels)
            .status();
        assert!(status.expect("starts").success(), "uv installs");
    }
}

/// A host that believes nobody and signs nothing: what the policy looks at is `benches/trust.rs`'s subject.
struct Bench;

impl Host for Bench {
    fn network(&self) -> catalog::host::Network {
        catalog::host::Network::NotGranted
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn platform(&self) -> String {
        "linux-x86_64".into()
    }

    fn progress(&self, _: Progress) {}

    fn lease<'a>(
        &'a self,
        _: &'a str,
        _: &'a [AssetNeed],
        _: Duration,
    ) -> Pending<'a, Result<Box<dyn Lease>, Refusal>> {
        refuse()
    }

    fn anchors<'a>(&'a self) -> Pending<'a, Result<TrustAnchors, Refusal>> {
        Box::pin(async { Ok(TrustAnchors::default()) })
    }

    fn sign<'a>(&'a self, _: Option<&'a str>, _: &'a ToSign) -> Pending<'a, Result<Signed, Refusal>> {
        refuse()
    }

    fn consensus<'a>(&'a self, _: &'a Operation) -> Pending<'a, Result<Vec<u8>, Refusal>> {
        refuse()
    }
}

fn refuse<'a, T>() -> Pending<'a, Result<T, Refusal>> {
    Box::pin(async { Err(Refusal { code: 7, message: "this is a benchmark".into(), help: None }) })
}

fn config() -> Config {
    let mut config = Config { vm: false, ..Config::default() };
    config.trust.policy = PolicyName::Permissive;
    config
}

/// Pseudo-random text like that of programs: words, numbers and punctuation.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Sizes of files, in bytes: half below 3 kB, some tens of kB.
    fn size(&mut self) -> usize {
        let shift = self.next() % 7;
        300 + (self.next() % (600 << shift)) as usize
    }

    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            match self.next() % 8 {
                0 => text.push_str(&format!("{} ", self.next() % 10_000)),
                1 => text.push_str("= "),
                2 => text.push('\n'),
                _ => {
                    text.push_str(WORDS[(self.next() % 16) as usize]);
                    text.push_str(&format!("{:x} ", self.next() % 64));
                }
            }
        }
        text
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("is below")).expect("creates");
    fs::write(path, bytes).expect("writes");
}

fn first_file(directory: &Path) -> PathBuf {
    let mut found = walkdir::WalkDir::new(directory).into_iter().map(|found| found.expect("lists"));
    found.find(|found| found.file_type().is_file()).expect("there is one").into_path()
}

fn shell(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().expect("starts").success(), "{script}");
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// Gives the medians of what makes something that is removed outside of the measurement.
fn both<T>(work: &dyn Fn() -> T, peer: &dyn Fn() -> T, remove: &dyn Fn(T)) -> [f64; 2] {
    let left = [const { std::cell::RefCell::new(None) }; 2];
    let prepare = |index: usize| {
        if let Some(made) = left[index].take() {
            remove(made);
        }
    };
    let ours = || drop(left[0].replace(Some(work())));
    let theirs = || drop(left[1].replace(Some(peer())));
    medians_prepared([&ours, &theirs], [&|| prepare(0), &|| prepare(1)])
}

/// Gives the median milliseconds of each, taken in turns so that what disturbs the machine disturbs all; what prepares a round
/// is not counted.
fn medians_prepared<const N: usize>(works: [&dyn Fn(); N], prepare: [&dyn Fn(); N]) -> [f64; N] {
    let mut taken = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for ((work, prepare), taken) in works.iter().zip(prepare).zip(&mut taken) {
            prepare();
            let started = Instant::now();
            work();
            taken.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    taken.map(|mut taken| {
        taken.sort_by(f64::total_cmp);
        taken[ROUNDS / 2]
    })
}

fn ratio([ours, theirs]: [f64; 2]) -> f64 {
    println!("ours {ours:.0} ms, theirs {theirs:.0} ms");
    ours / theirs
}
