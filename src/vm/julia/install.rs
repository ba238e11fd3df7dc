//! Brings a Julia into the node's home: unfolded aside, started once, then renamed to its place.
//!
//! Two sources: the release of Julia's makers, whose digest is known here, and the packages of Debian's archive, unfolded
//! without being installed. Nothing outside the home changes, and no script of a package is run. What is given as a file or
//! directory needs no network: a release is held against the same digests, a directory of packages against its `SHA256SUMS`.
//!
//! Invariant: what stands at `runtimes/julia-VERSION` has been verified and has started.

mod debian;

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use ureq::Agent;
use ureq::tls::RootCerts;

use super::{Julia, JuliaError, Origin, TRIPLET};

/// The directory of a node's home that holds runtimes and images.
pub const RUNTIMES: &str = "runtimes";
/// The most bytes that a release may have.
const RELEASE_BYTES_MAX: u64 = 1 << 30;
/// How long a connection may take, and all of a download.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(1800);
/// After how many bytes progress is told.
const STEP_BYTES: u64 = 16 << 20;

/// Where a Julia is to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The release of its makers, over the network.
    Release,
    /// The packages of Debian's archive, over the network, by the machine's `apt-get`.
    Debian,
    /// A release as a file, or packages of Debian in a directory with their `SHA256SUMS`.
    Path(PathBuf),
}

/// A release that is known here.
struct Release {
    version: &'static str,
    architecture: &'static str,
    url: &'static str,
    sha256: &'static str,
}

/// The long-term release of 2024 and its last correction; digests as its makers list them beside the files.
const RELEASES: [Release; 2] = [
    Release {
        version: "1.10.10",
        architecture: "x86_64",
        url: "https://julialang-s3.julialang.org/bin/linux/x64/1.10/julia-1.10.10-linux-x86_64.tar.gz",
        sha256: "6a78a03a71c7ab792e8673dc5cedb918e037f081ceb58b50971dfb7c64c5bf81",
    },
    Release {
        version: "1.10.10",
        architecture: "aarch64",
        url: "https://julialang-s3.julialang.org/bin/linux/aarch64/1.10/julia-1.10.10-linux-aarch64.tar.gz",
        sha256: "a4b157ed68da10471ea86acc05a0ab61c1a6931ee592a9b236be227d72da50ff",
    },
];

/// Why a Julia was not installed; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file.
    #[error("`{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No release is known for this processor.
    #[error("no release of Julia is known here for {0}")]
    NoRelease(&'static str),
    /// The download.
    #[error("download of `{url}`: {reason}")]
    Download {
        /// From where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The bytes are others than expected.
    #[error("`{what}` has the SHA-256 digest {found}, not {expected}")]
    Digest {
        /// A file or address.
        what: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A file that is neither a known release nor a directory of packages.
    #[error("`{}` is no release of Julia that is known here (SHA-256 {digest}), and no directory with packages and their SHA256SUMS", path.display())]
    Unknown {
        /// Which.
        path: PathBuf,
        /// Its digest, if it is a file.
        digest: String,
    },
    /// A tool that is not here or failed.
    #[error("`{tool}`: {said}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it said.
        said: String,
    },
    /// What was unfolded is no Julia that starts.
    #[error("what was unfolded is no Julia that can be used")]
    Unusable(#[source] JuliaError),
    /// It is there already.
    #[error("Julia {version} is installed already")]
    Present {
        /// Which.
        version: semver::Version,
    },
}

impl InstallError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Installs a Julia into a node's home. Blocks for as long as the download takes; `progress` is told each step.
///
/// # Errors
/// The source cannot be had or is not what it should be, a tool is missing, the disk is full.
pub fn install(home: &Path, source: &Source, progress: &dyn Fn(&str)) -> Result<Julia, InstallError> {
    let runtimes = std::path::absolute(home).map_err(InstallError::at(home))?.join(RUNTIMES);
    fs::create_dir_all(&runtimes).map_err(InstallError::at(&runtimes))?;
    let aside =
        tempfile::Builder::new().prefix(".installing-").tempdir_in(&runtimes).map_err(InstallError::at(&runtimes))?;
    let root = aside.path().join("root");
    fs::create_dir(&root).map_err(InstallError::at(&root))?;
    match source {
        Source::Release => {
            let release = known_release()?;
            let file = aside.path().join("release.tar.gz");
            download(release, &file, progress)?;
            progress("unfolding the release");
            unfold_release(&file, &root)?;
        }
        Source::Debian => {
            let packages = aside.path().join("packages");
            debian::download(&packages, aside.path(), progress)?;
            debian::unfold(&packages, &root, progress)?;
        }
        Source::Path(path) if path.join(debian::SUMS).is_file() => {
            progress("holding the packages against SHA256SUMS");
            debian::verify(path)?;
            debian::unfold(path, &root, progress)?;
        }
        Source::Path(path) => {
            progress("holding the release against the digests known here");
            known_file(path)?;
            unfold_release(path, &root)?;
        }
    }
    progress("starting it once");
    let julia = Julia::at(&root, Origin::Home).map_err(InstallError::Unusable)?;
    let target = runtimes.join(format!("julia-{}", julia.version));
    if target.exists() {
        return Err(InstallError::Present { version: julia.version });
    }
    fs::rename(&root, &target).map_err(InstallError::at(&target))?;
    Julia::at(&target, Origin::Home).map_err(InstallError::Unusable)
}

/// Removes a Julia that was installed into the home, with its images, and gives how many bytes they took.
///
/// # Errors
/// A file cannot be removed. What is half removed does not count as a Julia any more.
pub fn remove(julia: &Julia, home: &Path) -> io::Result<u64> {
    let gone = julia.root.with_file_name(format!(".removed-{}", julia.version));
    fs::rename(&julia.root, &gone)?;
    let files = walkdir::WalkDir::new(&gone).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let bytes = files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum::<u64>();
    fs::remove_dir_all(&gone)?;
    Ok(bytes + super::image::remove(&julia.version, home)?)
}

fn known_release() -> Result<&'static Release, InstallError> {
    let architecture = std::env::consts::ARCH;
    RELEASES.iter().find(|release| release.architecture == architecture).ok_or(InstallError::NoRelease(architecture))
}

/// Holds a file against the digests of known releases.
fn known_file(path: &Path) -> Result<(), InstallError> {
    if !path.is_file() {
        return Err(InstallError::Unknown { path: path.to_owned(), digest: "of no file".into() });
    }
    let digest = sha256_of(path)?;
    if RELEASES.iter().any(|release| release.sha256 == digest) {
        return Ok(());
    }
    Err(InstallError::Unknown { path: path.to_owned(), digest })
}

fn sha256_of(path: &Path) -> Result<String, InstallError> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(InstallError::at(path))?;
    let mut chunk = vec![0; 256 << 10];
    loop {
        match file.read(&mut chunk).map_err(InstallError::at(path))? {
            0 => return Ok(HEXLOWER.encode(&hasher.finalize())),
            read => hasher.update(&chunk[..read]),
        }
    }
}

