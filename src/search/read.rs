//! Descriptions to import, from newline-delimited JSON: an object on each line.
//!
//! A file may come from anybody: its lines, their number and every text in them are bounded, and what is kept is plain
//! text. Fields that are not known are left aside, so that lists made for others can be read.

use std::io::BufRead;
use std::path::PathBuf;

use serde::Deserialize;

use crate::registry::{Description, RegistryError};

/// The longest line in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// The most lines of one file.
pub const LINES_MAX: u64 = 2_000_000;
/// The most bytes of one file: all of it is held while the index is made.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 30;
/// The longest name, version, tag or keyword in bytes.
pub const NAME_BYTES_MAX: usize = 214;
/// The most tags, and the most keywords, of one description.
pub const WORDS_MAX: usize = 64;

/// Why descriptions cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A line is no description.
    #[error("{path}:{line}: {}{reason}", field.as_ref().map_or(String::new(), |field| format!("`{field}`: ")), path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The field, if it is one.
        field: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// More than a bound.
    #[error("{path} has more than {limit} lines", path = path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// More bytes than the bound.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("there is no description in `{path}`", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read `{path}`", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// The descriptions of a file, one after the other.
pub struct Lines<R> {
    reader: R,
    path: PathBuf,
    number: u64,
    bytes: u64,
    found: u64,
    buffer: Vec<u8>,
    lines_max: u64,
    bytes_max: u64,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    version: Option<String>,
    description: Option<String>,
    keywords: Option<Vec<String>>,
    tags: Option<Vec<String>>,
}

impl<R: BufRead> Lines<R> {
    /// Begins to read; the path is only told in errors.
    pub fn new(reader: R, path: PathBuf) -> Self {
        let (lines_max, bytes_max) = (LINES_MAX, FILE_BYTES_MAX);
        Self { reader, path, number: 0, bytes: 0, found: 0, buffer: Vec::new(), lines_max, bytes_max }
    }

