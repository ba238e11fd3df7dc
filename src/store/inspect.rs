//! Looking over a whole store: every invariant of its layout, each by the number that `docs/formats.md` gives it.
//!
//! Reads everything and changes nothing. A writer should be held meanwhile, so that nobody's unfinished work is looked at.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::place::Planted;
use super::prune::COUNT;
use super::record::{Record, read_object_name, record_path};
use super::{FORMAT_VERSION, Store, StoreError, at, entries, install, read_below, sharded, tree};
use crate::archive;
use crate::digest::Digest;
use crate::lockfile::LockedPackage;
use crate::parallel;

/// An invariant of the store, by the number that `docs/formats.md` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// `format` holds the version.
    Format,
    /// `current` names a generation that is kept.
    Current,
    /// Every kept generation has a lockfile that reads.
    Lockfile,
    /// Every package of a kept generation has its tree, byte for byte that of its archive.
    Tree,
    /// Every package of a kept generation has its archive, and every archive is of the digest that names it.
    Archive,
    /// Every object is of the digest that names it.
    Object,
    /// Objects, archives and files of trees are 0444, or 0555 if they may be run.
    Mode,
    /// Nothing in the store is a link, a device or a pipe.
    Regular,
    /// A record is of an archive that is kept, and says what that one holds.
    Record,
    /// Nothing lies in the store that the layout does not name, and nothing in `tmp` while nobody writes.
    Leftover,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The invariant.
    pub rule: Rule,
    /// Where.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// The package it is about, if it is about one.
    pub package: Option<LockedPackage>,
}

impl Rule {
    /// Every invariant.
    pub const ALL: [Self; 10] = [
        Self::Format,
        Self::Current,
        Self::Lockfile,
        Self::Tree,
        Self::Archive,
        Self::Object,
        Self::Mode,
        Self::Regular,
        Self::Record,
        Self::Leftover,
    ];

    /// Gives the number.
    pub fn id(self) -> &'static str {
        match self {
            Self::Format => "S1",
            Self::Current => "S2",
            Self::Lockfile => "S3",
            Self::Tree => "S4",
            Self::Archive => "S5",
            Self::Object => "S6",
            Self::Mode => "S7",
            Self::Regular => "S8",
            Self::Record => "S9",
            Self::Leftover => "S10",
        }
    }
}

impl Flaw {
    /// Whether it harms nobody: what a writer that died has left, and the next one clears.
    pub fn is_harmless(&self) -> bool {
        self.rule == Rule::Leftover && self.path.parent().is_some_and(|parent| parent.ends_with("tmp"))
    }
}

impl Store {
    /// Looks over everything and gives what is not as it must be.
    ///
    /// # Errors
    /// The file system; damage is a flaw and no error.
    pub fn inspect(&self) -> Result<Vec<Flaw>, StoreError> {
        let mut flaws = self.inspect_format();
        let packages = self.inspect_generations(&mut flaws)?;
        flaws.extend(parallel::map(packages.iter(), |package| self.inspect_package(package)).into_iter().flatten());
        flaws.extend(self.inspect_pool("objects", Self::object_flaw)?);
        // Those of packages were unfolded with their trees.
        let seen: BTreeSet<PathBuf> =
            packages.iter().map(|package| self.root.join(super::archive_path(package.digest))).collect();
        flaws.extend(self.inspect_pool("archives", |store, path, name| {
            if seen.contains(path) { None } else { store.archive_flaw(path, name) }
        })?);
        self.inspect_records(&packages, &mut flaws)?;
        self.inspect_names(&mut flaws)?;
        flaws.sort_by(|a, b| (a.rule, &a.path).cmp(&(b.rule, &b.path)));
        flaws.dedup_by(|a, b| a.rule == b.rule && a.path == b.path);
        Ok(flaws)
    }

    fn inspect_format(&self) -> Vec<Flaw> {
        let path = self.root.join("format");
        match fs::read_to_string(&path) {
            Ok(text) if text == format!("{FORMAT_VERSION}\n") => Vec::new(),
            Ok(_) => vec![flaw(Rule::Format, &path, format!("it does not hold `{FORMAT_VERSION}`"))],
            Err(error) => vec![flaw(Rule::Format, &path, error.to_string())],
        }
    }

