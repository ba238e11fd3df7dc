//! The canonical form of the tar: writing it, and reading nothing else.
//!
//! A header is right if it is the one that would have been written for its path, size and mode, so every field that we do
//! not use is refused unless it is zero.

use std::ops::Range;

use super::tree::Tree;
use super::{
    ArchiveError, ENTRIES_MAX, FILE_BYTES_MAX, MANIFEST_BYTES_MAX, MANIFEST_PATH, PATH_BYTES_MAX, PATH_DEPTH_MAX,
};
use super::{RATIO_FREE_BYTES, RATIO_MAX, TAR_BYTES_MAX};
use crate::package::path::ambiguity;

pub(super) const BLOCK: usize = 512;
pub(super) const END: usize = 2 * BLOCK;

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) path: String,
    pub(super) executable: bool,
    pub(super) writable: bool,
    pub(super) range: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Plain,
    Executable,
}

impl Mode {
    pub(super) fn from_bit(executable: bool) -> Self {
        if executable { Self::Executable } else { Self::Plain }
    }
}

/// The bounds, so that tests can hit them with small inputs.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) file_bytes: u64,
    pub(super) manifest_bytes: u64,
    pub(super) tar_bytes: u64,
    pub(super) ratio_free_bytes: u64,
}

impl Limits {
    pub(super) const ALL: Self = Self {
        entries: ENTRIES_MAX,
        file_bytes: FILE_BYTES_MAX,
        manifest_bytes: MANIFEST_BYTES_MAX,
        tar_bytes: TAR_BYTES_MAX,
        ratio_free_bytes: RATIO_FREE_BYTES,
    };

    pub(super) fn file(&self, path: &str) -> u64 {
        if path == MANIFEST_PATH { self.manifest_bytes } else { self.file_bytes }
    }

    /// How large the tar of so many compressed bytes may be.
    pub(super) fn tar(&self, compressed: usize) -> u64 {
        (compressed as u64).saturating_mul(RATIO_MAX).max(self.ratio_free_bytes).min(self.tar_bytes)
    }
}

/// Finds the files of a tar and refuses every other form than the one `append` makes; never gives an empty list.
pub(super) fn index(limits: &Limits, tar: &[u8]) -> Result<Vec<Slot>, ArchiveError> {
    let mut slots: Vec<Slot> = Vec::new();
    let mut tree = Tree::default();
    let mut offset = 0;
    loop {
        let rest = &tar[offset..];
        if !slots.is_empty() && rest.len() == END && rest.iter().all(|byte| *byte == 0) {
            return Ok(slots);
        }
        let fault = |reason| ArchiveError::NotCanonical { offset, reason };
        check_count(limits, slots.len() + 1)?;
        let header = rest.get(..BLOCK).ok_or_else(|| fault("the tar is cut off"))?;
        let (path, mode, size) = parse(tar::Header::from_byte_slice(header), &fault)?;
        within_file(&path, size, limits)?;
        match slots.last() {
            None if path != MANIFEST_PATH => return Err(fault("the first entry is not `package.json`")),
            Some(_) if path == MANIFEST_PATH => return Err(fault("`package.json` comes twice")),
            Some(last) if slots.len() > 1 && last.path >= path => return Err(fault("entries are not in order")),
            _ => tree.insert(&path)?,
        }
        if header_of(&path, size, mode)?.as_bytes() != header {
            return Err(fault("its header has other fields than path, size and mode"));
        }
        let start = offset + BLOCK;
        let end = start + usize::try_from(size).map_err(|_| fault("its size is beyond memory"))?;
        let padded = end.next_multiple_of(BLOCK);
        match tar.get(end..padded) {
            Some(padding) if padding.iter().all(|byte| *byte == 0) => {}
            Some(_) => return Err(fault("its padding is not zero")),
            None => return Err(fault("the tar is cut off")),
        }
        slots.push(Slot { path, executable: mode == Mode::Executable, writable: false, range: start..end });
        offset = padded;
    }
}

