//! Julia: which one this machine has, and how a worker is started from it.
//!
//! Programs run in a worker that executes a real Julia, 1.5 or newer, with a program of ours (`julia/*.jl`); libjulia is
//! never loaded here. A **system image** with that program compiled in ([`image`]) makes a worker start in a fraction of a
//! second; without one it works all the same and starts slowly.
//!
//! Invariant: nothing is executed here but the `julia` that was found, and of a package only its text is read.

pub mod executor;
pub mod image;
pub mod install;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::digest::Digest;
use crate::vm::protocol::Image;

pub use executor::JuliaExecutor;

/// The oldest version whose Base has what the worker program uses.
pub const VERSION_MIN: semver::Version = semver::Version::new(1, 5, 0);

/// The worker program, one module.
pub(crate) static WORKER: LazyLock<String> = LazyLock::new(|| {
    let parts = [
        include_str!("julia/wire.jl"),
        include_str!("julia/program.jl"),
        include_str!("julia/worker.jl"),
        include_str!("julia/storage.jl"),
    ];
    format!("module CatalogWorker\n{}\nend\n", parts.concat())
});

/// A Julia on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Julia {
    /// Where it was found.
    pub origin: Origin,
    /// The directory it is in; `/usr` for one of the system.
    pub root: PathBuf,
    /// The executable itself, no script around it.
    pub program: PathBuf,
    /// Its version.
    pub version: semver::Version,
    /// Directories of libraries that it would not find by itself.
    libraries: Vec<PathBuf>,
}

/// Where a Julia comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration names it.
    Configured,
    /// `catalog runtime install julia` put it into the node's home.
    Home,
    /// The search path has it.
    Path,
    /// Juliaup installed it.
    Juliaup,
}

/// A directory without a Julia that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JuliaError {
    /// There is no executable.
    #[error("`{}` has neither `bin/julia` nor `usr/bin/julia` as a program", path.display())]
    NoProgram {
        /// The directory.
        path: PathBuf,
    },
    /// It does not start, or does not say its version.
    #[error("`{}` does not tell its version: {reason}", program.display())]
    Broken {
        /// The executable.
        program: PathBuf,
        /// What it did instead.
        reason: String,
    },
    /// It is too old.
    #[error("`{}` is Julia {version}, older than {VERSION_MIN}", program.display())]
    TooOld {
        /// The executable.
        program: PathBuf,
        /// Its version.
        version: semver::Version,
    },
}

impl Julia {
    /// Looks at a directory with a Julia: as its makers ship it (`bin/julia`), or as Debian's packages unfold
    /// (`usr/bin/julia`). Starts it to ask for its version.
    ///
    /// # Errors
    /// There is none, it does not start, or it is too old.
    pub fn at(root: &Path, origin: Origin) -> Result<Self, JuliaError> {
        let root = fs::canonicalize(root).map_err(|_| JuliaError::NoProgram { path: root.to_owned() })?;
        let unfolded = root.join("usr/bin/julia");
        let (program, libraries) = if unfolded.is_file() {
            let directory = root.join("usr/lib").join(TRIPLET);
            (unfolded, vec![directory.clone(), directory.join("julia")])
        } else {
            (root.join("bin/julia"), Vec::new())
        };
        if !is_program(&program) {
            return Err(JuliaError::NoProgram { path: root });
        }
        let mut julia = Self { origin, root, program, version: VERSION_MIN, libraries };
        julia.version = julia.ask_version()?;
        if julia.version < VERSION_MIN {
            return Err(JuliaError::TooOld { program: julia.program, version: julia.version });
        }
        Ok(julia)
    }

    /// Finds every Julia that can be used, the preferred one first: the configured one, those in the node's home, that of
    /// the search path, Juliaup's; the newest first among those of one place.
    pub fn find_all(configured: Option<&Path>, home: &Path) -> Vec<Self> {
        let mut places = Vec::new();
        places.extend(configured.map(|root| (root.to_owned(), Origin::Configured)));
        places
            .extend(directories(&home.join(install::RUNTIMES), "julia-").into_iter().map(|root| (root, Origin::Home)));
        places.extend(on_search_path().map(|root| (root, Origin::Path)));
        places.extend(juliaup().into_iter().map(|root| (root, Origin::Juliaup)));
        let mut found: Vec<Self> = places.iter().filter_map(|(root, origin)| Self::at(root, *origin).ok()).collect();
        found.sort_by_key(|julia| (julia.origin as u8, std::cmp::Reverse(julia.version.clone())));
        found.dedup_by(|later, earlier| later.program == earlier.program);
        found
    }

    /// Gives what names this Julia with our worker program: what is compiled for one is of no use to another.
    pub fn digest(&self) -> Digest {
        let library = self.library().and_then(|path| fs::metadata(path).ok());
        let size = library.map_or(0, |library| library.len());
        let named = format!("{}\n{}\n{size}\n{}", self.version, self.program.display(), *WORKER);
        Digest::of(named.as_bytes())
    }