    /// Looks at `current` and every generation; gives each package of them once.
    fn inspect_generations(&self, flaws: &mut Vec<Flaw>) -> Result<Vec<LockedPackage>, StoreError> {
        let path = self.root.join("current");
        match self.current() {
            // A lockfile that does not read is found below, by its own rule.
            Ok(_) | Err(StoreError::Lockfile { .. }) => {}
            Err(error) => flaws.push(flaw(Rule::Current, &path, told(&error))),
        }
        let mut packages: Vec<LockedPackage> = Vec::new();
        for number in self.generations()? {
            match self.generation(number) {
                Ok(generation) => packages.extend(generation.lockfile.packages().cloned()),
                Err(error) => {
                    let path = self.root.join(format!("generations/{number}/catalog.lock"));
                    flaws.push(flaw(Rule::Lockfile, &path, told(&error)));
                }
            }
        }
        packages.sort_by(|a, b| (&a.name, &a.version, a.digest).cmp(&(&b.name, &b.version, b.digest)));
        packages.dedup_by(|a, b| (&a.name, &a.version, a.digest) == (&b.name, &b.version, b.digest));
        Ok(packages)
    }

    fn inspect_package(&self, package: &LockedPackage) -> Vec<Flaw> {
        let installed = self.place(&package.name, &package.version, package.digest);
        let about = |rule, path: &Path, reason| Flaw { package: Some(package.clone()), ..flaw(rule, path, reason) };
        let mut flaws = Vec::new();
        if !self.has_tree(&installed) {
            flaws.push(about(Rule::Tree, &installed.path, "the tree is missing".to_owned()));
        }
        let archive = match self.load(package) {
            Ok(archive) => archive,
            Err(error) => {
                let path = self.root.join(super::archive_path(package.digest));
                flaws.push(about(Rule::Archive, &path, told(&error)));
                return flaws;
            }
        };
        if !flaws.is_empty() {
            return flaws;
        }
        if let Ok(Some(record)) = self.record(package)
            && !record.is_of(&archive)
        {
            let path = self.root.join(record_path(&installed));
            flaws.push(about(Rule::Record, &path, "it says otherwise than the archive".to_owned()));
        }
        if let Err(error) = tree::check(&installed.path, &archive) {
            let (path, reason) = match error {
                StoreError::Damaged { path, reason } => (path, reason),
                other => (installed.path.clone(), told(&other)),
            };
            flaws.push(about(Rule::Tree, &path, reason));
        }
        let sealed = archive.entries().filter(|entry| !entry.writable);
        for path in sealed.map(|entry| installed.path.join(entry.path)) {
            flaws.extend(mode_flaw(&path).map(|found| Flaw { package: Some(package.clone()), ..found }));
        }
        flaws
    }

