//! `resolve`: exact packages for what is wanted, without installing anything.

mod moment;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use semver::{Version, VersionReq};

use self::moment::moment;
use super::spec::{self, Target};
use super::validate::Packed;
use super::{Catalog, OpError};
use crate::host::{Host, NodeResources};
use crate::lockfile::merge::{self, Merged};
use crate::lockfile::{LOCKFILE_BYTES_MAX, LockedPackage, Lockfile, Requirement};
use crate::package::Package;
use crate::package::name::PackageName;
use crate::resolve::universe::{self, Mode, REQUIREMENTS_BYTES_MAX, UniverseError, UniverseOptions};
use crate::resolve::{self, Options, Preference, ROUNDS_MAX, Resolution, Universe};
#[cfg(feature = "julia")]
use crate::vm::JuliaExecutor;

/// The name of a lockfile beside a manifest.
pub const LOCKFILE_NAME: &str = "catalog.lock";
/// The version of Lua that programs run on.
const LUA_VERSION: Version = Version::new(5, 4, 0);

/// How to resolve, as its caller says it.
#[derive(Clone, Debug)]
pub struct How {
    /// A time, or a duration before now: later versions are passed over.
    pub exclude_newer: Option<String>,
    /// Which version is taken where several fit.
    pub preference: Preference,
    /// The platform, if not the node's.
    pub platform: Option<String>,
}

/// A universe in a file, and what is asked of it.
#[derive(Clone, Debug)]
pub struct InUniverse {
    /// The file with its versions, one a line.
    pub index: PathBuf,
    /// The file with the requirements.
    pub requirements: PathBuf,
    /// How many versions of a name may be chosen.
    pub mode: Mode,
}

/// What a resolution gave.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The packages.
    pub resolution: Resolution,
    /// The lockfile was not whole, as after a merge, and what is in it was kept where it fits.
    pub merged: bool,
    /// What to warn of, such as older descriptions that stand in for those of a registry that cannot be reached.
    pub warnings: Vec<String>,
}

/// What is to be kept of a lockfile.
#[derive(Default)]
struct Kept {
    lockfile: Option<Lockfile>,
    merged: Option<Vec<LockedPackage>>,
}

impl Catalog {
    /// Resolves packages by name, or the dependencies of a package in a directory, whose lockfile is honoured.
    ///
    /// # Errors
    /// [`OpError::Resolve`] explains what cannot be met.
    pub fn resolve(&self, words: &[String], host: &dyn Host) -> Result<Resolution, OpError> {
        let how = How { exclude_newer: None, preference: Preference::Highest, platform: None };
        Ok(self.resolve_as(words, None, &how, host)?.resolution)
    }

    /// Resolves as the caller says; the lockfile in `lock` is honoured, or else that of a directory given.
    ///
    /// # Errors
    /// [`OpError::Resolve`] explains what cannot be met; [`OpError::Moment`].
    pub fn resolve_as(
        &self,
        words: &[String],
        lock: Option<&Path>,
        how: &How,
        host: &dyn Host,
    ) -> Result<Resolved, OpError> {
        let mut options = self.options_for(how.platform.as_deref(), host);
        options.preference = how.preference;
        options.exclude_newer = how.exclude_newer.as_deref().map(|text| moment(text, host.now())).transpose()?;
        let mut roots = Vec::new();
        let mut kept = lock.map_or_else(|| Ok(Kept::default()), read_lockfile)?;
        for word in words {
            match spec::target(word)? {
                Target::Named(requirement) => roots.push(requirement),
                Target::Directory(directory) => {
                    let packed = self.pack(&directory)?;
                    roots.extend(resolve::requirements(&packed.package.dependencies, &options)?);
                    if lock.is_none() {
                        kept = read_lockfile(packed.directory())?;
                    }
                }
            }
        }
        let warnings = self.pull(&roots, host)?;
        let merged = kept.merged.is_some();
        options.preferred = kept.merged.unwrap_or_default();
        let resolution =
            self.with_candidates(|candidates| resolve::resolve(candidates, &roots, kept.lockfile.as_ref(), &options))?;
        Ok(Resolved { resolution, merged, warnings })
    }