fn parse(
    header: &tar::Header,
    fault: &impl Fn(&'static str) -> ArchiveError,
) -> Result<(String, Mode, u64), ArchiveError> {
    let path = String::from_utf8(header.path_bytes().into_owned()).map_err(|_| fault("its path is not UTF-8"))?;
    let found = match header.entry_type() {
        tar::EntryType::Regular => None,
        tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => Some("PAX extension"),
        tar::EntryType::GNULongName | tar::EntryType::GNULongLink | tar::EntryType::GNUSparse => Some("GNU extension"),
        tar::EntryType::Symlink => Some("symbolic link"),
        tar::EntryType::Link => Some("hard link"),
        tar::EntryType::Directory => Some("directory"),
        tar::EntryType::Char | tar::EntryType::Block => Some("device"),
        tar::EntryType::Fifo => Some("named pipe"),
        _ => Some("file of unknown kind"),
    };
    if let Some(found) = found {
        return Err(ArchiveError::NotRegular { path, found });
    }
    check_path(&path)?;
    let mode = match header.mode() {
        Ok(0o644) => Mode::Plain,
        Ok(0o755) => Mode::Executable,
        _ => return Err(fault("its mode is neither 0644 nor 0755")),
    };
    let size = header.entry_size().map_err(|_| fault("its size is no octal number"))?;
    Ok((path, mode, size))
}

/// How many bytes of a tar a file of this size takes, with its header.
pub(super) fn room_of(size: u64) -> u64 {
    BLOCK as u64 + size.next_multiple_of(BLOCK as u64)
}

/// Puts a file into its room, which holds zeros; something writes its content and tells its mode.
pub(super) fn put(
    room: &mut [u8],
    path: &str,
    size: usize,
    write: impl FnOnce(&mut [u8]) -> Result<Mode, ArchiveError>,
) -> Result<(), ArchiveError> {
    let (header, content) = room.split_at_mut(BLOCK);
    let mode = write(&mut content[..size])?;
    header.copy_from_slice(header_of(path, size as u64, mode)?.as_bytes());
    Ok(())
}

pub(super) fn header_of(path: &str, size: u64, mode: Mode) -> Result<tar::Header, ArchiveError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(|_| ArchiveError::Path {
        path: path.to_owned(),
        reason: "does not fit: a file name has at most 100 bytes, the directories before it at most 155",
    })?;
    header.set_size(size);
    header.set_mode(if mode == Mode::Executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// Refuses a path that is not a plain relative one, whatever the system that unpacks it.
pub(super) fn check_path(path: &str) -> Result<(), ArchiveError> {
    let fault = |reason| Err(ArchiveError::Path { path: path.escape_debug().to_string(), reason });
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return fault("must have 1 to 255 bytes");
    }
    if path.starts_with('/') {
        return fault("is absolute");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
        return fault("holds a backslash, a colon or a control character");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return fault("holds an empty, `.` or `..` component");
    }
    if path.split('/').count() > PATH_DEPTH_MAX {
        return fault("has more than 32 components");
    }
    if let Some(reason) = ambiguity(path) {
        let reason = reason.trim_start_matches("it ");
        return Err(ArchiveError::Path { path: path.escape_default().to_string(), reason });
    }
    Ok(())
}

pub(super) fn check_count(limits: &Limits, count: usize) -> Result<(), ArchiveError> {
    if count <= limits.entries {
        return Ok(());
    }
    Err(ArchiveError::TooLarge { what: "the package".to_owned(), limit: limits.entries as u64, unit: "files" })
}

/// Refuses a file beyond its bound.
pub(super) fn within_file(path: &str, size: u64, limits: &Limits) -> Result<(), ArchiveError> {
    let limit = limits.file(path);
    if size <= limit { Ok(()) } else { within(&format!("`{path}`"), size, limit) }
}

pub(super) fn within(what: &str, size: u64, limit: u64) -> Result<(), ArchiveError> {
    if size <= limit {
        return Ok(());
    }
    Err(ArchiveError::TooLarge { what: what.to_owned(), limit, unit: "bytes" })
}
