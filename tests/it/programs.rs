//! What tests of the main job share: the `host-sim` program, a bundle of Catalog, homes that trust it, and packages.
//!
//! Both are made once per test process from what cargo has built for this test, so neither can be stale.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use host_sim::bundle::{self, Artifacts};
use host_sim::child::ChildCommand;
use host_sim::host::Source;
use host_sim::manifest;
use hypermesh_abi::host::Root;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::support::{library, trust_into};

/// The worker that cargo has built for this test.
const WORKER: &str = env!("CARGO_BIN_EXE_catalog-worker");

/// Gives the `host-sim` program of this workspace, as new as its sources.
pub(crate) fn host_sim() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("host-sim"))
}

/// Gives the S3 server of this workspace, as new as its sources.
pub(crate) fn bucket_server() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("bucket-server"))
}

/// Gives the target directory that this program was built in.
pub(crate) fn target() -> PathBuf {
    let test = std::env::current_exe().expect("known");
    test.ancestors().nth(3).expect("TARGET/PROFILE/deps/it").to_path_buf()
}

/// Builds the program of a package of this workspace that is called as the package is. Out of the whole workspace and beside an
/// example, which wants what tests want, so that features are those of what is built already and nothing is built twice.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("known");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/it");
    let profile_name = profile.file_name().expect("has a name").to_string_lossy();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace", "--example", "reconcile", "--bin", name, "--profile"])
        .arg(if profile_name == "debug" { "dev" } else { &*profile_name })
        .env("CARGO_TARGET_DIR", profile.parent().expect("inside the target directory"))
        .current_dir(workspace())
        .status()
        .expect("cargo starts");
    assert!(built.success(), "{name} does not build");
    profile.join(name)
}

/// Gives a signed bundle of Catalog.
pub(crate) fn bundle() -> &'static Path {
    static BUNDLE: OnceLock<PathBuf> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("catalog");
        let artifacts = Artifacts {
            library: stripped(&library("catalog")),
            workers: vec![stripped(Path::new(WORKER))],
            template: Some(workspace().join("manifests/catalog.yaml")),
        };
        let home = tempfile::tempdir().expect("temporary directory");
        let signer = trust_into(home.path());
        let mut child = ChildCommand::this_program().expect("known");
        child.program = host_sim().to_path_buf();
        let bundled = bundle::lay_out(&artifacts, &place, &signer, &child).unwrap_or_else(|error| panic!("{error}"));
        bundled.directory
    })
}

/// Gives a program or library without symbols, as releases are: less than half as large, and whoever loads it reads, hashes and
/// copies all of it.
fn stripped(file: &Path) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stripped");
    std::fs::create_dir_all(&place).expect("made");
    let to = place.join(file.file_name().expect("is a file"));
    // Homes of an earlier run may still have it.
    let _ = std::fs::remove_file(&to);
    let status = Command::new("strip").arg("-o").arg(&to).arg(file).status();
    assert!(status.expect("the linker's tools are here").success(), "{} has symbols", file.display());
    to
}

/// Makes a home that trusts the publisher of the bundle, and has no extension.
pub(crate) fn bare_home() -> TempDir {
    let home = tempfile::tempdir().expect("temporary directory");
    trust_into(home.path());
    home
}

/// Makes a home with Catalog in it.
pub(crate) fn home() -> TempDir {
    let home = bare_home();
    install(&home.path().join("extensions/catalog"), "vm: true");
    home
}

/// Lays out the bundle in a directory with another configuration, which no signature covers: it is the administrator's.
pub(crate) fn install(directory: &Path, configuration: &str) {
    std::fs::create_dir_all(directory).expect("made");
    for entry in std::fs::read_dir(bundle()).expect("is there") {
        let path = entry.expect("readable").path();
        let to = directory.join(path.file_name().expect("has a name"));
        if std::fs::hard_link(&path, &to).is_err() {
            std::fs::copy(&path, &to).expect("copied");
        }
    }
    let file = directory.join(manifest::FILE_NAME);
    let text = std::fs::read_to_string(&file).expect("text").replace("vm: true", configuration);
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(file, text).expect("written");
}

/// Gives Catalog as a part of this program.
pub(crate) fn linked(configuration: &Json) -> Source {
    linked_by(&manifest(), configuration)
}

/// Gives the manifest of the bundle.
pub(crate) fn manifest() -> PathBuf {
    bundle().join(manifest::FILE_NAME)
}

/// Gives Catalog as a part of this program, by a manifest that was made before; a process that lives for moments makes none.
pub(crate) fn linked_by(file: &Path, configuration: &Json) -> Source {
    let mut manifest = manifest::read(file).expect("a valid manifest");
    manifest.configuration = configuration.as_object().cloned().expect("a map");
    let workers = BTreeMap::from([("catalog-worker".to_owned(), PathBuf::from(WORKER))]);
    Source::Linked { root: Root::linked(catalog::extension::extension_root()), manifest: Box::new(manifest), workers }
}

/// Gives the directories of the example packages.
pub(crate) fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace().join("manifests/packages")).expect("is there");
    let mut directories: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    directories.sort();
    directories
}

/// Writes a package of one file; `rest` are further lines of its `spec`, indented by two.
pub(crate) fn package(parent: &Path, name: &str, kind: &str, rest: &str, main: &str) -> PathBuf {
    let directory = parent.join(name);
    std::fs::create_dir_all(&directory).expect("made");
    let file = if kind == "julia-program" { "main.jl" } else { "main.lua" };
    let manifest = format!(
        "apiVersion: catalog.v1\nkind: AssetPackage\nmetadata: {{name: {name}, version: 1.0.0, license: MIT}}\nspec:\n  \
         type: {kind}\n  content: {{main: {file}}}\n{rest}"
    );
    std::fs::write(directory.join("package.yaml"), manifest).expect("written");
    std::fs::write(directory.join(file), main).expect("written");
    directory
}

/// Gives the root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