    /// Gives the engine of a worker: this Julia, serving; compiled in if there is an image.
    pub fn engine(&self, image: Option<&Path>) -> Image {
        let mut args: Vec<String> = Vec::new();
        if let Some(image) = image {
            args.extend(["-J".into(), image.display().to_string()]);
        }
        let code =
            if image.is_some() { "CatalogWorker.main()".into() } else { format!("{}\nCatalogWorker.main()", *WORKER) };
        args.extend(ARGS.map(str::to_owned));
        args.extend(["-e".into(), code]);
        let mut read_only = SYSTEM_LIBRARIES.map(PathBuf::from).to_vec();
        read_only.extend(self.directories());
        read_only.extend(image.map(Path::to_owned));
        read_only.retain(|path| path.exists());
        Image { program: self.program.clone(), args, environment: self.environment(), read_only }
    }

    /// Gives a command that runs this Julia with nothing of the caller's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.environment()).stdin(Stdio::null());
        command
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let depot = self.share();
        let mut environment = BTreeMap::from(
            [
                ("HOME", "/tmp"),
                ("LANG", "C.UTF-8"),
                ("JULIA_LOAD_PATH", "@stdlib"),
                ("JULIA_NUM_THREADS", "1"),
                ("OPENBLAS_NUM_THREADS", "1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        // The depot that comes with it has its standard libraries compiled; there is no other one.
        environment.insert("JULIA_DEPOT_PATH".into(), depot.display().to_string());
        if !self.libraries.is_empty() {
            let list: Vec<String> = self.libraries.iter().map(|path| path.display().to_string()).collect();
            environment.insert("LD_LIBRARY_PATH".into(), list.join(":"));
        }
        environment
    }

    fn share(&self) -> PathBuf {
        self.program.ancestors().nth(2).unwrap_or(&self.root).join("share/julia")
    }

    /// Gives what it reads of its own.
    fn directories(&self) -> Vec<PathBuf> {
        if self.root == Path::new("/usr") {
            return vec![self.program.clone(), self.share(), "/etc/julia".into()];
        }
        vec![self.root.clone()]
    }

    /// Gives the image that it starts from by itself.
    pub(crate) fn own_image(&self) -> Option<PathBuf> {
        let root = self.program.ancestors().nth(2)?;
        let places = [root.join("lib/julia"), root.join("lib").join(TRIPLET).join("julia")];
        places.into_iter().map(|place| place.join("sys.so")).find(|path| path.exists())
    }

    fn library(&self) -> Option<PathBuf> {
        let root = self.program.ancestors().nth(2)?;
        let places = [root.join("lib"), root.join("lib").join(TRIPLET)];
        places.into_iter().map(|place| place.join("libjulia.so.1")).find(|path| path.exists())
    }

    fn ask_version(&self) -> Result<semver::Version, JuliaError> {
        let broken = |reason: String| JuliaError::Broken { program: self.program.clone(), reason };
        let output = self.command().arg("--version").output().map_err(|error| broken(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let word = text.trim().strip_prefix("julia version ").unwrap_or_default();
        semver::Version::parse(word).map_err(|_| {
            let said = [text.trim(), String::from_utf8_lossy(&output.stderr).trim()].concat();
            broken(format!("it said `{said}` and ended with {}", output.status))
        })
    }
}

/// No file of the user's is read and no colour is written; signals stay Julia's, which catches a stack overflow by one.
const ARGS: [&str; 3] = ["--startup-file=no", "--history-file=no", "--color=no"];

/// What a dynamic program needs of the system.
const SYSTEM_LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];

#[cfg(target_arch = "x86_64")]
const TRIPLET: &str = "x86_64-linux-gnu";
#[cfg(not(target_arch = "x86_64"))]
const TRIPLET: &str = "aarch64-linux-gnu";

/// Tells whether a file is an ELF program; a script cannot be executed in a sandbox without a shell.
fn is_program(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.is_ok() && head == *b"\x7fELF"
}

fn directories(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Gives the directory above `bin` of the `julia` that a shell would start.
fn on_search_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("julia")).find(|program| program.is_file())?;
    let program = fs::canonicalize(found).ok()?;
    // Juliaup's own starter downloads and chooses; what it would start is found in its directory.
    if program.file_name() == Some(OsStr::new("julialauncher")) {
        return None;
    }
    program.parent()?.parent().map(Path::to_owned)
}

fn juliaup() -> Vec<PathBuf> {
    let Some(depot) = std::env::var_os("JULIAUP_DEPOT_PATH")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".julia")))
    else {
        return Vec::new();
    };
    directories(&depot.join("juliaup"), "julia-")
}
