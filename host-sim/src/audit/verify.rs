//! Checking that a log is whole.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::LINE_BYTES_MAX;
use super::event::Record;
use super::log::Head;
use crate::manifest::Digest;

/// What a whole log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The number of the oldest line kept, 0 if there is none.
    pub first: u64,
    /// The number of the newest line, 0 if there is none.
    pub last: u64,
    /// How many lines there are.
    pub records: u64,
    /// How many files there are.
    pub segments: usize,
}

/// Why a log is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file could not be read.
    #[error("cannot read the audit log `{path}`")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is no record.
    #[error("`{path}` line {line} is no audit record: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A line was changed, removed, added or moved.
    #[error(
        "`{path}` line {line}: the chain is broken: expected record {expected} after `{previous}`, found record {found}"
    )]
    Chain {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The number that is due.
        expected: u64,
        /// The digest of the line before.
        previous: Digest,
        /// The number that is there.
        found: u64,
    },
    /// The log ends before, or otherwise than, the head that was kept.
    #[error("record {sequence} is not in the audit log as it was: the log ends with record {last}")]
    Head {
        /// The number of the head.
        sequence: u64,
        /// The number of the last line.
        last: u64,
    },
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The number of its first line.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// Gives the path of the segment that begins with a record.
    pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
        directory.join(format!("audit-{first:020}.jsonl"))
    }
}

/// Checks every line of the log in a directory and, if a head was kept, that its line is there.
///
/// The oldest line kept is where the chain begins; what was removed before it cannot be checked.
///
/// # Errors
/// The first line that breaks the chain, a line that is no record, or a head that is not in the log.
pub fn verify(directory: &Path, head: Option<Head>) -> Result<Verification, VerifyError> {
    let segments = segments(directory)?;
    let mut chain =
        Chain { end: None, first: 0, records: 0, wanted: head, met: head.is_none_or(|head| head.sequence == 0) };
    for segment in &segments {
        chain.segment(segment)?;
    }
    let last = chain.end.map_or(0, |end| end.sequence);
    match head {
        Some(head) if !chain.met => Err(VerifyError::Head { sequence: head.sequence, last }),
        _ => Ok(Verification { first: chain.first, last, records: chain.records, segments: segments.len() }),
    }
}

/// Lists the segments of a log, the oldest first. Other files are not looked at.
pub(super) fn segments(directory: &Path) -> Result<Vec<Segment>, VerifyError> {
    let unreadable = |source| VerifyError::File { path: directory.to_owned(), source };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let first = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            name.strip_prefix("audit-")?.strip_suffix(".jsonl").filter(|number| number.len() == 20)?.parse().ok()
        });
        segments.extend(first.map(|first| Segment { first, path }));
    }
    segments.sort();
    Ok(segments)
}

/// Finds the last line of a segment: its head, the length of all whole lines, and the length of a half line after them.
pub(super) fn last_line(path: &Path) -> Result<(Option<Head>, u64, u64), VerifyError> {
    let mut lines = match Lines::open(path) {
        Err(VerifyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok((None, 0, 0)),
        lines => lines?,
    };
    let (mut head, mut whole) = (None, 0);
    while let Some(line) = lines.next_line()? {
        if !line.whole {
            return Ok((head, whole, line.bytes.len() as u64));
        }
        whole += line.bytes.len() as u64 + 1;
        let record = lines.record(&line)?;
        head = Some(Head { sequence: record.sequence, digest: Digest::of(&line.bytes) });
    }
    Ok((head, whole, 0))
}

struct Chain {
    end: Option<Head>,
    first: u64,
    records: u64,
    wanted: Option<Head>,
    met: bool,
}

impl Chain {
    fn segment(&mut self, segment: &Segment) -> Result<(), VerifyError> {
        let mut lines = Lines::open(&segment.path)?;
        while let Some(line) = lines.next_line()? {
            let record = lines.record(&line)?;
            let expected = match self.end {
                Some(end) => Head { sequence: end.sequence + 1, digest: end.digest },
                // Only the very first record follows nothing; the oldest line kept follows what it says.
                None if segment.first == 1 => Head { sequence: 1, digest: Head::empty().digest },
                None => Head { sequence: segment.first, digest: record.previous },
            };
            if (record.sequence, record.previous) != (expected.sequence, expected.digest) || !line.whole {
                return Err(VerifyError::Chain {
                    path: segment.path.clone(),
                    line: lines.line,
                    expected: expected.sequence,
                    previous: expected.digest,
                    found: record.sequence,
                });
            }
            let end = Head { sequence: record.sequence, digest: Digest::of(&line.bytes) };
            self.first = if self.records == 0 { record.sequence } else { self.first };
            self.records += 1;
            self.met |= self.wanted == Some(end);
            self.end = Some(end);
        }
        Ok(())
    }
}

/// The lines of a file, none longer than the bound.
struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    line: u64,
}

