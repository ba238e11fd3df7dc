//! Where records come from: a file, a directory of files, or a zip of files as OSV databases publish them.
//!
//! Nothing is unpacked to the disk, no link is followed, and what a source may grow to is bounded before it is read.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

// Named only so that `zip` inflates with its backend of safe code; a zip is input of strangers.
use flate2 as _;
use walkdir::{DirEntry, WalkDir};
use zip::ZipArchive;

use super::{AdvisoryError, RECORD_BYTES_MAX, text};

/// The most records of one import; the largest ecosystem of the public database has about 230,000.
pub const RECORDS_MAX: usize = 500_000;
/// The largest zip in bytes; it is held in memory.
pub const ZIP_BYTES_MAX: usize = 64 << 20;
/// How many times larger than the zip all its records may be together. JSON of records shrinks to about a tenth.
pub const ZIP_RATIO_MAX: u64 = 100;
/// The most folders above a record.
pub const DEPTH_MAX: usize = 16;

/// Takes one record: where it is from, and its bytes.
pub(super) type Take<'a> = &'a mut dyn FnMut(&str, &[u8]) -> Result<(), AdvisoryError>;

/// Reads every record below a path, in order of name.
pub(super) fn each(path: &Path, take: Take<'_>) -> Result<(), AdvisoryError> {
    let metadata = path.metadata().map_err(|source| AdvisoryError::File { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return directory(path, take);
    }
    if !metadata.is_file() {
        let reason = "it is neither a file nor a directory".to_owned();
        return Err(AdvisoryError::Source { path: path.to_owned(), entry: None, reason });
    }
    let bytes = read(path, ZIP_BYTES_MAX)?;
    if bytes.starts_with(b"PK") { zipped(path, &bytes, take) } else { take(&path.display().to_string(), &bytes) }
}

/// Reads `*.json` of a directory and those below it, but for hidden ones such as `.git`.
fn directory(root: &Path, take: Take<'_>) -> Result<(), AdvisoryError> {
    let shown = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    let mut count = 0;
    // One level deeper than the bound, so that what lies there is refused and not left out.
    for entry in WalkDir::new(root).max_depth(DEPTH_MAX + 2).sort_by_file_name().into_iter().filter_entry(shown) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            AdvisoryError::File { path, source: error.into_io_error().unwrap_or(std::io::ErrorKind::Other.into()) }
        })?;
        let refuse = |reason: String| AdvisoryError::Source {
            path: root.to_owned(),
            entry: Some(text::line(&entry.path().display().to_string())),
            reason,
        };
        if entry.depth() > DEPTH_MAX + 1 {
            return Err(refuse(format!("it lies below more than {DEPTH_MAX} directories")));
        }
        let is_json = entry.path().extension().is_some_and(|extension| extension == "json");
        if !is_json || entry.file_type().is_dir() {
            continue;
        }
        if !entry.file_type().is_file() {
            return Err(refuse("it is a link or a special file, and none of these is followed".into()));
        }
        count += 1;
        at_most(count)?;
        take(&entry.path().display().to_string(), &read(entry.path(), RECORD_BYTES_MAX)?)?;
    }
    Ok(())
}

