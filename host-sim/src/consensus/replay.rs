//! What a validator has seen used, in a file that outlives it.
//!
//! A use is on the disk before the validator signs anything, so no crash lets it sign for the same use again. The file is
//! lines of a digest and the second until which it must be remembered; opening it drops what is over and, if the last line was
//! cut by a crash, that line, whose use was never signed for. Any other line that cannot be read is damage, and a validator
//! with a damaged memory judges nothing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use trustchain::digest::Sha256;

/// The most uses that are remembered at a time; beyond that nothing is judged until some are over, in at most five minutes.
pub const USES_MAX: usize = 65_536;
/// Lines that may be over before the file is written again.
const STALE_LINES_MAX: usize = 4_096;

/// Uses that are remembered.
#[derive(Debug)]
pub struct ReplayStore {
    path: PathBuf,
    file: File,
    /// Until which second each is remembered.
    uses: HashMap<Sha256, i64>,
    lines: usize,
}

/// Why a use is not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It was used before.
    #[error("the operation, or its proof of time, was used before")]
    Used,
    /// Too many are remembered.
    #[error("more than 65536 operations are under way")]
    Full,
    /// The file cannot be read or written.
    #[error("`{}` cannot be read or written", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is no use.
    #[error("line `{line}` of `{}` is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

impl ReplayStore {
    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub fn open(path: &Path, now: OffsetDateTime) -> Result<Self, ReplayError> {
        let io = |source| ReplayError::Io { path: path.to_path_buf(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut uses = HashMap::new();
        for (index, line) in whole.lines().enumerate() {
            let damaged = || ReplayError::Damaged { path: path.to_path_buf(), line: index + 1 };
            let (digest, until) = read_line(line).ok_or_else(damaged)?;
            if until >= now.unix_timestamp() {
                uses.insert(digest, until);
            }
        }
        let file = rewrite(path, &uses).map_err(io)?;
        Ok(Self { path: path.to_path_buf(), file, lines: uses.len(), uses })
    }

    /// Records uses, all or none, if none of them was used before. They are on the disk when this returns.
    ///
    /// # Errors
    /// [`ReplayError::Used`], too many, or a disk that does not take it.
    pub fn record(&mut self, used: &[Sha256], until: OffsetDateTime, now: OffsetDateTime) -> Result<(), ReplayError> {
        if self.was_used(used) {
            return Err(ReplayError::Used);
        }
        let second = now.unix_timestamp();
        if self.lines >= self.uses.len() + STALE_LINES_MAX || self.uses.len() + used.len() > USES_MAX {
            self.uses.retain(|_, until| *until >= second);
        }
        if self.uses.len() + used.len() > USES_MAX {
            return Err(ReplayError::Full);
        }
        if self.lines > self.uses.len() + STALE_LINES_MAX {
            self.file = rewrite(&self.path, &self.uses).map_err(|source| self.io(source))?;
            self.lines = self.uses.len();
        }
        let until = until.unix_timestamp();
        let lines: String = used.iter().map(|digest| line(*digest, until)).collect();
        if let Err(source) = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data()) {
            // Half a line may be there, so the file is written again before anything is added to it.
            self.lines = usize::MAX / 2;
            return Err(self.io(source));
        }
        self.lines += used.len();
        self.uses.extend(used.iter().map(|digest| (*digest, until)));
        Ok(())
    }

    /// Says whether any of these was used.
    pub fn was_used(&self, used: &[Sha256]) -> bool {
        used.iter().any(|digest| self.uses.contains_key(digest))
    }

    fn io(&self, source: io::Error) -> ReplayError {
        ReplayError::Io { path: self.path.clone(), source }
    }
}

/// Writes the file anew beside the old one and puts it in its place.
fn rewrite(path: &Path, uses: &HashMap<Sha256, i64>) -> io::Result<File> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut aside = tempfile::NamedTempFile::new_in(directory)?;
    let lines: String = uses.iter().map(|(digest, until)| line(*digest, *until)).collect();
    aside.write_all(lines.as_bytes())?;
    aside.as_file().sync_all()?;
    aside.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()?;
    File::options().append(true).open(path)
}

fn line(digest: Sha256, until: i64) -> String {
    format!("{digest} {until}\n")
}

fn read_line(line: &str) -> Option<(Sha256, i64)> {
    let (digest, until) = line.split_once(' ')?;
    Some((digest.parse().ok()?, until.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));
    const UNTIL: OffsetDateTime = NOW.saturating_add(Duration::minutes(5));

    fn uses(names: &[&str]) -> Vec<Sha256> {
        names.iter().map(|name| Sha256::of(name.as_bytes())).collect()
    }

    #[test]
    fn a_use_is_remembered_over_restarts_until_it_is_over() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("validator/uses");
        let mut store = ReplayStore::open(&path, NOW).expect("opens");
        store.record(&uses(&["a", "b"]), UNTIL, NOW).expect("is new");
        assert!(matches!(store.record(&uses(&["c", "b"]), UNTIL, NOW), Err(ReplayError::Used)));
        assert!(!store.was_used(&uses(&["c"])), "all or none");
        drop(store);
        let mut store = ReplayStore::open(&path, UNTIL).expect("opens");
        assert!(matches!(store.record(&uses(&["a"]), UNTIL, UNTIL), Err(ReplayError::Used)));
        let later = UNTIL + Duration::SECOND;
        assert!(!ReplayStore::open(&path, later).expect("opens").was_used(&uses(&["a"])));
    }

    #[test]
    fn a_cut_line_is_dropped_and_a_damaged_one_is_refused() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("uses");
        let mut store = ReplayStore::open(&path, NOW).expect("opens");
        store.record(&uses(&["a", "b"]), UNTIL, NOW).expect("is new");
        let text = fs::read_to_string(&path).expect("text");
        fs::write(&path, &text[..text.len() - 3]).expect("written");
        let store = ReplayStore::open(&path, NOW).expect("opens");
        assert!(store.was_used(&uses(&["a"])) && !store.was_used(&uses(&["b"])));
        fs::write(&path, format!("x{text}")).expect("written");
        assert!(matches!(ReplayStore::open(&path, NOW), Err(ReplayError::Damaged { line: 1, .. })));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("uses");
        let mut store = ReplayStore::open(&path, NOW).expect("opens");
        let many: Vec<Sha256> = (0..USES_MAX as u64).map(|n| Sha256::of(&n.to_le_bytes())).collect();
        store.record(&many, UNTIL, NOW).expect("fits");
        assert!(matches!(store.record(&uses(&["a"]), UNTIL, NOW), Err(ReplayError::Full)));
        let later = UNTIL + Duration::SECOND;
        store.record(&uses(&["a"]), later, later).expect("those are over");
        store.record(&uses(&["b"]), later, later).expect("fits");
        assert!(fs::metadata(&path).expect("there").len() < 1_000, "and the file was written again");
    }
}