    /// Resolves requirements in a file against the versions in another.
    ///
    /// # Errors
    /// [`OpError::Universe`] names the line at fault; [`OpError::Resolve`] explains what cannot be met.
    pub fn resolve_in_universe(
        &self,
        what: &InUniverse,
        how: &How,
        host: &dyn Host,
    ) -> Result<Vec<(String, Version)>, OpError> {
        let of_file = |path: &Path| {
            let path = path.to_owned();
            move |source| OpError::Universe { path, source }
        };
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| OpError::File { path, source }
        };
        let index = File::open(&what.index).map_err(unusable(&what.index))?;
        let universe = Universe::read(BufReader::with_capacity(READ_BYTES, index)).map_err(|error| match error {
            UniverseError::Io(error) => unusable(&what.index)(error),
            other => of_file(&what.index)(other),
        })?;
        let text = read_text(&what.requirements, REQUIREMENTS_BYTES_MAX).map_err(unusable(&what.requirements))?;
        let wanted = universe::requirements(&text).map_err(of_file(&what.requirements))?;
        let options = UniverseOptions {
            platform: how.platform.clone().unwrap_or_else(|| host.platform()),
            mode: what.mode,
            preference: how.preference,
            exclude_newer: how.exclude_newer.as_deref().map(|text| moment(text, host.now())).transpose()?,
            rounds_max: ROUNDS_MAX,
        };
        Ok(universe.resolve(&wanted, &options)?)
    }

    /// Resolves the dependencies of a package in a directory, whose lockfile is honoured.
    pub(super) fn resolve_packed(&self, packed: &Packed, host: &dyn Host) -> Result<Resolution, OpError> {
        let roots = self.requirements_of(&packed.package, host)?;
        self.pull(&roots, host)?;
        let kept = read_lockfile(packed.directory())?;
        let options = Options { preferred: kept.merged.unwrap_or_default(), ..self.options_for(None, host) };
        Ok(self.with_candidates(|candidates| resolve::resolve(candidates, &roots, kept.lockfile.as_ref(), &options))?)
    }

    /// Resolves requirements, keeping locked versions where they still fit.
    pub(super) fn resolve_roots(
        &self,
        roots: &[Requirement],
        locked: Option<&Lockfile>,
        host: &dyn Host,
    ) -> Result<Resolution, OpError> {
        let options = self.options_for(None, host);
        Ok(self.with_candidates(|candidates| resolve::resolve(candidates, roots, locked, &options))?)
    }

    /// Gives the options for a platform; what this node has counts for its own only.
    pub(super) fn options_for(&self, platform: Option<&str>, host: &dyn Host) -> Options {
        let own = host.platform();
        let platform = platform.unwrap_or(&own);
        let resources = if platform == own { host.resources() } else { None };
        Options { node: resources.map(|resources| self.virtual_packages(resources)), ..self.options(platform) }
    }

    /// Gives what this node has, as packages with versions. The first number counts, in MiB where it is memory.
    fn virtual_packages(&self, resources: NodeResources) -> BTreeMap<String, Version> {
        let mebibytes = |bytes: u64| bytes >> 20;
        let counted = [
            ("__cpu", u64::from(resources.cpu_cores)),
            ("__memory", mebibytes(resources.memory_bytes)),
            ("__gpu", u64::from(resources.gpus)),
            ("__gpu-memory", mebibytes(resources.gpu_memory_bytes)),
        ];
        let counted = counted.into_iter().filter(|(_, count)| *count > 0);
        let counted = counted.map(|(name, count)| (name.to_owned(), Version::new(count, 0, 0)));
        let lua = self.can_run().then(|| ("__runtime-lua".to_owned(), LUA_VERSION));
        #[cfg(feature = "julia")]
        let julia = self.julia().and_then(JuliaExecutor::version);
        #[cfg(not(feature = "julia"))]
        let julia: Option<Version> = None;
        counted.chain(lua).chain(julia.map(|version| ("__runtime-julia".to_owned(), version))).collect()
    }

    fn requirements_of(&self, package: &Package, host: &dyn Host) -> Result<Vec<Requirement>, OpError> {
        Ok(resolve::requirements(&package.dependencies, &self.options(&host.platform()))?)
    }
}

/// Writes a lockfile beside a manifest, whole or not at all.
///
/// # Errors
/// [`OpError::File`].
pub fn write_lockfile(directory: &Path, lockfile: &Lockfile) -> Result<(), OpError> {
    let path = directory.join(LOCKFILE_NAME);
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        std::io::Write::write_all(&mut file, lockfile.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| OpError::File { path: path.clone(), source })
}

/// Gives the requirement that only one version meets.
pub(super) fn exactly(name: &PackageName, version: &Version) -> Requirement {
    let comparator = semver::Comparator {
        op: semver::Op::Exact,
        major: version.major,
        minor: Some(version.minor),
        patch: Some(version.patch),
        pre: version.pre.clone(),
    };
    Requirement {
        name: name.clone(),
        requirement: VersionReq { comparators: vec![comparator] },
        requirement_text: format!("={version}"),
        features: Vec::new(),
    }
}

/// Bytes of an index that are read at once.
const READ_BYTES: usize = 1 << 20;

fn read_lockfile(directory: &Path) -> Result<Kept, OpError> {
    let path = directory.join(LOCKFILE_NAME);
    match read_text(&path, LOCKFILE_BYTES_MAX) {
        Ok(text) => Ok(match merge::read(&text).map_err(|source| OpError::GivenLockfile { path, source })? {
            Merged::Whole(lockfile) => Kept { lockfile: Some(lockfile), merged: None },
            Merged::Parts(packages) => Kept { lockfile: None, merged: Some(packages) },
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(source) => Err(OpError::File { path, source }),
    }
}

/// Reads a file, one byte more than its bound at most: whoever reads the text refuses it then.
fn read_text(path: &Path, bytes_max: usize) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
