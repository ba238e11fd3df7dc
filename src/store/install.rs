//! Installing: files become objects, objects become trees of links, and every tree appears whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use super::place::{self, Directory, Method, Planted, object_mode, write_file, write_object};
use super::record::Record;
use super::{Installed, StoreError, Writer, archive_path, at, read_below, rename, rename_into_shard, shard, tree};
use crate::archive::{Archive, Entry, Listing};
use crate::digest::Digest;
use crate::package::name::PackageName;
use crate::parallel;
use crate::trust::{Intact, OfPackage, Verified};

/// A package that the policy let in.
#[derive(Clone, Debug)]
pub enum Installable {
    /// With every byte of it.
    Whole(Verified<Archive>),
    /// By the list of its files, which this store has as objects.
    Listed(Verified<Listing>),
}

impl Installable {
    /// Gives the name, the version and the digest of the tar.
    pub fn identity(&self) -> (&PackageName, &Version, Digest) {
        match self {
            Self::Whole(archive) => archive.identity(),
            Self::Listed(listing) => listing.identity(),
        }
    }
}

impl From<Verified<Archive>> for Installable {
    fn from(archive: Verified<Archive>) -> Self {
        Self::Whole(archive)
    }
}

/// Where the files of a tree come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Archive(&'a Archive),
    Listing(&'a Listing),
}

impl<'a> Source<'a> {
    fn identity(self) -> (&'a PackageName, &'a Version, Digest) {
        match self {
            Self::Archive(archive) => archive.identity(),
            Self::Listing(listing) => listing.identity(),
        }
    }

    fn tar_bytes(self) -> u64 {
        match self {
            Self::Archive(archive) => archive.tar_bytes(),
            Self::Listing(listing) => listing.tar_bytes(),
        }
    }
}

/// Gives the files of each source, the manifest first.
fn files_of<'a>(sources: &[Source<'a>]) -> Vec<Vec<Planted<'a>>> {
    let entries = sources.iter().filter_map(|source| match source {
        Source::Archive(archive) => Some(archive.entries()),
        Source::Listing(_) => None,
    });
    let mut hashed = parallel::map(entries.flatten(), Planted::of_entry).into_iter();
    let files = sources.iter().map(|source| match source {
        Source::Archive(archive) => hashed.by_ref().take(archive.entries().len()).collect(),
        Source::Listing(listing) => listing.files().iter().map(Planted::of_listed).collect(),
    });
    files.collect()
}

/// How many files a thread takes at a time.
const FILES_AT_ONCE: usize = 64;

/// A tree that is to be made.
struct Planned<'a> {
    installed: Installed,
    tar_bytes: u64,
    files: Vec<Planted<'a>>,
    /// The name under which it is made, in the stage.
    tree: String,
}

impl Planned<'_> {
    fn record(&self) -> Record {
        let files = self.files.iter().map(|file| (file.object.clone(), file.path.to_owned())).collect();
        Record { digest: self.installed.digest, tar_bytes: Some(self.tar_bytes), files }
    }
}

/// Which objects that are there already are built upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objects {
    /// Those whose seal is whole, and others after they were read.
    Sealed,
    /// Those that were read and are right.
    Read,
}

impl Writer {
    /// Installs a package. One that is already there whole stays as it is; a damaged one is made anew.
    ///
    /// # Errors
    /// The file system.
    pub fn install(&mut self, package: &Installable) -> Result<Installed, StoreError> {
        let (name, version, digest) = package.identity();
        let installed = self.store.place(name, version, digest);
        self.install_all(std::slice::from_ref(package))?;
        Ok(installed)
    }

    /// Installs packages together: how often the disk is waited for does not depend on their number.
    ///
    /// # Errors
    /// The file system. What is in place then is whole.
    pub fn install_all(&mut self, packages: &[Installable]) -> Result<(), StoreError> {
        let whole = packages.iter().filter_map(|package| match package {
            Installable::Whole(archive) => Some(&**archive),
            Installable::Listed(_) => None,
        });
        self.keep_all(&whole.collect::<Vec<_>>())?;
        let sources = packages.iter().map(|package| match package {
            Installable::Whole(archive) => Source::Archive(archive),
            Installable::Listed(listing) => Source::Listing(listing),
        });
        let sources: Vec<Source<'_>> = sources.collect();
        match self.make_trees(&sources, Objects::Sealed) {
            // An object is not what it was when the list was made, so the archive is asked after all.
            Err(StoreError::Damaged { .. }) if sources.iter().any(|source| matches!(source, Source::Listing(_))) => {
                self.make_trees_of_archives(&sources)
            }
            made => made,
        }
    }