fn zipped(path: &Path, bytes: &[u8], take: Take<'_>) -> Result<(), AdvisoryError> {
    let refuse = |entry: Option<&str>, reason: String| AdvisoryError::Source {
        path: path.to_owned(),
        entry: entry.map(text::line),
        reason: text::line(&reason),
    };
    // The reader makes a table of all entries; a zip of nothing but entries would make it many times the zip.
    at_most(bytes.windows(ENTRY_MARK.len()).filter(|window| *window == ENTRY_MARK).count())?;
    let unreadable = |error: zip::result::ZipError| refuse(None, format!("it is no zip that can be read: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
    if archive.has_duplicate_names() || archive.has_overlapping_files().map_err(unreadable)? {
        return Err(refuse(None, "entries of it have one name, or share their bytes".into()));
    }
    let mut order: Vec<(String, usize)> = Vec::with_capacity(archive.len());
    for (index, name) in archive.file_names().enumerate() {
        order.push((name.map_err(unreadable)?.into_owned(), index));
    }
    order.sort_unstable();
    let total_max = bytes.len() as u64 * ZIP_RATIO_MAX;
    let mut total = 0;
    for (name, index) in order {
        let refuse = |reason: String| refuse(Some(&name), reason);
        check_name(&name).map_err(&refuse)?;
        let entry = archive.by_index(index).map_err(|error| refuse(error.to_string()))?;
        if entry.is_dir() || !name.ends_with(".json") {
            continue;
        }
        if entry.is_symlink() {
            return Err(refuse("it is a link, and no link is followed".into()));
        }
        let mut record = Vec::new();
        let read = entry.take(RECORD_BYTES_MAX as u64 + 1).read_to_end(&mut record);
        total += read.map_err(|error| refuse(format!("it cannot be unpacked: {error}")))? as u64;
        if record.len() > RECORD_BYTES_MAX {
            return Err(refuse(format!("it passes the bound of {RECORD_BYTES_MAX} bytes")));
        }
        if total > total_max {
            return Err(refuse(format!("with it, all is more than {ZIP_RATIO_MAX} times as large as the zip")));
        }
        take(&format!("{}!{}", path.display(), text::line(&name)), &record)?;
    }
    Ok(())
}

/// What each entry of the table of a zip begins with.
const ENTRY_MARK: &[u8] = b"PK\x01\x02";

/// Names of entries become names in messages and nothing else; one that points elsewhere still tells of a forged zip.
fn check_name(name: &str) -> Result<(), String> {
    let parts: Vec<&str> = name.trim_end_matches('/').split('/').collect();
    let is_odd = |part: &&str| part.is_empty() || *part == "." || *part == "..";
    if parts.iter().any(is_odd) || name.contains(['\\', '\0', ':']) {
        return Err("its name is no path below the zip".into());
    }
    if parts.len() > DEPTH_MAX + 1 {
        return Err(format!("it lies below more than {DEPTH_MAX} directories"));
    }
    Ok(())
}

fn at_most(records: usize) -> Result<(), AdvisoryError> {
    if records > RECORDS_MAX {
        return Err(AdvisoryError::TooMany { what: "records of one import", limit: RECORDS_MAX });
    }
    Ok(())
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, AdvisoryError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|source| AdvisoryError::File { path: path.to_owned(), source })?;
    if bytes.len() > bytes_max {
        let reason = format!("it passes the bound of {bytes_max} bytes");
        return Err(AdvisoryError::Source { path: path.to_owned(), entry: None, reason });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn collect(path: &Path) -> Result<Vec<(String, usize)>, String> {
        let mut taken = Vec::new();
        let done = each(path, &mut |file, bytes| {
            taken.push((file.rsplit(['/', '!']).next().unwrap_or_default().to_owned(), bytes.len()));
            Ok(())
        });
        done.map(|()| taken).map_err(|error| error.to_string())
    }

    /// Writes a zip, lets a test change its bytes, and reads it.
    fn zip(entries: &[(&str, &[u8])], change: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<(String, usize)>, String> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for (name, bytes) in entries {
            writer.start_file(*name, options).expect("starts");
            writer.write_all(bytes).expect("writes");
        }
        let mut bytes = writer.finish().expect("ends").into_inner();
        change(&mut bytes);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("all.zip");
        std::fs::write(&path, bytes).expect("writes");
        collect(&path)
    }

    /// Replaces every occurrence of a text by one as long, which no writer would write.
    fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(places.len() >= 2, "in the entry and in the table");
        places.iter().for_each(|at| bytes[*at..at + to.len()].copy_from_slice(to));
    }

    #[test]
    fn records_of_a_zip_come_in_order_of_name() {
        let entries: &[(&str, &[u8])] = &[("b.json", b"22"), ("x/a.json", b"1"), ("readme.md", b"no"), ("a.json", b"")];
        let taken = zip(entries, |_| ()).expect("reads");
        assert_eq!(taken, [("a.json".to_owned(), 0), ("b.json".into(), 2), ("a.json".into(), 1)]);
    }

    #[test]
    fn a_zip_that_unfolds_too_far_is_refused_before_it_does() {
        let zeros = vec![b' '; RECORD_BYTES_MAX];
        let error = zip(&[("a.json", &[zeros.as_slice(), b" "].concat())], |_| ()).expect_err("is refused");
        assert!(error.contains("`a.json`") && error.contains("passes the bound of 4194304 bytes"), "{error}");
        let error = zip(&[("a.json", &zeros), ("b.json", &zeros)], |_| ()).expect_err("is refused");
        assert!(error.contains("more than 100 times as large as the zip"), "{error}");
        // The table lies about sizes; what comes out counts.
        let size = (RECORD_BYTES_MAX as u32).to_le_bytes();
        let error = zip(&[("a.json", &zeros)], |bytes| replace(bytes, &size, &9u32.to_le_bytes()));
        assert!(error.is_err());
    }

    #[test]
    fn names_that_point_elsewhere_are_refused() {
        let plain = "aaa/b.json";
        for odd in ["../b/.json", "a/../x.jsn", "/etc/x.jsn", "a\\..\\x.jsn", "C:\\x.json ", "a//b.json ", "./b/c.json"]
        {
            let error = zip(&[(plain, b"{}")], |bytes| replace(bytes, plain.as_bytes(), odd.as_bytes()));
            let error = error.expect_err("is refused");
            assert!(error.contains("no path below the zip"), "{odd}: {error}");
        }
        let deep = format!("{}a.json", "d/".repeat(DEPTH_MAX + 1));
        assert!(zip(&[(&deep, b"{}")], |_| ()).expect_err("is refused").contains("below more than 16"));
        assert_eq!(zip(&[(&deep[2..], b"{}")], |_| ()).expect("reads").len(), 1);
        let error = zip(&[("a.json", b"1"), ("b.json", b"2")], |bytes| replace(bytes, b"b.json", b"a.json"));
        assert!(error.expect_err("is refused").contains("have one name"));
    }

    #[test]
    fn a_damaged_zip_is_refused() {
        let entries: &[(&str, &[u8])] = &[("a.json", b"{\"id\": \"A-1\"}"), ("b.json", b"{}")];
        let mut whole = Vec::new();
        zip(entries, |bytes| whole.clone_from(bytes)).expect("reads");
        for cut in 2..whole.len() {
            assert!(zip(entries, |bytes| bytes.truncate(cut)).is_err(), "{cut}");
        }
        assert!(zip(entries, |bytes| bytes[40] ^= 0xff).is_err(), "a checksum holds the bytes");
    }

    #[test]
    fn too_many_entries_are_refused_before_their_table_is_made() {
        let error = zip(&[], |bytes| {
            bytes.clear();
            (0..=RECORDS_MAX).for_each(|_| bytes.extend(ENTRY_MARK));
        });
        assert!(error.expect_err("is refused").contains("pass the bound of 500000"));
    }

    #[test]
    fn directories_are_read_through_and_links_are_not_followed() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            std::fs::write(path, bytes).expect("writes");
        };
        write("b/2.json", b"22");
        write("a.json", b"1");
        write(".git/x.json", b"no");
        write("b/readme.md", b"no");
        assert_eq!(collect(root.path()).expect("reads"), [("a.json".to_owned(), 1), ("2.json".into(), 2)]);
        let deep: PathBuf = (0..=DEPTH_MAX).map(|_| "d").collect();
        write(&deep.join("x.json").display().to_string(), b"3");
        assert!(collect(root.path()).expect_err("is refused").contains("below more than 16 directories"));
        std::fs::remove_dir_all(root.path().join("d")).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("b/1.json")).expect("links");
        assert!(collect(root.path()).expect_err("is refused").contains("is a link"));
        assert!(collect(&root.path().join("absent")).expect_err("is refused").contains("cannot use"));
    }
}
