//! Writing the log.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::event::{AnomalyAction, Event, Record};
use super::verify::{Segment, VerifyError, last_line, segments};
use crate::manifest::Digest;

/// Gives microseconds since 1970 (UTC).
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this size is closed and a new one begun.
    pub segment_bytes_max: u64,
    /// This many segments are kept, the open one included; at least one.
    pub segments_max: usize,
}

/// The end of the log: kept elsewhere, it lets [`verify`](super::verify) see that lines were cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last line, 0 if there is none.
    pub sequence: u64,
    /// BLAKE3 of the last line.
    pub digest: Digest,
}

/// Why the log could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file could not be read or written.
    #[error("cannot write the audit log `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process writes this log.
    #[error("the audit log in `{directory}` is written by another process")]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// The end of the log cannot be continued.
    #[error("cannot continue the audit log")]
    Broken(#[from] VerifyError),
}

/// An open log. It is locked against other processes and a second opening; callers on any thread may append.
pub struct AuditLog {
    directory: PathBuf,
    options: Options,
    clock: Clock,
    state: Mutex<State>,
    /// The directory, locked for as long as the log is open.
    _lock: File,
}

struct State {
    path: PathBuf,
    file: File,
    bytes: u64,
    head: Head,
}

impl Default for Options {
    /// 8 segments of 4 MiB: about 100,000 events.
    fn default() -> Self {
        Self { segment_bytes_max: 4 << 20, segments_max: 8 }
    }
}

impl Head {
    /// The head of a log without lines.
    pub fn empty() -> Self {
        Self { sequence: 0, digest: Digest::of(b"") }
    }
}

impl AuditLog {
    /// Opens the log in a directory, which is made if it is not there, and continues it.
    ///
    /// A last line that was only half written when the process died is removed, and an `AnomalyDetected` says so.
    ///
    /// # Errors
    /// The directory or a file cannot be used, the log is open already, or a line of its last segment is no record.
    pub fn open(directory: &Path, options: Options, clock: Clock) -> Result<Self, AuditError> {
        fs::create_dir_all(directory).map_err(|source| unusable(directory, source))?;
        let lock = File::open(directory).map_err(|source| unusable(directory, source))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::Busy { directory: directory.to_owned() },
            TryLockError::Error(source) => unusable(directory, source),
        })?;
        let last = segments(directory)?.pop();
        let path = last.map_or_else(|| Segment::path(directory, 1), |segment| segment.path);
        let (head, whole, torn) = last_line(&path)?;
        // A segment is created before its first line; without one, the chain goes on from the segment before.
        let head = match head {
            Some(head) => head,
            None => previous_head(directory, &path)?,
        };
        let file = create(&path)?;
        file.set_len(whole).map_err(|source| unusable(&path, source))?;
        let state = Mutex::new(State { path, file, bytes: whole, head });
        let log = Self { directory: directory.to_owned(), options, clock, state, _lock: lock };
        if torn > 0 {
            let anomaly = format!("the last line of the audit log was half written: {torn} bytes removed");
            log.append(Event::AnomalyDetected { extension: None, anomaly, action: AnomalyAction::Log })?;
        }
        Ok(log)
    }

    /// Appends an event and gives its sequence number. The line has reached the system, not yet the disk.
    ///
    /// # Errors
    /// The line cannot be written. What was written of it is removed, so the log stays whole.
    pub fn append(&self, event: Event) -> Result<u64, AuditError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bytes >= self.options.segment_bytes_max && state.bytes > 0 {
            self.rotate(&mut state)?;
        }
        let sequence = state.head.sequence + 1;
        let record = Record { sequence, time_us: (self.clock)(), previous: state.head.digest, event: event.bounded() };
        let mut line = serde_json::to_vec(&record).expect("a record has only text keys and integers");
        let digest = Digest::of(&line);
        line.push(b'\n');
        if let Err(source) = state.file.write_all(&line) {
            // If this fails too, the half line is removed by the next `open`.
            let _ = state.file.set_len(state.bytes);
            return Err(unusable(&state.path, source));
        }
        state.bytes += line.len() as u64;
        state.head = Head { sequence, digest };
        Ok(sequence)
    }

    /// Waits until everything appended has reached the disk, and gives the head.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&self) -> Result<Head, AuditError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.file.sync_data().map_err(|source| unusable(&state.path, source))?;
        Ok(state.head)
    }

    /// Gives the head.
    pub fn head(&self) -> Head {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).head
    }

    /// Gives lines, the newest first: so many at most, and only those before a number if one is given. Reads no more files
    /// than it must, of [`Options::segment_bytes_max`] each.
    ///
    /// # Errors
    /// A file cannot be read, or holds a line that is no record.
    pub fn newest(&self, before: Option<u64>, most: usize) -> Result<Vec<Record>, AuditError> {
        // Nothing is appended and no file is removed meanwhile.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let end = before.map_or(state.head.sequence, |before| before.saturating_sub(1).min(state.head.sequence));
        let mut records = Vec::new();
        for segment in segments(&self.directory)?.iter().rev().filter(|segment| segment.first <= end) {
            let bytes = fs::read(&segment.path).map_err(|source| unusable(&segment.path, source))?;
            // Lines are numbered without gaps, so the place of a line says its number.
            let wanted = bytes.split_inclusive(|byte| *byte == b'\n').zip(segment.first..=end);
            let lines: Vec<(&[u8], u64)> = wanted.collect();
            for (line, number) in lines.into_iter().rev().take(most - records.len()) {
                let record = serde_json::from_slice(line).map_err(|error| VerifyError::Line {
                    path: segment.path.clone(),
                    line: number - segment.first + 1,
                    reason: error.to_string(),
                })?;
                records.push(record);
            }
            if records.len() >= most {
                break;
            }
        }
        Ok(records)
    }

    /// Gives the directory, for [`verify`](super::verify).
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn rotate(&self, state: &mut State) -> Result<(), AuditError> {
        state.file.sync_data().map_err(|source| unusable(&state.path, source))?;
        let path = Segment::path(&self.directory, state.head.sequence + 1);
        state.file = create(&path)?;
        (state.path, state.bytes) = (path, 0);
        let mut kept = segments(&self.directory)?;
        kept.truncate(kept.len().saturating_sub(self.options.segments_max.max(1)));
        for old in kept {
            fs::remove_file(&old.path).map_err(|source| unusable(&old.path, source))?;
        }
        Ok(())
    }
}

