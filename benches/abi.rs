//! What the boundary costs: calls into a library beside the same calls through `dyn` inside one program, and what it takes
//! to load one.
//!
//! `HYPERMESH_BENCH_BUNDLE` names a bundle to load instead of one of the witness made here, and `HYPERMESH_BENCH_TRUST` the
//! directory with its publisher's public key.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

#[path = "target.rs"]
mod target;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::Criterion;
use host_sim::bundle::{self, Artifacts};
use host_sim::child::ChildCommand;
use host_sim::host::{Host, HostOptions, Source};
use host_sim::manifest;
use host_sim::trust::{DEFAULT_PUBLISHER, InitOptions, TrustHome, Unlock};
use hypermesh_abi::Error;
use hypermesh_abi::host::CallCtx;
use hypermesh_abi::records::Health;

/// Nanoseconds a call may take, by kind.
const SYNC_NS_MAX: f64 = 3.0;
const BYTES_NS_MAX: f64 = 25.0;
const ASYNC_NS_MAX: f64 = 160.0;
/// Milliseconds from the first byte read to a running extension, at the median.
const LOAD_MS_MAX: f64 = 50.0;
/// MiB a host with one idle extension may have resident.
const RESIDENT_MIB_MAX: f64 = 50.0;

const LOADS: usize = 21;
const MEDIA_TYPE: &str = "application/x-witness";
const HEAD: &[u8] = b"WITNESS of sixty-four bytes, as many as the head of an archive..";

/// The same calls inside this program.
trait Plain: Send + Sync {
    fn active_operations(&self) -> u64;
    fn inspect(&self, media_type: &str, head: &[u8]) -> Result<Vec<u8>, Error>;
    fn release(&self, ctx: CallCtx, allocation: u64) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>>;
    fn health(&self, ctx: CallCtx) -> Pin<Box<dyn Future<Output = Result<Health, Error>> + Send + '_>>;
}

struct Here(AtomicU64);

impl Plain for Here {
    fn active_operations(&self) -> u64 {
        self.0.load(SeqCst)
    }

    fn inspect(&self, media_type: &str, head: &[u8]) -> Result<Vec<u8>, Error> {
        let known = media_type == MEDIA_TYPE && head.starts_with(b"WIT");
        Ok(if known { media_type.as_bytes().to_vec() } else { Vec::new() })
    }

    fn release(&self, _: CallCtx, _: u64) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }

    fn health(&self, _: CallCtx) -> Pin<Box<dyn Future<Output = Result<Health, Error>> + Send + '_>> {
        Box::pin(async { Ok(Health::Healthy) })
    }
}

/// A home whose host trusts the publisher of one bundle.
struct Setting {
    home: tempfile::TempDir,
    bundle: PathBuf,
}

fn main() {
    host_sim::child_main();
    host_sim::loader::make_room_for_images();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
    runtime.block_on(loading(&Setting::asked_for()));
    let setting = Setting::witness();
    let host = setting.host(None);
    runtime.block_on(host.load(Source::Bundle(setting.bundle))).expect("the witness loads");
    calls(&host);
}

impl Setting {
    fn asked_for() -> Self {
        let (Some(bundle), Some(trust)) =
            (std::env::var_os("HYPERMESH_BENCH_BUNDLE"), std::env::var_os("HYPERMESH_BENCH_TRUST"))
        else {
            return Self::witness();
        };
        let home = tempfile::tempdir().expect("temporary directory");
        copy_directory(Path::new(&trust), &home.path().join("trust"));
        Self { home, bundle: bundle.into() }
    }

