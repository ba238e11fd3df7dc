//! The bundle that benchmarks of nodes load, laid out from what cargo has built for them, and packages for its nodes.

use std::path::{Path, PathBuf};

use host_sim::bundle::{self, Artifacts};
use host_sim::child::ChildCommand;
use host_sim::trust::{DEFAULT_PUBLISHER, InitOptions, TrustHome, Unlock};

/// The worker that cargo has built for this benchmark.
const WORKER: &str = env!("CARGO_BIN_EXE_catalog-worker");

/// Gives the `host-sim` beside this benchmark.
pub(crate) fn host_sim() -> PathBuf {
    let program = Path::new(WORKER).with_file_name("host-sim");
    assert!(program.is_file(), "there is no {}: cargo build --release --workspace --bins", program.display());
    program
}

/// Lays the bundle out in a home that has no certificates yet, signed by the publisher that this makes there.
pub(crate) fn lay_out(home: &Path) -> PathBuf {
    let artifacts = Artifacts {
        library: Path::new(WORKER).with_file_name("deps").join("libcatalog.so"),
        workers: vec![PathBuf::from(WORKER)],
        template: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/catalog.yaml")),
    };
    let trust = TrustHome::init(home, &InitOptions::default(), &Unlock::key_file()).expect("makes certificates");
    let signer = trust.signer(DEFAULT_PUBLISHER, Unlock::key_file()).expect("there is one");
    let child = ChildCommand { program: host_sim(), ..ChildCommand::this_program().expect("known") };
    bundle::lay_out(&artifacts, &home.join("bundle"), &signer, &child).expect("is laid out").directory
}

/// Writes a package in Lua, with more of its `spec` in lines that are indented by two; gives its directory.
pub(crate) fn package(parent: &Path, name: &str, rest: &str, main: &str) -> PathBuf {
    let directory = parent.join(name);
    std::fs::create_dir_all(&directory).expect("is made");
    let manifest = format!(
        "apiVersion: catalog.v1\nkind: AssetPackage\nmetadata: {{name: {name}, version: 1.0.0, license: MIT}}\nspec:\n  \
         type: lua-script\n  content: {{main: main.lua}}\n{rest}"
    );
    std::fs::write(directory.join("package.yaml"), manifest).expect("is written");
    std::fs::write(directory.join("main.lua"), main).expect("is written");
    directory
}
