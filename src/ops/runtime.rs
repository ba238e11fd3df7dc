//! `runtime`: which Julia this node has, bringing one into its home, and taking it away.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Catalog, OpError};
use crate::config::Config;
use crate::host::{Host, Progress};
use crate::vm::julia::executor::Places;
use crate::vm::julia::install::{self, InstallError, Source};
use crate::vm::julia::{Julia, Origin, image};

/// A Julia on this node.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The Julia.
    pub julia: Julia,
    /// The image with the worker compiled in, if it was made.
    pub image: Option<PathBuf>,
    /// Whether programs run with this one.
    pub is_chosen: bool,
}

/// What an installation did.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The Julia.
    pub runtime: Runtime,
    /// Whether it was there before.
    pub was_there: bool,
    /// Why there is no image, if one was wanted.
    pub no_image: Option<String>,
}

/// Whether a worker is compiled into an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithImage {
    /// It is, if there is a linker.
    Yes,
    /// It is not, and starts slowly.
    No,
}

/// The stage by which the host is told of an installation.
const STAGE: &str = "runtime";

/// Gives where a node looks for a Julia.
pub(super) fn places(home: &Path, config: &Config) -> Places {
    Places { configured: config.julia.as_ref().map(PathBuf::from), home: home.to_owned() }
}

impl Catalog {
    /// Gives every Julia that programs could run with; the first is the one they do. Starts each for its version.
    pub fn runtimes(&self) -> Vec<Runtime> {
        let Places { configured, home } = places(&self.home, &self.config);
        let found = Julia::find_all(configured.as_deref(), &home);
        let runtime =
            |(at, julia): (usize, Julia)| Runtime { image: image::find(&julia, &home), is_chosen: at == 0, julia };
        found.into_iter().enumerate().map(runtime).collect()
    }

    /// Installs a Julia into the node's home, and makes its image.
    ///
    /// # Errors
    /// [`InstallError`], by [`OpError::Runtime`]. That an image cannot be made is no error: workers then start slowly.
    pub fn runtime_install(&self, source: &Source, with: WithImage, host: &dyn Host) -> Result<Installed, OpError> {
        let _writing = self.writing();
        let step = AtomicUsize::new(0);
        let progress = |subject: &str| {
            let done = step.fetch_add(1, Ordering::Relaxed) + 1;
            host.progress(Progress { stage: STAGE, subject: subject.to_owned(), done, total: done });
        };
        let (julia, was_there) = match install::install(&self.home, source, &progress) {
            Ok(julia) => (julia, false),
            Err(InstallError::Present { version }) => (self.own(&version.to_string())?, true),
            Err(error) => return Err(error.into()),
        };
        let made = match with {
            WithImage::Yes => image::build(&julia, &self.home, &progress).map(Some),
            WithImage::No => Ok(image::find(&julia, &self.home)),
        };
        let (image, no_image) = match made {
            Ok(image) => (image, None),
            Err(error) => (None, Some(told(&error))),
        };
        self.look_again();
        let is_chosen = self.runtimes().first().is_some_and(|first| first.julia.program == julia.program);
        Ok(Installed { runtime: Runtime { julia, image, is_chosen }, was_there, no_image })
    }

    /// Removes a Julia that this node has installed, and gives it with how many bytes it took.
    ///
    /// # Errors
    /// There is none of that version; a file cannot be removed.
    pub fn runtime_remove(&self, version: &str) -> Result<(Julia, u64), OpError> {
        let _writing = self.writing();
        let julia = self.own(version)?;
        let failed = |source| OpError::File { path: julia.root.clone(), source };
        let bytes = install::remove(&julia, &self.home).map_err(failed)?;
        self.look_again();
        Ok((julia, bytes))
    }

    fn own(&self, version: &str) -> Result<Julia, OpError> {
        let own = Julia::find_all(None, &self.home).into_iter().filter(|julia| julia.origin == Origin::Home);
        let mut wanted = own.filter(|julia| julia.version.to_string() == version);
        wanted.next().ok_or_else(|| OpError::NoSuchRuntime { version: version.to_owned() })
    }

    fn look_again(&self) {
        if let Some(julia) = self.julia() {
            julia.look_again();
        }
    }
}

/// Gives an error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