/// Finds the head before a segment that has no line yet.
fn previous_head(directory: &Path, path: &Path) -> Result<Head, AuditError> {
    let before = segments(directory)?.into_iter().rfind(|segment| segment.path != path);
    match before {
        None => Ok(Head::empty()),
        Some(segment) => Ok(last_line(&segment.path)?.0.unwrap_or_else(Head::empty)),
    }
}

fn create(path: &Path) -> Result<File, AuditError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path).map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: io::Error) -> AuditError {
    AuditError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::{LINE_BYTES_MAX, TEXT_CHARS_MAX, verify};
    use super::*;

    fn ticking() -> Clock {
        let now = AtomicU64::new(0);
        Arc::new(move || now.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn unloaded(generation: u64) -> Event {
        Event::Unloaded { extension: "x".parse().expect("valid"), generation }
    }

    fn open(directory: &Path, options: Options) -> AuditLog {
        AuditLog::open(directory, options, ticking()).expect("opens")
    }

    fn only_segment(directory: &Path) -> PathBuf {
        segments(directory).expect("lists").pop().expect("one").path
    }

    #[test]
    fn lines_are_numbered_chained_and_continued_after_a_restart() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = open(directory.path(), Options::default());
        assert_eq!([log.append(unloaded(1)).expect("written"), log.append(unloaded(2)).expect("written")], [1, 2]);
        drop(log);
        let log = open(directory.path(), Options::default());
        assert_eq!(log.append(unloaded(3)).expect("written"), 3);
        let text = fs::read_to_string(only_segment(directory.path())).expect("text");
        let first = text.lines().next().expect("a line");
        insta::assert_snapshot!(first, @r#"{"sequence":1,"time_us":1,"previous":"blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","event":{"type":"unloaded","extension":"x","generation":1}}"#);
        let second: Record = serde_json::from_str(text.lines().nth(1).expect("a line")).expect("a record");
        assert_eq!(second.previous, Digest::of(first.as_bytes()));
        assert_eq!(verify(directory.path(), Some(log.sync().expect("synced"))).expect("whole").records, 3);
    }

    #[test]
    fn the_newest_lines_come_first_over_all_segments() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = open(directory.path(), Options { segment_bytes_max: 400, segments_max: 9 });
        let newest = |before, most| -> Vec<u64> {
            log.newest(before, most).expect("reads").iter().map(|record| record.sequence).collect()
        };
        assert_eq!(newest(None, 5), [0; 0]);
        for generation in 1..=8 {
            log.append(unloaded(generation)).expect("written");
        }
        assert!(segments(directory.path()).expect("lists").len() > 2);
        assert_eq!(newest(None, 5), [8, 7, 6, 5, 4]);
        assert_eq!(newest(Some(4), 5), [3, 2, 1]);
        assert_eq!((newest(Some(1), 5), newest(Some(99), 1), newest(None, 0)), (vec![], vec![8], vec![]));
        fs::write(only_segment(directory.path()), "no record\n").expect("written");
        assert!(matches!(log.newest(None, 1), Err(AuditError::Broken(VerifyError::Line { line: 1, .. }))));
    }

    #[test]
    fn a_log_that_is_open_is_refused_to_others() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = open(directory.path(), Options::default());
        let second = AuditLog::open(directory.path(), Options::default(), ticking());
        assert!(matches!(second, Err(AuditError::Busy { .. })));
        drop(log);
        assert!(AuditLog::open(directory.path(), Options::default(), ticking()).is_ok());
    }

    #[test]
    fn a_half_written_line_is_removed_and_recorded() {
        let directory = tempfile::tempdir().expect("temporary directory");
        open(directory.path(), Options::default()).append(unloaded(1)).expect("written");
        let path = only_segment(directory.path());
        let whole = fs::read(&path).expect("bytes");
        fs::write(&path, [&whole[..], b"{\"sequence\":2,\"ti"].concat()).expect("written");
        let log = open(directory.path(), Options::default());
        assert_eq!(log.head().sequence, 2);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.lines().nth(1).expect("a line").contains("half written: 17 bytes removed"));
        assert!(verify(directory.path(), Some(log.head())).is_ok());
    }

    #[test]
    fn segments_are_closed_at_their_size_and_the_oldest_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = open(directory.path(), Options { segment_bytes_max: 300, segments_max: 3 });
        for generation in 0..20 {
            log.append(unloaded(generation)).expect("written");
        }
        assert_eq!(segments(directory.path()).expect("lists").len(), 3);
        let verification = verify(directory.path(), Some(log.head())).expect("whole");
        assert_eq!((verification.first, verification.last, verification.segments), (15, 20, 3));
        let empty = Segment::path(directory.path(), 21);
        File::create(&empty).expect("created");
        drop(log);
        let log = open(directory.path(), Options { segment_bytes_max: 300, segments_max: 3 });
        assert_eq!(log.append(unloaded(99)).expect("written"), 21, "continues past a segment without lines");
        assert!(verify(directory.path(), Some(log.head())).is_ok());
    }

    #[test]
    fn long_texts_are_cut_and_still_recorded() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = open(directory.path(), Options::default());
        // A control character takes six bytes in JSON: the longest a line can get.
        let long = "\u{1}".repeat(TEXT_CHARS_MAX + 5);
        let event = Event::ConfigurationChange {
            extension: None,
            field: long.clone(),
            before: Some(long.clone()),
            after: Some(long),
        };
        log.append(event).expect("written");
        log.append(Event::Failed { extension: "x".parse().expect("valid"), reason: "é".repeat(TEXT_CHARS_MAX) })
            .expect("written");
        let text = fs::read_to_string(only_segment(directory.path())).expect("text");
        assert_eq!(text.matches("… (5 bytes cut)").count(), 3);
        assert!(text.contains(&"é".repeat(TEXT_CHARS_MAX)), "a text at the bound is whole");
        assert!(text.lines().all(|line| line.len() <= LINE_BYTES_MAX));
        assert!(verify(directory.path(), Some(log.head())).is_ok());
    }

    #[test]
    fn many_threads_leave_one_whole_chain() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let log = open(directory.path(), Options { segment_bytes_max: 2_000, segments_max: 100 });
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || (0..50).map(|_| log.append(unloaded(thread)).expect("written")).max());
            }
        });
        assert_eq!(verify(directory.path(), Some(log.head())).expect("whole").records, 200);
    }
}