    fn make_trees_of_archives(&mut self, sources: &[Source<'_>]) -> Result<(), StoreError> {
        let loaded = parallel::try_map(parallel::cores(), sources, |source| match source {
            Source::Archive(_) => Ok(None),
            Source::Listing(listing) => {
                let (name, version, digest) = listing.identity();
                self.store.load_as(name, version, digest).map(Some)
            }
        })?;
        let sources = sources.iter().zip(&loaded).map(|(source, loaded)| match loaded {
            Some(archive) => Source::Archive(archive),
            None => *source,
        });
        self.make_trees(&sources.collect::<Vec<_>>(), Objects::Read)
    }

    /// Keeps an archive without installing it, for passing it on. A damaged one is replaced.
    ///
    /// # Errors
    /// The file system.
    pub fn keep(&mut self, archive: &Intact<Archive>) -> Result<(), StoreError> {
        self.keep_all(&[archive])
    }

    /// The bytes are durable before they have their names, and the names when this returns: a registry may say so then.
    fn keep_all(&mut self, archives: &[&Intact<Archive>]) -> Result<(), StoreError> {
        let stage = self.stage()?;
        let mut staged = Vec::new();
        for archive in archives {
            let path = archive_path(archive.digest());
            if matches!(read_below(&self.store.root, &path), Ok(Some(bytes)) if bytes == archive.compressed()) {
                continue;
            }
            let at = stage.path().join(staged.len().to_string());
            write_file(&at, archive.compressed(), 0o444)?;
            self.grown += archive.compressed().len() as u64;
            staged.push((at, self.store.root.join(path)));
        }
        if staged.is_empty() {
            return Ok(());
        }
        self.sync()?;
        staged.iter().try_for_each(|(from, to)| rename_into_shard(from, to))?;
        self.sync()
    }

    /// Makes the trees of packages that were let in; those that are whole stay.
    pub(super) fn make_trees(&mut self, sources: &[Source<'_>], mut objects: Objects) -> Result<(), StoreError> {
        let stage = self.stage()?;
        let mut planned: Vec<Planned<'_>> = Vec::with_capacity(sources.len());
        let mut places = BTreeSet::new();
        for (source, files) in sources.iter().zip(files_of(sources)) {
            let (name, version, digest) = source.identity();
            let installed = self.store.place(name, version, digest);
            let tree = format!("tree-{}", planned.len());
            let plan = Planned { installed, tar_bytes: source.tar_bytes(), files, tree };
            let is_there = fs::symlink_metadata(&plan.installed.path).is_ok();
            if is_there && self.is_whole(&plan.installed, *source) {
                self.believe(&plan.installed, &plan.record());
            } else if places.insert(plan.installed.path.clone()) {
                if is_there {
                    // What damaged the tree may have damaged what it shares bytes with.
                    objects = Objects::Read;
                }
                planned.push(plan);
            }
        }
        if planned.is_empty() {
            return Ok(());
        }
        let staged = self.stage_objects(&planned, stage.path(), objects)?;
        self.plant(&planned, &staged, stage.path())?;
        // Before the renames: a name must never stand for bytes that a crash can still take away.
        self.sync()?;
        self.settle(&planned, &staged, stage.path())
    }

    /// Whether a tree has every byte of its archive; of one without an archive that is not known.
    fn is_whole(&self, installed: &Installed, source: Source<'_>) -> bool {
        match source {
            Source::Archive(archive) => self.store.has_tree(installed) && tree::check(&installed.path, archive).is_ok(),
            Source::Listing(_) => false,
        }
    }

    /// Writes the objects that are not there, or not whole; gives where each of them is.
    fn stage_objects(
        &mut self,
        planned: &[Planned<'_>],
        stage: &Path,
        trust: Objects,
    ) -> Result<BTreeMap<String, PathBuf>, StoreError> {
        let files = planned.iter().flat_map(|plan| &plan.files);
        // One with its bytes is preferred: it can be written.
        let mut objects: HashMap<&str, &Planted<'_>> = HashMap::new();
        for file in files {
            let known = objects.entry(&file.object).or_insert(file);
            if known.bytes.is_none() {
                *known = file;
            }
        }
        let root = &self.store.root;
        let directory = Directory::open(root)?;
        let stage_one = |file: &Planted<'_>| {
            let path = object_path(&file.object);
            if trust == Objects::Sealed && place::is_sealed(directory.spot(&path), file) {
                return Ok(None);
            }
            let object = root.join(&path);
            let whole = match file.bytes {
                // An object is nobody's to change, whatever the files of trees are.
                Some(bytes) => {
                    let entry = Entry { path: &path, executable: file.executable, writable: false, bytes };
                    tree::check_file(root, &entry)
                }
                None => self.store.check_object(file),
            };
            match (whole, file.bytes) {
                (Ok(()), _) => {
                    // Without the seal the object is as good, only slower.
                    let _ = place::seal(&object);
                    Ok(None)
                }
                (Err(_), Some(bytes)) => {
                    let staged = stage.join(&file.object);
                    write_object(&staged, bytes, object_mode(file.executable))?;
                    Ok(Some((file.object.clone(), staged, bytes.len() as u64)))
                }
                (Err(error), None) => Err(error),
            }
        };
        let objects: Vec<&Planted<'_>> = objects.into_values().collect();
        let staged = parallel::try_map(parallel::cores(), objects.chunks(FILES_AT_ONCE), |files| {
            files.iter().filter_map(|file| stage_one(file).transpose()).collect::<Result<Vec<_>, StoreError>>()
        })?;
        let staged: Vec<_> = staged.into_iter().flatten().collect();
        self.grown += staged.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        Ok(staged.into_iter().map(|(name, path, _)| (name, path)).collect())
    }

    /// Makes the trees of a stage, of the objects that are there and of those in the stage.
    fn plant(
        &mut self,
        planned: &[Planned<'_>],
        staged: &BTreeMap<String, PathBuf>,
        stage: &Path,
    ) -> Result<(), StoreError> {
        for Planned { files, tree, .. } in planned {
            let parents = files.iter().map(|file| file.path.rsplit_once('/').map_or("", |(parent, _)| parent));
            let (root, parents) = (stage.join(tree), parents.collect::<BTreeSet<&str>>());
            parents.iter().try_for_each(|parent| create_dir(&root.join(parent)))?;
        }
        let method = self.method();
        let (store, stage) = (Directory::open(&self.store.root)?, Directory::open(stage)?);
        let place = |(tree, file): &(&String, &Planted<'_>)| {
            let to = format!("{tree}/{}", file.path);
            if staged.contains_key(&file.object) {
                return method.place(stage.spot(&file.object), stage.spot(&to), file);
            }
            method.place(store.spot(&object_path(&file.object)), stage.spot(&to), file)
        };
        let files = planned.iter().flat_map(|plan| plan.files.iter().map(|file| (&plan.tree, file)));
        let files: Vec<_> = files.collect();
        let written = parallel::try_map(parallel::cores(), files.chunks(FILES_AT_ONCE), |files| {
            files.iter().map(place).sum::<Result<u64, StoreError>>()
        })?;
        self.grown += written.iter().sum::<u64>();
        Ok(())
    }

    /// Puts objects and trees in their places, in that order: a tree whose objects are missing is whole all the same.
    fn settle(
        &mut self,
        planned: &[Planned<'_>],
        staged: &BTreeMap<String, PathBuf>,
        stage: &Path,
    ) -> Result<(), StoreError> {
        for (name, path) in staged {
            rename_into_shard(path, &self.store.root.join(object_path(name)))?;
        }
        for (number, plan) in planned.iter().enumerate() {
            let Planned { installed, tree, .. } = plan;
            if fs::symlink_metadata(&installed.path).is_ok() {
                self.store.forget_record(installed)?;
                rename(&installed.path, &stage.join(format!("damaged-{number}")))?;
            }
            rename(&stage.join(tree), &installed.path)?;
            self.believe(installed, &plan.record());
        }
        Ok(())
    }

    /// Gives how files are shared here, which is tried once.
    pub fn method(&self) -> Method {
        *self.method.get_or_init(|| match self.stage() {
            Ok(stage) => Method::probe(stage.path()),
            Err(_) => Method::HardLink,
        })
    }
}

pub(super) fn object_path(name: &str) -> String {
    format!("objects/{}", shard(name))
}

fn create_dir(path: &Path) -> Result<(), StoreError> {
    match fs::create_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at("create", path)(error)),
        _ => Ok(()),
    }
}
