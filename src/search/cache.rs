//! The files of an index: its segments, and a list of them with the state of the registry that they show.
//!
//! Files are written aside and renamed, segments before the list, and never changed. Nothing is asked of the disk to be
//! durable: a list or a segment that is damaged, older in form or missing is as good as none, and the index is made anew.
//! Of several processes one writes at a time; the others go on with what they have in memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::part::Part;
use super::segment::{RESIDENT_BYTES_MAX, Segment};
use super::{Index, SearchError};
use crate::registry::Mark;

/// The most documents that are in no file; every process reads their changes from the registry again.
pub const UNSAVED_MAX: usize = 256;

/// The form of the list and of segments.
const VERSION: u32 = 1;
const LIST: &str = "segments";
const LOCK: &str = "lock";
const EXTENSION: &str = "segment";

/// A directory of files that can be made anew.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    resident_max: u64,
}

#[derive(Serialize, Deserialize)]
struct List {
    version: u32,
    mark: (i64, [u8; 8]),
    /// The segments, the largest first, and the numbers of their documents that count no more.
    segments: Vec<(String, Vec<u32>)>,
}

impl Cache {
    /// Names a directory; nothing is read or made.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), resident_max: RESIDENT_BYTES_MAX }
    }

    /// Says from which size on files are not held in memory as a whole.
    #[must_use]
    pub fn resident_bytes_max(self, resident_max: u64) -> Self {
        Self { resident_max, ..self }
    }

    /// Gives the index as it was saved and the state that it shows; none if there is none, or none that can be used.
    pub fn load(&self) -> Option<(Index, Mark)> {
        let list = self.list()?;
        let mut index = Index::default();
        for (name, dead) in list.segments {
            index.parts.push(self.part(name, &dead).ok()?);
        }
        index.weigh();
        let (number, stamp) = list.mark;
        Some((index, Mark { number, stamp }))
    }

    /// Saves an index that shows a state; says whether it did. Another process that is saving now keeps this one from it.
    ///
    /// # Errors
    /// The file system; what is saved is then as it was.
    pub fn save(&self, index: &mut Index, mark: Mark) -> Result<bool, SearchError> {
        fs::create_dir_all(&self.directory)?;
        let lock = File::create(self.directory.join(LOCK))?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        let mut segments = Vec::new();
        for part in &mut index.parts {
            let kept = part.file.take().filter(|name| self.directory.join(name).exists());
            let name = match (kept, part.segment.bytes()) {
                (Some(name), _) => name,
                (None, Some(bytes)) => {
                    let sum = blake3::hash(bytes).to_hex();
                    let name = format!("{}.{EXTENSION}", &sum[..32]);
                    self.write(&name, bytes)?;
                    name
                }
                // Another process made the file superfluous, and this one has not read all of it.
                (None, None) => return Err(SearchError::Damaged),
            };
            part.file = Some(name.clone());
            segments.push((name, part.dead()));
        }
        let list = List { version: VERSION, mark: (mark.number, mark.stamp), segments };
        let mut bytes = rmp_serde::to_vec(&list).map_err(std::io::Error::other)?;
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        self.write(LIST, &bytes)?;
        self.collect(&list);
        Ok(true)
    }

    /// Forgets everything that is saved.
    pub fn clear(&self) {
        // What stays is found to be damaged again.
        let _ = fs::remove_file(self.directory.join(LIST));
    }

    fn list(&self) -> Option<List> {
        let bytes = fs::read(self.directory.join(LIST)).ok()?;
        let (bytes, sum) = bytes.split_last_chunk::<4>()?;
        let list: List =
            (crc32fast::hash(bytes).to_le_bytes() == *sum).then(|| rmp_serde::from_slice(bytes).ok())??;
        (list.version == VERSION).then_some(list)
    }

    fn part(&self, name: String, dead: &[u32]) -> Result<Part, SearchError> {
        let file = File::open(self.directory.join(&name))?;
        let mut part = Part::new(Segment::open(file, self.resident_max)?);
        dead.iter().try_for_each(|number| part.kill(*number))?;
        part.file = Some(name);
        Ok(part)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SearchError> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(bytes)?;
        file.persist(self.directory.join(name)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes segments that the list does not name, and what killed processes left behind.
    fn collect(&self, list: &List) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_used = name == LIST || name == LOCK || list.segments.iter().any(|(used, _)| name == used.as_str());
            if !is_used {
                // Left to the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Query;
    use super::super::tests::{corpus, document, index_of, names, query, search};
    use super::*;

    const MARK: Mark = Mark { number: 7, stamp: *b"stamped!" };

    struct Fixture {
        root: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Self { root: tempfile::tempdir().expect("a directory") }
        }

        fn cache(&self) -> Cache {
            Cache::new(&self.root.path().join("search"))
        }

        fn files(&self) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.root.path().join("search")).expect("lists");
            let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
            files.sort();
            files
        }
    }

    #[test]
    fn what_is_saved_is_loaded_whole_or_piece_by_piece() {
        for resident_max in [RESIDENT_BYTES_MAX, 0] {
            let fixture = Fixture::new();
            let cache = fixture.cache().resident_bytes_max(resident_max);
            assert!(cache.load().is_none());
            let mut index = index_of(corpus());
            let x = document("x", &["gpu"], "Late light.");
            index.apply(vec![("light".into(), None), ("x".into(), Some(x))]).expect("applies");
            assert!(cache.save(&mut index, MARK).expect("saves"));
            let (mut loaded, mark) = cache.load().expect("is there");
            assert_eq!((mark, loaded.len(), index.unsaved(), loaded.unsaved()), (MARK, 6, 0, 0));
            for text in ["light", "lihgt", "ray-tra", ""] {
                assert_eq!(search(&mut loaded, &query(text)), search(&mut index, &query(text)), "{text}");
            }
            let filtered = Query { tags: vec!["gpu".into()], kind: "julia-program".parse().ok(), ..query("") };
            assert_eq!(names(&search(&mut loaded, &filtered)), ["ray-tracer", "solver", "x"]);
            // What was loaded goes on changing, is saved, and leaves no file behind that is not its own.
            let y = document("y", &[], "Later light.");
            loaded.apply(vec![("y".into(), Some(y)), ("solver".into(), None)]).expect("applies");
            assert!(cache.save(&mut loaded, MARK).expect("saves"));
            let (mut again, _) = cache.load().expect("is there");
            assert_eq!(search(&mut again, &query("light")), search(&mut loaded, &query("light")));
            assert_eq!((again.len(), fixture.files().len()), (6, loaded.parts.len() + 2), "segments, list and lock");
        }
    }

    #[test]
    fn files_that_are_damaged_older_or_missing_are_as_good_as_none() {
        let spoil = |spoil: &dyn Fn(&[PathBuf])| {
            let fixture = Fixture::new();
            fixture.cache().save(&mut index_of(corpus()), MARK).expect("saves");
            spoil(&fixture.files());
            fixture.cache().load().map(|(index, _)| index.len())
        };
        assert_eq!(spoil(&|_| ()), Some(6));
        let segment =
            |files: &[PathBuf]| files.iter().find(|path| path.extension().is_some()).expect("a segment").clone();
        let list = |files: &[PathBuf]| files.iter().find(|path| path.ends_with(LIST)).expect("a list").clone();
        assert_eq!(spoil(&|files| fs::remove_file(segment(files)).expect("removes")), None);
        assert_eq!(spoil(&|files| fs::write(segment(files), "").expect("writes")), None);
        assert_eq!(spoil(&|files| fs::write(list(files), "nonsense").expect("writes")), None);
        let flip = |path: PathBuf| {
            let mut bytes = fs::read(&path).expect("reads");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).expect("writes");
        };
        assert_eq!(spoil(&|files| flip(segment(files))), None);
        assert_eq!(spoil(&|files| flip(list(files))), None);
    }

    #[test]
    fn damage_in_what_was_not_read_yet_is_found_when_it_is() {
        let fixture = Fixture::new();
        fixture.cache().save(&mut index_of(corpus()), MARK).expect("saves");
        let path = fixture.files().into_iter().find(|path| path.extension().is_some()).expect("a segment");
        let mut bytes = fs::read(&path).expect("reads");
        let at = bytes.windows(6).rposition(|window| window == b"Counts").expect("a record");
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("writes");
        let (mut loaded, _) = fixture.cache().resident_bytes_max(0).load().expect("its maps are whole");
        assert!(loaded.search(&query("light")).is_ok());
        assert!(matches!(loaded.search(&query("words")), Err(SearchError::Damaged)));
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let fixture = Fixture::new();
        fixture.cache().save(&mut index_of(corpus()), MARK).expect("saves");
        let lock = File::open(fixture.root.path().join("search").join(LOCK)).expect("opens");
        lock.lock().expect("locks");
        assert!(!fixture.cache().save(&mut index_of(corpus()), MARK).expect("is kept from it"));
    }
}
