//! Opening a file below a directory without following a link anywhere on the way.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// Opens `path`, which is relative and `/`-separated, below `root` for reading.
///
/// Each component is opened from the one before, so a link that is put in place meanwhile changes nothing. Named pipes
/// open without waiting for a writer; the caller asks for the kind of file.
pub(crate) fn open(root: &Path, path: &str) -> io::Result<File> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, root, directory, Mode::empty())?;
    let (parents, name) = path.rsplit_once('/').map_or((None, path), |(parents, name)| (Some(parents), name));
    for parent in parents.into_iter().flat_map(|parents| parents.split('/')) {
        at = openat(&at, parent, directory | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(&at, name, file, Mode::empty())?.into())
}