    fn witness() -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        let trust = TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file());
        let signer = trust.and_then(|trust| trust.signer(DEFAULT_PUBLISHER, Unlock::key_file())).expect("certificates");
        let template = home.path().join("template.yaml");
        std::fs::write(&template, "{apiVersion: extension.hypermesh/v1, capabilities: {granted: [AssetManagement]}}")
            .expect("written");
        let program = std::env::current_exe().expect("known");
        let library = program.parent().unwrap_or(Path::new(".")).join("libwitness_extension.so");
        let artifacts = Artifacts { library, workers: Vec::new(), template: Some(template) };
        let bundle = home.path().join("witness");
        bundle::lay_out(&artifacts, &bundle, &signer, &child()).expect("laid out");
        Self { home, bundle }
    }

    fn host(&self, child: Option<ChildCommand>) -> Host {
        let options = HostOptions::new(self.home.path().into()).expect("this program is known");
        Host::open(HostOptions { child, ..options }).expect("opens")
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("HYPERMESH_BENCH_TRUST is a directory").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

fn child() -> ChildCommand {
    ChildCommand::this_program().expect("this program is known")
}

/// Loads and unloads one bundle again and again. Comes first, while the process holds nothing else.
async fn loading(setting: &Setting) {
    let manifest = manifest::read(&setting.bundle.join(manifest::FILE_NAME)).expect("a valid manifest");
    let (id, source) = (manifest.id.as_str(), || Source::Bundle(setting.bundle.clone()));
    let mut fresh = true;
    let mut medians = Vec::new();
    for child in [None, Some(child())] {
        let host = setting.host(child);
        let mut millis = Vec::new();
        for _ in 0..LOADS {
            let started = Instant::now();
            host.load(source()).await.expect("loads");
            millis.push(started.elapsed().as_secs_f64() * 1e3);
            if std::mem::take(&mut fresh) {
                target::at_most("resident with one idle extension", resident_mib(), RESIDENT_MIB_MAX, "MiB");
            }
            host.unload(id).await.expect("unloads");
        }
        millis.sort_by(f64::total_cmp);
        medians.push(millis[LOADS / 2]);
    }
    println!("{id}, medians of {LOADS}");
    target::at_most("load a bundle: verify, map, check, activate", medians[0], LOAD_MS_MAX, "ms");
    target::at_most("load a bundle after a trial in a child", medians[1], LOAD_MS_MAX, "ms");
}

fn calls(host: &Host) {
    let generation = host.generation("witness").expect("runs");
    let extension = generation.extension();
    let handler = &generation.contributions().handlers[0].object;
    let adapter = &generation.contributions().adapters[0].object;
    let here: Arc<dyn Plain> = black_box(Arc::new(Here(AtomicU64::new(0))));
    let ctx = host.call_context(Duration::from_secs(3_600));

    let mut criterion = Criterion::default().configure_from_args();
    let plain = pair(
        &mut criterion,
        "plain call",
        || _ = black_box(extension.active_operations()),
        || _ = black_box(here.active_operations()),
    );
    let guarded = pair(
        &mut criterion,
        "guarded call with bytes",
        || _ = black_box(handler.inspect(black_box(MEDIA_TYPE), black_box(HEAD))),
        || _ = black_box(here.inspect(black_box(MEDIA_TYPE), black_box(HEAD))),
    );
    let ready = pair(
        &mut criterion,
        "ready future",
        || _ = black_box(now(adapter.release(ctx, 1))),
        || _ = black_box(now(here.release(ctx, 1))),
    );
    // The answer is a record, so this one also encodes and decodes CBOR.
    pair(
        &mut criterion,
        "ready future with a record",
        || _ = black_box(now(extension.health(ctx))),
        || _ = black_box(now(here.health(ctx))),
    );
    // None of a call that was not asked for.
    if let Some(plain) = plain {
        target::at_most("plain call (active_operations)", plain, SYNC_NS_MAX, "ns");
    }
    if let Some(guarded) = guarded {
        target::at_most("guarded call with bytes (inspect)", guarded, BYTES_NS_MAX, "ns");
    }
    if let Some(ready) = ready {
        target::at_most("ready future (release)", ready, ASYNC_NS_MAX, "ns");
    }
}

/// Measures a call into the library and the same call through `dyn`, compares them, and gives the nanoseconds of the former.
fn pair(criterion: &mut Criterion, name: &str, mut across: impl FnMut(), mut within: impl FnMut()) -> Option<f64> {
    let plain = measure(criterion, &format!("{name}/dyn"), &mut within);
    let across = measure(criterion, &format!("{name}/library"), &mut across);
    if let (Some(plain), Some(across)) = (plain, across) {
        println!("{name}: {across:.1} ns into the library, {plain:.1} ns through dyn, ratio {:.1}", across / plain);
    }
    across
}

/// Lets criterion measure a call, and gives the nanoseconds of its fastest batch; none if the call was not asked for.
fn measure(criterion: &mut Criterion, name: &str, call: &mut impl FnMut()) -> Option<f64> {
    let mut fastest: Option<f64> = None;
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let started = Instant::now();
            for _ in 0..iterations {
                call();
            }
            let took = started.elapsed();
            let each = took.as_nanos() as f64 / iterations as f64;
            fastest = Some(fastest.map_or(each, |fastest| fastest.min(each)));
            took
        });
    });
    fastest
}

/// Polls a future that is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the call is ready at once"),
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
