//! What is wrong with a package: every fault in one list, each with a stable code, its place and what to do about it.

use std::fmt;

use serde::Serialize;

use super::document::Place;
use super::model::FilePath;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The package is valid, but probably not what was meant.
    Warning,
    /// The package is invalid.
    Error,
    /// The package is invalid and has nothing that could run.
    Critical,
}

/// One thing that is wrong with a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Stable, upper case, such as `UNKNOWN_FIELD`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The field, such as `spec.dependencies[2].version`; empty for the whole document.
    pub path: String,
    /// The file of the package that it is in, where that is not the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Box<FilePath>>,
    /// Line in that file, from 1; 0 where there is no place.
    pub line: u32,
    /// Column in characters, from 1; 0 where there is no place.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Everything wrong with one manifest, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Name of the manifest as the caller knows it.
    pub file: String,
    /// The faults; at most [`Faults::COUNT_MAX`].
    pub list: Vec<Fault>,
}

impl Fault {
    pub(crate) fn error(code: &'static str, place: &Place, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            path: printable(&place.path),
            file: None,
            line: place.position.line,
            column: place.position.column,
            message: printable(&message.into()),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}

impl Faults {
    /// The most faults one report holds: an author fixes the first ones anyway, and a hostile document would only buy work.
    pub const COUNT_MAX: usize = 100;

    pub(crate) fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), list: Vec::new() }
    }

    /// Adds a fault; the one after the last that fits becomes `TOO_MANY_FAULTS`, and the rest is dropped.
    pub(crate) fn push(&mut self, fault: Fault) {
        let room = Self::COUNT_MAX - self.list.len().min(Self::COUNT_MAX);
        match room {
            0 => {}
            1 => self.list.push(Fault {
                code: "TOO_MANY_FAULTS",
                severity: Severity::Error,
                message: "there are more faults than this report holds".into(),
                hint: Some("correct these first".into()),
                path: String::new(),
                ..fault
            }),
            _ => self.list.push(fault),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= Self::COUNT_MAX
    }

    /// Gives whether a fault about `path`, something inside it or something around it is already here.
    pub(crate) fn cover(&self, path: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.list.iter().any(|fault| within(&fault.path, path) || (!fault.path.is_empty() && within(path, &fault.path)))
    }

    /// Gives whether nothing stands in the way of using the package; warnings do not.
    pub fn is_acceptable(&self) -> bool {
        self.list.iter().all(|fault| fault.severity == Severity::Warning)
    }

    /// Splits into the value and its warnings, or all faults in the order of their lines.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Fault>), Self> {
        self.list.sort_by_key(|fault| (fault.line, fault.column));
        match value {
            Some(value) if self.is_acceptable() => Ok((value, self.list)),
            _ => Err(self),
        }
    }
}

impl std::error::Error for Faults {}

/// Escapes control characters: texts of a manifest are quoted in messages, and a terminal would obey them.
fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escaped).collect()
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: {fault}", self.file, fault.line, fault.column)?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] ", self.severity, self.code)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_stops_at_its_bound_and_says_so() {
        let mut faults = Faults::new("package.yaml");
        for _ in 0..=Faults::COUNT_MAX {
            faults.push(Fault::error("UNKNOWN_FIELD", &Place::default(), "x"));
        }
        assert_eq!(faults.list.len(), Faults::COUNT_MAX);
        assert_eq!(faults.list[Faults::COUNT_MAX - 1].code, "TOO_MANY_FAULTS");
        assert_eq!(faults.list[Faults::COUNT_MAX - 2].code, "UNKNOWN_FIELD");
    }

    #[test]
    fn control_characters_of_a_manifest_do_not_reach_a_terminal() {
        let place = Place { path: "a\u{7}".into(), ..Place::default() };
        assert_eq!(Fault::error("X", &place, "\u{1b}[2J").to_string(), "error[X] a\\u{7}: \\u{1b}[2J");
    }

    #[test]
    fn a_fault_covers_its_field_and_both_directions_but_no_sibling() {
        let mut faults = Faults::new("package.yaml");
        faults.push(Fault::error("WRONG_TYPE", &Place { path: "spec.a".into(), ..Place::default() }, "x"));
        assert!(faults.cover("spec.a") && faults.cover("spec") && faults.cover("spec.a[1].b"));
        assert!(!faults.cover("spec.ab") && !faults.cover("metadata"));
    }
}