fn download(release: &Release, file: &Path, progress: &dyn Fn(&str)) -> Result<(), InstallError> {
    let failed = |reason: String| InstallError::Download { url: release.url.into(), reason };
    let agent: Agent = Agent::config_builder()
        .tls_config(crate::remote::tls(RootCerts::WebPki))
        .timeout_connect(Some(CONNECT_WITHIN))
        .timeout_global(Some(DOWNLOAD_WITHIN))
        .https_only(true)
        .build()
        .into();
    progress(&format!("downloading Julia {}", release.version));
    let mut response = agent.get(release.url).call().map_err(|error| failed(error.to_string()))?;
    let mut body = response.body_mut().with_config().limit(RELEASE_BYTES_MAX).reader();
    let mut target = File::create(file).map_err(InstallError::at(file))?;
    let (mut hasher, mut bytes, mut told) = (Sha256::new(), 0, 0);
    let mut chunk = vec![0; 256 << 10];
    loop {
        let read = body.read(&mut chunk).map_err(|error| failed(error.to_string()))?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        target.write_all(&chunk[..read]).map_err(InstallError::at(file))?;
        bytes += read as u64;
        if bytes / STEP_BYTES > told {
            told = bytes / STEP_BYTES;
            progress(&format!("{} MiB of Julia {}", bytes >> 20, release.version));
        }
    }
    let (found, expected) = (HEXLOWER.encode(&hasher.finalize()), release.sha256.to_owned());
    if found == expected { Ok(()) } else { Err(InstallError::Digest { what: release.url.into(), found, expected }) }
}

/// Unfolds an archive whose digest was checked, without the directory that everything in it is in.
fn unfold_release(file: &Path, root: &Path) -> Result<(), InstallError> {
    let archive = File::open(file).map_err(InstallError::at(file))?;
    let parent = root.parent().unwrap_or(root).join("unfolded");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    archive.unpack(&parent).map_err(InstallError::at(&parent))?;
    let only = fs::read_dir(&parent).map_err(InstallError::at(&parent))?.flatten().next();
    let only = only.ok_or_else(|| InstallError::Unknown { path: file.to_owned(), digest: "of nothing".into() })?.path();
    fs::remove_dir(root).map_err(InstallError::at(root))?;
    fs::rename(&only, root).map_err(InstallError::at(root))
}

/// Runs a tool of the machine, with nothing from standard input.
fn tool(name: &'static str, command: &mut Command) -> Result<(), InstallError> {
    let failed = |said: String| InstallError::Tool { tool: name, said };
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("is not on this machine".into()),
        _ => failed(error.to_string()),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let tail = &said[said.ceil_char_boundary(said.len().saturating_sub(1000))..];
    Err(failed(format!("ended with {}: {}", output.status, tail.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_bytes_are_unfolded() {
        let home = tempfile::tempdir().expect("temporary directory");
        let file = home.path().join("julia-1.10.10-linux-x86_64.tar.gz");
        fs::write(&file, b"not it").expect("written");
        let refused = install(home.path(), &Source::Path(file), &|_| {}).expect_err("is refused");
        assert!(matches!(&refused, InstallError::Unknown { digest, .. } if digest.len() == 64), "{refused}");
        let missing = install(home.path(), &Source::Path("/nowhere".into()), &|_| {}).expect_err("is refused");
        assert!(matches!(missing, InstallError::Unknown { .. }));
        let left = fs::read_dir(home.path().join(RUNTIMES)).expect("listed").count();
        assert_eq!(left, 0, "nothing is left");
    }

    #[test]
    fn a_changed_package_is_found_by_its_sum() {
        let packages = tempfile::tempdir().expect("temporary directory");
        let sum = HEXLOWER.encode(&Sha256::digest(b"package"));
        fs::write(packages.path().join("a.deb"), b"package").expect("written");
        fs::write(packages.path().join(debian::SUMS), format!("{sum}  a.deb\n")).expect("written");
        debian::verify(packages.path()).expect("is as listed");
        fs::write(packages.path().join("a.deb"), b"packagE").expect("written");
        assert!(matches!(debian::verify(packages.path()), Err(InstallError::Digest { .. })));
        for wrong in ["nonsense", &format!("{sum}  ../a.deb"), &format!("{sum}  b.deb"), ""] {
            fs::write(packages.path().join(debian::SUMS), wrong).expect("written");
            assert!(debian::verify(packages.path()).is_err(), "{wrong}");
        }
    }
}
