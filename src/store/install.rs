//! Installing: files become objects, objects become trees of links, and every tree appears whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::{self, Method, mode_of, write_file, write_object};
use super::record::Record;
use super::{Installed, StoreError, Writer, archive_path, at, read_below, rename, rename_into_shard, shard, tree};
use crate::archive::{Archive, Entry};
use crate::digest::Digest;
use crate::parallel;
use crate::trust::{Intact, Verified};

/// A tree that is to be made.
struct Planned<'a> {
    installed: Installed,
    archive: &'a Archive,
    /// Where it is made.
    root: PathBuf,
}

/// Which objects that are there already are built upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objects {
    /// Those whose seal is whole, and others after they were read.
    Sealed,
    /// Those that were read and are right.
    Read,
}

/// A file of a tree, with the name of its object.
struct Planted<'a> {
    entry: Entry<'a>,
    object: String,
    tree: usize,
}

impl Writer {
    /// Installs a package. One that is already there whole stays as it is; a damaged one is made anew.
    ///
    /// # Errors
    /// The file system.
    pub fn install(&mut self, archive: &Verified<Archive>) -> Result<Installed, StoreError> {
        let installed = self.store.place(archive.name(), archive.version(), archive.digest());
        self.install_all(std::slice::from_ref(archive))?;
        Ok(installed)
    }

    /// Installs packages together: how often the disk is waited for does not depend on their number.
    ///
    /// # Errors
    /// The file system. What is in place then is whole.
    pub fn install_all(&mut self, archives: &[Verified<Archive>]) -> Result<(), StoreError> {
        let archives: Vec<&Intact<Archive>> = archives.iter().map(|archive| &**archive).collect();
        self.keep_all(&archives)?;
        let archives: Vec<&Archive> = archives.into_iter().map(|archive| &**archive).collect();
        self.make_trees(&archives, Objects::Sealed)
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

    /// Makes the trees of archives that were let in; those that are whole stay.
    pub(super) fn make_trees(&mut self, archives: &[&Archive], mut objects: Objects) -> Result<(), StoreError> {
        let stage = self.stage()?;
        let mut planned: Vec<Planned<'_>> = Vec::with_capacity(archives.len());
        let mut places = BTreeSet::new();
        for archive in archives {
            let installed = self.store.place(archive.name(), archive.version(), archive.digest());
            if self.store.has_tree(&installed) && tree::check(&installed.path, archive).is_ok() {
                self.believe(&installed, &Record::new(archive, archive.entries().map(|entry| object_name(&entry))));
            } else if places.insert(installed.path.clone()) {
                if fs::symlink_metadata(&installed.path).is_ok() {
                    // What damaged the tree may have damaged what it shares bytes with.
                    objects = Objects::Read;
                }
                let root = stage.path().join(format!("tree-{}", planned.len()));
                planned.push(Planned { installed, archive, root });
            }
        }
        if planned.is_empty() {
            return Ok(());
        }
        let files: Vec<(usize, Entry<'_>)> = planned
            .iter()
            .enumerate()
            .flat_map(|(tree, plan)| plan.archive.entries().map(move |it| (tree, it)))
            .collect();
        let planted = parallel::map(files.iter(), |(tree, entry)| Planted {
            entry: *entry,
            object: object_name(entry),
            tree: *tree,
        });
        let staged = self.stage_objects(&planted, stage.path(), objects)?;
        self.plant(&planned, &planted, &staged)?;
        // Before the renames: a name must never stand for bytes that a crash can still take away.
        self.sync()?;
        self.settle(&planned, &planted, &staged, stage.path())
    }

    /// Writes the objects that are not there, or not whole; gives where each of them is.
    fn stage_objects(
        &mut self,
        planted: &[Planted<'_>],
        stage: &Path,
        trust: Objects,
    ) -> Result<BTreeMap<String, PathBuf>, StoreError> {
        let objects: BTreeMap<&str, &Entry<'_>> =
            planted.iter().map(|file| (file.object.as_str(), &file.entry)).collect();
        let objects: Vec<(&str, &Entry<'_>)> = objects.into_iter().collect();
        let root = &self.store.root;
        let staged = parallel::try_map(parallel::cores(), objects.iter(), |(name, entry)| {
            let path = object_path(name);
            // An object is nobody's to change, whatever the files of trees are.
            let entry = &Entry { path: &path, writable: false, ..**entry };
            if trust == Objects::Sealed && place::is_sealed(&root.join(&path), entry) {
                return Ok(None);
            }
            if tree::check_file(root, entry).is_ok() {
                // Without the seal the object is as good, only slower.
                let _ = place::seal(&root.join(&path));
                return Ok(None);
            }
            let staged = stage.join(name);
            write_object(&staged, entry.bytes, mode_of(entry))?;
            Ok::<_, StoreError>(Some(((*name).to_owned(), staged, entry.bytes.len() as u64)))
        })?;
        let staged: Vec<_> = staged.into_iter().flatten().collect();
        self.grown += staged.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        Ok(staged.into_iter().map(|(name, path, _)| (name, path)).collect())
    }

    fn plant(
        &mut self,
        planned: &[Planned<'_>],
        planted: &[Planted<'_>],
        staged: &BTreeMap<String, PathBuf>,
    ) -> Result<(), StoreError> {
        let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
        for file in planted {
            let root = &planned[file.tree].root;
            directories.insert(file.entry.path.rsplit_once('/').map_or(root.clone(), |(parent, _)| root.join(parent)));
        }
        directories.iter().try_for_each(|directory| create_dir(directory))?;
        let method = self.method();
        let copied = planted.iter().filter(|file| method == Method::Copy || file.entry.writable);
        self.grown += copied.map(|file| file.entry.bytes.len() as u64).sum::<u64>();
        let root = &self.store.root;
        parallel::try_map(parallel::cores(), planted, |file| {
            let object = staged.get(&file.object);
            let object = object.cloned().unwrap_or_else(|| root.join(object_path(&file.object)));
            method.place(&object, &planned[file.tree].root.join(file.entry.path), &file.entry)
        })
        .map(drop)
    }

    /// Puts objects and trees in their places, in that order: a tree whose objects are missing is whole all the same.
    fn settle(
        &mut self,
        planned: &[Planned<'_>],
        planted: &[Planted<'_>],
        staged: &BTreeMap<String, PathBuf>,
        stage: &Path,
    ) -> Result<(), StoreError> {
        for (name, path) in staged {
            rename_into_shard(path, &self.store.root.join(object_path(name)))?;
        }
        // Every tree has a manifest, and files stand in the order of the trees.
        let trees = planted.chunk_by(|a, b| a.tree == b.tree);
        for ((number, Planned { installed, archive, root }), files) in planned.iter().enumerate().zip(trees) {
            if fs::symlink_metadata(&installed.path).is_ok() {
                self.store.forget_record(installed)?;
                rename(&installed.path, &stage.join(format!("damaged-{number}")))?;
            }
            rename(root, &installed.path)?;
            let objects = files.iter().map(|file| file.object.clone());
            self.believe(installed, &Record::new(archive, objects));
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

/// Gives the name of an entry's object. A hard link shares its mode, so a file that may be run and the same file that may not
/// are two objects.
pub(super) fn object_name(entry: &Entry<'_>) -> String {
    let digest = Digest::of(entry.bytes).to_hex();
    if entry.executable { digest + "x" } else { digest }
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
