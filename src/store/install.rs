//! Installing: files become objects, objects become trees of links, and every tree appears whole.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use semver::Version;

use super::place::{self, Directory, Method, Planted, object_mode, write_file, write_object};
use super::record::{Record, Recorded};
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
    /// Whether the list of its files is what its record says.
    is_recorded: bool,
}

/// A file, and the tree of a stage that it is placed in.
type Placed<'a> = (&'a str, &'a Planted<'a>);

impl Planned<'_> {
    fn record(&self) -> Record {
        let files = self.files.iter().map(Recorded::from).collect();
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
    /// [`StoreError::NotInstalled`] for one by the list of its files whose archive was collected since that was made: then nothing
    /// is changed. The file system: what is in place then is whole.
    pub fn install_all(&mut self, packages: &[Installable]) -> Result<(), StoreError> {
        for package in packages.iter().filter(|package| matches!(package, Installable::Listed(_))) {
            let (name, version, digest) = package.identity();
            if !self.store.has_archive(digest) {
                return Err(StoreError::NotInstalled { name: name.clone(), version: version.clone() });
            }
        }
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
            let is_recorded = matches!(source, Source::Listing(_));
            let plan = Planned { installed, tar_bytes: source.tar_bytes(), files, tree, is_recorded };
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
        for Planned { files, tree, .. } in &planned {
            let parents = files.iter().map(|file| file.path.rsplit_once('/').map_or("", |(parent, _)| parent));
            let (root, mut parents) = (stage.path().join(tree), parents.collect::<Vec<_>>());
            parents.dedup();
            parents.iter().try_for_each(|parent| create_dir(&root.join(parent)))?;
        }
        let files: Vec<_> =
            planned.iter().flat_map(|plan| plan.files.iter().map(|file| (plan.tree.as_str(), file))).collect();
        let rest = match objects {
            Objects::Sealed => self.plant(&files, None, stage.path())?,
            Objects::Read => files,
        };
        let staged = self.stage_objects(&rest, stage.path())?;
        self.plant(&rest, Some(&staged), stage.path())?;
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

    /// Reads the objects of files, and writes those that are not there, or not whole, into a stage; gives the names of these.
    fn stage_objects(&mut self, files: &[Placed<'_>], stage: &Path) -> Result<BTreeSet<String>, StoreError> {
        // One with its bytes is preferred: it can be written.
        let mut objects: HashMap<String, &Planted<'_>> = HashMap::new();
        for (_, file) in files {
            let known = objects.entry(file.object()).or_insert(file);
            if known.bytes.is_none() {
                *known = file;
            }
        }
        let root = &self.store.root;
        let stage_one = |(name, file): &(String, &Planted<'_>)| {
            let path = object_path(name);
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
                    Ok((0, None))
                }
                (Err(_), Some(bytes)) => {
                    write_object(&stage.join(name), bytes, object_mode(file.executable))?;
                    Ok((bytes.len() as u64, Some(name.clone())))
                }
                (Err(error), None) => Err(error),
            }
        };
        let (grown, staged) = in_chunks(&objects.into_iter().collect::<Vec<_>>(), stage_one)?;
        self.grown += grown;
        Ok(staged.into_iter().collect())
    }

    /// Places files, of the objects that are there and of those in the stage. While it is not known which are whole, only those
    /// whose objects are sealed, each as soon as it was looked at: looking for it is what takes long, and the next look at it is
    /// nearly free. Gives the others.
    fn plant<'a>(
        &mut self,
        files: &[Placed<'a>],
        staged: Option<&BTreeSet<String>>,
        stage: &Path,
    ) -> Result<Vec<Placed<'a>>, StoreError> {
        let method = self.method();
        let (store, stage) = (Directory::open(&self.store.root)?, Directory::open(stage)?);
        let (grown, rest) = in_chunks(files, |placed| {
            let (tree, file) = *placed;
            let name = file.object();
            let (object, to) = (object_path(&name), [tree, "/", file.path].concat());
            let from = match staged {
                Some(staged) if staged.contains(&name) => stage.spot(&name),
                None if !place::is_sealed(store.spot(&object), file) => return Ok((0, Some(*placed))),
                _ => store.spot(&object),
            };
            Ok((method.place(from, stage.spot(&to), file)?, None))
        })?;
        self.grown += grown;
        Ok(rest)
    }

    /// Puts objects and trees in their places, in that order: a tree whose objects are missing is whole all the same.
    fn settle(&mut self, planned: &[Planned<'_>], staged: &BTreeSet<String>, stage: &Path) -> Result<(), StoreError> {
        for name in staged {
            rename_into_shard(&stage.join(name), &self.store.root.join(object_path(name)))?;
        }
        for (number, plan) in planned.iter().enumerate() {
            let Planned { installed, tree, .. } = plan;
            let is_there = fs::symlink_metadata(&installed.path).is_ok();
            if is_there {
                self.store.forget_record(installed)?;
                rename(&installed.path, &stage.join(format!("damaged-{number}")))?;
            }
            rename(&stage.join(tree), &installed.path)?;
            if is_there || !plan.is_recorded {
                self.believe(installed, &plan.record());
            }
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
    ["objects/", &shard(name)].concat()
}

/// Does the same to many on all cores; gives the sum of the bytes that were written, and what came of it.
fn in_chunks<T: Sync, R: Send>(
    of: &[T],
    work: impl Fn(&T) -> Result<(u64, Option<R>), StoreError> + Sync,
) -> Result<(u64, Vec<R>), StoreError> {
    let done = parallel::try_map(parallel::cores(), of.chunks(FILES_AT_ONCE), |chunk| {
        let (mut bytes, mut results) = (0, Vec::new());
        for one in chunk {
            let (written, result) = work(one)?;
            bytes += written;
            results.extend(result);
        }
        Ok((bytes, results))
    })?;
    let bytes = done.iter().map(|(bytes, _)| bytes).sum();
    Ok((bytes, done.into_iter().flat_map(|(_, results)| results).collect()))
}

fn create_dir(path: &Path) -> Result<(), StoreError> {
    match fs::create_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at("create", path)(error)),
        _ => Ok(()),
    }
}