    /// Looks at every file of a pool with its own eyes, and at its mode.
    fn inspect_pool(
        &self,
        pool: &str,
        look: impl Fn(&Self, &Path, &str) -> Option<Flaw> + Sync,
    ) -> Result<Vec<Flaw>, StoreError> {
        let files = sharded(&self.root.join(pool))?;
        let flaws = parallel::map(files.iter(), |path| {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Some(flaw(Rule::Leftover, path, "it has no name of the store".to_owned()));
            };
            let Ok(metadata) = fs::symlink_metadata(path) else { return None };
            if !metadata.is_file() {
                return Some(flaw(Rule::Regular, path, "it is no regular file".to_owned()));
            }
            look(self, path, name).or_else(|| {
                let expected = if name.ends_with('x') { 0o555 } else { 0o444 };
                let mode = metadata.mode() & 0o7777;
                (mode != expected)
                    .then(|| flaw(Rule::Mode, path, format!("its mode is {mode:04o}, expected {expected:04o}")))
            })
        });
        Ok(flaws.into_iter().flatten().collect())
    }

    /// Whether a file of a pool is what its name says.
    pub(super) fn is_whole(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        match path {
            path if path.starts_with(self.root.join("objects")) => self.object_flaw(path, name).is_none(),
            path if path.starts_with(self.root.join("archives")) => self.archive_flaw(path, name).is_none(),
            _ => false,
        }
    }

    /// Checks that the object of a file is what its name says, and may be run if the file may.
    pub(super) fn check_object(&self, file: &Planted<'_>) -> Result<(), StoreError> {
        let object = file.object();
        let path = self.root.join(install::object_path(&object));
        let found = self.object_flaw(&path, &object).map(|flaw| flaw.reason);
        let is_run = |metadata: fs::Metadata| metadata.is_file() && (metadata.mode() & 0o111 != 0) == file.executable;
        let found = found.or_else(|| {
            let is_right = fs::symlink_metadata(&path).is_ok_and(is_run);
            (!is_right).then(|| "it is no regular file of its mode".to_owned())
        });
        found.map_or(Ok(()), |reason| Err(StoreError::Damaged { path, reason }))
    }

    fn object_flaw(&self, path: &Path, name: &str) -> Option<Flaw> {
        let is_at = |_: &(Digest, bool)| path == self.root.join(install::object_path(name));
        let Some((expected, _)) = read_object_name(name).filter(is_at) else {
            return Some(flaw(Rule::Leftover, path, "it has no name of an object".to_owned()));
        };
        let found = match fs::read(path) {
            Ok(bytes) => Digest::of(&bytes),
            Err(error) => return Some(flaw(Rule::Object, path, error.to_string())),
        };
        (found != expected).then(|| flaw(Rule::Object, path, format!("expected `{expected}`, found `{found}`")))
    }

    fn archive_flaw(&self, path: &Path, name: &str) -> Option<Flaw> {
        let expected: Option<Digest> = format!("blake3:{name}").parse().ok();
        let Some(expected) = expected.filter(|digest| path == self.root.join(super::archive_path(*digest))) else {
            return Some(flaw(Rule::Leftover, path, "it has no name of an archive".to_owned()));
        };
        let read = fs::read(path).map_err(|error| error.to_string());
        match read.and_then(|bytes| archive::read(bytes).map_err(|error| error.to_string())) {
            Ok(archive) if archive.digest() == expected => None,
            Ok(archive) => {
                Some(flaw(Rule::Archive, path, format!("expected `{expected}`, found `{}`", archive.digest())))
            }
            Err(reason) => Some(flaw(Rule::Archive, path, reason)),
        }
    }

    /// Looks for records that do not read or belong to nothing, and at what those say that were not looked at with the
    /// packages of generations.
    fn inspect_records(&self, packages: &[LockedPackage], flaws: &mut Vec<Flaw>) -> Result<(), StoreError> {
        let place = |package: &LockedPackage| self.place(&package.name, &package.version, package.digest);
        let seen: BTreeSet<PathBuf> =
            packages.iter().map(|package| self.root.join(record_path(&place(package)))).collect();
        for path in entries(&self.root.join("records"))? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                flaws.push(flaw(Rule::Leftover, &path, "it has no name of the store".to_owned()));
                continue;
            };
            let record = read_below(&self.root, &format!("records/{name}"))?;
            let record = record.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| Record::parse(&text));
            let Some(record) = record else {
                flaws.push(flaw(Rule::Record, &path, "it does not read".to_owned()));
                continue;
            };
            if seen.contains(&path) {
                continue;
            }
            let reason = match self.compressed(record.digest)?.map(archive::read) {
                None => Some("its archive is missing"),
                Some(Ok(archive)) if archive.digest() == record.digest => {
                    let is_its_name = self.place(archive.name(), archive.version(), record.digest).path.ends_with(name);
                    (!record.is_of(&archive) || !is_its_name).then_some("it says otherwise than the archive")
                }
                // By its own rule.
                Some(_) => None,
            };
            flaws.extend(reason.map(|reason| flaw(Rule::Record, &path, reason.to_owned())));
        }
        Ok(())
    }

    /// Looks for what the layout does not name, and for what is no file.
    fn inspect_names(&self, flaws: &mut Vec<Flaw>) -> Result<(), StoreError> {
        const FILES: [&str; 4] = ["format", "lock", "current", COUNT];
        for path in entries(&self.root)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_dir = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
            if !(is_dir && super::DIRECTORIES.contains(&name) || !is_dir && FILES.contains(&name)) {
                flaws.push(flaw(Rule::Leftover, &path, "the layout has no such name".to_owned()));
            }
        }
        let is_number = |name: &str| name.parse::<u64>().is_ok_and(|number| number.to_string() == name);
        let is_place = |name: &str| {
            let short = |digits: &str| digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            name.contains('@') && name.rsplit_once('-').is_some_and(|(_, digits)| short(digits))
        };
        for path in entries(&self.root.join("generations"))?.into_iter().chain(entries(&self.root.join("packages"))?) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !(is_number(name) || is_place(name)) {
                flaws.push(flaw(Rule::Leftover, &path, "the layout has no such name".to_owned()));
            }
        }
        for path in entries(&self.root.join("tmp"))? {
            flaws.push(flaw(Rule::Leftover, &path, "a writer that ended left it".to_owned()));
        }
        for found in WalkDir::new(&self.root) {
            let found = found.map_err(|error| at("list", &self.root)(error.into()))?;
            if !found.file_type().is_file() && !found.file_type().is_dir() {
                flaws.push(flaw(Rule::Regular, found.path(), "it is a link, a device or a pipe".to_owned()));
            }
        }
        Ok(())
    }
}

fn mode_flaw(path: &Path) -> Option<Flaw> {
    let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mode = metadata.mode() & 0o7777;
    let is_right = matches!(mode, 0o444 | 0o555);
    (!is_right).then(|| flaw(Rule::Mode, path, format!("its mode is {mode:04o}, expected 0444 or 0555")))
}

fn flaw(rule: Rule, path: &Path, reason: String) -> Flaw {
    Flaw { rule, path: path.to_owned(), reason, package: None }
}

/// Gives an error with its causes on one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
