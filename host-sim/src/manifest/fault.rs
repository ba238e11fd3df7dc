//! What is wrong with a manifest, where, and what would be right.

use std::fmt;

use serde::Serialize;

/// One thing wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What kind of fault it is.
    pub code: FaultCode,
    /// The field, such as `library.digest` or `workers[0].path`; empty for the whole file.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kinds of faults; the set only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum FaultCode {
    /// The text is not YAML.
    Syntax,
    /// The text, its nesting or the number of its values is beyond a bound.
    TooLarge,
    /// An alias, an own tag, a second document or a key that is not text.
    Unsupported,
    /// A key stands twice in one map.
    DuplicateKey,
    /// A field nobody knows.
    UnknownField,
    /// A field that has to be there is not.
    MissingField,
    /// The value does not fit the field.
    InvalidValue,
    /// The same thing is listed twice.
    Duplicate,
    /// A required capability is not granted.
    CapabilityNotGranted,
}

/// Everything found wrong with one manifest, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// The file as the caller named it.
    pub file: String,
    /// At least one fault, at most [`FAULTS_MAX`](super::FAULTS_MAX).
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{}:{}: ", self.file, fault.line, fault.column)?;
            if !fault.path.is_empty() {
                write!(f, "`{}`: ", fault.path)?;
            }
            f.write_str(&fault.message)?;
            if let Some(hint) = &fault.hint {
                write!(f, "; {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
