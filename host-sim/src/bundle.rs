//! Bundles: an extension as it is shipped. A directory with the manifest, the library, its auxiliary programs and a
//! signature over all of them.
//!
//! A package that is an extension says so in its `Cargo.toml`:
//! `[package.metadata.hypermesh-extension]` with `manifest` (a template of the manifest without `version` and `library`)
//! and `workers` (names of its binaries that it starts).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{CrateType, Message, Metadata, MetadataCommand, Package};
use hypermesh_abi::records::Description;
use hypermesh_abi::{Code, Error};
use semver::Version;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::child::ChildCommand;
use crate::loader::{LibraryBytes, Trial};
use crate::manifest::{self, Manifest};
use crate::signature::Subject;
use crate::trust::Signer;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// A directory inside the workspace.
    pub workspace: PathBuf,
    /// The package; the only extension of the workspace if not given.
    pub package: Option<String>,
    /// The cargo profile.
    pub profile: String,
}

/// What a build gave.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// The library.
    pub library: PathBuf,
    /// The auxiliary programs.
    pub workers: Vec<PathBuf>,
    /// The template of the manifest, if there is one.
    pub template: Option<PathBuf>,
}

/// A bundle that was laid out.
#[derive(Clone, Debug)]
pub struct Bundled {
    /// Its directory.
    pub directory: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// What the extension says of itself.
    pub description: Description,
    /// Bytes of all its files.
    pub bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct CargoMetadata {
    manifest: Option<PathBuf>,
    workers: Vec<String>,
}

/// The key of `[package.metadata]` that marks an extension.
const METADATA_KEY: &str = "hypermesh-extension";
/// The file of the signature inside a bundle.
const SIGNATURE_FILE: &str = "signature.json";

/// Builds an extension through cargo, which reports on standard error. Blocks.
///
/// # Errors
/// `NOT_FOUND` if there is no workspace or no such extension; `INITIALIZATION_FAILED` if it does not compile.
pub fn build(options: &BuildOptions) -> Result<Artifacts, Error> {
    let metadata = metadata(&options.workspace)?;
    let package = choose(&metadata.packages, options.package.as_deref())?;
    let about: CargoMetadata = match package.metadata.get(METADATA_KEY) {
        Some(about) => serde_json::from_value(about.clone()).map_err(|error| {
            Error::wrap(Code::INVALID_ARGUMENT, &error)
                .help(format!("see `[package.metadata.{METADATA_KEY}]` of `{}`", package.name))
        })?,
        None => CargoMetadata::default(),
    };
    // One call for all of it: a library built by itself as cdylib would be optimised across crates, but shares its output
    // with the library that the binaries link, so that each build would undo the other and nothing were ever fresh.
    let profile = ["--profile", options.profile.as_str()].map(OsString::from);
    let bins = about.workers.iter().flat_map(|worker| ["--bin", worker.as_str()]);
    let words: Vec<&str> = ["build", "--lib"].into_iter().chain(bins).collect();
    let built = artifacts(options, package, &words, &profile)?;
    let library =
        built.iter().find(|path| path.extension().is_some_and(|extension| extension == "so")).cloned().ok_or_else(
            || Error::new(Code::INITIALIZATION_FAILED, format!("`{}` gave no shared library", package.name)),
        )?;
    let mut workers = Vec::new();
    for worker in &about.workers {
        let found = built.iter().find(|path| path.file_name().is_some_and(|name| name == worker.as_str())).cloned();
        workers.push(
            found
                .ok_or_else(|| Error::new(Code::NOT_FOUND, format!("`{}` gave no binary `{worker}`", package.name)))?,
        );
    }
    let root = package.manifest_path.parent().map(|root| root.as_std_path().to_path_buf()).unwrap_or_default();
    Ok(Artifacts { library, workers, template: about.manifest.map(|path| root.join(path)) })
}

/// Copies artifacts into a new bundle and signs them. An existing bundle is replaced only when the new one is whole.
///
/// # Errors
/// What a trial load says; faults of the template with their place; `IO`.
pub fn lay_out(artifacts: &Artifacts, out: &Path, signer: &Signer, child: &ChildCommand) -> Result<Bundled, Error> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|error| io(parent, &error))?;
    let staging = tempfile::Builder::new().prefix(".bundle-").tempdir_in(parent).map_err(|error| io(parent, &error))?;
    let mut bytes = 0;
    let (library, library_digest) = copy(&artifacts.library, staging.path(), &mut bytes)?;
    let image = LibraryBytes::read(&staging.path().join(&library)).and_then(|read| read.image());
    let image = image.map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
    let probed =
        image.probe(child, Trial::default()).map_err(|error| Error::wrap(Code::INITIALIZATION_FAILED, &error))?;
    let description = probed.description.map_err(|reason| Error::new(Code::INITIALIZATION_FAILED, reason))?;
    let mut workers = Vec::new();
    for worker in &artifacts.workers {
        let (path, digest) = copy(worker, staging.path(), &mut bytes)?;
        workers.push(json!({"path": path, "digest": digest}));
    }
    let mut document = template(artifacts.template.as_deref(), &probed.id)?;
    document["version"] = probed.version.into();
    document["library"] = json!({"path": library, "digest": library_digest, "signature": SIGNATURE_FILE});
    document["workers"] = Json::Array(workers);
    if document["capabilities"].is_null() {
        let required = &description.metadata.required_capabilities;
        document["capabilities"] = json!({"required": required, "granted": required});
    }
    let name = artifacts.template.as_ref().map_or_else(|| "the template".to_owned(), |path| path.display().to_string());
    let manifest = manifest::parse(&document.to_string(), &name)
        .map_err(|faults| Error::wrap(Code::INVALID_ARGUMENT, &faults).help(format!("mend `{name}`")))?;
    let contract =
        Version::parse(hypermesh_abi::host::CONTRACT_VERSION).expect("cargo checks the version of a package");
    let signature = Subject::of(&manifest, contract).sign(signer)?;
    let text = manifest::write(&manifest).into_bytes();
    for (file, content) in [(SIGNATURE_FILE, &signature), (manifest::FILE_NAME, &text)] {
        let path = staging.path().join(file);
        std::fs::write(&path, content).map_err(|error| io(&path, &error))?;
        bytes += content.len() as u64;
    }
    replace(staging, out)?;
    Ok(Bundled { directory: out.into(), manifest, description, bytes })
}