    /// Gives the number of the line that was read last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Gives how many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives how many descriptions were read.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Gives the next description, or none at the end. Empty lines are left out.
    ///
    /// # Errors
    /// [`ImportError`] with the line.
    pub fn next_description(&mut self) -> Result<Option<Description>, ImportError> {
        loop {
            self.buffer.clear();
            let mut bounded = std::io::Read::take(&mut self.reader, LINE_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|source| ImportError::File { path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if self.bytes > self.bytes_max {
                return Err(ImportError::TooLarge { path: self.path.clone() });
            }
            if self.number > self.lines_max {
                return Err(ImportError::TooMany { path: self.path.clone(), limit: self.lines_max });
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self.fault(None, format!("it is longer than {LINE_BYTES_MAX} bytes")));
            }
            // Lists made elsewhere may begin with a byte order mark.
            let line = self.buffer.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.buffer).trim_ascii();
            if !line.is_empty() {
                let description = self.parse(line)?;
                self.found += 1;
                return Ok(Some(description));
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Description, ImportError> {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let parsed: Line = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let field = Some(error.path().to_string()).filter(|path| path != ".");
            self.fault(field, without_place(&error.inner().to_string()))
        })?;
        deserializer.end().map_err(|error| self.fault(None, without_place(&error.to_string())))?;
        let Line { name, version, description, keywords, tags } = parsed;
        let (name, version) = (plain(&name), plain(&version.unwrap_or_default()));
        if name.is_empty() {
            return Err(self.fault(Some("name".into()), "it is empty".into()));
        }
        self.bounded("name", &name)?;
        self.bounded("version", &version)?;
        let (keywords, tags) = (keywords.unwrap_or_default(), tags.unwrap_or_default());
        let (keywords, tags) = (self.list("keywords", &keywords)?, self.list("tags", &tags)?);
        Ok(Description { name, version, description: plain(&description.unwrap_or_default()), tags, keywords })
    }

    fn list(&self, field: &str, texts: &[String]) -> Result<Vec<String>, ImportError> {
        if texts.len() > WORDS_MAX {
            return Err(self.fault(Some(field.into()), format!("there are more than {WORDS_MAX}")));
        }
        let texts: Vec<String> = texts.iter().map(|text| plain(text)).collect();
        texts.iter().enumerate().try_for_each(|(at, text)| self.bounded(&format!("{field}[{at}]"), text))?;
        Ok(texts)
    }

    fn bounded(&self, field: &str, text: &str) -> Result<(), ImportError> {
        if text.len() <= NAME_BYTES_MAX {
            return Ok(());
        }
        Err(self.fault(Some(field.into()), format!("it is longer than {NAME_BYTES_MAX} bytes")))
    }

    fn fault(&self, field: Option<String>, reason: String) -> ImportError {
        ImportError::Line { path: self.path.clone(), line: self.number, field, reason }
    }
}

/// Makes one line of a text, without characters that steer a terminal or hide in it.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c });
    let shown: String = shown.filter(|c| !is_invisible(*c)).collect();
    shown.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Marks of direction and width, which show nothing and change how what follows is shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Takes out the place within the line that the parser adds as a line of its own counting.
fn without_place(message: &str) -> String {
    match message.rsplit_once(" at line 1 column ") {
        Some((reason, column)) => format!("{reason} (column {column})"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Description>, String> {
        let mut lines = Lines::new(text.as_bytes(), "list.ndjson".into());
        let mut all = Vec::new();
        while let Some(description) = lines.next_description().map_err(|error| error.to_string())? {
            all.push(description);
        }
        Ok(all)
    }

    #[test]
    fn descriptions_are_read_as_plain_text() {
        let all = read(concat!(
            "\u{FEFF}{\"name\": \"g++\", \"version\": \"4:12\", \"description\": \"GNU C++\\u001b[31m compiler\\n more\", ",
            "\"keywords\": [\"cc\"], \"tags\": [\"devel\"], \"homepage\": 7}\r\n\n  \n{\"name\": \"bare\\u202e\"}",
        ));
        let all = all.expect("reads");
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name.as_str(), all[0].version.as_str()), ("g++", "4:12"));
        assert_eq!(all[0].description, "GNU C++ [31m compiler more");
        assert_eq!((all[0].tags.join(" "), all[0].keywords.join(" ")), ("devel".into(), "cc".into()));
        assert_eq!((all[1].name.as_str(), all[1].version.as_str()), ("bare", ""));
    }

    #[test]
    fn faults_name_file_line_and_field() {
        let good = "{\"name\": \"a\"}\n";
        let fault = |line: &str| read(&format!("{good}\n{line}")).expect_err("is refused");
        assert_eq!(
            fault("{\"name\": 7}"),
            "list.ndjson:3: `name`: invalid type: integer `7`, expected a string (column 10)"
        );
        assert_eq!(fault("{\"name\": \"\"}"), "list.ndjson:3: `name`: it is empty");
        assert_eq!(fault("{}"), "list.ndjson:3: missing field `name` (column 2)");
        assert_eq!(fault("nonsense"), "list.ndjson:3: expected ident (column 2)");
        assert_eq!(fault("{\"name\": \"a\"} {}"), "list.ndjson:3: trailing characters (column 15)");
        assert_eq!(
            fault("{\"name\": \"a\", \"tags\": [\"x\", null]}"),
            "list.ndjson:3: `tags[1]`: invalid type: null, expected a string (column 32)"
        );
        assert!(fault("{\"name\": \"\u{0}\"}").contains("list.ndjson:3"));
    }

    #[test]
    fn the_bounds_hold() {
        let line = |name: usize, words: usize| {
            format!("{{\"name\": \"{}\", \"tags\": {:?}}}", "n".repeat(name), vec!["t"; words])
        };
        assert_eq!(read(&line(NAME_BYTES_MAX, WORDS_MAX)).expect("fits").len(), 1);
        assert!(read(&line(NAME_BYTES_MAX + 1, 0)).expect_err("is refused").contains("longer than 214 bytes"));
        assert!(read(&line(1, WORDS_MAX + 1)).expect_err("is refused").contains("more than 64"));

        let padded = |bytes: usize| format!("{{\"name\": \"a\"{}}}", " ".repeat(bytes - 13));
        assert_eq!(read(&padded(LINE_BYTES_MAX)).expect("fits").len(), 1);
        assert_eq!(
            read(&padded(LINE_BYTES_MAX + 1)).expect_err("is refused"),
            "list.ndjson:1: it is longer than 65536 bytes"
        );

        let mut lines = Lines { lines_max: 2, ..Lines::new(&b"\n\n\n"[..], "list".into()) };
        assert_eq!(lines.next_description().expect_err("is refused").to_string(), "list has more than 2 lines");
    }
}
