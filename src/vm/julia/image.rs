//! System images: a Julia's own, with our worker program and what it calls compiled in.
//!
//! Without one a worker compiles itself at every start, 1.3 to 2.5 s; with one it is ready in a fifth of that. An image
//! fits one Julia and one worker program, so its name is their digest. Making it takes minutes and a C compiler as linker.
//!
//! Invariant: an image is under its name only when it is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::install::RUNTIMES;
use super::{Julia, WORKER};

/// Why there is no image. A worker works without one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No linker.
    #[error("there is no C compiler to link with: neither `cc` nor `gcc` nor `clang` is on the search path")]
    NoLinker,
    /// Julia's own image is not where it should be.
    #[error("Julia's own image `sys.so` is not beside its libraries")]
    NoBase,
    /// A file.
    #[error("`{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A step failed.
    #[error("{step} ended with {status}: {said}")]
    Step {
        /// Which.
        step: &'static str,
        /// How.
        status: String,
        /// The end of what it wrote.
        said: String,
    },
}

/// Gives the image for a Julia, if it has been made.
pub fn find(julia: &Julia, home: &Path) -> Option<PathBuf> {
    Some(path(julia, home)).filter(|path| path.is_file())
}

fn path(julia: &Julia, home: &Path) -> PathBuf {
    let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    home.join(RUNTIMES).join("images").join(format!("julia-{}-{}.so", julia.version, &julia.digest().to_hex()[..32]))
}

/// Makes the image for a Julia, unless there is one. Blocks for minutes; `progress` is told each step.
///
/// # Errors
/// There is no linker, the disk is full, or a step fails; nothing is left behind.
pub fn build(julia: &Julia, home: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf, ImageError> {
    let target = path(julia, home);
    if target.is_file() {
        return Ok(target);
    }
    let linker = linker().ok_or(ImageError::NoLinker)?;
    let parent = target.parent().unwrap_or(home);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ImageError::File { path, source }
    };
    fs::create_dir_all(parent).map_err(at(parent))?;
    let work = tempfile::Builder::new().prefix(".making-").tempdir_in(parent).map_err(at(parent))?;
    let file = |name: &str| work.path().join(name);
    let (source, trace, script, object, library) =
        (file("worker.jl"), file("trace.jl"), file("make.jl"), file("worker.o"), file("worker.so"));
    fs::write(&source, WORKER.as_bytes()).map_err(at(&source))?;
    fs::write(&script, include_str!("image.jl")).map_err(at(&script))?;

    progress("finding out what a worker calls");
    let exercise = file("exercise.jl");
    fs::write(&exercise, include_str!("exercise.jl")).map_err(at(&exercise))?;
    let mut command = julia.command();
    command.arg(joined("--trace-compile=", &trace)).args(super::ARGS).arg("-L").arg(&source).arg(&exercise);
    run("the exercise of the worker", &mut command)?;

    progress("compiling the image, which takes minutes");
    let mut command = julia.command();
    // What writes an image starts from none unless one is named.
    command.arg("-J").arg(julia.own_image().ok_or(ImageError::NoBase)?);
    command.arg(joined("--output-o=", &object)).args(super::ARGS).arg(&script).arg(&source).arg(&trace);
    run("compiling", &mut command)?;

    progress("linking the image");
    let mut command = Command::new(linker);
    command
        .arg("-shared")
        .arg("-o")
        .arg(&library)
        .arg("-Wl,--whole-archive")
        .arg(&object)
        .arg("-Wl,--no-whole-archive");
    command.stdin(Stdio::null());
    run("linking", &mut command)?;

    progress("starting the image once");
    let mut command = julia.command();
    command.arg("-J").arg(&library).args(super::ARGS).args(["-e", "CatalogWorker.PROTOCOL == 2 || exit(1)"]);
    run("the first start", &mut command)?;
    File::open(&library).and_then(|file| file.sync_all()).map_err(at(&library))?;
    fs::rename(&library, &target).map_err(at(&target))?;
    Ok(target)
}

/// Removes the images of a version of Julia, and gives how many bytes they took.
pub fn remove(version: &semver::Version, home: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(home.join(RUNTIMES).join("images")).into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("julia-{version}-")) {
            bytes += entry.metadata()?.len();
            fs::remove_file(entry.path())?;
        }
    }
    Ok(bytes)
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut word = OsString::from(option);
    word.push(path);
    word
}

fn linker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["cc", "gcc", "clang"];
    let mut places = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |place| place.join(name)));
    places.find(|program| program.is_file())
}

fn run(step: &'static str, command: &mut Command) -> Result<(), ImageError> {
    let failed = |status: String, said: String| ImageError::Step { step, status, said };
    let Output { status, stderr, .. } =
        command.output().map_err(|error| failed("no start".into(), error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr);
    let tail = &said[said.ceil_char_boundary(said.len().saturating_sub(2000))..];
    Err(failed(status.to_string(), tail.trim().to_owned()))
}