/// Gives the root of the cargo workspace that a directory belongs to.
///
/// # Errors
/// `NOT_FOUND` if it belongs to none.
pub fn workspace_root(directory: &Path) -> Result<PathBuf, Error> {
    Ok(metadata(directory)?.workspace_root.into_std_path_buf())
}

fn metadata(directory: &Path) -> Result<Metadata, Error> {
    MetadataCommand::new().current_dir(directory).no_deps().exec().map_err(|error| {
        let message = format!("`{}` is in no cargo workspace", directory.display());
        let mut wrapped = Error::new(Code::NOT_FOUND, message).help("run this inside the workspace of the extension");
        wrapped.chain.push(error.to_string().lines().next().unwrap_or_default().to_owned());
        wrapped
    })
}

fn choose<'a>(packages: &'a [Package], wanted: Option<&str>) -> Result<&'a Package, Error> {
    let is_library =
        |package: &&Package| package.targets.iter().any(|target| target.crate_types.contains(&CrateType::CDyLib));
    let marked = |package: &&Package| package.metadata.get(METADATA_KEY).is_some();
    let names =
        |packages: &[&Package]| packages.iter().map(|package| package.name.to_string()).collect::<Vec<_>>().join(", ");
    let libraries: Vec<&Package> = packages.iter().filter(is_library).collect();
    if let Some(wanted) = wanted {
        return libraries.iter().copied().find(|package| package.name == wanted).ok_or_else(|| {
            Error::new(Code::NOT_FOUND, format!("the workspace has no extension package `{wanted}`"))
                .help(format!("packages with a cdylib: {}", names(&libraries)))
        });
    }
    match libraries.iter().copied().filter(marked).collect::<Vec<_>>().as_slice() {
        [only] => Ok(only),
        [] if libraries.len() == 1 => Ok(libraries[0]),
        candidates => {
            let found = if candidates.is_empty() { names(&libraries) } else { names(candidates) };
            Err(Error::new(Code::INVALID_ARGUMENT, "the workspace does not have exactly one extension")
                .help(format!("name one with --package: {found}")))
        }
    }
}

fn artifacts(
    options: &BuildOptions,
    package: &Package,
    words: &[&str],
    profile: &[OsString],
) -> Result<Vec<PathBuf>, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (verb, rest) = words.split_first().expect("callers name a verb");
    let mut command = Command::new(cargo);
    command.current_dir(&options.workspace).args([verb, "--package", package.name.as_str()]).args(rest).args(profile);
    command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| Error::wrap(Code::IO, &error).help("is cargo installed?"))?;
    if !output.status.success() {
        let message = format!("`{}` does not build", package.name);
        return Err(Error::new(Code::INITIALIZATION_FAILED, message)
            .fault(hypermesh_abi::Fault::INPUT)
            .help("cargo's messages are above"));
    }
    let mut paths = Vec::new();
    for message in Message::parse_stream(output.stdout.as_slice()).flatten() {
        if let Message::CompilerArtifact(artifact) = message
            && artifact.package_id == package.id
        {
            paths
                .extend(artifact.filenames.into_iter().chain(artifact.executable).map(|path| path.into_std_path_buf()));
        }
    }
    Ok(paths)
}

fn template(path: Option<&Path>, id: &str) -> Result<Json, Error> {
    let Some(path) = path else { return Ok(json!({"apiVersion": "extension.hypermesh/v1", "id": id})) };
    let text = std::fs::read_to_string(path).map_err(|error| io(path, &error))?;
    let mut document: Json = serde_yaml::from_str(&text)
        .map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error).help(format!("mend `{}`", path.display())))?;
    if !document.is_object() {
        return Err(Error::new(Code::INVALID_ARGUMENT, format!("`{}` is no map of fields", path.display())));
    }
    if document["id"].is_null() {
        document["id"] = id.into();
    }
    Ok(document)
}

fn copy(from: &Path, directory: &Path, bytes: &mut u64) -> Result<(String, String), Error> {
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let to = directory.join(&name);
    *bytes += std::fs::copy(from, &to).map_err(|error| io(from, &error))?;
    let read = LibraryBytes::read(&to).map_err(|error| Error::wrap(Code::IO, &error))?;
    Ok((name, read.digest()))
}

fn replace(staging: tempfile::TempDir, out: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let staged = staging.keep();
    let done = std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o755)).and_then(|()| {
        let old = out.with_extension("old");
        match std::fs::rename(out, &old) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::rename(&staged, out)?;
        match std::fs::remove_dir_all(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    });
    done.map_err(|error| io(out, &error))
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    let mut wrapped = Error::new(Code::IO, format!("cannot use `{}`", path.display()));
    wrapped.chain.push(error.to_string());
    wrapped
}