struct Line {
    bytes: Vec<u8>,
    /// It ends with a line feed, which `bytes` does not hold.
    whole: bool,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, VerifyError> {
        let file = File::open(path).map_err(|source| VerifyError::File { path: path.to_owned(), source })?;
        Ok(Self { path, reader: BufReader::new(file), line: 0 })
    }

    fn next_line(&mut self) -> Result<Option<Line>, VerifyError> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes);
        read.map_err(|source| VerifyError::File { path: self.path.to_owned(), source })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(self.fault(format!("it is longer than {LINE_BYTES_MAX} bytes")));
        }
        let whole = bytes.pop_if(|last| *last == b'\n').is_some();
        Ok(Some(Line { bytes, whole }))
    }

    fn record(&self, line: &Line) -> Result<Record, VerifyError> {
        serde_json::from_slice(&line.bytes).map_err(|error| self.fault(error.to_string()))
    }

    fn fault(&self, reason: String) -> VerifyError {
        VerifyError::Line { path: self.path.to_owned(), line: self.line, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::super::{AuditLog, Event, Options};
    use super::*;

    /// Writes a log of three records and gives its lines and head.
    fn log(directory: &Path) -> (Vec<String>, Head) {
        let log = AuditLog::open(directory, Options::default(), Arc::new(|| 7)).expect("opens");
        for generation in 1..=3 {
            log.append(Event::Unloaded { extension: "x".parse().expect("valid"), generation }).expect("written");
        }
        let text = fs::read_to_string(Segment::path(directory, 1)).expect("text");
        (text.lines().map(str::to_owned).collect(), log.head())
    }

    fn write(directory: &Path, lines: &[&str]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(Segment::path(directory, 1), text).expect("written");
    }

    #[test]
    fn a_line_changed_removed_moved_or_added_breaks_the_chain() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (lines, head) = log(directory.path());
        let [a, b, c] = [&*lines[0], &*lines[1], &*lines[2]];
        let changed = b.replace("\"time_us\":7", "\"time_us\":8");
        let cases: [(&[&str], u64); 5] =
            [(&[a, &changed, c], 3), (&[a, c], 2), (&[b, c], 1), (&[a, c, b], 2), (&[a, a, b, c], 2)];
        for (lines, broken) in cases {
            write(directory.path(), lines);
            let found = verify(directory.path(), Some(head)).expect_err("broken");
            assert!(matches!(found, VerifyError::Chain { line, .. } if line == broken), "{found}");
        }
        write(directory.path(), &[a, b, c]);
        assert_eq!(verify(directory.path(), Some(head)).expect("whole").records, 3);
    }

    #[test]
    fn a_cut_end_is_seen_by_the_head_only() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (lines, head) = log(directory.path());
        write(directory.path(), &[&lines[0], &lines[1]]);
        assert!(verify(directory.path(), None).is_ok());
        assert!(matches!(verify(directory.path(), Some(head)), Err(VerifyError::Head { sequence: 3, last: 2 })));
        assert!(verify(directory.path(), Some(Head::empty())).is_ok());
        let forged = Head { digest: Digest::of(b"x"), sequence: 2 };
        assert!(matches!(verify(directory.path(), Some(forged)), Err(VerifyError::Head { .. })));
    }

    #[test]
    fn lines_that_are_no_records_are_named() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (lines, _) = log(directory.path());
        let long = "x".repeat(LINE_BYTES_MAX);
        for wrong in ["{}", "", "not JSON", &long] {
            write(directory.path(), &[&lines[0], wrong]);
            assert!(matches!(verify(directory.path(), None), Err(VerifyError::Line { line: 2, .. })), "{wrong:.9}");
        }
        let absent = directory.path().join("absent");
        assert!(matches!(verify(&absent, None), Err(VerifyError::File { .. })));
    }
}
