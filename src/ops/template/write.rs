//! Writing files of a project: all of them or none, and never through a link.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::super::OpError;
use super::error::NewError;
use crate::archive::open_beneath;
use crate::package::model::FilePath;
use crate::template::generate::TREE_BYTES_MAX;

/// What becomes of one file.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: FilePath,
    /// What it holds; nothing if it is removed.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Reads a regular file of bounded size.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?, bytes_max)
}

/// Reads a file of a project, if it is there.
///
/// # Errors
/// A link, or something else that is no file, is there.
pub(super) fn read_existing(directory: &Path, path: &FilePath) -> Result<Option<Vec<u8>>, OpError> {
    check_parents(directory, path)?;
    let place = directory.join(path.as_str());
    match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_file() => {
            let read = open_beneath(directory, path.as_str()).and_then(|file| read_open(file, TREE_BYTES_MAX as u64));
            read.map(Some).map_err(|source| OpError::File { path: place, source })
        }
        Ok(metadata) => Err(NewError::InTheWay { path: place, what: what(&metadata) }.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpError::File { path: place, source }),
    }
}

/// Makes all changes, or none.
///
/// A new directory is made beside its place and renamed. In a directory that is there each file is made aside and renamed;
/// what was there is put aside first and comes back if a later step fails.
pub(super) fn apply(directory: &Path, changes: &[Change]) -> Result<(), OpError> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_there = match fs::symlink_metadata(directory) {
        Ok(metadata) if metadata.is_dir() => true,
        Ok(metadata) => {
            return Err(NewError::InTheWay { path: directory.to_path_buf(), what: what(&metadata) }.into());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(OpError::File { path: directory.to_path_buf(), source }),
    };
    for change in changes {
        check_parents(directory, &change.path)?;
    }
    let aside = if is_there { directory } else { parent };
    let fault = |path: &Path, source| OpError::File { path: path.to_path_buf(), source };
    let stage = tempfile::Builder::new().prefix(".catalog-new-").tempdir_in(aside).map_err(|e| fault(aside, e))?;
    let (made, old) = (stage.path().join("made"), stage.path().join("old"));
    for root in [&made, &old] {
        fs::create_dir(root).map_err(|error| fault(root, error))?;
    }
    for change in changes {
        let Some(bytes) = &change.bytes else { continue };
        let place = made.join(change.path.as_str());
        make_parents(&place).and_then(|()| fs::write(&place, bytes)).map_err(|error| fault(&place, error))?;
        // Who may read, write and run a file is up to whoever has it.
        if let Ok(there) = fs::symlink_metadata(directory.join(change.path.as_str()))
            && there.is_file()
        {
            fs::set_permissions(&place, there.permissions()).map_err(|error| fault(&place, error))?;
        }
    }
    if !is_there {
        return fs::rename(&made, directory).map_err(|error| fault(directory, error));
    }
    let mut moves = Moves { directory, made: &made, old: &old, done: Vec::new() };
    for change in changes {
        if let Err((place, source)) = moves.make(change) {
            if !moves.undo() {
                let kept = stage.keep();
                tracing::warn!(kept = %kept.display(), "what could not be put back is kept here");
            }
            return Err(OpError::File { path: place, source });
        }
    }
    Ok(())
}

/// Renames, noted so that they can be taken back.
struct Moves<'a> {
    directory: &'a Path,
    made: &'a Path,
    old: &'a Path,
    done: Vec<Done>,
}

enum Done {
    /// What was there is put aside.
    Aside(FilePath),
    /// What is new is in its place.
    Placed(FilePath),
}

impl Moves<'_> {
    fn make(&mut self, change: &Change) -> Result<(), (PathBuf, io::Error)> {
        let path = change.path.as_str();
        let place = self.directory.join(path);
        let failed = |error| (place.clone(), error);
        if fs::symlink_metadata(&place).is_ok() {
            let aside = self.old.join(path);
            make_parents(&aside).and_then(|()| fs::rename(&place, &aside)).map_err(failed)?;
            self.done.push(Done::Aside(change.path.clone()));
        }
        if change.bytes.is_some() {
            let made = self.made.join(path);
            make_parents(&place).and_then(|()| fs::rename(&made, &place)).map_err(failed)?;
            self.done.push(Done::Placed(change.path.clone()));
        }
        Ok(())
    }

    /// Takes back what was done, the last first; says whether all could be.
    fn undo(&mut self) -> bool {
        let mut is_undone = true;
        while let Some(done) = self.done.pop() {
            let undone = match &done {
                Done::Aside(path) => fs::rename(self.old.join(path.as_str()), self.directory.join(path.as_str())),
                Done::Placed(path) => fs::remove_file(self.directory.join(path.as_str())),
            };
            if let Err(error) = undone {
                is_undone = false;
                tracing::warn!(directory = %self.directory.display(), "a change is not taken back: {error}");
            }
        }
        is_undone
    }
}

/// Makes sure that the way to a file goes through directories alone.
fn check_parents(directory: &Path, path: &FilePath) -> Result<(), OpError> {
    let mut here = directory.to_path_buf();
    let parts: Vec<&str> = path.as_str().split('/').collect();
    for part in &parts[..parts.len() - 1] {
        here.push(part);
        match fs::symlink_metadata(&here) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) => return Err(NewError::InTheWay { path: here, what: what(&metadata) }.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(OpError::File { path: here, source }),
        }
    }
    Ok(())
}

fn make_parents(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)
}

fn what(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_symlink() {
        "a symbolic link"
    } else if metadata.is_dir() {
        "a directory"
    } else if metadata.is_file() {
        "a file"
    } else {
        "neither file nor directory"
    }
}

pub(super) fn read_open(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_comes_back_when_a_later_step_fails() {
        let root = tempfile::tempdir().expect("temporary directory");
        let [directory, made, old] = ["project", "made", "old"].map(|name| root.path().join(name));
        [&directory, &made, &old].into_iter().for_each(|path| fs::create_dir(path).expect("made"));
        fs::write(directory.join("a"), "mine").expect("written");
        fs::write(made.join("a"), "new").expect("written");
        let change = |path: &str| Change { path: path.parse().expect("a path"), bytes: Some(Vec::new()) };
        let mut moves = Moves { directory: &directory, made: &made, old: &old, done: Vec::new() };
        assert!(moves.make(&change("a")).is_ok());
        assert_eq!(fs::read_to_string(directory.join("a")).expect("there"), "new");
        assert!(moves.make(&change("b")).is_err(), "nothing was staged for it");
        assert!(moves.undo());
        assert_eq!(fs::read_to_string(directory.join("a")).expect("there"), "mine");
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("temporary directory");
        let place = root.path().join("run.sh");
        fs::write(&place, "old").expect("written");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o750)).expect("set");
        let change = Change { path: "run.sh".parse().expect("a path"), bytes: Some(b"new".to_vec()) };
        apply(root.path(), &[change]).expect("applied");
        let mode = fs::metadata(&place).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode, fs::read_to_string(&place).expect("there")), (0o750, "new".into()));
    }
}
