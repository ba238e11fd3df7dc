//! What tests of loading share: homes, signed bundles of the fixtures, hosts, and this program as its own child.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use host_sim::bundle::{self, Artifacts};
use host_sim::child::ChildCommand;
use host_sim::consensus::Seating;
use host_sim::host::{Host, HostOptions, RequestOptions, Source};
use host_sim::manifest;
use host_sim::signature::Subject;
use host_sim::trust::{DEFAULT_PUBLISHER, InitOptions, Signer, TrustHome, Unlock};
use hypermesh_abi::Error;
use hypermesh_abi::host::Root;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// The witness as a part of this program: linked, and without the symbol that a library exports.
#[path = "../fixtures/witness/src"]
#[expect(unreachable_pub, reason = "they are public in the library of the fixture")]
pub(crate) mod linked {
    pub(crate) mod contributions;
    pub(crate) mod witness;
    pub(crate) use witness::Witness;
}

/// A home directory with certificates and a publisher.
pub(crate) struct Home {
    directory: TempDir,
    signer: Signer,
}

/// A host with its home.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) home: Home,
}

/// How long a step of a host in these tests may take.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(10);

impl Home {
    pub(crate) fn new() -> Self {
        trace_into_memory();
        let directory = tempfile::tempdir().expect("temporary directory");
        let signer = trust_into(directory.path());
        Self { directory, signer }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Lays out a signed bundle of a library; `rest` are fields of its manifest.
    pub(crate) fn bundle(&self, name: &str, library: &Path, rest: &Json) -> Result<PathBuf, Error> {
        let mut template = json!({"apiVersion": "extension.hypermesh/v1"});
        for (key, value) in rest.as_object().into_iter().flatten() {
            template[key] = value.clone();
        }
        let file = self.path().join(format!("{name}.template.yaml"));
        std::fs::write(&file, template.to_string()).expect("written");
        let artifacts = Artifacts { library: library.into(), workers: Vec::new(), template: Some(file) };
        let directory = self.path().join("bundles").join(name);
        bundle::lay_out(&artifacts, &directory, &self.signer, &child_command()).map(|bundled| bundled.directory)
    }

    /// Signs what a manifest says now, as its publisher would.
    pub(crate) fn sign_again(&self, bundle: &Path) {
        let manifest = manifest::read(&bundle.join(manifest::FILE_NAME)).expect("a valid manifest");
        let contract = hypermesh_abi::host::CONTRACT_VERSION.parse().expect("a version");
        let signature = Subject::of(&manifest, contract).sign(&self.signer).expect("signs");
        std::fs::write(bundle.join("signature.json"), signature).expect("written");
    }

    pub(crate) fn options(&self) -> HostOptions {
        HostOptions {
            home: self.path().into(),
            child: Some(child_command()),
            retired_generations_max: 4,
            step_timeout: STEP_TIMEOUT,
            stop_grace: Duration::from_secs(2),
            consensus: Seating::Nobody,
        }
    }

    pub(crate) fn host(&self) -> Host {
        Host::open(self.options()).expect("opens")
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        Self { host: home.host(), home }
    }

    /// Loads the echo extension, to see whether the host lives.
    pub(crate) async fn with_echo() -> Self {
        let node = Self::new();
        let bundle = node.home.bundle("echo", &library("echo_extension"), &json!({})).expect("laid out");
        node.host.load(Source::Bundle(bundle)).await.expect("loads");
        node
    }

    /// Asks a verb that is expected to be answered.
    pub(crate) async fn ask(&self, extension: &str, verb: &str, params: Json) -> Json {
        self.try_ask(extension, verb, params).await.unwrap_or_else(|error| panic!("`{verb}`: {error}"))
    }

    pub(crate) async fn try_ask(&self, extension: &str, verb: &str, params: Json) -> Result<Json, Error> {
        let answer = self.host.request(extension, verb, &params, RequestOptions::default()).await;
        answer.map(|response| response.data)
    }

    /// Makes sure that the host and another extension live.
    pub(crate) async fn lives(&self) {
        assert_eq!(self.ask("echo", "say", json!({"text": "alive"})).await["said"], "alive");
    }

    /// Gives the lines of the audit log.
    pub(crate) fn audit(&self) -> String {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.host.audit_directory())
            .expect("there")
            .map(|entry| entry.expect("readable").path())
            .collect();
        files.sort();
        files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect()
    }
}

/// Gives a home the certificates of this test process, which are made once since that takes half a second, and its publisher.
pub(crate) fn trust_into(home: &Path) -> Signer {
    static CERTIFICATES: OnceLock<TempDir> = OnceLock::new();
    let made = CERTIFICATES.get_or_init(|| {
        let home = tempfile::tempdir().expect("temporary directory");
        TrustHome::init(home.path(), &InitOptions::default(), &Unlock::key_file()).expect("makes certificates");
        home
    });
    copy_directory(&made.path().join("trust"), &home.join("trust"));
    publisher(home)
}

/// Gives the publisher of a home.
pub(crate) fn publisher(home: &Path) -> Signer {
    TrustHome::open(home).expect("opens").signer(DEFAULT_PUBLISHER, Unlock::key_file()).expect("there is one")
}

/// Copies files and directories with their permissions.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("is there").map(|entry| entry.expect("readable")) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// Gives the witness with a manifest, as a program that links it would.
pub(crate) fn linked_witness(rest: &Json) -> Source {
    let mut document = json!({"apiVersion": "extension.hypermesh/v1", "id": "witness", "version": "1.0.0",
        "trust": "basic", "library": {"path": "linked", "digest": format!("blake3:{}", "0".repeat(64))}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        document[key] = value.clone();
    }
    let manifest = Box::new(manifest::parse(&document.to_string(), "linked").expect("a valid manifest"));
    let root = Root::linked(hypermesh_abi::sdk::root_module::<linked::Witness>());
    Source::Linked { root, manifest, workers: BTreeMap::new() }
}

/// Finds a library that was built with this program.
pub(crate) fn library(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("known");
    let path = program.parent().expect("in a directory").join(format!("lib{name}.so"));
    assert!(path.exists(), "`{}` is built as a dependency of this test", path.display());
    path
}

/// Starts this program again, so that it only runs [`child_process`].
pub(crate) fn child_command() -> ChildCommand {
    let arguments = ["--exact", "support::child_process", "--nocapture", "--test-threads=1"];
    ChildCommand {
        program: std::env::current_exe().expect("known"),
        arguments: arguments.map(Into::into).into(),
        timeout: Duration::from_secs(30),
    }
}

/// Does the task of a child and ends the process; an ordinary run has no task and passes at once.
#[test]
fn child_process() {
    host_sim::child_main();
}

/// Runs a test on a runtime of its own.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
    runtime.block_on(future)
}

/// Gives what was traced so far and contains a text.
pub(crate) fn traced(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&lines).lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Memory;

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Libraries trace from threads of their own, so the subscriber must be that of the whole process.
fn trace_into_memory() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let lines = tracing_subscriber::fmt().with_writer(|| Memory).without_time().with_ansi(false);
        lines.with_max_level(tracing::Level::INFO).init();
    });
}
